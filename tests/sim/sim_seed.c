/* sim_seed.c -- the run of one seed, held against that of its configuration without a fault. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

/* One run in so many tells how much of its time is the core's: a clock read twice an effect would
 * be felt in each. */
#define SIM_TIMED 17

static struct run_config sim_configs[SIM_CONFIGS];
static struct hash sim_expected[SIM_CONFIGS];
static struct record_step sim_expected_steps[SIM_CONFIGS][SIM_STEPS_MAX];
static bool sim_known[SIM_CONFIGS];
static struct core_stats sim_stats;

static void sim_seed_explain(const struct sim *sim, char why[SIM_WHY_MAX])
{
    snprintf(why, SIM_WHY_MAX, "seed %llu, config %llu, at %llu ms: %s",
             (unsigned long long)sim->seed, (unsigned long long)(sim->seed % SIM_CONFIGS),
             (unsigned long long)sim->now_ms, sim->why);
}

/* The final weights of this configuration when nothing goes wrong. */
static bool sim_expect(uint32_t config, char why[SIM_WHY_MAX])
{
    static struct sim sim;
    memset(&sim, 0, sizeof sim);
    sim_config_make(&sim_configs[config], config);
    sim.seed = config;
    sim.rng = 1;
    sim.config = &sim_configs[config];
    sim.workers_n = 3;
    sim.learners_n = 1; /* however many there are in the runs held against it */
    sim.stopped_worker = -1;
    sim.stats = &sim_stats;
    const bool ok = sim_run(&sim);
    if (!ok)
        sim_seed_explain(&sim, why);
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
    sim->timed = seed % SIM_TIMED == 0;
    sim->stats = &sim_stats;
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
    if (sim_chance(sim, 200))
        sim->names_max = (uint32_t)sim->workers_n + 1;
    if (sim_chance(sim, 200))
        sim->leases_max = WIRE_RANKS_MAX + 2 + 2 * (uint32_t)sim_random(sim, 4);
}

/* A run that is over, against the undisturbed one. */
static void sim_seed_judge(struct sim *sim)
{
    const uint32_t config = (uint32_t)(sim->seed % SIM_CONFIGS);
    if (sim->workers[1].odd) /* the run has weights of its own */
        return;
    sim_check_controllers(sim, sim_expected_steps[config]);
    if (memcmp(&sim->trained[sim->config->steps], &sim_expected[config],
               sizeof sim_expected[config]) != 0)
        sim_fail(sim, "the final weights are not those of the undisturbed run");
}

bool sim_seed_prepare(uint64_t seed, char why[SIM_WHY_MAX])
{
    const uint32_t config = (uint32_t)(seed % SIM_CONFIGS);
    return sim_known[config] || sim_expect(config, why);
}

bool sim_seed(uint64_t seed, int bug, bool verbose, struct sim_totals *totals,
              char why[SIM_WHY_MAX])
{
    static struct sim sim;
    if (!sim_seed_prepare(seed, why))
        return false;
    sim_choose(&sim, seed, bug, verbose);
    const uint64_t begin = sim_coordinator_watch(&sim);
    if (sim_run(&sim) && sim_replay(&sim))
        sim_seed_judge(&sim);
    sim.ticks = sim_coordinator_watch(&sim) - begin;
    if (sim.failed)
        sim_seed_explain(&sim, why);
    sim_totals_add(totals, &sim);
    sim_release(&sim);
    return !sim.failed;
}
