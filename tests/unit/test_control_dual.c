/*
 * test_control_dual.c -- the multiplier of a constrained run, before it begins.
 *
 * Oracles: the vector of ALGORITHMS, section 5; a toy of two answers, whose optimum is a
 * logarithm, and is what a search over policies finds for the objective that a run's advantages
 * add up to; sums by their definition; differences; the spread over many sets of samples.
 */
#include "control/dual.h"
#include "tests/unit/draw.h"
#include "tests/unit/near.h"

static const uint32_t one_prompt[2] = {0, 3};
static const double reward3[3] = {1.0, 0.2, -0.3}, cost3[3] = {0.5, -0.3, -0.6};
static const struct dual_batch vector = {
    .prompts = 1, .offset = one_prompt, .reward = reward3, .cost = cost3};
/* The vector has the weight of the KL in r - lambda c: at lambda .4 that is 1.4 times the run's. */
static const struct dual_params of_vector = {.beta = 0.5 / 1.4};

static void dual_matches_the_vector(void **state)
{
    (void)state;
    static const double want[3] = {0.64022166, 0.24513632, 0.11464203};
    struct dual_point at;
    double weight[3];
    check_ok(dual_check(&of_vector, &err));
    check_ok(dual_evaluate(&of_vector, 0.4, &vector, &at, &err));
    check_near(of_vector.limit - at.cost, -0.17778472, 1e-8); /* the gradient */
    const double mean = (exp(1.6) + exp(0.64) + exp(-0.12)) / 3.0;
    check_near(at.value, 0.5 * log(mean), 1e-14);
    dual_weights(&of_vector, 0.4, &vector, 0, weight);
    for (int i = 0; i < 3; i++)
        check_near(weight[i], want[i], 1e-8);
}

/* --- a toy with a known optimum ----------------------------------------------------------- */

#define HELPS 12 /* of 32 samples: reward 1 and cost 1; the others refuse, and have 0 and 0 */
#define TOY   32

static struct dual_batch toy_of(double *zero_or_one)
{
    static const uint32_t offset[2] = {0, TOY};
    for (int i = 0; i < TOY; i++)
        zero_or_one[i] = i < HELPS;
    return (struct dual_batch){
        .prompts = 1, .offset = offset, .reward = zero_or_one, .cost = zero_or_one};
}

static double logit(double p)
{
    return log(p / (1.0 - p));
}

/* What a run maximises, of a policy that helps with probability q, with both streams as reward.h
 * has them and A as advantage.h has it. */
static double toy_objective(double q, double p, double lambda, double beta)
{
    const double kl = q * log(q / p) + (1.0 - q) * log((1.0 - q) / (1.0 - p));
    return ((q - beta * kl) - lambda * (q + beta * kl)) / (1.0 + lambda);
}

static double toy_best(double p, double lambda, double beta)
{
    double low = 1e-9, high = 1.0 - 1e-9; /* the objective is concave */
    for (int i = 0; i < 200; i++) {
        const double a = low + (high - low) / 3.0, b = high - (high - low) / 3.0;
        if (toy_objective(a, p, lambda, beta) < toy_objective(b, p, lambda, beta))
            low = a;
        else
            high = b;
    }
    return low;
}

static void dual_of_two_answers_is_a_logarithm(void **state)
{
    (void)state;
    double zero_or_one[TOY];
    const struct dual_batch batch = toy_of(zero_or_one);
    const double p = HELPS / (double)TOY;
    static const double betas[] = {0.05, 0.3, 1.0}, limits[] = {0.05, 0.2, 0.35};
    for (size_t b = 0; b < COUNT(betas); b++) {
        for (size_t l = 0; l < COUNT(limits); l++) {
            const struct dual_params params = {.beta = betas[b], .limit = limits[l]};
            const double share = (1.0 - betas[b] * (logit(limits[l]) - logit(p))) / 2.0;
            struct dual_solution got;
            check_ok(dual_solve(&params, &batch, &got, &err));
            if (share >= 1.0) { /* a KL that heavy leaves no policy at the limit */
                assert_true(!got.met && isinf(got.at.lambda) && got.at.cost > limits[l]);
                continue;
            }
            assert_true(got.met);
            check_near(got.at.lambda, share / (1.0 - share), 1e-9 / (1.0 - share));
            check_near(got.at.cost, limits[l], 1e-12);
            /* and it is what makes a run's best policy meet the limit */
            check_near(toy_best(p, got.at.lambda, betas[b]), limits[l], 1e-6);
        }
    }
}

