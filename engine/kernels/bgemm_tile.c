/* bgemm_tile.c -- see bgemm_tile.h. */
#include "engine/kernels/bgemm_tile.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/amx.h"
#include "engine/kernels/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- fma ---- */

static inline ISA_BODY float bgemm_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

enum { BGEMM_TOGETHER = 4 }; /* rows that share the unpacking of a line */

/* c of `rows` rows and 16 columns goes on by one step. */
static inline ISA_BODY void bgemm_step(float c[][BGEMM_SIDE], const uint32_t *left,
                                       const uint32_t *right, size_t rows)
{
    float even[BGEMM_TOGETHER][BGEMM_SIDE] = {{0}}, odd[BGEMM_TOGETHER][BGEMM_SIDE] = {{0}};
    for (size_t i = 0; i < BGEMM_SIDE; i++) {
        float low[BGEMM_SIDE], high[BGEMM_SIDE];
        for (size_t j = 0; j < BGEMM_SIDE; j++) {
            low[j] = bgemm_float(right[i * BGEMM_SIDE + j] << 16);
            high[j] = bgemm_float(right[i * BGEMM_SIDE + j] & 0xffff0000u);
        }
        for (size_t r = 0; r < rows; r++) {
            const float a = bgemm_float(left[r * BGEMM_SIDE + i] << 16);
            const float b = bgemm_float(left[r * BGEMM_SIDE + i] & 0xffff0000u);
            for (size_t j = 0; j < BGEMM_SIDE; j++)
                even[r][j] = fmaf(a, low[j], even[r][j]);
            for (size_t j = 0; j < BGEMM_SIDE; j++)
                odd[r][j] = fmaf(b, high[j], odd[r][j]);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < BGEMM_SIDE; j++)
            c[r][j] = c[r][j] + (even[r][j] + odd[r][j]);
}

/* `rows` rows and 16 columns through all steps. */
static inline ISA_BODY void bgemm_fma_body(const struct bgemm_tile *tile, size_t row,
                                           size_t col, size_t rows)
{
    const uint32_t *left =
        tile->left + row / BGEMM_SIDE * tile->left_step + row % BGEMM_SIDE * BGEMM_SIDE;
    const uint32_t *right = tile->right + col / BGEMM_SIDE * tile->right_step;
    float c[BGEMM_TOGETHER][BGEMM_SIDE] = {{0}};
    for (size_t r = 0; tile->from && r < rows; r++)
        memcpy(c[r], tile->from + (row + r) * tile->from_stride + col, sizeof c[r]);
    for (size_t s = 0; s < tile->steps; s++) {
        if (rows == BGEMM_TOGETHER) /* a constant: the loops over rows unroll */
            bgemm_step(c, left + s * BGEMM_WORDS, right + s * BGEMM_WORDS, BGEMM_TOGETHER);
        else
            bgemm_step(c, left + s * BGEMM_WORDS, right + s * BGEMM_WORDS, rows);
    }
    for (size_t r = 0; r < rows; r++)
        memcpy(tile->c + (row + r) * tile->c_stride + col, c[r], sizeof c[r]);
}
ISA_FUNCTION(bgemm_fma, (const struct bgemm_tile *tile, size_t row, size_t col, size_t rows),
             (tile, row, col, rows))

static void bgemm_fma_tile(const struct bgemm_tile *tile)
{
    for (size_t r = 0; r < tile->rows; r += BGEMM_TOGETHER) {
        const size_t left = tile->rows - r;
        const size_t rows = left < BGEMM_TOGETHER ? left : BGEMM_TOGETHER;
        for (size_t col = 0; col < tile->cols; col += BGEMM_SIDE)
            bgemm_fma(tile, r, col, rows);
    }
}

/* Subnormals are zero, whoever calls. */
static unsigned bgemm_fma_begin(void)
{
#if defined(__x86_64__)
    const unsigned before = _mm_getcsr(), flush = 0x8040u, rounding = 0x6000u;
    _mm_setcsr((before & ~rounding) | flush);
    return before;
#else
    return 0;
#endif
}

static void bgemm_fma_end(unsigned before)
{
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

/* ---- the matrix tiles ---- */

#if defined(__x86_64__)
#define BGEMM_TARGET_AMX __attribute__((target("amx-tile,amx-bf16")))
#define BGEMM_LINE       (BGEMM_SIDE * sizeof(uint32_t)) /* bytes from a line to the next */

struct bgemm_amx_config { /* as LDTILECFG reads it */
    uint8_t palette, start_row, reserved[14];
    uint16_t line_bytes[16];
    uint8_t lines[16];
};

BGEMM_TARGET_AMX static unsigned bgemm_amx_begin(void)
{
    static const struct bgemm_amx_config config = {
        .palette = 1,
        .line_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
        .lines = {16, 16, 16, 16, 16, 16, 16, 16},
    };
    _tile_loadconfig(&config);
    return 0;
}

/* Without it every switch of threads would save and load the tiles. */
BGEMM_TARGET_AMX static void bgemm_amx_end(unsigned before)
{
    (void)before;
    _tile_release();
}

/* To the second-level cache: the processor foresees only what follows in a page. */
static inline ISA_BODY void bgemm_amx_fetch(const uint32_t *words)
{
    for (size_t line = 0; line < BGEMM_SIDE; line++)
        __builtin_prefetch(words + line * BGEMM_SIDE, 0, 2);
}

/* Some rows of the next tile's c, of 32 columns, while a step runs: loading them is what a tile
 * begins with. */
enum { BGEMM_AMX_NEXT = 3 }; /* rows a step: 32 in 11 steps */
static inline ISA_BODY void bgemm_amx_fetch_c(const struct bgemm_tile *tile, size_t step)
{
    const float *c = tile->next + step * BGEMM_AMX_NEXT * tile->c_stride;
    for (size_t r = 0; r < BGEMM_AMX_NEXT; r++, c += tile->c_stride) {
        __builtin_prefetch(c, 1);
        __builtin_prefetch(c + BGEMM_SIDE, 1);
    }
}

/* c is tiles 0 to 3, left 4 and 5, right 6 and 7.  An intrinsic's tile has to be a literal, so
 * the four forms are one body in which the compiler drops what is not there. */
#define BGEMM_AMX_FROM(there, number, row, column)                                  \
    if ((there) && tile->from)                                                      \
        _tile_loadd(number, tile->from + (row)*tile->from_stride + (column), from); \
    else if (there)                                                                 \
    _tile_zero(number)
#define BGEMM_AMX_TO(there, number, row, column) \
    if (there)                                   \
    _tile_stored(number, tile->c + (row)*tile->c_stride + (column), to)

#define BGEMM_AMX_TILE(rows, cols)                                                        \
    BGEMM_TARGET_AMX static void bgemm_amx_##rows##_##cols(const struct bgemm_tile *tile) \
    {                                                                                     \
        const bool wide = (cols) > 16, tall = (rows) > 16;                                \
        const size_t from = tile->from_stride * sizeof(float);                            \
        const size_t to = tile->c_stride * sizeof(float);                                 \
        BGEMM_AMX_FROM(true, 0, 0, 0);                                                    \
        BGEMM_AMX_FROM(wide, 1, 0, 16);                                                   \
        BGEMM_AMX_FROM(tall, 2, 16, 0);                                                   \
        BGEMM_AMX_FROM(tall &&wide, 3, 16, 16);                                           \
        const uint32_t *left = tile->left, *right = tile->right, *ahead = tile->ahead;    \
        for (size_t s = 0; s < tile->steps; s++) {                                        \
            _tile_loadd(4, left, BGEMM_LINE);                                             \
            _tile_loadd(6, right, BGEMM_LINE);                                            \
            _tile_dpbf16ps(0, 4, 6);                                                      \
            if (wide) {                                                                   \
                _tile_loadd(7, right + tile->right_step, BGEMM_LINE);                     \
                _tile_dpbf16ps(1, 4, 7);                                                  \
            }                                                                             \
            if (tall) {                                                                   \
                _tile_loadd(5, left + tile->left_step, BGEMM_LINE);                       \
                _tile_dpbf16ps(2, 5, 6);                                                  \
            }                                                                             \
            if (tall && wide)                                                             \
                _tile_dpbf16ps(3, 5, 7);                                                  \
            if (ahead) {                                                                  \
                bgemm_amx_fetch(ahead);                                                   \
                if (wide)                                                                 \
                    bgemm_amx_fetch(ahead + tile->right_step);                            \
                ahead += BGEMM_WORDS;                                                     \
            }                                                                             \
            if (tile->next && s < 2 * BGEMM_SIDE / BGEMM_AMX_NEXT)                        \
                bgemm_amx_fetch_c(tile, s);                                               \
            left += BGEMM_WORDS;                                                          \
            right += BGEMM_WORDS;                                                         \
        }                                                                                 \
        BGEMM_AMX_TO(true, 0, 0, 0);                                                      \
        BGEMM_AMX_TO(wide, 1, 0, 16);                                                     \
        BGEMM_AMX_TO(tall, 2, 16, 0);                                                     \
        BGEMM_AMX_TO(tall &&wide, 3, 16, 16);                                             \
    }
BGEMM_AMX_TILE(16, 16)
BGEMM_AMX_TILE(16, 32)
BGEMM_AMX_TILE(32, 16)
BGEMM_AMX_TILE(32, 32)

static const struct bgemm_tiles bgemm_tiles_amx = {
    {{bgemm_amx_16_16, bgemm_amx_16_32}, {bgemm_amx_32_16, bgemm_amx_32_32}},
    bgemm_amx_begin,
    bgemm_amx_end,
};
#endif

static const struct bgemm_tiles bgemm_tiles_fma = {
    {{bgemm_fma_tile, bgemm_fma_tile}, {bgemm_fma_tile, bgemm_fma_tile}},
    bgemm_fma_begin,
    bgemm_fma_end,
};

const struct bgemm_tiles *bgemm_tiles_used(void)
{
#if defined(__x86_64__)
    if (amx_ready())
        return &bgemm_tiles_amx;
#endif
    return &bgemm_tiles_fma;
}
