/*
 * test_cli_inspect.c -- `rlhf inspect` of a model directory, of its file, and of what is
 * neither.
 *
 * Oracle: the published shape of stories260K (260,032 parameters; skipped where absent), read
 * back from the JSON.
 */
#include <jansson.h>

#include "base/file.h"
#include "tests/unit/cli_run.h"

#define STORIES TEST_SOURCE_DIR "/../shared/models/stories260K"

static void a_model_directory_is_explained(void **state)
{
    (void)state;
    if (!file_exists(STORIES))
        skip();
    assert_int_equal(run_line(cli_main, "rlhf inspect --json " STORIES), 0);
    json_t *root = json_loads(said, 0, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "family")), "LLAMA");
    assert_int_equal(json_integer_value(json_object_get(root, "layers")), 5);
    assert_int_equal(json_integer_value(json_object_get(root, "tokenizer_vocabulary")), 512);
    assert_int_equal(json_integer_value(json_object_get(root, "elements")), 260032);
    const json_t *tensors = json_object_get(root, "tensors");
    assert_int_equal(json_array_size(tensors), 5 * 9 + 2);
    json_decref(root);
    check_line(cli_main, "rlhf inspect " STORIES, 0, "heads         8, 4 of keys and values");
    check_line(cli_main, "rlhf inspect " STORIES "/config.json", 0, "layers        5");
    check_line(cli_main, "rlhf inspect --json " STORIES "/config.json", 0, "{\"family\"");
    check_line(cli_main, "rlhf inspect " STORIES "/model.safetensors", 0, "260032 numbers");
}

static void what_is_neither_is_named(void **state)
{
    (void)state;
    check_line(cli_main, "rlhf inspect /nonexistent", 74, "/nonexistent");
    check_line(cli_main, "rlhf inspect /etc/passwd", 65, "/etc/passwd: neither");
    check_line(cli_main, "rlhf inspect /etc", 74, "/etc/config.json");
    check_line(cli_main, "rlhf inspect", 64, "an argument is missing");
    check_line(cli_main, "rlhf inspect a b", 64, "`b` is one argument too many");

    char dir[] = "/tmp/test_cli_inspect.XXXXXX", path[64], line[128];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/huge.safetensors", dir);
    check_ok(file_write(path, "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10, &err));
    snprintf(line, sizeof line, "rlhf inspect %s", path);
    check_line(cli_main, line, 65, path);
    check_ok(file_remove_tree(dir, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_directory_is_explained),
        cmocka_unit_test(what_is_neither_is_named),
    };
    return cmocka_run_group_tests_name("cli/inspect", tests, NULL, NULL);
}
