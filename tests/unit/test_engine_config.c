/*
 * Oracle: the defaults of transformers' configuration classes (5.23.0, LlamaConfig().to_dict()
 * and so on) and config.json files as published; the refusals follow engine/config.h.
 */
#include "engine/config.h"
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

static void put_config(const char *text)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, scratch, "config.json", &err));
    check_ok(file_write(path, text, strlen(text), &err));
}

static enum err_code read_text(struct model_config *config, const char *text, struct err *err)
{
    put_config(text);
    return model_config_read(config, scratch, err);
}

static void check_shape(const struct model_config *c, const uint32_t want[8])
{
    const uint32_t got[8] = {c->V, c->C, c->L, c->H, c->G, c->D, c->F, c->T};
    for (size_t i = 0; i < 8; i++)
        if (got[i] != want[i])
            fail_msg("%c is %u, want %u", "VCLHGDFT"[i], got[i], want[i]);
}

static void absent_keys_take_the_defaults_of_transformers(void **state)
{
    (void)state;
    struct model_config c;
    check_ok(read_text(&c, "{\"model_type\":\"gpt2\"}", &err));
    check_shape(&c, (uint32_t[8]){50257, 768, 12, 12, 12, 64, 3072, 1024});
    assert_true(c.tied && c.family == MODEL_GPT2 && c.head == MODEL_HEAD_LM);
    assert_true(c.norm_eps == 1e-5f && c.bos == 50256 && c.eos == 50256 && c.pad == -1);

    check_ok(read_text(&c, "{\"model_type\":\"llama\"}", &err));
    check_shape(&c, (uint32_t[8]){32000, 4096, 32, 32, 32, 128, 11008, 2048});
    assert_true(!c.tied && c.family == MODEL_LLAMA && !c.qkv_bias && !c.qk_norm);
    assert_true(c.norm_eps == 1e-6f && c.rope_theta == 10000.0f && c.bos == 1 && c.eos == 2);

    check_ok(read_text(&c, "{\"model_type\":\"mistral\"}", &err));
    check_shape(&c, (uint32_t[8]){32000, 4096, 32, 32, 8, 128, 14336, 4096});

    check_ok(read_text(&c, "{\"model_type\":\"qwen2\"}", &err));
    check_shape(&c, (uint32_t[8]){151936, 4096, 32, 32, 32, 128, 22016, 32768});
    assert_true(c.qkv_bias && !c.out_bias && c.eos == -1 && c.bos == -1);

    check_ok(read_text(&c, "{\"model_type\":\"qwen3\"}", &err));
    check_shape(&c, (uint32_t[8]){151936, 4096, 32, 32, 32, 128, 22016, 32768});
    assert_true(c.qk_norm && !c.qkv_bias);
}

/* The config.json of Llama-3.2-1B-Instruct, as published, and its rope for transformers 5. */
#define LLAMA32(rope)                                                                    \
    "{\"architectures\":[\"LlamaForCausalLM\"],\"attention_bias\":false,"                \
    "\"attention_dropout\":0.0,\"bos_token_id\":128000,"                                 \
    "\"eos_token_id\":[128001,128008,128009],\"head_dim\":64,\"hidden_act\":\"silu\","   \
    "\"hidden_size\":2048,\"initializer_range\":0.02,\"intermediate_size\":8192,"        \
    "\"max_position_embeddings\":131072,\"mlp_bias\":false,\"model_type\":\"llama\","    \
    "\"num_attention_heads\":32,\"num_hidden_layers\":16,\"num_key_value_heads\":8,"     \
    "\"pretraining_tp\":1,\"rms_norm_eps\":1e-05," rope ",\"tie_word_embeddings\":true," \
    "\"torch_dtype\":\"bfloat16\",\"transformers_version\":\"4.45.0.dev0\","             \
    "\"use_cache\":true,\"vocab_size\":128256}"
#define LLAMA32_SCALING                                                 \
    "\"factor\":32.0,\"high_freq_factor\":4.0,\"low_freq_factor\":1.0," \
    "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\""

static void check_llama32(const char *text)
{
    struct model_config c;
    check_ok(read_text(&c, text, &err));
    check_shape(&c, (uint32_t[8]){128256, 2048, 16, 32, 8, 64, 8192, 131072});
    assert_true(c.rope_scaling == ROPE_LLAMA3 && c.rope_theta == 500000.0f);
    assert_true(c.rope_factor == 32.0f && c.rope_low_freq_factor == 1.0f);
    assert_true(c.rope_high_freq_factor == 4.0f && c.rope_original_T == 8192);
    assert_true(c.tied && c.norm_eps == 1e-5f);
    assert_true(model_config_is_eos(&c, 128001) && model_config_is_eos(&c, 128009));
    assert_false(model_config_is_eos(&c, 128000));
    assert_false(model_config_is_eos(&c, -1));
}

