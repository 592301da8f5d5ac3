/*
 * core_bench.h -- a core on a bench: what it sends and appends is kept, the disk is a switch,
 * workers are a few calls.
 *
 * The run: 2 slots a step of prompts of one and two tokens, responses of up to 4 tokens, two
 * scorers with weights 1 and 0.5.  A rollout of slot b of step s has tokens {s+1, b+1} and
 * log-probs {-0.5, -0.25}; its reference log-probs are {-0.75, -0.5}.
 */
#ifndef TESTS_UNIT_CORE_BENCH_H
#define TESTS_UNIT_CORE_BENCH_H

#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core.h"
#include "tests/test.h"
#include "tests/unit/near.h"

#define BENCH_SENT    2048
#define BENCH_RECORDS 512
#define BENCH_TOKENS  4

struct bench_sent {
    uint64_t peer;
    struct message message;
    struct wire_item items[8];
    double frame[5][32]; /* room, and the alignment of a double */
    struct wire_rank ranks[4];
};

struct bench_record {
    struct record record;
    struct record_step step;
    struct wire_stat stats[4];
    int32_t ids[BENCH_TOKENS];
    float logprobs[BENCH_TOKENS], reference[BENCH_TOKENS];
    double scores[4];
    char worker[WIRE_NAME_MAX], text[512], id[32];
};

struct bench {
    struct run_config config;
    struct core_tokens tokens; /* what ids can be; nothing is known where a test sets nothing */
    const uint8_t *kind;       /* of the prompts; NULL: they have none */
    uint32_t peers_max;        /* 0: as many as there can be */
    struct core *core;
    struct bench_sent *sent;
    size_t sent_n;
    struct bench_record *records;
    size_t records_n;
    uint64_t now_ms, entropy;
    bool disk;   /* what is appended becomes durable after each event */
    bool recall; /* the core asks for the records of recall_step */
    uint64_t recall_step, recalls;
    char log[4096]; /* "ID text\n" of all lines */
    size_t steps_done;
    bool kicked, finished;
    int exit_code;
    char finish_text[WIRE_TEXT_MAX];
};

struct bench_worker {
    uint64_t peer, session, epoch, seq;
};

static const size_t bench_offset[] = {0, 1, 3, 4, 6};
static const int32_t bench_ids[] = {11, 12, 13, 14, 15, 16};
static const struct core_prompts bench_prompts = {
    .n = 4, .offset = bench_offset, .ids = bench_ids};

static inline void bench_keep_message(struct bench *bench, uint64_t peer,
                                      const struct message *message)
{
    assert_true(bench->sent_n < BENCH_SENT);
    struct bench_sent *sent = &bench->sent[bench->sent_n++];
    sent->peer = peer;
    sent->message = *message;
    assert_true(message->items_n <= COUNT(sent->items));
    for (uint32_t i = 0; i < message->items_n; i++)
        sent->items[i] = message->items[i];
    sent->message.items = sent->items;
    assert_true(message->ranks_n <= COUNT(sent->ranks));
    for (uint32_t i = 0; i < message->ranks_n; i++)
        sent->ranks[i] = message->ranks[i];
    sent->message.ranks = sent->ranks;
    for (uint32_t f = 0; f < message->frames_n; f++) {
        assert_true(message->frame[f].size <= sizeof sent->frame[f]);
        memcpy(sent->frame[f], message->frame[f].data, message->frame[f].size);
        sent->message.frame[f].data = sent->frame[f];
    }
}

static inline void bench_keep_record(struct bench *bench, const struct record *record)
{
    assert_true(bench->records_n < BENCH_RECORDS);
    assert_int_equal(record->seq, bench->records_n + 1);
    struct bench_record *kept = &bench->records[bench->records_n++];
    const size_t n = record->response_tokens;
    kept->record = *record;
    if (record->ids)
        kept->record.ids = memcpy(kept->ids, record->ids, n * 4);
    if (record->logprobs)
        kept->record.logprobs = memcpy(kept->logprobs, record->logprobs, n * 4);
    if (record->reference)
        kept->record.reference = memcpy(kept->reference, record->reference, n * 4);
    if (record->scores)
        kept->record.scores = memcpy(kept->scores, record->scores, record->scorers * 8);
    if (record->step) {
        kept->step = *record->step;
        memcpy(kept->stats, record->step->stats, record->step->stats_n * sizeof *kept->stats);
        kept->step.stats = kept->stats;
        kept->record.step = &kept->step;
    }
    snprintf(kept->worker, sizeof kept->worker, "%s", record->worker);
    snprintf(kept->text, sizeof kept->text, "%s", record->text ? record->text : "");
    snprintf(kept->id, sizeof kept->id, "%s", record->id ? record->id : "");
    kept->record.worker = kept->worker;
    kept->record.text = kept->text;
    kept->record.id = kept->id;
}

