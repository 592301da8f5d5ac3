/* rope.c -- see rope.h. */
#include "engine/kernels/rope.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"

#define ROPE_PI 3.14159265358979323846

enum { ROPE_ROWS = 16 }; /* rows of a task */

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

/* What the compiler makes of a loop over so few numbers is no vector code. */
static inline ISA_BODY void rope_turn_8(float *low, float *high, const lanes_8 *c,
                                        const lanes_8 *turn)
{
    lanes_8 a, b;
    memcpy(&a, low, sizeof a);
    memcpy(&b, high, sizeof b);
    const lanes_8 first = a * *c - b * *turn, second = b * *c + a * *turn;
    memcpy(low, &first, sizeof first);
    memcpy(high, &second, sizeof second);
}

static inline ISA_BODY void rope_turn_4(float *low, float *high, const lanes_4 *c,
                                        const lanes_4 *turn)
{
    lanes_4 a, b;
    memcpy(&a, low, sizeof a);
    memcpy(&b, high, sizeof b);
    const lanes_4 first = a * *c - b * *turn, second = b * *c + a * *turn;
    memcpy(low, &first, sizeof first);
    memcpy(high, &second, sizeof second);
}

/* Some angles, of all heads, then the next: what they are turned by stays in registers. */
static inline ISA_BODY void rope_row_body(const struct rope_job *job, size_t n)
{
    const size_t half = job->D / 2, D = job->D, end = job->heads * D;
    const float *cosines = job->cos_table + job->position[n] * half;
    const float *sines = job->sin_table + job->position[n] * half;
    const float direction = job->direction;
    float *x = job->x + n * job->stride;
    size_t d = 0;
    for (; d + 8 <= half; d += 8) {
        lanes_8 c, s;
        memcpy(&c, cosines + d, sizeof c);
        memcpy(&s, sines + d, sizeof s);
        const lanes_8 turn = direction * s;
        for (size_t at = d; at < end; at += D)
            rope_turn_8(x + at, x + at + half, &c, &turn);
    }
    for (; d + 4 <= half; d += 4) {
        lanes_4 c, s;
        memcpy(&c, cosines + d, sizeof c);
        memcpy(&s, sines + d, sizeof s);
        const lanes_4 turn = direction * s;
        for (size_t at = d; at < end; at += D)
            rope_turn_4(x + at, x + at + half, &c, &turn);
    }
    for (; d < half; d++) {
        const float c = cosines[d], turn = direction * sines[d];
        for (size_t at = d; at < end; at += D) {
            const float a = x[at], b = x[at + half];
            x[at] = a * c - b * turn;
            x[at + half] = b * c + a * turn;
        }
    }
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
