/*
 * test_control_kl.c -- the estimators and the controllers against vectors worked out by hand
 * (ALGORITHMS, sections 4 and 5), the definition of KL on a small alphabet, and differences.
 */
#include "base/rng.h"
#include "control/kl.h"
#include "tests/unit/near.h"

#define close_to(got, want) check_near(got, want, 1e-7)

static void kl_estimators_match_the_vectors(void **state)
{
    (void)state;
    static const struct {
        double d, k1, k2, k3;
    } want[] = {
        {0.5, 0.5, 0.125, 0.10653066}, {-0.5, -0.5, 0.125, 0.14872127},
        {0.1, 0.1, 0.005, 0.00483742}, {2.0, 2.0, 2.0, 1.13533528},
        {0.0, 0.0, 0.0, 0.0},
    };
    for (size_t i = 0; i < COUNT(want); i++) {
        close_to(kl_estimate(KL_K1, want[i].d - 1.0, -1.0), want[i].k1);
        close_to(kl_estimate(KL_K2, want[i].d - 1.0, -1.0), want[i].k2);
        check_near(kl_estimate(KL_K3, want[i].d - 1.0, -1.0), want[i].k3, 1e-8);
    }
    close_to(kl_gradient(KL_K1, -0.5, -1.0), 1.0);
    close_to(kl_gradient(KL_K2, -0.5, -1.0), 0.5);
    close_to(kl_gradient(KL_K3, -0.5, -1.0), 0.39346934);
}

static void kl_estimators_average_to_the_divergence(void **state)
{
    (void)state;
    static const double p[3] = {0.7, 0.2, 0.1}, q[3] = {0.5, 0.3, 0.2};
    double mean[3] = {0};
    for (int a = 0; a < 3; a++) {
        for (int k = 0; k < 3; k++)
            mean[k] += p[a] * kl_estimate((enum kl_estimator)k, log(p[a]), log(q[a]));
    }
    close_to(mean[KL_K1], 0.08512283);
    close_to(mean[KL_K2], 0.08008759);
    close_to(mean[KL_K3], 0.08512283);
}

static void kl_k3_is_clamped_where_it_says(void **state)
{
    (void)state;
    close_to(kl_estimate(KL_K3, -5.0, -1.0), 10.0);   /* exp(4) - 5 = 49.6 */
    close_to(kl_estimate(KL_K3, -900.0, -1.0), 10.0); /* not inf */
    close_to(kl_estimate(KL_K3, -1.0, -900.0), 10.0);
    check_near(kl_estimate(KL_K3, -INFINITY, -1.0), 10.0, 0.0); /* not NaN */
    assert_true(kl_gradient(KL_K3, -5.0, -1.0) == 0.0);
    assert_true(kl_gradient(KL_K3, -1.0, -900.0) == 0.0);
    close_to(kl_estimate(KL_K3, -1.0, -11.0), 9.0 + exp(-10.0));
}

static void kl_gradients_match_differences(void **state)
{
    (void)state;
    const double h = 1e-5;
    for (int k = 0; k < 3; k++) {
        for (double d = -2.5; d < 12.0; d += 0.37) {
            const enum kl_estimator e = (enum kl_estimator)k;
            const double up = kl_estimate(e, d - 2.0 + h, -2.0);
            const double down = kl_estimate(e, d - 2.0 - h, -2.0);
            const double want = (up - down) / (2.0 * h);
            if (fabs(d - 11.0) > 0.1) /* the kink of the clamp lies at 11 - 1.7e-5 */
                check_near(kl_gradient(e, d - 2.0, -2.0), want, 1e-6);
        }
    }
}

