/*
 * faults.h -- for tests that disturb whole runs: a small run, the same run undisturbed, and what
 * must hold of a run when it is over, whatever happened to it:
 *
 *     the SHA-256 of its final weights is that of the undisturbed run;
 *     its ledger has one rollout and one score a slot, of version max(0, step - lag), and one
 *     STEP a step, in order, which trained all slots.
 *
 * A command that a fault has ended is given again, as a person or systemd would.
 */
#ifndef TESTS_E2E_FAULTS_H
#define TESTS_E2E_FAULTS_H

#include <sys/stat.h>

#include "coordinator/ledger.h"
#include "tests/e2e/scene.h"

#define FAULTS_STEPS 5
#define FAULTS_BATCH 4
#define FAULTS_LAG   1
#define FAULTS_TRIES 8 /* of one command */

static char faults_sha[HASH_HEX_BYTES]; /* of the undisturbed run */

/* dir/faults.yaml: a step is some milliseconds, a dead peer is found in half a second. */
static inline void faults_write_config(void)
{
    scene_write("faults.yaml",
                "run:\n  dir: run\n  steps: 5\n  seed: 3\n"
                "model:\n  policy: model\n"
                "data:\n  prompts: prompts.jsonl\n  prompt_tokens_max: 64\n"
                "pipeline:\n  lag: 1\n  batch: 4\n"
                "sampling:\n  max_new_tokens: 8\n"
                "reward:\n  references: 1\n  scorers:\n"
                "    - name: words\n      kind: words\n      words: words.txt\n"
                "ppo:\n  epochs: 1\n  minibatches: 2\n  micro_tokens: 64\n"
                "optimizer:\n  lr: 1.0e-3\n  critic_lr: 1.0e-3\n"
                "checkpoint:\n  every: 1\n  keep: 2\n"
                "timeouts:\n  heartbeat_ms: 100\n  dead_ms: 700\n  lease_ms: 2000\n");
}

/* Start the run NAME with these overrides; its own words go to dir/out and dir/err. */
static inline pid_t faults_start(const char *name, const char *overrides)
{
    char line[1024];
    snprintf(line, sizeof line, "rlhf run @/faults.yaml run.dir=@/%s %s", name, overrides);
    return scene_start(line);
}

static inline void faults_show(const char *name)
{
    char log[128];
    scene_show("err");
    snprintf(log, sizeof log, "%s/run.log", name);
    scene_show(log);
    snprintf(log, sizeof log, "%s.log", name); /* where the daemons were started one by one */
    scene_show(log);
}

/* Give the command until it ends with 0; how often it took. */
static inline int faults_run(const char *name, const char *overrides)
{
    for (int tries = 1; tries <= FAULTS_TRIES; tries++) {
        const int status = scene_wait(faults_start(name, overrides));
        if (status == 0)
            return tries;
        scene_nap(500); /* a killed command's children are told by the kernel */
    }
    faults_show(name);
    fail_msg("%s: the run does not finish, however often it is continued", name);
    return 0;
}

/* --- the ledger ------------------------------------------------------------------------- */

struct faults_audit {
    uint64_t seq, steps;
    uint32_t rollouts[FAULTS_STEPS][FAULTS_BATCH], scores[FAULTS_STEPS][FAULTS_BATCH];
    uint32_t dropped, wrong;
};

static inline enum err_code faults_see(void *ctx, const struct record *r, struct err *why)
{
    struct faults_audit *audit = ctx;
    (void)why;
    audit->wrong += r->seq <= audit->seq;
    audit->seq = r->seq;
    if (r->kind == RECORD_STEP) {
        audit->wrong += r->step->step != audit->steps++ || r->step->trained != FAULTS_BATCH;
    } else if (r->kind == RECORD_DROP) {
        audit->dropped++;
    } else if ((r->kind == RECORD_ROLLOUT || r->kind == RECORD_SCORE) &&
               r->work == WIRE_WORK_ROLLOUT) {
        const bool rollout = r->kind == RECORD_ROLLOUT;
        const uint64_t version = r->a > FAULTS_LAG ? r->a - FAULTS_LAG : 0;
        if (r->a >= FAULTS_STEPS || r->b >= FAULTS_BATCH || (rollout && r->version != version))
            audit->wrong++;
        else
            (rollout ? audit->rollouts : audit->scores)[r->a][r->b]++;
    }
    return ERR_OK;
}

static inline void faults_check_ledger(const char *name)
{
    struct faults_audit audit = {0};
    struct ledger *ledger;
    char path[FILE_PATH_MAX];
    scene_path(path, name);
    check_ok(ledger_open_read(&ledger, path, &err));
    check_ok(ledger_each(ledger, 0, faults_see, &audit, &err));
    check_ok(ledger_close(ledger, &err));
    bool once = audit.steps == FAULTS_STEPS && audit.dropped == 0 && audit.wrong == 0;
    for (size_t step = 0; step < FAULTS_STEPS; step++)
        for (size_t slot = 0; slot < FAULTS_BATCH; slot++)
            once = once && audit.rollouts[step][slot] == 1 && audit.scores[step][slot] == 1;
    if (!once) {
        faults_show(name);
        fail_msg(
            "%s: the ledger tells of %llu steps, %u dropped slots, %u wrong records, or of "
            "a slot that was not trained once",
            name, (unsigned long long)audit.steps, audit.dropped, audit.wrong);
    }
}

/* The run is over: hold it against the undisturbed one. */
static inline void faults_check(const char *name)
{
    char sha[HASH_HEX_BYTES], final[128], path[FILE_PATH_MAX];
    snprintf(final, sizeof final, "%s/final/model.safetensors", name);
    scene_path(path, final);
    if (!file_exists(path)) {
        faults_show(name);
        fail_msg("%s: the run is over, and its policy is nowhere", name);
    }
    scene_sha(final, sha);
    if (strcmp(sha, faults_sha) != 0) {
        faults_show(name);
        fail_msg("%s: the weights are %.16s..., undisturbed %.16s...", name, sha, faults_sha);
    }
    faults_check_ledger(name);
}

/* What is over and sound is not kept: a programme of hundreds of runs leaves no disk behind. */
static inline void faults_remove(const char *name)
{
    char path[FILE_PATH_MAX];
    scene_path(path, name);
    check_ok(file_remove_tree(path, &err));
}

static inline int faults_setup(void **state)
{
    (void)state;
    scene_make();
    faults_write_config();
    assert_int_equal(faults_run("plain", ""), 1);
    scene_sha("plain/final/model.safetensors", faults_sha);
    faults_check_ledger("plain");
    return 0;
}

static inline int faults_teardown(void **state)
{
    (void)state;
    scene_remove();
    return 0;
}

/* --- processes of a run that goes on ---------------------------------------------------- */

static inline uint64_t faults_steps_done(const char *name)
{
    char run[FILE_PATH_MAX];
    scene_path(run, name);
    return scene_steps(run);
}

#endif
