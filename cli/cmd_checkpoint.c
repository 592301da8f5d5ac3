/* cmd_checkpoint.c -- rlhf checkpoint: one with the next step, whatever checkpoint.every says. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/admin.h"

static bool checkpoint_is_made(const json_t *status, uint64_t records)
{
    (void)records;
    return !json_is_true(json_object_get(status, "checkpoint_asked"));
}

static void checkpoint_say(const json_t *status)
{
    printf("the newest checkpoint is version %" PRIu64 ", after %" PRIu64 " of %" PRIu64
           " steps\n",
           admin_count(status, "checkpoint_version"), admin_count(status, "trained"),
           admin_count(status, "steps"));
}

int cmd_checkpoint(int argc, char **argv)
{
    const struct cli_usage usage = {
        .words = "checkpoint",
        .about =
            "Asks for a checkpoint with the next step that is trained, and returns when it is\n"
            "there.  A paused run makes it when it goes on.  No weight depends on it.\n",
        .examples = "  rlhf checkpoint runs/demo\n",
    };
    return admin_command(&usage, argc, argv, checkpoint_is_made, checkpoint_say);
}
