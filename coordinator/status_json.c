/* status_json.c -- the status as JSON, and a finished step's line of progress: see status.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/status_state.h"

#define STATUS_ETA_STEPS 8.0 /* the mean duration forgets older steps with this constant */

static void status_json_text(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, "\"%s\":", key);
    buf_json_string(out, text, strlen(text));
}

static void status_json_number(struct buf *out, const char *key, double value)
{
    buf_printf(out, ",\"%s\":", key);
    buf_json_number(out, value);
}

static void status_json_count(struct buf *out, const char *key, uint64_t value)
{
    buf_printf(out, ",\"%s\":%llu", key, (unsigned long long)value);
}

static void status_json_dropped(struct buf *out, const uint64_t *dropped)
{
    buf_puts(out, ",\"dropped\":{");
    for (int r = 1; r < RECORD_REASONS; r++)
        buf_printf(out, "%s\"%s\":%llu", r > 1 ? "," : "",
                   record_reason_name((enum record_reason)r), (unsigned long long)dropped[r]);
    buf_puts(out, "}");
}

/* "PREFIX.SCORER" */
static void status_json_scorer(const struct status *status, const char *prefix, uint32_t s,
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
static void status_json_step(const struct status *status, const struct record_step *step,
                             struct buf *out)
{
    buf_printf(out, "\"step\":%llu", (unsigned long long)step->step);
    status_json_count(out, "version", step->version);
    status_json_count(out, "behaviour_version", step->behaviour_version);
    status_json_count(out, "checkpoint_version", step->checkpoint_version);
    status_json_count(out, "trained", step->trained);
    uint64_t dropped = 0;
    for (int r = 0; r < RECORD_REASONS; r++)
        dropped += step->dropped[r];
    status_json_count(out, "dropped", dropped);
    status_json_count(out, "truncated", step->truncated);
    status_json_count(out, "prompt_tokens", step->prompt_tokens);
    status_json_count(out, "response_tokens", step->response_tokens);
    status_json_number(out, "reward_raw_mean", step->reward_raw_mean);
    status_json_number(out, "reward_raw_std", step->reward_raw_std);
    status_json_number(out, "reward_shaped_mean", step->reward_shaped_mean);
    if (status->config->kl_reference_every > 0)
        status_json_count(out, "kl_reference_version", step->kl_reference_version);
    status_json_number(out, "kl_mean", step->kl_mean);
    status_json_number(out, "kl_coef", step->kl_coef_before);
    status_json_number(out, "kl_coef_after", step->kl_coef_after);
    if (run_config_has_role(status->config, RUN_ROLE_COST)) {
        status_json_number(out, "cost_raw_mean", step->cost_raw_mean);
        status_json_number(out, "cost_limit", step->cost_limit);
        status_json_number(out, "multiplier_before", step->multiplier_before);
        status_json_number(out, "multiplier_after", step->multiplier_after);
    }
    if (step->worst_group > 0) {
        buf_putc(out, ',');
        status_json_text(out, "worst_group",
                         status->config->scorer[step->worst_group - 1].name);
    }
    status_json_count(out, "duration_ms", step->duration_ms);
    for (uint32_t s = 0; s < status->config->scorers; s++) {
        status_json_scorer(status, "score", s, step->score_mean[s], out);
        if (status->config->scorer[s].role == RUN_ROLE_MONITOR)
            status_json_scorer(status, "missing", s, step->score_missing[s], out);
    }
    for (uint32_t i = 0; i < step->stats_n; i++) {
        buf_putc(out, ',');
        buf_json_string(out, step->stats[i].name, strlen(step->stats[i].name));
        buf_putc(out, ':');
        buf_json_number(out, step->stats[i].value);
    }
}

/* Of each monitor, how many trained slots it has no score of. */
static void status_json_monitors(const struct status *status, const struct core_stats *stats,
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

static void status_json_weights(const struct wire_weights *weights, struct buf *out)
{
    const char *comma = "";
    buf_puts(out, ",\"weights\":{");
#define X(name)                                                                        \
    buf_printf(out, "%s\"%s\":%llu", comma, #name, (unsigned long long)weights->name); \
    comma = ",";
    WIRE_WEIGHTS_MAP(X)
#undef X
    buf_putc(out, '}');
}

static void status_json_peer(const struct core_peer_stats *peer, struct buf *out)
{
    buf_putc(out, '{');
    status_json_text(out, "name", peer->name);
    buf_putc(out, ',');
    status_json_text(out, "role", wire_role_name(peer->role));
    buf_putc(out, ',');
    status_json_text(out, "state", core_peer_state_name(peer->state));
    status_json_count(out, "pid", peer->pid);
    status_json_count(out, "seen_age_ms", peer->seen_age_ms);
    status_json_count(out, "progress_age_ms", peer->progress_age_ms);
    status_json_count(out, "capacity", peer->capacity);
    status_json_count(out, "in_flight", peer->in_flight);
    status_json_count(out, "items_done", peer->items_done);
    status_json_count(out, "leases_expired", peer->leases_expired);
    status_json_count(out, "leases_failed", peer->leases_failed);
    status_json_count(out, "outrun", peer->outrun);
    status_json_count(out, "mismatches", peer->mismatches);
    status_json_count(out, "lease_age_ms", peer->lease_age_ms);
    status_json_weights(&peer->weights, out);
    if (peer->role == WIRE_ROLE_LEARNER)
        status_json_count(out, "version", peer->version);
    if (peer->failure[0] != '\0') {
        buf_putc(out, ',');
        status_json_text(out, "failure", peer->failure);
        status_json_count(out, "failure_age_ms", peer->failure_age_ms);
    }
    buf_putc(out, '}');
}

/* What tripped it last, and where the run went back to; null where neither was. */
static void status_json_breaker(const struct core_stats *stats, struct buf *out)
{
    buf_printf(out, ",\"breaker\":{\"cooling\":%s", stats->breaker_cooling ? "true" : "false");
    status_json_count(out, "trips", stats->breaker_trips);
    buf_puts(out, ",\"last\":");
    if (stats->trip_signal) {
        buf_putc(out, '{');
        status_json_text(out, "signal", stats->trip_signal);
        buf_putc(out, ',');
        status_json_text(out, "limit", stats->trip_limit);
        status_json_number(out, "value", stats->trip_value);
        buf_putc(out, '}');
    } else {
        buf_puts(out, "null");
    }
    buf_puts(out, ",\"rollback\":");
    if (stats->has_rollback) {
        buf_printf(out, "{\"rollbacks\":%llu", (unsigned long long)stats->rollbacks);
        status_json_count(out, "base", stats->rollback_base);
        status_json_count(out, "target", stats->rollback_target);
        status_json_number(out, "lr_scale", stats->lr_scale);
        status_json_number(out, "beta_scale", stats->beta_scale);
        buf_puts(out, "}}");
    } else {
        buf_puts(out, "null}");
    }
}

/* What numbers above are to be held against. */
/* Scorers that are services outside. */
static uint32_t status_json_services(const struct run_config *config)
{
    uint32_t n = 0;
    for (uint32_t s = 0; s < config->scorers; s++)
        n += config->scorer[s].kind == RUN_SCORER_HTTP;
    return n;
}

static void status_json_settings(const struct status *status, struct buf *out)
{
    const struct run_config *config = status->config;
    buf_printf(out, ",\"timeouts\":{\"heartbeat_ms\":%u", (unsigned)config->heartbeat_ms);
    status_json_count(out, "dead_ms", config->dead_ms);
    status_json_count(out, "lease_ms", config->lease_ms);
    status_json_count(out, "stall_ms", config->stall_ms);
    buf_printf(out, "},\"workers\":{\"learner\":%u", (unsigned)config->learners);
    status_json_count(out, "actor", config->actors);
    status_json_count(out, "reward", config->rewards);
    buf_putc(out, '}');
    status_json_count(out, "services", status_json_services(config));
}

/* What the run is, and what it waits for. */
static void status_json_run(const struct status *status, const struct core_stats *stats,
                            struct buf *out)
{
    char hex[HASH_HEX_BYTES];
    struct hash hash;
    run_config_hash(status->config, &hash);
    hash_hex(&hash, hex);
    status_json_text(out, "run", status->config->name);
    buf_printf(out, ",\"config_hash\":\"%s\",", hex);
    status_json_text(out, "program", RLHF_VERSION);
    buf_putc(out, ',');
    status_json_text(out, "wait", core_wait_name(stats->wait));
    buf_putc(out, ',');
    status_json_text(out, "waits_for", stats->waits_for);
}

/* How far it is, and how fast. */
static void status_json_advance(const struct status *status, const struct core_stats *stats,
                                struct buf *out)
{
    status_json_count(out, "step_age_ms", stats->step_age_ms);
    status_json_number(out, "step_ms", status->step_ms);
    status_json_count(out, "epoch", stats->epoch);
    status_json_count(out, "steps", stats->steps);
    status_json_count(out, "trained", stats->trained);
    status_json_count(out, "checkpoint_version", stats->checkpoint_version);
    status_json_count(out, "ledger_records", stats->seq);
    status_json_count(out, "ledger_durable", stats->durable_seq);
    status_json_number(out, "kl_coef", stats->kl_coef);
    status_json_number(out, "multiplier", stats->multiplier);
    status_json_number(out, "logp_diff_max", stats->logp_diff_max);
    status_json_number(out, "eta_s",
                       status->step_ms * (double)(stats->steps - stats->trained) / 1000.0);
    status_json_count(out, "leases_out", stats->leases_out);
    status_json_count(out, "peers_forgotten", stats->forgotten.names);
    buf_printf(out, ",\"paused\":%s,\"draining\":%s,\"checkpoint_asked\":%s,\"ready\":%s",
               stats->paused ? "true" : "false", stats->draining ? "true" : "false",
               stats->checkpoint_asked ? "true" : "false",
               status_ready(stats) ? "true" : "false");
}

/* Where slots and references are. */
static void status_json_items(const struct core_stats *stats, struct buf *out)
{
    buf_printf(out, ",\"slots\":{\"planned\":%llu", (unsigned long long)stats->planned);
    status_json_count(out, "waiting", stats->waiting);
    status_json_count(out, "leased", stats->leased);
    status_json_count(out, "generated", stats->generated);
    status_json_count(out, "scored", stats->scored);
    status_json_count(out, "shaped", stats->shaped);
    status_json_count(out, "trained", stats->trained_slots);
    status_json_dropped(out, stats->dropped);
    buf_printf(out, "},\"references\":{\"planned\":%llu",
               (unsigned long long)stats->references_planned);
    status_json_count(out, "scored", stats->references_scored);
    status_json_count(out, "dropped", stats->references_dropped);
    buf_putc(out, '}');
}

static void status_json_counters(const struct core_stats *stats, struct buf *out)
{
    buf_printf(out, ",\"counters\":{\"response_tokens\":%llu",
               (unsigned long long)stats->tokens_response);
    status_json_count(out, "duplicates", stats->duplicates);
    status_json_count(out, "mismatches", stats->mismatches);
    status_json_count(out, "late", stats->late);
    status_json_count(out, "refused", stats->refused);
    status_json_count(out, "leases_expired", stats->leases_expired);
    status_json_count(out, "leases_failed", stats->leases_failed);
    status_json_count(out, "leases_second", stats->leases_second);
    status_json_count(out, "second_won", stats->second_won);
    status_json_count(out, "score_retries", stats->score_retries);
    status_json_count(out, "resets", stats->resets);
    status_json_count(out, "bad_messages", stats->bad_messages);
    status_json_count(out, "retrained", stats->retrained);
    status_json_count(out, "recalled", stats->recalled);
    buf_putc(out, '}');
}

static void status_json_peers(const struct core_stats *stats, struct buf *out)
{
    buf_puts(out, ",\"peers\":[");
    for (uint32_t i = 0; i < stats->peers; i++) {
        if (i > 0)
            buf_putc(out, ',');
        status_json_peer(&stats->peer[i], out);
    }
    buf_putc(out, ']');
}

/* The last step that is over; null before the first. */
static void status_json_last(const struct status *status, const struct core_stats *stats,
                             struct buf *out)
{
    buf_puts(out, ",\"last\":");
    if (!stats->has_last) {
        buf_puts(out, "null");
        return;
    }
    buf_putc(out, '{');
    status_json_step(status, &stats->last, out);
    buf_putc(out, '}');
}

void status_json(struct status *status, const struct core_stats *stats, struct buf *out)
{
    buf_putc(out, '{');
    status_json_run(status, stats, out);
    status_json_advance(status, stats, out);
    status_json_items(stats, out);
    status_json_monitors(status, stats, out);
    buf_puts(out, ",\"gate\":");
    status_gate_json(status, out);
    status_json_settings(status, out);
    if (stats->has_breaker)
        status_json_breaker(stats, out);
    status_json_counters(stats, out);
    status_json_peers(stats, out);
    status_json_last(status, stats, out);
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
    status_json_step(status, step, out);
    status_json_count(out, "steps", steps);
    status_json_number(out, "tokens_per_s",
                       ms > 0.0 ? (double)step->response_tokens / ms * 1000.0 : (double)NAN);
    status_json_number(out, "eta_s",
                       status->step_ms * (double)(steps - step->version) / 1000.0);
    buf_puts(out, "}\n");
}
