/*
 * test_control_bound.c -- bounds and gate against vectors and the table of ALGORITHMS, section
 * 5; against definitions written another way (closed forms of Student's distribution, its
 * density integrated, binomial sums term by term); and in simulation, where the true mean is
 * known: how often a policy passes that must not, and one that may.
 */
#include <stdbool.h>

#include "base/rng.h"
#include "control/bound.h"
#include "tests/unit/near.h"

#define PI 3.14159265358979323846

static const double costs[10] = {-0.5, -1.2, 0.3, -0.8, -0.1, -0.9, 0.2, -1.5, -0.4, -0.6};

static double upper(struct bound_params params, const double *samples, size_t n, double delta)
{
    double result = NAN;
    check_ok(bound_upper(&params, samples, n, delta, &result, &err));
    return result;
}

static void bound_student_quantiles_match_the_table(void **state)
{
    (void)state;
    static const struct {
        double df, at[4];
    } table[] = {
        {1, {3.077683537, 6.313751515, 12.706204736, 31.820515954}},
        {2, {1.885618083, 2.919985580, 4.302652730, 6.964556734}},
        {4, {1.533206274, 2.131846786, 2.776445105, 3.746947388}},
        {9, {1.383028738, 1.833112933, 2.262157163, 2.821437925}},
        {15, {1.340605608, 1.753050356, 2.131449546, 2.602480295}},
        {29, {1.311433647, 1.699127027, 2.045229642, 2.462021360}},
        {63, {1.295134294, 1.669402222, 1.998340543, 2.387007863}},
        {99, {1.290161442, 1.660391156, 1.984216952, 2.364605862}},
        {127, {1.288253109, 1.656940344, 1.978819535, 2.356068590}},
        {255, {1.284880301, 1.650851092, 1.969310570, 2.341060063}},
        {999, {1.282399570, 1.646380345, 1.962341461, 2.330086419}},
    };
    static const double delta[4] = {0.1, 0.05, 0.025, 0.01};
    for (size_t i = 0; i < COUNT(table); i++) {
        for (size_t j = 0; j < COUNT(delta); j++)
            check_near(bound_student_quantile(table[i].df, delta[j]), table[i].at[j], 1e-9);
    }
}

static void bound_student_quantiles_match_the_closed_forms(void **state)
{
    (void)state;
    static const double delta[] = {0.5, 0.499, 0.3, 0.1, 1e-3, 1e-6, 1e-12, 1e-40};
    for (size_t i = 0; i < COUNT(delta); i++) {
        const double d = delta[i];
        const double one = 1.0 / tan(PI * d);
        const double two = (1.0 - 2.0 * d) / sqrt(2.0 * d * (1.0 - d));
        check_near(bound_student_quantile(1.0, d), one, 2e-14 * (1.0 + one));
        check_near(bound_student_quantile(2.0, d), two, 2e-14 * (1.0 + two));
    }
    check_near(bound_student_quantile(7.0, 0.5), 0.0, 1e-15);
}

/* P(0 < T < t) by Simpson's rule on the density. */
static double student_between_0_and(double t, double df)
{
    const int steps = 4000;
    const double scale = exp(lgamma(0.5 * (df + 1.0)) - lgamma(0.5 * df)) / sqrt(df * PI),
                 h = t / steps;
    double sum = 0.0;
    for (int i = 0; i <= steps; i++) {
        const double x = h * i, weight = i == 0 || i == steps ? 1.0 : i % 2 ? 4.0 : 2.0;
        sum += weight * pow(1.0 + x * x / df, -0.5 * (df + 1.0));
    }
    return scale * sum * h / 3.0;
}

static void bound_student_quantiles_cut_off_what_they_say(void **state)
{
    (void)state;
    static const double df[] = {1.0, 1.5, 3.0, 10.0, 77.7, 500.0},
                        delta[] = {0.45, 0.2, 0.05, 0.003};
    for (size_t i = 0; i < COUNT(df); i++) {
        for (size_t j = 0; j < COUNT(delta); j++) {
            const double t = bound_student_quantile(df[i], delta[j]);
            check_near(0.5 - student_between_0_and(t, df[i]), delta[j], 1e-7);
        }
    }
    /* Far out it is the normal distribution's: 1.2815515655446004 at 10 %. */
    check_near(bound_student_quantile(1e7, 0.1), 1.2815515655446004, 1e-6);
}

