/*
 * test_control_breaker.c -- every arrow of the breaker's diagram walked by hand, its relative
 * limits held against medians found by counting, and then random samples, on which what its
 * header promises must hold whatever comes.
 */
#include <stdbool.h>

#include "control/breaker.h"
#include "tests/unit/draw.h"
#include "tests/unit/near.h"

#define KL        BREAKER_SIGNAL_KL
#define GRAD_NORM BREAKER_SIGNAL_GRAD_NORM
#define REWARD    BREAKER_SIGNAL_REWARD

/* KL above 10 rolls back, above-median gradients are skipped, entropy below 0.1 halts. */
static struct breaker_params settings(void)
{
    struct breaker_params params;
    breaker_params_init(&params);
    params.window = 7;
    params.warmup = 3;
    params.skips_max = 2;
    params.cooldown = 4;
    params.trips_max = 4;
    params.limit[KL].high = 10.0;
    params.limit[KL].absolute = BREAKER_ROLLBACK;
    params.limit[GRAD_NORM].ratio = 5.0;
    params.limit[GRAD_NORM].relative = BREAKER_SKIP;
    params.limit[BREAKER_SIGNAL_ENTROPY].low = 0.1;
    params.limit[BREAKER_SIGNAL_ENTROPY].absolute = BREAKER_HALT;
    return params;
}

static struct breaker_sample clean(double version)
{
    return (struct breaker_sample){
        .version = version,
        .measured = {true, true, true, true, false, true},
        .value = {0.5, 1.0, 2.0, 3.0, NAN, 0.7}, /* the cost is not measured */
    };
}

static struct breaker_sample with(double version, enum breaker_signal signal, double value)
{
    struct breaker_sample sample = clean(version);
    sample.measured[signal] = true;
    sample.value[signal] = value;
    return sample;
}

static struct breaker_decision feed(const struct breaker_params *params,
                                    struct breaker_state *breaker, struct breaker_sample sample)
{
    const struct breaker_decision decision = breaker_step(params, breaker, &sample);
    check_ok(breaker_check(params, breaker, &err));
    return decision;
}

static void feed_clean(const struct breaker_params *params, struct breaker_state *breaker,
                       double version, int steps)
{
    for (int i = 0; i < steps; i++)
        assert_int_equal(feed(params, breaker, clean(version + i)).outcome, BREAKER_NONE);
}

/* --- the arrows ------------------------------------------------------------------------ */

static void breaker_stays_closed_over_clean_steps(void **state)
{
    (void)state;
    const struct breaker_params params = settings();
    struct breaker_state breaker;
    check_ok(breaker_params_check(&params, &err));
    breaker_init(&breaker);
    check_ok(breaker_check(&params, &breaker, &err));
    assert_true(breaker.good == -1.0);
    feed_clean(&params, &breaker, 5, 20);
    assert_true(breaker.phase == BREAKER_PHASE_CLOSED && breaker.total == 0.0);
    assert_true(breaker.good == 24.0);
    assert_true(breaker.seen[GRAD_NORM] == 7.0 && breaker.seen[BREAKER_SIGNAL_COST] == 0.0);
}

static void breaker_skips_cools_and_closes(void **state)
{
    (void)state;
    const struct breaker_params params = settings();
    struct breaker_state breaker;
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 5);
    const struct breaker_decision skip = feed(&params, &breaker, with(5, GRAD_NORM, 5.001));
    assert_int_equal(skip.outcome, BREAKER_SKIP);
    assert_true(skip.signal == GRAD_NORM && skip.limit == BREAKER_LIMIT_RATIO);
    assert_true(skip.value == 5.001 && skip.bound == 5.0);
    assert_true(skip.lr_scale == 1.0 && skip.beta_scale == 1.0);
    assert_true(breaker.phase == BREAKER_PHASE_COOLING && breaker.trips == 1.0);
    assert_true(breaker.seen[GRAD_NORM] == 5.0); /* what broke a limit is in no median */
    assert_true(breaker.good == 4.0);
    feed_clean(&params, &breaker, 6, 3);
    assert_true(breaker.phase == BREAKER_PHASE_COOLING && breaker.clean == 3.0);
    feed_clean(&params, &breaker, 9, 1);
    assert_true(breaker.phase == BREAKER_PHASE_CLOSED && breaker.trips == 0.0);
    assert_true(breaker.total == 1.0);
}

