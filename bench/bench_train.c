/* bench_train.c -- whole training steps and scoring: what is left of the products' speed. */
#include "bench/bench_train.h"

#include "bench/bench_peak.h"
#include <stdio.h>
#include <stdlib.h>

void train_bench_batch(struct train_bench *t, size_t seqs, size_t tokens)
{
    t->N = seqs * tokens;
    t->offset = calloc(seqs + 1, sizeof *t->offset);
    t->at = calloc(t->N, sizeof *t->at);
    t->ids = calloc(t->N, sizeof *t->ids);
    t->target = calloc(t->N, sizeof *t->target);
    t->logp = bench_floats(t->N);
    t->dlogp = bench_floats(t->N);
    const uint32_t V = t->model->model->config.V;
    for (size_t s = 0; s < seqs; s++)
        t->offset[s + 1] = (uint32_t)((s + 1) * tokens);
    for (size_t n = 0; n < t->N; n++) {
        t->at[n] = (uint32_t)n;
        t->ids[n] = (int32_t)((n * 7919 + 13) % V);
        t->target[n] = (int32_t)(((n + 1) * 7919 + 13) % V);
        t->dlogp[n] = -1.0f / (float)t->N;
    }
}

static struct train_bench train_bench_new(const struct bench *bench,
                                          const struct bench_shape *shape, size_t seqs,
                                          size_t tokens, bool training)
{
    struct err err = {0};
    struct train_bench t = {.bench = bench};
    t.model = bench_model_new(bench, shape, seqs * tokens, seqs * tokens, training);
    train_bench_batch(&t, seqs, tokens);
    t.pass = pass_new(t.model->model, bench->pool, t.N, training, &err);
    if (!t.pass || (training && adamw_init(&t.adamw, t.model->model, &err)))
        bench_fail(shape->name, &err);
    t.grad = t.model->grad; /* the products may use it between two steps */
    return t;
}

static void train_bench_free(struct train_bench *t)
{
    pass_free(t->pass);
    adamw_release(&t->adamw);
    bench_model_free(t->model);
    free(t->offset);
    free(t->at);
    free(t->ids);
    free(t->target);
    free(t->logp);
    free(t->dlogp);
}

static void train_bench_score(void *arg)
{
    struct train_bench *t = arg;
    struct err err = {0};
    const struct pass_batch batch = {t->model->shape->seqs, t->offset, t->ids};
    const struct pass_logprob want = {t->N, t->at, t->target, 1.0f};
    if (pass_forward(t->pass, &batch, &err))
        bench_fail(t->model->shape->name, &err);
    pass_logprobs(t->pass, &want, t->logp, NULL, NULL);
}

void train_bench_step(void *arg)
{
    struct train_bench *t = arg;
    const struct adamw_params params = {0.9f, 0.95f, 1e-8f, 0.1f};
    const struct pass_logprob want = {t->N, t->at, t->target, 1.0f};
    train_bench_score(arg);
    pass_backward_begin(t->pass, t->grad, GEMM_SET);
    pass_logprobs_backward(t->pass, &want, t->dlogp, NULL);
    pass_backward_end(t->pass);
    const double norm = adamw_grad_norm(t->bench->pool, t->grad, t->model->model->params);
    adamw_update(&t->adamw, &params, t->model->model, t->bench->pool, t->grad,
                 norm > 1.0 ? (float)(1.0 / norm) : 1.0f, 1e-6f);
}

/* In fp32 against sgemm, which people measure a machine by; in bf16, which OpenBLAS has not,
 * against the tiles' peak and against the same step in fp32. */
static void train_case(const struct bench *bench, const struct bench_shape *shape)
{
    enum { STEP, PRODUCTS, UNITS, FP32, RUNS };
    const bool bf16 = bench->precision == PRECISION_BF16;
    const struct bench plain = bench_in_fp32(bench);
    struct train_bench t = train_bench_new(bench, shape, shape->seqs, shape->tokens, true);
    struct train_bench fp32 = {0};
    struct bench_sgemm sgemm = {0};
    struct bench_peak peak = bench_peak_bf16(bench);
    if (bf16)
        fp32 = train_bench_new(&plain, shape, shape->seqs, shape->tokens, true);
    else
        sgemm = bench_sgemm_new(bench);
    const struct bench_run runs[RUNS] = {
        [STEP] = {.fn = train_bench_step, .arg = &t},
        [PRODUCTS] = {.fn = bench_model_backward, .arg = t.model},
        [UNITS] = bf16 ? (struct bench_run){.fn = bench_peak_run,
                                            .arg = &peak,
                                            .calls = BENCH_PEAK_CALLS}
                       : (struct bench_run){bench_sgemm_run, &sgemm, .settle = BENCH_SETTLE},
        [FP32] = {.fn = train_bench_step, .arg = &fp32},
    };
    const size_t n = bf16 ? RUNS : FP32;
    struct bench_time times[RUNS] = {{0}};
    bench_times(bench, runs, n, times);
    const double tokens = (double)t.N, flop = 6.0 * (double)t.model->model->params;
    const struct bench_ceiling ceilings[] = {
        bench_ceiling_of("own products", tokens, times[PRODUCTS]),
        bench_ceiling_of(bf16 ? "the tiles' peak at 6N" : "sgemm at 6N",
                         (bf16 ? peak.flop : BENCH_SGEMM_FLOP) / flop, times[UNITS]),
        bench_ceiling_of("fp32", tokens, times[FP32]),
    };
    char what[64];
    snprintf(what, sizeof what, "%s, %zu x %zu tokens", shape->name, shape->seqs,
             shape->tokens);
    bench_report_under(bench, "train", what, tokens, "tokens/s", times[STEP], ceilings, n - 1);
    bench_sgemm_free(&sgemm);
    train_bench_free(&t);
    if (bf16)
        train_bench_free(&fp32);
}

void bench_train(const struct bench *bench)
{
    for (size_t i = 0; i < BENCH_SHAPES; i++)
        if (!bench_skips(bench, bench_shapes[i].name))
            train_case(bench, &bench_shapes[i]);
}

static void score_case(const struct bench *bench, const struct bench_shape *shape)
{
    const bool bf16 = bench->precision == PRECISION_BF16;
    const struct bench plain = bench_in_fp32(bench);
    struct train_bench t = train_bench_new(bench, shape, shape->seqs, shape->tokens, false);
    struct train_bench fp32 = {0};
    if (bf16)
        fp32 = train_bench_new(&plain, shape, shape->seqs, shape->tokens, false);
    const struct bench_run runs[] = {{.fn = train_bench_score, .arg = &t},
                                     {.fn = bench_model_forward, .arg = t.model},
                                     {.fn = train_bench_score, .arg = &fp32}};
    struct bench_time times[3] = {{0}};
    bench_times(bench, runs, bf16 ? 3 : 2, times);
    const struct bench_ceiling ceilings[] = {
        bench_ceiling_of("own products", (double)t.N, times[1]),
        bench_ceiling_of("fp32", (double)t.N, times[2])};
    char what[64];
    snprintf(what, sizeof what, "%s, %zu x %zu tokens", shape->name, shape->seqs,
             shape->tokens);
    bench_report_under(bench, "score", what, (double)t.N, "tokens/s", times[0], ceilings,
                       bf16 ? 2 : 1);
    train_bench_free(&t);
    if (bf16)
        train_bench_free(&fp32);
}

void bench_score(const struct bench *bench)
{
    for (size_t i = 0; i < BENCH_SHAPES; i++)
        if (!bench_skips(bench, bench_shapes[i].name))
            score_case(bench, &bench_shapes[i]);
}
