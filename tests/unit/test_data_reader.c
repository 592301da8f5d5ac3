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

static void reader_gives_two_texts_as_a_pair_with_its_margin(void **state)
{
    (void)state;
    check_records(
        "{\"prompt\":\"Hi\",\"chosen\":\"Hello!\",\"rejected\":\"Bye.\",\"margin\":2}",
        "P: u=Hi A0: a=Hello! A1: a=Bye. 0>1 by 2\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_cuts_published_hh_transcripts_as_another_parser_does),
        cmocka_unit_test(reader_gives_two_texts_as_a_pair_with_its_margin),
    };
    return cmocka_run_group_tests(tests, data_make_dir, data_remove_dir);
}
