/* fields.c -- which fields there may be, of which type: see manifest.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/manifest/manifest.h"

#define FIELDS_PATH_MAX 256

/* A row is PATH TYPE, or PATH TYPE ! where it must be there when what it is in is there.  []
 * stands for the items of a list.  Types: text, name (a DNS label), count (whole, not negative),
 * bool, port (a number or a name), quantity ("4", 16Gi), mode (an octal number), map (any keys,
 * values are text). */
#define FIELDS_META "metadata.name name !", "metadata.labels map"
#define FIELDS_SELECTOR(at)                                     \
    at ".matchLabels map", at ".matchExpressions[].key text !", \
        at ".matchExpressions[].operator text !", at ".matchExpressions[].values[] text"
#define FIELDS_PROBE(at)                                                             \
    at ".httpGet.path text !", at ".httpGet.port port !", at ".periodSeconds count", \
        at ".timeoutSeconds count", at ".failureThreshold count"
#define FIELDS_CLAIM(at) at ".accessModes[] text", at ".resources.requests.storage quantity !"
#define FIELDS_POD                                                                         \
    "spec.replicas count !", "spec.selector.matchLabels map !",                            \
        "spec.template.metadata.labels map !",                                             \
        "spec.template.spec.automountServiceAccountToken bool",                            \
        "spec.template.spec.enableServiceLinks bool",                                      \
        "spec.template.spec.terminationGracePeriodSeconds count !",                        \
        "spec.template.spec.securityContext.runAsNonRoot bool !",                          \
        "spec.template.spec.securityContext.runAsUser count",                              \
        "spec.template.spec.securityContext.runAsGroup count",                             \
        "spec.template.spec.securityContext.fsGroup count",                                \
        "spec.template.spec.securityContext.fsGroupChangePolicy text",                     \
        "spec.template.spec.securityContext.seccompProfile.type text !",                   \
        "spec.template.spec.containers[].name name !",                                     \
        "spec.template.spec.containers[].image text !",                                    \
        "spec.template.spec.containers[].command[] text",                                  \
        "spec.template.spec.containers[].args[] text",                                     \
        "spec.template.spec.containers[].env[].name text !",                               \
        "spec.template.spec.containers[].env[].value text",                                \
        "spec.template.spec.containers[].env[].valueFrom.fieldRef.fieldPath text !",       \
        "spec.template.spec.containers[].ports[].name name !",                             \
        "spec.template.spec.containers[].ports[].containerPort count !",                   \
        FIELDS_PROBE("spec.template.spec.containers[].startupProbe"),                      \
        FIELDS_PROBE("spec.template.spec.containers[].livenessProbe"),                     \
        FIELDS_PROBE("spec.template.spec.containers[].readinessProbe"),                    \
        "spec.template.spec.containers[].lifecycle.preStop.exec.command[] text",           \
        "spec.template.spec.containers[].resources.requests.cpu quantity !",               \
        "spec.template.spec.containers[].resources.requests.memory quantity !",            \
        "spec.template.spec.containers[].resources.limits.memory quantity !",              \
        "spec.template.spec.containers[].securityContext.allowPrivilegeEscalation bool !", \
        "spec.template.spec.containers[].securityContext.readOnlyRootFilesystem bool !",   \
        "spec.template.spec.containers[].securityContext.capabilities.drop[] text",        \
        "spec.template.spec.containers[].volumeMounts[].name name !",                      \
        "spec.template.spec.containers[].volumeMounts[].mountPath text !",                 \
        "spec.template.spec.containers[].volumeMounts[].readOnly bool",                    \
        "spec.template.spec.volumes[].name name !",                                        \
        "spec.template.spec.volumes[].configMap.name name !",                              \
        "spec.template.spec.volumes[].secret.secretName name !",                           \
        "spec.template.spec.volumes[].secret.defaultMode mode",                            \
        "spec.template.spec.volumes[].secret.items[].key text !",                          \
        "spec.template.spec.volumes[].secret.items[].path text !",                         \
        "spec.template.spec.volumes[].persistentVolumeClaim.claimName name !",             \
        "spec.template.spec.volumes[].persistentVolumeClaim.readOnly bool"

static const char *const fields_config_map[] = {FIELDS_META, "data map !", NULL};
static const char *const fields_claim[] = {FIELDS_META, FIELDS_CLAIM("spec"), NULL};
static const char *const fields_service[] = {FIELDS_META,
                                             "spec.clusterIP text",
                                             "spec.publishNotReadyAddresses bool",
                                             "spec.selector map !",
                                             "spec.ports[].name name !",
                                             "spec.ports[].port count !",
                                             "spec.ports[].targetPort port",
                                             NULL};
