/* wrap: write */
/*
 * test_base_log.c -- the line a person reads, as it comes out of a pipe.
 *
 * The oracle is the format in log.h, as a regular expression, and the clock of the system
 * around the call.  The linker sends write() here, to count how often it is called and to
 * let it fail.
 */
#include <errno.h>
#include <pthread.h>
#include <regex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/test.h"

static atomic_int writes;
static int write_interrupts; /* how many write() calls still fail with EINTR */

ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);

ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    if (write_interrupts > 0) {
        write_interrupts--;
        errno = EINTR;
        return -1;
    }
    atomic_fetch_add(&writes, 1);
    return __real_write(fd, bytes, size);
}

static int ends[2]; /* of the pipe that the log writes to */
static char got[1 << 16];

static int open_pipe(void **state)
{
    (void)state;
    if (pipe(ends) < 0)
        return -1;
    log_open("coordinator", ends[1], LOG_LEVEL_INFO);
    atomic_store(&writes, 0);
    return 0;
}

static int close_pipe(void **state)
{
    (void)state;
    log_open("-", STDERR_FILENO, LOG_LEVEL_INFO);
    close(ends[0]);
    return ends[1] >= 0 ? close(ends[1]) : 0;
}

/* What is in the pipe, as a string; closes the end that the log writes to. */
static const char *read_pipe(void)
{
    close(ends[1]);
    ends[1] = -1;
    size_t n = 0;
    for (ssize_t piece; (piece = read(ends[0], got + n, sizeof got - 1 - n)) > 0;)
        n += (size_t)piece;
    got[n] = '\0';
    return got;
}

#define STAMP "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z "

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    const bool found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

static void check_line(const char *line, const char *pattern)
{
    if (!matches(line, pattern))
        fail_msg("\"%s\" does not match %s", line, pattern);
}

static void log_line_has_the_format_of_the_header_in_one_write(void **state)
{
    (void)state;
    log_warn("LEASE-EXPIRED", "lease %d of %s expired", 17, "actor-1");
    assert_int_equal(atomic_load(&writes), 1);
    check_line(read_pipe(), STAMP "WARN LEASE-EXPIRED coordinator "
                                  "\"lease 17 of actor-1 expired\"\n$");
}

static void log_line_is_stamped_with_utc(void **state)
{
    (void)state;
    assert_int_equal(setenv("TZ", "XYZ-9:30", 1), 0); /* local time is not to be seen */
    tzset();
    char stamps[2][32];
    for (int after = 0; after < 2; after++) {
        const int64_t wall_ms = clock_wall_ms();
        const time_t seconds = (time_t)(wall_ms / 1000);
        struct tm utc;
        gmtime_r(&seconds, &utc);
        const size_t n = strftime(stamps[after], 32, "%Y-%m-%dT%H:%M:%S", &utc);
        snprintf(stamps[after] + n, 32 - n, ".%03dZ", (int)(wall_ms % 1000));
        if (!after)
            log_info("TICK", "now");
    }
    assert_int_equal(unsetenv("TZ"), 0);
    const char *line = read_pipe();
    assert_true(strncmp(stamps[0], line, 24) <= 0); /* ISO 8601 sorts as time does */
    assert_true(strncmp(line, stamps[1], 24) <= 0);
}

static void log_line_below_the_threshold_is_not_written(void **state)
{
    (void)state;
    log_open("actor", ends[1], LOG_LEVEL_WARN);
    log_debug("A", "no");
    log_info("B", "no");
    log_warn("C", "yes");
    log_error("D", "yes");
    check_line(read_pipe(), STAMP "WARN C actor \"yes\"\n[^ ]+ ERROR D actor \"yes\"\n$");
    assert_int_equal(atomic_load(&writes), 2);
}

static void log_line_stays_one_line_whatever_the_message_holds(void **state)
{
    (void)state;
    log_info("QUOTE", "%s", "he said \"no\\yes\"\nx\t\x1b[2J\x7f \xc3\xa9");
    check_line(read_pipe(), STAMP "INFO QUOTE coordinator "
                                  "\"he said \\\\\"no\\\\\\\\yes\\\\\"\\\\nx\\\\x09\\\\x1b\\[2J"
                                  "\\\\x7f \xc3\xa9\"\n$");
}

/* Also one that grows to four times its size between the quotes. */
static void log_line_that_is_too_long_is_cut_and_says_so(void **state)
{
    (void)state;
    static const char fill[] = {'x', '\x01'};
    for (size_t i = 0; i < COUNT(fill); i++) {
        char large[3 * LOG_LINE_MAX];
        memset(large, fill[i], sizeof large - 1);
        large[sizeof large - 1] = '\0';
        log_info("LONG", "%s", large);
    }
    const char *first = read_pipe();
    const char *second = strchr(first, '\n') + 1;
    assert_int_equal(second - first, LOG_LINE_MAX);
    assert_true(strlen(second) <= LOG_LINE_MAX);
    assert_true(strlen(second) > LOG_LINE_MAX - 4);
    assert_int_equal(strncmp(second - 7, "xx...\"\n", 7), 0);
    check_line(second, "\\\\x01\\.\\.\\.\"\n$");
    assert_int_equal(atomic_load(&writes), 2);
}

