/* supervisor.c -- see supervisor.h for the diagram. */
#include "node/supervisor.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/fault.h"

#define SUPERVISOR_DELAY_MIN_MS 100u
#define SUPERVISOR_DELAY_MAX_MS 5000u
#define SUPERVISOR_HEALTHY_MS   10000u /* a life this long forgets the crashes before it */
#define SUPERVISOR_EXITS_MAX    3u     /* restarts after a status, without such a life */

struct supervisor_child {
    struct supervisor *owner;
    char name[64];
    char *argv[SUPERVISOR_ARGS_MAX + 1];
    int log_fd;
    enum supervisor_state state;
    uint64_t started_ms;
    uint32_t delay_ms;
    uint32_t crashes;  /* without a healthy life in between */
    uint32_t exits;    /* those of them with a status */
    uint32_t restarts; /* in all */
    int status, signal;
    uv_process_t process;
    uv_timer_t timer;
};

struct supervisor {
    uv_loop_t *loop;
    uint32_t restarts_max;
    supervisor_listener listener;
    void *arg;
    bool stopping;
    uv_timer_t kill_timer;
    size_t open_handles;
    size_t children_n;
    struct supervisor_child *children[SUPERVISOR_CHILDREN_MAX];
    bool closing;
};

const char *supervisor_state_name(enum supervisor_state state)
{
    switch (state) {
#define X(name) \
    case SUPERVISOR_##name: return #name;
        SUPERVISOR_STATE_MAP(X)
#undef X
    }
    return "?";
}

struct supervisor *supervisor_open(uv_loop_t *loop, uint32_t restarts_max,
                                   supervisor_listener listener, void *arg)
{
    struct supervisor *supervisor = calloc(1, sizeof *supervisor);
    if (!supervisor)
        return NULL;
    supervisor->loop = loop;
    supervisor->restarts_max = restarts_max;
    supervisor->listener = listener;
    supervisor->arg = arg;
    uv_timer_init(loop, &supervisor->kill_timer);
    supervisor->kill_timer.data = supervisor;
    supervisor->open_handles = 1;
    return supervisor;
}

static void supervisor_tell(struct supervisor_child *child)
{
    struct supervisor *s = child->owner;
    size_t number = 0;
    while (s->children[number] != child)
        number++;
    const struct supervisor_event event = {number,         child->name,   child->state,
                                           child->status,  child->signal, child->restarts,
                                           child->delay_ms};
    if (s->listener)
        s->listener(s->arg, &event);
}

static void supervisor_enter(struct supervisor_child *child, enum supervisor_state state)
{
    child->state = state;
    supervisor_tell(child);
}

static void supervisor_on_exit(uv_process_t *process, int64_t status, int signal);
static void supervisor_on_process_closed(uv_handle_t *handle);

static int supervisor_spawn(struct supervisor_child *child)
{
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE}};
    stdio[1].flags = stdio[2].flags = UV_INHERIT_FD;
    stdio[1].data.fd = stdio[2].data.fd = child->log_fd;
    const uv_process_options_t options = {
        .exit_cb = supervisor_on_exit,
        .file = child->argv[0],
        .args = child->argv,
        .stdio_count = 3,
        .stdio = stdio,
    };
    child->started_ms = uv_now(child->owner->loop);
    fault_at(FAULT_supervisor_spawn);
    const int failed = uv_spawn(child->owner->loop, &child->process, &options);
    fault_at(FAULT_supervisor_spawned);
    child->process.data = child;
    child->owner->open_handles += 1;
    if (failed) /* even so the handle is the loop's */
        uv_close((uv_handle_t *)&child->process, supervisor_on_process_closed);
    return failed;
}

static void supervisor_on_timer(uv_timer_t *timer)
{
    struct supervisor_child *child = timer->data;
    child->restarts += 1;
    const int failed = supervisor_spawn(child);
    if (failed == 0) {
        supervisor_enter(child, SUPERVISOR_RUNNING);
        return;
    }
    child->status = EX_OSERR;
    supervisor_enter(child, SUPERVISOR_FAILED);
}

static void supervisor_crashed(struct supervisor_child *child)
{
    struct supervisor *s = child->owner;
    if (uv_now(s->loop) - child->started_ms >= SUPERVISOR_HEALTHY_MS)
        child->crashes = child->exits = 0;
    child->exits += child->signal == 0;
    if (child->crashes >= s->restarts_max || child->exits > SUPERVISOR_EXITS_MAX) {
        supervisor_enter(child, SUPERVISOR_FAILED);
        return;
    }
    uint32_t delay = SUPERVISOR_DELAY_MIN_MS;
    for (uint32_t i = 0; i < child->crashes && delay < SUPERVISOR_DELAY_MAX_MS; i++)
        delay *= 2;
    child->delay_ms = delay < SUPERVISOR_DELAY_MAX_MS ? delay : SUPERVISOR_DELAY_MAX_MS;
    child->crashes += 1;
    uv_timer_start(&child->timer, supervisor_on_timer, child->delay_ms, 0);
    supervisor_enter(child, SUPERVISOR_WAITING);
}

static void supervisor_free_child(struct supervisor_child *child)
{
    for (char **arg = child->argv; *arg; arg++)
        free(*arg);
    free(child);
}

