/*
 * test_coordinator_status.c -- metrics, status and progress, read back by a JSON parser and by
 * the words a dashboard looks for.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "coordinator/status.h"
#include "node/gate_record.h"
#include "tests/test.h"
#include "tests/unit/near.h"

static struct run_config config;
static struct core_stats stats;
static const struct wire_stat learner[] = {{"entropy", 1.25}, {"bad \"name\"", NAN}};

static int setup(void **state)
{
    memset(&config, 0, sizeof config);
    memset(&stats, 0, sizeof stats);
    snprintf(config.name, sizeof config.name, "a \"run\"");
    config.steps = 10;
    config.scorers = 1;
    snprintf(config.scorer[0].name, sizeof config.scorer[0].name, "polite");
    stats.steps = 10;
    stats.trained = 2;
    stats.started = true;
    stats.planned = 24;
    stats.trained_slots = 15;
    stats.waiting = 8;
    stats.dropped[RECORD_REASON_SCORE_FAILED] = 1;
    stats.logp_diff_max = NAN;
    stats.waits_for = "actors, which generate";
    stats.peers = 1;
    snprintf(stats.peer[0].name, sizeof stats.peer[0].name, "actor-0");
    stats.peer[0].role = WIRE_ROLE_ACTOR;
    stats.peer[0].state = CORE_PEER_LIVE;
    stats.has_last = true;
    stats.last = (struct record_step){.step = 1,
                                      .version = 2,
                                      .response_tokens = 500,
                                      .duration_ms = 2000,
                                      .reward_raw_mean = 0.5,
                                      .score_mean = {0.25},
                                      .kl_coef_before = 0.1,
                                      .stats = learner,
                                      .stats_n = 2};
    *state = status_new(&config);
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    status_free(*state);
    return 0;
}

/* The same run with a cost and a monitor. */
static void with_costs(void)
{
    config.scorers = 3;
    config.scorer[1].role = RUN_ROLE_COST;
    config.scorer[2].role = RUN_ROLE_MONITOR;
    snprintf(config.scorer[1].name, sizeof config.scorer[1].name, "harm");
    snprintf(config.scorer[2].name, sizeof config.scorer[2].name, "style");
    config.safety_controller = RUN_SAFETY_CONTROLLER_LAGRANGIAN;
    stats.multiplier = 1.5;
    stats.score_missing[2] = 7;
    stats.last.score_mean[1] = 0.75;
    stats.last.score_mean[2] = NAN;
    stats.last.score_missing[2] = 4;
    stats.last.cost_raw_mean = 0.125;
    stats.last.cost_limit = 0.0625;
    stats.last.multiplier_before = 1.25;
    stats.last.multiplier_after = 1.5;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        fail_msg("there is no number \"%s\"", key);
    return json_number_value(value);
}

static json_t *parse(const struct buf *text)
{
    struct err err = {0};
    json_t *object = json_parse(text->data, text->len, "status", &err);
    if (!object)
        fail_msg("%s in: %s", err.text, text->data);
    return object;
}

static void status_is_json_with_all_of_the_run(void **state)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    config.scorers = 2;
    config.scorer[0].kind = RUN_SCORER_WORDS;
    config.scorer[1].kind = RUN_SCORER_HTTP;
    status_json(*state, &stats, &text);
    json_t *object = parse(&text);
    assert_string_equal(json_string_value(json_object_get(object, "run")), "a \"run\"");
    check_near(number(object, "services"), 1, 0);
    assert_true(json_is_null(json_object_get(object, "logp_diff_max")));
    const json_t *slots = json_object_get(object, "slots");
    check_near(number(slots, "planned"), 24, 0);
    check_near(number(slots, "waiting") + number(slots, "leased") + number(slots, "generated") +
                   number(slots, "scored") + number(slots, "shaped") +
                   number(slots, "trained") +
                   number(json_object_get(slots, "dropped"), "score_failed"),
               24, 0);
    const json_t *peer = json_array_get(json_object_get(object, "peers"), 0);
    assert_string_equal(json_string_value(json_object_get(peer, "state")), "live");
    const json_t *last = json_object_get(object, "last");
    check_near(number(last, "entropy"), 1.25, 0);
    check_near(number(last, "score.polite"), 0.25, 0);
    json_decref(object);
    buf_release(&text);
}

