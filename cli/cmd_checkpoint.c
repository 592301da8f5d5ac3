/* cmd_checkpoint.c -- rlhf checkpoint: one with the next step, whatever checkpoint.every says. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/admin.h"

static bool checkpoint_is_made(const json_t *status, void *ctx)
{
    (void)ctx;
    return !json_is_true(json_object_get(status, "checkpoint_asked"));
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
    struct admin admin;
    struct err err = {0};
    json_t *status = NULL;
    const int code = admin_begin(&admin, &usage, argc, argv);
    if (code != CLI_GO)
        return code;
    enum err_code rc = admin_ask(&admin, "checkpoint", &status, &err);
    if (rc == ERR_OK)
        rc = admin_wait(&admin, checkpoint_is_made, NULL, &status, &err);
    if (rc == ERR_OK)
        printf("the newest checkpoint is version %" PRIu64 ", after %" PRIu64 " of %" PRIu64
               " steps\n",
               admin_count(status, "checkpoint_version"), admin_count(status, "trained"),
               admin_count(status, "steps"));
    json_decref(status);
    return rc == ERR_OK ? 0 : cli_fail(&usage, &err);
}
