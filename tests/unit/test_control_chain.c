/*
 * test_control_chain.c -- a chain against shaping_apply itself (a chain of one), against the
 * shapers called by hand in turn, against identities that hold only where references pass
 * through with the score, and against running statistics of numbers written out.
 */
#include "control/chain.h"
#include "control/reward.h"
#include "tests/unit/near.h"

#define KINDS (SHAPING_SGFC + 1)

static const double refs[4] = {1.0, 2.5, 0.0, 3.0};

static struct shaping_params shaper(enum shaping_kind kind)
{
    return (struct shaping_params){
        .kind = kind, .references = 4, .slope = 1.5, .ceiling = 1.25, .shift = 0.5};
}

static struct chain_params chain_of(uint32_t links, ...)
{
    struct chain_params chain = {.links = links};
    va_list kinds;
    va_start(kinds, links);
    for (uint32_t i = 0; i < links; i++)
        chain.link[i] = shaper((enum shaping_kind)va_arg(kinds, int));
    va_end(kinds);
    return chain;
}

static double shape(const struct chain_params *chain, const struct chain_state *running,
                    double raw)
{
    double shaped = NAN;
    check_ok(chain_check(chain, &err));
    check_ok(chain_apply(chain, running, raw, refs, COUNT(refs), &shaped, &err));
    return shaped;
}

/* Statistics that are not trivial, for any kind. */
static void learn(const struct chain_params *chain, struct chain_state *running)
{
    static const double seen[] = {0.5, -1.0, 2.0, 1.75};
    struct chain_state batch = {0};
    for (size_t i = 0; i < COUNT(seen); i++)
        check_ok(chain_add(chain, running, seen[i], refs, COUNT(refs), &batch, &err));
    check_ok(chain_update(chain, running, &batch, &err));
}

static void chain_of_one_is_its_shaper_to_the_bit(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        const struct chain_params chain = chain_of(1, kind);
        struct chain_state running;
        struct shaping_state alone, batch = {0};
        chain_init(&chain, &running);
        shaping_init(&chain.link[0], &alone);
        for (int step = 0; step < 3; step++) {
            for (double raw = -3.0; raw < 4.0; raw += 0.37) {
                double want = NAN;
                check_ok(
                    shaping_apply(&chain.link[0], &alone, raw, refs, COUNT(refs), &want, &err));
                assert_true(shape(&chain, &running, raw) == want);
            }
            assert_memory_equal(&running.link[0], &alone, sizeof alone);
            learn(&chain, &running);
            batch = (struct shaping_state){0};
            shaping_add(&batch, 0.5);
            shaping_add(&batch, -1.0);
            shaping_add(&batch, 2.0);
            shaping_add(&batch, 1.75);
            check_ok(shaping_update(&chain.link[0], &alone, &batch, &err));
        }
    }
}

/* Each three shapers, called by hand. */
static void chain_is_one_shaper_after_the_other(void **state)
{
    (void)state;
    for (int kinds = 0; kinds < KINDS * KINDS * KINDS; kinds++) {
        const struct chain_params chain =
            chain_of(3, kinds % KINDS, kinds / KINDS % KINDS, kinds / KINDS / KINDS);
        struct chain_state running;
        chain_init(&chain, &running);
        learn(&chain, &running);
        double x = 0.8, ref[4], next[4];
        memcpy(ref, refs, sizeof ref);
        for (int i = 0; i < 3; i++) {
            const struct shaping_params *p = &chain.link[i];
            const struct shaping_state *s = &running.link[i];
            for (int m = 0; m < 4; m++)
                check_ok(shaping_apply(p, s, ref[m], ref, 4, &next[m], &err));
            check_ok(shaping_apply(p, s, x, ref, 4, &x, &err));
            memcpy(ref, next, sizeof ref);
        }
        assert_true(shape(&chain, &running, 0.8) == x);
    }
}

static void chain_matches_numbers_worked_out_by_hand(void **state)
{
    (void)state;
    struct chain_state none = {0};
    /* min(2, 1.25) against references min(1, 1.25), 1.25, 0, 1.25: differences .25 0 1.25 0 */
    const struct chain_params centred = chain_of(2, SHAPING_CEILING, SHAPING_CENTERED);
    check_near(shape(&centred, &none, 2.0), 0.375, 1e-15);
    struct chain_params par = chain_of(2, SHAPING_CEILING, SHAPING_PAR);
    par.link[1].slope = 1.0;
    const double want = (1 / (1 + exp(-0.25)) + 0.5 + 1 / (1 + exp(-1.25)) + 0.5) / 4.0;
    check_near(shape(&par, &none, 2.0), want, 1e-15);
    /* centred by 1.625, then the ceiling: -0.625 stays, 2.375 is cut to 1.25 */
    const struct chain_params other = chain_of(2, SHAPING_CENTERED, SHAPING_CEILING);
    check_near(shape(&other, &none, 1.0), -0.625, 1e-15);
    check_near(shape(&other, &none, 4.0), 1.25, 0.0);
}

/* The length penalty stands before: the score and the references go through it (ALGORITHMS,
 * section 5: r = 2 of 350 tokens is 1.5). */
