/* wrap: write fsync rename read pread */
/*
 * test_base_file.c -- whole files, on a disk that can be told to fail.
 *
 * The linker sends write(), fsync(), rename(), read() and pread() here, so that a test can
 * make the disk interrupt, take less than it was given, or refuse, and can see in which order
 * it was asked.  What must then be on the disk is read back with stdio, which shares no code.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/test.h"

static struct {
    size_t most;        /* bytes that one write(), read() or pread() takes */
    int interrupts;     /* how many of these calls still fail with EINTR */
    size_t room;        /* bytes until write() fails with ENOSPC */
    int fsync_fails_at; /* 1: the first fsync() fails, 2: the second; 0: none */
    bool rename_fails;  /* with EACCES */
    int fsyncs;
    char calls[64];   /* "w", "f", "r": what was called, in order */
    char synced[256]; /* what the last fsync() was of */
} disk;

ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __real_read(int fd, void *bytes, size_t size);
ssize_t __wrap_read(int fd, void *bytes, size_t size);
ssize_t __real_pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *bytes, size_t size, off_t offset);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);

static void disk_note(char call)
{
    const size_t n = strlen(disk.calls);
    if (n + 1 < sizeof disk.calls)
        disk.calls[n] = call;
}

static bool disk_interrupts(void)
{
    if (disk.interrupts == 0)
        return false;
    disk.interrupts--;
    errno = EINTR;
    return true;
}

ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    if (fd <= STDERR_FILENO) /* the test program's own report */
        return __real_write(fd, bytes, size);
    disk_note('w');
    if (disk_interrupts())
        return -1;
    if (disk.room == 0) {
        errno = ENOSPC;
        return -1;
    }
    size = size < disk.most ? size : disk.most;
    size = size < disk.room ? size : disk.room;
    disk.room -= size;
    return __real_write(fd, bytes, size);
}

ssize_t __wrap_read(int fd, void *bytes, size_t size)
{
    if (disk_interrupts())
        return -1;
    return __real_read(fd, bytes, size < disk.most ? size : disk.most);
}

ssize_t __wrap_pread(int fd, void *bytes, size_t size, off_t offset)
{
    if (disk_interrupts())
        return -1;
    return __real_pread(fd, bytes, size < disk.most ? size : disk.most, offset);
}

int __wrap_fsync(int fd)
{
    disk_note('f');
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, disk.synced, sizeof disk.synced - 1);
    disk.synced[n > 0 ? n : 0] = '\0';
    if (++disk.fsyncs == disk.fsync_fails_at) {
        errno = EIO;
        return -1;
    }
    return __real_fsync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
    disk_note('r');
    if (disk.rename_fails) {
        errno = EACCES;
        return -1;
    }
    return __real_rename(from, to);
}

static void disk_heal(void)
{
    memset(&disk, 0, sizeof disk);
    disk.most = disk.room = SIZE_MAX;
}

static char dir[] = "/tmp/rlhf-file-XXXXXX";
static char path[FILE_PATH_MAX];

static int set_up(void **state)
{
    (void)state;
    disk_heal();
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    return file_join(path, dir, "file", NULL);
}

static int tear_down(void **state)
{
    (void)state;
    disk_heal();
    return file_remove_tree(dir, NULL);
}

