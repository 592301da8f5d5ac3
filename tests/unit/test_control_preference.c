/*
 * Oracles: values of the published losses (PAR's regularised reward loss, Safe RLHF's cost
 * loss) worked out independently to eight digits; central finite differences of the loss for
 * its derivatives; and, for accuracy and calibration, cases small enough to count by hand.
 */
#include "control/preference.h"

#include <math.h>
#include <string.h>

#include "tests/test.h"

static const struct preference_params plain = {0};
static const double untold = (double)NAN;

static void near_to(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("got %.12g, expected %.12g", got, want);
}

static void reward_loss_has_the_published_values(void **state)
{
    (void)state;
    near_to(preference_reward(&plain, untold, 1.5, 0.5).loss, 0.31326169, 1e-8);
    /* PAR writes 0.005 (c^2 + r^2); here that is reg = 0.01 of the mean. */
    const struct preference_params reg = {.reg = 0.01};
    near_to(preference_reward(&reg, untold, 1.5, 0.5).loss, 0.32576169, 1e-8);
    /* Safe RLHF's 0.001 of the mean square: 0.31326169 + 0.001 (2.25 + 0.25) / 2 */
    const struct preference_params safe = {.reg = 0.001};
    near_to(preference_reward(&safe, untold, 1.5, 0.5).loss, 0.31451169, 1e-8);
    /* TRL's 0.01 (c + r)^2: 0.31326169 + 0.01 * 4 */
    const struct preference_params center = {.center = 0.01};
    near_to(preference_reward(&center, untold, 1.5, 0.5).loss, 0.35326169, 1e-8);
    near_to(preference_reward(&center, untold, 1.0, -1.0).loss, 0.12692801, 1e-8);
    near_to(preference_reward(&plain, untold, 3.0, 3.0).loss, 0.69314718, 1e-8);
}

static void cost_loss_has_the_published_values(void **state)
{
    (void)state;
    const struct preference_params reg = {.reg = 0.001};
    near_to(preference_cost(&plain, 0.6, -0.8, 1, -1).loss, 1.02900603, 1e-8);
    near_to(preference_cost(&reg, 0.6, -0.8, 1, -1).loss, 1.02950603, 1e-8);
    near_to(preference_cost(&plain, 1.0, 0.2, 1, 1).loss, 1.28250122, 1e-8);
}

static void a_margin_shifts_and_smoothing_mixes(void **state)
{
    (void)state;
    const struct preference_params margin = {.margin = 0.7};
    near_to(preference_reward(&margin, untold, 2.2, 0.5).loss, 0.31326169, 1e-8);
    const struct preference_params told = {.margin = 0.2, .margin_scale = 0.25};
    near_to(preference_reward(&told, 2.0, 2.2, 0.5).loss, 0.31326169, 1e-8);
    near_to(preference_reward(&told, untold, 1.7, 0.5).loss, 0.31326169, 1e-8);
    const struct preference_params smooth = {.label_smoothing = 0.1};
    /* 0.9 * 0.31326169 + 0.1 * 1.31326169 */
    near_to(preference_reward(&smooth, untold, 1.5, 0.5).loss, 0.41326169, 1e-8);
}

static const double scores[] = {-30.0, -4.0, -0.8, 0.0, 0.3, 1.0, 7.0, 25.0};
#define SCORES (sizeof scores / sizeof scores[0])

static void derivatives_are_those_of_the_reward_loss(void **state)
{
    (void)state;
    const struct preference_params params = {.margin = 0.05,
                                             .margin_scale = 0.4,
                                             .label_smoothing = 0.05,
                                             .reg = 0.02,
                                             .center = 0.03};
    const double h = 1e-5;
    for (size_t i = 0; i < SCORES * SCORES; i++) {
        const double c = scores[i / SCORES], r = scores[i % SCORES];
        const struct preference_loss at = preference_reward(&params, 0.5, c, r);
        near_to(at.dchosen,
                (preference_reward(&params, 0.5, c + h, r).loss -
                 preference_reward(&params, 0.5, c - h, r).loss) /
                    (2 * h),
                1e-8);
        near_to(at.drejected,
                (preference_reward(&params, 0.5, c, r + h).loss -
                 preference_reward(&params, 0.5, c, r - h).loss) /
                    (2 * h),
                1e-8);
    }
}

static void derivatives_are_those_of_the_cost_loss(void **state)
{
    (void)state;
    const struct preference_params params = {.reg = 0.02};
    const double h = 1e-5;
    for (size_t i = 0; i < SCORES * SCORES * 9; i++) {
        const double u = scores[i / 9 / SCORES], s = scores[i / 9 % SCORES];
        const int hu = (int)(i % 3) - 1, hs = (int)(i / 3 % 3) - 1;
        const struct preference_loss at = preference_cost(&params, u, s, hu, hs);
        near_to(at.dchosen,
                (preference_cost(&params, u + h, s, hu, hs).loss -
                 preference_cost(&params, u - h, s, hu, hs).loss) /
                    (2 * h),
                1e-8);
        near_to(at.drejected,
                (preference_cost(&params, u, s + h, hu, hs).loss -
                 preference_cost(&params, u, s - h, hu, hs).loss) /
                    (2 * h),
                1e-8);
    }
}

static void a_cost_without_a_sign_has_no_term_for_it(void **state)
{
    (void)state;
    /* 1.02900603 = -log sigmoid(1.4) - log sigmoid(0.6) - log sigmoid(0.8) */
    near_to(preference_cost(&plain, 0.6, -0.8, 0, 0).loss, log1p(exp(-1.4)), 1e-15);
    near_to(preference_cost(&plain, 0.6, -0.8, 1, 0).loss, 1.02900603 - log1p(exp(-0.8)), 1e-8);
    near_to(preference_cost(&plain, 0.6, -0.8, 0, -1).loss, 1.02900603 - log1p(exp(-0.6)),
            1e-8);
}

