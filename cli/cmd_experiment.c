/* cmd_experiment.c -- rlhf experiment: a grid of runs, resumably, and one report about it. */
#define _DEFAULT_SOURCE /* realpath */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/experiment_grid.h"
#include "cli/experiment_results.h"

#define EXPERIMENT_TEXT_MAX ((size_t)1 << 20)

struct experiment_command_line {
    bool dry_run, report_only, json, document;
    char program[RUN_PATH_MAX];
    struct experiment experiment;
    struct experiment_grid grid;
    struct experiment_results results;
};

static enum err_code experiment_locate(struct experiment_command_line *c, struct err *err)
{
    const ssize_t n = readlink("/proc/self/exe", c->program, sizeof c->program - 1);
    if (n < 0)
        return err_errno(err, "find this program");
    c->program[n] = '\0';
    return ERR_OK;
}

/* --- what would be done ------------------------------------------------------------------- */

static void experiment_plan_json(const struct experiment *e, uint32_t i,
                                 enum experiment_need need, struct buf *out)
{
    const struct experiment_run *run = &e->run[i];
    struct experiment_overrides overrides;
    experiment_overrides(e, run, &overrides);
    buf_printf(out, "{\"run\": \"%s\", \"setting\": \"%s\", \"seed\": %llu, \"state\": \"%s\"",
               run->name, e->setting[run->setting].name, (unsigned long long)run->seed,
               experiment_need_name(need));
    buf_puts(out, ", \"dir\": ");
    buf_json_string(out, run->dir, strlen(run->dir));
    buf_puts(out, ", \"set\": [");
    for (size_t k = 0; k < overrides.n; k++) {
        buf_puts(out, k == 0 ? "" : ", ");
        buf_json_string(out, overrides.text[k], strlen(overrides.text[k]));
    }
    buf_puts(out, "]}\n");
}

static void experiment_plan_text(const struct experiment *e, uint32_t i,
                                 enum experiment_need need, struct buf *out)
{
    const struct experiment_sets *set = &e->setting[e->run[i].setting].set;
    buf_printf(out, "%-24s %-16s", e->run[i].name, experiment_need_name(need));
    for (uint32_t k = 0; k < set->n; k++)
        buf_printf(out, " %s", set->text[k]);
    buf_putc(out, '\n');
}

static enum err_code experiment_plan(const struct experiment_command_line *c, struct err *err)
{
    struct buf out;
    enum err_code rc = ERR_OK;
    buf_init(&out, EXPERIMENT_TEXT_MAX);
    for (uint32_t i = 0; i < c->experiment.runs && rc == ERR_OK; i++) {
        struct experiment_step step;
        rc = experiment_step_next(&c->experiment, &c->experiment.run[i], &step, err);
        if (rc == ERR_OK && c->json)
            experiment_plan_json(&c->experiment, i, step.need, &out);
        else if (rc == ERR_OK)
            experiment_plan_text(&c->experiment, i, step.need, &out);
    }
    if (rc == ERR_OK)
        rc = buf_check(&out, "the grid", err);
    if (rc == ERR_OK)
        fputs(out.data, stdout);
    buf_release(&out);
    return rc;
}

/* --- doing it ----------------------------------------------------------------------------- */

/* DIR/report.html, and the numbers on the screen. */
static enum err_code experiment_report(struct experiment_command_line *c, struct err *err)
{
    char path[RUN_PATH_MAX];
    struct buf table;
    buf_init(&table, EXPERIMENT_TEXT_MAX);
    enum err_code rc = file_join(path, c->experiment.dir, "report.html", err);
    if (rc == ERR_OK)
        rc = experiment_results_load(&c->results, &c->experiment, err);
    if (rc == ERR_OK)
        rc = experiment_results_page(&c->results, path, err);
    if (rc == ERR_OK) {
        experiment_results_write(&c->results, &table);
        rc = buf_check(&table, "the table", err);
    }
    if (rc == ERR_OK && c->json) {
        printf("{\"runs\": %u, \"trained\": %u, \"report\": ", c->experiment.runs,
               c->results.trained);
        buf_clear(&table);
        buf_json_string(&table, path, strlen(path));
        printf("%s}\n", table.data);
    } else if (rc == ERR_OK) {
        printf("%sreport    %s  (%u of %u runs)\n", table.data, path, c->results.trained,
               c->experiment.runs);
    }
    experiment_results_release(&c->results);
    buf_release(&table);
    return rc;
}

