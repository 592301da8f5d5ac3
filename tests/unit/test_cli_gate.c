/*
 * test_cli_gate.c -- `rlhf gate`: what is published, what is not, and what is counted.
 *
 * Oracles: the costs recomputed from the texts that were written beside the verdict; the bound of
 * Clopper and Pearson by its definition, the binomial sum that it makes delta; files and links
 * as the file system shows them.
 */
#include <math.h>

#include "tests/unit/gate_scene.h"

static void gate_publishes_a_policy_that_passes(void **state)
{
    (void)state;
    gate("", 0, "PASS: mean cost 0, with confidence 0.975 at most 0.05963");
    assert_memory_equal(published(), "releases/", 9);
    check_same_file("run/published/model.safetensors", "run/final/model.safetensors");
    check_same_file("run/published/tokenizer.json", "run/final/tokenizer.json");
    json_t *json = read_json("run/published/GATE.json");
    assert_string_equal(json_string_value(json_object_get(json, "decision")), "PASS");
    assert_true(number(json, "n") == PROMPTS && number(json, "candidate") == 0);
    /* no harm in 60: the largest p with (1 - p)^60 >= delta */
    assert_true(fabs(number(json, "upper") - (1 - pow(0.025, 1.0 / PROMPTS))) < 1e-12);
    json_decref(json);
    assert_false(file_exists(at("run/releases/.tmp")));
}

/* The share of answers written with `word` in them, and how many there are. */
static double share_of(const char *lines, const char *word, size_t *n)
{
    struct buf text;
    const char *cursor, *line;
    size_t len, with = 0;
    *n = 0;
    read_text(lines, &text);
    for (cursor = text.data; file_next_line(&cursor, text.data + text.len, &line, &len);) {
        json_t *json = json_loadb(line, len, 0, NULL);
        assert_non_null(json);
        assert_int_equal((size_t)number(json, "prompt_index"), *n);
        with += strstr(json_string_value(json_object_get(json, "response")), word) != NULL;
        *n += 1;
        json_decref(json);
    }
    buf_release(&text);
    return (double)with / (double)*n;
}

static const char *name_of_final(void)
{
    static char name[64];
    gate("", 0, "PASS"); /* names it by what it publishes */
    snprintf(name, sizeof name, "%.60s", published() + strlen("releases/"));
    return name;
}

static double binomial_at_most(size_t k, size_t n, double p)
{
    double sum = 0;
    for (size_t i = 0; i <= k; i++)
        sum += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) +
                   (double)i * log(p) + (double)(n - i) * log1p(-p));
    return sum;
}

static void gate_bounds_the_costs_of_the_answers_it_wrote(void **state)
{
    char path[256];
    size_t n;
    snprintf(path, sizeof path, "run/gate/%s", name_of_final());
    forget(state);
    gate("reward.scorers.1.pattern=is gate.limit=0.9", EITHER, "");
    char file[300];
    snprintf(file, sizeof file, "%s.jsonl", path);
    const double share = share_of(file, "is", &n);
    assert_int_equal(n, PROMPTS);
    assert_true(share > 0.05 && share < 0.999); /* else the test says nothing */
    snprintf(file, sizeof file, "%s.json", path);
    json_t *json = read_json(file);
    const double mean = number(json, "mean"), upper = number(json, "upper");
    assert_true(fabs(mean - share) < 1e-12);
    const size_t k = (size_t)round(mean * PROMPTS);
    assert_true(fabs(binomial_at_most(k, PROMPTS, upper) - 0.025) < 1e-9);
    json_decref(json);

    forget(state); /* the same answers, another cost: 3 a response with "is" in it */
    gate("reward.scorers.1.pattern=is reward.scorers.1.weight=3 gate.cost=score "
         "gate.bound=hoeffding gate.cost_high=3 gate.limit=9",
         0, "PASS");
    json = read_json(file);
    assert_true(fabs(number(json, "mean") - 3 * share) < 1e-12);
    assert_true(fabs(number(json, "upper") - 3 * share -
                     3 * sqrt(log(1 / 0.025) / (2.0 * PROMPTS))) < 1e-12);
    json_decref(json);

    forget(state); /* as a probability: sigma(0) is 1/2, sigma(1) is 0.731 */
    gate("reward.scorers.1.pattern=is gate.cost=probability gate.bound=bernstein "
         "gate.limit=0.99",
         0, "PASS");
    json = read_json(file);
    const double low = 0.5, high = 1 / (1 + exp(-1));
    assert_true(fabs(number(json, "mean") - low - share * (high - low)) < 1e-12);
    json_decref(json);
}

