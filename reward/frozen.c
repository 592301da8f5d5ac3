/* frozen.c -- see frozen.h. */
#include "reward/frozen.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/combiner.h"
#include "engine/pass.h"

struct frozen {
    struct model *model;
    struct combiner combiner;
    struct pass *pass;
    uint32_t longest;
    size_t tokens_max; /* of a pack */

    /* The pack at hand; each array has tokens_max entries, offset one more, scores
     * one a label. */
    uint32_t *offset, *at;
    int32_t *ids, *target;
    float *logp, *scores;
    size_t seqs, tokens;
};

static enum err_code frozen_check(const struct frozen *frozen, const char *dir,
                                  enum model_head head, uint32_t vocabulary, struct err *err)
{
    const struct model_config *c = &frozen->model->config;
    if (c->head != head)
        return err_set(
            err, ERR_USAGE, "%s: it is %s, %s is wanted", dir,
            c->head == MODEL_HEAD_LM ? "a language model" : "a sequence classification model",
            head == MODEL_HEAD_LM ? "a language model" : "a sequence classification model");
    if (c->V != vocabulary)
        return err_set(err, ERR_USAGE,
                       "%s: its vocabulary has %u tokens, the policy's has %u: it would read "
                       "other words than the policy writes",
                       dir, c->V, vocabulary);
    return ERR_OK;
}

enum err_code frozen_check_tokens(const char *dir, const struct tokenizer *policy,
                                  uint32_t vocabulary, struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, "tokenizer.json", err);
    if (rc || !policy || !file_exists(path))
        return rc;
    struct tokenizer *own = tokenizer_load(dir, err);
    if (!own)
        return err->code;
    rc = tokenizer_compare(own, policy, vocabulary, dir, err);
    tokenizer_free(own);
    return rc;
}

static enum err_code frozen_read_combiner(struct frozen *frozen, const char *dir,
                                          struct err *err)
{
    const struct model_config *c = &frozen->model->config;
    bool found;
    const enum err_code rc = combiner_read(&frozen->combiner, c, dir, &found, err);
    if (!rc && !found && c->labels != 1)
        return err_set(err, ERR_USAGE,
                       "%s: its score head has %u labels, and no combiner.json says how they "
                       "become one score",
                       dir, c->labels);
    return rc;
}

static enum err_code frozen_allocate(struct frozen *frozen, struct err *err)
{
    const size_t n = frozen->tokens_max;
    frozen->offset = malloc((n + 1) * sizeof *frozen->offset);
    frozen->at = malloc(n * sizeof *frozen->at);
    frozen->ids = malloc(n * sizeof *frozen->ids);
    frozen->target = malloc(n * sizeof *frozen->target);
    frozen->logp = malloc(n * sizeof *frozen->logp);
    const size_t labels = frozen->model->config.labels ? frozen->model->config.labels : 1;
    frozen->scores = malloc(n * labels * sizeof *frozen->scores);
    if (!frozen->offset || !frozen->at || !frozen->ids || !frozen->target || !frozen->logp ||
        !frozen->scores)
        return err_set(err, ERR_NOMEM, "out of memory for packs of %zu tokens", n);
    return ERR_OK;
}

enum err_code frozen_new(struct frozen **out, const char *dir, enum model_head head,
                         uint32_t vocabulary, enum precision precision, struct pool *pool,
                         uint32_t longest, struct err *err)
{
    struct err why = {0};
    struct frozen *frozen = calloc(1, sizeof *frozen);
    if (!frozen)
        return err_set(err, ERR_NOMEM, "%s: out of memory", dir);
    enum err_code rc = ERR_OK;
    if (!(frozen->model = model_load(dir, &why))) {
        rc = why.code;
        goto out;
    }
    rc = frozen_check(frozen, dir, head, vocabulary, &why);
    if (!rc && head == MODEL_HEAD_SCORE)
        rc = frozen_read_combiner(frozen, dir, &why);
    if (rc)
        goto out;
    const uint32_t T = frozen->model->config.T;
    frozen->longest = longest < T ? longest : T;
    frozen->tokens_max =
        frozen->longest > FROZEN_PACK_TOKENS ? frozen->longest : FROZEN_PACK_TOKENS;
    frozen->model->precision = precision;
    frozen->pass = pass_new(frozen->model, pool, frozen->tokens_max, false, &why);
    rc = frozen->pass ? frozen_allocate(frozen, &why) : why.code;
out:
    if (rc) {
        frozen_free(frozen);
        return err_set(err, rc, "%s", why.text);
    }
    *out = frozen;
    return ERR_OK;
}

