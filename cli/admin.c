/* admin.c -- see admin.h. */
#include "cli/admin.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/status_fetch.h"
#include "cli/status_source.h"
#include "node/run_config.h"

#define ADMIN_POLL_MS   100
#define ADMIN_TIMEOUT_S 600

/* endpoints.token_file of RUN/config.yaml; "" where there is none, or no such file. */
static enum err_code admin_token_of_dir(const char *dir, char path[FILE_PATH_MAX],
                                        struct err *err)
{
    static struct run_config config; /* too large for a stack */
    char yaml[FILE_PATH_MAX];
    path[0] = '\0';
    enum err_code rc = file_join(yaml, dir, "config.yaml", err);
    if (rc == ERR_OK && file_exists(yaml)) {
        rc = run_config_load(&config, yaml, NULL, 0, err);
        if (rc == ERR_OK)
            snprintf(path, FILE_PATH_MAX, "%s", config.token_file);
    }
    return rc;
}

static enum err_code admin_find(struct admin *admin, const char *token_file, struct err *err)
{
    char path[FILE_PATH_MAX] = "";
    json_t *status = NULL;
    enum err_code rc = status_of(admin->target, NULL, NULL, &status, err);
    json_decref(status);
    if (rc == ERR_OK)
        rc = status_address(admin->target, admin->address, err);
    if (rc == ERR_OK && !token_file && !status_is_url(admin->target))
        rc = admin_token_of_dir(admin->target, path, err);
    if (rc == ERR_OK && (token_file || path[0] != '\0'))
        rc = http_token_read(token_file ? token_file : path, admin->token, err);
    return rc;
}

int admin_begin(struct admin *admin, const struct cli_usage *about, int argc, char **argv)
{
    const char *token_file = NULL;
    uint64_t timeout_s = ADMIN_TIMEOUT_S;
    const struct cli_option options[] = {
        cli_text("token-file", &token_file, "FILE",
                 "its first line is the token; default: endpoints.token_file of RUN"),
        cli_count("timeout", &timeout_s, "S", 1, 1e6, "seconds to wait until it is so"),
    };
    struct cli_usage usage = *about;
    usage.synopsis = "RUN|http://ADDRESS:PORT [options]";
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    usage.arguments_min = usage.arguments_max = 1;
    int argument = 0;
    const int code = cli_parse(&usage, argc, argv, &argument);
    if (code != CLI_GO)
        return code;
    struct err err = {0};
    *admin = (struct admin){.target = argv[argument],
                            .deadline_ms = clock_mono_ms() + timeout_s * 1000};
    return admin_find(admin, token_file, &err) == ERR_OK ? CLI_GO : cli_fail(about, &err);
}

enum err_code admin_ask(const struct admin *admin, const char *word, json_t **status,
                        struct err *err)
{
    char path[64];
    struct buf text;
    buf_init(&text, STATUS_BYTES_MAX);
    *status = NULL;
    snprintf(path, sizeof path, "/api/v1/%.40s", word);
    enum err_code rc = status_post(admin->address, path, admin->token, &text, err);
    if (rc == ERR_OK && !(*status = json_parse(text.data, text.len, admin->address, err)))
        rc = ERR_FORMAT;
    buf_release(&text);
    return rc;
}

uint64_t admin_count(const json_t *status, const char *key)
{
    const json_int_t value = json_integer_value(json_object_get(status, key));
    return value > 0 ? (uint64_t)value : 0;
}

bool admin_is_durable(const json_t *status, uint64_t records)
{
    return admin_count(status, "ledger_durable") >= records;
}

enum err_code admin_late(const struct admin *admin, const json_t *status, struct err *err)
{
    if (clock_mono_ms() < admin->deadline_ms)
        return ERR_OK;
    const char *waits = json_string_value(json_object_get(status, "waits_for"));
    return err_set(err, ERR_TIMEOUT, "it is not so yet: the run waits for %s",
                   waits ? waits : "its coordinator");
}

void admin_nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = ADMIN_POLL_MS * 1000000L}, NULL);
}

/* Its status again and again, each in *status in place of the one before. */
static enum err_code admin_wait(const struct admin *admin,
                                bool (*done)(const json_t *status, uint64_t records),
                                json_t **status, struct err *err)
{
    const uint64_t records = admin_count(*status, "ledger_records");
    enum err_code rc = ERR_OK;
    while (!done(*status, records)) {
        rc = admin_late(admin, *status, err);
        if (rc != ERR_OK)
            break;
        admin_nap();
        json_decref(*status);
        rc = status_of(admin->target, NULL, NULL, status, err);
        if (rc != ERR_OK)
            break;
    }
    return rc;
}

int admin_command(const struct cli_usage *usage, int argc, char **argv,
                  bool (*done)(const json_t *status, uint64_t records),
                  void (*say)(const json_t *status))
{
    struct admin admin;
    struct err err = {0};
    json_t *status = NULL;
    const int code = admin_begin(&admin, usage, argc, argv);
    if (code != CLI_GO)
        return code;
    enum err_code rc = admin_ask(&admin, usage->words, &status, &err);
    if (rc == ERR_OK)
        rc = admin_wait(&admin, done, &status, &err);
    if (rc == ERR_OK)
        say(status);
    json_decref(status);
    return rc == ERR_OK ? 0 : cli_fail(usage, &err);
}
