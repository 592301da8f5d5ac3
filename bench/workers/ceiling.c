/* ceiling.c -- see ceiling.h. */
#include "bench/workers/ceiling.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "bench/bench.h"

#define CEILING_BYTES(tokens) (12u * (size_t)(tokens)) /* ids, log-probs, reference log-probs */
#define CEILING_ANSWER        64u

struct ceiling_clock {
    double wall_s, cpu_s;
};

static void ceiling_fail(const char *what)
{
    bench_stop("rollouts", what);
}

static double ceiling_seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static struct ceiling_clock ceiling_now(void)
{
    return (struct ceiling_clock){ceiling_seconds(CLOCK_MONOTONIC),
                                  ceiling_seconds(CLOCK_PROCESS_CPUTIME_ID)};
}

static struct ceiling ceiling_since(struct ceiling_clock begin, uint64_t rollouts)
{
    const struct ceiling_clock now = ceiling_now();
    return (struct ceiling){(double)rollouts / (now.wall_s - begin.wall_s),
                            1e6 * (now.cpu_s - begin.cpu_s) / (double)rollouts};
}

struct ceiling ceiling_disk(uint32_t tokens, double seconds)
{
    char path[] = "/tmp/rlhf-workers-XXXXXX";
    const size_t size = CEILING_COMMIT * CEILING_BYTES(tokens);
    char *bytes = calloc(1, size);
    const int fd = mkstemp(path);
    if (!bytes || fd < 0)
        ceiling_fail("no memory, or no file in /tmp");
    unlink(path);
    uint64_t rollouts = 0;
    const struct ceiling_clock begin = ceiling_now();
    while (ceiling_now().wall_s < begin.wall_s + seconds) {
        if (write(fd, bytes, size) != (ssize_t)size || fdatasync(fd) != 0)
            ceiling_fail("cannot write in /tmp");
        rollouts += CEILING_COMMIT;
    }
    const struct ceiling ceiling = ceiling_since(begin, rollouts);
    close(fd);
    free(bytes);
    return ceiling;
}

/* --- plain libzmq ------------------------------------------------------------------------ */

struct ceiling_pair {
    void *context, *router, *dealer;
    size_t bytes; /* of a frame */
};

/* Answer all until an empty message comes. */
static void *ceiling_serve(void *arg)
{
    const struct ceiling_pair *pair = arg;
    static const char answer[CEILING_ANSWER];
    for (;;) {
        char id[256];
        const int id_size = zmq_recv(pair->router, id, sizeof id, 0);
        size_t bytes = 0;
        int more = 1;
        for (size_t size = sizeof more; more;
             zmq_getsockopt(pair->router, ZMQ_RCVMORE, &more, &size)) {
            zmq_msg_t frame;
            zmq_msg_init(&frame);
            zmq_msg_recv(&frame, pair->router, 0);
            bytes += zmq_msg_size(&frame);
            zmq_msg_close(&frame);
        }
        if (bytes == 0)
            return NULL;
        zmq_send(pair->router, id, (size_t)id_size, ZMQ_SNDMORE);
        zmq_send(pair->router, answer, sizeof answer, 0);
    }
}

static void ceiling_ask(const struct ceiling_pair *pair, const void *frame)
{
    zmq_send(pair->dealer, frame, pair->bytes, ZMQ_SNDMORE);
    zmq_send(pair->dealer, frame, pair->bytes, 0);
    zmq_send(pair->dealer, frame, pair->bytes, 0);
}

static void ceiling_answered(const struct ceiling_pair *pair)
{
    char answer[CEILING_ANSWER];
    for (int i = 0; i < 2; i++)
        zmq_recv(pair->dealer, answer, sizeof answer, 0);
}

struct ceiling ceiling_zmq(uint32_t tokens, double seconds)
{
    struct ceiling_pair pair = {.context = zmq_ctx_new(), .bytes = 4u * (size_t)tokens};
    char endpoint[64];
    size_t size = sizeof endpoint;
    pthread_t thread;
    pair.router = zmq_socket(pair.context, ZMQ_ROUTER);
    pair.dealer = zmq_socket(pair.context, ZMQ_DEALER);
    char *frame = calloc(1, pair.bytes);
    if (!frame || zmq_bind(pair.router, "tcp://127.0.0.1:*") != 0 ||
        zmq_getsockopt(pair.router, ZMQ_LAST_ENDPOINT, endpoint, &size) != 0 ||
        zmq_connect(pair.dealer, endpoint) != 0 ||
        pthread_create(&thread, NULL, ceiling_serve, &pair) != 0)
        ceiling_fail("no memory, or no plain libzmq");
    uint64_t rollouts = 0;
    const struct ceiling_clock begin = ceiling_now();
    for (uint32_t i = 0; i < CEILING_COMMIT; i++)
        ceiling_ask(&pair, frame);
    while (ceiling_now().wall_s < begin.wall_s + seconds) {
        ceiling_answered(&pair);
        ceiling_ask(&pair, frame);
        rollouts++;
    }
    const struct ceiling ceiling = ceiling_since(begin, rollouts);
    zmq_send(pair.dealer, NULL, 0, 0);
    pthread_join(thread, NULL);
    zmq_close(pair.dealer);
    zmq_close(pair.router);
    zmq_ctx_term(pair.context);
    free(frame);
    return ceiling;
}
