/*
 * main.c -- run the simulator over many seeds, or show that it catches deliberate faults.
 *
 *     sim [--seeds N] [--from SEED] [--verbose]   N runs; ends with 1 at the first that breaks
 *     sim --bug NUMBER [--seeds N]                ends with 0 if a run breaks
 *     sim --bugs [--seeds N]                      each fault, each in a process of its own
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define SIM_BUGS 39
static const char *const sim_bug_names[SIM_BUGS + 1] = {
    "none",
    "results are acknowledged, and acted on, before they are durable",
    "a second rollout of a scored slot is taken again",
    "leases never expire",
    "a step is sent to the learner before its scores are durable",
    "an unknown session is not told so",
    "leases of a worker that is gone are not given back",
    "the version of a rollout is not looked at",
    "a step counts as checkpointed when it is trained",
    "a second score of a slot replaces the first",
    "every step is shaped with the first beta",
    "the KL controller is not restored from the ledger",
    "shaping does not wait for the references",
    "references of dropped slots are not waited for",
    "the shaper's statistics are not restored from the ledger",
    "the multiplier is not restored from the ledger",
    "the costs of dropped slots are counted",
    "a step is committed by any rank's result, whatever rank 0 has still to do",
    "a learner that is behind is given the next step too",
    "the breaker is not restored from the ledger",
    "a step that was set aside is trained on",
    "of the KL controller the coefficient alone is restored from the ledger",
    "the references' scores are not restored from the ledger",
    "the group of users that the first step served worst is trained on for ever",
    "a scorer is needed for prompts that it does not count for",
    "a recalled step is shaped by the controllers of now",
    "a rollback goes back to whatever checkpoint is the newest known",
    "what a rollback left behind is not restored from the ledger",
    "the checkpoint that a rollback would go back to is not kept",
    "a step that goes back does not say so",
    "a recalled step goes back to where one would go back now",
    "a learner that is silent for a while is not waited for by those that catch up",
    "a second lease goes to whom the first was given",
    "a rollout that comes second is not compared",
    "with the first of two leases the second is forgotten",
    "the answer that comes second is recorded too",
    "a difference names the worker that answered second alone",
    "second leases are given before everything that waits has a first",
    "the second lease is not settled with the first",
    "a second lease asks for the next version",
};

struct sim_totals {
    uint64_t events, virtual_ms, worker_crashes, coordinator_crashes, stops, groups;
    uint64_t duplicates, mismatches, late, refused, expired, retrained, resets, recalls;
    uint64_t rollbacks, rewinds;
    uint64_t seconds, odd;
    uint64_t staleness[SIM_LAG_MAX + 1][SIM_LAG_MAX + 1]; /* [lag][staleness]: slots trained */
};

static struct run_config sim_configs[SIM_CONFIGS];
static struct hash sim_expected[SIM_CONFIGS];
static struct record_step sim_expected_steps[SIM_CONFIGS][SIM_STEPS_MAX];
static bool sim_known[SIM_CONFIGS];

static void sim_print_failure(const struct sim *sim)
{
    printf("seed %llu, config %llu, at %llu ms: %s\n", (unsigned long long)sim->seed,
           (unsigned long long)(sim->seed % SIM_CONFIGS), (unsigned long long)sim->now_ms,
           sim->why);
}

/* The final weights of this configuration when nothing goes wrong. */
static bool sim_expect(uint32_t config)
{
    static struct sim sim;
    memset(&sim, 0, sizeof sim);
    sim_content_config(&sim_configs[config], config);
    sim.seed = config;
    sim.rng = 1;
    sim.config = &sim_configs[config];
    sim.workers_n = 3;
    sim.learners_n = 1; /* however many there are in the runs held against it */
    sim.stopped_worker = -1;
    const bool ok = sim_run(&sim);
    if (!ok)
        sim_print_failure(&sim);
    sim_expected[config] = sim.trained[sim.config->steps];
    for (uint64_t s = 0; ok && s < sim.config->steps; s++)
        sim_expected_steps[config][s] = sim.records[sim.step_index[s] - 1].step;
    sim_known[config] = true;
    sim_release(&sim);
    return ok;
}

static bool sim_same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* Every controller's state after every step, and what it was told and said, as in the run
 * without a fault. */
