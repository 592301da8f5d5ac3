/* buf.c -- see buf.h. */
#include "base/buf.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char buf_nothing[1]; /* what an empty buffer's data points at; never written */

void buf_init(struct buf *buf, size_t max_bytes)
{
    *buf = (struct buf){.data = buf_nothing, .max_bytes = max_bytes};
}

void buf_release(struct buf *buf)
{
    if (buf->cap > 0)
        free(buf->data);
    buf_init(buf, buf->max_bytes);
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->cap > 0)
        buf->data[0] = '\0';
}

/* Room for n more bytes and the NUL, or `failed`. */
static bool buf_reserve(struct buf *buf, size_t n)
{
    if (buf->failed || n > buf->max_bytes - buf->len || buf->len > buf->max_bytes) {
        buf->failed = true;
        return false;
    }
    const size_t need = buf->len + n + 1;
    if (need <= buf->cap)
        return true;
    size_t cap = buf->cap < 64 ? 64 : buf->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    char *data = realloc(buf->cap > 0 ? buf->data : NULL, cap);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void buf_append(struct buf *buf, const void *bytes, size_t n)
{
    if (!buf_reserve(buf, n))
        return;
    if (n > 0)
        memcpy(buf->data + buf->len, bytes, n);
    buf->len += n;
    buf->data[buf->len] = '\0';
}

void buf_puts(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_putc(struct buf *buf, char c)
{
    buf_append(buf, &c, 1);
}

void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    if (n < 0)
        buf->failed = true;
    else if (buf_reserve(buf, (size_t)n)) {
        vsnprintf(buf->data + buf->len, (size_t)n + 1, format, again);
        buf->len += (size_t)n;
    }
    va_end(again);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_vprintf(buf, format, args);
    va_end(args);
}

/* Bytes of the UTF-8 sequence at s (n left); 0 where it is none (overlong, surrogate, ...). */
static size_t buf_utf8(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return 1;
    const size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

void buf_json_string(struct buf *buf, const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    buf_putc(buf, '"');
    for (size_t i = 0; i < n;) {
        const size_t len = buf_utf8(s + i, n - i);
        if (len == 0)
            buf_puts(buf, "\xef\xbf\xbd");
        else if (s[i] == '"' || s[i] == '\\')
            buf_printf(buf, "\\%c", s[i]);
        else if (s[i] == '\n')
            buf_puts(buf, "\\n");
        else if (s[i] < 0x20 || s[i] == 0x7f)
            buf_printf(buf, "\\u%04x", s[i]);
        else
            buf_append(buf, s + i, len);
        i += len > 0 ? len : 1;
    }
    buf_putc(buf, '"');
}

void buf_json_number(struct buf *buf, double value)
{
    char text[40];
    if (!isfinite(value)) {
        buf_puts(buf, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_puts(buf, text);
}

enum err_code buf_check(const struct buf *buf, const char *what, struct err *err)
{
    if (buf->failed)
        return err_set(err, ERR_NOMEM, "%s does not fit into %zu bytes, or memory is short",
                       what, buf->max_bytes);
    return ERR_OK;
}
