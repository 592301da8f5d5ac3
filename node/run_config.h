/*
 * run_config.h -- what a person says about a run, checked: the one struct every daemon reads.
 *
 * The schema (node/run_config_keys.c) is one table: a row a key with its type, unit, range, default
 * and meaning; docs/CONFIGURATION.md is printed from it.  Files are YAML; unknown or duplicate
 * keys, wrong types and values out of range are refused with file:line and a "did you mean".
 * Paths are relative to the file that names them and absolute once loaded.
 */
#ifndef NODE_RUN_CONFIG_H
#define NODE_RUN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"

#define RUN_NAME_MAX    64
#define RUN_SCORERS_MAX 16
#define RUN_STOPS_MAX   8
#define RUN_SHAPERS_MAX 8
#define RUN_WORD_MAX    32 /* bytes of a word in a list, with the NUL */
#define RUN_LIMITS_MAX  12 /* of the breaker */
#define RUN_LAG_MAX     8
#define RUN_STOP_MAX    64
#define RUN_TEXT_MAX    1024
#define RUN_PATH_MAX    FILE_PATH_MAX

/* Where a setting is one of a few words, its enum's values are named RUN_<KEY>_<WORD>. */
enum run_template {
    RUN_TEMPLATE_PLAIN,
    RUN_TEMPLATE_CHATML,
    RUN_TEMPLATE_LLAMA3,
    RUN_TEMPLATE_HH
};
enum run_estimator { /* ppo.estimator */
    RUN_ESTIMATOR_GAE, RUN_ESTIMATOR_GRPO, RUN_ESTIMATOR_RLOO, RUN_ESTIMATOR_REINFORCE_PP
};
enum run_aggregation { /* ppo.aggregation */
    RUN_AGGREGATION_TOKEN_MEAN, RUN_AGGREGATION_SEQUENCE_MEAN, RUN_AGGREGATION_SEQUENCE_SUM
};
enum run_kl_estimator { RUN_KL_K1, RUN_KL_K2, RUN_KL_K3 };
enum run_kl_place { RUN_KL_PLACE_REWARD, RUN_KL_PLACE_LOSS };
enum run_kl_controller {
    RUN_KL_CONTROLLER_FIXED, RUN_KL_CONTROLLER_ADAPTIVE, RUN_KL_CONTROLLER_PID
};
#define RUN_SHAPER_MAP(X) /* reward.shaper: the words of control/shaping.h */             \
    X(NONE, "none") X(CENTERED, "centered") X(PAR, "par")                                 \
    X(CEILING, "ceiling") X(CLIP, "clip") X(MEANSTD, "meanstd") X(MINMAX, "minmax")       \
    X(LSC, "lsc") X(SIGMOID, "sigmoid") X(TANH, "tanh")                                   \
    X(TANH_CENTERED, "tanh_centered") X(ARCTAN, "arctan") X(POLYNOMIAL, "polynomial")     \
    X(POLYNOMIAL_CENTERED, "polynomial_centered") X(SGFC, "sgfc")
enum run_shaper {
#define X(name, word) RUN_SHAPER_##name,
    RUN_SHAPER_MAP(X)
#undef X
};
enum run_truncation { RUN_TRUNCATION_NONE, RUN_TRUNCATION_PENALTY, RUN_TRUNCATION_BOOTSTRAP };
enum run_schedule { RUN_SCHEDULE_CONSTANT, RUN_SCHEDULE_LINEAR, RUN_SCHEDULE_COSINE };
enum run_precision { /* model.precision: in the order of engine/precision.h, to be cast to it */
    RUN_PRECISION_FP32, RUN_PRECISION_BF16
};
enum run_critic { RUN_CRITIC_POLICY, RUN_CRITIC_REWARD, RUN_CRITIC_PATH };
enum run_cost_critic { RUN_COST_CRITIC_POLICY, RUN_COST_CRITIC_COST, RUN_COST_CRITIC_PATH };
enum run_safety_controller { /* safety.controller */
    RUN_SAFETY_CONTROLLER_NONE, RUN_SAFETY_CONTROLLER_FIXED, RUN_SAFETY_CONTROLLER_LAGRANGIAN,
    RUN_SAFETY_CONTROLLER_PID
};
enum run_safety_cost { RUN_SAFETY_COST_SCORE, RUN_SAFETY_COST_PROBABILITY };
enum run_gate_bound { /* gate.bound: the words of control/bound.h */
    RUN_GATE_BOUND_STUDENT, RUN_GATE_BOUND_HOEFFDING, RUN_GATE_BOUND_BERNSTEIN,
    RUN_GATE_BOUND_CLOPPER_PEARSON
};
enum run_gate_cost { RUN_GATE_COST_SCORE, RUN_GATE_COST_PROBABILITY, RUN_GATE_COST_INDICATOR };

