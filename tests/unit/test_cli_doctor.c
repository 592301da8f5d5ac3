/*
 * test_cli_doctor.c -- the rules of `rlhf doctor`, one by one.
 *
 * Oracle: a status in which all is well has no finding; each case changes one thing in it and
 * knows how many findings that is worth, and which names and times they have to tell.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/doctor.h"
#include "tests/unit/gate_sample.h"

/* A run of three actors where all is well. */
static const char healthy[] =
    "{'run':'demo','program':'" RLHF_VERSION "','wait':'generate',"
    "'waits_for':'actors, which generate','epoch':1,'steps':40,'trained':10,"
    "'step_age_ms':300,'step_ms':1000,'ledger_records':77,'ledger_durable':77,'paused':false,"
    "'logp_diff_max':0,'breaker':{'cooling':false,'trips':2,"
    "'last':{'signal':'kl','limit':'high','value':41.5},'rollback':null},"
    "'timeouts':{'heartbeat_ms':1000,'dead_ms':5000,'lease_ms':60000,'stall_ms':300000},"
    "'workers':{'learner':1,'actor':3,'reward':1},"
    "'counters':{'mismatches':0,'refused':0},"
    "'peers':["
    "{'name':'learner-0','role':'learner','state':'live','pid':11,'seen_age_ms':10,"
    "'progress_age_ms':20,'in_flight':0,'version':10},"
    "{'name':'reward-0','role':'reward','state':'live','pid':12,'seen_age_ms':10,"
    "'progress_age_ms':20,'in_flight':0},"
    "{'name':'actor-0','role':'actor','state':'live','pid':13,'seen_age_ms':10,"
    "'progress_age_ms':20,'in_flight':4,'lease_age_ms':900},"
    "{'name':'actor-1','role':'actor','state':'live','pid':14,'seen_age_ms':10,"
    "'progress_age_ms':30,'in_flight':4,'lease_age_ms':1000},"
    "{'name':'actor-2','role':'actor','state':'live','pid':15,'seen_age_ms':10,"
    "'progress_age_ms':40,'in_flight':4,'lease_age_ms':1100}]}";

static json_t *parse(const char *text)
{
    char copy[8192];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *value = json_loads(copy, JSON_DECODE_ANY, NULL);
    if (!value)
        fail_msg("no JSON: %s", copy);
    return value;
}

/* "peers.2.state" into the status. */
static void put(json_t *status, const char *path, const char *value)
{
    char word[64];
    json_t *at = status;
    size_t n;
    while (n = strcspn(path, "."), path[n] == '.') {
        snprintf(word, sizeof word, "%.*s", (int)n, path);
        at = json_is_array(at) ? json_array_get(at, strtoul(word, NULL, 10))
                               : json_object_get(at, word);
        assert_non_null(at);
        path += n + 1;
    }
    json_object_set_new(at, path, parse(value));
}

static struct buf out;

static uint32_t look(const json_t *status, const json_t *before)
{
    buf_release(&out);
    buf_init(&out, DOCTOR_OUT_MAX);
    struct doctor doctor = {.out = &out};
    doctor_live(&doctor, status, before);
    buf_puts(&out, "");
    return doctor.findings;
}

/* One thing is otherwise: so many findings, which say this. */
static void check(const char *path, const char *value, uint32_t findings, const char *words)
{
    json_t *status = parse(healthy);
    put(status, path, value);
    const uint32_t got = look(status, NULL);
    json_decref(status);
    if (got != findings || (findings > 0 && !strstr(out.data, words)))
        fail_msg("%s = %s: %u findings, wanted %u with \"%s\":\n%s", path, value, got, findings,
                 words, out.len > 0 ? out.data : "");
}

static void where_all_is_well_nothing_is_found(void **state)
{
    (void)state;
    check("epoch", "1", 0, "");
}

