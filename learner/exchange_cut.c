/* exchange_cut.c -- which chunks of an array are whose: see exchange.h. */
#include <assert.h>

#include "learner/exchange_state.h"

enum { EXCHANGE_CUT_ALIGN = 64 }; /* bytes; a cache line */

struct exchange_cut exchange_cut(size_t size, uint32_t ranks, uint32_t rank)
{
    const size_t most = (size_t)ranks * EXCHANGE_CHUNK_BYTES;
    const size_t chunks = (size + most - 1) / most * ranks;
    const size_t chunk = (size + chunks - 1) / chunks;
    assert(size > 0 && rank < ranks);
    return (struct exchange_cut){
        size, (chunk + EXCHANGE_CUT_ALIGN - 1) / EXCHANGE_CUT_ALIGN * EXCHANGE_CUT_ALIGN, ranks,
        rank};
}

struct exchange_cut exchange_cut_whole(size_t size)
{
    return (struct exchange_cut){size, EXCHANGE_CHUNK_BYTES, 1, 0};
}

uint64_t exchange_cut_count(const struct exchange_cut *cut)
{
    const uint64_t chunks = (cut->size + cut->chunk - 1) / cut->chunk;
    return chunks > cut->rank ? (chunks - 1 - cut->rank) / cut->ranks + 1 : 0;
}

size_t exchange_cut_first(const struct exchange_cut *cut, uint64_t i)
{
    const uint64_t count = exchange_cut_count(cut);
    assert(i < count);
    return (size_t)(cut->rank + (count - 1 - i) * cut->ranks) * cut->chunk;
}

size_t exchange_cut_bytes(const struct exchange_cut *cut, uint64_t i)
{
    const size_t rest = cut->size - exchange_cut_first(cut, i);
    return rest < cut->chunk ? rest : cut->chunk;
}

bool exchange_cut_find(const struct exchange_cut *cut, uint64_t first, uint64_t *i)
{
    const uint64_t chunk = first / cut->chunk;
    if (first >= cut->size || first % cut->chunk != 0 || chunk % cut->ranks != cut->rank)
        return false;
    *i = exchange_cut_count(cut) - 1 - chunk / cut->ranks;
    return true;
}
