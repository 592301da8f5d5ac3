/*
 * seen.h -- which hashes were seen before, in which files and where first.
 *
 * A hash table that grows up to SEEN_MAX entries (256 MiB); new hashes past that are not
 * remembered, so that counts of repetitions become lower bounds, and `full` says so.
 */
#ifndef DATA_SEEN_H
#define DATA_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SEEN_MAX       ((size_t)8 << 20) /* distinct hashes */
#define SEEN_FILES_MAX 8

struct seen_entry {
    uint64_t hash;
    uint64_t line : 48; /* where it was first */
    uint64_t file : 8;
    uint64_t files : 8; /* in which it was; 0: the entry is free */
};

struct seen {
    struct seen_entry *entry; /* (slots) NULL: none held */
    size_t slots, n;          /* slots: a power of two, at least 2 n */
    size_t max;               /* of n, at most SEEN_MAX */
    bool full;
};

/* Holds no memory yet.  The caller releases it with seen_release. */
void seen_init(struct seen *seen, size_t max);
void seen_release(struct seen *seen);

/* Put (hash, file) in; *before is what was known of the hash before, with files = 0 where
 * nothing was.  ERR_NOMEM. */
enum err_code seen_put(struct seen *seen, uint64_t hash, unsigned file, uint64_t line,
                       struct seen_entry *before, struct err *err);

#endif
