/* links.c -- what has to agree with what: see manifest.h. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/manifest/manifest.h"

struct links {
    struct manifest *manifest;
    struct manifest_node root; /* the document that is looked at */
    struct err *err;
};

static bool links_is(struct manifest_node root, const char *kind)
{
    return strcmp(manifest_text_at(root, "kind"), kind) == 0;
}

/* Pods of this document, or no node. */
static struct manifest_node links_pods(struct manifest_node root)
{
    return links_is(root, "Deployment") || links_is(root, "StatefulSet")
               ? manifest_at(root, "spec.template")
               : (struct manifest_node){0};
}

/* A member by its whole key: labels have dots. */
static const char *links_label(struct manifest_node labels, const char *label)
{
    for (size_t i = 0; i < manifest_length(labels); i++) {
        const char *key = "";
        const struct manifest_node value = manifest_member(labels, i, &key);
        if (strcmp(key, label) == 0)
            return manifest_text(value);
    }
    return NULL;
}

static bool links_has_labels(struct manifest_node labels, struct manifest_node wanted)
{
    for (size_t i = 0; i < manifest_length(wanted); i++) {
        const char *key = "";
        const struct manifest_node value = manifest_member(wanted, i, &key);
        const char *has = links_label(labels, key);
        if (!has || strcmp(has, manifest_text(value)) != 0)
            return false;
    }
    return true;
}

/* matchLabels and matchExpressions, of which only `In` is known. */
static bool links_selects(struct manifest_node selector, struct manifest_node labels)
{
    const struct manifest_node more = manifest_at(selector, "matchExpressions");
    if (!links_has_labels(labels, manifest_at(selector, "matchLabels")))
        return false;
    for (size_t i = 0; i < manifest_length(more); i++) {
        const struct manifest_node one = manifest_item(more, i);
        const struct manifest_node values = manifest_at(one, "values");
        const char *has = links_label(labels, manifest_text_at(one, "key"));
        bool in = false;
        for (size_t v = 0; v < manifest_length(values) && has; v++)
            in = in || strcmp(manifest_text(manifest_item(values, v)), has) == 0;
        if (!in || strcmp(manifest_text_at(one, "operator"), "In") != 0)
            return false;
    }
    return true;
}

/* A port, by number or name, among those of a pod's containers. */
static bool links_has_port(struct manifest_node pods, const char *port)
{
    const struct manifest_node containers = manifest_at(pods, "spec.containers");
    for (size_t c = 0; c < manifest_length(containers); c++) {
        const struct manifest_node ports = manifest_at(manifest_item(containers, c), "ports");
        for (size_t i = 0; i < manifest_length(ports); i++) {
            const struct manifest_node one = manifest_item(ports, i);
            if (strcmp(manifest_text_at(one, "name"), port) == 0 ||
                strcmp(manifest_text_at(one, "containerPort"), port) == 0)
                return true;
        }
    }
    return false;
}

/* Every value of a selector's `In` is some pods' label: one of three that is misspelt would go
 * unseen, since the others select. */
static enum err_code links_check_values(const struct links *l, struct manifest_node selector)
{
    const struct manifest_node more = manifest_at(selector, "matchExpressions");
    for (size_t i = 0; i < manifest_length(more); i++) {
        const struct manifest_node one = manifest_item(more, i);
        const struct manifest_node values = manifest_at(one, "values");
        for (size_t v = 0; v < manifest_length(values); v++) {
            const struct manifest_node value = manifest_item(values, v);
            bool there = false;
            for (size_t d = 0; d < l->manifest->n; d++) {
                const char *has = links_label(
                    manifest_at(links_pods(manifest_root(l->manifest, d)), "metadata.labels"),
                    manifest_text_at(one, "key"));
                there = there || (has && strcmp(has, manifest_text(value)) == 0);
            }
            if (!there)
                return manifest_fault(l->manifest, l->root, value, l->err,
                                      "no pods have the label %s: %s",
                                      manifest_text_at(one, "key"), manifest_text(value));
        }
    }
    return ERR_OK;
}

/*
 * Selects at least some pods of the file, and all it selects have these ports (a list of
 * {port: ...} or {targetPort: ...}; may be no node).  `replicas`, unless NULL: how many pods.
 */