static void progress_is_one_line_with_speed_and_time_left(void **state)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    status_progress(*state, &stats.last, &text);
    assert_int_equal(strcspn(text.data, "\n"), text.len - 1);
    json_t *line = parse(&text);
    check_near(number(line, "tokens_per_s"), 250, 1e-9);
    check_near(number(line, "eta_s"), 8 * 2.0, 1e-9);
    check_near(number(line, "steps"), 10, 0);
    check_near(number(line, "reward_raw_mean"), 0.5, 0);
    json_decref(line);
    buf_release(&text);
}

static void check_has(const struct buf *text, const char *line)
{
    if (!strstr(text->data, line))
        fail_msg("there is no \"%s\" in:\n%s", line, text->data);
}

static void metrics_add_up_and_counters_do_not_go_back(void **state)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    stats.duplicates = 5;
    status_metrics(*state, &stats, &text);
    check_has(&text, "rlhfd_steps_trained_total 2\n");
    check_has(&text, "rlhfd_steps_planned 10\n");
    check_has(&text, "rlhfd_build_info{version=\"" RLHF_VERSION "\"} 1\n");
    check_has(&text, "rlhfd_logp_diff_max_nats NaN\n");
    check_has(&text, "rlhfd_step_entropy_nats 1.25\n");
    check_has(&text, "rlhfd_learner_stat{stat=\"bad \\\"name\\\"\"} NaN\n");
    check_has(&text, "rlhfd_slots{state=\"dropped\"} 1\n");
    check_has(&text, "rlhfd_peers_actor{state=\"live\"} 1\n");
    check_has(&text, "rlhfd_peers_learner{state=\"gone\"} 0\n");
    check_has(&text, "rlhfd_slots{state=\"trained\"} 15\n");
    check_has(&text, "rlhfd_slots_dropped_total{reason=\"score_failed\"} 1\n");
    check_has(&text, "rlhfd_slots_dropped_total{reason=\"generate_failed\"} 0\n");
    check_has(&text, "rlhfd_duplicates_total 5\n");
    check_has(&text, "rlhfd_peer_up{peer=\"actor-0\"} 1\n");
    check_has(&text, "rlhfd_step_score_mean{scorer=\"polite\"} 0.25\n");
    buf_clear(&text);
    stats.duplicates = 7;
    status_metrics(*state, &stats, &text);
    check_has(&text, "rlhfd_duplicates_total 7\n");
    buf_release(&text);
}

/* Each a number of its own, so that no two can be exchanged. */
static void slots_are_shown_state_by_state_and_reason_by_reason(void **state)
{
    static const char *const states[] = {"waiting", "leased", "generated",
                                         "scored",  "shaped", "trained"};
    uint64_t *const counts[] = {&stats.waiting, &stats.leased, &stats.generated,
                                &stats.scored,  &stats.shaped, &stats.trained_slots};
    struct buf metrics, object;
    char line[128];
    uint64_t dropped = 0;
    stats.planned = 0;
    for (uint64_t s = 0; s < COUNT(states); s++)
        stats.planned += *counts[s] = 11 + s;
    for (uint64_t r = 1; r < RECORD_REASONS; r++)
        dropped += stats.dropped[r] = 31 + r;
    stats.planned += dropped;
    buf_init(&metrics, 1 << 20);
    buf_init(&object, 1 << 20);
    status_metrics(*state, &stats, &metrics);
    status_json(*state, &stats, &object);
    json_t *json = parse(&object);
    const json_t *slots = json_object_get(json, "slots");
    for (uint64_t s = 0; s < COUNT(states); s++) {
        snprintf(line, sizeof line, "rlhfd_slots{state=\"%s\"} %u\n", states[s],
                 (unsigned)(11 + s));
        check_has(&metrics, line);
        check_near(number(slots, states[s]), 11 + (double)s, 0);
    }
    for (int r = 1; r < RECORD_REASONS; r++) {
        const char *reason = record_reason_name((enum record_reason)r);
        snprintf(line, sizeof line, "rlhfd_slots_dropped_total{reason=\"%s\"} %d\n", reason,
                 31 + r);
        check_has(&metrics, line);
        check_near(number(json_object_get(slots, "dropped"), reason), 31 + r, 0);
    }
    snprintf(line, sizeof line, "rlhfd_slots{state=\"dropped\"} %u\n", (unsigned)dropped);
    check_has(&metrics, line);
    snprintf(line, sizeof line, "rlhfd_slots_planned %u\n", (unsigned)stats.planned);
    check_has(&metrics, line);
    check_near(number(slots, "planned"), (double)stats.planned, 0);
    json_decref(json);
    buf_release(&object);
    buf_release(&metrics);
}

