/*
 * cmd_run.c -- rlhf run: start a run's processes on this machine, show it, stop them.
 *
 * The coordinator decides when the run is over; its exit is the run's.  A worker that dies is
 * started again; one that cannot start (a wrong config, a broken model) ends the run.
 */
#define _DEFAULT_SOURCE /* mkdtemp, realpath */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <uv.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/gate.h"
#include "cli/gate_watch.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/run_lock.h"
#include "coordinator/ledger.h"
#include "node/run_config.h"
#include "node/supervisor.h"

#define RUN_RESTARTS_MAX 20
#define RUN_GRACE_MS     15000u
#define RUN_POLL_MS      100u
#define RUN_EXIT_NSF     1 /* complete, but its policy did not pass the gate */

struct run {
    struct run_config config;
    char config_path[RUN_PATH_MAX]; /* RUN/config.yaml */
    char bin[RUN_PATH_MAX];         /* where the daemons are */
    struct run_lock lock;
    char control[RUN_TEXT_MAX], bulk[RUN_TEXT_MAX]; /* bulk: of learner-0 */
    char rlhf[RUN_PATH_MAX];        /* this program */
    char gate_log[RUN_PATH_MAX];    /* RUN/gate.log */
    int log_fd;
    size_t log_start; /* bytes of run.log that are from before */
    uv_loop_t loop;
    uv_timer_t timer;
    uv_signal_t sigint, sigterm;
    struct supervisor *supervisor;
    size_t coordinator;
    struct progress progress;
    struct gate_watch gate;
    bool quiet;
    bool resume; /* a run is to be there already */
    bool told_http;
    bool stopping, interrupted;
    bool drained; /* the coordinator ended well, and there are steps left */
    int status; /* what the command returns */
};

static enum err_code run_locate(struct run *run, struct err *err)
{
    char self[RUN_PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return err_errno(err, "find the directory of this program");
    self[n] = '\0';
    memcpy(run->rlhf, self, sizeof self);
    *strrchr(self, '/') = '\0';
    snprintf(run->bin, sizeof run->bin, "%s", self);
    return ERR_OK;
}

/* Where run.dir holds a run already, this must be the same one. */
static enum err_code run_check_same(const struct run *run, struct err *err)
{
    static struct run_config before;
    if (!file_exists(run->config_path))
        return ERR_OK;
    const enum err_code rc = run_config_load(&before, run->config_path, NULL, 0, err);
    if (rc)
        return rc;
    const char *key = run_config_difference(&before, &run->config);
    if (key)
        return err_set(
            err, ERR_USAGE,
            "%s holds a run with another %s: choose another run.dir, or the config of "
            "%s",
            run->config.dir, key, run->config_path);
    return ERR_OK;
}

/* Before anything is made: a directory that was mistyped is to be no new run. */
static enum err_code run_check_resume(const struct run *run, struct err *err)
{
    if (run->resume && !file_exists(run->config_path))
        return err_set(err, ERR_UNAVAILABLE,
                       "--resume: %s holds no run: there is no config.yaml", run->config.dir);
    return ERR_OK;
}

/* A path, and the key that gives it. */
struct run_named {
    const char *key, *path;
};

/* Every process opens these again; looking first saves four of them from starting in vain, and
 * a person from reading what each of them says. */
static enum err_code run_check_file(const char *key, const char *path, struct err *err)
{
    int fd;
    struct err why;
    const enum err_code rc = path[0] ? file_open_read(path, &fd, NULL, &why) : ERR_OK;
    if (rc == ERR_OK && path[0])
        close(fd);
    return rc ? err_set(err, rc, "%s: %s", key, why.text) : ERR_OK;
}

static enum err_code run_check_model(const char *key, const char *dir, struct err *err)
{
    char path[RUN_PATH_MAX];
    if (dir[0] == '\0')
        return ERR_OK;
    const enum err_code rc = file_join(path, dir, "config.json", err);
    return rc ? rc : run_check_file(key, path, err);
}

static enum err_code run_check_scorer(const struct run_scorer *scorer, struct err *err)
{
    char key[RUN_NAME_MAX + 16];
    snprintf(key, sizeof key, "scorer \"%s\"", scorer->name);
    const enum err_code rc = run_check_model(key, scorer->path, err);
    return rc ? rc : run_check_file(key, scorer->words, err);
}

static enum err_code run_check_files(const struct run_config *config, struct err *err)
{
    const struct run_named files[] = {{"data.prompts", config->prompts},
                                      {"gate.prompts", config->gate_prompts},
                                      {"endpoints.token_file", config->token_file}};
    const struct run_named models[] = {{"model.policy", config->policy},
                                       {"model.reference", config->reference},
                                       {"model.critic_path", config->critic_path},
                                       {"model.cost_critic_path", config->cost_critic_path}};
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < sizeof files / sizeof files[0] && rc == ERR_OK; i++)
        rc = run_check_file(files[i].key, files[i].path, err);
    for (size_t i = 0; i < sizeof models / sizeof models[0] && rc == ERR_OK; i++)
        rc = run_check_model(models[i].key, models[i].path, err);
    for (uint32_t i = 0; i < config->scorers && rc == ERR_OK; i++)
        rc = run_check_scorer(&config->scorer[i], err);
    return rc;
}

