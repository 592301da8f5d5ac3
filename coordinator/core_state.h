/*
 * core_state.h -- what the parts of the core share; nobody else includes it.
 *
 *     core.c          new, free, start, one event
 *     core_peer.c     HELLO, sessions, liveness, acknowledgements
 *     core_item.c     a slot's or reference's way through its states; steps opened and retained
 *     core_lease.c    leases given out, lost and taken back
 *     core_second.c   a second lease of what a worker is slow with
 *     core_result.c   what actors and reward workers send
 *     core_shape.c    from scores to token rewards; the KL controller
 *     core_combine.c  from scores to the raw reward
 *     core_cost.c     from scores to token costs; the multiplier
 *     core_breaker.c  whether a step may be trained on
 *     core_rollback.c what the run goes back to, and leaves behind
 *     core_kl_reference.c  which version's log-probs a step's KL is measured from
 *     core_group.c    which learners train a step together, and when
 *     core_train.c    a learner's lease and result; the commit of a step
 *     core_replay.c   the same transitions, from records
 *     core_recall.c   a step that is no longer kept, from records
 *     core_stats.c    numbers for people
 *     core_check.c    what holds at every moment
 *     core_set.h      some of the peers, as bits
 *
 * Memory: two arenas, one of the struct, one of what the config sizes.  A step's items live in
 * steps[step % ring]; `ring` is enough for the open steps and those kept for a learner that lost
 * its memory.  References live with the first open step that needs their prompt, in a ring of the
 * lag + 1 open steps.
 */
#ifndef COORDINATOR_CORE_STATE_H
#define COORDINATOR_CORE_STATE_H

#include "base/arena.h"
#include "control/breaker.h"
#include "control/chain.h"
#include "control/kl.h"
#include "control/lagrange.h"
#include "control/plan.h"
#include "control/reward.h"
#include "control/rollback.h"
#include "control/score.h"
#include "coordinator/core.h"
#include "coordinator/core_set.h"
#include "coordinator/raw_reward.h"

#define CORE_ACKS_MAX       32     /* results of one peer waiting for the disk; then merged */
#define CORE_ADDRESSES_MAX  64     /* connections whose bad messages are counted */
#define CORE_RING_SLACK     4      /* steps a checkpoint may come late */
#define CORE_ROOM_SHARE     4u     /* of its credit, one part in so many is room for a lease */
#define CORE_LEASE_AGE_MAX  20u    /* a lease's whole life, in lease_ms, progress or not */
#define CORE_BACKOFF_MS     500u   /* no lease for a peer that failed one; doubles ... */
#define CORE_BACKOFF_MAX_MS 30000u /* ... up to here */
#define CORE_RESTORE_MAX    16u /* restore points the next target is among: lag + 2 at most */
#define CORE_SUSPECT_BEATS  3u     /* heartbeats of silence */
#define CORE_PACE_MAX       64u    /* answers of a kind whose times are remembered */
#define CORE_PACE_MIN       8u     /* with fewer nobody is called slow */

/* Deliberate faults, for the simulator to catch; the product's core has none of them. */
#ifdef CORE_BUGS
#define core_bug(core, number) ((core)->bug == (number))
#else
#define core_bug(core, number) ((void)(core), false)
#endif

enum core_item_state {
    CORE_ITEM_WAITING,
    CORE_ITEM_LEASED,
    CORE_ITEM_GENERATED, /* being scored too: then it has a lease */
    CORE_ITEM_SCORED,
    CORE_ITEM_SHAPED,
    CORE_ITEM_TRAINED,
    CORE_ITEM_DROPPED,
    CORE_ITEM_STATES
};

struct core_item {
    enum core_item_state state;
    enum wire_work work;
    enum wire_finish finish;
    enum record_reason reason;
    uint64_t a;
    uint32_t b;
    uint32_t prompt, group;
    uint32_t tokens;       /* of the response */
    uint64_t version;      /* that has to generate it */
    uint64_t generated_by; /* the version its result named */
    uint64_t lease;        /* the lease it is out on; 0: none */
    uint64_t second;       /* and the one of another worker, where the first is slow; 0: none */
    uint64_t seq;    /* the record of its last transition: act on it when that is durable */
    uint64_t digest; /* of finish, ids and log-probs: to compare a second result; 0: unknown */
    uint32_t fails;  /* leases given back */
    uint32_t score_tries;
    uint16_t worker;      /* peer that generated it, */
    uint32_t worker_name; /* as long as this is its name_n */