static void put(const char *where, const char *text)
{
    FILE *file = fopen(where, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void check_file(const char *where, const char *want)
{
    char got[4096];
    FILE *file = fopen(where, "rb");
    assert_non_null(file);
    const size_t n = fread(got, 1, sizeof got - 1, file);
    fclose(file);
    got[n] = '\0';
    assert_string_equal(got, want);
}

/* How many names there are in `where`, "." and ".." among them. */
static int names_in(const char *where)
{
    DIR *open_dir = opendir(where);
    assert_non_null(open_dir);
    int n = 0;
    while (readdir(open_dir))
        n++;
    closedir(open_dir);
    return n;
}

static void file_write_puts_the_bytes_there_and_nothing_beside_them(void **state)
{
    (void)state;
    check_ok(file_write(path, "new", 3, &err));
    check_file(path, "new");
    check_ok(file_write(path, "newer", 5, &err));
    check_file(path, "newer");
    check_ok(file_write(path, NULL, 0, &err));
    check_file(path, "");
    assert_int_equal(names_in(dir), 3);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0700, 0600);
}

static void file_write_is_durable_before_and_after_the_rename(void **state)
{
    (void)state;
    check_ok(file_write(path, "new", 3, &err));
    assert_string_equal(disk.calls, "wfrf");
    assert_string_equal(disk.synced, dir);
}

static void file_write_goes_on_after_a_short_write_and_an_interrupt(void **state)
{
    (void)state;
    disk.most = 2;
    disk.interrupts = 3;
    check_ok(file_write(path, "0123456789", 10, &err));
    check_file(path, "0123456789");
}

/* Whatever fails, `want` is what stands there after, whole, and no temporary beside it. */
static void check_failing_write(const char *words, const char *want)
{
    const int fds_before = names_in("/proc/self/fd");
    check_fails(file_write(path, "new and longer", 14, &err), ERR_IO, words);
    disk_heal();
    check_file(path, want);
    assert_int_equal(names_in(dir), 3);
    assert_int_equal(names_in("/proc/self/fd"), fds_before);
}

static void file_write_leaves_the_old_file_whole_when_the_disk_is_full(void **state)
{
    (void)state;
    for (size_t room = 0; room < 14; room++) {
        put(path, "old");
        disk.room = room;
        disk.most = 3;
        check_failing_write("/file.tmp: No space left on device", "old");
    }
}

static void file_write_leaves_the_old_file_whole_when_fsync_fails(void **state)
{
    (void)state;
    put(path, "old");
    disk.fsync_fails_at = 1;
    check_failing_write("fsync /tmp/", "old");
}

static void file_write_leaves_the_old_file_whole_when_rename_fails(void **state)
{
    (void)state;
    put(path, "old");
    disk.rename_fails = true;
    check_failing_write("/file: Permission denied", "old");
}

static void file_write_says_when_the_new_name_may_not_be_durable(void **state)
{
    (void)state;
    put(path, "old");
    disk.fsync_fails_at = 2;
    check_failing_write("fsync directory /tmp/", "new and longer");
}

static void file_write_names_a_directory_that_is_not_there(void **state)
{
    (void)state;
    check_ok(file_join(path, dir, "no/file", &err));
    check_fails(file_write(path, "x", 1, &err), ERR_IO, "/no/file.tmp: No such file");
    char too_long[FILE_PATH_MAX + 10];
    memset(too_long, 'p', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = '\0';
    check_fails(file_write(too_long, "x", 1, &err), ERR_VALUE, "path is over");
}

static void file_write_never_writes_through_a_symlink(void **state)
{
    (void)state;
    char tmp[FILE_PATH_MAX], victim[FILE_PATH_MAX];
    check_ok(file_join(tmp, dir, "file.tmp", &err));
    check_ok(file_join(victim, dir, "victim", &err));
    put(victim, "mine");
    assert_int_equal(symlink(victim, tmp), 0);
    check_fails(file_write(path, "new", 3, &err), ERR_IO, "create ");
    check_file(victim, "mine");
}

static void file_write_takes_a_relative_path(void **state)
{
    (void)state;
    char before[FILE_PATH_MAX];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(dir), 0);
    check_ok(file_write("plain", "x", 1, &err));
    check_file("plain", "x");
    assert_string_equal(disk.synced, dir);
    check_ok(file_make_dir("d", &err));
    check_ok(file_write("d/file", "y", 1, &err));
    check_file("d/file", "y");
    assert_int_equal(chdir(before), 0);
    check_ok(file_join(path, dir, "d", &err));
    assert_string_equal(disk.synced, path);
}

static void file_read_appends_up_to_what_the_buffer_may_hold(void **state)
{
    (void)state;
    put(path, "0123456789");
    struct buf out;
    buf_init(&out, 14);
    buf_puts(&out, "abcd");
    disk.most = 3;
    disk.interrupts = 2;
    check_ok(file_read(path, &out, &err));
    assert_string_equal(out.data, "abcd0123456789");
    buf_release(&out);

    buf_init(&out, 13);
    buf_puts(&out, "abcd");
    check_fails(file_read(path, &out, &err), ERR_VALUE, "file is larger than the 9 bytes");
    assert_string_equal(out.data, "abcd");
    assert_false(out.failed);
    buf_release(&out);
}

static void file_read_takes_an_empty_file_and_a_large_one(void **state)
{
    (void)state;
    enum { LARGE = 200001 };
    char *large = malloc(LARGE);
    assert_non_null(large);
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (char)(i * 31 >> 3);
    check_ok(file_write(path, large, LARGE, &err));
    struct buf out;
    buf_init(&out, LARGE);
    check_ok(file_read(path, &out, &err));
    assert_int_equal(out.len, LARGE);
    assert_memory_equal(out.data, large, LARGE);
    free(large);
    buf_release(&out);

    put(path, "");
    buf_init(&out, 0);
    check_ok(file_read(path, &out, &err));
    assert_string_equal(out.data, "");
    buf_release(&out);
}

/* What the system makes up as it is read is said to have no size. */
static void file_read_bounds_a_file_that_has_more_than_its_size_says(void **state)
{
    (void)state;
    struct buf out;
    for (disk.most = 1; disk.most < 64; disk.most *= 2) {
        buf_init(&out, 34);
        buf_puts(&out, "ab");
        check_fails(file_read("/proc/self/maps", &out, &err), ERR_VALUE,
                    "/proc/self/maps is larger than the 32 bytes");
        assert_string_equal(out.data, "ab");
        assert_int_equal(out.len, 2);
        buf_release(&out);
    }
}

static void file_read_refuses_what_is_no_regular_file(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 100);
    check_fails(file_read(path, &out, &err), ERR_IO, "/file: No such file or directory");
    check_fails(file_read(dir, &out, &err), ERR_IO, "is not a regular file");
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes to it: no waiting either */
    check_fails(file_read(path, &out, &err), ERR_IO, "/file is not a regular file");
    buf_release(&out);
}

