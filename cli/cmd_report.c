/* cmd_report.c -- rlhf report: write RUN/report.html. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/report.h"

int cmd_report(int argc, char **argv)
{
    const struct cli_usage usage = {
        .words = "report",
        .synopsis = "RUN",
        .about =
            "Write RUN/report.html from the run's ledger: curves, numbers, some responses.\n"
            "`rlhf run` does it at the end; it can be done while a run goes on, too.\n",
        .examples = "  rlhf report runs/demo\n",
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int first = 0;
    const int parsed = cli_parse(&usage, argc, argv, &first);
    if (parsed != CLI_GO)
        return parsed;
    struct err err = {0};
    if (report_write(argv[first], &err))
        return cli_fail(&usage, &err);
    printf("%s/report.html\n", argv[first]);
    return 0;
}
