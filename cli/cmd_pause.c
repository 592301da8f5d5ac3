/* cmd_pause.c -- rlhf pause: no work is given out until somebody resumes the run. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/admin.h"

int cmd_pause(int argc, char **argv)
{
    const struct cli_usage usage = {
        .words = "pause",
        .about =
            "Gives out no more work: what workers have is finished and recorded, then nothing\n"
            "moves until `rlhf resume`.  The run stays paused if its coordinator is started\n"
            "again, by whomever.  Returns when that is on the disk.\n",
        .examples = "  rlhf pause runs/demo\n",
    };
    struct admin admin;
    struct err err = {0};
    json_t *status = NULL;
    const int code = admin_begin(&admin, &usage, argc, argv);
    if (code != CLI_GO)
        return code;
    enum err_code rc = admin_ask(&admin, "pause", &status, &err);
    uint64_t records = admin_count(status, "ledger_records");
    if (rc == ERR_OK)
        rc = admin_wait(&admin, admin_is_durable, &records, &status, &err);
    if (rc == ERR_OK)
        printf("paused after %" PRIu64 " of %" PRIu64 " steps; %" PRIu64
               " leases are still out\n",
               admin_count(status, "trained"), admin_count(status, "steps"),
               admin_count(status, "leases_out"));
    json_decref(status);
    return rc == ERR_OK ? 0 : cli_fail(&usage, &err);
}
