/*
 * test_manifest.c -- the manifests of ops/kubernetes, held against what Kubernetes and rlhfd ask.
 *
 * Oracle: the file as it is has no fault; and for each kind of fault, that file with one thing
 * broken on purpose is refused, with a sentence that names it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/manifest/manifest.h"
#include "tests/test.h"

static const char source[] = TEST_SOURCE_DIR "/ops/kubernetes/rlhf.yaml";
static struct buf text; /* of the file */

static int setup(void **state)
{
    (void)state;
    buf_init(&text, 1 << 20);
    const enum err_code rc = file_read(source, &text, NULL);
    buf_puts(&text, "");
    return rc;
}

static int teardown(void **state)
{
    (void)state;
    buf_release(&text);
    return 0;
}

static enum err_code check_file(const char *path, struct err *err)
{
    static struct manifest manifest;
    enum err_code rc = manifest_read(&manifest, path, err);
    if (rc == ERR_OK)
        rc = manifest_check_fields(&manifest, err);
    if (rc == ERR_OK)
        rc = manifest_check_links(&manifest, err);
    manifest_release(&manifest);
    return rc;
}

static void manifests_have_no_fault(void **state)
{
    (void)state;
    check_ok(check_file(source, &err));
}

/* The n-th place of `before` (from 0) replaced. */
static void expect_fault_at(unsigned n, const char *before, const char *after,
                            const char *words)
{
    char path[] = "/tmp/manifest-XXXXXX";
    struct buf broken;
    const char *at = strstr(text.data, before);
    for (; n > 0 && at; n--)
        at = strstr(at + 1, before);
    if (!at)
        fail_msg("%s has no \"%s\" to break", source, before);
    buf_init(&broken, 1 << 20);
    buf_printf(&broken, "%.*s%s%s", (int)(at - text.data), text.data, after,
               at + strlen(before));
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    check_ok(file_write_all(fd, broken.data, broken.len, path, &err));
    close(fd);
    struct err err = {0};
    const enum err_code rc = check_file(path, &err);
    unlink(path);
    buf_release(&broken);
    if (rc == ERR_OK || !strstr(err.text, words))
        fail_msg("\"%s\" for \"%s\": %s, without \"%s\"", after, before,
                 rc ? err.text : "no fault", words);
}

static void expect_fault(const char *before, const char *after, const char *words)
{
    expect_fault_at(0, before, after, words);
}

static void misspelt_field_is_refused(void **state)
{
    (void)state;
    expect_fault("readinessProbe:", "readynessProbe:",
                 "there is no field spec.template.spec.containers[].readynessProbe");
    expect_fault("terminationGracePeriodSeconds", "terminationGracePeriod",
                 "terminationGracePeriodSeconds is missing");
    expect_fault("      enableServiceLinks: false", "      enableServiceLink: false",
                 "there is no field spec.template.spec.enableServiceLink");
    expect_fault("data:\n  run.yaml: |", "data:\n  more: {a: b}\n  run.yaml: |",
                 "more is to be a text");
    expect_fault("fieldPath: metadata.name", "fieldpath: metadata.name",
                 "fieldPath is missing");
    expect_fault("  clusterIP: None", "  clusterIP: None\n  clusterIP: None", "there twice");
    expect_fault("kind: Deployment", "kind: Deploymnt", "no kind");
    expect_fault("apiVersion: policy/v1", "apiVersion: policy/v1beta1",
                 "no kind of apiVersion policy/v1beta1");
    expect_fault("accessModes: [ReadOnlyMany]", "accessModes: ReadOnlyMany", "is to be a list");
    expect_fault("resources: {requests: {storage: 20Gi}}", "resources: 20Gi",
                 "spec.resources is to have fields");
}

static void value_of_another_type_is_refused(void **state)
{
    (void)state;
    expect_fault("replicas: 1", "replicas: \"one\"",
                 "spec.replicas is to be a count, not \"one\"");
    expect_fault("replicas: 1", "replicas: \"1\"", "spec.replicas is to be a count");
    expect_fault("runAsNonRoot: true", "runAsNonRoot: yes", "is to be a bool, not \"yes\"");
    expect_fault("containerPort: 5555", "containerPort: control", "is to be a count");
    expect_fault("memory: 2Gi", "memory: 2GB", "is to be a quantity, not \"2GB\"");
    expect_fault("name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}",
                 "name: POD_NAME, value: 1", "value is to be a text");
    expect_fault("serviceName: coordinator", "serviceName: Coordinator", "is to be a name");
    expect_fault("defaultMode: 0440", "defaultMode: 440", "is to be a mode");
    expect_fault("command: [rlhf-coordinator]", "command: rlhf-coordinator", "is to be a list");
    expect_fault("    matchLabels: {app.kubernetes.io/name: rlhf, "
                 "app.kubernetes.io/component: coordinator}",
                 "    matchLabels: {app.kubernetes.io/name: 1}", "quote it");
}

