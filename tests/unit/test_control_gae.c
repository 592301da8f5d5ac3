/*
 * test_control_gae.c -- advantages by hand, by their definition, and on bad input.
 *
 * Two oracles: the vectors of ALGORITHMS, section 5, and the paper's sum over all future
 * deltas, slower than gae_compute and written another way.  Tolerance: results are floats of
 * size about 2 made from floats, so a few units of 1.2e-7.
 */
#include "control/gae.h"
#include "tests/unit/draw.h"
#include "tests/unit/near.h"

enum { ROWS = 6, N_MAX = 64 };

static const uint32_t three[2] = {0, 3};

static void check_vector(const float *reward, const float *value, float bootstrap,
                         struct gae_params params, const float *adv, const float *ret)
{
    const struct gae_batch in = {
        .rows = 1, .offset = three, .reward = reward, .value = value, .bootstrap = &bootstrap};
    float got_adv[3], got_ret[3];
    check_ok(gae_compute(&in, params, got_adv, got_ret, &err));
    check_close(got_adv, adv, 3, 2.4e-7, 1e-7);
    if (ret)
        check_close(got_ret, ret, 3, 2.4e-7, 1e-7);
}

static void gae_matches_the_vectors(void **state)
{
    (void)state;
    static const float value[3] = {0.5f, 0.6f, 0.7f}, cost_value[3] = {0.0f, 0.1f, 0.2f};
    static const float end[3] = {0, 0, 1}, kl[3] = {-0.01f, 0.05f, 1.98f};
    static const float cost[3] = {0.01f, -0.05f, 0.42f};
    const struct gae_params usual = {1.0, 0.95}, short_ = {0.9, 0.8};

    check_vector(end, value, 0.0f, usual, (const float[]){0.46575f, 0.385f, 0.3f},
                 (const float[]){0.96575f, 0.985f, 1.0f});
    check_vector(end, value, 0.0f, short_, (const float[]){0.21712f, 0.246f, 0.3f}, NULL);
    check_vector(end, value, 0.3f, usual, (const float[]){0.7365f, 0.67f, 0.6f}, NULL);
    check_vector(kl, value, 0.0f, usual, (const float[]){1.3877f, 1.366f, 1.28f},
                 (const float[]){1.8877f, 1.966f, 1.98f});
    check_vector(cost, cost_value, 0.0f, usual, (const float[]){0.35605f, 0.259f, 0.22f},
                 (const float[]){0.35605f, 0.359f, 0.42f});
}

/* adv[t] = sum over k of (gamma * lambda)^k * delta of the k-th counted token from t on. */
static void oracle(const struct gae_batch *in, struct gae_params p, float *adv, float *ret)
{
    for (size_t b = 0; b < in->rows; b++) {
        double r[N_MAX], v[N_MAX + 1];
        size_t where[N_MAX], n = 0;
        for (size_t i = in->offset[b]; i < in->offset[b + 1]; i++) {
            adv[i] = ret[i] = 0.0f;
            if (in->mask && !in->mask[i])
                continue;
            r[n] = (double)in->reward[i];
            v[n] = (double)in->value[i];
            where[n++] = i;
        }
        v[n] = (double)in->bootstrap[b];
        for (size_t t = 0; t < n; t++) {
            double sum = 0.0;
            for (size_t k = t; k < n; k++)
                sum += pow(p.gamma * p.lambda, (double)(k - t)) *
                       (r[k] + p.gamma * v[k + 1] - v[k]);
            adv[where[t]] = (float)sum;
            ret[where[t]] = (float)(sum + v[t]);
        }
    }
}

struct drawn {
    uint32_t offset[ROWS + 1];
    float reward[N_MAX], value[N_MAX], bootstrap[ROWS];
    uint8_t mask[N_MAX];
};

static void draw_batch(uint64_t seed, struct drawn *d)
{
    uint64_t r = seed;
    d->offset[0] = 0;
    for (size_t b = 0; b < ROWS; b++) {
        d->offset[b + 1] = d->offset[b] + draw_bits(&r) % 11; /* 0 tokens happen */
        d->bootstrap[b] = draw_bits(&r) % 2 ? (float)draw_between(&r, -2, 2) : 0.0f;
    }
    draw_fill(&r, d->reward, N_MAX, -1, 1);
    draw_fill(&r, d->value, N_MAX, -2, 2);
    for (size_t i = 0; i < N_MAX; i++) {
        d->mask[i] = draw_bits(&r) % 4 != 0;
        if (!d->mask[i]) /* nobody may look */
            d->reward[i] = d->value[i] = NAN;
    }
}