static void bound_matches_the_vectors(void **state)
{
    (void)state;
    const struct bound_params student = {.kind = BOUND_STUDENT};
    const struct bound_params hoeffding = {.kind = BOUND_HOEFFDING, .low = -2, .high = 2};
    static const struct {
        double delta, student, hoeffding;
    } want[] = {
        {0.1, -0.29644473, 0.80722808},
        {0.05, -0.21392930, 0.99809102},
        {0.01, -0.03273638, 1.36941036},
    };
    for (size_t i = 0; i < COUNT(want); i++) {
        check_near(upper(student, costs, 10, want[i].delta), want[i].student, 1e-8);
        check_near(upper(hoeffding, costs, 10, want[i].delta), want[i].hoeffding, 1e-8);
    }
    const struct bound_params binomial = {.kind = BOUND_CLOPPER_PEARSON};
    double labels[100] = {0};
    check_near(upper(binomial, labels, 100, 0.05), 0.02951305, 1e-8);
    labels[7] = labels[99] = 1.0;
    check_near(upper(binomial, labels, 100, 0.05), 0.06161920, 1e-8);
}

/* Maurer and Pontil state theirs for [0, 1], with the variance as a mean over pairs. */
static void bound_bernstein_matches_its_definition(void **state)
{
    (void)state;
    const struct bound_params params = {.kind = BOUND_BERNSTEIN, .low = -2, .high = 3};
    const double n = 10.0, delta = 0.05;
    double mean = 0.0, pairs = 0.0;
    for (int i = 0; i < 10; i++) {
        const double x = (costs[i] + 2.0) / 5.0;
        mean += x / n;
        for (int j = 0; j < 10; j++) {
            const double y = (costs[j] + 2.0) / 5.0;
            pairs += (x - y) * (x - y) / 2.0;
        }
    }
    const double variance = pairs / (n * (n - 1.0));
    const double unit = mean + sqrt(2.0 * variance * log(2.0 / delta) / n) +
                        7.0 * log(2.0 / delta) / (3.0 * (n - 1.0));
    check_near(upper(params, costs, 10, delta), -2.0 + 5.0 * unit, 1e-13);
    /* By hand: 20 samples, half 0 and half 1: s^2 = 5/19; delta = 2 / e: log(2/delta) = 1. */
    double halves[20] = {0};
    for (int i = 0; i < 10; i++)
        halves[2 * i] = 1.0;
    const struct bound_params unit_range = {.kind = BOUND_BERNSTEIN, .low = 0, .high = 1};
    check_near(upper(unit_range, halves, 20, 2.0 / 54.598150033144236),
               0.5 + sqrt(2.0 * 5.0 / 19.0 * 4.0 / 20.0) + 28.0 / 57.0, 1e-13);
}

/* P(at most k of n) term by term. */
static double at_most(int k, int n, double p)
{
    double sum = 0.0;
    for (int i = 0; i <= k; i++)
        sum += exp(lgamma(n + 1.0) - lgamma(i + 1.0) - lgamma(n - i + 1.0) + i * log(p) +
                   (n - i) * log1p(-p));
    return sum;
}

static void bound_clopper_pearson_matches_binomial_sums(void **state)
{
    (void)state;
    const struct bound_params params = {.kind = BOUND_CLOPPER_PEARSON};
    static const int counts[][2] = {{1, 0},   {1, 1},   {2, 1},     {10, 3},
                                    {50, 49}, {300, 7}, {300, 290}, {300, 300}};
    double labels[300];
    for (size_t c = 0; c < COUNT(counts); c++) {
        const int n = counts[c][0], k = counts[c][1];
        for (int i = 0; i < n; i++)
            labels[i] = i < k;
        for (double delta = 0.5; delta > 1e-9; delta *= 0.1) {
            const double p = upper(params, labels, (size_t)n, delta), h = 1e-10;
            if (k == n) {
                assert_true(p == 1.0);
                continue;
            }
            assert_true(at_most(k, n, p - h) > delta);
            assert_true(p + h >= 1.0 || at_most(k, n, p + h) < delta);
        }
    }
}

static void bound_narrows_with_more_samples_and_less_confidence(void **state)
{
    (void)state;
    double many[200];
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = i % 4 == 0;
    for (int kind = BOUND_STUDENT; kind <= BOUND_CLOPPER_PEARSON; kind++) {
        const struct bound_params params = {.kind = (enum bound_kind)kind, .high = 1};
        double before = INFINITY;
        for (size_t n = 20; n <= COUNT(many); n += 20) {
            const double now = upper(params, many, n, 0.1);
            assert_true(now > 0.25 && now < before);
            before = now;
            assert_true(upper(params, many, n, 0.01) > now);
        }
    }
}

