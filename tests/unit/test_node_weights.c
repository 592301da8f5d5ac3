/*
 * test_node_weights.c -- weights from server to client, and what may go wrong between.
 *
 * Oracle: the bytes that were published, and libsodium's BLAKE2b called here on them.  The
 * server that misbehaves is played by the test with wire/socket.  Deadlines are long where a
 * pull is to succeed; where it is to fail, no verdict depends on when.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#include "base/log.h"
#include "node/weights.h"
#include "tests/chunk_hash.h"
#include "tests/wire_messages.h"

#define LONG_MS 120000u
#define SLOW_MS 120u
#define SIZE    (20u * WIRE_CHUNK_BYTES + 12345u) /* 21 chunks: more than two windows */

static struct wire_context *context;
static char dir[32], ipc[64];
static unsigned char *weights, *got; /* SIZE bytes each */

static int group_setup(void **state)
{
    (void)state;
    weights = malloc(SIZE);
    got = malloc(SIZE);
    uint64_t seed = 11;
    for (size_t i = 0; weights && i < SIZE; i++)
        weights[i] = (unsigned char)wire_test_next(&seed);
    return weights && got ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    free(weights);
    free(got);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/weights-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(ipc, sizeof ipc, "ipc://%s/s", dir);
    memset(got, 0, SIZE);
    return wire_context_new(&context, NULL);
}

/* The end of every test.  One that fails does not come here: its sockets are still open. */
static void finish(void)
{
    wire_context_free(context);
}

static int teardown(void **state)
{
    (void)state;
    unlink(ipc + strlen("ipc://"));
    return rmdir(dir);
}

/* The hash of a version: that of its chunks' hashes, by libsodium. */
static void hash_version(const unsigned char *bytes, unsigned char hash[HASH_BYTES],
                         struct hash *of_chunks)
{
    const size_t n = SIZE / WIRE_CHUNK_BYTES + 1;
    for (size_t i = 0; i < n; i++)
        of_chunks[i] = chunk_hash(bytes + i * WIRE_CHUNK_BYTES,
                                  i + 1 < n ? WIRE_CHUNK_BYTES : SIZE % WIRE_CHUNK_BYTES);
    crypto_generichash(hash, HASH_BYTES, (const unsigned char *)of_chunks, n * HASH_BYTES, NULL,
                       0);
}

static void check_pull(const char *endpoint)
{
    struct weights_server *server;
    check_ok(weights_server_open(&server, context, endpoint, 2, &err));
    struct hash published, pulled, chunks[SIZE / WIRE_CHUNK_BYTES + 1];
    unsigned char want[HASH_BYTES];
    hash_version(weights, want, chunks);
    check_ok(weights_server_publish(server, 7, weights, SIZE, &published, &err));
    assert_memory_equal(published.bytes, want, sizeof want);
    check_ok(weights_pull(context, weights_server_endpoint(server), 7, got, SIZE, &pulled,
                          &(struct weights_patience){LONG_MS, LONG_MS, NULL, NULL}, &err));
    assert_memory_equal(got, weights, SIZE);
    assert_memory_equal(pulled.bytes, want, sizeof want);
    weights_server_close(server);
}

static void weights_arrive_over_tcp(void **state)
{
    (void)state;
    check_pull("tcp://127.0.0.1:*");
    finish();
}

static void weights_arrive_over_ipc(void **state)
{
    (void)state;
    check_pull(ipc);
    finish();
}

static void weights_of_any_size_arrive(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,
                                   4,
                                   WIRE_CHUNK_BYTES - 1,
                                   WIRE_CHUNK_BYTES,
                                   WIRE_CHUNK_BYTES + 1,
                                   2 * WIRE_CHUNK_BYTES};
    struct weights_server *server;
    check_ok(weights_server_open(&server, context, ipc, 1, &err));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        memset(got, 0, SIZE);
        check_ok(weights_server_publish(server, i, weights, sizes[i], NULL, &err));
        check_ok(weights_pull(context, ipc, i, got, sizes[i], NULL,
                              &(struct weights_patience){LONG_MS, LONG_MS, NULL, NULL}, &err));
        assert_memory_equal(got, weights, sizes[i]);
        assert_int_equal(got[sizes[i]], 0);
    }
    check_fails(weights_server_publish(server, 1, weights, 0, NULL, &err), ERR_VALUE,
                "version 1 has no bytes");
    weights_server_close(server);
    finish();
}

