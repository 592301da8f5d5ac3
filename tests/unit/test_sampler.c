/*
 * test_sampler.c -- which tokens may be drawn, how often, and what is refused.
 *
 * Oracle: the filters written naively in double over a fully sorted list, and the binomial
 * law for frequencies: with n draws a count stays within 6 standard deviations of n p.
 */
#include <stdbool.h>
#include <stdlib.h>

#include "engine/kernels/logprob.h"
#include "engine/pool.h"
#include "engine/sampler.h"
#include "tests/test.h"

enum { V = 23, DRAWS = 20000 };

static const struct sampler_params plain = {.temperature = 1.0f, .top_p = 1.0f};

static void logits_fill(float *logits, uint64_t seed)
{
    for (uint32_t v = 0; v < V; v++) {
        const double z = rng_normal(seed, RNG_STREAM_INIT, 0, 0, v) * 2.0;
        logits[v] = (float)(floor(z * 4.0) / 4.0); /* a grid, so that ties occur */
    }
}

static int32_t draw(const struct sampler_params *params, const float *logits, double u)
{
    float weight[V];
    uint32_t index[V];
    const float inverse = 1.0f / sampler_logprob_temperature(params);
    const int32_t best = logprob_weigh(weight, logits, inverse, V).argmax;
    return sampler_draw(params, weight, best, V, u, index);
}

struct entry {
    double p;
    uint32_t id;
};