/* --- many prompts ------------------------------------------------------------------------- */

#define P 40
#define N 8

struct bench {
    uint32_t offset[P + 1];
    double reward[P * N], cost[P * N];
};

/* Samples that cost more where they are better rewarded. */
static struct dual_batch bench_fill(struct bench *bench)
{
    uint64_t seed = 21;
    for (uint32_t p = 0; p <= P; p++)
        bench->offset[p] = N * p;
    for (size_t i = 0; i < P * N; i++) {
        bench->reward[i] = draw_between(&seed, -1, 1);
        bench->cost[i] = draw_between(&seed, -0.5, 0.5) + 0.8 * bench->reward[i];
    }
    return (struct dual_batch){
        .prompts = P, .offset = bench->offset, .reward = bench->reward, .cost = bench->cost};
}

static const struct dual_params many = {.beta = 0.25, .limit = -0.05};

/* D of lambda at a KL of weight B that does not move, by the definition. */
static double dual_value(const struct dual_batch *batch, double lambda, double limit, double B)
{
    double sum = 0.0;
    for (int p = 0; p < P; p++) {
        double mean = 0.0;
        for (int i = N * p; i < N * (p + 1); i++)
            mean += exp((batch->reward[i] - lambda * (batch->cost[i] - limit)) / B) / N;
        sum += B * log(mean) / P;
    }
    return sum;
}

static void dual_ends_where_the_limit_holds(void **state)
{
    (void)state;
    struct bench bench;
    const struct dual_batch batch = bench_fill(&bench);
    struct dual_solution got;
    check_ok(dual_solve(&many, &batch, &got, &err));
    const double lambda = got.at.lambda, B = many.beta * (1.0 + lambda);
    double cost = 0.0, reward = 0.0, kl = 0.0, effective = 0.0;
    for (size_t p = 0; p < P; p++) {
        double weight[N], squares = 0.0;
        dual_weights(&many, lambda, &batch, p, weight);
        for (size_t i = 0; i < N; i++) {
            cost += weight[i] * bench.cost[N * p + i] / P;
            reward += weight[i] * bench.reward[N * p + i] / P;
            kl += weight[i] * log(N * weight[i]) / P;
            squares += weight[i] * weight[i];
        }
        effective += 1.0 / squares / P;
    }
    assert_true(got.met && lambda > 0.1 && isfinite(lambda));
    check_near(cost, many.limit, 1e-12);
    check_near(got.at.cost, cost, 1e-12);
    check_near(got.at.reward, reward, 1e-12);
    check_near(got.at.kl, kl, 1e-12);
    check_near(got.at.effective, effective, 1e-12);
    /* no gap: the dual is the value of the policy, and the least over lambda at its B */
    check_near(got.at.value, reward - B * kl, 1e-10);
    check_near(got.at.value, dual_value(&batch, lambda, many.limit, B), 1e-12);
    for (double aside = -0.05; aside < 0.06; aside += 0.1)
        assert_true(dual_value(&batch, lambda + aside, many.limit, B) > got.at.value);
}

