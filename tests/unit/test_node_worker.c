/*
 * test_node_worker.c -- a worker against a coordinator played by the test.
 *
 * Oracle: the table of messages in wire/message.h and the promises of node/worker.h.  The test
 * is the coordinator: it receives what the worker says, in order, and answers by script.  The
 * worker runs in threads of this process.  Waits are bounded by WAIT_MS, and no verdict
 * depends on how long something took.
 */
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "node/loop.h"
#include "node/rendezvous.h"
#include "node/worker.h"
#include "tests/stranger.h"
#include "tests/unit/wire_scene.h"

#define WAIT_MS  20000
#define EPOCH    7u
#define NEVER_MS 600000u /* dead_ms of sessions that are not to end by silence */

/* A worker on a loop and a thread of its own. */
struct rig {
    pthread_t thread;
    struct worker_options options;
    worker_compute *compute;
    struct worker *worker;
    atomic_bool opened;
    atomic_uint gate; /* leases that gated_compute may still take */
    atomic_uint taken;
    enum err_code rc;
    struct err err;
};

static void *rig_thread(void *ctx)
{
    struct rig *rig = ctx;
    uv_loop_t loop;
    if (uv_loop_init(&loop) != 0)
        return NULL;
    rig->rc = worker_open(&rig->worker, &loop, context, &rig->options, rig->compute, rig, NULL,
                          &rig->err);
    atomic_store(&rig->opened, true);
    if (!rig->rc) {
        loop_run(&loop);
        rig->rc = worker_close(rig->worker, &rig->err);
    }
    loop_release(&loop);
    return NULL;
}

static void rig_start(struct rig *rig, worker_compute *compute)
{
    memset(rig, 0, sizeof *rig);
    rig->compute = compute;
    rig->options = (struct worker_options){
        .role = WIRE_ROLE_ACTOR, .name = "actor-0", .control_endpoint = ipc, .capacity = 12};
    rig->options.config_hash.bytes[3] = 42;
    assert_int_equal(pthread_create(&rig->thread, NULL, rig_thread, rig), 0);
    while (!atomic_load(&rig->opened))
        wire_test_sleep_ms(1);
}

static void rig_join(struct rig *rig)
{
    pthread_join(rig->thread, NULL);
}

/* Takes leases as the gate allows, answers each with one item of its own number. */
static enum err_code gated_compute(struct worker *worker, void *ctx, struct err *err)
{
    struct rig *rig = ctx;
    struct message lease;
    enum err_code rc = ERR_OK;
    while (!rc && !worker_stopping(worker)) {
        if (atomic_load(&rig->gate) == 0) {
            wire_test_sleep_ms(1);
            continue;
        }
        if (!worker_wait_lease(worker, &lease, 20))
            continue;
        atomic_fetch_sub(&rig->gate, 1);
        atomic_fetch_add(&rig->taken, 1);
        struct wire_item item = lease.items[0];
        item.response_tokens = 1;
        item.finish = WIRE_FINISH_EOS;
        const int32_t id = (int32_t)lease.lease;
        const float logprob = -0.5f;
        const struct message result = {.type = MESSAGE_GENERATE_RESULT,
                                       .lease = lease.lease,
                                       .version = lease.version,
                                       .items = &item,
                                       .items_n = 1,
                                       .frames_n = 2,
                                       .frame = {{&id, 4}, {&logprob, 4}}};
        worker_progress(worker);
        worker_set_held(worker, 3);
        rc = worker_send(worker, &result, err);
        message_release(&lease);
    }
    return rc;
}

/* The coordinator: a ROUTER, and the session it gave. */
struct coordinator {
    struct wire_socket *socket;
    struct wire_peer peer;
    uint64_t session, seq;
    uint64_t heard_session, heard_seq;
    uint64_t heard_fetches; /* of the last heartbeat */
};

static void coordinator_open(struct coordinator *c)
{
    *c = (struct coordinator){0};
    check_ok(wire_socket_bind(&c->socket, context, ipc, WIRE_LIMITS_CONTROL, &err));
}

static void coordinator_say(struct coordinator *c, struct message *m)
{
    m->epoch = m->epoch ? m->epoch : EPOCH;
    m->session = m->session ? m->session : c->session;
    m->seq = ++c->seq;
    struct err err = {0};
    const enum wire_send sent = wire_socket_send(c->socket, c->peer, m, &err);
    if (sent != WIRE_SEND_OK)
        fail_msg("%s was not sent: %s %s", message_type_name(m->type), wire_send_name(sent),
                 err.text);
}

