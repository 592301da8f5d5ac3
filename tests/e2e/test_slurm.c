/*
 * test_slurm.c -- ops/slurm/rlhf.sbatch under a real Slurm: three nodes, all of them this machine.
 *
 * The oracle is an undisturbed `rlhf run` of the same configuration: the SHA-256 of the final
 * weights must be its own, whatever Slurm, a node or a person does to the job.  Skipped by name
 * where the packages of ops/slurm/packages.txt are not installed.
 */
#include <sys/stat.h>

#include "tests/e2e/held.h"

#define SLURM_TEXT_MAX    8192
#define SLURM_REST_MS     2500

static char plain_sha[HASH_HEX_BYTES];
static bool installed;

/* What a command, put together as by printf, prints; its exit status. */
static int slurm_say(char out[SLURM_TEXT_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static int slurm_say(char out[SLURM_TEXT_MAX], const char *format, ...)
{
    char command[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    const size_t n = fread(out, 1, SLURM_TEXT_MAX - 1, pipe);
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    const int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void slurm_do(const char *command)
{
    char out[SLURM_TEXT_MAX];
    const int status = slurm_say(out, "exec 2>&1; %s", command);
    if (status != 0)
        fail_msg("%s: status %d: %s", command, status, out);
}

static void slurm_cluster(const char *verb, const char *node)
{
    char command[512];
    snprintf(command, sizeof command, "%s/ops/slurm/cluster %s %s/slurm %s >%s/cluster.out",
             TEST_SOURCE_DIR, verb, dir, node, dir);
    slurm_do(command);
}

static int make_cluster(void **state)
{
    (void)state;
    char out[SLURM_TEXT_MAX], path[2 * FILE_PATH_MAX];
    snprintf(path, sizeof path, "%s:/usr/sbin", getenv("PATH"));
    setenv("PATH", path, 1);
    installed = slurm_say(out, "command -v munged slurmctld slurmd sbatch srun >/dev/null && "
                               "test -e /usr/lib/*/slurm-wlm/select_cons_tres.so") == 0;
    if (!installed) {
        printf("no Slurm here: the packages are in ops/slurm/packages.txt\n");
        return 0;
    }
    scene_make();
    char conf[FILE_PATH_MAX];
    scene_path(conf, "slurm/slurm.conf");
    setenv("SLURM_CONF", conf, 1);
    setenv("RLHF_BIN", RLHF_BIN, 1);
    snprintf(out, sizeof out, "%d",
             20000 + getpid() % 2500 * 4); /* four, below those given out */
    setenv("RLHF_SLURM_PORT", out, 1);
    slurm_cluster("start", "");
    assert_int_equal(
        scene_wait(scene_start("rlhf run @/run.yaml run.dir=@/plain run.steps=30")), 0);
    scene_sha("plain/final/model.safetensors", plain_sha);
    return 0;
}

static int remove_cluster(void **state)
{
    (void)state;
    if (!installed)
        return 0;
    slurm_cluster("stop", "");
    scene_remove();
    return 0;
}

/* --- jobs ----------------------------------------------------------------------------------- */

struct job {
    char id[32];
    const char *name; /* its run's directory, below the scene's */
    char log[64];     /* what the batch script and the steps said */
};

/* Its learner stands still before each step (held.h). */
static struct job job_submit(const char *name, const char *options, const char *overrides)
{
    struct job job = {.name = name};
    char out[SLURM_TEXT_MAX];
    snprintf(job.log, sizeof job.log, "%s.out", name);
    held_begin_by_learner();
    const int status = slurm_say(
        out,
        "cd %s && sbatch --parsable --time=10 --output=%s %s "
        "%s/ops/slurm/rlhf.sbatch run.yaml run.dir=%s/%s run.steps=30 workers.actors=2 "
        "workers.rewards=2 %s 2>&1",
        dir, job.log, options, TEST_SOURCE_DIR, dir, name, overrides);
    held_end();
    if (status != 0)
        fail_msg("sbatch: %s", out);
    snprintf(job.id, sizeof job.id, "%.31s", out);
    return job;
}

/* A field of `scontrol show job`. */
static void job_field(const struct job *job, const char *field, char out[SLURM_TEXT_MAX])
{
    slurm_say(out, "scontrol show job %s | sed -n 's/.*\\b%s=\\([^ ]*\\).*/\\1/p'", job->id,
              field);
}

static bool job_is(const struct job *job, const char *field, const char *value)
{
    char out[SLURM_TEXT_MAX];
    job_field(job, field, out);
    return strcmp(out, value) == 0;
}

static void job_show(const struct job *job)
{
    char command[1024];
    scene_show(job->log);
    snprintf(command, sizeof command,
             "scontrol show job %s; sinfo; tail -n 5 %s/%s/log/*; tail -n 20 %s/slurm/*.log",
             job->id, dir, job->name, dir);
    if (system(command) != 0)
        fprintf(stderr, "(not all of it could be shown)\n");
}

/* A learner of the job's that stands still; 0: none does. */
static pid_t job_held(const struct job *job)
{
    static const char *const learners[] = {"learner-0", "learner-1"};
    char config[FILE_PATH_MAX];
    snprintf(config, sizeof config, "%s/%s/config.yaml", dir, job->name);
    for (size_t i = 0; i < COUNT(learners); i++) {
        const pid_t pid = scene_process((const char *const[]){learners[i], config, NULL});
        if (pid > 0 && held_is_still(pid))
            return pid;
    }
    return 0;
}

/* For some 200 ms. */
static void job_go_on(const struct job *job)
{
    for (int i = 0; i < 40; i++) {
        const pid_t held = job_held(job);
        if (held > 0)
            kill(held, SIGCONT);
        scene_nap(5);
    }
}

/* Until `field` is `value`; `goes_on`: it trains meanwhile.  A requeued job waits two minutes
 * in Slurm, so that what its nodes still say of the start before is not taken for the next
 * one's; here they are all done in a moment. */
static void job_wait(const struct job *job, const char *field, const char *value, bool goes_on)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    while (!job_is(job, field, value)) {
        char out[SLURM_TEXT_MAX];
        if (job_is(job, "Reason", "BeginTime")) {
            scene_nap(SLURM_REST_MS);
            slurm_say(out, "scontrol update JobId=%s StartTime=now 2>&1", job->id);
        }
        if (clock_mono_ms() > deadline) {
            job_show(job);
            fail_msg("job %s (%s): %s is not %s after %u s", job->id, job->name, field, value,
                     SCENE_DEADLINE_MS / 1000);
        }
        if (goes_on)
            job_go_on(job);
        else
            scene_nap(200);
    }
}

/* Afterwards it stands still, with so many steps done. */
static void job_go_to(const struct job *job, uint64_t steps)
{
    char path[FILE_PATH_MAX];
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    scene_path(path, job->name);
    for (;;) {
        const pid_t held = job_held(job);
        if (held > 0 && scene_steps(path) >= steps)
            return;
        if (held > 0)
            kill(held, SIGCONT);
        if (clock_mono_ms() > deadline) {
            job_show(job);
            fail_msg("job %s (%s) does not get to step %u", job->id, job->name,
                     (unsigned)steps);
        }
        scene_nap(5);
    }
}

static void job_wait_until_said(const char *name, const char *words)
{
    char out[SLURM_TEXT_MAX];
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    while (slurm_say(out, "grep -h '%s' %s/%s", words, dir, name) != 0) {
        assert_true(clock_mono_ms() < deadline);
        scene_nap(20);
    }
}

static void job_check_said(const struct job *job, const char *words, bool said)
{
    struct buf text;
    scene_read(job->log, &text);
    if (!strstr(text.data, words) == said) {
        job_show(job);
        fail_msg("job %s (%s) said%s \"%s\"", job->id, job->name, said ? " nothing of" : "",
                 words);
    }
    buf_release(&text);
}

/* It completed after so many restarts, with the weights of the undisturbed run, and left no
 * rendezvous for others to believe. */
static void job_check(const struct job *job, const char *restarts)
{
    char path[FILE_PATH_MAX], name[128], sha[HASH_HEX_BYTES];
    if (strcmp(restarts, "0") != 0)
        job_wait(job, "Restarts", restarts, false);
    job_wait(job, "JobState", "COMPLETED", true);
    if (!job_is(job, "Restarts", restarts)) {
        job_show(job);
        fail_msg("job %s (%s) was not restarted %s times", job->id, job->name, restarts);
    }
    snprintf(name, sizeof name, "%s/final/model.safetensors", job->name);
    scene_sha(name, sha);
    assert_string_equal(sha, plain_sha);
    snprintf(name, sizeof name, "%s/rendezvous", job->name);
    scene_path(path, name);
    assert_false(file_exists(path));
}

/* --- what happens to them ------------------------------------------------------------------- */

static void job_of_three_nodes_has_the_weights_of_a_run_on_one_machine(void **state)
{
    (void)state;
    if (!installed)
        skip();
    char out[SLURM_TEXT_MAX];
    const struct job job = job_submit("whole", "-N3", "");
    job_go_to(&job, 2);
    slurm_say(out, "stat -c %%a %s/whole/rendezvous; true", dir);
    assert_string_equal(out, "600");
    /* Steps over nodes: the learner on the first, a worker of each kind on each of the others. */
    slurm_say(out, "squeue -h -s -j %s -o '%%j %%N' | sort | grep -v batch | tr '\\n' ' '",
              job.id);
    assert_non_null(strstr(out, "actor n[2-3]"));
    assert_non_null(strstr(out, "learner n1"));
    assert_non_null(strstr(out, "reward n[2-3]"));
    job_check(&job, "0");
    job_check_said(&job, "report.html", true);
    slurm_say(out, "stat -c %%a %s/whole/keys; true", dir);
    assert_string_equal(out, "700");
    slurm_say(out, "sed -n 's/^  keys: //p' %s/whole/config.yaml", dir);
    assert_non_null(strstr(out, "/whole/keys"));
}

static void job_on_one_node_with_two_learners_has_them_too(void **state)
{
    (void)state;
    if (!installed)
        skip();
    const struct job job = job_submit("one", "-N1", "workers.learners=2");
    job_check(&job, "0");
}

static void job_that_is_requeued_in_the_middle_goes_on(void **state)
{
    (void)state;
    if (!installed)
        skip();
    char out[SLURM_TEXT_MAX];
    const struct job job = job_submit("requeued", "-N3 --export=ALL,RLHF_RELAY=yes", "");
    job_go_to(&job, 3);
    assert_int_equal(slurm_say(out, "scontrol requeue %s", job.id), 0);
    job_check(&job, "1");
}

static void job_told_to_end_has_a_checkpoint_first_and_requeues_itself(void **state)
{
    (void)state;
    if (!installed)
        skip();
    char out[SLURM_TEXT_MAX];
    const struct job job = job_submit("told", "-N3", "");
    job_go_to(&job, 3);
    assert_int_equal(slurm_say(out, "scancel --signal=TERM --batch %s", job.id), 0);
    job_wait_until_said("told/log/coordinator-0.log", "to end with the next checkpoint");
    job_wait(&job, "Restarts", "1", true);
    job_check(&job, "1");
    job_check_said(&job, "TERM: to end with a checkpoint", true);
    job_check_said(&job, "takes too long", false);
    /* The second start began at a checkpoint, with nothing to train again. */
    assert_int_equal(slurm_say(out, "grep -h drained: %s/told/log/coordinator-0.log", dir), 0);
    assert_int_equal(slurm_say(out, "grep -h RESUME %s/told/log/learner-0.log", dir), 0);
}

static void job_whose_steps_are_told_to_end_requeues_itself(void **state)
{
    (void)state;
    if (!installed)
        skip();
    char out[SLURM_TEXT_MAX];
    const struct job job = job_submit("steps", "-N3", "");
    job_go_to(&job, 3);
    assert_int_equal(slurm_say(out, "scancel --signal=TERM %s", job.id), 0);
    job_check(&job, "1");
    job_check_said(&job, "is left", true);
}

/* Slurm asks a silent node for SlurmdTimeout and more before it says so itself. */
static void node_die(const char *number)
{
    char out[SLURM_TEXT_MAX];
    slurm_cluster("cut", number);
    assert_int_equal(
        slurm_say(out, "scontrol update NodeName=n%s State=DOWN Reason=cut 2>&1", number), 0);
}

/* Jobs may be on it at once. */
static void node_come_back(const char *number)
{
    char out[SLURM_TEXT_MAX] = "down";
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    slurm_cluster("start-node", number);
    slurm_say(out, "scontrol update NodeName=n%s State=RESUME 2>&1", number);
    do {
        if (clock_mono_ms() > deadline)
            fail_msg("node n%s is %s", number, out);
        scene_nap(200);
        slurm_say(out, "sinfo -h -n n%s -o %%t", number);
    } while (strcmp(out, "idle") != 0 && strcmp(out, "mix") != 0);
}

static void job_with_a_node_that_died_begins_again(void **state)
{
    (void)state;
    if (!installed)
        skip();
    const struct job job = job_submit("node", "-N3", "");
    job_go_to(&job, 3);
    node_die("3");
    job_wait(&job, "Restarts", "1", false);
    node_come_back("3");
    job_check(&job, "1");
}

/* The rendezvous of the start before stays there, and nobody believes it. */
static void job_whose_first_node_died_begins_again_elsewhere(void **state)
{
    (void)state;
    if (!installed)
        skip();
    char out[SLURM_TEXT_MAX];
    const struct job job = job_submit("first", "-N2 --exclude=n3", "");
    job_go_to(&job, 3);
    node_die("1");
    assert_int_equal(slurm_say(out, "grep -x 'job %s.0' %s/first/rendezvous", job.id, dir), 0);
    assert_int_equal(slurm_say(out, "scontrol update JobId=%s ExcNodeList=n1", job.id), 0);
    job_check(&job, "1");
    node_come_back("1");
}

static void job_with_no_kill_goes_on_without_a_node_of_workers(void **state)
{
    (void)state;
    if (!installed)
        skip();
    char out[SLURM_TEXT_MAX];
    const struct job job = job_submit("no-kill", "-N3 --no-kill", "");
    job_go_to(&job, 2);
    node_die("3");
    slurm_say(out, "squeue -h -j %s -o '%%T %%N'; true", job.id);
    assert_string_equal(out, "RUNNING n[1-2]");
    job_check(&job, "0");
    node_come_back("3");
}

static void job_that_is_cancelled_stays_cancelled(void **state)
{
    (void)state;
    if (!installed)
        skip();
    char out[SLURM_TEXT_MAX];
    const struct job job = job_submit("cancelled", "-N2", "");
    job_go_to(&job, 1);
    assert_int_equal(slurm_say(out, "scancel %s", job.id), 0);
    job_wait(&job, "JobState", "CANCELLED", false);
    scene_nap(2000);
    assert_true(job_is(&job, "JobState", "CANCELLED"));
    assert_true(job_is(&job, "Restarts", "0"));
    job_check_said(&job, "requeued", false);
}

static void job_with_a_wrong_configuration_fails_and_is_not_requeued(void **state)
{
    (void)state;
    if (!installed)
        skip();
    const struct job job =
        job_submit("whole", "-N2", ""); /* of a run that is complete: ends well */
    job_wait(&job, "JobState", "COMPLETED", true);
    char out[SLURM_TEXT_MAX];
    slurm_say(out,
              "cd %s && sbatch --parsable --output=wrong.out -N2 %s/ops/slurm/rlhf.sbatch "
              "run.yaml run.dir=%s/whole run.steps=31 2>&1",
              dir, TEST_SOURCE_DIR, dir);
    struct job wrong = {.name = "whole", .log = "wrong.out"};
    snprintf(wrong.id, sizeof wrong.id, "%.31s", out);
    job_wait(&wrong, "JobState", "FAILED", false);
    assert_true(job_is(&wrong, "ExitCode", "78:0"));
    assert_true(job_is(&wrong, "Restarts", "0"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(job_of_three_nodes_has_the_weights_of_a_run_on_one_machine),
        cmocka_unit_test(job_on_one_node_with_two_learners_has_them_too),
        cmocka_unit_test(job_that_is_requeued_in_the_middle_goes_on),
        cmocka_unit_test(job_told_to_end_has_a_checkpoint_first_and_requeues_itself),
        cmocka_unit_test(job_whose_steps_are_told_to_end_requeues_itself),
        cmocka_unit_test(job_with_a_node_that_died_begins_again),
        cmocka_unit_test(job_whose_first_node_died_begins_again_elsewhere),
        cmocka_unit_test(job_with_no_kill_goes_on_without_a_node_of_workers),
        cmocka_unit_test(job_that_is_cancelled_stays_cancelled),
        cmocka_unit_test(job_with_a_wrong_configuration_fails_and_is_not_requeued),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, make_cluster, remove_cluster);
}
