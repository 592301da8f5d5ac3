/* bench_growth.c -- what a training step costs as sequences, the batch and the model grow: its time
 * a token, and its memory beside the formula of docs/PERFORMANCE.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench_train.h"

static const struct growth_row {
    size_t seqs, tokens;
    uint32_t layers;
} growth_rows[] = {
    {128, 32, 6}, {64, 64, 6},  {32, 128, 6}, {16, 256, 6}, {8, 512, 6},   {4, 1024, 6},
    {8, 128, 6},  {16, 128, 6}, {64, 128, 6}, {32, 128, 3}, {32, 128, 12}, {32, 128, 24},
};

static double growth_resident(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* Weights, gradient, two moments; the packed copy; activations. */
static double growth_formula(const struct train_bench *t)
{
    struct err err = {0};
    struct model *model = t->model->model;
    struct block *block =
        block_new(model, t->bench->pool, t->model->shape->config.T, true, &err);
    if (!block)
        bench_fail("growth", &err);
    const size_t packed = block->arena.capacity_bytes;
    block_free(block);
    return 4.0 * (double)model_bytes(model) + (double)packed +
           (double)pass_bytes(&model->config, t->N, true);
}

static void growth_name(const struct bench_shape *shape, char what[64])
{
    snprintf(what, 64, "%s, %zu x %zu tokens, %u layers", shape->name, shape->seqs,
             shape->tokens, (unsigned)shape->config.L);
}

/* Beside its products, which grow as tokens and layers do: what is more of it grows otherwise. */
static void growth_time(struct train_bench *t, const char *what)
{
    const struct bench *bench = t->bench;
    struct bench_model *products = bench_model_new(bench, t->model->shape, t->N, t->N, true);
    const struct bench_run runs[] = {{.fn = train_bench_step, .arg = t},
                                     {.fn = bench_model_backward, .arg = products}};
    struct bench_time times[2];
    bench_times(bench, runs, 2, times);
    const struct bench_ceiling ceiling =
        bench_ceiling_of("own products", (double)t->N, times[1]);
    bench_report_under(bench, "growth", what, (double)t->N, "tokens/s", times[0], &ceiling, 1);
    bench_model_free(products);
}

/* `timed`: its time as well as its memory. */
static void growth_measure(const struct bench *bench, const struct bench_shape *shape,
                           bool timed)
{
    struct err err = {0};
    const double before = growth_resident(), mib = 1024.0 * 1024.0;
    struct model *model = model_new(&shape->config, &err);
    if (!model)
        bench_fail(shape->name, &err);
    model_init_random(model, 1, 0.02f);
    model->precision = bench->precision;
    struct bench_model light = {.bench = bench, .shape = shape, .model = model};
    struct train_bench t = {.bench = bench, .model = &light};
    train_bench_batch(&t, shape->seqs, shape->tokens);
    t.grad = bench_floats(model->params);
    t.pass = pass_new(model, bench->pool, t.N, true, &err);
    if (!t.pass || adamw_init(&t.adamw, model, &err))
        bench_fail(shape->name, &err);
    char what[64];
    growth_name(shape, what);
    train_bench_step(&t);
    const double resident = growth_resident() - before;
    const double formula = growth_formula(&t) / mib;
    if (timed)
        growth_time(&t, what);
    bench_report_under(bench, "memory", what, resident / mib, "MiB",
                       (struct bench_time){1.0, 1.0, 1},
                       &(struct bench_ceiling){"the formula", formula, formula}, 1);
}

/* In a process of its own, lest it find memory of another. */
static void growth_apart(const struct bench *bench, const struct bench_shape *shape, bool timed)
{
    struct err err = {0};
    char what[64];
    int status = 0;
    growth_name(shape, what);
    if (bench_skips(bench, what))
        return;
    bench_report_begin(bench);
    const pid_t child = fork();
    if (child == 0) {
        struct bench own = *bench;
        pool_thread_init();
        own.pool = pool_new(bench->threads, &err);
        if (!own.pool)
            bench_fail("threads", &err);
        growth_measure(&own, shape, timed);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0)
        bench_stop(what, "the process that measures it failed");
}

void bench_growth(const struct bench *bench)
{
    for (size_t i = 0; i < sizeof growth_rows / sizeof growth_rows[0]; i++) {
        struct bench_shape shape = *bench_shape_named("llama-1.3m");
        shape.seqs = growth_rows[i].seqs;
        shape.tokens = growth_rows[i].tokens;
        shape.config.L = growth_rows[i].layers;
        growth_apart(bench, &shape, true);
    }
    for (size_t i = 0; i < BENCH_SHAPES; i++)
        growth_apart(bench, &bench_shapes[i], false);
}
