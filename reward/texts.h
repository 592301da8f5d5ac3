/*
 * texts.h -- the texts of a lease's samples: what rules and services read.
 */
#ifndef REWARD_TEXTS_H
#define REWARD_TEXTS_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "engine/tokenizer.h"
#include "reward/scorer.h"

#define TEXTS_BYTES_MAX ((size_t)1 << 30) /* of one lease */

struct texts {
    struct buf text; /* prompt, query, response of each sample, each NUL-terminated */
    size_t *at;      /* (3 n + 1) where in text */
    size_t n;
    char (*fault)[SCORER_REASON_MAX]; /* (n) "": there are texts */
};

void texts_init(struct texts *texts);
void texts_release(struct texts *texts);

/* Decode the ids of n samples and set their prompt, query, response and text_fault, which are
 * valid until the next call.  A sample that cannot be decoded is no error.  ERR_NOMEM. */
enum err_code texts_decode(struct texts *texts, const struct tokenizer *tokenizer,
                           struct scorer_sample *samples, size_t n, struct err *err);

#endif
