/*
 * bench_weights.c -- a version of the weights published, mapped, and pulled over TCP.
 *
 * Beside them what bounds them, in turns with them: a copy of as many bytes, their BLAKE2b, and
 * plain libzmq, which does nothing else: it sends chunks of the same size from memory, without
 * a copy, without a checksum, to a receiver that drops them; as many under way.  Over CURVE the
 * same server is pulled from by two contexts with keys, a learner's and an actor's.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "base/file.h"
#include "bench/bench.h"
#include "node/weights.h"
#include "wire/keys.h"

#define NUMBERS (32u * 1024 * 1024) /* 128 MiB */
#define BYTES   (NUMBERS * sizeof(float))

struct weights_bench {
    struct wire_context *context;
    struct weights_server *server; /* of version 1: as learners do */
    struct weights_server *chunks; /* of versions 1 and 2, in chunks alone */
    float *from, *next, *to;       /* `next` is version 2 there, a step from `from` */
    uint64_t version;              /* the newest published */

    char keys[32];                        /* a directory */
    struct wire_context *learner, *actor; /* with keys from there */
    struct weights_server *encrypted;     /* of version 1, in chunks, to who has one */

    void *plain, *router, *dealer;
    char endpoint[256];
};

static const struct weights_patience patience = {60000, 60000, NULL, NULL};

static void bench_weights_must(enum err_code rc, const struct err *err)
{
    if (rc)
        bench_fail("weights", err);
}

static void call_copy(void *arg)
{
    struct weights_bench *b = arg;
    memcpy(b->to, b->from, BYTES);
}

static void call_hash(void *arg)
{
    struct weights_bench *b = arg;
    struct hash hash;
    hash_blake2b(&hash, b->from, BYTES);
}

static void call_publish(void *arg)
{
    struct weights_bench *b = arg;
    struct err err = {0};
    bench_weights_must(
        weights_server_publish(b->server, ++b->version, b->from, BYTES, NULL, &err), &err);
}

static void call_map(void *arg)
{
    struct weights_bench *b = arg;
    struct err err = {0};
    struct weights_view view;
    const struct weights_request request = {.context = b->context,
                                            .endpoint = weights_server_endpoint(b->server),
                                            .version = b->version,
                                            .buffer = b->to,
                                            .size = BYTES,
                                            .patience = &patience};
    bench_weights_must(weights_fetch(&request, &view, &err), &err);
    if (!view.memory.bytes)
        bench_fail("weights", &view.unmapped);
    weights_release(&view);
}

static void call_pull(void *arg)
{
    struct weights_bench *b = arg;
    struct err err = {0};
    bench_weights_must(weights_pull(b->context, weights_server_endpoint(b->chunks), 1, b->to,
                                    BYTES, NULL, &patience, &err),
                       &err);
}

static void call_curve(void *arg)
{
    struct weights_bench *b = arg;
    struct err err = {0};
    bench_weights_must(weights_pull(b->actor, weights_server_endpoint(b->encrypted), 1, b->to,
                                    BYTES, NULL, &patience, &err),
                       &err);
}

static void before_difference(void *arg)
{
    struct weights_bench *b = arg;
    memcpy(b->to, b->from, BYTES);
}

static void call_difference(void *arg)
{
    struct weights_bench *b = arg;
    struct err err = {0};
    struct weights_view view;
    const struct weights_request request = {.context = b->context,
                                            .endpoint = weights_server_endpoint(b->chunks),
                                            .version = 2,
                                            .buffer = b->to,
                                            .size = BYTES,
                                            .base = 1,
                                            .patience = &patience};
    bench_weights_must(weights_fetch(&request, &view, &err), &err);
    weights_release(&view);
}

/* --- plain libzmq ------------------------------------------------------------------------ */

/* Serve asks until the other has all: an empty message. */
static void *plain_serve(void *arg)
{
    struct weights_bench *b = arg;
    for (;;) {
        unsigned char id[256];
        uint64_t at;
        const int id_size = zmq_recv(b->router, id, sizeof id, 0);
        if (zmq_recv(b->router, &at, sizeof at, 0) == 0)
            return NULL;
        zmq_msg_t chunk;
        zmq_msg_init_data(&chunk, (char *)b->from + at, WIRE_CHUNK_BYTES, NULL, NULL);
        zmq_send(b->router, id, (size_t)id_size, ZMQ_SNDMORE);
        zmq_msg_send(&chunk, b->router, 0);
    }
}

static void call_plain(void *arg)
{
    struct weights_bench *b = arg;
    pthread_t thread;
    pthread_create(&thread, NULL, plain_serve, b);
    uint64_t asked = 0;
    for (uint64_t here = 0; here < BYTES; here += WIRE_CHUNK_BYTES) {
        for (; asked < BYTES && asked - here < WEIGHTS_WINDOW * WIRE_CHUNK_BYTES;
             asked += WIRE_CHUNK_BYTES)
            zmq_send(b->dealer, &asked, sizeof asked, 0);
        zmq_msg_t chunk;
        zmq_msg_init(&chunk);
        zmq_msg_recv(&chunk, b->dealer, 0);
        zmq_msg_close(&chunk);
    }
    zmq_send(b->dealer, NULL, 0, 0);
    pthread_join(thread, NULL);
}