static void kl_sums_a_response_and_skips_what_is_masked(void **state)
{
    (void)state;
    static const float logp[3] = {-1.0f, -2.0f, -0.5f}, logref[3] = {-1.1f, -1.5f, -0.7f};
    static const uint8_t mask[3] = {1, 0, 1};
    double sum;
    uint32_t tokens;
    check_ok(kl_sequence(KL_K1, logp, logref, NULL, 3, &sum, &tokens, &err));
    close_to(sum, -0.2);
    assert_int_equal(tokens, 3);
    check_ok(kl_sequence(KL_K1, logp, logref, mask, 3, &sum, &tokens, &err));
    close_to(sum, 0.3);
    assert_int_equal(tokens, 2);
    check_ok(kl_sequence(KL_K1, logp, logref, mask, 0, &sum, &tokens, &err));
    assert_true(sum == 0.0 && tokens == 0);

    const float bad[3] = {-1.0f, -INFINITY, NAN};
    sum = 7.0;
    check_fails(kl_sequence(KL_K1, bad, logref, NULL, 3, &sum, &tokens, &err), ERR_VALUE,
                "token 1 has log-prob -inf");
    check_fails(kl_sequence(KL_K1, logp, bad, mask, 3, &sum, &tokens, &err), ERR_VALUE,
                "token 2 has log-prob -0.5, under the reference nan");
    assert_true(sum == 7.0);
}

static void kl_means_say_what_their_unit_is(void **state)
{
    (void)state;
    static const double sum[3] = {6.0, 1.0, 0.0};
    static const uint32_t tokens[3] = {3, 4, 0};
    close_to(kl_batch_mean(KL_UNIT_SEQUENCE, sum, tokens, 2), 3.5);
    close_to(kl_batch_mean(KL_UNIT_TOKEN, sum, tokens, 2), (2.0 + 0.25) / 2.0);
    close_to(kl_batch_mean(KL_UNIT_TOKEN, sum, tokens, 3), 0.75);
}

static const struct kl_params ziegler = {
    .controller = KL_CONTROLLER_ADAPTIVE, .coef = 0.2, .target = 6.0, .horizon = 10000.0};

static void kl_adaptive_matches_the_vectors(void **state)
{
    (void)state;
    static const double want[][2] = {{9, 0.201024}, {5.4, 0.199488}, {1, 0.198976}, {6, 0.2}};
    check_ok(kl_params_check(&ziegler, 256, &err));
    for (size_t i = 0; i < COUNT(want); i++) {
        struct kl_state kl;
        kl_init(&ziegler, &kl);
        check_ok(kl_step(&ziegler, &kl, want[i][0], 256, &err));
        close_to(kl.coef, want[i][1]);
        assert_true(kl.last == want[i][0] && kl.steps == 1.0);
        check_ok(kl_check(&ziegler, &kl, &err));
    }
}

/* Over the whole past at once: S after t steps is the sum of (1 - smooth) smooth^(t - i) kl[i],
 * and log beta the sum of S / target - 1 and of L S / target, times the gain. */
static double ahead_by_definition(const struct kl_params *params, const double *kl, int n)
{
    double sum = 0.0, now = 0.0;
    for (int t = 1; t <= n; t++) {
        now = 0.0;
        for (int i = 1; i <= t; i++)
            now += (1.0 - params->smooth) * pow(params->smooth, t - i) *
                   fmin(2.0 * params->target, kl[i - 1]);
        sum += now / params->target - 1.0;
    }
    return params->coef *
           exp((sum + params->lookahead * now / params->target) * 64.0 / params->horizon);
}