    int32_t *ids;       /* [max_new] */
    float *logp, *ref;  /* slots: [max_new]; references: NULL */
    double *scores;     /* [scorers] */
    double raw, shaped; /* of a shaped slot */
    double cost;        /* of a shaped slot; 0 without cost scorers */
};

/* A step's slots. */
struct core_batch {
    uint64_t step;           /* UINT64_MAX: none */
    struct core_item *items; /* [B] */
    uint32_t count[CORE_ITEM_STATES];
    uint64_t *in; /* [CORE_ITEM_STATES][words]: bit i of a state: item i is in it */
    bool shaped;
    struct record_step result; /* filled by shaping; the rest by the commit */
    struct kl_state kl_before; /* that shapes it */
    struct kl_state kl_after;
    struct chain_state chain_after;
    struct lagrange_state lagrange_after; /* its multiplier weighs this step's costs */
    struct pessimism_bound bound; /* of the costs in its window, where lambda is pessimistic */
    struct breaker_state breaker_after;
    struct breaker_decision decision;
    bool skipped; /* shaped, and set aside: nothing is trained on it, for this reason: */
    enum record_reason reason;
    struct rollback_state rollback_after;
    bool restored; /* set aside: the next version is what rollback_after.base was */
    double beta;   /* of this step: the controller's, scaled */
    uint64_t opened_ms;
};

/* What shaping a step begins from: the controllers, and what the step before told. */
struct core_before {
    struct kl_state kl;
    struct chain_state chain;
    struct lagrange_state lagrange;
    struct breaker_state breaker;
    struct rollback_state rollback;
    struct record_step last;
    bool has_last;
};

/* One step out of the ledger, for a learner that is further back than what is kept. */
struct core_recall {
    struct core_batch batch; /* batch.step: the one asked for, or CORE_NO_STEP */
    bool complete;           /* all its records came, and it is shaped */
    bool has_weights;
    struct hash weights; /* of the version it is trained from */
    uint64_t kl_reference; /* of its rollouts, as its record says */
    struct core_before before;
    struct wire_stat stats[WIRE_STATS_MAX]; /* of before.last */
    uint64_t slots[CORE_ITEM_STATES];       /* its own, no part of the run's */
};

/* The references that became due with an open step. */
struct core_refs {
    uint64_t step;
    uint32_t n; /* items in use, <= B / K * M */
    uint32_t count[CORE_ITEM_STATES];
    uint64_t *in; /* as a batch's, with ref_words */
    struct core_item *items;
};

/* What is kept of a reference for the whole run, [prompt * M + m]. */
struct core_reference {
    uint8_t state;   /* enum core_item_state; WAITING also before it is due */
    uint32_t tokens; /* of the response */
    uint64_t seq;    /* of its SCORE or DROP */
};
struct core_prompt {
    bool due;      /* its references are planned */
    uint64_t step; /* with this step, */
    uint32_t at;   /* from this item of its core_refs on */
};

struct core_ack {
    uint64_t message_seq, record_seq;
};

struct core_peer {
    /* what events look at of many peers */
    enum core_peer_state state;
    enum wire_role role;
    uint32_t capacity, in_flight;
    uint64_t backoff_ms, version; /* learner: the version that it holds */
    uint64_t address, session;
    uint64_t seen_ms, sent_ms, progress_ms;
    uint64_t progress;
    uint64_t attempt;  /* learner: the last that it was leased */
    uint32_t failures; /* in a row */
    bool greeted;      /* nothing but HELLO came in this session yet */
    bool has_hash;
    uint64_t out_seq;
    uint64_t in_seq, in_window; /* messages that came: all up to in_seq, and these after it */
    uint64_t gap_ms;    /* since when one before in_window is missing */
    uint64_t acked_seq; /* the last ACK said so */
    uint32_t acks_n;
    struct core_ack acks[CORE_ACKS_MAX];

