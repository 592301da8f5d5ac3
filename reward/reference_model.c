/* reference_model.c -- see reference_model.h. */
#include "reward/reference_model.h"

#include <stdlib.h>

#include "base/log.h"
#include "node/weights.h"

struct reference_model {
    const struct run_config *config;
    struct wire_context *context;
    struct pool *pool;
    uint32_t vocabulary, longest;
    struct frozen *first;
    struct {
        struct frozen *frozen; /* NULL: not made yet */
        uint64_t version;      /* 0: none */
        uint64_t used;         /* the turn it was last asked for */
    } kept[REFERENCE_MODEL_KEPT];
    uint64_t turn;
};

static enum err_code reference_model_load(const struct reference_model *m, const char *dir,
                                          struct frozen **out, struct err *err)
{
    const enum err_code rc =
        frozen_new(out, dir, MODEL_HEAD_LM, m->vocabulary, (enum precision)m->config->precision,
                   m->pool, m->longest, err);
    if (rc == ERR_OK && frozen_longest(*out) < m->longest)
        return err_set(err, ERR_USAGE,
                       "%s: the reference takes %u tokens, prompts and responses may have %u",
                       dir, frozen_longest(*out), m->longest);
    return rc;
}

enum err_code reference_model_new(struct reference_model **out, const struct run_config *config,
                                  struct wire_context *context, struct pool *pool,
                                  uint32_t vocabulary, uint32_t longest, struct err *err)
{
    struct reference_model *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, ERR_NOMEM, "out of memory for the reference");
    m->config = config;
    m->context = context;
    m->pool = pool;
    m->vocabulary = vocabulary;
    m->longest = longest;
    const enum err_code rc = reference_model_load(m, config->reference, &m->first, err);
    if (rc) {
        reference_model_free(m);
        return rc;
    }
    *out = m;
    return ERR_OK;
}

void reference_model_free(struct reference_model *m)
{
    if (!m)
        return;
    frozen_free(m->first);
    for (size_t i = 0; i < REFERENCE_MODEL_KEPT; i++)
        frozen_free(m->kept[i].frozen);
    free(m);
}

const struct frozen *reference_model_first(const struct reference_model *m)
{
    return m->first;
}

/* The one of this version, or the one that was not asked for the longest. */
static size_t reference_model_find(const struct reference_model *m, uint64_t version)
{
    size_t oldest = 0;
    for (size_t i = 0; i < REFERENCE_MODEL_KEPT; i++) {
        if (m->kept[i].version == version)
            return i;
        if (m->kept[i].used < m->kept[oldest].used)
            oldest = i;
    }
    return oldest;
}

static enum err_code reference_model_pull(struct reference_model *m, size_t i, uint64_t version,
                                          const char *endpoint,
                                          const struct scorer_watch *watch, struct err *err)
{
    size_t bytes;
    enum err_code rc = ERR_OK;
    if (!m->kept[i].frozen)
        rc = reference_model_load(m, m->config->policy, &m->kept[i].frozen, err);
    if (rc)
        return rc;
    float *w = frozen_weights(m->kept[i].frozen, &bytes);
    const struct weights_patience patience = {m->config->dead_ms, weights_timeout_ms(bytes),
                                              watch ? watch->stopping : NULL,
                                              watch ? watch->ctx : NULL};
    m->kept[i].version = 0; /* until the pull is whole */
    rc = weights_pull(m->context, endpoint, version, w, bytes, NULL, &patience, err);
    if (rc)
        return rc;
    frozen_weights_changed(m->kept[i].frozen);
    m->kept[i].version = version;
    log_info("KL-REFERENCE", "version %llu, from %s", (unsigned long long)version, endpoint);
    return ERR_OK;
}

enum err_code reference_model_use(struct reference_model *m, uint64_t version,
                                  const char *endpoint, const struct scorer_watch *watch,
                                  struct frozen **out, struct err *err)
{
    *out = m->first;
    if (version == 0)
        return ERR_OK;
    if (!m->context)
        return err_set(err, ERR_USAGE, "version %llu as reference, but none is ever renewed",
                       (unsigned long long)version);
    const size_t i = reference_model_find(m, version);
    if (m->kept[i].version != version) {
        const enum err_code rc = reference_model_pull(m, i, version, endpoint, watch, err);
        if (rc)
            return rc;
    }
    m->kept[i].used = ++m->turn;
    *out = m->kept[i].frozen;
    return ERR_OK;
}
