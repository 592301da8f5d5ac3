/*
 * test_weights.c -- runs whose actors have the weights in one way or the other.
 *
 *     test_weights [FILTER]
 *
 * The oracle is that of faults.h; that the way was the one meant, the log says.  What /metrics
 * tells of the ways is held against the size of the model: it is what each fetch must have had.
 */
#include "cli/status_fetch.h"
#include "tests/e2e/faults.h"
#include "tests/e2e/held.h"
#include "tests/e2e/scrape.h"

/* How often the run's log says this. */
static size_t said(const char *name, const char *words)
{
    char log[128];
    struct buf text;
    size_t n = 0;
    snprintf(log, sizeof log, "%s/run.log", name);
    scene_read(log, &text);
    for (const char *at = text.data; (at = strstr(at, words)); at++)
        n++;
    buf_release(&text);
    return n;
}

static void a_fault(const char *spec)
{
    setenv("RLHF_FAULT", spec, 1);
}

static void no_fault(void)
{
    unsetenv("RLHF_FAULT");
}

/* Nobody gives up a fetch, and has the next version in another way, because it takes long. */
#define PATIENT "timeouts.dead_ms=600000"

static void weights_are_mapped_on_one_host(void **state)
{
    (void)state;
    assert_int_equal(said("plain", "is mapped from the memory of"), 1);
    assert_int_equal(said("plain", "is fetched from"), 0);
}

static void weights_in_chunks_are_the_same(void **state)
{
    (void)state;
    faults_run("chunks", PATIENT " endpoints.shared_memory=false");
    assert_int_equal(said("chunks", "is mapped from the memory of"), 0);
    assert_int_equal(said("chunks", "is fetched from"), 1);
    faults_check("chunks");
    faults_remove("chunks");
}

/* The first version that is served has no room in shared memory, the others have; so had
 * version 0, which nobody asks for. */
static void weights_without_room_in_shared_memory_are_the_same(void **state)
{
    (void)state;
    a_fault("weights_share:2:enospc:learner");
    faults_run("full", PATIENT);
    no_fault();
    assert_int_equal(said("full", "WEIGHTS-UNSHARED"), 1);
    assert_int_equal(said("full", "No space left on device; served in chunks alone"), 1);
    assert_int_equal(said("full", "is fetched from"), 1);
    assert_int_equal(said("full", "is mapped from the memory of"), 1);
    faults_check("full");
    faults_remove("full");
}

static void weights_that_an_actor_cannot_map_are_the_same(void **state)
{
    (void)state;
    a_fault("weights_map:1:eio:actor");
    faults_run("unmapped", PATIENT);
    no_fault();
    assert_int_equal(said("unmapped", "; not mapped: /proc/"), 1);
    faults_check("unmapped");
    faults_remove("unmapped");
}

/* Bytes that the learner, or all actors, said they have sent in chunks. */
static uint64_t sent(const char *name, const char *who)
{
    char log[128];
    struct buf text;
    uint64_t sum = 0;
    snprintf(log, sizeof log, "%s/run.log", name);
    scene_read(log, &text);
    const char *from = text.data, *line;
    size_t n;
    while (file_next_line(&from, text.data + text.len, &line, &n)) {
        char at[512];
        snprintf(at, sizeof at, "%.*s", (int)n, line);
        const char *words = strstr(at, "WEIGHTS-SENT");
        const char *bytes = words ? strstr(words, ": ") : NULL;
        if (bytes && strstr(words, who))
            sum += strtoull(bytes + 2, NULL, 10);
    }
    buf_release(&text);
    return sum;
}

/* Who sends how much is told only: a process that a busy machine keeps silent is asked again, or
 * another in its place.  That a learner sends each chunk once, tests/unit/test_node_weights_relay.c
 * judges, where a test decides who waits for whom. */
static void weights_from_relays_are_the_same_with_any_number_of_actors(void **state)
{
    (void)state;
    assert_int_equal(
        scene_wait(scene_start("rlhf keygen --keys @/keys coordinator learner actor reward")),
        0);
    for (int actors = 1; actors <= 8; actors *= 2) {
        char name[32], overrides[256];
        snprintf(name, sizeof name, "relays-%d", actors);
        snprintf(overrides, sizeof overrides,
                 "workers.actors=%d endpoints.shared_memory=false "
                 "endpoints.relay=tcp://127.0.0.1:*%s",
                 actors, actors == 4 ? " endpoints.keys=@/keys" : "");
        faults_run(name, overrides);
        const uint64_t learner = sent(name, "learner-0"), relays = sent(name, "actor-");
        print_message("%d actors: the learner sent %llu bytes, actors %llu\n", actors,
                      (unsigned long long)learner, (unsigned long long)relays);
        assert_true(said(name, "is fetched from") > 0);
        assert_int_equal(said(name, "is mapped from the memory of"), 0);
        faults_check(name);
        faults_remove(name);
    }
}

/* --- /metrics ----------------------------------------------------------------------------- */

#define WATCH_STEPS "60" /* a fetch each, and some dozen heartbeats */

static double size_of_weights(void)
{
    char path[FILE_PATH_MAX];
    struct err why = {0};
    scene_path(path, "model");
    struct model *model = model_load(path, &why);
    assert_non_null(model);
    const double size = (double)model_bytes(model);
    model_free(model);
    return size;
}

/* Of the worker with this number; 0 where it has not told of any. */
static double series(const struct scrape *scrape, const char *role, int number,
                     const char *name)
{
    char key[128];
    snprintf(key, sizeof key, "rlhfd_weights_%s_total{peer=\"%s-%d\"}", name, role, number);
    for (size_t i = 0; i < scrape->n; i++)
        if (strcmp(scrape->series[i].key, key) == 0)
            return scrape->series[i].value;
    return 0;
}

