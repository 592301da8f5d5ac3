/*
 * crew.h -- a run's daemons, started one by one by a test and started again where they die: for
 * what cannot be had below `rlhf run`, which lets them meet directly.
 */
#ifndef TESTS_E2E_CREW_H
#define TESTS_E2E_CREW_H

#include <netinet/in.h>
#include <stdarg.h>
#include <sys/socket.h>

#include "tests/e2e/faults.h"
#include "tests/e2e/held.h"

#define CREW_MAX 8

struct member {
    char line[512]; /* its command */
    pid_t pid;      /* 0: none */
    int lives;
};

/* [0] the coordinator, then who comes between, if anybody, and workers. */
struct crew {
    struct member member[CREW_MAX];
    size_t n;
    char log[128]; /* its name, below the scene */
};

/* One that is free, and below those that the kernel gives to whoever connects: it stays free until
 * the coordinator is there, and where that starts again.  The next ones are free for the bulk
 * endpoints of further learners. */
static inline int crew_port(void)
{
    static unsigned tried;
    for (;;) {
        const unsigned port = 20000 + ((unsigned)getpid() * 10 + tried++) * 8 % 12000;
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const bool is_free = bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
        close(fd);
        if (is_free)
            return (int)port;
        assert_true(tried < 12000 / 8);
    }
}

static inline void crew_start(struct crew *crew, struct member *member)
{
    char text[512], log[FILE_PATH_MAX], program[FILE_PATH_MAX];
    char *argv[SCENE_ARGS_MAX + 1] = {NULL};
    size_t argc = 0;
    strcpy(text, member->line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    scene_path(log, crew->log);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    snprintf(program, sizeof program, "%s%s",
             argv[0][0] == '/'               ? ""
             : strcmp(argv[0], "chaos") == 0 ? CHAOS_BIN "/"
                                             : RLHF_BIN "/",
             argv[0]);
    assert_int_equal(posix_spawn(&member->pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    member->lives++;
}

static inline void crew_add(struct crew *crew, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void crew_add(struct crew *crew, const char *format, ...)
{
    assert_true(crew->n < CREW_MAX);
    struct member *member = &crew->member[crew->n++];
    *member = (struct member){0};
    va_list args;
    va_start(args, format);
    vsnprintf(member->line, sizeof member->line, format, args);
    va_end(args);
    crew_start(crew, member);
}

static inline void crew_stop(struct crew *crew)
{
    for (size_t i = 0; i < crew->n; i++)
        if (crew->member[i].pid > 0) {
            kill(crew->member[i].pid,
                 strncmp(crew->member[i].line, "chaos", 5) == 0 ? SIGTERM : SIGKILL);
            waitpid(crew->member[i].pid, NULL, 0);
        }
}

/* Start again what has died; true once the coordinator has said that the run is over.  A worker
 * told goodbye is done.  *halted: the run cannot go on. */
static inline bool crew_turn(struct crew *crew, bool *halted)
{
    for (size_t i = 0; i < crew->n; i++) {
        struct member *member = &crew->member[i];
        int status = 0;
        if (member->pid == 0 || waitpid(member->pid, &status, WNOHANG) != member->pid)
            continue;
        member->pid = 0;
        const bool done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (i == 0 && done)
            return true;
        *halted = *halted || (i == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 65);
        if (!done && !*halted)
            crew_start(crew, member);
    }
    return false;
}

/* A crew that was started held (held.h) stands still afterwards, with so many steps done. */
static inline void crew_go_to(struct crew *crew, const char *name, uint64_t steps)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    bool halted = false;
    for (;;) {
        const pid_t coordinator = crew->member[0].pid;
        const bool still = held_is_still(coordinator);
        if (still && faults_steps_done(name) >= steps)
            return;
        if (still)
            kill(coordinator, SIGCONT);
        if (crew_turn(crew, &halted) || halted || clock_mono_ms() > deadline) {
            scene_show(crew->log);
            fail_msg("%s does not come to step %u", name, (unsigned)steps);
        }
        scene_nap(2);
    }
}

static inline bool crew_wait(struct crew *crew)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    bool halted = false;
    while (clock_mono_ms() < deadline && !halted) {
        if (crew_turn(crew, &halted))
            return true;
        if (held_is_still(crew->member[0].pid))
            kill(crew->member[0].pid, SIGCONT);
        scene_nap(5);
    }
    return false;
}

/* A number below n, of this seed, the k-th asked for. */
static inline uint64_t crew_draw(uint64_t seed, uint64_t k, uint64_t n)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + k * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (x ^ (x >> 31)) % n;
}

/* dir/keys: a key for each role. */
static inline void crew_make_keys(void)
{
    assert_int_equal(
        scene_wait(scene_start("rlhf keygen --keys @/keys coordinator learner actor reward")), 0);
}

/* A run's daemons, with nobody between them.  `prefix` begins the coordinator's command, which
 * listens at that address; keys, a directory in the scene, or NULL.  Every second learner's
 * weights come in chunks. */
static inline void crew_run(struct crew *crew, const char *prefix, const char *host,
                            const char *keys, const char *name, uint32_t learners)
{
    char common[400], with[120] = "";
    if (keys)
        snprintf(with, sizeof with, " endpoints.keys=%s/%s", dir, keys);
    const int port = crew_port();
    snprintf(crew->log, sizeof crew->log, "%s.log", name);
    snprintf(common, sizeof common,
             "--control tcp://%s:%d --config %s/faults.yaml run.dir=%s/%s workers.learners=%u%s",
             host, port, dir, dir, name, learners, with);
    crew_add(crew, "%srlhf-coordinator --http 127.0.0.1:0 %s", prefix, common);
    for (uint32_t i = 0; i < learners; i++)
        crew_add(crew,
                 "rlhf-learner --name learner-%u --bulk tcp://127.0.0.1:* %s "
                 "endpoints.shared_memory=%s",
                 i, common, i % 2 == 0 ? "true" : "false");
    crew_add(crew, "rlhf-reward --name reward-0 %s", common);
    crew_add(crew, "rlhf-actor --name actor-0 %s", common);
    crew_add(crew, "rlhf-actor --name actor-1 %s", common);
}

/* The run is over, or will never be. */
static inline void crew_check(struct crew *crew, const char *name, bool over)
{
    crew_stop(crew);
    if (!over) {
        scene_show(crew->log);
        fail_msg("%s: the run does not finish", name);
    }
    faults_check(name);
    faults_remove(name);
}

#endif
