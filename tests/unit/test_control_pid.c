/*
 * test_control_pid.c -- the controller against vectors (ALGORITHMS, section 5: OmniSafe's and
 * the textbook's, worked out by other code), against a direct transcription of its formulas,
 * and on a plant: a KL that answers to its coefficient with a lag and noise, on which the
 * adaptive controller of kl.h is measured beside it.
 */
#include "base/rng.h"
#include "control/kl.h"
#include "control/pid.h"
#include "tests/unit/draw.h"
#include "tests/unit/near.h"

static const struct pid_params omnisafe = {
    .kp = 0.1,
    .ki = 0.01,
    .kd = 0.01,
    .target = 25.0,
    .smooth_p = 0.95,
    .smooth_d = 0.95,
    .delay = 10,
    .rising = true,
    .high = 100.0,
    .start = 0.001,
};
static const struct pid_params servo = {
    .kp = 0.03,
    .ki = 0.002,
    .kd = 0.02,
    .target = 6.0,
    .smooth_d = 0.5,
    .delay = 1,
    .hold = true,
    .low = 0.01,
    .high = 1.0,
    .start = 0.05,
};

static void pid_matches_omnisafe(void **state)
{
    (void)state;
    static const double value[] = {35, 40, 30, 20};
    static const double want[] = {0.168500, 0.410125, 0.492169, 0.417610};
    struct pid_state pid;
    check_ok(pid_params_check(&omnisafe, &err));
    pid_init(&omnisafe, &pid);
    assert_true(pid.output == 0.001);
    for (size_t i = 0; i < COUNT(value); i++) {
        check_ok(pid_step(&omnisafe, &pid, value[i], &err));
        check_near(pid.output, want[i], 5e-7);
        check_ok(pid_check(&omnisafe, &pid, &err));
    }
    assert_true(pid.steps == 4.0);
}

static void pid_matches_the_textbook(void **state)
{
    (void)state;
    const struct pid_params textbook = {.kp = 0.05,
                                        .ki = 0.0005,
                                        .kd = 0.1,
                                        .target = 25.0,
                                        .delay = 1,
                                        .rising = true,
                                        .high = 100.0,
                                        .before = 35.0};
    static const double value[] = {35, 40, 30, 20}, want[] = {0.505, 1.2625, 0.265, 0};
    struct pid_state pid;
    pid_init(&textbook, &pid);
    for (size_t i = 0; i < COUNT(value); i++) {
        check_ok(pid_step(&textbook, &pid, value[i], &err));
        check_near(pid.output, want[i], 1e-12);
    }
}

/* The formulas of pid.h over the whole past at once, where the controller keeps a state. */
static double pid_by_definition(const struct pid_params *params, const double *value, int n)
{
    const double most = params->error_max > 0 ? params->error_max : INFINITY;
    const double first = fmin(most, fmax(-most, params->before - params->target));
    const double beyond = params->bumpless ? params->kp * most : 0.0;
    double p = params->bumpless ? first : 0.0;
    double i = params->start - params->kp * p, output = params->start;
    double smooth[64] = {params->before};
    for (int t = 1; t <= n; t++) {
        const double e = fmin(most, fmax(-most, value[t - 1] - params->target));
        p = params->smooth_p * p + (1 - params->smooth_p) * e;
        smooth[t] = params->smooth_d * smooth[t - 1] + (1 - params->smooth_d) * value[t - 1];
        const int from = t > (int)params->delay ? t - (int)params->delay : 0;
        double d = smooth[t] - smooth[from];
        if (params->rising)
            d = fmax(0.0, d);
        const double before = params->kp * p + i + params->kd * d;
        const bool stuck = params->hold && ((before > params->high && e > 0) ||
                                            (before < params->low && e < 0));
        if (!stuck)
            i = fmin(params->high + beyond, fmax(params->low - beyond, i + params->ki * e));
        output = fmin(params->high, fmax(params->low, params->kp * p + i + params->kd * d));
    }
    return output;
}

static void pid_matches_its_definition(void **state)
{
    (void)state;
    uint64_t seed = 4;
    for (int round = 0; round < 200; round++) {
        struct pid_params params = {
            .kp = draw_between(&seed, 0, 0.4),
            .ki = draw_between(&seed, 0, 0.2),
            .kd = draw_between(&seed, 0, 0.4),
            .target = draw_between(&seed, -2, 2),
            .error_max = draw_bits(&seed) & 1 ? draw_between(&seed, 0.1, 3) : 0.0,
            .smooth_p = draw_between(&seed, 0, 0.9),
            .smooth_d = draw_between(&seed, 0, 0.9),
            .delay = 1 + draw_bits(&seed) % PID_DELAY_MAX,
            .rising = draw_bits(&seed) & 1,
            .hold = draw_bits(&seed) & 1,
            .bumpless = draw_bits(&seed) & 1,
            .low = -0.5,
            .high = 1.0,
            .start = draw_between(&seed, -0.5, 1),
            .before = draw_between(&seed, -1, 1),
        };
        if (params.error_max == 0.0)
            params.bumpless = false;
        check_ok(pid_params_check(&params, &err));
        double value[48];
        struct pid_state pid;
        pid_init(&params, &pid);
        assert_true(pid.output == params.start);
        check_ok(pid_check(&params, &pid, &err));
        for (int t = 0; t < 48; t++) {
            value[t] = draw_between(&seed, -4, 4);
            check_ok(pid_step(&params, &pid, value[t], &err));
            check_ok(pid_check(&params, &pid, &err));
            check_near(pid.output, pid_by_definition(&params, value, t + 1), 1e-12);
        }
    }
}

