/*
 * test_data_encode.c -- records as token ids.
 *
 * Oracles: the published HH-RLHF transcripts themselves, which must come back byte for byte
 * from the ids of the template hh; for other templates the conversation written out by hand
 * and encoded as one text with its markers.
 */
#include "base/json.h"
#include "data/encode.h"
#include "data/lines.h"
#include "tests/unit/data_files.h"
#include "tests/unit/tokenizer_files.h"

#define HH TEST_SOURCE_DIR "/tests/golden/data/hh.jsonl.gz"

static void check_sequence_decodes_to(const struct tokenizer *tokenizer,
                                      const struct encoded *got, size_t answer,
                                      const char *want)
{
    /* Llama 2's normalizer puts its blank before a text, but not before none. */
    const size_t n = strlen(want);
    const bool lost = n > 0 && want[n - 1] == ' ' &&
                      got->first == got->offset[answer + 1] - got->offset[answer];
    struct buf text;
    buf_init(&text, 1u << 20);
    check_ok(tokenizer_decode(tokenizer, got->ids.ids + got->offset[answer],
                              got->offset[answer + 1] - got->offset[answer], true, &text,
                              &err));
    if (lost)
        buf_putc(&text, ' ');
    assert_string_equal(text.data, want);
    buf_release(&text);
}

static void hh_transcripts_come_back_byte_for_byte(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "llama3", "qwen2", "llama2"};
    const struct reader_options options = {.format = FORMAT_hh};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct tokenizer *tokenizer = golden_tokenizer(names[i]);
        const struct encode how = {
            .tokenizer = tokenizer, .chat = CHAT_hh, .tokens_max = SIZE_MAX};
        struct encoded got = {0};
        struct reader *reader = reader_open(HH, &options, NULL);
        struct lines lines;
        check_ok(lines_open(&lines, HH, &err));
        const struct data_record *r;
        size_t n = 0;
        for (;; n++) {
            json_t *object;
            check_ok(reader_next(reader, &r, &err));
            check_ok(lines_next_object(&lines, &object, &err));
            if (!r)
                break;
            check_ok(encode_record(&how, r, ENCODE_ALL, &got, &err));
            check_sequence_decodes_to(tokenizer, &got, 0,
                                      json_string_value(json_object_get(object, "chosen")));
            check_sequence_decodes_to(tokenizer, &got, 1,
                                      json_string_value(json_object_get(object, "rejected")));
            json_decref(object);
        }
        assert_int_equal(n, 72);
        lines_close(&lines);
        reader_close(reader);
        encoded_release(&got);
        tokenizer_free(tokenizer);
    }
}

static const struct data_turn ask[] = {
    {DATA_ROLE_SYSTEM, {"S", 1}},        {DATA_ROLE_USER, {" one ", 5}},
    {DATA_ROLE_ASSISTANT, {" two ", 5}}, {DATA_ROLE_USER, {"three", 5}},
    {DATA_ROLE_ASSISTANT, {"four", 4}},  {DATA_ROLE_USER, {"five", 4}}};
static const struct data_turn tell[] = {{DATA_ROLE_ASSISTANT, {" six ", 5}},
                                        {DATA_ROLE_USER, {" seven ", 7}},
                                        {DATA_ROLE_ASSISTANT, {" eight ", 7}}};

/* Answers: the three turns, the first of them, nothing said. */
static struct data_record *conversation(void)
{
    static struct data_record r;
    static const struct data_turn silence = {DATA_ROLE_ASSISTANT, {"", 0}};
    r = (struct data_record){.where = "F:7", .turn = ask, .turns = COUNT(ask), .answers = 3};
    r.answer[0] = (struct data_answer){.turn = tell, .turns = 3};
    r.answer[1] = (struct data_answer){.turn = tell, .turns = 1};
    r.answer[2] = (struct data_answer){.turn = &silence, .turns = 1};
    return &r;
}

static void check_answer(const struct encoded *got, size_t answer, const struct tokens *want)
{
    const size_t n = got->offset[answer + 1] - got->offset[answer];
    const struct tokens have = {.ids = got->ids.ids + got->offset[answer], .n = n};
    check_same_ids(&have, want, "an answer");
}

/* Prompt and answer, each written out and encoded on its own: the answer is what a model that
 * was given the prompt would say next. */
static void check_written_out(const char *name, enum chat_template chat, const char *prompt,
                              const char *const answer[3])
{
    struct tokenizer *tokenizer = golden_tokenizer(name);
    const struct encode how = {
        .tokenizer = tokenizer, .chat = chat, .end = true, .tokens_max = SIZE_MAX};
    struct encoded got = {0};
    check_ok(encode_record(&how, conversation(), ENCODE_ALL, &got, &err));
    assert_int_equal(got.answers, 3);
    for (size_t i = 0; i < 3; i++) {
        struct tokens want = ids_of(tokenizer, prompt, false);
        assert_int_equal(got.first, want.n);
        check_ok(tokenizer_encode(tokenizer, answer[i], strlen(answer[i]), false, &want, &err));
        check_answer(&got, i, &want);
        tokens_release(&want);
    }
    encoded_release(&got);
    tokenizer_free(tokenizer);
}

