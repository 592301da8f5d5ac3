/* buf.c -- see buf.h. */
#include "base/buf.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define BUF_FIRST_BYTES 256u

/* What an empty buffer's data points at while it holds no memory; never written. */
static const char buf_nothing[1] = "";

void buf_init(struct buf *buf, size_t max_bytes)
{
    *buf = (struct buf){.data = (char *)buf_nothing, .max_bytes = max_bytes};
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

bool buf_reserve(struct buf *buf, size_t n)
{
    assert(buf->data);
    if (buf->failed)
        return false;
    if (n > buf->max_bytes - buf->len || n > SIZE_MAX - 1 - buf->len) {
        buf->failed = true;
        return false;
    }
    const size_t need = buf->len + n + 1; /* with the NUL */
    if (need <= buf->cap)
        return true;

    size_t cap = buf->cap > 0 ? buf->cap : BUF_FIRST_BYTES;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap - 1 > buf->max_bytes)
        cap = buf->max_bytes + 1; /* at least need: len + n is within the maximum */
    char *data = realloc(buf->cap > 0 ? buf->data : NULL, cap);
    if (!data) {
        buf->failed = true;
        return false;
    }
    data[buf->len] = '\0';
    buf->data = data;
    buf->cap = cap;
    return true;
}

void buf_append(struct buf *buf, const void *bytes, size_t n)
{
    assert(bytes || n == 0);
    if (n == 0 || !buf_reserve(buf, n))
        return;
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

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_vprintf(buf, format, args);
    va_end(args);
}

void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n < 0) {
        buf->failed = true;
        return;
    }
    if (n == 0 || !buf_reserve(buf, (size_t)n))
        return;
    vsnprintf(buf->data + buf->len, (size_t)n + 1, format, args);
    buf->len += (size_t)n;
}

static void buf_json_ascii(struct buf *buf, unsigned char c)
{
    switch (c) {
    case '"': buf_puts(buf, "\\\""); return;
    case '\\': buf_puts(buf, "\\\\"); return;
    case '\b': buf_puts(buf, "\\b"); return;
    case '\f': buf_puts(buf, "\\f"); return;
    case '\n': buf_puts(buf, "\\n"); return;
    case '\r': buf_puts(buf, "\\r"); return;
    case '\t': buf_puts(buf, "\\t"); return;
    default: buf_printf(buf, "\\u%04x", c); return;
    }
}

void buf_json_string(struct buf *buf, const char *text, size_t n)
{
    assert(text || n == 0);
    const unsigned char *s = (const unsigned char *)text;
    buf_putc(buf, '"');
    size_t plain = 0; /* start of the bytes that go out as they are */
    for (size_t i = 0; i < n;) {
        const size_t len = s[i] < 0x80 ? 1 : utf8_character(text + i, n - i);
        if (len > 0 && s[i] >= 0x20 && s[i] != '"' && s[i] != '\\') {
            i += len;
            continue;
        }
        buf_append(buf, s + plain, i - plain);
        if (len == 0)
            buf_puts(buf, "\xef\xbf\xbd");
        else
            buf_json_ascii(buf, s[i]);
        i++;
        plain = i;
    }
    if (plain < n)
        buf_append(buf, s + plain, n - plain);
    buf_putc(buf, '"');
}

/* What stands for the character at `s` in HTML; NULL: itself. */
static const char *buf_html_reference(const unsigned char *s, size_t len)
{
    switch (s[0]) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    default: break;
    }
    const bool control = (s[0] < 0x20 && s[0] != '\t' && s[0] != '\n') || s[0] == 0x7f ||
                         (s[0] == 0xc2 && s[1] < 0xa0); /* C0, DEL, C1 */
    const bool unassigned = len == 3 && s[0] == 0xef && s[1] == 0xbf && s[2] >= 0xbe;
    return control || unassigned ? "\xef\xbf\xbd" : NULL;
}

void buf_html_text(struct buf *buf, const char *text, size_t n)
{
    assert(text || n == 0);
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0; i < n;) {
        const size_t len = s[i] < 0x80 ? 1 : utf8_character(text + i, n - i);
        const char *other = len > 0 ? buf_html_reference(s + i, len) : "\xef\xbf\xbd";
        if (other)
            buf_puts(buf, other);
        else
            buf_append(buf, s + i, len);
        i += len > 0 ? len : 1;
    }
}

void buf_json_number(struct buf *buf, double value)
{
    if (!isfinite(value)) {
        buf_puts(buf, "null");
        return;
    }
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_puts(buf, text);
}

enum err_code buf_check(const struct buf *buf, const char *what, struct err *err)
{
    if (!buf->failed)
        return ERR_OK;
    return err_set(err, ERR_NOMEM, "%s does not fit: %zu bytes are in, at most %zu may be",
                   what, buf->len, buf->max_bytes);
}
