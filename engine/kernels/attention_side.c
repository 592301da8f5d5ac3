/* attention_side.c -- see attention_side.h. */
#include "engine/kernels/attention_side.h"

#include <math.h>
#include <string.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/vmath.h"

enum {
    ATTENTION_SIDE_TURN =
        4, /* numbers of a row or column that are turned together; divides D and W */
    ATTENTION_SIDE_SUMS = 4, /* lines that are under way together: divides W */
    ATTENTION_SIDE_QUERIES = LANES / ATTENTION_SIDE_TURN,
};

size_t attention_side_groups(const struct attention *shape)
{
    if (shape->D > ATTENTION_SIDE_D_MAX || shape->D % ATTENTION_SIDE_TURN != 0)
        return 0;
    return shape->G % 8 == 0 ? 8 : shape->G % 4 == 0 ? 4 : 0;
}

/* Four rows of four, turned. */
static inline ISA_BODY void attention_side_turn_four(lanes_4 a[ATTENTION_SIDE_TURN])
{
    const lanes_4 low = __builtin_shufflevector(a[0], a[1], 0, 4, 1, 5);
    const lanes_4 high = __builtin_shufflevector(a[0], a[1], 2, 6, 3, 7);
    const lanes_4 low_2 = __builtin_shufflevector(a[2], a[3], 0, 4, 1, 5);
    const lanes_4 high_2 = __builtin_shufflevector(a[2], a[3], 2, 6, 3, 7);
    a[0] = __builtin_shufflevector(low, low_2, 0, 1, 4, 5);
    a[1] = __builtin_shufflevector(low, low_2, 2, 3, 6, 7);
    a[2] = __builtin_shufflevector(high, high_2, 0, 1, 4, 5);
    a[3] = __builtin_shufflevector(high, high_2, 2, 3, 6, 7);
}

/* to[c][r] = from[r][c]; rows and columns are whole fours, the strides floats. */
static inline ISA_BODY void attention_side_turn_body(float *restrict to, size_t to_stride,
                                                     const float *restrict from,
                                                     size_t from_stride, size_t rows,
                                                     size_t cols)
{
    for (size_t r = 0; r < rows; r += ATTENTION_SIDE_TURN)
        for (size_t c = 0; c < cols; c += ATTENTION_SIDE_TURN) {
            lanes_4 a[ATTENTION_SIDE_TURN];
            for (size_t i = 0; i < ATTENTION_SIDE_TURN; i++)
                memcpy(&a[i], from + (r + i) * from_stride + c, sizeof a[i]);
            attention_side_turn_four(a);
            for (size_t i = 0; i < ATTENTION_SIDE_TURN; i++)
                memcpy(to + (c + i) * to_stride + r, &a[i], sizeof a[i]);
        }
}
ISA_FUNCTION(attention_side_turn,
             (float *to, size_t to_stride, const float *from, size_t from_stride, size_t rows,
              size_t cols),
             (to, to_stride, from, from_stride, rows, cols))

void attention_side_put(const struct attention *shape, float *piece, size_t line,
                        const float *k, const float *v)
{
    const size_t W = attention_side_groups(shape), D = shape->D;
    const size_t bunch = ATTENTION_PIECE * D * W;
    float *k_at = piece + line * W, *v_at = piece + shape->G / W * bunch + line * D * W;
    for (size_t g = 0; g < shape->G; g += W, k_at += bunch, v_at += bunch) {
        attention_side_turn(k_at, ATTENTION_PIECE * W, k + g * D, D, W, D);
        attention_side_turn(v_at, W, v + g * D, D, W, D);
    }
}

/* ---- a block ---- */

/* What is common to W heads, for all lanes. */
static inline ISA_BODY void attention_side_spread(float *restrict line, const float *restrict x,
                                                  size_t W)
{
    for (size_t i = 0; i < LANES; i += W)
        memcpy(line + i, x, W * sizeof *x);
}

/* Scores of a piece for one query. */
static inline ISA_BODY void attention_side_scores(float *restrict p, const float *restrict q,
                                                  const float *restrict k, size_t D, size_t W)
{
    for (size_t at = 0; at < W * LANES; at += ATTENTION_SIDE_SUMS * LANES) {
        float s[ATTENTION_SIDE_SUMS][LANES] = {{0}}, one[LANES];
        for (size_t d = 0; d < D; d++) {
            const float *line = k + d * W * LANES + at;
            attention_side_spread(one, q + d * W, W);
            ISA_UNROLL
            for (size_t l = 0; l < ATTENTION_SIDE_SUMS; l++)
                for (size_t i = 0; i < LANES; i++)
                    s[l][i] = fmaf(line[l * LANES + i], one[i], s[l][i]);
        }
        memcpy(p + at, s, sizeof s);
    }
}

