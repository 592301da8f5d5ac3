/*
 * test_learner_step.c -- one training step, from the lease to the weights.
 *
 * Oracles: PyTorch's autograd and AdamW over the whole step (tests/golden/train_step.py, which
 * shares no code with the engine, with everything switched on at once); runs of this program
 * that differ in what must not matter (threads, micro-batches) or must (each coefficient).
 */
#include "base/rng.h"
#include "learner/experience.h"
#include "tests/unit/learner_golden.h"

/* --- against PyTorch ------------------------------------------------------------------ */

static void check_golden_step(const char *aggregation)
{
    char override[64];
    snprintf(override, sizeof override, "ppo.aggregation=%s", aggregation);
    struct learner *learner = BENCH_LEARNER(&bench, override);
    const struct model *policy = learner->policy.model, *critic = learner->critic.model;
    float *before = malloc(model_bytes(policy)), *critic_before = malloc(model_bytes(critic));
    assert_non_null(before);
    assert_non_null(critic_before);
    memcpy(before, policy->w, model_bytes(policy));
    memcpy(critic_before, critic->w, model_bytes(critic));

    train(learner);
    const json_t *want = json_object_get(bench.golden, aggregation);
    bench_check_moved(policy, before, json_object_get(want, "policy"));
    bench_check_moved(critic, critic_before, json_object_get(want, "critic"));
    static const char *const names[] = {"grad_norm", "critic_grad_norm", "approx_kl"};
    for (size_t i = 0; i < COUNT(names); i++) {
        const double number = json_number_value(json_object_get(want, names[i]));
        const double got = told(learner, names[i]);
        if (!(fabs(got - number) <= 1e-4 * number))
            fail_msg("%s is %.9g, PyTorch's %.9g", names[i], got, number);
    }
    free(before);
    free(critic_before);
    learner_free(learner);
}

static void a_step_moves_every_tensor_as_pytorch_does(void **state)
{
    (void)state;
    check_golden_step("token_mean");
    check_golden_step("sequence_mean");
}

static void the_golden_has_the_mini_batches_of_this_seed(void **state)
{
    (void)state;
    int32_t *want = golden_integers(bench.golden, "order");
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        uint32_t order[BENCH_ROWS];
        rng_permutation(order, BENCH_ROWS, 11, RNG_STREAM_MINIBATCH, GOLDEN_STEP, epoch);
        for (uint32_t i = 0; i < BENCH_ROWS; i++)
            assert_int_equal(order[i], want[epoch * BENCH_ROWS + i]);
    }
    free(want);
}

/* --- what matters, and what does not --------------------------------------------------- */

/* Copies of the weights after the golden's step under these overrides; the caller frees. */
static float *trained(const char *a, const char *b, bool critic)
{
    struct learner *learner = BENCH_LEARNER(&bench, a, b);
    const struct model *model = critic ? learner->critic.model : learner->policy.model;
    float *w = malloc(model_bytes(model));
    assert_non_null(w);
    train(learner);
    memcpy(w, model->w, model_bytes(model));
    learner_free(learner);
    return w;
}

static size_t params_of(bool critic)
{
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    const size_t n = (critic ? learner->critic.model : learner->policy.model)->params;
    learner_free(learner);
    return n;
}

static size_t params(void)
{
    return params_of(false);
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    const size_t n = params();
    float *one = trained("workers.learner_threads=1", NULL, false);
    float *two = trained("workers.learner_threads=2", NULL, false);
    assert_memory_equal(one, two, n * sizeof *one);
    free(one);
    free(two);
}

static void micro_batches_change_no_more_than_rounding(void **state)
{
    (void)state;
    const size_t n = params();
    float *small = trained("ppo.micro_tokens=16", NULL, false);
    float *large = trained("ppo.micro_tokens=64", NULL, false);
    check_close(small, large, n, 1e-5, 1e-6);
    free(small);
    free(large);
}

