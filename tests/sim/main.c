/*
 * main.c -- run the simulator over many seeds, or show that it catches deliberate faults.
 *
 *     sim [--seeds N] [--from SEED] [--verbose]   N runs; ends with 1 at the first that breaks, and
 *                                                 where N >= 1000 lack what they are to be tried by
 *     sim --bug NUMBER [--seeds N]                ends with 0 if a run breaks
 *     sim --bugs [--seeds N]                      each fault, by turns
 *
 * The seeds are shared out among --jobs N processes, as many as there are processors; what is
 * printed does not depend on N.  With --jobs 0, and with --verbose, they are run in this one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define SIM_MANY 1000 /* seeds in which everything comes about */
#define SIM_BUGS 45
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
    "the reference that a rollback left behind stays",
    "a new reference is not found in the ledger again",
    "the KL controller goes on when its reference is renewed",
    "log-probs of another reference are taken",
    "more leases are given out than there are places",
    "what comes back from a reward worker is not looked for",
};

static bool sim_main_seeds(const struct sim_plan *plan)
{
    static struct sim_outcome out;
    sim_jobs(plan, &out);
    if (out.broke) {
        printf("%s\n", out.why);
        return false;
    }
    sim_totals_print(&out.totals);
    fflush(stdout);
    sim_totals_print_speed(&out.totals);
    const char *lack = plan->seeds >= SIM_MANY ? sim_totals_lack(&out.totals) : NULL;
    if (lack)
        printf("in %llu runs there were no %s\n", (unsigned long long)plan->seeds, lack);
    return !lack;
}

static bool sim_main_catches(struct sim_plan plan, int bug)
{
    static struct sim_outcome out;
    plan.bug = bug;
    plan.quiet = true;
    plan.jobs = plan.jobs > 0 ? plan.jobs : 1; /* an assertion of the core is a catch too */
    sim_jobs(&plan, &out);
    printf("bug %d (%s): ", bug, sim_bug_names[bug]);
    if (out.broke)
        printf("caught by %s%s\n", out.died ? "an assertion: " : "", out.why);
    else
        printf("NOT CAUGHT\n");
    fflush(stdout);
    return out.broke;
}

static bool sim_main_bugs(struct sim_plan plan)
{
    bool all = true;
    for (int bug = 1; bug <= SIM_BUGS; bug++)
        all = sim_main_catches(plan, bug) && all;
    return all;
}

/* As many as there are processors. */
static uint32_t sim_main_processors(void)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > SIM_JOBS_MAX ? SIM_JOBS_MAX : (uint32_t)n;
}

int main(int argc, char **argv)
{
    struct sim_plan plan = {.jobs = sim_main_processors()};
    bool bugs = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(argv[i], "--seeds") == 0)
            plan.seeds = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--from") == 0)
            plan.from = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--bug") == 0)
            plan.bug = atoi(value), i++;
        else if (strcmp(argv[i], "--jobs") == 0)
            plan.jobs = (uint32_t)strtoul(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--bugs") == 0)
            bugs = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            plan.verbose = true;
        else
            return fprintf(stderr, "sim: what is %s?\n", argv[i]), 64;
    }
    if (plan.bug < 0 || plan.bug > SIM_BUGS)
        return fprintf(stderr, "sim: there is no bug %d\n", plan.bug), 64;
    if (plan.jobs > SIM_JOBS_MAX)
        return fprintf(stderr, "sim: --jobs must be at most %d\n", SIM_JOBS_MAX), 64;
    if (plan.verbose)
        plan.jobs = 0;
    if (plan.seeds == 0)
        plan.seeds = bugs ? 2000 : 300;
    if (bugs)
        return sim_main_bugs(plan) ? 0 : 1;
    return sim_main_seeds(&plan) == (plan.bug == 0) ? 0 : 1;
}
