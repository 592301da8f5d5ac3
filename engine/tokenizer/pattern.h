/*
 * pattern.h -- the regular expressions and literals of a tokenizer.json, on PCRE2.
 *
 * The file is not trusted: a pattern has a greatest size and nesting, and a search has a
 * limit on its steps, in proportion to the text, so that a pattern with catastrophic
 * backtracking ends in an error and not in a hang.
 */
#ifndef ENGINE_TOKENIZER_PATTERN_H
#define ENGINE_TOKENIZER_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"

struct pattern; /* immutable, safe from any thread */

/* An expression in Oniguruma's syntax (see onig.h), or a text to be found as it is.  NULL on
 * failure: ERR_FORMAT begins with `where`; ERR_NOMEM.  The caller frees it with pattern_free. */
struct pattern *pattern_new_regex(const char *text, size_t n, const char *where,
                                  struct err *err);
struct pattern *pattern_new_literal(const char *text, size_t n, const char *where,
                                    struct err *err);

/* From {"Regex": "..."} or {"String": "..."}. */
struct pattern *pattern_load(const json_t *value, const char *where, struct err *err);

void pattern_free(struct pattern *pattern); /* NULL is allowed */

/* One search after another, through one text after another. */
struct pattern_scan {
    const struct pattern *pattern;
    void *match_data, *match_context, *jit_stack; /* PCRE2's */
    const char *text;                             /* borrowed */
    size_t n;
    size_t from;     /* where the next search begins; past n: no more */
    size_t last_end; /* of the match before, or SIZE_MAX */
};

/* ERR_NOMEM. */
enum err_code pattern_scan_open(struct pattern_scan *scan, const struct pattern *pattern,
                                struct err *err);
void pattern_scan_close(struct pattern_scan *scan); /* harmless on one that is all zero */

/* Begin on a text of well-formed UTF-8. */
void pattern_scan_text(struct pattern_scan *scan, const char *text, size_t n);

/* The next match: *found, and its bytes [*begin, *end).  Matches do not overlap; an empty
 * one never follows the match before immediately.  ERR_VALUE where the search passed its
 * limit. */
enum err_code pattern_scan_next(struct pattern_scan *scan, bool *found, size_t *begin,
                                size_t *end, struct err *err);

#endif