    char name[WIRE_NAME_MAX]; /* "": free entry */
    uint32_t name_n;          /* names that the entry had before */
    unsigned char nonce[WIRE_NONCE_BYTES];
    char endpoint[WIRE_TEXT_MAX];
    uint64_t pid;
    struct hash hash; /* learner: of that version, as HELLO said */
    uint64_t items_done, leases_expired, leases_failed, outrun, mismatches;
    struct wire_weights told;       /* by its process, the last time */
    uint64_t told_seq;              /* its message, in this session; 0: none yet */
    struct wire_weights weights;    /* sums of this name; fetch_ms: as it told */
    char failure[CORE_FAILURE_MAX]; /* the last it told of */
    uint64_t failure_ms;
};

/* A version that can be gone back to. */
struct core_restore_point {
    struct hash weights;
    uint64_t kl_reference;
};

enum core_lease_kind { CORE_LEASE_GENERATE, CORE_LEASE_SCORE, CORE_LEASE_TRAIN };

/* How long the last answers of a kind took, since their leases were given out. */
struct core_pace {
    uint32_t ms[CORE_PACE_MAX];
    uint32_t n; /* answers; the next goes to n % CORE_PACE_MAX */
};

struct core_lease {
    uint64_t id; /* 0: free entry */
    enum core_lease_kind kind;
    uint16_t peer;
    uint32_t items;  /* still out */
    uint32_t outrun; /* that another worker answered first: this one is still busy with them */
    uint64_t issued_ms;
    uint32_t next;    /* of a free entry: 1 + the next free one, or 0 */
    uint64_t version; /* GENERATE */
    uint64_t step;    /* TRAIN, as the next three */
    uint64_t attempt; /* the same on all leases of a group: the first one's id */
    uint32_t ranks, rank;
};

struct core_offender {
    uint64_t address;
    uint32_t bad;
};

/* What a run reads besides its config, by the hash of its contents. */
enum core_identity_of { CORE_IDENTITY_PROMPTS, CORE_IDENTITY_SCORERS, CORE_IDENTITIES };
struct core_identity {
    bool known; /* it is in the ledger, or on its way there */
    struct hash hash;
};

struct core {
    const struct run_config *config;
    struct hash config_hash;
    struct core_prompts prompts;
    struct core_tokens tokens;
    uint32_t peers_max;
    core_sink *sink;
    void *user;
    struct arena own;   /* this struct is in it, */
    struct arena arena; /* and what the config sizes in this one */

    /* sizes */
    uint32_t B, K, M, groups; /* slots, samples a prompt, references a prompt, prompts a step */
    uint32_t shaper_M; /* M where the shaper takes references, else 0 */
    uint32_t max_new;
    uint32_t ring, open; /* steps kept; lag + 1 */
    uint32_t words, ref_words; /* that hold a bit for each slot, each reference of a step */
    bool group_estimator;

    /* what control/ is asked with */
    struct plan_params plan;
    struct chain_params chain;
    struct chain_state chain_state;
    struct reward_params reward;
    struct kl_params kl;
    struct lagrange_params lagrange;
    struct breaker_params breaker;
    bool has_breaker, has_rollback;
    struct raw_reward raw; /* its group: of the step at hand */
    struct score_term cost_terms[RUN_SCORERS_MAX]; /* of the raw cost */
    uint32_t cost_terms_n;

