/*
 * test_tokenizer_malformed.c -- files that are not what they should be.
 *
 * Oracle: the promise of tokenizer.h: a sentence that names the file and the component, and
 * no crash; run with AddressSanitizer for the second half.  Each row changes one thing in a
 * file that loads, so that nothing else can be at fault.
 */
#include "tests/unit/tokenizer_files.h"

#define TOKEN(id, content)                                                                \
    "{\"id\":" #id ",\"content\":\"" content "\",\"single_word\":false,\"lstrip\":false," \
    "\"rstrip\":false,\"normalized\":false,\"special\":true}"

static const char good[] = "{\"version\":\"1.0\",\"added_tokens\":[" TOKEN(
    4, "<s>") "],\"normalizer\":null,"
              "\"pre_tokenizer\":null,\"post_processor\":null,\"decoder\":null,"
              "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
              "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"c\":3},\"merges\":[\"a b\"]}}";

struct change {
    const char *from, *to;
    const char *words; /* in the sentence, besides the path */
};

#define NORMALIZER(to, words)                                           \
    {                                                                   \
        "\"normalizer\":null", "\"normalizer\":" to, "normalizer" words \
    }
#define PRE(to, words)                                                           \
    {                                                                            \
        "\"pre_tokenizer\":null", "\"pre_tokenizer\":" to, "pre_tokenizer" words \
    }
#define POST(to, words)                                                             \
    {                                                                               \
        "\"post_processor\":null", "\"post_processor\":" to, "post_processor" words \
    }
#define DECODER(to, words)                                     \
    {                                                          \
        "\"decoder\":null", "\"decoder\":" to, "decoder" words \
    }
#define REGEX(regex, words)                                   \
    PRE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex \
        "\"},\"behavior\":\"Isolated\",\"invert\":false}",    \
        ": Split: pattern" words)

