/* combiner.c -- see combiner.h. */
#include "engine/combiner.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"

#define COMBINER_BYTES_MAX  ((size_t)1 << 16)
#define COMBINER_WEIGHT_MAX 1e9

static enum err_code combiner_read_weight(struct combiner *out,
                                          const struct model_config *config, const char *name,
                                          const json_t *weights, const char *path,
                                          struct err *err)
{
    for (uint32_t i = 0; i < out->labels; i++) {
        char label[MODEL_LABEL_MAX];
        model_config_label(config, i, label);
        if (strcmp(label, name) == 0)
            return json_get_double(weights, name, -COMBINER_WEIGHT_MAX, COMBINER_WEIGHT_MAX,
                                   &out->weight[i], path, err);
    }
    return err_set(err, ERR_VALUE, "%s: \"%.40s\" is no label of the model's config.json", path,
                   name);
}

static enum err_code combiner_read_weights(struct combiner *out,
                                           const struct model_config *config,
                                           const json_t *root, const char *path,
                                           struct err *err)
{
    const json_t *weights = json_object_get(root, "weights");
    if (!json_is_object(weights) || json_object_size(weights) == 0)
        return err_set(err, ERR_FORMAT, "%s: \"weights\" must name a weight for some label",
                       path);
    if (config->labels > MODEL_LABELS_NAMED)
        return err_set(err, ERR_VALUE,
                       "%s: the model has %u labels; at most %d can be combined", path,
                       config->labels, MODEL_LABELS_NAMED);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)weights, name, value)
    {
        const enum err_code rc = combiner_read_weight(out, config, name, weights, path, err);
        if (rc)
            return rc;
    }
    return json_opt_double(root, "bias", -COMBINER_WEIGHT_MAX, COMBINER_WEIGHT_MAX, &out->bias,
                           path, err);
}

enum err_code combiner_read(struct combiner *out, const struct model_config *config,
                            const char *dir, bool *found, struct err *err)
{
    char path[FILE_PATH_MAX];
    *out = (struct combiner){.labels = config->labels};
    enum err_code rc = file_join(path, dir, "combiner.json", err);
    if (rc)
        return rc;
    *found = file_exists(path);
    if (!*found) {
        out->weight[0] = config->labels == 1 ? 1.0 : 0.0;
        return ERR_OK;
    }
    struct err why = {0};
    json_t *root = json_read_file(path, COMBINER_BYTES_MAX, &why);
    if (!root)
        return err_set(err, why.code, "%s", why.text);
    rc = combiner_read_weights(out, config, root, path, err);
    json_decref(root);
    return rc;
}

enum err_code combiner_write(const struct combiner *combiner, const struct model_config *config,
                             const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX], name[MODEL_LABEL_MAX];
    struct buf text;
    buf_init(&text, COMBINER_BYTES_MAX);
    buf_puts(&text, "{\"weights\": {");
    for (uint32_t i = 0; i < combiner->labels; i++) {
        model_config_label(config, i, name);
        buf_puts(&text, i ? ", " : "");
        buf_json_string(&text, name, strlen(name));
        buf_puts(&text, ": ");
        buf_json_number(&text, combiner->weight[i]);
    }
    buf_puts(&text, "}, \"bias\": ");
    buf_json_number(&text, combiner->bias);
    buf_puts(&text, "}\n");
    enum err_code rc = file_join(path, dir, "combiner.json", err);
    if (!rc)
        rc = file_write(path, text.data, text.len, err);
    buf_release(&text);
    return rc;
}

double combiner_apply(const struct combiner *combiner, const float *score)
{
    double sum = combiner->bias;
    for (uint32_t i = 0; i < combiner->labels; i++)
        sum += combiner->weight[i] * (double)score[i];
    return sum;
}
