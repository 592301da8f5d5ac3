/*
 * test_learner_cost.c -- a training step with a cost stream: two critics, one multiplier.
 *
 * Oracles: PyTorch's autograd over the whole step (tests/golden/train_step.py, "lagrangian");
 * the vectors of ALGORITHMS ("PPO-Lag micro"); runs of this program without costs, to which a
 * multiplier of 0 must be equal to the bit.
 */
#include "control/advantage.h"
#include "control/gae.h"
#include "control/ppo.h"
#include "learner/checkpoint.h"
#include "tests/unit/learner_golden.h"
#include "tests/unit/near.h"

/* --- against the papers and PyTorch ------------------------------------------------------- */

/* The streams of ALGORITHMS' example, through GAE, the multiplier and both losses. */
static void ppo_lag_matches_the_vectors(void **state)
{
    (void)state;
    static const uint32_t offset[] = {0, 3};
    static const float reward[] = {-.01f, .05f, 1.98f}, cost[] = {.01f, -.05f, .42f};
    static const float v_r[] = {.5f, .6f, .7f}, v_c[] = {0.f, .1f, .2f};
    static const float want_ret_c[] = {.35605f, .359f, .42f};
    static const float want_a[] = {.515825f, .5535f, .53f};
    float a_r[3], a_c[3], ret_r[3], ret_c[3], a[3], weight[3], dlogp[3], dvalue[3];
    const struct gae_params gae = {1.0, 0.95};
    struct gae_batch batch = {.rows = 1, .offset = offset, .reward = reward, .value = v_r};
    check_ok(gae_compute(&batch, gae, a_r, ret_r, &err));
    batch.reward = cost;
    batch.value = v_c;
    check_ok(gae_compute(&batch, gae, a_c, ret_c, &err));
    check_close(ret_c, want_ret_c, 3, 1e-6, 0);
    advantage_combine(a_r, a_c, 1.0, a, 3);
    check_close(a, want_a, 3, 1e-6, 0);

    const struct ppo_params ppo = {.clip_low = 0.2,
                                   .clip_high = 0.2,
                                   .value_clip = 5.0,
                                   .value_coef = 1.0,
                                   .aggregation = PPO_SEQUENCE_MEAN};
    static const float logp[] = {-.9f, -2.3f, -.5f}, logp_old[] = {-1.f, -2.f, -.5f};
    static const float v_new[] = {.8f, .9f, 1.f};
    struct ppo_stats stats = {0};
    check_ok(ppo_weights(&ppo, 1, offset, NULL, weight, &err));
    const struct ppo_policy_batch policy = {3, weight, logp, logp_old, a, NULL, NULL};
    const struct ppo_value_batch value = {3, weight, v_new, v_r, ret_r};
    check_ok(ppo_policy(&ppo, &policy, dlogp, NULL, &stats, &err));
    check_ok(ppo_value(&ppo, &value, dvalue, &stats, &err));
    check_near(stats.policy_loss, -.50337256, 1e-7);
    check_near(stats.value_loss, .54664122, 1e-7);
}

static void a_step_with_costs_moves_every_tensor_as_pytorch_does(void **state)
{
    (void)state;
    bench_take_costs(&bench);
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    const struct {
        const char *name, *norm;
        const struct model *model;
    } parts[] = {{"policy", "grad_norm", learner->policy.model},
                 {"critic", "critic_grad_norm", learner->critic.model},
                 {"cost_critic", "cost_critic_grad_norm", learner->cost_critic.model}};
    float *before[COUNT(parts)];
    for (size_t i = 0; i < COUNT(parts); i++) {
        before[i] = malloc(model_bytes(parts[i].model));
        assert_non_null(before[i]);
        memcpy(before[i], parts[i].model->w, model_bytes(parts[i].model));
    }
    train(learner);
    const json_t *golden = json_object_get(bench.golden, "lagrangian");
    for (size_t i = 0; i < COUNT(parts); i++) {
        bench_check_moved(parts[i].model, before[i], json_object_get(golden, parts[i].name));
        const double norm = json_number_value(json_object_get(golden, parts[i].norm));
        check_near(told(learner, parts[i].norm), norm, 1e-4 * norm);
        free(before[i]);
    }
    learner_free(learner);
}

/* --- the multiplier ----------------------------------------------------------------------- */

/* The policy's weights after the golden's step; the caller frees. */
static float *trained(const char *a, const char *b)
{
    struct learner *learner = BENCH_LEARNER(&bench, a, b);
    float *w = malloc(model_bytes(learner->policy.model));
    assert_non_null(w);
    train(learner);
    memcpy(w, learner->policy.model->w, model_bytes(learner->policy.model));
    learner_free(learner);
    return w;
}

