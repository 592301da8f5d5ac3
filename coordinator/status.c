/* status.c -- see status.h. */
#include "coordinator/status_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_ETA_STEPS 8.0   /* the mean duration forgets older steps with this constant */
#define STATUS_STUCK_MS  10000 /* a disk that takes longer to sync is as good as none */

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

/* --- health ------------------------------------------------------------------------------- */

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

/* --- JSON --------------------------------------------------------------------------------- */

static void status_text(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, "\"%s\":", key);
    buf_json_string(out, text, strlen(text));
}

static void status_number(struct buf *out, const char *key, double value)
{
    buf_printf(out, ",\"%s\":", key);
    buf_json_number(out, value);
}

static void status_count(struct buf *out, const char *key, uint64_t value)
{
    buf_printf(out, ",\"%s\":%llu", key, (unsigned long long)value);
}

static void status_dropped(struct buf *out, const uint64_t *dropped)
{
    buf_puts(out, ",\"dropped\":{");
    for (int r = 1; r < RECORD_REASONS; r++)
        buf_printf(out, "%s\"%s\":%llu", r > 1 ? "," : "",
                   record_reason_name((enum record_reason)r), (unsigned long long)dropped[r]);
    buf_puts(out, "}");
}

/* "PREFIX.SCORER" */
static void status_scorer(const struct status *status, const char *prefix, uint32_t s,
                          double value, struct buf *out)
{
    char key[RUN_NAME_MAX + 16];
    snprintf(key, sizeof key, "%s.%s", prefix, status->config->scorer[s].name);
    buf_putc(out, ',');
    buf_json_string(out, key, strlen(key));
    buf_putc(out, ':');
    buf_json_number(out, value);
}

/* The members of a step's object, without its braces. */
static void status_step(const struct status *status, const struct record_step *step,
                        struct buf *out)
{
    buf_printf(out, "\"step\":%llu", (unsigned long long)step->step);
    status_count(out, "version", step->version);
    status_count(out, "behaviour_version", step->behaviour_version);
    status_count(out, "checkpoint_version", step->checkpoint_version);
    status_count(out, "trained", step->trained);
    uint64_t dropped = 0;
    for (int r = 0; r < RECORD_REASONS; r++)
        dropped += step->dropped[r];
    status_count(out, "dropped", dropped);
    status_count(out, "truncated", step->truncated);
    status_count(out, "prompt_tokens", step->prompt_tokens);
    status_count(out, "response_tokens", step->response_tokens);
    status_number(out, "reward_raw_mean", step->reward_raw_mean);
    status_number(out, "reward_raw_std", step->reward_raw_std);
    status_number(out, "reward_shaped_mean", step->reward_shaped_mean);
    if (status->config->kl_reference_every > 0)
        status_count(out, "kl_reference_version", step->kl_reference_version);
    status_number(out, "kl_mean", step->kl_mean);
    status_number(out, "kl_coef", step->kl_coef_before);
    status_number(out, "kl_coef_after", step->kl_coef_after);
    if (run_config_has_role(status->config, RUN_ROLE_COST)) {
        status_number(out, "cost_raw_mean", step->cost_raw_mean);
        status_number(out, "cost_limit", step->cost_limit);
        status_number(out, "multiplier_before", step->multiplier_before);
        status_number(out, "multiplier_after", step->multiplier_after);
    }
    if (step->worst_group > 0) {
        buf_putc(out, ',');
        status_text(out, "worst_group", status->config->scorer[step->worst_group - 1].name);
    }
    status_count(out, "duration_ms", step->duration_ms);
    for (uint32_t s = 0; s < status->config->scorers; s++) {
        status_scorer(status, "score", s, step->score_mean[s], out);
        if (status->config->scorer[s].role == RUN_ROLE_MONITOR)
            status_scorer(status, "missing", s, step->score_missing[s], out);
    }
    for (uint32_t i = 0; i < step->stats_n; i++) {
        buf_putc(out, ',');
        buf_json_string(out, step->stats[i].name, strlen(step->stats[i].name));
        buf_putc(out, ':');
        buf_json_number(out, step->stats[i].value);
    }
}

