/*
 * fuzz_tokenizer.c -- texts, patterns and components from a stranger.
 *
 * The first byte of an input chooses:
 *
 *     0 to 8    the rest is a text for one of the golden tokenizers: UTF-8 is encoded, in
 *               every way, and where the tokenizer changes nothing decodes to itself;
 *               anything else is refused
 *     9         pattern, NUL, text: what Oniguruma's syntax may say, searched for
 *     10 to 12  a pre_tokenizer, normalizer or decoder in JSON, NUL, text
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/tokenizer.h"
#include "engine/tokenizer/decoder.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pretokenizer.h"

#define FUZZ_GOLDEN TEST_SOURCE_DIR "/tests/golden/tokenizer/"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
    const char *name;
    bool lossless;
} fuzz_golden[] = {
    {"gpt2", true},       {"llama3", true}, {"starcoder", true},
    {"deepseek", true},   {"llama2", true}, {"deepseek-llm", true},
    {"metaspace", false}, {"qwen2", false}, {"added", false},
};
#define FUZZ_GOLDENS (sizeof fuzz_golden / sizeof *fuzz_golden)

static struct tokenizer *fuzz_tokenizers[FUZZ_GOLDENS];

static struct tokenizer *fuzz_tokenizer(size_t i)
{
    char dir[1024];
    snprintf(dir, sizeof dir, FUZZ_GOLDEN "%s", fuzz_golden[i].name);
    if (!fuzz_tokenizers[i])
        fuzz_tokenizers[i] = tokenizer_load(dir, NULL);
    assert(fuzz_tokenizers[i]);
    return fuzz_tokenizers[i];
}

/* Llama's mark for a blank is a character like any other, which comes back as a blank. */
static bool fuzz_has_mark(const char *text, size_t n)
{
    for (size_t i = 0; i + 3 <= n; i++)
        if (memcmp(text + i, "\xE2\x96\x81", 3) == 0)
            return true;
    return false;
}

static void fuzz_text(size_t which, const char *text, size_t n)
{
    const struct tokenizer *tokenizer = fuzz_tokenizer(which);
    struct tokens ids = {0}, all = {0};
    const enum err_code rc = tokenizer_encode_plain(tokenizer, text, n, &ids, NULL);
    assert((rc == ERR_OK) == (utf8_span(text, n) == n));
    assert(tokenizer_encode(tokenizer, text, n, true, &all, NULL) == rc);
    for (size_t i = 0; i < all.n; i++)
        assert(all.ids[i] >= 0 && (uint32_t)all.ids[i] < tokenizer_vocabulary(tokenizer));
    struct buf back;
    buf_init(&back, 1u << 24);
    if (rc == ERR_OK) {
        assert(tokenizer_decode(tokenizer, all.ids, all.n, true, &back, NULL) == ERR_OK);
        buf_clear(&back);
        assert(tokenizer_decode(tokenizer, ids.ids, ids.n, true, &back, NULL) == ERR_OK);
        assert(utf8_span(back.data, back.len) == back.len);
        assert(!fuzz_golden[which].lossless ||
               (back.len == n && memcmp(back.data, text, n) == 0) || fuzz_has_mark(text, n));
    }
    buf_release(&back);
    tokens_release(&ids);
    tokens_release(&all);
}

static void fuzz_pattern(const char *regex, size_t regex_n, const char *text, size_t n)
{
    struct pattern *pattern = pattern_new_regex(regex, regex_n, "fuzz", NULL);
    struct pattern_scan scan;
    if (!pattern)
        return;
    assert(pattern_scan_open(&scan, pattern, NULL) == ERR_OK);
    pattern_scan_text(&scan, text, n);
    bool found = true;
    for (size_t last = 0; found;) {
        size_t begin, end;
        if (pattern_scan_next(&scan, &found, &begin, &end, NULL) != ERR_OK)
            break;
        assert(!found || (last <= begin && begin <= end && end <= n));
        last = found ? end : last;
    }
    pattern_scan_close(&scan);
    pattern_free(pattern);
}

static void fuzz_pretokenizer(const json_t *json, const char *text, size_t n)
{
    struct pretokenizer pretokenizer;
    struct pieces pieces, spare;
    pieces_init(&pieces, 1u << 24);
    pieces_init(&spare, 1u << 24);
    if (n > 0)
        pieces_append(&pieces, text, n, PIECES_TEXT, true);
    if (pretokenizer_load(&pretokenizer, json, "fuzz", NULL) == ERR_OK &&
        pretokenizer_run(&pretokenizer, &pieces, &spare, NULL) == ERR_OK)
        for (size_t i = 0, last = 0; i < pieces.n; last = pieces.items[i++].end)
            assert(last <= pieces.items[i].begin &&
                   pieces.items[i].begin < pieces.items[i].end &&
                   pieces.items[i].end <= pieces.text.len);
    pieces_release(&pieces);
    pieces_release(&spare);
    pretokenizer_release(&pretokenizer);
}

static void fuzz_normalizer(const json_t *json, const char *text, size_t n)
{
    struct normalizer normalizer;
    struct buf out, spare;
    bool at_start = true;
    buf_init(&out, 1u << 24);
    buf_init(&spare, 1u << 24);
    buf_append(&out, text, n);
    if (normalizer_load(&normalizer, json, "fuzz", NULL) == ERR_OK &&
        normalizer_run(&normalizer, &out, &spare, &at_start, NULL) == ERR_OK)
        assert(utf8_span(out.data, out.len) == out.len);
    buf_release(&out);
    buf_release(&spare);
    normalizer_release(&normalizer);
}

/* One token a line. */
static void fuzz_decoder(const json_t *json, const char *text, size_t n)
{
    struct decoder decoder;
    struct pieces tokens, spare;
    struct buf out;
    pieces_init(&tokens, 1u << 24);
    pieces_init(&spare, 1u << 24);
    buf_init(&out, 1u << 24);
    for (size_t at = 0, begin = 0; at <= n; at++)
        if (at == n || text[at] == '\n') {
            pieces_append(&tokens, text + begin, at - begin, PIECES_TEXT, false);
            begin = at + 1;
        }
    if (decoder_load(&decoder, json, "fuzz", NULL) == ERR_OK &&
        decoder_run(&decoder, &tokens, &spare, &out, NULL) == ERR_OK)
        assert(utf8_span(out.data, out.len) == out.len);
    buf_release(&out);
    pieces_release(&tokens);
    pieces_release(&spare);
    decoder_release(&decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const size_t mode = data[0] % (FUZZ_GOLDENS + 4);
    const char *bytes = (const char *)data + 1;
    size--;
    if (mode < FUZZ_GOLDENS) {
        fuzz_text(mode, bytes, size);
        return 0;
    }
    const char *nul = memchr(bytes, '\0', size);
    if (!nul)
        return 0;
    const size_t first = (size_t)(nul - bytes), n = size - first - 1;
    if (utf8_span(nul + 1, n) != n)
        return 0;
    if (mode == FUZZ_GOLDENS) {
        fuzz_pattern(bytes, first, nul + 1, n);
        return 0;
    }
    json_t *json = json_loadb(bytes, first, 0, NULL);
    if (json && mode == FUZZ_GOLDENS + 1)
        fuzz_pretokenizer(json, nul + 1, n);
    else if (json && mode == FUZZ_GOLDENS + 2)
        fuzz_normalizer(json, nul + 1, n);
    else if (json)
        fuzz_decoder(json, nul + 1, n);
    json_decref(json);
    return 0;
}