static void every_setting_of_the_loss_is_applied(void **state)
{
    (void)state;
    static const struct {
        const char *override;
        bool critic;
    } cases[] = {
        {"ppo.entropy_coef=0", false},
        {"ppo.value_coef=0.001", true}, /* below the gradient clip */
        {"ppo.value_clip=0", true},
        {"ppo.clip_low=0.2", false},
        {"ppo.clip_high=0.1", false},
        {"ppo.dual_clip=1.05", false},
        {"ppo.gamma=1", false},
        {"ppo.lambda=1", false},
        {"ppo.whiten=false", false},
        {"reward.truncation=none", false},
        {"kl.estimator=k2", false},
        {"kl.place=reward", false},
        {"ppo.epochs=1", false},
        {"ppo.minibatches=1", false},
        {"optimizer.lr=2e-3", false},
        {"optimizer.critic_lr=1e-3", true},
        {"optimizer.beta1=0.5", false},
        {"optimizer.weight_decay=0", false},
        {"run.seed=12", false},
        {"sampling.temperature=0.8", false},
    };
    const size_t policy_n = params_of(false), critic_n = params_of(true);
    float *policy = trained(NULL, NULL, false), *critic = trained(NULL, NULL, true);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const size_t n = cases[i].critic ? critic_n : policy_n;
        float *other = trained(cases[i].override, NULL, cases[i].critic);
        if (memcmp(other, cases[i].critic ? critic : policy, n * sizeof *other) == 0)
            fail_msg("%s changes nothing", cases[i].override);
        free(other);
    }
    free(policy);
    free(critic);
}

static void the_critics_learning_rate_is_the_critics(void **state)
{
    (void)state;
    float *a = trained("optimizer.critic_lr=1e-3", NULL, false);
    float *b = trained(NULL, NULL, false);
    assert_memory_equal(a, b, params() * sizeof *a);
    free(a);
    free(b);
}

static void the_learning_rate_follows_the_step(void **state)
{
    (void)state;
    static const struct {
        uint64_t step;
        double lr;
    } cases[] = {{0, 1e-3 / 8}, {3, 5e-4}, {7, 1e-3}, {8, 1e-3}, {54, 5e-4}, {100, 0}};
    struct learner *learner = BENCH_LEARNER(&bench, "optimizer.schedule=linear");
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct message lease = bench_step(&bench, cases[i].step);
        check_ok(learner_train(learner, &lease, NULL, &err));
        const double lr = told(learner, "lr");
        if (!(fabs(lr - cases[i].lr) <= 1e-12))
            fail_msg("step %llu has the rate %g", (unsigned long long)cases[i].step, lr);
    }
    learner_free(learner);
}

static void epochs_end_early_where_the_policy_has_moved_too_far(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, "ppo.epochs=5", "ppo.early_stop_kl=1e-9");
    train(learner);
    assert_true(told(learner, "updates") == 2.0); /* an epoch's mini-batches */
    learner_free(learner);
    learner = BENCH_LEARNER(&bench, "ppo.epochs=5", "ppo.early_stop_kl=100");
    train(learner);
    assert_true(told(learner, "updates") == 10.0);
    learner_free(learner);
}

static void the_losses_told_are_means_over_the_mini_batches(void **state)
{
    (void)state;
    /* With weights that stand still, parts of equal size have the whole's mean. */
    static const char *const names[] = {"policy_loss", "value_loss", "kl_loss"};
    double whole[COUNT(names)];
    struct learner *learner =
        BENCH_LEARNER(&bench, "ppo.minibatches=1", "optimizer.lr=0", "optimizer.critic_lr=0",
                      "ppo.aggregation=sequence_mean");
    train(learner);
    for (size_t i = 0; i < COUNT(names); i++)
        whole[i] = told(learner, names[i]);
    learner_free(learner);
    learner = BENCH_LEARNER(&bench, "ppo.minibatches=3", "optimizer.lr=0",
                            "optimizer.critic_lr=0", "ppo.aggregation=sequence_mean");
    train(learner);
    for (size_t i = 0; i < COUNT(names); i++)
        if (!(fabs(told(learner, names[i]) - whole[i]) <= 1e-6 * fabs(whole[i]) + 1e-9))
            fail_msg("%s is %.9g, the whole batch's %.9g", names[i], told(learner, names[i]),
                     whole[i]);
    learner_free(learner);
}

/* --- checks on what came ---------------------------------------------------------------- */

static void rollouts_of_kept_weights_are_verified(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    struct message lease = golden_lease();
    check_ok(learner_train(learner, &lease, NULL, &err));
    const double planted = told(learner, "logp_diff_max");
    assert_true(planted > 0.1 && planted < 1.0); /* the golden's noise of 0.15 */
    lease.behaviour_version = 77;                /* not kept: nothing can be said */
    check_ok(learner_train(learner, &lease, NULL, &err));
    for (uint32_t i = 0; i < learner->stats_n; i++)
        assert_string_not_equal(learner->stats[i].name, "logp_diff_max");
    learner_free(learner);
}

