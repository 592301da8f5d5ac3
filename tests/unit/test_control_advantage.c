/*
 * test_control_advantage.c -- every estimator and the whitening.
 *
 * Two oracles: the vectors of ALGORITHMS, section 5, and the definitions in double, with sums
 * taken in two passes where the code takes one.
 */
#include "control/advantage.h"
#include "tests/unit/draw.h"
#include "tests/unit/near.h"

enum { N_MAX = 256, ROWS_MAX = 24 };

static const uint32_t unit_offset[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};

static void check_group(enum advantage_kind kind, double eps, const double R[4],
                        const float want[4])
{
    static const uint32_t group[4] = {0, 0, 0, 0};
    const struct advantage_params params = {.kind = kind, .eps = eps};
    const struct advantage_batch in = {
        .rows = 4, .offset = unit_offset, .sequence_reward = R, .group = group};
    float adv[4];
    check_ok(advantage_check(&params, 4, &err));
    check_ok(advantage_compute(&params, &in, adv, NULL, &err));
    check_close(adv, want, 4, 1e-7, 1e-8);
}

static void advantage_of_groups_matches_the_vectors(void **state)
{
    (void)state;
    static const double R[4] = {1, 0, 0.5, 0.5}, equal[4] = {0.1, 0.1, 0.1, 0.1};
    static const float zero[4] = {0};
    check_group(ADVANTAGE_GRPO, 1e-6, R, (const float[]){1.22474187f, -1.22474187f, 0, 0});
    check_group(ADVANTAGE_GRPO, 1e-4, R, (const float[]){1.22444494f, -1.22444494f, 0, 0});
    check_group(ADVANTAGE_DR_GRPO, 0, R, (const float[]){0.5f, -0.5f, 0, 0});
    check_group(ADVANTAGE_RLOO, 0, R, (const float[]){0.66666667f, -0.66666667f, 0, 0});

    /* Exactly 0, though the mean of four 0.1 summed and divided is not 0.1. */
    static const enum advantage_kind kinds[] = {ADVANTAGE_GRPO, ADVANTAGE_DR_GRPO,
                                                ADVANTAGE_RLOO};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        float adv[4];
        const struct advantage_params params = {.kind = kinds[k], .eps = 1e-6};
        const struct advantage_batch in = {.rows = 4,
                                           .offset = unit_offset,
                                           .sequence_reward = equal,
                                           .group = (const uint32_t[4]){5, 5, 5, 5}};
        check_ok(advantage_compute(&params, &in, adv, NULL, &err));
        check_close(adv, zero, 4, 0, 1e-300);
    }
}

static void advantage_of_reinforce_pp_matches_the_vectors(void **state)
{
    (void)state;
    static const uint32_t offset[3] = {0, 3, 6};
    static const float reward[6] = {-0.01f, 0.05f, 1.98f, 0.02f, -0.03f, 0.5f};
    static const float unbiased[6] = {0.92460821f,  0.93659017f,  0.87668036f,
                                      -0.90863226f, -0.93259619f, -0.8966503f};
    static const float biased[6] = {1.01285755f,  1.02598313f,  0.96035521f,
                                    -0.99535677f, -1.02160794f, -0.98223118f};
    struct advantage_params params = {
        .kind = ADVANTAGE_REINFORCE_PP, .whiten = ADVANTAGE_WHITEN_UNBIASED, .gamma = 1};
    const struct advantage_batch in = {.rows = 2, .offset = offset, .token_reward = reward};
    float adv[6];
    check_ok(advantage_compute(&params, &in, adv, NULL, &err));
    check_close(adv, unbiased, 6, 3e-7, 1e-7);
    params.whiten = ADVANTAGE_WHITEN_BIASED;
    check_ok(advantage_compute(&params, &in, adv, NULL, &err));
    check_close(adv, biased, 6, 3e-7, 1e-7);

    static const double R[8] = {1, 0, 0.5, 0.5, 2, 2, 0, 4};
    static const uint32_t group[8] = {0, 0, 0, 0, 1, 1, 1, 1};
    static const float baseline[8] = {0.4537426f, -0.4537426f,  0,          0, 0,
                                      0,          -1.81497042f, 1.81497042f};
    params = (struct advantage_params){.kind = ADVANTAGE_REINFORCE_PP_BASELINE,
                                       .whiten = ADVANTAGE_WHITEN_UNBIASED};
    const struct advantage_batch groups = {
        .rows = 8, .offset = unit_offset, .sequence_reward = R, .group = group};
    float adv8[8];
    check_ok(advantage_compute(&params, &groups, adv8, NULL, &err));
    check_close(adv8, baseline, 8, 1e-7, 1e-7);
}

