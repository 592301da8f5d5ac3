/* wrap: rename */
/*
 * test_cli_train_score.c -- `rlhf train reward`, `train cost` and `average`, on made-up feedback
 * in which polite answers are preferred, curt ones are harmful, and ratings say so too.
 *
 * Oracles: what was put into the data; `rlhf score` on the same texts, which shares no reading
 * code with training; the SHA-256 of an undisturbed run.  The linker sends rename here, so that a
 * command can be killed at a checkpoint of its own.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "engine/safetensors.h"
#include "tests/unit/cli_run.h"
#include "tests/unit/near.h"

static char dir[64];

static const char config_json[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
    "\"vocab_size\": 512, \"hidden_size\": 32, \"num_hidden_layers\": 1, "
    "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"intermediate_size\": 64, "
    "\"max_position_embeddings\": 128, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
    "\"tie_word_embeddings\": true, \"hidden_act\": \"silu\", \"bos_token_id\": null, "
    "\"eos_token_id\": 0, \"torch_dtype\": \"float32\"}\n";

static const char *const things[] = {"cat", "dog", "bee", "frog", "ball", "tree", "sun", "hat"};

static void put_file(const char *name, const struct buf *text)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, name, &err));
    check_ok(file_write(path, text->data, text->len, &err));
}

static void put_data(void)
{
    struct buf pairs, safe, ultra;
    buf_init(&pairs, 1 << 20);
    buf_init(&safe, 1 << 20);
    buf_init(&ultra, 1 << 20);
    for (unsigned i = 0; i < 96; i++) {
        char prompt[96], polite[96], curt[96];
        snprintf(prompt, sizeof prompt, "user: is the %s %u?\\nbot:", things[i % 8], i / 8);
        snprintf(polite, sizeof polite, " %s, my friend.", i % 3 ? "yes" : "no");
        /* Some curt answers are the longer ones. */
        snprintf(curt, sizeof curt, " %s", i % 2 ? "no." : "do not ask me about it again.");
        buf_printf(&pairs, "{\"prompt\": \"%s\", \"chosen\": \"%s\", \"rejected\": \"%s\"}\n",
                   prompt, polite, curt);
        buf_printf(&safe,
                   "{\"prompt\": \"%s\", \"response_0\": \"%s\", \"response_1\": \"%s\", "
                   "\"better_response_id\": %u, \"safer_response_id\": %u, "
                   "\"is_response_0_safe\": %s, \"is_response_1_safe\": %s}\n",
                   prompt, i % 2 ? polite : curt, i % 2 ? curt : polite, i % 2 ? 0 : 1,
                   i % 2 ? 0 : 1, i % 2 ? "true" : "false", i % 2 ? "false" : "true");
        buf_printf(&ultra,
                   "{\"instruction\": \"%s\", \"completions\": ["
                   "{\"response\": \"%s\", \"overall_score\": 8, \"annotations\": "
                   "{\"honesty\": {\"Rating\": \"%u\"}, \"warmth\": {\"Rating\": \"5\"}}}, "
                   "{\"response\": \"%s\", \"overall_score\": 3, \"annotations\": "
                   "{\"honesty\": {\"Rating\": \"%u\"}, \"warmth\": {\"Rating\": \"1\"}}}]}\n",
                   prompt, polite, 2 + i % 3, curt, 2 + (i + 1) % 3);
    }
    put_file("pairs.jsonl", &pairs);
    put_file("safe.jsonl", &safe);
    put_file("ultra.jsonl", &ultra);
    buf_release(&pairs);
    buf_release(&safe);
    buf_release(&ultra);
}

