/*
 * Oracles: a truth that was planted in the data (tests/unit/score_bench.h); central finite
 * differences of the loss through the whole model; metrics counted by hand; a second run for
 * what must not change a bit.
 */
#include "tests/unit/near.h"
#include "tests/unit/score_bench.h"

static struct pool *pool;

static int setup(void **state)
{
    (void)state;
    pool_thread_init();
    pool = pool_new(1, NULL);
    return pool ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    pool_free(pool);
    return 0;
}

/* ---- learning ---- */

static void a_planted_order_is_learned(void **state)
{
    (void)state;
    struct feedback f;
    struct fit_history history;
    struct model *model = score_model(1);
    struct scoring_params params = score_params();
    params.fit.epochs = 40;
    score_pairs(&f, FEEDBACK_REWARD, 2000);
    check_ok(feedback_hold_out(&f, 1, 0.2, &err));
    check_ok(scoring_train(model, pool, &f, &params, score_quiet, NULL, &history, &err));
    const double accuracy = score_last(&history, 1), loss = score_last(&history, 0);
    if (!(accuracy > 0.95 && loss < 0.25))
        fail_msg("accuracy %g and loss %g on pairs held out", accuracy, loss);
    fit_history_release(&history);
    feedback_release(&f);
    model_free(model);
}

static void a_planted_cost_is_learned_with_its_sign(void **state)
{
    (void)state;
    struct feedback f;
    struct fit_history history;
    struct model *model = score_model(1);
    struct scoring_params params = score_params();
    params.fit.epochs = 40;
    score_pairs(&f, FEEDBACK_COST, 2000);
    check_ok(feedback_hold_out(&f, 1, 0.2, &err));
    check_ok(scoring_train(model, pool, &f, &params, score_quiet, NULL, &history, &err));
    const double accuracy = score_last(&history, 1), sign = score_last(&history, 9);
    if (!(accuracy > 0.95 && sign > 0.95))
        fail_msg("accuracy %g, of signs %g, on pairs held out", accuracy, sign);
    fit_history_release(&history);
    feedback_release(&f);
    model_free(model);
}

static void planted_attributes_are_learned_though_some_are_missing(void **state)
{
    (void)state;
    struct feedback f;
    struct fit_history history;
    struct model *model = score_model(2);
    struct scoring_params params = score_params();
    params.fit.epochs = 40;
    score_ratings(&f, 1500);
    check_ok(feedback_hold_out(&f, 1, 0.2, &err));
    check_ok(scoring_train(model, pool, &f, &params, score_quiet, NULL, &history, &err));
    const double r2[] = {score_last(&history, 2), score_last(&history, 5)};
    if (!(r2[0] > 0.9 && r2[1] > 0.9))
        fail_msg("R^2 %g and %g on answers held out", r2[0], r2[1]);
    fit_history_release(&history);
    feedback_release(&f);
    model_free(model);
}

/* ---- the gradient, through the whole model ---- */

/* AdamW without memory and with an eps that swamps |g| moves w by -g (lr / eps). */
static void take_gradient(struct model *model, const struct feedback *f,
                          const struct scoring_params *like, float *gradient)
{
    struct scoring_params params = *like;
    struct fit_history history;
    float *before = malloc(model_bytes(model));
    assert_non_null(before);
    memcpy(before, model->w, model_bytes(model));
    params.fit.epochs = 1;
    params.fit.lr = 1e6;
    params.fit.schedule = SCHEDULE_constant;
    params.fit.grad_clip = 0.0;
    params.fit.adamw = (struct adamw_params){.eps = 1e6f};
    check_ok(scoring_train(model, pool, f, &params, score_quiet, NULL, &history, &err));
    assert_int_equal(history.steps, 1);
    for (size_t i = 0; i < model->params; i++)
        gradient[i] = before[i] - model->w[i];
    memcpy(model->w, before, model_bytes(model));
    model->generation++;
    fit_history_release(&history);
    free(before);
}

/* Loss of the only item, from scores and the definition. */
static double loss_of(struct model *model, const struct feedback *f,
                      const struct scoring_params *params)
{
    const uint32_t item = 0;
    float first[2], second[2];
    double unused[2];
    model->generation++;
    check_ok(scoring_scores(model, pool, f, &item, 1, 64, first, second, &err));
    const struct feedback_item *of = &f->item[0];
    const double c = (double)first[0], r = (double)second[0];
    switch (f->kind) {
    case FEEDBACK_REWARD: return preference_reward(&params->loss, of->margin, c, r).loss;
    case FEEDBACK_COST:
        return preference_cost(&params->loss, c, r, of->sign[0], of->sign[1]).loss;
    case FEEDBACK_REGRESSION: break;
    }
    /* The mean over the numbers there are: two of them. */
    return preference_regression(first, f->want, 2, unused) / 2.0;
}

