/* checkpoint_manifest.c -- a checkpoint's files, listed by their hashes and held against them. */
#include "learner/checkpoint_manifest.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

#define CHECKPOINT_MANIFEST_MAX ((size_t)1 << 20)
#define CHECKPOINT_FILE_MAX     ((size_t)64 << 30)

struct checkpoint_manifest {
    const char *dir;
    struct buf text;
    uint32_t files;
};

static enum err_code checkpoint_manifest_add(struct checkpoint_manifest *m, const char *name,
                                             const char *path, struct err *err)
{
    char hex[HASH_HEX_BYTES];
    struct hash hash;
    struct buf bytes;
    buf_init(&bytes, CHECKPOINT_FILE_MAX);
    const enum err_code rc = file_read(path, &bytes, err);
    if (rc == ERR_OK) {
        hash_blake2b(&hash, bytes.data, bytes.len);
        hash_hex(&hash, hex);
        buf_printf(&m->text, "%s\n  {\"name\": \"%s\", \"bytes\": %zu, \"blake2b\": \"%s\"}",
                   m->files ? "," : "", name, bytes.len, hex);
        m->files += 1;
    }
    buf_release(&bytes);
    return rc;
}

static enum err_code checkpoint_manifest_list(struct checkpoint_manifest *m, const char *prefix,
                                              struct err *err);

/* `base` in dir/prefix: a file, or a directory of them. */
static enum err_code checkpoint_manifest_entry(struct checkpoint_manifest *m,
                                               const char *prefix, const char *base,
                                               struct err *err)
{
    char name[FILE_PATH_MAX], path[FILE_PATH_MAX];
    struct stat info;
    enum err_code rc = ERR_OK;
    if (prefix[0])
        rc = file_join(name, prefix, base, err);
    else
        snprintf(name, sizeof name, "%s", base);
    if (rc || (rc = file_join(path, m->dir, name, err)))
        return rc;
    if (stat(path, &info) < 0)
        return err_errno(err, "stat %s", path);
    return S_ISDIR(info.st_mode) ? checkpoint_manifest_list(m, name, err)
                                 : checkpoint_manifest_add(m, name, path, err);
}

/* What lies below dir/prefix ("": dir itself), in the order of the names. */
static enum err_code checkpoint_manifest_list(struct checkpoint_manifest *m, const char *prefix,
                                              struct err *err)
{
    char at[FILE_PATH_MAX];
    struct dirent **names = NULL;
    enum err_code rc = file_join(at, m->dir, prefix[0] ? prefix : ".", err);
    if (rc)
        return rc;
    const int n = scandir(at, &names, NULL, alphasort);
    if (n < 0)
        return err_errno(err, "list %s", at);
    for (int i = 0; i < n; i++) {
        if (rc == ERR_OK && names[i]->d_name[0] != '.')
            rc = checkpoint_manifest_entry(m, prefix, names[i]->d_name, err);
        free(names[i]);
    }
    free(names);
    return rc;
}

enum err_code checkpoint_manifest_write(const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct checkpoint_manifest m = {.dir = dir};
    buf_init(&m.text, CHECKPOINT_MANIFEST_MAX);
    buf_puts(&m.text, "{\"format\": 1, \"files\": [");
    enum err_code rc = checkpoint_manifest_list(&m, "", err);
    buf_puts(&m.text, "\n]}\n");
    if (rc == ERR_OK)
        rc = buf_check(&m.text, "the manifest", err);
    if (rc == ERR_OK)
        rc = file_join(path, dir, "MANIFEST.json", err);
    if (rc == ERR_OK)
        rc = file_write(path, m.text.data, m.text.len, err);
    buf_release(&m.text);
    return rc;
}

/* One file, as its entry says it is. */
static enum err_code checkpoint_manifest_match(const char *dir, const json_t *entry,
                                               const char *where, struct err *err)
{
    const char *name = NULL, *hex = NULL;
    uint64_t bytes = 0;
    struct hash want, have;
    char path[FILE_PATH_MAX];
    struct buf text;
    enum err_code rc;
    if ((rc = json_get_string(entry, "name", &name, where, err)) ||
        (rc = json_get_string(entry, "blake2b", &hex, where, err)) ||
        (rc = json_get_u64(entry, "bytes", 0, CHECKPOINT_FILE_MAX, &bytes, where, err)) ||
        (rc = hash_from_hex(&want, hex, err)) || (rc = file_join(path, dir, name, err)))
        return rc;
    buf_init(&text, CHECKPOINT_FILE_MAX);
    rc = file_read(path, &text, err);
    if (rc == ERR_OK) {
        hash_blake2b(&have, text.data, text.len);
        if (text.len != bytes || memcmp(&have, &want, sizeof have) != 0)
            rc = err_set(err, ERR_FORMAT, "%s is not what %s says", path, where);
    }
    buf_release(&text);
    return rc;
}

enum err_code checkpoint_manifest_verify(const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, "MANIFEST.json", err);
    if (rc)
        return rc;
    json_t *manifest = json_read_file(path, CHECKPOINT_MANIFEST_MAX, err);
    if (!manifest)
        return ERR_FORMAT; /* also where it cannot be read: the directory is not whole */
    const json_t *files = json_object_get(manifest, "files");
    if (json_array_size(files) == 0)
        rc = err_set(err, ERR_FORMAT, "%s names no files", path);
    for (size_t i = 0; i < json_array_size(files) && rc == ERR_OK; i++)
        rc = checkpoint_manifest_match(dir, json_array_get(files, i), path, err);
    json_decref(manifest);
    return rc;
}
