/*
 * test_control_ppo.c -- losses, gradients, weights and statistics of PPO.
 *
 * Three oracles: the vectors of ALGORITHMS, section 5 (themselves checked against central
 * differences of a softmax); central differences of the loss as ppo_stats reports it, in
 * double; and the definitions with plain sums.  The tolerance of differences is 1e-6: step
 * 1e-5, whose truncation error is about 1e-10 and whose rounding error about 1e-11.
 */
#include "control/ppo.h"
#include "tests/unit/draw.h"
#include "tests/unit/near.h"

enum { N = 40 };

static const struct ppo_params usual = {
    .clip_low = 0.2, .clip_high = 0.2, .value_clip = 0.2, .value_coef = 1.0};

static const double p[3] = {0.45659032, 0.33825043, 0.20515925}; /* softmax of .5 .2 -.3 */
static const double logp = -0.78396875;                          /* of token 0 */

static void ppo_policy_matches_the_vectors(void **state)
{
    (void)state;
    static const struct {
        double logp_old, adv, loss, dz[3];
        bool clipped;
    } cases[] = {
        {-0.8, 1, -1.01616044, {-0.55219142, 0.34371670, 0.20847472}, false},
        {-1.2, 1, -1.2, {0, 0, 0}, true},
        {-1.2, -1, 1.51593324, {0.82377280, -0.51276507, -0.31100773}, false},
        {-0.5, -1, 0.8, {0, 0, 0}, true},
        {-0.5, 1, -0.75279017, {-0.40907347, 0.25463160, 0.15444187}, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        double gradient;
        bool clipped;
        check_near(ppo_policy_token(&usual, logp, cases[i].logp_old, cases[i].adv, &gradient,
                                    &clipped),
                   cases[i].loss, 1e-7);
        assert_int_equal(clipped, cases[i].clipped);
        for (int k = 0; k < 3; k++) /* d logp / d z_k = [k = a] - p_k */
            check_near(gradient * ((k == 0) - p[k]), cases[i].dz[k], 1e-7);
    }
}

static void ppo_dual_clip_bounds_the_loss(void **state)
{
    (void)state;
    struct ppo_params dual = usual;
    dual.dual_clip = 3.0;
    double gradient;
    bool clipped;
    check_near(ppo_policy_token(&dual, log(4.0), 0.0, -1.0, &gradient, &clipped), 3.0, 1e-12);
    assert_true(gradient == 0.0 && clipped);
    check_near(ppo_policy_token(&dual, log(2.9), 0.0, -1.0, &gradient, &clipped), 2.9, 1e-12);
    check_near(gradient, 2.9, 1e-12);
    check_near(ppo_policy_token(&usual, log(4.0), 0.0, -1.0, &gradient, &clipped), 4.0, 1e-12);
    check_near(ppo_policy_token(&dual, log(4.0), 0.0, 1.0, &gradient, &clipped), -1.2, 1e-12);
}

static void ppo_clip_may_be_asymmetric_and_ties_are_not_clipped(void **state)
{
    (void)state;
    struct ppo_params wide = usual;
    wide.clip_high = 0.28;
    double gradient;
    bool clipped;
    check_near(ppo_policy_token(&wide, log(1.25), 0.0, 1.0, &gradient, &clipped), -1.25, 1e-12);
    assert_true(!clipped);
    check_near(ppo_policy_token(&wide, log(1.5), 0.0, 1.0, &gradient, &clipped), -1.28, 1e-12);
    assert_true(clipped);
    check_near(ppo_policy_token(&wide, log(0.7), 0.0, -1.0, &gradient, &clipped), 0.8, 1e-12);
    assert_true(clipped);
    check_near(ppo_policy_token(&wide, -1.0, -1.0, 1.0, &gradient, &clipped), -1.0, 0.0);
    assert_true(!clipped && gradient == -1.0);
    check_near(ppo_policy_token(&wide, -1.0, -9.0, 0.0, &gradient, &clipped), 0.0, 0.0);
    assert_true(!clipped);
}

static void ppo_log_ratio_is_clamped(void **state)
{
    (void)state;
    double gradient;
    bool clipped;
    const double loss = ppo_policy_token(&usual, 0.0, -800.0, -1.0, &gradient, &clipped);
    check_near(loss, exp(20.0), 1e-3); /* not inf */
    assert_true(gradient == 0.0);
}

static void ppo_value_matches_the_vectors(void **state)
{
    (void)state;
    static const double cases[][5] = {{0.9, 0.5, 1, 0.045, 0},
                                      {0.6, 0.5, 1, 0.08, -0.4},
                                      {0.9, 0.5, 0.6, 0.045, 0.3},
                                      {0.1, 0.5, 1, 0.405, -0.9}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        double gradient;
        bool clipped;
        check_near(
            ppo_value_token(&usual, cases[i][0], cases[i][1], cases[i][2], &gradient, &clipped),
            cases[i][3], 1e-12);
        check_near(gradient, cases[i][4], 1e-12);
        assert_int_equal(clipped, cases[i][4] == 0.0);
    }
    struct ppo_params open = usual;
    open.value_clip = 0.0;
    double gradient;
    bool clipped;
    check_near(ppo_value_token(&open, 0.9, 0.5, 1, &gradient, &clipped), 0.005, 1e-12);
    check_near(gradient, -0.1, 1e-12);
}

/* One response of three tokens through the array functions: PPO-Lagrangian, section 5. */
static void ppo_of_a_response_matches_the_vectors(void **state)
{
    (void)state;
    static const uint32_t offset[2] = {0, 3};
    static const float adv[3] = {0.515825f, 0.5535f, 0.53f};
    static const float old[3] = {-1.0f, -2.0f, -0.5f}, new_[3] = {-0.9f, -2.3f, -0.5f};
    static const float value_old[3] = {0.5f, 0.6f, 0.7f}, value[3] = {0.8f, 0.9f, 1.0f};
    static const float ret[3] = {1.8877f, 1.966f, 1.98f};
    struct ppo_params params = usual;
    params.value_clip = 5.0;
    params.aggregation = PPO_SEQUENCE_MEAN;
    float weight[3], dlogp[3], dvalue[3];
    struct ppo_stats stats = {0};
    check_ok(ppo_weights(&params, 1, offset, NULL, weight, &err));
    const struct ppo_policy_batch policy = {
        .n = 3, .weight = weight, .logp = new_, .logp_old = old, .adv = adv};
    check_ok(ppo_policy(&params, &policy, dlogp, NULL, &stats, &err));
    const struct ppo_value_batch critic = {
        .n = 3, .weight = weight, .value = value, .value_old = value_old, .ret = ret};
    check_ok(ppo_value(&params, &critic, dvalue, &stats, &err));

    check_near(stats.policy_loss, -0.50337256, 1e-7);
    check_near(stats.value_loss, 0.54664122, 1e-7);
    check_near(ppo_summarize(&stats).ratio, (1.10517092 + 0.74081822 + 1.0) / 3.0, 1e-7);
    const float want[3] = {(float)(-1.10517092 * 0.515825 / 3),
                           (float)(-0.74081822 * 0.5535 / 3), -0.53f / 3};
    check_close(dlogp, want, 3, 3e-7, 0);
}

static double aggregate(enum ppo_aggregation aggregation, const uint8_t *mask)
{
    static const uint32_t offset[5] = {0, 4, 4, 6, 9}; /* an empty and a masked response */
    static const float loss[9] = {1, 1, 1, 1, 3, 3, 50, 50, 50};
    const struct ppo_params params = {.aggregation = aggregation, .aggregation_tokens = 5};
    float weight[9];
    double sum = 0.0;
    check_ok(ppo_weights(&params, 4, offset, mask, weight, &err));
    for (size_t i = 0; i < 9; i++)
        sum += (double)weight[i] * (double)loss[i];
    return sum;
}

static void ppo_weights_match_the_vectors(void **state)
{
    (void)state;
    static const uint8_t mask[9] = {1, 1, 1, 1, 1, 1, 0, 0, 0};
    check_near(aggregate(PPO_TOKEN_MEAN, mask), 1.66666667, 2e-7);
    check_near(aggregate(PPO_SEQUENCE_MEAN, mask), 2.0, 2e-7);
    check_near(aggregate(PPO_SEQUENCE_SUM, mask), 5.0, 2e-7);
    check_near(aggregate(PPO_CONSTANT, mask), 1.0, 2e-7); /* 10 / (2 responses * 5) */
    check_near(aggregate(PPO_SEQUENCE_SUM, NULL), (4.0 + 6.0 + 150.0) / 3.0, 1e-5);

    static const uint8_t nothing[9] = {0};
    static const uint32_t offset[2] = {0, 9};
    float weight[9];
    check_fails(ppo_weights(&usual, 1, offset, nothing, weight, &err), ERR_VALUE,
                "of 1 responses no token counts");
}

struct drawn {
    float weight[N], logp[N], logp_old[N], adv[N], logref[N], entropy[N];
    float value[N], value_old[N], ret[N];
};

static void draw(uint64_t seed, struct drawn *d)
{
    uint64_t r = seed;
    draw_fill(&r, d->weight, N, 0.01, 0.1);
    draw_fill(&r, d->logp_old, N, -3, -0.2);
    draw_fill(&r, d->adv, N, -2, 2);
    draw_fill(&r, d->entropy, N, 0, 3);
    draw_fill(&r, d->value_old, N, -1, 1);
    draw_fill(&r, d->ret, N, -1, 1);
    for (size_t i = 0; i < N; i++) {
        d->logp[i] = (float)((double)d->logp_old[i] + draw_between(&r, -0.5, 0.5));
        d->logref[i] = (float)((double)d->logp_old[i] + draw_between(&r, -0.5, 0.5));
        d->value[i] = (float)((double)d->value_old[i] + draw_between(&r, -0.6, 0.6));
        if (i % 7 == 3)
            d->weight[i] = 0.0f;
    }
}

static struct ppo_policy_batch policy_batch(const struct drawn *d)
{
    return (struct ppo_policy_batch){.n = N,
                                     .weight = d->weight,
                                     .logp = d->logp,
                                     .logp_old = d->logp_old,
                                     .adv = d->adv,
                                     .logref = d->logref,
                                     .entropy = d->entropy};
}

static struct ppo_value_batch value_batch(const struct drawn *d)
{
    return (struct ppo_value_batch){.n = N,
                                    .weight = d->weight,
                                    .value = d->value,
                                    .value_old = d->value_old,
                                    .ret = d->ret};
}

/* The policy's loss of token i at logp + h, entropy + g, from the definition's words. */
static double policy_oracle(const struct ppo_params *q, const struct drawn *d, size_t i,
                            double h, double g)
{
    const double x = (double)d->logp[i] + h, A = (double)d->adv[i];
    const double ratio = exp(x - (double)d->logp_old[i]), off = x - (double)d->logref[i];
    const double inside = fmin(fmax(ratio, 1.0 - q->clip_low), 1.0 + q->clip_high);
    double gain = fmin(ratio * A, inside * A);
    if (A < 0.0 && q->dual_clip > 0.0)
        gain = fmax(gain, q->dual_clip * A);
    const double kl = q->kl_estimator == KL_K2 ? off * off / 2 : exp(-off) - 1 + off;
    return (double)d->weight[i] *
           (-gain + q->kl_coef * kl - q->entropy_coef * ((double)d->entropy[i] + g));
}

static double value_oracle(const struct ppo_params *q, const struct drawn *d, size_t i,
                           double h)
{
    const double V = (double)d->value[i] + h, old = (double)d->value_old[i];
    const double R = (double)d->ret[i];
    const double inside = fmin(fmax(V, old - q->value_clip), old + q->value_clip);
    return (double)d->weight[i] * q->value_coef * 0.5 * fmax(pow(V - R, 2), pow(inside - R, 2));
}

static const struct ppo_params full[] = {
    {.clip_low = 0.2,
     .clip_high = 0.28,
     .dual_clip = 1.3,
     .value_clip = 0.2,
     .value_coef = 0.5,
     .entropy_coef = 0.01,
     .kl_coef = 0.1,
     .kl_estimator = KL_K3},
    {.clip_low = 0.1,
     .clip_high = 0.1,
     .value_clip = 0.4,
     .value_coef = 1.0,
     .entropy_coef = 0.1,
     .kl_coef = 0.5,
     .kl_estimator = KL_K2},
};

static void ppo_gradients_match_differences(void **state)
{
    (void)state;
    const double h = 1e-5;
    uint32_t compared = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        for (size_t k = 0; k < COUNT(full); k++) {
            struct drawn d;
            draw(seed, &d);
            const struct ppo_policy_batch policy = policy_batch(&d);
            const struct ppo_value_batch critic = value_batch(&d);
            struct ppo_stats stats = {0};
            float dlogp[N], dentropy[N], dvalue[N];
            check_ok(ppo_check(&full[k], &err));
            check_ok(ppo_policy(&full[k], &policy, dlogp, dentropy, &stats, &err));
            check_ok(ppo_value(&full[k], &critic, dvalue, &stats, &err));
            for (size_t i = 0; i < N; i++) {
                const double up = policy_oracle(&full[k], &d, i, h, 0);
                const double down = policy_oracle(&full[k], &d, i, -h, 0);
                const double here = policy_oracle(&full[k], &d, i, 0, 0);
                /* At a kink the two one-sided slopes differ: nothing to compare with. */
                if (fabs(up - 2 * here + down) < 1e-9) {
                    check_near((double)dlogp[i], (up - down) / (2 * h), 1e-6);
                    compared++;
                }
                const double more = value_oracle(&full[k], &d, i, h);
                const double less = value_oracle(&full[k], &d, i, -h);
                if (fabs(more - 2 * value_oracle(&full[k], &d, i, 0) + less) < 1e-9)
                    check_near((double)dvalue[i], (more - less) / (2 * h), 1e-6);
                const double g = policy_oracle(&full[k], &d, i, 0, h) -
                                 policy_oracle(&full[k], &d, i, 0, -h);
                check_near((double)dentropy[i], g / (2 * h), 1e-8);
            }
        }
    }
    assert_true(compared > 3900); /* of 4000: kinks are rare */
}

