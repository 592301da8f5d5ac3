/*
 * test_kernel_logprob.c -- log-probability and entropy against the definition in double with
 * libm, gradients against its slope, and the vectors of the PPO literature's three-way softmax.
 */
#include "engine/kernels/logprob.h"
#include "tests/kernel_test.h"

enum { V = 1000 }; /* three blocks of 256 and a rest that is no multiple of 16 */

struct oracle {
    double z[V];
    size_t n, target;
    double inverse_t, dlogp, dentropy;
};

static void definition(const struct oracle *o, double *logp, double *entropy)
{
    double sum = 0.0, mean = 0.0;
    for (size_t v = 0; v < o->n; v++)
        sum += exp(o->z[v] * o->inverse_t);
    for (size_t v = 0; v < o->n; v++)
        mean += exp(o->z[v] * o->inverse_t) / sum * o->z[v] * o->inverse_t;
    *logp = o->z[o->target] * o->inverse_t - log(sum);
    *entropy = log(sum) - mean;
}

static double loss(const void *arg)
{
    const struct oracle *o = arg;
    double logp, entropy;
    definition(o, &logp, &entropy);
    return o->dlogp * logp + o->dentropy * entropy;
}

static struct oracle oracle_of(float *logits, size_t n, uint64_t seed, float inverse_t)
{
    struct oracle o = {.n = n,
                       .target = (size_t)(seed * 37 % n),
                       .inverse_t = (double)inverse_t,
                       .dlogp = 0.7,
                       .dentropy = -0.3};
    for (size_t v = 0; v < n; v++)
        o.z[v] = (double)(logits[v] = 8.0f * kernel_uniform(&seed));
    return o;
}

/* Weights by their definition, and the same bits whether they are wanted or not. */
static void weights_check(const struct oracle *o, const float *z, float inverse,
                          const struct logprob *want)
{
    float weight[V], wanted[V];
    struct logprob row = logprob_weigh(weight, z, inverse, o->n);
    for (size_t v = 0; v < o->n; v++)
        wanted[v] = (float)exp((o->z[v] - o->z[want->argmax]) * (double)inverse);
    check_close(weight, wanted, o->n, 1e-30, 3e-6);
    row.logp = logprob_of(&row, z[o->target], inverse);
    check_same_bits(&row.logp, &want->logp, 1);
    check_same_bits(&row.entropy, &want->entropy, 1);
    assert_int_equal(row.argmax, want->argmax);
}

static void forward_is_the_definition(void **state)
{
    (void)state;
    float z[V];
    const size_t sizes[] = {1, 2, 15, 16, 17, 255, 256, 257, V};
    const float temperatures[] = {1.0f, 0.5f, 2.5f};
    KERNEL_EACH_ISA(isa)
    for (size_t i = 0; i < COUNT(sizes) * COUNT(temperatures); i++) {
        const float inverse = 1.0f / temperatures[i % COUNT(temperatures)];
        const struct oracle o = oracle_of(z, sizes[i / COUNT(temperatures)], i + 1, inverse);
        double logp, entropy;
        definition(&o, &logp, &entropy);
        const struct logprob got = logprob_row(z, (int32_t)o.target, inverse, o.n);
        const float want[2] = {(float)logp, (float)entropy};
        check_close(&got.logp, &want[0], 1, 5e-7, 2e-6);
        check_close(&got.entropy, &want[1], 1, 1e-6, 2e-6);
        for (size_t v = 0; v < o.n; v++)
            assert_true(z[v] <= z[got.argmax]);
        weights_check(&o, z, inverse, &got);
    }
}

static void backward_is_the_slope_of_the_definition(void **state)
{
    (void)state;
    float z[V], dz[V], want[V];
    KERNEL_EACH_ISA(isa)
    {
        struct oracle o = oracle_of(z, V, 5, 1.25f);
        const int32_t target = (int32_t)o.target;
        const float dlogp = (float)o.dlogp, dentropy = (float)o.dentropy;
        const struct logprob of = logprob_row(z, target, 1.25f, V);
        logprob_backward(NULL, dz, z, V, &of, &target, &dlogp, &dentropy, 1.25f, 1, V);
        for (size_t v = 0; v < V; v++)
            want[v] = (float)kernel_slope(&o.z[v], loss, &o);
        check_close(dz, want, V, 1e-5, 1e-7);

        o.dentropy = 0.0;
        memcpy(dz, z, sizeof z); /* in place, and without entropy */
        logprob_backward(NULL, dz, dz, V, &of, &target, &dlogp, NULL, 1.25f, 1, V);
        for (size_t v = 0; v < V; v++)
            want[v] = (float)kernel_slope(&o.z[v], loss, &o);
        check_close(dz, want, V, 1e-5, 1e-7);
    }
}

