/* world_tokenizer.c -- see world.h: a byte-level BPE learned from a small text. */
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "world/world.h"

#define WORLD_BYTES       256
#define WORLD_FIRST_BYTE  1 /* id of byte 0; id 0 ends a text */
#define WORLD_FIRST_MERGE (WORLD_FIRST_BYTE + WORLD_BYTES)
#define WORLD_CHUNKS_MAX  4096 /* different words with their blank */
#define WORLD_CHUNK_MAX   24   /* bytes of one */

struct world_chunk {
    uint16_t id[WORLD_CHUNK_MAX];
    size_t n;
    uint64_t count;
    char text[WORLD_CHUNK_MAX];
    size_t text_n;
};

struct world_bpe {
    struct world_chunk *chunk;
    size_t chunks;
    struct world_merge {
        uint16_t left, right;
    } merge[WORLD_VOCABULARY];
    size_t merges;
    uint64_t pairs[WORLD_VOCABULARY][WORLD_VOCABULARY]; /* occurrences of (left, right) */
};

static bool world_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/*
 * Where the chunk that begins at `text` ends, as GPT-2's pattern cuts ASCII text without
 * digits, apostrophes and runs of blanks: " ?letters", " ?signs", or one newline.
 */
static size_t world_chunk_length(const char *text, size_t n)
{
    if (text[0] == '\n')
        return 1;
    size_t i = text[0] == ' ' ? 1 : 0;
    if (i >= n)
        return i;
    const bool letters = world_is_letter(text[i]);
    while (i < n && text[i] != ' ' && text[i] != '\n' && world_is_letter(text[i]) == letters)
        i++;
    return i;
}

static void world_count(struct world_bpe *bpe, const char *text, size_t n)
{
    for (size_t k = 0; k < bpe->chunks; k++) {
        struct world_chunk *chunk = &bpe->chunk[k];
        if (chunk->text_n == n && memcmp(chunk->text, text, n) == 0) {
            chunk->count++;
            return;
        }
    }
    if (n > WORLD_CHUNK_MAX || bpe->chunks == WORLD_CHUNKS_MAX)
        return; /* rare words teach nothing; the bytes still encode them */
    struct world_chunk *chunk = &bpe->chunk[bpe->chunks++];
    *chunk = (struct world_chunk){.n = n, .count = 1, .text_n = n};
    memcpy(chunk->text, text, n);
    for (size_t i = 0; i < n; i++)
        chunk->id[i] = (uint16_t)(WORLD_FIRST_BYTE + (unsigned char)text[i]);
}

/* The most frequent pair; false where none occurs twice. */
static bool world_find_pair(struct world_bpe *bpe, struct world_merge *best)
{
    memset(bpe->pairs, 0, sizeof bpe->pairs);
    for (size_t k = 0; k < bpe->chunks; k++) {
        const struct world_chunk *chunk = &bpe->chunk[k];
        for (size_t i = 0; i + 1 < chunk->n; i++)
            bpe->pairs[chunk->id[i]][chunk->id[i + 1]] += chunk->count;
    }
    uint64_t most = 1;
    for (size_t left = 0; left < WORLD_VOCABULARY; left++) {
        for (size_t right = 0; right < WORLD_VOCABULARY; right++) {
            if (bpe->pairs[left][right] > most) {
                most = bpe->pairs[left][right];
                *best = (struct world_merge){(uint16_t)left, (uint16_t)right};
            }
        }
    }
    return most > 1;
}

static void world_apply(struct world_chunk *chunk, struct world_merge pair, uint16_t id)
{
    size_t kept = 0;
    for (size_t i = 0; i < chunk->n; i++) {
        const bool here =
            i + 1 < chunk->n && chunk->id[i] == pair.left && chunk->id[i + 1] == pair.right;
        chunk->id[kept++] = here ? id : chunk->id[i];
        i += here;
    }
    chunk->n = kept;
}

/* GPT-2's printable stand-in for a byte: itself where printable, else U+0100 and up. */
static void world_put_byte(struct buf *out, unsigned byte)
{
    unsigned code = byte, hidden = 0;
    for (unsigned b = 0; b <= byte; b++) {
        const bool shown = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        if (b == byte && !shown)
            code = 0x100 + hidden;
        hidden += !shown;
    }
    if (code < 0x80) {
        buf_putc(out, (char)code);
        return;
    }
    buf_putc(out, (char)(0xC0 | code >> 6));
    buf_putc(out, (char)(0x80 | (code & 0x3F)));
}

