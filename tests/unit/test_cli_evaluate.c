/*
 * test_cli_evaluate.c -- `rlhf evaluate`: answers, scores, means and win rates.
 *
 * Oracles: scores recomputed by their definition from the texts it printed; means, standard
 * errors and win rates by the textbook formulas from the lines it wrote; the answers and the KL
 * of prompt 0 by `rlhf generate` and `rlhf score`, which share none of its code.
 */
#include <jansson.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/rng.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "tests/unit/cli_run.h"

#define DEMO  TEST_SOURCE_DIR "/tests/fixture/model"
#define LINES 512 /* most a test reads */

static char dir[] = "/tmp/rlhf-evaluate-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, name, &err));
    check_ok(file_write(path, text, strlen(text), &err));
}

static void read_whole(const char *name, struct buf *out)
{
    char path[FILE_PATH_MAX];
    buf_init(out, (size_t)1 << 26);
    check_ok(file_join(path, dir, name, &err));
    check_ok(file_read(path, out, &err));
}

static void save_model(struct model *model, const char *name)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, name, &err));
    check_ok(file_make_dir(path, &err));
    check_ok(model_save(model, path, &err));
    model_free(model);
}

/* dir/other: the small model of tests/fixture, its weights shaken; dir/reward: a reward model
 * that takes 18 tokens at most, so that some answers to a prompt have a score and others have
 * none. */
static void write_models(void)
{
    struct buf bytes;
    struct err why = {0};
    struct model *model = model_load(DEMO, &why);
    if (!model)
        fail_msg("%s", why.text);
    for (size_t i = 0; i < model_bytes(model) / sizeof *model->w; i++)
        model->w[i] += 0.02f * (float)rng_normal(1, RNG_STREAM_INIT, 0, 0, (uint32_t)i);
    save_model(model, "other");
    if (!(model = model_load_with_score_head(DEMO, 1, &why)))
        fail_msg("%s", why.text);
    model_init_random(model, 2, 0.3f);
    model->config.T = 18;
    save_model(model, "reward");
    buf_init(&bytes, (size_t)1 << 26);
    check_ok(file_read(DEMO "/tokenizer.json", &bytes, &err));
    write_file("other/tokenizer.json", bytes.data);
    buf_release(&bytes);
}

static int make_scene(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    write_models();
    write_file("prompts.jsonl", "{\"prompt\": \"user: what colour is the frog?\\nbot:\"}\n"
                                "{\"prompt\": \"user: what comes before five?\\nbot:\", "
                                "\"label\": \"four.\"}\n"
                                "\n"
                                "{\"prompt\": \"user: sing me a song!\\nbot:\"}\n"
                                "{\"prompt\": \"user: is the dog black?\\nbot:\", "
                                "\"kind\": \"dog\"}\n"
                                "{\"prompt\": \"user: hello!\\nbot:\"}\n");
    write_file("run.yaml", "run: {dir: run, steps: 5}\n"
                           "model: {policy: " DEMO "}\n"
                           "data: {prompts: prompts.jsonl, prompt_tokens_max: 32}\n"
                           "sampling: {max_new_tokens: 24}\n"
                           "reward:\n  scorers:\n"
                           "    - {name: the, kind: regex, pattern: the}\n"
                           "    - {name: short, kind: length, max_tokens: 4}\n"
                           "    - {name: truth, kind: gold, role: monitor}\n"
                           "    - {name: label, kind: match, role: monitor}\n"
                           "    - {name: model, kind: model, path: reward, role: monitor}\n");
    return 0;
}

