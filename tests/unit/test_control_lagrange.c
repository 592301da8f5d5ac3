/*
 * test_control_lagrange.c -- the multiplier against vectors worked out by hand and by the codes
 * it follows (ALGORITHMS, section 5: "Lagrange", "PID"), and against what its definition
 * implies: bounds, windows, and a state that goes on where it was written down.
 */
#include "control/lagrange.h"
#include "control/score.h"
#include "tests/unit/near.h"

static const struct lagrange_params ascent = {
    .controller = LAGRANGE_LAGRANGIAN, .multiplier = 1.0, .lr = 0.1, .window = 1};
static const struct lagrange_params pid = {.controller = LAGRANGE_PID,
                                           .limit = 25.0,
                                           .multiplier = 0.001,
                                           .multiplier_max = 100.0,
                                           .kp = 0.1,
                                           .ki = 0.01,
                                           .kd = 0.01,
                                           .window = 1};

/* A step of one response that costs J. */
static double after(const struct lagrange_params *params, struct lagrange_state *state,
                    double cost)
{
    struct lagrange_sums step = {0};
    lagrange_add(&step, cost);
    check_ok(lagrange_params_check(params, &err));
    check_ok(lagrange_step(params, state, &step, &err));
    check_ok(lagrange_check(params, state, &err));
    return state->multiplier;
}

static void lagrange_ascends_as_in_the_vectors(void **state)
{
    (void)state;
    static const struct {
        double cost, log, multiplier;
    } want[] = {
        {0.5, 0.05, 1.05127110}, {-0.3, 0.01846187, 1.01863334}, {0.8, 0.09995253, 1.10511846}};
    struct lagrange_state s;
    lagrange_init(&ascent, &s);
    for (size_t i = 0; i < COUNT(want); i++) {
        check_near(after(&ascent, &s, want[i].cost), want[i].multiplier, 5e-9);
        check_near(s.log_multiplier, want[i].log, 5e-9);
    }
}

static void lagrange_ascent_stops_at_the_bound(void **state)
{
    (void)state;
    struct lagrange_params params = ascent;
    params.multiplier = exp(1.6);
    params.multiplier_max = 5.0;
    struct lagrange_state s;
    lagrange_init(&params, &s);
    assert_true(after(&params, &s, 2.0) == 5.0);
    check_near(s.log_multiplier, 1.60943791, 5e-9);
    assert_true(after(&params, &s, -2.0) < 5.0); /* and comes back at once */
}

/* Near 0 it would take 1 / (lr * lambda * (J - d)) steps to grow by e. */
static void lagrange_ascent_comes_back_from_the_least_multiplier(void **state)
{
    (void)state;
    int steps[2] = {0, 0};
    for (int bounded = 0; bounded < 2; bounded++) {
        struct lagrange_params params = ascent;
        params.multiplier_min = bounded ? 0.25 : 0.0;
        struct lagrange_state s;
        lagrange_init(&params, &s);
        for (int t = 0; t < 100; t++)
            after(&params, &s, -1.0);
        if (bounded)
            assert_true(s.multiplier == 0.25 && s.log_multiplier == log(0.25));
        for (; s.multiplier < 0.5 && steps[bounded] < 1000; steps[bounded]++)
            after(&params, &s, 0.5);
    }
    assert_in_range(steps[1], 20, 60);
    assert_true(steps[0] > 2 * steps[1]);
}

static void lagrange_pid_answers_as_omnisafe(void **state)
{
    (void)state;
    static const double cost[] = {35, 40, 30, 20};
    static const double want[] = {0.168500, 0.410125, 0.492169, 0.417610};
    struct lagrange_state s;
    lagrange_init(&pid, &s);
    for (size_t i = 0; i < COUNT(want); i++)
        check_near(after(&pid, &s, cost[i]), want[i], 5e-7);
}