static void selector_that_selects_nothing_is_refused(void **state)
{
    (void)state;
    const char *selector =
        "selector: {app.kubernetes.io/name: rlhf, app.kubernetes.io/component: coordinator}";
    expect_fault(selector, "selector: {app.kubernetes.io/name: rlhfd}", "selects no pods");
    expect_fault("matchLabels: {app.kubernetes.io/name: rlhf, "
                 "app.kubernetes.io/component: coordinator}",
                 "matchLabels: {app.kubernetes.io/component: learner}",
                 "does not select its own pods");
    expect_fault("values: [coordinator, learner]", "values: [coordinator, lerner]",
                 "no pods have the label app.kubernetes.io/component: lerner");
    expect_fault("values: [learner, reward, actor]", "values: [learner, rewards, actor]",
                 "component: rewards");
    expect_fault("operator: In", "operator: NotIn", "selects no pods");
    expect_fault("serviceName: learner", "serviceName: learners",
                 "there is no Service learners");
}

static void port_that_is_not_there_is_refused(void **state)
{
    (void)state;
    expect_fault("targetPort: control", "targetPort: ctl",
                 "the pods of coordinator have no port ctl");
    expect_fault("targetPort: bulk", "targetPort: 5557",
                 "the pods of learner have no port 5557");
    expect_fault("port: http}\n            periodSeconds",
                 "port: https}\n            periodSeconds", "startupProbe asks port https");
    expect_fault("{protocol: TCP, port: bulk}", "{protocol: TCP, port: http}",
                 "the pods of learner have no port http");
    expect_fault("--control=tcp://coordinator:5555", "--control=tcp://coordinator:5556",
                 "Service coordinator has no port 5556");
    expect_fault("--control=tcp://coordinator:5555", "--control=tcp://coordinater:5555",
                 "there is no Service coordinater");
}

static void probe_that_would_kill_a_healthy_coordinator_is_refused(void **state)
{
    (void)state;
    expect_fault_at(1, "path: /healthz", "path: /readyz", "livenessProbe asks /readyz");
    expect_fault("path: /readyz", "path: /ready", "readinessProbe asks /ready");
    expect_fault("  publishNotReadyAddresses: true\n", "", "workers would never find");
    expect_fault("  minAvailable: 2", "  minAvailable: 4", "no node could ever be drained");
    expect_fault("  minAvailable: 1", "  minAvailable: 2", "minAvailable 2 of 2 pods");
}

static void thing_that_is_named_and_not_there_is_refused(void **state)
{
    (void)state;
    expect_fault("configMap: {name: rlhf-run}", "configMap: {name: rlhf}", "no ConfigMap rlhf");
    expect_fault("claimName: rlhf-data", "claimName: data", "no PersistentVolumeClaim data");
    expect_fault("{name: run, mountPath", "{name: runs, mountPath", "no volume runs");
    expect_fault("$(POD_IP)", "$(PODIP)", "there is no variable PODIP");
    expect_fault("kind: PersistentVolumeClaim\nmetadata:\n  name: rlhf-data",
                 "kind: PersistentVolumeClaim\nmetadata:\n  name: rlhf-dat",
                 "no PersistentVolumeClaim rlhf-data");
    expect_fault("metadata:\n  name: reward\n", "metadata:\n  name: actor\n",
                 "it is there twice");
}

static void pod_with_more_rights_than_it_needs_is_refused(void **state)
{
    (void)state;
    expect_fault("runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot is not true");
    expect_fault("seccompProfile: {type: RuntimeDefault}", "seccompProfile: {type: Unconfined}",
                 "is not RuntimeDefault");
    expect_fault("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false",
                 "readOnlyRootFilesystem is not true");
    expect_fault("drop: [ALL]", "drop: [NET_RAW]", "drop is not [ALL]");
    expect_fault("            allowPrivilegeEscalation: false\n", "",
                 "allowPrivilegeEscalation is missing");
    expect_fault("rlhfd:0.1.0", "rlhfd:latest", "is not pinned");
    expect_fault("registry.example.org/rlhfd:0.1.0", "registry.example.org:5000/rlhfd",
                 "is not pinned");
    expect_fault("      ports:\n        - {protocol: TCP, port: bulk}\n", "",
                 "lets everybody in");
}

static void file_that_is_no_yaml_is_refused_with_its_line(void **state)
{
    (void)state;
    expect_fault("kind: ConfigMap", "kind: [ConfigMap", ":1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifests_have_no_fault),
        cmocka_unit_test(misspelt_field_is_refused),
        cmocka_unit_test(value_of_another_type_is_refused),
        cmocka_unit_test(selector_that_selects_nothing_is_refused),
        cmocka_unit_test(port_that_is_not_there_is_refused),
        cmocka_unit_test(probe_that_would_kill_a_healthy_coordinator_is_refused),
        cmocka_unit_test(thing_that_is_named_and_not_there_is_refused),
        cmocka_unit_test(pod_with_more_rights_than_it_needs_is_refused),
        cmocka_unit_test(file_that_is_no_yaml_is_refused_with_its_line),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
