/* results.c -- see results.h. */
#include "actor/results.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"

#define RESULTS_ROWS_A_SENDING 2u /* a result for every so many rows */

enum err_code results_init(struct results *results, uint32_t response_max, struct err *err)
{
    const size_t tokens = (size_t)(WIRE_ITEMS_MAX + 1) * response_max; /* and the scratch */
    *results = (struct results){
        .response_max = response_max,
        .items = calloc(WIRE_ITEMS_MAX, sizeof *results->items),
        .lease = calloc(WIRE_ITEMS_MAX, sizeof *results->lease),
        .ids = malloc(tokens * sizeof *results->ids),
        .logp = malloc(tokens * sizeof *results->logp),
    };
    if (results->items && results->lease && results->ids && results->logp)
        return ERR_OK;
    results_release(results);
    return err_set(err, ERR_NOMEM, "out of memory for the actor's results");
}

void results_release(struct results *results)
{
    free(results->items);
    free(results->lease);
    free(results->ids);
    free(results->logp);
    *results = (struct results){0};
}

int32_t *results_scratch_ids(const struct results *results)
{
    return results->ids + WIRE_ITEMS_MAX * results->response_max;
}

float *results_scratch_logp(const struct results *results)
{
    return results->logp + WIRE_ITEMS_MAX * results->response_max;
}

/* Where the next result of this lease belongs: behind those it has, or at the end.  *tokens: how
 * many are before it. */
static size_t results_place(const struct results *results, uint64_t lease, size_t *tokens)
{
    size_t at = results->n;
    *tokens = results->tokens;
    while (at > 0 && results->lease[at - 1] != lease)
        *tokens -= results->items[--at].response_tokens;
    if (at == 0) {
        at = results->n;
        *tokens = results->tokens;
    }
    return at;
}

void results_put(struct results *results, uint64_t lease, const struct wire_item *item,
                 const int32_t *ids, const float *logp)
{
    assert(results->n < WIRE_ITEMS_MAX && item->response_tokens <= results->response_max);
    size_t before;
    const size_t at = results_place(results, lease, &before);
    const size_t behind = results->n - at, tokens_behind = results->tokens - before;
    const size_t tokens = item->response_tokens;
    memmove(results->items + at + 1, results->items + at, behind * sizeof *results->items);
    memmove(results->lease + at + 1, results->lease + at, behind * sizeof *results->lease);
    memmove(results->ids + before + tokens, results->ids + before,
            tokens_behind * sizeof *results->ids);
    memmove(results->logp + before + tokens, results->logp + before,
            tokens_behind * sizeof *results->logp);
    results->items[at] = *item;
    results->lease[at] = lease;
    memcpy(results->ids + before, ids, tokens * sizeof *ids);
    memcpy(results->logp + before, logp, tokens * sizeof *logp);
    if (results->n == 0)
        results->since_ms = clock_mono_ms();
    results->n += 1;
    results->tokens += tokens;
}

bool results_are_due(const struct results *results, size_t busy, size_t rows, uint64_t turn_ms)
{
    return results->n > 0 && (busy <= rows || RESULTS_ROWS_A_SENDING * results->n >= rows ||
                              clock_mono_ms() - results->since_ms + turn_ms >= RESULTS_HOLD_MS);
}

enum err_code results_send(struct results *results, struct worker *worker, uint64_t version,
                           struct err *err)
{
    size_t at = 0;
    enum err_code rc = ERR_OK;
    if (results->n > 0 && fault_at(FAULT_actor_turn))
        results->logp[0] =
            nextafterf(results->logp[0], -INFINITY); /* as a faulty machine would */
    for (size_t first = 0, end; first < results->n && rc == ERR_OK; first = end) {
        size_t tokens = 0;
        for (end = first; end < results->n && results->lease[end] == results->lease[first];
             end++)
            tokens += results->items[end].response_tokens;
        const struct message result = {
            .type = MESSAGE_GENERATE_RESULT,
            .lease = results->lease[first],
            .version = version,
            .items = results->items + first,
            .items_n = (uint32_t)(end - first),
            .frames_n = 2,
            .frame = {{results->ids + at, tokens * sizeof *results->ids},
                      {results->logp + at, tokens * sizeof *results->logp}},
        };
        rc = worker_send(worker, &result, err);
        at += tokens;
    }
    results->n = results->tokens = 0;
    return rc;
}