static int remove_scene(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

/* Evaluate dir/other; the JSON result. */
static json_t *evaluate(const char *options)
{
    char line[1024];
    snprintf(line, sizeof line,
             "rlhf evaluate --config %s/run.yaml --model %s/other --json --out %s/lines %s",
             dir, dir, dir, options);
    if (run_line(cli_main, line) != 0)
        fail_msg("`%s` said:\n%s", line, said);
    json_t *result = json_loads(said, 0, NULL);
    assert_non_null(result);
    return result;
}

static size_t read_lines(json_t *line[LINES])
{
    struct buf text;
    const char *cursor, *at;
    size_t n = 0, len;
    read_whole("lines", &text);
    for (cursor = text.data; file_next_line(&cursor, text.data + text.len, &at, &len); n++) {
        assert_true(n < LINES);
        assert_non_null(line[n] = json_loadb(at, len, 0, NULL));
    }
    buf_release(&text);
    return n;
}

static void free_lines(json_t **line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_decref(line[i]);
}

static double number(const json_t *object, const char *a, const char *b, const char *c)
{
    const json_t *at = json_object_get(object, a);
    at = b ? json_object_get(at, b) : at;
    at = c ? json_object_get(at, c) : at;
    return json_is_number(at) ? json_number_value(at) : NAN;
}

static void check_number(const char *what, double got, double want)
{
    if (isnan(got) != isnan(want) || fabs(got - want) > 1e-12 * (1 + fabs(want)))
        fail_msg("%s is %.17g, want %.17g", what, got, want);
}

/* The mean over prompts of their samples' mean, and its standard error; NAN is left out. */
static void check_mean(const json_t *got, const double *x, size_t prompts, size_t samples)
{
    double of[LINES], sum = 0, squares = 0;
    size_t n = 0;
    for (size_t p = 0; p < prompts; p++) {
        double total = 0, there = 0;
        for (size_t k = 0; k < samples; k++) {
            if (!isnan(x[p * samples + k])) {
                total += x[p * samples + k];
                there += 1;
            }
        }
        if (there > 0)
            of[n++] = total / there;
    }
    for (size_t i = 0; i < n; i++)
        sum += of[i];
    const double mean = n > 0 ? sum / (double)n : NAN;
    for (size_t i = 0; i < n; i++)
        squares += (of[i] - mean) * (of[i] - mean);
    assert_int_equal(json_integer_value(json_object_get(got, "n")), n);
    check_number("mean", number(got, "mean", NULL, NULL), mean);
    check_number("error", number(got, "error", NULL, NULL),
                 n < 2 ? NAN : sqrt(squares / (double)(n - 1)) / sqrt((double)n));
}

static void scores_are_those_of_the_texts_it_printed(void **state)
{
    (void)state;
    json_t *line[LINES], *result = evaluate("--samples 60 --seed 3");
    const size_t n = read_lines(line);
    size_t with = 0, truncated = 0;
    double the[LINES] = {0}, tokens[LINES] = {0}, cut[LINES] = {0};
    assert_int_equal(n, 5 * 60);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(json_integer_value(json_object_get(line[i], "prompt_index")), i / 60);
        assert_int_equal(json_integer_value(json_object_get(line[i], "sample")), i % 60);
        const char *text = json_string_value(json_object_get(line[i], "response"));
        tokens[i] = number(line[i], "tokens", NULL, NULL);
        the[i] = strstr(text, "the") ? 1 : 0;
        cut[i] = strcmp(json_string_value(json_object_get(line[i], "finish")), "length") == 0;
        with += the[i] == 1;
        truncated += cut[i] == 1;
        check_number("the", number(line[i], "scores", "the", NULL), the[i]);
        if (tokens[i] <= 4)
            check_number("short", number(line[i], "scores", "short", NULL), 1);
        else
            assert_true(number(line[i], "scores", "short", NULL) < 1);
    }
    assert_true(with > 10 && with < n - 10); /* or the oracle saw one side alone */
    assert_true(truncated > 0 && truncated < n);
    const json_t *model = json_object_get(result, "model");
    check_mean(json_object_get(json_object_get(model, "scores"), "the"), the, 5, 60);
    check_mean(json_object_get(model, "tokens"), tokens, 5, 60);
    check_mean(json_object_get(model, "truncated"), cut, 5, 60);
    free_lines(line, n);
    json_decref(result);
}

