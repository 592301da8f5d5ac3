/*
 * test_learner_exchange_add.c -- learner/exchange_add.h against its parts, one after the other.
 *
 * The oracle adds floats one by one, in C, and takes the checksum of the whole; sums of
 * bfloat16 are those of gradient_add_packed, which has its own test.  Numbers are of all
 * exponents and signs, infinite ones and NaN among them, but for the second operand, which is
 * finite: which of two NaN is the sum is not said.
 */
#include "base/hash.h"
#include "engine/gradient.h"
#include "learner/exchange_add.h"
#include "tests/processor.h"
#include "tests/test.h"
#include "tests/told.h"

enum { SIZE = 9000, PAD = 128, UNTOUCHED = 0xA5 };

struct fixture {
    _Alignas(64) unsigned char from[SIZE + PAD], into[SIZE + PAD], other[SIZE + PAD];
    _Alignas(64) unsigned char out[SIZE + 2 * PAD];
    unsigned char want[SIZE], scratch[SIZE];
};

static struct fixture f;

static void fill(void)
{
    uint64_t seed = 11;
    for (size_t i = 0; i < sizeof f.from; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        f.from[i] = (unsigned char)(seed >> 32);
        f.into[i] = (unsigned char)(seed >> 40) & 0xBF; /* never all ones in an exponent */
        f.other[i] = (unsigned char)(seed >> 48);
    }
}

static void oracle(const struct exchange_addition *add)
{
    if (!add->into) {
        memcpy(f.want, add->from, add->size);
        return;
    }
    if (add->kind == PRECISION_BF16) {
        gradient_add_packed(add->kind, f.want, add->from, add->into, add->size / 2);
        return;
    }
    for (size_t at = 0; at < add->size; at += sizeof(float)) {
        float x, y;
        memcpy(&x, add->from + at, sizeof x);
        memcpy(&y, add->into + at, sizeof y);
        x += y;
        memcpy(f.want + at, &x, sizeof x);
    }
}

/* In pieces of this size, the first being `first`. */
static void check(const struct exchange_addition *whole, size_t shift, size_t first,
                  size_t piece)
{
    unsigned char *out = f.out + PAD + shift;
    struct hash_stream sum, in;
    hash_stream_begin(&sum);
    hash_stream_begin(&in);
    memset(f.out, UNTOUCHED, sizeof f.out);
    oracle(whole);
    const uint64_t late = whole->late ? hash_xxh3(whole->late, whole->size) : 0;
    for (size_t at = 0, n = first; at < whole->size; at += n, n = piece) {
        struct exchange_addition part = *whole;
        n = whole->size - at < n ? whole->size - at : n;
        part.from += at;
        part.into = whole->into ? whole->into + at : NULL;
        part.late = whole->late ? whole->late + at : NULL;
        part.scratch += at;
        part.size = n;
        exchange_add(&part, out + at, &sum, &in);
    }
    assert_memory_equal(out, f.want, whole->size);
    assert_true(hash_stream_end(&sum) == hash_xxh3(f.want, whole->size));
    if (whole->late)
        assert_true(hash_stream_end(&in) == late);
    for (const unsigned char *at = f.out; at < f.out + sizeof f.out; at++)
        assert_true((at >= out && at < out + whole->size) || *at == UNTOUCHED);
}

static struct exchange_addition addition(enum precision kind, size_t size)
{
    return (struct exchange_addition){.kind = kind,
                                      .from = f.from,
                                      .into = f.into,
                                      .late = f.from,
                                      .scratch = f.scratch,
                                      .size = size};
}

static void exchange_add_is_the_sum_at_every_alignment(void **state)
{
    (void)state;
    fill();
    for (size_t kind = PRECISION_FP32; kind <= PRECISION_BF16; kind++)
        for (size_t shift = 0; shift < 128; shift += 4) {
            struct exchange_addition add = addition((enum precision)kind, SIZE);
            check(&add, shift, 4096, 4096);
            add.from += shift;
            check(&add, 0, 4096, 4096);
            add.into += shift / 8 * 4;
            check(&add, 0, 4096, 4096);
            add.late = f.other + shift / 4;
            check(&add, shift % 8 * 16, 4096, 4096);
        }
}

