/*
 * onig.h -- a regular expression in Oniguruma's Ruby syntax, said in PCRE2's.
 *
 * The patterns of tokenizer.json were written for Oniguruma.  The two agree on most of the
 * syntax and differ without a word on the rest:
 *
 *     Oniguruma           PCRE2, same text             here
 *     \s \d \w \h \v \b   other sets of characters     the sets spelled out
 *     \p{Han}             Script_Extensions            \p{sc:Han}
 *     (?m:...)            ^ and $ at lines             (?s:...)
 *     ^ $                 start and end of the text    PCRE2_MULTILINE
 *     {,3}                the five characters          {0,3}
 *     \u3042              an error                     \x{3042}
 *
 * What has no certain translation (class intersections and nested classes, back references,
 * callouts, verbs, named groups, {2,3}+ ...) is refused by name, never guessed.
 *
 * Known to differ: characters assigned after PCRE2's Unicode tables were made, and
 * case-insensitive letters that fold to several (a ligature such as U+FB06 for "st").
 */
#ifndef ENGINE_TOKENIZER_ONIG_H
#define ENGINE_TOKENIZER_ONIG_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/* Append the pattern (n bytes, UTF-8) in PCRE2's syntax.  ERR_FORMAT begins with `where` and
 * names the construct and its byte. */
enum err_code onig_translate(const char *pattern, size_t n, struct buf *out, const char *where,
                             struct err *err);

#endif
