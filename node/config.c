/* config.c -- see config.h.  The YAML walk is in config_yaml.c; this file knows the schema. */
#include "node/config.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "node/config_internal.h"

/* One edit: insert, delete, replace.  Words of a schema are short, so two rows do. */
static size_t config_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t row[LONGEST + 1];
    const size_t bn = strlen(b) < LONGEST ? strlen(b) : LONGEST;
    for (size_t j = 0; j <= bn; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j <= bn; j++) {
            const size_t replace = diagonal + (a[i] != b[j - 1]);
            diagonal = row[j];
            const size_t gap = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = replace < gap ? replace : gap;
        }
    }
    return row[bn];
}

const char *config_nearest(const char *word, const char *const *have, size_t n)
{
    const char *nearest = NULL;
    const size_t third = strlen(word) / 3;
    size_t best = (third > 2 ? third : 2) + 1;
    for (size_t i = 0; i < n; i++) {
        const size_t distance = config_distance(word, have[i]);
        if (distance < best) {
            best = distance;
            nearest = have[i];
        }
    }
    return nearest;
}

/* "a sentence; did you mean X?" where there is an X. */
static enum err_code config_unknown(struct config_reader *reader, const char *what,
                                    const char *word, const char *const *have, size_t n,
                                    struct err *err)
{
    const char *nearest = config_nearest(word, have, n);
    if (nearest)
        return err_set(err, ERR_USAGE, "%s: %s \"%s\"; did you mean \"%s\"?",
                       config_where(reader), what, word, nearest);
    return err_set(err, ERR_USAGE, "%s: %s \"%s\"", config_where(reader), what, word);
}

const char *config_where(struct config_reader *reader)
{
    if (reader->override)
        snprintf(reader->where, sizeof reader->where, "override \"%.200s\"", reader->override);
    else
        snprintf(reader->where, sizeof reader->where, "%s:%zu", reader->file, reader->line);
    return reader->where;
}

/* Take "." and "x/.." out of an absolute path, by its letters alone: what it starts with was
 * resolved already. */
static void config_tidy(char *path)
{
    size_t out = 0;
    for (const char *from = path; *from != '\0';) {
        const size_t n = 1 + strcspn(from + 1, "/"); /* "/name" */
        if (n == 3 && strncmp(from, "/..", 3) == 0) {
            while (out > 0 && path[--out] != '/')
                continue;
        } else if (n > 1 && !(n == 2 && from[1] == '.')) {
            memmove(path + out, from, n);
            out += n;
        }
        from += n;
    }
    if (out == 0)
        path[out++] = '/';
    path[out] = '\0';
}

static enum err_code config_set_text(struct config_reader *reader, const struct config_key *key,
                                     char *out, const char *value, struct err *err)
{
    const bool relative = key->type == CONFIG_PATH && value[0] != '\0' && value[0] != '/';
    const int n = relative ? snprintf(out, key->size, "%s/%s", reader->dir, value)
                           : snprintf(out, key->size, "%s", value);
    if (n < 0 || (size_t)n >= key->size)
        return err_set(err, ERR_USAGE, "%s: %s is longer than %zu bytes", config_where(reader),
                       key->path, key->size - 1);
    if (key->type == CONFIG_PATH && out[0] == '/')
        config_tidy(out);
    return ERR_OK;
}

static enum err_code config_set_whole(struct config_reader *reader,
                                      const struct config_key *key, void *at, const char *value,
                                      struct err *err)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long number = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno == ERANGE)
        return err_set(err, ERR_USAGE,
                       "%s: %s must be a whole number, %.15g .. %.15g, not \"%.60s\"",
                       config_where(reader), key->path, key->min, key->max, value);
    if ((double)number < key->min || (double)number > key->max)
        return err_set(err, ERR_USAGE, "%s: %s is %llu, outside %.15g .. %.15g",
                       config_where(reader), key->path, number, key->min, key->max);
    if (key->type == CONFIG_U32)
        *(uint32_t *)at = (uint32_t)number;
    else
        *(uint64_t *)at = number;
    return ERR_OK;
}

