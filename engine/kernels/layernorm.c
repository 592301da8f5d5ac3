/* layernorm.c -- see layernorm.h for the formula and the shapes. */
#include "engine/kernels/layernorm.h"

#include <assert.h>
#include <math.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"
#include "engine/kernels/residual.h"

enum { LAYERNORM_ROWS = 16, LAYERNORM_COLS = 128 }; /* rows, or channels of dw, of a task */

struct layernorm_job {
    float *y, *mean, *r, *dx, *dw, *db, *sum; /* sum: x, where something is added to it first */
    const float *x, *add, *w, *b, *dy, *mean_in, *r_in;
    size_t N, C, row_tasks;
    float eps;
};

static inline ISA_BODY void layernorm_row_body(const struct layernorm_job *job, size_t n)
{
    const size_t C = job->C;
    const float *x = job->x + n * C, *w = job->w, *b = job->b;
    float *restrict y = job->y + n * C;
    if (job->add)
        residual_row(job->sum + n * C, job->add + n * C, C);
    const double mean = lanes_sum_double(x, C) / (double)C;
    const double variance = lanes_squares_double(x, mean, C) / (double)C;
    const float r = (float)(1.0 / sqrt(variance + (double)job->eps)), m = (float)mean;
    for (size_t c = 0; c < C; c++)
        y[c] = fmaf((x[c] - m) * r, w[c], b[c]);
    if (job->r) {
        job->mean[n] = m;
        job->r[n] = r;
    }
}
ISA_FUNCTION(layernorm_row, (const struct layernorm_job *job, size_t n), (job, n))

static void layernorm_forward_task(void *arg, size_t i)
{
    const struct layernorm_job *job = arg;
    for (size_t n = i * LAYERNORM_ROWS; n < job->N && n < (i + 1) * LAYERNORM_ROWS; n++)
        layernorm_row(job, n);
}

void layernorm_forward(struct pool *pool, float *y, float *mean, float *r, const float *x,
                       const float *w, const float *b, size_t N, size_t C, float eps)
{
    assert(C > 0);
    assert(eps > 0.0f); /* a row of equal values must not divide by zero */
    assert(!mean == !r);
    struct layernorm_job job = {
        .y = y, .mean = mean, .r = r, .x = x, .w = w, .b = b, .N = N, .C = C, .eps = eps};
    pool_run(pool, (N + LAYERNORM_ROWS - 1) / LAYERNORM_ROWS, layernorm_forward_task, &job);
}

void layernorm_residual_forward(struct pool *pool, float *y, float *mean, float *r, float *x,
                                const float *add, const float *w, const float *b, size_t N,
                                size_t C, float eps)
{
    assert(C > 0 && eps > 0.0f && !mean == !r);
    struct layernorm_job job = {.y = y,
                                .mean = mean,
                                .r = r,
                                .sum = x,
                                .x = x,
                                .add = add,
                                .w = w,
                                .b = b,
                                .N = N,
                                .C = C,
                                .eps = eps};
    pool_run(pool, (N + LAYERNORM_ROWS - 1) / LAYERNORM_ROWS, layernorm_forward_task, &job);
}

/*
 * With h = (x - mean) r and u = dy * w, both per channel,
 *
 *     dx[c] = r (u[c] - mean(u) - h[c] mean(u h))
 *     dw[c] = sum_n dy[n,c] h[n,c]        db[c] = sum_n dy[n,c]
 */
static inline ISA_BODY void layernorm_dx_body(const struct layernorm_job *job, size_t n)
{
    const size_t C = job->C;
    const float *x = job->x + n * C, *dy = job->dy + n * C, *w = job->w;
    float *restrict dx = job->dx + n * C;
    const float m = job->mean_in[n], r = job->r_in[n];

    const double u = lanes_dot_double(dy, w, C), ux = lanes_dot3_double(dy, w, x, C);
    const float mean_u = (float)(u / (double)C);
    const float mean_uh = (float)((ux - u * (double)m) * (double)r / (double)C);
    for (size_t c = 0; c < C; c++)
        dx[c] += r * (dy[c] * w[c] - mean_u - (x[c] - m) * r * mean_uh);
}
ISA_FUNCTION(layernorm_dx, (const struct layernorm_job *job, size_t n), (job, n))

static inline ISA_BODY void layernorm_dw_body(const struct layernorm_job *job, size_t begin,
                                              size_t end)
{
    float *restrict dw = job->dw, *restrict db = job->db;
    for (size_t n = 0; n < job->N; n++) {
        const float *x = job->x + n * job->C, *dy = job->dy + n * job->C;
        const float m = job->mean_in[n], r = job->r_in[n];
        for (size_t c = begin; c < end; c++) {
            dw[c] += dy[c] * ((x[c] - m) * r);
            db[c] += dy[c];
        }
    }
}
ISA_FUNCTION(layernorm_dw, (const struct layernorm_job *job, size_t begin, size_t end),
             (job, begin, end))

/* Tasks 0 .. row_tasks-1 write rows of dx, the others channels of dw and db. */
static void layernorm_backward_task(void *arg, size_t i)
{
    const struct layernorm_job *job = arg;
    if (i >= job->row_tasks) {
        const size_t begin = (i - job->row_tasks) * LAYERNORM_COLS;
        const size_t end = begin + LAYERNORM_COLS < job->C ? begin + LAYERNORM_COLS : job->C;
        layernorm_dw(job, begin, end);
        return;
    }
    for (size_t n = i * LAYERNORM_ROWS; n < job->N && n < (i + 1) * LAYERNORM_ROWS; n++)
        layernorm_dx(job, n);
}

void layernorm_backward(struct pool *pool, float *dx, float *dw, float *db, const float *dy,
                        const float *x, const float *w, const float *mean, const float *r,
                        size_t N, size_t C)
{
    assert(C > 0);
    struct layernorm_job job = {.dx = dx,
                                .dw = dw,
                                .db = db,
                                .x = x,
                                .w = w,
                                .dy = dy,
                                .mean_in = mean,
                                .r_in = r,
                                .N = N,
                                .C = C,
                                .row_tasks = (N + LAYERNORM_ROWS - 1) / LAYERNORM_ROWS};
    const size_t col_tasks = (C + LAYERNORM_COLS - 1) / LAYERNORM_COLS;
    pool_run(pool, job.row_tasks + col_tasks, layernorm_backward_task, &job);
}