/* --- in simulation --------------------------------------------------------------------- */

#define CANDIDATES 4000
#define SAMPLES    60

/* Costs whose true mean is `mean`: for STUDENT normal of standard deviation 1, for the others a
 * coin, which has the most variance on [0, 1], or where `narrow` uniform within 0.2 of it. */
static void draw_costs(enum bound_kind kind, double mean, bool narrow, uint64_t candidate,
                       double *cost)
{
    for (uint32_t i = 0; i < SAMPLES; i++) {
        const double u = rng_uniform(11, RNG_STREAM_WORLD, candidate, 0, i);
        if (kind == BOUND_STUDENT)
            cost[i] = mean + rng_normal(11, RNG_STREAM_WORLD, candidate, 1, i);
        else
            cost[i] = narrow ? mean - 0.2 + 0.4 * u : u < mean;
    }
}

static double share_that_passes(enum bound_kind kind, double limit, double mean, bool narrow)
{
    const struct bound_gate gate = {.bound = {.kind = kind, .high = 1.0},
                                    .limit = limit,
                                    .delta = 0.1,
                                    .candidates_max = 1};
    int passed = 0;
    for (uint64_t c = 0; c < CANDIDATES; c++) {
        double cost[SAMPLES];
        struct bound_verdict verdict;
        draw_costs(kind, mean, narrow, c, cost);
        check_ok(bound_gate_test(&gate, 0, cost, SAMPLES, &verdict, &err));
        assert_true((verdict.decision == BOUND_PASS) == (verdict.upper <= limit));
        passed += verdict.decision == BOUND_PASS;
    }
    return passed / (double)CANDIDATES;
}

static void gate_lets_no_more_than_delta_pass_above_the_limit(void **state)
{
    (void)state;
    const double se = sqrt(0.1 * 0.9 / CANDIDATES);
    for (int k = BOUND_STUDENT; k <= BOUND_CLOPPER_PEARSON; k++) {
        const enum bound_kind kind = (enum bound_kind)k;
        const double share = share_that_passes(kind, 0.5, 0.5 + 1e-6, false);
        print_message("%s: %.4f of %d candidates just above the limit passed at delta 0.1\n",
                      bound_name(kind), share, CANDIDATES);
        assert_true(share <= 0.1 + 2.0 * se);
        if (kind == BOUND_STUDENT) /* exact for normal costs: no fewer either */
            assert_true(share >= 0.1 - 2.0 * se);
        if (kind == BOUND_CLOPPER_PEARSON) /* exact but for the steps of a count */
            assert_true(share >= 0.05);
    }
}

static void gate_lets_most_pass_that_are_well_below_the_limit(void **state)
{
    (void)state;
    static const double mean[] = {[BOUND_STUDENT] = -0.1, /* 0.6 standard deviations */
                                  [BOUND_HOEFFDING] = 0.25,
                                  [BOUND_BERNSTEIN] = 0.29,
                                  [BOUND_CLOPPER_PEARSON] = 0.27};
    for (int k = BOUND_STUDENT; k <= BOUND_CLOPPER_PEARSON; k++) {
        const enum bound_kind kind = (enum bound_kind)k;
        const double share = share_that_passes(kind, 0.5, mean[k], kind == BOUND_BERNSTEIN);
        print_message("%s: %.4f of %d candidates of true cost %g passed a limit of 0.5\n",
                      bound_name(kind), share, CANDIDATES, mean[k]);
        assert_true(share >= 0.95);
    }
}

/* All candidates of a set are just above the limit, and are tried until one passes. */
static void gate_for_several_candidates_is_wrong_no_oftener_than_for_one(void **state)
{
    (void)state;
    const struct bound_gate gate = {
        .bound = {.kind = BOUND_STUDENT}, .limit = 0.5, .delta = 0.1, .candidates_max = 5};
    int wrong = 0;
    for (uint64_t set = 0; set < CANDIDATES; set++) {
        struct bound_verdict verdict = {.decision = BOUND_NSF};
        for (uint32_t c = 0; c < 5 && verdict.decision == BOUND_NSF; c++) {
            double cost[SAMPLES];
            draw_costs(BOUND_STUDENT, 0.5 + 1e-6, false, 5 * set + c, cost);
            check_ok(bound_gate_test(&gate, c, cost, SAMPLES, &verdict, &err));
            check_near(verdict.delta, 0.02, 1e-15);
        }
        wrong += verdict.decision == BOUND_PASS;
    }
    const double share = wrong / (double)CANDIDATES, se = sqrt(0.1 * 0.9 / CANDIDATES);
    print_message("5 candidates a set: %.4f of the sets let one pass\n", share);
    assert_true(share <= 0.1 + 2.0 * se);
    assert_true(share >= 0.096 - 3.0 * se); /* 1 - 0.98^5: the price is small */
}

