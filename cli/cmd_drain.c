/* cmd_drain.c -- rlhf drain: to the next checkpoint, made for it, and then the run ends. */
#include <inttypes.h>
#include <stdio.h>

#include "base/file.h"
#include "cli/admin.h"
#include "cli/run_lock.h"
#include "cli/status_source.h"

#define DRAIN_GONE_POLLS 30 /* of a URL: refused so often in a row, nobody comes back */

/* A coordinator that ends takes RUN/http with it; one that crashed leaves it, and comes back. */
static bool drain_is_over(const struct admin *admin, unsigned refused)
{
    char path[FILE_PATH_MAX];
    if (status_is_url(admin->target))
        return refused >= DRAIN_GONE_POLLS;
    return file_join(path, admin->target, "http", NULL) == ERR_OK && !file_exists(path);
}

/* The `rlhf run` above it waits for the workers: until then the directory is in use. */
static enum err_code drain_wait_for_run(const struct admin *admin, struct err *err)
{
    enum err_code rc = ERR_OK;
    while (rc == ERR_OK && !status_is_url(admin->target) && run_lock_is_taken(admin->target)) {
        rc = admin_late(admin, NULL, err);
        admin_nap();
    }
    return rc;
}

/* Until it is gone.  One that was started again has forgotten, and is asked again. */
static enum err_code drain_wait(struct admin *admin, struct err *err)
{
    enum err_code rc = ERR_OK;
    for (unsigned refused = 0; rc == ERR_OK && !drain_is_over(admin, refused);) {
        json_t *status = NULL;
        struct err why = {0};
        if (status_of(admin->target, NULL, NULL, &status, &why) != ERR_OK) {
            refused++;
        } else {
            refused = 0;
            json_t *again = NULL;
            if (!json_is_true(json_object_get(status, "draining")) &&
                status_address(admin->target, admin->address, &why) == ERR_OK)
                (void)admin_ask(admin, "drain", &again, &why); /* or the next time */
            json_decref(again);
        }
        rc = admin_late(admin, status, err);
        json_decref(status);
        if (rc == ERR_OK)
            admin_nap();
    }
    return rc;
}

/* Did it end so, or otherwise?  The ledger knows. */
static enum err_code drain_check(const struct admin *admin, struct err *err)
{
    struct status_past past;
    if (status_is_url(admin->target)) {
        printf("drained: the coordinator at %s has ended\n", admin->address);
        return ERR_OK;
    }
    const enum err_code rc = status_read_past(admin->target, &past, err);
    if (rc != ERR_OK)
        return rc;
    if (past.summary.checkpoint_version != past.summary.steps)
        return err_set(err, ERR_UNAVAILABLE,
                       "the coordinator ended otherwise: step %" PRIu64
                       " has no checkpoint; RUN/run.log says why",
                       past.summary.steps);
    printf("drained after %" PRIu64 " steps, with their checkpoint; the same command goes on\n",
           past.summary.steps);
    return ERR_OK;
}

int cmd_drain(int argc, char **argv)
{
    const struct cli_usage usage = {
        .words = "drain",
        .about =
            "Lets the run finish what is in flight and one step with a checkpoint, and "
            "then end,\n"
            "with exit status 0, so that the same `rlhf run` goes on from there.  Also a "
            "paused\n"
            "run, which then is paused still.  Returns when the coordinator has ended, and\n"
            "`rlhf run` with it.\n",
        .examples = "  rlhf drain runs/demo && rlhf run my.yaml\n",
    };
    struct admin admin;
    struct err err = {0};
    json_t *status = NULL;
    const int code = admin_begin(&admin, &usage, argc, argv);
    if (code != CLI_GO)
        return code;
    enum err_code rc = admin_ask(&admin, "drain", &status, &err);
    /* It may have ended before it could answer. */
    if (rc == ERR_OK || drain_is_over(&admin, 0))
        rc = drain_wait(&admin, &err);
    if (rc == ERR_OK)
        rc = drain_wait_for_run(&admin, &err);
    if (rc == ERR_OK)
        rc = drain_check(&admin, &err);
    json_decref(status);
    return rc == ERR_OK ? 0 : cli_fail(&usage, &err);
}
