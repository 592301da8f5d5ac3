/*
 * test_control_shaping.c -- the shapers against vectors worked out by hand (ALGORITHMS,
 * section 5), against what the definition implies, and on what must be refused.
 */
#include "control/shaping.h"
#include "tests/unit/near.h"

static const double refs[4] = {1.0, 2.5, 0.0, 3.0};

static double shape(struct shaping_params params, double raw)
{
    struct shaping_state running;
    double shaped = NAN;
    shaping_init(&params, &running);
    check_ok(shaping_check(&params, &err));
    check_ok(shaping_apply(&params, &running, raw, refs, COUNT(refs), &shaped, &err));
    return shaped;
}

static void shaping_matches_the_vectors(void **state)
{
    (void)state;
    static const struct {
        struct shaping_params params;
        double want;
    } cases[] = {
        {{.kind = SHAPING_PAR, .references = 4, .slope = 1.0}, 0.56458444},
        {{.kind = SHAPING_PAR, .references = 1, .slope = 1.0}, 0.73105858},
        {{.kind = SHAPING_PAR, .references = 2, .slope = 1.0}, 0.55429962},
        {{.kind = SHAPING_PAR, .references = 4, .slope = 2.0}, 0.56273880},
        {{.kind = SHAPING_PAR, .references = 4, .slope = 3.0}, 0.54498823},
        {{.kind = SHAPING_CENTERED, .references = 4, .slope = 0.0}, 0.375},
        {{.kind = SHAPING_CENTERED, .references = 1, .slope = 0.0}, 1.0},
        {{.kind = SHAPING_NONE, .references = 0, .slope = 0.0}, 2.0},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_near(shape(cases[i].params, 2.0), cases[i].want, 1e-8);
}

static void shaping_of_every_kind_matches_the_vectors(void **state)
{
    (void)state;
    static const struct {
        enum shaping_kind kind;
        double slope, raw, want, near;
    } cases[] = {
        {SHAPING_SIGMOID, 1, 2.0, 0.88079708, 1e-8},
        {SHAPING_SGFC, 1, 2.0, 0.10886070, 1e-8},
        {SHAPING_SGFC, 3, 2.0, 0.01248304, 1e-8},
        {SHAPING_TANH_CENTERED, 0, 2.0, 0.12547761, 1e-8},
        {SHAPING_TANH, 0, 2.0, 0.96402758, 1e-8},
        {SHAPING_POLYNOMIAL_CENTERED, 0, 2.0, 0.56747, 5e-6},
        {SHAPING_LSC, 0, 2.0, -1.35159071, 1e-8},
        /* atan of 1, -.5, 2, -1: pi/4 and -pi/4 cancel, and atan 2 = pi/2 - atan .5 */
        {SHAPING_ARCTAN, 0, 2.0, (1.5707963267948966 - 2 * 0.4636476090008061) / 4, 1e-15},
        {SHAPING_CEILING, 0, 2.0, 2.0, 0.0},
        {SHAPING_CEILING, 0, 5.5, 5.0, 0.0},
        {SHAPING_POLYNOMIAL, 0, 0.0, 0.5, 0.0},
        {SHAPING_POLYNOMIAL, 0, -5.0, 0.0, 0.0},
        {SHAPING_POLYNOMIAL, 0, 5.0, 1.0, 0.0},
        /* log sigma(x) is x far below: not log 0 */
        {SHAPING_LSC, 0, -1e6, -1e6 - 3.05206787, 1e-7},
        /* before the first step nothing is known: the reward as it is */
        {SHAPING_MEANSTD, 0, 2.5, 2.5, 0.0},
        {SHAPING_CLIP, 0, 2.5, 2.5, 0.0},
        {SHAPING_MINMAX, 0, 2.5, 2.5, 0.0},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_near(shape((struct shaping_params){.kind = cases[i].kind,
                                                 .references = 4,
                                                 .slope = cases[i].slope,
                                                 .ceiling = 5.0,
                                                 .shift = 3.0},
                         cases[i].raw),
                   cases[i].want, cases[i].near);
}

/* A least-squares fit leaves a residual at right angles to each power it was fitted with. */
static void shaping_polynomial_is_the_fit_of_the_sigmoid(void **state)
{
    (void)state;
    for (int power = 0; power <= 5; power++) {
        double dot = 0.0, scale = 0.0;
        for (int i = 0; i < 100; i++) {
            double x = -5.0 + 10.0 * i / 99.0;
            x = x <= -5.0 ? -5.0 + 1e-12 : x >= 5.0 ? 5.0 - 1e-12 : x;
            const double p = shape((struct shaping_params){.kind = SHAPING_POLYNOMIAL}, x);
            dot += (p - 1.0 / (1.0 + exp(-x))) * pow(x, power);
            scale += fabs(pow(x, power));
        }
        check_near(dot / scale, 0.0, 1e-7);
    }
}

static double shape_after(enum shaping_kind kind, const struct shaping_state *running,
                          double raw)
{
    double shaped = NAN;
    const struct shaping_params params = {.kind = kind};
    check_ok(shaping_apply(&params, running, raw, NULL, 0, &shaped, &err));
    return shaped;
}

static void learn(struct shaping_state *running, const double *rewards, size_t n)
{
    const struct shaping_params params = {.kind = SHAPING_MINMAX};
    struct shaping_state batch = {0};
    for (size_t i = 0; i < n; i++)
        shaping_add(&batch, rewards[i]);
    check_ok(shaping_update(&params, running, &batch, &err));
}

static void shaping_statistics_match_the_vectors(void **state)
{
    (void)state;
    struct shaping_state running = {0};
    learn(&running, (const double[]){1, 2, 3}, 3);
    check_near(running.mean, 2.0, 1e-15);
    check_near(shaping_std(&running), 0.81649658, 1e-8);
    for (int r = 1; r <= 3; r++) {
        check_near(shape_after(SHAPING_MEANSTD, &running, r), (r - 2) * 1.22474487, 1e-8);
        check_near(shape_after(SHAPING_CLIP, &running, r), 2 + (r - 2) * 0.81649658, 1e-8);
        check_near(shape_after(SHAPING_MINMAX, &running, r), 0.5 * (r - 1), 1e-15);
    }
    learn(&running, (const double[]){4, 6}, 2);
    check_near(running.mean, 3.2, 1e-12);
    check_near(shaping_std(&running), 1.72046505, 1e-8);
    check_near(shape_after(SHAPING_MEANSTD, &running, 4), 0.46499055, 1e-8);
    check_near(shape_after(SHAPING_MEANSTD, &running, 6), 1.62746694, 1e-8);
    check_near(shape_after(SHAPING_CLIP, &running, 4), 4.0, 0.0);
    check_near(shape_after(SHAPING_CLIP, &running, 6), 4.92046505, 1e-8);
    check_near(shape_after(SHAPING_MINMAX, &running, 4), 0.6, 1e-15);
    check_near(shape_after(SHAPING_MINMAX, &running, 6), 1.0, 1e-15);
    check_near(shape_after(SHAPING_MINMAX, &running, 11), 2.0, 1e-15);
}

static void shaping_of_equal_rewards_divides_by_one(void **state)
{
    (void)state;
    struct shaping_state running = {0};
    learn(&running, (const double[]){-3, -3}, 2);
    assert_true(running.min == -3 && running.max == -3); /* not the 0 it began with */
    check_near(shape_after(SHAPING_MEANSTD, &running, -1), 2.0, 0.0);
    check_near(shape_after(SHAPING_CLIP, &running, -1), -2.0, 0.0);
    check_near(shape_after(SHAPING_CLIP, &running, -9), -4.0, 0.0);
    check_near(shape_after(SHAPING_MINMAX, &running, -1), 2.0, 0.0);
}

static void shaping_statistics_move_by_update_alone(void **state)
{
    (void)state;
    struct shaping_state running = {0}, batch = {0}, before;
    learn(&running, (const double[]){1, 2, 3}, 3);
    before = running;
    shape_after(SHAPING_MEANSTD, &running, 100);
    learn(&running, NULL, 0);
    assert_memory_equal(&running, &before, sizeof running);
    shaping_add(&batch, 5.0);
    const struct shaping_params par = {.kind = SHAPING_PAR, .references = 1, .slope = 1.0};
    check_ok(shaping_update(&par, &running, &batch, &err)); /* carries none */
    assert_memory_equal(&running, &before, sizeof running);
    const struct shaping_params minmax = {.kind = SHAPING_MINMAX};
    struct shaping_state huge = {0};
    shaping_add(&huge, 1e300);
    check_fails(shaping_update(&minmax, &running, &huge, &err), ERR_VALUE, "sum of squares");
    assert_memory_equal(&running, &before, sizeof running);

    double written[SHAPING_STATE_N];
    struct shaping_state read;
    shaping_state_write(&running, written);
    shaping_state_read(&read, written);
    assert_memory_equal(&read, &running, sizeof read);
}

static void shaping_par_is_half_against_itself_and_turns_about_it(void **state)
{
    (void)state;
    const struct shaping_params par = {.kind = SHAPING_PAR, .references = 1, .slope = 1.0};
    assert_true(shape(par, 1.0) == 0.5);
    for (double x = 0.0; x < 30.0; x += 0.7)
        check_near(shape(par, 1.0 + x) + shape(par, 1.0 - x), 1.0, 1e-15);
}

static void shaping_par_stays_inside_0_and_1(void **state)
{
    (void)state;
    const struct shaping_params par = {.kind = SHAPING_PAR, .references = 4, .slope = 3.0};
    assert_true(shape(par, 1e300) == 1.0);
    assert_true(shape(par, -1e300) == 0.0);
    double before = 0.0;
    for (double raw = -9.0; raw < 9.0; raw += 0.25) {
        assert_true(shape(par, raw) > before); /* and strictly rises */
        before = shape(par, raw);
    }
}

static void shaping_refuses_missing_references(void **state)
{
    (void)state;
    const struct shaping_params par = {.kind = SHAPING_PAR, .references = 4, .slope = 1.0},
                                none = {.kind = SHAPING_NONE, .references = 4, .slope = 1.0};
    struct shaping_state running;
    shaping_init(&par, &running);
    double shaped = 7.0;
    check_fails(shaping_apply(&par, &running, 2.0, refs, 3, &shaped, &err), ERR_STATE,
                "par needs 4 reference scores, the prompt has 3");
    check_fails(shaping_apply(&par, &running, 2.0, NULL, 0, &shaped, &err), ERR_STATE,
                "the prompt has 0");
    assert_true(shaped == 7.0);
    assert_int_equal(shaping_references(&par), 4);
    assert_int_equal(shaping_references(&none), 0);
    check_ok(shaping_apply(&none, &running, 2.0, NULL, 0, &shaped, &err));
    assert_true(shaped == 2.0);
}

static void shaping_refuses_what_is_not_finite(void **state)
{
    (void)state;
    const struct shaping_params centered = {
        .kind = SHAPING_CENTERED, .references = 2, .slope = 0.0};
    const double broken[3] = {1.0, NAN, 2.0}, late[3] = {1.0, 2.0, NAN};
    struct shaping_state running;
    shaping_init(&centered, &running);
    double shaped = 7.0;
    check_fails(shaping_apply(&centered, &running, NAN, refs, 4, &shaped, &err), ERR_VALUE,
                "the score is nan");
    check_fails(shaping_apply(&centered, &running, 1.0, broken, 3, &shaped, &err), ERR_VALUE,
                "reference score 1 is nan");
    const double far[2] = {-1.7e308, -1.7e308};
    check_fails(shaping_apply(&centered, &running, 1.7e308, far, 2, &shaped, &err), ERR_VALUE,
                "came to inf under centered");
    assert_true(shaped == 7.0);
    /* Beyond the first M nothing is read. */
    check_ok(shaping_apply(&centered, &running, 1.0, late, 3, &shaped, &err));
    assert_true(shaped == -0.5);
}

static void shaping_refuses_bad_settings(void **state)
{
    (void)state;
    const struct shaping_params no_refs = {
        .kind = SHAPING_CENTERED, .references = 0, .slope = 1.0};
    const struct shaping_params flat = {.kind = SHAPING_PAR, .references = 4, .slope = 0.0};
    check_fails(shaping_check(&no_refs, &err), ERR_USAGE,
                "centered needs at least 1 reference");
    check_fails(shaping_check(&flat, &err), ERR_USAGE, "slope is 0");
    const struct shaping_params lone = {.kind = SHAPING_LSC, .references = 1};
    const struct shaping_params endless = {.kind = SHAPING_CEILING, .ceiling = INFINITY};
    const struct shaping_params lost = {
        .kind = SHAPING_SGFC, .references = 1, .slope = 1.0, .shift = NAN};
    check_fails(shaping_check(&lone, &err), ERR_USAGE, "lsc needs at least 2 references");
    check_fails(shaping_check(&endless, &err), ERR_USAGE, "the ceiling is inf");
    check_fails(shaping_check(&lost, &err), ERR_USAGE, "sgfc's shift is nan");
    assert_string_equal(shaping_name(SHAPING_PAR), "par");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shaping_matches_the_vectors),
        cmocka_unit_test(shaping_of_every_kind_matches_the_vectors),
        cmocka_unit_test(shaping_polynomial_is_the_fit_of_the_sigmoid),
        cmocka_unit_test(shaping_statistics_match_the_vectors),
        cmocka_unit_test(shaping_of_equal_rewards_divides_by_one),
        cmocka_unit_test(shaping_statistics_move_by_update_alone),
        cmocka_unit_test(shaping_par_is_half_against_itself_and_turns_about_it),
        cmocka_unit_test(shaping_par_stays_inside_0_and_1),
        cmocka_unit_test(shaping_refuses_missing_references),
        cmocka_unit_test(shaping_refuses_what_is_not_finite),
        cmocka_unit_test(shaping_refuses_bad_settings),
    };
    return cmocka_run_group_tests_name("shaping", tests, NULL, NULL);
}
