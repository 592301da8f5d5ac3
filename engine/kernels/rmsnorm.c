/* rmsnorm.c -- see rmsnorm.h for the formula and the shapes. */
#include "engine/kernels/rmsnorm.h"

#include <assert.h>
#include <math.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"
#include "engine/kernels/residual.h"

enum { RMSNORM_ROWS = 16, RMSNORM_COLS = 128 }; /* rows, or channels of dw, of a task */

struct rmsnorm_job {
    float *y, *r, *dx, *dw, *sum; /* sum: x, where something is added to it first */
    const float *x, *add, *w, *dy, *r_in;
    size_t y_stride, x_stride, dx_stride, dy_stride;
    size_t N, C, row_tasks;
    float eps;
};

static inline ISA_BODY void rmsnorm_row_body(const struct rmsnorm_job *job, size_t n)
{
    const float *x = job->x + n * job->x_stride, *w = job->w;
    float *restrict y = job->y + n * job->y_stride;
    if (job->add)
        residual_row(job->sum + n * job->C, job->add + n * job->C, job->C);
    const double squares = lanes_squares_double(x, 0.0, job->C);
    const float r = (float)(1.0 / sqrt(squares / (double)job->C + (double)job->eps));
    for (size_t c = 0; c < job->C; c++)
        y[c] = x[c] * r * w[c];
    if (job->r)
        job->r[n] = r;
}
ISA_FUNCTION(rmsnorm_row, (const struct rmsnorm_job *job, size_t n), (job, n))

static void rmsnorm_forward_task(void *arg, size_t i)
{
    const struct rmsnorm_job *job = arg;
    for (size_t n = i * RMSNORM_ROWS; n < job->N && n < (i + 1) * RMSNORM_ROWS; n++)
        rmsnorm_row(job, n);
}

void rmsnorm_forward(struct pool *pool, float *y, size_t y_stride, float *r, const float *x,
                     size_t x_stride, const float *w, size_t N, size_t C, float eps)
{
    assert(C > 0);
    assert(eps > 0.0f); /* a row of zeros must not divide by zero */
    struct rmsnorm_job job = {.y = y,
                              .r = r,
                              .x = x,
                              .w = w,
                              .y_stride = y_stride,
                              .x_stride = x_stride,
                              .N = N,
                              .C = C,
                              .eps = eps};
    pool_run(pool, (N + RMSNORM_ROWS - 1) / RMSNORM_ROWS, rmsnorm_forward_task, &job);
}

void rmsnorm_residual_forward(struct pool *pool, float *y, float *r, float *x, const float *add,
                              const float *w, size_t N, size_t C, float eps)
{
    assert(C > 0 && eps > 0.0f);
    struct rmsnorm_job job = {.y = y,
                              .r = r,
                              .sum = x,
                              .x = x,
                              .add = add,
                              .w = w,
                              .y_stride = C,
                              .x_stride = C,
                              .N = N,
                              .C = C,
                              .eps = eps};
    pool_run(pool, (N + RMSNORM_ROWS - 1) / RMSNORM_ROWS, rmsnorm_forward_task, &job);
}

/*
 * With u = dy * w (per channel) and r depending on every x of its row,
 *
 *     dr/dx[c] = -r^3 * x[c] / C
 *     dx[c]    = r * u[c] - r^3 / C * x[c] * sum_k(u[k] * x[k])
 *     dw[c]    = sum_n(dy[n,c] * x[n,c] * r[n])
 */
static inline ISA_BODY void rmsnorm_dx_body(const struct rmsnorm_job *job, size_t n)
{
    const float *x = job->x + n * job->x_stride, *dy = job->dy + n * job->dy_stride;
    const float *w = job->w;
    float *restrict dx = job->dx + n * job->dx_stride;
    const float r = job->r_in[n];
    const double ux = lanes_dot3_double(dy, w, x, job->C);
    const float pull = (float)(ux / (double)job->C) * r * r * r;
    for (size_t c = 0; c < job->C; c++)
        dx[c] += r * dy[c] * w[c] - pull * x[c];
}
ISA_FUNCTION(rmsnorm_dx, (const struct rmsnorm_job *job, size_t n), (job, n))

static inline ISA_BODY void rmsnorm_dw_body(const struct rmsnorm_job *job, size_t begin,
                                            size_t end)
{
    float *restrict dw = job->dw;
    for (size_t n = 0; n < job->N; n++) {
        const float *x = job->x + n * job->x_stride, *dy = job->dy + n * job->dy_stride;
        const float r = job->r_in[n];
        for (size_t c = begin; c < end; c++)
            dw[c] += dy[c] * x[c] * r;
    }
}
ISA_FUNCTION(rmsnorm_dw, (const struct rmsnorm_job *job, size_t begin, size_t end),
             (job, begin, end))

/* Tasks 0 .. row_tasks-1 write rows of dx, the others channels of dw. */
static void rmsnorm_backward_task(void *arg, size_t i)
{
    const struct rmsnorm_job *job = arg;
    if (i >= job->row_tasks) {
        const size_t begin = (i - job->row_tasks) * RMSNORM_COLS;
        rmsnorm_dw(job, begin, begin + RMSNORM_COLS < job->C ? begin + RMSNORM_COLS : job->C);
        return;
    }
    for (size_t n = i * RMSNORM_ROWS; n < job->N && n < (i + 1) * RMSNORM_ROWS; n++)
        rmsnorm_dx(job, n);
}

void rmsnorm_backward(struct pool *pool, float *dx, size_t dx_stride, float *dw,
                      const float *dy, size_t dy_stride, const float *x, size_t x_stride,
                      const float *w, const float *r, size_t N, size_t C)
{
    assert(C > 0);
    struct rmsnorm_job job = {.dx = dx,
                              .dw = dw,
                              .x = x,
                              .w = w,
                              .dy = dy,
                              .r_in = r,
                              .x_stride = x_stride,
                              .dx_stride = dx_stride,
                              .dy_stride = dy_stride,
                              .N = N,
                              .C = C,
                              .row_tasks = (N + RMSNORM_ROWS - 1) / RMSNORM_ROWS};
    const size_t col_tasks = (C + RMSNORM_COLS - 1) / RMSNORM_COLS;
    pool_run(pool, job.row_tasks + col_tasks, rmsnorm_backward_task, &job);
}
