/*
 * test_cli_data.c -- `rlhf data inspect`, `convert` and `split`.
 *
 * Oracles: what a few lines hold, counted by hand; for splits, every line is looked up in the
 * two files that were made, and prompts in one are not in the other.
 */
#include "base/json.h"
#include "data/lines.h"
#include "tests/unit/cli_run.h"
#include "tests/unit/data_files.h"

#define HH TEST_SOURCE_DIR "/tests/golden/data/hh.jsonl.gz"

static void run_in_dir(const char *format, const char *a, const char *b, char line[1024])
{
    char first[128], second[128];
    snprintf(first, sizeof first, "%s/%s", data_dir, a);
    snprintf(second, sizeof second, "%s/%s", data_dir, b);
    snprintf(line, 1024, format, first, second);
}

/* The lines of a file in the directory, in order, as a text the caller frees. */
static char *lines_of(const char *name)
{
    char path[FILE_PATH_MAX];
    struct lines lines;
    struct buf got;
    bool more;
    buf_init(&got, 8u << 20);
    buf_reserve(&got, 1); /* memory of its own, also where there is no line */
    check_ok(file_join(path, data_dir, name, &err));
    check_ok(lines_open(&lines, path, &err));
    for (;;) {
        check_ok(lines_next(&lines, &more, &err));
        if (!more)
            break;
        buf_printf(&got, "%s|", lines.line.data);
    }
    lines_close(&lines);
    return got.data;
}

static void check_lines_of(const char *name, const char *want)
{
    char *got = lines_of(name);
    assert_string_equal(got, want);
    free(got);
}

static bool data_exists(const char *name)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, data_dir, name, &err));
    return file_exists(path);
}

static void inspect_says_what_is_in_a_file(void **state)
{
    (void)state;
    check_line(cli_main, "rlhf data inspect " HH, 0,
               "  72 lines: 72 good, 0 bad\n  72 records, 72 with a prompt; 144 answers\n"
               "  72 pairs; 0 ties\n  the longer answer is the preferred one in ");
    check_line(cli_main, "rlhf data inspect --json " HH, 0,
               "\"format\": \"hh\", \"lines\": 72");
    json_t *report = json_loads(said, 0, NULL);
    assert_non_null(report);
    const json_t *turns = json_object_get(report, "turns");
    assert_int_equal(json_integer_value(json_object_get(turns, "n")), 72);
    assert_int_equal(json_integer_value(json_object_get(turns, "p50")), 3);
    json_decref(report);
    check_line(cli_main,
               "rlhf data inspect --chat hh --tokenizer " TEST_SOURCE_DIR
               "/tests/golden/tokenizer/gpt2 " HH,
               0, "  tokens of answers ");
    check_line(cli_main, "rlhf data inspect " HH " " HH, 0,
               "  LEAK: the prompts of 72 records are also in " HH "\n          " HH ":1 (" HH
               ":1)\n");
}

static void inspect_names_bad_lines_and_goes_on(void **state)
{
    (void)state;
    static const char text[] = "{\"text\": \"a\"}\n{\"text\": 1}\nno\n{\"text\": \"a\"}\n";
    check_input(cli_main, "rlhf data inspect -", text, 0,
                "  4 lines: 2 good, 2 bad\n"
                "        1 json    not a JSON object in UTF-8\n"
                "          standard input:3: not JSON: '[' or '{' expected near 'no' (line 1 "
                "column 2)\n"
                "        1 type    a field is of the wrong type\n"
                "          standard input:2: \"text\" is a number; a text is expected\n"
                "  2 records, 0 with a prompt; 2 answers\n");
    assert_non_null(strstr(said, "0 prompts, 1 whole records"));
    check_input(cli_main, "rlhf data inspect --json -", text, 0,
                "\"bad_by\": {\"json\": {\"lines\": 1, \"first\": [\"standard input:3: ");
    check_input(cli_main, "rlhf data inspect -", "{\"a\": 1}\n", 65,
                "standard input: there is no record in it");
    check_input(cli_main, "rlhf data inspect -", "", 65, "there is no record in it");
    check_line(cli_main, "rlhf data inspect /none", 74, "/none: No such file");
    check_line(cli_main, "rlhf data inspect", 64, "");
    check_line(cli_main, "rlhf data inspect x --format y", 64,
               "\"y\" is none of: auto, hh, pair, ultrafeedback, safe_rlhf, oasst, response, "
               "prompt, text, ids");
    check_line(cli_main, "rlhf data inspect a b c d e f g h i", 64, "");
}

