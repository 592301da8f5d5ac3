/* world_write.c -- see world.h: the built-in world as files. */
#include <assert.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/rng.h"
#include "world/world.h"
#include "world/world_draws.h"

#define WORLD_FILE_BYTES_MAX ((size_t)64 << 20)

static enum err_code world_save_buf(const char *dir, const char *name, const struct buf *buf,
                                    struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = buf_check(buf, name, err);
    if (!rc)
        rc = file_join(path, dir, name, err);
    return rc ? rc : file_write(path, buf->data, buf->len, err);
}

static void world_put_member(struct buf *line, const char *key, const struct buf *text)
{
    buf_printf(line, "%s\"%s\": ", line->data[line->len - 1] == '{' ? "" : ", ", key);
    buf_json_string(line, text->data, text->len);
    line->failed = line->failed || text->failed;
}

/* One line of sft.jsonl, and its text to what the tokenizer learns from. */
static void world_put_sft(const struct world_item *item, uint64_t seed, size_t i, uint32_t n,
                          struct buf *lines, struct buf *corpus)
{
    const enum world_style style = world_style_draw(seed, item, i, n);
    struct buf prompt, answer;
    buf_init(&prompt, 1024);
    buf_init(&answer, 1024);
    world_prompt(item, &prompt);
    world_answer(item, style, rng_below(seed, RNG_STREAM_WORLD, i, n, WORLD_C_CHOICE, 1u << 30),
                 &answer);
    buf_putc(lines, '{');
    world_put_member(lines, "prompt", &prompt);
    world_put_member(lines, "response", &answer);
    buf_printf(lines, ", \"kind\": \"%s\", \"style\": \"%s\"}\n", world_kind_name(item->kind),
               world_style_name(style));
    buf_puts(corpus, prompt.data);
    buf_puts(corpus, answer.data);
    buf_putc(corpus, '\n');
    buf_release(&prompt);
    buf_release(&answer);
}

static void world_put_prompt(const struct world_item *item, struct buf *lines)
{
    struct buf prompt, label;
    buf_init(&prompt, 1024);
    buf_init(&label, 1024);
    world_prompt(item, &prompt);
    world_label(item, &label);
    buf_putc(lines, '{');
    world_put_member(lines, "prompt", &prompt);
    world_put_member(lines, "label", &label);
    buf_printf(lines, ", \"kind\": \"%s\"}\n", world_kind_name(item->kind));
    buf_release(&prompt);
    buf_release(&label);
}

/* What world_write makes, before it is written. */
struct world_files {
    struct buf sft, prompts, test, corpus, tokenizer;
};

static void world_files_fill(struct world_files *files, const struct world *world,
                             uint64_t seed, uint32_t answers, uint32_t *order)
{
    const size_t lines = world->items_n * answers;
    rng_permutation(order, lines, seed, RNG_STREAM_WORLD, 0, WORLD_B_SFT_ORDER);
    for (size_t k = 0; k < lines; k++) {
        const size_t i = order[k] / answers;
        if (!world_is_held_out(i))
            world_put_sft(&world->items[i], seed, i, order[k] % answers, &files->sft,
                          &files->corpus);
    }
    rng_permutation(order, world->items_n, seed, RNG_STREAM_WORLD, 0, WORLD_B_PROMPT_ORDER);
    for (size_t k = 0; k < world->items_n; k++)
        world_put_prompt(&world->items[order[k]],
                         world_is_held_out(order[k]) ? &files->test : &files->prompts);
}

static enum err_code world_files_save(struct world_files *files, const char *dir,
                                      struct err *err)
{
    const struct {
        const char *name;
        const struct buf *buf;
    } rows[] = {{"sft.jsonl", &files->sft},
                {"prompts.jsonl", &files->prompts},
                {"prompts-test.jsonl", &files->test},
                {"tokenizer.json", &files->tokenizer}};
    enum err_code rc = buf_check(&files->corpus, "the text of sft.jsonl", err);
    if (!rc)
        rc = world_tokenizer(files->corpus.data, files->corpus.len, WORLD_VOCABULARY,
                             &files->tokenizer, err);
    for (size_t i = 0; !rc && i < sizeof rows / sizeof rows[0]; i++)
        rc = world_save_buf(dir, rows[i].name, rows[i].buf, err);
    return rc;
}

enum err_code world_write(const char *dir, uint64_t seed, uint32_t answers, struct err *err)
{
    assert(answers > 0);
    struct world world;
    enum err_code rc = world_init(&world, err);
    if (rc)
        return rc;
    struct world_files files;
    struct buf *const bufs[] = {&files.sft, &files.prompts, &files.test, &files.corpus,
                                &files.tokenizer};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        buf_init(bufs[i], WORLD_FILE_BYTES_MAX);
    uint32_t *order = calloc(world.items_n * answers, sizeof *order);
    if (!order) {
        rc = err_set(err, ERR_NOMEM, "world: no memory to shuffle %zu lines",
                     world.items_n * answers);
        goto out;
    }
    world_files_fill(&files, &world, seed, answers, order);
    rc = world_files_save(&files, dir, err);
out:
    free(order);
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        buf_release(bufs[i]);
    world_release(&world);
    return rc;
}