static void regression_counts_the_numbers_that_are_there(void **state)
{
    (void)state;
    const float score[] = {1.5f, -2.0f, 0.25f};
    const double want[] = {1.0, (double)NAN, 2.25};
    double d[3];
    near_to(preference_regression(score, want, 3, d), 0.25 + 4.0, 1e-12);
    for (size_t j = 0; j < 3; j++) {
        float up[3], down[3];
        double unused[3];
        memcpy(up, score, sizeof up);
        memcpy(down, score, sizeof down);
        up[j] += 0.125f; /* a quadratic's central difference is exact for any step */
        down[j] -= 0.125f;
        near_to(d[j],
                (preference_regression(up, want, 3, unused) -
                 preference_regression(down, want, 3, unused)) /
                    0.25,
                1e-12);
    }
}

static void scores_far_apart_stay_finite(void **state)
{
    (void)state;
    const struct preference_loss wrong = preference_reward(&plain, untold, -1e4, 1e4);
    near_to(wrong.loss, 2e4, 1e-9);
    near_to(wrong.dchosen, -1.0, 0.0);
    const struct preference_loss right = preference_reward(&plain, untold, 1e4, -1e4);
    near_to(right.loss, 0.0, 0.0);
    near_to(right.dchosen, 0.0, 0.0);
    near_to(preference_log_sigmoid(40.0), -exp(-40.0), 1e-30);
}

static void accuracy_counts_a_tie_as_half(void **state)
{
    (void)state;
    const float chosen[] = {1.0f, 2.0f, 0.0f, 5.0f}, rejected[] = {0.0f, 2.0f, 1.0f, 4.0f};
    const struct preference_accuracy a = preference_accuracy(chosen, rejected, 4);
    near_to(a.accuracy, 2.5 / 4.0, 0.0);
    near_to(a.stderror, sqrt(0.625 * 0.375 / 4.0), 1e-15);
}

static void calibration_error_is_what_a_hand_count_gives(void **state)
{
    (void)state;
    /* Confidence 0.75 (d = log 3) in each of four pairs, right in three: calibrated. */
    const float d = logf(3.0f);
    const float chosen[] = {d, d, d, 0.0f}, rejected[] = {0.0f, 0.0f, 0.0f, d};
    near_to(preference_ece(chosen, rejected, 4), 0.0, 1e-7);
    near_to(preference_ece(chosen, rejected, 3), 0.25, 1e-7); /* right in all three */
    const float sure[] = {100.0f, -100.0f}, zero[] = {0.0f, 0.0f};
    near_to(preference_ece(sure, zero, 2), 0.5, 1e-12);
    near_to(preference_ece(zero, zero, 2), 0.0, 0.0);
}

static void reliability_sorts_pairs_by_confidence(void **state)
{
    (void)state;
    /* sigmoid(log 3) = 0.75 is the first of the bin [0.75, 0.8); certainty is in the last. */
    const float chosen[] = {1.0986125f, 0.0f, 50.0f, 0.0f},
                rejected[] = {0.0f, 1.0986125f, 0.0f, 0.0f};
    struct preference_bin bin[PREFERENCE_BINS];
    preference_reliability(chosen, rejected, 4, bin);
    near_to(bin[5].pairs, 2.0, 0.0);
    near_to(bin[5].accuracy, 0.5, 0.0);
    near_to(bin[5].confidence, 0.75, 1e-7);
    near_to(bin[9].pairs, 1.0, 0.0);
    near_to(bin[9].accuracy, 1.0, 0.0);
    near_to(bin[0].pairs, 1.0, 0.0); /* a tie: half right, with confidence one half */
    near_to(bin[0].accuracy, 0.5, 0.0);
    near_to(bin[3].pairs, 0.0, 0.0);
}

static void settings_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        struct preference_params params;
        const char *names;
    } bad[] = {
        {{.margin = -1.0}, "margin"},
        {{.margin = (double)NAN}, "margin"},
        {{.label_smoothing = 0.5}, "smoothing"},
        {{.label_smoothing = (double)NAN}, "smoothing"},
        {{.margin_scale = -1.0}, "margin scale"},
        {{.center = -0.1}, "center"},
        {{.center = (double)NAN}, "center"},
        {{.reg = -0.1}, "reg"},
        {{.reg = (double)INFINITY}, "reg"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = {0};
        assert_int_equal(preference_params_check(&bad[i].params, &err), ERR_USAGE);
        assert_non_null(strstr(err.text, bad[i].names));
    }
    assert_int_equal(preference_params_check(&plain, NULL), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reward_loss_has_the_published_values),
        cmocka_unit_test(cost_loss_has_the_published_values),
        cmocka_unit_test(a_margin_shifts_and_smoothing_mixes),
        cmocka_unit_test(derivatives_are_those_of_the_reward_loss),
        cmocka_unit_test(derivatives_are_those_of_the_cost_loss),
        cmocka_unit_test(a_cost_without_a_sign_has_no_term_for_it),
        cmocka_unit_test(regression_counts_the_numbers_that_are_there),
        cmocka_unit_test(reliability_sorts_pairs_by_confidence),
        cmocka_unit_test(scores_far_apart_stay_finite),
        cmocka_unit_test(accuracy_counts_a_tie_as_half),
        cmocka_unit_test(calibration_error_is_what_a_hand_count_gives),
        cmocka_unit_test(settings_out_of_range_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
