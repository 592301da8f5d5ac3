/* wrap: frozen_logprobs */
/*
 * test_reward_lease.c -- a score lease: reference log-probs, scores, and items at fault.
 *
 * Oracles: for log-probs the generator, which made the rollouts token by token with the same
 * weights, bit for bit; for the score head a pass over one sequence alone; for rules their
 * definitions.  The models are tiny, random, and written to disk, so that what is loaded is
 * what a run would load.  The linker sends frozen_logprobs here, so that one can be spoilt.
 */
#include <sqlite3.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/generate.h"
#include "engine/pass.h"
#include "node/weights.h"
#include "reward/frozen.h"
#include "reward/reward.h"
#include "tests/shape.h"
#include "tests/test.h"

#define ITEMS      7u
#define NEW_TOKENS 12u
#define PROMPT_MAX 9u
#define SEED       11u

static struct {
    char dir[32];
    struct run_config config;
    struct pool *pool;
    struct model *policy;
    uint32_t V;

    int32_t prompt[ITEMS][PROMPT_MAX];
    struct wire_item items[ITEMS];
    int32_t ids[ITEMS * (PROMPT_MAX + NEW_TOKENS)];
    float logp[ITEMS * NEW_TOKENS]; /* of rollouts, as the generator recorded them */
    size_t ids_n, logp_n;
    uint32_t poison; /* this item's last reference log-prob becomes NaN; 0: none */
} w;

void __real_frozen_logprobs(struct frozen *frozen, const struct scorer_sample *const *samples,
                            size_t n, float temperature, const struct scorer_watch *watch,
                            float *logp);
void __wrap_frozen_logprobs(struct frozen *frozen, const struct scorer_sample *const *samples,
                            size_t n, float temperature, const struct scorer_watch *watch,
                            float *logp);

void __wrap_frozen_logprobs(struct frozen *frozen, const struct scorer_sample *const *samples,
                            size_t n, float temperature, const struct scorer_watch *watch,
                            float *logp)
{
    char name[SCORER_NAME_MAX];
    snprintf(name, sizeof name, "slot %u of step 7", w.poison);
    __real_frozen_logprobs(frozen, samples, n, temperature, watch, logp);
    for (size_t i = 0; i < n; i++) {
        logp += samples[i]->response_tokens;
        if (w.poison && strcmp(samples[i]->name, name) == 0)
            logp[-1] = NAN;
    }
}

static void path_of(char path[FILE_PATH_MAX], const char *name)
{
    check_ok(file_join(path, w.dir, name, &err));
}

static struct model_config config_of(enum model_head head, uint32_t V, uint32_t T)
{
    return (struct model_config){SHAPE_LLAMA, .head = head, .labels = head == MODEL_HEAD_SCORE,
                                 .V = V,      .C = 32,      .L = 2,
                                 .H = 4,      .G = 2,       .D = 8,
                                 .F = 64,     .T = T,       .eos = 0};
}

static struct model *make_model(const char *name, const struct model_config *config,
                                uint64_t seed)
{
    char path[FILE_PATH_MAX];
    path_of(path, name);
    struct err why = {0};
    struct model *model = model_new(config, &why);
    if (!model)
        fail_msg("%s", why.text);
    model_init_random(model, seed, 0.3f);
    check_ok(file_make_dir(path, &err));
    check_ok(model_save(model, path, &err));
    return model;
}

static void make_and_forget(const char *name, enum model_head head, uint32_t V, uint32_t T)
{
    const struct model_config config = config_of(head, V, T);
    model_free(make_model(name, &config, 5));
}

static void make_data(void)
{
    static const char data[] = "{\"prompt\": \"a\", \"label\": \"x\"}\n{\"prompt\": \"b\"}\n";
    char path[FILE_PATH_MAX];
    path_of(path, "prompts.jsonl");
    check_ok(file_write(path, data, sizeof data - 1, &err));

    struct buf text;
    buf_init(&text, 1 << 20);
    check_ok(
        file_read(TEST_SOURCE_DIR "/tests/golden/tokenizer/gpt2/tokenizer.json", &text, &err));
    path_of(path, "policy/tokenizer.json");
    check_ok(file_write(path, text.data, text.len, &err));
    buf_release(&text);
}

