/* bgemm_lay.c -- see bgemm_lay.h. */
#include "engine/kernels/bgemm_lay.h"

#include <string.h>

#include "engine/kernels/bf16.h"
#include "engine/kernels/bgemm.h"
#include "engine/kernels/bgemm_tile.h"
#include "engine/kernels/isa.h"
#include "engine/kernels/panel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* words (n / 2) = pairs of neighbours of x (n), n even. */
static inline ISA_BODY void bgemm_pairs_along(uint32_t *words, const float *x, size_t n)
{
    uint16_t half[BGEMM_STEP]; /* little-endian: the first of a pair is a word's lower half */
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        half[i] = (uint16_t)(bf16_round_bits(bits) >> 16);
    }
    memcpy(words, half, n * sizeof half[0]);
}

/* words (n) = pairs of a above b. */
static inline ISA_BODY void bgemm_pairs_across(uint32_t *words, const float *a, const float *b,
                                               size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t low, high;
        memcpy(&low, a + i, sizeof low);
        memcpy(&high, b + i, sizeof high);
        words[i] = bf16_round_bits(low) >> 16 | bf16_round_bits(high);
    }
}

/* The steps of one line, `tile_words` apart.  x is read from end to end, as the processor
 * expects. */
static inline ISA_BODY void bgemm_line_along_body(uint32_t *words, const float *x, size_t depth)
{
    size_t at = 0;
    for (; at + BGEMM_STEP <= depth; at += BGEMM_STEP, words += BGEMM_WORDS)
        bgemm_pairs_along(words, x + at, BGEMM_STEP);
    if (at < depth) {
        float some[BGEMM_STEP] = {0};
        memcpy(some, x + at, (depth - at) * sizeof(float));
        bgemm_pairs_along(words, some, BGEMM_STEP);
    }
}
ISA_FUNCTION(bgemm_line_along, (uint32_t * words, const float *x, size_t depth),
             (words, x, depth))

/* One tile; a whole one has constant sizes, so that its loops unroll.  `ahead` floats on lie
 * the rows of the next step: in other pages, where the processor does not look by itself. */
static inline ISA_BODY void bgemm_tile_across_body(uint32_t *tile, const float *x,
                                                   size_t stride, size_t lines, size_t depth,
                                                   size_t ahead)
{
    if (depth == BGEMM_STEP && lines == BGEMM_SIDE) {
        for (size_t i = 0; i < BGEMM_SIDE; i++, x += 2 * stride, tile += BGEMM_SIDE) {
            __builtin_prefetch(x + ahead);
            __builtin_prefetch(x + ahead + stride);
            bgemm_pairs_across(tile, x, x + stride, BGEMM_SIDE);
        }
        return;
    }
    for (size_t i = 0; i < BGEMM_SIDE; i++) {
        float pair[2][BGEMM_SIDE] = {{0}};
        for (size_t k = 0; k < 2 && 2 * i + k < depth; k++)
            memcpy(pair[k], x + (2 * i + k) * stride, lines * sizeof(float));
        bgemm_pairs_across(tile + i * BGEMM_SIDE, pair[0], pair[1], BGEMM_SIDE);
    }
}
ISA_FUNCTION(bgemm_tile_across,
             (uint32_t * tile, const float *x, size_t stride, size_t lines, size_t depth,
              size_t ahead),
             (tile, x, stride, lines, depth, ahead))

#if defined(__x86_64__)
/* ---- whole steps where the CPU rounds by itself ----
 *
 * VCVTNE2PS2BF16 is bf16_round_bits of 32 numbers, subnormals and NaN included, in any mode of
 * the processor. */