static void answers_go_on_from_the_prompt_and_end_with_the_end_token(void **state)
{
    (void)state;
    check_written_out(
        "qwen2", CHAT_chatml,
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n one <|im_end|>\n"
        "<|im_start|>assistant\n two <|im_end|>\n<|im_start|>user\nthree<|im_end|>\n"
        "<|im_start|>assistant\nfour<|im_end|>\n<|im_start|>user\nfive<|im_end|>\n"
        "<|im_start|>assistant\n",
        (const char *const[]){" six <|im_end|>\n<|im_start|>user\n seven <|im_end|>\n"
                              "<|im_start|>assistant\n eight <|im_end|>",
                              " six <|im_end|>", "<|im_end|>"});
#define TURN(role, text) "<|start_header_id|>" role "<|end_header_id|>\n\n" text "<|eot_id|>"
    check_written_out(
        "llama3", CHAT_llama3,
        "<|begin_of_text|>" TURN("system", "S") TURN("user", "one") TURN("assistant", "two")
            TURN("user", "three") TURN("assistant", "four")
                TURN("user", "five") "<|start_header_id|>assistant<|end_header_id|>\n\n",
        (const char *const[]){" six <|eot_id|>" TURN("user", "seven")
                                  TURN("assistant", " eight "),
                              " six <|eot_id|>", "<|eot_id|>"});
}

static void only_the_answers_asked_for_are_encoded(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = golden_tokenizer("qwen2");
    const struct encode how = {.tokenizer = tokenizer, .chat = CHAT_chatml, .tokens_max = 500};
    struct encoded all = {0}, one = {0};
    check_ok(encode_record(&how, conversation(), ENCODE_ALL, &all, &err));
    check_ok(encode_record(&how, conversation(), 1 << 1, &one, &err));
    assert_int_equal(one.offset[1], 0);
    assert_int_equal(one.offset[3], one.offset[2]);
    const struct tokens want = {.ids = all.ids.ids + all.offset[1],
                                .n = all.offset[2] - all.offset[1]};
    check_answer(&one, 1, &want);
    encoded_release(&all);
    encoded_release(&one);
    tokenizer_free(tokenizer);
}

/* The prompt that encode_record made is that of the turns from `from` on, and the system's. */
static void check_cut(const struct encode *how, size_t tokens_max, size_t from)
{
    struct encode cut = *how;
    cut.cut = true;
    cut.tokens_max = tokens_max;
    struct encoded got = {0};
    check_ok(encode_record(&cut, conversation(), ENCODE_ALL, &got, &err));
    assert_int_equal(got.turns_cut, from - 1);
    struct chat_turn turns[COUNT(ask)];
    size_t n = 0;
    for (size_t i = 0; i < COUNT(ask); i++)
        if (i == 0 || i >= from)
            turns[n++] = (struct chat_turn){data_role_name(ask[i].role), ask[i].text.data};
    struct tokens want = {0};
    check_ok(chat_encode(how->chat, how->tokenizer, turns, n, &want, &err));
    assert_int_equal(got.first, want.n);
    for (size_t i = 0; i < 3; i++) {
        const struct tokens have = {.ids = got.ids.ids + got.offset[i], .n = got.first};
        check_same_ids(&have, &want, "a cut prompt");
        assert_true(got.offset[i + 1] - got.offset[i] <= tokens_max);
    }
    tokens_release(&want);
    encoded_release(&got);
}

static void prompts_too_long_lose_their_oldest_turns(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = golden_tokenizer("qwen2");
    struct encode how = {
        .tokenizer = tokenizer, .chat = CHAT_chatml, .end = true, .tokens_max = SIZE_MAX};
    struct encoded whole = {0}, part = {0};
    check_ok(encode_record(&how, conversation(), ENCODE_ALL, &whole, &err));
    const size_t longest = whole.offset[1];
    check_cut(&how, longest, 1);
    check_cut(&how, longest - 1, 3); /* a turn of the user comes first */
    /* The prompt without its first two turns is shorter by these. */
    struct chat_turn two[] = {{"user", " one "}, {"assistant", " two "}};
    struct tokens pair = {0}, none = {0};
    check_ok(chat_encode(CHAT_chatml, tokenizer, two, 2, &pair, &err));
    check_ok(chat_encode(CHAT_chatml, tokenizer, two, 0, &none, &err));
    const size_t fits = longest - (pair.n - none.n);
    check_cut(&how, fits, 3);
    check_cut(&how, fits - 1, 5);

    how.tokens_max = longest - 1;
    char words[96];
    snprintf(words, sizeof words, "F:7: %zu tokens; at most %zu fit", longest, longest - 1);
    check_fails(encode_record(&how, conversation(), ENCODE_ALL, &part, &err), ERR_VALUE, words);
    assert_int_equal(part.bad, DATA_BAD_LENGTH);
    check_ok(encode_record(&how, conversation(), 1 << 2, &part, &err)); /* the shorter fits */
    how.cut = true;
    how.tokens_max = 20;
    check_fails(encode_record(&how, conversation(), ENCODE_ALL, &part, &err), ERR_VALUE,
                "without the turns before the last; at most 20 fit");
    tokens_release(&pair);
    tokens_release(&none);
    encoded_release(&whole);
    encoded_release(&part);
    tokenizer_free(tokenizer);
}