static void make_config(void)
{
    struct run_config *c = &w.config;
    path_of(c->policy, "policy");
    path_of(c->reference, "policy");
    path_of(c->prompts, "prompts.jsonl");
    c->prompt_tokens_max = PROMPT_MAX;
    c->max_new_tokens = NEW_TOKENS;
    c->temperature = 0.7f;
    c->reward_threads = 2;
    c->scorers = 3;
    c->scorer[0] = (struct run_scorer){
        .name = "length", .kind = RUN_SCORER_LENGTH, .max_tokens = NEW_TOKENS};
    c->scorer[1] = (struct run_scorer){.name = "judge", .kind = RUN_SCORER_MODEL};
    path_of(c->scorer[1].path, "judge");
    c->scorer[2] = (struct run_scorer){.name = "match", .kind = RUN_SCORER_MATCH};
}

static void on_result(void *arg, const struct generate_result *result)
{
    (void)arg;
    const size_t i = result->tag;
    w.items[i].response_tokens = result->tokens;
    w.items[i].finish =
        result->finish == GENERATE_FINISH_EOS ? WIRE_FINISH_EOS : WIRE_FINISH_LENGTH;
    memcpy(w.ids + i * NEW_TOKENS, result->ids, result->tokens * sizeof *w.ids);
    memcpy(w.logp + i * NEW_TOKENS, result->logp, result->tokens * sizeof *w.logp);
}

/* From places of their own to one after the other, as a lease has them. */
static void pack_rollouts(void)
{
    int32_t ids[ITEMS * NEW_TOKENS];
    float logp[ITEMS * NEW_TOKENS];
    memcpy(ids, w.ids, sizeof ids);
    memcpy(logp, w.logp, sizeof logp);
    for (size_t i = 0; i < ITEMS; i++) {
        const struct wire_item *item = &w.items[i];
        memcpy(w.ids + w.ids_n, w.prompt[i], item->prompt_tokens * sizeof *w.ids);
        memcpy(w.ids + w.ids_n + item->prompt_tokens, ids + i * NEW_TOKENS,
               item->response_tokens * sizeof *w.ids);
        w.ids_n += item->prompt_tokens + item->response_tokens;
        if (item->kind != WIRE_WORK_ROLLOUT)
            continue;
        memcpy(w.logp + w.logp_n, logp + i * NEW_TOKENS, item->response_tokens * sizeof *logp);
        w.logp_n += item->response_tokens;
    }
}

static void make_rollouts(void)
{
    struct err why = {0};
    struct generator *generator =
        generator_new(w.policy, w.pool, NULL, 3, PROMPT_MAX + NEW_TOKENS, &why);
    if (!generator)
        fail_msg("%s", why.text);
    for (uint32_t i = 0; i < ITEMS; i++) {
        const uint32_t tokens = 1 + i % PROMPT_MAX;
        for (uint32_t t = 0; t < tokens; t++)
            w.prompt[i][t] = (int32_t)(1 + (31 * i + 7 * t) % (w.V - 1));
        w.items[i] = (struct wire_item){
            .kind = i % 3 == 1 ? WIRE_WORK_REFERENCE : WIRE_WORK_ROLLOUT,
            .a = 7,
            .b = i,
            .prompt = i % 2,
            .prompt_tokens = tokens,
        };
        const struct generate_request request = {
            .tag = i,
            .prompt = w.prompt[i],
            .prompt_tokens = tokens,
            .max_new_tokens = 1 + (5 * i) % NEW_TOKENS,
            .sampling = {w.config.temperature, 0, 1.0f, 0.0f},
            .seed = SEED,
            .stream = RNG_STREAM_ROLLOUT,
            .a = 7,
            .b = i,
        };
        check_ok(generator_add(generator, &request, &err));
    }
    while (generator_step(generator, on_result, NULL) > 0)
        continue;
    generator_free(generator);
    pack_rollouts();
}

