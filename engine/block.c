/* block.c -- see block.h. */
#include "engine/block.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <math.h>

#include "engine/kernels/rope.h"

enum { BLOCK_LINEARS_MAX = 8 }; /* of a layer */

/* ---- where things are in the flat array ---- */

static size_t block_at(const struct model *model, const char *name)
{
    const struct model_tensor *tensor = model_find(model, name);
    return tensor ? tensor->at : BLOCK_NONE;
}

/* The tensor "prefix" "name" "suffix"; BLOCK_NONE where the model has none. */
static size_t block_find(const struct model *model, const char *prefix, const char *name,
                         const char *suffix)
{
    char full[2 * MODEL_NAME_MAX];
    snprintf(full, sizeof full, "%s%s%s", prefix, name, suffix);
    return block_at(model, full);
}

static struct block_linear block_linear_find(const struct model *model, const char *prefix,
                                             const char *name, size_t N, size_t K)
{
    const struct block_linear linear = {.w_at = block_find(model, prefix, name, ".weight"),
                                        .bias_at = block_find(model, prefix, name, ".bias"),
                                        .N = N,
                                        .K = K};
    assert(linear.w_at != BLOCK_NONE);
    return linear;
}

static struct block_norm block_norm_find(const struct model *model, const char *prefix,
                                         const char *name)
{
    const struct block_norm norm = {block_find(model, prefix, name, ".weight"),
                                    block_find(model, prefix, name, ".bias")};
    assert(norm.w_at != BLOCK_NONE);
    return norm;
}

/* Make one of n linears where they lie without gaps; returns how many are left. */
static size_t block_join(struct block_linear *linear, size_t n)
{
    const bool bias = linear[0].bias_at != BLOCK_NONE;
    struct block_linear all = linear[0];
    for (size_t i = 1; i < n; i++) {
        if (linear[i].w_at != all.w_at + all.N * all.K ||
            (bias && linear[i].bias_at != all.bias_at + all.N))
            return n;
        all.N += linear[i].N;
    }
    linear[0] = all;
    return 1;
}

static void block_find_gpt2(struct block *block, uint32_t l)
{
    const struct model *model = block->model;
    const struct model_config *c = &model->config;
    struct block_layer *layer = &block->layers[l];
    char prefix[MODEL_NAME_MAX];
    snprintf(prefix, sizeof prefix, "transformer.h.%u.", l);
    layer->norm1 = block_norm_find(model, prefix, "ln_1");
    layer->norm2 = block_norm_find(model, prefix, "ln_2");
    layer->qkv[0] = block_linear_find(model, prefix, "attn.c_attn", 3 * (size_t)c->C, c->C);
    layer->out = block_linear_find(model, prefix, "attn.c_proj", c->C, c->C);
    layer->up[0] = block_linear_find(model, prefix, "mlp.c_fc", c->F, c->C);
    layer->down = block_linear_find(model, prefix, "mlp.c_proj", c->C, c->F);
    layer->qkvs = layer->ups = 1;
    layer->q_norm_at = layer->k_norm_at = BLOCK_NONE;
}

static void block_find_llama(struct block *block, uint32_t l)
{
    const struct model *model = block->model;
    const struct model_config *c = &model->config;
    struct block_layer *layer = &block->layers[l];
    const size_t q = (size_t)c->H * c->D, kv = (size_t)c->G * c->D;
    char prefix[MODEL_NAME_MAX];
    snprintf(prefix, sizeof prefix, "model.layers.%u.", l);
    layer->norm1 = block_norm_find(model, prefix, "input_layernorm");
    layer->norm2 = block_norm_find(model, prefix, "post_attention_layernorm");
    layer->qkv[0] = block_linear_find(model, prefix, "self_attn.q_proj", q, c->C);
    layer->qkv[1] = block_linear_find(model, prefix, "self_attn.k_proj", kv, c->C);
    layer->qkv[2] = block_linear_find(model, prefix, "self_attn.v_proj", kv, c->C);
    layer->qkvs = block_join(layer->qkv, 3);
    layer->q_norm_at = block_find(model, prefix, "self_attn.q_norm", ".weight");
    layer->k_norm_at = block_find(model, prefix, "self_attn.k_norm", ".weight");
    layer->out = block_linear_find(model, prefix, "self_attn.o_proj", c->C, q);
    layer->up[0] = block_linear_find(model, prefix, "mlp.gate_proj", c->F, c->C);
    layer->up[1] = block_linear_find(model, prefix, "mlp.up_proj", c->F, c->C);
    layer->ups = block_join(layer->up, 2);
    layer->down = block_linear_find(model, prefix, "mlp.down_proj", c->C, c->F);
}

