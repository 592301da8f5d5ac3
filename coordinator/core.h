/*
 * core.h -- the coordinator as a machine that does no I/O.
 *
 *     event (a message, a tick, "durable up to seq n")  -->  core_step  -->  effects
 *                                                  (messages to send, records to append, ...)
 *
 * Time, entropy and durability come in events; nothing else comes in.  So a run of the machine
 * is a pure function of its events, a simulator can feed it millions of them, and a
 * coordinator that was killed is rebuilt by feeding the ledger's records to core_replay.
 *
 * A slot, and a reference, lives so:
 *
 *     WAITING --> LEASED --> GENERATED --> SCORING --> SCORED --> SHAPED --> TRAINED
 *        ^          |            ^            |           |
 *        +----------+ expired    +------------+           +--> DROPPED (from any state
 *                     or lost      expired, failed              before TRAINED)
 *
 *     (a reference ends at SCORED or DROPPED)
 *
 * What holds at every moment (core_check):
 *     planned = waiting + leased + generated + scored + shaped + trained + dropped
 *       (a slot being scored counts as generated);
 *     a slot trains once, from exactly the version max(0, step - lag);
 *     what is sent to the learner was durable before;
 *     the controllers advance once a step, in the order of steps.
 *
 * Steps.  Version v is the policy after v trained steps.  Steps trained..trained+lag are open:
 * their slots are generated, by version max(0, s - lag), and scored side by side.  Step s is
 * shaped and sent to the learner when all before it are trained and all its slots are scored
 * or dropped.  TRAIN_RESULT becomes one STEP record; when that is durable, version s + 1
 * counts as published.
 *
 * A step that the breaker sets aside (core_breaker.c) goes the same way with no slots in its
 * lease: version s + 1 has the weights of version s, and its slots are dropped by its STEP record.
 * Where the breaker rolls back (core_rollback.c), the lease names an older version besides, whose
 * weights, critics and optimizer version s + 1 has; steps whose rollouts are of versions that
 * were left behind are set aside.
 *
 * Scores.  A slot needs those of all reward scorers that count for its prompt and of all cost
 * scorers, a reference those of the reward scorers: else it is scored again, and in the end
 * dropped.  A monitor's that is missing is NaN, and so is that of a scorer that does not count.
 *
 * Retained steps.  A learner that lost its memory comes back at its last checkpoint c; steps
 * c..trained-1 are sent again with the same content, and must give the recorded weights, bit
 * for bit, or the run halts.  Steps are kept from the newest durable checkpoint on.
 * Steps that are not kept: a learner whose newest checkpoint is gone or damaged comes back at an
 * older one, or with the models the run began with.  RECALL asks for the records of the one step
 * it needs next; they come as events RECORD, and it is shaped anew.  One such step is held at a
 * time.  The weights the learner holds are then held against the record, as HELLO's are before.
 * So a learner that finds no checkpoint to go back to comes back at one before it, and makes it.
 * Where so many are kept that no other fits, the last is sent again with the checkpoint flag:
 * its result, from the learner's memory, tells of a checkpoint that became durable meanwhile.
 * A learner must be able to serve versions max(0, c - lag)..c after a restart from c, and
 * version 0 where rewards are compared with references.
 *
 * Learners.  Up to workers.learners of them, each with the whole state.  A step is leased to all
 * that are here, as one attempt with ranks by name, where all hold its version and are idle;
 * TRAIN_RESULT of rank 0, which writes checkpoints, commits it, and the others' must agree with
 * it to the bit.  With the first that fails or is gone, though it has answered (others may still
 * wait for a word of it), the attempt is over and the next is leased to those that remain; who
 * had finished then tells so by its version.  A learner that is behind trains recorded steps while
 * the run waits for it; of several, those furthest back do, and the others join them at their
 * version.  Attempts that fail CORE_GROUP_FAILS_MAX times in a row are followed by one of a learner
 * alone.  Actors are sent for weights to the live learner that has the newest.
 *
 * Peers.  Every message but HELLO must carry the present epoch and a session that is known and
 * came from that address; any other is answered RESET.  HELLO opens a session; a name has one,
 * a newer HELLO ends the older, and what was leased to it is leased again.  Silence for
 * 3 heartbeats: suspect, no new leases.  For dead_ms: gone.  No progress for stall_ms with
 * something leased: gone, with RESET.  Results are keyed by (kind, a, b), whoever sends them.
 * They are acknowledged when their records are durable.
 *
 * Capacity.  HELLO says how many items a worker can hold; that is its credit.  What waits is
 * shared out by credit, and an item takes one until this worker has answered it, given it back or
 * lost it, whoever else answered it meanwhile.  Answers come a few at a time: who has work is
 * given more when a quarter of its credit is back, in one lease.
 *
 * Places.  Of CORE_LEASES_MAX leases a place for each learner is for training, and generating and
 * scoring may have half of the others each: so none of them waits for another's places for ever.
 * A worker that finds none waits until one is free.
 *
 * Names.  A name is known from its first HELLO, or its first record, on.  Where CORE_PEERS_MAX are,
 * the one that is gone for longest makes room for a new one: what it did stays in the sums.
 *
 * Stragglers.  Where workers have room and nothing waits, at a tick, the oldest lease that is older
 * than leases.second_after medians of the last CORE_PACE_MAX answers' ages, and than a heartbeat,
 * is given to a second worker too; who is slow itself is not asked.  An item is out on two leases
 * at most.  The first answer is recorded; a rollout that comes second is compared with it bit for
 * bit like any other (its tokens, finish reason and log-probs, by their hash), for as long as its
 * step is kept, and a second score is not wanted.  So it changes when a result is there, not which.
 *
 * Never allocates after core_new, never blocks; one thread.
 */