static void a_win_is_a_greater_score_for_the_same_prompt_and_sample(void **state)
{
    (void)state;
    static const char *const names[] = {"the", "short", "truth"};
    json_t *line[LINES], *result = evaluate("--samples 16 --against " DEMO);
    const size_t n = read_lines(line);
    for (size_t s = 0; s < COUNT(names); s++) {
        double win[LINES], theirs[LINES], wins = 0, ties = 0;
        for (size_t i = 0; i < n; i++) {
            const double a = number(line[i], "scores", names[s], NULL);
            const double b = theirs[i] = number(line[i], "against", "scores", names[s]);
            win[i] = isnan(a) || isnan(b) ? NAN : a > b ? 1 : a == b ? 0.5 : 0;
            wins += win[i] == 1;
            ties += win[i] == 0.5;
        }
        assert_true(wins > 0 && ties > 0);
        check_mean(json_object_get(json_object_get(result, "win_rate"), names[s]), win, 5, 16);
        check_mean(json_object_get(
                       json_object_get(json_object_get(result, "against"), "scores"), names[s]),
                   theirs, 5, 16);
    }
    free_lines(line, n);
    json_decref(result);
}

static void a_label_is_that_of_the_line_with_the_prompt(void **state)
{
    (void)state;
    json_t *line[LINES], *result = evaluate("--samples 30 --against " DEMO);
    const size_t n = read_lines(line);
    size_t right = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *theirs = json_object_get(line[i], "against");
        const char *text = json_string_value(json_object_get(theirs, "response"));
        const bool labelled = i / 30 == 1, same = strcmp(text, " four.") == 0;
        check_number("label", number(theirs, "scores", "label", NULL), labelled ? same : NAN);
        right += labelled && same;
    }
    assert_true(right > 0 && right < 30);
    free_lines(line, n);
    json_decref(result);
}

/* Line 4 alone is about a dog: the scorer's mean is its, and the others' scores are not missing. */
static void a_scorer_of_a_kind_is_asked_about_its_prompts_alone(void **state)
{
    (void)state;
    json_t *line[LINES], *all = evaluate("--samples 20"), *result;
    const size_t n = read_lines(line);
    double want[LINES];
    for (size_t i = 0; i < n; i++)
        want[i] = i / 20 == 3 ? number(line[i], "scores", "short", NULL) : NAN;
    free_lines(line, n);
    result = evaluate("--samples 20 reward.scorers.1.prompt_kind=dog");
    assert_int_equal(read_lines(line), n);
    for (size_t i = 0; i < n; i++)
        check_number("short", number(line[i], "scores", "short", NULL), want[i]);
    const json_t *model = json_object_get(result, "model");
    check_mean(json_object_get(json_object_get(model, "scores"), "short"), want, 5, 20);
    check_number("missing", number(model, "missing", "short", NULL), 0);
    assert_true(json_equal(
        json_object_get(json_object_get(model, "scores"), "the"),
        json_object_get(json_object_get(json_object_get(all, "model"), "scores"), "the")));
    free_lines(line, n);
    json_decref(result);
    json_decref(all);
}

/* "sing me a song!" is no question of the world; dir/reward takes no long answers. */
static void a_score_that_cannot_be_had_is_missing_not_0(void **state)
{
    (void)state;
    static const char *const names[] = {"truth", "model"};
    json_t *line[LINES], *result = evaluate("--samples 12 --against " DEMO);
    const json_t *model = json_object_get(result, "model");
    const size_t n = read_lines(line);
    for (size_t s = 0; s < COUNT(names); s++) {
        double score[LINES] = {0};
        size_t missing = 0, theirs = 0;
        for (size_t i = 0; i < n; i++) {
            const json_t *scores = json_object_get(line[i], "scores");
            score[i] = number(line[i], "scores", names[s], NULL);
            assert_true(isnan(score[i]) == json_is_null(json_object_get(scores, names[s])));
            missing += isnan(score[i]) ? 1 : 0;
            theirs += isnan(number(line[i], "against", "scores", names[s])) ? 1 : 0;
        }
        assert_true(missing >= 12 && missing < n);
        assert_true(s == 0 || missing != theirs);
        check_number(names[s], number(model, "missing", names[s], NULL), (double)missing);
        check_number(names[s], number(result, "against", "missing", names[s]), (double)theirs);
        check_mean(json_object_get(json_object_get(model, "scores"), names[s]), score, 5, 12);
    }
    assert_int_equal(number(model, "missing", "the", NULL), 0);
    free_lines(line, n);
    json_decref(result);
}

