/*
 * unicode.h -- the classes of characters that tokenizer.json components speak of, and the
 * normalization forms, from utf8proc's tables.
 *
 * Held against `tokenizers` 0.23.3 over all characters: spaces, digits, words and the
 * normalization forms are the same.  unicode_is_punctuation knows 129 characters otherwise,
 * which became punctuation after Unicode 8 (that component's tables there), and
 * unicode_lower lacks 55 letters that are newer than utf8proc's tables.
 */
#ifndef ENGINE_TOKENIZER_UNICODE_H
#define ENGINE_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

bool unicode_is_space(uint32_t c);       /* White_Space */
bool unicode_is_numeric(uint32_t c);     /* Nd, Nl, No */
bool unicode_is_punctuation(uint32_t c); /* P*, and ASCII's punctuation: $ + < = > ^ ` | ~ */

/* UTS 18's word character: Alphabetic, M*, Nd, Pc, Join_Control. */
bool unicode_is_word(uint32_t c);

enum unicode_form { UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD };

/* Append the text (well-formed UTF-8) in a normalization form.  ERR_NOMEM. */
enum err_code unicode_normalize(enum unicode_form form, const char *text, size_t n,
                                struct buf *out, struct err *err);

/* Append the text in lower case, character by character, without regard to position. */
void unicode_lower(const char *text, size_t n, struct buf *out);

#endif