static void file_pread_all_reads_exactly_there_or_says_where_the_file_ends(void **state)
{
    (void)state;
    put(path, "0123456789");
    int fd;
    uint64_t size_bytes;
    check_ok(file_open_read(path, &fd, &size_bytes, &err));
    assert_int_equal(size_bytes, 10);
    char got[8] = "";
    disk.most = 3;
    disk.interrupts = 2;
    check_ok(file_pread_all(fd, got, 7, 3, path, &err));
    assert_string_equal(got, "3456789");
    check_ok(file_pread_all(fd, got, 0, 10, path, &err));
    check_fails(file_pread_all(fd, got, 8, 3, path, &err), ERR_FORMAT,
                "/file ends at offset 10, 1 bytes too early");
    check_fails(file_pread_all(fd, got, 1, UINT64_MAX, path, &err), ERR_FORMAT, "/file: no");
    check_fails(file_pread_all(fd, got, SIZE_MAX, 1, path, &err), ERR_FORMAT, "/file: no");
    close(fd);
    check_fails(file_pread_all(fd, got, 1, 0, path, &err), ERR_IO, "Bad file descriptor");
}

static void file_join_puts_one_slash_and_stays_within_its_array(void **state)
{
    (void)state;
    char joined[FILE_PATH_MAX], name[FILE_PATH_MAX];
    check_ok(file_join(joined, "a", "b", &err));
    assert_string_equal(joined, "a/b");
    check_ok(file_join(joined, "/", "b", &err));
    assert_string_equal(joined, "/b");
    memset(name, 'n', sizeof name);
    name[FILE_PATH_MAX - 3] = '\0'; /* with "a/" it fills the array to the NUL */
    check_ok(file_join(joined, "a", name, &err));
    assert_int_equal(strlen(joined), FILE_PATH_MAX - 1);
    check_fails(file_join(joined, "aa", name, &err), ERR_VALUE, "path is over 1023 bytes");
}

static void file_make_dir_makes_what_is_missing_of_the_path(void **state)
{
    (void)state;
    check_ok(file_join(path, dir, "a//b/c/", &err));
    check_ok(file_make_dir(path, &err));
    check_ok(file_make_dir(path, &err));
    check_ok(file_join(path, dir, "a/b/c/file", &err));
    check_ok(file_write(path, "x", 1, &err));
    check_fails(file_make_dir(path, &err), ERR_IO, "/a/b/c/file is there, and is no directory");
    check_ok(file_join(path, dir, "a/b/c/file/below", &err));
    check_fails(file_make_dir(path, &err), ERR_IO, "/a/b/c/file is there, and is no directory");
    check_fails(file_make_dir("", &err), ERR_VALUE, "empty");
}

