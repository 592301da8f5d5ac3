/* onig.c -- see onig.h. */
#include "engine/tokenizer/onig.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define ONIG_WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define ONIG_HEX  "0-9A-Fa-f"

/* Outside of a class Oniguruma looks a character below U+0100 up in a table of its own, by
 * which superscripts and fractions are of a word. */
#define ONIG_WORD_ALONE ONIG_WORD "\\xb2\\xb3\\xb9\\xbc-\\xbe"

struct onig {
    const char *text;
    size_t n, at;
    struct buf *out;
    const char *where;
    struct err *err;
};

/* The byte `ahead` of the present one; NUL past the end. */
static char onig_peek(const struct onig *onig, size_t ahead)
{
    return onig->at + ahead < onig->n ? onig->text[onig->at + ahead] : '\0';
}

static bool onig_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool onig_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool onig_is_hex(char c)
{
    return onig_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static enum err_code onig_refuse(const struct onig *onig, const char *what)
{
    return err_set(onig->err, ERR_FORMAT, "%s: pattern, byte %zu: %s is not supported",
                   onig->where, onig->at, what);
}

/* Names by which Oniguruma knows what PCRE2 calls otherwise; compared without case and
 * without blanks, underscores and hyphens. */
static const struct onig_property {
    const char *name, *pcre2;
} onig_properties[] = {
    {"letter", "L"},
    {"mark", "M"},
    {"number", "N"},
    {"punctuation", "P"},
    {"symbol", "S"},
    {"separator", "Z"},
    {"other", "C"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"decimalnumber", "Nd"},
    {"digit", "Nd"},
    {"alpha", "Alphabetic"},
    {"space", "White_Space"},
    {"upper", "Uppercase"},
    {"lower", "Lowercase"},
};

/* Whether PCRE2 knows a script of this name. */
static bool onig_is_script(const char *name)
{
    char text[80];
    struct buf pattern;
    buf_init(&pattern, sizeof text);
    buf_printf(&pattern, "\\p{sc:%s}", name);
    int code;
    PCRE2_SIZE offset;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern.data, PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF, &code, &offset, NULL);
    buf_release(&pattern);
    pcre2_code_free(compiled);
    return compiled != NULL;
}

