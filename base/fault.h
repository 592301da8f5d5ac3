/*
 * fault.h -- named places where a test can make a process fail.
 *
 *     RLHF_FAULT=POINT:NTH:ACTION[:WHO]   in the environment of `rlhf run` or of a daemon
 *     RLHF_FAULT_DIR=DIR                  DIR/POINT is made when it fires, and it fires once
 *
 * The NTH time that a process comes by POINT, ACTION happens: kill (SIGKILL to itself), exit
 * (status 70), sleep (3 s), eio or enospc (the operation there fails so), stop (from that time on
 * the process stands still there, SIGSTOP to itself, until somebody sends it SIGCONT), bits (from
 * that time on what is made there has a wrong bit: at actor_turn, where alone it means anything).
 * What happens from a time on leaves no mark.  WHO is the beginning of the names of the processes
 * that are meant: "learner", "actor-0", "run" for `rlhf run`.
 *
 * It is in every build: what is tested is then what is shipped.  Unarmed, a point is a load and
 * a branch, and none is in a loop over tokens or parameters.  This is the second file of base,
 * after log.h, that holds state of the process; it is armed once, before any thread begins.
 *
 * Points are named for what comes next, where they end in a verb ("ledger-commit": nothing is
 * committed yet), or for what has just happened ("ledger-committed").
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

#include "base/err.h"

/* X(name, who comes by, can it be made to fail): tests/e2e/test_faults.c walks this table. */
// clang-format off
#define FAULT_MAP(X) \
    X(ledger_create, "coordinator", true)          /* a new database has no table yet */      \
    X(ledger_created, "coordinator", false)                                                  \
    X(ledger_append, "coordinator", false)         /* a record is to be queued */             \
    X(ledger_begin, "coordinator", true)                                                     \
    X(ledger_record, "coordinator", true)          /* in a transaction, some rows written */  \
    X(ledger_commit, "coordinator", true)                                                    \
    X(ledger_committed, "coordinator", false)      /* durable, and nobody knows */            \
    X(ledger_close, "coordinator", false)                                                    \
    X(coordinator_replayed, "coordinator", false)                                            \
    X(coordinator_started, "coordinator", false)   /* the epoch is not durable */             \
    X(coordinator_hello, "coordinator", false)     /* one came */                             \
    X(coordinator_welcome, "coordinator", false)                                             \
    X(coordinator_welcomed, "coordinator", false)                                            \
    X(coordinator_generated, "coordinator", false) /* a result came, is not looked at */      \
    X(coordinator_scored, "coordinator", false)                                              \
    X(coordinator_trained, "coordinator", false)                                             \
    X(coordinator_ack, "coordinator", false)                                                 \
    X(coordinator_acked, "coordinator", false)                                               \
    X(coordinator_lease_generate, "coordinator", false)                                      \
    X(coordinator_lease_score, "coordinator", false)                                         \
    X(coordinator_lease_train, "coordinator", false)                                         \
    X(coordinator_leased_train, "coordinator", false)                                        \
    X(coordinator_step_done, "coordinator", false) /* not in progress.jsonl yet */            \
    X(coordinator_step_told, "coordinator", false)                                           \
    X(coordinator_finished, "coordinator", false)                                            \
    X(worker_hello, "actor", false)                                                          \
    X(worker_hello_said, "reward", false)                                                    \
    X(worker_welcomed, "learner", false)                                                     \
    X(worker_lease, "reward", false)               /* one came */                             \
    X(worker_result, "actor", false)               /* to be queued */                         \
    X(worker_result_queued, "reward", false)                                                 \
    X(worker_result_sent, "actor", false)          /* sent, not acknowledged */               \
    X(worker_result_acked, "actor", false)                                                   \
    X(worker_bye, "learner", false)                                                          \
    X(weights_pull, "actor", false)                                                          \
    X(weights_pull_chunk, "actor", false)          /* one came */                         \
    X(weights_pulled, "actor", false)                                                        \
    X(weights_relay, "actor", false)               /* it is to send one on */                 \
    X(weights_share, "learner", true)              /* a version into shared memory */         \
    X(weights_map, "actor", true)                  /* it is to be mapped */                   \
    X(weights_mapped, "actor", false)                                                        \
    X(weights_serve_manifest, "learner", false)                                              \
    X(weights_serve_chunk, "learner", false)                                                 \
    X(weights_publish, "learner", false)                                                     \
    X(weights_published, "learner", false)                                                   \
    X(actor_lease, "actor", false)                 /* taken out of the inbox */               \
    X(actor_turn, "actor", false)                  /* rollouts are done, none is sent */      \
    X(reward_lease, "reward", false)                                                         \
    X(reward_scored, "reward", false)                                                        \
    X(train_step, "learner", false)                                                          \
    X(train_sum, "learner", false)                 /* a gradient is to be exchanged */        \
    X(train_summed, "learner", false)              /* it is there, of all ranks */            \
    X(train_half_updated, "learner", false)        /* the policy is, its critic is not */     \
    X(train_done, "learner", false)                /* all weights are new, nobody knows */    \
    X(train_result, "learner", false)                                                        \
    X(checkpoint_begin, "learner", true)           /* there is an empty .tmp */               \
    X(checkpoint_model, "learner", true)           /* the models are written */               \
    X(checkpoint_floats, "learner", true)          /* moments, half written */                \
    X(checkpoint_fsync, "learner", true)                                                     \
    X(checkpoint_manifest, "learner", true)                                                  \
    X(checkpoint_rename, "learner", true)                                                    \
    X(checkpoint_renamed, "learner", true)         /* the directory is not synced */          \
    X(checkpoint_published, "learner", false)                                                \
    X(checkpoint_prune, "learner", true)           /* an old one is to be removed */          \
    X(final_rename, "learner", true)                                                         \
    X(final_renamed, "learner", true)                                                        \
    X(file_write, "learner", true)                 /* any small file: its bytes */            \
    X(file_fsync, "learner", true)                                                           \
    X(file_rename, "learner", true)                                                          \
    X(file_sync_dir, "learner", true)                                                        \
    X(exchange_join, "learner-1", false)           /* of several learners */                  \
    X(exchange_ask, "learner-1", false)                                                      \
    X(exchange_chunk, "learner-1", false)          /* one came */                             \
    X(exchange_serve, "learner-0", false)          /* one is to be sent */                    \
    X(group_joined, "learner-0", false)                                                      \
    X(supervisor_spawn, "run", false)                                                        \
    X(supervisor_spawned, "run", false)                                                      \
    X(supervisor_stop, "run", false)                                                         \
    X(supervisor_exited, "run", false)             /* a child has ended */
// clang-format on

enum fault_point {
#define X(name, who, fails) FAULT_##name,
    FAULT_MAP(X)
#undef X
        FAULT_POINTS
};

/* "ledger_create": as RLHF_FAULT names it.  A constant string. */
const char *fault_name(enum fault_point point);

/* Arm what `spec` says, where this process, `who`, is meant; NULL or "" arms nothing.  `dir` may
 * be NULL.  Both are borrowed for the process's life.  ERR_USAGE names what is wrong in it. */
enum err_code fault_arm(const char *spec, const char *dir, const char *who, struct err *err);

extern int fault_armed; /* fault_point, or -1 */
bool fault_come_by(enum fault_point point);

/* This process is at `point`.  Often it does not return; true: what is done here is to fail, and
 * errno is set.  Any thread. */
static inline bool fault_at(enum fault_point point)
{
    return fault_armed == (int)point && fault_come_by(point);
}

#endif
