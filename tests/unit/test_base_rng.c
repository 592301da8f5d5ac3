/*
 * test_base_rng.c -- Philox against its authors' vectors, and what is drawn from it.
 *
 * The oracle of the block function is the known-answer file of Random123, the library of
 * the paper's authors (kat_vectors, "philox4x32 10").  What stands on the block function is
 * checked against its definition in rng.h, written out here with other arithmetic (long
 * division by a double, a 128-bit product by bits), and against what each draw promises.
 */
#include <stdbool.h>

#include "base/rng.h"
#include "tests/test.h"

static void rng_philox_gives_the_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < COUNT(known); i++) {
        uint32_t got[4];
        rng_philox(known[i].counter, known[i].key, got);
        assert_memory_equal(got, known[i].want, sizeof got);
    }
}

static void rng_block_packs_the_counter_as_the_header_says(void **state)
{
    (void)state;
    /* Third known answer again: a holds word 0 and 24 bits of word 1, the stream the rest. */
    uint32_t got[4];
    rng_block(0x299f31d0a4093822, (enum rng_stream)0x85, 0xa308d3243f6a88, 0x13198a2e,
              0x03707344, got);
    const uint32_t want[4] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    assert_memory_equal(got, want, sizeof got);
}

/* Every number of them up to some vectors' worth, in place and not; nothing behind is written. */
static void rng_draws_many_first_numbers_as_one_by_one(void **state)
{
    (void)state;
    enum { MANY = 70 };
    for (size_t n = 0; n < MANY; n++) {
        uint32_t c[MANY], out[MANY];
        const uint64_t seed = 0x9e3779b97f4a7c15u * (n + 1), a = (seed >> 9) & 0xffffffffffffff;
        for (size_t i = 0; i < MANY; i++)
            c[i] = (uint32_t)(seed >> 7) * (uint32_t)(2 * i + 1);
        memset(out, 0x5a, sizeof out);
        rng_first(seed, RNG_STREAM_PLAN, a, (uint32_t)n << 26, c, out, n);
        for (size_t i = 0; i < MANY; i++) {
            uint32_t block[4];
            rng_block(seed, RNG_STREAM_PLAN, a, (uint32_t)n << 26, c[i], block);
            assert_int_equal(out[i], i < n ? block[0] : 0x5a5a5a5a);
        }
        rng_first(seed, RNG_STREAM_PLAN, a, (uint32_t)n << 26, c, c, n);
        assert_memory_equal(c, out, n * sizeof *c);
    }
}

static void rng_draws_differ_where_any_argument_does(void **state)
{
    (void)state;
    const uint64_t a = UINT64_C(1) << 55;
    const double draws[] = {
        rng_uniform(1, RNG_STREAM_ROLLOUT, a, 3, 4),
        rng_uniform(2, RNG_STREAM_ROLLOUT, a, 3, 4),
        rng_uniform(1 + (UINT64_C(1) << 32), RNG_STREAM_ROLLOUT, a, 3, 4),
        rng_uniform(1, RNG_STREAM_REFERENCE, a, 3, 4),
        rng_uniform(1, RNG_STREAM_ROLLOUT, a + 1, 3, 4),
        rng_uniform(1, RNG_STREAM_ROLLOUT, a + (UINT64_C(1) << 32), 3, 4),
        rng_uniform(1, RNG_STREAM_ROLLOUT, a, 4, 4),
        rng_uniform(1, RNG_STREAM_ROLLOUT, a, 3, 5),
    };
    for (size_t i = 0; i < COUNT(draws); i++)
        for (size_t j = 0; j < i; j++)
            assert_true(draws[i] != draws[j]);
}

static void rng_uniform_is_the_upper_53_bits_and_evenly_spread(void **state)
{
    (void)state;
    enum { N = 200000 };
    double sum = 0.0, squares = 0.0;
    for (uint32_t c = 0; c < N; c++) {
        const double u = rng_uniform(7, RNG_STREAM_WORLD, 1, 2, c);
        uint32_t block[4];
        rng_block(7, RNG_STREAM_WORLD, 1, 2, c, block);
        const double want = (block[0] * 0x1p21 + (double)(block[1] >> 11)) / 0x1p53;
        assert_true(u == want);
        assert_true(u >= 0.0 && u < 1.0);
        sum += u;
        squares += u * u;
    }
    /* Five standard errors: 0.2887 / sqrt(N), and 0.2981 / sqrt(N) for the square. */
    assert_true(fabs(sum / N - 0.5) < 5 * 0.2887 / sqrt(N));
    assert_true(fabs(squares / N - 1.0 / 3.0) < 5 * 0.2981 / sqrt(N));
}

/* The upper half of a 128-bit product, one bit of x at a time. */
static uint64_t high_by_bits(uint64_t x, uint64_t n)
{
    uint64_t high = 0, low = 0;
    for (int bit = 63; bit >= 0; bit--) {
        high = high << 1 | low >> 63;
        low <<= 1;
        if (x >> bit & 1) {
            low += n;
            high += low < n;
        }
    }
    return high;
}

