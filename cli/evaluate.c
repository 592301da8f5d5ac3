/* evaluate.c -- see evaluate.h. */
#include "cli/evaluate.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/evaluate_state.h"

static enum err_code evaluate_allocate(struct evaluate *e, struct evaluate_answers *side,
                                       struct err *err)
{
    const size_t n = EVALUATE_CHUNK, scorers = e->config->scorers;
    side->ids = calloc(n * e->longest, sizeof *side->ids);
    side->logp = calloc(n * e->config->max_new_tokens, sizeof *side->logp);
    side->sample = calloc(n, sizeof *side->sample);
    side->score = calloc(n * scorers, sizeof *side->score);
    side->kl = calloc(n, sizeof *side->kl);
    if (!side->ids || !side->logp || !side->sample || !side->score || !side->kl)
        return err_set(err, ERR_NOMEM, "out of memory for %zu answers", n);
    return ERR_OK;
}

static enum err_code evaluate_open_side(struct evaluate *e, const char *dir, struct err *err)
{
    struct evaluate_answers *side = &e->side[e->sides++];
    texts_init(&side->texts);
    if (!(side->model = model_load(dir, err)))
        return err->code;
    if (side->model->config.head != MODEL_HEAD_LM)
        return err_set(err, ERR_USAGE, "%s: it is no language model", dir);
    const uint32_t V = e->side[0].model->config.V;
    if (side->model->config.V != V)
        return err_set(err, ERR_USAGE, "%s: its vocabulary has %u tokens, that of %s has %u",
                       dir, side->model->config.V, e->config->policy, V);
    if (e->longest == 0) {
        const uint32_t all = e->config->prompt_tokens_max + e->config->max_new_tokens;
        e->longest = all < side->model->config.T ? all : side->model->config.T;
    }
    side->model->precision = (enum precision)e->config->precision;
    side->generator = generator_new(side->model, e->pool, e->tokenizer, e->config->actor_rows,
                                    e->longest, err);
    return side->generator ? evaluate_allocate(e, side, err) : err->code;
}

static enum err_code evaluate_open_reference(struct evaluate *e, struct err *err)
{
    const struct run_config *c = e->config;
    const enum err_code rc =
        frozen_new(&e->reference, c->reference, MODEL_HEAD_LM, e->side[0].model->config.V,
                   (enum precision)c->precision, e->pool, e->longest, err);
    if (rc == ERR_OK && frozen_longest(e->reference) < e->longest)
        return err_set(err, ERR_USAGE,
                       "%s: the reference takes %u tokens, prompts and responses may have %u",
                       c->reference, frozen_longest(e->reference), e->longest);
    return rc;
}

static enum err_code evaluate_open(struct evaluate *e, struct err *err)
{
    const struct run_config *c = e->config;
    enum err_code rc;
    pool_thread_init();
    if (!(e->pool = pool_new(e->params->threads, err)) ||
        !(e->tokenizer = tokenizer_load(c->policy, err)))
        return err->code;
    if ((rc = prompts_load(&e->prompts, c, err)) ||
        (rc = labels_load(&e->labels, c->prompts, err)) ||
        (rc = evaluate_open_side(e, c->policy, err)))
        return rc;
    if (e->params->against && (rc = evaluate_open_side(e, e->params->against, err)))
        return rc;
    if ((rc = evaluate_open_reference(e, err)))
        return rc;
    const struct scorer_setup setup = {c, e->pool, e->tokenizer, e->side[0].model->config.V};
    for (uint32_t s = 0; s < c->scorers && rc == ERR_OK; s++)
        rc = scorer_new(&e->scorer[s], &c->scorer[s], &setup, err);
    if (rc)
        return rc;
    e->reference_logp =
        calloc((size_t)EVALUATE_CHUNK * c->max_new_tokens, sizeof *e->reference_logp);
    e->rows = calloc(EVALUATE_CHUNK, sizeof *e->rows);
    e->asked = calloc(EVALUATE_CHUNK, sizeof *e->asked);
    e->told = calloc(EVALUATE_CHUNK, sizeof *e->told);
    if (!e->reference_logp || !e->rows || !e->asked || !e->told)
        return err_set(err, ERR_NOMEM, "out of memory for %u answers", EVALUATE_CHUNK);
    return ERR_OK;
}

