/* doctor_live.c -- see doctor.h: rules over what a coordinator says. */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/doctor.h"

struct doctor_seen {
    const json_t *status, *before;
    const json_t *peers, *timeouts;
};

/* --- members ------------------------------------------------------------------------------ */

static double doctor_number(const json_t *object, const char *key)
{
    return json_number_or(object, key, 0);
}

static const char *doctor_text(const json_t *object, const char *key)
{
    return json_string_or(object, key, "");
}

static bool doctor_is(const json_t *object, const char *key, const char *word)
{
    return strcmp(doctor_text(object, key), word) == 0;
}

static double doctor_live_peers(const struct doctor_seen *seen, const char *role)
{
    double n = 0;
    for (size_t i = 0; i < json_array_size(seen->peers); i++) {
        const json_t *peer = json_array_get(seen->peers, i);
        n += doctor_is(peer, "role", role) && !doctor_is(peer, "state", "gone");
    }
    return n;
}

/* "3.2 s", "12 min" */
static const char *doctor_time(char text[32], double ms)
{
    if (ms < 120000.0)
        snprintf(text, 32, "%.1f s", ms / 1000.0);
    else
        snprintf(text, 32, "%.0f min", ms / 60000.0);
    return text;
}

/* --- who is there ------------------------------------------------------------------------- */

/* Of those that are gone only as many are missed as should be there, the last that went; and the
 * last of a role always. */
static bool doctor_misses(const struct doctor_seen *seen, size_t which)
{
    const json_t *gone = json_array_get(seen->peers, which);
    const char *role = doctor_text(gone, "role");
    const double live = doctor_live_peers(seen, role);
    double later = 0; /* that went after it */
    for (size_t i = 0; i < json_array_size(seen->peers); i++) {
        const json_t *peer = json_array_get(seen->peers, i);
        const double age =
            doctor_number(peer, "seen_age_ms") - doctor_number(gone, "seen_age_ms");
        later += doctor_is(peer, "role", role) && doctor_is(peer, "state", "gone") &&
                 (age < 0 || (age == 0 && i < which));
    }
    const double wanted = doctor_number(json_object_get(seen->status, "workers"), role) - live;
    return later < fmax(wanted, live > 0 ? 0 : 1);
}

static void doctor_silent(struct doctor *doctor, const struct doctor_seen *seen)
{
    char age[32], dead[32];
    for (size_t i = 0; i < json_array_size(seen->peers); i++) {
        const json_t *peer = json_array_get(seen->peers, i);
        const char *role = doctor_text(peer, "role");
        const bool gone = doctor_is(peer, "state", "gone");
        if (doctor_is(peer, "state", "live") || (gone && !doctor_misses(seen, i)))
            continue;
        doctor_find(
            doctor,
            gone ? "its work goes to others; start it again, or let it go on if it was "
                   "stopped (kill -CONT); its last lines are in run.log"
                 : "if it stays so its work goes to others; is it stopped, is its machine "
                   "or the network overloaded?",
            "%s (%s, pid %.0f) %s: nothing was heard of it for %s (it counts as gone "
            "after %s)",
            doctor_text(peer, "name"), role, doctor_number(peer, "pid"),
            gone ? "is gone" : "is silent",
            doctor_time(age, doctor_number(peer, "seen_age_ms")),
            doctor_time(dead, doctor_number(seen->timeouts, "dead_ms")));
    }
}

static void doctor_roles(struct doctor *doctor, const struct doctor_seen *seen)
{
    static const char *const roles[] = {"learner", "reward", "actor"};
    for (size_t r = 0; r < sizeof roles / sizeof roles[0]; r++) {
        bool known = false;
        for (size_t i = 0; i < json_array_size(seen->peers); i++)
            known = known || doctor_is(json_array_get(seen->peers, i), "role", roles[r]);
        if (known) /* then doctor_silent has named it */
            continue;
        doctor_find(
            doctor,
            "start one (rlhf run does, or rlhf-actor, -reward, -learner by hand); where "
            "one runs, run.log says why it is refused",
            "no %s has ever connected since the coordinator started", roles[r]);
    }
}