static void weights_server_keeps_the_newest_versions(void **state)
{
    (void)state;
    struct weights_server *server;
    check_ok(weights_server_open(&server, context, ipc, 2, &err));
    for (uint64_t version = 1; version <= 3; version++)
        check_ok(weights_server_publish(server, version, weights + version, 100, NULL, &err));
    check_ok(weights_server_publish(server, 3, weights, 100, NULL, &err)); /* replaced */
    check_ok(weights_pull(context, ipc, 2, got, 100, NULL,
                          &(struct weights_patience){LONG_MS, LONG_MS, NULL, NULL}, &err));
    assert_memory_equal(got, weights + 2, 100);
    check_ok(weights_pull(context, ipc, 3, got, 100, NULL,
                          &(struct weights_patience){LONG_MS, LONG_MS, NULL, NULL}, &err));
    assert_memory_equal(got, weights, 100);
    char words[128];
    snprintf(words, sizeof words, "weights: version 1 from %s: it is not held there", ipc);
    check_fails(weights_pull(context, ipc, 1, got, 100, NULL,
                             &(struct weights_patience){LONG_MS, LONG_MS, NULL, NULL}, &err),
                ERR_UNAVAILABLE, words);
    weights_server_drop(server, 2);
    weights_server_drop(server, 2);
    check_fails(weights_pull(context, ipc, 2, got, 100, NULL,
                             &(struct weights_patience){LONG_MS, LONG_MS, NULL, NULL}, &err),
                ERR_UNAVAILABLE, "version 2");
    weights_server_close(server);
    finish();
}

static void weights_of_another_size_are_refused(void **state)
{
    (void)state;
    struct weights_server *server;
    check_ok(weights_server_open(&server, context, ipc, 1, &err));
    check_ok(weights_server_publish(server, 4, weights, 100, NULL, &err));
    check_fails(weights_pull(context, ipc, 4, got, 96, NULL,
                             &(struct weights_patience){LONG_MS, LONG_MS, NULL, NULL}, &err),
                ERR_FORMAT, "it has 100 bytes, the model 96");
    weights_server_close(server);
    finish();
}

static void weights_pull_says_that_nobody_answers(void **state)
{
    (void)state;
    char words[128];
    snprintf(words, sizeof words, "weights: version 9 from %s: no answer for 200 ms", ipc);
    check_fails(weights_pull(context, ipc, 9, got, 100, NULL,
                             &(struct weights_patience){200, LONG_MS, NULL, NULL}, &err),
                ERR_TIMEOUT, words);
    check_fails(weights_pull(context, "nonsense", 9, got, 100, NULL,
                             &(struct weights_patience){200, LONG_MS, NULL, NULL}, &err),
                ERR_USAGE, "\"nonsense\"");
    finish();
}

/* It is bound and takes connections, as a process does that was stopped: nothing comes back. */
static void weights_pull_does_not_wait_for_one_that_was_stopped(void **state)
{
    (void)state;
    char words[128];
    struct wire_socket *stopped;
    check_ok(wire_socket_bind(&stopped, context, ipc, WIRE_LIMITS_BULK, &err));
    snprintf(words, sizeof words, "weights: version 9 from %s: no answer for 700 ms", ipc);
    check_fails(weights_pull(context, ipc, 9, got, 100, NULL,
                             &(struct weights_patience){700, LONG_MS, NULL, NULL}, &err),
                ERR_TIMEOUT, words);
    wire_socket_close(stopped, 0);
    finish();
}

static bool stop_at_once(void *ctx)
{
    ++*(int *)ctx;
    return true;
}

static void weights_pull_stops_when_told(void **state)
{
    (void)state;
    int asked = 0;
    check_fails(weights_pull(context, ipc, 9, got, 100, NULL,
                             &(struct weights_patience){LONG_MS, LONG_MS, stop_at_once, &asked},
                             &err),
                ERR_UNAVAILABLE, "told to stop");
    assert_int_equal(asked, 1);
    finish();
}