static void rotation_is_read_as_transformers_4_and_5_write_it(void **state)
{
    (void)state;
    check_llama32(LLAMA32("\"rope_scaling\":{" LLAMA32_SCALING "},\"rope_theta\":500000.0"));
    check_llama32(LLAMA32("\"rope_parameters\":{\"rope_theta\":500000.0," LLAMA32_SCALING "}"));
}

static void a_window_bounds_the_length_and_nothing_else(void **state)
{
    (void)state;
    struct model_config c;
    check_ok(read_text(&c, "{\"model_type\":\"mistral\",\"sliding_window\":null}", &err));
    assert_int_equal(c.T, 131072);
    check_ok(read_text(&c, "{\"model_type\":\"mistral\",\"sliding_window\":100}", &err));
    assert_int_equal(c.T, 100);
    check_ok(read_text(&c,
                       "{\"model_type\":\"qwen2\",\"use_sliding_window\":false,"
                       "\"sliding_window\":100,\"max_window_layers\":3}",
                       &err));
    assert_int_equal(c.T, 32768);
    check_ok(read_text(&c,
                       "{\"model_type\":\"qwen3\",\"use_sliding_window\":true,"
                       "\"sliding_window\":100,"
                       "\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
                       &err));
    assert_int_equal(c.T, 100);
}

static void heads_that_are_null_follow_from_the_others(void **state)
{
    (void)state;
    struct model_config c;
    check_ok(
        read_text(&c,
                  "{\"model_type\":\"qwen3\",\"num_key_value_heads\":null,\"head_dim\":null,"
                  "\"num_attention_heads\":16}",
                  &err));
    assert_true(c.G == 16 && c.D == 256);
    check_ok(read_text(&c, "{\"model_type\":\"llama\",\"num_attention_heads\":16}", &err));
    assert_true(c.G == 16 && c.D == 256);
}

static void classifiers_get_their_labels(void **state)
{
    (void)state;
    struct model_config c;
#define CLASSIFIER \
    "{\"model_type\":\"qwen2\",\"architectures\":[\"Qwen2ForSequenceClassification\"]"
    check_ok(read_text(&c, CLASSIFIER "}", &err));
    assert_true(c.head == MODEL_HEAD_SCORE && c.labels == 2);
    check_ok(read_text(&c, CLASSIFIER ",\"id2label\":{\"0\":\"reward\"}}", &err));
    assert_int_equal(c.labels, 1);
    char name[MODEL_LABEL_MAX];
    model_config_label(&c, 0, name);
    assert_string_equal(name, "reward");
    check_ok(read_text(&c, CLASSIFIER ",\"num_labels\":5}", &err));
    model_config_label(&c, 4, name);
    assert_string_equal(name, "LABEL_4");
    assert_int_equal(c.labels, 5);
    check_fails(read_text(&c, CLASSIFIER ",\"num_labels\":0}", &err), ERR_FORMAT, "num_labels");
    check_fails(read_text(&c, CLASSIFIER ",\"id2label\":{}}", &err), ERR_VALUE, "id2label");
}

static void settings_that_change_the_arithmetic_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        const char *type, *rest, *words;
    } faults[] = {
        {"mixtral", "", "\"model_type\" is \"mixtral\""},
        {"llama", ",\"hidden_act\":\"gelu\"", "\"hidden_act\" is \"gelu\""},
        {"llama", ",\"quantization_config\":{\"bits\":4}", "\"quantization_config\""},
        {"llama", ",\"num_local_experts\":8", "\"num_local_experts\""},
        {"llama", ",\"attention_multiplier\":0.5", "\"attention_multiplier\""},
        {"llama", ",\"logits_scaling\":8.0", "\"logits_scaling\""},
        {"llama", ",\"final_logit_softcapping\":30.0", "\"final_logit_softcapping\""},
        {"llama", ",\"partial_rotary_factor\":0.5", "\"partial_rotary_factor\""},
        {"llama", ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0}", "\"yarn\""},
        {"llama", ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4.0}", "\"dynamic\""},
        {"llama", ",\"rope_scaling\":7", "must be an object"},
        {"llama", ",\"rope_parameters\":{\"partial_rotary_factor\":0.5}",
         "\"partial_rotary_factor\""},
        {"llama", ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1.0}}",
         "(\"full_attention\")"},
        {"llama",
         ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"low_freq_factor\":4.0,"
         "\"high_freq_factor\":4.0}",
         "\"high_freq_factor\""},
        {"llama", ",\"num_key_value_heads\":5", "does not divide"},
        {"llama", ",\"head_dim\":7", "head size of 7"},
        {"llama", ",\"hidden_size\":16", "a head size of 0"},
        {"llama", ",\"eos_token_id\":\"</s>\"", "\"eos_token_id\" must be a token id"},
        {"llama", ",\"eos_token_id\":[1,2,3,4,5,6,7,8,9]", "has 9 ids, at most 8"},
        {"llama", ",\"layer_types\":[\"chunked_attention\"]", "\"chunked_attention\""},
        {"llama", ",\"architectures\":[\"LlamaForTokenClassification\"]",
         "\"LlamaForTokenClassification\""},
        {"gpt2", ",\"activation_function\":\"gelu\"", "\"activation_function\" is \"gelu\""},
        {"gpt2", ",\"scale_attn_weights\":false", "\"scale_attn_weights\""},
        {"gpt2", ",\"scale_attn_by_inverse_layer_idx\":true",
         "\"scale_attn_by_inverse_layer_idx\""},
        {"gpt2", ",\"add_cross_attention\":true", "\"add_cross_attention\""},
        {"gpt2", ",\"n_head\":7", "does not divide \"n_embd\""},
    };
    struct model_config c;
    char text[512];
    for (size_t i = 0; i < COUNT(faults); i++) {
        snprintf(text, sizeof text, "{\"model_type\":\"%s\"%s}", faults[i].type,
                 faults[i].rest);
        check_fails(read_text(&c, text, &err), ERR_VALUE, faults[i].words);
        check_fails(read_text(&c, text, &err), ERR_VALUE, "config.json");
    }
}

