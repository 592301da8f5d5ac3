/*
 * test_node_config.c -- the run's YAML file: what is taken, and the sentence for what is not.
 *
 * The oracle is written out: for each bad file the words that a person must read, with the
 * line counted by hand; for the round trip, the struct itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "control/shaping.h"
#include "node/config.h"
#include "node/run_config.h"
#include "tests/test.h"

#define GOOD               \
    "run:\n"               \
    "  dir: out\n"         \
    "  steps: 10\n"        \
    "model:\n"             \
    "  policy: sft\n"      \
    "data:\n"              \
    "  prompts: p.jsonl\n" \
    "reward:\n"            \
    "  scorers:\n"         \
    "    - name: polite\n" \
    "      kind: words\n"  \
    "      words: polite.txt\n"

static char dir[64];
static char file[96];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/rlhf-config-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(file, sizeof file, "%s/run.yaml", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

static void put(const char *text)
{
    check_ok(file_write(file, text, strlen(text), &err));
}

static void refuses(const char *text, const char *words)
{
    struct run_config config;
    put(text);
    check_fails(run_config_load(&config, file, NULL, 0, &err), ERR_USAGE, words);
}

static void refuses_override(const char *override, const char *words)
{
    struct run_config config;
    put(GOOD);
    check_fails(run_config_load(&config, file, &override, 1, &err), ERR_USAGE, words);
}

static void config_takes_a_small_file_and_fills_in_the_defaults(void **state)
{
    (void)state;
    struct run_config config;
    put(GOOD);
    check_ok(run_config_load(&config, file, NULL, 0, &err));
    char want[128];
    snprintf(want, sizeof want, "%s/sft", dir);
    assert_string_equal(config.policy, want);
    assert_string_equal(config.reference, want); /* empty means the policy's */
    assert_int_equal(config.steps, 10);
    assert_int_equal(config.lag, 1);
    assert_int_equal(config.scorers, 1);
    assert_int_equal(config.scorer[0].kind, RUN_SCORER_WORDS);
    assert_true(config.scorer[0].weight == 1.0);
    assert_true(config.shaper == RUN_SHAPER_PAR);
    assert_true(config.lambda == 0.95);
}

static void config_makes_paths_absolute_and_tidy(void **state)
{
    (void)state;
    static const struct {
        const char *given, *want; /* want: below the file's directory where relative */
    } cases[] = {{"a/./b", "/a/b"},     {"../x", "/../x"},      {"a/../b", "/b"},
                 {"/etc/../x/", "=/x"}, {"/../../x", "=/x"},    {"/", "=/"},
                 {"a//b/", "/a/b"},     {"..a/b..", "/..a/b.."}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct run_config config;
        char text[1024], want[256], parent[64];
        snprintf(text, sizeof text, "%s", GOOD);
        char *at = strstr(text, "sft");
        char tail[1024];
        snprintf(tail, sizeof tail, "%s", at + 3);
        snprintf(at, sizeof text - (size_t)(at - text), "%s%s", cases[i].given, tail);
        put(text);
        check_ok(run_config_load(&config, file, NULL, 0, &err));
        snprintf(parent, sizeof parent, "%s", dir);
        if (strncmp(cases[i].want, "/../", 4) == 0) {
            *strrchr(parent, '/') = '\0';
            snprintf(want, sizeof want, "%s%s", parent, cases[i].want + 3);
        } else if (cases[i].want[0] == '=') {
            snprintf(want, sizeof want, "%s", cases[i].want + 1);
        } else {
            snprintf(want, sizeof want, "%s%s", dir, cases[i].want);
        }
        assert_string_equal(config.policy, want);
    }
}

static void config_names_line_and_nearest_key(void **state)
{
    (void)state;
    refuses(GOOD "ppo:\n  gama: 1\n",
            "run.yaml:14: there is no key \"ppo.gama\"; did you mean \"ppo.gamma\"?");
    refuses(GOOD "pppo:\n  gamma: 1\n", "run.yaml:14: there is no key \"pppo\"");
    refuses(GOOD "      wight: 2\n", "did you mean \"reward.scorers[].weight\"?");
    refuses(GOOD "kl:\n  estimator: k4\n", "must be one of k1, k2, k3, not \"k4\"");
}

