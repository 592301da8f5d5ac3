/*
 * message_decode_internal.h -- what the files that decode a message share: message_decode.c takes
 * the frames and owns the memory, message_decode_lists.c has the lists, message_decode_body.c the
 * fields of each body.  All errors are ERR_FORMAT with a sentence that names the field.
 */
#ifndef WIRE_MESSAGE_DECODE_INTERNAL_H
#define WIRE_MESSAGE_DECODE_INTERNAL_H

#include "proto/rlhf.pb-c.h"
#include "wire/message.h"

/* The lists of a body, whichever it is. */
struct message_lists {
    const ProtobufCMessage *body; /* NULL: none that this version knows */
    Rlhf__WorkItem **items;
    size_t items_n;
    Rlhf__Stat **stats;
    size_t stats_n;
    Rlhf__Rank **ranks;
    size_t ranks_n;
};

/* The lists of h, borrowed from it. */
struct message_lists message_decode_lists(const Rlhf__Header *h);

/* Whether there is a body, its lists are within their bounds, and no more fields are unknown than
 * a newer schema may add. */
enum err_code message_decode_lists_check(const struct message_lists *lists,
                                         const Rlhf__Header *h, struct err *err);

/* To m->items, m->stats and m->ranks, which have room for as many and are zeroed. */
enum err_code message_decode_lists_copy(struct message *m, const struct message_lists *lists,
                                        struct err *err);

/* m->type and what else of *m the body tells; it is one that message_decode_lists knows. */
enum err_code message_decode_body(struct message *m, const Rlhf__Header *h, struct err *err);

/* A string field to out (cap bytes with the NUL); an absent one leaves out as it is.  `text` lies
 * in the slab that the header was unpacked to, or is protobuf_c_empty_string. */
enum err_code message_decode_text(const char *field, char *out, size_t cap, const char *text,
                                  struct err *err);

#endif