static void doctor_versions(struct doctor *doctor, const struct doctor_seen *seen)
{
    const char *program = doctor_text(seen->status, "program");
    const double trained = doctor_number(seen->status, "trained");
    if (*program && strcmp(program, RLHF_VERSION) != 0)
        doctor_find(doctor, "use one build for all of a run",
                    "the coordinator is version %s, this program is " RLHF_VERSION, program);
    for (size_t i = 0; i < json_array_size(seen->peers); i++) {
        const json_t *peer = json_array_get(seen->peers, i);
        if (doctor_is(peer, "role", "learner") && doctor_is(peer, "state", "live") &&
            doctor_number(peer, "version") + 1 < trained)
            doctor_find(doctor,
                        "wait: it trains the recorded steps again; if that is slow, lower "
                        "checkpoint.every",
                        "%s came back: it holds version %.0f, the run has trained %.0f",
                        doctor_text(peer, "name"), doctor_number(peer, "version"), trained);
    }
}

/* --- who is slow -------------------------------------------------------------------------- */

static int doctor_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median age of the oldest leases of a role's workers; 0 for fewer than three. */
static double doctor_median_lease(const struct doctor_seen *seen, const char *role)
{
    double age[256];
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(seen->peers); i++) {
        const json_t *peer = json_array_get(seen->peers, i);
        const double ms = doctor_number(peer, "lease_age_ms");
        if (doctor_is(peer, "role", role) && ms > 0 && n < 256)
            age[n++] = ms;
    }
    if (n < 3)
        return 0.0;
    qsort(age, n, sizeof age[0], doctor_compare);
    return age[n / 2];
}

static const char doctor_busy[] =
    "it works and answers nothing: it waits for a reward service, for weights or for another "
    "rank, or has too much to do; its lines in run.log say which";

/* It holds work and tells of progress: it is no use to look whether it is stopped. */
static bool doctor_is_busy(const struct doctor_seen *seen, const json_t *peer)
{
    return doctor_number(peer, "progress_age_ms") <
           3.0 * doctor_number(seen->timeouts, "heartbeat_ms");
}

static void doctor_leases(struct doctor *doctor, const struct doctor_seen *seen)
{
    const double lease_ms = doctor_number(seen->timeouts, "lease_ms");
    for (size_t i = 0; i < json_array_size(seen->peers); i++) {
        char age[32], stands[32];
        const json_t *peer = json_array_get(seen->peers, i);
        const double ms = doctor_number(peer, "lease_age_ms");
        const double median = doctor_median_lease(seen, doctor_text(peer, "role"));
        const bool outlier =
            median > 0 && ms > DOCTOR_LEASE_TIMES * median && ms > DOCTOR_SLOW_MS;
        if (!doctor_is(peer, "state", "live") || !(outlier || (lease_ms > 0 && ms > lease_ms)))
            continue;
        const bool busy = doctor_is_busy(seen, peer);
        doctor_find(
            doctor,
            busy
                ? doctor_busy
                : "it is slow: give it less to do, or its machine more room; where it makes no "
                  "progress its work goes to others after timeouts.lease_ms",
            "%s (%s) has had a lease for %s%s, and %s %s%s", doctor_text(peer, "name"),
            doctor_text(peer, "role"), doctor_time(age, ms),
            outlier ? ", several times as long as others of its kind" : "",
            busy ? "last moved" : "told of no progress for",
            doctor_time(stands, doctor_number(peer, "progress_age_ms")), busy ? " ago" : "");
    }
}

/* In the first step nobody knows how long an answer takes, and a service that never answers would
 * not be told of before DOCTOR_FIRST_MS. */
static void doctor_services(struct doctor *doctor, const struct doctor_seen *seen)
{
    const double lease_ms = doctor_number(seen->timeouts, "lease_ms");
    if (doctor_number(seen->status, "services") <= 0 ||
        doctor_number(seen->status, "step_ms") > 0 ||
        doctor_number(seen->status, "step_age_ms") > DOCTOR_FIRST_MS)
        return;
    for (size_t i = 0; i < json_array_size(seen->peers); i++) {
        char age[32];
        const json_t *peer = json_array_get(seen->peers, i);
        const double ms = doctor_number(peer, "lease_age_ms");
        if (!doctor_is(peer, "role", "reward") || !doctor_is(peer, "state", "live") ||
            !doctor_is_busy(seen, peer) || ms <= DOCTOR_SERVICE_MS ||
            (lease_ms > 0 && ms > lease_ms)) /* then doctor_leases names it */
            continue;
        doctor_find(
            doctor,
            "ask the service by hand (docs/REWARD_SERVICES.md): where it does not answer "
            "within the scorer's timeout_ms its samples fail; where it is only slow, "
            "wait",
            "%s (reward) has waited for %s for the scores of %.0f samples, and works: a "
            "service that it asks has not answered yet",
            doctor_text(peer, "name"), doctor_time(age, ms), doctor_number(peer, "in_flight"));
    }
}

