/*
 * test_run.c -- whole runs: `rlhf run` starts four kinds of process, which train a tiny model.
 *
 * The oracle is the promise of docs/ARCHITECTURE.md: the SHA-256 of the final weights is that
 * of the undisturbed run, whatever is killed and however many workers there are.  A run with
 * another seed must give another hash, so that the comparison can fail.
 */
#include "base/json.h"
#include "coordinator/ledger.h"
#include "node/gate_record.h"
#include "tests/e2e/held.h"

static char plain_sha[HASH_HEX_BYTES];

/* --- a small world to run in ---------------------------------------------------------- */

/* dir/reward: the policy's trunk with a score head. */
static void write_reward_model(void)
{
    char path[FILE_PATH_MAX];
    struct err why = {0};
    scene_path(path, "model");
    struct model *model = model_load_with_score_head(path, 1, &why);
    if (!model)
        fail_msg("%s", why.text);
    model_init_random(model, 2, 0.3f);
    scene_path(path, "reward");
    check_ok(file_make_dir(path, &err));
    check_ok(model_save(model, path, &err));
    model_free(model);
}

static int make_world(void **state)
{
    (void)state;
    scene_make();
    write_reward_model();
    scene_write(
        "run.yaml",
        "run:\n  dir: run\n  steps: 10\n  seed: 3\n"
        "model:\n  policy: model\n"
        "data:\n  prompts: prompts.jsonl\n  prompt_tokens_max: 64\n"
        "pipeline:\n  lag: 1\n  batch: 8\n"
        "sampling:\n  max_new_tokens: 16\n"
        "reward:\n  references: 2\n  scorers:\n"
        "    - name: words\n      kind: words\n      words: words.txt\n"
        "    - name: length\n      kind: length\n      min_tokens: 4\n      max_tokens: 12\n"
        "ppo:\n  epochs: 2\n  minibatches: 2\n  micro_tokens: 128\n"
        "optimizer:\n  lr: 1.0e-3\n  critic_lr: 1.0e-3\n"
        "checkpoint:\n  every: 3\n"
        "timeouts:\n  heartbeat_ms: 200\n  dead_ms: 1000\n  lease_ms: 5000\n");
    /* The same with a cost, and a monitor that nobody answers. */
    scene_write("harm.txt", "s\nt\nn\nr\nm\nd\n");
    scene_write("cost.yaml",
                "run:\n  dir: run\n  steps: 10\n  seed: 3\n"
                "model:\n  policy: model\n"
                "data:\n  prompts: prompts.jsonl\n  prompt_tokens_max: 64\n"
                "pipeline:\n  lag: 1\n  batch: 8\n"
                "sampling:\n  max_new_tokens: 16\n"
                "reward:\n  references: 2\n  scorers:\n"
                "    - name: words\n      kind: words\n      words: words.txt\n"
                "    - name: harm\n      kind: words\n      words: harm.txt\n      role: cost\n"
                "    - name: watch\n      kind: http\n      url: http://127.0.0.1:1/\n"
                "      role: monitor\n      timeout_ms: 20\n"
                "safety:\n  controller: lagrangian\n  cost: score\n  limit: 0.05\n  lr: 0.5\n"
                "ppo:\n  epochs: 2\n  minibatches: 2\n  micro_tokens: 128\n"
                "optimizer:\n  lr: 1.0e-3\n  critic_lr: 1.0e-3\n"
                "checkpoint:\n  every: 3\n"
                "timeouts:\n  heartbeat_ms: 200\n  dead_ms: 1000\n  lease_ms: 5000\n");
    return 0;
}

static int remove_world(void **state)
{
    (void)state;
    scene_remove();
    return 0;
}

/* --- starting, killing, waiting --------------------------------------------------------- */

struct run {
    pid_t pid;
    char dir[FILE_PATH_MAX];
};

