/*
 * test_coordinator_steps.c -- shaping, the train lease, the commit of a step, replay.
 *
 * The oracle of the numbers is the definition (ALGORITHMS, sections 1, 4 and 5), written out
 * below in double for the bench's two slots; of the rest it is core.h's text.
 */
#include "tests/unit/core_bench.h"

static const float *frame_floats(const struct message *message, uint32_t frame)
{
    return message->frame[frame].data;
}

/* --- shaping ------------------------------------------------------------------------------ */

static void a_train_lease_holds_what_the_definitions_say(void **state)
{
    struct bench *bench = *state;
    bench->config.length_penalty = 0.25;
    bench->config.length_free_tokens = 1;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 3.0, -1.0);

    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    assert_int_equal(lease->step, 0);
    assert_int_equal(lease->behaviour_version, 0);
    assert_int_equal(lease->items_n, 2);
    assert_false(lease->checkpoint);
    assert_false(lease->last);
    check_near(lease->kl_coef, 0.0, 0.0); /* it is in the reward */
    /* raw = 1 * 3 + 0.5 * -1; one token past the free one; d = -0.5+0.75 and -0.25+0.5 */
    const double R = 2.5 - 0.25, beta = 0.1;
    const float want[4] = {(float)(-beta * 0.25), (float)(-beta * 0.25 + R),
                           (float)(-beta * 0.25), (float)(-beta * 0.25 + R)};
    const float logp[4] = {-0.5f, -0.25f, -0.5f, -0.25f},
                ref[4] = {-0.75f, -0.5f, -0.75f, -0.5f};
    check_close(frame_floats(lease, 2), want, 4, 1e-6, 0);
    check_close(frame_floats(lease, 1), logp, 4, 0, 0.0 + 1e-12);
    check_close(frame_floats(lease, 3), ref, 4, 0, 0.0 + 1e-12);
    const int32_t *ids = lease->frame[0].data;
    assert_int_equal(ids[lease->items[0].prompt_tokens], 1);
    assert_int_equal(lease->frame[0].size,
                     4 * (lease->items[0].prompt_tokens + lease->items[1].prompt_tokens + 4));
}

