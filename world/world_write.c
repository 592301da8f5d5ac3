/* world_write.c -- see world.h: the built-in world as files. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "world/world.h"

#define WORLD_FILE_BYTES_MAX ((size_t)64 << 20)

/* Uses of the b counter of RNG_STREAM_WORLD beside the styles (b = answer, c = 0). */
#define WORLD_C_CHOICE       1
#define WORLD_B_SFT_ORDER    UINT32_MAX
#define WORLD_B_PROMPT_ORDER (UINT32_MAX - 1)

static enum err_code world_save(const char *dir, const char *name, const char *bytes,
                                size_t size, struct err *err)
{
    char path[FILE_PATH_MAX];
    const enum err_code rc = file_join(path, dir, name, err);
    return rc ? rc : file_write(path, bytes, size, err);
}

static enum err_code world_save_buf(const char *dir, const char *name, const struct buf *buf,
                                    struct err *err)
{
    const enum err_code rc = buf_check(buf, name, err);
    return rc ? rc : world_save(dir, name, buf->data, buf->len, err);
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
    const enum world_style style = world_style_draw(seed, i, n);
    struct buf prompt, answer;
    buf_init(&prompt, 1024);
    buf_init(&answer, 1024);
    world_prompt(item, &prompt);
    world_answer(item, style, rng_below(seed, RNG_STREAM_WORLD, i, n, WORLD_C_CHOICE, 1u << 30),
                 &answer);
    buf_putc(lines, '{');
    world_put_member(lines, "prompt", &prompt);
    world_put_member(lines, "response", &answer);
    buf_printf(lines, ", \"style\": \"%s\"}\n", world_style_name(style));
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
    buf_puts(lines, "}\n");
    buf_release(&prompt);
    buf_release(&label);
}

static enum err_code world_write_data(const char *dir, const struct world *world, uint64_t seed,
                                      uint32_t answers, uint32_t *order, struct err *err)
{
    struct buf sft, prompts, corpus, tokenizer;
    buf_init(&sft, WORLD_FILE_BYTES_MAX);
    buf_init(&prompts, WORLD_FILE_BYTES_MAX);
    buf_init(&corpus, WORLD_FILE_BYTES_MAX);
    buf_init(&tokenizer, WORLD_FILE_BYTES_MAX);

    const size_t lines = world->items_n * answers;
    rng_permutation(order, lines, seed, RNG_STREAM_WORLD, 0, WORLD_B_SFT_ORDER);
    for (size_t k = 0; k < lines; k++) {
        const size_t i = order[k] / answers;
        world_put_sft(&world->items[i], seed, i, order[k] % answers, &sft, &corpus);
    }
    rng_permutation(order, world->items_n, seed, RNG_STREAM_WORLD, 0, WORLD_B_PROMPT_ORDER);
    for (size_t k = 0; k < world->items_n; k++)
        world_put_prompt(&world->items[order[k]], &prompts);

    enum err_code rc = buf_check(&corpus, "the text of sft.jsonl", err);
    if (!rc)
        rc = world_tokenizer(corpus.data, corpus.len, WORLD_VOCABULARY, &tokenizer, err);
    if (!rc)
        rc = world_save_buf(dir, "sft.jsonl", &sft, err);
    if (!rc)
        rc = world_save_buf(dir, "prompts.jsonl", &prompts, err);
    if (!rc)
        rc = world_save_buf(dir, "tokenizer.json", &tokenizer, err);
    buf_release(&sft);
    buf_release(&prompts);
    buf_release(&corpus);
    buf_release(&tokenizer);
    return rc;
}

enum err_code world_write(const char *dir, uint64_t seed, uint32_t answers, struct err *err)
{
    struct world world;
    enum err_code rc = world_init(&world, err);
    if (rc)
        return rc;
    uint32_t *order = calloc(world.items_n * (answers ? answers : 1), sizeof *order);
    rc = order ? world_write_data(dir, &world, seed, answers, order, err)
               : err_set(err, ERR_NOMEM, "world: no memory to shuffle %zu lines",
                         world.items_n * answers);
    const char *polite = world_polite_words(), *rude = world_rude_words();
    if (!rc)
        rc = world_save(dir, "polite.txt", polite, strlen(polite), err);
    if (!rc)
        rc = world_save(dir, "rude.txt", rude, strlen(rude), err);
    free(order);
    world_release(&world);
    return rc;
}
