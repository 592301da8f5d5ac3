/*
 * test_data_malformed.c -- lines that are of no use: each is named with its reason.
 *
 * The oracle is the table: the line, what it is read as, why it is bad, and the whole
 * sentence after the file's name.
 */
#include "data/lines.h"
#include "tests/unit/data_files.h"

#define DEEP8(x)        "[[[[[[[[" x "]]]]]]]]"
#define DEEP64(x)       DEEP8(DEEP8(DEEP8(DEEP8(DEEP8(DEEP8(DEEP8(DEEP8(x))))))))
#define MSG(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"
#define SAFE            "\"prompt\":\"p\",\"response_0\":\"x\",\"response_1\":\"y\""
#define TREE(rest)      "{\"prompt\":{\"text\":\"p\",\"role\":\"prompter\"" rest "}}"

static const struct malformed {
    enum format_kind kind;
    const char *line;
    enum data_bad why;
    const char *sentence;
} malformed[] = {
    {FORMAT_auto, "no", DATA_BAD_JSON,
     "not JSON: '[' or '{' expected near 'no' (line 1 column 2)"},
    {FORMAT_auto, "[1]", DATA_BAD_JSON, "a JSON object is expected"},
    {FORMAT_text, "{\"text\":\"a\"", DATA_BAD_JSON,
     "not JSON: '}' expected near end of file (line 1 column 11)"},
    {FORMAT_text, "{\"text\":\"\\u0000\"}", DATA_BAD_JSON,
     "not JSON: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"\\u0000\"' (line 1 "
     "column 16)"},
    {FORMAT_text, "{\"text\":\"\xff\"}", DATA_BAD_JSON,
     "not JSON: unable to decode byte 0xff near '\"' (line 1 column 9)"},
    {FORMAT_text, "{\"text\":\"a\",\"text\":\"b\"}", DATA_BAD_JSON,
     "not JSON: duplicate object key near '\"text\"' (line 1 column 18)"},
    {FORMAT_response, "{\"prompt\":\"p\",\"response\":\"r\",\"rating\":NaN}", DATA_BAD_JSON,
     "not JSON: invalid token near 'NaN' (line 1 column 41)"},
    {FORMAT_auto, "{\"x\":1,\"y\":2}", DATA_BAD_FORMAT,
     "the line has \"x\", \"y\", which fits none of the formats hh, pair, ultrafeedback, "
     "safe_rlhf, oasst, response, prompt, text, ids"},
    {FORMAT_auto, "{}", DATA_BAD_FORMAT,
     "the line has no members, which fits none of the formats hh, pair, ultrafeedback, "
     "safe_rlhf, oasst, response, prompt, text, ids"},
    {FORMAT_auto, "{\"text\":\"t\",\"ids\":[1],\"instruction\":\"i\",\"completions\":[]}",
     DATA_BAD_FORMAT,
     "the line has \"text\", \"ids\", \"instruction\", \"completions\", so it may be any of "
     "the formats ultrafeedback, text; say which"},

    {FORMAT_hh, "{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\"}", DATA_BAD_FIELD,
     "\"rejected\" is missing; a text is expected"},
    {FORMAT_hh, "{\"chosen\":3,\"rejected\":\"x\"}", DATA_BAD_TYPE,
     "\"chosen\" is a number; a text is expected"},
    {FORMAT_hh, "{\"chosen\":\"Human: a\",\"rejected\":\"x\"}", DATA_BAD_TURNS,
     "\"chosen\" does not begin with \"\\n\\nHuman:\""},
    {FORMAT_hh, "{\"chosen\":\"\",\"rejected\":\"x\"}", DATA_BAD_TURNS,
     "\"chosen\" does not begin with \"\\n\\nHuman:\""},
    {FORMAT_hh, "{\"chosen\":\"x\",\"rejected\":\"x\"}", DATA_BAD_SAME,
     "\"chosen\" and \"rejected\" are the same"},
    {FORMAT_hh,
     "{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\",\"rejected\":\"\\n\\nHuman: "
     "a\\n\\nAssistant:b\"}",
     DATA_BAD_SAME, "\"chosen\" and \"rejected\" are the same"},
    {FORMAT_hh,
     "{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\",\"rejected\":\"\\n\\nHuman: "
     "z\\n\\nAssistant: b\"}",
     DATA_BAD_TURNS, "\"chosen\" and \"rejected\" share no beginning up to a turn of the user"},
    {FORMAT_hh,
     "{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\",\"rejected\":\"\\n\\nHuman: "
     "a\\n\\nAssistant: b\\n\\nHuman: c\"}",
     DATA_BAD_TURNS,
     "\"rejected\" does not go on with turns that begin and end with the assistant's"},
    {FORMAT_hh,
     "{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\",\"rejected\":\"\\n\\nHuman: a\"}",
     DATA_BAD_TURNS,
     "\"rejected\" does not go on with turns that begin and end with the assistant's"},
    {FORMAT_hh,
     "{\"chosen\":\"\\n\\nHuman: \\n\\nAssistant: b\",\"rejected\":\"\\n\\nHuman: "
     "\\n\\nAssistant: c\"}",
     DATA_BAD_EMPTY, "the prompt is empty"},

    {FORMAT_pair, "{\"chosen\":\"a\",\"rejected\":\"b\"}", DATA_BAD_FIELD,
     "\"prompt\" is missing; a text or a list of messages is expected"},
    {FORMAT_pair, "{\"prompt\":7,\"chosen\":\"a\",\"rejected\":\"b\"}", DATA_BAD_TYPE,
     "\"prompt\" is a number; a text or a list of messages is expected"},
    {FORMAT_pair, "{\"prompt\":\" \\t\",\"chosen\":\"a\",\"rejected\":\"b\"}", DATA_BAD_EMPTY,
     "the prompt is empty"},
    {FORMAT_pair, "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":[]}", DATA_BAD_TYPE,
     "\"rejected\" is a list; a text is expected"},
    {FORMAT_pair, "{\"prompt\":\"p\",\"chosen\":[],\"rejected\":[]}", DATA_BAD_EMPTY,
     "\"chosen\" is an empty list"},
    {FORMAT_pair, "{\"prompt\":\"p\",\"chosen\":[3],\"rejected\":[]}", DATA_BAD_TYPE,
     "\"chosen[0]\" is a number; an object with role and content is expected"},
    {FORMAT_pair, "{\"prompt\":\"p\",\"chosen\":[" MSG("robot", "a") "],\"rejected\":[]}",
     DATA_BAD_TURNS, "\"chosen[0].role\" is \"robot\"; system, user or assistant is expected"},
    {FORMAT_pair, "{\"prompt\":\"p\",\"chosen\":[{\"role\":\"user\"}],\"rejected\":[]}",
     DATA_BAD_FIELD, "\"chosen[0].content\" is missing; a text is expected"},
    {FORMAT_pair,
     "{\"prompt\":\"p\",\"chosen\":[" MSG("user", "p") "," MSG(
         "assistant", "a") "],\"rejected\":[" MSG("assistant", "b") "]}",
     DATA_BAD_TURNS,
     "one of \"chosen\" and \"rejected\" begins with the prompt, the other with the answer"},
    {FORMAT_pair,
     "{\"prompt\":\"other\",\"chosen\":[" MSG("user", "p") "," MSG(
         "assistant", "a") "],\"rejected\":[" MSG("user", "p") "," MSG("assistant", "b") "]}",
     DATA_BAD_LABELS, "\"prompt\" is not what \"chosen\" and \"rejected\" begin with"},
    {FORMAT_pair, "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"a\"}", DATA_BAD_SAME,
     "\"chosen\" and \"rejected\" are the same"},
    {FORMAT_pair,
     "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\",\"score_chosen\":1,\"score_"
     "rejected\":2}",
     DATA_BAD_LABELS, "\"score_chosen\" is 1, less than \"score_rejected\", 2"},
    {FORMAT_pair, "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\",\"margin\":-1}",
     DATA_BAD_NUMBER, "\"margin\" is -1; 0 or more is expected"},
    {FORMAT_pair,
     "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\",\"score_chosen\":\"9\"}",
     DATA_BAD_TYPE, "\"score_chosen\" is a text; a number is expected"},
    {FORMAT_pair, "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\",\"margin\":1e300}",
     DATA_BAD_NUMBER, "\"margin\" is 1e+300; within +-1e+09 is expected"},

    {FORMAT_ultrafeedback, "{\"instruction\":\"i\"}", DATA_BAD_FIELD,
     "\"completions\" is missing; a list is expected"},
    {FORMAT_ultrafeedback, "{\"instruction\":\"i\",\"completions\":[]}", DATA_BAD_EMPTY,
     "\"completions\" is an empty list"},
    {FORMAT_ultrafeedback, "{\"instruction\":\"\",\"completions\":[{\"response\":\"a\"}]}",
     DATA_BAD_EMPTY, "the prompt is empty"},
    {FORMAT_ultrafeedback, "{\"instruction\":\"i\",\"completions\":[{\"response\":null}]}",
     DATA_BAD_TYPE, "\"completions[0].response\" is null; a text is expected"},
    {FORMAT_ultrafeedback,
     "{\"instruction\":\"i\",\"completions\":[{\"response\":\"a\",\"overall_score\":\"NaN\"}]}",
     DATA_BAD_NUMBER,
     "\"completions[0].overall_score\" is \"NaN\"; a number or N/A is expected"},
    {FORMAT_ultrafeedback,
     "{\"instruction\":\"i\",\"completions\":[{\"response\":\"a\",\"annotations\":{\"honesty\":"
     "{\"Rating\":\"good\"}}}]}",
     DATA_BAD_NUMBER,
     "\"completions[0].annotations.honesty.Rating\" is \"good\"; a number or N/A is expected"},

    {FORMAT_safe_rlhf, "{" SAFE "}", DATA_BAD_FIELD,
     "neither \"better_response_id\" nor \"safer_response_id\" is there"},
    {FORMAT_safe_rlhf, "{" SAFE ",\"better_response_id\":2}", DATA_BAD_NUMBER,
     "\"better_response_id\" is 2; 0 or 1 is expected"},
    {FORMAT_safe_rlhf, "{" SAFE ",\"better_response_id\":true}", DATA_BAD_TYPE,
     "\"better_response_id\" is not a whole number; 0 or 1 is expected"},
    {FORMAT_safe_rlhf, "{" SAFE ",\"safer_response_id\":1,\"is_response_0_safe\":1}",
     DATA_BAD_TYPE, "\"is_response_0_safe\" is not true or false"},
    {FORMAT_safe_rlhf,
     "{" SAFE
     ",\"safer_response_id\":1,\"is_response_0_safe\":true,\"is_response_1_safe\":false}",
     DATA_BAD_LABELS,
     "\"safer_response_id\" is 1, but response 1 is labelled unsafe and response 0 safe"},
    {FORMAT_safe_rlhf,
     "{\"prompt\":\"p\",\"response_0\":\"x\",\"response_1\":\"x\",\"better_response_id\":0}",
     DATA_BAD_SAME, "\"response_0\" and \"response_1\" are the same"},

    {FORMAT_oasst, "{\"message_tree_id\":\"t\"}", DATA_BAD_FIELD,
     "\"prompt\" is missing; the root of a tree is expected"},
    {FORMAT_oasst, "{\"prompt\":{\"text\":\"p\",\"role\":\"assistant\"}}", DATA_BAD_TURNS,
     "a message at depth 0 has the role \"assistant\"; prompter is expected"},
    {FORMAT_oasst, TREE(",\"replies\":[{\"role\":\"assistant\"}]"), DATA_BAD_FIELD,
     "\"text (depth 1)\" is missing; a text is expected"},
    {FORMAT_oasst,
     TREE(",\"replies\":[{\"text\":\"a\",\"role\":\"assistant\",\"rank\":\"0\"}]"),
     DATA_BAD_TYPE, "a \"rank\" at depth 1 is no whole number"},
    {FORMAT_oasst, TREE(",\"replies\":{}"), DATA_BAD_TYPE,
     "\"replies\" at depth 0 is not a list"},
    {FORMAT_oasst, TREE(",\"replies\":[[]]"), DATA_BAD_TYPE,
     "a message at depth 1 is not an object"},
    {FORMAT_oasst, "{\"prompt\":{\"text\":\"\",\"role\":\"prompter\"}}", DATA_BAD_EMPTY,
     "the prompt is empty"},

    {FORMAT_response, "{\"prompt\":\"p\"}", DATA_BAD_FIELD,
     "\"response\" is missing; a text is expected"},
    {FORMAT_response, "{\"messages\":[" MSG("user", "p") "]}", DATA_BAD_FIELD,
     "\"response\" is missing, and \"messages\" does not end with the assistant's turn"},
    {FORMAT_response, "{\"messages\":[" MSG("assistant", "p") "]}", DATA_BAD_TURNS,
     "the prompt does not end with a turn of the user"},
    {FORMAT_response, "{\"prompt\":\"p\",\"response\":\"r\",\"attributes\":[1]}", DATA_BAD_TYPE,
     "\"attributes\" is not an object of names and numbers"},
    {FORMAT_response, "{\"prompt\":\"p\",\"response\":\"r\",\"attributes\":{\"help\":\"4\"}}",
     DATA_BAD_TYPE, "\"help\" is a text; a number is expected"},
    {FORMAT_prompt, "{\"prompt\":\"p\",\"messages\":[]}", DATA_BAD_FIELD,
     "both \"prompt\" and \"messages\"; one of them is expected"},
    {FORMAT_prompt, "{\"messages\":[" MSG("user", "p") "," MSG("assistant", "r") "]}",
     DATA_BAD_TURNS, "the prompt does not end with a turn of the user"},
    {FORMAT_text, "{\"text\":\"\"}", DATA_BAD_EMPTY, "\"text\" is empty"},
    {FORMAT_text, "{\"text\":" DEEP64("1") "}", DATA_BAD_TYPE,
     "\"text\" is a list; a text is expected"},
    {FORMAT_ids, "{\"ids\":[]}", DATA_BAD_EMPTY, "no tokens"},
    {FORMAT_ids, "{\"ids\":[1,-1]}", DATA_BAD_TYPE, "ids[1] is not a token id"},
};