static void the_kl_in_the_loss_is_not_in_the_reward(void **state)
{
    struct bench *bench = *state;
    bench->config.kl_place = RUN_KL_PLACE_LOSS;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    const float want[4] = {0.0f, 1.0f, 0.0f, 1.0f};
    check_close(frame_floats(lease, 2), want, 4, 1e-6, 1e-12);
    check_near(lease->kl_coef, 0.1, 0.0);
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* Each answer to a score lease has another score, so that a reference mixed up would show. */
static void par_compares_with_the_prompts_own_references(void **state)
{
    struct bench *bench = *state;
    bench->config.shaper = RUN_SHAPER_PAR;
    bench->config.references = 2;
    bench->config.kl_coef = 0.0;
    bench->config.lag = 1;
    struct bench_crew crew;
    bench_begun(state, &crew);
    for (size_t i = 0; i < bench->sent_n; i++) {
        const struct message m = bench->sent[i].message;
        if (m.type == MESSAGE_GENERATE_LEASE)
            bench_generate(bench, &crew.actor, &m, 0, m.items_n);
        for (uint32_t k = 0; m.type == MESSAGE_SCORE_LEASE && k < m.items_n; k++) {
            struct message one = m;
            one.items = m.items + k;
            one.items_n = 1;
            const struct wire_item *item = &m.items[k];
            const double score = item->kind == WIRE_WORK_REFERENCE
                                     ? 0.1 * item->prompt + 0.5 * item->b
                                     : 1.0 + item->b;
            bench_score(bench, &crew.reward, &one, score, 0.0, WIRE_SCORE_OK);
        }
    }
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    for (uint32_t b = 0; b < 2; b++) {
        const double ref = 0.1 * lease->items[b].prompt;
        const double want = (sigmoid(1.0 + b - ref) + sigmoid(1.0 + b - ref - 0.5)) / 2;
        check_near(frame_floats(lease, 2)[2 * b + 1], want, 1e-6);
    }
    assert_int_equal(bench_stats(bench)->references_scored, 8); /* 4 prompts in two steps */
}

static void the_controller_moves_once_a_step_from_that_steps_kl(void **state)
{
    struct bench *bench = *state;
    bench->config.kl_controller = RUN_KL_CONTROLLER_ADAPTIVE;
    bench->config.kl_target = 1.0;
    bench->config.kl_horizon = 100.0;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    double beta = 0.1;
    for (uint64_t step = 0; step < 2; step++) {
        bench_crew_work(bench, &crew, &from, 1.0, 0.0);
        const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
        assert_int_equal(lease->step, step);
        check_near(frame_floats(lease, 2)[0], -beta * 0.25, 1e-7);
        check_near(bench_stats(bench)->kl_coef, beta, 1e-15); /* not before the commit */
        bench_train(bench, &crew.learner, step, (unsigned char)(101 + step), 0);
        const struct record_step *last = &bench_stats(bench)->last;
        check_near(last->kl_mean, 0.5, 1e-7); /* both tokens, nats a sequence */
        check_near(last->kl_coef_before, beta, 1e-15);
        beta *= 1.0 + -0.2 * 2 / 100.0; /* e = clip(0.5 / 1 - 1, -0.2, 0.2) */
        check_near(last->kl_coef_after, beta, 1e-15);
        check_near(bench_stats(bench)->kl_coef, beta, 1e-15);
    }
}

static void past_the_kl_cap_nothing_is_trained(void **state)
{
    struct bench *bench = *state;
    bench->config.kl_cap = 0.4;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    assert_true(bench->finished);
    assert_int_equal(bench->exit_code, CORE_EXIT_HALT);
    assert_non_null(strstr(bench->finish_text,
                           "step 0: the KL of 0.5 nats a sequence is past the "
                           "cap kl.cap_nats_per_sequence of 0.4"));
    assert_null(bench_last(bench, 1, MESSAGE_TRAIN_LEASE, 0));
    bench_expect(bench, 2, MESSAGE_BYE, 0); /* all are told */
    assert_string_equal(bench->records[bench->records_n - 1].id, "HALT");
}

/* --- the commit --------------------------------------------------------------------------- */

static void a_version_is_published_when_its_record_is_durable(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 2.0);
    bench->disk = false;
    const size_t since = bench->sent_n;
    bench_train(bench, &crew.learner, 0, 101, 0);
    assert_int_equal(bench_stats(bench)->trained, 0);
    assert_int_equal(bench->steps_done, 0);
    assert_null(bench_last(bench, 2, MESSAGE_GENERATE_LEASE, since));
    assert_null(bench_last(bench, 1, MESSAGE_ACK, since));
    assert_string_equal(bench_stats(bench)->waits_for,
                        "the ledger: a trained step is not durable yet");

    bench->disk = true;
    bench_flush(bench);
    const struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->trained, 1);
    assert_int_equal(stats->trained_slots, 2);
    assert_int_equal(bench->steps_done, 1);
    bench_expect(bench, 1, MESSAGE_ACK, since);
    assert_int_equal(bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, since)->version, 1);
    assert_int_equal(stats->last.trained, 2);
    check_near(stats->last.reward_raw_mean, 2.0, 1e-12);
    check_near(stats->last.score_mean[1], 2.0, 1e-12);
    assert_string_equal(stats->last.stats[0].name, "logp_diff_max");
    check_near(stats->logp_diff_max, 0.0, 0.0);
}

static void log_probs_that_differ_are_an_event_that_stays(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 2.0);
    bench_train_apart(bench, &crew.learner, 0, 101, 0, 0.25);
    check_near(bench_stats(bench)->logp_diff_max, 0.25, 0.0);
    assert_true(bench_said(bench, "LOGP-DIFFERS step 0: log-probs of actor and learner are "
                                  "0.25 nats apart"));
}

static void with_a_lag_the_next_step_is_generated_meanwhile(void **state)
{
    struct bench *bench = *state;
    bench->config.lag = 1;
    struct bench_crew crew;
    bench_begun(state, &crew);
    const struct message *lease = bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    assert_int_equal(lease->version, 0); /* steps 0 and 1, both by version 0 */
    assert_int_equal(lease->items[1].a, 1);
    assert_int_equal(bench_stats(bench)->leased, 4);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    assert_int_equal(bench_stats(bench)->scored, 2); /* step 1 waits for step 0 */
    bench_train(bench, &crew.learner, 0, 101, 0);
    assert_int_equal(bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0)->behaviour_version, 0);
    lease = bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    assert_int_equal(lease->version, 1); /* step 2 = 1 + lag */
    assert_int_equal(lease->items[0].a, 2);
}