#define RUN_SCORER_MAP(X)                                                                 \
    X(MODEL, "model")       /* a *ForSequenceClassification directory: `path` */          \
    X(REGEX, "regex")       /* 1 where the PCRE2 `pattern` matches the response, else 0 */ \
    X(WORDS, "words")       /* share of the response's words found in `words`, 0..1 */    \
    X(LENGTH, "length")     /* 1 inside [min_tokens, max_tokens], falling off linearly */ \
    X(MATCH, "match")       /* 1 where the trimmed response equals the prompt's label */  \
    X(HTTP, "http")         /* OpenRLHF's /get_reward contract: `url` */                  \
    X(GOLD, "gold")         /* the built-in world's truth: `measure` */
enum run_scorer_kind {
#define X(name, word) RUN_SCORER_##name,
    RUN_SCORER_MAP(X)
#undef X
};

/* What becomes of a scorer's scores. */
enum run_role {
    RUN_ROLE_REWARD, /* summand of the raw reward */
    RUN_ROLE_COST,   /* summand of the raw cost, which `safety` holds below its limit */
    RUN_ROLE_MONITOR /* recorded and shown; where it fails, training does not notice */
};

#define RUN_GOLD_MAP(X) /* reward.scorers[].measure: the words of world/gold.h */         \
    X(reward) X(cost) X(harm) X(helpful) X(polite) X(rude) X(padding) X(repetition)       \
    X(unfinished)
enum run_gold {
#define X(name) RUN_GOLD_##name,
    RUN_GOLD_MAP(X)
#undef X
};

enum run_ensemble { /* reward.scorers[].ensemble */
    RUN_ENSEMBLE_MEAN, RUN_ENSEMBLE_MIN, RUN_ENSEMBLE_MEAN_MINUS_STD
};

enum run_combine { /* reward.combine: the words of control/combine.h */
    RUN_COMBINE_SUM, RUN_COMBINE_PRODUCT, RUN_COMBINE_MIN, RUN_COMBINE_LEVELS,
    RUN_COMBINE_TREE, RUN_COMBINE_MAXMIN
};

enum run_better { RUN_BETTER_HIGHER, RUN_BETTER_LOWER }; /* reward.scorers[].better */

enum run_signal { /* breaker.limits[].signal: the words of control/breaker.h */
    RUN_SIGNAL_LOSS, RUN_SIGNAL_GRAD_NORM, RUN_SIGNAL_KL, RUN_SIGNAL_ENTROPY, RUN_SIGNAL_COST,
    RUN_SIGNAL_REWARD
};
enum run_trip {
    RUN_TRIP_SKIP,
    RUN_TRIP_ROLLBACK,
    RUN_TRIP_HALT
}; /* breaker.limits[].outcome */

struct run_limit { /* breaker.limits[i] */
    enum run_signal signal;
    double low, high;  /* -RUN_LIMIT_NONE, RUN_LIMIT_NONE: none */
    double ratio;      /* to the signal's median; 0: none */
    double deviations; /* from the signal's median; 0: none */
    enum run_trip outcome;
};
#define RUN_LIMIT_NONE 1e15

