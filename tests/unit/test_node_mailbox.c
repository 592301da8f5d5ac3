/*
 * test_node_mailbox.c -- leases in, results out, and what is counted of them.
 *
 * Oracle: the promises of node/mailbox.h.  One thread plays both sides, so nothing here may
 * block: a call that would is the failure, and the test's time limit finds it.
 */
#include <stdlib.h>
#include <string.h>

#include "node/mailbox.h"
#include "tests/test.h"

static struct mailbox mailbox; /* too large for the stack */

static int setup(void **state)
{
    (void)state;
    mailbox_init(&mailbox);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mailbox_release(&mailbox);
    return 0;
}

static bool put_lease(uint64_t number)
{
    struct message lease = {.type = MESSAGE_GENERATE_LEASE, .lease = number};
    return mailbox_put_lease(&mailbox, &lease);
}

static void put_result(uint64_t lease, bool wants_ack)
{
    const struct message m = {
        .type = wants_ack ? MESSAGE_TRAIN_RESULT : MESSAGE_LEASE_FAILED,
        .lease = lease,
        .has_hash = wants_ack,
    };
    struct wire_packet *packet;
    check_ok(wire_packet_new(&packet, &m, &err));
    check_ok(mailbox_put_result(&mailbox, packet, wants_ack, &err));
}

/* A session's sending side: the seq each result goes under, how many it takes, and how many it
 * refuses before that. */
struct sending {
    uint64_t seq, room, refuses;
};

static uint64_t send_packet(void *ctx, const struct wire_packet *packet)
{
    struct sending *sending = ctx;
    assert_non_null(packet);
    if (sending->refuses > 0) {
        sending->refuses--;
        return 0;
    }
    if (sending->room == 0)
        return 0;
    sending->room--;
    return ++sending->seq;
}

static struct worker_counters counted(void)
{
    struct worker_counters counters = {0};
    mailbox_count(&mailbox, &counters);
    return counters;
}

static void leases_come_out_in_order_and_no_more_go_in_than_there_is_room_for(void **state)
{
    (void)state;
    struct message lease;
    assert_false(mailbox_take_lease(&mailbox, &lease, 0));
    assert_false(mailbox_has_lease(&mailbox));
    for (uint64_t round = 0; round < 3; round++) { /* the ring goes round */
        for (uint64_t i = 0; i < WORKER_INBOX_MAX; i++)
            assert_true(put_lease(round * 100 + i));
        assert_false(put_lease(99));
        for (uint64_t i = 0; i < WORKER_INBOX_MAX - 7; i++) {
            assert_true(mailbox_take_lease(&mailbox, &lease, 0));
            assert_int_equal(lease.lease, round * 100 + i);
        }
        assert_true(mailbox_has_lease(&mailbox));
        mailbox_drop_leases(&mailbox);
        assert_false(mailbox_has_lease(&mailbox));
    }
}

static void a_lease_that_finds_no_room_stays_the_callers(void **state)
{
    (void)state;
    struct message lease = {.type = MESSAGE_GENERATE_LEASE, .lease = 5};
    mailbox_stop(&mailbox, false);
    assert_false(mailbox_put_lease(&mailbox, &lease));
    assert_int_equal(lease.lease, 5);
}

static void a_stopping_worker_is_given_no_lease(void **state)
{
    (void)state;
    struct message lease;
    assert_true(put_lease(1));
    mailbox_stop(&mailbox, false);
    assert_true(mailbox_is_stopping(&mailbox));
    assert_false(mailbox_take_lease(&mailbox, &lease, -1));
}

/* Those that want no acknowledgement are done with when they are sent, and not counted as
 * acknowledged; one behind a result that waits leaves with it. */
static void results_go_when_they_are_acknowledged(void **state)
{
    (void)state;
    struct sending sending = {.room = 10};
    put_result(1, false);
    put_result(2, true);
    put_result(3, false);
    put_result(4, true);
    assert_true(mailbox_flush(&mailbox, send_packet, &sending));
    assert_int_equal(sending.seq, 4);
    assert_int_equal(counted().outbox, 3);
    assert_false(mailbox_flush(&mailbox, send_packet, &sending)); /* nothing is new */
    mailbox_ack(&mailbox, 1);
    assert_int_equal(counted().outbox, 3);
    mailbox_ack(&mailbox, 2);
    assert_int_equal(counted().outbox, 1);
    assert_false(mailbox_is_flushed(&mailbox));
    mailbox_ack(&mailbox, UINT64_MAX);
    assert_true(mailbox_is_flushed(&mailbox));
    assert_int_equal(counted().results, 4);
    assert_int_equal(counted().results_acked, 2);
    assert_int_equal(counted().results_resent, 0);
    assert_int_equal(counted().outbox_bytes, 0);
}

static void what_a_full_socket_did_not_take_is_offered_again_from_there(void **state)
{
    (void)state;
    struct sending sending = {.room = 1};
    put_result(1, true);
    put_result(2, true);
    assert_true(mailbox_flush(&mailbox, send_packet, &sending));
    assert_int_equal(sending.seq, 1);
    assert_false(mailbox_flush(&mailbox, send_packet, &sending));
    sending.room = 1;
    assert_true(mailbox_flush(&mailbox, send_packet, &sending));
    assert_int_equal(sending.seq, 2);
    put_result(3, true);
    put_result(4, true);
    sending = (struct sending){.seq = 2, .room = 2, .refuses = 1};
    assert_false(mailbox_flush(&mailbox, send_packet, &sending)); /* 4 does not overtake 3 */
    assert_true(mailbox_flush(&mailbox, send_packet, &sending));
    assert_int_equal(sending.seq, 4);
    assert_int_equal(counted().results_resent, 0);
}

static void a_new_session_is_sent_what_the_old_one_left(void **state)
{
    (void)state;
    struct sending sending = {.room = 2};
    put_result(1, true);
    put_result(2, true);
    put_result(3, true);
    assert_true(mailbox_flush(&mailbox, send_packet, &sending)); /* two of them */
    mailbox_ack(&mailbox, 1);
    mailbox_begin_session(&mailbox);
    mailbox_ack(&mailbox, 2); /* of the old session: nothing was sent in this one */
    assert_int_equal(counted().outbox, 2);
    sending = (struct sending){.room = 10};
    assert_true(mailbox_flush(&mailbox, send_packet, &sending));
    assert_int_equal(sending.seq, 2);
    assert_int_equal(counted().results_resent, 1);
    mailbox_ack(&mailbox, 2);
    assert_true(mailbox_is_flushed(&mailbox));
}

static void a_result_that_nothing_will_take_is_given_up(void **state)
{
    (void)state;
    const struct message m = {.type = MESSAGE_LEASE_FAILED, .lease = 9};
    struct wire_packet *packet;
    check_ok(wire_packet_new(&packet, &m, &err));
    mailbox_stop(&mailbox, true);
    check_fails(mailbox_put_result(&mailbox, packet, true, &err), ERR_UNAVAILABLE,
                "a result is given up");
    assert_int_equal(counted().results, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(leases_come_out_in_order_and_no_more_go_in_than_there_is_room_for),
        TEST(a_lease_that_finds_no_room_stays_the_callers),
        TEST(a_stopping_worker_is_given_no_lease),
        TEST(results_go_when_they_are_acknowledged),
        TEST(what_a_full_socket_did_not_take_is_offered_again_from_there),
        TEST(a_new_session_is_sent_what_the_old_one_left),
        TEST(a_result_that_nothing_will_take_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
