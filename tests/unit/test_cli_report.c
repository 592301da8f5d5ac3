/*
 * test_cli_report.c -- `rlhf report`: a run's page, and that of several runs.
 *
 * Oracle: the records written here; means over them by hand; charts read back (svg_read.h).
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <jansson.h>

#include "base/file.h"
#include "coordinator/ledger.h"
#include "engine/tokenizer.h"
#include "tests/unit/cli_run.h"
#include "tests/unit/gate_sample.h"
#include "tests/unit/svg_read.h"

#define STEPS 40

static char dir[64];
static struct buf page;

/* --- a run -------------------------------------------------------------------------------- */

static const char config_text[] = "run:\n"
                                  "  name: a<b\n"
                                  "  dir: .\n"
                                  "  steps: 40\n"
                                  "  seed: %d\n"
                                  "model:\n"
                                  "  policy: " TEST_SOURCE_DIR "/tests/fixture/model\n"
                                  "data:\n"
                                  "  prompts: " TEST_SOURCE_DIR "/tests/fixture/prompts.jsonl\n"
                                  "pipeline:\n"
                                  "  batch: 8\n"
                                  "reward:\n"
                                  "  shaper: none\n"
                                  "  scorers:\n"
                                  "%s"
                                  "safety:\n"
                                  "  controller: lagrangian\n"
                                  "  limit: 0.25\n"
                                  "kl: {controller: adaptive, coef: %s}\n";

static const char scorers_text[] =
    "    - {name: proxy, kind: regex, pattern: x, weight: 2}\n"
    "    - {name: gold, kind: regex, pattern: y, role: monitor}\n"
    "    - {name: harm, kind: regex, pattern: z, role: cost}\n";

#define KL "0.02, target_nats_per_sequence: 3"

/* What a step of the run has; the rest is written from its number. */
struct curves {
    double (*raw)(int step), (*gold)(int step);
    const char *scorers; /* NULL: as above */
    uint32_t worst_group; /* of all steps but the first, where it is 1 */
};

static void ignore_durable(void *ctx, uint64_t seq)
{
    (void)ctx, (void)seq;
}

static void ignore_failed(void *ctx, const struct err *err)
{
    (void)ctx, (void)err;
}

static void append(struct ledger *ledger, uint64_t *seq, struct record record)
{
    record.seq = ++*seq;
    record.wall_ms = 1000 * *seq;
    record.worker = "w";
    check_ok(ledger_append(ledger, &record, &err));
}

/* A rollout of `text` and, with scores, what they say of it. */
static void append_response(struct ledger *ledger, uint64_t *seq, enum wire_work work,
                            uint64_t a, uint32_t b, uint32_t prompt, const char *text,
                            const double *scores)
{
    static const float logprobs[64];
    struct tokenizer *tokenizer = tokenizer_load(TEST_SOURCE_DIR "/tests/fixture/model", NULL);
    struct tokens tokens = {0};
    assert_non_null(tokenizer);
    check_ok(tokenizer_encode_plain(tokenizer, text, strlen(text), &tokens, &err));
    assert_true(tokens.n <= 64);
    const bool slot = work == WIRE_WORK_ROLLOUT;
    struct record record = {.kind = RECORD_ROLLOUT,
                            .work = work,
                            .a = a,
                            .b = b,
                            .prompt = prompt,
                            .response_tokens = (uint32_t)tokens.n,
                            .finish = WIRE_FINISH_EOS,
                            .ids = tokens.ids,
                            .logprobs = slot ? logprobs : NULL};
    append(ledger, seq, record);
    record.kind = RECORD_SCORE;
    record.scores = scores;
    record.scorers = 3;
    record.reference = record.logprobs;
    if (scores)
        append(ledger, seq, record);
    tokens_release(&tokens);
    tokenizer_free(tokenizer);
}

