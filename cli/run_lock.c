/* run_lock.c -- see run_lock.h. */
#define _DEFAULT_SOURCE /* flock */
#include "cli/run_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file is only a file: nothing but such a directory, of this user, is ever removed. */
static bool run_lock_is_sockets(const char *path)
{
    const char *const pattern = RUN_LOCK_SOCKETS;
    const size_t prefix = strlen(pattern) - strlen("XXXXXX");
    struct stat is;
    return strlen(path) == strlen(pattern) && strncmp(path, pattern, prefix) == 0 &&
           !strchr(path + prefix, '/') && !strchr(path + prefix, '.') &&
           lstat(path, &is) == 0 && S_ISDIR(is.st_mode) && is.st_uid == geteuid();
}

static void run_lock_tidy(const struct run_lock *lock)
{
    char before[sizeof lock->sockets] = "";
    if (pread(lock->fd, before, sizeof before - 1, 0) > 0 && run_lock_is_sockets(before))
        file_remove_tree(before, NULL);
}

static enum err_code run_lock_note(const struct run_lock *lock, struct err *err)
{
    if (ftruncate(lock->fd, 0) != 0 || lseek(lock->fd, 0, SEEK_SET) < 0)
        return err_errno(err, "write %s", lock->path);
    return file_write_all(lock->fd, lock->sockets, strlen(lock->sockets), lock->path, err);
}

enum err_code run_lock_take(struct run_lock *lock, const char *dir, struct err *err)
{
    *lock = (struct run_lock){.fd = -1};
    enum err_code rc = file_join(lock->path, dir, "run.lock", err);
    if (rc)
        return rc;
    lock->fd = open(lock->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock->fd < 0)
        return err_errno(err, "open %s", lock->path);
    if (flock(lock->fd, LOCK_EX | LOCK_NB) == 0) {
        run_lock_tidy(lock);
        return ERR_OK;
    }
    rc = errno == EWOULDBLOCK
             ? err_set(err, ERR_STATE, "%s is in use: another `rlhf run` runs there", dir)
             : err_errno(err, "lock %s", lock->path);
    close(lock->fd);
    lock->fd = -1;
    return rc;
}

enum err_code run_lock_sockets(struct run_lock *lock, struct err *err)
{
    strcpy(lock->sockets, RUN_LOCK_SOCKETS);
    if (mkdtemp(lock->sockets))
        return run_lock_note(lock, err);
    lock->sockets[0] = '\0';
    return err_errno(err, "make a private directory in /tmp");
}

void run_lock_release(struct run_lock *lock)
{
    if (lock->fd < 0)
        return;
    if (lock->sockets[0]) {
        file_remove_tree(lock->sockets, NULL);
        lock->sockets[0] = '\0';
        run_lock_note(lock, NULL);
    }
    close(lock->fd);
    lock->fd = -1;
}
