/*
 * test_offline_fit.c -- early stop, checkpoints, and a training killed and started again.
 *
 * Oracles: an undisturbed run of the same training, whose weights must be met to the bit; a
 * made-up task whose held-out loss is a list; what is in the checkpoint directory.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/unit/golden.h"
#include "tests/unit/near.h"
#include "tests/unit/score_bench.h"

static struct pool *pool;
static char dir[64];

static int setup(void **state)
{
    (void)state;
    pool_thread_init();
    pool = pool_new(1, NULL);
    golden_scratch(dir);
    return pool ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    pool_free(pool);
    golden_scratch_remove(dir);
    return 0;
}

/* ---- early stop, on a task of made-up losses ---- */

struct listed {
    const double *loss;
    size_t tests;
    struct model *model;
    float seen[16];  /* the first weight at each test */
    size_t fails_at; /* a test that ends in an error; 0: none */
    const char *checkpoints;
    uint64_t checkpoint_every; /* 0: each step */
};

static size_t listed_one(const void *ctx, uint32_t item)
{
    (void)ctx;
    (void)item;
    return 1;
}

static enum err_code listed_gradient(void *ctx, const uint32_t *items, size_t n, double weight,
                                     float *grad, double *loss, struct err *err)
{
    const struct listed *listed = ctx;
    (void)items;
    (void)err;
    memset(grad, 0, model_bytes(listed->model));
    for (size_t i = 0; i < n; i++) {
        grad[0] += (float)(1.0 / weight);
        *loss += 1.0;
    }
    return ERR_OK;
}

static enum err_code listed_evaluate(void *ctx, double *metric, struct err *err)
{
    struct listed *listed = ctx;
    if (listed->fails_at && listed->tests == listed->fails_at)
        return err_set(err, ERR_IO, "as wanted");
    listed->seen[listed->tests] = listed->model->w[0];
    metric[0] = listed->loss[listed->tests++];
    return ERR_OK;
}

static enum err_code try_listed(struct listed *listed, uint64_t patience,
                                struct fit_history *history, struct err *err)
{
    static const char *const metric[] = {"held_out_loss"};
    const struct fit_task task = {.ctx = listed,
                                  .items = 12,
                                  .tokens = listed_one,
                                  .weight = listed_one,
                                  .gradient = listed_gradient,
                                  .metric = metric,
                                  .metrics = 1,
                                  .evaluate = listed_evaluate};
    const uint64_t every = listed->checkpoint_every ? listed->checkpoint_every : 1;
    const struct fit_params params = {.seed = 1,
                                      .stream = RNG_STREAM_PREFERENCE,
                                      .epochs = 1,
                                      .step_tokens = 1,
                                      .micro_tokens = 1,
                                      .lr = 0.125,
                                      .schedule = SCHEDULE_constant,
                                      .adamw = {.beta1 = 0.9f, .beta2 = 0.9f, .eps = 1e-8f},
                                      .eval_every = 2,
                                      .patience = patience,
                                      .checkpoint_every = listed->checkpoints ? every : 0,
                                      .checkpoint_dir = listed->checkpoints};
    return fit_run(listed->model, pool, &task, &params, score_quiet, NULL, history, err);
}

static void run_listed(struct listed *listed, uint64_t patience, struct fit_history *history)
{
    check_ok(try_listed(listed, patience, history, &err));
}

static void the_best_weights_are_kept_where_patience_ends(void **state)
{
    (void)state;
    static const double loss[] = {3.0, 2.0, 2.5, 2.0, 1.0, 1.0};
    struct fit_history history;
    struct listed listed = {.loss = loss, .model = score_model(1)};
    run_listed(&listed, 2, &history);
    assert_true(history.stopped); /* 2.5 and a tie with 2.0 are no improvement */
    assert_int_equal(history.tests, 4);
    assert_int_equal(history.steps, 8);
    assert_int_equal(history.best, 1);
    assert_true(listed.model->w[0] == listed.seen[1]);
    assert_true(listed.seen[1] != listed.seen[3]);
    fit_history_release(&history);

    listed.tests = 0;
    run_listed(&listed, 3, &history); /* a little more patience, and 1.0 is found */
    assert_false(history.stopped);
    assert_int_equal(history.steps, 12);
    assert_int_equal(history.best, 4);
    assert_true(listed.model->w[0] == listed.seen[4]);
    fit_history_release(&history);

    listed.tests = 0;
    run_listed(&listed, 0, &history);
    assert_int_equal(history.steps, 12);
    assert_true(listed.model->w[0] == listed.seen[5]);
    fit_history_release(&history);
    model_free(listed.model);
}

