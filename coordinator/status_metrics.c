/* status_metrics.c -- see status.h: /metrics.  docs/OPERATIONS.md says what each one means and
 * what to do when it moves; a name changed here is to be changed there. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/status_state.h"

static void status_gauge(struct status *status, const char *name, const char *help,
                         const char *label, const char *value, double number)
{
    metric_set(metrics_gauge(status->metrics, name, help, label, value), number);
}

static void status_plain(struct status *status, const char *name, const char *help,
                         double number)
{
    status_gauge(status, name, help, NULL, NULL, number);
}

/* A counter whose sum is kept elsewhere. */
static void status_counter(struct status *status, const char *name, const char *help,
                           const char *label, const char *value, double sum)
{
    struct metric *metric = metrics_counter(status->metrics, name, help, label, value);
    const double more = sum - metric_value(metric);
    metric_add(metric, more > 0.0 ? more : 0.0);
}

static void status_metrics_kl(struct status *status, const struct core_stats *stats)
{
    const struct run_config *config = status->config;
    status_plain(status, "rlhfd_kl_coef",
                 "KL coefficient beta of the next step, reward per nat", stats->kl_coef);
    if (config->kl_reference_every > 0)
        status_plain(status, "rlhfd_kl_reference_version",
                     "The version that the KL of the last step was measured from; 0: the "
                     "reference of the run's beginning",
                     (double)stats->last.kl_reference_version);
    if (config->kl_controller == RUN_KL_CONTROLLER_FIXED)
        return;
    const bool smoothed = isfinite(stats->kl_smoothed);
    if (config->kl_target_token > 0.0) {
        status_plain(status, "rlhfd_kl_target_nats_per_token",
                     "What the KL controller steers to, nats a token", config->kl_target_token);
        status_plain(status, "rlhfd_kl_measured_nats_per_token",
                     "What the KL controller measured last, nats a token", stats->kl_last);
        if (smoothed)
            status_plain(status, "rlhfd_kl_smoothed_nats_per_token",
                         "The same, smoothed over the steps", stats->kl_smoothed);
    } else {
        status_plain(status, "rlhfd_kl_target_nats",
                     "What the KL controller steers to, nats a sequence", config->kl_target);
        if (smoothed)
            status_plain(status, "rlhfd_kl_smoothed_nats",
                         "KL from the reference, nats a sequence, smoothed over the steps",
                         stats->kl_smoothed);
    }
    if (config->kl_controller == RUN_KL_CONTROLLER_PID)
        status_plain(status, "rlhfd_kl_pid_integral",
                     "The KL coefficient by pid's integral part alone, reward per nat",
                     stats->kl_integral);
}

/* The last trip's limit is the label: gauges of others are of earlier trips. */
static void status_metrics_breaker(struct status *status, const struct core_stats *stats)
{
    if (stats->trip_signal) {
        char cause[64];
        snprintf(cause, sizeof cause, "%s %s", stats->trip_signal, stats->trip_limit);
        status_gauge(
            status, "rlhfd_breaker_trip_value",
            "What was measured where the limit of the label last tripped the breaker; 0 "
            "where it was not finite",
            "limit", cause, stats->trip_value);
    }
    if (!stats->has_rollback)
        return;
    status_counter(status, "rlhfd_rollbacks_total",
                   "How often this run went back to an older version, over all starts", NULL,
                   NULL, (double)stats->rollbacks);
    status_plain(status, "rlhfd_rollback_base_version",
                 "The version that the last rollback went back to",
                 (double)stats->rollback_base);
    status_plain(status, "rlhfd_rollback_target_version",
                 "The version that a rollback would go back to now",
                 (double)stats->rollback_target);
    status_plain(status, "rlhfd_breaker_lr_scale",
                 "Factor of the learning rates since rollbacks; 1 when the breaker is closed",
                 stats->lr_scale);
    status_plain(status, "rlhfd_breaker_beta_scale",
                 "Factor of beta since rollbacks; 1 when the breaker is closed",
                 stats->beta_scale);
}

