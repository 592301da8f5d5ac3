/* generate.c -- see generate.h: who runs when, what is drawn, and when it ends. */
#include "engine/generate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/block.h"
#include "engine/cache.h"
#include "engine/kernels/logprob.h"

/* Prompt tokens a turn, beside one token for each row: long prompts are prefilled in parts, so
 * that the rows already growing do not wait for a whole one. */
#define GENERATE_PREFILL_TOKENS 512

/* Tokens whose text is searched for a stop string.  Each new token is at its end. */
#define GENERATE_STOP_TOKENS   (2 * SAMPLER_STOP_BYTES)
#define GENERATE_STOP_TEXT_MAX ((size_t)64 << 10)

/* A request waiting or under way, in one allocation with its arrays. */
struct generate_job {
    struct generate_job *next;
    struct generate_request request; /* pointers into the arrays below, stop strings inside */
    int32_t *ids;                    /* (prompt_tokens + max_new_tokens) */
    float *logp;                     /* (max_new_tokens) */
    uint32_t tokens;                 /* generated */
    uint32_t cached;                 /* positions in the cache after this turn */
    uint32_t ready;                  /* positions in it before this turn */
    int32_t stop_ids[SAMPLER_STOPS_MAX];
    const char *stop_strings[SAMPLER_STOPS_MAX];
    char stop_text[SAMPLER_STOPS_MAX][SAMPLER_STOP_BYTES + 1];
};

struct generator {
    const struct model *model;
    struct pool *pool;
    const struct tokenizer *tokenizer;
    struct cache *cache;
    size_t rows_max, tokens_max, batch_max;

    struct generate_job **row;         /* (rows_max) NULL: free */
    struct generate_job *first, *last; /* waiting, in order */
    size_t under_way, waiting;

    int32_t *ids;                 /* (batch_max) of a turn: what cache_forward takes */
    uint32_t *id_row, *position;  /* (batch_max) */
    uint32_t *draw_row, *draw_at; /* (rows_max) rows that gain a token, their last token */
    size_t batch, draws;

    float *weight;   /* (CACHE_LOGIT_ROWS, V) what is drawn from */
    uint32_t *index; /* (CACHE_LOGIT_ROWS, V) scratch of sampler_draw */
    struct buf text; /* decoded tail, for stop strings */
    uint64_t tokens, prefilled;
};

const char *generate_finish_name(enum generate_finish finish)
{
    switch (finish) {
#define X(name) \
    case GENERATE_FINISH_##name: return #name;
        GENERATE_FINISH_MAP(X)
#undef X
    }
    return "?";
}

static bool generator_allocate(struct generator *g)
{
    const size_t V = g->model->config.V;
    g->row = calloc(g->rows_max, sizeof *g->row);
    g->ids = calloc(g->batch_max, sizeof *g->ids);
    g->id_row = calloc(g->batch_max, sizeof *g->id_row);
    g->position = calloc(g->batch_max, sizeof *g->position);
    g->draw_row = calloc(g->rows_max, sizeof *g->draw_row);
    g->draw_at = calloc(g->rows_max, sizeof *g->draw_at);
    g->weight = calloc(CACHE_LOGIT_ROWS * V, sizeof *g->weight);
    g->index = calloc(CACHE_LOGIT_ROWS * V, sizeof *g->index);
    return g->row && g->ids && g->id_row && g->position && g->draw_row && g->draw_at &&
           g->weight && g->index;
}

struct generator *generator_new(const struct model *model, struct pool *pool,
                                const struct tokenizer *tokenizer, size_t rows_max,
                                size_t tokens_max, struct err *err)
{
    assert(rows_max > 0 && rows_max < UINT32_MAX && tokens_max > 0);
    if (model->config.head != MODEL_HEAD_LM) {
        err_set(err, ERR_VALUE, "generate: the model has a score head, not a vocabulary");
        return NULL;
    }
    struct generator *g = calloc(1, sizeof *g);
    if (!g) {
        err_set(err, ERR_NOMEM, "generate: no memory for a generator");
        return NULL;
    }
    *g = (struct generator){.model = model,
                            .pool = pool,
                            .tokenizer = tokenizer,
                            .rows_max = rows_max,
                            .tokens_max = tokens_max};
    if (g->tokens_max > model->config.T)
        g->tokens_max = model->config.T;
    g->batch_max = rows_max + GENERATE_PREFILL_TOKENS;
    buf_init(&g->text, GENERATE_STOP_TEXT_MAX);
    if (!generator_allocate(g)) {
        err_set(err, ERR_NOMEM, "generate: no memory for %zu rows", rows_max);
        generator_free(g);
        return NULL;
    }
    g->cache = cache_new(model, pool, rows_max, g->tokens_max, g->batch_max, err);
    if (!g->cache) {
        generator_free(g);
        return NULL;
    }
    return g;
}