/* What the chain needs from the engine, once, so that signs cannot drift apart: dH/dz of the
 * softmax, against differences and the vector. */
static void ppo_entropy_of_a_softmax_matches_the_vector(void **state)
{
    (void)state;
    static const double want[3] = {-0.12127154, 0.01163496, 0.10963659};
    double H = 0.0;
    for (int k = 0; k < 3; k++)
        H -= p[k] * log(p[k]);
    check_near(H, 1.04957128, 1e-7);
    const struct ppo_params params = {.clip_low = 0.2, .clip_high = 0.2, .entropy_coef = 1.0};
    const float one = 1.0f, zero = 0.0f, entropy = (float)H;
    const struct ppo_policy_batch in = {.n = 1,
                                        .weight = &one,
                                        .logp = &zero,
                                        .logp_old = &zero,
                                        .adv = &zero,
                                        .entropy = &entropy};
    float dlogp, dentropy;
    struct ppo_stats stats = {0};
    check_ok(ppo_policy(&params, &in, &dlogp, &dentropy, &stats, &err));
    for (int k = 0; k < 3; k++) /* the loss falls where the entropy rises */
        check_near((double)dentropy * -p[k] * (log(p[k]) + H), -want[k], 1e-7);
}

static void ppo_statistics_match_their_definitions(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct drawn d;
        draw(seed, &d);
        const struct ppo_params *q = &full[0];
        const struct ppo_policy_batch policy = policy_batch(&d);
        const struct ppo_value_batch critic = value_batch(&d);
        struct ppo_stats stats = {0};
        float dlogp[N], dentropy[N], dvalue[N];
        check_ok(ppo_policy(q, &policy, dlogp, dentropy, &stats, &err));
        check_ok(ppo_value(q, &critic, dvalue, &stats, &err));

        double loss = 0, ratio = 0, kl = 0, entropy = 0, n = 0, mean_ret = 0, mean_off = 0;
        double value_loss = 0, var_ret = 0, var_off = 0, cut = 0, value_cut = 0;
        for (size_t i = 0; i < N; i++) {
            if (d.weight[i] == 0.0f)
                continue;
            const double x = (double)d.logp[i] - (double)d.logp_old[i], A = (double)d.adv[i];
            n += 1;
            loss += policy_oracle(q, &d, i, 0, 0);
            value_loss += value_oracle(q, &d, i, 0);
            ratio += exp(x);
            kl += exp(x) - 1 - x;
            entropy += (double)d.entropy[i];
            mean_ret += (double)d.ret[i];
            mean_off += (double)d.ret[i] - (double)d.value[i];
            cut += (A > 0 && exp(x) > 1.28) || (A < 0 && (exp(x) < 0.8 || exp(x) > 1.3));
            value_cut += dvalue[i] == 0.0f;
        }
        for (size_t i = 0; i < N; i++) {
            const double off = (double)d.ret[i] - (double)d.value[i] - mean_off / n;
            var_ret += d.weight[i] == 0.0f ? 0 : pow((double)d.ret[i] - mean_ret / n, 2);
            var_off += d.weight[i] == 0.0f ? 0 : off * off;
        }
        const struct ppo_summary got = ppo_summarize(&stats);
        check_near(got.policy_loss + q->kl_coef * got.kl_loss -
                       q->entropy_coef * stats.entropy_bonus,
                   loss, 1e-12);
        check_near(q->value_coef * got.value_loss, value_loss, 1e-12);
        check_near(got.ratio, ratio / n, 1e-12);
        check_near(got.approx_kl, kl / n, 1e-12);
        check_near(got.entropy, entropy / n, 1e-12);
        check_near(got.clip_fraction, cut / n, 1e-12);
        check_near(got.value_clip_fraction, value_cut / n, 1e-12);
        check_near(got.explained_variance, 1 - var_off / var_ret, 1e-10);
    }
}

