/* main.c -- rlhf-coordinator: plans, leases, commits; see shell.h. */
#include "coordinator/shell.h"
#include "node/daemon.h"

int main(int argc, char **argv)
{
    static struct run_config config; /* too large for a stack */
    struct daemon_options options;
    const int begun = daemon_begin(argc, argv, "coordinator", &options, &config);
    if (begun >= 0)
        return begun;

    struct err err = {0};
    int status = 0;
    const struct shell_options shell = {
        .config = &config,
        .name = options.name,
        .control = options.control,
        .http = options.http,
        .files_max = daemon_files_max(),
        .rendezvous = options.rendezvous,
        .job = options.job,
    };
    const enum err_code rc = shell_run(&shell, &status, &err);
    return rc == ERR_OK ? status : daemon_end(rc, &err);
}
