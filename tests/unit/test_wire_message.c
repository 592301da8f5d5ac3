/*
 * test_wire_message.c -- the codec.
 *
 * Oracles: bytes written here by hand from the protobuf encoding rules (developers.google.com/
 * protocol-buffers/docs/encoding), which share nothing with protobuf-c; the identity of encode
 * followed by decode over random messages.  The bounds of messages are test_wire_bounds.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "tests/wire_messages.h"

/* Protobuf by hand. */
struct raw {
    unsigned char bytes[300000];
    size_t n;
};

static void raw_varint(struct raw *raw, uint64_t value)
{
    do {
        raw->bytes[raw->n++] = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
    } while (value);
}

static void raw_uint(struct raw *raw, unsigned field, uint64_t value)
{
    raw_varint(raw, field << 3);
    raw_varint(raw, value);
}

static void raw_fixed64(struct raw *raw, unsigned field, uint64_t value)
{
    raw_varint(raw, field << 3 | 1);
    for (unsigned i = 0; i < 8; i++)
        raw->bytes[raw->n++] = (unsigned char)(value >> (8 * i));
}

static void raw_bytes(struct raw *raw, unsigned field, const void *bytes, size_t n)
{
    raw_varint(raw, field << 3 | 2);
    raw_varint(raw, n);
    memcpy(raw->bytes + raw->n, bytes, n);
    raw->n += n;
}

/* A header without payload around one body. */
static void raw_header(struct raw *out, unsigned body_field, const struct raw *body)
{
    out->n = 0;
    raw_uint(out, 1, WIRE_VERSION);
    raw_bytes(out, body_field, body->bytes, body->n);
}

static struct raw body, head; /* too large for the stack */

static enum err_code decode_raw(struct err *err)
{
    struct message m;
    const enum err_code rc = message_decode(&m, head.bytes, head.n, NULL, 0, err);
    message_release(&m);
    return rc;
}

static void message_has_the_bytes_that_protobuf_prescribes(void **state)
{
    (void)state;
    body.n = head.n = 0;
    raw_uint(&body, 1, 300);
    raw_uint(&body, 2, 6);
    raw_uint(&head, 1, WIRE_VERSION);
    raw_fixed64(&head, 2, 7);
    raw_fixed64(&head, 3, 0x0123456789abcdef);
    raw_uint(&head, 4, 1u << 20);
    raw_bytes(&head, 13, body.bytes, body.n);

    const struct message m = {.type = MESSAGE_HEARTBEAT,
                              .epoch = 7,
                              .session = 0x0123456789abcdef,
                              .seq = 1u << 20,
                              .progress = 300,
                              .held = 6};
    unsigned char *got = NULL;
    size_t got_size = 0;
    check_ok(message_encode(&m, &got, &got_size, &err));
    assert_int_equal(got_size, head.n);
    assert_memory_equal(got, head.bytes, head.n);
    free(got);

    struct message back;
    check_ok(message_decode(&back, head.bytes, head.n, NULL, 0, &err));
    wire_test_check_same(&back, &m);
    message_release(&back);
    message_release(&back);
}

static void message_checksums_the_payload_with_xxh3(void **state)
{
    (void)state;
    static const unsigned char chunk[] = "weights";
    body.n = head.n = 0;
    raw_uint(&body, 1, 9);
    raw_uint(&body, 3, 8);
    raw_uint(&head, 1, WIRE_VERSION);
    raw_uint(&head, 5, 1);
    raw_fixed64(&head, 6, XXH3_64bits(chunk, sizeof chunk));
    raw_bytes(&head, 43, body.bytes, body.n);
    const struct wire_bytes frame = {chunk, sizeof chunk};
    struct message m;
    check_ok(message_decode(&m, head.bytes, head.n, &frame, 1, &err));
    assert_int_equal(m.version, 9);
    assert_memory_equal(m.frame[0].data, chunk, sizeof chunk);
    message_release(&m);
}