static int entry_order(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

/* The distribution after truncation; 0 where a token may not be drawn. */
static void oracle(const struct sampler_params *params, const float *logits, double *p)
{
    struct entry sorted[V];
    double sum = 0.0, mass = 0.0, reached = 0.0;
    for (uint32_t v = 0; v < V; v++) {
        sorted[v] = (struct entry){exp((double)logits[v] / (double)params->temperature), v};
        p[v] = 0.0;
    }
    qsort(sorted, V, sizeof sorted[0], entry_order);
    const size_t k = params->top_k && params->top_k < V ? params->top_k : V;
    for (size_t i = 0; i < k; i++)
        mass += sorted[i].p;
    for (size_t i = 0; i < k; i++) {
        if (params->top_p < 1.0f && reached >= (double)params->top_p * mass)
            break;
        reached += sorted[i].p;
        if (sorted[i].p >= (double)params->min_p * sorted[0].p) {
            p[sorted[i].id] = sorted[i].p;
            sum += sorted[i].p;
        }
    }
    for (size_t v = 0; v < V; v++)
        p[v] /= sum;
}

static void frequencies_match_the_truncated_distribution(void **state)
{
    (void)state;
    static const struct sampler_params cases[] = {
        {1.0f, 0, 1.0f, 0.0f}, {0.7f, 0, 1.0f, 0.0f}, {2.0f, 0, 1.0f, 0.0f},
        {1.0f, 1, 1.0f, 0.0f}, {1.0f, 4, 1.0f, 0.0f}, {1.0f, V + 9, 1.0f, 0.0f},
        {1.0f, 0, 0.5f, 0.0f}, {1.5f, 0, 0.9f, 0.0f}, {1.0f, 0, 1e-6f, 0.0f},
        {1.0f, 0, 1.0f, 0.1f}, {3.0f, 9, 0.8f, 0.2f}, {1.0f, 3, 0.999f, 0.0f},
    };
    for (size_t c = 0; c < COUNT(cases); c++) {
        float logits[V];
        logits_fill(logits, c);
        check_ok(sampler_params_check(&cases[c], &err));
        double p[V];
        oracle(&cases[c], logits, p);
        unsigned count[V] = {0};
        for (uint32_t i = 0; i < DRAWS; i++)
            count[draw(&cases[c], logits, rng_uniform(11, RNG_STREAM_CLI, c, 0, i))]++;
        for (size_t v = 0; v < V; v++) {
            const double slack = 6.0 * sqrt(DRAWS * p[v] * (1.0 - p[v]));
            if (p[v] == 0.0 ? count[v] != 0 : fabs(count[v] - DRAWS * p[v]) > slack + 1.0)
                fail_msg("case %zu token %zu: %u draws, expected %g", c, v, count[v],
                         DRAWS * p[v]);
        }
    }
}

static void draws_invert_the_distribution_in_the_order_of_ids(void **state)
{
    (void)state;
    float logits[V];
    for (size_t v = 0; v < V; v++)
        logits[v] = -INFINITY;
    logits[3] = logits[5] = logits[9] = 1.0f; /* a third each */
    logits[20] = 1.0f + logf(3.0f);           /* a half of six parts: 1 1 1 3 */
    static const struct {
        double u;
        int32_t want;
    } cases[] = {{0.0, 3},  {0.16, 3},  {0.17, 5},  {0.33, 5},          {0.34, 9},
                 {0.49, 9}, {0.51, 20}, {0.75, 20}, {0.99999999999, 20}};
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(draw(&plain, logits, cases[i].u), cases[i].want);
}

static void sums_that_land_on_an_edge_are_decided_one_way(void **state)
{
    (void)state;
    float logits[V];
    for (size_t v = 0; v < V; v++)
        logits[v] = -INFINITY;
    logits[6] = logits[11] = 0.0f;
    assert_int_equal(draw(&plain, logits, 0.5), 11); /* the sum must exceed u */
    const struct sampler_params half = {.temperature = 1.0f, .top_p = 0.5f};
    assert_int_equal(draw(&half, logits, 0.99), 6); /* reaching p is enough */
}

/* With more tokens than a block, ids without weight among them: the token that u falls on, by
 * the sums in order.  u keeps half a weight's distance from every edge. */
static void long_vocabularies_are_drawn_from_in_the_order_of_ids(void **state)
{
    (void)state;
    enum { MANY = 1000, SOME = 700 }; /* three blocks and a part */
    static float weight[MANY];
    static uint32_t index[MANY];
    for (size_t i = 0; i < SOME; i++) {
        size_t v = 0, seen = 0;
        for (size_t at = 0; at < MANY; at++) {
            const bool none = (at >= 256 && at < 512) || at % 17 == 3;
            weight[at] = none ? 0.0f : 0.25f;
            if (!none && seen++ == i)
                v = at;
        }
        const double u = ((double)i + 0.5) / (double)seen;
        assert_int_equal(sampler_draw(&plain, weight, 0, MANY, u, index), v);
    }
    /* At the edge of a block the next one begins. */
    for (size_t at = 0; at < MANY; at++)
        weight[at] = at < 512 ? 1.0f : 0.0f;
    assert_int_equal(sampler_draw(&plain, weight, 0, MANY, 0.5, index), 256);
    assert_int_equal(sampler_draw(&plain, weight, 0, MANY, nextafter(1.0, 0.0), index), 511);
    memset(weight, 0, sizeof weight);
    weight[0] = 1.0f; /* added to it one by one, the others are lost */
    for (size_t v = 1; v <= 200; v++)
        weight[v] = 1e-17f;
    assert_int_equal(sampler_draw(&plain, weight, 0, MANY, nextafter(1.0, 0.0), index), 200);
    memset(weight, 0, sizeof weight);
    assert_int_equal(sampler_draw(&plain, weight, 77, MANY, 0.5, index), 77);
}

static void temperature_zero_takes_the_lowest_of_the_greatest(void **state)
{
    (void)state;
    float logits[V] = {0};
    logits[7] = logits[4] = logits[19] = 2.5f;
    const struct sampler_params greedy = {.temperature = 0.0f, .top_p = 1.0f};
    assert_int_equal(draw(&greedy, logits, 0.99), 4);
    assert_true(sampler_logprob_temperature(&greedy) == 1.0f);
    const struct sampler_params warm = {.temperature = 0.5f, .top_p = 1.0f};
    assert_true(sampler_logprob_temperature(&warm) == 0.5f);
}

static void logits_that_are_not_finite_draw_a_token_all_the_same(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    const struct sampler_params all = {.temperature = 1.0f, .top_k = 5, .top_p = 0.9f};
    for (size_t b = 0; b < COUNT(bad); b++) {
        float logits[V];
        for (size_t v = 0; v < V; v++)
            logits[v] = v % 3 ? bad[b] : (float)v;
        const int32_t id = draw(&all, logits, 0.5);
        assert_in_range(id, 0, V - 1);
        for (size_t v = 0; v < V; v++)
            logits[v] = bad[b];
        assert_in_range(draw(&all, logits, 0.5), 0, V - 1);
    }
}

static void parameters_out_of_range_are_named(void **state)
{
    (void)state;
    static const struct {
        struct sampler_params params;
        const char *words;
    } cases[] = {
        {{-1.0f, 0, 1.0f, 0.0f}, "temperature is -1"},
        {{NAN, 0, 1.0f, 0.0f}, "temperature"},
        {{1e-9f, 0, 1.0f, 0.0f}, "use 0 for greedy"},
        {{1e9f, 0, 1.0f, 0.0f}, "temperature"},
        {{1.0f, 0, 0.0f, 0.0f}, "top_p is 0"},
        {{1.0f, 0, 1.5f, 0.0f}, "top_p is 1.5"},
        {{1.0f, 0, NAN, 0.0f}, "top_p"},
        {{1.0f, 0, 1.0f, 1.0f}, "min_p is 1"},
        {{1.0f, 0, 1.0f, -0.1f}, "min_p is -0.1"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_fails(sampler_params_check(&cases[i].params, &err), ERR_VALUE, cases[i].words);
}

int main(void)
{
    pool_thread_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies_match_the_truncated_distribution),
        cmocka_unit_test(draws_invert_the_distribution_in_the_order_of_ids),
        cmocka_unit_test(long_vocabularies_are_drawn_from_in_the_order_of_ids),
        cmocka_unit_test(sums_that_land_on_an_edge_are_decided_one_way),
        cmocka_unit_test(temperature_zero_takes_the_lowest_of_the_greatest),
        cmocka_unit_test(logits_that_are_not_finite_draw_a_token_all_the_same),
        cmocka_unit_test(parameters_out_of_range_are_named),
    };
    return cmocka_run_group_tests_name("engine/sampler", tests, NULL, NULL);
}
