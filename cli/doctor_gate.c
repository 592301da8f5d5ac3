/* doctor_gate.c -- see doctor.h: what the gate decided of its last candidate. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/doctor.h"
#include "cli/gate_screen.h"

static double doctor_gate_number(const json_t *of, const char *key)
{
    const json_t *value = json_object_get(of, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static const char *doctor_gate_text(const json_t *of, const char *key)
{
    const char *text = json_string_value(json_object_get(of, key));
    return text ? text : "";
}

/* "version 80", or the directory of what is no version of this run. */
static void doctor_gate_policy(const json_t *last, char text[128])
{
    const double version = doctor_gate_number(last, "version");
    if (isnan(version))
        snprintf(text, 128, "%.120s", doctor_gate_text(last, "model"));
    else
        snprintf(text, 128, "version %.0f", version);
}

void doctor_gate(struct doctor *doctor, const json_t *gate)
{
    const json_t *last = json_object_get(gate, "last");
    const char *fault = doctor_gate_text(gate, "fault");
    const char *decision = doctor_gate_text(last, "decision");
    const char *why = doctor_gate_text(last, "why");
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
                    policy, doctor_gate_number(last, "mean"), doctor_gate_number(last, "upper"),
                    doctor_gate_number(last, "limit"), doctor_gate_number(last, "n"));
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