static const char *const fields_deployment[] = {FIELDS_META, FIELDS_POD, NULL};
static const char *const fields_stateful_set[] = {
    FIELDS_META,
    FIELDS_POD,
    "spec.serviceName name !",
    "spec.volumeClaimTemplates[].metadata.name name !",
    "spec.volumeClaimTemplates[].metadata.labels map",
    FIELDS_CLAIM("spec.volumeClaimTemplates[].spec"),
    NULL};
static const char *const fields_budget[] = {FIELDS_META, FIELDS_SELECTOR("spec.selector"),
                                            "spec.minAvailable count !", NULL};
static const char *const fields_policy[] = {
    FIELDS_META,
    FIELDS_SELECTOR("spec.podSelector"),
    "spec.policyTypes[] text",
    FIELDS_SELECTOR("spec.ingress[].from[].podSelector"),
    FIELDS_SELECTOR("spec.ingress[].from[].namespaceSelector"),
    "spec.ingress[].ports[].protocol text",
    "spec.ingress[].ports[].port port !",
    NULL};

static const struct fields_kind {
    const char *kind, *version;
    const char *const *rows;
} fields_kinds[] = {
    {"ConfigMap", "v1", fields_config_map},
    {"PersistentVolumeClaim", "v1", fields_claim},
    {"Service", "v1", fields_service},
    {"Deployment", "apps/v1", fields_deployment},
    {"StatefulSet", "apps/v1", fields_stateful_set},
    {"PodDisruptionBudget", "policy/v1", fields_budget},
    {"NetworkPolicy", "networking.k8s.io/v1", fields_policy},
};

/* One document while it is walked. */
struct fields {
    const struct manifest *manifest;
    struct manifest_node root;
    const char *const *rows;
    struct err *err;
};

/* The row of exactly this path; NULL: none. */
static const char *fields_row(const struct fields *f, const char *path)
{
    const size_t n = strlen(path);
    for (size_t i = 0; f->rows[i]; i++)
        if (strncmp(f->rows[i], path, n) == 0 && f->rows[i][n] == ' ')
            return f->rows[i] + n + 1;
    return NULL;
}

/* Is there a row of something within it? */
static bool fields_within(const struct fields *f, const char *path, const char *follows)
{
    const size_t n = strlen(path), m = strlen(follows);
    for (size_t i = 0; f->rows[i]; i++)
        if (strncmp(f->rows[i], path, n) == 0 && strncmp(f->rows[i] + n, follows, m) == 0)
            return true;
    return false;
}

static bool fields_digits(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0';
}

/* Does a YAML parser take this unquoted scalar for a text? */
static bool fields_is_text(const yaml_node_t *node)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on",
                                        "off",  "null",  "~",   ""};
    const char *text = (const char *)node->data.scalar.value;
    char *end = NULL;
    if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return true;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i]) == 0)
            return false;
    strtod(text, &end);
    return *end != '\0';
}

static bool fields_is_name(const char *text)
{
    return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0' &&
           text[0] != '-' && strlen(text) < 64;
}

static bool fields_is_quantity(const char *text)
{
    const size_t n = strspn(text, "0123456789");
    static const char *const units[] = {"", "m", "Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (n > 0 && strcmp(text + n, units[i]) == 0)
            return true;
    return false;
}

static bool fields_fits(const yaml_node_t *node, const char *type)
{
    const char *text = (const char *)node->data.scalar.value;
    const bool plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    const size_t n = strcspn(type, " ");
    const struct {
        const char *type;
        bool fits;
    } types[] = {
        {"text", fields_is_text(node)},
        {"name", fields_is_text(node) && fields_is_name(text)},
        {"count", plain && fields_digits(text)},
        {"bool", plain && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)},
        {"port", plain && (fields_digits(text) || fields_is_name(text))},
        {"quantity", fields_is_quantity(text)},
        {"mode", plain && text[0] == '0' && text[strspn(text, "01234567")] == '\0'},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strlen(types[i].type) == n && strncmp(type, types[i].type, n) == 0)
            return types[i].fits;
    return false;
}

static enum err_code fields_walk(const struct fields *f, struct manifest_node at,
                                 const char *path);

static enum err_code fields_walk_map(const struct fields *f, struct manifest_node at,
                                     const char *path)
{
    if (at.node->type != YAML_MAPPING_NODE)
        return manifest_fault(f->manifest, f->root, at, f->err, "%s is to be a map", path);
    for (size_t i = 0; i < manifest_length(at); i++) {
        const char *key = "";
        const struct manifest_node value = manifest_member(at, i, &key);
        if (value.node->type != YAML_SCALAR_NODE || !fields_is_text(value.node))
            return manifest_fault(f->manifest, f->root, value, f->err,
                                  "%s: %s is to be a text: quote it", path, key);
    }
    return ERR_OK;
}

