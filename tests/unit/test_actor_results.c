/* wrap: clock_mono_ms */
/*
 * test_actor_results.c -- what an actor holds back, and how it goes out.
 *
 * The oracle is the list of results as they were put in: what is sent of a lease must be that
 * list with those of other leases struck out, in the same order, and all of it in one message.
 */
#include "actor/results.h"
#include "base/clock.h"
#include "tests/test.h"

#define TOKENS_MAX 7u
#define LEASES     5u
#define PUT_MAX    64u

struct put {
    uint64_t lease;
    struct wire_item item;
    int32_t ids[TOKENS_MAX];
    float logp[TOKENS_MAX];
};

static struct put given[PUT_MAX]; /* all that went in, in order */
static size_t given_n, sent_items, sent_messages, sent_first;
static bool lease_sent[LEASES];
static enum err_code send_rc;
static uint64_t now_ms = 1000;

uint64_t __wrap_clock_mono_ms(void);
uint64_t __wrap_clock_mono_ms(void)
{
    return now_ms;
}

/* Holds a message against the list. */
enum err_code worker_send(struct worker *worker, const struct message *m, struct err *err)
{
    (void)worker;
    if (send_rc != ERR_OK)
        return err_set(err, send_rc, "the worker stops");
    const int32_t *ids = m->frame[0].data;
    const float *logp = m->frame[1].data;
    size_t i = 0, at = 0;
    while (lease_sent[given[sent_first].lease - 1])
        sent_first++;
    assert_int_equal(m->lease, given[sent_first].lease); /* who came first, goes first */
    assert_int_equal(m->type, MESSAGE_GENERATE_RESULT);
    assert_int_equal(m->version, 9);
    assert_in_range(m->lease, 1, LEASES);
    lease_sent[m->lease - 1] = true;
    for (size_t p = 0; p < given_n; p++) {
        const struct put *put = &given[p];
        const uint32_t n = put->item.response_tokens;
        if (put->lease != m->lease)
            continue;
        assert_true(i < m->items_n);
        assert_memory_equal(&m->items[i], &put->item, sizeof put->item);
        assert_memory_equal(ids + at, put->ids, n * sizeof *ids);
        assert_memory_equal(logp + at, put->logp, n * sizeof *logp);
        at += n;
        i++;
    }
    assert_int_equal(i, m->items_n);
    assert_int_equal(m->frame[0].size, at * sizeof *ids);
    assert_int_equal(m->frame[1].size, at * sizeof *logp);
    sent_items += i;
    sent_messages++;
    return ERR_OK;
}

static void begin(struct results *results)
{
    check_ok(results_init(results, TOKENS_MAX, &err));
    given_n = sent_items = sent_messages = sent_first = 0;
    memset(lease_sent, 0, sizeof lease_sent);
    send_rc = ERR_OK;
}

static void put(struct results *results, uint64_t lease, uint32_t tokens)
{
    struct put *kept = &given[given_n];
    *kept = (struct put){.lease = lease,
                         .item = {.kind = WIRE_WORK_ROLLOUT,
                                  .a = 3,
                                  .b = (uint32_t)given_n,
                                  .response_tokens = tokens,
                                  .finish = WIRE_FINISH_EOS}};
    for (uint32_t t = 0; t < tokens; t++) {
        kept->ids[t] = (int32_t)(100 * given_n + t);
        kept->logp[t] = -0.5f * (float)kept->ids[t];
    }
    given_n++;
    results_put(results, lease, &kept->item, kept->ids, kept->logp);
}

static void results_of_a_lease_go_out_in_one_message(void **state)
{
    (void)state;
    struct results results;
    uint32_t random = 1;
    begin(&results);
    for (size_t i = 0; i < PUT_MAX; i++) {
        random = random * 1664525u + 1013904223u;
        put(&results, 1 + (random >> 20) % LEASES, 1 + (random >> 8) % TOKENS_MAX);
    }
    check_ok(results_send(&results, NULL, 9, &err));
    assert_int_equal(sent_items, PUT_MAX);
    assert_int_equal(sent_messages, LEASES);
    assert_int_equal(results.n, 0);
    assert_int_equal(results.tokens, 0);
    results_release(&results);
}