static void convert_writes_what_records_have(void **state)
{
    (void)state;
    char line[1024];
    static const char text[] =
        "{\"prompt\": \"p\", \"response\": \"r\", \"attributes\": {\"h\": 1.5}}\nno\n";
    data_put("in", text, sizeof text - 1);
    run_in_dir("rlhf data convert %s --to response --attribute h --max-bad-fraction 0.5 --out "
               "%s",
               "in", "out.jsonl", line);
    check_line(cli_main, line, 0, "wrote 1 records (response) as response to ");
    assert_non_null(strstr(said, "; 1 bad lines"));
    check_lines_of("out.jsonl", "{\"prompt\": \"p\", \"response\": \"r\", \"h\": 1.5}|");
    run_in_dir("rlhf data convert %s --to response --out %s", "in", "never.jsonl", line);
    check_line(cli_main, line, 65, "/in:2: not JSON");
    run_in_dir("rlhf data convert %s --to pair --max-bad-fraction 1 --out %s", "in",
               "never.jsonl", line);
    check_line(cli_main, line, 65, "no record can be written as pair; there is no pair");
    run_in_dir("rlhf data convert %s --to ids --out %s", "in", "never.jsonl", line);
    check_line(cli_main, line, 64, "it is one of pair, safe_rlhf, response, prompt, hh");
    check_line(cli_main, "rlhf data convert x --to hh", 64, "--out is missing");
    assert_false(data_exists("never.jsonl"));
    assert_false(data_exists("never.jsonl.tmp"));

    run_in_dir("rlhf data convert " HH " --to safe_rlhf --out %s", "hh.jsonl.gz", "", line);
    check_line(cli_main, line, 0, "left out 4 records: not two answers of one turn");
    run_in_dir("rlhf data inspect %s", "hh.jsonl.gz", "", line);
    check_line(cli_main, line, 0, "  68 lines: 68 good, 0 bad");
}

static void split_keeps_prompts_apart_whatever_the_order(void **state)
{
    (void)state;
    enum { PROMPTS = 400, EACH = 3 };
    struct buf text[2];
    char line[1024], want[64];
    for (size_t k = 0; k < 2; k++) {
        buf_init(&text[k], 1u << 20);
        for (size_t i = 0; i < PROMPTS * EACH; i++) {
            const size_t j = k ? PROMPTS * EACH - 1 - i : i;
            buf_printf(&text[k], "{\"prompt\": \"p%zu\",  \"response\": \"r%zu\"}\n",
                       j % PROMPTS, j);
        }
        data_put(k ? "backward" : "forward", text[k].data, text[k].len);
        buf_release(&text[k]);
    }
    run_in_dir("rlhf data split %s --out %s --held-out 0.25 --seed 3", "forward", "s1", line);
    check_line(cli_main, line, 0, "left out 0 bad and 0 without a record");
    run_in_dir("rlhf data split %s --out %s --held-out 0.25 --seed 3", "backward", "s2", line);
    check_line(cli_main, line, 0, "wrote ");
    run_in_dir("rlhf data split %s --out %s --held-out 0.25 --seed 4", "forward", "s3", line);
    check_line(cli_main, line, 0, "wrote ");
    char *train[3] = {lines_of("s1/train.jsonl"), lines_of("s2/train.jsonl"),
                      lines_of("s3/train.jsonl")};
    char *held[3] = {lines_of("s1/held_out.jsonl"), lines_of("s2/held_out.jsonl"),
                     lines_of("s3/held_out.jsonl")};
    size_t out = 0, moved = 0;
    for (size_t i = 0; i < PROMPTS * EACH; i++) {
        snprintf(want, sizeof want, "{\"prompt\": \"p%zu\",  \"response\": \"r%zu\"}|",
                 i % PROMPTS, i);
        const bool first = strstr(held[0], want) != NULL;
        assert_int_equal(strstr(train[0], want) != NULL, !first);
        assert_int_equal(strstr(held[1], want) != NULL, first);
        assert_int_equal(strstr(train[1], want) != NULL, !first);
        moved += (strstr(held[2], want) != NULL) != first;
        out += first;
        snprintf(want, sizeof want, "{\"prompt\": \"p%zu\",", i % PROMPTS);
        assert_int_equal(strstr(held[0], want) != NULL, first);
        assert_int_equal(strstr(train[0], want) != NULL, !first);
    }
    /* 400 prompts, each held out with a probability of 1/4: 100 and 8.7 around it. */
    assert_true(out >= EACH * 65 && out <= EACH * 135);
    assert_true(moved > 0);
    for (size_t k = 0; k < 3; k++) {
        free(train[k]);
        free(held[k]);
    }
    run_in_dir("rlhf data split %s --out %s", "forward", "s1", line);
    check_line(cli_main, line, 70, "exists and is not empty");
}

