/*
 * test_cli_gate_power.c -- the gate as a whole: of many candidates, how many pass?  And `rlhf
 * power`, which says so beforehand.
 *
 * A candidate is a real policy under another seed: its answers to the held-out prompts are fresh,
 * and its true cost is known from many answers to each of them.  Oracles: that cost, and the
 * chances that docs/OPERATIONS.md prints.
 */
#include <math.h>

#include "tests/unit/gate_scene.h"

#define CANDIDATES 200 /* just above the limit */
#define FEWER      60  /* well below it */

/* The policy's true cost on the held-out prompts, and its standard error. */
static double true_cost(double *error)
{
    char line[1024];
    snprintf(
        line, sizeof line,
        "rlhf evaluate --config %.200s --model %.200s --prompts %.200s --samples 256 --json "
        "reward.scorers.0.kind=regex reward.scorers.0.pattern=q reward.scorers.1.pattern=b "
        "sampling.max_new_tokens=6",
        at("run/config.yaml"), at("run/final"), at("held.jsonl"));
    check_line(cli_main, line, 0, "harm");
    json_t *json = json_loads(said, 0, NULL);
    const json_t *side = json_object_get(json, "model");
    const json_t *harm = json_object_get(json_object_get(side, "scores"), "harm");
    const double mean = number(harm, "mean");
    *error = sqrt(mean * (1 - mean) / (256.0 * PROMPTS)); /* the prompts are no sample here */
    json_decref(json);
    return mean;
}

/* How many of the candidates pass that limit, each the first on its set. */
static int passes_of(double limit, int candidates)
{
    void *state = NULL;
    int passes = 0;
    for (int seed = 1; seed <= candidates; seed++) {
        char options[200];
        forget(&state);
        snprintf(options, sizeof options,
                 "run.seed=%d gate.candidates=1 gate.limit=%.9g reward.scorers.1.pattern=b "
                 "sampling.max_new_tokens=6",
                 seed, limit);
        gate(options, EITHER, "");
        passes += strstr(said, ": PASS") != NULL;
        assert_non_null(strstr(said, "candidate 1 of 1, 60 prompts"));
    }
    return passes;
}

static void gate_passes_one_in_twenty_just_above_the_limit_and_most_well_below(void **state)
{
    (void)state;
    double error;
    const double cost = true_cost(&error), se = sqrt(0.05 * 0.95 / CANDIDATES);
    assert_true(cost > 0.2 && cost < 0.7);
    const int above = passes_of(cost - 3 * error, CANDIDATES);
    const int below = passes_of(fmin(0.95, cost + 0.25), FEWER);
    print_message(
        "true cost %.3f: %d of %d pass a limit just below it, %d of %d one well above\n", cost,
        above, CANDIDATES, below, FEWER);
    assert_true(above <= CANDIDATES * (0.05 + 2 * se));
    assert_true(below >= FEWER * 0.95);
}

/* The tables in the docs are what the command prints today. */
static void power_is_documented(void **state)
{
    (void)state;
    struct buf page;
    buf_init(&page, 1 << 20);
    check_line(cli_main, "rlhf power", 0, "| clopper_pearson, 400 |");
    check_ok(file_read(TEST_SOURCE_DIR "/docs/OPERATIONS.md", &page, &err));
    if (!strstr(page.data, said))
        fail_msg("docs/OPERATIONS.md is out of date: rlhf power says\n%s", said);
    buf_release(&page);
}

static void power_takes_the_gate_that_is_asked_for(void **state)
{
    (void)state;
    check_line(cli_main, "rlhf power --limit 0.05 --candidates 4 --prompts 86 --prompts 252", 0,
               "| clopper_pearson, 86 |");
    assert_non_null(strstr(said, "| clopper_pearson, 252 |"));
    assert_null(strstr(said, "| clopper_pearson, 400 |"));
    const char *row = strstr(said, "| clopper_pearson, 86 |");
    assert_memory_equal(strchr(row, '\n') - 7, "1.000 |", 7); /* no harm in 86 passes */
    check_line(cli_main, "rlhf power --spread 0.5", 0, "| bernstein, 100 |");
    assert_null(strstr(said, "clopper_pearson"));
    check_line(cli_main, "rlhf power --prompts 0", 78, "--prompts 0: must be 1 to 20000");
    check_line(cli_main, "rlhf power --prompts 4x", 78, "--prompts 4x");
    check_line(cli_main, "rlhf power --limit 2", 64, "limit");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, forget)
    const struct CMUnitTest tests[] = {
        CASE(gate_passes_one_in_twenty_just_above_the_limit_and_most_well_below),
        CASE(power_is_documented),
        CASE(power_takes_the_gate_that_is_asked_for),
    };
    return cmocka_run_group_tests(tests, make_scene, remove_scene);
}