/* Of each monitor, how many trained slots it has no score of. */
static void status_monitors(const struct status *status, const struct core_stats *stats,
                            struct buf *out)
{
    const char *comma = "";
    buf_puts(out, ",\"monitors\":{");
    for (uint32_t s = 0; s < status->config->scorers; s++) {
        const char *name = status->config->scorer[s].name;
        if (status->config->scorer[s].role != RUN_ROLE_MONITOR)
            continue;
        buf_puts(out, comma);
        buf_json_string(out, name, strlen(name));
        buf_printf(out, ":{\"missing\":%llu}", (unsigned long long)stats->score_missing[s]);
        comma = ",";
    }
    buf_putc(out, '}');
}

static void status_peer(const struct core_peer_stats *peer, struct buf *out)
{
    buf_putc(out, '{');
    status_text(out, "name", peer->name);
    buf_putc(out, ',');
    status_text(out, "role", wire_role_name(peer->role));
    buf_putc(out, ',');
    status_text(out, "state", core_peer_state_name(peer->state));
    status_count(out, "pid", peer->pid);
    status_count(out, "seen_age_ms", peer->seen_age_ms);
    status_count(out, "progress_age_ms", peer->progress_age_ms);
    status_count(out, "capacity", peer->capacity);
    status_count(out, "in_flight", peer->in_flight);
    status_count(out, "items_done", peer->items_done);
    status_count(out, "leases_expired", peer->leases_expired);
    status_count(out, "leases_failed", peer->leases_failed);
    status_count(out, "outrun", peer->outrun);
    status_count(out, "mismatches", peer->mismatches);
    status_count(out, "lease_age_ms", peer->lease_age_ms);
    if (peer->role == WIRE_ROLE_LEARNER)
        status_count(out, "version", peer->version);
    if (peer->failure[0] != '\0') {
        buf_putc(out, ',');
        status_text(out, "failure", peer->failure);
        status_count(out, "failure_age_ms", peer->failure_age_ms);
    }
    buf_putc(out, '}');
}

/* What tripped it last, and where the run went back to; null where neither was. */
static void status_breaker(const struct core_stats *stats, struct buf *out)
{
    buf_printf(out, ",\"breaker\":{\"cooling\":%s", stats->breaker_cooling ? "true" : "false");
    status_count(out, "trips", stats->breaker_trips);
    buf_puts(out, ",\"last\":");
    if (stats->trip_signal) {
        buf_putc(out, '{');
        status_text(out, "signal", stats->trip_signal);
        buf_putc(out, ',');
        status_text(out, "limit", stats->trip_limit);
        status_number(out, "value", stats->trip_value);
        buf_putc(out, '}');
    } else {
        buf_puts(out, "null");
    }
    buf_puts(out, ",\"rollback\":");
    if (stats->has_rollback) {
        buf_printf(out, "{\"rollbacks\":%llu", (unsigned long long)stats->rollbacks);
        status_count(out, "base", stats->rollback_base);
        status_count(out, "target", stats->rollback_target);
        status_number(out, "lr_scale", stats->lr_scale);
        status_number(out, "beta_scale", stats->beta_scale);
        buf_puts(out, "}}");
    } else {
        buf_puts(out, "null}");
    }
}

/* What numbers above are to be held against. */
static void status_settings(const struct status *status, struct buf *out)
{
    const struct run_config *config = status->config;
    buf_printf(out, ",\"timeouts\":{\"heartbeat_ms\":%u", (unsigned)config->heartbeat_ms);
    status_count(out, "dead_ms", config->dead_ms);
    status_count(out, "lease_ms", config->lease_ms);
    status_count(out, "stall_ms", config->stall_ms);
    buf_printf(out, "},\"workers\":{\"learner\":%u", (unsigned)config->learners);
    status_count(out, "actor", config->actors);
    status_count(out, "reward", config->rewards);
    buf_putc(out, '}');
}