static void who_is_silent_is_named_with_its_age(void **state)
{
    (void)state;
    json_t *status = parse(healthy);
    put(status, "peers.3.state", "'suspect'");
    put(status, "peers.3.seen_age_ms", "3100");
    assert_int_equal(look(status, NULL), 1);
    assert_non_null(strstr(out.data,
                           " 1  actor-1 (actor, pid 14) is silent: nothing was heard "
                           "of it for 3.1 s (it counts as gone after 5.0 s)\n    -> "));
    put(status, "peers.3.state", "'gone'");
    put(status, "peers.3.seen_age_ms", "600000");
    assert_int_equal(look(status, NULL), 1);
    assert_non_null(strstr(out.data, "actor-1 (actor, pid 14) is gone: nothing was heard of it "
                                     "for 10 min"));
    put(status, "workers.actor", "2"); /* nobody misses it */
    assert_int_equal(look(status, NULL), 0);
    json_decref(status);
}

static void the_last_of_a_role_is_missed_whatever_the_config_says(void **state)
{
    (void)state;
    json_t *status = parse(healthy);
    put(status, "workers.reward", "0");
    put(status, "peers.1.state", "'gone'");
    put(status, "peers.1.seen_age_ms", "9000");
    assert_int_equal(look(status, NULL), 1);
    assert_non_null(strstr(out.data, "reward-0 (reward, pid 12) is gone"));
    json_decref(status);
}

static void a_role_that_never_came_is_missed(void **state)
{
    (void)state;
    json_t *status = parse(healthy);
    json_array_remove(json_object_get(status, "peers"), 0);
    assert_int_equal(look(status, NULL), 1);
    assert_non_null(strstr(out.data, "no learner has ever connected"));
    json_array_clear(json_object_get(status, "peers"));
    assert_int_equal(look(status, NULL), 3);
    json_decref(status);
}

static void an_old_lease_is_named(void **state)
{
    (void)state;
    check("peers.2.lease_age_ms", "61000", 1,
          "actor-0 (actor) has had a lease for 61.0 s, several "
          "times as long as others of its kind, and last moved 0.0 s ago\n    -> it works and "
          "answers nothing");
    check("peers.2.lease_age_ms", "5500", 1, "several times as long");
    check("peers.2.lease_age_ms", "3900", 0, ""); /* not four times the median */
    json_t *status = parse(healthy);
    put(status, "peers.3.lease_age_ms", "2000");
    put(status, "peers.4.lease_age_ms", "2000");
    put(status, "peers.2.lease_age_ms", "7900"); /* long, and not four times the median */
    assert_int_equal(look(status, NULL), 0);
    put(status, "peers.2.lease_age_ms", "8100");
    assert_int_equal(look(status, NULL), 1);
    json_decref(status);
    check("peers.1.lease_age_ms", "61000", 1,
          "reward-0 (reward) has had a lease for 61.0 s, and");
}

/* In the first step; later its usual time tells. */
static void a_service_that_has_not_answered_is_suspected(void **state)
{
    (void)state;
    json_t *status = parse(healthy);
    put(status, "services", "1");
    put(status, "step_ms", "0");
    put(status, "step_age_ms", "15000");
    put(status, "peers.1.in_flight", "8");
    put(status, "peers.1.lease_age_ms", "9900");
    assert_int_equal(look(status, NULL), 0);
    put(status, "peers.1.lease_age_ms", "12000");
    assert_int_equal(look(status, NULL), 1);
    assert_non_null(strstr(out.data,
                           "reward-0 (reward) has waited for 12.0 s for the scores of 8 "
                           "samples, and works: a service that it asks"));
    put(status, "services", "0");
    assert_int_equal(look(status, NULL), 0);
    put(status, "services", "1");
    put(status, "step_ms", "1000");
    put(status, "step_age_ms", "1000");
    assert_int_equal(look(status, NULL), 0);
    put(status, "step_ms", "0");
    put(status, "step_age_ms", "15000");
    put(status, "peers.1.progress_age_ms", "4000"); /* it is not what it waits for */
    assert_int_equal(look(status, NULL), 0);
    put(status, "peers.1.progress_age_ms", "20");
    put(status, "step_age_ms", "70000");
    put(status, "peers.1.lease_age_ms", "65000");
    put(status, "wait", "'score'");
    assert_int_equal(look(status, NULL), 2); /* the step's, and the lease's */
    assert_null(strstr(out.data, "a service that it asks"));
    json_decref(status);
}