static inline void bench_sink(void *user, const struct core_effect *effect)
{
    struct bench *bench = user;
    assert_false(bench->finished); /* nothing comes after the end */
    switch (effect->kind) {
    case CORE_FX_SEND: bench_keep_message(bench, effect->peer, effect->message); break;
    case CORE_FX_APPEND: bench_keep_record(bench, effect->record); break;
    case CORE_FX_LOG: {
        const size_t n = strlen(bench->log);
        snprintf(bench->log + n, sizeof bench->log - n, "%s %s\n", effect->id, effect->text);
        break;
    }
    case CORE_FX_STEP_DONE: bench->steps_done++; break;
    case CORE_FX_KICK: bench->kicked = true; break;
    case CORE_FX_RECALL:
        bench->recall = true;
        bench->recall_step = effect->recall_step;
        bench->recalls++;
        break;
    case CORE_FX_FINISHED:
        bench->finished = true;
        bench->exit_code = effect->exit_code;
        snprintf(bench->finish_text, sizeof bench->finish_text, "%s", effect->text);
        break;
    }
}

static inline void bench_config(struct run_config *config)
{
    memset(config, 0, sizeof *config);
    config->seed = 1;
    config->steps = 3;
    config->batch = 2;
    config->samples_per_prompt = 1;
    config->checkpoint_every = 2;
    config->max_new_tokens = BENCH_TOKENS;
    config->prompt_tokens_max = 4;
    config->sigmoid_k = 1.0;
    config->kl_coef = 0.1;
    config->scorers = 2;
    snprintf(config->scorer[0].name, sizeof config->scorer[0].name, "good");
    snprintf(config->scorer[1].name, sizeof config->scorer[1].name, "short");
    config->scorer[0].weight = 1.0;
    config->scorer[1].weight = 0.5;
    config->heartbeat_ms = 1000;
    config->dead_ms = 5000;
    config->lease_ms = 4000;
    config->stall_ms = 20000;
}

/* Count anew after each event: a broken promise shows at the event that broke it. */
static inline void bench_check(struct bench *bench)
{
    check_ok(core_check(bench->core, &err));
}

static inline void bench_flush(struct bench *bench)
{
    for (size_t seen = 0; bench->disk && !bench->finished && seen < bench->records_n;) {
        seen = bench->records_n;
        core_step(bench->core, &(struct core_event){.kind = CORE_EV_DURABLE,
                                                    .now_ms = bench->now_ms,
                                                    .entropy = ++bench->entropy,
                                                    .seq = seen});
        bench_check(bench);
    }
}

static inline bool bench_recall_wants(const struct record *record, uint64_t step)
{
    switch (record->kind) {
    case RECORD_START: return step == 0;
    case RECORD_STEP: return record->step->step == step || record->step->step + 1 == step;
    case RECORD_ROLLOUT:
    case RECORD_SCORE:
    case RECORD_DROP: return record->work == WIRE_WORK_ROLLOUT && record->a == step;
    default: return false;
    }
}

/* Hand over what the core asks for. */
static inline void bench_recall(struct bench *bench)
{
    while (bench->recall && !bench->finished) {
        const uint64_t step = bench->recall_step;
        bench->recall = false;
        for (size_t i = 0; i < bench->records_n && !bench->finished; i++)
            if (bench_recall_wants(&bench->records[i].record, step))
                core_step(bench->core,
                          &(struct core_event){.kind = CORE_EV_RECORD,
                                               .now_ms = bench->now_ms,
                                               .entropy = ++bench->entropy,
                                               .record = &bench->records[i].record});
    }
}

static inline void bench_event(struct bench *bench, struct core_event event)
{
    event.now_ms = bench->now_ms;
    event.entropy = ++bench->entropy;
    core_step(bench->core, &event);
    bench_recall(bench);
    if (!bench->finished)
        bench_check(bench);
    bench_flush(bench);
}

static inline void bench_tick(struct bench *bench, uint64_t ms)
{
    bench->now_ms += ms;
    bench_event(bench, (struct core_event){.kind = CORE_EV_TICK});
}

