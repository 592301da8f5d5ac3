/* gradient.c -- see gradient.h. */
#include "engine/gradient.h"

#include <stdint.h>
#include <string.h>

#include "engine/kernels/bf16.h"
#include "engine/kernels/isa.h"

enum { GRADIENT_BLOCK = 512 }; /* numbers that are packed by way of the stack */

static inline ISA_BODY uint16_t gradient_half(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bf16_round_bits(bits) >> 16);
}

static inline ISA_BODY float gradient_wide(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline ISA_BODY void gradient_round_each_body(float *x, size_t n)
{
    for (size_t j = 0; j < n; j++)
        x[j] = bf16_round(x[j]);
}
ISA_FUNCTION(gradient_round_each, (float *x, size_t n), (x, n))

static inline ISA_BODY void gradient_add_each_body(float *into, const float *from, size_t n)
{
    for (size_t j = 0; j < n; j++)
        into[j] = bf16_round(from[j] + into[j]);
}
ISA_FUNCTION(gradient_add_each, (float *into, const float *from, size_t n), (into, from, n))

static inline ISA_BODY void gradient_add_floats_body(float *out, const float *from,
                                                     const float *into, size_t n)
{
    for (size_t j = 0; j < n; j++)
        out[j] = from[j] + into[j];
}
ISA_FUNCTION(gradient_add_floats, (float *out, const float *from, const float *into, size_t n),
             (out, from, into, n))

static inline ISA_BODY void gradient_add_halves_body(uint16_t *out, const uint16_t *from,
                                                     const uint16_t *into, size_t n)
{
    for (size_t j = 0; j < n; j++)
        out[j] = gradient_half(gradient_wide(from[j]) + gradient_wide(into[j]));
}
ISA_FUNCTION(gradient_add_halves,
             (uint16_t * out, const uint16_t *from, const uint16_t *into, size_t n),
             (out, from, into, n))

/* Number j goes to byte 2n + 2j, which is of float (n + j) / 2: of one that is read already, or of
 * the block. */
static inline ISA_BODY void gradient_pack_each_body(float *x, size_t n, size_t first,
                                                    size_t end)
{
    uint16_t half[GRADIENT_BLOCK];
    while (end > first) {
        const size_t block = end - first < GRADIENT_BLOCK ? end - first : GRADIENT_BLOCK;
        const size_t at = end - block;
        for (size_t j = 0; j < block; j++)
            half[j] = gradient_half(x[at + j]);
        memcpy((unsigned char *)x + (n + at) * sizeof half[0], half, block * sizeof half[0]);
        end = at;
    }
}
ISA_FUNCTION(gradient_pack_each, (float *x, size_t n, size_t first, size_t end),
             (x, n, first, end))

/* From the end, as what is written is twice as long. */
static inline ISA_BODY void gradient_unpack_each_body(float *x, size_t n)
{
    uint16_t half[GRADIENT_BLOCK];
    for (size_t end = n; end > 0;) {
        const size_t at = (end - 1) / GRADIENT_BLOCK * GRADIENT_BLOCK;
        memcpy(half, (const unsigned char *)x + at * sizeof half[0],
               (end - at) * sizeof half[0]);
        for (size_t j = at; j < end; j++)
            x[j] = gradient_wide(half[j - at]);
        end = at;
    }
}
ISA_FUNCTION(gradient_unpack_each, (float *x, size_t n), (x, n))

size_t gradient_bytes(enum precision kind)
{
    return kind == PRECISION_BF16 ? sizeof(uint16_t) : sizeof(float);
}

void gradient_round(enum precision kind, float *leaf, size_t n)
{
    if (kind == PRECISION_BF16)
        gradient_round_each(leaf, n);
}

void gradient_add(enum precision kind, float *into, const float *from, size_t n)
{
    if (kind == PRECISION_BF16)
        gradient_add_each(into, from, n);
    else
        gradient_add_floats(into, from, into, n);
}

void gradient_add_packed(enum precision kind, void *out, const void *from, const void *into,
                         size_t n)
{
    if (kind == PRECISION_BF16)
        gradient_add_halves(out, from, into, n);
    else
        gradient_add_floats(out, from, into, n);
}

void *gradient_packed(enum precision kind, float *x, size_t n)
{
    return (unsigned char *)x + n * (sizeof *x - gradient_bytes(kind));
}

void gradient_pack(enum precision kind, float *x, size_t n, size_t first, size_t end)
{
    if (kind == PRECISION_BF16)
        gradient_pack_each(x, n, first, end);
}

void gradient_unpack(enum precision kind, float *x, size_t n)
{
    if (kind == PRECISION_BF16)
        gradient_unpack_each(x, n);
}
