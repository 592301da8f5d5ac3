/*
 * test_cli_dual.c -- `rlhf dual`: from scored answers to a multiplier.
 *
 * Oracles: a prompt with two kinds of answers, whose optimum is a logarithm (test_control_dual.c
 * derives it); rewards shaped by their definition here; `rlhf evaluate`, for answers sampled.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "tests/unit/cli_run.h"

#define MODEL TEST_SOURCE_DIR "/tests/fixture/model"

static char dir[] = "/tmp/rlhf-dual-XXXXXX";
static struct buf answers;

static char *at(const char *name)
{
    static char path[4][FILE_PATH_MAX];
    static size_t turn;
    char *out = path[turn++ % 4];
    check_ok(file_join(out, dir, name, &err));
    return out;
}

static void write_text(const char *name, const char *text)
{
    check_ok(file_write(at(name), text, strlen(text), &err));
}

static int make_scene(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    write_text("prompts.jsonl", "{\"prompt\": \"user: what is one?\\nbot:\"}\n"
                                "{\"prompt\": \"user: what is two?\\nbot:\"}\n");
    write_text("run.yaml", "run: {dir: run, steps: 5}\n"
                           "model: {policy: " MODEL "}\n"
                           "data: {prompts: prompts.jsonl, prompt_tokens_max: 48}\n"
                           "sampling: {max_new_tokens: 16}\n"
                           "reward:\n  shaper: none\n  scorers:\n"
                           "    - {name: help, kind: regex, pattern: a, weight: 2}\n"
                           "    - {name: harm, kind: regex, pattern: e, role: cost}\n"
                           "    - {name: watch, kind: regex, pattern: i, role: monitor}\n"
                           "safety: {controller: fixed, lambda: 1, cost: score, limit: 0.2}\n"
                           "kl: {controller: fixed, coef: 0.3}\n");
    return 0;
}

static int remove_scene(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

static int no_answers(void **state)
{
    (void)state;
    buf_release(&answers);
    buf_init(&answers, 1 << 20);
    return 0;
}

/* A line as rlhf evaluate writes it; `help` is JSON. */
static void answer_is(unsigned prompt, unsigned tokens, const char *finish, double kl,
                      const char *help, double harm)
{
    buf_printf(&answers,
               "{\"prompt_index\": %u, \"sample\": 0, \"prompt\": \"p\", \"response\": \"r\", "
               "\"tokens\": %u, \"finish\": \"%s\", \"kl\": %.9g, \"scores\": {\"help\": %s, "
               "\"harm\": %.17g, \"watch\": 7}}\n",
               prompt, tokens, finish, kl, help, harm);
}

static void dual(const char *options, int code, const char *words)
{
    char line[1024];
    check_ok(file_write(at("answers.jsonl"), answers.data, answers.len, &err));
    snprintf(line, sizeof line, "rlhf dual --config %.300s --answers %.300s %.300s",
             at("run.yaml"), at("answers.jsonl"), options);
    check_line(cli_main, line, code, words);
}

/* member.key of what was printed as JSON, or key alone. */
static double told(const char *member, const char *key)
{
    json_t *root = json_loads(said, 0, NULL);
    assert_non_null(root);
    const json_t *object = member ? json_object_get(root, member) : root;
    const json_t *value = json_object_get(object, key);
    const double number = json_is_number(value) ? json_number_value(value) : (double)NAN;
    json_decref(root);
    return number;
}

static void check_told(const char *member, const char *key, double want)
{
    const double got = told(member, key);
    if (!(fabs(got - want) <= 1e-9))
        fail_msg("%s.%s is %.12g, want %.12g in:\n%s", member ? member : "", key, got, want,
                 said);
}

static double logit(double p)
{
    return log(p / (1.0 - p));
}

/* Of 8 answers 3 help and harm: reward 2 (the weight) and cost 1. */
static void write_toy(void)
{
    for (unsigned i = 0; i < 8; i++)
        answer_is(0, 5, "eos", 0, i < 3 ? "1" : "0", i < 3);
}