static void values_out_of_range_and_what_is_no_config_are_refused(void **state)
{
    (void)state;
    struct model_config c;
    check_fails(model_config_read(&c, "/nowhere", &err), ERR_IO, "/nowhere/config.json");
    check_fails(read_text(&c, "[]", &err), ERR_FORMAT, "not a JSON object");
    check_fails(read_text(&c, "{}", &err), ERR_FORMAT, "\"model_type\" is missing");
    check_fails(read_text(&c, "{\"model_type\":\"llama\",\"hidden_size\":0}", &err), ERR_FORMAT,
                "hidden_size");
    check_fails(read_text(&c, "{\"model_type\":\"llama\",\"num_attention_heads\":0}", &err),
                ERR_FORMAT, "num_attention_heads");
    check_fails(read_text(&c, "{\"model_type\":\"llama\",\"vocab_size\":99999999999}", &err),
                ERR_FORMAT, "vocab_size");
    check_fails(read_text(&c, "{\"model_type\":\"llama\",\"rms_norm_eps\":\"x\"}", &err),
                ERR_FORMAT, "rms_norm_eps");
    check_fails(read_text(&c, "{\"model_type\":\"gpt2\",\"n_layer\":100000}", &err), ERR_FORMAT,
                "n_layer");
}

static void settings_without_effect_are_let_through(void **state)
{
    (void)state;
    struct model_config c;
    check_ok(read_text(&c,
                       "{\"model_type\":\"llama\",\"quantization_config\":null,"
                       "\"alibi\":false,\"logits_scaling\":1.0,\"num_local_experts\":0,"
                       "\"rope_interleaved\":false,\"_attn_implementation\":\"sdpa\","
                       "\"use_bfloat16\":false,\"eos_token_id\":null,\"pad_token_id\":-1,"
                       "\"task_specific_params\":{\"x\":{\"do_sample\":true}},"
                       "\"rope_scaling\":null,\"pretraining_tp\":2,\"unsloth_fixed\":true}",
                       &err));
    assert_true(c.eos == -1 && c.pad == -1);
    check_ok(read_text(&c,
                       "{\"model_type\":\"gpt2\",\"n_ctx\":1024,\"embd_pdrop\":0.1,"
                       "\"summary_activation\":null,\"summary_proj_to_labels\":true,"
                       "\"activation_function\":\"gelu_pytorch_tanh\"}",
                       &err));
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    const char *const texts[] = {
        LLAMA32("\"rope_scaling\":{" LLAMA32_SCALING "},\"rope_theta\":500000.0"),
        "{\"model_type\":\"gpt2\",\"n_inner\":100,\"layer_norm_epsilon\":0.00012}",
        "{\"model_type\":\"mistral\",\"rope_theta\":1000000.0,\"sliding_window\":77}",
        "{\"model_type\":\"qwen2\",\"architectures\":[\"Qwen2ForSequenceClassification\"],"
        "\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"2\":\"c\"},\"pad_token_id\":3}",
        "{\"model_type\":\"qwen3\",\"attention_bias\":true,\"head_dim\":48}",
        "{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5},"
        "\"mlp_bias\":true,\"attention_bias\":true}",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct model_config first, second;
        struct buf out;
        buf_init(&out, 1u << 20);
        check_ok(read_text(&first, texts[i], &err));
        model_config_write(&first, &out);
        check_ok(read_text(&second, out.data, &err));
        assert_memory_equal(&first, &second, sizeof first);
        buf_release(&out);
    }
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(absent_keys_take_the_defaults_of_transformers),
        IN_SCRATCH(rotation_is_read_as_transformers_4_and_5_write_it),
        IN_SCRATCH(a_window_bounds_the_length_and_nothing_else),
        IN_SCRATCH(heads_that_are_null_follow_from_the_others),
        IN_SCRATCH(classifiers_get_their_labels),
        IN_SCRATCH(settings_that_change_the_arithmetic_are_refused_by_name),
        IN_SCRATCH(values_out_of_range_and_what_is_no_config_are_refused),
        IN_SCRATCH(settings_without_effect_are_let_through),
        IN_SCRATCH(what_is_written_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
