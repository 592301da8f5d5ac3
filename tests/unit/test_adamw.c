/*
 * test_adamw.c -- the update against PyTorch and against the formula; schedules by hand.
 *
 * Oracles: tests/golden/adamw.json, eight steps of torch.optim.AdamW (script beside it), and
 * the formula of adamw.h in double over a larger model.  Tolerance 2e-5 relative: betas are
 * float here and double there, so 1 - beta2 differs by 1.3e-5 of itself.
 */
#include <stdlib.h>

#include "base/json.h"
#include "base/rng.h"
#include "engine/adamw.h"
#include "tests/test.h"

enum { PARAMS_MAX = 1 << 17 };

static const struct adamw_params usual = {
    .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.1f};

/* A model of two tensors is all the optimizer looks at. */
struct fixture {
    struct model model;
    struct model_tensor tensor[2];
    float *w, *grad;
};

static void fixture_init(struct fixture *f, uint32_t rows, uint32_t cols, uint32_t bias)
{
    const size_t matrix = (size_t)rows * cols, bias_at = (matrix + 15) / 16 * 16;
    *f = (struct fixture){
        .tensor = {{.name = "matrix", .at = 0, .rows = rows, .cols = cols, .decay = true},
                   {.name = "bias", .at = bias_at, .rows = 1, .cols = bias}}};
    const size_t params = bias_at + (bias + 15) / 16 * 16;
    assert_true(params <= PARAMS_MAX);
    f->w = calloc(params, sizeof *f->w);
    f->grad = calloc(params, sizeof *f->grad);
    assert_non_null(f->w);
    assert_non_null(f->grad);
    f->model =
        (struct model){.tensors_n = 2, .tensors = f->tensor, .params = params, .w = f->w};
}

static void fixture_release(struct fixture *f)
{
    free(f->w);
    free(f->grad);
}

/* The golden holds matrix and bias one after the other; the model aligns the bias. */
static void fixture_fill(const struct fixture *f, float *flat, const json_t *numbers)
{
    size_t i = 0;
    for (size_t k = 0; k < 2; k++) {
        for (size_t c = 0; c < (size_t)f->tensor[k].rows * f->tensor[k].cols; c++)
            flat[f->tensor[k].at + c] = (float)json_number_value(json_array_get(numbers, i++));
    }
    assert_int_equal(i, json_array_size(numbers));
}

static void adamw_steps_as_pytorch_does(void **state)
{
    (void)state;
    struct err why = {0};
    json_t *gold = json_read_file(TEST_SOURCE_DIR "/tests/golden/adamw.json", 1 << 20, &why);
    if (!gold)
        fail_msg("%s", why.text);
    struct fixture f;
    fixture_init(&f, (uint32_t)json_integer_value(json_object_get(gold, "rows")),
                 (uint32_t)json_integer_value(json_object_get(gold, "cols")),
                 (uint32_t)json_integer_value(json_object_get(gold, "bias")));
    fixture_fill(&f, f.w, json_object_get(gold, "start"));

    struct adamw adamw;
    check_ok(adamw_init(&adamw, &f.model, &err));
    float *want = calloc(f.model.params, sizeof *want);
    assert_non_null(want);
    for (size_t t = 0; t < json_array_size(json_object_get(gold, "lr")); t++) {
        fixture_fill(&f, f.grad, json_array_get(json_object_get(gold, "grad"), t));
        fixture_fill(&f, want, json_array_get(json_object_get(gold, "want"), t));
        const double lr = json_number_value(json_array_get(json_object_get(gold, "lr"), t));
        adamw_update(&adamw, &usual, &f.model, NULL, f.grad, 1.0f, (float)lr);
        check_close(f.w, want, f.model.params, 2e-5, 1e-7);
    }
    assert_int_equal(adamw.steps, json_array_size(json_object_get(gold, "lr")));
    assert_int_equal(f.model.generation, adamw.steps);
    free(want);
    adamw_release(&adamw);
    fixture_release(&f);
    json_decref(gold);
}

static void fixture_random(struct fixture *f, uint64_t t)
{
    for (size_t k = 0; k < 2; k++) {
        for (size_t c = 0; c < (size_t)f->tensor[k].rows * f->tensor[k].cols; c++) {
            const size_t i = f->tensor[k].at + c;
            f->grad[i] = (float)rng_normal(7, RNG_STREAM_INIT, t, 0, (uint32_t)i);
        }
    }
}

