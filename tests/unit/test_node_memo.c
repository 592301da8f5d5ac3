/*
 * test_node_memo.c -- what is kept is found again, damage is not, and two processes agree.
 *
 * The oracle is a plain array: what was put under a key, first come.  Damage is done to the file
 * through SQLite itself, from outside.
 */
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "node/memo.h"
#include "tests/test.h"

static char dir[64], path[FILE_PATH_MAX];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/memo-XXXXXX");
    return mkdtemp(dir) && file_join(path, dir, "memo.sqlite", NULL) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) ? -1 : 0;
}

static struct memo *open_memo(void)
{
    struct memo *memo = NULL;
    check_ok(memo_open(&memo, path, &err));
    return memo;
}

static struct hash key_of(uint32_t i)
{
    struct hash key;
    hash_blake2b(&key, &i, sizeof i);
    return key;
}

/* The value of key i, "" where there is none. */
static void want_value(struct memo *memo, uint32_t i, const char *want)
{
    struct buf value;
    const struct hash key = key_of(i);
    buf_init(&value, 4096);
    assert_int_equal(memo_find(memo, &key, &value), want[0] != '\0');
    buf_puts(&value, "");
    assert_string_equal(value.data ? value.data : "", want);
    buf_release(&value);
}

static void put(struct memo *memo, uint32_t i, const char *text)
{
    const struct hash key = key_of(i);
    memo_keep(memo, &key, text, strlen(text));
}

static void from_outside(const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void a_value_is_found_again_after_the_file_was_closed(void **state)
{
    (void)state;
    struct memo *memo = open_memo();
    want_value(memo, 1, "");
    put(memo, 1, "one");
    put(memo, 2, "two");
    want_value(memo, 1, "one");
    memo_close(memo);
    memo = open_memo();
    want_value(memo, 1, "one");
    want_value(memo, 2, "two");
    want_value(memo, 3, "");
    memo_close(memo);
}

static void the_first_value_of_a_key_stays(void **state)
{
    (void)state;
    struct memo *memo = open_memo();
    put(memo, 1, "one");
    put(memo, 1, "another");
    want_value(memo, 1, "one");
    memo_close(memo);
}

static void a_damaged_value_is_absent_and_gives_way(void **state)
{
    (void)state;
    struct memo *memo = open_memo();
    put(memo, 1, "one");
    put(memo, 2, "two");
    from_outside("UPDATE memo SET value=x'6f6e66' WHERE value=x'6f6e65'");
    want_value(memo, 1, "");
    want_value(memo, 2, "two");
    put(memo, 1, "one");
    want_value(memo, 1, "one");
    from_outside("UPDATE memo SET check_xxh3=check_xxh3+1");
    want_value(memo, 1, "");
    want_value(memo, 2, "");
    memo_close(memo);
}

static void a_value_that_does_not_fit_is_absent_and_stays(void **state)
{
    (void)state;
    struct memo *memo = open_memo();
    struct buf small;
    const struct hash key = key_of(1);
    put(memo, 1, "more than four bytes");
    buf_init(&small, 4);
    assert_false(memo_find(memo, &key, &small));
    buf_release(&small);
    want_value(memo, 1, "more than four bytes");
    memo_close(memo);
}

static void a_file_that_fails_is_used_no_more(void **state)
{
    (void)state;
    struct memo *memo = open_memo();
    put(memo, 1, "one");
    from_outside("ALTER TABLE memo RENAME TO gone");
    want_value(memo, 1, "");
    from_outside("ALTER TABLE gone RENAME TO memo");
    want_value(memo, 1, "");
    put(memo, 2, "two");
    memo_close(memo);
    memo = open_memo();
    want_value(memo, 1, "one");
    want_value(memo, 2, "");
    memo_close(memo);
}

static void what_is_no_memo_is_refused_by_name(void **state)
{
    (void)state;
    struct memo *memo = open_memo();
    memo_close(memo);
    from_outside("PRAGMA user_version = 9");
    check_fails(memo_open(&memo, path, &err), ERR_USAGE, "has schema 9");
    static const char text[] = "this is a shopping list, and longer than a SQLite header is, "
                               "which has a hundred bytes, so that it is looked into";
    check_ok(file_write(path, text, sizeof text, &err));
    check_fails(memo_open(&memo, path, &err), ERR_FORMAT, path);
    check_fails(memo_open(&memo, "/nowhere/memo.sqlite", &err), ERR_IO, "/nowhere/memo.sqlite");
}

#define WRITERS 4
#define KEYS    50

/* Each child opens the new file, puts all keys, and finds every one. */
static void writers_of_several_processes_lose_nothing(void **state)
{
    (void)state;
    pid_t child[WRITERS];
    for (int c = 0; c < WRITERS; c++) {
        child[c] = fork();
        if (child[c] != 0)
            continue;
        struct memo *memo = open_memo();
        for (uint32_t i = 0; i < KEYS; i++)
            put(memo, i + (uint32_t)c * KEYS / 2, "value");
        for (uint32_t i = 0; i < KEYS; i++)
            want_value(memo, i + (uint32_t)c * KEYS / 2, "value");
        memo_close(memo);
        _exit(0);
    }
    for (int c = 0; c < WRITERS; c++) {
        int status = -1;
        assert_int_equal(waitpid(child[c], &status, 0), child[c]);
        assert_int_equal(status, 0);
    }
    struct memo *memo = open_memo();
    for (uint32_t i = 0; i < KEYS + (WRITERS - 1) * KEYS / 2; i++)
        want_value(memo, i, "value");
    memo_close(memo);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_value_is_found_again_after_the_file_was_closed),
        CASE(the_first_value_of_a_key_stays),
        CASE(a_damaged_value_is_absent_and_gives_way),
        CASE(a_value_that_does_not_fit_is_absent_and_stays),
        CASE(a_file_that_fails_is_used_no_more),
        CASE(what_is_no_memo_is_refused_by_name),
        CASE(writers_of_several_processes_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
