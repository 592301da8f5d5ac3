/* cmd_demo_curve.c -- `rlhf demo curve`: how far preferences alone lead a reward model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chart.h"
#include "cli/cli.h"
#include "cli/demo_models.h"
#include "cli/demo_pairs.h"
#include "cli/publish.h"
#include "cli/report_page.h"

enum { CURVE_POINTS_MAX = 16, CURVE_SEEDS_MAX = 32, CURVE_RESPONSE_TOKENS = 48 };

/* A number of pairs, and what the models trained on so many got right. */
struct curve_point {
    double pairs, mean, error; /* over the seeds, their standard error */
    double accuracy[CURVE_SEEDS_MAX];
};

struct demo_curve {
    const char *world, *out;
    uint64_t most, least, seeds, test, seed, threads;
    double scale;

    struct pool *pool;
    struct model *policy;
    struct tokenizer *tokenizer;
    struct publish publish;
    char policy_dir[FILE_PATH_MAX];
    struct curve_point point[CURVE_POINTS_MAX];
    size_t points;
};

static enum err_code demo_curve_open(struct demo_curve *c, struct err *err)
{
    pool_thread_init();
    c->pool = pool_new(c->threads, err);
    if (!c->pool)
        return err->code;
    enum err_code rc = file_join(c->policy_dir, c->world, "policy", err);
    if (rc)
        return rc;
    c->policy = model_load(c->policy_dir, err);
    c->tokenizer = c->policy ? tokenizer_load(c->policy_dir, err) : NULL;
    if (!c->tokenizer)
        return err->code;
    const struct demo_pairs_params pairs = {.seed = c->seed,
                                            .pairs = (uint32_t)c->most,
                                            .test = (uint32_t)c->test,
                                            .scale = c->scale,
                                            .max_new_tokens = CURVE_RESPONSE_TOKENS};
    rc = publish_begin(&c->publish, c->out, err);
    return rc ? rc
              : demo_pairs_write(c->publish.dir, c->policy, c->pool, c->tokenizer, &pairs, err);
}

/* Train c->seeds models on the first `pairs` pairs. */
static enum err_code demo_curve_point(struct demo_curve *c, size_t pairs, struct err *err)
{
    struct curve_point *point = &c->point[c->points];
    double sum = 0.0, squares = 0.0;
    for (uint64_t k = 0; k < c->seeds; k++) {
        const struct demo_models demo = {.dir = c->publish.dir,
                                         .policy = c->policy_dir,
                                         .seed = c->seed + k,
                                         .pool = c->pool,
                                         .tokenizer = c->tokenizer};
        struct preference_accuracy accuracy;
        const enum err_code rc = demo_models_accuracy(&demo, pairs, &accuracy, err);
        if (rc)
            return rc;
        point->accuracy[k] = accuracy.accuracy;
        sum += accuracy.accuracy;
    }
    const double n = (double)c->seeds;
    point->pairs = (double)pairs;
    point->mean = sum / n;
    for (uint64_t k = 0; k < c->seeds; k++) {
        const double off = point->accuracy[k] - point->mean;
        squares += off * off;
    }
    point->error = c->seeds > 1 ? sqrt(squares / (n - 1.0) / n) : (double)NAN;
    printf("%6zu pairs  accuracy %.4f", pairs, point->mean);
    if (c->seeds > 1)
        printf(" +- %.4f over %llu seeds", point->error, (unsigned long long)c->seeds);
    putchar('\n');
    fflush(stdout);
    c->points++;
    return ERR_OK;
}

/* All numbers of pairs: from the least, twice as many each time, up to the most. */
static enum err_code demo_curve_measure(struct demo_curve *c, struct err *err)
{
    for (uint64_t pairs = c->least; c->points < CURVE_POINTS_MAX; pairs *= 2) {
        const bool last = pairs >= c->most || c->points + 1 == CURVE_POINTS_MAX;
        const enum err_code rc = demo_curve_point(c, last ? c->most : pairs, err);
        if (rc || last)
            return rc;
    }
    return ERR_OK;
}

static void demo_curve_json(const struct demo_curve *c, struct buf *out)
{
    buf_printf(out, "{\"seed\": %llu, \"seeds\": %llu, \"test_pairs\": %llu, \"points\": [\n",
               (unsigned long long)c->seed, (unsigned long long)c->seeds,
               (unsigned long long)c->test);
    for (size_t i = 0; i < c->points; i++) {
        buf_printf(out, "  {\"pairs\": %.0f, \"mean\": ", c->point[i].pairs);
        buf_json_number(out, c->point[i].mean);
        buf_puts(out, ", \"error\": ");
        buf_json_number(out, c->point[i].error);
        buf_puts(out, ", \"accuracy\": [");
        for (uint64_t k = 0; k < c->seeds; k++) {
            buf_puts(out, k > 0 ? ", " : "");
            buf_json_number(out, c->point[i].accuracy[k]);
        }
        buf_puts(out, i + 1 < c->points ? "]},\n" : "]}\n");
    }
    buf_puts(out, "]}\n");
}