static void adamw_follows_its_formula_with_the_gradient_scaled(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 37, 1001, 13);
    struct adamw adamw;
    check_ok(adamw_init(&adamw, &f.model, &err));
    double *m = calloc(f.model.params, sizeof *m), *v = calloc(f.model.params, sizeof *v);
    double *w = calloc(f.model.params, sizeof *w);
    float *want = calloc(f.model.params, sizeof *want);
    assert_true(m && v && w && want);

    const double b1 = (double)usual.beta1, b2 = (double)usual.beta2, lr = 1e-3, scale = 0.25;
    for (unsigned t = 1; t <= 5; t++) {
        fixture_random(&f, t);
        adamw_update(&adamw, &usual, &f.model, NULL, f.grad, (float)scale, (float)lr);
        for (size_t i = 0; i < f.model.params; i++) {
            const double g = (double)f.grad[i] * scale;
            const double decay = i < f.tensor[1].at ? (double)usual.weight_decay : 0.0;
            m[i] = b1 * m[i] + (1 - b1) * g;
            v[i] = b2 * v[i] + (1 - b2) * g * g;
            w[i] -= lr * (m[i] / (1 - pow(b1, t)) / (sqrt(v[i] / (1 - pow(b2, t))) + 1e-8) +
                          decay * w[i]);
            want[i] = (float)w[i];
        }
        check_close(f.w, want, f.model.params, 2e-5, 1e-8);
    }
    free(m);
    free(v);
    free(w);
    free(want);
    adamw_release(&adamw);
    fixture_release(&f);
}

static void adamw_has_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    struct fixture f[2];
    struct adamw adamw[2];
    double norm[2];
    for (size_t p = 0; p < 2; p++) {
        struct err why = {0};
        struct pool *pool = pool_new(1 + 2 * p, &why);
        assert_non_null(pool);
        fixture_init(&f[p], 113, 1021, 77);
        check_ok(adamw_init(&adamw[p], &f[p].model, &err));
        for (unsigned t = 1; t <= 3; t++) {
            fixture_random(&f[p], t);
            norm[p] = adamw_grad_norm(pool, f[p].grad, f[p].model.params);
            adamw_update(&adamw[p], &usual, &f[p].model, pool, f[p].grad, 0.5f, 1e-2f);
        }
        pool_free(pool);
    }
    const size_t bytes = f[0].model.params * sizeof(float);
    assert_memory_equal(&norm[0], &norm[1], sizeof norm[0]);
    assert_memory_equal(f[0].w, f[1].w, bytes);
    assert_memory_equal(adamw[0].m, adamw[1].m, bytes);
    assert_memory_equal(adamw[0].v, adamw[1].v, bytes);
    for (size_t p = 0; p < 2; p++) {
        adamw_release(&adamw[p]);
        fixture_release(&f[p]);
    }
}

static void grad_norm_is_the_root_of_the_sum_of_squares(void **state)
{
    (void)state;
    static float grad[70001];
    static const size_t lengths[] = {0, 1, 15, 16, 255, 257, 4099, COUNT(grad)};
    double squares = 0.0;
    size_t i = 0;
    for (size_t k = 0; k < COUNT(lengths); k++) {
        for (; i < lengths[k]; i++) {
            grad[i] = (float)rng_normal(3, RNG_STREAM_INIT, 0, 0, (uint32_t)i);
            squares += (double)grad[i] * (double)grad[i];
        }
        const double got = adamw_grad_norm(NULL, grad, lengths[k]);
        assert_true(fabs(got - sqrt(squares)) <= 1e-12 * sqrt(squares));
    }
    grad[70000] = NAN;
    assert_true(isnan(adamw_grad_norm(NULL, grad, COUNT(grad)))); /* never hidden */
}

static void schedule_warms_up_then_decays_to_the_floor(void **state)
{
    (void)state;
    static const struct {
        enum schedule_kind kind;
        uint64_t warmup, total, t;
        double want; /* peak 2, floor 0.1 */
    } cases[] = {
        {SCHEDULE_constant, 4, 20, 0, 0.5},  {SCHEDULE_constant, 4, 20, 3, 2.0},
        {SCHEDULE_constant, 4, 20, 99, 2.0}, {SCHEDULE_constant, 0, 20, 0, 2.0},
        {SCHEDULE_linear, 0, 10, 0, 2.0},    {SCHEDULE_linear, 0, 10, 5, 1.1},
        {SCHEDULE_linear, 4, 20, 1, 1.0},    {SCHEDULE_linear, 4, 20, 12, 1.1},
        {SCHEDULE_linear, 4, 20, 20, 0.2},   {SCHEDULE_linear, 4, 20, 500, 0.2},
        {SCHEDULE_cosine, 4, 20, 4, 2.0},    {SCHEDULE_cosine, 4, 20, 12, 1.1},
        {SCHEDULE_cosine, 0, 3, 1, 1.55},    {SCHEDULE_cosine, 4, 20, 20, 0.2},
        {SCHEDULE_linear, 9, 3, 9, 0.2},     {SCHEDULE_cosine, 0, 0, 0, 0.2},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const double got =
            schedule_lr(cases[i].kind, 2.0, 0.1, cases[i].warmup, cases[i].total, cases[i].t);
        if (fabs(got - cases[i].want) > 1e-12)
            fail_msg("case %zu: %.17g, want %.17g", i, got, cases[i].want);
    }
}

int main(void)
{
    pool_thread_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_steps_as_pytorch_does),
        cmocka_unit_test(adamw_follows_its_formula_with_the_gradient_scaled),
        cmocka_unit_test(adamw_has_the_same_bits_for_any_number_of_threads),
        cmocka_unit_test(grad_norm_is_the_root_of_the_sum_of_squares),
        cmocka_unit_test(schedule_warms_up_then_decays_to_the_floor),
    };
    return cmocka_run_group_tests_name("engine/adamw", tests, NULL, NULL);
}
