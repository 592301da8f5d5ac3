/*
 * scorer_http.c -- a reward service that speaks OpenRLHF's /get_reward.
 *
 *     POST url   {"query": [text], "prompts": [text], "labels": [anything]}
 *     200        {"rewards": [number or null]}     or, for one sample, {"rewards": number}
 *
 * query is prompt and response, prompts the prompt alone, both with their special tokens.
 * null: the service could not score this sample.  Any other breach of the contract makes all
 * samples of the request failed.  docs/REWARD_SERVICES.md says it to authors of services.
 *
 * A service that breaks (5xx) may be at fault, or one sample of the request may be.  Where it
 * answered something, also a sample that it had scored before, asked about anew, or one of the
 * request's by itself, it is there: the samples of a request that broke it are asked about one by
 * one, and those that break it again are failed.  Else it is away.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "reward/scorer.h"
#include "reward/service.h"

#define SCORER_HTTP_KNOWN_MAX (1u << 20) /* bytes of a request that is kept */

struct scorer_http {
    struct service *service;
    uint32_t batch;   /* samples a request */
    struct buf known; /* a request for one sample that it has scored; empty: none yet */
};

/* The requests of one scoring. */
struct scorer_http_round {
    struct scorer_http *http;
    const struct scorer_sample *samples;
    struct scorer_score *out;
    size_t *index; /* (n) the samples that have texts */
    size_t n;
    uint32_t batch;
    struct service_call *calls; /* call c has the samples index[c * batch] and on */
    size_t calls_n;
};

static void scorer_http_close(void *state)
{
    struct scorer_http *http = state;
    if (!http)
        return;
    service_close(http->service);
    buf_release(&http->known);
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
    buf_init(&http->known, SCORER_HTTP_KNOWN_MAX);
    return service_open(&http->service, of->url, of->timeout_ms, err);
}

/* --- request ---------------------------------------------------------------------------- */

static size_t scorer_http_first(const struct scorer_http_round *round, size_t call)
{
    return call * round->batch;
}

static size_t scorer_http_end(const struct scorer_http_round *round, size_t call)
{
    const size_t end = (call + 1) * round->batch;
    return end < round->n ? end : round->n;
}

