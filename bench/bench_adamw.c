/* bench_adamw.c -- the optimizer's update, which does little more than go through memory. */
#include <stdlib.h>

#include "bench/bench_model.h"
#include "engine/adamw.h"

enum { TRIAD_FLOATS = 1 << 16 }; /* of a task */

struct adamw_bench {
    const struct bench *bench;
    struct model *model;
    struct adamw adamw;
    float *grad;
};

static void adamw_run(void *arg)
{
    struct adamw_bench *b = arg;
    const struct adamw_params params = {0.9f, 0.95f, 1e-8f, 0.1f};
    adamw_update(&b->adamw, &params, b->model, b->bench->pool, b->grad, 1.0f, 1e-6f);
}

/* a = b + 3 c, 16 bytes an element with the line of a that is read before it is written; over
 * the moments and the gradient. */
static void adamw_triad_task(void *arg, size_t i)
{
    const struct adamw_bench *bench = arg;
    const size_t n = bench->model->params, begin = i * TRIAD_FLOATS;
    const size_t end = begin + TRIAD_FLOATS < n ? begin + TRIAD_FLOATS : n;
    float *restrict a = bench->grad;
    const float *restrict b = bench->adamw.m, *restrict c = bench->adamw.v;
    for (size_t k = begin; k < end; k++)
        a[k] = b[k] + 3.0f * c[k];
}

static void adamw_triad(void *arg)
{
    const struct adamw_bench *bench = arg;
    pool_run(bench->bench->pool, (bench->model->params + TRIAD_FLOATS - 1) / TRIAD_FLOATS,
             adamw_triad_task, arg);
}

static void adamw_case(const struct bench *bench, const struct bench_shape *shape)
{
    struct err err = {0};
    struct adamw_bench b = {.bench = bench, .model = model_new(&shape->config, &err)};
    if (!b.model || adamw_init(&b.adamw, b.model, &err))
        bench_fail("adamw", &err);
    model_init_random(b.model, 1, 0.02f);
    b.grad = bench_floats(b.model->params);
    const struct bench_run runs[] = {{.fn = adamw_run, .arg = &b},
                                     {.fn = adamw_triad, .arg = &b}};
    struct bench_time times[2];
    bench_times(bench, runs, 2, times);
    const double params = (double)b.model->params;
    const struct bench_ceiling triad = bench_ceiling_of("triad", 16e-9 * params, times[1]);
    bench_report_under(bench, "adamw", shape->name, 28e-9 * params, "GB/s", times[0], &triad,
                       1);
    adamw_release(&b.adamw);
    model_free(b.model);
    free(b.grad);
}

void bench_adamw(const struct bench *bench)
{
    for (size_t i = 0; i < BENCH_SHAPES; i++)
        if (!bench_skips(bench, bench_shapes[i].name))
            adamw_case(bench, &bench_shapes[i]);
}
