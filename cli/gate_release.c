/* gate_release.c -- see gate_release.h. */
#define _DEFAULT_SOURCE /* flock */
#include "cli/gate_release.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define GATE_COPY_BYTES ((size_t)1 << 16)

static enum err_code gate_release_lock(struct gate_release *release, struct err *err)
{
    release->lock_fd = open(release->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (release->lock_fd < 0)
        return err_errno(err, "open %s", release->root);
    if (flock(release->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return ERR_OK;
    const enum err_code rc =
        errno == EWOULDBLOCK
            ? err_set(err, ERR_STATE, "%s: another gate tests a policy there", release->run)
            : err_errno(err, "lock %s", release->root);
    close(release->lock_fd);
    release->lock_fd = -1;
    return rc;
}

static enum err_code gate_release_copy_bytes(const char *from, const char *to, struct err *err)
{
    char bytes[GATE_COPY_BYTES];
    int in = -1, out = -1;
    enum err_code rc = file_open_read(from, &in, NULL, err);
    if (rc)
        return rc;
    out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (out < 0)
        rc = err_errno(err, "create %s", to);
    while (rc == ERR_OK) {
        const ssize_t n = read(in, bytes, sizeof bytes);
        if (n == 0)
            break;
        if (n < 0)
            rc = err_errno(err, "read %s", from);
        else
            rc = file_write_all(out, bytes, (size_t)n, to, err);
    }
    if (rc == ERR_OK && fsync(out) < 0)
        rc = err_errno(err, "fsync %s", to);
    if (out >= 0)
        close(out);
    close(in);
    return rc;
}

/* Model files are replaced as a whole, never written into: a hard link stays what it was. */
static enum err_code gate_release_copy(const char *model, const char *dir, struct err *err)
{
    DIR *entries = opendir(model);
    if (!entries)
        return err_errno(err, "%s", model);
    enum err_code rc = ERR_OK;
    for (const struct dirent *entry; rc == ERR_OK && (entry = readdir(entries));) {
        char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
        struct stat info;
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, GATE_MANIFEST) == 0)
            continue;
        if ((rc = file_join(from, model, entry->d_name, err)) ||
            (rc = file_join(to, dir, entry->d_name, err)))
            break;
        if (stat(from, &info) < 0)
            rc = err_errno(err, "%s", from);
        else if (S_ISREG(info.st_mode) &&
                 linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) < 0)
            rc = gate_release_copy_bytes(from, to, err);
    }
    closedir(entries);
    return rc;
}

enum err_code gate_release_begin(struct gate_release *release, const char *run,
                                 const char *model, struct err *err)
{
    *release = (struct gate_release){.lock_fd = -1};
    snprintf(release->run, sizeof release->run, "%s", run);
    enum err_code rc;
    char dir[FILE_PATH_MAX];
    if ((rc = file_join(release->root, run, "releases", err)) ||
        (rc = file_make_dir(release->root, err)) || (rc = gate_release_lock(release, err)) ||
        (rc = file_join(dir, release->root, ".tmp", err)) ||
        (rc = file_remove_tree(dir, err)) || (rc = file_make_dir(dir, err)))
        return rc;
    memcpy(release->dir, dir, sizeof dir);
    return gate_release_copy(model, release->dir, err);
}

static enum err_code gate_release_point(const struct gate_release *release, const char *name,
                                        struct err *err)
{
    char link[FILE_PATH_MAX], fresh[FILE_PATH_MAX], target[64];
    snprintf(target, sizeof target, "releases/%s", name);
    enum err_code rc = file_join(link, release->run, "published", err);
    if (rc == ERR_OK)
        rc = file_join(fresh, release->run, ".published", err);
    if (rc)
        return rc;
    if (unlink(fresh) < 0 && errno != ENOENT)
        return err_errno(err, "remove %s", fresh);
    if (symlink(target, fresh) < 0)
        return err_errno(err, "create %s", fresh);
    if (rename(fresh, link) < 0)
        return err_errno(err, "rename %s to %s", fresh, link);
    return file_sync_dir(release->run, err);
}

enum err_code gate_release_publish(struct gate_release *release, const char *name,
                                   const struct buf *manifest, struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, release->root, name, err);
    if (rc)
        return rc;
    if (!file_exists(path)) {
        char json[FILE_PATH_MAX];
        if ((rc = file_join(json, release->dir, GATE_MANIFEST, err)) ||
            (rc = file_write(json, manifest->data, manifest->len, err)) ||
            (rc = file_sync_dir(release->dir, err)))
            return rc;
        if (rename(release->dir, path) < 0)
            return err_errno(err, "rename %s to %s", release->dir, path);
        release->dir[0] = '\0';
        if ((rc = file_sync_dir(release->root, err)))
            return rc;
    }
    return gate_release_point(release, name, err);
}

void gate_release_end(struct gate_release *release)
{
    if (release->dir[0])
        file_remove_tree(release->dir, NULL); /* the next one removes what is left */
    release->dir[0] = '\0';
    if (release->lock_fd >= 0)
        close(release->lock_fd);
    release->lock_fd = -1;
}