static void config_refuses_what_is_not_exactly_the_type(void **state)
{
    (void)state;
    refuses(GOOD "pipeline:\n  batch: 5.5\n",
            "pipeline.batch must be a whole number, 1 .. 4096, not \"5.5\"");
    refuses(GOOD "pipeline:\n  batch: \"8\"\n", "must be a number, not text in quotes");
    refuses(GOOD "pipeline:\n  lag: -1\n",
            "pipeline.lag must be a whole number, 0 .. 8, not \"-1\"");
    refuses(GOOD "pipeline:\n  lag: 9\n", "pipeline.lag is 9, outside 0 .. 8");
    refuses(GOOD "ppo:\n  gamma: .nan\n", "ppo.gamma must be a number, 0 .. 1, not \".nan\"");
    refuses(GOOD "ppo:\n  gamma: 0x1p0\n", "ppo.gamma must be a number");
    refuses(GOOD "ppo:\n  whiten: yes\n", "ppo.whiten must be true or false, not \"yes\"");
    refuses(GOOD "ppo:\n  gamma:\n", "ppo.gamma has no value");
    refuses(GOOD "ppo:\n  gamma: [1]\n", "ppo.gamma takes a single value, not a list");
    refuses(GOOD "ppo: 3\n", "ppo holds keys of its own, not a value or a list");
    refuses(GOOD "ppo: [3]\n", "ppo holds keys of its own, not a value or a list");
    refuses_override("ppo.gamma=", "ppo.gamma has no value");
    refuses_override("reward.scorers=1", "the first one's are reward.scorers.0.KEY");
}

static void config_refuses_yaml_that_hides_something(void **state)
{
    (void)state;
    refuses(GOOD "ppo:\n  gamma: 1\n  gamma: 1\n",
            "run.yaml:15: ppo.gamma was set already on line 14");
    refuses("run: &a\n  dir: x\n", "anchors and tags are not taken");
    refuses("run:\n  dir: *a\n", "aliases are not taken");
    refuses("run: !!str x\n", "anchors and tags are not taken");
    refuses(GOOD "---\nrun:\n", "a second document begins");
    refuses("run:\n  dir: \"x\n", "run.yaml:3: not YAML");
    refuses("", "is empty");
    refuses("- 1\n", "must be a mapping");
    refuses("run:\n  dir: x\n  steps: 1\nmodel:\n  policy: p\n", "data.prompts has no value");
}

static void config_checks_what_keys_say_together(void **state)
{
    (void)state;
    refuses_override("pipeline.samples_per_prompt=5", "does not divide pipeline.batch 32");
    refuses_override("ppo.estimator=grpo", "must be at least 2");
    refuses_override("ppo.dual_clip=0.5", "must be 0 (off) or above 1");
    refuses_override("kl.place=loss", "k1 has no useful gradient");
    refuses_override("reward.scorers.0.kind=http", "needs `url`");
    refuses_override("model.critic=reward", "no reward scorer is of kind model");
    refuses_override("timeouts.dead_ms=60", "at least twice");
    refuses_override("endpoints.control=nowhere", "must begin with tcp:// or ipc://");
    refuses_override("endpoints.http=9464", "endpoints.http: \"9464\" is not ADDRESS:PORT");
    refuses_override("endpoints.http=localhost:9464", "is not an IP address and a port");
    refuses_override("kl.coef=0", "kl.coef");
    refuses_override("kl.horizon=6.4",
                     "kl.horizon 6.4 must be above a fifth of pipeline.batch 32");
}