static void gate_keeps_what_is_published_where_the_next_one_fails(void **state)
{
    (void)state;
    char before[FILE_PATH_MAX], options[FILE_PATH_MAX + 64];
    gate("", 0, "PASS");
    snprintf(before, sizeof before, "%.1000s", published());
    snprintf(options, sizeof options, "--model %.1000s reward.scorers.1.pattern=^",
             at("other"));
    gate(options, 1, "NSF, no safe solution: mean cost 1, ");
    assert_string_equal(published(), before);
    assert_false(file_exists(at("run/releases/.tmp")));
}

static void gate_refuses_more_candidates_than_were_planned(void **state)
{
    (void)state;
    char options[FILE_PATH_MAX + 64], before[FILE_PATH_MAX];
    gate("", 0, "candidate 1 of 2");
    snprintf(options, sizeof options, "--model %.1000s", at("other"));
    gate(options, 0, "candidate 2 of 2");
    snprintf(before, sizeof before, "%.1000s", published());
    snprintf(options, sizeof options, "--model %.1000s", at("third"));
    gate(options, 1, "spent: 2 candidates");
    assert_string_equal(published(), before);
    gate("", 0, "tested before"); /* one of the two is no new one, and is published again */
    assert_string_not_equal(published(), before);
    /* ... but the same policy by another cost, or sampled another way, is */
    gate("reward.scorers.1.pattern=q", 1, "spent");
    gate("sampling.temperature=0.5", 1, "spent");
    gate("run.seed=2", 1, "spent");
    gate("sampling.stop=[x]", 1, "spent");
}

static void gate_draws_fresh_answers_for_each_candidate(void **state)
{
    struct buf first, second, same;
    char file[300];
    snprintf(file, sizeof file, "run/gate/%s.jsonl", name_of_final());
    read_text(file, &first);
    gate("reward.scorers.1.pattern=qqq", 0, "candidate 2 of 2"); /* the same policy */
    read_text(file, &second);
    assert_true(first.len != second.len || memcmp(first.data, second.data, first.len) != 0);
    forget(state);
    gate("", 0, "candidate 1 of 2");
    read_text(file, &same); /* and it is a pure function of the number */
    assert_int_equal(same.len, first.len);
    assert_memory_equal(same.data, first.data, first.len);
    buf_release(&first);
    buf_release(&second);
    buf_release(&same);
}

static void gate_holds_a_set_to_the_plan_it_began_with(void **state)
{
    (void)state;
    static const char *const other[] = {
        "gate.limit=0.2",       "gate.delta=0.1",
        "gate.candidates=3",    "gate.cost=probability gate.bound=student",
        "gate.bound=hoeffding", "gate.cost_high=2"};
    gate("", 0, "PASS");
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        gate(other[i], 78, "cannot be changed");
}

static void gate_passes_nobody_whose_cost_is_not_known(void **state)
{
    (void)state;
    gate("reward.scorers.0.role=cost reward.scorers.1.role=reward", 1,
         "NSF, no safe solution: the answer to prompt 0 has no");
    assert_string_equal(published(), "");
    gate("reward.scorers.0.role=cost reward.scorers.1.role=reward", 1, "tested before");
}

static void gate_passes_nobody_whose_costs_the_bound_cannot_take(void **state)
{
    (void)state;
    /* all costs equal: Student knows no deviation */
    gate("gate.cost=score gate.bound=student gate.limit=5", 1, "all 60 samples are 0");
    forget(state);
    gate("gate.cost=score gate.bound=hoeffding gate.cost_low=1 gate.cost_high=2 gate.limit=5",
         1, "NSF");
    assert_string_equal(published(), "");
}

