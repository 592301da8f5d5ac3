/* config.c -- see config.h.  Reading; engine/config_write.c writes. */
#include "engine/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/kernels/attention.h"

enum { CONFIG_BYTES_MAX = 8 << 20 }; /* id2label of many labels is long */

/* Bounds that keep every product of sizes within 64 bits and any allocation's size sane. */
#define CONFIG_SIZE_MAX   (1u << 20)
#define CONFIG_V_MAX      (1u << 24)
#define CONFIG_T_MAX      (1u << 24)
#define CONFIG_LAYERS_MAX 1024u
#define CONFIG_LABELS_MAX 65536u

const char *model_family_name(enum model_family family)
{
    static const char *const names[] = {
#define X(name) #name,
        MODEL_FAMILY_MAP(X)
#undef X
    };
    return (unsigned)family < sizeof names / sizeof names[0] ? names[family] : "?";
}

bool model_config_is_eos(const struct model_config *config, int32_t id)
{
    if (id < 0)
        return false;
    for (uint32_t i = 0; i < config->eos_mores; i++)
        if (config->eos_more[i] == id)
            return true;
    return id == config->eos;
}

/* What a model type is, and what transformers takes for a key that is absent. */
struct config_type {
    const char *name;
    enum model_family family;
    uint32_t V, C, F, L, H, G, D, T, window;
    double norm_eps;
    int32_t bos, eos;
    bool tied, qkv_bias, qk_norm, has_bias_keys;
};

// clang-format off
static const struct config_type config_types[] = {
    {.name = "gpt2", .family = MODEL_GPT2, .V = 50257, .C = 768, .L = 12, .H = 12, .T = 1024,
     .norm_eps = 1e-5, .bos = 50256, .eos = 50256, .tied = true},
    {.name = "llama", .family = MODEL_LLAMA, .V = 32000, .C = 4096, .F = 11008, .L = 32,
     .H = 32, .T = 2048, .norm_eps = 1e-6, .bos = 1, .eos = 2, .has_bias_keys = true},
    {.name = "mistral", .family = MODEL_LLAMA, .V = 32000, .C = 4096, .F = 14336, .L = 32,
     .H = 32, .G = 8, .T = 131072, .window = 4096, .norm_eps = 1e-6, .bos = 1, .eos = 2},
    {.name = "qwen2", .family = MODEL_LLAMA, .V = 151936, .C = 4096, .F = 22016, .L = 32,
     .H = 32, .G = 32, .T = 32768, .window = 4096, .norm_eps = 1e-6, .bos = -1, .eos = -1,
     .qkv_bias = true},
    {.name = "qwen3", .family = MODEL_LLAMA, .V = 151936, .C = 4096, .F = 22016, .L = 32,
     .H = 32, .G = 32, .D = 128, .T = 32768, .window = 4096, .norm_eps = 1e-6, .bos = -1,
     .eos = -1, .qk_norm = true, .has_bias_keys = true},
};
// clang-format on

static const struct config_type *config_type_find(const char *name)
{
    for (size_t i = 0; i < sizeof config_types / sizeof config_types[0]; i++)
        if (strcmp(name, config_types[i].name) == 0)
            return &config_types[i];
    return NULL;
}

/* The document being read, so that a getter is one short line.  The first failure stays in
 * rc, and the getters after it do nothing. */
struct config_reader {
    const json_t *root;
    const char *path;
    enum err_code rc;
    struct err *err;
};

static uint32_t config_u32(struct config_reader *r, const char *key, uint32_t min, uint32_t max,
                           uint32_t absent)
{
    uint64_t value = absent;
    if (r->rc == ERR_OK)
        r->rc = json_opt_u64(r->root, key, min, max, &value, r->path, r->err);
    return (uint32_t)value;
}

static bool config_bool(struct config_reader *r, const char *key, bool absent)
{
    bool value = absent;
    if (r->rc == ERR_OK)
        r->rc = json_opt_bool(r->root, key, &value, r->path, r->err);
    return value;
}

static float config_float(struct config_reader *r, const json_t *object, const char *key,
                          double min, double max, double absent)
{
    double value = absent;
    if (r->rc == ERR_OK)
        r->rc = json_opt_double(object, key, min, max, &value, r->path, r->err);
    return (float)value;
}

