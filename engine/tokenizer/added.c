/* added.c -- see added.h.  added_load.c reads the file. */
#include "engine/tokenizer/added.h"

#include "base/utf8.h"
#include "engine/tokenizer/unicode.h"

const struct added_token *added_find(const struct added *added, int32_t id)
{
    if (id < 0 || (size_t)id >= added->vocab.ids || !added->vocab.by_id[id])
        return NULL;
    return &added->tokens[added->vocab.by_id[id] - 1];
}

const char *added_content(const struct added *added, const struct added_token *token, size_t *n)
{
    *n = token->size;
    return (token->normalized ? &added->normal : &added->raw)->bytes.data + token->begin;
}

/* The first pattern of [lo, hi) whose byte at `depth` is at least `byte`; all are longer. */
static size_t added_lower(const struct added_set *set, size_t lo, size_t hi, size_t depth,
                          unsigned byte)
{
    while (lo < hi) {
        const size_t middle = lo + (hi - lo) / 2;
        const char *content = set->bytes.data + set->patterns[middle].begin;
        if ((unsigned char)content[depth] < byte)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

/* The longest pattern that text[0, n) begins with; NULL: none. */
static const struct added_pattern *added_longest(const struct added_set *set, const char *text,
                                                 size_t n)
{
    const struct added_pattern *longest = NULL;
    size_t lo = 0, hi = set->n;
    for (size_t depth = 0; depth < n && lo < hi; depth++) {
        const unsigned byte = (unsigned char)text[depth];
        lo = added_lower(set, lo, hi, depth, byte);
        hi = added_lower(set, lo, hi, depth, byte + 1);
        /* In order of bytes the one that ends here comes first. */
        if (lo < hi && set->patterns[lo].size == depth + 1)
            longest = &set->patterns[lo++];
    }
    return longest;
}

static bool added_word_ends(const char *text, size_t at)
{
    if (at == 0)
        return false;
    at = utf8_before(text, at);
    return unicode_is_word(utf8_next(text, &at));
}

static bool added_word_begins(const char *text, size_t at, size_t n)
{
    return at < n && unicode_is_word(utf8_next(text, &at));
}

static size_t added_skip_back(const char *text, size_t at, size_t least)
{
    while (at > least) {
        const size_t before = utf8_before(text, at);
        size_t next = before;
        if (!unicode_is_space(utf8_next(text, &next)))
            break;
        at = before;
    }
    return at;
}

static size_t added_skip_ahead(const char *text, size_t at, size_t n)
{
    while (at < n) {
        size_t next = at;
        if (!unicode_is_space(utf8_next(text, &next)))
            break;
        at = next;
    }
    return at;
}

void added_cut(const struct added *added, const struct added_set *set, const char *text,
               size_t n, size_t base, bool at_start, struct pieces *out)
{
    size_t done = 0;
    for (size_t at = 0; at < n && set->n > 0;) {
        const struct added_pattern *pattern = added_longest(set, text + at, n - at);
        if (!pattern) {
            at += utf8_size(text + at);
            continue;
        }
        const struct added_token *token = &added->tokens[pattern->token];
        size_t begin = at, end = at + pattern->size;
        at = end; /* the search goes on behind the token even where it takes more along */
        if (token->single_word &&
            (added_word_ends(text, begin) || added_word_begins(text, end, n)))
            continue;
        if (token->lstrip)
            begin = added_skip_back(text, begin, done);
        if (token->rstrip)
            end = added_skip_ahead(text, end, n);
        if (done < begin)
            pieces_push(out, (struct piece){base + done, base + begin, PIECES_TEXT,
                                            at_start && done == 0});
        pieces_push(out, (struct piece){base + begin, base + end, token->id, false});
        done = end;
    }
    if (done < n)
        pieces_push(out,
                    (struct piece){base + done, base + n, PIECES_TEXT, at_start && done == 0});
}