    /* the run */
    uint64_t epoch, seq, durable_seq, epoch_seq;
    uint64_t trained, opened, checkpoint_version;
    uint64_t commit_seq; /* STEP record on its way to the disk; 0: none */
    struct wire_stat commit_stats[WIRE_STATS_MAX];
    struct kl_state kl_state;
    struct lagrange_state lagrange_state;
    struct breaker_state breaker_state;
    struct rollback_state rollback_state;
    uint64_t target;              /* what a rollback would go back to now, */
    struct hash target_hash;      /* its weights, */
    uint64_t target_kl_reference; /* and its reference */
    struct core_restore_point restore_point[CORE_RESTORE_MAX]; /* in turn */
    uint64_t score_missing[RUN_SCORERS_MAX]; /* trained slots that a monitor has no score of */
    uint32_t train_fails; /* LEASE_FAILED of a learner alone, in a row */
    uint32_t group_fails; /* attempts of groups that came to nothing, in a row */
    uint64_t attempt;     /* the last one */
    uint64_t started_ms;
    bool gathered; /* all learners were here, or had time enough to come */
    uint64_t step_ms; /* when the last step was committed */
    bool has_start;
    struct core_identity identity[CORE_IDENTITIES];
    struct core_batch *steps;         /* [ring] */
    struct core_recall recall;
    struct core_refs *refs;           /* [open] */
    struct core_reference *reference; /* [prompts * M] */
    double *reference_scores;         /* [prompts * M * scorers] */
    struct core_prompt *prompt;       /* [prompts] */
    struct hash *version_hash;        /* [ring + 1]: of version v at v % (ring + 1) */
    uint64_t *kl_reference;           /* likewise: the version its KL is measured from */
    uint64_t slots[CORE_ITEM_STATES]; /* of the whole run */
    uint64_t dropped[RECORD_REASONS];
    uint64_t ref_slots[CORE_ITEM_STATES];
    struct record_step last;
    struct wire_stat last_stats[WIRE_STATS_MAX];
    bool has_last;

    /* the moment */
    bool replaying, started, paused, draining, stopping, finished;
    bool checkpoint_asked; /* of the next step */
    char finish_text[WIRE_TEXT_MAX];
    uint64_t replay_from; /* steps below it are replayed from their STEP record alone */
    uint64_t now_ms, wall_ms, entropy;
    struct core_peer peers[CORE_PEERS_MAX];
    size_t peers_n;     /* entries ever used */
    uint32_t names_max; /* entries that may be: CORE_PEERS_MAX, in tests less */
    struct core_set learners;                     /* that are here */
    struct core_set roomy[WIRE_ROLE_LEARNER + 1]; /* [role] who is here and has room */
    struct core_set owing;                        /* who waits for an acknowledgement; */
    bool acks_due;                                /* some of them may have it now */
    struct core_lease leases[CORE_LEASES_MAX];
    size_t leases_n;      /* entries ever used */
    uint32_t leases_free; /* 1 + the first free one of these; 0: none */
    uint32_t leases_out[CORE_LEASE_TRAIN + 1]; /* [kind] */
    uint32_t leases_max;                       /* CORE_LEASES_MAX, in tests less */
    bool leases_full;                          /* and it was said */
    /* Nothing could be leased to be scored, whoever has room, by a learner that holds this version;
     * so it stays until some record is durable or an item loses its lease. */
    bool score_idle;
    uint64_t score_idle_newest;
    uint64_t lease_n; /* leases issued in this epoch */
    struct core_pace pace[CORE_LEASE_TRAIN]; /* by kind: all but TRAIN */
    struct core_offender offenders[CORE_ADDRESSES_MAX];

    struct core_stats counters; /* only its plain counters are kept here */

    /* for one message or computation */
    struct message out;
    struct core_item **picked;              /* [B] */
    uint32_t *planned;                      /* [groups] prompts of the step that is opened */
    struct wire_item *out_items;            /* [WIRE_ITEMS_MAX] */
    struct wire_rank out_ranks[WIRE_RANKS_MAX];
    int32_t *out_ids;                       /* [WIRE_ITEMS_MAX items' prompt + response] */
    float *out_logp, *out_reward, *out_ref; /* [B * max_new] */
    float *out_cost;                        /* [B * max_new]; NULL where no costs train */
    size_t out_ids_max;
    double *kl_sum;      /* [B] */
    uint32_t *kl_tokens; /* [B] */
    double *ref_rewards; /* [M] combined, after the length penalty */
    struct score *ref_named;        /* [M * scorers] */
    struct combine_scores *ref_all; /* [M] of ref_named */
#ifdef CORE_BUGS
    int bug;
#endif
};

#define CORE_NO_STEP UINT64_MAX