static int setup(void **state)
{
    (void)state;
    strcpy(w.dir, "/tmp/lease-XXXXXX");
    if (!mkdtemp(w.dir))
        return -1;
    pool_thread_init();
    struct err why = {0};
    w.pool = pool_new(1, &why);
    struct tokenizer *tokenizer =
        tokenizer_load(TEST_SOURCE_DIR "/tests/golden/tokenizer/gpt2", &why);
    if (!w.pool || !tokenizer)
        fail_msg("%s", why.text);
    w.V = tokenizer_vocabulary(tokenizer);
    tokenizer_free(tokenizer);
    const struct model_config policy = config_of(MODEL_HEAD_LM, w.V, 64);
    w.policy = make_model("policy", &policy, 3);
    make_and_forget("judge", MODEL_HEAD_SCORE, w.V, 64);
    make_and_forget("other", MODEL_HEAD_SCORE, w.V + 1, 64);
    make_and_forget("short", MODEL_HEAD_LM, w.V, 16);
    make_and_forget("short-judge", MODEL_HEAD_SCORE, w.V, 8);
    make_data();
    make_config();
    make_rollouts();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    model_free(w.policy);
    pool_free(w.pool);
    return file_remove_tree(w.dir, NULL) ? -1 : 0;
}

static struct message lease_of(struct wire_item *items, int32_t *ids)
{
    memcpy(items, w.items, sizeof w.items);
    memcpy(ids, w.ids, sizeof w.ids);
    return (struct message){
        .type = MESSAGE_SCORE_LEASE,
        .lease = 42,
        .items = items,
        .items_n = ITEMS,
        .frames_n = 1,
        .frame = {{ids, w.ids_n * sizeof *ids}},
    };
}

/* Score, and let wire/ check that what came out is a message. */
static void score(struct reward *reward, const struct message *lease, struct message *result)
{
    const struct scorer_watch watch = {0};
    unsigned char *head = NULL;
    size_t head_size = 0;
    check_ok(reward_score(reward, lease, &watch, result, &err));
    check_ok(message_encode(result, &head, &head_size, &err));
    free(head);
    assert_int_equal(result->type, MESSAGE_SCORE_RESULT);
    assert_int_equal(result->lease, 42);
    assert_int_equal(result->items_n, ITEMS);
    assert_int_equal(result->scorers, w.config.scorers);
    assert_int_equal(result->frame[0].size, ITEMS * w.config.scorers * sizeof(double));
    assert_int_equal(result->frame[1].size, ITEMS * w.config.scorers);
    assert_int_equal(result->frame[2].size, w.logp_n * sizeof(float));
}

static struct reward *reward_of(const struct run_config *config)
{
    struct reward *reward = NULL;
    check_ok(reward_new(&reward, config, NULL, &err));
    return reward;
}

static void reference_logprobs_are_those_the_generator_recorded(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    struct message result;
    struct reward *reward = reward_of(&w.config);
    for (int twice = 0; twice < 2; twice++) {
        score(reward, &lease, &result);
        assert_true(w.logp_n > 20);
        assert_memory_equal(result.frame[2].data, w.logp, w.logp_n * sizeof *w.logp);
    }
    reward_free(reward);
}

/* --- a reference that is a version of the policy ------------------------------------------- */

/* A server of version 5, other weights, and 6, those that the rollouts are from. */
static struct weights_server *serve_versions(struct wire_context *context, const char *endpoint)
{
    struct weights_server *server = NULL;
    const size_t bytes = model_bytes(w.policy);
    float *other = malloc(bytes);
    assert_non_null(other);
    for (size_t i = 0; i < w.policy->params; i++)
        other[i] = w.policy->w[i] * 1.0625f;
    check_ok(weights_server_open(&server, context, endpoint, 4, &err));
    check_ok(weights_server_publish(server, 5, other, bytes, NULL, &err));
    check_ok(weights_server_publish(server, 6, w.policy->w, bytes, NULL, &err));
    free(other);
    return server;
}

/* Are the log-probs measured from this version those that the generator recorded? */
static bool measures_as_recorded(struct reward *reward, struct message lease, uint64_t version)
{
    struct message result;
    lease.version = version;
    score(reward, &lease, &result);
    assert_int_equal(result.version, version);
    return memcmp(result.frame[2].data, w.logp, w.logp_n * sizeof *w.logp) == 0;
}

