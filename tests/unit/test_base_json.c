/*
 * test_base_json.c -- documents from outside: what is refused, and in which words.
 *
 * The oracle is RFC 8259 for what is JSON, and json.h for each sentence, by hand.
 */
#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "tests/test.h"

static json_t *parse(const char *text)
{
    struct err err = {0};
    json_t *root = json_parse(text, strlen(text), "conf.json", &err);
    if (!root)
        fail_msg("%s", err.text);
    return root;
}

static void check_refused(const char *text, size_t len, const char *words)
{
    struct err err = {0};
    assert_null(json_parse(text, len, "conf.json", &err));
    assert_string_equal(err_name(err.code), "ERR_FORMAT");
    assert_int_equal(strncmp(err.text, "conf.json: not JSON: ", 21), 0);
    if (!strstr(err.text, words))
        fail_msg("said \"%s\", without \"%s\"", err.text, words);
}

static void json_parse_names_the_place_of_what_is_not_json(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "line 1 column 0"},
        {"{\"a\": 1,\n \"b\": tru}", "line 2 column 9"},
        {"{\"a\": 1} x", "line 1 column 10"},
        {"{\"a\": 1}{}", "line 1 column 9"},
        {"{\"a\": 1, \"a\": 2}", "duplicate object key"},
        {"[1, 2,]", "line 1 column 7"},
        {"{\"a\": NaN}", "line 1 column"},
        {"{'a': 1}", "line 1 column"},
        {"[\"\xff\"]", "unable to decode byte 0xff"},
        {"[\"\xed\xa0\x80\"]", "unable to decode byte 0xed"},
        {"[\"\\ud800\"]", "line 1 column"},
        {"[\"a\\u0000b\"]", "line 1 column"},
        {"[9223372036854775808]", "too big integer"},
        {"[1e999]", "real number overflow"},
        {"3", "line 1 column"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_refused(cases[i].text, strlen(cases[i].text), cases[i].words);
    check_refused("[1]\0", 4, "line 1 column");
    check_refused(NULL, 0, "line 1 column 0");
}

static void json_parse_does_not_nest_without_end(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    char *deep = malloc(DEEP);
    assert_non_null(deep);
    memset(deep, '[', DEEP);
    check_refused(deep, DEEP, "maximum parsing depth reached");
    free(deep);
}

static void check_unread(const char *path, size_t max_bytes, enum err_code code,
                         const char *words)
{
    struct err err = {0};
    assert_null(json_read_file(path, max_bytes, &err));
    assert_string_equal(err_name(err.code), err_name(code));
    if (!strstr(err.text, words))
        fail_msg("said \"%s\", without \"%s\"", err.text, words);
}

static void json_read_file_reads_within_the_limit(void **state)
{
    (void)state;
    char dir[] = "/tmp/rlhf-json-XXXXXX", path[FILE_PATH_MAX];
    assert_non_null(mkdtemp(dir));
    check_ok(file_join(path, dir, "conf.json", &err));
    check_ok(file_write(path, "{\"a\":\n1}", 8, &err));
    json_t *root = json_read_file(path, 8, NULL);
    assert_non_null(root);
    uint64_t a;
    check_ok(json_get_u64(root, "a", 0, 9, &a, path, &err));
    assert_int_equal(a, 1);
    json_decref(root);

    check_unread(path, 7, ERR_VALUE, "/conf.json is larger than the 7 bytes");
    check_ok(file_write(path, "{\"a\":\n1", 7, &err));
    check_unread(path, 100, ERR_FORMAT, "/conf.json: not JSON: ");
    check_unread(path, 100, ERR_FORMAT, "line 2");
    check_ok(file_remove_tree(dir, &err));
    check_unread(path, 100, ERR_IO, path);
}

