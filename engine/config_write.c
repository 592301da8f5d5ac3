/* config_write.c -- config.json as transformers 4 and 5, vLLM and llama.cpp read it; see
 * config.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/config.h"

/* The class names of transformers begin with these. */
static const char *config_class(const char *model_type)
{
    static const char *const table[][2] = {{"gpt2", "GPT2"},
                                           {"llama", "Llama"},
                                           {"mistral", "Mistral"},
                                           {"qwen2", "Qwen2"},
                                           {"qwen3", "Qwen3"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(model_type, table[i][0]) == 0)
            return table[i][1];
    return "Llama";
}

/* The fewest digits that read back as the same float: 1e-05, not 9.99999975e-06.  Always with
 * a point or an exponent: without, it would read as an integer. */
static void config_put_float(struct buf *out, const char *key, float value)
{
    char text[32];
    const bool whole = value == floorf(value) && value < 1e9f;
    if (whole)
        snprintf(text, sizeof text, "%.1f", (double)value);
    for (int digits = 1; !whole && digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    buf_printf(out, ",\n  \"%s\": %s", key, text);
}

static void config_put(struct buf *out, const char *key, uint32_t value)
{
    buf_printf(out, ",\n  \"%s\": %u", key, value);
}

static void config_put_bool(struct buf *out, const char *key, bool value)
{
    buf_printf(out, ",\n  \"%s\": %s", key, value ? "true" : "false");
}

static void config_put_token(struct buf *out, const char *key, int32_t id)
{
    if (id < 0)
        buf_printf(out, ",\n  \"%s\": null", key);
    else
        buf_printf(out, ",\n  \"%s\": %d", key, id);
}

static void config_put_eos(struct buf *out, const struct model_config *config)
{
    if (config->eos_mores == 0) {
        config_put_token(out, "eos_token_id", config->eos);
        return;
    }
    buf_printf(out, ",\n  \"eos_token_id\": [%d", config->eos);
    for (uint32_t i = 0; i < config->eos_mores; i++)
        buf_printf(out, ", %d", config->eos_more[i]);
    buf_puts(out, "]");
}

static void config_put_rope(struct buf *out, const struct model_config *config)
{
    config_put_float(out, "rope_theta", config->rope_theta);
    if (config->rope_scaling == ROPE_DEFAULT) {
        buf_puts(out, ",\n  \"rope_scaling\": null");
        return;
    }
    const bool llama3 = config->rope_scaling == ROPE_LLAMA3;
    buf_printf(out, ",\n  \"rope_scaling\": {\n  \"rope_type\": \"%s\"",
               llama3 ? "llama3" : "linear");
    config_put_float(out, "factor", config->rope_factor);
    if (llama3) {
        config_put_float(out, "low_freq_factor", config->rope_low_freq_factor);
        config_put_float(out, "high_freq_factor", config->rope_high_freq_factor);
        config_put(out, "original_max_position_embeddings", config->rope_original_T);
    }
    buf_puts(out, "\n  }");
}

static void config_put_labels(struct buf *out, const struct model_config *config)
{
    char name[MODEL_LABEL_MAX];
    buf_puts(out, ",\n  \"id2label\": {");
    for (uint32_t i = 0; i < config->labels; i++) {
        model_config_label(config, i, name);
        buf_printf(out, "%s\"%u\": ", i ? ", " : "", i);
        buf_json_string(out, name, strlen(name));
    }
    buf_puts(out, "},\n  \"label2id\": {");
    for (uint32_t i = 0; i < config->labels; i++) {
        model_config_label(config, i, name);
        buf_puts(out, i ? ", " : "");
        buf_json_string(out, name, strlen(name));
        buf_printf(out, ": %u", i);
    }
    buf_puts(out, "}");
}

static void config_put_gpt2(struct buf *out, const struct model_config *config)
{
    config_put(out, "n_embd", config->C);
    config_put(out, "n_inner", config->F);
    config_put(out, "n_layer", config->L);
    config_put(out, "n_head", config->H);
    config_put(out, "n_positions", config->T);
    config_put_float(out, "layer_norm_epsilon", config->norm_eps);
    buf_puts(out, ",\n  \"activation_function\": \"gelu_new\"");
}

static void config_put_llama(struct buf *out, const struct model_config *config)
{
    config_put(out, "hidden_size", config->C);
    config_put(out, "intermediate_size", config->F);
    config_put(out, "num_hidden_layers", config->L);
    config_put(out, "num_attention_heads", config->H);
    config_put(out, "num_key_value_heads", config->G);
    config_put(out, "head_dim", config->D);
    config_put(out, "max_position_embeddings", config->T);
    config_put_float(out, "rms_norm_eps", config->norm_eps);
    buf_puts(out, ",\n  \"hidden_act\": \"silu\"");
    config_put_rope(out, config);
    if (strcmp(config->model_type, "mistral") == 0)
        buf_puts(out, ",\n  \"sliding_window\": null");
    else if (strncmp(config->model_type, "qwen", 4) == 0)
        config_put_bool(out, "use_sliding_window", false);
    if (strcmp(config->model_type, "llama") == 0 || strcmp(config->model_type, "qwen3") == 0)
        config_put_bool(out, "attention_bias", config->out_bias);
    if (strcmp(config->model_type, "llama") == 0)
        config_put_bool(out, "mlp_bias", config->mlp_bias);
}

void model_config_write(const struct model_config *config, struct buf *out)
{
    const bool gpt2 = config->family == MODEL_GPT2;
    const char *head = config->head == MODEL_HEAD_SCORE ? "ForSequenceClassification"
                       : gpt2                           ? "LMHeadModel"
                                                        : "ForCausalLM";
    buf_printf(out, "{\n  \"architectures\": [\"%s%s\"]", config_class(config->model_type),
               head);
    buf_printf(out, ",\n  \"model_type\": \"%s\"", config->model_type);
    config_put(out, "vocab_size", config->V);
    if (gpt2)
        config_put_gpt2(out, config);
    else
        config_put_llama(out, config);
    config_put_bool(out, "tie_word_embeddings", config->tied);
    config_put_token(out, "bos_token_id", config->bos);
    config_put_eos(out, config);
    config_put_token(out, "pad_token_id", config->pad);
    if (config->head == MODEL_HEAD_SCORE)
        config_put_labels(out, config);
    buf_puts(out, ",\n  \"torch_dtype\": \"float32\"\n}\n");
}
