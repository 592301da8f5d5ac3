/*
 * feedback.h -- what people said of answers, as token ids in memory: pairs and ratings.
 *
 * Three kinds, after what a score model learns from them (control/preference.h):
 *
 *     kind         an item is                                     labels
 *     reward       a pair: chosen, rejected, maybe a margin       1
 *     cost         a pair: less safe, safer, each with a sign     1
 *     regression   one answer with a number an attribute          as many as attributes
 *
 * A sequence is prompt and answer as the scorer of a run reads them, end token included; the
 * score stands at its last token.  Items know their prompt by a hash, so that everything said
 * of one prompt stays on one side of the split into training and held-out data.
 */
#ifndef OFFLINE_FEEDBACK_H
#define OFFLINE_FEEDBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "engine/tokenizer.h"

#define FEEDBACK_LABELS_MAX 16
#define FEEDBACK_NONE       UINT32_MAX

#define FEEDBACK_KIND_MAP(X) X(REWARD, "reward") X(COST, "cost") X(REGRESSION, "regression")
enum feedback_kind {
#define X(name, word) FEEDBACK_##name,
    FEEDBACK_KIND_MAP(X)
#undef X
};
/* "reward"; a constant string. */
const char *feedback_kind_name(enum feedback_kind kind);

struct feedback_item {
    uint32_t seq[2]; /* chosen and rejected; less safe and safer; an answer and FEEDBACK_NONE */
    int8_t sign[2];  /* cost: +1 harmful, -1 safe, 0 unknown */
    bool held_out;
    bool left_out;   /* neither trained on nor tested on */
    uint64_t prompt; /* hash */
    double margin;   /* that the data tell; NAN: none */
};

struct feedback {
    enum feedback_kind kind;
    uint32_t labels;

    struct tokens ids;
    uint64_t *offset; /* (seqs+1) sequence s is ids[offset[s] .. offset[s+1]-1] */
    size_t seqs, seqs_cap;

    struct feedback_item *item; /* (n) */
    double *want;               /* (n, labels) regression: the numbers; NAN: none */
    size_t n, cap;
};

/* Empty; holds no memory yet.  The caller releases it with feedback_release. */
void feedback_init(struct feedback *feedback, enum feedback_kind kind, uint32_t labels);
void feedback_release(struct feedback *feedback);

/* Tokens of a sequence. */
size_t feedback_length(const struct feedback *feedback, uint32_t seq);
/* Tokens of both sequences of a pair. */
size_t feedback_tokens(const struct feedback *feedback, uint32_t item);

/* Add a sequence of n > 0 tokens; *seq is its index.  ERR_NOMEM; ERR_VALUE where there are too
 * many. */
enum err_code feedback_add(struct feedback *feedback, const int32_t *ids, size_t n,
                           uint32_t *seq, struct err *err);

/* Add an item; `want` (labels) for regression, else NULL.  ERR_NOMEM, ERR_VALUE as above. */
enum err_code feedback_add_item(struct feedback *feedback, const struct feedback_item *item,
                                const double *want, struct err *err);

/* Hold out all items of a share of the prompts: floor(fraction * prompts), those whose random
 * number, a pure function of seed and prompt, is lowest.  So other items of the data, or its
 * order, do not decide on which side a prompt falls. */
enum err_code feedback_hold_out(struct feedback *feedback, uint64_t seed, double fraction,
                                struct err *err);

/* Hold out what `like` holds out: the items whose prompt it does.  ERR_NOMEM. */
enum err_code feedback_hold_out_as(struct feedback *feedback, const struct feedback *like,
                                   struct err *err);

/* Leave out of training the items whose prompt is held out by another item; *apart is how
 * many.  ERR_NOMEM. */
enum err_code feedback_separate(struct feedback *feedback, size_t *apart, struct err *err);

/* Numbers of items that are trained on by this member of an ensemble: all that are not held
 * out, or those of a share of their prompts, drawn by seed.  (items, at most n) into `out`. */
size_t feedback_trained(const struct feedback *feedback, uint64_t seed, double fraction,
                        uint32_t *out);

/* Numbers of the items held out, into `out`. */
size_t feedback_held_out(const struct feedback *feedback, uint32_t *out);

/* BLAKE2b over everything. */
void feedback_hash(const struct feedback *feedback, struct hash *out);

#endif
