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

#include "engine/kernels/isa.h"

enum { LANES = 16 };

/* The tree over the lanes; they are overwritten.  One loop a level: compilers vectorise each.
 */
#define LANES_TREE(lane)                \
    do {                                \
        for (size_t l = 0; l < 8; l++)  \
            (lane)[l] += (lane)[l + 8]; \
        for (size_t l = 0; l < 4; l++)  \
            (lane)[l] += (lane)[l + 4]; \
        for (size_t l = 0; l < 2; l++)  \
            (lane)[l] += (lane)[l + 2]; \
        (lane)[0] += (lane)[1];         \
    } while (0)

static inline ISA_BODY float lanes_tree(float *lane)
{
    LANES_TREE(lane);
    return lane[0];
}

static inline ISA_BODY double lanes_tree_double(double *lane)
{
    LANES_TREE(lane);
    return lane[0];
}

/* The greatest of 16, as > has it: NaN is never greater. */
static inline ISA_BODY float lanes_max(float *lane)
{
    for (size_t l = 0; l < 8; l++)
        lane[l] = lane[l + 8] > lane[l] ? lane[l + 8] : lane[l];
    for (size_t l = 0; l < 4; l++)
        lane[l] = lane[l + 4] > lane[l] ? lane[l + 4] : lane[l];
    for (size_t l = 0; l < 2; l++)
        lane[l] = lane[l + 2] > lane[l] ? lane[l + 2] : lane[l];
    return lane[1] > lane[0] ? lane[1] : lane[0];
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
