/* doctor_gate.c -- see doctor.h: what the gate decided of its last candidate. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/doctor.h"
#include "cli/gate_screen.h"

/* "version 80", or the directory of what is no version of this run. */
static void doctor_gate_policy(const json_t *last, char text[128])
{
    const double version = json_number_or(last, "version", (double)NAN);
    if (isnan(version))
        snprintf(text, 128, "%.120s", json_string_or(last, "model", ""));
    else
        snprintf(text, 128, "version %.0f", version);
}

void doctor_gate(struct doctor *doctor, const json_t *gate)
{
    const json_t *last = json_object_get(gate, "last");
    const char *fault = json_string_or(gate, "fault", "");
    const char *decision = json_string_or(last, "decision", "");
    const char *why = json_string_or(last, "why", "");
    char policy[128];
    doctor_gate_policy(last, policy);
    if (*fault)
        doctor_find(doctor, "nothing that trains reads it: put the file aside, or mend it",
                    "what the gate decided cannot be read: %s", fault);
    else if (strcmp(decision, "ERROR") == 0)
        doctor_find(doctor,
                    "what was published before stays; mend what the sentence names, then rlhf "
                    "gate RUN",
                    "the gate came to no verdict on %s: %s", policy, why);
    else if (strcmp(decision, "NSF") == 0 && *why)
        doctor_find(doctor, "what was published before stays; mend what the sentence names",
                    "the gate did not pass %s: %s", policy, why);
    else if (strcmp(decision, "NSF") == 0)
        doctor_find(doctor,
                    "what was published before stays; lower safety.limit or set "
                    "safety.gate_samples, and train on",
                    "the gate did not pass %s: a mean cost of %.4g, bounded by %.4g, limit "
                    "%.4g, in %.0f answers",
                    policy, json_number_or(last, "mean", (double)NAN),
                    json_number_or(last, "upper", (double)NAN),
                    json_number_or(last, "limit", (double)NAN),
                    json_number_or(last, "n", (double)NAN));
}

void doctor_gate_of_dir(struct doctor *doctor, const char *dir)
{
    struct buf text;
    buf_init(&text, DOCTOR_OUT_MAX);
    gate_screen_run(dir, true, (struct gate_screen_layout){0}, &text);
    json_t *gate = json_loadb(text.data, text.len, JSON_DECODE_ANY, NULL);
    doctor_gate(doctor, gate);
    json_decref(gate);
    buf_release(&text);
}
