/*
 * test_control_dual.c -- the dual against the vector of ALGORITHMS, section 5, its gradient
 * against differences, and the multipliers it ends at against what makes them optimal.
 */
#include "control/dual.h"
#include "tests/unit/draw.h"
#include "tests/unit/near.h"

#define J 2

static const struct dual_params one = {.constraints = 1, .beta = 0.5, .lr = 0.01, .start = 0.4};

static const uint32_t one_prompt[2] = {0, 3};
static const double reward3[3] = {1.0, 0.2, -0.3}, safety3[3] = {-0.5, 0.3, 0.6};
static const struct dual_batch vector = {
    .prompts = 1, .offset = one_prompt, .reward = reward3, .safety = safety3};

static void dual_matches_the_vector(void **state)
{
    (void)state;
    static const double want[3] = {0.64022166, 0.24513632, 0.11464203};
    struct dual_state dual;
    double value, gradient, weight[3];
    check_ok(dual_check(&one, &err));
    dual_init(&one, &dual);
    check_ok(dual_evaluate(&one, dual.lambda, &vector, &value, &gradient, &err));
    check_near(gradient, -0.17778472, 1e-8);
    const double mean = (exp(1.6) + exp(0.64) + exp(-0.12)) / 3.0;
    check_near(value, 0.5 * log(mean), 1e-14);
    dual_weights(&one, dual.lambda, &vector, 0, weight);
    for (int i = 0; i < 3; i++)
        check_near(weight[i], want[i], 1e-8);
}

static void dual_takes_the_steps_of_adagrad(void **state)
{
    (void)state;
    struct dual_state dual;
    dual_init(&one, &dual);
    const double down = -0.2, up = 0.1;
    check_ok(dual_step(&one, &dual, &down, &err));
    check_near(dual.lambda[0], 0.41, 1e-9); /* the first step is lr, whatever the gradient */
    check_ok(dual_step(&one, &dual, &up, &err));
    check_near(dual.lambda[0], 0.41 - 0.01 * 0.1 / sqrt(0.04 + 0.01), 1e-9);
    assert_true(dual.steps == 2.0);
    dual.lambda[0] = 0.001;
    check_ok(dual_step(&one, &dual, &up, &err));
    assert_true(dual.lambda[0] == 0.0); /* projected */
}

/* Forty prompts of eight samples, less safe where they are better rewarded. */
struct bench {
    uint32_t offset[41];
    double reward[320], safety[320 * J];
};

static struct dual_batch bench_fill(struct bench *bench)
{
    uint64_t seed = 21;
    for (uint32_t p = 0; p <= 40; p++)
        bench->offset[p] = 8 * p;
    for (size_t i = 0; i < 320; i++) {
        bench->reward[i] = draw_between(&seed, -1, 1);
        bench->safety[i * J] = draw_between(&seed, -0.5, 0.5) - 0.8 * bench->reward[i];
        bench->safety[i * J + 1] = draw_between(&seed, 0, 2); /* always met */
    }
    return (struct dual_batch){.prompts = 40,
                               .offset = bench->offset,
                               .reward = bench->reward,
                               .safety = bench->safety};
}

static const struct dual_params two = {
    .constraints = J, .threshold = {0.05, -0.5}, .beta = 0.5, .lr = 0.1, .start = 0.4};

static void dual_gradient_matches_differences(void **state)
{
    (void)state;
    struct bench bench;
    const struct dual_batch batch = bench_fill(&bench);
    const double lambda[J] = {0.7, 0.2}, h = 1e-5;
    double value, gradient[J], up, down, unused[J];
    check_ok(dual_evaluate(&two, lambda, &batch, &value, gradient, &err));
    for (int j = 0; j < J; j++) {
        double moved[J] = {0.7, 0.2};
        moved[j] += h;
        check_ok(dual_evaluate(&two, moved, &batch, &up, unused, &err));
        moved[j] -= 2.0 * h;
        check_ok(dual_evaluate(&two, moved, &batch, &down, unused, &err));
        check_near(gradient[j], (up - down) / (2.0 * h), 1e-8);
    }
}

