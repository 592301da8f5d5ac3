/*
 * message_internal.h -- what the files of wire/ share about a struct message.
 */
#ifndef WIRE_MESSAGE_INTERNAL_H
#define WIRE_MESSAGE_INTERNAL_H

#include "wire/message.h"

/* In front of the memory that message->owned points to. */
struct message_memory {
    void (*release)(void *ctx); /* NULL, or frees the received frames */
    void *ctx;
};

/*
 * Everything that message.h promises of a decoded message, but the checksum.  The same for
 * both ways: `code` is ERR_FORMAT for what was received, ERR_VALUE for what is to be sent.
 */
enum err_code message_check(const struct message *message, enum err_code code, struct err *err);

/* XXH3-64 over the frames' bytes one after the other; 0 without a frame. */
uint64_t message_payload_xxh3(const struct wire_bytes *frames, size_t frames_n);

/* Whether the payload of this message is left to who knows its hash: a chunk of weights, which
 * counts when it has the manifest's.  Not so a difference, which changes what is there. */
static inline bool message_has_hash_elsewhere(enum message_type type, uint64_t base)
{
    return type == MESSAGE_CHUNK && base == 0;
}

bool message_is_utf8(const char *text);

/* Sizes of the frames against their bounds; `name` begins the sentence. */
enum err_code message_check_sizes(const struct wire_bytes *frames, size_t frames_n,
                                  const char *name, enum err_code code, struct err *err);

#endif