static void breaker_rolls_back_to_the_last_clean_version(void **state)
{
    (void)state;
    const struct breaker_params params = settings();
    struct breaker_state breaker;
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 3);
    struct breaker_decision back = feed(&params, &breaker, with(3, KL, 10.5));
    assert_int_equal(back.outcome, BREAKER_ROLLBACK);
    assert_true(back.version == 2.0 && back.signal == KL && back.limit == BREAKER_LIMIT_HIGH);
    assert_true(back.lr_scale == 0.5 && back.beta_scale == 2.0);
    /* Another before it has cooled down: the scales multiply. */
    feed_clean(&params, &breaker, 2, 3);
    back = feed(&params, &breaker, with(5, KL, 99.0));
    assert_true(back.version == 4.0 && back.lr_scale == 0.25 && back.beta_scale == 4.0);
    assert_true(breaker.clean == 0.0 && breaker.trips == 2.0);
    assert_true(feed(&params, &breaker, clean(5)).lr_scale == 0.25);
    feed_clean(&params, &breaker, 6, 2);
    const struct breaker_decision cooled = feed(&params, &breaker, clean(8));
    assert_true(cooled.outcome == BREAKER_NONE);
    assert_true(cooled.lr_scale == 1.0 && cooled.beta_scale == 1.0 && cooled.version == 0.0);
}

static void breaker_with_nowhere_to_go_halts(void **state)
{
    (void)state;
    const struct breaker_params params = settings();
    struct breaker_state breaker;
    breaker_init(&breaker);
    assert_int_equal(feed(&params, &breaker, with(0, KL, 11.0)).outcome, BREAKER_HALT);
    assert_true(breaker.phase == BREAKER_PHASE_HALTED && breaker.lr_scale == 1.0);
}

static void breaker_rolls_back_after_skips_in_a_row(void **state)
{
    (void)state;
    struct breaker_params params = settings();
    struct breaker_state breaker;
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 3);
    const struct breaker_sample steep = with(3, GRAD_NORM, INFINITY);
    assert_int_equal(feed(&params, &breaker, steep).outcome, BREAKER_SKIP);
    assert_int_equal(feed(&params, &breaker, steep).outcome, BREAKER_SKIP);
    assert_int_equal(feed(&params, &breaker, steep).outcome, BREAKER_ROLLBACK);
    assert_int_equal(feed(&params, &breaker, steep).outcome, BREAKER_SKIP); /* counts anew */
    /* What halts, halts also where a skip would roll back. */
    assert_int_equal(feed(&params, &breaker, with(3, BREAKER_SIGNAL_LOSS, NAN)).outcome,
                     BREAKER_HALT); /* the fifth trip */
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 3);
    feed(&params, &breaker, steep);
    feed(&params, &breaker, steep);
    assert_int_equal(feed(&params, &breaker, with(3, BREAKER_SIGNAL_ENTROPY, 0)).outcome,
                     BREAKER_HALT);
    /* A clean step between, and they are not in a row. */
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 3);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(feed(&params, &breaker, steep).outcome, BREAKER_SKIP);
        feed_clean(&params, &breaker, 4, 1);
    }
    params.skips_max = 0; /* any number */
    breaker_init(&breaker);
    for (int i = 0; i < 4; i++)
        assert_int_equal(feed(&params, &breaker, steep).outcome, BREAKER_SKIP);
}