/* A chunk that is no difference, without one and with a wrong one: the manifest has its hash. */
static void message_leaves_a_chunk_of_weights_to_its_hash(void **state)
{
    (void)state;
    static const unsigned char chunk[] = "weights";
    const struct wire_bytes frame = {chunk, sizeof chunk};
    for (uint64_t sum = 0; sum < 2; sum++) {
        body.n = head.n = 0;
        raw_uint(&body, 1, 9);
        raw_uint(&head, 1, WIRE_VERSION);
        raw_uint(&head, 5, 1);
        raw_fixed64(&head, 6, sum);
        raw_bytes(&head, 43, body.bytes, body.n);
        struct message m;
        check_ok(message_decode(&m, head.bytes, head.n, &frame, 1, &err));
        assert_memory_equal(m.frame[0].data, chunk, sizeof chunk);
        message_release(&m);
    }
    const struct message m = {
        .type = MESSAGE_CHUNK, .version = 9, .frames_n = 1, .frame = {frame}};
    body.n = head.n = 0; /* and it is sent without one */
    raw_uint(&body, 1, 9);
    raw_uint(&head, 1, WIRE_VERSION);
    raw_uint(&head, 5, 1);
    raw_bytes(&head, 43, body.bytes, body.n);
    unsigned char *bytes = NULL;
    size_t size = 0;
    check_ok(message_encode(&m, &bytes, &size, &err));
    assert_int_equal(size, head.n);
    assert_memory_equal(bytes, head.bytes, size);
    free(bytes);
}

static struct wire_test made; /* too large for the stack */

static void message_comes_back_as_it_was(void **state)
{
    (void)state;
    for (int type = MESSAGE_HELLO; type <= MESSAGE_LAST; type++) {
        for (uint64_t seed = 0; seed < 200; seed++) {
            wire_test_make(&made, (enum message_type)type, seed * 31 + (uint64_t)type);
            unsigned char *bytes = NULL;
            size_t size = 0;
            check_ok(message_encode(&made.m, &bytes, &size, &err));
            struct message back;
            check_ok(message_decode(&back, bytes, size, made.m.frame, made.m.frames_n, &err));
            wire_test_check_same(&back, &made.m);
            message_release(&back);
            free(bytes);
        }
    }
}

static void message_aligns_frames_that_came_unaligned(void **state)
{
    (void)state;
    wire_test_make(&made, MESSAGE_SCORE_RESULT, 5);
    unsigned char *bytes = NULL;
    size_t size = 0;
    check_ok(message_encode(&made.m, &bytes, &size, &err));
    struct wire_bytes odd[WIRE_FRAMES_MAX];
    unsigned char *copies[WIRE_FRAMES_MAX];
    for (uint32_t i = 0; i < made.m.frames_n; i++) {
        copies[i] = malloc(made.m.frame[i].size + 1);
        assert_non_null(copies[i]);
        memcpy(copies[i] + 1, made.m.frame[i].data, made.m.frame[i].size);
        odd[i] = (struct wire_bytes){copies[i] + 1, made.m.frame[i].size};
    }
    struct message back;
    check_ok(message_decode(&back, bytes, size, odd, made.m.frames_n, &err));
    for (uint32_t i = 0; i < made.m.frames_n; i++) {
        assert_int_equal((uintptr_t)back.frame[i].data % 8, 0);
        free(copies[i]);
    }
    wire_test_check_same(&back, &made.m);
    message_release(&back);
    free(bytes);
}

/* The bytes of a gradient are held against their checksum by who reads them, those of a chunk of
 * weights against their hash. */
static bool is_left_to_the_reader(const struct message *m)
{
    if (m->type == MESSAGE_CHUNK)
        return m->base == 0;
    return m->type == MESSAGE_GRADIENT_CHUNK &&
           hash_xxh3(m->frame[0].data, m->frame[0].size) != m->payload_xxh3;
}

static void message_refuses_every_truncation(void **state)
{
    (void)state;
    for (int type = MESSAGE_HELLO; type <= MESSAGE_LAST; type++) {
        wire_test_make(&made, (enum message_type)type, 77);
        unsigned char *bytes = NULL;
        size_t size = 0;
        check_ok(message_encode(&made.m, &bytes, &size, &err));
        struct message back;
        for (size_t n = 0; n < size; n++) {
            unsigned char *cut = malloc(n + 1); /* so that ASan sees a byte read past n */
            assert_non_null(cut);
            memcpy(cut, bytes, n);
            assert_int_not_equal(
                message_decode(&back, cut, n, made.m.frame, made.m.frames_n, NULL), ERR_OK);
            free(cut);
        }
        for (uint32_t f = 0; f < made.m.frames_n; f++) {
            struct wire_bytes frame[WIRE_FRAMES_MAX];
            memcpy(frame, made.m.frame, sizeof frame);
            for (size_t n = 0; n < made.m.frame[f].size; n++) {
                frame[f].size = n;
                if (message_decode(&back, bytes, size, frame, made.m.frames_n, NULL) ==
                    ERR_OK) {
                    assert_true(is_left_to_the_reader(&back));
                    message_release(&back);
                }
            }
        }
        free(bytes);
    }
}