/* The greatest of a head's `keys` scores. */
static inline ISA_BODY void
attention_side_greatest(float *restrict most, const float *restrict p, size_t keys, size_t W)
{
    for (size_t w = 0; w < W; w++)
        most[w] = -INFINITY;
    for (size_t j = 0; j < keys; j++, p += W)
        for (size_t w = 0; w < W; w++)
            most[w] = lanes_greater(most[w], p[w]);
}

/* Scores to weights; their sums, in the order of lanes.h. */
static inline ISA_BODY void attention_side_weigh(float *restrict sum, float *restrict p,
                                                 size_t pieces, const float *restrict max,
                                                 float scale, size_t W)
{
    float line[LANES], part[ATTENTION_SIDE_MAX * LANES] = {0}; /* of a piece */
    attention_side_spread(line, max, W);
    for (size_t i = 0; i < pieces; i++)
        for (size_t l = 0; l < W * LANES; l += LANES, p += LANES)
            for (size_t n = 0; n < LANES; n++) {
                p[n] = vmath_exp_negative(fmaf(p[n], scale, -line[n]));
                part[l + n] += p[n];
            }
    for (size_t half = W * LANES / 2; half >= W; half /= 2)
        for (size_t n = 0; n < half; n++)
            part[n] += part[n + half];
    memcpy(sum, part, W * sizeof *sum);
}

/* sum = keep sum + weights times values, one query: `lines` lines of each key, from `at` on. */
static inline ISA_BODY void attention_side_values(const struct attention_side *side,
                                                  float *restrict sum, const float *restrict p,
                                                  const float *restrict keep, size_t at,
                                                  size_t lines, size_t W)
{
    float part[ATTENTION_SIDE_SUMS][LANES] = {{0}}, one[LANES];
    for (size_t j = 0; j < side->keys; j++) {
        const float *v = side->v[j / ATTENTION_PIECE] + j % ATTENTION_PIECE * side->D * W + at;
        attention_side_spread(one, p + j * W, W);
        ISA_UNROLL
        for (size_t l = 0; l < lines; l++)
            for (size_t i = 0; i < LANES; i++)
                part[l][i] = fmaf(v[l * LANES + i], one[i], part[l][i]);
    }
    attention_side_spread(one, keep, W);
    for (size_t l = 0; l < lines; l++, at += LANES)
        for (size_t i = 0; i < LANES; i++)
            sum[at + i] = fmaf(sum[at + i], one[i], part[l][i]);
}

static inline ISA_BODY void attention_side_query(const struct attention_side *side, size_t x,
                                                 size_t W)
{
    const size_t pieces = (side->keys + ATTENTION_PIECE - 1) / ATTENTION_PIECE, D = side->D;
    float *p = side->p + x * ATTENTION_KEYS * W;
    float *max = side->max + x * LANES, *total = side->total + x * LANES;
    float most[ATTENTION_SIDE_MAX], keep[ATTENTION_SIDE_MAX], sum[ATTENTION_SIDE_MAX];
    for (size_t i = 0; i < pieces; i++)
        attention_side_scores(p + i * ATTENTION_PIECE * W, side->q + x * D * W, side->k[i], D,
                              W);
    for (size_t n = side->seen[x] * W; n < pieces * ATTENTION_PIECE * W; n++)
        p[n] = -INFINITY; /* the weight 0 */
    attention_side_greatest(most, p, side->seen[x], W);
    for (size_t w = 0; w < W; w++) {
        const float here = most[w] * side->scale, before = max[w];
        max[w] = lanes_greater(before, here);
        keep[w] = vmath_exp_negative(before - max[w]);
    }
    attention_side_weigh(sum, p, pieces, max, side->scale, W);
    for (size_t w = 0; w < W; w++)
        total[w] = fmaf(total[w], keep[w], sum[w]);
    size_t at = 0;
    for (; at + ATTENTION_SIDE_SUMS * LANES <= D * W; at += ATTENTION_SIDE_SUMS * LANES)
        attention_side_values(side, side->sum + x * D * W, p, keep, at, ATTENTION_SIDE_SUMS, W);
    for (; at < D * W; at += LANES)
        attention_side_values(side, side->sum + x * D * W, p, keep, at, 1, W);
}

/* W is a constant of each part. */
static inline ISA_BODY void attention_side_block_body(const struct attention_side *side)
{
    for (size_t x = 0; x < side->queries; x++)
        if (side->W == 8)
            attention_side_query(side, x, 8);
        else
            attention_side_query(side, x, 4);
}
ISA_FUNCTION(attention_side_block, (const struct attention_side *side), (side))

/* ---- tokens ---- */

size_t attention_side_together(const struct attention *shape)
{
    const size_t tokens = LANES / attention_side_groups(shape) / (shape->H / shape->G);
    return tokens > 1 ? tokens : 1;
}

/* What is known of some queries of W groups while blocks of keys go by. */
struct attention_side_work {
    struct attention_side side; /* which points into these */
    _Alignas(64) float q[LANES * ATTENTION_SIDE_D_MAX];
    float p[LANES * ATTENTION_KEYS], sum[LANES * ATTENTION_SIDE_D_MAX];
    float max[ATTENTION_SIDE_QUERIES * LANES], total[ATTENTION_SIDE_QUERIES * LANES];
};