static void breaker_halts_after_too_many_trips(void **state)
{
    (void)state;
    const struct breaker_params params = settings();
    struct breaker_state breaker;
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 1);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(feed(&params, &breaker, with(1, KL, 11)).outcome, BREAKER_ROLLBACK);
        feed_clean(&params, &breaker, 1, 3); /* not enough to cool down */
    }
    const struct breaker_decision last = feed(&params, &breaker, with(2, KL, 12));
    assert_int_equal(last.outcome, BREAKER_HALT);
    assert_true(last.lr_scale == 0.0625 && breaker.total == 5.0); /* not scaled once more */
    /* After enough clean steps they are forgiven. */
    breaker_init(&breaker);
    for (int i = 0; i < 20; i++) {
        feed_clean(&params, &breaker, 0, 4);
        assert_int_equal(feed(&params, &breaker, with(1, KL, 11)).outcome, BREAKER_ROLLBACK);
    }
    assert_true(breaker.total == 20.0 && breaker.trips == 1.0);
}

static void breaker_halts_after_too_many_trips_of_the_run(void **state)
{
    (void)state;
    struct breaker_params params = settings();
    params.total_max = 2;
    struct breaker_state breaker;
    breaker_init(&breaker);
    for (int i = 0; i < 2; i++) {
        feed_clean(&params, &breaker, 0, 5);
        assert_int_equal(feed(&params, &breaker, with(1, KL, 11)).outcome, BREAKER_ROLLBACK);
    }
    feed_clean(&params, &breaker, 0, 5);
    assert_int_equal(feed(&params, &breaker, with(1, KL, 11)).outcome, BREAKER_HALT);
    params.total_max = 0;
    params.trips_max = 0;
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 5);
    assert_int_equal(feed(&params, &breaker, with(1, KL, 11)).outcome, BREAKER_HALT);
}

static void breaker_halted_stays_so_until_a_person_resumes(void **state)
{
    (void)state;
    const struct breaker_params params = settings();
    struct breaker_state breaker, before;
    breaker_init(&breaker);
    check_fails(breaker_resume(&breaker, &err), ERR_STATE, "it is closed, not halted");
    feed_clean(&params, &breaker, 0, 3);
    feed(&params, &breaker, with(3, KL, 11));
    check_fails(breaker_resume(&breaker, &err), ERR_STATE, "it is cooling");
    feed(&params, &breaker, with(3, BREAKER_SIGNAL_ENTROPY, 0.05));
    before = breaker;
    for (int i = 0; i < 3; i++) {
        const struct breaker_decision halt =
            feed(&params, &breaker, i == 1 ? with(3, KL, NAN) : clean(3));
        assert_true(halt.outcome == BREAKER_HALT && halt.limit == BREAKER_LIMIT_LOW);
        assert_true(halt.signal == BREAKER_SIGNAL_ENTROPY && halt.value == 0.05);
        assert_true(halt.bound == 0.1 && halt.version == 0.0);
    }
    assert_memory_equal(&breaker, &before, sizeof breaker);
    check_ok(breaker_resume(&breaker, &err));
    check_ok(breaker_check(&params, &breaker, &err));
    assert_true(breaker.phase == BREAKER_PHASE_CLOSED && breaker.total == 2.0);
    assert_true(breaker.lr_scale == 1.0 && breaker.seen[KL] == 3.0);
    feed_clean(&params, &breaker, 3, 2);
}

/* --- the limits ------------------------------------------------------------------------ */

static void breaker_takes_the_severest_and_of_equals_the_first(void **state)
{
    (void)state;
    struct breaker_params params = settings();
    params.limit[REWARD].low = 0.0;
    params.limit[REWARD].absolute = BREAKER_ROLLBACK;
    struct breaker_state breaker;
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 3);
    struct breaker_sample bad = with(3, BREAKER_SIGNAL_LOSS, NAN); /* a skip */
    bad.value[REWARD] = -1.0;                                      /* a rollback */
    bad.value[KL] = 20.0;                                          /* a rollback, before it */
    const struct breaker_decision back = feed(&params, &breaker, bad);
    assert_true(back.outcome == BREAKER_ROLLBACK && back.signal == KL && back.value == 20.0);
    bad.value[BREAKER_SIGNAL_ENTROPY] = 0.0;
    const struct breaker_decision halt = feed(&params, &breaker, bad);
    assert_true(halt.outcome == BREAKER_HALT && halt.signal == BREAKER_SIGNAL_ENTROPY);
}

