/*
 * test_control_pessimism.c -- pessimistic costs against vectors (ALGORITHMS, section 5), against
 * the derivative of the bound by differences on a policy of four answers, and against the gate
 * they are to get through.
 */
#include "base/rng.h"
#include "control/advantage.h"
#include "control/bound.h"
#include "control/pessimism.h"
#include "tests/unit/near.h"

static const double costs[10] = {-0.5, -1.2, 0.3, -0.8, -0.1, -0.9, 0.2, -1.5, -0.4, -0.6};

static const struct pessimism_params plain = {
    .training_factor = 1, .gate_factor = 1, .delta = 0.1, .gate_samples = 100};

static struct moments moments_of(const double *x, size_t n)
{
    struct moments moments = {0};
    for (size_t i = 0; i < n; i++)
        moments_add(&moments, x[i]);
    return moments;
}

static void pessimism_kappa_matches_the_vectors(void **state)
{
    (void)state;
    const struct pessimism_params wide = {
        .training_factor = 4, .gate_factor = 2, .delta = 0.1, .gate_samples = 100};
    const struct pessimism_params many = {
        .training_factor = 1, .gate_factor = 1, .delta = 0.1, .gate_samples = 1000};
    check_ok(pessimism_check(&wide, &err));
    check_near(pessimism_kappa(&wide, 256), 0.57925236, 1e-8);
    check_near(pessimism_kappa(&many, 256), 0.12085805, 1e-8);
    check_near(pessimism_kappa(&plain, 10), 0.56636823, 1e-8);
}

static void pessimism_costs_match_the_vectors(void **state)
{
    (void)state;
    static const double want[10] = {-0.64653748, -1.14138501, 0.50515247, -0.91722998,
                                    -0.14884583, -0.98792249, 0.32699915, -1.20692505,
                                    -0.53676831, -0.74653748};
    const struct moments window = moments_of(costs, 10);
    struct pessimism_bound bound;
    check_ok(pessimism_compute(&plain, &window, &bound, &err));
    check_near(bound.mean, -0.55, 1e-15);
    check_near(bound.std, 0.57975090, 1e-8);
    check_near(bound.upper, -0.22164751, 1e-8);
    for (int i = 0; i < 10; i++)
        check_near(pessimism_cost(&bound, costs[i]), want[i], 1e-8);
}

/* Without the part for training it is the bound that the gate computes from as many samples. */
static void pessimism_of_the_gate_alone_is_the_gates_bound(void **state)
{
    (void)state;
    const struct pessimism_params gate = {.gate_factor = 1, .delta = 0.05, .gate_samples = 10};
    const struct bound_params student = {.kind = BOUND_STUDENT};
    const struct moments window = moments_of(costs, 10);
    struct pessimism_bound bound;
    double upper;
    check_ok(pessimism_compute(&gate, &window, &bound, &err));
    check_ok(bound_upper(&student, costs, 10, 0.05, &upper, &err));
    check_near(bound.upper, upper, 1e-15);
}

/* mean + kappa * std of the costs of a policy that answers k with probability softmax(z)_k. */
static double bound_of_policy(const double *z, const double *cost, double kappa, double *p)
{
    double sum = 0.0, mean = 0.0, square = 0.0;
    for (int k = 0; k < 4; k++)
        sum += exp(z[k]);
    for (int k = 0; k < 4; k++) {
        p[k] = exp(z[k]) / sum;
        mean += p[k] * cost[k];
        square += p[k] * cost[k] * cost[k];
    }
    return mean + kappa * sqrt(square - mean * mean);
}

static void pessimism_cost_has_the_gradient_of_the_bound(void **state)
{
    (void)state;
    const double z[4] = {0.3, -0.4, 1.1, 0.0}, cost[4] = {-1.0, 2.0, 0.3, 0.9}, kappa = 0.7;
    double p[4], moved[4], unused[4], mean = 0.0, square = 0.0;
    bound_of_policy(z, cost, kappa, p);
    for (int k = 0; k < 4; k++) {
        mean += p[k] * cost[k];
        square += p[k] * cost[k] * cost[k];
    }
    const struct pessimism_bound bound = {
        .kappa = kappa, .mean = mean, .std = sqrt(square - mean * mean)};
    for (int k = 0; k < 4; k++) {
        double gradient = 0.0; /* E[c~ d log p / dz_k] */
        for (int a = 0; a < 4; a++)
            gradient += p[a] * pessimism_cost(&bound, cost[a]) * ((a == k) - p[k]);
        const double h = 1e-6;
        memcpy(moved, z, sizeof moved);
        moved[k] = z[k] + h;
        const double up = bound_of_policy(moved, cost, kappa, unused);
        moved[k] = z[k] - h;
        const double down = bound_of_policy(moved, cost, kappa, unused);
        check_near(gradient, (up - down) / (2.0 * h), 1e-9);
    }
}

