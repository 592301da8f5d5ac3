/*
 * test_manifest_run.c -- the pods of ops/kubernetes/rlhf.yaml, run without a cluster.
 *
 * Command, arguments, variables, volumes, probes and the preStop hook are taken from the file as a
 * kubelet would take them, and the processes really run: each pod with an address of loopback of
 * its own, a volume being a directory, a Service's name being the address of its pod, a secret's
 * file a symbolic link to one of mode 0440.  What a kubelet does and this does not: the image, the
 * users, read-only roots, policies.
 *
 * Oracle: an undisturbed `rlhf run` of the file's configuration; the SHA-256 of the final weights
 * must be its own.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "node/run_config.h"
#include "tests/e2e/held.h"
#include "tests/manifest/manifest.h"

#define PODS_MAX       16
#define POD_WAIT_MS    60000u
#define POD_WORDS_MAX  24
#define POD_VOLUME_MAX 8

/* So that a run of the file's configuration is over in seconds. */
static const char *const shorter[] = {"run.steps=12",
                                      "pipeline.batch=8",
                                      "sampling.max_new_tokens=16",
                                      "data.prompt_tokens_max=64",
                                      "checkpoint.every=5",
                                      "ppo.micro_tokens=128",
                                      "timeouts.dead_ms=60000"};

struct pod {
    struct manifest_node root, container;
    char name[32], ip[24];
    struct {
        char at[128], in[FILE_PATH_MAX]; /* mountPath, and the directory it is here */
    } volume[POD_VOLUME_MAX];
    size_t volumes;
    pid_t pid; /* 0: none */
};

static struct manifest manifest;
static struct pod pods[PODS_MAX];
static size_t pods_n;
static unsigned net; /* 127.net>>8.net.N */

static struct pod *pod_named(const char *name)
{
    for (size_t i = 0; i < pods_n; i++)
        if (strcmp(pods[i].name, name) == 0)
            return &pods[i];
    fail_msg("the manifests make no pod %s", name);
    return NULL;
}

/* --- as a kubelet would ---------------------------------------------------------------------- */

static void replace(char *text, size_t size, const char *what, const char *by)
{
    char out[4096];
    size_t n = 0;
    for (const char *at = text; *at;) {
        const bool here = strncmp(at, what, strlen(what)) == 0;
        n += (size_t)snprintf(out + n, sizeof out - n, "%.*s", here ? (int)strlen(by) : 1,
                              here ? by : at);
        assert_true(n < sizeof out);
        at += here ? strlen(what) : 1;
    }
    out[n] = '\0';
    assert_true(n < size);
    strcpy(text, out);
}

/* Mount points, longest first as they are listed, become directories; names of Services
 * addresses. */
static void pod_localise(const struct pod *pod, char *text, size_t size)
{
    for (size_t v = 0; v < pod->volumes; v++)
        replace(text, size, pod->volume[v].at, pod->volume[v].in);
    replace(text, size, "tcp://coordinator:", "tcp://COORDINATOR:");
    char at[40];
    snprintf(at, sizeof at, "tcp://%s:", pod_named("coordinator-0")->ip);
    replace(text, size, "tcp://COORDINATOR:", at);
    replace(text, size, "0.0.0.0", pod->ip); /* the pod's own network */
}

/* $(NAME) of the container's variables, each by the field it refers to. */
static void pod_expand(const struct pod *pod, char *text, size_t size)
{
    const struct manifest_node env = manifest_at(pod->container, "env");
    for (size_t i = 0; i < manifest_length(env); i++) {
        const struct manifest_node one = manifest_item(env, i);
        const char *field = manifest_text_at(one, "valueFrom.fieldRef.fieldPath");
        char name[80];
        snprintf(name, sizeof name, "$(%s)", manifest_text_at(one, "name"));
        if (strcmp(field, "metadata.name") == 0)
            replace(text, size, name, pod->name);
        else if (strcmp(field, "status.podIP") == 0)
            replace(text, size, name, pod->ip);
        else
            fail_msg("no field %s is known here", field);
    }
}

static void pod_write_config_map(const struct pod *pod, const char *name, const char *in)
{
    const struct manifest_node data =
        manifest_at(manifest_find(&manifest, "ConfigMap", name), "data");
    for (size_t i = 0; i < manifest_length(data); i++) {
        const char *key = "";
        char path[FILE_PATH_MAX], text[4096];
        snprintf(text, sizeof text, "%s", manifest_text(manifest_member(data, i, &key)));
        pod_localise(pod, text, sizeof text);
        check_ok(file_join(path, in, key, &err));
        check_ok(file_write(path, text, strlen(text), &err));
    }
}