/* The series of a name that made room for another end; what it did stays in the sums. */
static void forgotten_workers_are_one_series(void **state)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    stats.peer[0].items_done = 7;
    stats.peer[0].mismatches = 2;
    status_metrics(*state, &stats, &text);
    check_has(&text, "rlhfd_peers_forgotten_total 0\n");
    check_has(&text, "rlhfd_peer_items_total{peer=\"actor-0\"} 7\n");
    assert_null(strstr(text.data, "peer=\"(forgotten)\""));
    buf_clear(&text);
    stats.forgotten = (struct core_forgotten){.names = 1, .items_done = 7, .mismatches = 2};
    stats.peer[0] = (struct core_peer_stats){
        .name = "actor-9", .role = WIRE_ROLE_ACTOR, .state = CORE_PEER_LIVE, .items_done = 1};
    status_metrics(*state, &stats, &text);
    check_has(&text, "rlhfd_peers_forgotten_total 1\n");
    check_has(&text, "rlhfd_peer_items_total{peer=\"actor-9\"} 1\n");
    check_has(&text, "rlhfd_peer_items_total{peer=\"(forgotten)\"} 7\n");
    check_has(&text, "rlhfd_peer_mismatches_total{peer=\"(forgotten)\"} 2\n");
    assert_null(strstr(text.data, "actor-0"));
    buf_release(&text);
}

static void the_breaker_is_shown_where_there_is_one(void **state)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    stats.has_breaker = false;
    status_metrics(*state, &stats, &text);
    assert_null(strstr(text.data, "breaker"));
    buf_clear(&text);
    stats.has_breaker = stats.breaker_cooling = true;
    stats.breaker_trips = 3;
    status_metrics(*state, &stats, &text);
    check_has(&text, "rlhfd_breaker_trips_total 3\n");
    check_has(&text, "rlhfd_breaker_cooling 1\n");
    buf_clear(&text);
    status_json(*state, &stats, &text);
    check_has(&text, "\"breaker\":{\"cooling\":true,\"trips\":3,\"last\":null,"
                     "\"rollback\":null}");
    stats.trip_signal = "kl";
    stats.trip_limit = "high";
    stats.trip_value = 41.5;
    stats.has_rollback = true;
    stats.rollbacks = 2;
    stats.rollback_base = 8;
    stats.rollback_target = 12;
    stats.lr_scale = 0.25;
    stats.beta_scale = 4;
    buf_clear(&text);
    status_json(*state, &stats, &text);
    check_has(&text, "\"last\":{\"signal\":\"kl\",\"limit\":\"high\",\"value\":41.5},"
                     "\"rollback\":{\"rollbacks\":2,\"base\":8,\"target\":12,"
                     "\"lr_scale\":0.25,\"beta_scale\":4}}");
    stats.trip_signal = NULL;
    stats.has_rollback = false;
    buf_release(&text);
}

static void a_renewed_reference_is_shown_where_there_can_be_one(void **state)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    stats.last.kl_reference_version = 8;
    status_metrics(*state, &stats, &text);
    status_progress(*state, &stats.last, &text);
    assert_null(strstr(text.data, "kl_reference"));
    config.kl_reference_every = 4;
    buf_clear(&text);
    status_metrics(*state, &stats, &text);
    check_has(&text, "rlhfd_kl_reference_version 8\n");
    buf_clear(&text);
    status_progress(*state, &stats.last, &text);
    json_t *line = parse(&text);
    assert_int_equal(json_integer_value(json_object_get(line, "kl_reference_version")), 8);
    json_decref(line);
    config.kl_reference_every = 0;
    stats.last.kl_reference_version = 0;
    buf_release(&text);
}

