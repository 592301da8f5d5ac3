/* cmd_export.c -- rlhf export: a run's rollouts, scores and rewards as JSON lines. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/export.h"

/* "3", "3..7", "3..": *last is UINT64_MAX where it is open. */
static bool export_read_steps(const char *text, uint64_t *first, uint64_t *last)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *first = *last = strtoull(text, &end, 10);
    if (errno == 0 && strncmp(end, "..", 2) == 0) {
        *last = UINT64_MAX;
        end += 2;
        if (*end >= '0' && *end <= '9')
            *last = strtoull(end, &end, 10);
    }
    return errno == 0 && *end == '\0' && *first <= *last;
}

static const struct cli_usage export_usage = {
    .words = "export",
    .synopsis = "RUN [options]",
    .about =
        "Writes a line of JSON for each slot that was generated or dropped: prompt, response,\n"
        "scores by name, raw and shaped reward, cost, token ids, log-probs, the rewards of\n"
        "tokens, and what became of it.  `rlhf data inspect` and `rlhf train reward` read "
        "them.\n"
        "The rewards are derived as by `rlhf replay`: exit status 65 where the ledger has\n"
        "others.  A file appears whole or not at all.\n",
    .examples = "  rlhf export runs/demo --out rollouts.jsonl.gz\n"
                "  rlhf export runs/demo --steps 40..59 --no-arrays\n"
                "  rlhf export runs/demo --trained --out data.jsonl && rlhf data inspect "
                "data.jsonl\n",
    .arguments_min = 1,
    .arguments_max = 1,
};

int cmd_export(int argc, char **argv)
{
    const char *steps = "0..";
    bool no_arrays = false;
    struct export_params params = {0};
    const struct cli_option options[] = {
        cli_text("out", &params.out, "FILE",
                 "where to; gzip where it ends in .gz; default: "
                 "standard output"),
        cli_text("steps", &steps, "A..B", "these steps alone; also A, and A.. to the end"),
        cli_flag("trained", &params.trained, "those slots alone that were trained on"),
        cli_flag("references", &params.references,
                 "also the responses rewards are held against"),
        cli_flag("no-arrays", &no_arrays, "leave token ids, log-probs and token rewards out"),
    };
    struct cli_usage usage = export_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    int argument = 0;
    const int code = cli_parse(&usage, argc, argv, &argument);
    if (code != CLI_GO)
        return code;
    if (!export_read_steps(steps, &params.first, &params.last))
        return cli_usage_error(&usage, "--steps %s: 3, 3..7 or 3.. is expected", steps);
    params.run = argv[argument];
    params.arrays = !no_arrays;
    struct err err = {0};
    struct export_counts counts;
    if (export_run(&params, &counts, &err) != ERR_OK)
        return cli_fail(&usage, &err);
    if (params.out)
        printf("%s: %" PRIu64 " slots, %" PRIu64 " references\n", params.out, counts.slots,
               counts.references);
    return 0;
}
