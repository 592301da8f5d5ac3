/* inspect_ledger.c -- see inspect.h: what a run's ledger holds. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "cli/gate_screen.h"
#include "cli/inspect.h"
#include "cli/status_screen.h"
#include "coordinator/ledger.h"

#define INSPECT_EVENT_MAX 600 /* bytes of an event's text that are kept */

struct inspect_ledger {
    struct ledger_summary summary;
    uint64_t first_ms, last_ms; /* of any record read */
    uint64_t steps;             /* STEP records read */
    uint64_t trained;           /* slots */
    uint64_t dropped[RECORD_REASONS];
    uint64_t generated, scored; /* slots of steps not trained yet; scored ones count in both */
    uint64_t response_tokens;   /* of trained slots */
    struct record_step last;
    uint64_t step_ms; /* when the last step was recorded */
    uint64_t events;
    char event[INSPECT_EVENT_MAX]; /* the last one */
};

static void inspect_ledger_step(struct inspect_ledger *seen, const struct record *record)
{
    const struct record_step *step = record->step;
    seen->steps += 1;
    seen->trained += step->trained;
    for (int r = 0; r < RECORD_REASONS; r++)
        seen->dropped[r] += step->dropped[r];
    seen->response_tokens += step->response_tokens;
    seen->last = *step;
    seen->last.stats = NULL; /* borrowed, and gone when this returns */
    seen->last.stats_n = 0;
    seen->step_ms = record->wall_ms;
}

/* Of slots, only those of steps that are not trained yet come here. */
static enum err_code inspect_ledger_record(void *ctx, const struct record *record,
                                           struct err *err)
{
    (void)err;
    struct inspect_ledger *seen = ctx;
    const bool slot = record->work == WIRE_WORK_ROLLOUT && record->a >= seen->summary.steps;
    if (seen->first_ms == 0)
        seen->first_ms = record->wall_ms;
    seen->last_ms = record->wall_ms;
    switch (record->kind) {
    case RECORD_STEP: inspect_ledger_step(seen, record); break;
    case RECORD_ROLLOUT: seen->generated += slot; break;
    case RECORD_SCORE: seen->scored += slot; break;
    case RECORD_DROP: seen->dropped[record->reason] += slot; break;
    case RECORD_EVENT:
        seen->events++;
        snprintf(seen->event, sizeof seen->event, "%s: %s", record->id, record->text);
        break;
    default: break;
    }
    return ERR_OK;
}

