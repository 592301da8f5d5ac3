/*
 * test_hostile.c -- broken files and hostile input, given to the programs as a user would.
 *
 * The oracle is the promise of base/err.h and docs/OPERATIONS.md: whatever comes in, a program
 * ends with a code of sysexits.h and one sentence that names the file, and leaves nothing half
 * written.  Built with sanitizers the programs also answer for what they did to memory: a
 * report is more than one sentence, and its exit code is none of these.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <sys/stat.h>

#include "base/json.h"
#include "tests/e2e/scene.h"

static struct buf whole[3]; /* the files of a good model */
static const char *const names[3] = {"m/config.json", "m/tokenizer.json",
                                     "m/model.safetensors"};
enum { CONFIG, TOKENIZER, WEIGHTS };

static int make(void **state)
{
    static const char *const from[3] = {"model/config.json", "model/tokenizer.json",
                                        "model/model.safetensors"};
    char path[FILE_PATH_MAX];
    (void)state;
    scene_make();
    for (size_t i = 0; i < COUNT(from); i++)
        scene_read(from[i], &whole[i]);
    scene_path(path, "m");
    check_ok(file_make_dir(path, &err));
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(whole); i++)
        buf_release(&whole[i]);
    scene_remove();
    return 0;
}

/* dir/m is a good model again, and standard input what every good model can score. */
static int mend(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(whole); i++)
        scene_write_bytes(names[i], whole[i].data, whole[i].len);
    scene_write("in", "{\"ids\": [1, 2, 3]}\n");
    return 0;
}

/* --- what is checked -------------------------------------------------------------------- */

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void expect_said(const char *line, int code, const char *words, size_t lines)
{
    struct buf said;
    const int got = scene_wait(scene_start(line));
    scene_read("err", &said);
    const char *text = said.len ? said.data : "";
    const bool fits =
        code < 0 ? got == 0 || (got >= 64 && got <= 78 && got != 70) : got == code;
    const bool brief = got == 0 || (count_lines(text) >= 1 && count_lines(text) <= lines);
    if (!fits || !brief || !strstr(text, words))
        fail_msg("`%s` ended with %d, wanted %d and one sentence with \"%s\"; it said:\n%s",
                 line, got, code, words, text);
    buf_release(&said);
}

/* Run `line`; `code` -1 allows success too, and any refusal.  Words must be in the sentence. */
static void expect(const char *line, int code, const char *words)
{
    expect_said(line, code, words, 1);
}

/* Every command that loads the model. */
static void expect_refused(int code, const char *words)
{
    expect("rlhf score --model @/m --ids -", code, words);
}

static void expect_absent(const char *name)
{
    char path[FILE_PATH_MAX];
    scene_path(path, name);
    if (file_exists(path))
        fail_msg("%s was left behind", name);
}

/* --- weights ---------------------------------------------------------------------------- */

static void weights_cut_off_anywhere_are_refused(void **state)
{
    (void)state;
    const size_t n = whole[WEIGHTS].len;
    const size_t cuts[] = {0, 1, 7, 8, 9, 100, 2000, n / 2, n - 4, n - 1};
    for (size_t i = 0; i < COUNT(cuts); i++) {
        scene_write_bytes(names[WEIGHTS], whole[WEIGHTS].data, cuts[i]);
        expect_refused(65, "m/model.safetensors");
        expect("rlhf inspect @/m/model.safetensors", 65, "m/model.safetensors");
    }
}

static void weights_with_a_header_of_impossible_length_are_refused(void **state)
{
    (void)state;
    const uint64_t lengths[] = {0,          1,         whole[WEIGHTS].len, 1u << 24,
                                UINT32_MAX, INT64_MAX, UINT64_MAX,         UINT64_MAX - 7};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        memcpy(whole[WEIGHTS].data, &lengths[i], 8);
        scene_write_bytes(names[WEIGHTS], whole[WEIGHTS].data, whole[WEIGHTS].len);
        expect_refused(65, "m/model.safetensors");
    }
    buf_release(&whole[WEIGHTS]);
    scene_read("model/model.safetensors", &whole[WEIGHTS]);
}