/* The exit code of the first that failed. */
static int experiment_status(const struct experiment_grid *grid)
{
    for (uint32_t i = 0; i < grid->experiment->runs; i++) {
        const struct experiment_cell *cell = &grid->cell[i];
        if (cell->state == EXPERIMENT_FAILED)
            return cell->status > 0 && cell->status < 128 ? cell->status : EX_SOFTWARE;
    }
    return grid->signals > 0 ? EX_TEMPFAIL : EX_OK;
}

static enum err_code experiment_carry_out(struct experiment_command_line *c, int *status,
                                          struct err *err)
{
    struct experiment_grid *grid = &c->grid;
    *grid = (struct experiment_grid){.experiment = &c->experiment,
                                     .program = c->program,
                                     .json = c->json,
                                     .live = !c->json && isatty(STDOUT_FILENO)};
    enum err_code rc = experiment_locate(c, err);
    if (rc == ERR_OK)
        rc = experiment_grid_run(grid, err);
    if (rc)
        return rc;
    *status = experiment_status(grid);
    if (grid->count[EXPERIMENT_FAILED] > 0)
        fprintf(stderr, "rlhf experiment: %zu of %u runs failed\n",
                grid->count[EXPERIMENT_FAILED], c->experiment.runs);
    return grid->count[EXPERIMENT_DONE] > 0 && grid->signals == 0 ? experiment_report(c, err)
                                                                  : ERR_OK;
}

static enum err_code experiment_do(struct experiment_command_line *c, const char *path,
                                   int *status, struct err *err)
{
    const enum err_code rc = experiment_load(&c->experiment, path, err);
    if (rc)
        return rc;
    if (c->dry_run)
        return experiment_plan(c, err);
    return c->report_only ? experiment_report(c, err) : experiment_carry_out(c, status, err);
}

/* Overrides are read in the working directory: that of the file, while this runs. */
static enum err_code experiment_do_there(struct experiment_command_line *c, const char *path,
                                         int *status, struct err *err)
{
    char *real = realpath(path, NULL), *slash = real ? strrchr(real, '/') : NULL;
    if (!real)
        return err_errno(err, "open %s", path);
    const int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *slash = '\0';
    enum err_code rc = here >= 0 && chdir(real[0] ? real : "/") == 0
                           ? ERR_OK
                           : err_errno(err, "enter the directory of %s", path);
    *slash = '/';
    if (rc == ERR_OK)
        rc = experiment_do(c, real, status, err);
    if (here >= 0) {
        if (fchdir(here) != 0 && rc == ERR_OK)
            rc = err_errno(err, "come back from the directory of %s", path);
        close(here);
    }
    free(real);
    return rc;
}

static enum err_code experiment_print_document(struct err *err)
{
    struct buf text;
    buf_init(&text, EXPERIMENT_TEXT_MAX);
    experiment_document(&text);
    const enum err_code rc = buf_check(&text, "the keys", err);
    if (rc == ERR_OK)
        fputs(text.data, stdout);
    buf_release(&text);
    return rc;
}

static const struct cli_usage experiment_usage = {
    .words = "experiment",
    .synopsis = "FILE [--dry-run | --report-only] [--json] | --document",
    .about =
        "Carries out the grid of runs that the YAML file describes, each setting with each\n"
        "seed, then evaluates their models, and writes DIR/report.html.  What is complete is\n"
        "not done again: after an interruption, the same command goes on.  A run that fails\n"
        "is reported and the others go on; the exit status is then that of the first one.\n"
        "Exit status 75: interrupted, can be continued.\n",
    .examples = "  rlhf experiment ops/experiments/smoke.yaml --dry-run\n"
                "  rlhf experiment ops/experiments/smoke.yaml\n",
    .arguments_max = 1,
};

int cmd_experiment(int argc, char **argv)
{
    static struct experiment_command_line c; /* too large for a stack */
    c.dry_run = c.report_only = c.json = c.document = false;
    const struct cli_option options[] = {
        cli_flag("dry-run", &c.dry_run, "print the grid and what each run needs; do nothing"),
        cli_flag("report-only", &c.report_only, "write the report of what is complete"),
        cli_flag("json", &c.json, "a JSON line for each run, and one at the end"),
        cli_flag("document", &c.document, "print every key of the file (Markdown)"),
    };
    struct cli_usage usage = experiment_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    int first = 0;
    const int code = cli_parse(&usage, argc, argv, &first);
    if (code != CLI_GO)
        return code;
    if (!c.document && first >= argc)
        return cli_usage_error(&usage, "FILE is missing");

    struct err err = {0};
    int status = EX_OK;
    const enum err_code rc = c.document ? experiment_print_document(&err)
                                        : experiment_do_there(&c, argv[first], &status, &err);
    return rc ? cli_fail(&usage, &err) : status;
}