static void config_names_what_could_not_be_meant(void **state)
{
    (void)state;
    static const struct {
        const char *override[4],
            *want; /* the last override refuses, those before it alone do not */
    } bad[] = {
        {{"pipeline.batch=8", "ppo.minibatches=9"},
         "ppo.minibatches 9 is more than pipeline.batch 8"},
        {{"timeouts.heartbeat_ms=100", "timeouts.dead_ms=199"},
         "timeouts.dead_ms 199 must be at least twice timeouts.heartbeat_ms 100"},
        {{"model.critic=path"}, "model.critic is path: model.critic_path is missing"},
        {{"pipeline.samples_per_prompt=2", "ppo.estimator=grpo", "reward.truncation=bootstrap"},
         "reward.truncation bootstrap needs a critic"},
        {{"reward.scorers.0.kind=length", "reward.scorers.0.max_tokens=20",
          "reward.scorers.0.min_tokens=21"},
         "scorer \"polite\": min_tokens 21 is above max_tokens 20"},
        {{"reward.scorers.0.url=ftp://judge", "reward.scorers.0.kind=http"},
         "scorer \"polite\": url must begin with http:// or https://"},
        {{"reward.scorers.1.kind=length", "reward.scorers.1.name=other",
          "reward.scorers.1.name=polite"},
         "two scorers are named \"polite\""},
        {{"endpoints.insecure=true", "endpoints.bulk=tcp://0.0.0.0:1",
          "endpoints.insecure=false"},
         "endpoints.bulk: tcp://0.0.0.0:1 could be reached from other machines"},
    };
    struct run_config config;
    put(GOOD);
    for (size_t i = 0; i < COUNT(bad); i++) {
        size_t n = 0;
        while (n < COUNT(bad[i].override) && bad[i].override[n])
            n++;
        check_fails(run_config_load(&config, file, bad[i].override, n, &err), ERR_USAGE,
                    bad[i].want);
        check_ok(run_config_load(&config, file, bad[i].override, n - 1, &err));
    }
    refuses("run:\n  dir: x\n  steps: 1\nmodel:\n  policy: p\ndata:\n  prompts: p.jsonl\n",
            "reward.scorers is empty");
}

/* The scorer of the file, a cost scorer beside it, and one override more. */
static void refuses_with_cost(const char *override, const char *want)
{
    const char *const overrides[] = {"reward.scorers.1.name=harm",
                                     "reward.scorers.1.kind=length",
                                     "reward.scorers.1.role=cost", override};
    struct run_config config;
    put(GOOD);
    check_fails(run_config_load(&config, file, overrides, COUNT(overrides), &err), ERR_USAGE,
                want);
}

static void config_refuses_costs_that_cannot_be_meant(void **state)
{
    (void)state;
    refuses_override("reward.scorers.0.role=cost", "has the role reward");
    refuses_override("safety.controller=fixed",
                     "no scorer of reward.scorers has the role cost");
    refuses_override("model.cost_critic=path", "model.cost_critic_path is missing");
    refuses_override("model.cost_critic=cost", "no cost scorer is of kind model");
    refuses_override("safety.window_steps=17", "1 .. 16");
    refuses_with_cost("reward.scorers.1.weight=0", "it must be above 0");
    refuses_with_cost("safety.gate_samples=100", "but safety.controller is none");
    refuses_with_cost("safety.gate_samples=1", "safety.gate_samples is 1");
    refuses_with_cost("reward.scorers.1.weight=-1", "cost scorer \"harm\" has weight -1");
    const char *const monitor[] = {"reward.scorers.1.name=m", "reward.scorers.1.kind=length",
                                   "reward.scorers.1.role=monitor",
                                   "reward.scorers.1.weight=2"};
    struct run_config config;
    put(GOOD);
    check_fails(run_config_load(&config, file, monitor, COUNT(monitor), &err), ERR_USAGE,
                "monitor \"m\" has weight 2, but a monitor is in no sum");
    check_ok(run_config_load(&config, file, monitor, 3, &err));
    assert_true(run_config_has_role(&config, RUN_ROLE_MONITOR));
    assert_false(run_config_has_role(&config, RUN_ROLE_COST));
}

