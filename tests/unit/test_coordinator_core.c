/*
 * test_coordinator_core.c -- sessions, leases, results: each transition and each refusal that
 * core.h documents, one at a time.
 *
 * The oracle is the header's text: what a worker sees of the core are messages and records, and
 * those are compared with what is written there.  core_check counts anew after every event.
 * What happens in unlucky orders is the simulator's business (tests/sim).
 */
#include "tests/unit/core_bench.h"

static int setup(void **state)
{
    *state = bench_new();
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    bench_free(*state);
    return 0;
}

static struct bench *begun(void **state)
{
    struct bench *bench = *state;
    bench_open(bench);
    bench_start(bench);
    return bench;
}

/* --- sessions ----------------------------------------------------------------------------- */

static void core_answers_nobody_before_its_epoch_is_durable(void **state)
{
    struct bench *bench = *state;
    bench->disk = false;
    bench_open(bench);
    bench_start(bench);
    struct bench_worker worker = {.peer = 1};
    bench_send(bench, &worker, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    assert_int_equal(bench->sent_n, 0);
    assert_int_equal(bench->records[0].record.kind, RECORD_EPOCH);
    assert_int_equal(bench->records[0].record.epoch, 1);

    bench->disk = true;
    bench_flush(bench);
    bench_join(bench, &worker, 1, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    assert_int_equal(worker.epoch, 1);
}

static void core_tells_a_worker_how_often_to_be_heard(void **state)
{
    struct bench *bench = begun(state);
    struct bench_worker worker;
    bench_join(bench, &worker, 7, bench_hello(WIRE_ROLE_REWARD, "reward-0"));
    const struct message *welcome = bench_expect(bench, 7, MESSAGE_WELCOME, 0);
    assert_int_equal(welcome->heartbeat_ms, 1000);
    assert_int_equal(welcome->dead_ms, 5000);
    const struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->peers, 1);
    assert_string_equal(stats->peer[0].name, "reward-0");
    assert_int_equal(stats->peer[0].state, CORE_PEER_LIVE);
    assert_int_equal(stats->peer[0].pid, 42);

    const size_t since = bench->sent_n; /* and it is heard itself */
    bench_tick(bench, 1000);
    bench_expect(bench, 7, MESSAGE_HEARTBEAT, since);
}

static void check_refused(struct bench *bench, struct message hello, const char *words)
{
    struct bench_worker worker = {.peer = 9};
    const size_t since = bench->sent_n;
    bench_send(bench, &worker, hello);
    const struct message *reset = bench_expect(bench, 9, MESSAGE_RESET, since);
    assert_true(reset->refused);
    if (!strstr(reset->text, words))
        fail_msg("refused with \"%s\", without \"%s\"", reset->text, words);
}

static void core_refuses_workers_that_do_not_belong_to_the_run(void **state)
{
    struct bench *bench = begun(state);
    struct message hello = bench_hello(WIRE_ROLE_ACTOR, "actor-0");
    hello.config_hash.bytes[3] = 1;
    check_refused(bench, hello, "its configuration differs from the coordinator's");
    hello = bench_hello(WIRE_ROLE_NONE, "actor-0");
    check_refused(bench, hello, "without a role");
    hello = bench_hello(WIRE_ROLE_ACTOR, "");
    check_refused(bench, hello, "a name");

    hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    hello.has_hash = false;
    check_refused(bench, hello, "must name the version and hash");
    hello.has_hash = true;
    hello.version = 1;
    check_refused(bench, hello, "it holds version 1, but the run has trained 0 steps");

    struct bench_worker learner;
    bench_join(bench, &learner, 1, bench_hello(WIRE_ROLE_LEARNER, "learner-0"));
    check_refused(bench, bench_hello(WIRE_ROLE_LEARNER, "learner-1"),
                  "as many learners are connected as workers.learners says: 1");
    hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    hello.hash.bytes[0] = 101;
    check_refused(bench, hello, "its weights of version 0 are 6500000000000000...");
    assert_true(bench_said(bench, "PEER-REFUSED learner-0 (learner): its weights"));
}

static void core_repeats_the_welcome_until_the_worker_has_spoken(void **state)
{
    struct bench *bench = begun(state);
    struct bench_worker worker, again;
    bench_join(bench, &worker, 5, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    bench_join(bench, &again, 5, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    assert_int_equal(again.session, worker.session);
    assert_int_equal(bench_stats(bench)->sessions, 1);

    bench_send(bench, &worker, (struct message){.type = MESSAGE_HEARTBEAT});
    const size_t since = bench->sent_n; /* a HELLO that the network kept back */
    bench_send(bench, &again, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    assert_null(bench_last(bench, 5, MESSAGE_WELCOME, since));
}

static void core_ends_the_older_session_of_a_name(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    assert_int_equal(bench_stats(bench)->leased, 2);

    struct message hello = bench_hello(WIRE_ROLE_ACTOR, "actor-0");
    hello.nonce[0] = 2;
    struct bench_worker newer;
    const size_t since = bench->sent_n;
    bench_join(bench, &newer, 20, hello);
    assert_int_not_equal(newer.session, crew.actor.session);
    const struct message *lease = bench_expect(bench, 20, MESSAGE_GENERATE_LEASE, since);
    assert_int_equal(lease->items_n, 2); /* its work at once */

    bench_send(bench, &crew.actor, (struct message){.type = MESSAGE_HEARTBEAT});
    const struct message *reset = bench_expect(bench, 2, MESSAGE_RESET, since);
    assert_false(reset->refused);
}

static void core_resets_whoever_it_does_not_know(void **state)
{
    struct bench *bench = begun(state);
    struct bench_worker worker;
    bench_join(bench, &worker, 5, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));

    struct bench_worker stranger = {.peer = 6, .session = 12345, .epoch = 1};
    size_t since = bench->sent_n;
    bench_send(bench, &stranger, (struct message){.type = MESSAGE_HEARTBEAT});
    assert_int_equal(bench_expect(bench, 6, MESSAGE_RESET, since)->session, 12345);

    struct bench_worker thief = worker; /* the session of another address */
    thief.peer = 6;
    since = bench->sent_n;
    bench_send(bench, &thief, (struct message){.type = MESSAGE_HEARTBEAT});
    bench_expect(bench, 6, MESSAGE_RESET, since);

    struct bench_worker past = worker;
    past.epoch = 0;
    since = bench->sent_n;
    bench_send(bench, &past, (struct message){.type = MESSAGE_HEARTBEAT});
    bench_expect(bench, 5, MESSAGE_RESET, since);

    since = bench->sent_n; /* and the session itself is alive */
    bench_send(bench, &worker, (struct message){.type = MESSAGE_HEARTBEAT});
    assert_null(bench_last(bench, 0, MESSAGE_RESET, since));
}

static void core_suspects_and_then_buries_the_silent(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_join(bench, &crew.actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    bench_tick(bench, 3000);
    assert_int_equal(bench_stats(bench)->peer[0].state, CORE_PEER_SUSPECT);

    size_t since = bench->sent_n; /* suspects get no work */
    bench_join(bench, &crew.learner, 1, bench_hello(WIRE_ROLE_LEARNER, "learner-0"));
    assert_null(bench_last(bench, 2, MESSAGE_GENERATE_LEASE, since));
    bench_send(bench, &crew.actor, (struct message){.type = MESSAGE_HEARTBEAT});
    bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, since);
    assert_int_equal(bench_stats(bench)->leased, 2);

    bench_tick(bench, 5000);
    assert_int_equal(bench_stats(bench)->peer[0].state, CORE_PEER_GONE);
    assert_int_equal(bench_stats(bench)->leased, 0);
    assert_int_equal(bench_stats(bench)->waiting, 2);
    assert_true(bench_said(bench, "PEER-GONE actor-0 (actor): silent for timeouts.dead_ms; 2 "
                                  "items are leased again"));
}

static void core_asks_a_worker_whose_message_is_lost_to_come_again(void **state)
{
    struct bench *bench = begun(state);
    struct bench_worker worker;
    bench_join(bench, &worker, 5, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    bench_send(bench, &worker, (struct message){.type = MESSAGE_HEARTBEAT});
    worker.seq++; /* this one is lost */
    const size_t since = bench->sent_n;
    bench_send(bench, &worker, (struct message){.type = MESSAGE_HEARTBEAT});
    bench_tick(bench, 1000);
    assert_null(bench_last(bench, 5, MESSAGE_RESET, since)); /* it may be late only */
    bench_tick(bench, 1500);
    assert_non_null(strstr(bench_expect(bench, 5, MESSAGE_RESET, since)->text, "was lost"));
}

static void core_cuts_off_who_keeps_sending_nonsense(void **state)
{
    struct bench *bench = begun(state);
    struct bench_worker worker;
    bench_join(bench, &worker, 5, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    const struct core_event bad = {
        .kind = CORE_EV_BAD_MESSAGE, .peer = 5, .text = "the checksum is wrong"};
    bench_event(bench, bad);
    assert_true(bench_said(bench, "BAD-MESSAGE from actor-0: the checksum is wrong"));
    bench_event(bench, bad);
    assert_false(bench->kicked);
    bench_event(bench, bad);
    assert_true(bench->kicked);

    struct bench_worker other; /* a message that its role does not send counts too */
    bench_join(bench, &other, 6, bench_hello(WIRE_ROLE_REWARD, "reward-0"));
    bench_send(bench, &other, (struct message){.type = MESSAGE_TRAIN_RESULT});
    assert_true(bench_said(bench, "from reward-0: TRAIN_RESULT from a reward"));
}

/* --- leases ------------------------------------------------------------------------------- */

static void core_leases_generation_when_there_is_a_learner_to_get_weights_from(void **state)
{
    struct bench *bench = begun(state);
    struct bench_worker actor, learner;
    bench_join(bench, &actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    assert_null(bench_last(bench, 2, MESSAGE_GENERATE_LEASE, 0));
    assert_string_equal(bench_stats(bench)->waits_for, "a learner to connect");
    bench_join(bench, &learner, 1, bench_hello(WIRE_ROLE_LEARNER, "learner-0"));

    const struct message *lease = bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    assert_int_equal(lease->version, 0);
    assert_int_equal(lease->lease_ms, 4000);
    assert_string_equal(lease->text, "ipc://bulk");
    assert_int_equal(lease->items_n, 2);
    const int32_t *ids = lease->frame[0].data;
    size_t at = 0;
    for (uint32_t i = 0; i < 2; i++) {
        const struct wire_item *item = &lease->items[i];
        assert_int_equal(item->kind, WIRE_WORK_ROLLOUT);
        assert_int_equal(item->a, 0);
        assert_int_equal(item->b, i);
        assert_int_equal(item->prompt_tokens,
                         bench_offset[item->prompt + 1] - bench_offset[item->prompt]);
        for (uint32_t t = 0; t < item->prompt_tokens; t++)
            assert_int_equal(ids[at++], bench_ids[bench_offset[item->prompt] + t]);
    }
    assert_int_equal(lease->frame[0].size, at * sizeof *ids);
}

static void core_shares_a_short_queue_among_workers(void **state)
{
    struct bench *bench = *state;
    bench->config.batch = 4;
    begun(state);
    struct bench_worker a, b, learner;
    bench_join(bench, &a, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    struct message small = bench_hello(WIRE_ROLE_ACTOR, "actor-1");
    small.capacity = 2;
    bench_join(bench, &b, 3, small);
    bench_join(bench, &learner, 1, bench_hello(WIRE_ROLE_LEARNER, "learner-0"));
    /* capacities 8 and 2: at most 4 * 8/10, rounded up, for the first */
    const struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->leased, 4);
    assert_in_range(stats->peer[0].in_flight, 2, 4);
    assert_true(stats->peer[1].in_flight <= 2);
}

/* Credit for 8: what comes back goes out again two at a time, and to who has nothing at once. */
static void core_leases_when_a_quarter_of_the_credit_is_back(void **state)
{
    struct bench *bench = *state;
    bench->config.batch = 16;
    begun(state);
    struct bench_worker actor, learner;
    bench_join(bench, &learner, 1, bench_hello(WIRE_ROLE_LEARNER, "learner-0"));
    bench_join(bench, &actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    const struct message first = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    assert_int_equal(first.items_n, 8);
    size_t before = bench->sent_n;
    bench_generate(bench, &actor, &first, 0, 1);
    assert_null(bench_last(bench, 2, MESSAGE_GENERATE_LEASE, before));
    bench_generate(bench, &actor, &first, 1, 2);
    const struct message *next = bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, before);
    assert_int_equal(next->items_n, 2);
    before = bench->sent_n;
    bench_generate(bench, &actor, &first, 2, 5);
    assert_int_equal(bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, before)->items_n, 3);
    assert_int_equal(bench_stats(bench)->leased, 8);
}

static void core_leases_again_what_is_not_answered(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_join(bench, &crew.learner, 1, bench_hello(WIRE_ROLE_LEARNER, "learner-0"));
    bench_join(bench, &crew.actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    const struct message lease = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    bench_generate(bench, &crew.actor, &lease, 0, 1);
    for (int i = 0; i < 3; i++) { /* alive, but no progress: 4 s from its last result */
        bench_send(bench, &crew.actor, (struct message){.type = MESSAGE_HEARTBEAT});
        bench_send(bench, &crew.learner, (struct message){.type = MESSAGE_HEARTBEAT});
        bench_tick(bench, 1200);
    }
    assert_int_equal(bench_stats(bench)->leases_expired, 0);
    bench_send(bench, &crew.actor, (struct message){.type = MESSAGE_HEARTBEAT, .progress = 5});
    bench_send(bench, &crew.learner, (struct message){.type = MESSAGE_HEARTBEAT});
    bench_tick(bench, 1200); /* progress extended it */
    assert_int_equal(bench_stats(bench)->leases_expired, 0);
    for (int i = 0; i < 4; i++) {
        bench_send(bench, &crew.actor,
                   (struct message){.type = MESSAGE_HEARTBEAT, .progress = 5});
        bench_send(bench, &crew.learner, (struct message){.type = MESSAGE_HEARTBEAT});
        bench_tick(bench, 1200);
    }
    assert_int_equal(bench_stats(bench)->leases_expired, 1);
    assert_true(bench_said(bench, "LEASE-EXPIRED generate lease of actor-0: 1 items"));

    const size_t since = bench->sent_n;
    struct bench_worker other;
    bench_join(bench, &other, 12, bench_hello(WIRE_ROLE_ACTOR, "actor-1"));
    const struct message *again = bench_last(bench, 0, MESSAGE_GENERATE_LEASE, since);
    if (!again) /* the first actor got it back after its pause */
        again = bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    assert_int_equal(again->items_n, 1);
    assert_int_equal(again->items[0].b, 1);
    assert_int_not_equal(again->lease, lease.lease);

    bench_generate(bench, &crew.actor, &lease, 1, 2); /* late, and welcome all the same */
    assert_int_equal(bench_stats(bench)->generated + bench_stats(bench)->scored, 2);
}

static void core_revokes_the_leases_of_a_worker_that_stalls(void **state)
{
    struct bench *bench = *state;
    bench->config.lease_ms = 60000;
    begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    const size_t since = bench->sent_n;
    for (int i = 0; i < 20; i++) {
        bench_send(bench, &crew.actor, (struct message){.type = MESSAGE_HEARTBEAT});
        bench_tick(bench, 1000);
    }
    assert_non_null(
        strstr(bench_expect(bench, 2, MESSAGE_RESET, since)->text, "timeouts.stall_ms"));
    assert_int_equal(bench_stats(bench)->leased, 0);
}

static void core_drops_what_workers_give_back_again_and_again(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    for (int i = 0; i < CORE_LEASE_FAILS_MAX; i++) {
        const struct message *lease = bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
        struct message failed = {.type = MESSAGE_LEASE_FAILED, .lease = lease->lease};
        snprintf(failed.text, sizeof failed.text, "out of memory");
        bench_send(bench, &crew.actor, failed);
        const size_t since = bench->sent_n;
        while (!bench->finished && !bench_last(bench, 2, MESSAGE_GENERATE_LEASE, since)) {
            bench_send(bench, &crew.actor, (struct message){.type = MESSAGE_HEARTBEAT});
            bench_send(bench, &crew.learner, (struct message){.type = MESSAGE_HEARTBEAT});
            bench_tick(bench, 250); /* it has a pause, longer each time */
        }
    }
    assert_int_equal(bench_stats(bench)->dropped[RECORD_REASON_GENERATE_FAILED], 2);
    assert_true(bench->now_ms >= 1000000 + 500 + 1000 + 2000 + 4000);
    assert_true(bench_said(bench, "LEASE-FAILED generate lease of actor-0: out of memory"));
    assert_true(bench->finished); /* nothing is left of step 0 */
    assert_int_equal(bench->exit_code, CORE_EXIT_HALT);
    assert_non_null(strstr(bench->finish_text, "step 0: every slot was dropped"));
}

/* What an actor could not begin, having had no weights, is no fault of the items. */
static void core_never_drops_what_was_not_tried(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    for (int i = 0; i <= CORE_LEASE_FAILS_MAX; i++) {
        const struct message *lease = bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
        const struct message failed = {
            .type = MESSAGE_LEASE_FAILED, .lease = lease->lease, .untried = true};
        bench_send(bench, &crew.actor, failed);
        const size_t since = bench->sent_n;
        for (int s = 0; s < 60 && !bench_last(bench, 2, MESSAGE_GENERATE_LEASE, since); s++) {
            assert_false(bench->finished);
            bench_send(bench, &crew.actor, (struct message){.type = MESSAGE_HEARTBEAT});
            bench_send(bench, &crew.learner, (struct message){.type = MESSAGE_HEARTBEAT});
            bench_tick(bench, 1000);
        }
        bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, since);
    }
    assert_int_equal(bench_stats(bench)->dropped[RECORD_REASON_GENERATE_FAILED], 0);
}

/* --- results ------------------------------------------------------------------------------ */

static void core_acknowledges_only_what_is_durable(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    bench->disk = false;
    const size_t since = bench->sent_n;
    const struct message lease = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    bench_generate(bench, &crew.actor, &lease, 0, 2);
    assert_null(bench_last(bench, 2, MESSAGE_ACK, since));
    assert_null(bench_last(bench, 3, MESSAGE_SCORE_LEASE, since));
    const struct record *record = &bench->records[bench->records_n - 1].record;
    assert_int_equal(record->kind, RECORD_ROLLOUT);
    assert_string_equal(record->worker, "actor-0");
    assert_int_equal(record->ids[1], 2);

    bench->disk = true;
    bench_flush(bench);
    assert_int_equal(bench_expect(bench, 2, MESSAGE_ACK, since)->ack_seq, crew.actor.seq);
    const struct message *score = bench_expect(bench, 3, MESSAGE_SCORE_LEASE, since);
    assert_int_equal(score->items_n, 2);
    const struct wire_item *item = &score->items[0];
    assert_int_equal(item->response_tokens, 2);
    const int32_t *ids = score->frame[0].data; /* prompt, then response */
    assert_int_equal(ids[item->prompt_tokens], 1);
    assert_int_equal(ids[item->prompt_tokens + 1], 1);
}

/* A heartbeat overtaken by a result comes after it: nothing else would acknowledge the result. */
static void core_acknowledges_what_overtook_a_heartbeat(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    const size_t since = bench->sent_n;
    const struct message lease = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    crew.actor.seq++;
    bench_generate(bench, &crew.actor, &lease, 0, 2);
    const uint64_t result = crew.actor.seq;
    crew.actor.seq -= 2;
    bench_send(bench, &crew.actor, (struct message){.type = MESSAGE_HEARTBEAT});
    assert_int_equal(bench_expect(bench, 2, MESSAGE_ACK, since)->ack_seq, result);
}

static void core_repeats_its_last_acknowledgement_when_it_has_nothing_to_say(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    bench_generate(bench, &crew.actor, bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0), 0, 2);
    const size_t since = bench->sent_n;
    bench_tick(bench, 1000); /* the ACK may have been lost, and the worker's outbox be full */
    assert_int_equal(bench_expect(bench, 2, MESSAGE_ACK, since)->ack_seq, crew.actor.seq);
    bench_expect(bench, 3, MESSAGE_HEARTBEAT, since); /* nothing came from this one yet */
}

/* One response to item 0 of the lease. */
static void answer(struct bench *bench, struct bench_worker *actor, const struct message *lease,
                   enum wire_finish finish, uint32_t n, const int32_t *ids)
{
    static const float logp[BENCH_TOKENS] = {-0.5f, -0.25f, -0.5f, -0.25f};
    struct wire_item item = lease->items[0];
    item.response_tokens = n;
    item.finish = finish;
    bench_send(bench, actor,
               (struct message){.type = MESSAGE_GENERATE_RESULT,
                                .lease = lease->lease,
                                .version = lease->version,
                                .items = &item,
                                .items_n = 1,
                                .frames_n = 2,
                                .frame = {{ids, n * 4}, {logp, n * 4}}});
}

static void core_refuses_tokens_that_no_actor_can_have_drawn(void **state)
{
    static const struct {
        enum wire_finish finish;
        uint32_t n;
        int32_t ids[BENCH_TOKENS];
        const char *words;
    } cases[] = {
        {WIRE_FINISH_EOS, 2, {20, 2}, "with a token outside the vocabulary"},
        {WIRE_FINISH_EOS, 2, {INT32_MAX, 2}, "with a token outside the vocabulary"},
        {WIRE_FINISH_LENGTH, 4, {3, 4, 5, -1}, "with a token outside the vocabulary"},
        {WIRE_FINISH_EOS, 3, {2, 4, 2}, "with tokens after the end token"},
        {WIRE_FINISH_LENGTH, 4, {3, 7, 4, 4}, "with tokens after the end token"},
        {WIRE_FINISH_LENGTH, 3, {3, 4, 5}, "cut before sampling.max_new_tokens"},
        {WIRE_FINISH_EOS, 2, {3, 4}, "whose finish reason and last token disagree"},
        {WIRE_FINISH_STOP, 2, {3, 7}, "whose finish reason and last token disagree"},
        {WIRE_FINISH_LENGTH, 4, {3, 4, 5, 2}, "whose finish reason and last token disagree"},
    };
    struct bench *bench = *state;
    bench->tokens = (struct core_tokens){.vocabulary = 20, .ends = {2, 7}, .ends_n = 2};
    begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    const struct message lease = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        bench->log[0] = '\0';
        answer(bench, &crew.actor, &lease, cases[i].finish, cases[i].n, cases[i].ids);
        assert_int_equal(bench_stats(bench)->refused, i + 1);
        if (!bench_said(bench, cases[i].words))
            fail_msg("case %zu: %s", i, bench->log);
    }
    answer(bench, &crew.actor, &lease, WIRE_FINISH_EOS, 4, (int32_t[]){3, 4, 19, 7});
    assert_int_equal(bench_stats(bench)->refused, COUNT(cases));
    assert_int_equal(bench_stats(bench)->generated, 1);
}

static void core_refuses_prompts_outside_the_vocabulary(void **state)
{
    struct bench *bench = *state;
    const struct core_setup setup = {
        .config = &bench->config, .prompts = bench_prompts, .tokens = {.vocabulary = 16}};
    check_fails(core_new(&bench->core, &setup, bench_sink, bench, &err), ERR_VALUE,
                "prompt 3 of  has token 16");
}

static void core_lets_in_as_many_workers_as_it_has_room_for(void **state)
{
    struct bench *bench = *state;
    bench->peers_max = 3;
    begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    struct bench_worker fourth = {.peer = 12};
    const size_t since = bench->sent_n;
    bench_send(bench, &fourth, bench_hello(WIRE_ROLE_ACTOR, "actor-1"));
    const struct message *reset = bench_expect(bench, 12, MESSAGE_RESET, since);
    assert_true(reset->refused);
    assert_string_equal(reset->text,
                        "3 workers are connected, as many as the coordinator lets in");
    bench_join(bench, &crew.actor, 22,
               bench_hello(WIRE_ROLE_ACTOR, "actor-0")); /* its own place */
    bench_send(bench, &crew.reward, (struct message){.type = MESSAGE_BYE});
    bench_join(bench, &fourth, 12, bench_hello(WIRE_ROLE_ACTOR, "actor-1"));
}

/* Sessions, places and sets are by a peer's index: the last of many is found like the first. */
static void core_serves_the_last_of_many_workers(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    struct bench_worker last;
    char name[32];
    for (uint64_t i = 0; i < CORE_PEERS_MAX - 3; i++) {
        snprintf(name, sizeof name, "idle-%u", (unsigned)i);
        struct bench_worker idle;
        bench->sent_n = 0;
        bench->log[0] = '\0';
        bench_join(bench, &idle, 100 + i, bench_hello(WIRE_ROLE_REWARD, name));
    }
    bench->sent_n = 0;
    bench_join(bench, &crew.learner, 1, bench_hello(WIRE_ROLE_LEARNER, "learner-0"));
    bench_join(bench, &last, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-last"));
    const struct message lease = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    bench_generate(bench, &last, &lease, 0, 2);
    assert_int_equal(bench_stats(bench)->generated, 2);
    bench_expect(bench, 2, MESSAGE_ACK, 0);
    bench_join(bench, &last, 3, bench_hello(WIRE_ROLE_ACTOR, "actor-more"));
    struct bench_worker past = {.peer = 4};
    bench_send(bench, &past, bench_hello(WIRE_ROLE_ACTOR, "actor-past"));
    assert_true(bench_expect(bench, 4, MESSAGE_RESET, 0)->refused);
}

/* The slots of the lease with the tokens of each other. */
static void core_generate_swapped(struct bench *bench, struct bench_worker *actor,
                                  const struct message *lease)
{
    struct message odd = *lease;
    struct wire_item swapped[2] = {lease->items[1], lease->items[0]};
    swapped[0].response_tokens = swapped[1].response_tokens = 2;
    swapped[0].finish = swapped[1].finish = WIRE_FINISH_EOS;
    const int32_t ids[4] = {1, 1, 1, 2};
    const float logp[4] = {-0.5f, -0.25f, -0.5f, -0.25f};
    odd.type = MESSAGE_GENERATE_RESULT;
    odd.items = swapped;
    odd.frames_n = 2;
    odd.frame[0] = (struct wire_bytes){ids, sizeof ids};
    odd.frame[1] = (struct wire_bytes){logp, sizeof logp};
    bench_send(bench, actor, odd);
}

static uint64_t core_items_of_all(const struct core_stats *stats)
{
    uint64_t n = stats->forgotten.items_done;
    for (uint32_t i = 0; i < stats->peers; i++)
        n += stats->peer[i].items_done;
    return n;
}

/* As where each worker that is started again has another name: Kubernetes does so. */
static void core_forgets_who_is_gone_for_longest_where_names_are_too_many(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    struct bench_worker pod;
    char name[32];
    bench_crew_join(bench, &crew);
    const struct message lease = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    bench_generate(bench, &crew.actor, &lease, 0, 2);
    bench_send(bench, &crew.actor, (struct message){.type = MESSAGE_BYE});
    for (uint64_t i = 0; i < CORE_PEERS_MAX + 5; i++) {
        snprintf(name, sizeof name, "pod-%u", (unsigned)i);
        bench->now_ms++;
        bench->sent_n = 0;
        bench->log[0] = '\0';
        bench_join(bench, &pod, 100 + i, bench_hello(WIRE_ROLE_ACTOR, name));
        bench_send(bench, &pod, (struct message){.type = MESSAGE_BYE});
    }
    const struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->peers, CORE_PEERS_MAX);
    assert_int_equal(stats->forgotten.names, 3 + 5); /* actor-0, and pods 0 to 6 */
    assert_string_equal(stats->peer[0].name, "learner-0");
    assert_string_equal(stats->peer[2].name, "reward-0");
    assert_int_equal(core_items_of_all(stats), 2);

    bench_join(bench, &pod, 9999, bench_hello(WIRE_ROLE_ACTOR, "pod-9999"));
    core_generate_swapped(bench, &pod, &lease);
    assert_true(bench_said(bench,
                           "ROLLOUT-MISMATCH slot 0/1: a worker that the ledger names and "
                           "pod-9999 made different rollouts from version 0"));
    stats = bench_stats(bench);
    assert_int_equal(stats->mismatches, 2);
    for (uint32_t i = 0; i < stats->peers; i++)
        assert_int_equal(stats->peer[i].mismatches,
                         2 * !strcmp(stats->peer[i].name, "pod-9999"));
}

static void core_compares_a_second_rollout_with_the_first(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    const struct message lease = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    bench_generate(bench, &crew.actor, &lease, 0, 2);
    struct bench_worker other;
    bench_join(bench, &other, 12, bench_hello(WIRE_ROLE_ACTOR, "actor-1"));
    const size_t records = bench->records_n;
    bench_generate(bench, &other, &lease, 0, 2);
    assert_int_equal(bench_stats(bench)->duplicates, 2);
    assert_int_equal(bench->records_n, records);

    core_generate_swapped(bench, &other, &lease);
    assert_int_equal(bench_stats(bench)->mismatches, 2);
    assert_true(bench_said(bench,
                           "ROLLOUT-MISMATCH slot 0/1: actor-0 and actor-1 made different "
                           "rollouts from version 0"));
    assert_int_equal(bench_stats(bench)->peer[3].mismatches, 2);
    assert_string_equal(bench->records[bench->records_n - 1].id, "ROLLOUT-MISMATCH");
}

static void core_refuses_rollouts_that_cannot_be(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    struct message lease = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    lease.version = 1;
    bench_generate(bench, &crew.actor, &lease, 0, 2);
    assert_int_equal(bench_stats(bench)->refused, 2);
    assert_true(bench_said(bench, "ROLLOUT-REFUSED actor-0 sent slot 0/0 generated by another "
                                  "version than planned: version 1"));
    lease.version = 0;
    struct wire_item items[2] = {lease.items[0], lease.items[1]};
    items[0].prompt = (items[0].prompt + 1) % 4;
    items[1].a = 77; /* no such step */
    lease.items = items;
    bench_generate(bench, &crew.actor, &lease, 0, 2);
    assert_int_equal(bench_stats(bench)->refused, 3);
    assert_int_equal(bench_stats(bench)->late, 1);
    assert_int_equal(bench_stats(bench)->leased, 2);
}

static void core_tries_a_failed_score_again_and_never_makes_it_0(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    bench_generate(bench, &crew.actor, bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0), 0, 2);
    for (int i = 0; i < CORE_SCORE_TRIES_MAX; i++) {
        const struct message *lease = bench_expect(bench, 3, MESSAGE_SCORE_LEASE, 0);
        struct message first = *lease; /* slot 0 times out each time, slot 1 is scored */
        first.items_n = 1;
        bench_score(bench, &crew.reward, &first, 0.0, 0.0, WIRE_SCORE_TIMEOUT);
        if (i == 0) {
            struct message second = *lease;
            second.items = lease->items + 1;
            second.items_n = 1;
            bench_score(bench, &crew.reward, &second, 1.0, 2.0, WIRE_SCORE_OK);
        }
    }
    const struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->score_retries, 3);
    assert_int_equal(stats->dropped[RECORD_REASON_SCORE_TIMEOUT], 1);
    assert_true(bench_said(bench, "DROP slot 0/0: score_timeout: HTTP 503"));
    const struct message *train = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    assert_int_equal(train->items_n, 1);
    assert_int_equal(train->items[0].b, 1);
    assert_int_equal(stats->shaped, 1);
}

static void core_keeps_the_first_score(void **state)
{
    struct bench *bench = begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    bench_generate(bench, &crew.actor, bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0), 0, 2);
    const struct message lease = *bench_expect(bench, 3, MESSAGE_SCORE_LEASE, 0);
    struct message one = lease;
    one.items_n = 1;
    bench_score(bench, &crew.reward, &one, 1.0, 2.0, WIRE_SCORE_OK);
    const size_t records = bench->records_n;
    bench_score(bench, &crew.reward, &one, 5.0, 5.0, WIRE_SCORE_OK);
    assert_int_equal(bench->records_n, records);
    assert_int_equal(bench_stats(bench)->late, 1);
    check_near(bench->records[records - 1].scores[0], 1.0, 0.0);
}

