/* bench_decode.c -- generation: prompts into the cache, then a token a row and turn. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench_model.h"
#include "engine/generate.h"

enum { DECODE_PROMPT = 16, DECODE_NEW = 112, DECODE_ROWS_MAX = 64, PREFILL_PROMPT = 128 };

struct decode_bench {
    const struct bench *bench;
    struct bench_model *model;
    struct generator *generator;
    size_t rows, under_way;
    uint32_t prompt_tokens, new_tokens;
    int32_t prompt[PREFILL_PROMPT];
    uint64_t requests;
};

static void decode_done(void *arg, const struct generate_result *result)
{
    (void)arg;
    (void)result;
}

static void decode_add(struct decode_bench *d)
{
    for (size_t r = 0; r < d->rows; r++) {
        struct err err = {0};
        const struct generate_request request = {
            .tag = r,
            .prompt = d->prompt,
            .prompt_tokens = d->prompt_tokens,
            .max_new_tokens = d->new_tokens,
            .sampling = {.temperature = 1.0f, .top_p = 1.0f},
            .seed = 1,
            .stream = RNG_STREAM_CLI,
            .a = d->requests++};
        if (generator_add(d->generator, &request, &err))
            bench_fail(d->model->shape->name, &err);
    }
    d->under_way = d->rows;
}

/* All rows past their prompts, none at its end. */
static void decode_ready(void *arg)
{
    struct decode_bench *d = arg;
    if (d->under_way == d->rows)
        return;
    generator_cancel(d->generator);
    decode_add(d);
    for (size_t turn = 0; turn < 4; turn++)
        generator_step(d->generator, decode_done, NULL);
}

static void decode_turn(void *arg)
{
    struct decode_bench *d = arg;
    d->under_way = generator_step(d->generator, decode_done, NULL);
}

static void decode_prefill(void *arg)
{
    struct decode_bench *d = arg;
    decode_add(d);
    while (generator_step(d->generator, decode_done, NULL) > 0)
        ;
}

static struct decode_bench decode_new(const struct bench *bench,
                                      const struct bench_shape *shape, size_t rows,
                                      uint32_t prompt_tokens, uint32_t new_tokens,
                                      size_t product_rows)
{
    struct err err = {0};
    struct decode_bench d = {.bench = bench,
                             .model = bench_model_new(bench, shape, product_rows, rows, false),
                             .rows = rows,
                             .prompt_tokens = prompt_tokens,
                             .new_tokens = new_tokens};
    for (uint32_t i = 0; i < prompt_tokens; i++)
        d.prompt[i] = (int32_t)((i * 7919 + 13) % shape->config.V);
    d.generator = generator_new(d.model->model, bench->pool, NULL, rows,
                                prompt_tokens + new_tokens, &err);
    if (!d.generator)
        bench_fail(shape->name, &err);
    return d;
}

static void decode_free(struct decode_bench *d)
{
    generator_free(d->generator);
    bench_model_free(d->model);
}

static void decode_case(const struct bench *bench, const struct bench_shape *shape, size_t rows)
{
    char what[64];
    snprintf(what, sizeof what, "%s, batch %zu", shape->name, rows);
    if (bench_skips(bench, what))
        return;
    const bool bf16 = bench->precision == PRECISION_BF16;
    const struct bench plain = bench_in_fp32(bench);
    struct decode_bench d = decode_new(bench, shape, rows, DECODE_PROMPT, DECODE_NEW, rows);
    struct decode_bench fp32 = {0};
    if (bf16)
        fp32 = decode_new(&plain, shape, rows, DECODE_PROMPT, DECODE_NEW, rows);
    const size_t calls = 8;
    const struct bench_run runs[] = {
        {.fn = decode_turn, .arg = &d, .before = decode_ready, .calls = calls},
        {.fn = bench_model_forward, .arg = d.model, .calls = calls},
        {.fn = bench_model_read, .arg = d.model, .calls = calls},
        {.fn = decode_turn, .arg = &fp32, .before = decode_ready, .calls = calls},
    };
    struct bench_time times[4] = {{0}};
    bench_times(bench, runs, bf16 ? 4 : 3, times);
    const double work = (double)rows;
    struct bench_ceiling ceilings[3] = {bench_ceiling_of("own products", work, times[1])};
    size_t n = 1;
    if (rows == 1)
        ceilings[n++] = bench_ceiling_of("reading the weights", work, times[2]);
    if (bf16)
        ceilings[n++] = bench_ceiling_of("fp32", work, times[3]);
    bench_report_under(bench, "decode", what, work, "tokens/s", times[0], ceilings, n);
    decode_free(&d);
    if (bf16)
        decode_free(&fp32);
}

void bench_decode(const struct bench *bench)
{
    static const size_t rows[] = {1, 8, 32, DECODE_ROWS_MAX};
    for (size_t i = 0; i < BENCH_SHAPES; i++)
        for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++)
            decode_case(bench, &bench_shapes[i], rows[k]);
}

static void prefill_case(const struct bench *bench, const struct bench_shape *shape)
{
    enum { ROWS = 4 };
    const bool bf16 = bench->precision == PRECISION_BF16;
    const struct bench plain = bench_in_fp32(bench);
    struct decode_bench d =
        decode_new(bench, shape, ROWS, PREFILL_PROMPT, 1, ROWS * PREFILL_PROMPT);
    struct decode_bench fp32 = {0};
    if (bf16)
        fp32 = decode_new(&plain, shape, ROWS, PREFILL_PROMPT, 1, ROWS * PREFILL_PROMPT);
    const struct bench_run runs[] = {{.fn = decode_prefill, .arg = &d},
                                     {.fn = bench_model_forward, .arg = d.model},
                                     {.fn = decode_prefill, .arg = &fp32}};
    struct bench_time times[3] = {{0}};
    bench_times(bench, runs, bf16 ? 3 : 2, times);
    const double work = ROWS * PREFILL_PROMPT;
    const struct bench_ceiling ceilings[] = {bench_ceiling_of("own products", work, times[1]),
                                             bench_ceiling_of("fp32", work, times[2])};
    char what[64];
    snprintf(what, sizeof what, "%s, %d x %d tokens", shape->name, ROWS, PREFILL_PROMPT);
    bench_report_under(bench, "prefill", what, work, "tokens/s", times[0], ceilings,
                       bf16 ? 2 : 1);
    decode_free(&d);
    if (bf16)
        decode_free(&fp32);
}

void bench_prefill(const struct bench *bench)
{
    for (size_t i = 0; i < BENCH_SHAPES; i++)
        if (!bench_skips(bench, bench_shapes[i].name))
            prefill_case(bench, &bench_shapes[i]);
}
