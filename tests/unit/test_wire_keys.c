#define _GNU_SOURCE /* memmem */
/*
 * test_wire_keys.c -- a directory of keys, and who gets past wire/guard over TCP.
 *
 * Oracles: for a public key, the ladder of RFC 7748 (section 5) over Python's integers; for who
 * must stay outside, plain libzmq sockets that know nothing of wire/; for the encryption, a
 * relay that looks at all bytes between two ends, and sees them where there is no guard.  Waits
 * are bounded by WAIT_MS, and no verdict depends on how long something took.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "base/file.h"
#include "base/log.h"
#include "tests/wire_messages.h"
#include "wire/guard.h"

#define WAIT_MS 10000
#define TCP     "tcp://127.0.0.1:*"
#define SECRET  "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
#define PUBLIC  "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c"
#define OTHER   "0000000000000000000000000000000000000000000000000000000000000001"

static char dir[32];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/keys-XXXXXX");
    log_open("test", STDERR_FILENO, LOG_LEVEL_ERROR);
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) ? -1 : 0;
}

static void write_text(const char *name, const char *text, mode_t mode)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    check_ok(file_write(path, text, strlen(text), &err));
    assert_int_equal(chmod(path, mode), 0);
}

static void make_key(const char *name)
{
    check_ok(keys_make(dir, name, &err));
}

static struct buf read_text(const char *name)
{
    char path[96];
    struct buf text;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    buf_init(&text, 1 << 20);
    check_ok(file_read(path, &text, &err));
    return text;
}

/* --- files -------------------------------------------------------------------------------- */

static void keys_have_the_public_key_of_rfc_7748(void **state)
{
    (void)state;
    struct keys_peers *peers;
    struct keys_own own;
    write_text("actor.key", SECRET "\n", 0600);
    write_text("peers", "# all of them\n\n  actor\tactor " PUBLIC "\r\n", 0644);
    check_ok(keys_read_peers(&peers, dir, &err));
    assert_int_equal(peers->n, 1);
    assert_int_equal(peers->peer[0].role, WIRE_ROLE_ACTOR);
    check_ok(
        keys_read_own(&own, dir, "actor-7", peers, &err)); /* the role's, for want of its own */
    assert_string_equal(own.name, "actor");
    assert_memory_equal(own.public_key, peers->peer[0].public_key, KEYS_BYTES);
    assert_ptr_equal(keys_find(peers, own.public_key), &peers->peer[0]);
    assert_null(keys_find(peers, own.secret_key));
    free(peers);
}

static void keys_that_are_made_are_private_distinct_and_never_overwritten(void **state)
{
    (void)state;
    static const char *const names[] = {"coordinator", "learner-0", "actor-12", "actor",
                                        "reward"};
    struct keys_peers *peers;
    for (size_t i = 0; i < COUNT(names); i++)
        check_ok(keys_make(dir, names[i], &err));
    check_ok(keys_read_peers(&peers, dir, &err));
    assert_int_equal(peers->n, COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[96];
        struct stat is;
        struct keys_own own;
        snprintf(path, sizeof path, "%s/%s.key", dir, names[i]);
        assert_int_equal(stat(path, &is), 0);
        assert_int_equal(is.st_mode & 0777, 0600);
        check_ok(keys_read_own(&own, dir, names[i], peers, &err));
        assert_string_equal(own.name, names[i]);
    }
    free(peers);
    struct buf before = read_text("actor.key");
    check_fails(keys_make(dir, "actor", &err), ERR_STATE, "a key for actor already");
    write_text("peers", "", 0644);
    check_fails(keys_make(dir, "actor", &err), ERR_STATE, "it is not overwritten");
    struct buf after = read_text("actor.key");
    assert_string_equal(before.data, after.data);
    buf_release(&before);
    buf_release(&after);
}