static void dual_finds_the_multiplier_of_the_runs_own_beta(void **state)
{
    (void)state;
    write_toy();
    dual("--json", 0, "\"met\": true");
    /* h = (2 (1 - m) - m) / beta is to move logit(3/8) to logit(.2) */
    const double m = (2.0 - 0.3 * (logit(0.2) - logit(3.0 / 8.0))) / 3.0;
    check_told("at", "lambda", m / (1.0 - m));
    check_told("at", "cost", 0.2);
    check_told("reference", "cost", 3.0 / 8.0);
    check_told("reference", "reward", 6.0 / 8.0);
    check_told("reference", "effective", 8.0);
    check_told("reward_alone", "cost", 1.0 / (1.0 + exp(-(logit(3.0 / 8.0) + 2.0 / 0.3))));
    char words[96];
    snprintf(words, sizeof words, "config: safety.controller=fixed safety.lambda=%.4g",
             m / (1.0 - m));
    dual("", 0, words);
    snprintf(words, sizeof words, "lambda %.6g, of one prompt, so without an error; limit 0.2,",
             m / (1.0 - m));
    dual("", 0, words);
    assert_null(strstr(said, "nan"));
    dual("kl.coef=0.5 --json", 0, "met");
    const double other = (2.0 - 0.5 * (logit(0.2) - logit(3.0 / 8.0))) / 3.0;
    check_told("at", "lambda", other / (1.0 - other));
}