static void a_prompt_that_stands_twice_has_other_answers_each_time(void **state)
{
    (void)state;
    static const char text[] = "{\"prompt\": \"user: hello!\\nbot:\"}\n";
    char twice[sizeof text * 2], options[256];
    snprintf(twice, sizeof twice, "%s%s", text, text);
    write_file("twice.jsonl", twice);
    snprintf(options, sizeof options, "--samples 8 --prompts %s/twice.jsonl", dir);
    json_t *line[LINES], *result = evaluate(options);
    const size_t n = read_lines(line);
    size_t same = 0;
    assert_int_equal(n, 16);
    for (size_t k = 0; k < 8; k++)
        same += (size_t)json_equal(json_object_get(line[k], "response"),
                                   json_object_get(line[8 + k], "response"));
    assert_true(same < 8);
    free_lines(line, n);
    json_decref(result);
}

/* ids of prompt 0, then what `rlhf generate` answers it; the count of the former. */
static json_t *generate_ids(json_t *answer, size_t *prompt_tokens)
{
    struct err why = {0};
    struct tokenizer *tokenizer = tokenizer_load(DEMO, &why);
    struct tokens prompt = {0};
    static const char text[] = "user: what colour is the frog?\nbot:";
    assert_non_null(tokenizer);
    check_ok(tokenizer_encode(tokenizer, text, strlen(text), true, &prompt, &err));
    json_t *ids = json_array();
    for (size_t i = 0; i < prompt.n; i++)
        json_array_append_new(ids, json_integer(prompt.ids[i]));
    *prompt_tokens = prompt.n;
    json_array_extend(ids, json_object_get(answer, "ids"));
    tokens_release(&prompt);
    tokenizer_free(tokenizer);
    return ids;
}

static void kl_is_the_log_prob_less_that_of_the_reference(void **state)
{
    (void)state;
    json_t *line[LINES],
        *result = evaluate(
            "--limit 1 --samples 12 --seed 9 sampling.temperature=1.5 sampling.top_k=3 "
            "sampling.stop=[is]");
    char command[1024];
    snprintf(command, sizeof command,
             "rlhf generate --model %s/other --seed 9 --max-new-tokens 24 --samples 12 --json "
             "--temperature 1.5 --top-k 3 --stop is "
             "--prompt user:~what~colour~is~the~frog?\nbot:",
             dir);
    const size_t n = read_lines(line);
    assert_int_equal(n, 12);
    assert_int_equal(run_line(cli_main, command), 0);
    const char *at = said;
    json_t *answer[12];
    for (size_t i = 0; i < n; i++, at = strchr(at, '\n') + 1)
        assert_non_null(answer[i] = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL));
    for (size_t i = 0; i < n; i++) {
        const json_t *mine = json_object_get(answer[i], "logprobs");
        assert_string_equal(json_string_value(json_object_get(line[i], "response")),
                            json_string_value(json_object_get(answer[i], "text")));
        assert_string_equal(json_string_value(json_object_get(line[i], "finish")),
                            json_string_value(json_object_get(answer[i], "finish")));
        size_t prompt_tokens;
        json_t *ids = generate_ids(answer[i], &prompt_tokens);
        char *text = json_dumps(ids, 0), input[4096];
        snprintf(input, sizeof input, "{\"ids\": %s}\n", text);
        check_input(cli_main, "rlhf score --model " DEMO " --json --temperature 1.5 --ids -",
                    input, 0, "logprobs");
        json_t *scored = json_loads(said, JSON_DISABLE_EOF_CHECK, NULL);
        const json_t *theirs = json_object_get(scored, "logprobs"); /* of tokens 1, 2, ... */
        double kl = 0;
        for (size_t t = 0; t < json_array_size(mine); t++)
            kl += json_number_value(json_array_get(mine, t)) -
                  json_number_value(json_array_get(theirs, prompt_tokens - 1 + t));
        const double got = number(line[i], "kl", NULL, NULL);
        if (fabs(got - kl) > 1e-6 * (1 + fabs(kl))) /* printed with 9 digits */
            fail_msg("KL of answer %zu is %.9g, want %.9g", i, got, kl);
        assert_true(got != 0);
        free(text);
        json_decref(scored);
        json_decref(ids);
        json_decref(answer[i]);
    }
    free_lines(line, n);
    json_decref(result);
}