static enum err_code config_set_real(struct config_reader *reader, const struct config_key *key,
                                     void *at, const char *value, struct err *err)
{
    char *end = NULL;
    const double number = strtod(value, &end);
    const bool starts = value[0] != '\0' && strchr("+-.0123456789", value[0]) != NULL;
    if (!starts || *end != '\0' || !isfinite(number) || strpbrk(value, "xX"))
        return err_set(err, ERR_USAGE, "%s: %s must be a number, %.15g .. %.15g, not \"%.60s\"",
                       config_where(reader), key->path, key->min, key->max, value);
    if (number < key->min || number > key->max)
        return err_set(err, ERR_USAGE, "%s: %s is %.15g, outside %.15g .. %.15g",
                       config_where(reader), key->path, number, key->min, key->max);
    if (key->type == CONFIG_F32)
        *(float *)at = (float)number;
    else
        *(double *)at = number;
    return ERR_OK;
}

static enum err_code config_set_word(struct config_reader *reader, const struct config_key *key,
                                     void *at, const char *value, struct err *err)
{
    size_t n = 0;
    for (; key->words[n]; n++) {
        if (strcmp(key->words[n], value) == 0) {
            *(uint32_t *)at = (uint32_t)n;
            return ERR_OK;
        }
    }
    char what[256];
    size_t used = (size_t)snprintf(what, sizeof what, "%s must be one of", key->path);
    for (size_t i = 0; i < n && used < sizeof what; i++)
        used += (size_t)snprintf(what + used, sizeof what - used, "%s %s", i ? "," : "",
                                 key->words[i]);
    if (used < sizeof what)
        snprintf(what + used, sizeof what - used, ", not");
    return config_unknown(reader, what, value, key->words, n, err);
}

static enum err_code config_add_text(struct config_reader *reader, const struct config_key *key,
                                     void *base, const char *value, struct err *err)
{
    uint32_t *count = (uint32_t *)(void *)((char *)base + key->count_at);
    if (*count == key->list_max)
        return err_set(err, ERR_USAGE, "%s: %s has more than %u elements", config_where(reader),
                       key->path, key->list_max);
    char *out = (char *)base + key->at + (size_t)*count * key->size;
    *count += 1;
    return config_set_text(reader, key, out, value, err);
}

static enum err_code config_set(struct config_reader *reader, const struct config_key *key,
                                void *base, const char *value, bool quoted, struct err *err)
{
    void *at = (char *)base + key->at;
    const bool text = key->type == CONFIG_TEXT || key->type == CONFIG_PATH ||
                      key->type == CONFIG_WORD || key->type == CONFIG_TEXTS;
    if (quoted && !text && value[0] == '\0')
        return err_set(err, ERR_USAGE, "%s: %s has no value", config_where(reader), key->path);
    if (quoted && !text)
        return err_set(err, ERR_USAGE, "%s: %s must be a %s, not text in quotes",
                       config_where(reader), key->path,
                       key->type == CONFIG_BOOL ? "true or false" : "number");
    switch (key->type) {
    case CONFIG_BOOL:
        if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
            return err_set(err, ERR_USAGE, "%s: %s must be true or false, not \"%.60s\"",
                           config_where(reader), key->path, value);
        *(bool *)at = value[0] == 't';
        return ERR_OK;
    case CONFIG_U32:
    case CONFIG_U64: return config_set_whole(reader, key, at, value, err);
    case CONFIG_F32:
    case CONFIG_F64: return config_set_real(reader, key, at, value, err);
    case CONFIG_TEXT:
    case CONFIG_PATH: return config_set_text(reader, key, at, value, err);
    case CONFIG_WORD: return config_set_word(reader, key, at, value, err);
    case CONFIG_TEXTS: return config_add_text(reader, key, base, value, err);
    }
    return err_set(err, ERR_STATE, "%s: no such type", key->path);
}

/* Is `path` a section ("ppo") or a list of the schema? */
static bool config_is_section(const struct config_schema *schema, const char *path)
{
    const size_t n = strlen(path);
    for (size_t i = 0; i < schema->keys_n; i++)
        if (strncmp(schema->keys[i].path, path, n) == 0 && schema->keys[i].path[n] == '.')
            return true;
    return false;
}

