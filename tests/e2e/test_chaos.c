/*
 * test_chaos.c -- runs whose processes meet through a man in the middle (chaos.h).
 *
 *     test_chaos [FILTER]
 *     test_chaos --seeds FROM N     N seeds of every kind; prints a line each
 *
 * The oracle is that of faults.h.  The daemons are started here, one by one, and started again
 * where they die, because `rlhf run` would let them meet directly.
 */
#include "tests/e2e/crew.h"

/* A whole run behind that man in the middle. */
static void survives(const char *name, uint64_t seed, const char *how, const char *rates,
                     uint32_t learners)
{
    struct crew crew = {0};
    char common[400];
    const int back = crew_port(), front = crew_port();
    snprintf(crew.log, sizeof crew.log, "%s.log", name);
    snprintf(common, sizeof common,
             "--config %s/faults.yaml run.dir=%s/%s workers.learners=%u "
             "endpoints.shared_memory=false", /* else nothing of weights came through here */
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
    crew_add(&crew, "rlhf-reward --name reward-0 --control tcp://127.0.0.1:%d %s", front,
             common);
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
    print_message("run %-8s seed %-4llu %u learners %5.1f s: %s", how, (unsigned long long)seed,
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
    {"reset", "messages", "reset=30"},
    {"parted", "messages", "partition=15"},
    {"all", "messages", "drop=15 twice=30 slow=40 flip=8 cut=8 reset=4 partition=4"},
    {"broken", "stream", "cut=30 reset=10"},
    {"halting", "stream", "stall=40 partition=10"},
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
