/*
 * Oracle: bits.  What a pass says of a sequence must be the same whatever else is in the batch,
 * in whatever order, on however many threads, with or without what backward keeps; gradients
 * the same on however many threads.  The numbers themselves are tested in test_pass_golden.c.
 */
#include "engine/kernels/amx.h"
#include "engine/pass.h"
#include "tests/kernel_test.h"
#include "tests/unit/golden.h"

enum { SEQS = 64, TOKENS_MAX = SEQS * 90 };

/* 64 sequences of 1 .. 80 tokens: short ones, and some around a block of 64 keys. */
struct corpus {
    uint32_t tokens[SEQS];
    int32_t ids[SEQS][90];
    float logp[SEQS][90], entropy[SEQS][90]; /* of each next token, sequence by sequence */
};

static void corpus_fill(struct corpus *corpus, uint32_t V)
{
    uint64_t seed = 7;
    for (size_t s = 0; s < SEQS; s++) {
        corpus->tokens[s] = 1 + (uint32_t)((kernel_uniform(&seed) + 1.0f) * 39.9f);
        if (s % 16 == 0)
            corpus->tokens[s] = 63 + (uint32_t)s / 16;
        for (size_t i = 0; i < 90; i++)
            corpus->ids[s][i] = (int32_t)((kernel_uniform(&seed) + 1.0f) * 0.4999f * (float)V);
    }
}

/* Of the models that load() gives: each test of bits runs in both. */
static enum precision precision_used;

#define EACH_PRECISION                                                                      \
    for (int precision = PRECISION_FP32;                                                    \
         precision <= PRECISION_BF16 && (precision_used = (enum precision)precision, true); \
         precision++, precision_used = PRECISION_FP32)

static struct model *load(const char *name)
{
    char dir[FILE_PATH_MAX];
    struct err why = {0};
    check_ok(file_join(dir, GOLDEN_DIR "models", name, &err));
    struct model *model = model_load(dir, &why);
    if (!model)
        fail_msg("%s", why.text);
    model->precision = precision_used;
    return model;
}

static struct pass *make_pass(const struct model *model, struct pool *pool, bool training)
{
    struct err why = {0};
    struct pass *pass = pass_new(model, pool, TOKENS_MAX, training, &why);
    if (!pass)
        fail_msg("%s", why.text);
    return pass;
}

struct packed {
    uint32_t offset[SEQS + 1];
    int32_t ids[TOKENS_MAX], target[TOKENS_MAX];
    uint32_t at[TOKENS_MAX];
    float logp[TOKENS_MAX], entropy[TOKENS_MAX];
};

/* Run the sequences order[0..n-1] as one batch; every token's successor is asked for, the last
 * one's being token 0. */
static void run_batch(struct pass *pass, const struct corpus *corpus, const size_t *order,
                      size_t n, struct packed *p)
{
    p->offset[0] = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t s = order[i], begin = p->offset[i];
        for (uint32_t t = 0; t < corpus->tokens[s]; t++) {
            p->ids[begin + t] = corpus->ids[s][t];
            p->target[begin + t] = corpus->ids[s][t + 1];
            p->at[begin + t] = (uint32_t)begin + t;
        }
        p->offset[i + 1] = p->offset[i] + corpus->tokens[s];
    }
    const struct pass_batch batch = {n, p->offset, p->ids};
    const struct pass_logprob want = {p->offset[n], p->at, p->target, 0.9f};
    check_ok(pass_forward(pass, &batch, &err));
    pass_logprobs(pass, &want, p->logp, p->entropy, NULL);
}

static void check_batch(const struct corpus *corpus, const size_t *order, size_t n,
                        const struct packed *p)
{
    for (size_t i = 0; i < n; i++) {
        const size_t s = order[i], begin = p->offset[i];
        kernel_check_same_bits("logp", p->logp + begin, corpus->logp[s], corpus->tokens[s]);
        kernel_check_same_bits("entropy", p->entropy + begin, corpus->entropy[s],
                               corpus->tokens[s]);
    }
}

