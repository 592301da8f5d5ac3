/*
 * golden.h -- numbers from the JSON files of tests/golden/, and scratch directories.
 */
#ifndef TESTS_UNIT_GOLDEN_H
#define TESTS_UNIT_GOLDEN_H

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "tests/test.h"

#define GOLDEN_DIR TEST_SOURCE_DIR "/tests/golden/"

/* The caller frees it with json_decref. */
static inline json_t *golden_open(const char *path)
{
    struct err err = {0};
    json_t *root = json_read_file(path, 16u << 20, &err);
    if (!root)
        fail_msg("%s", err.text);
    return root;
}

static inline size_t golden_size(const json_t *root, const char *key)
{
    return json_array_size(json_object_get(root, key));
}

/* The array of numbers root[key] as floats; NULL where there is none.  The caller frees it. */
static inline float *golden_floats(const json_t *root, const char *key)
{
    const json_t *array = json_object_get(root, key);
    if (!array)
        return NULL;
    float *out = calloc(json_array_size(array) + 1, sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < json_array_size(array); i++)
        out[i] = (float)json_number_value(json_array_get(array, i));
    return out;
}

static inline int32_t *golden_integers(const json_t *root, const char *key)
{
    const json_t *array = json_object_get(root, key);
    if (!array)
        return NULL;
    int32_t *out = calloc(json_array_size(array) + 1, sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < json_array_size(array); i++)
        out[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return out;
}

/* A fresh directory under /tmp, its name in `path`; remove it with golden_scratch_remove. */
static inline void golden_scratch(char path[64])
{
    snprintf(path, 64, "/tmp/rlhfd-test-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static inline void golden_scratch_remove(const char *path)
{
    check_ok(file_remove_tree(path, &err));
}

#endif