/* The run's directory, its resolved config, its log, its sockets. */
static enum err_code run_prepare(struct run *run, struct err *err)
{
    enum err_code rc;
    char log[RUN_PATH_MAX], http[RUN_PATH_MAX];
    struct buf text;
    buf_init(&text, 1024 * 1024);
    if ((rc = run_locate(run, err)) || (rc = run_check_files(&run->config, err)) ||
        (rc = file_join(run->config_path, run->config.dir, "config.yaml", err)) ||
        (rc = run_check_resume(run, err)) || (rc = file_make_dir(run->config.dir, err)) ||
        (rc = file_join(log, run->config.dir, "run.log", err)) ||
        (rc = file_join(run->gate_log, run->config.dir, "gate.log", err)) ||
        (rc = file_join(http, run->config.dir, "http", err)) ||
        (rc = run_check_same(run, err)) ||
        (rc = run_lock_take(&run->lock, run->config.dir, err)))
        goto out;
    unlink(http); /* of a coordinator before this one */
    run_config_write(&run->config, &text);
    if ((rc = buf_check(&text, "the resolved config", err)) ||
        (rc = file_write(run->config_path, text.data, text.len, err)))
        goto out;
    run->log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (run->log_fd < 0) {
        rc = err_errno(err, "open %s", log);
        goto out;
    }
    const off_t end = lseek(run->log_fd, 0, SEEK_END);
    run->log_start = end > 0 ? (size_t)end : 0;
    snprintf(run->control, sizeof run->control, "%s", run->config.control_endpoint);
    snprintf(run->bulk, sizeof run->bulk, "%s", run->config.bulk_endpoint);
    if (run->control[0] && run->bulk[0])
        goto out;
    if ((rc = run_lock_sockets(&run->lock, err)))
        goto out;
    if (!run->control[0])
        snprintf(run->control, sizeof run->control, "ipc://%s/control", run->lock.sockets);
    if (!run->bulk[0])
        snprintf(run->bulk, sizeof run->bulk, "ipc://%s/bulk", run->lock.sockets);
out:
    buf_release(&text);
    return rc;
}

static void run_stop(struct run *run, int status)
{
    if (run->stopping)
        return;
    run->stopping = true;
    run->status = status;
    if (status != EX_OK) /* at the end of a run the last checkpoint's test may finish */
        gate_watch_stop(&run->gate);
    supervisor_stop(run->supervisor, RUN_GRACE_MS);
}

/* Is this line of the log an error of that process?  Before its log is open a daemon says
 * "rlhf-ROLE: sentence". */
static bool run_is_error_of(const char *line, size_t n, const char *name)
{
    char text[1024];
    snprintf(text, sizeof text, "%.*s", (int)(n < sizeof text ? n : sizeof text - 1), line);
    return (strstr(text, " ERROR ") && strstr(text, name)) || strncmp(text, "rlhf-", 5) == 0;
}

/* The last sentence that process left in the log: what a person needs first. */
static void run_show_error(const struct run *run, const char *name)
{
    char path[RUN_PATH_MAX];
    struct buf text;
    buf_init(&text, (size_t)256 * 1024 * 1024);
    if (file_join(path, run->config.dir, "run.log", NULL) == ERR_OK &&
        file_read(path, &text, NULL) == ERR_OK && text.len > run->log_start) {
        const char *from = text.data + run->log_start, *line, *last = NULL;
        size_t n, last_n = 0;
        while (file_next_line(&from, text.data + text.len, &line, &n)) {
            if (run_is_error_of(line, n, name)) {
                last = line;
                last_n = n;
            }
        }
        if (last)
            fprintf(stderr, "  %.*s\n", (int)last_n, last);
    }
    buf_release(&text);
}