/* --- what is refused ------------------------------------------------------------------- */

static void gate_decides_the_vector(void **state)
{
    (void)state;
    struct bound_gate gate = {
        .bound = {.kind = BOUND_STUDENT}, .limit = -0.25, .delta = 0.1, .candidates_max = 1};
    struct bound_verdict verdict;
    check_ok(bound_gate_test(&gate, 0, costs, 10, &verdict, &err));
    assert_int_equal(verdict.decision, BOUND_PASS);
    check_near(verdict.mean, -0.55, 1e-15);
    check_near(verdict.upper, -0.29644473, 1e-8);
    gate.delta = 0.05;
    check_ok(bound_gate_test(&gate, 0, costs, 10, &verdict, &err));
    assert_int_equal(verdict.decision, BOUND_NSF);
    gate.delta = 0.1;
    gate.candidates_max = 2; /* each at 0.05 */
    check_ok(bound_gate_test(&gate, 1, costs, 10, &verdict, &err));
    assert_int_equal(verdict.decision, BOUND_NSF);
    check_near(verdict.upper, -0.21392930, 1e-8);
    gate.limit = verdict.upper; /* at most, not below */
    check_ok(bound_gate_test(&gate, 1, costs, 10, &verdict, &err));
    assert_int_equal(verdict.decision, BOUND_PASS);
}

static void gate_that_cannot_test_says_nsf(void **state)
{
    (void)state;
    struct bound_gate gate = {
        .bound = {.kind = BOUND_STUDENT}, .limit = 9.0, .delta = 0.1, .candidates_max = 2};
    struct bound_verdict verdict = {.decision = BOUND_PASS};
    check_fails(bound_gate_test(&gate, 2, costs, 10, &verdict, &err), ERR_STATE,
                "candidate 2, where the held-out set was planned for 2");
    assert_int_equal(verdict.decision, BOUND_NSF);
    const double broken[3] = {0.0, 1.0, NAN};
    verdict.decision = BOUND_PASS;
    check_fails(bound_gate_test(&gate, 0, broken, 3, &verdict, &err), ERR_VALUE,
                "sample 2 is nan");
    assert_int_equal(verdict.decision, BOUND_NSF);
    assert_true(verdict.upper == 0.0 && verdict.delta == 0.0);
    verdict.decision = BOUND_PASS;
    gate.limit = NAN;
    check_fails(bound_gate_test(&gate, 0, costs, 10, &verdict, &err), ERR_USAGE,
                "the limit is nan");
    assert_int_equal(verdict.decision, BOUND_NSF);
    assert_int_equal((struct bound_verdict){0}.decision, BOUND_NSF);
}

static void gate_refuses_bad_settings(void **state)
{
    (void)state;
    const struct bound_gate good = {
        .bound = {.kind = BOUND_HOEFFDING, .high = 1}, .delta = 0.1, .candidates_max = 1};
    struct bound_gate bad = good;
    check_ok(bound_gate_check(&good, &err));
    bad.candidates_max = 0;
    check_fails(bound_gate_check(&bad, &err), ERR_USAGE, "0 candidates");
    bad = good;
    bad.delta = 0.6;
    check_fails(bound_gate_check(&bad, &err), ERR_USAGE, "delta is 0.6");
    bad.delta = 0.0;
    check_fails(bound_gate_check(&bad, &err), ERR_USAGE, "delta is 0");
    bad.delta = 1e-100;
    bad.candidates_max = 2;
    check_fails(bound_gate_check(&bad, &err), ERR_USAGE, "delta is 5e-101");
    bad = good;
    bad.bound.low = 1.0;
    check_fails(bound_gate_check(&bad, &err), ERR_USAGE,
                "hoeffding's samples lie between 1 and 1");
    bad.bound = (struct bound_params){.kind = BOUND_BERNSTEIN, .high = INFINITY};
    check_fails(bound_gate_check(&bad, &err), ERR_USAGE, "bernstein's samples");
    bad.bound.kind = (enum bound_kind)9;
    check_fails(bound_gate_check(&bad, &err), ERR_USAGE, "kind 9 is none");
}

