/* attention.c -- packed sequences, forward; see attention.h.  Blocks of keys and values are
 * laid out as panels, so that the work is small products (gemm_part) and what the softmax does
 * to their results. */
#include "engine/kernels/attention.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/attention_block.h"

enum {
    ATTENTION_STRIP = 128, /* packed rows of a task */
    ATTENTION_SHARES = 4,  /* strips a thread, of several, from which on a task has all heads */
};

/* A block of keys or values laid out on the stack. */
struct attention_near {
    _Alignas(64) float panels[ATTENTION_KEYS * ATTENTION_D_MAX];
};

struct attention_job {
    const struct attention *shape;
    float *out, *lse;
    const float *q, *k, *v;
    const uint32_t *offset;
    size_t seqs, strips; /* strips: of ATTENTION_STRIP packed rows */
    size_t heads;        /* of a task */
};

/* Blocks of keys and values of one head laid out for all queries of a task: as many as have
 * room, then the first ones are laid over. */
struct attention_laid {
    struct attention_near k, v;
    size_t blocks;                             /* that have room */
    size_t held[ATTENTION_D_MAX / GEMM_PANEL]; /* at place i: the block's number + 1, or 0 */
};

static void attention_laid_clear(struct attention_laid *laid, size_t D)
{
    laid->blocks = ATTENTION_D_MAX / attention_wide(D);
    memset(laid->held, 0, laid->blocks * sizeof *laid->held);
}

/* The panels of a block of `keys` keys; k and v are its first rows. */
static struct attention_panels attention_laid_block(struct attention_laid *laid, size_t block,
                                                    size_t keys, const struct attention *s,
                                                    const float *k, const float *v)
{
    const size_t at = block % laid->blocks;
    float *k_at = laid->k.panels + at * ATTENTION_KEYS * attention_wide(s->D);
    float *v_at = laid->v.panels + at * ATTENTION_KEYS * attention_wide(s->D);
    if (laid->held[at] != block + 1) {
        attention_lay_columns(k_at, k, s->kv_stride, keys, s->D);
        attention_lay_rows(v_at, ATTENTION_KEYS, v, s->kv_stride, keys, s->D);
        laid->held[at] = block + 1;
    }
    return (struct attention_panels){.k = k_at,
                                     .k_step = s->D * GEMM_PANEL,
                                     .v = v_at,
                                     .v_step = ATTENTION_KEYS * GEMM_PANEL,
                                     .v_lines = ATTENTION_KEYS};
}

/* Rows [n, end), at most ATTENTION_ROWS, of the sequence in rows [first, stop); one head. */
static void attention_forward_rows(const struct attention_job *job, struct attention_laid *laid,
                                   size_t first, size_t stop, size_t n, size_t end, size_t h)
{
    const struct attention *s = job->shape;
    const size_t g = h / (s->H / s->G), D = s->D;
    const struct attention_queries a = {.out = job->out + n * s->out_stride + h * D,
                                        .q = job->q + n * s->q_stride + h * D,
                                        .out_stride = s->out_stride,
                                        .q_stride = s->q_stride,
                                        .rows = end - n,
                                        .keys = n - first + 1,
                                        .step = 1,
                                        .D = D,
                                        .scale = s->scale};
    struct attention_work work;
    attention_start(&work, &a);
    for (size_t j = 0; j < end - first; j += ATTENTION_KEYS) {
        /* All keys of the block, also those that only later rows see. */
        const size_t keys = attention_min(stop - first - j, ATTENTION_KEYS);
        const size_t at = (first + j) * s->kv_stride + g * D;
        const struct attention_panels panels =
            attention_laid_block(laid, j / ATTENTION_KEYS, keys, s, job->k + at, job->v + at);
        attention_block(&work, &a, j, &panels);
    }
    float lse[ATTENTION_ROWS];
    attention_end(&work, &a, job->lse ? lse : NULL);
    for (size_t r = 0; job->lse && r < end - n; r++)
        job->lse[(n + r) * s->H + h] = lse[r];
}

/* Ask for what the next group of heads reads of some rows: neighbours in memory for which the
 * processor does not look by itself, as rows are far apart. */
static void attention_fetch_next(const struct attention_job *job, size_t n, size_t end,
                                 size_t h)
{
    const struct attention *s = job->shape;
    const size_t D = s->D, g = h / (s->H / s->G) + 1;
    if (g == s->G || job->heads == 1)
        return;
    for (; n < end; n++) {
        for (size_t d = 0; d < D; d += GEMM_PANEL) {
            __builtin_prefetch(job->k + n * s->kv_stride + g * D + d);
            __builtin_prefetch(job->v + n * s->kv_stride + g * D + d);
        }
        for (size_t d = 0; d < s->H / s->G * D; d += GEMM_PANEL)
            __builtin_prefetch(job->q + n * s->q_stride + g * (s->H / s->G) * D + d);
    }
}

/* Rows [n, last) of the sequence in rows [first, stop); one head. */
static void attention_forward_head(const struct attention_job *job, struct attention_laid *laid,
                                   size_t first, size_t stop, size_t n, size_t last, size_t h)
{
    const size_t group = job->shape->H / job->shape->G;
    if (h % group == 0 || job->heads == 1) /* of a group all read the same keys and values */
        attention_laid_clear(laid, job->shape->D);
    for (size_t rows; n < last; n += rows) {
        rows = attention_min(last - n, ATTENTION_ROWS);
        if (h % group == 0)
            attention_fetch_next(job, n, n + rows, h);
        attention_forward_rows(job, laid, first, stop, n, n + rows, h);
    }
}

/* Task: ATTENTION_STRIP packed rows (which may span sequences), some heads. */
static void attention_forward_task(void *arg, size_t i)
{
    const struct attention_job *job = arg;
    const size_t shares = job->shape->H / job->heads, total = job->offset[job->seqs];
    /* The last rows have the most keys: they go first, so that the tasks end together. */
    const size_t begin = (job->strips - 1 - i / shares) * ATTENTION_STRIP;
    const size_t end = attention_min(begin + ATTENTION_STRIP, total);
    struct attention_laid laid;
    size_t seq = 0;
    for (size_t n = begin, last; n < end; n = last) {
        while (job->offset[seq + 1] <= n)
            seq++;
        const size_t stop = job->offset[seq + 1], h = i % shares * job->heads;
        last = attention_min(stop, end);
        for (size_t k = 0; k < job->heads; k++)
            attention_forward_head(job, &laid, job->offset[seq], stop, n, last, h + k);
    }
}

void attention_forward(struct pool *pool, const struct attention *shape, float *out, float *lse,
                       const float *q, const float *k, const float *v, const uint32_t *offset,
                       size_t seqs)
{
    attention_check(shape);
    struct attention_job job = {.shape = shape,
                                .out = out,
                                .lse = lse,
                                .q = q,
                                .k = k,
                                .v = v,
                                .offset = offset,
                                .seqs = seqs};
    job.strips = (offset[seqs] + ATTENTION_STRIP - 1) / ATTENTION_STRIP;
    const size_t threads = pool_threads(pool);
    job.heads = threads > 1 && job.strips < ATTENTION_SHARES * threads ? 1 : shape->H;
    pool_run(pool, job.strips * (shape->H / job.heads), attention_forward_task, &job);
}
