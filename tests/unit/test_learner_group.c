/*
 * test_learner_group.c -- 2, 3 and 4 learners make of a step what one makes of it, to the bit.
 *
 * The oracle is a learner alone, which test_learner_step.c and test_learner_cost.c hold against
 * PyTorch.  Learners are threads with a weights server each; their leases say who they are.
 */
#include <pthread.h>

#include "learner/group.h"
#include "tests/unit/learner_scene.h"

enum { RANKS = 4, STEPS = 3 };

struct rank {
    struct learner *learner;
    uint32_t rank, ranks, steps;
    uint64_t attempt; /* of the first step */
    int patience;     /* a newer lease comes while it waits for the n-th time; 0: never */
    pthread_t thread;
    uint32_t done; /* steps */
    bool restored, was_dirty;
    struct err err;
};

/* The lease of a step as rank r gets it; `ranks` is the caller's. */
static struct message rank_lease(const struct rank *r, uint32_t step, struct wire_rank *ranks)
{
    struct message lease = bench_step(&bench, step);
    lease.attempt = r->attempt + step;
    if (r->ranks == 1)
        return lease;
    lease.ranks = ranks;
    lease.ranks_n = r->ranks;
    lease.rank = r->rank;
    for (uint32_t i = 0; i < r->ranks; i++) {
        snprintf(ranks[i].name, sizeof ranks[i].name, "learner-%u", i);
        snprintf(ranks[i].endpoint, sizeof ranks[i].endpoint, "ipc://%s/bulk-%u", bench.dir, i);
    }
    return lease;
}

static void *rank_thread(void *ctx)
{
    struct rank *r = ctx;
    struct wire_rank ranks[RANKS];
    struct bench_worker worker = {r->patience};
    struct worker *w = (struct worker *)&worker;
    pool_thread_init();
    for (uint32_t step = 0; step < r->steps; step++) {
        const struct message lease = rank_lease(r, step, ranks);
        enum err_code rc = group_begin(r->learner, &lease, w, &r->err);
        if (rc == ERR_OK)
            rc = learner_train(r->learner, &lease, w, &r->err);
        r->was_dirty = r->learner->dirty;
        r->restored = group_end(r->learner, rc ? r->err.text : NULL) && rc;
        if (rc)
            return NULL;
        r->done++;
    }
    return NULL;
}

/* Those of `rank` that have a learner. */
static void ranks_train(struct rank *rank, uint32_t ranks)
{
    for (uint32_t i = 0; i < ranks; i++)
        assert_int_equal(pthread_create(&rank[i].thread, NULL, rank_thread, &rank[i]), 0);
    for (uint32_t i = 0; i < ranks; i++)
        pthread_join(rank[i].thread, NULL);
}

static void check_trainable(const struct trainable *a, const struct trainable *b)
{
    const size_t bytes = model_bytes(a->model);
    assert_int_equal(a->adamw.steps, b->adamw.steps);
    assert_memory_equal(a->model->w, b->model->w, bytes);
    assert_memory_equal(a->adamw.m, b->adamw.m, bytes);
    assert_memory_equal(a->adamw.v, b->adamw.v, bytes);
}

static void check_same(const struct learner *a, const struct learner *b)
{
    check_trainable(&a->policy, &b->policy);
    if (a->has_critic)
        check_trainable(&a->critic, &b->critic);
    if (a->has_cost_critic)
        check_trainable(&a->cost_critic, &b->cost_critic);
}

/* Rank 0 also tells how far log-probs are apart, as a learner alone does. */
static void check_same_stats(const struct learner *a, const struct learner *alone)
{
    for (uint32_t i = 0; i < a->stats_n; i++) {
        const double want = bench_stat(alone->stats, alone->stats_n, a->stats[i].name);
        if (memcmp(&a->stats[i].value, &want, sizeof want) != 0)
            fail_msg("%s is %.17g, alone %.17g", a->stats[i].name, a->stats[i].value, want);
    }
    assert_in_range(a->stats_n, alone->stats_n - 1, alone->stats_n);
}

static void ranks_open(struct rank *rank, uint32_t ranks, const char *const overrides[4])
{
    for (uint32_t i = 0; i < ranks; i++) {
        rank[i] = (struct rank){.rank = i, .ranks = ranks, .steps = STEPS, .attempt = 10};
        check_ok(bench_try_number(&bench, i, overrides, &rank[i].learner, &err));
    }
}

static void ranks_close(struct rank *rank, uint32_t ranks)
{
    for (uint32_t i = 0; i < ranks; i++)
        learner_disconnect(rank[i].learner);
    for (uint32_t i = 0; i < ranks; i++)
        learner_free(rank[i].learner);
}

static void check_group(uint32_t ranks, const char *const overrides[4])
{
    struct rank rank[RANKS], alone;
    ranks_open(&alone, 1, overrides);
    ranks_train(&alone, 1);
    assert_string_equal(alone.err.text, "");
    learner_disconnect(alone.learner); /* its endpoint is rank 0's */
    ranks_open(rank, ranks, overrides);
    ranks_train(rank, ranks);
    for (uint32_t i = 0; i < ranks; i++) {
        if (rank[i].done != STEPS)
            fail_msg("rank %u of %u: %s", i, ranks, rank[i].err.text);
        check_same(rank[i].learner, alone.learner);
        check_same_stats(rank[i].learner, alone.learner);
    }
    ranks_close(rank, ranks);
    learner_free(alone.learner);
}

