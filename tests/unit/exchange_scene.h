/*
 * exchange_scene.h -- a group's endpoints in a directory of their own, and numbers to sum.
 *
 * The oracle is the tree's definition in control/summation.h, written as a recursion over all
 * leaves.  Include once.
 */
#ifndef TESTS_EXCHANGE_SCENE_H
#define TESTS_EXCHANGE_SCENE_H

#include <stdio.h>
#include <unistd.h>

#include "learner/exchange.h"
#include "tests/wire_messages.h"

enum { SCENE_RANKS = 5 };
#define LONG_MS 30000u
#define RUN     0x5eedu

static char dir[32];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/exchange-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char path[64];
    for (int rank = 0; rank < SCENE_RANKS; rank++) {
        snprintf(path, sizeof path, "%s/r%d", dir, rank);
        unlink(path);
    }
    return rmdir(dir);
}

static struct exchange_group group_of(uint64_t attempt, uint32_t ranks, uint32_t rank)
{
    struct exchange_group group = {.step = 7, .attempt = attempt, .ranks = ranks, .rank = rank};
    for (uint32_t i = 0; i < ranks; i++) {
        snprintf(group.peer[i].name, sizeof group.peer[i].name, "learner-%u", i);
        snprintf(group.peer[i].endpoint, sizeof group.peer[i].endpoint, "ipc://%s/r%u", dir, i);
    }
    return group;
}

/* --- the oracle -------------------------------------------------------------------------- */

/* Number j of a leaf in a round: of mixed size and sign, so that order shows in the bits. */
static float leaf_value(uint32_t round, uint32_t leaf, size_t j)
{
    uint64_t seed = (uint64_t)round << 56 ^ (uint64_t)leaf << 48 ^ j;
    const uint64_t r = wire_test_next(&seed);
    return ldexpf((float)(int32_t)(r >> 20), (int)(r >> 60) - 39);
}

/* To a bfloat16, of 8 digits: by rint, in double. */
static float rounded(float x)
{
    int exponent;
    frexp((double)x, &exponent);
    return (float)ldexp(rint(ldexp((double)x, 8 - exponent)), exponent - 8);
}

static float tree_value(enum precision kind, uint32_t round, uint32_t a, uint32_t n, size_t j)
{
    float sum;
    if (n == 1) {
        sum = leaf_value(round, a, j);
    } else {
        uint32_t p = 1;
        while (p * 2 < n)
            p *= 2;
        sum = tree_value(kind, round, a, p, j) + tree_value(kind, round, a + p, n - p, j);
    }
    return kind == PRECISION_BF16 ? rounded(sum) : sum;
}

/* A value of the tree where it is number j of a packed array. */
static void put(enum precision kind, void *array, size_t j, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (kind == PRECISION_BF16)
        ((uint16_t *)array)[j] = (uint16_t)(bits >> 16);
    else
        ((uint32_t *)array)[j] = bits;
}

#endif
