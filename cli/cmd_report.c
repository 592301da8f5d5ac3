/* cmd_report.c -- rlhf report: a run, or several beside each other, as a page. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/report.h"
#include "cli/report_compare.h"
#include "cli/report_groups.h"

int cmd_report(int argc, char **argv)
{
    const char *path = NULL;
    const struct cli_option options[] = {
        cli_text("out", &path, "FILE", "one page for all the runs, beside each other")};
    const struct cli_usage usage = {
        .words = "report",
        .synopsis = "RUN... [--out FILE]",
        .about =
            "Write RUN/report.html from the run's ledger: curves, numbers, some responses.\n"
            "`rlhf run` does it at the end; it can be done while a run goes on, too.\n"
            "With --out, put several runs on one page; those that differ in run.seed alone\n"
            "become one line with a band of one standard error.\n",
        .options = options,
        .options_n = sizeof options / sizeof options[0],
        .examples = "  rlhf report runs/demo\n"
                    "  rlhf report runs/par-* runs/plain-* --out compare.html\n",
        .arguments_min = 1,
        .arguments_max = REPORT_GROUPS_RUNS_MAX,
    };
    int first = 0;
    const int parsed = cli_parse(&usage, argc, argv, &first);
    if (parsed != CLI_GO)
        return parsed;
    const size_t runs = (size_t)(argc - first);
    struct err err = {0};
    if (!path && runs > 1)
        return cli_usage_error(&usage, "several runs need --out FILE");
    if (path ? report_compare_write((const char *const *)argv + first, runs, path, &err)
             : report_write(argv[first], &err))
        return cli_fail(&usage, &err);
    if (path)
        printf("%s\n", path);
    else
        printf("%s/report.html\n", argv[first]);
    return 0;
}
