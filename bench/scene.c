/* scene.c -- see scene.h. */
#include "bench/scene.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "engine/tokenizer.h"
#include "world/world.h"

static void scene_tokenizer(const struct bench_dir *dir, const struct world *world)
{
    struct buf text, json;
    struct err err = {0};
    buf_init(&text, 1 << 20);
    buf_init(&json, 1 << 20);
    for (size_t i = 0; i < world->items_n; i += 7)
        world_prompt(&world->items[i], &text);
    bench_check(dir->path, world_tokenizer(text.data, text.len, SCENE_VOCABULARY, &json, &err),
                &err);
    bench_dir_write(dir, "model/tokenizer.json", json.data, json.len);
    buf_release(&text);
    buf_release(&json);
}

static void scene_prompts(const struct bench_dir *dir, const struct world *world, size_t n)
{
    struct buf lines, prompt;
    buf_init(&lines, 1 << 20);
    buf_init(&prompt, 1 << 20);
    for (size_t i = 0; i < n; i++) {
        buf_clear(&prompt);
        world_prompt(&world->items[i % world->items_n], &prompt);
        buf_puts(&lines, "{\"prompt\": ");
        buf_json_string(&lines, prompt.data, prompt.len);
        buf_puts(&lines, "}\n");
    }
    bench_dir_write(dir, "prompts.jsonl", lines.data, lines.len);
    buf_release(&lines);
    buf_release(&prompt);
}

static void scene_model(const char *path, const struct model_config *model)
{
    struct model_config config = *model;
    struct err err = {0};
    if (config.V == 0) {
        struct tokenizer *tokenizer = tokenizer_load(path, &err);
        if (!tokenizer)
            bench_fail(path, &err);
        config.V = tokenizer_vocabulary(tokenizer);
        tokenizer_free(tokenizer);
    }
    struct model *made = model_new(&config, &err);
    if (!made)
        bench_fail(path, &err);
    model_init_random(made, 1, 0.02f);
    bench_check(path, model_save(made, path, &err), &err);
    model_free(made);
}

void scene_write(const struct bench_dir *dir, const struct model_config *model, size_t prompts)
{
    char path[FILE_PATH_MAX];
    struct world world;
    struct err err = {0};
    bench_dir_at(dir, "model", path);
    bench_check(path, file_make_dir(path, &err), &err);
    bench_check(path, world_init(&world, &err), &err);
    scene_tokenizer(dir, &world);
    scene_prompts(dir, &world, prompts);
    world_release(&world);
    scene_model(path, model);
}

void scene_config(const struct bench_dir *dir, const char *yaml, struct run_config *config)
{
    char path[FILE_PATH_MAX];
    struct err err = {0};
    bench_dir_write(dir, "run.yaml", yaml, strlen(yaml));
    bench_dir_at(dir, "run", path);
    bench_check(path, file_make_dir(path, &err), &err);
    bench_dir_at(dir, "run.yaml", path);
    bench_check(path, run_config_load(config, path, NULL, 0, &err), &err);
}

void scene_program(const char *name, char path[FILE_PATH_MAX])
{
    char self[FILE_PATH_MAX];
    struct err err = {0};
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        bench_stop(name, "the directory of this program cannot be found");
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    bench_check(name, file_join(path, self, name, &err), &err);
}