static void config_refuses_a_kl_controller_that_could_not_work(void **state)
{
    (void)state;
    const char *const bad[][2] = {{"kl.coef=11", "and kl.coef 11 is where it starts"},
                                  {"kl.coef_min=0.2", "kl.coef_min 0.2"},
                                  {"kl.coef_max=0", "kl.coef_max 0"}};
    struct run_config config;
    put(GOOD);
    for (size_t i = 0; i < COUNT(bad); i++) {
        const char *const overrides[] = {"kl.controller=pid", bad[i][0]};
        check_ok(run_config_load(&config, file, overrides, 1, &err));
        check_fails(run_config_load(&config, file, overrides, 2, &err), ERR_USAGE, bad[i][1]);
    }
    const char *const still[] = {"kl.controller=pid", "kl.kp=0", "kl.ki=0", "kl.kd=0"};
    check_fails(run_config_load(&config, file, still, COUNT(still), &err), ERR_USAGE,
                "never moves");
}

static void refuses_combine(const char *word, const char *override, const char *want)
{
    char combine[64];
    snprintf(combine, sizeof combine, "reward.combine=%s", word);
    const char *const overrides[] = {combine, override, "reward.shaper=none"};
    struct run_config config;
    put(GOOD);
    check_fails(run_config_load(&config, file, overrides, 3, &err), ERR_USAGE, want);
}

/* The oracle of which shapers take references is shaping.h. */
static void config_takes_a_tree_with_shapers_that_take_no_references(void **state)
{
    (void)state;
    struct run_config config;
    put(GOOD);
    for (int kind = SHAPING_NONE; kind <= SHAPING_SGFC; kind++) {
        const struct shaping_params params = {.kind = (enum shaping_kind)kind, .references = 2};
        char one[64], last[64];
        snprintf(one, sizeof one, "reward.shaper=%s", shaping_name(params.kind));
        snprintf(last, sizeof last, "reward.shapers=[ceiling, %s]", shaping_name(params.kind));
        const char *const shaper[] = {"reward.combine=tree", one};
        const char *const chain[] = {"reward.combine=tree", last};
        if (shaping_references(&params) == 0) {
            check_ok(run_config_load(&config, file, shaper, 2, &err));
            check_ok(run_config_load(&config, file, chain, 2, &err));
            continue;
        }
        check_fails(run_config_load(&config, file, shaper, 2, &err), ERR_USAGE,
                    "reward.combine tree compares with the references, and so does");
        check_fails(run_config_load(&config, file, chain, 2, &err), ERR_USAGE,
                    shaping_name(params.kind));
    }
}

static void config_gives_no_cost_a_kind_of_prompt(void **state)
{
    (void)state;
    struct run_config config;
    put(GOOD);
    const char *const overrides[] = {"reward.scorers.1.name=harm",
                                     "reward.scorers.1.kind=regex",
                                     "reward.scorers.1.pattern=x", "reward.scorers.1.role=cost",
                                     "reward.scorers.1.prompt_kind=code"};
    check_ok(run_config_load(&config, file, overrides, 4, &err));
    check_fails(run_config_load(&config, file, overrides, 5, &err), ERR_USAGE,
                "what is harmful counts for every prompt");
    const char *const monitor[] = {"reward.scorers.1.name=watch", "reward.scorers.1.kind=regex",
                                   "reward.scorers.1.pattern=x",
                                   "reward.scorers.1.role=monitor",
                                   "reward.scorers.1.prompt_kind=code"};
    check_ok(run_config_load(&config, file, monitor, 5, &err));
    assert_string_equal(config.scorer[1].prompt_kind, "code");
}

static void config_takes_a_chain_of_shapers_and_a_combiner(void **state)
{
    (void)state;
    const char *const overrides[] = {"reward.shapers=[ceiling, par]"};
    struct run_config config;
    put(GOOD);
    check_ok(run_config_load(&config, file, NULL, 0, &err));
    assert_int_equal(config.shapers_n, 0);
    check_ok(run_config_load(&config, file, overrides, 1, &err));
    assert_int_equal(config.shapers_n, 2);
    assert_string_equal(config.shapers[1], "par");
    const char *const zero[] = {"reward.combine=product", "reward.scorers.0.weight=0"};
    check_fails(run_config_load(&config, file, zero, 2, &err), ERR_USAGE,
                "under reward.combine product it must be above 0");
    refuses_combine("tree", "reward.scorers.0.weight=2", "it must be 1");
    refuses_combine("levels", "reward.scorers.0.weight=-1", "it must be 1");
    refuses_combine("maxmin", "reward.scorers.0.weight=-1", "under reward.combine maxmin");
    refuses_combine("maxmin", "reward.scorers.0.prompt_kind=code", "judges every prompt");
    refuses_override("reward.scorers.0.low=2", "low 2 is not below high 1");
    refuses_override("reward.shapers=[par, celing]",
                     "there is no shaper \"celing\"; did you mean \"ceiling\"?");
    const char *const lsc[] = {"reward.shapers=[meanstd, lsc]", "reward.references=1"};
    check_fails(run_config_load(&config, file, lsc, 2, &err), ERR_USAGE, "at least 2");
}