static void keys_refuse_what_is_none_and_say_where(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"actor actor " PUBLIC "\nactor-1 actor\n",
         "peers:2: a line is: name, role, public key"},
        {"actor actor " PUBLIC " x\n", "peers:1: a line is"},
        {"actor learner " PUBLIC "\n", "peers:1: actor has the role actor, not \"learner\""},
        {"actor-a/b actor " PUBLIC "\n", "peers:1: \"actor-a/b\" is no process of a run"},
        {"bob actor " PUBLIC "\n", "peers:1: \"bob\" is no process of a run"},
        {"actor actor 07a3\n", "peers:1: a key has 64 hex digits, not 4"},
        {"actor actor x7a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c\n",
         "peers:1: "},
        {"actor actor " PUBLIC "\nactor actor " OTHER "\n",
         "peers:2: the name or the key of actor"},
        {"actor actor " PUBLIC "\nactor-1 actor " PUBLIC "\n", "peers:2: the name or the key"},
    };
    struct keys_peers *peers;
    for (size_t i = 0; i < COUNT(bad); i++) {
        write_text("peers", bad[i].text, 0644);
        check_fails(keys_read_peers(&peers, dir, &err), ERR_FORMAT, bad[i].words);
    }
    check_fails(keys_make(dir, "bob", &err), ERR_USAGE, "\"bob\" is no process of a run");
    check_fails(keys_make(dir, "actor-", &err), ERR_USAGE, "no process");
    check_fails(keys_make(dir, "../actor", &err), ERR_USAGE, "no process");
    check_fails(keys_read_peers(&peers, "/nowhere", &err), ERR_IO, "/nowhere/peers");
}

#define LONG_NAME \
    "actor-000000000000000000000000000000000000000000000000000000000" /* 63 bytes */

static void keys_have_names_and_lists_of_a_greatest_length(void **state)
{
    (void)state;
    struct keys_peers *peers;
    check_ok(keys_make(dir, LONG_NAME, &err));
    check_fails(keys_make(dir, LONG_NAME "0", &err), ERR_USAGE, "is no process of a run");
    write_text("peers", LONG_NAME " actor " PUBLIC "\n", 0644);
    check_ok(keys_read_peers(&peers, dir, &err));
    assert_string_equal(peers->peer[0].name, LONG_NAME);
    free(peers);
    write_text("peers", LONG_NAME "0 actor " PUBLIC "\n", 0644);
    check_fails(keys_read_peers(&peers, dir, &err), ERR_FORMAT,
                "peers:1: a name has at most 63 bytes");

    struct buf text;
    buf_init(&text, 1 << 20);
    for (unsigned i = 0; i < KEYS_PEERS_MAX; i++)
        buf_printf(&text, "actor-%u actor %064x\n", i, i + 1);
    write_text("peers", text.data, 0644);
    check_ok(keys_read_peers(&peers, dir, &err));
    assert_int_equal(peers->n, KEYS_PEERS_MAX);
    free(peers);
    buf_printf(&text, "learner learner " PUBLIC "\n");
    write_text("peers", text.data, 0644);
    check_fails(keys_read_peers(&peers, dir, &err), ERR_FORMAT,
                "peers:4097: more than 4096 keys");
    buf_release(&text);
}

/* A digit is wrong: which of them it is is not told, nor are the others. */
static void check_secret_is_not_told(const struct keys_peers *peers)
{
    struct err err = {0};
    struct keys_own own;
    char text[] = SECRET;
    text[40] = 'x';
    write_text("actor.key", text, 0600);
    assert_int_equal(keys_read_own(&own, dir, "actor-7", peers, &err), ERR_FORMAT);
    assert_null(strstr(err.text, "0102"));
}

