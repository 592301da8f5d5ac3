/*
 * gate_record.h -- what a run's gate decided, kept with the run: RUN/gate.jsonl, a JSON object a
 * candidate, oldest first, and the link RUN/published.
 *
 *     rlhf gate --append--> RUN/gate.jsonl --load--> /metrics, /api/v1/status, rlhf status,
 *                                                    rlhf inspect, report
 *
 * It is for people and dashboards.  Nothing that trains reads it, and no verdict depends on it:
 * that is the ledger of the prompts (cli/gate_ledger.h), which other runs share.  What is said
 * of the set (`spent`) is as this run's last candidate left it.
 *
 * A line is there before the policy it tells of is published, so nothing is published that
 * the run does not tell of; what is published now is read from the link, which is the truth.
 * The file is replaced as a whole at each line, and keeps the newest GATE_RECORD_BYTES_MAX.
 *
 * Reading and writing block on the disk.  One writer a run: the gate's lock sees to it.
 */
#ifndef NODE_GATE_RECORD_H
#define NODE_GATE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"

#define GATE_RECORD_FILE      "gate.jsonl"
#define GATE_RECORD_BYTES_MAX ((size_t)1 << 20) /* some 1500 candidates */
#define GATE_RECORD_NAME_MAX  17                /* bytes of a release's name, with the NUL */
#define GATE_RECORD_WORD_MAX  24
#define GATE_RECORD_WHY_MAX   320

/* ERROR: the gate ended before a verdict.  Nothing is published then, as with NSF. */
#define GATE_RECORD_DECISION_MAP(X) X(NSF, "NSF") X(PASS, "PASS") X(ERROR, "ERROR")

enum gate_record_decision {
#define X(name, word) GATE_RECORD_##name,
    GATE_RECORD_DECISION_MAP(X)
#undef X
};
#define GATE_RECORD_DECISIONS 3

/* One candidate.  NAN: a number that is not known. */
struct gate_record {
    uint64_t at_ms; /* wall clock */
    enum gate_record_decision decision;
    bool before;                     /* the verdict is from an earlier test */
    char why[GATE_RECORD_WHY_MAX];   /* the reason, where no bound decided; else "" */
    char name[GATE_RECORD_NAME_MAX]; /* of its release; "": the weights were not read */
    char model[FILE_PATH_MAX];       /* directory, as it was given */
    double version;                  /* of the policy, where model is one of this run's */
    double mean, upper;              /* of the costs: their mean, and the bound on it */
    double limit, delta;             /* upper was held against; this candidate was tested at */
    uint32_t n;                      /* answers */
    double spent;                    /* candidates tested on the set of prompts so far */
    uint32_t candidates;             /* planned for it */
    char bound[GATE_RECORD_WORD_MAX], cost[GATE_RECORD_WORD_MAX]; /* gate.bound, gate.cost */
};

struct gate_history {
    struct gate_record *record; /* (n), oldest first */
    size_t n;
    char published[GATE_RECORD_NAME_MAX]; /* where RUN/published points; "": nowhere */
    double published_version;             /* NAN: not known */
    uint64_t published_ms;                /* since when */
};

/* "PASS"; "?" for a number that is none.  A constant string. */
const char *gate_record_decision_name(enum gate_record_decision decision);

/* Add a line; durable on return.  ERR_IO; ERR_NOMEM; ERR_VALUE where the file is larger than it
 * can be. */
enum err_code gate_record_append(const char *run, const struct gate_record *record,
                                 struct err *err);

/* Read both.  No file: n is 0.  ERR_FORMAT names the line at fault; else as above.  The caller
 * ends it with gate_record_release, also on failure. */
enum err_code gate_record_load(struct gate_history *history, const char *run, struct err *err);
void gate_record_release(struct gate_history *history);

/* The last record and what is published as one JSON object; "null" where there is neither. */
void gate_record_json(const struct gate_history *history, struct buf *out);

#endif