enum err_code config_enter(struct config_reader *reader, const char *path, bool list,
                           struct err *err)
{
    const struct config_schema *schema = reader->schema;
    if (list) {
        for (size_t i = 0; i < schema->lists_n; i++)
            if (strcmp(schema->lists[i].path, path) == 0)
                return ERR_OK;
        for (size_t i = 0; i < schema->keys_n; i++)
            if (schema->keys[i].type == CONFIG_TEXTS && strcmp(schema->keys[i].path, path) == 0)
                return ERR_OK;
    } else if (config_is_section(schema, path)) {
        return ERR_OK;
    }
    for (size_t i = 0; i < schema->keys_n; i++)
        if (strcmp(schema->keys[i].path, path) == 0)
            return err_set(err, ERR_USAGE, "%s: %s takes a single value, not a %s",
                           config_where(reader), path, list ? "list" : "mapping");
    return config_refuse_key(reader, path, err);
}

enum err_code config_refuse_key(struct config_reader *reader, const char *path, struct err *err)
{
    if (config_is_section(reader->schema, path))
        return err_set(err, ERR_USAGE, "%s: %s holds keys of its own, not a value or a list",
                       config_where(reader), path);
    for (size_t i = 0; i < reader->schema->lists_n; i++)
        if (strcmp(reader->schema->lists[i].path, path) == 0)
            return err_set(
                err, ERR_USAGE,
                "%s: %s is a list of elements with keys of their own: the first one's "
                "are %s.0.KEY on a command line",
                config_where(reader), path, path);
    const char *have[2 * CONFIG_KEYS_MAX];
    char sections[CONFIG_KEYS_MAX][32];
    size_t n = 0;
    for (size_t i = 0; i < reader->schema->keys_n; i++) {
        const char *key = reader->schema->keys[i].path;
        have[n++] = key;
        const char *dot = strchr(key, '.');
        if (dot && (size_t)(dot - key) < sizeof sections[i]) {
            snprintf(sections[i], sizeof sections[i], "%.*s", (int)(dot - key), key);
            have[n++] = sections[i];
        }
    }
    return config_unknown(reader, "there is no key", path, have, n, err);
}

/* Where the value of `path` (element `index` of a list, where it has one) goes. */
static enum err_code config_find(struct config_reader *reader, const char *path, size_t index,
                                 const struct config_key **key, void **base, struct err *err)
{
    const struct config_schema *schema = reader->schema;
    *base = reader->out;
    for (size_t i = 0; i < schema->lists_n; i++) {
        const struct config_list *list = &schema->lists[i];
        const size_t n = strlen(list->path);
        if (strncmp(path, list->path, n) != 0 || strncmp(path + n, "[].", 3) != 0)
            continue;
        if (index >= list->max)
            return err_set(err, ERR_USAGE, "%s: %s has more than %u elements",
                           config_where(reader), list->path, list->max);
        uint32_t *count = (uint32_t *)(void *)((char *)reader->out + list->count_at);
        if (index > *count)
            return err_set(err, ERR_USAGE, "%s: %s has %u elements, so there is no number %zu",
                           config_where(reader), list->path, *count, index);
        if (index == *count)
            *count += 1;
        *base = (char *)reader->out + list->at + index * list->stride;
    }
    for (size_t i = 0; i < schema->keys_n; i++) {
        if (strcmp(schema->keys[i].path, path) == 0) {
            *key = &schema->keys[i];
            return ERR_OK;
        }
    }
    return config_refuse_key(reader, path, err);
}

enum err_code config_assign(struct config_reader *reader, const char *path, size_t index,
                            const char *value, bool quoted, struct err *err)
{
    const struct config_key *key = NULL;
    void *base = NULL;
    enum err_code rc = config_find(reader, path, index, &key, &base, err);
    if (rc)
        return rc;

    size_t *seen =
        &reader->seen[index < CONFIG_ELEMENTS_MAX ? index : 0][key - reader->schema->keys];
    const size_t mark = reader->override ? SIZE_MAX - reader->override_number : reader->line;
    if (key->type == CONFIG_TEXTS) {
        if (*seen != reader->list_mark) /* a list replaces the one before it as a whole */
            *(uint32_t *)(void *)((char *)base + key->count_at) = 0;
        *seen = reader->list_mark;
    } else {
        if (*seen != 0 && !reader->override)
            return err_set(err, ERR_USAGE, "%s: %s was set already on line %zu",
                           config_where(reader), path, *seen);
        *seen = mark;
    }
    return config_set(reader, key, base, value, quoted, err);
}