/* Only the items that the volume names, as symbolic links to files of its mode. */
static void pod_write_secret(struct manifest_node secret, const char *in)
{
    const struct manifest_node items = manifest_at(secret, "items");
    const mode_t mode = (mode_t)strtoul(manifest_text_at(secret, "defaultMode"), NULL, 8);
    for (size_t i = 0; i < manifest_length(items); i++) {
        const struct manifest_node item = manifest_item(items, i);
        char from[FILE_PATH_MAX], to[FILE_PATH_MAX + 16], link[FILE_PATH_MAX];
        struct buf text;
        buf_init(&text, 1 << 16);
        snprintf(from, sizeof from, "%s/keys/%s", dir, manifest_text_at(item, "key"));
        snprintf(to, sizeof to, "%s/..data-%s", in, manifest_text_at(item, "key"));
        check_ok(file_join(link, in, manifest_text_at(item, "path"), &err));
        check_ok(file_read(from, &text, &err));
        check_ok(file_write(to, text.data, text.len, &err));
        assert_int_equal(chmod(to, mode), 0);
        assert_int_equal(symlink(strrchr(to, '/') + 1, link), 0);
        buf_release(&text);
    }
}

/* A claim of all pods is one directory; a template's is the pod's own, and stays. */
static void pod_mount(struct pod *pod)
{
    const struct manifest_node mounts = manifest_at(pod->container, "volumeMounts");
    const struct manifest_node volumes = manifest_at(pod->root, "spec.template.spec.volumes");
    struct manifest_node volume[POD_VOLUME_MAX] = {0};
    for (size_t i = 0; i < manifest_length(mounts); i++) {
        const struct manifest_node mount = manifest_item(mounts, i);
        const char *name = manifest_text_at(mount, "name");
        assert_true(pod->volumes < POD_VOLUME_MAX);
        for (size_t v = 0; v < manifest_length(volumes); v++)
            if (strcmp(manifest_text_at(manifest_item(volumes, v), "name"), name) == 0)
                volume[i] = manifest_item(volumes, v);
        const char *claim = manifest_text_at(volume[i], "persistentVolumeClaim.claimName");
        char *in = pod->volume[i].in;
        snprintf(pod->volume[i].at, sizeof pod->volume[i].at, "%s",
                 manifest_text_at(mount, "mountPath"));
        if (*claim)
            snprintf(in, FILE_PATH_MAX, "%s/claim-%s", dir, claim);
        else
            snprintf(in, FILE_PATH_MAX, "%s/%s-%s", dir, pod->name, name);
        check_ok(file_make_dir(in, &err));
        pod->volumes++;
    }
    for (size_t i = 0; i < pod->volumes; i++) {
        const char *map = manifest_text_at(volume[i], "configMap.name");
        if (*map)
            pod_write_config_map(pod, map, pod->volume[i].in);
        if (manifest_at(volume[i], "secret").node)
            pod_write_secret(manifest_at(volume[i], "secret"), pod->volume[i].in);
    }
}

/* The learner stands still before each step (held.h), until the test lets it go on. */
static void pod_start(struct pod *pod)
{
    static char word[POD_WORDS_MAX][4096];
    char *argv[POD_WORDS_MAX + 1] = {NULL}, program[FILE_PATH_MAX], log[FILE_PATH_MAX];
    const struct manifest_node lists[] = {manifest_at(pod->container, "command"),
                                          manifest_at(pod->container, "args")};
    size_t n = 0;
    for (size_t l = 0; l < COUNT(lists); l++)
        for (size_t i = 0; i < manifest_length(lists[l]); i++, n++) {
            assert_true(n < POD_WORDS_MAX - COUNT(shorter));
            snprintf(word[n], sizeof word[n], "%s", manifest_text(manifest_item(lists[l], i)));
            pod_expand(pod, word[n], sizeof word[n]);
            pod_localise(pod, word[n], sizeof word[n]);
        }
    for (size_t i = 0; i < COUNT(shorter); i++, n++)
        strcpy(word[n], shorter[i]);
    for (size_t i = 0; i < n; i++)
        argv[i] = word[i];
    check_ok(file_join(program, RLHF_BIN, word[0], &err));
    char name[64];
    snprintf(name, sizeof name, "%s.log", pod->name);
    scene_path(log, name);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    char fault[] = "RLHF_FAULT=train_step:1:stop:learner";
    char *const others[] = {fault, NULL}; /* what the manifest says is all in args */
    assert_int_equal(posix_spawn(&pod->pid, program, &actions, NULL, argv, others), 0);
    posix_spawn_file_actions_destroy(&actions);
}

