/*
 * test_weights.c -- runs whose actors have the weights in one way or the other.
 *
 *     test_weights [FILTER]
 *
 * The oracle is that of faults.h; that the way was the one meant, the log says.
 */
#include "tests/e2e/faults.h"

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

static void weights_are_mapped_on_one_host(void **state)
{
    (void)state;
    assert_int_equal(said("plain", "is mapped from the memory of"), 1);
    assert_int_equal(said("plain", "is fetched from"), 0);
}

static void weights_in_chunks_are_the_same(void **state)
{
    (void)state;
    faults_run("chunks", "endpoints.shared_memory=false");
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
    faults_run("full", "");
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
    faults_run("unmapped", "");
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_mapped_on_one_host),
        cmocka_unit_test(weights_in_chunks_are_the_same),
        cmocka_unit_test(weights_without_room_in_shared_memory_are_the_same),
        cmocka_unit_test(weights_that_an_actor_cannot_map_are_the_same),
        cmocka_unit_test(weights_from_relays_are_the_same_with_any_number_of_actors),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("e2e/weights", tests, faults_setup, faults_teardown);
}