/* One limit of the breaker. */
static void refuses_limit(const char *signal, const char *override, const char *want)
{
    const char *const overrides[] = {signal, override};
    struct run_config config;
    put(GOOD);
    check_fails(run_config_load(&config, file, overrides, COUNT(overrides), &err), ERR_USAGE,
                want);
}

static void config_refuses_a_breaker_that_cannot_be_meant(void **state)
{
    (void)state;
    static const char kl[] = "breaker.limits.0.signal=kl";
    refuses_limit(kl, "run.steps=5", "breaker.limits[0] needs low or high");
    refuses_limit("breaker.limits.0.signal=clip", "run.steps=5", "must be one of loss");
    refuses_limit(kl, "breaker.limits.0.ratio=1", "lets nothing pass");
    refuses_limit("breaker.limits.0.signal=cost", "breaker.limits.0.high=1",
                  "is about cost, but no scorer");
    refuses_override("breaker.window=8", "breaker.warmup 16 is longer than breaker.window 8");
    const char *const late[] = {"breaker.limits.0.signal=entropy", "breaker.limits.0.low=0.1",
                                "breaker.limits.0.outcome=skip"};
    const char *const still[] = {kl, "breaker.limits.0.high=9",
                                 "breaker.limits.0.outcome=rollback", "breaker.lr_factor=1",
                                 "breaker.beta_factor=1"};
    const char *const back[] = {kl,
                                "breaker.limits.0.high=9",
                                "breaker.limits.0.outcome=rollback",
                                "breaker.limits.1.signal=grad_norm",
                                "breaker.limits.1.ratio=9",
                                "breaker.limits.1.outcome=rollback"};
    const char *const twice[] = {kl, "breaker.limits.0.high=9", "breaker.limits.1.signal=kl",
                                 "breaker.limits.1.low=-1"};
    const char *const good[] = {kl,
                                "breaker.limits.0.high=9",
                                "breaker.limits.0.outcome=skip",
                                "breaker.limits.1.signal=kl",
                                "breaker.limits.1.ratio=3",
                                "breaker.limits.2.signal=entropy",
                                "breaker.limits.2.low=0.1"};
    struct run_config config;
    check_fails(run_config_load(&config, file, late, COUNT(late), &err), ERR_USAGE,
                "its outcome must be rollback or halt");
    check_fails(run_config_load(&config, file, twice, COUNT(twice), &err), ERR_USAGE,
                "[0] and [1] are about the same signal");
    check_fails(run_config_load(&config, file, still, COUNT(still), &err), ERR_USAGE,
                "a rollback has to change something");
    check_ok(run_config_load(&config, file, back, COUNT(back), &err));
    assert_true(run_config_rolls_back(&config));
    check_ok(run_config_load(&config, file, good, COUNT(good), &err));
    assert_false(run_config_rolls_back(&config));
    struct hash with, without;
    run_config_hash(&config, &with);
    config.limit[1].ratio = 4; /* an element of a list decides bits too */
    run_config_hash(&config, &without);
    assert_memory_not_equal(&with, &without, sizeof with);
}