/* Policies trained exactly to a limit of 0: by their mean they pass the gate every tenth time,
 * by J most times. */
static void pessimism_gets_a_policy_through_the_gate(void **state)
{
    (void)state;
    const struct pessimism_params params = {
        .training_factor = 1, .gate_factor = 2, .delta = 0.1, .gate_samples = 100};
    const struct bound_gate gate = {
        .bound = {.kind = BOUND_STUDENT}, .delta = 0.1, .candidates_max = 1};
    const double means[2] = {0.0, -pessimism_kappa(&params, 256)};
    double passed[2] = {0.0, 0.0};
    for (uint32_t policy = 0; policy < 1000; policy++) {
        for (int how = 0; how < 2; how++) {
            double cost[100];
            for (uint32_t i = 0; i < 100; i++)
                cost[i] =
                    means[how] + rng_normal(3, RNG_STREAM_WORLD, policy, (uint32_t)how, i);
            struct bound_verdict verdict;
            check_ok(bound_gate_test(&gate, 0, cost, 100, &verdict, &err));
            passed[how] += verdict.decision == BOUND_PASS;
        }
    }
    print_message("of 1000 policies passed: by the mean %.0f, by the bound %.0f\n", passed[0],
                  passed[1]);
    assert_true(passed[0] < 150);
    assert_true(passed[1] > 950);
}

/* The policy's loss that goes with it is leave-one-out REINFORCE over whole responses. */
static void reinforce_of_two_responses_matches_the_vector(void **state)
{
    (void)state;
    const struct advantage_params rloo = {.kind = ADVANTAGE_RLOO};
    const struct advantage_batch in = {.rows = 2,
                                       .offset = (const uint32_t[3]){0, 1, 2},
                                       .sequence_reward = (const double[2]){1.2, 0.4},
                                       .group = (const uint32_t[2]){0, 0}};
    const double logp[2] = {-3.0, -2.5};
    float adv[2];
    check_ok(advantage_compute(&rloo, &in, adv, NULL, &err));
    check_near(-((double)adv[0] * logp[0] + (double)adv[1] * logp[1]) / 2.0, 0.2, 1e-7);
}

static void pessimism_of_equal_costs_leaves_them(void **state)
{
    (void)state;
    const double equal[3] = {0.5, 0.5, 0.5};
    const struct moments window = moments_of(equal, 3);
    struct pessimism_bound bound;
    check_ok(pessimism_compute(&plain, &window, &bound, &err));
    assert_true(bound.upper == 0.5 && bound.std == 0.0);
    assert_true(pessimism_cost(&bound, 0.5) == 0.5);
}

static void pessimism_refuses_what_it_cannot_use(void **state)
{
    (void)state;
    struct pessimism_params bad = plain;
    bad.training_factor = -1;
    check_fails(pessimism_check(&bad, &err), ERR_USAGE, "training_factor is -1");
    bad = plain;
    bad.gate_factor = NAN;
    check_fails(pessimism_check(&bad, &err), ERR_USAGE, "gate_factor is nan");
    bad = plain;
    bad.delta = 0.0;
    check_fails(pessimism_check(&bad, &err), ERR_USAGE, "delta is 0");
    bad.delta = 0.51;
    check_fails(pessimism_check(&bad, &err), ERR_USAGE, "delta is 0.51");
    bad = plain;
    bad.gate_samples = 1;
    check_fails(pessimism_check(&bad, &err), ERR_USAGE, "gate_samples is 1");

    struct pessimism_bound bound = {.kappa = 7.0};
    const struct moments one = moments_of(costs, 1), wild = {.n = 3, .mean = NAN, .m2 = 1},
                         wide = {.n = 3, .mean = 0, .m2 = INFINITY};
    check_fails(pessimism_compute(&plain, &one, &bound, &err), ERR_STATE, "has 1 costs");
    check_fails(pessimism_compute(&plain, &wild, &bound, &err), ERR_VALUE, "mean nan");
    check_fails(pessimism_compute(&plain, &wide, &bound, &err), ERR_VALUE, "deviation inf");
    assert_true(bound.kappa == 7.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pessimism_kappa_matches_the_vectors),
        cmocka_unit_test(pessimism_costs_match_the_vectors),
        cmocka_unit_test(pessimism_of_the_gate_alone_is_the_gates_bound),
        cmocka_unit_test(pessimism_cost_has_the_gradient_of_the_bound),
        cmocka_unit_test(pessimism_gets_a_policy_through_the_gate),
        cmocka_unit_test(reinforce_of_two_responses_matches_the_vector),
        cmocka_unit_test(pessimism_of_equal_costs_leaves_them),
        cmocka_unit_test(pessimism_refuses_what_it_cannot_use),
    };
    return cmocka_run_group_tests_name("pessimism", tests, NULL, NULL);
}