/* The policy of the weights meets the first constraint exactly; the second is slack, and free. */
static void dual_ends_where_constraints_hold(void **state)
{
    (void)state;
    struct bench bench;
    const struct dual_batch batch = bench_fill(&bench);
    struct dual_state dual;
    double value, gradient[J];
    check_ok(dual_check(&two, &err));
    dual_init(&two, &dual);
    for (int t = 0; t < 3000; t++) {
        check_ok(dual_evaluate(&two, dual.lambda, &batch, &value, gradient, &err));
        check_ok(dual_step(&two, &dual, gradient, &err));
    }
    double safe[J] = {0};
    for (size_t p = 0; p < batch.prompts; p++) {
        double weight[8];
        dual_weights(&two, dual.lambda, &batch, p, weight);
        for (int i = 0; i < 8; i++) {
            for (int j = 0; j < J; j++)
                safe[j] += weight[i] * bench.safety[(8 * p + (size_t)i) * J + (size_t)j] / 40;
        }
    }
    assert_true(dual.lambda[0] > 0.1 && dual.lambda[1] == 0.0);
    check_near(safe[0], 0.05, 1e-4);
    assert_true(safe[1] > -0.5);
    /* and it is the least value of a convex function */
    const double least = value;
    for (double step = -0.05; step < 0.06; step += 0.1) {
        const double aside[J] = {dual.lambda[0] + step, 0.0};
        check_ok(dual_evaluate(&two, aside, &batch, &value, gradient, &err));
        assert_true(value > least);
    }
}

static void dual_of_large_scores_does_not_overflow(void **state)
{
    (void)state;
    const double reward[3] = {9000.0, 8999.0, -9000.0};
    const struct dual_batch batch = {
        .prompts = 1, .offset = one_prompt, .reward = reward, .safety = safety3};
    const double none = 0.0;
    double value, gradient;
    check_ok(dual_evaluate(&one, &none, &batch, &value, &gradient, &err));
    check_near(value, 9000.0 + 0.5 * log((1.0 + exp(-2.0)) / 3.0), 1e-9);
}

static void dual_refuses_what_it_cannot_use(void **state)
{
    (void)state;
    struct dual_params bad = one;
    bad.constraints = 0;
    check_fails(dual_check(&bad, &err), ERR_USAGE, "0 constraints");
    bad.constraints = 9;
    check_fails(dual_check(&bad, &err), ERR_USAGE, "9 constraints, must be 1 to 8");
    bad = one;
    bad.threshold[0] = NAN;
    check_fails(dual_check(&bad, &err), ERR_USAGE, "threshold 0 is nan");
    bad = one;
    bad.beta = 0.0;
    check_fails(dual_check(&bad, &err), ERR_USAGE, "beta is 0");
    bad = one;
    bad.lr = INFINITY;
    check_fails(dual_check(&bad, &err), ERR_USAGE, "lr is inf");
    bad = one;
    bad.start = -0.1;
    check_fails(dual_check(&bad, &err), ERR_USAGE, "start is -0.1");

    double value, gradient = NAN;
    const double lambda = 0.4, broken[3] = {1.0, NAN, 0.0};
    struct dual_batch batch = vector;
    batch.reward = broken;
    check_fails(dual_evaluate(&one, &lambda, &batch, &value, &gradient, &err), ERR_VALUE,
                "sample 1 has reward nan");
    batch = vector;
    batch.safety = broken;
    check_fails(dual_evaluate(&one, &lambda, &batch, &value, &gradient, &err), ERR_VALUE,
                "sample 1 has reward 0.2, and nan");
    static const uint32_t empty[3] = {0, 3, 3};
    batch = vector;
    batch.offset = empty;
    batch.prompts = 2;
    check_fails(dual_evaluate(&one, &lambda, &batch, &value, &gradient, &err), ERR_VALUE,
                "prompt 1 has no sample");
    batch.prompts = 0;
    check_fails(dual_evaluate(&one, &lambda, &batch, &value, &gradient, &err), ERR_VALUE,
                "no prompt");
    struct dual_state dual, before;
    dual_init(&one, &dual);
    before = dual;
    gradient = NAN;
    check_fails(dual_step(&one, &dual, &gradient, &err), ERR_VALUE,
                "the gradient of constraint 0 is nan");
    assert_memory_equal(&dual, &before, sizeof dual);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dual_matches_the_vector),
        cmocka_unit_test(dual_takes_the_steps_of_adagrad),
        cmocka_unit_test(dual_gradient_matches_differences),
        cmocka_unit_test(dual_ends_where_constraints_hold),
        cmocka_unit_test(dual_of_large_scores_does_not_overflow),
        cmocka_unit_test(dual_refuses_what_it_cannot_use),
    };
    return cmocka_run_group_tests_name("dual", tests, NULL, NULL);
}
