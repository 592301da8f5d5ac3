/*
 * test_faults.c -- every point of base/fault.h, in runs that are killed, or whose disk fails,
 * just there.
 *
 *     test_faults [FILTER]        a kill at some of the points, and a failing disk at some
 *     test_faults --all [FILTER]  a kill at each, at the first to the fourth coming by; an
 *                                 exit, a pause and each error at all that can have them
 *     test_faults --point NAME    all that at one point
 *
 * A point that nobody comes by, three times where it is not rare, fails the test: the mark that it
 * leaves is looked for.  But for the one that is a matter of chance.
 */
#include "base/fault.h"
#include "tests/e2e/faults.h"

static const struct {
    enum fault_point point;
    const char *who;
    bool fails;
} points[] = {
#define X(name, who, fails) {FAULT_##name, who, fails},
    FAULT_MAP(X)
#undef X
};

enum {
    HITS_SURE = 3, /* so often somebody comes by all points that are not rare */
    HITS = 4,
    CHANCES = 4 /* runs in which somebody may come by a point that is a matter of chance */
};

static bool everything;
static const char *only; /* this point; NULL: no matter which */

/* A point is of several learners where one of the others is to come by it; and of weights in
 * chunks where those are. */
static const char *overrides_of(size_t i)
{
    if (points[i].point == FAULT_weights_pull_chunk ||
        points[i].point == FAULT_weights_serve_chunk)
        return "endpoints.shared_memory=false";
    if (points[i].point == FAULT_weights_relay)
        return "endpoints.shared_memory=false workers.actors=6 "
               "endpoints.relay=tcp://127.0.0.1:*";
    return strncmp(points[i].who, "learner-", 8) == 0 ? "workers.learners=2" : "";
}

/* Points that a run, or each of several processes, comes by once come by no second time. */
static bool is_rare(enum fault_point point)
{
    switch (point) {
    case FAULT_ledger_create:
    case FAULT_ledger_created:
    case FAULT_ledger_close:
    case FAULT_coordinator_replayed:
    case FAULT_coordinator_started:
    case FAULT_coordinator_finished:
    case FAULT_worker_hello:
    case FAULT_worker_hello_said:
    case FAULT_worker_welcomed:
    case FAULT_worker_bye:
    case FAULT_weights_relay:
    case FAULT_final_rename:
    case FAULT_final_renamed:
    case FAULT_supervisor_stop: return true;
    default: return false;
    }
}

/* An actor has weights of another only where work of one version fell to both. */
static bool is_chance(enum fault_point point)
{
    return point == FAULT_weights_relay;
}

/* False: nobody came by. */
static bool survives_once(size_t i, int nth, const char *action)
{
    char name[64], marks[FILE_PATH_MAX], mark[FILE_PATH_MAX], spec[128];
    const char *point = fault_name(points[i].point);
    snprintf(name, sizeof name, "%s-%d-%s", point, nth, action);
    snprintf(spec, sizeof spec, "%s:%d:%s:%s", point, nth, action, points[i].who);
    scene_path(marks, "marks");
    check_ok(file_make_dir(marks, &err));
    setenv("RLHF_FAULT", spec, 1);
    setenv("RLHF_FAULT_DIR", marks, 1);
    const int tries = faults_run(name, overrides_of(i));
    unsetenv("RLHF_FAULT");
    unsetenv("RLHF_FAULT_DIR");
    check_ok(file_join(mark, marks, point, &err));
    const bool came = file_exists(mark);
    if (!came && nth <= HITS_SURE && !is_chance(points[i].point))
        fail_msg("%s: nobody came by", spec);
    faults_check(name);
    if (came)
        print_message("run %-40s commands %d\n", spec, tries);
    faults_remove(name);
    check_ok(file_remove_tree(marks, &err));
    return came;
}

static void survives(size_t i, int nth, const char *action)
{
    int chances = is_chance(points[i].point) ? CHANCES : 1;
    bool came;
    do
        came = survives_once(i, nth, action);
    while (!came && --chances > 0);
    if (!came)
        print_message("nobody came by %s\n", fault_name(points[i].point));
}

/* Every fifth point, and those where a half-done write is worst. */
static bool is_chosen(size_t i)
{
    if (everything)
        return !only || strcmp(only, fault_name(points[i].point)) == 0;
    switch (points[i].point) {
    case FAULT_ledger_commit:
    case FAULT_ledger_committed:
    case FAULT_weights_share:
    case FAULT_weights_mapped:
    case FAULT_weights_relay:
    case FAULT_train_half_updated:
    case FAULT_checkpoint_floats:
    case FAULT_checkpoint_renamed:
    case FAULT_final_renamed:
    case FAULT_exchange_chunk:
    case FAULT_supervisor_stop: return true;
    default: return i % 5 == 2;
    }
}

static void a_kill_at_any_point_changes_nothing(void **state)
{
    (void)state;
    assert_true(COUNT(points) >= 40);
    for (size_t i = 0; i < COUNT(points); i++)
        for (int nth = 1; nth <= (everything && !is_rare(points[i].point) ? HITS : 1); nth++)
            if (is_chosen(i))
                survives(i, nth, "kill");
}

static void a_failing_disk_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(points); i++) {
        if (points[i].fails && is_chosen(i))
            survives(i, 1, "enospc");
        if (points[i].fails && everything && is_chosen(i))
            survives(i, 1, "eio");
    }
}

static void an_exit_or_a_pause_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(points) && everything; i++) {
        if (!is_chosen(i))
            continue;
        survives(i, 1, "exit");
        survives(i, 1, "sleep");
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kill_at_any_point_changes_nothing),
        cmocka_unit_test(a_failing_disk_changes_nothing),
        cmocka_unit_test(an_exit_or_a_pause_changes_nothing),
    };
    only = argc == 3 && strcmp(argv[1], "--point") == 0 ? argv[2] : NULL;
    everything = only || (argc > 1 && strcmp(argv[1], "--all") == 0);
    if (!only && argc > 1 + everything)
        cmocka_set_test_filter(argv[1 + everything]);
    return cmocka_run_group_tests_name("e2e/faults", tests, faults_setup, faults_teardown);
}