/* engine/block.h packs the weights anew where their generation tells it to. */
static void who_had_packed_the_weights_sees_the_best_ones(void **state)
{
    (void)state;
    static const double loss[] = {3.0, 2.0, 2.5, 2.0};
    struct fit_history history;
    struct listed listed = {.loss = loss, .model = score_model(1)};
    const uint64_t before = listed.model->generation;
    run_listed(&listed, 2, &history);
    assert_true(listed.model->generation > before + history.steps); /* an update is one */
    fit_history_release(&history);
    model_free(listed.model);
}

static void a_loss_that_is_not_finite_is_never_the_best(void **state)
{
    (void)state;
    static const double loss[] = {(double)NAN, 2.0, (double)NAN, (double)INFINITY, 1, 1};
    struct fit_history history;
    struct listed listed = {.loss = loss, .model = score_model(1)};
    run_listed(&listed, 2, &history);
    assert_int_equal(history.best, 1);
    assert_int_equal(history.tests, 4);
    fit_history_release(&history);
    model_free(listed.model);
}

/* ---- killed and started again ---- */

static struct scoring_params resumable(const char *checkpoints)
{
    struct scoring_params params = score_params();
    params.fit.epochs = 3;
    params.fit.eval_every = 5;
    params.fit.patience = 100;
    params.fit.checkpoint_every = checkpoints ? 4 : 0;
    params.fit.checkpoint_dir = checkpoints;
    return params;
}

static void feedback_to_resume(struct feedback *f)
{
    score_pairs(f, FEEDBACK_REWARD, 300);
    check_ok(feedback_hold_out(f, 1, 0.2, &err));
}

static void die_at(void *arg, const struct fit_progress *progress)
{
    if (progress->step->step == *(const uint64_t *)arg)
        raise(SIGKILL);
}

/* In a process of its own: train with checkpoints, killed at `step` (0: never); its weights and
 * history go to `out`.  Whether it came to its end. */
static bool train_apart(const char *checkpoints, uint64_t step, const char *out)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct feedback f;
        struct fit_history history;
        struct buf bytes;
        struct pool *own = pool_new(2, NULL);
        struct model *model = score_model(1);
        struct scoring_params params = resumable(checkpoints);
        feedback_to_resume(&f);
        if (scoring_train(model, own, &f, &params, die_at, &step, &history, NULL))
            _exit(1);
        buf_init(&bytes, 1u << 24);
        buf_append(&bytes, model->w, model_bytes(model));
        buf_append(&bytes, history.step, history.steps * sizeof *history.step);
        buf_append(&bytes, history.test, history.tests * sizeof *history.test);
        _exit(file_write(out, bytes.data, bytes.len, NULL) ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return false;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return true;
}

static void a_killed_training_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    char apart[FILE_PATH_MAX], whole[FILE_PATH_MAX], checkpoints[FILE_PATH_MAX];
    struct hash hash[2];
    check_ok(file_join(whole, dir, "whole", &err));
    check_ok(file_join(apart, dir, "apart", &err));
    assert_true(train_apart(NULL, 0, whole));
    uint64_t draw = 99;
    for (int round = 0; round < 4; round++) {
        char name[32];
        snprintf(name, sizeof name, "resume%d", round);
        check_ok(file_join(checkpoints, dir, name, &err));
        check_ok(file_make_dir(checkpoints, &err));
        /* Three kills at random steps, some before what a checkpoint holds already. */
        for (int kill = 0; kill < 3; kill++)
            train_apart(checkpoints, 1 + draw_bits(&draw) % 34, apart);
        assert_true(train_apart(checkpoints, 0, apart));
        check_ok(hash_file_sha256(&hash[0], whole, &err));
        check_ok(hash_file_sha256(&hash[1], apart, &err));
        assert_memory_equal(&hash[0], &hash[1], sizeof hash[0]);
    }
}

/* The second test in a row that is no better comes after the interruption. */
static void patience_is_not_forgotten_with_an_interruption(void **state)
{
    (void)state;
    static const double loss[] = {3.0, 2.0, 2.5, 2.5, 1.0, 1.0};
    struct fit_history history;
    char checkpoints[FILE_PATH_MAX];
    check_ok(file_join(checkpoints, dir, "patience", &err));
    check_ok(file_make_dir(checkpoints, &err));
    struct listed listed = {
        .loss = loss, .model = score_model(1), .fails_at = 3, .checkpoints = checkpoints};
    check_fails(try_listed(&listed, 2, &history, &err), ERR_IO,
                "the test after step 8: as wanted");
    assert_int_equal(history.tests, 3);
    fit_history_release(&history);
    listed.fails_at = 0;
    run_listed(&listed, 2, &history);
    assert_true(history.stopped);
    assert_int_equal(history.steps, 8);
    assert_true(listed.model->w[0] == listed.seen[1]);
    fit_history_release(&history);

    /* What had stopped stays so. */
    run_listed(&listed, 2, &history);
    assert_int_equal(history.steps, 8);
    assert_int_equal(listed.tests, 4);
    fit_history_release(&history);
    model_free(listed.model);
}

