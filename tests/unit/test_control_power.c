/*
 * test_control_power.c -- how often a gate lets a policy pass, by its true cost.
 *
 * Oracles: a sum over all k of binomial terms by lgamma, with the gate asked at each; candidates
 * simulated, each tested by the gate itself; the counts that docs and tables of exact bounds have.
 */
#include "base/rng.h"
#include "control/power.h"
#include "tests/unit/near.h"

static double scratch[POWER_PROMPTS_MAX];

static struct bound_gate gate_of(enum bound_kind kind, double limit)
{
    return (struct bound_gate){.bound = {.kind = kind, .high = 1.0},
                               .limit = limit,
                               .delta = 0.05,
                               .candidates_max = 1};
}

static double pass_of(enum bound_kind kind, double limit, double cost, double spread, size_t n)
{
    const struct bound_gate gate = gate_of(kind, limit);
    double pass = NAN;
    check_ok(power_pass(&gate, cost, spread, n, scratch, &pass, &err));
    return pass;
}

/* Over every k, asking the gate at each. */
static double pass_by_sum(enum bound_kind kind, double limit, double cost, double spread,
                          size_t n)
{
    const struct bound_gate gate = gate_of(kind, limit);
    double samples[200], sum = 0.0;
    for (size_t k = 0; k <= n; k++) {
        struct bound_verdict verdict;
        for (size_t i = 0; i < n; i++)
            samples[i] = cost * (1.0 - spread) + (i < k ? spread : 0.0);
        bound_gate_test(&gate, 0, samples, n, &verdict, NULL);
        const double log_choose =
            lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1);
        if (verdict.decision == BOUND_PASS)
            sum += exp(log_choose + (double)k * log(cost) + (double)(n - k) * log1p(-cost));
    }
    return sum;
}

static void power_is_the_sum_over_all_counts(void **state)
{
    (void)state;
    static const double costs[] = {0.01, 0.1, 0.2, 0.3, 0.31}, spreads[] = {1.0, 0.4};
    int between = 0;
    for (int k = BOUND_STUDENT; k <= BOUND_CLOPPER_PEARSON; k++)
        for (size_t c = 0; c < COUNT(costs); c++)
            for (size_t s = 0; s < COUNT(spreads); s++)
                for (size_t n = 2; n <= 200; n += 99) {
                    const enum bound_kind kind = (enum bound_kind)k;
                    const double want = pass_by_sum(kind, 0.3, costs[c], spreads[s], n);
                    const double got = pass_of(kind, 0.3, costs[c], spreads[s], n);
                    check_near(got, want, 1e-10);
                    between += want > 0.05 && want < 0.95;
                }
    assert_true(between > 15); /* else the test says nothing */
}

#define CANDIDATES 1000

/* Candidates of that true cost, each tested by the gate on n answers of its own. */
static double share_that_passes(enum bound_kind kind, double limit, double cost, size_t n)
{
    const struct bound_gate gate = gate_of(kind, limit);
    int passed = 0;
    for (uint64_t c = 0; c < CANDIDATES; c++) {
        struct bound_verdict verdict;
        for (uint32_t i = 0; i < n; i++)
            scratch[i] = rng_uniform(23, RNG_STREAM_WORLD, c, 0, i) < cost;
        bound_gate_test(&gate, 0, scratch, n, &verdict, NULL);
        passed += verdict.decision == BOUND_PASS;
    }
    return passed / (double)CANDIDATES;
}

static void candidates_just_above_the_limit_pass_no_oftener_than_delta(void **state)
{
    (void)state;
    static const size_t n[] = {100, 400, 1000};
    const double limit = 0.1, cost = limit * (1.0 + 1e-9);
    const double se = sqrt(0.05 * 0.95 / CANDIDATES);
    for (int k = BOUND_HOEFFDING; k <= BOUND_CLOPPER_PEARSON; k++)
        for (size_t i = 0; i < COUNT(n); i++) {
            const enum bound_kind kind = (enum bound_kind)k;
            const double share = share_that_passes(kind, limit, cost, n[i]);
            print_message(
                "%s, %zu prompts: %.3f of %d candidates just above the limit passed\n",
                bound_name(kind), n[i], share, CANDIDATES);
            assert_true(share <= 0.05 + 2.0 * se);
            assert_true(pass_of(kind, limit, cost, 1.0, n[i]) <= 0.05);
        }
}