static void kl_adaptive_looks_ahead_as_it_is_defined(void **state)
{
    (void)state;
    static const double measured[] = {0.0, 0.0, 0.5, 1.3, 2.6, 4.1, 30.0, 5.2, 6.9, 3.3, 0.1};
    const struct kl_params params = {.controller = KL_CONTROLLER_ADAPTIVE,
                                     .coef = 0.05,
                                     .target = 5.0,
                                     .horizon = 512.0,
                                     .lookahead = 12.5,
                                     .smooth = 0.8,
                                     .coef_min = 1e-4,
                                     .coef_max = 10.0};
    struct kl_params steps = params;
    steps.horizon = 0.0; /* eight steps, of 64 here, and of one that lost half of them */
    struct kl_state kl, same, back;
    double doubles[KL_STATE_MAX] = {0};
    check_ok(kl_params_check(&params, 64, &err));
    check_ok(kl_params_check(&steps, 64, &err));
    kl_init(&params, &kl);
    kl_init(&steps, &same);
    for (size_t i = 0; i < COUNT(measured); i++) {
        check_ok(kl_step(&params, &kl, measured[i], 64, &err));
        check_near(kl.coef, ahead_by_definition(&params, measured, (int)i + 1), 1e-14);
        check_ok(kl_step(&steps, &same, measured[i], i % 2 ? 64 : 32, &err));
        check_near(same.coef, kl.coef, 1e-15);
        check_ok(kl_check(&params, &kl, &err));
    }
    assert_int_equal(kl_state_n(&params), 4);
    kl_state_write(&params, &kl, doubles);
    kl_state_read(&params, &back, doubles);
    assert_memory_equal(&back, &kl, sizeof kl);
    back.coef = 11.0;
    check_fails(kl_check(&params, &back, &err), ERR_VALUE, "coef is 11, outside");
    back = kl;
    back.value = NAN;
    check_fails(kl_check(&params, &back, &err), ERR_VALUE, "its smoothed value nan");
    const struct kl_state before = kl;
    check_fails(kl_step(&params, &kl, INFINITY, 64, &err), ERR_VALUE, "measured inf");
    assert_memory_equal(&before, &kl, sizeof kl);
}

/* A KL that goes to its target by itself, with a time constant of L: there is nothing to do. */
static void kl_adaptive_that_looks_ahead_leaves_a_rise_alone(void **state)
{
    (void)state;
    for (int ahead = 0; ahead < 2; ahead++) {
        const struct kl_params params = {.controller = KL_CONTROLLER_ADAPTIVE,
                                         .coef = 0.1,
                                         .target = 5.0,
                                         .lookahead = ahead ? 19.0 : 0.0,
                                         .coef_min = 1e-4,
                                         .coef_max = 10.0};
        struct kl_state kl;
        double value = 0.0, least = INFINITY;
        kl_init(&params, &kl);
        for (int t = 0; t < 200; t++) {
            value += (params.target - value) / 20.0;
            check_ok(kl_step(&params, &kl, value, 64, &err));
            least = fmin(least, kl.coef);
        }
        if (ahead)
            check_near(least, 0.1, 1e-14);
        else
            assert_true(least < 0.06);
    }
}

/* Within its bounds, and from one of them it comes back as soon as the KL does. */
static void kl_adaptive_that_looks_ahead_does_not_wind_up(void **state)
{
    (void)state;
    const struct kl_params params = {.controller = KL_CONTROLLER_ADAPTIVE,
                                     .coef = 0.1,
                                     .target = 5.0,
                                     .lookahead = 30.0,
                                     .coef_min = 0.05,
                                     .coef_max = 0.2};
    struct kl_state kl;
    kl_init(&params, &kl);
    for (int t = 0; t < 100; t++)
        check_ok(kl_step(&params, &kl, 1.0, 64, &err));
    assert_true(kl.coef == 0.05);
    check_ok(kl_step(&params, &kl, 2.0, 64, &err));
    assert_true(kl.coef > 0.05);
    for (int t = 0; t < 100; t++)
        check_ok(kl_step(&params, &kl, 9.0, 64, &err));
    assert_true(kl.coef == 0.2);
}

static void kl_fixed_stays(void **state)
{
    (void)state;
    const struct kl_params fixed = {.coef = 0.05, .cap = 10.0};
    struct kl_state kl;
    kl_init(&fixed, &kl);
    check_ok(kl_step(&fixed, &kl, 9.0, 64, &err));
    assert_true(kl.coef == 0.05);
    check_ok(kl_check(&fixed, &kl, &err));
    kl.coef = 0.06;
    check_fails(kl_check(&fixed, &kl, &err), ERR_VALUE, "under a fixed coef");
}