/* The scorer of the file, a cost scorer, a gate, and one override more. */
static void refuses_with_gate(const char *override, const char *want)
{
    const char *const overrides[] = {"reward.scorers.1.name=harm",
                                     "reward.scorers.1.kind=length",
                                     "reward.scorers.1.role=cost",
                                     "gate.prompts=held.jsonl",
                                     "run.steps=100",
                                     "checkpoint.every=10",
                                     override};
    struct run_config config;
    put(GOOD);
    check_ok(run_config_load(&config, file, overrides, COUNT(overrides) - 1, &err));
    assert_non_null(strstr(config.gate_ledger, "/held.jsonl.gate.sqlite"));
    check_fails(run_config_load(&config, file, overrides, COUNT(overrides), &err), ERR_USAGE,
                want);
}

static void config_refuses_a_gate_that_tests_nothing(void **state)
{
    (void)state;
    refuses_override("gate.prompts=held.jsonl", "has the role cost: nothing could be tested");
    refuses_override("gate.every=1", "but gate.prompts is empty");
    refuses_with_gate("gate.cost=probability", "clopper_pearson counts harmful responses");
    refuses_with_gate("gate.bound=student", "11.7 % of the policies just above the limit pass");
    refuses_with_gate("gate.limit=1", "gate.limit 1 is no rate");
    refuses_with_gate("gate.delta=0.6", "gate.delta is 0.6, outside");
    refuses_with_gate("gate.candidates=0", "gate.candidates is 0, outside");
    refuses_with_gate("data.prompts=held.jsonl", "gate.prompts is data.prompts");
    /* of 10 checkpoints the last is the final policy */
    refuses_with_gate("gate.every=1",
                      "makes 10 candidates of this run, but gate.candidates plans");
    refuses_with_gate("gate.every=2", "makes 5 candidates");
    refuses_with_gate("gate.every=9", "makes 2 candidates");
}

static void config_asks_a_bounded_gate_for_the_bounds_of_its_cost(void **state)
{
    (void)state;
    static const char *const bounds[] = {"gate.bound=hoeffding", "gate.bound=bernstein"};
    struct run_config config;
    put(GOOD);
    for (size_t i = 0; i < COUNT(bounds); i++) {
        const char *const overrides[] = {"reward.scorers.1.name=harm",
                                         "reward.scorers.1.kind=length",
                                         "reward.scorers.1.role=cost",
                                         "gate.prompts=held.jsonl",
                                         "gate.cost=score",
                                         bounds[i],
                                         "gate.cost_high=4",
                                         "gate.cost_low=4"};
        check_ok(run_config_load(&config, file, overrides, COUNT(overrides) - 1, &err));
        check_fails(run_config_load(&config, file, overrides, COUNT(overrides), &err),
                    ERR_USAGE, "gate.cost_low 4 is not below gate.cost_high 4");
    }
}

static void config_refuses_a_reference_renewed_within_the_lag(void **state)
{
    (void)state;
    struct run_config config;
    const char *const good[] = {"kl.reference_every=3", "pipeline.lag=2"};
    put(GOOD);
    check_ok(run_config_load(&config, file, good, COUNT(good), &err));
    assert_int_equal(config.kl_reference_every, 3);
    const char *const bad[] = {"kl.reference_every=2", "pipeline.lag=2"};
    check_fails(run_config_load(&config, file, bad, COUNT(bad), &err), ERR_USAGE,
                "kl.reference_every 2 must be more than pipeline.lag 2");
}

static void config_refuses_a_multiplier_that_could_not_work(void **state)
{
    (void)state;
    const char *const good[] = {"reward.scorers.1.name=harm", "reward.scorers.1.kind=length",
                                "reward.scorers.1.role=cost", "safety.controller=lagrangian",
                                "safety.cost=score",          "safety.limit=-2"};
    const char *const bad[][2] = {
        {"safety.lambda=0", "never moves from safety.lambda 0"},
        {"safety.lr=0", "safety.lr 0"},
        {"safety.lambda_max=0.5", "safety.lambda 1 is above safety.lambda_max 0.5"},
        {"safety.lambda_min=2", "safety.lambda 1 is below safety.lambda_min 2"},
        {"safety.cost=probability", "safety.limit -2 is no rate"},
    };
    struct run_config config;
    put(GOOD);
    check_ok(run_config_load(&config, file, good, COUNT(good), &err));
    assert_true(run_config_has_cost(&config));
    const char *still[COUNT(good) + 4] = {
        [COUNT(good)] = "safety.controller=pid", "safety.kp=0", "safety.ki=0", "safety.kd=0"};
    memcpy(still, good, sizeof good);
    check_fails(run_config_load(&config, file, still, COUNT(still), &err), ERR_USAGE,
                "never moves with safety.kp");
    for (size_t i = 0; i < COUNT(bad); i++) {
        const char *overrides[COUNT(good) + 1];
        memcpy(overrides, good, sizeof good);
        overrides[COUNT(good)] = bad[i][0];
        check_fails(run_config_load(&config, file, overrides, COUNT(overrides), &err),
                    ERR_USAGE, bad[i][1]);
    }
}