static void keys_that_others_may_read_or_that_are_not_in_peers_are_not_used(void **state)
{
    (void)state;
    struct keys_peers *peers;
    struct keys_own own;
    write_text("peers", "actor actor " PUBLIC "\nreward reward " OTHER "\n", 0644);
    check_ok(keys_read_peers(&peers, dir, &err));
    check_fails(keys_read_own(&own, dir, "actor-7", peers, &err), ERR_IO, "no key for actor-7");
    write_text("actor.key", SECRET, 0604);
    check_fails(keys_read_own(&own, dir, "actor-7", peers, &err), ERR_STATE,
                "must not be open to others");
    write_text("actor.key", SECRET, 0660);
    check_fails(keys_read_own(&own, dir, "actor-7", peers, &err), ERR_STATE, "chmod 600");
    write_text("actor.key", SECRET, 0440); /* as a secret of a cluster is mounted */
    check_ok(keys_read_own(&own, dir, "actor-7", peers, &err));
    write_text("actor.key", "0102", 0600);
    check_fails(keys_read_own(&own, dir, "actor-7", peers, &err), ERR_FORMAT, "64 hex digits");
    check_secret_is_not_told(peers);
    write_text("reward.key", SECRET, 0600);
    check_fails(keys_read_own(&own, dir, "reward-0", peers, &err), ERR_STATE,
                "has another key for reward");
    write_text("learner-0.key", SECRET, 0600);
    check_fails(keys_read_own(&own, dir, "learner-0", peers, &err), ERR_STATE,
                "has no key for learner-0");
    free(peers);
}

/* --- connections -------------------------------------------------------------------------- */

/* Two ends of TCP, each with a context of its own, as two processes have. */
struct pair {
    struct wire_context *at_server, *at_client;
    struct wire_socket *router, *dealer;
};

static void pair_open(struct pair *p, const char *name)
{
    *p = (struct pair){0};
    check_ok(keys_make(dir, "coordinator", &err));
    check_ok(keys_make(dir, name, &err));
    check_ok(wire_context_new(&p->at_server, &err));
    check_ok(wire_context_new(&p->at_client, &err));
    check_ok(wire_context_guard(p->at_server, dir, "coordinator-0", &err));
    check_ok(wire_context_guard(p->at_client, dir, name, &err));
    check_ok(wire_socket_bind(&p->router, p->at_server, TCP, WIRE_LIMITS_CONTROL, &err));
}

static void pair_connect(struct pair *p)
{
    check_ok(wire_socket_connect(&p->dealer, p->at_client, wire_socket_endpoint(p->router),
                                 WIRE_LIMITS_CONTROL, &err));
}

static void pair_close(struct pair *p)
{
    wire_socket_close(p->dealer, 0);
    wire_socket_close(p->router, 0);
    wire_context_free(p->at_client);
    wire_context_free(p->at_server);
}

/* False where the connection does not stand after so many tries, a millisecond apart. */
static bool is_sent(struct wire_socket *socket, const struct message *message, int tries)
{
    enum wire_send sent = WIRE_SEND_FULL;
    for (int i = 0; i < tries && sent == WIRE_SEND_FULL; i++) {
        sent = wire_socket_send(socket, (struct wire_peer){0}, message, NULL);
        if (sent == WIRE_SEND_FULL)
            wire_test_sleep_ms(1);
    }
    return sent == WIRE_SEND_OK;
}

static void send_when_connected(struct wire_socket *socket, const struct message *message)
{
    assert_true(is_sent(socket, message, WAIT_MS));
}

static void receive(struct wire_socket *socket, struct wire_peer *peer, struct message *message)
{
    struct err err = {0};
    assert_true(wire_socket_wait(socket, WAIT_MS));
    if (wire_socket_recv(socket, peer, message, &err) != WIRE_RECV_MESSAGE)
        fail_msg("no message: %s", err.text);
}

static void receive_bad(struct wire_socket *socket, const char *words)
{
    struct wire_peer peer;
    struct message message;
    struct err err = {0};
    assert_true(wire_socket_wait(socket, WAIT_MS));
    assert_int_equal(wire_socket_recv(socket, &peer, &message, &err), WIRE_RECV_BAD);
    if (!strstr(err.text, words))
        fail_msg("said \"%s\", without \"%s\"", err.text, words);
}