/* The header with one member of one tensor replaced. */
static void write_header(const char *tensor, const char *member, const char *value)
{
    uint64_t n;
    struct err why = {0};
    struct buf out;
    memcpy(&n, whole[WEIGHTS].data, 8);
    json_t *header = json_parse(whole[WEIGHTS].data + 8, n, "header", &why);
    json_t *wrapped = json_parse(value, strlen(value), "value", &why);
    if (!header || !wrapped)
        fail_msg("%s", why.text);
    assert_int_equal(
        json_object_set(json_object_get(header, tensor), member, json_array_get(wrapped, 0)),
        0);
    char *text = json_dumps(header, JSON_COMPACT);
    const uint64_t length = strlen(text);
    buf_init(&out, (size_t)1 << 26);
    buf_append(&out, (const char *)&length, 8);
    buf_append(&out, text, length);
    buf_append(&out, whole[WEIGHTS].data + 8 + n, whole[WEIGHTS].len - 8 - n);
    scene_write_bytes(names[WEIGHTS], out.data, out.len);
    free(text);
    buf_release(&out);
    json_decref(header);
    json_decref(wrapped);
}

static void weights_whose_header_lies_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *member, *value;
    } cases[] = {
        {"data_offsets", "[[0, 128]]"},
        {"data_offsets", "[[128, 0]]"},
        {"data_offsets", "[[-1, 127]]"},
        {"data_offsets", "[[9223372036854775000, 9223372036854775807]]"},
        {"data_offsets", "[[0]]"},
        {"data_offsets", "[\"0, 128\"]"},
        {"data_offsets", "[null]"},
        {"shape", "[[31]]"},
        {"shape", "[[-32]]"},
        {"shape", "[[4294967296, 4294967296]]"},
        {"shape", "[[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 32]]"},
        {"shape", "[[32, 0]]"},
        {"shape", "[{}]"},
        {"dtype", "[\"F64\"]"},
        {"dtype", "[\"I8\"]"},
        {"dtype", "[7]"},
        {"dtype", "[\"BF16\"]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_header("model.norm.weight", cases[i].member, cases[i].value);
        expect_refused(65, "m/model.safetensors");
    }
}

static void weights_that_are_not_numbers_are_refused(void **state)
{
    (void)state;
    static const uint32_t odd[] = {0x7fc00000u, 0x7f800000u, 0xff800000u};
    for (size_t i = 0; i < COUNT(odd); i++) {
        struct buf file;
        scene_read("model/model.safetensors", &file);
        memcpy(file.data + file.len - 400, &odd[i], 4);
        scene_write_bytes(names[WEIGHTS], file.data, file.len);
        buf_release(&file);
        expect_refused(65, "m/model.safetensors");
        expect("rlhf generate --model @/m --prompt hi", 65, "m/model.safetensors");
    }
}

static void files_with_changed_bytes_never_do_harm(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < 90; i++) {
        struct buf file;
        const size_t which = i % 3;
        mend(NULL);
        buf_init(&file, (size_t)1 << 26);
        buf_append(&file, whole[which].data, whole[which].len);
        const size_t room = which == WEIGHTS ? 2400 : file.len; /* the header counts most */
        for (size_t k = 0; k <= i % 4; k++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            file.data[x % room] = (char)(x >> 32);
        }
        scene_write_bytes(names[which], file.data, file.len);
        buf_release(&file);
        expect("rlhf generate --model @/m --prompt Hello --max-new-tokens 4", -1, "");
    }
}

/* --- config.json ------------------------------------------------------------------------ */