/* The whole batch at once, and in micro-batches merged in order: the gradients have the same
 * bits, and so do the statistics however many ranks computed the parts. */
static void ppo_micro_batches_add_up(void **state)
{
    (void)state;
    static const size_t cuts[] = {0, 7, 8, 21, 40};
    struct drawn d;
    draw(9, &d);
    struct ppo_policy_batch in = policy_batch(&d);
    float whole[N], parts[N], dentropy[N];
    struct ppo_stats all = {0}, merged = {0};
    check_ok(ppo_policy(&full[0], &in, whole, dentropy, &all, &err));
    for (size_t c = 0; c + 1 < COUNT(cuts); c++) {
        const size_t at = cuts[c];
        const struct ppo_policy_batch part = {.n = cuts[c + 1] - at,
                                              .weight = d.weight + at,
                                              .logp = d.logp + at,
                                              .logp_old = d.logp_old + at,
                                              .adv = d.adv + at,
                                              .logref = d.logref + at,
                                              .entropy = d.entropy + at};
        struct ppo_stats mine = {0};
        check_ok(ppo_policy(&full[0], &part, parts + at, dentropy + at, &mine, &err));
        ppo_stats_merge(&merged, &mine);
    }
    assert_memory_equal(whole, parts, sizeof whole);
    check_near(merged.policy_loss, all.policy_loss, 1e-12);
    check_near(merged.tokens, all.tokens, 0);
    check_near(merged.approx_kl, all.approx_kl, 1e-12);
    check_near(merged.kl_loss, all.kl_loss, 1e-12);
    check_near(merged.clipped, all.clipped, 0);
}

