/* rope.c -- see rope.h. */
#include "engine/kernels/rope.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/isa.h"

#define ROPE_PI 3.14159265358979323846

enum {
    ROPE_ROWS = 16,   /* rows of a task */
    ROPE_ANGLES = 16, /* of a head that are turned at a time */
};

/* Llama 3: long waves are slowed by `factor`, short ones kept, those between blended. */
static double rope_llama3(double f, const struct model_config *config)
{
    const double factor = (double)config->rope_factor;
    const double low = (double)config->rope_low_freq_factor;
    const double high = (double)config->rope_high_freq_factor;
    const double original = (double)config->rope_original_T;
    const double wavelength = 2.0 * ROPE_PI / f;
    if (wavelength > original / low)
        return f / factor;
    if (wavelength < original / high)
        return f;
    const double keep = (original / wavelength - low) / (high - low);
    return (1.0 - keep) * f / factor + keep * f;
}

void rope_frequencies(float *f, const struct model_config *config)
{
    assert(config->D > 0 && config->D % 2 == 0);
    for (size_t d = 0; d < config->D / 2; d++) {
        const float share = (float)(2 * d) / (float)config->D;
        /* As transformers does it: power and reciprocal are rounded to float. */
        const float power = (float)pow((double)config->rope_theta, (double)share);
        const double plain = (double)(1.0f / power);
        switch (config->rope_scaling) {
        case ROPE_DEFAULT: f[d] = (float)plain; break;
        case ROPE_LINEAR: f[d] = (float)(plain / (double)config->rope_factor); break;
        case ROPE_LLAMA3: f[d] = (float)rope_llama3(plain, config); break;
        }
    }
}

void rope_tables(float *cos_table, float *sin_table, const float *f, size_t T, size_t D)
{
    for (size_t t = 0; t < T; t++)
        for (size_t d = 0; d < D / 2; d++) {
            const float angle = (float)t * f[d];
            cos_table[t * (D / 2) + d] = (float)cos((double)angle);
            sin_table[t * (D / 2) + d] = (float)sin((double)angle);
        }
}

struct rope_job {
    float *x;
    size_t stride;
    const uint32_t *position;
    const float *cos_table, *sin_table;
    float direction; /* 1, or -1 for the opposite angle */
    size_t N, heads, D;
};

/* At most ROPE_ANGLES angles of all heads of a row.  `low` is the first head's; inlined into
 * places where `angles` is a constant, the loop over them is a few vectors. */
static inline ISA_BODY void rope_heads(const struct rope_job *job, float *low, const float *c,
                                       const float *s, size_t angles)
{
    float turn[ROPE_ANGLES];
    for (size_t d = 0; d < angles; d++)
        turn[d] = job->direction * s[d];
    for (size_t h = 0; h < job->heads; h++, low += job->D) {
        float a[ROPE_ANGLES], b[ROPE_ANGLES];
        memcpy(a, low, angles * sizeof *a);
        memcpy(b, low + job->D / 2, angles * sizeof *b);
        float *restrict first = low, *restrict second = low + job->D / 2;
        for (size_t d = 0; d < angles; d++) {
            first[d] = a[d] * c[d] - b[d] * turn[d];
            second[d] = b[d] * c[d] + a[d] * turn[d];
        }
    }
}

static inline ISA_BODY void rope_row_body(const struct rope_job *job, size_t n)
{
    const size_t half = job->D / 2;
    const float *c = job->cos_table + job->position[n] * half;
    const float *s = job->sin_table + job->position[n] * half;
    float *x = job->x + n * job->stride;
    size_t d = 0;
    for (; d + ROPE_ANGLES <= half; d += ROPE_ANGLES)
        rope_heads(job, x + d, c + d, s + d, ROPE_ANGLES);
    if (half - d == 8)
        rope_heads(job, x + d, c + d, s + d, 8);
    else if (half - d == 4)
        rope_heads(job, x + d, c + d, s + d, 4);
    else if (half - d > 0)
        rope_heads(job, x + d, c + d, s + d, half - d);
}
ISA_FUNCTION(rope_row, (const struct rope_job *job, size_t n), (job, n))

static void rope_task(void *arg, size_t i)
{
    const struct rope_job *job = arg;
    for (size_t n = i * ROPE_ROWS; n < job->N && n < (i + 1) * ROPE_ROWS; n++)
        rope_row(job, n);
}

static void rope_run(struct pool *pool, struct rope_job *job)
{
    assert(job->D % 2 == 0 && job->stride >= job->heads * job->D);
    pool_run(pool, (job->N + ROPE_ROWS - 1) / ROPE_ROWS, rope_task, job);
}

void rope_forward(struct pool *pool, float *x, size_t stride, const uint32_t *position,
                  const float *cos_table, const float *sin_table, size_t N, size_t heads,
                  size_t D)
{
    struct rope_job job = {x, stride, position, cos_table, sin_table, 1.0f, N, heads, D};
    rope_run(pool, &job);
}

void rope_backward(struct pool *pool, float *dx, size_t stride, const uint32_t *position,
                   const float *cos_table, const float *sin_table, size_t N, size_t heads,
                   size_t D)
{
    struct rope_job job = {dx, stride, position, cos_table, sin_table, -1.0f, N, heads, D};
    rope_run(pool, &job);
}