static struct message hello(const char *name, enum wire_role role)
{
    struct message m = {.type = MESSAGE_HELLO, .role = role, .capacity = 1};
    snprintf(m.name, sizeof m.name, "%s", name);
    return m;
}

static void wait_refused(const struct pair *p, enum wire_refused reason)
{
    uint64_t refused[WIRE_REFUSED] = {0};
    for (int i = 0; i < WAIT_MS && refused[reason] == 0; i++) {
        wire_test_sleep_ms(1);
        wire_context_refused(p->at_server, refused);
    }
    assert_true(refused[reason] > 0);
}

static void guard_lets_those_talk_who_have_keys(void **state)
{
    (void)state;
    struct pair p;
    struct wire_peer peer;
    struct message there, back;
    static struct wire_test made;
    uint64_t refused[WIRE_REFUSED];
    pair_open(&p, "actor-3");
    assert_non_null(strstr(wire_socket_endpoint(p.router), WIRE_ENDPOINT_KEY));
    pair_connect(&p);
    const struct message first = hello("actor-3", WIRE_ROLE_ACTOR);
    send_when_connected(p.dealer, &first);
    receive(p.router, &peer, &there);
    assert_string_equal(there.name, "actor-3");
    message_release(&there);
    wire_test_make(&made, MESSAGE_GENERATE_RESULT, 5);
    send_when_connected(p.dealer, &made.m);
    receive(p.router, &peer, &there);
    wire_test_check_same(&there, &made.m);
    assert_int_equal(wire_socket_send(p.router, peer, &there, NULL), WIRE_SEND_OK);
    message_release(&there);
    receive(p.dealer, &peer, &back);
    wire_test_check_same(&back, &made.m);
    message_release(&back);
    wire_context_refused(p.at_server, refused);
    for (int i = 0; i < WIRE_REFUSED; i++)
        assert_int_equal(refused[i], 0);
    pair_close(&p);
}

/* Not in the endpoint: the coordinator's key is the one of peers. */
static void guard_takes_the_coordinator_s_key_where_an_endpoint_names_none(void **state)
{
    (void)state;
    struct pair p;
    struct wire_peer peer;
    struct message there;
    char endpoint[WIRE_ENDPOINT_MAX];
    pair_open(&p, "reward");
    snprintf(endpoint, sizeof endpoint, "%s", wire_socket_endpoint(p.router));
    *strstr(endpoint, WIRE_ENDPOINT_KEY) = '\0';
    check_ok(wire_socket_connect(&p.dealer, p.at_client, endpoint, WIRE_LIMITS_CONTROL, &err));
    const struct message m = hello("reward-9", WIRE_ROLE_REWARD);
    send_when_connected(p.dealer, &m);
    receive(p.router, &peer, &there);
    message_release(&there);

    struct wire_socket *none;
    strcat(endpoint, WIRE_ENDPOINT_KEY "0102");
    check_fails(wire_socket_connect(&none, p.at_client, endpoint, WIRE_LIMITS_CONTROL, &err),
                ERR_USAGE, "not 64 hex digits");
    strcpy(strstr(endpoint, "0102"), OTHER);
    check_fails(wire_socket_connect(&none, p.at_client, endpoint, WIRE_LIMITS_CONTROL, &err),
                ERR_STATE, "its key is not in");
    pair_close(&p);
}

enum stranger { NO_KEY, PASSWORD, UNKNOWN_KEY, WRONG_SERVER, STRANGERS };

static void stranger_dress(void *socket, enum stranger kind, const unsigned char *server)
{
    char public_key[41], secret[41], other[41], other_secret[41];
    const int none = 0, yes = 1;
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_IPV6, &yes, sizeof yes);
    assert_int_equal(zmq_curve_keypair(public_key, secret), 0);
    assert_int_equal(zmq_curve_keypair(other, other_secret), 0);
    if (kind == PASSWORD) {
        assert_int_equal(zmq_setsockopt(socket, ZMQ_PLAIN_USERNAME, "actor-3", 7), 0);
        assert_int_equal(zmq_setsockopt(socket, ZMQ_PLAIN_PASSWORD, "x", 1), 0);
    }
    if (kind == UNKNOWN_KEY)
        assert_int_equal(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server, KEYS_BYTES), 0);
    if (kind == WRONG_SERVER)
        assert_int_equal(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, other, sizeof other), 0);
    if (kind == UNKNOWN_KEY || kind == WRONG_SERVER) {
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, public_key, sizeof public_key);
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, sizeof secret);
    }
}