/* One bit of one payload byte: always refused, or left to who reads it.  One bit of the header:
 * whatever is accepted keeps all bounds, so that encode takes it back. */
static void message_survives_ten_thousand_bit_flips(void **state)
{
    (void)state;
    unsigned accepted = 0;
    uint64_t seed = 2024;
    for (unsigned flip = 0; flip < 10000; flip++) {
        const int type = MESSAGE_HELLO + (int)(flip % MESSAGE_LAST);
        wire_test_make(&made, (enum message_type)type, seed);
        unsigned char *bytes = NULL;
        size_t size = 0;
        check_ok(message_encode(&made.m, &bytes, &size, &err));

        size_t payload = 0;
        for (uint32_t f = 0; f < made.m.frames_n; f++)
            payload += made.m.frame[f].size;
        const bool in_payload = payload && (wire_test_next(&seed) & 1);
        const uint32_t bit =
            wire_test_below(&seed, (uint32_t)(in_payload ? payload : size) * 8);
        size_t at = bit / 8;
        unsigned char *target = bytes;
        for (uint32_t f = 0; in_payload && f < made.m.frames_n; f++) {
            target = (unsigned char *)(uintptr_t)made.m.frame[f].data;
            if (at < made.m.frame[f].size)
                break;
            at -= made.m.frame[f].size;
        }
        target[at] ^= (unsigned char)(1u << (bit % 8));

        struct message back;
        if (message_decode(&back, bytes, size, made.m.frame, made.m.frames_n, NULL) == ERR_OK) {
            assert_true(!in_payload || is_left_to_the_reader(&back));
            unsigned char *again = NULL;
            size_t again_size = 0;
            check_ok(message_encode(&back, &again, &again_size, &err));
            free(again);
            message_release(&back);
            accepted++;
        }
        free(bytes);
    }
    /* The header's own checksum is for message_check_seal to look at. */
    assert_in_range(accepted, 100, 7000);
}

/* The checks that only a decoder can make, from bytes written by hand. */
static void message_says_what_is_wrong_with_what_came(void **state)
{
    (void)state;
    struct message m;
    static const unsigned char rubbish[] = "\xff\xff\xff\xff";
    check_fails(message_decode(&m, rubbish, 4, NULL, 0, &err), ERR_FORMAT,
                "a header of 4 bytes that is not protobuf");
    static unsigned char large[WIRE_HEADER_MAX + 1];
    check_fails(message_decode(&m, large, sizeof large, NULL, 0, &err), ERR_FORMAT,
                "a header of 262145 bytes, at most 262144 are allowed");

    body.n = 0;
    raw_header(&head, 13, &body);
    check_ok(decode_raw(&err)); /* an empty heartbeat is one */
    const struct wire_bytes frame = {rubbish, 4};
    check_fails(message_decode(&m, head.bytes, head.n, &frame, 1, &err), ERR_FORMAT,
                "a message that says 0 payload frames and has 1");
    head.bytes[1] = 1;
    check_fails(decode_raw(&err), ERR_FORMAT, "a message of wire version 1, this is 3");

    head.n = 0;
    raw_uint(&head, 1, WIRE_VERSION);
    check_fails(decode_raw(&err), ERR_FORMAT,
                "a message without a body that this version knows");
    raw_bytes(&head, 99, "new", 3);
    check_fails(decode_raw(&err), ERR_FORMAT,
                "a message without a body that this version knows");

    head.n = 0;
    raw_uint(&head, 1, WIRE_VERSION);
    raw_uint(&head, 5, 1);
    raw_fixed64(&head, 6, 0xdead);
    raw_uint(&body, 3, 8);
    raw_bytes(&head, 43, body.bytes, body.n);
    check_fails(message_decode(&m, head.bytes, head.n, &frame, 1, &err), ERR_FORMAT,
                "a payload whose checksum is");
    struct wire_bytes many[9] = {{0}};
    check_fails(message_decode(&m, head.bytes, head.n, many, 9, &err), ERR_FORMAT,
                "9 payload frames, at most 8 are allowed");
}

