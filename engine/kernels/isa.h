/*
 * isa.h -- which instruction set the kernels use, and how one body becomes three functions.
 *
 * Every kernel gives the same bits on every level: it sums in an order that its header fixes,
 * with fmaf() where it fuses.  A level only changes the speed.  A kernel is written once, as
 * an always-inline body, and ISA_FUNCTION compiles it for each level and picks at run time:
 *
 *     static inline ISA_BODY void scale_body(float *x, float a, size_t n) { ... }
 *     ISA_FUNCTION(scale, (float *x, float a, size_t n), (x, a, n))
 *
 * defines  static void scale(float *x, float a, size_t n).
 */
#ifndef ENGINE_KERNELS_ISA_H
#define ENGINE_KERNELS_ISA_H

#include <stdbool.h>

enum isa {
    ISA_PLAIN, /* what the compiler was told: any machine */
    ISA_AVX2,  /* AVX2 and FMA */
    ISA_AVX512 /* AVX-512 F, VL, BW, DQ */
};

/* "plain", "avx2", "avx512". */
const char *isa_name(enum isa isa);

/* True if this machine can run it. */
bool isa_has(enum isa isa);

/* The level in use: the best of the machine, or the one forced. */
enum isa isa_used(void);

/* True where the level in use is avx512 and the CPU rounds to bfloat16 itself (AVX512_BF16, which
 * every CPU with AMX has). */
bool isa_rounds_bf16(void);

/* For tests and benchmarks: use this level from now on, in every thread.  The machine must
 * have it. */
void isa_force(enum isa isa);

#define ISA_BODY __attribute__((always_inline))

/* Before a loop of at most 16 turns, and always as many: its array then lives in registers. */
#if defined(__clang__)
#define ISA_UNROLL _Pragma("unroll")
#else
#define ISA_UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(__x86_64__)
#define ISA_TARGET_AVX2   __attribute__((target("avx2,fma")))
#define ISA_TARGET_AVX512 __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")))
#define ISA_TARGET_BF16 \
    __attribute__((target("avx512bf16,avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")))
#define ISA_FUNCTION(name, parameters, arguments)          \
    ISA_TARGET_AVX512 static void name##_avx512 parameters \
    {                                                      \
        name##_body arguments;                             \
    }                                                      \
    ISA_TARGET_AVX2 static void name##_avx2 parameters     \
    {                                                      \
        name##_body arguments;                             \
    }                                                      \
    static void name parameters                            \
    {                                                      \
        switch (isa_used()) {                              \
        case ISA_AVX512: name##_avx512 arguments; break;   \
        case ISA_AVX2: name##_avx2 arguments; break;       \
        case ISA_PLAIN: name##_body arguments; break;      \
        }                                                  \
    }
#else
#define ISA_FUNCTION(name, parameters, arguments) \
    static void name parameters                   \
    {                                             \
        name##_body arguments;                    \
    }
#endif

#endif