static void supervisor_free_if_closed(struct supervisor *s)
{
    if (!s->closing || s->open_handles > 0)
        return;
    for (size_t i = 0; i < s->children_n; i++)
        supervisor_free_child(s->children[i]);
    free(s);
}

static void supervisor_on_process_closed(uv_handle_t *handle)
{
    struct supervisor_child *child = handle->data;
    child->owner->open_handles -= 1;
    supervisor_free_if_closed(child->owner);
}

static void supervisor_on_exit(uv_process_t *process, int64_t status, int signal)
{
    struct supervisor_child *child = process->data;
    struct supervisor *s = child->owner;
    child->status = (int)status;
    child->signal = signal;
    fault_at(FAULT_supervisor_exited);
    if (s->closing || s->stopping) {
        uv_close((uv_handle_t *)process, supervisor_on_process_closed);
        supervisor_enter(child, SUPERVISOR_STOPPED);
        return;
    }
    uv_close((uv_handle_t *)process, supervisor_on_process_closed);
    const bool final = signal == 0 && (status == 0 || status == EX_USAGE ||
                                       status == EX_DATAERR || status == EX_CONFIG);
    if (final)
        supervisor_enter(child, status == 0 ? SUPERVISOR_DONE : SUPERVISOR_FAILED);
    else
        supervisor_crashed(child);
}

enum err_code supervisor_start(struct supervisor *s, const char *name, const char *const *argv,
                               int log_fd, size_t *number, struct err *err)
{
    if (s->children_n == SUPERVISOR_CHILDREN_MAX)
        return err_set(err, ERR_VALUE, "more than %d child processes", SUPERVISOR_CHILDREN_MAX);
    struct supervisor_child *child = calloc(1, sizeof *child);
    if (!child)
        return err_set(err, ERR_NOMEM, "out of memory for %s", name);
    child->owner = s;
    child->log_fd = log_fd;
    snprintf(child->name, sizeof child->name, "%s", name);
    for (size_t i = 0; argv[i]; i++) {
        assert(i < SUPERVISOR_ARGS_MAX);
        child->argv[i] = strdup(argv[i]);
        if (!child->argv[i]) {
            supervisor_free_child(child);
            return err_set(err, ERR_NOMEM, "out of memory for %s", name);
        }
    }
    uv_timer_init(s->loop, &child->timer);
    child->timer.data = child;
    s->open_handles += 1;
    *number = s->children_n;
    s->children[s->children_n++] = child;

    const int failed = supervisor_spawn(child);
    if (failed) {
        child->state = SUPERVISOR_FAILED;
        return err_set(err, ERR_IO, "cannot start %s: %s", argv[0], uv_strerror(failed));
    }
    supervisor_enter(child, SUPERVISOR_RUNNING);
    return ERR_OK;
}

static void supervisor_on_kill_timer(uv_timer_t *timer)
{
    struct supervisor *s = timer->data;
    for (size_t i = 0; i < s->children_n; i++)
        if (s->children[i]->state == SUPERVISOR_RUNNING)
            uv_process_kill(&s->children[i]->process, SIGKILL);
}

void supervisor_stop(struct supervisor *s, uint32_t grace_ms)
{
    if (s->stopping)
        return;
    s->stopping = true;
    fault_at(FAULT_supervisor_stop);
    for (size_t i = 0; i < s->children_n; i++) {
        struct supervisor_child *child = s->children[i];
        if (child->state == SUPERVISOR_RUNNING)
            uv_process_kill(&child->process, SIGTERM);
        if (child->state == SUPERVISOR_WAITING) {
            uv_timer_stop(&child->timer);
            supervisor_enter(child, SUPERVISOR_STOPPED);
        }
    }
    uv_timer_start(&s->kill_timer, supervisor_on_kill_timer, grace_ms, 0);
}

size_t supervisor_alive(const struct supervisor *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->children_n; i++)
        n += s->children[i]->state == SUPERVISOR_RUNNING ||
             s->children[i]->state == SUPERVISOR_WAITING;
    return n;
}

enum supervisor_state supervisor_child_state(const struct supervisor *s, size_t child)
{
    assert(child < s->children_n);
    return s->children[child]->state;
}

int supervisor_child_pid(const struct supervisor *s, size_t child)
{
    assert(child < s->children_n);
    return s->children[child]->state == SUPERVISOR_RUNNING ? s->children[child]->process.pid
                                                           : 0;
}

static void supervisor_on_timer_closed(uv_handle_t *handle)
{
    struct supervisor_child *child = handle->data;
    child->owner->open_handles -= 1;
    supervisor_free_if_closed(child->owner);
}

static void supervisor_on_kill_timer_closed(uv_handle_t *handle)
{
    struct supervisor *s = handle->data;
    s->open_handles -= 1;
    supervisor_free_if_closed(s);
}

void supervisor_close(struct supervisor *s)
{
    if (!s)
        return;
    s->closing = true;
    s->listener = NULL;
    for (size_t i = 0; i < s->children_n; i++) {
        if (s->children[i]->state == SUPERVISOR_RUNNING)
            uv_process_kill(&s->children[i]->process, SIGKILL);
        uv_close((uv_handle_t *)&s->children[i]->timer, supervisor_on_timer_closed);
    }
    uv_close((uv_handle_t *)&s->kill_timer, supervisor_on_kill_timer_closed);
}