/* A chain may have two of one kind: the label has the place too. */
static void status_metrics_shapers(struct status *status, const struct core_stats *stats)
{
    for (uint32_t i = 0; i < stats->shapers; i++) {
        const struct core_shaper_stats *shaper = &stats->shaper[i];
        const struct {
            const char *name, *help;
            double value;
        } gauges[] = {
            {"rlhfd_shaper_mean", "Mean of the rewards a shaper has seen", shaper->mean},
            {"rlhfd_shaper_std", "Standard deviation of the rewards a shaper has seen",
             shaper->std},
            {"rlhfd_shaper_min", "Least reward a shaper has seen", shaper->min},
            {"rlhfd_shaper_max", "Greatest reward a shaper has seen", shaper->max},
        };
        char label[64];
        snprintf(label, sizeof label, "%u %s", (unsigned)i, shaper->name);
        for (size_t g = 0; g < sizeof gauges / sizeof gauges[0]; g++)
            status_gauge(status, gauges[g].name, gauges[g].help, "shaper", label,
                         gauges[g].value);
    }
}

static void status_metrics_run(struct status *status, const struct core_stats *stats)
{
    const struct run_config *config = status->config;
    status_gauge(status, "rlhfd_build_info", "1; the label says which version this is",
                 "version", RLHF_VERSION, 1.0);
    status_plain(status, "rlhfd_epoch", "How often the coordinator of this run has started",
                 (double)stats->epoch);
    status_plain(status, "rlhfd_steps_planned", "Steps of the whole run", (double)stats->steps);
    status_counter(status, "rlhfd_steps_trained_total",
                   "Steps trained, over all starts: the policy's version", NULL, NULL,
                   (double)stats->trained);
    status_plain(status, "rlhfd_checkpoint_version",
                 "Version of the policy in the newest durable checkpoint",
                 (double)stats->checkpoint_version);
    status_plain(status, "rlhfd_ledger_seq", "Number of the last record appended",
                 (double)stats->seq);
    status_plain(status, "rlhfd_ledger_durable_seq",
                 "Number of the last record that survives a power cut",
                 (double)stats->durable_seq);
    status_metrics_kl(status, stats);
    status_metrics_shapers(status, stats);
    if (run_config_has_cost(config))
        status_plain(status, "rlhfd_multiplier",
                     "Lagrange multiplier lambda of the last step, cost against reward",
                     stats->multiplier);
    if (config->safety_controller == RUN_SAFETY_CONTROLLER_PID)
        status_plain(status, "rlhfd_multiplier_pid_integral", "Integral part of lambda",
                     stats->multiplier_integral);
    if (config->safety_gate_samples > 0)
        status_plain(status, "rlhfd_cost_bound",
                     "Bound on the mean cost that moves the multiplier; NaN before there is one",
                     stats->cost_bound);
    if (stats->has_breaker) {
        status_counter(status, "rlhfd_breaker_trips_total",
                       "How often the breaker has tripped in this run, over all starts", NULL,
                       NULL, (double)stats->breaker_trips);
        status_plain(status, "rlhfd_breaker_cooling",
                     "1 from a trip until breaker.cooldown steps broke no limit",
                     stats->breaker_cooling ? 1.0 : 0.0);
        status_metrics_breaker(status, stats);
    }
    status_plain(status, "rlhfd_logp_diff_max_nats",
                 "Greatest difference of the actor's and the learner's log-prob of a token "
                 "since the coordinator's start, nats; NaN before the first step",
                 stats->logp_diff_max);
    status_plain(status, "rlhfd_ready", "1 where /readyz answers 200",
                 status_ready(stats) ? 1.0 : 0.0);
    status_plain(status, "rlhfd_paused", "1 while the run is paused", stats->paused ? 1 : 0);
    status_plain(status, "rlhfd_draining", "1 while the run comes to its end",
                 stats->draining ? 1 : 0);
}