static void gae_matches_its_definition(void **state)
{
    (void)state;
    static const struct gae_params params[] = {
        {1, 0.95}, {0.99, 0.9}, {1, 1}, {1, 0}, {0, 0.5}};
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct drawn d;
        draw_batch(seed, &d);
        const struct gae_batch in = {.rows = ROWS,
                                     .offset = d.offset,
                                     .reward = d.reward,
                                     .value = d.value,
                                     .mask = d.mask,
                                     .bootstrap = d.bootstrap};
        const size_t N = d.offset[ROWS];
        for (size_t k = 0; k < COUNT(params); k++) {
            float adv[N_MAX], ret[N_MAX], want_adv[N_MAX], want_ret[N_MAX];
            memset(adv, 0xff, sizeof adv); /* NaN, should any entry be left unwritten */
            memset(ret, 0xff, sizeof ret);
            check_ok(gae_compute(&in, params[k], adv, ret, &err));
            oracle(&in, params[k], want_adv, want_ret);
            check_close(adv, want_adv, N, 2e-6, 1e-6);
            check_close(ret, want_ret, N, 2e-6, 1e-6);
        }
    }
}

static void gae_steps_over_masked_tokens_as_if_they_were_not_there(void **state)
{
    (void)state;
    static const uint32_t five[2] = {0, 5};
    static const float reward[5] = {0, NAN, 0, NAN, 1}, value[5] = {0.5f, NAN, 0.6f, NAN, 0.7f};
    static const uint8_t mask[5] = {1, 0, 1, 0, 1};
    static const float want[5] = {0.46575f, 0, 0.385f, 0, 0.3f};
    const struct gae_batch in = {
        .rows = 1, .offset = five, .reward = reward, .value = value, .mask = mask};
    float adv[5], ret[5];
    check_ok(gae_compute(&in, (struct gae_params){1, 0.95}, adv, ret, &err));
    check_close(adv, want, 5, 2.4e-7, 1e-7);
}

static void gae_of_a_response_does_not_depend_on_its_batch(void **state)
{
    (void)state;
    struct drawn d;
    draw_batch(77, &d);
    const struct gae_batch in = {.rows = ROWS,
                                 .offset = d.offset,
                                 .reward = d.reward,
                                 .value = d.value,
                                 .mask = d.mask,
                                 .bootstrap = d.bootstrap};
    float adv[N_MAX], ret[N_MAX];
    check_ok(gae_compute(&in, (struct gae_params){1, 0.95}, adv, ret, &err));
    for (size_t b = 0; b < ROWS; b++) {
        const uint32_t at = d.offset[b], alone[2] = {0, d.offset[b + 1] - at};
        const struct gae_batch one = {.rows = 1,
                                      .offset = alone,
                                      .reward = d.reward + at,
                                      .value = d.value + at,
                                      .mask = d.mask + at,
                                      .bootstrap = d.bootstrap + b};
        float adv_one[N_MAX], ret_one[N_MAX];
        check_ok(gae_compute(&one, (struct gae_params){1, 0.95}, adv_one, ret_one, &err));
        assert_memory_equal(adv + at, adv_one, alone[1] * sizeof adv[0]);
        assert_memory_equal(ret + at, ret_one, alone[1] * sizeof ret[0]);
    }
}

static void gae_names_the_token_that_is_not_finite(void **state)
{
    (void)state;
    static const uint32_t offset[3] = {0, 1, 3};
    const float good[3] = {0, 0, 1}, bad[3] = {0, 0, NAN}, cut[2] = {0, INFINITY};
    float adv[3], ret[3];
    struct gae_batch in = {.rows = 2, .offset = offset, .reward = good, .value = bad};
    check_fails(gae_compute(&in, (struct gae_params){1, 1}, adv, ret, &err), ERR_VALUE,
                "response 1 token 1 has reward 1, value nan");
    in.value = good;
    in.bootstrap = cut;
    check_fails(gae_compute(&in, (struct gae_params){1, 1}, adv, ret, &err), ERR_VALUE,
                "response 1 has bootstrap inf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gae_matches_the_vectors),
        cmocka_unit_test(gae_matches_its_definition),
        cmocka_unit_test(gae_steps_over_masked_tokens_as_if_they_were_not_there),
        cmocka_unit_test(gae_of_a_response_does_not_depend_on_its_batch),
        cmocka_unit_test(gae_names_the_token_that_is_not_finite),
    };
    return cmocka_run_group_tests_name("gae", tests, NULL, NULL);
}
