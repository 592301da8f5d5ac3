/* main.c -- rlhf-actor: load the policy, then serve generate leases until told to stop. */
#include "actor/actor.h"
#include "base/log.h"
#include "engine/precision.h"
#include "node/daemon.h"

int main(int argc, char **argv)
{
    static struct run_config config; /* too large for a stack */
    struct daemon_options options;
    const int status = daemon_begin(argc, argv, "actor", &options, &config);
    if (status >= 0)
        return status;

    struct err err = {0};
    struct wire_context *context = NULL;
    struct actor *actor = NULL;
    const char *relay = config.relay_endpoint[0] ? config.relay_endpoint : NULL;
    enum err_code rc = daemon_context(&context, &config, options.name, relay, &err);
    if (rc == ERR_OK)
        rc = actor_new(&actor, &config, context, &err);
    if (rc == ERR_OK) {
        struct worker_options worker = {
            .role = WIRE_ROLE_ACTOR,
            .name = options.name,
            .control_endpoint = options.control,
            .rendezvous = options.rendezvous,
            .job = options.job,
            .rendezvous_ms = config.rendezvous_ms,
            .capacity = 3 * config.actor_rows, /* a batch, the next one, and what is sent */
            .server = actor_relay(actor),
        };
        run_config_hash(&config, &worker.config_hash);
        char path[PRECISION_PATH_MAX];
        precision_path((enum precision)config.precision, path);
        log_info("START", "policy %s, %s", config.policy, path);
        rc = worker_run(context, &worker, actor_compute, actor, &err);
    }
    actor_free(actor);
    wire_context_free(context);
    return daemon_end(rc, &err);
}
