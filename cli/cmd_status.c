/* cmd_status.c -- rlhf status: what a run is doing now; where nobody answers, what it did. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/gate_screen.h"
#include "cli/status_screen.h"
#include "cli/status_source.h"

static void status_put_past(const struct status_past *past, const char *dir, bool json,
                            struct buf *out)
{
    const struct record_step *last = &past->last;
    const struct gate_screen_layout layout = {0, 10};
    char when[32] = "";
    const time_t at = (time_t)(past->at_ms / 1000);
    struct tm utc;
    if (gmtime_r(&at, &utc))
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    if (json) {
        buf_printf(out,
                   "{\"live\": false, \"trained\": %" PRIu64 ", \"epoch\": %" PRIu64
                   ", \"ledger_records\": %" PRIu64 ", \"checkpoint_version\": %" PRIu64,
                   past->summary.steps, past->summary.epochs, past->summary.records,
                   past->summary.checkpoint_version);
        if (past->summary.steps > 0) {
            buf_printf(out, ", \"last\": {\"step\": %" PRIu64 ", \"at\": \"%s\"", last->step,
                       when);
            buf_puts(out, ", \"reward_raw_mean\": ");
            buf_json_number(out, last->reward_raw_mean);
            buf_puts(out, ", \"kl_mean\": ");
            buf_json_number(out, last->kl_mean);
            buf_putc(out, '}');
        }
        buf_puts(out, ", \"gate\": ");
        gate_screen_run(dir, true, layout, out);
        buf_puts(out, "}\n");
        return;
    }
    if (past->summary.steps == 0)
        buf_printf(out, "the ledger has %" PRIu64 " records, and no step yet\n",
                   past->summary.records);
    else
        buf_printf(out,
                   "the ledger's last step is %" PRIu64 ", trained %s: reward raw %.4g, shaped "
                   "%.4g, KL %.4g nats a sequence, then beta %.4g; newest checkpoint: version "
                   "%" PRIu64 "\n",
                   last->step, when, last->reward_raw_mean, last->reward_shaped_mean,
                   last->kl_mean, last->kl_coef_after, past->summary.checkpoint_version);
    gate_screen_run(dir, false, layout, out);
}

/* --- the command -------------------------------------------------------------------------- */

/* ERR_UNAVAILABLE, with what the ledger says in `out`, where nobody answers. */
static enum err_code status_show(const char *target, bool json, struct buf *out,
                                 struct err *err)
{
    struct status_past past = {0};
    struct buf text;
    json_t *status = NULL;
    buf_init(&text, STATUS_BYTES_MAX);
    const enum err_code rc = status_of(target, &past, &text, &status, err);
    if (rc == ERR_OK && json)
        buf_append(out, text.data, text.len);
    else if (rc == ERR_OK)
        status_screen(status, out);
    else if (rc == ERR_UNAVAILABLE && past.summary.records > 0)
        status_put_past(&past, target, json, out);
    json_decref(status);
    buf_release(&text);
    return rc;
}

static const struct cli_usage status_usage = {
    .words = "status",
    .synopsis = "RUN|http://ADDRESS:PORT [options]",
    .about =
        "Shows what a run is doing now: steps, what it waits for, slots by state, the last\n"
        "step's numbers, each worker.  RUN is the run's directory, whose file `http` says\n"
        "where its coordinator answers.  Where nobody answers within 2 s, what the ledger\n"
        "has is shown, and the exit status is 69.\n",
    .examples = "  rlhf status runs/demo\n"
                "  rlhf status http://127.0.0.1:9464 --json\n"
                "  watch -n 1 rlhf status runs/demo\n",
    .arguments_min = 1,
    .arguments_max = 1,
};

int cmd_status(int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {
        cli_flag("json", &json, "the coordinator's JSON as it is"),
    };
    struct cli_usage usage = status_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    int argument = 0;
    const int parsed = cli_parse(&usage, argc, argv, &argument);
    if (parsed != CLI_GO)
        return parsed;

    const char *target = argv[argument];
    if (strncmp(target, "https://", 8) == 0)
        return cli_usage_error(&usage, "a coordinator speaks http://, not https://");
    struct err err = {0};
    struct buf out;
    buf_init(&out, STATUS_BYTES_MAX);
    enum err_code rc = status_show(target, json, &out, &err);
    if (!rc)
        rc = buf_check(&out, "the status", &err);
    printf("%s", out.data);
    fflush(stdout); /* before the sentence, where both go to one place */
    buf_release(&out);
    return rc ? cli_fail(&usage, &err) : 0;
}
