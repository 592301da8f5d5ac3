/*
 * test_tokenizer_golden.c -- the tokenizer against the `tokenizers` library.
 *
 * Oracle: tests/golden/tokenizer, which that library wrote (make.py beside it): one small
 * tokenizer in each style, hard texts, their ids with and without special tokens, and what
 * the ids decode to.  Every id and every byte must agree.
 */
#include "tests/unit/tokenizer_files.h"

/* Call `check` with each line of a .jsonl file; the number of lines. */
static size_t each_line(const char *path, void (*check)(void *, const json_t *, const char *),
                        void *context)
{
    struct buf text;
    buf_init(&text, 1u << 20);
    check_ok(file_read(path, &text, &err));
    const char *cursor = text.data, *line;
    size_t n = 0, len;
    while (file_next_line(&cursor, text.data + text.len, &line, &len)) {
        char where[FILE_PATH_MAX + 32];
        json_error_t why;
        snprintf(where, sizeof where, "%s:%zu", path, ++n);
        json_t *one = json_loadb(line, len, JSON_ALLOW_NUL, &why); /* texts may have NULs */
        if (!one)
            fail_msg("%s: %s", where, why.text);
        check(context, one, where);
        json_decref(one);
    }
    buf_release(&text);
    return n;
}

static void check_case(void *tokenizer, const json_t *one, const char *where)
{
    check_golden_case(tokenizer, one, where);
}

static void check_style(void **state)
{
    const char *name = *state;
    char path[FILE_PATH_MAX];
    snprintf(path, sizeof path, GOLDEN "%s/cases.jsonl", name);
    struct tokenizer *tokenizer = golden_tokenizer(name);
    assert_true(each_line(path, check_case, tokenizer) > 100);
    tokenizer_free(tokenizer);
}

/* {"put", "cases"}: the base with other components put in, and what they do. */
static void check_component(void *base, const json_t *line, const char *where)
{
    struct err why = {0};
    json_t *file = json_copy(base);
    assert_int_equal(json_object_update(file, json_object_get(line, "put")), 0);
    char *text = json_dumps(file, JSON_COMPACT);
    struct tokenizer *tokenizer = tokenizer_of(text, strlen(text), &why);
    if (!tokenizer)
        fail_msg("%s: %s", where, why.text);
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(line, "cases"), i, one)
        check_golden_case(tokenizer, one, where);
    tokenizer_free(tokenizer);
    free(text);
    json_decref(file);
}

static void tokenizer_does_with_each_component_what_the_library_does(void **state)
{
    (void)state;
    struct err why = {0};
    json_t *base = json_read_file(GOLDEN "steps/tokenizer.json", 1u << 20, &why);
    if (!base)
        fail_msg("%s", why.text);
    assert_true(each_line(GOLDEN "steps.jsonl", check_component, base) > 100);
    json_decref(base);
}

#define STYLE(name)                                                               \
    {                                                                             \
        "tokenizer_gives_the_ids_of_the_library: " name, check_style, NULL, NULL, \
            (void *)(uintptr_t)(name)                                             \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        STYLE("gpt2"),
        STYLE("added"),
        STYLE("llama3"),
        STYLE("qwen2"),
        STYLE("starcoder"),
        STYLE("deepseek"),
        STYLE("deepseek-llm"),
        STYLE("llama2"),
        STYLE("metaspace"),
        cmocka_unit_test(tokenizer_does_with_each_component_what_the_library_does),
    };
    return cmocka_run_group_tests_name("tokenizer_golden", tests, NULL, NULL);
}