static void gate_refuses_prompts_that_training_saw(void **state)
{
    (void)state;
    write_text("mixed.jsonl", "{\"prompt\": \"user: a new one?\\nbot:\"}\n"
                              "{\"prompt\": \"user: what colour is number 5?\\nbot:\"}\n");
    char options[FILE_PATH_MAX + 64];
    snprintf(options, sizeof options, "gate.prompts=%.1000s", at("mixed.jsonl"));
    gate(options, 78, "prompt 1 is prompt 5 of");
    assert_string_equal(published(), "");
    assert_false(file_exists(at("mixed.jsonl.gate.sqlite"))); /* nothing was spent */
}

static void gate_ends_at_what_is_broken(void **state)
{
    (void)state;
    char options[FILE_PATH_MAX + 64];
    snprintf(options, sizeof options, "--model %.1000s", at("absent"));
    gate(options, 74, "absent");
    gate("gate.prompts=", 78, "has no gate.prompts");
    write_text("held.jsonl.gate.sqlite", "this is no ledger, and no database at all; not one");
    gate("", 65, "held.jsonl.gate.sqlite");
    assert_string_equal(published(), "");
}

/* --- the ledger alone ---------------------------------------------------------------------- */

static struct gate_claim claim_of(unsigned char candidate)
{
    struct gate_claim claim = {.prompts = 3, .candidates_max = 2, .run = "run"};
    snprintf(claim.plan, sizeof claim.plan, "a plan");
    claim.candidate.bytes[0] = candidate;
    return claim;
}

static struct gate_ledger *open_ledger(void)
{
    struct gate_ledger *ledger;
    check_ok(gate_ledger_open(&ledger, at("ledger"), &err));
    return ledger;
}

static void ledger_gives_a_candidate_that_was_not_settled_its_number_again(void **state)
{
    (void)state;
    struct gate_claim a = claim_of(1), b = claim_of(2);
    struct gate_entry entry;
    struct gate_ledger *ledger = open_ledger();
    check_ok(gate_ledger_spend(ledger, &a, &entry, &err));
    assert_true(entry.number == 0 && !entry.tested && entry.verdict.decision == BOUND_NSF);
    gate_ledger_close(ledger); /* as if killed */

    ledger = open_ledger();
    check_ok(gate_ledger_spend(ledger, &b, &entry, &err));
    assert_int_equal(entry.number, 1);
    check_ok(gate_ledger_spend(ledger, &a, &entry, &err));
    assert_true(entry.number == 0 && !entry.tested);
    entry.tested = true;
    entry.n = 3;
    entry.verdict = (struct bound_verdict){BOUND_PASS, 0.1, 0.30000000000000004, 0.05};
    check_ok(gate_ledger_settle(ledger, &a, &entry, &err));
    check_fails(gate_ledger_settle(ledger, &a, &entry, &err), ERR_STATE, "has its verdict");
    struct gate_entry again;
    check_ok(gate_ledger_spend(ledger, &a, &again, &err));
    assert_true(again.tested && again.number == 0 && again.n == 3);
    assert_true(again.verdict.decision == BOUND_PASS);
    assert_true(again.verdict.upper == entry.verdict.upper && again.verdict.mean == 0.1);
    struct gate_claim c = claim_of(3);
    check_fails(gate_ledger_spend(ledger, &c, &again, &err), ERR_STATE, "spent");
    c.set.bytes[0] = 1; /* another set of prompts begins at 0 */
    check_ok(gate_ledger_spend(ledger, &c, &again, &err));
    assert_int_equal(again.number, 0);
    gate_ledger_close(ledger);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, forget)
    const struct CMUnitTest tests[] = {
        CASE(gate_publishes_a_policy_that_passes),
        CASE(gate_bounds_the_costs_of_the_answers_it_wrote),
        CASE(gate_keeps_what_is_published_where_the_next_one_fails),
        CASE(gate_refuses_more_candidates_than_were_planned),
        CASE(gate_draws_fresh_answers_for_each_candidate),
        CASE(gate_holds_a_set_to_the_plan_it_began_with),
        CASE(gate_passes_nobody_whose_cost_is_not_known),
        CASE(gate_passes_nobody_whose_costs_the_bound_cannot_take),
        CASE(gate_refuses_prompts_that_training_saw),
        CASE(gate_ends_at_what_is_broken),
        CASE(ledger_gives_a_candidate_that_was_not_settled_its_number_again),
    };
    return cmocka_run_group_tests(tests, make_scene, remove_scene);
}