static void guard_hears_nothing_of_strangers_and_counts_them(void **state)
{
    (void)state;
    static const enum wire_refused reason[STRANGERS] = {
        WIRE_REFUSED_HANDSHAKE, WIRE_REFUSED_HANDSHAKE, WIRE_REFUSED_KEY,
        WIRE_REFUSED_HANDSHAKE};
    for (int kind = 0; kind < STRANGERS; kind++) {
        struct pair p;
        struct keys_peers *peers;
        char endpoint[WIRE_ENDPOINT_MAX];
        pair_open(&p, "actor-3");
        check_ok(keys_read_peers(&peers, dir, &err));
        snprintf(endpoint, sizeof endpoint, "%s", wire_socket_endpoint(p.router));
        *strstr(endpoint, WIRE_ENDPOINT_KEY) = '\0';
        void *zmq = zmq_ctx_new(), *raw = zmq_socket(zmq, ZMQ_DEALER);
        stranger_dress(raw, (enum stranger)kind,
                       keys_find_role(peers, WIRE_ROLE_NONE)->public_key);
        free(peers);
        assert_int_equal(zmq_connect(raw, endpoint), 0);
        if (zmq_send(raw, "let me in", 9, ZMQ_DONTWAIT) != 9)
            assert_int_equal(errno, EAGAIN); /* it was refused already: nobody is there */
        wait_refused(&p, reason[kind]);
        pair_connect(
            &p); /* who comes later is heard, and the stranger's words are not before */
        struct wire_peer peer;
        struct message there;
        const struct message m = hello("actor-3", WIRE_ROLE_ACTOR);
        send_when_connected(p.dealer, &m);
        receive(p.router, &peer, &there);
        message_release(&there);
        assert_false(wire_socket_wait(p.router, 50));
        zmq_close(raw);
        zmq_ctx_term(zmq);
        pair_close(&p);
        teardown(NULL);
        setup(NULL);
    }
}

static void guard_does_not_take_a_name_or_a_role_for_another(void **state)
{
    (void)state;
    static const struct {
        const char *key, *name;
        enum wire_role role;
    } bad[] = {{"actor-3", "actor-4", WIRE_ROLE_ACTOR},
               {"actor-3", "actor-3", WIRE_ROLE_LEARNER},
               {"actor", "learner-0", WIRE_ROLE_LEARNER}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct pair p;
        pair_open(&p, bad[i].key);
        pair_connect(&p);
        const struct message m = hello(bad[i].name, bad[i].role);
        send_when_connected(p.dealer, &m);
        receive_bad(p.router, "a HELLO of ");
        wait_refused(&p, WIRE_REFUSED_IDENTITY);
        pair_close(&p);
        teardown(NULL);
        setup(NULL);
    }
}

/* The line of `name` goes, or comes, as an editor would do it: a new file in its place. */
static void strike(const char *name, char *kept, size_t size)
{
    struct buf text = read_text("peers");
    char *line = strstr(text.data, name), *end = strchr(line, '\n') + 1;
    snprintf(kept, size, "%s", text.data);
    memmove(line, end, strlen(end) + 1);
    write_text("peers", text.data, 0644);
    buf_release(&text);
}

