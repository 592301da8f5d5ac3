/*
 * part.h -- what chat.c needs of the tokenizer beyond tokenizer.h: texts between markers.
 */
#ifndef ENGINE_TOKENIZER_PART_H
#define ENGINE_TOKENIZER_PART_H

#include "engine/tokenizer.h"

/* As tokenizer_encode_plain, for a text that stands behind other tokens where `at_start` is
 * false: a blank that the tokenizer puts before the first word only is then left out. */
enum err_code tokenizer_encode_part(const struct tokenizer *tokenizer, const char *text,
                                    size_t n, bool at_start, struct tokens *out,
                                    struct err *err);

/* Append what the post-processor puts before a text, e.g. <s>. */
enum err_code tokenizer_prefix(const struct tokenizer *tokenizer, struct tokens *out,
                               struct err *err);

#endif
