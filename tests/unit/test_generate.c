/*
 * test_generate.c -- what a generator says is a pure function of weights and request, and its
 * log-probs are those of the training pass, bit for bit.
 *
 * Oracles: pass_logprobs over the finished sequence (bitwise); its hidden states, from which
 * each token is drawn again with the random number of its place; the same requests in another
 * order, batch size and number of threads (bitwise); the documented greedy sample of
 * stories260K (skipped where the model is absent).
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/block.h"
#include "engine/generate.h"
#include "engine/kernels/logprob.h"
#include "engine/pass.h"
#include "tests/shape.h"
#include "tests/test.h"
#include "world/world.h"

enum { V = 61, T = 640, REQUESTS = 40, PROMPT_MAX = 560, NEW_MAX = 24, EOS = 7 };

static const struct model_config llama = {SHAPE_LLAMA,  .head = MODEL_HEAD_LM,
                                          .V = V,       .C = 32,
                                          .L = 2,       .H = 4,
                                          .G = 2,       .D = 8,
                                          .F = 48,      .T = T,
                                          .tied = true, .eos = EOS};
static const struct model_config qwen3 = {.family = MODEL_LLAMA,
                                          .model_type = "qwen3",
                                          .head = MODEL_HEAD_LM,
                                          .V = V,
                                          .C = 40,
                                          .L = 2,
                                          .H = 3,
                                          .G = 1,
                                          .D = 16,
                                          .F = 56,
                                          .T = T,
                                          .norm_eps = 1e-6f,
                                          .qk_norm = true,
                                          .rope_theta = 10000.0f,
                                          .bos = -1,
                                          .eos = EOS,
                                          .pad = -1};
static const struct model_config gpt2 = {SHAPE_GPT2, .head = MODEL_HEAD_LM,
                                         .V = V,     .C = 32,
                                         .L = 2,     .H = 4,
                                         .G = 4,     .D = 8,
                                         .F = 128,   .T = T,
                                         .eos = EOS};

static const struct model_config *const shapes[] = {&llama, &qwen3, &gpt2};

/* What request `tag` asks; its prompt is written to `prompt`. */
static struct generate_request request_make(uint32_t tag, int32_t *prompt)
{
    static const struct sampler_params sampling[] = {{1.0f, 0, 1.0f, 0.0f},
                                                     {0.0f, 0, 1.0f, 0.0f},
                                                     {0.7f, 5, 1.0f, 0.0f},
                                                     {1.3f, 0, 0.9f, 0.0f},
                                                     {1.0f, 20, 0.8f, 0.05f}};
    static const uint32_t lengths[] = {1, 2, 7, 16, 33, 64, 65, 127, 513, PROMPT_MAX};
    struct generate_request request = {.tag = tag,
                                       .prompt = prompt,
                                       .prompt_tokens = lengths[tag % COUNT(lengths)],
                                       .max_new_tokens = 1 + tag % NEW_MAX,
                                       .sampling = sampling[tag % COUNT(sampling)],
                                       .seed = 99,
                                       .stream = RNG_STREAM_ROLLOUT,
                                       .a = tag / 4,
                                       .b = tag % 4};
    for (uint32_t i = 0; i < request.prompt_tokens; i++)
        prompt[i] = (int32_t)rng_below(5, RNG_STREAM_WORLD, tag, 0, i, V);
    return request;
}

struct said {
    int32_t ids[NEW_MAX];
    float logp[NEW_MAX];
    uint32_t tokens;
    enum generate_finish finish;
};

static void keep(void *arg, const struct generate_result *result)
{
    struct said *said = arg;
    assert_in_range(result->tag, 0, REQUESTS - 1);
    said += result->tag;
    assert_int_equal(said->tokens, 0); /* once each */
    assert_in_range(result->tokens, 1, NEW_MAX);
    said->tokens = result->tokens;
    said->finish = result->finish;
    memcpy(said->ids, result->ids, result->tokens * sizeof *said->ids);
    memcpy(said->logp, result->logp, result->tokens * sizeof *said->logp);
}

