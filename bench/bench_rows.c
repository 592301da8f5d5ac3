/* bench_rows.c -- what works on rows and elements: log-probs, norms, activations, rotation. */
#include <stdlib.h>

#include "bench/bench.h"
#include "engine/kernels/gelu.h"
#include "engine/kernels/layernorm.h"
#include "engine/kernels/logprob.h"
#include "engine/kernels/rmsnorm.h"
#include "engine/kernels/rope.h"
#include "engine/kernels/swiglu.h"

enum { LOGITS = 32, V = 50257, N = 512, C = 768, F = 3072, D = 64 };

struct rows_bench {
    const struct bench *bench;
    float *x, *y, *w, *b, *r, *mean, *cosine, *sine;
    uint32_t *position;
    int32_t *target;
    struct logprob *logprobs;
};

static void rows_logprob(void *arg)
{
    struct rows_bench *b = arg;
    logprob_forward(b->bench->pool, b->logprobs, b->x, V, b->target, 1.0f, LOGITS, V);
}

static void rows_logprob_backward(void *arg)
{
    struct rows_bench *b = arg;
    logprob_backward(b->bench->pool, b->y, b->x, V, b->logprobs, b->target, b->w, b->w, 1.0f,
                     LOGITS, V);
}

void bench_logprob(const struct bench *bench)
{
    struct rows_bench b = {.bench = bench,
                           .x = bench_floats((size_t)LOGITS * V),
                           .y = bench_floats((size_t)LOGITS * V),
                           .w = bench_floats(LOGITS),
                           .target = calloc(LOGITS, sizeof(int32_t)),
                           .logprobs = calloc(LOGITS, sizeof(struct logprob))};
    const double work = 1e-6 * LOGITS * V;
    bench_report(bench, "logprob", "forward V=50257", work, "M/s",
                 bench_time(bench, rows_logprob, &b));
    bench_report(bench, "logprob", "backward V=50257", work, "M/s",
                 bench_time(bench, rows_logprob_backward, &b));
    free(b.x);
    free(b.y);
    free(b.w);
    free(b.target);
    free(b.logprobs);
}

static void rows_rmsnorm(void *arg)
{
    struct rows_bench *b = arg;
    rmsnorm_forward(b->bench->pool, b->y, C, b->r, b->x, C, b->w, N, C, 1e-5f);
}

static void rows_rmsnorm_backward(void *arg)
{
    struct rows_bench *b = arg;
    rmsnorm_backward(b->bench->pool, b->y, C, b->b, b->x, C, b->x, C, b->w, b->r, N, C);
}

static void rows_layernorm(void *arg)
{
    struct rows_bench *b = arg;
    layernorm_forward(b->bench->pool, b->y, b->mean, b->r, b->x, b->w, b->w, N, C, 1e-5f);
}

static void rows_layernorm_backward(void *arg)
{
    struct rows_bench *b = arg;
    layernorm_backward(b->bench->pool, b->y, b->b, b->b + C, b->x, b->x, b->w, b->mean, b->r, N,
                       C);
}

static void rows_gelu(void *arg)
{
    struct rows_bench *b = arg;
    gelu_forward(b->bench->pool, b->y, b->x, (size_t)N * F);
}

static void rows_gelu_backward(void *arg)
{
    struct rows_bench *b = arg;
    gelu_backward(b->bench->pool, b->y, NULL, b->x, b->x, (size_t)N * F);
}

static void rows_swiglu(void *arg)
{
    struct rows_bench *b = arg;
    swiglu_forward(b->bench->pool, b->y, b->x, b->x, F, N, F);
}

static void rows_swiglu_backward(void *arg)
{
    struct rows_bench *b = arg;
    swiglu_backward(b->bench->pool, b->y, b->y + (size_t)N * F, NULL, b->x, b->x, b->x, F, N,
                    F);
}

static void rows_rope(void *arg)
{
    struct rows_bench *b = arg;
    rope_forward(b->bench->pool, b->y, C, b->position, b->cosine, b->sine, N, C / D, D);
}

void bench_elementwise(const struct bench *bench)
{
    static const struct {
        const char *what;
        void (*run)(void *arg);
        double elements;
    } cases[] = {
        {"rmsnorm forward C=768", rows_rmsnorm, (double)N * C},
        {"rmsnorm backward C=768", rows_rmsnorm_backward, (double)N * C},
        {"layernorm forward C=768", rows_layernorm, (double)N * C},
        {"layernorm backward C=768", rows_layernorm_backward, (double)N * C},
        {"gelu forward", rows_gelu, (double)N * F},
        {"gelu backward", rows_gelu_backward, (double)N * F},
        {"swiglu forward", rows_swiglu, (double)N * F},
        {"swiglu backward", rows_swiglu_backward, (double)N * F},
        {"rope D=64", rows_rope, (double)N * C},
    };
    const size_t big = (size_t)N * F;
    struct rows_bench b = {.bench = bench,
                           .x = bench_floats(big),
                           .y = bench_floats(2 * big),
                           .w = bench_floats(C),
                           .b = bench_floats(2 * C),
                           .r = bench_floats(N),
                           .mean = bench_floats(N),
                           .cosine = bench_floats((size_t)N * D),
                           .sine = bench_floats((size_t)N * D),
                           .position = calloc(N, sizeof(uint32_t))};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        bench_report(bench, "elementwise", cases[i].what, 1e-6 * cases[i].elements, "M/s",
                     bench_time(bench, cases[i].run, &b));
    float *const all[] = {b.x, b.y, b.w, b.b, b.r, b.mean, b.cosine, b.sine};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    free(b.position);
}