static void breaker_limits_are_the_last_values_allowed(void **state)
{
    (void)state;
    const struct breaker_params params = settings();
    struct breaker_state breaker;
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 3);
    assert_int_equal(feed(&params, &breaker, with(3, KL, 10.0)).outcome, BREAKER_NONE);
    assert_int_equal(feed(&params, &breaker, with(4, GRAD_NORM, 5.0)).outcome, BREAKER_NONE);
    assert_int_equal(feed(&params, &breaker, with(5, BREAKER_SIGNAL_ENTROPY, 0.1)).outcome,
                     BREAKER_NONE);
}

static void breaker_relative_limits_wait_for_the_warm_up(void **state)
{
    (void)state;
    const struct breaker_params params = settings();
    struct breaker_state breaker;
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 2);
    assert_int_equal(feed(&params, &breaker, with(2, GRAD_NORM, 1e6)).outcome, BREAKER_NONE);
    /* 1, 1 and 1e6: the median is 1 all the same */
    assert_int_equal(feed(&params, &breaker, with(3, GRAD_NORM, 1e6)).outcome, BREAKER_SKIP);
}

/* A gradient of 50 breaks a ratio of 5 over a median of 1, of 50 once that is what it is. */
static void breaker_forgets_one_signal_alone(void **state)
{
    (void)state;
    const struct breaker_params params = settings();
    struct breaker_state breaker;
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 5);
    struct breaker_state before = breaker;
    breaker_forget(&breaker, GRAD_NORM);
    check_ok(breaker_check(&params, &breaker, &err));
    assert_true(breaker.seen[GRAD_NORM] == 0.0 && breaker.seen[KL] == 5.0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(feed(&params, &breaker, with(5 + i, GRAD_NORM, 50)).outcome,
                         BREAKER_NONE);
    assert_int_equal(feed(&params, &breaker, with(8, GRAD_NORM, 200)).outcome, BREAKER_NONE);
    assert_int_equal(feed(&params, &breaker, with(9, GRAD_NORM, 300)).outcome, BREAKER_SKIP);
    assert_int_equal(feed(&params, &before, with(5, GRAD_NORM, 50)).outcome, BREAKER_SKIP);
}

static void breaker_ratio_needs_a_median_above_0(void **state)
{
    (void)state;
    const struct breaker_params params = settings();
    struct breaker_state breaker;
    breaker_init(&breaker);
    for (int i = 0; i < 5; i++)
        feed(&params, &breaker, with(i, GRAD_NORM, 0.0));
    assert_int_equal(feed(&params, &breaker, with(5, GRAD_NORM, 3.0)).outcome, BREAKER_NONE);
}

/* Of seven rewards 1 2 4 8 16 32 64: median 8, distances 7 6 4 0 8 24 56, MAD 7. */
static void breaker_deviations_are_measured_from_the_median(void **state)
{
    (void)state;
    struct breaker_params params = settings();
    params.limit[REWARD].deviations = 2.0;
    params.limit[REWARD].relative = BREAKER_SKIP;
    static const double rewards[7] = {16, 1, 64, 4, 2, 32, 8};
    const double reach = 2.0 * 1.4826 * 7.0;
    struct breaker_state breaker, filled;
    breaker_init(&breaker);
    params.warmup = 7;
    for (int i = 0; i < 7; i++)
        assert_int_equal(feed(&params, &breaker, with(i, REWARD, rewards[i])).outcome,
                         BREAKER_NONE);
    filled = breaker;
    assert_int_equal(feed(&params, &breaker, with(7, REWARD, 8.0 + reach - 1e-9)).outcome,
                     BREAKER_NONE);
    breaker = filled;
    assert_int_equal(feed(&params, &breaker, with(7, REWARD, 8.0 - reach + 1e-9)).outcome,
                     BREAKER_NONE);
    breaker = filled;
    struct breaker_decision skip = feed(&params, &breaker, with(7, REWARD, 8.0 + reach + 1e-9));
    assert_int_equal(skip.outcome, BREAKER_SKIP);
    assert_int_equal(skip.limit, BREAKER_LIMIT_DEVIATIONS);
    check_near(skip.bound, 8.0 + reach, 1e-12);
    skip = feed(&params, &breaker, with(7, REWARD, 8.0 - reach - 1e-9));
    assert_int_equal(skip.outcome, BREAKER_SKIP);
    check_near(skip.bound, 8.0 - reach, 1e-12);
}

