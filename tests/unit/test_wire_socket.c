/*
 * test_wire_socket.c -- ROUTER and DEALER over loopback, and what a peer may do to them.
 *
 * Oracle: the messages sent, made by tests/wire_messages.h; for peers that break the rules,
 * plain libzmq sockets that know nothing of wire/socket.  Waits are bounded by WAIT_MS, and no
 * verdict depends on how long something took.
 */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <zmq.h>

#include "tests/unit/wire_scene.h"
#include "wire/socket.h"

#define WAIT_MS 10000

static struct wire_test made; /* too large for the stack */

/* Send as soon as the connection stands. */
static void send_when_connected(struct wire_socket *socket, const struct message *message)
{
    for (int i = 0; i < WAIT_MS; i++) {
        struct err err = {0};
        const enum wire_send sent =
            wire_socket_send(socket, (struct wire_peer){0}, message, &err);
        if (sent == WIRE_SEND_OK)
            return;
        if (sent != WIRE_SEND_FULL)
            fail_msg("%s: %s", wire_send_name(sent), err.text);
        wire_test_sleep_ms(1);
    }
    fail_msg("no connection to %s", wire_socket_endpoint(socket));
}

static struct wire_peer receive(struct wire_socket *socket, struct message *message)
{
    struct wire_peer peer;
    struct err err = {0};
    assert_true(wire_socket_wait(socket, WAIT_MS));
    if (wire_socket_recv(socket, &peer, message, &err) != WIRE_RECV_MESSAGE)
        fail_msg("no message: %s", err.text);
    return peer;
}

static struct wire_peer receive_bad(struct wire_socket *socket, const char *words)
{
    struct wire_peer peer;
    struct message message;
    struct err err = {0};
    assert_true(wire_socket_wait(socket, WAIT_MS));
    assert_int_equal(wire_socket_recv(socket, &peer, &message, &err), WIRE_RECV_BAD);
    if (!strstr(err.text, words))
        fail_msg("said \"%s\", without \"%s\"", err.text, words);
    return peer;
}

/* Send to this peer until it is known to be gone.  A ROUTER that is only ever sent to does not
 * come by the end of a connection whose queue was full. */
static void send_until_gone(struct wire_socket *router, struct wire_peer peer,
                            const struct message *message)
{
    enum wire_send sent = WIRE_SEND_OK;
    for (int i = 0; i < WAIT_MS && sent != WIRE_SEND_GONE; i++) {
        sent = wire_socket_send(router, peer, message, NULL);
        wire_socket_readable(router);
        wire_test_sleep_ms(1);
    }
    assert_string_equal(wire_send_name(sent), "GONE");
}

static void check_every_type_there_and_back(const char *endpoint)
{
    struct wire_socket *router, *dealer;
    check_ok(wire_socket_bind(&router, context, endpoint, WIRE_LIMITS_CONTROL, &err));
    check_ok(wire_socket_connect(&dealer, context, wire_socket_endpoint(router),
                                 WIRE_LIMITS_CONTROL, &err));
    for (int type = MESSAGE_HELLO; type <= MESSAGE_LAST; type++) {
        wire_test_make(&made, (enum message_type)type, (uint64_t)type);
        send_when_connected(dealer, &made.m);
        struct message there, back;
        const struct wire_peer peer = receive(router, &there);
        wire_test_check_same(&there, &made.m);
        assert_int_equal(wire_socket_send(router, peer, &there, NULL), WIRE_SEND_OK);
        message_release(&there);
        receive(dealer, &back);
        wire_test_check_same(&back, &made.m);
        message_release(&back);
    }
    wire_socket_close(dealer, 0);
    wire_socket_close(router, 0);
}

static void socket_carries_every_type_over_tcp(void **state)
{
    (void)state;
    check_every_type_there_and_back("tcp://127.0.0.1:*");
    finish();
}

static void socket_carries_every_type_over_ipc(void **state)
{
    (void)state;
    check_every_type_there_and_back(ipc);
    finish();
}

static void socket_names_the_endpoint_it_cannot_use(void **state)
{
    (void)state;
    struct wire_socket *socket, *first;
    check_fails(wire_socket_bind(&socket, context, "nonsense", WIRE_LIMITS_BULK, &err),
                ERR_USAGE, "cannot bind \"nonsense\"");
    check_fails(wire_socket_connect(&socket, context, "xyz://a", WIRE_LIMITS_BULK, &err),
                ERR_USAGE, "cannot connect to \"xyz://a\"");
    check_fails(wire_socket_bind(&socket, context, "ipc:///nowhere/s", WIRE_LIMITS_BULK, &err),
                ERR_IO, "cannot bind \"ipc:///nowhere/s\"");
    check_ok(wire_socket_bind(&first, context, "tcp://127.0.0.1:*", WIRE_LIMITS_BULK, &err));
    check_fails(
        wire_socket_bind(&socket, context, wire_socket_endpoint(first), WIRE_LIMITS_BULK, &err),
        ERR_IO, "in use");
    wire_socket_close(first, 0);
    finish();
}

