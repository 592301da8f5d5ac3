/*
 * bf16.h -- float32 rounded to bfloat16, two numbers to a word.
 *
 * A bfloat16 is the upper half of a float32: its sign, its exponent, 7 bits of its fraction.
 * bf16_round is to nearest, ties to even.  A subnormal becomes a zero of its sign, whatever
 * mode the processor is in: the matrix tiles read one as zero.  What is too large becomes
 * infinite; a NaN stays one.
 */
#ifndef ENGINE_KERNELS_BF16_H
#define ENGINE_KERNELS_BF16_H

#include <stdint.h>
#include <string.h>

/* The rounded number, as a float32 whose lower half is 0. */
static inline uint32_t bf16_round_bits(uint32_t bits)
{
    const uint32_t size = bits & 0x7fffffffu, sign = bits & 0x80000000u;
    const uint32_t nearest = bits + 0x7fffu + (bits >> 16 & 1u);
    const uint32_t finite = size < 0x00800000u ? sign : nearest;
    return (size > 0x7f800000u ? bits | 0x00400000u : finite) & 0xffff0000u;
}

static inline float bf16_round(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = bf16_round_bits(bits);
    memcpy(&x, &bits, sizeof x);
    return x;
}

#endif