static void shuffle(size_t *order, uint64_t *seed)
{
    for (size_t i = 0; i < SEQS; i++)
        order[i] = i;
    for (size_t i = SEQS - 1; i > 0; i--) {
        const size_t j = (size_t)((kernel_uniform(seed) + 1.0f) * 0.4999f * (float)(i + 1));
        const size_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

static void check_invariance(const char *name)
{
    struct model *model = load(name);
    struct corpus *corpus = calloc(1, sizeof *corpus);
    struct packed *p = calloc(1, sizeof *p);
    size_t order[SEQS];
    uint64_t seed = 11;
    corpus_fill(corpus, model->config.V);
    struct pass *alone = make_pass(model, NULL, false);
    for (size_t s = 0; s < SEQS; s++) {
        if (corpus->tokens[s] > model->config.T)
            corpus->tokens[s] = model->config.T;
        run_batch(alone, corpus, &s, 1, p);
        memcpy(corpus->logp[s], p->logp, corpus->tokens[s] * sizeof(float));
        memcpy(corpus->entropy[s], p->entropy, corpus->tokens[s] * sizeof(float));
    }
    for (size_t run = 0; run < 3; run++) {
        struct pool *pool = kernel_pool(run == 0 ? 1 : 2);
        struct pass *pass = make_pass(model, pool, run == 1);
        for (size_t n = 1; n <= SEQS; n = n < 4 ? n + 1 : n * 2) {
            shuffle(order, &seed);
            run_batch(pass, corpus, order, n, p);
            check_batch(corpus, order, n, p);
        }
        pass_free(pass);
        pool_free(pool);
    }
    pass_free(alone);
    free(p);
    free(corpus);
    model_free(model);
}

static void a_sequence_has_the_same_bits_in_any_batch_on_any_threads(void **state)
{
    (void)state;
    EACH_PRECISION
    {
        check_invariance("gpt2");
        check_invariance("llama");
        check_invariance("qwen2");
        check_invariance("qwen3");
    }
}

/* Log-probs of four sequences, and their gradient.  The caller frees them. */
static float *pass_numbers(struct pass *pass, const struct model *model,
                           const struct corpus *corpus, struct packed *p)
{
    const size_t order[4] = {0, 1, 2, 3};
    run_batch(pass, corpus, order, 4, p);
    const size_t n = p->offset[4];
    float *all = calloc(n + model->params, sizeof *all);
    assert_non_null(all);
    memcpy(all, p->logp, n * sizeof *all);
    const struct pass_logprob want = {n, p->at, p->target, 0.9f};
    pass_backward_begin(pass, all + n, GEMM_SET);
    pass_logprobs_backward(pass, &want, p->logp, p->entropy);
    pass_backward_end(pass);
    return all;
}

/* The bits of the plain path are the bits of all, with the matrix tiles and without. */
static void every_instruction_set_gives_the_same_bits(void **state)
{
    (void)state;
    struct corpus *corpus = calloc(1, sizeof *corpus);
    struct packed *p = calloc(1, sizeof *p);
    EACH_PRECISION
    {
        struct model *model = load("llama");
        corpus_fill(corpus, model->config.V);
        float *plain = NULL;
        for (int tiles = 0; tiles < 2; tiles++) {
            amx_use(tiles);
            KERNEL_EACH_ISA(isa)
            {
                struct pass *pass = make_pass(model, NULL, true);
                float *got = pass_numbers(pass, model, corpus, p);
                pass_free(pass);
                plain = plain ? plain : got;
                kernel_check_same_bits(precision_name(precision_used), got, plain,
                                       p->offset[4] + model->params);
                if (got != plain)
                    free(got);
            }
        }
        free(plain);
        model_free(model);
    }
    free(p);
    free(corpus);
}

/* The gradient of a batch of 16 sequences into a new array; the caller frees it. */
static float *batch_gradient(const struct model *model, size_t threads,
                             const struct corpus *corpus, struct packed *p)
{
    size_t order[16];
    float *grad = calloc(model->params, sizeof *grad);
    assert_non_null(grad);
    for (size_t i = 0; i < COUNT(order); i++)
        order[i] = i;
    struct pool *pool = kernel_pool(threads);
    struct pass *pass = make_pass(model, pool, true);
    run_batch(pass, corpus, order, COUNT(order), p);
    const struct pass_logprob want = {p->offset[COUNT(order)], p->at, p->target, 0.9f};
    pass_backward_begin(pass, grad, GEMM_SET);
    pass_logprobs_backward(pass, &want, p->logp, p->entropy);
    pass_backward_end(pass);
    pass_free(pass);
    pool_free(pool);
    return grad;
}

/* A gradient of log-probs that were just asked for, of others, and of none: the logits that a
 * pass keeps are used only for the request they belong to. */
static void check_kept_logits(void)
{
    enum { N = 6 };
    struct err why = {0};
    struct model *model = load("llama");
    struct pass *pass = pass_new(model, NULL, N, true, &why);
    const int32_t ids[N] = {1, 5, 2, 8, 3, 9}, target[N] = {5, 2, 8, 3, 9, 1};
    const int32_t others[N] = {5, 2, 8, 3, 9, 2}, before[N] = {4, 4, 1, 6, 7, 2};
    const uint32_t shuffled[N] = {0, 2, 1, 3, 4, 5};
    const uint32_t offset[] = {0, N}, at[N] = {0, 1, 2, 3, 4, 5};
    const float dlogp[N] = {0.1f, -0.2f, 0.3f, 0.4f, -0.5f, 0.6f};
    const struct pass_batch batch = {1, offset, ids}, earlier = {1, offset, before};
    const struct pass_logprob want = {N, at, target, 0.7f};
    const struct pass_logprob asked[] = {want,
                                         {N, at, others, 0.7f},
                                         {N, at, target, 1.0f},
                                         {N - 1, at, target, 0.7f},
                                         {N, shuffled, target, 0.7f}};
    float *grad[COUNT(asked) + 1], logp[N];
    assert_non_null(pass);
    for (size_t i = 0; i <= COUNT(asked); i++) {
        grad[i] = calloc(model->params, sizeof(float));
        assert_non_null(grad[i]);
        check_ok(pass_forward(pass, &earlier, &why));
        pass_logprobs(pass, &want, logp, NULL, NULL);
        check_ok(pass_forward(pass, &batch, &why));
        if (i > 0)
            pass_logprobs(pass, &asked[i - 1], logp, NULL, NULL);
        pass_backward_begin(pass, grad[i], GEMM_SET);
        pass_logprobs_backward(pass, &want, dlogp, NULL);
        pass_backward_end(pass);
        check_same_bits(grad[i], grad[0], model->params);
    }
    for (size_t i = 0; i <= COUNT(asked); i++)
        free(grad[i]);
    pass_free(pass);
    model_free(model);
}

/* Each row is asked for many times: more requests than a small pass has tokens, in several
 * chunks; the gradient is that of a pass which takes them at once. */
static void check_many_requests(void)
{
    enum { N = 6, ROWS = 50 };
    static const size_t tokens_max[] = {N, 300};
    struct err why = {0};
    struct model *model = load("llama");
    const int32_t ids[N] = {1, 5, 2, 8, 3, 9};
    const uint32_t offset[] = {0, N};
    const struct pass_batch batch = {1, offset, ids};
    uint32_t at[ROWS];
    int32_t target[ROWS];
    float dlogp[ROWS], logp[2][ROWS], *grad[2];
    uint64_t seed = 5;
    for (uint32_t i = 0; i < ROWS; i++) {
        at[i] = i * 7 % N;
        target[i] = (int32_t)(i % 90);
        dlogp[i] = kernel_uniform(&seed);
    }
    const struct pass_logprob want = {ROWS, at, target, 0.7f};
    for (size_t k = 0; k < 2; k++) {
        struct pass *pass = pass_new(model, NULL, tokens_max[k], true, &why);
        grad[k] = calloc(model->params, sizeof(float));
        assert_true(pass && grad[k]);
        check_ok(pass_forward(pass, &batch, &why));
        pass_logprobs(pass, &want, logp[k], NULL, NULL);
        pass_backward_begin(pass, grad[k], GEMM_SET);
        pass_logprobs_backward(pass, &want, dlogp, NULL);
        pass_backward_end(pass);
        pass_free(pass);
    }
    check_same_bits(logp[0], logp[1], ROWS);
    check_same_bits(grad[0], grad[1], model->params);
    free(grad[0]);
    free(grad[1]);
    model_free(model);
}

static void more_requests_than_tokens_give_the_same_gradient(void **state)
{
    (void)state;
    EACH_PRECISION
    check_many_requests();
}

static void kept_logits_change_no_gradient(void **state)
{
    (void)state;
    EACH_PRECISION
    check_kept_logits();
}

/* A head that nothing is asked of, tied to the embeddings and not: its gradient is written too. */
static void a_gradient_of_nothing_is_zeros(void **state)
{
    (void)state;
    const char *const names[] = {"gpt2", "llama", "qwen2", "qwen3"};
    const int32_t ids[] = {1, 5, 2, 8};
    const uint32_t offset[] = {0, COUNT(ids)};
    const struct pass_batch batch = {1, offset, ids};
    EACH_PRECISION
    for (size_t i = 0; i < COUNT(names); i++) {
        struct model *model = load(names[i]);
        struct pass *pass = make_pass(model, NULL, true);
        float *grad = malloc(model_bytes(model));
        assert_non_null(grad);
        memset(grad, 0xff, model_bytes(model)); /* NaN */
        check_ok(pass_forward(pass, &batch, &err));
        pass_backward_begin(pass, grad, GEMM_SET);
        pass_backward_end(pass);
        for (size_t k = 0; k < model->params; k++)
            if (grad[k] != 0.0f)
                fail_msg("%s: element %zu of the gradient is %g", names[i], k, (double)grad[k]);
        free(grad);
        pass_free(pass);
        model_free(model);
    }
}

static void gradients_have_the_same_bits_on_any_threads(void **state)
{
    (void)state;
    const char *const names[] = {"gpt2", "llama", "qwen2", "qwen3"};
    struct corpus *corpus = calloc(1, sizeof *corpus);
    struct packed *p = calloc(1, sizeof *p);
    EACH_PRECISION
    for (size_t i = 0; i < COUNT(names); i++) {
        struct model *model = load(names[i]);
        corpus_fill(corpus, model->config.V);
        float *one = batch_gradient(model, 1, corpus, p);
        /* So many that the batch does not give each its share of whole sequences: then a layer
         * goes over all rows, a half at a time. */
        const size_t threads[] = {2, 3, 24};
        for (size_t k = 0; k < COUNT(threads); k++) {
            float *more = batch_gradient(model, threads[k], corpus, p);
            kernel_check_same_bits(names[i], more, one, model->params);
            free(more);
        }
        free(one);
        model_free(model);
    }
    free(p);
    free(corpus);
}

/* Forward and backward: each has its own packed copy in bf16. */
static void check_new_weights(void)
{
    struct model *model = load("llama"), *other = load("llama");
    struct corpus *corpus = calloc(1, sizeof *corpus);
    struct packed *p = calloc(1, sizeof *p);
    corpus_fill(corpus, model->config.V);
    model_init_random(other, 3, 0.3f);
    struct pass *old = make_pass(model, NULL, true), *fresh = make_pass(other, NULL, true);
    float *want = pass_numbers(fresh, other, corpus, p);
    memcpy(model->w, other->w, model_bytes(model));
    model->generation++;
    float *got = pass_numbers(old, model, corpus, p);
    kernel_check_same_bits("number", got, want, p->offset[4] + model->params);
    free(want);
    free(got);
    pass_free(old);
    pass_free(fresh);
    free(p);
    free(corpus);
    model_free(model);
    model_free(other);
}

static void new_weights_are_used_once_the_generation_says_so(void **state)
{
    (void)state;
    EACH_PRECISION
    check_new_weights();
}

static void a_batch_that_cannot_be_run_is_refused_by_name(void **state)
{
    (void)state;
    struct model *model = load("llama");
    struct err why = {0};
    struct pass *pass = pass_new(model, NULL, 100, false, &why);
    int32_t ids[200] = {0};
    uint32_t offset[3] = {0, 3, 5};
    const struct pass_batch batch = {2, offset, ids};
    assert_non_null(pass);
    check_ok(pass_forward(pass, &batch, &err));
    ids[4] = 97;
    check_fails(pass_forward(pass, &batch, &err), ERR_VALUE, "token 1 of sequence 1 is 97");
    ids[4] = -1;
    check_fails(pass_forward(pass, &batch, &err), ERR_VALUE, "token 1 of sequence 1 is -1");
    ids[4] = 0;
    offset[1] = 5;
    check_fails(pass_forward(pass, &batch, &err), ERR_VALUE,
                "sequence 1 of the batch is empty");
    offset[1] = 1;
    offset[2] = 98;
    check_fails(pass_forward(pass, &batch, &err), ERR_VALUE,
                "sequence 1 of the batch has 97 tokens, the model at most 96");
    offset[1] = 60;
    offset[2] = 101;
    check_fails(pass_forward(pass, &batch, &err), ERR_VALUE, "over 100 tokens");
    pass_free(pass);
    model_free(model);
}

static void a_training_pass_holds_more_than_one_for_inference(void **state)
{
    (void)state;
    struct model *model = load("llama");
    const size_t training = pass_bytes(&model->config, 1000, true);
    const size_t inference = pass_bytes(&model->config, 1000, false);
    assert_true(inference < training);
    /* Of V = 97 and 1000 tokens there are never more than 256 rows of logits. */
    assert_true(inference < 1000u * sizeof(float) * (6 * 32 + 64 + 3 * 56 + 20) +
                                256u * sizeof(float) * (97 + 32 + 8) + 4096u);
    model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequence_has_the_same_bits_in_any_batch_on_any_threads),
        cmocka_unit_test(every_instruction_set_gives_the_same_bits),
        cmocka_unit_test(kept_logits_change_no_gradient),
        cmocka_unit_test(more_requests_than_tokens_give_the_same_gradient),
        cmocka_unit_test(a_gradient_of_nothing_is_zeros),
        cmocka_unit_test(gradients_have_the_same_bits_on_any_threads),
        cmocka_unit_test(new_weights_are_used_once_the_generation_says_so),
        cmocka_unit_test(a_batch_that_cannot_be_run_is_refused_by_name),
        cmocka_unit_test(a_training_pass_holds_more_than_one_for_inference),
    };
    pool_thread_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