static void whiten(float *x, const uint8_t *mask, size_t n, enum advantage_whiten how,
                   bool shift)
{
    const struct moments moments = advantage_moments(x, mask, n);
    advantage_whiten(x, mask, n, &moments, how, shift);
}

static void advantage_whitening_matches_the_vectors(void **state)
{
    (void)state;
    static const struct {
        enum advantage_whiten how;
        bool shift;
        float want[3];
    } cases[] = {
        {ADVANTAGE_WHITEN_BIASED, true, {1.21414261f, 0.02093349f, -1.2350761f}},
        {ADVANTAGE_WHITEN_UNBIASED, true, {0.99134365f, 0.01709213f, -1.00843578f}},
        {ADVANTAGE_WHITEN_UNBIASED, false, {1.37492698f, 0.40067547f, -0.62485245f}},
        {ADVANTAGE_WHITEN_NONE, true, {0.46575f, 0.385f, 0.3f}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        float x[3] = {0.46575f, 0.385f, 0.3f};
        whiten(x, NULL, 3, cases[i].how, cases[i].shift);
        check_close(x, cases[i].want, 3, 3e-7, 3e-7); /* inputs rounded to float, over 0.07 */
    }

    static const uint8_t mask[6] = {1, 1, 1, 1, 1, 0};
    static const float unbiased[5] = {0.95868784f, 0.655816f, 0.33700353f, -1.53836392f,
                                      -0.41314345f};
    static const float biased[5] = {1.07184557f, 0.73322456f, 0.3767814f, -1.71994312f,
                                    -0.46190841f};
    float a[6] = {0.46575f, 0.385f, 0.3f, -0.2f, 0.1f, 99.0f}, b[6];
    memcpy(b, a, sizeof b);
    check_near(advantage_moments(a, mask, 6).mean, 0.21015, 1e-8);
    whiten(a, mask, 6, ADVANTAGE_WHITEN_UNBIASED, true);
    whiten(b, mask, 6, ADVANTAGE_WHITEN_BIASED, true);
    check_close(a, unbiased, 5, 2e-7, 1e-7);
    check_close(b, biased, 5, 2e-7, 1e-7);
    assert_true(a[5] == 99.0f && b[5] == 99.0f); /* masked: left alone */
}

static void advantage_of_two_streams_matches_the_vectors(void **state)
{
    (void)state;
    static const float reward[3] = {1.3877f, 1.366f, 1.28f},
                       cost[3] = {0.35605f, 0.259f, 0.22f};
    static const float want[3] = {0.515825f, 0.5535f, 0.53f};
    float out[3];
    advantage_combine(reward, cost, 1.0, out, 3);
    check_close(out, want, 3, 2.4e-7, 0);
    advantage_combine((const float[]){1.0f}, (const float[]){0.5f}, 1.05127110, out, 1);
    check_near((double)out[0], 0.23125391, 1e-7);
    advantage_combine(reward, cost, 0.0, out, 3);
    check_close(out, reward, 3, 0, 1e-300);
}

struct drawn {
    size_t rows;
    uint32_t offset[ROWS_MAX + 1], group[ROWS_MAX];
    float reward[N_MAX];
    uint8_t mask[N_MAX];
};

static void draw_batch(uint64_t seed, struct drawn *d)
{
    uint64_t r = seed;
    d->rows = 8 + draw_bits(&r) % (ROWS_MAX - 8);
    d->offset[0] = 0;
    for (size_t b = 0; b < d->rows; b++) {
        d->offset[b + 1] = d->offset[b] + 1 + draw_bits(&r) % 9;
        d->group[b] = b == 0 ? 3 : d->group[b - 1] + (draw_bits(&r) % 3 == 0) * 2u;
    }
    draw_fill(&r, d->reward, N_MAX, -1, 1);
    for (size_t i = 0; i < N_MAX; i++)
        d->mask[i] = draw_bits(&r) % 5 != 0;
}

static double response_reward(const struct drawn *d, size_t b)
{
    double sum = 0.0;
    for (size_t i = d->offset[b]; i < d->offset[b + 1]; i++)
        sum += d->mask[i] ? (double)d->reward[i] : 0.0;
    return sum;
}

/* By pairs: the sum of R - R' over the group's others holds every group estimator but for a
 * factor, and the variance is the mean square of all differences. */
static double group_oracle(const struct drawn *d, size_t b, enum advantage_kind kind,
                           double eps)
{
    double differences = 0.0, squares = 0.0, n = 0.0;
    for (size_t c = 0; c < d->rows; c++) {
        if (d->group[c] != d->group[b])
            continue;
        n += 1.0;
        differences += response_reward(d, b) - response_reward(d, c);
        for (size_t e = 0; e < d->rows; e++) {
            const double off = response_reward(d, e) - response_reward(d, c);
            squares += d->group[e] == d->group[b] ? off * off : 0.0;
        }
    }
    if (n < 2.0)
        return 0.0;
    if (kind == ADVANTAGE_RLOO)
        return differences / (n - 1.0);
    const double above = differences / n;
    return kind == ADVANTAGE_GRPO ? above / (sqrt(squares / (2.0 * n * (n - 1.0))) + eps)
                                  : above;
}

static void advantage_of_groups_matches_its_definition(void **state)
{
    (void)state;
    static const enum advantage_kind kinds[] = {ADVANTAGE_GRPO, ADVANTAGE_DR_GRPO,
                                                ADVANTAGE_RLOO};
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct drawn d;
        draw_batch(seed, &d);
        const struct advantage_batch in = {.rows = d.rows,
                                           .offset = d.offset,
                                           .mask = d.mask,
                                           .token_reward = d.reward,
                                           .group = d.group};
        for (size_t k = 0; k < COUNT(kinds); k++) {
            const struct advantage_params params = {.kind = kinds[k], .eps = 1e-4};
            float adv[N_MAX], want[N_MAX];
            check_ok(advantage_compute(&params, &in, adv, NULL, &err));
            for (size_t b = 0; b < d.rows; b++) {
                const float a = (float)group_oracle(&d, b, kinds[k], 1e-4);
                for (size_t i = d.offset[b]; i < d.offset[b + 1]; i++)
                    want[i] = d.mask[i] ? a : 0.0f;
            }
            check_close(adv, want, d.offset[d.rows], 1e-6, 1e-6);
        }
    }
}