static const struct change changes[] = {
    {"\"a\":0", "\"a\":-1", "model: vocab: the id of \"a\" is not a whole number in"},
    {"\"a\":0", "\"a\":\"0\"", "model: vocab: the id of \"a\""},
    {"\"a\":0", "\"a\":0.5", "model: vocab: the id of \"a\""},
    {"\"a\":0", "\"a\":2097152", "model: vocab: the id of \"a\""},
    {"\"a\":0", "\"a\":9223372036854775807", "model: vocab: the id of \"a\""},
    {"\"a\":0", "\"a\":99999999999999999999", ""},
    {"\"a\":0", "\"a\":0,\"a\":5", "duplicate"},
    {"\"b\":1", "\"b\":0", "model: id 0 of token \"b\" is that of another token"},
    {"\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"c\":3}", "\"vocab\":[]", "model: vocab"},
    {"\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"c\":3}", "\"vocab\":{}", "model: vocab"},
    {"\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"c\":3},", "", "model: vocab"},
    {"[\"a b\"]", "5", "model: merges is not a list"},
    {",\"merges\":[\"a b\"]", "", "model: merges is not a list"},
    {"[\"a b\"]", "[\"a\"]", "model: merges[0] is neither"},
    {"[\"a b\"]", "[\"a b c\"]", "model: merges[0] is neither"},
    {"[\"a b\"]", "[\"a b\",[\"a\"]]", "model: merges[1] is neither"},
    {"[\"a b\"]", "[[\"a\",1]]", "model: merges[0] is neither"},
    {"[\"a b\"]", "[\"a x\"]", "model: merges[0]: \"x\" is not in vocab"},
    {"[\"a b\"]", "[\"b a\"]", "model: merges[0]: \"ba\" is not in vocab"},
    {"\"BPE\"", "\"Unigram\"", "model: type Unigram is not known"},
    {"\"BPE\"", "7", "model: type that is no string"},
    {"\"dropout\":null", "\"dropout\":0.1", "model: dropout is not null"},
    {"\"dropout\":null", "\"end_of_word_suffix\":\"</w>\"", "model: end_of_word_suffix"},
    {"\"dropout\":null", "\"continuing_subword_prefix\":\"##\"", "continuing_subword_prefix"},
    {"\"dropout\":null", "\"byte_fallback\":1", "byte_fallback"},
    {"\"unk_token\":null", "\"unk_token\":\"<unk>\"", "unk_token \"<unk>\" is not in vocab"},
    {"\"unk_token\":null", "\"unk_token\":3", "unk_token"},
    {"\"id\":4", "\"id\":3", "added_tokens: id 3 of \"<s>\" is that of \"c\" in vocab"},
    {"\"id\":4", "\"id\":-4", "id"},
    {"\"id\":4", "\"id\":4000000000", "id"},
    {"\"content\":\"<s>\"", "\"content\":\"c\"", "\"c\" has id 4 here and 3 in vocab"},
    {"\"content\":\"<s>\"", "\"content\":\"\"", "added_tokens[0]: content"},
    {"\"content\":\"<s>\"", "\"content\":[]", "added_tokens[0]: content"},
    {"\"special\":true", "\"special\":\"yes\"", "special"},
    {TOKEN(4, "<s>"), TOKEN(4, "<s>") "," TOKEN(4, "<t>"), "id 4 of token \"<t>\""},
    {TOKEN(4, "<s>"), TOKEN(4, "<s>") "," TOKEN(5, "<s>"), "token \"<s>\" is there twice"},
    {TOKEN(4, "<s>"), "7", "id"},
    {"[" TOKEN(4, "<s>") "]", "{}", "added_tokens is not a list"},

    NORMALIZER("5", " is not an object with a type"),
    NORMALIZER("{\"type\":\"Nmt\"}", ": Nmt: a component of type \"Nmt\" is not known"),
    NORMALIZER("{\"type\":\"Strip\"}", ": Strip"),
    NORMALIZER("{\"type\":\"Prepend\",\"prepend\":1}", ": Prepend: prepend is not a text"),
    NORMALIZER("{\"type\":\"Replace\",\"content\":\"\"}", ": Replace: pattern is neither"),
    NORMALIZER("{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}", ": Replace: content"),
    NORMALIZER("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"\"}",
               ": Repl"),
    NORMALIZER("{\"type\":\"Sequence\"}", ": Sequence: its members are not a list"),
    NORMALIZER("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"X\"}]}",
               "[1]: X: a component of type \"X\" is not known"),
    PRE("[]", " is not an object"),
    PRE("{\"type\":\"BertPreTokenizer\"}", ": BertPreTokenizer: a component"),
    PRE("{\"type\":\"Digits\"}", ": Digits"),
    PRE("{\"type\":\"ByteLevel\",\"add_prefix_space\":1}", ": ByteLevel"),
    PRE("{\"type\":\"Punctuation\",\"behavior\":\"removed\"}", ": Punctuation: behavior"),
    PRE("{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"invert\":false}", ": Split"),
    PRE("{\"type\":\"Split\",\"pattern\":\"a\",\"behavior\":\"Isolated\"}", ": Split"),
    PRE("{\"type\":\"Metaspace\",\"replacement\":\"__\"}", ": Metaspace: replacement is not"),
    PRE("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"no\"}", ": Meta"),
    POST("{\"type\":\"BertProcessing\"}", ": BertProcessing: a component"),
    POST("{\"type\":\"TemplateProcessing\"}", ": TemplateProcessing: single is not a list"),
    POST("{\"type\":\"TemplateProcessing\",\"single\":[]}", ": TemplateProcessing: single"),
    POST("{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\"}}]}",
         ": TemplateProcessing: single[0]"),
    POST("{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}}]}",
         ": TemplateProcessing: special token \"<s>\" has no ids"),
    POST("{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
         "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[77]}}}",
         ": id 77 is that of no token"),
    DECODER("{\"type\":\"WordPiece\"}", ": WordPiece: a component"),
    DECODER("{\"type\":\"Strip\",\"content\":\"\",\"start\":1,\"stop\":0}", ": Strip: content"),
    DECODER("{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}", ": Strip"),

    REGEX("(", ""),
    REGEX("[", ", byte 1: a class without its ]"),
    REGEX("[]a]", ", byte 1: a class that begins with ]"),
    REGEX("[a&&b]", ", byte 2: an intersection of classes"),
    REGEX("[a[bc]]", ", byte 2: a class in a class"),
    REGEX("[[:alpha:]]", ", byte 1: a class in a class"),
    REGEX("[\\\\W]", ", byte 2: \\W is not supported"),
    REGEX("(a)\\\\1", ", byte 4: \\1 is not supported"),
    REGEX("(?<n>a)", ", byte 0: this kind of group"),
    REGEX("(?R)", ", byte 0: this kind of group"),
    REGEX("(?C1)a", ", byte 0: this kind of group"),
    REGEX("(?x) a", ", byte 0: this kind of group"),
    REGEX("a(?i)b", ", byte 1: an option inside of a group"),
    REGEX("(*UTF8)a", ", byte 0: (*"),
    REGEX("(*LIMIT_MATCH=99999999)a", ", byte 0: (*"),
    REGEX("a{2}+", ", byte 1: an interval followed by +"),
    REGEX("a{2}?", ", byte 1: an interval followed by +"),
    REGEX("\\\\Ka", ", byte 1: \\K is not supported"),
    REGEX("\\\\Qa\\\\E", ", byte 1: \\Q is not supported"),
    REGEX("\\\\C", ", byte 1: \\C is not supported"),
    REGEX("\\\\xFF", ", byte 1: this code of a character"),
    REGEX("\\\\u12", ", byte 1: this code of a character"),
    REGEX("\\\\x{110000}", ""),
    REGEX("\\\\p{Nope}", ""),
    REGEX("\\\\pL", ", byte 1: \\p without {"),
    REGEX("\\\\", ", byte 1: a backslash at the end"),
    REGEX("*", ""),
    REGEX("((a{1,500}){1,500}){1,500}", ""),
    REGEX("(?<=a*)b", ""),
};

