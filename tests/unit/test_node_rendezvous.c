/*
 * test_node_rendezvous.c -- the file by which workers find a coordinator.
 *
 * Oracle: the two lines of node/rendezvous.h, written here by hand.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "node/rendezvous.h"
#include "tests/test.h"

static char dir[32], path[FILE_PATH_MAX];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/rendezvous-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    return file_join(path, dir, "rendezvous", NULL);
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

static void write_text(const char *text)
{
    check_ok(file_write_private(path, text, strlen(text), &err));
}

static void rendezvous_is_two_lines_that_only_their_owner_reads(void **state)
{
    (void)state;
    struct stat info;
    struct buf text;
    char control[WIRE_ENDPOINT_MAX];
    buf_init(&text, 4096);
    check_ok(rendezvous_write(path, "4711.0", "tcp://10.0.0.1:40217", &err));
    check_ok(file_read(path, &text, &err));
    buf_puts(&text, "");
    assert_string_equal(text.data, "job 4711.0\ncontrol tcp://10.0.0.1:40217\n");
    buf_release(&text);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    check_ok(rendezvous_read(path, "4711.0", control, &err));
    assert_string_equal(control, "tcp://10.0.0.1:40217");
}

/* A file somebody left with a wider mode is no reason to publish into it. */
static void rendezvous_is_private_where_its_temporary_was_left_by_another(void **state)
{
    (void)state;
    struct stat info;
    char left[FILE_PATH_MAX];
    check_ok(file_join(left, dir, "rendezvous.tmp", &err));
    check_ok(file_write(left, "x", 1, &err));
    check_ok(rendezvous_write(path, "1", "ipc:///x", &err));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
}

static void rendezvous_of_an_earlier_start_is_not_believed(void **state)
{
    (void)state;
    char control[WIRE_ENDPOINT_MAX] = "as before";
    check_fails(rendezvous_read(path, "4711.1", control, &err), ERR_UNAVAILABLE,
                "is not there");
    check_ok(rendezvous_write(path, "4711.0", "tcp://10.0.0.1:40217", &err));
    check_fails(rendezvous_read(path, "4711.1", control, &err), ERR_UNAVAILABLE,
                "is of job 4711.0, not of 4711.1");
    check_fails(rendezvous_read(path, "4711", control, &err), ERR_UNAVAILABLE, "4711.0");
    assert_string_equal(control, "as before");
    check_ok(rendezvous_write(path, "4711.1", "tcp://10.0.0.2:1", &err));
    check_ok(rendezvous_read(path, "4711.1", control, &err));
    assert_string_equal(control, "tcp://10.0.0.2:1");
}

static void rendezvous_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "job 1\n", "job 1 control",
                                        "control ipc:///x\njob 1\n",
                                        "job 1\ncontrol ipc:///x\nmore\n"};
    char control[WIRE_ENDPOINT_MAX], big[2048];
    for (size_t i = 0; i < COUNT(texts); i++) {
        write_text(texts[i]);
        check_fails(rendezvous_read(path, "1", control, &err), ERR_FORMAT, path);
    }
    memset(big, 'x', sizeof big);
    big[sizeof big - 1] = '\0';
    write_text(big);
    check_fails(rendezvous_read(path, "1", control, &err), ERR_FORMAT, "2047 bytes");
    snprintf(big, sizeof big, "job 1\ncontrol %0*d\n", WIRE_ENDPOINT_MAX, 0);
    write_text(big);
    check_fails(rendezvous_read(path, "1", control, &err), ERR_FORMAT, path);
}

static void rendezvous_that_others_may_write_is_refused(void **state)
{
    (void)state;
    char control[WIRE_ENDPOINT_MAX], other[FILE_PATH_MAX];
    check_ok(rendezvous_write(path, "1", "ipc:///x", &err));
    assert_int_equal(chmod(path, 0660), 0);
    check_fails(rendezvous_read(path, "1", control, &err), ERR_STATE, "only user");
    assert_int_equal(chmod(path, 0600), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 1, 1), 0);
        check_fails(rendezvous_read(path, "1", control, &err), ERR_STATE, "only user 0");
        assert_int_equal(chown(path, 0, 0), 0);
    }
    check_ok(file_join(other, dir, "link", &err));
    assert_int_equal(symlink(path, other), 0);
    check_fails(rendezvous_read(other, "1", control, &err), ERR_IO, other);
    check_fails(rendezvous_read(dir, "1", control, &err), ERR_STATE, "is not a file");
}

static void rendezvous_is_removed_by_the_job_it_is_of(void **state)
{
    (void)state;
    check_ok(rendezvous_write(path, "2", "ipc:///x", &err));
    rendezvous_remove(path, "1");
    assert_true(file_exists(path));
    rendezvous_remove(path, "2");
    assert_false(file_exists(path));
    rendezvous_remove(path, "2");
}

static void job_is_a_word(void **state)
{
    (void)state;
    char most[RENDEZVOUS_JOB_MAX + 1];
    memset(most, 'j', sizeof most - 1);
    most[sizeof most - 1] = '\0';
    check_ok(rendezvous_job_check("4711.0", &err));
    check_ok(rendezvous_job_check(most + 1, &err));
    check_fails(rendezvous_job_check(most, &err), ERR_USAGE, "1 to 63 characters");
    check_fails(rendezvous_job_check("", &err), ERR_USAGE, "--job");
    check_fails(rendezvous_job_check("1 2", &err), ERR_USAGE, "\"1 2\"");
    check_fails(rendezvous_job_check("1\n", &err), ERR_USAGE, "--job");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(rendezvous_is_two_lines_that_only_their_owner_reads),
        TEST(rendezvous_is_private_where_its_temporary_was_left_by_another),
        TEST(rendezvous_of_an_earlier_start_is_not_believed),
        TEST(rendezvous_that_is_none_is_refused),
        TEST(rendezvous_that_others_may_write_is_refused),
        TEST(rendezvous_is_removed_by_the_job_it_is_of),
        TEST(job_is_a_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
