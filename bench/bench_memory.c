/* bench_memory.c -- see bench_memory.h. */
#include "bench/bench_memory.h"

#include "engine/kernels/lanes.h"

enum {
    MEMORY_TASK_MIN = 1 << 14, /* an array is cut once a thread, within these limits */
    MEMORY_TASK_MAX = 1 << 20,
    MEMORY_BLOCK = 1024, /* arrays of a block are in the first-level cache for the second out */
};

enum { MEMORY_LANES = sizeof(lanes_8) / sizeof(float) };

/* n a multiple of LANES, `ins` a constant. */
static inline ISA_BODY void memory_sum(float *out, const float *const in[BENCH_MEMORY_IN],
                                       size_t ins, size_t n)
{
    const float *const first = in[0], *const second = in[1], *const third = in[2];
    for (size_t i = 0; i < n; i += MEMORY_LANES) {
        lanes_8 sum, next;
        memcpy(&sum, first + i, sizeof sum);
        if (ins > 1) {
            memcpy(&next, second + i, sizeof next);
            sum += next;
        }
        if (ins > 2) {
            memcpy(&next, third + i, sizeof next);
            sum += next;
        }
        memcpy(out + i, &sum, sizeof sum);
    }
}

static inline ISA_BODY void memory_write_body(float *out,
                                              const float *const in[BENCH_MEMORY_IN], size_t n)
{
    if (!in[1])
        memory_sum(out, in, 1, n);
    else if (!in[2])
        memory_sum(out, in, 2, n);
    else
        memory_sum(out, in, 3, n);
}
ISA_FUNCTION(memory_write, (float *out, const float *const *in, size_t n), (out, in, n))

static inline ISA_BODY void memory_read_body(const float *in, size_t n)
{
    lanes_mask_8 all[4] = {{0}}, next;
    size_t i = 0;
    for (; i + 4 * MEMORY_LANES <= n; i += 4 * MEMORY_LANES)
        for (size_t l = 0; l < 4; l++) {
            memcpy(&next, in + i + l * MEMORY_LANES, sizeof next);
            all[l] ^= next;
        }
    for (; i < n; i += MEMORY_LANES) {
        memcpy(&next, in + i, sizeof next);
        all[0] ^= next;
    }
    volatile int32_t kept = (all[0] ^ all[1] ^ all[2] ^ all[3])[0]; /* or nothing is read */
    (void)kept;
}
ISA_FUNCTION(memory_read, (const float *in, size_t n), (in, n))

static size_t memory_least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void memory_write_blocks(const struct bench_memory *memory, size_t begin, size_t n)
{
    for (size_t at = begin; at < begin + n; at += MEMORY_BLOCK) {
        const float *in[BENCH_MEMORY_IN] = {NULL};
        for (size_t k = 0; k < BENCH_MEMORY_IN && memory->in[k]; k++)
            in[k] = memory->in[k] + at;
        for (size_t j = 0; j < BENCH_MEMORY_OUT && memory->out[j]; j++)
            memory_write(memory->out[j] + at, in, memory_least(begin + n - at, MEMORY_BLOCK));
    }
}

/* What is beyond whole lines is less than one, and left out. */
static size_t memory_floats(const struct bench_memory *memory)
{
    return memory->n / LANES * LANES;
}

static size_t memory_task_floats(const struct bench_memory *memory)
{
    const size_t share = memory_floats(memory) / memory->bench->threads / LANES * LANES + LANES;
    return share < MEMORY_TASK_MIN ? MEMORY_TASK_MIN : memory_least(share, MEMORY_TASK_MAX);
}

static void memory_task(void *arg, size_t i)
{
    const struct bench_memory *memory = arg;
    const size_t task = memory_task_floats(memory), begin = i * task;
    const size_t n = memory_least(memory_floats(memory) - begin, task);
    if (memory->out[0])
        memory_write_blocks(memory, begin, n);
    for (size_t k = 0; k < BENCH_MEMORY_IN && memory->in[k] && !memory->out[0]; k++)
        memory_read(memory->in[k] + begin, n);
}

void bench_memory_run(void *arg)
{
    const struct bench_memory *memory = arg;
    const size_t task = memory_task_floats(memory);
    pool_run(memory->bench->pool, (memory_floats(memory) + task - 1) / task, memory_task, arg);
}
