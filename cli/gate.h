/*
 * gate.h -- a policy is published only where its cost is below a limit with a stated
 * probability.
 *
 *     model --copy--> candidate --enter--> answers --score--> costs --bound--> U <= limit?
 *                                 (ledger)                              |         |
 *                                                         RUN/published is it    NSF
 *
 * The candidate answers each held-out prompt once: token t of its answer to prompt i is drawn
 * with Philox(run.seed; RNG_STREAM_GATE, i, number of the candidate, t).  The run's cost
 * scorers score the answers, control/bound.h bounds their mean, and the verdict goes into the
 * ledger of the set (gate_ledger.h) before anything is published (gate_release.h).
 *
 * NSF, no safe solution, is every outcome but PASS: U above the limit, a score that could not be
 * had, costs that the bound does not allow, a set that is spent, a file of prompts that was
 * changed meanwhile.  RUN/published then stays as it is.  An error (a file that is missing, a
 * damaged ledger, a full disk) publishes nothing either.  Whatever it is, RUN/gate.jsonl says so
 * before anything is published (node/gate_record.h): dashboards show it, training never sees it.
 *
 * What is written beside it: RUN/gate/NAME.json, the verdict with its numbers, and
 * RUN/gate/NAME.jsonl, the answers and their scores.  They are for people: a set whose answers
 * or bounds find their way into training is worth nothing.
 */
#ifndef CLI_GATE_H
#define CLI_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/gate_ledger.h"
#include "cli/gate_release.h"
#include "node/run_config.h"

struct gate_params {
    const struct run_config *config; /* with gate.prompts */
    const char *model;               /* directory of the candidate */
    uint32_t threads;
    void (*progress)(void *ctx, uint32_t prompts, uint32_t all); /* NULL: not told */
};

struct gate_result {
    struct gate_entry entry; /* PASS or NSF, and the numbers */
    bool before;             /* the verdict is from an earlier test */
    char name[GATE_RELEASE_NAME];
};

/* Test and, where it passes, publish.  The errors of what is read, naming the file; ERR_USAGE
 * where a held-out prompt is in data.prompts or the set has another plan; ERR_STATE where a
 * gate is at work in this run. */
enum err_code gate_run(const struct gate_params *params, struct gate_result *result,
                       struct err *err);

/* The verdict in one sentence, for a person. */
void gate_explain(const struct run_config *config, const struct gate_result *result,
                  struct buf *out);

#endif