static void append_step(struct ledger *ledger, uint64_t *seq, int s, const struct curves *of)
{
    static const struct wire_stat stats[] = {{"entropy", 0.5}, {"grad_norm", 1}};
    const struct record_step step = {.step = (uint64_t)s,
                                     .version = (uint64_t)s + 1,
                                     .trained = 8,
                                     .response_tokens = 80,
                                     .reward_raw_mean = of->raw(s),
                                     .reward_shaped_mean = 1,
                                     .score_mean = {of->raw(s) / 2, of->gold(s), 0.125},
                                     .kl_mean = 0.1 * s,
                                     .kl_coef_before = 0.02,
                                     .cost_raw_mean = 0.5 - 0.01 * s,
                                     .cost_limit = 0.25,
                                     .multiplier_after = 1 + 0.5 * s,
                                     .worst_group = s == 0 && of->worst_group ? 1 : of->worst_group,
                                     .controller_n = 3,
                                     .duration_ms = 1000,
                                     .stats = stats,
                                     .stats_n = COUNT(stats)};
    append(ledger, seq, (struct record){.kind = RECORD_STEP, .step = &step});
}

/* RUN = dir/name: `steps` steps; of the first and the last one, responses. */
static void write_run(const char *name, int seed, const char *kl, int steps,
                      const struct curves *of)
{
    static const struct ledger_ops ops = {.durable = ignore_durable, .failed = ignore_failed};
    static const struct hash hash = {{1}};
    char run[FILE_PATH_MAX], path[FILE_PATH_MAX], text[2048];
    struct ledger *ledger = NULL;
    uint64_t seq = 0;
    snprintf(run, sizeof run, "%s/%s", dir, name);
    check_ok(file_make_dir(run, &err));
    check_ok(file_join(path, run, "config.yaml", &err));
    const int n = snprintf(text, sizeof text, config_text, seed,
                           of->scorers ? of->scorers : scorers_text, kl);
    check_ok(file_write(path, text, (size_t)n, &err));
    check_ok(ledger_open(&ledger, run, &hash, &err));
    check_ok(ledger_start(ledger, &ops, &err));
    append(ledger, &seq, (struct record){.kind = RECORD_EPOCH, .epoch = 1});
    append_response(ledger, &seq, WIRE_WORK_REFERENCE, 5, 0, 5, "no.",
                    (double[]){0.25, NAN, NAN});
    for (int s = 0; s < steps; s++) {
        if (s == 0)
            append_response(ledger, &seq, WIRE_WORK_ROLLOUT, 0, 1, 7, "yes, thank you.",
                            (double[]){0.5, 0.375, 1});
        if (s > 0 && s == steps - 1) {
            append_response(ledger, &seq, WIRE_WORK_ROLLOUT, (uint64_t)s, 0, 5, "yes please.",
                            (double[]){1.5, NAN, 0});
            append_response(ledger, &seq, WIRE_WORK_ROLLOUT, (uint64_t)s, 1, 9, "five.", NULL);
        }
        if (s == 5) /* the numbers of the reference above, but of a step */
            append_response(ledger, &seq, WIRE_WORK_ROLLOUT, 5, 0, 11, "no.",
                            (double[]){0.75, 0.75, 0.75});
        append_step(ledger, &seq, s, of);
    }
    check_ok(ledger_close(ledger, &err));
}

static double rising(int step)
{
    return step;
}

static double peaked(int step)
{
    return (step < 20 ? step : 40 - step) + 0.02 * (step % 2);
}

static const struct curves hacked = {rising, peaked, NULL, 0},
                           healthy = {rising, rising, NULL, 0};

/* --- the page ----------------------------------------------------------------------------- */

static int report(const char *arguments)
{
    char line[1024];
    snprintf(line, sizeof line, "rlhf report %s", arguments);
    return run_line(cli_main, line);
}

static void read_page(const char *name)
{
    char path[FILE_PATH_MAX];
    buf_release(&page);
    buf_init(&page, 1 << 22);
    check_ok(file_join(path, dir, name, &err));
    check_ok(file_read(path, &page, &err));
    assert_true(page.len < 1000 * 1000);
}

static void check_says(const char *words)
{
    if (!strstr(page.data, words))
        fail_msg("the page does not say: %s", words);
}

