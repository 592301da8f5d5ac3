/* status.c -- see status.h. */
#include "coordinator/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_ETA_STEPS 8.0 /* the mean duration forgets older steps with this constant */

struct status {
    const struct run_config *config;
    struct metrics *metrics;
    double step_ms; /* a step's duration, smoothed; 0: none yet */
};

struct status *status_new(const struct run_config *config)
{
    struct status *status = calloc(1, sizeof *status);
    if (!status)
        return NULL;
    status->config = config;
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
    metrics_free(status->metrics);
    free(status);
}

bool status_ready(const struct core_stats *stats)
{
    bool live[4] = {false};
    for (uint32_t i = 0; i < stats->peers; i++)
        if (stats->peer[i].state == CORE_PEER_LIVE)
            live[stats->peer[i].role] = true;
    return stats->started && !stats->finished && live[WIRE_ROLE_ACTOR] &&
           live[WIRE_ROLE_REWARD] && live[WIRE_ROLE_LEARNER];
}

/* --- metrics ------------------------------------------------------------------------------ */

static void status_gauge(struct status *status, const char *name, const char *help,
                         const char *label, const char *value, double number)
{
    metric_set(metrics_gauge(status->metrics, name, help, label, value), number);
}

/* A counter whose sum is kept elsewhere. */
static void status_counter(struct status *status, const char *name, const char *help,
                           const char *label, const char *value, double sum)
{
    struct metric *metric = metrics_counter(status->metrics, name, help, label, value);
    const double more = sum - metric_value(metric);
    metric_add(metric, more > 0.0 ? more : 0.0);
}

static void status_metrics_slots(struct status *status, const struct core_stats *stats)
{
    const struct {
        const char *state;
        uint64_t n;
    } states[] = {
        {"waiting", stats->waiting},     {"leased", stats->leased},
        {"generated", stats->generated}, {"scored", stats->scored},
        {"shaped", stats->shaped},       {"trained", stats->trained_slots},
    };
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        status_gauge(status, "rlhfd_slots", "Slots of the run by state", "state",
                     states[i].state, (double)states[i].n);
    status_gauge(status, "rlhfd_slots_planned", "Slots of all steps opened so far", NULL, NULL,
                 (double)stats->planned);
    for (int r = 1; r < RECORD_REASONS; r++)
        status_counter(status, "rlhfd_slots_dropped_total", "Slots not trained on, by reason",
                       "reason", record_reason_name((enum record_reason)r),
                       (double)stats->dropped[r]);
    status_gauge(status, "rlhfd_references_planned", "Reference responses asked for", NULL,
                 NULL, (double)stats->references_planned);
    status_gauge(status, "rlhfd_references_scored", "Reference responses with a score", NULL,
                 NULL, (double)stats->references_scored);
}