static void run_on_child(void *arg, const struct supervisor_event *event)
{
    struct run *run = arg;
    progress_end(&run->progress, stdout);
    if (event->state == SUPERVISOR_WAITING)
        fprintf(stderr, "rlhf run: %s ended with %s %d; again in %u ms\n", event->name,
                event->signal ? "signal" : "status",
                event->signal ? event->signal : event->status, event->delay_ms);
    if (event->state == SUPERVISOR_WAITING && !event->signal)
        run_show_error(run, event->name);
    if (event->state == SUPERVISOR_FAILED) {
        fprintf(stderr, "rlhf run: %s ended with %s %d and cannot go on:\n", event->name,
                event->signal ? "signal" : "status",
                event->signal ? event->signal : event->status);
        run_show_error(run, event->name);
        run_stop(run, event->status ? event->status : EX_SOFTWARE);
    }
    if (event->state == SUPERVISOR_DONE && event->child == run->coordinator)
        run_stop(run, EX_OK);
}

/* Learner n serves at the n-th port after the first's, or at a path ending in -n. */
static enum err_code run_bulk(const struct run *run, uint32_t number, char *bulk, size_t size,
                              struct err *err)
{
    const char *colon = strrchr(run->bulk, ':');
    char *end = NULL;
    const bool is_tcp = strncmp(run->bulk, "tcp://", 6) == 0;
    const unsigned long port = is_tcp ? strtoul(colon + 1, &end, 10) : 0;
    if (number == 0 || (is_tcp && strcmp(colon, ":*") == 0)) {
        snprintf(bulk, size, "%s", run->bulk);
    } else if (!is_tcp) {
        snprintf(bulk, size, "%s-%u", run->bulk, number);
    } else {
        if (end == colon + 1 || *end || port + number > 65535)
            return err_set(err, ERR_USAGE,
                           "endpoints.bulk %s has no port that learner %u's could follow",
                           run->bulk, number);
        snprintf(bulk, size, "%.*s:%lu", (int)(colon - run->bulk), run->bulk, port + number);
    }
    return ERR_OK;
}

static enum err_code run_start(struct run *run, const char *role, uint32_t number,
                               size_t *child, struct err *err)
{
    char program[RUN_PATH_MAX + 32], name[64], bulk[RUN_TEXT_MAX + 16], supervised[32];
    const bool learns = strcmp(role, "learner") == 0;
    const enum err_code rc = run_bulk(run, learns ? number : 0, bulk, sizeof bulk, err);
    if (rc)
        return rc;
    snprintf(program, sizeof program, "%s/rlhf-%s", run->bin, role);
    snprintf(name, sizeof name, "%s-%u", role, number);
    snprintf(supervised, sizeof supervised, "--supervised=%ld", (long)getpid());
    const char *const argv[] = {
        program,  "--config", run->config_path, "--name", name, "--control", run->control,
        "--bulk", bulk,       supervised,       NULL};
    if (access(program, X_OK) != 0)
        return err_errno(err, "%s is not there", program);
    return supervisor_start(run->supervisor, name, argv, run->log_fd, child, err);
}

static enum err_code run_start_all(struct run *run, struct err *err)
{
    size_t child;
    enum err_code rc = run_start(run, "coordinator", 0, &run->coordinator, err);
    for (uint32_t i = 0; i < run->config.learners && rc == ERR_OK; i++)
        rc = run_start(run, "learner", i, &child, err);
    for (uint32_t i = 0; i < run->config.rewards && rc == ERR_OK; i++)
        rc = run_start(run, "reward", i, &child, err);
    for (uint32_t i = 0; i < run->config.actors && rc == ERR_OK; i++)
        rc = run_start(run, "actor", i, &child, err);
    return rc;
}

/* RUN/http holds "address:port" once the coordinator listens. */
static void run_tell_http(struct run *run)
{
    char path[RUN_PATH_MAX];
    struct buf text;
    buf_init(&text, 256);
    if (file_join(path, run->config.dir, "http", NULL) == ERR_OK &&
        file_read(path, &text, NULL) == ERR_OK && text.len > 0) {
        text.data[strcspn(text.data, "\n")] = '\0';
        printf("metrics   http://%s/metrics  (also /healthz /readyz /api/v1/status)\n",
               text.data);
        fflush(stdout);
        run->told_http = true;
    }
    buf_release(&text);
}

