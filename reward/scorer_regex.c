/*
 * scorer_regex.c -- does the response contain what a PCRE2 pattern describes?
 *
 * 1 where it matches anywhere, 0 where it does not.  The pattern is of Unicode characters and
 * classes; response bytes that are not UTF-8 match nothing.  A search that passes its limit
 * of steps says nothing about the response: failed.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "reward/scorer.h"

#define SCORER_REGEX_STEPS_MAX   10000000u       /* as PCRE2 counts them: about a second */
#define SCORER_REGEX_HEAP_MAX    (16u * 1024u)   /* KiB, of a search without JIT */
#define SCORER_REGEX_STACK_BYTES (1024u * 1024u) /* of a search with JIT */

struct scorer_regex {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static void scorer_regex_close(void *state)
{
    struct scorer_regex *regex = state;
    if (!regex)
        return;
    pcre2_match_context_free(regex->context);
    pcre2_match_data_free(regex->match);
    pcre2_jit_stack_free(regex->stack);
    pcre2_code_free(regex->code);
    free(regex);
}

static enum err_code scorer_regex_open(void **state, const struct run_scorer *of,
                                       const struct scorer_setup *setup, struct err *err)
{
    (void)setup;
    struct scorer_regex *regex = *state = calloc(1, sizeof *regex);
    if (!regex)
        return err_set(err, ERR_NOMEM, "out of memory");
    int number;
    PCRE2_SIZE at;
    regex->code =
        pcre2_compile((PCRE2_SPTR)of->pattern, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
                      &number, &at, NULL);
    if (!regex->code) {
        char why[128];
        pcre2_get_error_message(number, (PCRE2_UCHAR *)why, sizeof why);
        return err_set(err, ERR_USAGE, "pattern /%s/: %s at offset %zu", of->pattern, why,
                       (size_t)at);
    }
    /* Without JIT (not built in, or no executable memory) the interpreter does the same. */
    (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
    regex->match = pcre2_match_data_create(1, NULL);
    regex->context = pcre2_match_context_create(NULL);
    regex->stack = pcre2_jit_stack_create(32 * 1024, SCORER_REGEX_STACK_BYTES, NULL);
    if (!regex->match || !regex->context)
        return err_set(err, ERR_NOMEM, "out of memory");
    pcre2_set_match_limit(regex->context, SCORER_REGEX_STEPS_MAX);
    pcre2_set_heap_limit(regex->context, SCORER_REGEX_HEAP_MAX);
    pcre2_jit_stack_assign(regex->context, NULL, regex->stack);
    return ERR_OK;
}

static void scorer_regex_one(const struct scorer_regex *regex,
                             const struct scorer_sample *sample, struct scorer_score *out)
{
    if (!scorer_has_text(sample, out))
        return;
    const int rc = pcre2_match(regex->code, (PCRE2_SPTR)sample->response.data,
                               sample->response.n, 0, 0, regex->match, regex->context);
    if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH) {
        scorer_put(out, rc >= 0);
        return;
    }
    char why[128];
    pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
    scorer_put_fault(out, SCORE_FAILED, "%s: the pattern's search gave up: %s", sample->name,
                     why);
}

static void scorer_regex_score(void *state, const struct scorer_sample *samples, size_t n,
                               const struct scorer_watch *watch, struct scorer_score *out)
{
    for (size_t i = 0; i < n; i++) {
        scorer_regex_one(state, &samples[i], &out[i]);
        scorer_watch_progress(watch);
    }
}

const struct scorer_kind scorer_regex = {scorer_regex_open, scorer_regex_score,
                                         scorer_regex_close, NULL};
