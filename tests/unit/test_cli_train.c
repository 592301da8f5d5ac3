/*
 * test_cli_train.c -- `rlhf train sft`: it learns, repeats itself bit for bit,
 * publishes whole.
 *
 * Oracles: the SHA-256 of the weights of a second run; a falling loss on
 * examples never trained on; the loss of the first step of random weights near
 * log V; and what the directory holds after a success and after each failure.
 */
#include <dirent.h>

#include "base/file.h"
#include "base/hash.h"
#include "engine/kernels/amx.h"
#include "offline/sft.h"
#include "tests/unit/cli_run.h"

static char dir[64];

static const char config_json[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
    "\"vocab_size\": 512, "
    "\"hidden_size\": 32, \"num_hidden_layers\": 1, \"num_attention_heads\": "
    "2, "
    "\"num_key_value_heads\": 1, \"intermediate_size\": 64, "
    "\"max_position_embeddings\": 128, "
    "\"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"tie_word_embeddings\": "
    "true, "
    "\"hidden_act\": \"silu\", \"bos_token_id\": null, \"eos_token_id\": 0, "
    "\"torch_dtype\": \"float32\"}\n";

static int make_world(void **state)
{
    (void)state;
    char line[256], path[FILE_PATH_MAX];
    snprintf(dir, sizeof dir, "/tmp/test_cli_train.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(line, sizeof line, "rlhf demo data --answers 1 --out %s", dir);
    if (run_line(cli_main, line) || file_join(path, dir, "config.json", NULL))
        return -1;
    return file_write(path, config_json, strlen(config_json), NULL);
}

static int remove_world(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

static void train(const char *out, const char *options, int code, const char *words)
{
    char line[1024];
    snprintf(line, sizeof line,
             "rlhf train sft --init %s/config.json --data %s/sft.jsonl --out %s/%s %s", dir,
             dir, dir, out, options);
    check_line(cli_main, line, code, words);
}

static void weights_hash(const char *out, struct hash *hash)
{
    char path[FILE_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s/model.safetensors", dir, out);
    check_ok(hash_file_sha256(hash, path, &err));
}

/* Nothing of the name is left: neither the directory nor a temporary one. */
static void check_nothing(const char *out)
{
    DIR *list = opendir(dir);
    assert_non_null(list);
    for (const struct dirent *entry; (entry = readdir(list));)
        assert_int_not_equal(strncmp(entry->d_name, out, strlen(out)), 0);
    closedir(list);
}

#define SHORT "--epochs 2 --lr 1e-2 --tokens-per-step 512 --warmup 2 --json "

static void the_same_command_makes_the_same_bits(void **state)
{
    (void)state;
    struct hash hash[4];
    train("a", SHORT "--micro-tokens 128", 0, "");
    train("b", SHORT "--micro-tokens 128", 0, "");
    train("c", SHORT "--micro-tokens 128 --threads 2", 0, "");
    train("d", SHORT "--micro-tokens 128 --seed 2", 0, "");
    weights_hash("a", &hash[0]);
    weights_hash("b", &hash[1]);
    weights_hash("c", &hash[2]);
    weights_hash("d", &hash[3]);
    assert_memory_equal(&hash[0], &hash[1], sizeof hash[0]);
    assert_memory_equal(&hash[0], &hash[2], sizeof hash[0]);
    assert_memory_not_equal(&hash[0], &hash[3], sizeof hash[0]);

    /* A complete directory: it can be trained on, and scored with. */
    char line[1024];
    snprintf(line, sizeof line,
             "rlhf train sft --model %s/a --data %s/sft.jsonl --out %s/more "
             "--held-out 0",
             dir, dir, dir);
    check_line(cli_main, line, 0, "wrote ");
    snprintf(line, sizeof line, "rlhf score --model %s/a --ids -", dir);
    check_input(cli_main, line,
                "{\"prompt\": \"user: hello!\\nbot:\", \"response\": \" hello.\"}\n", 0,
                "     1       ");
    snprintf(line, sizeof line, "rlhf inspect %s/a --json", dir);
    check_line(cli_main, line, 0, "\"tokenizer_vocabulary\": 512");
}

static double field(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    assert_non_null(at);
    return strtod(at + strlen(name), NULL);
}

/* In bf16 too, by the matrix tiles and without them. */
static void precision_is_part_of_what_decides_the_bits(void **state)
{
    (void)state;
    struct hash hash[4];
    train("fp32", SHORT, 0, "");
    train("tiles", SHORT "--precision bf16", 0, "");
    train("threads", SHORT "--precision bf16 --threads 2", 0, "");
    amx_use(false);
    train("fma", SHORT "--precision bf16", 0, "held_out_loss");
    amx_use(true);
    assert_true(fabs(field(said, "\"loss\": ") - log(512.0)) < 0.5);
    assert_true(field(said, "\"held_out_loss\": ") < 5.0);
    weights_hash("fp32", &hash[0]);
    weights_hash("tiles", &hash[1]);
    weights_hash("threads", &hash[2]);
    weights_hash("fma", &hash[3]);
    assert_memory_equal(&hash[1], &hash[2], sizeof hash[0]);
    assert_memory_equal(&hash[1], &hash[3], sizeof hash[0]);
    assert_memory_not_equal(&hash[1], &hash[0], sizeof hash[0]);
    train("neither", "--precision fp16", 64, "precision \"fp16\" is neither fp32 nor bf16");
}

static void examples_never_trained_on_become_likelier(void **state)
{
    (void)state;
    train("learned",
          "--epochs 10 --lr 2e-2 --tokens-per-step 512 --warmup 5 --held-out 0.1 --json", 0,
          "held_out_loss");
    const double first = field(said, "\"loss\": "), last = field(said, "\"held_out_loss\": ");
    assert_true(fabs(first - log(512.0)) < 0.5); /* random weights know nothing */
    if (!(last < 2.0))
        fail_msg("held-out loss is %g nats after ten epochs", last);
}

static void the_cut_into_micro_batches_changes_only_the_rounding(void **state)
{
    (void)state;
    static const char *const micro[] = {"--micro-tokens 64", "--micro-tokens 512"};
    double loss[2], norm[2];
    for (size_t k = 0; k < 2; k++) {
        char options[256], name[16];
        snprintf(options, sizeof options, SHORT "%s", micro[k]);
        snprintf(name, sizeof name, "micro%zu", k);
        train(name, options, 0, "");
        loss[k] = field(said, "\"loss\": ");
        norm[k] = field(said, "\"grad_norm\": ");
    }
    assert_true(fabs(loss[0] - loss[1]) < 1e-6 * loss[0]);
    assert_true(fabs(norm[0] - norm[1]) < 1e-4 * norm[0]);
}

static void the_gradient_is_clipped(void **state)
{
    (void)state;
    struct hash hash[2];
    train("clipped", SHORT "--grad-clip 0.7", 0, "");
    train("unclipped", SHORT "--grad-clip 0", 0, "");
    weights_hash("clipped", &hash[0]);
    weights_hash("unclipped", &hash[1]);
    assert_memory_not_equal(&hash[0], &hash[1], sizeof hash[0]);
}

/* Ten examples of four targets each and a learning rate of 0: the loss over all of them is the
 * mean of the loss trained on and the one held out, seven to three. */
static void what_is_held_out_is_what_is_not_trained_on(void **state)
{
    (void)state;
    char path[128], line[1024], text[1024] = "";
    for (int i = 0; i < 10; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "{\"ids\": [%d, %d, %d, 7, %d]}\n", 3 * i, i,
                 40 + i, 500 - i);
    }
    snprintf(path, sizeof path, "%s/ten.jsonl", dir);
    check_ok(file_write(path, text, strlen(text), &err));
    double loss[2], held_out = 0.0;
    for (size_t k = 0; k < 2; k++) {
        snprintf(
            line, sizeof line,
            "rlhf train sft --init %s --data %s --out %s/ten%zu --lr 0 --init-std 1 --json "
            "--held-out %s",
            dir, path, dir, k, k == 0 ? "0" : "0.3");
        check_line(cli_main, line, 0, "");
        loss[k] = field(said, "\"loss\": ");
        if (k == 1)
            held_out = field(said, "\"held_out_loss\": ");
        else
            assert_null(strstr(said, "held_out_loss"));
    }
    assert_true(fabs(loss[0] - (0.7 * loss[1] + 0.3 * held_out)) < 1e-5 * loss[0]);
    assert_true(fabs(loss[1] - held_out) > 1e-2); /* or the above would say nothing */
}

static void failures_leave_nothing_behind(void **state)
{
    (void)state;
    train("bad", "--lr 1e30 --grad-clip 0 --epochs 9 --tokens-per-step 256", 65,
          "a smaller learning rate may help");
    check_nothing("bad");
}

static void mistakes_in_data_name_the_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"{\"prompt\": \"a\", \"response\": \"b\"}\n{\"prompt\": \"a\"}\n", "data.jsonl:2"},
        {"{\"text\": 5}\n", "data.jsonl:1"},
        {"{}\n", "data.jsonl:1"},
        {"\n\n\n{\"text\":\n", "data.jsonl:4"},
        {"", "there are no examples"},
    };
    char path[FILE_PATH_MAX], line[1024];
    check_ok(file_join(path, dir, "data.jsonl", &err));
    for (size_t i = 0; i < COUNT(cases); i++) {
        check_ok(file_write(path, cases[i].text, strlen(cases[i].text), &err));
        snprintf(line, sizeof line,
                 "rlhf train sft --init %s --data %s/data.jsonl --out %s/never", dir, dir, dir);
        check_line(cli_main, line, 65, cases[i].words);
        check_nothing("never");
    }
}