/* A session's messages are counted from 1, without a gap.  What the one before it still said may
 * come among them: it had a connection of its own. */
static void coordinator_check_seq(struct coordinator *c, const struct message *m)
{
    if (m->session == 0 || m->session != c->session)
        return;
    if (m->session != c->heard_session)
        c->heard_seq = 0;
    c->heard_session = m->session;
    assert_int_equal(m->seq, ++c->heard_seq);
}

/* The next message of this type; heartbeats before it are passed over, nothing else is. */
static struct wire_peer coordinator_hear(struct coordinator *c, enum message_type type,
                                         struct message *m)
{
    const uint64_t until_ms = clock_mono_ms() + WAIT_MS;
    while (clock_mono_ms() < until_ms) {
        struct wire_peer peer;
        struct err err = {0};
        if (!wire_socket_wait(c->socket, 100))
            continue;
        switch (wire_socket_recv(c->socket, &peer, m, &err)) {
        case WIRE_RECV_NOTHING: continue;
        case WIRE_RECV_BAD: fail_msg("bad message: %s", err.text);
        case WIRE_RECV_MESSAGE: break;
        }
        coordinator_check_seq(c, m);
        if (m->type == MESSAGE_HEARTBEAT)
            c->heard_fetches = m->weights.fetches;
        if (m->type == type)
            return peer;
        if (m->type != MESSAGE_HEARTBEAT)
            fail_msg("waited for %s, heard %s (%s)", message_type_name(type),
                     message_type_name(m->type), m->text);
        message_release(m);
    }
    fail_msg("waited for %s", message_type_name(type));
    return (struct wire_peer){0};
}

static void coordinator_welcome_to(struct coordinator *c, uint64_t session,
                                   uint32_t heartbeat_ms, uint32_t dead_ms)
{
    struct message hello;
    c->peer = coordinator_hear(c, MESSAGE_HELLO, &hello);
    assert_int_equal(hello.session, 0);
    assert_int_equal(hello.epoch, 0);
    message_release(&hello);
    c->session = session;
    c->seq = 0;
    struct message m = {
        .type = MESSAGE_WELCOME, .heartbeat_ms = heartbeat_ms, .dead_ms = dead_ms};
    coordinator_say(c, &m);
}

static void coordinator_welcome(struct coordinator *c, uint64_t session, uint32_t dead_ms)
{
    coordinator_welcome_to(c, session, 40, dead_ms);
}

static void coordinator_lease(struct coordinator *c, uint64_t lease)
{
    static const int32_t ids[2] = {1, 2};
    struct wire_item item = {
        .kind = WIRE_WORK_ROLLOUT, .b = (uint32_t)lease, .prompt_tokens = 2};
    struct message m = {.type = MESSAGE_GENERATE_LEASE,
                        .lease = lease,
                        .version = 5,
                        .items = &item,
                        .items_n = 1,
                        .frames_n = 1,
                        .frame = {{ids, 8}}};
    coordinator_say(c, &m);
}

/* The result of this lease, in this session; its seq. */
static uint64_t coordinator_result(struct coordinator *c, uint64_t lease)
{
    struct message m;
    coordinator_hear(c, MESSAGE_GENERATE_RESULT, &m);
    assert_int_equal(m.lease, lease);
    assert_int_equal(m.session, c->session);
    assert_int_equal(m.epoch, EPOCH);
    assert_int_equal(m.version, 5);
    assert_int_equal(m.items[0].b, lease);
    assert_int_equal(*(const int32_t *)m.frame[0].data, lease);
    const uint64_t seq = m.seq;
    message_release(&m);
    return seq;
}

static void coordinator_ack(struct coordinator *c, uint64_t seq)
{
    struct message m = {.type = MESSAGE_ACK, .ack_seq = seq};
    coordinator_say(c, &m);
}

static void coordinator_bye(struct coordinator *c, const char *words)
{
    struct message m;
    coordinator_hear(c, MESSAGE_BYE, &m);
    if (!strstr(m.text, words))
        fail_msg("BYE said \"%s\", without \"%s\"", m.text, words);
    message_release(&m);
}

