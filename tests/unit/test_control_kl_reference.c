/*
 * test_control_kl_reference.c -- which version KL is measured from.
 *
 * The oracle is the definition: of version v, go back through the versions its weights came from
 * until one is a multiple of `every`.  Runs with rollbacks at random steps, to what
 * control/rollback.h names, are held against it.
 */
#include "control/kl_reference.h"
#include "control/rollback.h"
#include "tests/test.h"
#include "tests/unit/draw.h"

#define VERSIONS 400

/* parent[v]: the version that v was made from, or whose weights it has. */
static uint64_t walk(const uint64_t *parent, uint64_t every, uint64_t version)
{
    while (every > 0 && version % every != 0)
        version = parent[version];
    return every > 0 ? version : 0;
}

static void a_reference_is_the_newest_multiple_without_rollbacks(void **state)
{
    (void)state;
    for (uint64_t every = 0; every <= 9; every++) {
        uint64_t reference = 0;
        for (uint64_t v = 1; v <= VERSIONS; v++) {
            reference = kl_reference_version(every, v, reference);
            assert_int_equal(reference, every > 0 ? v / every * every : 0);
        }
    }
}

static void the_picture_in_the_header_is_right(void **state)
{
    (void)state;
    static const uint64_t want[13] = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 4, 4, 12};
    uint64_t reference[13] = {0};
    for (uint64_t v = 1; v <= 12; v++) {
        reference[v] = kl_reference_version(4, v, reference[v == 10 ? 6 : v - 1]);
        assert_int_equal(reference[v], want[v]);
    }
}

/* How many different ones the lag + 1 versions up to v have. */
static unsigned among(const uint64_t *reference, uint64_t v, uint64_t lag)
{
    unsigned n = 0;
    for (uint64_t i = v > lag ? v - lag : 0; i <= v; i++) {
        bool seen = false;
        for (uint64_t k = v > lag ? v - lag : 0; k < i; k++)
            seen = seen || reference[k] == reference[i];
        n += !seen;
    }
    return n;
}

/* A step may go back whose rollouts are of a version that was not left behind: of one that was,
 * nothing is looked at. */
static void rollbacks_take_it_along_and_few_are_needed_at_once(void **state)
{
    (void)state;
    uint64_t seed = 7;
    unsigned most = 0, back = 0;
    for (unsigned run = 0; run < 500; run++) {
        const uint64_t lag = draw_bits(&seed) % 9, every = lag + 1 + draw_bits(&seed) % 6;
        const uint64_t restore_every = 1 + draw_bits(&seed) % 5, bad = 2 + draw_bits(&seed) % 9;
        uint64_t parent[VERSIONS + 1] = {0}, reference[VERSIONS + 1] = {0};
        struct rollback_state rollback;
        double good = -1.0;
        rollback_init(&rollback);
        for (uint64_t s = 0; s < VERSIONS; s++) {
            const uint64_t b = s > lag ? s - lag : 0;
            uint64_t from = s;
            if (rollback_discards(&rollback, b)) {
            } else if (good >= 0.0 && draw_bits(&seed) % bad == 0) {
                from = rollback_target(&rollback, restore_every, good);
                rollback_step(&rollback, s, from);
                back++;
            } else {
                good = (double)b;
            }
            parent[s + 1] = from;
            reference[s + 1] = kl_reference_version(every, s + 1, reference[from]);
            assert_int_equal(reference[s + 1], walk(parent, every, s + 1));
            const unsigned n = among(reference, s + 1, lag);
            most = n > most ? n : most;
        }
    }
    assert_true(back > 10000);
    assert_int_equal(most, KL_REFERENCES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reference_is_the_newest_multiple_without_rollbacks),
        cmocka_unit_test(the_picture_in_the_header_is_right),
        cmocka_unit_test(rollbacks_take_it_along_and_few_are_needed_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
