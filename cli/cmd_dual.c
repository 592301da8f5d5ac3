/* cmd_dual.c -- rlhf dual: the multiplier of a run with a cost limit, found before it. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/dual_answers.h"
#include "cli/evaluate.h"
#include "engine/pool.h"

#define DUAL_LINES_MAX     ((size_t)1 << 30)
#define DUAL_TEXT_MAX      ((size_t)64 * 1024)
#define DUAL_EFFECTIVE_MIN 4.0 /* answers a prompt, below which the weights rest on too few */

struct dual_command {
    const char *config_path, *answers_path, *out;
    uint64_t samples, seed, limit, threads;
    bool json;
    struct dual_params params;
    struct dual_point reference; /* no tilt: what the answers are as they are */
    struct dual_point greedy;    /* lambda 0 */
    struct dual_solution solution;
    struct dual_answers answers;
};

static void dual_on_progress(void *ctx, uint32_t prompts, uint32_t all)
{
    (void)ctx;
    fprintf(stderr, "\r%u/%u prompts%s", prompts, all, prompts == all ? "\r\033[K" : "");
}

/* --- answers ------------------------------------------------------------------------------ */

static enum err_code dual_sample(const struct dual_command *c, const struct run_config *config,
                                 struct buf *lines, struct err *err)
{
    static struct run_config reference; /* too large for a stack */
    struct evaluate_result result;
    reference = *config;
    memcpy(reference.policy, config->reference, sizeof reference.policy);
    const struct evaluate_params params = {
        .samples = (uint32_t)c->samples,
        .stream = RNG_STREAM_CLI,
        .seed = c->seed,
        .prompts_max = (uint32_t)c->limit,
        .threads = (uint32_t)c->threads,
        .progress = !c->json && isatty(STDERR_FILENO) ? dual_on_progress : NULL,
    };
    const enum err_code rc = evaluate_run(&reference, &params, lines, &result, err);
    return rc || !c->out ? rc : file_write(c->out, lines->data, lines->len, err);
}

/* The means of the answers as they are: every weight 1/n, an infinite beta. */
static enum err_code dual_describe(struct dual_command *c, struct err *err)
{
    const struct dual_params flat = {.beta = HUGE_VAL, .limit = c->params.limit};
    const enum err_code rc = dual_evaluate(&flat, 0.0, &c->answers.batch, &c->reference, err);
    return rc ? rc : dual_evaluate(&c->params, 0.0, &c->answers.batch, &c->greedy, err);
}

/* --- what is said ------------------------------------------------------------------------- */

static void dual_put_row(const struct dual_command *c, const char *name, size_t field,
                         struct buf *out)
{
    const struct dual_point *const points[] = {&c->reference, &c->greedy, &c->solution.at};
    buf_printf(out, "%-18s", name);
    for (size_t i = 0; i < 3; i++) {
        double value;
        memcpy(&value, (const char *)points[i] + field, sizeof value);
        if (isfinite(value))
            buf_printf(out, "  %12.4g", value);
        else /* no lambda is enough, or one prompt has no error */
            buf_printf(out, "  %12s", isinf(value) ? "cost alone" : "-");
    }
    buf_putc(out, '\n');
}

static void dual_warn(const struct dual_command *c, const struct run_config *config,
                      struct buf *out)
{
    const struct dual_point *at = &c->solution.at;
    if (!c->solution.met)
        buf_printf(
            out,
            "warning: no multiplier meets the limit by weighing these answers anew: with "
            "the cost alone their mean cost is %.4g, the limit is %.4g. A smaller kl.coef, "
            "a higher safety.limit, or a starting policy that has safe answers.\n",
            at->cost, c->params.limit);
    if (at->effective < DUAL_EFFECTIVE_MIN)
        buf_printf(
            out,
            "warning: the best policy rests on %.2g answers a prompt: it is further from "
            "the reference than these samples reach, and lambda is what holds the limit "
            "on the best of them. More samples; then watch the run's cost.\n",
            at->effective);
    if (config->kl_controller != RUN_KL_CONTROLLER_FIXED)
        buf_printf(out,
                   "warning: kl.controller moves beta in the run: this lambda is that of "
                   "kl.coef %.4g. kl.coef=X asks for another.\n",
                   config->kl_coef);
    if (config->safety_gate_samples > 0)
        buf_puts(out, "warning: safety.gate_samples is set: the run aims below the limit, this "
                      "lambda at the limit itself.\n");
}

