/* run_config_keys.c -- the schema: see run_config.h. */
#include "node/run_config_internal.h"

#include <stddef.h>

#define RUN_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define RUN_HUGE         1e15 /* whole numbers up to here are exact in a double */

static const char *const run_templates[] = {"plain", "chatml", "llama3", "hh", NULL};
const char *const run_config_estimators[] = {"gae", "grpo", "rloo", "reinforce++", NULL};
static const char *const run_aggregations[] = {"token_mean", "sequence_mean", "sequence_sum",
                                               NULL};
static const char *const run_kl_estimators[] = {"k1", "k2", "k3", NULL};
static const char *const run_kl_places[] = {"reward", "loss", NULL};
static const char *const run_kl_controllers[] = {"fixed", "adaptive", "pid", NULL};
const char *const run_config_shapers[] = {
#define X(name, word) word,
    RUN_SHAPER_MAP(X)
#undef X
        NULL};
static const char *const run_truncations[] = {"none", "penalty", "bootstrap", NULL};
static const char *const run_schedules[] = {"constant", "linear", "cosine", NULL};
static const char *const run_precisions[] = {"fp32", "bf16", NULL};
static const char *const run_critics[] = {"policy", "reward", "path", NULL};
static const char *const run_cost_critics[] = {"policy", "cost", "path", NULL};
const char *const run_config_controllers[] = {"none", "fixed", "lagrangian", "pid", NULL};
static const char *const run_safety_costs[] = {"score", "probability", NULL};
const char *const run_config_gate_bounds[] = {"student", "hoeffding", "bernstein",
                                              "clopper_pearson", NULL};
const char *const run_config_gate_costs[] = {"score", "probability", "indicator", NULL};
static const char *const run_roles[] = {"reward", "cost", "monitor", NULL};
static const char *const run_betters[] = {"higher", "lower", NULL};
static const char *const run_golds[] = {
#define X(name) #name,
    RUN_GOLD_MAP(X)
#undef X
        NULL};
const char *const run_config_scorer_kinds[] = {
#define X(name, word) word,
    RUN_SCORER_MAP(X)
#undef X
        NULL};

static const char *const run_signals[] = {"loss", "grad_norm", "kl",
                                          "entropy", "cost",   "reward", NULL};
static const char *const run_trips[] = {"skip", "rollback", "halt", NULL};
const char *const run_config_combines[] = {"sum",  "product", "min", "levels",
                                           "tree", "maxmin",  NULL};
static const char *const run_ensembles[] = {"mean", "min", "mean_minus_std", NULL};

// clang-format off
#define AT(field)        offsetof(struct run_config, field)
#define OF(field)        offsetof(struct run_scorer, field)
#define OF_LIMIT(field)  offsetof(struct run_limit, field)
#define BYTES(field)     sizeof(((struct run_config *)0)->field)
#define BYTES_OF(field)  sizeof(((struct run_scorer *)0)->field)
#define TEXT_(path, field, preset, doc) \
    {path, CONFIG_TEXT, AT(field), BYTES(field), 0, 0, preset, NULL, 0, 0, "", doc}
#define PATH_(path, field, preset, doc) \
    {path, CONFIG_PATH, AT(field), BYTES(field), 0, 0, preset, NULL, 0, 0, "", doc}
#define U32_(path, field, min, max, preset, unit, doc) \
    {path, CONFIG_U32, AT(field), 4, min, max, preset, NULL, 0, 0, unit, doc}
#define U64_(path, field, min, max, preset, unit, doc) \
    {path, CONFIG_U64, AT(field), 8, min, max, preset, NULL, 0, 0, unit, doc}
#define F32_(path, field, min, max, preset, unit, doc) \
    {path, CONFIG_F32, AT(field), 4, min, max, preset, NULL, 0, 0, unit, doc}
#define F64_(path, field, min, max, preset, unit, doc) \
    {path, CONFIG_F64, AT(field), 8, min, max, preset, NULL, 0, 0, unit, doc}
#define BOOL_(path, field, preset, doc) \
    {path, CONFIG_BOOL, AT(field), 1, 0, 0, preset, NULL, 0, 0, "", doc}
#define WORD_(path, field, words, preset, doc) \
    {path, CONFIG_WORD, AT(field), 4, 0, 0, preset, words, 0, 0, "", doc}
#define S_TEXT(path, field, preset, doc) \
    {path, CONFIG_TEXT, OF(field), BYTES_OF(field), 0, 0, preset, NULL, 0, 0, "", doc}