#ifndef COORDINATOR_CORE_H
#define COORDINATOR_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "coordinator/record.h"
#include "node/run_config.h"
#include "wire/message.h"

#define CORE_PEERS_MAX       2048  /* names known at once */
#define CORE_LEASES_MAX      32768 /* leases out at once */
#define CORE_SCORE_TRIES_MAX 3     /* scorings of one item before it is dropped */
#define CORE_LEASE_FAILS_MAX 5     /* LEASE_FAILED, but untried, for one item: it is dropped */
#define CORE_TRAIN_FAILS_MAX 3     /* LEASE_FAILED for one step before the run halts */
#define CORE_GROUP_FAILS_MAX 3     /* attempts of groups before one learner tries alone */
#define CORE_BAD_MAX         3     /* bad messages of one connection before it is cut */
#define CORE_ENDS_MAX        8     /* token ids that end a sequence */

/* The data set, tokenised: prompt i is ids[offset[i]] .. ids[offset[i + 1] - 1].  Borrowed for
 * the core's life. */
struct core_prompts {
    uint32_t n;
    const size_t *offset; /* [n + 1] */
    const int32_t *ids;
    const uint8_t *kind; /* [n] 1 + the first scorer of prompt i's kind; 0: no scorer has its
                            kind, or it has none.  NULL: all are 0 */
};

/* What ids can be, so that a rollout can be held against it.  All zero: nothing is known, and
 * ids are not looked at. */
struct core_tokens {
    uint32_t vocabulary;         /* of the policy: ids are below it */
    int32_t ends[CORE_ENDS_MAX]; /* ids that end a sequence */
    uint32_t ends_n;
};

struct core_setup {
    const struct run_config *config; /* borrowed for the core's life */
    struct hash config_hash;         /* what a HELLO must carry */
    struct core_prompts prompts;
    struct core_tokens tokens;
    uint32_t peers_max; /* workers let in at once; 0: CORE_PEERS_MAX, which is the most */
};

// clang-format off
#define CORE_EVENT_MAP(X) \
    X(TICK)        /* time passes; at least every heartbeat_ms / 4 */                     \
    X(MESSAGE)     /* peer, message: decoded and checked by wire/ */                      \
    X(BAD_MESSAGE) /* peer, text: what was wrong with it */                               \
    X(PEER_GONE)   /* peer: the transport can no longer reach it */                       \
    X(DURABLE)     /* seq: all records up to it survive a power cut */                    \
    X(RECORD)      /* record: one of those a RECALL asked for, in order of seq */         \
    X(PAUSE)       /* no new leases, until somebody resumes; a record */                  \
    X(RESUME)                                                                             \
    X(CHECKPOINT)  /* with the next step that is trained */                               \
    X(DRAIN)       /* to the next checkpoint, one made for it, then end; also if paused */ \
    X(STOP)        /* end as soon as what was appended is durable */
// clang-format on
enum core_event_kind {
#define X(name) CORE_EV_##name,
    CORE_EVENT_MAP(X)
#undef X
};

struct core_event {
    enum core_event_kind kind;
    uint64_t now_ms;  /* monotonic */
    uint64_t wall_ms; /* since 1970: goes into records, decides nothing */
    uint64_t entropy; /* MESSAGE, a HELLO: 64 random bits, for the session's number */
    uint64_t peer;    /* an address the shell can send to; opaque here */
    const struct message *message;
    uint64_t seq;
    const struct record *record; /* valid during the call */
    const char *text;
};