static void plain_open(struct weights_bench *b)
{
    size_t size = sizeof b->endpoint;
    b->plain = zmq_ctx_new();
    b->router = zmq_socket(b->plain, ZMQ_ROUTER);
    b->dealer = zmq_socket(b->plain, ZMQ_DEALER);
    if (zmq_bind(b->router, "tcp://127.0.0.1:*") != 0 ||
        zmq_getsockopt(b->router, ZMQ_LAST_ENDPOINT, b->endpoint, &size) != 0 ||
        zmq_connect(b->dealer, b->endpoint) != 0)
        exit(70);
}

static void plain_close(struct weights_bench *b)
{
    zmq_close(b->dealer);
    zmq_close(b->router);
    zmq_ctx_term(b->plain);
}

/* --- CURVE ------------------------------------------------------------------------------- */

static void curve_context(const struct weights_bench *b, struct wire_context **context,
                          const char *name)
{
    struct err err = {0};
    bench_weights_must(wire_context_new(context, &err), &err);
    bench_weights_must(wire_context_guard(*context, b->keys, name, &err), &err);
}

static void curve_open(struct weights_bench *b)
{
    struct err err = {0};
    snprintf(b->keys, sizeof b->keys, "/tmp/rlhf-bench-XXXXXX");
    if (!mkdtemp(b->keys))
        exit(73);
    static const char *const names[] = {"coordinator", "learner-0", "actor-0"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        bench_weights_must(keys_make(b->keys, names[i], &err), &err);
    curve_context(b, &b->learner, "learner-0");
    curve_context(b, &b->actor, "actor-0");
    bench_weights_must(
        weights_server_open(&b->encrypted, b->learner, "tcp://127.0.0.1:*", 1, &err), &err);
    weights_server_share(b->encrypted, false);
    bench_weights_must(weights_server_publish(b->encrypted, 1, b->from, BYTES, NULL, &err),
                       &err);
}

static void curve_close(struct weights_bench *b)
{
    weights_server_close(b->encrypted);
    wire_context_free(b->actor);
    wire_context_free(b->learner);
    file_remove_tree(b->keys, NULL); /* what stays is in /tmp */
}

/* --- all --------------------------------------------------------------------------------- */

static void bench_weights_open(struct weights_bench *b)
{
    struct err err = {0};
    const char *any = "tcp://127.0.0.1:*";
    b->from = bench_floats(NUMBERS);
    b->next = bench_floats(NUMBERS);
    b->to = bench_floats(NUMBERS);
    for (size_t i = 0; i < NUMBERS; i++)
        b->next[i] += (i % 3 == 0 ? 1e-5f : -1e-5f) * b->from[i ^ 1];
    bench_weights_must(wire_context_new(&b->context, &err), &err);
    bench_weights_must(weights_server_open(&b->server, b->context, any, 1, &err), &err);
    bench_weights_must(weights_server_open(&b->chunks, b->context, any, 2, &err), &err);
    weights_server_share(b->chunks, false);
    bench_weights_must(weights_server_publish(b->chunks, 1, b->from, BYTES, NULL, &err), &err);
    bench_weights_must(weights_server_publish(b->chunks, 2, b->next, BYTES, NULL, &err), &err);
    plain_open(b);
    curve_open(b);
}

static void bench_weights_close(struct weights_bench *b)
{
    curve_close(b);
    plain_close(b);
    weights_server_close(b->chunks);
    weights_server_close(b->server);
    wire_context_free(b->context);
    free(b->from);
    free(b->next);
    free(b->to);
}

void bench_weights(const struct bench *bench)
{
    enum { COPY, HASH, PLAIN, PUBLISH, MAP, PULL, CURVE, DIFFERENCE, RUNS };
    struct weights_bench b = {0};
    bench_weights_open(&b);
    const struct bench_run runs[RUNS] = {
        [COPY] = {.fn = call_copy, .arg = &b},
        [HASH] = {.fn = call_hash, .arg = &b},
        [PLAIN] = {.fn = call_plain, .arg = &b},
        [PUBLISH] = {.fn = call_publish, .arg = &b},
        [MAP] = {.fn = call_map, .arg = &b},
        [PULL] = {.fn = call_pull, .arg = &b},
        [CURVE] = {.fn = call_curve, .arg = &b},
        [DIFFERENCE] = {.fn = call_difference, .arg = &b, .before = before_difference},
    };
    struct bench_time time[RUNS];
    bench_times(bench, runs, RUNS, time);
    const double mib = (double)BYTES / (1024.0 * 1024.0);
    static const char *const names[RUNS] = {"copying", "BLAKE2b", "plain libzmq"};
    struct bench_ceiling ceiling[PUBLISH];
    for (size_t i = 0; i < PUBLISH; i++)
        ceiling[i] = (struct bench_ceiling){names[i], mib / time[i].best, mib / time[i].median};
    bench_report_under(bench, "weights", "published", mib, "MiB/s", time[PUBLISH], ceiling, 2);
    bench_report_under(bench, "weights", "mapped on the same host", mib, "MiB/s", time[MAP],
                       ceiling, 2);
    bench_report_under(bench, "weights", "pulled over tcp", mib, "MiB/s", time[PULL], ceiling,
                       3);
    bench_report_under(bench, "weights", "pulled over tcp with CURVE", mib, "MiB/s",
                       time[CURVE], ceiling, 3);
    bench_report_under(bench, "weights", "pulled over tcp, as differences made before", mib,
                       "MiB/s", time[DIFFERENCE], ceiling, 3);
    bench_weights_close(&b);
}