static void a_step_that_does_not_advance_names_phase_and_culprit(void **state)
{
    (void)state;
    check("step_age_ms", "5900", 0, "");
    check(
        "step_age_ms", "6100", 1,
        "step 10 has not come to an end for 6.1 s (one took 1.0 s); it waits for actors, which "
        "generate: actor-2 has 4 in hand and works, its oldest lease is of 1.1 s\n    -> it "
        "works and answers nothing");
    static const struct {
        const char *wait, *number, *name;
    } phases[] = {{"'train'", "0", "learner-0"},
                  {"'score'", "1", "reward-0"},
                  {"'score references'", "1", "reward-0"}};
    for (size_t i = 0; i < COUNT(phases); i++) {
        char path[64];
        json_t *status = parse(healthy);
        put(status, "step_age_ms", "60000");
        put(status, "wait", phases[i].wait);
        snprintf(path, sizeof path, "peers.%s.in_flight", phases[i].number);
        put(status, path, "1");
        assert_int_equal(look(status, NULL), 1);
        if (!strstr(out.data, phases[i].name))
            fail_msg("%s: %s", phases[i].wait, out.data);
        put(status, "paused", "true"); /* then it is no wonder */
        assert_int_equal(look(status, NULL), 1);
        assert_non_null(strstr(out.data, "somebody paused the run, after step 10"));
        json_decref(status);
    }
    json_t *first = parse(healthy);
    put(first, "step_ms", "0"); /* nobody knows how long one takes */
    put(first, "step_age_ms", "59000");
    assert_int_equal(look(first, NULL), 0);
    put(first, "step_age_ms", "61000");
    assert_int_equal(look(first, NULL), 1);
    json_decref(first);
}

/* Not moving is told from working, and that nobody has the work from both. */
static void who_does_not_move_is_told_from_who_works(void **state)
{
    (void)state;
    json_t *status = parse(healthy);
    put(status, "step_age_ms", "9000");
    put(status, "peers.3.progress_age_ms", "8000");
    assert_int_equal(look(status, NULL), 1);
    assert_non_null(strstr(out.data,
                           "actor-1 has 4 in hand and has not moved for 8.0 s\n    -> "
                           "look at that one first"));
    put(status, "wait", "'reward'");
    put(status, "waits_for", "'a reward worker to connect'");
    assert_int_equal(look(status, NULL), 1);
    assert_non_null(strstr(out.data, "it waits for a reward worker to connect\n    -> start "
                                     "one"));
    put(status, "wait", "'generate'");
    put(status, "step_age_ms", "300");
    put(status, "peers.3.lease_age_ms", "61000");
    assert_int_equal(look(status, NULL), 1);
    assert_non_null(strstr(out.data, "and told of no progress for 8.0 s\n    -> it is slow"));
    json_decref(status);
}

/* As where each pod has a name of its own: of hundreds that went some are missed, the last. */
static void of_many_that_went_the_last_are_missed(void **state)
{
    (void)state;
    json_t *status = parse(healthy), *peers = json_object_get(status, "peers");
    for (int i = 0; i < 20; i++) {
        char peer[256];
        snprintf(peer, sizeof peer,
                 "{'name':'pod-%d','role':'actor','state':'gone','pid':7,'seen_age_ms':%d}", i,
                 1000 * (20 - i));
        json_array_append_new(peers, parse(peer));
    }
    assert_int_equal(look(status, NULL), 0);
    put(status, "peers.3.state", "'gone'");
    put(status, "peers.3.seen_age_ms", "900000");
    put(status, "peers.4.state", "'gone'");
    put(status, "peers.4.seen_age_ms", "900000");
    assert_int_equal(look(status, NULL), 2);
    assert_non_null(strstr(out.data, "pod-19 (actor, pid 7) is gone"));
    assert_non_null(strstr(out.data, "pod-18 (actor, pid 7) is gone"));
    put(status, "workers.actor", "0"); /* some are here: nobody is missed */
    assert_int_equal(look(status, NULL), 0);
    put(status, "peers.2.state", "'gone'");
    put(status, "peers.2.seen_age_ms", "900000");
    assert_int_equal(look(status, NULL), 1); /* the last of a role always */
    assert_non_null(strstr(out.data, "pod-19 (actor, pid 7) is gone"));
    json_decref(status);
}

