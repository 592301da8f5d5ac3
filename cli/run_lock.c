/* run_lock.c -- see run_lock.h. */
#define _DEFAULT_SOURCE /* flock */
#include "cli/run_lock.h"

#include <errno.h>
#include <fcntl.h>
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

/* The directory of sockets, locked; -1 where another process has it: a copy of a run's directory
 * names the sockets of the run that it was copied from. */
static int run_lock_hold_sockets(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    close(fd);
    return -1;
}

static void run_lock_tidy(const struct run_lock *lock)
{
    char before[sizeof lock->sockets] = "";
    if (pread(lock->fd, before, sizeof before - 1, 0) <= 0 || !run_lock_is_sockets(before))
        return;
    const int fd = run_lock_hold_sockets(before);
    if (fd < 0)
        return;
    file_remove_tree(before, NULL);
    close(fd);
}

static enum err_code run_lock_note(const struct run_lock *lock, struct err *err)
{
    if (ftruncate(lock->fd, 0) != 0 || lseek(lock->fd, 0, SEEK_SET) < 0)
        return err_errno(err, "write %s", lock->path);
    return file_write_all(lock->fd, lock->sockets, strlen(lock->sockets), lock->path, err);
}

enum err_code run_lock_take(struct run_lock *lock, const char *dir, struct err *err)
{
    *lock = (struct run_lock){.fd = -1, .sockets_fd = -1};
    enum err_code rc = file_join(lock->path, dir, "run.lock", err);
    if (rc)
        return rc;
    lock->fd = open(lock->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock->fd < 0)
        return err_errno(err, "open %s", lock->path);
    if (flock(lock->fd, LOCK_EX | LOCK_NB) == 0) {
        run_lock_tidy(lock);
        if ((rc = run_lock_note(lock, err)))
            run_lock_release(lock);
        return rc;
    }
    rc = errno == EWOULDBLOCK
             ? err_set(err, ERR_STATE, "%s is in use: another `rlhf run` runs there", dir)
             : err_errno(err, "lock %s", lock->path);
    close(lock->fd);
    lock->fd = -1;
    return rc;
}

bool run_lock_is_taken(const char *dir)
{
    char path[FILE_PATH_MAX];
    const int fd = file_join(path, dir, "run.lock", NULL) == ERR_OK
                       ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
                       : -1;
    const bool taken = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return taken;
}

enum err_code run_lock_sockets(struct run_lock *lock, struct err *err)
{
    strcpy(lock->sockets, RUN_LOCK_SOCKETS);
    if (!mkdtemp(lock->sockets)) {
        lock->sockets[0] = '\0';
        return err_errno(err, "make a private directory in /tmp");
    }
    lock->sockets_fd = run_lock_hold_sockets(lock->sockets);
    if (lock->sockets_fd < 0)
        return err_errno(err, "lock %s", lock->sockets);
    return run_lock_note(lock, err);
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
    if (lock->sockets_fd >= 0)
        close(lock->sockets_fd);
    close(lock->fd);
    lock->fd = lock->sockets_fd = -1;
}
