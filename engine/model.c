/* model.c -- layout, lookup, start values, fingerprint; see model.h.  Files are read and
 * written in engine/model_file.c. */
#include "engine/model.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/rng.h"

enum {
    MODEL_ALIGN = 16, /* floats; a cache line */
    MODEL_GLOBALS = 8,
    MODEL_LAYER_TENSORS = 20, /* most tensors of a layer, and of what is outside layers */
    MODEL_CONFIG_BYTES = 8 << 20,
};

enum model_kind { MODEL_WEIGHT, MODEL_CONV1D, MODEL_EMBEDDING };

static void model_add(struct model *model, const char *name, uint32_t rows, uint32_t cols)
{
    struct model_tensor *tensor = &model->tensors[model->tensors_n++];
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->at = model->params;
    tensor->rows = rows;
    tensor->cols = cols;
    const size_t size = (size_t)rows * cols;
    model->params += (size + MODEL_ALIGN - 1) / MODEL_ALIGN * MODEL_ALIGN;
}

static void model_add_matrix(struct model *model, enum model_kind kind, const char *name,
                             uint32_t rows, uint32_t cols)
{
    model_add(model, name, rows, cols);
    struct model_tensor *tensor = &model->tensors[model->tensors_n - 1];
    tensor->decay = kind != MODEL_EMBEDDING;
    tensor->transposed_on_disk = kind == MODEL_CONV1D;
}

static void model_add_vector(struct model *model, const char *name, uint32_t cols)
{
    model_add(model, name, 1, cols);
    model->tensors[model->tensors_n - 1].vector = true;
}

/* "prefix.layer.suffix" into name. */
static const char *model_layer_name(char name[MODEL_NAME_MAX], const char *prefix,
                                    uint32_t layer, const char *suffix)
{
    const int n = snprintf(name, MODEL_NAME_MAX, "%s.%u.%s", prefix, layer, suffix);
    assert(n > 0 && n < MODEL_NAME_MAX);
    return name;
}

static void model_lay_out_gpt2_layer(struct model *model, uint32_t layer)
{
    const struct model_config *c = &model->config;
    const struct {
        const char *name;
        uint32_t rows, cols; /* rows 0: a vector */
    } rows[] = {
        {"ln_1.weight", 0, c->C},
        {"ln_1.bias", 0, c->C},
        {"attn.c_attn.weight", 3 * c->C, c->C},
        {"attn.c_attn.bias", 0, 3 * c->C},
        {"attn.c_proj.weight", c->C, c->C},
        {"attn.c_proj.bias", 0, c->C},
        {"ln_2.weight", 0, c->C},
        {"ln_2.bias", 0, c->C},
        {"mlp.c_fc.weight", c->F, c->C},
        {"mlp.c_fc.bias", 0, c->F},
        {"mlp.c_proj.weight", c->C, c->F},
        {"mlp.c_proj.bias", 0, c->C},
    };
    char name[MODEL_NAME_MAX];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        model_layer_name(name, "transformer.h", layer, rows[i].name);
        if (rows[i].rows)
            model_add_matrix(model, MODEL_CONV1D, name, rows[i].rows, rows[i].cols);
        else
            model_add_vector(model, name, rows[i].cols);
    }
}

/* Weights that have the same input lie side by side, so that they can be one product. */
static void model_lay_out_llama_layer(struct model *model, uint32_t layer)
{
    const struct model_config *c = &model->config;
    const uint32_t q = c->H * c->D, kv = c->G * c->D;
    const struct {
        bool present;
        const char *name;
        uint32_t rows, cols;
    } rows[] = {
        {true, "input_layernorm.weight", 0, c->C},
        {true, "self_attn.q_proj.weight", q, c->C},
        {true, "self_attn.k_proj.weight", kv, c->C},
        {true, "self_attn.v_proj.weight", kv, c->C},
        {c->qkv_bias, "self_attn.q_proj.bias", 0, q},
        {c->qkv_bias, "self_attn.k_proj.bias", 0, kv},
        {c->qkv_bias, "self_attn.v_proj.bias", 0, kv},
        {c->qk_norm, "self_attn.q_norm.weight", 0, c->D},
        {c->qk_norm, "self_attn.k_norm.weight", 0, c->D},
        {true, "self_attn.o_proj.weight", c->C, q},
        {c->out_bias, "self_attn.o_proj.bias", 0, c->C},
        {true, "post_attention_layernorm.weight", 0, c->C},
        {true, "mlp.gate_proj.weight", c->F, c->C},
        {true, "mlp.up_proj.weight", c->F, c->C},
        {c->mlp_bias, "mlp.gate_proj.bias", 0, c->F},
        {c->mlp_bias, "mlp.up_proj.bias", 0, c->F},
        {true, "mlp.down_proj.weight", c->C, c->F},
        {c->mlp_bias, "mlp.down_proj.bias", 0, c->C},
    };
    char name[MODEL_NAME_MAX];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!rows[i].present)
            continue;
        model_layer_name(name, "model.layers", layer, rows[i].name);
        if (rows[i].rows)
            model_add_matrix(model, MODEL_WEIGHT, name, rows[i].rows, rows[i].cols);
        else
            model_add_vector(model, name, rows[i].cols);
    }
}

