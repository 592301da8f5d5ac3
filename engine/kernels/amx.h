/*
 * amx.h -- whether this process may use the CPU's matrix tiles (AMX, with bfloat16).
 *
 * Linux gives the tiles' 8 KiB of state to a process that asks, once: amx_state asks at its
 * first call, from any thread, and remembers.  Threads of the process, older ones too, have it
 * then; a child that execs asks again.
 */
#ifndef ENGINE_KERNELS_AMX_H
#define ENGINE_KERNELS_AMX_H

#include <stdbool.h>

#define AMX_STATE_MAP(X)                                                             \
    X(READY, "ready")                                                                \
    X(NO_CPU, "the CPU has none")                                                    \
    X(NO_KERNEL, "the kernel refuses it") /* before 5.16, or a container's filter */ \
    X(NO_STACK, "an alternate signal stack is too small for its state")              \
    X(OFF, "switched off")
enum amx_state {
#define X(name, why) AMX_##name,
    AMX_STATE_MAP(X)
#undef X
};

enum amx_state amx_state(void);

/* "ready", or the reason as part of a sentence. */
const char *amx_state_name(enum amx_state state);

static inline bool amx_ready(void)
{
    return amx_state() == AMX_READY;
}

/* For tests and benchmarks, as isa_force: false makes the state AMX_OFF, true what it was. */
void amx_use(bool use);

#endif
