/* dtype.c -- see dtype.h. */
#include "engine/dtype.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weights are read and written in the machine's byte order, which must be little-endian"
#endif

static const struct {
    const char *name;
    size_t bytes;
} dtype_table[] = {
#define X(name, bytes) {#name, bytes},
    DTYPE_MAP(X)
#undef X
};

enum { DTYPES = sizeof dtype_table / sizeof dtype_table[0] };

const char *dtype_name(enum dtype dtype)
{
    return (unsigned)dtype < DTYPES ? dtype_table[dtype].name : "?";
}

bool dtype_parse(const char *name, enum dtype *out)
{
    for (unsigned i = 0; i < DTYPES; i++)
        if (strcmp(name, dtype_table[i].name) == 0) {
            *out = (enum dtype)i;
            return true;
        }
    return false;
}

size_t dtype_bytes(enum dtype dtype)
{
    return dtype_table[dtype].bytes;
}

static float dtype_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t dtype_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float dtype_from_half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1fu, fraction = half & 0x3ffu;
    if (exponent == 0x1f)
        return dtype_float(sign | 0x7f800000u | fraction << 13);
    if (exponent > 0)
        return dtype_float(sign | (exponent + 112u) << 23 | fraction << 13);
    const float small = (float)fraction * 0x1p-24f; /* a subnormal half is a normal float */
    return sign ? -small : small;
}

/* Shift right by 1 .. 31, round to nearest, ties to even. */
static uint32_t dtype_round(uint32_t x, uint32_t shift)
{
    const uint32_t half = 1u << (shift - 1), rest = x & ((1u << shift) - 1u);
    uint32_t y = x >> shift;
    if (rest > half || (rest == half && (y & 1u)))
        y++;
    return y;
}

static uint16_t dtype_to_half(float x)
{
    const uint32_t bits = dtype_bits(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (size >= 0x47800000u) /* 2^16 and up */
        return (uint16_t)(sign | 0x7c00u);
    if (size >= 0x38800000u) /* normal: a carry out of the fraction raises the exponent */
        return (uint16_t)(sign | dtype_round(size - (112u << 23), 13));
    if (size < 0x33000000u) /* below half of the smallest subnormal */
        return (uint16_t)sign;
    const uint32_t fraction = (size & 0x7fffffu) | 0x800000u;
    return (uint16_t)(sign | dtype_round(fraction, 126u - (size >> 23)));
}

/* To nearest, ties to even; without a branch, for the vector unit. */
static uint16_t dtype_to_brain(float x)
{
    const uint32_t bits = dtype_bits(x);
    const uint32_t nan = bits >> 16 | 0x40u; /* stays a NaN */
    const uint32_t even = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? nan : even);
}

void dtype_to_f32(float *to, const void *from, enum dtype dtype, size_t n)
{
    const unsigned char *bytes = from;
    if (dtype == DTYPE_F32) {
        memcpy(to, from, n * sizeof(float));
        return;
    }
    uint16_t half;
    if (dtype == DTYPE_F16)
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, bytes + 2 * i, sizeof half);
            to[i] = dtype_from_half(half);
        }
    else
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, bytes + 2 * i, sizeof half);
            to[i] = dtype_float((uint32_t)half << 16);
        }
}

void dtype_from_f32(void *to, enum dtype dtype, const float *from, size_t n)
{
    unsigned char *bytes = to;
    if (dtype == DTYPE_F32) {
        memcpy(to, from, n * sizeof(float));
        return;
    }
    uint16_t half;
    if (dtype == DTYPE_F16)
        for (size_t i = 0; i < n; i++) {
            half = dtype_to_half(from[i]);
            memcpy(bytes + 2 * i, &half, sizeof half);
        }
    else
        for (size_t i = 0; i < n; i++) {
            half = dtype_to_brain(from[i]);
            memcpy(bytes + 2 * i, &half, sizeof half);
        }
}
