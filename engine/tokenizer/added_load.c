/* added_load.c -- the list "added_tokens" of a tokenizer.json. */
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer/added.h"

#define ADDED_TOKENS_MAX      65536u
#define ADDED_TOKEN_BYTES_MAX 4096u
#define ADDED_SET_BYTES_MAX   (64u << 20)

static enum err_code added_load_token(struct added_token *token, const json_t *value,
                                      const char *where, struct err *err)
{
    uint64_t id = 0;
    enum err_code rc;
    if ((rc = json_get_u64(value, "id", 0, VOCAB_ID_MAX, &id, where, err)) != ERR_OK ||
        (rc = json_get_bool(value, "special", &token->special, where, err)) != ERR_OK ||
        (rc = json_get_bool(value, "normalized", &token->normalized, where, err)) != ERR_OK ||
        (rc = json_get_bool(value, "lstrip", &token->lstrip, where, err)) != ERR_OK ||
        (rc = json_get_bool(value, "rstrip", &token->rstrip, where, err)) != ERR_OK ||
        (rc = json_get_bool(value, "single_word", &token->single_word, where, err)) != ERR_OK)
        return rc;
    token->id = (int32_t)id;
    return ERR_OK;
}

/* The model's vocabulary and the list must not give one content two ids, nor one id two
 * contents: which of them counts is not for this file to leave open. */
static enum err_code added_load_agrees(const struct vocab *model, const char *content, size_t n,
                                       int32_t id, const char *where, struct err *err)
{
    const int32_t model_id = vocab_find(model, content, n);
    size_t other_n;
    const char *other = vocab_content(model, id, &other_n);
    if (model_id >= 0 && model_id != id)
        return err_set(err, ERR_FORMAT, "%s: \"%.80s\" has id %d here and %d in vocab", where,
                       content, (int)id, (int)model_id);
    if (other && model_id != id)
        return err_set(err, ERR_FORMAT, "%s: id %d of \"%.80s\" is that of \"%.*s\" in vocab",
                       where, (int)id, content, (int)(other_n < 80 ? other_n : 80), other);
    return ERR_OK;
}

static enum err_code added_load_tokens(struct added *added, const json_t *value,
                                       const struct vocab *model, const char *where,
                                       struct err *err)
{
    const size_t n = json_array_size(value);
    int32_t id_max = 0;
    for (size_t i = 0; i < n; i++) {
        enum err_code rc =
            added_load_token(&added->tokens[i], json_array_get(value, i), where, err);
        if (rc != ERR_OK)
            return rc;
        if (added->tokens[i].id > id_max)
            id_max = added->tokens[i].id;
    }
    enum err_code rc = vocab_init(&added->vocab, n, id_max, err);
    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        const json_t *content = json_object_get(json_array_get(value, i), "content");
        const size_t size = json_string_length(content);
        if (!json_is_string(content) || size == 0 || size > ADDED_TOKEN_BYTES_MAX)
            return err_set(err, ERR_FORMAT, "%s[%zu]: content is not a text of 1 to %u bytes",
                           where, i, ADDED_TOKEN_BYTES_MAX);
        const char *bytes = json_string_value(content);
        rc = added_load_agrees(model, bytes, size, added->tokens[i].id, where, err);
        if (rc == ERR_OK)
            rc = vocab_add(&added->vocab, bytes, size, added->tokens[i].id, where, err);
    }
    return rc;
}

/* What a token looks like in the text that is searched. */
static enum err_code added_load_content(const struct added *added, size_t i,
                                        const struct normalizer *normalizer,
                                        struct added_set *set, const char *where,
                                        struct err *err)
{
    const struct vocab_entry *entry = &added->vocab.entries[i];
    struct buf text, spare;
    buf_init(&text, 1u << 20);
    buf_init(&spare, 1u << 20);
    bool at_start = true;
    buf_append(&text, added->vocab.bytes.data + entry->begin, entry->size);
    enum err_code rc = buf_check(&text, where, err);
    if (rc == ERR_OK && added->tokens[i].normalized)
        rc = normalizer_run(normalizer, &text, &spare, &at_start, err);
    if (rc == ERR_OK && text.len == 0)
        rc = err_set(err, ERR_FORMAT, "%s[%zu]: its normal form is empty", where, i);
    if (rc == ERR_OK) {
        struct added_token *token = &added->tokens[i];
        token->begin = (uint32_t)set->bytes.len;
        token->size = (uint32_t)text.len;
        set->patterns[set->n++] =
            (struct added_pattern){token->begin, token->size, (uint32_t)i};
        buf_append(&set->bytes, text.data, text.len);
        rc = buf_check(&set->bytes, where, err);
    }
    buf_release(&text);
    buf_release(&spare);
    return rc;
}