static void kl_cap_counts_what_is_no_number_as_past_it(void **state)
{
    (void)state;
    const struct kl_params capped = {.coef = 0.05, .cap = 10.0}, free_ = {.coef = 0.05};
    assert_false(kl_over_cap(&capped, 10.0));
    assert_true(kl_over_cap(&capped, 10.001));
    assert_true(kl_over_cap(&capped, NAN));
    assert_true(kl_over_cap(&capped, INFINITY));
    assert_false(kl_over_cap(&capped, -50.0));
    assert_false(kl_over_cap(&free_, 1e9));
    assert_true(kl_over_cap(&free_, NAN));
}

static void kl_refuses_bad_settings_and_states(void **state)
{
    (void)state;
    struct kl_params bad = ziegler;
    bad.coef = -1.0;
    check_fails(kl_params_check(&bad, 8, &err), ERR_USAGE, "coef is -1");
    bad.coef = 0.0;
    check_fails(kl_params_check(&bad, 8, &err), ERR_USAGE, "cannot leave 0");
    bad = ziegler;
    bad.target = 0.0;
    check_fails(kl_params_check(&bad, 8, &err), ERR_USAGE, "target is 0 nats per sequence");
    bad = ziegler;
    bad.horizon = 20.0;
    check_fails(kl_params_check(&bad, 100, &err), ERR_USAGE, "horizon is 20");
    bad = ziegler;
    bad.lookahead = 30.0;
    check_fails(kl_params_check(&bad, 100, &err), ERR_USAGE,
                "within coef_min 0 and coef_max 0");
    bad.coef_min = 0.3, bad.coef_max = 1.0;
    check_fails(kl_params_check(&bad, 100, &err), ERR_USAGE, "coef 0.2 must be within");
    bad.lookahead = -1.0;
    check_fails(kl_params_check(&bad, 100, &err), ERR_USAGE, "lookahead is -1 steps");
    bad = ziegler;
    bad.smooth = 1.0;
    check_fails(kl_params_check(&bad, 100, &err), ERR_USAGE, "smooth is 1");
    bad = ziegler;
    bad.cap = NAN;
    check_fails(kl_params_check(&bad, 8, &err), ERR_USAGE, "cap is nan");

    struct kl_state kl;
    kl_init(&ziegler, &kl);
    check_fails(kl_step(&ziegler, &kl, NAN, 8, &err), ERR_VALUE, "measured nan");
    assert_true(kl.coef == 0.2 && kl.steps == 0.0);
    kl.coef = INFINITY;
    check_fails(kl_check(&ziegler, &kl, &err), ERR_VALUE, "coef is inf");
    kl.coef = 0.2;
    kl.steps = -1.0;
    check_fails(kl_check(&ziegler, &kl, &err), ERR_VALUE, "steps -1");
}

static void kl_names_its_words(void **state)
{
    (void)state;
    assert_string_equal(kl_estimator_name(KL_K3), "k3");
    assert_string_equal(kl_controller_name(KL_CONTROLLER_ADAPTIVE), "adaptive");
    assert_string_equal(kl_unit_name(KL_UNIT_TOKEN), "nats per token");
    assert_string_equal(kl_estimator_name((enum kl_estimator)99), "?");
}