#define FOUR "workers.learners=4"
#define BF16 "optimizer.gradients=bf16"

static void group_of_any_size_trains_the_same_bits(void **state)
{
    (void)state;
    for (uint32_t ranks = 2; ranks <= RANKS; ranks++) {
        check_group(ranks, (const char *const[4]){FOUR, "ppo.minibatches=1"});
        check_group(ranks, (const char *const[4]){FOUR, "ppo.minibatches=2"});
    }
}

static void group_of_any_size_trains_the_same_bits_in_bf16(void **state)
{
    (void)state;
    for (uint32_t ranks = 2; ranks <= RANKS; ranks++) {
        check_group(ranks, (const char *const[4]){FOUR, BF16, "ppo.minibatches=1"});
        check_group(ranks, (const char *const[4]){FOUR, BF16, "ppo.micro_tokens=40"});
    }
}

/* --- the tree, by its definition in engine/gradient.h ------------------------------------ */

static float leaf_value(uint32_t leaf, size_t j)
{
    const uint32_t mixed = (leaf * 2654435761u + (uint32_t)j * 40503u) ^ 0x5bd1e995u;
    return ldexpf((float)(int32_t)(mixed * 2246822519u), (int)(mixed >> 28) - 40);
}

/* To a bfloat16, of 8 digits: by rint, in double. */
static float rounded(float x)
{
    int exponent;
    frexp((double)x, &exponent);
    return (float)ldexp(rint(ldexp((double)x, 8 - exponent)), exponent - 8);
}

static float tree_value(bool bf16, uint32_t a, uint32_t n, size_t j)
{
    float sum = leaf_value(a, j);
    uint32_t p = 1;
    while (p * 2 < n)
        p *= 2;
    if (n > 1)
        sum = tree_value(bf16, a, p, j) + tree_value(bf16, a + p, n - p, j);
    return bf16 ? rounded(sum) : sum;
}

/* The leaves of a rank, as if computed: every third at once, others range by range. */
static void fill_leaves(struct trainable *t, uint32_t micros, uint32_t ranks, uint32_t rank)
{
    const size_t P = t->model->params;
    trainable_begin(t, micros, ranks, rank);
    for (uint32_t i = summation_first(micros, ranks, rank);
         i < summation_first(micros, ranks, rank + 1); i++) {
        float *grad = trainable_leaf(t);
        size_t first = P;
        memset(grad, 0xff, P * sizeof *grad); /* NaN, before it is written */
        while (first > 0) {
            const size_t end = first;
            first = i % 3 > 0 ? end * i / (i + 1) : 0;
            for (size_t j = first; j < end; j++)
                grad[j] = leaf_value(i, j);
            if (first > 0)
                trainable_leaf_ready(t, first);
        }
        trainable_leaf_done(t);
    }
}

static void check_whole(struct trainable *t, bool bf16, uint32_t micros)
{
    fill_leaves(t, micros, 1, 0);
    check_ok(trainable_sum_begin(t, NULL, &err));
    check_ok(trainable_sum_end(t, &err));
    for (size_t j = 0; j < t->model->params; j++) {
        const float want = tree_value(bf16, 0, micros, j);
        if (memcmp(&t->whole[j], &want, sizeof want) != 0)
            fail_msg("number %zu of %u leaves is %a, not %a", j, micros, (double)t->whole[j],
                     (double)want);
    }
}

/* What a rank offers to the others: numbers of two bytes. */
static void check_nodes(struct trainable *t, uint32_t micros, uint32_t ranks)
{
    for (uint32_t rank = 0; rank < ranks; rank++) {
        fill_leaves(t, micros, ranks, rank);
        uint32_t level[EXCHANGE_NODES_MAX], at = summation_first(micros, ranks, rank);
        const uint32_t nodes = exchange_nodes(micros, ranks, rank, level);
        for (uint32_t i = 0; i < nodes; i++) {
            for (size_t j = 0; j < t->model->params; j++) {
                const float want = tree_value(true, at, 1u << level[i], j);
                uint32_t bits;
                memcpy(&bits, &want, sizeof bits);
                assert_int_equal(((const uint16_t *)t->node[i])[j], bits >> 16);
            }
            at += 1u << level[i];
        }
    }
}

static void group_sums_gradients_by_the_definition(void **state)
{
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct learner *l;
        const char *const overrides[4] = {FOUR, bf16 ? BF16 : NULL};
        check_ok(bench_try_number(&bench, 0, overrides, &l, &err));
        for (uint32_t micros = 1; micros <= BENCH_ROWS; micros++) {
            check_whole(&l->policy, bf16 == 1, micros);
            for (uint32_t ranks = 2; bf16 && ranks <= RANKS; ranks++)
                check_nodes(&l->policy, micros, ranks);
        }
        learner_free(l);
    }
}

