/* checkpoint.c -- see checkpoint.h for the layout and the promise. */
#define _GNU_SOURCE /* renameat2 */
#include "learner/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "control/rollback.h"

#define CHECKPOINT_JSON_MAX (1024u * 1024u)
#define CHECKPOINT_FILE_MAX ((size_t)64 << 30)
#define CHECKPOINT_LIST_MAX 4096
#define CHECKPOINT_TRIES    5

/* What makes a directory usable beside the weights; copied where model.policy has it. */
static const char *const checkpoint_tokenizer_files[] = {
    "tokenizer.json",         "tokenizer_config.json", "special_tokens_map.json",
    "generation_config.json", "chat_template.jinja",
};

static enum err_code checkpoint_root(const struct learner *l, char root[FILE_PATH_MAX],
                                     struct err *err)
{
    return file_join(root, l->config->dir, "checkpoints", err);
}

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

/* Two arrays of n floats, one after the other; the second may be NULL. */
static enum err_code checkpoint_write_floats(const char *dir, const char *name, const float *a,
                                             const float *b, size_t n, struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, name, err);
    if (rc)
        return rc;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, "create %s", path);
    rc = file_write_all(fd, a, n * sizeof *a, path, err);
    if (rc == ERR_OK && fault_at(FAULT_checkpoint_floats))
        rc = err_errno(err, "write %s", path);
    if (rc == ERR_OK && b)
        rc = file_write_all(fd, b, n * sizeof *b, path, err);
    if (rc == ERR_OK && (fault_at(FAULT_checkpoint_fsync) || fsync(fd) < 0))
        rc = err_errno(err, "fsync %s", path);
    close(fd);
    return rc;
}

static enum err_code checkpoint_read_floats(const char *dir, const char *name, float *a,
                                            float *b, size_t n, struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, name, err);
    if (rc)
        return rc;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "open %s", path);
    rc = file_pread_all(fd, a, n * sizeof *a, 0, path, err);
    if (rc == ERR_OK && b)
        rc = file_pread_all(fd, b, n * sizeof *b, n * sizeof *a, path, err);
    close(fd);
    return rc;
}

static void checkpoint_history_name(char name[64], uint64_t version)
{
    snprintf(name, 64, "weights-v%08llu.f32", (unsigned long long)version);
}

