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
        {{SHAPING_PAR, 4, 1.0}, 0.56458444}, {{SHAPING_PAR, 1, 1.0}, 0.73105858},
        {{SHAPING_PAR, 2, 1.0}, 0.55429962}, {{SHAPING_PAR, 4, 2.0}, 0.56273880},
        {{SHAPING_PAR, 4, 3.0}, 0.54498823}, {{SHAPING_CENTERED, 4, 0.0}, 0.375},
        {{SHAPING_CENTERED, 1, 0.0}, 1.0},   {{SHAPING_NONE, 0, 0.0}, 2.0},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_near(shape(cases[i].params, 2.0), cases[i].want, 1e-8);
}

static void shaping_par_is_half_against_itself_and_turns_about_it(void **state)
{
    (void)state;
    const struct shaping_params par = {SHAPING_PAR, 1, 1.0};
    assert_true(shape(par, 1.0) == 0.5);
    for (double x = 0.0; x < 30.0; x += 0.7)
        check_near(shape(par, 1.0 + x) + shape(par, 1.0 - x), 1.0, 1e-15);
}

static void shaping_par_stays_inside_0_and_1(void **state)
{
    (void)state;
    const struct shaping_params par = {SHAPING_PAR, 4, 3.0};
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
    const struct shaping_params par = {SHAPING_PAR, 4, 1.0}, none = {SHAPING_NONE, 4, 1.0};
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
    const struct shaping_params centered = {SHAPING_CENTERED, 2, 0.0};
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
    const struct shaping_params no_refs = {SHAPING_CENTERED, 0, 1.0};
    const struct shaping_params flat = {SHAPING_PAR, 4, 0.0};
    check_fails(shaping_check(&no_refs, &err), ERR_USAGE,
                "centered needs at least 1 reference");
    check_fails(shaping_check(&flat, &err), ERR_USAGE, "slope is 0");
    assert_string_equal(shaping_name(SHAPING_PAR), "par");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shaping_matches_the_vectors),
        cmocka_unit_test(shaping_par_is_half_against_itself_and_turns_about_it),
        cmocka_unit_test(shaping_par_stays_inside_0_and_1),
        cmocka_unit_test(shaping_refuses_missing_references),
        cmocka_unit_test(shaping_refuses_what_is_not_finite),
        cmocka_unit_test(shaping_refuses_bad_settings),
    };
    return cmocka_run_group_tests_name("shaping", tests, NULL, NULL);
}
