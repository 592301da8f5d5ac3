/* status_source.c -- see status_source.h. */
#include "cli/status_source.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/status_fetch.h"

#define STATUS_PATH "/api/v1/status"
#define STATUS_HTTP "http://"

/* RUN/http: the address the coordinator listens on, as one can connect to it. */
static enum err_code status_address_of_dir(const char *dir, char address[FILE_PATH_MAX],
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

bool status_is_url(const char *target)
{
    return strncmp(target, STATUS_HTTP, strlen(STATUS_HTTP)) == 0;
}

enum err_code status_address(const char *target, char address[FILE_PATH_MAX], struct err *err)
{
    if (strncmp(target, "https://", 8) == 0)
        return err_set(err, ERR_USAGE, "a coordinator speaks http://, not https://");
    if (!status_is_url(target))
        return status_address_of_dir(target, address, err);
    status_address_of_url(target, address);
    return ERR_OK;
}

static enum err_code status_parse(const char *address, const struct buf *text, json_t **status,
                                  struct err *err)
{
    *status = json_parse(text->data, text->len, address, err);
    if (!*status)
        return ERR_FORMAT;
    if (!json_is_object(*status))
        return err_set(err, ERR_FORMAT, "%s does not answer as a coordinator does", address);
    return ERR_OK;
}

enum err_code status_ask(const char *address, struct buf *text, json_t **status,
                         struct err *err)
{
    struct buf own;
    buf_init(&own, STATUS_BYTES_MAX);
    struct buf *to = text ? text : &own;
    *status = NULL;
    enum err_code rc = status_fetch(address, STATUS_PATH, to, err);
    if (rc == ERR_OK)
        rc = status_parse(address, to, status, err);
    buf_release(&own);
    return rc;
}

/* --- nobody answers: the ledger ----------------------------------------------------------- */

static enum err_code status_on_step(void *ctx, const struct record *record, struct err *err)
{
    (void)err;
    struct status_past *past = ctx;
    past->at_ms = record->wall_ms;
    past->last = *record->step;
    return ERR_OK;
}

enum err_code status_read_past(const char *dir, struct status_past *past, struct err *err)
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

/* The run's configuration, and of a caller that wants it what the ledger knows besides. */
static enum err_code status_read_hash(const char *dir, struct status_past *past,
                                      struct hash *hash, struct err *err)
{
    struct ledger *ledger = NULL;
    enum err_code rc;
    if (past) {
        rc = status_read_past(dir, past, err);
        *hash = past->summary.config_hash;
        return rc;
    }
    rc = ledger_open_read(&ledger, dir, err);
    if (rc)
        return rc;
    rc = ledger_config_hash(ledger, hash, err);
    const enum err_code closed = ledger_close(ledger, rc ? NULL : err);
    return rc ? rc : closed;
}

enum err_code status_check_run(const json_t *status, const struct hash *config_hash,
                               const char *address, struct err *err)
{
    char hex[HASH_HEX_BYTES];
    hash_hex(config_hash, hex);
    const char *told = json_string_value(json_object_get(status, "config_hash"));
    if (told && strcmp(told, hex) != 0)
        return err_set(err, ERR_UNAVAILABLE, "another run answers at %s", address);
    return ERR_OK;
}

enum err_code status_of(const char *target, struct status_past *past, struct buf *text,
                        json_t **status, struct err *err)
{
    struct hash hash;
    char address[FILE_PATH_MAX];
    const bool dir = !status_is_url(target);
    enum err_code rc = ERR_OK;
    *status = NULL;
    if (dir && strncmp(target, "https://", 8) != 0)
        rc = status_read_hash(target, past, &hash, err);
    if (rc == ERR_OK)
        rc = status_address(target, address, err);
    if (rc == ERR_OK)
        rc = status_ask(address, text, status, err);
    if (rc == ERR_OK && dir)
        rc = status_check_run(*status, &hash, address, err);
    return rc;
}
