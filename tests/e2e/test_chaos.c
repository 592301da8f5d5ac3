/*
 * test_chaos.c -- runs whose processes meet through a man in the middle (chaos.h).
 *
 *     test_chaos [FILTER]
 *     test_chaos --seeds FROM N     N seeds of every kind; prints a line each
 *
 * The oracle is that of faults.h.  The daemons are started here, one by one, and started again
 * where they die, because `rlhf run` would let them meet directly.
 */
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/e2e/faults.h"

#define CREW_MAX         8
#define CREW_DEADLINE_MS 120000u

struct member {
    char line[512]; /* its command */
    pid_t pid;      /* 0: none */
    int lives;
};

/* [0] the coordinator, [1] the man in the middle, then workers. */
struct crew {
    struct member member[CREW_MAX];
    size_t n;
    char log[64];
};

static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static void crew_start(struct crew *crew, struct member *member)
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
    const char *where = strcmp(argv[0], "chaos") == 0 ? CHAOS_BIN : RLHF_BIN;
    check_ok(file_join(program, where, argv[0], &err));
    assert_int_equal(posix_spawn(&member->pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    member->lives++;
}

static void crew_add(struct crew *crew, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void crew_add(struct crew *crew, const char *format, ...)
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

static void crew_stop(struct crew *crew)
{
    for (size_t i = 0; i < crew->n; i++)
        if (crew->member[i].pid > 0) {
            kill(crew->member[i].pid, i == 1 ? SIGTERM : SIGKILL);
            waitpid(crew->member[i].pid, NULL, 0);
        }
}

/* Until the coordinator says that the run is over.  A worker told goodbye is done. */
static bool crew_wait(struct crew *crew)
{
    const uint64_t deadline = clock_mono_ms() + CREW_DEADLINE_MS;
    while (clock_mono_ms() < deadline) {
        for (size_t i = 0; i < crew->n; i++) {
            struct member *member = &crew->member[i];
            int status = 0;
            if (member->pid == 0 || waitpid(member->pid, &status, WNOHANG) != member->pid)
                continue;
            member->pid = 0;
            const bool done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
            if (i == 0 && done)
                return true;
            if (i == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 65)
                return false;
            if (!done)
                crew_start(crew, member);
        }
        scene_nap(5);
    }
    return false;
}

/* A whole run behind that man in the middle; a worker is killed sometimes where `kills`. */
static void survives(const char *name, uint64_t seed, const char *how, const char *rates,
                     uint32_t learners)
{
    struct crew crew = {0};
    char common[300];
    const int back = free_port(), front = free_port();
    snprintf(crew.log, sizeof crew.log, "%s.log", name);
    snprintf(common, sizeof common, "--config %s/faults.yaml run.dir=%s/%s workers.learners=%u",
             dir, dir, name, learners);
    const uint64_t begun = clock_mono_ms();
    crew_add(&crew, "rlhf-coordinator --control tcp://127.0.0.1:%d --http 127.0.0.1:0 %s", back,
             common);
    scene_nap(50);
    crew_add(&crew, "chaos %s %llu tcp://127.0.0.1:%d tcp://127.0.0.1:%d %s", how,
             (unsigned long long)seed, front, back, rates);
    for (uint32_t i = 0; i < learners; i++)
        crew_add(&crew,
                 "rlhf-learner --name learner-%u --control tcp://127.0.0.1:%d --bulk "
                 "tcp://127.0.0.1:* %s",
                 i, front, common);
    crew_add(&crew, "rlhf-reward --name reward-0 --control tcp://127.0.0.1:%d %s", front, common);
    crew_add(&crew, "rlhf-actor --name actor-0 --control tcp://127.0.0.1:%d %s", front, common);
    crew_add(&crew, "rlhf-actor --name actor-1 --control tcp://127.0.0.1:%d %s", front, common);
    const bool over = crew_wait(&crew);
    crew_stop(&crew);
    if (!over) {
        scene_show(crew.log);
        fail_msg("chaos %s, seed %llu, %s, %u learners: the run does not finish", how,
                 (unsigned long long)seed, rates, learners);
    }
    faults_check(name);
    struct buf log;
    scene_read(crew.log, &log);
    const char *said = log.len > 1 ? log.data + log.len - 1 : log.data;
    while (said > log.data && said[-1] != '\n')
        said--;
    print_message("%-8s seed %-4llu %u learners %5.1f s: %s", how, (unsigned long long)seed,
                  learners, (double)(clock_mono_ms() - begun) / 1000.0, said);
    buf_release(&log);
    faults_remove(name);
}

static const struct {
    const char *name, *how, *rates;
} kinds[] = {
    {"lost", "messages", "drop=40"},
    {"doubled", "messages", "twice=100"},
    {"overtaken", "messages", "slow=150"},
    {"flipped", "messages", "flip=25"},
    {"cut", "messages", "cut=25"},
    {"reset", "messages", "reset=8"},
    {"parted", "messages", "partition=3"},
    {"all", "messages", "drop=15 twice=30 slow=40 flip=8 cut=8 reset=2 partition=1"},
    {"broken", "stream", "cut=10 reset=4"},
    {"halting", "stream", "stall=15 partition=2"},
    {"narrow", "stream", "limit=64"},
};

static void survive_kinds(uint64_t seed, const char *how)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s-%llu", kinds[i].name, (unsigned long long)seed);
        if (strcmp(kinds[i].how, how) == 0)
            survives(name, seed * 100 + i, how, kinds[i].rates, 1 + (uint32_t)((seed + i) % 2));
    }
}

static uint64_t seed_from = 1, seeds = 1;

static void spoilt_messages_change_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = seed_from; seed < seed_from + seeds; seed++)
        survive_kinds(seed, "messages");
}

static void broken_connections_change_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = seed_from; seed < seed_from + seeds; seed++)
        survive_kinds(seed, "stream");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spoilt_messages_change_nothing),
        cmocka_unit_test(broken_connections_change_nothing),
    };
    if (argc == 4 && strcmp(argv[1], "--seeds") == 0) {
        seed_from = strtoull(argv[2], NULL, 10);
        seeds = strtoull(argv[3], NULL, 10);
    } else if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name("e2e/chaos", tests, faults_setup, faults_teardown);
}
