/* attention_tiles.c -- see attention_tiles.h.  Some keys lie on the stack while all queries of
 * all heads go by, sixteen at a time; of these each meets ATTENTION_KEYS keys at once. */
#include "engine/kernels/attention_tiles.h"

#include <string.h>

#include "engine/kernels/attention_block.h"
#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"
#include "engine/kernels/panel.h"
#include "engine/kernels/vmath_avx512.h"

enum {
    ATTENTION_TILE = GEMM_PANEL, /* queries, and keys */
    ATTENTION_HALF = 8,          /* channels: D is a multiple */
    ATTENTION_FAR_KEYS = 256,    /* keys that lie on the stack at once, at most */
    ATTENTION_FAR_FLOATS = ATTENTION_KEYS * ATTENTION_D_MAX,
};

bool attention_tiles_take(const struct attention *shape)
{
#if defined(__x86_64__)
    return shape->D % ATTENTION_HALF == 0 && isa_used() == ISA_AVX512;
#else
    (void)shape;
    return false;
#endif
}

#if defined(__x86_64__)

/* Keys and values of one head and their gradients.  All but `rows` as panels of 16 keys of which
 * the channels ascend. */
struct attention_tile_keys {
    _Alignas(64) float k[ATTENTION_FAR_FLOATS], v[ATTENTION_FAR_FLOATS];
    float dk[ATTENTION_FAR_FLOATS], dv[ATTENTION_FAR_FLOATS];
    float rows[ATTENTION_FAR_FLOATS]; /* panels of 16 channels of which the keys ascend */
    size_t keys, lines;               /* lines: keys rounded up to whole tiles */
    size_t D;
};

/* Sixteen queries of a head, or the last ones of a sequence; and what they have to do with
 * ATTENTION_KEYS of the keys. */
struct attention_tile_queries {
    _Alignas(64) float q[ATTENTION_TILE * ATTENTION_D_MAX]; /* a panel: the channels ascend */
    float dout[ATTENTION_TILE * ATTENTION_D_MAX];
    float p[ATTENTION_TILE * ATTENTION_KEYS]; /* a query after the other */
    float ds[ATTENTION_TILE * ATTENTION_KEYS];
    float lse[ATTENTION_TILE], delta[ATTENTION_TILE];
    float *dq; /* in memory */
    size_t dq_stride;
    size_t rows, seen; /* seen: keys that the first of them sees, the next one more */
    float scale;
};

/* Sixteen dot products of each query with the keys of a panel, or of its gradient with values. */
ISA_TARGET_AVX512 static inline ISA_BODY void
attention_tile_dots(__m512 s[ATTENTION_TILE], const float *queries, const float *keys, size_t D)
{
    ISA_UNROLL
    for (size_t r = 0; r < ATTENTION_TILE; r++)
        s[r] = _mm512_setzero_ps();
    for (size_t d = 0; d < D; d++, queries += ATTENTION_TILE, keys += ATTENTION_TILE) {
        const __m512 line = _mm512_loadu_ps(keys);
        ISA_UNROLL
        for (size_t r = 0; r < ATTENTION_TILE; r++)
            s[r] = _mm512_fmadd_ps(_mm512_set1_ps(queries[r]), line, s[r]);
    }
}

/* The keys of a tile that query r of it sees, `seen` being those that query 0 does. */
static inline __mmask16 attention_tile_mask(ptrdiff_t seen, size_t r)
{
    const ptrdiff_t keys = seen + (ptrdiff_t)r;
    return (__mmask16)(keys >= ATTENTION_TILE ? 0xffff : (1 << keys) - 1);
}

/* p and ds of the tile whose first key is `key`; see attention_slope. */
ISA_TARGET_AVX512 static void attention_tile_slopes(struct attention_tile_queries *a,
                                                    const struct attention_tile_keys *b,
                                                    size_t key)
{
    const ptrdiff_t seen = (ptrdiff_t)a->seen - (ptrdiff_t)key; /* 1 or more */
    const __m512 scale = _mm512_set1_ps(a->scale);
    float *p = a->p + key % ATTENTION_KEYS, *ds = a->ds + key % ATTENTION_KEYS;
    __m512 s[ATTENTION_TILE];
    attention_tile_dots(s, a->q, b->k + key * b->D, b->D);
    ISA_UNROLL
    for (size_t r = 0; r < ATTENTION_TILE; r++) {
        const __m512 x = _mm512_fmsub_ps(scale, s[r], _mm512_set1_ps(a->lse[r]));
        _mm512_storeu_ps(
            p + r * ATTENTION_KEYS,
            _mm512_maskz_mov_ps(attention_tile_mask(seen, r), vmath_avx512_exp(x)));
    }
    attention_tile_dots(s, a->dout, b->v + key * b->D, b->D);
    ISA_UNROLL
    for (size_t r = 0; r < ATTENTION_TILE; r++) {
        const __m512 pull = _mm512_sub_ps(s[r], _mm512_set1_ps(a->delta[r]));
        const __m512 weight = _mm512_mul_ps(scale, _mm512_loadu_ps(p + r * ATTENTION_KEYS));
        _mm512_storeu_ps(ds + r * ATTENTION_KEYS, _mm512_mul_ps(weight, pull));
    }
}

