/*
 * learner_bench.h -- a learner without a coordinator: tests play the worker's session.
 *
 * It defines what a learner calls of node/worker.h, so that worker.c is not linked: leases come
 * from a queue, what is sent is kept.  Models and the lease are those of tests/golden/train_step.json.
 */
#ifndef TESTS_UNIT_LEARNER_BENCH_H
#define TESTS_UNIT_LEARNER_BENCH_H

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "learner/learner.h"
#include "tests/unit/golden.h"

#define BENCH_ROWS 6
#define BENCH_SENT 16

/* What a learner sent. */
struct bench_sent {
    enum message_type type;
    uint64_t step, version, checkpoint;
    struct hash hash;
    uint32_t stats_n;
    struct wire_stat stats[WIRE_STATS_MAX];
    char text[WIRE_TEXT_MAX];
};

static struct bench_sent bench_sent[BENCH_SENT];
static size_t bench_sent_n;
static struct message bench_queue[BENCH_SENT];
static size_t bench_queue_at, bench_queue_n;
static uint64_t bench_version; /* what the worker was told it holds */

void worker_progress(struct worker *worker)
{
    (void)worker;
}

void worker_set_held(struct worker *worker, uint32_t items)
{
    (void)worker;
    (void)items;
}

void worker_set_weights(struct worker *worker, uint64_t version, const struct hash *hash)
{
    (void)worker;
    (void)hash;
    bench_version = version;
}

bool worker_stopping(struct worker *worker)
{
    (void)worker;
    return false;
}

/* What a test passes for the worker, or NULL: a lease comes at the n-th question; 0: never. */
struct bench_worker {
    atomic_int patience; /* the learner's thread and its exchange's ask */
};

bool worker_has_lease(struct worker *worker)
{
    struct bench_worker *w = (struct bench_worker *)worker;
    return w && atomic_load(&w->patience) > 0 && atomic_fetch_sub(&w->patience, 1) == 1;
}

bool worker_wait_lease(struct worker *worker, struct message *lease, int64_t timeout_ms)
{
    (void)worker;
    (void)timeout_ms;
    if (bench_queue_at == bench_queue_n)
        return false;
    *lease = bench_queue[bench_queue_at++];
    return true;
}

enum err_code worker_send(struct worker *worker, const struct message *m, struct err *err)
{
    (void)worker;
    (void)err;
    assert_in_range(bench_sent_n, 0, BENCH_SENT - 1);
    struct bench_sent *sent = &bench_sent[bench_sent_n++];
    *sent = (struct bench_sent){m->type, m->step,    m->version, m->checkpoint_version,
                                m->hash, m->stats_n, {{{0}, 0}}, {0}};
    if (m->stats_n > 0)
        memcpy(sent->stats, m->stats, m->stats_n * sizeof m->stats[0]);
    memcpy(sent->text, m->text, sizeof sent->text);
    return ERR_OK;
}

enum err_code worker_send_failed(struct worker *worker, const struct message *lease,
                                 const char *reason, struct err *err)
{
    struct message m = {.type = MESSAGE_LEASE_FAILED, .lease = lease->lease};
    message_set_text(&m, reason);
    return worker_send(worker, &m, err);
}

static inline double bench_stat(const struct wire_stat *stats, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(stats[i].name, name) == 0)
            return stats[i].value;
    fail_msg("no statistic is called %s", name);
    return 0;
}

/* A directory with a critic and a run.yaml, and the golden's lease. */
struct bench {
    char dir[64];
    struct run_config config;
    struct wire_context *context;
    json_t *golden;
    struct wire_item items[BENCH_ROWS];
    struct message lease;
    int32_t *ids;
    float *logp, *reward, *logref, *cost;
    uint32_t tokens;
    uint64_t below; /* learners take a checkpoint of a version before it; 0: the newest */
};

static inline void bench_write_critic(const struct bench *b, const char *name,
                                      const char *head_key)
{
    char path[FILE_PATH_MAX];
    struct err why = {0};
    struct model *critic = model_load_with_score_head(GOLDEN_DIR "models/llama", 1, &why);
    if (!critic)
        fail_msg("%s", why.text);
    float *head = golden_floats(b->golden, head_key);
    const struct model_tensor *score = model_find(critic, "score.weight");
    memcpy(critic->w + score->at, head, score->cols * sizeof *head);
    snprintf(path, sizeof path, "%s/%s", b->dir, name);
    check_ok(file_make_dir(path, &err));
    check_ok(model_save(critic, path, &err));
    free(head);
    model_free(critic);
}

