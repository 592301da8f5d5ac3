/*
 * test_tokenizer.c -- what tokenizer.h promises beyond the ids of a well-formed text.
 *
 * Oracles: byte-pair encoding by its definition (scan for the pair of least rank, merge it,
 * begin again), the Unicode standard's own examples for ill-formed text, and the header's
 * sentences.
 */
#include "base/utf8.h"
#include "engine/tokenizer/bytes.h"
#include "tests/unit/tokenizer_files.h"

static void tokenizer_names_the_byte_that_is_not_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"\xFF", "not UTF-8 at byte 0"},
        {"abc\x80", "at byte 3"},
        {"\xC3\xA9\xC3", "at byte 2"},             /* cut off */
        {"a\xC0\xAF", "at byte 1"},                /* overlong */
        {"a\xE0\x9F\xBF", "at byte 1"},            /* overlong */
        {"ab\xED\xA0\x80", "at byte 2"},           /* a surrogate */
        {"ab\xF4\x90\x80\x80", "at byte 2"},       /* past U+10FFFF */
        {"ok \xF0\x9F\x99", "at byte 3"},          /* cut off */
        {"ok \xF0\x9F\x99\x82 \xF8", "at byte 8"}, /* no first byte */
    };
    struct tokenizer *tokenizer = golden_tokenizer("gpt2");
    struct tokens got = ids_of(tokenizer, "before", false);
    const size_t n = got.n;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const size_t len = strlen(cases[i].text);
        check_fails(tokenizer_encode(tokenizer, cases[i].text, len, false, &got, &err),
                    ERR_VALUE, cases[i].words);
        check_fails(tokenizer_encode_plain(tokenizer, cases[i].text, len, &got, &err),
                    ERR_VALUE, cases[i].words);
    }
    assert_int_equal(got.n, n);
    tokens_release(&got);
    tokens_release(&got);
    tokenizer_free(tokenizer);
}

static void tokenizer_refuses_ids_outside_the_vocabulary(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = golden_tokenizer("gpt2");
    const uint32_t V = tokenizer_vocabulary(tokenizer);
    assert_int_equal(V, 421); /* 420 trained and one added */
    assert_int_equal(tokenizer_id(tokenizer, "<|endoftext|>"), 420);
    assert_int_equal(tokenizer_id(tokenizer, "no such token"), -1);
    struct buf text;
    buf_init(&text, 100);
    const int32_t bad[] = {5, (int32_t)V}, negative = -1, good = (int32_t)V - 1;
    check_fails(tokenizer_decode(tokenizer, bad, 2, false, &text, &err), ERR_VALUE,
                "id 421, token 1 of 2, is outside the vocabulary");
    check_fails(tokenizer_decode(tokenizer, &negative, 1, false, &text, &err), ERR_VALUE,
                "id -1, token 0 of 1");
    assert_int_equal(text.len, 0);
    check_ok(tokenizer_decode(tokenizer, &good, 1, true, &text, &err));
    assert_string_equal(text.data, "");
    check_ok(tokenizer_decode(tokenizer, &good, 1, false, &text, &err));
    assert_string_equal(text.data, "<|endoftext|>");
    buf_release(&text);
    tokenizer_free(tokenizer);
}

static void tokenizer_decodes_what_it_encoded(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "llama3", "starcoder", "deepseek", "llama2"};
    static const char text[] =
        "  Größe\t中文 \r\n\n🙂👍🏽 it's 12345 <|eot_id|> \xEF\xBF\xBD e\xCC\x81!";
    for (size_t i = 0; i < COUNT(names); i++) {
        struct tokenizer *tokenizer = golden_tokenizer(names[i]);
        struct tokens ids = {0};
        struct buf back;
        buf_init(&back, 1000);
        check_ok(tokenizer_encode_plain(tokenizer, text, sizeof text - 1, &ids, &err));
        check_ok(tokenizer_decode(tokenizer, ids.ids, ids.n, true, &back, &err));
        assert_string_equal(back.data, text);
        buf_release(&back);
        tokens_release(&ids);
        tokenizer_free(tokenizer);
    }
}