static void ppo_merge_adds_every_field(void **state)
{
    (void)state;
    struct ppo_stats a, b;
    double raw[sizeof a / sizeof(double)], twice[sizeof a / sizeof(double)];
    for (size_t i = 0; i < COUNT(raw); i++)
        raw[i] = (double)(i + 1);
    memcpy(&a, raw, sizeof a);
    memcpy(&b, raw, sizeof b);
    a.ret = b.ret = (struct moments){2, 5, 1}; /* merged with itself: n and m2 double */
    a.error = b.error = (struct moments){3, 6, 2};
    memcpy(raw, &a, sizeof a);
    ppo_stats_merge(&a, &b);
    memcpy(twice, &a, sizeof a);
    for (size_t i = 0; i < COUNT(raw); i++) {
        const bool mean = i == COUNT(raw) - 5 || i == COUNT(raw) - 2;
        check_near(twice[i], mean ? raw[i] : 2 * raw[i], 1e-12);
    }
}

static void ppo_stops_when_the_policy_has_moved_too_far(void **state)
{
    (void)state;
    assert_false(ppo_stop(0.015, 0.01));
    assert_true(ppo_stop(0.0151, 0.01));
    assert_false(ppo_stop(9.0, 0.0));
    assert_true(ppo_stop(NAN, 0.0));
}

