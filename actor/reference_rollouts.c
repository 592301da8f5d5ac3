/* reference_rollouts.c -- see reference_rollouts.h.
 *
 * A value is  finish u32 | tokens u32 | ids int32 (tokens) | log-probs float32 (tokens). */
#include "actor/reference_rollouts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "engine/tokenizer.h"
#include "node/memo.h"

#define REFERENCE_KEY_BYTES ((size_t)16 << 20) /* of what a key is the hash of */

struct reference_rollouts {
    struct memo *memo;
    struct hash base; /* of all that is the same for every item */
    uint32_t max_new_tokens;
    struct buf value;
    uint64_t found, kept;
};

/* What every reference response of the run depends on. */
static enum err_code reference_rollouts_base(struct hash *out, const struct run_config *config,
                                             const struct model *policy, struct err *err)
{
    struct hash part[3];
    struct buf text;
    const uint64_t seed = run_config_reference_seed(config);
    model_fingerprint(policy, &part[0]);
    enum err_code rc = memo_program(&part[1], err);
    if (rc == ERR_OK)
        rc = tokenizer_hash(&part[2], config->policy, err);
    if (rc)
        return rc;
    buf_init(&text, REFERENCE_KEY_BYTES);
    buf_puts(&text, "reference rollout\n");
    buf_append(&text, part, sizeof part);
    buf_append(&text, &seed, sizeof seed);
    run_config_write_keys(config, "sampling.", &text);
    run_config_write_keys(config, "model.precision", &text);
    rc = buf_check(&text, "the key of reference responses", err);
    if (rc == ERR_OK)
        hash_blake2b(out, text.data, text.len);
    buf_release(&text);
    return rc;
}

enum err_code reference_rollouts_open(struct reference_rollouts **out,
                                      const struct run_config *config,
                                      const struct model *policy, struct err *err)
{
    *out = NULL;
    if (config->reference_store[0] == '\0')
        return ERR_OK;
    struct reference_rollouts *store = calloc(1, sizeof *store);
    if (!store)
        return err_set(err, ERR_NOMEM, "out of memory for the store of references");
    store->max_new_tokens = config->max_new_tokens;
    buf_init(&store->value, 8 + (size_t)config->max_new_tokens * 8);
    struct err why = {0};
    enum err_code rc = memo_open(&store->memo, config->reference_store, &why);
    if (rc == ERR_OK)
        rc = reference_rollouts_base(&store->base, config, policy, &why);
    if (rc) {
        reference_rollouts_close(store);
        return err_set(err, rc, "reward.reference_store: %s", why.text);
    }
    *out = store;
    return ERR_OK;
}

void reference_rollouts_close(struct reference_rollouts *store)
{
    if (!store)
        return;
    if (store->found + store->kept > 0)
        log_info("REFERENCES", "%llu reference responses were in the store, %llu were made",
                 (unsigned long long)store->found, (unsigned long long)store->kept);
    memo_close(store->memo);
    buf_release(&store->value);
    free(store);
}

void reference_rollouts_key(const struct reference_rollouts *store,
                            const struct wire_item *item, const int32_t *prompt,
                            struct hash *key)
{
    struct {
        struct hash base, prompt;
        uint64_t a, b;
    } of = {.base = store->base, .a = item->a, .b = item->b};
    assert(item->kind == WIRE_WORK_REFERENCE);
    hash_blake2b(&of.prompt, prompt, item->prompt_tokens * sizeof *prompt);
    hash_blake2b(key, &of, sizeof of);
}

bool reference_rollouts_find(struct reference_rollouts *store, const struct hash *key,
                             struct wire_item *item, int32_t *ids, float *logp)
{
    uint32_t head[2];
    if (!memo_find(store->memo, key, &store->value) || store->value.len < sizeof head)
        return false;
    memcpy(head, store->value.data, sizeof head);
    const size_t n = head[1];
    if (n == 0 || n > store->max_new_tokens || store->value.len != sizeof head + n * 8 ||
        head[0] <= WIRE_FINISH_NONE || head[0] > WIRE_FINISH_LENGTH)
        return false;
    item->finish = (enum wire_finish)head[0];
    item->response_tokens = head[1];
    memcpy(ids, store->value.data + sizeof head, n * sizeof *ids);
    memcpy(logp, store->value.data + sizeof head + n * sizeof *ids, n * sizeof *logp);
    store->found++;
    return true;
}

void reference_rollouts_keep(struct reference_rollouts *store, const struct hash *key,
                             const struct wire_item *item, const int32_t *ids,
                             const float *logp)
{
    const uint32_t n = item->response_tokens, head[2] = {(uint32_t)item->finish, n};
    buf_clear(&store->value);
    buf_append(&store->value, head, sizeof head);
    buf_append(&store->value, ids, n * sizeof *ids);
    buf_append(&store->value, logp, n * sizeof *logp);
    store->kept++;
    if (!store->value.failed)
        memo_keep(store->memo, key, store->value.data, store->value.len);
}