void generator_free(struct generator *g)
{
    if (!g)
        return;
    if (g->row)
        generator_cancel(g);
    cache_free(g->cache);
    buf_release(&g->text);
    free(g->row);
    free(g->ids);
    free(g->id_row);
    free(g->position);
    free(g->draw_row);
    free(g->draw_at);
    free(g->weight);
    free(g->index);
    free(g);
}

void generator_weights_changed(struct generator *g)
{
    assert(g->under_way == 0 && g->waiting == 0);
    cache_refresh(g->cache);
}

static enum err_code generate_check(const struct generator *g, const struct generate_request *r,
                                    struct err *err)
{
    if (r->prompt_tokens == 0)
        return err_set(err, ERR_VALUE, "generate: the prompt has no tokens");
    if (r->max_new_tokens == 0)
        return err_set(err, ERR_VALUE, "generate: max_new_tokens is 0");
    if ((uint64_t)r->prompt_tokens + r->max_new_tokens > g->tokens_max)
        return err_set(err, ERR_VALUE,
                       "generate: %u prompt tokens and %u new ones exceed the %zu that fit",
                       r->prompt_tokens, r->max_new_tokens, g->tokens_max);
    for (uint32_t i = 0; i < r->prompt_tokens; i++) {
        if (r->prompt[i] < 0 || (uint32_t)r->prompt[i] >= g->model->config.V)
            return err_set(err, ERR_VALUE,
                           "generate: prompt token %u is %d, outside the vocabulary of %u", i,
                           r->prompt[i], g->model->config.V);
    }
    if (r->stop_ids_n > SAMPLER_STOPS_MAX || r->stop_strings_n > SAMPLER_STOPS_MAX)
        return err_set(err, ERR_VALUE, "generate: more than %d stop ids or strings",
                       SAMPLER_STOPS_MAX);
    if (r->stop_strings_n > 0 && !g->tokenizer)
        return err_set(err, ERR_VALUE, "generate: stop strings need a tokenizer");
    for (uint32_t i = 0; i < r->stop_strings_n; i++) {
        const size_t length = strlen(r->stop_strings[i]);
        if (length == 0 || length > SAMPLER_STOP_BYTES)
            return err_set(err, ERR_VALUE,
                           "generate: stop string %u has %zu bytes, not 1 to %d", i, length,
                           SAMPLER_STOP_BYTES);
    }
    return sampler_params_check(&r->sampling, err);
}

static struct generate_job *generate_job_new(const struct generate_request *request)
{
    const size_t ids = (size_t)request->prompt_tokens + request->max_new_tokens;
    const size_t floats = request->max_new_tokens;
    struct generate_job *job =
        calloc(1, sizeof *job + ids * sizeof(int32_t) + floats * sizeof(float));
    if (!job)
        return NULL;
    job->request = *request;
    job->ids = (int32_t *)(job + 1);
    job->logp = (float *)(job->ids + ids);
    memcpy(job->ids, request->prompt, request->prompt_tokens * sizeof(int32_t));
    job->request.prompt = job->ids;
    for (uint32_t i = 0; i < request->stop_ids_n; i++)
        job->stop_ids[i] = request->stop_ids[i];
    job->request.stop_ids = job->stop_ids;
    for (uint32_t i = 0; i < request->stop_strings_n; i++) {
        memcpy(job->stop_text[i], request->stop_strings[i], strlen(request->stop_strings[i]));
        job->stop_strings[i] = job->stop_text[i];
    }
    job->request.stop_strings = job->stop_strings;
    return job;
}