static void file_remove_tree_removes_links_but_not_what_they_name(void **state)
{
    (void)state;
    char tree[FILE_PATH_MAX], kept[FILE_PATH_MAX], link[FILE_PATH_MAX];
    check_ok(file_join(tree, dir, "tree/a/b/c", &err));
    check_ok(file_make_dir(tree, &err));
    check_ok(file_join(path, tree, "file", &err));
    put(path, "x");
    check_ok(file_join(kept, dir, "kept", &err));
    check_ok(file_make_dir(kept, &err));
    check_ok(file_join(path, kept, "file", &err));
    put(path, "kept");
    check_ok(file_join(link, tree, "link", &err));
    assert_int_equal(symlink(kept, link), 0);
    check_ok(file_join(link, tree, "dangling", &err));
    assert_int_equal(symlink("/no/such", link), 0);

    const int fds_before = names_in("/proc/self/fd");
    check_ok(file_join(tree, dir, "tree", &err));
    assert_true(file_exists(tree));
    check_ok(file_remove_tree(tree, &err));
    assert_false(file_exists(tree));
    check_ok(file_remove_tree(tree, &err)); /* absent is OK */
    check_file(path, "kept");

    check_ok(file_join(link, dir, "link", &err));
    assert_int_equal(symlink(kept, link), 0);
    check_fails(file_remove_tree(link, &err), ERR_IO, "open directory ");
    check_file(path, "kept");
    assert_int_equal(names_in("/proc/self/fd"), fds_before);
}

static void file_remove_tree_gives_up_on_a_tree_without_end(void **state)
{
    (void)state;
    char deep[FILE_PATH_MAX];
    size_t len = (size_t)snprintf(deep, sizeof deep, "%s", dir);
    for (int i = 0; i < 70; i++)
        len += (size_t)snprintf(deep + len, sizeof deep - len, "/d");
    check_ok(file_make_dir(deep, &err));
    check_fails(file_remove_tree(dir, &err), ERR_IO, "directories are over 64 deep");
    for (int i = 0; i < 10; i++) { /* shallow enough for the tear-down */
        assert_int_equal(rmdir(deep), 0);
        deep[strlen(deep) - 2] = '\0';
    }
}

static void file_next_line_gives_each_line_once(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        const char *lines[4];
    } cases[] = {
        {"", 0, {0}},
        {"\n", 1, {""}},
        {"a", 1, {"a"}},
        {"a\n", 1, {"a"}},
        {"a\n\nbc\r\nd", 4, {"a", "", "bc\r", "d"}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *cursor = cases[i].text, *line;
        const char *end = cursor + strlen(cursor);
        size_t len, n = 0;
        while (file_next_line(&cursor, end, &line, &len)) {
            assert_true(n < cases[i].n);
            assert_int_equal(len, strlen(cases[i].lines[n]));
            assert_memory_equal(line, cases[i].lines[n], len);
            n++;
        }
        assert_int_equal(n, cases[i].n);
        assert_false(file_next_line(&cursor, end, &line, &len));
    }
}

#define on_disk(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_disk(file_write_puts_the_bytes_there_and_nothing_beside_them),
        on_disk(file_write_is_durable_before_and_after_the_rename),
        on_disk(file_write_goes_on_after_a_short_write_and_an_interrupt),
        on_disk(file_write_leaves_the_old_file_whole_when_the_disk_is_full),
        on_disk(file_write_leaves_the_old_file_whole_when_fsync_fails),
        on_disk(file_write_leaves_the_old_file_whole_when_rename_fails),
        on_disk(file_write_says_when_the_new_name_may_not_be_durable),
        on_disk(file_write_names_a_directory_that_is_not_there),
        on_disk(file_write_never_writes_through_a_symlink),
        on_disk(file_write_takes_a_relative_path),
        on_disk(file_read_appends_up_to_what_the_buffer_may_hold),
        on_disk(file_read_takes_an_empty_file_and_a_large_one),
        on_disk(file_read_bounds_a_file_that_has_more_than_its_size_says),
        on_disk(file_read_refuses_what_is_no_regular_file),
        on_disk(file_pread_all_reads_exactly_there_or_says_where_the_file_ends),
        on_disk(file_join_puts_one_slash_and_stays_within_its_array),
        on_disk(file_make_dir_makes_what_is_missing_of_the_path),
        on_disk(file_remove_tree_removes_links_but_not_what_they_name),
        on_disk(file_remove_tree_gives_up_on_a_tree_without_end),
        cmocka_unit_test(file_next_line_gives_each_line_once),
    };
    return cmocka_run_group_tests_name("base/file", tests, NULL, NULL);
}