/* A run that was paused stays so, and would look as if it hung. */
static void run_tell_paused(const struct run *run)
{
    struct ledger *ledger = NULL;
    struct ledger_summary sum = {0};
    if (ledger_open_read(&ledger, run->config.dir, NULL) == ERR_OK &&
        ledger_summarise(ledger, &sum, NULL) == ERR_OK && sum.paused)
        printf("paused    until `rlhf resume %s`\n", run->config.dir);
    ledger_close(ledger, NULL);
}

static void run_on_timer(uv_timer_t *timer)
{
    struct run *run = timer->data;
    struct err err = {0};
    if (!run->told_http && !run->quiet)
        run_tell_http(run);
    if (!run->quiet && progress_poll(&run->progress, stdout, &err))
        fprintf(stderr, "rlhf run: %s\n", err.text);
    gate_watch_poll(&run->gate, run->stopping, run->quiet);
    if (supervisor_alive(run->supervisor) == 0 && !gate_watch_busy(&run->gate))
        uv_stop(&run->loop);
}

static void run_on_signal(uv_signal_t *handle, int signal)
{
    (void)signal;
    struct run *run = handle->data;
    progress_end(&run->progress, stdout);
    if (!run->stopping)
        fprintf(stderr, "rlhf run: stopping; the same command goes on from here\n");
    run->interrupted = true;
    run_stop(run, EX_TEMPFAIL);
}

static void run_close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static enum err_code run_loop(struct run *run, struct err *err)
{
    uv_loop_init(&run->loop);
    run->supervisor = supervisor_open(&run->loop, RUN_RESTARTS_MAX, run_on_child, run);
    if (!run->supervisor)
        return err_set(err, ERR_NOMEM, "out of memory for the supervisor");
    uv_timer_init(&run->loop, &run->timer);
    uv_signal_init(&run->loop, &run->sigint);
    uv_signal_init(&run->loop, &run->sigterm);
    run->timer.data = run->sigint.data = run->sigterm.data = run;
    uv_signal_start(&run->sigint, run_on_signal, SIGINT);
    uv_signal_start(&run->sigterm, run_on_signal, SIGTERM);
    uv_timer_start(&run->timer, run_on_timer, RUN_POLL_MS, RUN_POLL_MS);

    const enum err_code rc = run_start_all(run, err);
    if (rc)
        run_stop(run, err_exit_code(rc));
    uv_run(&run->loop, UV_RUN_DEFAULT);
    supervisor_close(run->supervisor);
    uv_run(&run->loop, UV_RUN_NOWAIT);
    uv_walk(&run->loop, run_close_handle, NULL);
    uv_run(&run->loop, UV_RUN_DEFAULT);
    uv_loop_close(&run->loop);
    return rc;
}

/* A coordinator that was told to drain ends like one whose run is complete. */
static enum err_code run_look(struct run *run, struct err *err)
{
    struct ledger *ledger = NULL;
    struct ledger_summary sum = {0};
    enum err_code rc = ledger_open_read(&ledger, run->config.dir, err);
    if (rc == ERR_OK)
        rc = ledger_summarise(ledger, &sum, err);
    ledger_close(ledger, NULL);
    run->drained = rc == ERR_OK && sum.steps < run->config.steps;
    if (run->drained && !run->quiet)
        printf("drained   after %llu of %llu steps; the same command goes on from here\n",
               (unsigned long long)sum.steps, (unsigned long long)run->config.steps);
    return rc;
}

static void run_summary(const struct run *run)
{
    if (run->quiet)
        return;
    if (run->progress.lines > 1)
        printf("reward    %.3f -> %.3f (raw %.3f -> %.3f), KL %.2f nats a sequence\n",
               run->progress.reward_first, run->progress.reward, run->progress.raw_first,
               run->progress.raw, run->progress.kl);
    struct err err = {0};
    if (report_write(run->config.dir, &err))
        fprintf(stderr, "rlhf run: no report: %s\n", err.text);
    else
        printf("report    %s/report.html\n", run->config.dir);
    printf("model     %s/final\n", run->config.dir);
    printf("ledger    %s/ledger.sqlite\n", run->config.dir);
    printf("log       %s/run.log\n", run->config.dir);
}

