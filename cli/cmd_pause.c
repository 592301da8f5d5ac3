/* cmd_pause.c -- rlhf pause: no work is given out until somebody resumes the run. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/admin.h"

static void pause_say(const json_t *status)
{
    printf("paused after %" PRIu64 " of %" PRIu64 " steps; %" PRIu64 " leases are still out\n",
           admin_count(status, "trained"), admin_count(status, "steps"),
           admin_count(status, "leases_out"));
}

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
    return admin_command(&usage, argc, argv, admin_is_durable, pause_say);
}
