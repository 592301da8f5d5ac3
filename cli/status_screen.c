/* status_screen.c -- see status_screen.h. */
#include "cli/status_screen.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/gate_screen.h"

#define STATUS_SCREEN_NAME_MAX 256 /* bytes of a worker's name, escaped */

/* How many bytes at `at`, of valid UTF-8, a terminal must not get to see; 0: none. */
static size_t status_screen_unsafe(const unsigned char *at)
{
    if (at[0] < 0x20 || at[0] == 0x7f)
        return 1;
    if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f)
        return 2; /* C1 */
    if (at[0] == 0xe2 && at[1] == 0x80 &&
        ((at[2] >= 0xaa && at[2] <= 0xae) || (at[2] >= 0x8e && at[2] <= 0x8f)))
        return 3; /* U+202A..E, U+200E..F */
    if (at[0] == 0xe2 && at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xa9)
        return 3; /* U+2066..9 */
    return 0;
}

void status_screen_text(struct buf *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at != '\0') {
        size_t n = status_screen_unsafe(at);
        if (n == 0)
            buf_putc(out, (char)*at++);
        for (; n > 0; n--)
            buf_printf(out, "\\x%02x", *at++);
    }
}

/* --- members ------------------------------------------------------------------------------ */

static void status_screen_member(struct buf *out, const json_t *object, const char *key)
{
    status_screen_text(out, json_string_or(object, key, "-"));
}

static void status_screen_count(struct buf *out, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value))
        buf_printf(out, "%" PRId64, (int64_t)json_integer_value(value));
    else
        buf_putc(out, '-');
}

/* With three significant digits or more. */
static void status_screen_real(struct buf *out, const json_t *object, const char *key)
{
    const double value = json_number_or(object, key, (double)NAN);
    if (isnan(value))
        buf_putc(out, '-');
    else
        buf_printf(out, "%.4g", value);
}

static void status_screen_ms(char text[24], const json_t *object, const char *key)
{
    const double s = json_number_or(object, key, (double)NAN) / 1000;
    if (isnan(s))
        snprintf(text, 24, "-");
    else if (s < 100)
        snprintf(text, 24, "%.1f s", s);
    else
        snprintf(text, 24, "%.0f min", fmin(s / 60, 1e9));
}

/* --- parts -------------------------------------------------------------------------------- */

static void status_screen_run(const json_t *status, struct buf *out)
{
    const double trained = json_number_or(status, "trained", (double)NAN);
    const double steps = json_number_or(status, "steps", (double)NAN);
    const double eta_s = json_number_or(status, "eta_s", (double)NAN);
    status_screen_member(out, status, "run");
    buf_puts(out, ": ");
    status_screen_count(out, status, "trained");
    buf_puts(out, " of ");
    status_screen_count(out, status, "steps");
    buf_puts(out, " steps trained");
    if (steps > 0 && trained >= 0)
        buf_printf(out, ", %.0f %%", 100 * trained / steps);
    if (eta_s > 0)
        buf_printf(out, ", about %.0f:%02.0f min left", floor(eta_s / 60),
                   fmod(floor(eta_s), 60));
    if (json_is_true(json_object_get(status, "paused")))
        buf_puts(out, ", paused");
    if (json_is_true(json_object_get(status, "draining")))
        buf_puts(out, ", draining");
    buf_puts(out, json_is_true(json_object_get(status, "ready")) ? "" : ", not ready");
    buf_puts(out, "\nwaits for   ");
    status_screen_member(out, status, "waits_for");
    buf_putc(out, '\n');
}

