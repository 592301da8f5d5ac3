/* pass_head.c -- the heads of a pass, both ways, a chunk of rows at a time; see pass.h. */
#include <assert.h>
#include <string.h>

#include "engine/pass_state.h"

static size_t pass_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The hidden rows at[0 .. rows-1], side by side in chunk_hidden. */
static void pass_gather(struct pass *pass, const uint32_t *at, size_t rows)
{
    const size_t C = pass->model->config.C;
    for (size_t i = 0; i < rows; i++) {
        assert(at[i] < pass->N);
        memcpy(pass->chunk_hidden + i * C, pass->hidden + at[i] * C, C * sizeof(float));
    }
}

/* dhidden[at[i]] += chunk_dhidden[i], in order: a row may be asked for more than once. */
static void pass_scatter(struct pass *pass, const uint32_t *at, size_t rows)
{
    const size_t C = pass->model->config.C;
    for (size_t i = 0; i < rows; i++) {
        float *to = pass->dhidden + at[i] * C;
        const float *from = pass->chunk_dhidden + i * C;
        for (size_t c = 0; c < C; c++)
            to[c] += from[c];
    }
}

/* Logits of requests [first, first + rows) and what follows from them. */
static void pass_chunk_forward(struct pass *pass, const struct pass_logprob *want, size_t first,
                               size_t rows)
{
    const size_t V = pass->model->config.V;
    pass_gather(pass, want->at + first, rows);
    block_head(pass->block, pass->logits, V, pass->chunk_hidden, rows);
    logprob_forward(pass->pool, pass->logprob, pass->logits, V, want->target + first,
                    block_inverse(want->temperature), rows, V);
}

static void pass_check_want(const struct pass *pass, const struct pass_logprob *want)
{
    assert(pass->model->config.head == MODEL_HEAD_LM);
    assert(want->temperature > 0.0f);
    for (size_t i = 0; i < want->rows; i++)
        assert(want->target[i] >= 0 && (uint32_t)want->target[i] < pass->model->config.V);
}

void pass_logprobs(struct pass *pass, const struct pass_logprob *want, float *logp,
                   float *entropy, int32_t *argmax)
{
    pass_check_want(pass, want);
    for (size_t first = 0; first < want->rows; first += pass->chunk) {
        const size_t rows = pass_min(want->rows - first, pass->chunk);
        pass_chunk_forward(pass, want, first, rows);
        for (size_t i = 0; i < rows; i++) {
            logp[first + i] = pass->logprob[i].logp;
            if (entropy)
                entropy[first + i] = pass->logprob[i].entropy;
            if (argmax)
                argmax[first + i] = pass->logprob[i].argmax;
        }
    }
}

/* From the gradient of the head's outputs in pass->logits: its weight's, and dhidden. */
static void pass_chunk_backward(struct pass *pass, const uint32_t *at, size_t rows)
{
    const struct block_linear *head = &pass->block->head;
    gemm_dw(pass->pool, pass->grad + head->w_at, head->K, pass->logits, head->N,
            pass->chunk_hidden, head->K, rows, head->N, head->K);
    gemm_dx(pass->pool, pass->chunk_dhidden, head->K, pass->logits, head->N,
            pass->model->w + head->w_at, head->K, rows, head->N, head->K, GEMM_SET);
    pass_scatter(pass, at, rows);
}

void pass_logprobs_backward(struct pass *pass, const struct pass_logprob *want,
                            const float *dlogp, const float *dentropy)
{
    assert(pass->grad);
    pass_check_want(pass, want);
    const size_t V = pass->model->config.V;
    for (size_t first = 0; first < want->rows; first += pass->chunk) {
        const size_t rows = pass_min(want->rows - first, pass->chunk);
        pass_chunk_forward(pass, want, first, rows);
        logprob_backward(pass->pool, pass->logits, pass->logits, V, pass->logprob,
                         want->target + first, dlogp + first,
                         dentropy ? dentropy + first : NULL, block_inverse(want->temperature),
                         rows, V);
        pass_chunk_backward(pass, want->at + first, rows);
    }
}

void pass_scores(struct pass *pass, size_t rows, const uint32_t *at, float *out)
{
    assert(pass->model->config.head == MODEL_HEAD_SCORE);
    const size_t labels = pass->model->config.labels;
    for (size_t first = 0; first < rows; first += pass->chunk) {
        const size_t some = pass_min(rows - first, pass->chunk);
        pass_gather(pass, at + first, some);
        block_head(pass->block, out + first * labels, labels, pass->chunk_hidden, some);
    }
}

void pass_scores_backward(struct pass *pass, size_t rows, const uint32_t *at,
                          const float *dscore)
{
    assert(pass->grad && pass->model->config.head == MODEL_HEAD_SCORE);
    const size_t labels = pass->model->config.labels;
    for (size_t first = 0; first < rows; first += pass->chunk) {
        const size_t some = pass_min(rows - first, pass->chunk);
        pass_gather(pass, at + first, some);
        memcpy(pass->logits, dscore + first * labels, some * labels * sizeof(float));
        pass_chunk_backward(pass, at + first, some);
    }
}
