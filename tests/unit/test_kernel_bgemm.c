/*
 * test_kernel_bgemm.c -- the products in bfloat16 against the steps that bgemm.h promises, to the
 * bit, by the matrix tiles and by fma.
 *
 * The oracle is that promise in double: a product of two bfloat16 has 16 bits, and with a float32
 * added the sum either fits the 53 bits of a double or one of the two is too small to matter
 * in 24.  So rounding the double once to 24 bits is rounding the exact value.
 */
#include <float.h>

#include "engine/kernels/amx.h"
#include "engine/kernels/bf16.h"
#include "engine/kernels/bgemm.h"
#include "tests/kernel_test.h"

/* ---- the oracle ---- */

/* A subnormal read as zero. */
static double oracle_read(float x)
{
    return fabsf(x) < FLT_MIN ? copysign(0.0, (double)x) : (double)x;
}

/* To 24 bits of an exponent without limits, then to what a float32 has of those. */
static float oracle_write(double x)
{
    int exponent;
    if (!isfinite(x))
        return (float)x;
    x = frexp(x, &exponent);
    x = ldexp(rint(ldexp(x, 24)), exponent - 24);
    if (fabs(x) < ldexp(1.0, -126))
        return copysignf(0.0f, x < 0.0 || signbit(x) ? -1.0f : 1.0f);
    return (float)x;
}

static float oracle_fma(float a, float b, float c)
{
    return oracle_write(oracle_read(a) * oracle_read(b) + oracle_read(c));
}

static float oracle_add(float a, float b)
{
    return oracle_write(oracle_read(a) + oracle_read(b));
}

/* The terms of one element: a[i * a_step] b[i * b_step]. */
struct terms {
    const float *a, *b;
    size_t a_step, b_step, n;
};

static float oracle_element(float c, struct terms t)
{
    for (size_t at = 0; at < t.n; at += BGEMM_STEP) {
        float sum[2] = {0.0f, 0.0f};
        for (size_t i = at; i < at + BGEMM_STEP && i < t.n; i++)
            sum[i % 2] = oracle_fma(bf16_round(t.a[i * t.a_step]),
                                    bf16_round(t.b[i * t.b_step]), sum[i % 2]);
        c = oracle_add(c, oracle_add(sum[0], sum[1]));
    }
    return c;
}

/* ---- every path of this machine ---- */

/* for (each path: fma on every instruction set, then the matrix tiles). */
#define EACH_PATH(path)                                        \
    for (int path = ISA_PLAIN; path <= ISA_AVX512 + 1; path++) \
        if (path_use(path))

static bool path_use(int path)
{
    const bool amx = path > ISA_AVX512;
    amx_use(amx);
    if (amx)
        return amx_ready();
    if (!isa_has((enum isa)path))
        return false;
    isa_force((enum isa)path);
    return true;
}

static bool has_amx(void)
{
    amx_use(true);
    if (!amx_ready())
        print_message("the matrix tiles: %s\n", amx_state_name(amx_state()));
    return amx_ready();
}

struct sizes {
    size_t M, N, K;
};

/* Odd sizes; below, at and above a panel (16), a tile (32), a step (32) and a block; a weight
 * that is packed past the caches. */
static const struct sizes sizes_all[] = {
    {1, 1, 1},      {1, 16, 32},  {3, 17, 5},     {16, 32, 64}, {15, 33, 65},  {32, 48, 384},
    {2, 130, 1030}, {70, 7, 800}, {300, 200, 30}, {5, 600, 16}, {33, 64, 777}, {2, 601, 500}};

struct case_data {
    struct sizes s;
    float *x, *w, *dy, *bias, *y0, *dx0, *dw0;
    uint32_t *storage[2];
    struct bgemm_packed packed, turned;
};

static uint32_t *words_new(size_t n)
{
    void *words = NULL;
    assert_int_equal(posix_memalign(&words, 64, n * sizeof(uint32_t)), 0);
    memset(words, 0x55, n * sizeof(uint32_t));
    return words;
}