struct told {
    enum data_bad why;
    char sentence[512];
    size_t n;
};

static void told_bad(void *arg, enum data_bad why, const char *sentence)
{
    struct told *told = arg;
    told->why = why;
    snprintf(told->sentence, sizeof told->sentence, "%s", sentence);
    told->n++;
}

static void each_line_of_no_use_is_named_with_its_reason(void **state)
{
    (void)state;
    static const char *const attribute[] = {"help"};
    for (size_t i = 0; i < COUNT(malformed); i++) {
        const struct malformed *m = &malformed[i];
        struct told told = {0};
        const struct reader_options options = {.format = m->kind,
                                               .max_bad_fraction = 1.0,
                                               .attribute = attribute,
                                               .attributes = 1,
                                               .bad = told_bad,
                                               .arg = &told};
        const char *path = data_put("malformed", m->line, strlen(m->line));
        char want[FILE_PATH_MAX + 512];
        snprintf(want, sizeof want, "%s:1: %s", path, m->sentence);
        struct reader *reader = reader_open(path, &options, NULL);
        const struct data_record *r;
        check_ok(reader_next(reader, &r, &err));
        if (r)
            fail_msg("%s was taken", m->line);
        assert_int_equal(told.n, 1);
        assert_string_equal(told.sentence, want);
        assert_string_equal(data_bad_name(told.why), data_bad_name(m->why));
        assert_int_equal(reader_counts(reader)->bad_by[m->why], 1);
        assert_int_equal(reader_counts(reader)->lines, 1);
        reader_close(reader);
    }
}