/* Whose work a phase is; "" for what has rules of its own. */
static const char *doctor_phase_role(const char *wait)
{
    static const struct {
        const char *wait, *role;
    } phases[] = {{"generate", "actor"},     {"generate references", "actor"},
                  {"score", "reward"},       {"score references", "reward"},
                  {"train", "learner"},      {"retrain", "learner"},
                  {"checkpoint", "learner"}, {"actor", "actor"},
                  {"reward", "reward"},      {"learner", "learner"}};
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++)
        if (strcmp(phases[i].wait, wait) == 0)
            return phases[i].role;
    return "";
}

/* Of that role, who has work and has not moved for the longest time. */
static const json_t *doctor_culprit(const struct doctor_seen *seen, const char *role)
{
    const json_t *worst = NULL;
    for (size_t i = 0; i < json_array_size(seen->peers); i++) {
        const json_t *peer = json_array_get(seen->peers, i);
        if (doctor_is(peer, "role", role) && doctor_number(peer, "in_flight") > 0 &&
            (!worst ||
             doctor_number(peer, "progress_age_ms") > doctor_number(worst, "progress_age_ms")))
            worst = peer;
    }
    return worst;
}

static void doctor_step(struct doctor *doctor, const struct doctor_seen *seen)
{
    char age[32], usual[64] = "", stands[32], whom[256] = "";
    const double ms = doctor_number(seen->status, "step_age_ms");
    const double mean = doctor_number(seen->status, "step_ms");
    const double late =
        mean > 0 ? fmax(DOCTOR_SLOW_STEPS * mean, DOCTOR_SLOW_MS) : DOCTOR_FIRST_MS;
    if (ms <= late || json_is_true(json_object_get(seen->status, "paused")))
        return;
    const json_t *culprit =
        doctor_culprit(seen, doctor_phase_role(doctor_text(seen->status, "wait")));
    if (mean > 0)
        snprintf(usual, sizeof usual, " (one took %.1f s)", mean / 1000.0);
    const bool busy = culprit && doctor_is_busy(seen, culprit);
    if (culprit)
        snprintf(whom, sizeof whom, ": %.64s has %.0f in hand and %s %s",
                 doctor_text(culprit, "name"), doctor_number(culprit, "in_flight"),
                 busy ? "works, its oldest lease is of" : "has not moved for",
                 doctor_time(stands, doctor_number(culprit,
                                                   busy ? "lease_age_ms" : "progress_age_ms")));
    doctor_find(doctor,
                busy ? doctor_busy
                : culprit
                    ? "look at that one first: its load, its memory, its lines in run.log"
                    : "start one, or let one that is stopped go on (kill -CONT); where the "
                      "run waits for its disk, df and dmesg",
                "step %.0f has not come to an end for %s%s; it waits for %s%s",
                doctor_number(seen->status, "trained"), doctor_time(age, ms), usual,
                doctor_text(seen->status, "waits_for"), whom);
}

static void doctor_ledger(struct doctor *doctor, const struct doctor_seen *seen)
{
    const double durable = doctor_number(seen->status, "ledger_durable");
    const double waiting = doctor_number(seen->status, "ledger_records") - durable;
    if (waiting > 0 && seen->before &&
        durable == doctor_number(seen->before, "ledger_durable") &&
        doctor_number(seen->before, "ledger_records") > durable)
        doctor_find(doctor,
                    "the disk of the run's directory is slow, full or gone: df, iostat, "
                    "dmesg",
                    "%.0f records wait for the disk, and none got there for a second", waiting);
}

/* --- what goes wrong ---------------------------------------------------------------------- */

static void doctor_failures(struct doctor *doctor, const struct doctor_seen *seen)
{
    size_t rewards = 0, failing = 0;
    for (size_t i = 0; i < json_array_size(seen->peers); i++) {
        const json_t *peer = json_array_get(seen->peers, i);
        const bool fresh = *doctor_text(peer, "failure") &&
                           doctor_number(peer, "failure_age_ms") < DOCTOR_FRESH_MS;
        const bool reward =
            doctor_is(peer, "role", "reward") && !doctor_is(peer, "state", "gone");
        rewards += reward;
        failing += reward && fresh;
    }
    for (size_t i = 0; i < json_array_size(seen->peers); i++) {
        char age[32];
        const json_t *peer = json_array_get(seen->peers, i);
        const double ms = doctor_number(peer, "failure_age_ms");
        const bool reward = doctor_is(peer, "role", "reward");
        if (!*doctor_text(peer, "failure") || ms >= DOCTOR_FRESH_MS)
            continue;
        doctor_find(
            doctor,
            reward ? "mend the scorer or the service behind it: one that is away is waited for "
                     "(timeouts.service_ms), what else cannot be scored is dropped, and where "
                     "all is dropped the run halts"
                   : "the sentence names the cause; what fails again and again is dropped "
                     "or halts the run",
            "%s (%s) failed %s ago%s: %s", doctor_text(peer, "name"), doctor_text(peer, "role"),
            doctor_time(age, ms), reward && failing == rewards ? ", as did all that score" : "",
            doctor_text(peer, "failure"));
    }
}

