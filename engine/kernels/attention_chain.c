/* attention_chain.c -- see attention_chain.h. */
#include "engine/kernels/attention_chain.h"

#include <math.h>
#include <stdint.h>

#include "engine/kernels/gemm.h"
#include "engine/kernels/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Where the lines that follow each other end. */
static inline ISA_BODY size_t attention_chain_stop(const struct attention_span *span, size_t d)
{
    return span->depth - d < span->lines ? span->depth : d + span->lines;
}

/* What is added to the way at line d. */
static inline ISA_BODY size_t attention_chain_leap(const struct attention_span *span, size_t d)
{
    return d == span->bend ? span->leap : 0;
}

/* Through an integer, as the way may wrap. */
static inline ISA_BODY const float *attention_chain_line(const struct attention_chain *chain,
                                                         size_t at)
{
    return (const float *)((uintptr_t)chain->panel + at * sizeof(float));
}

static inline ISA_BODY void attention_chain_one_body(const struct attention_chain *chain,
                                                     const struct attention_span *span)
{
    float sum[GEMM_PANEL] = {0};
    size_t at = 0;
    for (size_t d = 0; d < span->depth; at += span->step) {
        at += attention_chain_leap(span, d);
        const float *line = attention_chain_line(chain, at);
        for (const size_t stop = attention_chain_stop(span, d); d < stop; d++) {
            for (size_t i = 0; i < GEMM_PANEL; i++)
                sum[i] = fmaf(chain->a[d], line[i], sum[i]);
            line += GEMM_PANEL;
        }
    }
    for (size_t i = 0; i < GEMM_PANEL; i++)
        chain->c[i] = span->join ? fmaf(chain->c[i], chain->keep, sum[i]) : sum[i];
}
ISA_FUNCTION(attention_chain_one,
             (const struct attention_chain *chain, const struct attention_span *span),
             (chain, span))

#if defined(__x86_64__)
enum { ATTENTION_CHAINS = 4 }; /* side by side: what a fused multiply-add takes in cycles */

ISA_TARGET_AVX512 static void attention_chain_four(const struct attention_chain *chain,
                                                   const struct attention_span *span)
{
    __m512 sum[ATTENTION_CHAINS];
    for (size_t i = 0; i < ATTENTION_CHAINS; i++)
        sum[i] = _mm512_setzero_ps();
    size_t at = 0;
    for (size_t d = 0; d < span->depth; at += span->step) {
        at += attention_chain_leap(span, d);
        const size_t far = d < span->bend ? 0 : SIZE_MAX;
        size_t line = at;
        for (const size_t stop = attention_chain_stop(span, d); d < stop; d++) {
            for (size_t i = 0; i < ATTENTION_CHAINS; i++) {
                const float *panel = attention_chain_line(&chain[i], line);
                const __m512 right = _mm512_loadu_ps(panel);
                /* Streams of a few KiB are over before the processor foresees them. */
                __builtin_prefetch((const void *)((uintptr_t)panel + (chain[i].ahead & far)), 0,
                                   2);
                sum[i] = _mm512_fmadd_ps(_mm512_set1_ps(chain[i].a[d]), right, sum[i]);
            }
            line += GEMM_PANEL;
        }
    }
    for (size_t i = 0; i < ATTENTION_CHAINS; i++) {
        float *c = chain[i].c;
        if (span->join)
            sum[i] = _mm512_fmadd_ps(_mm512_loadu_ps(c), _mm512_set1_ps(chain[i].keep), sum[i]);
        _mm512_storeu_ps(c, sum[i]);
    }
}
#endif

void attention_chains(const struct attention_chain *chains, size_t n,
                      const struct attention_span *span)
{
    size_t i = 0;
#if defined(__x86_64__)
    if (isa_used() == ISA_AVX512)
        for (; i + ATTENTION_CHAINS <= n; i += ATTENTION_CHAINS)
            attention_chain_four(chains + i, span);
#endif
    for (; i < n; i++)
        attention_chain_one(chains + i, span);
}