enum err_code generator_add(struct generator *g, const struct generate_request *request,
                            struct err *err)
{
    const enum err_code rc = generate_check(g, request, err);
    if (rc)
        return rc;
    struct generate_job *job = generate_job_new(request);
    if (!job)
        return err_set(err, ERR_NOMEM, "generate: no memory for a request of %u + %u tokens",
                       request->prompt_tokens, request->max_new_tokens);
    if (g->last)
        g->last->next = job;
    else
        g->first = job;
    g->last = job;
    g->waiting++;
    return ERR_OK;
}

static void generate_admit(struct generator *g)
{
    for (size_t r = 0; r < g->rows_max && g->first; r++) {
        if (g->row[r])
            continue;
        g->row[r] = g->first;
        g->first = g->first->next;
        if (!g->first)
            g->last = NULL;
        g->row[r]->next = NULL;
        g->waiting--;
        g->under_way++;
    }
}

/* A row that has begun with the prompt of row r; NULL: none. */
static const struct generate_job *generate_twin(const struct generator *g, size_t r,
                                                uint32_t *row)
{
    const struct generate_request *request = &g->row[r]->request;
    for (uint32_t o = 0; o < g->rows_max; o++) {
        const struct generate_job *other = g->row[o];
        if (o == r || !other || other->cached == 0 ||
            other->request.prompt_tokens != request->prompt_tokens ||
            memcmp(other->request.prompt, request->prompt,
                   request->prompt_tokens * sizeof *request->prompt) != 0)
            continue;
        *row = o;
        return other;
    }
    return NULL;
}

/* False where row r is to wait for another to compute its prompt.  The last token of a prompt
 * is always its own: the logits after it are wanted. */
static bool generate_share(struct generator *g, size_t r)
{
    struct generate_job *job = g->row[r];
    const uint32_t share = job->request.prompt_tokens - 1;
    uint32_t from;
    const struct generate_job *twin =
        job->cached == 0 && share > 0 ? generate_twin(g, r, &from) : NULL;
    if (!twin)
        return true;
    if (twin->ready < share)
        return false;
    /* What it has of the last token too, so that a whole piece may be shared: the row computes
     * that token for its logits, and the keys and values it gets are those. */
    cache_copy(g->cache, from, (uint32_t)r,
               twin->ready < job->request.prompt_tokens ? share : share + 1);
    job->cached = share;
    return true;
}

/* Put `n` further tokens of row r into the turn's batch. */
static void generate_feed(struct generator *g, size_t r, size_t n)
{
    struct generate_job *job = g->row[r];
    for (size_t i = 0; i < n; i++) {
        const size_t at = g->batch++;
        g->ids[at] = job->ids[job->cached];
        g->id_row[at] = (uint32_t)r;
        g->prefilled += job->cached < job->request.prompt_tokens;
        g->position[at] = job->cached++;
    }
    if (job->cached == job->request.prompt_tokens + job->tokens) {
        g->draw_row[g->draws] = (uint32_t)r;
        g->draw_at[g->draws++] = (uint32_t)(g->batch - 1);
    }
}

/* Each row that grows gets its newest token; what room is left goes to prompts, in the order
 * of rows. */
static void generate_fill(struct generator *g)
{
    g->batch = g->draws = 0;
    size_t room = GENERATE_PREFILL_TOKENS;
    for (size_t r = 0; r < g->rows_max; r++) {
        const struct generate_job *job = g->row[r];
        if (!job || !generate_share(g, r))
            continue;
        size_t n = job->request.prompt_tokens + job->tokens - job->cached;
        if (n > 1) {
            n = n < room ? n : room;
            room -= n;
        }
        if (n > 0)
            generate_feed(g, r, n);
    }
    assert(g->batch <= g->batch_max);
}

struct generate_draw {
    struct generator *g;
    const float *logits; /* (n, V) */
    size_t first;        /* of draw_row */
};

static void generate_draw_task(void *arg, size_t i)
{
    const struct generate_draw *draw = arg;
    struct generator *g = draw->g;
    struct generate_job *job = g->row[g->draw_row[draw->first + i]];
    const struct generate_request *request = &job->request;
    const size_t V = g->model->config.V;
    const float *logits = draw->logits + i * V;

    const double u =
        rng_uniform(request->seed, request->stream, request->a, request->b, job->tokens);
    const float inverse = block_inverse(sampler_logprob_temperature(&request->sampling));
    float *weight = g->weight + i * V;
    const struct logprob row = logprob_weigh(weight, logits, inverse, V);
    const int32_t id =
        sampler_draw(&request->sampling, weight, row.argmax, V, u, g->index + i * V);
    job->logp[job->tokens] = logprob_of(&row, logits[id], inverse);
    job->ids[request->prompt_tokens + job->tokens] = id;
}