static enum err_code checkpoint_write_state(const struct learner *l, const char *dir,
                                            struct err *err)
{
    char path[FILE_PATH_MAX], hex[HASH_HEX_BYTES], products[PRECISION_PATH_MAX];
    struct hash config_hash;
    struct buf text;
    buf_init(&text, CHECKPOINT_JSON_MAX);
    run_config_hash(l->config, &config_hash);
    hash_hex(&config_hash, hex);
    precision_path((enum precision)l->config->precision, products);
    buf_printf(&text,
               "{\"version\": %llu, \"config\": \"%s\", \"products\": \"%s\",\n "
               "\"policy_updates\": %llu, "
               "\"critic_updates\": %llu, \"cost_critic_updates\": %llu,\n \"history\": [",
               (unsigned long long)l->version, hex, products,
               (unsigned long long)l->policy.adamw.steps,
               (unsigned long long)l->critic.adamw.steps, /* 0 where there is none */
               (unsigned long long)l->cost_critic.adamw.steps);
    for (uint32_t i = 1; i < l->history_n; i++)
        buf_printf(&text, "%s%llu", i > 1 ? ", " : "",
                   (unsigned long long)l->history[i].version);
    buf_puts(&text, "],\n \"stats\": {");
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

/* Add dir/prefix's files to the manifest, then its directories'. */
static enum err_code checkpoint_manifest_dir(const char *dir, const char *prefix,
                                             struct buf *out, uint32_t *n, struct err *err)
{
    char at[FILE_PATH_MAX];
    enum err_code rc = file_join(at, dir, prefix, err);
    struct dirent **names = NULL;
    const int count = rc ? -1 : scandir(at, &names, NULL, alphasort);
    if (rc == ERR_OK && count < 0)
        rc = err_errno(err, "list %s", at);
    for (int i = 0; i < count; i++) {
        char name[FILE_PATH_MAX], path[FILE_PATH_MAX], hex[HASH_HEX_BYTES];
        struct stat info;
        struct buf bytes;
        buf_init(&bytes, CHECKPOINT_FILE_MAX);
        if (rc == ERR_OK && names[i]->d_name[0] != '.' &&
            (rc = prefix[0] == '.'
                      ? (snprintf(name, sizeof name, "%s", names[i]->d_name), ERR_OK)
                      : file_join(name, prefix, names[i]->d_name, err)) == ERR_OK &&
            (rc = file_join(path, dir, name, err)) == ERR_OK) {
            if (stat(path, &info) < 0)
                rc = err_errno(err, "stat %s", path);
            else if (S_ISDIR(info.st_mode))
                rc = checkpoint_manifest_dir(dir, name, out, n, err);
            else if ((rc = file_read(path, &bytes, err)) == ERR_OK) {
                struct hash hash;
                hash_blake2b(&hash, bytes.data, bytes.len);
                hash_hex(&hash, hex);
                buf_printf(out, "%s\n  {\"name\": \"%s\", \"bytes\": %zu, \"blake2b\": \"%s\"}",
                           *n ? "," : "", name, bytes.len, hex);
                *n += 1;
            }
        }
        buf_release(&bytes);
        free(names[i]);
    }
    free(names);
    return rc;
}

static enum err_code checkpoint_write_manifest(const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    uint32_t n = 0;
    struct buf text;
    buf_init(&text, CHECKPOINT_JSON_MAX);
    buf_puts(&text, "{\"format\": 1, \"files\": [");
    enum err_code rc = checkpoint_manifest_dir(dir, ".", &text, &n, err);
    buf_puts(&text, "\n]}\n");
    if (rc == ERR_OK)
        rc = buf_check(&text, "the manifest", err);
    if (rc == ERR_OK)
        rc = file_join(path, dir, "MANIFEST.json", err);
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
        rc = checkpoint_write_floats(dir, moments, t->adamw.m, t->adamw.v, t->model->params,
                                     err);
    return rc;
}

/* As a disk would fail here. */
static enum err_code checkpoint_fault(enum fault_point point, const char *dir, struct err *err)
{
    return fault_at(point) ? err_errno(err, "%s: %s", dir, fault_name(point)) : ERR_OK;
}

static enum err_code checkpoint_fill(struct learner *l, const char *dir, struct err *err)
{
    enum err_code rc;
    const size_t n = l->policy.model->params;
    if ((rc = checkpoint_fault(FAULT_checkpoint_begin, dir, err)) ||
        (rc = checkpoint_write_trainable(l, &l->policy, dir, "policy", err)) ||
        (l->has_critic &&
         (rc = checkpoint_write_trainable(l, &l->critic, dir, "critic", err))) ||
        (l->has_cost_critic &&
         (rc = checkpoint_write_trainable(l, &l->cost_critic, dir, "cost_critic", err))))
        return rc;
    if ((rc = checkpoint_fault(FAULT_checkpoint_model, dir, err)))
        return rc;
    for (uint32_t i = 1; i < l->history_n; i++) {
        char name[64];
        checkpoint_history_name(name, l->history[i].version);
        if ((rc = checkpoint_write_floats(dir, name, l->history[i].w, NULL, n, err)))
            return rc;
    }
    if ((rc = checkpoint_write_state(l, dir, err)) ||
        (rc = checkpoint_fault(FAULT_checkpoint_manifest, dir, err)))
        return rc;
    return checkpoint_write_manifest(dir, err);
}

/* Where something stands at `path` the two change places, so that at no moment nothing does: a
 * run may be over, and what is replaced be all there is of it.  Not every file system can. */
static enum err_code checkpoint_rename(const char *tmp, const char *path, struct err *err)
{
    if (rename(tmp, path) == 0)
        return ERR_OK;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return err_errno(err, "rename %s to %s", tmp, path);
    if (renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_EXCHANGE) == 0)
        return ERR_OK;
    const enum err_code rc = file_remove_tree(path, err);
    if (rc == ERR_OK && rename(tmp, path) < 0)
        return err_errno(err, "rename %s to %s", tmp, path);
    return rc;
}

/* Give `tmp` its final name, durably.  What stood there before goes last. */
static enum err_code checkpoint_publish(const char *tmp, const char *path, const char *parent,
                                        enum fault_point before, enum fault_point after,
                                        struct err *err)
{
    enum err_code rc = file_sync_dir(tmp, err);
    if (rc == ERR_OK)
        rc = checkpoint_fault(before, tmp, err);
    if (rc == ERR_OK)
        rc = checkpoint_rename(tmp, path, err);
    if (rc == ERR_OK)
        rc = checkpoint_fault(after, path, err);
    if (rc == ERR_OK)
        rc = file_sync_dir(parent, err);
    return rc ? rc : file_remove_tree(tmp, err);
}

