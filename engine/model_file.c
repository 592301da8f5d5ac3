/* model_file.c -- a model from and to a Hugging Face directory; see model.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "engine/model.h"
#include "engine/safetensors.h"

enum { MODEL_CONFIG_BYTES = 8 << 20 };

/* Tensors are also published without the prefix of the class around the trunk. */
static const char *model_trunk_prefix(const struct model *model)
{
    return model->config.family == MODEL_GPT2 ? "transformer." : "model.";
}

static const struct safetensors_tensor *model_find_stored(const struct model *model,
                                                          const struct safetensors *st,
                                                          const struct model_tensor *tensor)
{
    const struct safetensors_tensor *stored = safetensors_find(st, tensor->name);
    const char *prefix = model_trunk_prefix(model);
    if (!stored && strncmp(tensor->name, prefix, strlen(prefix)) == 0)
        stored = safetensors_find(st, tensor->name + strlen(prefix));
    return stored;
}

static bool model_shape_fits(const struct model_tensor *tensor,
                             const struct safetensors_tensor *stored)
{
    if (tensor->vector)
        return stored->dims == 1 && stored->shape[0] == tensor->cols;
    const bool turned = tensor->transposed_on_disk;
    return stored->dims == 2 && stored->shape[0] == (turned ? tensor->cols : tensor->rows) &&
           stored->shape[1] == (turned ? tensor->rows : tensor->cols);
}

/* "[64, 192]" */
static const char *model_shape_text(char text[96], const struct safetensors_tensor *stored)
{
    size_t n = (size_t)snprintf(text, 96, "[");
    for (uint32_t d = 0; d < stored->dims && n < 80; d++)
        n += (size_t)snprintf(text + n, 96 - n, "%s%llu", d ? ", " : "",
                              (unsigned long long)stored->shape[d]);
    snprintf(text + (n < 94 ? n : 94), 2, "]");
    return text;
}

static enum err_code model_check_shape(const struct model_tensor *tensor,
                                       const struct safetensors_tensor *stored,
                                       const char *path, struct err *err)
{
    char text[96];
    if (model_shape_fits(tensor, stored))
        return ERR_OK;
    model_shape_text(text, stored);
    if (tensor->vector)
        return err_set(err, ERR_FORMAT, "%s: tensor \"%s\" is %s, config.json makes it [%u]",
                       path, tensor->name, text, tensor->cols);
    const bool turned = tensor->transposed_on_disk;
    return err_set(err, ERR_FORMAT, "%s: tensor \"%s\" is %s, config.json makes it [%u, %u]",
                   path, tensor->name, text, turned ? tensor->cols : tensor->rows,
                   turned ? tensor->rows : tensor->cols);
}

/* w (rows, cols) from the file's (cols, rows). */
static void model_turn(float *w, const float *stored, size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            w[r * cols + c] = stored[c * rows + r];
}

static enum err_code model_read_tensor(struct model *model, const struct safetensors *st,
                                       const struct model_tensor *tensor,
                                       const struct safetensors_tensor *stored, struct err *err)
{
    const char *path = safetensors_path(st, stored->shard);
    float *w = model->w + tensor->at;
    const size_t size = (size_t)tensor->rows * tensor->cols;
    enum err_code rc = model_check_shape(tensor, stored, path, err);
    if (rc)
        return rc;
    if (!tensor->transposed_on_disk) {
        rc = safetensors_read(st, stored, w, err);
    } else {
        float *turned = malloc(size * sizeof *turned);
        if (!turned)
            return err_set(err, ERR_NOMEM, "%s: no memory to turn \"%s\"", path, tensor->name);
        rc = safetensors_read(st, stored, turned, err);
        if (rc == ERR_OK)
            model_turn(w, turned, tensor->rows, tensor->cols);
        free(turned);
    }
    for (size_t i = 0; i < size && rc == ERR_OK; i++)
        if (!isfinite(w[i]))
            rc = err_set(err, ERR_VALUE, "%s: tensor \"%s\" has a number that is not finite",
                         path, tensor->name);
    return rc;
}

/* Stored tensors that are no parameters: constants that old files carry along, and a head
 * that is not used. */
static bool model_may_ignore(const struct model *model, const char *name, bool other_head)
{
    const struct model_config *config = &model->config;
    const char *dot = strrchr(name, '.');
    if (strcmp(name, "lm_head.weight") == 0)
        return other_head || (config->head == MODEL_HEAD_LM && config->tied);
    if (other_head && strcmp(name, "score.weight") == 0)
        return true;
    if (config->family == MODEL_GPT2) /* the causal mask, and its constant */
        return (dot && strcmp(dot, ".masked_bias") == 0) ||
               (strlen(name) > 10 && strcmp(name + strlen(name) - 10, ".attn.bias") == 0);
    return dot && strcmp(dot, ".inv_freq") == 0;
}