static void neither_threads_nor_rows_nor_company_change_a_bit(void **state)
{
    (void)state;
    struct buf first, again;
    json_decref(evaluate("--samples 20 --against " DEMO));
    read_whole("lines", &first);
    json_decref(evaluate("--samples 20 --threads 2 --against " DEMO " workers.actor_rows=3"));
    read_whole("lines", &again);
    assert_string_equal(first.data, again.data);
    buf_release(&again);

    json_t *line[LINES], *more[LINES];
    const size_t n = read_lines(line);
    json_decref(evaluate("--samples 30 --limit 2 --against " DEMO)); /* other chunks */
    const size_t n_more = read_lines(more);
    assert_int_equal(n_more, 60);
    for (size_t p = 0; p < 2; p++)
        for (size_t k = 0; k < 20; k++)
            assert_true(json_equal(line[p * 20 + k], more[p * 30 + k]));
    free_lines(more, n_more);

    json_decref(evaluate("--samples 20 --seed 2 --against " DEMO));
    read_whole("lines", &again);
    assert_string_not_equal(first.data, again.data);
    free_lines(line, n);
    buf_release(&first);
    buf_release(&again);
}

static void a_model_against_itself_ties(void **state)
{
    (void)state;
    char line[1024];
    snprintf(line, sizeof line,
             "rlhf evaluate --config %s/run.yaml --model " DEMO " --against " DEMO, dir);
    check_line(cli_main, line, 0, "0.5 +- 0\n");
    assert_non_null(strstr(said, "over 5 prompts of 1 sample\n"));
    assert_non_null(strstr(said, "some scores are missing: truth: sample 0 of prompt 2"));
}

static void mistakes_are_explained(void **state)
{
    (void)state;
    char line[1024];
    check_line(cli_main, "rlhf evaluate --model x", 64, "--config is missing");
    check_line(cli_main, "rlhf evaluate --config x", 64, "--model is missing");
    snprintf(line, sizeof line, "rlhf evaluate --config %s/run.yaml --model " DEMO, dir);
    const size_t n = strlen(line);
    static const struct {
        const char *more;
        int code;
        const char *words;
    } cases[] = {
        {" --prompts /nowhere.jsonl", 74, "/nowhere.jsonl"},
        {" --against /nowhere", 74, "/nowhere"},
        {" --samples 257", 64, "--samples"},
        {" data.prompt_tokens_max=4", 65, "prompts.jsonl:1: the prompt has"},
        {" model.reference=/nowhere", 74, "/nowhere"},
        {" reward.scorers.0.kind=model reward.scorers.0.path=" DEMO " ", 78, "sequence class"},
        {" sampling.max_new_tokens=4000", 65, "prompts.jsonl: prompt 0: "},
        {" reward.shapr=par", 78, "did you mean \"reward.shaper\"?"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        snprintf(line + n, sizeof line - n, "%s", cases[i].more);
        check_line(cli_main, line, cases[i].code, cases[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_those_of_the_texts_it_printed),
        cmocka_unit_test(a_win_is_a_greater_score_for_the_same_prompt_and_sample),
        cmocka_unit_test(a_label_is_that_of_the_line_with_the_prompt),
        cmocka_unit_test(a_scorer_of_a_kind_is_asked_about_its_prompts_alone),
        cmocka_unit_test(a_score_that_cannot_be_had_is_missing_not_0),
        cmocka_unit_test(a_prompt_that_stands_twice_has_other_answers_each_time),
        cmocka_unit_test(kl_is_the_log_prob_less_that_of_the_reference),
        cmocka_unit_test(neither_threads_nor_rows_nor_company_change_a_bit),
        cmocka_unit_test(a_model_against_itself_ties),
        cmocka_unit_test(mistakes_are_explained),
    };
    return cmocka_run_group_tests(tests, make_scene, remove_scene);
}
