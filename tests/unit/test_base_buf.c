/* wrap: realloc */
/*
 * test_base_buf.c -- appending up to the maximum and not past it; JSON that others can read.
 *
 * The oracles: a flat array beside the buffer; jansson for strings (it reads strictly, and
 * shares no code with buf.c); strtod for numbers.  The linker sends realloc() here, so that
 * a test can refuse it.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/rng.h"
#include "tests/test.h"

static bool realloc_fails;

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *__wrap_realloc(void *old, size_t size)
{
    void *memory = realloc_fails ? NULL : __real_realloc(old, size);
    if (memory && !old) /* new memory is not zero, whatever the system usually gives */
        memset(memory, 0xaa, size);
    return memory;
}

static void buf_is_an_empty_string_from_the_start(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    assert_string_equal(buf.data, "");
    buf_clear(&buf);
    buf_append(&buf, NULL, 0);
    assert_string_equal(buf.data, "");
    assert_int_equal(buf.cap, 0);
    buf_release(&buf);
    assert_string_equal(buf.data, "");
    assert_int_equal(buf.max_bytes, 10);
}

static void buf_holds_what_was_appended_in_order(void **state)
{
    (void)state;
    enum { N = 3000 };
    struct buf buf;
    buf_init(&buf, 1 << 20);
    static char want[N * 24];
    size_t len = 0;
    for (int i = 0; i < N; i++) {
        buf_printf(&buf, "%d:%s", i, i % 2 ? "odd" : "");
        buf_putc(&buf, '\0');
        buf_puts(&buf, ";");
        len += (size_t)snprintf(want + len, sizeof want - len, "%d:%s", i, i % 2 ? "odd" : "");
        want[len++] = '\0';
        want[len++] = ';';
        assert_true(buf.len < buf.cap);
        assert_int_equal(buf.data[buf.len], '\0');
    }
    assert_int_equal(buf.len, len);
    assert_memory_equal(buf.data, want, len);
    check_ok(buf_check(&buf, "it", &err));
    buf_release(&buf);
}

static void buf_takes_exactly_its_maximum(void **state)
{
    (void)state;
    for (size_t max = 0; max < 600; max += 37) {
        struct buf buf;
        buf_init(&buf, max);
        for (size_t i = 0; i < max; i++) {
            buf_putc(&buf, 'x');
            assert_true(buf.len < buf.cap);
        }
        assert_false(buf.failed);
        assert_int_equal(buf.len, max);
        assert_true(buf.cap <= max + 1);
        buf_putc(&buf, 'y');
        assert_true(buf.failed);
        assert_int_equal(buf.len, max);
        assert_int_equal(strlen(buf.data), max);
        buf_release(&buf);
    }
}

static void buf_adds_nothing_of_what_does_not_fit_nor_after_it(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 8);
    buf_puts(&buf, "12345");
    buf_printf(&buf, "%d", 6789);
    assert_true(buf.failed);
    buf_putc(&buf, '6'); /* would fit, but there is a gap before it */
    assert_string_equal(buf.data, "12345");
    check_fails(buf_check(&buf, "the report", &err), ERR_NOMEM, "the report does not fit");
    buf_clear(&buf);
    buf_puts(&buf, "12345678");
    assert_string_equal(buf.data, "12345678");
    check_ok(buf_check(&buf, "the report", &err));
    buf_release(&buf);
}

static void buf_survives_sizes_that_would_wrap(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, SIZE_MAX);
    buf_puts(&buf, "abc");
    assert_false(buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.failed);
    buf_clear(&buf);
    buf_puts(&buf, "abc");
    assert_false(buf_reserve(&buf, SIZE_MAX - 3));
    assert_string_equal(buf.data, "abc");
    buf_release(&buf);
}

