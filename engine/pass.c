/* pass.c -- the forward pass; see pass.h.  The way back is in engine/pass_backward.c, the
 * heads in engine/pass_head.c. */
#include "engine/pass.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/attention.h"
#include "engine/pass_state.h"

/* ---- memory ----
 *
 * One function walks the arrays: with `take` NULL it counts bytes, else it hands them out.
 * So the formula and the use cannot differ. */

struct pass_taker {
    struct arena *arena; /* NULL: only count */
    size_t bytes;
};

static void *pass_take(struct pass_taker *taker, size_t n, size_t size)
{
    const size_t bytes = n * size;
    taker->bytes += (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (!taker->arena)
        return NULL;
    void *array = arena_array(taker->arena, n, size);
    assert(array);
    return array;
}

static float *pass_take_floats(struct pass_taker *taker, size_t n)
{
    return pass_take(taker, n, sizeof(float));
}

/* True where the logits of all tokens stay for their gradient. */
static bool pass_keeps(size_t outputs, size_t N, bool training)
{
    return training && N <= PASS_KEEP_BYTES / sizeof(float) / outputs;
}

static size_t pass_chunk_rows(size_t outputs, size_t N, bool keeps)
{
    const size_t room = (keeps ? PASS_KEEP_BYTES : PASS_CHUNK_BYTES) / sizeof(float) / outputs;
    const bool cached = outputs * PASS_CHUNK_CACHED * sizeof(float) <= PASS_CACHE_BYTES;
    const size_t most = cached ? PASS_CHUNK_CACHED : PASS_CHUNK_MAX;
    size_t rows = room < PASS_CHUNK_MIN ? PASS_CHUNK_MIN : room > most ? most : room;
    rows = rows < N ? rows : N;
    return (rows + BGEMM_STEP - 1) / BGEMM_STEP * BGEMM_STEP;
}

/* What backward needs of a layer. */
static void pass_take_layer(struct pass_taker *taker, struct pass_layer *layer,
                            const struct model_config *c, size_t N, bool training)
{
    const bool gpt2 = c->family == MODEL_GPT2;
    const size_t q = (size_t)c->H * c->D, kv = (size_t)c->G * c->D;
    layer->x = pass_take_floats(taker, N * c->C);
    layer->x_mid = pass_take_floats(taker, N * c->C);
    layer->qkv = pass_take_floats(taker, N * (q + 2 * kv));
    layer->qk_raw = c->qk_norm ? pass_take_floats(taker, N * (q + kv)) : NULL;
    layer->r_qk = c->qk_norm ? pass_take_floats(taker, N * (c->H + c->G)) : NULL;
    layer->att = pass_take_floats(taker, N * q);
    layer->lse = training ? pass_take_floats(taker, N * c->H) : NULL;
    layer->up = pass_take_floats(taker, N * c->F * (gpt2 ? 1 : 2));
    layer->mean1 = gpt2 ? pass_take_floats(taker, N) : NULL;
    layer->mean2 = gpt2 ? pass_take_floats(taker, N) : NULL;
    layer->r1 = pass_take_floats(taker, N);
    layer->r2 = pass_take_floats(taker, N);
}

static void pass_take_backward(struct pass_taker *taker, struct pass *pass,
                               const struct model_config *c, size_t N)
{
    const size_t q = (size_t)c->H * c->D, kv = (size_t)c->G * c->D;
    pass->dhidden = pass_take_floats(taker, N * c->C);
    pass->dx = pass_take_floats(taker, N * c->C);
    pass->dnorm = pass_take_floats(taker, N * c->C);
    pass->dqkv = pass_take_floats(taker, N * (q + 2 * kv));
    pass->datt = pass_take_floats(taker, N * q);
    pass->dqk = c->qk_norm ? pass_take_floats(taker, N * (q + kv)) : NULL;
    pass->dup = pass_take_floats(taker, N * c->F * (c->family == MODEL_GPT2 ? 1 : 2));
    pass->dact = pass_take_floats(taker, N * c->F);
}

/* `pass` has room for L layers; inference uses one for all. */
static void pass_take_all(struct pass_taker *taker, struct pass *pass,
                          const struct model_config *c, size_t N, bool training)
{
    const size_t outputs = c->head == MODEL_HEAD_SCORE ? c->labels : c->V;
    const bool keeps = pass_keeps(outputs, N, training);
    const size_t rows = pass_chunk_rows(outputs, N, keeps);
    struct pass_layer scrap;
    for (uint32_t l = 0; l < (training ? c->L : 1); l++)
        pass_take_layer(taker, pass->layers ? &pass->layers[l] : &scrap, c, N, training);
    pass->x_last = pass_take_floats(taker, N * c->C);
    pass->hidden = pass_take_floats(taker, N * c->C);
    pass->mean = c->family == MODEL_GPT2 ? pass_take_floats(taker, N) : NULL;
    pass->r = pass_take_floats(taker, N);
    pass->norm = pass_take_floats(taker, N * c->C);
    pass->act = pass_take_floats(taker, N * c->F);
    pass->position = pass_take(taker, N, sizeof *pass->position);
    pass->chunk = rows;
    pass->chunk_hidden = pass_take_floats(taker, rows * c->C);
    pass->chunk_dhidden = training ? pass_take_floats(taker, rows * c->C) : NULL;
    pass->logit_rows = keeps && N > rows ? N : rows;
    pass->logits = pass_take_floats(taker, pass->logit_rows * outputs);
    pass->logprob = pass_take(taker, pass->logit_rows, sizeof *pass->logprob);
    if (!training)
        return;
    pass->kept_at = pass_take(taker, pass->logit_rows, sizeof *pass->kept_at);
    pass_take_backward(taker, pass, c, N);
}

size_t pass_bytes(const struct model_config *config, size_t tokens_max, bool training)
{
    struct pass scrap = {0};
    struct pass_taker taker = {0};
    pass_take_all(&taker, &scrap, config, tokens_max, training);
    return taker.bytes;
}

struct pass *pass_new(const struct model *model, struct pool *pool, size_t tokens_max,
                      bool training, struct err *err)
{
    assert(tokens_max > 0 && tokens_max < UINT32_MAX);
    const struct model_config *c = &model->config;
    struct pass *pass = calloc(1, sizeof *pass);
    if (pass)
        pass->layers = calloc(c->L, sizeof *pass->layers);
    if (!pass || !pass->layers) {
        free(pass);
        err_set(err, ERR_NOMEM, "no memory for a pass over %u layers", c->L);
        return NULL;
    }
    pass->model = model;
    pass->pool = pool;
    pass->tokens_max = tokens_max;
    pass->training = training;
    pass->block = block_new(model, pool, tokens_max, training, err);
    if (!pass->block ||
        arena_init(&pass->arena, pass_bytes(c, tokens_max, training), "activations", err)) {
        pass_free(pass);
        return NULL;
    }
    arena_prefer_huge(&pass->arena);
    struct pass_taker taker = {.arena = &pass->arena};
    pass_take_all(&taker, pass, c, tokens_max, training);
    if (!training)
        for (uint32_t l = 1; l < c->L; l++)
            pass->layers[l] = pass->layers[0];
    return pass;
}

void pass_free(struct pass *pass)
{
    if (!pass)
        return;
    block_free(pass->block);
    arena_release(&pass->arena);
    free(pass->layers);
    free(pass);
}

/* ---- the pass ---- */

static enum err_code pass_check(const struct pass *pass, const struct pass_batch *batch,
                                struct err *err)
{
    const struct model_config *c = &pass->model->config;
    if (batch->seqs == 0 || batch->offset[0] != 0)
        return err_set(err, ERR_VALUE, "a batch needs sequences, the first at row 0");
    for (size_t s = 0; s < batch->seqs; s++) {
        const uint32_t begin = batch->offset[s], end = batch->offset[s + 1];
        if (end <= begin)
            return err_set(err, ERR_VALUE, "sequence %zu of the batch is empty", s);
        if (end - begin > c->T)
            return err_set(err, ERR_VALUE,
                           "sequence %zu of the batch has %u tokens, the model at most %u", s,
                           end - begin, c->T);
        if (end > pass->tokens_max)
            return err_set(err, ERR_VALUE, "a batch of over %zu tokens does not fit",
                           pass->tokens_max);
        for (uint32_t n = begin; n < end; n++)
            if (batch->ids[n] < 0 || (uint32_t)batch->ids[n] >= c->V)
                return err_set(err, ERR_VALUE,
                               "token %u of sequence %zu is %d, outside the vocabulary of %u",
                               n - begin, s, batch->ids[n], c->V);
    }
    return ERR_OK;
}

static void pass_positions(struct pass *pass)
{
    const struct pass_batch *batch = &pass->batch;
    for (size_t s = 0; s < batch->seqs; s++)
        for (uint32_t n = batch->offset[s]; n < batch->offset[s + 1]; n++)
            pass->position[n] = n - batch->offset[s];
}

/* The rows of layer l as block.h wants them.  Each layer writes the next one's x; in inference
 * that is the same array. */
static struct block_rows pass_rows(const struct pass *pass, uint32_t l)
{
    const struct pass_layer *layer = &pass->layers[l];
    const bool last = l + 1 == pass->model->config.L;
    return (struct block_rows){.M = pass->N,
                               .keep = pass->training,
                               .position = pass->position,
                               .x = layer->x,
                               .x_mid = layer->x_mid,
                               .x_out = last ? pass->x_last : pass->layers[l + 1].x,
                               .norm = pass->norm,
                               .qkv = layer->qkv,
                               .qk_raw = layer->qk_raw,
                               .att = layer->att,
                               .up = layer->up,
                               .act = pass->act,
                               .mean1 = layer->mean1,
                               .r1 = layer->r1,
                               .mean2 = layer->mean2,
                               .r2 = layer->r2,
                               .r_qk = layer->r_qk,
                               .r_qk_stride = pass->N};
}

enum err_code pass_forward(struct pass *pass, const struct pass_batch *batch, struct err *err)
{
    enum err_code rc = pass_check(pass, batch, err);
    if (rc)
        return rc;
    const struct block *block = pass->block;
    block_refresh(pass->block);
    pass->batch = *batch;
    pass->N = batch->offset[batch->seqs];
    pass->grad = NULL;
    pass->kept = 0;
    pass_positions(pass);
    block_embed(block, pass->layers[0].x, batch->ids, pass->position, pass->N);
    for (uint32_t l = 0; l < pass->model->config.L; l++) {
        const struct block_rows rows = pass_rows(pass, l);
        const struct block_sequences sequences = {batch->offset, batch->seqs,
                                                  pass->layers[l].lse};
        block_sequences_forward(block, l, &rows, &sequences);
    }
    block_final(block, pass->hidden, pass->mean, pass->r, pass->x_last, pass->N);
    return ERR_OK;
}

const float *pass_hidden(const struct pass *pass)
{
    return pass->hidden;
}
