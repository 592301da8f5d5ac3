/*
 * test_data_reader.c -- data sets, read as records.
 *
 * Oracle for HH-RLHF: tests/golden/data/hh.expected, written by another parser (a regular
 * expression in Python) from the same published pairs.  For the other formats: lines small
 * enough to say by hand what they mean.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <zlib.h>

#include "data/reader.h"
#include "tests/unit/data_files.h"

/* All records of `text`, read as `kind`, are shown as `want`. */
static void check_records_of(enum format_kind kind, const char *const *attribute,
                             size_t attributes, const char *text, const char *want)
{
    const struct reader_options options = {
        .format = kind, .attribute = attribute, .attributes = attributes};
    struct buf got;
    buf_init(&got, 1u << 20);
    struct reader *reader =
        reader_open(data_put("records", text, strlen(text)), &options, NULL);
    assert_non_null(reader);
    const struct data_record *r;
    for (;;) {
        check_ok(reader_next(reader, &r, &err));
        if (!r)
            break;
        data_show(&got, r, attributes);
    }
    assert_string_equal(got.data, want);
    reader_close(reader);
    buf_release(&got);
}

static void check_records(const char *text, const char *want)
{
    check_records_of(FORMAT_auto, NULL, 0, text, want);
}

static uint32_t crc_of(const struct data_turn *turn, size_t turns, uint32_t crc, bool *first)
{
    for (size_t i = 0; i < turns; i++) {
        if (!*first)
            crc = (uint32_t)crc32(crc, (const Bytef *)"\x01", 1);
        *first = false;
        assert_int_equal(strlen(turn[i].text.data), turn[i].text.n);
        crc = (uint32_t)crc32(crc, (const Bytef *)turn[i].text.data, (uInt)turn[i].text.n);
    }
    return crc;
}

static void reader_cuts_published_hh_transcripts_as_another_parser_does(void **state)
{
    (void)state;
    const struct reader_options options = {0};
    FILE *expected = fopen(TEST_SOURCE_DIR "/tests/golden/data/hh.expected", "r");
    assert_non_null(expected);
    struct reader *reader =
        reader_open(TEST_SOURCE_DIR "/tests/golden/data/hh.jsonl.gz", &options, NULL);
    assert_non_null(reader);
    const struct data_record *r;
    size_t turns, chosen, rejected;
    uint32_t crc;
    while (fscanf(expected, "%zu %zu %zu %u", &turns, &chosen, &rejected, &crc) == 4) {
        check_ok(reader_next(reader, &r, &err));
        assert_non_null(r);
        assert_int_equal(r->turns, turns);
        assert_int_equal(r->answers, 2);
        assert_int_equal(r->answer[0].turns, chosen);
        assert_int_equal(r->answer[1].turns, rejected);
        assert_int_equal(r->pairs, 1);
        assert_int_equal(r->pair[0].better, 0);
        assert_int_equal(r->pair[0].worse, 1);
        assert_true(isnan(r->pair[0].margin));
        bool first = true;
        uint32_t got = crc_of(r->turn, r->turns, 0, &first);
        got = crc_of(r->answer[0].turn, r->answer[0].turns, got, &first);
        got = crc_of(r->answer[1].turn, r->answer[1].turns, got, &first);
        assert_int_equal(got, crc);
    }
    check_ok(reader_next(reader, &r, &err));
    assert_null(r);
    assert_int_equal(reader_format(reader), FORMAT_hh);
    assert_int_equal(reader_counts(reader)->bad, 0);
    assert_int_equal(reader_counts(reader)->records, 72);
    reader_close(reader);
    fclose(expected);
}

#define SAYS(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"

static void pairs_come_as_texts_as_whole_lists_and_as_answers_alone(void **state)
{
    (void)state;
    check_records(
        "{\"prompt\":\"Hi\",\"chosen\":\"Hello!\",\"rejected\":\"Bye.\",\"margin\":2}",
        "P: u=Hi A0: a=Hello! A1: a=Bye. 0>1 by 2\n");
    /* The binarized UltraFeedback. */
    check_records(
        "{\"prompt\":\"Hi\",\"chosen\":[" SAYS("user", "Hi") "," SAYS(
            "assistant",
            "Hello!") "],\"rejected\":[" SAYS("user",
                                              "Hi") "," SAYS("assistant",
                                                             "Bye.") "],\"score_chosen\":9,"
                                                                     "\"score_rejected\":4.5}",
        "P: u=Hi A0: a=Hello! (9) A1: a=Bye. (4.5) 0>1 by 4.5\n");
    check_records(
        "{\"prompt\":[" SAYS("system", "S") "," SAYS("user", "Hi") "],\"chosen\":[" SAYS(
            "assistant", "") "],\"rejected\":[" SAYS("assistant", "Bye.") "]}",
        "P: s=S u=Hi A0: a= A1: a=Bye. 0>1\n");
    /* No prompt of its own; one side goes on for longer. */
    check_records(
        "{\"chosen\":[" SAYS("user", "a") "," SAYS("assistant", "b") "," SAYS(
            "user", "c") "," SAYS("assistant",
                                  "d") "],\"rejected\":[" SAYS("user",
                                                               "a") "," SAYS("assistant",
                                                                             "B") "]}",
        "P: u=a A0: a=b u=c a=d A1: a=B 0>1\n");
    /* Equal scores: still the pair it is said to be. */
    check_records("{\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\",\"score_chosen\":5,"
                  "\"score_rejected\":5}",
                  "P: u=p A0: a=x (5) A1: a=y (5) 0>1 by 0\n");
}