/* `good` with the first `from` in it made `to`. */
static char *changed(const struct change *change)
{
    const char *at = strstr(good, change->from);
    assert_non_null(at);
    const size_t size = sizeof good + strlen(change->to);
    char *text = malloc(size);
    assert_non_null(text);
    snprintf(text, size, "%.*s%s%s", (int)(at - good), good, change->to,
             at + strlen(change->from));
    return text;
}

static void tokenizer_says_what_is_wrong_with_a_file(void **state)
{
    (void)state;
    struct err why = {0};
    struct tokenizer *tokenizer = tokenizer_of(good, sizeof good - 1, &why);
    assert_non_null(tokenizer);
    tokenizer_free(tokenizer);
    for (size_t i = 0; i < COUNT(changes); i++) {
        char *text = changed(&changes[i]);
        why = (struct err){0};
        tokenizer = tokenizer_of(text, strlen(text), &why);
        if (tokenizer)
            fail_msg("loaded: %s", text);
        if (why.code != ERR_FORMAT || !strstr(why.text, changes[i].words) ||
            !strstr(why.text, "/tokenizer.json"))
            fail_msg("%s: said \"%s\", without \"%s\"", text, why.text, changes[i].words);
        free(text);
    }
}

static void tokenizer_refuses_a_file_cut_off_anywhere(void **state)
{
    (void)state;
    for (size_t n = 0; n + 1 < sizeof good; n++) {
        struct err why = {0};
        assert_null(tokenizer_of(good, n, &why));
        assert_int_equal(why.code, ERR_FORMAT);
    }
}

static void tokenizer_names_the_directory_that_has_none(void **state)
{
    (void)state;
    struct err why = {0};
    assert_null(tokenizer_load("/nonexistent", &why));
    assert_int_equal(why.code, ERR_IO);
    assert_non_null(strstr(why.text, "/nonexistent/tokenizer.json"));
}

static void tokenizer_refuses_a_pattern_nested_or_long_without_end(void **state)
{
    (void)state;
    enum { LONG = 70000, DEEP = 500 };
    char *to = calloc(1, LONG + 200);
    assert_non_null(to);
    for (int deep = 0; deep < 2; deep++) {
        char *end = to + sprintf(to, "%s",
                                 "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":"
                                 "{\"Regex\":\"");
        const size_t n = deep ? DEEP : LONG;
        memset(end, deep ? '(' : 'a', n);
        if (deep)
            memset(end + n, ')', n);
        strcpy(end + (deep ? 2 * n : n), "\"},\"behavior\":\"Isolated\",\"invert\":false}");
        char *text = changed(&(struct change){"\"pre_tokenizer\":null", to, ""});
        struct err why = {0};
        assert_null(tokenizer_of(text, strlen(text), &why));
        assert_int_not_equal(why.code, ERR_OK);
        free(text);
        memset(to, 0, LONG + 200);
    }
    free(to);
}

/* A golden with a few of its bytes changed either does not load, or works. */
static void tokenizer_survives_any_byte_of_a_file_being_another(void **state)
{
    (void)state;
    static const char *const names[] = {"llama2", "added", "deepseek", "llama3"};
    static const char alphabet[] = "0123456789abcdehmostTF<>-\\ \xC3\"{";
    size_t loaded = 0;
    uint64_t r = 1;
    for (size_t i = 0; i < 400; i++) {
        char path[FILE_PATH_MAX];
        snprintf(path, sizeof path, GOLDEN "%s/tokenizer.json", names[i % COUNT(names)]);
        struct buf file;
        buf_init(&file, 1u << 20);
        check_ok(file_read(path, &file, &err));
        for (size_t k = 0; k <= i % 2; k++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            file.data[(r >> 33) % file.len] = alphabet[(r >> 20) % (sizeof alphabet - 1)];
        }
        struct err why = {0};
        struct tokenizer *tokenizer = tokenizer_of(file.data, file.len, &why);
        buf_release(&file);
        if (!tokenizer)
            continue;
        struct tokens got = {0};
        const char text[] = "The quick 12 brown\n\n  fox's <s>\xF0\x9F\x99\x82 <|eot_id|>";
        check_ok(tokenizer_encode(tokenizer, text, sizeof text - 1, true, &got, &err));
        assert_true(got.n > 0);
        loaded++;
        tokens_release(&got);
        tokenizer_free(tokenizer);
    }
    assert_true(loaded > 20); /* the changes are small enough to get behind the parser */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer_says_what_is_wrong_with_a_file),
        cmocka_unit_test(tokenizer_refuses_a_file_cut_off_anywhere),
        cmocka_unit_test(tokenizer_names_the_directory_that_has_none),
        cmocka_unit_test(tokenizer_refuses_a_pattern_nested_or_long_without_end),
        cmocka_unit_test(tokenizer_survives_any_byte_of_a_file_being_another),
    };
    return cmocka_run_group_tests_name("tokenizer_malformed", tests, NULL, NULL);
}
