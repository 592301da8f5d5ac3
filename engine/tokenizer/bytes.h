/*
 * bytes.h -- GPT-2's alphabet: each byte as one printable character (its encoder.py,
 * bytes_to_unicode).
 *
 * The bytes ! to ~, U+00A1 to U+00AC and U+00AE to U+00FF stand for themselves; the other 68
 * become U+0100 onward, in order.
 */
#ifndef ENGINE_TOKENIZER_BYTES_H
#define ENGINE_TOKENIZER_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Append n bytes, each as its character. */
void bytes_spell(struct buf *out, const char *bytes, size_t n);

/* The byte that a character stands for; -1: none. */
int bytes_of(uint32_t c);

#endif