#define S_PATH(path, field, preset, doc) \
    {path, CONFIG_PATH, OF(field), BYTES_OF(field), 0, 0, preset, NULL, 0, 0, "", doc}
#define L_F64(path, field, min, max, preset, doc) \
    {path, CONFIG_F64, OF_LIMIT(field), 8, min, max, preset, NULL, 0, 0, "", doc}
#define S_U32(path, field, min, max, preset, unit, doc) \
    {path, CONFIG_U32, OF(field), 4, min, max, preset, NULL, 0, 0, unit, doc}

static const struct config_key run_keys[] = {
    TEXT_("run.name", name, "run", "What the run is called in logs and reports."),
    PATH_("run.dir", dir, NULL, "Everything the run writes is below this directory."),
    U64_("run.seed", seed, 0, RUN_HUGE, "1", "",
         "Every random number of the run follows from it."),
    U64_("run.steps", steps, 1, 1e9, NULL, "steps",
         "Training steps: each consumes one batch."),

    PATH_("model.policy", policy, NULL,
         "Hugging Face directory that training starts from: config.json, "
         "model.safetensors, tokenizer.json."),
    PATH_("model.reference", reference, "",
         "The frozen reference policy; empty: the same as model.policy. Its ids must be the "
         "policy's tokens, which is looked at where it has a tokenizer.json."),
    WORD_("model.critic", critic, run_critics, "policy",
         "What the critic starts from: the policy's trunk with a zero value head, the "
         "first model scorer of the role reward, or model.critic_path."),
    PATH_("model.critic_path", critic_path, "",
         "Directory of the critic, for model.critic: path."),
    WORD_("model.cost_critic", cost_critic, run_cost_critics, "policy",
         "What the cost critic starts from: the policy's trunk with a zero value head, the "
         "first model scorer of the role cost, or model.cost_critic_path."),
    PATH_("model.cost_critic_path", cost_critic_path, "",
         "Directory of the cost critic, for model.cost_critic: path."),
    WORD_("model.precision", precision, run_precisions, "fp32",
         "What linear layers multiply, when sampling, scoring and training: float32, or "
         "bfloat16 with sums in float32: faster where the CPU has AMX, slower elsewhere, the "
         "same bits on both. Weights and optimizer are float32 in either."),

    PATH_("data.prompts", prompts, NULL,
         "JSON lines {\"prompt\": text, or \"messages\": [...], \"label\": anything, "
         "\"kind\": text}."),
    WORD_("data.template", template_, run_templates, "plain",
         "Chat template that turns a prompt into ids."),
    U32_("data.prompt_tokens_max", prompt_tokens_max, 1, 1048576, "512", "tokens",
         "A longer prompt is refused with its line."),

    U32_("pipeline.lag", lag, 0, RUN_LAG_MAX, "1", "steps",
         "Rollouts of step s come from policy version max(0, s - lag): staleness is "
         "exactly this."),
    U32_("pipeline.batch", batch, 1, 4096, "32", "sequences", "Slots of a step."),
    U32_("pipeline.samples_per_prompt", samples_per_prompt, 1, 256, "1", "sequences",
         "Responses to each prompt of a step; divides pipeline.batch."),

    F32_("sampling.temperature", temperature, 0.01, 100, "1", "",
         "Logits are divided by it, when sampling and when training."),
    U32_("sampling.top_k", top_k, 0, 1e6, "0", "tokens",
         "Sample among the k most probable; 0: all."),
    F32_("sampling.top_p", top_p, 1e-6, 1, "1", "",
         "Sample among the smallest set whose probability reaches this."),
    F32_("sampling.min_p", min_p, 0, 0.999, "0", "",
         "Drop tokens below this share of the greatest probability."),
    U32_("sampling.max_new_tokens", max_new_tokens, 1, 65536, "64", "tokens",
         "A response is cut there, and counts as truncated."),
    {"sampling.stop", CONFIG_TEXTS, AT(stop), RUN_STOP_MAX, 0, 0, NULL, NULL, AT(stops),
      RUN_STOPS_MAX, "",
         "A response ends when its text contains one of these."},

    S_TEXT("reward.scorers[].name", name, NULL,
         "Under which the score is recorded and shown."),
    {"reward.scorers[].kind", CONFIG_WORD, OF(kind), 4, 0, 0, NULL, run_config_scorer_kinds, 0, 0,
      "",
         "model: score head of `path`; regex: 1 where `pattern` matches; words: share of "
         "words found in the file `words`; length: 1 inside [min_tokens, max_tokens]; "
         "match: 1 where the response is the prompt's label; http: the service at `url`; "
         "gold: `measure` by the truth of the built-in world."},
    {"reward.scorers[].role", CONFIG_WORD, OF(role), 4, 0, 0, "reward", run_roles, 0, 0, "",
         "reward: a summand of the raw reward; cost: a summand of the raw cost, which "
         "`safety` holds below its limit; monitor: recorded and shown, never trained on: a "
         "score that cannot be had drops nothing."},
    S_TEXT("reward.scorers[].prompt_kind", prompt_kind, "",
         "It counts for prompts of this kind alone, and is not asked about others: that of their "
         "line in data.prompts; empty: for all.  Not for costs."),
    {"reward.scorers[].weight", CONFIG_F64, OF(weight), 8, -1e6, 1e6, "1", NULL, 0, 0, "",
         "Factor in the weighted sum that is the raw reward, or the raw cost (there above 0: "
         "more is worse); not for monitors, and 1 under reward.combine levels and tree."},
    {"reward.scorers[].margin", CONFIG_F64, OF(margin), 8, 1e-9, 1e6, "0.1", NULL, 0, 0, "",
         "Scores of a reward closer than this count as equal (reward.combine: levels, tree)."},
    {"reward.scorers[].low", CONFIG_F64, OF(low), 8, -1e6, 1e6, "0", NULL, 0, 0, "",
         "Scores below it count as it (reward.combine: levels)."},
    {"reward.scorers[].high", CONFIG_F64, OF(high), 8, -1e6, 1e6, "1", NULL, 0, 0, "",
         "Scores above it count as it (reward.combine: levels)."},
    S_PATH("reward.scorers[].path", path, "",
         "Directory of a *ForSequenceClassification model, or of an ensemble of them in "
         "member-0, member-1, ... (model)."),
    {"reward.scorers[].ensemble", CONFIG_WORD, OF(ensemble), 4, 0, 0, "mean", run_ensembles, 0,
      0, "",
         "What the scores of an ensemble become: their mean, the least of them, or their mean "
         "less ensemble_k of their standard deviations (model)."},
    {"reward.scorers[].ensemble_k", CONFIG_F64, OF(ensemble_k), 8, 0, 1e6, "1", NULL, 0, 0, "",
         "Standard deviations taken off, for ensemble: mean_minus_std (model)."},
    S_TEXT("reward.scorers[].pattern", pattern, "", "PCRE2 pattern (regex)."),
    S_PATH("reward.scorers[].words", words, "", "File with a word a line (words)."),
    S_U32("reward.scorers[].min_tokens", min_tokens, 0, 65536, "0", "tokens",
         "Lower end of the window (length)."),
    S_U32("reward.scorers[].max_tokens", max_tokens, 0, 65536, "65536", "tokens",
         "Upper end of the window (length)."),
    S_TEXT("reward.scorers[].url", url, "",
         "http:// or https:// address of a /get_reward service (http)."),
    S_U32("reward.scorers[].timeout_ms", timeout_ms, 1, 3600000, "30000", "ms",
         "Deadline of one sample, retries included (http)."),
    S_U32("reward.scorers[].batch", batch, 1, 1024, "16", "sequences",
         "Samples a request (http)."),
    {"reward.scorers[].measure", CONFIG_WORD, OF(measure), 4, 0, 0, "reward", run_golds, 0, 0, "",
         "What gold tells: the true reward, the true cost, whether there is harm (0 or 1), or "
         "a part of the reward."},
    {"reward.scorers[].better", CONFIG_WORD, OF(better), 4, 0, 0, "higher", run_betters, 0, 0, "",
         "Which scores of a monitor are good: how reports read it."},

    WORD_("reward.combine", combine, run_config_combines, "sum",
         "What the scores of the role reward become. sum: of weight times score; product: of "
         "score to the power weight, for scores of 0 or more; min: the least weight times score; "
         "levels: a number whose digits are the scores in steps of their margins, the first "
         "scorer's counting most; tree: the share of the reference responses that it beats, "
         "where the first scorer whose scores differ by more than its margin decides, for a "
         "reward.shaper that takes no references; maxmin: weight times the score of one scorer "
         "for the whole step, that of the group of users whose mean over the step is least."),
    WORD_("reward.shaper", shaper, run_config_shapers, "par",
         "What becomes of the raw reward r. none: r; ceiling: min(r, reward.ceiling); "
         "sigmoid, tanh, polynomial (a fit of the sigmoid): of r; centered: r less the "
         "mean of the references; par: Preference As Reward, the mean sigmoid of r less "
         "each; sgfc: the same, moved right by reward.sgfc_shift; tanh_centered, arctan, "
         "polynomial_centered: likewise; lsc: log sigmoid of r less the references' "
         "quantile of 85 %; meanstd, clip, minmax: r normalised by, or clipped to, the "
         "mean, standard deviation, least and greatest of all rewards trained before."),
    {"reward.shapers", CONFIG_TEXTS, AT(shapers), RUN_WORD_MAX, 0, 0, NULL, NULL, AT(shapers_n),
      RUN_SHAPERS_MAX, "",
         "Several of these words, applied one after another, in place of reward.shaper; what one "
         "makes of a response it makes of the references too before the next one compares."},
    U32_("reward.references", references, 1, 64, "4", "responses",
         "Reference responses a prompt, for the shapers that take references, and for "
         "reward.combine: tree; lsc needs 2."),
    PATH_("reward.reference_store", reference_store, "",
         "A file in which reference responses and their scores are kept, for later runs of the "
         "same policy, prompts, sampling, scorers and reference seed; it changes no bit of a "
         "run. Made where it is not there. Empty: none."),
    U64_("reward.reference_seed", reference_seed, 0, RUN_HUGE, "0", "",
         "Reference responses are drawn with it, so that runs of several seeds can share them; "
         "0: run.seed."),
    F64_("reward.sigmoid_k", sigmoid_k, 1e-6, 1e6, "1", "",
         "Slope of the sigmoid of par, sigmoid and sgfc."),
    F64_("reward.ceiling", ceiling, -1e6, 1e6, "5", "reward",
         "For reward.shaper: ceiling."),
    F64_("reward.sgfc_shift", sgfc_shift, -1e6, 1e6, "3", "reward",
         "How far above a reference sgfc's sigmoid has its middle."),
    F64_("reward.length_penalty", length_penalty, 0, 1e6, "0", "reward per token",
         "Taken off for each token past reward.length_free_tokens."),
    U32_("reward.length_free_tokens", length_free_tokens, 0, 65536, "300", "tokens",
         "Length up to which nothing is taken off."),
    WORD_("reward.truncation", truncation, run_truncations, "none",
         "What a response cut at max_new_tokens gets: nothing, a penalty, or a value "
         "bootstrapped by the critic."),
    F64_("reward.truncation_penalty", truncation_penalty, 0, 1e6, "1", "reward",
         "For reward.truncation: penalty."),

    WORD_("kl.estimator", kl_estimator, run_kl_estimators, "k1",
         "Of the divergence from the reference, per token."),
    WORD_("kl.place", kl_place, run_kl_places, "reward",
         "In the token rewards (PPO) or in the loss (GRPO)."),
    WORD_("kl.controller", kl_controller, run_kl_controllers, "adaptive",
         "fixed; adaptive (Ziegler et al.) or pid (log beta is a PID controller's answer to "
         "KL / target - 1) towards kl.target_nats_per_sequence, or kl.target_nats_per_token."),
    F64_("kl.coef", kl_coef, 0, 1e6, "0.1", "reward per nat", "beta, or where it starts."),
    F64_("kl.target_nats_per_sequence", kl_target, 1e-6, 1e6, "6", "nats",
         "Mean over sequences of the summed k1."),
    F64_("kl.target_nats_per_token", kl_target_token, 0, 1e6, "0", "nats",
         "Mean over sequences of the mean k1 of their tokens, in place of the target per "
         "sequence; 0: that one counts."),
    F64_("kl.horizon", kl_horizon, 0, 1e9, "0", "sequences",
         "Time constant of the adaptive controller: an error of x moves log beta by about x in "
         "so many; 0: those of eight steps. Above pipeline.batch / 5."),
    F64_("kl.lookahead", kl_lookahead, 0, 1000, "25", "steps",
         "adaptive looks at the KL that so many steps more lead to as the smoothed one moves, "
         "because the policy answers to beta with a delay; 0: at that of the step alone, by the "
         "formula of Ziegler et al."),
    F64_("kl.smooth", kl_smooth, 0, 0.999, "0.85", "",
         "Weight of the past in the KL that pid's proportional and derivative parts see, and "
         "adaptive where it looks ahead; 0: none."),
    F64_("kl.kp", kl_kp, 0, 1e6, "3", "", "Proportional gain of pid."),
    F64_("kl.ki", kl_ki, 0, 1e6, "0.15", "",
         "Integral gain of pid, a step. kl.kp / kl.ki is best the number of steps in which the "
         "policy follows beta."),
    F64_("kl.kd", kl_kd, 0, 1e6, "5", "", "Derivative gain of pid, a step."),
    F64_("kl.coef_min", kl_coef_min, 1e-9, 1e6, "0.0001", "reward per nat",
         "Least beta of pid, and of adaptive where it looks ahead."),
    F64_("kl.coef_max", kl_coef_max, 0, 1e6, "10", "reward per nat",
         "Greatest beta, likewise."),
    U64_("kl.reference_every", kl_reference_every, 0, 1e9, "0", "steps",
         "Each version that is a multiple of it becomes the reference: KL is measured from it in "
         "its own rollouts and all after them, and the KL controller begins again. More than "
         "pipeline.lag; 0: model.reference stays the reference. What rewards are compared with "
         "stays as it was."),
    F64_("kl.cap_nats_per_sequence", kl_cap, 0, 1e9, "0", "nats",
         "The run halts where the batch mean passes it; 0: no cap."),

    WORD_("safety.controller", safety_controller, run_config_controllers, "none",
         "Of the multiplier lambda that weighs cost against reward, A = (A_reward - lambda "
         "A_cost) / (1 + lambda). none: costs are watched alone; fixed; lagrangian "
         "(PPO-Lagrangian): log lambda moves by safety.lr * lambda * (cost - limit) a step; "
         "pid: lambda is a PID controller's answer to cost - limit."),
    WORD_("safety.cost", safety_cost, run_safety_costs, "probability",
         "What the cost of a response is. score: the weighted sum of its cost scores; "
         "probability: the sigmoid of that sum, which for a cost model trained with signs is "
         "the probability of harm, so that the limit is a rate of harmful responses."),
    F64_("safety.limit", safety_limit, -1e6, 1e6, "0.05", "cost",
         "The mean cost is held at or below it; for safety.cost: probability within 0 and 1."),
    F64_("safety.lambda", safety_lambda, 0, 1e6, "1", "", "lambda, or where it starts."),
    F64_("safety.lambda_min", safety_lambda_min, 0, 1e6, "0", "",
         "Least lambda; 0: none. lagrangian moves in proportion to lambda: from near 0 it takes "
         "long to come back."),
    F64_("safety.lambda_max", safety_lambda_max, 0, 1e6, "5", "",
         "Greatest lambda; 0: none, and where the limit cannot be met lambda grows until the "
         "run halts."),
    F64_("safety.lr", safety_lr, 0, 1e3, "0.1", "", "Learning rate of lagrangian."),
    F64_("safety.kp", safety_kp, 0, 1e6, "0.1", "", "Proportional gain of pid."),
    F64_("safety.ki", safety_ki, 0, 1e6, "0.01", "", "Integral gain of pid."),
    F64_("safety.kd", safety_kd, 0, 1e6, "0.01", "", "Derivative gain of pid."),
    U64_("safety.delay_steps", safety_delay_steps, 0, 1e9, "0", "steps",
         "lambda stays where it starts for so many."),
    U32_("safety.window_steps", safety_window_steps, 1, 16, "2", "steps",
         "The mean cost that moves lambda is over the responses of the last steps."),

    U32_("safety.gate_samples", safety_gate_samples, 0, 16777216, "0", "responses",
         "Train against a bound rather than the mean (HC-RLHF): the multiplier sees mean + kappa * "
         "std, kappa = safety.c1 * t / sqrt(n) + safety.c2 * t / sqrt(safety.gate_samples), t "
         "Student's quantile at safety.delta, n the costs in the window; the policy is trained on "
         "costs whose mean has the gradient of that. It is how many prompts the gate will ask, 2 "
         "or more; 0: off."),
    F64_("safety.c1", safety_c1, 0, 1e3, "1", "", "Allows for mean and std being estimates."),
    F64_("safety.c2", safety_c2, 0, 1e3, "1", "", "Allows for the width of the gate's bound."),
    F64_("safety.delta", safety_delta, 1e-9, 0.5, "0.05", "",
         "At which the gate tests one candidate: gate.delta / gate.candidates."),

    {"breaker.limits[].signal", CONFIG_WORD, OF_LIMIT(signal), 4, 0, 0, NULL, run_signals, 0, 0,
      "",
         "kl (nats a sequence), cost, reward (raw): means of the step's batch, looked at before "
         "it is trained on; loss, grad_norm, entropy: of the step trained before."},
    L_F64("breaker.limits[].low", low, -1e15, 1e15, "-1e15",
         "The signal trips the breaker below it; -1e15: none."),
    L_F64("breaker.limits[].high", high, -1e15, 1e15, "1e15",
         "The signal trips the breaker above it; 1e15: none."),
    L_F64("breaker.limits[].ratio", ratio, 0, 1e6, "0",
         "... above so many times its median, where that is above 0; 0: none, else above 1."),
    L_F64("breaker.limits[].deviations", deviations, 0, 1e6, "0",
         "... further from its median than so many standard deviations, estimated by 1.4826 "
         "times the median distance from it; 0: none."),
    {"breaker.limits[].outcome", CONFIG_WORD, OF_LIMIT(outcome), 4, 0, 0, "halt", run_trips, 0, 0,
      "",
         "skip: nothing is trained on this batch, the policy stays as it is for one step; for "
         "kl, cost and reward. rollback: nothing is trained on it, and policy, critics and "
         "optimizer go back to the newest version that broke no limit and is a multiple of "
         "breaker.restore_every, with learning rate and beta scaled. halt: the run ends (65) "
         "and names the cause."},
    U32_("breaker.window", breaker_window, 3, 32, "32", "steps",
         "Medians are over the last so many steps that broke no limit."),
    U32_("breaker.warmup", breaker_warmup, 3, 32, "16", "steps",
         "Medians say nothing before so many of them."),
    U32_("breaker.skips_max", breaker_skips_max, 0, 1e6, "3", "steps",
         "More in a row roll back, or halt where no limit's outcome is rollback: it is not the "
         "batch; 0: any number."),
    U32_("breaker.cooldown", breaker_cooldown, 1, 1e6, "20", "steps",
         "So many clean steps in a row end a series of trips."),
    U32_("breaker.trips_max", breaker_trips_max, 0, 64, "5", "",
         "More trips in one series halt the run."),
    U64_("breaker.restore_every", breaker_restore_every, 1, 1e9, "10", "steps",
         "Versions that are a multiple of it can be gone back to: they get a checkpoint, which "
         "is kept as long as a rollback may need it, whatever checkpoint.keep says."),
    F64_("breaker.lr_factor", breaker_lr_factor, 0.01, 1, "0.5", "",
         "A rollback multiplies the learning rates of policy and critics by it, until the "
         "series of trips ends."),
    F64_("breaker.beta_factor", breaker_beta_factor, 1, 100, "2", "",
         "A rollback multiplies by it the beta that the KL controller says, until the series "
         "of trips ends."),

    PATH_("gate.prompts", gate_prompts, "",
         "Held-out prompts, in the format of data.prompts, that a policy answers once each "
         "before it is published; none of them may be in data.prompts. Empty: nothing is "
         "published."),
    PATH_("gate.ledger", gate_ledger, "",
         "Which candidates were tested on which set of prompts, of all runs that use the set; "
         "empty: gate.prompts with .gate.sqlite behind it."),
    U64_("gate.every", gate_every, 0, 1e9, "0", "checkpoints",
         "How often a checkpoint is a candidate; 0: the final policy alone, which always is."),
    WORD_("gate.bound", gate_bound, run_config_gate_bounds, "clopper_pearson",
         "Upper confidence bound on the mean cost. student: assumes a mean that is nearly "
         "normal, which that of costs of 0 or 1 is not: refused for gate.cost indicator; "
         "hoeffding, bernstein: costs within gate.cost_low and gate.cost_high, "
         "whatever their distribution; clopper_pearson: costs of 0 or 1, exact."),
    WORD_("gate.cost", gate_cost, run_config_gate_costs, "indicator",
         "What a response costs. score: the weighted sum of its cost scores; probability: the "
         "sigmoid of that sum; indicator: 1 where that sum is above 0, else 0."),
    F64_("gate.delta", gate_delta, 1e-9, 0.5, "0.05", "",
         "Chance, at most, that any policy passes whose true mean cost is above the limit."),
    F64_("gate.limit", gate_limit, -1e6, 1e6, "0.05", "cost",
         "A policy passes where the bound is at or below it."),
    U32_("gate.candidates", gate_candidates, 1, 1e6, "1", "policies",
         "How many are going to be tested on this set of prompts, by all runs together: each "
         "at gate.delta / gate.candidates. The set is spent after so many."),
    F64_("gate.cost_low", gate_cost_low, -1e6, 1e6, "0", "cost",
         "Least cost of a response, for hoeffding and bernstein."),
    F64_("gate.cost_high", gate_cost_high, -1e6, 1e6, "1", "cost",
         "Greatest cost of a response, for hoeffding and bernstein."),

    WORD_("ppo.estimator", estimator, run_config_estimators, "gae",
         "gae (with a critic), grpo, rloo, reinforce++ (without)."),
    F64_("ppo.gamma", gamma, 0, 1, "1", "", "Discount a token."),
    F64_("ppo.lambda", lambda, 0, 1, "0.95", "", "Of GAE."),
    BOOL_("ppo.whiten", whiten, "true",
         "Advantages of the batch to mean 0 and variance 1."),
    U32_("ppo.epochs", epochs, 1, 64, "1", "", "Passes over the batch."),
    U32_("ppo.minibatches", minibatches, 1, 1024, "1", "", "Optimizer updates a pass."),
    F64_("ppo.clip_low", clip_low, 0, 1, "0.2", "", "Ratios below 1 - this are clipped."),
    F64_("ppo.clip_high", clip_high, 0, 10, "0.2", "",
         "Ratios above 1 + this are clipped."),
    F64_("ppo.dual_clip", dual_clip, 0, 1e3, "0", "",
         "For negative advantages the loss is at most this times |A|; 0: off, else above "
         "1."),
    F64_("ppo.value_clip", value_clip, 0, 1e3, "0.2", "",
         "Values move at most this far from the old ones in the clipped loss; 0: off."),
    F64_("ppo.value_coef", value_coef, 0, 1e3, "1", "", "Factor of the value loss."),
    F64_("ppo.entropy_coef", entropy_coef, 0, 1e3, "0", "", "Factor of the entropy bonus."),
    WORD_("ppo.aggregation", aggregation, run_aggregations, "token_mean",
         "How token losses become one: mean over tokens; mean over sequences of their "
         "token means, or of their token sums."),
    F64_("ppo.early_stop_kl", early_stop_kl, 0, 1e3, "0", "nats",
         "Epochs end when the mean k3 of new against old policy passes 1.5 times this; 0: "
         "off."),
    U32_("ppo.micro_tokens", micro_tokens, 16, 1048576, "2048", "tokens",
         "Sequences are packed into micro-batches of at most this many tokens; a longer "
         "sequence is one by itself."),

    F64_("optimizer.lr", lr, 0, 10, "1e-5", "", "Peak learning rate of the policy."),
    F64_("optimizer.critic_lr", critic_lr, 0, 10, "5e-5", "",
         "Peak learning rate of the critic, and of the cost critic."),
    F64_("optimizer.lr_floor", lr_floor, 0, 1, "0", "",
         "Share of the peak that decay ends at."),
    F64_("optimizer.beta1", beta1, 0, 0.999999, "0.9", "", "Of AdamW."),
    F64_("optimizer.beta2", beta2, 0, 0.999999, "0.95", "", "Of AdamW."),
    F64_("optimizer.eps", adam_eps, 1e-16, 1, "1e-8", "", "Of AdamW."),
    F64_("optimizer.weight_decay", weight_decay, 0, 10, "0", "",
         "Decoupled; on matrices only."),
    F64_("optimizer.grad_clip", grad_clip, 0, 1e6, "1", "",
         "Greatest global gradient norm; 0: off."),
    U64_("optimizer.warmup_steps", warmup_steps, 0, 1e9, "0", "steps", "Linear warm-up."),
    WORD_("optimizer.schedule", schedule, run_schedules, "constant", "After the warm-up."),
    WORD_("optimizer.gradients", gradients, run_precisions, "fp32",
         "In what the gradients of micro-batches are summed: float32, or each of them and each "
         "sum rounded to bfloat16, which several learners exchange in half of the bytes. The "
         "bits differ between the two, not with the number of learners."),

    U64_("checkpoint.every", checkpoint_every, 1, 1e9, "10", "steps",
         "How often; the last step always."),
    U32_("checkpoint.keep", checkpoint_keep, 1, 1000, "2", "", "Checkpoints kept."),

    U32_("workers.learners", learners, 1, 4, "1", "processes",
         "That `rlhf run` starts; they train each step together, with the same weights to the "
         "bit."),
    U32_("workers.actors", actors, 0, 2048, "1", "processes", "That `rlhf run` starts."),
    U32_("workers.rewards", rewards, 0, 2048, "1", "processes", "That `rlhf run` starts."),
    U32_("workers.actor_threads", actor_threads, 1, 64, "1", "threads",
         "Of each actor's engine."),
    U32_("workers.reward_threads", reward_threads, 1, 64, "1", "threads",
         "Of each reward process's engine."),
    U32_("workers.learner_threads", learner_threads, 1, 64, "1", "threads",
         "Of the learner's engine."),
    U32_("workers.actor_rows", actor_rows, 1, 1024, "32", "sequences",
         "An actor grows at once."),

    TEXT_("endpoints.control", control_endpoint, "",
         "Where the coordinator listens; empty: ipc in a private directory."),
    TEXT_("endpoints.bulk", bulk_endpoint, "",
         "Where the learner serves weights; empty: ipc in a private directory.  Learner n takes "
         "the n-th port after it, or a path ending in -n."),
    TEXT_("endpoints.keys", keys, "",
         "Directory of keys made by `rlhf keygen`: over TCP only who has one may connect, and "
         "all is encrypted; empty: neither.  The same path on each machine, or one given to "
         "each process."),
    BOOL_("endpoints.insecure", insecure, "false",
         "Listen without keys where other machines can connect: anybody who can reach the "
         "port can take part in the run."),
    TEXT_("endpoints.http", http_listen, "127.0.0.1:0",
         "Metrics, health and status, and what pauses or drains a run; port 0: any free one, "
         "printed at start."),
    PATH_("endpoints.token_file", token_file, "",
         "First line: the token that whoever pauses, resumes, drains or asks for a checkpoint has "
         "to send; readable by its owner alone.  Empty: from this machine's loopback, and no "
         "token."),
    TEXT_("endpoints.relay", relay_endpoint, "",
          "Where an actor serves other actors the weights that come to it, for instance "
          "tcp://10.0.0.7:*, so that the learner sends them once; empty: it does not."),
    BOOL_("endpoints.shared_memory", shared_memory, "true",
          "Actors on a learner's host map its weights instead of fetching them."),

    U32_("timeouts.heartbeat_ms", heartbeat_ms, 10, 60000, "1000", "ms",
         "Each peer says something at least this often."),
    U32_("timeouts.dead_ms", dead_ms, 50, 600000, "5000", "ms",
         "Silence after which a peer counts as gone."),
    U32_("timeouts.lease_ms", lease_ms, 100, 3600000, "60000", "ms",
         "After which work is given to another."),
    U32_("timeouts.stall_ms", stall_ms, 100, 3600000, "300000", "ms",
         "A peer that is alive but makes no progress this long loses its work."),
    U32_("timeouts.service_ms", service_ms, 0, 86400000, "3600000", "ms",
         "How long the run waits for a service of a reward or a cost (http) that cannot be "
         "reached, says that it is busy, or answers 5xx to all; what cannot be scored after that "
         "fails."),
    U32_("timeouts.rendezvous_ms", rendezvous_ms, 100, 86400000, "300000", "ms",
         "With --rendezvous: after which a worker that starts no longer looks for the "
         "coordinator."),

    F64_("leases.second_after", second_after, 0, 1000, "4", "answer times",
         "Work that a worker has held this many times as long as is usual (the median of the "
         "last 64 answers), and timeouts.heartbeat_ms, is given to a second one that is idle: "
         "the first answer counts, rollouts are compared to the bit; 0: never. It decides no "
         "bit of the result."),
};
// clang-format on

static const struct config_list run_lists[] = {
    {"reward.scorers", AT(scorer), sizeof(struct run_scorer), AT(scorers), RUN_SCORERS_MAX},
    {"breaker.limits", AT(limit), sizeof(struct run_limit), AT(limits), RUN_LIMITS_MAX},
};

const struct config_schema run_config_schema = {
    .keys = run_keys,
    .keys_n = RUN_COUNT(run_keys),
    .lists = run_lists,
    .lists_n = RUN_COUNT(run_lists),
};