static void candidates_below_the_limit_pass_as_often_as_power_says(void **state)
{
    (void)state;
    static const double costs[] = {0.025, 0.05, 0.075};
    for (int k = BOUND_STUDENT; k <= BOUND_CLOPPER_PEARSON; k++)
        for (size_t c = 0; c < COUNT(costs); c++) {
            const enum bound_kind kind = (enum bound_kind)k;
            const double pass = pass_of(kind, 0.1, costs[c], 1.0, 400);
            const double share = share_that_passes(kind, 0.1, costs[c], 400);
            check_near(share, pass, 3.5 * sqrt(pass * (1.0 - pass) / CANDIDATES) + 1e-3);
        }
}

/* Where harm is rare its mean is not normal: Student's bound, alone, does not hold what it
 * promises.  The docs say so, with this number. */
static void student_lets_too_many_pass_where_harm_is_rare(void **state)
{
    (void)state;
    const double limit = 0.1, cost = limit * (1.0 + 1e-9);
    assert_true(pass_of(BOUND_STUDENT, limit, cost, 1.0, 100) > 0.11);
    check_near(share_that_passes(BOUND_STUDENT, limit, cost, 100), 0.117, 0.035);
}

static void power_finds_the_prompts_that_are_enough(void **state)
{
    (void)state;
    size_t n = 0;
    struct bound_gate gate = gate_of(BOUND_CLOPPER_PEARSON, 0.05);
    check_ok(power_prompts(&gate, 0.0, 1.0, 0.9, scratch, &n, &err));
    assert_int_equal(n, 60); /* (1 - .05)^59 < .05, and the steps pass over 59 */
    gate.limit = 0.1;
    check_ok(power_prompts(&gate, 0.0, 1.0, 0.9, scratch, &n, &err));
    assert_int_equal(n, 29);
    check_ok(power_prompts(&gate, 0.05, 1.0, 0.9, scratch, &n, &err));
    assert_true(pass_of(BOUND_CLOPPER_PEARSON, 0.1, 0.05, 1.0, n) >= 0.9);
    for (size_t m = 2; m < n; m += 1 + m / 50)
        assert_true(pass_of(BOUND_CLOPPER_PEARSON, 0.1, 0.05, 1.0, m) < 0.9);
    gate.candidates_max = 4; /* a lower delta takes more */
    size_t more = 0;
    check_ok(power_prompts(&gate, 0.05, 1.0, 0.9, scratch, &more, &err));
    assert_true(more > n);
    check_ok(power_prompts(&gate, 0.1, 1.0, 0.9, scratch, &n, &err));
    assert_int_equal(n, 0); /* at the limit none is enough */
}

static void power_refuses_what_it_cannot_use(void **state)
{
    (void)state;
    struct bound_gate gate = gate_of(BOUND_HOEFFDING, 0.1);
    double pass;
    size_t n;
    check_fails(power_pass(&gate, 1.5, 1.0, 10, scratch, &pass, &err), ERR_USAGE,
                "cost is 1.5");
    check_fails(power_pass(&gate, NAN, 1.0, 10, scratch, &pass, &err), ERR_USAGE,
                "cost is nan");
    check_fails(power_pass(&gate, 0.1, 0.0, 10, scratch, &pass, &err), ERR_USAGE,
                "spread is 0");
    check_fails(power_pass(&gate, 0.1, 1.0, 0, scratch, &pass, &err), ERR_USAGE, "0 prompts");
    check_fails(power_pass(&gate, 0.1, 1.0, 20001, scratch, &pass, &err), ERR_USAGE,
                "20001 prompts");
    check_fails(power_prompts(&gate, 0.1, 1.0, 1.0, scratch, &n, &err), ERR_USAGE,
                "chance of 1");
    gate.candidates_max = 0;
    check_fails(power_pass(&gate, 0.1, 1.0, 10, scratch, &pass, &err), ERR_USAGE,
                "0 candidates");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_is_the_sum_over_all_counts),
        cmocka_unit_test(candidates_just_above_the_limit_pass_no_oftener_than_delta),
        cmocka_unit_test(candidates_below_the_limit_pass_as_often_as_power_says),
        cmocka_unit_test(student_lets_too_many_pass_where_harm_is_rare),
        cmocka_unit_test(power_finds_the_prompts_that_are_enough),
        cmocka_unit_test(power_refuses_what_it_cannot_use),
    };
    return cmocka_run_group_tests_name("power", tests, NULL, NULL);
}
