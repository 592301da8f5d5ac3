/*
 * sim.h -- the coordinator's core among simulated workers, network, disk and crashes: one
 * process, one thread, one seed.
 *
 * The seed picks a configuration (lag, group size, combiner, kinds of prompts, shaper,
 * estimator, multiplier, breaker, checkpoints), the number of workers, of learners among them,
 * and the rates of faults.  While faults last, messages are dropped, doubled, delayed and
 * overtaken; workers hang, fall silent, are killed and started again; one of several learners
 * may be stopped for good; actors and reward workers may come back under other names, with room
 * for few of them, and the table of leases may be small; actors have weights from the learner
 * that their lease names, or give it back; actors and reward workers may take log-normal times
 * (sigma 1), and one actor may compute other log-probs than it should: the run's weights are
 * then its own, and only the records must agree; a monitor fails when it likes; the coordinator
 * is killed or stopped, its disk keeps what was durable and some of the rest, and it is rebuilt
 * by core_replay; checkpoints come late or never, or are damaged when a learner looks for them;
 * workers send what they should not.  Then the faults stop, and the run must finish.
 *
 * What must hold (a failure prints the seed, the time and the sentence):
 *     core_check after each event;
 *     records: seq without gaps, one rollout and one score an item, steps in order, none about
 *     a step that is over;
 *     a score lease names rollouts that are durable, a train lease is equal to durable records
 *     and comes from version max(0, step - lag);
 *     what a worker is told to forget is durable or not wanted;
 *     rollouts are asked for of version max(0, step - lag), so that the greatest staleness is the
 *     lag; a second lease is given where nothing waits, to another worker;
 *     a rollout that comes after one of another bit is a mismatch, of both workers by name, and
 *     no other is;
 *     a step's mean cost is that of the scores recorded of the slots that were not dropped;
 *     a step is set aside if and only if its mean reward is above the breaker's limit, what the
 *     step before told is, or its rollouts are of a version that is no ancestor of the present
 *     one any more; its lease then has no slots;
 *     a step that goes back leads to the weights of the newest ancestor that is a restore point
 *     and broke no limit, and the checkpoint of that is still there, unless it was damaged or a
 *     later step went back elsewhere;
 *     a step is trained on the scorer whose mean over these slots is least, where that is asked;
 *     a checkpoint that a step names is there;
 *     a slot's reference log-probs, and what its step says of them, are of the version that
 *     control/kl_reference.h defines, and with another reference beta begins again;
 *     a step trained twice gives the same weights;
 *     attempts at steps only grow, and a rank's lease is for the version it holds;
 *     no step is leased while a learner is further back: those behind catch up together;
 *     the final weights are those of the run without any fault, and so, to the bit, are the
 *     states of all controllers that each step recorded;
 *     `rlhf replay` (cli/replay.h) derives the numbers of all records again.
 *
 * The learner's "weights" are a hash chain over all that its leases say, so any difference in
 * content or order shows.  A group's members finish an attempt one by one, once all have begun
 * it: one may have finished when another dies, or is told to begin the next.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/core.h"

#define SIM_CONFIGS     48
#define SIM_STEPS_MAX   16
#define SIM_LAG_MAX     8
#define SIM_B_MAX       8
#define SIM_PROMPTS     7
#define SIM_M_MAX       3
#define SIM_TOKENS      5 /* max_new_tokens */
#define SIM_SCORERS     4 /* reward, reward, reward or cost, monitor */
#define SIM_KIND        1 /* where prompts have kinds: the scorer of one */
#define SIM_COST        2
#define SIM_MONITOR     3
#define SIM_WORKERS     10 /* at most 7 actors and reward workers, and 3 learners */
#define SIM_OUTBOX      12
#define SIM_INBOX       12
#define SIM_TICK_MS     25
#define SIM_REWARD_HIGH 0.3 /* of the breaker: it sets about one step in four aside */
#define SIM_GRAD_HIGH   0.7 /* it goes back after about three trained steps in ten */

#define SIM_SLICE 3 /* rollouts of one result */

/* What comparing a result with the records must lead to. */
struct sim_compared {
    bool unknown;              /* there are references: their log-probs are in no record */
    uint32_t n;                /* items that had a rollout, */
    uint32_t differ;           /* and one of other bits: */
    char text[SIM_SLICE][160]; /* how each of these is told */
    uint32_t told;
};

/* A message that owns its memory: one block. */
struct sim_message {
    struct message message;
};

