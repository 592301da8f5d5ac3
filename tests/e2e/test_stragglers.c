/*
 * test_stragglers.c -- real runs whose workers are slow: stopped for good, stopped again and again
 * for log-normal times, or computing something else.
 *
 * The oracle is that of faults.h: the weights of the undisturbed run, and a ledger that tells of
 * each slot once, from version max(0, step - lag).  Deadlines are so long that a run which waited
 * for one would not end in time.
 */
#include <math.h>

#include "tests/e2e/crew.h"

#define STOP_MS    40 /* median of how long an actor is stopped */
#define LAGS_STEPS 12

/* A run of two actors and two reward workers; [4], [5] the actors, [2], [3] the others. */
static void start_crew(struct crew *crew, const char *name, const char *overrides)
{
    char common[400];
    const int port = crew_port();
    *crew = (struct crew){0};
    snprintf(crew->log, sizeof crew->log, "%s.log", name);
    snprintf(common, sizeof common,
             "--control tcp://127.0.0.1:%d --config %s/faults.yaml run.dir=%s/%s %s", port, dir,
             dir, name, overrides);
    crew_add(crew, "rlhf-coordinator --http 127.0.0.1:0 %s", common);
    crew_add(crew, "rlhf-learner --name learner-0 --bulk tcp://127.0.0.1:* %s", common);
    for (int i = 0; i < 2; i++)
        crew_add(crew, "rlhf-reward --name reward-%d %s", i, common);
    for (int i = 0; i < 2; i++)
        crew_add(crew, "rlhf-actor --name actor-%d %s", i, common);
}

/* How often the words stand in the file. */
static unsigned count_words(const char *file, const char *words)
{
    struct buf text;
    unsigned n = 0;
    scene_read(file, &text);
    for (const char *at = text.data; (at = strstr(at, words)); at++)
        n++;
    buf_release(&text);
    return n;
}

#define SLOW_TIMEOUTS \
    "timeouts.dead_ms=600000 timeouts.lease_ms=600000 timeouts.stall_ms=600000"

/* The worker is stopped after two steps, and never goes on. */
static void survives_a_stopped(size_t who, const char *name)
{
    struct crew crew;
    held_begin();
    start_crew(&crew, name, SLOW_TIMEOUTS);
    held_end();
    crew_go_to(&crew, name, 2);
    kill(crew.member[who].pid, SIGSTOP);
    const uint64_t begin = clock_mono_ms();
    const bool over = crew_wait(&crew);
    const uint64_t ms = clock_mono_ms() - begin;
    const unsigned seconds = count_words(crew.log, "LEASE-SECOND");
    print_message("%s: %llu ms after it was stopped, %u second leases\n", name,
                  (unsigned long long)ms, seconds);
    /* All deadlines are ten minutes; whoever waited for one says so. */
    assert_int_equal(
        count_words(crew.log, "LEASE-EXPIRED") + count_words(crew.log, "PEER-GONE"), 0);
    crew_check(&crew, name, over);
}

static void a_stopped_actor_does_not_hold_up_the_run(void **state)
{
    (void)state;
    survives_a_stopped(5, "actor-stopped");
}

static void a_stopped_reward_worker_does_not_hold_up_the_run(void **state)
{
    (void)state;
    survives_a_stopped(3, "reward-stopped");
}

