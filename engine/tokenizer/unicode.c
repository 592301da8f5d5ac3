/* unicode.c -- see unicode.h. */
#include "engine/tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"

static utf8proc_category_t unicode_category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

static bool unicode_within(uint32_t c, uint32_t first, uint32_t last)
{
    return c >= first && c <= last;
}

bool unicode_is_space(uint32_t c)
{
    return unicode_within(c, 0x09, 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || unicode_within(c, 0x2000, 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

bool unicode_is_numeric(uint32_t c)
{
    const utf8proc_category_t category = unicode_category(c);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
           category == UTF8PROC_CATEGORY_NO;
}

bool unicode_is_punctuation(uint32_t c)
{
    if (c < 0x80)
        return unicode_within(c, '!', '/') || unicode_within(c, ':', '@') ||
               unicode_within(c, '[', '`') || unicode_within(c, '{', '~');
    const utf8proc_category_t category = unicode_category(c);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool unicode_is_word(uint32_t c)
{
    const utf8proc_category_t category = unicode_category(c);
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL)
        return true; /* L*, M*, Nd, Nl follow one another */
    /* Circled and squared letters are the Alphabetic characters of category So. */
    return category == UTF8PROC_CATEGORY_PC || unicode_within(c, 0x200C, 0x200D) ||
           unicode_within(c, 0x24B6, 0x24E9) || unicode_within(c, 0x1F130, 0x1F149) ||
           unicode_within(c, 0x1F150, 0x1F169) || unicode_within(c, 0x1F170, 0x1F189);
}

/*
 * Characters that `tokenizers` normalizes to themselves and orders as if they did not
 * combine: its tables are of Unicode 9, and these have had a decomposition or a combining
 * class only since.  Found by comparing the two over all characters (0.23.3).  In order.
 */
static const struct unicode_range {
    uint32_t first, last;
} unicode_inert[] = {
    {0x07FD, 0x07FD},   {0x0898, 0x089F},   {0x08CA, 0x08D3},   {0x09FE, 0x09FE},
    {0x0C3C, 0x0C3C},   {0x0D3B, 0x0D3C},   {0x0EBA, 0x0EBA},   {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},
    {0xA82C, 0xA82C},   {0xAB69, 0xAB69},   {0x10781, 0x10785}, {0x10787, 0x107B0},
    {0x107B2, 0x107BA}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF},
    {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B},
    {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11938, 0x11938}, {0x1193D, 0x1193E},
    {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
    {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E030, 0x1E06D}, {0x1E08F, 0x1E08F},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
    {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9},
};

static bool unicode_is_inert(uint32_t c)
{
    const size_t n = sizeof unicode_inert / sizeof *unicode_inert;
    size_t i = 0;
    while (i < n && unicode_inert[i].last < c)
        i++;
    return i < n && unicode_inert[i].first <= c;
}

static enum err_code unicode_normalize_part(enum unicode_form form, const char *text, size_t n,
                                            struct buf *out, struct err *err)
{
    static const int options[] = {
        [UNICODE_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [UNICODE_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [UNICODE_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [UNICODE_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    utf8proc_uint8_t *normal = NULL;
    const utf8proc_ssize_t size =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &normal,
                     (utf8proc_option_t)options[form]);
    if (size < 0)
        return err_set(err, ERR_NOMEM, "normalizing %zu bytes: %s", n, utf8proc_errmsg(size));
    buf_append(out, normal, (size_t)size);
    free(normal);
    return ERR_OK;
}

/* ASCII is its own normal form, in all four. */
static bool unicode_is_ascii(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

enum err_code unicode_normalize(enum unicode_form form, const char *text, size_t n,
                                struct buf *out, struct err *err)
{
    if (unicode_is_ascii(text, n)) {
        buf_append(out, text, n);
        return ERR_OK;
    }
    size_t done = 0;
    enum err_code rc = ERR_OK;
    for (size_t at = 0; rc == ERR_OK && at < n;) {
        const size_t begin = at;
        const uint32_t c = utf8_next(text, &at);
        if (c < unicode_inert[0].first || !unicode_is_inert(c))
            continue;
        if (done < begin)
            rc = unicode_normalize_part(form, text + done, begin - done, out, err);
        buf_append(out, text + begin, at - begin);
        done = at;
    }
    if (rc == ERR_OK && done < n)
        rc = unicode_normalize_part(form, text + done, n - done, out, err);
    return rc;
}

void unicode_lower(const char *text, size_t n, struct buf *out)
{
    for (size_t at = 0; at < n;) {
        const uint32_t c = utf8_next(text, &at);
        if (c == 0x130) /* the one character whose lower case is two */
            buf_puts(out, "i\xCC\x87");
        else
            utf8_put(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
    }
}