/* The oracle is pid.h's own function, which has its vectors in test_control_pid.c. */
static void kl_pid_is_the_controller_of_pid_h_on_log_beta(void **state)
{
    (void)state;
    const struct kl_params params = {.controller = KL_CONTROLLER_PID,
                                     .unit = KL_UNIT_TOKEN,
                                     .coef = 0.05,
                                     .target = 0.2,
                                     .kp = 0.5,
                                     .ki = 0.1,
                                     .kd = 0.2,
                                     .smooth = 0.5,
                                     .coef_min = 0.01,
                                     .coef_max = 1.0};
    const struct pid_params relative = {.kp = 0.5,
                                        .ki = 0.1,
                                        .kd = 0.2,
                                        .target = 1.0,
                                        .error_max = 1.0,
                                        .smooth_p = 0.5,
                                        .smooth_d = 0.5,
                                        .delay = 1,
                                        .hold = true,
                                        .bumpless = true,
                                        .low = log(0.01),
                                        .high = 0.0,
                                        .start = log(0.05)};
    static const double measured[] = {0.0, 0.1, 0.4, 0.5, 0.3, 0.1, 9.0, 0.2};
    struct kl_state kl, back;
    struct pid_state pid;
    double doubles[KL_STATE_MAX];
    check_ok(kl_params_check(&params, 64, &err));
    kl_init(&params, &kl);
    assert_true(kl.coef == 0.05);
    check_ok(kl_check(&params, &kl, &err));
    pid_init(&relative, &pid);
    for (size_t i = 0; i < COUNT(measured); i++) {
        check_ok(kl_step(&params, &kl, measured[i], 64, &err));
        check_ok(pid_step(&relative, &pid, fmin(measured[i] / 0.2, 2.0), &err));
        assert_true(kl.coef == exp(pid.output) && kl.last == measured[i]);
        assert_true(kl_integral(&params, &kl) == exp(pid.integral));
        check_near(kl_smoothed(&params, &kl), 0.2 * pid.value, 1e-15);
        check_ok(kl_check(&params, &kl, &err));
    }
    assert_int_equal(kl_state_n(&params), 3 + 21);
    kl_state_write(&params, &kl, doubles);
    kl_state_read(&params, &back, doubles);
    assert_memory_equal(&back, &kl, sizeof kl);
    back.coef *= 1.0 + 1e-9;
    check_fails(kl_check(&params, &back, &err), ERR_VALUE, "its pid says");
    back = kl;
    back.pid.integral = 0.6; /* log coef_max, and kp more */
    check_fails(kl_check(&params, &back, &err), ERR_VALUE, "outside");
    const struct kl_state before = kl;
    check_fails(kl_step(&params, &kl, NAN, 64, &err), ERR_VALUE, "measured");
    assert_memory_equal(&before, &kl, sizeof kl);
}

static void kl_pid_refuses_bounds_that_cannot_be(void **state)
{
    (void)state;
    const struct kl_params good = {.controller = KL_CONTROLLER_PID,
                                   .coef = 0.05,
                                   .target = 6.0,
                                   .kp = 0.5,
                                   .coef_min = 0.01,
                                   .coef_max = 1.0};
    struct kl_params bad;
    check_ok(kl_params_check(&good, 64, &err));
    bad = good, bad.coef_min = 0.0;
    check_fails(kl_params_check(&bad, 64, &err), ERR_USAGE, "coef_min is 0");
    bad = good, bad.coef_max = INFINITY;
    check_fails(kl_params_check(&bad, 64, &err), ERR_USAGE, "coef_max inf");
    bad = good, bad.coef_max = 0.01;
    check_fails(kl_params_check(&bad, 64, &err), ERR_USAGE, "bounds are");
    bad = good, bad.coef = 2.0;
    check_fails(kl_params_check(&bad, 64, &err), ERR_USAGE, "start is");
    bad = good, bad.kp = 0.0;
    check_fails(kl_params_check(&bad, 64, &err), ERR_USAGE, "all 0");
    bad = good, bad.target = 0.0;
    check_fails(kl_params_check(&bad, 64, &err), ERR_USAGE, "target is 0");
    assert_int_equal(kl_state_n(&(struct kl_params){.controller = KL_CONTROLLER_FIXED}), 3);
}