static void status_screen_slots(const json_t *status, struct buf *out)
{
    static const char *const states[] = {"waiting", "leased", "generated",
                                         "scored",  "shaped", "trained"};
    const json_t *slots = json_object_get(status, "slots");
    buf_puts(out, "\nslots       ");
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        status_screen_count(out, slots, states[i]);
        buf_printf(out, " %s, ", states[i]);
    }
    uint64_t dropped = 0;
    const char *reason;
    json_t *n;
    json_object_foreach(json_object_get(slots, "dropped"), reason, n) dropped +=
        (uint64_t)json_integer_value(n);
    buf_printf(out, "%" PRIu64 " dropped: ", dropped);
    status_screen_count(out, slots, "planned");
    buf_puts(out, " planned\n");
    json_object_foreach(json_object_get(slots, "dropped"), reason,
                        n) if (json_integer_value(n) > 0)
    {
        buf_printf(out, "            %" PRId64 " dropped: ", (int64_t)json_integer_value(n));
        status_screen_text(out, reason);
        buf_putc(out, '\n');
    }
    const json_t *references = json_object_get(status, "references");
    if (json_number_or(references, "planned", (double)NAN) > 0) {
        buf_puts(out, "references  ");
        status_screen_count(out, references, "scored");
        buf_puts(out, " scored, ");
        status_screen_count(out, references, "dropped");
        buf_puts(out, " dropped: ");
        status_screen_count(out, references, "planned");
        buf_puts(out, " planned\n");
    }
}

/* Words and the number behind each, of a list that ends with NULL. */
struct status_screen_part {
    const char *before, *key;
};

static void status_screen_parts(const json_t *object, const struct status_screen_part *parts,
                                struct buf *out)
{
    for (; parts->before; parts++) {
        buf_puts(out, parts->before);
        if (json_is_integer(json_object_get(object, parts->key)))
            status_screen_count(out, object, parts->key);
        else
            status_screen_real(out, object, parts->key);
    }
}

/* Costs, where the run has any, and what monitors only watch. */
static void status_screen_costs(const json_t *status, const json_t *last, struct buf *out)
{
    static const struct status_screen_part cost[] = {
        {"  cost      ", "cost_raw_mean"},
        {", limit ", "cost_limit"},
        {", lambda ", "multiplier_before"},
        {" then ", "multiplier_after"},
        {"\n  critic    of costs: loss ", "cost_value_loss"},
        {", explains ", "cost_explained_variance"},
        {NULL, NULL},
    };
    if (json_object_get(last, "cost_raw_mean")) {
        status_screen_parts(last, cost, out);
        buf_puts(out, " of the variance\n");
    }
    const char *name;
    json_t *monitor;
    json_object_foreach(json_object_get(status, "monitors"), name, monitor)
    {
        char key[128];
        snprintf(key, sizeof key, "score.%.100s", name);
        buf_puts(out, "  monitor   ");
        status_screen_text(out, name);
        buf_puts(out, " mean ");
        status_screen_real(out, last, key);
        buf_puts(out, "; without a score so far: ");
        status_screen_count(out, monitor, "missing");
        buf_puts(out, " trained slots\n");
    }
}

/* Where the reference is ever renewed. */
static void status_screen_reference(const json_t *last, struct buf *out)
{
    if (!json_object_get(last, "kl_reference_version"))
        return;
    buf_puts(out, "  measured  from version ");
    status_screen_count(out, last, "kl_reference_version");
    buf_puts(out, " (0: the reference of the run's beginning)\n");
}

static void status_screen_last(const json_t *status, struct buf *out)
{
    static const struct status_screen_part parts[] = {
        {"last step   ", "step"},
        {"\n  reward    raw ", "reward_raw_mean"},
        {", shaped ", "reward_shaped_mean"},
        {"\n  KL        ", "kl_mean"},
        {" nats a sequence at beta ", "kl_coef"},
        {"; then beta ", "kl_coef_after"},
        {"\n  policy    entropy ", "entropy"},
        {" nats, clipped share ", "clip_fraction"},
        {", gradient norm ", "grad_norm"},
        {"\n  critic    loss ", "value_loss"},
        {", explains ", "explained_variance"},
        {" of the variance\n  took      ", "duration_ms"},
        {" ms for ", "response_tokens"},
        {NULL, NULL},
    };
    const json_t *last = json_object_get(status, "last");
    if (!json_is_object(last)) {
        buf_puts(out, "last step   none yet\n");
        return;
    }
    status_screen_parts(last, parts, out);
    buf_puts(out, " response tokens\n");
    status_screen_reference(last, out);
    status_screen_costs(status, last, out);
}

