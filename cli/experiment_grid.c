/* experiment_grid.c -- see experiment_grid.h. */
#include "cli/experiment_grid.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#define EXPERIMENT_POLL_MS    200
#define EXPERIMENT_LIVE_BYTES 100 /* of the line that moves */

static void experiment_grid_set(struct experiment_grid *grid, struct experiment_cell *cell,
                                enum experiment_state state)
{
    grid->count[cell->state]--;
    grid->count[state]++;
    cell->state = state;
}

/* --- what people see -------------------------------------------------------------------- */

static void experiment_grid_clear(const struct experiment_grid *grid)
{
    if (grid->live)
        fputs("\r\033[K", stdout);
}

static void experiment_grid_tell_json(const struct experiment_grid *grid, size_t i)
{
    const struct experiment *e = grid->experiment;
    const struct experiment_cell *cell = &grid->cell[i];
    struct buf line;
    buf_init(&line, 64 * 1024);
    buf_printf(&line, "{\"run\": \"%s\", \"setting\": \"%s\", \"seed\": %" PRIu64 ", \"dir\": ",
               e->run[i].name, e->setting[e->run[i].setting].name, e->run[i].seed);
    buf_json_string(&line, e->run[i].dir, strlen(e->run[i].dir));
    buf_printf(&line, ", \"state\": \"%s\", \"seconds\": %" PRIu64,
               cell->state == EXPERIMENT_DONE ? "done" : "failed", cell->seconds);
    if (cell->state == EXPERIMENT_FAILED) {
        buf_printf(&line, ", \"status\": %d, \"why\": ", cell->status);
        buf_json_string(&line, cell->why, strlen(cell->why));
    }
    buf_puts(&line, "}\n");
    fputs(line.data, stdout);
    fflush(stdout);
    buf_release(&line);
}

static void experiment_grid_tell(const struct experiment_grid *grid, size_t i)
{
    const struct experiment_cell *cell = &grid->cell[i];
    const char *name = grid->experiment->run[i].name;
    experiment_grid_clear(grid);
    if (grid->json) {
        experiment_grid_tell_json(grid, i);
    } else if (cell->state == EXPERIMENT_DONE) {
        printf("done    %-24s %" PRIu64 ":%02" PRIu64 "\n", name, cell->seconds / 60,
               cell->seconds % 60);
        fflush(stdout);
    } else {
        fprintf(stderr, "failed  %s with status %d: %s\n        see %s\n", name, cell->status,
                cell->why, cell->job.log);
    }
}

/* "3/10 runs  par-s1 120/300  none-s2 evaluates" */
static void experiment_grid_draw(struct experiment_grid *grid)
{
    char line[EXPERIMENT_LIVE_BYTES];
    size_t n = (size_t)snprintf(line, sizeof line, "%zu/%u runs", grid->count[EXPERIMENT_DONE],
                                grid->experiment->runs);
    for (uint32_t i = 0; i < grid->experiment->runs && n < sizeof line; i++) {
        struct experiment_cell *cell = &grid->cell[i];
        const char *name = grid->experiment->run[i].name;
        if (cell->state != EXPERIMENT_ACTIVE)
            continue;
        progress_poll(&cell->progress, grid->nowhere, NULL); /* only for show */
        n += (size_t)(cell->step.need == EXPERIMENT_NEED_EVALUATE
                          ? snprintf(line + n, sizeof line - n, "  %s evaluates", name)
                          : snprintf(line + n, sizeof line - n, "  %s %" PRIu64 "/%" PRIu64,
                                     name, cell->progress.step, cell->progress.steps));
    }
    printf("\r%s\033[K", line);
    fflush(stdout);
}

/* --- runs --------------------------------------------------------------------------------- */

static void experiment_grid_end(struct experiment_grid *grid, size_t i,
                                enum experiment_state state)
{
    struct experiment_cell *cell = &grid->cell[i];
    cell->seconds = (clock_mono_ms() - cell->began_ms) / 1000;
    experiment_grid_set(grid, cell, state);
    if (state != EXPERIMENT_STOPPED && !cell->before)
        experiment_grid_tell(grid, i);
}

static void experiment_grid_fail(struct experiment_grid *grid, size_t i, int status,
                                 const char *why)
{
    struct experiment_cell *cell = &grid->cell[i];
    cell->status = status;
    snprintf(cell->why, sizeof cell->why, "%s", why);
    experiment_grid_end(grid, i, EXPERIMENT_FAILED);
}

static enum err_code experiment_grid_start_step(struct experiment_grid *grid, size_t i,
                                                struct err *err)
{
    const struct experiment_run *run = &grid->experiment->run[i];
    struct experiment_cell *cell = &grid->cell[i];
    char log[RUN_PATH_MAX + 8], progress[RUN_PATH_MAX];
    struct experiment_command *command = malloc(sizeof *command); /* large */
    if (!command)
        return err_set(err, ERR_NOMEM, "no memory for a command");
    snprintf(log, sizeof log, "%s.log", run->dir);
    enum err_code rc = file_join(progress, run->dir, "progress.jsonl", err);
    if (rc == ERR_OK)
        rc = experiment_step_command(grid->experiment, run, &cell->step, grid->program, command,
                                     err);
    if (rc == ERR_OK) {
        progress_open(&cell->progress, progress, false, false);
        rc = experiment_job_start(&cell->job, command->argv, log, err);
    }
    free(command);
    return rc;
}