/* Heartbeats, until one is not heard. */
static void turned_away(struct pair *p, struct wire_peer *peer, struct err *err)
{
    struct message there;
    enum wire_recv came = WIRE_RECV_MESSAGE;
    for (int i = 0; i < WAIT_MS / 10 && came == WIRE_RECV_MESSAGE; i++) {
        const struct message beat = {.type = MESSAGE_HEARTBEAT};
        send_when_connected(p->dealer, &beat);
        assert_true(wire_socket_wait(p->router, WAIT_MS));
        came = wire_socket_recv(p->router, peer, &there, err);
        message_release(&there);
        wire_test_sleep_ms(10);
    }
    assert_int_equal(came, WIRE_RECV_BAD);
    assert_non_null(strstr(err->text, "was taken out of"));
}

static void guard_turns_a_key_away_whose_name_has_another_now(void **state)
{
    (void)state;
    struct pair p;
    struct wire_peer peer;
    struct message there;
    struct err err = {0};
    char all[1024], path[96];
    pair_open(&p, "actor-3");
    pair_connect(&p);
    const struct message m = hello("actor-3", WIRE_ROLE_ACTOR);
    send_when_connected(p.dealer, &m);
    receive(p.router, &peer, &there);
    message_release(&there);
    strike("actor-3", all, sizeof all);
    snprintf(path, sizeof path, "%s/actor-3.key", dir);
    assert_int_equal(unlink(path), 0);
    make_key("actor-3");
    turned_away(&p, &peer, &err);
    pair_close(&p);
}

static void guard_turns_a_key_away_once_it_is_taken_out_and_knows_it_again(void **state)
{
    (void)state;
    struct pair p;
    struct wire_peer peer;
    struct message there;
    char all[1024];
    pair_open(&p, "actor-3");
    pair_connect(&p);
    const struct message m = hello("actor-3", WIRE_ROLE_ACTOR);
    send_when_connected(p.dealer, &m);
    receive(p.router, &peer, &there);
    message_release(&there);

    strike("actor-3", all, sizeof all);
    struct err err = {0};
    turned_away(&p, &peer, &err);
    enum wire_send sent = WIRE_SEND_OK; /* the connection is cut */
    for (int i = 0; i < WAIT_MS && sent != WIRE_SEND_GONE; i++) {
        sent = wire_socket_send(p.router, peer, &m, NULL);
        wire_socket_readable(p.router); /* comes by the end of what was full */
        wire_test_sleep_ms(1);
    }
    assert_string_equal(wire_send_name(sent), "GONE");
    wait_refused(&p, WIRE_REFUSED_KEY);

    write_text("peers", "no line of peers\n", 0644); /* changes nothing */
    wire_test_sleep_ms(2 * GUARD_LOOK_MS);
    write_text("peers", all, 0644);
    enum wire_recv came = WIRE_RECV_NOTHING;
    for (int i = 0; i < WAIT_MS / 100 && came != WIRE_RECV_MESSAGE; i++) {
        wire_socket_close(p.dealer, 0); /* one that was refused does not come again */
        pair_connect(&p);
        if (is_sent(p.dealer, &m, 100) && wire_socket_wait(p.router, WAIT_MS))
            came = wire_socket_recv(p.router, &peer, &there, &err);
    }
    assert_int_equal(came, WIRE_RECV_MESSAGE);
    assert_string_equal(there.name, "actor-3");
    message_release(&there);
    pair_close(&p);
}

static void guard_keeps_the_keys_it_knows_where_peers_cannot_be_read(void **state)
{
    (void)state;
    struct pair p;
    struct wire_peer peer;
    struct message there;
    pair_open(&p, "actor-3");
    write_text("peers", "no line of peers\n", 0644);
    wire_test_sleep_ms(2 * GUARD_LOOK_MS);
    pair_connect(&p);
    const struct message m = hello("actor-3", WIRE_ROLE_ACTOR);
    send_when_connected(p.dealer, &m);
    receive(p.router, &peer, &there);
    message_release(&there);
    pair_close(&p);
}

