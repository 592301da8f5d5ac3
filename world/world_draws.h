/*
 * world_draws.h -- who uses which counters of RNG_STREAM_WORLD; no two draws share one.
 *
 *     style of answer n to item i         a = i  b = n                c = 0
 *     which wording of that style         a = i  b = n                c = WORLD_C_CHOICE
 *     orders of files, the split          a = 0 or i                  b = WORLD_B_...
 *     preferences between two answers     a = pair                    b = WORLD_B_PAIR + use
 */
#ifndef WORLD_WORLD_DRAWS_H
#define WORLD_WORLD_DRAWS_H

#include <stdint.h>

#define WORLD_C_CHOICE       1u
#define WORLD_B_SFT_ORDER    UINT32_MAX
#define WORLD_B_PROMPT_ORDER (UINT32_MAX - 1u)
#define WORLD_B_TEST_ORDER   (UINT32_MAX - 2u)
#define WORLD_B_HELD_OUT     (UINT32_MAX - 3u)
#define WORLD_B_PAIR         (UINT32_MAX - 127u)

#endif