static void chain_follows_the_length_penalty(void **state)
{
    (void)state;
    const struct reward_params penalty = {.length_free_tokens = 300, .length_penalty = 0.01};
    const uint32_t tokens[4] = {350, 100, 300, 400};
    struct chain_params par = chain_of(1, SHAPING_PAR);
    par.link[0].slope = 1.0;
    struct chain_state none = {0};
    double penalised[4], shaped, want = 0.0;
    for (int m = 0; m < 4; m++) {
        penalised[m] = reward_length(&penalty, refs[m], tokens[m]);
        const double ref = refs[m] - 0.01 * fmax(0.0, (double)tokens[m] - 300.0);
        want += 0.25 / (1.0 + exp(-(1.5 - ref)));
    }
    const double raw = reward_length(&penalty, 2.0, 350);
    check_near(raw, 1.5, 1e-12);
    check_ok(chain_apply(&par, &none, raw, penalised, 4, &shaped, &err));
    check_near(shaped, want, 1e-12);
}

static void chain_that_moves_all_alike_changes_no_difference(void **state)
{
    (void)state;
    const struct chain_params alone = chain_of(1, SHAPING_PAR),
                              after = chain_of(2, SHAPING_CENTERED, SHAPING_PAR),
                              twice = chain_of(2, SHAPING_CENTERED, SHAPING_CENTERED),
                              once = chain_of(1, SHAPING_CENTERED);
    struct chain_state none = {0};
    for (double raw = -4.0; raw < 4.0; raw += 0.3) {
        check_near(shape(&after, &none, raw), shape(&alone, &none, raw), 1e-14);
        check_near(shape(&twice, &none, raw), shape(&once, &none, raw), 1e-14);
    }
    /* A reference's own score is worth 0, whatever stands before the centring. */
    for (int kind = 0; kind < KINDS; kind++) {
        struct chain_params centred = chain_of(2, kind, SHAPING_CENTERED);
        struct chain_state running = {0};
        learn(&centred, &running);
        centred.link[1].references = 1;
        check_near(shape(&centred, &running, refs[0]), 0.0, 1e-15);
    }
}

static void chain_link_learns_what_reached_it(void **state)
{
    (void)state;
    const struct chain_params chain =
        chain_of(3, SHAPING_CEILING, SHAPING_MEANSTD, SHAPING_MINMAX);
    struct chain_state running, batch = {0};
    chain_init(&chain, &running);
    static const double scores[3] = {-1.0, 0.5, 9.0}; /* the last is cut to 1.25 */
    for (int i = 0; i < 3; i++)
        check_ok(chain_add(&chain, &running, scores[i], NULL, 0, &batch, &err));
    check_ok(chain_update(&chain, &running, &batch, &err));
    assert_true(batch.link[0].count == 0.0 && running.link[0].count == 0.0);
    check_near(running.link[1].mean, 0.25, 1e-15);
    check_near(running.link[1].m2, 1.5625 + 0.0625 + 1.0, 1e-14);
    assert_true(running.link[1].max == 1.25);
    /* In the first step meanstd passed them on as they were. */
    assert_true(running.link[2].count == 3.0 && running.link[2].max == 1.25);

    /* In the second it does not: 1.25 reaches minmax as (1.25 - .25) / std. */
    const double std = sqrt(2.625 / 3.0);
    batch = (struct chain_state){0};
    check_ok(chain_add(&chain, &running, 1.25, NULL, 0, &batch, &err));
    check_near(batch.link[2].mean, 1.0 / std, 1e-15);
    check_near(batch.link[1].mean, 1.25, 0.0);
    const double low = -1.0, high = 1.25;
    check_near(shape(&chain, &running, 0.5), (0.25 / std - low) / (high - low), 1e-14);
}

static void chain_statistics_move_by_update_alone(void **state)
{
    (void)state;
    const struct chain_params chain = chain_of(2, SHAPING_MEANSTD, SHAPING_CLIP);
    struct chain_state running, before, batch = {0};
    chain_init(&chain, &running);
    learn(&chain, &running);
    before = running;
    shape(&chain, &running, 50.0);
    check_ok(chain_update(&chain, &running, &batch, &err));
    assert_memory_equal(&running, &before, sizeof running);
    shaping_add(&batch.link[0], 1.0);
    shaping_add(&batch.link[1], 1e300);
    check_fails(chain_update(&chain, &running, &batch, &err), ERR_VALUE,
                "chain: link 1: shaping: the running mean");
    assert_memory_equal(&running, &before, sizeof running); /* of link 0 as well */
}