struct run_scorer { /* reward.scorers[i] */
    char name[RUN_NAME_MAX];
    enum run_scorer_kind kind;
    enum run_role role;
    char prompt_kind[RUN_NAME_MAX]; /* it is asked about prompts of this kind; "": about all */
    double weight;               /* in the weighted sum that is the raw reward, or cost */
    double margin;               /* of a reward under reward.combine levels, tree */
    double low, high;            /* likewise, levels */
    char path[RUN_PATH_MAX];     /* model: of one, or of an ensemble member-0, member-1, ... */
    enum run_ensemble ensemble;  /* model: how its members' scores become one */
    double ensemble_k;           /* mean_minus_std: standard deviations taken off */
    char pattern[RUN_TEXT_MAX];  /* regex */
    char words[RUN_PATH_MAX];    /* words: a file, one word a line */
    uint32_t min_tokens, max_tokens; /* length */
    char url[RUN_TEXT_MAX];      /* http */
    uint32_t timeout_ms;         /* http: whole deadline of one sample, retries included */
    uint32_t batch;              /* http: samples a request */
    enum run_gold measure;       /* gold */
    enum run_better better;      /* of a monitor: how a report reads it; trains nothing */
};

struct run_config {
    /* run: */
    char name[RUN_NAME_MAX];  /* run.name */
    char dir[RUN_PATH_MAX];   /* run.dir: everything the run writes is below it */
    uint64_t seed;            /* run.seed */
    uint64_t steps;           /* run.steps */

    /* model: */
    char policy[RUN_PATH_MAX];    /* model.policy: the directory training starts from */
    char reference[RUN_PATH_MAX]; /* model.reference; default: the policy's */
    enum run_critic critic;       /* model.critic: policy | reward | path */
    char critic_path[RUN_PATH_MAX]; /* model.critic_path */
    enum run_cost_critic cost_critic; /* model.cost_critic */
    char cost_critic_path[RUN_PATH_MAX]; /* model.cost_critic_path */
    enum run_precision precision; /* model.precision: of every model of the run */

    /* data: */
    char prompts[RUN_PATH_MAX];   /* data.prompts: JSON lines {"prompt", "label", "kind"} */
    enum run_template template_;  /* data.template */
    uint32_t prompt_tokens_max;   /* data.prompt_tokens_max: longer prompts are refused */

    /* pipeline: */
    uint32_t lag;                 /* pipeline.lag 0..RUN_LAG_MAX */
    uint32_t batch;               /* pipeline.batch: slots a step */
    uint32_t samples_per_prompt;  /* pipeline.samples_per_prompt: divides batch */

    /* sampling: */
    float temperature, top_p, min_p;
    uint32_t top_k;
    uint32_t max_new_tokens;
    char stop[RUN_STOPS_MAX][RUN_STOP_MAX]; /* sampling.stop: list of strings */
    uint32_t stops;

    /* reward: */
    struct run_scorer scorer[RUN_SCORERS_MAX];
    uint32_t scorers;
    enum run_combine combine;     /* reward.combine: how reward scores become one */
    enum run_shaper shaper;       /* reward.shaper */
    char shapers[RUN_SHAPERS_MAX][RUN_WORD_MAX]; /* reward.shapers: the same words, checked */
    uint32_t shapers_n;           /* in place of shaper; 0: that one alone */
    uint32_t references;          /* reward.references: M of the shapers that take any */
    char reference_store[RUN_PATH_MAX]; /* reward.reference_store: kept references; "": none */
    uint64_t reference_seed;      /* reward.reference_seed: 0: seed */
    double sigmoid_k;             /* reward.sigmoid_k: par, sigmoid, sgfc */
    double ceiling;               /* reward.ceiling */
    double sgfc_shift;            /* reward.sgfc_shift */
    double length_penalty;        /* reward.length_penalty: per token past length_free_tokens */
    uint32_t length_free_tokens;
    enum run_truncation truncation; /* reward.truncation */
    double truncation_penalty;