/* `scorers` and `more` are of a run whose costs train, or empty. */
// clang-format off
#define BENCH_YAML(scorers, more)                                                          \
    "run: {dir: run, steps: 100, seed: 11}\n"                                              \
    "model: {policy: " GOLDEN_DIR "models/llama, critic: path, critic_path: critic,\n"      \
    "  cost_critic: path, cost_critic_path: cost}\n"                                       \
    "data: {prompts: prompts.jsonl, prompt_tokens_max: 16}\n"                              \
    "pipeline: {lag: 1, batch: 6}\n"                                                       \
    "sampling: {temperature: 0.7, max_new_tokens: 8}\n"                                    \
    "reward:\n"                                                                            \
    "  scorers:\n"                                                                         \
    "    - {name: r, kind: regex, pattern: a}\n"                                           \
    scorers                                                                                \
    "  truncation: bootstrap\n"                                                            \
    "kl: {estimator: k3, place: loss}\n"                                                   \
    "ppo: {gamma: 0.98, lambda: 0.9, epochs: 2, minibatches: 2, clip_low: 0.1,\n"          \
    "  clip_high: 0.2, value_clip: 0.05, value_coef: 0.5, entropy_coef: 0.02,\n"           \
    "  micro_tokens: 16}\n"                                                                \
    "optimizer: {lr: 1.0e-3, critic_lr: 4.0e-3, beta1: 0.9, beta2: 0.95, eps: 1.0e-3,\n"   \
    "  weight_decay: 0.1, grad_clip: 0.05, warmup_steps: 8}\n"                             \
    "checkpoint: {every: 2, keep: 2}\n"                                                    \
    more
// clang-format on

static const char bench_yaml[] = BENCH_YAML("", "");
static const char bench_cost_yaml[] =
    BENCH_YAML("    - {name: harm, kind: regex, pattern: b, role: cost}\n",
               "safety: {controller: fixed, limit: 0.5}\n");

static inline void bench_lease(struct bench *b)
{
    float *const *frames[] = {&b->logp, &b->reward, &b->logref, &b->cost};
    int32_t *prompt = golden_integers(b->golden, "prompt");
    int32_t *response = golden_integers(b->golden, "response");
    int32_t *cut = golden_integers(b->golden, "cut");
    b->ids = golden_integers(b->golden, "ids");
    b->logp = golden_floats(b->golden, "logp_old");
    b->reward = golden_floats(b->golden, "reward");
    b->logref = golden_floats(b->golden, "logref");
    b->cost = golden_floats(b->golden, "cost");
    b->tokens = (uint32_t)golden_size(b->golden, "logp_old");
    for (uint32_t i = 0; i < BENCH_ROWS; i++)
        b->items[i] = (struct wire_item){
            .kind = WIRE_WORK_ROLLOUT,
            .b = i,
            .prompt_tokens = (uint32_t)prompt[i],
            .response_tokens = (uint32_t)response[i],
            .finish = cut[i] ? WIRE_FINISH_LENGTH : WIRE_FINISH_EOS,
            .group = i,
        };
    b->lease = (struct message){
        .type = MESSAGE_TRAIN_LEASE,
        .kl_coef = 0.1,
        .items = b->items,
        .items_n = BENCH_ROWS,
        .frames_n = 4,
        .frame[0] = {b->ids, golden_size(b->golden, "ids") * sizeof(int32_t)},
    };
    for (size_t i = 0; i < COUNT(frames); i++)
        b->lease.frame[i + 1] = (struct wire_bytes){*frames[i], b->tokens * sizeof(float)};
    free(prompt);
    free(response);
    free(cut);
}