static void socket_says_that_a_peer_is_gone_or_full(void **state)
{
    (void)state;
    const struct wire_limits small = {.frame_bytes_max = 100000, .hwm = 4};
    struct wire_socket *router, *dealer;
    check_ok(wire_socket_bind(&router, context, "tcp://127.0.0.1:*", small, &err));
    check_ok(wire_socket_connect(&dealer, context, wire_socket_endpoint(router), small, &err));
    struct message m = {.type = MESSAGE_HEARTBEAT};
    send_when_connected(dealer, &m);
    struct message got;
    const struct wire_peer peer = receive(router, &got);
    message_release(&got);

    const struct wire_peer stranger = {peer.id ^ 1};
    assert_int_equal(wire_socket_send(router, stranger, &m, NULL), WIRE_SEND_GONE);

    /* The dealer does not read: what is accepted is bounded, and all of it arrives. */
    static const unsigned char chunk[65536];
    m = (struct message){
        .type = MESSAGE_CHUNK, .frames_n = 1, .frame = {{chunk, sizeof chunk}}};
    enum wire_send sent;
    unsigned accepted = 0;
    while ((sent = wire_socket_send(router, peer, &m, NULL)) == WIRE_SEND_OK) {
        m.chunk_index = ++accepted;
        assert_in_range(accepted, 0, 2000); /* 128 MiB: more than any kernel buffers */
    }
    assert_int_equal(sent, WIRE_SEND_FULL);
    for (unsigned i = 0; i < accepted; i++) {
        receive(dealer, &got);
        assert_int_equal(got.chunk_index, i);
        message_release(&got);
    }
    wire_socket_close(dealer, 0);
    send_until_gone(router, peer, &m);
    wire_socket_close(router, 0);
    finish();
}

static void socket_does_not_queue_for_nobody(void **state)
{
    (void)state;
    struct wire_socket *dealer;
    check_ok(wire_socket_connect(&dealer, context, ipc, WIRE_LIMITS_CONTROL, &err));
    const struct message m = {.type = MESSAGE_HEARTBEAT};
    assert_int_equal(wire_socket_send(dealer, (struct wire_peer){0}, &m, NULL), WIRE_SEND_FULL);
    wire_socket_close(dealer, 0);
    finish();
}

/* Who has connected need not wait for a message to know it. */
static void socket_waits_until_it_can_send(void **state)
{
    (void)state;
    struct wire_socket *router, *sockets[2] = {NULL, NULL};
    check_ok(wire_socket_connect(&sockets[0], context, ipc, WIRE_LIMITS_CONTROL, &err));
    check_ok(wire_socket_connect(&sockets[1], context, ipc, WIRE_LIMITS_CONTROL, &err));
    assert_false(wire_socket_wait_ready(sockets, 2, 20)); /* nobody is there */
    check_ok(wire_socket_bind(&router, context, ipc, WIRE_LIMITS_CONTROL, &err));
    assert_true(wire_socket_wait_ready(sockets, 2, WAIT_MS));
    const struct message m = {.type = MESSAGE_HEARTBEAT};
    assert_int_equal(wire_socket_send(sockets[0], (struct wire_peer){0}, &m, NULL),
                     WIRE_SEND_OK);
    assert_false(wire_socket_wait_any(sockets, 2, 20)); /* a message was to come */
    wire_socket_close(sockets[0], 0);
    wire_socket_close(sockets[1], 0);
    wire_socket_close(router, 0);
    finish();
}

