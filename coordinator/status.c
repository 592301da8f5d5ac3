/* status.c -- a status, and health: see status.h. */
#include "coordinator/status_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_STUCK_MS 10000 /* a disk that takes longer to sync is as good as none */

struct status *status_new(const struct run_config *config)
{
    struct status *status = calloc(1, sizeof *status);
    if (!status)
        return NULL;
    status->config = config;
    status->gate.published_version = NAN;
    status->metrics = metrics_new();
    if (!status->metrics) {
        free(status);
        return NULL;
    }
    return status;
}

void status_free(struct status *status)
{
    if (!status)
        return;
    gate_record_release(&status->gate);
    metrics_free(status->metrics);
    free(status);
}

static uint32_t status_live(const struct core_stats *stats, enum wire_role role)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < stats->peers; i++)
        n += stats->peer[i].role == role && stats->peer[i].state == CORE_PEER_LIVE;
    return n;
}

bool status_ready(const struct core_stats *stats)
{
    return stats->started && !stats->finished && !stats->draining &&
           status_live(stats, WIRE_ROLE_LEARNER) > 0 &&
           status_live(stats, WIRE_ROLE_REWARD) > 0 && status_live(stats, WIRE_ROLE_ACTOR) > 0;
}

static void status_check(struct buf *out, const char *name, bool ok, const char *why)
{
    buf_printf(out, "%-4s %-8s %s\n", ok ? "ok" : "FAIL", name, why);
}

void status_ready_text(const struct core_stats *stats, struct buf *out)
{
    const enum wire_role roles[] = {WIRE_ROLE_LEARNER, WIRE_ROLE_REWARD, WIRE_ROLE_ACTOR};
    buf_puts(out, status_ready(stats) ? "ready\n" : "not ready\n");
    /* Without these two nothing would answer here. */
    status_check(out, "config", true, "loaded");
    status_check(out, "sockets", true, "bound");
    status_check(out, "ledger", stats->started,
                 stats->started ? "recovered" : "the start is not durable yet");
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        const uint32_t n = status_live(stats, roles[i]);
        char why[32];
        snprintf(why, sizeof why, "%u live, 1 needed", (unsigned)n);
        status_check(out, wire_role_name(roles[i]), n > 0, why);
    }
    const bool ends = stats->draining || stats->finished;
    status_check(out, "running", !ends,
                 stats->finished ? "finished"
                 : ends          ? "draining"
                                 : "not draining");
    buf_printf(out, "waits for %s\n", stats->waits_for);
}

bool status_health(struct status *status, const struct core_stats *stats, uint64_t now_ms,
                   struct buf *out)
{
    const bool waiting = stats->seq > stats->durable_seq;
    if (!waiting || !status->waiting || status->wait_seq != stats->durable_seq) {
        status->wait_ms = now_ms;
        status->wait_seq = stats->durable_seq;
    }
    status->waiting = waiting;
    const uint64_t stuck_ms = now_ms - status->wait_ms;
    const bool ok = stuck_ms < STATUS_STUCK_MS;
    if (ok)
        buf_puts(out, "ok\n");
    else
        buf_printf(out, "ledger: %llu records wait for the disk, none got there for %llu s\n",
                   (unsigned long long)(stats->seq - stats->durable_seq),
                   (unsigned long long)(stuck_ms / 1000));
    return ok;
}