static void json_get_reads_each_type_to_its_bounds(void **state)
{
    (void)state;
    json_t *root = parse("{\"n\": 9223372036854775807, \"z\": 0, \"x\": -1.5e3, \"i\": 7,"
                         " \"t\": true, \"f\": false, \"s\": \"\\u00e9\"}");
    uint64_t n = 1;
    check_ok(json_get_u64(root, "n", 0, UINT64_MAX, &n, "c", &err));
    assert_true(n == INT64_MAX);
    check_ok(json_get_u64(root, "z", 0, 0, &n, "c", &err));
    assert_int_equal(n, 0);
    double x = 0.0;
    check_ok(json_get_double(root, "x", -1500.0, -1500.0, &x, "c", &err));
    assert_true(x == -1500.0);
    check_ok(json_get_double(root, "i", -HUGE_VAL, HUGE_VAL, &x, "c", &err));
    assert_true(x == 7.0);
    bool flag = false;
    check_ok(json_get_bool(root, "t", &flag, "c", &err));
    assert_true(flag);
    check_ok(json_opt_bool(root, "f", &flag, "c", &err));
    assert_false(flag);
    const char *s = NULL;
    check_ok(json_get_string(root, "s", &s, "c", &err));
    assert_string_equal(s, "\xc3\xa9");
    check_ok(json_opt_u64(root, "i", 7, 7, &n, "c", &err));
    assert_int_equal(n, 7);
    json_decref(root);
}

static const char wrong[] = "{\"neg\": -1, \"real\": 3.0, \"text\": \"3\", \"null\": null, "
                            "\"big\": 12, \"small\": 0, \"list\": []}";

/* Of the required and the optional getter alike, and *out stays 99. */
static void check_u64_refused(const json_t *root, const char *key, const char *words)
{
    uint64_t out = 99;
    check_fails(json_get_u64(root, key, 1, 11, &out, "conf.json:4", &err), ERR_FORMAT, words);
    check_fails(json_opt_u64(root, key, 1, 11, &out, "conf.json:4", &err), ERR_FORMAT, words);
    assert_int_equal(out, 99);
}

static void json_numbers_of_the_wrong_kind_or_size_are_refused_by_name(void **state)
{
    (void)state;
    json_t *root = parse(wrong);
    check_u64_refused(root, "neg", "conf.json:4: \"neg\" must be a whole number, 0 or more");
    check_u64_refused(root, "real", "conf.json:4: \"real\" must be a whole number");
    check_u64_refused(root, "text", "conf.json:4: \"text\" must be a whole number");
    check_u64_refused(root, "big", "conf.json:4: \"big\" is 12, outside 1 .. 11");
    check_u64_refused(root, "small", "conf.json:4: \"small\" is 0, outside 1 .. 11");

    double x = 99.0;
    check_fails(json_get_double(root, "text", 0, 1, &x, "conf.json", &err), ERR_FORMAT,
                "conf.json: \"text\" must be a number");
    check_fails(json_opt_double(root, "list", 0, 1, &x, "conf.json", &err), ERR_FORMAT,
                "conf.json: \"list\" must be a number");
    check_fails(json_get_double(root, "real", 0, 2.5, &x, "conf.json", &err), ERR_FORMAT,
                "conf.json: \"real\" is 3, outside 0 .. 2.5");
    check_fails(json_opt_double(root, "neg", 0, 2.5, &x, "conf.json", &err), ERR_FORMAT,
                "conf.json: \"neg\" is -1, outside 0 .. 2.5");
    assert_true(x == 99.0);
    json_decref(root);
}

static void json_texts_and_flags_of_the_wrong_kind_are_refused_by_name(void **state)
{
    (void)state;
    json_t *root = parse(wrong);
    bool flag = true;
    const char *text = "as it was";
    check_fails(json_get_bool(root, "big", &flag, "c", &err), ERR_FORMAT,
                "c: \"big\" must be true or false");
    check_fails(json_opt_bool(root, "text", &flag, "c", &err), ERR_FORMAT,
                "c: \"text\" must be true or false");
    check_fails(json_get_string(root, "list", &text, "c", &err), ERR_FORMAT,
                "c: \"list\" must be a string");
    check_fails(json_opt_string(root, "big", &text, "c", &err), ERR_FORMAT,
                "c: \"big\" must be a string");
    assert_true(flag);
    assert_string_equal(text, "as it was");
    json_decref(root);
}

