/*
 * test_data_lines.c -- lines of plain and gzip files, files written whole, and a stream far
 * longer than the memory it takes.
 *
 * Oracle: zlib's own gzopen writes what is read; what is written, its gzread reads.  The
 * stream's lines are made by a thread that knows how many it wrote.  RLHF_STREAM_BYTES sets
 * how many bytes it writes (default 256 MiB); RLHF_STREAM_BYTES=10000000000 is the long run.
 */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <zlib.h>

#include "data/lines.h"
#include "data/output.h"
#include "tests/unit/data_files.h"

/* The lines of a file, each ended with '|'; then the error, if there is one. */
static void check_lines(const char *path, const char *want)
{
    struct lines lines;
    struct buf got;
    struct err err = {0};
    buf_init(&got, 8u << 20);
    bool more = true;
    assert_int_equal(lines_open(&lines, path, &err), ERR_OK);
    enum err_code rc;
    while (!(rc = lines_next(&lines, &more, &err)) && more)
        buf_printf(&got, "%s|", lines.line.data);
    if (rc)
        buf_printf(&got, "%s", err.text + strlen(path));
    assert_string_equal(got.data, want);
    lines_close(&lines);
    buf_release(&got);
}

/* The bytes of a gzip member of `text`. */
static size_t compress_text(const char *text, unsigned char *out, size_t size)
{
    const char *path = data_put("member", "", 0);
    gzFile file = gzopen(path, "wb");
    assert_int_equal(gzwrite(file, text, (unsigned)strlen(text)), strlen(text));
    assert_int_equal(gzclose(file), Z_OK);
    struct buf bytes;
    buf_init(&bytes, size);
    check_ok(file_read(path, &bytes, &err));
    const size_t n = bytes.len;
    memcpy(out, bytes.data, n);
    buf_release(&bytes);
    return n;
}

static void plain_and_gzip_files_have_the_same_lines(void **state)
{
    (void)state;
    static const char text[] = "one\n\n  \r\ntwo \r\nthree";
    unsigned char bytes[4096];
    check_lines(data_put("plain", text, strlen(text)), "one|two \r|three|");
    check_lines(data_put("gzip", bytes, compress_text(text, bytes, sizeof bytes)),
                "one|two \r|three|");
    check_lines(data_put("empty", "", 0), "");
    check_lines(data_put("short", "\x1f", 1), "\x1f|");
    check_lines(data_put("other", "\x1fx", 2), "\x1fx|");
}

static void gzip_members_follow_one_another(void **state)
{
    (void)state;
    unsigned char bytes[4096];
    size_t n = compress_text("one\ntw", bytes, sizeof bytes);
    n += compress_text("", bytes + n, sizeof bytes - n);
    n += compress_text("o\nthree\n", bytes + n, sizeof bytes - n);
    check_lines(data_put("members", bytes, n), "one|two|three|");
}

static void damaged_gzip_names_file_and_line(void **state)
{
    (void)state;
    unsigned char bytes[4096];
    const size_t n = compress_text("one\ntwo\n", bytes, sizeof bytes);
    /* Without the last byte of its checksum, all text is there, but nothing vouches for it. */
    check_lines(data_put("cut", bytes, n - 1), "one|two|:3: the gzip data breaks off here");
    check_lines(data_put("header", bytes, 5), ":1: the gzip data breaks off here");
    bytes[n - 6] ^= 1; /* the CRC-32: what it vouched for is not handed out */
    check_lines(data_put("crc", bytes, n),
                ":1: the gzip data is damaged (incorrect data check)");
    bytes[n - 6] ^= 1;
    memcpy(bytes + n, "more", 4);
    check_lines(data_put("tail", bytes, n + 4),
                "one|two|:3: the gzip data is damaged (incorrect header check)");
    bytes[10] = 0xff; /* the first block */
    check_lines(data_put("block", bytes, n),
                ":1: the gzip data is damaged (invalid block type)");
}

static void lines_longer_than_a_block_are_whole(void **state)
{
    (void)state;
    static char text[3 * INPUT_BLOCK_BYTES];
    for (size_t n = INPUT_BLOCK_BYTES - 2; n <= INPUT_BLOCK_BYTES + 2; n++) {
        memset(text, 'x', n);
        memcpy(text + n, "\nend\n", 5);
        struct lines lines;
        bool more;
        check_ok(lines_open(&lines, data_put("block", text, n + 5), &err));
        check_ok(lines_next(&lines, &more, &err));
        assert_int_equal(lines.line.len, n);
        check_ok(lines_next(&lines, &more, &err));
        assert_string_equal(lines.line.data, "end");
        lines_close(&lines);
    }
}

