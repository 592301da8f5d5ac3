/* experience.c -- see experience.h. */
#include "learner/experience.h"

#include <assert.h>
#include <string.h>

enum err_code experience_open(struct experience *x, const struct message *lease,
                              struct arena *arena, struct err *err)
{
    const uint32_t rows = lease->items_n;
    if (rows == 0)
        return err_set(err, ERR_VALUE, "train lease of step %llu has no rows",
                       (unsigned long long)lease->step);
    uint32_t *id_at = arena_array(arena, rows + 1u, sizeof *id_at);
    uint32_t *offset = arena_array(arena, rows + 1u, sizeof *offset);
    uint32_t *group = arena_array(arena, rows, sizeof *group);
    if (!id_at || !offset || !group)
        return err_set(err, ERR_NOMEM, "no room for a train lease of %u rows", rows);
    id_at[0] = offset[0] = 0;
    for (uint32_t b = 0; b < rows; b++) {
        const struct wire_item *item = &lease->items[b];
        if (item->prompt_tokens == 0 || item->response_tokens == 0)
            return err_set(err, ERR_VALUE, "train lease of step %llu: slot %u has no %s",
                           (unsigned long long)lease->step, item->b,
                           item->prompt_tokens ? "response" : "prompt");
        id_at[b + 1] = id_at[b] + item->prompt_tokens + item->response_tokens;
        offset[b + 1] = offset[b] + item->response_tokens;
        group[b] = item->group;
    }
    *x = (struct experience){
        .rows = rows,
        .tokens = offset[rows],
        .items = lease->items,
        .ids = lease->frame[0].data,
        .id_at = id_at,
        .offset = offset,
        .logp_old = lease->frame[1].data,
        .reward = lease->frame[2].data,
        .logref = lease->frame[3].data,
        .cost = lease->frames_n > 4 ? lease->frame[4].data : NULL,
        .group = group,
    };
    return ERR_OK;
}

uint32_t experience_row_tokens(const struct experience *x, uint32_t row)
{
    return x->id_at[row + 1] - x->id_at[row];
}

uint32_t experience_cut(const struct experience *x, const uint32_t *order, uint32_t n,
                        uint32_t first, uint32_t micro_tokens)
{
    assert(first < n);
    uint32_t tokens = experience_row_tokens(x, order[first]);
    uint32_t end = first + 1;
    while (end < n && tokens + experience_row_tokens(x, order[end]) <= micro_tokens)
        tokens += experience_row_tokens(x, order[end++]);
    return end;
}

uint32_t experience_micros(const struct experience *x, const uint32_t *order, uint32_t n,
                           uint32_t micro_tokens)
{
    uint32_t micros = 0;
    for (uint32_t first = 0; first < n; micros++)
        first = experience_cut(x, order, n, first, micro_tokens);
    return micros;
}

enum err_code experience_pack(const struct experience *x, const uint32_t *order, uint32_t first,
                              uint32_t end, struct arena *arena, struct experience_micro *micro,
                              struct err *err)
{
    uint32_t tokens = 0, responses = 0;
    for (uint32_t i = first; i < end; i++) {
        tokens += experience_row_tokens(x, order[i]);
        responses += x->items[order[i]].response_tokens;
    }
    const uint32_t rows = end - first;
    int32_t *ids = arena_array(arena, tokens, sizeof *ids);
    uint32_t *offset = arena_array(arena, rows + 1u, sizeof *offset);
    micro->at = arena_array(arena, responses, sizeof *micro->at);
    micro->target = arena_array(arena, responses, sizeof *micro->target);
    micro->entry = arena_array(arena, responses, sizeof *micro->entry);
    micro->last_at = arena_array(arena, rows, sizeof *micro->last_at);
    if (!ids || !offset || !micro->at || !micro->target || !micro->entry || !micro->last_at)
        return err_set(err, ERR_NOMEM, "no room for a micro-batch of %u tokens", tokens);

    uint32_t at = 0, n = 0;
    for (uint32_t i = 0; i < rows; i++) {
        const uint32_t row = order[first + i];
        const struct wire_item *item = &x->items[row];
        const uint32_t length = experience_row_tokens(x, row);
        memcpy(ids + at, x->ids + x->id_at[row], length * sizeof *ids);
        offset[i] = at;
        for (uint32_t t = 0; t < item->response_tokens; t++, n++) {
            micro->at[n] = at + item->prompt_tokens + t - 1;
            micro->target[n] = ids[at + item->prompt_tokens + t];
            micro->entry[n] = x->offset[row] + t;
        }
        at += length;
        micro->last_at[i] = at - 1;
    }
    offset[rows] = at;
    micro->rows = rows;
    micro->row = order + first;
    micro->tokens = n;
    micro->batch = (struct pass_batch){.seqs = rows, .offset = offset, .ids = ids};
    return ERR_OK;
}

size_t experience_bytes(size_t rows, size_t tokens)
{
    /* Seven tables by row or token of 4 bytes each, with room to align every one. */
    return 8 * (rows + 2) * 4 + 4 * (tokens + 1) * 4 + 16 * ARENA_ALIGN;
}