/* Where it ever tripped. */
static void status_screen_breaker(const json_t *status, struct buf *out)
{
    static const struct status_screen_part back[] = {
        {"\n            ", "rollbacks"},      {" rollbacks, the last to version ", "base"},
        {"; learning rates times ", "lr_scale"}, {", beta times ", "beta_scale"},
        {", now back to version ", "target"},    {NULL, NULL},
    };
    const json_t *breaker = json_object_get(status, "breaker");
    const json_t *last = json_object_get(breaker, "last");
    const json_t *rollback = json_object_get(breaker, "rollback");
    if (!(json_number_or(breaker, "trips", (double)NAN) > 0))
        return;
    buf_printf(out, "breaker     %s, ",
               json_is_true(json_object_get(breaker, "cooling")) ? "open" : "closed");
    status_screen_count(out, breaker, "trips");
    buf_puts(out, " trips, the last by ");
    status_screen_member(out, last, "signal");
    buf_putc(out, ' ');
    status_screen_member(out, last, "limit");
    buf_puts(out, ": ");
    status_screen_real(out, last, "value");
    if (json_number_or(rollback, "rollbacks", (double)NAN) > 0)
        status_screen_parts(rollback, back, out);
    buf_putc(out, '\n');
}

static void status_screen_ledger(const json_t *status, struct buf *out)
{
    buf_puts(out, "ledger      ");
    status_screen_count(out, status, "ledger_records");
    buf_puts(out, " records, durable up to ");
    status_screen_count(out, status, "ledger_durable");
    buf_puts(out, "; start ");
    status_screen_count(out, status, "epoch");
    buf_puts(out, "; newest checkpoint: version ");
    status_screen_count(out, status, "checkpoint_version");
    buf_puts(out, "\nsameness    greatest difference of actor's and learner's log-probs: ");
    status_screen_real(out, status, "logp_diff_max");
    buf_putc(out, '\n');
}

static double status_screen_sum(const json_t *peers, const char *role, const char *key)
{
    double sum = 0;
    size_t i;
    json_t *peer;
    json_array_foreach(peers, i, peer)
    {
        const double n = json_number_or(json_object_get(peer, "weights"), key, 0);
        sum += strcmp(json_string_or(peer, "role", ""), role) == 0 ? n : 0;
    }
    return sum;
}

/* The median of the slowest of them. */
static double status_screen_fetch_ms(const json_t *peers)
{
    double ms = 0;
    size_t i;
    json_t *peer;
    json_array_foreach(peers, i, peer) ms =
        fmax(ms, json_number_or(json_object_get(peer, "weights"), "fetch_ms", 0));
    return ms;
}

/* How actors have them, where any has fetched some. */
static void status_screen_weights(const json_t *peers, struct buf *out)
{
    const double mib = 1024.0 * 1024.0;
    const double fetches = status_screen_sum(peers, "actor", "fetches");
    const double wasted = status_screen_sum(peers, "actor", "wasted_bytes");
    const double refused = status_screen_sum(peers, "actor", "refused");
    if (!(fetches + wasted > 0))
        return;
    buf_printf(
        out,
        "weights     %.0f fetches, of the slowest actor in %.0f ms (median); MiB sent: "
        "learners %.1f, actors %.1f\n"
        "            MiB had: mapped %.1f, from learners %.1f, from actors %.1f, saved by "
        "differences %.1f\n",
        fetches, status_screen_fetch_ms(peers),
        status_screen_sum(peers, "learner", "sent_bytes") / mib,
        status_screen_sum(peers, "actor", "sent_bytes") / mib,
        status_screen_sum(peers, "actor", "mapped_bytes") / mib,
        status_screen_sum(peers, "actor", "server_bytes") / mib,
        status_screen_sum(peers, "actor", "relay_bytes") / mib,
        status_screen_sum(peers, "actor", "saved_bytes") / mib);
    if (wasted > 0)
        buf_printf(out,
                   "noted       %.1f MiB of weights came in vain, %.0f chunks with a wrong "
                   "hash\n",
                   wasted / mib, refused);
}