/* A new machine; its config is bench->config. */
static inline void bench_open(struct bench *bench)
{
    struct core_setup setup = {
        .config = &bench->config, .prompts = bench_prompts, .tokens = bench->tokens};
    setup.peers_max = bench->peers_max;
    setup.prompts.kind = bench->kind;
    check_ok(core_new(&bench->core, &setup, bench_sink, bench, &err));
}

static inline void bench_start(struct bench *bench)
{
    core_start(bench->core, &(struct core_event){.now_ms = bench->now_ms, .entropy = 99});
    bench_flush(bench);
}

static inline struct bench *bench_new(void)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench->sent = calloc(BENCH_SENT, sizeof *bench->sent);
    bench->records = calloc(BENCH_RECORDS, sizeof *bench->records);
    assert_true(bench->sent && bench->records);
    bench->now_ms = 1000000;
    bench->entropy = 1000;
    bench->disk = true;
    bench_config(&bench->config);
    return bench;
}

static inline void bench_free(struct bench *bench)
{
    core_free(bench->core);
    free(bench->sent);
    free(bench->records);
    free(bench);
}

/* For cmocka: a test's own bench in *state. */
static inline int bench_setup(void **state)
{
    *state = bench_new();
    return 0;
}

static inline int bench_teardown(void **state)
{
    bench_free(*state);
    return 0;
}

/* Kill the coordinator: it comes back from what is on the disk. */
static inline void bench_restart(struct bench *bench, uint64_t checkpoint)
{
    core_free(bench->core);
    bench_open(bench);
    check_ok(core_replay_begin(bench->core, checkpoint, &err));
    for (size_t i = 0; i < bench->records_n; i++)
        check_ok(core_replay(bench->core, &bench->records[i].record, &err));
    bench_start(bench);
}

/* The last message of this type to this peer (0: any) after `since`; NULL: none. */
static inline const struct message *bench_last(const struct bench *bench, uint64_t peer,
                                               enum message_type type, size_t since)
{
    for (size_t i = bench->sent_n; i > since; i--)
        if (bench->sent[i - 1].message.type == type &&
            (peer == 0 || bench->sent[i - 1].peer == peer))
            return &bench->sent[i - 1].message;
    return NULL;
}

static inline const struct message *bench_expect(const struct bench *bench, uint64_t peer,
                                                 enum message_type type, size_t since)
{
    const struct message *message = bench_last(bench, peer, type, since);
    if (!message)
        fail_msg("no %s was sent; the log:\n%s", message_type_name(type), bench->log);
    return message;
}

static inline void bench_send(struct bench *bench, struct bench_worker *worker,
                              struct message message)
{
    message.session = worker->session;
    message.epoch = worker->epoch;
    message.seq = ++worker->seq;
    bench_event(bench, (struct core_event){
                           .kind = CORE_EV_MESSAGE, .peer = worker->peer, .message = &message});
}

static inline struct message bench_hello(enum wire_role role, const char *name)
{
    struct message hello = {.type = MESSAGE_HELLO, .role = role, .capacity = 8, .pid = 42};
    snprintf(hello.name, sizeof hello.name, "%s", name);
    snprintf(hello.text, sizeof hello.text, "ipc://bulk");
    hello.nonce[0] = 1;
    if (role == WIRE_ROLE_LEARNER) {
        hello.has_hash = true;
        hello.hash.bytes[0] = 100; /* of version 0 */
    }
    if (role == WIRE_ROLE_REWARD)
        hello.has_hash = true;
    return hello;
}

/* Say HELLO from this address; the session of the WELCOME is taken. */
static inline void bench_join(struct bench *bench, struct bench_worker *worker, uint64_t peer,
                              struct message hello)
{
    const size_t since = bench->sent_n;
    *worker = (struct bench_worker){.peer = peer};
    bench_send(bench, worker, hello);
    const struct message *welcome = bench_expect(bench, peer, MESSAGE_WELCOME, since);
    worker->session = welcome->session;
    worker->epoch = welcome->epoch;
    assert_int_not_equal(worker->session, 0);
}

static inline bool bench_said(const struct bench *bench, const char *words)
{
    return strstr(bench->log, words) != NULL;
}

