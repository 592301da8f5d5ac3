/*
 * fuzz_message.c -- message_decode on anything.
 *
 * An input is  [mode] [frames] [frame sizes, 2 bytes each] [header size, 2 bytes] [header]
 * [frames' bytes].  In an even mode it is decoded as it stands; in an odd one the header's
 * frame count and checksum are put right first, so that the checks behind them are reached.
 * What is accepted must be encodable, and decode to the same encoding.  Inputs that begin as
 * valid messages come from the mutator, so no corpus is needed.
 */
#include <assert.h>
#include <stdlib.h>

#include "proto/rlhf.pb-c.h"
#include "tests/wire_messages.h"
#include "wire/message_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

struct fuzz_input {
    unsigned mode;
    const uint8_t *head;
    size_t head_size, frames_n;
    struct wire_bytes frame[WIRE_FRAMES_MAX + 1];
};

static bool fuzz_message_parse(struct fuzz_input *in, const uint8_t *data, size_t size)
{
    if (size < 2)
        return false;
    in->mode = data[0];
    in->frames_n = data[1] % (WIRE_FRAMES_MAX + 2);
    size_t at = 2 + 2 * in->frames_n + 2;
    if (size < at)
        return false;
    const uint8_t *sizes = data + 2;
    in->head_size = (size_t)sizes[2 * in->frames_n] | (size_t)sizes[2 * in->frames_n + 1] << 8;
    if (in->head_size > size - at)
        in->head_size = size - at;
    in->head = data + at;
    at += in->head_size;
    for (size_t i = 0; i < in->frames_n; i++) {
        size_t bytes = (size_t)sizes[2 * i] | (size_t)sizes[2 * i + 1] << 8;
        if (bytes > size - at)
            bytes = size - at;
        in->frame[i] = (struct wire_bytes){data + at, bytes};
        at += bytes;
    }
    return true;
}

/* The header with a fitting count and checksum, allocated; NULL where it is not protobuf. */
static uint8_t *fuzz_message_repair(struct fuzz_input *in)
{
    Rlhf__Header *header = rlhf__header__unpack(NULL, in->head_size, in->head);
    if (!header)
        return NULL;
    header->wire = WIRE_VERSION;
    header->frames = (uint32_t)in->frames_n;
    header->payload_xxh3 = message_payload_xxh3(in->frame, in->frames_n);
    in->head_size = rlhf__header__get_packed_size(header);
    uint8_t *head = malloc(in->head_size + 1);
    assert(head);
    rlhf__header__pack(header, head);
    rlhf__header__free_unpacked(header, NULL);
    in->head = head;
    return head;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in;
    if (!fuzz_message_parse(&in, data, size))
        return 0;
    uint8_t *repaired = in.mode & 1 ? fuzz_message_repair(&in) : NULL;
    struct message m, back;
    struct err err = {0};
    if (message_decode(&m, in.head, in.head_size, in.frame, in.frames_n, &err) == ERR_OK) {
        unsigned char *once = NULL, *twice = NULL;
        size_t once_size = 0, twice_size = 0;
        assert(message_encode(&m, &once, &once_size, NULL) == ERR_OK);
        assert(message_decode(&back, once, once_size, m.frame, m.frames_n, NULL) == ERR_OK);
        assert(message_encode(&back, &twice, &twice_size, NULL) == ERR_OK);
        assert(once_size == twice_size && memcmp(once, twice, once_size) == 0);
        free(once);
        free(twice);
        message_release(&back);
        message_release(&m);
    } else {
        assert(err.text[0] && !m.owned);
    }
    free(repaired);
    return 0;
}

/* A valid message in the form above; 0 where it does not fit. */
static size_t fuzz_message_fresh(uint8_t *data, size_t max_size, unsigned seed)
{
    static struct wire_test made;
    wire_test_make(&made, (enum message_type)(1 + seed % MESSAGE_LAST), seed);
    unsigned char *head = NULL;
    size_t head_size = 0, size = 0;
    assert(message_encode(&made.m, &head, &head_size, NULL) == ERR_OK);
    size_t need = 4 + 2 * (size_t)made.m.frames_n + head_size;
    for (uint32_t i = 0; i < made.m.frames_n; i++)
        need += made.m.frame[i].size;
    if (need <= max_size) {
        data[size++] = (uint8_t)(seed >> 8);
        data[size++] = (uint8_t)made.m.frames_n;
        for (uint32_t i = 0; i < made.m.frames_n; i++) {
            data[size++] = (uint8_t)made.m.frame[i].size;
            data[size++] = (uint8_t)(made.m.frame[i].size >> 8);
        }
        data[size++] = (uint8_t)head_size;
        data[size++] = (uint8_t)(head_size >> 8);
        memcpy(data + size, head, head_size);
        size += head_size;
        for (uint32_t i = 0; i < made.m.frames_n; i++) {
            memcpy(data + size, made.m.frame[i].data, made.m.frame[i].size);
            size += made.m.frame[i].size;
        }
    }
    free(head);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    if (seed % 32 == 0) {
        const size_t fresh = fuzz_message_fresh(data, max_size, seed / 32);
        if (fresh > 0)
            return fresh;
    }
    return LLVMFuzzerMutate(data, size, max_size);
}