/* All requests, added in a shuffled order, some only after the first turns. */
static void run_all(const struct model *model, size_t rows, size_t threads, uint64_t order,
                    struct said said[REQUESTS])
{
    struct err why = {0};
    struct pool *pool = pool_new(threads, &why);
    struct generator *generator = pool ? generator_new(model, pool, NULL, rows, T, &why) : NULL;
    if (!generator)
        fail_msg("%s", why.text);
    memset(said, 0, REQUESTS * sizeof *said);
    uint32_t perm[REQUESTS];
    rng_permutation(perm, REQUESTS, order, RNG_STREAM_PLAN, 0, 0);
    for (size_t i = 0; i < REQUESTS; i++) {
        int32_t prompt[PROMPT_MAX];
        const struct generate_request request = request_make(perm[i], prompt);
        check_ok(generator_add(generator, &request, &err));
        memset(prompt, 0xff, sizeof prompt); /* it was copied */
        if (i >= REQUESTS / 2)
            generator_step(generator, keep, said);
    }
    while (generator_step(generator, keep, said) > 0)
        ;
    uint64_t tokens = 0;
    for (size_t i = 0; i < REQUESTS; i++)
        tokens += said[i].tokens;
    assert_int_equal(generator_tokens(generator), tokens);
    generator_free(generator);
    pool_free(pool);
}

/* Draw token i of a response again, from the hidden state before it. */
static int32_t draw_again(const struct block *block, const struct generate_request *request,
                          const float *hidden, uint32_t i)
{
    float logits[V], weight[V];
    uint32_t index[V];
    block_head(block, logits, V, hidden, 1);
    const float inverse = block_inverse(sampler_logprob_temperature(&request->sampling));
    const int32_t best = logprob_weigh(weight, logits, inverse, V).argmax;
    const double u = rng_uniform(request->seed, request->stream, request->a, request->b, i);
    return sampler_draw(&request->sampling, weight, best, V, u, index);
}

static void check_response(struct pass *pass, const struct block *block,
                           const struct generate_request *request, int32_t *ids,
                           const struct said *said)
{
    const uint32_t P = request->prompt_tokens, n = said->tokens;
    memcpy(ids + P, said->ids, n * sizeof *ids);
    const uint32_t offset[2] = {0, P + n};
    const struct pass_batch batch = {.seqs = 1, .offset = offset, .ids = ids};
    check_ok(pass_forward(pass, &batch, &err));
    uint32_t at[NEW_MAX];
    for (uint32_t i = 0; i < n; i++)
        at[i] = P + i - 1;
    const struct pass_logprob want = {.rows = n,
                                      .at = at,
                                      .target = said->ids,
                                      .temperature =
                                          sampler_logprob_temperature(&request->sampling)};
    float logp[NEW_MAX];
    int32_t best[NEW_MAX];
    pass_logprobs(pass, &want, logp, NULL, best);
    const float *hidden = pass_hidden(pass);
    for (uint32_t i = 0; i < n; i++) {
        if (memcmp(&logp[i], &said->logp[i], sizeof(float)) != 0)
            fail_msg("request %u token %u: recorded %.9g, recomputed %.9g",
                     (unsigned)request->tag, i, (double)said->logp[i], (double)logp[i]);
        const float *row = hidden + at[i] * block->model->config.C;
        assert_int_equal(said->ids[i], draw_again(block, request, row, i));
        if (request->sampling.temperature == 0.0f)
            assert_int_equal(said->ids[i], best[i]);
    }
}

static void check_with_pass(const struct model *model, const struct said *said)
{
    struct err why = {0};
    struct pass *pass = pass_new(model, NULL, T, false, &why);
    struct block *block = pass ? block_new(model, NULL, T, false, &why) : NULL;
    if (!block)
        fail_msg("%s", why.text);
    for (uint32_t tag = 0; tag < REQUESTS; tag++) {
        int32_t ids[T];
        const struct generate_request request = request_make(tag, ids);
        check_response(pass, block, &request, ids, &said[tag]);
    }
    block_free(block);
    pass_free(pass);
}

static struct model *model_make(const struct model_config *config)
{
    struct err why = {0};
    struct model *model = model_new(config, &why);
    if (!model)
        fail_msg("%s", why.text);
    model_init_random(model, 3, 0.2f); /* peaked enough that samples differ from noise */
    return model;
}