/* Rows marked ! directly within `path`, which is there. */
static enum err_code fields_need(const struct fields *f, struct manifest_node at,
                                 const char *path)
{
    const size_t n = strlen(path);
    for (size_t i = 0; f->rows[i]; i++) {
        const char *rest = f->rows[i] + n + (n > 0);
        const size_t m = strcspn(f->rows[i], " ");
        if (f->rows[i][strlen(f->rows[i]) - 1] != '!' || m <= n ||
            strncmp(f->rows[i], path, n) != 0 || (n > 0 && f->rows[i][n] != '.') ||
            memchr(rest, '.', m - n - (n > 0)))
            continue;
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(m - n - (n > 0)), rest);
        if (!manifest_at(at, name).node)
            return manifest_fault(f->manifest, f->root, at, f->err, "%s%s%s is missing", path,
                                  n > 0 ? "." : "", name);
    }
    return ERR_OK;
}

static enum err_code fields_walk_mapping(const struct fields *f, struct manifest_node at,
                                         const char *path)
{
    enum err_code rc = fields_need(f, at, path);
    for (size_t i = 0; i < manifest_length(at) && rc == ERR_OK; i++) {
        const char *key = "";
        char below[FIELDS_PATH_MAX];
        const struct manifest_node value = manifest_member(at, i, &key);
        const bool top = path[0] == '\0';
        if (top && (strcmp(key, "apiVersion") == 0 || strcmp(key, "kind") == 0))
            continue;
        for (size_t k = 0; k < i; k++) {
            const char *before = "";
            manifest_member(at, k, &before);
            if (strcmp(before, key) == 0)
                return manifest_fault(f->manifest, f->root, value, f->err,
                                      "%s%s%s is there twice", path, top ? "" : ".", key);
        }
        snprintf(below, sizeof below, "%s%s%s", path, top ? "" : ".", key);
        rc = fields_walk(f, value, below);
    }
    return rc;
}

static enum err_code fields_walk(const struct fields *f, struct manifest_node at,
                                 const char *path)
{
    const char *row = fields_row(f, path);
    char below[FIELDS_PATH_MAX];
    if (row && strncmp(row, "map", 3) == 0)
        return fields_walk_map(f, at, path);
    if (row) {
        if (at.node->type != YAML_SCALAR_NODE || !fields_fits(at.node, row))
            return manifest_fault(f->manifest, f->root, at, f->err,
                                  "%s is to be a %.*s, not \"%s\"", path,
                                  (int)strcspn(row, " "), row, manifest_text(at));
        return ERR_OK;
    }
    if (fields_within(f, path, "[]")) {
        enum err_code rc = ERR_OK;
        if (at.node->type != YAML_SEQUENCE_NODE)
            return manifest_fault(f->manifest, f->root, at, f->err, "%s is to be a list", path);
        snprintf(below, sizeof below, "%s[]", path);
        for (size_t i = 0; i < manifest_length(at) && rc == ERR_OK; i++)
            rc = fields_walk(f, manifest_item(at, i), below);
        return rc;
    }
    if (path[0] != '\0' && !fields_within(f, path, "."))
        return manifest_fault(f->manifest, f->root, at, f->err, "there is no field %s", path);
    if (at.node->type != YAML_MAPPING_NODE)
        return manifest_fault(f->manifest, f->root, at, f->err, "%s is to have fields", path);
    return fields_walk_mapping(f, at, path);
}

enum err_code manifest_check_fields(struct manifest *manifest, struct err *err)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < manifest->n && rc == ERR_OK; i++) {
        struct fields f = {manifest, manifest_root(manifest, i), NULL, err};
        const char *kind = manifest_text_at(f.root, "kind");
        for (size_t k = 0; k < sizeof fields_kinds / sizeof fields_kinds[0]; k++) {
            if (strcmp(fields_kinds[k].kind, kind) == 0 &&
                strcmp(fields_kinds[k].version, manifest_text_at(f.root, "apiVersion")) == 0)
                f.rows = fields_kinds[k].rows;
        }
        rc = f.rows ? fields_walk(&f, f.root, "")
                    : manifest_fault(manifest, f.root, f.root, err,
                                     "no kind of apiVersion %s that is known here",
                                     manifest_text_at(f.root, "apiVersion"));
    }
    return rc;
}