static void dual_gradient_and_slope_match_differences(void **state)
{
    (void)state;
    struct bench bench;
    const struct dual_batch batch = bench_fill(&bench);
    static const double lambdas[] = {0.2, 0.7, 3.0};
    for (size_t l = 0; l < COUNT(lambdas); l++) {
        const double lambda = lambdas[l], B = many.beta * (1.0 + lambda), h = 1e-5;
        struct dual_point at, up, down;
        check_ok(dual_evaluate(&many, lambda, &batch, &at, &err));
        const double gradient = (dual_value(&batch, lambda + h, many.limit, B) -
                                 dual_value(&batch, lambda - h, many.limit, B)) /
                                (2.0 * h);
        check_near(many.limit - at.cost, gradient, 1e-8);
        check_ok(dual_evaluate(&many, lambda + h, &batch, &up, &err));
        check_ok(dual_evaluate(&many, lambda - h, &batch, &down, &err));
        check_near(at.slope, (up.cost - down.cost) / (2.0 * h), 1e-8);
    }
}

static void dual_is_0_where_the_limit_holds_by_itself(void **state)
{
    (void)state;
    struct bench bench;
    const struct dual_batch batch = bench_fill(&bench);
    const struct dual_params loose = {.beta = 0.25, .limit = 2.0};
    struct dual_solution got;
    check_ok(dual_solve(&loose, &batch, &got, &err));
    assert_true(got.met && got.at.lambda == 0.0 && got.at.cost < 2.0);
    assert_true(isnan(got.lambda_error));
}

static void dual_says_where_no_multiplier_meets_the_limit(void **state)
{
    (void)state;
    struct bench bench;
    const struct dual_batch batch = bench_fill(&bench);
    const struct dual_params tight = {.beta = 0.25, .limit = -2.0};
    struct dual_solution got;
    struct dual_point large;
    check_ok(dual_solve(&tight, &batch, &got, &err));
    assert_true(!got.met && isinf(got.at.lambda) && isnan(got.at.value));
    check_ok(dual_evaluate(&tight, 1e9, &batch, &large, &err));
    check_near(got.at.cost, large.cost, 1e-6); /* the least that costs can be brought to */
}

/* At the first prompt it is the reward that keeps costs down, at the second what raises them: from
 * some lambda on costs rise again, and with the cost alone the limit does not hold. */
static void dual_takes_the_least_where_costs_fall_and_rise(void **state)
{
    (void)state;
    static const uint32_t offset[3] = {0, 2, 4};
    static const double reward[4] = {-10.0, 0.0, 3.0, 0.0}, cost[4] = {1.0, 0.0, 1.0, 0.0};
    const struct dual_batch batch = {
        .prompts = 2, .offset = offset, .reward = reward, .cost = cost};
    const struct dual_params params = {.beta = 2.0, .limit = 0.35};
    struct dual_solution got;
    struct dual_point at;
    check_ok(dual_evaluate(&params, INFINITY, &batch, &at, &err));
    assert_true(at.cost > 0.35);
    check_ok(dual_solve(&params, &batch, &got, &err));
    assert_true(got.met);
    check_near(got.at.cost, 0.35, 1e-12);
    for (double lambda = 0.0; lambda < got.at.lambda; lambda += 0.01) {
        check_ok(dual_evaluate(&params, lambda, &batch, &at, &err));
        assert_true(at.cost > 0.35);
    }
}

/* --- standard errors ---------------------------------------------------------------------- */

#define SETS    400
#define PROMPTS 150

