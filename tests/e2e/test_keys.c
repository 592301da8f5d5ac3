/*
 * test_keys.c -- runs over TCP whose processes have keys, and strangers who would take part.
 *
 * Oracle: the weights of the same run without keys or TCP.
 */
#include "tests/e2e/crew.h"

static void a_run_with_keys_has_the_same_weights(void **state)
{
    (void)state;
    for (uint32_t learners = 1; learners <= 2; learners++) {
        struct crew crew = {0};
        char name[64];
        snprintf(name, sizeof name, "keys-%u", learners);
        crew_run(&crew, "", "127.0.0.1", "keys", name, learners);
        crew_check(&crew, name, crew_wait(&crew));
    }
}

static void rlhf_run_gives_each_of_its_processes_its_key(void **state)
{
    (void)state;
    char overrides[256];
    snprintf(overrides, sizeof overrides,
             "endpoints.keys=@/keys endpoints.control=tcp://127.0.0.1:%d "
             "endpoints.bulk=tcp://127.0.0.1:%d workers.learners=2",
             crew_port(), crew_port());
    assert_int_equal(faults_run("local", overrides), 1);
    faults_check("local");
    faults_remove("local");
}

static bool is_logged(const char *name, const char *words)
{
    struct buf text;
    scene_read(name, &text);
    const bool found = strstr(text.data, words) != NULL;
    buf_release(&text);
    return found;
}

static void wait_logged(const char *name, const char *words)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    while (!is_logged(name, words)) {
        if (clock_mono_ms() > deadline) {
            scene_show(name);
            fail_msg("%s says nothing of %s", name, words);
        }
        scene_nap(10);
    }
}

/* An actor without a key, and one with a key nobody knows, before those come who belong there. */
static void strangers_take_no_part(void **state)
{
    (void)state;
    struct crew crew = {.log = "strangers.log"};
    char common[300];
    snprintf(common, sizeof common,
             "--control tcp://127.0.0.1:%d --config %s/faults.yaml run.dir=%s/strangers",
             crew_port(), dir, dir);
    crew_add(&crew, "rlhf-coordinator --http 127.0.0.1:0 %s endpoints.keys=%s/keys", common,
             dir);
    crew_add(&crew, "rlhf-actor --name actor-7 %s", common);
    crew_add(&crew, "rlhf-actor --name actor-8 %s endpoints.keys=%s/strange-keys", common, dir);
    wait_logged(crew.log, "HANDSHAKE coordinator-0");
    wait_logged(crew.log, "KEY-REFUSED coordinator-0");
    crew_add(&crew, "rlhf-learner --bulk tcp://127.0.0.1:* %s endpoints.keys=%s/keys", common,
             dir);
    crew_add(&crew, "rlhf-reward %s endpoints.keys=%s/keys", common, dir);
    crew_add(&crew, "rlhf-actor --name actor-1 %s endpoints.keys=%s/keys", common, dir);
    const bool over =
        crew_wait(&crew); /* the strangers go on asking, and are stopped after it */
    assert_false(is_logged(crew.log, "actor-7 (actor, pid"));
    assert_false(is_logged(crew.log, "actor-8 (actor, pid"));
    assert_true(is_logged(crew.log, "actor-1 (actor, pid"));
    crew_check(&crew, "strangers", over);
}

static void a_coordinator_does_not_listen_to_the_world_without_keys(void **state)
{
    (void)state;
    char line[512];
    snprintf(line, sizeof line,
             "rlhf-coordinator --config @/faults.yaml --control tcp://0.0.0.0:%d", crew_port());
    assert_int_equal(scene_wait(scene_start(line)), 78);
    assert_true(is_logged("err", "could be reached from other machines"));
    snprintf(line, sizeof line,
             "rlhf-learner --config @/faults.yaml --control tcp://127.0.0.1:1 "
             "--bulk tcp://*:%d",
             crew_port());
    assert_int_equal(scene_wait(scene_start(line)), 78);
    assert_true(is_logged("err", "could be reached from other machines"));
}

static void a_process_without_a_key_of_its_own_does_not_start(void **state)
{
    (void)state;
    assert_int_equal(
        scene_wait(scene_start("rlhf-actor --config @/faults.yaml --name bob "
                               "--control tcp://127.0.0.1:1 endpoints.keys=@/keys")),
        74);
    assert_true(is_logged("err", "no key for bob"));
    assert_int_equal(
        scene_wait(scene_start("rlhf-actor --config @/faults.yaml --control tcp://127.0.0.1:1 "
                               "endpoints.keys=@/nowhere")),
        74);
    assert_true(is_logged("err", "nowhere/peers"));
}

/* dir/strange-keys: an actor's key that the coordinator of dir/keys does not know. */
static int setup(void **state)
{
    struct buf theirs, own;
    faults_setup(state);
    crew_make_keys();
    assert_int_equal(scene_wait(scene_start("rlhf keygen --keys @/strange-keys actor")), 0);
    scene_read("keys/peers", &theirs);
    scene_read("strange-keys/peers", &own);
    const char *line = strstr(theirs.data, "coordinator");
    buf_append(&own, line, strcspn(line, "\n") + 1);
    scene_write("strange-keys/peers", own.data);
    buf_release(&theirs);
    buf_release(&own);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_with_keys_has_the_same_weights),
        cmocka_unit_test(rlhf_run_gives_each_of_its_processes_its_key),
        cmocka_unit_test(strangers_take_no_part),
        cmocka_unit_test(a_coordinator_does_not_listen_to_the_world_without_keys),
        cmocka_unit_test(a_process_without_a_key_of_its_own_does_not_start),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("e2e/keys", tests, setup, faults_teardown);
}