static void guard_leaves_ipc_to_the_file_system(void **state)
{
    (void)state;
    struct pair p;
    struct wire_peer peer;
    struct message there;
    char ipc[64];
    snprintf(ipc, sizeof ipc, "ipc://%s/s", dir);
    pair_open(&p, "actor-3");
    wire_socket_close(p.router, 0);
    check_ok(wire_socket_bind(&p.router, p.at_server, ipc, WIRE_LIMITS_CONTROL, &err));
    assert_string_equal(wire_socket_endpoint(p.router), ipc);
    pair_connect(&p);
    const struct message m = hello("learner-0", WIRE_ROLE_LEARNER);
    send_when_connected(p.dealer, &m);
    receive(p.router, &peer, &there);
    message_release(&there);
    pair_close(&p);
}

/* Somebody else answers ZAP's questions, with yes. */
static void *say_yes(void *zap)
{
    char frame[256];
    for (;;) {
        char id[256];
        int n = 0, id_n = 0;
        int more = 1;
        while (more) {
            size_t size = sizeof more;
            const int len = zmq_recv(zap, n == 1 ? id : frame, sizeof frame, 0);
            if (len < 0) {
                zmq_close(zap);
                return NULL;
            }
            if (n++ == 1)
                id_n = len;
            zmq_getsockopt(zap, ZMQ_RCVMORE, &more, &size);
        }
        zmq_send(zap, "1.0", 3, ZMQ_SNDMORE);
        zmq_send(zap, id, (size_t)id_n, ZMQ_SNDMORE);
        zmq_send(zap, "200", 3, ZMQ_SNDMORE);
        zmq_send(zap, "", 0, ZMQ_SNDMORE);
        zmq_send(zap, "", 0, ZMQ_SNDMORE);
        zmq_send(zap, "", 0, 0);
    }
}

static void guard_does_not_begin_where_another_decides_who_may(void **state)
{
    (void)state;
    struct guard *guard;
    pthread_t thread;
    void *zmq = zmq_ctx_new(), *zap = zmq_socket(zmq, ZMQ_REP);
    make_key("coordinator");
    make_key("actor");
    assert_int_equal(zmq_bind(zap, "inproc://zeromq.zap.01"), 0);
    assert_int_equal(pthread_create(&thread, NULL, say_yes, zap), 0);
    check_fails(guard_new(&guard, zmq, dir, "actor-0", &err), ERR_STATE,
                "nobody can say who may connect");
    guard_free(guard);
    zmq_ctx_shutdown(zmq);
    pthread_join(thread, NULL);
    zmq_ctx_term(zmq);
}

/* --- what an eavesdropper sees ------------------------------------------------------------- */

struct relay {
    int listens, to_port;
    atomic_bool saw;
    const char *needle;
};

static bool relay_pass(int from, int to, const char *needle, atomic_bool *saw)
{
    static char bytes[1 << 16];
    const ssize_t n = recv(from, bytes, sizeof bytes, 0);
    if (n <= 0)
        return false;
    if (memmem(bytes, (size_t)n, needle, strlen(needle)))
        atomic_store(saw, true);
    return send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

/* One connection, both ways, until an end closes. */
static void *relay_main(void *ctx)
{
    struct relay *relay = ctx;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)relay->to_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int front = accept(relay->listens, NULL, NULL);
    const int back = socket(AF_INET, SOCK_STREAM, 0);
    bool open = front >= 0 && connect(back, (struct sockaddr *)&to, sizeof to) == 0;
    struct pollfd fd[2] = {{.fd = front, .events = POLLIN}, {.fd = back, .events = POLLIN}};
    while (open && poll(fd, 2, WAIT_MS) > 0) {
        if (fd[0].revents)
            open = relay_pass(front, back, relay->needle, &relay->saw);
        if (open && fd[1].revents)
            open = relay_pass(back, front, relay->needle, &relay->saw);
    }
    close(front);
    close(back);
    return NULL;
}