/* Every stored tensor is one of ours, or known to be none. */
static enum err_code model_check_stored(const struct model *model, const struct safetensors *st,
                                        bool other_head, struct err *err)
{
    const char *prefix = model_trunk_prefix(model);
    size_t used = 0, ignored = 0;
    for (size_t i = 0; i < model->tensors_n; i++)
        used += model_find_stored(model, st, &model->tensors[i]) != NULL;
    for (size_t i = 0; i < safetensors_count(st); i++)
        ignored += model_may_ignore(model, safetensors_at(st, i)->name, other_head);
    if (used + ignored >= safetensors_count(st))
        return ERR_OK;
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct safetensors_tensor *stored = safetensors_at(st, i);
        char name[2 * MODEL_NAME_MAX];
        snprintf(name, sizeof name, "%s%s", prefix, stored->name);
        if (model_find(model, stored->name) || model_find(model, name) ||
            model_may_ignore(model, stored->name, other_head))
            continue;
        return err_set(
            err, ERR_FORMAT,
            "%s: tensor \"%.128s\" is no part of the model that config.json describes",
            safetensors_path(st, stored->shard), stored->name);
    }
    return ERR_OK;
}

static enum err_code model_read(struct model *model, const char *dir, bool other_head,
                                struct err *err)
{
    struct safetensors *st = safetensors_open_dir(dir, err);
    if (!st)
        return ERR_FORMAT;
    enum err_code rc = model_check_stored(model, st, other_head, err);
    for (size_t i = 0; i < model->tensors_n && rc == ERR_OK; i++) {
        const struct model_tensor *tensor = &model->tensors[i];
        const struct safetensors_tensor *stored = model_find_stored(model, st, tensor);
        const bool free_head = other_head && strcmp(tensor->name, "score.weight") == 0;
        if (free_head && (!stored || !model_shape_fits(tensor, stored)))
            continue; /* stays zero */
        if (!stored)
            rc = err_set(err, ERR_FORMAT, "%s: tensor \"%s\" is missing", dir, tensor->name);
        else
            rc = model_read_tensor(model, st, tensor, stored, err);
    }
    safetensors_close(st);
    return rc;
}

static struct model *model_load_config(const struct model_config *config, const char *dir,
                                       bool other_head, struct err *err)
{
    struct model *model = model_new(config, err);
    if (model && model_read(model, dir, other_head, err)) {
        model_free(model);
        return NULL;
    }
    return model;
}

struct model *model_load(const char *dir, struct err *err)
{
    struct model_config config;
    if (model_config_read(&config, dir, err))
        return NULL;
    return model_load_config(&config, dir, false, err);
}

struct model *model_load_with_score_head(const char *dir, uint32_t labels, struct err *err)
{
    struct model_config config;
    if (model_config_read(&config, dir, err))
        return NULL;
    if (config.labels != labels)
        memset(config.label, 0, sizeof config.label); /* they named other outputs */
    config.head = MODEL_HEAD_SCORE;
    config.labels = labels;
    return model_load_config(&config, dir, true, err);
}

static enum err_code model_save_weights(const struct model *model, const char *path,
                                        struct err *err)
{
    struct safetensors_source *sources = calloc(model->tensors_n, sizeof *sources);
    if (!sources)
        return err_set(err, ERR_NOMEM, "no memory to write %s", path);
    for (size_t i = 0; i < model->tensors_n; i++) {
        const struct model_tensor *tensor = &model->tensors[i];
        sources[i] = (struct safetensors_source){.name = tensor->name,
                                                 .data = model->w + tensor->at,
                                                 .rows = tensor->vector ? 0 : tensor->rows,
                                                 .cols = tensor->cols,
                                                 .transposed = tensor->transposed_on_disk};
    }
    enum err_code rc = safetensors_write(path, sources, model->tensors_n, DTYPE_F32, err);
    free(sources);
    return rc;
}

enum err_code model_save(const struct model *model, const char *dir, struct err *err)
{
    char config_path[FILE_PATH_MAX], weights_path[FILE_PATH_MAX];
    enum err_code rc = file_join(config_path, dir, "config.json", err);
    if (rc == ERR_OK)
        rc = file_join(weights_path, dir, "model.safetensors", err);
    if (rc)
        return rc;
    struct buf text;
    buf_init(&text, MODEL_CONFIG_BYTES);
    model_config_write(&model->config, &text);
    rc = buf_check(&text, "config.json", err);
    if (rc == ERR_OK)
        rc = file_write(config_path, text.data, text.len, err);
    buf_release(&text);
    return rc ? rc : model_save_weights(model, weights_path, err);
}