/* --- core.c */
void core_log(struct core *core, enum log_level level, const char *id, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Append; returns its seq.  kind and what belongs to it are set; seq and time are not. */
uint64_t core_append(struct core *core, struct record *record);
/* An EVENT record, and the same in the log. */
void core_event(struct core *core, enum log_level level, const char *id, const char *format,
                ...) __attribute__((format(printf, 4, 5)));
/* The run is over: say so to everybody, once. */
void core_finish(struct core *core, int exit_code, const char *text);
bool core_durable(const struct core *core, uint64_t seq);
/* May leases be given out? */
bool core_working(const struct core *core);

/* --- core_peer.c */
void core_peer_message(struct core *core, const struct core_event *event);
void core_peer_bad(struct core *core, uint64_t address, const char *text);
void core_peer_gone(struct core *core, uint64_t address);
void core_peer_tick(struct core *core);
void core_peer_release_acks(struct core *core);
/* This learner is not to come back as it is. */
void core_peer_expel(struct core *core, struct core_peer *peer, const char *text);
/* The run is over for everybody, or this coordinator is. */
void core_peer_dismiss(struct core *core, bool for_good, const char *text);
/* What came from it is settled once all that was appended by now is durable. */
void core_peer_owe_ack(struct core *core, struct core_peer *peer);
void core_peer_send(struct core *core, struct core_peer *peer, struct message *message);
void core_peer_end(struct core *core, struct core_peer *peer, const char *why);
/* The entry of this name, made if need be; NULL where all are taken by live peers. */
struct core_peer *core_peer_named(struct core *core, const char *name);
uint16_t core_peer_index(const struct core *core, const struct core_peer *peer);
/* Of the learners that are here, the one that holds the newest version, and of several a live
 * one, the first by name; or NULL. */
struct core_peer *core_peer_learner(struct core *core);
/* The one whose weights actors are sent to: the same among the live; or NULL.  A suspect may have
 * been stopped: an actor sent there would wait for nothing. */
struct core_peer *core_peer_source(struct core *core);
void core_peer_progress(struct core *core, struct core_peer *peer);
/* Its state, role, capacity or in_flight is another now. */
void core_peer_moved(struct core *core, const struct core_peer *peer);
/* Is so much of its credit back that a lease is worth its messages? */
bool core_peer_has_room(const struct core_peer *peer);
void core_peer_back_off(struct core *core, struct core_peer *peer);
/* Keep what it says went wrong, for people. */
void core_peer_failed(struct core *core, struct core_peer *peer, const char *text);

/* --- core_item.c */
struct core_batch *core_item_batch(const struct core *core, uint64_t step); /* or NULL */
struct core_refs *core_item_refs(const struct core *core, uint64_t step);   /* or NULL */
/* The item, or NULL where no open or retained step has it. */
struct core_item *core_item_find(const struct core *core, enum wire_work work, uint64_t a,
                                 uint32_t b);
struct core_reference *core_item_reference(const struct core *core, uint32_t prompt,
                                           uint32_t m);
void core_item_move(struct core *core, struct core_item *item, enum core_item_state state);
void core_item_drop(struct core *core, struct core_item *item, enum record_reason reason,
                    const char *text);
uint64_t core_item_digest(enum wire_finish finish, uint32_t tokens, const int32_t *ids,
                          const float *logp);
/* logp NULL: not known (a reference, replayed) */
void core_item_generated(struct core *core, struct core_item *item, uint32_t tokens,
                         enum wire_finish finish, const int32_t *ids, const float *logp,
                         uint16_t worker, uint64_t seq);
/* scores [scorers]; by: who made them, NULL where nobody waits for it */
void core_item_scored(struct core *core, struct core_item *item, const double *scores,
                      const float *ref, const struct core_peer *by, uint64_t seq);
/* All slots of the step, waiting; counted in batch->count alone. */
void core_item_plan_slots(const struct core *core, struct core_batch *batch, uint64_t step);
/* Open what may be opened. */
void core_item_open_steps(struct core *core);
uint32_t core_item_prompt_tokens(const struct core *core, uint32_t prompt);
struct wire_item core_item_wire(const struct core *core, const struct core_item *item);

/* --- core_lease.c */
/* scorable: there may be rollouts to score that were not there before the event. */
void core_lease_dispatch(struct core *core, bool scorable);
void core_lease_tick(struct core *core);
struct core_lease *core_lease_find(struct core *core, uint64_t id);
/* NULL where as many of its kind are out as may be; never for a learner that has none. */
struct core_lease *core_lease_issue(struct core *core, enum core_lease_kind kind,
                                    struct core_peer *peer);
/* The item was answered by this peer, or by nobody (NULL: dropped): nobody else is waited for.
 * Who has it on another lease is still busy with it. */
void core_lease_settle(struct core *core, struct core_item *item, const struct core_peer *by);
/* The item on this lease alone is not answered; true where it is out on another. */
bool core_lease_leave(struct core *core, struct core_item *item, uint64_t id);
/* This peer answered an item of this lease that another was quicker with. */
void core_lease_outrun(struct core *core, const struct core_peer *peer, uint64_t id);
/* May this peer be given anything of its role's kind? */
bool core_lease_eligible(const struct core *core, const struct core_peer *peer,
                         enum wire_role role);
typedef bool core_lease_visit(struct core *core, struct core_item *item, void *ctx);
/* Visit the items of open steps in this state: oldest step first, slots before references.
 * Ends where fn says false. */
void core_lease_each(struct core *core, enum core_item_state state, core_lease_visit *fn,
                     void *ctx);
/* What is to be leased. */
struct core_lease_picked {
    bool generate;
    bool second; /* they are out on a lease already */
    uint32_t n;
    struct core_item *const *items; /* [n] */
    uint64_t version;     /* of all of them; to be scored: that of their reference */
    const char *endpoint; /* where those weights are */
};
/* False where no place is left for a lease of its kind. */
bool core_lease_give(struct core *core, struct core_peer *peer,
                     const struct core_lease_picked *picked);
const char *core_lease_name(enum core_lease_kind kind);
/* lease_ms after it was given out, or after its holder last got on. */
uint64_t core_lease_deadline(const struct core *core, const struct core_lease *lease);
/* Its items wait again; the lease is gone. */
void core_lease_return(struct core *core, struct core_lease *lease);
/* Those of a peer that is gone, and of the group that it last trained with. */
void core_lease_return_all(struct core *core, const struct core_peer *peer);
void core_lease_failed(struct core *core, struct core_peer *peer,
                       const struct message *message);

/* --- core_second.c */
/* An item of this lease was answered by its holder. */
void core_second_heed(struct core *core, const struct core_peer *peer, uint64_t id);
/* Who has room, after everything that waited was leased, is given what others are slow with. */
void core_second_dispatch(struct core *core);

/* --- core_result.c */
void core_result_generated(struct core *core, struct core_peer *peer,
                           const struct message *message);
void core_result_scored(struct core *core, struct core_peer *peer,
                        const struct message *message);

/* --- core_shape.c */
enum err_code core_shape_setup(struct core *core, struct err *err);
/* All slots scored or dropped, all references there, everything durable?  Drops slots whose
 * prompt or group cannot be used, and is then false for another while. */
bool core_shape_ready(struct core *core, struct core_batch *batch);
/* Doubles of the controllers' state in a STEP record of this run. */
uint32_t core_shape_controllers(const struct core *core);
/* The states after an old step, from its record.  ERR_VALUE where one cannot be. */
enum err_code core_shape_read(const struct core *core, const struct record_step *step,
                              struct core_batch *batch, struct err *err);
/* SCORED -> SHAPED for the whole step; fills batch->result and the states after it. */
enum err_code core_shape_batch(struct core *core, struct core_batch *batch, struct err *err);
/* The token rewards of a shaped slot [tokens]. */
enum err_code core_shape_tokens(struct core *core, const struct core_batch *batch,
                                const struct core_item *item, float *out, struct err *err);

/* --- core_combine.c */
/* Is this scorer asked about answers to this prompt? */
bool core_combine_counts(const struct core *core, uint32_t scorer, uint32_t prompt);
/* Can these scores [scorers] of a response to this prompt be combined, whatever else scores? */
enum err_code core_combine_try(struct core *core, uint32_t prompt, const double *scores,
                               uint32_t tokens, struct err *err);
/* Keep the scores of a reference for the whole run. */
void core_combine_keep(struct core *core, const struct core_item *item);
/* Of a whole step: the group of users it serves worst, where reward.combine asks; fills
 * result.worst_group, and what core_combine_item goes by. */
enum err_code core_combine_group(struct core *core, struct core_batch *batch, struct err *err);
/* item->raw, and the same after the length penalty; the rewards of its prompt's refs references
 * in ref_rewards, where the shaper takes any. */
enum err_code core_combine_item(struct core *core, struct core_item *item, double *reward,
                                uint32_t *refs, struct err *err);

/* --- core_cost.c */
enum err_code core_cost_setup(struct core *core, struct err *err);
/* What a response costs by its scores [scorers]; 0 without cost scorers. */
enum err_code core_cost_of(const struct core *core, const double *scores, double *cost,
                           struct err *err);
/* Can an item of this kind, a response to this prompt, not do without a score of this scorer? */
bool core_cost_is_needed(const struct core *core, uint32_t scorer, enum wire_work work,
                         uint32_t prompt);
/* The multiplier's move by the costs of the step's slots; fills lagrange_after and what the
 * result says of it, `at` in its controllers. */
enum err_code core_cost_step(struct core *core, struct core_batch *batch, uint32_t at,
                             struct err *err);
/* The token costs of a shaped slot [tokens]. */
enum err_code core_cost_tokens(struct core *core, const struct core_batch *batch,
                               const struct core_item *item, float *out, struct err *err);

/* --- core_group.c
 *
 * An attempt at a step is a lease to each learner of a group.  It ends when all have answered,
 * or with the first that fails or is gone, even if that one has answered (the others may still
 * wait to hear that it needs nothing more, and it cannot say so): then nobody is waited for any
 * more, and those that had not finished are as they were before the step. */
/* Give out what learners can do now. */
void core_group_dispatch(struct core *core);
/* Is a step being trained? */
bool core_group_is_training(const struct core *core);
/* One of the attempt will not answer: take back the leases of all. */
void core_group_abandon(struct core *core, uint64_t attempt);
/* The oldest version that a learner who is here holds, or UINT64_MAX. */
uint64_t core_group_oldest(const struct core *core);
/* Does what this learner made of a step agree with what others hold?  False: the run halts. */
bool core_group_agrees(struct core *core, const struct core_peer *peer,
                       const struct message *result);

/* --- core_breaker.c */
enum err_code core_breaker_setup(struct core *core, struct err *err);
/* Doubles of its state in a STEP record. */
uint32_t core_breaker_state_n(const struct core *core);
/* Look at a shaped step, and at what the one before told when it was trained.  Fills
 * breaker_after, decision and what the result says of it, `at` in its controllers; ERR_VALUE,
 * naming the cause, where the run is to halt. */
enum err_code core_breaker_step(struct core *core, struct core_batch *batch, uint32_t at,
                                struct err *err);
/* The state after an old step, from its record, `at` in its controllers. */
enum err_code core_breaker_read(const struct core *core, const struct record_step *step,
                                struct core_batch *batch, uint32_t at, struct err *err);
/* Say, once, that the step was set aside. */
void core_breaker_tell(struct core *core, const struct core_batch *batch);

/* --- core_rollback.c */
enum err_code core_rollback_setup(struct core *core, struct err *err);
/* Doubles of its state in a STEP record. */
uint32_t core_rollback_state_n(const struct core *core);
/* Are the rollouts of this version of no policy that the run still follows? */
bool core_rollback_discards(const struct core *core, uint64_t version);
/* Have this step go back. */
void core_rollback_apply(struct core *core, struct core_batch *batch);
/* Its state after the step to a record, and from an old one's. */
void core_rollback_write(const struct core *core, const struct core_batch *batch, double *out);
enum err_code core_rollback_read(const struct core *core, struct core_batch *batch,
                                 const double *in, struct err *err);
/* What a lease of this step says of rollbacks. */
void core_rollback_lease(const struct core *core, const struct core_batch *batch,
                         struct message *lease);
/* Is version step + 1 one that can be gone back to? */
bool core_rollback_is_restore_point(const struct core *core, uint64_t version);
/* The weights that a step which was set aside leads to. */
const struct hash *core_rollback_expects(const struct core *core,
                                         const struct core_batch *batch);
/* The step is committed. */
void core_rollback_commit(struct core *core, const struct core_batch *batch);
enum err_code core_rollback_check(const struct core *core, struct err *err);

/* --- core_kl_reference.c */
/* The version that the KL of this version is measured from; one of the last `ring`. */
uint64_t core_kl_reference_of(const struct core *core, uint64_t version);
/* Fill result.kl_reference_version. */
void core_kl_reference_shape(const struct core *core, struct core_batch *batch);
/* Is it another than that of the step before? */
bool core_kl_reference_changes(const struct core *core, const struct core_batch *batch);
/* Say, once, that what this step leads to is a new reference. */
void core_kl_reference_tell(struct core *core, const struct core_batch *batch);
/* The step is committed; before core_rollback_commit. */
void core_kl_reference_commit(struct core *core, const struct core_batch *batch);

/* --- core_train.c */
void core_train_advance(struct core *core);
/* Say it, write it down, end the run. */
void core_train_halt(struct core *core, const char *text);
/* Lease the step to these learners, in the order of ranks. */
void core_train_send(struct core *core, struct core_peer *const *group, uint32_t ranks,
                     const struct core_batch *batch);
void core_train_result(struct core *core, struct core_peer *peer,
                       const struct message *message);
void core_train_lease_failed(struct core *core, struct core_peer *peer,
                             struct core_lease *lease, const char *reason);
/* What a STEP record does once it is durable. */
void core_train_commit(struct core *core, struct core_batch *batch);
struct hash *core_train_hash(const struct core *core, uint64_t version);
/* The sentence for weights of `version` that are not the recorded ones. */
void core_train_other_weights(uint64_t version, const struct hash *now,
                              const struct hash *recorded, char *text, size_t size);
void core_train_checkpoint(struct core *core, uint64_t version);
/* May this learner's HELLO stand?  NULL: yes; else why not. */
const char *core_train_greet(struct core *core, const struct message *hello, char *text,
                             size_t size);

/* --- core_identity.c: prompts and scorers are those the run began with */
void core_identity_start(struct core *core);
/* Why this HELLO of a reward process is refused; NULL where it is not.  text is scratch. */
const char *core_identity_greet(struct core *core, const struct message *hello, char *text,
                                size_t size);
/* ERR_USAGE where the prompts are others than recorded, ERR_STATE where the record cannot be. */
enum err_code core_identity_replay(struct core *core, const struct record *record,
                                   struct err *err);

/* --- core_stats.c */
/* The part of core_stats that counts steps, slots and references. */
void core_stats_progress(const struct core *core, struct core_stats *out);

/* --- core_replay.c */
enum err_code core_replay_refuse(const struct record *record, const char *why, struct err *err);
enum err_code core_replay_rollout(struct core *core, const struct record *record,
                                  struct core_item *item, struct err *err);
enum err_code core_replay_score(struct core *core, const struct record *record,
                                struct core_item *item, struct err *err);
/* ERR_STATE where the recorded step is not what shaping gives now. */
enum err_code core_replay_agrees(const struct record_step *now, const struct record_step *record,
                                 struct err *err);

/* --- core_recall.c */
/* The step, shaped, kept or recalled; NULL where its records have yet to come, which is asked
 * for.  Valid until the next call that asks for another. */
const struct core_batch *core_recall_batch(struct core *core, uint64_t step);
/* Does this learner's group hold the weights that the recorded step began with?  Who does not is
 * refused.  True of a step that is kept: HELLO was held against the record. */
bool core_recall_fits(struct core *core, const struct core_batch *batch,
                      struct core_peer *const *group, uint32_t ranks);
/* The weights that a step which is kept, or recalled, begins with. */
const struct hash *core_recall_weights(const struct core *core, const struct core_batch *batch);
/* The weights that the recalled step led to; NULL: another one is there. */
const struct hash *core_recall_result(const struct core *core, uint64_t step);
/* Is it one of the recalled step's? */
bool core_recall_has(const struct core *core, const struct core_item *item);
void core_recall_record(struct core *core, const struct record *record);

#endif
