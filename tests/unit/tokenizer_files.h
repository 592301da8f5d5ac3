/*
 * tokenizer_files.h -- tokenizers for tests: the goldens', and ones made of a text.
 */
#ifndef TESTS_UNIT_TOKENIZER_FILES_H
#define TESTS_UNIT_TOKENIZER_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "engine/tokenizer.h"
#include "tests/test.h"

#define GOLDEN TEST_SOURCE_DIR "/tests/golden/tokenizer/"

static inline struct tokenizer *golden_tokenizer(const char *name)
{
    char dir[FILE_PATH_MAX];
    struct err why = {0};
    check_ok(file_join(dir, GOLDEN, name, &err));
    struct tokenizer *tokenizer = tokenizer_load(dir, &why);
    if (!tokenizer)
        fail_msg("%s", why.text);
    return tokenizer;
}

/* Load n bytes as a tokenizer.json in a directory of its own. */
static inline struct tokenizer *tokenizer_of(const char *text, size_t n, struct err *err)
{
    char dir[] = "/tmp/tokenizer-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    struct tokenizer *tokenizer = tokenizer_load(dir, err);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    return tokenizer;
}

/* The ids of a text, or a failure with its sentence. */
static inline struct tokens ids_of(const struct tokenizer *tokenizer, const char *text,
                                   bool special)
{
    struct tokens got = {0};
    check_ok(tokenizer_encode(tokenizer, text, strlen(text), special, &got, &err));
    return got;
}

static inline void check_same_ids(const struct tokens *got, const struct tokens *want,
                                  const char *what)
{
    for (size_t i = 0; i < got->n && i < want->n; i++)
        if (got->ids[i] != want->ids[i])
            fail_msg("%s: token %zu is %d, want %d", what, i, (int)got->ids[i],
                     (int)want->ids[i]);
    if (got->n != want->n)
        fail_msg("%s: %zu tokens, want %zu", what, got->n, want->n);
}

static inline void check_golden_ids(const struct tokenizer *tokenizer, const json_t *text,
                                    const json_t *want, bool special, const char *where)
{
    struct tokens got = {0};
    check_ok(tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text),
                              special, &got, &err));
    for (size_t i = 0; i < got.n && i < json_array_size(want); i++)
        if (got.ids[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("%s: \"%s\": token %zu is %d, want %lld", where, json_string_value(text),
                     i, (int)got.ids[i], json_integer_value(json_array_get(want, i)));
    if (got.n != json_array_size(want))
        fail_msg("%s: \"%s\": %zu tokens, want %zu", where, json_string_value(text), got.n,
                 json_array_size(want));
    tokens_release(&got);
}

static inline void check_golden_text(const struct tokenizer *tokenizer, const json_t *ids,
                                     const json_t *want, bool skip_special, const char *where)
{
    int32_t list[4096];
    const size_t n = json_array_size(ids);
    assert_true(n <= COUNT(list));
    for (size_t i = 0; i < n; i++)
        list[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    struct buf got;
    buf_init(&got, 1u << 20);
    check_ok(tokenizer_decode(tokenizer, list, n, skip_special, &got, &err));
    if (got.len != json_string_length(want) ||
        memcmp(got.data, json_string_value(want), got.len) != 0)
        fail_msg("%s: decoded \"%s\", want \"%s\"", where, got.data, json_string_value(want));
    buf_release(&got);
}

/* One case of the goldens: {"text"?, "ids", "special"?, "decoded", "skipped"?}. */
static inline void check_golden_case(const struct tokenizer *tokenizer, const json_t *one,
                                     const char *where)
{
    const json_t *text = json_object_get(one, "text"), *ids = json_object_get(one, "ids");
    const json_t *special = json_object_get(one, "special");
    const json_t *decoded = json_object_get(one, "decoded");
    const json_t *skipped = json_object_get(one, "skipped");
    if (text) {
        check_golden_ids(tokenizer, text, ids, false, where);
        check_golden_ids(tokenizer, text, special ? special : ids, true, where);
    }
    check_golden_text(tokenizer, ids, decoded, false, where);
    check_golden_text(tokenizer, special ? special : ids, skipped ? skipped : decoded, true,
                      where);
}

#endif