static void *publish_later(void *server)
{
    wire_test_sleep_ms(200);
    weights_server_publish(server, 5, weights, 100, NULL, NULL);
    return NULL;
}

static void weights_pull_waits_for_a_version_that_comes_soon(void **state)
{
    (void)state;
    struct weights_server *server;
    check_ok(weights_server_open(&server, context, ipc, 1, &err));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, publish_later, server), 0);
    check_ok(weights_pull(context, ipc, 5, got, 100, NULL,
                          &(struct weights_patience){LONG_MS, LONG_MS, NULL, NULL}, &err));
    pthread_join(thread, NULL);
    weights_server_close(server);
    finish();
}

static void larger_weights_are_given_more_time(void **state)
{
    (void)state;
    assert_int_equal(weights_timeout_ms(1), 60000);
    assert_int_equal(weights_timeout_ms(16u * 1024u * 1024u), 61024);
    assert_int_equal(weights_timeout_ms((size_t)32 << 30), 60000 + 2097152);
    finish();
}

static const struct weights_patience patience = {LONG_MS, LONG_MS, NULL, NULL};

static enum err_code fetch(const char *endpoint, uint64_t version, struct weights_view *view,
                           struct err *err)
{
    const struct weights_request request = {.context = context,
                                            .endpoint = endpoint,
                                            .version = version,
                                            .buffer = got,
                                            .size = SIZE,
                                            .patience = &patience};
    return weights_fetch(&request, view, err);
}

static void weights_on_the_same_host_are_mapped(void **state)
{
    (void)state;
    struct weights_server *server;
    struct weights_view view;
    struct hash published;
    check_ok(weights_server_open(&server, context, "tcp://127.0.0.1:*", 1, &err));
    check_ok(weights_server_publish(server, 7, weights, SIZE, &published, &err));
    check_ok(fetch(weights_server_endpoint(server), 7, &view, &err));
    assert_ptr_equal(view.bytes, view.memory.bytes);
    assert_ptr_not_equal(view.bytes, got);
    assert_memory_equal(view.bytes, weights, SIZE);
    assert_memory_equal(&view.hash, &published, sizeof published);
    assert_int_equal(view.unmapped.code, ERR_OK);
    for (size_t i = 0; i < SIZE; i++)
        assert_int_equal(got[i], 0); /* nothing was fetched */
    /* It is superseded there, and stays here. */
    check_ok(weights_server_publish(server, 8, weights + 1, SIZE - 1, NULL, &err));
    weights_server_close(server);
    assert_memory_equal(view.bytes, weights, SIZE);
    weights_release(&view);
    weights_release(&view);
    finish();
}

static void weights_that_are_not_shared_come_in_chunks(void **state)
{
    (void)state;
    struct weights_server *server;
    struct weights_view view;
    check_ok(weights_server_open(&server, context, ipc, 1, &err));
    weights_server_share(server, false);
    check_ok(weights_server_publish(server, 7, weights, SIZE, NULL, &err));
    check_ok(fetch(ipc, 7, &view, &err));
    assert_ptr_equal(view.bytes, got);
    assert_null(view.memory.bytes);
    assert_int_equal(view.unmapped.code, ERR_OK);
    assert_memory_equal(got, weights, SIZE);
    weights_release(&view);
    weights_server_close(server);
    finish();
}

/* The kernel's answer to a full memory, here by a limit on this process.  It is told once. */
static void weights_without_room_in_shared_memory_come_in_chunks(void **state)
{
    (void)state;
    struct weights_server *server;
    struct weights_view view;
    struct rlimit before, small;
    FILE *log = tmpfile();
    assert_non_null(log);
    log_open("test", fileno(log), LOG_LEVEL_INFO);
    check_ok(weights_server_open(&server, context, ipc, 2, &err));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = SIZE / 2, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (uint64_t version = 7; version < 9; version++)
        check_ok(weights_server_publish(server, version, weights, SIZE, NULL, &err));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    check_ok(fetch(ipc, 8, &view, &err));
    assert_ptr_equal(view.bytes, got);
    assert_memory_equal(got, weights, SIZE);
    weights_release(&view);
    weights_server_close(server);
    char text[1024];
    rewind(log);
    const size_t n = fread(text, 1, sizeof text - 1, log);
    text[n] = '\0';
    fclose(log);
    log_open("test", STDERR_FILENO, LOG_LEVEL_INFO);
    const char *told = strstr(text, "WEIGHTS-UNSHARED");
    assert_non_null(told);
    assert_null(strstr(told + 1, "WEIGHTS-UNSHARED"));
    finish();
}