static void sim_check_controllers(struct sim *sim, const struct record_step *expected)
{
    for (uint64_t s = 0; s < sim->config->steps; s++) {
        const struct record_step *is = &sim->records[sim->step_index[s] - 1].step;
        const struct record_step *want = &expected[s];
        for (uint32_t i = 0; i < want->controller_n; i++)
            if (!sim_same_bits(is->controller[i], want->controller[i]))
                sim_fail(sim,
                         "step %llu: number %u of the controllers is %a, without faults it "
                         "is %a",
                         (unsigned long long)s, (unsigned)i, is->controller[i],
                         want->controller[i]);
        if (is->controller_n != want->controller_n ||
            !sim_same_bits(is->kl_mean, want->kl_mean) ||
            !sim_same_bits(is->kl_coef_before, want->kl_coef_before) ||
            !sim_same_bits(is->kl_coef_after, want->kl_coef_after) ||
            !sim_same_bits(is->multiplier_after, want->multiplier_after) ||
            !sim_same_bits(is->reward_shaped_mean, want->reward_shaped_mean))
            sim_fail(sim,
                     "step %llu has other controllers, coefficients or means than without "
                     "faults",
                     (unsigned long long)s);
    }
}

static void sim_choose(struct sim *sim, uint64_t seed, int bug, bool verbose)
{
    const uint32_t config = (uint32_t)(seed % SIM_CONFIGS);
    memset(sim, 0, sizeof *sim);
    sim->seed = seed;
    sim->rng = sim_mix(seed);
    sim->bug = bug;
    sim->verbose = verbose;
    sim->config = &sim_configs[config];
    sim->learners_n = sim->config->learners;
    sim->workers_n = 3 + (int)sim_random(sim, 6) + (int)sim->learners_n - 1;
    sim->faults_until_ms = 2000 + sim_random(sim, 15000);
    const bool stops = sim->learners_n > 1 && sim_chance(sim, 300);
    const uint64_t which = sim_random(sim, sim->learners_n); /* the first of them is worker 0 */
    sim->stopped_worker = !stops ? -1 : which == 0 ? 0 : sim->workers_n - (int)which;
    sim->stopped_ms = sim_random(sim, sim->faults_until_ms);
    /* Each kind of fault is absent from some runs, so that it does not hide the others. */
    const uint32_t on = (uint32_t)sim_random(sim, 256);
    sim->rates = (struct sim_rates){
        .drop = on & 1 ? (uint32_t)sim_random(sim, 60) : 0,
        .twice = on & 2 ? (uint32_t)sim_random(sim, 100) : 0,
        .slow = on & 4 ? (uint32_t)sim_random(sim, 100) : 0,
        .worker_crash = on & 8 ? (uint32_t)sim_random(sim, 12) : 0,
        .coordinator_crash = on & 16 ? (uint32_t)sim_random(sim, 30) : 0,
        .hang = on & 32 ? (uint32_t)sim_random(sim, 15) : 0,
        .silence = on & 64 ? (uint32_t)sim_random(sim, 15) : 0,
        .hostile = on & 128 ? (uint32_t)sim_random(sim, 100) : 0,
    };
    if (sim_chance(sim, 500))
        sim->rates.damage = (uint32_t)sim_random(sim, 1000);
    if (sim_chance(sim, 500))
        sim->rates.straggle_ms = 10 + (uint32_t)sim_random(sim, 100);
    sim->workers[1].odd = sim_chance(sim, 100); /* the first actor */
}

static void sim_add(struct sim_totals *t, const struct sim *sim)
{
    t->events += sim->events;
    t->virtual_ms += sim->now_ms;
    t->worker_crashes += sim->worker_crashes;
    t->coordinator_crashes += sim->coordinator_crashes;
    t->stops += sim->stops;
    t->groups += sim->groups;
    t->rollbacks += sim->rollbacks;
    t->rewinds += sim->rewinds;
    t->duplicates += sim->stats.duplicates;
    t->mismatches += sim->stats.mismatches;
    t->late += sim->stats.late;
    t->refused += sim->stats.refused;
    t->expired += sim->stats.leases_expired;
    t->retrained += sim->stats.retrained;
    t->resets += sim->stats.resets;
    t->recalls += sim->recalls;
    t->seconds += sim->seconds;
    t->odd += sim->workers[1].odd;
    for (uint32_t s = 0; s <= SIM_LAG_MAX; s++)
        t->staleness[sim->config->lag][s] += sim->staleness[s];
}

