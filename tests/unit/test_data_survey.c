/*
 * test_data_survey.c -- counting what is in data sets: lengths, repetitions, leaks; and records
 * written as lines.
 *
 * Oracles: quantiles by sorting; sets of hashes by an array of all of them; counts of a few
 * lines by hand; and for what is written, the reader: it must read back the same record.
 */
#include "base/rng.h"
#include "data/emit.h"
#include "data/key.h"
#include "data/survey.h"
#include "tests/unit/data_files.h"

#define N 4999 /* q * n is seldom whole */

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles_are_those_of_the_sorted_values(void **state)
{
    (void)state;
    static uint64_t value[N];
    static const double q[] = {0.0, 0.001, 0.5, 0.9, 0.99, 1.0};
    for (unsigned bits = 1; bits <= 40; bits += 3) {
        struct lengths lengths;
        check_ok(lengths_init(&lengths, &err));
        assert_int_equal(lengths_quantile(&lengths, 0.5), 0);
        uint64_t sum = 0;
        for (uint32_t i = 0; i < N; i++) {
            value[i] = 3 + rng_below(5, RNG_STREAM_CLI, bits, i, 0, (uint64_t)1 << bits);
            sum += value[i];
            lengths_add(&lengths, value[i]);
        }
        qsort(value, N, sizeof value[0], compare_u64);
        assert_int_equal(lengths.min, value[0]);
        assert_int_equal(lengths.max, value[N - 1]);
        assert_int_equal(lengths.sum, sum);
        for (size_t k = 0; k < COUNT(q); k++) {
            const size_t rank = (size_t)ceil(q[k] * N);
            const uint64_t want = value[rank > 0 ? rank - 1 : 0];
            const uint64_t got = lengths_quantile(&lengths, q[k]);
            if (got > want || want - got > (want < LENGTHS_EXACT ? 0 : want / 2048))
                fail_msg("%u bits, quantile %g: %llu, want %llu", bits, q[k],
                         (unsigned long long)got, (unsigned long long)want);
        }
        lengths_release(&lengths);
    }
}

static void hashes_seen_are_remembered_with_their_files_up_to_the_maximum(void **state)
{
    (void)state;
    static uint8_t files[1000];
    static uint64_t first[1000];
    struct seen seen;
    seen_init(&seen, 900);
    size_t distinct = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        const size_t k = (size_t)rng_below(6, RNG_STREAM_CLI, 0, i, 0, 1000);
        const unsigned file = (unsigned)rng_below(7, RNG_STREAM_CLI, 0, i, 0, 8);
        struct seen_entry before;
        /* Hashes that share their lower bits: they all begin at the same slot. */
        check_ok(seen_put(&seen, (uint64_t)k << 32, file, i, &before, &err));
        assert_int_equal(before.files, files[k]);
        if (files[k])
            assert_int_equal(before.line, first[k]);
        if (files[k] || distinct < 900) {
            distinct += files[k] == 0;
            first[k] = files[k] ? first[k] : i;
            files[k] = (uint8_t)(files[k] | 1u << file);
        }
    }
    assert_int_equal(seen.n, 900);
    assert_true(seen.full);
    seen_release(&seen);
}

static void a_survey_counts_pairs_lengths_and_repetitions(void **state)
{
    (void)state;
    static const char text[] =
        "{\"prompt\":\"p\",\"chosen\":\"\xc3\xa4\xc3\xb6\",\"rejected\":\"abc\",\"margin\":1}\n"
        "{\"prompt\":\"p\",\"chosen\":\"long\",\"rejected\":\"abc\"}\n"
        "no\n"
        "{\"prompt\":\"q\",\"chosen\":\"same\",\"rejected\":\"size\"}\n"
        "{\"prompt\":\"p\",\"chosen\":\"long\",\"rejected\":\"abc\"}\n";
    struct survey survey;
    survey_init(&survey, NULL);
    check_ok(survey_read(&survey, data_put("a", text, sizeof text - 1), FORMAT_auto, &err));
    const struct survey_file *f = survey.file[0];
    assert_int_equal(f->format, FORMAT_pair);
    assert_int_equal(f->counts.lines, 5);
    assert_int_equal(f->counts.bad_by[DATA_BAD_JSON], 1);
    assert_non_null(strstr(f->sentence[DATA_BAD_JSON][0], "/a:3: not JSON"));
    assert_int_equal(f->pairs, 4);
    assert_int_equal(f->margins, 1);
    assert_int_equal(f->longer, 2);
    assert_int_equal(f->shorter, 1); /* two characters, though four bytes */
    assert_int_equal(f->ties, 0);
    assert_int_equal(f->prompts_again, 2);
    assert_int_equal(f->records_again, 1);
    assert_int_equal(f->length[SURVEY_ANSWER].max, 4);
    assert_int_equal(f->length[SURVEY_ANSWER].min, 2);
    survey_release(&survey);
}