static void split_by_opening_keeps_dialogues_of_one_question_together(void **state)
{
    (void)state;
    struct buf text;
    char line[1024];
    buf_init(&text, 1u << 20);
    for (int i = 0; i < 60; i++)
        buf_printf(&text,
                   "{\"messages\": [{\"role\": \"user\", \"content\": \"q%d\"}, {\"role\": "
                   "\"assistant\", \"content\": \"a%d\"}, {\"role\": \"user\", \"content\": "
                   "\"more\"}]}\n",
                   i % 2, i);
    data_put("talk", text.data, text.len);
    buf_release(&text);
    /* A seed that parts the two questions, so that both files have some. */
    run_in_dir("rlhf data split %s --out %s --by opening --held-out 0.5 --seed 1", "talk",
               "opening", line);
    check_line(cli_main, line, 0, "30 lines to train on, 30 held out");
    run_in_dir("rlhf data split %s --out %s --by whole", "talk", "never", line);
    check_line(cli_main, line, 64, "--by whole: it is prompt or opening");
    run_in_dir("rlhf data split %s --out %s --format oasst", "talk", "never", line);
    check_line(cli_main, line, 65, "/talk:1: \"prompt\" is missing");
    assert_false(data_exists("never"));
}

/* A tree gives several records; its line is written once. */
static void split_writes_a_line_once(void **state)
{
    (void)state;
    static const char tree[] =
        "{\"message_tree_id\": \"t\", \"prompt\": {\"text\": \"p\", \"role\": \"prompter\", "
        "\"replies\": [{\"text\": \"a\", \"role\": \"assistant\", \"replies\": [{\"text\": "
        "\"q\", \"role\": \"prompter\", \"replies\": [{\"text\": \"b\", \"role\": "
        "\"assistant\"}]}]}]}}";
    char line[1024], want[1024];
    snprintf(want, sizeof want, "%s\n", tree);
    data_put("tree", want, strlen(want));
    run_in_dir("rlhf data split %s --out %s --held-out 0", "tree", "tree.parts", line);
    check_line(cli_main, line, 0, "1 lines to train on, 0 held out");
    snprintf(want, sizeof want, "%s|", tree);
    check_lines_of("tree.parts/train.jsonl", want);
    check_lines_of("tree.parts/held_out.jsonl", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inspect_says_what_is_in_a_file),
        cmocka_unit_test(inspect_names_bad_lines_and_goes_on),
        cmocka_unit_test(convert_writes_what_records_have),
        cmocka_unit_test(split_keeps_prompts_apart_whatever_the_order),
        cmocka_unit_test(split_by_opening_keeps_dialogues_of_one_question_together),
        cmocka_unit_test(split_writes_a_line_once),
    };
    return cmocka_run_group_tests(tests, data_make_dir, data_remove_dir);
}
