/*
 * export.h -- a run's rollouts and what became of them, as JSON lines: what `rlhf export` writes.
 *
 * A line a slot that was generated or dropped, in order of steps and slots:
 *
 *     {"step": 3, "slot": 5, "state": "trained", "drop_reason": null, "version": 2,
 *      "worker": "actor-0", "finish": "eos", "prompt_index": 17,
 *      "prompt": "...", "response": "...",
 *      "attributes": {"helpful": 1.5, "harm": -2},
 *      "raw_reward": 1.5, "shaped_reward": 0.75, "cost": 0.12,
 *      "prompt_ids": [...], "response_ids": [...], "logprobs": [...], "ref_logprobs": [...],
 *      "token_rewards": [...], "token_costs": [...]}
 *
 * "prompt" is the data set's own, a text, or "messages" in its place.  Numbers that are not there
 * (yet) are null, and so are response and arrays; of a slot whose step is not shaped so are the
 * derived ones.  Doubles and floats come back from their digits as they were.  A reference has
 * "reference": m in place of step, slot and shaped numbers; "raw_reward" is of its scores.
 *
 * Lines with a response are of the format "response" of data/format_response.c.  The derived
 * numbers are those of cli/replay.h, which refuses a ledger whose own do not follow.
 */
#ifndef CLI_EXPORT_H
#define CLI_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct export_params {
    const char *run;
    const char *out;      /* a file, gzip where it ends in ".gz"; NULL: standard output */
    uint64_t first, last; /* steps, both among them */
    bool trained;         /* those alone that were trained on */
    bool references;      /* also the references */
    bool arrays;          /* ids, log-probs and what tokens earned */
};

struct export_counts {
    uint64_t slots, references;
};

/* The file appears whole or not at all.  Errors as replay_source_open and replay_record have
 * them; ERR_IO where it cannot be written. */
enum err_code export_run(const struct export_params *params, struct export_counts *counts,
                         struct err *err);

#endif