static void status_metrics_counts(struct status *status, const struct core_stats *stats)
{
    const struct {
        const char *name, *help;
        uint64_t n;
    } counts[] = {
        {"rlhfd_response_tokens_total", "Response tokens accepted", stats->tokens_response},
        {"rlhfd_prompt_tokens_total", "Prompt tokens of rollouts accepted",
         stats->tokens_prompt},
        {"rlhfd_duplicates_total", "Results for an item that had one, with equal bits",
         stats->duplicates},
        {"rlhfd_mismatches_total", "Results for an item that had one, with other bits",
         stats->mismatches},
        {"rlhfd_late_results_total", "Results that nothing waited for", stats->late},
        {"rlhfd_refused_results_total", "Results with a wrong version or impossible numbers",
         stats->refused},
        {"rlhfd_leases_expired_total", "Leases not answered in time", stats->leases_expired},
        {"rlhfd_leases_failed_total", "Leases given back by workers", stats->leases_failed},
        {"rlhfd_score_retries_total", "Scorings that failed", stats->score_retries},
        {"rlhfd_sessions_total", "Sessions opened", stats->sessions},
        {"rlhfd_resets_total", "RESET messages sent", stats->resets},
        {"rlhfd_bad_messages_total", "Messages that were none", stats->bad_messages},
        {"rlhfd_retrained_steps_total", "Steps computed again by a restarted learner",
         stats->retrained},
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        status_counter(status, counts[i].name, counts[i].help, NULL, NULL, (double)counts[i].n);
    status_gauge(status, "rlhfd_leases", "Leases out now", NULL, NULL,
                 (double)stats->leases_out);
}

static void status_metrics_step(struct status *status, const struct core_stats *stats)
{
    const struct record_step *last = &stats->last;
    status_gauge(status, "rlhfd_step_reward_raw_mean", "Mean raw reward of the last step", NULL,
                 NULL, last->reward_raw_mean);
    status_gauge(status, "rlhfd_step_reward_shaped_mean", "Mean shaped reward of the last step",
                 NULL, NULL, last->reward_shaped_mean);
    status_gauge(status, "rlhfd_step_kl_nats", "Mean KL of the last step, nats a sequence",
                 NULL, NULL, last->kl_mean);
    status_gauge(status, "rlhfd_step_duration_seconds", "Duration of the last step", NULL, NULL,
                 (double)last->duration_ms / 1000.0);
    for (uint32_t s = 0; s < status->config->scorers; s++)
        status_gauge(status, "rlhfd_step_score_mean", "Mean score of the last step, by scorer",
                     "scorer", status->config->scorer[s].name, last->score_mean[s]);
    for (uint32_t i = 0; i < last->stats_n; i++)
        status_gauge(status, "rlhfd_learner_stat", "The learner's statistics of the last step",
                     "stat", last->stats[i].name, last->stats[i].value);
}

static void status_metrics_peers(struct status *status, const struct core_stats *stats)
{
    for (uint32_t i = 0; i < stats->peers; i++) {
        const struct core_peer_stats *peer = &stats->peer[i];
        status_gauge(status, "rlhfd_peer_up", "1 where the worker is live", "peer", peer->name,
                     peer->state == CORE_PEER_LIVE ? 1.0 : 0.0);
        status_gauge(status, "rlhfd_peer_seen_age_seconds", "Since the worker's last message",
                     "peer", peer->name, (double)peer->seen_age_ms / 1000.0);
        status_gauge(status, "rlhfd_peer_in_flight", "Items leased to the worker", "peer",
                     peer->name, (double)peer->in_flight);
        status_counter(status, "rlhfd_peer_items_total", "Items accepted from the worker",
                       "peer", peer->name, (double)peer->items_done);
        status_counter(status, "rlhfd_peer_mismatches_total",
                       "Rollouts that differed from another worker's", "peer", peer->name,
                       (double)peer->mismatches);
    }
}

void status_metrics(struct status *status, const struct core_stats *stats, struct buf *out)
{
    status_gauge(status, "rlhfd_epoch", "How often the coordinator has started", NULL, NULL,
                 (double)stats->epoch);
    status_gauge(status, "rlhfd_steps", "Steps of the run", NULL, NULL, (double)stats->steps);
    status_gauge(status, "rlhfd_steps_trained", "Steps trained: the policy's version", NULL,
                 NULL, (double)stats->trained);
    status_gauge(status, "rlhfd_checkpoint_version", "Newest durable checkpoint", NULL, NULL,
                 (double)stats->checkpoint_version);
    status_gauge(status, "rlhfd_ledger_records", "Records written", NULL, NULL,
                 (double)stats->seq);
    status_gauge(status, "rlhfd_ledger_pending", "Records not durable yet", NULL, NULL,
                 (double)(stats->seq - stats->durable_seq));
    status_gauge(status, "rlhfd_kl_coef", "KL coefficient beta of the next step", NULL, NULL,
                 stats->kl_coef);
    status_gauge(status, "rlhfd_logp_diff_max",
                 "Greatest difference of the actor's and the learner's log-prob", NULL, NULL,
                 stats->logp_diff_max);
    status_gauge(status, "rlhfd_paused", "1 while the run is paused", NULL, NULL,
                 stats->paused ? 1.0 : 0.0);
    status_metrics_slots(status, stats);
    status_metrics_counts(status, stats);
    if (stats->has_last)
        status_metrics_step(status, stats);
    status_metrics_peers(status, stats);
    metrics_render(status->metrics, out);
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
    status_number(out, "kl_mean", step->kl_mean);
    status_number(out, "kl_coef", step->kl_coef_before);
    status_number(out, "kl_coef_after", step->kl_coef_after);
    status_count(out, "duration_ms", step->duration_ms);
    for (uint32_t s = 0; s < status->config->scorers; s++) {
        buf_putc(out, ',');
        char key[RUN_NAME_MAX + 8];
        snprintf(key, sizeof key, "score.%s", status->config->scorer[s].name);
        buf_json_string(out, key, strlen(key));
        buf_putc(out, ':');
        buf_json_number(out, step->score_mean[s]);
    }
    for (uint32_t i = 0; i < step->stats_n; i++) {
        buf_putc(out, ',');
        buf_json_string(out, step->stats[i].name, strlen(step->stats[i].name));
        buf_putc(out, ':');
        buf_json_number(out, step->stats[i].value);
    }
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
    status_count(out, "mismatches", peer->mismatches);
    if (peer->role == WIRE_ROLE_LEARNER)
        status_count(out, "version", peer->version);
    buf_putc(out, '}');
}

void status_json(const struct status *status, const struct core_stats *stats, struct buf *out)
{
    buf_putc(out, '{');
    status_text(out, "run", status->config->name);
    buf_putc(out, ',');
    status_text(out, "waits_for", stats->waits_for);
    status_count(out, "epoch", stats->epoch);
    status_count(out, "steps", stats->steps);
    status_count(out, "trained", stats->trained);
    status_count(out, "checkpoint_version", stats->checkpoint_version);
    status_count(out, "ledger_records", stats->seq);
    status_count(out, "ledger_pending", stats->seq - stats->durable_seq);
    status_number(out, "kl_coef", stats->kl_coef);
    status_number(out, "logp_diff_max", stats->logp_diff_max);
    status_number(out, "eta_s",
                  status->step_ms * (double)(stats->steps - stats->trained) / 1000.0);
    buf_printf(out, ",\"paused\":%s,\"draining\":%s,\"ready\":%s",
               stats->paused ? "true" : "false", stats->draining ? "true" : "false",
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
    buf_printf(out, "},\"counters\":{\"response_tokens\":%llu",
               (unsigned long long)stats->tokens_response);
    status_count(out, "duplicates", stats->duplicates);
    status_count(out, "mismatches", stats->mismatches);
    status_count(out, "late", stats->late);
    status_count(out, "refused", stats->refused);
    status_count(out, "leases_expired", stats->leases_expired);
    status_count(out, "leases_failed", stats->leases_failed);
    status_count(out, "score_retries", stats->score_retries);
    status_count(out, "resets", stats->resets);
    status_count(out, "bad_messages", stats->bad_messages);
    status_count(out, "retrained", stats->retrained);
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
