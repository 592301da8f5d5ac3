/* checkpoint.c -- what a checkpoint is written from, and which old ones go. */
#include "learner/checkpoint.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "control/rollback.h"
#include "learner/checkpoint_dir.h"
#include "learner/checkpoint_manifest.h"
#include "learner/floats.h"
#include "learner/past.h"

/* What makes a directory usable beside the weights; copied where model.policy has it. */
static const char *const checkpoint_tokenizer_files[] = {
    "tokenizer.json",         "tokenizer_config.json", "special_tokens_map.json",
    "generation_config.json", "chat_template.jinja",
};

static enum err_code checkpoint_copy_tokenizer(const struct learner *l, const char *dir,
                                               struct err *err)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0;
         i < sizeof checkpoint_tokenizer_files / sizeof checkpoint_tokenizer_files[0] &&
         rc == ERR_OK;
         i++) {
        char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
        struct buf bytes;
        buf_init(&bytes, (size_t)256 << 20);
        rc = file_join(from, l->config->policy, checkpoint_tokenizer_files[i], err);
        if (rc == ERR_OK && file_exists(from) &&
            (rc = file_join(to, dir, checkpoint_tokenizer_files[i], err)) == ERR_OK &&
            (rc = file_read(from, &bytes, err)) == ERR_OK)
            rc = file_write(to, bytes.data, bytes.len, err);
        buf_release(&bytes);
    }
    return rc;
}

/* A Hugging Face directory of the model below `dir`. */
static enum err_code checkpoint_write_model(const struct learner *l, const struct model *model,
                                            const char *dir, bool tokenizer, struct err *err)
{
    enum err_code rc = file_make_dir(dir, err);
    if (rc == ERR_OK)
        rc = model_save(model, dir, err);
    if (rc == ERR_OK && tokenizer)
        rc = checkpoint_copy_tokenizer(l, dir, err);
    return rc;
}

static enum err_code checkpoint_write_state(const struct learner *l, const char *dir,
                                            struct err *err)
{
    char path[FILE_PATH_MAX], hex[HASH_HEX_BYTES], products[PRECISION_PATH_MAX];
    struct hash config_hash;
    struct buf text;
    buf_init(&text, CHECKPOINT_STATE_MAX);
    run_config_hash(l->config, &config_hash);
    hash_hex(&config_hash, hex);
    precision_path((enum precision)l->config->precision, products);
    buf_printf(&text,
               "{\"version\": %llu, \"config\": \"%s\", \"products\": \"%s\",\n "
               "\"policy_updates\": %llu, "
               "\"critic_updates\": %llu, \"cost_critic_updates\": %llu,\n ",
               (unsigned long long)l->version, hex, products,
               (unsigned long long)l->policy.adamw.steps,
               (unsigned long long)l->critic.adamw.steps, /* 0 where there is none */
               (unsigned long long)l->cost_critic.adamw.steps);
    past_describe(l, &text);
    buf_puts(&text, ",\n \"stats\": {");
    for (uint32_t i = 0; i < l->stats_n; i++) {
        buf_puts(&text, i > 0 ? ", " : "");
        buf_json_string(&text, l->stats[i].name, strlen(l->stats[i].name));
        buf_puts(&text, ": ");
        buf_json_number(&text, l->stats[i].value);
    }
    buf_puts(&text, "}}\n");
    enum err_code rc = file_join(path, dir, "STATE.json", err);
    if (rc == ERR_OK)
        rc = file_write(path, text.data, text.len, err);
    buf_release(&text);
    return rc;
}

/* DIR/NAME and DIR/NAME.moments.f32 */
static enum err_code checkpoint_write_trainable(const struct learner *l,
                                                const struct trainable *t, const char *dir,
                                                const char *name, struct err *err)
{
    char sub[FILE_PATH_MAX], moments[64];
    snprintf(moments, sizeof moments, "%s.moments.f32", name);
    enum err_code rc = file_join(sub, dir, name, err);
    if (rc == ERR_OK)
        rc = checkpoint_write_model(l, t->model, sub, t == &l->policy, err);
    if (rc == ERR_OK)
        rc = floats_write(dir, moments, t->adamw.m, t->adamw.v, t->model->params, err);
    return rc;
}

