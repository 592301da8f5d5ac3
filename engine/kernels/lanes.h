/*
 * lanes.h -- sums over a row in one fixed order that is also a fast one.
 *
 * Element i goes to lane i % LANES, in ascending i; the lanes are then added pairwise, lane l
 * and l + 8, then 4, 2, 1.  The order depends on the length alone, never on the vector width.
 * All are bodies for ISA_FUNCTION (isa.h).
 */
#ifndef ENGINE_KERNELS_LANES_H
#define ENGINE_KERNELS_LANES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/kernels/isa.h"

enum { LANES = 16 };

/* Halves of lanes as the compilers' vectors: from loops over them they make no vector code. */
typedef float lanes_8 __attribute__((vector_size(32)));
typedef float lanes_4 __attribute__((vector_size(16)));
typedef int32_t lanes_mask_8 __attribute__((vector_size(32)));
typedef int32_t lanes_mask_4 __attribute__((vector_size(16)));
typedef double lanes_double_4 __attribute__((vector_size(32)));
typedef double lanes_double_2 __attribute__((vector_size(16)));

static inline ISA_BODY float lanes_tree(const float *lane)
{
    lanes_8 half[2];
    memcpy(half, lane, sizeof half);
    half[0] += half[1];
    lanes_4 quarter[2];
    memcpy(quarter, half, sizeof quarter);
    quarter[0] += quarter[1];
    return (quarter[0][0] + quarter[0][2]) + (quarter[0][1] + quarter[0][3]);
}

static inline ISA_BODY double lanes_tree_double(const double *lane)
{
    lanes_double_4 quarter[4];
    memcpy(quarter, lane, sizeof quarter);
    quarter[0] += quarter[2];
    quarter[1] += quarter[3];
    quarter[0] += quarter[1];
    lanes_double_2 pair[2];
    memcpy(pair, quarter, sizeof pair);
    pair[0] += pair[1];
    return pair[0][0] + pair[0][1];
}

/* b where it is greater, else a: so NaN is never greater. */
static inline ISA_BODY void lanes_greater_8(lanes_8 *a, const lanes_8 *b)
{
    const lanes_mask_8 greater = *b > *a;
    *a = (lanes_8)((greater & (lanes_mask_8)*b) | (~greater & (lanes_mask_8)*a));
}

static inline ISA_BODY void lanes_greater_4(lanes_4 *a, const lanes_4 *b)
{
    const lanes_mask_4 greater = *b > *a;
    *a = (lanes_4)((greater & (lanes_mask_4)*b) | (~greater & (lanes_mask_4)*a));
}

static inline ISA_BODY float lanes_greater(float a, float b)
{
    return b > a ? b : a;
}

/* Lane by lane the greatest of what is there and of 16 n more numbers. */
static inline ISA_BODY void lanes_greater_of(lanes_8 most[2], const float *x, size_t n)
{
    lanes_8 next[2];
    for (size_t i = 0; i < n; i++) {
        memcpy(next, x + i * LANES, sizeof next);
        lanes_greater_8(&most[0], &next[0]);
        lanes_greater_8(&most[1], &next[1]);
    }
}

/* The greatest of 16, as > has it: NaN is never greater. */
static inline ISA_BODY float lanes_max_tree(lanes_8 half[2])
{
    lanes_greater_8(&half[0], &half[1]);
    lanes_4 quarter[2];
    memcpy(quarter, half, sizeof quarter);
    lanes_greater_4(&quarter[0], &quarter[1]);
    const float even = lanes_greater(quarter[0][0], quarter[0][2]);
    return lanes_greater(even, lanes_greater(quarter[0][1], quarter[0][3]));
}

/* The greatest of 16 n numbers; n is not 0. */
static inline ISA_BODY float lanes_max(const float *x, size_t n)
{
    lanes_8 most[2];
    memcpy(most, x, sizeof most);
    lanes_greater_of(most, x + LANES, n - 1);
    return lanes_max_tree(most);
}

/* Of 16 numbers those from the n-th on become `beyond`. */
static inline ISA_BODY void lanes_end(float *x, size_t n, float beyond)
{
    const lanes_mask_8 index[2] = {{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12, 13, 14, 15}};
    const lanes_8 end = (lanes_8){0} + beyond;
    for (size_t i = 0; i < 2; i++) { /* copied by halves: as they are read again */
        lanes_8 half;
        memcpy(&half, x + i * 8, sizeof half);
        const lanes_mask_8 in = index[i] < (int32_t)n;
        half = (lanes_8)((in & (lanes_mask_8)half) | (~in & (lanes_mask_8)end));
        memcpy(x + i * 8, &half, sizeof half);
    }
}

/* sum_i a[i] b[i], one fma a lane and step. */
static inline ISA_BODY float lanes_dot(const float *a, const float *b, size_t n)
{
    float lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] = fmaf(a[i + l], b[i + l], lane[l]);
    for (size_t l = 0; i + l < n; l++)
        lane[l] = fmaf(a[i + l], b[i + l], lane[l]);
    return lanes_tree(lane);
}

/* sum_i a[i], in double. */
static inline ISA_BODY double lanes_sum_double(const float *a, size_t n)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] += (double)a[i + l];
    for (size_t l = 0; i + l < n; l++)
        lane[l] += (double)a[i + l];
    return lanes_tree_double(lane);
}

/* sum_i (a[i] - shift)^2, in double. */
static inline ISA_BODY double lanes_squares_double(const float *a, double shift, size_t n)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++) {
            const double off = (double)a[i + l] - shift;
            lane[l] += off * off;
        }
    for (size_t l = 0; i + l < n; l++) {
        const double off = (double)a[i + l] - shift;
        lane[l] += off * off;
    }
    return lanes_tree_double(lane);
}

/* sum_i a[i] b[i], in double. */
static inline ISA_BODY double lanes_dot_double(const float *a, const float *b, size_t n)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] += (double)a[i + l] * (double)b[i + l];
    for (size_t l = 0; i + l < n; l++)
        lane[l] += (double)a[i + l] * (double)b[i + l];
    return lanes_tree_double(lane);
}

/* sum_i a[i] b[i] c[i], in double. */
static inline ISA_BODY double lanes_dot3_double(const float *a, const float *b, const float *c,
                                                size_t n)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] += (double)a[i + l] * (double)b[i + l] * (double)c[i + l];
    for (size_t l = 0; i + l < n; l++)
        lane[l] += (double)a[i + l] * (double)b[i + l] * (double)c[i + l];
    return lanes_tree_double(lane);
}

#endif
