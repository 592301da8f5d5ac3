/*
 * test_node_loop.c -- sockets, timers and signals on a libuv loop.
 *
 * Oracle: every request is answered.  The load is the one under which adapters that look right
 * lose wake-ups for good: a timer that works for half a millisecond and sends, while four
 * peers send in bursts and wait for all answers.  A lost wake-up shows as a burst that is
 * never answered: as LIMIT_MS in which nothing comes, however long all of it takes.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "node/loop.h"
#include "tests/unit/wire_scene.h"

#define PEERS    4u
#define BURST    64u
#define BURSTS   100u
#define LIMIT_MS 30000u

/* The server: answers each heartbeat with an ACK of the same number. */
struct server {
    uv_loop_t loop;
    struct loop_socket *socket;
    struct loop_timer *timer;
    struct wire_peer last;
    uint64_t messages, unsent, errors, ticks;
    uint64_t seen; /* of the messages, when it was last looked whether more had come */
    bool stop_on_bye;
};

static void server_on_message(void *ctx, struct wire_peer peer, struct message *message)
{
    struct server *server = ctx;
    server->messages++;
    server->last = peer;
    if (message->type == MESSAGE_BYE) {
        if (server->stop_on_bye)
            uv_stop(&server->loop);
        return;
    }
    const struct message ack = {.type = MESSAGE_ACK, .ack_seq = message->progress};
    server->unsent +=
        wire_socket_send(loop_socket_wire(server->socket), peer, &ack, NULL) != WIRE_SEND_OK;
}

static void server_on_error(void *ctx, struct wire_peer peer, const struct err *err)
{
    (void)peer;
    struct server *server = ctx;
    assert_string_not_equal(err->text, "");
    server->errors++;
}

static const struct loop_socket_ops server_ops = {server_on_message, server_on_error};

static void server_open(struct server *server, const char *endpoint)
{
    *server = (struct server){0};
    struct wire_socket *wire;
    assert_int_equal(uv_loop_init(&server->loop), 0);
    check_ok(wire_socket_bind(&wire, context, endpoint, WIRE_LIMITS_CONTROL, &err));
    check_ok(loop_socket_open(&server->socket, &server->loop, wire, &server_ops, server, &err));
}

static void server_close(struct server *server)
{
    loop_socket_close(server->socket, 0);
    loop_timer_close(server->timer);
    loop_release(&server->loop);
}

struct client {
    pthread_t thread;
    char endpoint[WIRE_ENDPOINT_MAX];
    uint64_t moved_ms; /* when something was last sent or answered */
    uint64_t answers;
    atomic_uint *running;
};

static bool client_is_stuck(const struct client *client)
{
    return clock_mono_ms() - client->moved_ms > LIMIT_MS;
}

static bool client_burst(struct client *client, struct wire_socket *socket, uint64_t first)
{
    for (uint64_t i = 0; i < BURST; i++) {
        const struct message m = {.type = MESSAGE_HEARTBEAT, .progress = first + i};
        while (wire_socket_send(socket, (struct wire_peer){0}, &m, NULL) != WIRE_SEND_OK) {
            if (client_is_stuck(client))
                return false;
            wire_test_sleep_ms(1);
        }
        client->moved_ms = clock_mono_ms();
    }
    for (uint64_t got = 0; got < BURST;) {
        struct wire_peer peer;
        struct message m;
        if (client_is_stuck(client))
            return false;
        if (!wire_socket_wait(socket, 100))
            continue;
        if (wire_socket_recv(socket, &peer, &m, NULL) != WIRE_RECV_MESSAGE)
            return false;
        /* The timer's messages come in between. */
        if (m.type == MESSAGE_ACK) {
            got++;
            client->answers++;
            client->moved_ms = clock_mono_ms();
        }
        message_release(&m);
    }
    return true;
}

static void *client_run(void *ctx)
{
    struct client *client = ctx;
    struct wire_socket *socket;
    if (wire_socket_connect(&socket, context, client->endpoint, WIRE_LIMITS_CONTROL, NULL))
        return NULL;
    client->moved_ms = clock_mono_ms();
    for (uint64_t i = 0; i < BURSTS; i++)
        if (!client_burst(client, socket, i * BURST))
            break;
    if (atomic_fetch_sub(client->running, 1) == 1) {
        const struct message bye = {.type = MESSAGE_BYE};
        wire_socket_send(socket, (struct wire_peer){0}, &bye, NULL);
    }
    wire_socket_close(socket, 1000);
    return NULL;
}

static void server_on_tick(void *ctx)
{
    struct server *server = ctx;
    server->ticks++;
    const uint64_t until_us = clock_mono_us() + 500;
    while (clock_mono_us() < until_us)
        continue;
    const struct message m = {.type = MESSAGE_HEARTBEAT};
    if (server->last.id)
        wire_socket_send(loop_socket_wire(server->socket), server->last, &m, NULL);
}

/* Nothing has come since it was last looked: the clients have given up. */
static void server_on_limit(void *ctx)
{
    struct server *server = ctx;
    if (server->messages == server->seen)
        uv_stop(&server->loop);
    server->seen = server->messages;
}

