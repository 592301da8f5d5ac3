/* pattern.c -- see pattern.h. */
#include "engine/tokenizer/pattern.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "engine/tokenizer/onig.h"

#define PATTERN_BYTES_MAX     (32u << 10) /* translated */
#define PATTERN_NEST_MAX      64
#define PATTERN_HEAP_KIB_MAX  (32u << 10)
#define PATTERN_JIT_STACK_MAX (1u << 20) /* bytes; reserved, touched only when needed */

/* Steps a search may take: a sane pattern needs a few a byte.  The upper end keeps the
 * worst that a hostile pattern can do with one search to seconds. */
#define PATTERN_STEPS_LEAST    1000000u
#define PATTERN_STEPS_PER_BYTE 16u
#define PATTERN_STEPS_MOST     200000000u

struct pattern {
    pcre2_code *code;
};

static struct pattern *pattern_compile(const char *text, size_t n, uint32_t options,
                                       const char *where, struct err *err)
{
    struct pattern *pattern = calloc(1, sizeof *pattern);
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!pattern || !context) {
        err_set(err, ERR_NOMEM, "%s: no memory for the pattern", where);
        goto out;
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_max_pattern_length(context, PATTERN_BYTES_MAX);
    pcre2_set_parens_nest_limit(context, PATTERN_NEST_MAX);
    int code;
    PCRE2_SIZE offset;
    pattern->code =
        pcre2_compile((PCRE2_SPTR)text, n, PCRE2_UTF | options, &code, &offset, context);
    if (!pattern->code) {
        PCRE2_UCHAR why[120];
        pcre2_get_error_message(code, why, sizeof why);
        err_set(err, ERR_FORMAT, "%s: pattern, near byte %zu: %s", where, (size_t)offset,
                (const char *)why);
        goto out;
    }
    /* Where there is no JIT for this machine the interpreter gives the same matches. */
    (void)pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE);
out:
    pcre2_compile_context_free(context);
    if (pattern && !pattern->code) {
        free(pattern);
        pattern = NULL;
    }
    return pattern;
}

struct pattern *pattern_new_regex(const char *text, size_t n, const char *where,
                                  struct err *err)
{
    struct pattern *pattern = NULL;
    struct buf translated;
    buf_init(&translated, PATTERN_BYTES_MAX);
    if (onig_translate(text, n, &translated, where, err) == ERR_OK)
        pattern =
            pattern_compile(translated.data, translated.len,
                            PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, where, err);
    buf_release(&translated);
    return pattern;
}

struct pattern *pattern_new_literal(const char *text, size_t n, const char *where,
                                    struct err *err)
{
    return pattern_compile(text, n, PCRE2_LITERAL, where, err);
}

struct pattern *pattern_load(const json_t *value, const char *where, struct err *err)
{
    const json_t *regex = json_object_get(value, "Regex");
    const json_t *literal = json_object_get(value, "String");
    const json_t *text = regex ? regex : literal;
    if (json_object_size(value) != 1 || !json_is_string(text)) {
        err_set(err, ERR_FORMAT,
                "%s: pattern is neither {\"Regex\": text} nor "
                "{\"String\": text}",
                where);
        return NULL;
    }
    const char *bytes = json_string_value(text);
    const size_t n = json_string_length(text);
    return regex ? pattern_new_regex(bytes, n, where, err)
                 : pattern_new_literal(bytes, n, where, err);
}

void pattern_free(struct pattern *pattern)
{
    if (!pattern)
        return;
    pcre2_code_free(pattern->code);
    free(pattern);
}

enum err_code pattern_scan_open(struct pattern_scan *scan, const struct pattern *pattern,
                                struct err *err)
{
    *scan = (struct pattern_scan){.pattern = pattern};
    scan->match_data = pcre2_match_data_create(1, NULL);
    scan->match_context = pcre2_match_context_create(NULL);
    scan->jit_stack = pcre2_jit_stack_create(32u << 10, PATTERN_JIT_STACK_MAX, NULL);
    if (!scan->match_data || !scan->match_context) {
        pattern_scan_close(scan);
        return err_set(err, ERR_NOMEM, "no memory to search a text for a pattern");
    }
    pcre2_set_heap_limit(scan->match_context, PATTERN_HEAP_KIB_MAX);
    if (scan->jit_stack) /* absent where there is no JIT */
        pcre2_jit_stack_assign(scan->match_context, NULL, scan->jit_stack);
    return ERR_OK;
}

void pattern_scan_close(struct pattern_scan *scan)
{
    pcre2_match_data_free(scan->match_data);
    pcre2_match_context_free(scan->match_context);
    pcre2_jit_stack_free(scan->jit_stack);
    *scan = (struct pattern_scan){0};
}

void pattern_scan_text(struct pattern_scan *scan, const char *text, size_t n)
{
    scan->text = text;
    scan->n = n;
    scan->from = 0;
    scan->last_end = SIZE_MAX;
    const size_t steps = PATTERN_STEPS_LEAST + n * PATTERN_STEPS_PER_BYTE;
    pcre2_set_match_limit(scan->match_context,
                          steps < PATTERN_STEPS_MOST ? (uint32_t)steps : PATTERN_STEPS_MOST);
}

enum err_code pattern_scan_next(struct pattern_scan *scan, bool *found, size_t *begin,
                                size_t *end, struct err *err)
{
    *found = false;
    while (scan->from <= scan->n) {
        const int rc =
            pcre2_match(scan->pattern->code, (PCRE2_SPTR)scan->text, scan->n, scan->from,
                        PCRE2_NO_UTF_CHECK, scan->match_data, scan->match_context);
        if (rc == PCRE2_ERROR_NOMATCH) {
            scan->from = scan->n + 1;
            return ERR_OK;
        }
        if (rc < 0) {
            PCRE2_UCHAR why[120];
            pcre2_get_error_message(rc, why, sizeof why);
            return err_set(err, ERR_VALUE,
                           "a pattern of the tokenizer gave up at byte %zu of a text of %zu: "
                           "%s",
                           scan->from, scan->n, (const char *)why);
        }
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(scan->match_data);
        if (at[0] == at[1] && at[1] == scan->last_end) {
            scan->from += scan->from < scan->n ? utf8_size(scan->text + scan->from) : 1;
            continue;
        }
        /* PCRE2 allows \K in a lookahead to end a match before it begins; refused at
         * translation, as is all else that could make these go backwards. */
        *found = true;
        *begin = at[0];
        *end = at[1];
        scan->from = scan->last_end = at[1];
        return ERR_OK;
    }
    return ERR_OK;
}