static void write_config(const char *key, const char *value)
{
    struct err why = {0};
    json_t *config = json_parse(whole[CONFIG].data, whole[CONFIG].len, "config", &why);
    json_t *wrapped = json_parse(value, strlen(value), "value", &why);
    if (!config || !wrapped)
        fail_msg("%s", why.text);
    if (json_array_size(wrapped) == 0)
        json_object_del(config, key);
    else
        json_object_set(config, key, json_array_get(wrapped, 0));
    char *text = json_dumps(config, 0);
    scene_write(names[CONFIG], text);
    free(text);
    json_decref(config);
    json_decref(wrapped);
}

static void a_config_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value; /* [value], [] to leave it out */
        const char *words;
    } cases[] = {
        {"model_type", "[]", "m/config.json"},
        {"model_type", "[\"mamba\"]", "m/config.json"},
        {"model_type", "[3]", "m/config.json"},
        {"hidden_size", "[\"32\"]", "m/config.json"},
        {"hidden_size", "[0]", "m/config.json"},
        {"hidden_size", "[-32]", "m/config.json"},
        {"hidden_size", "[1000000000000]", "m/config.json"},
        {"hidden_size", "[33]", "/m"},
        {"hidden_size", "[64]", "m/model.safetensors"},
        {"num_hidden_layers", "[1000000000]", "m/config.json"},
        {"num_hidden_layers", "[1000]", "/m"},
        {"num_hidden_layers", "[1]", "m/model.safetensors"},
        {"num_hidden_layers", "[0]", "m/config.json"},
        {"num_hidden_layers", "[2.5]", "m/config.json"},
        {"num_attention_heads", "[5]", "/m"},
        {"num_attention_heads", "[0]", "m/config.json"},
        {"num_key_value_heads", "[3]", "m/config.json"},
        {"num_key_value_heads", "[8]", "m/config.json"},
        {"head_dim", "[0]", "m/config.json"},
        {"head_dim", "[7]", "/m"},
        {"intermediate_size", "[65]", "m/model.safetensors"},
        {"intermediate_size", "[true]", "m/config.json"},
        {"vocab_size", "[100]", "/m"},
        {"vocab_size", "[16777216]", "/m"},
        {"vocab_size", "[99999999999]", "m/config.json"},
        {"max_position_embeddings", "[0]", "m/config.json"},
        {"max_position_embeddings", "[-1]", "m/config.json"},
        {"rms_norm_eps", "[\"small\"]", "m/config.json"},
        {"rms_norm_eps", "[-1]", "m/config.json"},
        {"rope_theta", "[0]", "m/config.json"},
        {"rope_theta", "[[]]", "m/config.json"},
        {"eos_token_id", "[[0, \"a\"]]", "m/config.json"},
        {"hidden_act", "[\"relu\"]", "m/config.json"},
        {"tie_word_embeddings", "[\"yes\"]", "m/config.json"},
        {"quantization_config", "[{\"bits\": 4}]", "m/config.json"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_config(cases[i].key, cases[i].value);
        expect_refused(65, cases[i].words);
    }
    static const char *const texts[] = {"",         "{",
                                        "[]",       "null",
                                        "\"\"",     "{\"model_type\":\"\\u0000\"}",
                                        "\xff\xfe", "{\"a\":1,\"a\":1}"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        scene_write(names[CONFIG], texts[i]);
        expect_refused(65, "m/config.json");
    }
}

static void a_config_may_promise_what_costs_nothing(void **state)
{
    (void)state;
    write_config("eos_token_id", "[100000]"); /* never drawn */
    expect("rlhf generate --model @/m --prompt Hello --max-new-tokens 4", 0, "");
    write_config("max_position_embeddings", "[16777216]");
    expect("rlhf score --model @/m --ids -", 0, "");
    expect("rlhf generate --model @/m --prompt Hello --max-new-tokens 4", 0, "");
}

/* --- tokenizer.json --------------------------------------------------------------------- */

static void a_tokenizer_cut_off_anywhere_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < 12; i++) {
        scene_write_bytes(names[TOKENIZER], whole[TOKENIZER].data,
                          whole[TOKENIZER].len * i / 12);
        expect("rlhf tokenize --model @/m", 65, "m/tokenizer.json");
    }
}