/* Rewards to go by their definition, a sum over the rest of the response, then two passes. */
static void advantage_of_reinforce_pp_matches_its_definition(void **state)
{
    (void)state;
    const struct advantage_params params = {
        .kind = ADVANTAGE_REINFORCE_PP, .whiten = ADVANTAGE_WHITEN_BIASED, .gamma = 0.9};
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct drawn d;
        draw_batch(seed, &d);
        const struct advantage_batch in = {
            .rows = d.rows, .offset = d.offset, .mask = d.mask, .token_reward = d.reward};
        double to_go[N_MAX], mean = 0.0, variance = 0.0, n = 0.0;
        for (size_t b = 0; b < d.rows; b++) {
            for (size_t i = d.offset[b]; i < d.offset[b + 1]; i++) {
                double power = 1.0;
                to_go[i] = 0.0;
                for (size_t j = i; d.mask[i] && j < d.offset[b + 1]; j++) {
                    to_go[i] += d.mask[j] ? power * (double)d.reward[j] : 0.0;
                    power *= d.mask[j] ? 0.9 : 1.0;
                }
                mean += to_go[i];
                n += d.mask[i];
            }
        }
        mean /= n;
        const size_t N = d.offset[d.rows];
        for (size_t i = 0; i < N; i++)
            variance += d.mask[i] ? (to_go[i] - mean) * (to_go[i] - mean) / n : 0.0;
        float adv[N_MAX], want[N_MAX];
        for (size_t i = 0; i < N; i++)
            want[i] = d.mask[i] ? (float)((to_go[i] - mean) / sqrt(variance + 1e-8)) : 0.0f;
        check_ok(advantage_compute(&params, &in, adv, NULL, &err));
        check_close(adv, want, N, 2e-6, 1e-6);
    }
}