static void config_takes_a_probability_for_a_limit_between_0_and_1_alone(void **state)
{
    (void)state;
    static const struct {
        const char *override;
        bool good;
    } limits[] = {{"safety.limit=0", false},
                  {"safety.limit=0.001", true},
                  {"safety.limit=0.999", true},
                  {"safety.limit=1", false}};
    for (size_t i = 0; i < COUNT(limits); i++) {
        const char *const overrides[] = {
            "reward.scorers.1.name=harm", "reward.scorers.1.kind=length",
            "reward.scorers.1.role=cost", "safety.controller=fixed", limits[i].override};
        struct run_config config;
        put(GOOD);
        if (limits[i].good)
            check_ok(run_config_load(&config, file, overrides, COUNT(overrides), &err));
        else
            check_fails(run_config_load(&config, file, overrides, COUNT(overrides), &err),
                        ERR_USAGE, "is no rate of harmful responses");
    }
}

/* The first reward scorer is a model; `model.cost_critic: cost` asks for one of the costs. */
static void config_looks_for_a_model_of_the_right_role(void **state)
{
    (void)state;
    const char *const overrides[] = {"reward.scorers.1.name=m", "reward.scorers.1.kind=model",
                                     "reward.scorers.1.path=m", "reward.scorers.1.role=cost",
                                     "model.cost_critic=cost",  "model.critic=reward"};
    struct run_config config;
    put(GOOD);
    check_ok(run_config_load(&config, file, overrides, 5, &err));
    assert_ptr_equal(run_config_model_scorer(&config, RUN_ROLE_COST), &config.scorer[1]);
    assert_null(run_config_model_scorer(&config, RUN_ROLE_REWARD));
    check_fails(run_config_load(&config, file, overrides, 6, &err), ERR_USAGE,
                "no reward scorer is of kind model");
}

static void config_overrides_come_after_the_file(void **state)
{
    (void)state;
    const char *const overrides[] = {"run.steps=7",
                                     "reward.scorers.0.weight=2.5",
                                     "reward.scorers.1.name=long",
                                     "reward.scorers.1.kind=length",
                                     "sampling.stop=[\"\\n\", END]",
                                     "run.steps=8"};
    struct run_config config;
    put(GOOD);
    check_ok(run_config_load(&config, file, overrides, COUNT(overrides), &err));
    assert_int_equal(config.steps, 8);
    assert_true(config.scorer[0].weight == 2.5);
    assert_int_equal(config.scorers, 2);
    assert_string_equal(config.scorer[1].name, "long");
    assert_int_equal(config.stops, 2);
    assert_string_equal(config.stop[0], "\n");
    assert_string_equal(config.stop[1], "END");
    refuses_override("run.stpes=7", "did you mean \"run.steps\"?");
    refuses_override("steps", "must be dotted.key=value");
    refuses_override("reward.scorers.7.weight=1", "there is no number 7");
}

static void config_written_and_read_again_is_the_same(void **state)
{
    (void)state;
    const char *const overrides[] = {"sampling.stop=[\"a\\\"b\", \"\\t\"]", "ppo.lambda=0.1",
                                     "sampling.temperature=0.7", "run.name=\"x: y # z\""};
    struct run_config config, again;
    put(GOOD);
    check_ok(run_config_load(&config, file, overrides, COUNT(overrides), &err));
    struct buf text;
    buf_init(&text, 1 << 20);
    run_config_write(&config, &text);
    check_ok(buf_check(&text, "config", &err));
    put(text.data);
    check_ok(run_config_load(&again, file, NULL, 0, &err));
    assert_memory_equal(&config, &again, sizeof config);
    buf_release(&text);
}