static void the_group_served_worst_is_shown_by_name(void **state)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    status_metrics(*state, &stats, &text);
    assert_null(strstr(text.data, "worst_group"));
    with_costs();
    config.scorer[2].role = RUN_ROLE_REWARD;
    stats.last.worst_group = 3;
    buf_clear(&text);
    status_metrics(*state, &stats, &text);
    check_has(&text, "rlhfd_step_worst_group{scorer=\"style\"} 1\n");
    check_has(&text, "rlhfd_step_worst_group{scorer=\"polite\"} 0\n");
    assert_null(strstr(text.data, "rlhfd_step_worst_group{scorer=\"harm\"}"));
    buf_clear(&text);
    status_progress(*state, &stats.last, &text);
    json_t *line = parse(&text);
    assert_string_equal(json_string_value(json_object_get(line, "worst_group")), "style");
    json_decref(line);
    stats.last.worst_group = 0;
    buf_release(&text);
}

/* Where each number stands in the status and, where it is one, as which metric; the numbers are
 * all different. */
static void each_number_has_a_name_of_its_own(void **state)
{
    const struct {
        uint64_t *of;
        const char *object, *key,
            *metric; /* object NULL: the outermost; key NULL: a metric alone */
    } all[] = {
        {&stats.epoch, NULL, "epoch", NULL},
        {&stats.checkpoint_version, NULL, "checkpoint_version", NULL},
        {&stats.seq, NULL, "ledger_records", NULL},
        {&stats.durable_seq, NULL, "ledger_durable", NULL},
        {&stats.leases_out, NULL, "leases_out", "rlhfd_leases_outstanding"},
        {&stats.step_age_ms, NULL, "step_age_ms", NULL},
        {&stats.planned, "slots", "planned", NULL},
        {&stats.waiting, "slots", "waiting", "rlhfd_slots{state=\"waiting\"}"},
        {&stats.leased, "slots", "leased", "rlhfd_slots{state=\"leased\"}"},
        {&stats.generated, "slots", "generated", "rlhfd_slots{state=\"generated\"}"},
        {&stats.scored, "slots", "scored", "rlhfd_slots{state=\"scored\"}"},
        {&stats.shaped, "slots", "shaped", "rlhfd_slots{state=\"shaped\"}"},
        {&stats.trained_slots, "slots", "trained", "rlhfd_slots{state=\"trained\"}"},
        {&stats.references_planned, "references", "planned", NULL},
        {&stats.references_scored, "references", "scored", NULL},
        {&stats.references_dropped, "references", "dropped", NULL},
        {&stats.tokens_response, "counters", "response_tokens", "rlhfd_response_tokens_total"},
        {&stats.tokens_prompt, NULL, NULL, "rlhfd_prompt_tokens_total"},
        {&stats.duplicates, "counters", "duplicates", "rlhfd_duplicates_total"},
        {&stats.mismatches, "counters", "mismatches", "rlhfd_mismatches_total"},
        {&stats.late, "counters", "late", "rlhfd_late_results_total"},
        {&stats.refused, "counters", "refused", "rlhfd_refused_results_total"},
        {&stats.leases_expired, "counters", "leases_expired", "rlhfd_leases_expired_total"},
        {&stats.leases_failed, "counters", "leases_failed", "rlhfd_leases_failed_total"},
        {&stats.leases_second, "counters", "leases_second", "rlhfd_leases_second_total"},
        {&stats.second_won, "counters", "second_won", "rlhfd_second_won_total"},
        {&stats.score_retries, "counters", "score_retries", "rlhfd_score_retries_total"},
        {&stats.sessions, NULL, NULL, "rlhfd_sessions_total"},
        {&stats.resets, "counters", "resets", "rlhfd_resets_total"},
        {&stats.bad_messages, "counters", "bad_messages", "rlhfd_bad_messages_total"},
        {&stats.retrained, "counters", "retrained", "rlhfd_retrained_steps_total"},
        {&stats.recalled, "counters", "recalled", "rlhfd_recalled_steps_total"},
    };
    struct buf text, metrics;
    buf_init(&text, 1 << 20);
    buf_init(&metrics, 1 << 20);
    for (size_t i = 0; i < COUNT(all); i++)
        *all[i].of = 1000 + i;
    status_json(*state, &stats, &text);
    status_metrics(*state, &stats, &metrics);
    json_t *status = parse(&text);
    for (size_t i = 0; i < COUNT(all); i++) {
        const json_t *object = all[i].object ? json_object_get(status, all[i].object) : status;
        if (all[i].key && number(object, all[i].key) != (double)(1000 + i))
            fail_msg("\"%s\" is %g, not %zu", all[i].key, number(object, all[i].key), 1000 + i);
        char line[128];
        snprintf(line, sizeof line, "\n%s %zu\n", all[i].metric ? all[i].metric : "", 1000 + i);
        if (all[i].metric)
            check_has(&metrics, line);
    }
    json_decref(status);
    buf_release(&text);
    buf_release(&metrics);
}

