/*
 * fuzz_data.c -- data sets from a stranger.
 *
 * The first byte of an input says how the rest is read: its lower six bits the format (with
 * the format told by the lines, where it is past the last), its upper two the fraction of lines
 * that may be bad: 0, 1/4, 1/2, 1.
 *
 * What must hold: every record is as data/record.h says; every bad line is told with a
 * sentence that names the file; counts agree; what can be written in a format is read back with
 * as many records and the same keys.
 */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/emit.h"
#include "data/key.h"
#include "data/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const fuzz_attributes[] = {"helpfulness", "honesty"};
static char fuzz_dir[64];

static void fuzz_remove_dir(void)
{
    file_remove_tree(fuzz_dir, NULL);
}

static void fuzz_put(char path[FILE_PATH_MAX], const char *name, const void *bytes, size_t n)
{
    if (!fuzz_dir[0]) {
        snprintf(fuzz_dir, sizeof fuzz_dir, "/tmp/rlhfd-fuzz-XXXXXX");
        assert(mkdtemp(fuzz_dir));
        atexit(fuzz_remove_dir);
    }
    assert(file_join(path, fuzz_dir, name, NULL) == ERR_OK);
    FILE *file = fopen(path, "wb");
    assert(file && fwrite(bytes, 1, n, file) == n && fclose(file) == 0);
}

static void fuzz_bad(void *arg, enum data_bad why, const char *sentence)
{
    uint64_t *told = arg;
    assert(why < DATA_BADS && strstr(sentence, fuzz_dir));
    (*told)++;
}

static void fuzz_check_turns(const struct data_turn *turn, size_t turns, enum data_role last)
{
    for (size_t i = 0; i < turns; i++)
        assert(strlen(turn[i].text.data) == turn[i].text.n);
    assert(turns == 0 || turn[turns - 1].role == last);
}

static void fuzz_check_pairs(const struct data_record *r, const struct data_pair *pair,
                             size_t pairs)
{
    assert(pairs <= DATA_PAIRS_MAX);
    for (size_t i = 0; i < pairs; i++) {
        assert(pair[i].better < r->answers && pair[i].worse < r->answers);
        assert(pair[i].better != pair[i].worse && !(pair[i].margin < 0.0));
    }
}

static void fuzz_check_record(const struct data_record *r)
{
    assert(r->where && r->line > 0 && r->answers <= DATA_ANSWERS_MAX);
    assert(r->answers + r->turns + r->ids_n > 0);
    fuzz_check_turns(r->turn, r->turns, DATA_ROLE_USER);
    for (size_t i = 0; i < r->answers; i++) {
        const struct data_answer *answer = &r->answer[i];
        assert(answer->turns > 0 && answer->turn[0].role == DATA_ROLE_ASSISTANT);
        fuzz_check_turns(answer->turn, answer->turns, DATA_ROLE_ASSISTANT);
        assert(!isinf(answer->rating) && !isinf(answer->attribute[0]));
    }
    fuzz_check_pairs(r, r->pair, r->pairs);
    fuzz_check_pairs(r, r->safety, r->safeties);
    assert(r->answers == 0 || data_record_best(r) < r->answers);
}

/* Write the record as each format that it has the means for, and read that back. */
static void fuzz_check_emitted(const struct data_record *r, struct buf *scratch)
{
    static const enum format_kind kinds[] = {FORMAT_pair, FORMAT_safe_rlhf, FORMAT_response,
                                             FORMAT_prompt, FORMAT_hh};
    const uint64_t prompt = key_prompt(r, 0, scratch);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct buf line;
        buf_init(&line, 64u << 20);
        if (!emit_record(kinds[i], r, fuzz_attributes, 2, &line)) {
            char path[FILE_PATH_MAX];
            fuzz_put(path, "back", line.data, line.len);
            const struct reader_options options = {.format = kinds[i]};
            struct reader *reader = reader_open(path, &options, NULL);
            const struct data_record *back;
            struct err err = {0};
            uint64_t records = 0;
            while (reader_next(reader, &back, &err) == ERR_OK && back) {
                records++;
                if (kinds[i] != FORMAT_response) /* a longer answer lengthens the prompt */
                    assert(key_prompt(back, 0, scratch) == prompt);
            }
            if (err.text[0]) {
                fprintf(stderr, "%s: %s\n%s", format_name(kinds[i]), err.text, line.data);
                abort();
            }
            const bool pairs = kinds[i] == FORMAT_pair || kinds[i] == FORMAT_hh;
            assert(records == (pairs ? r->pairs : 1));
            reader_close(reader);
        }
        buf_release(&line);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const double fractions[] = {0.0, 0.25, 0.5, 1.0};
    if (size == 0)
        return 0;
    char path[FILE_PATH_MAX];
    uint64_t told = 0, records = 0;
    const unsigned kind = data[0] & 63;
    const struct reader_options options = {.format = kind < FORMATS ? (enum format_kind)kind
                                                                    : FORMAT_auto,
                                           .max_bad_fraction = fractions[data[0] >> 6],
                                           .attribute = fuzz_attributes,
                                           .attributes = 2,
                                           .bad = fuzz_bad,
                                           .arg = &told};
    fuzz_put(path, "in", data + 1, size - 1);
    struct reader *reader = reader_open(path, &options, NULL);
    assert(reader);
    const struct data_record *r;
    struct buf scratch;
    struct err err = {0};
    buf_init(&scratch, 64u << 20);
    enum err_code rc;
    while (!(rc = reader_next(reader, &r, &err)) && r) {
        records++;
        fuzz_check_record(r);
        fuzz_check_emitted(r, &scratch);
    }
    const struct reader_counts *counts = reader_counts(reader);
    assert(rc == ERR_OK || strstr(err.text, fuzz_dir));
    assert(counts->records == records && counts->bad == told && counts->bad <= counts->lines);
    assert(rc || (double)told <= options.max_bad_fraction * (double)counts->lines);
    reader_close(reader);
    buf_release(&scratch);
    return 0;
}