/* After a step of training; the last chunk is not a whole one. */
static void next_version(unsigned char *next)
{
    for (size_t i = 0; i < SIZE / 4; i++) {
        uint32_t word;
        memcpy(&word, weights + 4 * i, 4);
        word += (uint32_t)(i % 5) - 2;
        memcpy(next + 4 * i, &word, 4);
    }
    memcpy(next + SIZE / 4 * 4, weights + SIZE / 4 * 4, SIZE % 4);
}

/* `got` is said to hold `base`.  The server sends more than counts where a busy machine keeps it
 * silent: what was under way is asked for again. */
static void check_fetch_from_base(struct weights_server *server, uint64_t base,
                                  const unsigned char *want, uint64_t least, uint64_t most)
{
    struct weights_view view;
    const struct weights_request request = {.context = context,
                                            .endpoint = ipc,
                                            .version = 8,
                                            .buffer = got,
                                            .size = SIZE,
                                            .base = base,
                                            .patience = &patience};
    const uint64_t before = weights_server_sent_bytes(server);
    check_ok(weights_fetch(&request, &view, &err));
    assert_ptr_equal(view.bytes, got);
    assert_memory_equal(got, want, SIZE);
    assert_in_range(view.came_bytes, least, most);
    const uint64_t sent = weights_server_sent_bytes(server) - before;
    const struct weights_traffic *t = &view.traffic;
    assert_in_range(t->server_bytes + t->wasted_bytes, view.came_bytes, sent);
    assert_int_equal(t->server_bytes + t->saved_bytes, SIZE);
    assert_int_equal(t->relay_bytes, 0);
    weights_release(&view);
}

static void weights_come_as_differences_from_what_is_here(void **state)
{
    (void)state;
    struct weights_server *server;
    unsigned char *next = malloc(SIZE);
    assert_non_null(next);
    next_version(next);
    check_ok(weights_server_open(&server, context, ipc, 2, &err));
    weights_server_share(server, false);
    check_ok(weights_server_publish(server, 7, weights, SIZE, NULL, &err));
    check_ok(weights_server_publish(server, 8, next, SIZE, NULL, &err));
    for (int twice = 0; twice < 2; twice++) { /* the second time they are made already */
        memcpy(got, weights, SIZE);
        check_fetch_from_base(server, 7, next, 1, SIZE / 2);
    }
    /* What is here is not quite that version: those chunks come again, whole. */
    memcpy(got, weights, SIZE);
    got[3 * WIRE_CHUNK_BYTES + 5] ^= 1;
    got[SIZE - 100] ^= 1;
    check_fetch_from_base(server, 7, next, WIRE_CHUNK_BYTES + SIZE % WIRE_CHUNK_BYTES,
                          SIZE / 2 + WIRE_CHUNK_BYTES + SIZE % WIRE_CHUNK_BYTES);
    /* The server does not have it, or it is not worth it. */
    memcpy(got, weights, SIZE);
    check_fetch_from_base(server, 6, next, SIZE, SIZE);
    for (size_t i = 0; i < SIZE; i++)
        next[i] = (unsigned char)(weights[SIZE - 1 - i] * 167 + (i >> 9));
    check_ok(weights_server_publish(server, 8, next, SIZE, NULL, &err));
    memcpy(got, weights, SIZE);
    check_fetch_from_base(server, 7, next, SIZE, SIZE);
    weights_server_close(server);
    free(next);
    finish();
}

/*
 * A server played by the test: what it does with the chunk asked for.  Ends at `stop`.
 */
