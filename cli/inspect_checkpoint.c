/* inspect_checkpoint.c -- see inspect.h: a learner's checkpoint, each file held against the
 * manifest.  learner/checkpoint.h has the layout. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "cli/inspect.h"
#include "cli/status_screen.h"

#define INSPECT_JSON_MAX  ((size_t)1024 * 1024)
#define INSPECT_BYTES_MAX ((uint64_t)1 << 46) /* of one file */
#define INSPECT_DEPTH_MAX 8                   /* directories below one another */

struct inspect_checkpoint {
    const char *dir;
    bool json;
    struct buf *out;
    const json_t *files; /* the manifest's */
    uint64_t ok, bad;
};

static void inspect_checkpoint_file(struct inspect_checkpoint *c, const char *name,
                                    uint64_t bytes, const char *wrong)
{
    if (c->json) {
        buf_puts(c->out, c->ok + c->bad > 0 ? ", {\"name\": " : "{\"name\": ");
        buf_json_string(c->out, name, strlen(name));
        buf_printf(c->out, ", \"bytes\": %" PRIu64 ", \"ok\": %s", bytes,
                   wrong ? "false" : "true");
        if (wrong) {
            buf_puts(c->out, ", \"wrong\": ");
            buf_json_string(c->out, wrong, strlen(wrong));
        }
        buf_putc(c->out, '}');
    } else {
        buf_printf(c->out, "  %-5s %14" PRIu64 "  ", wrong ? "WRONG" : "ok", bytes);
        status_screen_text(c->out, name);
        buf_puts(c->out, wrong ? ": " : "");
        status_screen_text(c->out, wrong ? wrong : "");
        buf_putc(c->out, '\n');
    }
    *(wrong ? &c->bad : &c->ok) += 1;
}

/* Mapped, so that a file larger than the memory can be looked at. */
static enum err_code inspect_checkpoint_hash(struct hash *hash, const char *path,
                                             uint64_t want_bytes, struct err *err)
{
    int fd = -1;
    uint64_t bytes = 0;
    enum err_code rc = file_open_read(path, &fd, &bytes, err);
    if (rc)
        return rc;
    if (bytes != want_bytes) {
        rc = err_set(err, ERR_FORMAT, "it has %" PRIu64 " bytes", bytes);
    } else if (bytes == 0) {
        hash_blake2b(hash, "", 0);
    } else {
        void *map = mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            rc = err_errno(err, "map %s", path);
        } else {
            hash_blake2b(hash, map, (size_t)bytes);
            munmap(map, (size_t)bytes);
        }
    }
    close(fd);
    return rc;
}

/* A name below the directory, without ways out of it. */
static bool inspect_checkpoint_inside(const char *name)
{
    return name[0] != '\0' && name[0] != '/' && strstr(name, "..") == NULL;
}

static enum err_code inspect_checkpoint_verify(struct inspect_checkpoint *c,
                                               const json_t *entry, const char *where,
                                               struct err *err)
{
    const char *name, *hex;
    uint64_t bytes;
    struct hash want, have;
    char path[FILE_PATH_MAX];
    struct err why = {0};
    enum err_code rc = json_get_string(entry, "name", &name, where, err);
    if (rc == ERR_OK)
        rc = json_get_string(entry, "blake2b", &hex, where, err);
    if (rc == ERR_OK)
        rc = json_get_u64(entry, "bytes", 0, INSPECT_BYTES_MAX, &bytes, where, err);
    if (rc == ERR_OK && !inspect_checkpoint_inside(name))
        rc = err_set(err, ERR_FORMAT, "%s: a file's name leads out of the checkpoint", where);
    if (rc == ERR_OK)
        rc = hash_from_hex(&want, hex, err);
    if (rc == ERR_OK)
        rc = file_join(path, c->dir, name, err);
    if (rc)
        return rc;
    if (!file_exists(path))
        inspect_checkpoint_file(c, name, bytes, "it is not there");
    else if (inspect_checkpoint_hash(&have, path, bytes, &why))
        inspect_checkpoint_file(c, name, bytes, why.text);
    else
        inspect_checkpoint_file(c, name, bytes,
                                memcmp(want.bytes, have.bytes, sizeof want.bytes) == 0
                                    ? NULL
                                    : "its BLAKE2b is another");
    return ERR_OK;
}

static bool inspect_checkpoint_named(const struct inspect_checkpoint *c, const char *name)
{
    for (size_t i = 0; i < json_array_size(c->files); i++) {
        const char *own =
            json_string_value(json_object_get(json_array_get(c->files, i), "name"));
        if (own && strcmp(own, name) == 0)
            return true;
    }
    return strcmp(name, "MANIFEST.json") == 0;
}

