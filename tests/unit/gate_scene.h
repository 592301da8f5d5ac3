/*
 * gate_scene.h -- for tests of the gate: a run that ended, policies, a held-out set of prompts,
 * in a directory of their own.
 */
#ifndef TESTS_UNIT_GATE_SCENE_H
#define TESTS_UNIT_GATE_SCENE_H

#include <jansson.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/rng.h"
#include "cli/gate_ledger.h"
#include "engine/model.h"
#include "tests/unit/cli_run.h"

#define MODEL   TEST_SOURCE_DIR "/tests/fixture/model"
#define PROMPTS 60
#define LIMIT   "0.1"

static char dir[64];

static inline char *at(const char *name)
{
    static char path[4][FILE_PATH_MAX];
    static size_t turn;
    char *out = path[turn++ % 4];
    check_ok(file_join(out, dir, name, &err));
    return out;
}

static inline void write_text(const char *name, const char *text)
{
    check_ok(file_write(at(name), text, strlen(text), &err));
}

static inline void read_text(const char *name, struct buf *out)
{
    buf_init(out, (size_t)1 << 26);
    check_ok(file_read(at(name), out, &err));
}

static inline void copy_file(const char *from, const char *to)
{
    struct buf bytes;
    buf_init(&bytes, (size_t)1 << 26);
    check_ok(file_read(from, &bytes, &err));
    check_ok(file_write(to, bytes.data, bytes.len, &err));
    buf_release(&bytes);
}

/* dir/NAME: the policy, its weights shaken by so much. */
static inline void write_model(const char *name, float by)
{
    struct err why = {0};
    char tokenizer[FILE_PATH_MAX];
    struct model *model = model_load(MODEL, &why);
    if (!model)
        fail_msg("%s", why.text);
    for (size_t i = 0; i < model_bytes(model) / sizeof *model->w; i++)
        model->w[i] += by * (float)rng_normal(1, RNG_STREAM_INIT, 0, 0, (uint32_t)i);
    check_ok(file_make_dir(at(name), &err));
    check_ok(model_save(model, at(name), &err));
    model_free(model);
    check_ok(file_join(tokenizer, at(name), "tokenizer.json", &err));
    copy_file(MODEL "/tokenizer.json", tokenizer);
}

static inline void write_prompts(const char *name, const char *first, size_t n)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < n; i++)
        buf_printf(&text, "{\"prompt\": \"user: %s number %zu?\\nbot:\"}\n", first, i);
    write_text(name, text.data);
    buf_release(&text);
}

/* A run that ended, and a held-out set of its own. */
static inline int make_scene(void **state)
{
    (void)state;
    /* A gate syncs a dozen times, and there are hundreds: in memory, where that can be. */
    snprintf(dir, sizeof dir, "%s/rlhf-gate-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir))
        return -1;
    check_ok(file_make_dir(at("run"), &err));
    write_model("run/final", 0.0f);
    write_model("other", 0.001f);
    write_model("third", 0.002f);
    write_prompts("train.jsonl", "what colour is", 8);
    write_prompts("held.jsonl", "what is", PROMPTS);
    write_text(
        "run/config.yaml",
        "run: {dir: ., steps: 5}\n"
        "model: {policy: " MODEL "}\n"
        "data: {prompts: ../train.jsonl, prompt_tokens_max: 48}\n"
        "sampling: {max_new_tokens: 16}\n"
        "reward:\n  scorers:\n"
        "    - {name: broken, kind: http, url: \"http://127.0.0.1:1/\", timeout_ms: 50}\n"
        "    - {name: harm, kind: regex, pattern: zzz, role: cost}\n"
        "gate: {prompts: ../held.jsonl, limit: " LIMIT ", candidates: 2}\n");
    return 0;
}

static inline int remove_scene(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

/* Back to: nothing published, no candidate tested. */
static inline int forget(void **state)
{
    (void)state;
    unlink(at("run/published"));
    unlink(at("run/gate.jsonl"));
    unlink(at("held.jsonl.gate.sqlite"));
    check_ok(file_remove_tree(at("run/releases"), &err));
    return file_remove_tree(at("run/gate"), NULL) == ERR_OK ? 0 : -1;
}

#define EITHER (-1) /* PASS or NSF */
static inline void gate(const char *options, int code, const char *words)
{
    char line[1024];
    snprintf(line, sizeof line, "rlhf gate %s/run %.900s", dir, options);
    if (code == EITHER) {
        const int got = run_line(cli_main, line);
        if (got != 0 && got != 1)
            fail_msg("`%s` said:\n%s", line, said);
        return;
    }
    check_line(cli_main, line, code, words);
}

static inline json_t *read_json(const char *name)
{
    struct buf text;
    read_text(name, &text);
    json_t *json = json_loads(text.data, 0, NULL);
    buf_release(&text);
    assert_non_null(json);
    return json;
}

static inline double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* What RUN/published points to; "" where there is nothing. */
static inline const char *published(void)
{
    static char target[FILE_PATH_MAX];
    const ssize_t n = readlink(at("run/published"), target, sizeof target - 1);
    target[n < 0 ? 0 : n] = '\0';
    return target;
}

static inline void check_same_file(const char *a, const char *b)
{
    struct buf x, y;
    read_text(a, &x);
    read_text(b, &y);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    buf_release(&x);
    buf_release(&y);
}

#endif