/* In order of bytes, and of equals the one that is found first: special before not, then as
 * listed. */
static bool added_load_before(const struct added *added, const struct added_set *set,
                              const struct added_pattern *a, const struct added_pattern *b)
{
    const size_t common = a->size < b->size ? a->size : b->size;
    const int order = memcmp(set->bytes.data + a->begin, set->bytes.data + b->begin, common);
    if (order != 0 || a->size != b->size)
        return order != 0 ? order < 0 : a->size < b->size;
    if (added->tokens[a->token].special != added->tokens[b->token].special)
        return added->tokens[a->token].special;
    return a->token < b->token;
}

/* Bottom-up merge sort: qsort's comparison could not see the set. */
static enum err_code added_load_sort(const struct added *added, struct added_set *set,
                                     struct err *err)
{
    struct added_pattern *from = set->patterns;
    struct added_pattern *to = calloc(set->n + 1, sizeof *to);
    if (!to)
        return err_set(err, ERR_NOMEM, "no memory to sort %zu added tokens", set->n);
    for (size_t width = 1; width < set->n; width *= 2) {
        for (size_t lo = 0; lo < set->n; lo += 2 * width) {
            const size_t middle = lo + width < set->n ? lo + width : set->n;
            const size_t hi = middle + width < set->n ? middle + width : set->n;
            size_t a = lo, b = middle;
            for (size_t i = lo; i < hi; i++)
                to[i] = b == hi || (a < middle &&
                                    !added_load_before(added, set, &from[b], &from[a]))
                            ? from[a++]
                            : from[b++];
        }
        struct added_pattern *swap = from;
        from = to;
        to = swap;
    }
    free(to);
    set->patterns = from;
    return ERR_OK;
}

/* Two that look alike are one pattern: the first of them. */
static void added_load_unique(struct added_set *set)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++) {
        const struct added_pattern *pattern = &set->patterns[i];
        const struct added_pattern *last = n > 0 ? &set->patterns[n - 1] : NULL;
        if (!last || last->size != pattern->size ||
            memcmp(set->bytes.data + last->begin, set->bytes.data + pattern->begin,
                   pattern->size) != 0)
            set->patterns[n++] = *pattern;
    }
    set->n = n;
}

enum err_code added_load(struct added *added, const json_t *value,
                         const struct normalizer *normalizer, const struct vocab *model,
                         const char *where, struct err *err)
{
    *added = (struct added){0};
    if (!value || json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0))
        return ERR_OK;
    const size_t n = json_array_size(value);
    if (!json_is_array(value) || n > ADDED_TOKENS_MAX)
        return err_set(err, ERR_FORMAT, "%s is not a list of at most %u tokens", where,
                       ADDED_TOKENS_MAX);
    added->tokens = calloc(n, sizeof *added->tokens);
    struct added_set *sets[] = {&added->raw, &added->normal};
    for (size_t s = 0; s < 2; s++) {
        buf_init(&sets[s]->bytes, ADDED_SET_BYTES_MAX);
        sets[s]->patterns = calloc(n, sizeof *sets[s]->patterns);
    }
    if (!added->tokens || !sets[0]->patterns || !sets[1]->patterns)
        return err_set(err, ERR_NOMEM, "%s: no memory for %zu tokens", where, n);
    enum err_code rc = added_load_tokens(added, value, model, where, err);
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = added_load_content(added, i, normalizer, sets[added->tokens[i].normalized], where,
                                err);
    for (size_t s = 0; rc == ERR_OK && s < 2; s++) {
        rc = added_load_sort(added, sets[s], err);
        added_load_unique(sets[s]);
    }
    return rc;
}

void added_release(struct added *added)
{
    vocab_release(&added->vocab);
    free(added->tokens);
    struct added_set *sets[] = {&added->raw, &added->normal};
    for (size_t s = 0; s < 2; s++) {
        buf_release(&sets[s]->bytes);
        free(sets[s]->patterns);
    }
    *added = (struct added){0};
}