static void costs_and_monitors_are_shown(void **state)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    with_costs();
    status_metrics(*state, &stats, &text);
    check_has(&text, "rlhfd_step_cost_mean 0.125\n");
    check_has(&text, "rlhfd_cost_limit 0.0625\n");
    check_has(&text, "rlhfd_multiplier 1.5\n");
    check_has(&text, "rlhfd_core_cpu_seconds_total 0\n");
    check_has(&text, "rlhfd_step_score_mean{scorer=\"style\"} NaN\n");
    check_has(&text, "rlhfd_step_score_mean{scorer=\"harm\"} 0.75\n");
    check_has(&text, "rlhfd_monitor_failures_total{scorer=\"style\"} 7\n");
    assert_null(strstr(text.data, "rlhfd_monitor_failures_total{scorer=\"polite\"}"));
    assert_null(strstr(text.data, "rlhfd_multiplier_pid_integral"));

    buf_clear(&text);
    config.safety_controller = RUN_SAFETY_CONTROLLER_PID;
    stats.multiplier_integral = 0.375;
    status_spent(*state, 1500000);
    status_spent(*state, 250000);
    status_metrics(*state, &stats, &text);
    check_has(&text, "rlhfd_multiplier_pid_integral 0.375\n");
    check_has(&text, "rlhfd_core_cpu_seconds_total 1.75\n");

    buf_clear(&text);
    status_json(*state, &stats, &text);
    json_t *object = parse(&text);
    const json_t *last = json_object_get(object, "last");
    check_near(number(object, "multiplier"), 1.5, 0);
    check_near(number(last, "cost_raw_mean"), 0.125, 0);
    check_near(number(last, "multiplier_before"), 1.25, 0);
    check_near(number(last, "missing.style"), 4, 0);
    assert_true(json_is_null(json_object_get(last, "score.style")));
    const json_t *monitors = json_object_get(object, "monitors");
    assert_int_equal(json_object_size(monitors), 1);
    check_near(number(json_object_get(monitors, "style"), "missing"), 7, 0);
    json_decref(object);

    buf_clear(&text);
    status_progress(*state, &stats.last, &text);
    json_t *line = parse(&text);
    check_near(number(line, "cost_limit"), 0.0625, 0);
    json_decref(line);
    buf_release(&text);
}

static void without_cost_scorers_no_cost_is_shown(void **state)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    status_metrics(*state, &stats, &text);
    status_json(*state, &stats, &text);
    assert_null(strstr(text.data, "cost"));
    assert_null(strstr(text.data, "monitor_failures"));
    buf_release(&text);
}

/* The number of a metric without labels. */
static double metric_of(const struct buf *text, const char *name)
{
    char start[96];
    snprintf(start, sizeof start, "\n%s ", name);
    const char *at = strstr(text->data, start);
    if (!at)
        fail_msg("there is no %s in:\n%s", name, text->data);
    return strtod(at + strlen(start), NULL);
}

/* Oracles: the clock, sysconf, and a descriptor more or less. */
static void metrics_tell_of_the_process(void **state)
{
    struct buf before, after;
    buf_init(&before, 1 << 20);
    buf_init(&after, 1 << 20);
    status_metrics(*state, &stats, &before);
    const int fd = dup(1);
    status_metrics(*state, &stats, &after);
    close(fd);
    check_near(metric_of(&after, "process_open_fds"),
               metric_of(&before, "process_open_fds") + 1, 0);
    check_near(metric_of(&after, "process_max_fds"), (double)sysconf(_SC_OPEN_MAX), 0);
    const double start_s = metric_of(&after, "process_start_time_seconds");
    assert_true(start_s <= (double)clock_wall_ms() / 1000 + 2);
    assert_true(start_s >= (double)clock_wall_ms() / 1000 - 3600);
    const double resident = metric_of(&after, "process_resident_memory_bytes");
    assert_true(resident > 64 * 1024);
    assert_true(resident < metric_of(&after, "process_virtual_memory_bytes"));
    assert_true(metric_of(&after, "process_cpu_seconds_total") >= 0);
    buf_release(&before);
    buf_release(&after);
}