/* The samples index[first] .. index[end - 1]. */
static void scorer_http_request(const struct scorer_http_round *round, size_t first, size_t end,
                                struct buf *body)
{
    static const char *const keys[] = {"{\"query\":[", "],\"prompts\":[", "],\"labels\":["};
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

/* The first sample that was scored, and fits, is what the service is asked about where it is not
 * clear whether it works. */
static void scorer_http_keep(const struct scorer_http_round *round, size_t call)
{
    struct buf *known = &round->http->known;
    const size_t end = scorer_http_end(round, call);
    for (size_t i = scorer_http_first(round, call); i < end && known->len == 0; i++) {
        if (round->out[round->index[i]].state != SCORE_OK)
            continue;
        scorer_http_request(round, i, i + 1, known);
        if (known->failed) {
            buf_release(known);
            buf_init(known, SCORER_HTTP_KNOWN_MAX);
        }
    }
}

static void scorer_http_on_done(void *ctx, size_t c)
{
    const struct scorer_http_round *round = ctx;
    const struct service_call *call = &round->calls[c];
    if (call->outcome == SCORE_OK) {
        scorer_http_reply(round, c, call->reply);
        scorer_http_keep(round, c);
        return;
    }
    scorer_http_fault_all(round, c, call->outcome, call->reason);
    for (size_t i = scorer_http_first(round, c); i < scorer_http_end(round, c); i++)
        round->out[round->index[i]].away = call->away;
}

/* --- rounds ----------------------------------------------------------------------------- */

/* Ask about all samples of the round; scorer_http_end_round releases what this holds.  ERR_NOMEM:
 * nothing was asked. */
static enum err_code scorer_http_ask(struct scorer_http_round *round,
                                     const struct scorer_watch *watch)
{
    bool room = true;
    round->calls_n = (round->n + round->batch - 1) / round->batch;
    round->calls = calloc(round->calls_n, sizeof *round->calls);
    for (size_t c = 0; round->calls && c < round->calls_n; c++) {
        buf_init(&round->calls[c].body, SERVICE_REQUEST_MAX);
        scorer_http_request(round, scorer_http_first(round, c), scorer_http_end(round, c),
                            &round->calls[c].body);
        room = room && !round->calls[c].body.failed;
    }
    if (!round->calls || !room)
        return ERR_NOMEM;
    service_run(round->http->service, round->calls, round->calls_n, watch, scorer_http_on_done,
                round);
    return ERR_OK;
}

static void scorer_http_end_round(struct scorer_http_round *round)
{
    for (size_t c = 0; round->calls && c < round->calls_n; c++)
        buf_release(&round->calls[c].body);
    free(round->calls);
}

static bool scorer_http_answered(const struct scorer_http_round *round)
{
    for (size_t c = 0; round->calls && c < round->calls_n; c++)
        if (round->calls[c].outcome == SCORE_OK)
            return true;
    return false;
}

static bool scorer_http_broke(const struct scorer_http_round *round)
{
    for (size_t c = 0; c < round->calls_n; c++)
        if (round->calls[c].broke)
            return true;
    return false;
}

static void scorer_http_on_known(void *ctx, size_t c)
{
    (void)ctx, (void)c;
}

/* Does it answer what it has answered before? */
static bool scorer_http_answers_known(struct scorer_http *http,
                                      const struct scorer_watch *watch)
{
    struct service_call call = {0};
    if (http->known.len == 0)
        return false;
    buf_init(&call.body, SCORER_HTTP_KNOWN_MAX);
    buf_append(&call.body, http->known.data, http->known.len);
    if (!call.body.failed)
        service_run(http->service, &call, 1, watch, scorer_http_on_known, NULL);
    buf_release(&call.body);
    return call.state == SERVICE_DONE && call.outcome == SCORE_OK;
}

/* Ask about the samples of this call one by one.  Did it answer any? */
static bool scorer_http_split(const struct scorer_http_round *round, size_t call,
                              const struct scorer_watch *watch)
{
    const size_t first = scorer_http_first(round, call);
    struct scorer_http_round single = {.http = round->http,
                                       .samples = round->samples,
                                       .out = round->out,
                                       .index = round->index + first,
                                       .n = scorer_http_end(round, call) - first,
                                       .batch = 1};
    if (single.n == 1) /* it was */
        return false;
    const bool answered =
        scorer_http_ask(&single, watch) == ERR_OK && scorer_http_answered(&single);
    scorer_http_end_round(&single);
    return answered;
}

/* What broke the service: itself, or samples. */
static void scorer_http_look_closer(const struct scorer_http_round *round,
                                    const struct scorer_watch *watch)
{
    bool is_there =
        scorer_http_answered(round) || scorer_http_answers_known(round->http, watch);
    const bool is_new = round->http->known.len == 0; /* so one request tells */
    for (size_t c = 0, split = 0; c < round->calls_n; c++)
        if (round->calls[c].broke && (is_there || (is_new && split++ == 0)))
            is_there = scorer_http_split(round, c, watch) || is_there;
    for (size_t c = 0; !is_there && c < round->calls_n; c++)
        for (size_t i = scorer_http_first(round, c); i < scorer_http_end(round, c); i++)
            if (round->calls[c].broke)
                round->out[round->index[i]].away = true;
}

static void scorer_http_score(void *state, const struct scorer_sample *samples, size_t n,
                              const struct scorer_watch *watch, struct scorer_score *out)
{
    struct scorer_http *http = state;
    struct scorer_http_round round = {
        .http = http, .samples = samples, .out = out, .batch = http->batch};
    if (n == 0)
        return;
    round.index = calloc(n, sizeof *round.index);
    for (size_t i = 0; round.index && i < n; i++)
        if (scorer_has_text(&samples[i], &out[i]))
            round.index[round.n++] = i;
    if (!round.index || (round.n > 0 && scorer_http_ask(&round, watch))) {
        for (size_t i = 0; i < n; i++)
            scorer_put_fault(&out[i], SCORE_FAILED, "%s: out of memory for a request",
                             samples[i].name);
    } else if (scorer_http_broke(&round) && !scorer_watch_stopping(watch)) {
        scorer_http_look_closer(&round, watch);
    }
    scorer_http_end_round(&round);
    free(round.index);
}

const struct scorer_kind scorer_http = {scorer_http_open, scorer_http_score, scorer_http_close,
                                        NULL};
