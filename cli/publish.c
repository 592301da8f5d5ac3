/* publish.c -- see publish.h. */
#include "cli/publish.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PUBLISH_COPY_MAX ((size_t)256 << 20) /* a tokenizer is at most tens of MiB */

/* The directory that `path` is in: "." where it has no slash. */
static void publish_parent(const char *path, char parent[FILE_PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    const size_t length = slash == path ? 1 : slash ? (size_t)(slash - path) : 0;
    memcpy(parent, path, length);
    parent[length] = '\0';
    if (length == 0)
        strcpy(parent, ".");
}

enum err_code publish_check_free(const char *path, struct err *err)
{
    DIR *dir = opendir(path);
    if (!dir && errno == ENOENT)
        return ERR_OK;
    if (!dir)
        return err_errno(err, "%s", path);
    size_t entries = 0;
    while (readdir(dir))
        entries++;
    closedir(dir);
    if (entries > 2) /* . and .. */
        return err_set(err, ERR_STATE, "%s exists and is not empty; name another or remove it",
                       path);
    return ERR_OK;
}

/* The name that is wanted, checked, and the directory it will be in. */
static enum err_code publish_name(struct publish *publish, const char *dir, struct err *err)
{
    *publish = (struct publish){0};
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/')
        length--;
    if (length == 0 || length + sizeof ".tmp-XXXXXX" > FILE_PATH_MAX)
        return err_set(err, ERR_VALUE, "the directory name has %zu bytes", length);
    memcpy(publish->final, dir, length);
    const enum err_code rc = publish_check_free(publish->final, err);
    char parent[FILE_PATH_MAX];
    publish_parent(publish->final, parent);
    return rc ? rc : file_make_dir(parent, err);
}

enum err_code publish_begin(struct publish *publish, const char *dir, struct err *err)
{
    enum err_code rc = publish_name(publish, dir, err);
    if (rc)
        return rc;
    char template[FILE_PATH_MAX];
    strcpy(template, publish->final);
    strcat(template, ".tmp-XXXXXX");
    if (!mkdtemp(template))
        return err_errno(err, "%s", template);
    memcpy(publish->dir, template, sizeof template);
    if (chmod(publish->dir, 0755)) { /* mkdtemp makes it 0700 */
        rc = err_errno(err, "%s", publish->dir);
        publish_abort(publish);
    }
    return rc;
}

enum err_code publish_begin_at(struct publish *publish, const char *dir, const char *at,
                               struct err *err)
{
    enum err_code rc = publish_name(publish, dir, err);
    if (!rc)
        rc = file_remove_tree(at, err);
    if (!rc)
        rc = file_make_dir(at, err);
    if (!rc)
        strcpy(publish->dir, at);
    return rc;
}

enum err_code publish_commit(struct publish *publish, struct err *err)
{
    char parent[FILE_PATH_MAX];
    publish_parent(publish->final, parent);
    enum err_code rc = file_sync_dir(publish->dir, err);
    if (!rc && rename(publish->dir, publish->final))
        rc = err_errno(err, "%s to %s", publish->dir, publish->final);
    if (rc)
        return rc;
    publish->dir[0] = '\0';
    return file_sync_dir(parent, err);
}

void publish_abort(struct publish *publish)
{
    if (publish->dir[0])
        file_remove_tree(publish->dir, NULL); /* nothing more can be done about it */
    publish->dir[0] = '\0';
}

enum err_code publish_copy(struct publish *publish, const char *from, const char *name,
                           bool required, struct err *err)
{
    char source[FILE_PATH_MAX], target[FILE_PATH_MAX];
    enum err_code rc = file_join(source, from, name, err);
    if (!rc)
        rc = file_join(target, publish->dir, name, err);
    if (rc || (!required && !file_exists(source)))
        return rc;
    struct buf bytes;
    buf_init(&bytes, PUBLISH_COPY_MAX);
    rc = file_read(source, &bytes, err);
    if (!rc)
        rc = file_write(target, bytes.data, bytes.len, err);
    buf_release(&bytes);
    return rc;
}

enum err_code publish_tokenizer(struct publish *publish, const char *from, struct err *err)
{
    static const char *const beside[] = {"tokenizer_config.json", "special_tokens_map.json",
                                         "generation_config.json", "chat_template.jinja"};
    enum err_code rc = publish_copy(publish, from, "tokenizer.json", true, err);
    for (size_t i = 0; !rc && i < sizeof beside / sizeof beside[0]; i++)
        rc = publish_copy(publish, from, beside[i], false, err);
    return rc;
}
