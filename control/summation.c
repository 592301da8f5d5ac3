/* summation.c -- see summation.h. */
#include "control/summation.h"

#include <assert.h>

uint32_t summation_buffers(uint32_t leaves)
{
    assert(leaves > 0 && leaves < (uint32_t)1 << (SUMMATION_LEVELS - 1));
    uint32_t levels = 0;
    while (((uint32_t)1 << levels) < leaves)
        levels++;
    return levels + 1;
}

void summation_init(struct summation *sum, uint32_t leaves)
{
    assert(leaves > 0 && leaves < (uint32_t)1 << (SUMMATION_LEVELS - 1));
    *sum = (struct summation){.leaves = leaves};
}

uint32_t summation_work(const struct summation *sum)
{
    assert(sum->done < sum->leaves);
    return sum->work;
}

/* The lowest buffer that no level holds. */
static uint32_t summation_free_buffer(const struct summation *sum)
{
    uint64_t taken = 0;
    for (uint32_t level = 0; level < SUMMATION_LEVELS; level++) {
        if (sum->done >> level & 1)
            taken |= (uint64_t)1 << sum->held[level];
    }
    uint32_t buffer = 0;
    while (taken >> buffer & 1)
        buffer++;
    return buffer;
}

uint32_t summation_commit(struct summation *sum, uint32_t level,
                          struct summation_merge merges[SUMMATION_LEVELS])
{
    assert(level < SUMMATION_LEVELS - 1);
    const uint32_t size = (uint32_t)1 << level;
    assert(sum->done % size == 0 && sum->leaves - sum->done >= size);

    uint32_t count = 0;
    uint32_t at = level;
    for (; sum->done >> at & 1; at++)
        merges[count++] = (struct summation_merge){sum->work, sum->held[at]};
    sum->held[at] = sum->work;
    sum->done += size;
    if (sum->done < sum->leaves) {
        sum->work = summation_free_buffer(sum);
        return count;
    }

    /* What is left over stands to the right of every level above it: fold from low to high. */
    for (at++; at < SUMMATION_LEVELS; at++) {
        if (sum->done >> at & 1)
            merges[count++] = (struct summation_merge){sum->work, sum->held[at]};
    }
    return count;
}

uint32_t summation_result(const struct summation *sum)
{
    assert(sum->done == sum->leaves);
    return sum->work;
}

uint32_t summation_first(uint32_t leaves, uint32_t ranks, uint32_t rank)
{
    assert(ranks > 0 && rank <= ranks);
    return (uint32_t)((uint64_t)leaves * rank / ranks);
}

uint32_t summation_node(uint32_t first, uint32_t end)
{
    assert(first < end);
    uint32_t level = 0;
    while (level < SUMMATION_LEVELS - 2 && first % ((uint32_t)2 << level) == 0 &&
           (uint64_t)first + ((uint64_t)2 << level) <= end)
        level++;
    return level;
}
