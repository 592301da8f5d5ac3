/* cmd_replay.c -- rlhf replay: does the ledger say what follows from what came in? */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/replay_source.h"

int cmd_replay(int argc, char **argv)
{
    static struct replay_source source; /* too large for a stack */
    const struct cli_usage usage = {
        .words = "replay",
        .synopsis = "RUN",
        .about =
            "Derives every number of the run again from what its ledger has of the outside:\n"
            "scores, log-probs, drops.  That is raw and shaped rewards, costs, the rewards "
            "and\n"
            "costs of tokens, KL, beta, lambda, the shapers' statistics, the breaker's\n"
            "decisions.  Each is held against the record of its step, and the order of things\n"
            "against the plan: every slot trained once or dropped for a reason, by exactly "
            "the\n"
            "planned version.  What a learner alone knows (weights, losses) is not derived.\n"
            "Exit status 65: something does not follow; the sentence names the first.\n",
        .examples = "  rlhf replay runs/demo\n",
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int argument = 0;
    const int code = cli_parse(&usage, argc, argv, &argument);
    if (code != CLI_GO)
        return code;
    const struct replay_ops ops = {0};
    struct replay_summary sum;
    struct err err = {0};
    enum err_code rc = replay_source_open(&source, argv[argument], &err);
    if (rc == ERR_OK)
        rc = replay_source_each(&source, &ops, &sum, &err);
    replay_source_close(&source);
    if (rc != ERR_OK)
        return cli_fail(&usage, &err);
    printf("%s: %" PRIu64 " steps of %" PRIu64 " slots, %" PRIu64 " references: %" PRIu64
           " quantities of %" PRIu64 " records as they must be; %" PRIu64 " planned = %" PRIu64
           " trained + %" PRIu64 " dropped + %" PRIu64 " in flight\n",
           argv[argument], sum.steps, sum.slots, sum.references, sum.quantities, sum.records,
           sum.planned, sum.trained, sum.dropped, sum.in_flight);
    return 0;
}