static void rng_below_is_the_high_product_and_below_n(void **state)
{
    (void)state;
    const uint64_t sizes[] = {1,         2, 3, 10, 1000003, UINT64_C(1) << 32, UINT64_MAX / 3,
                              UINT64_MAX};
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (uint32_t c = 0; c < 500; c++) {
            const uint64_t got = rng_below(11, RNG_STREAM_PLAN, 5, 6, c, sizes[i]);
            uint32_t block[4];
            rng_block(11, RNG_STREAM_PLAN, 5, 6, c, block);
            const uint64_t x = (uint64_t)block[0] << 32 | block[1];
            assert_true(got == high_by_bits(x, sizes[i]));
            assert_true(got < sizes[i]);
        }
}

static void rng_below_hits_each_value_as_often(void **state)
{
    (void)state;
    enum { N = 70000, K = 7 };
    unsigned hits[K] = {0};
    for (uint32_t c = 0; c < N; c++)
        hits[rng_below(3, RNG_STREAM_PLAN, 0, 0, c, K)]++;
    double chi2 = 0.0;
    for (int k = 0; k < K; k++) {
        const double off = hits[k] - (double)N / K;
        chi2 += off * off / ((double)N / K);
    }
    assert_true(chi2 < 22.5); /* 6 degrees of freedom: exceeded once in 1000 */
}

static void rng_normal_has_the_moments_of_a_normal(void **state)
{
    (void)state;
    enum { N = 200000 };
    double m1 = 0.0, m2 = 0.0, m4 = 0.0;
    unsigned within_one = 0;
    for (uint32_t c = 0; c < N; c++) {
        const double z = rng_normal(5, RNG_STREAM_INIT, 9, 0, c);
        assert_true(isfinite(z));
        m1 += z;
        m2 += z * z;
        m4 += z * z * z * z;
        within_one += fabs(z) < 1.0;
    }
    /* Five standard errors of each: 1, sqrt(2), sqrt(96), sqrt(p(1-p)) over sqrt(N). */
    assert_true(fabs(m1 / N) < 5 / sqrt(N));
    assert_true(fabs(m2 / N - 1.0) < 5 * sqrt(2.0 / N));
    assert_true(fabs(m4 / N - 3.0) < 5 * sqrt(96.0 / N));
    assert_true(fabs((double)within_one / N - 0.682689492) < 5 * 0.4655 / sqrt(N));
}

static void rng_permutation_holds_each_index_once(void **state)
{
    (void)state;
    enum { N = 1000 };
    for (uint32_t n = 0; n <= N; n = n * 3 + 1) {
        uint32_t perm[N];
        bool seen[N] = {false};
        rng_permutation(perm, n, 42, RNG_STREAM_MINIBATCH, 17, 2);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(perm[i] < n);
            assert_false(seen[perm[i]]);
            seen[perm[i]] = true;
        }
    }
}

static void rng_permutation_gives_all_orders_as_often(void **state)
{
    (void)state;
    enum { N = 24000 };
    unsigned hits[64] = {0};
    for (uint32_t b = 0; b < N; b++) {
        uint32_t perm[4];
        rng_permutation(perm, 4, 1, RNG_STREAM_MINIBATCH, 0, b);
        hits[perm[0] << 4 | perm[1] << 2 | perm[2]]++;
    }
    double chi2 = 0.0;
    unsigned orders = 0;
    for (size_t i = 0; i < COUNT(hits); i++) {
        if (hits[i] == 0)
            continue;
        orders++;
        chi2 += (hits[i] - 1000.0) * (hits[i] - 1000.0) / 1000.0;
    }
    assert_int_equal(orders, 24);
    assert_true(chi2 < 49.7); /* 23 degrees of freedom: exceeded once in 1000 */
}

static void rng_permutation_depends_on_its_arguments_alone(void **state)
{
    (void)state;
    uint32_t first[100], again[100], other[100];
    rng_permutation(first, 100, 42, RNG_STREAM_MINIBATCH, 17, 2);
    rng_permutation(other, 100, 42, RNG_STREAM_MINIBATCH, 17, 3);
    rng_permutation(again, 100, 42, RNG_STREAM_MINIBATCH, 17, 2);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rng_philox_gives_the_known_answers),
        cmocka_unit_test(rng_block_packs_the_counter_as_the_header_says),
        cmocka_unit_test(rng_draws_many_first_numbers_as_one_by_one),
        cmocka_unit_test(rng_draws_differ_where_any_argument_does),
        cmocka_unit_test(rng_uniform_is_the_upper_53_bits_and_evenly_spread),
        cmocka_unit_test(rng_below_is_the_high_product_and_below_n),
        cmocka_unit_test(rng_below_hits_each_value_as_often),
        cmocka_unit_test(rng_normal_has_the_moments_of_a_normal),
        cmocka_unit_test(rng_permutation_holds_each_index_once),
        cmocka_unit_test(rng_permutation_gives_all_orders_as_often),
        cmocka_unit_test(rng_permutation_depends_on_its_arguments_alone),
    };
    return cmocka_run_group_tests_name("base/rng", tests, NULL, NULL);
}
