/* residual.c -- see residual.h. */
#include "engine/kernels/residual.h"

enum { RESIDUAL_TASK = 32768 };

struct residual_job {
    float *x;
    const float *y;
    size_t n;
};

static inline ISA_BODY void residual_part_body(float *x, const float *y, size_t n)
{
    residual_row(x, y, n);
}
ISA_FUNCTION(residual_part, (float *x, const float *y, size_t n), (x, y, n))

static void residual_task(void *arg, size_t i)
{
    const struct residual_job *job = arg;
    const size_t begin = i * RESIDUAL_TASK;
    const size_t n = job->n - begin < RESIDUAL_TASK ? job->n - begin : RESIDUAL_TASK;
    residual_part(job->x + begin, job->y + begin, n);
}

void residual_add(struct pool *pool, float *x, const float *y, size_t n)
{
    struct residual_job job = {x, y, n};
    pool_run(pool, (n + RESIDUAL_TASK - 1) / RESIDUAL_TASK, residual_task, &job);
}
