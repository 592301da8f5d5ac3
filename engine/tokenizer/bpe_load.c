/* bpe_load.c -- the member "model" of a tokenizer.json. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/bpe_merges.h"

#define BPE_TOKEN_BYTES_MAX 65536u

static enum err_code bpe_load_vocab(struct bpe *bpe, const json_t *model, const char *where,
                                    struct err *err)
{
    json_t *vocab = json_object_get(model, "vocab");
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return err_set(err, ERR_FORMAT, "%s: vocab is not an object with tokens", where);
    json_int_t id_max = 0;
    const char *content;
    json_t *id;
    json_object_foreach(vocab, content, id)
    {
        const json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > VOCAB_ID_MAX)
            return err_set(err, ERR_FORMAT,
                           "%s: vocab: the id of \"%.80s\" is not a whole number in [0, %d]",
                           where, content, VOCAB_ID_MAX);
        if (value > id_max)
            id_max = value;
    }
    enum err_code rc = vocab_init(&bpe->vocab, json_object_size(vocab), (int32_t)id_max, err);
    json_object_foreach(vocab, content, id)
    {
        if (rc == ERR_OK)
            rc = vocab_add(&bpe->vocab, content, strlen(content),
                           (int32_t)json_integer_value(id), where, err);
    }
    return rc;
}

/* The two sides of a merge: ["a", "b"], or "a b" with one blank. */
static bool bpe_load_sides(const json_t *merge, const char *side[2], size_t size[2])
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge);
        const char *blank = strchr(text, ' ');
        if (!blank || strchr(blank + 1, ' '))
            return false;
        side[0] = text;
        size[0] = (size_t)(blank - text);
        side[1] = blank + 1;
        size[1] = json_string_length(merge) - size[0] - 1;
        return true;
    }
    if (!json_is_array(merge) || json_array_size(merge) != 2)
        return false;
    for (size_t i = 0; i < 2; i++) {
        const json_t *text = json_array_get(merge, i);
        if (!json_is_string(text))
            return false;
        side[i] = json_string_value(text);
        size[i] = json_string_length(text);
    }
    return true;
}

static enum err_code bpe_load_merge(struct bpe *bpe, const json_t *merge, size_t rank,
                                    struct buf *both, const char *where, struct err *err)
{
    const char *side[2];
    size_t size[2];
    int32_t id[3];
    if (!bpe_load_sides(merge, side, size))
        return err_set(err, ERR_FORMAT, "%s: merges[%zu] is neither \"a b\" nor [\"a\", \"b\"]",
                       where, rank);
    buf_clear(both);
    buf_append(both, side[0], size[0]);
    buf_append(both, side[1], size[1]);
    if (both->failed)
        return err_set(err, ERR_FORMAT, "%s: merges[%zu] has more than %u bytes", where, rank,
                       BPE_TOKEN_BYTES_MAX);
    for (size_t i = 0; i < 3; i++) {
        const char *content = i < 2 ? side[i] : both->data;
        const size_t n = i < 2 ? size[i] : both->len;
        id[i] = vocab_find(&bpe->vocab, content, n);
        if (id[i] < 0)
            return err_set(err, ERR_FORMAT, "%s: merges[%zu]: \"%.*s\" is not in vocab", where,
                           rank, (int)(n < 80 ? n : 80), content);
    }
    const uint64_t pair = bpe_merges_pair(id[0], id[1]);
    /* Of a pair that is there twice the last counts, as in the reference. */
    *bpe_merges_slot(bpe, pair) = (struct bpe_merge){pair, (uint32_t)rank, id[2]};
    return ERR_OK;
}

static enum err_code bpe_load_merges(struct bpe *bpe, const json_t *model, const char *where,
                                     struct err *err)
{
    const json_t *merges = json_object_get(model, "merges");
    const size_t n = json_array_size(merges);
    if (!json_is_array(merges) || n > UINT32_MAX / 4)
        return err_set(err, ERR_FORMAT, "%s: merges is not a list", where);
    bpe->slots = 16;
    while (bpe->slots < n * 2)
        bpe->slots *= 2;
    bpe->merges = calloc(bpe->slots, sizeof *bpe->merges);
    if (!bpe->merges)
        return err_set(err, ERR_NOMEM, "%s: no memory for %zu merges", where, n);
    for (size_t i = 0; i < bpe->slots; i++)
        bpe->merges[i].pair = BPE_NO_PAIR;

    struct buf both;
    buf_init(&both, BPE_TOKEN_BYTES_MAX);
    enum err_code rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = bpe_load_merge(bpe, json_array_get(merges, i), i, &both, where, err);
    buf_release(&both);
    return rc;
}

/* What no model that this engine runs uses, and what would change the ids. */
static enum err_code bpe_load_refuse(const json_t *model, const char *where, struct err *err)
{
    const json_t *type = json_object_get(model, "type"); /* old files have none */
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0))
        return err_set(err, ERR_FORMAT, "%s: type %s is not known (BPE is)", where,
                       json_is_string(type) ? json_string_value(type) : "that is no string");
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0.0)
        return err_set(err, ERR_FORMAT, "%s: dropout is not null", where);
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *affix = json_object_get(model, affixes[i]);
        if (affix && !json_is_null(affix) &&
            (!json_is_string(affix) || json_string_length(affix) > 0))
            return err_set(err, ERR_FORMAT, "%s: %s is not supported", where, affixes[i]);
    }
    return ERR_OK;
}

static enum err_code bpe_load_unknown(struct bpe *bpe, const json_t *model, const char *where,
                                      struct err *err)
{
    const char *unknown = NULL;
    const enum err_code rc = json_opt_string(model, "unk_token", &unknown, where, err);
    if (rc != ERR_OK || !unknown)
        return rc;
    bpe->unknown_id = vocab_find(&bpe->vocab, unknown, strlen(unknown));
    if (bpe->unknown_id < 0)
        return err_set(err, ERR_FORMAT, "%s: unk_token \"%.80s\" is not in vocab", where,
                       unknown);
    return ERR_OK;
}

enum err_code bpe_load(struct bpe *bpe, const json_t *model, const char *where, struct err *err)
{
    *bpe = (struct bpe){.unknown_id = -1};
    if (!json_is_object(model))
        return err_set(err, ERR_FORMAT, "%s is not an object", where);
    enum err_code rc;
    if ((rc = bpe_load_refuse(model, where, err)) != ERR_OK ||
        (rc = json_opt_bool(model, "byte_fallback", &bpe->byte_fallback, where, err)) ||
        (rc = json_opt_bool(model, "fuse_unk", &bpe->fuse_unknown, where, err)) ||
        (rc = json_opt_bool(model, "ignore_merges", &bpe->ignore_merges, where, err)) ||
        (rc = bpe_load_vocab(bpe, model, where, err)) != ERR_OK ||
        (rc = bpe_load_merges(bpe, model, where, err)) != ERR_OK ||
        (rc = bpe_load_unknown(bpe, model, where, err)) != ERR_OK)
        return rc;
    for (unsigned byte = 0; byte < 256; byte++) {
        char content[8];
        const int n = snprintf(content, sizeof content, "<0x%02X>", byte);
        bpe->byte_ids[byte] = vocab_find(&bpe->vocab, content, (size_t)n);
    }
    return ERR_OK;
}

void bpe_release(struct bpe *bpe)
{
    vocab_release(&bpe->vocab);
    free(bpe->merges);
    bpe->merges = NULL;
}