static void write_tokenizer(const char *key, const char *value)
{
    struct err why = {0};
    json_t *root = json_parse(whole[TOKENIZER].data, whole[TOKENIZER].len, "t", &why);
    json_t *wrapped = json_parse(value, strlen(value), "value", &why);
    if (!root || !wrapped)
        fail_msg("%s", why.text);
    json_object_set(root, key, json_array_get(wrapped, 0));
    char *text = json_dumps(root, 0);
    scene_write(names[TOKENIZER], text);
    free(text);
    json_decref(root);
    json_decref(wrapped);
}

#define SPLIT(regex)                                           \
    "[{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex \
    "\"}, \"behavior\": \"Isolated\", \"invert\": false}]"

static void a_tokenizer_of_wrong_types_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
    } cases[] = {
        {"model", "[null]"},
        {"model", "[[]]"},
        {"model", "[{\"type\": \"Unigram\"}]"},
        {"added_tokens", "[{}]"},
        {"added_tokens", "[[{\"id\": -1, \"content\": \"x\"}]]"},
        {"pre_tokenizer", "[7]"},
        {"pre_tokenizer", "[{\"type\": \"Shell\"}]"},
        {"pre_tokenizer", SPLIT("(")},
        {"pre_tokenizer", SPLIT("a{1,99999999}")},
        {"pre_tokenizer", SPLIT("(?C1)a")},
        {"decoder", "[\"x\"]"},
        {"normalizer", "[{\"type\": \"x\"}]"},
        {"post_processor", "[true]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_tokenizer(cases[i].key, cases[i].value);
        expect("rlhf tokenize --model @/m", 65, "m/tokenizer.json");
        expect("rlhf generate --model @/m --prompt hi", 65, "m/tokenizer.json");
    }
}

/* Patterns that cost a backtracking matcher exponential time, or its stack. */
static void a_tokenizer_with_a_greedy_pattern_comes_to_an_end(void **state)
{
    (void)state;
    static const char *const patterns[] = {SPLIT("(a+)+$"),           SPLIT("(a|aa)+$"),
                                           SPLIT("(?:a?){64}a{64}!"), SPLIT("((a*)*)*b"),
                                           SPLIT("(?:(?:a|b)*c)*d"),  SPLIT("(a)(?R)?b")};
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < 20000; i++)
        buf_putc(&text, 'a');
    buf_puts(&text, "!\n");
    scene_write("in", text.data);
    buf_release(&text);
    for (size_t i = 0; i < COUNT(patterns); i++) {
        write_tokenizer("pre_tokenizer", patterns[i]);
        expect("rlhf tokenize --model @/m", -1, "");
    }
}

/* --- lines of input --------------------------------------------------------------------- */

