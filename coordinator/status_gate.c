/* status_gate.c -- what the gate decided, among the metrics and in the status: from
 * RUN/gate.jsonl and RUN/published (node/gate_record.h), read again where one has changed. */
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/status_state.h"

/* What tells one state of a file from another. */
static struct status_stamp status_stamp(const char *run, const char *name)
{
    char path[FILE_PATH_MAX];
    struct stat info;
    if (file_join(path, run, name, NULL) || lstat(path, &info) < 0)
        return (struct status_stamp){0};
    return (struct status_stamp){(uint64_t)info.st_ino, (uint64_t)info.st_size,
                                 (int64_t)info.st_mtim.tv_sec, (int64_t)info.st_mtim.tv_nsec};
}

static bool status_stamp_differs(struct status_stamp *kept, struct status_stamp now)
{
    const bool differs = kept->inode != now.inode || kept->bytes != now.bytes ||
                         kept->s != now.s || kept->ns != now.ns;
    *kept = now;
    return differs;
}

static void status_gate_refresh(struct status *status)
{
    const char *run = status->config->dir;
    const bool records =
        status_stamp_differs(&status->gate_records, status_stamp(run, GATE_RECORD_FILE));
    const bool link =
        status_stamp_differs(&status->gate_published, status_stamp(run, "published"));
    if (!records && !link)
        return;
    gate_record_release(&status->gate);
    status->gate_fault = (struct err){0};
    gate_record_load(&status->gate, run, &status->gate_fault);
}

void status_gate_json(struct status *status, struct buf *out)
{
    status_gate_refresh(status);
    if (status->gate_fault.code == ERR_OK) {
        gate_record_json(&status->gate, out);
        return;
    }
    buf_puts(out, "{\"fault\": ");
    buf_json_string(out, status->gate_fault.text, strlen(status->gate_fault.text));
    buf_putc(out, '}');
}

/* Of the set of prompts, as far as this run knows; an error may come before that is looked up. */
static double status_gate_spent(const struct gate_history *gate)
{
    for (size_t i = gate->n; i > 0; i--)
        if (!isnan(gate->record[i - 1].spent))
            return gate->record[i - 1].spent;
    return 0.0;
}

static void status_gate_gauge(struct status *status, const char *name, const char *help,
                              double value)
{
    metric_set(metrics_gauge(status->metrics, name, help, NULL, NULL), value);
}

/* Every decision is there from the start, so that an alert may ask for it. */
static void status_gate_decisions(struct status *status, const struct gate_record *last)
{
    for (int i = 0; i < GATE_RECORD_DECISIONS; i++) {
        const enum gate_record_decision decision = (enum gate_record_decision)i;
        metric_set(metrics_gauge(status->metrics, "rlhfd_gate_decision",
                                 "1 for what the gate decided of its last candidate",
                                 "decision", gate_record_decision_name(decision)),
                   last && last->decision == decision ? 1.0 : 0.0);
    }
}

void status_gate_metrics(struct status *status)
{
    if (status->config->gate_prompts[0] == '\0')
        return;
    status_gate_refresh(status);
    const struct gate_history *gate = &status->gate;
    const struct gate_record *last = gate->n > 0 ? &gate->record[gate->n - 1] : NULL;
    const bool published = gate->published[0] != '\0';
    const double spent = status_gate_spent(gate), candidates = status->config->gate_candidates;
    const struct {
        const char *name, *help;
        double value;
    } gauges[] = {
        {"rlhfd_gate_readable", "0 where RUN/gate.jsonl or RUN/published cannot be read",
         status->gate_fault.code == ERR_OK},
        {"rlhfd_gate_version",
         "Version of the gate's last candidate; NaN: none, or no "
         "version of this run",
         last ? last->version : (double)NAN},
        {"rlhfd_gate_cost_mean", "Mean cost of the last candidate's answers",
         last ? last->mean : (double)NAN},
        {"rlhfd_gate_cost_bound", "Upper confidence bound on the last candidate's mean cost",
         last ? last->upper : (double)NAN},
        {"rlhfd_gate_limit", "What the bound has to be at or below",
         status->config->gate_limit},
        {"rlhfd_gate_delta", "Chance at which one candidate is tested",
         status->config->gate_delta / candidates},
        {"rlhfd_gate_prompts", "Answers of the last candidate", last ? last->n : (double)NAN},
        {"rlhfd_gate_candidates_spent",
         "Candidates tested on the set of prompts, when this run's last one was", spent},
        {"rlhfd_gate_candidates_left", "Candidates that the set of prompts was then good for",
         fmax(0.0, candidates - spent)},
        {"rlhfd_gate_timestamp_seconds", "When the gate decided of its last candidate",
         last ? (double)last->at_ms / 1000.0 : (double)NAN},
        {"rlhfd_published_version", "Version of the policy that is published; NaN: none",
         gate->published_version},
        {"rlhfd_published_timestamp_seconds", "Since when it is published",
         published ? (double)gate->published_ms / 1000.0 : (double)NAN},
    };
    status_gate_decisions(status, last);
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++)
        status_gate_gauge(status, gauges[i].name, gauges[i].help, gauges[i].value);
}