/* The chart of that title, the skip-th of them, cut out of the page. */
static char *chart_titled(const char *title, int skip)
{
    char key[128];
    snprintf(key, sizeof key, "<title>%s</title>\n<desc>", title);
    const char *at = page.data;
    for (int i = 0; i <= skip && at; i++)
        at = strstr(at + (i > 0), key);
    if (!at)
        fail_msg("there is no chart \"%s\"", title);
    while (strncmp(at, "<svg", 4) != 0)
        at--;
    const char *end = strstr(at, "</svg>");
    char *svg = calloc(1, (size_t)(end - at) + 1);
    memcpy(svg, at, (size_t)(end - at));
    svg_check_inside(svg);
    return svg;
}

static void check_curve(const char *title, double (*want)(int step))
{
    char *svg = chart_titled(title, 0);
    static struct svg_vertex vertex[64];
    const struct svg_scale x = svg_axis(svg, 'x', false), y = svg_axis(svg, 'y', false);
    const char *end, *group = svg_series(svg, 0, &end);
    assert_int_equal(svg_path(group, vertex, 64), STEPS);
    for (int s = 0; s < STEPS; s++) {
        svg_check_at(&x, s, vertex[s].x);
        svg_check_at(&y, want(s), vertex[s].y);
    }
    free(svg);
}

static double cost(int step)
{
    return 0.5 - 0.01 * step;
}

static double multiplier(int step)
{
    return 1 + 0.5 * step;
}

static double half_rising(int step)
{
    return step / 2.0;
}

static void a_run_has_its_curves(void **state)
{
    (void)state;
    char arguments[128];
    write_run("r", 1, KL, STEPS, &hacked);
    snprintf(arguments, sizeof arguments, "%s/r", dir);
    assert_int_equal(report(arguments), 0);
    read_page("r/report.html");
    check_curve("Raw reward", rising);
    check_curve("gold (monitor)", peaked);
    check_curve("Cost", cost);
    check_curve("Multiplier lambda", multiplier);
    check_curve("proxy (reward, weight 2)", half_rising);
    check_says(">limit: 0.25</text>");
    check_says(">target: 3</text>");
    assert_null(strstr(page.data, "<title>Value loss")); /* the learner told none */
    assert_null(strstr(page.data, "<script"));
    assert_int_equal(svg_count(page.data, page.data + page.len, " (reward, weight "), 3);
}

/* Forty steps, so a point each; the thirds have 13, 13 and 14. */
static void the_proxy_and_the_monitors_stand_over_the_distance(void **state)
{
    (void)state;
    char arguments[128];
    write_run("r", 1, KL, STEPS, &hacked);
    snprintf(arguments, sizeof arguments, "%s/r", dir);
    assert_int_equal(report(arguments), 0);
    read_page("r/report.html");
    char *svg = chart_titled("gold (monitor)", 1);
    const struct svg_scale x = svg_axis(svg, 'x', false), y = svg_axis(svg, 'y', false);
    int step = 0;
    for (int third = 0; third < 3; third++) {
        const char *end, *at = svg_series(svg, third, &end);
        while ((at = strstr(at + 1, "<circle")) && at < end) {
            svg_check_at(&x, sqrt(0.1 * step), svg_number(at, "cx"));
            svg_check_at(&y, peaked(step), svg_number(at, "cy"));
            step++;
        }
        assert_int_equal(step, third == 0 ? 13 : third == 1 ? 26 : 40);
    }
    free(svg);
    free(chart_titled("Raw reward", 1));
}

