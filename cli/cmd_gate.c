/* cmd_gate.c -- rlhf gate: may this policy be published? */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/gate.h"
#include "engine/pool.h"

#define GATE_EXIT_NSF 1

static void gate_command_progress(void *ctx, uint32_t prompts, uint32_t all)
{
    (void)ctx;
    fprintf(stderr, "\r%u/%u prompts%s", prompts, all, prompts == all ? "\r\033[K" : "");
}

static enum err_code gate_command_run(const char *run, const char *model, uint64_t threads,
                                      const char *const *overrides, size_t overrides_n,
                                      struct gate_result *result, struct err *err)
{
    static struct run_config config; /* too large for a stack */
    char path[RUN_PATH_MAX], final[RUN_PATH_MAX];
    enum err_code rc = file_join(path, run, "config.yaml", err);
    if (rc == ERR_OK)
        rc = run_config_load(&config, path, overrides, overrides_n, err);
    if (rc == ERR_OK)
        rc = file_join(final, config.dir, "final", err);
    if (rc == ERR_OK && config.gate_prompts[0] == '\0')
        rc = err_set(err, ERR_USAGE, "%s has no gate.prompts: there is nothing to test on",
                     path);
    if (rc)
        return rc;
    const struct gate_params params = {
        .config = &config,
        .model = model ? model : final,
        .threads = (uint32_t)threads,
        .progress = isatty(STDERR_FILENO) ? gate_command_progress : NULL,
    };
    struct buf text;
    buf_init(&text, 4096);
    rc = gate_run(&params, result, err);
    if (rc == ERR_OK) {
        gate_explain(&config, result, &text);
        printf("%s: %s", params.model, text.data);
    }
    buf_release(&text);
    return rc;
}

int cmd_gate(int argc, char **argv)
{
    const char *model = NULL;
    uint64_t threads = 1;
    const struct cli_option options[] = {
        cli_text("model", &model, "DIR", "the candidate; default: RUN/final"),
        cli_count("threads", &threads, "N", 1, POOL_THREADS_MAX, "threads; they change no bit"),
    };
    const struct cli_usage usage = {
        .words = "gate",
        .synopsis = "RUN [--model DIR] [KEY=VALUE ...]",
        .about =
            "Lets the policy answer each prompt of gate.prompts once, scores the answers with\n"
            "the run's cost scorers, and makes it RUN/published if an upper confidence bound "
            "on\n"
            "its mean cost is at or below gate.limit.  Otherwise there is no safe solution, "
            "and\n"
            "RUN/published stays.  KEY=VALUE overrides a key of RUN/config.yaml.\n"
            "Exit status 0: published; 1: no safe solution.\n",
        .options = options,
        .options_n = sizeof options / sizeof options[0],
        .examples = "  rlhf gate runs/demo\n"
                    "  rlhf gate runs/demo --model runs/demo/checkpoints/v00000080/policy\n",
        .arguments_min = 1,
        .arguments_max = 256,
    };
    int first = 0;
    const int code = cli_parse(&usage, argc, argv, &first);
    if (code != CLI_GO)
        return code;
    struct err err = {0};
    struct gate_result result;
    const enum err_code rc =
        gate_command_run(argv[first], model, threads, (const char *const *)argv + first + 1,
                         (size_t)(argc - first - 1), &result, &err);
    if (rc)
        return cli_fail(&usage, &err);
    return result.entry.verdict.decision == BOUND_PASS ? 0 : GATE_EXIT_NSF;
}