/* Sixty-six messages, one below the other. */
static void a_tree_too_deep_is_refused(void **state)
{
    (void)state;
    struct buf line;
    buf_init(&line, 1u << 20);
    buf_puts(&line, "{\"prompt\":");
    for (size_t i = 0; i < 66; i++)
        buf_printf(&line, "{\"text\":\"x\",\"role\":\"%s\",\"replies\":[",
                   i % 2 ? "assistant" : "prompter");
    for (size_t i = 0; i < 66; i++)
        buf_puts(&line, "]}");
    buf_puts(&line, "}\n");
    const struct reader_options options = {.format = FORMAT_oasst};
    struct reader *reader = reader_open(data_put("deep", line.data, line.len), &options, NULL);
    const struct data_record *r;
    check_fails(reader_next(reader, &r, &err), ERR_FORMAT,
                ":1: the tree is more than 64 messages deep");
    reader_close(reader);
    buf_release(&line);
}

/* The second group of a tree has more pairs than fit; the next line is another tree. */
static void a_tree_gone_bad_is_left_for_the_next_line(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1u << 20);
    buf_puts(&text,
             "{\"prompt\":{\"text\":\"p\",\"role\":\"prompter\",\"replies\":[{\"text\":\"a\","
             "\"role\":\"assistant\",\"replies\":[{\"text\":\"q\",\"role\":\"prompter\","
             "\"replies\":[");
    for (int i = 0; i < 24; i++)
        buf_printf(&text, "%s{\"text\":\"%d\",\"role\":\"assistant\",\"rank\":%d}",
                   i ? "," : "", i, i);
    buf_puts(&text, "]}]},{\"text\":\"c\",\"role\":\"assistant\",\"replies\":[{\"text\":\"r\","
                    "\"role\":\"prompter\",\"replies\":[{\"text\":\"d\",\"role\":\"assistant\"}"
                    "]}]}]}}\n{\"prompt\":{\"text\":\"next\",\"role\":\"prompter\",\"replies\":"
                    "[{\"text\":\"b\",\"role\":\"assistant\"}]}}\n");
    const struct reader_options options = {.format = FORMAT_oasst, .max_bad_fraction = 0.5};
    struct reader *reader = reader_open(data_put("gone", text.data, text.len), &options, NULL);
    const struct data_record *r;
    check_ok(reader_next(reader, &r, &err));
    assert_string_equal(r->turn[0].text.data, "p");
    check_ok(reader_next(reader, &r, &err));
    assert_string_equal(r->turn[0].text.data, "next");
    check_ok(reader_next(reader, &r, &err));
    assert_null(r);
    assert_int_equal(reader_counts(reader)->bad_by[DATA_BAD_MANY], 1);
    assert_int_equal(reader_counts(reader)->lines, 2);
    reader_close(reader);
    buf_release(&text);
}