/* A counter that is 0 in a run without trouble is shown where it is not. */
static void status_screen_trouble(const json_t *status, struct buf *out)
{
    static const struct {
        const char *key, *words;
    } rows[] = {
        {"mismatches", "results that differ from another worker's (mismatches)"},
        {"refused", "results refused"},
        {"leases_expired", "leases expired"},
        {"leases_failed", "leases given back"},
        {"leases_second", "leases of slow workers given to a second one too"},
        {"score_retries", "scorings tried again"},
        {"duplicates", "results that were there already, equal to the bit"},
        {"late", "results that nothing waited for"},
        {"resets", "resets sent"},
        {"bad_messages", "messages that were none"},
        {"retrained", "steps computed again by a restarted learner"},
    };
    const json_t *counters = json_object_get(status, "counters");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (json_number_or(counters, rows[i].key, (double)NAN) > 0) {
            buf_puts(out, "noted       ");
            status_screen_count(out, counters, rows[i].key);
            buf_printf(out, " %s\n", rows[i].words);
        }
}

/* Of each pair whose results differ, both: which of them is wrong nobody knows yet. */
static void status_screen_differing(const json_t *peers, struct buf *out)
{
    const char *before = "noted       results that differ are of ";
    size_t i;
    json_t *peer;
    json_array_foreach(peers, i, peer)
    {
        if (json_number_or(peer, "mismatches", (double)NAN) <= 0)
            continue;
        buf_puts(out, before);
        status_screen_member(out, peer, "name");
        before = ", ";
    }
    if (before[0] == ',')
        buf_putc(out, '\n');
}

static void status_screen_peer(const json_t *peer, struct buf *out)
{
    char seen[24], progress[24];
    struct buf name, flight;
    buf_init(&name, STATUS_SCREEN_NAME_MAX);
    buf_init(&flight, 64);
    status_screen_member(&name, peer, "name");
    status_screen_count(&flight, peer, "in_flight");
    buf_puts(&flight, " of ");
    status_screen_count(&flight, peer, "capacity");
    status_screen_ms(seen, peer, "seen_age_ms");
    status_screen_ms(progress, peer, "progress_age_ms");
    buf_printf(out, "%-16s", name.data);
    buf_release(&name);
    const char *const keys[] = {"role", "state"};
    for (size_t i = 0; i < 2; i++) {
        struct buf text;
        buf_init(&text, STATUS_SCREEN_NAME_MAX);
        status_screen_member(&text, peer, keys[i]);
        buf_printf(out, " %-8s", text.data);
        buf_release(&text);
    }
    buf_printf(out, " %9s %12s %10s ", seen, flight.data, progress);
    buf_release(&flight);
    buf_printf(out, "%8.0f", fmax(0, json_number_or(peer, "items_done", (double)NAN)));
    buf_putc(out, '\n');
}

void status_screen(const json_t *status, struct buf *out)
{
    const json_t *peers = json_object_get(status, "peers");
    status_screen_run(status, out);
    status_screen_slots(status, out);
    status_screen_last(status, out);
    status_screen_breaker(status, out);
    gate_screen(json_object_get(status, "gate"), (struct gate_screen_layout){0, 12}, out);
    status_screen_ledger(status, out);
    status_screen_weights(peers, out);
    status_screen_trouble(status, out);
    status_screen_differing(peers, out);
    if (json_array_size(peers) == 0) {
        buf_puts(out, "\nno worker has connected yet\n");
        return;
    }
    buf_printf(out, "\n%-16s %-8s %-8s %9s %12s %10s %8s\n", "worker", "role", "state",
               "last seen", "in flight", "progress", "items");
    for (size_t i = 0; i < json_array_size(peers); i++)
        status_screen_peer(json_array_get(peers, i), out);
}