/* From less than what is worth it, over every number of stripes and every part of one. */
static void exchange_add_is_the_sum_of_every_length(void **state)
{
    (void)state;
    fill();
    for (size_t size = 4; size < 2600; size += 4) {
        const struct exchange_addition add = addition(PRECISION_FP32, size);
        check(&add, 0, size, size);
        check(&add, 0, 1024, 1024);
    }
    for (size_t size = 2; size < 2600; size += 62) {
        const struct exchange_addition add = addition(PRECISION_BF16, size);
        check(&add, 0, size, size);
    }
}

/* Also of pieces after which the streams keep back anything, which moves `out` on or not. */
static void exchange_add_goes_on_from_piece_to_piece(void **state)
{
    (void)state;
    fill();
    for (size_t piece = 4; piece < 2400; piece += piece < 600 ? 4 : 60) {
        const struct exchange_addition add = addition(PRECISION_FP32, SIZE);
        check(&add, 0, piece, piece);
        check(&add, 0, piece, 1024);
        check(&add, -piece % 64, piece, 1024);
    }
}

static void exchange_add_hashes_what_is_late_or_nothing(void **state)
{
    (void)state;
    fill();
    struct exchange_addition add = addition(PRECISION_FP32, SIZE);
    const unsigned char *late[] = {NULL, f.from, f.into, f.other};
    for (size_t i = 0; i < COUNT(late); i++) {
        add.late = late[i];
        add.into = f.into;
        check(&add, 0, 4096, 4096);
        add.into = NULL; /* one node is the whole tree */
        check(&add, 0, 4096, 4096);
    }
}

static void exchange_add_may_use_an_operand_for_scratch(void **state)
{
    (void)state;
    for (size_t shift = 0; shift <= 4; shift += 4)
        for (size_t i = 0; i < 2; i++) {
            fill();
            struct exchange_addition add = addition(PRECISION_FP32, SIZE);
            add.late = f.other;
            add.scratch = i ? f.from : f.into;
            check(&add, shift, 4096, 4096);
        }
}

/* Each stream with another number of bytes behind it. */
static void exchange_add_goes_on_with_streams_that_began_apart(void **state)
{
    (void)state;
    static unsigned char both[PAD + SIZE];
    fill();
    const struct exchange_addition add = addition(PRECISION_FP32, SIZE);
    oracle(&add);
    for (size_t before = 0; before <= PAD; before++) {
        struct hash_stream sum, in;
        hash_stream_begin(&sum);
        hash_stream_begin(&in);
        hash_stream_add(&sum, f.other, PAD - before);
        hash_stream_add(&in, f.other, before);
        exchange_add(&add, f.out, &sum, &in);
        assert_memory_equal(f.out, f.want, SIZE);
        memcpy(both, f.other, PAD - before);
        memcpy(both + PAD - before, f.want, SIZE);
        assert_true(hash_stream_end(&sum) == hash_xxh3(both, PAD - before + SIZE));
        memcpy(both, f.other, before);
        memcpy(both + before, f.from, SIZE);
        assert_true(hash_stream_end(&in) == hash_xxh3(both, before + SIZE));
    }
}

/* Of one operand all bytes are 0, of the other `value`, which makes no NaN: so are the sum's. */
static void add_value(void *ctx, unsigned char value)
{
    (void)ctx;
    struct hash_stream sum, in;
    const struct exchange_addition add = addition(PRECISION_FP32, 1024);
    memset(f.into, value, add.size);
    hash_stream_begin(&sum);
    hash_stream_begin(&in);
    exchange_add(&add, f.out, &sum, &in);
}

static void exchange_add_is_seen_by_a_thread_that_is_told(void **state)
{
    (void)state;
    memset(f.from, 0, sizeof f.from);
    check_told(f.out, 1024, add_value, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchange_add_is_the_sum_at_every_alignment),
        cmocka_unit_test(exchange_add_is_the_sum_of_every_length),
        cmocka_unit_test(exchange_add_goes_on_from_piece_to_piece),
        cmocka_unit_test(exchange_add_hashes_what_is_late_or_nothing),
        cmocka_unit_test(exchange_add_may_use_an_operand_for_scratch),
        cmocka_unit_test(exchange_add_goes_on_with_streams_that_began_apart),
        cmocka_unit_test(exchange_add_is_seen_by_a_thread_that_is_told),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("without AVX-512", tests,
                                                processor_without_avx512, NULL);
}