static enum err_code links_check_selector(const struct links *l, struct manifest_node selector,
                                          bool labels_alone, struct manifest_node ports,
                                          unsigned long *replicas)
{
    bool selects = false;
    enum err_code rc = labels_alone ? ERR_OK : links_check_values(l, selector);
    for (size_t d = 0; d < l->manifest->n && rc == ERR_OK; d++) {
        const struct manifest_node root = manifest_root(l->manifest, d),
                                   pods = links_pods(root);
        const struct manifest_node labels = manifest_at(pods, "metadata.labels");
        if (!pods.node || (labels_alone ? !links_has_labels(labels, selector)
                                        : !links_selects(selector, labels)))
            continue;
        selects = true;
        if (replicas)
            *replicas += strtoul(manifest_text_at(root, "spec.replicas"), NULL, 10);
        for (size_t i = 0; i < manifest_length(ports); i++) {
            const struct manifest_node one = manifest_item(ports, i);
            const char *target = manifest_text_at(one, "targetPort");
            const char *port = *target ? target : manifest_text_at(one, "port");
            if (!links_has_port(pods, port))
                return manifest_fault(l->manifest, l->root, one, l->err,
                                      "the pods of %s have no port %s",
                                      manifest_text_at(root, "metadata.name"), port);
        }
    }
    if (rc == ERR_OK && !selects)
        rc = manifest_fault(l->manifest, l->root, selector, l->err,
                            "the selector selects no pods of this file");
    return rc;
}

/* --- workloads ------------------------------------------------------------------------------ */

static enum err_code links_check_image(const struct links *l, struct manifest_node container)
{
    const struct manifest_node at = manifest_at(container, "image");
    const char *image = manifest_text(at), *slash = strrchr(image, '/');
    const char *tag = strchr(slash ? slash : image, ':');
    const bool pinned =
        strstr(image, "@sha256:") || (tag && tag[1] && strcmp(tag, ":latest") != 0);
    return pinned
               ? ERR_OK
               : manifest_fault(l->manifest, l->root, at, l->err,
                                "image %s is not pinned: a tag other than latest, or a digest",
                                image);
}

static enum err_code links_check_probe(const struct links *l, struct manifest_node container,
                                       const char *name, const char *allowed)
{
    const struct manifest_node probe = manifest_at(container, name);
    const char *path = manifest_text_at(probe, "httpGet.path");
    const char *port = manifest_text_at(probe, "httpGet.port");
    if (!probe.node)
        return ERR_OK;
    if (strcmp(path, allowed) != 0)
        return manifest_fault(l->manifest, l->root, probe, l->err,
                              "%s asks %s: only %s is right", name, path, allowed);
    if (!links_has_port(links_pods(l->root), port))
        return manifest_fault(l->manifest, l->root, probe, l->err,
                              "%s asks port %s, which no container has", name, port);
    return ERR_OK;
}

