/* gemm_tile.c -- see gemm_tile.h.  Each body is inlined into functions where rows and panels
 * are constants; the loops over them then unroll and the sums live in registers. */
#include "engine/kernels/gemm_tile.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static inline ISA_BODY size_t gemm_left_row(enum gemm_left left)
{
    return left == GEMM_LEFT_ROWS ? GEMM_LEFT_STRIDE : 1;
}

static inline ISA_BODY size_t gemm_left_step(enum gemm_left left)
{
    return left == GEMM_LEFT_ROWS ? 1 : GEMM_PANEL;
}

/* tile_LEFT_ROWS_PANELS for every size a register file holds. */
#define GEMM_TILE(isa, target, left, rows, panels)                                           \
    target static void gemm_##isa##_##left##_##rows##_##panels(const struct gemm_tile *tile) \
    {                                                                                        \
        gemm_##isa##_body(tile, GEMM_LEFT_##left, rows, panels);                             \
    }
#define GEMM_ENTRY(isa, left, rows, panels) gemm_##isa##_##left##_##rows##_##panels

#if defined(__x86_64__)
/* One step of the contraction. */
ISA_TARGET_AVX512 static inline ISA_BODY void
gemm_avx512_step(__m512 sum[GEMM_ROWS_MAX][8], const float *a, size_t row, const float *b,
                 size_t panel_step, size_t rows, size_t panels)
{
    __m512 right[8];
    ISA_UNROLL
    for (size_t p = 0; p < panels; p++)
        right[p] = _mm512_loadu_ps(b + p * panel_step);
    ISA_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const __m512 one = _mm512_set1_ps(a[r * row]);
        ISA_UNROLL
        for (size_t p = 0; p < panels; p++)
            sum[r][p] = _mm512_fmadd_ps(one, right[p], sum[r][p]);
    }
}

ISA_TARGET_AVX512 static inline ISA_BODY void
gemm_avx512_body(const struct gemm_tile *tile, enum gemm_left left, size_t rows, size_t panels)
{
    __m512 sum[GEMM_ROWS_MAX][8];
    ISA_UNROLL
    for (size_t r = 0; r < rows; r++)
        ISA_UNROLL
    for (size_t p = 0; p < panels; p++)
        sum[r][p] = tile->from
                        ? _mm512_loadu_ps(tile->from + r * tile->from_stride + p * GEMM_PANEL)
                        : _mm512_setzero_ps();

    const size_t row = gemm_left_row(left), step = gemm_left_step(left);
    const size_t panel_step = tile->panel_step;
    const float *a = tile->left, *b = tile->panel;
    size_t d = tile->depth;
    /* A narrow tile waits for its few sums: with little in between, the next tile's begin
     * meanwhile. */
    for (; rows * panels <= 4 && d >= 4; d -= 4, a += 4 * step, b += 4 * GEMM_PANEL)
        ISA_UNROLL
    for (size_t i = 0; i < 4; i++)
        gemm_avx512_step(sum, a + i * step, row, b + i * GEMM_PANEL, panel_step, rows, panels);
    for (; d > 0; d--, a += step, b += GEMM_PANEL)
        gemm_avx512_step(sum, a, row, b, panel_step, rows, panels);

    ISA_UNROLL
    for (size_t r = 0; r < rows; r++)
        ISA_UNROLL
    for (size_t p = 0; p < panels; p++)
        _mm512_storeu_ps(tile->c + r * tile->c_stride + p * GEMM_PANEL, sum[r][p]);
}

/* As above; a panel is two registers. */
ISA_TARGET_AVX2 static inline ISA_BODY void
gemm_avx2_body(const struct gemm_tile *tile, enum gemm_left left, size_t rows, size_t panels)
{
    __m256 sum[6][8];
    ISA_UNROLL
    for (size_t r = 0; r < rows; r++)
        ISA_UNROLL
    for (size_t h = 0; h < 2 * panels; h++)
        sum[r][h] = tile->from ? _mm256_loadu_ps(tile->from + r * tile->from_stride + h * 8)
                               : _mm256_setzero_ps();

    const size_t row = gemm_left_row(left), step = gemm_left_step(left);
    const size_t panel_step = tile->panel_step;
    const float *a = tile->left, *b = tile->panel;
    for (size_t d = tile->depth; d > 0; d--) {
        __m256 right[8];
        ISA_UNROLL
        for (size_t h = 0; h < 2 * panels; h++)
            right[h] = _mm256_loadu_ps(b + h / 2 * panel_step + h % 2 * 8);
        ISA_UNROLL
        for (size_t r = 0; r < rows; r++) {
            const __m256 one = _mm256_set1_ps(a[r * row]);
            ISA_UNROLL
            for (size_t h = 0; h < 2 * panels; h++)
                sum[r][h] = _mm256_fmadd_ps(one, right[h], sum[r][h]);
        }
        a += step;
        b += GEMM_PANEL;
    }

    ISA_UNROLL
    for (size_t r = 0; r < rows; r++)
        ISA_UNROLL
    for (size_t h = 0; h < 2 * panels; h++)
        _mm256_storeu_ps(tile->c + r * tile->c_stride + h * 8, sum[r][h]);
}