/* <s> is a token of the model here, and merges lead to it, and a whole word may be one. */
static void tokenizer_never_makes_plain_text_a_special_token(void **state)
{
    (void)state;
    static const char file[] =
        "{\"added_tokens\":[{\"id\":5,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":"
        "false,\"rstrip\":false,\"normalized\":false,\"special\":true}],\"model\":{"
        "\"ignore_merges\":true,\"vocab\":{\"<\":0,\"s\":1,\">\":2,\"<s\":3,\"s>\":4,\"<s>\":5}"
        ","
        "\"merges\":[\"<s >\",\"< s\",\"s >\",\"< s>\"]}}";
    struct err why = {0};
    struct tokenizer *tokenizer = tokenizer_of(file, sizeof file - 1, &why);
    assert_non_null(tokenizer);
    struct tokens got = ids_of(tokenizer, "<s>", false);
    assert_int_equal(got.n, 1);
    assert_int_equal(got.ids[0], 5);
    check_ok(tokenizer_encode_plain(tokenizer, "<s>", 3, &got, &err)); /* appends */
    assert_int_equal(got.n, 3);
    assert_int_equal(got.ids[1], 3);
    assert_int_equal(got.ids[2], 2);
    tokens_release(&got);
    tokenizer_free(tokenizer);
}

static void check_ids(const char *file, const char *text, const int32_t *want, size_t n)
{
    struct err why = {0};
    struct tokenizer *tokenizer = tokenizer_of(file, strlen(file), &why);
    if (!tokenizer)
        fail_msg("%s", why.text);
    struct tokens got = ids_of(tokenizer, text, false);
    const struct tokens all = {(int32_t *)(uintptr_t)want, n, n};
    check_same_ids(&got, &all, text);
    tokens_release(&got);
    tokenizer_free(tokenizer);
}

/* `tokenizers` 0.23.3 gives these ids: a run of unknown characters is one token, and the
 * bytes of a character that has some pass the unknown one that waits for its run to end. */
static void tokenizer_fuses_unknown_characters(void **state)
{
    (void)state;
#define UNKNOWN(fuse)                                                               \
    "{\"model\":{\"unk_token\":\"?\",\"fuse_unk\":" fuse ",\"byte_fallback\":true," \
    "\"vocab\":{\"a\":0,\"?\":1,\"<0x78>\":2},\"merges\":[]}}"
    check_ids(UNKNOWN("true"), "ayzzya", (const int32_t[]){0, 1, 0}, 3);
    check_ids(UNKNOWN("false"), "ayza", (const int32_t[]){0, 1, 1, 0}, 4);
    check_ids(UNKNOWN("true"), "yxa", (const int32_t[]){2, 1, 0}, 3);
    check_ids(UNKNOWN("true"), "yxyza", (const int32_t[]){2, 1, 0}, 3);
#undef UNKNOWN
}

/* Two that are one when normalized: the special one, as `tokenizers` has it.  It is left out
 * of a decoded text on request, though what stands for it there is its normal form. */
static void tokenizer_finds_the_special_one_of_two_that_look_alike(void **state)
{
    (void)state;
#define ALIKE(id, content, special)                                                      \
    "{\"id\":" id ",\"content\":\"" content "\",\"single_word\":false,\"lstrip\":false," \
    "\"rstrip\":false,\"normalized\":true,\"special\":" special "}"
    static const char file[] = "{\"added_tokens\":[" ALIKE("1", "FOO", "false") "," ALIKE(
        "2", "Foo",
        "true") "],"
                "\"normalizer\":{\"type\":\"Lowercase\"},\"decoder\":{\"type\":\"Fuse\"},"
                "\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}";
#undef ALIKE
    check_ids(file, "foo aFOO", (const int32_t[]){2, 0, 2}, 3);
    struct err why = {0};
    struct tokenizer *tokenizer = tokenizer_of(file, sizeof file - 1, &why);
    const int32_t ids[] = {2, 0, 1};
    struct buf text;
    buf_init(&text, 100);
    check_ok(tokenizer_decode(tokenizer, ids, 3, false, &text, &err));
    assert_string_equal(text.data, "fooafoo");
    buf_clear(&text);
    check_ok(tokenizer_decode(tokenizer, ids, 3, true, &text, &err));
    assert_string_equal(text.data, "afoo");
    buf_release(&text);
    tokenizer_free(tokenizer);
}

static void tokenizer_gives_up_on_a_pattern_that_never_ends(void **state)
{
    (void)state;
    static const char *const regexes[] = {"(a+)+$", "(?:a|a)*[^ab]", "(?:a|aa)+[^ab]"};
    for (size_t i = 0; i < COUNT(regexes); i++) {
        char file[500];
        snprintf(file, sizeof file,
                 "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},"
                 "\"behavior\":\"Isolated\",\"invert\":false},\"model\":{\"vocab\":{\"a\":0,"
                 "\"b\":1},\"merges\":[]}}",
                 regexes[i]);
        struct err why = {0};
        struct tokenizer *tokenizer = tokenizer_of(file, strlen(file), &why);
        if (!tokenizer)
            fail_msg("%s", why.text);
        char text[64];
        memset(text, 'a', sizeof text);
        text[63] = 'b';
        struct tokens got = {0};
        check_fails(tokenizer_encode(tokenizer, text, sizeof text, true, &got, &err), ERR_VALUE,
                    "a pattern of the tokenizer gave up at byte 0 of a text of 64");
        tokens_release(&got);
        tokenizer_free(tokenizer);
    }
}

