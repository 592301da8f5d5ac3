/* past.c -- see past.h. */
#include "learner/past.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/kl_reference.h"
#include "learner/floats.h"

/* --- references --------------------------------------------------------------------------- */

static struct learner_weights *past_find(struct learner *l, uint64_t version)
{
    for (size_t i = 0; i < LEARNER_KL_REFERENCES_MAX; i++)
        if (l->kl_reference[i].version == version)
            return &l->kl_reference[i];
    return NULL;
}

static bool past_is_measured_from(const struct learner *l, uint64_t version)
{
    for (uint32_t i = 0; i < l->history_n; i++)
        if (l->history[i].kl_reference == version)
            return true;
    return l->inherited == version;
}

static void past_trim(struct learner *l)
{
    for (size_t i = 0; i < LEARNER_KL_REFERENCES_MAX; i++) {
        struct learner_weights *kept = &l->kl_reference[i];
        if (kept->version == 0 || past_is_measured_from(l, kept->version))
            continue;
        weights_server_drop(l->server, kept->version);
        kept->version = 0;
    }
}

/* Room for this version's weights, which are not kept yet, for the caller to fill; NULL:
 * ERR_NOMEM. */
static struct learner_weights *past_take(struct learner *l, uint64_t version, struct err *err)
{
    struct learner_weights *kept = past_find(l, 0);
    assert(kept); /* control/kl_reference.h: no more are needed at once */
    if (!kept->w)
        kept->w = malloc(model_bytes(l->policy.model));
    if (!kept->w) {
        err_set(err, ERR_NOMEM, "out of memory for version %llu as reference",
                (unsigned long long)version);
        return NULL;
    }
    kept->version = version;
    kept->served = false;
    return kept;
}

static enum err_code past_publish(struct learner *l, struct learner_weights *kept,
                                  struct err *err)
{
    const enum err_code rc = weights_server_publish(l->server, kept->version, kept->w,
                                                    model_bytes(l->policy.model), NULL, err);
    kept->served = rc == ERR_OK;
    return rc;
}

enum err_code past_serve(struct learner *l, struct err *err)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < LEARNER_KL_REFERENCES_MAX && rc == ERR_OK; i++)
        if (l->kl_reference[i].version > 0 && !l->kl_reference[i].served)
            rc = past_publish(l, &l->kl_reference[i], err);
    return rc;
}

/* The server throws out the oldest where it is full, which a reference would be: so it never is. */
static void past_drop_oldest(struct learner *l)
{
    const uint64_t most = (uint64_t)l->history_max + 1;
    if (l->version >= most && !past_find(l, l->version - most))
        weights_server_drop(l->server, l->version - most);
}

enum err_code past_advance(struct learner *l, struct err *err)
{
    struct learner_version *now = &l->history[0];
    if (l->config->kl_reference_every == 0)
        return ERR_OK;
    now->kl_reference =
        kl_reference_version(l->config->kl_reference_every, now->version, l->inherited);
    l->inherited = now->kl_reference;
    past_trim(l);
    past_drop_oldest(l);
    if (now->kl_reference != now->version)
        return past_serve(l, err); /* one that was gone back to may be new here */
    struct learner_weights *kept = past_take(l, now->version, err);
    if (!kept)
        return ERR_NOMEM;
    memcpy(kept->w, now->w, model_bytes(l->policy.model));
    return ERR_OK;
}

void past_release(struct learner *l)
{
    for (size_t i = 0; i < LEARNER_KL_REFERENCES_MAX; i++)
        free(l->kl_reference[i].w);
}

/* --- in a checkpoint ---------------------------------------------------------------------- */

#define PAST_NAME_MAX 64

static void past_name(char name[PAST_NAME_MAX], const char *what, uint64_t version)
{
    snprintf(name, PAST_NAME_MAX, "%s-v%08llu.f32", what, (unsigned long long)version);
}

