/* pieces.c -- see pieces.h. */
#include "engine/tokenizer/pieces.h"

#include <stdlib.h>

void pieces_init(struct pieces *pieces, size_t max_bytes)
{
    *pieces = (struct pieces){0};
    buf_init(&pieces->text, max_bytes);
}

void pieces_release(struct pieces *pieces)
{
    buf_release(&pieces->text);
    free(pieces->items);
    pieces->items = NULL;
    pieces->n = pieces->cap = 0;
}

void pieces_clear(struct pieces *pieces)
{
    buf_clear(&pieces->text);
    pieces->n = 0;
}

void pieces_push(struct pieces *pieces, struct piece piece)
{
    if (pieces->n == pieces->cap) {
        const size_t cap = pieces->cap ? pieces->cap * 2 : 64;
        struct piece *items = realloc(pieces->items, cap * sizeof *items);
        if (!items) {
            pieces->text.failed = true;
            return;
        }
        pieces->items = items;
        pieces->cap = cap;
    }
    pieces->items[pieces->n++] = piece;
}

void pieces_append(struct pieces *pieces, const char *text, size_t n, int32_t id, bool at_start)
{
    const size_t begin = pieces->text.len;
    buf_append(&pieces->text, text, n);
    pieces_push(pieces, (struct piece){begin, pieces->text.len, id, at_start});
}

void pieces_swap(struct pieces *a, struct pieces *b)
{
    const struct pieces was = *a;
    *a = *b;
    *b = was;
}

void pieces_swap_items(struct pieces *a, struct pieces *b)
{
    pieces_swap(a, b);
    const struct buf text = a->text;
    a->text = b->text;
    b->text = text;
}

enum err_code pieces_check(const struct pieces *pieces, struct err *err)
{
    return buf_check(&pieces->text, "the text between two steps of the tokenizer", err);
}
