/*
 * normalizer.h -- what is done to a text before it is cut up: NFC, NFD, NFKC, NFKD,
 * Lowercase, Strip, Prepend, Replace, and Sequences of them.
 */
#ifndef ENGINE_TOKENIZER_NORMALIZER_H
#define ENGINE_TOKENIZER_NORMALIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/json.h"
#include "engine/tokenizer/component.h"
#include "engine/tokenizer/pattern.h"
#include "engine/tokenizer/unicode.h"

enum normalizer_kind {
    NORMALIZER_FORM,
    NORMALIZER_LOWERCASE,
    NORMALIZER_STRIP,   /* white space at the ends */
    NORMALIZER_PREPEND, /* nothing to an empty text */
    NORMALIZER_REPLACE,
};

struct normalizer_step {
    enum normalizer_kind kind;
    enum unicode_form form;
    bool left, right;        /* STRIP */
    struct buf content;      /* PREPEND, REPLACE */
    struct pattern *pattern; /* REPLACE */
};

struct normalizer {
    struct normalizer_step steps[COMPONENT_STEPS_MAX];
    size_t n;
};

/* From the member "normalizer".  ERR_FORMAT begins with `where`.  Release in either case. */
enum err_code normalizer_load(struct normalizer *normalizer, const json_t *value,
                              const char *where, struct err *err);
void normalizer_release(struct normalizer *normalizer);

/* Replace *text by its normal form; `spare` is scratch.  *at_start turns false where what was
 * at the beginning of the text was taken away, so that its first character no longer stands
 * for the first of the input.  ERR_VALUE: a pattern passed its limit.  ERR_NOMEM. */
enum err_code normalizer_run(const struct normalizer *normalizer, struct buf *text,
                             struct buf *spare, bool *at_start, struct err *err);

#endif
