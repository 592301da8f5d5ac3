/*
 * Some of the peers as bits, against an array of flags that is looked at from end to end.
 */
#include "coordinator/core_set.h"
#include "tests/test.h"

static uint64_t random_bits(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static size_t next_of(const bool *in, size_t from)
{
    while (from < CORE_PEERS_MAX && !in[from])
        from++;
    return from < CORE_PEERS_MAX ? from : CORE_PEERS_MAX;
}

static void check_all(const struct core_set *set, const bool *in)
{
    for (size_t i = 0; i < CORE_PEERS_MAX; i++) {
        assert_int_equal(core_set_has(set, i), in[i]);
        assert_int_equal(core_set_next(set, i), next_of(in, i));
    }
    assert_int_equal(core_set_next(set, CORE_PEERS_MAX), CORE_PEERS_MAX);
}

static void set_finds_its_members_in_order(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (int density = 1; density <= 4096; density *= 4) {
        static bool in[CORE_PEERS_MAX];
        struct core_set set = {0};
        memset(in, 0, sizeof in);
        for (int put = 0; put < 4000; put++) {
            const size_t i = random_bits(&seed) % CORE_PEERS_MAX;
            in[i] = random_bits(&seed) % 4096 < (uint64_t)density;
            core_set_put(&set, i, in[i]);
            if (put % 100 == 0)
                check_all(&set, in);
        }
    }
}

static void set_has_members_at_the_ends_of_its_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < CORE_PEERS_MAX; i++) {
        static bool in[CORE_PEERS_MAX];
        struct core_set set = {0};
        memset(in, 0, sizeof in);
        if (i % 64 != 0 && i % 64 != 63)
            continue;
        in[i] = true;
        core_set_put(&set, i, true);
        check_all(&set, in);
        core_set_put(&set, i, true); /* again: it is there once */
        core_set_put(&set, i, false);
        assert_int_equal(core_set_next(&set, 0), CORE_PEERS_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_finds_its_members_in_order),
        cmocka_unit_test(set_has_members_at_the_ends_of_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
