/* cmd_resume.c -- rlhf resume: a paused run goes on. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/admin.h"

static void resume_say(const json_t *status)
{
    printf("goes on after %" PRIu64 " of %" PRIu64 " steps\n", admin_count(status, "trained"),
           admin_count(status, "steps"));
}

int cmd_resume(int argc, char **argv)
{
    const struct cli_usage usage = {
        .words = "resume",
        .about = "Lets a run that was paused go on.  Returns when that is on the disk.\n",
        .examples = "  rlhf resume runs/demo\n",
    };
    return admin_command(&usage, argc, argv, admin_is_durable, resume_say);
}