static void evaluate_close(struct evaluate *e)
{
    for (size_t i = 0; i < e->sides; i++) {
        struct evaluate_answers *side = &e->side[i];
        generator_free(side->generator);
        model_free(side->model);
        texts_release(&side->texts);
        free(side->ids);
        free(side->logp);
        free(side->sample);
        free(side->score);
        free(side->kl);
    }
    for (uint32_t s = 0; s < RUN_SCORERS_MAX; s++)
        scorer_free(e->scorer[s]);
    frozen_free(e->reference);
    prompts_release(&e->prompts);
    labels_release(&e->labels);
    tokenizer_free(e->tokenizer);
    pool_free(e->pool);
    free(e->reference_logp);
    free(e->rows);
    free(e->asked);
    free(e->told);
}

static enum wire_finish evaluate_finish(enum generate_finish finish)
{
    switch (finish) {
    case GENERATE_FINISH_EOS: return WIRE_FINISH_EOS;
    case GENERATE_FINISH_STOP: return WIRE_FINISH_STOP;
    case GENERATE_FINISH_LENGTH: return WIRE_FINISH_LENGTH;
    }
    return WIRE_FINISH_NONE;
}

/* The generator's callback; the tag is the answer's index. */
static void evaluate_on_answer(void *arg, const struct generate_result *answer)
{
    struct evaluate *e = arg;
    const size_t i = answer->tag, n = answer->tokens;
    struct scorer_sample *sample = &e->now->sample[i];
    memcpy(e->now->ids + i * e->longest + sample->prompt_tokens, answer->ids,
           n * sizeof *answer->ids);
    memcpy(e->now->logp + i * e->config->max_new_tokens, answer->logp,
           n * sizeof *answer->logp);
    sample->response_tokens = answer->tokens;
    sample->finish = evaluate_finish(answer->finish);
}

static enum err_code evaluate_ask(struct evaluate *e, uint32_t prompt, uint32_t k, size_t i,
                                  struct err *err)
{
    const struct run_config *c = e->config;
    const char *stops[RUN_STOPS_MAX];
    for (uint32_t s = 0; s < c->stops; s++)
        stops[s] = c->stop[s];
    const int32_t *ids = e->prompts.tokens.ids + e->prompts.offset[prompt];
    const size_t tokens = e->prompts.offset[prompt + 1] - e->prompts.offset[prompt];
    const struct generate_request request = {
        .tag = i,
        .prompt = ids,
        .prompt_tokens = (uint32_t)tokens,
        .max_new_tokens = c->max_new_tokens,
        .sampling = {c->temperature, c->top_k, c->top_p, c->min_p},
        .seed = e->params->seed,
        .stream = e->params->stream,
        .a = prompt,
        .b = e->params->sample_first + k,
        .stop_strings = stops,
        .stop_strings_n = c->stops,
    };
    struct scorer_sample *sample = &e->now->sample[i];
    *sample = (struct scorer_sample){.ids = e->now->ids + i * e->longest,
                                     .prompt_tokens = (uint32_t)tokens,
                                     .label = labels_get(&e->labels, prompt),
                                     .kind = labels_kind(&e->labels, prompt)};
    snprintf(sample->name, sizeof sample->name, "sample %u of prompt %u", k, prompt);
    struct err why = {0};
    const enum err_code rc = generator_add(e->now->generator, &request, &why);
    if (rc)
        return err_set(err, rc, "%s: prompt %u: %.300s", c->prompts, prompt, why.text);
    memcpy(e->now->ids + i * e->longest, ids, tokens * sizeof *ids);
    return ERR_OK;
}

/* e->now answers the prompts at hand. */
static enum err_code evaluate_generate(struct evaluate *e, struct err *err)
{
    size_t i = 0;
    for (uint32_t p = e->first; p < e->first + e->n; p++) {
        for (uint32_t k = 0; k < e->params->samples; k++) {
            const enum err_code rc = evaluate_ask(e, p, k, i++, err);
            if (rc)
                return rc;
        }
    }
    while (generator_step(e->now->generator, evaluate_on_answer, e) > 0)
        continue;
    return ERR_OK;
}

/* KL of e->now's n answers, k1 summed over the response. */
static enum err_code evaluate_divergence(struct evaluate *e, size_t n, struct err *err)
{
    const struct scorer_watch watch = {0};
    for (size_t i = 0; i < n; i++)
        e->rows[i] = &e->now->sample[i];
    frozen_logprobs(e->reference, e->rows, n, e->config->temperature, &watch,
                    e->reference_logp);
    const float *reference = e->reference_logp;
    for (size_t i = 0; i < n; i++) {
        const float *logp = e->now->logp + i * e->config->max_new_tokens;
        double sum = 0;
        for (uint32_t t = 0; t < e->now->sample[i].response_tokens; t++)
            sum += (double)logp[t] - (double)*reference++;
        if (!isfinite(sum))
            return err_set(err, ERR_VALUE, "%s: a log-prob is not finite",
                           e->now->sample[i].name);
        e->now->kl[i] = sum;
    }
    return ERR_OK;
}