/* Defaults of the keys with that prefix state: of a list's elements, or of everything else. */
static enum err_code config_presets(struct config_reader *reader, struct err *err)
{
    for (size_t i = 0; i < reader->schema->keys_n; i++) {
        const struct config_key *key = &reader->schema->keys[i];
        const bool in_list = strstr(key->path, "[].") != NULL;
        if (!key->preset || key->type == CONFIG_TEXTS)
            continue;
        const size_t elements = in_list ? CONFIG_ELEMENTS_MAX : 1;
        for (size_t e = 0; e < elements; e++) {
            void *base = reader->out;
            for (size_t l = 0; in_list && l < reader->schema->lists_n; l++) {
                const struct config_list *list = &reader->schema->lists[l];
                const size_t n = strlen(list->path);
                if (e < list->max && strncmp(key->path, list->path, n) == 0)
                    base = (char *)reader->out + list->at + e * list->stride;
            }
            if (in_list && base == reader->out)
                continue;
            enum err_code rc = config_set(reader, key, base, key->preset, false, err);
            if (rc)
                return rc;
        }
    }
    return ERR_OK;
}

static enum err_code config_required(const struct config_reader *reader, struct err *err)
{
    for (size_t i = 0; i < reader->schema->keys_n; i++) {
        const struct config_key *key = &reader->schema->keys[i];
        if (key->preset || key->type == CONFIG_TEXTS)
            continue;
        size_t elements = 1;
        for (size_t l = 0; l < reader->schema->lists_n; l++) {
            const struct config_list *list = &reader->schema->lists[l];
            const size_t n = strlen(list->path);
            if (strncmp(key->path, list->path, n) == 0 && key->path[n] == '[')
                elements = *(uint32_t *)(void *)((char *)reader->out + list->count_at);
        }
        for (size_t e = 0; e < elements; e++)
            if (reader->seen[e][i] == 0)
                return err_set(err, ERR_USAGE, "%s: %s has no value, and no default",
                               reader->file, key->path);
    }
    return ERR_OK;
}

/* Of a file: the directory it lies in; of an override: the working directory. */
static enum err_code config_set_dir(struct config_reader *reader, const char *path,
                                    struct err *err)
{
    char own[FILE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    const size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof own)
        return err_set(err, ERR_USAGE, "path is over %d bytes: %.80s...", FILE_PATH_MAX, path);
    snprintf(own, sizeof own, "%.*s", n > 0 ? (int)n : 1, n > 0 ? path : slash ? "/" : ".");
    char *real = realpath(own, NULL);
    if (!real)
        return err_errno(err, "directory of %s", path);
    const int written =
        snprintf(reader->dir, sizeof reader->dir, "%s", strcmp(real, "/") == 0 ? "" : real);
    free(real);
    if (written < 0 || (size_t)written >= sizeof reader->dir)
        return err_set(err, ERR_USAGE, "directory of %s is over %d bytes", path, FILE_PATH_MAX);
    return ERR_OK;
}

enum err_code config_load(const struct config_schema *schema, void *out, const char *path,
                          const char *const *overrides, size_t overrides_n, struct err *err)
{
    assert(schema->keys_n <= CONFIG_KEYS_MAX);
    struct buf text;
    buf_init(&text, CONFIG_BYTES_MAX);
    struct config_reader *reader = calloc(1, sizeof *reader);
    enum err_code rc = reader ? ERR_OK : err_set(err, ERR_NOMEM, "out of memory for %s", path);
    if (rc)
        goto out;
    reader->schema = schema;
    reader->out = out;
    reader->file = path;

    if ((rc = file_read(path, &text, err)) || (rc = config_set_dir(reader, path, err)) ||
        (rc = config_presets(reader, err)) ||
        (rc = config_yaml_read(reader, text.data, text.len, "", err)))
        goto out;
    if (overrides_n > 0 && (rc = config_set_dir(reader, "./override", err)))
        goto out;
    for (size_t i = 0; i < overrides_n; i++) {
        reader->override = overrides[i];
        reader->override_number = i;
        if ((rc = config_yaml_override(reader, overrides[i], err)))
            goto out;
    }
    reader->override = NULL;
    rc = config_required(reader, err);
out:
    free(reader);
    buf_release(&text);
    return rc;
}