static void check_gradient(const struct feedback *f, const struct scoring_params *params)
{
    struct model *model = score_model(f->labels);
    float *gradient = malloc(model_bytes(model));
    assert_non_null(gradient);
    take_gradient(model, f, params, gradient);
    const float h = 0x1p-6f;
    for (size_t k = 0; k < model->tensors_n; k++) {
        const struct model_tensor *tensor = &model->tensors[k];
        const size_t size = (size_t)tensor->rows * tensor->cols;
        for (size_t probe = 0; probe < 6; probe++) {
            float *w = &model->w[tensor->at + (probe * 131 + 7) % size];
            const float was = *w;
            *w = was + h;
            const double up = loss_of(model, f, params);
            *w = was - h;
            const double down = loss_of(model, f, params);
            *w = was;
            const double want = (up - down) / (2.0 * (double)h);
            const double got = (double)gradient[w - model->w];
            if (!(fabs(got - want) <= 1e-4 + 1e-2 * fabs(want)))
                fail_msg("%s, element %zu: gradient %g, finite difference %g", tensor->name,
                         (probe * 131 + 7) % size, got, want);
        }
    }
    free(gradient);
    model_free(model);
}

static void the_gradient_is_that_of_the_loss(void **state)
{
    (void)state;
    struct feedback f;
    struct scoring_params params = score_params();
    params.loss = (struct preference_params){
        .margin = 0.1, .margin_scale = 0.5, .label_smoothing = 0.1, .reg = 0.3, .center = 0.2};
    score_pairs(&f, FEEDBACK_REWARD, 1);
    f.item[0].margin = 0.6;
    check_gradient(&f, &params);
    feedback_release(&f);

    params.loss = (struct preference_params){.reg = 0.3};
    score_pairs(&f, FEEDBACK_COST, 1);
    f.item[0].sign[0] = 1;
    f.item[0].sign[1] = -1;
    check_gradient(&f, &params);
    f.item[0].sign[1] = 0;
    check_gradient(&f, &params);
    feedback_release(&f);

    score_ratings(&f, 2);
    f.n = 1;
    f.want[0] = 0.7;
    f.want[1] = -1.5;
    check_gradient(&f, &params);
    feedback_release(&f);
}

/* ---- what changes bits and what does not ---- */

struct run {
    struct model *model;
    struct fit_history history;
};

static struct run run_with(const struct feedback *f, const struct scoring_params *params,
                           size_t threads)
{
    struct run run = {.model = score_model(1)};
    struct pool *own = pool_new(threads, NULL);
    assert_non_null(own);
    check_ok(scoring_train(run.model, own, f, params, score_quiet, NULL, &run.history, &err));
    pool_free(own);
    return run;
}

static void run_release(struct run *run)
{
    fit_history_release(&run->history);
    model_free(run->model);
}

static bool run_same(const struct run *a, const struct run *b)
{
    return memcmp(a->model->w, b->model->w, model_bytes(a->model)) == 0;
}

static void one_and_two_threads_give_the_same_bits(void **state)
{
    (void)state;
    struct feedback f;
    struct scoring_params params = score_params();
    score_pairs(&f, FEEDBACK_REWARD, 200);
    check_ok(feedback_hold_out(&f, 1, 0.2, &err));
    struct run one = run_with(&f, &params, 1), two = run_with(&f, &params, 2);
    assert_true(run_same(&one, &two));
    params.fit.seed = 4;
    struct run other = run_with(&f, &params, 1);
    assert_false(run_same(&one, &other));
    run_release(&one);
    run_release(&two);
    run_release(&other);
    feedback_release(&f);
}

