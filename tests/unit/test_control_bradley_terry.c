/*
 * Oracles: at the minimum of a convex function its finite differences vanish; with one feature
 * of +1 or -1 the weight is the log odds; weights that were planted are found.
 */
#include "control/bradley_terry.h"

#include <stdbool.h>

#include "tests/unit/draw.h"
#include "tests/unit/near.h"

static void one_feature_gives_the_log_odds(void **state)
{
    (void)state;
    const float chosen[] = {1, 1, 1, 0}, rejected[] = {0, 0, 0, 1};
    double w;
    check_ok(bradley_terry_fit(chosen, rejected, 4, 1, 1e-12, &w, &err));
    check_near(w, log(3.0), 1e-9);
}

enum { N = 4000, K = 3 };
static float chosen[N * K], rejected[N * K];

static void planted_weights_are_found_and_are_the_minimum(void **state)
{
    (void)state;
    static const double planted[K] = {1.5, -0.7, 0.0};
    uint64_t draw = 5;
    for (size_t i = 0; i < N; i++) {
        double logit = 0.0;
        float a[K], b[K];
        for (size_t j = 0; j < K; j++) {
            a[j] = (float)draw_between(&draw, -2, 2);
            b[j] = (float)draw_between(&draw, -2, 2);
            logit += planted[j] * (double)(a[j] - b[j]);
        }
        const bool first = draw_between(&draw, 0, 1) < 1.0 / (1.0 + exp(-logit));
        memcpy(chosen + i * K, first ? a : b, sizeof a);
        memcpy(rejected + i * K, first ? b : a, sizeof a);
    }
    double w[K];
    const double ridge = 1e-4, h = 1e-4;
    check_ok(bradley_terry_fit(chosen, rejected, N, K, ridge, w, &err));
    for (size_t j = 0; j < K; j++) {
        check_near(w[j], planted[j], 0.1); /* its standard error is about 0.03 */
        double up[K], down[K];
        memcpy(up, w, sizeof up);
        memcpy(down, w, sizeof down);
        up[j] += h;
        down[j] -= h;
        const double at_up = bradley_terry_loss(chosen, rejected, N, K, ridge, up);
        const double at_down = bradley_terry_loss(chosen, rejected, N, K, ridge, down);
        check_near((at_up - at_down) / (2 * h), 0.0, 1e-8);
        assert_true(at_up > bradley_terry_loss(chosen, rejected, N, K, ridge, w));
    }
}

static void pairs_that_can_be_told_apart_give_finite_weights(void **state)
{
    (void)state;
    const float better[] = {3, 1, 2, 5}, worse[] = {1, 1, 0, 5}; /* the second says nothing */
    double w[2];
    check_ok(bradley_terry_fit(better, worse, 2, 2, 1e-6, w, &err));
    assert_true(w[0] > 3.0 && isfinite(w[0]));
    assert_true(isfinite(w[1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_feature_gives_the_log_odds),
        cmocka_unit_test(planted_weights_are_found_and_are_the_minimum),
        cmocka_unit_test(pairs_that_can_be_told_apart_give_finite_weights),
    };
    return cmocka_run_group_tests_name("control/bradley_terry", tests, NULL, NULL);
}
