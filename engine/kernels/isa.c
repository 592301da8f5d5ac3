/* isa.c -- see isa.h. */
#include "engine/kernels/isa.h"

#include <assert.h>
#include <stdatomic.h>

/* One of enum isa, or -1: not asked yet.  A property of the process, like the machine. */
static atomic_int isa_level = -1;

const char *isa_name(enum isa isa)
{
    switch (isa) {
    case ISA_PLAIN: return "plain";
    case ISA_AVX2: return "avx2";
    case ISA_AVX512: return "avx512";
    }
    return "?";
}

bool isa_has(enum isa isa)
{
    if (isa == ISA_PLAIN)
        return true;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa == ISA_AVX2)
        return avx2;
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

enum isa isa_used(void)
{
    int level = atomic_load_explicit(&isa_level, memory_order_relaxed);
    if (level < 0) {
        level = isa_has(ISA_AVX512) ? ISA_AVX512 : isa_has(ISA_AVX2) ? ISA_AVX2 : ISA_PLAIN;
        atomic_store_explicit(&isa_level, level, memory_order_relaxed);
    }
    return (enum isa)level;
}

bool isa_rounds_bf16(void)
{
#if defined(__x86_64__)
    return isa_used() == ISA_AVX512 && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

void isa_force(enum isa isa)
{
    assert(isa_has(isa));
    atomic_store_explicit(&isa_level, (int)isa, memory_order_relaxed);
}