static void doctor_sameness(struct doctor *doctor, const struct doctor_seen *seen)
{
    const json_t *counters = json_object_get(seen->status, "counters");
    const double logp = doctor_number(seen->status, "logp_diff_max");
    if (logp > 0)
        doctor_find(doctor,
                    "actor and learner do not hold the same weights, files or kind of "
                    "machine: compare their builds, CPUs and model directories",
                    "log-probs of actor and learner were %g nats apart, which must be 0", logp);
    if (doctor_number(counters, "mismatches") > 0)
        doctor_find(doctor,
                    "a hardware fault or a machine of another kind: the events "
                    "ROLLOUT-MISMATCH in run.log name both workers",
                    "%.0f rollouts were made twice with different bits",
                    doctor_number(counters, "mismatches"));
    if (doctor_number(counters, "refused") > 0)
        doctor_find(doctor,
                    "ROLLOUT-REFUSED, SCORE-REFUSED and TRAIN-REFUSED in run.log say "
                    "whose and why",
                    "%.0f results were refused", doctor_number(counters, "refused"));
}

/* "; 3 rollbacks, the last to version 8, learning rates now times 0.25, beta times 4" */
static void doctor_rollbacks(const json_t *rollback, char text[160])
{
    text[0] = '\0';
    if (doctor_number(rollback, "rollbacks") > 0)
        snprintf(text, 160,
                 "; %.0f rollbacks, the last to version %.0f, learning rates now times %.4g, "
                 "beta times %.4g",
                 doctor_number(rollback, "rollbacks"), doctor_number(rollback, "base"),
                 doctor_number(rollback, "lr_scale"), doctor_number(rollback, "beta_scale"));
}

static void doctor_breaker(struct doctor *doctor, const struct doctor_seen *seen)
{
    char back[160];
    const json_t *breaker = json_object_get(seen->status, "breaker");
    const json_t *last = json_object_get(breaker, "last");
    if (!json_is_true(json_object_get(breaker, "cooling")))
        return;
    doctor_rollbacks(json_object_get(breaker, "rollback"), back);
    doctor_find(doctor,
                *back ? "the events ROLLBACK in run.log name the limit; where it goes back "
                        "again and again optimizer.lr is too great, or the limit too narrow; "
                        "breaker.trips_max of them halt the run"
                      : "the events QUARANTINE in run.log name the limit that was broken; too "
                        "many in a row halt the run",
                "the breaker is open: %s %s, at %.4g, set a step aside, %.0f trips so far%s",
                doctor_text(last, "signal"), doctor_text(last, "limit"),
                doctor_number(last, "value"), doctor_number(breaker, "trips"), back);
}

static void doctor_asked(struct doctor *doctor, const struct doctor_seen *seen)
{
    if (json_is_true(json_object_get(seen->status, "paused")))
        doctor_find(doctor, "rlhf resume, when it may go on",
                    "somebody paused the run, after "
                    "step %.0f",
                    doctor_number(seen->status, "trained"));
}

static void doctor_tested(struct doctor *doctor, const struct doctor_seen *seen)
{
    doctor_gate(doctor, json_object_get(seen->status, "gate"));
}

void doctor_live(struct doctor *doctor, const json_t *status, const json_t *before)
{
    static void (*const rules[])(struct doctor *, const struct doctor_seen *) = {
        doctor_asked,    doctor_silent,  doctor_roles,    doctor_step,
        doctor_services, doctor_leases,  doctor_ledger,   doctor_failures,
        doctor_versions, doctor_breaker, doctor_sameness, doctor_tested,
    };
    const struct doctor_seen seen = {.status = status,
                                     .before = before,
                                     .peers = json_object_get(status, "peers"),
                                     .timeouts = json_object_get(status, "timeouts")};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        rules[i](doctor, &seen);
}