static void config_hash_changes_with_what_decides_the_bits_alone(void **state)
{
    (void)state;
    const char *const more_workers[] = {"workers.actors=4", "run.name=other",
                                        "checkpoint.every=3"};
    const char *const other_seed[] = {"run.seed=2"};
    struct run_config first, config;
    struct hash plain, workers, seed;
    put(GOOD);
    check_ok(run_config_load(&first, file, NULL, 0, &err));
    run_config_hash(&first, &plain);
    check_ok(run_config_load(&config, file, more_workers, COUNT(more_workers), &err));
    run_config_hash(&config, &workers);
    assert_null(run_config_difference(&first, &config));
    check_ok(run_config_load(&config, file, other_seed, COUNT(other_seed), &err));
    run_config_hash(&config, &seed);
    assert_string_equal(run_config_difference(&first, &config), "run.seed");
    const char *const bf16[] = {"model.precision=bf16"};
    check_ok(run_config_load(&config, file, bf16, COUNT(bf16), &err));
    assert_string_equal(run_config_difference(&first, &config), "model.precision");
    const char *const one_more[] = {"reward.scorers.1.name=b", "reward.scorers.1.kind=match"};
    check_ok(run_config_load(&config, file, one_more, COUNT(one_more), &err));
    assert_string_equal(run_config_difference(&first, &config), "reward.scorers[].name");
    assert_memory_equal(&plain, &workers, sizeof plain);
    assert_memory_not_equal(&plain, &seed, sizeof plain);
}

static void config_document_names_every_key_once(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 20);
    run_config_document(&text);
    check_ok(buf_check(&text, "document", &err));
    const char *at = strstr(text.data, "| `reward.scorers[].weight` |");
    assert_non_null(at);
    assert_null(strstr(at + 1, "| `reward.scorers[].weight` |"));
    assert_non_null(strstr(text.data, "\n## kl\n"));
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_takes_a_small_file_and_fills_in_the_defaults),
        cmocka_unit_test(config_makes_paths_absolute_and_tidy),
        cmocka_unit_test(config_names_line_and_nearest_key),
        cmocka_unit_test(config_refuses_what_is_not_exactly_the_type),
        cmocka_unit_test(config_refuses_yaml_that_hides_something),
        cmocka_unit_test(config_checks_what_keys_say_together),
        cmocka_unit_test(config_names_what_could_not_be_meant),
        cmocka_unit_test(config_refuses_costs_that_cannot_be_meant),
        cmocka_unit_test(config_refuses_a_kl_controller_that_could_not_work),
        cmocka_unit_test(config_takes_a_tree_with_shapers_that_take_no_references),
        cmocka_unit_test(config_gives_no_cost_a_kind_of_prompt),
        cmocka_unit_test(config_takes_a_chain_of_shapers_and_a_combiner),
        cmocka_unit_test(config_refuses_a_breaker_that_cannot_be_meant),
        cmocka_unit_test(config_refuses_a_gate_that_tests_nothing),
        cmocka_unit_test(config_asks_a_bounded_gate_for_the_bounds_of_its_cost),
        cmocka_unit_test(config_refuses_a_reference_renewed_within_the_lag),
        cmocka_unit_test(config_refuses_a_multiplier_that_could_not_work),
        cmocka_unit_test(config_takes_a_probability_for_a_limit_between_0_and_1_alone),
        cmocka_unit_test(config_looks_for_a_model_of_the_right_role),
        cmocka_unit_test(config_overrides_come_after_the_file),
        cmocka_unit_test(config_written_and_read_again_is_the_same),
        cmocka_unit_test(config_hash_changes_with_what_decides_the_bits_alone),
        cmocka_unit_test(config_document_names_every_key_once),
    };
    return cmocka_run_group_tests_name("node/config", tests, make_dir, remove_dir);
}