static void breaker_deviations_need_some_spread(void **state)
{
    (void)state;
    struct breaker_params params = settings();
    params.limit[REWARD].deviations = 2.0;
    params.limit[REWARD].relative = BREAKER_SKIP;
    struct breaker_state breaker;
    breaker_init(&breaker);
    feed_clean(&params, &breaker, 0, 7);
    assert_int_equal(feed(&params, &breaker, with(7, REWARD, 50.0)).outcome, BREAKER_NONE);
}

/* The k-th smallest of x (n), k from 0: no more than k lie below it, more than k at or below. */
static double kth(const double *x, int n, int k)
{
    for (int i = 0; i < n; i++) {
        int below = 0, equal = 0;
        for (int j = 0; j < n; j++) {
            below += x[j] < x[i];
            equal += x[j] == x[i];
        }
        if (below <= k && k < below + equal)
            return x[i];
    }
    return NAN;
}

/* The bound a decision names, divided by the ratio, is the median of the clean steps. */
static void breaker_medians_are_over_the_last_clean_steps(void **state)
{
    (void)state;
    struct breaker_params params = settings();
    params.trips_max = 64;
    params.limit[GRAD_NORM].ratio = 1.5;
    for (params.window = 3; params.window <= BREAKER_WINDOW_MAX; params.window++) {
        uint64_t seed = params.window;
        struct breaker_state breaker;
        double history[200];
        int n = 0, trips = 0;
        breaker_init(&breaker);
        for (int t = 0; t < 200; t++) {
            const double norm = draw_between(&seed, 0.5, 2.0);
            const struct breaker_decision decision =
                feed(&params, &breaker, with(t, GRAD_NORM, norm));
            if (decision.outcome == BREAKER_HALT)
                break;
            if (decision.outcome == BREAKER_NONE) {
                history[n++] = norm;
                continue;
            }
            const int held = n < (int)params.window ? n : (int)params.window;
            const double *last = history + n - held;
            const double median =
                0.5 * (kth(last, held, (held - 1) / 2) + kth(last, held, held / 2));
            check_near(decision.bound, 1.5 * median, 1e-14);
            trips++;
        }
        assert_true(trips > 10);
    }
}

/* --- anything at all ------------------------------------------------------------------- */

static double anything(uint64_t *seed)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 1e308, -1e308, 0.0, 5e-324};
    const uint32_t which = draw_bits(seed) % 64;
    return which < COUNT(odd) ? odd[which] : draw_between(seed, -3.0, 12.0);
}

static struct breaker_params any_settings(uint64_t *seed)
{
    struct breaker_params params;
    breaker_params_init(&params);
    for (int i = 0; i < BREAKER_SIGNALS; i++) {
        struct breaker_limits *limits = &params.limit[i];
        limits->low = draw_bits(seed) % 2 ? -2.5 : -INFINITY;
        limits->high = draw_bits(seed) % 2 ? 11.0 : INFINITY;
        limits->ratio = draw_bits(seed) % 2 ? 2.0 : 0.0;
        limits->deviations = draw_bits(seed) % 2 ? 3.0 : 0.0;
        limits->absolute = (enum breaker_outcome)(1 + draw_bits(seed) % 20 % 3);
        limits->relative = (enum breaker_outcome)(1 + draw_bits(seed) % 2);
    }
    params.not_finite = (enum breaker_outcome)(1 + draw_bits(seed) % 2);
    params.window = 3 + draw_bits(seed) % 30;
    params.warmup = 3;
    params.skips_max = draw_bits(seed) % 4;
    params.cooldown = 1 + draw_bits(seed) % 4;
    params.trips_max = draw_bits(seed) % 20;
    params.total_max = draw_bits(seed) % 2 ? 30 : 0;
    return params;
}

