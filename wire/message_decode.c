/* message_decode.c -- frames to a struct message; see message.h. */
#include <stdlib.h>
#include <string.h>

#include "wire/message_decode_internal.h"
#include "wire/message_internal.h"
#include "wire/slab.h"

#define MESSAGE_ALIGN 8u

/* What unpacking may take: eight times the wire's bytes, and what WIRE_ITEMS_MAX items of the
 * fewest bytes take (160 each, with protobuf-c's own notes on them). */
#define MESSAGE_SLAB_FACTOR    8u
#define MESSAGE_SLAB_BASE      (1024u * 1024u)
#define MESSAGE_SLAB_BYTES_MAX (16u * 1024u * 1024u)

static enum err_code message_decode_check_header(const Rlhf__Header *h,
                                                 const struct wire_bytes *frames,
                                                 size_t frames_n, struct err *err)
{
    if (h->wire != WIRE_VERSION)
        return err_set(err, ERR_FORMAT, "a message of wire version %u, this is %u", h->wire,
                       WIRE_VERSION);
    if (h->frames != frames_n)
        return err_set(err, ERR_FORMAT, "a message that says %u payload frames and has %zu",
                       h->frames, frames_n);
    if (h->body_case == RLHF__HEADER__BODY_GRADIENT_CHUNK ||
        (h->body_case == RLHF__HEADER__BODY_CHUNK &&
         message_has_hash_elsewhere(MESSAGE_CHUNK, h->chunk->base_version)))
        return ERR_OK;
    const uint64_t sum = message_payload_xxh3(frames, frames_n);
    if (h->payload_xxh3 != sum)
        return err_set(err, ERR_FORMAT, "a payload whose checksum is %016llx, not %016llx",
                       (unsigned long long)sum, (unsigned long long)h->payload_xxh3);
    return ERR_OK;
}

enum err_code message_decode_text(const char *field, char *out, size_t cap, const char *text,
                                  struct err *err)
{
    if (text == protobuf_c_empty_string) /* absent: no piece of the slab */
        return ERR_OK;
    const size_t size = slab_piece_bytes(text); /* with protobuf-c's own NUL */
    if (size > cap)
        return err_set(err, ERR_FORMAT, "%s has %zu bytes, at most %zu are allowed", field,
                       size - 1, cap - 1);
    if (memchr(text, '\0', size) != text + size - 1)
        return err_set(err, ERR_FORMAT, "%s has a NUL inside", field);
    memcpy(out, text, size);
    return ERR_OK;
}

static size_t message_decode_round_up(size_t bytes)
{
    return (bytes + MESSAGE_ALIGN - 1) / MESSAGE_ALIGN * MESSAGE_ALIGN;
}

static bool message_decode_is_aligned(const struct wire_bytes *frame)
{
    return (uintptr_t)frame->data % MESSAGE_ALIGN == 0;
}

/* One block behind message->owned: items, stats, ranks, and frames that are not aligned. */
static enum err_code message_decode_own(struct message *m, const struct message_lists *lists,
                                        const struct wire_bytes *frames, size_t frames_n,
                                        struct err *err)
{
    const size_t head = message_decode_round_up(sizeof(struct message_memory));
    const size_t items = message_decode_round_up(lists->items_n * sizeof *m->items);
    const size_t stats = message_decode_round_up(lists->stats_n * sizeof *m->stats);
    const size_t ranks = message_decode_round_up(lists->ranks_n * sizeof *m->ranks);
    size_t bytes = head + items + stats + ranks;
    for (size_t i = 0; i < frames_n; i++)
        bytes +=
            message_decode_is_aligned(&frames[i]) ? 0 : message_decode_round_up(frames[i].size);
    unsigned char *at = malloc(bytes);
    if (!at)
        return err_set(err, ERR_NOMEM, "no memory for a message of %zu bytes", bytes);
    memset(at, 0, head + items + stats + ranks);
    m->owned = at;
    at += head;
    m->items = lists->items_n ? (void *)at : NULL;
    m->items_n = (uint32_t)lists->items_n;
    m->stats = lists->stats_n ? (void *)(at + items) : NULL;
    m->stats_n = (uint32_t)lists->stats_n;
    m->ranks = lists->ranks_n ? (void *)(at + items + stats) : NULL;
    m->ranks_n = (uint32_t)lists->ranks_n;
    at += items + stats + ranks;

    m->frames_n = (uint32_t)frames_n;
    for (size_t i = 0; i < frames_n; i++) {
        m->frame[i] = frames[i];
        if (message_decode_is_aligned(&frames[i]))
            continue;
        memcpy(at, frames[i].data, frames[i].size);
        m->frame[i].data = at;
        at += message_decode_round_up(frames[i].size);
    }
    return ERR_OK;
}

static enum err_code message_decode_unpacked(struct message *m, const Rlhf__Header *h,
                                             const struct wire_bytes *frames, size_t frames_n,
                                             struct err *err)
{
    const struct message_lists lists = message_decode_lists(h);
    enum err_code rc = message_decode_check_header(h, frames, frames_n, err);
    if (!rc)
        rc = message_decode_lists_check(&lists, h, err);
    if (!rc)
        rc = message_decode_own(m, &lists, frames, frames_n, err);
    if (rc)
        return rc;
    m->epoch = h->epoch;
    m->session = h->session;
    m->seq = h->seq;
    rc = message_decode_lists_copy(m, &lists, err);
    if (!rc)
        rc = message_decode_body(m, h, err);
    if (!rc)
        rc = message_check(m, ERR_FORMAT, err);
    if (rc)
        message_release(m);
    return rc;
}

static size_t message_decode_slab_bytes(size_t head_size)
{
    const size_t bytes = MESSAGE_SLAB_FACTOR * head_size + MESSAGE_SLAB_BASE;
    return bytes < MESSAGE_SLAB_BYTES_MAX ? bytes : MESSAGE_SLAB_BYTES_MAX;
}

enum err_code message_decode(struct message *message, const void *head, size_t head_size,
                             const struct wire_bytes *frames, size_t frames_n, struct err *err)
{
    *message = (struct message){0};
    if (head_size > WIRE_HEADER_MAX)
        return err_set(err, ERR_FORMAT, "a header of %zu bytes, at most %u are allowed",
                       head_size, WIRE_HEADER_MAX);
    enum err_code rc = message_check_sizes(frames, frames_n, "a message", ERR_FORMAT, err);
    if (rc)
        return rc;

    struct slab slab;
    slab_init(&slab, message_decode_slab_bytes(head_size));
    const Rlhf__Header *h = rlhf__header__unpack(&slab.allocator, head_size, head);
    if (h)
        rc = message_decode_unpacked(message, h, frames, frames_n, err);
    else if (slab.full)
        rc = err_set(err, ERR_FORMAT, "a header of %zu bytes that unpacks to more than %zu",
                     head_size, slab.cap_bytes);
    else
        rc = err_set(err, ERR_FORMAT, "a header of %zu bytes that is not protobuf", head_size);
    slab_release(&slab);
    return rc;
}
