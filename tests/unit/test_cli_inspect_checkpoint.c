/*
 * test_cli_inspect_checkpoint.c -- `rlhf inspect` of a checkpoint, whole and spoilt.
 *
 * Oracle: the hashes are those of coreutils' `b2sum -l 256`, of the very bytes written here.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <jansson.h>

#include "base/file.h"
#include "tests/unit/cli_run.h"

#define ABC   "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"
#define EMPTY "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"
#define STATE "8932eeba2e657141e20c009c7c1fcc0eff984e91ba83a50097f93ea0e048b2d1"

#define FILE_ROW(name, bytes, hex) \
    "{\"name\": \"" name "\", \"bytes\": " bytes ", \"blake2b\": \"" hex "\"}"
#define MANIFEST(rows) "{\"format\": 1, \"files\": [" rows "]}\n"
#define STATE_ROW      FILE_ROW("STATE.json", "115", STATE)
#define ALL_ROWS \
    STATE_ROW "," FILE_ROW("policy/abc", "3", ABC) "," FILE_ROW("policy/empty", "0", EMPTY)

static char dir[64];

static void write_text(const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, name, &err));
    check_ok(file_write(path, text, strlen(text), &err));
}

static int make_checkpoint(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    snprintf(dir, sizeof dir, "/tmp/test_cli_inspect_checkpoint.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    check_ok(file_join(path, dir, "policy", &err));
    check_ok(file_make_dir(path, &err));
    write_text("STATE.json",
               "{\"version\": 7, \"config\": \"00\", \"policy_updates\": 14, "
               "\"critic_updates\": 0, \"cost_critic_updates\": 0, \"history\": []}\n");
    write_text("policy/abc", "abc");
    write_text("policy/empty", "");
    write_text("MANIFEST.json", MANIFEST(ALL_ROWS));
    return 0;
}

static int remove_checkpoint(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

static void remove_file(const char *name)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, name, &err));
    assert_int_equal(unlink(path), 0);
}

/* `rlhf inspect` of it ends with `code` and says each of the words. */
static void check_inspect(const char *options, int code, const char *a, const char *b)
{
    char line[256];
    snprintf(line, sizeof line, "rlhf inspect %s%s", dir, options);
    check_line(cli_main, line, code, a);
    if (b && !strstr(said, b))
        fail_msg("it did not say \"%s\":\n%s", b, said);
}

static void a_whole_checkpoint_is_confirmed(void **state)
{
    (void)state;
    check_inspect("", 0, "  version       7\n", "14 of the policy, 0 of the critic");
    check_inspect("", 0, "  ok                 3  policy/abc\n",
                  "  ok                 0  policy/empty\n");
    assert_null(strstr(said, "WRONG"));
    check_inspect(" --json", 0, "\"whole\": true", NULL);
    json_t *root = json_loads(said, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(root, "version")), 7);
    assert_int_equal(json_array_size(json_object_get(root, "files")), 3);
    json_decref(root);
}

static void each_file_that_differs_is_named(void **state)
{
    (void)state;
    write_text("policy/abc", "abd");
    check_inspect("", 65, "WRONG              3  policy/abc: its BLAKE2b is another\n",
                  "1 of 3 files are not what the manifest says");
    write_text("policy/empty", "x");
    check_inspect("", 65, "policy/empty: it has 1 bytes\n", "2 of 3 files");
    remove_file("policy/abc");
    check_inspect("", 65, "policy/abc: it is not there\n",
                  "  ok               115  STATE.json\n");
    write_text("policy/more", "1");
    check_inspect("", 65, "policy/more: the manifest does not name it\n", "3 of 4 files");
    check_inspect(" --json", 65, "\"whole\": false", "\"wrong\": \"it is not there\"");
}

static void a_checkpoint_that_was_not_finished_says_so(void **state)
{
    (void)state;
    remove_file("MANIFEST.json");
    check_inspect("", 65, "has no MANIFEST.json, which is written last", NULL);
}

static void a_manifest_that_is_none_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *manifest, *says;
    } cases[] = {
        {"{", "MANIFEST.json"},
        {MANIFEST(""), "MANIFEST.json names no files"},
        {MANIFEST(STATE_ROW "," FILE_ROW("../../etc/passwd", "1", ABC)), "leads out of"},
        {MANIFEST(STATE_ROW "," FILE_ROW("/etc/passwd", "1", ABC)), "leads out of"},
        {MANIFEST(STATE_ROW "," FILE_ROW("policy/abc", "3", "zz")), "hex"},
        {MANIFEST(STATE_ROW "," FILE_ROW("policy/abc", "-3", ABC)), "bytes"},
        {MANIFEST(STATE_ROW ",{\"name\": 3}"), "name"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_text("MANIFEST.json", cases[i].manifest);
        check_inspect("", 65, cases[i].says, NULL);
        assert_null(strstr(said, "version")); /* half an explanation is none */
    }
    write_text("MANIFEST.json", MANIFEST(ALL_ROWS));
    write_text("STATE.json", "{}");
    check_inspect("", 65, "STATE.json", "version");
    remove_file("STATE.json");
    check_inspect("", 74, "STATE.json", NULL);
}

#define checkpoint_test(f) \
    cmocka_unit_test_setup_teardown(f, make_checkpoint, remove_checkpoint)

int main(void)
{
    const struct CMUnitTest tests[] = {
        checkpoint_test(a_whole_checkpoint_is_confirmed),
        checkpoint_test(each_file_that_differs_is_named),
        checkpoint_test(a_checkpoint_that_was_not_finished_says_so),
        checkpoint_test(a_manifest_that_is_none_is_refused),
    };
    return cmocka_run_group_tests_name("cli/inspect/checkpoint", tests, NULL, NULL);
}
