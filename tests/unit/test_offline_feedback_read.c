/*
 * test_offline_feedback_read.c -- what of a data set becomes pairs, costs and ratings.
 *
 * Oracle: data written here; sequences are decoded and compared with the texts that went in.
 */
#include "offline/feedback_read.h"
#include "tests/unit/data_files.h"
#include "world/world.h"

static struct tokenizer *tokenizer;
static struct encode how;

static int setup(void **state)
{
    struct err err = {0};
    if (data_make_dir(state) || world_write(data_dir, 1, 1, &err))
        return -1;
    tokenizer = tokenizer_load(data_dir, &err);
    how = (struct encode){.tokenizer = tokenizer, .tokens_max = 64};
    return tokenizer ? 0 : -1;
}

static int teardown(void **state)
{
    tokenizer_free(tokenizer);
    return data_remove_dir(state);
}

static const char *path_of(const char *text)
{
    static char path[FILE_PATH_MAX];
    check_ok(file_join(path, data_dir, "data.jsonl", &err));
    check_ok(file_write(path, text, strlen(text), &err));
    return path;
}

static void check_text(const struct feedback *f, uint32_t seq, const char *want)
{
    struct buf text;
    buf_init(&text, 4096);
    check_ok(tokenizer_decode(tokenizer, f->ids.ids + f->offset[seq], feedback_length(f, seq),
                              false, &text, &err));
    assert_string_equal(text.data, want);
    buf_release(&text);
}

static void pairs_come_chosen_first_with_their_margins(void **state)
{
    (void)state;
    struct feedback f;
    struct feedback_counts counts;
    const struct reader_options options = {.format = FORMAT_auto};
    feedback_init(&f, FEEDBACK_REWARD, 1);
    check_ok(feedback_read(
        &f, &how, &options,
        path_of("{\"prompt\": \"up\", \"chosen\": \" yes\", \"rejected\": \" no\", "
                "\"margin\": 1.5}\n"
                "{\"prompt\": \"up\", \"chosen\": \" so\", \"rejected\": \" yes\"}\n"
                "{\"prompt\": \"down\", \"chosen\": \" so\", \"rejected\": \" no\"}\n"),
        true, &counts, &err));
    assert_int_equal(f.n, 3);
    check_text(&f, f.item[0].seq[0], "up yes");
    check_text(&f, f.item[0].seq[1], "up no");
    assert_true(f.item[0].margin == 1.5 && isnan(f.item[1].margin));
    assert_true(f.item[0].prompt == f.item[1].prompt);
    assert_true(f.item[0].prompt != f.item[2].prompt);
    assert_true(f.item[2].held_out);
    assert_int_equal(f.item[0].sign[0], 0);
    feedback_release(&f);
}

/* Dialogues that begin alike are other prompts once they part. */
static void a_prompt_is_all_its_turns(void **state)
{
    (void)state;
    struct feedback f;
    struct feedback_counts counts;
    const struct reader_options options = {.format = FORMAT_hh};
    const struct encode hh = {
        .tokenizer = tokenizer, .chat = CHAT_hh, .cut = true, .tokens_max = 26};
    feedback_init(&f, FEEDBACK_REWARD, 1);
    check_ok(feedback_read(
        &f, &hh, &options,
        path_of("{\"chosen\": \"\\n\\nHuman: up\\n\\nAssistant: no\\n\\nHuman: so"
                "\\n\\nAssistant: yes\", \"rejected\": \"\\n\\nHuman: up\\n\\nAssistant: no"
                "\\n\\nHuman: so\\n\\nAssistant: no\"}\n"
                "{\"chosen\": \"\\n\\nHuman: up\\n\\nAssistant: no\\n\\nHuman: go"
                "\\n\\nAssistant: yes\", \"rejected\": \"\\n\\nHuman: up\\n\\nAssistant: no"
                "\\n\\nHuman: go\\n\\nAssistant: no\"}\n"),
        false, &counts, &err));
    assert_int_equal(f.n, 2);
    assert_true(f.item[0].prompt != f.item[1].prompt);
    assert_int_equal(counts.turns_cut, 4); /* the first two of each do not fit */
    check_text(&f, f.item[0].seq[0], "\n\nHuman: so\n\nAssistant: yes");
    feedback_release(&f);
}

