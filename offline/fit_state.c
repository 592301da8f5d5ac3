/* fit_state.c -- see fit_state.h. */
#include "offline/fit_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

#define FIT_STATE_JSON_MAX ((size_t)1 << 20)
#define FIT_STATE_PARTS    2 /* arrays of a file, at most */
#define FIT_STATE_FILES    4

/* A file of the state is one or two arrays, one after the other. */
struct fit_state_file {
    const char *name;
    struct {
        void *bytes;
        size_t n;
    } part[FIT_STATE_PARTS];
};

/* The files of this state; steps and tests are those of the history as it now stands. */
static size_t fit_state_files(const struct fit_state *state,
                              struct fit_state_file file[FIT_STATE_FILES])
{
    const size_t bytes = model_bytes(state->model);
    const struct fit_history *history = state->history;
    size_t n = 0;
    file[n++] = (struct fit_state_file){"weights.f32", {{state->model->w, bytes}}};
    file[n++] = (struct fit_state_file){"moments.f32",
                                        {{state->adamw->m, bytes}, {state->adamw->v, bytes}}};
    file[n++] =
        (struct fit_state_file){"history.bin",
                                {{history->step, history->steps * sizeof *history->step},
                                 {history->test, history->tests * sizeof *history->test}}};
    if (state->best)
        file[n++] = (struct fit_state_file){"best.f32", {{state->best, bytes}}};
    return n;
}

/* Hash of the hashes of the parts: they lie apart in memory. */
static void fit_state_hash(const struct fit_state_file *file, struct hash *out)
{
    struct hash part[FIT_STATE_PARTS];
    for (size_t i = 0; i < FIT_STATE_PARTS; i++)
        hash_blake2b(&part[i], file->part[i].bytes, file->part[i].n);
    hash_blake2b(out, part, sizeof part);
}

static enum err_code fit_state_write_file(const struct fit_state_file *file, const char *dir,
                                          struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, file->name, err);
    if (rc)
        return rc;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, "%s", path);
    for (size_t i = 0; i < FIT_STATE_PARTS && !rc; i++)
        rc = file_write_all(fd, file->part[i].bytes, file->part[i].n, path, err);
    if (!rc && fsync(fd))
        rc = err_errno(err, "%s", path);
    close(fd);
    return rc;
}

static enum err_code fit_state_write_json(const struct fit_state *state, const char *dir,
                                          struct err *err)
{
    const struct fit_history *history = state->history;
    char path[FILE_PATH_MAX], hex[HASH_HEX_BYTES];
    struct fit_state_file file[FIT_STATE_FILES];
    const size_t files = fit_state_files(state, file);
    struct buf text;
    buf_init(&text, FIT_STATE_JSON_MAX);
    hash_hex(&state->identity, hex);
    buf_printf(&text,
               "{\"format\": 1, \"identity\": \"%s\",\n \"steps\": %llu, \"tests\": %llu, "
               "\"updates\": %llu, \"waited\": %llu, \"stopped\": %s,\n \"best\": ",
               hex, (unsigned long long)history->steps, (unsigned long long)history->tests,
               (unsigned long long)state->adamw->steps, (unsigned long long)state->waited,
               history->stopped ? "true" : "false");
    if (history->best == UINT64_MAX)
        buf_puts(&text, "null");
    else
        buf_printf(&text, "%llu", (unsigned long long)history->best);
    for (size_t i = 0; i < files; i++) {
        struct hash hash;
        fit_state_hash(&file[i], &hash);
        hash_hex(&hash, hex);
        buf_printf(&text, ",\n \"%s\": \"%s\"", file[i].name, hex);
    }
    buf_puts(&text, "}\n");
    enum err_code rc = file_join(path, dir, "STATE.json", err);
    if (!rc)
        rc = file_write(path, text.data, text.len, err);
    buf_release(&text);
    return rc;
}

/* The greatest N of the directories step-N in `dir`; false: there is none. */
static bool fit_state_newest(const char *dir, uint64_t *step)
{
    bool found = false;
    DIR *list = opendir(dir);
    for (const struct dirent *entry; list && (entry = readdir(list));) {
        char *end = NULL;
        if (strncmp(entry->d_name, "step-", 5) != 0)
            continue;
        const unsigned long long n = strtoull(entry->d_name + 5, &end, 10);
        if (end == entry->d_name + 5 || *end != '\0' || (found && n <= *step))
            continue;
        *step = n;
        found = true;
    }
    if (list)
        closedir(list);
    return found;
}

static enum err_code fit_state_path(char path[FILE_PATH_MAX], const char *dir, uint64_t step,
                                    struct err *err)
{
    char name[32];
    snprintf(name, sizeof name, "step-%08llu", (unsigned long long)step);
    return file_join(path, dir, name, err);
}

