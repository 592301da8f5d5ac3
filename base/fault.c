/* fault.c -- see fault.h. */
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define FAULT_SLEEP_S 3

enum fault_action {
    FAULT_KILL,
    FAULT_EXIT,
    FAULT_SLEEP,
    FAULT_EIO,
    FAULT_ENOSPC,
    FAULT_STOP,
    FAULT_BITS,
    FAULT_ACTIONS
};
static const char *const fault_actions[FAULT_ACTIONS] = {"kill",   "exit", "sleep", "eio",
                                                         "enospc", "stop", "bits"};

int fault_armed = -1;
static struct {
    enum fault_action action;
    const char *dir;  /* NULL: none */
    atomic_long left; /* times to come by until it fires */
} fault;

const char *fault_name(enum fault_point point)
{
    static const char *const names[FAULT_POINTS] = {
#define X(name, who, fails) #name,
        FAULT_MAP(X)
#undef X
    };
    return names[point];
}

/* The index of the word of n bytes; -1: it is none of them. */
static int fault_find(const char *word, size_t n, const char *const *words, int words_n)
{
    for (int i = 0; i < words_n; i++)
        if (strlen(words[i]) == n && memcmp(words[i], word, n) == 0)
            return i;
    return -1;
}

enum err_code fault_arm(const char *spec, const char *dir, const char *who, struct err *err)
{
    if (!spec || spec[0] == '\0')
        return ERR_OK;
    const char *names[FAULT_POINTS];
    for (int i = 0; i < FAULT_POINTS; i++)
        names[i] = fault_name((enum fault_point)i);
    char *end = NULL;
    const size_t name_n = strcspn(spec, ":");
    const int point = fault_find(spec, name_n, names, FAULT_POINTS);
    const long nth = spec[name_n] == ':' ? strtol(spec + name_n + 1, &end, 10) : 0;
    const char *word = end && *end == ':' ? end + 1 : "";
    const size_t word_n = strcspn(word, ":");
    const int action = fault_find(word, word_n, fault_actions, FAULT_ACTIONS);
    if (point < 0 || nth < 1 || action < 0)
        return err_set(err, ERR_USAGE,
                       "RLHF_FAULT is \"%.80s\": must be POINT:NTH:ACTION[:WHO], a point of "
                       "base/fault.h and kill, exit, sleep, eio, enospc, stop or bits",
                       spec);
    const char *meant = word[word_n] == ':' ? word + word_n + 1 : "";
    if (strncmp(who, meant, strlen(meant)) != 0)
        return ERR_OK;
    fault.action = (enum fault_action)action;
    fault.dir = dir && dir[0] ? dir : NULL;
    atomic_store(&fault.left, nth);
    fault_armed = point;
    return ERR_OK;
}

/* Leave the mark; false: it was there, so it has fired in an earlier life. */
static bool fault_mark(enum fault_point point)
{
    char path[1024];
    if (!fault.dir)
        return true;
    snprintf(path, sizeof path, "%s/%s", fault.dir, fault_name(point));
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

bool fault_come_by(enum fault_point point)
{
    const long left = atomic_fetch_sub(&fault.left, 1);
    if (fault.action == FAULT_BITS)
        return left <= 1;
    if (fault.action == FAULT_STOP) {
        if (left <= 1)
            raise(SIGSTOP);
        return false;
    }
    if (left != 1 || !fault_mark(point))
        return false;
    switch (fault.action) {
    case FAULT_KILL: raise(SIGKILL); break;
    case FAULT_EXIT: _exit(EX_SOFTWARE);
    case FAULT_SLEEP: nanosleep(&(struct timespec){.tv_sec = FAULT_SLEEP_S}, NULL); break;
    case FAULT_EIO: errno = EIO; return true;
    case FAULT_ENOSPC: errno = ENOSPC; return true;
    case FAULT_STOP:
    case FAULT_BITS:
    case FAULT_ACTIONS: break;
    }
    return false;
}
