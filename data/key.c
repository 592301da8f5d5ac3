/* key.c -- see key.h.  Texts hold no NUL, so a NUL after each part makes the bytes that are
 * hashed different for any two different sequences of turns. */
#include "data/key.h"

#include "base/hash.h"

static void key_put_turns(struct buf *out, const struct data_turn *turn, size_t turns)
{
    for (size_t i = 0; i < turns; i++) {
        buf_putc(out, (char)('0' + turn[i].role));
        buf_append(out, turn[i].text.data, turn[i].text.n + 1);
    }
    buf_putc(out, '\0');
}

static void key_put_answers(struct buf *out, const struct data_record *record)
{
    for (size_t i = 0; i < record->answers; i++)
        key_put_turns(out, record->answer[i].turn, record->answer[i].turns);
    buf_append(out, record->ids, record->ids_n * sizeof *record->ids);
}

static uint64_t key_hash(const struct buf *bytes)
{
    return bytes->failed ? 0 : hash_xxh3(bytes->data, bytes->len);
}

static uint64_t key_turns(const struct data_record *record, size_t turns, uint64_t seed,
                          struct buf *scratch)
{
    buf_clear(scratch);
    buf_append(scratch, &seed, sizeof seed);
    key_put_turns(scratch, record->turn, turns);
    if (turns == 0)
        key_put_answers(scratch, record);
    return key_hash(scratch);
}

uint64_t key_prompt(const struct data_record *record, uint64_t seed, struct buf *scratch)
{
    return key_turns(record, record->turns, seed, scratch);
}

uint64_t key_opening(const struct data_record *record, uint64_t seed, struct buf *scratch)
{
    return key_turns(record, record->turns > 0 ? 1 : 0, seed, scratch);
}

uint64_t key_record(const struct data_record *record, struct buf *scratch)
{
    buf_clear(scratch);
    key_put_turns(scratch, record->turn, record->turns);
    key_put_answers(scratch, record);
    for (size_t i = 0; i < record->pairs; i++)
        buf_printf(scratch, "%u>%u ", record->pair[i].better, record->pair[i].worse);
    for (size_t i = 0; i < record->safeties; i++)
        buf_printf(scratch, "%u/%u ", record->safety[i].better, record->safety[i].worse);
    return key_hash(scratch);
}