static void a_lease_names_the_version_to_measure_from(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    struct message lease = lease_of(items, ids), result;
    struct wire_context *context = NULL;
    struct reward *reward = NULL;
    check_ok(wire_context_new(&context, &err));
    snprintf(lease.text, sizeof lease.text, "ipc://%s/bulk", w.dir);
    struct weights_server *server = serve_versions(context, lease.text);
    struct run_config config = w.config;
    config.dead_ms = 60000;
    check_ok(reward_new(&reward, &config, context, &err));
    assert_true(measures_as_recorded(reward, lease, 0));
    assert_false(measures_as_recorded(reward, lease, 5));
    assert_true(measures_as_recorded(reward, lease, 6));
    weights_server_close(server); /* both are kept, beside the first */
    assert_false(measures_as_recorded(reward, lease, 5));
    assert_true(measures_as_recorded(reward, lease, 6));
    assert_true(measures_as_recorded(reward, lease, 0));
    lease.version = 7;
    config.dead_ms = 300; /* there is nobody to wait for */
    const struct scorer_watch watch = {0};
    check_fails(reward_score(reward, &lease, &watch, &result, &err), ERR_UNAVAILABLE,
                "version 7");
    assert_true(measures_as_recorded(reward, lease, 6)); /* 5 had to make room */
    reward_free(reward);
    wire_context_free(context);
}

static void scores_stand_in_the_order_of_the_config(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    struct message result;
    struct reward *reward = reward_of(&w.config);
    score(reward, &lease, &result);

    struct err why = {0};
    struct model *judge = model_load(w.config.scorer[1].path, &why);
    struct pass *pass = judge ? pass_new(judge, w.pool, 64, false, &why) : NULL;
    if (!pass)
        fail_msg("%s", why.text);
    const double *values = result.frame[0].data;
    const unsigned char *states = result.frame[1].data;
    const int32_t *at = ids;
    for (uint32_t i = 0; i < ITEMS; i++) {
        const uint32_t tokens = items[i].prompt_tokens + items[i].response_tokens;
        const uint32_t offset[2] = {0, tokens}, last = tokens - 1;
        const struct pass_batch batch = {1, offset, at};
        float want = 0.0f;
        check_ok(pass_forward(pass, &batch, &err));
        pass_scores(pass, 1, &last, &want);
        assert_true(want != 0.0f);
        assert_int_equal(states[3 * i], WIRE_SCORE_OK);
        assert_true(values[3 * i] == 1.0);
        assert_int_equal(states[3 * i + 1], WIRE_SCORE_OK);
        if (values[3 * i + 1] != (double)want)
            fail_msg("item %u: %.9g, want %.9g", i, values[3 * i + 1], (double)want);
        /* Prompt 0 has the label "x", prompt 1 has none. */
        assert_int_equal(states[3 * i + 2],
                         items[i].prompt == 0 ? WIRE_SCORE_OK : WIRE_SCORE_FAILED);
        at += tokens;
    }
    assert_non_null(strstr(result.text, "match: "));
    assert_non_null(strstr(result.text, "reference 1 of prompt 7: its prompt has no label"));
    pass_free(pass);
    model_free(judge);
    reward_free(reward);
}

static void an_item_at_fault_fails_alone(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    struct message result, clean;
    struct reward *reward = reward_of(&w.config);
    score(reward, &lease, &clean);
    double want[ITEMS * 3];
    memcpy(want, clean.frame[0].data, sizeof want);

    items[0].prompt = 2; /* there are two */
    ids[w.items[0].prompt_tokens + w.items[0].response_tokens] = (int32_t)w.V; /* of item 1 */
    score(reward, &lease, &result);
    const unsigned char *states = result.frame[1].data;
    const float *logp = result.frame[2].data;
    for (size_t s = 0; s < 6; s++)
        assert_int_equal(states[s], WIRE_SCORE_FAILED);
    for (size_t t = 0; t < w.items[0].response_tokens; t++)
        assert_true(logp[t] == 0.0f);
    const size_t rest = w.items[0].response_tokens; /* item 1 has none, it is a reference */
    assert_memory_equal(logp + rest, w.logp + rest, (w.logp_n - rest) * sizeof *logp);
    assert_memory_equal((const double *)result.frame[0].data + 6, want + 6,
                        sizeof want - 6 * sizeof *want);
    assert_string_equal(result.text, "slot 0 of step 7: prompt 2 of a data set of 2");
    reward_free(reward);
}