static void hh_turns_end_at_markers_alone(void **state)
{
    (void)state;
    check_records(
        "{\"chosen\":\"\\n\\nHuman: a Human: b\\n\\nAssistant:  c\\n\\n\\nHuman:\\n\\n"
        "Human: d\\n\\nAssistant: \",\"rejected\":\"\\n\\nHuman: a Human: b\\n\\n"
        "Assistant:  c\\n\\n\\nHuman:\\n\\nHuman: d\\n\\nAssistant: e\"}",
        "P: u=a Human: b a= c\n u= u=d A0: a= A1: a=e 0>1\n");
}

static void ultrafeedback_pairs_are_of_strictly_greater_ratings(void **state)
{
    (void)state;
    static const char *const names[] = {"honesty", "helpfulness", "unheard_of"};
    check_records_of(
        FORMAT_auto, names, 3,
        "{\"instruction\":\"I\",\"completions\":["
        "{\"response\":\"a\",\"overall_score\":7.5,\"annotations\":{\"helpfulness\":{"
        "\"Rating\":"
        "\"4\"},\"honesty\":{\"Rating\":\"N/A\"}}},"
        "{\"response\":\"b\",\"annotations\":{\"helpfulness\":{\"Rating\":5},\"honesty\":"
        "{\"Rating\":\"2\"},\"truthfulness\":{\"Rating\":\"N/A\"}}},"
        "{\"response\":\"c\",\"overall_score\":\"7.5\"},{\"response\":\"d\"}]}",
        "P: u=I A0: a=a (7.5, -, 4, -) A1: a=b (3.5, 2, 5, -) A2: a=c (7.5, -, -, -)"
        " A3: a=d (-, -, -) 0>1 by 4 2>1 by 4\n");
}

static void safe_rlhf_tells_help_from_safety(void **state)
{
    (void)state;
    check_records(
        "{\"prompt\":\"p\",\"response_0\":\"x\",\"response_1\":\"y\","
        "\"better_response_id\":0,\"safer_response_id\":1,\"is_response_0_safe\":false,"
        "\"is_response_1_safe\":true}",
        "P: u=p A0: a=x (harmful) A1: a=y (safe) 0>1 S 1>0\n");
    /* Both unsafe: one may still be the safer. */
    check_records("{\"prompt\":\"p\",\"response_0\":\"x\",\"response_1\":\"y\","
                  "\"safer_response_id\":0,\"is_response_0_safe\":false,"
                  "\"is_response_1_safe\":false}",
                  "P: u=p A0: a=x (harmful) A1: a=y (harmful) S 0>1\n");
}

#define REPLY(role, text, rest) "{\"text\":\"" text "\",\"role\":\"" role "\"" rest "}"
#define ASKS(text, rest)        REPLY("prompter", text, rest)
#define TELLS(text, rest)       REPLY("assistant", text, rest)
#define REPLIES(...)            ",\"replies\":[" __VA_ARGS__ "]"

// clang-format off
static const char oasst_trees[] =
    "{\"message_tree_id\":\"t\",\"prompt\":"
    ASKS("p", REPLIES(
        TELLS("a1", ",\"rank\":1" REPLIES(
            ASKS("q", REPLIES(TELLS("b", "")))))
        ","
        TELLS("gone", ",\"rank\":2,\"deleted\":true" REPLIES(
            ASKS("x", REPLIES(TELLS("never", "")))))
        ","
        TELLS("a0", ",\"rank\":0" REPLIES(
            ASKS("alone", "")
            ","
            ASKS("r", REPLIES(
                TELLS(" ", "") ","
                TELLS("c", ",\"rank\":null") ","
                TELLS("d", ",\"rank\":0")))))
        ","
        TELLS("a2", ",\"rank\":2")))
    "}\n"
    "{\"message_tree_id\":\"u\",\"prompt\":" ASKS("nobody answers", "") "}";
// clang-format on

static void oasst_trees_give_a_record_for_each_group_of_answers(void **state)
{
    (void)state;
    check_records(oasst_trees, "P: u=p A0: a=a1 A1: a=a0 A2: a=a2 0>2 1>0 1>2\n"
                               "P: u=p a=a1 u=q A0: a=b\n"
                               "P: u=p a=a0 u=r A0: a=c A1: a=d\n");
}