static struct case_data case_new(struct sizes s)
{
    struct case_data c = {.s = s};
    c.x = kernel_random(s.M * s.K, 1);
    c.w = kernel_random(s.N * s.K, 2);
    c.dy = kernel_random(s.M * s.N, 3);
    c.bias = kernel_random(s.N, 4);
    c.y0 = kernel_random(s.M * s.N, 5);
    c.dx0 = kernel_random(s.M * s.K, 6);
    c.dw0 = kernel_random(s.N * s.K, 7);
    c.storage[0] = words_new(bgemm_packed_words(s.N, s.K));
    c.storage[1] = words_new(bgemm_packed_words(s.K, s.N));
    return c;
}

static void case_pack(struct case_data *c, struct pool *pool)
{
    const struct sizes s = c->s;
    bgemm_pack_both(pool, &c->packed, c->storage[0], &c->turned, c->storage[1], c->w, s.K, s.N,
                    s.K);
}

static void case_free(struct case_data *c)
{
    float *const all[] = {c->x, c->w, c->dy, c->bias, c->y0, c->dx0, c->dw0};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
    free(c->storage[0]);
    free(c->storage[1]);
}

/* What the four forms of a case should give. */
enum { SET, BIAS, ADD, FORMS };
struct wanted {
    float *y[FORMS], *dx[2], *dw[2];
};

static struct wanted wanted_new(const struct case_data *c)
{
    const struct sizes s = c->s;
    struct wanted want = {.dw = {NULL}};
    for (int form = 0; form < FORMS; form++) {
        want.y[form] = kernel_copy(c->y0, s.M * s.N);
        for (size_t m = 0; m < s.M; m++)
            for (size_t n = 0; n < s.N; n++) {
                float *y = &want.y[form][m * s.N + n];
                *y = oracle_element(form == ADD    ? *y
                                    : form == BIAS ? c->bias[n]
                                                   : 0.0f,
                                    (struct terms){c->x + m * s.K, c->w + n * s.K, 1, 1, s.K});
            }
    }
    for (int add = 0; add < 2; add++) {
        want.dx[add] = kernel_copy(c->dx0, s.M * s.K);
        for (size_t m = 0; m < s.M; m++)
            for (size_t k = 0; k < s.K; k++) {
                float *dx = &want.dx[add][m * s.K + k];
                *dx = oracle_element(add ? *dx : 0.0f,
                                     (struct terms){c->dy + m * s.N, c->w + k, 1, s.K, s.N});
            }
    }
    for (int add = 0; add < 2; add++) {
        want.dw[add] = kernel_copy(c->dw0, s.N * s.K);
        for (size_t n = 0; n < s.N; n++)
            for (size_t k = 0; k < s.K; k++) {
                float *dw = &want.dw[add][n * s.K + k];
                *dw = oracle_element(add ? *dw : 0.0f,
                                     (struct terms){c->dy + n, c->x + k, s.N, s.K, s.M});
            }
    }
    return want;
}

static void wanted_free(struct wanted *want)
{
    for (int form = 0; form < FORMS; form++)
        free(want->y[form]);
    free(want->dx[0]);
    free(want->dx[1]);
    free(want->dw[0]);
    free(want->dw[1]);
}

