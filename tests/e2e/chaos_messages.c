/* chaos_messages.c -- whole messages, spoilt: see chaos.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "base/clock.h"
#include "tests/e2e/chaos.h"
#include "wire/message.h"

#define CHAOS_LINKS_MAX 4    /* the coordinator, and three learners */
#define CHAOS_PEERS_MAX 64   /* connections of a link, at a time */
#define CHAOS_HELD_MAX  4096 /* messages on their way */
#define CHAOS_FRAMES    (WIRE_FRAMES_MAX + 1)
#define CHAOS_IDLE_MS   6000u /* a connection silent for so long is over */
#define CHAOS_ID_MAX    32

struct chaos_peer {
    unsigned char id[CHAOS_ID_MAX]; /* of the connection in front */
    size_t id_n;                    /* 0: a free entry */
    void *back;
    uint64_t heard_ms;
};

/* What is bound in front of one endpoint. */
struct chaos_link {
    void *front;
    char front_endpoint[WIRE_TEXT_MAX], back_endpoint[WIRE_TEXT_MAX];
    struct chaos_peer peer[CHAOS_PEERS_MAX];
};

struct chaos_message {
    zmq_msg_t frame[CHAOS_FRAMES];
    size_t n;
};

struct chaos_held {
    uint64_t due_ms;
    struct chaos_link *link;
    unsigned char id[CHAOS_ID_MAX];
    size_t id_n;
    bool to_back;
    struct chaos_message message;
};

struct chaos_proxy {
    struct chaos *chaos;
    void *zmq;
    struct chaos_link link[CHAOS_LINKS_MAX];
    size_t links;
    struct chaos_held held[CHAOS_HELD_MAX];
    size_t held_n;
};

static void chaos_message_close(struct chaos_message *m)
{
    for (size_t i = 0; i < m->n; i++)
        zmq_msg_close(&m->frame[i]);
    m->n = 0;
}

/* --- links -------------------------------------------------------------------------------- */

static struct chaos_link *chaos_link_open(struct chaos_proxy *p, const char *front,
                                          const char *back)
{
    struct chaos_link *link = &p->link[p->links];
    const int linger = 0;
    size_t n = sizeof link->front_endpoint;
    link->front = zmq_socket(p->zmq, ZMQ_ROUTER);
    zmq_setsockopt(link->front, ZMQ_LINGER, &linger, sizeof linger);
    if (zmq_bind(link->front, front) != 0 ||
        zmq_getsockopt(link->front, ZMQ_LAST_ENDPOINT, link->front_endpoint, &n) != 0) {
        fprintf(stderr, "chaos: bind %s: %s\n", front, zmq_strerror(zmq_errno()));
        return NULL;
    }
    snprintf(link->back_endpoint, sizeof link->back_endpoint, "%s", back);
    p->links++;
    return link;
}

/* The way in front of a learner's endpoint, made if need be. */
static struct chaos_link *chaos_link_to(struct chaos_proxy *p, const char *back)
{
    for (size_t i = 1; i < p->links; i++)
        if (strcmp(p->link[i].back_endpoint, back) == 0)
            return &p->link[i];
    return p->links < CHAOS_LINKS_MAX ? chaos_link_open(p, "tcp://127.0.0.1:*", back) : NULL;
}

static void chaos_peer_connect(struct chaos_proxy *p, struct chaos_link *link,
                               struct chaos_peer *peer)
{
    const int linger = 0;
    if (peer->back)
        zmq_close(peer->back);
    peer->back = zmq_socket(p->zmq, ZMQ_DEALER);
    zmq_setsockopt(peer->back, ZMQ_LINGER, &linger, sizeof linger);
    zmq_connect(peer->back, link->back_endpoint);
}

static struct chaos_peer *chaos_peer_of(struct chaos_proxy *p, struct chaos_link *link,
                                        const unsigned char *id, size_t id_n)
{
    struct chaos_peer *spare = NULL;
    for (size_t i = 0; i < CHAOS_PEERS_MAX; i++) {
        struct chaos_peer *peer = &link->peer[i];
        if (peer->id_n == id_n && memcmp(peer->id, id, id_n) == 0)
            return peer;
        if (peer->id_n == 0)
            spare = peer;
    }
    if (!spare || id_n > CHAOS_ID_MAX)
        return NULL;
    memcpy(spare->id, id, id_n);
    spare->id_n = id_n;
    spare->heard_ms = clock_mono_ms();
    chaos_peer_connect(p, link, spare);
    return spare;
}

static void chaos_peer_close(struct chaos_peer *peer)
{
    if (peer->back)
        zmq_close(peer->back);
    *peer = (struct chaos_peer){0};
}

/* --- spoiling ----------------------------------------------------------------------------- */