static void a_lease_that_does_not_fit_is_an_error(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    struct message lease = golden_lease();
    bench.ids[0] = 97;
    check_fails(learner_train(learner, &lease, NULL, &err), ERR_VALUE, "97");
    bench.ids[0] = 8;

    const uint32_t kept = bench.items[0].response_tokens;
    bench.items[0].response_tokens = 0;
    check_fails(learner_train(learner, &lease, NULL, &err), ERR_VALUE, "no response");
    bench.items[0].response_tokens = 40; /* 8 + 16 fit */
    check_fails(learner_train(learner, &lease, NULL, &err), ERR_VALUE, "more than 24");
    bench.items[0].response_tokens = kept;
    learner_free(learner);

    learner = BENCH_LEARNER(&bench, "pipeline.batch=5");
    check_fails(learner_train(learner, &lease, NULL, &err), ERR_VALUE, "6 rows");
    assert_false(learner->dirty);
    learner_free(learner);
}

/* --- micro-batches ----------------------------------------------------------------------- */

static void rows_are_cut_and_packed_in_the_order_given(void **state)
{
    (void)state;
    static const uint32_t order[BENCH_ROWS] = {3, 4, 0, 1, 2, 5}; /* 10 4 8 5 9 11 tokens */
    struct arena arena;
    struct experience x;
    const struct message lease = golden_lease();
    check_ok(arena_init(&arena, 2 * experience_bytes(BENCH_ROWS, 64), "a test", &err));
    check_ok(experience_open(&x, &lease, &arena, &err));
    assert_int_equal(experience_cut(&x, order, 6, 0, 16), 2);
    assert_int_equal(experience_cut(&x, order, 6, 0, 14), 2);
    assert_int_equal(experience_cut(&x, order, 6, 0, 13), 1);
    assert_int_equal(experience_cut(&x, order, 6, 0, 1), 1); /* longer than asked: by itself */
    assert_int_equal(experience_cut(&x, order, 6, 2, 1000), 6);
    assert_int_equal(experience_cut(&x, order, 4, 2, 1000), 4);
    assert_int_equal(experience_micros(&x, order, 6, 16), 4); /* 10+4 | 8+5 | 9 | 11 */
    assert_int_equal(experience_micros(&x, order, 6, 1), 6);

    struct experience_micro micro;
    check_ok(experience_pack(&x, order, 1, 4, &arena, &micro, &err));
    assert_int_equal(micro.rows, 3);
    assert_int_equal(micro.tokens, 3 + 5 + 1);
    uint32_t n = 0, at = 0;
    for (uint32_t i = 0; i < 3; i++) {
        const struct wire_item *item = &bench.items[order[1 + i]];
        assert_int_equal(micro.row[i], order[1 + i]);
        assert_int_equal(micro.batch.offset[i], at);
        for (uint32_t t = 0; t < item->response_tokens; t++, n++) {
            const uint32_t token = at + item->prompt_tokens + t;
            assert_int_equal(micro.at[n], token - 1); /* the row that foretells it */
            assert_int_equal(micro.target[n], micro.batch.ids[token]);
            assert_int_equal(micro.entry[n], x.offset[order[1 + i]] + t);
        }
        assert_memory_equal(micro.batch.ids + at, bench.ids + x.id_at[order[1 + i]],
                            experience_row_tokens(&x, order[1 + i]) * sizeof(int32_t));
        at += experience_row_tokens(&x, order[1 + i]);
        assert_int_equal(micro.last_at[i], at - 1);
    }
    assert_int_equal(micro.batch.offset[3], at);
    arena_release(&arena);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_step_moves_every_tensor_as_pytorch_does),
        TEST(the_golden_has_the_mini_batches_of_this_seed),
        TEST(threads_do_not_change_a_bit),
        TEST(micro_batches_change_no_more_than_rounding),
        TEST(every_setting_of_the_loss_is_applied),
        TEST(the_critics_learning_rate_is_the_critics),
        TEST(the_learning_rate_follows_the_step),
        TEST(epochs_end_early_where_the_policy_has_moved_too_far),
        TEST(the_losses_told_are_means_over_the_mini_batches),
        TEST(rollouts_of_kept_weights_are_verified),
        TEST(a_lease_that_does_not_fit_is_an_error),
        TEST(rows_are_cut_and_packed_in_the_order_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
