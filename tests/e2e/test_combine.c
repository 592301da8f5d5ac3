/*
 * test_combine.c -- whole runs whose rewards are made of several scores, with the coordinator
 * killed again and again.
 *
 * The oracle is the undisturbed run: the final weights have its SHA-256, and each step of the
 * ledger has its controllers' states, means and group to the last bit.  What the scores of
 * references are is held against their own definition: a scorer is recorded where it counts.
 */

#include "coordinator/ledger.h"
#include "tests/e2e/held.h"

#define STEPS     8
#define PROMPTS   24
#define REFERENCE 2 /* of a prompt */
#define SCORERS   4

/* The beginning of each config, a name to be put in for the run's directory. */
#define BEGINNING                                                         \
    "run:\n  dir: %s\n  steps: 8\n  seed: 3\nmodel:\n  policy: model\n"   \
    "data:\n  prompts: kinds.jsonl\n  prompt_tokens_max: 64\n"            \
    "pipeline:\n  lag: 1\n  batch: 8\nsampling:\n  max_new_tokens: 16\n"  \
    "ppo:\n  epochs: 1\n  minibatches: 2\n  micro_tokens: 128\n"          \
    "optimizer:\n  lr: 1.0e-3\n  critic_lr: 1.0e-3\n"                     \
    "checkpoint:\n  every: 3\n"                                           \
    "timeouts:\n  heartbeat_ms: 200\n  dead_ms: 1000\n  lease_ms: 2000\n" \
    "kl:\n  controller: pid\n  target_nats_per_token: 0.001\n"

/* Vowels first, then length for some prompts, then an h; harm is watched for one kind. */
static const char tree[] = BEGINNING
    "reward:\n  combine: tree\n  shaper: minmax\n  references: 2\n  scorers:\n"
    "    - {name: words, kind: words, words: words.txt, margin: 0.02}\n"
    "    - {name: short, kind: length, max_tokens: 4, margin: 0.125, prompt_kind: colour}\n"
    "    - {name: h, kind: regex, pattern: h, margin: 0.5}\n"
    "    - {name: watch, kind: regex, pattern: e, role: monitor, prompt_kind: colour}\n";

static const char least[] =
    BEGINNING "reward:\n  combine: min\n  references: 2\n  scorers:\n"
              "    - {name: words, kind: words, words: words.txt}\n"
              "    - {name: short, kind: length, min_tokens: 4, max_tokens: 12, weight: 0.5}\n"
              "    - {name: harm, kind: words, words: harm.txt, role: cost}\n"
              "    - {name: watch, kind: regex, pattern: e, role: monitor}\n"
              "safety:\n  controller: lagrangian\n  cost: score\n  limit: 0.05\n  lr: 0.5\n"
              "  gate_samples: 50\n  delta: 0.1\n";

static const char maxmin[] = BEGINNING
    "reward:\n  combine: maxmin\n  references: 2\n  shapers: [centered, meanstd]\n  scorers:\n"
    "    - {name: words, kind: words, words: words.txt, weight: 1.5}\n"
    "    - {name: h, kind: regex, pattern: h}\n"
    "    - {name: e, kind: regex, pattern: e, weight: 0.75}\n"
    "    - {name: watch, kind: regex, pattern: i, role: monitor}\n";

static bool colour[PROMPTS]; /* is prompt i of this kind? */

static int make_world(void **state)
{
    (void)state;
    struct world world;
    struct buf lines, prompt;
    scene_make();
    check_ok(world_init(&world, &err));
    buf_init(&lines, 1 << 20);
    buf_init(&prompt, 1 << 12);
    for (size_t i = 0; i < PROMPTS; i++) {
        const struct world_item *item = &world.items[i * (world.items_n / PROMPTS)];
        buf_clear(&prompt);
        world_prompt(item, &prompt);
        buf_puts(&lines, "{\"prompt\": ");
        buf_json_string(&lines, prompt.data, prompt.len);
        buf_printf(&lines, ", \"kind\": \"%s\"}\n", world_kind_name(item->kind));
        colour[i] = item->kind == WORLD_KIND_colour;
    }
    scene_write("kinds.jsonl", lines.data);
    scene_write("harm.txt", "s\nt\nn\nr\nm\nd\n");
    buf_release(&lines);
    buf_release(&prompt);
    world_release(&world);
    return 0;
}

static int remove_world(void **state)
{
    (void)state;
    scene_remove();
    return 0;
}

/* --- runs --------------------------------------------------------------------------------- */

