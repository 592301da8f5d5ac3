/* cmd_resume.c -- rlhf resume: a paused run goes on. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/admin.h"

int cmd_resume(int argc, char **argv)
{
    const struct cli_usage usage = {
        .words = "resume",
        .about = "Lets a run that was paused go on.  Returns when that is on the disk.\n",
        .examples = "  rlhf resume runs/demo\n",
    };
    struct admin admin;
    struct err err = {0};
    json_t *status = NULL;
    const int code = admin_begin(&admin, &usage, argc, argv);
    if (code != CLI_GO)
        return code;
    enum err_code rc = admin_ask(&admin, "resume", &status, &err);
    uint64_t records = admin_count(status, "ledger_records");
    if (rc == ERR_OK)
        rc = admin_wait(&admin, admin_is_durable, &records, &status, &err);
    if (rc == ERR_OK)
        printf("goes on after %" PRIu64 " of %" PRIu64 " steps\n",
               admin_count(status, "trained"), admin_count(status, "steps"));
    json_decref(status);
    return rc == ERR_OK ? 0 : cli_fail(&usage, &err);
}
