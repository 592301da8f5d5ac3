/*
 * pieces.h -- a text cut into pieces: what flows from one step of a tokenizer to the next.
 */
#ifndef ENGINE_TOKENIZER_PIECES_H
#define ENGINE_TOKENIZER_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define PIECES_TEXT (-1)

struct piece {
    size_t begin, end; /* in the text */
    int32_t id;        /* an added token that was cut out, or PIECES_TEXT */
    bool at_start;     /* begins where the whole input begins */
};

/* As with struct buf, appends never report: text.failed is set where one did not fit, and
 * pieces_check says so at the end. */
struct pieces {
    struct buf text;
    struct piece *items;
    size_t n, cap;
};

void pieces_init(struct pieces *pieces, size_t max_bytes); /* of text; holds no memory yet */
void pieces_release(struct pieces *pieces);
void pieces_clear(struct pieces *pieces); /* text and pieces; memory is kept */

void pieces_push(struct pieces *pieces, struct piece piece);

/* Append `text` as one more piece. */
void pieces_append(struct pieces *pieces, const char *text, size_t n, int32_t id,
                   bool at_start);

/* Exchange the contents of two. */
void pieces_swap(struct pieces *a, struct pieces *b);

/* Exchange the pieces and leave the texts where they are. */
void pieces_swap_items(struct pieces *a, struct pieces *b);

/* ERR_OK, or ERR_NOMEM where an append did not fit. */
enum err_code pieces_check(const struct pieces *pieces, struct err *err);

#endif