/* True: this seed's run kept every promise. */
static bool sim_one(uint64_t seed, int bug, bool verbose, struct sim_totals *totals)
{
    static struct sim sim;
    const uint32_t config = (uint32_t)(seed % SIM_CONFIGS);
    if (!sim_known[config] && !sim_expect(config))
        return false;
    sim_choose(&sim, seed, bug, verbose);
    bool ok = sim_run(&sim) && sim_replay(&sim);
    const bool odd = sim.workers[1].odd; /* then the run has weights of its own */
    if (ok && !odd)
        sim_check_controllers(&sim, sim_expected_steps[config]);
    ok = ok && !sim.failed;
    if (ok && !odd && memcmp(&sim.trained[sim.config->steps], &sim_expected[config],
                     sizeof sim_expected[config]) != 0) {
        sim_fail(&sim, "the final weights are not those of the undisturbed run");
        ok = false;
    }
    if (!ok)
        sim_print_failure(&sim);
    sim_add(totals, &sim);
    sim_release(&sim);
    return ok;
}

static void sim_print_totals(const struct sim_totals *t, uint64_t runs)
{
    const struct {
        const char *words;
        uint64_t n;
    } rows[] = {
        {"runs", runs},
        {"events", t->events},
        {"simulated seconds", t->virtual_ms / 1000},
        {"worker crashes", t->worker_crashes},
        {"coordinator crashes", t->coordinator_crashes},
        {"stops", t->stops},
        {"attempts of several learners", t->groups},
        {"steps recalled", t->recalls},
        {"times a learner went back", t->rollbacks},
        {"times it had to begin before that", t->rewinds},
        {"second leases", t->seconds},
        {"runs with an actor that computes other bits", t->odd},
        {"duplicates in the last life of each", t->duplicates},
        {"mismatches", t->mismatches},
        {"late", t->late},
        {"refused", t->refused},
        {"leases expired", t->expired},
        {"steps trained again", t->retrained},
        {"resets", t->resets},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        printf("%llu %s%s", (unsigned long long)rows[i].n, rows[i].words,
               i + 1 < sizeof rows / sizeof rows[0] ? ", " : "\n");
    for (uint32_t lag = 0; lag <= SIM_LAG_MAX; lag++)
        for (uint32_t stale = 0; stale <= SIM_LAG_MAX; stale++)
            if (t->staleness[lag][stale] > 0)
                printf("lag %u: %llu slots trained at a staleness of %u\n", (unsigned)lag,
                       (unsigned long long)t->staleness[lag][stale], (unsigned)stale);
}

static bool sim_seeds(uint64_t from, uint64_t seeds, int bug, bool verbose)
{
    struct sim_totals t = {0};
    for (uint64_t seed = from; seed < from + seeds; seed++)
        if (!sim_one(seed, bug, verbose, &t))
            return false;
    sim_print_totals(&t, seeds);
    return true;
}

/* In a child, because an assertion of the core is a catch too. */
static bool sim_catches(int bug, uint64_t seeds)
{
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(0);
        const bool clean = sim_seeds(0, seeds, bug, false);
        fflush(stdout);
        _exit(clean ? 0 : 1);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    const bool caught = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    printf("bug %d (%s): %s%s\n", bug, sim_bug_names[bug], caught ? "caught" : "NOT CAUGHT",
           WIFEXITED(status) ? "" : " by an assertion");
    return caught;
}

int main(int argc, char **argv)
{
    uint64_t from = 0, seeds = 0;
    int bug = 0;
    bool bugs = false, verbose = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(argv[i], "--seeds") == 0)
            seeds = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--from") == 0)
            from = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--bug") == 0)
            bug = atoi(value), i++;
        else if (strcmp(argv[i], "--bugs") == 0)
            bugs = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else
            return fprintf(stderr, "sim: what is %s?\n", argv[i]), 64;
    }
    if (bugs) {
        bool all = true;
        for (int b = 1; b <= SIM_BUGS; b++)
            if (sim_bug_names[b])
                all = sim_catches(b, seeds ? seeds : 2000) && all;
        return all ? 0 : 1;
    }
    if (bug < 0 || bug > SIM_BUGS || !sim_bug_names[bug])
        return fprintf(stderr, "sim: there is no bug %d\n", bug), 64;
    const bool ok = sim_seeds(from, seeds ? seeds : 300, bug, verbose);
    return ok == (bug == 0) ? 0 : 1;
}