/* The derivative compares with the smoothed cost of ten steps before, by the definition. */
static void lagrange_pid_looks_back_ten_steps(void **state)
{
    (void)state;
    struct lagrange_params params = pid;
    params.kp = params.ki = params.multiplier = 0.0;
    params.kd = 1.0;
    double smooth[32] = {0}; /* [t + 1] after step t; [0] before the first */
    struct lagrange_state s;
    lagrange_init(&params, &s);
    for (int t = 0; t < 30; t++) {
        const double cost = 5.0 * (t % 7) + t;
        smooth[t + 1] = 0.95 * smooth[t] + 0.05 * cost;
        const double before = t + 1 > 10 ? smooth[t + 1 - 10] : 0.0;
        check_near(after(&params, &s, cost), fmax(0.0, smooth[t + 1] - before), 1e-12);
    }
}

static void lagrange_pid_stays_within_its_bounds(void **state)
{
    (void)state;
    struct lagrange_state s;
    lagrange_init(&pid, &s);
    assert_true(after(&pid, &s, 1e6) == 100.0);
    lagrange_init(&pid, &s);
    assert_true(after(&pid, &s, -1e6) == 0.0);
    assert_true(s.pid.integral == 0.0);
    struct lagrange_params params = pid;
    params.multiplier_min = params.multiplier = 0.5;
    lagrange_init(&params, &s);
    assert_true(after(&params, &s, -1e6) == 0.5);
    params.multiplier_max = 0.0;
    assert_true(after(&params, &s, 1e9) > 1e6);
}

/* I is bounded where lambda is, so a limit passed for long is not held against a policy that
 * keeps it again. */
static void lagrange_pid_does_not_wind_up(void **state)
{
    (void)state;
    struct lagrange_params params = pid;
    params.multiplier_max = 2.0;
    struct lagrange_state s;
    lagrange_init(&params, &s);
    for (int t = 0; t < 200; t++)
        after(&params, &s, 125.0);
    assert_true(s.multiplier == 2.0 && s.pid.integral == 2.0);
}

static void lagrange_none_and_fixed_do_not_move(void **state)
{
    (void)state;
    struct lagrange_params params = {
        .controller = LAGRANGE_FIXED, .multiplier = 2.5, .window = 3};
    struct lagrange_state s;
    lagrange_init(&params, &s);
    for (int t = 0; t < 5; t++)
        assert_true(after(&params, &s, 100.0 * t) == 2.5);
    assert_true(s.steps == 5.0);
    params.controller = LAGRANGE_NONE;
    lagrange_init(&params, &s);
    assert_true(after(&params, &s, 3.0) == 0.0);
    assert_int_equal(lagrange_state_n(&params), 0);
}

/* Steps of unlike size: the mean is over responses, not over steps. */
static void lagrange_cost_is_the_mean_over_the_last_steps(void **state)
{
    (void)state;
    struct lagrange_params params = ascent;
    params.window = 3;
    struct lagrange_state s;
    lagrange_init(&params, &s);
    assert_true(lagrange_cost(&s) == 0.0);
    double all[64], n[8];
    size_t at = 0;
    for (size_t t = 0; t < 6; t++) {
        struct lagrange_sums step = {0};
        n[t] = 1.0 + (double)(t * t % 5);
        for (size_t i = 0; i < (size_t)n[t]; i++) {
            all[at] = 0.01 * (double)(at * at % 11) - 0.03;
            lagrange_add(&step, all[at++]);
        }
        check_ok(lagrange_step(&params, &s, &step, &err));
        double sum = 0.0, count = 0.0, squares = 0.0;
        for (size_t k = t < 2 ? 0 : t - 2; k <= t; k++)
            count += n[k];
        for (size_t i = at - (size_t)count; i < at; i++)
            sum += all[i];
        check_near(lagrange_cost(&s), sum / count, 1e-15);
        for (size_t i = at - (size_t)n[t]; i < at; i++)
            squares += all[i] * all[i];
        check_near(s.window[0].squares, squares, 1e-15);
    }
}

static void lagrange_waits_for_its_delay(void **state)
{
    (void)state;
    struct lagrange_params params = ascent;
    params.delay = 2;
    params.window = 2;
    struct lagrange_state s;
    lagrange_init(&params, &s);
    assert_true(after(&params, &s, 7.0) == 1.0);
    assert_true(after(&params, &s, 0.4) == 1.0);
    check_near(after(&params, &s, 0.6), exp(0.05), 1e-15); /* (0.4 + 0.6) / 2 */
}