static struct run run_start_from(const char *yaml, const char *name,
                                 const char *const *overrides)
{
    struct run run;
    char config[FILE_PATH_MAX], log[FILE_PATH_MAX + 8], where[FILE_PATH_MAX + 16];
    snprintf(run.dir, sizeof run.dir, "%s/%s", dir, name);
    snprintf(config, sizeof config, "%s/%s", dir, yaml);
    snprintf(log, sizeof log, "%s.out", run.dir);
    snprintf(where, sizeof where, "run.dir=%s", run.dir);
    const char *argv[20] = {RLHF_BIN "/rlhf", "run", config, where};
    for (size_t i = 0; overrides && overrides[i]; i++)
        argv[4 + i] = overrides[i];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    assert_int_equal(
        posix_spawn(&run.pid, argv[0], &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return run;
}

static struct run run_start(const char *name, const char *const *overrides)
{
    return run_start_from("run.yaml", name, overrides);
}

static struct run run_start_held_from(const char *yaml, const char *name,
                                      const char *const *overrides)
{
    held_begin();
    const struct run run = run_start_from(yaml, name, overrides);
    held_end();
    return run;
}

static struct run run_start_held(const char *name, const char *const *overrides)
{
    return run_start_held_from("run.yaml", name, overrides);
}

static void run_show(const struct run *run)
{
    static const char *const names[] = {".out", "/run.log"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[FILE_PATH_MAX + 16];
        struct buf text;
        buf_init(&text, 1 << 24);
        snprintf(path, sizeof path, "%s%s", run->dir, names[i]);
        if (file_read(path, &text, NULL) == ERR_OK)
            fprintf(stderr, "--- %s\n%s\n", path,
                    text.len > 4000 ? text.data + text.len - 4000 : text.data);
        buf_release(&text);
    }
}

/* The exit status; a run that does not end in time is killed and fails the test. */
static int run_wait(const struct run *run)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    int status = 0;
    while (waitpid(run->pid, &status, WNOHANG) == 0) {
        if (clock_mono_ms() > deadline) {
            kill(run->pid, SIGTERM);
            scene_nap(3000);
            kill(run->pid, SIGKILL);
            waitpid(run->pid, &status, 0);
            run_show(run);
            fail_msg("%s did not end within %u ms", run->dir, SCENE_DEADLINE_MS);
        }
        held_go_on(run->dir);
        scene_nap(5);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void run_go_to(const struct run *run, uint64_t steps)
{
    held_go_to(run->pid, run->dir, steps);
}

/* In the midst of the step behind the one it went to. */
static void run_kill(const struct run *run, const char *program)
{
    held_go_on(run->dir);
    held_kill(run->pid, run->dir, program);
}

static void run_sha(const struct run *run, char hex[HASH_HEX_BYTES])
{
    char path[FILE_PATH_MAX + 32];
    struct hash hash;
    snprintf(path, sizeof path, "%s/final/model.safetensors", run->dir);
    check_ok(hash_file_sha256(&hash, path, &err));
    hash_hex(&hash, hex);
}

static void finish(const struct run *run, char sha[HASH_HEX_BYTES])
{
    const int status = run_wait(run);
    if (status != 0)
        run_show(run);
    assert_int_equal(status, 0);
    run_sha(run, sha);
}

static void expect_plain(const struct run *run)
{
    char sha[HASH_HEX_BYTES];
    finish(run, sha);
    if (plain_sha[0] == '\0') { /* where the first test was left out */
        const struct run plain = run_start("plain", NULL);
        finish(&plain, plain_sha);
    }
    assert_string_equal(sha, plain_sha);
}

static size_t run_count(const struct run *run, const char *file, const char *words)
{
    char path[FILE_PATH_MAX + 16];
    struct buf text;
    size_t n = 0;
    buf_init(&text, 1 << 24);
    snprintf(path, sizeof path, "%s%s", run->dir, file);
    check_ok(file_read(path, &text, &err));
    buf_puts(&text, "");
    for (const char *at = text.data; (at = strstr(at, words)); at++)
        n++;
    buf_release(&text);
    return n;
}

/* How often the words stand in what the run's processes wrote. */
static size_t run_log_count(const struct run *run, const char *words)
{
    return run_count(run, "/run.log", words);
}

/* None of its processes crashed: the weights would not show it. */
static void expect_no_restart(const struct run *run)
{
    assert_int_equal(run_count(run, ".out", "; again in"), 0);
}

/* The greatest |actor - learner| log-prob of any step that tells of it: one whose result was lost
 * with its learner does not. */
static void expect_no_logp_difference(const struct run *run)
{
    char path[FILE_PATH_MAX + 32];
    struct buf text;
    buf_init(&text, 1 << 24);
    snprintf(path, sizeof path, "%s/progress.jsonl", run->dir);
    check_ok(file_read(path, &text, &err));
    const char *from = text.data, *line;
    size_t n, lines = 0, told = 0;
    while (file_next_line(&from, text.data + text.len, &line, &n)) {
        struct err why = {0};
        json_t *json = json_parse(line, n, path, &why);
        assert_non_null(json);
        const json_t *diff = json_object_get(json, "logp_diff_max");
        assert_true(!diff || (json_is_number(diff) && json_number_value(diff) == 0.0));
        told += diff != NULL;
        json_decref(json);
        lines++;
    }
    assert_int_equal(lines, 10);
    assert_true(told > 0);
    buf_release(&text);
}

/* --- the promises ------------------------------------------------------------------------ */

static void run_ends_with_a_model(void **state)
{
    (void)state;
    const struct run run = run_start("plain", NULL);
    finish(&run, plain_sha);
    expect_no_logp_difference(&run);
    char path[FILE_PATH_MAX + 8];
    struct err err = {0};
    snprintf(path, sizeof path, "%s/final", run.dir);
    struct model *model = model_load(path, &err);
    if (!model)
        fail_msg("%s", err.text);
    model_free(model);
}

static void run_with_the_same_seed_has_the_same_weights(void **state)
{
    (void)state;
    const struct run run = run_start("again", NULL);
    expect_plain(&run);
    const char *const other_seed[] = {"run.seed=4", NULL};
    const struct run other = run_start("other", other_seed);
    char sha[HASH_HEX_BYTES];
    finish(&other, sha);
    assert_string_not_equal(sha, plain_sha);
}

static void run_does_not_depend_on_how_many_work(void **state)
{
    (void)state;
    const char *const many[] = {"workers.actors=3", "workers.rewards=2",
                                "workers.learner_threads=2", "workers.actor_rows=3", NULL};
    const struct run run = run_start("many", many);
    expect_plain(&run);
}

static void run_survives_kill(const char *program)
{
    char name[64];
    snprintf(name, sizeof name, "kill-%s", program + strlen("rlhf-"));
    const struct run run = run_start_held(name, NULL);
    run_go_to(&run, 2);
    run_kill(&run, program);
    run_go_to(&run, 5);
    run_kill(&run, program);
    expect_plain(&run);
}

static void run_survives_a_killed_actor(void **state)
{
    (void)state;
    run_survives_kill("rlhf-actor");
}

static void run_survives_a_killed_reward_process(void **state)
{
    (void)state;
    run_survives_kill("rlhf-reward");
}

static void run_survives_a_killed_learner(void **state)
{
    (void)state;
    run_survives_kill("rlhf-learner");
}

static void run_with_any_number_of_learners_has_the_same_weights(void **state)
{
    (void)state;
    static const char *const learners[] = {"workers.learners=2", "workers.learners=3",
                                           "workers.learners=4"};
    for (size_t i = 0; i < COUNT(learners); i++) {
        char name[32];
        snprintf(name, sizeof name, "learners-%zu", i + 2);
        const char *const overrides[] = {learners[i], NULL};
        const struct run run = run_start(name, overrides);
        expect_plain(&run);
        expect_no_logp_difference(&run);
    }
}

/* Each in turn, rank 0 among them, and two at once; then the coordinator. */
static void run_survives_killed_learners_of_three(void **state)
{
    (void)state;
    const char *const three[] = {"workers.learners=3", NULL};
    const struct run run = run_start_held("learners-killed", three);
    static const char *const victims[] = {"--name learner-1", "--name learner-0",
                                          "--name learner-2", "rlhf-coordinator"};
    for (size_t i = 0; i < COUNT(victims); i++) {
        run_go_to(&run, 1 + 2 * i);
        run_kill(&run, victims[i]);
        if (i == 2)
            held_kill(run.pid, run.dir, "--name learner-0");
    }
    expect_plain(&run);
}

/* A learner that stops without dying is dropped, and comes back when it goes on.  Of the first by
 * name actors have their weights: they must not wait for it either. */
static void run_survives_a_stopped_learner_of_two(void **state)
{
    (void)state;
    static const char *const victims[] = {"learner-0", "learner-1"};
    const char *const two[] = {"workers.learners=2", NULL};
    for (size_t i = 0; i < COUNT(victims); i++) {
        char name[48];
        snprintf(name, sizeof name, "stopped-%s", victims[i]);
        const struct run run = run_start_held(name, two);
        run_go_to(&run, 2);
        snprintf(name, sizeof name, "--name %s", victims[i]);
        const pid_t pid = held_find(run.pid, run.dir, name);
        assert_int_equal(kill(pid, SIGSTOP), 0);
        run_go_to(&run, 5);
        assert_int_equal(kill(pid, SIGCONT), 0);
        expect_plain(&run);
    }
}

/* Learners, a kill and other shapes of work, with linear layers in bf16. */
static void run_in_bf16_has_the_same_weights_whatever_happens(void **state)
{
    (void)state;
    const char *const bf16[] = {"model.precision=bf16", NULL};
    const char *const many[] = {"model.precision=bf16", "workers.learners=2",
                                "workers.actors=2",     "workers.learner_threads=2",
                                "workers.actor_rows=3", NULL};
    char first[HASH_HEX_BYTES], sha[HASH_HEX_BYTES];
    struct run run = run_start("bf16", bf16);
    finish(&run, first);
    assert_string_not_equal(first, plain_sha);
    expect_no_logp_difference(&run);

    run = run_start("bf16-many", many);
    finish(&run, sha);
    assert_string_equal(sha, first);
    expect_no_logp_difference(&run);

    run = run_start_held("bf16-killed", bf16);
    run_go_to(&run, 2);
    run_kill(&run, "rlhf-learner");
    run_go_to(&run, 5);
    run_kill(&run, "rlhf-learner");
    finish(&run, sha);
    assert_string_equal(sha, first);
}

static void run_survives_a_killed_coordinator(void **state)
{
    (void)state;
    run_survives_kill("rlhf-coordinator");
}

static void run_keeps_the_shapers_statistics_through_a_kill(void **state)
{
    (void)state;
    const char *const meanstd[] = {"reward.shaper=meanstd", NULL};
    char undisturbed[HASH_HEX_BYTES], killed[HASH_HEX_BYTES];
    struct run run = run_start("meanstd", meanstd);
    finish(&run, undisturbed);
    run = run_start_held("meanstd-killed", meanstd);
    run_go_to(&run, 4);
    run_kill(&run, "rlhf-coordinator");
    finish(&run, killed);
    assert_string_equal(killed, undisturbed);
    assert_string_not_equal(killed, plain_sha);
}

/* --- costs ------------------------------------------------------------------------------- */

/* The multiplier of each step, as progress.jsonl tells it. */
static void read_multipliers(const struct run *run, double multiplier[10])
{
    char path[FILE_PATH_MAX + 32];
    struct buf text;
    buf_init(&text, 1 << 24);
    snprintf(path, sizeof path, "%s/progress.jsonl", run->dir);
    check_ok(file_read(path, &text, &err));
    const char *from = text.data, *line;
    size_t n, lines = 0;
    while (file_next_line(&from, text.data + text.len, &line, &n)) {
        struct err why = {0};
        json_t *json = json_parse(line, n, path, &why);
        assert_non_null(json);
        double missing = 0, trained = 0, step = 0;
        check_ok(json_get_double(json, "step", 0, 9, &step, path, &err));
        check_ok(json_get_double(json, "multiplier_after", 0, 5, &multiplier[(int)step], path,
                                 &err));
        check_ok(json_get_double(json, "missing.watch", 0, 8, &missing, path, &err));
        check_ok(json_get_double(json, "trained", 0, 8, &trained, path, &err));
        assert_true(missing == 8 && trained == 8); /* what only watches drops nothing */
        assert_true(json_is_null(json_object_get(json, "score.watch")));
        json_decref(json);
        lines++;
    }
    assert_int_equal(lines, 10);
    buf_release(&text);
}

static void run_with_costs_has_the_same_weights_whatever_happens(void **state)
{
    (void)state;
    const char *const many[] = {"workers.actors=2", "workers.rewards=2", NULL};
    char first[HASH_HEX_BYTES], sha[HASH_HEX_BYTES];
    double multiplier[10], again[10];
    struct run run = run_start_from("cost.yaml", "cost", NULL);
    finish(&run, first);
    expect_no_logp_difference(&run);
    assert_string_not_equal(first, plain_sha);
    read_multipliers(&run, multiplier);
    for (size_t i = 0; i < 10; i++)
        assert_true(multiplier[i] > 0.0 && (i == 0 || multiplier[i] != multiplier[i - 1]));

    run = run_start_from("cost.yaml", "cost-many", many);
    finish(&run, sha);
    assert_string_equal(sha, first);

    run = run_start_held_from("cost.yaml", "cost-killed", NULL);
    run_go_to(&run, 2);
    run_kill(&run, "rlhf-coordinator");
    run_go_to(&run, 4);
    run_kill(&run, "rlhf-learner");
    run_go_to(&run, 6);
    run_kill(&run, "rlhf-coordinator");
    finish(&run, sha);
    assert_string_equal(sha, first);
    read_multipliers(&run, again);
    assert_memory_equal(again, multiplier, sizeof multiplier);
}

static void run_with_costs_takes_every_controller_and_estimator(void **state)
{
    (void)state;
    char reward[FILE_PATH_MAX];
    snprintf(reward, sizeof reward, "reward.scorers.1.path=%s/reward", dir);
    const char *const cases[][6] = {
        {"safety.controller=fixed", NULL},
        {"safety.controller=pid", "safety.lambda=0", NULL},
        {"safety.controller=none", NULL},
        {"safety.gate_samples=100", NULL},
        {"ppo.estimator=grpo", "pipeline.samples_per_prompt=4", "kl.place=loss",
         "kl.estimator=k3", NULL},
        {"reward.scorers.1.kind=model", reward, "model.cost_critic=cost",
         "safety.cost=probability", "safety.limit=0.3", NULL},
    };
    char seen[COUNT(cases)][HASH_HEX_BYTES];
    for (size_t i = 0; i < COUNT(cases); i++) {
        char name[32];
        snprintf(name, sizeof name, "cost-case-%zu", i);
        const struct run run = run_start_from("cost.yaml", name, cases[i]);
        finish(&run, seen[i]);
        expect_no_logp_difference(&run);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(seen[i], seen[k]);
    }
}

static void run_without_any_cost_trains_nothing(void **state)
{
    (void)state;
    const char *const overrides[] = {
        "reward.scorers.1.kind=http", "reward.scorers.1.url=http://127.0.0.1:1/",
        "reward.scorers.1.timeout_ms=20", "timeouts.service_ms=0", NULL};
    const struct run run = run_start_from("cost.yaml", "cost-fails", overrides);
    assert_int_equal(run_wait(&run), 65);
    char path[FILE_PATH_MAX + 32];
    struct buf text;
    buf_init(&text, 1 << 24);
    snprintf(path, sizeof path, "%s/run.log", run.dir);
    check_ok(file_read(path, &text, &err));
    buf_puts(&text, "");
    assert_non_null(strstr(text.data, "every slot was dropped, there is nothing to train on"));
    assert_non_null(strstr(text.data, "harm: ")); /* and whose fault it was */
    assert_int_equal(scene_steps(run.dir), 0);
    snprintf(path, sizeof path, "%s/final", run.dir);
    assert_false(file_exists(path));
    buf_release(&text);
}

/* --- controllers ------------------------------------------------------------------------- */

/* What the ledger says of each step: the controllers' states, and whether it was set aside. */
struct states {
    size_t steps, aside;
    uint32_t n;
    double controller[10][RECORD_CONTROLLER_MAX];
};

static enum err_code keep_states(void *ctx, const struct record *record, struct err *err)
{
    struct states *states = ctx;
    const struct record_step *step = record->step;
    (void)err;
    assert_true(step->step == states->steps && states->steps < 10);
    states->n = step->controller_n;
    memcpy(states->controller[states->steps++], step->controller,
           step->controller_n * sizeof(double));
    states->aside += step->dropped[RECORD_REASON_QUARANTINED] > 0;
    return ERR_OK;
}

static void read_states(const struct run *run, struct states *states)
{
    struct ledger *ledger;
    *states = (struct states){0};
    check_ok(ledger_open_read(&ledger, run->dir, &err));
    check_ok(ledger_each_step(ledger, keep_states, states, &err));
    check_ok(ledger_close(ledger, &err));
    assert_int_equal(states->steps, 10);
}

/* A PID on the KL, two shapers with statistics and a breaker that sets steps aside. */
static void run_resumes_its_controllers_to_the_last_digit(void **state)
{
    (void)state;
    static const char *const overrides[] = {"kl.controller=pid",
                                            "kl.target_nats_per_token=0.001",
                                            "reward.shapers=[meanstd, minmax]",
                                            "breaker.limits.0.signal=reward",
                                            "breaker.limits.0.deviations=1",
                                            "breaker.limits.0.outcome=skip",
                                            "breaker.limits.1.signal=grad_norm",
                                            "breaker.limits.1.ratio=1000",
                                            "breaker.window=4",
                                            "breaker.warmup=3",
                                            "breaker.skips_max=0",
                                            "breaker.trips_max=64",
                                            NULL};
    static struct states want, got;
    char first[HASH_HEX_BYTES], sha[HASH_HEX_BYTES];
    struct run run = run_start_from("cost.yaml", "states", overrides);
    finish(&run, first);
    read_states(&run, &want);
    assert_true(want.aside > 0 && want.aside < 7);
    run = run_start_held_from("cost.yaml", "states-killed", overrides);
    run_go_to(&run, 2);
    run_kill(&run, "rlhf-coordinator");
    run_go_to(&run, 4);
    run_kill(&run, "rlhf-learner");
    run_go_to(&run, 6);
    run_kill(&run, "rlhf-coordinator");
    finish(&run, sha);
    assert_string_equal(sha, first);
    read_states(&run, &got);
    assert_memory_equal(&got, &want, sizeof want);
}

/* --- rollbacks --------------------------------------------------------------------------- */

/* A learning rate that takes the policy far away at once, and a breaker that takes it back: by
 * the KL before a step, by the gradient after one. */
static const char *const rollback_overrides[] = {"optimizer.lr=3.0e-2",
                                                 "breaker.limits.0.signal=kl",
                                                 "breaker.limits.0.high=2",
                                                 "breaker.limits.0.outcome=rollback",
                                                 "breaker.restore_every=2",
                                                 "breaker.lr_factor=0.2",
                                                 "breaker.trips_max=20",
                                                 "breaker.cooldown=2",
                                                 "checkpoint.keep=1",
                                                 "run.steps=12",
                                                 NULL};

/* `timeouts`: another override, or NULL. */
static struct run rollback_start(const char *name, const char *learners, const char *timeouts,
                                 bool held)
{
    const char *overrides[COUNT(rollback_overrides) + 2];
    memcpy(overrides, rollback_overrides, sizeof rollback_overrides);
    overrides[COUNT(rollback_overrides) - 1] = learners;
    overrides[COUNT(rollback_overrides)] = timeouts;
    overrides[COUNT(rollback_overrides) + 1] = NULL;
    return (held ? run_start_held_from : run_start_from)("cost.yaml", name, overrides);
}

/* Steps that went back, in the order of the ledger. */
struct rollbacks {
    size_t n;
    uint64_t step[16];
};

static enum err_code keep_rollbacks(void *ctx, const struct record *record, struct err *err)
{
    struct rollbacks *rollbacks = ctx;
    (void)err;
    if (record->step->dropped[RECORD_REASON_QUARANTINED] > 0 && rollbacks->n < 16)
        rollbacks->step[rollbacks->n++] = record->step->step;
    return ERR_OK;
}

static struct rollbacks read_rollbacks(const struct run *run)
{
    struct rollbacks rollbacks = {0};
    struct ledger *ledger;
    check_ok(ledger_open_read(&ledger, run->dir, &err));
    check_ok(ledger_each_step(ledger, keep_rollbacks, &rollbacks, &err));
    check_ok(ledger_close(ledger, &err));
    return rollbacks;
}

/* Learner and coordinator are killed before, in and behind each of the first two rollbacks. */
static void run_goes_back_to_the_same_weights_whatever_is_killed(void **state)
{
    (void)state;
    static const char *const learners[] = {"workers.learners=1", "workers.learners=2"};
    char first[HASH_HEX_BYTES], sha[HASH_HEX_BYTES];
    struct run run = rollback_start("back", learners[0], NULL, false);
    finish(&run, first);
    const struct rollbacks want = read_rollbacks(&run);
    assert_true(want.n >= 2 && want.step[0] >= 1);
    assert_true(run_log_count(&run, " ROLLBACK ") >= want.n);
    assert_true(run_log_count(&run, " LEFT-BEHIND ") > 0);
    for (size_t l = 0; l < COUNT(learners); l++) {
        char name[32];
        snprintf(name, sizeof name, "back-killed-%zu", l);
        run = rollback_start(name, learners[l], NULL, true);
        for (size_t i = 0; i < 2; i++) {
            run_go_to(&run, want.step[i]);
            run_kill(&run, "--name learner-0");
            run_go_to(&run, want.step[i] + 1);
            run_kill(&run, l == 0 ? "rlhf-coordinator" : "--name learner-1");
            run_go_to(&run, want.step[i] + 2);
            run_kill(&run, "--name learner-0");
            if (l > 0)
                held_kill(run.pid, run.dir, "rlhf-coordinator");
        }
        finish(&run, sha);
        assert_string_equal(sha, first);
        const struct rollbacks got = read_rollbacks(&run);
        assert_memory_equal(&got, &want, sizeof want);
    }
}

/* The first version after 0 that this run went back to. */
static unsigned rollback_base(const struct run *run)
{
    static const char words[] = ": back to version ";
    char path[FILE_PATH_MAX + 16];
    struct buf text;
    unsigned base = 0;
    buf_init(&text, 1 << 24);
    snprintf(path, sizeof path, "%s/run.log", run->dir);
    check_ok(file_read(path, &text, &err));
    buf_puts(&text, "");
    for (const char *at = text.data; base == 0 && (at = strstr(at, words));)
        base = (unsigned)strtoul(at += strlen(words), NULL, 10);
    buf_release(&text);
    return base;
}

/* The run stands where that version is the newest: one of its checkpoint's files is cut off. */
static void damage_version(const struct run *run, unsigned version)
{
    char path[FILE_PATH_MAX + 64];
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    snprintf(path, sizeof path, "%s/checkpoints/v%08u/policy.moments.f32", run->dir, version);
    run_go_to(run, version);
    while (truncate(path, 100) != 0)
        held_turn(run->pid, run->dir, deadline);
}

/* What a step goes back to is damaged: the learner comes there again from before it.  One that was
 * taken for dead before would have found the damage, and made the version again, by then. */
static void a_version_to_go_back_to_is_made_again_where_it_is_damaged(void **state)
{
    (void)state;
    static const char *const learners[] = {"workers.learners=1", "workers.learners=2"};
    static const char patient[] = "timeouts.dead_ms=600000";
    char first[HASH_HEX_BYTES], sha[HASH_HEX_BYTES];
    struct run run = rollback_start("base", learners[0], NULL, false);
    finish(&run, first);
    const struct rollbacks want = read_rollbacks(&run);
    const unsigned base = rollback_base(&run);
    assert_true(base > 0);
    for (size_t l = 0; l < COUNT(learners); l++) {
        char name[32];
        snprintf(name, sizeof name, "base-%zu", l);
        run = rollback_start(name, learners[l], patient, true);
        damage_version(&run, base);
        finish(&run, sha);
        assert_string_equal(sha, first);
        const struct rollbacks got = read_rollbacks(&run);
        assert_memory_equal(&got, &want, sizeof want);
        assert_true(run_log_count(&run, " REWIND ") > 0);
    }
}

/* --- the gate ---------------------------------------------------------------------------- */

static void write_held_out_prompts(void)
{
    struct buf lines;
    buf_init(&lines, 1 << 20);
    for (size_t i = 0; i < 40; i++)
        buf_printf(&lines, "{\"prompt\": \"user: number %zu?\\nbot:\"}\n", i);
    scene_write("held.jsonl", lines.data);
    buf_release(&lines);
}

static void check_said(const struct run *run, const char *words)
{
    char path[FILE_PATH_MAX + 8];
    struct buf text;
    buf_init(&text, 1 << 24);
    snprintf(path, sizeof path, "%s.out", run->dir);
    check_ok(file_read(path, &text, &err));
    if (!strstr(text.data, words))
        fail_msg("%s said, without \"%s\":\n%s", run->dir, words, text.data);
    buf_release(&text);
}

static void run_publishes_what_passes_the_gate(void **state)
{
    (void)state;
    char held[FILE_PATH_MAX], published[FILE_PATH_MAX + 32], sha[HASH_HEX_BYTES];
    struct hash hash;
    write_held_out_prompts();
    snprintf(held, sizeof held, "gate.prompts=%s/held.jsonl", dir);
    const char *const passes[] = {held, "gate.every=1", "gate.candidates=5", "gate.cost=score",
                                  "gate.bound=hoeffding", "gate.limit=1.2", NULL};
    struct run run = run_start_held_from("cost.yaml", "gate", passes);
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    run_go_to(&run, 4);
    snprintf(published, sizeof published, "%s/gate.jsonl", run.dir);
    while (!file_exists(published)) /* the checkpoint of step 3 is a candidate too */
        held_turn(run.pid, run.dir, deadline);
    assert_int_equal(run_wait(&run), 0);
    check_said(&run, "/checkpoints/v0000000");
    check_said(&run, "gate      final: PASS");
    snprintf(published, sizeof published, "%s/published/model.safetensors", run.dir);
    check_ok(hash_file_sha256(&hash, published, &err));
    hash_hex(&hash, sha);
    run = run_start_from("cost.yaml", "gate", passes); /* complete: nothing is spent again */
    char again[HASH_HEX_BYTES];
    finish(&run, again);
    assert_string_equal(again, sha); /* what was published is final/ */
    check_said(&run, "tested before");
    struct gate_history history; /* the checkpoint that was tested, final, and final again */
    check_ok(gate_record_load(&history, run.dir, &err));
    assert_true(history.n >= 3);
    const struct gate_record *last = &history.record[history.n - 1], *first = history.record;
    double tested = 0; /* a complete run that is started again may look at checkpoints again */
    for (size_t i = 0; i < history.n; i++)
        tested += !history.record[i].before;
    while (strcmp(first->name, last->name) != 0)
        first++;
    assert_true(first->decision == GATE_RECORD_PASS && !first->before && last->before);
    assert_true(last->version > history.record[0].version && history.record[0].version >= 1);
    assert_true(last->upper == first->upper && last->spent == tested);
    assert_true(history.published_version == last->version);
    gate_record_release(&history);
    struct buf page;
    buf_init(&page, 1 << 24);
    snprintf(published, sizeof published, "%s/report.html", run.dir);
    check_ok(file_read(published, &page, &err));
    assert_non_null(strstr(page.data, "PASS, tested before, published now"));
    buf_release(&page);

    const char *const fails[] = {held, "gate.candidates=5", "gate.cost=score",
                                 "gate.bound=hoeffding", "gate.limit=1.2",
                                 "reward.scorers.1.weight=1000", NULL};
    run = run_start_from("cost.yaml", "gate-nsf", fails); /* costs above gate.cost_high */
    assert_int_equal(run_wait(&run), 1);
    check_said(&run, "NSF, no safe solution");
    snprintf(published, sizeof published, "%s/published", run.dir);
    assert_false(file_exists(published));
}

static void run_that_was_interrupted_goes_on(void **state)
{
    (void)state;
    struct run run = run_start_held("interrupted", NULL);
    run_go_to(&run, 4);
    held_interrupt(run.pid, run.dir);
    assert_int_equal(run_wait(&run), 75);
    assert_int_equal(scene_process((const char *const[]){run.dir, NULL}), 0); /* none is left */
    run = run_start("interrupted", (const char *const[]){"--resume", NULL});
    expect_plain(&run);
}

static void run_is_never_begun_where_one_is_to_be_resumed(void **state)
{
    (void)state;
    const struct run run = run_start("mistyped", (const char *const[]){"--resume", NULL});
    assert_int_equal(run_wait(&run), 69);
    check_said(&run, "mistyped holds no run");
    assert_false(file_exists(run.dir));
}

static void run_takes_every_lag_and_estimator(void **state)
{
    (void)state;
    char reward[FILE_PATH_MAX];
    snprintf(reward, sizeof reward, "reward.scorers.2.path=%s/reward", dir);
    const char *const cases[][10] = {
        {"pipeline.lag=0", NULL},
        {"pipeline.lag=2", NULL},
        {"ppo.estimator=grpo", "pipeline.samples_per_prompt=4", "kl.place=loss",
         "kl.estimator=k3", NULL},
        {"ppo.estimator=rloo", "pipeline.samples_per_prompt=2", "reward.shaper=none", NULL},
        {"ppo.estimator=reinforce++", "reward.shaper=centered", NULL},
        {"reward.scorers.2.name=model", "reward.scorers.2.kind=model", reward,
         "reward.scorers.3.name=vowels", "reward.scorers.3.kind=regex",
         "reward.scorers.3.pattern='[aeiou]{2}'", "model.critic=reward",
         "reward.truncation=bootstrap", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char name[32], sha[HASH_HEX_BYTES];
        snprintf(name, sizeof name, "case-%zu", i);
        const struct run run = run_start(name, cases[i]);
        finish(&run, sha);
        expect_no_logp_difference(&run);
        assert_string_not_equal(sha, plain_sha);
    }
}

static void run_refuses_a_broken_model_with_one_sentence(void **state)
{
    (void)state;
    char broken[FILE_PATH_MAX];
    snprintf(broken, sizeof broken, "%s/broken", dir);
    check_ok(file_make_dir(broken, &err));
    char tokenizer[FILE_PATH_MAX];
    struct buf text;
    buf_init(&text, 1 << 20);
    check_ok(file_join(tokenizer, dir, "model/tokenizer.json", &err));
    check_ok(file_read(tokenizer, &text, &err));
    scene_write("broken/tokenizer.json", text.data);
    buf_clear(&text);
    scene_write("broken/config.json", "{\"model_type\": \"llama\", \"hidden_size\": \"x\"}");
    char policy[FILE_PATH_MAX + 16];
    snprintf(policy, sizeof policy, "model.policy=%s", broken);
    const char *const overrides[] = {policy, NULL};
    const struct run run = run_start("refused", overrides);
    assert_int_equal(run_wait(&run), 65);
    char path[FILE_PATH_MAX + 8];
    snprintf(path, sizeof path, "%s.out", run.dir);
    check_ok(file_read(path, &text, &err));
    assert_non_null(strstr(text.data, "broken/config.json"));
    buf_release(&text);
}

/* First nothing is in the store, then everything the run needs: the bits are those of a run
 * without one.  Another seed shares it where reward.reference_seed says so. */
static void run_with_a_store_of_references_gives_the_same_weights(void **state)
{
    (void)state;
    char store[FILE_PATH_MAX + 32];
    snprintf(store, sizeof store, "reward.reference_store=%s/references.sqlite", dir);
    const char *const overrides[] = {store, NULL};
    const struct run fills = run_start("store-a", overrides);
    expect_plain(&fills);
    assert_int_equal(run_log_count(&fills, "0 reference responses were in the store"), 1);
    const struct run finds = run_start("store-b", overrides);
    expect_plain(&finds);
    assert_int_equal(run_log_count(&finds, "were in the store, 0 were made"), 1);
    assert_int_equal(run_log_count(&finds, "references were in the store, 0 were given"), 1);

    char sha[HASH_HEX_BYTES];
    const char *const other[] = {store, "run.seed=4", "reward.reference_seed=3", NULL};
    const struct run shares = run_start("store-c", other);
    finish(&shares, sha);
    assert_string_not_equal(sha, plain_sha);
    assert_int_equal(run_log_count(&shares, "were in the store, 0 were made"), 1);
    char alone_sha[HASH_HEX_BYTES]; /* it makes what the other found */
    const struct run alone = run_start("store-e", &other[1]);
    finish(&alone, alone_sha);
    assert_string_equal(alone_sha, sha);
    const char *const own[] = {store, "run.seed=4", "run.steps=2", NULL};
    const struct run makes = run_start("store-d", own);
    finish(&makes, sha);
    assert_int_equal(run_log_count(&makes, "0 reference responses were in the store"), 1);
    const struct run *const all[] = {&fills, &finds, &shares, &alone, &makes};
    for (size_t i = 0; i < COUNT(all); i++)
        expect_no_restart(all[i]);
}

/* Prompts and word lists that were edited between two parts of a run are named; put back, it goes
 * on to the weights of one that nobody touched. */
static void run_refuses_files_that_changed_under_it(void **state)
{
    (void)state;
    static const char *const names[] = {"prompts.jsonl", "words.txt"};
    static const char *const words[] = {"its prompts are not those that this run began with",
                                        "it scores with other models, lists, labels"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char name[16], path[FILE_PATH_MAX];
        struct buf text;
        snprintf(name, sizeof name, "edited-%zu", i);
        const struct run first = run_start_held(name, NULL);
        run_go_to(&first, 2);
        held_interrupt(first.pid, first.dir);
        assert_int_equal(run_wait(&first), 75);

        buf_init(&text, 1 << 20);
        check_ok(file_join(path, dir, names[i], &err));
        check_ok(file_read(path, &text, &err));
        char *last = text.data + text.len - 4; /* inside the last word */
        const char was = *last;
        *last = was == 'o' ? 'a' : '?';
        check_ok(file_write(path, text.data, text.len, &err));
        const struct run refused = run_start(name, NULL);
        const int status = run_wait(&refused);
        if (status == 0 || run_log_count(&refused, words[i]) == 0)
            run_show(&refused);
        assert_int_equal(status, 78);
        assert_true(run_log_count(&refused, words[i]) > 0);

        *last = was;
        check_ok(file_write(path, text.data, text.len, &err));
        const struct run again = run_start(name, NULL);
        expect_plain(&again);
        buf_release(&text);
    }
}

/* test_run [PATTERN]: tests whose names match, "*learner*". */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_ends_with_a_model),
        cmocka_unit_test(run_with_the_same_seed_has_the_same_weights),
        cmocka_unit_test(run_does_not_depend_on_how_many_work),
        cmocka_unit_test(run_survives_a_killed_actor),
        cmocka_unit_test(run_survives_a_killed_reward_process),
        cmocka_unit_test(run_survives_a_killed_learner),
        cmocka_unit_test(run_survives_a_killed_coordinator),
        cmocka_unit_test(run_with_any_number_of_learners_has_the_same_weights),
        cmocka_unit_test(run_survives_killed_learners_of_three),
        cmocka_unit_test(run_with_a_store_of_references_gives_the_same_weights),
        cmocka_unit_test(run_survives_a_stopped_learner_of_two),
        cmocka_unit_test(run_in_bf16_has_the_same_weights_whatever_happens),
        cmocka_unit_test(run_keeps_the_shapers_statistics_through_a_kill),
        cmocka_unit_test(run_with_costs_has_the_same_weights_whatever_happens),
        cmocka_unit_test(run_with_costs_takes_every_controller_and_estimator),
        cmocka_unit_test(run_without_any_cost_trains_nothing),
        cmocka_unit_test(run_resumes_its_controllers_to_the_last_digit),
        cmocka_unit_test(run_goes_back_to_the_same_weights_whatever_is_killed),
        cmocka_unit_test(a_version_to_go_back_to_is_made_again_where_it_is_damaged),
        cmocka_unit_test(run_publishes_what_passes_the_gate),
        cmocka_unit_test(run_that_was_interrupted_goes_on),
        cmocka_unit_test(run_is_never_begun_where_one_is_to_be_resumed),
        cmocka_unit_test(run_takes_every_lag_and_estimator),
        cmocka_unit_test(run_refuses_files_that_changed_under_it),
        cmocka_unit_test(run_refuses_a_broken_model_with_one_sentence),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("e2e/run", tests, make_world, remove_world);
}