/* What runs on the built-in world do (docs/EXPERIMENTS.md): towards 1.8 beta^-0.42 nats, up
 * with a time constant of 12 steps and down with one of 25, the beta of the step before acting,
 * a batch's mean 14 % off. */
struct plant {
    double kl, beta;
    uint32_t t;
};

static double plant_step(struct plant *plant, double beta)
{
    const double rest = 1.8 * pow(plant->beta, -0.42);
    plant->kl += (rest - plant->kl) / (rest > plant->kl ? 12.0 : 25.0);
    plant->beta = beta;
    return plant->kl * (1.0 + 0.14 * rng_normal(5, RNG_STREAM_WORLD, 0, 0, plant->t++));
}

/* The greatest KL on the way; after half the steps it is within 10 % of the target. */
static double plant_control(const struct kl_params *params)
{
    struct plant plant = {.beta = params->coef};
    struct kl_state kl;
    double most = 0.0;
    check_ok(kl_params_check(params, 64, &err));
    kl_init(params, &kl);
    for (int t = 0; t < 600; t++) {
        check_ok(kl_step(params, &kl, plant_step(&plant, kl.coef), 64, &err));
        most = fmax(most, plant.kl);
        if (t >= 300)
            check_near(plant.kl, params->target, 0.1 * params->target);
    }
    return most;
}

/* With the gains that are the defaults of the config, from a beta that is a good guess for one of
 * the targets, from a fifth of that and from five times as much. */
static void kl_controllers_hold_any_target_with_the_same_gains(void **state)
{
    (void)state;
    static const double targets[] = {5.0, 7.0, 10.0}, starts[] = {0.02, 0.1, 0.5};
    static const enum kl_controller kinds[] = {KL_CONTROLLER_ADAPTIVE, KL_CONTROLLER_PID};
    for (size_t i = 0; i < COUNT(targets) * COUNT(starts) * COUNT(kinds); i++) {
        const struct kl_params params = {.controller = kinds[i % 2],
                                         .coef = starts[i / 2 % 3],
                                         .target = targets[i / 6],
                                         .lookahead = 25.0,
                                         .kp = 3.0,
                                         .ki = 0.15,
                                         .kd = 5.0,
                                         .smooth = 0.85,
                                         .coef_min = 1e-4,
                                         .coef_max = 10.0};
        const double over = plant_control(&params) / params.target - 1.0;
        print_message("%s to %g from %g: %.2f over\n", kl_controller_name(params.controller),
                      params.target, params.coef, over);
        assert_true(over <= 0.2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kl_estimators_match_the_vectors),
        cmocka_unit_test(kl_estimators_average_to_the_divergence),
        cmocka_unit_test(kl_k3_is_clamped_where_it_says),
        cmocka_unit_test(kl_gradients_match_differences),
        cmocka_unit_test(kl_sums_a_response_and_skips_what_is_masked),
        cmocka_unit_test(kl_means_say_what_their_unit_is),
        cmocka_unit_test(kl_adaptive_matches_the_vectors),
        cmocka_unit_test(kl_adaptive_looks_ahead_as_it_is_defined),
        cmocka_unit_test(kl_adaptive_that_looks_ahead_leaves_a_rise_alone),
        cmocka_unit_test(kl_adaptive_that_looks_ahead_does_not_wind_up),
        cmocka_unit_test(kl_fixed_stays),
        cmocka_unit_test(kl_pid_is_the_controller_of_pid_h_on_log_beta),
        cmocka_unit_test(kl_pid_refuses_bounds_that_cannot_be),
        cmocka_unit_test(kl_controllers_hold_any_target_with_the_same_gains),
        cmocka_unit_test(kl_cap_counts_what_is_no_number_as_past_it),
        cmocka_unit_test(kl_refuses_bad_settings_and_states),
        cmocka_unit_test(kl_names_its_words),
    };
    return cmocka_run_group_tests_name("kl", tests, NULL, NULL);
}