/* dk and dv of the tile += what its queries add to them. */
ISA_TARGET_AVX512 static void attention_tile_gather(const struct attention_tile_queries *a,
                                                    struct attention_tile_keys *b, size_t key)
{
    const float *q = a->q, *dout = a->dout;
    float *dk = b->dk + key * b->D, *dv = b->dv + key * b->D;
    for (size_t d = 0; d < b->D; d += ATTENTION_HALF) {
        __m512 k[ATTENTION_HALF], v[ATTENTION_HALF];
        ISA_UNROLL
        for (size_t i = 0; i < ATTENTION_HALF; i++) {
            k[i] = _mm512_loadu_ps(dk + i * ATTENTION_TILE);
            v[i] = _mm512_loadu_ps(dv + i * ATTENTION_TILE);
        }
        const float *p = a->p + key % ATTENTION_KEYS, *ds = a->ds + key % ATTENTION_KEYS;
        for (size_t r = 0; r < a->rows; r++, p += ATTENTION_KEYS, ds += ATTENTION_KEYS) {
            const __m512 weight = _mm512_loadu_ps(p), slope = _mm512_loadu_ps(ds);
            ISA_UNROLL
            for (size_t i = 0; i < ATTENTION_HALF; i++) {
                k[i] = _mm512_fmadd_ps(_mm512_set1_ps(q[i * ATTENTION_TILE + r]), slope, k[i]);
                v[i] =
                    _mm512_fmadd_ps(_mm512_set1_ps(dout[i * ATTENTION_TILE + r]), weight, v[i]);
            }
        }
        ISA_UNROLL
        for (size_t i = 0; i < ATTENTION_HALF; i++) {
            _mm512_storeu_ps(dk + i * ATTENTION_TILE, k[i]);
            _mm512_storeu_ps(dv + i * ATTENTION_TILE, v[i]);
        }
        q += ATTENTION_HALF * ATTENTION_TILE;
        dout += ATTENTION_HALF * ATTENTION_TILE;
        dk += ATTENTION_HALF * ATTENTION_TILE;
        dv += ATTENTION_HALF * ATTENTION_TILE;
    }
}

/* 16 channels of dq, or those that `some` has, += the slopes times keys; from 0 at the first. */
ISA_TARGET_AVX512 static inline ISA_BODY void
attention_tile_dq_16(const struct attention_tile_queries *a, const float *rows, size_t keys,
                     float *dq, bool first, __mmask16 some)
{
    __m512 sum[ATTENTION_TILE];
    ISA_UNROLL
    for (size_t r = 0; r < ATTENTION_TILE; r++)
        sum[r] = first || r >= a->rows ? _mm512_setzero_ps()
                                       : _mm512_maskz_loadu_ps(some, dq + r * a->dq_stride);
    for (size_t j = 0; j < keys; j++, rows += GEMM_PANEL) {
        const __m512 line = _mm512_loadu_ps(rows);
        ISA_UNROLL
        for (size_t r = 0; r < ATTENTION_TILE; r++)
            sum[r] =
                _mm512_fmadd_ps(_mm512_set1_ps(a->ds[r * ATTENTION_KEYS + j]), line, sum[r]);
    }
    ISA_UNROLL
    for (size_t r = 0; r < ATTENTION_TILE; r++)
        _mm512_mask_storeu_ps(dq + (r < a->rows ? r : 0) * a->dq_stride, r < a->rows ? some : 0,
                              _mm512_add_ps(sum[r], _mm512_setzero_ps()));
}

/* dq of the queries += the slopes of `keys` keys from `key` on, a multiple of ATTENTION_KEYS. */
ISA_TARGET_AVX512 static void attention_tile_dq(const struct attention_tile_queries *a,
                                                const struct attention_tile_keys *b, size_t key,
                                                size_t keys, bool first)
{
    const float *rows = b->rows + key * GEMM_PANEL;
    size_t d = 0;
    for (; d + GEMM_PANEL <= b->D; d += GEMM_PANEL, rows += b->lines * GEMM_PANEL)
        attention_tile_dq_16(a, rows, keys, a->dq + d, first, 0xffff);
    if (d < b->D)
        attention_tile_dq_16(a, rows, keys, a->dq + d, first, 0x00ff);
}