static void put_list(struct buf *line, const char *begin, const char *item, size_t n,
                     const char *end)
{
    buf_clear(line);
    buf_puts(line, begin);
    for (size_t i = 0; i < n; i++)
        buf_printf(line, "%s%s", i ? "," : "", item);
    buf_puts(line, end);
}

static void check_many(enum format_kind kind, const struct buf *line, const char *words)
{
    const struct reader_options options = {.format = kind};
    struct reader *reader =
        reader_open(data_put("many", line->data, line->len), &options, NULL);
    const struct data_record *r;
    if (words)
        check_fails(reader_next(reader, &r, &err), ERR_FORMAT, words);
    else
        check_ok(reader_next(reader, &r, &err));
    reader_close(reader);
}

static void what_a_record_cannot_hold_is_refused_and_no_less(void **state)
{
    (void)state;
    struct buf line;
    buf_init(&line, 1u << 20);
    static const char begin[] = "{\"instruction\":\"i\",\"completions\":[";
    put_list(&line, begin, "{\"response\":\"a\"}", DATA_ANSWERS_MAX, "]}");
    check_many(FORMAT_ultrafeedback, &line, NULL);
    put_list(&line, begin, "{\"response\":\"a\"}", DATA_ANSWERS_MAX + 1, "]}");
    check_many(FORMAT_ultrafeedback, &line, ":1: more than 64 answers");
    put_list(&line, "{\"messages\":[", MSG("user", "a"), FORMAT_TURNS_MAX, "]}");
    check_many(FORMAT_prompt, &line, NULL);
    put_list(&line, "{\"messages\":[", MSG("user", "a"), FORMAT_TURNS_MAX + 1, "]}");
    check_many(FORMAT_prompt, &line, ":1: more than 1024 turns");
    /* 23 answers of different ratings are 253 pairs, 24 are 276. */
    for (size_t n = 23; n <= 24; n++) {
        buf_clear(&line);
        buf_puts(&line, begin);
        for (size_t i = 0; i < n; i++)
            buf_printf(&line, "%s{\"response\":\"%zu\",\"overall_score\":%zu}", i ? "," : "", i,
                       i);
        buf_puts(&line, "]}");
        check_many(FORMAT_ultrafeedback, &line, n == 23 ? NULL : ":1: more than 256 pairs");
    }
    buf_release(&line);
}