/* A learner says where its weights are: let them be fetched through here. */
static void chaos_divert(struct chaos_proxy *p, struct chaos_message *m)
{
    struct message hello;
    const size_t size = zmq_msg_size(&m->frame[0]);
    if (m->n != 1 || message_decode(&hello, zmq_msg_data(&m->frame[0]), size, NULL, 0, NULL))
        return;
    unsigned char *head = NULL;
    size_t n = 0;
    const struct chaos_link *link =
        hello.type == MESSAGE_HELLO && hello.role == WIRE_ROLE_LEARNER
            ? chaos_link_to(p, hello.text)
            : NULL;
    if (link) {
        snprintf(hello.text, sizeof hello.text, "%s", link->front_endpoint);
        if (message_encode(&hello, &head, &n, NULL) == ERR_OK) {
            zmq_msg_close(&m->frame[0]);
            zmq_msg_init_size(&m->frame[0], n + MESSAGE_SEAL_BYTES);
            memcpy(zmq_msg_data(&m->frame[0]), head, n);
            message_seal(zmq_msg_data(&m->frame[0]), n);
            free(head);
        }
    }
    message_release(&hello);
}

static void chaos_flip(struct chaos *chaos, struct chaos_message *m)
{
    zmq_msg_t *frame = &m->frame[chaos_random(chaos, m->n)];
    const size_t size = zmq_msg_size(frame);
    if (size == 0)
        return;
    zmq_msg_t changed; /* libzmq may share the bytes of the one that came */
    zmq_msg_init_size(&changed, size);
    memcpy(zmq_msg_data(&changed), zmq_msg_data(frame), size);
    const uint64_t bit = chaos_random(chaos, 8 * size);
    ((unsigned char *)zmq_msg_data(&changed))[bit / 8] ^= (unsigned char)(1u << bit % 8);
    zmq_msg_move(frame, &changed);
}

static void chaos_cut(struct chaos *chaos, struct chaos_message *m)
{
    if (m->n > 1 && chaos_random(chaos, 2)) { /* the last frames do not come */
        const size_t keep = 1 + chaos_random(chaos, m->n - 1);
        while (m->n > keep)
            zmq_msg_close(&m->frame[--m->n]);
        return;
    }
    zmq_msg_t *frame = &m->frame[chaos_random(chaos, m->n)];
    const size_t size = zmq_msg_size(frame);
    const size_t keep = size > 0 ? chaos_random(chaos, size) : 0;
    zmq_msg_t changed;
    zmq_msg_init_size(&changed, keep);
    memcpy(zmq_msg_data(&changed), zmq_msg_data(frame), keep);
    zmq_msg_move(frame, &changed);
}

/* --- passing on --------------------------------------------------------------------------- */

static void chaos_send(void *socket, struct chaos_message *m)
{
    for (size_t i = 0; i < m->n; i++)
        zmq_msg_send(&m->frame[i], socket, ZMQ_DONTWAIT | (i + 1 < m->n ? ZMQ_SNDMORE : 0));
    chaos_message_close(m);
}

static void chaos_deliver(struct chaos_proxy *p, struct chaos_held *held)
{
    if (!held->to_back) {
        zmq_send(held->link->front, held->id, held->id_n, ZMQ_SNDMORE | ZMQ_DONTWAIT);
        chaos_send(held->link->front, &held->message);
        return;
    }
    struct chaos_peer *peer = chaos_peer_of(p, held->link, held->id, held->id_n);
    if (peer)
        chaos_send(peer->back, &held->message);
    chaos_message_close(&held->message);
}

static void chaos_hold(struct chaos_proxy *p, const struct chaos_held *like, uint64_t due_ms)
{
    if (p->held_n == CHAOS_HELD_MAX)
        return;
    struct chaos_held *held = &p->held[p->held_n++];
    *held = *like;
    held->due_ms = due_ms;
    for (size_t i = 0; i < held->message.n; i++) {
        zmq_msg_init(&held->message.frame[i]);
        zmq_msg_copy(&held->message.frame[i], (zmq_msg_t *)&like->message.frame[i]);
    }
}

static void chaos_deliver_due(struct chaos_proxy *p, uint64_t now_ms)
{
    for (size_t i = 0; i < p->held_n;) {
        if (p->held[i].due_ms > now_ms) {
            i++;
            continue;
        }
        struct chaos_held due = p->held[i];
        memmove(&p->held[i], &p->held[i + 1], (p->held_n - i - 1) * sizeof p->held[0]);
        p->held_n--;
        chaos_deliver(p, &due);
    }
}