static void logprobs_are_those_of_the_training_pass_in_any_batch(void **state)
{
    (void)state;
    static const struct {
        size_t rows, threads;
    } ways[] = {{1, 1}, {3, 2}, {8, 1}, {64, 2}};
    static struct said base[REQUESTS], said[REQUESTS];
    for (size_t k = 0; k < 2 * COUNT(shapes); k++) {
        struct model *model = model_make(shapes[k / 2]);
        model->precision = k % 2 ? PRECISION_BF16 : PRECISION_FP32;
        run_all(model, 5, 1, 0, base);
        check_with_pass(model, base);
        for (size_t w = 0; w < COUNT(ways); w++) {
            run_all(model, ways[w].rows, ways[w].threads, w + 1, said);
            for (size_t i = 0; i < REQUESTS; i++) {
                if (memcmp(&said[i], &base[i], sizeof said[i]) != 0)
                    fail_msg("%s: request %zu differs with %zu rows and %zu threads",
                             shapes[k / 2]->model_type, i, ways[w].rows, ways[w].threads);
            }
        }
        model_free(model);
    }
}

/* Samples of two prompts, grouped as rewards are compared: `rows` at a time. */
enum { SAMPLES = 10, SHARED = 530, WHOLE = 32 }; /* WHOLE: two pieces of a cache */

static uint64_t say_samples(const struct model *model, size_t rows, struct said *said)
{
    struct err why = {0};
    struct generator *generator = generator_new(model, NULL, NULL, rows, T, &why);
    assert_non_null(generator);
    int32_t prompt[SHARED];
    for (uint32_t i = 0; i < SHARED; i++)
        prompt[i] = (int32_t)rng_below(5, RNG_STREAM_WORLD, 0, 0, i, V);
    for (uint32_t n = 0; n < SAMPLES; n++) {
        const struct generate_request request = {.tag = n,
                                                 .prompt = prompt,
                                                 .prompt_tokens = n % 5 == 4 ? WHOLE : SHARED,
                                                 .max_new_tokens = 4 + n,
                                                 .sampling = {1.0f, 0, 1.0f, 0.0f},
                                                 .seed = 3,
                                                 .stream = RNG_STREAM_ROLLOUT,
                                                 .a = n};
        check_ok(generator_add(generator, &request, &why));
    }
    while (generator_step(generator, keep, said) > 0)
        ;
    const uint64_t prefilled = generator_prefilled(generator);
    generator_free(generator);
    return prefilled;
}

static void samples_of_a_prompt_share_its_prefill_and_keep_their_bits(void **state)
{
    (void)state;
    for (size_t m = 0; m < 2 * COUNT(shapes); m++) {
        struct err why = {0};
        struct model_config config = *shapes[m / 2];
        config.eos = -1; /* none ends before another has copied from it */
        struct model *model = model_new(&config, &why);
        assert_non_null(model);
        model->precision = m % 2 ? PRECISION_BF16 : PRECISION_FP32;
        model_init_random(model, 11, 0.3f);
        static struct said alone[SAMPLES], together[SAMPLES];
        memset(alone, 0, sizeof alone);
        memset(together, 0, sizeof together);
        const uint64_t each = say_samples(model, 1, alone);
        assert_int_equal(each, 8 * SHARED + 2 * WHOLE);
        /* One prefill of each prompt; of the others only its last token is computed. */
        assert_int_equal(say_samples(model, SAMPLES, together), SHARED + 7 + WHOLE + 1);
        assert_memory_equal(together, alone, sizeof alone);
        memset(together, 0, sizeof together);
        assert_true(say_samples(model, 3, together) < each); /* rows taken over one by one */
        assert_memory_equal(together, alone, sizeof alone);
        model_free(model);
    }
}

/* Four rows share the positions of a prompt.  The first ends, and another prompt takes its row
 * while three go on; then one of these ends, whose row a third prompt takes. */