static void micro_batches_decide_no_step(void **state)
{
    (void)state;
    struct feedback f;
    struct scoring_params params = score_params();
    score_pairs(&f, FEEDBACK_REWARD, 200);
    params.fit.micro_tokens = 32;
    struct run small = run_with(&f, &params, 1);
    params.fit.micro_tokens = 512;
    struct run large = run_with(&f, &params, 1);
    assert_int_equal(small.history.steps, large.history.steps);
    for (uint64_t i = 0; i < small.history.steps; i++) {
        assert_int_equal(small.history.step[i].tokens, large.history.step[i].tokens);
        check_near(small.history.step[i].loss, large.history.step[i].loss, 1e-4);
    }
    /* The step before any update differs in rounding alone. */
    check_near(small.history.step[0].loss, large.history.step[0].loss, 1e-7);
    run_release(&small);
    run_release(&large);
    feedback_release(&f);
}

static void a_score_that_is_not_finite_ends_the_training_by_its_step(void **state)
{
    (void)state;
    struct feedback f;
    struct fit_history history;
    struct scoring_params params = score_params();
    struct model *model = score_model(1);
    score_pairs(&f, FEEDBACK_REWARD, 200);
    params.fit.lr = 1e30;
    params.fit.schedule = SCHEDULE_constant;
    check_fails(scoring_train(model, pool, &f, &params, score_quiet, NULL, &history, &err),
                ERR_VALUE, "step 2: ");
    assert_int_equal(history.steps, 1);
    fit_history_release(&history);
    model_free(model);
    params.fit.micro_tokens = 7;
    model = score_model(1);
    check_fails(scoring_train(model, pool, &f, &params, score_quiet, NULL, &history, &err),
                ERR_VALUE, "tokens, a micro-batch 7");
    fit_history_release(&history);
    model_free(model);
    feedback_release(&f);
}

/* ---- the split ---- */

static void a_prompt_is_on_one_side(void **state)
{
    (void)state;
    struct feedback f;
    score_pairs(&f, FEEDBACK_REWARD, 400); /* 200 prompts of two pairs */
    check_ok(feedback_hold_out(&f, 9, 0.25, &err));
    size_t held = 0;
    for (size_t i = 0; i < f.n; i += 2) {
        assert_int_equal(f.item[i].held_out, f.item[i + 1].held_out);
        held += f.item[i].held_out;
    }
    assert_int_equal(held, 50);
    const bool was = f.item[0].held_out;

    /* The order of the items does not matter; the seed does. */
    const struct feedback_item first = f.item[0];
    memmove(f.item, f.item + 1, (f.n - 1) * sizeof first);
    f.item[f.n - 1] = first;
    check_ok(feedback_hold_out(&f, 9, 0.25, &err));
    assert_int_equal(f.item[f.n - 1].held_out, was);
    check_ok(feedback_hold_out(&f, 10, 0.25, &err));
    size_t moved = 0;
    uint32_t nine[400], ten[400];
    const size_t n = feedback_held_out(&f, ten);
    check_ok(feedback_hold_out(&f, 9, 0.25, &err));
    assert_int_equal(feedback_held_out(&f, nine), n);
    for (size_t i = 0; i < n; i++)
        moved += nine[i] != ten[i];
    assert_true(moved > n / 2);
    feedback_release(&f);
}

static void what_a_held_out_prompt_has_in_training_is_left_out(void **state)
{
    (void)state;
    struct feedback f;
    uint32_t items[8];
    size_t apart;
    score_pairs(&f, FEEDBACK_REWARD, 8);
    f.item[3].held_out = true; /* its prompt has item 2 as well */
    check_ok(feedback_separate(&f, &apart, &err));
    assert_int_equal(apart, 1);
    assert_true(f.item[2].left_out);
    assert_int_equal(feedback_trained(&f, 1, 1.0, items), 6);
    assert_int_equal(feedback_held_out(&f, items), 1);
    assert_int_equal(items[0], 3);
    f.item[3].left_out = true;
    assert_int_equal(feedback_held_out(&f, items), 0);
    feedback_release(&f);
}

