/* logprob.c -- see logprob.h. */
#include "engine/kernels/logprob.h"

#include <assert.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"
#include "engine/kernels/vmath.h"
#include "engine/kernels/vmath_avx512.h"
#include "engine/kernels/vmath_rows.h"

enum { LOGPROB_BLOCK = 256 }; /* a multiple of LANES */

static size_t logprob_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline ISA_BODY void logprob_max_body(float *max, const float *z, size_t n)
{
    const lanes_8 least = (lanes_8){0} - INFINITY;
    lanes_8 most[2] = {least, least};
    lanes_greater_of(most, z, n / LANES);
    *max = lanes_max_tree(most);
    for (size_t v = n / LANES * LANES; v < n; v++)
        *max = lanes_greater(*max, z[v]);
}
ISA_FUNCTION(logprob_max, (float *max, const float *z, size_t n), (max, z, n))

/* The greatest logit, and the first index that holds it: it is in the first block that has it, and
 * where there are but NaN and -infinity perhaps further on. */
static float logprob_greatest(size_t *first, const float *z, size_t V)
{
    float max = -INFINITY;
    size_t begin = 0;
    for (size_t at = 0; at < V; at += LOGPROB_BLOCK) {
        float here = max;
        logprob_max(&here, z + at, logprob_min(V - at, LOGPROB_BLOCK));
        if (here > max) {
            max = here;
            begin = at;
        }
    }
    *first = 0; /* all NaN */
    for (size_t v = begin; v < V; v++)
        if (z[v] >= max) {
            *first = v;
            break;
        }
    return max;
}

struct logprob_sums {
    double e, es; /* sum of e^(s - max), and of that times (s - max) */
    float log_e;
};

static inline ISA_BODY void logprob_end(struct logprob_sums *sums, const double *total,
                                        const double *total_s)
{
    sums->e = lanes_tree_double(total);
    sums->es = lanes_tree_double(total_s);
    sums->log_e = vmath_log((float)sums->e);
}

/* Weights are written beside where they are not wanted: the loop is the same. */
static inline ISA_BODY void logprob_sum_body(struct logprob_sums *sums, float *weight,
                                             const float *z, float scale, float max, size_t V)
{
    double total[LANES] = {0}, total_s[LANES] = {0};
    float beside[LOGPROB_BLOCK];
    for (size_t at = 0; at < V; at += LOGPROB_BLOCK) {
        const size_t n = V - at < LOGPROB_BLOCK ? V - at : LOGPROB_BLOCK;
        const float *restrict from = z + at;
        float *restrict to = weight ? weight + at : beside;
        float lane[LANES] = {0}, lane_s[LANES] = {0};
        for (size_t v = 0; v < n; v++)
            to[v] = from[v] * scale - max;
        vmath_rows_exp(to, to, n);
        size_t v = 0;
        for (; v + LANES <= n; v += LANES)
            for (size_t l = 0; l < LANES; l++) {
                const float s = from[v + l] * scale - max, e = to[v + l];
                lane[l] += e;
                /* e is 0 where s is -infinity: their product is 0, not NaN */
                lane_s[l] = fmaf(e, s < -1000.0f ? -1000.0f : s, lane_s[l]);
            }
        for (size_t l = 0; v + l < n; l++) {
            const float s = from[v + l] * scale - max, e = to[v + l];
            lane[l] += e;
            lane_s[l] = fmaf(e, s < -1000.0f ? -1000.0f : s, lane_s[l]);
        }
        for (size_t l = 0; l < LANES; l++) {
            total[l] += (double)lane[l];
            total_s[l] += (double)lane_s[l];
        }
    }
    logprob_end(sums, total, total_s);
}
ISA_FUNCTION(logprob_sum,
             (struct logprob_sums * sums, float *weight, const float *z, float scale, float max,
              size_t V),
             (sums, weight, z, scale, max, V))

#if defined(__x86_64__)
struct logprob_lanes {
    __m512 e, es;
};

/* Sixteen of them in one go. */
ISA_TARGET_AVX512 static inline ISA_BODY void logprob_sixteen(struct logprob_lanes *lane,
                                                              float *weight, const float *z,
                                                              float scale, float max,
                                                              __mmask16 some)
{
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(some, z), _mm512_set1_ps(scale));
    const __m512 s = _mm512_sub_ps(scaled, _mm512_set1_ps(max));
    const __m512 e = vmath_avx512_exp(s);
    const __m512 finite = _mm512_max_ps(_mm512_set1_ps(-1000.0f), s); /* NaN stays */
    lane->e = _mm512_mask_add_ps(lane->e, some, lane->e, e);
    lane->es = _mm512_mask3_fmadd_ps(e, finite, lane->es, some);
    if (weight)
        _mm512_mask_storeu_ps(weight, some, e);
}

ISA_TARGET_AVX512 static inline ISA_BODY void logprob_add(double *total, __m512 lane)
{
    _mm512_storeu_pd(total, _mm512_add_pd(_mm512_loadu_pd(total),
                                          _mm512_cvtps_pd(_mm512_castps512_ps256(lane))));
    _mm512_storeu_pd(total + 8,
                     _mm512_add_pd(_mm512_loadu_pd(total + 8),
                                   _mm512_cvtps_pd(_mm512_extractf32x8_ps(lane, 1))));
}