static void buf_keeps_what_it_has_when_memory_runs_out(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1 << 20);
    buf_puts(&buf, "kept");
    char large[5000];
    memset(large, 'x', sizeof large);
    realloc_fails = true;
    buf_append(&buf, large, sizeof large);
    realloc_fails = false;
    assert_string_equal(buf.data, "kept");
    check_fails(buf_check(&buf, "the report", &err), ERR_NOMEM, "the report");
    buf_release(&buf);

    realloc_fails = true;
    buf_puts(&buf, "first");
    realloc_fails = false;
    assert_true(buf.failed);
    assert_string_equal(buf.data, "");
    buf_release(&buf);
}

static void buf_reserve_lets_the_caller_fill_it(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 4000);
    assert_true(buf_reserve(&buf, 1));
    assert_string_equal(buf.data, "");
    buf_puts(&buf, "ab");
    assert_true(buf_reserve(&buf, 3998));
    assert_string_equal(buf.data, "ab");
    memset(buf.data + buf.len, 'c', 3998);
    buf.len += 3998;
    buf.data[buf.len] = '\0';
    assert_int_equal(strlen(buf.data), 4000);
    assert_false(buf_reserve(&buf, 1));
    buf_release(&buf);
}

static void buf_json_string_escapes_what_json_must(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    const char text[] = "a\"b\\c\n\t\r\b\f\x01\0z/\xc3\xa9";
    buf_json_string(&buf, text, sizeof text - 1);
    assert_string_equal(buf.data, "\"a\\\"b\\\\c\\n\\t\\r\\b\\f\\u0001\\u0000z/\xc3\xa9\"");
    buf_clear(&buf);
    buf_json_string(&buf, NULL, 0);
    assert_string_equal(buf.data, "\"\"");
    buf_release(&buf);
}

static void buf_json_string_replaces_each_byte_that_is_not_utf8(void **state)
{
    (void)state;
#define U "\xef\xbf\xbd"
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"\x80", U},                   /* continuation alone */
        {"\xc3", U},                   /* cut off */
        {"\xc0\xaf", U U},             /* overlong slash */
        {"\xe0\x9f\xbf", U U U},       /* overlong, three bytes */
        {"\xf0\x8f\xbf\xbf", U U U U}, /* overlong, four bytes */
        {"\xed\xa0\x80", U U U},       /* surrogate */
        {"\xf4\x90\x80\x80", U U U U}, /* past U+10FFFF */
        {"\xff"
         "a",
         U "a"},                                  /* never in UTF-8 */
        {"\xe2\x82", U U},                        /* two of three bytes */
        {"\xc3(", U "("},                         /* the next one is plain */
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"}, /* U+10FFFF */
        {"\xed\x9f\xbf", "\xed\x9f\xbf"},         /* before the surrogates */
        {"\xe2\x82\xac", "\xe2\x82\xac"},         /* euro sign */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf buf, want;
        buf_init(&buf, 100);
        buf_init(&want, 100);
        buf_json_string(&buf, cases[i].text, strlen(cases[i].text));
        buf_printf(&want, "\"%s\"", cases[i].want);
        assert_string_equal(buf.data, want.data);
        buf_release(&buf);
        buf_release(&want);
    }
    struct buf buf; /* what lies past the end is not looked at, even where it would fit */
    buf_init(&buf, 100);
    buf_json_string(&buf, "\xe2\x82\xac", 2);
    assert_string_equal(buf.data, "\"" U U "\"");
    buf_release(&buf);
#undef U
}

/* Any bytes at all make a string that jansson reads; and reads as it was, if it was text. */
static void buf_json_string_is_read_back_by_another_reader(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 2000; round++) {
        char text[24];
        const bool ascii = round % 2;
        for (uint32_t i = 0; i < sizeof text; i++) {
            const uint64_t r = rng_below(1, RNG_STREAM_WORLD, round, 0, i, 255) + 1;
            text[i] = (char)(ascii ? r % 127 + 1 : r);
        }
        struct buf buf;
        buf_init(&buf, 1000);
        buf_json_string(&buf, text, sizeof text);
        json_error_t problem;
        json_t *read = json_loadb(buf.data, buf.len, JSON_DECODE_ANY, &problem);
        if (!read)
            fail_msg("round %u: %s: %s", round, problem.text, buf.data);
        if (ascii) {
            assert_int_equal(json_string_length(read), sizeof text);
            assert_memory_equal(json_string_value(read), text, sizeof text);
        }
        json_decref(read);
        buf_release(&buf);
    }
}

