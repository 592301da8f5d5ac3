/* utf8.c -- see utf8.h. */
#include "base/utf8.h"

#include <assert.h>

/* What may follow a first byte (Unicode standard, table 3-7). */
struct utf8_lead {
    size_t size; /* 0: no character begins so */
    unsigned char second_min, second_max;
};

static struct utf8_lead utf8_lead(unsigned char first)
{
    if (first < 0x80)
        return (struct utf8_lead){1, 0, 0};
    if (first < 0xC2)
        return (struct utf8_lead){0, 0, 0};
    if (first < 0xE0)
        return (struct utf8_lead){2, 0x80, 0xBF};
    if (first == 0xE0)
        return (struct utf8_lead){3, 0xA0, 0xBF};
    if (first == 0xED)
        return (struct utf8_lead){3, 0x80, 0x9F};
    if (first < 0xF0)
        return (struct utf8_lead){3, 0x80, 0xBF};
    if (first == 0xF0)
        return (struct utf8_lead){4, 0x90, 0xBF};
    if (first < 0xF4)
        return (struct utf8_lead){4, 0x80, 0xBF};
    if (first == 0xF4)
        return (struct utf8_lead){4, 0x80, 0x8F};
    return (struct utf8_lead){0, 0, 0};
}

/* Bytes at `text` that are a character or the beginning of one; *whole says which. */
static size_t utf8_prefix(const char *text, size_t n, bool *whole)
{
    const unsigned char *bytes = (const unsigned char *)text;
    const struct utf8_lead lead = utf8_lead(bytes[0]);
    size_t have = lead.size > 0;
    while (have > 0 && have < lead.size && have < n) {
        const unsigned char min = have == 1 ? lead.second_min : 0x80;
        const unsigned char max = have == 1 ? lead.second_max : 0xBF;
        if (bytes[have] < min || bytes[have] > max)
            break;
        have++;
    }
    *whole = have > 0 && have == lead.size;
    return have;
}

size_t utf8_span(const char *text, size_t n)
{
    size_t at = 0;
    while (at < n) {
        if ((unsigned char)text[at] < 0x80) {
            at++;
            continue;
        }
        bool whole;
        const size_t size = utf8_prefix(text + at, n - at, &whole);
        if (!whole)
            break;
        at += size;
    }
    return at;
}

size_t utf8_character(const char *text, size_t n)
{
    bool whole;
    const size_t size = utf8_prefix(text, n, &whole);
    return whole ? size : 0;
}

size_t utf8_size(const char *text)
{
    const size_t size = utf8_lead((unsigned char)text[0]).size;
    assert(size > 0);
    return size;
}

uint32_t utf8_next(const char *text, size_t *at)
{
    const unsigned char *bytes = (const unsigned char *)text + *at;
    const size_t size = utf8_size(text + *at);
    uint32_t c = size == 1 ? bytes[0] : bytes[0] & (0x7Fu >> size);
    for (size_t i = 1; i < size; i++)
        c = c << 6 | (bytes[i] & 0x3Fu);
    *at += size;
    return c;
}

size_t utf8_before(const char *text, size_t at)
{
    assert(at > 0);
    do
        at--;
    while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

void utf8_put(struct buf *out, uint32_t c)
{
    assert(c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF));
    if (c < 0x80) {
        buf_putc(out, (char)c);
        return;
    }
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    const unsigned lead = more == 1 ? 0xC0 : more == 2 ? 0xE0 : 0xF0;
    buf_putc(out, (char)(lead | c >> (6 * more)));
    for (int i = more - 1; i >= 0; i--)
        buf_putc(out, (char)(0x80 | (c >> (6 * i) & 0x3F)));
}

void utf8_append_lossy(struct buf *out, const char *bytes, size_t n)
{
    while (n > 0) {
        const size_t good = utf8_span(bytes, n);
        buf_append(out, bytes, good);
        bytes += good;
        n -= good;
        if (n == 0)
            return;
        bool whole;
        const size_t bad = utf8_prefix(bytes, n, &whole);
        buf_puts(out, "\xEF\xBF\xBD");
        bytes += bad > 0 ? bad : 1;
        n -= bad > 0 ? bad : 1;
    }
}