/* --- the gate ----------------------------------------------------------------------------- */

static char gate_dir[] = "/tmp/rlhf-status-XXXXXX";

static struct gate_record gate_line(enum gate_record_decision decision, const char *name,
                                    double version)
{
    struct gate_record record = {.at_ms = 1700000001500,
                                 .decision = decision,
                                 .version = version,
                                 .mean = 0.125,
                                 .upper = 0.25,
                                 .limit = 0.0625,
                                 .delta = 0.0125,
                                 .n = 60,
                                 .spent = 3,
                                 .candidates = 4};
    snprintf(record.name, sizeof record.name, "%s", name);
    return record;
}

static void with_a_gate(void)
{
    snprintf(config.dir, sizeof config.dir, "%s", gate_dir);
    snprintf(config.gate_prompts, sizeof config.gate_prompts, "held.jsonl");
    config.gate_limit = 0.0625;
    config.gate_delta = 0.05;
    config.gate_candidates = 4;
}

static void check_metrics(struct status *status, const char *const *lines, size_t n)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    status_metrics(status, &stats, &text);
    for (size_t i = 0; i < n; i++)
        check_has(&text, lines[i]);
    buf_release(&text);
}

/* Also of a coordinator that was started in between: nothing of it is kept in memory. */
static void gate_is_shown_as_its_record_says(void **state)
{
    char link[FILE_PATH_MAX];
    with_a_gate();
    static const char *const nothing[] = {"rlhfd_gate_decision{decision=\"PASS\"} 0\n",
                                          "rlhfd_gate_version NaN\n",
                                          "rlhfd_gate_cost_bound NaN\n",
                                          "rlhfd_gate_limit 0.0625\n",
                                          "rlhfd_gate_delta 0.0125\n",
                                          "rlhfd_gate_candidates_left 4\n",
                                          "rlhfd_published_version NaN\n"};
    check_metrics(*state, nothing, COUNT(nothing));

    const struct gate_record pass = gate_line(GATE_RECORD_PASS, "0123456789abcdef", 4);
    const struct gate_record nsf = gate_line(GATE_RECORD_NSF, "fedcba9876543210", 8);
    check_ok(gate_record_append(gate_dir, &pass, &err));
    check_ok(gate_record_append(gate_dir, &nsf, &err));
    check_ok(file_join(link, gate_dir, "published", &err));
    assert_int_equal(symlink("releases/0123456789abcdef", link), 0);
    static const char *const tested[] = {"rlhfd_gate_decision{decision=\"PASS\"} 0\n",
                                         "rlhfd_gate_decision{decision=\"NSF\"} 1\n",
                                         "rlhfd_gate_version 8\n",
                                         "rlhfd_gate_cost_mean 0.125\n",
                                         "rlhfd_gate_cost_bound 0.25\n",
                                         "rlhfd_gate_prompts 60\n",
                                         "rlhfd_gate_candidates_spent 3\n",
                                         "rlhfd_gate_candidates_left 1\n",
                                         "rlhfd_gate_timestamp_seconds 1700000001.5\n",
                                         "rlhfd_published_version 4\n",
                                         "rlhfd_gate_readable 1\n"};
    check_metrics(*state, tested, COUNT(tested));
    struct status *restarted = status_new(&config);
    check_metrics(restarted, tested, COUNT(tested));
    status_free(restarted);

    struct buf text;
    buf_init(&text, 1 << 20);
    status_json(*state, &stats, &text);
    json_t *object = parse(&text);
    const json_t *gate = json_object_get(object, "gate");
    check_near(number(json_object_get(gate, "last"), "upper"), 0.25, 0);
    check_near(number(json_object_get(gate, "published"), "version"), 4, 0);
    json_decref(object);
    buf_release(&text);
}

