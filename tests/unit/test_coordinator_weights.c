/*
 * test_coordinator_weights.c -- what workers tell of their weights, summed up and shown.
 *
 * Oracle: what each process of a worker had told last, added by hand.  Of a process all is so many
 * times SIZE that it shows where the numbers of two were mixed.
 */
#include "base/json.h"
#include "coordinator/status.h"
#include "tests/unit/core_bench.h"

#define SIZE 1000u

struct scene {
    struct bench *bench;
    struct bench_worker actor;
};

static struct core_stats stats;

/* Of a process that has fetched so often: a tenth came from the learner, a fifth by relays, three
 * tenths were saved, the rest is mapped. */
static struct wire_weights told(uint64_t fetches)
{
    const uint64_t all = fetches * SIZE;
    return (struct wire_weights){.sent_bytes = 3 * fetches,
                                 .server_bytes = all / 10,
                                 .relay_bytes = all / 5,
                                 .saved_bytes = 3 * all / 10,
                                 .mapped_bytes = 2 * all / 5,
                                 .wasted_bytes = 2 * fetches,
                                 .refused = 4 * fetches,
                                 .fetches = fetches,
                                 .fetch_ms = 50 - fetches};
}

static void join(struct scene *scene, uint64_t peer, uint64_t pid)
{
    struct message hello = bench_hello(WIRE_ROLE_ACTOR, "actor-0");
    hello.pid = pid;
    hello.nonce[1] = (unsigned char)peer;
    bench_join(scene->bench, &scene->actor, peer, hello);
    scene->actor.seq = 0; /* as node/worker counts */
}

static void beat(struct scene *scene, uint64_t fetches)
{
    bench_send(scene->bench, &scene->actor,
               (struct message){.type = MESSAGE_HEARTBEAT, .weights = told(fetches)});
}

/* The sums are those of so many fetches; the median is the last told. */
static void check_sums(const struct scene *scene, uint64_t fetches, uint64_t last)
{
    struct wire_weights want = told(fetches);
    core_stats(scene->bench->core, &stats);
    want.fetch_ms = told(last).fetch_ms;
    assert_int_equal(stats.peers, 1);
    assert_memory_equal(&stats.peer[0].weights, &want, sizeof want);
}

static int setup(void **state)
{
    static struct scene scene;
    scene = (struct scene){.bench = bench_new()};
    bench_open(scene.bench);
    bench_start(scene.bench);
    join(&scene, 1, 42);
    *state = &scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    bench_free(scene->bench);
    return 0;
}

static void a_heartbeat_tells_the_sum_of_all_before_it(void **state)
{
    struct scene *scene = *state;
    beat(scene, 2);
    check_sums(scene, 2, 2);
    beat(scene, 2);
    beat(scene, 5);
    check_sums(scene, 5, 5);
}

/* The coordinator was away for a moment; the worker is the same. */
static void a_new_session_of_the_same_process_adds_nothing(void **state)
{
    struct scene *scene = *state;
    beat(scene, 5);
    join(scene, 2, 42);
    check_sums(scene, 5, 5);
    beat(scene, 5);
    beat(scene, 6);
    check_sums(scene, 6, 6);
}

static void a_restarted_worker_adds_to_what_it_had_told(void **state)
{
    struct scene *scene = *state;
    beat(scene, 5);
    join(scene, 2, 43);
    beat(scene, 1);
    beat(scene, 8); /* by now more than the former */
    check_sums(scene, 13, 8);
    join(scene, 3, 44);
    beat(scene, 9); /* more than the former from the first */
    check_sums(scene, 22, 9);
}

/* A container's processes have the same number; that counts went back tells them apart. */
static void a_restarted_worker_of_the_same_pid_adds_too(void **state)
{
    struct scene *scene = *state;
    beat(scene, 5);
    join(scene, 2, 42);
    beat(scene, 0);
    beat(scene, 8);
    check_sums(scene, 13, 8);
    /* One count is ahead of the former's; all are another's. */
    struct wire_weights ahead = told(2);
    ahead.sent_bytes = told(9).sent_bytes;
    join(scene, 3, 42);
    bench_send(scene->bench, &scene->actor,
               (struct message){.type = MESSAGE_HEARTBEAT, .weights = ahead});
    core_stats(scene->bench->core, &stats);
    assert_int_equal(stats.peer[0].weights.fetches, 15);
    assert_int_equal(stats.peer[0].weights.sent_bytes, told(13 + 9).sent_bytes);
    assert_int_equal(stats.peer[0].weights.saved_bytes, told(15).saved_bytes);
}