static void bound_refuses_samples_it_cannot_use(void **state)
{
    (void)state;
    const struct bound_params student = {.kind = BOUND_STUDENT},
                              hoeffding = {.kind = BOUND_HOEFFDING, .high = 1},
                              bernstein = {.kind = BOUND_BERNSTEIN, .high = 1},
                              labels = {.kind = BOUND_CLOPPER_PEARSON};
    const double equal[3] = {0.3, 0.3, 0.3}, outside[3] = {0.3, 1.0, 1.1},
                 below[2] = {-0.1, 0.3}, endless[2] = {INFINITY, 0.0},
                 huge[2] = {1.7e308, -1.7e308};
    double u = 7.0;
    check_fails(bound_upper(&student, equal, 3, 0.1, &u, &err), ERR_VALUE,
                "all 3 samples are 0.3");
    check_fails(bound_upper(&student, equal, 1, 0.1, &u, &err), ERR_STATE,
                "student takes 2 to 16777216 samples, there are 1");
    check_fails(bound_upper(&bernstein, equal, 1, 0.1, &u, &err), ERR_STATE, "there are 1");
    check_fails(bound_upper(&hoeffding, equal, 0, 0.1, &u, &err), ERR_STATE, "there are 0");
    check_fails(bound_upper(&labels, equal, BOUND_SAMPLES_MAX + 1, 0.1, &u, &err), ERR_STATE,
                "there are 16777217");
    check_fails(bound_upper(&hoeffding, outside, 3, 0.1, &u, &err), ERR_VALUE,
                "sample 2 is 1.1, outside 0 to 1");
    check_fails(bound_upper(&bernstein, below, 2, 0.1, &u, &err), ERR_VALUE,
                "sample 0 is -0.1");
    check_fails(bound_upper(&labels, outside, 3, 0.1, &u, &err), ERR_VALUE,
                "sample 0 is 0.3, a label is 0 or 1");
    check_fails(bound_upper(&student, endless, 2, 0.1, &u, &err), ERR_VALUE, "sample 0 is inf");
    check_fails(bound_upper(&student, huge, 2, 0.1, &u, &err), ERR_VALUE, "is bounded by");
    check_fails(bound_upper(&student, costs, 10, NAN, &u, &err), ERR_USAGE, "delta is nan");
    assert_true(u == 7.0);
    /* The ends of the range are in it, and one sample is enough without a deviation. */
    check_ok(bound_upper(&hoeffding, outside, 2, 0.1, &u, &err));
    check_ok(bound_upper(&hoeffding, equal, 1, 0.5, &u, &err));
    check_near(u, 0.3 + sqrt(log(2.0) / 2.0), 1e-15);
}

static void bound_names_its_words(void **state)
{
    (void)state;
    assert_string_equal(bound_name(BOUND_CLOPPER_PEARSON), "clopper_pearson");
    assert_string_equal(bound_name((enum bound_kind)9), "?");
    assert_string_equal(bound_decision_name(BOUND_NSF), "NSF");
    assert_string_equal(bound_decision_name((enum bound_decision)9), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bound_student_quantiles_match_the_table),
        cmocka_unit_test(bound_student_quantiles_match_the_closed_forms),
        cmocka_unit_test(bound_student_quantiles_cut_off_what_they_say),
        cmocka_unit_test(bound_matches_the_vectors),
        cmocka_unit_test(bound_bernstein_matches_its_definition),
        cmocka_unit_test(bound_clopper_pearson_matches_binomial_sums),
        cmocka_unit_test(bound_narrows_with_more_samples_and_less_confidence),
        cmocka_unit_test(gate_lets_no_more_than_delta_pass_above_the_limit),
        cmocka_unit_test(gate_lets_most_pass_that_are_well_below_the_limit),
        cmocka_unit_test(gate_for_several_candidates_is_wrong_no_oftener_than_for_one),
        cmocka_unit_test(gate_decides_the_vector),
        cmocka_unit_test(gate_that_cannot_test_says_nsf),
        cmocka_unit_test(gate_refuses_bad_settings),
        cmocka_unit_test(bound_refuses_samples_it_cannot_use),
        cmocka_unit_test(bound_names_its_words),
    };
    return cmocka_run_group_tests_name("bound", tests, NULL, NULL);
}