static void core_logs_what_could_not_be_scored_once_a_result(void **state)
{
    struct bench *bench = *state;
    bench->config.batch = 4;
    begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    bench_generate(bench, &crew.actor, bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0), 0, 4);
    struct message lease = *bench_expect(bench, 3, MESSAGE_SCORE_LEASE, 0);
    assert_int_equal(lease.items_n, 4);
    bench_score(bench, &crew.reward, &lease, 0.0, 0.0, WIRE_SCORE_FAILED);
    const char *line = strstr(bench->log, "SCORE-FAILED");
    assert_non_null(line);
    assert_true(bench_said(bench,
                           "SCORE-FAILED reward-0 could not score 4 of 4 items, the first "
                           "slot 0/0: score_failed: "));
    assert_null(strstr(line + 1, "SCORE-FAILED"));
    assert_int_equal(bench_stats(bench)->score_retries, 4);
}

static void core_drops_a_group_with_nobody_left_to_compare_with(void **state)
{
    struct bench *bench = *state;
    bench->config.batch = 4;
    bench->config.samples_per_prompt = 2;
    bench->config.estimator = RUN_ESTIMATOR_GRPO;
    begun(state);
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    bench_generate(bench, &crew.actor, bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0), 0, 4);
    struct message rest = *bench_expect(bench, 3, MESSAGE_SCORE_LEASE, 0);
    for (int i = 0; i < CORE_SCORE_TRIES_MAX; i++) {
        struct message lease = *bench_expect(bench, 3, MESSAGE_SCORE_LEASE, 0);
        lease.items_n = 1;
        bench_score(bench, &crew.reward, &lease, 0.0, 0.0, WIRE_SCORE_FAILED);
    }
    rest.items++;
    rest.items_n = 3;
    bench_score(bench, &crew.reward, &rest, 1.0, 0.0, WIRE_SCORE_OK);
    const struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->dropped[RECORD_REASON_SCORE_FAILED], 1);
    assert_int_equal(stats->dropped[RECORD_REASON_GROUP_TOO_SMALL], 1);
    assert_true(bench_said(bench, "DROP slot 0/1: group_too_small"));
}