enum trick {
    TRICK_NONE,
    TRICK_OTHER_MEMORY,   /* shares memory that has other bytes */
    TRICK_NO_DELTA,       /* says that chunk 3 is a difference, the first time */
    TRICK_DEAF_AFTER_10,  /* answers 10 chunks and then nothing, until restarted */
    TRICK_SLOW,           /* a chunk each slow_ms */
    TRICK_CORRUPT_TWICE,  /* chunk 3 with a flipped bit, the first two times */
    TRICK_DOUBLE,         /* each chunk twice, the second with a flipped bit */
    TRICK_LIE,            /* chunk 3 with a flipped bit, each time */
    TRICK_OTHER_HASH,     /* a hash that is not that of the chunks' hashes */
    TRICK_SHORT,          /* chunk 3 one byte short */
    TRICK_OTHER_AFTER_10, /* answers 10 chunks; then it has other bytes under the same version
                           */
};

struct player {
    pthread_t thread;
    enum trick trick;
    uint32_t slow_ms; /* TRICK_SLOW */
    atomic_bool stop;
    atomic_uint chunks;           /* answered */
    uint32_t manifests;           /* answered */
    uint32_t threes;              /* of those, chunk 3 */
    struct weights_memory memory; /* TRICK_OTHER_MEMORY */
    struct hash hashes[SIZE / WIRE_CHUNK_BYTES + 1];
};

/* As wire_socket_send, with plain libzmq: a bit may flip after the checksum was made. */
static void player_send(void *router, const unsigned char id[5], const struct message *m,
                        bool corrupt)
{
    unsigned char *head = NULL;
    size_t size = 0;
    if (message_encode(m, &head, &size, NULL))
        return;
    head = realloc(head, size + MESSAGE_SEAL_BYTES);
    assert_non_null(head);
    message_seal(head, size);
    zmq_send(router, id, 5, ZMQ_SNDMORE);
    zmq_send(router, head, size + MESSAGE_SEAL_BYTES, m->frames_n ? ZMQ_SNDMORE : 0);
    free(head);
    if (m->frames_n == 0)
        return;
    zmq_msg_t msg;
    zmq_msg_init_size(&msg, m->frame[0].size);
    memcpy(zmq_msg_data(&msg), m->frame[0].data, m->frame[0].size);
    if (corrupt)
        ((unsigned char *)zmq_msg_data(&msg))[99] ^= 4;
    zmq_msg_send(&msg, router, 0);
}

static void player_manifest(struct player *p, void *router, const unsigned char id[5])
{
    struct message m = {.type = MESSAGE_WEIGHTS_MANIFEST,
                        .version = 7,
                        .bytes = SIZE,
                        .chunk_bytes = WIRE_CHUNK_BYTES,
                        .has_hash = true};
    if (p->trick == TRICK_OTHER_AFTER_10 && p->manifests == 1)
        weights[SIZE - 1] ^= 1;
    hash_version(weights, m.hash.bytes, p->hashes);
    m.hash.bytes[31] ^= p->trick == TRICK_OTHER_HASH;
    m.frames_n = 1;
    m.frame[0] = (struct wire_bytes){p->hashes, sizeof p->hashes};
    if (p->trick == TRICK_OTHER_MEMORY) {
        m.pid = (uint64_t)getpid();
        m.fd = (uint32_t)p->memory.fd;
    }
    player_send(router, id, &m, false);
    p->manifests++;
}

static void player_chunk(struct player *p, void *router, const unsigned char id[5],
                         uint32_t index)
{
    const unsigned char *chunk = weights + (size_t)index * WIRE_CHUNK_BYTES;
    const size_t rest = SIZE - (size_t)index * WIRE_CHUNK_BYTES;
    struct message m = {
        .type = MESSAGE_CHUNK, .version = 7, .chunk_index = index, .frames_n = 1};
    m.frame[0] = (struct wire_bytes){chunk, rest < WIRE_CHUNK_BYTES ? rest : WIRE_CHUNK_BYTES};
    if (p->trick == TRICK_SHORT && index == 3)
        m.frame[0].size--;
    if (p->trick == TRICK_NO_DELTA && index == 3 && p->threes == 0)
        m.base = 6;
    const bool corrupt = index == 3 && (p->trick == TRICK_LIE ||
                                        (p->trick == TRICK_CORRUPT_TWICE && p->threes < 2));
    p->threes += index == 3;
    if (p->trick == TRICK_SLOW)
        wire_test_sleep_ms(p->slow_ms);
    player_send(router, id, &m, corrupt);
    if (p->trick == TRICK_DOUBLE)
        player_send(router, id, &m, true);
    p->chunks++;
}

