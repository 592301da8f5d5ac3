/*
 * test_reward_texts.c -- the texts of a lease.
 *
 * Oracle: texts.h.  What decoding gives has its tests with the tokenizer.
 */
#include "reward/texts.h"
#include "tests/test.h"

/* A lease whose references are all known leaves none to decode, and may be the first. */
static void no_samples_have_no_texts(void **state)
{
    (void)state;
    struct texts texts;
    texts_init(&texts);
    for (int i = 0; i < 2; i++)
        check_ok(texts_decode(&texts, NULL, NULL, 0, &err));
    assert_int_equal(texts.text.len, 0);
    texts_release(&texts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_samples_have_no_texts)};
    return cmocka_run_group_tests_name("reward/texts", tests, NULL, NULL);
}
