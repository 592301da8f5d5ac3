/*
 * config.h -- YAML held against a schema: a table of keys over the fields of one struct.
 *
 * The caller has a struct, and a table with a row a key: where in the struct it goes, its type,
 * unit, range, default and meaning.  config_load fills the struct from the defaults, then a
 * file, then overrides; everything that is not exactly what the table allows is refused with
 * file:line and, for an unknown key, the nearest one there is.
 *
 * The YAML taken is the plain part of it: mappings, lists where the schema has lists, scalars.
 * Anchors, aliases, tags and several documents are refused; depth <= 8, size <= 1 MiB.
 * A quoted scalar is text: `steps: "5"` is a wrong type.  Blocks on the disk; no global state.
 */
#ifndef NODE_CONFIG_H
#define NODE_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum config_type {
    CONFIG_BOOL,  /* bool:     true, false */
    CONFIG_U32,   /* uint32_t */
    CONFIG_U64,   /* uint64_t */
    CONFIG_F32,   /* float     finite */
    CONFIG_F64,   /* double    finite */
    CONFIG_TEXT,  /* char[size] */
    CONFIG_PATH,  /* char[size], made absolute: relative ones start at the file's directory */
    CONFIG_WORD,  /* an enum (4 bytes), one of `words` in the enum's order */
    CONFIG_TEXTS, /* char[list_max][size] and a uint32_t count at count_at: a list of texts */
};

struct config_key {
    const char *path; /* "ppo.gamma"; of a list's elements "reward.scorers[].weight" */
    enum config_type type;
    size_t at;                /* offset in the struct, or in the list's element */
    size_t size;              /* bytes of TEXT, PATH and of each of TEXTS, the NUL included */
    double min, max;          /* of numbers */
    const char *preset;       /* the default as it would stand in the file; NULL: required */
    const char *const *words; /* WORD: NULL-terminated */
    size_t count_at;          /* TEXTS */
    uint32_t list_max;        /* TEXTS */
    const char *unit;         /* "nats", "tokens", "" */
    const char *doc;          /* one or two sentences */
};

/* A list of mappings: element i is at `at + i * stride`; the count, uint32_t, at count_at. */
struct config_list {
    const char *path; /* "reward.scorers" */
    size_t at, stride, count_at;
    uint32_t max;
};

struct config_schema {
    const struct config_key *keys;
    size_t keys_n;
    const struct config_list *lists;
    size_t lists_n;
};

#define CONFIG_ELEMENTS_MAX 16 /* of a list of mappings */
#define CONFIG_KEYS_MAX     192

/*
 * Fill `out` (the caller zeroes it).  An override is "dotted.key=value" with list elements by
 * number ("reward.scorers.0.weight=2"), applied after the file; relative paths in it start at
 * the working directory.  ERR_USAGE for what a person has to mend, with "file:line: sentence";
 * ERR_IO where the file cannot be read; ERR_NOMEM.  *out is unspecified after an error.
 */
enum err_code config_load(const struct config_schema *schema, void *out, const char *path,
                          const char *const *overrides, size_t overrides_n, struct err *err);

/* The struct as YAML with every key in the schema's order; config_load reads it back equal. */
void config_write(const struct config_schema *schema, const void *in, struct buf *out);

/* One key's value as it stands in config_write's YAML, on one line (lists in flow style).
 * `base` is the struct, or the element of a list. */
void config_write_value(const struct config_key *key, const void *base, struct buf *out);

/* The schema as Markdown tables, one a section (the word before the first dot). */
void config_document(const struct config_schema *schema, struct buf *out);

/* The text of `have` that is nearest to `word` by edit distance, or NULL where none is near
 * (distance over a third of the word's length, at least 2). */
const char *config_nearest(const char *word, const char *const *have, size_t n);

#endif
