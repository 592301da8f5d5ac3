/*
 * summation.h -- the one order in which the gradients of a step are added.
 *
 * Floats do not associate, so "the sum over micro-batches" names a number only together with
 * a tree.  This is the tree over leaves 0..n-1, whoever computes them:
 *
 *     T(a, n) = leaf a                                     n == 1
 *             = T(a, p) + T(a + p, n - p)                  p the greatest power of two < n
 *
 *     n = 6:   ((0 1) (2 3)) (4 5)
 *
 * A process that visits the leaves in order needs ceil(log2 n) + 1 buffers, as a binary counter
 * needs so many digits: after leaf i the sums of the levels whose bit in i is set are merged.
 *
 *     summation_init(&s, n);
 *     for (leaf i = 0 .. n-1) {
 *         float *g = buffer[summation_work(&s)];       zero it, compute leaf i into it
 *         count = summation_commit(&s, 0, merges);
 *         for (k < count)
 *             buffer[merges[k].into] = buffer[merges[k].from] + buffer[merges[k].into]
 *     }
 *     buffer[summation_result(&s)] holds the sum
 *
 * Several ranks: rank r owns leaves summation_first(n, R, r) up to the next rank's first.  It
 * cuts them into aligned nodes (summation_node), sums each with an own struct summation of
 * 2^level leaves, and sends the sums.  Who collects them puts each node in place of a leaf,
 * summation_commit(&s, level, merges), in leaf order: the same tree, so the same bits.
 *
 * Indices only; no memory is owned.  The caller's programming errors are asserted.
 */
#ifndef CONTROL_SUMMATION_H
#define CONTROL_SUMMATION_H

#include <stdint.h>

#define SUMMATION_LEVELS 32 /* leaves < 2^31 */

struct summation_merge {
    uint32_t into, from; /* buffer[into] = buffer[from] + buffer[into] */
};

struct summation {
    uint32_t leaves;                 /* n */
    uint32_t done;                   /* leaves summed so far; its bits are the levels held */
    uint32_t work;                   /* the buffer to fill next; at the end the result */
    uint32_t held[SUMMATION_LEVELS]; /* buffer of each level held */
};

/* How many buffers n leaves need: ceil(log2 n) + 1.  n > 0. */
uint32_t summation_buffers(uint32_t leaves);

/* A fresh tree over `leaves` > 0 leaves. */
void summation_init(struct summation *sum, uint32_t leaves);

/* Which buffer the next leaf, or node, is to be computed in, overwriting what is there. */
uint32_t summation_work(const struct summation *sum);

/*
 * The work buffer now holds the node of 2^level leaves that begins at leaf sum->done, which
 * must be a multiple of 2^level.  Writes the additions to do now, in order, and returns their
 * count, at most SUMMATION_LEVELS.  After the last leaf they include those that finish the
 * tree.
 */
uint32_t summation_commit(struct summation *sum, uint32_t level,
                          struct summation_merge merges[SUMMATION_LEVELS]);

/* Which buffer holds the whole sum, once all leaves are committed. */
uint32_t summation_result(const struct summation *sum);

/* The first leaf that rank `rank` of `ranks` owns; for rank == ranks, the count of leaves.
 * Ranks own consecutive leaves, and no rank owns two more than another.  rank <= ranks. */
uint32_t summation_first(uint32_t leaves, uint32_t ranks, uint32_t rank);

/* The level of the greatest node that begins at leaf `first` and ends at or before `end`:
 * first % 2^level == 0 and first + 2^level <= end.  first < end. */
uint32_t summation_node(uint32_t first, uint32_t end);

#endif