/* The run's next step, if there is one; `after` is the one that was just done. */
static void experiment_grid_go_on(struct experiment_grid *grid, size_t i,
                                  const struct experiment_step *after)
{
    struct experiment_cell *cell = &grid->cell[i];
    struct err err = {0};
    enum err_code rc =
        experiment_step_next(grid->experiment, &grid->experiment->run[i], &cell->step, &err);
    if (rc == ERR_OK && cell->step.need == EXPERIMENT_NEED_NOTHING) {
        cell->before = after == NULL;
        experiment_grid_end(grid, i, EXPERIMENT_DONE);
        return;
    }
    const bool trains = cell->step.need != EXPERIMENT_NEED_EVALUATE;
    if (rc == ERR_OK && after &&
        (trains || (after->need == cell->step.need && after->version == cell->step.version)))
        rc = err_set(&err, ERR_STATE, "the command succeeded, but left no result");
    if (rc == ERR_OK)
        rc = experiment_grid_start_step(grid, i, &err);
    if (rc)
        experiment_grid_fail(grid, i, err_exit_code(rc), err.text);
}

static void experiment_grid_fill_slots(struct experiment_grid *grid)
{
    const struct experiment *e = grid->experiment;
    while (grid->next < e->runs && grid->count[EXPERIMENT_ACTIVE] < e->parallel) {
        const uint32_t i = grid->next++;
        grid->cell[i].began_ms = clock_mono_ms();
        experiment_grid_set(grid, &grid->cell[i], EXPERIMENT_ACTIVE);
        experiment_grid_go_on(grid, i, NULL);
    }
}

static void experiment_grid_poll(struct experiment_grid *grid)
{
    for (uint32_t i = 0; i < grid->experiment->runs; i++) {
        struct experiment_cell *cell = &grid->cell[i];
        int status = 0;
        if (cell->state != EXPERIMENT_ACTIVE || !experiment_job_poll(&cell->job, &status))
            continue;
        const struct experiment_step done = cell->step;
        if (status == 0 && grid->signals == 0) {
            experiment_grid_go_on(grid, i, &done);
        } else if (grid->signals > 0) {
            experiment_grid_end(grid, i, EXPERIMENT_STOPPED);
        } else {
            char why[EXPERIMENT_WHY_MAX];
            experiment_job_last_line(&cell->job, why);
            experiment_grid_fail(grid, i, status, why);
        }
    }
}

/* --- signals ------------------------------------------------------------------------------ */

static void experiment_grid_each_job(const struct experiment_grid *grid,
                                     void (*fn)(const struct experiment_job *job))
{
    for (uint32_t i = 0; i < grid->experiment->runs; i++)
        if (grid->cell[i].state == EXPERIMENT_ACTIVE)
            fn(&grid->cell[i].job);
}

static void experiment_grid_on_stop(struct experiment_grid *grid)
{
    if (grid->signals++ == 0) {
        grid->stop_ms = clock_mono_ms();
        experiment_grid_clear(grid);
        fprintf(stderr, "rlhf experiment: stopping; the same command goes on from here\n");
        experiment_grid_each_job(grid, experiment_job_terminate);
    } else {
        experiment_grid_each_job(grid, experiment_job_kill);
    }
}

/* Until a child ends, a signal comes, or the poll's time is over. */
static void experiment_grid_wait(struct experiment_grid *grid, const sigset_t *set)
{
    const struct timespec poll = {0, EXPERIMENT_POLL_MS * 1000000L};
    const int signal = sigtimedwait(set, NULL, &poll);
    if (signal == SIGINT || signal == SIGTERM)
        experiment_grid_on_stop(grid);
    if (grid->signals > 0 && clock_mono_ms() - grid->stop_ms > EXPERIMENT_GRACE_MS)
        experiment_grid_each_job(grid, experiment_job_kill);
}

enum err_code experiment_grid_run(struct experiment_grid *grid, struct err *err)
{
    sigset_t set, before;
    const enum err_code rc = file_make_dir(grid->experiment->dir, err);
    if (rc)
        return rc;
    if (!(grid->nowhere = fopen("/dev/null", "w")))
        return err_errno(err, "open /dev/null");
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &before);
    grid->count[EXPERIMENT_WAITING] = grid->experiment->runs;
    experiment_grid_fill_slots(grid);
    while (grid->count[EXPERIMENT_ACTIVE] > 0) {
        if (grid->live)
            experiment_grid_draw(grid);
        experiment_grid_wait(grid, &set);
        experiment_grid_poll(grid);
        if (grid->signals == 0)
            experiment_grid_fill_slots(grid);
    }
    experiment_grid_clear(grid);
    sigprocmask(SIG_SETMASK, &before, NULL);
    fclose(grid->nowhere);
    return ERR_OK;
}