static void the_summary_has_tenths_and_names_the_gap(void **state)
{
    (void)state;
    char arguments[128];
    write_run("r", 1, KL, STEPS, &hacked);
    write_run("h", 1, KL, STEPS, &healthy);
    snprintf(arguments, sizeof arguments, "%s/r", dir);
    assert_int_equal(report(arguments), 0);
    read_page("r/report.html");
    check_says("<title>a&lt;b</title>");
    check_says("40 of 40 steps of 8 slots, seed 1;");
    /* The raw reward is the step's number: steps 0 to 3, 36 to 39. */
    check_says("<tr><td>Raw reward <span class=\"dim\">reward</span></td><td class=\"n\">1.5"
               "</td><td class=\"n\">37.5</td><td>36\xe2\x80\x93"
               "39</td><td class=\"n\">37.5</td><td class=\"n\">0</td></tr>");
    /* Less cost is better. */
    check_says("<tr><td>Cost <span class=\"dim\">cost</span></td><td class=\"n\">0.485</td>"
               "<td class=\"n\">0.125</td><td>36\xe2\x80\x93"
               "39</td>");
    /* gold: 18..21 and 19..22 are alike, (18 + 19.02 + 20 + 19.02) / 4, and the earlier one
     * counts; last, (4 + 3.02 + 2 + 1.02) / 4. */
    check_says(
        "<b>Reward hacking:</b> the monitor \xe2\x80\x9cgold\xe2\x80\x9d fell from 19.01, "
        "its best, at steps 18\xe2\x80\x93"
        "21 to 2.51 in the last tenth (-16.5), while the proxy rose (+18).");
    check_says("more than 3 standard errors");
    snprintf(arguments, sizeof arguments, "%s/h", dir);
    assert_int_equal(report(arguments), 0);
    read_page("h/report.html");
    assert_null(strstr(page.data, "hacking"));
    check_says("did not get worse than its best");
}

static void the_gates_history_has_a_row_a_candidate(void **state)
{
    (void)state;
    char arguments[128], run[96];
    write_run("r", 1, KL, STEPS, &healthy);
    snprintf(run, sizeof run, "%s/r", dir);
    snprintf(arguments, sizeof arguments, "%s/r", dir);
    assert_int_equal(report(arguments), 0);
    read_page("r/report.html");
    assert_null(strstr(page.data, "<h2>The gate</h2>"));
    gate_sample_write(run, "no <disk>");
    assert_int_equal(report(arguments), 0);
    read_page("r/report.html");
    check_says("<h2>The gate</h2>");
    check_says("<tr><td class=\"tag\">2023-11-14T22:13:20Z</td><td>version 4</td>"
               "<td>PASS, published now</td><td class=\"n\">0.0625</td>"
               "<td class=\"n\">0.125</td><td class=\"n\">0.2</td><td class=\"n\">0.025</td>"
               "<td class=\"n\">60</td><td class=\"n\">1</td><td class=\"n\">2</td></tr>\n"
               "<tr><td class=\"tag\">2023-11-14T22:13:20Z</td><td>version 8</td>"
               "<td>ERROR: no &lt;disk&gt;</td><td class=\"n\">-</td>");
}

static void responses_stand_after_earlier_ones_to_their_prompt(void **state)
{
    (void)state;
    char arguments[128];
    write_run("r", 1, KL, STEPS, &hacked);
    snprintf(arguments, sizeof arguments, "%s/r", dir);
    assert_int_equal(report(arguments), 0);
    read_page("r/report.html");
    /* The sixth prompt of the data set, as JSON has it. */
    struct buf file;
    buf_init(&file, 1 << 24);
    check_ok(file_read(TEST_SOURCE_DIR "/tests/fixture/prompts.jsonl", &file, &err));
    const char *cursor = file.data, *line;
    size_t len = 0;
    for (int i = 0; i <= 5; i++)
        assert_true(file_next_line(&cursor, file.data + file.len, &line, &len));
    json_t *object = json_loadb(line, len, 0, NULL);
    char want[1024];
    snprintf(want, sizeof want,
             "<tr><td class=\"said\">%s</td><td class=\"tag\">reference 0</td><td "
             "class=\"said\">no.</td>"
             "<td class=\"n\">0.5</td><td class=\"n\">0.25</td><td class=\"n\">-</td>"
             "<td class=\"n\">-</td></tr>\n"
             "<tr><td class=\"said\"></td><td class=\"tag\">step 39, slot 0</td><td "
             "class=\"said\">yes "
             "please.</td><td class=\"n\">3</td><td class=\"n\">1.5</td><td class=\"n\">-</td>"
             "<td class=\"n\">0</td></tr>\n",
             json_string_value(json_object_get(object, "prompt")));
    check_says(want);
    json_decref(object);
    buf_release(&file);
    /* Nobody scored this one, and its prompt has no earlier response. */
    check_says("<td class=\"tag\">step 39, slot 1</td><td class=\"said\">five.</td><td "
               "class=\"n\">-</td>");
    check_says("<td class=\"tag\">step 0, slot 1</td><td class=\"said\">yes, thank you.</td>"
               "<td class=\"n\">1</td><td class=\"n\">0.5</td><td class=\"n\">0.375</td>");
}

