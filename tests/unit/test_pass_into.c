/*
 * test_pass_into.c -- a gradient that is written is whole: what the memory held before does not
 * matter.
 *
 * Oracle: the same pass added to zeros, bit for bit; of two passes added, the sum of both.
 * Written gradients begin as NaN.  All families; heads tied to the embeddings and not; with
 * requests to the head and without; fewer tokens than are taken at a time (224 a thread), and
 * more.  And what is said to be final is: copied then, it is what is there at the end.
 */
#include "engine/pass.h"
#include "tests/kernel_test.h"
#include "tests/unit/golden.h"

enum { SEQ = 70, TOKENS_MAX = 449, LABELS_MAX = 4 };

struct batch {
    uint32_t offset[TOKENS_MAX / SEQ + 2], at[TOKENS_MAX];
    int32_t ids[TOKENS_MAX], target[TOKENS_MAX];
    float dlogp[TOKENS_MAX], dentropy[TOKENS_MAX], dscore[TOKENS_MAX * LABELS_MAX];
    size_t seqs, N;
};

/* N tokens in sequences of up to SEQ. */
static void batch_fill(struct batch *batch, const struct model *model, size_t N, uint64_t seed)
{
    *batch = (struct batch){.N = N};
    while (batch->offset[batch->seqs] < N) {
        const uint32_t begin = batch->offset[batch->seqs++], left = (uint32_t)N - begin;
        batch->offset[batch->seqs] = begin + (left < SEQ ? left : SEQ);
    }
    for (size_t i = 0; i < N; i++) {
        const float half = 0.4999f * (float)model->config.V;
        batch->at[i] = (uint32_t)i;
        batch->ids[i] = (int32_t)((kernel_uniform(&seed) + 1.0f) * half);
        batch->target[i] = (int32_t)((kernel_uniform(&seed) + 1.0f) * half);
        batch->dlogp[i] = kernel_uniform(&seed);
        batch->dentropy[i] = kernel_uniform(&seed);
    }
    for (size_t i = 0; i < COUNT(batch->dscore); i++)
        batch->dscore[i] = kernel_uniform(&seed);
}

/* What was final when it was said to be; and when that was. */
struct finals {
    const float *grad;
    float *copy;
    size_t from, calls;
};

static void on_final(void *ctx, size_t first)
{
    struct finals *finals = ctx;
    assert_true(first < finals->from);
    memcpy(finals->copy + first, finals->grad + first, (finals->from - first) * sizeof(float));
    finals->from = first;
    finals->calls++;
}

/* Ask for `rows` outputs; 0 asks for nothing at all. */
static void run(struct pass *pass, const struct model *model, const struct batch *batch,
                size_t rows, float *grad, enum gemm_into into)
{
    struct finals finals = {grad, kernel_room(model->params), model->params, 0};
    check_ok(
        pass_forward(pass, &(struct pass_batch){batch->seqs, batch->offset, batch->ids}, &err));
    pass_backward_begin(pass, grad, into);
    if (rows > 0 && model->config.head == MODEL_HEAD_SCORE)
        pass_scores_backward(pass, rows, batch->at, batch->dscore);
    else if (rows > 0)
        pass_logprobs_backward(pass,
                               &(struct pass_logprob){rows, batch->at, batch->target, 0.9f},
                               batch->dlogp, batch->dentropy);
    pass_backward_watch(pass, on_final, &finals);
    pass_backward_end(pass);
    assert_int_equal(finals.from, 0);
    assert_int_equal(finals.calls, model->config.L + 2);
    check_same_bits(finals.copy, grad, model->params);
    free(finals.copy);
}

/* A gradient that was written to memory of NaN. */
static float *written(struct pass *pass, const struct model *model, const struct batch *batch,
                      size_t rows)
{
    float *grad = kernel_room(model->params);
    memset(grad, 0xff, model_bytes(model));
    run(pass, model, batch, rows, grad, GEMM_SET);
    return grad;
}

static void check_into(struct pass *pass, const struct model *model, size_t N)
{
    static struct batch first, second;
    const size_t rows[] = {N, 0, N / 2 + 1}, params = model->params;
    batch_fill(&first, model, N, N);
    batch_fill(&second, model, N / 2 + 1, N + 1);
    for (size_t k = 0; k < COUNT(rows); k++) {
        const size_t more = rows[k] > 0 ? second.N : 0;
        float *one = written(pass, model, &first, rows[k]);
        float *other = written(pass, model, &second, more);
        float *both = calloc(params, sizeof *both);
        assert_non_null(both);
        run(pass, model, &first, rows[k], both, GEMM_ADD);
        check_same_bits(one, both, params);
        run(pass, model, &second, more, both, GEMM_ADD);
        for (size_t i = 0; i < params; i++)
            one[i] += other[i];
        check_close(both, one, params, 1e-4, 1e-4); /* another order of sums */
        free(one);
        free(other);
        free(both);
    }
}

static struct model *load(const char *name, bool tied)
{
    char dir[FILE_PATH_MAX];
    struct err why = {0};
    check_ok(file_join(dir, GOLDEN_DIR "models", name, &err));
    struct model *loaded = model_load(dir, &why);
    if (!loaded)
        fail_msg("%s: %s", name, why.text);
    if (loaded->config.tied == tied)
        return loaded;
    struct model_config config = loaded->config;
    model_free(loaded);
    config.tied = tied;
    struct model *model = model_new(&config, &why);
    if (!model)
        fail_msg("%s: %s", name, why.text);
    model_init_random(model, 5, 0.1f);
    return model;
}

static void check_model(const char *name, bool tied, enum precision precision)
{
    static const size_t tokens[] = {1, 225, 449};
    struct model *model = load(name, tied);
    model->precision = precision;
    for (size_t threads = 1; threads <= 2; threads++) {
        struct err why = {0};
        struct pool *pool = kernel_pool(threads);
        struct pass *pass = pass_new(model, pool, TOKENS_MAX, true, &why);
        if (!pass)
            fail_msg("%s", why.text);
        for (size_t i = 0; i < COUNT(tokens); i++)
            check_into(pass, model, tokens[i]);
        pass_free(pass);
        pool_free(pool);
    }
    model_free(model);
}

static void a_written_gradient_is_one_added_to_zeros(void **state)
{
    (void)state;
    const char *const names[] = {"gpt2", "llama", "qwen2", "qwen3", "score"};
    for (size_t i = 0; i < 2 * COUNT(names); i++)
        for (int tied = 0; tied < (strcmp(names[i / 2], "score") ? 2 : 1); tied++)
            check_model(names[i / 2], tied, i % 2 ? PRECISION_BF16 : PRECISION_FP32);
}

int main(void)
{
    pool_thread_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_written_gradient_is_one_added_to_zeros),
    };
    return cmocka_run_group_tests_name("engine/pass, into", tests, NULL, NULL);
}