struct ways {
    double fetches, server, relay, saved, mapped, learner_sent, actors_sent;
};

/* Each actor has had each of its versions, whichever way. */
static struct ways check_ways(const struct scrape *scrape, int actors, double size)
{
    struct ways sum = {.learner_sent = series(scrape, "learner", 0, "sent_bytes")};
    for (int i = 0; i < actors; i++) {
        const struct ways one = {.fetches = series(scrape, "actor", i, "fetches"),
                                 .server = series(scrape, "actor", i, "server_bytes"),
                                 .relay = series(scrape, "actor", i, "relay_bytes"),
                                 .saved = series(scrape, "actor", i, "saved_bytes"),
                                 .mapped = series(scrape, "actor", i, "mapped_bytes")};
        assert_true(one.server + one.relay + one.saved + one.mapped == one.fetches * size);
        sum.actors_sent += series(scrape, "actor", i, "sent_bytes");
        sum.fetches += one.fetches;
        sum.server += one.server;
        sum.relay += one.relay;
        sum.saved += one.saved;
        sum.mapped += one.mapped;
    }
    return sum;
}

static bool scrape_run(const char *name, struct scrape *scrape)
{
    char file[128], path[FILE_PATH_MAX];
    struct buf text;
    bool is_read = false;
    snprintf(file, sizeof file, "%s/http", name);
    scene_path(path, file);
    buf_init(&text, 1 << 20);
    if (file_read(path, &text, NULL) == ERR_OK && text.len > 0) {
        char address[128];
        snprintf(address, sizeof address, "%.*s", (int)strcspn(text.data, "\n"), text.data);
        buf_clear(&text);
        is_read = status_fetch(address, "/metrics", &text, NULL) == ERR_OK;
        if (is_read)
            scrape_read(scrape, &text);
    }
    buf_release(&text);
    return is_read;
}

/* A run with these overrides, which begins when all actors are there, scraped between its steps and
 * until it is over; what its actors have had at last. */
static struct ways watch(const char *name, int actors, const char *overrides)
{
    static struct scrape before, now;
    char all[512], run[FILE_PATH_MAX];
    int status;
    struct ways ways = {0};
    const double size = size_of_weights();
    snprintf(all, sizeof all,
             "run.steps=" WATCH_STEPS " timeouts.heartbeat_ms=20 " PATIENT " "
             "workers.actors=%d %s",
             actors, overrides);
    scene_path(run, name);
    held_begin_by_learner();
    const pid_t pid = faults_start(name, all);
    held_end();
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    bool all_live = false;
    before.n = 0;
    while (waitpid(pid, &status, WNOHANG) == 0 && clock_mono_ms() < deadline) {
        const pid_t still = held_process(run);
        if (scrape_run(name, &now)) {
            ways = check_ways(&now, actors, size);
            scrape_check_counters(&before, &now);
            before = now;
            all_live =
                all_live || scrape_value(&now, "rlhfd_peers_actor{state=\"live\"}") == actors;
        }
        if (still > 0 && all_live)
            kill(still, SIGCONT);
        scene_nap(5);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        faults_show(name);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    print_message("%s: %.0f fetches of %.0f bytes; from the learner %.0f, from actors %.0f, "
                  "saved %.0f, mapped %.0f\n",
                  name, ways.fetches, size, ways.server, ways.relay, ways.saved, ways.mapped);
    assert_true(ways.fetches >= 4);
    faults_remove(name);
    return ways;
}

static void metrics_tell_that_weights_were_mapped(void **state)
{
    (void)state;
    const struct ways ways = watch("mapped", 2, "");
    assert_true(ways.server + ways.relay + ways.saved == 0);
    assert_true(ways.learner_sent + ways.actors_sent == 0);
}

/* A model so small never comes fast, as a millisecond is the least that a fetch is said to take:
 * differences are asked for from the second fetch on. */
static void metrics_tell_what_differences_saved(void **state)
{
    (void)state;
    const struct ways ways = watch("saved", 1, "endpoints.shared_memory=false");
    assert_true(ways.relay + ways.mapped == 0);
    assert_true(ways.server > 0 && ways.saved > 0);
    assert_true(ways.learner_sent > 0 && ways.actors_sent == 0);
}

static void metrics_tell_what_relays_and_the_learner_sent(void **state)
{
    (void)state;
    /* So few rows that a step is work for all three, which nobody takes over while the learner
     * stands still and does not serve. */
    const struct ways ways =
        watch("relayed", 3,
              "endpoints.shared_memory=false endpoints.relay=tcp://127.0.0.1:* "
              "pipeline.batch=24 workers.actor_rows=2 leases.second_after=0");
    assert_true(ways.mapped == 0);
    assert_true(ways.server > 0 && ways.relay > 0);
    assert_true(ways.learner_sent > 0 && ways.actors_sent > 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_mapped_on_one_host),
        cmocka_unit_test(weights_in_chunks_are_the_same),
        cmocka_unit_test(weights_without_room_in_shared_memory_are_the_same),
        cmocka_unit_test(weights_that_an_actor_cannot_map_are_the_same),
        cmocka_unit_test(weights_from_relays_are_the_same_with_any_number_of_actors),
        cmocka_unit_test(metrics_tell_that_weights_were_mapped),
        cmocka_unit_test(metrics_tell_what_differences_saved),
        cmocka_unit_test(metrics_tell_what_relays_and_the_learner_sent),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("e2e/weights", tests, faults_setup, faults_teardown);
}
