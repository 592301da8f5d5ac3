/*
 * test_node_weights_relay.c -- clients that serve each other what the server has sent one of
 * them.
 *
 * Oracle: the bytes that were published, and how many of them the server says it has sent: as
 * many as there are, whatever the number of clients.  A relay that misbehaves is played here
 * with wire/socket: it has the server send it a chunk, and so is named to who asks next.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "node/weights_pull.h"
#include "tests/wire_messages.h"

#define LONG_MS     120000u
#define CLIENTS_MAX 8u
#define SIZE        (20u * WIRE_CHUNK_BYTES + 12345u)
#define CHUNKS      21u

#define SILENT_MS 1000u /* with the server, where relays are waited for in vain */

static struct wire_context *context;
static struct weights_server *server; /* has version 7 */
static unsigned char *weights, *got;
static FILE *log_file;

static int setup(void **state)
{
    (void)state;
    uint64_t seed = 12;
    weights = malloc(SIZE);
    got = calloc(1, SIZE);
    log_file = tmpfile();
    if (!weights || !got || !log_file)
        return -1;
    for (size_t i = 0; i < SIZE; i++)
        weights[i] = (unsigned char)wire_test_next(&seed);
    log_open("test", fileno(log_file), LOG_LEVEL_INFO);
    check_ok(wire_context_new(&context, &err));
    check_ok(weights_server_open(&server, context, "tcp://127.0.0.1:*", 2, &err));
    weights_server_share(server, false);
    check_ok(weights_server_publish(server, 7, weights, SIZE, NULL, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    weights_server_close(server);
    wire_context_free(context);
    log_open("test", STDERR_FILENO, LOG_LEVEL_INFO);
    fclose(log_file);
    free(weights);
    free(got);
    return 0;
}

static void check_logged(const char *words)
{
    char text[8192];
    fflush(log_file);
    rewind(log_file);
    text[fread(text, 1, sizeof text - 1, log_file)] = '\0';
    if (!strstr(text, words))
        fail_msg("the log says, without \"%s\":\n%s", words, text);
}

/* --- clients that are relays ------------------------------------------------------------- */

struct client {
    pthread_t thread;
    struct weights_server *relay;
    unsigned char *buffer;
    uint32_t silent_ms; /* patience with the server, and twice that with relays; 0: long */
    enum err_code rc;
    struct err err;
    struct weights_traffic traffic;
};

static void *client_fetch(void *arg)
{
    struct client *c = arg;
    struct weights_view view;
    const uint32_t silent_ms = c->silent_ms ? c->silent_ms : LONG_MS / 4;
    const struct weights_patience patience = {silent_ms, LONG_MS, NULL, NULL};
    const struct weights_request request = {.context = context,
                                            .endpoint = weights_server_endpoint(server),
                                            .version = 7,
                                            .buffer = c->buffer,
                                            .size = SIZE,
                                            .relay = c->relay,
                                            .relay_ms = 2 * silent_ms,
                                            .patience = &patience};
    c->rc = weights_fetch(&request, &view, &c->err);
    c->traffic = view.traffic;
    return NULL;
}

static void client_open(struct client *c)
{
    *c = (struct client){.buffer = calloc(1, SIZE)};
    assert_non_null(c->buffer);
    check_ok(weights_server_open(&c->relay, context, "tcp://127.0.0.1:*", 1, &err));
}

static void client_check(const struct client *c)
{
    if (c->rc)
        fail_msg("%s", c->err.text);
    assert_memory_equal(c->buffer, weights, SIZE);
    assert_int_equal(c->traffic.server_bytes + c->traffic.relay_bytes, SIZE);
}

static void client_close(struct client *c)
{
    weights_server_close(c->relay);
    free(c->buffer);
}

/* All at once, as actors that are given leases of a new version.  What is under way is asked for
 * again, and sent again, where a busy machine keeps the server silent for WEIGHTS_SILENT_MS: what
 * the clients took from the server is counted, not what it sent. */
static void check_sent_once(uint32_t n)
{
    struct client client[CLIENTS_MAX];
    const uint64_t before = weights_server_sent_bytes(server);
    check_ok(weights_server_publish(server, 7, weights, SIZE, NULL, &err)); /* nobody has it */
    for (uint32_t i = 0; i < n; i++)
        client_open(&client[i]);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(pthread_create(&client[i].thread, NULL, client_fetch, &client[i]), 0);
    for (uint32_t i = 0; i < n; i++)
        pthread_join(client[i].thread, NULL);
    const uint64_t sent = weights_server_sent_bytes(server) - before;
    uint64_t relayed = 0, taken = 0;
    for (uint32_t i = 0; i < n; i++) {
        client_check(&client[i]);
        taken += client[i].traffic.server_bytes;
        relayed += weights_server_sent_bytes(client[i].relay);
        client_close(&client[i]);
    }
    print_message("%u clients: the server sent %.2f times the weights, clients %.2f\n", n,
                  (double)sent / SIZE, (double)relayed / SIZE);
    assert_int_equal(taken, SIZE);
    assert_true(sent >= taken);
}

static void a_server_sends_each_chunk_once_whatever_the_number_of_clients(void **state)
{
    (void)state;
    check_sent_once(1);
    check_sent_once(4);
    check_sent_once(8);
}

/* It serves nobody, and has nearly all from the one that does. */
static void a_client_that_is_no_relay_is_sent_to_one(void **state)
{
    (void)state;
    struct client relay, other;
    client_open(&relay);
    client_fetch(&relay);
    client_check(&relay);
    client_open(&other);
    weights_server_close(other.relay);
    other.relay = NULL;
    const uint64_t before = weights_server_sent_bytes(server);
    client_fetch(&other);
    client_check(&other);
    assert_int_equal(weights_server_sent_bytes(server), before);
    assert_int_equal(weights_server_sent_bytes(relay.relay), SIZE);
    assert_int_equal(relay.traffic.server_bytes, SIZE);
    assert_int_equal(other.traffic.relay_bytes, SIZE);
    client_close(&relay);
    client_close(&other);
}

/* The relay's buffer is the next version's now. */
static void a_relay_that_has_gone_on_is_not_waited_for(void **state)
{
    (void)state;
    struct client relay, other;
    client_open(&relay);
    client_fetch(&relay);
    client_check(&relay);
    weights_server_drop(relay.relay, 7);
    memset(relay.buffer, 0, SIZE);
    client_open(&other);
    client_fetch(&other);
    client_check(&other);
    assert_int_equal(other.traffic.server_bytes, SIZE);
    check_logged("has gone on to another version; it is asked no more");
    client_close(&relay);
    client_close(&other);
}

/* --- relays that misbehave --------------------------------------------------------------- */

/* An endpoint where nobody listens, nor can while the descriptor is open. */
static int nobody(char endpoint[64])
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(endpoint, 64, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

/* What the server answers to one that asks for this chunk, is no relay, and does not insist. */
static enum message_type answer_to(uint32_t index)
{
    struct wire_socket *socket;
    struct wire_peer peer;
    struct message m;
    const struct message ask = {.type = MESSAGE_CHUNK_ASK, .version = 7, .chunk_index = index};
    check_ok(wire_socket_connect(&socket, context, weights_server_endpoint(server),
                                 WIRE_LIMITS_BULK, &err));
    while (wire_socket_send(socket, (struct wire_peer){0}, &ask, NULL) != WIRE_SEND_OK)
        wire_test_sleep_ms(5); /* not connected yet */
    assert_true(wire_socket_wait(socket, LONG_MS));
    assert_int_equal(wire_socket_recv(socket, &peer, &m, NULL), WIRE_RECV_MESSAGE);
    const enum message_type type = m.type;
    message_release(&m);
    wire_socket_close(socket, 0);
    return type;
}

/* Have the server send these chunks to a relay at this endpoint, which is none. */
static void say_is_relay(const char *endpoint, uint32_t first, uint32_t n)
{
    struct wire_socket *socket;
    check_ok(wire_socket_connect(&socket, context, weights_server_endpoint(server),
                                 WIRE_LIMITS_BULK, &err));
    for (uint32_t i = first; i < first + n; i++) {
        struct message ask = {
            .type = MESSAGE_CHUNK_ASK, .version = 7, .chunk_index = i, .insist = true};
        struct message m;
        struct wire_peer peer;
        message_set_text(&ask, endpoint);
        while (wire_socket_send(socket, (struct wire_peer){0}, &ask, NULL) != WIRE_SEND_OK)
            wire_test_sleep_ms(5); /* not connected yet */
        assert_true(wire_socket_wait(socket, LONG_MS));
        assert_int_equal(wire_socket_recv(socket, &peer, &m, NULL), WIRE_RECV_MESSAGE);
        assert_int_equal(m.type, MESSAGE_CHUNK);
        message_release(&m);
    }
    wire_socket_close(socket, 0);
}

/* A client without a relay of its own has all that it should, and all of it from the server.  Its
 * patience with that is shorter than with a relay: the server is not the one that is silent.  It
 * is on a very busy machine: then there is more patience.  Returns how often SILENT_MS was waited
 * for. */
static uint32_t check_fetch(struct weights_traffic *traffic)
{
    struct client c;
    uint32_t times = 1, waited = 0;
    do {
        c = (struct client){.buffer = got, .silent_ms = times * SILENT_MS};
        client_fetch(&c);
        waited += times;
        times *= 2;
    } while (c.rc == ERR_TIMEOUT && times * SILENT_MS < LONG_MS);
    client_check(&c);
    assert_int_equal(c.traffic.server_bytes, SIZE);
    if (traffic)
        *traffic = c.traffic;
    return waited;
}

enum trick { TRICK_LIE, TRICK_SHORT, TRICK_DIFFERENCE, TRICK_OTHER, TRICK_NEVER };

struct relay {
    pthread_t thread;
    enum trick trick;
    struct wire_socket *socket;
    atomic_bool stop;
    uint32_t asked;
};

static void relay_answer(struct relay *r, struct wire_peer peer, const struct message *ask)
{
    struct message m = {.version = 7, .chunk_index = ask->chunk_index};
    unsigned char *chunk = weights + (size_t)ask->chunk_index * WIRE_CHUNK_BYTES;
    m.type = r->trick == TRICK_NEVER ? MESSAGE_CHUNK_ELSEWHERE : MESSAGE_CHUNK;
    m.frames_n = r->trick != TRICK_NEVER;
    m.frame[0] = (struct wire_bytes){chunk, WIRE_CHUNK_BYTES - (r->trick == TRICK_SHORT)};
    unsigned char *lie = malloc(WIRE_CHUNK_BYTES);
    assert_non_null(lie);
    memcpy(lie, chunk, WIRE_CHUNK_BYTES);
    lie[99] ^= 1;
    if (r->trick == TRICK_LIE)
        m.frame[0].data = lie;
    if (r->trick == TRICK_DIFFERENCE)
        m.base = 6;
    if (r->trick == TRICK_OTHER) /* which the client has from the server, and first of all */
        m.chunk_index = CHUNKS - 1;
    wire_socket_send(r->socket, peer, &m, NULL);
    free(lie);
}

static void *relay_run(void *arg)
{
    struct relay *r = arg;
    while (!atomic_load(&r->stop)) {
        struct wire_peer peer;
        struct message m;
        if (!wire_socket_wait(r->socket, 20) ||
            wire_socket_recv(r->socket, &peer, &m, NULL) != WIRE_RECV_MESSAGE)
            continue;
        r->asked++;
        relay_answer(r, peer, &m);
        message_release(&m);
    }
    return NULL;
}

/* 20 chunks are with this relay, the last is not. */
static void check_trick(enum trick trick, const char *words, uint32_t asked_max)
{
    char line[512];
    struct relay relay = {.trick = trick};
    check_ok(
        wire_socket_bind(&relay.socket, context, "tcp://127.0.0.1:*", WIRE_LIMITS_BULK, &err));
    say_is_relay(wire_socket_endpoint(relay.socket), 0, CHUNKS - 1);
    assert_int_equal(pthread_create(&relay.thread, NULL, relay_run, &relay), 0);
    struct weights_traffic traffic;
    const uint32_t waited = check_fetch(&traffic);
    atomic_store(&relay.stop, true);
    pthread_join(relay.thread, NULL);
    if (trick != TRICK_NEVER)
        assert_true(traffic.wasted_bytes >= SIZE % WIRE_CHUNK_BYTES);
    if (trick == TRICK_LIE)
        assert_true(traffic.refused >= 1);
    assert_in_range(relay.asked, 1, waited * asked_max);
    snprintf(line, sizeof line, "the relay %s %s", wire_socket_endpoint(relay.socket), words);
    if (words[0])
        check_logged(line);
    wire_socket_close(relay.socket, 0);
}

static void a_relay_that_lies_is_named_and_asked_no_more(void **state)
{
    (void)state;
    check_trick(TRICK_LIE, "sent a chunk that is not what the manifest says", CHUNKS - 1);
}

static void a_relay_that_sends_too_little_is_named_and_asked_no_more(void **state)
{
    (void)state;
    check_trick(TRICK_SHORT, "sent a chunk of another size", 2 * WEIGHTS_WINDOW);
}

static void a_relay_that_sends_a_difference_is_named_and_asked_no_more(void **state)
{
    (void)state;
    check_trick(TRICK_DIFFERENCE, "sent a difference", 2 * WEIGHTS_WINDOW);
}

/* Answers, of which none is one, are silence. */
static void a_relay_that_answers_something_else_is_named_and_asked_no_more(void **state)
{
    (void)state;
    check_trick(TRICK_OTHER, "", CHUNKS);
}

/* As many as are under way are waited for, and no others. */
static void a_relay_that_never_has_it_is_named_and_asked_no_more(void **state)
{
    (void)state;
    check_trick(TRICK_NEVER, "lacks what it was sent", 2 * WEIGHTS_WINDOW * 42);
}

/* It takes connections, as a process does that was stopped. */
static void a_relay_that_is_silent_is_named_and_asked_no_more(void **state)
{
    (void)state;
    struct wire_socket *stopped;
    check_ok(wire_socket_bind(&stopped, context, "tcp://127.0.0.1:*", WIRE_LIMITS_BULK, &err));
    say_is_relay(wire_socket_endpoint(stopped), 0, CHUNKS - 1);
    check_fetch(NULL);
    check_logged("does not answer; it is asked no more");
    wire_socket_close(stopped, 0);
}

static void a_relay_that_is_gone_is_not_waited_for(void **state)
{
    (void)state;
    char endpoint[64], line[128];
    const int fd = nobody(endpoint);
    say_is_relay(endpoint, 0, CHUNKS - 1);
    check_fetch(NULL);
    snprintf(line, sizeof line, "the relay %s does not answer", endpoint);
    check_logged(line);
    close(fd);
}

static void a_relay_that_is_no_endpoint_is_passed_over(void **state)
{
    (void)state;
    say_is_relay("nonsense", 0, CHUNKS - 1);
    check_fetch(NULL);
    check_logged("a relay at \\\"nonsense\\\" is not asked");
}

/* Whoever asks a server names what others are to connect to. */
static void only_numeric_addresses_are_relays(void **state)
{
    (void)state;
    static const char *const good[] = {"tcp://10.0.0.7:5555", "tcp://[fd00::7]:1",
                                       "tcp://[::ffff:10.0.0.7]:1",
                                       "tcp://127.0.0.1:65535?key=00ff"};
    static const char *const bad[] = {
        "",
        "tcp://",
        "tcp://localhost:80",
        "tcp://10.0.0.7",
        "tcp://10.0.0.7:",
        "tcp://10.0.0.7:*",
        "tcp://10.0.0:80",
        "tcp://10.0.0.7:80;10.0.0.8:80",
        "tcp://eth0;10.0.0.7:80",
        "tcp://:80",
        "tcp://[fd00::7:80",
        "tcp://[fd00::7]80",
        "tcp://[]:80",
        "tcp://[10.0.0.7]:80",
        "tcp://fd00::7:80",
        "tcp://10.0.0.7:80?key=x",
        "tcp://10.0.0.7:80?other=00",
        "udp://10.0.0.7:80",
        "inproc://a",
        "10.0.0.7:80",
        "tcp://[00000000000000000000000000000000000000000000000000000::7]:80"};
    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(weights_sources_is_endpoint(good[i], "tcp://10.0.0.1:1"));
    for (size_t i = 0; i < COUNT(bad); i++)
        if (weights_sources_is_endpoint(bad[i], "ipc:///run/bulk"))
            fail_msg("%s may be a relay", bad[i]);
    assert_true(weights_sources_is_endpoint("ipc:///run/a", "ipc:///run/bulk"));
    assert_false(weights_sources_is_endpoint("ipc:///run/a", "tcp://127.0.0.1:1"));
}

/* Its chunks are not said to be with the one that took its place. */
static void a_relay_that_is_forgotten_is_named_no_more(void **state)
{
    (void)state;
    char endpoint[64];
    int fd[WEIGHTS_RELAYS_MAX + 1];
    for (uint32_t i = 0; i <= WEIGHTS_RELAYS_MAX; i++) {
        if (i == WEIGHTS_RELAYS_MAX)
            assert_int_equal(answer_to(0), MESSAGE_CHUNK_ELSEWHERE);
        fd[i] = nobody(endpoint);
        say_is_relay(endpoint, i == 0 ? 0 : 1, 1);
    }
    assert_int_equal(answer_to(0), MESSAGE_CHUNK);
    assert_int_equal(answer_to(1), MESSAGE_CHUNK_ELSEWHERE);
    for (size_t i = 0; i < COUNT(fd); i++)
        close(fd[i]);
}

/* More relays than a server remembers; then one for each chunk, more than a client asks. */
static void any_number_of_relays_is_survived(void **state)
{
    (void)state;
    int fd[WEIGHTS_RELAYS_MAX + CHUNKS];
    for (uint32_t i = 0; i < COUNT(fd); i++) {
        char endpoint[64];
        fd[i] = nobody(endpoint);
        say_is_relay(endpoint, i % CHUNKS, 1);
    }
    check_fetch(NULL);
    for (uint32_t i = 0; i < COUNT(fd); i++)
        close(fd[i]);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_server_sends_each_chunk_once_whatever_the_number_of_clients),
        TEST(a_client_that_is_no_relay_is_sent_to_one),
        TEST(a_relay_that_has_gone_on_is_not_waited_for),
        TEST(a_relay_that_lies_is_named_and_asked_no_more),
        TEST(a_relay_that_sends_too_little_is_named_and_asked_no_more),
        TEST(a_relay_that_sends_a_difference_is_named_and_asked_no_more),
        TEST(a_relay_that_answers_something_else_is_named_and_asked_no_more),
        TEST(a_relay_that_never_has_it_is_named_and_asked_no_more),
        TEST(a_relay_that_is_silent_is_named_and_asked_no_more),
        TEST(a_relay_that_is_gone_is_not_waited_for),
        TEST(a_relay_that_is_no_endpoint_is_passed_over),
        TEST(only_numeric_addresses_are_relays),
        TEST(a_relay_that_is_forgotten_is_named_no_more),
        TEST(any_number_of_relays_is_survived),
    };
    return cmocka_run_group_tests_name("node/weights_relay", tests, NULL, NULL);
}
