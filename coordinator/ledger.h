/*
 * ledger.h -- the run's records on disk: RUN/ledger.sqlite, one SQLite database in WAL mode
 * with synchronous=FULL.
 *
 * A table a kind of record; seq, over all tables, is the order of things:
 *
 *     run         key, value: config_hash, created_ms         (PRAGMA user_version: the schema)
 *     epoch       seq, at_ms, epoch
 *     start       seq, at_ms, weights
 *     identity    seq, at_ms, what, hash
 *     rollout     seq, at_ms, step, slot, prompt, version, tokens, finish, worker, ids,
 *                 logprobs
 *     reference   seq, at_ms, prompt, m, tokens, finish, worker, ids
 *     score       seq, at_ms, kind, a, b, prompt, tokens, finish, worker, scores,
 *                 ref_logprobs    (kind rollout: a = step, b = slot; kind reference:
 *                 a = prompt, b = m)
 *     dropped     seq, at_ms, kind, a, b, prompt, reason, text
 *     step        seq, at_ms, step, version, ..., kl_reference_version, kl_mean, ...,
 *                 worst_group, controller, experience, duration_ms, stats
 *                 (worst_group: of reward.combine maxmin, 1 + the scorer)
 *     checkpoint  seq, at_ms, version
 *     pause       seq, at_ms, paused
 *     event       seq, at_ms, id, text
 *
 * Arrays of tokens and log-probs are BLOBs, little-endian int32 and float32; scores, score
 * means and the learner's statistics are JSON text, null where there is no number; hashes are
 * hex.  So a person can ask:
 *
 *     sqlite3 RUN/ledger.sqlite 'select step, reward_raw_mean, kl_mean from step'
 *
 * Writing has a thread of its own: what was flushed while a commit ran goes into the next one.  A
 * commit that fails is never tried again, because nobody knows what it left: the process is to
 * end (EX_IOERR) and start over from the file.
 *
 * One coordinator holds a run directory: a lock (flock) on the directory refuses a second.
 * Readers need none and disturb nobody.
 */
#ifndef COORDINATOR_LEDGER_H
#define COORDINATOR_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "coordinator/record.h"

#define LEDGER_FILE   "ledger.sqlite"
#define LEDGER_SCHEMA 7
#define LEDGER_QUEUE_BYTES                                            \
    ((size_t)256 * 1024 * 1024) /* not yet written; then append waits \
                                 */

struct ledger;

/*
 * Open for writing, or create, the ledger of the run in `dir` (made if need be), and lock the
 * directory.  ERR_STATE where another process holds it; ERR_USAGE where it is the ledger of
 * another configuration or schema; ERR_FORMAT where the file is damaged or no ledger; ERR_IO.
 * The caller ends it with ledger_close.
 */
enum err_code ledger_open(struct ledger **ledger, const char *dir,
                          const struct hash *config_hash, struct err *err);

/* To look at while a coordinator may be writing: no lock, nothing is changed.  ERR_UNAVAILABLE
 * where there is no ledger. */
enum err_code ledger_open_read(struct ledger **ledger, const char *dir, struct err *err);

/* Commit what is queued, end the thread, give the lock back.  ERR_IO where the last commit
 * failed.  NULL is fine. */
enum err_code ledger_close(struct ledger *ledger, struct err *err);

/* --- reading ------------------------------------------------------------------------------ */

struct ledger_summary {
    struct hash config_hash;
    uint64_t records;            /* the last seq */
    uint64_t epochs, steps;      /* starts of the coordinator; steps trained */
    uint64_t checkpoint_version; /* newest that a record names: for core_replay_begin */
    uint64_t rollouts, references, scores, dropped;
    bool paused; /* and not resumed since */
};
enum err_code ledger_summarise(struct ledger *ledger, struct ledger_summary *out,
                               struct err *err);

/* Of the configuration it was begun with: what the summary has too, without counting records. */
enum err_code ledger_config_hash(struct ledger *ledger, struct hash *out, struct err *err);

/* fn for each record in order of seq, until it fails.  Records about slots of steps below
 * from_step are left out, but for their STEP; with from_step > 0 so are rollouts of references
 * that have a score.  What the record points to is valid during the call.  ERR_FORMAT where the
 * file is damaged or a record cannot be. */
enum err_code ledger_each(struct ledger *ledger, uint64_t from_step,
                          enum err_code (*fn)(void *ctx, const struct record *record,
                                              struct err *err),
                          void *ctx, struct err *err);

/* fn for each STEP record alone. */
enum err_code ledger_each_step(struct ledger *ledger,
                               enum err_code (*fn)(void *ctx, const struct record *record,
                                                   struct err *err),
                               void *ctx, struct err *err);

/* fn for what a step was trained on and began from: START where it is step 0, else the STEP
 * before it, then the records of its slots and its STEP, in order of seq. */
enum err_code ledger_each_of_step(struct ledger *ledger, uint64_t step,
                                  enum err_code (*fn)(void *ctx, const struct record *record,
                                                      struct err *err),
                                  void *ctx, struct err *err);

/* --- writing ------------------------------------------------------------------------------ */

/* Start the thread.  It calls durable(ctx, seq) after each commit, or failed(ctx, err) once and
 * then nothing any more: both in the thread, so they may only pass the word on. */
struct ledger_ops {
    void (*durable)(void *ctx, uint64_t seq);
    void (*failed)(void *ctx, const struct err *err);
    void *ctx;
};
enum err_code ledger_start(struct ledger *ledger, const struct ledger_ops *ops,
                           struct err *err);

/* Queue a copy of the record, for ledger_flush or ledger_close.  Waits where LEDGER_QUEUE_BYTES
 * are queued.  ERR_NOMEM, or ERR_IO once a commit has failed. */
enum err_code ledger_append(struct ledger *ledger, const struct record *record,
                            struct err *err);

/* Have what is queued committed.  A commit waits for the disk three times, whatever is in it: so
 * call this when all is appended that belongs together. */
void ledger_flush(struct ledger *ledger);

#endif