static struct worker_counters rig_counters(struct rig *rig)
{
    struct worker_counters counters;
    worker_count(rig->worker, &counters);
    return counters;
}

static struct rig rig; /* too large for the stack */
static struct coordinator coordinator;

/* The worker in session `session`, which it will leave when it is told to. */
static void session_begin(worker_compute *compute, uint32_t gate, uint64_t session)
{
    coordinator_open(&coordinator);
    rig_start(&rig, compute);
    atomic_store(&rig.gate, gate);
    coordinator_welcome(&coordinator, session, NEVER_MS);
}

/* It leaves with these words. */
static void session_over(const char *words)
{
    coordinator_bye(&coordinator, words);
    rig_join(&rig);
    wire_socket_close(coordinator.socket, 0);
    finish();
}

static void session_stop(const char *words)
{
    worker_stop(rig.worker);
    session_over(words);
}

static void worker_serves_a_lease_and_says_goodbye(void **state)
{
    (void)state;
    struct message hello, m;
    coordinator_open(&coordinator);
    rig_start(&rig, gated_compute);
    atomic_store(&rig.gate, 100);

    coordinator.peer = coordinator_hear(&coordinator, MESSAGE_HELLO, &hello);
    assert_string_equal(hello.name, "actor-0");
    assert_int_equal(hello.role, WIRE_ROLE_ACTOR);
    assert_int_equal(hello.capacity, 12);
    assert_int_equal(hello.config_hash.bytes[3], 42);
    assert_int_equal(hello.pid, (uint64_t)getpid());
    assert_false(hello.has_hash);
    message_release(&hello);
    coordinator.session = 99;
    struct message welcome = {.type = MESSAGE_WELCOME, .heartbeat_ms = 40, .dead_ms = NEVER_MS};
    coordinator_say(&coordinator, &welcome);

    coordinator_hear(&coordinator, MESSAGE_HEARTBEAT, &m);
    assert_int_equal(m.session, 99);
    assert_int_equal(m.epoch, EPOCH);
    assert_int_equal(m.progress, 0);
    message_release(&m);
    coordinator_lease(&coordinator, 1);
    const uint64_t seq = coordinator_result(&coordinator, 1);
    coordinator_hear(&coordinator, MESSAGE_HEARTBEAT, &m);
    assert_int_equal(m.progress, 1);
    assert_int_equal(m.held, 3);
    assert_true(m.seq > seq);
    message_release(&m);
    coordinator_lease(&coordinator, 2);
    coordinator_lease(&coordinator, 3);
    coordinator_result(&coordinator, 2);
    coordinator_ack(&coordinator, coordinator_result(&coordinator, 3));
    assert_int_equal(worker_session(rig.worker), 99);

    session_stop("told to stop");
    assert_string_equal(err_name(rig.rc), "ERR_OK");
}

/* Heartbeats, until one tells of so many fetches. */
static void coordinator_hear_fetches(struct coordinator *c, uint64_t fetches, struct message *m)
{
    for (;;) {
        coordinator_hear(c, MESSAGE_HEARTBEAT, m);
        const bool all = m->weights.fetches == fetches;
        assert_int_equal(m->weights.server_bytes + m->weights.mapped_bytes,
                         1000 * m->weights.fetches);
        if (all)
            return;
        message_release(m);
    }
}

static void note_fetches(struct worker *worker, int fetches)
{
    struct weights_view view = {.ms = 7, .traffic = {.server_bytes = 1000}};
    for (int i = 0; i < fetches; i++)
        worker_note_fetch(worker, &view, 1000, true);
}

/* In a new session all of it, and what it has not told before it says goodbye. */
static void worker_tells_of_its_weights(void **state)
{
    (void)state;
    struct message m;
    session_begin(gated_compute, 100, 1);
    note_fetches(rig.worker, 2);
    coordinator_hear_fetches(&coordinator, 2, &m);
    assert_int_equal(m.weights.fetch_ms, 7);
    assert_int_equal(m.weights.sent_bytes, 0); /* it is no relay */
    message_release(&m);
    struct message reset = {.type = MESSAGE_RESET, .text = "who are you?"};
    coordinator_say(&coordinator, &reset);
    coordinator_welcome(&coordinator, 2, NEVER_MS);
    coordinator_hear_fetches(&coordinator, 2, &m);
    message_release(&m);
    coordinator_say(&coordinator, &reset);
    coordinator_welcome_to(&coordinator, 3, NEVER_MS, 2 * NEVER_MS); /* none will be due */
    coordinator_lease(&coordinator, 1);
    coordinator_ack(&coordinator, coordinator_result(&coordinator, 1));
    worker_stop(rig.worker);
    coordinator_hear_fetches(&coordinator, 2, &m);
    message_release(&m);
    session_over("told to stop");
}

