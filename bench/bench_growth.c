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

static struct bench_shape growth_shape(void)
{
    size_t i = 0;
    while (strcmp(bench_shapes[i].name, "llama-1.3m") != 0)
        i++;
    return bench_shapes[i];
}

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

/* `timed`: as often as others, and reported; else once, for its memory. */
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
    snprintf(what, sizeof what, "%s, %zu x %zu tokens, %u layers", shape->name, shape->seqs,
             shape->tokens, (unsigned)shape->config.L);
    if (timed)
        bench_report(bench, "growth", what, (double)t.N, "tokens/s",
                     bench_time(bench, train_bench_step, &t));
    else
        train_bench_step(&t);
    const double resident = growth_resident() - before;
    const double formula = growth_formula(&t) / mib;
    bench_report_under(bench, "memory", what, resident / mib, "MiB",
                       (struct bench_time){1.0, 1.0, 1},
                       &(struct bench_ceiling){"the formula", formula, formula}, 1);
}

/* In a process of its own, lest it find memory of another. */
static void growth_apart(const struct bench *bench, const struct bench_shape *shape, bool timed)
{
    struct err err = {0};
    fflush(stdout);
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
    if (child > 0)
        waitpid(child, NULL, 0);
}

void bench_growth(const struct bench *bench)
{
    for (size_t i = 0; i < sizeof growth_rows / sizeof growth_rows[0]; i++) {
        struct bench_shape shape = growth_shape();
        shape.seqs = growth_rows[i].seqs;
        shape.tokens = growth_rows[i].tokens;
        shape.config.L = growth_rows[i].layers;
        growth_apart(bench, &shape, true);
    }
    for (size_t i = 0; i < BENCH_SHAPES; i++)
        if (!bench_skips(bench, bench_shapes[i].name))
            growth_apart(bench, &bench_shapes[i], false);
}
