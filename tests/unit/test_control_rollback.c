/*
 * test_control_rollback.c -- where a run goes back to, held against a family tree.
 *
 * The oracle keeps for each version whether it is an ancestor of the present one, and looks for
 * the target by trying them all; what may be needed later it finds by letting the run go on in
 * every way there is.
 */
#include <stdbool.h>

#include "control/rollback.h"
#include "tests/test.h"
#include "tests/unit/draw.h"

#define STEPS 40

/* A run: which versions are of it still, and what is known of them. */
struct tree {
    bool ours[STEPS + 2];
    double good;
    uint64_t step;
};

static uint64_t tree_target(const struct tree *tree, uint64_t every)
{
    for (uint64_t v = tree->step + 1; v-- > 0;)
        if (tree->ours[v] && v % every == 0 && (double)v <= tree->good)
            return v;
    return 0;
}

static uint64_t behaviour(uint64_t step, uint32_t lag)
{
    return step > lag ? step - lag : 0;
}

/* Step tree->step, by the definition; true where it went back. */
static bool tree_step(struct tree *tree, struct rollback_state *state, uint64_t every,
                      uint32_t lag, bool bad)
{
    const uint64_t r = tree->step, b = behaviour(r, lag);
    bool back = false;
    assert_int_equal(rollback_discards(state, b), !tree->ours[b]);
    if (tree->ours[b] && bad && tree->good >= 0) {
        const uint64_t want = tree_target(tree, every);
        assert_int_equal(rollback_target(state, every, tree->good), want);
        for (uint64_t v = want + 1; v <= r; v++)
            tree->ours[v] = false;
        rollback_step(state, r, want);
        back = true;
    } else if (tree->ours[b] && !bad) {
        tree->good = (double)b;
    }
    tree->ours[r + 1] = true;
    tree->step++;
    check_ok(rollback_check(state, every, tree->step, &err));
    return back;
}

static void target_is_the_newest_ancestor_that_is_a_restore_point_and_good(void **state)
{
    (void)state;
    uint64_t seed = 11, rollbacks = 0;
    for (int run = 0; run < 3000; run++) {
        const uint64_t every = 1 + draw_bits(&seed) % 6;
        const uint32_t lag = draw_bits(&seed) % 9;
        const uint64_t bad = 1 + draw_bits(&seed) % 8;
        struct tree tree = {.ours = {true}, .good = -1};
        struct rollback_state rollback;
        rollback_init(&rollback);
        for (int s = 0; s < STEPS; s++)
            rollbacks += tree_step(&tree, &rollback, every, lag, draw_bits(&seed) % bad == 0);
    }
    assert_true(rollbacks > 10000);
}

/* Whatever comes, what is gone back to was said to be needed at every step since it was made. */
static void what_a_rollback_needs_was_kept_all_the_time(void **state)
{
    (void)state;
    uint64_t seed = 12;
    for (int run = 0; run < 3000; run++) {
        const uint64_t every = 1 + draw_bits(&seed) % 6;
        const uint32_t lag = draw_bits(&seed) % 9;
        const uint64_t bad = 1 + draw_bits(&seed) % 4;
        struct tree tree = {.ours = {true}, .good = -1};
        struct rollback_state rollback;
        bool kept[STEPS + 2] = {true};
        rollback_init(&rollback);
        for (uint64_t s = 0; s < STEPS; s++) {
            const bool back =
                tree_step(&tree, &rollback, every, lag, draw_bits(&seed) % bad == 0);
            if (back)
                assert_true(kept[(uint64_t)rollback.base]);
            kept[s + 1] = true;
            const uint64_t target = rollback_target(&rollback, every, tree.good);
            uint32_t n = 0;
            for (uint64_t v = 0; v <= s + 1; v++) {
                kept[v] = kept[v] && rollback_needs(every, lag, s, target, v);
                n += kept[v];
            }
            assert_true(n <= lag / every + 3);
        }
    }
}

static void the_picture_of_the_header(void **state)
{
    (void)state;
    struct rollback_state rollback;
    rollback_init(&rollback);
    assert_int_equal(rollback_target(&rollback, 4, 6.0), 4);
    rollback_step(&rollback, 7, 4);
    for (uint64_t v = 0; v <= 10; v++)
        assert_int_equal(rollback_discards(&rollback, v), v >= 5 && v <= 7);
    assert_int_equal(rollback_target(&rollback, 4, 6.0), 4);
    assert_int_equal(rollback_target(&rollback, 4, 8.0), 8);
    assert_int_equal(rollback_target(&rollback, 5, 9.0), 4); /* 5 is left behind */
}

static void a_state_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct rollback_state bad[] = {{4, 8, 0},   {4, 4, 1},  {3, 8, 1},
                                                {4, 9, 1},   {-4, 8, 1}, {4, 8, 0.5},
                                                {0, 1.5, 1}, {0, 0, 1}};
    for (size_t i = 0; i < COUNT(bad); i++)
        check_fails(rollback_check(&bad[i], 4, 8, &err), ERR_VALUE, "cannot be after 8 steps");
    const struct rollback_state good = {4, 8, 2};
    check_ok(rollback_check(&good, 4, 8, &err));
    struct rollback_state none;
    rollback_init(&none);
    check_ok(rollback_check(&none, 4, 0, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(target_is_the_newest_ancestor_that_is_a_restore_point_and_good),
        cmocka_unit_test(what_a_rollback_needs_was_kept_all_the_time),
        cmocka_unit_test(the_picture_of_the_header),
        cmocka_unit_test(a_state_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