/* These lengths lie on both sides of the longest that fits, and a pipe holds all of them. */
enum { NEAR_FIRST = LOG_LINE_MAX - 56, NEAR_END = LOG_LINE_MAX - 44 };

static void log_line_just_short_enough_is_not_cut(void **state)
{
    (void)state;
    log_info("FIT", "%s", "");
    char text[LOG_LINE_MAX];
    for (size_t n = NEAR_FIRST; n < NEAR_END; n++) {
        memset(text, 'x', n);
        text[n] = '\0';
        log_info("FIT", "%s", text);
    }
    const char *line = read_pipe();
    const size_t frame = (size_t)(strchr(line, '\n') + 1 - line);
    line += frame;
    size_t cuts = 0;
    for (size_t n = NEAR_FIRST; n < NEAR_END; n++) {
        const size_t len = (size_t)(strchr(line, '\n') + 1 - line);
        const bool cut = strncmp(line + len - 5, "...\"\n", 5) == 0;
        assert_true(len <= LOG_LINE_MAX);
        assert_true(cut || len == frame + n);
        assert_true(!cut || frame + n + 3 > LOG_LINE_MAX);
        cuts += cut;
        line += len;
    }
    assert_true(cuts > 0 && cuts < NEAR_END - NEAR_FIRST);
}

static void log_open_keeps_31_bytes_of_the_program(void **state)
{
    (void)state;
    log_open("0123456789012345678901234567890123456789", ends[1], LOG_LEVEL_INFO);
    log_info("ID", "x");
    check_line(read_pipe(), " ID 0123456789012345678901234567890 \"x\"\n$");
}

static void log_line_leaves_errno_alone_and_goes_on_after_an_interrupt(void **state)
{
    (void)state;
    write_interrupts = 3;
    errno = ENOTTY;
    log_info("INTERRUPTED", "x");
    assert_int_equal(errno, ENOTTY);
    check_line(read_pipe(), "INFO INTERRUPTED coordinator \"x\"\n$");

    log_open("coordinator", -1, LOG_LEVEL_INFO); /* a sink that refuses: the line is lost */
    log_info("LOST", "x");
    assert_int_equal(errno, ENOTTY);
}

enum { THREADS = 6, LINES = 300 };

static void *log_many(void *name)
{
    for (int i = 0; i < LINES; i++)
        log_info(name, "%03d %s", i, "a message of some length, so that a mix would show");
    return NULL;
}

static void log_lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    log_open("learner", fileno(file), LOG_LEVEL_INFO);
    pthread_t threads[THREADS];
    static char names[THREADS][16];
    for (int i = 0; i < THREADS; i++) {
        snprintf(names[i], sizeof names[i], "T-%d", i);
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    rewind(file);
    int next[THREADS] = {0};
    char line[256];
    while (fgets(line, sizeof line, file)) {
        int thread = -1, number = -1, end = -1;
        sscanf(line,
               "%*s INFO T-%d learner \"%d a message of some length, so that a mix "
               "would show\"%n",
               &thread, &number, &end);
        assert_true(thread >= 0 && thread < THREADS);
        assert_int_equal(end, (int)strlen(line) - 1);
        assert_int_equal(number, next[thread]++);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(next[i], LINES);
    fclose(file);
}

static void log_level_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(log_level_name(LOG_LEVEL_DEBUG), "DEBUG");
    assert_string_equal(log_level_name(LOG_LEVEL_ERROR), "ERROR");
    assert_string_equal(log_level_name((enum log_level)9), "?");
}

static void clock_never_goes_back_and_ticks_alike_in_both_units(void **state)
{
    (void)state;
    uint64_t last_us = clock_mono_us();
    for (int i = 0; i < 10000; i++) {
        const uint64_t before_us = clock_mono_us();
        const uint64_t now_ms = clock_mono_ms();
        const uint64_t after_us = clock_mono_us();
        assert_true(last_us <= before_us);
        assert_true(before_us / 1000 <= now_ms && now_ms <= after_us / 1000);
        last_us = after_us;
    }
    const int64_t seconds = (int64_t)time(NULL);
    assert_true(clock_wall_ms() >= seconds * 1000 - 1000);
    assert_true(clock_wall_ms() < (seconds + 60) * 1000);
}

#define on_pipe(test) cmocka_unit_test_setup_teardown(test, open_pipe, close_pipe)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_pipe(log_line_has_the_format_of_the_header_in_one_write),
        on_pipe(log_line_is_stamped_with_utc),
        on_pipe(log_line_below_the_threshold_is_not_written),
        on_pipe(log_line_stays_one_line_whatever_the_message_holds),
        on_pipe(log_line_that_is_too_long_is_cut_and_says_so),
        on_pipe(log_line_just_short_enough_is_not_cut),
        on_pipe(log_open_keeps_31_bytes_of_the_program),
        on_pipe(log_line_leaves_errno_alone_and_goes_on_after_an_interrupt),
        on_pipe(log_lines_of_several_threads_do_not_mix),
        cmocka_unit_test(log_level_has_a_name),
        cmocka_unit_test(clock_never_goes_back_and_ticks_alike_in_both_units),
    };
    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