/* z = [.5, .2, -.3]: log-prob, entropy and its gradient as computed independently. */
static void three_logits_give_the_published_vector(void **state)
{
    (void)state;
    const float z[3] = {0.5f, 0.2f, -0.3f};
    const int32_t target = 0;
    const struct logprob got = logprob_row(z, target, 1.0f, 3);
    const float want[2] = {-0.78396875f, 1.04957128f};
    check_close(&got.logp, &want[0], 1, 0, 1e-7);
    check_close(&got.entropy, &want[1], 1, 0, 2e-7);
    const float zero = 0.0f, one = 1.0f;
    const float want_dz[3] = {-0.12127154f, 0.01163496f, 0.10963659f};
    float dz[3];
    logprob_backward(NULL, dz, z, 3, &got, &target, &zero, &one, 1.0f, 1, 3);
    check_close(dz, want_dz, 3, 0, 1e-7);
}

static void the_lowest_id_wins_a_tie(void **state)
{
    (void)state;
    float z[V] = {0};
    z[900] = z[417] = z[418] = 2.0f;
    assert_int_equal(logprob_row(z, 0, 1.0f, V).argmax, 417);
    memset(z, 0, sizeof z);
    assert_int_equal(logprob_row(z, 0, 1.0f, V).argmax, 0);
}

static void forbidden_tokens_have_no_weight(void **state)
{
    (void)state;
    float z[V], dz[V];
    for (size_t v = 0; v < V; v++)
        z[v] = v < 2 ? 1.0f : -INFINITY;
    const int32_t target = 1;
    const float one = 1.0f;
    const struct logprob got = logprob_row(z, target, 1.0f, V);
    const float half = -0.693147181f, entropy = 0.693147181f;
    check_close(&got.logp, &half, 1, 1e-6, 0);
    check_close(&got.entropy, &entropy, 1, 1e-6, 0);
    logprob_backward(NULL, dz, z, V, &got, &target, &one, &one, 1.0f, 1, V);
    for (size_t v = 2; v < V; v++)
        assert_true(dz[v] == 0.0f);
}

static void what_is_not_finite_shows(void **state)
{
    (void)state;
    float z[V] = {0};
    z[500] = NAN;
    assert_true(isnan(logprob_row(z, 3, 1.0f, V).logp));
    z[500] = INFINITY;
    assert_true(isnan(logprob_row(z, 3, 1.0f, V).logp));
    for (size_t v = 0; v < V; v++)
        z[v] = -INFINITY;
    assert_true(isnan(logprob_row(z, 3, 1.0f, V).logp));
}

static void bits_depend_on_neither_threads_nor_instruction_set(void **state)
{
    (void)state;
    enum { ROWS = 9, STRIDE = V + 3 };
    float *z = kernel_random(ROWS * STRIDE, 3), *dz = kernel_random(ROWS * STRIDE, 4);
    float *want_dz = kernel_copy(dz, ROWS * STRIDE), *weights = kernel_random(ROWS, 5);
    int32_t target[ROWS];
    struct logprob want[ROWS], got[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        target[i] = (int32_t)(i * 111);
    isa_force(ISA_PLAIN);
    logprob_forward(NULL, want, z, STRIDE, target, 0.9f, ROWS, V);
    logprob_backward(NULL, want_dz, z, STRIDE, want, target, weights, weights, 0.9f, ROWS, V);
    struct pool *pool = kernel_pool(2);
    KERNEL_EACH_ISA(isa)
    {
        logprob_forward(pool, got, z, STRIDE, target, 0.9f, ROWS, V);
        for (size_t i = 0; i < ROWS; i++)
            assert_memory_equal(&got[i], &want[i], sizeof got[i]);
        logprob_backward(pool, dz, z, STRIDE, got, target, weights, weights, 0.9f, ROWS, V);
        check_same_bits(dz, want_dz, ROWS * STRIDE);
    }
    pool_free(pool);
    free(z);
    free(dz);
    free(want_dz);
    free(weights);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_the_definition),
        cmocka_unit_test(backward_is_the_slope_of_the_definition),
        cmocka_unit_test(three_logits_give_the_published_vector),
        cmocka_unit_test(the_lowest_id_wins_a_tie),
        cmocka_unit_test(forbidden_tokens_have_no_weight),
        cmocka_unit_test(what_is_not_finite_shows),
        cmocka_unit_test(bits_depend_on_neither_threads_nor_instruction_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