static void player_answer(struct player *p, void *router, const unsigned char id[5],
                          const struct message *m)
{
    const bool deaf = (p->trick == TRICK_DEAF_AFTER_10 && p->chunks >= 10) ||
                      (p->trick == TRICK_OTHER_AFTER_10 && p->chunks >= 10 &&
                       p->manifests < 2 && m->type == MESSAGE_CHUNK_ASK);
    if (!deaf && m->type == MESSAGE_WEIGHTS_ASK)
        player_manifest(p, router, id);
    else if (!deaf && m->type == MESSAGE_CHUNK_ASK)
        player_chunk(p, router, id, m->chunk_index);
}

static void *player_run(void *ctx)
{
    struct player *p = ctx;
    void *zmq = zmq_ctx_new();
    void *router = zmq_socket(zmq, ZMQ_ROUTER);
    const int linger = 0, wait_ms = 20;
    zmq_setsockopt(router, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(router, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    if (zmq_bind(router, ipc) != 0)
        atomic_store(&p->stop, true);
    while (!atomic_load(&p->stop)) {
        unsigned char id[5], head[1024];
        if (zmq_recv(router, id, sizeof id, 0) != sizeof id)
            continue;
        const int size = zmq_recv(router, head, sizeof head, 0);
        struct message m;
        if (size > 0 && message_decode(&m, head, (size_t)size, NULL, 0, NULL) == ERR_OK) {
            player_answer(p, router, id, &m);
            message_release(&m);
        }
    }
    zmq_close(router);
    zmq_ctx_term(zmq);
    return NULL;
}

static void player_start(struct player *p, enum trick trick, uint32_t slow_ms)
{
    memset(p, 0, sizeof *p);
    p->trick = trick;
    p->slow_ms = slow_ms;
    assert_int_equal(pthread_create(&p->thread, NULL, player_run, p), 0);
}

static void player_stop(struct player *p)
{
    atomic_store(&p->stop, true);
    pthread_join(p->thread, NULL);
}

/* What came of a fetch that failed. */
static void check_all_wasted(const struct weights_traffic *traffic)
{
    assert_int_equal(traffic->server_bytes + traffic->relay_bytes + traffic->saved_bytes, 0);
    assert_true(traffic->wasted_bytes >= 3 * WIRE_CHUNK_BYTES);
}

static void weights_with_a_lie_inside_are_refused(void **state)
{
    (void)state;
    struct player player;
    player_start(&player, TRICK_LIE, 0);
    struct weights_view view;
    check_fails(fetch(ipc, 7, &view, &err), ERR_FORMAT,
                "chunk 3 is not what the manifest says, 3 times");
    player_stop(&player);
    assert_int_equal(view.traffic.refused, 3);
    check_all_wasted(&view.traffic);
    assert_in_range(player.threes, 3, 22); /* more where the machine stood still */
    player_start(&player, TRICK_OTHER_HASH, 0);
    check_fails(weights_pull(context, ipc, 7, got, SIZE, NULL,
                             &(struct weights_patience){LONG_MS, LONG_MS, NULL, NULL}, &err),
                ERR_FORMAT, "its hash is not that of the chunks' hashes");
    player_stop(&player);
    player_start(&player, TRICK_SHORT, 0);
    check_fails(weights_pull(context, ipc, 7, got, SIZE, NULL,
                             &(struct weights_patience){LONG_MS, LONG_MS, NULL, NULL}, &err),
                ERR_FORMAT, "chunk 3 has 1048575 bytes, not 1048576");
    player_stop(&player);
    finish();
}

static void a_chunk_that_comes_twice_counts_once(void **state)
{
    (void)state;
    struct player player;
    player_start(&player, TRICK_DOUBLE, 0);
    struct weights_view view;
    check_ok(fetch(ipc, 7, &view, &err));
    assert_memory_equal(got, weights, SIZE);
    assert_int_equal(view.traffic.server_bytes, SIZE);
    assert_int_equal(view.traffic.refused, 0); /* nobody waited for it any more */
    assert_true(view.traffic.wasted_bytes >= SIZE - WIRE_CHUNK_BYTES);
    weights_release(&view);
    player_stop(&player);
    finish();
}

static void a_difference_that_is_none_is_asked_for_as_a_chunk(void **state)
{
    (void)state;
    struct player player;
    struct weights_view view;
    const struct weights_request request = {.context = context,
                                            .endpoint = ipc,
                                            .version = 7,
                                            .buffer = got,
                                            .size = SIZE,
                                            .base = 6,
                                            .patience = &patience};
    player_start(&player, TRICK_NO_DELTA, 0);
    check_ok(weights_fetch(&request, &view, &err));
    assert_memory_equal(got, weights, SIZE);
    weights_release(&view);
    player_stop(&player);
    assert_in_range(player.threes, 2, 22); /* more where the machine stood still */
    finish();
}

static void weights_whose_memory_lies_come_in_chunks(void **state)
{
    (void)state;
    struct player player;
    struct weights_view view;
    player_start(&player, TRICK_OTHER_MEMORY, 0);
    weights[77] ^= 1; /* the player looks at it when it is asked, not before */
    check_ok(weights_memory_new(&player.memory, weights, SIZE, &err));
    weights[77] ^= 1;
    check_ok(fetch(ipc, 7, &view, &err));
    assert_ptr_equal(view.bytes, got);
    assert_memory_equal(got, weights, SIZE);
    assert_non_null(strstr(view.unmapped.text, "is not what the manifest says"));
    weights_release(&view);
    player_stop(&player);
    weights_memory_release(&player.memory);
    finish();
}

/* Twenty-one chunks take longer than the patience for silence; no one of them does.  It is on a
 * very busy machine: then all of it is slower. */
static void weights_that_come_slowly_are_waited_for(void **state)
{
    (void)state;
    struct player player;
    struct err why = {0};
    enum err_code rc = ERR_TIMEOUT;
    for (uint32_t times = 1; times <= 16 && rc == ERR_TIMEOUT; times *= 2) {
        const struct weights_patience patient = {17 * times * SLOW_MS, LONG_MS, NULL, NULL};
        player_start(&player, TRICK_SLOW, times * SLOW_MS);
        rc = weights_pull(context, ipc, 7, got, SIZE, NULL, &patient, &why);
        player_stop(&player);
    }
    if (rc)
        fail_msg("%s", why.text);
    assert_memory_equal(got, weights, SIZE);
    finish();
}

/* It stopped in the middle: asking again is not hearing of it.  On a very busy machine the
 * patience may be over before that. */
static void weights_pull_does_not_wait_for_the_rest_either(void **state)
{
    (void)state;
    struct weights_view view = {0};
    uint32_t silent_ms = WEIGHTS_SILENT_MS;
    while (view.traffic.wasted_bytes < 10 * WIRE_CHUNK_BYTES && silent_ms < LONG_MS / 4) {
        struct player player;
        char words[64];
        silent_ms *= 2;
        const struct weights_patience short_of_it = {silent_ms, LONG_MS, NULL, NULL};
        const struct weights_request request = {.context = context,
                                                .endpoint = ipc,
                                                .version = 7,
                                                .buffer = got,
                                                .size = SIZE,
                                                .patience = &short_of_it};
        snprintf(words, sizeof words, "no answer for %u ms", silent_ms);
        player_start(&player, TRICK_DEAF_AFTER_10, 0);
        check_fails(weights_fetch(&request, &view, &err), ERR_TIMEOUT, words);
        player_stop(&player);
    }
    check_all_wasted(&view.traffic);
    assert_int_equal(view.traffic.wasted_bytes, 10 * WIRE_CHUNK_BYTES);
    finish();
}

/* And it is told from whom they came. */
static void weights_corrupted_on_the_way_are_fetched_again(void **state)
{
    (void)state;
    struct player player;
    FILE *log = tmpfile();
    assert_non_null(log);
    log_open("test", fileno(log), LOG_LEVEL_INFO);
    player_start(&player, TRICK_CORRUPT_TWICE, 0);
    struct weights_view view;
    check_ok(fetch(ipc, 7, &view, &err));
    assert_memory_equal(got, weights, SIZE);
    assert_in_range(view.traffic.refused, 1, 2); /* fewer where the machine stood still */
    assert_true(view.traffic.wasted_bytes >= view.traffic.refused * WIRE_CHUNK_BYTES);
    assert_int_equal(view.traffic.server_bytes, SIZE);
    weights_release(&view);
    player_stop(&player);
    assert_in_range(player.threes, 3, 22); /* more where the machine stood still for a moment */
    assert_in_range(player.chunks, 23, 200);
    char text[1024], words[160];
    rewind(log);
    text[fread(text, 1, sizeof text - 1, log)] = '\0';
    fclose(log);
    log_open("test", STDERR_FILENO, LOG_LEVEL_INFO);
    snprintf(words, sizeof words, "version 7: chunk 3 from %s is not what the manifest says",
             ipc);
    const char *told = strstr(text, words);
    assert_non_null(told);
    assert_non_null(strstr(told + 1, words));
    finish();
}

/* Killed in the middle: a real server takes its place, and only the rest is fetched. */
static void *restart_when_deaf(void *ctx)
{
    struct player *player = ctx;
    while (atomic_load(&player->chunks) < 10)
        wire_test_sleep_ms(1);
    player_stop(player);
    struct weights_server *server = NULL;
    if (weights_server_open(&server, context, ipc, 1, NULL) == ERR_OK)
        weights_server_publish(server, 7, weights, SIZE, NULL, NULL);
    return server;
}

static void weights_pull_goes_on_after_the_server_was_restarted(void **state)
{
    (void)state;
    struct player player;
    player_start(&player, TRICK_DEAF_AFTER_10, 0);
    pthread_t thread;
    void *server = NULL;
    assert_int_equal(pthread_create(&thread, NULL, restart_when_deaf, &player), 0);
    check_ok(weights_pull(context, ipc, 7, got, SIZE, NULL,
                          &(struct weights_patience){LONG_MS, LONG_MS, NULL, NULL}, &err));
    assert_memory_equal(got, weights, SIZE);
    pthread_join(thread, &server);
    assert_int_equal(player.chunks, 10);
    assert_non_null(server);
    weights_server_close(server);
    finish();
}

static void weights_pull_begins_anew_when_the_version_has_other_bytes(void **state)
{
    (void)state;
    struct player player;
    struct weights_view view;
    player_start(&player, TRICK_OTHER_AFTER_10, 0);
    check_ok(fetch(ipc, 7, &view, &err));
    assert_memory_equal(got, weights, SIZE); /* with the bit that the player has flipped */
    assert_int_equal(view.traffic.server_bytes, SIZE);
    assert_true(view.traffic.wasted_bytes > 0);
    weights_release(&view);
    player_stop(&player);
    assert_in_range(player.manifests, 2, 20); /* as above */
    assert_in_range(player.chunks, 22, 200);
    finish();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(weights_arrive_over_tcp),
        TEST(weights_arrive_over_ipc),
        TEST(weights_of_any_size_arrive),
        TEST(weights_server_keeps_the_newest_versions),
        TEST(weights_of_another_size_are_refused),
        TEST(weights_pull_says_that_nobody_answers),
        TEST(weights_pull_does_not_wait_for_one_that_was_stopped),
        TEST(weights_pull_stops_when_told),
        TEST(weights_pull_waits_for_a_version_that_comes_soon),
        TEST(weights_on_the_same_host_are_mapped),
        TEST(weights_that_are_not_shared_come_in_chunks),
        TEST(weights_without_room_in_shared_memory_come_in_chunks),
        TEST(weights_whose_memory_lies_come_in_chunks),
        TEST(larger_weights_are_given_more_time),
        TEST(weights_come_as_differences_from_what_is_here),
        TEST(a_chunk_that_comes_twice_counts_once),
        TEST(a_difference_that_is_none_is_asked_for_as_a_chunk),
        TEST(weights_with_a_lie_inside_are_refused),
        TEST(weights_that_come_slowly_are_waited_for),
        TEST(weights_pull_does_not_wait_for_the_rest_either),
        TEST(weights_corrupted_on_the_way_are_fetched_again),
        TEST(weights_pull_goes_on_after_the_server_was_restarted),
        TEST(weights_pull_begins_anew_when_the_version_has_other_bytes),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