static void lines_that_are_no_sequence_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"{\"ids\": [0, 99999]}", "standard input:2: token 1 is 99999"},
        {"{\"ids\": [-1]}", "standard input:2: ids[0]"},
        {"{\"ids\": [4294967297]}", "standard input:2: ids[0]"},
        {"{\"ids\": [9223372036854775808]}", "standard input:2"},
        {"{\"ids\": [1.0]}", "standard input:2: ids[0]"},
        {"{\"ids\": [\"1\"]}", "standard input:2: ids[0]"},
        {"{\"ids\": [[1]]}", "standard input:2: ids[0]"},
        {"{\"ids\": []}", "standard input:2: no tokens"},
        {"{\"ids\": {}}", "standard input:2"},
        {"{\"ids\": [1", "standard input:2"},
        {"[1, 2]", "standard input:2"},
        {"7", "standard input:2"},
        {"hello", "standard input:2"},
        {"{}", "standard input:2"},
        {"{\"text\": \"\xff\"}", "standard input:2"},
        {"{\"text\": \"\\ud800\"}", "standard input:2"},
        {"{\"text\": 5}", "standard input:2"},
        {"{\"text\": \"\"}", "standard input:2"},
        {"{\"prompt\": \"a\"}", "standard input:2"},
        {"{\"prompt\": \"a\", \"response\": null}", "standard input:2"},
        {"{\"ids\": [1], \"ids\": [2]}", "standard input:2"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"ids\": [1, 2]}\n%s\n", cases[i].line);
        scene_write("in", text);
        expect("rlhf score --model @/m --ids -", 65, cases[i].words);
    }
    struct buf line;
    buf_init(&line, 1 << 20);
    buf_puts(&line, "{\"ids\": [1");
    for (size_t i = 0; i < 200; i++)
        buf_puts(&line, ", 1");
    buf_puts(&line, "]}\n");
    scene_write("in", line.data);
    expect("rlhf score --model @/m --ids -", 65, "standard input:1: 201 tokens");
    buf_clear(&line);
    for (size_t i = 0; i < 100000; i++)
        buf_putc(&line, '[');
    scene_write("in", line.data);
    expect("rlhf score --model @/m --ids -", 65, "standard input:1");
    buf_release(&line);
}

static void a_text_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"\xff\n", "a\xc0\x80\n", "\xed\xa0\x80\n",
                                        "\xf4\x90\x80\x80\n", "cut \xe2\x82"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        scene_write("in", texts[i]);
        expect("rlhf tokenize --model @/m", 65, "standard input:1");
    }
    expect("rlhf generate --model @/m --prompt \xff", 65, "UTF-8");
    scene_write("in", "{\"ids\": [1, 99999]}\n");
    expect("rlhf tokenize --model @/m --decode --json", 65, "standard input:1");
}

/* --- what is no file -------------------------------------------------------------------- */

static void what_is_no_regular_file_is_refused(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    for (size_t i = 0; i < COUNT(names); i++) {
        scene_path(path, names[i]);
        assert_int_equal(unlink(path), 0);
        expect("rlhf generate --model @/m --prompt hi", 74, names[i]);
        assert_int_equal(mkdir(path, 0755), 0);
        expect("rlhf generate --model @/m --prompt hi", 74, names[i]);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(mkfifo(path, 0644), 0);
        expect("rlhf generate --model @/m --prompt hi", 74, names[i]);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink("/dev/zero", path), 0);
        expect("rlhf generate --model @/m --prompt hi", 74, names[i]);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink(path, path), 0);
        expect("rlhf generate --model @/m --prompt hi", 74, names[i]);
        assert_int_equal(unlink(path), 0);
        mend(NULL);
    }
    expect("rlhf score --model @/none --ids -", 74, "/none/");
    expect("rlhf score --model @/m --ids @/none", 74, "/none");
    expect("rlhf score --model @/m --ids @/m", 74, "/m");
    expect("rlhf score --model @/m --ids /dev/zero", 65, "/dev/zero:1");
    expect("rlhf inspect @/none", 74, "/none");
    expect("rlhf inspect /dev/zero", 65, "/dev/zero");
    expect("rlhf inspect @/m/tokenizer.json", 65, "tokenizer.json");
    expect("rlhf status @/m", -1, "");
}

/* --- training --------------------------------------------------------------------------- */

