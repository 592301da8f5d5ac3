/* unicode.c -- see unicode.h. */
#include "engine/tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/tokenizer/utf8.h"

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

enum err_code unicode_normalize(enum unicode_form form, const char *text, size_t n,
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