/* So much that no heartbeat would be due. */
static void worker_tells_of_its_weights_while_it_has_much_to_say(void **state)
{
    (void)state;
    coordinator_open(&coordinator);
    rig_start(&rig, gated_compute);
    atomic_store(&rig.gate, UINT32_MAX);
    coordinator_welcome_to(&coordinator, 1, 500, NEVER_MS);
    note_fetches(rig.worker, 1);
    const uint64_t until_ms = clock_mono_ms() + WAIT_MS;
    uint64_t lease = 0;
    while (coordinator.heard_fetches == 0 && clock_mono_ms() < until_ms) {
        lease++;
        coordinator_lease(&coordinator, lease);
        coordinator_ack(&coordinator, coordinator_result(&coordinator, lease));
    }
    assert_int_equal(coordinator.heard_fetches, 1);
    session_stop("told to stop");
}

/* What was not acknowledged is offered again, in order, under new numbers; what was is not. */
static void worker_sends_unacknowledged_results_again_after_reset(void **state)
{
    (void)state;
    session_begin(gated_compute, 100, 1);
    for (uint64_t lease = 1; lease <= 4; lease++)
        coordinator_lease(&coordinator, lease);
    coordinator_result(&coordinator, 1);
    const uint64_t seq = coordinator_result(&coordinator, 2);
    coordinator_result(&coordinator, 3);
    coordinator_result(&coordinator, 4);
    coordinator_ack(&coordinator, seq);
    struct message reset = {.type = MESSAGE_RESET, .text = "who are you?"};
    coordinator_say(&coordinator, &reset);

    const struct wire_peer before = coordinator.peer;
    coordinator_welcome(&coordinator, 2, NEVER_MS);
    assert_int_not_equal(coordinator.peer.id, before.id);
    assert_int_equal(coordinator_result(&coordinator, 3), 1);
    const uint64_t last = coordinator_result(&coordinator, 4);
    coordinator_lease(&coordinator, 5);
    assert_true(coordinator_result(&coordinator, 5) > last);
    coordinator_ack(&coordinator, last);
    const struct worker_counters counters = rig_counters(&rig);
    assert_int_equal(counters.sessions, 2);
    assert_int_equal(counters.resets, 1);
    assert_int_equal(counters.results, 5);
    assert_int_equal(counters.results_resent, 2);
    assert_int_equal(counters.leases, 5);

    coordinator_ack(&coordinator, UINT64_MAX);
    session_stop("");
}

static void worker_takes_silence_for_the_end_of_a_session(void **state)
{
    (void)state;
    struct message first, second;
    coordinator_open(&coordinator);
    rig_start(&rig, gated_compute);
    coordinator.peer = coordinator_hear(&coordinator, MESSAGE_HELLO, &first);
    coordinator.session = 1;
    struct message m = {.type = MESSAGE_WELCOME, .heartbeat_ms = 40, .dead_ms = 200};
    coordinator_say(&coordinator, &m);
    unsigned char nonce[WIRE_NONCE_BYTES];
    memcpy(nonce, first.nonce, sizeof nonce);
    message_release(&first);

    coordinator.peer = coordinator_hear(&coordinator, MESSAGE_HELLO, &second);
    assert_memory_not_equal(second.nonce, nonce, sizeof nonce);
    message_release(&second);
    assert_true(rig_counters(&rig).silences >= 1);
    worker_stop(rig.worker);
    rig_join(&rig);
    assert_int_equal(rig.rc, ERR_OK);
    wire_socket_close(coordinator.socket, 0);
    finish();
}