static void a_run_ends_when_its_last_step_is_durable(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    for (uint64_t step = 0; step < 3; step++) {
        bench_crew_work(bench, &crew, &from, 1.0, 0.0);
        const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
        assert_int_equal(lease->checkpoint, step != 0); /* every 2, and the last */
        assert_int_equal(lease->last, step == 2);
        bench_train(bench, &crew.learner, step, (unsigned char)(101 + step),
                    step == 0 ? 0 : step + 1);
    }
    assert_true(bench->finished);
    assert_int_equal(bench->exit_code, 0);
    assert_string_equal(bench->finish_text, "the run is complete");
    for (uint64_t peer = 1; peer <= 3; peer++)
        bench_expect(bench, peer, MESSAGE_BYE, 0);

    bench->finished = false; /* started again, it is still complete */
    bench_restart(bench, 3);
    assert_true(bench->finished);
    assert_int_equal(bench->exit_code, 0);
}

static void a_result_that_cannot_be_is_refused(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    bench_train(bench, &crew.learner, 0, 101, 0); /* nothing is generated yet */
    bench_train(bench, &crew.learner, 2, 101, 0);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    bench_train(bench, &crew.learner, 0, 101, 2); /* a checkpoint of the future */
    assert_int_equal(bench_stats(bench)->refused, 3);
    assert_int_equal(bench_stats(bench)->trained, 0);
    assert_true(bench_said(bench,
                           "TRAIN-REFUSED learner-0 sent a result for step 2, version 3, "
                           "checkpoint 0, while step 0 is to be trained"));
}

/* --- a learner that lost its memory ------------------------------------------------------- */

/* Steps 0 and 1 trained; the checkpoint of version 2 came late, or not. */
static struct bench *two_trained(void **state, struct bench_crew *crew, uint64_t checkpoint)
{
    struct bench *bench = bench_begun(state, crew);
    size_t from = 0;
    for (uint64_t step = 0; step < 2; step++) {
        bench_crew_work(bench, crew, &from, 1.0, 0.0);
        bench_train(bench, &crew->learner, step, (unsigned char)(101 + step),
                    step == 1 ? checkpoint : 0);
    }
    assert_int_equal(bench_stats(bench)->trained, 2);
    return bench;
}

static void a_learner_that_comes_back_is_sent_the_same_steps_again(void **state)
{
    struct bench_crew crew;
    struct bench *bench = two_trained(state, &crew, 0);
    const struct message *first = NULL;
    for (size_t i = 0; i < bench->sent_n && !first; i++)
        if (bench->sent[i].message.type == MESSAGE_TRAIN_LEASE)
            first = &bench->sent[i].message;

    struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    hello.nonce[0] = 9;
    for (uint64_t step = 0; step < 2; step++) {
        const size_t since = bench->sent_n;
        if (step == 0)
            bench_join(bench, &crew.learner, 31, hello);
        else
            bench_train(bench, &crew.learner, 0, 101, 0);
        const struct message *again = bench_expect(bench, 31, MESSAGE_TRAIN_LEASE, since);
        assert_int_equal(again->step, step);
        if (step == 0)
            for (uint32_t f = 0; f < 4; f++)
                assert_memory_equal(again->frame[f].data, first->frame[f].data,
                                    first->frame[f].size);
    }
    const size_t records = bench->records_n;
    bench_train(bench, &crew.learner, 1, 102, 2); /* the same, and a checkpoint this time */
    assert_int_equal(bench_stats(bench)->retrained, 2);
    assert_int_equal(bench_stats(bench)->checkpoint_version, 2);
    assert_int_equal(bench->records[records].record.kind, RECORD_CHECKPOINT);
    assert_int_equal(bench->records[records].record.version, 2);
}

/* Rollouts of a version that a learner come back has yet to train again are not asked for: the
 * actors could not have its weights, and after some failures the slots would be dropped. */
