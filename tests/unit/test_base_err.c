/*
 * test_base_err.c -- codes, sentences and exit statuses.
 *
 * The oracle is err.h itself, written out once more as a table, with the numbers of
 * sysexits.h in figures.
 */
#include <errno.h>
#include <stdio.h>

#include "tests/test.h"

static void err_set_fills_the_code_and_the_sentence(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(err_set(&err, ERR_FORMAT, "%s:%d: no score", "rows.jsonl", 7), ERR_FORMAT);
    assert_int_equal(err.code, ERR_FORMAT);
    assert_string_equal(err.text, "rows.jsonl:7: no score");
}

static void err_may_be_null_where_only_the_code_is_wanted(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_TIMEOUT, "no %s", "answer"), ERR_TIMEOUT);
    errno = ENOENT;
    assert_int_equal(err_errno(NULL, "open %s", "x"), ERR_IO);
}

static void err_cuts_a_sentence_that_is_too_long(void **state)
{
    (void)state;
    struct {
        struct err err;
        char fence[16];
    } held = {.fence = "fence"};
    char path[2000];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    err_set(&held.err, ERR_VALUE, "%s", path);
    assert_int_equal(strlen(held.err.text), sizeof held.err.text - 1);
    errno = EACCES;
    err_errno(&held.err, "%s", path);
    assert_int_equal(strlen(held.err.text), sizeof held.err.text - 1);
    assert_string_equal(held.fence, "fence");
}

static void err_errno_tells_what_the_system_said(void **state)
{
    (void)state;
    struct err err = {0};
    errno = ENOENT;
    assert_int_equal(err_errno(&err, "open %s", "/no/such"), ERR_IO);
    assert_int_equal(err.code, ERR_IO);
    assert_string_equal(err.text, "open /no/such: No such file or directory");
}

static void err_has_a_name_and_an_exit_status_for_every_code(void **state)
{
    (void)state;
    static const struct {
        enum err_code code;
        const char *name;
        int status;
    } table[] = {
        {ERR_OK, "ERR_OK", 0},
        {ERR_NOMEM, "ERR_NOMEM", 71},
        {ERR_IO, "ERR_IO", 74},
        {ERR_FORMAT, "ERR_FORMAT", 65},
        {ERR_VALUE, "ERR_VALUE", 65},
        {ERR_STATE, "ERR_STATE", 70},
        {ERR_TIMEOUT, "ERR_TIMEOUT", 69},
        {ERR_UNAVAILABLE, "ERR_UNAVAILABLE", 69},
        {ERR_USAGE, "ERR_USAGE", 78},
    };
    size_t codes = 0;
#define X(name, number, meaning) codes++;
    ERR_MAP(X)
#undef X
    assert_int_equal(codes, COUNT(table));
    for (size_t i = 0; i < COUNT(table); i++) {
        assert_string_equal(err_name(table[i].code), table[i].name);
        assert_int_equal(err_exit_code(table[i].code), table[i].status);
    }
    assert_string_equal(err_name((enum err_code)1), "ERR_?");
    assert_int_equal(err_exit_code((enum err_code)1), 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_set_fills_the_code_and_the_sentence),
        cmocka_unit_test(err_may_be_null_where_only_the_code_is_wanted),
        cmocka_unit_test(err_cuts_a_sentence_that_is_too_long),
        cmocka_unit_test(err_errno_tells_what_the_system_said),
        cmocka_unit_test(err_has_a_name_and_an_exit_status_for_every_code),
    };
    return cmocka_run_group_tests_name("base/err", tests, NULL, NULL);
}
