/* chaos_stream.c -- bytes of TCP connections, cut and kept waiting: see chaos.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/e2e/chaos.h"

#define CHAOS_PIPES_MAX 64
#define CHAOS_ROOM      65536u

/* One way of a connection. */
struct chaos_way {
    unsigned char bytes[CHAOS_ROOM];
    size_t from, to; /* waiting: bytes[from..to) */
};

struct chaos_pipe {
    int fd[2];               /* the worker's, the coordinator's; [0] < 0: a free entry */
    struct chaos_way way[2]; /* from fd[i] to fd[1 - i] */
    uint64_t stall_ms;
    double credit; /* bytes that may pass now, where there is a limit */
};

static struct chaos_pipe chaos_pipes[CHAOS_PIPES_MAX];

static struct sockaddr_in chaos_address(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(colon ? colon + 1 : "0")),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int chaos_listen(const char *endpoint)
{
    const struct sockaddr_in at = chaos_address(endpoint);
    const int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 64) == 0)
        return fd;
    fprintf(stderr, "chaos: listen at %s: %s\n", endpoint, strerror(errno));
    return -1;
}

/* With a reset, as a firewall that has forgotten it would send. */
static void chaos_pipe_close(struct chaos_pipe *pipe, bool reset)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    for (int i = 0; i < 2; i++) {
        if (reset)
            setsockopt(pipe->fd[i], SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(pipe->fd[i]);
        pipe->fd[i] = -1;
    }
}

static void chaos_accept(const struct chaos *chaos, int listener)
{
    const int front = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (front < 0)
        return;
    for (size_t i = 0; i < CHAOS_PIPES_MAX; i++) {
        struct chaos_pipe *pipe = &chaos_pipes[i];
        if (pipe->fd[0] >= 0)
            continue;
        const struct sockaddr_in at = chaos_address(chaos->back);
        const int back = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(back, (const struct sockaddr *)&at, sizeof at) != 0) {
            close(back);
            break;
        }
        fcntl(back, F_SETFL, O_NONBLOCK);
        memset(pipe, 0, sizeof *pipe);
        pipe->fd[0] = front;
        pipe->fd[1] = back;
        return;
    }
    close(front);
}

/* What can pass of one way; false where its connection is over. */
static bool chaos_move(struct chaos *chaos, struct chaos_pipe *pipe, int i)
{
    struct chaos_way *way = &pipe->way[i];
    if (way->from == way->to)
        way->from = way->to = 0;
    if (way->to < CHAOS_ROOM) {
        const ssize_t got = read(pipe->fd[i], way->bytes + way->to, CHAOS_ROOM - way->to);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        way->to += got > 0 ? (size_t)got : 0;
    }
    size_t n = way->to - way->from;
    if (chaos->rate[CHAOS_limit] > 0 && (double)n > pipe->credit)
        n = pipe->credit > 0 ? (size_t)pipe->credit : 0;
    if (n == 0)
        return true;
    const bool last = chaos_happens(chaos, CHAOS_cut); /* in the middle of a frame, mostly */
    if (last)
        n = 1 + chaos_random(chaos, n);
    const ssize_t put = write(pipe->fd[1 - i], way->bytes + way->from, n);
    if (put < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    way->from += put > 0 ? (size_t)put : 0;
    pipe->credit -= put > 0 ? (double)put : 0;
    return !last;
}

static void chaos_pipe_turn(struct chaos *chaos, struct chaos_pipe *pipe, uint64_t now_ms)
{
    if (now_ms < pipe->stall_ms)
        return;
    pipe->stall_ms = 0;
    if (!chaos_move(chaos, pipe, 0) || !chaos_move(chaos, pipe, 1))
        chaos_pipe_close(pipe, true);
}

static void chaos_stream_tick(struct chaos *chaos, uint64_t now_ms)
{
    for (size_t i = 0; i < CHAOS_PIPES_MAX; i++) {
        struct chaos_pipe *pipe = &chaos_pipes[i];
        if (pipe->fd[0] < 0)
            continue;
        pipe->credit = (double)chaos->rate[CHAOS_limit] * 1024.0 / 100.0;
        if (chaos_happens(chaos, CHAOS_reset))
            chaos_pipe_close(pipe, true);
        else if (chaos_happens(chaos, CHAOS_stall))
            pipe->stall_ms = now_ms + chaos_random(chaos, 1000);
    }
}

/* Until something can be read, or 10 ms: what could not be written waits as long. */
static void chaos_stream_wait(int listener, bool parted)
{
    struct pollfd fds[1 + 2 * CHAOS_PIPES_MAX];
    nfds_t n = 0;
    fds[n++] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (size_t i = 0; i < CHAOS_PIPES_MAX && !parted; i++)
        for (int way = 0; way < 2 && chaos_pipes[i].fd[0] >= 0; way++)
            if (chaos_pipes[i].way[way].to < CHAOS_ROOM && chaos_pipes[i].stall_ms == 0)
                fds[n++] = (struct pollfd){.fd = chaos_pipes[i].fd[way], .events = POLLIN};
    poll(fds, n, 5);
}

bool chaos_stream(struct chaos *chaos)
{
    const int listener = chaos_listen(chaos->front);
    if (listener < 0)
        return false;
    for (size_t i = 0; i < CHAOS_PIPES_MAX; i++)
        chaos_pipes[i].fd[0] = chaos_pipes[i].fd[1] = -1;
    uint64_t tick_ms = clock_mono_ms();
    while (!chaos_stop) {
        const uint64_t now_ms = clock_mono_ms();
        const bool parted = now_ms < chaos->partition_ms;
        chaos_stream_wait(listener, parted);
        if (!parted) {
            chaos_accept(chaos, listener);
            for (size_t i = 0; i < CHAOS_PIPES_MAX; i++)
                if (chaos_pipes[i].fd[0] >= 0)
                    chaos_pipe_turn(chaos, &chaos_pipes[i], now_ms);
        }
        if (now_ms - tick_ms >= 10) {
            chaos_is_parted(chaos, now_ms);
            chaos_stream_tick(chaos, now_ms);
            tick_ms = now_ms;
        }
    }
    for (size_t i = 0; i < CHAOS_PIPES_MAX; i++)
        if (chaos_pipes[i].fd[0] >= 0)
            chaos_pipe_close(&chaos_pipes[i], false);
    close(listener);
    return true;
}