static void socket_sends_a_packet_again_under_another_session(void **state)
{
    (void)state;
    struct wire_socket *router, *dealer;
    check_ok(wire_socket_bind(&router, context, ipc, WIRE_LIMITS_CONTROL, &err));
    check_ok(wire_socket_connect(&dealer, context, ipc, WIRE_LIMITS_CONTROL, &err));
    wire_test_make(&made, MESSAGE_SCORE_RESULT, 3);
    send_when_connected(dealer, &made.m);
    struct message got;
    receive(router, &got);
    message_release(&got);

    struct wire_packet *packet;
    check_ok(wire_packet_new(&packet, &made.m, &err));
    assert_true(wire_packet_bytes(packet) > made.m.frame[0].size);
    static const uint64_t stamps[][3] = {
        {0, 0, 0}, {1, 2, 3}, {UINT64_MAX, UINT64_MAX, UINT64_MAX}, {5, 1, 128}};
    for (size_t i = 0; i < COUNT(stamps); i++) {
        assert_int_equal(wire_socket_send_packet(dealer, (struct wire_peer){0}, packet,
                                                 stamps[i][0], stamps[i][1], stamps[i][2],
                                                 NULL),
                         WIRE_SEND_OK);
        receive(router, &got);
        made.m.epoch = stamps[i][0];
        made.m.session = stamps[i][1];
        made.m.seq = stamps[i][2];
        wire_test_check_same(&got, &made.m);
        message_release(&got);
    }
    wire_packet_free(packet);
    wire_packet_free(NULL);
    made.m.items_n = 0;
    check_fails(wire_packet_new(&packet, &made.m, &err), ERR_VALUE, "0 items");
    wire_socket_close(dealer, 0);
    wire_socket_close(router, 0);
    finish();
}

/* n frames of `size` bytes from a plain DEALER. */
static void send_raw(void *raw, size_t n, size_t size)
{
    static const char bytes[4096];
    assert_in_range(size, 0, sizeof bytes);
    for (size_t i = 0; i < n; i++)
        assert_int_not_equal(zmq_send(raw, bytes, size, i + 1 < n ? ZMQ_SNDMORE : 0), -1);
}