/* Versions of the directories named vNNNNNNNN below root, newest first. */
static size_t checkpoint_list(const char *root, uint64_t versions[CHECKPOINT_LIST_MAX])
{
    size_t n = 0;
    DIR *dir = opendir(root);
    for (const struct dirent *entry;
         dir && n < CHECKPOINT_LIST_MAX && (entry = readdir(dir));) {
        char *end = NULL;
        const unsigned long long version =
            entry->d_name[0] == 'v' ? strtoull(entry->d_name + 1, &end, 10) : 0;
        if (!end || end == entry->d_name + 1 || *end != '\0')
            continue;
        size_t at = n++;
        for (; at > 0 && versions[at - 1] < version; at--)
            versions[at] = versions[at - 1];
        versions[at] = version;
    }
    if (dir)
        closedir(dir);
    return n;
}

static enum err_code checkpoint_path(const char *root, uint64_t version,
                                     char path[FILE_PATH_MAX], struct err *err)
{
    char name[32];
    snprintf(name, sizeof name, "v%08llu", (unsigned long long)version);
    return file_join(path, root, name, err);
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
    const size_t n = checkpoint_list(root, versions);
    enum err_code rc = ERR_OK;
    size_t newest = 0; /* later ones were passed over at the start: they do not count as kept */
    while (newest < n && versions[newest] > l->version)
        newest++;
    for (size_t i = newest + l->config->checkpoint_keep; i < n && rc == ERR_OK; i++) {
        char path[FILE_PATH_MAX];
        if (checkpoint_is_pinned(l, versions[i]))
            continue;
        rc = checkpoint_path(root, versions[i], path, err);
        if (rc == ERR_OK)
            rc = checkpoint_fault(FAULT_checkpoint_prune, path, err);
        if (rc == ERR_OK)
            rc = file_remove_tree(path, err);
    }
    return rc;
}

/* A place of this learner's own to write in: others may be writing, or starting, beside it. */
static enum err_code checkpoint_tmp(const struct learner *l, const char *dir,
                                    char tmp[FILE_PATH_MAX], struct err *err)
{
    char name[WIRE_NAME_MAX + 8];
    snprintf(name, sizeof name, ".tmp-%s", l->name);
    return file_join(tmp, dir, name, err);
}

enum err_code checkpoint_write(struct learner *l, struct err *err)
{
    char root[FILE_PATH_MAX], tmp[FILE_PATH_MAX], path[FILE_PATH_MAX];
    enum err_code rc;
    if ((rc = checkpoint_root(l, root, err)) || (rc = file_make_dir(root, err)) ||
        (rc = checkpoint_tmp(l, root, tmp, err)) || (rc = file_remove_tree(tmp, err)) ||
        (rc = file_make_dir(tmp, err)) || (rc = checkpoint_path(root, l->version, path, err)))
        return rc;
    rc = checkpoint_fill(l, tmp, err);
    if (rc == ERR_OK)
        rc = checkpoint_publish(tmp, path, root, FAULT_checkpoint_rename,
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
    if ((rc = checkpoint_tmp(l, l->config->dir, tmp, err)) ||
        (rc = file_remove_tree(tmp, err)) ||
        (rc = checkpoint_write_model(l, l->policy.model, tmp, true, err)) ||
        (rc = file_join(path, l->config->dir, "final", err)))
        return rc;
    return checkpoint_publish(tmp, path, l->config->dir, FAULT_final_rename,
                              FAULT_final_renamed, err);
}

/* Every file the manifest names, held against its size and hash. */
static enum err_code checkpoint_verify(const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, "MANIFEST.json", err);
    json_t *manifest = rc ? NULL : json_read_file(path, CHECKPOINT_JSON_MAX, err);
    if (!manifest)
        return rc ? rc : ERR_FORMAT;
    const json_t *files = json_object_get(manifest, "files");
    if (json_array_size(files) == 0)
        rc = err_set(err, ERR_FORMAT, "%s names no files", path);
    for (size_t i = 0; i < json_array_size(files) && rc == ERR_OK; i++) {
        const json_t *file = json_array_get(files, i);
        const char *name = NULL, *hex = NULL;
        uint64_t bytes = 0;
        struct hash want, have;
        char at[FILE_PATH_MAX];
        struct buf text;
        buf_init(&text, CHECKPOINT_FILE_MAX);
        if ((rc = json_get_string(file, "name", &name, path, err)) == ERR_OK &&
            (rc = json_get_string(file, "blake2b", &hex, path, err)) == ERR_OK &&
            (rc = json_get_u64(file, "bytes", 0, CHECKPOINT_FILE_MAX, &bytes, path, err)) ==
                ERR_OK &&
            (rc = hash_from_hex(&want, hex, err)) == ERR_OK &&
            (rc = file_join(at, dir, name, err)) == ERR_OK &&
            (rc = file_read(at, &text, err)) == ERR_OK) {
            hash_blake2b(&have, text.data, text.len);
            if (text.len != bytes || memcmp(&have, &want, sizeof have) != 0)
                rc = err_set(err, ERR_FORMAT, "%s is not what %s says", at, path);
        }
        buf_release(&text);
    }
    json_decref(manifest);
    return rc;
}