/* One number of one leaf that is none: the update is refused, also where it is rounded. */
static void group_refuses_bf16_gradients_that_are_not_finite(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3.4e38f};
    struct learner *l;
    const char *const overrides[4] = {FOUR, BF16};
    check_ok(bench_try_number(&bench, 0, overrides, &l, &err));
    for (size_t i = 0; i < COUNT(bad); i++) {
        double norm;
        trainable_begin(&l->policy, 2, 1, 0);
        for (uint32_t k = 0; k < 2; k++) {
            trainable_leaf(&l->policy)[7] = k ? 1.0f : bad[i];
            trainable_leaf_done(&l->policy);
        }
        check_ok(trainable_sum_begin(&l->policy, NULL, &err));
        check_ok(trainable_sum_end(&l->policy, &err));
        check_fails(trainable_update(&l->policy, 1e-3, &norm, &err), ERR_VALUE,
                    "the gradient of the policy is not finite");
    }
    learner_free(l);
}

/* Micro-batches of one row, of several, and one of all. */
static void group_trains_the_same_bits_however_rows_are_packed(void **state)
{
    (void)state;
    static const char *const micro[] = {"ppo.micro_tokens=24", "ppo.micro_tokens=40",
                                        "ppo.micro_tokens=1000"};
    for (size_t i = 0; i < COUNT(micro); i++)
        check_group(3, (const char *const[4]){FOUR, "ppo.minibatches=1", micro[i]});
}

static void group_trains_the_same_bits_without_a_critic(void **state)
{
    (void)state;
    check_group(
        3, (const char *const[4]){FOUR, "ppo.estimator=reinforce++", "reward.truncation=none"});
}

static void group_trains_the_same_bits_with_costs(void **state)
{
    (void)state;
    bench_take_costs(&bench);
    check_group(2, (const char *const[4]){FOUR});
    check_group(3, (const char *const[4]){FOUR, "ppo.minibatches=1"});
}

/* One of three is given a newer lease at some moment of the step: each ends either before the
 * step or after it, never between; and those before it can go on without that one. */
static void check_interrupted(const char *gradients, int patience, uint32_t *before,
                              uint32_t *dirty)
{
    const char *const overrides[4] = {FOUR, "ppo.minibatches=1", gradients};
    struct rank rank[RANKS], alone[2];
    for (size_t i = 0; i < 2; i++) { /* after no step, and after one */
        ranks_open(&alone[i], 1, overrides);
        alone[i].steps = (uint32_t)i;
        ranks_train(&alone[i], 1);
        learner_disconnect(alone[i].learner);
    }
    ranks_open(rank, 3, overrides);
    for (uint32_t i = 0; i < 3; i++) {
        rank[i].steps = 1;
        rank[i].patience = i == 2 ? patience : 0;
    }
    ranks_train(rank, 3);
    for (uint32_t i = 0; i < 3; i++) {
        *before += !rank[i].done;
        *dirty += rank[i].restored && rank[i].was_dirty;
        assert_true(rank[i].done || rank[i].restored);
        check_same(rank[i].learner, alone[rank[i].done].learner);
    }
    if (!rank[0].done && !rank[1].done) {
        for (uint32_t i = 0; i < 2; i++) {
            rank[i].ranks = 2;
            rank[i].attempt = 11;
        }
        ranks_train(rank, 2);
        for (uint32_t i = 0; i < 2; i++) {
            assert_int_equal(rank[i].done, 1);
            check_same(rank[i].learner, alone[1].learner);
        }
    }
    ranks_close(rank, 3);
    learner_free(alone[0].learner);
    learner_free(alone[1].learner);
}

static void group_that_is_interrupted_is_before_the_step_again(void **state)
{
    (void)state;
    uint32_t before = 0, dirty = 0;
    int patience = 1;
    for (; patience < 80; patience += 6)
        check_interrupted(patience % 4 == 3 ? BF16 : NULL, patience, &before, &dirty);
    for (; patience < 5000 && dirty == 0; patience *= 2) /* slow others: it waits more often */
        check_interrupted(NULL, patience, &before, &dirty);
    assert_true(before > 0 && dirty > 0); /* some had applied an update */
}

static void group_is_refused_by_a_learner_that_is_to_be_alone(void **state)
{
    (void)state;
    struct rank rank = {.ranks = 2, .steps = 1, .attempt = 1};
    rank.learner = BENCH_LEARNER(&bench, NULL);
    rank_thread(&rank);
    assert_non_null(
        strstr(rank.err.text, "is for 2 learners, and this one's workers.learners"));
    learner_free(rank.learner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(group_of_any_size_trains_the_same_bits, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(group_of_any_size_trains_the_same_bits_in_bf16, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(group_sums_gradients_by_the_definition, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(group_refuses_bf16_gradients_that_are_not_finite, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(group_trains_the_same_bits_however_rows_are_packed,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(group_trains_the_same_bits_without_a_critic, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(group_trains_the_same_bits_with_costs, setup, teardown),
        cmocka_unit_test_setup_teardown(group_that_is_interrupted_is_before_the_step_again,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(group_is_refused_by_a_learner_that_is_to_be_alone,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
