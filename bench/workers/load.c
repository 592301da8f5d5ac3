/* load.c -- see load.h.
 *
 * ZeroMQ lets a context have 1,023 sockets: there is one for each LOAD_SOCKETS workers. */
#include "bench/workers/load.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/workers/crowd.h"
#include "wire/socket.h"

#define LOAD_SOCKETS 500u
#define LOAD_JOIN_S  60.0
#define LOAD_WARM_S  2.0
#define LOAD_EVENTS  256
#define LOAD_TURN_MS 2

struct load {
    struct crowd crowd;
    struct wire_context **contexts;
    size_t contexts_n;
    struct wire_socket **sockets; /* [n] */
    bool *sent;                   /* [n] since it was last drained */
    int epoll;
    uint64_t lost; /* messages that could not be sent */
};

static uint64_t load_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static void load_fail(const char *what)
{
    bench_stop("workers", what);
}

static void load_drain(struct load *load, size_t w)
{
    struct wire_peer peer;
    struct message message;
    struct err err;
    load->sent[w] = false;
    for (;;) {
        switch (wire_socket_recv(load->sockets[w], &peer, &message, &err)) {
        case WIRE_RECV_NOTHING: return;
        case WIRE_RECV_BAD: load_fail(err.text); return;
        case WIRE_RECV_MESSAGE:
            crowd_receive(&load->crowd, w, &message, load_now_us());
            message_release(&message);
            break;
        }
    }
}

static void load_send(void *ctx, size_t w, const struct message *message)
{
    struct load *load = ctx;
    struct err err;
    const enum wire_send sent =
        wire_socket_send(load->sockets[w], (struct wire_peer){0}, message, &err);
    if (sent == WIRE_SEND_BAD)
        load_fail(err.text);
    load->sent[w] = true;
    load->lost += sent != WIRE_SEND_OK && message->type != MESSAGE_HELLO; /* that comes again */
}

static void load_open(struct load *load, const struct host *host, size_t n)
{
    struct err err;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* three a worker */
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->contexts_n = (n + LOAD_SOCKETS - 1) / LOAD_SOCKETS;
    load->contexts = calloc(load->contexts_n, sizeof *load->contexts);
    load->sockets = calloc(n, sizeof *load->sockets);
    load->sent = calloc(n, sizeof *load->sent);
    if (!load->contexts || !load->sockets || !load->sent || load->epoll < 0)
        load_fail("no memory, or no files");
    for (size_t c = 0; c < load->contexts_n; c++)
        if (wire_context_new(&load->contexts[c], &err) != ERR_OK)
            load_fail(err.text);
    for (size_t w = 0; w < n; w++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = w};
        if (wire_socket_connect(&load->sockets[w], load->contexts[w / LOAD_SOCKETS],
                                host->control, WIRE_LIMITS_CONTROL, &err) != ERR_OK)
            load_fail(err.text);
        epoll_ctl(load->epoll, EPOLL_CTL_ADD, wire_socket_fd(load->sockets[w]), &event);
    }
}

static void load_close(struct load *load)
{
    for (size_t w = 0; w < load->crowd.n; w++)
        wire_socket_close(load->sockets[w], 0);
    for (size_t c = 0; c < load->contexts_n; c++)
        wire_context_free(load->contexts[c]);
    close(load->epoll);
    free(load->contexts);
    free(load->sockets);
    free(load->sent);
    crowd_release(&load->crowd);
}

static void load_turn(struct load *load)
{
    struct epoll_event events[LOAD_EVENTS];
    const int n = epoll_wait(load->epoll, events, LOAD_EVENTS, LOAD_TURN_MS);
    for (int i = 0; i < n; i++)
        load_drain(load, events[i].data.u64);
    crowd_tick(&load->crowd, load_now_us());
    /* A send takes in what has come, and the descriptor, edge-triggered, does not tell of it. */
    for (size_t w = 0; w < load->crowd.n; w++)
        if (load->sent[w])
            load_drain(load, w);
}