/* The multiplier, how well it is known, and what it belongs to. */
static void dual_put_multiplier(const struct dual_command *c, struct buf *out)
{
    const struct dual_solution *solution = &c->solution;
    const struct dual_point *at = &solution->at;
    if (!solution->met) {
        buf_printf(out, "no lambda meets limit %.4g at beta %.4g in the run\n", c->params.limit,
                   c->params.beta);
        return;
    }
    buf_printf(out, "lambda %.6g", at->lambda);
    if (!isnan(solution->lambda_error))
        buf_printf(out, " +- %.2g", solution->lambda_error);
    else
        buf_puts(out, at->lambda > 0.0 ? ", of one prompt, so without an error"
                                       : ", as the limit holds without a multiplier");
    buf_printf(out,
               "; limit %.4g, beta %.4g in the run, %.4g for r - lambda c; dual value %.6g, "
               "gradient %.2g\n",
               c->params.limit, c->params.beta, c->params.beta * (1.0 + at->lambda), at->value,
               c->params.limit - at->cost);
}

static void dual_write_table(const struct dual_command *c, const struct run_config *config,
                             struct buf *out)
{
    const struct dual_solution *solution = &c->solution;
    buf_printf(out, "%-18s  %12s  %12s  %12s\n", "", "reference", "lambda 0", "at lambda");
    dual_put_row(c, "lambda", offsetof(struct dual_point, lambda), out);
    dual_put_row(c, "reward", offsetof(struct dual_point, reward), out);
    dual_put_row(c, "cost", offsetof(struct dual_point, cost), out);
    dual_put_row(c, "  +- over prompts", offsetof(struct dual_point, cost_error), out);
    dual_put_row(c, "KL, nats", offsetof(struct dual_point, kl), out);
    dual_put_row(c, "effective answers", offsetof(struct dual_point, effective), out);
    dual_put_multiplier(c, out);
    buf_printf(out,
               "%u answers to %zu prompts, %u left out; correlation of reward and cost %.3f\n",
               c->answers.answers, c->answers.batch.prompts, c->answers.missing,
               c->answers.reward_cost);
    dual_warn(c, config, out);
    if (solution->met && solution->at.lambda > 0.0)
        buf_printf(out, "config: safety.controller=fixed safety.lambda=%.4g\n",
                   solution->at.lambda);
    else if (solution->met)
        buf_puts(out, "config: the limit holds by itself: safety.controller=none\n");
}

static void dual_put_point(const char *key, const struct dual_point *point, struct buf *out)
{
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"lambda", point->lambda},       {"reward", point->reward},
                   {"cost", point->cost},           {"cost_error", point->cost_error},
                   {"slope", point->slope},         {"kl", point->kl},
                   {"effective", point->effective}, {"value", point->value}};
    buf_printf(out, "\"%s\": {", key);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        buf_printf(out, "%s\"%s\": ", i > 0 ? ", " : "", numbers[i].key);
        buf_json_number(out, numbers[i].value);
    }
    buf_puts(out, "}, ");
}

static void dual_write_json(const struct dual_command *c, struct buf *out)
{
    buf_printf(out, "{\"met\": %s, ", c->solution.met ? "true" : "false");
    dual_put_point("reference", &c->reference, out);
    dual_put_point("reward_alone", &c->greedy, out);
    dual_put_point("at", &c->solution.at, out);
    buf_puts(out, "\"lambda_error\": ");
    buf_json_number(out, c->solution.lambda_error);
    buf_puts(out, ", \"limit\": ");
    buf_json_number(out, c->params.limit);
    buf_puts(out, ", \"beta\": ");
    buf_json_number(out, c->params.beta);
    buf_printf(out, ", \"prompts\": %zu, \"answers\": %u, \"missing\": %u}\n",
               c->answers.batch.prompts, c->answers.answers, c->answers.missing);
}

