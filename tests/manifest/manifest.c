/* manifest.c -- the tree: see manifest.h. */
#include "tests/manifest/manifest.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum err_code manifest_read(struct manifest *manifest, const char *path, struct err *err)
{
    yaml_parser_t parser;
    manifest->path = path;
    manifest->n = 0;
    FILE *file = fopen(path, "rb");
    if (!file)
        return err_errno(err, "open %s", path);
    enum err_code rc = ERR_OK;
    if (!yaml_parser_initialize(&parser)) {
        fclose(file);
        return err_set(err, ERR_NOMEM, "no memory for YAML");
    }
    yaml_parser_set_input_file(&parser, file);
    while (rc == ERR_OK) {
        yaml_document_t *document = &manifest->document[manifest->n];
        if (!yaml_parser_load(&parser, document)) {
            rc = err_set(err, ERR_FORMAT, "%s:%zu: %s", path, parser.problem_mark.line + 1,
                         parser.problem ? parser.problem : "no YAML");
        } else if (!yaml_document_get_root_node(document)) {
            yaml_document_delete(document);
            break;
        } else if (++manifest->n == MANIFEST_DOCUMENTS_MAX) {
            rc = err_set(err, ERR_FORMAT, "%s has %d documents or more", path,
                         MANIFEST_DOCUMENTS_MAX);
        }
    }
    yaml_parser_delete(&parser);
    fclose(file);
    return rc;
}

void manifest_release(struct manifest *manifest)
{
    for (size_t i = 0; i < manifest->n; i++)
        yaml_document_delete(&manifest->document[i]);
    manifest->n = 0;
}

struct manifest_node manifest_root(struct manifest *manifest, size_t i)
{
    return (struct manifest_node){&manifest->document[i],
                                  yaml_document_get_root_node(&manifest->document[i])};
}

const char *manifest_text(struct manifest_node node)
{
    if (!node.node || node.node->type != YAML_SCALAR_NODE)
        return "";
    return (const char *)node.node->data.scalar.value;
}

size_t manifest_length(struct manifest_node at)
{
    if (at.node && at.node->type == YAML_SEQUENCE_NODE)
        return (size_t)(at.node->data.sequence.items.top - at.node->data.sequence.items.start);
    if (at.node && at.node->type == YAML_MAPPING_NODE)
        return (size_t)(at.node->data.mapping.pairs.top - at.node->data.mapping.pairs.start);
    return 0;
}

struct manifest_node manifest_item(struct manifest_node at, size_t i)
{
    if (!at.node || at.node->type != YAML_SEQUENCE_NODE || i >= manifest_length(at))
        return (struct manifest_node){0};
    return (struct manifest_node){
        at.document,
        yaml_document_get_node(at.document, at.node->data.sequence.items.start[i])};
}

struct manifest_node manifest_member(struct manifest_node at, size_t i, const char **key)
{
    if (!at.node || at.node->type != YAML_MAPPING_NODE || i >= manifest_length(at))
        return (struct manifest_node){0};
    const yaml_node_pair_t *pair = &at.node->data.mapping.pairs.start[i];
    *key = manifest_text(
        (struct manifest_node){at.document, yaml_document_get_node(at.document, pair->key)});
    return (struct manifest_node){at.document,
                                  yaml_document_get_node(at.document, pair->value)};
}

struct manifest_node manifest_at(struct manifest_node from, const char *path)
{
    while (*path) {
        const size_t n = strcspn(path, ".");
        struct manifest_node found = {0};
        for (size_t i = 0; i < manifest_length(from) && !found.node; i++) {
            const char *key = "";
            const struct manifest_node member = manifest_member(from, i, &key);
            if (strlen(key) == n && strncmp(key, path, n) == 0)
                found = member;
        }
        from = found;
        path += n + (path[n] == '.');
    }
    return from;
}

const char *manifest_text_at(struct manifest_node from, const char *path)
{
    return manifest_text(manifest_at(from, path));
}

struct manifest_node manifest_find(struct manifest *manifest, const char *kind,
                                   const char *name)
{
    for (size_t i = 0; i < manifest->n; i++) {
        const struct manifest_node root = manifest_root(manifest, i);
        if (strcmp(manifest_text_at(root, "kind"), kind) == 0 &&
            strcmp(manifest_text_at(root, "metadata.name"), name) == 0)
            return root;
    }
    return (struct manifest_node){0};
}

enum err_code manifest_fault(const struct manifest *manifest, struct manifest_node root,
                             struct manifest_node at, struct err *err, const char *format, ...)
{
    char text[384];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const yaml_node_t *node = at.node ? at.node : root.node;
    return err_set(err, ERR_VALUE, "%s:%zu: %s/%s: %s", manifest->path,
                   node->start_mark.line + 1, manifest_text_at(root, "kind"),
                   manifest_text_at(root, "metadata.name"), text);
}