static void training_that_cannot_begin_leaves_nothing_behind(void **state)
{
    (void)state;
    static const struct {
        const char *data, *words;
    } cases[] = {
        {"", "bad.jsonl"},
        {"\n\n", "bad.jsonl"},
        {"{\"text\": \"a\"}\n{\"text\": 1}\n", "bad.jsonl:2"},
        {"{\"text\": \"a b c\"}\nno\n", "bad.jsonl:2"},
        {"{\"prompt\": \"a\", \"response\": \"\xfe\"}\n", "bad.jsonl:1"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        scene_write("bad.jsonl", cases[i].data);
        expect("rlhf train sft --model @/m --data @/bad.jsonl --out @/made", 65,
               cases[i].words);
        expect_absent("made");
    }
    expect("rlhf train sft --model @/m --data @/none --out @/made", 74, "/none");
    expect("rlhf train sft --model @/m --data @/prompts.jsonl --out @/words.txt", -1, "");
    expect("rlhf train sft --model @/m --data @/prompts.jsonl --out @/words.txt/x", -1, "");
    expect("rlhf train sft --init @/words.txt --tokenizer @/m --data @/prompts.jsonl --out "
           "@/made",
           74, "words.txt");
    expect_absent("made");
    expect_absent("made.tmp");
}

/* --- a run's configuration -------------------------------------------------------------- */

static void a_configuration_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "run",
        "run: [",
        "run: {steps: 1\n",
        "\t",
        "run:\n  steps: -1\n",
        "run:\n  steps: 1e400\n",
        "run:\n  stepz: 1\n",
        "run:\n  steps: 1\n  steps: 2\n",
        "run: &a\n  dir: *a\n",
        "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: [*b,*b]\n",
        "ppo:\n  gamma: .nan\n",
        "--- a\n--- b\n",
        "\xff\xfe",
        "run: !!binary x\n",
        "pipeline:\n  batch: 99999999999999999999999\n",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        scene_write("bad.yaml", texts[i]);
        expect("rlhf config @/bad.yaml", 78, "bad.yaml");
        expect("rlhf run @/bad.yaml", 78, "bad.yaml");
    }
    expect("rlhf config @/none.yaml", 74, "none.yaml");
    expect("rlhf config @", 74, dir);
    expect("rlhf config /dev/zero", 74, "/dev/zero");
    static const char *const keys[] = {
        "no.such=1", "run.steps",     "run.steps=",    "run.steps=x",
        "=",         "ppo.gamma=nan", "ppo.gamma=inf", "pipeline.samples_per_prompt=3"};
    for (size_t i = 0; i < COUNT(keys); i++) {
        char line[256];
        snprintf(line, sizeof line, "rlhf config @/run.yaml %s", keys[i]);
        expect(line, 78, "");
    }
}

/* --- a run ------------------------------------------------------------------------------ */

/* `rlhf run` says which process could not go on, and on a second line that one's sentence. */
static void expect_run(const char *overrides, int code, const char *words)
{
    char line[1024], path[FILE_PATH_MAX];
    snprintf(line, sizeof line, "rlhf run @/run.yaml --quiet run.dir=@/r %s", overrides);
    expect_said(line, code, words, 2);
    expect_absent("r/final");
    scene_path(path, "r");
    check_ok(file_remove_tree(path, &err));
}