static inline void bench_open(struct bench *b)
{
    char path[FILE_PATH_MAX];
    *b = (struct bench){.golden = golden_open(GOLDEN_DIR "train_step.json")};
    golden_scratch(b->dir);
    bench_write_critic(b, "critic", "head");
    bench_write_critic(b, "cost", "cost_head");
    snprintf(path, sizeof path, "%s/run.yaml", b->dir);
    check_ok(file_write(path, bench_yaml, strlen(bench_yaml), &err));
    snprintf(path, sizeof path, "%s/run", b->dir);
    check_ok(file_make_dir(path, &err));
    check_ok(wire_context_new(&b->context, &err));
    bench_lease(b);
    bench_sent_n = bench_queue_at = bench_queue_n = 0;
}

/* From now on costs train: the golden's, with its multiplier. */
static inline void bench_take_costs(struct bench *b)
{
    char path[FILE_PATH_MAX];
    snprintf(path, sizeof path, "%s/run.yaml", b->dir);
    check_ok(file_write(path, bench_cost_yaml, strlen(bench_cost_yaml), &err));
    b->lease.frames_n = 5;
    b->lease.multiplier = json_number_value(json_object_get(b->golden, "multiplier"));
}

static inline void bench_close(struct bench *b)
{
    wire_context_free(b->context);
    json_decref(b->golden);
    free(b->ids);
    free(b->logp);
    free(b->reward);
    free(b->logref);
    free(b->cost);
    golden_scratch_remove(b->dir);
}

/* Read run.yaml with up to four overrides (NULL: none) and try to make a learner of it: the
 * one of that number. */
static inline enum err_code bench_try_number(struct bench *b, uint32_t number,
                                             const char *const overrides[4],
                                             struct learner **learner, struct err *why)
{
    char path[FILE_PATH_MAX], bulk[128], name[32];
    size_t n = 0;
    while (n < 4 && overrides[n])
        n++;
    snprintf(path, sizeof path, "%s/run.yaml", b->dir);
    check_ok(run_config_load(&b->config, path, overrides, n, &err));
    snprintf(bulk, sizeof bulk, "ipc://%s/bulk-%u", b->dir, number);
    snprintf(name, sizeof name, "learner-%u", number);
    return learner_new(learner, &b->config, name, b->below ? b->below : LEARNER_NEWEST,
                       b->context, bulk, why);
}

static inline enum err_code bench_try(struct bench *b, const char *const overrides[4],
                                      struct learner **learner, struct err *why)
{
    return bench_try_number(b, 0, overrides, learner, why);
}

#define BENCH_LEARNER(b, ...) bench_learner(b, (const char *const[4]){__VA_ARGS__})

static inline struct learner *bench_learner(struct bench *b, const char *const overrides[4])
{
    struct learner *learner = NULL;
    check_ok(bench_try(b, overrides, &learner, &err));
    return learner;
}

/* The golden's lease as that of `step`. */
static inline struct message bench_step(const struct bench *b, uint64_t step)
{
    struct message lease = b->lease;
    lease.step = step;
    lease.lease = step + 1;
    lease.behaviour_version = step > b->config.lag ? step - b->config.lag : 0;
    return lease;
}

/* Hand these leases to the learner; what it sent is in bench_sent. */
static inline enum err_code bench_compute(struct learner *learner, const struct message *leases,
                                          size_t n, struct err *err)
{
    memcpy(bench_queue, leases, n * sizeof *leases);
    bench_queue_at = bench_sent_n = 0;
    bench_queue_n = n;
    return learner_compute(NULL, learner, err);
}

/* Every tensor of the model moved from `before` as PyTorch's did: the golden's probes. */
static inline void bench_check_moved(const struct model *model, const float *before,
                                     const json_t *want)
{
    const char *name;
    json_t *moves;
    size_t tensors = 0;
    json_object_foreach((json_t *)want, name, moves)
    {
        const struct model_tensor *tensor = model_find(model, name);
        if (!tensor)
            fail_msg("the model has no %s", name);
        const size_t n = json_array_size(moves), size = (size_t)tensor->rows * tensor->cols;
        for (size_t i = 0; i < n; i++) {
            const size_t at = tensor->at + i * size / n;
            const double move = json_number_value(json_array_get(moves, i));
            const double got = (double)model->w[at] - (double)before[at];
            if (!(fabs(got - move) <= 5e-7 + 2e-4 * fabs(move)))
                fail_msg("%s[%zu] moved by %.9g, PyTorch's by %.9g", name, i * size / n, got,
                         move);
        }
        tensors++;
    }
    assert_int_equal(tensors, model->tensors_n);
}

#endif
