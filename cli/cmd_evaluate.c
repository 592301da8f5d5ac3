/* cmd_evaluate.c -- rlhf evaluate: how good a model's answers are by a run's scorers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/evaluate.h"
#include "engine/pool.h"

#define EVALUATE_LINES_MAX ((size_t)1 << 30)
#define EVALUATE_JSON_MAX  ((size_t)1 << 20)

struct evaluate_command {
    const char *config_path, *model, *prompts, *out, *summary;
    uint64_t samples, seed, limit, threads;
    bool json;
    struct evaluate_params params;
};

static void evaluate_on_progress(void *ctx, uint32_t prompts, uint32_t all)
{
    (void)ctx;
    fprintf(stderr, "\r%u/%u prompts%s", prompts, all, prompts == all ? "\r\033[K" : "");
}

/* `dir` as the config would have it: absolute. */
static enum err_code evaluate_place(char out[RUN_PATH_MAX], const char *path, struct err *err)
{
    char here[RUN_PATH_MAX];
    if (!path)
        return ERR_OK; /* the config's stays */
    if (path[0] == '/')
        here[0] = '\0';
    else if (!getcwd(here, sizeof here))
        return err_errno(err, "the working directory");
    const int n = snprintf(out, RUN_PATH_MAX, "%s%s%s", here, here[0] ? "/" : "", path);
    if (n < 0 || n >= RUN_PATH_MAX)
        return err_set(err, ERR_VALUE, "path is over %d bytes: %.80s...", RUN_PATH_MAX, path);
    return ERR_OK;
}

static enum err_code evaluate_publish(const struct evaluate_command *c,
                                      const struct run_config *config,
                                      const struct evaluate_result *result,
                                      const struct buf *lines, struct err *err)
{
    struct buf json, table;
    buf_init(&json, EVALUATE_JSON_MAX);
    buf_init(&table, EVALUATE_JSON_MAX);
    evaluate_write_json(config, &c->params, result, &json);
    evaluate_write_table(config, result, &table);
    enum err_code rc = buf_check(&json, "the result", err);
    if (rc == ERR_OK)
        rc = buf_check(&table, "the result", err);
    if (rc == ERR_OK && c->out)
        rc = file_write(c->out, lines->data, lines->len, err);
    if (rc == ERR_OK && c->summary)
        rc = file_write(c->summary, json.data, json.len, err);
    if (rc == ERR_OK)
        fputs(c->json ? json.data : table.data, stdout);
    buf_release(&json);
    buf_release(&table);
    return rc;
}

static enum err_code evaluate_command_run(struct evaluate_command *c,
                                          const char *const *overrides, size_t overrides_n,
                                          struct err *err)
{
    static struct run_config config; /* too large for a stack */
    struct evaluate_result result;
    struct buf lines;
    buf_init(&lines, EVALUATE_LINES_MAX);
    enum err_code rc = run_config_load(&config, c->config_path, overrides, overrides_n, err);
    if (rc || (rc = evaluate_place(config.policy, c->model, err)) ||
        (rc = evaluate_place(config.prompts, c->prompts, err)))
        goto out;
    c->params.samples = (uint32_t)c->samples;
    c->params.stream = RNG_STREAM_CLI;
    c->params.seed = c->seed;
    c->params.prompts_max = (uint32_t)c->limit;
    c->params.threads = (uint32_t)c->threads;
    if (!c->json && isatty(STDERR_FILENO))
        c->params.progress = evaluate_on_progress;
    rc = evaluate_run(&config, &c->params, &lines, &result, err);
    if (rc == ERR_OK)
        rc = evaluate_publish(c, &config, &result, &lines, err);
out:
    buf_release(&lines);
    return rc;
}

static const struct cli_usage evaluate_usage = {
    .words = "evaluate",
    .synopsis = "--config RUN.yaml --model DIR [options] [KEY=VALUE ...]",
    .about =
        "Samples the model's answers to the prompts with the run's sampling and scores them\n"
        "with the run's scorers, monitors included, in this one process.  Prints the mean\n"
        "and its standard error of each score, one by one and not combined, of the KL to the\n"
        "run's reference policy and of the length.  With --against both models answer with\n"
        "the same random numbers, and each score gets a win rate: 1 where it is greater, 1/2\n"
        "where it is equal.\n"
        "The same seed gives the same bits, whatever the threads.\n",
    .examples =
        "  rlhf evaluate --config runs/a/config.yaml --model runs/a/final --against policy\n"
        "  rlhf evaluate --config run.yaml --model policy --prompts test.jsonl --samples 4\n",
    .arguments_max = 256,
};

int cmd_evaluate(int argc, char **argv)
{
    struct evaluate_command c = {.samples = 1, .seed = 1, .threads = 1};
    const struct cli_option options[] = {
        cli_text("config", &c.config_path, "FILE", "the run's YAML file"),
        cli_text("model", &c.model, "DIR", "Hugging Face model directory"),
        cli_text("against", &c.params.against, "DIR", "the model to compare it with"),
        cli_text("prompts", &c.prompts, "FILE", "JSON lines; default: the config's"),
        cli_count("limit", &c.limit, "N", 0, UINT32_MAX, "the first N prompts; 0: all"),
        cli_count("samples", &c.samples, "N", 1, EVALUATE_SAMPLES_MAX, "answers a prompt"),
        cli_count("seed", &c.seed, "S", 0, 0, "the same seed gives the same answers"),
        cli_count("threads", &c.threads, "N", 1, POOL_THREADS_MAX,
                  "threads; they change no bit"),
        cli_text("out", &c.out, "FILE", "write a JSON line a sample"),
        cli_text("summary", &c.summary, "FILE", "write the result as JSON"),
        cli_flag("json", &c.json, "print the result as JSON"),
    };
    struct cli_usage usage = evaluate_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    int first = 0;
    const int code = cli_parse(&usage, argc, argv, &first);
    if (code != CLI_GO)
        return code;
    if (!c.config_path || !c.model)
        return cli_usage_error(&usage, "--%s is missing", c.config_path ? "model" : "config");

    struct err err = {0};
    const enum err_code rc = evaluate_command_run(&c, (const char *const *)argv + first,
                                                  (size_t)(argc - first), &err);
    return rc ? cli_fail(&usage, &err) : 0;
}
