/* bench_rows.c -- what works on rows and elements: log-probs, norms, activations, rotation; in
 * turns with moving as many bytes as they must, and log-probs with their exponentials. */
#include <stdlib.h>

#include "bench/bench_memory.h"
#include "engine/kernels/gelu.h"
#include "engine/kernels/layernorm.h"
#include "engine/kernels/logprob.h"
#include "engine/kernels/rmsnorm.h"
#include "engine/kernels/rope.h"
#include "engine/kernels/swiglu.h"
#include "engine/kernels/vmath_rows.h"

enum { LOGITS = 32, V = 50257, N = 512, C = 768, F = 3072, D = 64, ROWS_BLOCK = 256 };

struct rows_bench {
    const struct bench *bench;
    float *x, *up, *dy, *y, *dup; /* the last two are written */
    float *w, *b, *r, *mean, *cosine, *sine;
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

/* As many as a row has, over a block in the first-level cache. */
static void rows_exp_task(void *arg, size_t i)
{
    const struct rows_bench *b = arg;
    float e[ROWS_BLOCK];
    for (size_t v = 0; v < V; v += ROWS_BLOCK)
        vmath_rows_exp(e, b->x + i * ROWS_BLOCK, V - v < ROWS_BLOCK ? V - v : ROWS_BLOCK);
}

static void rows_exp(void *arg)
{
    struct rows_bench *b = arg;
    pool_run(b->bench->pool, LOGITS, rows_exp_task, b);
}

void bench_logprob(const struct bench *bench)
{
    enum { FORWARD, BACKWARD, EXP, READ, COPY, RUNS };
    struct rows_bench b = {.bench = bench,
                           .x = bench_floats((size_t)LOGITS * V),
                           .y = bench_floats((size_t)LOGITS * V),
                           .w = bench_floats(LOGITS),
                           .target = calloc(LOGITS, sizeof(int32_t)),
                           .logprobs = calloc(LOGITS, sizeof(struct logprob))};
    struct bench_memory read = {.bench = bench, .n = (size_t)LOGITS * V, .in = {b.x}};
    struct bench_memory copy = read;
    copy.out[0] = b.y;
    const struct bench_run runs[RUNS] = {[FORWARD] = {.fn = rows_logprob, .arg = &b},
                                         [BACKWARD] = {.fn = rows_logprob_backward, .arg = &b},
                                         [EXP] = {.fn = rows_exp, .arg = &b},
                                         [READ] = {.fn = bench_memory_run, .arg = &read},
                                         [COPY] = {.fn = bench_memory_run, .arg = &copy}};
    struct bench_time times[RUNS];
    bench_times(bench, runs, RUNS, times);
    const double work = 1e-6 * LOGITS * V;
    struct bench_ceiling ceilings[] = {bench_ceiling_of("their exponentials", work, times[EXP]),
                                       bench_ceiling_of("reading", work, times[READ])};
    bench_report_under(bench, "logprob", "forward V=50257", work, "M/s", times[FORWARD],
                       ceilings, 2);
    ceilings[1] = bench_ceiling_of("copying", work, times[COPY]);
    bench_report_under(bench, "logprob", "backward V=50257", work, "M/s", times[BACKWARD],
                       ceilings, 2);
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
    rmsnorm_backward(b->bench->pool, b->y, C, b->b, b->dy, C, b->x, C, b->w, b->r, N, C);
}

static void rows_layernorm(void *arg)
{
    struct rows_bench *b = arg;
    layernorm_forward(b->bench->pool, b->y, b->mean, b->r, b->x, b->w, b->w, N, C, 1e-5f);
}

static void rows_layernorm_backward(void *arg)
{
    struct rows_bench *b = arg;
    layernorm_backward(b->bench->pool, b->y, b->b, b->b + C, b->dy, b->x, b->w, b->mean, b->r,
                       N, C);
}

static void rows_gelu(void *arg)
{
    struct rows_bench *b = arg;
    gelu_forward(b->bench->pool, b->y, b->x, (size_t)N * F);
}

static void rows_gelu_backward(void *arg)
{
    struct rows_bench *b = arg;
    gelu_backward(b->bench->pool, b->y, NULL, b->dy, b->x, (size_t)N * F);
}

static void rows_swiglu(void *arg)
{
    struct rows_bench *b = arg;
    swiglu_forward(b->bench->pool, b->y, b->x, b->up, F, N, F);
}

static void rows_swiglu_backward(void *arg)
{
    struct rows_bench *b = arg;
    swiglu_backward(b->bench->pool, b->y, b->dup, NULL, b->dy, b->x, b->up, F, N, F);
}

static void rows_rope(void *arg)
{
    struct rows_bench *b = arg;
    rope_forward(b->bench->pool, b->y, C, b->position, b->cosine, b->sine, N, C / D, D);
}

static const struct rows_case {
    const char *what;
    void (*run)(void *arg);
    size_t elements, reads, writes; /* arrays */
    bool adds;                      /* what is written is read, too */
} rows_cases[] = {
    {"rmsnorm forward C=768", rows_rmsnorm, N *C, 1, 1, false},
    {"rmsnorm backward C=768", rows_rmsnorm_backward, N *C, 2, 1, true},
    {"layernorm forward C=768", rows_layernorm, N *C, 1, 1, false},
    {"layernorm backward C=768", rows_layernorm_backward, N *C, 2, 1, true},
    {"gelu forward", rows_gelu, N *F, 1, 1, false},
    {"gelu backward", rows_gelu_backward, N *F, 2, 1, false},
    {"swiglu forward", rows_swiglu, N *F, 2, 1, false},
    {"swiglu backward", rows_swiglu_backward, N *F, 3, 2, false},
    {"rope D=64", rows_rope, N *C, 0, 1, true},
};

static void rows_case_run(struct rows_bench *b, const struct rows_case *of)
{
    const float *const in[] = {b->x, b->up, b->dy};
    float *const out[] = {b->y, b->dup};
    struct bench_memory memory = {.bench = b->bench, .n = of->elements};
    for (size_t i = 0; i < of->reads; i++)
        memory.in[i] = in[i];
    for (size_t i = 0; i < of->writes; i++)
        memory.out[i] = out[i];
    if (of->adds)
        memory.in[of->reads] = out[0];
    const struct bench_run runs[] = {{.fn = of->run, .arg = b, .calls = 4},
                                     {.fn = bench_memory_run, .arg = &memory, .calls = 4}};
    struct bench_time times[2];
    bench_times(b->bench, runs, 2, times);
    const double work = 1e-6 * (double)of->elements;
    const struct bench_ceiling ceiling = bench_ceiling_of("moving the bytes", work, times[1]);
    bench_report_under(b->bench, "elementwise", of->what, work, "M/s", times[0], &ceiling, 1);
}

void bench_elementwise(const struct bench *bench)
{
    const size_t big = (size_t)N * F;
    struct rows_bench b = {.bench = bench,
                           .x = bench_floats(big),
                           .up = bench_floats(big),
                           .dy = bench_floats(big),
                           .y = bench_floats(big),
                           .dup = bench_floats(big),
                           .w = bench_floats(C),
                           .b = bench_floats(2 * C),
                           .r = bench_floats(N),
                           .mean = bench_floats(N),
                           .cosine = bench_floats((size_t)N * D),
                           .sine = bench_floats((size_t)N * D),
                           .position = calloc(N, sizeof(uint32_t))};
    for (size_t i = 0; i < sizeof rows_cases / sizeof rows_cases[0]; i++)
        rows_case_run(&b, &rows_cases[i]);
    float *const all[] = {b.x, b.up, b.dy, b.y, b.dup, b.w, b.b, b.r, b.mean, b.cosine, b.sine};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    free(b.position);
}
