/* message.c -- see message.h; the two ways are in message_decode.c and message_encode.c. */
#include "wire/message.h"

#include <stdlib.h>
#define XXH_STATIC_LINKING_ONLY /* for the size of XXH3_state_t */
#include <xxh_x86dispatch.h> /* the same numbers, by the widest vectors there are */

#include "wire/message_internal.h"

const char *wire_role_name(enum wire_role role)
{
    switch (role) {
#define X(name, text) \
    case WIRE_ROLE_##name: return text;
        WIRE_ROLE_MAP(X)
#undef X
    }
    return "?";
}

const char *message_type_name(enum message_type type)
{
    switch (type) {
#define X(name) \
    case MESSAGE_##name: return #name;
        MESSAGE_MAP(X)
#undef X
    }
    return "?";
}

void message_release(struct message *message)
{
    struct message_memory *memory = message->owned;
    if (!memory)
        return;
    if (memory->release)
        memory->release(memory->ctx);
    free(memory);
    *message = (struct message){0};
}

uint64_t message_prompt_tokens(const struct message *message)
{
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < message->items_n; i++)
        tokens += message->items[i].prompt_tokens;
    return tokens;
}

uint64_t message_response_tokens(const struct message *message)
{
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < message->items_n; i++)
        tokens += message->items[i].response_tokens;
    return tokens;
}

uint64_t message_payload_xxh3(const struct wire_bytes *frames, size_t frames_n)
{
    if (frames_n == 0)
        return 0;
    if (frames_n == 1)
        return XXH3_64bits(frames[0].data, frames[0].size);
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (size_t i = 0; i < frames_n; i++)
        XXH3_64bits_update(&state, frames[i].data, frames[i].size);
    return XXH3_64bits_digest(&state);
}

/* A protobuf field: number 7, fixed64. */
#define MESSAGE_SEAL_TAG (7u << 3 | 1u)

void message_seal(unsigned char *head, size_t n)
{
    const uint64_t sum = XXH3_64bits(head, n);
    head[n] = MESSAGE_SEAL_TAG;
    for (unsigned i = 0; i < 8; i++)
        head[n + 1 + i] = (unsigned char)(sum >> (8 * i));
}

enum err_code message_check_seal(const void *head, size_t head_size, struct err *err)
{
    const unsigned char *bytes = head;
    if (head_size < MESSAGE_SEAL_BYTES)
        return err_set(err, ERR_FORMAT, "a header of %zu bytes, which has no checksum",
                       head_size);
    const size_t n = head_size - MESSAGE_SEAL_BYTES;
    const uint64_t sum = XXH3_64bits(bytes, n);
    uint64_t want = 0;
    for (unsigned i = 0; i < 8; i++)
        want |= (uint64_t)bytes[n + 1 + i] << (8 * i);
    if (bytes[n] != MESSAGE_SEAL_TAG || want != sum)
        return err_set(
            err, ERR_FORMAT,
            "a header of %zu bytes that is not what was sent: its checksum is %016llx",
            head_size, (unsigned long long)sum);
    return ERR_OK;
}
