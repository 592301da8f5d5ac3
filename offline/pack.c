/* pack.c -- see pack.h. */
#include "offline/pack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum err_code pack_init(struct pack *pack, size_t tokens_max, struct err *err)
{
    *pack = (struct pack){.tokens_max = tokens_max};
    pack->ids = calloc(tokens_max, sizeof *pack->ids);
    pack->offset = calloc(tokens_max + 1, sizeof *pack->offset);
    if (!pack->ids || !pack->offset)
        return err_set(err, ERR_NOMEM, "no memory for packs of %zu tokens", tokens_max);
    return ERR_OK;
}

void pack_release(struct pack *pack)
{
    free(pack->ids);
    free(pack->offset);
    *pack = (struct pack){0};
}

void pack_clear(struct pack *pack)
{
    pack->seqs = 0;
    pack->offset[0] = 0;
}

size_t pack_tokens(const struct pack *pack)
{
    return pack->offset[pack->seqs];
}

uint32_t pack_put(struct pack *pack, const int32_t *ids, size_t n)
{
    const uint32_t begin = pack->offset[pack->seqs];
    assert(n > 0 && begin + n <= pack->tokens_max);
    memcpy(pack->ids + begin, ids, n * sizeof *ids);
    pack->offset[++pack->seqs] = begin + (uint32_t)n;
    return begin;
}

struct pass_batch pack_batch(const struct pack *pack)
{
    return (struct pass_batch){.seqs = pack->seqs, .offset = pack->offset, .ids = pack->ids};
}