static void advantage_with_a_critic_is_gae_and_whitens_only_the_advantages(void **state)
{
    (void)state;
    static const uint32_t offset[2] = {0, 3};
    static const float reward[3] = {0, 0, 1}, value[3] = {0.5f, 0.6f, 0.7f};
    static const float want[3] = {0.99134365f, 0.01709213f, -1.00843578f};
    static const float want_ret[3] = {0.96575f, 0.985f, 1.0f};
    const struct advantage_params params = {
        .kind = ADVANTAGE_GAE, .whiten = ADVANTAGE_WHITEN_UNBIASED, .gamma = 1, .lambda = 0.95};
    const struct advantage_batch in = {
        .rows = 1, .offset = offset, .token_reward = reward, .value = value};
    float adv[3], ret[3];
    check_ok(advantage_compute(&params, &in, adv, ret, &err));
    check_close(adv, want, 3, 5e-7, 5e-7);
    check_close(ret, want_ret, 3, 2e-7, 0);
}

static void advantage_of_a_response_left_alone_is_0(void **state)
{
    (void)state;
    static const double R[3] = {3, 1, 2};
    static const uint32_t group[3] = {0, 4, 4};
    static const float want[3] = {0, -1, 1};
    const struct advantage_params params = {.kind = ADVANTAGE_RLOO};
    const struct advantage_batch in = {
        .rows = 3, .offset = unit_offset, .sequence_reward = R, .group = group};
    float adv[3];
    check_ok(advantage_compute(&params, &in, adv, NULL, &err));
    check_close(adv, want, 3, 0, 1e-300);
}

static void advantage_refuses_bad_input(void **state)
{
    (void)state;
    const double R[3] = {3, NAN, 2}, fine[3] = {3, 1, 2};
    const float reward[3] = {0, INFINITY, 0};
    static const uint32_t falling[3] = {1, 1, 0};
    float adv[3];
    struct advantage_params params = {.kind = ADVANTAGE_DR_GRPO};
    struct advantage_batch in = {
        .rows = 3, .offset = unit_offset, .sequence_reward = R, .group = falling};
    check_fails(advantage_compute(&params, &in, adv, NULL, &err), ERR_VALUE,
                "response 1 has reward nan");
    in.sequence_reward = fine;
    check_fails(advantage_compute(&params, &in, adv, NULL, &err), ERR_VALUE,
                "response 2 is of group 0, after 1");
    in.sequence_reward = NULL;
    in.token_reward = reward;
    check_fails(advantage_compute(&params, &in, adv, NULL, &err), ERR_VALUE,
                "response 1 token 0 has reward inf");

    static const uint8_t lonely[3] = {0, 0, 1};
    params = (struct advantage_params){
        .kind = ADVANTAGE_REINFORCE_PP, .gamma = 1, .whiten = ADVANTAGE_WHITEN_BIASED};
    in.mask = lonely;
    check_fails(advantage_compute(&params, &in, adv, NULL, &err), ERR_VALUE,
                "cannot whiten over 1 response token");
}

