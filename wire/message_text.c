/* message_text.c -- what a message says in words is UTF-8: RFC 3629. */
#include <string.h>

#include "wire/message_internal.h"

/* The length of the sequence that begins with lead, 0 where none does; *least is the smallest
 * code point that needs that length. */
static size_t message_utf8_length(unsigned char lead, uint32_t *least)
{
    *least = 0;
    if (lead < 0x80)
        return 1;
    *least = lead >= 0xf0 ? 0x10000 : lead >= 0xe0 ? 0x800 : 0x80;
    return lead >= 0xf8 ? 0 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
}

/* The length of the character at *at, 0 where it is none. */
static size_t message_utf8_character(const unsigned char *at)
{
    uint32_t least;
    const size_t n = message_utf8_length(*at, &least);
    uint32_t point = n == 1 ? *at : *at & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80) /* also the closing NUL */
            return 0;
        point = point << 6 | (at[i] & 0x3fu);
    }
    const bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < least || point > 0x10ffff || is_surrogate ? 0 : n;
}

bool message_is_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        const size_t n = message_utf8_character(at);
        if (n == 0)
            return false;
        at += n;
    }
    return true;
}

void message_set_text(struct message *message, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t len = 0;
    while (*at) {
        const size_t n = message_utf8_character(at);
        const size_t bytes = n ? n : 1;
        if (len + bytes >= sizeof message->text)
            break;
        memcpy(message->text + len, n ? (const char *)at : "?", bytes);
        len += bytes;
        at += bytes;
    }
    message->text[len] = '\0';
}