static void an_item_without_a_finite_reference_logprob_fails_alone(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    struct message result;
    struct reward *reward = reward_of(&w.config);
    score(reward, &lease, &result);
    double want[ITEMS * 3];
    memcpy(want, result.frame[0].data, sizeof want);
    w.poison = 3;
    score(reward, &lease, &result);
    w.poison = 0;
    memset(want + 3 * 3, 0, 3 * sizeof *want);
    assert_memory_equal(result.frame[0].data, want, sizeof want);
    assert_string_equal(result.text, "slot 3 of step 7: a reference log-prob is not finite");
    const unsigned char *states = result.frame[1].data;
    for (uint32_t i = 0; i < ITEMS; i++) /* the length scorer */
        assert_int_equal(states[3 * i], i == 3 ? WIRE_SCORE_FAILED : WIRE_SCORE_OK);
    size_t at = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        const float *got = (const float *)result.frame[2].data + at;
        const size_t n = items[i].kind == WIRE_WORK_ROLLOUT ? items[i].response_tokens : 0;
        for (size_t t = 0; t < n; t++)
            assert_true(got[t] == (i == 3 ? 0.0f : w.logp[at + t]));
        at += n;
    }
    reward_free(reward);
}

static void a_sample_too_long_for_a_reward_model_fails_there_only(void **state)
{
    (void)state;
    struct run_config config = w.config;
    path_of(config.scorer[1].path, "short-judge");
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    struct message result;
    struct reward *reward = reward_of(&config);
    score(reward, &lease, &result);
    const unsigned char *states = result.frame[1].data;
    size_t failed = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        const bool fits = items[i].prompt_tokens + items[i].response_tokens <= 8;
        failed += !fits;
        assert_int_equal(states[3 * i], WIRE_SCORE_OK);
        assert_int_equal(states[3 * i + 1], fits ? WIRE_SCORE_OK : WIRE_SCORE_FAILED);
    }
    assert_in_range(failed, 1, ITEMS - 1);
    reward_free(reward);
}

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

static void a_lease_is_given_up_when_stopping(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    const struct scorer_watch watch = {.stopping = always};
    struct message result;
    struct reward *reward = reward_of(&w.config);
    check_fails(reward_score(reward, &lease, &watch, &result, &err), ERR_STATE, "stop");
    reward_free(reward);
}

static void what_does_not_fit_the_policy_is_refused_at_the_start(void **state)
{
    (void)state;
    struct reward *reward = NULL;
    struct run_config config = w.config;
    path_of(config.scorer[1].path, "other");
    check_fails(reward_new(&reward, &config, NULL, &err), ERR_USAGE,
                "/other: its vocabulary has");
    path_of(config.scorer[1].path, "policy");
    check_fails(reward_new(&reward, &config, NULL, &err), ERR_USAGE,
                "/policy: it is a language model, a sequence classification model is wanted");
    config = w.config;
    path_of(config.reference, "judge");
    check_fails(reward_new(&reward, &config, NULL, &err), ERR_USAGE,
                "/judge: it is a sequence classification model");
    path_of(config.reference, "short");
    check_fails(reward_new(&reward, &config, NULL, &err), ERR_USAGE,
                "/short: the reference takes 16 tokens, prompts and responses may have 21");
    make_and_forget("stranger", MODEL_HEAD_LM, w.V, 64);
    char path[FILE_PATH_MAX];
    path_of(path, "stranger/tokenizer.json");
    static const char strange[] =
        "{\"version\": \"1.0\", \"added_tokens\": [], \"model\": {\"type\": \"BPE\", "
        "\"merges\": [], \"vocab\": {\"zz\": 0}}}";
    check_ok(file_write(path, strange, sizeof strange - 1, &err));
    path_of(config.reference, "stranger");
    check_fails(reward_new(&reward, &config, NULL, &err), ERR_USAGE,
                "/stranger: token 0 is \"zz\" to it and \"");
    config = w.config;
    path_of(config.prompts, "nothing.jsonl");
    check_fails(reward_new(&reward, &config, NULL, &err), ERR_IO, "nothing.jsonl");
    config = w.config;
    path_of(config.reference_store, "nowhere/references.sqlite");
    check_fails(reward_new(&reward, &config, NULL, &err), ERR_IO, "reward.reference_store: ");
}