    /* kl: */
    enum run_kl_estimator kl_estimator;
    enum run_kl_place kl_place;
    enum run_kl_controller kl_controller;
    double kl_coef;               /* kl.coef: initial or fixed beta */
    double kl_target;             /* kl.target_nats_per_sequence */
    double kl_target_token;       /* kl.target_nats_per_token; 0: the target is kl_target */
    double kl_horizon;            /* kl.horizon: sequences; 0: of eight steps */
    double kl_lookahead;          /* kl.lookahead: steps; 0: none */
    double kl_kp, kl_ki, kl_kd;   /* pid */
    double kl_smooth;             /* pid, and adaptive where it looks ahead */
    double kl_coef_min, kl_coef_max; /* likewise */
    uint64_t kl_reference_every;  /* kl.reference_every: versions; 0: never */
    double kl_cap;                /* kl.cap_nats_per_sequence: past it the run halts; 0: off */

    /* safety: */
    enum run_safety_controller safety_controller;
    enum run_safety_cost safety_cost; /* of a response: the raw cost, or its sigmoid */
    double safety_limit;          /* d: the mean cost is held at or below it */
    double safety_lambda;         /* the multiplier, or where it starts */
    double safety_lambda_min;     /* at most safety_lambda */
    double safety_lambda_max;     /* 0: none */
    double safety_lr;             /* lagrangian */
    double safety_kp, safety_ki, safety_kd; /* pid */
    uint64_t safety_delay_steps;  /* the multiplier stays for so long */
    uint32_t safety_window_steps; /* whose costs make the mean cost */
    uint32_t safety_gate_samples; /* n_s of the pessimistic constraint; 0: the mean itself */
    double safety_c1, safety_c2;  /* its factors, */
    double safety_delta;          /* and its confidence, for one candidate */

    /* breaker: on while there are limits */
    struct run_limit limit[RUN_LIMITS_MAX];
    uint32_t limits;
    uint32_t breaker_window, breaker_warmup; /* steps: of the medians; before they say anything */
    uint32_t breaker_skips_max;   /* in a row; 0: any number */
    uint32_t breaker_cooldown;    /* clean steps that end a series of trips */
    uint32_t breaker_trips_max;   /* of such a series */
    uint64_t breaker_restore_every; /* versions that a rollback can go back to; steps */
    double breaker_lr_factor, breaker_beta_factor; /* for each rollback of such a series */

    /* gate: what a policy has to pass before it is published */
    char gate_prompts[RUN_PATH_MAX]; /* gate.prompts: held out; "": there is no gate */
    char gate_ledger[RUN_PATH_MAX];  /* "": gate_prompts with .gate.sqlite behind it */
    uint64_t gate_every;             /* checkpoints; 0: the final policy alone */
    enum run_gate_bound gate_bound;
    enum run_gate_cost gate_cost;
    double gate_delta;               /* of all candidates together */
    double gate_limit;               /* the mean cost a policy may have */
    uint32_t gate_candidates;        /* planned for this set of prompts */
    double gate_cost_low, gate_cost_high; /* HOEFFDING, BERNSTEIN: of one response */

    /* ppo: */
    enum run_estimator estimator;
    double gamma, lambda;
    bool whiten;
    uint32_t epochs, minibatches;
    double clip_low, clip_high, dual_clip /* 0: off */, value_clip /* 0: off */;
    double value_coef, entropy_coef;
    enum run_aggregation aggregation;
    double early_stop_kl;         /* mean k3(new, old) past 1.5 x this ends the epochs; 0: off */
    uint32_t micro_tokens;        /* ppo.micro_tokens: tokens of a micro-batch, at most */

    /* optimizer: (policy) and critic_lr */
    double lr, critic_lr, lr_floor;
    double beta1, beta2, adam_eps, weight_decay, grad_clip;
    uint64_t warmup_steps;
    enum run_schedule schedule;
    enum run_precision gradients; /* in what micro-batches' are summed: engine/gradient.h */

    /* checkpoint: */
    uint64_t checkpoint_every;    /* steps; the last step always */
    uint32_t checkpoint_keep;