/* A reference that was found is written there, beside results that are held. */
static void the_scratch_touches_no_result(void **state)
{
    (void)state;
    struct results results;
    begin(&results);
    put(&results, 1, TOKENS_MAX);
    put(&results, 2, 2);
    int32_t *ids = results_scratch_ids(&results);
    float *logp = results_scratch_logp(&results);
    struct put *found = &given[given_n++];
    *found = (struct put){.lease = 1, .item = {.b = 77, .response_tokens = TOKENS_MAX}};
    for (uint32_t t = 0; t < TOKENS_MAX; t++) {
        ids[t] = found->ids[t] = -1 - (int32_t)t;
        logp[t] = found->logp[t] = (float)t;
    }
    results_put(&results, 1, &found->item, ids, logp);
    put(&results, 1, 3);
    check_ok(results_send(&results, NULL, 9, &err));
    assert_int_equal(sent_items, 4);
    assert_int_equal(sent_messages, 2);
    results_release(&results);
}

static void results_wait_only_while_sequences_wait_for_a_row(void **state)
{
    (void)state;
    struct results results;
    const size_t rows = 8;
    begin(&results);
    assert_false(results_are_due(&results, 0, rows, 0)); /* there is none */
    put(&results, 1, 1);
    assert_false(results_are_due(&results, rows + 1, rows, 0));
    assert_true(results_are_due(&results, rows, rows, 0));
    assert_true(results_are_due(&results, 0, rows, 0));
    results_release(&results);
}

static void results_wait_for_others_up_to_a_half_of_the_rows(void **state)
{
    (void)state;
    struct results results;
    begin(&results);
    for (size_t n = 1; n <= 5; n++) {
        put(&results, 1 + n % LEASES, 1);
        assert_int_equal(results_are_due(&results, 100, 8, 0), n >= 4);
    }
    assert_true(results_are_due(&results, 100, 1, 0)); /* a row at a time: each at once */
    results_release(&results);
}

static void results_wait_no_longer_than_the_first_may(void **state)
{
    (void)state;
    struct results results;
    begin(&results);
    for (int twice = 0; twice < 2; twice++) {
        put(&results, 1, 1);
        now_ms += RESULTS_HOLD_MS - 1;
        put(&results, 2, 1);
        assert_false(results_are_due(&results, 100, 8, 0));
        assert_true(results_are_due(&results, 100, 8, 1)); /* after a turn they would be late */
        now_ms += 1;
        assert_true(results_are_due(&results, 100, 8, 0));
        check_ok(results_send(&results, NULL, 9, &err));
        given_n = sent_first = 0;
        memset(lease_sent, 0, sizeof lease_sent);
    }
    results_release(&results);
}

static void a_worker_that_cannot_send_is_told_of(void **state)
{
    (void)state;
    struct results results;
    begin(&results);
    put(&results, 1, 1);
    send_rc = ERR_UNAVAILABLE;
    check_fails(results_send(&results, NULL, 9, &err), ERR_UNAVAILABLE, "the worker stops");
    results_release(&results);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_of_a_lease_go_out_in_one_message),
        cmocka_unit_test(the_scratch_touches_no_result),
        cmocka_unit_test(results_wait_only_while_sequences_wait_for_a_row),
        cmocka_unit_test(results_wait_for_others_up_to_a_half_of_the_rows),
        cmocka_unit_test(results_wait_no_longer_than_the_first_may),
        cmocka_unit_test(a_worker_that_cannot_send_is_told_of),
    };
    return cmocka_run_group_tests_name("actor results", tests, NULL, NULL);
}
