/*
 * scorer.h -- what gives a response its score: one interface over models, rules and services.
 *
 *     kind    score                                                          file
 *     model   the score head at the last token of prompt + response          scorer_model.c
 *     regex   1 where the pattern matches in the response, else 0            scorer_regex.c
 *     words   share of the response's words that are in a list, 0..1         scorer_words.c
 *     length  1 inside [min, max] tokens, falling off linearly to 0          scorer_length.c
 *     match   1 where the trimmed response is the prompt's label, else 0     scorer_match.c
 *     http    what a service that speaks OpenRLHF's /get_reward answers      scorer_http.c
 *     gold    the truth of the built-in world (world/gold.h)                 scorer_gold.c
 *
 * A score has one of three states (control/score.h).  What could not be scored is failed or
 * timeout, with a reason, and never a number that would be trained on.
 *
 * One thread: the daemon's compute thread.  Only the http kind waits for others, up to
 * timeout_ms a sample.
 */
#ifndef REWARD_SCORER_H
#define REWARD_SCORER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "control/score.h"
#include "engine/pool.h"
#include "engine/tokenizer.h"
#include "node/run_config.h"
#include "wire/message.h"

#define SCORER_NAME_MAX   64            /* bytes of a sample's name, with the NUL */
#define SCORER_REASON_MAX WIRE_TEXT_MAX /* bytes, with the NUL */

struct scorer_text {
    const char *data; /* NUL-terminated; bytes inside may be NUL as well */
    size_t n;
};

/* One response.  Everything is borrowed for the call of scorer_score. */
struct scorer_sample {
    char name[SCORER_NAME_MAX]; /* "slot 3 of step 7": for reasons */
    const int32_t *ids;         /* (prompt_tokens + response_tokens) */
    uint32_t prompt_tokens;     /* >= 1 */
    uint32_t response_tokens;   /* the end-of-sequence token counts */
    enum wire_finish finish;
    struct scorer_text prompt;   /* decoded, special tokens kept */
    struct scorer_text query;    /* prompt and response decoded, special tokens kept */
    struct scorer_text response; /* decoded, special tokens left out */
    const char *text_fault;      /* why there are no texts; NULL: there are */
    const char *label;           /* the data set's label as JSON; "null" where it has none */
    const char *kind;            /* of the prompt, as the data set says; NULL: none */
};

struct scorer_score {
    enum score_state state;
    double value;                   /* finite where state is SCORE_OK, else 0 */
    bool away;                      /* not scored because the service behind it was not there */
    char reason[SCORER_REASON_MAX]; /* ASCII; "" where state is SCORE_OK */
};

/* What all scorers of a process share; borrowed for the scorer's life. */
struct scorer_setup {
    const struct run_config *config;
    struct pool *pool;
    const struct tokenizer *tokenizer; /* the policy's */
    uint32_t vocabulary;               /* the policy's V */
};

/* What a scorer tells whoever waits for it; a NULL function is not called. */
struct scorer_watch {
    void (*progress)(void *ctx); /* after each pack or batch, and while a service thinks */
    bool (*stopping)(void *ctx); /* true: give up; what is left becomes failed */
    void *ctx;
};

struct scorer;

/* Load what the scorer needs; *of is borrowed for its life.  ERR_USAGE where the config is at
 * fault, else the errors of the files read; the sentence names the scorer.  The caller frees
 * it with scorer_free. */
enum err_code scorer_new(struct scorer **out, const struct run_scorer *of,
                         const struct scorer_setup *setup, struct err *err);
void scorer_free(struct scorer *scorer); /* NULL does nothing */

/* out[i] = the score of sample i, for all i < n.  Every entry is written. */
void scorer_score(struct scorer *scorer, const struct scorer_sample *samples, size_t n,
                  const struct scorer_watch *watch, struct scorer_score *out);

/* A hash of what it was made from beside the config: weights, word lists; the same for all that
 * read nothing. */
void scorer_fingerprint(const struct scorer *scorer, struct hash *out);

/* Write one outcome.  A value that is not finite becomes failed; a reason is cut off and
 * bytes that are not printable ASCII become '?', so that it can go anywhere. */
void scorer_put(struct scorer_score *out, double value);
__attribute__((format(printf, 3, 4))) void
scorer_put_fault(struct scorer_score *out, enum score_state state, const char *format, ...);

/* True where the sample has its texts; else the score becomes failed. */
bool scorer_has_text(const struct scorer_sample *sample, struct scorer_score *out);

/*
 * What a kind is made of, in a file of its own.  open leaves its state in *state, also where
 * it fails half-way; close takes it, and NULL.
 */
struct scorer_kind {
    enum err_code (*open)(void **state, const struct run_scorer *of,
                          const struct scorer_setup *setup, struct err *err);
    void (*score)(void *state, const struct scorer_sample *samples, size_t n,
                  const struct scorer_watch *watch, struct scorer_score *out);
    void (*close)(void *state);
    void (*fingerprint)(const void *state, struct hash *out); /* NULL: it reads nothing */
};
extern const struct scorer_kind scorer_model, scorer_regex, scorer_words, scorer_length,
    scorer_match, scorer_http, scorer_gold;

static inline void scorer_watch_progress(const struct scorer_watch *watch)
{
    if (watch->progress)
        watch->progress(watch->ctx);
}

static inline bool scorer_watch_stopping(const struct scorer_watch *watch)
{
    return watch->stopping && watch->stopping(watch->ctx);
}

#endif
