/* weights_sources.c -- whom a fetch asks beside the server: see weights_pull.h. */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "node/weights_pull.h"

static bool weights_sources_is_own(const struct weights_pull *p, const char *endpoint)
{
    return p->request->relay &&
           strcmp(weights_server_endpoint(p->request->relay), endpoint) == 0;
}

/* What follows a host: a port, and then a key or nothing. */
static bool weights_sources_is_port(const char *at)
{
    const size_t digits = at[0] == ':' ? strspn(at + 1, "0123456789") : 0;
    if (digits == 0)
        return false;
    at += 1 + digits;
    const size_t key = strlen(WIRE_ENDPOINT_KEY);
    if (strncmp(at, WIRE_ENDPOINT_KEY, key) == 0)
        at += key + strspn(at + key, "0123456789abcdef");
    return at[0] == '\0';
}

bool weights_sources_is_endpoint(const char *endpoint, const char *server)
{
    if (strncmp(endpoint, "ipc://", 6) == 0)
        return strncmp(server, "ipc://", 6) == 0;
    if (strncmp(endpoint, "tcp://", 6) != 0)
        return false;
    char host[INET6_ADDRSTRLEN];
    struct in6_addr address; /* room for either */
    const bool is_v6 = endpoint[6] == '[';
    const char *at = endpoint + 6 + is_v6;
    const size_t n = strcspn(at, is_v6 ? "]" : ":");
    if (n >= sizeof host || at[n] == '\0')
        return false;
    memcpy(host, at, n);
    host[n] = '\0';
    return inet_pton(is_v6 ? AF_INET6 : AF_INET, host, &address) == 1 &&
           weights_sources_is_port(at + n + is_v6);
}

/* Connected, or avoided from the start. */
static enum err_code weights_sources_connect(struct weights_pull *p,
                                             struct weights_source *source, struct err *err)
{
    const struct weights_request *r = p->request;
    if (!weights_sources_is_endpoint(source->endpoint, r->endpoint))
        return err_set(err, ERR_USAGE,
                       "version %llu: a relay at \"%s\" is not asked: no numeric TCP address",
                       (unsigned long long)r->version, source->endpoint);
    return wire_socket_connect(&source->socket, r->context, source->endpoint, WIRE_LIMITS_BULK,
                               err);
}

uint32_t weights_sources_find(struct weights_pull *p, const char *endpoint, uint64_t now_ms)
{
    if (endpoint[0] == '\0' || weights_sources_is_own(p, endpoint))
        return 0;
    for (uint32_t i = 1; i < p->sources; i++)
        if (strcmp(p->source[i].endpoint, endpoint) == 0)
            return p->source[i].avoided ? 0 : i;
    if (p->sources == WEIGHTS_SOURCES_MAX)
        return 0;
    struct weights_source *source = &p->source[p->sources];
    struct err err = {0};
    *source = (struct weights_source){.heard_ms = now_ms};
    snprintf(source->endpoint, sizeof source->endpoint, "%s", endpoint);
    source->avoided = weights_sources_connect(p, source, &err) != ERR_OK;
    if (source->avoided)
        log_warn("WEIGHTS-RELAY", "%s", err.text);
    p->sources++;
    return source->avoided ? 0 : p->sources - 1;
}

void weights_sources_avoid(struct weights_pull *p, uint32_t source, const char *why)
{
    assert(source > 0);
    struct weights_source *relay = &p->source[source];
    log_warn("WEIGHTS-RELAY", "version %llu: the relay %s %s; it is asked no more",
             (unsigned long long)p->request->version, relay->endpoint, why);
    relay->avoided = true;
    wire_socket_close(relay->socket, 0);
    relay->socket = NULL;
    weights_chunks_take_back(p, source);
}

uint32_t weights_sources_patience(const struct weights_pull *p)
{
    return p->request->relay_ms > 0 ? p->request->relay_ms : WEIGHTS_RELAY_MS;
}

void weights_sources_look(struct weights_pull *p, uint64_t now_ms)
{
    for (uint32_t i = 1; i < p->sources; i++) {
        const struct weights_source *source = &p->source[i];
        if (source->asked > 0 && !source->avoided &&
            now_ms - source->heard_ms >= weights_sources_patience(p))
            weights_sources_avoid(p, i, "does not answer");
    }
}

bool weights_sources_wait(const struct weights_pull *p, int timeout_ms)
{
    struct wire_socket *sockets[WEIGHTS_SOURCES_MAX];
    for (uint32_t i = 0; i < p->sources; i++)
        sockets[i] = p->source[i].socket;
    if (!p->has_manifest && p->asked_ms == 0)
        return wire_socket_wait_ready(sockets, p->sources, timeout_ms);
    return wire_socket_wait_any(sockets, p->sources, timeout_ms);
}

void weights_sources_close(struct weights_pull *p)
{
    for (uint32_t i = 0; i < p->sources; i++)
        wire_socket_close(p->source[i].socket, 0);
    p->sources = 0;
}