static void ppo_names_the_token_that_is_not_finite(void **state)
{
    (void)state;
    struct drawn d;
    float dlogp[N], dentropy[N], dvalue[N];
    struct ppo_stats stats = {0};
    draw(1, &d);
    const struct ppo_policy_batch in = policy_batch(&d);
    const struct ppo_value_batch critic = value_batch(&d);
    d.adv[3] = NAN; /* weight 0: not read */
    check_ok(ppo_policy(&full[0], &in, dlogp, dentropy, &stats, &err));
    d.adv[5] = NAN;
    check_fails(ppo_policy(&full[0], &in, dlogp, dentropy, &stats, &err), ERR_VALUE,
                "token 5 has advantage nan");
    d.logref[4] = -INFINITY;
    check_fails(ppo_policy(&full[0], &in, dlogp, dentropy, &stats, &err), ERR_VALUE,
                "token 4 has reference log-prob -inf");
    d.value_old[6] = INFINITY;
    check_fails(ppo_value(&full[0], &critic, dvalue, &stats, &err), ERR_VALUE,
                "token 6 has value");
    d.ret[2] = NAN;
    check_fails(ppo_value(&full[0], &critic, dvalue, &stats, &err), ERR_VALUE,
                "token 2 has value");
}

/* All that goes in is finite; a ratio of e times this advantage is no float. */
static void ppo_names_the_token_whose_gradient_is_not_finite(void **state)
{
    (void)state;
    const float now[] = {-1.0f, -1.0f}, old[] = {-1.0f, -2.0f}, ones[] = {1.0f, 1.0f};
    const float adv[] = {1.0f, -3e38f};
    const struct ppo_policy_batch in = {
        .n = 2, .logp = now, .logp_old = old, .adv = adv, .weight = ones};
    const struct ppo_params params = {.clip_low = 0.2, .clip_high = 0.2};
    float dlogp[2];
    struct ppo_stats stats = {0};
    check_fails(ppo_policy(&params, &in, dlogp, NULL, &stats, &err), ERR_VALUE,
                "token 1 has gradient inf");
}