static void texts_and_ids_have_no_prompt(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = golden_tokenizer("llama2");
    const struct model_config config = {.V = 400, .T = 6, .eos = 2};
    struct encode how = {
        .config = &config, .tokenizer = tokenizer, .end = true, .tokens_max = 100};
    static const struct data_turn text = {DATA_ROLE_ASSISTANT, {"Hi", 2}};
    static struct data_record r = {.where = "F:7", .answers = 1};
    r.answer[0] = (struct data_answer){.turn = &text, .turns = 1};
    struct encoded got = {0};
    struct tokens want = ids_of(tokenizer, "Hi", true);
    struct model_config wide = config;
    wide.V = tokenizer_vocabulary(tokenizer);
    how.config = &wide;
    check_ok(encode_record(&how, &r, ENCODE_ALL, &got, &err));
    assert_int_equal(got.first, 0);
    assert_int_equal(got.ids.n, want.n + 1);
    assert_int_equal(got.ids.ids[want.n], 2);
    how.config = &config;

    const int32_t ids[] = {5, 399, 7, 8, 9, 10, 11};
    struct data_record raw = {.where = "F:8", .ids = ids, .ids_n = 6};
    check_ok(encode_record(&how, &raw, ENCODE_ALL, &got, &err));
    assert_int_equal(got.answers, 1);
    assert_int_equal(got.offset[1], 6); /* no end is put behind ids */
    raw.ids_n = 7;
    check_fails(encode_record(&how, &raw, ENCODE_ALL, &got, &err), ERR_VALUE,
                "F:8: 7 tokens; at most 6 fit"); /* the model's T */
    const int32_t outside[] = {5, 400};
    raw = (struct data_record){.where = "F:8", .ids = outside, .ids_n = 2};
    check_fails(encode_record(&how, &raw, ENCODE_ALL, &got, &err), ERR_VALUE,
                "F:8: token 1 is 400, outside the vocabulary of 400");
    assert_int_equal(got.bad, DATA_BAD_TOKENS);
    how.tokenizer = NULL;
    check_fails(encode_record(&how, &r, ENCODE_ALL, &got, &err), ERR_FORMAT,
                "F:7: no \"ids\", and no tokenizer for text");
    tokens_release(&want);
    encoded_release(&got);
    tokenizer_free(tokenizer);
}

static void what_a_template_cannot_write_is_named(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = golden_tokenizer("qwen2");
    struct encode how = {.tokenizer = tokenizer, .chat = CHAT_hh, .tokens_max = 500};
    struct encoded got = {0};
    check_fails(encode_record(&how, conversation(), ENCODE_ALL, &got, &err), ERR_VALUE,
                "F:7: chat template hh has no role \"system\", only user and assistant");
    how.chat = CHAT_llama3;
    check_fails(encode_record(&how, conversation(), ENCODE_ALL, &got, &err), ERR_VALUE,
                "F:7: chat template llama3: the tokenizer has no token <|eot_id|>");
    struct data_record r = {.where = "F:9", .turn = ask, .turns = COUNT(ask)};
    check_fails(encode_record(&how, &r, ENCODE_ALL, &got, &err), ERR_FORMAT,
                "F:9: there is a prompt, but no answer");
    how.chat = CHAT_plain;
    how.end = true;
    check_fails(encode_record(&how, conversation(), ENCODE_ALL, &got, &err), ERR_VALUE,
                "F:7: the model names no eos token to end it with");
    encoded_release(&got);
    tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hh_transcripts_come_back_byte_for_byte),
        cmocka_unit_test(answers_go_on_from_the_prompt_and_end_with_the_end_token),
        cmocka_unit_test(only_the_answers_asked_for_are_encoded),
        cmocka_unit_test(prompts_too_long_lose_their_oldest_turns),
        cmocka_unit_test(texts_and_ids_have_no_prompt),
        cmocka_unit_test(what_a_template_cannot_write_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