static void pid_that_holds_comes_back_at_once(void **state)
{
    (void)state;
    struct pid_params params = {
        .kp = 0.5, .ki = 0.1, .target = 0.0, .delay = 1, .high = 1.0, .hold = true};
    int steps[2] = {0, 0};
    for (int hold = 0; hold < 2; hold++) {
        params.hold = hold;
        struct pid_state pid;
        pid_init(&params, &pid);
        for (int t = 0; t < 50; t++)
            check_ok(pid_step(&params, &pid, 4.0, &err));
        assert_true(pid.output == 1.0);
        while (pid.output > 0.0 && steps[hold] < 50) {
            check_ok(pid_step(&params, &pid, -0.5, &err));
            steps[hold]++;
        }
    }
    assert_int_equal(steps[1], 1);
    assert_true(steps[0] > 10);
}

/* J goes to d with a time constant of kp / ki steps, whatever u does. */
static void pid_that_starts_bumpless_stays_where_it_began(void **state)
{
    (void)state;
    for (int bumpless = 0; bumpless < 2; bumpless++) {
        const struct pid_params params = {.kp = 2.0,
                                          .ki = 0.1,
                                          .target = 1.0,
                                          .error_max = 1.0,
                                          .delay = 1,
                                          .bumpless = bumpless,
                                          .low = -5.0,
                                          .high = 5.0,
                                          .start = 0.5};
        struct pid_state pid;
        double value = 0.0, least = INFINITY, most = -INFINITY;
        pid_init(&params, &pid);
        for (int t = 0; t < 400; t++) {
            value += (1.0 - value) / 20.0;
            check_ok(pid_step(&params, &pid, value, &err));
            least = fmin(least, pid.output);
            most = fmax(most, pid.output);
        }
        /* I gives ki * sum of (1 - 1/20)^t, t = 1, 2, ..., which is 1.9; P takes back 2, or 0. */
        check_near(pid.output, bumpless ? 0.6 : -1.4, 1e-6);
        print_message("from %.2f to %.2f\n", least, most);
        assert_true(bumpless ? least >= 0.5 && most <= 0.6 + 1e-6 : least <= -1.4);
    }
}

/* A KL that follows K / beta with a time constant of 10 steps, and 5 % of noise on what is
 * measured.  At the target, 6 nats, beta is 0.1. */
struct plant {
    double kl;
    uint32_t t;
};

static double plant_step(struct plant *plant, double beta)
{
    plant->kl += (0.6 / beta - plant->kl) / 10.0;
    const double noise = rng_normal(7, RNG_STREAM_WORLD, 0, 0, plant->t++);
    return plant->kl * (1.0 + 0.05 * noise);
}

struct plant_result {
    double overshoot; /* of the target */
    int settled;      /* the first step after which the KL stays within 10 % of the target */
};

static void plant_count(struct plant_result *result, const struct plant *plant)
{
    const double off = plant->kl / 6.0 - 1.0;
    result->overshoot = fmax(result->overshoot, off);
    if (fabs(off) > 0.1)
        result->settled = (int)plant->t;
}

static void pid_brings_a_kl_to_its_target(void **state)
{
    (void)state;
    static const double starts[] = {0.05, 0.1, 0.3};
    for (size_t i = 0; i < COUNT(starts); i++) {
        struct pid_params params = servo;
        params.start = starts[i];
        check_ok(pid_params_check(&params, &err));
        struct pid_state pid;
        struct plant plant = {0};
        struct plant_result result = {0};
        pid_init(&params, &pid);
        for (int t = 0; t < 600; t++) {
            check_ok(pid_step(&params, &pid, plant_step(&plant, pid.output), &err));
            plant_count(&result, &plant);
        }
        print_message("pid from %g: overshoot %.3f, settled after %d steps\n", starts[i],
                      result.overshoot, result.settled);
        assert_true(result.overshoot <= 0.2);
        assert_true(result.settled <= 60);
        check_near(pid.integral, 0.1, 0.01); /* the rest of the output answers the noise */
    }
}

/* Half the beta that is needed: at the published horizon the proportional step of 0.2 % an
 * update lets the KL run to twice its target before it comes back. */
static void kl_adaptive_overshoots_on_the_same_plant(void **state)
{
    (void)state;
    const struct kl_params ziegler = {
        .controller = KL_CONTROLLER_ADAPTIVE, .coef = 0.05, .target = 6.0, .horizon = 10000.0};
    struct kl_state kl;
    struct plant plant = {0};
    struct plant_result result = {0};
    kl_init(&ziegler, &kl);
    for (int t = 0; t < 1500; t++) {
        check_ok(kl_step(&ziegler, &kl, plant_step(&plant, kl.coef), 64, &err));
        plant_count(&result, &plant);
    }
    print_message("adaptive: overshoot %.3f, settled after %d steps\n", result.overshoot,
                  result.settled);
    assert_true(result.overshoot > 0.7 && result.overshoot < 1.0);
    assert_true(result.settled > 300 && result.settled < 800);
    check_near(kl.coef, 0.1, 0.01);
}