static double sigma(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* Rewards are those that training sees: against the other answers to the prompt, after the
 * penalties. */
static void dual_shapes_rewards_as_the_run_does(void **state)
{
    (void)state;
    answer_is(0, 10, "eos", 0, "1.5", 0);
    answer_is(0, 13, "length", 0, "0.25", 0);
    answer_is(0, 8, "eos", 0, "-1", 1);
    dual("reward.shaper=par reward.length_penalty=0.125 reward.length_free_tokens=9 "
         "reward.truncation=penalty reward.truncation_penalty=0.5 safety.limit=1 --json",
         0, "met");
    const double r[3] = {3.0 - 0.125, 0.5 - 4 * 0.125, -2.0};
    double shaped[3], sum = 0, mean = 0;
    for (int i = 0; i < 3; i++) {
        const double x = r[i], y = r[(i + 1) % 3], z = r[(i + 2) % 3];
        shaped[i] = (sigma(x - y) + sigma(x - z)) / 2 - (i == 1 ? 0.5 : 0);
    }
    check_told("reference", "reward", (shaped[0] + shaped[1] + shaped[2]) / 3);
    for (int i = 0; i < 3; i++) {
        sum += exp(shaped[i] / 0.3);
        mean += shaped[i] * exp(shaped[i] / 0.3);
    }
    check_told("reward_alone", "reward", mean / sum);
    check_told("at", "lambda", 0); /* a limit that holds by itself */
    dual("safety.limit=1", 0, "config: the limit holds by itself: safety.controller=none\n");
    assert_non_null(
        strstr(said, "\nlambda 0, as the limit holds without a multiplier; limit 1,"));
    assert_null(strstr(said, "nan"));
}

static void dual_takes_costs_as_probabilities_where_the_run_does(void **state)
{
    (void)state;
    answer_is(0, 5, "eos", 0, "0", -1);
    answer_is(0, 5, "eos", 0, "0", 3);
    dual("safety.cost=probability safety.limit=0.9 --json", 0, "met");
    check_told("reference", "cost", (sigma(-1) + sigma(3)) / 2);
}

static void dual_leaves_out_an_answer_without_a_score(void **state)
{
    (void)state;
    write_toy();
    answer_is(0, 5, "eos", 0, "null", 1);
    answer_is(1, 5, "eos", 0, "null", 1); /* and a prompt without any other */
    dual("--json", 0, "\"prompts\": 1, \"answers\": 8, \"missing\": 2");
    check_told("reference", "cost", 3.0 / 8.0);
    no_answers(state);
    write_toy();
    answer_is(1, 5, "eos", 0, "1", 1); /* PAR has nothing to compare it with */
    dual("reward.shaper=par --json", 0, "\"prompts\": 1, \"answers\": 8, \"missing\": 1");
    no_answers(state);
    answer_is(0, 5, "eos", 0, "null", 1);
    dual("", 65, "no answer has all its scores");
}

static void dual_warns_where_its_lambda_is_worth_little(void **state)
{
    (void)state;
    write_toy();
    dual("kl.coef=9", 1,
         "warning: no multiplier meets the limit by weighing these answers anew: "
         "with the cost alone their mean cost is 0.3493, the limit is 0.2");
    assert_null(strstr(said, "config:"));
    assert_non_null(strstr(said, "\nno lambda meets limit 0.2 at beta 9 in the run\n"));
    assert_non_null(strstr(said, "    cost alone\n"));
    assert_true(!strstr(said, "nan") && !strstr(said, "inf"));
    dual("kl.controller=adaptive kl.target_nats_per_sequence=3", 0,
         "warning: kl.controller moves beta");
    dual("safety.gate_samples=100 safety.controller=lagrangian", 0,
         "warning: safety.gate_samples is set");
    no_answers(state);
    for (unsigned i = 0; i < 8; i++)
        answer_is(0, 5, "eos", 0, i == 0 ? "1" : "0", i == 0 ? 0.3 : i == 1 ? 0.0 : 1.0);
    dual("kl.coef=0.1", 0, "warning: the best policy rests on 1.");
}

static void dual_refuses_answers_that_are_none_of_the_run(void **state)
{
    (void)state;
    write_toy();
    answer_is(0, 5, "eos", 0.25, "1", 1);
    dual("", 78, "answers.jsonl:9: the answer is 0.25 nats from the reference policy");
    dual("sampling.top_k=5", 0, "config"); /* then an answer's KL is no 0 */
    no_answers(state);
    answer_is(3, 5, "eos", 0, "1", 1);
    answer_is(2, 5, "eos", 0, "1", 1);
    dual("", 65, "answers.jsonl:2: prompt 2 comes after prompt 3");
    no_answers(state);
    answer_is(3, 5, "eos", 0, "1", 1);
    dual("reward.scorers.1.name=other", 65, "answers.jsonl:1: there is no score of other");
    buf_puts(&answers, "{\"prompt_index\": 4}\n");
    dual("", 65, "answers.jsonl:2");
}

static void dual_refuses_a_config_it_cannot_do(void **state)
{
    (void)state;
    write_toy();
    dual("reward.combine=min", 78, "reward.combine is not sum");
    dual("reward.shaper=minmax", 78, "minmax depends on the steps before");
    dual("reward.scorers.1.role=monitor safety.controller=none", 78,
         "no scorer has the role cost");
    dual("kl.coef=0", 78, "kl.coef is 0");
    check_line(cli_main, "rlhf dual", 64, "--config is missing");
}

/* Sampling here is evaluating the reference policy there. */
static void dual_samples_what_evaluate_would(void **state)
{
    (void)state;
    char line[2048];
    static char first[sizeof said];
    snprintf(
        line, sizeof line,
        "rlhf dual --config %.200s --samples 6 --seed 3 --out %.200s safety.limit=0.9 --json",
        at("run.yaml"), at("sampled.jsonl"));
    check_line(cli_main, line, 0, "\"answers\": 12");
    strcpy(first, said);
    snprintf(line, sizeof line,
             "rlhf evaluate --config %.200s --model " MODEL
             " --samples 6 --seed 3 --out %.200s",
             at("run.yaml"), at("answers.jsonl"));
    check_line(cli_main, line, 0, "help");
    struct buf a, b;
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    check_ok(file_read(at("sampled.jsonl"), &a, &err));
    check_ok(file_read(at("answers.jsonl"), &b, &err));
    assert_string_equal(a.data, b.data);
    snprintf(line, sizeof line,
             "rlhf dual --config %.200s --answers %.200s safety.limit=0.9 --json",
             at("run.yaml"), at("answers.jsonl"));
    check_line(cli_main, line, 0, "\"answers\": 12");
    assert_string_equal(said, first);
    buf_release(&a);
    buf_release(&b);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, no_answers)
    const struct CMUnitTest tests[] = {
        CASE(dual_finds_the_multiplier_of_the_runs_own_beta),
        CASE(dual_shapes_rewards_as_the_run_does),
        CASE(dual_takes_costs_as_probabilities_where_the_run_does),
        CASE(dual_leaves_out_an_answer_without_a_score),
        CASE(dual_warns_where_its_lambda_is_worth_little),
        CASE(dual_refuses_answers_that_are_none_of_the_run),
        CASE(dual_refuses_a_config_it_cannot_do),
        CASE(dual_samples_what_evaluate_would),
    };
    return cmocka_run_group_tests_name("rlhf dual", tests, make_scene, remove_scene);
}
