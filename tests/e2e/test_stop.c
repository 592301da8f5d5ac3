/*
 * test_stop.c -- runs whose processes stand still for some seconds (SIGSTOP), and runs over a
 * network that is gone, or narrow, for some seconds, or whose connections are reset (a network
 * namespace, where one can be had).
 *
 *     test_stop [FILTER]
 *     test_stop --seeds FROM N
 */
#include "tests/e2e/crew.h"

static uint64_t seed_from = 1, seeds = 1;

/* --- SIGSTOP ------------------------------------------------------------------------------ */

/* Each in turn stands still for 0.3 to 3 s, at an instant of the seed's. */
static void survives_stops(uint64_t seed, uint32_t learners)
{
    struct crew crew = {0};
    char name[64];
    snprintf(name, sizeof name, "stop-%llu-%u", (unsigned long long)seed, learners);
    crew_run(&crew, "", "127.0.0.1", NULL, name, learners);
    bool over = false, halted = false;
    size_t stops = 0;
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    uint64_t next_ms = clock_mono_ms() + crew_draw(seed, 0, 150);
    for (uint64_t k = 1; !over && !halted && clock_mono_ms() < deadline;) {
        over = crew_turn(&crew, &halted);
        scene_nap(5);
        const pid_t pid = crew.member[(seed + k) % crew.n].pid;
        if (over || k > 12 || clock_mono_ms() < next_ms || pid == 0)
            continue;
        kill(pid, SIGSTOP);
        scene_nap(300 + (long)crew_draw(seed, k, 2700));
        kill(pid, SIGCONT);
        stops++;
        next_ms = clock_mono_ms() + crew_draw(seed, ++k + 100, 40);
    }
    print_message("run %s: stops %zu\n", name, stops);
    crew_check(&crew, name, over);
}

static void processes_that_stand_still_change_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = seed_from; seed < seed_from + seeds; seed++)
        for (uint32_t learners = 1; learners <= 2; learners++)
            survives_stops(seed, learners);
}

/* --- a network that is gone --------------------------------------------------------------- */

static char space[32];   /* the namespace */
static char host[2][16]; /* this side's address, and the one in there */
static bool space_is_open;

static bool ip(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool ip(const char *format, ...)
{
    char words[256], line[sizeof words + 32];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    snprintf(line, sizeof line, "{ ip %s; } >/dev/null 2>&1", words);
    return system(line) == 0;
}

static void space_close(void)
{
    ip("link del v%s", space);
    ip("netns del %s", space);
}

/* Both names and addresses are this process's: others may run at the same time. */
static bool space_open(void)
{
    const unsigned net = (unsigned)getpid() % (1 << 14) * 4; /* of four addresses */
    for (unsigned i = 0; i < 2; i++)
        snprintf(host[i], sizeof host[i], "10.213.%u.%u", net >> 8, (net & 255) + 1 + i);
    return ip("netns add %s", space) &&
           ip("link add v%s type veth peer name w%s netns %s", space, space, space) &&
           ip("addr add %s/30 dev v%s", host[0], space) && ip("link set v%s up", space) &&
           ip("-n %s addr add %s/30 dev w%s", space, host[1], space) &&
           ip("-n %s link set w%s up", space, space) && ip("-n %s link set lo up", space);
}

static int setup(void **state)
{
    snprintf(space, sizeof space, "rlhf%d", (int)getpid());
    guard_undo = space_close;
    faults_setup(state);
    space_is_open = space_open();
    if (space_is_open)
        crew_make_keys();
    else
        print_message("no network namespace can be had here\n");
    return 0;
}

/* What happens to the cable behind which the coordinator is. */
struct accident {
    const char *name;
    unsigned times;
    bool (*begin)(void);
    void (*end)(void);
    long most_ms; /* from one to the other */
};

/* That end, for with this one down the way out by the default route would be taken. */
static bool cable_out(void)
{
    return ip("-n %s link set w%s down", space, space);
}

static void cable_in(void)
{
    ip("-n %s link set w%s up", space, space);
}

/* 800 kbit/s, of which a queue of half a second is kept and the rest is lost: of either side what
 * it sends. */
static bool cable_narrow(void)
{
    static const char tbf[] = "root tbf rate 800kbit burst 16kb latency 500ms";
    return ip("netns exec %s tc qdisc replace dev w%s %s && tc qdisc replace dev v%s %s", space,
              space, tbf, space, tbf);
}

static void cable_wide(void)
{
    ip("netns exec %s tc qdisc del dev w%s root; tc qdisc del dev v%s root", space, space,
       space);
}

/* Each connection over it is reset, and both ends are told so. */
static bool connections_reset(void)
{
    return ip("netns exec %s ss -K src %s", space, host[1]);
}

static void connections_may_come(void)
{
}

static void survives_accidents(const struct accident *a, uint64_t seed)
{
    struct crew crew = {0};
    char name[64], prefix[128];
    snprintf(name, sizeof name, "%s-%llu", a->name, (unsigned long long)seed);
    snprintf(prefix, sizeof prefix, "/usr/sbin/ip netns exec %s %s/", space, RLHF_BIN);
    crew_run(&crew, prefix, host[1], "keys", name, 1 + (uint32_t)(seed % 2));
    bool over = false, halted = false;
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    uint64_t next_ms = clock_mono_ms() + crew_draw(seed, 0, 300);
    size_t times = 0;
    for (uint64_t k = 1; !over && !halted && clock_mono_ms() < deadline;) {
        over = crew_turn(&crew, &halted);
        scene_nap(5);
        if (over || k > a->times || clock_mono_ms() < next_ms)
            continue;
        times += a->begin();
        scene_nap(a->most_ms > 0 ? 300 + (long)crew_draw(seed, k, (uint64_t)a->most_ms) : 0);
        a->end();
        next_ms = clock_mono_ms() + 100 + crew_draw(seed, ++k + 100, 300);
    }
    print_message("run %s: times %zu\n", name, times);
    crew_check(&crew, name, over);
}

static void survives_seeds(const struct accident *a)
{
    if (!space_is_open || !a->begin())
        skip();
    a->end();
    for (uint64_t seed = seed_from; seed < seed_from + seeds; seed++)
        survives_accidents(a, seed);
}

static void a_pulled_cable_changes_nothing(void **state)
{
    (void)state;
    survives_seeds(&(struct accident){"cable", 6, cable_out, cable_in, 2700});
}

static void a_narrow_cable_changes_nothing(void **state)
{
    (void)state;
    survives_seeds(&(struct accident){"narrow", 3, cable_narrow, cable_wide, 2700});
}

static void connections_that_are_reset_change_nothing(void **state)
{
    (void)state;
    survives_seeds(&(struct accident){"reset", 20, connections_reset, connections_may_come, 0});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_that_stand_still_change_nothing),
        cmocka_unit_test(a_pulled_cable_changes_nothing),
        cmocka_unit_test(a_narrow_cable_changes_nothing),
        cmocka_unit_test(connections_that_are_reset_change_nothing),
    };
    if (argc == 4 && strcmp(argv[1], "--seeds") == 0) {
        seed_from = strtoull(argv[2], NULL, 10);
        seeds = strtoull(argv[3], NULL, 10);
    } else if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name("e2e/stop", tests, setup, faults_teardown);
}