/* What scorer s says of e->now's n answers to prompts that it counts for; the state of the
 * others is none. */
static void evaluate_ask_scorer(struct evaluate *e, uint32_t s, size_t n)
{
    const struct scorer_watch watch = {0};
    const struct run_scorer *scorer = &e->config->scorer[s];
    struct evaluate_side *told = &e->result->side[e->now - e->side];
    struct scorer_score *score = e->now->score + (size_t)s * EVALUATE_CHUNK;
    size_t asked = 0;
    for (size_t i = 0; i < n; i++)
        if (run_scorer_counts(scorer, e->now->sample[i].kind))
            e->asked[asked++] = e->now->sample[i];
    if (asked > 0)
        scorer_score(e->scorer[s], e->asked, asked, &watch, e->told);
    asked = 0;
    for (size_t i = 0; i < n; i++) {
        score[i] = (struct scorer_score){0};
        if (!run_scorer_counts(scorer, e->now->sample[i].kind))
            continue;
        score[i] = e->told[asked++];
        told->missing[s] += score[i].state != SCORE_OK;
        if (score[i].state != SCORE_OK && told->why[0] == '\0')
            snprintf(told->why, sizeof told->why, "%.60s: %.180s", scorer->name,
                     score[i].reason);
    }
}

static enum err_code evaluate_score(struct evaluate *e, size_t n, struct err *err)
{
    struct evaluate_answers *now = e->now;
    enum err_code rc = evaluate_divergence(e, n, err);
    if (rc == ERR_OK)
        rc = texts_decode(&now->texts, e->tokenizer, now->sample, n, err);
    for (uint32_t s = 0; s < e->config->scorers && rc == ERR_OK; s++)
        evaluate_ask_scorer(e, s, n);
    return rc;
}

static void evaluate_tell(const struct evaluate *e)
{
    struct score score[RUN_SCORERS_MAX];
    for (size_t i = 0; e->params->scored && i < (size_t)e->n * e->params->samples; i++) {
        for (uint32_t s = 0; s < e->config->scorers; s++) {
            const struct scorer_score *got = &e->side[0].score[s * EVALUATE_CHUNK + i];
            score[s] = (struct score){e->config->scorer[s].name, got->state, got->value};
        }
        e->params->scored(e->params->ctx, e->first + (uint32_t)(i / e->params->samples), score);
    }
}

static enum err_code evaluate_all(struct evaluate *e, struct buf *lines, struct err *err)
{
    const uint32_t most = e->params->prompts_max, a_chunk = EVALUATE_CHUNK / e->params->samples;
    const uint32_t all = most > 0 && most < e->prompts.n ? most : e->prompts.n;
    e->result->prompts = all;
    for (e->first = 0; e->first < all; e->first += e->n) {
        e->n = all - e->first < a_chunk ? all - e->first : a_chunk;
        for (size_t s = 0; s < e->sides; s++) {
            e->now = &e->side[s];
            enum err_code rc = evaluate_generate(e, err);
            if (rc == ERR_OK)
                rc = evaluate_score(e, (size_t)e->n * e->params->samples, err);
            if (rc)
                return rc;
        }
        evaluate_count(e);
        evaluate_put_lines(e, lines);
        evaluate_tell(e);
        if (e->params->progress)
            e->params->progress(e->params->ctx, e->first + e->n, all);
    }
    evaluate_sum_up(e);
    return buf_check(lines, "the answers", err);
}

enum err_code evaluate_run(const struct run_config *config,
                           const struct evaluate_params *params, struct buf *lines,
                           struct evaluate_result *result, struct err *err)
{
    assert(params->samples > 0 && params->samples <= EVALUATE_SAMPLES_MAX);
    struct err why = {0};
    struct evaluate e = {.config = config, .params = params, .result = result};
    *result = (struct evaluate_result){0};
    enum err_code rc = evaluate_open(&e, &why);
    if (rc == ERR_OK)
        rc = evaluate_all(&e, lines, &why);
    evaluate_close(&e);
    return rc ? err_set(err, rc, "%s", why.text) : ERR_OK;
}
