/* wrap: worker_progress */
/*
 * test_learner_train.c -- one PPO step of the learner against PyTorch in float64.
 *
 * The oracle is tests/golden/make_learner.py: the same batch, models and settings, the losses
 * written from their formulas, gradients by autograd, updates by torch.optim.AdamW.  What is
 * compared are the weights afterwards, so that everything in between has to be right.
 */
#include <stdlib.h>
#include <unistd.h>

#include "learner/learner.h"
#include "tests/unit/golden.h"
#include "wire/socket.h"

#define TOKENS_MAX 64

void __wrap_worker_progress(struct worker *worker);

void __wrap_worker_progress(struct worker *worker)
{
    (void)worker; /* there is none: the step runs by itself */
}

static char dir[64];
static struct wire_context *context;

static int open_world(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/rlhf-learner-XXXXXX");
    return mkdtemp(dir) && wire_context_new(&context, NULL) == ERR_OK ? 0 : -1;
}

static int close_world(void **state)
{
    (void)state;
    wire_context_free(context);
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

/* The settings of the golden, as a run's file. */
static void load_config(struct run_config *config, const char *const *overrides, size_t n)
{
    char path[FILE_PATH_MAX], text[4096];
    snprintf(text, sizeof text,
             "run:\n  dir: run\n  steps: 4\n"
             "model:\n  policy: %smodels/llama\n  critic: path\n"
             "  critic_path: %slearner/critic\n"
             "data:\n  prompts: none\n  prompt_tokens_max: 16\n"
             "pipeline:\n  batch: 4\n  lag: 0\n"
             "sampling:\n  temperature: 0.8\n  max_new_tokens: 16\n"
             "reward:\n  truncation: bootstrap\n  scorers:\n"
             "    - name: a\n      kind: length\n"
             "kl:\n  place: loss\n  estimator: k3\n"
             "ppo:\n  gamma: 0.99\n  lambda: 0.9\n  epochs: 2\n  clip_low: 0.2\n"
             "  clip_high: 0.25\n  value_clip: 0.2\n  value_coef: 0.5\n  entropy_coef: 0.02\n"
             "  micro_tokens: 16\n"
             "optimizer:\n  lr: 0.0003\n  critic_lr: 0.0006\n  beta1: 0.9\n  beta2: 0.95\n"
             "  eps: 1.0e-4\n  weight_decay: 0.1\n  grad_clip: 0.5\n",
             GOLDEN_DIR, GOLDEN_DIR);
    check_ok(file_join(path, dir, "run.yaml", &err));
    check_ok(file_write(path, text, strlen(text), &err));
    check_ok(run_config_load(config, path, overrides, n, &err));
}

static struct learner *open_learner(const struct run_config *config)
{
    char endpoint[128];
    snprintf(endpoint, sizeof endpoint, "ipc://%s/bulk", dir);
    struct learner *learner = NULL;
    check_ok(
        learner_new(&learner, config, "learner-0", LEARNER_NEWEST, context, endpoint, &err));
    return learner;
}

/* The golden's batch as a lease; `ids` and the float arrays belong to the caller. */
struct batch {
    struct wire_item items[8];
    int32_t ids[TOKENS_MAX];
    float *logp_old, *reward, *logref;
    struct message lease;
};

static uint32_t batch_ids(int32_t *to, const json_t *array)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        to[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return (uint32_t)json_array_size(array);
}

static void batch_open(struct batch *batch, const json_t *golden)
{
    const json_t *rows = json_object_get(golden, "rows");
    const uint32_t n = (uint32_t)json_array_size(rows);
    const size_t tokens = (size_t)json_integer_value(json_object_get(golden, "tokens"));
    size_t at = 0;
    assert_true(n <= COUNT(batch->items));
    *batch = (struct batch){.logp_old = golden_floats(golden, "logp_old"),
                            .reward = golden_floats(golden, "reward"),
                            .logref = golden_floats(golden, "logref")};
    for (uint32_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(rows, i);
        struct wire_item *item = &batch->items[i];
        *item = (struct wire_item){.kind = WIRE_WORK_ROLLOUT, .b = i, .prompt = i, .group = i};
        item->prompt_tokens = batch_ids(batch->ids + at, json_object_get(row, "prompt"));
        at += item->prompt_tokens;
        item->response_tokens = batch_ids(batch->ids + at, json_object_get(row, "response"));
        at += item->response_tokens;
        const char *finish = json_string_value(json_object_get(row, "finish"));
        item->finish = strcmp(finish, "eos") == 0 ? WIRE_FINISH_EOS : WIRE_FINISH_LENGTH;
    }
    batch->lease = (struct message){
        .type = MESSAGE_TRAIN_LEASE,
        .items = batch->items,
        .items_n = n,
        .kl_coef = 0.05,
        .frames_n = 4,
        .frame = {{batch->ids, at * sizeof *batch->ids},
                  {batch->logp_old, tokens * sizeof(float)},
                  {batch->reward, tokens * sizeof(float)},
                  {batch->logref, tokens * sizeof(float)}},
    };
}

static void batch_release(struct batch *batch)
{
    free(batch->logp_old);
    free(batch->reward);
    free(batch->logref);
}

/* Every probed weight, within a thousandth of the greatest step an update can make. */
static void expect_weights(const struct model *model, const json_t *want, double lr)
{
    const char *name;
    const json_t *probe;
    size_t tensors = 0;
    json_object_foreach((json_t *)want, name, probe)
    {
        const struct model_tensor *tensor = model_find(model, name);
        if (!tensor)
            fail_msg("%s is not in the model", name);
        const json_t *at = json_object_get(probe, "at"), *w = json_object_get(probe, "w");
        for (size_t i = 0; i < json_array_size(at); i++) {
            const size_t k = (size_t)json_integer_value(json_array_get(at, i));
            const double got = (double)model->w[tensor->at + k];
            const double expected = json_number_value(json_array_get(w, i));
            if (!(fabs(got - expected) <= 2e-3 * lr + 1e-6 * fabs(expected)))
                fail_msg("%s[%zu] is %.9g, want %.9g (lr %g)", name, k, got, expected, lr);
        }
        tensors++;
    }
    assert_int_equal(tensors, model->tensors_n);
}

static double stat_of(const struct learner *learner, const char *name)
{
    for (uint32_t i = 0; i < learner->stats_n; i++)
        if (strcmp(learner->stats[i].name, name) == 0)
            return learner->stats[i].value;
    fail_msg("no statistic %s", name);
    return 0;
}

static void expect_stat(const struct learner *learner, const char *name, double want)
{
    const double got = stat_of(learner, name);
    if (!(fabs(got - want) <= 2e-5 * (1 + fabs(want))))
        fail_msg("%s is %.9g, want %.9g", name, got, want);
}

static void learner_step_is_what_pytorch_computes(void **state)
{
    (void)state;
    static struct run_config config;
    struct batch batch;
    json_t *golden = golden_open(GOLDEN_DIR "learner/golden.json");
    load_config(&config, NULL, 0);
    struct learner *learner = open_learner(&config);
    batch_open(&batch, golden);
    check_ok(learner_train(learner, &batch.lease, NULL, &err));
    assert_true(learner->dirty);
    expect_weights(learner->policy.model, json_object_get(golden, "policy"), 3e-4);
    expect_weights(learner->critic.model, json_object_get(golden, "critic"), 6e-4);

    const json_t *stats = json_object_get(golden, "stats");
    expect_stat(learner, "policy_loss",
                json_number_value(json_object_get(stats, "policy_loss")));
    expect_stat(learner, "value_loss", json_number_value(json_object_get(stats, "value_loss")));
    expect_stat(learner, "kl_loss", json_number_value(json_object_get(stats, "kl_loss")));
    expect_stat(learner, "entropy", json_number_value(json_object_get(stats, "entropy")));
    expect_stat(learner, "clip_fraction", json_number_value(json_object_get(stats, "clipped")));
    expect_stat(learner, "grad_norm", json_number_value(json_object_get(golden, "grad_norm")));
    expect_stat(learner, "critic_grad_norm",
                json_number_value(json_object_get(golden, "critic_grad_norm")));
    expect_stat(learner, "updates", 2);
    batch_release(&batch);
    learner_free(learner);
    json_decref(golden);
}

/* Weights after one step under these overrides; the caller frees them. */
static float *weights_after(const json_t *golden, const char *const *overrides, size_t n,
                            size_t *params)
{
    static struct run_config config;
    struct batch batch;
    load_config(&config, overrides, n);
    struct learner *learner = open_learner(&config);
    batch_open(&batch, golden);
    check_ok(learner_train(learner, &batch.lease, NULL, &err));
    *params = learner->policy.model->params;
    float *w = malloc(*params * sizeof *w);
    assert_non_null(w);
    memcpy(w, learner->policy.model->w, *params * sizeof *w);
    batch_release(&batch);
    learner_free(learner);
    return w;
}

static void learner_step_has_the_same_bits_for_any_thread_count(void **state)
{
    (void)state;
    static const char *const threads[] = {"workers.learner_threads=3"};
    static const char *const micro[] = {"ppo.micro_tokens=64"};
    static const char *const coef[] = {"ppo.entropy_coef=0.04"};
    json_t *golden = golden_open(GOLDEN_DIR "learner/golden.json");
    size_t n = 0;
    float *one = weights_after(golden, NULL, 0, &n),
          *three = weights_after(golden, threads, 1, &n);
    float *whole = weights_after(golden, micro, 1, &n),
          *other = weights_after(golden, coef, 1, &n);
    assert_memory_equal(one, three, n * sizeof *one);
    check_close(whole, one, n, 1e-5, 2e-6); /* another tree of sums: near, not equal */
    assert_memory_not_equal(one, other, n * sizeof *one);
    free(one);
    free(three);
    free(whole);
    free(other);
    json_decref(golden);
}

static void learner_changes_nothing_where_a_number_is_not_finite(void **state)
{
    (void)state;
    static struct run_config config;
    struct batch batch;
    json_t *golden = golden_open(GOLDEN_DIR "learner/golden.json");
    load_config(&config, NULL, 0);
    struct learner *learner = open_learner(&config);
    batch_open(&batch, golden);
    const size_t bytes = model_bytes(learner->policy.model);
    float *before = malloc(bytes);
    assert_non_null(before);
    memcpy(before, learner->policy.model->w, bytes);
    batch.reward[4] = NAN;
    check_fails(learner_train(learner, &batch.lease, NULL, &err), ERR_VALUE, "response 1");
    assert_false(learner->dirty);
    assert_memory_equal(before, learner->policy.model->w, bytes);
    free(before);
    batch_release(&batch);
    learner_free(learner);
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learner_step_is_what_pytorch_computes),
        cmocka_unit_test(learner_step_has_the_same_bits_for_any_thread_count),
        cmocka_unit_test(learner_changes_nothing_where_a_number_is_not_finite),
    };
    return cmocka_run_group_tests_name("learner/train", tests, open_world, close_world);
}
