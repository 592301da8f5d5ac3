/*
 * test_gradient.c -- engine/gradient.h against its definition.
 *
 * The oracle rounds by its own arithmetic, in double: a bfloat16 has 8 digits, so a number is
 * divided by the power of two of its last one, rounded to an integer by rint (ties to even), and
 * multiplied again.  Numbers are of all exponents and signs, among them ties, zeros, infinite ones
 * and NaN; the sum of two is rounded once to float32 and once by the oracle.
 */
#include "engine/gradient.h"
#include "engine/kernels/isa.h"
#include "tests/test.h"

enum { N = 3 * 512 + 77 };

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 16;
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static bool is_same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

/* Any bits; every fourth a tie, halfway between two neighbours; subnormals left out, which threads
 * of the engine take for zeros. */
static void fill(float *x, uint64_t seed)
{
    static const uint32_t special[] = {0x00000000, 0x80000000, 0x7f800000, 0xff800000,
                                       0x7fc00000, 0x7f800001, 0x7f7fffff, 0x7f7f8000,
                                       0x7f7f7fff, 0x00800000};
    for (size_t j = 0; j < N; j++) {
        uint32_t bits = (uint32_t)next(&seed);
        if (j % 4 == 0)
            bits = (bits & 0xffff0000u) | 0x8000u;
        if ((bits & 0x7f800000u) == 0)
            bits |= 0x3f800000u;
        x[j] = from_bits(j < COUNT(special) ? special[j] : bits);
    }
}

static float oracle(float x)
{
    int exponent;
    if (x == 0.0f || !isfinite(x))
        return x;
    frexp((double)x, &exponent); /* x = f 2^exponent, 0.5 <= |f| < 1 */
    const double y = ldexp(rint(ldexp((double)x, 8 - exponent)), exponent - 8);
    return fabs(y) >= 0x1p128 ? copysignf(INFINITY, x) : (float)y;
}

static void each_level(void (*check)(void))
{
    const enum isa used = isa_used();
    for (enum isa isa = ISA_PLAIN; isa <= ISA_AVX512; isa++)
        if (isa_has(isa)) {
            isa_force(isa);
            check();
        }
    isa_force(used);
}

static void check_round(void)
{
    float x[N], y[N];
    fill(x, 1);
    memcpy(y, x, sizeof x);
    gradient_round(PRECISION_FP32, y, N);
    assert_memory_equal(y, x, sizeof x);
    gradient_round(PRECISION_BF16, y, N);
    for (size_t j = 0; j < N; j++)
        if (!is_same(y[j], oracle(x[j])))
            fail_msg("%a is rounded to %a, not %a", (double)x[j], (double)y[j],
                     (double)oracle(x[j]));
}

static void gradient_rounds_to_the_nearest_bfloat16(void **state)
{
    (void)state;
    each_level(check_round);
}

static void check_add(void)
{
    float from[N], into[N], sum[N];
    fill(from, 2);
    fill(into, 3);
    for (size_t j = 20; j < N; j++) /* of about the same size, so that digits of both count */
        into[j] = ldexpf(from[j], (int)(j % 9) - 4) * (j % 2 ? -0.77f : 0.77f);
    memcpy(sum, into, sizeof sum);
    gradient_add(PRECISION_FP32, sum, from, N);
    for (size_t j = 0; j < N; j++)
        assert_true(is_same(sum[j], from[j] + into[j]));
    gradient_round(PRECISION_BF16, from, N);
    gradient_round(PRECISION_BF16, into, N);
    memcpy(sum, into, sizeof sum);
    gradient_add(PRECISION_BF16, sum, from, N);
    for (size_t j = 0; j < N; j++) {
        const float want = oracle(from[j] + into[j]);
        if (!is_same(sum[j], want) && fpclassify(want) != FP_SUBNORMAL)
            fail_msg("%a + %a is %a, not %a", (double)from[j], (double)into[j], (double)sum[j],
                     (double)want);
    }
    gradient_pack(PRECISION_BF16, from, N, 0, N);
    gradient_pack(PRECISION_BF16, into, N, 0, N);
    void *packed = gradient_packed(PRECISION_BF16, into, N);
    gradient_add_packed(PRECISION_BF16, packed, gradient_packed(PRECISION_BF16, from, N),
                        packed, N);
    memmove(into, packed, N * sizeof(uint16_t));
    gradient_unpack(PRECISION_BF16, into, N);
    for (size_t j = 0; j < N; j++)
        assert_true(is_same(into[j], sum[j]));
}

static void gradient_adds_in_float32_and_rounds(void **state)
{
    (void)state;
    each_level(check_add);
}

static void check_pack(void)
{
    for (size_t n = 0; n <= N; n += n < 3 ? 1 : 509) {
        float x[N], y[N];
        fill(x, 4);
        gradient_round(PRECISION_BF16, x, N);
        memcpy(y, x, sizeof x);
        for (size_t end = n, first; end > 0; end = first) { /* in ranges of all sizes */
            first = end * 5 / 7;
            gradient_pack(PRECISION_BF16, y, n, first, end);
            assert_memory_equal(y, x, first * sizeof x[0]); /* not written over */
        }
        const char *packed = gradient_packed(PRECISION_BF16, y, n);
        for (size_t j = 0; j < n; j++) {
            uint16_t half;
            uint32_t bits;
            memcpy(&half, packed + 2 * j, sizeof half);
            memcpy(&bits, &x[j], sizeof bits);
            assert_int_equal(half, bits >> 16);
        }
        assert_memory_equal(y + n, x + n, (N - n) * sizeof x[0]);
        memmove(y, packed, n * sizeof(uint16_t));
        gradient_unpack(PRECISION_BF16, y, n);
        assert_memory_equal(y, x, n * sizeof x[0]);
        assert_memory_equal(y + n, x + n, (N - n) * sizeof x[0]);
    }
}

static void gradient_packs_in_place_and_back(void **state)
{
    (void)state;
    each_level(check_pack);
    assert_int_equal(gradient_bytes(PRECISION_BF16), 2);
    assert_int_equal(gradient_bytes(PRECISION_FP32), 4);
}

/* The header's bound of 32 leaves; and that the test sees roundings at all. */
static void gradient_sums_within_the_bound(void **state)
{
    (void)state;
    const double u = 0x1p-8, bound = pow(1 + u, 6) - 1;
    double worst = 0, mean = 0;
    uint64_t seed = 5;
    for (int trial = 0; trial < 20000; trial++) {
        float node[32];
        double exact = 0, size = 0;
        for (size_t i = 0; i < 32; i++) {
            node[i] = (float)((double)(next(&seed) % 1000003) / 1e6 - (trial % 2 ? 0 : 0.5));
            exact += (double)node[i];
            size += fabs((double)node[i]);
        }
        gradient_round(PRECISION_BF16, node, 32);
        for (size_t n = 32; n > 1; n /= 2)
            for (size_t i = 0; i < n / 2; i++) {
                float sum = node[2 * i + 1];
                gradient_add(PRECISION_BF16, &sum, &node[2 * i], 1);
                node[i] = sum;
            }
        const double off = fabs((double)node[0] - exact) / size;
        assert_true(off <= bound);
        worst = fmax(worst, off);
        mean += off / 20000;
    }
    assert_in_range((int)(worst * 1e5), 500, 1500);
    assert_in_range((int)(mean * 1e5), 100, 200); /* what the header says */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_rounds_to_the_nearest_bfloat16),
        cmocka_unit_test(gradient_adds_in_float32_and_rounds),
        cmocka_unit_test(gradient_packs_in_place_and_back),
        cmocka_unit_test(gradient_sums_within_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