/* --- anything at all ---------------------------------------------------------------------- */

static uint64_t core_any(uint64_t *r, unsigned n)
{
    *r = *r * 6364136223846793005u + 1442695040888963407u;
    return (*r >> 33) % n;
}

/* Small numbers everywhere, so that they often mean something. */
static void send_anything(struct bench *bench, struct bench_worker *worker, uint64_t *r)
{
    static const double zeros[8] = {0};
    struct wire_item items[2];
    for (size_t k = 0; k < 2; k++)
        items[k] = (struct wire_item){.kind = (enum wire_work)core_any(r, 3),
                                      .a = core_any(r, 4),
                                      .b = (uint32_t)core_any(r, 3),
                                      .prompt = (uint32_t)core_any(r, 4),
                                      .response_tokens = (uint32_t)core_any(r, 6),
                                      .finish = (enum wire_finish)core_any(r, 4)};
    bench_send(bench, worker,
               (struct message){.type = (enum message_type)core_any(r, MESSAGE_LAST + 1),
                                .lease = core_any(r, 4),
                                .version = core_any(r, 4),
                                .step = core_any(r, 4),
                                .checkpoint_version = core_any(r, 3),
                                .has_hash = true,
                                .progress = core_any(r, 3),
                                .scorers = 2,
                                .items = items,
                                .items_n = 2,
                                .frames_n = 3,
                                .frame = {{zeros, 64}, {zeros, 64}, {zeros, 64}}});
}