// clang-format off
#define CORE_EFFECT_MAP(X) \
    X(SEND)      /* peer, message: to be encoded before the sink returns */               \
    X(APPEND)    /* record: to be copied before the sink returns */                       \
    X(LOG)       /* level, id, text */                                                    \
    X(STEP_DONE) /* step: it is durable; for progress and metrics */                      \
    X(KICK)      /* peer: cut its connection */                                           \
    X(RECALL)    /* recall_step: read START (of step 0) or the STEP before it, then all     \
                    records of its slots and its STEP, and hand them over as RECORD */      \
    X(FINISHED)  /* exit_code, text: the machine is at its end and does nothing more */
// clang-format on
enum core_effect_kind {
#define X(name) CORE_FX_##name,
    CORE_EFFECT_MAP(X)
#undef X
};

/* The run cannot go on, and a restart would not mend it (EX_DATAERR). */
#define CORE_EXIT_HALT 65
/* Told to end before it was complete: the same command goes on from here (EX_TEMPFAIL). */
#define CORE_EXIT_STOPPED 75

/* Pointers are valid until the sink returns. */
struct core_effect {
    enum core_effect_kind kind;
    uint64_t peer;
    const struct message *message;
    const struct record *record;
    const struct record_step *step;
    uint64_t recall_step;
    enum log_level level;
    const char *id;
    const char *text;
    int exit_code; /* 0 the run is complete, or drained; CORE_EXIT_HALT; CORE_EXIT_STOPPED */
    bool complete; /* FINISHED: every step is trained */
};

/* Takes each effect as it arises, in order.  Must not call the core. */
typedef void core_sink(void *user, const struct core_effect *effect);

struct core;

/* A machine at the run's very beginning.  ERR_VALUE where the config asks for more than a
 * message can carry, or a prompt is longer than data.prompt_tokens_max; ERR_NOMEM.  The caller
 * frees it with core_free. */
enum err_code core_new(struct core **core, const struct core_setup *setup, core_sink *sink,
                       void *user, struct err *err);
void core_free(struct core *core);

/*
 * Rebuild, before core_start: the ledger's records in order of seq.  checkpoint_version is the
 * newest one any STEP or CHECKPOINT record names: ROLLOUT, SCORE and DROP records of slots of
 * steps below it may be left out, and so may a reference's ROLLOUT where its SCORE is there.
 * ERR_STATE where a record cannot follow those before it, or where the program now computes
 * something else from the same rollouts than what is recorded.
 */
enum err_code core_replay_begin(struct core *core, uint64_t checkpoint_version,
                                struct err *err);
enum err_code core_replay(struct core *core, const struct record *record, struct err *err);

/* Begin a new epoch: one more than the last replayed.  Nothing is answered until its record is
 * durable.  The event's kind and message are not looked at. */
void core_start(struct core *core, const struct core_event *event);

/* Apply one event: the only mutator.  Effects go to the sink meanwhile. */
void core_step(struct core *core, const struct core_event *event);

/* Count everything anew and hold it against the counters and the promises above; ERR_STATE with
 * the first that is broken.  Slow: for tests and the simulator. */
enum err_code core_check(const struct core *core, struct err *err);

/* --- what people look at -------------------------------------------------------------- */

#define CORE_PEER_STATE_MAP(X) X(GONE, "gone") X(LIVE, "live") X(SUSPECT, "suspect")
enum core_peer_state {
#define X(name, text) CORE_PEER_##name,
    CORE_PEER_STATE_MAP(X)
#undef X
};
const char *core_peer_state_name(enum core_peer_state state);

/* What the run waits for: a word for programs, a sentence for people. */
// clang-format off
#define CORE_WAIT_MAP(X) \
    X(NOTHING, "end", "")                                                                 \
    X(START, "start", "the ledger: the start is not durable yet")                         \
    X(RESUME, "resume", "somebody to resume the run")                                     \
    X(LEARNER, "learner", "a learner to connect")                                         \
    X(CHECKPOINT, "checkpoint",                                                           \
      "the learner to finish a checkpoint: too many steps are kept for it")               \
    X(COMMIT, "commit", "the ledger: a trained step is not durable yet")                  \
    X(RETRAIN, "retrain", "a learner that came back, which trains recorded steps again")  \
    X(TRAIN, "train", "the learner, which trains")                                        \
    X(ACTOR, "actor", "an actor to connect")                                              \
    X(REWARD, "reward", "a reward worker to connect")                                     \
    X(GENERATE, "generate", "actors, which generate")                                     \
    X(SCORE, "score", "reward workers, which score")                                      \
    X(GENERATE_REFERENCES, "generate references", "actors, which generate references")    \
    X(SCORE_REFERENCES, "score references", "reward workers, which score references")