static void responses_prompts_texts_and_ids_are_told_apart(void **state)
{
    (void)state;
    static const char *const names[] = {"h", "v"};
    check_records_of(
        FORMAT_auto, names, 2,
        "{\"prompt\":\"p\",\"response\":\"r\",\"rating\":4,\"attributes\":{\"h\":3.5},"
        "\"v\":1}\n"
        "{\"messages\":[" SAYS("user", "p") "],\"response\":\"\"}\n"
                                            "{\"messages\":[" SAYS("user", "p") "," SAYS(
                                                "assistant", "r") "]}",
        "P: u=p A0: a=r (4, 3.5, 1)\nP: u=p A0: a= (-, -)\nP: u=p A0: a=r (-, -)\n");
    check_records("{\"messages\":[" SAYS("user", "p") "," SAYS("assistant", "r") "]}",
                  "P: u=p A0: a=r\n");
    check_records("{\"prompt\":\"p\",\"label\":{\"b\":[1,\"x\"],\"a\":null}}\n"
                  "{\"messages\":[" SAYS("user", "p") "]}",
                  "P: u=p label {\"a\":null,\"b\":[1,\"x\"]}\nP: u=p\n");
    check_records("{\"text\":\"t\"}", "P: A0: a=t\n");
    check_records("{\"ids\":[3,1,2]}\n\n \n{\"ids\":[0]}", "P: ids 3,1,2\nP: ids 0\n");
}

static void the_best_answer_is_the_one_no_pair_calls_worse(void **state)
{
    (void)state;
    static struct data_record r;
    r.answers = 3;
    for (size_t i = 0; i < 3; i++)
        r.answer[i].rating = (double)NAN;
    assert_int_equal(data_record_best(&r), 0);
    r.answer[1].rating = 2.0;
    r.answer[2].rating = 2.0;
    assert_int_equal(data_record_best(&r), 1);
    r.answer[0].rating = 9.0; /* pairs say more than ratings */
    r.pair[r.pairs++] = (struct data_pair){.better = 2, .worse = 0};
    r.pair[r.pairs++] = (struct data_pair){.better = 2, .worse = 1};
    assert_int_equal(data_record_best(&r), 2);
}

static void a_rejected_record_makes_its_line_bad_once(void **state)
{
    (void)state;
    static const char tree[] = "{\"message_tree_id\":\"t\",\"prompt\":" ASKS(
        "p",
        REPLIES(TELLS(
            "a",
            REPLIES(ASKS(
                "q", REPLIES(TELLS("b", ""))))))) "}\n"
                                                  "{\"message_tree_id\":\"t\",\"prompt\":" ASKS(
                                                      "p", REPLIES(TELLS("a", ""))) "}\n";
    struct reader_options options = {.max_bad_fraction = 0.5};
    const struct data_record *r;
    struct reader *reader =
        reader_open(data_put("tree", tree, sizeof tree - 1), &options, NULL);
    for (size_t i = 0; i < 2; i++) {
        check_ok(reader_next(reader, &r, &err));
        check_ok(reader_reject(reader, DATA_BAD_LENGTH, "too long", &err));
    }
    check_ok(reader_next(reader, &r, &err));
    check_ok(reader_next(reader, &r, &err)); /* the end: 1 of 2 is not more than half */
    assert_null(r);
    assert_int_equal(reader_counts(reader)->lines, 2);
    assert_int_equal(reader_counts(reader)->bad, 1);
    assert_int_equal(reader_counts(reader)->bad_by[DATA_BAD_LENGTH], 1);
    assert_int_equal(reader_counts(reader)->records, 3);
    reader_close(reader);

    options.max_bad_fraction = 0.0;
    reader = reader_open(data_put("tree", tree, sizeof tree - 1), &options, NULL);
    check_ok(reader_next(reader, &r, &err));
    check_fails(reader_reject(reader, DATA_BAD_LENGTH, "F:1: too long", &err), ERR_FORMAT,
                "F:1: too long");
    reader_close(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_cuts_published_hh_transcripts_as_another_parser_does),
        cmocka_unit_test(pairs_come_as_texts_as_whole_lists_and_as_answers_alone),
        cmocka_unit_test(hh_turns_end_at_markers_alone),
        cmocka_unit_test(ultrafeedback_pairs_are_of_strictly_greater_ratings),
        cmocka_unit_test(safe_rlhf_tells_help_from_safety),
        cmocka_unit_test(oasst_trees_give_a_record_for_each_group_of_answers),
        cmocka_unit_test(responses_prompts_texts_and_ids_are_told_apart),
        cmocka_unit_test(the_best_answer_is_the_one_no_pair_calls_worse),
        cmocka_unit_test(a_rejected_record_makes_its_line_bad_once),
    };
    return cmocka_run_group_tests(tests, data_make_dir, data_remove_dir);
}
