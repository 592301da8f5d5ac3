/* checkpoint_read.c -- which checkpoint is taken, and what it fills. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "learner/checkpoint.h"
#include "learner/checkpoint_dir.h"
#include "learner/checkpoint_manifest.h"
#include "learner/floats.h"
#include "learner/past.h"

#define CHECKPOINT_TRIES 5

static enum err_code checkpoint_read_model(struct model *into, const char *dir,
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

/* What the step that led to this version told: it may be asked for again. */
static enum err_code checkpoint_read_stats(struct learner *l, json_t *stats, const char *where,
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

static enum err_code checkpoint_read_trainable(struct trainable *t, const char *dir,
                                               const char *name, uint64_t updates,
                                               struct err *err)
{
    char moments[64];
    snprintf(moments, sizeof moments, "%s.moments.f32", name);
    const enum err_code rc = checkpoint_read_model(t->model, dir, name, err);
    if (rc)
        return rc;
    t->adamw.steps = updates;
    return floats_read(dir, moments, t->adamw.m, t->adamw.v, t->model->params, err);
}

/* The STATE.json of a checkpoint that was verified, if it is this run's; NULL, and an error, else.
 * The caller drops it with json_decref. */
static json_t *checkpoint_read_json(const struct learner *l, const char *dir,
                                    char path[FILE_PATH_MAX], uint64_t *version,
                                    struct err *err)
{
    char hex[HASH_HEX_BYTES];
    struct hash config_hash;
    const char *config = NULL;
    if (file_join(path, dir, "STATE.json", err))
        return NULL;
    json_t *state = json_read_file(path, CHECKPOINT_STATE_MAX, err);
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
static enum err_code checkpoint_read_trainables(struct learner *l, const char *dir,
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
            rc = checkpoint_read_trainable(all[i].t, dir, all[i].name, updates, err);
    }
    return rc;
}

/* From one that was verified. */
static enum err_code checkpoint_read_version(struct learner *l, const char *dir,
                                             struct err *err)
{
    char path[FILE_PATH_MAX];
    json_t *state = checkpoint_read_json(l, dir, path, &l->version, err);
    if (!state)
        return err->code;
    enum err_code rc = checkpoint_read_trainables(l, dir, state, path, err);
    if (rc == ERR_OK)
        rc = checkpoint_read_stats(l, json_object_get(state, "stats"), path, err);
    if (rc == ERR_OK)
        rc = past_load(l, dir, state, path, err);
    json_decref(state);
    return rc;
}

enum err_code checkpoint_read_state(struct learner *l, uint64_t version, struct err *err)
{
    char root[FILE_PATH_MAX], dir[FILE_PATH_MAX], path[FILE_PATH_MAX];
    uint64_t written = 0;
    enum err_code rc;
    if ((rc = checkpoint_dir_root(l, root, err)) ||
        (rc = checkpoint_dir_version(root, version, dir, err)) ||
        (rc = checkpoint_manifest_verify(dir, err)))
        return rc;
    json_t *state = checkpoint_read_json(l, dir, path, &written, err);
    if (!state)
        return err->code;
    if (written == version) {
        l->dirty = true;
        rc = checkpoint_read_trainables(l, dir, state, path, err);
        if (rc == ERR_OK)
            rc = past_load_reference(l, dir, state, path, err);
    } else {
        rc = err_set(err, ERR_FORMAT, "%s is of version %llu, not %llu", path,
                     (unsigned long long)written, (unsigned long long)version);
    }
    json_decref(state);
    return rc;
}

/* Of the newest, whole or not; 0: there is none. */
static uint64_t checkpoint_read_newest_name(const char *root)
{
    static uint64_t versions[CHECKPOINT_LIST_MAX];
    return checkpoint_dir_list(root, versions) > 0 ? versions[0] : 0;
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
        if ((rc = checkpoint_dir_version(root, versions[i], path, err)))
            return rc;
        rc = checkpoint_manifest_verify(path, &why);
        if (rc == ERR_OK) {
            *touched = true;
            rc = checkpoint_read_version(l, path, &why);
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
    if ((rc = checkpoint_dir_root(l, root, err)) ||
        (rc = checkpoint_dir_tmp(l, root, tmp, err)) || (rc = file_remove_tree(tmp, err)))
        return rc;
    for (int tries = 0; tries < CHECKPOINT_TRIES; tries++) {
        const size_t n = checkpoint_dir_list(root, versions);
        size_t first = 0;
        while (first < n && versions[first] >= below)
            first++;
        rc =
            checkpoint_read_listed(l, root, versions + first, n - first, found, &touched, &why);
        if (rc != ERR_FORMAT || checkpoint_read_newest_name(root) == versions[0])
            break;
        /* Another learner has put a newer one in the place of what was being read. */
    }
    if (rc == ERR_FORMAT && !touched) {
        log_warn("CHECKPOINT-NONE", "%s: it begins again with the models of the run", why.text);
        return ERR_OK;
    }
    return rc == ERR_OK ? rc : err_set(err, rc, "%s", why.text);
}