// clang-format on
enum core_wait {
#define X(name, word, text) CORE_WAIT_##name,
    CORE_WAIT_MAP(X)
#undef X
};
const char *core_wait_name(enum core_wait wait);

#define CORE_FAILURE_MAX 256 /* bytes of a sentence that is kept, with the NUL */

struct core_peer_stats {
    char name[WIRE_NAME_MAX];
    enum wire_role role;
    enum core_peer_state state;
    uint64_t pid;
    uint64_t seen_age_ms;         /* since its last message */
    uint64_t progress_age_ms;     /* since its progress counter moved, or it got its leases */
    uint32_t capacity, in_flight; /* items */
    uint64_t version;             /* learner */
    uint64_t items_done;          /* accepted from it */
    uint64_t leases_expired, leases_failed, mismatches;
    uint64_t outrun; /* items that another worker answered first */
    uint64_t lease_age_ms; /* of the oldest it has; 0: none */
    struct wire_weights weights;    /* that it told of, over its restarts */
    char failure[CORE_FAILURE_MAX]; /* the last that it told of; "": none */
    uint64_t failure_age_ms;
};

/* Statistics that a shaper carries, of what reached it. */
struct core_shaper_stats {
    const char *name;
    double mean, std, min, max;
};

/* What workers did whose names are not known any more. */
struct core_forgotten {
    uint64_t names, items_done, leases_expired, leases_failed, outrun, mismatches;
    struct wire_weights weights;
};

struct core_stats {
    uint64_t epoch;
    uint64_t steps;   /* the run's length */
    uint64_t trained; /* = the published version */
    uint64_t opened;  /* steps planned so far */
    uint64_t checkpoint_version;
    uint64_t seq, durable_seq; /* records */
    bool started, paused, draining, finished;
    bool checkpoint_asked; /* and not made yet */
    double kl_coef;
    double kl_last;     /* what the KL controller measured last, in the unit of its target */
    double kl_smoothed; /* what the controller has of it after smoothing; NAN: it does not smooth */
    double kl_integral; /* beta by pid's integral part alone; else 0 */
    double multiplier; /* lambda of the last step trained, or where it begins */
    double multiplier_integral; /* of pid; else 0 */
    struct core_shaper_stats shaper[RUN_SHAPERS_MAX]; /* of those that carry any, in order */
    uint32_t shapers;
    double cost_bound; /* what moves lambda in place of the mean cost; NaN: the mean does */
    bool has_breaker;
    bool breaker_cooling; /* it tripped, and there were not enough clean steps since */
    uint64_t breaker_trips; /* of the run */
    const char *trip_signal, *trip_limit; /* of the last; NULL: there was none */
    double trip_value;
    bool has_rollback;
    uint64_t rollbacks;                      /* of the run */
    uint64_t rollback_base;                  /* the version the last went back to */
    uint64_t rollback_target;                /* that one would go back to now */
    double lr_scale, beta_scale;             /* in force */
    uint64_t score_missing[RUN_SCORERS_MAX]; /* trained slots that a monitor has no score of */

    /* slots of the run so far; planned is their sum */
    uint64_t planned, waiting, leased, generated, scored, shaped, trained_slots;
    uint64_t dropped[RECORD_REASONS];
    /* references of the run so far */
    uint64_t references_planned, references_scored, references_dropped;

    uint64_t tokens_prompt, tokens_response; /* of the rollouts accepted in this epoch */
    uint64_t duplicates; /* results for an item that had one, with equal bits */
    uint64_t mismatches; /* with other bits */
    uint64_t late;       /* results that nothing waited for */
    uint64_t refused;    /* results with the wrong version, impossible numbers or tokens */
    uint64_t leases_out, leases_expired, leases_failed;
    uint64_t leases_second; /* given out of what another worker was slow with */
    uint64_t second_won;    /* items of them that were answered first */
    uint64_t score_retries;
    uint64_t sessions, resets, bad_messages;
    uint64_t retrained;   /* steps the learner computed again, equal to the record */
    uint64_t recalled;    /* steps read from the ledger for it */
    double logp_diff_max; /* greatest |actor - learner| log-prob so far; NaN: none told */

    bool has_last;           /* last is valid */
    struct record_step last; /* the last step committed; its stats stay valid until the next
                                core_step */

    struct core_forgotten forgotten; /* names that made room for others */

    enum core_wait wait;   /* what the run waits for now, */
    const char *waits_for; /* and for people: one sentence */
    uint64_t step_age_ms;  /* since a step was committed, or the start of this epoch */
    uint32_t peers;
    struct core_peer_stats peer[CORE_PEERS_MAX];
};

void core_stats(const struct core *core, struct core_stats *out);

#endif