static void pid_leaves_the_state_alone_where_it_refuses(void **state)
{
    (void)state;
    struct pid_state pid, before;
    pid_init(&servo, &pid);
    check_ok(pid_step(&servo, &pid, 3.0, &err));
    before = pid;
    check_fails(pid_step(&servo, &pid, NAN, &err), ERR_VALUE, "a value of nan");
    check_fails(pid_step(&servo, &pid, -INFINITY, &err), ERR_VALUE, "a value of -inf");
    assert_memory_equal(&pid, &before, sizeof pid);
}

static void pid_refuses_bad_settings(void **state)
{
    (void)state;
    static const struct {
        struct pid_params params;
        const char *words;
    } cases[] = {
        {{.kp = -1.0}, "kp is -1"},
        {{.ki = NAN}, "ki is nan"},
        {{.kd = INFINITY}, "kd is inf"},
        {{.kp = 1.0, .smooth_p = 1.0}, "smooth_p is 1"},
        {{.kp = 1.0, .smooth_d = -0.1}, "smooth_d is -0.1"},
        {{.delay = 1, .high = 1.0}, "all 0"},
        {{.kp = 1.0, .delay = 1, .high = 1.0, .target = NAN}, "target is nan"},
        {{.kp = 1.0, .delay = 1, .high = 1.0, .before = INFINITY}, "before is inf"},
        {{.kp = 1.0, .high = 1.0, .delay = 1, .error_max = -1.0}, "error_max is -1"},
        {{.kp = 1.0, .high = 1.0, .delay = 1, .bumpless = true}, "needs an error_max"},
        {{.kp = 1.0, .high = 1.0}, "delay is 0 steps"},
        {{.kp = 1.0, .high = 1.0, .delay = 17}, "delay is 17 steps, must be 1 to 16"},
        {{.kp = 1.0, .delay = 1}, "bounds are 0 and 0"},
        {{.kp = 1.0, .delay = 1, .high = NAN}, "bounds are 0 and nan"},
        {{.kp = 1.0, .delay = 1, .low = -INFINITY, .high = 1.0}, "bounds are -inf and 1"},
        {{.kp = 1.0, .delay = 1, .high = 1.0, .start = 2.0}, "start is 2"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_fails(pid_params_check(&cases[i].params, &err), ERR_USAGE, cases[i].words);
}

static void pid_refuses_a_state_it_cannot_have_left(void **state)
{
    (void)state;
    struct pid_state good, bad;
    pid_init(&servo, &good);
    check_ok(pid_check(&servo, &good, &err));
    bad = good;
    bad.output = 2.0;
    check_fails(pid_check(&servo, &bad, &err), ERR_VALUE, "output is 2");
    struct pid_params bumpless = servo;
    bumpless.bumpless = true;
    bumpless.error_max = 2.0;
    bad = good;
    bad.integral = 1.05; /* 0.06 beyond the bound is as far as P pulls */
    check_fails(pid_check(&servo, &bad, &err), ERR_VALUE, "integral 1.05");
    check_ok(pid_check(&bumpless, &bad, &err));
    bad.integral = 1.07;
    check_fails(pid_check(&bumpless, &bad, &err), ERR_VALUE, "0.06 more");
    bad = good;
    bad.integral = NAN;
    check_fails(pid_check(&servo, &bad, &err), ERR_VALUE, "integral nan");
    bad = good;
    bad.value = INFINITY;
    check_fails(pid_check(&servo, &bad, &err), ERR_VALUE, "smoothed value inf");
    bad = good;
    bad.history[3] = 1.0;
    check_fails(pid_check(&servo, &bad, &err), ERR_VALUE, "not that of 1 steps");
    bad = good;
    bad.steps = -1.0;
    check_fails(pid_check(&servo, &bad, &err), ERR_VALUE, "steps -1");
    bad.steps = 0.5;
    check_fails(pid_check(&servo, &bad, &err), ERR_VALUE, "steps 0.5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pid_matches_omnisafe),
        cmocka_unit_test(pid_matches_the_textbook),
        cmocka_unit_test(pid_matches_its_definition),
        cmocka_unit_test(pid_that_holds_comes_back_at_once),
        cmocka_unit_test(pid_that_starts_bumpless_stays_where_it_began),
        cmocka_unit_test(pid_brings_a_kl_to_its_target),
        cmocka_unit_test(kl_adaptive_overshoots_on_the_same_plant),
        cmocka_unit_test(pid_leaves_the_state_alone_where_it_refuses),
        cmocka_unit_test(pid_refuses_bad_settings),
        cmocka_unit_test(pid_refuses_a_state_it_cannot_have_left),
    };
    return cmocka_run_group_tests_name("pid", tests, NULL, NULL);
}
