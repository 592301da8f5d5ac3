/*
 * Oracle: model directories that transformers wrote (tests/golden/make_models.py).  That the
 * weights are the right ones is what test_pass_golden.c shows; here: what is written is read
 * back, heads are exchanged, and a directory that does not fit is refused by name.
 */
#include <unistd.h>

#include "engine/model.h"
#include "engine/safetensors.h"
#include "tests/unit/golden.h"

static char scratch[64];

static int make_scratch(void **state)
{
    (void)state;
    golden_scratch(scratch);
    return 0;
}

static int remove_scratch(void **state)
{
    (void)state;
    golden_scratch_remove(scratch);
    return 0;
}

static struct model *load_from(const char *dir)
{
    struct err why = {0};
    struct model *model = model_load(dir, &why);
    if (!model)
        fail_msg("%s", why.text);
    return model;
}

static struct model *load(const char *name)
{
    char dir[FILE_PATH_MAX];
    check_ok(file_join(dir, GOLDEN_DIR "models", name, &err));
    return load_from(dir);
}

static enum err_code load_code(const char *dir, struct err *err)
{
    struct model *model = model_load(dir, err);
    const enum err_code rc = model ? ERR_OK : err->code;
    model_free(model);
    return rc;
}

static void check_same_model(const struct model *a, const struct model *b)
{
    struct hash x, y;
    model_fingerprint(a, &x);
    model_fingerprint(b, &y);
    assert_memory_equal(&x, &y, sizeof x);
    assert_int_equal(a->params, b->params);
    assert_memory_equal(a->w, b->w, model_bytes(a));
    assert_memory_equal(&a->config, &b->config, sizeof a->config);
}

static void what_is_saved_is_loaded_again(void **state)
{
    (void)state;
    const char *const names[] = {"gpt2", "llama", "qwen2", "qwen3", "mistral", "score"};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct model *model = load(names[i]);
        check_ok(model_save(model, scratch, &err));
        struct model *again = load_from(scratch);
        check_same_model(model, again);
        model_free(again);
        model_free(model);
    }
}

static void the_layout_is_aligned_and_named_as_in_the_files(void **state)
{
    (void)state;
    struct model *model = load("qwen2");
    size_t end = 0;
    for (size_t i = 0; i < model->tensors_n; i++) {
        const struct model_tensor *t = &model->tensors[i];
        assert_int_equal(t->at % 16, 0);
        assert_true(t->at >= end && t->at < end + 16);
        for (size_t k = end; k < t->at; k++)
            assert_true(model->w[k] == 0.0f);
        end = t->at + (size_t)t->rows * t->cols;
        assert_ptr_equal(model_find(model, t->name), t);
    }
    assert_true(model->params >= end && model->params < end + 16);
    const struct model_tensor *q = model_find(model, "model.layers.1.self_attn.q_proj.weight");
    assert_true(q->decay && q->rows == 36 && q->cols == 36 && !q->vector);
    assert_false(model_find(model, "model.embed_tokens.weight")->decay);
    assert_false(model_find(model, "model.layers.0.self_attn.k_proj.bias")->decay);
    assert_null(model_find(model, "lm_head.weight"));
    model_free(model);

    model = load("gpt2");
    assert_true(model_find(model, "transformer.h.0.mlp.c_fc.weight")->transposed_on_disk);
    assert_int_equal(model_find(model, "transformer.h.0.mlp.c_fc.weight")->rows, 128);
    assert_false(model_find(model, "transformer.wpe.weight")->decay);
    model_free(model);
}

static void check_tensor_is(const struct model *model, const struct model *of, const char *name)
{
    const struct model_tensor *a = model_find(model, name), *b = model_find(of, name);
    assert_non_null(a);
    assert_non_null(b);
    assert_memory_equal(model->w + a->at, of->w + b->at,
                        (size_t)a->rows * a->cols * sizeof(float));
}

static bool tensor_is_zero(const struct model *model, const char *name)
{
    const struct model_tensor *t = model_find(model, name);
    assert_non_null(t);
    for (size_t i = 0; i < (size_t)t->rows * t->cols; i++)
        if (model->w[t->at + i] != 0.0f)
            return false;
    return true;
}

static void a_policy_becomes_a_critic_with_a_head_of_zeros(void **state)
{
    (void)state;
    struct err why = {0};
    struct model *policy = load("llama");
    struct model *critic = model_load_with_score_head(GOLDEN_DIR "models/llama", 1, &why);
    if (!critic)
        fail_msg("%s", why.text);
    assert_true(critic->config.head == MODEL_HEAD_SCORE && critic->config.labels == 1);
    check_tensor_is(critic, policy, "model.layers.1.mlp.down_proj.weight");
    assert_true(tensor_is_zero(critic, "score.weight"));
    assert_null(model_find(critic, "lm_head.weight"));
    check_ok(model_save(critic, scratch, &err));
    struct model *again = load_from(scratch);
    check_same_model(critic, again);
    model_free(again);
    model_free(critic);
    model_free(policy);
}

