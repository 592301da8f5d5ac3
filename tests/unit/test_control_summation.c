/*
 * test_control_summation.c -- one tree, whoever walks it.
 *
 * The oracle is the tree's definition in summation.h, written as a recursion.  The leaves are
 * floats of mixed size and sign, which do not associate: the file first makes sure that the
 * order of this data is visible in the bits, so that equality means something.
 */
#include "control/summation.h"
#include "tests/test.h"

enum { LEAVES_MAX = 40, P = 8, BUFFERS = 8 };

static float leaf[LEAVES_MAX][P];

static void fill_leaves(void)
{
    uint64_t r = 20240229;
    for (size_t i = 0; i < LEAVES_MAX; i++) {
        for (size_t j = 0; j < P; j++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            const int exponent = (int)(r >> 60) - 8;
            leaf[i][j] = ldexpf((float)(int32_t)(r >> 20), exponent - 31);
        }
    }
}

static void add(float *into, const float *from)
{
    for (size_t j = 0; j < P; j++)
        into[j] = from[j] + into[j];
}

static void oracle(uint32_t a, uint32_t n, float *out)
{
    if (n == 1) {
        memcpy(out, leaf[a], sizeof leaf[a]);
        return;
    }
    uint32_t p = 1;
    while (p * 2 < n)
        p *= 2;
    float left[P], right[P];
    oracle(a, p, left);
    oracle(a + p, n - p, right);
    for (size_t j = 0; j < P; j++)
        out[j] = left[j] + right[j];
}

/* Sum leaves first .. first+n-1 as a tree of their own, in no more buffers than promised. */
static void walk(uint32_t first, uint32_t n, float *out)
{
    float buffer[BUFFERS][P];
    struct summation_merge merges[SUMMATION_LEVELS];
    struct summation sum;
    summation_init(&sum, n);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(summation_work(&sum) < summation_buffers(n));
        memcpy(buffer[summation_work(&sum)], leaf[first + i], sizeof leaf[0]);
        const uint32_t count = summation_commit(&sum, 0, merges);
        for (uint32_t k = 0; k < count; k++)
            add(buffer[merges[k].into], buffer[merges[k].from]);
    }
    memcpy(out, buffer[summation_result(&sum)], sizeof buffer[0]);
}

/* As R ranks do it: each sums its nodes, and one puts the nodes together. */
static void walk_ranks(uint32_t n, uint32_t ranks, float *out)
{
    float buffer[BUFFERS][P];
    struct summation_merge merges[SUMMATION_LEVELS];
    struct summation sum;
    summation_init(&sum, n);
    for (uint32_t rank = 0; rank < ranks; rank++) {
        const uint32_t end = summation_first(n, ranks, rank + 1);
        for (uint32_t at = summation_first(n, ranks, rank); at < end;) {
            const uint32_t level = summation_node(at, end);
            assert_true(summation_work(&sum) < summation_buffers(n));
            walk(at, (uint32_t)1 << level, buffer[summation_work(&sum)]);
            const uint32_t count = summation_commit(&sum, level, merges);
            for (uint32_t k = 0; k < count; k++)
                add(buffer[merges[k].into], buffer[merges[k].from]);
            at += (uint32_t)1 << level;
        }
    }
    memcpy(out, buffer[summation_result(&sum)], sizeof buffer[0]);
}

static void summation_data_does_not_associate(void **state)
{
    (void)state;
    uint32_t differ = 0;
    for (uint32_t n = 3; n <= LEAVES_MAX; n++) {
        float tree[P], line[P];
        oracle(0, n, tree);
        memcpy(line, leaf[0], sizeof line);
        for (uint32_t i = 1; i < n; i++)
            add(line, leaf[i]);
        differ += n != 3 && memcmp(tree, line, sizeof tree) != 0;
    }
    assert_true(differ > 30);
}

static void summation_walks_the_tree_of_its_definition(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= LEAVES_MAX; n++) {
        float got[P], want[P];
        walk(0, n, got);
        oracle(0, n, want);
        if (memcmp(got, want, sizeof got) != 0)
            fail_msg("%u leaves: %.9g, want %.9g", n, (double)got[0], (double)want[0]);
    }
}

static void summation_gives_any_number_of_ranks_the_same_bits(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= LEAVES_MAX; n++) {
        float want[P];
        oracle(0, n, want);
        for (uint32_t ranks = 1; ranks <= 9; ranks++) {
            float got[P];
            walk_ranks(n, ranks, got);
            if (memcmp(got, want, sizeof got) != 0)
                fail_msg("%u leaves on %u ranks: %.9g, want %.9g", n, ranks, (double)got[0],
                         (double)want[0]);
        }
    }
}

static void summation_shares_the_leaves_evenly(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= LEAVES_MAX; n++) {
        for (uint32_t ranks = 1; ranks <= 9; ranks++) {
            assert_int_equal(summation_first(n, ranks, 0), 0);
            assert_int_equal(summation_first(n, ranks, ranks), n);
            for (uint32_t rank = 0; rank < ranks; rank++) {
                const uint32_t owned =
                    summation_first(n, ranks, rank + 1) - summation_first(n, ranks, rank);
                assert_true(owned == n / ranks || owned == n / ranks + 1);
            }
        }
    }
    /* Powers of two come out as one node each: one buffer to send. */
    assert_int_equal(summation_node(summation_first(16, 4, 2), summation_first(16, 4, 3)), 2);
}

static void summation_cuts_ranges_into_the_greatest_aligned_nodes(void **state)
{
    (void)state;
    assert_int_equal(summation_node(0, 1), 0);
    assert_int_equal(summation_node(0, 7), 2);
    assert_int_equal(summation_node(4, 7), 1);
    assert_int_equal(summation_node(6, 7), 0);
    assert_int_equal(summation_node(2, 100), 1);
    assert_int_equal(summation_node(3, 100), 0);
    assert_int_equal(summation_node(0, (uint32_t)1 << 30), 30);
}

static void summation_counts_its_buffers(void **state)
{
    (void)state;
    static const uint32_t want[][2] = {{1, 1}, {2, 2}, {3, 3}, {4, 3}, {5, 4}, {8, 4}, {9, 5}};
    for (size_t i = 0; i < COUNT(want); i++)
        assert_int_equal(summation_buffers(want[i][0]), want[i][1]);
}

static int setup(void **state)
{
    (void)state;
    fill_leaves();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(summation_data_does_not_associate),
        cmocka_unit_test(summation_walks_the_tree_of_its_definition),
        cmocka_unit_test(summation_gives_any_number_of_ranks_the_same_bits),
        cmocka_unit_test(summation_shares_the_leaves_evenly),
        cmocka_unit_test(summation_cuts_ranges_into_the_greatest_aligned_nodes),
        cmocka_unit_test(summation_counts_its_buffers),
    };
    return cmocka_run_group_tests_name("summation", tests, setup, NULL);
}