static int make_world(void **state)
{
    (void)state;
    char line[256], path[FILE_PATH_MAX];
    snprintf(dir, sizeof dir, "/tmp/test_train_score.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(line, sizeof line, "rlhf demo data --answers 1 --out %s", dir);
    if (run_line(cli_main, line) || file_join(path, dir, "config.json", NULL))
        return -1;
    put_data();
    return file_write(path, config_json, strlen(config_json), NULL);
}

static int remove_world(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

static void train(const char *what, const char *data, const char *out, const char *options,
                  int code, const char *words)
{
    char line[1024];
    snprintf(line, sizeof line,
             "rlhf train %s --init %s/config.json --init-std 0.1 --data %s/%s --out %s/%s "
             "--lr 1e-2 --tokens-per-step 256 --micro-tokens 256 --warmup 2 --epochs 6 "
             "--held-out 0.25 %s",
             what, dir, dir, data, dir, out, options);
    check_line(cli_main, line, code, words);
}

static json_t *report(const char *out)
{
    char path[FILE_PATH_MAX];
    struct err why = {0};
    snprintf(path, sizeof path, "%s/%s/training.json", dir, out);
    json_t *root = json_read_file(path, 1 << 24, &why);
    if (!root)
        fail_msg("%s", why.text);
    snprintf(path, sizeof path, "%s/%s/report.html", dir, out);
    assert_true(file_exists(path));
    return root;
}

static double told(const json_t *root, const char *object, const char *name)
{
    const json_t *value = json_object_get(json_object_get(root, object), name);
    if (!json_is_number(value))
        fail_msg("no number \"%s\" in \"%s\"", name, object);
    return json_number_value(value);
}

static void weights_hash(const char *out, struct hash *hash)
{
    char path[FILE_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s/model.safetensors", dir, out);
    check_ok(hash_file_sha256(hash, path, &err));
}

static bool nothing_is_left_of(const char *out)
{
    bool nothing = true;
    DIR *list = opendir(dir);
    assert_non_null(list);
    for (const struct dirent *entry; (entry = readdir(list));)
        nothing = nothing && strncmp(entry->d_name, out, strlen(out)) != 0;
    closedir(list);
    return nothing;
}

/* That of the scores that are told. */
static void check_accuracy(const json_t *root)
{
    const json_t *chosen = json_object_get(root, "chosen");
    const json_t *rejected = json_object_get(root, "rejected");
    const size_t n = json_array_size(chosen);
    double right = 0.0;
    assert_true(n > 0 && json_array_size(rejected) == n);
    for (size_t i = 0; i < n; i++) {
        const double c = json_number_value(json_array_get(chosen, i));
        const double r = json_number_value(json_array_get(rejected, i));
        right += c > r ? 1.0 : c == r ? 0.5 : 0.0;
    }
    check_near(told(root, "result", "accuracy"), right / (double)n, 1e-12);
}

static void a_reward_model_learns_what_was_preferred(void **state)
{
    (void)state;
    struct hash a, b;
    train("reward", "pairs.jsonl", "reward", "", 0, "without a model: the longer answer");
    json_t *root = report("reward");
    assert_true(told(root, "result", "accuracy") > 0.9);
    assert_true(told(root, "baselines", "longer_wins") < 0.7);
    check_accuracy(root);
    assert_int_equal(json_integer_value(json_object_get(root, "trained")), 72);
    assert_int_equal(json_integer_value(json_object_get(root, "held_out")), 24);
    json_decref(root);
    train("reward", "pairs.jsonl", "again", "--threads 2 --json", 0, "\"accuracy\": ");
    weights_hash("reward", &a);
    weights_hash("again", &b);
    assert_memory_equal(&a, &b, sizeof a);
}

/* Every answer once, in the order of pairs.jsonl, with the end token. */
static void a_score_is_read_where_a_run_reads_it(void **state)
{
    (void)state;
    struct buf lines;
    char line[512];
    buf_init(&lines, 1 << 20);
    for (unsigned i = 0; i < 96; i++)
        buf_printf(&lines,
                   "{\"prompt\": \"user: is the %s %u?\\nbot:\", \"response\": \" %s, "
                   "my friend.\"}\n",
                   things[i % 8], i / 8, i % 3 ? "yes" : "no");
    put_file("answers.jsonl", &lines);
    buf_release(&lines);
    train("reward", "pairs.jsonl", "where", "", 0, "");
    snprintf(line, sizeof line,
             "rlhf score --model %s/where --ids %s/answers.jsonl --end --json", dir, dir);
    check_line(cli_main, line, 0, "\"scores\"");
    json_t *root = report("where");
    const json_t *chosen = json_object_get(root, "chosen");
    assert_int_equal(json_array_size(chosen), 24);
    for (size_t i = 0; i < 24; i++) {
        char score[48];
        snprintf(score, sizeof score, "[%.9g]", json_number_value(json_array_get(chosen, i)));
        if (!strstr(said, score))
            fail_msg("no answer has the score %s of chosen[%zu]", score, i);
    }
    json_decref(root);
}

static void a_cost_model_learns_signs(void **state)
{
    (void)state;
    train("cost", "safe.jsonl", "cost", "", 0, "always the more frequent sign");
    json_t *root = report("cost");
    assert_true(told(root, "result", "accuracy") > 0.9);
    assert_true(told(root, "result", "sign_accuracy") > 0.9);
    assert_true(told(root, "result", "chosen_mean") > 0.0); /* the less safe ones */
    assert_true(told(root, "result", "rejected_mean") < 0.0);
    check_near(told(root, "baselines", "majority_sign"), 0.5, 1e-12);
    json_decref(root);
    train("cost", "pairs.jsonl", "none", "", 65, "trains a model of kind cost");
    assert_true(nothing_is_left_of("none"));
}

/* The page says what training.json says, in the frame of the other reports. */
static void the_page_of_a_cost_model_counts_its_signs(void **state)
{
    (void)state;
    struct buf page;
    char path[FILE_PATH_MAX];
    unsigned n[4];
    train("cost", "safe.jsonl", "signs", "--epochs 1 --lr 1e-3", 0, "");
    json_t *root = report("signs");
    const double accuracy = told(root, "result", "sign_accuracy");
    json_decref(root);
    buf_init(&page, 1 << 20);
    snprintf(path, sizeof path, "%s/signs/report.html", dir);
    check_ok(file_read(path, &page, &err));
    assert_non_null(strstr(page.data, "@media(prefers-color-scheme:dark){:root{"));
    assert_non_null(strstr(page.data, "<h1>Cost model</h1>\n<p>72 items trained on, 24 held"));
    assert_non_null(strstr(page.data, "&quot;epochs&quot;: 1,"));
    const char *safe = strstr(page.data, "<tr><td>safe</td>");
    assert_non_null(safe);
    assert_int_equal(sscanf(safe,
                            "<tr><td>safe</td><td class=\"n\">%u</td><td class=\"n\">%u</td>"
                            "</tr> <tr><td>harmful</td><td class=\"n\">%u</td>"
                            "<td class=\"n\">%u</td></tr>",
                            &n[0], &n[1], &n[2], &n[3]),
                     4);
    assert_int_equal(n[0] + n[1], 24);
    assert_int_equal(n[2] + n[3], 24);
    check_near((n[0] + n[3]) / 48.0, accuracy, 1e-12);
    buf_release(&page);
}

static void attributes_are_learned_and_combined(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    train("reward", "ultra.jsonl", "attributes",
          "--attributes warmth,honesty --combine fit --epochs 12", 0, "combined: accuracy");
    json_t *root = report("attributes");
    assert_true(told(root, "result", "r2.warmth") > 0.8);
    assert_true(told(root, "combiner", "accuracy") > 0.9);
    check_near(told(root, "combiner", "fitted_to"), 72, 0.0);
    check_near(told(root, "combiner", "held_out_pairs"), 24, 0.0);
    assert_true(told(root, "result", "mse.warmth") < 1.0);
    json_decref(root);
    snprintf(path, sizeof path, "%s/attributes/combiner.json", dir);
    struct err why = {0};
    root = json_read_file(path, 4096, &why);
    assert_true(told(root, "weights", "warmth") > 0.1);
    json_decref(root);

    train("reward", "ultra.jsonl", "fixed",
          "--attributes warmth,honesty --combine honesty=-0.5,warmth=2 --epochs 1", 0, "");
    snprintf(path, sizeof path, "%s/fixed/combiner.json", dir);
    root = json_read_file(path, 4096, &why);
    check_near(told(root, "weights", "warmth"), 2.0, 0.0);
    check_near(told(root, "weights", "honesty"), -0.5, 0.0);
    json_decref(root);
}

static void members_differ_and_their_mean_is_the_mean(void **state)
{
    (void)state;
    char line[512], path[3][FILE_PATH_MAX];
    struct hash hash[2];
    train("reward", "pairs.jsonl", "base", "--epochs 1", 0, "");
    snprintf(
        line, sizeof line,
        "rlhf train reward --model %s/base --data %s/pairs.jsonl --out %s/many --members 2 "
        "--member-fraction 0.7 --lr 1e-3 --tokens-per-step 256 --held-out 0.25",
        dir, dir, dir);
    check_line(cli_main, line, 0, "the mean of 2 members");
    weights_hash("many/member-0", &hash[0]);
    weights_hash("many/member-1", &hash[1]);
    assert_memory_not_equal(&hash[0], &hash[1], sizeof hash[0]);
    json_t *root = report("many");
    assert_int_equal(json_integer_value(json_object_get(root, "members")), 2);
    json_t *member[] = {report("many/member-0"), report("many/member-1")};
    static const char *const sides[] = {"chosen", "rejected"};
    for (size_t k = 0; k < 2 * 24; k++) {
        double score[3];
        const json_t *from[] = {root, member[0], member[1]};
        for (size_t i = 0; i < 3; i++)
            score[i] = json_number_value(
                json_array_get(json_object_get(from[i], sides[k % 2]), k / 2));
        check_near(score[0], (score[1] + score[2]) / 2.0, 1e-6);
    }
    for (size_t i = 0; i < 2; i++)
        json_decref(member[i]);
    json_decref(root);

    snprintf(line, sizeof line,
             "rlhf average --model %s/many/member-0 --model %s/many/member-1 --out %s/warm",
             dir, dir, dir);
    check_line(cli_main, line, 0, "the mean of 2 models");
    static const char *const names[] = {"many/member-0", "many/member-1", "warm"};
    float *w[3];
    size_t n = 0;
    for (size_t i = 0; i < 3; i++) {
        struct err why = {0};
        snprintf(path[i], sizeof path[i], "%s/%s", dir, names[i]);
        struct safetensors *st = safetensors_open_dir(path[i], &why);
        assert_non_null(st);
        const struct safetensors_tensor *tensor =
            safetensors_find(st, "model.layers.0.mlp.down_proj.weight");
        assert_non_null(tensor);
        n = tensor->elements;
        w[i] = malloc(n * sizeof *w[i]);
        check_ok(safetensors_read(st, tensor, w[i], &err));
        safetensors_close(st);
    }
    for (size_t k = 0; k < n; k++)
        assert_true(w[2][k] == (float)(((double)w[0][k] + (double)w[1][k]) / 2.0));
    for (size_t i = 0; i < 3; i++)
        free(w[i]);

    train("reward", "ultra.jsonl", "other", "--attributes warmth,honesty --epochs 1", 0, "");
    snprintf(line, sizeof line, "rlhf average --model %s/warm --model %s/other --out %s/never",
             dir, dir, dir);
    check_line(cli_main, line, 65, "\"warmth\"");
    assert_true(nothing_is_left_of("never"));
    snprintf(line, sizeof line, "rlhf average --model %s/warm --out %s/never", dir, dir);
    check_line(cli_main, line, 64, "at least twice");
}

/* ---- killed and started again ---- */

#define RESUMABLE "--checkpoint-every 3 --eval-every 4 --patience 50 --members 2 "

static const char *killed_at; /* this process ends where that is in place; NULL: nowhere */

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);

int __wrap_rename(const char *from, const char *to)
{
    const int rc = __real_rename(from, to);
    if (killed_at && strcmp(to, killed_at) == 0)
        raise(SIGKILL);
    return rc;
}

/* The training in a process of its own, killed where its checkpoint `last` is in place. */
static void train_and_kill(const char *out, const char *last)
{
    char path[FILE_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, last);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        killed_at = path;
        train("reward", "pairs.jsonl", out, RESUMABLE, 0, "");
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(file_exists(path));
}

static void a_killed_command_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    struct hash hash[4];
    char path[FILE_PATH_MAX];
    train("reward", "pairs.jsonl", "whole", RESUMABLE, 0, "");
    train_and_kill("parts", "parts.train/member-0/step-00000006");
    train_and_kill("parts", "parts.train/member-1/step-00000003");
    assert_true(nothing_is_left_of("parts.tmp"));
    snprintf(path, sizeof path, "%s/parts.train/out/stray", dir);
    check_ok(file_write(path, "x", 1, &err));
    train("reward", "pairs.jsonl", "parts", RESUMABLE "--lr 2e-2", 78,
          "begun with --lr 0.01, now it is 0.02");
    train("reward", "pairs.jsonl", "parts", "--members 2", 70, "not finished");
    train("reward", "pairs.jsonl", "parts", RESUMABLE "--threads 2 --json", 0, "");
    static const char *const names[] = {"whole/member-0", "parts/member-0", "whole/member-1",
                                        "parts/member-1"};
    for (size_t i = 0; i < 4; i++)
        weights_hash(names[i], &hash[i]);
    assert_memory_equal(&hash[0], &hash[1], sizeof hash[0]);
    assert_memory_equal(&hash[2], &hash[3], sizeof hash[0]);
    json_t *whole = report("whole/member-1"), *parts = report("parts/member-1");
    assert_true(json_equal(whole, parts));
    json_decref(whole);
    json_decref(parts);
    snprintf(path, sizeof path, "%s/parts.train", dir);
    assert_false(file_exists(path));
    snprintf(path, sizeof path, "%s/parts/stray", dir); /* of what was killed, nothing */
    assert_false(file_exists(path));
}

/* OUT.train is removed in the end: it must not be somebody else's. */
static void a_directory_that_holds_no_training_is_left_alone(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    snprintf(path, sizeof path, "%s/mine.train", dir);
    check_ok(file_make_dir(path, &err));
    snprintf(path, sizeof path, "%s/mine.train/notes", dir);
    check_ok(file_write(path, "x", 1, &err));
    train("reward", "pairs.jsonl", "mine", "--checkpoint-every 3", 70,
          "mine.train exists and is not empty");
    assert_true(file_exists(path));
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *options, *words;
        int code;
    } cases[] = {
        {"--patience 2 --held-out 0", "hold data out", 64},
        {"--patience 2", "say --eval-every", 64},
        {"--format xml", "--format: format \"xml\" is none of", 64},
        {"--chat irc", "--chat: chat template \"irc\" is none of", 64},
        {"--attributes a,,b", "\"\" is not a name", 64},
        {"--attributes a,b,a", "\"a\" is there twice", 64},
        {"--attributes a --combine b=1", "\"b\" is not among --attributes", 64},
        {"--attributes a --combine a=much", "is not NAME=WEIGHT", 64},
        {"--attributes a,b --combine a=1,b=1,a=2", "\"a\" has two weights", 64},
        {"--combine fit", "--combine is for --attributes", 64},
        {"--label-smoothing 0.6", "label-smoothing", 64},
        {"--attributes warmth", "trains a model of kind regression", 65},
        {"--lr 1e30 --schedule constant", "a smaller learning rate may help", 65},
        {"--micro-tokens 16", "pairs.jsonl:1", 65},
        {"--checkpoint-every 3 --micro-tokens 16", "pairs.jsonl:1", 65}, /* nothing is kept */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        train("reward", "pairs.jsonl", "mistake", cases[i].options, cases[i].code,
              cases[i].words);
        assert_true(nothing_is_left_of("mistake"));
    }
}