static void what_a_learner_that_is_behind_does_not_hold_is_not_generated(void **state)
{
    struct bench_crew crew;
    struct bench *bench = two_trained(state, &crew, 0);
    struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    hello.nonce[0] = 9;
    bench_join(bench, &crew.learner, 31, hello); /* at version 0 */
    hello = bench_hello(WIRE_ROLE_ACTOR, "actor-0");
    hello.nonce[0] = 9;
    hello.capacity = 64;
    size_t since = bench->sent_n;
    bench_join(bench, &crew.actor, 32, hello); /* what the old one held is free again */
    for (uint64_t held = 0; held < 2; held++) {
        for (size_t i = since; i < bench->sent_n; i++)
            if (bench->sent[i].message.type == MESSAGE_GENERATE_LEASE)
                assert_in_range(bench->sent[i].message.version, 0, held);
        bench_train(bench, &crew.learner, held, (unsigned char)(101 + held), 0);
    }
    const struct message *lease = bench_expect(bench, 32, MESSAGE_GENERATE_LEASE, since);
    assert_int_equal(lease->version, bench->config.lag < 2 ? 2 - bench->config.lag : 0);
}

static void other_weights_from_the_same_step_end_the_run(void **state)
{
    struct bench_crew crew;
    struct bench *bench = two_trained(state, &crew, 0);
    struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    hello.nonce[0] = 9;
    bench_join(bench, &crew.learner, 31, hello);
    bench_train(bench, &crew.learner, 0, 55, 0);
    assert_true(bench->finished);
    assert_int_equal(bench->exit_code, CORE_EXIT_HALT);
    assert_string_equal(bench->finish_text,
                        "not reproducible: step 0 trained again by learner-0 gave weights "
                        "3700000000000000..., the record says 6500000000000000...");
}

static void weights_that_are_not_the_recorded_ones_are_refused(void **state)
{
    struct bench_crew crew;
    struct bench *bench = two_trained(state, &crew, 2);
    struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    struct bench_worker worker = {.peer = 31};
    hello.nonce[0] = 9;
    hello.version = 2;
    hello.hash.bytes[0] = 77;
    bench_send(bench, &worker, hello);
    assert_true(bench_expect(bench, 31, MESSAGE_RESET, 0)->refused);
    assert_non_null(strstr(bench_expect(bench, 31, MESSAGE_RESET, 0)->text,
                           "its weights of version 2 are 4d00000000000000..., the record says "
                           "6600000000000000..."));
    hello.hash.bytes[0] = 102;
    bench_join(bench, &worker, 32, hello);
}

static void a_learner_one_step_ahead_is_believed_when_it_has_forgotten_its_result(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    hello.nonce[0] =
        9; /* it trained step 0, wrote checkpoint 1, and died before it could say so */
    hello.version = 1;
    hello.hash.bytes[0] = 101;
    const size_t since = bench->sent_n;
    bench_join(bench, &crew.learner, 31, hello);
    const struct message *lease = bench_expect(bench, 31, MESSAGE_TRAIN_LEASE, since);
    assert_int_equal(lease->step, 0);
    bench_send(bench, &crew.learner,
               (struct message){.type = MESSAGE_LEASE_FAILED, .lease = lease->lease});
    assert_int_equal(bench_stats(bench)->trained, 1);
    assert_int_equal(bench_stats(bench)->last.weights.bytes[0], 101);
}

/* It may be writing what the lease asks for besides: silence says nothing of the step. */
static void a_learner_one_step_ahead_is_not_believed_before_it_answers(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    hello.nonce[0] = 9;
    hello.version = 1;
    hello.hash.bytes[0] = 101;
    const size_t since = bench->sent_n;
    bench_join(bench, &crew.learner, 31, hello);
    const uint64_t lease = bench_expect(bench, 31, MESSAGE_TRAIN_LEASE, since)->lease;
    const uint64_t until_ms = bench->now_ms + bench->config.lease_ms + 2000;
    while (bench->now_ms < until_ms) {
        bench_send(bench, &crew.learner, (struct message){.type = MESSAGE_HEARTBEAT});
        bench_tick(bench, 1000);
    }
    assert_true(bench_said(bench, "LEASE-EXPIRED train lease of learner-0"));
    assert_int_equal(bench_stats(bench)->trained, 0);
    assert_true(bench_expect(bench, 31, MESSAGE_TRAIN_LEASE, since)->lease != lease);
}

