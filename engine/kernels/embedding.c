/* embedding.c -- see embedding.h. */
#include "engine/kernels/embedding.h"

#include <string.h>

enum { EMBEDDING_COLS = 64 }; /* channels of a task of the backward pass */

void embedding_forward(struct pool *pool, float *x, const int32_t *ids, const float *wte,
                       const uint32_t *position, const float *wpe, size_t N, size_t C)
{
    (void)pool; /* a copy: one thread has the memory's speed */
    for (size_t n = 0; n < N; n++) {
        float *restrict x_n = x + n * C;
        memcpy(x_n, wte + (size_t)ids[n] * C, C * sizeof(float));
        if (!wpe)
            continue;
        const float *restrict p = wpe + position[n] * C;
        for (size_t c = 0; c < C; c++)
            x_n[c] += p[c];
    }
}

struct embedding_job {
    float *dwte, *dwpe;
    const float *dx;
    const int32_t *ids;
    const uint32_t *position;
    size_t N, C;
};

/* By channels, not by rows: two tokens of one id add to the same row of dwte. */
static void embedding_backward_task(void *arg, size_t i)
{
    const struct embedding_job *job = arg;
    const size_t C = job->C, begin = i * EMBEDDING_COLS;
    const size_t cols = C - begin < EMBEDDING_COLS ? C - begin : EMBEDDING_COLS;
    for (size_t n = 0; n < job->N; n++) {
        const float *restrict dx = job->dx + n * C + begin;
        float *restrict dwte = job->dwte + (size_t)job->ids[n] * C + begin;
        for (size_t c = 0; c < cols; c++)
            dwte[c] += dx[c];
        if (!job->dwpe)
            continue;
        float *restrict dwpe = job->dwpe + job->position[n] * C + begin;
        for (size_t c = 0; c < cols; c++)
            dwpe[c] += dx[c];
    }
}

void embedding_backward(struct pool *pool, float *dwte, float *dwpe, const float *dx,
                        const int32_t *ids, const uint32_t *position, size_t N, size_t C)
{
    struct embedding_job job = {dwte, dwpe, dx, ids, position, N, C};
    pool_run(pool, (C + EMBEDDING_COLS - 1) / EMBEDDING_COLS, embedding_backward_task, &job);
}