struct sim_worker {
    enum wire_role role;
    char name[16];
    bool alive, ready, dismissed;
    uint64_t restart_ms, hang_until_ms, silent_until_ms, busy_until_ms;
    uint32_t lives;
    bool odd; /* an actor whose log-probs are wrong in their last bit */
    uint64_t address, session, epoch, seq, nonce;
    uint64_t hello_ms, begun_ms, heard_ms, sent_ms;
    uint64_t progress;
    struct sim_message *outbox[SIM_OUTBOX];
    uint32_t outbox_n;
    struct sim_message *inbox[SIM_INBOX];
    uint32_t inbox_n;
    uint32_t at; /* item of inbox[0] that comes next */
    bool taken;  /* inbox[0] is being worked on */
    /* actor */
    uint64_t weights; /* the version it has; of a reward process: as reference */
    uint64_t pull_ms; /* since when it asks for another; 0: it does not */
    /* learner */
    uint64_t version;
    uint64_t below; /* started again, it takes a checkpoint before this one; 0: the newest */
    struct hash hash;
    uint64_t attempt, began_ms; /* the last it took part in */
    bool declined;              /* has given it up */
};

struct sim_record {
    struct record record; /* with memory of its own, in block */
    struct record_step step;
    struct wire_stat stat; /* of the step */
    void *block;
};

enum sim_checkpoint { SIM_CHECKPOINT_NONE, SIM_CHECKPOINT_KEPT, SIM_CHECKPOINT_DAMAGED };

enum sim_event_kind { SIM_TO_COORDINATOR, SIM_TO_WORKER, SIM_GONE, SIM_FLUSH };

struct sim_event {
    uint64_t at_ms, order;
    enum sim_event_kind kind;
    uint64_t address;
    uint64_t life; /* of the coordinator, for FLUSH */
    int worker;
    struct sim_message *message;
};

struct sim_rates { /* of 1000 */
    uint32_t drop, twice, slow;
    uint32_t worker_crash, coordinator_crash, hang, silence; /* a tick */
    uint32_t hostile;                                        /* a result */
    uint32_t damage;                                         /* a checkpoint looked for */
    uint32_t straggle_ms; /* median of an item's time, log-normal with sigma 1; 0: a tick */
};

struct sim {
    uint64_t seed, rng;
    int bug;
    bool verbose;
    struct run_config *config;
    struct core_prompts prompts;
    struct sim_rates rates;
    uint64_t now_ms, faults_until_ms, order, events;

    struct sim_event *heap;
    size_t heap_n, heap_cap;

    struct core *core;       /* NULL: the coordinator is down */
    uint64_t life, start_ms; /* how often it was started; when it will be again */
    bool finished, stopped;  /* complete or halted; told to stop, to be started again */
    int exit_code;
    char finish_text[256];

    /* the disk */
    struct sim_record *records;
    size_t records_n, records_cap, durable_n;
    bool flush_due;
    /* index + 1 of the record of each item; [0]: none.  kinds: rollout, score, drop */
    size_t index[3][2][SIM_STEPS_MAX][SIM_B_MAX];
    size_t step_index[SIM_STEPS_MAX];
    uint64_t steps_recorded;

    struct sim_worker workers[SIM_WORKERS];
    int workers_n;
    uint32_t learners_n; /* of them */
    int stopped_worker;  /* for good, from stopped_ms on; -1: none */
    uint64_t stopped_ms;
    uint64_t attempt;       /* the last that was leased */
    uint64_t groups;        /* attempts of several learners */
    uint64_t rollbacks;     /* leases that went back */
    uint64_t renewals;      /* of the reference, that steps recorded; without rollbacks */
    uint64_t rewinds;       /* learners that found no checkpoint to go back to */
    uint64_t restored_step; /* the last that went back */
    uint64_t addresses;
    struct hash trained[SIM_STEPS_MAX + 1];   /* of version v, as first trained */
    uint64_t kl_reference[SIM_STEPS_MAX + 1]; /* likewise: what its KL is measured from */
    uint64_t trained_n;
    struct hash checkpoint[SIM_STEPS_MAX + 1];
    enum sim_checkpoint checkpoint_state[SIM_STEPS_MAX + 1]; /* of this version */
    uint64_t checkpoint_version;                             /* newest durable one */
    uint64_t checkpoint_next, checkpoint_ms; /* being written, and when it will be durable */
    int checkpoint_writer;
    bool recall; /* the coordinator asks for the records of this step */
    uint64_t recall_step, recalls;
    uint64_t stops;
    uint64_t seconds, seconds_won;       /* second leases, of all lives */
    uint32_t names_max, leases_max;      /* of the core; 0: as many as it has */
    uint64_t forgotten, full;            /* names; lives in which no lease was left */
    uint64_t staleness[SIM_LAG_MAX + 1]; /* slots trained, by steps since their policy */
    struct sim_compared compared;        /* of the message that is delivered now */
    uint8_t score_faults[2][SIM_STEPS_MAX][SIM_B_MAX];
    uint32_t lease_faults;
    uint64_t worker_crashes, coordinator_crashes, paused_until_ms;
    struct core_stats *stats; /* at the end; the caller's */
    bool timed;               /* how long it takes: all of it, and in the core */
    uint64_t ticks, core_ticks, core_since;

