/*
 * buf.h -- a growing byte string with a greatest size, named where it is created.
 *
 * `data` is never NULL and always NUL-terminated after buf_init, so a text buffer is a C
 * string; while `cap` is 0 it is a constant that must not be written to.  An append that would
 * pass the maximum, or that the system has no memory for, sets `failed` and adds nothing; so
 * does each one after it.  Callers append freely and look at `failed` (or call buf_check) once
 * at the end.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct buf {
    char *data;
    size_t len;       /* bytes, without the closing NUL */
    size_t cap;       /* bytes held */
    size_t max_bytes; /* len never passes it */
    bool failed;      /* an append did not fit */
};

/* An empty buffer; holds no memory yet.  The caller frees the contents with buf_release. */
void buf_init(struct buf *buf, size_t max_bytes);
void buf_release(struct buf *buf);

/* Back to empty and not failed; memory is kept. */
void buf_clear(struct buf *buf);

/* Room for n more bytes at data + len, which the caller may fill and then count in len,
 * with a NUL put after them.  False, and the buffer failed, where they do not fit. */
bool buf_reserve(struct buf *buf, size_t n);

/* `bytes` must not be part of the buffer itself. */
void buf_append(struct buf *buf, const void *bytes, size_t n);
void buf_puts(struct buf *buf, const char *text);
void buf_putc(struct buf *buf, char c);
__attribute__((format(printf, 2, 3)))
void buf_printf(struct buf *buf, const char *format, ...);
void buf_vprintf(struct buf *buf, const char *format, va_list args);

/* `text` as a JSON string with its quotes: control characters, quotes and backslashes
 * escaped, each byte that is no part of valid UTF-8 (RFC 3629) replaced by U+FFFD. */
void buf_json_string(struct buf *buf, const char *text, size_t n);

/* `text` as text of an HTML or SVG element, or as an attribute's value between double quotes:
 * & < > " become references; what such a file may not hold (control characters other than tab
 * and newline, bytes that are no part of valid UTF-8, U+FFFE and U+FFFF) becomes U+FFFD. */
void buf_html_text(struct buf *buf, const char *text, size_t n);

/* A double as JSON: with 15 significant digits, or with 16 or 17 where it takes these to
 * read back the same; no trailing zeros; null where not finite. */
void buf_json_number(struct buf *buf, double value);

/* ERR_OK, or ERR_NOMEM naming `what` where an append did not fit. */
enum err_code buf_check(const struct buf *buf, const char *what, struct err *err);

#endif
