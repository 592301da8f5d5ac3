/*
 * fuzz_model.c -- config.json and safetensors files from a stranger.
 *
 * The first byte of an input chooses:
 *
 *     0    the rest is a config.json; what is accepted must come back from model_config_write
 *     1    the rest is a safetensors file
 *     2    header in JSON, NUL, data: a safetensors file with the right length in front
 *
 * What is accepted must be readable, every tensor of it.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/config.h"
#include "engine/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char fuzz_dir[64];

static void fuzz_remove_dir(void)
{
    file_remove_tree(fuzz_dir, NULL);
}

static void fuzz_path(char path[FILE_PATH_MAX], const char *name)
{
    if (!fuzz_dir[0]) {
        snprintf(fuzz_dir, sizeof fuzz_dir, "/tmp/rlhfd-fuzz-XXXXXX");
        assert(mkdtemp(fuzz_dir));
        atexit(fuzz_remove_dir);
    }
    assert(file_join(path, fuzz_dir, name, NULL) == ERR_OK);
}

static void fuzz_put(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert(file && fwrite(bytes, 1, n, file) == n && fclose(file) == 0);
}

static void fuzz_config(const uint8_t *data, size_t size)
{
    char path[FILE_PATH_MAX];
    struct model_config first, second;
    struct err err = {0};
    fuzz_path(path, "config.json");
    fuzz_put(path, data, size);
    if (model_config_read(&first, fuzz_dir, &err)) {
        assert(err.text[0]);
        return;
    }
    struct buf text;
    buf_init(&text, 16u << 20);
    model_config_write(&first, &text);
    fuzz_put(path, text.data, text.len);
    assert(model_config_read(&second, fuzz_dir, NULL) == ERR_OK);
    assert(memcmp(&first, &second, sizeof first) == 0);
    buf_release(&text);
}

static void fuzz_safetensors(const char *path)
{
    struct err err = {0};
    struct safetensors *st = safetensors_open(path, &err);
    if (!st) {
        assert(err.text[0]);
        return;
    }
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(st, i);
        float *out = malloc(tensor->elements * sizeof *out + 1);
        assert(out && safetensors_read(st, tensor, out, NULL) == ERR_OK);
        assert(safetensors_find(st, tensor->name) == tensor);
        free(out);
    }
    safetensors_close(st);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[FILE_PATH_MAX];
    if (size == 0 || data[0] > 2)
        return -1;
    if (data[0] == 0) {
        fuzz_config(data + 1, size - 1);
        return 0;
    }
    fuzz_path(path, "model.safetensors");
    if (data[0] == 1) {
        fuzz_put(path, data + 1, size - 1);
    } else {
        const uint8_t *end = memchr(data + 1, 0, size - 1);
        const size_t header = end ? (size_t)(end - data - 1) : size - 1;
        const size_t rest = end ? size - header - 2 : 0;
        uint8_t *file = calloc(1, 8 + header + rest);
        assert(file);
        for (int i = 0; i < 8; i++)
            file[i] = (uint8_t)((uint64_t)header >> (8 * i));
        memcpy(file + 8, data + 1, header);
        if (rest)
            memcpy(file + 8 + header, end + 1, rest);
        fuzz_put(path, file, 8 + header + rest);
        free(file);
    }
    fuzz_safetensors(path);
    return 0;
}