/* Over many sets of prompts lambda spreads as its standard error says. */
static void dual_tells_how_far_lambda_spreads(void **state)
{
    (void)state;
    static uint32_t offset[PROMPTS + 1];
    static double reward[PROMPTS * N], cost[PROMPTS * N];
    const struct dual_batch batch = {
        .prompts = PROMPTS, .offset = offset, .reward = reward, .cost = cost};
    const struct dual_params params = {.beta = 0.5, .limit = 0.45};
    uint64_t seed = 5;
    double sum = 0.0, squares = 0.0, errors = 0.0;
    for (uint32_t p = 0; p <= PROMPTS; p++)
        offset[p] = N * p;
    for (int set = 0; set < SETS; set++) {
        for (uint32_t p = 0; p < PROMPTS; p++) {
            const double harm = draw_between(&seed, 0.2, 0.9);
            for (uint32_t i = N * p; i < N * (p + 1); i++) {
                cost[i] = draw_between(&seed, 0, 1) < harm;
                reward[i] = 0.5 * cost[i] + draw_between(&seed, 0, 1);
            }
        }
        struct dual_solution got;
        check_ok(dual_solve(&params, &batch, &got, &err));
        assert_true(got.met && isfinite(got.lambda_error));
        sum += got.at.lambda;
        squares += got.at.lambda * got.at.lambda;
        errors += got.lambda_error;
    }
    const double mean = sum / SETS;
    const double spread = sqrt((squares / SETS - mean * mean) * SETS / (SETS - 1.0));
    print_message("lambda %.4f: spread %.4f, standard error %.4f\n", mean, spread,
                  errors / SETS);
    /* the spread of 400 is itself known to 3.5 % */
    assert_true(fabs(errors / SETS / spread - 1.0) < 0.12);
}

static void dual_of_large_scores_does_not_overflow(void **state)
{
    (void)state;
    const double reward[3] = {9000.0, 8999.0, -9000.0};
    const struct dual_batch batch = {
        .prompts = 1, .offset = one_prompt, .reward = reward, .cost = cost3};
    const struct dual_params params = {.beta = 0.5};
    struct dual_point at;
    check_ok(dual_evaluate(&params, 0.0, &batch, &at, &err));
    check_near(at.value, 9000.0 + 0.5 * log((1.0 + exp(-2.0)) / 3.0), 1e-9);
    assert_true(isfinite(at.kl) && isnan(at.cost_error));
}

static void dual_refuses_what_it_cannot_use(void **state)
{
    (void)state;
    struct dual_params bad = of_vector;
    bad.limit = NAN;
    check_fails(dual_check(&bad, &err), ERR_USAGE, "the limit is nan");
    bad = of_vector;
    bad.beta = 0.0;
    check_fails(dual_check(&bad, &err), ERR_USAGE, "beta is 0");
    bad.beta = INFINITY;
    check_fails(dual_check(&bad, &err), ERR_USAGE, "beta is inf");

    struct dual_solution solution;
    const double broken[3] = {1.0, NAN, 0.0};
    struct dual_batch batch = vector;
    batch.reward = broken;
    check_fails(dual_solve(&of_vector, &batch, &solution, &err), ERR_VALUE,
                "sample 1 has reward nan");
    batch = vector;
    batch.cost = broken;
    check_fails(dual_solve(&of_vector, &batch, &solution, &err), ERR_VALUE,
                "sample 1 has reward 0.2 and cost nan");
    static const uint32_t empty[3] = {0, 3, 3};
    batch = vector;
    batch.offset = empty;
    batch.prompts = 2;
    check_fails(dual_solve(&of_vector, &batch, &solution, &err), ERR_VALUE,
                "prompt 1 has no sample");
    batch.prompts = 0;
    struct dual_point at;
    check_fails(dual_evaluate(&of_vector, 0.4, &batch, &at, &err), ERR_VALUE, "no prompt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dual_matches_the_vector),
        cmocka_unit_test(dual_of_two_answers_is_a_logarithm),
        cmocka_unit_test(dual_ends_where_the_limit_holds),
        cmocka_unit_test(dual_gradient_and_slope_match_differences),
        cmocka_unit_test(dual_is_0_where_the_limit_holds_by_itself),
        cmocka_unit_test(dual_says_where_no_multiplier_meets_the_limit),
        cmocka_unit_test(dual_takes_the_least_where_costs_fall_and_rise),
        cmocka_unit_test(dual_tells_how_far_lambda_spreads),
        cmocka_unit_test(dual_of_large_scores_does_not_overflow),
        cmocka_unit_test(dual_refuses_what_it_cannot_use),
    };
    return cmocka_run_group_tests_name("dual", tests, NULL, NULL);
}
