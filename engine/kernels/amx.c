/* amx.c -- see amx.h. */
#define _DEFAULT_SOURCE /* syscall */
#include "engine/kernels/amx.h"

#include <stdatomic.h>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* What was found, or -1: not asked yet; and whether to use it.  Properties of the process. */
static atomic_int amx_found = -1;
static atomic_bool amx_used = true;

static const char *const amx_names[] = {
#define X(name, why) why,
    AMX_STATE_MAP(X)
#undef X
};

const char *amx_state_name(enum amx_state state)
{
    return amx_names[state];
}

#if defined(__x86_64__) && defined(__linux__)
enum { AMX_REQ_XCOMP_PERM = 0x1023, AMX_XTILEDATA = 18 }; /* of arch_prctl(2) */

/* CPUID 7.0: EDX bit 22 is AMX-BF16, bit 24 AMX-TILE; palette 1 has the 8 tiles of 16 x 64
 * bytes that bgemm_tile.c takes for granted (CPUID 1D.1). */
static bool amx_cpu(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1u) || !(d >> 24 & 1u))
        return false;
    if (!__get_cpuid_count(0x1d, 1, &a, &b, &c, &d))
        return false;
    return (b & 0xffffu) == 64 && b >> 16 >= 8 && (c & 0xffffu) >= 16;
}

static enum amx_state amx_ask(void)
{
    if (!amx_cpu())
        return AMX_NO_CPU;
    if (syscall(SYS_arch_prctl, AMX_REQ_XCOMP_PERM, AMX_XTILEDATA) == 0)
        return AMX_READY;
    return errno == ENOSPC ? AMX_NO_STACK : AMX_NO_KERNEL;
}
#else
static enum amx_state amx_ask(void)
{
    return AMX_NO_CPU;
}
#endif

enum amx_state amx_state(void)
{
    if (!atomic_load_explicit(&amx_used, memory_order_relaxed))
        return AMX_OFF;
    int found = atomic_load_explicit(&amx_found, memory_order_relaxed);
    if (found < 0) { /* two threads that ask at once get the same answer */
        found = (int)amx_ask();
        atomic_store_explicit(&amx_found, found, memory_order_relaxed);
    }
    return (enum amx_state)found;
}

void amx_use(bool use)
{
    atomic_store_explicit(&amx_used, use, memory_order_relaxed);
}