/* Takes the message. */
static void chaos_pass(struct chaos_proxy *p, struct chaos_held *came, uint64_t now_ms)
{
    struct chaos *chaos = p->chaos;
    if (came->to_back && came->link == &p->link[0])
        chaos_divert(p, &came->message);
    if (!chaos_is_parted(chaos, now_ms) && !chaos_happens(chaos, CHAOS_drop)) {
        if (chaos_happens(chaos, CHAOS_twice))
            chaos_hold(p, came, now_ms + chaos_random(chaos, 300));
        if (chaos_happens(chaos, CHAOS_flip))
            chaos_flip(chaos, &came->message);
        if (chaos_happens(chaos, CHAOS_cut))
            chaos_cut(chaos, &came->message);
        const bool slow = chaos_happens(chaos, CHAOS_slow);
        chaos_hold(p, came, now_ms + (slow ? chaos_random(chaos, 1000) : 0));
    }
    chaos_message_close(&came->message);
}

static bool chaos_receive(void *socket, struct chaos_message *m)
{
    m->n = 0;
    for (;;) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&frame);
            return false;
        }
        const bool more = zmq_msg_more(&frame);
        if (m->n < CHAOS_FRAMES)
            m->frame[m->n++] = frame;
        else
            zmq_msg_close(&frame);
        if (!more)
            return true;
    }
}

static void chaos_from_front(struct chaos_proxy *p, struct chaos_link *link, uint64_t now_ms)
{
    struct chaos_held came = {.link = link, .to_back = true};
    while (zmq_recv(link->front, came.id, sizeof came.id, ZMQ_DONTWAIT) > 0) {
        came.id_n = 5; /* as libzmq makes them */
        if (!chaos_receive(link->front, &came.message))
            continue;
        struct chaos_peer *peer = chaos_peer_of(p, link, came.id, came.id_n);
        if (peer)
            peer->heard_ms = now_ms;
        chaos_pass(p, &came, now_ms);
    }
}

static void chaos_from_back(struct chaos_proxy *p, struct chaos_link *link, uint64_t now_ms)
{
    for (size_t i = 0; i < CHAOS_PEERS_MAX; i++) {
        struct chaos_peer *peer = &link->peer[i];
        struct chaos_held came = {.link = link, .id_n = peer->id_n};
        memcpy(came.id, peer->id, sizeof came.id);
        while (peer->id_n > 0 && chaos_receive(peer->back, &came.message))
            chaos_pass(p, &came, now_ms);
    }
}

/* Once in 10 ms: connections that are over, or begin anew. */
static void chaos_tick(struct chaos_proxy *p, uint64_t now_ms)
{
    for (size_t l = 0; l < p->links; l++)
        for (size_t i = 0; i < CHAOS_PEERS_MAX; i++) {
            struct chaos_peer *peer = &p->link[l].peer[i];
            if (peer->id_n > 0 && now_ms - peer->heard_ms >= CHAOS_IDLE_MS)
                chaos_peer_close(peer);
            else if (peer->id_n > 0 && chaos_happens(p->chaos, CHAOS_reset))
                chaos_peer_connect(p, &p->link[l], peer);
        }
}

static void chaos_wait(struct chaos_proxy *p)
{
    static zmq_pollitem_t item[CHAOS_LINKS_MAX * (CHAOS_PEERS_MAX + 1)];
    int n = 0;
    for (size_t l = 0; l < p->links; l++) {
        item[n++] = (zmq_pollitem_t){.socket = p->link[l].front, .events = ZMQ_POLLIN};
        for (size_t i = 0; i < CHAOS_PEERS_MAX; i++)
            if (p->link[l].peer[i].id_n > 0)
                item[n++] =
                    (zmq_pollitem_t){.socket = p->link[l].peer[i].back, .events = ZMQ_POLLIN};
    }
    zmq_poll(item, n, p->held_n > 0 ? 1 : 10);
}

bool chaos_messages(struct chaos *chaos)
{
    static struct chaos_proxy p; /* too large for the stack */
    p.chaos = chaos;
    p.zmq = zmq_ctx_new();
    if (!p.zmq || !chaos_link_open(&p, chaos->front, chaos->back))
        return false;
    uint64_t tick_ms = clock_mono_ms();
    while (!chaos_stop) {
        chaos_wait(&p);
        const uint64_t now_ms = clock_mono_ms();
        for (size_t l = 0; l < p.links; l++) {
            chaos_from_front(&p, &p.link[l], now_ms);
            chaos_from_back(&p, &p.link[l], now_ms);
        }
        chaos_deliver_due(&p, now_ms);
        if (now_ms - tick_ms >= 10) {
            chaos_tick(&p, now_ms);
            tick_ms = now_ms;
        }
    }
    for (size_t l = 0; l < p.links; l++) {
        for (size_t i = 0; i < CHAOS_PEERS_MAX; i++)
            chaos_peer_close(&p.link[l].peer[i]);
        zmq_close(p.link[l].front);
    }
    while (p.held_n > 0)
        chaos_message_close(&p.held[--p.held_n].message);
    zmq_ctx_term(p.zmq);
    return true;
}