static void gate_that_failed_is_shown_and_so_is_a_record_that_cannot_be_read(void **state)
{
    char path[FILE_PATH_MAX];
    struct buf text;
    buf_init(&text, 1 << 20);
    with_a_gate();
    const struct gate_record nsf = gate_line(GATE_RECORD_NSF, "fedcba9876543210", 8);
    struct gate_record error = gate_line(GATE_RECORD_ERROR, "", 12);
    error.spent = error.upper = NAN; /* before the set was looked up */
    check_ok(gate_record_append(gate_dir, &nsf, &err));
    check_ok(gate_record_append(gate_dir, &error, &err));
    static const char *const failed[] = {
        "rlhfd_gate_decision{decision=\"ERROR\"} 1\n", "rlhfd_gate_version 12\n",
        "rlhfd_gate_cost_bound NaN\n", "rlhfd_gate_candidates_spent 3\n"};
    check_metrics(*state, failed, COUNT(failed));

    check_ok(file_join(path, gate_dir, GATE_RECORD_FILE, &err));
    check_ok(file_write(path, "not JSON\n", 9, &err));
    static const char *const unreadable[] = {"rlhfd_gate_readable 0\n"};
    check_metrics(*state, unreadable, COUNT(unreadable));
    status_json(*state, &stats, &text);
    check_has(&text, "\"gate\":{\"fault\": \"");
    check_has(&text, "gate.jsonl:1");
    buf_release(&text);
}

static void run_without_a_gate_shows_none(void **state)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    status_metrics(*state, &stats, &text);
    assert_null(strstr(text.data, "rlhfd_gate"));
    assert_null(strstr(text.data, "rlhfd_published"));
    status_json(*state, &stats, &text);
    check_has(&text, "\"gate\":null,");
    buf_release(&text);
}

static int gate_setup(void **state)
{
    strcpy(gate_dir, "/tmp/rlhf-status-XXXXXX");
    return mkdtemp(gate_dir) ? setup(state) : -1;
}

static int gate_teardown(void **state)
{
    return file_remove_tree(gate_dir, NULL) == ERR_OK ? teardown(state) : -1;
}

/* Each family stands in backquotes in docs/OPERATIONS.md. */
static void each_metric_is_documented(void **state)
{
    struct buf text, page;
    size_t families = 0;
    buf_init(&text, 1 << 20);
    buf_init(&page, 1 << 20);
    check_ok(file_read(TEST_SOURCE_DIR "/docs/OPERATIONS.md", &page, &err));
    config.kl_controller = RUN_KL_CONTROLLER_ADAPTIVE;
    status_metrics(*state, &stats, &text); /* with a target per sequence */
    config.kl_controller = RUN_KL_CONTROLLER_PID;
    config.kl_target_token = 0.1;
    stats.shaper[0] = (struct core_shaper_stats){.name = "meanstd", .mean = 0.5};
    stats.shapers = 1;
    config.safety_gate_samples = 100;
    stats.has_breaker = true;
    with_a_gate();
    with_costs();
    static const char *const known[] = {"clip_fraction",
                                        "value_clip_fraction",
                                        "approx_kl",
                                        "ratio",
                                        "policy_loss",
                                        "value_loss",
                                        "kl_loss",
                                        "grad_norm",
                                        "lr",
                                        "critic_grad_norm",
                                        "updates",
                                        "explained_variance",
                                        "entropy",
                                        "advantage_mean",
                                        "reward_advantage_mean",
                                        "cost_advantage_mean",
                                        "cost_value_loss",
                                        "cost_value_clip_fraction",
                                        "cost_explained_variance",
                                        "cost_critic_grad_norm",
                                        "unheard of",
                                        "logp_diff_max"};
    struct wire_stat all[COUNT(known)] = {{.value = 1}};
    for (size_t i = 0; i < COUNT(known); i++)
        snprintf(all[i].name, sizeof all[i].name, "%s", known[i]);
    stats.last.stats = all;
    stats.last.stats_n = COUNT(known);
    status_metrics(*state, &stats, &text);
    assert_non_null(strstr(text.data, "rlhfd_kl_target_nats_per_token 0.1"));
    assert_non_null(strstr(text.data, "rlhfd_shaper_mean{shaper=\"0 meanstd\"} 0.5\n"));
    for (const char *at = text.data; (at = strstr(at, "# TYPE ")); families++) {
        char name[96];
        at += strlen("# TYPE ");
        snprintf(name, sizeof name, "`%.*s`", (int)strcspn(at, " "), at);
        if (!strstr(page.data, name))
            fail_msg("docs/OPERATIONS.md does not explain %s", name);
    }
    assert_true(families > 70);
    buf_release(&text);
    buf_release(&page);
}