static void chain_takes_the_references_its_links_need(void **state)
{
    (void)state;
    struct chain_params chain = chain_of(3, SHAPING_CENTERED, SHAPING_PAR, SHAPING_CLIP);
    chain.link[0].references = 2;
    chain.link[1].references = 3;
    assert_int_equal(chain_references(&chain), 3);
    const double late[4] = {1.0, 2.5, 0.0, NAN};
    struct chain_state none = {0};
    double shaped = 7.0, want;
    check_fails(chain_apply(&chain, &none, 0.0, refs, 2, &shaped, &err), ERR_STATE,
                "needs 3 reference scores, the prompt has 2");
    assert_true(shaped == 7.0);
    check_ok(chain_apply(&chain, &none, 0.0, late, 4, &shaped, &err));
    check_ok(chain_apply(&chain, &none, 0.0, refs, 4, &want, &err));
    assert_true(shaped == want);
    const struct chain_params free_of = chain_of(2, SHAPING_TANH, SHAPING_MINMAX);
    assert_int_equal(chain_references(&free_of), 0);
    check_ok(chain_apply(&free_of, &none, 0.5, NULL, 0, &shaped, &err));
    check_near(shaped, tanh(0.5), 0.0);
}

static void chain_names_the_link_at_fault(void **state)
{
    (void)state;
    struct chain_params chain = chain_of(2, SHAPING_NONE, SHAPING_CENTERED);
    struct chain_state none = {0}, batch = {0}, empty = {0};
    const double far[4] = {-1.7e308, -1.7e308, -1.7e308, -1.7e308},
                 broken[4] = {1.0, 2.0, NAN, 3.0};
    double shaped = 7.0;
    check_fails(chain_apply(&chain, &none, NAN, refs, 4, &shaped, &err), ERR_VALUE,
                "chain: link 0: shaping: the score is nan");
    check_fails(chain_apply(&chain, &none, 1.7e308, far, 4, &shaped, &err), ERR_VALUE,
                "chain: link 1: shaping: a score of 1.7e+308 came to inf");
    check_fails(chain_apply(&chain, &none, 1.0, broken, 4, &shaped, &err), ERR_VALUE,
                "chain: reference score 2 is nan");
    assert_true(shaped == 7.0);
    chain.link[0] = shaper(SHAPING_MINMAX);
    check_fails(chain_add(&chain, &none, 1.7e308, far, 4, &batch, &err), ERR_VALUE, "link 1");
    assert_memory_equal(&batch, &empty, sizeof batch);
}

static void chain_is_written_and_read_back(void **state)
{
    (void)state;
    const struct chain_params chain =
        chain_of(4, SHAPING_MEANSTD, SHAPING_TANH, SHAPING_MINMAX, SHAPING_PAR);
    struct chain_state running, read;
    double written[CHAIN_STATE_MAX];
    chain_init(&chain, &running);
    learn(&chain, &running);
    assert_int_equal(chain_state_n(&chain), 10);
    chain_write(&chain, &running, written);
    check_ok(chain_read(&chain, written, 10, &read, &err));
    assert_memory_equal(&read, &running, sizeof read);
    chain_init(&chain, &read);
    chain_write(&chain, &read, written);
    check_ok(chain_read(&chain, written, 10, &read, &err));

    check_fails(chain_read(&chain, written, 5, &read, &err), ERR_FORMAT,
                "the state has 5 numbers, this chain's has 10");
    static const struct {
        int at;
        double value;
    } faults[] = {{0, -1.0}, {0, 1.5}, {1, NAN}, {2, -1.0}, {3, 9.0}, {4, INFINITY}};
    for (size_t i = 0; i < COUNT(faults); i++) {
        chain_write(&chain, &running, written);
        written[5 + faults[i].at] = faults[i].value;
        check_fails(chain_read(&chain, written, 10, &read, &err), ERR_VALUE, "link 2's state");
    }
    chain_write(&chain, &running, written);
    written[0] = 0.0; /* nothing seen, yet a mean */
    check_fails(chain_read(&chain, written, 10, &read, &err), ERR_VALUE, "link 0's state");
}

static void chain_refuses_bad_settings(void **state)
{
    (void)state;
    struct chain_params chain = {0};
    check_fails(chain_check(&chain, &err), ERR_USAGE, "0 links, must be 1 to 8");
    chain.links = 9;
    check_fails(chain_check(&chain, &err), ERR_USAGE, "9 links");
    chain = chain_of(2, SHAPING_NONE, SHAPING_PAR);
    chain.link[1].slope = 0.0;
    check_fails(chain_check(&chain, &err), ERR_USAGE, "chain: link 1: shaping: par's slope");
    chain = chain_of(2, SHAPING_PAR, SHAPING_NONE);
    chain.link[0].references = 65;
    check_fails(chain_check(&chain, &err), ERR_USAGE,
                "link 0: par takes 65 references, at most 64");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chain_of_one_is_its_shaper_to_the_bit),
        cmocka_unit_test(chain_is_one_shaper_after_the_other),
        cmocka_unit_test(chain_matches_numbers_worked_out_by_hand),
        cmocka_unit_test(chain_follows_the_length_penalty),
        cmocka_unit_test(chain_that_moves_all_alike_changes_no_difference),
        cmocka_unit_test(chain_link_learns_what_reached_it),
        cmocka_unit_test(chain_statistics_move_by_update_alone),
        cmocka_unit_test(chain_takes_the_references_its_links_need),
        cmocka_unit_test(chain_names_the_link_at_fault),
        cmocka_unit_test(chain_is_written_and_read_back),
        cmocka_unit_test(chain_refuses_bad_settings),
    };
    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
