/*
 * examples.h -- a line of JSON as token ids: what `score` and `train sft` read.
 *
 *     {"ids": [1, 2, 3]}                        ids as they are
 *     {"prompt": "...", "response": "..."}      the prompt through the chat template, then the
 *                                               response as plain text
 *     {"text": "..."}                           the post-processor's special tokens and the text
 */
#ifndef DATA_EXAMPLES_H
#define DATA_EXAMPLES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/chat.h"
#include "engine/config.h"
#include "engine/tokenizer.h"

struct example_reader {
    const struct model_config *config; /* ids must lie in its vocabulary, lengths in its T */
    const struct tokenizer *tokenizer; /* NULL: only "ids" lines are understood */
    enum chat_template chat;
    bool end; /* append the token that ends a turn to responses and texts */
    size_t tokens_max;
};

/* The token that ends what the assistant says: of the template, else the model's eos; -1. */
int32_t example_end_id(const struct example_reader *reader);

/* Append the ids of `object` to `out`; *first is the index, within what was appended, of the
 * first token that was said in answer: 0 for "ids" and "text".  ERR_FORMAT, ERR_VALUE name
 * `where`; `out` is then as it was. */
enum err_code example_read(const struct example_reader *reader, const json_t *object,
                           const char *where, struct tokens *out, uint32_t *first,
                           struct err *err);

/* Return `code` with the sentence of `inner`, and `where` before it unless it is there: for
 * errors of functions that do not know which line they were given. */
enum err_code example_name_line(enum err_code code, const struct err *inner, const char *where,
                                struct err *err);

/* Append the ids in a JSON array.  ERR_NOMEM, or ERR_FORMAT naming `where` and the index. */
enum err_code example_ids(const json_t *array, const char *where, struct tokens *out,
                          struct err *err);

#endif