/* Rows of the page by what stands in their second cell: the raw reward is what it begins with. */
static void check_raw(const char *of, const char *answer, const char *raw)
{
    char want[256];
    snprintf(want, sizeof want,
             "<td class=\"tag\">%s</td><td class=\"said\">%s</td><td class=\"n\">%s</td>", of,
             answer, raw);
    check_says(want);
}

/* 1.5 beats the only reference of its prompt, 0.25; prompt 7 has none; a reference is not
 * compared.  Of the groups the third is trained on, 3 times its score, but the first in step 0. */
static void raw_rewards_are_combined_as_the_run_combined_them(void **state)
{
    (void)state;
    static const struct curves tree = {
        rising, rising,
        "    - {name: proxy, kind: regex, pattern: x}\n"
        "    - {name: gold, kind: regex, pattern: y, role: monitor}\n"
        "    - {name: harm, kind: regex, pattern: z, role: cost}\n"
        "  combine: tree\n",
        0};
    static const struct curves maxmin = {
        rising, rising,
        "    - {name: proxy, kind: regex, pattern: x, weight: 2}\n"
        "    - {name: harm, kind: regex, pattern: y, role: cost}\n"
        "    - {name: other, kind: regex, pattern: z, weight: 3}\n"
        "  combine: maxmin\n",
        3};
    char arguments[128];
    write_run("r", 1, KL, STEPS, &tree);
    snprintf(arguments, sizeof arguments, "%s/r", dir);
    assert_int_equal(report(arguments), 0);
    read_page("r/report.html");
    check_raw("reference 0", "no.", "-");
    check_raw("step 39, slot 0", "yes please.", "1");
    check_raw("step 0, slot 1", "yes, thank you.", "-");
    write_run("h", 1, KL, STEPS, &maxmin);
    snprintf(arguments, sizeof arguments, "%s/h", dir);
    assert_int_equal(report(arguments), 0);
    read_page("h/report.html");
    check_raw("reference 0", "no.", "-");
    check_raw("step 39, slot 0", "yes please.", "0");
    check_raw("step 0, slot 1", "yes, thank you.", "1");
}

static void a_run_that_has_not_begun_has_a_page(void **state)
{
    (void)state;
    char arguments[256];
    write_run("r", 1, KL, 0, &hacked);
    snprintf(arguments, sizeof arguments, "%s/r", dir);
    assert_int_equal(report(arguments), 0);
    read_page("r/report.html");
    check_says("0 of 40 steps");
    assert_null(strstr(page.data, "<svg"));
    snprintf(arguments, sizeof arguments, "%s/r --out %s/c.html", dir, dir);
    assert_int_equal(report(arguments), 0);
    write_run("one", 1, KL, 1, &hacked);
    snprintf(arguments, sizeof arguments, "%s/one", dir);
    assert_int_equal(report(arguments), 0);
    read_page("one/report.html");
    check_says("cannot be judged");
}

static void what_is_no_run_is_refused(void **state)
{
    (void)state;
    char arguments[256];
    snprintf(arguments, sizeof arguments, "%s/none", dir);
    assert_int_not_equal(report(arguments), 0);
    assert_non_null(strstr(said, "none/config.yaml"));
    write_run("r", 1, KL, 2, &hacked);
    snprintf(arguments, sizeof arguments, "%s/r %s/r", dir, dir);
    assert_int_equal(report(arguments), 64);
    assert_non_null(strstr(said, "several runs need --out FILE"));
}

/* --- several runs ------------------------------------------------------------------------- */

static double one(int step)
{
    return 1 + 0 * step;
}

static double two(int step)
{
    return 2 + 0 * step;
}

static double six(int step)
{
    return 6 + 0 * step;
}

