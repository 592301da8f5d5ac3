/*
 * replay_state.h -- what the parts of the replay share; nobody else includes it.
 *
 *     replay.c          new, free, steps opened, the end
 *     replay_record.c   a record against the plan
 *     replay_setup.c    the parameters of control/, from the configuration
 *     replay_combine.c  raw rewards from scores
 *     replay_breaker.c  what the breaker makes of a step
 *     replay_derive.c   a step's numbers
 *     replay_compare.c  the numbers against a STEP record
 */
#ifndef CLI_REPLAY_STATE_H
#define CLI_REPLAY_STATE_H

#include "cli/replay.h"
#include "control/breaker.h"
#include "control/chain.h"
#include "control/combine.h"
#include "control/kl.h"
#include "control/lagrange.h"
#include "control/plan.h"
#include "control/reward.h"
#include "control/rollback.h"
#include "control/score.h"

struct replay_params {
    struct plan_params plan;
    struct combine_params combine;
    struct combine_term terms[RUN_SCORERS_MAX];
    struct score_term cost_terms[RUN_SCORERS_MAX];
    uint32_t cost_terms_n;
    struct chain_params chain;
    struct reward_params reward;
    struct kl_params kl;
    struct lagrange_params lagrange;
    struct breaker_params breaker;
    bool has_breaker, has_rollback;
};

struct replay_states {
    struct kl_state kl;
    struct chain_state chain;
    struct lagrange_state lagrange;
    struct breaker_state breaker;
    struct rollback_state rollback;
};

struct replay_batch {
    uint64_t step;            /* REPLAY_NO_STEP: none */
    struct replay_slot *slot; /* [B] */
};
#define REPLAY_NO_STEP UINT64_MAX

struct replay {
    const struct run_config *config;
    struct core_prompts prompts;
    struct core_tokens tokens;
    struct replay_ops ops;
    struct replay_params params;
    uint32_t B, K, M, open, max_new;
    bool shaper_compares; /* with references; else reward.combine does, where M > 0 */

    struct replay_batch *batch;    /* [open]: step s at s % open */
    struct replay_slot *slots;     /* [open * B] */
    struct replay_slot *reference; /* [prompts * M] */
    double *reference_scores;      /* [prompts * M * scorers] */
    int32_t *ids;                  /* [open * B * max_new] */
    float *floats;                 /* [open * B * max_new], logp, ref and tokens' */
    double *kl_sum;                /* [B] */
    uint32_t *kl_tokens;           /* [B] */

    /* the references of the prompt at hand that were scored */
    struct score *ref_named;        /* [M * scorers] */
    struct combine_scores *ref_all; /* [M] of ref_named */
    double *ref_rewards;            /* [M]: after the length penalty, where the shaper compares */

    /* the run so far */
    uint64_t seq, epoch, trained, opened, checkpoint;
    bool has_start;
    struct hash weights;  /* of version `trained` */
    struct hash *restore; /* [steps / breaker.restore_every + 1]: of versions to go back to */
    struct replay_states states;
    struct wire_stat stats[WIRE_STATS_MAX]; /* the learner's, of the step before */
    uint32_t stats_n;
    struct replay_summary sum;

    /* the step at hand */
    struct record_step derived;
    struct replay_states next; /* once it is committed */
    struct pessimism_bound bound;
    bool skipped;              /* it is set aside, */
    enum record_reason reason; /* for this, */
    bool restored;             /* and goes back to next.rollback.base */
    double beta;               /* that shaped it: the KL controller's, scaled */
};

/* --- replay.c */
struct replay_batch *replay_batch(const struct replay *replay, uint64_t step); /* or NULL */
void replay_open_steps(struct replay *replay);
struct replay_slot *replay_reference(const struct replay *replay, uint64_t prompt, uint32_t m);

/* --- replay_setup.c */
enum err_code replay_setup(struct replay_params *params, const struct run_config *config,
                           uint32_t prompts, struct err *err);

/* --- replay_combine.c */
/* Is this scorer asked about answers to this prompt? */
bool replay_combine_counts(const struct replay *replay, uint32_t scorer, uint32_t prompt);
/* Can scores [scorers] of a response to this prompt be combined, whatever else scores? */
enum err_code replay_combine_try(const struct replay *replay, uint32_t prompt,
                                 const double *scores, uint32_t tokens, struct err *err);
/* The raw reward of a reference; NaN where it has none of its own: it is what others are
 * compared with, or depends on the step. */
double replay_combine_reference(const struct replay *replay, const struct replay_slot *of);
/* Of a whole step: whose group of users it serves worst, where reward.combine asks; fills
 * derived.worst_group, and what replay_combine goes by. */
enum err_code replay_combine_group(struct replay *replay, const struct replay_batch *batch,
                                   struct err *err);
/* slot->raw, and the same after the length penalty; the prompt's `refs` references into ref_all
 * and, where the shaper compares, ref_rewards. */
enum err_code replay_combine(struct replay *replay, struct replay_slot *slot, double *reward,
                             uint32_t *refs, struct err *err);

/* --- replay_breaker.c */
/* Is the step at hand by a policy that the run has left behind? */
bool replay_breaker_discards(const struct replay *replay);
/* Fill skipped, reason, restored and beta, and their states in replay->next, from the means in
 * replay->derived.  ERR_VALUE where the run had to halt. */
enum err_code replay_breaker(struct replay *replay, struct err *err);
/* Their states as doubles; how many. */
uint32_t replay_breaker_write(const struct replay *replay, double *out);
/* What is wrong with the weights that the step led to; NULL: nothing. */
const char *replay_breaker_fault(const struct replay *replay, const struct hash *weights);
/* Version `version` has these weights. */
void replay_breaker_keep(struct replay *replay, uint64_t version, const struct hash *weights);

/* --- replay_derive.c */
/* Fill replay->derived, replay->next and the slots' derived numbers. */
enum err_code replay_derive(struct replay *replay, struct replay_batch *batch, struct err *err);
/* What a controller's number i in a STEP record is: "kl[0]", "shapers[3]". */
void replay_derive_controller_name(const struct replay *replay, uint32_t i, char text[32]);

/* --- replay_compare.c */
/* ERR_VALUE "step S[, slot B]: NAME: the ledger has ..., derived is ..." where they differ. */
struct replay_at {
    uint64_t step;
    int64_t slot; /* -1: of the whole step */
};
enum err_code replay_same_count(struct replay *replay, struct replay_at at, const char *name,
                                uint64_t recorded, uint64_t derived, struct err *err);
enum err_code replay_same_number(struct replay *replay, struct replay_at at, const char *name,
                                 double recorded, double derived, struct err *err);
enum err_code replay_compare(struct replay *replay, const struct record_step *recorded,
                             struct err *err);

#endif
