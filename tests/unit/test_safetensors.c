/* wrap: fsync */
/*
 * Oracle: files written here byte by byte from the format's specification, one fault in each;
 * files made by the safetensors library itself are read in test_model.c.  Conversions of number
 * formats are checked against their definition, for every half-precision number there is.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/dtype.h"
#include "engine/safetensors.h"
#include "tests/unit/golden.h"

static char scratch[64];

/* Every fsync fails while this is set. */
static bool fsync_fails;
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    if (!fsync_fails)
        return __real_fsync(fd);
    errno = EIO;
    return -1;
}

static int make_scratch(void **state)
{
    (void)state;
    golden_scratch(scratch);
    return 0;
}

static int remove_scratch(void **state)
{
    (void)state;
    golden_scratch_remove(scratch);
    return 0;
}

/* scratch/name */
static const char *in_scratch(const char *name)
{
    static char path[FILE_PATH_MAX];
    check_ok(file_join(path, scratch, name, &err));
    return path;
}

/* A file: a length (the header's own where SIZE_MAX), the header, and `data` zero bytes. */
static void put_file(const char *name, uint64_t length, const char *header, size_t data)
{
    struct buf out;
    buf_init(&out, 64u << 20);
    if (length == UINT64_MAX)
        length = strlen(header);
    for (int i = 0; i < 8; i++)
        buf_putc(&out, (char)(unsigned char)(length >> (8 * i)));
    buf_puts(&out, header);
    for (size_t i = 0; i < data; i++)
        buf_putc(&out, 0);
    check_ok(file_write(in_scratch(name), out.data, out.len, &err));
    buf_release(&out);
}

static enum err_code open_code(const char *path, struct err *err)
{
    struct safetensors *st = safetensors_open(path, err);
    safetensors_close(st);
    return st ? ERR_OK : err->code;
}