static void costs_come_less_safe_first_with_their_signs(void **state)
{
    (void)state;
    struct feedback f;
    struct feedback_counts counts;
    const struct reader_options options = {.format = FORMAT_auto};
    feedback_init(&f, FEEDBACK_COST, 1);
    check_ok(feedback_read(
        &f, &how, &options,
        path_of("{\"prompt\": \"up\", \"response_0\": \" yes\", \"response_1\": \" no\", "
                "\"better_response_id\": 0, \"safer_response_id\": 1, "
                "\"is_response_0_safe\": false, \"is_response_1_safe\": true}\n"
                "{\"prompt\": \"up\", \"response_0\": \" yes\", \"response_1\": \" no\", "
                "\"safer_response_id\": 0}\n"
                "{\"prompt\": \"up\", \"response_0\": \" yes\", \"response_1\": \" no\", "
                "\"better_response_id\": 0}\n"),
        false, &counts, &err));
    assert_int_equal(f.n, 2);
    assert_int_equal(counts.records, 3);
    assert_int_equal(counts.idle, 1);
    check_text(&f, f.item[0].seq[0], "up yes");
    assert_int_equal(f.item[0].sign[0], 1);
    assert_int_equal(f.item[0].sign[1], -1);
    check_text(&f, f.item[1].seq[0], "up no");
    assert_int_equal(f.item[1].sign[0], 0);
    assert_false(f.item[0].held_out);
    feedback_release(&f);
}

#define COMPLETION(text, rating)                                            \
    "{\"response\": \"" text "\", \"overall_score\": 5, \"annotations\": {" \
    "\"warmth\": {\"Rating\": \"" rating "\"}}}"

static void ratings_come_an_answer_each_and_na_is_none(void **state)
{
    (void)state;
    static const char *const names[] = {"honesty", "warmth"};
    struct feedback f;
    struct feedback_counts counts;
    const struct reader_options options = {
        .format = FORMAT_auto, .attribute = names, .attributes = 2};
    feedback_init(&f, FEEDBACK_REGRESSION, 2);
    check_ok(feedback_read(
        &f, &how, &options,
        path_of("{\"instruction\": \"up\", \"completions\": [" COMPLETION(
            " yes", "4") ", " COMPLETION(" no", "N/A") ", " COMPLETION(" so", "1") "]}\n"),
        false, &counts, &err));
    assert_int_equal(f.n, 2);
    check_text(&f, f.item[1].seq[0], "up so");
    assert_int_equal(f.item[0].seq[1], FEEDBACK_NONE);
    assert_true(isnan(f.want[0]) && f.want[1] == 4.0);
    assert_true(isnan(f.want[2]) && f.want[3] == 1.0);
    feedback_release(&f);
}

static void what_cannot_be_used_is_counted_or_refused(void **state)
{
    (void)state;
    static const char data[] =
        "{\"prompt\": \"up\", \"chosen\": \" yes\", \"rejected\": \" no\"}\n"
        "{\"prompt\": \"up\", \"chosen\": \" yes yes yes yes yes yes yes yes yes yes yes yes "
        "yes "
        "yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes "
        "yes "
        "yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes "
        "yes "
        "yes yes yes yes yes yes yes yes\", \"rejected\": \" no\"}\n";
    struct feedback f;
    struct feedback_counts counts;
    struct reader_options options = {.format = FORMAT_auto, .max_bad_fraction = 0.5};
    feedback_init(&f, FEEDBACK_REWARD, 1);
    check_ok(feedback_read(&f, &how, &options, path_of(data), false, &counts, &err));
    assert_int_equal(f.n, 1);
    assert_int_equal(counts.bad, 1);
    feedback_release(&f);
    options.max_bad_fraction = 0.0;
    check_fails(feedback_read(&f, &how, &options, path_of(data), false, &counts, &err),
                ERR_FORMAT, "data.jsonl:2");
    feedback_release(&f);
    feedback_init(&f, FEEDBACK_COST, 1);
    options.max_bad_fraction = 1.0;
    check_fails(feedback_read(&f, &how, &options, path_of(data), false, &counts, &err),
                ERR_VALUE, "trains a model of kind cost");
    feedback_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_come_chosen_first_with_their_margins),
        cmocka_unit_test(a_prompt_is_all_its_turns),
        cmocka_unit_test(costs_come_less_safe_first_with_their_signs),
        cmocka_unit_test(ratings_come_an_answer_each_and_na_is_none),
        cmocka_unit_test(what_cannot_be_used_is_counted_or_refused),
    };
    return cmocka_run_group_tests_name("offline/feedback_read", tests, setup, teardown);
}