static void a_disk_that_takes_nothing_is_noticed(void **state)
{
    (void)state;
    json_t *before = parse(healthy), *status = parse(healthy);
    put(before, "ledger_records", "80");
    put(status, "ledger_records", "95");
    assert_int_equal(look(status, NULL), 0); /* one look is not enough */
    assert_int_equal(look(status, before), 1);
    assert_non_null(strstr(out.data, "18 records wait for the disk"));
    put(status, "ledger_durable", "78");
    assert_int_equal(look(status, before), 0);
    json_decref(before);
    json_decref(status);
}

static void what_a_worker_says_went_wrong_is_passed_on(void **state)
{
    (void)state;
    json_t *status = parse(healthy);
    put(status, "peers.1.failure", "'helpful: HTTP 503'");
    put(status, "peers.1.failure_age_ms", "1500");
    assert_int_equal(look(status, NULL), 1);
    assert_non_null(strstr(out.data,
                           "reward-0 (reward) failed 1.5 s ago, as did all that score: "
                           "helpful: HTTP 503\n"));
    put(status, "peers.1.failure_age_ms", "61000"); /* history */
    assert_int_equal(look(status, NULL), 0);
    put(status, "peers.1.failure_age_ms", "10");
    put(status, "peers.1.failure", "'\\u001b[31mred'");
    look(status, NULL);
    assert_non_null(strstr(out.data, "\\x1b[31mred"));
    json_decref(status);
}

static void what_must_be_the_same_and_is_not_is_said(void **state)
{
    (void)state;
    check("logp_diff_max", "0.25", 1, "log-probs of actor and learner were 0.25 nats apart");
    check("logp_diff_max", "null", 0, "");
    check("counters.mismatches", "2", 1, "2 rollouts were made twice with different bits");
    check("counters.refused", "3", 1, "3 results were refused");
    check("program", "'0.0.1'", 1, "the coordinator is version 0.0.1, this program is");
    check("peers.0.version", "4", 1,
          "learner-0 came back: it holds version 4, the run has "
          "trained 10");
    check("peers.0.version", "9", 0, ""); /* its result is on its way to the disk */
}

static void an_open_breaker_is_said(void **state)
{
    (void)state;
    check("breaker.cooling", "true", 1,
          "the breaker is open: kl high, at 41.5, set a step aside, 2 trips so far\n");
    json_t *status = parse(healthy);
    put(status, "breaker.rollback",
        "{'rollbacks':3,'base':8,'target':12,'lr_scale':0.25,'beta_scale':4}");
    assert_int_equal(look(status, NULL), 0); /* it is closed again */
    put(status, "breaker.cooling", "true");
    assert_int_equal(look(status, NULL), 1);
    assert_non_null(strstr(out.data, "2 trips so far; 3 rollbacks, the last to version 8, "
                                     "learning rates now times 0.25, beta times 4\n"));
    assert_non_null(strstr(out.data, "the events ROLLBACK in run.log"));
    json_decref(status);
}

static void a_candidate_that_did_not_pass_is_told(void **state)
{
    (void)state;
    check("gate", "{'last': {'decision': 'PASS', 'version': 8, 'why': ''}}", 0, "");
    check("gate",
          "{'last': {'decision': 'NSF', 'version': 8, 'why': '', 'mean': 0.25, 'upper': 0.5, "
          "'limit': 0.3, 'n': 60}}",
          1,
          "the gate did not pass version 8: a mean cost of 0.25, bounded by 0.5, limit 0.3, in "
          "60 answers");
    check("gate",
          "{'last': {'decision': 'NSF', 'version': null, 'model': 'other', 'why': 'spent'}}", 1,
          "the gate did not pass other: spent\n");
    check("gate", "{'fault': 'gate.jsonl:3: no JSON'}", 1, "cannot be read: gate.jsonl:3:");
}