static enum err_code open_dir_code(const char *dir, struct err *err)
{
    struct safetensors *st = safetensors_open_dir(dir, err);
    safetensors_close(st);
    return st ? ERR_OK : err->code;
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define TENSOR(dtype, shape, offsets) \
    "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void every_malformed_file_is_refused_with_its_reason(void **state)
{
    (void)state;
    const struct {
        const char *header;
        size_t data;
        uint64_t length; /* UINT64_MAX: that of the header */
        const char *words;
    } faults[] = {
        {"{" A "}", 8, 17u << 20, "a header of 17825792 bytes is over"},
        {"{" A "}", 8, UINT64_MAX - 1, "a header of 18446744073709551614 bytes"},
        {"{" A "}", 8, 1000, "over the file's end"},
        {"", 0, 0, "not JSON"},
        {"{" A, 8, UINT64_MAX, "not JSON"},
        {"[1]", 0, UINT64_MAX, "no JSON object"},
        {"{" A "," A "}", 8, UINT64_MAX, "duplicate"},
        {"{\"a\":7}", 0, UINT64_MAX, "tensor \"a\" has no \"dtype\""},
        {TENSOR("7", "[2]", "[0,8]"), 8, UINT64_MAX, "tensor \"a\" has no \"dtype\""},
        {TENSOR("\"I64\"", "[1]", "[0,8]"), 8, UINT64_MAX, "tensor \"a\" is of type I64"},
        {TENSOR("\"F32\"", "2", "[0,8]"), 8, UINT64_MAX, "has no \"shape\""},
        {TENSOR("\"F32\"", "[-2]", "[0,8]"), 8, UINT64_MAX, "no list of whole numbers"},
        {TENSOR("\"F32\"", "[2.0]", "[0,8]"), 8, UINT64_MAX, "no list of whole numbers"},
        {TENSOR("\"F32\"", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, UINT64_MAX, "9 dimensions"},
        {TENSOR("\"F32\"", "[4294967296,4294967296,2]", "[0,8]"), 8, UINT64_MAX,
         "a shape that overflows"},
        {TENSOR("\"F32\"", "[4611686018427387906]", "[0,8]"), 8, UINT64_MAX,
         "not what its shape needs"},
        {TENSOR("\"F32\"", "[2]", "[0]"), 8, UINT64_MAX, "no usable \"data_offsets\""},
        {TENSOR("\"F32\"", "[2]", "[8,0]"), 8, UINT64_MAX, "no usable \"data_offsets\""},
        {TENSOR("\"F32\"", "[2]", "[-8,0]"), 8, UINT64_MAX, "no usable \"data_offsets\""},
        {TENSOR("\"F32\"", "[2]", "[0,8.5]"), 8, UINT64_MAX, "no usable \"data_offsets\""},
        {TENSOR("\"F32\"", "[2]", "{}"), 8, UINT64_MAX, "no usable \"data_offsets\""},
        {TENSOR("\"F32\"", "[2]", "[0,9]"), 9, UINT64_MAX, "has 9 bytes, which is not"},
        {TENSOR("\"F32\"", "[2]", "[0,8]"), 7, UINT64_MAX, "ends at byte 8 of 7"},
        {TENSOR("\"F32\"", "[2]", "[4,12]"), 12, UINT64_MAX, "leaves a gap"},
        {TENSOR("\"F32\"", "[2]", "[0,8]"), 9, UINT64_MAX, "1 bytes at the end"},
        {"{" A ",\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[4,8]}}", 8,
         UINT64_MAX, "tensor \"b\" overlaps"},
        {"{" A ",\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[10,14]}}", 14,
         UINT64_MAX, "tensor \"b\" leaves a gap"},
        {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         UINT64_MAX, "overlaps"},
        {"{}", 3, UINT64_MAX, "3 bytes at the end"},
    };
    for (size_t i = 0; i < COUNT(faults); i++) {
        put_file("bad.safetensors", faults[i].length, faults[i].header, faults[i].data);
        check_fails(open_code(in_scratch("bad.safetensors"), &err), ERR_FORMAT,
                    faults[i].words);
        check_fails(open_code(in_scratch("bad.safetensors"), &err), ERR_FORMAT,
                    "bad.safetensors");
    }
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    check_fails(open_code(in_scratch("absent"), &err), ERR_IO, "absent");
    check_fails(open_code(scratch, &err), ERR_IO, "not a regular file");
    assert_int_equal(mkfifo(in_scratch("pipe"), 0600), 0);
    check_fails(open_code(in_scratch("pipe"), &err), ERR_IO, "not a regular file");
    check_ok(file_write(in_scratch("short"), "1234567", 7, &err));
    check_fails(open_code(in_scratch("short"), &err), ERR_FORMAT, "too few for a header");
    char path[2 * FILE_PATH_MAX];
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    check_fails(open_code(path, &err), ERR_VALUE, "over 1024 bytes");
}

static void a_header_over_the_limit_is_refused_unread(void **state)
{
    (void)state;
    put_file("long", (16u << 20) + 1, "{" A "}", 8);
    assert_int_equal(truncate(in_scratch("long"), 20 << 20), 0);
    check_fails(open_code(in_scratch("long"), &err), ERR_FORMAT, "16777217 bytes is over");
}

static void more_tensors_than_any_model_has_are_refused(void **state)
{
    (void)state;
    struct buf header;
    buf_init(&header, SAFETENSORS_HEADER_MAX);
    buf_putc(&header, '{');
    for (unsigned i = 0; i <= SAFETENSORS_TENSORS_MAX; i++)
        buf_printf(&header,
                   "%s\"t%u\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}",
                   i ? "," : "", i);
    buf_putc(&header, '}');
    check_ok(buf_check(&header, "header", &err));
    put_file("many", UINT64_MAX, header.data, 0);
    buf_release(&header);
    check_fails(open_code(in_scratch("many"), &err), ERR_FORMAT, "more than 65536 tensors");
}

static void a_file_that_shrinks_after_opening_is_an_error_not_a_signal(void **state)
{
    (void)state;
    struct err why = {0};
    float out[2];
    put_file("shrinks", UINT64_MAX, "{" A "}", 8);
    struct safetensors *st = safetensors_open(in_scratch("shrinks"), &why);
    assert_non_null(st);
    assert_int_equal(truncate(in_scratch("shrinks"), 20), 0);
    check_fails(safetensors_read(st, safetensors_find(st, "a"), out, &err), ERR_FORMAT,
                "too early");
    safetensors_close(st);
}

static void an_empty_tensor_and_a_scalar_are_legal(void **state)
{
    (void)state;
    struct err why = {0};
    put_file("legal", UINT64_MAX,
             "{\"__metadata__\":{\"x\":\"y\"},"
             "\"s\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[0,2]},"
             "\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
             "\"e\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[2,2]}}  ",
             2);
    struct safetensors *st = safetensors_open(in_scratch("legal"), &why);
    if (!st)
        fail_msg("%s", why.text);
    assert_int_equal(safetensors_count(st), 3);
    assert_string_equal(safetensors_at(st, 0)->name, "e");
    assert_int_equal(safetensors_find(st, "s")->elements, 1);
    assert_int_equal(safetensors_find(st, "e")->elements, 0);
    assert_null(safetensors_find(st, "__metadata__"));
    safetensors_close(st);
}

/* ---- shards ---- */

static void put_index(const char *text)
{
    check_ok(file_write(in_scratch("model.safetensors.index.json"), text, strlen(text), &err));
}

static void shards_are_read_as_one(void **state)
{
    (void)state;
    struct err why = {0};
    put_file("m-1.safetensors", UINT64_MAX, "{" A "}", 8);
    put_file("m-2.safetensors", UINT64_MAX,
             "{\"b\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2);
    put_index("{\"metadata\":{},\"weight_map\":{\"b\":\"m-2.safetensors\","
              "\"a\":\"m-1.safetensors\"}}");
    struct safetensors *st = safetensors_open_dir(scratch, &why);
    if (!st)
        fail_msg("%s", why.text);
    assert_int_equal(safetensors_count(st), 2);
    assert_non_null(strstr(safetensors_path(st, safetensors_find(st, "b")->shard), "m-2"));
    safetensors_close(st);
}

static void an_index_that_lies_is_refused(void **state)
{
    (void)state;
    put_file("m-1.safetensors", UINT64_MAX, "{" A "}", 8);
    put_file("m-2.safetensors", UINT64_MAX, "{" A "}", 8);
    check_fails(open_dir_code(scratch, &err), ERR_IO, "model.safetensors");
    put_index("{}");
    check_fails(open_dir_code(scratch, &err), ERR_FORMAT, "\"weight_map\" is missing");
    put_index("{\"weight_map\":{\"a\":7}}");
    check_fails(open_dir_code(scratch, &err), ERR_FORMAT, "has no file name");
    put_index("{\"weight_map\":{\"a\":\"../m-1.safetensors\"}}");
    check_fails(open_dir_code(scratch, &err), ERR_FORMAT, "not the name of a file beside it");
    put_index("{\"weight_map\":{\"a\":\"/etc/passwd\"}}");
    check_fails(open_dir_code(scratch, &err), ERR_FORMAT, "not the name of a file beside it");
    put_index("{\"weight_map\":{\"a\":\"\"}}");
    check_fails(open_dir_code(scratch, &err), ERR_FORMAT, "not the name of a file beside it");
    put_index("{\"weight_map\":{\"a\":\"m-3.safetensors\"}}");
    check_fails(open_dir_code(scratch, &err), ERR_IO, "m-3.safetensors");
    put_index("{\"weight_map\":{\"b\":\"m-1.safetensors\"}}");
    check_fails(open_dir_code(scratch, &err), ERR_FORMAT, "tensor \"b\" is not in m-1");
    put_index("{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}}");
    check_fails(open_dir_code(scratch, &err), ERR_FORMAT, "tensor \"a\" is also in");
    put_index("{\"weight_map\":{}}");
    check_ok(open_dir_code(scratch, &err));
}

/* ---- writing ---- */

static void check_round_trip(enum dtype dtype, size_t bytes)
{
    const float matrix[6] = {1, 2, 3, 4, 5, 6}, turned[6] = {1, 4, 2, 5, 3, 6};
    const float vector[3] = {-0.5f, 0.25f, 0.0f};
    const struct safetensors_source sources[] = {
        {"matrix", matrix, 2, 3, false},
        {"turned", matrix, 2, 3, true},
        {"vector", vector, 0, 3, false},
    };
    struct err why = {0};
    float out[6];
    check_ok(safetensors_write(in_scratch("w"), sources, COUNT(sources), dtype, &err));
    struct safetensors *st = safetensors_open(in_scratch("w"), &why);
    if (!st)
        fail_msg("%s", why.text);
    const struct safetensors_tensor *t = safetensors_find(st, "turned");
    assert_int_equal(t->dims, 2);
    assert_int_equal(t->shape[0], 3);
    assert_int_equal(t->shape[1], 2);
    assert_int_equal(t->at % bytes, 0);
    check_ok(safetensors_read(st, t, out, &err));
    assert_memory_equal(out, turned, sizeof turned);
    check_ok(safetensors_read(st, safetensors_find(st, "matrix"), out, &err));
    assert_memory_equal(out, matrix, sizeof matrix);
    t = safetensors_find(st, "vector");
    assert_int_equal(t->dims, 1);
    check_ok(safetensors_read(st, t, out, &err));
    assert_memory_equal(out, vector, sizeof vector);
    safetensors_close(st);
    assert_false(file_exists(in_scratch("w.tmp")));
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    check_round_trip(DTYPE_F32, 4);
    check_round_trip(DTYPE_BF16, 2);
    check_round_trip(DTYPE_F16, 2);
}

static void a_tensor_larger_than_the_buffers_is_read_back(void **state)
{
    (void)state;
    const size_t n = 200001;
    float *data = calloc(n, sizeof *data), *out = calloc(n, sizeof *out);
    struct err why = {0};
    for (size_t i = 0; i < n; i++)
        data[i] = (float)(i % 251) - 100.0f;
    const struct safetensors_source source = {"x", data, 0, (uint32_t)n, false};
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        check_ok(safetensors_write(in_scratch("big"), &source, 1, dtype, &err));
        struct safetensors *st = safetensors_open(in_scratch("big"), &why);
        assert_non_null(st);
        check_ok(safetensors_read(st, safetensors_find(st, "x"), out, &err));
        assert_memory_equal(out, data, n * sizeof *data);
        safetensors_close(st);
    }
    free(data);
    free(out);
}

static void a_file_that_cannot_be_written_leaves_the_old_one(void **state)
{
    (void)state;
    const float x = 1.0f;
    const struct safetensors_source source = {"x", &x, 0, 1, false};
    check_fails(safetensors_write(in_scratch("no/where"), &source, 1, DTYPE_F32, &err), ERR_IO,
                "no/where.tmp");
    put_file("old", UINT64_MAX, "{" A "}", 8);
    assert_int_equal(mkdir(in_scratch("old.tmp"), 0700), 0); /* in the way */
    check_fails(safetensors_write(in_scratch("old"), &source, 1, DTYPE_F32, &err), ERR_IO,
                "old.tmp");
    check_ok(open_code(in_scratch("old"), &err));
    assert_int_equal(rmdir(in_scratch("old.tmp")), 0);
    fsync_fails = true;
    check_fails(safetensors_write(in_scratch("old"), &source, 1, DTYPE_F32, &err), ERR_IO,
                "fsync");
    fsync_fails = false;
    assert_false(file_exists(in_scratch("old.tmp")));
    check_ok(open_code(in_scratch("old"), &err));
}

/* ---- number formats ---- */

/* The value of a half by its definition: sign, 5 bits of exponent, 10 of fraction. */
static double half_value(unsigned bits)
{
    const int exponent = (int)(bits >> 10 & 31u);
    const double fraction = (double)(bits & 1023u) / 1024.0;
    const double size = exponent == 0    ? ldexp(fraction, -14)
                        : exponent == 31 ? INFINITY
                                         : ldexp(1.0 + fraction, exponent - 15);
    return bits & 0x8000u ? -size : size;
}

static bool half_is_nan(unsigned bits)
{
    return (bits & 0x7c00u) == 0x7c00u && (bits & 0x3ffu) != 0;
}

static void every_half_is_widened_and_narrowed_exactly(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x10000u; bits++) {
        const uint16_t half = (uint16_t)bits;
        uint16_t back;
        float x;
        dtype_to_f32(&x, &half, DTYPE_F16, 1);
        dtype_from_f32(&back, DTYPE_F16, &x, 1);
        if (half_is_nan(bits)) {
            assert_true(isnan(x) && half_is_nan(back));
            continue;
        }
        if ((double)x != half_value(bits) || back != half)
            fail_msg("half %04x is %a and narrows to %04x", bits, (double)x, back);
    }
}

/* Between two neighbouring halves: below, at and above the middle. */
static void narrowing_to_half_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x7bffu; bits++) {
        const double low = half_value(bits), high = half_value(bits + 1);
        const float middle = (float)((low + high) / 2.0); /* exact */
        const float near[3] = {nextafterf(middle, 0.0f), middle, nextafterf(middle, INFINITY)};
        const unsigned even = bits % 2 == 0 ? bits : bits + 1;
        const unsigned want[3] = {bits, even, bits + 1};
        uint16_t got[3];
        dtype_from_f32(got, DTYPE_F16, near, 3);
        for (int i = 0; i < 3; i++)
            if (got[i] != want[i])
                fail_msg("%a narrows to %04x, want %04x", (double)near[i], got[i], want[i]);
    }
    const float big[3] = {65519.0f, 65520.0f, -1e30f};
    uint16_t got[3];
    dtype_from_f32(got, DTYPE_F16, big, 3);
    assert_int_equal(got[0], 0x7bff);
    assert_int_equal(got[1], 0x7c00);
    assert_int_equal(got[2], 0xfc00);
}

