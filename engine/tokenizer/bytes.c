/* bytes.c -- see bytes.h. */
#include "engine/tokenizer/bytes.h"

#include <stdbool.h>

#include "base/utf8.h"

#define BYTES_MOVED 68 /* how many do not stand for themselves: 0-20, 7F-A0, AD */

static uint32_t bytes_char(unsigned char byte)
{
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte >= 0x7F && byte <= 0xA0)
        return 0x121u + byte - 0x7F;
    return byte == 0xAD ? 0x143u : byte;
}

int bytes_of(uint32_t c)
{
    if (c >= 0x100 && c < 0x100 + BYTES_MOVED) {
        const uint32_t moved = c - 0x100;
        return (int)(moved <= 0x20 ? moved : moved < 0x43 ? moved - 0x21 + 0x7F : 0xAD);
    }
    return c <= 0xFF && bytes_char((unsigned char)c) == c ? (int)c : -1;
}

void bytes_spell(struct buf *out, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        utf8_put(out, bytes_char((unsigned char)bytes[i]));
}
