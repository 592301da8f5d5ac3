/*
 * test_cli_progress.c -- the line that `rlhf run` prints for a step.
 *
 * Oracle: the numbers of the JSON line that the coordinator wrote.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/progress.h"
#include "tests/test.h"

static char path[] = "/tmp/rlhf-progress-XXXXXX";

/* What is printed for this line of progress.jsonl. */
static void print(const char *line, char *said, size_t size)
{
    struct progress progress;
    check_ok(file_write(path, line, strlen(line), &err));
    FILE *out = fmemopen(said, size, "w");
    assert_non_null(out);
    progress_open(&progress, path, false, false);
    check_ok(progress_poll(&progress, out, &err));
    fclose(out);
}

static void a_step_is_shown_with_its_numbers(void **state)
{
    (void)state;
    char said[512];
    print(
        "{\"step\": 2, \"steps\": 9, \"reward_shaped_mean\": 0.5, \"reward_raw_mean\": -1.25, "
        "\"kl_mean\": 3.5, \"kl_coef\": 0.01, \"eta_s\": 61}\n",
        said, sizeof said);
    assert_non_null(strstr(said, "step     3/9 "));
    assert_non_null(strstr(said, "reward   0.500  raw  -1.250  kl   3.50  beta 0.0100"));
    assert_non_null(strstr(said, "ETA 1:01"));
    assert_null(strstr(said, "cost"));
}

/* The coordinator writes null for a mean that is not finite. */
static void a_mean_without_a_number_is_not_shown_as_0(void **state)
{
    (void)state;
    char said[512];
    print(
        "{\"step\": 0, \"steps\": 9, \"reward_shaped_mean\": 0.5, \"reward_raw_mean\": null}\n",
        said, sizeof said);
    assert_non_null(strstr(said, "raw     nan"));
}

static void a_line_that_is_still_being_written_is_not_shown(void **state)
{
    (void)state;
    char said[512] = "";
    print("{\"step\": 0, \"steps\": 9", said, sizeof said);
    assert_string_equal(said, "");
}

static int make_file(void **state)
{
    (void)state;
    const int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_is_shown_with_its_numbers),
        cmocka_unit_test(a_mean_without_a_number_is_not_shown_as_0),
        cmocka_unit_test(a_line_that_is_still_being_written_is_not_shown),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