/* What the next step gives must not depend on whether the state was written in between. */
static void lagrange_goes_on_from_a_state_written_down(void **state)
{
    (void)state;
    static const enum lagrange_controller kinds[] = {LAGRANGE_FIXED, LAGRANGE_LAGRANGIAN,
                                                     LAGRANGE_PID};
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (uint32_t window = 1; window <= LAGRANGE_WINDOW_MAX; window += 5) {
            struct lagrange_params params = pid;
            params.controller = kinds[k];
            params.limit = 0.1;
            params.lr = 0.3;
            params.window = window;
            double numbers[LAGRANGE_STATE_MAX + 1];
            struct lagrange_state s, other;
            lagrange_init(&params, &s);
            for (int t = 0; t < 25; t++) {
                const uint32_t n = lagrange_state_n(&params);
                assert_true(n <= LAGRANGE_STATE_MAX);
                numbers[n] = 42.0;
                lagrange_state_write(&params, &s, numbers);
                assert_true(numbers[n] == 42.0);
                lagrange_state_read(&params, &other, numbers);
                assert_memory_equal(&s, &other, sizeof s);
                const double cost = 0.07 * (t % 5);
                assert_true(after(&params, &s, cost) == after(&params, &other, cost));
            }
        }
}

static void lagrange_refuses_what_it_cannot_use(void **state)
{
    (void)state;
    static const struct {
        struct lagrange_params params;
        const char *words;
    } bad[] = {
        {{.controller = LAGRANGE_LAGRANGIAN, .lr = 0.1, .window = 1}, "never moves"},
        {{.controller = LAGRANGE_LAGRANGIAN, .multiplier = 1, .window = 1}, "with lr 0"},
        {{.controller = LAGRANGE_PID, .multiplier = 1, .window = 1}, "kp, ki and kd are all 0"},
        {{.controller = LAGRANGE_FIXED, .multiplier = -1, .window = 1}, "multiplier is -1"},
        {{.controller = LAGRANGE_FIXED, .multiplier = 3, .multiplier_max = 2, .window = 1},
         "above multiplier_max 2"},
        {{.controller = LAGRANGE_FIXED, .multiplier = 3, .multiplier_min = 4, .window = 1},
         "below multiplier_min 4"},
        {{.controller = LAGRANGE_PID,
          .kp = 1,
          .multiplier_min = 2,
          .multiplier = 2,
          .multiplier_max = 2,
          .window = 1},
         "bounds are 2 and 2"},
        {{.controller = LAGRANGE_FIXED, .window = 0}, "window is 0 steps"},
        {{.controller = LAGRANGE_FIXED, .window = 17}, "must be 1..16"},
        {{.controller = LAGRANGE_PID, .kp = NAN, .window = 1}, "kp is nan"},
        {{.controller = LAGRANGE_FIXED, .limit = INFINITY, .window = 1}, "limit is inf"},
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        check_fails(lagrange_params_check(&bad[i].params, &err), ERR_USAGE, bad[i].words);
    check_ok(lagrange_params_check(&(struct lagrange_params){.limit = NAN}, &err)); /* none */
}

static void lagrange_does_not_run_away_in_silence(void **state)
{
    (void)state;
    struct lagrange_state s, before;
    lagrange_init(&ascent, &s);
    before = s;
    check_fails(lagrange_step(&ascent, &s, &(struct lagrange_sums){0}, &err), ERR_VALUE,
                "0 costs");
    check_fails(lagrange_step(&ascent, &s, &(struct lagrange_sums){1, NAN, 1}, &err), ERR_VALUE,
                "add up to nan");
    check_fails(lagrange_step(&ascent, &s, &(struct lagrange_sums){1, 1e5, 1e10}, &err),
                ERR_VALUE, "from 1 to inf");
    check_fails(lagrange_step(&ascent, &s, &(struct lagrange_sums){1, -1e5, 1e10}, &err),
                ERR_VALUE, "from 1 to 0");
    assert_memory_equal(&s, &before, sizeof s);
}

static void lagrange_checks_a_state_read_back(void **state)
{
    (void)state;
    struct lagrange_params params = ascent;
    params.multiplier_max = 4.0;
    params.window = 2;
    struct lagrange_state good, s;
    lagrange_init(&params, &good);
    after(&params, &good, 0.5);
    check_ok(lagrange_check(&params, &good, &err));
    s = good, s.multiplier = 4.5;
    check_fails(lagrange_check(&params, &s, &err), ERR_VALUE, "multiplier is 4.5");
    s = good, s.multiplier = NAN;
    check_fails(lagrange_check(&params, &s, &err), ERR_VALUE, "multiplier is nan");
    params.multiplier_min = 0.9;
    s = good, s.multiplier = 0.8;
    check_fails(lagrange_check(&params, &s, &err), ERR_VALUE, "multiplier is 0.8");
    s = good, s.steps = -1.0;
    check_fails(lagrange_check(&params, &s, &err), ERR_VALUE, "steps");
    s = good, s.window[0].n = 0.0;
    check_fails(lagrange_check(&params, &s, &err), ERR_VALUE, "has 0 costs");
    s = good, s.window[1].n = 3.0;
    check_fails(lagrange_check(&params, &s, &err), ERR_VALUE, "step 1 of the state's window");
    params.controller = LAGRANGE_FIXED;
    check_fails(lagrange_check(&params, &good, &err), ERR_VALUE, "of a fixed one");

    lagrange_init(&pid, &good);
    after(&pid, &good, 35.0);
    s = good, s.multiplier *= 2.0;
    check_fails(lagrange_check(&pid, &s, &err), ERR_VALUE, "its pid says");
    s = good, s.pid.steps = 2.0;
    check_fails(lagrange_check(&pid, &s, &err), ERR_VALUE, "after 2");
    s = good, s.pid.integral = NAN;
    check_fails(lagrange_check(&pid, &s, &err), ERR_VALUE, "integral nan");
}

static void lagrange_names_are_the_words_of_the_config(void **state)
{
    (void)state;
    assert_string_equal(lagrange_controller_name(LAGRANGE_NONE), "none");
    assert_string_equal(lagrange_controller_name(LAGRANGE_PID), "pid");
    assert_string_equal(lagrange_controller_name((enum lagrange_controller)9), "?");
}

/* sigma(0.6) worked out apart: 1 / (1 + e^-0.6). */
static void score_probability_is_the_sigmoid(void **state)
{
    (void)state;
    check_near(score_probability(0.6), 0.64565630622579, 1e-13);
    check_near(score_probability(-0.6), 0.35434369377421, 1e-13);
    assert_true(score_probability(0.0) == 0.5);
    assert_true(score_probability(-1e4) == 0.0 && score_probability(1e4) == 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lagrange_ascends_as_in_the_vectors),
        cmocka_unit_test(lagrange_ascent_stops_at_the_bound),
        cmocka_unit_test(lagrange_ascent_comes_back_from_the_least_multiplier),
        cmocka_unit_test(lagrange_pid_answers_as_omnisafe),
        cmocka_unit_test(lagrange_pid_looks_back_ten_steps),
        cmocka_unit_test(lagrange_pid_stays_within_its_bounds),
        cmocka_unit_test(lagrange_pid_does_not_wind_up),
        cmocka_unit_test(lagrange_none_and_fixed_do_not_move),
        cmocka_unit_test(lagrange_cost_is_the_mean_over_the_last_steps),
        cmocka_unit_test(lagrange_waits_for_its_delay),
        cmocka_unit_test(lagrange_goes_on_from_a_state_written_down),
        cmocka_unit_test(lagrange_refuses_what_it_cannot_use),
        cmocka_unit_test(lagrange_does_not_run_away_in_silence),
        cmocka_unit_test(lagrange_checks_a_state_read_back),
        cmocka_unit_test(lagrange_names_are_the_words_of_the_config),
        cmocka_unit_test(score_probability_is_the_sigmoid),
    };
    return cmocka_run_group_tests_name("control/lagrange", tests, NULL, NULL);
}