static void demo_curve_page(const struct demo_curve *c, struct buf *out)
{
    double x[CURVE_POINTS_MAX], y[CURVE_POINTS_MAX], error[CURVE_POINTS_MAX];
    for (size_t i = 0; i < c->points; i++) {
        x[i] = c->point[i].pairs;
        y[i] = c->point[i].mean;
        error[i] = c->point[i].error;
    }
    const struct chart_series series = {.name = "reward model, mean \xc2\xb1 standard error",
                                        .x = x,
                                        .y = y,
                                        .n = c->points,
                                        .mark = CHART_POINTS,
                                        .spread = error};
    const struct chart_level chance = {"chance", 0.5};
    const struct chart chart = {.title = "Accuracy against the truth",
                                .x_label = "preference pairs seen",
                                .y_label = "share of held-out pairs in the right order",
                                .series = &series,
                                .series_n = 1,
                                .levels = &chance,
                                .levels_n = 1,
                                .x_log = true};
    report_page_begin(out, "Reward models of the built-in world");
    buf_printf(out,
               "<p>Reward models from one policy, each trained on the first so many of the "
               "same noisy preferences and tested on %llu pairs of held-out questions, which "
               "the truth orders without noise. %llu seeds a point.</p>\n",
               (unsigned long long)c->test, (unsigned long long)c->seeds);
    chart_write(&chart, out);
    buf_puts(out, "<table>\n<thead><tr><th class=\"n\">pairs</th><th class=\"n\">accuracy</th>"
                  "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < c->points; i++) {
        buf_printf(out, "<tr><td class=\"n\">%.0f</td>", x[i]);
        report_page_cell_error(out, y[i], error[i]);
        buf_puts(out, "</tr>\n");
    }
    buf_puts(out, "</tbody>\n</table>\n");
    report_page_end(out);
}

static enum err_code demo_curve_write(const struct demo_curve *c, const char *name,
                                      void (*fill)(const struct demo_curve *, struct buf *),
                                      struct err *err)
{
    char path[FILE_PATH_MAX];
    struct buf text;
    buf_init(&text, REPORT_PAGE_BYTES_MAX);
    fill(c, &text);
    enum err_code rc = buf_check(&text, name, err);
    if (!rc)
        rc = file_join(path, c->publish.dir, name, err);
    if (!rc)
        rc = file_write(path, text.data, text.len, err);
    buf_release(&text);
    return rc;
}

static enum err_code demo_curve_run(struct demo_curve *c, struct err *err)
{
    enum err_code rc = demo_curve_open(c, err);
    if (!rc)
        rc = demo_curve_measure(c, err);
    if (!rc)
        rc = demo_curve_write(c, "curve.json", demo_curve_json, err);
    if (!rc)
        rc = demo_curve_write(c, "report.html", demo_curve_page, err);
    if (!rc)
        rc = publish_commit(&c->publish, err);
    if (!rc)
        printf("wrote %s/report.html\n", c->out);
    return rc;
}

static const struct cli_usage demo_curve_usage = {
    .words = "demo curve",
    .synopsis = "--world DIR --out DIR [options]",
    .about =
        "Trains reward models on more and more preferences of the built-in world and measures\n"
        "each against the truth: OUT/report.html has the plot, OUT/curve.json the numbers.\n",
    .examples = "  rlhf demo build --out runs/world\n"
                "  rlhf demo curve --world runs/world --out runs/curve\n",
};

int cmd_demo_curve(int argc, char **argv)
{
    static struct demo_curve c; /* its paths are too large for a stack */
    c = (struct demo_curve){.least = 25,
                            .most = 3200,
                            .seeds = 5,
                            .test = 1000,
                            .seed = 1,
                            .threads = 1,
                            .scale = 1.0};
    const struct cli_option options[] = {
        cli_text("world", &c.world, "DIR", "what `rlhf demo build` made"),
        cli_text("out", &c.out, "DIR", "the directory to make"),
        cli_count("least", &c.least, "N", 16, DEMO_PAIRS_MAX,
                  "pairs to begin with; then doubled"),
        cli_count("most", &c.most, "N", 16, DEMO_PAIRS_MAX, "pairs to end with"),
        cli_count("seeds", &c.seeds, "N", 1, CURVE_SEEDS_MAX, "models a point"),
        cli_count("test", &c.test, "N", 16, DEMO_PAIRS_MAX, "held-out pairs to test on"),
        cli_number("scale", &c.scale, "X", 0.01, 100, "of gold reward in preferences, nats"),
        cli_count("seed", &c.seed, "S", 0, 0, "of the first model, and of the data"),
        cli_count("threads", &c.threads, "N", 1, POOL_THREADS_MAX,
                  "threads; they change no bit"),
    };
    struct cli_usage usage = demo_curve_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    const int code = cli_parse(&usage, argc, argv, NULL);
    if (code != CLI_GO)
        return code;
    if (!c.world || !c.out)
        return cli_usage_error(&usage, "--%s is missing", c.world ? "out" : "world");
    if (c.least > c.most)
        return cli_usage_error(&usage, "--least %llu is more than --most %llu",
                               (unsigned long long)c.least, (unsigned long long)c.most);

    struct err err = {0};
    const enum err_code rc = demo_curve_run(&c, &err);
    publish_abort(&c.publish);
    tokenizer_free(c.tokenizer);
    model_free(c.policy);
    pool_free(c.pool);
    return rc ? cli_fail(&usage, &err) : 0;
}
