/* pretokenizer.c -- see pretokenizer.h.  pretokenizer_load.c reads the file. */
#include "engine/tokenizer/pretokenizer.h"

#include <string.h>

#include "base/utf8.h"
#include "engine/tokenizer/bytes.h"

/* A piece of a text, while it is being split: parts that cover it, in order. */
struct pretokenizer_cut {
    struct pieces *out;
    enum pretokenizer_behavior behavior;
    struct piece whole;
    struct piece held; /* begin == end: none */
    bool held_is_match, last_is_match;
};

static void pretokenizer_emit(struct pretokenizer_cut *cut, size_t begin, size_t end)
{
    if (begin == end)
        return;
    const bool at_start = cut->whole.at_start && begin == cut->whole.begin;
    pieces_push(cut->out, (struct piece){begin, end, PIECES_TEXT, at_start});
}

static void pretokenizer_flush(struct pretokenizer_cut *cut)
{
    pretokenizer_emit(cut, cut->held.begin, cut->held.end);
    cut->held.begin = cut->held.end;
}

/*
 * The next part.  Where parts may join, one is held back until it is known whether the
 * next one joins it:
 *
 *     Contiguous           a part joins one of its own kind
 *     MergedWithPrevious   a match joins what is before it, unless that ends in a match
 *     MergedWithNext       a match joins what is after it, unless that begins with a match
 */
static void pretokenizer_part(struct pretokenizer_cut *cut, size_t begin, size_t end,
                              bool match)
{
    bool join = false;
    switch (cut->behavior) {
    case PRETOKENIZER_Removed:
        if (match)
            return;
        break;
    case PRETOKENIZER_Isolated: break;
    case PRETOKENIZER_Contiguous: join = match == cut->last_is_match; break;
    case PRETOKENIZER_MergedWithPrevious: join = match && !cut->last_is_match; break;
    case PRETOKENIZER_MergedWithNext: join = !match && cut->last_is_match; break;
    }
    if (!join)
        pretokenizer_flush(cut);
    if (cut->held.begin == cut->held.end)
        cut->held.begin = begin;
    cut->held.end = end;
    cut->last_is_match = match;
}

static void pretokenizer_split_class(const struct pretokenizer_step *step, const char *text,
                                     struct pretokenizer_cut *cut)
{
    size_t done = cut->whole.begin;
    for (size_t at = done; at < cut->whole.end;) {
        const size_t begin = at;
        if (!step->class(utf8_next(text, &at)))
            continue;
        if (done < begin)
            pretokenizer_part(cut, done, begin, step->invert);
        pretokenizer_part(cut, begin, at, !step->invert);
        done = at;
    }
    if (done < cut->whole.end)
        pretokenizer_part(cut, done, cut->whole.end, step->invert);
}

static enum err_code pretokenizer_split_pattern(const struct pretokenizer_step *step,
                                                struct pattern_scan *scan, const char *text,
                                                struct pretokenizer_cut *cut, struct err *err)
{
    const size_t base = cut->whole.begin;
    size_t done = base;
    pattern_scan_text(scan, text + base, cut->whole.end - base);
    for (;;) {
        bool found;
        size_t begin, end;
        const enum err_code rc = pattern_scan_next(scan, &found, &begin, &end, err);
        if (rc != ERR_OK)
            return rc;
        if (!found)
            break;
        if (done < base + begin)
            pretokenizer_part(cut, done, base + begin, step->invert);
        pretokenizer_part(cut, base + begin, base + end, !step->invert);
        done = base + end;
    }
    if (done < cut->whole.end)
        pretokenizer_part(cut, done, cut->whole.end, step->invert);
    return ERR_OK;
}

static enum err_code pretokenizer_split(const struct pretokenizer_step *step,
                                        struct pieces *pieces, struct pieces *spare,
                                        struct err *err)
{
    struct pattern_scan scan = {0};
    enum err_code rc = ERR_OK;
    if (step->pattern && (rc = pattern_scan_open(&scan, step->pattern, err)) != ERR_OK)
        return rc;
    for (size_t i = 0; rc == ERR_OK && i < pieces->n; i++) {
        struct pretokenizer_cut cut = {
            .out = spare, .behavior = step->behavior, .whole = pieces->items[i]};
        if (cut.whole.id != PIECES_TEXT) {
            pieces_push(spare, cut.whole);
            continue;
        }
        cut.held.begin = cut.held.end = cut.whole.begin;
        if (step->pattern)
            rc = pretokenizer_split_pattern(step, &scan, pieces->text.data, &cut, err);
        else
            pretokenizer_split_class(step, pieces->text.data, &cut);
        pretokenizer_flush(&cut);
    }
    pattern_scan_close(&scan);
    if (rc == ERR_OK)
        rc = pieces_check(spare, err);
    pieces_swap_items(pieces, spare);
    return rc;
}

static void pretokenizer_rewrite_piece(const struct pretokenizer_step *step, const char *text,
                                       size_t n, bool at_start, struct buf *out)
{
    const size_t mark = strlen(step->mark);
    switch (step->kind) {
    case PRETOKENIZER_BYTES: bytes_spell(out, text, n); return;
    case PRETOKENIZER_PREFIX:
        if ((at_start || !step->start_only) &&
            !(n >= mark && memcmp(text, step->mark, mark) == 0))
            buf_append(out, step->mark, mark);
        buf_append(out, text, n);
        return;
    case PRETOKENIZER_BLANKS:
        for (size_t i = 0; i < n; i++)
            if (text[i] == ' ')
                buf_append(out, step->mark, mark);
            else
                buf_putc(out, text[i]);
        return;
    case PRETOKENIZER_SPLIT: return;
    }
}

static enum err_code pretokenizer_rewrite(const struct pretokenizer_step *step,
                                          struct pieces *pieces, struct pieces *spare,
                                          struct err *err)
{
    for (size_t i = 0; i < pieces->n; i++) {
        const struct piece piece = pieces->items[i];
        const size_t begin = spare->text.len;
        if (piece.id == PIECES_TEXT)
            pretokenizer_rewrite_piece(step, pieces->text.data + piece.begin,
                                       piece.end - piece.begin, piece.at_start, &spare->text);
        pieces_push(spare, (struct piece){begin, spare->text.len, piece.id, piece.at_start});
    }
    pieces_swap(pieces, spare);
    return pieces_check(pieces, err);
}

enum err_code pretokenizer_run(const struct pretokenizer *pretokenizer, struct pieces *pieces,
                               struct pieces *spare, struct err *err)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < pretokenizer->n; i++) {
        const struct pretokenizer_step *step = &pretokenizer->steps[i];
        pieces_clear(spare);
        rc = step->kind == PRETOKENIZER_SPLIT ? pretokenizer_split(step, pieces, spare, err)
                                              : pretokenizer_rewrite(step, pieces, spare, err);
    }
    return rc;
}