static void block_find_all(struct block *block)
{
    const struct model *model = block->model;
    const struct model_config *c = &model->config;
    const bool gpt2 = c->family == MODEL_GPT2;
    block->wte_at =
        block_at(model, gpt2 ? "transformer.wte.weight" : "model.embed_tokens.weight");
    block->wpe_at = gpt2 ? block_at(model, "transformer.wpe.weight") : BLOCK_NONE;
    block->final =
        block_norm_find(model, gpt2 ? "transformer." : "model.", gpt2 ? "ln_f" : "norm");
    if (c->head == MODEL_HEAD_SCORE)
        block->head = block_linear_find(model, "", "score", c->labels, c->C);
    else if (!c->tied)
        block->head = block_linear_find(model, "", "lm_head", c->V, c->C);
    else
        block->head = (struct block_linear){
            .w_at = block->wte_at, .bias_at = BLOCK_NONE, .N = c->V, .K = c->C};
    for (uint32_t l = 0; l < c->L; l++) {
        if (gpt2)
            block_find_gpt2(block, l);
        else
            block_find_llama(block, l);
    }
}

/* The linears of a layer, for packing. */
static size_t block_layer_linears(struct block_layer *layer,
                                  struct block_linear *list[BLOCK_LINEARS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < layer->qkvs; i++)
        list[n++] = &layer->qkv[i];
    list[n++] = &layer->out;
    for (size_t i = 0; i < layer->ups; i++)
        list[n++] = &layer->up[i];
    list[n++] = &layer->down;
    return n;
}

/* ---- construction ---- */

static size_t block_bytes(struct block *block)
{
    const struct model_config *c = &block->model->config;
    struct block_linear *list[BLOCK_LINEARS_MAX];
    size_t bytes = block_linear_bytes(block, &block->head);
    for (uint32_t l = 0; l < c->L; l++)
        for (size_t i = block_layer_linears(&block->layers[l], list); i-- > 0;)
            bytes += block_linear_bytes(block, list[i]);
    if (c->family == MODEL_LLAMA)
        bytes += 2 * (block->positions * (c->D / 2) * sizeof(float) + ARENA_ALIGN);
    return bytes;
}

static void block_take_all(struct block *block)
{
    const struct model_config *c = &block->model->config;
    struct block_linear *list[BLOCK_LINEARS_MAX];
    for (uint32_t l = 0; l < c->L; l++) {
        const size_t n = block_layer_linears(&block->layers[l], list);
        for (size_t i = 0; i < n; i++)
            block_linear_take(block, list[i]);
    }
    block_linear_take(block, &block->head);
    if (c->family != MODEL_LLAMA)
        return;
    float f[ATTENTION_D_MAX / 2];
    const size_t entries = block->positions * (c->D / 2);
    block->cos_table = arena_array(&block->arena, entries, sizeof(float));
    block->sin_table = arena_array(&block->arena, entries, sizeof(float));
    assert(block->cos_table && block->sin_table);
    rope_frequencies(f, c);
    rope_tables(block->cos_table, block->sin_table, f, block->positions, c->D);
}

static void block_pack_all(struct block *block)
{
    struct block_linear *list[BLOCK_LINEARS_MAX];
    for (uint32_t l = 0; l < block->model->config.L; l++) {
        const size_t n = block_layer_linears(&block->layers[l], list);
        for (size_t i = 0; i < n; i++)
            block_linear_pack(block, list[i]);
    }
    block_linear_pack(block, &block->head);
    block->generation = block->model->generation;
}

struct block *block_new(const struct model *model, struct pool *pool, size_t positions,
                        bool training, struct err *err)
{
    const struct model_config *c = &model->config;
    struct block *block = calloc(1, sizeof *block);
    if (block)
        block->layers = calloc(c->L, sizeof *block->layers);
    if (!block || !block->layers) {
        free(block);
        err_set(err, ERR_NOMEM, "no memory for %u layers", c->L);
        return NULL;
    }
    block->model = model;
    block->pool = pool;
    block->precision = model->precision;
    block->training = training;
    block->positions = positions < c->T ? positions : c->T;
    block->qkv_width = ((size_t)c->H + 2 * (size_t)c->G) * c->D;
    block->up_width = c->family == MODEL_LLAMA ? 2 * (size_t)c->F : c->F;
    block->attention = (struct attention){.H = c->H,
                                          .G = c->G,
                                          .D = c->D,
                                          .scale = (float)(1.0 / sqrt((double)c->D)),
                                          .q_stride = block->qkv_width,
                                          .kv_stride = block->qkv_width,
                                          .out_stride = (size_t)c->H * c->D};
    block_find_all(block);
    if (arena_init(&block->arena, block_bytes(block), "packed weights", err)) {
        block_free(block);
        return NULL;
    }
    arena_prefer_huge(&block->arena);
    block_take_all(block);
    block_pack_all(block);
    return block;
}

void block_free(struct block *block)
{
    if (!block)
        return;
    arena_release(&block->arena);
    free(block->layers);
    free(block);
}

void block_refresh(struct block *block)
{
    if (block->generation != block->model->generation)
        block_pack_all(block);
}