static size_t params(void)
{
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    const size_t n = learner->policy.model->params;
    learner_free(learner);
    return n;
}

static const char *const estimators[][2] = {
    {"ppo.estimator=gae", "ppo.whiten=true"},
    {"ppo.estimator=gae", "ppo.whiten=false"},
    {"ppo.estimator=reinforce++", "reward.truncation=none"},
};

static void a_multiplier_of_0_is_a_run_without_costs(void **state)
{
    (void)state;
    float *plain[COUNT(estimators)];
    const size_t n = params();
    for (size_t i = 0; i < COUNT(estimators); i++)
        plain[i] = trained(estimators[i][0], estimators[i][1]);
    bench_take_costs(&bench);
    bench.lease.multiplier = 0.0;
    for (size_t i = 0; i < COUNT(estimators); i++) {
        float *costly = trained(estimators[i][0], estimators[i][1]);
        if (memcmp(plain[i], costly, n * sizeof *costly) != 0)
            fail_msg("%s, %s: costs without weight change the policy", estimators[i][0],
                     estimators[i][1]);
        free(plain[i]);
        free(costly);
    }
}

static void every_estimator_feels_the_costs(void **state)
{
    (void)state;
    const size_t n = params();
    bench_take_costs(&bench);
    for (size_t i = 0; i < COUNT(estimators); i++) {
        float *with = trained(estimators[i][0], estimators[i][1]);
        bench.lease.multiplier += 0.25;
        float *more = trained(estimators[i][0], estimators[i][1]);
        if (memcmp(with, more, n * sizeof *with) == 0)
            fail_msg("%s, %s: the multiplier changes nothing", estimators[i][0],
                     estimators[i][1]);
        free(with);
        free(more);
    }
}

/* Costs that are the rewards themselves: (A - lambda A) / (1 + lambda) is A times a number,
 * which whitening takes out again, sign aside. */
static void costs_equal_to_the_rewards_turn_the_policy_round(void **state)
{
    (void)state;
    bench_take_costs(&bench);
    memcpy(bench.cost, bench.reward, bench.tokens * sizeof *bench.cost);
    char path[FILE_PATH_MAX];
    snprintf(path, sizeof path, "model.cost_critic_path=%s/critic", bench.dir);
    const size_t n = params();
    bench.lease.multiplier = 0.0;
    float *plain = trained(path, NULL);
    bench.lease.multiplier = 0.5;
    float *less = trained(path, NULL);
    bench.lease.multiplier = 2.0;
    float *against = trained(path, NULL);
    check_close(less, plain, n, 1e-5, 1e-6);
    double far = 0.0;
    for (size_t i = 0; i < n; i++)
        far = fmax(far, fabs((double)against[i] - (double)plain[i]));
    assert_true(far > 1e-5);
    free(plain);
    free(less);
    free(against);
}

static void without_a_critic_the_streams_are_one_token_reward(void **state)
{
    (void)state;
    bench_take_costs(&bench);
    const double lambda = bench.lease.multiplier;
    const size_t n = params();
    const char *const kind = "ppo.estimator=reinforce++", *const end = "reward.truncation=none";
    float *costly = trained(kind, end);
    for (uint32_t i = 0; i < bench.tokens; i++)
        bench.reward[i] =
            (float)(((double)bench.reward[i] - lambda * (double)bench.cost[i]) / (1 + lambda));
    bench.lease.multiplier = 0.0;
    float *mixed = trained(kind, end);
    assert_memory_equal(costly, mixed, n * sizeof *mixed);
    free(costly);
    free(mixed);
}

static void the_cost_critic_trains_on_costs_alone(void **state)
{
    (void)state;
    bench_take_costs(&bench);
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    const size_t n = learner->critic.model->params;
    float *before = malloc(n * sizeof *before), *critic = malloc(n * sizeof *critic),
          *cost = malloc(n * sizeof *cost);
    assert_true(before && critic && cost);
    memcpy(before, learner->cost_critic.model->w, n * sizeof *before);
    train(learner);
    memcpy(critic, learner->critic.model->w, n * sizeof *critic);
    memcpy(cost, learner->cost_critic.model->w, n * sizeof *cost);
    assert_memory_not_equal(cost, before, n * sizeof *cost);
    learner_free(learner);

    for (uint32_t i = 0; i < bench.tokens; i++)
        bench.reward[i] += 0.5f; /* other rewards, and the cost critic learns the same */
    learner = BENCH_LEARNER(&bench, NULL);
    train(learner);
    assert_memory_equal(learner->cost_critic.model->w, cost, n * sizeof *cost);
    assert_memory_not_equal(learner->critic.model->w, critic, n * sizeof *critic);
    learner_free(learner);
    free(before);
    free(critic);
    free(cost);
}

