/*
 * arena.h -- memory that is handed out piece by piece and taken back all at once.
 *
 * One arena for a model's weights, one for its gradients, one for the activations of a
 * step, reset each step.  The capacity is fixed at the start and reserved as address space
 * only: pages cost memory when first touched.  Not thread-safe: one owner at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/err.h"

#define ARENA_ALIGN 64 /* bytes: a cache line, and an AVX-512 register */

struct arena {
    unsigned char *base;   /* NULL: none held */
    size_t capacity_bytes; /* as asked for, rounded up to pages */
    size_t used_bytes;     /* multiple of ARENA_ALIGN */
    size_t peak_bytes;     /* greatest used_bytes since arena_init */
};

/* Reserve `capacity_bytes` for `what` (named in the error).  ERR_NOMEM where the system
 * refuses.  The caller releases it with arena_release. */
enum err_code arena_init(struct arena *arena, size_t capacity_bytes, const char *what,
                         struct err *err);

/* Ask for huge pages, for an arena that will be filled and read as a whole: a page once touched
 * then costs 2 MiB.  Where the system has none to give, nothing changes. */
void arena_prefer_huge(struct arena *arena);

/* Unmap it all; a second call does nothing. */
void arena_release(struct arena *arena);

/* `bytes` aligned to ARENA_ALIGN, zero-filled only the first time a page is used.  NULL
 * where the capacity is exceeded.  Valid until arena_reset to a mark below, or release. */
void *arena_alloc(struct arena *arena, size_t bytes);

/* arena_alloc of n items of `size` bytes each; NULL also where n * size overflows. */
void *arena_array(struct arena *arena, size_t n, size_t size);

/* The mark to come back to, and the way back: what was handed out after it is void. */
size_t arena_mark(const struct arena *arena);
void arena_reset(struct arena *arena, size_t mark);

#endif