/* The oracle: the same scorers, all of the role reward. */
static void costs_and_monitors_are_asked_about_rollouts_alone(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    struct message result;
    double want[ITEMS * 3];
    unsigned char want_state[ITEMS * 3];
    struct reward *reward = reward_of(&w.config);
    score(reward, &lease, &result);
    memcpy(want, result.frame[0].data, sizeof want);
    memcpy(want_state, result.frame[1].data, sizeof want_state);
    reward_free(reward);

    struct run_config config = w.config;
    config.scorer[0].role = RUN_ROLE_MONITOR;
    config.scorer[1].role = RUN_ROLE_COST;
    reward = reward_of(&config);
    score(reward, &lease, &result);
    const double *scores = result.frame[0].data;
    const unsigned char *states = result.frame[1].data;
    for (size_t i = 0; i < ITEMS; i++)
        for (size_t s = 0; s < 3; s++) {
            const bool asked = s == 2 || items[i].kind == WIRE_WORK_ROLLOUT;
            assert_int_equal(states[3 * i + s],
                             asked ? want_state[3 * i + s] : WIRE_SCORE_FAILED);
            assert_true(!asked || scores[3 * i + s] == want[3 * i + s]);
        }
    assert_memory_equal(result.frame[2].data, w.logp, w.logp_n * sizeof *w.logp);
    reward_free(reward);
}

/* Prompt 0 is of the kind of "length", prompt 1 of none; nobody answers for the service, which
 * would be named where it was asked. */
static void a_scorer_is_asked_about_prompts_of_its_kind_alone(void **state)
{
    (void)state;
    static const char data[] =
        "{\"prompt\": \"a\", \"kind\": \"short\"}\n{\"prompt\": \"b\"}\n";
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    struct message result;
    struct run_config config = w.config;
    path_of(config.prompts, "kinds.jsonl");
    check_ok(file_write(config.prompts, data, sizeof data - 1, &err));
    snprintf(config.scorer[0].prompt_kind, RUN_NAME_MAX, "short");
    config.scorer[2] = (struct run_scorer){.name = "judge",
                                           .kind = RUN_SCORER_HTTP,
                                           .url = "http://127.0.0.1:1/",
                                           .timeout_ms = 200,
                                           .batch = ITEMS,
                                           .prompt_kind = "long"};
    struct reward *reward = reward_of(&w.config);
    double want[ITEMS * 3];
    score(reward, &lease, &result);
    memcpy(want, result.frame[0].data, sizeof want);
    reward_free(reward);
    reward = reward_of(&config);
    score(reward, &lease, &result);
    const double *scores = result.frame[0].data;
    const unsigned char *states = result.frame[1].data;
    for (uint32_t i = 0; i < ITEMS; i++) {
        const bool asked = items[i].prompt == 0;
        assert_int_equal(states[3 * i], asked ? WIRE_SCORE_OK : WIRE_SCORE_FAILED);
        assert_true(!asked || scores[3 * i] == want[3 * i]);
        assert_int_equal(states[3 * i + 1], WIRE_SCORE_OK);
        assert_true(scores[3 * i + 1] == want[3 * i + 1]);
        assert_int_equal(states[3 * i + 2], WIRE_SCORE_FAILED);
    }
    assert_string_equal(result.text, ""); /* nothing failed that was asked */
    reward_free(reward);
}

/* Nobody answers for either: the cost, which drops items, is to be named. */
static void what_fails_a_lease_is_named_before_a_monitor(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    struct message result;
    struct run_config config = w.config;
    config.scorers = 3;
    for (int s = 0; s < 3; s++)
        config.scorer[s] = (struct run_scorer){.kind = RUN_SCORER_HTTP, .timeout_ms = 200};
    static const char *const names[] = {"watch", "harm", "good"};
    for (int s = 0; s < 3; s++) {
        snprintf(config.scorer[s].name, sizeof config.scorer[s].name, "%s", names[s]);
        snprintf(config.scorer[s].url, sizeof config.scorer[s].url, "http://127.0.0.1:1/");
        config.scorer[s].batch = ITEMS;
    }
    config.scorer[0].role = RUN_ROLE_MONITOR;
    config.scorer[1].role = RUN_ROLE_COST;
    config.scorer[2] = w.config.scorer[0];
    struct reward *reward = reward_of(&config);
    score(reward, &lease, &result);
    if (strncmp(result.text, "harm: ", 6) != 0)
        fail_msg("the result says \"%s\"", result.text);
    reward_free(reward);
}