static pid_t run_start(const char *yaml, const char *name)
{
    char text[2048], file[64], line[128];
    snprintf(text, sizeof text, yaml, name);
    snprintf(file, sizeof file, "%s.yaml", name);
    scene_write(file, text);
    snprintf(line, sizeof line, "rlhf run @/%s --quiet", file);
    return scene_start(line);
}

static void run_end(pid_t pid, const char *name, char sha[HASH_HEX_BYTES])
{
    char path[64];
    char run[FILE_PATH_MAX];
    scene_path(run, name);
    const int code = held_wait(pid, run);
    if (code != 0) {
        scene_show("err");
        snprintf(path, sizeof path, "%s/run.log", name);
        scene_show(path);
        fail_msg("%s ended with %d", name, code);
    }
    snprintf(path, sizeof path, "%s/final/model.safetensors", name);
    scene_sha(path, sha);
}

/* In the midst of the step behind these. */
static void run_kill_coordinator(pid_t pid, const char *name, size_t steps)
{
    char run[FILE_PATH_MAX];
    scene_path(run, name);
    held_go_to(pid, run, steps);
    held_go_on(run);
    held_kill(pid, run, "rlhf-coordinator");
}

/* --- what the ledger says ----------------------------------------------------------------- */

struct history {
    size_t steps, epochs, references;
    struct record_step step[STEPS];
    double reference[PROMPTS][REFERENCE][SCORERS];
};

static enum err_code keep_record(void *ctx, const struct record *record, struct err *err)
{
    struct history *history = ctx;
    (void)err;
    history->epochs += record->kind == RECORD_EPOCH;
    if (record->kind == RECORD_STEP) {
        assert_true(record->step->step == history->steps && history->steps < STEPS);
        history->step[history->steps++] = *record->step;
    }
    if (record->kind == RECORD_SCORE && record->work == WIRE_WORK_REFERENCE) {
        assert_true(record->a < PROMPTS && record->b < REFERENCE && record->scorers == SCORERS);
        memcpy(history->reference[record->a][record->b], record->scores,
               SCORERS * sizeof(double));
        history->references++;
    }
    return ERR_OK;
}

static void read_history(const char *name, struct history *history)
{
    char path[FILE_PATH_MAX];
    struct ledger *ledger;
    *history = (struct history){0};
    scene_path(path, name);
    check_ok(ledger_open_read(&ledger, path, &err));
    check_ok(ledger_each(ledger, 0, keep_record, history, &err));
    check_ok(ledger_close(ledger, &err));
    assert_int_equal(history->steps, STEPS);
}

static void check_same_step(const struct record_step *got, const struct record_step *want)
{
    assert_int_equal(got->controller_n, want->controller_n);
    for (uint32_t i = 0; i < want->controller_n; i++)
        if (memcmp(&got->controller[i], &want->controller[i], sizeof(double)) != 0)
            fail_msg("step %llu: controller %u is %.17g, undisturbed %.17g",
                     (unsigned long long)want->step, (unsigned)i, got->controller[i],
                     want->controller[i]);
    assert_int_equal(got->trained, want->trained);
    assert_int_equal(got->worst_group, want->worst_group);
    assert_memory_equal(&got->weights, &want->weights, sizeof want->weights);
    assert_memory_equal(&got->reward_raw_mean, &want->reward_raw_mean, sizeof(double));
    assert_memory_equal(&got->reward_shaped_mean, &want->reward_shaped_mean, sizeof(double));
    assert_memory_equal(&got->multiplier_after, &want->multiplier_after, sizeof(double));
    for (size_t s = 0; s < SCORERS; s++)
        assert_true(got->score_mean[s] == want->score_mean[s] ||
                    (isnan(got->score_mean[s]) && isnan(want->score_mean[s])));
}

/* Run it undisturbed, and with the coordinator killed after these numbers of steps. */
static void survives(const char *yaml, const char *name, struct history *want)
{
    static const size_t kills[] = {1, 2, 4, 6};
    static struct history got;
    char sha[HASH_HEX_BYTES], first[HASH_HEX_BYTES], killed[32];
    run_end(run_start(yaml, name), name, first);
    read_history(name, want);
    snprintf(killed, sizeof killed, "%s-killed", name);
    held_begin();
    const pid_t pid = run_start(yaml, killed);
    held_end();
    for (size_t i = 0; i < COUNT(kills); i++)
        run_kill_coordinator(pid, killed, kills[i]);
    run_end(pid, killed, sha);
    assert_string_equal(sha, first);
    read_history(killed, &got);
    assert_int_equal(got.epochs, 1 + COUNT(kills));
    for (size_t s = 0; s < STEPS; s++)
        check_same_step(&got.step[s], &want->step[s]);
    assert_int_equal(got.references, want->references);
    for (size_t p = 0; p < PROMPTS; p++)
        assert_memory_equal(got.reference[p], want->reference[p], sizeof want->reference[p]);
}