/* A checkpoint is gone on from where the hash of the data is the same. */
static void the_hash_of_feedback_knows_every_field(void **state)
{
    (void)state;
    struct feedback f;
    struct hash whole, other;
    score_pairs(&f, FEEDBACK_COST, 4);
    feedback_hash(&f, &whole);
    const struct feedback_item was = f.item[1];
    struct feedback_item changed[8];
    for (size_t i = 0; i < COUNT(changed); i++)
        changed[i] = was;
    changed[0].seq[0] ^= 1;
    changed[1].seq[1] ^= 1;
    changed[2].sign[0] = 0;
    changed[3].sign[1] = 0;
    changed[4].held_out = !was.held_out;
    changed[5].left_out = !was.left_out;
    changed[6].prompt++;
    changed[7].margin = 1.0;
    for (size_t i = 0; i < COUNT(changed); i++) {
        f.item[1] = changed[i];
        feedback_hash(&f, &other);
        if (memcmp(&other, &whole, sizeof whole) == 0)
            fail_msg("change %zu is not seen", i);
    }
    f.item[1] = was;
    f.offset[1]++; /* the same ids, cut elsewhere */
    feedback_hash(&f, &other);
    assert_memory_not_equal(&other, &whole, sizeof whole);
    f.offset[1]--;
    feedback_hash(&f, &other);
    assert_memory_equal(&other, &whole, sizeof whole);
    feedback_release(&f);

    score_ratings(&f, 4);
    feedback_hash(&f, &whole);
    f.want[3] += 1.0;
    feedback_hash(&f, &other);
    assert_memory_not_equal(&other, &whole, sizeof whole);
    feedback_release(&f);
}

static void a_member_sees_its_share_of_the_prompts(void **state)
{
    (void)state;
    struct feedback f;
    static uint32_t a[4000], b[4000];
    score_pairs(&f, FEEDBACK_REWARD, 4000);
    const size_t n = feedback_trained(&f, 1, 0.5, a), m = feedback_trained(&f, 2, 0.5, b);
    /* 2,000 prompts: five standard deviations are 112 of them, 224 pairs. */
    assert_true(n > 1776 && n < 2224 && m > 1776 && m < 2224);
    size_t both = 0;
    for (size_t i = 0, j = 0; i < n && j < m;) {
        both += a[i] == b[j];
        const bool first = a[i] <= b[j], second = b[j] <= a[i];
        i += first;
        j += second;
    }
    assert_true(both > 800 && both < 1200); /* drawn independently */

    /* And independently of what is held out, also by the same seed. */
    check_ok(feedback_hold_out(&f, 1, 0.25, &err));
    const size_t rest = feedback_trained(&f, 1, 0.5, a);
    assert_true(rest > 1300 && rest < 1700);
    feedback_release(&f);
}

/* ---- metrics ---- */

static void metrics_are_what_a_hand_count_gives(void **state)
{
    (void)state;
    struct feedback f;
    double metric[FIT_METRICS_MAX];
    score_pairs(&f, FEEDBACK_COST, 4);
    const uint32_t items[] = {0, 1, 2, 3};
    const int8_t sign[4][2] = {{1, -1}, {1, 1}, {0, -1}, {-1, 0}};
    for (size_t i = 0; i < 4; i++)
        memcpy(f.item[i].sign, sign[i], sizeof sign[i]);
    const float first[] = {1.0f, 2.0f, -1.0f, 0.0f}, second[] = {-1.0f, 3.0f, -2.0f, 5.0f};
    scoring_metrics(&f, items, 4, first, second, metric);
    check_near(metric[1], 0.5, 1e-15);  /* right: the first, the third */
    check_near(metric[2], 0.25, 1e-15); /* sqrt(0.5 * 0.5 / 4) */
    check_near(metric[4], (2.0 - 1.0 + 1.0 - 5.0) / 4.0, 1e-15);
    check_near(metric[5], 0.5, 1e-15);
    check_near(metric[6], sqrt((0.25 + 2.25 + 2.25 + 0.25) / 3.0), 1e-15);
    check_near(metric[7], 1.25,
               1e-15); /* of -1, 3, -2, 5: squares off it 5.0625, 3.0625, ... */
    check_near(metric[8], sqrt((5.0625 + 3.0625 + 10.5625 + 14.0625) / 3.0), 1e-15);
    /* Six known signs; one of them a tie. */
    check_near(metric[9], 5.5 / 6.0, 1e-15);
    double loss = 0.0;
    const struct preference_params plain = {0};
    for (size_t i = 0; i < 4; i++)
        loss +=
            preference_cost(&plain, (double)first[i], (double)second[i], sign[i][0], sign[i][1])
                .loss;
    check_near(metric[0], loss / 4.0, 1e-15);
    scoring_metrics(&f, items, 0, first, second, metric);
    assert_true(isnan(metric[0]) && isnan(metric[1]));
    feedback_release(&f);
}

