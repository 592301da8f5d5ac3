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

/* Where the logits of requests from `first` on go: beside the others if all have room. */
static size_t pass_slot(const struct pass *pass, const struct pass_logprob *want, size_t first)
{
    return want->rows <= pass->logit_rows ? first : 0;
}

/* Logits of requests [first, first + rows) and what follows from them. */
static void pass_chunk_forward(struct pass *pass, const struct pass_logprob *want, size_t first,
                               size_t rows)
{
    const size_t V = pass->model->config.V, slot = pass_slot(pass, want, first);
    float *logits = pass->logits + slot * V;
    block_head(pass->block, logits, V, pass->chunk_hidden, rows);
    logprob_forward(pass->pool, pass->logprob + slot, logits, V, want->target + first,
                    block_inverse(want->temperature), rows, V);
}

static void pass_check_want(const struct pass *pass, const struct pass_logprob *want)
{
    assert(pass->model->config.head == MODEL_HEAD_LM);
    assert(want->temperature > 0.0f);
    for (size_t i = 0; i < want->rows; i++)
        assert(want->target[i] >= 0 && (uint32_t)want->target[i] < pass->model->config.V);
}

static void pass_keep(struct pass *pass, const struct pass_logprob *want)
{
    pass->kept = 0;
    if (!pass->training || want->rows > pass->logit_rows)
        return;
    memcpy(pass->kept_at, want->at, want->rows * sizeof *want->at);
    pass->kept_temperature = want->temperature;
    pass->kept = want->rows;
}

/* Targets may differ: logits do not depend on them. */
static bool pass_has_kept(const struct pass *pass, const struct pass_logprob *want)
{
    return pass->kept > 0 && pass->kept == want->rows &&
           pass->kept_temperature == want->temperature &&
           memcmp(pass->kept_at, want->at, want->rows * sizeof *want->at) == 0;
}

void pass_logprobs(struct pass *pass, const struct pass_logprob *want, float *logp,
                   float *entropy, int32_t *argmax)
{
    pass_check_want(pass, want);
    for (size_t first = 0; first < want->rows; first += pass->chunk) {
        const size_t rows = pass_min(want->rows - first, pass->chunk);
        pass_gather(pass, want->at + first, rows);
        pass_chunk_forward(pass, want, first, rows);
        const struct logprob *of = pass->logprob + pass_slot(pass, want, first);
        for (size_t i = 0; i < rows; i++) {
            logp[first + i] = of[i].logp;
            if (entropy)
                entropy[first + i] = of[i].entropy;
            if (argmax)
                argmax[first + i] = of[i].argmax;
        }
    }
    pass_keep(pass, want);
}

/* From the gradient of the head's outputs in `dout`: its weight's, and dhidden. */
static void pass_chunk_backward(struct pass *pass, const float *dout, const uint32_t *at,
                                size_t rows)
{
    const struct block_linear *head = &pass->block->head;
    block_linear_dw(pass->block, head, pass->grad, dout, head->N, pass->chunk_hidden, rows,
                    pass->head_into);
    pass->head_into = GEMM_ADD;
    block_linear_dx(pass->block, head, pass->chunk_dhidden, dout, head->N, rows, GEMM_SET);
    pass_scatter(pass, at, rows);
}

void pass_logprobs_backward(struct pass *pass, const struct pass_logprob *want,
                            const float *dlogp, const float *dentropy)
{
    assert(pass->grad);
    pass_check_want(pass, want);
    const size_t V = pass->model->config.V;
    const bool kept = pass_has_kept(pass, want);
    for (size_t first = 0; first < want->rows; first += pass->chunk) {
        const size_t rows = pass_min(want->rows - first, pass->chunk);
        const size_t slot = pass_slot(pass, want, first);
        float *logits = pass->logits + slot * V;
        pass_gather(pass, want->at + first, rows);
        if (!kept)
            pass_chunk_forward(pass, want, first, rows);
        logprob_backward(pass->pool, logits, logits, V, pass->logprob + slot,
                         want->target + first, dlogp + first,
                         dentropy ? dentropy + first : NULL, block_inverse(want->temperature),
                         rows, V);
        pass_chunk_backward(pass, logits, want->at + first, rows);
    }
    pass->kept = 0; /* their gradient is there now */
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
        pass_chunk_backward(pass, pass->logits, at + first, some);
    }
}
