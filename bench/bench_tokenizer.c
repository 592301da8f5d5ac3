/* bench_tokenizer.c -- text to tokens and back, beside copying the text: a byte-level BPE of
 * 512 tokens over the sentences it was learned from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "bench/bench.h"
#include "engine/tokenizer.h"
#include "world/world.h"

#define VOCABULARY 512u

struct tokenizer_bench {
    struct tokenizer *tokenizer;
    struct buf text, decoded;
    struct tokens tokens;
    char *copy;
};

static void call_encode(void *arg)
{
    struct tokenizer_bench *b = arg;
    struct err err = {0};
    b->tokens.n = 0;
    bench_check(
        "tokenizer",
        tokenizer_encode(b->tokenizer, b->text.data, b->text.len, false, &b->tokens, &err),
        &err);
}

static void call_decode(void *arg)
{
    struct tokenizer_bench *b = arg;
    struct err err = {0};
    buf_clear(&b->decoded);
    bench_check(
        "tokenizer",
        tokenizer_decode(b->tokenizer, b->tokens.ids, b->tokens.n, false, &b->decoded, &err),
        &err);
}

static void call_copy(void *arg)
{
    struct tokenizer_bench *b = arg;
    memcpy(b->copy, b->text.data, b->text.len);
}

static void tokenizer_write(const struct tokenizer_bench *b, const struct bench_dir *dir)
{
    struct buf json;
    struct err err = {0};
    buf_init(&json, 1 << 20);
    bench_check("tokenizer",
                world_tokenizer(b->text.data, b->text.len, VOCABULARY, &json, &err), &err);
    bench_dir_write(dir, "tokenizer.json", json.data, json.len);
    buf_release(&json);
}

static void tokenizer_open(struct tokenizer_bench *b)
{
    struct bench_dir dir;
    struct world world;
    struct err err = {0};
    bench_check("tokenizer", world_init(&world, &err), &err);
    buf_init(&b->text, 1 << 24);
    buf_init(&b->decoded, 1 << 24);
    for (size_t i = 0; i < world.items_n; i++) {
        world_prompt(&world.items[i], &b->text);
        world_answer(&world.items[i], WORLD_polite, 0, &b->text);
    }
    world_release(&world);
    b->copy = malloc(b->text.len);
    if (!b->copy)
        bench_stop("tokenizer", "out of memory");
    bench_dir_open(&dir);
    tokenizer_write(b, &dir);
    b->tokenizer = tokenizer_load(dir.path, &err);
    if (!b->tokenizer)
        bench_fail("tokenizer", &err);
    bench_dir_close(&dir);
}

void bench_tokenizer(const struct bench *bench)
{
    struct tokenizer_bench b = {0};
    tokenizer_open(&b);
    call_encode(&b);
    const struct bench_run runs[] = {{.fn = call_encode, .arg = &b},
                                     {.fn = call_decode, .arg = &b},
                                     {.fn = call_copy, .arg = &b, .calls = 16}};
    struct bench_time time[3];
    bench_times(bench, runs, 3, time);
    const double mb = 1e-6 * (double)b.text.len;
    const struct bench_ceiling copying = bench_ceiling_of("copying", mb, time[2]);
    bench_report_under(bench, "tokenizer", "encode", mb, "MB/s", time[0], &copying, 1);
    bench_report_under(bench, "tokenizer", "decode", mb, "MB/s", time[1], &copying, 1);
    tokens_release(&b.tokens);
    tokenizer_free(b.tokenizer);
    buf_release(&b.text);
    buf_release(&b.decoded);
    free(b.copy);
}