static void say_while_rows_change(const struct model *model, size_t rows, struct said *said)
{
    static const struct {
        uint32_t prompt, max_new_tokens;
    } ask[] = {{0, 2}, {0, 24}, {0, 8}, {0, 24}, {1, 24}, {2, 20}};
    struct err why = {0};
    struct generator *generator = generator_new(model, NULL, NULL, rows, T, &why);
    assert_non_null(generator);
    for (uint32_t n = 0; n < COUNT(ask); n++) {
        int32_t prompt[3 * WHOLE];
        for (uint32_t i = 0; i < COUNT(prompt); i++)
            prompt[i] = (int32_t)rng_below(5, RNG_STREAM_WORLD, ask[n].prompt, 0, i, V);
        const struct generate_request request = {.tag = n,
                                                 .prompt = prompt,
                                                 .prompt_tokens = COUNT(prompt),
                                                 .max_new_tokens = ask[n].max_new_tokens,
                                                 .sampling = {1.0f, 0, 1.0f, 0.0f},
                                                 .seed = 3,
                                                 .stream = RNG_STREAM_ROLLOUT,
                                                 .a = n};
        check_ok(generator_add(generator, &request, &why));
    }
    while (generator_step(generator, keep, said) > 0)
        ;
    generator_free(generator);
}

static void shared_positions_outlive_the_row_that_computed_them(void **state)
{
    (void)state;
    struct err why = {0};
    struct model_config config = llama;
    config.eos = -1;
    struct model *model = model_new(&config, &why);
    assert_non_null(model);
    model_init_random(model, 11, 0.3f);
    static struct said alone[6], together[6];
    say_while_rows_change(model, 1, alone);
    say_while_rows_change(model, 4, together);
    assert_memory_equal(together, alone, sizeof alone);
    model_free(model);
}

static void a_response_ends_at_eos_a_stop_id_or_its_greatest_length(void **state)
{
    (void)state;
    struct model *model = model_make(&llama);
    static struct said said[REQUESTS];
    run_all(model, 8, 1, 0, said);
    unsigned ends[3] = {0};
    for (uint32_t tag = 0; tag < REQUESTS; tag++) {
        int32_t prompt[PROMPT_MAX];
        const struct generate_request request = request_make(tag, prompt);
        for (uint32_t i = 0; i + 1 < said[tag].tokens; i++)
            assert_int_not_equal(said[tag].ids[i], EOS);
        const bool eos = said[tag].ids[said[tag].tokens - 1] == EOS;
        assert_int_equal(said[tag].finish, eos ? GENERATE_FINISH_EOS : GENERATE_FINISH_LENGTH);
        if (!eos)
            assert_int_equal(said[tag].tokens, request.max_new_tokens);
        ends[said[tag].finish]++;
    }
    assert_true(ends[GENERATE_FINISH_EOS] > 0 && ends[GENERATE_FINISH_LENGTH] > 0);

    /* The third token of a long response as a stop id: it ends there, that token included. */
    uint32_t tag = 0;
    while (said[tag].tokens < 8 || said[tag].ids[2] == said[tag].ids[0] ||
           said[tag].ids[2] == said[tag].ids[1])
        tag++;
    struct err why = {0};
    struct generator *generator = generator_new(model, NULL, NULL, 1, T, &why);
    assert_non_null(generator);
    int32_t prompt[PROMPT_MAX];
    struct generate_request request = request_make(tag, prompt);
    request.stop_ids = &said[tag].ids[2];
    request.stop_ids_n = 1;
    check_ok(generator_add(generator, &request, &err));
    static struct said stopped[REQUESTS];
    memset(stopped, 0, sizeof stopped);
    while (generator_step(generator, keep, stopped) > 0)
        ;
    assert_int_equal(stopped[tag].tokens, 3);
    assert_int_equal(stopped[tag].finish, GENERATE_FINISH_STOP);
    generator_free(generator);
    model_free(model);
}

