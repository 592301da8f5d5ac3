/* shell_http.c -- see shell.h: the pages, and what a person asks for. */
#include "coordinator/shell_state.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

static void shell_on_http(void *arg, const char *path, struct http_reply *reply)
{
    struct shell *shell = arg;
    core_stats(shell->core, &shell->stats);
    if (strcmp(path, "/metrics") == 0) {
        reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
        uint64_t refused[WIRE_REFUSED];
        wire_context_refused(shell->context, refused);
        status_refused(shell->status, refused);
        status_metrics(shell->status, &shell->stats, reply->body);
    } else if (strcmp(path, "/api/v1/status") == 0) {
        reply->content_type = "application/json";
        status_json(shell->status, &shell->stats, reply->body);
    } else if (strcmp(path, "/healthz") == 0) {
        const bool ok =
            status_health(shell->status, &shell->stats, clock_mono_ms(), reply->body);
        reply->status = ok ? 200 : 503;
    } else if (strcmp(path, "/readyz") == 0) {
        reply->status = status_ready(&shell->stats) ? 200 : 503;
        status_ready_text(&shell->stats, reply->body);
    } else {
        reply->status = 404;
        buf_puts(reply->body, "try /metrics, /healthz, /readyz or /api/v1/status\n");
    }
}

/* POST: a person asks.  What is done is told; that it is durable, /api/v1/status tells. */
static void shell_on_post(void *arg, const char *path, struct http_reply *reply)
{
    static const struct {
        const char *path;
        enum core_event_kind kind;
    } asked[] = {{"/api/v1/pause", CORE_EV_PAUSE},
                 {"/api/v1/resume", CORE_EV_RESUME},
                 {"/api/v1/checkpoint", CORE_EV_CHECKPOINT},
                 {"/api/v1/drain", CORE_EV_DRAIN}};
    struct shell *shell = arg;
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        if (strcmp(path, asked[i].path) == 0) {
            log_info("ASKED", "POST %s", path);
            shell_step(shell, shell_event(asked[i].kind));
            core_stats(shell->core, &shell->stats);
            reply->content_type = "application/json";
            status_json(shell->status, &shell->stats, reply->body);
            return;
        }
    reply->status = 404;
    buf_puts(reply->body, "try POST to /api/v1/pause, resume, checkpoint or drain\n");
}

enum err_code shell_open_http(struct shell *shell, const char *listen, struct err *err)
{
    char path[FILE_PATH_MAX], text[RUN_NAME_MAX + 16];
    if (listen[0] == '\0')
        return ERR_OK;
    enum err_code rc = file_join(path, shell->config->dir, "http", err);
    if (rc == ERR_OK && shell->config->token_file[0] != '\0')
        rc = http_token_read(shell->config->token_file, shell->token, err);
    if (rc != ERR_OK)
        return rc;
    shell->http = http_open(&shell->loop, listen, shell_on_http, shell, err);
    if (!shell->http)
        return err->code;
    http_accept_posts(shell->http, shell->token, shell_on_post);
    const char *colon = strrchr(listen, ':');
    snprintf(text, sizeof text, "%.*s:%u\n", colon ? (int)(colon - listen) : 0, listen,
             (unsigned)http_port(shell->http));
    log_info("HTTP", "http://%.*s", (int)strcspn(text, "\n"), text);
    return file_write(path, text, strlen(text), err);
}

/* The port may be another's soon: RUN/http is not to lead there. */
void shell_close_http(struct shell *shell)
{
    char path[FILE_PATH_MAX];
    if (!shell->http)
        return;
    http_close(shell->http);
    if (file_join(path, shell->config->dir, "http", NULL) == ERR_OK)
        unlink(path);
}