/* --- the command -------------------------------------------------------------------------- */

static enum err_code dual_command_run(struct dual_command *c, const char *const *overrides,
                                      size_t overrides_n, struct err *err)
{
    static struct run_config config; /* too large for a stack */
    struct buf lines, text;
    buf_init(&lines, DUAL_LINES_MAX);
    buf_init(&text, DUAL_TEXT_MAX);
    enum err_code rc = run_config_load(&config, c->config_path, overrides, overrides_n, err);
    if (rc || (rc = dual_answers_check(&config, err)))
        goto out;
    c->params = (struct dual_params){.beta = config.kl_coef, .limit = config.safety_limit};
    if ((rc = dual_check(&c->params, err)) ||
        (rc = c->answers_path ? file_read(c->answers_path, &lines, err)
                              : dual_sample(c, &config, &lines, err)) ||
        (rc = dual_answers_read(&c->answers, &config,
                                c->answers_path ? c->answers_path : "the answers", &lines,
                                err)) ||
        (rc = dual_solve(&c->params, &c->answers.batch, &c->solution, err)) ||
        (rc = dual_describe(c, err)))
        goto out;
    if (c->json)
        dual_write_json(c, &text);
    else
        dual_write_table(c, &config, &text);
    fputs(text.data, stdout);
out:
    dual_answers_release(&c->answers);
    buf_release(&lines);
    buf_release(&text);
    return rc;
}

static const struct cli_usage dual_usage = {
    .words = "dual",
    .synopsis = "--config RUN.yaml [--answers FILE] [options] [KEY=VALUE ...]",
    .about =
        "Finds, before a run, the multiplier lambda whose best policy meets safety.limit,\n"
        "from answers of the reference policy, weighed anew: sampled and scored here, or\n"
        "those that rlhf evaluate --out has written of it.  Prints what that policy's reward,\n"
        "cost and KL would be, how many answers carry the weight, and what to put into the\n"
        "config.  KEY=VALUE overrides a key: kl.coef and safety.limit are what it depends on.\n"
        "Exit status 1: no multiplier meets the limit.\n",
    .examples = "  rlhf dual --config run.yaml --samples 32 --out answers.jsonl\n"
                "  rlhf dual --config run.yaml --answers answers.jsonl kl.coef=0.05\n",
    .arguments_max = 256,
};

int cmd_dual(int argc, char **argv)
{
    struct dual_command c = {.samples = 32, .seed = 1, .threads = 1};
    const struct cli_option options[] = {
        cli_text("config", &c.config_path, "FILE", "the run's YAML file"),
        cli_text("answers", &c.answers_path, "FILE",
                 "scored answers; default: they are sampled"),
        cli_count("samples", &c.samples, "N", 2, EVALUATE_SAMPLES_MAX, "answers a prompt"),
        cli_count("seed", &c.seed, "S", 0, 0, "the same seed gives the same answers"),
        cli_count("limit", &c.limit, "N", 0, UINT32_MAX, "the first N prompts; 0: all"),
        cli_count("threads", &c.threads, "N", 1, POOL_THREADS_MAX,
                  "threads; they change no bit"),
        cli_text("out", &c.out, "FILE", "write the answers that were sampled"),
        cli_flag("json", &c.json, "print the result as JSON"),
    };
    struct cli_usage usage = dual_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    int first = 0;
    const int code = cli_parse(&usage, argc, argv, &first);
    if (code != CLI_GO)
        return code;
    if (!c.config_path)
        return cli_usage_error(&usage, "--config is missing");
    struct err err = {0};
    const enum err_code rc =
        dual_command_run(&c, (const char *const *)argv + first, (size_t)(argc - first), &err);
    return rc ? cli_fail(&usage, &err) : c.solution.met ? 0 : 1;
}