static void regression_metrics_are_those_of_the_definition(void **state)
{
    (void)state;
    struct feedback f;
    double metric[FIT_METRICS_MAX];
    score_ratings(&f, 4);
    const double want[] = {1, 5, 2, (double)NAN, 4, 6, 5, 9};
    memcpy(f.want, want, sizeof want);
    const uint32_t items[] = {0, 1, 2, 3};
    const float score[] = {1.5f, 5.0f, 2.0f, 100.0f, 3.0f, 7.0f, 5.5f, 8.0f};
    scoring_metrics(&f, items, 4, score, NULL, metric);
    /* First attribute: errors .5, 0, -1, .5; want has mean 3 and squares 4 + 1 + 1 + 4. */
    check_near(metric[1], 1.5 / 4.0, 1e-12);
    check_near(metric[2], 1.0 - 1.5 / 10.0, 1e-12);
    /* score - 3: -1.5, -1, 0, 2.5; product with want - 3: 3 + 1 + 0 + 5; squares 9.5. */
    check_near(metric[3], 9.0 / sqrt(9.5 * 10.0), 1e-12);
    check_near(metric[4], 2.0 / 3.0, 1e-12); /* errors 0, 1, -1: one is missing */
    check_near(metric[0], (1.5 + 2.0) / 7.0, 1e-12);

    /* Numbers that are all the same: there is nothing to explain. */
    const double same[] = {3, 5, 3, 6, 3, 7, 3, 8};
    memcpy(f.want, same, sizeof same);
    scoring_metrics(&f, items, 4, score, NULL, metric);
    assert_true(isfinite(metric[1]) && isnan(metric[2]) && isnan(metric[3]));
    assert_true(isfinite(metric[5]) && isfinite(metric[6]));
    feedback_release(&f);
}

static void baselines_read_no_text(void **state)
{
    (void)state;
    struct feedback f;
    feedback_init(&f, FEEDBACK_COST, 1);
    static const struct {
        size_t first, second;
        int8_t sign[2];
    } rows[] = {{5, 3, {1, -1}}, {4, 4, {1, 1}}, {2, 6, {-1, -1}}, {7, 3, {1, 0}}};
    uint64_t draw = 1;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct feedback_item item = {.margin = (double)NAN};
        score_answer(&f, &draw, rows[i].first, &item.seq[0]);
        score_answer(&f, &draw, rows[i].second, &item.seq[1]);
        memcpy(item.sign, rows[i].sign, sizeof item.sign);
        check_ok(feedback_add_item(&f, &item, NULL, &err));
    }
    const uint32_t trained[] = {1, 3}, items[] = {0, 1, 2, 3}; /* training: harm prevails */
    struct scoring_baseline baseline;
    scoring_baseline(&f, trained, 2, items, 4, &baseline);
    check_near(baseline.longer.accuracy, 2.5 / 4.0, 1e-15);
    check_near(baseline.shorter.accuracy, 1.5 / 4.0, 1e-15);
    check_near(baseline.longer.stderror, sqrt(0.625 * 0.375 / 4.0), 1e-15);
    check_near(baseline.sign.accuracy, 4.0 / 7.0, 1e-15);
    const uint32_t even[] = {1, 2}; /* neither sign prevails: safe */
    scoring_baseline(&f, even, 2, items, 4, &baseline);
    check_near(baseline.sign.accuracy, 3.0 / 7.0, 1e-15);
    feedback_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_planted_order_is_learned),
        cmocka_unit_test(a_planted_cost_is_learned_with_its_sign),
        cmocka_unit_test(planted_attributes_are_learned_though_some_are_missing),
        cmocka_unit_test(the_gradient_is_that_of_the_loss),
        cmocka_unit_test(one_and_two_threads_give_the_same_bits),
        cmocka_unit_test(micro_batches_decide_no_step),
        cmocka_unit_test(a_score_that_is_not_finite_ends_the_training_by_its_step),
        cmocka_unit_test(a_prompt_is_on_one_side),
        cmocka_unit_test(what_a_held_out_prompt_has_in_training_is_left_out),
        cmocka_unit_test(the_hash_of_feedback_knows_every_field),
        cmocka_unit_test(a_member_sees_its_share_of_the_prompts),
        cmocka_unit_test(metrics_are_what_a_hand_count_gives),
        cmocka_unit_test(regression_metrics_are_those_of_the_definition),
        cmocka_unit_test(baselines_read_no_text),
    };
    return cmocka_run_group_tests_name("offline/scoring", tests, setup, teardown);
}
