/* cmd_status.c -- rlhf status: what a run is doing now; where nobody answers, what it did. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/gate_screen.h"
#include "cli/status_fetch.h"
#include "cli/status_screen.h"
#include "coordinator/ledger.h"

#define STATUS_BYTES_MAX ((size_t)16 * 1024 * 1024)
#define STATUS_PATH      "/api/v1/status"
#define STATUS_HTTP      "http://"

/* RUN/http: the address the coordinator listens on, as one can connect to it. */
static enum err_code status_address(const char *dir, char address[FILE_PATH_MAX],
                                    struct err *err)
{
    char path[FILE_PATH_MAX];
    struct buf text;
    buf_init(&text, 512);
    enum err_code rc = file_join(path, dir, "http", err);
    if (rc == ERR_OK && !file_exists(path))
        rc = err_set(err, ERR_UNAVAILABLE, "%s is not there: no coordinator serves the run",
                     path);
    if (rc == ERR_OK)
        rc = file_read(path, &text, err);
    if (rc == ERR_OK) {
        text.data[strcspn(text.data, "\n")] = '\0';
        const char *port = strrchr(text.data, ':');
        if (!port)
            rc = err_set(err, ERR_FORMAT, "%s does not hold an address and a port", path);
        else if (port == text.data || strncmp(text.data, "0.0.0.0:", 8) == 0)
            snprintf(address, FILE_PATH_MAX, "127.0.0.1%s", port);
        else if (strncmp(text.data, "[::]:", 5) == 0)
            snprintf(address, FILE_PATH_MAX, "[::1]%s", port);
        else
            snprintf(address, FILE_PATH_MAX, "%s", text.data);
    }
    buf_release(&text);
    return rc;
}

/* "http://127.0.0.1:9464/..." without what stands around the address. */
static void status_address_of_url(const char *url, char address[FILE_PATH_MAX])
{
    const char *from = url + strlen(STATUS_HTTP);
    snprintf(address, FILE_PATH_MAX, "%.*s", (int)strcspn(from, "/?#"), from);
}

static enum err_code status_ask(const char *address, struct buf *text, json_t **status,
                                struct err *err)
{
    const enum err_code rc = status_fetch(address, STATUS_PATH, text, err);
    if (rc)
        return rc;
    *status = json_parse(text->data, text->len, address, err);
    if (!*status)
        return ERR_FORMAT;
    if (!json_is_object(*status))
        return err_set(err, ERR_FORMAT, "%s does not answer as a coordinator does", address);
    return ERR_OK;
}

/* --- nobody answers: the ledger ----------------------------------------------------------- */

struct status_past {
    struct ledger_summary summary;
    uint64_t at_ms; /* of the last step */
    struct record_step last;
};

static enum err_code status_on_step(void *ctx, const struct record *record, struct err *err)
{
    (void)err;
    struct status_past *past = ctx;
    past->at_ms = record->wall_ms;
    past->last = *record->step;
    return ERR_OK;
}

static enum err_code status_read_past(const char *dir, struct status_past *past,
                                      struct err *err)
{
    struct ledger *ledger = NULL;
    enum err_code rc = ledger_open_read(&ledger, dir, err);
    if (rc)
        return rc;
    rc = ledger_summarise(ledger, &past->summary, err);
    if (rc == ERR_OK)
        rc = ledger_each_step(ledger, status_on_step, past, err);
    const enum err_code closed = ledger_close(ledger, rc ? NULL : err);
    return rc ? rc : closed;
}

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

/* Another run may have been given the port that this one once had. */
static enum err_code status_check_run(const json_t *status, const struct status_past *past,
                                      const char *address, struct err *err)
{
    char hex[HASH_HEX_BYTES];
    hash_hex(&past->summary.config_hash, hex);
    const char *told = json_string_value(json_object_get(status, "config_hash"));
    if (told && strcmp(told, hex) != 0)
        return err_set(err, ERR_UNAVAILABLE, "another run answers at %s", address);
    return ERR_OK;
}

/* --- the command -------------------------------------------------------------------------- */

/* ERR_UNAVAILABLE, with what the ledger says in `out`, where nobody answers. */
static enum err_code status_of_dir(const char *dir, bool json, struct buf *out, struct err *err)
{
    char address[FILE_PATH_MAX];
    struct status_past past = {0};
    struct buf text;
    json_t *status = NULL;
    buf_init(&text, STATUS_BYTES_MAX);
    enum err_code rc = status_read_past(dir, &past, err);
    if (rc)
        goto out;
    rc = status_address(dir, address, err);
    if (rc == ERR_OK)
        rc = status_ask(address, &text, &status, err);
    if (rc == ERR_OK)
        rc = status_check_run(status, &past, address, err);
    if (rc == ERR_OK && json)
        buf_append(out, text.data, text.len);
    else if (rc == ERR_OK)
        status_screen(status, out);
    else if (rc == ERR_UNAVAILABLE)
        status_put_past(&past, dir, json, out);
out:
    json_decref(status);
    buf_release(&text);
    return rc;
}

static enum err_code status_of_url(const char *url, bool json, struct buf *out, struct err *err)
{
    char address[FILE_PATH_MAX];
    struct buf text;
    json_t *status = NULL;
    buf_init(&text, STATUS_BYTES_MAX);
    status_address_of_url(url, address);
    const enum err_code rc = status_ask(address, &text, &status, err);
    if (rc == ERR_OK && json)
        buf_append(out, text.data, text.len);
    else if (rc == ERR_OK)
        status_screen(status, out);
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
    enum err_code rc = strncmp(target, STATUS_HTTP, strlen(STATUS_HTTP)) == 0
                           ? status_of_url(target, json, &out, &err)
                           : status_of_dir(target, json, &out, &err);
    if (!rc)
        rc = buf_check(&out, "the status", &err);
    printf("%s", out.data);
    fflush(stdout); /* before the sentence, where both go to one place */
    buf_release(&out);
    return rc ? cli_fail(&usage, &err) : 0;
}