    bool failed;
    char why[640];
};

/* Of many runs; whole numbers all of them. */
struct sim_totals {
    uint64_t runs, cpu_us;
    uint64_t timed_ticks, core_ticks; /* of the runs that were timed */
    uint64_t events, virtual_ms, worker_crashes, coordinator_crashes, stops, groups;
    uint64_t duplicates, mismatches, late, refused, expired, retrained, resets, recalls;
    uint64_t rollbacks, rewinds, renewals;
    uint64_t seconds, odd, forgotten, full;
    uint64_t staleness[SIM_LAG_MAX + 1][SIM_LAG_MAX + 1]; /* [lag][staleness]: slots trained */
};

/* --- sim_chance.c */
uint64_t sim_mix(uint64_t x);
uint64_t sim_random(struct sim *sim, uint64_t n); /* 0..n-1 */
bool sim_chance(struct sim *sim, uint32_t per_mille);
bool sim_faulty(const struct sim *sim); /* do faults last? */
/* The first failure is the one that is told. */
void sim_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- sim_net.c: what is on its way, and everything else that has its time */
struct sim_message *sim_net_copy(const struct message *message); /* to be freed with free */
/* Takes ownership of the event's message. */
void sim_net_post(struct sim *sim, struct sim_event event);
struct sim_event sim_net_take(struct sim *sim); /* the earliest; there must be one */
/* One message on its way as the event says, or none, or two. */
void sim_net_carry(struct sim *sim, struct sim_event event, const struct message *message);
/* To the coordinator. */
void sim_net_send(struct sim *sim, int worker, struct message *message);
void sim_net_gone(struct sim *sim, uint64_t address);

/* --- sim_disk.c: the ledger */
/* Index + 1 of that item's record, durable or not; 0: there is none.  kind: ROLLOUT, SCORE or
 * DROP. */
size_t *sim_disk_index(struct sim *sim, enum record_kind kind, enum wire_work work, uint64_t a,
                       uint32_t b);
/* The item's record where it is durable, else NULL. */
const struct record *sim_disk_durable(const struct sim *sim, enum record_kind kind,
                                      enum wire_work work, uint64_t a, uint32_t b);
bool sim_disk_step_durable(const struct sim *sim, uint64_t step);
void sim_disk_append(struct sim *sim, const struct record *record);
/* Some of what waits becomes durable, one record at least. */
void sim_disk_flush(struct sim *sim);
/* A crash: of what was not durable, any first part may have reached the disk. */
void sim_disk_lose_tail(struct sim *sim);

/* --- sim_check.c: what must hold of what the coordinator does */
void sim_check_record(struct sim *sim, const struct record *record); /* before it is appended */
void sim_check_sent(struct sim *sim, const struct message *message);

/* --- sim_coordinator.c */
struct core_event sim_coordinator_event(struct sim *sim, enum core_event_kind kind);
/* From the records that are durable.  False: it could not, and the run has failed. */
bool sim_coordinator_start(struct sim *sim);
void sim_coordinator_crash(struct sim *sim);
/* One event, all that follows from it, and core_check; nothing while it is down. */
void sim_coordinator_step(struct sim *sim, const struct core_event *event);
/* Ticks of a clock that costs nearly nothing to read; 0 in a run that is not timed. */
uint64_t sim_coordinator_watch(const struct sim *sim);

/* --- sim_world.c: one run */
/* One whole run.  False: sim->why says what broke. */
bool sim_run(struct sim *sim);
void sim_release(struct sim *sim);

/* --- sim_seed.c: one seed */
#define SIM_WHY_MAX 800
/* The run of this seed's configuration without a fault, where it was not made yet.  False: why
 * says what broke. */
bool sim_seed_prepare(uint64_t seed, char why[SIM_WHY_MAX]);
/* One run; added to totals.  False: why names the seed, and what broke. */
bool sim_seed(uint64_t seed, int bug, bool verbose, struct sim_totals *totals,
              char why[SIM_WHY_MAX]);

/* --- sim_totals.c */
void sim_totals_add(struct sim_totals *totals, const struct sim *sim);
void sim_totals_merge(struct sim_totals *to, const struct sim_totals *from);
void sim_totals_print(const struct sim_totals *totals);
/* What never came about in all these runs, though what holds then is looked at; NULL: nothing. */
const char *sim_totals_lack(const struct sim_totals *totals);
void sim_totals_print_speed(const struct sim_totals *totals); /* on stderr */