static void status_metrics_slots(struct status *status, const struct core_stats *stats)
{
    uint64_t dropped = 0;
    for (int r = 0; r < RECORD_REASONS; r++)
        dropped += stats->dropped[r];
    const struct {
        const char *state;
        uint64_t n;
    } states[] = {
        {"waiting", stats->waiting},
        {"leased", stats->leased},
        {"generated", stats->generated},
        {"scored", stats->scored},
        {"shaped", stats->shaped},
        {"trained", stats->trained_slots},
        {"dropped", dropped},
    };
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        status_gauge(status, "rlhfd_slots",
                     "Slots (samples) of the run by state; they add up to rlhfd_slots_planned",
                     "state", states[i].state, (double)states[i].n);
    status_plain(status, "rlhfd_slots_planned", "Slots of all steps opened so far",
                 (double)stats->planned);
    for (int r = 1; r < RECORD_REASONS; r++)
        status_counter(status, "rlhfd_slots_dropped_total", "Slots not trained on, by reason",
                       "reason", record_reason_name((enum record_reason)r),
                       (double)stats->dropped[r]);
    status_plain(status, "rlhfd_references_planned", "Reference responses asked for",
                 (double)stats->references_planned);
    status_plain(status, "rlhfd_references_scored", "Reference responses with a score",
                 (double)stats->references_scored);
    status_plain(status, "rlhfd_references_dropped", "Reference responses given up",
                 (double)stats->references_dropped);
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
        {"rlhfd_leases_second_total", "Leases of what another worker was slow with",
         stats->leases_second},
        {"rlhfd_second_won_total", "Items whose second lease was answered first",
         stats->second_won},
        {"rlhfd_score_retries_total", "Scorings that failed and are tried again",
         stats->score_retries},
        {"rlhfd_sessions_total", "Sessions opened by workers", stats->sessions},
        {"rlhfd_resets_total", "RESET messages sent", stats->resets},
        {"rlhfd_bad_messages_total", "Messages that were none", stats->bad_messages},
        {"rlhfd_retrained_steps_total", "Steps computed again by a restarted learner",
         stats->retrained},
        {"rlhfd_recalled_steps_total", "Steps read from the ledger for a learner further back",
         stats->recalled},
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        status_counter(status, counts[i].name, counts[i].help, NULL, NULL, (double)counts[i].n);
    status_plain(status, "rlhfd_leases_outstanding", "Leases out now",
                 (double)stats->leases_out);
}

/* --- the last step ------------------------------------------------------------------------ */

/* What the learner calls it, and what it is called here. */
static const struct status_stat {
    const char *stat, *name, *help;
} status_stats[] = {
    {"entropy", "rlhfd_step_entropy_nats", "Entropy of the policy, mean over tokens, nats"},
    {"clip_fraction", "rlhfd_step_clip_ratio",
     "Share of tokens whose policy gradient a clip cut off"},
    {"value_clip_fraction", "rlhfd_step_value_clip_ratio",
     "Share of tokens whose value gradient the clip cut off"},
    {"approx_kl", "rlhfd_step_update_kl_nats",
     "KL of the policy after the step's updates from the one before, k3, nats a token"},
    {"ratio", "rlhfd_step_probability_ratio",
     "New over old probability of a token, mean over tokens"},
    {"policy_loss", "rlhfd_step_policy_loss", "Policy loss"},
    {"value_loss", "rlhfd_step_value_loss", "Critic loss, without its coefficient"},
    {"kl_loss", "rlhfd_step_kl_loss_nats", "KL to the reference in the loss, nats"},
    {"explained_variance", "rlhfd_step_explained_variance_ratio",
     "Share of the returns' variance that the critic explains; below 0: worse than their mean"},
    {"grad_norm", "rlhfd_step_grad_norm", "Global norm of the policy's gradient, before clip"},
    {"critic_grad_norm", "rlhfd_step_critic_grad_norm",
     "Global norm of the critic's gradient, before clip"},
    {"advantage_mean", "rlhfd_step_advantage_mean",
     "Mean advantage of a token, rewards less costs, before whitening"},
    {"reward_advantage_mean", "rlhfd_step_reward_advantage_mean",
     "Mean advantage of a token by its rewards alone"},
    {"cost_advantage_mean", "rlhfd_step_cost_advantage_mean",
     "Mean advantage of a token by its costs alone: above 0 is worse than expected"},
    {"cost_value_loss", "rlhfd_step_cost_value_loss",
     "Cost critic's loss, without its coefficient"},
    {"cost_value_clip_fraction", "rlhfd_step_cost_value_clip_ratio",
     "Share of tokens whose value gradient of costs the clip cut off"},
    {"cost_explained_variance", "rlhfd_step_cost_explained_variance_ratio",
     "Share of the cost returns' variance that the cost critic explains"},
    {"cost_critic_grad_norm", "rlhfd_step_cost_critic_grad_norm",
     "Global norm of the cost critic's gradient, before clip"},
    {"lr", "rlhfd_step_learning_rate", "Learning rate of the policy"},
    {"updates", "rlhfd_step_updates", "Optimizer updates of the step"},
    {"logp_diff_max", "rlhfd_step_logp_diff_nats",
     "Greatest difference of the actor's and the learner's log-prob of a token, nats"},
};

