/* main.c -- rlhf-learner: load the newest checkpoint, then train until told to stop. */
#include "base/log.h"
#include "engine/precision.h"
#include "learner/learner.h"
#include "node/daemon.h"

static enum err_code learner_main(const struct daemon_options *options,
                                  const struct run_config *config, uint64_t *below,
                                  struct err *err)
{
    struct wire_context *context = NULL;
    struct learner *learner = NULL;
    enum err_code rc = daemon_context(&context, config, options->name, options->bulk, err);
    if (rc == ERR_OK)
        rc = learner_new(&learner, config, options->name, *below, context, options->bulk, err);
    *below = LEARNER_NEWEST;
    if (rc == ERR_OK) {
        struct worker_options worker = {
            .role = WIRE_ROLE_LEARNER,
            .name = options->name,
            .control_endpoint = options->control,
            .rendezvous = options->rendezvous,
            .job = options->job,
            .rendezvous_ms = config->rendezvous_ms,
            .capacity = WIRE_ITEMS_MAX,
            .bulk_endpoint = weights_server_endpoint(learner->server),
            .server = learner->server,
            .has_hash = true,
            .version = learner->version,
            .hash = learner->weights_hash,
        };
        run_config_hash(config, &worker.config_hash);
        char path[PRECISION_PATH_MAX];
        precision_path((enum precision)config->precision, path);
        log_info("START", "version %llu, %s", (unsigned long long)learner->version, path);
        rc = worker_run(context, &worker, learner_compute, learner, err);
        if (learner->below > 0)
            *below = learner->below;
    }
    learner_disconnect(learner);
    wire_context_free(context);
    learner_free(learner);
    return rc;
}

int main(int argc, char **argv)
{
    static struct run_config config; /* too large for a stack */
    struct daemon_options options;
    const int status = daemon_begin(argc, argv, "learner", &options, &config);
    if (status >= 0)
        return status;

    struct err err = {0};
    if (options.bulk[0] == '\0')
        return daemon_end(err_set(&err, ERR_USAGE,
                                  "no bulk endpoint: give --bulk, or endpoints.bulk in %s",
                                  options.config_path),
                          &err);
    uint64_t below = LEARNER_NEWEST;
    enum err_code rc;
    do
        rc = learner_main(&options, &config, &below, &err);
    while (rc != ERR_OK && below != LEARNER_NEWEST);
    return daemon_end(rc, &err);
}
