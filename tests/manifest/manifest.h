/*
 * manifest.h -- Kubernetes manifests as a tree, and what is wrong with them, without a cluster.
 *
 *     file --libyaml--> documents --manifest_check_fields--> allowed fields, their types
 *                                  --manifest_check_links---> names, labels, ports that must agree
 *
 * For the kinds that ops/kubernetes has, and the fields it uses: a field that is not in the list
 * is refused, also where Kubernetes knows it.  So a misspelt one is found here, which an API
 * server may drop without a word.
 */
#ifndef TESTS_MANIFEST_MANIFEST_H
#define TESTS_MANIFEST_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "base/err.h"

#define MANIFEST_DOCUMENTS_MAX 64

struct manifest_node {
    yaml_document_t *document;
    yaml_node_t *node; /* NULL: there is none */
};

struct manifest {
    const char *path; /* borrowed */
    size_t n;
    yaml_document_t document[MANIFEST_DOCUMENTS_MAX];
};

/* ERR_FORMAT names the line that is no YAML.  The caller ends it with manifest_release, also on
 * failure. */
enum err_code manifest_read(struct manifest *manifest, const char *path, struct err *err);
void manifest_release(struct manifest *manifest);

/* What is at "spec.template.spec" below a node; no node where it is not there, or where `from` is
 * none.  A step of a path may have no dot in it. */
struct manifest_node manifest_root(struct manifest *manifest, size_t i);
struct manifest_node manifest_at(struct manifest_node from, const char *path);

/* The text of a scalar; "" for anything else. */
const char *manifest_text(struct manifest_node node);
const char *manifest_text_at(struct manifest_node from, const char *path);

/* Of a sequence, or of a mapping. */
size_t manifest_length(struct manifest_node node);
struct manifest_node manifest_item(struct manifest_node sequence, size_t i);
struct manifest_node manifest_member(struct manifest_node mapping, size_t i, const char **key);

/* The first document of this kind and name. */
struct manifest_node manifest_find(struct manifest *manifest, const char *kind,
                                   const char *name);

/* ERR_VALUE, with "FILE:LINE: Kind/name: " and a sentence. */
enum err_code manifest_fault(const struct manifest *manifest, struct manifest_node root,
                             struct manifest_node at, struct err *err, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* ERR_VALUE with the first field that is unknown, missing, or not of its type. */
enum err_code manifest_check_fields(struct manifest *manifest, struct err *err);

/* ERR_VALUE with the first thing that others do not agree with (a selector that selects nothing, a
 * port that no container has), or that rlhfd needs otherwise (probes, security, pinned images). */
enum err_code manifest_check_links(struct manifest *manifest, struct err *err);

#endif