static void health_is_lost_where_records_wait_and_none_gets_to_the_disk(void **state)
{
    struct buf text;
    buf_init(&text, 4096);
    stats.seq = 10;
    stats.durable_seq = 10;
    assert_true(status_health(*state, &stats, 1000, &text));
    stats.seq = 12; /* nothing waited before, however long ago that was */
    assert_true(status_health(*state, &stats, 1000000, &text));
    assert_true(status_health(*state, &stats, 1009999, &text));
    stats.durable_seq = 11; /* slow, but it goes on */
    assert_true(status_health(*state, &stats, 1011000, &text));
    assert_true(status_health(*state, &stats, 1020999, &text));
    check_has(&text, "ok\n");
    buf_clear(&text);
    assert_false(status_health(*state, &stats, 1021000, &text));
    assert_string_equal(text.data,
                        "ledger: 1 records wait for the disk, none got there for 10 s\n");
    stats.durable_seq = 12;
    assert_true(status_health(*state, &stats, 1022000, &text));
    buf_release(&text);
}

static void ready_needs_a_live_worker_of_each_role(void **state)
{
    (void)state;
    assert_false(status_ready(&stats));
    stats.peers = 3;
    stats.peer[1] = (struct core_peer_stats){.role = WIRE_ROLE_REWARD, .state = CORE_PEER_LIVE};
    stats.peer[2] =
        (struct core_peer_stats){.role = WIRE_ROLE_LEARNER, .state = CORE_PEER_LIVE};
    assert_true(status_ready(&stats));
    stats.peer[2].state = CORE_PEER_SUSPECT;
    assert_false(status_ready(&stats));
}

static void ready_says_which_check_fails(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 4096);
    status_ready_text(&stats, &text);
    check_has(&text, "not ready\n");
    check_has(&text, "ok   ledger   recovered\n");
    check_has(&text, "ok   actor    1 live, 1 needed\n");
    check_has(&text, "FAIL learner  0 live, 1 needed\n");
    check_has(&text, "FAIL reward   0 live, 1 needed\n");
    stats.peers = 3;
    stats.peer[1] = (struct core_peer_stats){.role = WIRE_ROLE_REWARD, .state = CORE_PEER_LIVE};
    stats.peer[2] =
        (struct core_peer_stats){.role = WIRE_ROLE_LEARNER, .state = CORE_PEER_LIVE};
    stats.draining = true;
    assert_false(status_ready(&stats));
    buf_clear(&text);
    status_ready_text(&stats, &text);
    check_has(&text, "ok   learner  1 live, 1 needed\n");
    check_has(&text, "FAIL running  draining\n");
    buf_release(&text);
}

#define status_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        status_test(status_is_json_with_all_of_the_run),
        status_test(progress_is_one_line_with_speed_and_time_left),
        status_test(metrics_add_up_and_counters_do_not_go_back),
        status_test(slots_are_shown_state_by_state_and_reason_by_reason),
        status_test(forgotten_workers_are_one_series),
        status_test(the_breaker_is_shown_where_there_is_one),
        status_test(a_renewed_reference_is_shown_where_there_can_be_one),
        status_test(the_group_served_worst_is_shown_by_name),
        status_test(each_number_has_a_name_of_its_own),
        status_test(costs_and_monitors_are_shown),
        status_test(without_cost_scorers_no_cost_is_shown),
#define gate_test(f) cmocka_unit_test_setup_teardown(f, gate_setup, gate_teardown)
        gate_test(gate_is_shown_as_its_record_says),
        gate_test(gate_that_failed_is_shown_and_so_is_a_record_that_cannot_be_read),
        status_test(run_without_a_gate_shows_none),
        status_test(metrics_tell_of_the_process),
        status_test(each_metric_is_documented),
        status_test(health_is_lost_where_records_wait_and_none_gets_to_the_disk),
        status_test(ready_says_which_check_fails),
        status_test(ready_needs_a_live_worker_of_each_role),
    };
    return cmocka_run_group_tests_name("coordinator status", tests, NULL, NULL);
}