/* The same examples as responses and as the preferred answers of pairs. */
static void of_pairs_the_preferred_answer_is_learned(void **state)
{
    (void)state;
    static const char *const files[] = {"one.jsonl", "two.jsonl", "three.jsonl", "four.jsonl"};
    char path[FILE_PATH_MAX], line[2048];
    struct buf text[4];
    struct hash hash[4];
    for (size_t i = 0; i < 4; i++)
        buf_init(&text[i], 1u << 20);
    for (int i = 0; i < 40; i++) {
        buf_printf(&text[0], "{\"prompt\": \"what %d?\", \"response\": \"yes %d\"}\n", i, i);
        buf_printf(&text[1],
                   "{\"prompt\": \"what %d?\", \"chosen\": \"yes %d\", \"rejected\": "
                   "\"no, never\"}\n%s",
                   i, i, i == 7 ? "{\"prompt\": \"broken\"\n" : "");
        buf_printf(&text[2],
                   "{\"prompt\": \"what %d?\", \"chosen\": \"no, never\", \"rejected\": "
                   "\"yes %d\"}\n",
                   i, i);
        buf_printf(&text[3],
                   "{\"prompt\": \"what %d?\", \"response_0\": \"no, never\", \"response_1\": "
                   "\"yes %d\", \"better_response_id\": 1, \"safer_response_id\": 0}\n",
                   i, i);
    }
    for (size_t i = 0; i < 4; i++) {
        check_ok(file_join(path, dir, files[i], &err));
        check_ok(file_write(path, text[i].data, text[i].len, &err));
        snprintf(line, sizeof line,
                 "rlhf train sft --init %s --data %s --out %s/pairs%zu --max-bad-fraction 0.1",
                 dir, path, dir, i);
        check_line(cli_main, line, 0, i == 1 ? "1 bad lines were passed over" : "40 examples");
        const char name[] = {'p', 'a', 'i', 'r', 's', (char)('0' + i), '\0'};
        weights_hash(name, &hash[i]);
        buf_release(&text[i]);
    }
    assert_memory_equal(&hash[0], &hash[1], sizeof hash[0]);
    assert_memory_not_equal(&hash[0], &hash[2], sizeof hash[0]);
    assert_memory_equal(&hash[0], &hash[3], sizeof hash[0]);

    check_ok(file_join(path, dir, files[1], &err));
    snprintf(line, sizeof line, "rlhf train sft --init %s --data %s --out %s/never", dir, path,
             dir);
    check_line(cli_main, line, 65, "two.jsonl:9: not JSON");
    check_nothing("never");
    snprintf(line, sizeof line,
             "rlhf train sft --init %s --data %s --out %s/never --max-bad-fraction 0.02", dir,
             path, dir);
    check_line(cli_main, line, 65, "two.jsonl: 1 of 41 lines are bad (1 json)");
    snprintf(line, sizeof line, "rlhf train sft --init %s --data %s --out %s/never --format hh",
             dir, path, dir);
    check_line(cli_main, line, 65, "two.jsonl:1: \"chosen\" does not begin with");
}