/* \p{Name}, \P{Name}, \p{^Name}; `at` is on the p. */
static enum err_code onig_property(struct onig *onig)
{
    bool negative = onig_peek(onig, 0) == 'P';
    if (onig_peek(onig, 1) != '{')
        return onig_refuse(onig, "\\p without {");
    size_t i = 2;
    if (onig_peek(onig, i) == '^') {
        negative = !negative;
        i++;
    }
    char name[48];
    size_t len = 0;
    for (char c; (c = onig_peek(onig, i)) != '}'; i++) {
        if (c == ' ' || c == '_' || c == '-')
            continue;
        if (!onig_is_letter(c) || len + 1 >= sizeof name)
            return onig_refuse(onig, "this \\p{...}");
        name[len++] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    name[len] = '\0';
    onig->at += i + 1;

    const char *known = NULL;
    for (size_t k = 0; k < sizeof onig_properties / sizeof *onig_properties; k++)
        if (strcmp(name, onig_properties[k].name) == 0)
            known = onig_properties[k].pcre2;
    if (!known && len <= 2 && name[0] >= 'a') /* a general category: Lu */
        name[0] = (char)(name[0] - 'a' + 'A');
    const bool script = !known && len > 2 && onig_is_script(name);
    buf_printf(onig->out, "\\%c{%s%s}", negative ? 'P' : 'p', script ? "sc:" : "",
               known ? known : name);
    return ERR_OK;
}

/* \xHH below 80, \x{H...}, \uHHHH; `at` is on the x or u. */
static enum err_code onig_code_point(struct onig *onig)
{
    const bool braces = onig_peek(onig, 0) == 'x' && onig_peek(onig, 1) == '{';
    const size_t most = braces ? 8 : onig_peek(onig, 0) == 'u' ? 4 : 2;
    const size_t first = braces ? 2 : 1;
    uint32_t value = 0;
    size_t i = first;
    for (; i - first < most && onig_is_hex(onig_peek(onig, i)); i++) {
        const char c = onig_peek(onig, i);
        value = value << 4 | (uint32_t)(onig_is_digit(c) ? c - '0' : (c & 0x5F) - 'A' + 10);
    }
    const bool short_of = i == first || (onig_peek(onig, 0) == 'u' && i - first < 4);
    if (short_of || (braces && onig_peek(onig, i) != '}') || (most == 2 && value > 0x7F))
        return onig_refuse(onig, "this code of a character");
    onig->at += i + braces;
    buf_printf(onig->out, "\\x{%x}", (unsigned)value);
    return ERR_OK;
}

/* An escape that means the same inside a class and outside, or a refusal.  `at` is on the
 * character after the backslash. */
static enum err_code onig_common_escape(struct onig *onig)
{
    const char c = onig_peek(onig, 0);
    if (c == 'p' || c == 'P')
        return onig_property(onig);
    if (c == 'x' || c == 'u')
        return onig_code_point(onig);
    if (onig->at >= onig->n)
        return onig_refuse(onig, "a backslash at the end");
    switch (c) {
    case 'd': buf_puts(onig->out, "\\p{Nd}"); break;
    case 'D': buf_puts(onig->out, "\\P{Nd}"); break;
    case 's': buf_puts(onig->out, "\\p{White_Space}"); break;
    case 'S': buf_puts(onig->out, "\\P{White_Space}"); break;
    case 'v': buf_puts(onig->out, "\\x0b"); break;
    case 'n':
    case 'r':
    case 't':
    case 'f':
    case 'a':
    case 'e': buf_printf(onig->out, "\\%c", c); break;
    default:
        if (onig_is_letter(c) || onig_is_digit(c)) {
            const char what[] = {'\\', c, '\0'};
            return onig_refuse(onig, what);
        }
        buf_putc(onig->out, '\\'); /* what follows stands for itself in both */
        buf_putc(onig->out, c);
    }
    onig->at++;
    return ERR_OK;
}

static enum err_code onig_escape(struct onig *onig)
{
    const char *instead = NULL;
    onig->at++;
    switch (onig_peek(onig, 0)) {
    case 'w': instead = "[" ONIG_WORD_ALONE "]"; break;
    case 'W': instead = "[^" ONIG_WORD_ALONE "]"; break;
    case 'h': instead = "[" ONIG_HEX "]"; break;
    case 'H': instead = "[^" ONIG_HEX "]"; break;
    case 'b':
        instead = "(?:(?<=[" ONIG_WORD_ALONE "])(?![" ONIG_WORD_ALONE "])|"
                  "(?<![" ONIG_WORD_ALONE "])(?=[" ONIG_WORD_ALONE "]))";
        break;
    case 'A': instead = "\\A"; break;
    case 'z': instead = "\\z"; break;
    case 'Z': instead = "\\Z"; break;
    default: return onig_common_escape(onig);
    }
    buf_puts(onig->out, instead);
    onig->at++;
    return ERR_OK;
}

static enum err_code onig_class_escape(struct onig *onig)
{
    onig->at++;
    switch (onig_peek(onig, 0)) {
    case 'w': buf_puts(onig->out, ONIG_WORD); break;
    case 'h': buf_puts(onig->out, ONIG_HEX); break;
    case 'b': buf_puts(onig->out, "\\x08"); break;
    default: return onig_common_escape(onig);
    }
    onig->at++;
    return ERR_OK;
}

static enum err_code onig_class(struct onig *onig)
{
    buf_putc(onig->out, '[');
    onig->at++;
    if (onig_peek(onig, 0) == '^') {
        buf_putc(onig->out, '^');
        onig->at++;
    }
    if (onig_peek(onig, 0) == ']')
        return onig_refuse(onig, "a class that begins with ]");
    while (onig_peek(onig, 0) != ']') {
        const char c = onig_peek(onig, 0);
        if (onig->at >= onig->n)
            return onig_refuse(onig, "a class without its ]");
        if (c == '[')
            return onig_refuse(onig, "a class in a class");
        if (c == '&' && onig_peek(onig, 1) == '&')
            return onig_refuse(onig, "an intersection of classes (&&)");
        if (c == '\\') {
            const enum err_code rc = onig_class_escape(onig);
            if (rc != ERR_OK)
                return rc;
        } else {
            buf_putc(onig->out, c);
            onig->at++;
        }
    }
    buf_putc(onig->out, ']');
    onig->at++;
    return ERR_OK;
}

/* (?i:  (?m-i:  and so on, with m for what PCRE2 calls s.  An option without a colon holds
 * to the end of the group in both only where it stands at the group's beginning. */
static enum err_code onig_options(struct onig *onig, bool at_group_start)
{
    size_t i = 2;
    buf_puts(onig->out, "(?");
    for (char c; (c = onig_peek(onig, i)) != ':' && c != ')'; i++) {
        if (c != 'i' && c != 'm' && c != '-')
            return onig_refuse(onig, "this kind of group");
        buf_putc(onig->out, c == 'm' ? 's' : c);
    }
    if (onig_peek(onig, i) == ')' && !at_group_start)
        return onig_refuse(onig, "an option inside of a group");
    buf_putc(onig->out, onig_peek(onig, i));
    onig->at += i + 1;
    return ERR_OK;
}

static enum err_code onig_group(struct onig *onig, bool at_group_start)
{
    static const char *const same[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    if (onig_peek(onig, 1) == '*')
        return onig_refuse(onig, "(*");
    if (onig_peek(onig, 1) != '?') {
        buf_putc(onig->out, '(');
        onig->at++;
        return ERR_OK;
    }
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        const size_t len = strlen(same[i]);
        if (onig->n - onig->at >= len && memcmp(onig->text + onig->at, same[i], len) == 0) {
            buf_puts(onig->out, same[i]);
            onig->at += len;
            return ERR_OK;
        }
    }
    return onig_options(onig, at_group_start);
}

/* A { that opens an interval, or stands for itself. */
static enum err_code onig_brace(struct onig *onig)
{
    size_t i = 1, digits = 0;
    bool comma = false;
    for (char c; onig_is_digit(c = onig_peek(onig, i)) || (c == ',' && !comma); i++) {
        comma = comma || c == ',';
        digits += c != ',';
    }
    if (digits == 0 || onig_peek(onig, i) != '}') {
        buf_puts(onig->out, "\\{");
        onig->at++;
        return ERR_OK;
    }
    const char after = onig_peek(onig, i + 1);
    if (after == '+' || (after == '?' && !comma))
        return onig_refuse(onig, "an interval followed by + or, without a comma, by ?");
    buf_puts(onig->out, onig_peek(onig, 1) == ',' ? "{0" : "{");
    buf_append(onig->out, onig->text + onig->at + 1, i);
    onig->at += i + 1;
    return ERR_OK;
}

enum err_code onig_translate(const char *pattern, size_t n, struct buf *out, const char *where,
                             struct err *err)
{
    struct onig onig = {pattern, n, 0, out, where, err};
    bool at_group_start = true;
    while (onig.at < n) {
        const char c = pattern[onig.at];
        enum err_code rc = ERR_OK;
        switch (c) {
        case '\\': rc = onig_escape(&onig); break;
        case '[': rc = onig_class(&onig); break;
        case '(': rc = onig_group(&onig, at_group_start); break;
        case '{': rc = onig_brace(&onig); break;
        default: buf_putc(out, c); onig.at++;
        }
        if (rc != ERR_OK)
            return rc;
        at_group_start = c == '(';
    }
    return buf_check(out, where, err);
}