static void brain_floats_round_to_nearest_even(void **state)
{
    (void)state;
    const float x[] = {1.0f, 1.00390625f, 1.01171875f, 1.003906369f, -3.4e38f, INFINITY, NAN};
    const unsigned want[] = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xff80, 0x7f80, 0x7fc0};
    uint16_t got[COUNT(x)];
    dtype_from_f32(got, DTYPE_BF16, x, COUNT(x));
    for (size_t i = 0; i < COUNT(x); i++)
        if (got[i] != want[i])
            fail_msg("%a narrows to %04x, want %04x", (double)x[i], got[i], want[i]);
    float back;
    const uint16_t half = 0xc049;
    dtype_to_f32(&back, &half, DTYPE_BF16, 1);
    assert_true(back == -3.140625f);
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(every_malformed_file_is_refused_with_its_reason),
        IN_SCRATCH(what_is_no_file_is_refused),
        IN_SCRATCH(a_header_over_the_limit_is_refused_unread),
        IN_SCRATCH(more_tensors_than_any_model_has_are_refused),
        IN_SCRATCH(a_file_that_shrinks_after_opening_is_an_error_not_a_signal),
        IN_SCRATCH(an_empty_tensor_and_a_scalar_are_legal),
        IN_SCRATCH(shards_are_read_as_one),
        IN_SCRATCH(an_index_that_lies_is_refused),
        IN_SCRATCH(what_is_written_is_read_back),
        IN_SCRATCH(a_tensor_larger_than_the_buffers_is_read_back),
        IN_SCRATCH(a_file_that_cannot_be_written_leaves_the_old_one),
        cmocka_unit_test(every_half_is_widened_and_narrowed_exactly),
        cmocka_unit_test(narrowing_to_half_rounds_to_nearest_even),
        cmocka_unit_test(brain_floats_round_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