/* The status of a GET, as a probe sees it; 0 where nobody answers. */
static int pod_probe(const struct pod *pod, const char *probe)
{
    const struct manifest_node get = manifest_at(manifest_at(pod->container, probe), "httpGet");
    const struct manifest_node ports = manifest_at(pod->container, "ports");
    struct sockaddr_in at = {.sin_family = AF_INET};
    char text[512];
    int status = 0;
    for (size_t i = 0; i < manifest_length(ports); i++)
        if (strcmp(manifest_text_at(manifest_item(ports, i), "name"),
                   manifest_text_at(get, "port")) == 0)
            at.sin_port = htons((uint16_t)strtoul(
                manifest_text_at(manifest_item(ports, i), "containerPort"), NULL, 10));
    assert_int_not_equal(at.sin_port, 0);
    assert_int_equal(inet_pton(AF_INET, pod->ip, &at.sin_addr), 1);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) {
        const int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n",
                               manifest_text_at(get, "path"), pod->ip);
        if (write(fd, text, (size_t)n) == n && read(fd, text, sizeof text - 1) > 12)
            status = (int)strtol(text + 9, NULL, 10);
    }
    close(fd);
    return status;
}

static void show_all(void)
{
    for (size_t i = 0; i < pods_n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.log", pods[i].name);
        scene_show(name);
    }
}

static void pod_wait_for_probe(const struct pod *pod, const char *probe, int status)
{
    const uint64_t deadline = clock_mono_ms() + POD_WAIT_MS;
    while (pod_probe(pod, probe) != status) {
        if (clock_mono_ms() > deadline) {
            show_all();
            fail_msg("%s of %s is not %d", probe, pod->name, status);
        }
        scene_nap(20);
    }
}

static void learner_go_on(void)
{
    const pid_t learner = pod_named("learner-0")->pid;
    if (learner > 0 && held_is_still(learner))
        kill(learner, SIGCONT);
}