static void json_get_wants_the_member_and_opt_keeps_the_default(void **state)
{
    (void)state;
    json_t *root = parse(wrong);
    static const struct {
        const char *key, *words;
    } keys[] = {{"none", "c: \"none\" is missing"}, {"null", "c: \"null\" is null"}};
    uint64_t n = 5;
    double x = 0.5;
    bool flag = true;
    const char *text = "kept";
    for (size_t i = 0; i < COUNT(keys); i++) {
        const char *key = keys[i].key, *words = keys[i].words;
        check_fails(json_get_u64(root, key, 0, 9, &n, "c", &err), ERR_FORMAT, words);
        check_fails(json_get_double(root, key, 0, 1, &x, "c", &err), ERR_FORMAT, words);
        check_fails(json_get_bool(root, key, &flag, "c", &err), ERR_FORMAT, words);
        check_fails(json_get_string(root, key, &text, "c", &err), ERR_FORMAT, words);
        check_ok(json_opt_u64(root, key, 0, 1, &n, "c", &err));
        check_ok(json_opt_double(root, key, 0, 1, &x, "c", &err));
        check_ok(json_opt_bool(root, key, &flag, "c", &err));
        check_ok(json_opt_string(root, key, &text, "c", &err));
    }
    assert_int_equal(n, 5);
    assert_true(x == 0.5 && flag);
    assert_string_equal(text, "kept");
    json_decref(root);
}

static void json_members_of_what_is_no_object_are_refused(void **state)
{
    (void)state;
    json_t *list = parse("[1]");
    uint64_t n = 5;
    check_fails(json_get_u64(list, "n", 0, 9, &n, "c", &err), ERR_FORMAT, "no object");
    check_fails(json_opt_u64(list, "n", 0, 9, &n, "c", &err), ERR_FORMAT, "no object");
    check_fails(json_opt_u64(NULL, "n", 0, 9, &n, "c", &err), ERR_FORMAT, "no object");
    assert_int_equal(n, 5);
    json_decref(list);
}

static void json_number_or_and_string_or_take_what_is_of_their_type_alone(void **state)
{
    (void)state;
    json_t *root =
        parse("{\"n\": 7, \"x\": 0.5, \"text\": \"t\", \"null\": null, \"list\": []}");
    const char *const others[] = {"text", "null", "list", "absent"};
    assert_true(json_number_or(root, "n", -1) == 7 && json_number_or(root, "x", -1) == 0.5);
    assert_string_equal(json_string_or(root, "text", "-"), "t");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_true(json_number_or(root, others[i], -1) == -1);
    for (size_t i = 1; i < sizeof others / sizeof others[0]; i++)
        assert_string_equal(json_string_or(root, others[i], "-"), "-");
    assert_string_equal(json_string_or(root, "n", "-"), "-");
    assert_true(json_number_or(NULL, "n", -1) == -1);
    assert_string_equal(json_string_or(json_object_get(root, "list"), "n", "-"), "-");
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_parse_names_the_place_of_what_is_not_json),
        cmocka_unit_test(json_parse_does_not_nest_without_end),
        cmocka_unit_test(json_read_file_reads_within_the_limit),
        cmocka_unit_test(json_get_reads_each_type_to_its_bounds),
        cmocka_unit_test(json_numbers_of_the_wrong_kind_or_size_are_refused_by_name),
        cmocka_unit_test(json_texts_and_flags_of_the_wrong_kind_are_refused_by_name),
        cmocka_unit_test(json_get_wants_the_member_and_opt_keeps_the_default),
        cmocka_unit_test(json_members_of_what_is_no_object_are_refused),
        cmocka_unit_test(json_number_or_and_string_or_take_what_is_of_their_type_alone),
    };
    return cmocka_run_group_tests_name("base/json", tests, NULL, NULL);
}
