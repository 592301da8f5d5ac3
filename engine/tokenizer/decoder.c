/* decoder.c -- see decoder.h. */
#include "engine/tokenizer/decoder.h"

#include <string.h>

#include "base/utf8.h"
#include "engine/tokenizer/bytes.h"

#define DECODER_CONTENT_BYTES_MAX 4096u
#define DECODER_STRIP_MAX         1000000u

static enum err_code decoder_load_strip(struct decoder_step *step, const json_t *component,
                                        const char *where, struct err *err)
{
    const char *mark;
    uint64_t start = 0, stop = 0;
    enum err_code rc;
    if ((rc = component_char(component, "content", &mark, where, err)) != ERR_OK ||
        (rc = json_get_u64(component, "start", 0, DECODER_STRIP_MAX, &start, where, err)) ||
        (rc = json_get_u64(component, "stop", 0, DECODER_STRIP_MAX, &stop, where, err)))
        return rc;
    strcpy(step->mark, mark);
    step->start = (size_t)start;
    step->stop = (size_t)stop;
    return ERR_OK;
}

static enum err_code decoder_load_replace(struct decoder_step *step, const json_t *component,
                                          const char *where, struct err *err)
{
    const json_t *content = json_object_get(component, "content");
    if (!json_is_string(content))
        return err_set(err, ERR_FORMAT, "%s: content is not a text", where);
    buf_append(&step->content, json_string_value(content), json_string_length(content));
    step->pattern = pattern_load(json_object_get(component, "pattern"), where, err);
    return step->pattern ? buf_check(&step->content, where, err) : ERR_FORMAT;
}

static enum err_code decoder_load_metaspace(struct decoder_step *step, const json_t *component,
                                            const char *where, struct err *err)
{
    const char *mark, *scheme = "always";
    bool prefix = true;
    enum err_code rc;
    if ((rc = component_char(component, "replacement", &mark, where, err)) != ERR_OK ||
        (rc = json_opt_string(component, "prepend_scheme", &scheme, where, err)) != ERR_OK ||
        (rc = json_opt_bool(component, "add_prefix_space", &prefix, where, err)) != ERR_OK)
        return rc;
    strcpy(step->mark, mark);
    step->prefix = prefix && strcmp(scheme, "never") != 0;
    return ERR_OK;
}

static enum err_code decoder_visit(void *context, const json_t *component, const char *type,
                                   const char *where, struct err *err)
{
    static const struct {
        const char *name;
        enum decoder_kind kind;
        enum err_code (*load)(struct decoder_step *, const json_t *, const char *,
                              struct err *);
    } types[] = {
        {"ByteLevel", DECODER_BYTE_LEVEL, NULL},
        {"ByteFallback", DECODER_BYTE_FALLBACK, NULL},
        {"Fuse", DECODER_FUSE, NULL},
        {"Strip", DECODER_STRIP, decoder_load_strip},
        {"Replace", DECODER_REPLACE, decoder_load_replace},
        {"Metaspace", DECODER_METASPACE, decoder_load_metaspace},
    };
    struct decoder *decoder = context;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].name) != 0)
            continue;
        struct decoder_step *step = &decoder->steps[decoder->n++];
        *step = (struct decoder_step){.kind = types[i].kind};
        buf_init(&step->content, DECODER_CONTENT_BYTES_MAX);
        return types[i].load ? types[i].load(step, component, where, err) : ERR_OK;
    }
    return component_unknown(type, where, err);
}

enum err_code decoder_load(struct decoder *decoder, const json_t *value, const char *where,
                           struct err *err)
{
    decoder->n = 0;
    decoder->present = value && !json_is_null(value);
    return component_each(value, "decoders", where, decoder_visit, decoder, err);
}

void decoder_release(struct decoder *decoder)
{
    for (size_t i = 0; i < decoder->n; i++) {
        pattern_free(decoder->steps[i].pattern);
        buf_release(&decoder->steps[i].content);
    }
    decoder->n = 0;
}

/* Close the piece that was begun at `begin` of the text. */
static void decoder_close(struct pieces *out, size_t begin)
{
    pieces_push(out, (struct piece){begin, out->text.len, PIECES_TEXT, false});
}

/* The bytes that a token spells; one with a character that spells none is taken as it is. */
static void decoder_spelt(struct buf *out, const char *token, size_t n)
{
    for (size_t at = 0; at < n;)
        if (bytes_of(utf8_next(token, &at)) < 0) {
            buf_append(out, token, n);
            return;
        }
    for (size_t at = 0; at < n;)
        buf_putc(out, (char)bytes_of(utf8_next(token, &at)));
}

static enum err_code decoder_byte_level(const struct pieces *in, struct pieces *out,
                                        struct err *err)
{
    struct buf bytes;
    buf_init(&bytes, in->text.max_bytes);
    for (size_t i = 0; i < in->n; i++)
        decoder_spelt(&bytes, in->text.data + in->items[i].begin,
                      in->items[i].end - in->items[i].begin);
    utf8_append_lossy(&out->text, bytes.data, bytes.len);
    decoder_close(out, 0);
    const enum err_code rc = buf_check(&bytes, "the bytes of a decoded text", err);
    buf_release(&bytes);
    return rc;
}

