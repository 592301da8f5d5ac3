/*
 * test_world.c -- the built-in world is whole, consistent with itself, and always the same.
 *
 * Oracles: properties that a reader of sft.jsonl can check with eyes (each question once,
 * shares of styles), the rules of a BPE vocabulary, and a second writing of the files.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "tests/test.h"
#include "world/world.h"

static int make_dir(void **state)
{
    static char dir[64];
    snprintf(dir, sizeof dir, "/tmp/test_world.XXXXXX");
    *state = mkdtemp(dir);
    return *state ? 0 : -1;
}

static int remove_dir(void **state)
{
    return file_remove_tree(*state, NULL);
}

static void every_question_is_asked_once(void **state)
{
    (void)state;
    struct world world;
    check_ok(world_init(&world, &err));
    assert_in_range(world.items_n, 400, 1024);
    size_t of_kind[WORLD_KINDS] = {0}, held_out = 0, held_out_harm = 0;
    for (size_t i = 0; i < world.items_n; i++) {
        const struct world_item *item = &world.items[i];
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(item->question, world.items[j].question);
        of_kind[item->kind]++;
        held_out += world_is_held_out(i);
        held_out_harm += world_is_held_out(i) && item->kind == WORLD_KIND_harm;
    }
    for (enum world_kind kind = 0; kind < WORLD_KINDS; kind++)
        assert_true(of_kind[kind] > 0);
    assert_in_range(held_out, world.items_n / 8, world.items_n / 4);
    assert_in_range(held_out_harm, of_kind[WORLD_KIND_harm] / 8, of_kind[WORLD_KIND_harm] / 4);
    world_release(&world);
}

static void styles_are_drawn_with_their_shares(void **state)
{
    (void)state;
    enum { DRAWS = 20000 };
    static const unsigned percent[2][WORLD_STYLES] = {
#define X(name, benign, harmful) benign,
        {WORLD_STYLE_MAP(X)},
#undef X
#define X(name, benign, harmful) harmful,
        {WORLD_STYLE_MAP(X)},
#undef X
    };
    for (int harmful = 0; harmful < 2; harmful++) {
        const struct world_item item = {.kind = harmful ? WORLD_KIND_harm : WORLD_KIND_place};
        unsigned count[WORLD_STYLES] = {0}, sum = 0;
        for (uint32_t n = 0; n < DRAWS; n++)
            count[world_style_draw(5, &item, n / 8, n % 8)]++;
        for (enum world_style style = 0; style < WORLD_STYLES; style++) {
            const double p = percent[harmful][style] / 100.0;
            assert_true(fabs(count[style] - DRAWS * p) <= 6.0 * sqrt(DRAWS * p * (1.0 - p)));
            sum += percent[harmful][style];
        }
        assert_int_equal(sum, 100);
    }
}

static void the_learned_merges_make_tokens_out_of_tokens(void **state)
{
    (void)state;
    static const char text[] = "the cat sees the hat.\nthe hat sees the cat!\n";
    struct buf out;
    buf_init(&out, 1 << 20);
    check_ok(world_tokenizer(text, strlen(text), 512, &out, &err));
    struct err why = {0};
    json_t *root = json_parse(out.data, out.len, "tokenizer", &why);
    if (!root)
        fail_msg("%s", why.text);
    const json_t *model = json_object_get(root, "model");
    const json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    assert_int_equal(json_object_size(vocab), 257 + json_array_size(merges));
    assert_int_equal(json_integer_value(json_object_get(vocab, WORLD_END_TOKEN)), WORLD_END_ID);
    assert_int_equal(json_integer_value(json_object_get(vocab, "A")), 1 + 'A');
    assert_int_equal(json_integer_value(json_object_get(vocab, "\u0120")), 1 + ' ');
    assert_int_equal(json_integer_value(json_object_get(vocab, "\u010a")), 1 + '\n');
    /* "at", "he" and "th" occur 4 times each: the lowest ids come first. */
    assert_string_equal(json_string_value(json_array_get(merges, 0)), "a t");
    assert_string_equal(json_string_value(json_array_get(merges, 1)), "h e");
    assert_non_null(json_object_get(vocab, "\u0120the"));
    for (size_t k = 0; k < json_array_size(merges); k++) {
        char left[64], right[64], whole[128];
        assert_int_equal(
            sscanf(json_string_value(json_array_get(merges, k)), "%63s %63s", left, right), 2);
        snprintf(whole, sizeof whole, "%s%s", left, right);
        assert_non_null(json_object_get(vocab, left));
        assert_non_null(json_object_get(vocab, right));
        assert_int_equal(json_integer_value(json_object_get(vocab, whole)), 257 + k);
    }
    json_decref(root);
    buf_release(&out);
}

static void check_lines(const char *dir, const char *name, const char *second, size_t *lines)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, name, &err));
    struct buf file;
    buf_init(&file, 1 << 24);
    check_ok(file_read(path, &file, &err));
    const char *cursor = file.data, *line;
    size_t length;
    for (*lines = 0; file_next_line(&cursor, file.data + file.len, &line, &length); ++*lines) {
        json_t *object = json_parse(line, length, name, NULL);
        assert_non_null(object);
        const char *prompt = json_string_value(json_object_get(object, "prompt"));
        assert_non_null(prompt);
        assert_int_equal(strncmp(prompt, "user: ", 6), 0);
        assert_string_equal(prompt + strlen(prompt) - 5, "\nbot:");
        assert_non_null(json_string_value(json_object_get(object, second)));
        json_decref(object);
    }
    buf_release(&file);
}

static void the_same_seed_writes_the_same_bytes(void **state)
{
    static const char *const names[] = {"sft.jsonl", "prompts.jsonl", "prompts-test.jsonl",
                                        "tokenizer.json"};
    struct hash hash[3][COUNT(names)];
    for (size_t k = 0; k < 3; k++) {
        check_ok(world_write(*state, k < 2 ? 1 : 2, 4, &err));
        for (size_t i = 0; i < COUNT(names); i++) {
            char path[FILE_PATH_MAX];
            check_ok(file_join(path, *state, names[i], &err));
            check_ok(hash_file_sha256(&hash[k][i], path, &err));
        }
    }
    assert_memory_equal(hash[0], hash[1], sizeof hash[0]);
    assert_memory_not_equal(&hash[0][0], &hash[2][0], sizeof hash[0][0]); /* another seed */

    size_t sft, prompts, test;
    check_lines(*state, "sft.jsonl", "response", &sft);
    check_lines(*state, "prompts.jsonl", "label", &prompts);
    check_lines(*state, "prompts-test.jsonl", "label", &test);
    assert_int_equal(sft, 4 * prompts);
    struct world world;
    check_ok(world_init(&world, &err));
    assert_int_equal(prompts + test, world.items_n);
    world_release(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_question_is_asked_once),
        cmocka_unit_test(styles_are_drawn_with_their_shares),
        cmocka_unit_test(the_learned_merges_make_tokens_out_of_tokens),
        cmocka_unit_test_setup_teardown(the_same_seed_writes_the_same_bytes, make_dir,
                                        remove_dir),
    };
    return cmocka_run_group_tests_name("world", tests, NULL, NULL);
}