static enum err_code checkpoint_load_model(struct model *into, const char *dir,
                                           const char *name, struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, name, err);
    if (rc)
        return rc;
    struct model *model = model_load(path, err);
    if (!model)
        return err->code;
    if (model->params != into->params)
        rc = err_set(err, ERR_FORMAT, "%s has %zu parameters, not %zu", path, model->params,
                     into->params);
    else
        memcpy(into->w, model->w, model_bytes(into));
    into->generation += 1;
    model_free(model);
    return rc;
}

static enum err_code checkpoint_load_history(struct learner *l, const char *dir,
                                             const json_t *list, const char *where,
                                             struct err *err)
{
    l->history_n = 1;
    l->history[0].version = l->version;
    memcpy(l->history[0].w, l->policy.model->w, model_bytes(l->policy.model));
    for (size_t i = 0; i < json_array_size(list) && l->history_n < l->history_max; i++) {
        char name[64];
        const json_t *version = json_array_get(list, i);
        if (!json_is_integer(version))
            return err_set(err, ERR_FORMAT, "%s: \"history\" must hold whole numbers", where);
        struct learner_version *past = &l->history[l->history_n];
        past->version = (uint64_t)json_integer_value(version);
        checkpoint_history_name(name, past->version);
        const enum err_code rc =
            checkpoint_read_floats(dir, name, past->w, NULL, l->policy.model->params, err);
        if (rc)
            return rc;
        l->history_n += 1;
    }
    return ERR_OK;
}

/* What the step that led to this version told: it may be asked for again. */
static enum err_code checkpoint_load_stats(struct learner *l, json_t *stats, const char *where,
                                           struct err *err)
{
    const char *name;
    json_t *value;
    l->stats_n = 0;
    json_object_foreach(stats, name, value)
    {
        if (l->stats_n == WIRE_STATS_MAX || strlen(name) >= sizeof l->stats[0].name ||
            !(json_is_number(value) || json_is_null(value)))
            return err_set(err, ERR_FORMAT, "%s: \"stats\" has \"%.40s\", which is no number",
                           where, name);
        learner_stat(l, name, json_is_null(value) ? (double)NAN : json_number_value(value));
    }
    return ERR_OK;
}

static enum err_code checkpoint_load_trainable(struct trainable *t, const char *dir,
                                               const char *name, uint64_t updates,
                                               struct err *err)
{
    char moments[64];
    snprintf(moments, sizeof moments, "%s.moments.f32", name);
    const enum err_code rc = checkpoint_load_model(t->model, dir, name, err);
    if (rc)
        return rc;
    t->adamw.steps = updates;
    return checkpoint_read_floats(dir, moments, t->adamw.m, t->adamw.v, t->model->params, err);
}

/* The STATE.json of a checkpoint that was verified, if it is this run's; NULL, and an error, else.
 * The caller drops it with json_decref. */
static json_t *checkpoint_open(const struct learner *l, const char *dir,
                               char path[FILE_PATH_MAX], uint64_t *version, struct err *err)
{
    char hex[HASH_HEX_BYTES];
    struct hash config_hash;
    const char *config = NULL;
    if (file_join(path, dir, "STATE.json", err))
        return NULL;
    json_t *state = json_read_file(path, CHECKPOINT_JSON_MAX, err);
    if (!state)
        return NULL;
    run_config_hash(l->config, &config_hash);
    hash_hex(&config_hash, hex);
    enum err_code rc = json_get_u64(state, "version", 0, UINT64_MAX >> 1, version, path, err);
    if (rc == ERR_OK)
        rc = json_get_string(state, "config", &config, path, err);
    if (rc == ERR_OK && strcmp(config, hex) != 0)
        rc = err_set(err, ERR_USAGE, "%s was written by a run with another config", dir);
    if (rc) {
        json_decref(state);
        return NULL;
    }
    return state;
}

