/*
 * guard.h -- nothing of a test stays behind, not even of one that is killed.
 *
 * What a test starts has the test's directory in its environment, and is found by it, whatever its
 * command line says.  guard_begin starts a process that outlives the test and waits for its end.
 * Where the directory is there still then, it ends all that the test has started, undoes what
 * guard_undo knows of, and removes the directory.
 */
#ifndef TESTS_E2E_GUARD_H
#define TESTS_E2E_GUARD_H

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/test.h"

#define GUARD_WORD   "RLHF_TEST_DIR"
#define GUARD_FD_MAX 256

/* Beside processes and files: a mount, a network.  Set before guard_begin; it may run twice. */
static void (*guard_undo)(void);

static inline bool guard_is_of(const char *pid, const char *dir)
{
    char path[64], *word = NULL;
    size_t room = 0;
    bool is = false;
    snprintf(path, sizeof path, "/proc/%.20s/environ", pid);
    FILE *words = fopen(path, "r");
    while (words && !is && getdelim(&word, &room, '\0', words) > 0)
        is = strncmp(word, GUARD_WORD "=", sizeof GUARD_WORD) == 0 &&
             strcmp(word + sizeof GUARD_WORD, dir) == 0;
    if (words)
        fclose(words);
    free(word);
    return is;
}

/* A process that the test has started, or one of those; 0: none is left. */
static inline pid_t guard_find(const char *dir)
{
    DIR *proc = opendir("/proc");
    pid_t found = 0;
    for (const struct dirent *entry; proc && !found && (entry = readdir(proc));)
        if (isdigit((unsigned char)entry->d_name[0]) && guard_is_of(entry->d_name, dir))
            found = (pid_t)strtol(entry->d_name, NULL, 10);
    if (proc)
        closedir(proc);
    return found;
}

static inline void guard_end_all(const char *dir)
{
    for (pid_t pid; (pid = guard_find(dir)) > 0;) {
        kill(pid, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* What a test that is over does of itself. */
static inline enum err_code guard_clear(const char *dir, struct err *err)
{
    guard_end_all(dir);
    if (guard_undo)
        guard_undo();
    return file_remove_tree(dir, err);
}

/* Of the test's it keeps nothing but the pipe; who waits for what the test says need not wait for
 * it. */
static inline void guard_wait(int over, const char *dir)
{
    char byte;
    setsid();
    const int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < GUARD_FD_MAX; fd++)
        if (fd <= STDERR_FILENO)
            dup2(null, fd);
        else if (fd != over)
            close(fd);
    while (read(over, &byte, 1) < 0)
        ; /* a signal */
    if (file_exists(dir))
        guard_clear(dir, NULL);
    _exit(0);
}

static inline void guard_begin(const char *dir)
{
    int over[2], status;
    assert_int_equal(setenv(GUARD_WORD, dir, 1), 0);
    assert_int_equal(pipe(over), 0);
    assert_true(fcntl(over[1], F_SETFD, FD_CLOEXEC) == 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (fork() == 0)
            guard_wait(over[0], dir); /* nobody's child: who ends the test's leaves it alone */
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    close(over[0]); /* and over[1] with the test */
}

#endif