static void status_metrics_stat(struct status *status, const struct wire_stat *stat)
{
    for (size_t i = 0; i < sizeof status_stats / sizeof status_stats[0]; i++)
        if (strcmp(stat->name, status_stats[i].stat) == 0) {
            status_plain(status, status_stats[i].name, status_stats[i].help, stat->value);
            return;
        }
    status_gauge(status, "rlhfd_learner_stat", "Other statistics of the learner's last step",
                 "stat", stat->name, stat->value);
}

static void status_metrics_cost(struct status *status, const struct record_step *last)
{
    if (!run_config_has_role(status->config, RUN_ROLE_COST))
        return;
    status_plain(status, "rlhfd_step_cost_mean", "Mean cost of the last step's responses",
                 last->cost_raw_mean);
    status_plain(status, "rlhfd_cost_limit", "What the mean cost is to stay at or below",
                 last->cost_limit);
}

static void status_metrics_monitors(struct status *status, const struct core_stats *stats)
{
    for (uint32_t s = 0; s < status->config->scorers; s++)
        if (status->config->scorer[s].role == RUN_ROLE_MONITOR)
            status_counter(status, "rlhfd_monitor_failures_total",
                           "Trained slots that a monitor has no score of, by scorer", "scorer",
                           status->config->scorer[s].name, (double)stats->score_missing[s]);
}

/* Its mean is rlhfd_step_reward_raw_mean. */
static void status_metrics_groups(struct status *status, const struct record_step *last)
{
    for (uint32_t s = 0; s < status->config->scorers && last->worst_group > 0; s++)
        if (status->config->scorer[s].role == RUN_ROLE_REWARD)
            status_gauge(status, "rlhfd_step_worst_group",
                         "1 where the last step trained on this scorer, that of the group of "
                         "users it served worst; else 0",
                         "scorer", status->config->scorer[s].name, s + 1 == last->worst_group);
}

static void status_metrics_step(struct status *status, const struct core_stats *stats)
{
    const struct record_step *last = &stats->last;
    const double trained = last->trained > 0 ? (double)last->trained : (double)NAN;
    status_plain(status, "rlhfd_step_reward_raw_mean", "Mean raw reward of the last step",
                 last->reward_raw_mean);
    status_plain(status, "rlhfd_step_reward_raw_std",
                 "Standard deviation of the raw reward over the last step's slots",
                 last->reward_raw_std);
    status_plain(status, "rlhfd_step_reward_shaped_mean", "Mean shaped reward of the last step",
                 last->reward_shaped_mean);
    status_plain(status, "rlhfd_step_kl_nats",
                 "Mean KL from the reference of the last step, k1, nats a sequence",
                 last->kl_mean);
    status_plain(status, "rlhfd_step_response_tokens", "Mean length of a response, tokens",
                 (double)last->response_tokens / trained);
    status_plain(status, "rlhfd_step_truncated_ratio",
                 "Share of responses cut at sampling.max_new_tokens",
                 (double)last->truncated / trained);
    status_plain(status, "rlhfd_step_duration_seconds", "Duration of the last step, seconds",
                 (double)last->duration_ms / 1000.0);
    status_metrics_cost(status, last);
    for (uint32_t s = 0; s < status->config->scorers; s++)
        status_gauge(status, "rlhfd_step_score_mean", "Mean score of the last step, by scorer",
                     "scorer", status->config->scorer[s].name, last->score_mean[s]);
    status_metrics_groups(status, last);
    for (uint32_t i = 0; i < last->stats_n; i++)
        status_metrics_stat(status, &last->stats[i]);
}