static void check_case(struct case_data *c, const struct wanted *want, struct pool *pool)
{
    const struct sizes s = c->s;
    case_pack(c, pool);
    for (int form = 0; form < FORMS; form++) {
        float *got = kernel_copy(c->y0, s.M * s.N);
        bgemm_multiply(pool, got, s.N, c->x, s.K, &c->packed, form == BIAS ? c->bias : NULL,
                       s.M, form == ADD ? GEMM_ADD : GEMM_SET);
        check_same_bits(got, want->y[form], s.M * s.N);
        free(got);
    }
    for (int add = 0; add < 2; add++) {
        float *got = kernel_copy(c->dx0, s.M * s.K);
        bgemm_multiply(pool, got, s.K, c->dy, s.N, &c->turned, NULL, s.M,
                       add ? GEMM_ADD : GEMM_SET);
        check_same_bits(got, want->dx[add], s.M * s.K);
        free(got);
    }
    for (int add = 0; add < 2; add++) {
        float *got = kernel_copy(c->dw0, s.N * s.K);
        bgemm_dw(pool, got, s.K, c->dy, s.N, c->x, s.K, s.M, s.N, s.K,
                 add ? GEMM_ADD : GEMM_SET);
        check_same_bits(got, want->dw[add], s.N * s.K);
        free(got);
    }
}

static void every_element_is_one_chain_of_steps(void **state)
{
    (void)state;
    struct pool *pools[] = {NULL, kernel_pool(2), kernel_pool(3)};
    for (size_t i = 0; i < COUNT(sizes_all); i++) {
        struct case_data c = case_new(sizes_all[i]);
        struct wanted want = wanted_new(&c);
        EACH_PATH(path)
        {
            for (size_t p = 0; p < COUNT(pools); p++)
                check_case(&c, &want, pools[p]);
        }
        wanted_free(&want);
        case_free(&c);
    }
    for (size_t p = 0; p < COUNT(pools); p++)
        pool_free(pools[p]);
}

static void a_row_has_the_same_bits_in_every_batch(void **state)
{
    (void)state;
    const struct sizes s = {70, 96, 500};
    struct case_data c = case_new(s);
    struct pool *pool = kernel_pool(2);
    float *want = kernel_copy(c.y0, s.M * s.N), *got = kernel_copy(c.y0, s.M * s.N);
    path_use(ISA_PLAIN);
    case_pack(&c, NULL);
    bgemm_multiply(NULL, want, s.N, c.x, s.K, &c.packed, c.bias, s.M, GEMM_SET);
    EACH_PATH(path)
    {
        for (size_t M = 1; M <= s.M && path != ISA_PLAIN; M++) {
            const size_t first = s.M - M; /* rows first .. 69, so places change as well */
            bgemm_multiply(M % 2 ? pool : NULL, got, s.N, c.x + first * s.K, s.K, &c.packed,
                           c.bias, M, GEMM_SET);
            check_same_bits(got, want + first * s.N, M * s.N);
        }
    }
    pool_free(pool);
    free(want);
    free(got);
    case_free(&c);
}

/* Tokens in two parts, the first of whole steps: what a head that goes over chunks of its rows
 * relies on. */
static void a_gradient_in_parts_of_whole_steps_is_the_gradient(void **state)
{
    (void)state;
    const struct sizes s = {150, 40, 50};
    const size_t first = 3 * BGEMM_STEP;
    struct case_data c = case_new(s);
    EACH_PATH(path)
    {
        float *whole = kernel_copy(c.dw0, s.N * s.K), *parts = kernel_copy(c.dw0, s.N * s.K);
        bgemm_dw(NULL, whole, s.K, c.dy, s.N, c.x, s.K, s.M, s.N, s.K, GEMM_ADD);
        bgemm_dw(NULL, parts, s.K, c.dy, s.N, c.x, s.K, first, s.N, s.K, GEMM_ADD);
        bgemm_dw(NULL, parts, s.K, c.dy + first * s.N, s.N, c.x + first * s.K, s.K, s.M - first,
                 s.N, s.K, GEMM_ADD);
        check_same_bits(parts, whole, s.N * s.K);
        free(whole);
        free(parts);
    }
    case_free(&c);
}