static void world_put_token(const struct world_bpe *bpe, size_t id, struct buf *out)
{
    if (id < WORLD_FIRST_MERGE) {
        world_put_byte(out, (unsigned)(id - WORLD_FIRST_BYTE));
        return;
    }
    const struct world_merge *merge = &bpe->merge[id - WORLD_FIRST_MERGE];
    world_put_token(bpe, merge->left, out);
    world_put_token(bpe, merge->right, out);
}

static void world_put_quoted(const struct world_bpe *bpe, size_t id, struct buf *out)
{
    struct buf token;
    buf_init(&token, 8 * WORLD_CHUNK_MAX);
    world_put_token(bpe, id, &token);
    buf_json_string(out, token.data, token.len);
    out->failed = out->failed || token.failed;
    buf_release(&token);
}

static void world_put_json(const struct world_bpe *bpe, struct buf *out)
{
    static const char byte_level[] = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                                     "\"trim_offsets\": true, \"use_regex\": true}";
    buf_printf(out,
               "{\n\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n"
               "\"added_tokens\": [{\"id\": %d, \"content\": \"%s\", \"single_word\": false, "
               "\"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
               "\"special\": true}],\n"
               "\"normalizer\": null,\n\"pre_tokenizer\": %s,\n\"post_processor\": null,\n"
               "\"decoder\": %s,\n"
               "\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
               "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, "
               "\"fuse_unk\": false, \"byte_fallback\": false,\n\"vocab\": {\"%s\": %d",
               WORLD_END_ID, WORLD_END_TOKEN, byte_level, byte_level, WORLD_END_TOKEN,
               WORLD_END_ID);
    for (size_t id = WORLD_FIRST_BYTE; id < WORLD_FIRST_MERGE + bpe->merges; id++) {
        buf_puts(out, id % 8 == 0 ? ",\n" : ", ");
        world_put_quoted(bpe, id, out);
        buf_printf(out, ": %zu", id);
    }
    buf_puts(out, "},\n\"merges\": [");
    for (size_t k = 0; k < bpe->merges; k++) {
        struct buf line;
        buf_init(&line, 16 * WORLD_CHUNK_MAX);
        world_put_token(bpe, bpe->merge[k].left, &line);
        buf_putc(&line, ' ');
        world_put_token(bpe, bpe->merge[k].right, &line);
        buf_puts(out, k == 0 ? "" : k % 8 == 0 ? ",\n" : ", ");
        buf_json_string(out, line.data, line.len);
        out->failed = out->failed || line.failed;
        buf_release(&line);
    }
    buf_puts(out, "]}\n}\n");
}

enum err_code world_tokenizer(const char *text, size_t n, size_t vocabulary, struct buf *out,
                              struct err *err)
{
    assert(vocabulary >= WORLD_FIRST_MERGE && vocabulary <= WORLD_VOCABULARY);
    struct world_bpe *bpe = calloc(1, sizeof *bpe);
    if (bpe)
        bpe->chunk = calloc(WORLD_CHUNKS_MAX, sizeof *bpe->chunk);
    if (!bpe || !bpe->chunk) {
        free(bpe);
        return err_set(err, ERR_NOMEM, "tokenizer: no memory to learn merges");
    }

    for (size_t at = 0; at < n;) {
        const size_t length = world_chunk_length(text + at, n - at);
        world_count(bpe, text + at, length);
        at += length;
    }
    struct world_merge pair = {0};
    while (WORLD_FIRST_MERGE + bpe->merges < vocabulary && world_find_pair(bpe, &pair)) {
        const uint16_t id = (uint16_t)(WORLD_FIRST_MERGE + bpe->merges);
        bpe->merge[bpe->merges++] = pair;
        for (size_t k = 0; k < bpe->chunks; k++)
            world_apply(&bpe->chunk[k], pair, id);
    }
    world_put_json(bpe, out);

    free(bpe->chunk);
    free(bpe);
    return buf_check(out, "tokenizer.json", err);
}