static void a_step_the_learner_cannot_train_ends_the_run(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    for (int i = 0; i < CORE_TRAIN_FAILS_MAX; i++) {
        const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
        struct message failed = {.type = MESSAGE_LEASE_FAILED, .lease = lease->lease};
        snprintf(failed.text, sizeof failed.text, "the loss is not finite");
        const size_t since = bench->sent_n;
        bench_send(bench, &crew.learner, failed);
        while (!bench->finished && !bench_last(bench, 1, MESSAGE_TRAIN_LEASE, since)) {
            bench_send(bench, &crew.learner, (struct message){.type = MESSAGE_HEARTBEAT});
            bench_tick(bench, 500);
        }
    }
    assert_int_equal(bench->exit_code, CORE_EXIT_HALT);
    assert_string_equal(bench->finish_text,
                        "learner-0 cannot train step 0: the loss is not finite");
}

static void without_checkpoints_no_more_steps_are_opened_than_can_be_kept(void **state)
{
    struct bench *bench = *state;
    bench->config.steps = 100;
    bench->config.checkpoint_every = 1;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    for (uint64_t step = 0; step < 20 && bench_stats(bench)->opened > step; step++) {
        bench_crew_work(bench, &crew, &from, 1.0, 0.0);
        bench_train(bench, &crew.learner, step, (unsigned char)step, 0);
        assert_int_equal(bench_stats(bench)->trained, step + 1);
    }
    assert_true(bench_stats(bench)->trained < 20);
    assert_false(bench->finished);
    assert_string_equal(bench_stats(bench)->waits_for,
                        "the learner to finish a checkpoint: too many steps are kept for it");
}

/* --- what people look at ------------------------------------------------------------------ */

static void ages_and_the_last_failure_are_told(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    const struct message *lease = bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    bench_tick(bench, 700);
    const struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->step_age_ms, 700);
    assert_int_equal(stats->wait, CORE_WAIT_GENERATE);
    assert_string_equal(core_wait_name(stats->wait), "generate");
    assert_string_equal(stats->peer[1].name, "actor-0");
    assert_int_equal(stats->peer[1].lease_age_ms, 700);
    assert_int_equal(stats->peer[0].lease_age_ms, 0); /* the learner has none */
    assert_string_equal(stats->peer[1].failure, "");
    struct message failed = {.type = MESSAGE_LEASE_FAILED, .lease = lease->lease};
    snprintf(failed.text, sizeof failed.text, "out of memory");
    bench_send(bench, &crew.actor, failed);
    bench_tick(bench, 30);
    stats = bench_stats(bench);
    assert_string_equal(stats->peer[1].failure, "out of memory");
    assert_int_equal(stats->peer[1].failure_age_ms, 30);
}

/* --- an operator -------------------------------------------------------------------------- */

static void a_paused_run_gives_out_no_lease(void **state)
{
    struct bench *bench = *state;
    bench_open(bench);
    bench_start(bench);
    bench_event(bench, (struct core_event){.kind = CORE_EV_PAUSE});
    struct bench_crew crew;
    bench_crew_join(bench, &crew);
    assert_null(bench_last(bench, 2, MESSAGE_GENERATE_LEASE, 0));
    assert_string_equal(bench_stats(bench)->waits_for, "somebody to resume the run");
    bench_event(bench, (struct core_event){.kind = CORE_EV_RESUME});
    bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
}

/* A coordinator that crashed must not go on by itself. */
static void a_paused_run_is_paused_after_a_restart(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    bench_event(bench, (struct core_event){.kind = CORE_EV_PAUSE});
    const size_t records = bench->records_n;
    bench_event(bench, (struct core_event){.kind = CORE_EV_PAUSE}); /* asking twice is once */
    assert_int_equal(bench->records_n, records);
    bench_restart(bench, 0);
    size_t since = bench->sent_n;
    bench_crew_join(bench, &crew);
    assert_true(bench_stats(bench)->paused);
    assert_null(bench_last(bench, 2, MESSAGE_GENERATE_LEASE, since));
    bench_event(bench, (struct core_event){.kind = CORE_EV_RESUME});
    bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, since);
    bench_restart(bench, 0);
    assert_false(bench_stats(bench)->paused);
}

