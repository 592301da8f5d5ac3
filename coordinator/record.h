/*
 * record.h -- one line of the run's history, as the core writes it and reads it back.
 *
 * The core appends a record for each transition that must survive a crash; the ledger keeps
 * them in order, and a restarted coordinator is rebuilt from them by core_replay.  What is not
 * in a record (leases, sessions, retries) is forgotten by a crash, and may be.
 *
 *  EPOCH       a start of the coordinator
 *  START       the weights that version 0 is
 *  IDENTITY    what the prompts, or the scorers, are
 *  ROLLOUT     planned -> generated, of a slot or of a reference: its tokens
 *  SCORE       generated -> scored: its scores, and a slot's reference log-probs
 *  DROP        any state before trained -> dropped, and why
 *  STEP        all of a step's slots shaped -> trained, the controllers advanced, the next
 *              version published: one record, so that it happens as a whole or not at all
 *  CHECKPOINT  the learner has a newer durable checkpoint
 *  PAUSE       somebody paused the run, or resumed it: it stays so through restarts
 *  EVENT       what a person may ask about later (a mismatch, a halt); replay skips it
 *
 * Pointers in a record are borrowed: valid during the call that hands it over.
 */
#ifndef COORDINATOR_RECORD_H
#define COORDINATOR_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "node/run_config.h"
#include "wire/message.h"

// clang-format off
#define RECORD_KIND_MAP(X) \
    X(NONE, "none") X(EPOCH, "epoch") X(START, "start") X(IDENTITY, "identity")           \
    X(ROLLOUT, "rollout") X(SCORE, "score") X(DROP, "drop") X(STEP, "step")               \
    X(CHECKPOINT, "checkpoint") X(PAUSE, "pause") X(EVENT, "event")
// clang-format on
enum record_kind {
#define X(name, text) RECORD_##name,
    RECORD_KIND_MAP(X)
#undef X
};
const char *record_kind_name(enum record_kind kind);

/* Why a slot is not trained on.  A reward that could not be had is never 0. */
// clang-format off
#define RECORD_REASON_MAP(X) \
    X(NONE, "none")                                                                       \
    X(SCORE_FAILED, "score_failed")         /* a scorer failed, retries included */        \
    X(SCORE_TIMEOUT, "score_timeout")       /* a scorer did not answer in time */          \
    X(GENERATE_FAILED, "generate_failed")   /* actors gave its lease back, again and again */ \
    X(REFERENCE_FAILED, "reference_failed") /* none of its prompt's references has a score */ \
    X(GROUP_TOO_SMALL, "group_too_small")   /* its group has no second sample to compare with */ \
    X(QUARANTINED, "quarantined")           /* the breaker set its whole step aside */       \
    X(ROLLED_BACK, "rolled_back")           /* by a version that the run has left behind */
// clang-format on
enum record_reason {
#define X(name, text) RECORD_REASON_##name,
    RECORD_REASON_MAP(X)
#undef X
        RECORD_REASONS
};
const char *record_reason_name(enum record_reason reason);

/* The controllers' state after a step: the KL controller's coef, last, steps, and for pid what
 * control/pid.h keeps; then, for each shaper that carries statistics, its count, mean, m2, min,
 * max; then, where costs train, the multiplier's (control/lagrange.h); then, where it has limits,
 * the breaker's (control/breaker.h), and where one of them rolls back, where it went back to
 * (control/rollback.h).  Which of them are there follows from the config. */
#define RECORD_CONTROLLER_MAX 360

/* A finished step: what trained, what came out, where the controllers went. */
struct record_step {
    uint64_t step, version;      /* version = step + 1, published by this record */
    uint64_t behaviour_version;  /* that generated the rollouts: max(0, step - lag) */
    struct hash weights;         /* BLAKE2b-256 of version's weights */
    uint64_t checkpoint_version; /* newest durable checkpoint then */

    uint32_t trained;                        /* slots */
    uint32_t dropped[RECORD_REASONS];        /* slots, by reason */
    uint32_t truncated;                      /* trained slots that ended by length */
    uint64_t prompt_tokens, response_tokens; /* of the trained slots */