static void load_for(struct load *load, double seconds)
{
    const uint64_t end_us = load_now_us() + (uint64_t)(1e6 * seconds);
    while (load_now_us() < end_us)
        load_turn(load);
}

static double load_join(struct load *load)
{
    const size_t all = load->crowd.n - !load->crowd.learns;
    const uint64_t begin_us = load_now_us();
    while (crowd_welcomed(&load->crowd) < all) {
        load_turn(load);
        if ((double)(load_now_us() - begin_us) > 1e6 * LOAD_JOIN_S)
            load_fail("not all workers were let in");
    }
    return 1e-6 * (double)(load_now_us() - begin_us);
}

/* Everybody is there but the learner: heartbeats alone. */
static void load_idle(struct load *load, const struct host *host, double seconds,
                      struct load_result *result)
{
    load_for(load, fmin(LOAD_WARM_S, seconds));
    const double cpu_s = host_use(host).cpu_s;
    load_for(load, seconds);
    result->idle_cpu = (host_use(host).cpu_s - cpu_s) / seconds;
}

/* Seconds of a rollout; for so long, and until there is one. */
static double load_piece(struct load *load, double seconds)
{
    const uint64_t begin_us = load_now_us(), rollouts = load->crowd.results;
    do {
        load_for(load, seconds);
        if ((double)(load_now_us() - begin_us) > 1e6 * (LOAD_JOIN_S + seconds))
            load_fail("no rollout is made");
    } while (load->crowd.results == rollouts);
    return 1e-6 * (double)(load_now_us() - begin_us) / (double)(load->crowd.results - rollouts);
}

static void load_work(struct load *load, const struct host *host, double seconds,
                      struct load_result *result)
{
    struct crowd *crowd = &load->crowd;
    crowd->learns = true;
    load_for(load, fmin(LOAD_WARM_S, seconds));
    crowd->acks.n = crowd->leases.n = 0;
    const struct host_use before = host_use(host);
    const struct host_threads threads = host_threads(host);
    const uint64_t rollouts = crowd->results, begin_us = load_now_us();
    for (size_t i = 0; i < LOAD_PIECES; i++)
        result->rollout_s[i] = load_piece(load, seconds / LOAD_PIECES);
    result->use = host_use(host);
    result->threads = host_threads(host);
    result->threads.loop_s -= threads.loop_s;
    result->threads.zmq_s -= threads.zmq_s;
    result->threads.ledger_s -= threads.ledger_s;
    result->span_s = 1e-6 * (double)(load_now_us() - begin_us);
    result->cpu_s = result->use.cpu_s - before.cpu_s;
    result->rollouts = crowd->results - rollouts;
    for (int q = 0; q < 2; q++) {
        result->ack_ms[q] = crowd_quantile_ms(&crowd->acks, q == 0 ? 0.5 : 0.99);
        result->lease_ms[q] = crowd_quantile_ms(&crowd->leases, q == 0 ? 0.5 : 0.99);
    }
}

struct load_result load_run(size_t n, double rate, uint32_t tokens, double seconds)
{
    struct load_result result = {.workers = n};
    struct load load = {.epoll = -1};
    struct host host;
    host_open(&host, tokens);
    crowd_init(&load.crowd, n, load_send, &load);
    load.crowd.config_hash = host.config_hash;
    load.crowd.tokens = tokens;
    if (rate > 0.0)
        load.crowd.item_us = (uint64_t)(1e6 * (double)crowd_actors(&load.crowd) / rate);
    load_open(&load, &host, n);
    result.join_s = load_join(&load);
    if (rate > 0.0)
        load_idle(&load, &host, seconds, &result);
    load_work(&load, &host, seconds, &result);
    result.scrape_s = host_scrape(&host, &result.scrape_bytes);
    if (load.crowd.refused > 0 || load.lost > 0)
        fprintf(stderr, "rlhf-bench: %zu workers: %llu refused, %llu not sent\n", n,
                (unsigned long long)load.crowd.refused, (unsigned long long)load.lost);
    load_close(&load);
    host_close(&host);
    return result;
}
