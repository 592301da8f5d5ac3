/*
 * replay.h -- a run's numbers derived anew from what came from outside, record by record.
 *
 *     rollouts (tokens, log-probs), scores, reference log-probs, drops, config, prompts
 *            |
 *            v   control/plan, combine, chain, kl, lagrange, breaker, rollback, reward
 *     raw and shaped rewards, costs, token rewards, the step's means, beta, lambda, ...
 *            |
 *            v   held against
 *     the STEP records
 *
 * Nothing of a STEP record is taken over but what only a learner can say: the hash of the
 * weights, its statistics (the breaker reads those of the step before), how long it took.  The
 * states of the controllers are carried on as derived here, never as recorded.  The parameters
 * of control/ are set from the configuration in replay_setup.c, a second time and apart from the
 * coordinator's core: a difference between the two shows as a difference of numbers.
 *
 * Beside the numbers it audits the order of things:
 *     seq counts every record, epochs count every start;
 *     each rollout answers the prompt that the plan has there, by exactly the version
 *     max(0, step - lag), with tokens that a response can have;
 *     each slot is generated, scored and trained once at most, or dropped for a reason;
 *     step s publishes version s + 1, a step set aside leaves the weights, or has those of the
 *     version that it goes back to, and checkpoints do not go back:
 *     planned = trained + dropped + in flight.
 *
 * Never writes; no I/O of its own: records are handed to it.
 */
#ifndef CLI_REPLAY_H
#define CLI_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "coordinator/core.h"
#include "coordinator/record.h"
#include "node/run_config.h"

// clang-format off
#define REPLAY_STATE_MAP(X) \
    X(WAITING, "waiting") X(GENERATED, "generated") X(SCORED, "scored") X(TRAINED, "trained") \
    X(DROPPED, "dropped")
// clang-format on
enum replay_slot_state {
#define X(name, text) REPLAY_##name,
    REPLAY_STATE_MAP(X)
#undef X
};
const char *replay_state_name(enum replay_slot_state state);

/* A slot, or a reference, as far as it came. */
struct replay_slot {
    enum replay_slot_state state;
    enum record_reason reason; /* DROPPED; ids and scores may be there all the same */
    uint32_t prompt, group;
    uint64_t version; /* that generated it */
    uint32_t tokens;  /* of the response; 0: none was generated */
    enum wire_finish finish;
    char worker[WIRE_NAME_MAX];
    bool scored;
    double scores[RUN_SCORERS_MAX];
    int32_t *ids;      /* [tokens] */
    float *logp, *ref; /* [tokens], nats; ref: where scored; of a reference NULL */

    /* derived, where its step was shaped and it was not dropped before; of a reference raw */
    bool shaped_here;
    double raw, shaped, cost; /* cost: 0 without cost scorers */
    float *token_reward;      /* [tokens] */
    float *token_cost;        /* [tokens]; NULL where no costs train */
};

/* A step that is complete, or at the end one that is open. */
struct replay_step {
    uint64_t step;
    const struct replay_slot *slot; /* [slots] */
    uint32_t slots;
    const struct record_step *recorded; /* NULL: the step is open */
    const struct record_step *derived;  /* NULL: likewise */
};

/* Both may be NULL.  What they are given is valid during the call. */
struct replay_ops {
    enum err_code (*on_step)(void *ctx, const struct replay_step *step, struct err *err);
    enum err_code (*on_reference)(void *ctx, uint32_t prompt, uint32_t m,
                                  const struct replay_slot *reference, struct err *err);
    void *ctx;
};

struct replay_summary {
    uint64_t steps, slots;     /* of complete steps */
    uint64_t trained, dropped; /* slots; of open steps too */
    uint64_t planned, in_flight;
    uint64_t references; /* scored or dropped */
    uint64_t quantities; /* numbers held against recorded ones */
    uint64_t records;
};

struct replay;

/* At a run's very beginning.  config and prompts are borrowed.  ERR_USAGE where the config
 * cannot be; ERR_NOMEM.  The caller frees it with replay_free. */
enum err_code replay_new(struct replay **replay, const struct run_config *config,
                         const struct core_prompts *prompts, const struct core_tokens *tokens,
                         const struct replay_ops *ops, struct err *err);
void replay_free(struct replay *replay);

/*
 * The next record, all of them in order of seq.  ERR_VALUE with the first that does not fit:
 * step, slot, quantity, what is recorded and what is derived, doubles with 17 digits.  What it
 * was is then undefined, and no other may follow.
 */
enum err_code replay_record(struct replay *replay, const struct record *record,
                            struct err *err);

/* After the last: the open steps go to on_step, and everything is counted. */
enum err_code replay_end(struct replay *replay, struct replay_summary *out, struct err *err);

#endif
