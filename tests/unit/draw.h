/*
 * draw.h -- numbers for property tests: a fixed sequence from a seed that the test prints.
 */
#ifndef TESTS_UNIT_DRAW_H
#define TESTS_UNIT_DRAW_H

#include <stddef.h>
#include <stdint.h>

/* Knuth's MMIX generator: good enough to choose test inputs, and three lines. */
static inline uint32_t draw_bits(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* In [low, high). */
static inline double draw_between(uint64_t *state, double low, double high)
{
    return low + (high - low) * (draw_bits(state) * 0x1p-32);
}

static inline void draw_fill(uint64_t *state, float *x, size_t n, double low, double high)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)draw_between(state, low, high);
}

#endif