static void a_run_on_bad_data_ends_with_the_line_at_fault(void **state)
{
    (void)state;
    static const struct {
        const char *data, *words;
    } cases[] = {
        {"", "bad.jsonl"},
        {"{\"prompt\": \"a\"}\n{\"prompt\": 1}\n", "bad.jsonl:2"},
        {"{\"prompt\": \"a\"}\n\n{\"prompt\": \"a\"\n", "bad.jsonl:3"},
        {"{\"prompt\": \"\xff\"}\n", "bad.jsonl:1"},
        {"{\"prompt\": \"\"}\n", "bad.jsonl:1"},
        {"{\"messages\": []}\n", "bad.jsonl:1"},
        {"{\"messages\": [{\"role\": \"user\"}]}\n", "bad.jsonl:1"},
        {"{\"prompt\": \"a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a "
         "a "
         "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a\"}\n",
         "bad.jsonl:1"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        scene_write("bad.jsonl", cases[i].data);
        expect_run("data.prompts=@/bad.jsonl", 65, cases[i].words);
    }
    expect_run("data.prompts=@/none", 74, "/none");
    expect_run("data.prompts=@/m", 74, "/m");
    expect_run("data.prompts=/dev/zero", 74, "/dev/zero");
    expect_run("model.policy=@/none", 74, "/none");
}

static void a_run_on_a_broken_model_ends_with_its_name(void **state)
{
    (void)state;
    write_config("vocab_size", "[100]"); /* fewer than the tokenizer has */
    expect_run("model.policy=@/m", 65, "/m");
    mend(NULL);
    scene_write_bytes(names[WEIGHTS], whole[WEIGHTS].data, whole[WEIGHTS].len - 100);
    expect_run("model.policy=@/m", 65, "/m/model.safetensors");
    mend(NULL);
    scene_write_bytes(names[TOKENIZER], whole[TOKENIZER].data, 1000);
    expect_run("model.policy=@/m", 65, "/m/tokenizer.json");
    mend(NULL);
    expect_run("model.reference=@/words.txt", 74, "words.txt");
}

static void a_run_where_no_run_can_be_is_refused(void **state)
{
    char path[FILE_PATH_MAX], good[HASH_HEX_BYTES], again[HASH_HEX_BYTES];
    (void)state;
    expect("rlhf run @/run.yaml run.dir=@/words.txt --quiet", 74, "words.txt");
    expect("rlhf run @/run.yaml run.dir=/proc/none --quiet", 74, "/proc/none");
    expect("rlhf run @/run.yaml run.dir=@/whole --quiet", 0, "");
    scene_sha("whole/final/model.safetensors", good);
    expect("rlhf run @/run.yaml run.dir=@/whole run.seed=9 --quiet", 78, "run.seed");
    scene_path(path, "whole/config.yaml");
    assert_int_equal(unlink(path), 0);
    expect_said("rlhf run @/run.yaml run.dir=@/whole run.seed=9 --quiet", 78, "config", 2);
    assert_int_equal(unlink(path), 0);
    scene_write("whole/ledger.sqlite-wal", "");
    scene_write("whole/ledger.sqlite", "this is no database, and was never one");
    expect_said("rlhf run @/run.yaml run.dir=@/whole --quiet", -1, "whole/ledger.sqlite", 2);
    scene_sha("whole/final/model.safetensors", again);
    assert_string_equal(again, good); /* what was there stays */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(weights_cut_off_anywhere_are_refused, mend),
        cmocka_unit_test_setup(weights_with_a_header_of_impossible_length_are_refused, mend),
        cmocka_unit_test_setup(weights_whose_header_lies_are_refused, mend),
        cmocka_unit_test_setup(weights_that_are_not_numbers_are_refused, mend),
        cmocka_unit_test_setup(files_with_changed_bytes_never_do_harm, mend),
        cmocka_unit_test_setup(a_config_that_cannot_be_is_refused, mend),
        cmocka_unit_test_setup(a_config_may_promise_what_costs_nothing, mend),
        cmocka_unit_test_setup(a_tokenizer_cut_off_anywhere_is_refused, mend),
        cmocka_unit_test_setup(a_tokenizer_of_wrong_types_is_refused, mend),
        cmocka_unit_test_setup(a_tokenizer_with_a_greedy_pattern_comes_to_an_end, mend),
        cmocka_unit_test_setup(lines_that_are_no_sequence_are_refused, mend),
        cmocka_unit_test_setup(a_text_that_is_not_utf8_is_refused, mend),
        cmocka_unit_test_setup(what_is_no_regular_file_is_refused, mend),
        cmocka_unit_test_setup(training_that_cannot_begin_leaves_nothing_behind, mend),
        cmocka_unit_test_setup(a_configuration_that_cannot_be_is_refused, mend),
        cmocka_unit_test_setup(a_run_on_bad_data_ends_with_the_line_at_fault, mend),
        cmocka_unit_test_setup(a_run_on_a_broken_model_ends_with_its_name, mend),
        cmocka_unit_test_setup(a_run_where_no_run_can_be_is_refused, mend),
    };
    return cmocka_run_group_tests_name("e2e/hostile", tests, make, unmake);
}
