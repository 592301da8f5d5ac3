/* chain.c -- see chain.h. */
#include "control/chain.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* The error of a link, with its place said. */
static enum err_code chain_fail(struct err *err, enum err_code rc, uint32_t link,
                                const struct err *inner)
{
    return err_set(err, rc, "chain: link %u: %s", (unsigned)link, inner->text);
}

enum err_code chain_check(const struct chain_params *params, struct err *err)
{
    if (params->links < 1 || params->links > CHAIN_LINKS_MAX)
        return err_set(err, ERR_USAGE, "chain: %u links, must be 1 to %d",
                       (unsigned)params->links, CHAIN_LINKS_MAX);
    for (uint32_t i = 0; i < params->links; i++) {
        struct err inner;
        const enum err_code rc = shaping_check(&params->link[i], &inner);
        if (rc)
            return chain_fail(err, rc, i, &inner);
        if (shaping_references(&params->link[i]) > CHAIN_REFERENCES_MAX)
            return err_set(err, ERR_USAGE, "chain: link %u: %s takes %u references, at most %d",
                           (unsigned)i, shaping_name(params->link[i].kind),
                           (unsigned)params->link[i].references, CHAIN_REFERENCES_MAX);
    }
    return ERR_OK;
}

/* What the links from `first` on need of references. */
static uint32_t chain_references_from(const struct chain_params *params, uint32_t first)
{
    uint32_t most = 0;
    for (uint32_t i = first; i < params->links; i++) {
        const uint32_t needed = shaping_references(&params->link[i]);
        most = needed > most ? needed : most;
    }
    return most;
}

uint32_t chain_references(const struct chain_params *params)
{
    return chain_references_from(params, 0);
}

void chain_init(const struct chain_params *params, struct chain_state *state)
{
    *state = (struct chain_state){0};
    for (uint32_t i = 0; i < params->links; i++)
        shaping_init(&params->link[i], &state->link[i]);
}

/* Move the first `needed` of n references past link i. */
static enum err_code chain_pass_references(const struct chain_params *params,
                                           const struct chain_state *state, uint32_t i,
                                           uint32_t needed, double *refs, size_t n,
                                           struct err *err)
{
    double passed[CHAIN_REFERENCES_MAX];
    for (uint32_t m = 0; m < needed; m++) {
        const enum err_code rc =
            shaping_apply(&params->link[i], &state->link[i], refs[m], refs, n, &passed[m], err);
        if (rc)
            return rc;
    }
    memcpy(refs, passed, needed * sizeof refs[0]);
    return ERR_OK;
}

/* x (links + 1): what reaches each link, and what leaves the last. */
static enum err_code chain_run(const struct chain_params *params,
                               const struct chain_state *state, double raw, const double *refs,
                               size_t n_refs, double *x, struct err *err)
{
    const uint32_t taken = chain_references(params);
    double passing[CHAIN_REFERENCES_MAX];
    assert(params->links <= CHAIN_LINKS_MAX && taken <= CHAIN_REFERENCES_MAX);
    if (n_refs < taken)
        return err_set(err, ERR_STATE,
                       "chain: it needs %u reference scores, the prompt has %zu",
                       (unsigned)taken, n_refs);
    for (uint32_t m = 0; m < taken; m++) {
        if (!isfinite(refs[m]))
            return err_set(err, ERR_VALUE, "chain: reference score %u is %g", (unsigned)m,
                           refs[m]);
        passing[m] = refs[m];
    }
    x[0] = raw;
    for (uint32_t i = 0; i < params->links; i++) {
        struct err inner;
        enum err_code rc = shaping_apply(&params->link[i], &state->link[i], x[i], passing,
                                         taken, &x[i + 1], &inner);
        if (!rc)
            rc = chain_pass_references(params, state, i, chain_references_from(params, i + 1),
                                       passing, taken, &inner);
        if (rc)
            return chain_fail(err, rc, i, &inner);
    }
    return ERR_OK;
}

enum err_code chain_apply(const struct chain_params *params, const struct chain_state *state,
                          double raw, const double *refs, size_t n_refs, double *shaped,
                          struct err *err)
{
    double x[CHAIN_LINKS_MAX + 1];
    const enum err_code rc = chain_run(params, state, raw, refs, n_refs, x, err);
    if (!rc)
        *shaped = x[params->links];
    return rc;
}

enum err_code chain_add(const struct chain_params *params, const struct chain_state *state,
                        double raw, const double *refs, size_t n_refs,
                        struct chain_state *batch, struct err *err)
{
    double x[CHAIN_LINKS_MAX + 1];
    const enum err_code rc = chain_run(params, state, raw, refs, n_refs, x, err);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < params->links; i++) {
        if (shaping_is_running(&params->link[i]))
            shaping_add(&batch->link[i], x[i]);
    }
    return ERR_OK;
}

enum err_code chain_update(const struct chain_params *params, struct chain_state *state,
                           const struct chain_state *batch, struct err *err)
{
    struct chain_state next = *state;
    for (uint32_t i = 0; i < params->links; i++) {
        struct err inner;
        const enum err_code rc =
            shaping_update(&params->link[i], &next.link[i], &batch->link[i], &inner);
        if (rc)
            return chain_fail(err, rc, i, &inner);
    }
    *state = next;
    return ERR_OK;
}

uint32_t chain_state_n(const struct chain_params *params)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < params->links; i++)
        n += shaping_is_running(&params->link[i]) ? SHAPING_STATE_N : 0;
    return n;
}

void chain_write(const struct chain_params *params, const struct chain_state *state,
                 double *out)
{
    for (uint32_t i = 0; i < params->links; i++) {
        if (!shaping_is_running(&params->link[i]))
            continue;
        shaping_state_write(&state->link[i], out);
        out += SHAPING_STATE_N;
    }
}

static enum err_code chain_check_link(uint32_t i, const struct shaping_state *s,
                                      struct err *err)
{
    const bool finite = isfinite(s->count) && isfinite(s->mean) && isfinite(s->m2) &&
                        isfinite(s->min) && isfinite(s->max);
    const bool empty = s->mean == 0.0 && s->m2 == 0.0 && s->min == 0.0 && s->max == 0.0;
    if (!finite || s->count < 0.0 || floor(s->count) != s->count || s->m2 < 0.0 ||
        s->min > s->max || (s->count == 0.0 && !empty))
        return err_set(err, ERR_VALUE,
                       "chain: link %u's state says that %g rewards have mean %g, sum of "
                       "squares %g, and lie between %g and %g",
                       (unsigned)i, s->count, s->mean, s->m2, s->min, s->max);
    return ERR_OK;
}

enum err_code chain_read(const struct chain_params *params, const double *in, size_t n,
                         struct chain_state *state, struct err *err)
{
    struct chain_state read = {0};
    if (n != chain_state_n(params))
        return err_set(err, ERR_FORMAT, "chain: the state has %zu numbers, this chain's has %u",
                       n, (unsigned)chain_state_n(params));
    for (uint32_t i = 0; i < params->links; i++) {
        if (!shaping_is_running(&params->link[i]))
            continue;
        shaping_state_read(&read.link[i], in);
        const enum err_code rc = chain_check_link(i, &read.link[i], err);
        if (rc)
            return rc;
        in += SHAPING_STATE_N;
    }
    *state = read;
    return ERR_OK;
}
