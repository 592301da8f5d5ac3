/*
 * model.h -- a model's parameters: one flat float array, and the table of what is where.
 *
 * Parameters are held in float32, in the shapes of the Hugging Face files except that GPT-2's
 * Conv1D weights are turned to (out, in) like every other, so that y = x w^T everywhere.
 * Gradients and optimizer moments are flat arrays of the same length and layout.
 *
 * The order of tensors, and so the flat layout, is a pure function of the config.
 */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/hash.h"
#include "engine/config.h"
#include "engine/precision.h"

#define MODEL_NAME_MAX 96

struct model_tensor {
    /* as in model.safetensors: "model.layers.0.mlp.up_proj.weight" */
    char name[MODEL_NAME_MAX];
    size_t at;               /* first element in the flat array */
    uint32_t rows, cols;     /* (out,in) of a weight; (1,n) of a vector */
    bool vector;             /* one dimension on disk */
    bool transposed_on_disk; /* GPT-2 Conv1D: (in,out) in the file */
    bool decay;              /* weight decay applies: a matrix that is no embedding */
};

struct model {
    struct model_config config;
    size_t tensors_n;
    struct model_tensor *tensors;
    size_t params;       /* length of the flat array; each tensor starts 16-aligned, gaps 0 */
    float *w;            /* (params) the model's own, or as model_set_weights says */
    uint64_t generation; /* bumped by whoever changes w; packed copies compare it */
    /* How passes and generators made from now on multiply; fp32 until the owner says else. */
    enum precision precision;
    struct arena arena; /* holds the model's own w */
};

/* Allocate and lay out; w is zero.  The caller frees it with model_free.  NULL, and ERR_NOMEM,
 * where there is no memory. */
struct model *model_new(const struct model_config *config, struct err *err);
void model_free(struct model *model);

/* config.json and model.safetensors (or model.safetensors.index.json with its shards) of
 * `dir`.  F32, BF16, F16 on disk.  NULL, and ERR_FORMAT naming file and tensor, where one is
 * missing, misshapen or unknown (a causal model's missing lm_head with tied embeddings is fine),
 * ERR_VALUE where a number is not finite; errors of model_config_read and of safetensors.h. */
struct model *model_load(const char *dir, struct err *err);

/* As model_load, but the head becomes a score head of `labels` outputs: kept if the directory
 * has one of that size, else zero.  Used to make a critic from a policy or a reward model. */
struct model *model_load_with_score_head(const char *dir, uint32_t labels, struct err *err);

/* Write config.json and model.safetensors (float32) into the existing directory `dir`, each
 * atomically.  Tokenizer files are the caller's.  ERR_IO, ERR_NOMEM. */
enum err_code model_save(const struct model *model, const char *dir, struct err *err);

/* Normal(0, std) weights (residual projections scaled by 1/sqrt(2 L)), ones in norms, zeros in
 * biases; a pure function of seed and config. */
void model_init_random(struct model *model, uint64_t seed, float std);

/* Compute with these weights from now on, (params) on a cache line, which only the caller keeps
 * and changes; NULL: with the model's own again.  Bumps the generation.  For a model that is not
 * trained: whoever writes w would write there. */
void model_set_weights(struct model *model, const float *w);

/* NULL where there is none of that name. */
const struct model_tensor *model_find(const struct model *model, const char *name);

/* BLAKE2b over config and weights: what a ledger calls the model's fingerprint. */
void model_fingerprint(const struct model *model, struct hash *out);

/* Bytes of the flat weights, for sending; the receiver checks the layout by config. */
static inline size_t model_bytes(const struct model *model)
{
    return model->params * sizeof(float);
}

#endif