static void check_all_are_answered(const char *endpoint)
{
    static struct server server;
    server_open(&server, endpoint);
    server.stop_on_bye = true;
    atomic_uint running = PEERS;
    struct client clients[PEERS] = {0};
    for (unsigned i = 0; i < PEERS; i++) {
        clients[i].running = &running;
        strcpy(clients[i].endpoint, wire_socket_endpoint(loop_socket_wire(server.socket)));
        assert_int_equal(pthread_create(&clients[i].thread, NULL, client_run, &clients[i]), 0);
    }
    struct loop_timer *limit;
    check_ok(loop_timer_open(&server.timer, &server.loop, 1, 1, server_on_tick, &server, &err));
    check_ok(loop_timer_open(&limit, &server.loop, LIMIT_MS + 5000, LIMIT_MS + 5000,
                             server_on_limit, &server, &err));
    loop_run(&server.loop);
    for (unsigned i = 0; i < PEERS; i++)
        pthread_join(clients[i].thread, NULL);
    for (unsigned i = 0; i < PEERS; i++)
        if (clients[i].answers != (uint64_t)BURSTS * BURST)
            fail_msg("peer %u was answered %llu times of %u: the loop slept through the rest",
                     i, (unsigned long long)clients[i].answers, BURSTS * BURST);
    assert_int_equal(server.unsent, 0);
    assert_int_equal(server.errors, 0);
    assert_true(server.ticks > 0); /* the drain did not starve the timer */
    loop_timer_close(limit);
    server_close(&server);
}

static void loop_answers_all_while_a_timer_works_and_sends_over_tcp(void **state)
{
    (void)state;
    check_all_are_answered("tcp://127.0.0.1:*");
    finish();
}

static void loop_answers_all_while_a_timer_works_and_sends_over_ipc(void **state)
{
    (void)state;
    check_all_are_answered(ipc);
    finish();
}

/* What is there before the loop starts has raised no event since. */
static void loop_sees_messages_that_were_there_before_it_ran(void **state)
{
    (void)state;
    static struct server server;
    server_open(&server, ipc);
    server.stop_on_bye = true;
    struct wire_socket *dealer;
    check_ok(wire_socket_connect(&dealer, context, ipc, WIRE_LIMITS_CONTROL, &err));
    const struct message bye = {.type = MESSAGE_BYE};
    while (wire_socket_send(dealer, (struct wire_peer){0}, &bye, NULL) != WIRE_SEND_OK)
        wire_test_sleep_ms(1);
    while (!wire_socket_readable(loop_socket_wire(server.socket)))
        wire_test_sleep_ms(1);
    loop_run(&server.loop);
    assert_int_equal(server.messages, 1);
    wire_socket_close(dealer, 0);
    server_close(&server);
    finish();
}

/* A message that a callback keeps, and a socket that is closed in its own callback. */
struct keeper {
    uv_loop_t loop;
    struct loop_socket *socket;
    struct message kept;
    unsigned calls;
};

static void keeper_on_message(void *ctx, struct wire_peer peer, struct message *message)
{
    (void)peer;
    struct keeper *keeper = ctx;
    keeper->calls++;
    keeper->kept = *message;
    *message = (struct message){0};
    loop_socket_close(keeper->socket, 0);
}

static void loop_socket_may_be_closed_in_its_callback(void **state)
{
    (void)state;
    static struct keeper keeper;
    static struct wire_test made;
    static const struct loop_socket_ops ops = {keeper_on_message, server_on_error};
    struct wire_socket *wire, *dealer;
    assert_int_equal(uv_loop_init(&keeper.loop), 0);
    check_ok(wire_socket_bind(&wire, context, ipc, WIRE_LIMITS_CONTROL, &err));
    check_ok(loop_socket_open(&keeper.socket, &keeper.loop, wire, &ops, &keeper, &err));
    check_ok(wire_socket_connect(&dealer, context, ipc, WIRE_LIMITS_CONTROL, &err));
    wire_test_make(&made, MESSAGE_TRAIN_LEASE, 4);
    for (int sent = 0; sent < 3;) {
        if (wire_socket_send(dealer, (struct wire_peer){0}, &made.m, NULL) == WIRE_SEND_OK)
            sent++;
        else
            wire_test_sleep_ms(1);
    }
    loop_run(&keeper.loop); /* ends: nothing is open any more */
    loop_release(&keeper.loop);
    assert_int_equal(keeper.calls, 1);
    wire_test_check_same(&keeper.kept, &made.m);
    message_release(&keeper.kept);
    wire_socket_close(dealer, 0);
    finish();
}

struct alarm {
    uv_loop_t loop;
    struct loop_signals *signals;
    struct loop_timer *timer;
    unsigned fired;
    int signal;
};

static void alarm_on_signal(void *ctx, int number)
{
    struct alarm *alarm = ctx;
    alarm->signal = number;
    loop_signals_close(alarm->signals);
}

static void alarm_on_timer(void *ctx)
{
    struct alarm *alarm = ctx;
    if (++alarm->fired == 3) {
        loop_timer_close(alarm->timer);
        raise(SIGTERM);
    }
}

static void loop_fires_timers_and_tells_of_signals(void **state)
{
    (void)state;
    static struct alarm alarm;
    assert_int_equal(uv_loop_init(&alarm.loop), 0);
    check_ok(loop_timer_open(&alarm.timer, &alarm.loop, 0, 1, alarm_on_timer, &alarm, &err));
    check_ok(loop_signals_open(&alarm.signals, &alarm.loop, alarm_on_signal, &alarm, &err));
    loop_run(&alarm.loop);
    loop_release(&alarm.loop);
    assert_int_equal(alarm.fired, 3);
    assert_int_equal(alarm.signal, SIGTERM);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(loop_answers_all_while_a_timer_works_and_sends_over_tcp,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(loop_answers_all_while_a_timer_works_and_sends_over_ipc,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(loop_sees_messages_that_were_there_before_it_ran, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(loop_socket_may_be_closed_in_its_callback, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(loop_fires_timers_and_tells_of_signals, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
