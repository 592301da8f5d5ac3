/*
 * test_control_reward.c -- token rewards against the vectors (ALGORITHMS, section 5), and the
 * rules about which token is the last and what is refused.
 *
 * Tolerance: inputs and results are floats of size about 2, half a unit in whose last place is
 * 1.2e-7.
 */
#include "control/reward.h"
#include "tests/unit/near.h"

static const float logp[3] = {-1.0f, -2.0f, -0.5f}, logref[3] = {-1.1f, -1.5f, -0.7f};
static const struct reward_params plain = {.estimator = KL_K1};

static void reward_matches_the_vectors(void **state)
{
    (void)state;
    static const float want_reward[3] = {-0.01f, 0.05f, 1.98f};
    static const float want_cost[3] = {0.01f, -0.05f, 0.42f};
    float got[3];
    check_ok(reward_tokens(&plain, REWARD_STREAM_REWARD, 0.1, 2.0, logp, logref, NULL, 3, got,
                           &err));
    check_close(got, want_reward, 3, 1.2e-7, 1e-8);
    check_ok(
        reward_tokens(&plain, REWARD_STREAM_COST, 0.1, 0.4, logp, logref, NULL, 3, got, &err));
    check_close(got, want_cost, 3, 1.2e-7, 1e-8);
}

static void reward_stands_on_the_last_token_that_counts(void **state)
{
    (void)state;
    static const uint8_t mask[3] = {1, 1, 0};
    static const float want[3] = {-0.01f, 2.05f, 0.0f};
    float got[3];
    check_ok(reward_tokens(&plain, REWARD_STREAM_REWARD, 0.1, 2.0, logp, logref, mask, 3, got,
                           &err));
    check_close(got, want, 3, 1.2e-7, 1e-8);

    static const uint8_t tool[3] = {1, 0, 1}; /* a masked span inside has no KL reward */
    static const float want_tool[3] = {-0.01f, 0.0f, 1.98f};
    check_ok(reward_tokens(&plain, REWARD_STREAM_REWARD, 0.1, 2.0, logp, logref, tool, 3, got,
                           &err));
    check_close(got, want_tool, 3, 1.2e-7, 1e-8);
}

static void reward_without_kl_needs_no_reference(void **state)
{
    (void)state;
    static const float want[3] = {0.0f, 0.0f, 2.0f};
    float got[3];
    check_ok(
        reward_tokens(&plain, REWARD_STREAM_REWARD, 0.0, 2.0, logp, NULL, NULL, 3, got, &err));
    check_close(got, want, 3, 0.0, 1e-30);
}

static void reward_is_bounded_by_its_clip(void **state)
{
    (void)state;
    const struct reward_params clipped = {.estimator = KL_K1, .clip = 0.5};
    static const float far[3] = {-1.0f, -90.0f, -0.5f};
    static const float want[3] = {-0.01f, 0.5f, 0.5f};
    float got[3];
    check_ok(reward_tokens(&clipped, REWARD_STREAM_REWARD, 0.1, 2.0, far, logref, NULL, 3, got,
                           &err));
    check_close(got, want, 3, 1.2e-7, 1e-8);
}

static void reward_length_penalty_starts_past_the_free_tokens(void **state)
{
    (void)state;
    const struct reward_params par = {.length_free_tokens = 300, .length_penalty = 0.01};
    check_near(reward_length(&par, 2.0, 350), 1.5, 1e-12);
    check_near(reward_length(&par, 2.0, 301), 1.99, 1e-12);
    check_near(reward_length(&par, 2.0, 300), 2.0, 0.0);
    check_near(reward_length(&par, 2.0, 0), 2.0, 0.0);
}

static void reward_of_a_truncated_response_is_as_configured(void **state)
{
    (void)state;
    struct reward_params params = {.truncation_penalty = 1.0};
    bool bootstrap = true;
    check_near(reward_truncate(&params, 0.5, true, &bootstrap), 0.5, 0.0);
    assert_false(bootstrap);
    params.truncation = REWARD_TRUNCATION_PENALTY;
    check_near(reward_truncate(&params, 0.5, true, &bootstrap), -0.5, 0.0);
    assert_false(bootstrap);
    check_near(reward_truncate(&params, 0.5, false, &bootstrap), 0.5, 0.0);
    params.truncation = REWARD_TRUNCATION_BOOTSTRAP;
    check_near(reward_truncate(&params, 0.5, true, &bootstrap), 0.5, 0.0);
    assert_true(bootstrap);
    check_near(reward_truncate(&params, 0.5, false, &bootstrap), 0.5, 0.0);
    assert_false(bootstrap);
}

static void reward_refuses_what_is_not_finite(void **state)
{
    (void)state;
    float got[3];
    const float bad[3] = {-1.0f, -INFINITY, -0.5f};
    static const uint8_t nothing[3] = {0, 0, 0};
    const struct reward_params clipped = {.estimator = KL_K1, .clip = 0.5};
    check_fails(reward_tokens(&clipped, REWARD_STREAM_REWARD, 0.1, 2.0, bad, logref, NULL, 3,
                              got, &err),
                ERR_VALUE, "token 1 has reward inf (log-prob -inf)");
    check_fails(
        reward_tokens(&plain, REWARD_STREAM_COST, 0.1, NAN, logp, logref, NULL, 3, got, &err),
        ERR_VALUE, "the response's cost is nan");
    check_fails(reward_tokens(&plain, REWARD_STREAM_REWARD, 0.1, 1e300, logp, logref, NULL, 3,
                              got, &err),
                ERR_VALUE, "token 2 has reward 1e+300");
    check_fails(reward_tokens(&plain, REWARD_STREAM_REWARD, 0.1, 2.0, logp, logref, nothing, 3,
                              got, &err),
                ERR_VALUE, "of 3 response tokens none counts");
    check_fails(
        reward_tokens(&plain, REWARD_STREAM_REWARD, 0.1, 2.0, logp, logref, NULL, 0, got, &err),
        ERR_VALUE, "of 0 response tokens none counts");
}

static void reward_refuses_bad_settings(void **state)
{
    (void)state;
    struct reward_params bad = {.length_penalty = -1.0};
    check_fails(reward_check(&bad, &err), ERR_USAGE, "length_penalty is -1");
    bad = (struct reward_params){.truncation_penalty = -2.0};
    check_fails(reward_check(&bad, &err), ERR_USAGE, "truncation_penalty is -2");
    bad = (struct reward_params){.clip = NAN};
    check_fails(reward_check(&bad, &err), ERR_USAGE, "clip is nan");
    check_ok(reward_check(&plain, &err));
    assert_string_equal(reward_truncation_name(REWARD_TRUNCATION_BOOTSTRAP), "bootstrap");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reward_matches_the_vectors),
        cmocka_unit_test(reward_stands_on_the_last_token_that_counts),
        cmocka_unit_test(reward_without_kl_needs_no_reference),
        cmocka_unit_test(reward_is_bounded_by_its_clip),
        cmocka_unit_test(reward_length_penalty_starts_past_the_free_tokens),
        cmocka_unit_test(reward_of_a_truncated_response_is_as_configured),
        cmocka_unit_test(reward_refuses_what_is_not_finite),
        cmocka_unit_test(reward_refuses_bad_settings),
    };
    return cmocka_run_group_tests_name("reward", tests, NULL, NULL);
}