static struct breaker_sample any_sample(uint64_t *seed, double version, bool *finite)
{
    struct breaker_sample sample = {.version = version};
    *finite = true;
    const uint32_t wild = draw_bits(seed) % 3; /* some runs of steps are quiet */
    for (int i = 0; i < BREAKER_SIGNALS; i++) {
        sample.measured[i] = i == 0 || draw_bits(seed) % 8 > 0;
        sample.value[i] = wild == 0 ? anything(seed) : draw_between(seed, 1.0, 1.5);
        *finite = *finite && (!sample.measured[i] || isfinite(sample.value[i]));
    }
    return sample;
}

static void breaker_keeps_its_promises_whatever_comes(void **state)
{
    (void)state;
    int seen[BREAKER_HALT + 1] = {0};
    for (uint64_t run = 1; run <= 300; run++) {
        uint64_t seed = run;
        const struct breaker_params params = any_settings(&seed);
        check_ok(breaker_params_check(&params, &err));
        struct breaker_state breaker, twin;
        breaker_init(&breaker);
        double trips = 0, in_a_row = 0, good = -1;
        bool halted = false;
        for (int t = 0; t < 120; t++) {
            bool finite;
            const struct breaker_sample sample = any_sample(&seed, t, &finite);
            double written[BREAKER_STATE_N];
            memcpy(written, &breaker, sizeof written);
            memcpy(&twin, written, sizeof twin);
            const struct breaker_decision decision = breaker_step(&params, &breaker, &sample);
            const struct breaker_decision again = breaker_step(&params, &twin, &sample);
            check_ok(breaker_check(&params, &breaker, &err));
            assert_memory_equal(&twin, &breaker, sizeof twin);
            assert_true(again.outcome == decision.outcome && again.bound == decision.bound);
            seen[decision.outcome]++;

            assert_true(finite || decision.outcome >= params.not_finite);
            assert_true(!halted || decision.outcome == BREAKER_HALT);
            if (!halted && decision.outcome != BREAKER_NONE) {
                trips++;
                in_a_row++;
            }
            assert_true(breaker.total == trips);
            assert_true(in_a_row <= params.trips_max || decision.outcome == BREAKER_HALT);
            assert_true(params.total_max == 0 || trips <= params.total_max ||
                        decision.outcome == BREAKER_HALT);
            if (decision.outcome == BREAKER_ROLLBACK)
                assert_true(decision.version == good && good >= 0);
            if (decision.outcome == BREAKER_NONE)
                good = t;
            if (breaker.phase == BREAKER_PHASE_CLOSED)
                in_a_row = 0;
            halted = decision.outcome == BREAKER_HALT;
            assert_true(halted == (breaker.phase == BREAKER_PHASE_HALTED));
            assert_true(decision.lr_scale > 0 && decision.lr_scale <= 1);
            assert_true(decision.beta_scale * decision.lr_scale == 1); /* 2^k and 2^-k */
        }
    }
    for (int i = 0; i <= BREAKER_HALT; i++)
        assert_true(seen[i] > 100);
}

/* --- what is refused ------------------------------------------------------------------- */

static void breaker_refuses_bad_settings(void **state)
{
    (void)state;
    struct breaker_params bad = settings();
    bad.warmup = 2;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "a warm-up of 2");
    bad.warmup = 8;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "7 steps with a warm-up of 8");
    bad = settings();
    bad.window = 33;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "a window of 33");
    bad = settings();
    bad.cooldown = 0;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "cool-down is 0");
    bad = settings();
    bad.trips_max = 65;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "trips_max is 65");
    bad = settings();
    bad.not_finite = BREAKER_NONE;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "must not be trained on");
    bad = settings();
    bad.lr_factor = 0.0;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "lr_factor is 0, must be 0.01");
    bad.lr_factor = 1.5;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "lr_factor is 1.5");
    bad = settings();
    bad.beta_factor = 0.5;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "beta_factor is 0.5");
    bad.beta_factor = INFINITY;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "beta_factor is inf");
    bad = settings();
    bad.limit[KL].low = 10.0;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "kl is held between 10 and 10");
    bad = settings();
    bad.limit[KL].high = NAN;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "kl is held between -inf and nan");
    bad = settings();
    bad.limit[GRAD_NORM].ratio = 1.0;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "grad_norm's ratio is 1");
    bad.limit[GRAD_NORM].ratio = NAN;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "grad_norm's ratio is nan");
    bad = settings();
    bad.limit[REWARD].deviations = -1.0;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "reward's deviations are -1");
    bad = settings();
    bad.limit[REWARD].deviations = 3.0;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "reward has a limit without");
    bad = settings();
    bad.limit[REWARD].low = 3.0;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "reward has a limit without");
    bad = settings();
    bad.limit[REWARD].high = 3.0;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "reward has a limit without");
    bad = settings();
    bad.limit[REWARD].ratio = 3.0;
    check_fails(breaker_params_check(&bad, &err), ERR_USAGE, "reward has a limit without");
}