void frozen_free(struct frozen *frozen)
{
    if (!frozen)
        return;
    pass_free(frozen->pass);
    model_free(frozen->model);
    free(frozen->offset);
    free(frozen->at);
    free(frozen->ids);
    free(frozen->target);
    free(frozen->logp);
    free(frozen->scores);
    free(frozen);
}

const struct model_config *frozen_config(const struct frozen *frozen)
{
    return &frozen->model->config;
}

void frozen_fingerprint(const struct frozen *frozen, struct hash *out)
{
    const struct combiner *combiner = &frozen->combiner;
    struct {
        struct hash model, weights;
        double bias;
    } of = {.bias = combiner->bias};
    model_fingerprint(frozen->model, &of.model);
    hash_blake2b(&of.weights, combiner->weight, combiner->labels * sizeof *combiner->weight);
    hash_blake2b(out, &of, sizeof of);
}

uint32_t frozen_longest(const struct frozen *frozen)
{
    return frozen->longest;
}

static size_t frozen_length(const struct scorer_sample *sample)
{
    return (size_t)sample->prompt_tokens + sample->response_tokens;
}

/* Pack samples from `first` on while they fit and run them; returns one past the last. */
static size_t frozen_pack(struct frozen *frozen, const struct scorer_sample *const *samples,
                          size_t n, size_t first)
{
    size_t i = first;
    frozen->seqs = frozen->tokens = 0;
    frozen->offset[0] = 0;
    for (; i < n; i++) {
        const size_t length = frozen_length(samples[i]);
        assert(length > 0 && length <= frozen->longest);
        if (frozen->tokens + length > frozen->tokens_max)
            break;
        memcpy(frozen->ids + frozen->tokens, samples[i]->ids, length * sizeof *frozen->ids);
        frozen->tokens += length;
        frozen->offset[++frozen->seqs] = (uint32_t)frozen->tokens;
    }
    const struct pass_batch batch = {frozen->seqs, frozen->offset, frozen->ids};
    const enum err_code rc = pass_forward(frozen->pass, &batch, NULL);
    assert(rc == ERR_OK); /* what it refuses was asserted here or checked by the caller */
    (void)rc;
    return i;
}

void frozen_logprobs(struct frozen *frozen, const struct scorer_sample *const *samples,
                     size_t n, float temperature, const struct scorer_watch *watch, float *logp)
{
    for (size_t first = 0, end; first < n; first = end) {
        end = frozen_pack(frozen, samples, n, first);
        uint32_t rows = 0;
        for (size_t s = 0; s < frozen->seqs; s++) {
            const struct scorer_sample *sample = samples[first + s];
            /* The row before a token is the one that foretells it. */
            const uint32_t response = frozen->offset[s] + sample->prompt_tokens;
            for (uint32_t t = 0; t < sample->response_tokens; t++, rows++) {
                frozen->at[rows] = response + t - 1;
                frozen->target[rows] = frozen->ids[response + t];
            }
        }
        const struct pass_logprob want = {rows, frozen->at, frozen->target, temperature};
        if (rows > 0)
            pass_logprobs(frozen->pass, &want, frozen->logp, NULL, NULL);
        memcpy(logp, frozen->logp, rows * sizeof *logp);
        logp += rows;
        scorer_watch_progress(watch);
    }
}

void frozen_scores(struct frozen *frozen, const struct scorer_sample *const *samples, size_t n,
                   const struct scorer_watch *watch, double *score)
{
    const size_t labels = frozen->model->config.labels;
    for (size_t first = 0, end; first < n; first = end) {
        end = frozen_pack(frozen, samples, n, first);
        for (size_t s = 0; s < frozen->seqs; s++)
            frozen->at[s] = frozen->offset[s + 1] - 1;
        pass_scores(frozen->pass, frozen->seqs, frozen->at, frozen->scores);
        for (size_t s = 0; s < frozen->seqs; s++)
            score[first + s] = combiner_apply(&frozen->combiner, frozen->scores + s * labels);
        scorer_watch_progress(watch);
    }
}