/* What comes after the training may be killed as well. */
static void the_last_step_is_kept_wherever_it_falls(void **state)
{
    (void)state;
    static const double loss[] = {3.0, 2.0, 2.5, 2.5, 1.0, 1.0};
    static const struct {
        uint64_t patience;
        const char *last;
    } cases[] = {{0, "step-00000012"}, {2, "step-00000008"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fit_history history;
        char checkpoints[FILE_PATH_MAX], path[FILE_PATH_MAX];
        check_ok(file_join(checkpoints, dir, cases[i].last, &err));
        check_ok(file_make_dir(checkpoints, &err));
        struct listed listed = {.loss = loss,
                                .model = score_model(1),
                                .checkpoints = checkpoints,
                                .checkpoint_every = 7};
        run_listed(&listed, cases[i].patience, &history);
        check_ok(file_join(path, checkpoints, cases[i].last, &err));
        assert_true(file_exists(path));
        fit_history_release(&history);
        model_free(listed.model);
    }
}

static size_t entries(const char *path)
{
    size_t n = 0;
    DIR *list = opendir(path);
    assert_non_null(list);
    for (const struct dirent *entry; (entry = readdir(list));)
        n += entry->d_name[0] != '.';
    closedir(list);
    return n;
}

static void a_checkpoint_of_other_settings_is_refused(void **state)
{
    (void)state;
    char checkpoints[FILE_PATH_MAX], out[FILE_PATH_MAX], path[FILE_PATH_MAX];
    struct feedback f;
    struct fit_history history;
    check_ok(file_join(checkpoints, dir, "refused", &err));
    check_ok(file_join(out, dir, "refused.out", &err));
    check_ok(file_make_dir(checkpoints, &err));
    assert_false(train_apart(checkpoints, 10, out));
    assert_int_equal(entries(checkpoints), 1); /* the one before was removed */
    check_ok(file_join(path, checkpoints, "step-00000008/best.f32", &err));
    assert_true(file_exists(path));

    feedback_to_resume(&f);
    struct scoring_params params = resumable(checkpoints);
    params.fit.lr *= 2.0;
    struct model *model = score_model(1);
    check_fails(scoring_train(model, pool, &f, &params, score_quiet, NULL, &history, &err),
                ERR_USAGE, "other settings");
    fit_history_release(&history);
    params = resumable(checkpoints);
    f.ids.ids[3] ^= 1;
    check_fails(scoring_train(model, pool, &f, &params, score_quiet, NULL, &history, &err),
                ERR_USAGE, "other data");
    fit_history_release(&history);
    f.ids.ids[3] ^= 1;

    struct buf bytes;
    buf_init(&bytes, 1u << 24);
    check_ok(file_read(path, &bytes, &err));
    bytes.data[100] ^= 1; /* one bit of one weight */
    check_ok(file_write(path, bytes.data, bytes.len, &err));
    check_fails(scoring_train(model, pool, &f, &params, score_quiet, NULL, &history, &err),
                ERR_FORMAT, "best.f32");
    fit_history_release(&history);
    model_free(model); /* it has the weights that were read before */
    model = score_model(1);
    bytes.data[100] ^= 1;
    buf_putc(&bytes, 'x'); /* one byte too many */
    check_ok(file_write(path, bytes.data, bytes.len, &err));
    check_fails(scoring_train(model, pool, &f, &params, score_quiet, NULL, &history, &err),
                ERR_FORMAT, "best.f32");
    fit_history_release(&history);
    buf_release(&bytes);
    model_free(model);
    feedback_release(&f);
}

/* One setting after the other as it was not; false after the last. */
static bool change_setting(struct scoring_params *params, int which)
{
    switch (which) {
    case 0: params->loss.margin = 0.5; return true;
    case 1: params->loss.margin_scale = 0.5; return true;
    case 2: params->loss.label_smoothing = 0.1; return true;
    case 3: params->loss.reg = 0.01; return true;
    case 4: params->loss.center = 0.01; return true;
    case 5: params->fraction = 0.5; return true;
    case 6: params->fit.epochs++; return true;
    case 7: params->fit.step_tokens--; return true;
    case 8: params->fit.micro_tokens--; return true;
    case 9: params->fit.lr_floor = 0.2; return true;
    case 10: params->fit.warmup_steps = 1; return true;
    case 11: params->fit.schedule = SCHEDULE_linear; return true;
    case 12: params->fit.adamw.beta1 = 0.8f; return true;
    case 13: params->fit.adamw.beta2 = 0.8f; return true;
    case 14: params->fit.adamw.eps = 1e-6f; return true;
    case 15: params->fit.adamw.weight_decay = 0.1f; return true;
    case 16: params->fit.grad_clip = 2.0; return true;
    case 17: params->fit.eval_every++; return true;
    case 18: params->fit.patience--; return true;
    case 19: params->fit.seed++; return true;
    default: return false;
    }
}

static void every_setting_is_known_to_a_checkpoint(void **state)
{
    (void)state;
    char checkpoints[FILE_PATH_MAX], out[FILE_PATH_MAX];
    struct feedback f;
    struct model *model = score_model(1);
    struct scoring_params params;
    check_ok(file_join(checkpoints, dir, "settings", &err));
    check_ok(file_join(out, dir, "settings.out", &err));
    check_ok(file_make_dir(checkpoints, &err));
    assert_false(train_apart(checkpoints, 5, out));
    feedback_to_resume(&f);
    for (int which = 0;; which++) {
        struct fit_history history;
        params = resumable(checkpoints);
        if (!change_setting(&params, which))
            break;
        if (scoring_train(model, pool, &f, &params, score_quiet, NULL, &history, NULL) !=
            ERR_USAGE)
            fail_msg("setting %d was changed and nothing said", which);
        fit_history_release(&history);
    }
    model_free(model);
    feedback_release(&f);
}

/* The definition in engine/adamw.h, with update 0 for the first step. */
static void the_first_step_has_the_first_learning_rate(void **state)
{
    (void)state;
    struct feedback f;
    struct fit_history history;
    struct scoring_params params = score_params();
    struct model *model = score_model(1);
    score_pairs(&f, FEEDBACK_REWARD, 300);
    params.fit.schedule = SCHEDULE_linear;
    params.fit.warmup_steps = 4;
    check_ok(scoring_train(model, pool, &f, &params, score_quiet, NULL, &history, &err));
    assert_true(history.steps > 8);
    const double lr = params.fit.lr;
    for (uint64_t i = 0; i < 4; i++)
        check_near(history.step[i].lr, lr * (double)(i + 1) / 4.0, 1e-15);
    assert_true(history.step[4].lr <= lr && history.step[5].lr < history.step[4].lr);
    fit_history_release(&history);
    model_free(model);
    feedback_release(&f);
}

/* Replace `was` in the file by `now`, of the same length. */
static void damage(const char *path, const char *was, const char *now)
{
    struct buf text;
    buf_init(&text, 1u << 20);
    check_ok(file_read(path, &text, &err));
    char *at = strstr(text.data, was);
    assert_non_null(at);
    memcpy(at, now, strlen(now));
    check_ok(file_write(path, text.data, text.len, &err));
    buf_release(&text);
}

static void a_checkpoint_that_contradicts_itself_is_refused(void **state)
{
    (void)state;
    static const double loss[] = {3.0, 2.0};
    struct fit_history history;
    char checkpoints[FILE_PATH_MAX], path[FILE_PATH_MAX];
    check_ok(file_join(checkpoints, dir, "contradicts", &err));
    check_ok(file_make_dir(checkpoints, &err));
    struct listed listed = {
        .loss = loss, .model = score_model(1), .fails_at = 1, .checkpoints = checkpoints};
    check_fails(try_listed(&listed, 2, &history, &err), ERR_IO, "as wanted");
    fit_history_release(&history);
    /* Three steps, one test, the best so far. */
    check_ok(file_join(path, checkpoints, "step-00000003/STATE.json", &err));
    damage(path, "\"best\": 0", "\"best\": 9");
    check_fails(try_listed(&listed, 2, &history, &err), ERR_FORMAT, "\"best\"");
    fit_history_release(&history);
    damage(path, "\"tests\": 1", "\"tests\": 0");
    check_fails(try_listed(&listed, 2, &history, &err), ERR_FORMAT, "there is none");
    fit_history_release(&history);
    damage(path, "\"steps\": 3", "\"steps\": 0");
    check_fails(try_listed(&listed, 2, &history, &err), ERR_FORMAT, "\"steps\"");
    fit_history_release(&history);
    model_free(listed.model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_weights_are_kept_where_patience_ends),
        cmocka_unit_test(who_had_packed_the_weights_sees_the_best_ones),
        cmocka_unit_test(a_loss_that_is_not_finite_is_never_the_best),
        cmocka_unit_test(a_killed_training_goes_on_to_the_same_bits),
        cmocka_unit_test(patience_is_not_forgotten_with_an_interruption),
        cmocka_unit_test(the_last_step_is_kept_wherever_it_falls),
        cmocka_unit_test(a_checkpoint_of_other_settings_is_refused),
        cmocka_unit_test(every_setting_is_known_to_a_checkpoint),
        cmocka_unit_test(the_first_step_has_the_first_learning_rate),
        cmocka_unit_test(a_checkpoint_that_contradicts_itself_is_refused),
    };
    return cmocka_run_group_tests_name("offline/fit", tests, setup, teardown);
}