static const char *config_string(struct config_reader *r, const json_t *object, const char *key,
                                 const char *absent)
{
    const char *value = absent;
    if (r->rc == ERR_OK)
        r->rc = json_opt_string(object, key, &value, r->path, r->err);
    return value;
}

__attribute__((format(printf, 2, 3))) static void config_refuse(struct config_reader *r,
                                                                const char *format, ...)
{
    if (r->rc != ERR_OK)
        return;
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->rc = err_set(r->err, ERR_VALUE, "%s: %s", r->path, text);
}

/* ---- what is not understood ---- */

/* Keys that are read below, or that change no number although their names sound so. */
static const char *const config_known[] = {
    "activation_function",
    "attention_bias",
    "attention_dropout",
    "attn_pdrop",
    "embd_pdrop",
    "hidden_act",
    "layer_norm_epsilon",
    "max_position_embeddings",
    "max_window_layers",
    "mlp_bias",
    "n_embd",
    "output_attentions",
    "reorder_and_upcast_attn",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "scale_attn_weights",
    "sliding_window",
    "summary_activation",
    "tie_word_embeddings",
    "use_sliding_window",
    "attn_implementation",
    "num_attention_heads",
};

/* Parts of the names of settings that change the arithmetic in models of our kind (Gemma,
 * Granite, Cohere, Phi, OLMo, Mixtral ...). */
static const char *const config_suspicious[] = {
    "act_fn", "activation", "alibi",     "attention", "attn",   "bias",    "cap",
    "cross",  "embd",       "embedding", "expert",    "logit",  "mixture", "multipl",
    "norm",   "parallel",   "quant",     "rope",      "rotary", "scal",    "window",
};

static bool config_is_in(const char *key, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(key, list[i]) == 0)
            return true;
    return false;
}

/* null, false, 0, and multipliers of 1 leave the arithmetic alone. */
static bool config_is_neutral(const char *key, const json_t *value)
{
    if (json_is_null(value) || json_is_false(value))
        return true;
    if (!json_is_number(value))
        return (json_is_object(value) || json_is_array(value)) &&
               json_object_size(value) == 0 && json_array_size(value) == 0;
    const double number = json_number_value(value);
    const bool factor = strstr(key, "scal") || strstr(key, "multipl") || strstr(key, "factor");
    return number == (factor ? 1.0 : 0.0);
}

static void config_check_unknown(struct config_reader *r)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)r->root, key, value)
    {
        if (key[0] == '_' || config_is_neutral(key, value) ||
            config_is_in(key, config_known, sizeof config_known / sizeof config_known[0]))
            continue;
        for (size_t i = 0; i < sizeof config_suspicious / sizeof config_suspicious[0]; i++)
            if (strstr(key, config_suspicious[i]))
                config_refuse(r, "\"%.80s\" would change the arithmetic and is not supported",
                              key);
    }
}

/* ---- the two families ---- */

/* A text that must be one of two spellings of the function the engine has. */
static void config_check_activation(struct config_reader *r, const char *key, const char *name,
                                    const char *same)
{
    const char *value = config_string(r, r->root, key, name);
    if (strcmp(value, name) != 0 && strcmp(value, same) != 0)
        config_refuse(r, "\"%s\" is \"%.40s\"; supported is \"%s\"", key, value, name);
}

