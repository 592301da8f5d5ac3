/*
 * config.h -- the shape of a model: what config.json of a Hugging Face directory says.
 *
 * Two families.  MODEL_LLAMA: RMSNorm, RoPE, SwiGLU, grouped-query attention; covers
 * model_type llama, mistral, qwen2 (q/k/v bias), qwen3 (q/k norm), and what shares their
 * names (SmolLM is "llama").  MODEL_GPT2: LayerNorm, learned positions, GELU (tanh form), biases.
 * Anything in config.json that would change the arithmetic and is not known here is an error
 * that names the key (other activations, quantization, experts, ...).  A sliding window only
 * bounds T: sequences no longer than the window are computed exactly.
 */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define MODEL_FAMILY_MAP(X) X(GPT2) X(LLAMA)
enum model_family {
#define X(name) MODEL_##name,
    MODEL_FAMILY_MAP(X)
#undef X
};

enum model_head {
    MODEL_HEAD_LM,    /* vocabulary logits: *ForCausalLM */
    MODEL_HEAD_SCORE, /* score.weight (labels, C), no bias: *ForSequenceClassification */
};

enum rope_scaling { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3 };

#define MODEL_TYPE_MAX     32
#define MODEL_LABELS_NAMED 16 /* labels whose names are kept; further ones are LABEL_i */
#define MODEL_LABEL_MAX    48 /* bytes of a name, with the NUL */

struct model_config {
    enum model_family family;
    char model_type[MODEL_TYPE_MAX]; /* "llama", "mistral", "qwen2", "qwen3", "gpt2" */
    enum model_head head;
    uint32_t labels; /* outputs of the score head; 0 with MODEL_HEAD_LM */
    char label[MODEL_LABELS_NAMED][MODEL_LABEL_MAX]; /* id2label; "": LABEL_i */

    uint32_t V; /* vocabulary, as on disk */
    uint32_t C; /* hidden size, channels */
    uint32_t L; /* layers */
    uint32_t H; /* query heads */
    uint32_t G; /* key/value heads; divides H; equals H in GPT-2 */
    uint32_t D; /* head size: head_dim, or C / H */
    uint32_t F; /* feed-forward size */
    uint32_t T; /* greatest sequence length (positions) */

    float norm_eps;
    bool tied;     /* lm_head.weight is the token embedding */
    bool qkv_bias; /* Qwen2 (or attention_bias) */
    bool out_bias; /* attention_bias of llama: o_proj too */
    bool mlp_bias;
    bool qk_norm;  /* Qwen3: RMSNorm over D on q and k before RoPE */

    float rope_theta;
    enum rope_scaling rope_scaling;
    float rope_factor; /* linear and llama3 */
    float rope_low_freq_factor, rope_high_freq_factor; /* llama3 */
    uint32_t rope_original_T;                          /* llama3 */

    int32_t bos, eos, pad; /* token ids; -1: none */
    int32_t eos_more[7];   /* further end-of-sequence ids ("eos_token_id": [..]) */
    uint32_t eos_mores;
};

/* Read and check dir/config.json.  ERR_IO; ERR_FORMAT and ERR_VALUE name the file and the key. */
enum err_code model_config_read(struct model_config *config, const char *dir, struct err *err);

/* As config.json that transformers reads, "architectures" and torch_dtype float32 included. */
void model_config_write(const struct model_config *config, struct buf *out);

/* What output i < labels is called: its name in id2label, else "LABEL_i". */
void model_config_label(const struct model_config *config, uint32_t i,
                        char name[MODEL_LABEL_MAX]);

/* True if the id ends a sequence (eos or eos_more). */
bool model_config_is_eos(const struct model_config *config, int32_t id);

const char *model_family_name(enum model_family family);

#endif