/* Nobody answers for the scorer at place 2. */
static struct run_config config_without_service(enum run_role role, uint32_t service_ms)
{
    struct run_config config = w.config;
    config.scorer[2] = (struct run_scorer){.name = "judge",
                                           .kind = RUN_SCORER_HTTP,
                                           .role = role,
                                           .url = "http://127.0.0.1:1/",
                                           .timeout_ms = 100,
                                           .batch = 2};
    config.service_ms = service_ms;
    return config;
}

static void a_lease_waits_for_a_service_that_is_away(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    const struct scorer_watch watch = {0};
    const enum run_role roles[] = {RUN_ROLE_REWARD, RUN_ROLE_COST};
    struct message result;
    struct err err;
    for (size_t i = 0; i < COUNT(roles); i++) {
        const struct run_config config = config_without_service(roles[i], 3600000);
        struct reward *reward = reward_of(&config);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(reward_score(reward, &lease, &watch, &result, &err),
                             ERR_UNAVAILABLE);
            assert_non_null(strstr(err.text, "judge: http://127.0.0.1:1/: "));
        }
        reward_free(reward);
    }
}

static void a_service_is_not_waited_for_longer_than_that(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    const struct scorer_watch watch = {0};
    const struct run_config config = config_without_service(RUN_ROLE_COST, 1);
    struct reward *reward = reward_of(&config);
    struct message result;
    struct err err;
    assert_int_equal(reward_score(reward, &lease, &watch, &result, &err), ERR_UNAVAILABLE);
    nanosleep(&(struct timespec){0, 2000000}, NULL);
    score(reward, &lease, &result);
    assert_int_equal(strncmp(result.text, "judge: ", 7), 0);
    const unsigned char *states = result.frame[1].data;
    for (uint32_t i = 0; i < ITEMS; i++)
        assert_int_not_equal(states[3 * i + 2], WIRE_SCORE_OK);
    reward_free(reward);
}

static void nobody_waits_for_a_monitor(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    const struct run_config config = config_without_service(RUN_ROLE_MONITOR, 3600000);
    struct reward *reward = reward_of(&config);
    struct message result;
    score(reward, &lease, &result);
    assert_int_equal(strncmp(result.text, "judge: ", 7), 0);
    reward_free(reward);
}

/* The store is told other scores than the scorers would give: they must come out, for the
 * references of prompt 0 alone; those of prompt 1 have no label, so not all their scores. */