/* --- sim_jobs.c: many seeds, shared out among processes */
#define SIM_JOBS_MAX 64
struct sim_plan {
    uint64_t from, seeds;
    int bug;
    bool verbose;
    bool quiet;    /* what assertions say is not shown */
    uint32_t jobs; /* processes; 0: this one, for a debugger */
};
struct sim_outcome {
    bool broke; /* with this seed, the lowest that does, */
    uint64_t seed;
    bool died;                /* by an assertion or a signal, */
    char why[SIM_WHY_MAX];    /* and so */
    struct sim_totals totals; /* of all seeds, where none broke */
};
/* The same outcome, times apart, whatever `jobs` is. */
void sim_jobs(const struct sim_plan *plan, struct sim_outcome *out);

/* --- sim_replay.c: does the replay come to the same numbers from what is on the disk? */
bool sim_replay(struct sim *sim);

/* --- sim_second.c: what holds of second leases and second answers */
/* A lease of rollouts, or of scores, as it is sent. */
void sim_second_sent(struct sim *sim, const struct message *lease);
/* Before a result is delivered in a session that is known: what the core is to say of it. */
void sim_second_expect(struct sim *sim, const struct message *result);
/* While: it says this. */
void sim_second_told(struct sim *sim, const char *text);
/* After: it has been compared, as the counters say; they were so before. */
void sim_second_compared(struct sim *sim, uint64_t duplicates, uint64_t mismatches);

/* Of the finished run's records: each step's rollouts are as old as the lag, and no older. */
void sim_second_check_staleness(struct sim *sim);

/* --- sim_worker.c */
void sim_worker_start(struct sim *sim, int worker);
void sim_worker_crash(struct sim *sim, int worker);
void sim_worker_tick(struct sim *sim, int worker);
void sim_worker_receive(struct sim *sim, int worker, const struct message *message);
int sim_worker_index(const struct sim *sim, const struct sim_worker *w);
/* A result, kept until it is acknowledged. */
void sim_worker_queue(struct sim *sim, struct sim_worker *w, struct message *message);
/* The lease that it works on is given back. */
void sim_worker_fail_lease(struct sim *sim, struct sim_worker *w, const char *reason);

/* --- sim_learner.c */
/* The newest checkpoint that is whole, of a version before `below`; below 0: of any. */
uint64_t sim_learner_newest_whole(struct sim *sim, uint64_t below);
void sim_learner_checkpointed(struct sim *sim, uint64_t version); /* it is durable now */
/* A turn of work on this lease, the first in its inbox. */
void sim_learner_train(struct sim *sim, struct sim_worker *w, const struct message *lease);

/* --- sim_pull.c */
struct sim_worker *sim_worker_named(struct sim *sim, const char *name); /* or NULL */
bool sim_worker_is_silent(const struct sim *sim, const struct sim_worker *w);
/* Are the weights of a generate lease in this actor's model, those of a score lease's reference
 * in this reward process's? */
enum sim_pull { SIM_PULL_HERE, SIM_PULL_WAITS, SIM_PULL_FAILS };
enum sim_pull sim_pull(struct sim *sim, struct sim_worker *w, const struct message *lease);

/* --- sim_reference.c */
void sim_reference_trained(struct sim *sim, uint64_t version, const struct message *lease);
uint64_t sim_reference_of(const struct sim *sim, uint64_t step);
bool sim_reference_is_served(const struct sim *sim, const struct sim_worker *learner,
                             uint64_t version);
void sim_reference_check_lease(struct sim *sim, const struct message *lease);
void sim_reference_check_score(struct sim *sim, const struct record *record); /* of a slot */
void sim_reference_check_step(struct sim *sim, const struct record_step *step);

/* --- sim_content.c: what workers make, as pure functions */
struct sim_rollout {
    uint32_t tokens;
    enum wire_finish finish;
    int32_t ids[SIM_TOKENS];
    float logp[SIM_TOKENS];
};
void sim_content_rollout(struct sim_rollout *out, uint64_t version, enum wire_work work,
                         uint64_t a, uint32_t b);
/* The scorer that never has a score of this item; SIM_SCORERS: all have. */
uint32_t sim_content_score(double score[SIM_SCORERS], float ref[SIM_TOKENS],
                           const struct sim_rollout *rollout, enum wire_work work, uint64_t a,
                           uint32_t b, uint64_t reference);
void sim_content_train(struct hash *out, const struct hash *from, const struct message *lease);
/* Prompts: offset [SIM_PROMPTS + 1], ids; kinds where SIM_KIND asks for one. */
struct core_prompts sim_content_prompts(const struct run_config *config);
/* Is SIM_KIND asked about this prompt? */
bool sim_content_counts(const struct run_config *config, uint32_t prompt);

/* --- sim_config.c: the configurations that seeds pick from */
void sim_config_make(struct run_config *config, uint32_t number);

#endif