/* Messages with any numbers in them: core_check after each.  The seed is in the loop. */
static void core_keeps_its_promises_under_any_messages(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct bench *bench = bench_new();
        bench_open(bench);
        bench_start(bench);
        struct bench_crew crew;
        uint64_t r = seed;
        for (int i = 0; i < 500 && !bench->finished && bench->records_n < BENCH_RECORDS - 16;
             i++) {
            bench->sent_n = 0;
            bench->log[0] = '\0';
            if (i % 32 == 0) { /* those that were reset come again */
                bench_join(bench, &crew.learner, 100 + (uint64_t)i,
                           bench_hello(WIRE_ROLE_LEARNER, "learner-0"));
                bench_join(bench, &crew.actor, 200 + (uint64_t)i,
                           bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
                bench_join(bench, &crew.reward, 300 + (uint64_t)i,
                           bench_hello(WIRE_ROLE_REWARD, "reward-0"));
            }
            struct bench_worker *any[3] = {&crew.learner, &crew.actor, &crew.reward};
            send_anything(bench, any[core_any(&r, 3)], &r);
            if (!bench->finished)
                bench_tick(bench, core_any(&r, 700));
        }
        bench_free(bench);
    }
}

#define core_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        core_test(core_answers_nobody_before_its_epoch_is_durable),
        core_test(core_tells_a_worker_how_often_to_be_heard),
        core_test(core_refuses_workers_that_do_not_belong_to_the_run),
        core_test(core_repeats_the_welcome_until_the_worker_has_spoken),
        core_test(core_ends_the_older_session_of_a_name),
        core_test(core_resets_whoever_it_does_not_know),
        core_test(core_suspects_and_then_buries_the_silent),
        core_test(core_asks_a_worker_whose_message_is_lost_to_come_again),
        core_test(core_cuts_off_who_keeps_sending_nonsense),
        core_test(core_leases_generation_when_there_is_a_learner_to_get_weights_from),
        core_test(core_shares_a_short_queue_among_workers),
        core_test(core_leases_when_a_quarter_of_the_credit_is_back),
        core_test(core_leases_again_what_is_not_answered),
        core_test(core_revokes_the_leases_of_a_worker_that_stalls),
        core_test(core_drops_what_workers_give_back_again_and_again),
        core_test(core_never_drops_what_was_not_tried),
        core_test(core_acknowledges_only_what_is_durable),
        core_test(core_acknowledges_what_overtook_a_heartbeat),
        core_test(core_repeats_its_last_acknowledgement_when_it_has_nothing_to_say),
        core_test(core_forgets_who_is_gone_for_longest_where_names_are_too_many),
        core_test(core_compares_a_second_rollout_with_the_first),
        core_test(core_lets_in_as_many_workers_as_it_has_room_for),
        core_test(core_serves_the_last_of_many_workers),
        core_test(core_refuses_tokens_that_no_actor_can_have_drawn),
        core_test(core_refuses_prompts_outside_the_vocabulary),
        core_test(core_refuses_rollouts_that_cannot_be),
        core_test(core_tries_a_failed_score_again_and_never_makes_it_0),
        core_test(core_keeps_the_first_score),
        core_test(core_logs_what_could_not_be_scored_once_a_result),
        core_test(core_drops_a_group_with_nobody_left_to_compare_with),
        core_test(core_keeps_its_promises_under_any_messages),
    };
    return cmocka_run_group_tests_name("coordinator core", tests, NULL, NULL);
}
