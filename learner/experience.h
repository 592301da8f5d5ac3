/*
 * experience.h -- a train lease laid out for training: rows, response tokens, micro-batches.
 *
 * Rows are the lease's items, in its order.  Row b has prompt and response ids in the packed
 * `ids` at id_at[b]; its response tokens are entries offset[b] .. offset[b+1]-1 of the arrays
 * over all N response tokens of the batch.
 *
 * The log-prob of response token t of a row is read at row (prompt + t - 1) of its sequence,
 * and so is the critic's value before that token.
 */
#ifndef LEARNER_EXPERIENCE_H
#define LEARNER_EXPERIENCE_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "engine/pass.h"
#include "wire/message.h"

struct experience {
    uint32_t rows;
    uint32_t tokens;               /* N, response tokens of all rows */
    const struct wire_item *items; /* (rows), borrowed */
    const int32_t *ids;            /* borrowed */
    const uint32_t *id_at;         /* (rows+1) */
    const uint32_t *offset;        /* (rows+1) */
    const float *logp_old;         /* (N) borrowed, as the next three */
    const float *reward;           /* (N) */
    const float *logref;           /* (N) */
    const float *cost;             /* (N); NULL: no costs train */
    const uint32_t *group;         /* (rows) */
};

/* Some rows of an experience, packed for one pass. */
struct experience_micro {
    uint32_t rows;       /* of the experience: row[0 .. rows-1] */
    const uint32_t *row; /* borrowed from the order they were cut from */
    struct pass_batch batch;
    uint32_t tokens;   /* response tokens n */
    uint32_t *at;      /* (n) packed row of the prediction of each response token */
    int32_t *target;   /* (n) the token itself */
    uint32_t *entry;   /* (n) which of the experience's N entries it is */
    uint32_t *last_at; /* (rows) packed row of each sequence's last token */
};

/* Point *x at the lease, with tables from the arena.  ERR_VALUE for no rows or a row without
 * prompt or response, ERR_NOMEM. */
enum err_code experience_open(struct experience *x, const struct message *lease,
                              struct arena *arena, struct err *err);

/* Tokens, prompt included, of a row. */
uint32_t experience_row_tokens(const struct experience *x, uint32_t row);

/*
 * Where the micro-batch that begins at order[first] ends: as many rows as fit into
 * micro_tokens, at least one.  A pure function of lengths and order.
 */
uint32_t experience_cut(const struct experience *x, const uint32_t *order, uint32_t n,
                        uint32_t first, uint32_t micro_tokens);

/* How many micro-batches order[0..n-1] makes. */
uint32_t experience_micros(const struct experience *x, const uint32_t *order, uint32_t n,
                           uint32_t micro_tokens);

/* Pack rows order[first..end-1] into *micro, arrays from the arena (reset it afterwards). */
enum err_code experience_pack(const struct experience *x, const uint32_t *order, uint32_t first,
                              uint32_t end, struct arena *arena, struct experience_micro *micro,
                              struct err *err);

/* Bytes an arena needs for experience_open and one experience_pack of up to rows and tokens. */
size_t experience_bytes(size_t rows, size_t tokens);

#endif
