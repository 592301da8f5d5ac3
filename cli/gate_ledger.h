/*
 * gate_ledger.h -- which policies were tested on which held-out set of prompts: one SQLite file
 * beside the prompts, for all runs that use them, because it is the set that wears out.
 *
 *     held_out    set_hash, prompts, plan, at_ms
 *     candidate   set_hash, number, candidate, run, at_ms, decision, n, mean, upper, delta, why
 *
 * A set has one plan: which bound, limit and delta, for how many candidates.  It is fixed when
 * the first candidate comes, and another one is refused: a limit chosen after a failure, or one
 * more candidate than planned, would make the stated probability untrue.
 *
 *     absent --spend--> entered --settle--> tested
 *
 * A candidate is entered, durably, before anything is known about it; only then is it tested.
 * One that was entered and not settled (a crash) may be tested again under its number, and one
 * that was settled has its verdict for ever.  A set that has as many candidates as planned is
 * spent.  (set_hash is BLAKE2b-256 of the file with the prompts.)
 */
#ifndef CLI_GATE_LEDGER_H
#define CLI_GATE_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "control/bound.h"

#define GATE_LEDGER_SCHEMA 1
#define GATE_PLAN_MAX      256 /* bytes of a plan as text, with the NUL */
#define GATE_WHY_MAX       320 /* bytes of a reason, with the NUL */

/* Who wants to be tested on what. */
struct gate_claim {
    struct hash set;
    uint32_t prompts; /* of the set */
    char plan[GATE_PLAN_MAX];
    uint32_t candidates_max;
    struct hash candidate; /* the policy, how it samples, and what scores it */
    const char *run;       /* directory, for people */
};

struct gate_entry {
    uint32_t number; /* of the candidate in its set, from 0 */
    uint32_t spent;  /* candidates of the set, this one among them where it was entered */
    bool tested;     /* what follows is there */
    struct bound_verdict verdict;
    uint32_t n;             /* samples */
    char why[GATE_WHY_MAX]; /* NSF without a test: the reason; else "" */
};

struct gate_ledger;

/* Open or create.  ERR_USAGE where it has another schema, ERR_FORMAT where it is damaged or no
 * ledger, ERR_IO.  The caller ends it with gate_ledger_close; NULL is fine there. */
enum err_code gate_ledger_open(struct gate_ledger **ledger, const char *path, struct err *err);
void gate_ledger_close(struct gate_ledger *ledger);

/* Enter the candidate, or find it.  Durable on return.  ERR_USAGE where the set has another
 * plan; ERR_STATE where it is spent. */
enum err_code gate_ledger_spend(struct gate_ledger *ledger, const struct gate_claim *claim,
                                struct gate_entry *entry, struct err *err);

/* Write down what became of it, once.  Durable on return.  ERR_STATE where it was settled
 * before. */
enum err_code gate_ledger_settle(struct gate_ledger *ledger, const struct gate_claim *claim,
                                 const struct gate_entry *entry, struct err *err);

#endif
