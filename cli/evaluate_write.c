/* evaluate_write.c -- the result of an evaluation, for programs and for people: evaluate.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/evaluate.h"

static const struct {
    size_t quantity;
    const char *key, *title;
} evaluate_beside[] = {{EVALUATE_KL, "kl", "KL, nats a sequence"},
                       {EVALUATE_TOKENS, "tokens", "response tokens"},
                       {EVALUATE_TRUNCATED, "truncated", "cut at the limit"}};
enum { EVALUATE_BESIDE = sizeof evaluate_beside / sizeof evaluate_beside[0] };

static void evaluate_put_text(const char *key, const char *text, struct buf *out)
{
    buf_printf(out, "\"%s\": ", key);
    buf_json_string(out, text, strlen(text));
}

static void evaluate_put_mean(struct evaluate_mean mean, struct buf *out)
{
    buf_puts(out, "{\"mean\": ");
    buf_json_number(out, mean.mean);
    buf_puts(out, ", \"error\": ");
    buf_json_number(out, mean.error);
    buf_printf(out, ", \"n\": %u}", mean.n);
}

static void evaluate_put_side(const struct run_config *config, const struct evaluate_side *side,
                              const char *dir, struct buf *out)
{
    buf_putc(out, '{');
    evaluate_put_text("dir", dir, out);
    for (size_t i = 0; i < EVALUATE_BESIDE; i++) {
        buf_printf(out, ", \"%s\": ", evaluate_beside[i].key);
        evaluate_put_mean(side->of[evaluate_beside[i].quantity], out);
    }
    buf_puts(out, ", \"scores\": {");
    for (uint32_t s = 0; s < config->scorers; s++) {
        buf_puts(out, s == 0 ? "" : ", ");
        buf_json_string(out, config->scorer[s].name, strlen(config->scorer[s].name));
        buf_puts(out, ": ");
        evaluate_put_mean(side->of[s], out);
    }
    buf_puts(out, "}, \"missing\": {");
    for (uint32_t s = 0; s < config->scorers; s++) {
        buf_puts(out, s == 0 ? "" : ", ");
        buf_json_string(out, config->scorer[s].name, strlen(config->scorer[s].name));
        buf_printf(out, ": %llu", (unsigned long long)side->missing[s]);
    }
    buf_puts(out, "}}");
}

void evaluate_write_json(const struct run_config *config, const struct evaluate_params *params,
                         const struct evaluate_result *result, struct buf *out)
{
    buf_putc(out, '{');
    evaluate_put_text("prompts_file", config->prompts, out);
    buf_puts(out, ", ");
    evaluate_put_text("reference", config->reference, out);
    buf_printf(out,
               ", \"prompts\": %u, \"samples\": %u, \"seed\": %llu, \"limit\": %u, \"model\": ",
               result->prompts, result->samples, (unsigned long long)params->seed,
               params->prompts_max);
    evaluate_put_side(config, &result->side[0], config->policy, out);
    if (result->compared) {
        buf_puts(out, ", \"against\": ");
        evaluate_put_side(config, &result->side[1], params->against, out);
        buf_puts(out, ", \"win_rate\": {");
        for (uint32_t s = 0; s < config->scorers; s++) {
            buf_puts(out, s == 0 ? "" : ", ");
            buf_json_string(out, config->scorer[s].name, strlen(config->scorer[s].name));
            buf_puts(out, ": ");
            evaluate_put_mean(result->win[s], out);
        }
        buf_putc(out, '}');
    }
    buf_puts(out, "}\n");
}

static void evaluate_put_cell(struct evaluate_mean mean, struct buf *out)
{
    char cell[64] = "-";
    if (!isnan(mean.error))
        snprintf(cell, sizeof cell, "%.4g +- %.2g", mean.mean, mean.error);
    else if (!isnan(mean.mean))
        snprintf(cell, sizeof cell, "%.4g", mean.mean);
    buf_printf(out, "  %20s", cell);
}

static void evaluate_put_row(const struct evaluate_result *result, const char *title,
                             size_t quantity, struct buf *out)
{
    buf_printf(out, "%-20.60s", title);
    evaluate_put_cell(result->side[0].of[quantity], out);
    if (result->compared)
        evaluate_put_cell(result->side[1].of[quantity], out);
    if (result->compared && quantity < RUN_SCORERS_MAX)
        evaluate_put_cell(result->win[quantity], out);
    buf_putc(out, '\n');
}

void evaluate_write_table(const struct run_config *config, const struct evaluate_result *result,
                          struct buf *out)
{
    buf_printf(out, "%-20s  %20s", "", "model");
    if (result->compared)
        buf_printf(out, "  %20s  %20s", "against", "win rate");
    buf_putc(out, '\n');
    for (uint32_t s = 0; s < config->scorers; s++)
        evaluate_put_row(result, config->scorer[s].name, s, out);
    for (size_t i = 0; i < EVALUATE_BESIDE; i++)
        evaluate_put_row(result, evaluate_beside[i].title, evaluate_beside[i].quantity, out);
    buf_printf(out, "mean +- standard error over %u prompts of %u sample%s\n", result->prompts,
               result->samples, result->samples == 1 ? "" : "s");
    for (size_t i = 0; i < 2; i++)
        if (result->side[i].why[0])
            buf_printf(out, "some scores are missing: %s\n", result->side[i].why);
}