static enum err_code links_check_security(const struct links *l, struct manifest_node container)
{
    const struct {
        struct manifest_node from;
        const char *path, *value;
    } wanted[] = {
        {l->root, "spec.template.spec.securityContext.runAsNonRoot", "true"},
        {l->root, "spec.template.spec.securityContext.seccompProfile.type", "RuntimeDefault"},
        {l->root, "spec.template.spec.automountServiceAccountToken", "false"},
        {container, "securityContext.allowPrivilegeEscalation", "false"},
        {container, "securityContext.readOnlyRootFilesystem", "true"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (strcmp(manifest_text_at(wanted[i].from, wanted[i].path), wanted[i].value) != 0)
            return manifest_fault(l->manifest, l->root, container, l->err, "%s is not %s",
                                  wanted[i].path, wanted[i].value);
    const struct manifest_node drop =
        manifest_at(container, "securityContext.capabilities.drop");
    if (strcmp(manifest_text(manifest_item(drop, 0)), "ALL") != 0)
        return manifest_fault(l->manifest, l->root, container, l->err,
                              "capabilities.drop is not [ALL]");
    return ERR_OK;
}

static bool links_has_name(struct manifest_node list, const char *path, const char *name)
{
    for (size_t i = 0; i < manifest_length(list); i++)
        if (strcmp(manifest_text_at(manifest_item(list, i), path), name) == 0)
            return true;
    return false;
}

static enum err_code links_check_mounts(const struct links *l, struct manifest_node container)
{
    const struct manifest_node mounts = manifest_at(container, "volumeMounts");
    for (size_t i = 0; i < manifest_length(mounts); i++) {
        const struct manifest_node mount = manifest_item(mounts, i);
        const char *name = manifest_text_at(mount, "name");
        if (!links_has_name(manifest_at(l->root, "spec.template.spec.volumes"), "name", name) &&
            !links_has_name(manifest_at(l->root, "spec.volumeClaimTemplates"), "metadata.name",
                            name))
            return manifest_fault(l->manifest, l->root, mount, l->err,
                                  "there is no volume %s to mount", name);
    }
    return ERR_OK;
}

/* What volumes name is in the file; Secrets alone are made elsewhere. */
static enum err_code links_check_volumes(const struct links *l)
{
    const struct manifest_node volumes = manifest_at(l->root, "spec.template.spec.volumes");
    for (size_t i = 0; i < manifest_length(volumes); i++) {
        const struct manifest_node one = manifest_item(volumes, i);
        const char *map = manifest_text_at(one, "configMap.name");
        const char *claim = manifest_text_at(one, "persistentVolumeClaim.claimName");
        if (*map && !manifest_find(l->manifest, "ConfigMap", map).node)
            return manifest_fault(l->manifest, l->root, one, l->err, "there is no ConfigMap %s",
                                  map);
        if (*claim && !manifest_find(l->manifest, "PersistentVolumeClaim", claim).node)
            return manifest_fault(l->manifest, l->root, one, l->err,
                                  "there is no PersistentVolumeClaim %s", claim);
    }
    return ERR_OK;
}

/* "--control=tcp://NAME:PORT" names a Service and a port of it, where NAME is no number or
 * variable. */
static enum err_code links_check_address(const struct links *l, struct manifest_node arg)
{
    const char *at = strstr(manifest_text(arg), "tcp://");
    char name[64], port[16];
    if (!at || sscanf(at, "tcp://%63[^:]:%15s", name, port) != 2 ||
        !islower((unsigned char)*name))
        return ERR_OK;
    const struct manifest_node service = manifest_find(l->manifest, "Service", name);
    if (!service.node)
        return manifest_fault(l->manifest, l->root, arg, l->err, "there is no Service %s",
                              name);
    if (!links_has_name(manifest_at(service, "spec.ports"), "port", port))
        return manifest_fault(l->manifest, l->root, arg, l->err, "Service %s has no port %s",
                              name, port);
    return ERR_OK;
}

/* "$(NAME)" stays as it is where no variable has that name. */
static enum err_code links_check_variables(const struct links *l,
                                           struct manifest_node container,
                                           struct manifest_node arg)
{
    char name[64];
    const char *at = strstr(manifest_text(arg), "$(");
    if (!at || sscanf(at, "$(%63[^)])", name) != 1)
        return ERR_OK;
    return links_has_name(manifest_at(container, "env"), "name", name)
               ? ERR_OK
               : manifest_fault(l->manifest, l->root, arg, l->err, "there is no variable %s",
                                name);
}

static enum err_code links_check_container(const struct links *l,
                                           struct manifest_node container)
{
    const struct manifest_node args = manifest_at(container, "args");
    enum err_code rc = links_check_image(l, container);
    if (rc == ERR_OK)
        rc = links_check_probe(l, container, "startupProbe", "/healthz");
    if (rc == ERR_OK)
        rc = links_check_probe(l, container, "livenessProbe", "/healthz");
    if (rc == ERR_OK)
        rc = links_check_probe(l, container, "readinessProbe", "/readyz");
    if (rc == ERR_OK)
        rc = links_check_security(l, container);
    if (rc == ERR_OK)
        rc = links_check_mounts(l, container);
    for (size_t i = 0; i < manifest_length(args) && rc == ERR_OK; i++) {
        rc = links_check_address(l, manifest_item(args, i));
        if (rc == ERR_OK)
            rc = links_check_variables(l, container, manifest_item(args, i));
    }
    return rc;
}

static enum err_code links_check_workload(const struct links *l)
{
    const struct manifest_node spec = manifest_at(l->root, "spec");
    const struct manifest_node containers = manifest_at(spec, "template.spec.containers");
    const char *service = manifest_text_at(spec, "serviceName");
    if (!links_selects(manifest_at(spec, "selector"),
                       manifest_at(spec, "template.metadata.labels")))
        return manifest_fault(l->manifest, l->root, manifest_at(spec, "selector"), l->err,
                              "the selector does not select its own pods");
    if (links_is(l->root, "StatefulSet") &&
        !manifest_find(l->manifest, "Service", service).node)
        return manifest_fault(l->manifest, l->root, spec, l->err, "there is no Service %s",
                              service);
    enum err_code rc = links_check_volumes(l);
    for (size_t i = 0; i < manifest_length(containers) && rc == ERR_OK; i++)
        rc = links_check_container(l, manifest_item(containers, i));
    return rc;
}

/* --- the others ----------------------------------------------------------------------------- */

/* Who is ready only when others have found it must be findable before. */
static enum err_code links_check_service(const struct links *l)
{
    const struct manifest_node spec = manifest_at(l->root, "spec");
    const struct manifest_node selector = manifest_at(spec, "selector");
    const bool early = strcmp(manifest_text_at(spec, "publishNotReadyAddresses"), "true") == 0;
    for (size_t d = 0; d < l->manifest->n && !early; d++) {
        const struct manifest_node pods = links_pods(manifest_root(l->manifest, d));
        const struct manifest_node containers = manifest_at(pods, "spec.containers");
        if (!pods.node || !links_has_labels(manifest_at(pods, "metadata.labels"), selector))
            continue;
        for (size_t i = 0; i < manifest_length(containers); i++)
            if (manifest_at(manifest_item(containers, i), "readinessProbe").node)
                return manifest_fault(
                    l->manifest, l->root, spec, l->err,
                    "publishNotReadyAddresses is not true: workers would never find a "
                    "coordinator that is ready only with workers");
    }
    return links_check_selector(l, selector, true, manifest_at(spec, "ports"), NULL);
}

static enum err_code links_check_budget(const struct links *l)
{
    unsigned long replicas = 0;
    const struct manifest_node min = manifest_at(l->root, "spec.minAvailable");
    const enum err_code rc = links_check_selector(l, manifest_at(l->root, "spec.selector"),
                                                  false, (struct manifest_node){0}, &replicas);
    if (rc == ERR_OK && strtoul(manifest_text(min), NULL, 10) >= replicas)
        return manifest_fault(l->manifest, l->root, min, l->err,
                              "minAvailable %s of %lu pods: no node could ever be drained",
                              manifest_text(min), replicas);
    return rc;
}

static enum err_code links_check_policy(const struct links *l)
{
    const struct manifest_node ingress = manifest_at(l->root, "spec.ingress");
    const struct manifest_node selector = manifest_at(l->root, "spec.podSelector");
    enum err_code rc =
        links_check_selector(l, selector, false, (struct manifest_node){0}, NULL);
    for (size_t i = 0; i < manifest_length(ingress) && rc == ERR_OK; i++) {
        const struct manifest_node rule = manifest_item(ingress, i);
        const struct manifest_node from = manifest_at(rule, "from");
        if (manifest_length(from) == 0 || manifest_length(manifest_at(rule, "ports")) == 0)
            return manifest_fault(l->manifest, l->root, rule, l->err,
                                  "a rule without `from` or `ports` lets everybody in");
        rc = links_check_selector(l, selector, false, manifest_at(rule, "ports"), NULL);
        for (size_t k = 0; k < manifest_length(from) && rc == ERR_OK; k++) {
            const struct manifest_node who = manifest_item(from, k);
            if (!manifest_at(who, "namespaceSelector").node) /* else: not of this file */
                rc = links_check_selector(l, manifest_at(who, "podSelector"), false,
                                          (struct manifest_node){0}, NULL);
        }
    }
    return rc;
}

static enum err_code links_check_unique(const struct links *l)
{
    const char *kind = manifest_text_at(l->root, "kind");
    const char *name = manifest_text_at(l->root, "metadata.name");
    return manifest_find(l->manifest, kind, name).node == l->root.node
               ? ERR_OK
               : manifest_fault(l->manifest, l->root, l->root, l->err, "it is there twice");
}

enum err_code manifest_check_links(struct manifest *manifest, struct err *err)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < manifest->n && rc == ERR_OK; i++) {
        const struct links l = {manifest, manifest_root(manifest, i), err};
        rc = links_check_unique(&l);
        if (rc == ERR_OK && links_pods(l.root).node)
            rc = links_check_workload(&l);
        if (rc == ERR_OK && links_is(l.root, "Service"))
            rc = links_check_service(&l);
        if (rc == ERR_OK && links_is(l.root, "PodDisruptionBudget"))
            rc = links_check_budget(&l);
        if (rc == ERR_OK && links_is(l.root, "NetworkPolicy"))
            rc = links_check_policy(&l);
    }
    return rc;
}
