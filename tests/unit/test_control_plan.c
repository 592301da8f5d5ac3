/*
 * test_control_plan.c -- the plan covers the data, once an epoch, and forgets nothing.
 *
 * The oracle is counting: a permutation hits every value once, an epoch every prompt once.
 * That it looks random is held against chi-square at fixed seeds, so the verdict never varies.
 */
#include <stdlib.h>

#include "control/plan.h"
#include "tests/test.h"

enum { N_MAX = 3000 };

static const struct plan_params params = {
    .seed = 42, .prompts = 10, .slots = 12, .samples_per_prompt = 3, .steps = 100};

static void plan_permutes_any_number_of_prompts(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {255, 256, 257, 1000, 1023, 1024, 1025, 2047, 2999, N_MAX};
    static uint32_t order[N_MAX];
    static uint8_t seen[N_MAX];
    for (uint32_t k = 0; k < 70 + COUNT(sizes); k++) {
        const uint32_t n = k < 70 ? k + 1 : sizes[k - 70];
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            plan_epoch_permutation(order, n, 7, epoch);
            memset(seen, 0, sizeof seen);
            for (uint32_t i = 0; i < n; i++) {
                assert_true(order[i] < n);
                if (seen[order[i]]++)
                    fail_msg("n %u epoch %u: %u comes twice", n, (unsigned)epoch, order[i]);
                assert_int_equal(order[i], plan_permute(7, epoch, n, i));
            }
        }
    }
}

static void plan_handles_the_greatest_data_set(void **state)
{
    (void)state;
    const uint32_t a = plan_permute(1, 0, UINT32_MAX, 0);
    const uint32_t b = plan_permute(1, 0, UINT32_MAX, UINT32_MAX - 1);
    assert_true(a < UINT32_MAX && b < UINT32_MAX && a != b);
}

/* Where entry 0 and entry n-1 land, over many epochs, is uniform: chi-square with n-1 degrees
 * of freedom stays below mean + 5 standard deviations. */
static void plan_sends_a_prompt_anywhere_with_equal_chance(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {2, 3, 4, 5, 6, 7, 8, 12, 33};
    enum { EPOCHS = 6000 };
    for (size_t k = 0; k < COUNT(sizes); k++) {
        const uint32_t n = sizes[k];
        uint32_t first[33] = {0}, last[33] = {0};
        for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
            first[plan_permute(3, epoch, n, 0)]++;
            last[plan_permute(3, epoch, n, n - 1)]++;
        }
        const double want = (double)EPOCHS / n;
        double chi_first = 0.0, chi_last = 0.0;
        for (uint32_t i = 0; i < n; i++) {
            chi_first += (first[i] - want) * (first[i] - want) / want;
            chi_last += (last[i] - want) * (last[i] - want) / want;
        }
        const double limit = (n - 1) + 5.0 * sqrt(2.0 * (n - 1));
        if (chi_first > limit || chi_last > limit)
            fail_msg("n %u: chi-square %g and %g, above %g", n, chi_first, chi_last, limit);
    }
}

/* All 24 orders of four prompts come equally often: chi-square with 23 degrees of freedom. */
static void plan_gives_every_order_an_equal_chance(void **state)
{
    (void)state;
    enum { EPOCHS = 24000 };
    uint32_t count[256] = {0};
    double chi = 0.0;
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        uint32_t code = 0;
        for (uint32_t i = 0; i < 4; i++)
            code = code * 4 + plan_permute(11, epoch, 4, i);
        count[code]++;
    }
    uint32_t orders = 0;
    for (uint32_t code = 0; code < 256; code++) {
        orders += count[code] > 0;
        if (count[code] > 0)
            chi += (count[code] - 1000.0) * (count[code] - 1000.0) / 1000.0;
    }
    assert_int_equal(orders, 24);
    if (chi > 23.0 + 5.0 * sqrt(46.0))
        fail_msg("chi-square %g", chi);
}

/* No order keeps more prompts in place, of itself or of another order, than chance does. */
static void plan_orders_each_epoch_and_each_seed_anew(void **state)
{
    (void)state;
    enum { N = 1000 };
    uint32_t same_epoch = 0, same_seed = 0, in_place = 0;
    for (uint32_t i = 0; i < N; i++) {
        const uint32_t here = plan_permute(5, 0, N, i);
        same_epoch += here == plan_permute(5, 1, N, i);
        same_seed += here == plan_permute(6, 0, N, i);
        in_place += here == i;
    }
    assert_true(same_epoch < 10 && same_seed < 10 && in_place < 10); /* each expects 1 */
}

