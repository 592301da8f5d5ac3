/*
 * test_node_gate_record.c -- RUN/gate.jsonl and RUN/published, written, read back, damaged.
 *
 * Oracle: the numbers put in; another parser (jansson's own calls) reads what was written.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "node/gate_record.h"
#include "tests/test.h"

static char dir[64];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/rlhf-gate-record-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

static const char *at(const char *name)
{
    static char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, name, &err));
    return path;
}

static struct gate_record pass_of(const char *name, double version)
{
    struct gate_record record = {.at_ms = 1700000000123,
                                 .decision = GATE_RECORD_PASS,
                                 .version = version,
                                 .mean = 0.1,
                                 .upper = 0.30000000000000004,
                                 .limit = 0.5,
                                 .delta = 0.0125,
                                 .n = 60,
                                 .spent = 1,
                                 .candidates = 4};
    snprintf(record.name, sizeof record.name, "%s", name);
    snprintf(record.model, sizeof record.model, "a \"model\"\n");
    snprintf(record.bound, sizeof record.bound, "hoeffding");
    snprintf(record.cost, sizeof record.cost, "score");
    return record;
}

static void record_reads_back_as_it_was_written(void **state)
{
    (void)state;
    struct gate_record error = pass_of("", NAN);
    const struct gate_record pass = pass_of("0123456789abcdef", 80);
    error.decision = GATE_RECORD_ERROR;
    error.mean = error.upper = error.spent = NAN;
    error.before = true;
    snprintf(error.why, sizeof error.why,
             "the disk is \xc3\xbc"
             "ber full");
    check_ok(gate_record_append(dir, &pass, &err));
    check_ok(gate_record_append(dir, &error, &err));
    assert_int_equal(symlink("releases/0123456789abcdef", at("published")), 0);
    struct gate_history history;
    check_ok(gate_record_load(&history, dir, &err));
    assert_int_equal(history.n, 2);
    const struct gate_record *a = &history.record[0], *b = &history.record[1];
    assert_memory_equal(a, &pass, sizeof pass);
    assert_true(b->decision == GATE_RECORD_ERROR && b->before && b->candidates == 4);
    assert_true(isnan(b->version) && isnan(b->mean) && isnan(b->upper) && isnan(b->spent));
    assert_true(b->delta == error.delta && b->limit == error.limit);
    assert_string_equal(b->why, error.why);
    assert_string_equal(history.published, "0123456789abcdef");
    assert_true(history.published_version == 80); /* told by the line that passed */
    assert_true(history.published_ms > 1700000000000);
    gate_record_release(&history);
}

static void no_record_and_no_link_are_null(void **state)
{
    (void)state;
    struct gate_history history;
    struct buf text;
    buf_init(&text, 4096);
    check_ok(gate_record_load(&history, dir, &err));
    assert_true(history.n == 0 && history.published[0] == '\0');
    assert_true(isnan(history.published_version));
    gate_record_json(&history, &text);
    assert_string_equal(text.data, "null");
    gate_record_release(&history);
    buf_release(&text);
}

static void the_object_has_the_last_line_and_the_link(void **state)
{
    (void)state;
    struct gate_record nsf = pass_of("0123456789abcdef", 100); /* by another cost */
    const struct gate_record pass = pass_of("0123456789abcdef", 80);
    nsf.decision = GATE_RECORD_NSF;
    check_ok(gate_record_append(dir, &pass, &err));
    check_ok(gate_record_append(dir, &nsf, &err));
    assert_int_equal(symlink("releases/0123456789abcdef", at("published")), 0);
    struct gate_history history;
    struct buf text;
    buf_init(&text, 4096);
    check_ok(gate_record_load(&history, dir, &err));
    gate_record_json(&history, &text);
    json_t *json = json_loads(text.data, JSON_REJECT_DUPLICATES, NULL);
    const json_t *last = json_object_get(json, "last");
    const json_t *link = json_object_get(json, "published");
    assert_string_equal(json_string_value(json_object_get(last, "decision")), "NSF");
    assert_true(json_number_value(json_object_get(last, "version")) == 100);
    assert_true(json_number_value(json_object_get(last, "upper")) == nsf.upper);
    assert_true(json_number_value(json_object_get(link, "version")) == 80);
    assert_int_equal(json_integer_value(json_object_get(json, "lines")), 2);
    json_decref(json);
    gate_record_release(&history);
    buf_release(&text);
}