static void worker_finds_a_coordinator_that_was_restarted(void **state)
{
    (void)state;
    rig_start(&rig, gated_compute); /* before there is any */
    atomic_store(&rig.gate, 100);
    wire_test_sleep_ms(50);
    coordinator_open(&coordinator);
    coordinator_welcome(&coordinator, 1, NEVER_MS);
    coordinator_lease(&coordinator, 1);
    coordinator_result(&coordinator, 1);
    wire_socket_close(coordinator.socket, 0);

    coordinator_open(&coordinator);
    for (bool welcome = false; !welcome;) { /* what the old session still says comes first */
        struct message m;
        struct wire_peer peer;
        assert_true(wire_socket_wait(coordinator.socket, WAIT_MS));
        if (wire_socket_recv(coordinator.socket, &peer, &m, NULL) != WIRE_RECV_MESSAGE)
            continue;
        const struct message reset = {.type = MESSAGE_RESET, .session = 2};
        welcome = m.type == MESSAGE_HELLO;
        if (!welcome) /* to one that an earlier RESET may have sent away */
            wire_socket_send(coordinator.socket, peer, &reset, NULL);
        message_release(&m);
        coordinator.peer = peer;
    }
    coordinator.session = 2;
    struct message m = {.type = MESSAGE_WELCOME, .heartbeat_ms = 40, .dead_ms = NEVER_MS};
    coordinator_say(&coordinator, &m);
    coordinator_ack(&coordinator, coordinator_result(&coordinator, 1));
    session_stop("");
}

static void worker_comes_back_from_a_stranger_at_the_coordinators_address(void **state)
{
    (void)state;
    struct stranger stranger;
    stranger_come(&stranger, ipc);
    rig_start(&rig, gated_compute);
    atomic_store(&rig.gate, 1);
    stranger_answer(&stranger);
    coordinator_open(&coordinator);
    coordinator_welcome(&coordinator, 1, NEVER_MS);
    coordinator_lease(&coordinator, 1); /* whose result says that the session has begun */
    coordinator_ack(&coordinator, coordinator_result(&coordinator, 1));
    session_stop("told to stop");
}

static void worker_stops_where_it_is_refused(void **state)
{
    (void)state;
    struct message hello;
    coordinator_open(&coordinator);
    rig_start(&rig, gated_compute);
    coordinator.peer = coordinator_hear(&coordinator, MESSAGE_HELLO, &hello);
    message_release(&hello);
    struct message m = {.type = MESSAGE_RESET, .refused = true, .text = "another config"};
    coordinator_say(&coordinator, &m);
    rig_join(&rig);
    assert_string_equal(err_name(rig.rc), "ERR_USAGE");
    assert_non_null(strstr(rig.err.text, "refused actor-0: another config"));
    assert_non_null(strstr(rig.err.text, ipc));
    wire_socket_close(coordinator.socket, 0);
    finish();
}

static void worker_forgets_untaken_leases_with_their_session(void **state)
{
    (void)state;
    session_begin(gated_compute, 0, 1);
    for (uint64_t lease = 1; lease <= 5; lease++)
        coordinator_lease(&coordinator, lease);
    while (rig_counters(&rig).leases < 5)
        wire_test_sleep_ms(1);
    struct message reset = {.type = MESSAGE_RESET};
    coordinator_say(&coordinator, &reset);
    coordinator_welcome(&coordinator, 2, NEVER_MS);
    coordinator_lease(&coordinator, 6);
    atomic_store(&rig.gate, 100);
    coordinator_ack(&coordinator, coordinator_result(&coordinator, 6));
    assert_int_equal(atomic_load(&rig.taken), 1);
    session_stop("");
}

static void worker_ignores_messages_of_another_session_or_epoch(void **state)
{
    (void)state;
    session_begin(gated_compute, 100, 5);
    static const int32_t ids[1] = {1};
    struct wire_item item = {.kind = WIRE_WORK_ROLLOUT, .prompt_tokens = 1};
    struct message m = {.type = MESSAGE_GENERATE_LEASE,
                        .lease = 66,
                        .items = &item,
                        .items_n = 1,
                        .frames_n = 1,
                        .frame = {{ids, 4}}};
    m.session = 4;
    coordinator_say(&coordinator, &m);
    m.session = 5;
    m.epoch = EPOCH - 1;
    coordinator_say(&coordinator, &m);
    struct message welcome = {
        .type = MESSAGE_WELCOME, .session = 8, .heartbeat_ms = 1, .dead_ms = 2};
    coordinator_say(&coordinator, &welcome); /* late or repeated: no new session */
    coordinator_lease(&coordinator, 1);
    coordinator_ack(&coordinator, coordinator_result(&coordinator, 1));
    session_stop("");
}