/* A file of `n` lines, every `step`-th of them bad. */
static const char *put_lines(size_t n, size_t step)
{
    struct buf text;
    buf_init(&text, 8u << 20);
    for (size_t i = 1; i <= n; i++)
        buf_puts(&text, i % step == 0 ? "{\"text\":1}\n" : "{\"text\":\"t\"}\n");
    const char *path = data_put("fraction", text.data, text.len);
    buf_release(&text);
    return path;
}

static enum err_code read_all(const char *path, double fraction, struct reader_counts *counts,
                              struct err *err)
{
    const struct reader_options options = {.max_bad_fraction = fraction};
    struct reader *reader = reader_open(path, &options, NULL);
    assert_non_null(reader);
    const struct data_record *r;
    enum err_code rc;
    do
        rc = reader_next(reader, &r, err);
    while (rc == ERR_OK && r);
    *counts = *reader_counts(reader);
    reader_close(reader);
    return rc;
}

static void too_many_bad_lines_are_refused_at_the_end(void **state)
{
    (void)state;
    struct reader_counts counts;
    const char *path = put_lines(100, 10);
    check_ok(read_all(path, 0.1, &counts, &err));
    assert_int_equal(counts.bad, 10);
    assert_int_equal(counts.records, 90);
    char want[2 * FILE_PATH_MAX + 512];
    snprintf(want, sizeof want,
             "%s: 10 of 100 lines are bad (10 type), more than the 9.9 %% allowed; the first: "
             "%s:10: \"text\" is a number; a text is expected",
             path, path);
    check_fails(read_all(path, 0.099, &counts, &err), ERR_FORMAT, want);
    assert_int_equal(counts.lines, 100);
    check_fails(read_all(path, 0.0, &counts, &err), ERR_FORMAT, ":10: \"text\" is a number");
    assert_int_equal(counts.lines, 10);
}