/* Rows with gaps between them: what lies in the gaps must stay. */
static void strides_leave_the_gaps_alone(void **state)
{
    (void)state;
    const struct sizes s = {9, 21, 37};
    const size_t gap = 5;
    struct case_data c = case_new(s);
    EACH_PATH(path)
    {
        case_pack(&c, NULL);
        float *wide = kernel_random(s.M * (s.N + gap), 13), *y = kernel_copy(c.y0, s.M * s.N);
        float *before = kernel_copy(wide, s.M * (s.N + gap));
        bgemm_multiply(NULL, wide, s.N + gap, c.x, s.K, &c.packed, NULL, s.M, GEMM_SET);
        bgemm_multiply(NULL, y, s.N, c.x, s.K, &c.packed, NULL, s.M, GEMM_SET);
        for (size_t m = 0; m < s.M; m++) {
            check_same_bits(wide + m * (s.N + gap), y + m * s.N, s.N);
            check_same_bits(wide + m * (s.N + gap) + s.N, before + m * (s.N + gap) + s.N, gap);
        }
        float *dw = kernel_random(s.N * (s.K + gap), 14);
        float *dw_before = kernel_copy(dw, s.N * (s.K + gap));
        bgemm_dw(NULL, dw, s.K + gap, c.dy, s.N, c.x, s.K, s.M, s.N, s.K, GEMM_ADD);
        for (size_t n = 0; n < s.N; n++)
            check_same_bits(dw + n * (s.K + gap) + s.K, dw_before + n * (s.K + gap) + s.K, gap);
        float *const all[] = {wide, before, y, dw, dw_before};
        for (size_t i = 0; i < COUNT(all); i++)
            free(all[i]);
    }
    case_free(&c);
}

static void nothing_in_gives_nothing_out(void **state)
{
    (void)state;
    const struct sizes s = {4, 20, 8};
    struct case_data c = case_new(s);
    EACH_PATH(path)
    {
        float *y = kernel_copy(c.y0, s.M * s.N), *dw = kernel_copy(c.dw0, s.N * s.K);
        case_pack(&c, NULL);
        bgemm_multiply(NULL, y, s.N, c.x, s.K, &c.packed, NULL, 0, GEMM_SET);
        check_same_bits(y, c.y0, s.M * s.N);
        bgemm_dw(NULL, dw, s.K, c.dy, s.N, c.x, s.K, 0, s.N, s.K, GEMM_ADD);
        check_same_bits(dw, c.dw0, s.N * s.K);
        bgemm_dw(NULL, dw, s.K, c.dy, s.N, c.x, s.K, 0, s.N, s.K, GEMM_SET);
        for (size_t i = 0; i < s.N * s.K; i++)
            assert_true(dw[i] == 0.0f && !signbit(dw[i]));
        free(y);
        free(dw);
    }
    case_free(&c);
}

/* ---- the bound of bgemm.h ---- */

static void sums_are_within_their_bound_of_exact_ones(void **state)
{
    (void)state;
    const struct sizes s = {8, 24, 3000};
    struct case_data c = case_new(s);
    float *y = kernel_copy(c.y0, s.M * s.N);
    double worst = 0.0;
    amx_use(true);
    case_pack(&c, NULL);
    bgemm_multiply(NULL, y, s.N, c.x, s.K, &c.packed, NULL, s.M, GEMM_ADD);
    for (size_t m = 0; m < s.M; m++)
        for (size_t n = 0; n < s.N; n++) {
            double exact = (double)c.y0[m * s.N + n], size = fabs(exact);
            for (size_t k = 0; k < s.K; k++) {
                const double term =
                    (double)bf16_round(c.x[m * s.K + k]) * (double)bf16_round(c.w[n * s.K + k]);
                exact += term;
                size += fabs(term);
            }
            const double steps = ceil((double)s.K / BGEMM_STEP);
            const double bound = (17.0 + steps) * ldexp(size, -24) * (1.0 + ldexp(1.0, -10));
            const double error = fabs((double)y[m * s.N + n] - exact);
            assert_true(error <= bound);
            worst = error / bound > worst ? error / bound : worst;
        }
    assert_true(worst > 1e-4); /* else the bound says nothing, or nothing was rounded */
    free(y);
    case_free(&c);
}

/* ---- numbers at the ends of the scale ---- */