static void worker_gives_back_leases_it_has_no_room_or_no_role_for(void **state)
{
    (void)state;
    struct message m;
    session_begin(gated_compute, 0, 1);
    for (uint64_t lease = 1; lease <= WORKER_INBOX_MAX + 1; lease++)
        coordinator_lease(&coordinator, lease);
    coordinator_hear(&coordinator, MESSAGE_LEASE_FAILED, &m);
    assert_int_equal(m.lease, WORKER_INBOX_MAX + 1);
    assert_string_equal(m.text, "the worker's inbox is full");
    message_release(&m);

    static const int32_t ids[1] = {1};
    struct wire_item item = {
        .kind = WIRE_WORK_ROLLOUT, .prompt_tokens = 1, .finish = WIRE_FINISH_EOS};
    struct message score = {.type = MESSAGE_SCORE_LEASE,
                            .lease = 500,
                            .items = &item,
                            .items_n = 1,
                            .frames_n = 1,
                            .frame = {{ids, 4}}};
    coordinator_say(&coordinator, &score);
    coordinator_hear(&coordinator, MESSAGE_LEASE_FAILED, &m);
    assert_int_equal(m.lease, 500);
    assert_string_equal(m.text, "not a lease for this role");
    message_release(&m);
    assert_int_equal(rig_counters(&rig).leases_refused, 1);
    session_stop("");
}

/* Compute is one ahead of the coordinator by WORKER_OUTBOX_MAX results, and no more. */
static void worker_holds_compute_back_while_nothing_is_acknowledged(void **state)
{
    (void)state;
    session_begin(gated_compute, 1000, 1);
    uint64_t seq = 0;
    for (uint64_t lease = 1; lease <= WORKER_OUTBOX_MAX; lease++) {
        coordinator_lease(&coordinator, lease);
        seq = coordinator_result(&coordinator, lease);
    }
    coordinator_lease(&coordinator, WORKER_OUTBOX_MAX + 1);
    coordinator_lease(&coordinator, WORKER_OUTBOX_MAX + 2);
    while (atomic_load(&rig.taken) < WORKER_OUTBOX_MAX + 1)
        wire_test_sleep_ms(1);
    wire_test_sleep_ms(50); /* were it not held back, it would take the last one now */
    assert_int_equal(atomic_load(&rig.taken), WORKER_OUTBOX_MAX + 1);
    assert_int_equal(rig_counters(&rig).outbox, WORKER_OUTBOX_MAX);
    coordinator_ack(&coordinator, seq);
    coordinator_result(&coordinator, WORKER_OUTBOX_MAX + 1);
    coordinator_ack(&coordinator, coordinator_result(&coordinator, WORKER_OUTBOX_MAX + 2));
    session_stop("");
}

/* The last acknowledgement comes after the stop; BYE waits for it. */
static void worker_flushes_before_it_leaves(void **state)
{
    (void)state;
    session_begin(gated_compute, 1, 1);
    coordinator_lease(&coordinator, 1);
    while (rig_counters(&rig).results < 1)
        wire_test_sleep_ms(1);
    worker_stop(rig.worker);
    const uint64_t seq = coordinator_result(&coordinator, 1);
    struct message m;
    coordinator_hear(&coordinator, MESSAGE_HEARTBEAT, &m); /* it is still there */
    message_release(&m);
    coordinator_ack(&coordinator, seq);
    session_over("told to stop");
    assert_int_equal(rig.rc, ERR_OK);
}

/* Milliseconds from hearing that the run is over to BYE, with a result unacknowledged. */
static uint64_t leave_unacknowledged(void)
{
    session_begin(gated_compute, 1, 1);
    coordinator_lease(&coordinator, 1);
    coordinator_result(&coordinator, 1);
    const uint64_t begin_ms = clock_mono_ms();
    struct message over = {.type = MESSAGE_BYE};
    message_set_text(&over, "the run is complete");
    coordinator_say(&coordinator, &over);
    coordinator_bye(&coordinator, "told to stop");
    const uint64_t ms = clock_mono_ms() - begin_ms;
    rig_join(&rig);
    assert_int_equal(rig.rc, ERR_OK);
    wire_socket_close(coordinator.socket, 0);
    return ms;
}