/* What was out when it was paused is finished, and taken. */
static void a_paused_run_takes_what_is_in_flight(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    const struct message lease = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    bench_event(bench, (struct core_event){.kind = CORE_EV_PAUSE});
    const size_t since = bench->sent_n;
    bench_generate(bench, &crew.actor, &lease, 0, 2);
    assert_int_equal(bench_stats(bench)->generated, 2);
    assert_null(bench_last(bench, 3, MESSAGE_SCORE_LEASE, since));
}

static void a_paused_run_can_be_drained_and_is_paused_then(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    bench_train(bench, &crew.learner, 0, 101, 0);
    bench_event(bench, (struct core_event){.kind = CORE_EV_PAUSE});
    bench_event(bench, (struct core_event){.kind = CORE_EV_DRAIN});
    assert_false(bench->finished); /* version 1 has no checkpoint */
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    assert_true(bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0)->checkpoint);
    bench_train(bench, &crew.learner, 1, 102, 2);
    assert_true(bench->finished);
    assert_int_equal(bench->exit_code, 0);
    assert_string_equal(bench->finish_text, "drained: the run can be continued");
    bench->finished = false;
    bench_restart(bench, 2);
    assert_true(bench_stats(bench)->paused);
    assert_false(bench_stats(bench)->draining);
}

static void a_checkpoint_that_is_asked_for_is_made_with_the_next_step(void **state)
{
    struct bench *bench = *state;
    bench->config.checkpoint_every = 100;
    bench->config.steps = 5;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    assert_false(bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0)->checkpoint);
    bench_event(bench, (struct core_event){.kind = CORE_EV_CHECKPOINT});
    bench_train(bench, &crew.learner, 0, 101, 0); /* was out already */
    assert_true(bench_stats(bench)->checkpoint_asked);
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    assert_true(bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0)->checkpoint);
    bench_train(bench, &crew.learner, 1, 102, 2);
    assert_false(bench_stats(bench)->checkpoint_asked);
    assert_int_equal(bench_stats(bench)->checkpoint_version, 2);
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    assert_false(bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0)->checkpoint);
}

static void a_drained_run_ends_with_a_checkpoint(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    bench_event(bench, (struct core_event){.kind = CORE_EV_DRAIN});
    if (!bench->finished) {
        size_t from = 0;
        bench_crew_work(bench, &crew, &from, 1.0, 0.0);
        assert_true(bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0)->checkpoint);
        bench_train(bench, &crew.learner, 0, 101, 1);
    }
    assert_true(bench->finished);
    assert_int_equal(bench->exit_code, 0);
    assert_string_equal(bench->finish_text, "drained: the run can be continued");
    assert_false(bench_expect(bench, 2, MESSAGE_RESET, 0)->refused); /* they may look again */
}

static void a_stopped_run_ends_when_all_is_durable(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    bench->disk = false;
    bench_generate(bench, &crew.actor, bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0), 0, 2);
    bench_event(bench, (struct core_event){.kind = CORE_EV_STOP});
    assert_false(bench->finished);
    bench->disk = true;
    bench_flush(bench);
    assert_true(bench->finished);
    assert_int_equal(bench->exit_code, CORE_EXIT_STOPPED);
}

/* --- replay ------------------------------------------------------------------------------- */