/* The parameters of the scaling, from "rope_parameters" (transformers 5) or "rope_scaling". */
static void config_read_scaling(struct config_reader *r, const json_t *rope,
                                struct model_config *config)
{
    const char *older = config_string(r, rope, "type", "default");
    const char *type = config_string(r, rope, "rope_type", older);
    if (config_float(r, rope, "partial_rotary_factor", 0.0, 1.0, 1.0) < 1.0f)
        config_refuse(r, "\"partial_rotary_factor\" below 1 is not supported");
    if (strcmp(type, "default") == 0)
        return;
    config->rope_factor = config_float(r, rope, "factor", 1e-3, 1e6, 1.0);
    if (strcmp(type, "linear") == 0) {
        config->rope_scaling = ROPE_LINEAR;
        return;
    }
    if (strcmp(type, "llama3") != 0) {
        config_refuse(r, "\"rope_type\" is \"%.40s\"; supported are default, linear, llama3",
                      type);
        return;
    }
    config->rope_scaling = ROPE_LLAMA3;
    config->rope_low_freq_factor = config_float(r, rope, "low_freq_factor", 1e-3, 1e6, 1.0);
    config->rope_high_freq_factor = config_float(r, rope, "high_freq_factor", 1e-3, 1e6, 4.0);
    uint64_t original = config->T;
    if (r->rc == ERR_OK)
        r->rc = json_opt_u64(rope, "original_max_position_embeddings", 1, CONFIG_T_MAX,
                             &original, r->path, r->err);
    config->rope_original_T = (uint32_t)original;
    if (!(config->rope_high_freq_factor > config->rope_low_freq_factor))
        config_refuse(r, "\"high_freq_factor\" must be above \"low_freq_factor\"");
}

static void config_read_rope(struct config_reader *r, struct model_config *config)
{
    const json_t *rope = json_object_get(r->root, "rope_parameters");
    if (!rope || json_is_null(rope))
        rope = json_object_get(r->root, "rope_scaling");
    config->rope_scaling = ROPE_DEFAULT;
    config->rope_factor = 1.0f;
    config->rope_theta = config_float(r, r->root, "rope_theta", 1.0, 1e12, 10000.0);
    if (!rope || json_is_null(rope))
        return;
    if (!json_is_object(rope)) {
        config_refuse(r, "\"rope_scaling\" or \"rope_parameters\" must be an object");
        return;
    }
    config->rope_theta =
        config_float(r, rope, "rope_theta", 1.0, 1e12, (double)config->rope_theta);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)rope, key, value)
    {
        if (json_is_object(value))
            config_refuse(r, "rotation by kind of layer (\"%.40s\") is not supported", key);
    }
    config_read_scaling(r, rope, config);
}

/* Attention to the last `window` tokens is full attention for sequences no longer than that:
 * so a window bounds T and changes nothing else. */
static void config_read_window(struct config_reader *r, const struct config_type *type,
                               struct model_config *config)
{
    uint32_t window = 0;
    const json_t *layers = json_object_get(r->root, "layer_types"), *kind;
    size_t i;
    const bool qwen = type->qkv_bias || type->qk_norm;
    if (type->window && (!qwen || config_bool(r, "use_sliding_window", false)) &&
        !json_is_null(json_object_get(r->root, "sliding_window")))
        window = config_u32(r, "sliding_window", 1, UINT32_MAX, type->window);
    json_array_foreach((json_t *)layers, i, kind)
    {
        const char *name = json_is_string(kind) ? json_string_value(kind) : "";
        if (strcmp(name, "full_attention") != 0 &&
            (strcmp(name, "sliding_attention") != 0 || window == 0))
            config_refuse(r, "\"layer_types\" has \"%.40s\"; supported is full_attention",
                          name);
    }
    if (window && window < config->T)
        config->T = window;
}

static bool config_is_null(const struct config_reader *r, const char *key)
{
    return json_is_null(json_object_get(r->root, key));
}

static void config_read_llama(struct config_reader *r, const struct config_type *type,
                              struct model_config *config)
{
    config->V = config_u32(r, "vocab_size", 1, CONFIG_V_MAX, type->V);
    config->C = config_u32(r, "hidden_size", 1, CONFIG_SIZE_MAX, type->C);
    config->F = config_u32(r, "intermediate_size", 1, CONFIG_SIZE_MAX, type->F);
    config->L = config_u32(r, "num_hidden_layers", 1, CONFIG_LAYERS_MAX, type->L);
    config->H = config_u32(r, "num_attention_heads", 1, CONFIG_SIZE_MAX, type->H);
    const uint32_t G =
        type->G == 0 || config_is_null(r, "num_key_value_heads") ? config->H : type->G;
    config->G = config_u32(r, "num_key_value_heads", 1, CONFIG_SIZE_MAX, G);
    const uint32_t D =
        type->D == 0 || config_is_null(r, "head_dim") ? config->C / config->H : type->D;
    config->D = config_u32(r, "head_dim", 1, ATTENTION_D_MAX, D);
    config->T = config_u32(r, "max_position_embeddings", 1, CONFIG_T_MAX, type->T);
    config->norm_eps = config_float(r, r->root, "rms_norm_eps", 0.0, 1.0, type->norm_eps);