enum err_code past_write(const struct learner *l, const char *dir, struct err *err)
{
    const size_t n = l->policy.model->params;
    enum err_code rc = ERR_OK;
    char name[PAST_NAME_MAX];
    for (uint32_t i = 1; i < l->history_n && rc == ERR_OK; i++) {
        past_name(name, "weights", l->history[i].version);
        rc = floats_write(dir, name, l->history[i].w, NULL, n, err);
    }
    for (size_t i = 0; i < LEARNER_KL_REFERENCES_MAX && rc == ERR_OK; i++) {
        const struct learner_weights *kept = &l->kl_reference[i];
        past_name(name, "kl-reference", kept->version);
        if (kept->version > 0)
            rc = floats_write(dir, name, kept->w, NULL, n, err);
    }
    return rc;
}

void past_describe(const struct learner *l, struct buf *state)
{
    buf_puts(state, "\"history\": [");
    for (uint32_t i = 1; i < l->history_n; i++)
        buf_printf(state, "%s%llu", i > 1 ? ", " : "",
                   (unsigned long long)l->history[i].version);
    buf_puts(state, "], \"kl_references\": [");
    for (uint32_t i = 0; i < l->history_n; i++)
        buf_printf(state, "%s%llu", i > 0 ? ", " : "",
                   (unsigned long long)l->history[i].kl_reference);
    buf_puts(state, "]");
}

/* Entry i of a list of versions. */
static enum err_code past_version(const json_t *state, const char *list, size_t i,
                                  const char *where, uint64_t *out, struct err *err)
{
    const json_t *version = json_array_get(json_object_get(state, list), i);
    if (!json_is_integer(version) || json_integer_value(version) < 0)
        return err_set(err, ERR_FORMAT, "%s: \"%s\" must hold whole numbers", where, list);
    *out = (uint64_t)json_integer_value(version);
    return ERR_OK;
}

/* What entry i of the history is measured from, its weights included. */
static enum err_code past_read_reference(struct learner *l, const char *dir,
                                         const json_t *state, size_t i, const char *where,
                                         uint64_t *version, struct err *err)
{
    char name[PAST_NAME_MAX];
    *version = 0;
    if (l->config->kl_reference_every == 0)
        return ERR_OK;
    enum err_code rc = past_version(state, "kl_references", i, where, version, err);
    if (rc || *version == 0 || past_find(l, *version))
        return rc;
    struct learner_weights *kept = past_take(l, *version, err);
    if (!kept)
        return ERR_NOMEM;
    past_name(name, "kl-reference", *version);
    rc = floats_read(dir, name, kept->w, NULL, l->policy.model->params, err);
    if (rc)
        kept->version = 0;
    return rc;
}

static void past_forget(struct learner *l)
{
    l->history_n = 0;
    l->inherited = 0;
    for (size_t i = 0; i < LEARNER_KL_REFERENCES_MAX; i++)
        l->kl_reference[i].version = 0;
}

enum err_code past_load(struct learner *l, const char *dir, const json_t *state,
                        const char *where, struct err *err)
{
    const size_t older = json_array_size(json_object_get(state, "history"));
    enum err_code rc = ERR_OK;
    past_forget(l);
    for (size_t i = 0; i <= older && l->history_n < l->history_max && rc == ERR_OK; i++) {
        struct learner_version *past = &l->history[l->history_n++];
        char name[PAST_NAME_MAX];
        past->version = l->version;
        if (i > 0)
            rc = past_version(state, "history", i - 1, where, &past->version, err);
        past_name(name, "weights", past->version);
        if (rc == ERR_OK && i > 0)
            rc = floats_read(dir, name, past->w, NULL, l->policy.model->params, err);
        if (rc == ERR_OK)
            rc = past_read_reference(l, dir, state, i, where, &past->kl_reference, err);
    }
    memcpy(l->history[0].w, l->policy.model->w, model_bytes(l->policy.model));
    l->inherited = l->history[0].kl_reference;
    return rc;
}

enum err_code past_load_reference(struct learner *l, const char *dir, const json_t *state,
                                  const char *where, struct err *err)
{
    return past_read_reference(l, dir, state, 0, where, &l->inherited, err);
}