static void breaker_that_rolls_back_has_to_change_something(void **state)
{
    (void)state;
    struct breaker_params params;
    breaker_params_init(&params);
    check_ok(breaker_params_check(&params, &err));
    params.lr_factor = params.beta_factor = 1.0;
    check_fails(breaker_params_check(&params, &err), ERR_USAGE, "what it did before");
    params.skips_max = 0; /* now nothing rolls back */
    check_ok(breaker_params_check(&params, &err));
    params.not_finite = BREAKER_ROLLBACK;
    check_fails(breaker_params_check(&params, &err), ERR_USAGE, "what it did before");
    params.not_finite = BREAKER_HALT;
    params.limit[KL].high = 3.0;
    params.limit[KL].absolute = BREAKER_ROLLBACK;
    check_fails(breaker_params_check(&params, &err), ERR_USAGE, "what it did before");
    params.beta_factor = 1.5;
    check_ok(breaker_params_check(&params, &err));
    params.beta_factor = 1.0;
    params.skips_max = 2; /* skips become rollbacks */
    params.limit[KL].absolute = BREAKER_SKIP;
    check_fails(breaker_params_check(&params, &err), ERR_USAGE, "what it did before");
    params.limit[KL].absolute = BREAKER_HALT;
    check_ok(breaker_params_check(&params, &err));
    params.limit[KL].relative = BREAKER_SKIP;
    check_fails(breaker_params_check(&params, &err), ERR_USAGE, "what it did before");
}

static void breaker_refuses_a_state_it_cannot_have_left(void **state)
{
    (void)state;
    const struct breaker_params params = settings();
    struct breaker_state cooling;
    breaker_init(&cooling);
    feed_clean(&params, &cooling, 0, 3);
    feed(&params, &cooling, with(3, KL, 11));
    const struct {
        size_t at;
        double value;
    } faults[] = {
        {offsetof(struct breaker_state, phase), 3},
        {offsetof(struct breaker_state, phase), BREAKER_PHASE_CLOSED},
        {offsetof(struct breaker_state, trips), 0},
        {offsetof(struct breaker_state, trips), 5},
        {offsetof(struct breaker_state, total), 0},
        {offsetof(struct breaker_state, total), NAN},
        {offsetof(struct breaker_state, skips), 2},
        {offsetof(struct breaker_state, clean), 4},
        {offsetof(struct breaker_state, clean), 0.5},
        {offsetof(struct breaker_state, good), -2},
        {offsetof(struct breaker_state, good), INFINITY},
        {offsetof(struct breaker_state, lr_scale), 0},
        {offsetof(struct breaker_state, lr_scale), 2},
        {offsetof(struct breaker_state, beta_scale), 0.5},
        {offsetof(struct breaker_state, beta_scale), INFINITY},
        {offsetof(struct breaker_state, signal), BREAKER_SIGNALS},
        {offsetof(struct breaker_state, limit), -1},
        {offsetof(struct breaker_state, value), NAN},
        {offsetof(struct breaker_state, bound), INFINITY},
        {offsetof(struct breaker_state, seen), 8},
        {offsetof(struct breaker_state, seen), 2},
        {offsetof(struct breaker_state, window), NAN},
        {offsetof(struct breaker_state, window) + sizeof(double) * (BREAKER_WINDOW_MAX - 1), 1},
        {offsetof(struct breaker_state, window) + sizeof cooling.window - sizeof(double), 1},
    };
    check_ok(breaker_check(&params, &cooling, &err));
    for (size_t i = 0; i < COUNT(faults); i++) {
        struct breaker_state bad = cooling;
        memcpy((char *)&bad + faults[i].at, &faults[i].value, sizeof(double));
        check_fails(breaker_check(&params, &bad, &err), ERR_VALUE, "breaker: the state");
    }
    struct breaker_state bad = cooling;
    bad.total = 9;
    bad.trips = 5; /* the fifth halts */
    check_fails(breaker_check(&params, &bad, &err), ERR_VALUE, "phase 1 after 5 trips of 9");
    breaker_init(&bad);
    bad.phase = BREAKER_PHASE_HALTED;
    check_fails(breaker_check(&params, &bad, &err), ERR_VALUE, "phase 2 after 0 trips");
}