static void the_file_keeps_the_newest_lines(void **state)
{
    (void)state;
    struct buf filler;
    buf_init(&filler, 2 * GATE_RECORD_BYTES_MAX);
    const struct gate_record first = pass_of("00000000000000aa", 1);
    check_ok(gate_record_append(dir, &first, &err));
    check_ok(file_read(at(GATE_RECORD_FILE), &filler, &err));
    const size_t line = filler.len;
    struct buf full;
    buf_init(&full, GATE_RECORD_BYTES_MAX);
    while (full.len + line <= GATE_RECORD_BYTES_MAX)
        buf_append(&full, filler.data, line);
    check_ok(file_write(at(GATE_RECORD_FILE), full.data, full.len, &err));
    const struct gate_record newest = pass_of("00000000000000bb", 2);
    check_ok(gate_record_append(dir, &newest, &err));
    struct gate_history history;
    check_ok(gate_record_load(&history, dir, &err));
    assert_int_equal(history.n, full.len / line); /* one came, one went */
    assert_string_equal(history.record[history.n - 1].name, "00000000000000bb");
    assert_string_equal(history.record[0].name, "00000000000000aa");
    gate_record_release(&history);
    buf_release(&filler);
    buf_release(&full);
}

static void a_damaged_line_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *words;
    } damage[] = {{"\"PASS\"", "\"PERHAPS\"", "gate.jsonl:2: \"decision\" is PERHAPS"},
                  {"\"n\": 60", "\"n\": -6", "gate.jsonl:2: "},
                  {"\"limit\"", "\"limi", "gate.jsonl:2"},
                  {"\"before\": false", "\"before\": 1", "gate.jsonl:2: "},
                  {"0123456789abcdef", "0123456789abcdef0", "\"name\" has over 16 bytes"}};
    const struct gate_record pass = pass_of("0123456789abcdef", 80);
    for (size_t i = 0; i < COUNT(damage); i++) {
        struct buf text, spoilt;
        buf_init(&text, 1 << 16);
        buf_init(&spoilt, 1 << 16);
        unlink(at(GATE_RECORD_FILE));
        check_ok(gate_record_append(dir, &pass, &err));
        check_ok(file_read(at(GATE_RECORD_FILE), &text, &err));
        const char *place = strstr(text.data, damage[i].from);
        assert_non_null(place);
        buf_puts(&spoilt, text.data);
        buf_printf(&spoilt, "%.*s%s%s", (int)(place - text.data), text.data, damage[i].to,
                   place + strlen(damage[i].from));
        check_ok(file_write(at(GATE_RECORD_FILE), spoilt.data, spoilt.len, &err));
        struct gate_history history;
        check_fails(gate_record_load(&history, dir, &err), ERR_FORMAT, damage[i].words);
        gate_record_release(&history);
        buf_release(&text);
        buf_release(&spoilt);
    }
    unlink(at(GATE_RECORD_FILE));
    assert_int_equal(symlink("somewhere/else/that/is/no/release", at("published")), 0);
    struct gate_history history;
    check_fails(gate_record_load(&history, dir, &err), ERR_FORMAT, "is no release");
    gate_record_release(&history);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(record_reads_back_as_it_was_written),
        CASE(no_record_and_no_link_are_null),
        CASE(the_object_has_the_last_line_and_the_link),
        CASE(the_file_keeps_the_newest_lines),
        CASE(a_damaged_line_is_named),
    };
    return cmocka_run_group_tests_name("gate record", tests, NULL, NULL);
}
