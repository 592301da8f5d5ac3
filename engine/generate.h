/*
 * generate.h -- continuous batching: many sequences grow together, each leaving when done.
 *
 * A generator has `rows_max` rows, each with a key/value cache of `tokens_max` positions.
 * Requests wait in order, take a row when one is free, are prefilled, and then gain one token
 * a turn.  Token t of a request is drawn with Philox(seed; stream, a, b, t): what comes out is
 * a pure function of weights and request, whatever else is in the batch.
 * Rows with the same prompt share its prefill: the first computes it, the others wait for that
 * turn and go on from its keys and values, which have the bits they would have computed, and of
 * which all but the last few are in memory once (cache_copy).
 * The log-prob recorded equals, bit for bit, what pass_logprobs computes for the same weights.
 */
#ifndef ENGINE_GENERATE_H
#define ENGINE_GENERATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "engine/sampler.h"
#include "engine/tokenizer.h"

#define GENERATE_FINISH_MAP(X) X(EOS) X(STOP) X(LENGTH)
enum generate_finish {
#define X(name) GENERATE_FINISH_##name,
    GENERATE_FINISH_MAP(X)
#undef X
};
const char *generate_finish_name(enum generate_finish finish);

struct generate_request {
    uint64_t tag;           /* the caller's; comes back with the result */
    const int32_t *prompt;  /* copied */
    uint32_t prompt_tokens; /* 1 or more */
    uint32_t max_new_tokens;
    struct sampler_params sampling;
    uint64_t seed;          /* with stream, a, b: the random numbers of this request */
    enum rng_stream stream;
    uint64_t a;
    uint32_t b;
    const int32_t *stop_ids; /* beside the model's eos; copied; at most SAMPLER_STOPS_MAX */
    uint32_t stop_ids_n;
    const char *const *stop_strings; /* ends when the decoded text contains one; copied */
    uint32_t stop_strings_n;         /* needs a tokenizer; the token that completes it is kept */
};

struct generate_result {
    uint64_t tag;
    const int32_t *ids;    /* (tokens) the response, the eos or stop token included */
    const float *logp;     /* (tokens) nats, at the sampling temperature */
    uint32_t tokens;
    enum generate_finish finish;
};

struct generator;

/* The model is borrowed; tokenizer may be NULL where no stop strings are used.  The caller
 * frees it with generator_free.  NULL, and ERR_VALUE where the model has a score head, or
 * ERR_NOMEM. */
struct generator *generator_new(const struct model *model, struct pool *pool,
                                const struct tokenizer *tokenizer, size_t rows_max,
                                size_t tokens_max, struct err *err);
void generator_free(struct generator *generator);

/* The model's weights changed (same shape): drop caches and packed copies.  Nothing may be
 * under way. */
void generator_weights_changed(struct generator *generator);

/* Queue a request.  ERR_VALUE where prompt + max_new_tokens exceeds tokens_max or the model's
 * T, an id is outside the vocabulary, or a parameter is out of range; ERR_NOMEM. */
enum err_code generator_add(struct generator *generator, const struct generate_request *request,
                            struct err *err);

/* One turn: admit, prefill, one token for every row.  Calls `done` for each result; its arrays
 * are valid during the call.  Returns how many requests are still waiting or under way. */
size_t generator_step(struct generator *generator,
                      void (*done)(void *arg, const struct generate_result *result), void *arg);

/* Tokens produced since the start. */
uint64_t generator_tokens(const struct generator *generator);

/* Prompt tokens computed since the start; those copied from another row are not among them. */
uint64_t generator_prefilled(const struct generator *generator);

/* How many tokens the request under way with this tag has so far, and where they are (valid
 * until the next call): for showing text as it grows.  0 where it is not under way. */
uint32_t generator_peek(const struct generator *generator, uint64_t tag, const int32_t **ids);

/* Drop everything waiting or under way. */
void generator_cancel(struct generator *generator);

#endif