#define GEMM_AVX512_SIZES(X, left)                                                             \
    X(left, 1, 1)                                                                              \
    X(left, 2, 1)                                                                              \
    X(left, 3, 1)                                                                              \
    X(left, 4, 1)                                                                              \
    X(left, 5, 1)                                                                              \
    X(left, 6, 1) X(left, 7, 1) X(left, 8, 1) X(left, 9, 1) X(left, 10, 1) X(left, 11, 1)      \
        X(left, 12, 1) X(left, 13, 1) X(left, 14, 1) X(left, 1, 2) X(left, 2, 2) X(left, 3, 2) \
            X(left, 4, 2) X(left, 5, 2) X(left, 6, 2) X(left, 7, 2) X(left, 8, 2)              \
                X(left, 9, 2) X(left, 10, 2) X(left, 11, 2) X(left, 12, 2) X(left, 13, 2)      \
                    X(left, 14, 2) X(left, 1, 4) X(left, 2, 4) X(left, 3, 4) X(left, 4, 4)     \
                        X(left, 1, 8)
#define GEMM_AVX2_SIZES(X, left) \
    X(left, 1, 1)                \
    X(left, 2, 1)                \
    X(left, 3, 1)                \
    X(left, 4, 1) X(left, 5, 1) X(left, 6, 1) X(left, 1, 2) X(left, 2, 2) X(left, 1, 4)

#define GEMM_AVX512_TILE(left, rows, panels) \
    GEMM_TILE(avx512, ISA_TARGET_AVX512, left, rows, panels)
#define GEMM_AVX2_TILE(left, rows, panels) GEMM_TILE(avx2, ISA_TARGET_AVX2, left, rows, panels)
GEMM_AVX512_SIZES(GEMM_AVX512_TILE, ROWS)
GEMM_AVX512_SIZES(GEMM_AVX512_TILE, COLUMNS)
GEMM_AVX2_SIZES(GEMM_AVX2_TILE, ROWS)
GEMM_AVX2_SIZES(GEMM_AVX2_TILE, COLUMNS)
#endif

/* The same sums for any machine; the compiler vectorises the inner loop where it can. */
static inline ISA_BODY void gemm_plain_body(const struct gemm_tile *tile, enum gemm_left left,
                                            size_t rows, size_t panels)
{
    (void)panels; /* always 1 */
    float sum[4][GEMM_PANEL];
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < GEMM_PANEL; j++)
            sum[r][j] = tile->from ? tile->from[r * tile->from_stride + j] : 0.0f;

    const float *b = tile->panel;
    for (size_t d = 0; d < tile->depth; d++, b += GEMM_PANEL)
        for (size_t r = 0; r < rows; r++) {
            const float one = tile->left[r * gemm_left_row(left) + d * gemm_left_step(left)];
            for (size_t j = 0; j < GEMM_PANEL; j++)
                sum[r][j] = fmaf(one, b[j], sum[r][j]);
        }

    for (size_t r = 0; r < rows; r++)
        memcpy(tile->c + r * tile->c_stride, sum[r], sizeof sum[r]);
}

#define GEMM_PLAIN_SIZES(X, left)           X(left, 1, 1) X(left, 2, 1) X(left, 3, 1) X(left, 4, 1)
#define GEMM_PLAIN_TILE(left, rows, panels) GEMM_TILE(plain, , left, rows, panels)
GEMM_PLAIN_SIZES(GEMM_PLAIN_TILE, ROWS)
GEMM_PLAIN_SIZES(GEMM_PLAIN_TILE, COLUMNS)

/* [rows-1][log2 panels] of a designated initializer. */
#define GEMM_LOG_1 0
#define GEMM_LOG_2 1
#define GEMM_LOG_4 2
#define GEMM_LOG_8 3
#define GEMM_SLOT(isa, left, rows, panels) \
    [GEMM_LEFT_##left][(rows)-1][GEMM_LOG_##panels] = GEMM_ENTRY(isa, left, rows, panels),
#define GEMM_AVX512_SLOT(left, rows, panels) GEMM_SLOT(avx512, left, rows, panels)
#define GEMM_AVX2_SLOT(left, rows, panels)   GEMM_SLOT(avx2, left, rows, panels)
#define GEMM_PLAIN_SLOT(left, rows, panels)  GEMM_SLOT(plain, left, rows, panels)

static const struct gemm_tiles gemm_tiles_plain = {
    4, {GEMM_PLAIN_SIZES(GEMM_PLAIN_SLOT, ROWS) GEMM_PLAIN_SIZES(GEMM_PLAIN_SLOT, COLUMNS)}};
#if defined(__x86_64__)
static const struct gemm_tiles gemm_tiles_avx2 = {
    6, {GEMM_AVX2_SIZES(GEMM_AVX2_SLOT, ROWS) GEMM_AVX2_SIZES(GEMM_AVX2_SLOT, COLUMNS)}};
static const struct gemm_tiles gemm_tiles_avx512 = {
    14,
    {GEMM_AVX512_SIZES(GEMM_AVX512_SLOT, ROWS) GEMM_AVX512_SIZES(GEMM_AVX512_SLOT, COLUMNS)}};
#endif

const struct gemm_tiles *gemm_tiles_for(enum isa isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case ISA_AVX512: return &gemm_tiles_avx512;
    case ISA_AVX2: return &gemm_tiles_avx2;
#else
    case ISA_AVX512:
    case ISA_AVX2:
#endif
    case ISA_PLAIN: break;
    }
    return &gemm_tiles_plain;
}