/* A conversation of 60 turns does not fit into 128 tokens; without the first of them it does. */
static void old_turns_are_left_out_where_that_is_asked_for(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], line[2048];
    struct buf text;
    buf_init(&text, 1u << 20);
    buf_puts(&text, "{\"messages\": [");
    for (int i = 0; i < 60; i++)
        buf_printf(&text, "%s{\"role\": \"%s\", \"content\": \"what is it?\"}", i ? "," : "",
                   i % 2 ? "assistant" : "user");
    buf_puts(&text, "]}\n");
    check_ok(file_join(path, dir, "long.jsonl", &err));
    check_ok(file_write(path, text.data, text.len, &err));
    buf_release(&text);
    snprintf(line, sizeof line, "rlhf train sft --held-out 0 --init %s --data %s --out %s/long",
             dir, path, dir);
    check_line(cli_main, line, 65, "at most 128 fit");
    strcat(line, " --cut-prompts");
    check_line(cli_main, line, 0, "1 examples, 1");
}

static void a_directory_in_the_way_is_not_touched(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, "taken", &err));
    check_ok(file_make_dir(path, &err));
    check_ok(file_join(path, dir, "taken/mine.txt", &err));
    check_ok(file_write(path, "mine", 4, &err));
    train("taken", SHORT, 70, "exists and is not empty");
    assert_true(file_exists(path));
    check_line(cli_main, "rlhf train sft --data x --out y", 64, "either --model or --init");
    check_line(cli_main, "rlhf train sft --init x --model y --data x --out y", 64, "either");
    train("never", "--schedule sideways", 64, "constant, linear or cosine");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_command_makes_the_same_bits),
        cmocka_unit_test(precision_is_part_of_what_decides_the_bits),
        cmocka_unit_test(examples_never_trained_on_become_likelier),
        cmocka_unit_test(the_cut_into_micro_batches_changes_only_the_rounding),
        cmocka_unit_test(the_gradient_is_clipped),
        cmocka_unit_test(what_is_held_out_is_what_is_not_trained_on),
        cmocka_unit_test(of_pairs_the_preferred_answer_is_learned),
        cmocka_unit_test(old_turns_are_left_out_where_that_is_asked_for),
        cmocka_unit_test(failures_leave_nothing_behind),
        cmocka_unit_test(mistakes_in_data_name_the_line),
        cmocka_unit_test(a_directory_in_the_way_is_not_touched),
    };
    return cmocka_run_group_tests_name("cli/train", tests, make_world, remove_world);
}