static void a_reward_model_becomes_a_critic_with_its_own_head(void **state)
{
    (void)state;
    struct err why = {0};
    struct model *reward = load("score");
    struct model *critic = model_load_with_score_head(GOLDEN_DIR "models/score", 2, &why);
    assert_non_null(critic);
    check_same_model(critic, reward);
    model_free(critic);
    critic = model_load_with_score_head(GOLDEN_DIR "models/score", 1, &why);
    assert_non_null(critic);
    assert_true(tensor_is_zero(critic, "score.weight"));
    check_tensor_is(critic, reward, "model.layers.0.self_attn.o_proj.bias");
    model_free(critic);
    model_free(reward);
}

/* ---- directories that do not fit ---- */

/* Save the tensors of `model` with the one named `name` left out (NULL: none) or renamed. */
static void save_changed(const struct model *model, const char *name, const char *renamed,
                         bool strip, enum dtype dtype)
{
    struct safetensors_source sources[128];
    char path[FILE_PATH_MAX];
    size_t n = 0;
    assert_true(model->tensors_n < COUNT(sources));
    for (size_t i = 0; i < model->tensors_n; i++) {
        const struct model_tensor *t = &model->tensors[i];
        const bool named = name && strcmp(t->name, name) == 0;
        if (named && !renamed)
            continue;
        const char *dot = strip ? strchr(t->name, '.') : NULL;
        sources[n++] = (struct safetensors_source){named ? renamed
                                                   : dot ? dot + 1
                                                         : t->name,
                                                   model->w + t->at, t->vector ? 0 : t->rows,
                                                   t->cols, t->transposed_on_disk};
    }
    check_ok(file_join(path, scratch, "model.safetensors", &err));
    check_ok(safetensors_write(path, sources, n, dtype, &err));
}

static void missing_unknown_and_misshapen_tensors_are_refused_by_name(void **state)
{
    (void)state;
    struct model *model = load("llama");
    check_ok(model_save(model, scratch, &err));
    save_changed(model, "model.norm.weight", NULL, false, DTYPE_F32);
    check_fails(load_code(scratch, &err), ERR_FORMAT, "\"model.norm.weight\" is missing");
    save_changed(model, "lm_head.weight", NULL, false, DTYPE_F32);
    check_fails(load_code(scratch, &err), ERR_FORMAT, "\"lm_head.weight\" is missing");
    save_changed(model, "model.norm.weight", "model.norm.gain", false, DTYPE_F32);
    check_fails(load_code(scratch, &err), ERR_FORMAT, "\"model.norm.gain\" is no part of");

    struct model_tensor *tensor = &model->tensors[0];
    tensor->rows--;
    save_changed(model, NULL, NULL, false, DTYPE_F32);
    check_fails(load_code(scratch, &err), ERR_FORMAT,
                "\"model.embed_tokens.weight\" is [96, 32], config.json makes it [97, 32]");
    tensor->rows++;
    tensor->vector = true;
    tensor->cols = 97 * 32;
    save_changed(model, NULL, NULL, false, DTYPE_F32);
    check_fails(load_code(scratch, &err), ERR_FORMAT, "is [3104], config.json makes it");
    model_free(model);
}

static void weights_that_are_not_finite_are_refused_by_name(void **state)
{
    (void)state;
    struct model *model = load("gpt2");
    const struct model_tensor *t = model_find(model, "transformer.h.1.attn.c_attn.weight");
    model->w[t->at + 77] = NAN;
    check_ok(model_save(model, scratch, &err));
    check_fails(load_code(scratch, &err), ERR_VALUE, "transformer.h.1.attn.c_attn.weight");
    model_free(model);
}

static void names_without_the_trunks_prefix_are_known(void **state)
{
    (void)state;
    struct model *model = load("gpt2");
    check_ok(model_save(model, scratch, &err));
    save_changed(model, NULL, NULL, true, DTYPE_F32);
    struct model *again = load_from(scratch);
    check_same_model(model, again);
    model_free(again);
    model_free(model);
}

static void mistral_from_bfloat16_is_exact(void **state)
{
    (void)state;
    struct model *model = load("mistral"); /* was bfloat16 on disk: narrowing loses nothing */
    check_ok(model_save(model, scratch, &err));
    save_changed(model, NULL, NULL, false, DTYPE_BF16);
    struct model *again = load_from(scratch);
    check_same_model(model, again);
    model_free(again);
    model_free(model);
}