static void a_restarted_coordinator_goes_on_where_the_ledger_ends(void **state)
{
    struct bench *bench = *state;
    bench->config.lag = 1;
    bench->config.shaper = RUN_SHAPER_CENTERED;
    bench->config.references = 1;
    bench->config.kl_controller = RUN_KL_CONTROLLER_ADAPTIVE;
    bench->config.kl_target = 1.0;
    bench->config.kl_horizon = 100.0;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    bench_train(bench, &crew.learner, 0, 101, 0);
    bench_crew_work(bench, &crew, &from, 2.0, 0.0);
    const struct core_stats before = *bench_stats(bench);

    bench_restart(bench, 0);
    const struct core_stats *after = bench_stats(bench);
    assert_int_equal(after->epoch, 2);
    assert_int_equal(after->trained, 1);
    assert_int_equal(after->shaped, before.shaped);
    assert_int_equal(after->scored, before.scored);
    assert_int_equal(after->planned, before.planned);
    assert_int_equal(after->references_scored, before.references_scored);
    assert_true(after->kl_coef == before.kl_coef);
    check_near(after->last.reward_raw_mean, 1.0, 1e-12);
    assert_string_equal(after->peer[0].name, "actor-0"); /* known from the records */
    assert_int_equal(after->peer[0].state, CORE_PEER_GONE);

    const size_t since = bench->sent_n; /* the old session is none any more */
    bench_send(bench, &crew.actor, (struct message){.type = MESSAGE_HEARTBEAT});
    bench_expect(bench, 2, MESSAGE_RESET, since);
    struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    hello.version = 1;
    hello.hash.bytes[0] = 101;
    bench_join(bench, &crew.learner, 41, hello);
    assert_int_equal(bench_expect(bench, 41, MESSAGE_TRAIN_LEASE, since)->step, 1);
}

/* A ledger of one trained step and half of another, to be spoilt. */
static struct bench *with_ledger(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 1.0, 0.0);
    bench_train(bench, &crew.learner, 0, 101, 0);
    core_free(bench->core);
    bench_open(bench);
    check_ok(core_replay_begin(bench->core, 0, &err));
    return bench;
}

static struct bench_record *record_of(struct bench *bench, enum record_kind kind)
{
    for (size_t i = 0; i < bench->records_n; i++)
        if (bench->records[i].record.kind == kind)
            return &bench->records[i];
    fail_msg("there is no %s in the ledger", record_kind_name(kind));
    return NULL;
}

/* Replay until a record is refused; its sentence must contain `words`. */
static void check_replay_stops(struct bench *bench, const char *words)
{
    for (size_t i = 0; i < bench->records_n; i++) {
        struct err err = {0};
        if (core_replay(bench->core, &bench->records[i].record, &err) == ERR_OK)
            continue;
        assert_int_equal(err.code, ERR_STATE);
        if (!strstr(err.text, words))
            fail_msg("replay said \"%s\", without \"%s\"", err.text, words);
        return;
    }
    fail_msg("replay took everything");
}

static void replay_refuses_a_step_that_another_program_computed(void **state)
{
    struct bench *bench = with_ledger(state);
    record_of(bench, RECORD_STEP)->step.kl_coef_after += 0.125;
    check_replay_stops(bench, "it was written by another version");
}

static void replay_refuses_a_step_whose_scores_are_missing(void **state)
{
    struct bench *bench = with_ledger(state);
    struct bench_record *score = record_of(bench, RECORD_SCORE);
    score->record.kind = RECORD_EVENT;
    check_replay_stops(bench, "step 0 has not all its scores");
}

static void replay_refuses_what_comes_twice_or_from_elsewhere(void **state)
{
    struct bench *bench = with_ledger(state);
    struct bench_record *rollout = record_of(bench, RECORD_ROLLOUT);
    rollout[1].record.b = rollout[0].record.b;
    rollout[1].record.prompt = rollout[0].record.prompt;
    check_replay_stops(bench, "(rollout of 0/0) comes a second time");
}

static void replay_refuses_another_runs_rollouts(void **state)
{
    struct bench *bench = with_ledger(state);
    record_of(bench, RECORD_ROLLOUT)->record.prompt ^= 1;
    check_replay_stops(bench, "is not what this run plans there");
}

static void replay_refuses_records_out_of_order(void **state)
{
    struct bench *bench = with_ledger(state);
    bench->records[2].record.seq = 1;
    check_replay_stops(bench, "record 1 comes after record 2");
}

static void replay_refuses_a_score_without_a_rollout(void **state)
{
    struct bench *bench = with_ledger(state);
    record_of(bench, RECORD_ROLLOUT)->record.kind = RECORD_EVENT;
    check_replay_stops(bench, "is for one that waits for no score");
}

/* --- what cannot begin -------------------------------------------------------------------- */