/* Nobody will acknowledge anything then.  Once is enough: a busy machine may make anything
 * late, and nothing early. */
static void worker_waits_for_no_acknowledgement_once_the_run_is_over(void **state)
{
    (void)state;
    uint64_t ms = leave_unacknowledged();
    for (int tries = 1; tries < 10 && ms >= WORKER_FLUSH_MS; tries++)
        ms = leave_unacknowledged();
    assert_true(ms < WORKER_FLUSH_MS);
    finish();
}

static enum err_code failing_compute(struct worker *worker, void *ctx, struct err *err)
{
    (void)ctx;
    struct message lease;
    if (!worker_wait_lease(worker, &lease, WORKER_FOREVER))
        return ERR_OK;
    const enum err_code rc = worker_send_failed(worker, &lease, "the model is gone", err);
    message_release(&lease);
    return rc ? rc : err_set(err, ERR_IO, "cannot read \"model.safetensors\"");
}

static void worker_passes_on_why_compute_ended(void **state)
{
    (void)state;
    struct message m;
    session_begin(failing_compute, 0, 1);
    coordinator_lease(&coordinator, 8);
    coordinator_hear(&coordinator, MESSAGE_LEASE_FAILED, &m);
    assert_int_equal(m.lease, 8);
    assert_string_equal(m.text, "the model is gone");
    message_release(&m);
    session_over("cannot read \"model.safetensors\"");
    assert_string_equal(err_name(rig.rc), "ERR_IO");
    assert_string_equal(rig.err.text, "cannot read \"model.safetensors\"");
}

static enum err_code patient_compute(struct worker *worker, void *ctx, struct err *err)
{
    (void)err;
    struct message lease;
    assert(!worker_poll_lease(worker, &lease));
    atomic_store((atomic_bool *)ctx, true);
    return worker_wait_lease(worker, &lease, WORKER_FOREVER) ? ERR_STATE : ERR_OK;
}

static void *terminate_when_started(void *started)
{
    while (!atomic_load((atomic_bool *)started))
        wire_test_sleep_ms(1);
    kill(getpid(), SIGTERM);
    return NULL;
}

static void worker_run_ends_on_sigterm_though_nobody_ever_answered(void **state)
{
    (void)state;
    atomic_bool started = false;
    pthread_t thread;
    const struct worker_options options = {.role = WIRE_ROLE_LEARNER,
                                           .name = "learner-0",
                                           .control_endpoint = ipc,
                                           .capacity = 1,
                                           .bulk_endpoint = "ipc:///x"};
    assert_int_equal(pthread_create(&thread, NULL, terminate_when_started, &started), 0);
    check_ok(worker_run(context, &options, patient_compute, &started, &err));
    pthread_join(thread, NULL);
    finish();
}

static void worker_refuses_options_that_cannot_work(void **state)
{
    (void)state;
    struct worker_options options = {
        .role = WIRE_ROLE_ACTOR, .name = "a", .control_endpoint = "nonsense", .capacity = 1};
    check_fails(worker_run(context, &options, patient_compute, NULL, &err), ERR_USAGE,
                "cannot connect to \"nonsense\"");
    options.name = "a-name-of-sixty-four-bytes-is-one-byte-more-than-what-fits-in-it";
    check_fails(worker_run(context, &options, patient_compute, NULL, &err), ERR_USAGE,
                "a worker's name has 1 to 63 bytes");
    finish();
}

/* Of which job the file is to be, and how long the worker looks for it. */
static void rig_start_with_rendezvous(const char *path, uint32_t rendezvous_ms)
{
    rig = (struct rig){.compute = gated_compute,
                       .options = {.role = WIRE_ROLE_ACTOR,
                                   .name = "actor-0",
                                   .capacity = 1,
                                   .rendezvous = path,
                                   .job = "7.1",
                                   .rendezvous_ms = rendezvous_ms}};
    assert_int_equal(pthread_create(&rig.thread, NULL, rig_thread, &rig), 0);
    while (!atomic_load(&rig.opened))
        wire_test_sleep_ms(1);
}

/* The file of the start before is there first, then none, then this one's; then the coordinator
 * comes back elsewhere. */