/* Byte-pair encoding as it is defined; words of at most 300 characters of one byte. */
struct naive {
    char parts[300][16];
    size_t n;
};

static void naive_merge(struct naive *word, const json_t *merges)
{
    for (;;) {
        size_t best = json_array_size(merges), at = 0;
        for (size_t i = 0; i + 1 < word->n; i++)
            for (size_t rank = 0; rank < best; rank++) {
                const json_t *pair = json_array_get(merges, rank);
                if (strcmp(word->parts[i], json_string_value(json_array_get(pair, 0))) == 0 &&
                    strcmp(word->parts[i + 1], json_string_value(json_array_get(pair, 1))) ==
                        0) {
                    best = rank;
                    at = i;
                }
            }
        if (best == json_array_size(merges))
            return;
        const size_t len = strlen(word->parts[at]);
        memcpy(word->parts[at] + len, word->parts[at + 1], sizeof *word->parts - len);
        word->n--;
        memmove(word->parts[at + 1], word->parts[at + 2],
                (word->n - at - 1) * sizeof *word->parts);
    }
}

static void tokenizer_merges_as_byte_pair_encoding_is_defined(void **state)
{
    (void)state;
    struct err why = {0};
    json_t *file = json_read_file(GOLDEN "steps/tokenizer.json", 1u << 20, &why);
    assert_non_null(file);
    const json_t *merges = json_object_get(json_object_get(file, "model"), "merges");
    struct tokenizer *tokenizer = golden_tokenizer("steps");
    uint64_t r = 3;
    for (size_t trial = 0; trial < 60; trial++) {
        struct naive word = {.n = 1 + trial * 5};
        char text[300];
        for (size_t i = 0; i < word.n; i++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            text[i] = "etao nishr-ab\n"[(r >> 33) % 14];
            word.parts[i][0] = text[i];
        }
        struct tokens got = {0};
        check_ok(tokenizer_encode(tokenizer, text, word.n, true, &got, &err));
        naive_merge(&word, merges);
        assert_int_equal(got.n, word.n);
        for (size_t i = 0; i < got.n; i++)
            assert_int_equal(got.ids[i], tokenizer_id(tokenizer, word.parts[i]));
        tokens_release(&got);
    }
    tokenizer_free(tokenizer);
    json_decref(file);
}

/* One word of a million characters: quadratic work would not end within the test's limit. */
static void tokenizer_takes_a_word_of_a_million_characters(void **state)
{
    (void)state;
    enum { N = 1000000 };
    char *text = malloc(N);
    assert_non_null(text);
    for (size_t i = 0; i < N; i++)
        text[i] = "the fox "[i % 8];
    struct tokenizer *tokenizer = golden_tokenizer("steps");
    struct tokens got = {0};
    check_ok(tokenizer_encode(tokenizer, text, N, true, &got, &err));
    struct buf back;
    buf_init(&back, 4 * N);
    assert_true(got.n > N / 8 && got.n < N);
    tokens_release(&got);
    memset(text, ' ', N);
    struct tokenizer *other = golden_tokenizer("llama3");
    check_ok(tokenizer_encode(other, text, N, false, &got, &err));
    check_ok(tokenizer_decode(other, got.ids, got.n, false, &back, &err));
    assert_int_equal(back.len, N);
    buf_release(&back);
    tokens_release(&got);
    tokenizer_free(tokenizer);
    tokenizer_free(other);
    free(text);
}

static void tokenizer_refuses_a_text_that_is_too_long(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = golden_tokenizer("gpt2");
    struct tokens got = {0};
    check_fails(tokenizer_encode(tokenizer, "", (8u << 20) + 1, false, &got, &err), ERR_VALUE,
                "a text of 8388609 bytes is longer than 8388608");
    tokenizer_free(tokenizer);
}

static void check_lossy(const char *bytes, size_t n, const char *want)
{
    struct buf out;
    buf_init(&out, 100);
    utf8_append_lossy(&out, bytes, n);
    assert_string_equal(out.data, want);
    buf_release(&out);
}