/* exp(z), z standard normal (Box and Muller, 1958), of this seed. */
static double lognormal(uint64_t seed, uint64_t k)
{
    const double u = (double)(1 + crew_draw(seed, 2 * k, 1u << 30)) / (double)(1u << 30);
    const double v = (double)crew_draw(seed, 2 * k + 1, 1u << 30) / (double)(1u << 30);
    return exp(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

/* Both actors work and are stopped in turn, each for a log-normal time (sigma 1), until the run is
 * over. */
static bool disturb(struct crew *crew, uint64_t seed)
{
    uint64_t next_ms[2] = {0, 0}, k = 0;
    bool stopped[2] = {false, false}, over = false, halted = false;
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    while (!over && !halted && clock_mono_ms() < deadline) {
        over = crew_turn(crew, &halted);
        for (int i = 0; i < 2 && !over; i++) {
            const pid_t pid = crew->member[4 + i].pid;
            if (clock_mono_ms() < next_ms[i] || pid == 0)
                continue;
            stopped[i] = !stopped[i];
            kill(pid, stopped[i] ? SIGSTOP : SIGCONT);
            const double ms = (stopped[i] ? STOP_MS : 10) * lognormal(seed, ++k);
            next_ms[i] = clock_mono_ms() + 1 + (uint64_t)ms;
        }
        scene_nap(1);
    }
    for (int i = 0; i < 2; i++)
        if (crew->member[4 + i].pid > 0)
            kill(crew->member[4 + i].pid, SIGCONT);
    return over || (!halted && crew_wait(crew));
}

/* --- an actor that computes something else ---------------------------------------------- */

/* Whether a second answer came while its step was still known: a fast machine may be past it. */
static bool sees_a_difference(uint64_t seed)
{
    struct crew crew;
    setenv("RLHF_FAULT", "actor_turn:1:bits:actor-1", 1);
    start_crew(&crew, "odd",
               SLOW_TIMEOUTS " run.steps=100 leases.second_after=1.5 checkpoint.every=50");
    unsetenv("RLHF_FAULT");
    const bool over = disturb(&crew, seed);
    crew_stop(&crew);
    const unsigned told = count_words(crew.log, "made different rollouts");
    const unsigned both = count_words(crew.log, "actor-0 and actor-1 made different rollouts") +
                          count_words(crew.log, "actor-1 and actor-0 made different rollouts");
    print_message("odd: %u second leases, %u differences\n",
                  count_words(crew.log, "LEASE-SECOND"), told);
    if (!over || told != both) {
        scene_show(crew.log);
        fail_msg("%u differences were told, %u of them name both", told, both);
    }
    faults_remove("odd");
    return told > 0;
}

static void a_difference_is_counted_and_names_both_workers(void **state)
{
    (void)state;
    for (uint64_t seed = 7; seed < 13; seed++)
        if (sees_a_difference(seed))
            return;
    print_message("no second answer came in time to be compared\n");
    skip();
}

/* --- staleness --------------------------------------------------------------------------- */

struct staleness {
    uint64_t lag, slots, most, wrong, steps;
};

static enum err_code see_staleness(void *ctx, const struct record *r, struct err *why)
{
    struct staleness *s = ctx;
    (void)why;
    s->steps += r->kind == RECORD_STEP;
    if (r->kind != RECORD_ROLLOUT || r->work != WIRE_WORK_ROLLOUT)
        return ERR_OK;
    const uint64_t stale = r->a - r->version;
    s->slots++;
    s->wrong += stale != (r->a < s->lag ? r->a : s->lag);
    s->most = stale > s->most ? stale : s->most;
    return ERR_OK;
}

static void check_staleness(const char *name, uint64_t lag)
{
    struct staleness s = {.lag = lag};
    struct ledger *ledger;
    char path[FILE_PATH_MAX];
    scene_path(path, name);
    check_ok(ledger_open_read(&ledger, path, &err));
    check_ok(ledger_each(ledger, 0, see_staleness, &s, &err));
    check_ok(ledger_close(ledger, &err));
    print_message("lag %llu: %llu slots, the greatest staleness is %llu\n",
                  (unsigned long long)lag, (unsigned long long)s.slots,
                  (unsigned long long)s.most);
    assert_int_equal(s.steps, LAGS_STEPS);
    assert_int_equal(s.slots, LAGS_STEPS * FAULTS_BATCH);
    assert_int_equal(s.wrong, 0);
    assert_int_equal(s.most, lag);
}

static void staleness_is_the_lag_whatever_actors_take(void **state)
{
    (void)state;
    static const uint64_t lags[] = {0, 1, 2, 4, 8};
    for (size_t i = 0; i < COUNT(lags); i++) {
        struct crew crew;
        char name[32], plain[32], overrides[128], final[64];
        char sha[HASH_HEX_BYTES], want[HASH_HEX_BYTES];
        snprintf(name, sizeof name, "lag-%u", (unsigned)lags[i]);
        snprintf(plain, sizeof plain, "plain-%u", (unsigned)lags[i]);
        snprintf(overrides, sizeof overrides, "pipeline.lag=%u run.steps=%d", (unsigned)lags[i],
                 LAGS_STEPS);
        faults_run(plain, overrides);
        start_crew(&crew, name, overrides);
        const bool over = disturb(&crew, 100 + lags[i]);
        crew_stop(&crew);
        print_message("%s: %u second leases\n", name, count_words(crew.log, "LEASE-SECOND"));
        assert_true(over);
        check_staleness(name, lags[i]);
        snprintf(final, sizeof final, "%s/final/model.safetensors", plain);
        scene_sha(final, want);
        snprintf(final, sizeof final, "%s/final/model.safetensors", name);
        scene_sha(final, sha);
        assert_string_equal(sha, want);
        faults_remove(name);
        faults_remove(plain);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stopped_actor_does_not_hold_up_the_run),
        cmocka_unit_test(a_stopped_reward_worker_does_not_hold_up_the_run),
        cmocka_unit_test(a_difference_is_counted_and_names_both_workers),
        cmocka_unit_test(staleness_is_the_lag_whatever_actors_take),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("e2e/stragglers", tests, faults_setup, faults_teardown);
}