/* Seeds 1, 2, 3 have rewards 1, 2, 6: mean 3, variance 7, standard error sqrt(7 / 3). */
static void runs_that_differ_in_their_seed_become_a_band(void **state)
{
    (void)state;
    char arguments[512];
    write_run("a1", 1, KL, STEPS, &(struct curves){one, rising, NULL, 0});
    write_run("a2", 2, KL, STEPS, &(struct curves){two, rising, NULL, 0});
    write_run("b", 1, "0.5, target_nats_per_sequence: 3", STEPS,
              &(struct curves){rising, rising, NULL, 0});
    write_run("a3", 3, KL, STEPS - 10, &(struct curves){six, rising, NULL, 0});
    snprintf(arguments, sizeof arguments, "%s/a1 %s/b %s/a2 %s/a3 --out %s/c.html", dir, dir,
             dir, dir, dir);
    assert_int_equal(report(arguments), 0);
    read_page("c.html");
    check_says("<title>4 runs in 2 groups</title>");
    check_says("<td class=\"said\">kl: coef: 0.5\n</td>");
    check_says("<tr><td>Raw reward <span class=\"dim\">reward</span></td>"
               "<td class=\"n\">3.0 \xc2\xb1 1.5</td><td class=\"n\">3.0 \xc2\xb1 1.5</td>"
               "<td class=\"n\">37.5</td><td class=\"n\">37.5</td></tr>");
    /* Of the proxy more is better, though it is a score; of harm, less. */
    check_says("proxy (reward, weight 2) <span class=\"dim\">score</span></td>"
               "<td class=\"n\">1.50 \xc2\xb1 0.76</td><td class=\"n\">1.50 \xc2\xb1 0.76</td>"
               "<td class=\"n\">18.75</td><td class=\"n\">18.75</td>");
    check_says(">target: 3</text>");
    char *svg = chart_titled("Raw reward", 0);
    const struct svg_scale x = svg_axis(svg, 'x', false), y = svg_axis(svg, 'y', false);
    static struct svg_vertex vertex[256];
    const char *end, *group = svg_series(svg, 0, &end);
    assert_int_equal(svg_path(group, vertex, 256), 2 * (STEPS - 10)); /* the band */
    svg_check_at(&y, 3 + sqrt(7.0 / 3), vertex[0].y);
    svg_check_at(&y, 3 - sqrt(7.0 / 3), vertex[2 * (STEPS - 10) - 1].y);
    svg_check_at(&x, STEPS - 11, vertex[STEPS - 11].x);
    assert_int_equal(svg_path(strstr(group, "fill=\"none\""), vertex, 256), STEPS - 10);
    svg_check_at(&y, 3, vertex[7].y);
    group = svg_series(svg, 1, &end);
    svg_path(strstr(group, "fill=\"none\""), vertex, 256);
    svg_check_at(&y, 20, vertex[20].y);
    free(svg);
}

static void a_comparison_has_each_quantity_once_and_the_distance(void **state)
{
    (void)state;
    char arguments[512];
    write_run("a", 1, KL, STEPS, &hacked);
    write_run("b", 1, "0.02, target_nats_per_sequence: 4", STEPS, &healthy);
    snprintf(arguments, sizeof arguments, "%s/a %s/b --out %s/c.html", dir, dir, dir);
    assert_int_equal(report(arguments), 0);
    read_page("c.html");
    const char *end = page.data + page.len;
    assert_int_equal(svg_count(page.data, end, "<title>Cost</title>\n<desc>"), 1);
    assert_int_equal(svg_count(page.data, end, "<title>gold (monitor)</title>\n<desc>"), 2);
    assert_null(strstr(page.data, ">target: ")); /* they have not the same */
    check_says(">limit: 0.25</text>");
    char *svg = chart_titled("Raw reward", 1);
    const struct svg_scale x = svg_axis(svg, 'x', false), y = svg_axis(svg, 'y', false);
    const char *group_end, *at = svg_series(svg, 1, &group_end);
    for (int s = 0; s < STEPS; s++) {
        at = strstr(at + 1, "<circle");
        assert_true(at && at < group_end);
        svg_check_at(&x, sqrt(0.1 * s), svg_number(at, "cx"));
        svg_check_at(&y, s, svg_number(at, "cy"));
    }
    free(svg);
}