    /* workers: */
    uint32_t learners, actors, rewards; /* processes `rlhf run` starts */
    uint32_t actor_threads, reward_threads, learner_threads;
    uint32_t actor_rows;          /* sequences an actor grows at once */

    /* endpoints: empty: ipc:// in a private directory that `rlhf run` makes */
    char control_endpoint[RUN_TEXT_MAX]; /* endpoints.control */
    char bulk_endpoint[RUN_TEXT_MAX];    /* endpoints.bulk */
    char keys[RUN_TEXT_MAX];             /* endpoints.keys: directory (wire/keys.h); "": none */
    bool insecure;                       /* endpoints.insecure */
    char http_listen[RUN_NAME_MAX];      /* endpoints.http "127.0.0.1:9464"; port 0: any */
    char token_file[RUN_PATH_MAX];       /* endpoints.token_file: of POST; "": loopback alone */
    char relay_endpoint[RUN_TEXT_MAX];   /* endpoints.relay: of an actor */
    bool shared_memory;                  /* endpoints.shared_memory: of weights, on one host */

    /* timeouts: */
    uint32_t heartbeat_ms, dead_ms, lease_ms, stall_ms, service_ms, rendezvous_ms;

    /* leases: */
    double second_after; /* usual answer times; 0: never */
};

/*
 * Read `path` (at most 1 MiB), apply overrides "dotted.key=value" in order, check everything.
 * ERR_USAGE with "file:line: ..." (or the override's text), a sentence, and a suggestion.
 */
enum err_code run_config_load(struct run_config *config, const char *path,
                              const char *const *overrides, size_t overrides_n,
                              struct err *err);

/* ERR_USAGE where `endpoint`, to be bound, could be reached from other machines, and there are no
 * keys, and endpoints.insecure does not say that this is meant. */
enum err_code run_config_check_open(const struct run_config *config, const char *endpoint,
                                    struct err *err);

/* The whole resolved config as YAML that run_config_load reads back to the same struct. */
void run_config_write(const struct run_config *config, struct buf *out);

/* BLAKE2b over what decides the run's bits (not name, dir, workers, endpoints, timeouts): what
 * HELLO carries. */
void run_config_hash(const struct run_config *config, struct hash *out);

/* The first key that decides the run's bits and is not the same in both; NULL where their hashes
 * are equal.  A constant string. */
const char *run_config_difference(const struct run_config *a, const struct run_config *b);

/* The keys that begin with `prefix`, a line a key and element: for the hash of what depends on
 * them. */
void run_config_write_keys(const struct run_config *config, const char *prefix,
                           struct buf *out);

/* docs/CONFIGURATION.md from the schema. */
void run_config_document(struct buf *out);

/* Is there a scorer of this role? */
bool run_config_has_role(const struct run_config *config, enum run_role role);

/* Is there a limit of the breaker whose outcome is a rollback? */
static inline bool run_config_rolls_back(const struct run_config *config)
{
    for (uint32_t i = 0; i < config->limits; i++)
        if (config->limit[i].outcome == RUN_TRIP_ROLLBACK)
            return true;
    return false;
}

/* Do costs train: are there cost scorers, and a multiplier that weighs them? */
static inline bool run_config_has_cost(const struct run_config *config)
{
    return config->safety_controller != RUN_SAFETY_CONTROLLER_NONE; /* which needs scorers */
}

/* Does it count for prompts of this kind?  NULL: a prompt of no kind. */
static inline bool run_scorer_counts(const struct run_scorer *scorer, const char *prompt_kind)
{
    return scorer->prompt_kind[0] == '\0' ||
           (prompt_kind && strcmp(scorer->prompt_kind, prompt_kind) == 0);
}

/* What reference responses are drawn with. */
static inline uint64_t run_config_reference_seed(const struct run_config *config)
{
    return config->reference_seed ? config->reference_seed : config->seed;
}

/* The first scorer of this role that is a model; NULL: there is none. */
const struct run_scorer *run_config_model_scorer(const struct run_config *config,
                                                 enum run_role role);

#endif