static void a_survey_names_prompts_that_leak_between_files(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n",
        "{\"prompt\":\"b\",\"response\":\"x\"}\n{\"prompt\":\"c\",\"response\":\"x\"}\n",
        "{\"prompt\":\"d\"}\n{\"prompt\":\"c\"}\n{\"prompt\":\"b\"}\n{\"prompt\":\"b\"}\n"};
    char path[3][FILE_PATH_MAX], want[2 * FILE_PATH_MAX + 32];
    struct survey survey;
    survey_init(&survey, NULL);
    for (size_t i = 0; i < 3; i++) {
        const char name[] = {(char)('0' + i), '\0'};
        strcpy(path[i], data_put(name, texts[i], strlen(texts[i])));
        check_ok(survey_read(&survey, path[i], FORMAT_auto, &err));
    }
    assert_int_equal(survey.file[1]->leak[0].records, 1);
    snprintf(want, sizeof want, "%s:1 (%s:2)", path[1], path[0]);
    assert_string_equal(survey.file[1]->leak[0].example[0], want);
    assert_int_equal(survey.file[2]->leak[0].records, 2);
    assert_int_equal(survey.file[2]->leak[1].records, 3);
    snprintf(want, sizeof want, "%s:2 (%s:2)", path[2], path[1]);
    assert_string_equal(survey.file[2]->leak[1].example[0], want);
    assert_int_equal(survey.file[2]->prompts_again, 1);
    survey_release(&survey);
}

/* Cut differently, the same bytes are another prompt. */
static void keys_tell_prompts_apart_by_their_turns(void **state)
{
    (void)state;
    static const struct data_turn turns[][2] = {
        {{DATA_ROLE_USER, {"ab", 2}}, {DATA_ROLE_USER, {"c", 1}}},
        {{DATA_ROLE_USER, {"a", 1}}, {DATA_ROLE_USER, {"bc", 2}}},
        {{DATA_ROLE_USER, {"ab", 2}}, {DATA_ROLE_ASSISTANT, {"c", 1}}},
        {{DATA_ROLE_SYSTEM, {"ab", 2}}, {DATA_ROLE_USER, {"c", 1}}}};
    static struct data_record r;
    struct buf scratch;
    buf_init(&scratch, 1024);
    uint64_t key[COUNT(turns)];
    for (size_t i = 0; i < COUNT(turns); i++) {
        r.turn = turns[i];
        r.turns = 2;
        key[i] = key_prompt(&r, 0, &scratch);
        for (size_t k = 0; k < i; k++)
            assert_true(key[i] != key[k]);
        assert_true(key[i] != key_prompt(&r, 1, &scratch));
        assert_true(key[i] != key_opening(&r, 0, &scratch));
    }
    r.turn = turns[0];
    const uint64_t opening = key_opening(&r, 0, &scratch);
    r.turn = turns[2];
    assert_true(opening == key_opening(&r, 0, &scratch));
    buf_release(&scratch);
}