static void breaker_explains_itself(void **state)
{
    (void)state;
    char text[BREAKER_TEXT_MAX];
    struct breaker_decision decision = {.outcome = BREAKER_SKIP,
                                        .signal = GRAD_NORM,
                                        .limit = BREAKER_LIMIT_RATIO,
                                        .value = 50,
                                        .bound = 20};
    breaker_explain(&decision, text);
    assert_string_equal(text, "grad_norm is 50, above 20 (ratio)");
    decision.value = 2;
    decision.limit = BREAKER_LIMIT_LOW;
    breaker_explain(&decision, text);
    assert_string_equal(text, "grad_norm is 2, below 20 (low)");
    decision.limit = BREAKER_LIMIT_FINITE;
    breaker_explain(&decision, text);
    assert_string_equal(text, "grad_norm is not finite");
    decision.outcome = BREAKER_NONE;
    breaker_explain(&decision, text);
    assert_string_equal(text, "");
    assert_string_equal(breaker_outcome_name(BREAKER_ROLLBACK), "rollback");
    assert_string_equal(breaker_phase_name(BREAKER_PHASE_COOLING), "cooling");
    assert_string_equal(breaker_phase_name((enum breaker_phase)9), "?");
    assert_string_equal(breaker_outcome_name((enum breaker_outcome)9), "?");
    assert_string_equal(breaker_signal_name((enum breaker_signal)9), "?");
    assert_string_equal(breaker_limit_name((enum breaker_limit)9), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(breaker_stays_closed_over_clean_steps),
        cmocka_unit_test(breaker_skips_cools_and_closes),
        cmocka_unit_test(breaker_rolls_back_to_the_last_clean_version),
        cmocka_unit_test(breaker_with_nowhere_to_go_halts),
        cmocka_unit_test(breaker_rolls_back_after_skips_in_a_row),
        cmocka_unit_test(breaker_halts_after_too_many_trips),
        cmocka_unit_test(breaker_halts_after_too_many_trips_of_the_run),
        cmocka_unit_test(breaker_halted_stays_so_until_a_person_resumes),
        cmocka_unit_test(breaker_takes_the_severest_and_of_equals_the_first),
        cmocka_unit_test(breaker_limits_are_the_last_values_allowed),
        cmocka_unit_test(breaker_relative_limits_wait_for_the_warm_up),
        cmocka_unit_test(breaker_forgets_one_signal_alone),
        cmocka_unit_test(breaker_ratio_needs_a_median_above_0),
        cmocka_unit_test(breaker_deviations_are_measured_from_the_median),
        cmocka_unit_test(breaker_deviations_need_some_spread),
        cmocka_unit_test(breaker_medians_are_over_the_last_clean_steps),
        cmocka_unit_test(breaker_keeps_its_promises_whatever_comes),
        cmocka_unit_test(breaker_refuses_bad_settings),
        cmocka_unit_test(breaker_that_rolls_back_has_to_change_something),
        cmocka_unit_test(breaker_refuses_a_state_it_cannot_have_left),
        cmocka_unit_test(breaker_explains_itself),
    };
    return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