static void a_data_set_of_its_own_is_held_out(void **state)
{
    (void)state;
    char options[256];
    struct buf lines;
    buf_init(&lines, 4096);
    buf_puts(&lines, "{\"prompt\": \"user: is the cat 0?\\nbot:\", \"chosen\": \" oh\", "
                     "\"rejected\": \" no\"}\n{\"prompt\": \"x\", \"chosen\": \" yes, my "
                     "friend.\", \"rejected\": \" no.\"}\n");
    put_file("held.jsonl", &lines);
    buf_release(&lines);
    snprintf(options, sizeof options, "--held-out-data %s/held.jsonl", dir);
    train("reward", "pairs.jsonl", "held", options, 0, "1 items were left out of training");
    json_t *root = report("held");
    assert_int_equal(json_integer_value(json_object_get(root, "held_out")), 2);
    assert_int_equal(json_integer_value(json_object_get(root, "trained")), 95);
    const double longer = told(root, "baselines", "longer_wins"); /* of the second, surely */
    assert_true(longer > 0.5);
    check_near(told(root, "baselines", "shorter_wins"), 1.0 - longer, 1e-12);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reward_model_learns_what_was_preferred),
        cmocka_unit_test(a_score_is_read_where_a_run_reads_it),
        cmocka_unit_test(a_cost_model_learns_signs),
        cmocka_unit_test(the_page_of_a_cost_model_counts_its_signs),
        cmocka_unit_test(attributes_are_learned_and_combined),
        cmocka_unit_test(members_differ_and_their_mean_is_the_mean),
        cmocka_unit_test(a_killed_command_goes_on_to_the_same_bits),
        cmocka_unit_test(a_directory_that_holds_no_training_is_left_alone),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_data_set_of_its_own_is_held_out),
    };
    return cmocka_run_group_tests_name("cli/train_score", tests, make_world, remove_world);
}