/* The Unicode Standard 15.0, tables 3-8 to 3-11, with ? for U+FFFD. */
static void utf8_replaces_maximal_subparts(void **state)
{
    (void)state;
#define R "\xEF\xBF\xBD"
    check_lossy("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", 9, R R R R R R R R "A");
    check_lossy("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", 9, R R R R R R R R "A");
    check_lossy("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", 9, R R R R R "A" R R "B");
    check_lossy("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 9, R R R R "A");
    check_lossy("a\xF0\x9F\x99\x82\xF0\x9F\x99", 8, "a\xF0\x9F\x99\x82" R);
    check_lossy("", 0, "");
#undef R
}

static void utf8_reads_back_every_character(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 8u << 20);
    for (uint32_t c = 0; c <= 0x10FFFF; c++)
        if (c < 0xD800 || c > 0xDFFF)
            utf8_put(&out, c);
    assert_false(out.failed);
    assert_int_equal(utf8_span(out.data, out.len), out.len);
    size_t at = 0;
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        const size_t before = at;
        assert_int_equal(utf8_next(out.data, &at), c);
        assert_int_equal(utf8_before(out.data, at), before);
    }
    assert_int_equal(at, out.len);
    buf_release(&out);
}

static void bytes_are_spelt_by_256_characters_and_read_back(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    for (int byte = 0; byte < 256; byte++) {
        const char c = (char)byte;
        size_t at = out.len;
        bytes_spell(&out, &c, 1);
        const uint32_t spelt = utf8_next(out.data, &at);
        assert_int_equal(bytes_of(spelt), byte);
        assert_true(spelt > ' '); /* none is a control character or a blank */
    }
    /* from encoder.py: blank is U+0120, newline U+010A, 0xAD the last */
    assert_int_equal(bytes_of(0x120), ' ');
    assert_int_equal(bytes_of(0x10A), '\n');
    assert_int_equal(bytes_of(0x143), 0xAD);
    assert_int_equal(bytes_of(0x144), -1);
    assert_int_equal(bytes_of(' '), -1);
    assert_int_equal(bytes_of(0xAD), -1);
    buf_release(&out);
}

/* Vocabularies of one size, in which "b" and one other token stand for id 1. */
static struct tokenizer *letters(const char *second, const char *added)
{
    char text[512];
    struct err why = {0};
    const int n =
        snprintf(text, sizeof text,
                 "{\"version\": \"1.0\", \"added_tokens\": [%s], \"model\": {\"type\": "
                 "\"BPE\", \"merges\": [], \"vocab\": {\"a\": 0, \"%s\": 1, \"c\": 2}}}",
                 added, second);
    struct tokenizer *tokenizer = tokenizer_of(text, (size_t)n, &why);
    if (!tokenizer)
        fail_msg("%s", why.text);
    return tokenizer;
}

static void tokenizers_are_compared_id_by_id(void **state)
{
    (void)state;
    static const char added[] =
        "{\"id\": 3, \"content\": \"<x>\", \"special\": true, \"normalized\": false, "
        "\"lstrip\": false, \"rstrip\": false, \"single_word\": false}";
    struct tokenizer *policy = letters("b", ""), *same = letters("b", ""),
                     *more = letters("b", added), *other = letters("z", ""),
                     *blank = letters("\xe2\x96\x81"
                                      "b",
                                      "");
    check_ok(tokenizer_compare(same, policy, 3, "dir", &err));
    check_ok(tokenizer_compare(more, policy, 4, "dir", &err)); /* one knows a token more */
    check_ok(tokenizer_compare(other, policy, 1, "dir", &err));
    check_fails(tokenizer_compare(other, policy, 3, "dir", &err), ERR_USAGE,
                "dir: token 1 is \"z\" to it and \"b\" to the policy: it was trained with "
                "another tokenizer");
    check_fails(tokenizer_compare(blank, policy, 3, "dir", &err), ERR_USAGE, "token 1 is");
    tokenizer_free(policy);
    tokenizer_free(same);
    tokenizer_free(more);
    tokenizer_free(other);
    tokenizer_free(blank);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer_names_the_byte_that_is_not_utf8),
        cmocka_unit_test(tokenizer_refuses_ids_outside_the_vocabulary),
        cmocka_unit_test(tokenizer_decodes_what_it_encoded),
        cmocka_unit_test(tokenizer_never_makes_plain_text_a_special_token),
        cmocka_unit_test(tokenizers_are_compared_id_by_id),
        cmocka_unit_test(tokenizer_fuses_unknown_characters),
        cmocka_unit_test(tokenizer_finds_the_special_one_of_two_that_look_alike),
        cmocka_unit_test(tokenizer_gives_up_on_a_pattern_that_never_ends),
        cmocka_unit_test(tokenizer_merges_as_byte_pair_encoding_is_defined),
        cmocka_unit_test(tokenizer_takes_a_word_of_a_million_characters),
        cmocka_unit_test(tokenizer_refuses_a_text_that_is_too_long),
        cmocka_unit_test(utf8_replaces_maximal_subparts),
        cmocka_unit_test(utf8_reads_back_every_character),
        cmocka_unit_test(bytes_are_spelt_by_256_characters_and_read_back),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