/* Lists that are longer than any message has room for: refused before memory is taken for them. */
static void message_refuses_lists_that_are_too_long(void **state)
{
    (void)state;
    static const struct {
        unsigned type, list; /* their fields */
        size_t most;
        const char *words;
    } lists[] = {{20, 5, WIRE_ITEMS_MAX, "a message of 4097 items, at most 4096 are allowed"},
                 {25, 6, WIRE_STATS_MAX, "a message of 65 stats, at most 64 are allowed"},
                 {24, 11, WIRE_RANKS_MAX, "a message of 17 ranks, at most 16 are allowed"}};
    for (size_t i = 0; i < COUNT(lists); i++) {
        body.n = 0;
        for (size_t n = 0; n <= lists[i].most; n++)
            raw_bytes(&body, lists[i].list, "", 0);
        raw_header(&head, lists[i].type, &body);
        check_fails(decode_raw(&err), ERR_FORMAT, lists[i].words);
    }
}

static void raw_hello(size_t nonce, size_t config, size_t weights, size_t endpoint)
{
    static const unsigned char fill[400] = {0};
    static char text[400];
    memset(text, 'e', sizeof text);
    body.n = 0;
    raw_uint(&body, 1, 1);
    raw_bytes(&body, 2, "actor-0", 7);
    raw_bytes(&body, 3, fill, nonce);
    raw_bytes(&body, 4, fill, config);
    raw_uint(&body, 5, 4);
    raw_bytes(&body, 6, text, endpoint);
    raw_bytes(&body, 8, fill, weights);
    raw_header(&head, 10, &body);
}

static void message_refuses_strings_and_hashes_of_the_wrong_size(void **state)
{
    (void)state;
    raw_hello(16, 32, 0, 255);
    check_ok(decode_raw(&err));
    raw_hello(16, 32, 32, 0);
    check_ok(decode_raw(&err));
    raw_hello(15, 32, 0, 0);
    check_fails(decode_raw(&err), ERR_FORMAT, "HELLO: boot_nonce has 15 bytes, not 16");
    raw_hello(16, 33, 0, 0);
    check_fails(decode_raw(&err), ERR_FORMAT, "HELLO: config_hash has 33 bytes, not 32");
    raw_hello(16, 32, 31, 0);
    check_fails(decode_raw(&err), ERR_FORMAT, "HELLO: content_hash has 31 bytes, not 32");
    raw_hello(16, 32, 0, 256);
    check_fails(decode_raw(&err), ERR_FORMAT,
                "HELLO: bulk_endpoint has 256 bytes, at most 255 are allowed");

    raw_hello(16, 32, 0, 0);
    raw_bytes(&body, 2, "act\0or", 6);
    raw_header(&head, 10, &body);
    check_fails(decode_raw(&err), ERR_FORMAT, "HELLO: name has a NUL inside");
    raw_bytes(&body, 2, "\xff", 1);
    raw_header(&head, 10, &body);
    check_fails(decode_raw(&err), ERR_FORMAT, "HELLO: name is not UTF-8");
    raw_bytes(&body, 2, "reward-0", 8); /* the last one counts */
    raw_header(&head, 10, &body);
    check_ok(decode_raw(&err));
}

static void message_refuses_many_unknown_fields(void **state)
{
    (void)state;
    body.n = 0;
    for (unsigned i = 0; i < 16; i++)
        raw_uint(&body, 100 + i, i);
    raw_header(&head, 13, &body);
    check_ok(decode_raw(&err));
    raw_uint(&head, 200, 1);
    check_fails(decode_raw(&err), ERR_FORMAT, "17 unknown fields, at most 16 are allowed");
}