static uint64_t hostile_seed;

static uint32_t hostile_bits(void)
{
    hostile_seed ^= hostile_seed << 13;
    hostile_seed ^= hostile_seed >> 7;
    hostile_seed ^= hostile_seed << 17;
    return (uint32_t)(hostile_seed >> 24);
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Kinds of numbers: their biased exponents. */
enum { ANY, SMALL, TINY_PRODUCTS, HUGE_PRODUCTS, SUBNORMAL, CANCELLING, KINDS };
static const char *const kind_names[KINDS] = {
    "any", "small", "products near 2^-126", "products near 2^128", "subnormal", "cancelling"};

static float hostile(int kind)
{
    const uint32_t r = hostile_bits(), sign = hostile_bits() & 1u;
    uint32_t exponent = 0, fraction = hostile_bits() & 0x7fffffu;
    switch (kind) {
    case ANY: exponent = r % 255; break;
    case SMALL: exponent = r % 80; break;
    case TINY_PRODUCTS: exponent = r % 8 ? 56 + r / 8 % 16 : 0; break;
    case HUGE_PRODUCTS: exponent = 185 + r % 8; break;
    case SUBNORMAL: exponent = r % 2 ? 0 : 120 + r / 2 % 10; break;
    case CANCELLING:
        exponent = 127 - r % 2;
        fraction &= 0x410000u;
        break;
    }
    return from_bits(sign << 31 | exponent << 23 | fraction);
}

/* A NaN is a NaN: its payload is not promised. */
static void check_hostile(int kind, float got, float want)
{
    if (isnan(got) && isnan(want))
        return;
    if (memcmp(&got, &want, sizeof got) != 0)
        fail_msg("%s: %a, not %a to the bit", kind_names[kind], (double)got, (double)want);
}

static void hostile_case(int kind)
{
    enum { M = 17, N = 20, K = 80 };
    float x[M * K], w[N * K], y[M * N], want[M * N];
    uint32_t *storage = words_new(bgemm_packed_words(N, K));
    struct bgemm_packed packed;
    hostile_seed = 88172645463325252u + (uint64_t)kind;
    for (size_t i = 0; i < M * K; i++)
        x[i] = hostile(kind);
    for (size_t i = 0; i < N * K; i++)
        w[i] = hostile(kind);
    for (size_t i = 0; i < M * N; i++)
        want[i] = y[i] = i % 3 ? hostile((int)(i % KINDS)) : 0.0f;
    float before[M * N];
    memcpy(before, y, sizeof before);
    for (size_t i = 0; i < M * N; i++)
        want[i] =
            oracle_element(want[i], (struct terms){x + i / N * K, w + i % N * K, 1, 1, K});
    EACH_PATH(path)
    {
        memcpy(y, before, sizeof y);
        bgemm_pack(NULL, &packed, storage, w, K, N, K);
        bgemm_multiply(NULL, y, N, x, K, &packed, NULL, M, GEMM_ADD);
        for (size_t i = 0; i < M * N; i++)
            check_hostile(kind, y[i], want[i]);
    }
    free(storage);
}

static void subnormals_and_overflow_are_the_same_on_every_path(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++)
        hostile_case(kind);
}

/* 2^-126 - 3 2^-152: with subnormals it would round up to 2^-126, in 24 bits of any exponent
 * it is 2^-126 - 2^-150, too small: zero.  2^-126 - 2^-152 is 2^-126 either way. */
static void what_rounds_up_to_the_least_normal_number_stays(void **state)
{
    (void)state;
    static const struct {
        float factor, want;
    } rows[] = {{-0x1.8p-76f, 0.0f}, {-0x1p-77f, 0x1p-126f}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        const float x[3] = {0x1p-63f, 0.0f, 0x1p-75f}, w[3] = {0x1p-63f, 0.0f, rows[i].factor};
        uint32_t *storage = words_new(bgemm_packed_words(1, 3));
        struct bgemm_packed packed;
        EACH_PATH(path)
        {
            float y = 55.0f;
            bgemm_pack(NULL, &packed, storage, w, 3, 1, 3);
            bgemm_multiply(NULL, &y, 1, x, 3, &packed, NULL, 1, GEMM_SET);
            check_same_bits(&y, &rows[i].want, 1);
        }
        free(storage);
    }
}