static void what_never_ends_a_line_is_no_text(void **state)
{
    (void)state;
    struct lines lines;
    bool more;
    check_ok(lines_open(&lines, "/dev/zero", &err));
    check_fails(lines_next(&lines, &more, &err), ERR_FORMAT,
                "/dev/zero:1: the line is longer than 256 MiB");
    lines_close(&lines);
}

static void what_is_written_appears_whole_or_not_at_all(void **state)
{
    (void)state;
    static const char *const names[] = {"out.jsonl", "out.jsonl.gz"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[FILE_PATH_MAX], temporary[FILE_PATH_MAX + 8];
        check_ok(file_join(path, data_dir, names[i], &err));
        snprintf(temporary, sizeof temporary, "%s.tmp", path);
        struct output output;
        check_ok(output_open(&output, path, &err));
        for (size_t k = 0; k < 100000; k++)
            check_ok(output_write(&output, "line\n", 5, &err));
        assert_false(file_exists(path));
        check_ok(output_commit(&output, &err));
        output_abort(&output);
        assert_true(file_exists(path));
        assert_false(file_exists(temporary));

        gzFile file = gzopen(path, "rb"); /* reads plain files too */
        char text[16];
        size_t lines = 0;
        for (; gzgets(file, text, sizeof text); lines++)
            assert_string_equal(text, "line\n");
        assert_int_equal(gzdirect(file), i == 0);
        assert_int_equal(gzclose(file), Z_OK);
        assert_int_equal(lines, 100000);

        check_ok(output_open(&output, path, &err));
        check_ok(output_write(&output, "other\n", 6, &err));
        output_abort(&output);
        assert_false(file_exists(temporary));
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_true(info.st_size > 100); /* what was there is there */
    }
    struct output output;
    check_fails(output_open(&output, data_dir, &err), ERR_IO, "is no regular file");
    output_abort(&output);
}

/* How much the peak may grow after the first thousand records.  AddressSanitizer keeps 256 MiB
 * of what was freed. */
#ifdef RLHF_SANITIZE
#define STREAM_GROWTH_KIB (384L << 10)
#else
#define STREAM_GROWTH_KIB (4L << 10)
#endif

struct stream {
    int fd;
    uint64_t bytes;
    uint64_t lines; /* written */
};

/* Lines of various lengths up to 64 KiB, until `bytes` were written. */
static void *write_stream(void *arg)
{
    struct stream *s = arg;
    static char line[80000];
    static const char begin[] = "{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: ";
    static const char end[] = "\",\"rejected\":\"\\n\\nHuman: a\\n\\nAssistant: c\"}\n";
    for (uint64_t written = 0; written < s->bytes; s->lines++) {
        const size_t filler = 1 + (size_t)(s->lines * 7919 % 65536);
        size_t n = sizeof begin - 1;
        memcpy(line, begin, n);
        memset(line + n, 'x', filler);
        n += filler;
        memcpy(line + n, end, sizeof end - 1);
        n += sizeof end - 1;
        if (file_write_all(s->fd, line, n, "the stream", NULL))
            break;
        written += n;
    }
    close(s->fd);
    return NULL;
}

static long peak_kib(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

static void a_long_stream_takes_the_memory_of_a_few_lines(void **state)
{
    (void)state;
    const char *bytes = getenv("RLHF_STREAM_BYTES");
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct stream s = {.fd = ends[1],
                       .bytes = bytes ? strtoull(bytes, NULL, 10) : (uint64_t)256 << 20};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_stream, &s), 0);
    char path[32];
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    const struct reader_options options = {0};
    struct reader *reader = reader_open(path, &options, NULL);
    assert_non_null(reader);
    close(ends[0]);
    const struct data_record *r;
    uint64_t records = 0;
    long early = 0;
    for (;; records++) {
        check_ok(reader_next(reader, &r, &err));
        if (!r)
            break;
        if (records == 1000)
            early = peak_kib();
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(records, s.lines);
    assert_true(records > 1000);
    const long grown = peak_kib() - early;
    if (grown > STREAM_GROWTH_KIB)
        fail_msg("%llu records later the peak is %ld KiB higher", (unsigned long long)records,
                 grown);
    reader_close(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_stream_takes_the_memory_of_a_few_lines),
        cmocka_unit_test(plain_and_gzip_files_have_the_same_lines),
        cmocka_unit_test(gzip_members_follow_one_another),
        cmocka_unit_test(damaged_gzip_names_file_and_line),
        cmocka_unit_test(lines_longer_than_a_block_are_whole),
        cmocka_unit_test(what_never_ends_a_line_is_no_text),
        cmocka_unit_test(what_is_written_appears_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, data_make_dir, data_remove_dir);
}
