/* adamw.c -- see adamw.h for the update and the schedule. */
#include "engine/adamw.h"

#include <assert.h>
#include <math.h>

#include "engine/kernels/isa.h"

/* Elements a task.  m, v, w and grad of one task fit into a second-level cache. */
#define ADAMW_TASK_ELEMENTS ((size_t)1 << 15)

/* Partial sums of the norm.  A constant, so that the order of summation depends on the
 * length alone. */
#define ADAMW_NORM_PARTS 256
#define ADAMW_NORM_LANES 16

enum err_code adamw_init(struct adamw *adamw, const struct model *model, struct err *err)
{
    *adamw = (struct adamw){.params = model->params};
    const size_t bytes = model->params * sizeof(float);
    const enum err_code rc =
        arena_init(&adamw->arena, 2 * (bytes + ARENA_ALIGN), "the optimizer's moments", err);
    if (rc)
        return rc;
    arena_prefer_huge(&adamw->arena);
    adamw->m = arena_array(&adamw->arena, model->params, sizeof(float)); /* zero-filled */
    adamw->v = arena_array(&adamw->arena, model->params, sizeof(float));
    assert(adamw->m && adamw->v); /* the arena was sized for both */
    return ERR_OK;
}

void adamw_release(struct adamw *adamw)
{
    arena_release(&adamw->arena);
    *adamw = (struct adamw){0};
}

struct adamw_norm {
    const float *grad;
    size_t n, part_elements;
    double part[ADAMW_NORM_PARTS];
};

static inline ISA_BODY void adamw_squares_body(double *sum, const float *g, size_t n)
{
    double lane[ADAMW_NORM_LANES] = {0};
    size_t k = 0;
    for (; k + ADAMW_NORM_LANES <= n; k += ADAMW_NORM_LANES) {
        for (size_t j = 0; j < ADAMW_NORM_LANES; j++)
            lane[j] += (double)g[k + j] * (double)g[k + j];
    }
    for (size_t j = 0; k < n; k++, j++)
        lane[j] += (double)g[k] * (double)g[k];

    for (size_t width = ADAMW_NORM_LANES / 2; width > 0; width /= 2) {
        for (size_t j = 0; j < width; j++)
            lane[j] += lane[j + width];
    }
    *sum = lane[0];
}
ISA_FUNCTION(adamw_squares, (double *sum, const float *g, size_t n), (sum, g, n))

static void adamw_norm_task(void *arg, size_t i)
{
    struct adamw_norm *norm = arg;
    const size_t begin = i * norm->part_elements;
    const size_t left = begin < norm->n ? norm->n - begin : 0;
    const size_t n = left < norm->part_elements ? left : norm->part_elements;
    adamw_squares(&norm->part[i], norm->grad + (n ? begin : 0), n);
}

double adamw_grad_norm(struct pool *pool, const float *grad, size_t n)
{
    struct adamw_norm norm = {.grad = grad, .n = n};
    norm.part_elements = (n + ADAMW_NORM_PARTS - 1) / ADAMW_NORM_PARTS;
    pool_run(pool, ADAMW_NORM_PARTS, adamw_norm_task, &norm);
    double sum = 0.0;
    for (size_t i = 0; i < ADAMW_NORM_PARTS; i++)
        sum += norm.part[i];
    return sqrt(sum);
}

struct adamw_job {
    const struct adamw *adamw;
    const struct model *model;
    const float *grad;
    float scale, lr, decay;
    float beta1, beta2, eps;
    float m_scale, v_scale; /* 1 / (1 - beta^t) */
};

static inline ISA_BODY void adamw_range_body(const struct adamw_job *job, size_t begin,
                                             size_t end, float decay)
{
    float *restrict m = job->adamw->m;
    float *restrict v = job->adamw->v;
    float *restrict w = job->model->w;
    const float *restrict grad = job->grad;
    const float beta1 = job->beta1, beta2 = job->beta2, eps = job->eps;
    const float rest1 = 1.0f - beta1, rest2 = 1.0f - beta2;
    const float m_scale = job->m_scale, v_scale = job->v_scale;
    const float scale = job->scale, lr = job->lr;

    for (size_t i = begin; i < end; i++) {
        const float g = grad[i] * scale;
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * (g * g);
        const float pull = (m[i] * m_scale) / (sqrtf(v[i] * v_scale) + eps);
        w[i] -= lr * (pull + decay * w[i]);
    }
}
ISA_FUNCTION(adamw_range, (const struct adamw_job *job, size_t begin, size_t end, float decay),
             (job, begin, end, decay))

static void adamw_task(void *arg, size_t i)
{
    const struct adamw_job *job = arg;
    const size_t begin = i * ADAMW_TASK_ELEMENTS;
    const size_t end = begin + ADAMW_TASK_ELEMENTS;
    for (size_t k = 0; k < job->model->tensors_n; k++) {
        const struct model_tensor *tensor = &job->model->tensors[k];
        const size_t tensor_end = tensor->at + (size_t)tensor->rows * tensor->cols;
        const size_t lo = tensor->at > begin ? tensor->at : begin;
        const size_t hi = tensor_end < end ? tensor_end : end;
        if (lo < hi)
            adamw_range(job, lo, hi, tensor->decay ? job->decay : 0.0f);
    }
}

/* By squaring: multiplications alone, so the same bits from every C library. */
static double adamw_power(double base, uint64_t exponent)
{
    double power = 1.0;
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1)
            power *= base;
        base *= base;
    }
    return power;
}

void adamw_update(struct adamw *adamw, const struct adamw_params *params, struct model *model,
                  struct pool *pool, const float *grad, float scale, float lr)
{
    assert(adamw->params == model->params);
    assert(params->beta1 >= 0.0f && params->beta1 < 1.0f);
    assert(params->beta2 >= 0.0f && params->beta2 < 1.0f);

    adamw->steps++;
    struct adamw_job job = {
        .adamw = adamw,
        .model = model,
        .grad = grad,
        .scale = scale,
        .lr = lr,
        .decay = params->weight_decay,
        .beta1 = params->beta1,
        .beta2 = params->beta2,
        .eps = params->eps,
        .m_scale = (float)(1.0 / (1.0 - adamw_power((double)params->beta1, adamw->steps))),
        .v_scale = (float)(1.0 / (1.0 - adamw_power((double)params->beta2, adamw->steps))),
    };
    const size_t tasks = (model->params + ADAMW_TASK_ELEMENTS - 1) / ADAMW_TASK_ELEMENTS;
    pool_run(pool, tasks, adamw_task, &job);
    model->generation++;
}

double schedule_lr(enum schedule_kind kind, double peak, double floor, uint64_t warmup,
                   uint64_t total, uint64_t t)
{
    if (t < warmup)
        return peak * (double)(t + 1) / (double)warmup;
    if (kind == SCHEDULE_constant)
        return peak;
    if (t >= total)
        return peak * floor;

    const double done = (double)(t - warmup) / (double)(total - warmup);
    const double left = kind == SCHEDULE_linear ? 1.0 - done : 0.5 * (1.0 + cos(M_PI * done));
    return peak * (floor + (1.0 - floor) * left);
}
