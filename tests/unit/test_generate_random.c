/*
 * test_generate_random.c -- what a request says does not depend on the company it keeps.
 *
 * Oracle: the same request in a generator of one row, where no keys or values are shared.  Requests
 * arrive at random, some with the same prompt and some with prompts that only begin alike or differ
 * in one token; they end early, are dropped, and the weights change in between.  Prompts end around
 * whole pieces of a cache, and a turn's prefill may end within one or just before its last token.
 */
#include <stdlib.h>

#include "base/rng.h"
#include "engine/generate.h"
#include "tests/kernel_test.h"
#include "tests/shape.h"

enum {
    V = 20,
    T = 560,
    ROWS = 5,
    TURNS = 500,
    PROMPT_MAX = 530,
    NEW_MAX = 20,
    ASKED_MAX = 2048
};

/* Of prompts; each comes in VARIANTS that differ in one token. */
static const uint32_t lengths[] = {1, 2, 16, 17, 31, 33, 48, 480, 512, PROMPT_MAX};
enum { AT_33 = 5, AT_480 = 7, VARIANTS = 3 };

static const struct model_config config = {SHAPE_LLAMA, .head = MODEL_HEAD_LM,
                                           .V = V,      .C = 16,
                                           .L = 2,      .H = 4,
                                           .G = 2,      .D = 4,
                                           .F = 24,     .T = T,
                                           .eos = 3};

struct said {
    int32_t ids[NEW_MAX];
    float logp[NEW_MAX];
    uint32_t tokens;
};

struct scene {
    struct model *model;
    struct generator *together, *alone;
    uint64_t seed;
    uint32_t of[ASKED_MAX]; /* which prompt a request had */
    uint32_t drawn, asked, answered, turn;
    uint64_t prompt_tokens; /* of all that were answered */
};

static uint32_t draw(struct scene *s, uint32_t n)
{
    return (uint32_t)rng_below(s->seed, RNG_STREAM_WORLD, 0, 0, s->drawn++, n);
}

static struct generate_request request_make(const struct scene *s, uint32_t tag,
                                            int32_t *prompt)
{
    const uint32_t of = s->of[tag], tokens = lengths[of / VARIANTS];
    for (uint32_t i = 0; i < tokens; i++)
        prompt[i] = (int32_t)rng_below(s->seed, RNG_STREAM_WORLD, 1, 0, i, V);
    const uint32_t other[VARIANTS] = {tokens, tokens - 1, tokens / 2};
    if (other[of % VARIANTS] < tokens) /* the one that differs */
        prompt[other[of % VARIANTS]] = V - prompt[other[of % VARIANTS]] - 1;
    const uint32_t most = rng_below(s->seed, RNG_STREAM_PLAN, tag, 1, 0, 2) ? NEW_MAX : 3;
    return (struct generate_request){
        .tag = tag,
        .prompt = prompt,
        .prompt_tokens = tokens,
        .max_new_tokens = 1 + (uint32_t)rng_below(s->seed, RNG_STREAM_PLAN, tag, 2, 0, most),
        .sampling = {1.0f, 0, 1.0f, 0.0f},
        .seed = s->seed,
        .stream = RNG_STREAM_ROLLOUT,
        .a = tag};
}

static void keep(void *arg, const struct generate_result *result)
{
    struct said *said = arg;
    said->tokens = result->tokens;
    memcpy(said->ids, result->ids, result->tokens * sizeof *said->ids);
    memcpy(said->logp, result->logp, result->tokens * sizeof *said->logp);
}

static void compare(void *arg, const struct generate_result *result)
{
    struct scene *s = arg;
    int32_t prompt[PROMPT_MAX];
    const struct generate_request request = request_make(s, (uint32_t)result->tag, prompt);
    struct said want;
    check_ok(generator_add(s->alone, &request, &err));
    while (generator_step(s->alone, keep, &want) > 0)
        ;
    if (want.tokens != result->tokens ||
        memcmp(want.ids, result->ids, want.tokens * sizeof *want.ids) != 0 ||
        memcmp(want.logp, result->logp, want.tokens * sizeof *want.logp) != 0)
        fail_msg("seed %u, turn %u: request %u of %u + %u tokens differs", (unsigned)s->seed,
                 s->turn, (unsigned)result->tag, request.prompt_tokens, want.tokens);
    s->answered++;
    s->prompt_tokens += request.prompt_tokens;
}

static void ask(struct scene *s, uint32_t of)
{
    int32_t prompt[PROMPT_MAX];
    assert_true(s->asked < ASKED_MAX);
    s->of[s->asked] = of;
    const struct generate_request request = request_make(s, s->asked++, prompt);
    check_ok(generator_add(s->together, &request, &err));
}

/* Samples of a prompt arrive together, and some more of them later.  Behind one of 33 tokens, the
 * first turn leaves of one of 480 the last token. */
static void ask_some(struct scene *s)
{
    const uint32_t of = draw(s, COUNT(lengths) * VARIANTS), last = s->asked;
    if (draw(s, 12) == 0) {
        ask(s, AT_33 * VARIANTS + of % VARIANTS);
        for (uint32_t n = 1 + draw(s, 3); n > 0; n--)
            ask(s, AT_480 * VARIANTS + of % VARIANTS);
    } else if (draw(s, 6) == 0) {
        for (uint32_t n = 1 + draw(s, 4); n > 0; n--)
            ask(s, of);
    } else if (last > 0 && draw(s, 6) == 0) {
        ask(s, s->of[last - 1]);
    }
}

static struct generator *generator_make(const struct scene *s, size_t rows)
{
    struct err why = {0};
    struct generator *generator = generator_new(s->model, NULL, NULL, rows, T, &why);
    if (!generator)
        fail_msg("%s", why.text);
    return generator;
}

static void change_weights(struct scene *s)
{
    if (draw(s, 2))
        generator_cancel(s->together);
    while (generator_step(s->together, compare, s) > 0)
        ;
    model_init_random(s->model, s->turn, 0.4f);
    generator_weights_changed(s->together);
    generator_free(s->alone);
    s->alone = generator_make(s, 1);
}

static void run(uint64_t seed)
{
    struct err why = {0};
    struct scene s = {.seed = seed, .model = model_new(&config, &why)};
    assert_non_null(s.model);
    model_init_random(s.model, seed, 0.4f);
    s.together = generator_make(&s, ROWS);
    s.alone = generator_make(&s, 1);
    for (; s.turn < TURNS; s.turn++) {
        ask_some(&s);
        if (draw(&s, 60) == 0)
            generator_cancel(s.together);
        if (draw(&s, 60) == 0)
            change_weights(&s);
        generator_step(s.together, compare, &s);
    }
    assert_true(s.answered > TURNS / 4);
    assert_true(generator_prefilled(s.together) < s.prompt_tokens);
    generator_free(s.together);
    generator_free(s.alone);
    model_free(s.model);
}

static void requests_say_in_any_company_what_they_say_alone(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        run(seed);
}

int main(void)
{
    pool_thread_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_say_in_any_company_what_they_say_alone),
    };
    return cmocka_run_group_tests_name("engine/generate", tests, NULL, NULL);
}