static void check_no_core(struct bench *bench, const struct core_prompts *prompts,
                          enum err_code code, const char *words)
{
    const struct core_setup setup = {.config = &bench->config, .prompts = *prompts};
    check_fails(core_new(&bench->core, &setup, bench_sink, bench, &err), code, words);
    assert_null(bench->core);
    bench_config(&bench->config);
}

static void a_run_that_cannot_be_is_refused_at_once(void **state)
{
    struct bench *bench = *state;
    const size_t long_offset[] = {0, 1, 6};
    const struct core_prompts too_long = {2, long_offset, bench_ids, NULL};
    check_no_core(bench, &too_long, ERR_VALUE, "prompt 1 has 5 tokens: must be 1..4");
    const struct core_prompts none = {0, long_offset, bench_ids, NULL};
    check_no_core(bench, &none, ERR_USAGE, "the data set has no prompt");
    bench->config.batch = WIRE_ITEMS_MAX + 1;
    check_no_core(bench, &bench_prompts, ERR_VALUE, "pipeline.batch is 4097");
    bench->config.batch = 4096;
    bench->config.max_new_tokens = 65536;
    check_no_core(bench, &bench_prompts, ERR_VALUE, "does not fit frames");
    bench->config.scorers = 0;
    check_no_core(bench, &bench_prompts, ERR_VALUE, "reward.scorers: 0 of them");
    bench->config.samples_per_prompt = 3;
    check_no_core(bench, &bench_prompts, ERR_USAGE, "does not divide batch");
    bench->config.steps = 0;
    check_no_core(bench, &bench_prompts, ERR_VALUE, "run.steps and checkpoint.every");
}

#define steps_test(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        steps_test(a_train_lease_holds_what_the_definitions_say),
        steps_test(the_kl_in_the_loss_is_not_in_the_reward),
        steps_test(par_compares_with_the_prompts_own_references),
        steps_test(the_controller_moves_once_a_step_from_that_steps_kl),
        steps_test(past_the_kl_cap_nothing_is_trained),
        steps_test(a_version_is_published_when_its_record_is_durable),
        steps_test(log_probs_that_differ_are_an_event_that_stays),
        steps_test(with_a_lag_the_next_step_is_generated_meanwhile),
        steps_test(a_run_ends_when_its_last_step_is_durable),
        steps_test(a_result_that_cannot_be_is_refused),
        steps_test(a_learner_that_comes_back_is_sent_the_same_steps_again),
        steps_test(what_a_learner_that_is_behind_does_not_hold_is_not_generated),
        steps_test(other_weights_from_the_same_step_end_the_run),
        steps_test(weights_that_are_not_the_recorded_ones_are_refused),
        steps_test(a_learner_one_step_ahead_is_believed_when_it_has_forgotten_its_result),
        steps_test(a_learner_one_step_ahead_is_not_believed_before_it_answers),
        steps_test(a_step_the_learner_cannot_train_ends_the_run),
        steps_test(without_checkpoints_no_more_steps_are_opened_than_can_be_kept),
        steps_test(ages_and_the_last_failure_are_told),
        steps_test(a_paused_run_gives_out_no_lease),
        steps_test(a_paused_run_is_paused_after_a_restart),
        steps_test(a_paused_run_takes_what_is_in_flight),
        steps_test(a_paused_run_can_be_drained_and_is_paused_then),
        steps_test(a_checkpoint_that_is_asked_for_is_made_with_the_next_step),
        steps_test(a_drained_run_ends_with_a_checkpoint),
        steps_test(a_stopped_run_ends_when_all_is_durable),
        steps_test(a_restarted_coordinator_goes_on_where_the_ledger_ends),
        steps_test(replay_refuses_a_step_that_another_program_computed),
        steps_test(replay_refuses_a_step_whose_scores_are_missing),
        steps_test(replay_refuses_what_comes_twice_or_from_elsewhere),
        steps_test(replay_refuses_another_runs_rollouts),
        steps_test(replay_refuses_records_out_of_order),
        steps_test(replay_refuses_a_score_without_a_rollout),
        steps_test(a_run_that_cannot_be_is_refused_at_once),
    };
    return cmocka_run_group_tests_name("coordinator steps", tests, NULL, NULL);
}