static bool generate_text_stops(struct generator *g, const struct generate_job *job)
{
    const uint32_t n = job->tokens < GENERATE_STOP_TOKENS ? job->tokens : GENERATE_STOP_TOKENS;
    const int32_t *tail = job->ids + job->request.prompt_tokens + job->tokens - n;
    buf_clear(&g->text);
    if (tokenizer_decode(g->tokenizer, tail, n, false, &g->text, NULL) || g->text.failed)
        return false; /* a text that cannot be had contains no stop string */
    for (uint32_t i = 0; i < job->request.stop_strings_n; i++) {
        const size_t length = strlen(job->stop_strings[i]);
        for (size_t at = 0; at + length <= g->text.len; at++) {
            if (memcmp(g->text.data + at, job->stop_strings[i], length) == 0)
                return true;
        }
    }
    return false;
}

/* True, with the reason, if the newest token of `job` is its last. */
static bool generate_ends(struct generator *g, const struct generate_job *job,
                          enum generate_finish *finish)
{
    const int32_t id = job->ids[job->request.prompt_tokens + job->tokens - 1];
    *finish = GENERATE_FINISH_EOS;
    if (model_config_is_eos(&g->model->config, id))
        return true;
    *finish = GENERATE_FINISH_STOP;
    for (uint32_t i = 0; i < job->request.stop_ids_n; i++) {
        if (job->stop_ids[i] == id)
            return true;
    }
    if (job->request.stop_strings_n > 0 && generate_text_stops(g, job))
        return true;
    *finish = GENERATE_FINISH_LENGTH;
    return job->tokens == job->request.max_new_tokens;
}

size_t generator_step(struct generator *g,
                      void (*done)(void *arg, const struct generate_result *result), void *arg)
{
    generate_admit(g);
    generate_fill(g);
    if (g->batch == 0)
        return 0;
    cache_forward(g->cache, g->ids, g->id_row, g->position, g->batch);
    for (size_t r = 0; r < g->rows_max; r++)
        if (g->row[r])
            g->row[r]->ready = g->row[r]->cached;

    struct generate_draw draw = {.g = g};
    for (; draw.first < g->draws; draw.first += CACHE_LOGIT_ROWS) {
        const size_t left = g->draws - draw.first;
        const size_t n = left < CACHE_LOGIT_ROWS ? left : CACHE_LOGIT_ROWS;
        draw.logits = cache_logits(g->cache, g->draw_at + draw.first, n);
        pool_run(g->pool, n, generate_draw_task, &draw);
    }

    for (size_t i = 0; i < g->draws; i++) {
        const uint32_t r = g->draw_row[i];
        struct generate_job *job = g->row[r];
        enum generate_finish finish;
        job->tokens++;
        g->tokens++;
        if (!generate_ends(g, job, &finish))
            continue;
        const struct generate_result result = {.tag = job->request.tag,
                                               .ids = job->ids + job->request.prompt_tokens,
                                               .logp = job->logp,
                                               .tokens = job->tokens,
                                               .finish = finish};
        g->row[r] = NULL;
        g->under_way--;
        done(arg, &result);
        free(job);
    }
    return g->under_way + g->waiting;
}

uint64_t generator_tokens(const struct generator *g)
{
    return g->tokens;
}

uint64_t generator_prefilled(const struct generator *g)
{
    return g->prefilled;
}

uint32_t generator_peek(const struct generator *g, uint64_t tag, const int32_t **ids)
{
    for (size_t r = 0; r < g->rows_max; r++) {
        const struct generate_job *job = g->row[r];
        if (!job || job->request.tag != tag)
            continue;
        *ids = job->ids + job->request.prompt_tokens;
        return job->tokens;
    }
    return 0;
}

void generator_cancel(struct generator *g)
{
    for (size_t r = 0; r < g->rows_max; r++) {
        free(g->row[r]);
        g->row[r] = NULL;
    }
    while (g->first) {
        struct generate_job *next = g->first->next;
        free(g->first);
        g->first = next;
    }
    g->last = NULL;
    g->under_way = g->waiting = 0;
}