static void run_gate_progress(void *ctx, uint32_t prompts, uint32_t all)
{
    (void)ctx;
    fprintf(stderr, "\rgate      %u/%u prompts%s", prompts, all,
            prompts == all ? "\r\033[K" : "");
}

/* The final policy before the gate, where there is one.  The run's status is RUN_EXIT_NSF where
 * it does not pass. */
static enum err_code run_gate(struct run *run, struct err *err)
{
    if (run->config.gate_prompts[0] == '\0')
        return ERR_OK;
    char final[RUN_PATH_MAX];
    struct gate_result result;
    struct buf text;
    buf_init(&text, 4096);
    const struct gate_params params = {
        .config = &run->config,
        .model = final,
        .threads = run->config.learner_threads,
        .progress = isatty(STDERR_FILENO) && !run->quiet ? run_gate_progress : NULL,
    };
    enum err_code rc = file_join(final, run->config.dir, "final", err);
    if (rc == ERR_OK)
        rc = gate_run(&params, &result, err);
    if (rc == ERR_OK) {
        gate_explain(&run->config, &result, &text);
        if (!run->quiet)
            printf("gate      final: %s", text.data);
        if (result.entry.verdict.decision != BOUND_PASS)
            run->status = RUN_EXIT_NSF;
    }
    buf_release(&text);
    return rc;
}

static void run_release(struct run *run)
{
    run_lock_release(&run->lock);
    if (run->log_fd >= 0)
        close(run->log_fd);
}

int cmd_run(int argc, char **argv)
{
    static struct run run = {.log_fd = -1, .lock.fd = -1};
    const struct cli_option options[] = {
        {"quiet", CLI_FLAG, &run.quiet, NULL, "print nothing but errors", 0, 0},
        {"resume", CLI_FLAG, &run.resume, NULL, "refuse to begin a run: go on with one", 0, 0},
    };
    const struct cli_usage usage = {
        .words = "run",
        .synopsis = "FILE [KEY=VALUE ...] [options]",
        .about =
            "Run RLHF as the YAML file says: start coordinator, learners, reward processes and\n"
            "actors on this machine, start again what dies, show each step, and stop them.\n"
            "KEY=VALUE overrides a key of the file.  Where run.dir holds an unfinished run of\n"
            "the same config it is continued.  With gate.prompts the policy is tested and, where "
            "it\npasses, published at the end.  Exit status 75: interrupted, can be continued; 1: "
            "complete,\nbut the final policy did not pass; 0 also where somebody drained it.\n",
        .options = options,
        .options_n = 2,
        .examples = "  rlhf run ops/demo/run.yaml\n"
                    "  rlhf run my.yaml run.seed=2 pipeline.lag=0 workers.actors=2\n"
                    "  rlhf run --resume my.yaml\n",
        .arguments_min = 1,
        .arguments_max = 256,
    };
    int first = 0;
    const int parsed = cli_parse(&usage, argc, argv, &first);
    if (parsed != CLI_GO)
        return parsed;

    struct err err = {0};
    const char *const *overrides = (const char *const *)argv + first + 1;
    enum err_code rc = fault_arm(getenv("RLHF_FAULT"), getenv("RLHF_FAULT_DIR"), "run", &err);
    if (rc == ERR_OK)
        rc = run_config_load(&run.config, argv[first], overrides, (size_t)(argc - first - 1),
                             &err);
    char progress[RUN_PATH_MAX];
    if (rc == ERR_OK)
        rc = run_prepare(&run, &err);
    if (rc == ERR_OK)
        rc = file_join(progress, run.config.dir, "progress.jsonl", &err);
    if (rc == ERR_OK) {
        progress_open(&run.progress, progress, true, isatty(STDOUT_FILENO) && !run.quiet);
        if (!run.quiet) {
            printf("run       %s in %s\n", run.config.name, run.config.dir);
            run_tell_paused(&run);
        }
        gate_watch_init(&run.gate, &run.config, run.rlhf, run.gate_log);
        rc = run_loop(&run, &err);
    }
    if (rc == ERR_OK && run.status == EX_OK)
        rc = run_look(&run, &err);
    if (rc == ERR_OK && run.status == EX_OK && !run.drained) {
        rc = run_gate(&run, &err); /* first: the report tells of it */
        run_summary(&run);
    }
    run_release(&run);
    return rc ? cli_fail(&usage, &err) : run.status;
}
