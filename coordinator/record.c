/* record.c -- see record.h. */
#include "coordinator/record.h"

#include <stddef.h>

const char *record_kind_name(enum record_kind kind)
{
    switch (kind) {
#define X(name, text) \
    case RECORD_##name: return text;
        RECORD_KIND_MAP(X)
#undef X
    }
    return "?";
}

const char *record_reason_name(enum record_reason reason)
{
    switch (reason) {
#define X(name, text) \
    case RECORD_REASON_##name: return text;
        RECORD_REASON_MAP(X)
#undef X
    case RECORD_REASONS: break;
    }
    return "?";
}

void record_experience_add(struct hash *running, const struct record_experience *slot)
{
    struct {
        struct hash running;
        uint32_t counts[4];
        struct hash array[8];
    } all = {
        .running = *running,
        .counts = {slot->slot, slot->prompt_tokens, slot->response_tokens, slot->finish},
    };
    const size_t bytes = slot->response_tokens * sizeof(float);
    hash_blake2b(&all.array[0], slot->prompt, slot->prompt_tokens * sizeof(int32_t));
    hash_blake2b(&all.array[1], slot->response, slot->response_tokens * sizeof(int32_t));
    hash_blake2b(&all.array[2], slot->logp, bytes);
    hash_blake2b(&all.array[3], slot->ref, bytes);
    hash_blake2b(&all.array[4], slot->reward, bytes);
    hash_blake2b(&all.array[5], slot->cost, slot->cost ? bytes : 0);
    hash_blake2b(&all.array[6], slot->scores, slot->scores_n * sizeof(double));
    hash_blake2b(&all.array[7], slot->reference_scores,
                 slot->reference_scores_n * sizeof(double));
    hash_blake2b(running, &all, sizeof all);
}
