/* arena.c -- see arena.h. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */
#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <sys/mman.h>

#define ARENA_PAGE 4096u

enum err_code arena_init(struct arena *arena, size_t capacity_bytes, const char *what,
                         struct err *err)
{
    *arena = (struct arena){0};
    if (capacity_bytes == 0)
        capacity_bytes = 1;
    if (capacity_bytes > SIZE_MAX / 2)
        return err_set(err, ERR_NOMEM, "cannot reserve %zu bytes for %s", capacity_bytes, what);
    const size_t rounded = (capacity_bytes + ARENA_PAGE - 1) / ARENA_PAGE * ARENA_PAGE;
    void *base = mmap(NULL, rounded, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return err_set(err, ERR_NOMEM, "cannot reserve %zu bytes for %s", rounded, what);
    arena->base = base;
    arena->capacity_bytes = rounded;
    return ERR_OK;
}

void arena_prefer_huge(struct arena *arena)
{
#if defined(MADV_HUGEPAGE)
    madvise(arena->base, arena->capacity_bytes, MADV_HUGEPAGE); /* only advice */
#else
    (void)arena;
#endif
}

void arena_release(struct arena *arena)
{
    if (arena->base)
        munmap(arena->base, arena->capacity_bytes);
    *arena = (struct arena){0};
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    assert(arena->base);
    if (bytes > arena->capacity_bytes - arena->used_bytes)
        return NULL;
    const size_t rounded = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (rounded > arena->capacity_bytes - arena->used_bytes)
        return NULL;
    void *piece = arena->base + arena->used_bytes;
    arena->used_bytes += rounded;
    if (arena->used_bytes > arena->peak_bytes)
        arena->peak_bytes = arena->used_bytes;
    return piece;
}

void *arena_array(struct arena *arena, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        return NULL;
    return arena_alloc(arena, n * size);
}

size_t arena_mark(const struct arena *arena)
{
    return arena->used_bytes;
}

void arena_reset(struct arena *arena, size_t mark)
{
    assert(mark <= arena->used_bytes);
    arena->used_bytes = mark;
}
