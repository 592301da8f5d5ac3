/*
 * config_internal.h -- between config.c (the schema) and config_yaml.c (the YAML walk) only.
 */
#ifndef NODE_CONFIG_INTERNAL_H
#define NODE_CONFIG_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/file.h"
#include "node/config.h"

#define CONFIG_BYTES_MAX (1024u * 1024u)
#define CONFIG_DEPTH_MAX 8

struct config_reader {
    const struct config_schema *schema;
    void *out;
    const char *file;
    const char *override; /* the one being read; NULL: the file */
    size_t override_number;
    size_t line;               /* of the token being read, from 1 */
    size_t list_mark;          /* names the list being read, so that the next replaces it */
    char dir[FILE_PATH_MAX];   /* where relative paths start; "" is / */
    char where[FILE_PATH_MAX]; /* what config_where wrote last */
    size_t seen[CONFIG_ELEMENTS_MAX][CONFIG_KEYS_MAX]; /* line that set it; 0: none did */
};

/* "file:line" or the override; valid until the next call. */
const char *config_where(struct config_reader *reader);

/* A mapping or a list begins at `path`: may it? */
enum err_code config_enter(struct config_reader *reader, const char *path, bool list,
                           struct err *err);

/* Give `path` (of element `index`, where it names a list's) this scalar. */
enum err_code config_assign(struct config_reader *reader, const char *path, size_t index,
                            const char *value, bool quoted, struct err *err);

enum err_code config_refuse_key(struct config_reader *reader, const char *path,
                                struct err *err);

/* Walk a YAML text whose top is the mapping at `prefix` ("": the whole). */
enum err_code config_yaml_read(struct config_reader *reader, const char *text, size_t size,
                               const char *prefix, struct err *err);

/* "dotted.key=value". */
enum err_code config_yaml_override(struct config_reader *reader, const char *override,
                                   struct err *err);

#endif