/* In b the proxy is the third scorer, and gold is trained on. */
static void scores_are_compared_by_their_name_and_role(void **state)
{
    (void)state;
    char arguments[512];
    const struct curves other = {rising, rising,
                                 "    - {name: harm, kind: regex, pattern: z, role: cost}\n"
                                 "    - {name: gold, kind: regex, pattern: y, weight: 1}\n"
                                 "    - {name: proxy, kind: regex, pattern: x, weight: 2}\n",
                                 0};
    write_run("a", 1, KL, STEPS, &hacked);
    write_run("b", 1, KL, STEPS, &other);
    snprintf(arguments, sizeof arguments, "%s/a %s/b --out %s/c.html", dir, dir, dir);
    assert_int_equal(report(arguments), 0);
    read_page("c.html");
    char *svg = chart_titled("proxy (reward, weight 2)", 0);
    const struct svg_scale y = svg_axis(svg, 'y', false);
    static struct svg_vertex vertex[64];
    const char *end, *group = svg_series(svg, 1, &end);
    assert_int_equal(svg_path(strstr(group, "fill=\"none\""), vertex, 64), STEPS);
    svg_check_at(&y, 0.125, vertex[7].y);
    free(svg);
    svg = chart_titled("gold (monitor)", 0);
    group = svg_series(svg, 1, &end);
    assert_int_equal(svg_path(strstr(group, "fill=\"none\""), vertex, 64), 0);
    assert_non_null(strstr(svg, "B: a&lt;b: no value."));
    free(svg);
    free(chart_titled("gold (reward, weight 1)", 0));
}

static void one_result_is_not_counted_twice(void **state)
{
    (void)state;
    char arguments[512];
    write_run("a", 1, KL, 2, &hacked);
    write_run("b", 1, KL, 2, &hacked);
    snprintf(arguments, sizeof arguments, "%s/a %s/b --out %s/c.html", dir, dir, dir);
    assert_int_equal(report(arguments), 78);
    assert_non_null(strstr(said, "/b are runs of one config and one seed"));
    snprintf(arguments, sizeof arguments, "%s/c.html", dir);
    assert_false(file_exists(arguments));
}

static void more_groups_than_colours_are_refused(void **state)
{
    (void)state;
    static const char *const coefs[] = {"1", "2", "3", "4", "5", "6", "7"};
    char arguments[1024] = "";
    for (size_t i = 0; i < COUNT(coefs); i++) {
        write_run(coefs[i], 1, coefs[i], 2, &hacked);
        snprintf(arguments + strlen(arguments), sizeof arguments - strlen(arguments), "%s/%s ",
                 dir, coefs[i]);
    }
    snprintf(arguments + strlen(arguments), sizeof arguments - strlen(arguments),
             "--out %s/c.html", dir);
    assert_int_equal(report(arguments), 78);
    assert_non_null(strstr(said, "/7 is of a config of its own, but 6 is the most"));
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_cli_report.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    buf_release(&page);
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

#define dir_test(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        dir_test(a_run_has_its_curves),
        dir_test(the_proxy_and_the_monitors_stand_over_the_distance),
        dir_test(the_summary_has_tenths_and_names_the_gap),
        dir_test(the_gates_history_has_a_row_a_candidate),
        dir_test(responses_stand_after_earlier_ones_to_their_prompt),
        dir_test(raw_rewards_are_combined_as_the_run_combined_them),
        dir_test(a_run_that_has_not_begun_has_a_page),
        dir_test(what_is_no_run_is_refused),
        dir_test(runs_that_differ_in_their_seed_become_a_band),
        dir_test(a_comparison_has_each_quantity_once_and_the_distance),
        dir_test(scores_are_compared_by_their_name_and_role),
        dir_test(one_result_is_not_counted_twice),
        dir_test(more_groups_than_colours_are_refused),
    };
    return cmocka_run_group_tests_name("cli/report", tests, NULL, NULL);
}