/* Answer a generate lease's items from..to-1 the way this bench's actors do. */
static inline void bench_generate(struct bench *bench, struct bench_worker *actor,
                                  const struct message *lease, uint32_t from, uint32_t to)
{
    struct wire_item items[8];
    int32_t ids[16];
    float logp[16];
    for (uint32_t i = from; i < to; i++) {
        struct wire_item *item = &items[i - from];
        *item = lease->items[i];
        item->response_tokens = 2;
        item->finish = WIRE_FINISH_EOS;
        ids[2 * (i - from)] = (int32_t)item->a + 1;
        ids[2 * (i - from) + 1] = (int32_t)item->b + 1;
        logp[2 * (i - from)] = -0.5f;
        logp[2 * (i - from) + 1] = -0.25f;
    }
    const size_t bytes = 8 * (to - from);
    bench_send(bench, actor,
               (struct message){.type = MESSAGE_GENERATE_RESULT,
                                .lease = lease->lease,
                                .version = lease->version,
                                .items = items,
                                .items_n = to - from,
                                .frames_n = 2,
                                .frame = {{ids, bytes}, {logp, bytes}}});
}

/* Answer a score lease with these two scores for each item, or with a state that is not ok. */
static inline void bench_score(struct bench *bench, struct bench_worker *reward,
                               const struct message *lease, double good, double brief,
                               enum wire_score state)
{
    double scores[16];
    unsigned char states[16];
    float ref[16];
    size_t tokens = 0;
    for (uint32_t i = 0; i < lease->items_n; i++) {
        scores[2 * i] = good;
        scores[2 * i + 1] = brief;
        states[2 * i] = (unsigned char)state;
        states[2 * i + 1] = WIRE_SCORE_OK;
        if (lease->items[i].kind == WIRE_WORK_ROLLOUT) {
            ref[tokens++] = -0.75f;
            ref[tokens++] = -0.5f;
        }
    }
    struct message result = {.type = MESSAGE_SCORE_RESULT,
                             .lease = lease->lease,
                             .version = lease->version,
                             .scorers = 2,
                             .items = lease->items,
                             .items_n = lease->items_n,
                             .frames_n = 3,
                             .frame = {{scores, 16u * lease->items_n},
                                       {states, 2u * lease->items_n},
                                       {ref, tokens * sizeof *ref}}};
    snprintf(result.text, sizeof result.text, "%s", state == WIRE_SCORE_OK ? "" : "HTTP 503");
    bench_send(bench, reward, result);
}

static inline void bench_train_apart(struct bench *bench, struct bench_worker *learner,
                                     uint64_t step, unsigned char weights, uint64_t checkpoint,
                                     double logp_diff)
{
    struct wire_stat stat = {.name = "logp_diff_max", .value = logp_diff};
    struct message result = {.type = MESSAGE_TRAIN_RESULT,
                             .step = step,
                             .version = step + 1,
                             .has_hash = true,
                             .checkpoint_version = checkpoint,
                             .stats = &stat,
                             .stats_n = 1};
    result.hash.bytes[0] = weights;
    bench_send(bench, learner, result);
}

static inline void bench_train(struct bench *bench, struct bench_worker *learner, uint64_t step,
                               unsigned char weights, uint64_t checkpoint)
{
    bench_train_apart(bench, learner, step, weights, checkpoint, 0.0);
}

/* All three workers, at addresses 1, 2 and 3. */
struct bench_crew {
    struct bench_worker learner, actor, reward;
};

static inline void bench_crew_join(struct bench *bench, struct bench_crew *crew)
{
    bench_join(bench, &crew->learner, 1, bench_hello(WIRE_ROLE_LEARNER, "learner-0"));
    bench_join(bench, &crew->actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    bench_join(bench, &crew->reward, 3, bench_hello(WIRE_ROLE_REWARD, "reward-0"));
}

/* The test's bench, with a core that has begun and a worker of each role. */
static inline struct bench *bench_begun(void **state, struct bench_crew *crew)
{
    struct bench *bench = *state;
    bench_open(bench);
    bench_start(bench);
    bench_crew_join(bench, crew);
    return bench;
}

/* Answer every generate and score lease that is open; `from` is where to look from, and is
 * moved on.  Scores: (good, brief). */
static inline void bench_crew_work(struct bench *bench, struct bench_crew *crew, size_t *from,
                                   double good, double brief)
{
    for (; *from < bench->sent_n; ++*from) {
        const struct message *m = &bench->sent[*from].message;
        if (bench->finished)
            return;
        if (m->type == MESSAGE_GENERATE_LEASE)
            bench_generate(bench, &crew->actor, m, 0, m->items_n);
        else if (m->type == MESSAGE_SCORE_LEASE)
            bench_score(bench, &crew->reward, m, good, brief, WIRE_SCORE_OK);
    }
}

static inline struct core_stats *bench_stats(const struct bench *bench)
{
    static struct core_stats stats;
    core_stats(bench->core, &stats);
    return &stats;
}

#endif