    const bool attention_bias = type->has_bias_keys && config_bool(r, "attention_bias", false);
    config->qkv_bias = type->qkv_bias || attention_bias;
    config->out_bias = attention_bias;
    config->mlp_bias =
        type->has_bias_keys && !type->qk_norm && config_bool(r, "mlp_bias", false);
    config->qk_norm = type->qk_norm;
    config_check_activation(r, "hidden_act", "silu", "swish");
    config_read_rope(r, config);
    config_read_window(r, type, config);
    if (config->D % 2 != 0)
        config_refuse(r, "a head size of %u cannot be rotated; it must be even", config->D);
}

static void config_read_gpt2(struct config_reader *r, const struct config_type *type,
                             struct model_config *config)
{
    config->V = config_u32(r, "vocab_size", 1, CONFIG_V_MAX, type->V);
    config->C = config_u32(r, "n_embd", 1, CONFIG_SIZE_MAX, type->C);
    config->F = config_u32(r, "n_inner", 1, CONFIG_SIZE_MAX, 4 * config->C);
    config->L = config_u32(r, "n_layer", 1, CONFIG_LAYERS_MAX, type->L);
    config->H = config_u32(r, "n_head", 1, CONFIG_SIZE_MAX, type->H);
    config->G = config->H;
    config->D = config->C / config->H;
    config->T = config_u32(r, "n_positions", 1, CONFIG_T_MAX, type->T);
    config->norm_eps = config_float(r, r->root, "layer_norm_epsilon", 0.0, 1.0, type->norm_eps);
    config->qkv_bias = config->out_bias = config->mlp_bias = true;
    config_check_activation(r, "activation_function", "gelu_new", "gelu_pytorch_tanh");
    if (!config_bool(r, "scale_attn_weights", true))
        config_refuse(r, "\"scale_attn_weights\" false is not supported");
    if (config->D * config->H != config->C)
        config_refuse(r, "\"n_head\" %u does not divide \"n_embd\" %u", config->H, config->C);
}

/* ---- what both have ---- */

/* One token id: none where negative (old files say -1). */
static int32_t config_token(struct config_reader *r, const char *key, const json_t *value)
{
    if (!json_is_integer(value) || json_integer_value(value) > INT32_MAX)
        config_refuse(r, "\"%s\" must be a token id", key);
    return json_is_integer(value) && json_integer_value(value) >= 0
               ? (int32_t)json_integer_value(value)
               : -1;
}

static int32_t config_read_token(struct config_reader *r, const char *key, int32_t absent)
{
    const json_t *value = json_object_get(r->root, key);
    if (!value)
        return absent;
    return json_is_null(value) ? -1 : config_token(r, key, value);
}

static void config_read_eos(struct config_reader *r, struct model_config *config,
                            int32_t absent)
{
    const json_t *value = json_object_get(r->root, "eos_token_id");
    const size_t most = 1 + sizeof config->eos_more / sizeof config->eos_more[0];
    if (!json_is_array(value)) {
        config->eos = config_read_token(r, "eos_token_id", absent);
        return;
    }
    if (json_array_size(value) > most) {
        config_refuse(r, "\"eos_token_id\" has %zu ids, at most %zu", json_array_size(value),
                      most);
        return;
    }
    config->eos = -1;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const int32_t id = config_token(r, "eos_token_id", json_array_get(value, i));
        if (i == 0)
            config->eos = id;
        else
            config->eos_more[config->eos_mores++] = id;
    }
}