static void the_step_tells_of_both_streams(void **state)
{
    (void)state;
    bench_take_costs(&bench);
    struct learner *learner = BENCH_LEARNER(&bench, "ppo.whiten=true");
    train(learner);
    const double lambda = bench.lease.multiplier;
    check_near(told(learner, "advantage_mean"),
               (told(learner, "reward_advantage_mean") -
                lambda * told(learner, "cost_advantage_mean")) /
                   (1 + lambda),
               1e-6);
    assert_true(told(learner, "cost_value_loss") > 0.0);
    assert_true(told(learner, "cost_value_loss") != told(learner, "value_loss"));
    assert_true(told(learner, "cost_explained_variance") < 1.0);
    learner_free(learner);
}

static void the_cost_critics_loss_told_is_a_mean_over_the_mini_batches(void **state)
{
    (void)state;
    /* With weights that stand still, parts of equal size have the whole's mean. */
    bench_take_costs(&bench);
    double loss[2];
    for (int i = 0; i < 2; i++) {
        struct learner *learner = BENCH_LEARNER(
            &bench, i == 0 ? "ppo.minibatches=1" : "ppo.minibatches=3", "optimizer.lr=0",
            "optimizer.critic_lr=0", "ppo.aggregation=sequence_mean");
        train(learner);
        loss[i] = told(learner, "cost_value_loss");
        learner_free(learner);
    }
    check_near(loss[1], loss[0], 1e-6 * loss[0]);
}

/* --- leases and checkpoints ---------------------------------------------------------------- */

static void a_lease_without_its_costs_is_an_error(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    struct message lease = golden_lease();
    lease.frames_n = 5;
    lease.frame[4] = lease.frame[2];
    check_fails(learner_train(learner, &lease, NULL, &err), ERR_VALUE, "comes with costs");
    learner_free(learner);
    bench_take_costs(&bench);
    learner = BENCH_LEARNER(&bench, NULL);
    lease = golden_lease();
    lease.frames_n = 4;
    check_fails(learner_train(learner, &lease, NULL, &err), ERR_VALUE, "comes without costs");
    assert_false(learner->dirty);
    learner_free(learner);
}

/* Steps 0..3 at one go, or ended after step 1 and taken up from its checkpoint. */
static void a_cost_critic_comes_back_from_a_checkpoint(void **state)
{
    (void)state;
    bench_take_costs(&bench);
    struct hash whole, resumed;
    float *critic = NULL;
    size_t bytes = 0;
    for (int cut = 0; cut < 2; cut++) {
        struct message leases[4];
        struct learner *learner = BENCH_LEARNER(&bench, NULL);
        for (uint64_t s = 0; s < 4; s++) {
            leases[s] = bench_step(&bench, s);
            leases[s].checkpoint = s == 1;
        }
        check_ok(bench_compute(learner, leases, cut ? 2 : 4, &err));
        if (cut) {
            learner_free(learner);
            learner = BENCH_LEARNER(&bench, NULL);
            assert_int_equal(learner->version, 2);
            assert_int_equal(learner->cost_critic.adamw.steps, 2 * 4);
            check_ok(bench_compute(learner, leases + 2, 2, &err));
            resumed = learner->weights_hash;
            assert_memory_equal(learner->cost_critic.model->w, critic, bytes);
        } else {
            whole = learner->weights_hash;
            bytes = model_bytes(learner->cost_critic.model);
            critic = malloc(bytes);
            assert_non_null(critic);
            memcpy(critic, learner->cost_critic.model->w, bytes);
        }
        learner_free(learner);
        char path[FILE_PATH_MAX];
        snprintf(path, sizeof path, "%s/run/checkpoints", bench.dir);
        check_ok(file_remove_tree(path, &err));
    }
    assert_memory_equal(&whole, &resumed, sizeof whole);
    free(critic);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ppo_lag_matches_the_vectors),
        TEST(a_step_with_costs_moves_every_tensor_as_pytorch_does),
        TEST(a_multiplier_of_0_is_a_run_without_costs),
        TEST(every_estimator_feels_the_costs),
        TEST(costs_equal_to_the_rewards_turn_the_policy_round),
        TEST(without_a_critic_the_streams_are_one_token_reward),
        TEST(the_cost_critic_trains_on_costs_alone),
        TEST(the_step_tells_of_both_streams),
        TEST(the_cost_critics_loss_told_is_a_mean_over_the_mini_batches),
        TEST(a_lease_without_its_costs_is_an_error),
        TEST(a_cost_critic_comes_back_from_a_checkpoint),
    };
    return cmocka_run_group_tests_name("learner/cost", tests, NULL, NULL);
}
