/*
 * test_kills.c -- runs whose processes are killed at random, the coordinator among them.
 *
 *     test_kills [FILTER]
 *     test_kills --seeds FROM N
 */
#include "tests/e2e/crew.h"

#define KILLS_MAX 8 /* of one run */

/* Greatest milliseconds to the next kill: a run alone takes some 200, many kills stretch it. */
static uint64_t kill_within_ms(uint64_t seed)
{
    return 20u << seed % 4;
}

static uint64_t seed_from = 1, seeds = 1;

/* "rlhf-actor --name actor-1 ..." to "actor-1" */
static void kill_name(char out[32], const char *line)
{
    const char *name = strstr(line, "--name ");
    if (name)
        sscanf(name + 7, "%31s", out);
    else
        snprintf(out, 32, "coordinator");
}

static void survives_kills(uint64_t seed, uint32_t learners)
{
    struct crew crew = {0};
    char name[64];
    uint32_t kills[CREW_MAX] = {0};
    snprintf(name, sizeof name, "kills-%llu-%u", (unsigned long long)seed, learners);
    crew_run(&crew, "", "127.0.0.1", NULL, name, learners);
    bool over = false, halted = false;
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    uint64_t next_ms = clock_mono_ms() + crew_draw(seed, 0, kill_within_ms(seed));
    for (uint64_t k = 1; !over && !halted && clock_mono_ms() < deadline;) {
        over = crew_turn(&crew, &halted);
        scene_nap(1);
        if (over || k > KILLS_MAX || clock_mono_ms() < next_ms)
            continue;
        const size_t victim = crew_draw(seed, 2 * k, crew.n);
        if (crew.member[victim].pid > 0) {
            kill(crew.member[victim].pid, SIGKILL);
            kills[victim]++;
        }
        next_ms = clock_mono_ms() + crew_draw(seed, 2 * k++ + 1, kill_within_ms(seed));
    }
    char said[256] = "";
    for (size_t i = 0; i < crew.n; i++) {
        char who[32];
        kill_name(who, crew.member[i].line);
        const size_t n = strlen(said);
        snprintf(said + n, sizeof said - n, " %s %u", who, kills[i]);
    }
    print_message("run %s: kills%s\n", name, said);
    crew_check(&crew, name, over);
}

static void random_kills_change_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = seed_from; seed < seed_from + seeds; seed++)
        for (uint32_t learners = 1; learners <= 2; learners++)
            survives_kills(seed, learners);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_kills_change_nothing),
    };
    if (argc == 4 && strcmp(argv[1], "--seeds") == 0) {
        seed_from = strtoull(argv[2], NULL, 10);
        seeds = strtoull(argv[3], NULL, 10);
    } else if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name("e2e/kills", tests, faults_setup, faults_teardown);
}