/* --- workers ------------------------------------------------------------------------------ */

/* Every state of every role is there from the start, so that an alert may ask for 0. */
static void status_metrics_roles(struct status *status, const struct core_stats *stats)
{
    static const struct {
        enum wire_role role;
        const char *name, *help;
    } roles[] = {
        {WIRE_ROLE_ACTOR, "rlhfd_peers_actor", "Actors known, by state"},
        {WIRE_ROLE_REWARD, "rlhfd_peers_reward", "Reward workers known, by state"},
        {WIRE_ROLE_LEARNER, "rlhfd_peers_learner", "Learners known, by state"},
    };
    static const enum core_peer_state states[] = {CORE_PEER_LIVE, CORE_PEER_SUSPECT,
                                                  CORE_PEER_GONE};
    for (size_t r = 0; r < sizeof roles / sizeof roles[0]; r++)
        for (size_t s = 0; s < sizeof states / sizeof states[0]; s++) {
            uint32_t n = 0;
            for (uint32_t i = 0; i < stats->peers; i++)
                n += stats->peer[i].role == roles[r].role && stats->peer[i].state == states[s];
            status_gauge(status, roles[r].name, roles[r].help, "state",
                         core_peer_state_name(states[s]), (double)n);
        }
}

static void status_metrics_peer_gauges(struct status *status,
                                       const struct core_peer_stats *peer)
{
    const struct {
        const char *name, *help;
        double value;
    } gauges[] = {
        {"rlhfd_peer_up", "1 where the worker is live", peer->state == CORE_PEER_LIVE},
        {"rlhfd_peer_seen_age_seconds", "Since the worker's last message, seconds",
         (double)peer->seen_age_ms / 1000.0},
        {"rlhfd_peer_progress_age_seconds",
         "Since the worker last got on with its work, seconds",
         (double)peer->progress_age_ms / 1000.0},
        {"rlhfd_peer_in_flight", "Items leased to the worker", (double)peer->in_flight},
    };
    for (size_t g = 0; g < sizeof gauges / sizeof gauges[0]; g++)
        status_gauge(status, gauges[g].name, gauges[g].help, "peer", peer->name,
                     gauges[g].value);
}

static void status_metrics_peer_counts(struct status *status,
                                       const struct core_peer_stats *peer)
{
    const struct {
        const char *name, *help;
        uint64_t n;
    } counts[] = {
        {"rlhfd_peer_items_total", "Items accepted from the worker", peer->items_done},
        {"rlhfd_peer_leases_expired_total", "Leases that the worker did not answer in time",
         peer->leases_expired},
        {"rlhfd_peer_leases_failed_total", "Leases that the worker gave back",
         peer->leases_failed},
        {"rlhfd_peer_outrun_total", "Items of the worker that another answered first",
         peer->outrun},
        {"rlhfd_peer_mismatches_total", "Rollouts that differed from another worker's",
         peer->mismatches},
    };
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
        status_counter(status, counts[c].name, counts[c].help, "peer", peer->name,
                       (double)counts[c].n);
}

static bool status_has_weights(const struct wire_weights *weights)
{
    return weights->sent_bytes + weights->wasted_bytes + weights->refused + weights->fetches >
           0;
}

/* Of a worker that has not told of any yet there are no series: a coordinator that was restarted
 * would else seem to have begun at 0. */