static void ppo_refuses_bad_settings(void **state)
{
    (void)state;
    check_ok(ppo_check(&usual, &err));
    struct ppo_params bad = usual;
    bad.clip_low = 1.5;
    check_fails(ppo_check(&bad, &err), ERR_USAGE, "clip_low is 1.5");
    bad = usual;
    bad.clip_high = 0.0;
    check_fails(ppo_check(&bad, &err), ERR_USAGE, "clip_high is 0");
    bad = usual;
    bad.dual_clip = 1.0;
    check_fails(ppo_check(&bad, &err), ERR_USAGE, "dual_clip is 1");
    bad = usual;
    bad.kl_coef = 0.1;
    check_fails(ppo_check(&bad, &err), ERR_USAGE, "k1 in the loss has no gradient");
    bad = usual;
    bad.aggregation = PPO_CONSTANT;
    check_fails(ppo_check(&bad, &err), ERR_USAGE, "aggregation_tokens is 0");
    bad = usual;
    bad.entropy_coef = -0.5;
    check_fails(ppo_check(&bad, &err), ERR_USAGE, "entropy_coef is -0.5");
    assert_string_equal(ppo_aggregation_name(PPO_SEQUENCE_MEAN), "sequence_mean");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ppo_policy_matches_the_vectors),
        cmocka_unit_test(ppo_dual_clip_bounds_the_loss),
        cmocka_unit_test(ppo_clip_may_be_asymmetric_and_ties_are_not_clipped),
        cmocka_unit_test(ppo_log_ratio_is_clamped),
        cmocka_unit_test(ppo_value_matches_the_vectors),
        cmocka_unit_test(ppo_of_a_response_matches_the_vectors),
        cmocka_unit_test(ppo_weights_match_the_vectors),
        cmocka_unit_test(ppo_gradients_match_differences),
        cmocka_unit_test(ppo_entropy_of_a_softmax_matches_the_vector),
        cmocka_unit_test(ppo_statistics_match_their_definitions),
        cmocka_unit_test(ppo_micro_batches_add_up),
        cmocka_unit_test(ppo_merge_adds_every_field),
        cmocka_unit_test(ppo_stops_when_the_policy_has_moved_too_far),
        cmocka_unit_test(ppo_names_the_token_that_is_not_finite),
        cmocka_unit_test(ppo_names_the_token_whose_gradient_is_not_finite),
        cmocka_unit_test(ppo_refuses_bad_settings),
    };
    return cmocka_run_group_tests_name("ppo", tests, NULL, NULL);
}