static void a_tree_with_kinds_of_prompts_survives_its_coordinator(void **state)
{
    (void)state;
    static struct history history;
    survives(tree, "tree", &history);
    size_t of_kind = 0, others = 0;
    assert_true(history.references >= 2 * 16);
    for (size_t p = 0; p < PROMPTS; p++) {
        for (size_t m = 0; m < REFERENCE; m++) {
            const double *score = history.reference[p][m];
            if (score[0] == 0.0 && score[1] == 0.0 && score[3] == 0.0)
                continue; /* never asked: all zero */
            assert_true(!isnan(score[0]) && !isnan(score[2]));
            assert_int_equal(isnan(score[1]), !colour[p]);
            assert_true(isnan(score[3])); /* the monitor's */
            of_kind += colour[p];
            others += !colour[p];
        }
    }
    assert_true(of_kind > 0 && others > 0);
    for (size_t s = 0; s < STEPS; s++) {
        const double raw = history.step[s].reward_raw_mean;
        assert_true(raw >= 0.0 && raw <= 1.0 && history.step[s].worst_group == 0);
        assert_int_equal(history.step[s].trained, 8);
        assert_int_equal(history.step[s].score_missing[3], 0);
    }
}

static void the_least_of_two_under_a_bound_on_cost_survives_its_coordinator(void **state)
{
    (void)state;
    static struct history history;
    survives(least, "least", &history);
    for (size_t s = 1; s < STEPS; s++)
        assert_true(history.step[s].multiplier_after != history.step[s - 1].multiplier_after);
}

static void groups_of_users_take_turns_whatever_is_killed(void **state)
{
    (void)state;
    static struct history history;
    survives(maxmin, "maxmin", &history);
    static const double weight[3] = {1.5, 1.0, 0.75};
    bool turn[4] = {false};
    for (size_t s = 0; s < STEPS; s++) {
        const struct record_step *step = &history.step[s];
        assert_in_range(step->worst_group, 1, 3);
        turn[step->worst_group] = true;
        for (size_t g = 0; g < 3; g++) {
            const double mean = weight[g] * step->score_mean[g];
            if (g + 1 == step->worst_group)
                assert_true(fabs(step->reward_raw_mean - mean) < 1e-12);
            else
                assert_true(step->reward_raw_mean <= mean + 1e-12);
        }
    }
    assert_true(turn[1] + turn[2] + turn[3] >= 2); /* or the choice was never tested */
}

/* --- what is refused ---------------------------------------------------------------------- */

static void refuses(const char *line, int want, const char *words)
{
    const int code = scene_wait(scene_start(line));
    struct buf text;
    scene_read("err", &text);
    if (code != want || !strstr(text.data, words))
        fail_msg("`%s` returned %d, wanted %d with \"%s\":\n%s", line, code, want, words,
                 text.data);
    buf_release(&text);
}

static void what_cannot_be_combined_is_refused_at_the_start(void **state)
{
    (void)state;
    char text[2048], words[80];
    size_t other = 0;
    while (colour[other])
        other++;
    snprintf(text, sizeof text, tree, "refused");
    snprintf(words, sizeof words, "kinds.jsonl:%zu: no reward scorer counts for a prompt",
             other + 1);
    scene_write("refused.yaml", text);
    refuses("rlhf run @/refused.yaml --quiet reward.shaper=par", 78,
            "reward.combine tree compares with the references, and so does reward.shaper par");
    refuses("rlhf run @/refused.yaml --quiet reward.scorers.0.prompt_kind=colour "
            "reward.scorers.2.prompt_kind=colour run.dir=@/refused-1",
            65, words);
    refuses("rlhf run @/refused.yaml --quiet reward.scorers.1.prompt_kind=colr "
            "run.dir=@/refused-2",
            65, "no prompt of");
}

/* test_combine [PATTERN]: tests whose names match, "*tree*". */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_with_kinds_of_prompts_survives_its_coordinator),
        cmocka_unit_test(the_least_of_two_under_a_bound_on_cost_survives_its_coordinator),
        cmocka_unit_test(groups_of_users_take_turns_whatever_is_killed),
        cmocka_unit_test(what_cannot_be_combined_is_refused_at_the_start),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("e2e/combine", tests, make_world, remove_world);
}