static void plan_gives_the_slots_of_a_group_one_prompt(void **state)
{
    (void)state;
    for (uint64_t step = 0; step < 20; step++) {
        for (uint32_t slot = 0; slot < params.slots; slot++) {
            const struct plan_slot got = plan_slot(&params, step, slot);
            assert_int_equal(got.group, slot / 3);
            assert_int_equal(got.sample, slot % 3);
            assert_int_equal(got.prompt, plan_slot(&params, step, slot / 3 * 3).prompt);
        }
    }
}

static void plan_asks_every_prompt_once_an_epoch(void **state)
{
    (void)state;
    /* 4 groups a step and 10 prompts: epochs end inside a step, as they may. */
    uint32_t asked[10] = {0};
    for (uint64_t group = 0; group < 50; group++) {
        const struct plan_slot got = plan_slot(&params, group / 4, (uint32_t)(group % 4) * 3);
        assert_int_equal(got.epoch, group / 10);
        asked[got.prompt]++;
        if (group % 10 == 9) {
            for (uint32_t p = 0; p < 10; p++)
                assert_int_equal(asked[p], group / 10 + 1);
        }
    }
}

/* A step that ends an epoch, one that is many epochs, and data sets of one prompt among them. */
static void plan_gives_a_step_at_once_what_it_gives_slot_by_slot(void **state)
{
    (void)state;
    for (uint32_t prompts = 1; prompts <= 40; prompts++)
        for (uint32_t K = 1; K <= 3; K++) {
            const struct plan_params run = {.seed = 9 + prompts,
                                            .prompts = prompts,
                                            .slots = 12 * K,
                                            .samples_per_prompt = K,
                                            .steps = 30};
            for (uint64_t step = 0; step < 30; step++) {
                uint32_t prompt[12];
                plan_step(&run, step, prompt);
                for (uint32_t slot = 0; slot < run.slots; slot++)
                    assert_int_equal(prompt[slot / K], plan_slot(&run, step, slot).prompt);
            }
        }
}

/* Found with the definition in plan.h written in Python, its Philox held against the known
 * answers of Random123.  A change of these breaks every run that is resumed. */
static void plan_stays_what_it_was(void **state)
{
    (void)state;
    static const uint32_t want[10] = {2, 1, 8, 7, 3, 5, 4, 0, 6, 9};
    static const uint32_t far[5] = {70428, 40230, 37839, 39524, 69064};
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(plan_permute(42, 0, 10, i), want[i]);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(plan_permute(42, 3, 100000, i), far[i]);
}

static void plan_counts_policy_versions_by_the_lag(void **state)
{
    (void)state;
    assert_int_equal(plan_policy_version(0, 0), 0);
    assert_int_equal(plan_policy_version(5, 0), 5);
    assert_int_equal(plan_policy_version(0, 1), 0);
    assert_int_equal(plan_policy_version(1, 1), 0);
    assert_int_equal(plan_policy_version(2, 1), 1);
    assert_int_equal(plan_policy_version(7, 8), 0);
    assert_int_equal(plan_policy_version(9, 8), 1);

    assert_true(plan_ready(0, 0, 0));
    assert_false(plan_ready(1, 0, 0));
    assert_true(plan_ready(1, 0, 1));
    assert_false(plan_ready(2, 0, 1));
    assert_true(plan_ready(2, 1, 1));
    assert_true(plan_ready(2, 2, 1));
}

static void plan_refuses_counts_that_do_not_fit(void **state)
{
    (void)state;
    check_ok(plan_check(&params, &err));
    struct plan_params bad = params;
    bad.prompts = 0;
    check_fails(plan_check(&bad, &err), ERR_USAGE, "no prompt");
    bad = params;
    bad.samples_per_prompt = 5;
    check_fails(plan_check(&bad, &err), ERR_USAGE, "samples_per_prompt (5) does not divide");
    bad.samples_per_prompt = 0;
    check_fails(plan_check(&bad, &err), ERR_USAGE, "at least 1");
    bad = params;
    bad.steps = ((uint64_t)1 << 54) + 1; /* of 4 groups */
    check_fails(plan_check(&bad, &err), ERR_USAGE, "cannot be counted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_permutes_any_number_of_prompts),
        cmocka_unit_test(plan_handles_the_greatest_data_set),
        cmocka_unit_test(plan_sends_a_prompt_anywhere_with_equal_chance),
        cmocka_unit_test(plan_gives_every_order_an_equal_chance),
        cmocka_unit_test(plan_orders_each_epoch_and_each_seed_anew),
        cmocka_unit_test(plan_gives_the_slots_of_a_group_one_prompt),
        cmocka_unit_test(plan_asks_every_prompt_once_an_epoch),
        cmocka_unit_test(plan_gives_a_step_at_once_what_it_gives_slot_by_slot),
        cmocka_unit_test(plan_stays_what_it_was),
        cmocka_unit_test(plan_counts_policy_versions_by_the_lag),
        cmocka_unit_test(plan_refuses_counts_that_do_not_fit),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