static void references_that_are_in_the_store_are_not_scored(void **state)
{
    (void)state;
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    struct message result;
    double want[ITEMS * 3], other[ITEMS * 3];
    unsigned char want_state[ITEMS * 3];
    struct run_config config = w.config;
    struct reward *reward = reward_of(&config);
    score(reward, &lease, &result);
    memcpy(want, result.frame[0].data, sizeof want);
    memcpy(want_state, result.frame[1].data, sizeof want_state);
    reward_free(reward);

    path_of(config.reference_store, "references.sqlite");
    for (int twice = 0; twice < 2; twice++) { /* filling it, then out of it */
        reward = reward_of(&config);
        score(reward, &lease, &result);
        assert_memory_equal(result.frame[0].data, want, sizeof want);
        assert_memory_equal(result.frame[1].data, want_state, sizeof want_state);
        assert_memory_equal(result.frame[2].data, w.logp, w.logp_n * sizeof *w.logp);
        reward_free(reward);
    }

    sqlite3 *db = NULL;
    char sql[256];
    const double marked[3] = {0.25, -8.5, 0.75};
    assert_int_equal(sqlite3_open(config.reference_store, &db), SQLITE_OK);
    snprintf(sql, sizeof sql, "UPDATE memo SET check_xxh3=%lld, value=?1",
             (long long)hash_xxh3(marked, sizeof marked));
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    sqlite3_bind_blob(stmt, 1, marked, sizeof marked, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
    size_t labelled = 0;
    for (uint32_t i = 0; i < ITEMS; i++)
        labelled += items[i].kind == WIRE_WORK_REFERENCE && items[i].prompt == 0;
    assert_in_range(labelled, 1, ITEMS - 1);
    assert_int_equal(sqlite3_changes(db), labelled);
    sqlite3_finalize(stmt);
    sqlite3_close(db);

    reward = reward_of(&config);
    score(reward, &lease, &result);
    memcpy(other, result.frame[0].data, sizeof other);
    for (uint32_t i = 0; i < ITEMS; i++) {
        const bool kept = items[i].kind == WIRE_WORK_REFERENCE && items[i].prompt == 0;
        assert_memory_equal(other + 3 * i, kept ? marked : want + 3 * i, sizeof marked);
    }
    assert_memory_equal(result.frame[1].data, want_state, sizeof want_state);
    assert_memory_equal(result.frame[2].data, w.logp, w.logp_n * sizeof *w.logp);
    reward_free(reward);
}

/* Prompt 0 is of the kind of "length", prompt 1 of none: the references of both are kept, each
 * with the scores that count. */
static void references_are_kept_with_the_scores_of_their_kind(void **state)
{
    (void)state;
    static const char data[] =
        "{\"prompt\": \"a\", \"kind\": \"short\"}\n{\"prompt\": \"b\"}\n";
    struct wire_item items[ITEMS];
    int32_t ids[COUNT(w.ids)];
    const struct message lease = lease_of(items, ids);
    struct message result;
    double want[ITEMS * 2];
    unsigned char want_state[ITEMS * 2];
    struct run_config config = w.config;
    path_of(config.prompts, "kept-kinds.jsonl");
    check_ok(file_write(config.prompts, data, sizeof data - 1, &err));
    snprintf(config.scorer[0].prompt_kind, RUN_NAME_MAX, "short");
    config.scorers = 2;
    path_of(config.reference_store, "kinds.sqlite");
    size_t references = 0;
    for (uint32_t i = 0; i < ITEMS; i++)
        references += items[i].kind == WIRE_WORK_REFERENCE;
    for (int twice = 0; twice < 2; twice++) { /* filling it, then out of it */
        struct reward *reward = reward_of(&config);
        check_ok(reward_score(reward, &lease, &(struct scorer_watch){0}, &result, &err));
        if (twice == 0) {
            memcpy(want, result.frame[0].data, sizeof want);
            memcpy(want_state, result.frame[1].data, sizeof want_state);
        }
        assert_memory_equal(result.frame[0].data, want, sizeof want);
        assert_memory_equal(result.frame[1].data, want_state, sizeof want_state);
        reward_free(reward);
    }
    for (uint32_t i = 0; i < ITEMS; i++)
        assert_int_equal(want_state[2 * i],
                         items[i].prompt == 0 ? WIRE_SCORE_OK : WIRE_SCORE_FAILED);
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_open(config.reference_store, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM memo", -1, &stmt, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(stmt, 0), references);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_logprobs_are_those_the_generator_recorded),
        cmocka_unit_test(a_lease_names_the_version_to_measure_from),
        cmocka_unit_test(scores_stand_in_the_order_of_the_config),
        cmocka_unit_test(an_item_at_fault_fails_alone),
        cmocka_unit_test(an_item_without_a_finite_reference_logprob_fails_alone),
        cmocka_unit_test(a_sample_too_long_for_a_reward_model_fails_there_only),
        cmocka_unit_test(a_lease_is_given_up_when_stopping),
        cmocka_unit_test(what_does_not_fit_the_policy_is_refused_at_the_start),
        cmocka_unit_test(costs_and_monitors_are_asked_about_rollouts_alone),
        cmocka_unit_test(a_scorer_is_asked_about_prompts_of_its_kind_alone),
        cmocka_unit_test(what_fails_a_lease_is_named_before_a_monitor),
        cmocka_unit_test(a_lease_waits_for_a_service_that_is_away),
        cmocka_unit_test(a_service_is_not_waited_for_longer_than_that),
        cmocka_unit_test(nobody_waits_for_a_monitor),
        cmocka_unit_test(references_that_are_in_the_store_are_not_scored),
        cmocka_unit_test(references_are_kept_with_the_scores_of_their_kind),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