static void inspect_ledger_time(char text[32], uint64_t ms)
{
    const time_t at = (time_t)(ms / 1000);
    struct tm utc;
    if (!gmtime_r(&at, &utc) || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        text[0] = '\0';
}

static void inspect_ledger_people(const struct inspect_ledger *seen, struct buf *out)
{
    const struct ledger_summary *sum = &seen->summary;
    char hex[HASH_HEX_BYTES], first[32], last[32], step[32];
    hash_hex(&sum->config_hash, hex);
    inspect_ledger_time(first, seen->first_ms);
    inspect_ledger_time(last, seen->last_ms);
    inspect_ledger_time(step, seen->step_ms);
    buf_printf(out,
               "  config        %s\n  records       %" PRIu64 ", from %s to %s\n"
               "  starts        %" PRIu64 "\n  steps         %" PRIu64 " trained\n"
               "  checkpoint    version %" PRIu64 "\n",
               hex, sum->records, first, last, sum->epochs, sum->steps,
               sum->checkpoint_version);
    buf_printf(out,
               "  slots         %" PRIu64 " trained, with %" PRIu64
               " response tokens; of later steps %" PRIu64 " generated, %" PRIu64
               " of them scored\n",
               seen->trained, seen->response_tokens, seen->generated, seen->scored);
    for (int r = 1; r < RECORD_REASONS; r++)
        if (seen->dropped[r] > 0)
            buf_printf(out, "  dropped       %" PRIu64 " slots: %s\n", seen->dropped[r],
                       record_reason_name((enum record_reason)r));
    buf_printf(out,
               "  kept          %" PRIu64 " rollouts, %" PRIu64 " references, %" PRIu64
               " scores, %" PRIu64 " drops\n",
               sum->rollouts, sum->references, sum->scores, sum->dropped);
    if (sum->steps > 0)
        buf_printf(out,
                   "  last step     %" PRIu64 " at %s: reward raw %.4g, shaped %.4g; KL %.4g "
                   "nats a sequence, beta %.4g then %.4g; %.1f s\n",
                   seen->last.step, step, seen->last.reward_raw_mean,
                   seen->last.reward_shaped_mean, seen->last.kl_mean, seen->last.kl_coef_before,
                   seen->last.kl_coef_after, (double)seen->last.duration_ms / 1000);
    if (sum->steps > 0 && !isnan(seen->last.cost_raw_mean))
        buf_printf(out, "  cost          %.4g, limit %.4g, lambda %.4g then %.4g\n",
                   seen->last.cost_raw_mean, seen->last.cost_limit,
                   seen->last.multiplier_before, seen->last.multiplier_after);
    buf_printf(out, "  events        %" PRIu64 "%s", seen->events,
               seen->events > 0 ? "; the last: " : "");
    status_screen_text(out, seen->event);
    buf_putc(out, '\n');
}

static void inspect_ledger_number(struct buf *out, const char *key, double value)
{
    buf_printf(out, ", \"%s\": ", key);
    buf_json_number(out, value);
}

static void inspect_ledger_json(const struct inspect_ledger *seen, struct buf *out)
{
    const struct ledger_summary *sum = &seen->summary;
    const struct record_step *last = &seen->last;
    char hex[HASH_HEX_BYTES];
    hash_hex(&sum->config_hash, hex);
    buf_printf(out,
               ", \"config_hash\": \"%s\", \"records\": %" PRIu64 ", \"first_ms\": %" PRIu64
               ", \"last_ms\": %" PRIu64 ", \"epochs\": %" PRIu64 ", \"steps\": %" PRIu64
               ", \"checkpoint_version\": %" PRIu64,
               hex, sum->records, seen->first_ms, seen->last_ms, sum->epochs, sum->steps,
               sum->checkpoint_version);
    buf_printf(out,
               ", \"rollouts\": %" PRIu64 ", \"references\": %" PRIu64 ", \"scores\": %" PRIu64
               ", \"drops\": %" PRIu64,
               sum->rollouts, sum->references, sum->scores, sum->dropped);
    buf_printf(out,
               ", \"open\": {\"generated\": %" PRIu64 ", \"scored\": %" PRIu64
               "}, \"slots\": {\"trained\": %" PRIu64 ", \"dropped\": {",
               seen->generated, seen->scored, seen->trained);
    for (int r = 1; r < RECORD_REASONS; r++)
        buf_printf(out, "%s\"%s\": %" PRIu64, r > 1 ? ", " : "",
                   record_reason_name((enum record_reason)r), seen->dropped[r]);
    buf_printf(out, "}}, \"events\": %" PRIu64 ", \"last\": ", seen->events);
    if (sum->steps == 0) {
        buf_puts(out, "null");
        return;
    }
    buf_printf(out, "{\"step\": %" PRIu64 ", \"at_ms\": %" PRIu64, last->step, seen->step_ms);
    inspect_ledger_number(out, "reward_raw_mean", last->reward_raw_mean);
    inspect_ledger_number(out, "reward_shaped_mean", last->reward_shaped_mean);
    inspect_ledger_number(out, "kl_mean", last->kl_mean);
    inspect_ledger_number(out, "kl_coef", last->kl_coef_before);
    inspect_ledger_number(out, "kl_coef_after", last->kl_coef_after);
    inspect_ledger_number(out, "cost_raw_mean", last->cost_raw_mean);
    inspect_ledger_number(out, "cost_limit", last->cost_limit);
    inspect_ledger_number(out, "multiplier_before", last->multiplier_before);
    inspect_ledger_number(out, "multiplier_after", last->multiplier_after);
    buf_putc(out, '}');
}

static enum err_code inspect_ledger_read(const char *dir, struct inspect_ledger *seen,
                                         struct err *err)
{
    struct ledger *ledger = NULL;
    enum err_code rc = ledger_open_read(&ledger, dir, err);
    if (rc)
        return rc;
    /* A step that is trained between the two would count as open, too. */
    do {
        memset(seen, 0, sizeof *seen);
        rc = ledger_summarise(ledger, &seen->summary, err);
        if (rc == ERR_OK)
            rc = ledger_each(ledger, seen->summary.steps, inspect_ledger_record, seen, err);
    } while (rc == ERR_OK && seen->steps != seen->summary.steps);
    const enum err_code closed = ledger_close(ledger, rc ? NULL : err);
    return rc ? rc : closed;
}

enum err_code inspect_ledger(const char *dir, bool json, struct buf *out, struct err *err)
{
    struct inspect_ledger seen = {0};
    const enum err_code rc = inspect_ledger_read(dir, &seen, err);
    if (rc)
        return rc;
    buf_puts(out, json ? "{\"run\": " : "");
    if (json)
        buf_json_string(out, dir, strlen(dir));
    else
        buf_printf(out, "%s\n", dir);
    if (json)
        inspect_ledger_json(&seen, out);
    else
        inspect_ledger_people(&seen, out);
    buf_puts(out, json ? ", \"gate\": " : "");
    gate_screen_run(dir, json, (struct gate_screen_layout){2, 14}, out);
    buf_puts(out, json ? "}" : "");
    return ERR_OK;
}
