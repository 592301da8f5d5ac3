/* main.c -- rlhf-reward: load scorers and reference, then score leases until told to stop. */
#include "base/log.h"
#include "engine/precision.h"
#include "node/daemon.h"
#include "reward/reward.h"

int main(int argc, char **argv)
{
    static struct run_config config; /* too large for a stack */
    struct daemon_options options;
    const int status = daemon_begin(argc, argv, "reward", &options, &config);
    if (status >= 0)
        return status;

    struct err err = {0};
    struct wire_context *context = NULL;
    struct reward *reward = NULL;
    enum err_code rc = daemon_context(&context, &config, options.name, NULL, &err);
    if (rc == ERR_OK)
        rc = reward_new(&reward, &config, &err);
    if (rc == ERR_OK) {
        struct worker_options worker = {
            .role = WIRE_ROLE_REWARD,
            .name = options.name,
            .control_endpoint = options.control,
            .rendezvous = options.rendezvous,
            .job = options.job,
            .rendezvous_ms = config.rendezvous_ms,
            .capacity = REWARD_CAPACITY,
        };
        worker.has_hash = true;
        reward_fingerprint(reward, &worker.hash);
        run_config_hash(&config, &worker.config_hash);
        char path[PRECISION_PATH_MAX];
        precision_path((enum precision)config.precision, path);
        log_info("START", "%u scorers, reference %s, %s", config.scorers, config.reference,
                 path);
        rc = worker_run(context, &worker, reward_compute, reward, &err);
    }
    reward_free(reward);
    wire_context_free(context);
    return daemon_end(rc, &err);
}
