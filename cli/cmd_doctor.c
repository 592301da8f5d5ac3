/* cmd_doctor.c -- rlhf doctor: who is slow or gone, since when, and what to do. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/doctor.h"
#include "cli/status_source.h"

#define DOCTOR_EXIT_FOUND 1

static bool doctor_waits_for_disk(const json_t *status)
{
    return json_integer_value(json_object_get(status, "ledger_records")) >
           json_integer_value(json_object_get(status, "ledger_durable"));
}

static void doctor_answered(struct doctor *doctor, const char *target, json_t *status)
{
    json_t *again = NULL;
    if (doctor_waits_for_disk(status)) {
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        if (status_of(target, NULL, NULL, &again, NULL) != ERR_OK) {
            json_decref(again);
            again = NULL; /* it ended meanwhile: what it said before stands */
        }
    }
    doctor_live(doctor, again ? again : status, again ? status : NULL);
    json_decref(again);
}

/* ERR_OK also where the finding is that nobody answers. */
static enum err_code doctor_look(struct doctor *doctor, const char *target, struct err *err)
{
    struct status_past past = {0};
    json_t *status = NULL;
    const bool url = status_is_url(target);
    enum err_code rc = status_of(target, &past, NULL, &status, err);
    if (rc == ERR_OK) {
        doctor_answered(doctor, target, status);
    } else if (url && rc == ERR_UNAVAILABLE) {
        doctor_find(doctor, "ask on its machine: rlhf doctor RUN", "%s", err->text);
        rc = ERR_OK;
    } else if (!url && past.summary.records > 0) {
        doctor_past(doctor, target, err->text);
        doctor_gate_of_dir(doctor, target);
        rc = ERR_OK;
    }
    if (rc == ERR_OK && !url)
        doctor_disk(doctor, target);
    json_decref(status);
    return rc;
}

int cmd_doctor(int argc, char **argv)
{
    const struct cli_usage usage = {
        .words = "doctor",
        .synopsis = "RUN|http://ADDRESS:PORT",
        .about =
            "Says who of a run is slow or gone, since when, what it waits for, and what to "
            "do.\n"
            "Where the coordinator answers, it is asked; else the run's directory tells: its\n"
            "ledger, its lock, its log.  Exit status 0: nothing to do; 1: something.\n",
        .examples = "  rlhf doctor runs/demo\n",
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int argument = 0;
    const int code = cli_parse(&usage, argc, argv, &argument);
    if (code != CLI_GO)
        return code;
    struct err err = {0};
    struct buf out;
    buf_init(&out, DOCTOR_OUT_MAX);
    struct doctor doctor = {.out = &out};
    enum err_code rc = doctor_look(&doctor, argv[argument], &err);
    if (rc == ERR_OK)
        rc = buf_check(&out, "the findings", &err);
    if (rc == ERR_OK)
        printf("%s%s", out.len > 0 ? out.data : "", doctor.findings == 0 ? "healthy\n" : "");
    buf_release(&out);
    if (rc != ERR_OK)
        return cli_fail(&usage, &err);
    return doctor.findings > 0 ? DOCTOR_EXIT_FOUND : 0;
}