static enum err_code checkpoint_fill(struct learner *l, const char *dir, struct err *err)
{
    enum err_code rc;
    if ((rc = checkpoint_dir_fault(FAULT_checkpoint_begin, dir, err)) ||
        (rc = checkpoint_write_trainable(l, &l->policy, dir, "policy", err)) ||
        (l->has_critic &&
         (rc = checkpoint_write_trainable(l, &l->critic, dir, "critic", err))) ||
        (l->has_cost_critic &&
         (rc = checkpoint_write_trainable(l, &l->cost_critic, dir, "cost_critic", err))))
        return rc;
    if ((rc = checkpoint_dir_fault(FAULT_checkpoint_model, dir, err)))
        return rc;
    if ((rc = past_write(l, dir, err)) || (rc = checkpoint_write_state(l, dir, err)) ||
        (rc = checkpoint_dir_fault(FAULT_checkpoint_manifest, dir, err)))
        return rc;
    return checkpoint_manifest_write(dir, err);
}

/* May a rollback need it, or a step that was one, when it is done again? */
static bool checkpoint_is_pinned(const struct learner *l, uint64_t version)
{
    const struct run_config *c = l->config;
    return run_config_rolls_back(c) &&
           (version == l->pinned[0] || rollback_needs(c->breaker_restore_every, c->lag,
                                                      l->version - 1, l->pinned[1], version));
}

static enum err_code checkpoint_prune(const struct learner *l, const char *root,
                                      struct err *err)
{
    static uint64_t versions[CHECKPOINT_LIST_MAX];
    const size_t n = checkpoint_dir_list(root, versions);
    enum err_code rc = ERR_OK;
    size_t newest = 0; /* later ones were passed over at the start: they do not count as kept */
    while (newest < n && versions[newest] > l->version)
        newest++;
    for (size_t i = newest + l->config->checkpoint_keep; i < n && rc == ERR_OK; i++) {
        char path[FILE_PATH_MAX];
        if (checkpoint_is_pinned(l, versions[i]))
            continue;
        rc = checkpoint_dir_version(root, versions[i], path, err);
        if (rc == ERR_OK)
            rc = checkpoint_dir_fault(FAULT_checkpoint_prune, path, err);
        if (rc == ERR_OK)
            rc = file_remove_tree(path, err);
    }
    return rc;
}

enum err_code checkpoint_write(struct learner *l, struct err *err)
{
    char root[FILE_PATH_MAX], tmp[FILE_PATH_MAX], path[FILE_PATH_MAX];
    enum err_code rc;
    if ((rc = checkpoint_dir_root(l, root, err)) || (rc = file_make_dir(root, err)) ||
        (rc = checkpoint_dir_tmp(l, root, tmp, err)) || (rc = file_remove_tree(tmp, err)) ||
        (rc = file_make_dir(tmp, err)) ||
        (rc = checkpoint_dir_version(root, l->version, path, err)))
        return rc;
    rc = checkpoint_fill(l, tmp, err);
    if (rc == ERR_OK)
        rc = checkpoint_dir_publish(tmp, path, root, FAULT_checkpoint_rename,
                                    FAULT_checkpoint_renamed, err);
    if (rc) {
        file_remove_tree(tmp, NULL);
        return rc;
    }
    l->checkpoint = l->version;
    fault_at(FAULT_checkpoint_published);
    return checkpoint_prune(l, root, err);
}

enum err_code checkpoint_write_final(struct learner *l, struct err *err)
{
    char tmp[FILE_PATH_MAX], path[FILE_PATH_MAX];
    enum err_code rc;
    if ((rc = checkpoint_dir_tmp(l, l->config->dir, tmp, err)) ||
        (rc = file_remove_tree(tmp, err)) ||
        (rc = checkpoint_write_model(l, l->policy.model, tmp, true, err)) ||
        (rc = file_join(path, l->config->dir, "final", err)))
        return rc;
    return checkpoint_dir_publish(tmp, path, l->config->dir, FAULT_final_rename,
                                  FAULT_final_renamed, err);
}