    double reward_raw_mean;             /* as reward.combine makes it, before any penalty */
    double reward_raw_std;              /* over slots, n in the denominator */
    double reward_shaped_mean;          /* what lands on the last token */
    double score_mean[RUN_SCORERS_MAX]; /* over the slots it counts for; NaN: no slot has one */
    uint32_t score_missing[RUN_SCORERS_MAX]; /* trained slots that a monitor has no score of */
    uint32_t worst_group; /* reward.combine maxmin: 1 + the scorer that was trained on, that of
                             the group the batch served worst; 0: another combiner */
    double kl_mean;           /* nats a sequence, k1: sum of behaviour - reference */
    double kl_coef_before;    /* beta that shaped this step: the controller's, scaled */
    double kl_coef_after;     /* beta of the next, as long as the scale stays */
    double cost_raw_mean;     /* of the slots, as safety.cost says; NaN without cost scorers */
    double cost_limit;        /* what it is held below; NaN without cost scorers */
    double multiplier_before; /* lambda of the step before */
    double multiplier_after;  /* of this one: it has seen the step's costs; 0: none trains */
    uint32_t controller_n;
    double controller[RECORD_CONTROLLER_MAX]; /* as above */
    struct hash experience; /* of all that was trained on: record_experience_add */

    uint64_t duration_ms;          /* since the step before was committed, or the start */
    const struct wire_stat *stats; /* the learner's: loss, clip fraction, ... */
    uint32_t stats_n;
};

struct record {
    enum record_kind kind;
    uint64_t seq;     /* from 1, without gaps over the run's life */
    uint64_t wall_ms; /* since 1970; for people only */

    uint64_t epoch;      /* EPOCH */
    struct hash hash;    /* START: of the weights; IDENTITY: of what `id` names */
    uint64_t version;    /* ROLLOUT: that generated it; CHECKPOINT */
    bool paused;         /* PAUSE: else resumed */

    /* ROLLOUT, SCORE, DROP: the item */
    enum wire_work work; /* ROLLOUT: a = step, b = slot; REFERENCE: a = prompt, b = m */
    uint64_t a;
    uint32_t b;
    uint32_t prompt;
    uint32_t response_tokens;
    enum wire_finish finish;
    const char *worker; /* who made it; "" where nobody in particular */

    const int32_t *ids;     /* ROLLOUT [response_tokens] */
    const float *logprobs;  /* ROLLOUT of a slot [response_tokens], nats; else NULL */
    const double *scores;   /* SCORE [scorers]; NaN: a monitor that failed, a scorer that does
                               not count for the prompt, and of a reference all that are no
                               reward */
    uint32_t scorers;       /* SCORE */
    const float *reference; /* SCORE of a slot [response_tokens], nats; else NULL */

    enum record_reason reason;      /* DROP */
    const char *id;                 /* EVENT: as in the log; IDENTITY: "prompts", "scorers" */
    const char *text;               /* DROP, EVENT: one sentence */
    const struct record_step *step; /* STEP */
};

/* What a learner is given of one slot, and the scores that it comes of. */
struct record_experience {
    uint32_t slot, prompt_tokens, response_tokens;
    enum wire_finish finish;
    const int32_t *prompt, *response;       /* [prompt_tokens], [response_tokens] */
    const float *logp, *ref, *reward, *cost; /* [response_tokens]; cost NULL: none trains */
    uint32_t scores_n, reference_scores_n;
    const double *scores, *reference_scores; /* [scores_n] its own, and those of its prompt's
                                                references, one after the other; 0: dropped */
};

/* *running becomes the BLAKE2b-256 of itself, the slot's counts and the BLAKE2b-256 of each of its
 * arrays.  A step's experience is that over its trained slots in order, from the hash of the
 * weights of version `step`: so each STEP record vouches for the one before. */
void record_experience_add(struct hash *running, const struct record_experience *slot);

#endif
