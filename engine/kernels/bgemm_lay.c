/* bgemm_lay.c -- see bgemm_lay.h. */
#include "engine/kernels/bgemm_lay.h"

#include <assert.h>
#include <string.h>

#include "engine/kernels/bf16.h"
#include "engine/kernels/bgemm.h"
#include "engine/kernels/bgemm_tile.h"
#include "engine/kernels/isa.h"
#include "engine/kernels/panel.h"

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

/* One tile; whole ones have constant sizes, so that their loops unroll. */
static inline ISA_BODY void bgemm_tile_along_body(uint32_t *tile, const float *x, size_t stride,
                                                  size_t lines, size_t depth)
{
    if (depth == BGEMM_STEP) {
        for (size_t l = 0; l < lines; l++)
            bgemm_pairs_along(tile + l * BGEMM_SIDE, x + l * stride, BGEMM_STEP);
    } else {
        for (size_t l = 0; l < lines; l++) {
            float some[BGEMM_STEP] = {0};
            memcpy(some, x + l * stride, depth * sizeof(float));
            bgemm_pairs_along(tile + l * BGEMM_SIDE, some, BGEMM_STEP);
        }
    }
    memset(tile + lines * BGEMM_SIDE, 0, (BGEMM_SIDE - lines) * BGEMM_SIDE * sizeof *tile);
}
ISA_FUNCTION(bgemm_tile_along,
             (uint32_t * tile, const float *x, size_t stride, size_t lines, size_t depth),
             (tile, x, stride, lines, depth))

static inline ISA_BODY void bgemm_tile_across_body(uint32_t *tile, const float *x,
                                                   size_t stride, size_t lines, size_t depth)
{
    if (depth == BGEMM_STEP && lines == BGEMM_SIDE) {
        for (size_t i = 0; i < BGEMM_SIDE; i++)
            bgemm_pairs_across(tile + i * BGEMM_SIDE, x + 2 * i * stride,
                               x + (2 * i + 1) * stride, BGEMM_SIDE);
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
             (uint32_t * tile, const float *x, size_t stride, size_t lines, size_t depth),
             (tile, x, stride, lines, depth))

static size_t bgemm_terms(size_t depth, size_t at)
{
    return depth - at < BGEMM_STEP ? depth - at : BGEMM_STEP;
}

void bgemm_lay_along(uint32_t *tiles, const float *x, size_t x_stride, size_t lines,
                     size_t depth, bool turn)
{
    assert(lines > 0 && lines <= BGEMM_SIDE);
    _Alignas(64) uint32_t beside[BGEMM_WORDS];
    for (size_t at = 0; at < depth; at += BGEMM_STEP, tiles += BGEMM_WORDS) {
        bgemm_tile_along(turn ? beside : tiles, x + at, x_stride, lines,
                         bgemm_terms(depth, at));
        if (turn)
            panel_turn(tiles, beside);
    }
}

void bgemm_lay_across(uint32_t *tiles, const float *x, size_t x_stride, size_t lines,
                      size_t depth, bool turn)
{
    assert(lines > 0 && lines <= BGEMM_SIDE);
    _Alignas(64) uint32_t beside[BGEMM_WORDS];
    for (size_t at = 0; at < depth; at += BGEMM_STEP, tiles += BGEMM_WORDS) {
        bgemm_tile_across(turn ? beside : tiles, x + at * x_stride, x_stride, lines,
                          bgemm_terms(depth, at));
        if (turn)
            panel_turn(tiles, beside);
    }
}