static bool is_seen_on_the_way(bool guarded)
{
    struct pair p = {0};
    struct relay relay = {.needle = "a very private name"};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    char endpoint[WIRE_ENDPOINT_MAX];
    pthread_t thread;
    if (guarded) {
        pair_open(&p, "actor");
    } else {
        check_ok(wire_context_new(&p.at_server, &err));
        check_ok(wire_context_new(&p.at_client, &err));
        check_ok(wire_socket_bind(&p.router, p.at_server, TCP, WIRE_LIMITS_CONTROL, &err));
    }
    snprintf(endpoint, sizeof endpoint, "%s", wire_socket_endpoint(p.router));
    if (guarded)
        *strstr(endpoint, WIRE_ENDPOINT_KEY) = '\0';
    relay.to_port = atoi(strrchr(endpoint, ':') + 1);
    relay.listens = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(relay.listens, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(relay.listens, 1), 0);
    getsockname(relay.listens, (struct sockaddr *)&at, &size);
    assert_int_equal(pthread_create(&thread, NULL, relay_main, &relay), 0);

    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", ntohs(at.sin_port));
    check_ok(wire_socket_connect(&p.dealer, p.at_client, endpoint, WIRE_LIMITS_CONTROL, &err));
    struct wire_peer peer;
    struct message there;
    const struct message m = hello(relay.needle, WIRE_ROLE_ACTOR);
    send_when_connected(p.dealer, &m);
    receive(p.router, &peer, &there);
    assert_string_equal(there.name, relay.needle);
    message_release(&there);
    pair_close(&p);
    pthread_join(thread, NULL);
    close(relay.listens);
    return atomic_load(&relay.saw);
}

static void guard_shows_nothing_to_those_on_the_way(void **state)
{
    (void)state;
    assert_true(is_seen_on_the_way(false));
    assert_false(is_seen_on_the_way(true));
}

static void endpoints_are_local_or_not(void **state)
{
    (void)state;
    static const char *const local[] = {"",
                                        "ipc:///run/x",
                                        "tcp://127.0.0.1:5",
                                        "tcp://127.9.9.9:*",
                                        "tcp://localhost:1",
                                        "tcp://[::1]:7"};
    static const char *const open[] = {"tcp://*:5555",
                                       "tcp://0.0.0.0:5",
                                       "tcp://10.0.0.1:5",
                                       "tcp://[::]:5",
                                       "tcp://localhost.example.org:5",
                                       "tcp://eth0:1"};
    for (size_t i = 0; i < COUNT(local); i++)
        assert_true(wire_endpoint_is_local(local[i]));
    for (size_t i = 0; i < COUNT(open); i++)
        assert_false(wire_endpoint_is_local(open[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_have_the_public_key_of_rfc_7748, setup, teardown),
        cmocka_unit_test_setup_teardown(
            keys_that_are_made_are_private_distinct_and_never_overwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_refuse_what_is_none_and_say_where, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(keys_have_names_and_lists_of_a_greatest_length, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            keys_that_others_may_read_or_that_are_not_in_peers_are_not_used, setup, teardown),
        cmocka_unit_test_setup_teardown(guard_lets_those_talk_who_have_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(
            guard_takes_the_coordinator_s_key_where_an_endpoint_names_none, setup, teardown),
        cmocka_unit_test_setup_teardown(guard_hears_nothing_of_strangers_and_counts_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(guard_does_not_take_a_name_or_a_role_for_another, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            guard_turns_a_key_away_once_it_is_taken_out_and_knows_it_again, setup, teardown),
        cmocka_unit_test_setup_teardown(guard_turns_a_key_away_whose_name_has_another_now,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            guard_keeps_the_keys_it_knows_where_peers_cannot_be_read, setup, teardown),
        cmocka_unit_test_setup_teardown(guard_leaves_ipc_to_the_file_system, setup, teardown),
        cmocka_unit_test_setup_teardown(guard_does_not_begin_where_another_decides_who_may,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(guard_shows_nothing_to_those_on_the_way, setup,
                                        teardown),
        cmocka_unit_test(endpoints_are_local_or_not),
    };
    return cmocka_run_group_tests_name("wire_keys", tests, NULL, NULL);
}