static void advantage_refuses_bad_settings(void **state)
{
    (void)state;
    struct advantage_params bad = {.kind = ADVANTAGE_RLOO};
    check_fails(advantage_check(&bad, 1, &err), ERR_USAGE, "rloo needs 2 samples per prompt");
    bad = (struct advantage_params){.kind = ADVANTAGE_REINFORCE_PP};
    check_fails(advantage_check(&bad, 1, &err), ERR_USAGE, "reinforce_pp is defined with");
    bad = (struct advantage_params){.kind = ADVANTAGE_GRPO};
    check_fails(advantage_check(&bad, 4, &err), ERR_USAGE, "eps is 0");
    bad = (struct advantage_params){.kind = ADVANTAGE_GAE, .gamma = 1.5};
    check_fails(advantage_check(&bad, 1, &err), ERR_USAGE, "gamma is 1.5");
    bad = (struct advantage_params){.kind = ADVANTAGE_GAE, .gamma = 1, .lambda = NAN};
    check_fails(advantage_check(&bad, 1, &err), ERR_USAGE, "lambda is nan");
    assert_true(advantage_needs_critic(ADVANTAGE_GAE) &&
                !advantage_needs_groups(ADVANTAGE_GAE));
    assert_string_equal(advantage_name(ADVANTAGE_DR_GRPO), "dr_grpo");
}

static void moments_merged_are_the_moments_of_all(void **state)
{
    (void)state;
    uint64_t r = 5;
    struct moments all = {0}, merged = {0};
    for (int part = 0; part < 7; part++) {
        struct moments mine = {0};
        for (int i = 0; i < part * 3; i++) { /* the first part is empty */
            const double x = draw_between(&r, 1e6, 1e6 + 1);
            moments_add(&all, x);
            moments_add(&mine, x);
        }
        moments_merge(&merged, &mine);
        if (part == 1)
            assert_memory_equal(&merged, &mine, sizeof merged);
    }
    check_near(merged.n, 63, 0);
    check_near(merged.mean, all.mean, 1e-9);
    check_near(moments_variance(&merged, true), moments_variance(&all, true), 1e-10);

    const struct moments one = {1, 5, 0}; /* one number has no unbiased variance: 0, not NaN */
    check_near(moments_variance(&one, true), 0.0, 0.0);
}

/* PAR's running statistics: batches [1,2,3] and [4,6]. */
static void moments_match_the_vectors_of_running_statistics(void **state)
{
    (void)state;
    struct moments running = {3, 2, 2}, batch = {0};
    check_near(sqrt(moments_variance(&running, false)), 0.81649658, 1e-8);
    moments_add(&batch, 4);
    moments_add(&batch, 6);
    moments_merge(&running, &batch);
    check_near(running.mean, 3.2, 1e-12);
    check_near(sqrt(moments_variance(&running, false)), 1.72046505, 1e-8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(advantage_of_groups_matches_the_vectors),
        cmocka_unit_test(advantage_of_reinforce_pp_matches_the_vectors),
        cmocka_unit_test(advantage_whitening_matches_the_vectors),
        cmocka_unit_test(advantage_of_two_streams_matches_the_vectors),
        cmocka_unit_test(advantage_of_groups_matches_its_definition),
        cmocka_unit_test(advantage_of_reinforce_pp_matches_its_definition),
        cmocka_unit_test(advantage_with_a_critic_is_gae_and_whitens_only_the_advantages),
        cmocka_unit_test(advantage_of_a_response_left_alone_is_0),
        cmocka_unit_test(advantage_refuses_bad_input),
        cmocka_unit_test(advantage_refuses_bad_settings),
        cmocka_unit_test(moments_merged_are_the_moments_of_all),
        cmocka_unit_test(moments_match_the_vectors_of_running_statistics),
    };
    return cmocka_run_group_tests_name("advantage", tests, NULL, NULL);
}