/* Many more numbers than the oracle has patience for. */
static void tiles_and_fma_agree_on_a_million_sums(void **state)
{
    (void)state;
    if (!has_amx())
        skip();
    enum { M = 128, N = 128, K = 64, ROUNDS = 64 };
    float *x = kernel_room(M * K), *w = kernel_room(N * K);
    float *y[2] = {kernel_room(M * N), kernel_room(M * N)};
    uint32_t *storage = words_new(bgemm_packed_words(N, K));
    struct bgemm_packed packed;
    hostile_seed = 1234567;
    for (int round = 0; round < ROUNDS; round++) {
        const int kind = round % KINDS;
        for (size_t i = 0; i < M * K; i++)
            x[i] = hostile(kind);
        for (size_t i = 0; i < N * K; i++)
            w[i] = hostile(kind);
        bgemm_pack(NULL, &packed, storage, w, K, N, K);
        for (int amx = 0; amx < 2; amx++) {
            amx_use(amx);
            bgemm_multiply(NULL, y[amx], N, x, K, &packed, NULL, M, GEMM_SET);
        }
        for (size_t i = 0; i < M * N; i++)
            check_hostile(kind, y[1][i], y[0][i]);
    }
    float *const all[] = {x, w, y[0], y[1]};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
    free(storage);
}

/* ---- rounding ---- */

/* Of the two neighbours that have 7 bits of fraction the nearer one, or the even one. */
static uint32_t oracle_round_bits(uint32_t bits)
{
    const uint32_t down = bits & 0xffff0000u, up = down + 0x10000u;
    if ((bits & 0x7fffffffu) < 0x00800000u)
        return bits & 0x80000000u;
    if ((bits & 0x7f800000u) == 0x7f800000u)
        return bits & 0x007fffffu ? down | 0x00400000u : down;
    /* Past the greatest bfloat16 the neighbour is 2^128, which a double can say. */
    const bool last = (up & 0x7f800000u) == 0x7f800000u;
    const double x = fabs((double)from_bits(bits)), low = fabs((double)from_bits(down));
    const double high = last ? ldexp(1.0, 128) : fabs((double)from_bits(up));
    if (x - low != high - x)
        return x - low < high - x ? down : up;
    return down & 0x10000u ? up : down;
}

static void rounding_is_to_the_nearest_ties_to_even(void **state)
{
    (void)state;
    static const uint32_t lower[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x1234, 0xcdef};
    for (uint32_t upper = 0; upper < 0x10000u; upper++)
        for (size_t i = 0; i < COUNT(lower); i++) {
            const uint32_t bits = upper << 16 | lower[i];
            if (bf16_round_bits(bits) != oracle_round_bits(bits))
                fail_msg("%08x becomes %08x, not %08x", bits, bf16_round_bits(bits),
                         oracle_round_bits(bits));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_is_to_the_nearest_ties_to_even),
        cmocka_unit_test(every_element_is_one_chain_of_steps),
        cmocka_unit_test(a_row_has_the_same_bits_in_every_batch),
        cmocka_unit_test(a_gradient_in_parts_of_whole_steps_is_the_gradient),
        cmocka_unit_test(strides_leave_the_gaps_alone),
        cmocka_unit_test(nothing_in_gives_nothing_out),
        cmocka_unit_test(sums_are_within_their_bound_of_exact_ones),
        cmocka_unit_test(subnormals_and_overflow_are_the_same_on_every_path),
        cmocka_unit_test(what_rounds_up_to_the_least_normal_number_stays),
        cmocka_unit_test(tiles_and_fma_agree_on_a_million_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