/* Returns how much of the line's depth was laid: the whole steps. */
ISA_TARGET_BF16 static size_t bgemm_line_along_bf16(uint32_t *words, const float *x,
                                                    size_t depth)
{
    size_t at = 0;
    for (; at + BGEMM_STEP <= depth; at += BGEMM_STEP, words += BGEMM_WORDS) {
        const __m512 low = _mm512_loadu_ps(x + at), high = _mm512_loadu_ps(x + at + BGEMM_SIDE);
        _mm512_store_si512(words, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
    return at;
}

/* A whole tile. */
ISA_TARGET_BF16 static void bgemm_tile_across_bf16(uint32_t *tile, const float *x,
                                                   size_t stride, size_t ahead, bool past)
{
    /* Halves 0 to 15 are of the row above, 16 to 31 of the row below. */
    const __m512i paired =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                         22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (size_t i = 0; i < BGEMM_SIDE; i++, x += 2 * stride, tile += BGEMM_SIDE) {
        __builtin_prefetch(x + ahead);
        __builtin_prefetch(x + ahead + stride);
        const __m512 above = _mm512_loadu_ps(x), below = _mm512_loadu_ps(x + stride);
        const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(below, above);
        const __m512i words = _mm512_permutexvar_epi16(paired, halves);
        if (past)
            _mm512_stream_si512((void *)tile, words);
        else
            _mm512_store_si512(tile, words);
    }
}
#endif

/* One line of all of its steps. */
static void bgemm_lay_line(uint32_t *words, const float *x, size_t depth)
{
    size_t at = 0;
#if defined(__x86_64__)
    if (isa_rounds_bf16())
        at = bgemm_line_along_bf16(words, x, depth);
#endif
    if (at < depth)
        bgemm_line_along(words + at / BGEMM_STEP * BGEMM_WORDS, x + at, depth - at);
}

static void bgemm_lay_tile(uint32_t *tile, const float *x, size_t stride, size_t lines,
                           size_t depth, size_t ahead, bool past)
{
    (void)past;
#if defined(__x86_64__)
    if (depth == BGEMM_STEP && lines == BGEMM_SIDE && isa_rounds_bf16()) {
        bgemm_tile_across_bf16(tile, x, stride, ahead, past);
        return;
    }
#endif
    bgemm_tile_across(tile, x, stride, lines, depth, ahead);
}

static size_t bgemm_less(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Up to 16 lines to tiles that are not turned. */
static void bgemm_lines_along(uint32_t *tiles, const float *x, size_t x_stride, size_t lines,
                              size_t depth)
{
    for (size_t l = 0; l < lines; l++)
        bgemm_lay_line(tiles + l * BGEMM_SIDE, x + l * x_stride, depth);
    for (size_t at = 0; at < depth && lines < BGEMM_SIDE; at += BGEMM_STEP)
        memset(tiles + at / BGEMM_STEP * BGEMM_WORDS + lines * BGEMM_SIDE, 0,
               (BGEMM_SIDE - lines) * BGEMM_SIDE * sizeof *tiles);
}

void bgemm_lay_along(const struct bgemm_lay *lay)
{
    _Alignas(64) uint32_t beside[BGEMM_WORDS];
    for (size_t line = 0; line < lay->lines; line += BGEMM_SIDE) {
        uint32_t *tile = lay->tiles + line / BGEMM_SIDE * lay->panel_step;
        const size_t lines = bgemm_less(lay->lines - line, BGEMM_SIDE);
        const float *x = lay->x + line * lay->x_stride;
        if (!lay->turn)
            bgemm_lines_along(tile, x, lay->x_stride, lines, lay->depth);
        for (size_t at = 0; at < lay->depth && lay->turn; at += BGEMM_STEP) {
            bgemm_lines_along(beside, x + at, lay->x_stride, lines,
                              bgemm_less(lay->depth - at, BGEMM_STEP));
            panel_turn(tile + at / BGEMM_STEP * BGEMM_WORDS, beside, lay->past);
        }
    }
}

/* All panels of a step before the next: the rows of x are read from end to end. */
void bgemm_lay_across(const struct bgemm_lay *lay)
{
    _Alignas(64) uint32_t beside[BGEMM_WORDS];
    for (size_t at = 0; at < lay->depth; at += BGEMM_STEP) {
        uint32_t *tile = lay->tiles + at / BGEMM_STEP * BGEMM_WORDS;
        const size_t terms = bgemm_less(lay->depth - at, BGEMM_STEP);
        const float *x = lay->x + at * lay->x_stride;
        for (size_t line = 0; line < lay->lines; line += BGEMM_SIDE, tile += lay->panel_step) {
            bgemm_lay_tile(lay->turn ? beside : tile, x + line, lay->x_stride,
                           bgemm_less(lay->lines - line, BGEMM_SIDE), terms,
                           at + 2 * BGEMM_STEP <= lay->depth ? BGEMM_STEP * lay->x_stride : 0,
                           lay->past && !lay->turn);
            if (lay->turn)
                panel_turn(tile, beside, lay->past);
        }
    }
}
