/*
 * tokens.h -- appending to the list of ids that tokenizer.h declares.
 */
#ifndef ENGINE_TOKENIZER_TOKENS_H
#define ENGINE_TOKENIZER_TOKENS_H

#include "engine/tokenizer.h"

/* Append n ids, which lie elsewhere.  ERR_NOMEM; the list is as it was then. */
enum err_code tokens_append(struct tokens *tokens, const int32_t *ids, size_t n,
                            struct err *err);

#endif