static void socket_refuses_what_is_no_message_and_goes_on(void **state)
{
    (void)state;
    struct wire_socket *router;
    check_ok(wire_socket_bind(&router, context, ipc, WIRE_LIMITS_BULK, &err));
    void *zmq = zmq_ctx_new();
    void *raw = zmq_socket(zmq, ZMQ_DEALER), *named = zmq_socket(zmq, ZMQ_DEALER);
    const int linger = 0;
    zmq_setsockopt(raw, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(named, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(named, ZMQ_ROUTING_ID, "actor-0", 7);
    assert_int_equal(zmq_connect(raw, ipc), 0);
    assert_int_equal(zmq_connect(named, ipc), 0);

    send_raw(raw, 1, 7);
    const struct wire_peer peer =
        receive_bad(router, "a header of 7 bytes, which has no checksum");
    assert_int_not_equal(peer.id, 0);
    send_raw(raw, 9, 100);
    receive_bad(router, "is not what was sent"); /* 8 payload frames are allowed */
    send_raw(raw, 10, 100);
    receive_bad(router, "a message of 9 payload frames, at most 8 are allowed");
    send_raw(raw, 1000, 4096);
    receive_bad(router, "a message of 999 payload frames");
    send_raw(named, 1, 7);
    assert_int_equal(receive_bad(router, "brings a routing id of its own").id, 0);

    unsigned char heartbeat[4 + MESSAGE_SEAL_BYTES] = {0x08, WIRE_VERSION, 0x6a, 0};
    assert_int_equal(zmq_send(raw, heartbeat, 4, 0), 4);
    receive_bad(router, "a header of 4 bytes, which has no checksum");
    message_seal(heartbeat, 4);
    for (size_t bit = 0; bit < 8 * sizeof heartbeat; bit++) { /* no flipped bit is taken */
        heartbeat[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_int_equal(zmq_send(raw, heartbeat, sizeof heartbeat, 0), sizeof heartbeat);
        receive_bad(router, "is not what was sent");
        heartbeat[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_int_equal(zmq_send(raw, heartbeat, sizeof heartbeat, 0), sizeof heartbeat);
    struct message m;
    assert_int_equal(receive(router, &m).id, peer.id);
    assert_int_equal(m.type, MESSAGE_HEARTBEAT);
    message_release(&m);

    struct wire_peer other;
    assert_false(wire_socket_readable(router));
    assert_int_equal(wire_socket_recv(router, &other, &m, NULL), WIRE_RECV_NOTHING);
    zmq_close(raw);
    zmq_close(named);
    zmq_ctx_term(zmq);
    wire_socket_close(router, 0);
    finish();
}

static void socket_cuts_off_a_peer_with_too_large_a_frame(void **state)
{
    (void)state;
    struct wire_socket *router;
    const struct wire_limits small = {.frame_bytes_max = 1000, .hwm = 16};
    check_ok(wire_socket_bind(&router, context, ipc, small, &err));
    void *zmq = zmq_ctx_new();
    void *raw = zmq_socket(zmq, ZMQ_DEALER);
    const int linger = 0;
    zmq_setsockopt(raw, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_connect(raw, ipc), 0);
    send_raw(raw, 1, 7);
    const struct wire_peer peer = receive_bad(router, "no checksum");
    send_raw(raw, 1, 1001);
    const struct message m = {.type = MESSAGE_HEARTBEAT};
    send_until_gone(router, peer, &m);
    zmq_close(raw);
    zmq_ctx_term(zmq);
    wire_socket_close(router, 0);
    finish();
}

static void socket_kicks_the_peer_it_last_heard(void **state)
{
    (void)state;
    for (int over_tcp = 0; over_tcp < 2; over_tcp++) {
        struct wire_socket *router, *bad, *good;
        check_ok(wire_socket_bind(&router, context, over_tcp ? "tcp://127.0.0.1:*" : ipc,
                                  WIRE_LIMITS_CONTROL, &err));
        const char *endpoint = wire_socket_endpoint(router);
        check_ok(wire_socket_connect(&bad, context, endpoint, WIRE_LIMITS_CONTROL, &err));
        check_ok(wire_socket_connect(&good, context, endpoint, WIRE_LIMITS_CONTROL, &err));
        const struct message m = {.type = MESSAGE_HEARTBEAT};
        struct message got;
        send_when_connected(bad, &m);
        const struct wire_peer first = receive(router, &got);
        message_release(&got);
        send_when_connected(good, &m);
        const struct wire_peer second = receive(router, &got);
        message_release(&got);

        assert_false(wire_socket_kick(router, first));
        assert_false(wire_socket_kick(router, (struct wire_peer){0}));
        send_when_connected(bad, &m);
        receive(router, &got);
        message_release(&got);
        assert_true(wire_socket_kick(router, first));
        assert_false(wire_socket_kick(router, first));
        send_until_gone(router, first, &m);
        assert_int_equal(wire_socket_send(router, second, &m, NULL), WIRE_SEND_OK);
        do /* it may come back, as another; what it sent into the cut connection is lost */
            send_when_connected(bad, &m);
        while (!wire_socket_wait(router, 50));
        const struct wire_peer third = receive(router, &got);
        message_release(&got);
        assert_int_not_equal(third.id, first.id);
        wire_socket_close(bad, 0);
        wire_socket_close(good, 0);
        wire_socket_close(router, 0);
    }
    finish();
}

/* Small payloads lie in a buffer that messages share; they must outlive the socket, and be
 * freed in another thread. */
static void *release_elsewhere(void *message)
{
    message_release(message);
    return NULL;
}

static void socket_messages_outlive_the_socket(void **state)
{
    (void)state;
    struct wire_socket *router, *dealer;
    check_ok(wire_socket_bind(&router, context, ipc, WIRE_LIMITS_CONTROL, &err));
    check_ok(wire_socket_connect(&dealer, context, ipc, WIRE_LIMITS_CONTROL, &err));
    struct message got[32];
    for (unsigned i = 0; i < COUNT(got); i++) {
        wire_test_make(&made, MESSAGE_TRAIN_LEASE, i);
        send_when_connected(dealer, &made.m);
    }
    for (unsigned i = 0; i < COUNT(got); i++)
        receive(router, &got[i]);
    wire_socket_close(dealer, 0);
    wire_socket_close(router, 0);
    for (unsigned i = 0; i < COUNT(got); i++) {
        wire_test_make(&made, MESSAGE_TRAIN_LEASE, i);
        wire_test_check_same(&got[i], &made.m);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, release_elsewhere, &got[i]), 0);
        pthread_join(thread, NULL);
    }
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(socket_carries_every_type_over_tcp, setup, teardown),
        cmocka_unit_test_setup_teardown(socket_carries_every_type_over_ipc, setup, teardown),
        cmocka_unit_test_setup_teardown(socket_names_the_endpoint_it_cannot_use, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(socket_says_that_a_peer_is_gone_or_full, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(socket_does_not_queue_for_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(socket_waits_until_it_can_send, setup, teardown),
        cmocka_unit_test_setup_teardown(socket_sends_a_packet_again_under_another_session,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(socket_refuses_what_is_no_message_and_goes_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(socket_cuts_off_a_peer_with_too_large_a_frame, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(socket_kicks_the_peer_it_last_heard, setup, teardown),
        cmocka_unit_test_setup_teardown(socket_messages_outlive_the_socket, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