static void a_heartbeat_that_later_ones_have_overtaken_adds_nothing(void **state)
{
    struct scene *scene = *state;
    beat(scene, 1);
    const uint64_t seq = scene->actor.seq;
    scene->actor.seq = seq + 2;
    beat(scene, 7); /* two are on their way yet */
    scene->actor.seq = seq + 1;
    beat(scene, 6);
    scene->actor.seq = seq;
    beat(scene, 5);
    check_sums(scene, 7, 7);
    beat(scene, 7); /* a number again is the same message again */
    check_sums(scene, 7, 7);
}

static void a_sum_stays_at_its_most(void **state)
{
    struct scene *scene = *state;
    const struct wire_weights most = {.sent_bytes = WIRE_WEIGHTS_MAX};
    for (uint64_t peer = 2; peer < 40; peer++) {
        join(scene, peer, peer);
        bench_send(scene->bench, &scene->actor,
                   (struct message){.type = MESSAGE_HEARTBEAT, .weights = most});
    }
    core_stats(scene->bench->core, &stats);
    assert_true(stats.peer[0].weights.sent_bytes == WIRE_WEIGHTS_MAX);
}

static void check_line(const struct buf *text, const char *line)
{
    if (!strstr(text->data, line))
        fail_msg("\"%s\" is not in:\n%s", line, text->data);
}

static void metrics_and_status_tell_of_them_by_worker(void **state)
{
    struct scene *scene = *state;
    struct status *status = status_new(&scene->bench->config);
    struct buf text;
    buf_init(&text, 1 << 20);
    core_stats(scene->bench->core, &stats);
    status_metrics(status, &stats, &text);
    assert_null(strstr(text.data, "rlhfd_weights_")); /* none were told of */
    beat(scene, 10);
    core_stats(scene->bench->core, &stats);
    buf_clear(&text);
    status_metrics(status, &stats, &text);
    check_line(&text, "\nrlhfd_weights_sent_bytes_total{peer=\"actor-0\"} 30\n");
    check_line(&text, "\nrlhfd_weights_server_bytes_total{peer=\"actor-0\"} 1000\n");
    check_line(&text, "\nrlhfd_weights_relay_bytes_total{peer=\"actor-0\"} 2000\n");
    check_line(&text, "\nrlhfd_weights_saved_bytes_total{peer=\"actor-0\"} 3000\n");
    check_line(&text, "\nrlhfd_weights_mapped_bytes_total{peer=\"actor-0\"} 4000\n");
    check_line(&text, "\nrlhfd_weights_wasted_bytes_total{peer=\"actor-0\"} 20\n");
    check_line(&text, "\nrlhfd_weights_refused_chunks_total{peer=\"actor-0\"} 40\n");
    check_line(&text, "\nrlhfd_weights_fetches_total{peer=\"actor-0\"} 10\n");
    check_line(&text, "\nrlhfd_weights_fetch_seconds{peer=\"actor-0\"} 0.04\n");
    buf_clear(&text);
    status_json(status, &stats, &text);
    struct err err = {0};
    json_t *object = json_parse(text.data, text.len, "status", &err);
    assert_non_null(object);
    const json_t *peer = json_array_get(json_object_get(object, "peers"), 0);
    const json_t *weights = json_object_get(peer, "weights");
#define X(name) \
    assert_int_equal(json_integer_value(json_object_get(weights, #name)), told(10).name);
    WIRE_WEIGHTS_MAP(X)
#undef X
    json_decref(object);
    buf_release(&text);
    status_free(status);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_heartbeat_tells_the_sum_of_all_before_it),
        TEST(a_new_session_of_the_same_process_adds_nothing),
        TEST(a_restarted_worker_adds_to_what_it_had_told),
        TEST(a_restarted_worker_of_the_same_pid_adds_too),
        TEST(a_heartbeat_that_later_ones_have_overtaken_adds_nothing),
        TEST(a_sum_stays_at_its_most),
        TEST(metrics_and_status_tell_of_them_by_worker),
    };
    return cmocka_run_group_tests_name("coordinator/weights", tests, NULL, NULL);
}