/* The records of `in`, written as `kind` and read back, are shown as `want`. */
static void check_emitted(enum format_kind kind, const char *in, const char *want)
{
    static const char *const names[] = {"h"};
    const struct reader_options options = {.attribute = names, .attributes = 1};
    struct buf line, got;
    buf_init(&line, 1u << 20);
    buf_init(&got, 1u << 20);
    struct reader *reader = reader_open(data_put("in", in, strlen(in)), &options, NULL);
    const struct data_record *r;
    for (;;) {
        check_ok(reader_next(reader, &r, &err));
        if (!r)
            break;
        const char *lacks = emit_record(kind, r, names, 1, &line);
        if (lacks)
            buf_printf(&got, "lacks: %s\n", lacks);
    }
    reader_close(reader);
    const struct reader_options back = {.format = kind, .attribute = names, .attributes = 1};
    reader = reader_open(data_put("back", line.data, line.len), &back, NULL);
    for (;;) {
        check_ok(reader_next(reader, &r, &err));
        if (!r)
            break;
        data_show(&got, r, 1);
    }
    reader_close(reader);
    assert_string_equal(got.data, want);
    buf_release(&line);
    buf_release(&got);
}

static void records_written_are_read_back(void **state)
{
    (void)state;
    static const char rated[] =
        "{\"instruction\":\"I\\n\\\"\",\"completions\":["
        "{\"response\":\"a\",\"overall_score\":1,\"annotations\":{\"h\":{\"Rating\":\"4\"}}},"
        "{\"response\":\"b\",\"overall_score\":2.5,\"annotations\":{\"h\":{\"Rating\":3}}},"
        "{\"response\":\"c\",\"overall_score\":2.5}]}\n";
    check_emitted(FORMAT_pair, rated,
                  "P: u=I\n\" A0: a=b (2.5, -) A1: a=a (1, -) 0>1 by 1.5\n"
                  "P: u=I\n\" A0: a=c (2.5, -) A1: a=a (1, -) 0>1 by 1.5\n");
    check_emitted(FORMAT_response, rated, "P: u=I\n\" A0: a=b (2.5, 3)\n");
    check_emitted(FORMAT_prompt, rated, "P: u=I\n\"\n");
    check_emitted(FORMAT_safe_rlhf, rated, "lacks: not two answers of one turn\n");

    static const char talk[] =
        "{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: c\\n\\nAssistant: d\","
        "\"rejected\":\"\\n\\nHuman: a\\n\\nAssistant: B \"}\n";
    static const char shown[] = "P: u=a A0: a=b u=c a=d (-) A1: a=B  (-) 0>1\n";
    check_emitted(FORMAT_hh, talk, shown);
    check_emitted(FORMAT_pair, talk, shown);
    check_emitted(FORMAT_response, talk, "P: u=a a=b u=c A0: a=d (-)\n");

    static const char safe[] =
        "{\"prompt\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
        "\"p\"}],\"response_0\":\"x\",\"response_1\":\"y\",\"better_response_id\":1,"
        "\"safer_response_id\":0,\"is_response_0_safe\":true,\"is_response_1_safe\":false}\n";
    check_emitted(FORMAT_safe_rlhf, safe,
                  "P: s=s u=p A0: a=x (-, safe) A1: a=y (-, harmful) 1>0 S 0>1\n");
    check_emitted(FORMAT_hh, safe, "lacks: a turn of the system\n");

    static const char labelled[] = "{\"prompt\":\"p\",\"label\":[1.5,\"x\"]}\n";
    check_emitted(FORMAT_prompt, labelled, "P: u=p label [1.5,\"x\"]\n");
    check_emitted(FORMAT_pair, labelled, "lacks: no pair\n");
    check_emitted(FORMAT_response, labelled, "lacks: no answer\n");
    check_emitted(FORMAT_prompt, "{\"text\":\"t\"}\n", "lacks: no prompt\n");
    check_emitted(FORMAT_hh,
                  "{\"prompt\":\"a\\n\\nHuman: b\",\"chosen\":\"x\",\"rejected\":\"y\"}\n",
                  "lacks: a text that holds a marker\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_those_of_the_sorted_values),
        cmocka_unit_test(hashes_seen_are_remembered_with_their_files_up_to_the_maximum),
        cmocka_unit_test(a_survey_counts_pairs_lengths_and_repetitions),
        cmocka_unit_test(a_survey_names_prompts_that_leak_between_files),
        cmocka_unit_test(keys_tell_prompts_apart_by_their_turns),
        cmocka_unit_test(records_written_are_read_back),
    };
    return cmocka_run_group_tests(tests, data_make_dir, data_remove_dir);
}