static void hopeless_files_are_given_up_after_a_thousand_bad_lines(void **state)
{
    (void)state;
    struct reader_counts counts;
    check_fails(read_all(put_lines(50000, 2), 0.4, &counts, &err), ERR_FORMAT,
                "1000 of the first 2000 lines are bad");
    assert_int_equal(counts.lines, 2000);
    /* As many, but few enough. */
    check_ok(read_all(put_lines(50000, 20), 0.05, &counts, &err));
    assert_int_equal(counts.bad, 2500);
}

static void a_format_that_cannot_be_told_ends_reading(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1u << 20);
    for (size_t i = 0; i < READER_SNIFF_LINES - 1; i++)
        buf_puts(&text, "{\"version\":1}\n");
    const size_t n = text.len;
    buf_puts(&text, "{\"text\":\"t\"}\n");
    struct reader_counts counts;
    check_ok(read_all(data_put("sniff", text.data, text.len), 0.99, &counts, &err));
    assert_int_equal(counts.records, 1);
    text.len = n;
    buf_puts(&text, "{\"version\":1}\n{\"text\":\"t\"}\n");
    check_fails(read_all(data_put("sniff", text.data, text.len), 0.99, &counts, &err),
                ERR_FORMAT,
                ":16: the line has \"version\", which fits none of the formats hh,");
    buf_release(&text);
}

static void a_line_too_long_is_passed_over(void **state)
{
    (void)state;
    static char text[LINES_BYTES_MAX + 64];
    memset(text, ' ', sizeof text);
    memcpy(text + sizeof text - 32, "\n{\"text\":\"t\"}\n", 14);
    struct reader_counts counts;
    const char *path = data_put("long", text, sizeof text);
    check_fails(read_all(path, 0.0, &counts, &err), ERR_FORMAT,
                "long:1: the line is longer than 16 MiB");
    check_ok(read_all(path, 0.5, &counts, &err));
    assert_int_equal(counts.bad_by[DATA_BAD_LINE], 1);
    assert_int_equal(counts.records, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_of_no_use_is_named_with_its_reason),
        cmocka_unit_test(a_tree_too_deep_is_refused),
        cmocka_unit_test(a_tree_gone_bad_is_left_for_the_next_line),
        cmocka_unit_test(what_a_record_cannot_hold_is_refused_and_no_less),
        cmocka_unit_test(too_many_bad_lines_are_refused_at_the_end),
        cmocka_unit_test(hopeless_files_are_given_up_after_a_thousand_bad_lines),
        cmocka_unit_test(a_format_that_cannot_be_told_ends_reading),
        cmocka_unit_test(a_line_too_long_is_passed_over),
    };
    return cmocka_run_group_tests(tests, data_make_dir, data_remove_dir);
}