static void requests_that_cannot_be_met_are_refused(void **state)
{
    (void)state;
    struct model *model = model_make(&llama);
    struct err why = {0};
    struct generator *generator = generator_new(model, NULL, NULL, 2, 100, &why);
    assert_non_null(generator);
    int32_t prompt[PROMPT_MAX];
    const struct generate_request good = request_make(3, prompt);
    struct generate_request bad = good;
    bad.prompt_tokens = 0;
    check_fails(generator_add(generator, &bad, &err), ERR_VALUE, "no tokens");
    bad = good;
    bad.max_new_tokens = 0;
    check_fails(generator_add(generator, &bad, &err), ERR_VALUE, "max_new_tokens is 0");
    bad.max_new_tokens = 100;
    check_fails(generator_add(generator, &bad, &err), ERR_VALUE, "exceed the 100 that fit");
    bad.max_new_tokens = UINT32_MAX;
    check_fails(generator_add(generator, &bad, &err), ERR_VALUE, "exceed the 100 that fit");
    bad = good;
    prompt[5] = V;
    check_fails(generator_add(generator, &bad, &err), ERR_VALUE, "prompt token 5 is 61");
    prompt[5] = -1;
    check_fails(generator_add(generator, &bad, &err), ERR_VALUE, "prompt token 5 is -1");
    prompt[5] = 0;
    bad.sampling.top_p = 0.0f;
    check_fails(generator_add(generator, &bad, &err), ERR_VALUE, "top_p");
    bad = good;
    static const char *const stop[] = {"x"};
    bad.stop_strings = stop;
    bad.stop_strings_n = 1;
    check_fails(generator_add(generator, &bad, &err), ERR_VALUE, "need a tokenizer");
    assert_int_equal(generator_step(generator, keep, NULL), 0);

    check_ok(generator_add(generator, &good, &err));
    assert_int_equal(generator_step(generator, keep, NULL), 1);
    generator_cancel(generator);
    assert_int_equal(generator_step(generator, keep, NULL), 0);
    generator_free(generator);
    model_free(model);
}

static void new_weights_give_what_a_new_generator_would(void **state)
{
    (void)state;
    struct model *model = model_make(&llama);
    struct err why = {0};
    int32_t prompt[PROMPT_MAX];
    const struct generate_request request = request_make(3, prompt);
    static struct said said[3][REQUESTS];
    memset(said, 0, sizeof said);
    struct generator *generator = generator_new(model, NULL, NULL, 2, T, &why);
    for (size_t k = 0; k < 3; k++) { /* old weights; new weights; and a new generator */
        if (k == 1) {
            model_init_random(model, 4, 0.2f);
            generator_weights_changed(generator);
        } else if (k == 2) {
            generator_free(generator);
            generator = generator_new(model, NULL, NULL, 2, T, &why);
        }
        assert_non_null(generator);
        check_ok(generator_add(generator, &request, &err));
        while (generator_step(generator, keep, said[k]) > 0)
            ;
    }
    assert_memory_equal(&said[1][3], &said[2][3], sizeof said[1][3]);
    assert_memory_not_equal(&said[0][3], &said[1][3], sizeof said[0][3]);
    generator_free(generator);
    model_free(model);
}

struct text_end {
    const struct tokenizer *tokenizer;
    char text[8192], before[8192]; /* whole, and without the last token */
    enum generate_finish finish;
};

static void keep_text(void *arg, const struct generate_result *result)
{
    struct text_end *end = arg;
    for (uint32_t less = 0; less < 2; less++) {
        struct buf out;
        buf_init(&out, sizeof end->text - 1);
        check_ok(tokenizer_decode(end->tokenizer, result->ids, result->tokens - less, false,
                                  &out, &err));
        memcpy(less ? end->before : end->text, out.data, out.len + 1);
        buf_release(&out);
    }
    end->finish = result->finish;
}

/* What a model of random weights says with this seed, ended by `stop` (NULL: by its length). */
static void say(struct generator *generator, uint32_t seed, const char *stop,
                struct text_end *end)
{
    static const int32_t prompt[] = {1};
    const struct generate_request request = {.prompt = prompt,
                                             .prompt_tokens = 1,
                                             .max_new_tokens = 40,
                                             .sampling = {.temperature = 1.0f, .top_p = 1.0f},
                                             .seed = seed,
                                             .stream = RNG_STREAM_CLI,
                                             .stop_strings = &stop,
                                             .stop_strings_n = stop ? 1 : 0};
    check_ok(generator_add(generator, &request, &err));
    while (generator_step(generator, keep_text, end) > 0)
        ;
}