/* Two bytes of wire make an empty item of some 160 bytes. */
static void message_does_not_unpack_a_few_bytes_to_megabytes(void **state)
{
    (void)state;
    body.n = 0;
    for (unsigned i = 0; i < 4097; i++)
        raw_bytes(&body, 3, "", 0);
    raw_header(&head, 21, &body);
    check_fails(decode_raw(&err), ERR_FORMAT, "4097 items, at most 4096 are allowed");
    for (unsigned i = 0; i < 120000; i++)
        raw_bytes(&body, 3, "", 0);
    raw_header(&head, 21, &body);
    check_fails(decode_raw(&err), ERR_FORMAT, "that unpacks to more than");
    body.n = 0;
    for (unsigned i = 0; i < 85000; i++)
        raw_uint(&body, 100, 1);
    raw_header(&head, 13, &body);
    assert_int_not_equal(decode_raw(NULL), ERR_OK);
}

/* The fewest bytes an item can have, and the most, at the greatest number of items. */
static void message_takes_a_full_lease_of_small_or_large_items(void **state)
{
    (void)state;
    static struct wire_item items[WIRE_ITEMS_MAX];
    for (int large = 0; large < 2; large++) {
        for (uint32_t i = 0; i < WIRE_ITEMS_MAX; i++) {
            const struct wire_item small = {.kind = WIRE_WORK_ROLLOUT};
            const struct wire_item most = {
                WIRE_WORK_REFERENCE, UINT64_MAX, UINT32_MAX, UINT32_MAX, 0, 0, 0, UINT32_MAX};
            items[i] = large ? most : small;
        }
        const struct message m = {.type = MESSAGE_GENERATE_LEASE,
                                  .items = items,
                                  .items_n = WIRE_ITEMS_MAX,
                                  .frames_n = 1,
                                  .frame = {{"", 0}}};
        unsigned char *bytes = NULL;
        size_t size = 0;
        check_ok(message_encode(&m, &bytes, &size, &err));
        struct message back;
        check_ok(message_decode(&back, bytes, size, m.frame, 1, &err));
        wire_test_check_same(&back, &m);
        message_release(&back);
        free(bytes);
    }
}

static void message_names_are_words(void **state)
{
    (void)state;
    assert_string_equal(message_type_name(MESSAGE_GENERATE_LEASE), "GENERATE_LEASE");
    assert_string_equal(message_type_name((enum message_type)77), "?");
    assert_string_equal(wire_role_name(WIRE_ROLE_LEARNER), "learner");
    assert_string_equal(wire_role_name((enum wire_role)9), "?");
}

static void message_texts_are_cut_at_a_character(void **state)
{
    (void)state;
    struct message m = {.type = MESSAGE_BYE};
    char text[400];
    memset(text, 'x', 254);
    strcpy(text + 254, "\xe2\x82\xac!");
    message_set_text(&m, text);
    assert_int_equal(strlen(m.text), 254);
    strcpy(text + 252, "\xe2\x82\xac!");
    message_set_text(&m, text);
    assert_int_equal(strlen(m.text), 255);
    assert_string_equal(m.text + 252, "\xe2\x82\xac");
    message_set_text(&m, "a\xff\xe2\x82 b");
    assert_string_equal(m.text, "a??? b");
    unsigned char *bytes = NULL;
    size_t size = 0;
    check_ok(message_encode(&m, &bytes, &size, &err));
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_has_the_bytes_that_protobuf_prescribes),
        cmocka_unit_test(message_checksums_the_payload_with_xxh3),
        cmocka_unit_test(message_leaves_a_chunk_of_weights_to_its_hash),
        cmocka_unit_test(message_comes_back_as_it_was),
        cmocka_unit_test(message_aligns_frames_that_came_unaligned),
        cmocka_unit_test(message_refuses_every_truncation),
        cmocka_unit_test(message_survives_ten_thousand_bit_flips),
        cmocka_unit_test(message_says_what_is_wrong_with_what_came),
        cmocka_unit_test(message_refuses_lists_that_are_too_long),
        cmocka_unit_test(message_refuses_strings_and_hashes_of_the_wrong_size),
        cmocka_unit_test(message_refuses_many_unknown_fields),
        cmocka_unit_test(message_does_not_unpack_a_few_bytes_to_megabytes),
        cmocka_unit_test(message_takes_a_full_lease_of_small_or_large_items),
        cmocka_unit_test(message_texts_are_cut_at_a_character),
        cmocka_unit_test(message_names_are_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