static void buf_html_text_escapes_what_html_must(void **state)
{
    (void)state;
#define U "\xef\xbf\xbd"
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"a<b> & \"c\" 'd'\n\t", "a&lt;b&gt; &amp; &quot;c&quot; 'd'\n\t"},
        {"\x1b[2J\x7f\r", U "[2J" U U},               /* C0, DEL */
        {"\xc2\x80\xc2\x9f\xc2\xa0", U U "\xc2\xa0"}, /* C1, and the first past it */
        {"\x80\xe2\x82", U U U},                      /* not UTF-8 */
        {"\xef\xbf\xbe\xef\xbf\xbf" U, U U U},        /* U+FFFE, U+FFFF, U+FFFD itself */
        {"\xe2\x82\xac", "\xe2\x82\xac"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf buf;
        buf_init(&buf, 100);
        buf_html_text(&buf, cases[i].text, strlen(cases[i].text));
        assert_string_equal(buf.data, cases[i].want);
        buf_release(&buf);
    }
#undef U
}

static void check_number(double value, const char *want)
{
    struct buf buf;
    buf_init(&buf, 100);
    buf_json_number(&buf, value);
    assert_string_equal(buf.data, want);
    buf_release(&buf);
}

static void buf_json_number_writes_plain_numbers_plainly(void **state)
{
    (void)state;
    check_number(0.0, "0");
    check_number(-0.0, "-0");
    check_number(1.0, "1");
    check_number(0.1, "0.1");
    check_number(-2.5e-7, "-2.5e-07");
    check_number(1e300, "1e+300");
    check_number(0.1 + 0.2, "0.30000000000000004");
    check_number(9007199254740993.0, "9007199254740992");
    check_number(1.0 / 3.0, "0.3333333333333333");
    check_number((double)INFINITY, "null");
    check_number(-(double)INFINITY, "null");
    check_number((double)NAN, "null");
}

static void buf_json_number_reads_back_the_same_and_no_longer_than_needed(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 50000; i++) {
        uint32_t block[4];
        rng_block(2, RNG_STREAM_WORLD, 0, 0, i, block);
        double value;
        memcpy(&value, block, sizeof value);
        if (!isfinite(value))
            continue;
        struct buf buf;
        buf_init(&buf, 100);
        buf_json_number(&buf, value);
        const double back = strtod(buf.data, NULL);
        assert_memory_equal(&back, &value, sizeof value);
        char shorter[40];
        for (int digits = 15; digits < 17; digits++) {
            snprintf(shorter, sizeof shorter, "%.*g", digits, value);
            if (strtod(shorter, NULL) == value)
                break;
            assert_string_not_equal(shorter, buf.data);
        }
        if (strtod(shorter, NULL) == value)
            assert_string_equal(shorter, buf.data);
        buf_release(&buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_is_an_empty_string_from_the_start),
        cmocka_unit_test(buf_holds_what_was_appended_in_order),
        cmocka_unit_test(buf_takes_exactly_its_maximum),
        cmocka_unit_test(buf_adds_nothing_of_what_does_not_fit_nor_after_it),
        cmocka_unit_test(buf_survives_sizes_that_would_wrap),
        cmocka_unit_test(buf_keeps_what_it_has_when_memory_runs_out),
        cmocka_unit_test(buf_reserve_lets_the_caller_fill_it),
        cmocka_unit_test(buf_json_string_escapes_what_json_must),
        cmocka_unit_test(buf_json_string_replaces_each_byte_that_is_not_utf8),
        cmocka_unit_test(buf_json_string_is_read_back_by_another_reader),
        cmocka_unit_test(buf_html_text_escapes_what_html_must),
        cmocka_unit_test(buf_json_number_writes_plain_numbers_plainly),
        cmocka_unit_test(buf_json_number_reads_back_the_same_and_no_longer_than_needed),
    };
    return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
