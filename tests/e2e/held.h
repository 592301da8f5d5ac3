/*
 * held.h -- runs that go no further than the test lets them, however late the test itself comes.
 *
 * One process of a held run stands still at a point of each step (base/fault.h) until it is told
 * to go on: the coordinator when a step is done, so that nothing happens in the run's name; or the
 * learner before it trains one, so that the coordinator can be asked meanwhile.  What is to happen
 * after some step then happens there, and to a process that is there: the run cannot be over
 * before.  Told to go on it does one step more, in the midst of which others can be killed.
 *
 * `pid` is the `rlhf run`, `run` its directory.  What waits here fails the test where the run ends
 * first, or after SCENE_DEADLINE_MS.
 */
#ifndef TESTS_E2E_HELD_H
#define TESTS_E2E_HELD_H

#include "tests/e2e/scene.h"

static const char *held_program = "rlhf-coordinator"; /* which of them stands still */

/* Runs that are started from now on are held, up to held_end. */
static inline void held_begin(void)
{
    held_program = "rlhf-coordinator";
    setenv("RLHF_FAULT", "coordinator_step_told:1:stop:coordinator", 1);
}

static inline void held_begin_by_learner(void)
{
    held_program = "rlhf-learner";
    setenv("RLHF_FAULT", "train_step:1:stop:learner", 1);
}

static inline void held_end(void)
{
    unsetenv("RLHF_FAULT");
}

static inline bool held_is_still(pid_t pid)
{
    char state[64];
    return scene_process_says(pid, "State:", state) && state[0] == 'T';
}

/* Who stands still; 0: nobody does. */
static inline pid_t held_process(const char *run)
{
    const pid_t pid = scene_find(run, held_program);
    return pid > 0 && held_is_still(pid) ? pid : 0;
}

static inline void held_go_on(const char *run)
{
    const pid_t still = held_process(run);
    if (still > 0)
        kill(still, SIGCONT);
}

/* One turn of waiting for what the run has to do. */
static inline void held_turn(pid_t pid, const char *run, uint64_t deadline)
{
    const bool lives = scene_lives(pid);
    if (!lives || clock_mono_ms() > deadline) {
        scene_show("err");
        fail_msg("%s %s", run, lives ? "does not come so far" : "was over before");
    }
    scene_nap(2);
}

/* Afterwards it stands still, with so many steps done.  Only who was seen to stand still before
 * the steps were counted is told to go on. */
static inline void held_go_to(pid_t pid, const char *run, uint64_t steps)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    for (;;) {
        const pid_t still = held_process(run);
        if (still > 0 && scene_steps(run) >= steps)
            return;
        if (still > 0)
            kill(still, SIGCONT);
        held_turn(pid, run, deadline);
    }
}

/* The process with these words in its command line, which may be starting again just now. */
static inline pid_t held_find(pid_t pid, const char *run, const char *words)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    pid_t it;
    while ((it = scene_find(run, words)) == 0)
        held_turn(pid, run, deadline);
    return it;
}

static inline void held_kill(pid_t pid, const char *run, const char *words)
{
    while (kill(held_find(pid, run, words), SIGKILL) != 0)
        ; /* it ended by itself meanwhile */
}

/* Ask the run to end where it stands: who stands still knows of it before it goes on. */
static inline void held_interrupt(pid_t pid, const char *run)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    const pid_t still = held_process(run);
    assert_true(still > 0);
    assert_int_equal(kill(pid, SIGTERM), 0);
    for (char pending[64]; !scene_process_says(still, "ShdPnd:", pending) ||
                           (strtoull(pending, NULL, 16) & 1u << (SIGTERM - 1)) == 0;)
        held_turn(pid, run, deadline);
}

/* Let it go on to its end: the exit status, as scene_wait. */
static inline int held_wait(pid_t pid, const char *run)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    while (scene_lives(pid) && clock_mono_ms() < deadline) {
        held_go_on(run);
        scene_nap(2);
    }
    return scene_wait(pid);
}

#endif