static void a_directory_without_weights_is_refused(void **state)
{
    (void)state;
    struct model *model = load("llama");
    char path[FILE_PATH_MAX];
    check_ok(model_save(model, scratch, &err));
    check_ok(file_join(path, scratch, "model.safetensors", &err));
    assert_int_equal(unlink(path), 0);
    check_fails(load_code(scratch, &err), ERR_IO, "model.safetensors");
    check_fails(model_save(model, "/nowhere", &err), ERR_IO, "/nowhere/config.json");
    model_free(model);
}

/* ---- start values and fingerprints ---- */

static void a_model_computes_with_borrowed_weights_and_with_its_own_again(void **state)
{
    (void)state;
    struct model *model = load("llama"), *other = load("llama");
    struct hash own, borrowed;
    model_fingerprint(model, &own);
    model_init_random(other, 3, 0.1f);
    const uint64_t generation = model->generation;
    model_set_weights(model, other->w);
    check_same_model(model, other);
    assert_true(model->generation > generation);
    model_set_weights(model, NULL);
    model_free(other); /* nothing of it is left */
    model_fingerprint(model, &borrowed);
    assert_memory_equal(&borrowed, &own, sizeof own);
    assert_true(model->generation > generation + 1);
    model_free(model);
}

static void random_start_has_the_spread_asked_for(void **state)
{
    (void)state;
    struct model *model = load("gpt2"), *same = load("gpt2");
    const uint64_t generation = model->generation;
    model_init_random(model, 5, 0.1f);
    model_init_random(same, 5, 0.1f);
    assert_int_not_equal(model->generation, generation);
    check_same_model(model, same);
    const struct {
        const char *name;
        double std, mean;
    } want[] = {
        {"transformer.wte.weight", 0.1, 0.0},
        {"transformer.h.0.attn.c_attn.weight", 0.1, 0.0},
        {"transformer.h.0.attn.c_proj.weight", 0.1 / 2.0, 0.0}, /* 1/sqrt(2 L), L = 2 */
        {"transformer.h.1.mlp.c_proj.weight", 0.1 / 2.0, 0.0},
        {"transformer.h.1.ln_2.weight", 0.0, 1.0},
        {"transformer.h.1.ln_2.bias", 0.0, 0.0},
    };
    for (size_t i = 0; i < COUNT(want); i++) {
        const struct model_tensor *t = model_find(model, want[i].name);
        const size_t n = (size_t)t->rows * t->cols;
        double sum = 0.0, squares = 0.0;
        for (size_t k = 0; k < n; k++)
            sum += (double)model->w[t->at + k];
        for (size_t k = 0; k < n; k++)
            squares += pow((double)model->w[t->at + k] - sum / (double)n, 2.0);
        /* four standard errors */
        const double slack = 4.0 * want[i].std / sqrt((double)n);
        if (!(fabs(sum / (double)n - want[i].mean) <= slack) ||
            !(fabs(sqrt(squares / (double)n) - want[i].std) <= slack))
            fail_msg("%s has mean %g and spread %g", t->name, sum / (double)n,
                     sqrt(squares / (double)n));
    }
    model_init_random(same, 6, 0.1f);
    assert_memory_not_equal(model->w, same->w, 64);
    model_free(same);
    model_free(model);
}

static void the_fingerprint_sees_weights_and_config(void **state)
{
    (void)state;
    struct model *model = load("llama");
    struct hash before, after;
    model_fingerprint(model, &before);
    float *w = &model->w[model->params / 2];
    const float old = *w;
    *w = old + 1.0f;
    model_fingerprint(model, &after);
    assert_memory_not_equal(&before, &after, sizeof before);
    *w = old;
    model->config.norm_eps *= 2.0f;
    model_fingerprint(model, &after);
    assert_memory_not_equal(&before, &after, sizeof before);
    model_free(model);
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(what_is_saved_is_loaded_again),
        cmocka_unit_test(the_layout_is_aligned_and_named_as_in_the_files),
        IN_SCRATCH(a_policy_becomes_a_critic_with_a_head_of_zeros),
        cmocka_unit_test(a_reward_model_becomes_a_critic_with_its_own_head),
        IN_SCRATCH(missing_unknown_and_misshapen_tensors_are_refused_by_name),
        IN_SCRATCH(weights_that_are_not_finite_are_refused_by_name),
        IN_SCRATCH(names_without_the_trunks_prefix_are_known),
        IN_SCRATCH(mistral_from_bfloat16_is_exact),
        IN_SCRATCH(a_directory_without_weights_is_refused),
        cmocka_unit_test(a_model_computes_with_borrowed_weights_and_with_its_own_again),
        cmocka_unit_test(random_start_has_the_spread_asked_for),
        cmocka_unit_test(the_fingerprint_sees_weights_and_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