/* logprob_sum, to the bit. */
ISA_TARGET_AVX512 static void logprob_sum_lanes(struct logprob_sums *sums, float *weight,
                                                const float *z, float scale, float max,
                                                size_t V)
{
    double total[LANES] = {0}, total_s[LANES] = {0};
    for (size_t at = 0; at < V; at += LOGPROB_BLOCK) {
        const size_t n = V - at < LOGPROB_BLOCK ? V - at : LOGPROB_BLOCK;
        float *to = weight ? weight + at : NULL;
        struct logprob_lanes lane = {_mm512_setzero_ps(), _mm512_setzero_ps()};
        size_t v = 0;
        for (; v + LANES <= n; v += LANES)
            logprob_sixteen(&lane, to ? to + v : NULL, z + at + v, scale, max, 0xffff);
        if (v < n)
            logprob_sixteen(&lane, to ? to + v : NULL, z + at + v, scale, max,
                            (__mmask16)((1u << (n - v)) - 1u));
        logprob_add(total, lane.e);
        logprob_add(total_s, lane.es);
    }
    logprob_end(sums, total, total_s);
}
#endif

static void logprob_sums_of(struct logprob_sums *sums, float *weight, const float *z,
                            float scale, float max, size_t V)
{
#if defined(__x86_64__)
    if (isa_used() == ISA_AVX512) {
        logprob_sum_lanes(sums, weight, z, scale, max, V);
        return;
    }
#endif
    logprob_sum(sums, weight, z, scale, max, V);
}

struct logprob logprob_weigh(float *weight, const float *logits, float inv_temperature,
                             size_t V)
{
    assert(inv_temperature > 0.0f);
    struct logprob out = {.logp = 0.0f};
    size_t first;
    const float max = logprob_greatest(&first, logits, V);
    out.argmax = (int32_t)first;
    out.max = max * inv_temperature; /* rounding keeps order: the greatest s */
    struct logprob_sums sums;
    logprob_sums_of(&sums, weight, logits, inv_temperature, out.max, V);
    out.log_sum = sums.log_e;
    out.entropy = out.log_sum - (float)(sums.es / sums.e);
    return out;
}

float logprob_of(const struct logprob *row, float logit, float inv_temperature)
{
    return logit * inv_temperature - row->max - row->log_sum;
}

struct logprob logprob_row(const float *logits, int32_t target, float inv_temperature, size_t V)
{
    assert(target >= 0 && (size_t)target < V);
    struct logprob out = logprob_weigh(NULL, logits, inv_temperature, V);
    out.logp = logprob_of(&out, logits[target], inv_temperature);
    return out;
}

struct logprob_job {
    struct logprob *out;
    float *dlogits;
    const float *logits;
    size_t stride;
    const struct logprob *of;
    const int32_t *target;
    const float *dlogp, *dentropy;
    float inv_temperature;
    size_t V;
};

static void logprob_forward_task(void *arg, size_t i)
{
    const struct logprob_job *job = arg;
    job->out[i] = logprob_row(job->logits + i * job->stride, job->target[i],
                              job->inv_temperature, job->V);
}

void logprob_forward(struct pool *pool, struct logprob *out, const float *logits, size_t stride,
                     const int32_t *target, float inv_temperature, size_t rows, size_t V)
{
    assert(stride >= V);
    struct logprob_job job = {.out = out,
                              .logits = logits,
                              .stride = stride,
                              .target = target,
                              .inv_temperature = inv_temperature,
                              .V = V};
    pool_run(pool, rows, logprob_forward_task, &job);
}

/* All but the term of the target.  In blocks, read before written: dz may be z. */
static inline ISA_BODY void logprob_slope_body(float *dz, const float *z,
                                               const struct logprob *of, float scale,
                                               float dlogp, float dentropy, size_t V)
{
    float d[LOGPROB_BLOCK], p[LOGPROB_BLOCK];
    for (size_t at = 0; at < V; at += LOGPROB_BLOCK) {
        const size_t n = V - at < LOGPROB_BLOCK ? V - at : LOGPROB_BLOCK;
        for (size_t v = 0; v < n; v++)
            d[v] = z[at + v] * scale - of->max - of->log_sum;
        vmath_rows_exp(p, d, n);
        for (size_t v = 0; v < n; v++) {
            const float log_p = d[v], finite = log_p < -1000.0f ? -1000.0f : log_p;
            d[v] = -scale * p[v] * fmaf(dentropy, finite + of->entropy, dlogp);
        }
        memcpy(dz + at, d, n * sizeof(float));
    }
}
ISA_FUNCTION(logprob_slope,
             (float *dz, const float *z, const struct logprob *of, float scale, float dlogp,
              float dentropy, size_t V),
             (dz, z, of, scale, dlogp, dentropy, V))

static void logprob_backward_task(void *arg, size_t i)
{
    const struct logprob_job *job = arg;
    float *dz = job->dlogits + i * job->stride;
    logprob_slope(dz, job->logits + i * job->stride, &job->of[i], job->inv_temperature,
                  job->dlogp[i], job->dentropy ? job->dentropy[i] : 0.0f, job->V);
    dz[job->target[i]] += job->inv_temperature * job->dlogp[i];
}

void logprob_backward(struct pool *pool, float *dlogits, const float *logits, size_t stride,
                      const struct logprob *of, const int32_t *target, const float *dlogp,
                      const float *dentropy, float inv_temperature, size_t rows, size_t V)
{
    assert(stride >= V);
    struct logprob_job job = {.dlogits = dlogits,
                              .logits = logits,
                              .stride = stride,
                              .of = of,
                              .target = target,
                              .dlogp = dlogp,
                              .dentropy = dentropy,
                              .inv_temperature = inv_temperature,
                              .V = V};
    pool_run(pool, rows, logprob_backward_task, &job);
}
