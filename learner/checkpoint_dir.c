/* checkpoint_dir.c -- names, and the rename that publishes. */
#define _GNU_SOURCE /* renameat2 */
#include "learner/checkpoint_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum err_code checkpoint_dir_root(const struct learner *l, char root[FILE_PATH_MAX],
                                  struct err *err)
{
    return file_join(root, l->config->dir, "checkpoints", err);
}

enum err_code checkpoint_dir_version(const char *root, uint64_t version,
                                     char path[FILE_PATH_MAX], struct err *err)
{
    char name[32];
    snprintf(name, sizeof name, "v%08llu", (unsigned long long)version);
    return file_join(path, root, name, err);
}

enum err_code checkpoint_dir_tmp(const struct learner *l, const char *dir,
                                 char tmp[FILE_PATH_MAX], struct err *err)
{
    char name[WIRE_NAME_MAX + 8];
    snprintf(name, sizeof name, ".tmp-%s", l->name);
    return file_join(tmp, dir, name, err);
}

size_t checkpoint_dir_list(const char *root, uint64_t versions[CHECKPOINT_LIST_MAX])
{
    size_t n = 0;
    DIR *dir = opendir(root);
    for (const struct dirent *entry;
         dir && n < CHECKPOINT_LIST_MAX && (entry = readdir(dir));) {
        char *end = NULL;
        const unsigned long long version =
            entry->d_name[0] == 'v' ? strtoull(entry->d_name + 1, &end, 10) : 0;
        if (!end || end == entry->d_name + 1 || *end != '\0')
            continue;
        size_t at = n++;
        for (; at > 0 && versions[at - 1] < version; at--)
            versions[at] = versions[at - 1];
        versions[at] = version;
    }
    if (dir)
        closedir(dir);
    return n;
}

enum err_code checkpoint_dir_fault(enum fault_point point, const char *dir, struct err *err)
{
    return fault_at(point) ? err_errno(err, "%s: %s", dir, fault_name(point)) : ERR_OK;
}

/* Where something stands at `path` the two change places, so that at no moment nothing does: a
 * run may be over, and what is replaced be all there is of it.  Not every file system can. */
static enum err_code checkpoint_dir_rename(const char *tmp, const char *path, struct err *err)
{
    if (rename(tmp, path) == 0)
        return ERR_OK;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return err_errno(err, "rename %s to %s", tmp, path);
    if (renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_EXCHANGE) == 0)
        return ERR_OK;
    const enum err_code rc = file_remove_tree(path, err);
    if (rc == ERR_OK && rename(tmp, path) < 0)
        return err_errno(err, "rename %s to %s", tmp, path);
    return rc;
}

enum err_code checkpoint_dir_publish(const char *tmp, const char *path, const char *parent,
                                     enum fault_point before, enum fault_point after,
                                     struct err *err)
{
    enum err_code rc = file_sync_dir(tmp, err);
    if (rc == ERR_OK)
        rc = checkpoint_dir_fault(before, tmp, err);
    if (rc == ERR_OK)
        rc = checkpoint_dir_rename(tmp, path, err);
    if (rc == ERR_OK)
        rc = checkpoint_dir_fault(after, path, err);
    if (rc == ERR_OK)
        rc = file_sync_dir(parent, err);
    return rc ? rc : file_remove_tree(tmp, err);
}