static void worker_finds_the_coordinator_of_its_own_job(void **state)
{
    (void)state;
    struct message reset = {.type = MESSAGE_RESET};
    char path[64], elsewhere[80];
    snprintf(path, sizeof path, "%s/rendezvous", dir);
    snprintf(elsewhere, sizeof elsewhere, "%s-2", ipc);
    check_ok(rendezvous_write(path, "7.0", "ipc:///nowhere", &err));
    rig_start_with_rendezvous(path, NEVER_MS);
    wire_test_sleep_ms(300);
    assert_int_equal(rig_counters(&rig).silences, 0); /* it spoke to nobody */
    unlink(path);
    coordinator_open(&coordinator);
    check_ok(rendezvous_write(path, "7.1", ipc, &err));
    coordinator_welcome(&coordinator, 1, NEVER_MS);

    struct coordinator second = {0};
    check_ok(wire_socket_bind(&second.socket, context, elsewhere, WIRE_LIMITS_CONTROL, &err));
    check_ok(rendezvous_write(path, "7.1", elsewhere, &err));
    coordinator_say(&coordinator, &reset);
    coordinator_welcome(&second, 2, NEVER_MS);

    worker_stop(rig.worker);
    rig_join(&rig);
    assert_string_equal(err_name(rig.rc), "ERR_OK");
    wire_socket_close(coordinator.socket, 0);
    wire_socket_close(second.socket, 0);
    unlink(path);
    unlink(elsewhere + strlen("ipc://"));
    finish();
}

static void worker_gives_up_where_nobody_says_where_the_coordinator_is(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "%s/rendezvous", dir);
    check_ok(rendezvous_write(path, "7.0", ipc, &err));
    rig_start_with_rendezvous(path, 200);
    rig_join(&rig);
    check_fails(rig.rc, ERR_UNAVAILABLE, "");
    assert_non_null(strstr(rig.err.text, "actor-0 finds no coordinator"));
    assert_non_null(strstr(rig.err.text, "is of job 7.0, not of 7.1"));
    unlink(path);
    finish();
}

static void *nudge_and_terminate_when_started(void *started)
{
    while (!atomic_load((atomic_bool *)started))
        wire_test_sleep_ms(1);
    kill(getpid(), SIGUSR1);
    wire_test_sleep_ms(100);
    kill(getpid(), SIGTERM);
    return NULL;
}

static void worker_run_is_not_ended_by_a_signal_meant_for_the_coordinator(void **state)
{
    (void)state;
    atomic_bool started = false;
    pthread_t thread;
    const struct worker_options options = {
        .role = WIRE_ROLE_REWARD, .name = "reward-0", .control_endpoint = ipc, .capacity = 1};
    assert_int_equal(pthread_create(&thread, NULL, nudge_and_terminate_when_started, &started),
                     0);
    const uint64_t began_ms = clock_mono_ms();
    check_ok(worker_run(context, &options, patient_compute, &started, &err));
    assert_true(clock_mono_ms() - began_ms >= 100);
    pthread_join(thread, NULL);
    finish();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(worker_serves_a_lease_and_says_goodbye),
        TEST(worker_tells_of_its_weights),
        TEST(worker_tells_of_its_weights_while_it_has_much_to_say),
        TEST(worker_sends_unacknowledged_results_again_after_reset),
        TEST(worker_takes_silence_for_the_end_of_a_session),
        TEST(worker_finds_a_coordinator_that_was_restarted),
        TEST(worker_comes_back_from_a_stranger_at_the_coordinators_address),
        TEST(worker_stops_where_it_is_refused),
        TEST(worker_forgets_untaken_leases_with_their_session),
        TEST(worker_ignores_messages_of_another_session_or_epoch),
        TEST(worker_gives_back_leases_it_has_no_room_or_no_role_for),
        TEST(worker_holds_compute_back_while_nothing_is_acknowledged),
        TEST(worker_flushes_before_it_leaves),
        TEST(worker_waits_for_no_acknowledgement_once_the_run_is_over),
        TEST(worker_passes_on_why_compute_ended),
        TEST(worker_run_ends_on_sigterm_though_nobody_ever_answered),
        TEST(worker_finds_the_coordinator_of_its_own_job),
        TEST(worker_gives_up_where_nobody_says_where_the_coordinator_is),
        TEST(worker_run_is_not_ended_by_a_signal_meant_for_the_coordinator),
        TEST(worker_refuses_options_that_cannot_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
