/* inspect_model.c -- see inspect.h: a Hugging Face model directory. */
#include <assert.h>
#include <string.h>

#include "base/file.h"
#include "cli/inspect.h"
#include "engine/config.h"
#include "engine/tokenizer.h"

static void inspect_put_config(const struct model_config *c, bool json, struct buf *out)
{
    const bool lm = c->head == MODEL_HEAD_LM;
    if (json) {
        buf_printf(out,
                   "\"family\": \"%s\", \"model_type\": \"%s\", \"head\": \"%s\", "
                   "\"labels\": %u, \"vocabulary\": %u, \"channels\": %u, \"layers\": %u, "
                   "\"heads\": %u, \"kv_heads\": %u, \"head_size\": %u, \"feed_forward\": %u, "
                   "\"positions\": %u, \"tied\": %s, \"eos\": %d",
                   model_family_name(c->family), c->model_type, lm ? "lm" : "score", c->labels,
                   c->V, c->C, c->L, c->H, c->G, c->D, c->F, c->T, c->tied ? "true" : "false",
                   c->eos);
        return;
    }
    buf_printf(out, "  family        %s (%s)\n", model_family_name(c->family), c->model_type);
    if (lm)
        buf_printf(out, "  head          vocabulary, %s embeddings\n",
                   c->tied ? "tied" : "own");
    else
        buf_printf(out, "  head          score, %u label(s)\n", c->labels);
    buf_printf(out,
               "  vocabulary    %u\n  channels      %u\n  layers        %u\n"
               "  heads         %u, %u of keys and values, %u wide\n  feed-forward  %u\n"
               "  positions     %u\n  eos           %d\n",
               c->V, c->C, c->L, c->H, c->G, c->D, c->F, c->T, c->eos);
}

enum err_code inspect_config(const char *path, bool json, struct buf *out, struct err *err)
{
    static const char name[] = "config.json";
    char dir[FILE_PATH_MAX] = ".";
    const size_t length = strlen(path), tail = sizeof name - 1;
    assert(length >= tail && strcmp(path + length - tail, name) == 0);
    if (length >= sizeof dir)
        return err_set(err, ERR_VALUE, "the path has %zu bytes", length);
    if (length > tail) {
        memcpy(dir, path, length - tail);
        dir[length - tail] = '\0';
    }
    struct model_config config;
    const enum err_code rc = model_config_read(&config, dir, err);
    if (rc)
        return rc;
    buf_puts(out, json ? "{" : "");
    inspect_put_config(&config, json, out);
    buf_puts(out, json ? "}" : "");
    return ERR_OK;
}

static void inspect_put_tokenizer(const char *dir, bool json, struct buf *out)
{
    struct err why = {0};
    struct tokenizer *tokenizer = tokenizer_load(dir, &why);
    if (json && tokenizer)
        buf_printf(out, ", \"tokenizer_vocabulary\": %u", tokenizer_vocabulary(tokenizer));
    else if (!json && tokenizer)
        buf_printf(out, "  tokenizer     %u tokens\n", tokenizer_vocabulary(tokenizer));
    else if (!json) /* no reason to refuse the rest */
        buf_printf(out, "  tokenizer     none (%s)\n", why.text);
    tokenizer_free(tokenizer);
}

enum err_code inspect_model(const char *dir, bool json, struct buf *out, struct err *err)
{
    struct model_config config;
    struct err why = {0};
    enum err_code rc = model_config_read(&config, dir, &why);
    struct safetensors *st = rc ? NULL : safetensors_open_dir(dir, &why);
    if (!st) {
        if (err)
            *err = why;
        return why.code;
    }
    buf_puts(out, json ? "{\"directory\": " : "");
    if (json)
        buf_json_string(out, dir, strlen(dir));
    else
        buf_puts(out, dir);
    buf_puts(out, json ? ", " : "\n");
    inspect_put_config(&config, json, out);
    inspect_put_tokenizer(dir, json, out);
    buf_puts(out, json ? ", " : "");
    inspect_put_tensors(st, json, out);
    buf_puts(out, json ? "}" : "");
    safetensors_close(st);
    return ERR_OK;
}