static void status_metrics_weights(struct status *status, const char *peer,
                                   const struct wire_weights *weights)
{
    const struct {
        const char *name, *help;
        uint64_t n;
    } counts[] = {
        {"rlhfd_weights_sent_bytes_total", "Bytes of weights that the worker sent to others",
         weights->sent_bytes},
        {"rlhfd_weights_server_bytes_total", "Bytes of weights that came from the learner",
         weights->server_bytes},
        {"rlhfd_weights_relay_bytes_total", "Bytes of weights that came from other actors",
         weights->relay_bytes},
        {"rlhfd_weights_saved_bytes_total",
         "Bytes of weights that did not travel, as differences came", weights->saved_bytes},
        {"rlhfd_weights_mapped_bytes_total",
         "Bytes of weights that did not travel, as they are in shared memory",
         weights->mapped_bytes},
        {"rlhfd_weights_wasted_bytes_total",
         "Bytes of weights that came wrong, twice, or for a fetch that failed",
         weights->wasted_bytes},
        {"rlhfd_weights_refused_chunks_total",
         "Chunks of weights that were not what their hash says", weights->refused},
        {"rlhfd_weights_fetches_total", "Versions of the weights that the worker has had",
         weights->fetches},
    };
    if (!status_has_weights(weights))
        return;
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
        status_counter(status, counts[c].name, counts[c].help, "peer", peer,
                       (double)counts[c].n);
}

/* Series of names that made room for others end; their sums are those of one name. */
static void status_metrics_peers(struct status *status, const struct core_stats *stats)
{
    for (uint32_t i = 0; i < stats->peers; i++) {
        status_metrics_peer_gauges(status, &stats->peer[i]);
        status_metrics_peer_counts(status, &stats->peer[i]);
        status_metrics_weights(status, stats->peer[i].name, &stats->peer[i].weights);
        if (stats->peer[i].weights.fetches > 0)
            status_gauge(status, "rlhfd_weights_fetch_seconds",
                         "Median of the worker's last 32 fetches of weights, seconds", "peer",
                         stats->peer[i].name, (double)stats->peer[i].weights.fetch_ms / 1000.0);
    }
    status_counter(status, "rlhfd_peers_forgotten_total",
                   "Names of workers that made room for others", NULL, NULL,
                   (double)stats->forgotten.names);
    const struct core_peer_stats others = {.name = "(forgotten)",
                                           .items_done = stats->forgotten.items_done,
                                           .leases_expired = stats->forgotten.leases_expired,
                                           .leases_failed = stats->forgotten.leases_failed,
                                           .outrun = stats->forgotten.outrun,
                                           .mismatches = stats->forgotten.mismatches};
    if (stats->forgotten.names > 0) {
        status_metrics_peer_counts(status, &others);
        status_metrics_weights(status, others.name, &stats->forgotten.weights);
    }
    metrics_sweep(status->metrics, "peer");
}

void status_spent(struct status *status, uint64_t us)
{
    status->spent_us += us;
}

void status_refused(struct status *status, const uint64_t refused[WIRE_REFUSED])
{
    memcpy(status->refused, refused, sizeof status->refused);
}

static void status_metrics_refused(struct status *status)
{
    for (int i = 0; i < WIRE_REFUSED; i++)
        status_counter(
            status, "rlhfd_connections_refused_total",
            "Connections to the control endpoint that were refused: key, not known or "
            "taken out; handshake, no key at all, or one for another server; identity, a HELLO "
            "in the name of another",
            "reason", wire_refused_name((enum wire_refused)i), (double)status->refused[i]);
}

void status_metrics(struct status *status, const struct core_stats *stats, struct buf *out)
{
    status_metrics_run(status, stats);
    status_metrics_slots(status, stats);
    status_metrics_counts(status, stats);
    status_metrics_monitors(status, stats);
    status_gate_metrics(status);
    status_metrics_roles(status, stats);
    if (stats->has_last)
        status_metrics_step(status, stats);
    status_metrics_peers(status, stats);
    status_metrics_refused(status);
    status_counter(status, "rlhfd_core_cpu_seconds_total",
                   "Processor time of all decisions and what carries them out: planning, "
                   "shaping, control, records, messages",
                   NULL, NULL, 1e-6 * (double)status->spent_us);
    status_process(status->metrics);
    metrics_render(status->metrics, out);
}