static void a_response_ends_with_the_token_that_completes_a_stop_string(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_generate.XXXXXX";
    assert_non_null(mkdtemp(dir));
    check_ok(world_write(dir, 1, 1, &err));
    struct err why = {0};
    struct tokenizer *tokenizer = tokenizer_load(dir, &why);
    if (!tokenizer)
        fail_msg("%s", why.text);
    struct model_config config = llama;
    config.V = WORLD_VOCABULARY;
    config.eos = -1;
    struct model *model = model_make(&config);
    struct generator *generator = generator_new(model, NULL, tokenizer, 2, T, &why);
    assert_non_null(generator);

    /* Six letters in a row of what it says unhindered: several tokens, as a rule. */
    static struct text_end free_end, end;
    unsigned checked = 0;
    for (uint32_t seed = 0; seed < 40; seed++) {
        free_end = end = (struct text_end){.tokenizer = tokenizer};
        say(generator, seed, NULL, &free_end);
        assert_int_equal(free_end.finish, GENERATE_FINISH_LENGTH);
        const char *at = free_end.text + strlen(free_end.text) / 4;
        at += strcspn(at, " ");
        char stop[7] = "";
        strncpy(stop, at, 6);
        if (strspn(stop, " abcdefghijklmnopqrstuvwxyz") < 6)
            continue;
        say(generator, seed, stop, &end);
        assert_int_equal(end.finish, GENERATE_FINISH_STOP);
        assert_non_null(strstr(end.text, stop));
        assert_null(strstr(end.before, stop));
        checked++;
    }
    assert_true(checked > 3);
    generator_free(generator);
    model_free(model);
    tokenizer_free(tokenizer);
    check_ok(file_remove_tree(dir, &err));
}

static void greedy_text_of_a_real_model_is_the_documented_one(void **state)
{
    (void)state;
    static const char dir[] = TEST_SOURCE_DIR "/../shared/models/stories260K";
    if (!file_exists(dir))
        skip();
    struct buf want;
    buf_init(&want, 1 << 16);
    check_ok(
        file_read(TEST_SOURCE_DIR "/../shared/models/stories260K/greedy.txt", &want, &err));
    struct err why = {0};
    struct model *model = model_load(dir, &why);
    struct tokenizer *tokenizer = model ? tokenizer_load(dir, &why) : NULL;
    if (!tokenizer)
        fail_msg("%s", why.text);
    struct tokens ids = {0};
    check_ok(tokenizer_encode(tokenizer, "Once upon a time", 16, true, &ids, &err));
    struct generator *generator = generator_new(model, NULL, tokenizer, 1, 512, &why);
    assert_non_null(generator);
    const struct generate_request request = {.prompt = ids.ids,
                                             .prompt_tokens = (uint32_t)ids.n,
                                             .max_new_tokens = 256,
                                             .sampling = {.temperature = 0.0f, .top_p = 1.0f},
                                             .stream = RNG_STREAM_CLI};
    check_ok(generator_add(generator, &request, &err));
    static struct text_end end;
    end = (struct text_end){.tokenizer = tokenizer};
    while (generator_step(generator, keep_text, &end) > 0)
        ;
    while (want.len > 0 && want.data[want.len - 1] == '\n')
        want.data[--want.len] = '\0';
    const char *continued = want.data + strlen("Once upon a time");
    if (strncmp(end.text, continued, strlen(continued)) != 0)
        fail_msg("it said \"%s\", not \"%s\"", end.text, continued);
    generator_free(generator);
    tokens_release(&ids);
    tokenizer_free(tokenizer);
    model_free(model);
    buf_release(&want);
}

int main(void)
{
    pool_thread_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logprobs_are_those_of_the_training_pass_in_any_batch),
        cmocka_unit_test(samples_of_a_prompt_share_its_prefill_and_keep_their_bits),
        cmocka_unit_test(shared_positions_outlive_the_row_that_computed_them),
        cmocka_unit_test(a_response_ends_at_eos_a_stop_id_or_its_greatest_length),
        cmocka_unit_test(requests_that_cannot_be_met_are_refused),
        cmocka_unit_test(new_weights_give_what_a_new_generator_would),
        cmocka_unit_test(a_response_ends_with_the_token_that_completes_a_stop_string),
        cmocka_unit_test(greedy_text_of_a_real_model_is_the_documented_one),
    };
    return cmocka_run_group_tests_name("engine/generate", tests, NULL, NULL);
}
