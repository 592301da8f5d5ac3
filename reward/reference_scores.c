/* reference_scores.c -- see reference_scores.h.
 *
 * A value is the scores of the reward scorers that count, float64, in the order of the config. */
#include "reward/reference_scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "engine/tokenizer.h"
#include "node/memo.h"

#define REFERENCE_KEY_BYTES ((size_t)16 << 20) /* of what a key is the hash of */

struct reference_scores {
    const struct run_config *config;
    struct memo *memo;
    struct hash base; /* of all that is the same for every item */
    struct buf value;
    uint64_t found, kept;
};

static bool reference_scores_reward(const struct run_config *config, uint32_t s)
{
    return config->scorer[s].role == RUN_ROLE_REWARD;
}

static bool reference_scores_count(const struct run_config *config, uint32_t s,
                                   const struct scorer_sample *sample)
{
    return reference_scores_reward(config, s) &&
           run_scorer_counts(&config->scorer[s], sample->kind);
}

static enum err_code reference_scores_base(struct hash *out, const struct run_config *config,
                                           struct scorer *const *scorers, struct err *err)
{
    struct hash part[2];
    struct buf text;
    enum err_code rc = memo_program(&part[0], err);
    if (rc == ERR_OK)
        rc = tokenizer_hash(&part[1], config->policy, err);
    if (rc)
        return rc;
    buf_init(&text, REFERENCE_KEY_BYTES);
    buf_puts(&text, "reference scores\n");
    buf_append(&text, part, sizeof part);
    run_config_write_keys(config, "reward.scorers", &text);
    run_config_write_keys(config, "model.precision", &text);
    for (uint32_t s = 0; s < config->scorers; s++) {
        struct hash read;
        if (!reference_scores_reward(config, s))
            continue;
        scorer_fingerprint(scorers[s], &read);
        buf_append(&text, &read, sizeof read);
    }
    rc = buf_check(&text, "the key of references' scores", err);
    if (rc == ERR_OK)
        hash_blake2b(out, text.data, text.len);
    buf_release(&text);
    return rc;
}

static bool reference_scores_is_lasting(const struct run_config *config)
{
    for (uint32_t s = 0; s < config->scorers; s++) {
        if (!reference_scores_reward(config, s) || config->scorer[s].kind != RUN_SCORER_HTTP)
            continue;
        log_info("REFERENCE-STORE", "scores of references are not kept: %s is a service",
                 config->scorer[s].name);
        return false;
    }
    return true;
}

enum err_code reference_scores_open(struct reference_scores **out,
                                    const struct run_config *config,
                                    struct scorer *const *scorers, struct err *err)
{
    *out = NULL;
    if (config->reference_store[0] == '\0' || !reference_scores_is_lasting(config))
        return ERR_OK;
    struct reference_scores *store = calloc(1, sizeof *store);
    if (!store)
        return err_set(err, ERR_NOMEM, "out of memory for the store of references");
    store->config = config;
    buf_init(&store->value, sizeof(double) * RUN_SCORERS_MAX);
    struct err why = {0};
    enum err_code rc = memo_open(&store->memo, config->reference_store, &why);
    if (rc == ERR_OK)
        rc = reference_scores_base(&store->base, config, scorers, &why);
    if (rc) {
        reference_scores_close(store);
        return err_set(err, rc, "reward.reference_store: %s", why.text);
    }
    *out = store;
    return ERR_OK;
}

void reference_scores_close(struct reference_scores *store)
{
    if (!store)
        return;
    if (store->found + store->kept > 0)
        log_info("REFERENCES", "scores of %llu references were in the store, %llu were given",
                 (unsigned long long)store->found, (unsigned long long)store->kept);
    memo_close(store->memo);
    buf_release(&store->value);
    free(store);
}

void reference_scores_key(const struct reference_scores *store,
                          const struct scorer_sample *sample, struct hash *key)
{
    struct {
        struct hash base, ids, label, kind;
        uint32_t prompt_tokens, finish;
    } of = {.base = store->base,
            .prompt_tokens = sample->prompt_tokens,
            .finish = (uint32_t)sample->finish};
    const size_t tokens = (size_t)sample->prompt_tokens + sample->response_tokens;
    hash_blake2b(&of.ids, sample->ids, tokens * sizeof *sample->ids);
    hash_blake2b(&of.label, sample->label, strlen(sample->label));
    if (sample->kind)
        hash_blake2b(&of.kind, sample->kind, strlen(sample->kind));
    hash_blake2b(key, &of, sizeof of);
}

bool reference_scores_find(struct reference_scores *store, const struct hash *key,
                           const struct scorer_sample *sample, double *value)
{
    double score[RUN_SCORERS_MAX];
    size_t at = 0;
    if (!memo_find(store->memo, key, &store->value))
        return false;
    memcpy(score, store->value.data, store->value.len);
    for (uint32_t s = 0; s < store->config->scorers; s++) {
        if (!reference_scores_count(store->config, s, sample))
            continue;
        if ((at + 1) * sizeof *score > store->value.len || !isfinite(score[at]))
            return false; /* not what this program keeps */
        at++;
    }
    at = 0;
    for (uint32_t s = 0; s < store->config->scorers; s++)
        if (reference_scores_count(store->config, s, sample))
            value[s] = score[at++];
    store->found++;
    return true;
}

void reference_scores_keep(struct reference_scores *store, const struct hash *key,
                           const struct scorer_sample *sample, const double *value)
{
    buf_clear(&store->value);
    for (uint32_t s = 0; s < store->config->scorers; s++)
        if (reference_scores_count(store->config, s, sample))
            buf_append(&store->value, &value[s], sizeof value[s]);
    store->kept++;
    memo_keep(store->memo, key, store->value.data, store->value.len);
}