/* What lies below `prefix` ("": the checkpoint itself) and is in no manifest. */
static enum err_code inspect_checkpoint_extra(struct inspect_checkpoint *c, const char *prefix,
                                              int depth, struct err *err)
{
    char at[FILE_PATH_MAX];
    struct dirent **names = NULL;
    enum err_code rc = file_join(at, c->dir, prefix[0] ? prefix : ".", err);
    const int n = rc ? 0 : scandir(at, &names, NULL, alphasort);
    if (n < 0)
        return err_errno(err, "list %s", at);
    for (int i = 0; i < n; i++) {
        const char *base = names[i]->d_name;
        char name[FILE_PATH_MAX], path[FILE_PATH_MAX];
        struct stat about;
        if (rc == ERR_OK && strcmp(base, ".") != 0 && strcmp(base, "..") != 0) {
            if (prefix[0])
                rc = file_join(name, prefix, base, err);
            else
                snprintf(name, sizeof name, "%s", base);
            rc = rc ? rc : file_join(path, c->dir, name, err);
            if (rc == ERR_OK && lstat(path, &about) < 0)
                rc = err_errno(err, "%s", path);
            else if (rc == ERR_OK && S_ISDIR(about.st_mode) && depth < INSPECT_DEPTH_MAX)
                rc = inspect_checkpoint_extra(c, name, depth + 1, err);
            else if (rc == ERR_OK && !inspect_checkpoint_named(c, name))
                inspect_checkpoint_file(c, name, (uint64_t)about.st_size,
                                        "the manifest does not name it");
        }
        free(names[i]);
    }
    free(names);
    return rc;
}

static enum err_code inspect_checkpoint_state(struct inspect_checkpoint *c, struct err *err)
{
    char path[FILE_PATH_MAX];
    uint64_t version = 0, policy = 0, critic = 0, cost_critic = 0;
    const char *config = "";
    enum err_code rc = file_join(path, c->dir, "STATE.json", err);
    if (rc)
        return rc;
    struct err why = {0};
    json_t *state = json_read_file(path, INSPECT_JSON_MAX, &why);
    if (!state) {
        if (err)
            *err = why;
        return why.code;
    }
    if ((rc = json_get_u64(state, "version", 0, INT64_MAX, &version, path, err)) == ERR_OK &&
        (rc = json_get_string(state, "config", &config, path, err)) == ERR_OK &&
        (rc = json_get_u64(state, "policy_updates", 0, INT64_MAX, &policy, path, err)) ==
            ERR_OK &&
        (rc = json_get_u64(state, "critic_updates", 0, INT64_MAX, &critic, path, err)) ==
            ERR_OK &&
        (rc = json_get_u64(state, "cost_critic_updates", 0, INT64_MAX, &cost_critic, path,
                           err)) == ERR_OK) {
        if (c->json) {
            buf_puts(c->out, "{\"checkpoint\": ");
            buf_json_string(c->out, c->dir, strlen(c->dir));
            buf_printf(c->out, ", \"version\": %" PRIu64 ", \"config_hash\": ", version);
            buf_json_string(c->out, config, strlen(config));
            buf_printf(c->out,
                       ", \"policy_updates\": %" PRIu64 ", \"critic_updates\": %" PRIu64
                       ", \"cost_critic_updates\": %" PRIu64 ", \"files\": [",
                       policy, critic, cost_critic);
        } else {
            buf_printf(c->out, "%s\n  version       %" PRIu64 "\n  config        ", c->dir,
                       version);
            status_screen_text(c->out, config);
            buf_printf(c->out,
                       "\n  updates       %" PRIu64 " of the policy, %" PRIu64
                       " of the critic, %" PRIu64 " of the cost critic\n",
                       policy, critic, cost_critic);
        }
    }
    json_decref(state);
    return rc;
}

enum err_code inspect_checkpoint(const char *dir, bool json, struct buf *out, struct err *err)
{
    struct inspect_checkpoint c = {.dir = dir, .json = json, .out = out};
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, "MANIFEST.json", err);
    if (rc)
        return rc;
    if (!file_exists(path))
        return err_set(err, ERR_FORMAT,
                       "%s has no MANIFEST.json, which is written last: it is not whole", dir);
    struct err why = {0};
    json_t *manifest = json_read_file(path, INSPECT_JSON_MAX, &why);
    if (!manifest) {
        if (err)
            *err = why;
        return why.code;
    }
    c.files = json_object_get(manifest, "files");
    if (json_array_size(c.files) == 0)
        rc = err_set(err, ERR_FORMAT, "%s names no files", path);
    if (rc == ERR_OK)
        rc = inspect_checkpoint_state(&c, err);
    for (size_t i = 0; i < json_array_size(c.files) && rc == ERR_OK; i++)
        rc = inspect_checkpoint_verify(&c, json_array_get(c.files, i), path, err);
    if (rc == ERR_OK)
        rc = inspect_checkpoint_extra(&c, "", 0, err);
    if (rc == ERR_OK && json)
        buf_printf(out, "], \"whole\": %s}", c.bad == 0 ? "true" : "false");
    if (rc == ERR_OK && c.bad > 0)
        rc = err_set(err, ERR_FORMAT,
                     "%s: %" PRIu64 " of %" PRIu64 " files are not what the manifest says", dir,
                     c.bad, c.bad + c.ok);
    else if (rc)
        buf_clear(out); /* half an explanation is none */
    json_decref(manifest);
    return rc;
}
