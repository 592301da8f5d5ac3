/* sim_jobs.c -- many seeds, shared out among processes.
 *
 * Each process takes the next seed, in order, so all below one that breaks are taken before it:
 * those that have one go on with it, nobody takes another, and the lowest that breaks is the same
 * whatever the number of processes.  A process that dies was at the seed it wrote down. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/sim.h"

struct sim_desk {
    pid_t pid;
    uint64_t seed; /* it is at */
    bool broke, died;
    char why[SIM_WHY_MAX];
    struct sim_totals totals;
};

/* In memory that the processes share. */
struct sim_office {
    _Atomic uint64_t next;   /* seed to be taken */
    _Atomic uint64_t lowest; /* that broke */
    struct sim_desk desk[SIM_JOBS_MAX];
};

static void sim_jobs_note(struct sim_office *office, uint64_t seed)
{
    uint64_t lowest = atomic_load(&office->lowest);
    while (seed < lowest && !atomic_compare_exchange_weak(&office->lowest, &lowest, seed))
        ;
}

static uint64_t sim_jobs_cpu_us(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void sim_jobs_work(const struct sim_plan *plan, struct sim_office *office,
                          struct sim_desk *desk)
{
    const uint64_t begin_us = sim_jobs_cpu_us();
    while (!desk->broke) {
        desk->seed = atomic_fetch_add(&office->next, 1);
        if (desk->seed >= plan->from + plan->seeds || desk->seed > atomic_load(&office->lowest))
            break;
        desk->broke = !sim_seed(desk->seed, plan->bug, plan->verbose, &desk->totals, desk->why);
        if (desk->broke)
            sim_jobs_note(office, desk->seed);
    }
    desk->totals.cpu_us = sim_jobs_cpu_us() - begin_us;
}

static void sim_jobs_start(const struct sim_plan *plan, struct sim_office *office,
                           struct sim_desk *desk)
{
    fflush(stdout);
    const pid_t pid = fork();
    if (pid < 0) {
        perror("sim: fork");
        exit(71);
    }
    if (pid > 0) {
        desk->pid = pid;
        return;
    }
    if (plan->quiet && !freopen("/dev/null", "w", stderr))
        exit(71);
    sim_jobs_work(plan, office, desk);
    exit(0);
}

/* Whoever ends otherwise than by itself broke with the seed it was at. */
static void sim_jobs_wait(struct sim_office *office)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, 0)) > 0;) {
        struct sim_desk *desk = office->desk;
        while (desk->pid != pid)
            desk++; /* this process has no other children */
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        desk->broke = desk->died = true;
        snprintf(desk->why, sizeof desk->why,
                 "seed %llu, config %llu: its process ended with %s %d",
                 (unsigned long long)desk->seed, (unsigned long long)(desk->seed % SIM_CONFIGS),
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        sim_jobs_note(office, desk->seed);
    }
}

static void sim_jobs_sum(const struct sim_office *office, uint32_t desks,
                         struct sim_outcome *out)
{
    for (uint32_t i = 0; i < desks; i++) {
        const struct sim_desk *desk = &office->desk[i];
        sim_totals_merge(&out->totals, &desk->totals);
        if (!desk->broke || (out->broke && desk->seed > out->seed))
            continue;
        out->broke = true;
        out->died = desk->died;
        out->seed = desk->seed;
        memcpy(out->why, desk->why, sizeof out->why);
    }
}

void sim_jobs(const struct sim_plan *plan, struct sim_outcome *out)
{
    *out = (struct sim_outcome){0};
    struct sim_office *office =
        mmap(NULL, sizeof *office, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (office == MAP_FAILED) {
        perror("sim: mmap");
        exit(71);
    }
    atomic_init(&office->next, plan->from);
    atomic_init(&office->lowest, UINT64_MAX);
    for (uint64_t i = 0; i < plan->seeds && i < SIM_CONFIGS && !out->broke; i++) {
        out->seed = plan->from + i;
        out->broke = !sim_seed_prepare(out->seed, out->why); /* once for all processes */
    }
    for (uint32_t i = 0; i < plan->jobs && !out->broke; i++)
        sim_jobs_start(plan, office, &office->desk[i]);
    if (plan->jobs == 0 && !out->broke)
        sim_jobs_work(plan, office, &office->desk[0]);
    if (!out->broke) {
        sim_jobs_wait(office);
        sim_jobs_sum(office, plan->jobs > 0 ? plan->jobs : 1, out);
    }
    munmap(office, sizeof *office);
}
