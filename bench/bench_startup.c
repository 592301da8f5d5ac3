/* bench_startup.c -- `rlhf run` from the command to the first trained step: four processes,
 * Llama of 1.3 million parameters, 8 responses of 16 tokens, 2 references a prompt.  What
 * bounds it: one process that loads the model and trains as many tokens, and the five programs
 * begun and ended. */
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "bench/bench_train.h"
#include "bench/scene.h"
#include "coordinator/ledger.h"

enum { STARTUP_RUNS_MAX = 1000, STARTUP_SEQS = 8, STARTUP_NEW = 16, STARTUP_TOKENS = 32 };

extern char **environ;

/* In order of time, but that references may have their scores before the responses. */
enum {
    STARTUP_EPOCH,
    STARTUP_GENERATED,
    STARTUP_SCORED,
    STARTUP_REFERENCES,
    STARTUP_TRAINED,
    STARTUP_MARKS
};

struct startup_bench {
    const struct bench *bench;
    struct bench_dir dir;
    double begin_ms;
    double mark_ms[STARTUP_MARKS]; /* of the run under way, since begin_ms */
};

static pid_t startup_spawn(const char *name, char *const *words)
{
    char program[FILE_PATH_MAX], *argv[8] = {program};
    pid_t pid;
    scene_program(name, program);
    for (size_t i = 0; words[i]; i++)
        argv[i + 1] = words[i];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    const int failed = posix_spawn(&pid, program, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        bench_stop(program, strerror(failed));
    return pid;
}

static void startup_wait(pid_t pid, const char *what)
{
    int status;
    if (waitpid(pid, &status, 0) < 0 || status != 0)
        bench_stop(what, "it did not end well");
}

/* ---- what bounds it ---- */

static void startup_alone(void *arg)
{
    const struct startup_bench *s = arg;
    char path[FILE_PATH_MAX];
    struct err err = {0};
    bench_dir_at(&s->dir, "model", path);
    struct pool *pool = pool_new(s->bench->threads, &err);
    struct model *model = pool ? model_load(path, &err) : NULL;
    if (!model)
        bench_fail(path, &err);
    struct bench bench = *s->bench;
    bench.pool = pool;
    const struct bench_shape shape = {.name = path, .seqs = STARTUP_SEQS};
    struct bench_model loaded = {.bench = &bench, .shape = &shape, .model = model};
    struct train_bench t = {.bench = &bench, .model = &loaded};
    train_bench_batch(&t, STARTUP_SEQS, STARTUP_TOKENS);
    t.pass = pass_new(model, pool, t.N, true, &err);
    t.grad = calloc(model->params, sizeof(float));
    if (!t.pass || !t.grad || adamw_init(&t.adamw, model, &err))
        bench_fail(path, &err);
    train_bench_step(&t);
    pass_free(t.pass);
    adamw_release(&t.adamw);
    model_free(model);
    pool_free(pool);
    void *const all[] = {t.offset, t.at, t.ids, t.target, t.logp, t.dlogp, t.grad};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

static void startup_programs(void *arg)
{
    static const char *const names[] = {"rlhf", "rlhf-coordinator", "rlhf-actor", "rlhf-reward",
                                        "rlhf-learner"};
    enum { PROGRAMS = sizeof names / sizeof names[0] };
    static char word[] = "--version";
    (void)arg;
    pid_t pid[PROGRAMS];
    for (size_t i = 0; i < PROGRAMS; i++)
        pid[i] = startup_spawn(names[i], (char *[]){word, NULL});
    for (size_t i = 0; i < PROGRAMS; i++)
        startup_wait(pid[i], names[i]);
}

/* ---- four processes ---- */

static double startup_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); /* as records have it */
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static void startup_mark(struct startup_bench *s, size_t mark, const struct record *record)
{
    s->mark_ms[mark] = fmax(s->mark_ms[mark], (double)record->wall_ms - s->begin_ms);
}

static enum err_code startup_record(void *ctx, const struct record *record, struct err *err)
{
    (void)err;
    struct startup_bench *s = ctx;
    const bool reference = record->work == WIRE_WORK_REFERENCE;
    if (record->kind == RECORD_EPOCH)
        startup_mark(s, STARTUP_EPOCH, record);
    if (record->kind == RECORD_ROLLOUT && !reference && record->a == 0)
        startup_mark(s, STARTUP_GENERATED, record);
    if (record->kind == RECORD_SCORE && (reference || record->a == 0))
        startup_mark(s, reference ? STARTUP_REFERENCES : STARTUP_SCORED, record);
    if (record->kind == RECORD_STEP && record->step->step == 0)
        startup_mark(s, STARTUP_TRAINED, record);
    return ERR_OK;
}

/* A run, and what its ledger says of the first step; the last one's end is a checkpoint, too. */
static void startup_run(struct startup_bench *s)
{
    static char run[] = "run", quiet[] = "--quiet";
    char config[FILE_PATH_MAX], dir[FILE_PATH_MAX];
    struct ledger *ledger;
    struct err err = {0};
    bench_dir_at(&s->dir, "run", dir);
    bench_dir_at(&s->dir, "run.yaml", config);
    file_remove_tree(dir, NULL);
    memset(s->mark_ms, 0, sizeof s->mark_ms);
    s->begin_ms = startup_now_ms();
    startup_wait(startup_spawn("rlhf", (char *[]){run, quiet, config, NULL}), "rlhf run");
    bench_check(dir, ledger_open_read(&ledger, dir, &err), &err);
    bench_check(dir, ledger_each(ledger, 0, startup_record, s, &err), &err);
    bench_check(dir, ledger_close(ledger, &err), &err);
    if (s->mark_ms[STARTUP_TRAINED] <= 0.0)
        bench_stop(dir, "no step was trained");
}

static void startup_scene(struct startup_bench *s)
{
    static struct run_config config;
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "run:\n  dir: run\n  steps: 2\n"
             "model:\n  policy: model\n"
             "data:\n  prompts: prompts.jsonl\n  prompt_tokens_max: 64\n"
             "pipeline:\n  batch: %d\n"
             "sampling:\n  max_new_tokens: %d\n"
             "reward:\n  references: 2\n  scorers:\n"
             "    - {name: length, kind: length, min_tokens: 4, max_tokens: 8}\n"
             "ppo:\n  minibatches: 2\n",
             STARTUP_SEQS, STARTUP_NEW);
    bench_dir_open(&s->dir);
    scene_write(&s->dir, &bench_shape_named("llama-1.3m")->config, 64);
    scene_config(&s->dir, yaml, &config);
}