/* Policy, critics and their optimizers. */
static enum err_code checkpoint_load_trainables(struct learner *l, const char *dir,
                                                const json_t *state, const char *where,
                                                struct err *err)
{
    struct {
        struct trainable *t;
        bool has;
        const char *name, *updates;
    } all[] = {{&l->policy, true, "policy", "policy_updates"},
               {&l->critic, l->has_critic, "critic", "critic_updates"},
               {&l->cost_critic, l->has_cost_critic, "cost_critic", "cost_critic_updates"}};
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < sizeof all / sizeof all[0] && rc == ERR_OK; i++) {
        uint64_t updates = 0;
        rc = json_get_u64(state, all[i].updates, 0, UINT64_MAX >> 1, &updates, where, err);
        if (rc == ERR_OK && all[i].has)
            rc = checkpoint_load_trainable(all[i].t, dir, all[i].name, updates, err);
    }
    return rc;
}

/* From one that was verified. */
static enum err_code checkpoint_load(struct learner *l, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    json_t *state = checkpoint_open(l, dir, path, &l->version, err);
    if (!state)
        return err->code;
    enum err_code rc = checkpoint_load_trainables(l, dir, state, path, err);
    if (rc == ERR_OK)
        rc = checkpoint_load_stats(l, json_object_get(state, "stats"), path, err);
    if (rc == ERR_OK)
        rc = checkpoint_load_history(l, dir, json_object_get(state, "history"), path, err);
    json_decref(state);
    return rc;
}

enum err_code checkpoint_read_state(struct learner *l, uint64_t version, struct err *err)
{
    char root[FILE_PATH_MAX], dir[FILE_PATH_MAX], path[FILE_PATH_MAX];
    uint64_t written = 0;
    enum err_code rc;
    if ((rc = checkpoint_root(l, root, err)) ||
        (rc = checkpoint_path(root, version, dir, err)) || (rc = checkpoint_verify(dir, err)))
        return rc;
    json_t *state = checkpoint_open(l, dir, path, &written, err);
    if (!state)
        return err->code;
    if (written == version) {
        l->dirty = true;
        rc = checkpoint_load_trainables(l, dir, state, path, err);
    } else {
        rc = err_set(err, ERR_FORMAT, "%s is of version %llu, not %llu", path,
                     (unsigned long long)written, (unsigned long long)version);
    }
    json_decref(state);
    return rc;
}

/* Of the newest, whole or not; 0: there is none. */
static uint64_t checkpoint_newest(const char *root)
{
    static uint64_t versions[CHECKPOINT_LIST_MAX];
    return checkpoint_list(root, versions) > 0 ? versions[0] : 0;
}

/* The newest of those listed that is whole.  *touched: the models are no longer those that the
 * run began with. */
static enum err_code checkpoint_read_listed(struct learner *l, const char *root,
                                            const uint64_t *versions, size_t n, bool *found,
                                            bool *touched, struct err *err)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < n; i++) {
        char path[FILE_PATH_MAX];
        struct err why = {0};
        if ((rc = checkpoint_path(root, versions[i], path, err)))
            return rc;
        rc = checkpoint_verify(path, &why);
        if (rc == ERR_OK) {
            *touched = true;
            rc = checkpoint_load(l, path, &why);
        }
        if (rc == ERR_OK) {
            l->checkpoint = l->version;
            *found = true;
            return ERR_OK;
        }
        if (rc == ERR_USAGE) /* another run's: nothing here is ours */
            return err_set(err, rc, "%s", why.text);
        log_warn("CHECKPOINT-BAD", "%s is passed over: %s", path, why.text);
    }
    if (n > 0)
        return err_set(err, ERR_FORMAT, "none of the %zu checkpoints in %s is whole", n, root);
    return ERR_OK;
}

enum err_code checkpoint_read_newest(struct learner *l, uint64_t below, bool *found,
                                     struct err *err)
{
    static uint64_t versions[CHECKPOINT_LIST_MAX];
    char root[FILE_PATH_MAX], tmp[FILE_PATH_MAX];
    bool touched = false;
    struct err why = {0};
    *found = false;
    enum err_code rc;
    if ((rc = checkpoint_root(l, root, err)) || (rc = checkpoint_tmp(l, root, tmp, err)) ||
        (rc = file_remove_tree(tmp, err)))
        return rc;
    for (int tries = 0; tries < CHECKPOINT_TRIES; tries++) {
        const size_t n = checkpoint_list(root, versions);
        size_t first = 0;
        while (first < n && versions[first] >= below)
            first++;
        rc =
            checkpoint_read_listed(l, root, versions + first, n - first, found, &touched, &why);
        if (rc != ERR_FORMAT || checkpoint_newest(root) == versions[0])
            break;
        /* Another learner has put a newer one in the place of what was being read. */
    }
    if (rc == ERR_FORMAT && !touched) {
        log_warn("CHECKPOINT-NONE", "%s: it begins again with the models of the run", why.text);
        return ERR_OK;
    }
    return rc == ERR_OK ? rc : err_set(err, rc, "%s", why.text);
}