/* Does `text` end in `end`? */
static bool config_ends(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

void model_config_label(const struct model_config *config, uint32_t i,
                        char name[MODEL_LABEL_MAX])
{
    if (i < MODEL_LABELS_NAMED && config->label[i][0])
        memcpy(name, config->label[i], MODEL_LABEL_MAX);
    else
        snprintf(name, MODEL_LABEL_MAX, "LABEL_%u", i);
}

/* Names that are missing, or too long to be kept, are those that transformers gives; and a name
 * that it gives is kept as none, so that equal models have equal configs. */
static void config_read_labels(const json_t *labels, struct model_config *config)
{
    for (uint32_t i = 0; i < config->labels && i < MODEL_LABELS_NAMED; i++) {
        char key[16], given[MODEL_LABEL_MAX];
        snprintf(key, sizeof key, "%u", i);
        model_config_label(config, i, given);
        const char *name = json_string_value(json_object_get(labels, key));
        if (name && strlen(name) < MODEL_LABEL_MAX && strcmp(name, given) != 0)
            strcpy(config->label[i], name);
    }
}

static void config_read_head(struct config_reader *r, struct model_config *config)
{
    const json_t *names = json_object_get(r->root, "architectures");
    const json_t *first = json_array_get(names, 0);
    const char *name = json_is_string(first) ? json_string_value(first) : "ForCausalLM";
    if (config_ends(name, "ForCausalLM") || config_ends(name, "Model")) {
        config->head = MODEL_HEAD_LM;
        return;
    }
    if (!config_ends(name, "ForSequenceClassification")) {
        config_refuse(r,
                      "\"architectures\" is \"%.80s\"; supported are causal language models "
                      "and *ForSequenceClassification",
                      name);
        return;
    }
    config->head = MODEL_HEAD_SCORE;
    const json_t *labels = json_object_get(r->root, "id2label");
    if (labels &&
        (json_object_size(labels) < 1 || json_object_size(labels) > CONFIG_LABELS_MAX))
        config_refuse(r, "\"id2label\" must have 1 to %u labels", CONFIG_LABELS_MAX);
    const uint32_t n = labels ? (uint32_t)json_object_size(labels) : 2;
    config->labels = config_u32(r, "num_labels", 1, CONFIG_LABELS_MAX, n);
    config_read_labels(labels, config);
}

static void config_read_all(struct config_reader *r, struct model_config *config)
{
    if (!json_is_object(r->root)) {
        r->rc = err_set(r->err, ERR_FORMAT, "%s: not a JSON object", r->path);
        return;
    }
    const char *name = "";
    r->rc = json_get_string(r->root, "model_type", &name, r->path, r->err);
    const struct config_type *type = config_type_find(name);
    if (!type) {
        config_refuse(r,
                      "\"model_type\" is \"%.40s\"; supported are gpt2, llama, mistral, "
                      "qwen2, qwen3",
                      name);
        return;
    }
    snprintf(config->model_type, sizeof config->model_type, "%s", type->name);
    config->family = type->family;
    config_read_head(r, config);
    config->tied = config_bool(r, "tie_word_embeddings", type->tied);
    config->bos = config_read_token(r, "bos_token_id", type->bos);
    config->pad = config_read_token(r, "pad_token_id", -1);
    config_read_eos(r, config, type->eos);
    if (type->family == MODEL_GPT2)
        config_read_gpt2(r, type, config);
    else
        config_read_llama(r, type, config);
    config_check_unknown(r);

    if (config->G == 0 || config->H % config->G != 0)
        config_refuse(r,
                      "\"num_key_value_heads\" %u does not divide \"num_attention_heads\" %u",
                      config->G, config->H);
    if (config->D == 0 || config->D > ATTENTION_D_MAX)
        config_refuse(r, "a head size of %u is outside 1 .. %d", config->D, ATTENTION_D_MAX);
    if ((uint64_t)config->H * config->D > CONFIG_SIZE_MAX)
        config_refuse(r, "%u heads of size %u are more than %u", config->H, config->D,
                      CONFIG_SIZE_MAX);
}

enum err_code model_config_read(struct model_config *config, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, "config.json", err);
    if (rc)
        return rc;
    *config = (struct model_config){0};
    struct config_reader reader = {.path = path, .err = err};
    struct err why = {0};
    json_t *root = json_read_file(path, CONFIG_BYTES_MAX, &why);
    if (!root)
        return err_set(err, why.code, "%s", why.text);
    reader.root = root;
    config_read_all(&reader, config);
    json_decref(root);
    return reader.rc;
}