void status_json(struct status *status, const struct core_stats *stats, struct buf *out)
{
    buf_putc(out, '{');
    char hex[HASH_HEX_BYTES];
    struct hash hash;
    run_config_hash(status->config, &hash);
    hash_hex(&hash, hex);
    status_text(out, "run", status->config->name);
    buf_printf(out, ",\"config_hash\":\"%s\",", hex);
    status_text(out, "program", RLHF_VERSION);
    buf_putc(out, ',');
    status_text(out, "wait", core_wait_name(stats->wait));
    buf_putc(out, ',');
    status_text(out, "waits_for", stats->waits_for);
    status_count(out, "step_age_ms", stats->step_age_ms);
    status_number(out, "step_ms", status->step_ms);
    status_count(out, "epoch", stats->epoch);
    status_count(out, "steps", stats->steps);
    status_count(out, "trained", stats->trained);
    status_count(out, "checkpoint_version", stats->checkpoint_version);
    status_count(out, "ledger_records", stats->seq);
    status_count(out, "ledger_durable", stats->durable_seq);
    status_number(out, "kl_coef", stats->kl_coef);
    status_number(out, "multiplier", stats->multiplier);
    status_number(out, "logp_diff_max", stats->logp_diff_max);
    status_number(out, "eta_s",
                  status->step_ms * (double)(stats->steps - stats->trained) / 1000.0);
    status_count(out, "leases_out", stats->leases_out);
    status_count(out, "peers_forgotten", stats->forgotten.names);
    buf_printf(out, ",\"paused\":%s,\"draining\":%s,\"checkpoint_asked\":%s,\"ready\":%s",
               stats->paused ? "true" : "false", stats->draining ? "true" : "false",
               stats->checkpoint_asked ? "true" : "false",
               status_ready(stats) ? "true" : "false");
    buf_printf(out, ",\"slots\":{\"planned\":%llu", (unsigned long long)stats->planned);
    status_count(out, "waiting", stats->waiting);
    status_count(out, "leased", stats->leased);
    status_count(out, "generated", stats->generated);
    status_count(out, "scored", stats->scored);
    status_count(out, "shaped", stats->shaped);
    status_count(out, "trained", stats->trained_slots);
    status_dropped(out, stats->dropped);
    buf_printf(out, "},\"references\":{\"planned\":%llu",
               (unsigned long long)stats->references_planned);
    status_count(out, "scored", stats->references_scored);
    status_count(out, "dropped", stats->references_dropped);
    buf_putc(out, '}');
    status_monitors(status, stats, out);
    buf_puts(out, ",\"gate\":");
    status_gate_json(status, out);
    status_settings(status, out);
    if (stats->has_breaker)
        status_breaker(stats, out);
    buf_printf(out, ",\"counters\":{\"response_tokens\":%llu",
               (unsigned long long)stats->tokens_response);
    status_count(out, "duplicates", stats->duplicates);
    status_count(out, "mismatches", stats->mismatches);
    status_count(out, "late", stats->late);
    status_count(out, "refused", stats->refused);
    status_count(out, "leases_expired", stats->leases_expired);
    status_count(out, "leases_failed", stats->leases_failed);
    status_count(out, "leases_second", stats->leases_second);
    status_count(out, "second_won", stats->second_won);
    status_count(out, "score_retries", stats->score_retries);
    status_count(out, "resets", stats->resets);
    status_count(out, "bad_messages", stats->bad_messages);
    status_count(out, "retrained", stats->retrained);
    status_count(out, "recalled", stats->recalled);
    buf_puts(out, "},\"peers\":[");
    for (uint32_t i = 0; i < stats->peers; i++) {
        if (i > 0)
            buf_putc(out, ',');
        status_peer(&stats->peer[i], out);
    }
    buf_puts(out, "],\"last\":");
    if (stats->has_last) {
        buf_putc(out, '{');
        status_step(status, &stats->last, out);
        buf_putc(out, '}');
    } else {
        buf_puts(out, "null");
    }
    buf_puts(out, "}\n");
}

void status_progress(struct status *status, const struct record_step *step, struct buf *out)
{
    const double ms = (double)step->duration_ms;
    const uint64_t steps = status->config->steps;
    status->step_ms = status->step_ms > 0.0
                          ? status->step_ms + (ms - status->step_ms) / STATUS_ETA_STEPS
                          : ms;
    buf_putc(out, '{');
    status_step(status, step, out);
    status_count(out, "steps", steps);
    status_number(out, "tokens_per_s",
                  ms > 0.0 ? (double)step->response_tokens / ms * 1000.0 : (double)NAN);
    status_number(out, "eta_s", status->step_ms * (double)(steps - step->version) / 1000.0);
    buf_puts(out, "}\n");
}
