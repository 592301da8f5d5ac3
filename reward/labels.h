/*
 * labels.h -- the reference answers and the kinds of a run's prompts, from the data set.
 *
 * JSON lines, plain or gzip, {"prompt": text, or "messages": [{"role", "content"}, ...],
 * "label": anything, "kind": text}; blank lines are skipped, prompt i is the i-th of the others.
 */
#ifndef REWARD_LABELS_H
#define REWARD_LABELS_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define LABELS_FILE_MAX ((size_t)4 << 30) /* bytes of the data set */

struct labels {
    struct buf text; /* of each prompt the label as compact JSON, the kind; NUL-terminated */
    size_t *at;      /* (n) where in text */
    size_t n, cap;
};

/* ERR_FORMAT names file:line and what is wrong there.  The caller ends it with
 * labels_release, also on failure. */
enum err_code labels_load(struct labels *labels, const char *path, struct err *err);
void labels_release(struct labels *labels);

/* JSON text of prompt's label, "null" where it has none; prompt < n.  Valid until release. */
const char *labels_get(const struct labels *labels, size_t prompt);

/* The kind of the prompt, NULL where it has none, or one that is no text; prompt < n.  Valid
 * until release. */
const char *labels_kind(const struct labels *labels, size_t prompt);

#endif