static int decoder_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    const int lower = c | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The byte of <0xHH>; -1: another token. */
static int decoder_byte(const char *token, size_t n)
{
    if (n != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>')
        return -1;
    const int high = decoder_hex(token[3]), low = decoder_hex(token[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* End a run of byte tokens, whose bytes are the text from `run` on. */
static void decoder_end_run(struct pieces *out, size_t run)
{
    struct buf *text = &out->text;
    const size_t n = text->len - run;
    if (n == 0)
        return;
    if (utf8_span(text->data + run, n) == n) {
        decoder_close(out, run);
        return;
    }
    text->len = run;
    for (size_t i = 0; i < n; i++) {
        const size_t begin = text->len;
        buf_puts(text, "\xEF\xBF\xBD");
        decoder_close(out, begin);
    }
}

static void decoder_byte_fallback(const struct pieces *in, struct pieces *out)
{
    size_t run = 0;
    for (size_t i = 0; i < in->n; i++) {
        const char *token = in->text.data + in->items[i].begin;
        const size_t n = in->items[i].end - in->items[i].begin;
        const int byte = decoder_byte(token, n);
        if (byte >= 0) {
            buf_putc(&out->text, (char)byte);
            continue;
        }
        decoder_end_run(out, run);
        pieces_append(out, token, n, PIECES_TEXT, false);
        run = out->text.len;
    }
    decoder_end_run(out, run);
}

static void decoder_strip(const struct decoder_step *step, const char *token, size_t n,
                          struct buf *out)
{
    const size_t mark = strlen(step->mark);
    size_t begin = 0, end = n;
    for (size_t i = 0; i < step->start && end - begin >= mark; i++, begin += mark)
        if (memcmp(token + begin, step->mark, mark) != 0)
            break;
    for (size_t i = 0; i < step->stop && end - begin >= mark; i++, end -= mark)
        if (memcmp(token + end - mark, step->mark, mark) != 0)
            break;
    buf_append(out, token + begin, end - begin);
}

static void decoder_metaspace(const struct decoder_step *step, const char *token, size_t n,
                              bool first, struct buf *out)
{
    const size_t mark = strlen(step->mark);
    for (size_t at = 0; at < n;) {
        const size_t size = utf8_size(token + at);
        if (size != mark || memcmp(token + at, step->mark, mark) != 0)
            buf_append(out, token + at, size);
        else if (!first || !step->prefix)
            buf_putc(out, ' ');
        at += size;
    }
}

static enum err_code decoder_replace(const struct decoder_step *step, struct pattern_scan *scan,
                                     const char *token, size_t n, struct buf *out,
                                     struct err *err)
{
    size_t done = 0;
    pattern_scan_text(scan, token, n);
    for (;;) {
        bool found;
        size_t begin, end;
        const enum err_code rc = pattern_scan_next(scan, &found, &begin, &end, err);
        if (rc != ERR_OK)
            return rc;
        if (!found)
            break;
        buf_append(out, token + done, begin - done);
        buf_append(out, step->content.data, step->content.len);
        done = end;
    }
    buf_append(out, token + done, n - done);
    return ERR_OK;
}

static enum err_code decoder_each(const struct decoder_step *step, const struct pieces *in,
                                  struct pieces *out, struct err *err)
{
    struct pattern_scan scan = {0};
    enum err_code rc = ERR_OK;
    if (step->kind == DECODER_REPLACE)
        rc = pattern_scan_open(&scan, step->pattern, err);
    for (size_t i = 0; rc == ERR_OK && i < in->n; i++) {
        const char *token = in->text.data + in->items[i].begin;
        const size_t n = in->items[i].end - in->items[i].begin;
        const size_t begin = out->text.len;
        if (step->kind == DECODER_STRIP)
            decoder_strip(step, token, n, &out->text);
        else if (step->kind == DECODER_METASPACE)
            decoder_metaspace(step, token, n, i == 0, &out->text);
        else if (n > 0) /* REPLACE: even a pattern of nothing finds nothing in nothing */
            rc = decoder_replace(step, &scan, token, n, &out->text, err);
        decoder_close(out, begin);
    }
    pattern_scan_close(&scan);
    return rc;
}

static enum err_code decoder_step_run(const struct decoder_step *step, const struct pieces *in,
                                      struct pieces *out, struct err *err)
{
    switch (step->kind) {
    case DECODER_BYTE_LEVEL: return decoder_byte_level(in, out, err);
    case DECODER_BYTE_FALLBACK: decoder_byte_fallback(in, out); return ERR_OK;
    case DECODER_FUSE:
        buf_append(&out->text, in->text.data, in->text.len);
        decoder_close(out, 0);
        return ERR_OK;
    case DECODER_STRIP:
    case DECODER_REPLACE:
    case DECODER_METASPACE: break;
    }
    return decoder_each(step, in, out, err);
}

enum err_code decoder_run(const struct decoder *decoder, struct pieces *tokens,
                          struct pieces *spare, struct buf *out, struct err *err)
{
    for (size_t i = 0; i < decoder->n; i++) {
        pieces_clear(spare);
        enum err_code rc = decoder_step_run(&decoder->steps[i], tokens, spare, err);
        if (rc == ERR_OK)
            rc = pieces_check(spare, err);
        if (rc != ERR_OK)
            return rc;
        pieces_swap(tokens, spare);
    }
    for (size_t i = 0; i < tokens->n; i++) {
        const struct piece piece = tokens->items[i];
        if (i > 0 && !decoder->present)
            buf_putc(out, ' ');
        buf_append(out, tokens->text.data + piece.begin, piece.end - piece.begin);
    }
    return buf_check(out, "a decoded text", err);
}