/* Floats from the beginning of the tokens' q or out to query n of a bunch. */
static size_t attention_side_at(const struct attention *s, size_t stride, size_t bunch,
                                size_t n)
{
    const size_t group = s->H / s->G, W = attention_side_groups(s);
    return n / group * stride + (bunch * W * group + n % group) * s->D;
}

/* Queries n .. n+queries-1 of a bunch: the heads of the first token, then of the next. */
static void attention_side_start(struct attention_side_work *work, const struct attention *s,
                                 const struct attention_side_tokens *t, size_t bunch, size_t n,
                                 size_t queries)
{
    const size_t W = attention_side_groups(s), D = s->D, group = s->H / s->G;
    work->side = (struct attention_side){.W = W,
                                         .D = D,
                                         .queries = queries,
                                         .q = work->q,
                                         .p = work->p,
                                         .sum = work->sum,
                                         .max = work->max,
                                         .total = work->total,
                                         .scale = s->scale};
    for (size_t x = 0; x < queries; x++)
        attention_side_turn(work->q + x * D * W, W,
                            t->q + attention_side_at(s, s->q_stride, bunch, n + x), group * D,
                            W, D);
    for (size_t i = 0; i < queries * LANES; i++) {
        work->max[i] = -INFINITY;
        work->total[i] = 0.0f;
    }
    memset(work->sum, 0, queries * D * W * sizeof(float));
}

/* Where the keys j .. of the tokens lie. */
static void attention_side_find(struct attention_side *side, const struct attention *s,
                                const struct attention_side_tokens *t, size_t bunch, size_t j)
{
    const size_t k_at = bunch * side->W * s->D * ATTENTION_PIECE;
    const size_t v_at = k_at + s->G * s->D * ATTENTION_PIECE;
    for (size_t i = 0; i * ATTENTION_PIECE < side->keys; i++) {
        const size_t at = j + i * ATTENTION_PIECE, floats = at / ATTENTION_PIECE * t->step;
        const float *piece = (at < t->shared ? t->prefix : t->cache) + floats;
        const bool next = at >= t->next_begin && at < t->next_end;
        const float *fetched = next ? t->next + floats : piece; /* the latter costs nothing */
        side->k[i] = piece + k_at;
        side->v[i] = piece + v_at;
        side->k_next[i] = fetched + k_at;
        side->v_next[i] = fetched + v_at;
    }
}

/* out = sum / total, turned back; see attention_finish. */
static void attention_side_end(struct attention_side_work *work, const struct attention *s,
                               const struct attention_side_tokens *t, size_t bunch, size_t n)
{
    const size_t W = work->side.W, D = s->D;
    for (size_t x = 0; x < work->side.queries; x++) {
        float *sum = work->sum + x * D * W, by[ATTENTION_SIDE_MAX];
        for (size_t w = 0; w < W; w++)
            by[w] = 1.0f / work->total[x * LANES + w];
        for (size_t d = 0; d < D; d++)
            for (size_t w = 0; w < W; w++)
                sum[d * W + w] = sum[d * W + w] * by[w] + 0.0f;
        attention_side_turn(t->out + attention_side_at(s, s->out_stride, bunch, n + x),
                            s->H / s->G * D, sum, W, D, W);
    }
}

static void attention_side_queries(const struct attention *s,
                                   const struct attention_side_tokens *t, size_t bunch,
                                   size_t n, size_t queries)
{
    struct attention_side_work work;
    struct attention_side *side = &work.side;
    const size_t group = s->H / s->G, most = t->keys + (n + queries - 1) / group;
    attention_side_start(&work, s, t, bunch, n, queries);
    for (size_t j = 0; j < most; j += ATTENTION_KEYS) {
        side->keys = attention_min(most - j, ATTENTION_KEYS);
        for (size_t x = 0; x < queries; x++) {
            const size_t keys = t->keys + (n + x) / group;
            side->seen[x] = keys > j ? attention_min(keys - j, ATTENTION_KEYS) : 0;
        }
        attention_side_find(side, s, t, bunch, j);
        if (isa_used() == ISA_AVX512)
            attention_side_lanes(side);
        else
            attention_side_block(side);
    }
    attention_side_end(&work, s, t, bunch, n);
}

void attention_side_run(const struct attention *shape, const struct attention_side_tokens *t,
                        size_t begin, size_t end)
{
    const size_t all = t->tokens * (shape->H / shape->G);
    const size_t together = LANES / attention_side_groups(shape);
    for (size_t bunch = begin; bunch < end; bunch++)
        for (size_t n = 0, queries; n < all; n += queries) {
            queries = together;
            while (queries > all - n)
                queries /= 2;
            attention_side_queries(shape, t, bunch, n, queries);
        }
}
