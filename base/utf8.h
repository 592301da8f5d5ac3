/*
 * utf8.h -- UTF-8 as RFC 3629 has it: no surrogates, nothing overlong, at most U+10FFFF.
 *
 * Pure; allocates only what a struct buf grows by.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* The bytes [0, n) that are well-formed: n where all are, else the offset of the first byte
 * that begins no well-formed character. */
size_t utf8_span(const char *text, size_t n);

/* Bytes of the character that the n bytes (> 0) at `text` begin with; 0 where they begin with
 * none. */
size_t utf8_character(const char *text, size_t n);

/* Bytes of the character at `text`, which is well-formed and not at the end. */
size_t utf8_size(const char *text);

/* The character at text[*at], which is well-formed; *at moves past it. */
uint32_t utf8_next(const char *text, size_t *at);

/* The offset of the character that ends just before text[at]; at > 0. */
size_t utf8_before(const char *text, size_t at);

/* Append a character.  `c` is no surrogate and at most U+10FFFF. */
void utf8_put(struct buf *out, uint32_t c);

/* Append n bytes, each longest prefix of a character that is cut off or wrong (at least one
 * byte) replaced by one U+FFFD: Unicode's "substitution of maximal subparts". */
void utf8_append_lossy(struct buf *out, const char *bytes, size_t n);

#endif