/* Queries n .. n+rows-1 of head h, the first of which sees `seen` of the keys. */
ISA_TARGET_AVX512 static void attention_tile_begin(struct attention_tile_queries *a,
                                                   const struct attention_back *job, size_t h,
                                                   size_t n)
{
    const struct attention *s = job->shape;
    const size_t row = n * s->q_stride + h * s->D, out = n * s->out_stride + h * s->D;
    panel_columns(a->q, job->q + row, s->q_stride, a->rows, s->D);
    panel_columns(a->dout, job->dout + out, s->out_stride, a->rows, s->D);
    memset(a->lse, 0, sizeof a->lse);
    memset(a->delta, 0, sizeof a->delta);
    for (size_t r = 0; r < a->rows; r++) {
        a->lse[r] = job->lse[(n + r) * s->H + h];
        a->delta[r] = lanes_dot(job->dout + out + r * s->out_stride,
                                job->out + out + r * s->out_stride, s->D);
    }
    a->dq = job->dq + row;
    a->dq_stride = s->q_stride;
    a->scale = s->scale;
}

/* These queries against all of the keys that one of them sees; they are the first, or others were
 * before them. */
static void attention_tile_run(struct attention_tile_queries *a, struct attention_tile_keys *b,
                               bool first)
{
    const size_t end = attention_min(a->seen + a->rows - 1, b->keys);
    for (size_t j = 0; j < end; j += ATTENTION_KEYS) {
        const size_t stop = attention_min(end, j + ATTENTION_KEYS);
        for (size_t key = j; key < stop; key += ATTENTION_TILE) {
            attention_tile_slopes(a, b, key);
            attention_tile_gather(a, b, key);
        }
        attention_tile_dq(a, b, j, stop - j, first && j == 0);
    }
}

/* Panels of dk or dv to rows.  Adding 0 makes a zero positive: the sign of one may depend on how
 * many weights of 0 were added to it. */
ISA_TARGET_AVX512 static void attention_tile_write(float *d, size_t stride, const float *panels,
                                                   size_t keys, size_t D)
{
    _Alignas(64) uint32_t from[GEMM_PANEL * GEMM_PANEL] = {0}, to[GEMM_PANEL * GEMM_PANEL];
    for (size_t key = 0; key < keys; key += GEMM_PANEL) {
        const size_t rows = attention_min(keys - key, GEMM_PANEL);
        for (size_t at = 0; at < D; at += GEMM_PANEL) {
            const size_t channels = attention_min(D - at, GEMM_PANEL);
            memcpy(from, panels + key * D + at * GEMM_PANEL,
                   channels * GEMM_PANEL * sizeof *from);
            panel_turn(to, from, false);
            const __mmask16 some = (__mmask16)(0xffffu >> (GEMM_PANEL - channels));
            for (size_t r = 0; r < rows; r++)
                _mm512_mask_storeu_ps(
                    d + (key + r) * stride + at, some,
                    _mm512_add_ps(_mm512_load_ps(to + r * GEMM_PANEL), _mm512_setzero_ps()));
        }
    }
}

/* The keys from j on, as many as lie on the stack. */
static void attention_tile_keys_run(const struct attention_back *job, size_t seq, size_t g,
                                    size_t j, size_t keys)
{
    const struct attention *s = job->shape;
    const size_t group = s->H / s->G, first = job->offset[seq] + j, end = job->offset[seq + 1];
    const size_t kv = first * s->kv_stride + g * s->D, D = s->D;
    struct attention_tile_keys b;
    struct attention_tile_queries a;
    b.keys = keys;
    b.lines = (keys + ATTENTION_TILE - 1) / ATTENTION_TILE * ATTENTION_TILE;
    b.D = D;
    attention_lay_columns(b.k, job->k + kv, s->kv_stride, keys, D);
    attention_lay_columns(b.v, job->v + kv, s->kv_stride, keys, D);
    attention_lay_rows(b.rows, b.lines, job->k + kv, s->kv_stride, keys, D);
    memset(b.dk, 0, b.lines * D * sizeof(float));
    memset(b.dv, 0, b.lines * D * sizeof(float));
    for (size_t h = g * group; h < (g + 1) * group; h++)
        for (size_t n = first; n < end; n += ATTENTION_TILE) {
            a.rows = attention_min(end - n, ATTENTION_TILE);
            a.seen = n - first + 1;
            attention_tile_begin(&a, job, h, n);
            attention_tile_run(&a, &b, j == 0);
        }
    attention_tile_write(job->dk + kv, s->kv_stride, b.dk, keys, D);
    attention_tile_write(job->dv + kv, s->kv_stride, b.dv, keys, D);
}
#endif

void attention_tiles_backward(const struct attention_back *job, size_t seq, size_t g)
{
#if defined(__x86_64__)
    const size_t tokens = job->offset[seq + 1] - job->offset[seq];
    const size_t most =
        attention_min(ATTENTION_FAR_KEYS, ATTENTION_FAR_FLOATS / attention_wide(job->shape->D));
    for (size_t j = 0; j < tokens; j += most)
        attention_tile_keys_run(job, seq, g, j, attention_min(tokens - j, most));
#else
    (void)job, (void)seq, (void)g;
#endif
}
