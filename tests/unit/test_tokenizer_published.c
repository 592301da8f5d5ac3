/*
 * test_tokenizer_published.c -- real tokenizers against published cases.
 *
 * Oracle: the texts and ids that llama.cpp publishes for the GPT-2 and Llama vocabularies,
 * which come from transformers.  They lie beside the repository (../shared/tokenizers) and
 * the tests are skipped where they are absent.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "engine/tokenizer.h"
#include "tests/test.h"

#define PUBLISHED TEST_SOURCE_DIR "/../shared/tokenizers/"

static void check_case(const struct tokenizer *tokenizer, const json_t *one, size_t line)
{
    const json_t *text = json_object_get(one, "text");
    const json_t *ids = json_object_get(one, "ids");
    struct tokens got = {0};
    check_ok(tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text),
                              false, &got, &err));
    for (size_t i = 0; i < got.n && i < json_array_size(ids); i++)
        if (got.ids[i] != json_integer_value(json_array_get(ids, i)))
            fail_msg("line %zu, token %zu: %d, want %lld", line, i, (int)got.ids[i],
                     (long long)json_integer_value(json_array_get(ids, i)));
    assert_int_equal(got.n, json_array_size(ids));
    tokens_release(&got);
}

static void check_published(const char *dir)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, "cases.jsonl", &err));
    if (!file_exists(path))
        skip();
    struct err why = {0};
    struct tokenizer *tokenizer = tokenizer_load(dir, &why);
    if (!tokenizer)
        fail_msg("%s", why.text);
    struct buf cases;
    buf_init(&cases, 1u << 20);
    check_ok(file_read(path, &cases, &err));

    const char *cursor = cases.data, *line;
    size_t n = 0, len;
    while (file_next_line(&cursor, cases.data + cases.len, &line, &len)) {
        json_t *one = json_parse(line, len, path, &why);
        if (!one)
            fail_msg("%s", why.text);
        check_case(tokenizer, one, ++n);
        json_decref(one);
    }
    assert_int_equal(n, 47);
    buf_release(&cases);
    tokenizer_free(tokenizer);
}

static void tokenizer_gives_the_published_ids_of_gpt2(void **state)
{
    (void)state;
    check_published(PUBLISHED "gpt2");
}

static void tokenizer_gives_the_published_ids_of_llama(void **state)
{
    (void)state;
    check_published(PUBLISHED "llama-spm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer_gives_the_published_ids_of_gpt2),
        cmocka_unit_test(tokenizer_gives_the_published_ids_of_llama),
    };
    return cmocka_run_group_tests_name("tokenizer_published", tests, NULL, NULL);
}