/* The exit status, once it has ended; the run goes on meanwhile. */
static int pod_wait(struct pod *pod)
{
    const uint64_t deadline = clock_mono_ms() + POD_WAIT_MS;
    int status = 0;
    while (waitpid(pod->pid, &status, WNOHANG) == 0) {
        if (clock_mono_ms() > deadline) {
            show_all();
            fail_msg("%s does not end", pod->name);
        }
        learner_go_on();
        scene_nap(5);
    }
    pod->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The hook, where process 1 is the pod's. */
static void pod_pre_stop(const struct pod *pod)
{
    const struct manifest_node command =
        manifest_at(pod->container, "lifecycle.preStop.exec.command");
    char script[1024], number[32];
    assert_int_equal(manifest_length(command), 3);
    snprintf(script, sizeof script, "%s", manifest_text(manifest_item(command, 2)));
    snprintf(number, sizeof number, "-USR1 %d;", (int)pod->pid);
    replace(script, sizeof script, "-USR1 1;", number);
    snprintf(number, sizeof number, "kill -0 %d ", (int)pod->pid);
    replace(script, sizeof script, "kill -0 1 ", number);
    char sh[] = "sh", option[] = "-c", *argv[] = {sh, option, script, NULL};
    pid_t hook;
    assert_int_equal(
        posix_spawn(&hook, manifest_text(manifest_item(command, 0)), NULL, NULL, argv, environ),
        0);
    /* A process that has ended is there until somebody has asked how. */
    assert_int_equal(pod_wait((struct pod *)pod), 75);
    int status = -1;
    waitpid(hook, &status, 0);
    assert_int_equal(status, 0);
}

/* --- the scene ------------------------------------------------------------------------------- */

static void pods_add(struct manifest_node root)
{
    const unsigned long replicas = strtoul(manifest_text_at(root, "spec.replicas"), NULL, 10);
    for (unsigned long r = 0; r < replicas; r++) {
        assert_true(pods_n < PODS_MAX);
        struct pod *pod = &pods[pods_n++];
        pod->root = root;
        pod->container = manifest_item(manifest_at(root, "spec.template.spec.containers"), 0);
        snprintf(pod->name, sizeof pod->name, "%s-%lu", manifest_text_at(root, "metadata.name"),
                 r);
        snprintf(pod->ip, sizeof pod->ip, "127.%u.%u.%u", 1 + (net >> 8) % 250, net % 256,
                 (unsigned)pods_n);
    }
}

static void make_data(void)
{
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    static const char *const moves[][2] = {{"model", "claim-rlhf-data/policy"},
                                           {"prompts.jsonl", "claim-rlhf-data/prompts.jsonl"},
                                           {"words.txt", "claim-rlhf-data/words.txt"}};
    scene_path(to, "claim-rlhf-data");
    check_ok(file_make_dir(to, &err));
    for (size_t i = 0; i < COUNT(moves); i++) {
        scene_path(from, moves[i][0]);
        scene_path(to, moves[i][1]);
        assert_int_equal(rename(from, to), 0);
    }
    assert_int_equal(
        scene_wait(scene_start("rlhf keygen --keys @/keys coordinator learner actor reward")),
        0);
}

static int make_pods(void **state)
{
    (void)state;
    scene_make();
    make_data();
    net = (unsigned)getpid();
    check_ok(manifest_read(&manifest, TEST_SOURCE_DIR "/ops/kubernetes/rlhf.yaml", &err));
    for (size_t i = 0; i < manifest.n; i++) {
        const struct manifest_node root = manifest_root(&manifest, i);
        if (manifest_at(root, "spec.template").node)
            pods_add(root);
    }
    for (size_t i = 0; i < pods_n; i++)
        pod_mount(&pods[i]);
    return 0;
}

static int remove_pods(void **state)
{
    (void)state;
    for (size_t i = 0; i < pods_n; i++)
        if (pods[i].pid > 0) {
            kill(pods[i].pid, SIGKILL);
            waitpid(pods[i].pid, NULL, 0);
        }
    manifest_release(&manifest);
    scene_remove();
    return 0;
}

/* --- what they promise ----------------------------------------------------------------------- */

static void configuration_fits_the_pods(void **state)
{
    (void)state;
    static struct run_config config;
    char path[FILE_PATH_MAX];
    const struct pod *pod = pod_named("coordinator-0");
    check_ok(file_join(path, pod->volume[0].in, "run.yaml", &err));
    check_ok(run_config_load(&config, path, NULL, 0, &err));
    assert_int_equal(
        config.learners,
        strtoul(manifest_text_at(manifest_find(&manifest, "StatefulSet", "learner"),
                                 "spec.replicas"),
                NULL, 10));
    assert_true(config.keys[0] != '\0');
}

static void pods_train_the_weights_of_a_run_on_one_machine(void **state)
{
    (void)state;
    struct pod *coordinator = pod_named("coordinator-0"), *learner = pod_named("learner-0");
    char sha[HASH_HEX_BYTES], plain[HASH_HEX_BYTES], line[2048], run[FILE_PATH_MAX];

    /* Alone it is well, and not ready: who restarted it for that would never see it ready. */
    pod_start(coordinator);
    pod_wait_for_probe(coordinator, "startupProbe", 200);
    assert_int_equal(pod_probe(coordinator, "livenessProbe"), 200);
    assert_int_equal(pod_probe(coordinator, "readinessProbe"), 503);
    for (size_t i = 0; i < pods_n; i++)
        if (&pods[i] != coordinator)
            pod_start(&pods[i]);
    pod_wait_for_probe(coordinator, "readinessProbe", 200);
    snprintf(run, sizeof run, "%s/coordinator-0-run/run", dir);
    for (bool still = false; !still || scene_steps(run) < 2;
         still = held_is_still(learner->pid)) {
        if (still)
            kill(learner->pid, SIGCONT);
        scene_nap(5);
    }

    /* Its node is drained: the hook, and again on another, with the same volume. */
    pod_pre_stop(coordinator);
    const uint64_t steps = scene_steps(run);
    assert_true(steps >= 2 && steps < 12);
    snprintf(line, sizeof line, "%s/learner-0-run/run/checkpoints/v%08u", dir, (unsigned)steps);
    assert_true(file_exists(line));
    pod_start(coordinator);

    /* A pod that is gone comes back under another address. */
    struct pod *actor = pod_named("actor-0");
    kill(actor->pid, SIGKILL);
    assert_int_equal(pod_wait(actor), 128 + SIGKILL);
    snprintf(strrchr(actor->ip, '.'), 8, ".200");
    pod_start(actor);
    pod_wait_for_probe(coordinator, "readinessProbe", 200);
    assert_int_equal(pod_wait(coordinator), 0);

    /* The same configuration, without keys and pods. */
    snprintf(line, sizeof line,
             "rlhf run @/%s-run-yaml/run.yaml run.dir=@/plain endpoints.keys=", learner->name);
    for (size_t i = 0; i < COUNT(shorter); i++) {
        strcat(line, " ");
        strcat(line, shorter[i]);
    }
    assert_int_equal(scene_wait(scene_start(line)), 0);
    scene_sha("plain/final/model.safetensors", plain);
    scene_sha("learner-0-run/run/final/model.safetensors", sha);
    assert_string_equal(sha, plain);
}

static void pods_of_workers_end_when_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < pods_n; i++)
        if (pods[i].pid > 0) {
            kill(pods[i].pid, SIGTERM);
            assert_int_equal(pod_wait(&pods[i]), 0);
        }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration_fits_the_pods),
        cmocka_unit_test(pods_train_the_weights_of_a_run_on_one_machine),
        cmocka_unit_test(pods_of_workers_end_when_told),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, make_pods, remove_pods);
}
