/* sim_chance.c -- chance, from the seed alone, and how a run fails. */
#include <stdarg.h>
#include <stdio.h>

#include "tests/sim/sim.h"

uint64_t sim_mix(uint64_t x) /* splitmix64's finaliser: Steele, Lea, Flood, 2014 */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t sim_random(struct sim *sim, uint64_t n)
{
    sim->rng = sim_mix(sim->rng);
    return sim->rng % n;
}

bool sim_chance(struct sim *sim, uint32_t per_mille)
{
    return per_mille > 0 && sim_random(sim, 1000) < per_mille;
}

bool sim_faulty(const struct sim *sim)
{
    return sim->now_ms < sim->faults_until_ms;
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    if (sim->failed)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(sim->why, sizeof sim->why, format, args);
    va_end(args);
    sim->failed = true;
}
