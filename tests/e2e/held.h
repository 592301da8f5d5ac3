/*
 * held.h -- runs that go no further than the test lets them, however late the test itself comes.
 *
 * The coordinator of a held run stands still after each step (base/fault.h) until it is told to go
 * on.  So what is to happen after some step happens there, and to a process that is there: the run
 * cannot be over before.  Told to go on it does one step more, in the midst of which others can be
 * killed.
 *
 * `pid` is the `rlhf run`, `run` its directory.  What waits here fails the test where the run ends
 * first, or after SCENE_DEADLINE_MS.
 */
#ifndef TESTS_E2E_HELD_H
#define TESTS_E2E_HELD_H

#include "tests/e2e/scene.h"

/* Whether runs are held that are started from now on. */
static inline void held_begin(bool held)
{
    if (held)
        setenv("RLHF_FAULT", "coordinator_step_told:1:stop:coordinator", 1);
    else
        unsetenv("RLHF_FAULT");
}

/* The run's coordinator, where it stands still; 0: there is none, or it is at work. */
static inline pid_t held_coordinator(const char *run)
{
    char state[64];
    const pid_t pid = scene_find(run, "rlhf-coordinator");
    return pid > 0 && scene_process_says(pid, "State:", state) && state[0] == 'T' ? pid : 0;
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

static inline void held_go_on(const char *run)
{
    const pid_t coordinator = held_coordinator(run);
    if (coordinator > 0)
        kill(coordinator, SIGCONT);
}

/* Afterwards it stands still, with so many steps done. */
static inline void held_go_to(pid_t pid, const char *run, uint64_t steps)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    /* Who is seen to stand still adds no line before it is told to. */
    while (held_coordinator(run) == 0 || scene_steps(run) < steps) {
        held_go_on(run);
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

/* Ask the run to end where it stands: its coordinator knows of it before it goes on. */
static inline void held_interrupt(pid_t pid, const char *run)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    const pid_t coordinator = held_coordinator(run);
    assert_true(coordinator > 0);
    assert_int_equal(kill(pid, SIGTERM), 0);
    for (char pending[64]; !scene_process_says(coordinator, "ShdPnd:", pending) ||
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
