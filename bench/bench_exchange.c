/*
 * bench_exchange.c -- gradients between two ranks, and the same bytes over plain libzmq.
 *
 * Both move, at the same time, half of the numbers each way for the sums and half for the
 * results, as two ranks with one node each do.  The reference does nothing else: it sends
 * chunks of the same size, or of PLAIN_BYTES, from memory, without a copy, without a checksum, to
 * a receiver that drops them; as many bytes under way.  They take turns, in one process, each end
 * with three threads: one that asks, one that answers, libzmq's.  The rate is of the bytes that one
 * rank receives.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "base/file.h"
#include "bench/bench.h"
#include "learner/exchange.h"

enum { RANKS = 2, LEAVES = 2 };
#define NUMBERS     (8u * 1024 * 1024) /* 32 MiB of gradient */
#define BYTES       (NUMBERS * sizeof(float))
#define PLAIN_BYTES (256u * 1024)

struct rank {
    uint32_t rank;
    const char *dir;
    struct wire_context *context;
    struct weights_server *server;
    struct exchange *x;
    float *node, *sum;
    struct err err;
};

static void bench_must(enum err_code rc, const struct err *err)
{
    if (rc == ERR_OK)
        return;
    fprintf(stderr, "rlhf-bench: %s\n", err->text);
    exit(70);
}

static void rank_open(struct rank *r)
{
    struct exchange_group group = {.step = 1, .attempt = 1, .ranks = RANKS, .rank = r->rank};
    for (uint32_t i = 0; i < RANKS; i++) {
        snprintf(group.peer[i].name, sizeof group.peer[i].name, "rank-%u", i);
        snprintf(group.peer[i].endpoint, sizeof group.peer[i].endpoint, "ipc://%s/%u", r->dir,
                 i);
    }
    struct err *err = &r->err;
    r->node = bench_floats(NUMBERS);
    r->sum = bench_floats(NUMBERS);
    bench_must(wire_context_new(&r->context, err), err);
    bench_must(
        weights_server_open(&r->server, r->context, group.peer[r->rank].endpoint, 1, err), err);
    const struct exchange_options options = {.context = r->context,
                                             .server = r->server,
                                             .run = 1,
                                             .silent_ms = 60000,
                                             .late_ms = 60000};
    bench_must(exchange_open(&r->x, &options, err), err);
    bench_must(exchange_join(r->x, &group, err), err);
}

static void rank_close(struct rank *r)
{
    exchange_close(r->x);
    weights_server_close(r->server);
    wire_context_free(r->context);
    free(r->node);
    free(r->sum);
}

static void *rank_exchange(void *ctx)
{
    struct rank *r = ctx;
    const void *node[] = {r->node};
    bench_must(exchange_sum(r->x, PRECISION_FP32, LEAVES, node, NUMBERS, r->sum, &r->err),
               &r->err);
    return NULL;
}

/* --- plain libzmq ------------------------------------------------------------------------ */

struct plain {
    size_t chunk, window;            /* bytes of each; how many under way */
    void *context, *router, *dealer; /* each end has both, as a rank has */
    float *bytes;
    pthread_t thread;
};

/* Serve the other's asks until it has all: an empty message. */
static void *plain_serve(void *ctx)
{
    struct plain *p = ctx;
    for (;;) {
        unsigned char id[256];
        uint64_t at;
        const int id_size = zmq_recv(p->router, id, sizeof id, 0);
        if (zmq_recv(p->router, &at, sizeof at, 0) == 0)
            return NULL;
        zmq_msg_t chunk;
        zmq_msg_init_data(&chunk, (char *)p->bytes + at, p->chunk, NULL, NULL);
        zmq_send(p->router, id, (size_t)id_size, ZMQ_SNDMORE);
        zmq_msg_send(&chunk, p->router, 0);
    }
}

/* Fetch BYTES from the other, so many chunks at a time. */
static void *plain_fetch(void *ctx)
{
    struct plain *p = ctx;
    uint64_t asked = 0;
    for (uint64_t here = 0; here < BYTES; here += p->chunk) {
        for (; asked < BYTES && asked - here < p->window * p->chunk; asked += p->chunk)
            zmq_send(p->dealer, &asked, sizeof asked, 0);
        zmq_msg_t chunk;
        zmq_msg_init(&chunk);
        zmq_msg_recv(&chunk, p->dealer, 0);
        zmq_msg_close(&chunk);
    }
    zmq_send(p->dealer, NULL, 0, 0);
    return NULL;
}

