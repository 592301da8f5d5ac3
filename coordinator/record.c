/* record.c -- see record.h. */
#include "coordinator/record.h"

#include <assert.h>
#include <stddef.h>

#include "base/hash_lanes.h"

#define RECORD_ARRAYS 8u /* of a slot that is hashed */
static_assert(RECORD_ARRAYS <= HASH_LANES, "all of them at once");

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
        struct hash array[RECORD_ARRAYS];
    } all = {
        .running = *running,
        .counts = {slot->slot, slot->prompt_tokens, slot->response_tokens, slot->finish},
    };
    const size_t bytes = slot->response_tokens * sizeof(float);
    const void *const arrays[RECORD_ARRAYS] = {
        slot->prompt, slot->response, slot->logp,   slot->ref,
        slot->reward, slot->cost,     slot->scores, slot->reference_scores};
    const size_t sizes[RECORD_ARRAYS] = {slot->prompt_tokens * sizeof(int32_t),
                                         slot->response_tokens * sizeof(int32_t),
                                         bytes,
                                         bytes,
                                         bytes,
                                         slot->cost ? bytes : 0,
                                         slot->scores_n * sizeof(double),
                                         slot->reference_scores_n * sizeof(double)};
    hash_lanes_each(all.array, arrays, sizes, RECORD_ARRAYS);
    hash_blake2b(running, &all, sizeof all);
}