void bench_startup(const struct bench *bench)
{
    static const char *const names[STARTUP_MARKS] = {"epoch begun", "generated", "scored",
                                                     "references scored", "trained"};
    static double seconds[STARTUP_MARKS][STARTUP_RUNS_MAX];
    struct startup_bench s = {.bench = bench};
    startup_scene(&s);
    const size_t runs_min = bench->once ? 1 : 5;
    const double end_ms = startup_now_ms() + 1e3 * bench->seconds;
    size_t runs = 0;
    for (; runs < runs_min || (startup_now_ms() < end_ms && runs < STARTUP_RUNS_MAX); runs++) {
        startup_run(&s);
        for (size_t m = 0; m < STARTUP_MARKS; m++)
            seconds[m][runs] = 1e-3 * s.mark_ms[m];
    }
    const struct bench_ceiling ceilings[] = {
        bench_ceiling_of("one process", 1.0, bench_time(bench, startup_alone, &s)),
        bench_ceiling_of("five programs begun", 1.0,
                         bench_time(bench, startup_programs, NULL))};
    struct bench_value values[STARTUP_MARKS];
    struct bench_time time = {0};
    for (size_t m = 0; m < STARTUP_MARKS; m++) {
        time = bench_time_of(seconds[m], runs);
        values[m] = (struct bench_value){names[m], 1e3 * time.median, "ms"};
    }
    bench_report_under(bench, "startup", "llama-1.3m, four processes, first step", 1.0,
                       "starts/s", time, ceilings, 2);
    bench_report_values(bench, "startup", "llama-1.3m, four processes, median of each", values,
                        STARTUP_MARKS);
    bench_dir_close(&s.dir);
}