static void *plain_exchange(void *ctx)
{
    struct plain *p = ctx;
    pthread_create(&p->thread, NULL, plain_serve, p);
    plain_fetch(p);
    pthread_join(p->thread, NULL);
    return NULL;
}

static void plain_open(struct plain *p, const char *dir, const char *name, size_t chunk,
                       size_t window)
{
    char endpoint[96];
    for (uint32_t i = 0; i < RANKS; i++) {
        snprintf(endpoint, sizeof endpoint, "ipc://%s/%s-%u", dir, name, i);
        p[i].chunk = chunk;
        p[i].window = window;
        p[i].context = zmq_ctx_new();
        p[i].router = zmq_socket(p[i].context, ZMQ_ROUTER);
        p[i].dealer = zmq_socket(p[i].context, ZMQ_DEALER);
        p[i].bytes = bench_floats(NUMBERS);
        if (zmq_bind(p[i].router, endpoint) != 0)
            exit(70);
    }
    for (uint32_t i = 0; i < RANKS; i++) {
        snprintf(endpoint, sizeof endpoint, "ipc://%s/%s-%u", dir, name, 1 - i);
        zmq_connect(p[i].dealer, endpoint);
    }
}

static void plain_close(struct plain *p)
{
    for (uint32_t i = 0; i < RANKS; i++) {
        zmq_close(p[i].dealer);
        zmq_close(p[i].router);
        zmq_ctx_term(p[i].context);
        free(p[i].bytes);
    }
}

/* --- both -------------------------------------------------------------------------------- */

static void both_ranks(void *(*work)(void *), void *a, void *b)
{
    pthread_t thread;
    pthread_create(&thread, NULL, work, a);
    work(b);
    pthread_join(thread, NULL);
}

static void call_exchange(void *arg)
{
    struct rank *rank = arg;
    both_ranks(rank_exchange, &rank[0], &rank[1]);
}

static void call_plain(void *arg)
{
    struct plain *plain = arg;
    both_ranks(plain_exchange, &plain[0], &plain[1]);
}

static void exchange_report(const struct bench *bench, const struct bench_time time[3])
{
    const double mib = (double)BYTES / (1024.0 * 1024.0);
    char name[64];
    struct bench_ceiling plain[2] = {
        {"plain", mib / time[0].best, mib / time[0].median},
        {"plain in 256 KiB", mib / time[1].best, mib / time[1].median}};
    snprintf(name, sizeof name, "plain libzmq, 32 MiB each way, %u KiB chunks",
             EXCHANGE_CHUNK_BYTES / 1024);
    bench_report_ceiling(bench, "exchange", name, mib, "MiB/s", time[0]);
    bench_report_ceiling(bench, "exchange", "plain libzmq, 32 MiB each way, 256 KiB chunks",
                         mib, "MiB/s", time[1]);
    bench_report_under(bench, "exchange", "gradient, 2 ranks, 32 MiB each way", mib, "MiB/s",
                       time[2], plain, 2);
}

void bench_exchange(const struct bench *bench)
{
    char dir[] = "/tmp/rlhf-bench-XXXXXX";
    if (!mkdtemp(dir))
        exit(74);
    struct plain same[RANKS], large[RANKS];
    struct rank rank[RANKS];
    plain_open(same, dir, "same", EXCHANGE_CHUNK_BYTES, EXCHANGE_WINDOW);
    plain_open(large, dir, "large", PLAIN_BYTES, 8);
    for (uint32_t i = 0; i < RANKS; i++) {
        rank[i] = (struct rank){.rank = i, .dir = dir};
        rank_open(&rank[i]);
    }
    const struct bench_run runs[] = {{.fn = call_plain, .arg = same},
                                     {.fn = call_plain, .arg = large},
                                     {.fn = call_exchange, .arg = rank}};
    struct bench_time time[3];
    bench_times(bench, runs, 3, time);
    exchange_report(bench, time);
    plain_close(same);
    plain_close(large);
    for (uint32_t i = 0; i < RANKS; i++)
        rank_close(&rank[i]);
    file_remove_tree(dir, NULL); /* what stays is in /tmp */
}