static void model_lay_out(struct model *model)
{
    const struct model_config *c = &model->config;
    const bool gpt2 = c->family == MODEL_GPT2;
    model_add_matrix(model, MODEL_EMBEDDING,
                     gpt2 ? "transformer.wte.weight" : "model.embed_tokens.weight", c->V, c->C);
    if (gpt2)
        model_add_matrix(model, MODEL_EMBEDDING, "transformer.wpe.weight", c->T, c->C);
    for (uint32_t layer = 0; layer < c->L; layer++) {
        if (gpt2)
            model_lay_out_gpt2_layer(model, layer);
        else
            model_lay_out_llama_layer(model, layer);
    }
    model_add_vector(model, gpt2 ? "transformer.ln_f.weight" : "model.norm.weight", c->C);
    if (gpt2)
        model_add_vector(model, "transformer.ln_f.bias", c->C);
    if (c->head == MODEL_HEAD_SCORE)
        model_add_matrix(model, MODEL_WEIGHT, "score.weight", c->labels, c->C);
    else if (!c->tied)
        model_add_matrix(model, MODEL_WEIGHT, "lm_head.weight", c->V, c->C);
}

struct model *model_new(const struct model_config *config, struct err *err)
{
    struct model *model = calloc(1, sizeof *model);
    const size_t most = MODEL_GLOBALS + (size_t)config->L * MODEL_LAYER_TENSORS;
    if (model)
        model->tensors = calloc(most, sizeof *model->tensors);
    if (!model || !model->tensors) {
        free(model);
        err_set(err, ERR_NOMEM, "no memory for a model of %u layers", config->L);
        return NULL;
    }
    model->config = *config;
    model_lay_out(model);
    assert(model->tensors_n <= most);
    if (arena_init(&model->arena, model->params * sizeof(float), "a model's weights", err)) {
        model_free(model);
        return NULL;
    }
    arena_prefer_huge(&model->arena);
    model->w = arena_array(&model->arena, model->params, sizeof(float));
    assert(model->w);
    model->generation = 1;
    return model;
}

void model_free(struct model *model)
{
    if (!model)
        return;
    arena_release(&model->arena);
    free(model->tensors);
    free(model);
}

void model_set_weights(struct model *model, const float *w)
{
    assert((uintptr_t)w % (MODEL_ALIGN * sizeof *w) == 0);
    model->w = w ? (float *)(uintptr_t)w : (float *)(void *)model->arena.base;
    model->generation++;
}

const struct model_tensor *model_find(const struct model *model, const char *name)
{
    for (size_t i = 0; i < model->tensors_n; i++)
        if (strcmp(model->tensors[i].name, name) == 0)
            return &model->tensors[i];
    return NULL;
}

static bool model_name_ends(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

void model_init_random(struct model *model, uint64_t seed, float std)
{
    /* Each layer adds twice to the residual stream, whose size is to stay the same. */
    const double residual = 1.0 / sqrt(2.0 * (double)model->config.L);
    for (size_t i = 0; i < model->tensors_n; i++) {
        const struct model_tensor *tensor = &model->tensors[i];
        const size_t size = (size_t)tensor->rows * tensor->cols;
        float *w = model->w + tensor->at;
        if (tensor->vector) {
            const float value = model_name_ends(tensor->name, ".bias") ? 0.0f : 1.0f;
            for (size_t k = 0; k < size; k++)
                w[k] = value;
            continue;
        }
        const bool projects = model_name_ends(tensor->name, ".c_proj.weight") ||
                              model_name_ends(tensor->name, ".o_proj.weight") ||
                              model_name_ends(tensor->name, ".down_proj.weight");
        const double scale = (double)std * (projects ? residual : 1.0);
        for (size_t k = 0; k < size; k++)
            w[k] = (float)(scale * rng_normal(seed, RNG_STREAM_INIT, i, (uint32_t)(k >> 32),
                                              (uint32_t)k));
    }
    model->generation++;
}

void model_fingerprint(const struct model *model, struct hash *out)
{
    struct hash parts[2];
    struct buf text;
    buf_init(&text, MODEL_CONFIG_BYTES);
    model_config_write(&model->config, &text);
    assert(!text.failed);
    hash_blake2b(&parts[0], text.data, text.len);
    hash_blake2b(&parts[1], model->w, model_bytes(model));
    hash_blake2b(out, parts, sizeof parts);
    buf_release(&text);
}
