/*
 * scorer_http.c -- a reward service that speaks OpenRLHF's /get_reward.
 *
 *     POST url   {"query": [text], "prompts": [text], "labels": [anything]}
 *     200        {"rewards": [number or null]}     or, for one sample, {"rewards": number}
 *
 * query is prompt and response, prompts the prompt alone, both with their special tokens.
 * null: the service could not score this sample.  Any other breach of the contract makes all
 * samples of the request failed.  docs/REWARD_SERVICES.md says it to authors of services.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "reward/scorer.h"
#include "reward/service.h"

struct scorer_http {
    struct service *service;
    uint32_t batch; /* samples a request */
};

/* The requests of one scoring. */
struct scorer_http_round {
    struct scorer_http *http;
    const struct scorer_sample *samples;
    struct scorer_score *out;
    size_t *index; /* (n) the samples that have texts */
    size_t n;
    struct service_call *calls; /* call c has the samples index[c * batch] and on */
    size_t calls_n;
};

static void scorer_http_close(void *state)
{
    struct scorer_http *http = state;
    if (!http)
        return;
    service_close(http->service);
    free(http);
}

static enum err_code scorer_http_open(void **state, const struct run_scorer *of,
                                      const struct scorer_setup *setup, struct err *err)
{
    (void)setup;
    struct scorer_http *http = *state = calloc(1, sizeof *http);
    if (!http)
        return err_set(err, ERR_NOMEM, "out of memory");
    http->batch = of->batch;
    return service_open(&http->service, of->url, of->timeout_ms, err);
}

/* --- request ---------------------------------------------------------------------------- */

static size_t scorer_http_first(const struct scorer_http_round *round, size_t call)
{
    return call * round->http->batch;
}

static size_t scorer_http_end(const struct scorer_http_round *round, size_t call)
{
    const size_t end = (call + 1) * round->http->batch;
    return end < round->n ? end : round->n;
}

static void scorer_http_request(const struct scorer_http_round *round, size_t call,
                                struct buf *body)
{
    static const char *const keys[] = {"{\"query\":[", "],\"prompts\":[", "],\"labels\":["};
    const size_t first = scorer_http_first(round, call), end = scorer_http_end(round, call);
    buf_init(body, SERVICE_REQUEST_MAX);
    for (size_t k = 0; k < 3; k++) {
        buf_puts(body, keys[k]);
        for (size_t i = first; i < end; i++) {
            const struct scorer_sample *sample = &round->samples[round->index[i]];
            if (i > first)
                buf_putc(body, ',');
            if (k == 0)
                buf_json_string(body, sample->query.data, sample->query.n);
            else if (k == 1)
                buf_json_string(body, sample->prompt.data, sample->prompt.n);
            else
                buf_puts(body, sample->label);
        }
    }
    buf_puts(body, "]}");
}

/* --- reply ------------------------------------------------------------------------------ */

__attribute__((format(printf, 4, 5))) static void
scorer_http_fault(const struct scorer_http_round *round, size_t i, enum score_state state,
                  const char *format, ...);

static void scorer_http_fault(const struct scorer_http_round *round, size_t i,
                              enum score_state state, const char *format, ...)
{
    char why[SCORER_REASON_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    const size_t at = round->index[i];
    scorer_put_fault(&round->out[at], state, "%s: %s: %s", service_url(round->http->service),
                     round->samples[at].name, why);
}

static void scorer_http_fault_all(const struct scorer_http_round *round, size_t call,
                                  enum score_state state, const char *why)
{
    for (size_t i = scorer_http_first(round, call); i < scorer_http_end(round, call); i++)
        scorer_http_fault(round, i, state, "%s", why);
}

static void scorer_http_take(const struct scorer_http_round *round, size_t i,
                             const json_t *reward)
{
    if (json_is_number(reward))
        scorer_put(&round->out[round->index[i]], json_number_value(reward));
    else if (json_is_null(reward))
        scorer_http_fault(round, i, SCORE_FAILED, "its reward is null");
    else
        scorer_http_fault(round, i, SCORE_FAILED, "its reward is neither a number nor null");
}

static void scorer_http_reply(const struct scorer_http_round *round, size_t call,
                              const struct buf *reply)
{
    const size_t first = scorer_http_first(round, call), end = scorer_http_end(round, call);
    struct err err = {0};
    char why[SCORER_REASON_MAX];
    json_t *object = json_parse(reply->data ? reply->data : "", reply->len, "the reply", &err);
    const json_t *rewards = json_object_get(object, "rewards");
    const size_t got = json_is_array(rewards) ? json_array_size(rewards) : 1;
    if (!object) {
        scorer_http_fault_all(round, call, SCORE_FAILED, err.text);
    } else if (!json_is_array(rewards) && !json_is_number(rewards)) {
        scorer_http_fault_all(round, call, SCORE_FAILED,
                              "the reply has no \"rewards\", a list of numbers");
    } else if (got != end - first) {
        snprintf(why, sizeof why, "the reply has %zu rewards for %zu samples", got,
                 end - first);
        scorer_http_fault_all(round, call, SCORE_FAILED, why);
    } else {
        for (size_t i = first; i < end; i++)
            scorer_http_take(round, i,
                             json_is_array(rewards) ? json_array_get(rewards, i - first)
                                                    : rewards);
    }
    json_decref(object);
}

static void scorer_http_on_done(void *ctx, size_t c)
{
    const struct scorer_http_round *round = ctx;
    const struct service_call *call = &round->calls[c];
    if (call->outcome == SCORE_OK) {
        scorer_http_reply(round, c, call->reply);
        return;
    }
    scorer_http_fault_all(round, c, call->outcome, call->reason);
    for (size_t i = scorer_http_first(round, c); i < scorer_http_end(round, c); i++)
        round->out[round->index[i]].away = call->away;
}

static void scorer_http_score(void *state, const struct scorer_sample *samples, size_t n,
                              const struct scorer_watch *watch, struct scorer_score *out)
{
    struct scorer_http *http = state;
    struct scorer_http_round round = {.http = http, .samples = samples, .out = out};
    const size_t calls_max = (n + http->batch - 1) / http->batch;
    bool room = true;
    if (n == 0)
        return;
    round.index = calloc(n, sizeof *round.index);
    round.calls = calloc(calls_max, sizeof *round.calls);
    for (size_t i = 0; round.index && i < n; i++)
        if (scorer_has_text(&samples[i], &out[i]))
            round.index[round.n++] = i;
    round.calls_n = (round.n + http->batch - 1) / http->batch;
    for (size_t c = 0; round.index && round.calls && c < round.calls_n; c++) {
        scorer_http_request(&round, c, &round.calls[c].body);
        room = room && !round.calls[c].body.failed;
    }
    if (round.index && round.calls && room) {
        service_run(http->service, round.calls, round.calls_n, watch, scorer_http_on_done,
                    &round);
    } else {
        for (size_t i = 0; i < n; i++)
            scorer_put_fault(&out[i], SCORE_FAILED, "%s: out of memory for a request",
                             samples[i].name);
    }
    for (size_t c = 0; round.calls && c < round.calls_n; c++)
        buf_release(&round.calls[c].body);
    free(round.index);
    free(round.calls);
}

const struct scorer_kind scorer_http = {scorer_http_open, scorer_http_score, scorer_http_close,
                                       NULL};