enum err_code fit_state_write(const struct fit_state *state, const char *dir, struct err *err)
{
    char tmp[FILE_PATH_MAX], path[FILE_PATH_MAX], before[FILE_PATH_MAX];
    struct fit_state_file file[FIT_STATE_FILES];
    const size_t files = fit_state_files(state, file);
    uint64_t old = 0;
    const bool had = fit_state_newest(dir, &old);
    enum err_code rc;
    if ((rc = file_join(tmp, dir, ".tmp", err)) || (rc = file_remove_tree(tmp, err)) ||
        (rc = file_make_dir(tmp, err)) ||
        (rc = fit_state_path(path, dir, state->history->steps, err)) ||
        (rc = fit_state_path(before, dir, old, err)))
        return rc;
    for (size_t i = 0; i < files && !rc; i++)
        rc = fit_state_write_file(&file[i], tmp, err);
    if (!rc)
        rc = fit_state_write_json(state, tmp, err);
    if (!rc)
        rc = file_sync_dir(tmp, err);
    if (!rc && rename(tmp, path))
        rc = err_errno(err, "%s to %s", tmp, path);
    if (!rc)
        rc = file_sync_dir(dir, err);
    if (!rc && had)
        rc = file_remove_tree(before, err);
    return rc;
}

static enum err_code fit_state_read_file(struct fit_state_file *file, const char *dir,
                                         const json_t *json, const char *where, struct err *err)
{
    char path[FILE_PATH_MAX];
    const char *hex;
    struct hash want, have;
    enum err_code rc;
    if ((rc = json_get_string(json, file->name, &hex, where, err)) ||
        (rc = hash_from_hex(&want, hex, err)) || (rc = file_join(path, dir, file->name, err)))
        return rc;
    int fd = -1;
    uint64_t size = 0, at = 0;
    if ((rc = file_open_read(path, &fd, &size, err)))
        return rc;
    for (size_t i = 0; i < FIT_STATE_PARTS && !rc; i++) {
        if (file->part[i].n > 0)
            rc = file_pread_all(fd, file->part[i].bytes, file->part[i].n, at, path, err);
        at += file->part[i].n;
    }
    close(fd);
    if (rc)
        return rc;
    fit_state_hash(file, &have);
    if (size != at || memcmp(&have, &want, sizeof have) != 0)
        rc = err_set(err, ERR_FORMAT, "%s is not what %s says", path, where);
    return rc;
}

static enum err_code fit_state_read_numbers(struct fit_state *state, const json_t *json,
                                            const char *path, struct err *err)
{
    struct fit_history *history = state->history;
    const char *hex;
    struct hash identity;
    history->best = UINT64_MAX;
    enum err_code rc;
    if ((rc = json_get_string(json, "identity", &hex, path, err)) ||
        (rc = hash_from_hex(&identity, hex, err)))
        return rc;
    if (memcmp(&identity, &state->identity, sizeof identity) != 0)
        return err_set(err, ERR_USAGE,
                       "%s was written by a training with other data, other settings or "
                       "another start",
                       path);
    if ((rc = json_get_u64(json, "steps", 1, history->steps_max, &history->steps, path, err)) ||
        (rc = json_get_u64(json, "tests", 0, history->tests_max, &history->tests, path, err)) ||
        (rc = json_get_u64(json, "updates", 0, history->steps, &state->adamw->steps, path,
                           err)) ||
        (rc = json_get_u64(json, "waited", 0, history->tests, &state->waited, path, err)) ||
        (rc = json_get_bool(json, "stopped", &history->stopped, path, err)))
        return rc;
    if (json_is_null(json_object_get(json, "best")))
        return ERR_OK;
    if (history->tests == 0)
        return err_set(err, ERR_FORMAT, "%s: \"best\" names a test, and there is none", path);
    return json_get_u64(json, "best", 0, history->tests - 1, &history->best, path, err);
}

enum err_code fit_state_read(struct fit_state *state, const char *dir, bool *found,
                             struct err *err)
{
    uint64_t step = 0;
    *found = fit_state_newest(dir, &step);
    if (!*found)
        return ERR_OK;
    char at[FILE_PATH_MAX], path[FILE_PATH_MAX];
    enum err_code rc;
    if ((rc = fit_state_path(at, dir, step, err)) ||
        (rc = file_join(path, at, "STATE.json", err)))
        return rc;
    struct err why = {0};
    json_t *json = json_read_file(path, FIT_STATE_JSON_MAX, &why);
    if (!json)
        return err_set(err, why.code, "%s", why.text);
    rc = fit_state_read_numbers(state, json, path, err);
    struct fit_state_file file[FIT_STATE_FILES];
    const size_t files = fit_state_files(state, file);
    for (size_t i = 0; i < files && !rc; i++)
        rc = fit_state_read_file(&file[i], at, json, path, err);
    state->model->generation++;
    json_decref(json);
    return rc;
}
