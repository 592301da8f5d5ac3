/*
 * added.h -- the added tokens of a tokenizer.json: found in a text before anything else is
 * done to it, the leftmost first and of those the longest.
 *
 * Those with "normalized" are looked for in the normalized text, by their own normal form;
 * the others in the text as it was given.
 */
#ifndef ENGINE_TOKENIZER_ADDED_H
#define ENGINE_TOKENIZER_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pieces.h"
#include "engine/tokenizer/vocab.h"

struct added_token {
    int32_t id;
    bool special;         /* left out of a decoded text on request */
    bool normalized;      /* looked for in the normalized text */
    bool lstrip;          /* takes the white space before it along */
    bool rstrip;          /* takes the white space after it along */
    bool single_word;     /* not next to a character of a word */
    uint32_t begin, size; /* of what it looks like in a text, in the set's bytes */
};

struct added_pattern {
    uint32_t begin, size; /* in `bytes` */
    uint32_t token;
};

/* Patterns in order of their bytes, so that a text is matched by narrowing a range. */
struct added_set {
    struct buf bytes;
    struct added_pattern *patterns;
    size_t n;
};

struct added {
    struct vocab vocab;
    struct added_token *tokens; /* as vocab.entries */
    struct added_set raw, normal;
};

/* From the list "added_tokens" (NULL: none), whose ids must agree with those of `model`.
 * ERR_FORMAT begins with `where`; ERR_NOMEM.  Release in either case. */
enum err_code added_load(struct added *added, const json_t *value,
                         const struct normalizer *normalizer, const struct vocab *model,
                         const char *where, struct err *err);
void added_release(struct added *added); /* harmless on one that is all zero */

/* The token of an id; NULL: not an added one. */
const struct added_token *added_find(const struct added *added, int32_t id);

/* What stands for a token when it is decoded, not NUL-terminated: its normal form, where it
 * is normalized.  (So does `tokenizers` since 0.23: a decoder is made to undo the normal
 * form.) */
const char *added_content(const struct added *added, const struct added_token *token,
                          size_t *n);

/* Append the parts of text[0, n) to `out`, which are none of them empty: added tokens, and
 * what is between.  `set` is added->raw or added->normal; out->text is not touched, and the
 * parts are offsets from `base`. */
void added_cut(const struct added *added, const struct added_set *set, const char *text,
               size_t n, size_t base, bool at_start, struct pieces *out);

#endif