static void what_the_gate_left_in_a_directory_is_told(void **state)
{
    (void)state;
    char dir[] = "/tmp/doctor-XXXXXX";
    assert_non_null(mkdtemp(dir));
    buf_release(&out);
    buf_init(&out, DOCTOR_OUT_MAX);
    struct doctor doctor = {.out = &out};
    doctor_gate_of_dir(&doctor, dir);
    assert_int_equal(doctor.findings, 0);
    gate_sample_write(dir, "the disk is full");
    doctor_gate_of_dir(&doctor, dir);
    assert_int_equal(doctor.findings, 1);
    assert_non_null(
        strstr(out.data, "the gate came to no verdict on version 8: the disk is full\n"));
    check_ok(file_remove_tree(dir, &err));
}

static void ignore_durable(void *ctx, uint64_t seq)
{
    (void)ctx, (void)seq;
}

static void ignore_failed(void *ctx, const struct err *err)
{
    (void)ctx, (void)err;
}

/* Write so many of a run's records, and look at it when nobody runs it. */
static uint32_t look_back(const char *dir, const struct record *records, size_t n)
{
    static const struct ledger_ops ops = {.durable = ignore_durable, .failed = ignore_failed};
    static const struct hash hash = {{1}};
    struct ledger *ledger = NULL;
    check_ok(ledger_open(&ledger, dir, &hash, &err));
    check_ok(ledger_start(ledger, &ops, &err));
    for (size_t i = 0; i < n; i++)
        check_ok(ledger_append(ledger, &records[i], &err));
    check_ok(ledger_close(ledger, &err));
    buf_release(&out);
    buf_init(&out, DOCTOR_OUT_MAX);
    struct doctor doctor = {.out = &out};
    doctor_past(&doctor, dir, "nobody answers");
    return doctor.findings;
}

static void a_halt_is_told_until_somebody_starts_the_run_again(void **state)
{
    (void)state;
    static const struct record records[] = {
        {.kind = RECORD_EPOCH, .seq = 1, .epoch = 1, .worker = ""},
        {.kind = RECORD_EVENT, .seq = 2, .id = "HALT", .text = "the KL ran away", .worker = ""},
        {.kind = RECORD_PAUSE, .seq = 3, .paused = true, .worker = ""},
        {.kind = RECORD_EPOCH, .seq = 4, .epoch = 2, .worker = ""},
    };
    char dir[] = "/tmp/doctor-XXXXXX";
    assert_non_null(mkdtemp(dir));
    assert_int_equal(look_back(dir, records, 3), 1);
    assert_non_null(strstr(out.data, "the run halted after 0 steps: the KL ran away\n"));
    assert_int_equal(look_back(dir, records + 3, 1), 1);
    assert_non_null(strstr(out.data, "no coordinator runs: 0 steps are trained"));
    assert_non_null(strstr(out.data, "; it is paused (rlhf resume)"));
    check_ok(file_remove_tree(dir, &err));
}

static int release(void **state)
{
    (void)state;
    buf_release(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_all_is_well_nothing_is_found),
        cmocka_unit_test(who_is_silent_is_named_with_its_age),
        cmocka_unit_test(the_last_of_a_role_is_missed_whatever_the_config_says),
        cmocka_unit_test(a_role_that_never_came_is_missed),
        cmocka_unit_test(an_old_lease_is_named),
        cmocka_unit_test(a_service_that_has_not_answered_is_suspected),
        cmocka_unit_test(a_step_that_does_not_advance_names_phase_and_culprit),
        cmocka_unit_test(who_does_not_move_is_told_from_who_works),
        cmocka_unit_test(of_many_that_went_the_last_are_missed),
        cmocka_unit_test(a_disk_that_takes_nothing_is_noticed),
        cmocka_unit_test(what_a_worker_says_went_wrong_is_passed_on),
        cmocka_unit_test(what_must_be_the_same_and_is_not_is_said),
        cmocka_unit_test(an_open_breaker_is_said),
        cmocka_unit_test(a_candidate_that_did_not_pass_is_told),
        cmocka_unit_test(what_the_gate_left_in_a_directory_is_told),
        cmocka_unit_test(a_halt_is_told_until_somebody_starts_the_run_again),
    };
    return cmocka_run_group_tests_name("cli/doctor", tests, NULL, release);
}
