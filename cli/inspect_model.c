/* inspect_model.c -- see inspect.h: a Hugging Face model directory. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/inspect.h"
#include "engine/config.h"
#include "engine/tokenizer.h"

#define INSPECT_FILES_MAX 512 /* shards of one model */

struct inspect_files {
    char *name[INSPECT_FILES_MAX];
    size_t n;
};

static int inspect_name_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void inspect_files_release(struct inspect_files *files)
{
    for (size_t i = 0; i < files->n; i++)
        free(files->name[i]);
    files->n = 0;
}

static enum err_code inspect_files_list(struct inspect_files *files, const char *path,
                                        struct err *err)
{
    static const char suffix[] = ".safetensors";
    DIR *dir = opendir(path);
    if (!dir)
        return err_errno(err, "%s", path);
    const struct dirent *entry;
    while (files->n < INSPECT_FILES_MAX && (entry = readdir(dir))) {
        const size_t length = strlen(entry->d_name);
        if (length < sizeof suffix ||
            strcmp(entry->d_name + length + 1 - sizeof suffix, suffix))
            continue;
        files->name[files->n] = strdup(entry->d_name);
        if (!files->name[files->n])
            break; /* it is not shown; a listing is no place to fail for it */
        files->n++;
    }
    closedir(dir);
    qsort(files->name, files->n, sizeof files->name[0], inspect_name_order);
    return ERR_OK;
}

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
    struct inspect_files files = {.n = 0};
    enum err_code rc = model_config_read(&config, dir, err);
    if (!rc)
        rc = inspect_files_list(&files, dir, err);
    if (rc)
        return rc;
    if (json) {
        buf_puts(out, "{\"directory\": ");
        buf_json_string(out, dir, strlen(dir));
        buf_puts(out, ", ");
    } else {
        buf_printf(out, "%s\n", dir);
    }
    inspect_put_config(&config, json, out);
    inspect_put_tokenizer(dir, json, out);
    buf_puts(out, json ? ", \"files\": [" : "");
    for (size_t i = 0; !rc && i < files.n; i++) {
        char path[FILE_PATH_MAX];
        buf_puts(out, json && i > 0 ? ", " : "");
        rc = file_join(path, dir, files.name[i], err);
        if (!rc)
            rc = inspect_safetensors(path, json, out, err);
    }
    buf_puts(out, json ? "]}" : "");
    inspect_files_release(&files);
    return rc;
}
