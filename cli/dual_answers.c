/* dual_answers.c -- see dual_answers.h. */
#include "cli/dual_answers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "control/chain.h"
#include "control/reward.h"
#include "control/score.h"

/* How the config makes rewards and costs. */
struct dual_rule {
    const struct run_config *config;
    struct score_term reward[RUN_SCORERS_MAX], cost[RUN_SCORERS_MAX];
    uint32_t rewards, costs;
    struct reward_params params;
    struct chain_params chain;
    bool compares; /* with references */
    bool exact;    /* the KL of an answer of the reference policy is 0 */
};

/* What a line tells of an answer. */
struct dual_answer {
    uint64_t prompt;
    bool there; /* it has all its scores */
    bool truncated;
    double reward; /* before shaping */
    double cost;
};

/* --- the config --------------------------------------------------------------------------- */

static const char *const dual_shapers[] = {
#define X(name, word) [RUN_SHAPER_##name] = word,
    RUN_SHAPER_MAP(X)
#undef X
};

static enum shaping_kind dual_shaping_kind(const char *word)
{
    for (int kind = SHAPING_NONE; kind <= SHAPING_SGFC; kind++)
        if (strcmp(word, shaping_name((enum shaping_kind)kind)) == 0)
            return (enum shaping_kind)kind;
    return SHAPING_NONE; /* the config was checked */
}

static void dual_rule_chain(struct dual_rule *rule)
{
    const struct run_config *c = rule->config;
    rule->chain.links = c->shapers_n > 0 ? c->shapers_n : 1;
    for (uint32_t i = 0; i < rule->chain.links; i++)
        rule->chain.link[i] = (struct shaping_params){
            .kind =
                dual_shaping_kind(c->shapers_n > 0 ? c->shapers[i] : dual_shapers[c->shaper]),
            .references = c->references,
            .slope = c->sigmoid_k,
            .ceiling = c->ceiling,
            .shift = c->sgfc_shift,
        };
    rule->compares = chain_references(&rule->chain) > 0;
}

static void dual_rule_init(struct dual_rule *rule, const struct run_config *config)
{
    *rule = (struct dual_rule){.config = config};
    for (uint32_t i = 0; i < config->scorers; i++) {
        const struct run_scorer *s = &config->scorer[i];
        if (s->role == RUN_ROLE_REWARD)
            rule->reward[rule->rewards++] = (struct score_term){s->name, s->weight};
        else if (s->role == RUN_ROLE_COST)
            rule->cost[rule->costs++] = (struct score_term){s->name, s->weight};
    }
    rule->params = (struct reward_params){
        .length_free_tokens = config->length_free_tokens,
        .length_penalty = config->length_penalty,
        .truncation = config->truncation == RUN_TRUNCATION_PENALTY ? REWARD_TRUNCATION_PENALTY
                                                                   : REWARD_TRUNCATION_NONE,
        .truncation_penalty = config->truncation_penalty,
    };
    dual_rule_chain(rule);
    rule->exact = config->top_k == 0 && config->top_p >= 1.0f && config->min_p <= 0.0f;
}

enum err_code dual_answers_check(const struct run_config *config, struct err *err)
{
    struct dual_rule rule;
    if (config->combine != RUN_COMBINE_SUM)
        return err_set(err, ERR_USAGE,
                       "reward.combine is not sum: its reward is not made from answers here");
    if (!run_config_has_role(config, RUN_ROLE_COST))
        return err_set(err, ERR_USAGE,
                       "no scorer has the role cost: there is nothing to limit");
    if (config->kl_coef <= 0.0)
        return err_set(err, ERR_USAGE, "kl.coef is 0: without a KL no policy is best");
    dual_rule_init(&rule, config);
    for (uint32_t i = 0; i < rule.chain.links; i++)
        if (shaping_is_running(&rule.chain.link[i]))
            return err_set(err, ERR_USAGE,
                           "the shaper %s depends on the steps before: its reward is not made "
                           "from answers",
                           shaping_name(rule.chain.link[i].kind));
    return ERR_OK;
}

/* --- a line ------------------------------------------------------------------------------- */

static enum err_code dual_read_scores(const struct dual_rule *rule, const json_t *object,
                                      uint32_t tokens, struct dual_answer *answer,
                                      const char *where, struct err *err)
{
    const struct run_config *c = rule->config;
    struct score score[RUN_SCORERS_MAX];
    const json_t *scores = json_object_get(object, "scores");
    struct err why = {0};
    for (uint32_t i = 0; i < c->scorers; i++) {
        const json_t *value = json_object_get(scores, c->scorer[i].name);
        if (!value || (!json_is_number(value) && !json_is_null(value)))
            return err_set(err, ERR_FORMAT,
                           "%s: there is no score of %s: other scorers, or no "
                           "line of rlhf evaluate --out",
                           where, c->scorer[i].name);
        score[i] =
            (struct score){c->scorer[i].name, json_is_null(value) ? SCORE_FAILED : SCORE_OK,
                           json_number_value(value)};
    }
    double raw = 0.0, cost = 0.0;
    if (score_combine(rule->reward, rule->rewards, score, c->scorers, &raw, &why) ||
        score_combine(rule->cost, rule->costs, score, c->scorers, &cost, &why))
        return ERR_OK; /* not there */
    answer->there = true;
    answer->reward = reward_length(&rule->params, raw, tokens);
    answer->cost =
        c->safety_cost == RUN_SAFETY_COST_PROBABILITY ? score_probability(cost) : cost;
    return ERR_OK;
}

static enum err_code dual_read_line(const struct dual_rule *rule, const char *line, size_t len,
                                    struct dual_answer *answer, const char *where,
                                    struct err *err)
{
    uint64_t tokens = 0;
    double kl = 0.0;
    const char *finish = NULL;
    *answer = (struct dual_answer){0};
    json_t *object = json_parse(line, len, where, err);
    if (!object)
        return err->code;
    enum err_code rc =
        json_get_u64(object, "prompt_index", 0, UINT32_MAX, &answer->prompt, where, err);
    if (rc == ERR_OK)
        rc = json_get_u64(object, "tokens", 0, UINT32_MAX, &tokens, where, err);
    if (rc == ERR_OK)
        rc = json_get_string(object, "finish", &finish, where, err);
    if (rc == ERR_OK)
        rc = json_get_double(object, "kl", -HUGE_VAL, HUGE_VAL, &kl, where, err);
    if (rc == ERR_OK && rule->exact && fabs(kl) > DUAL_ANSWERS_KL_MAX)
        rc = err_set(err, ERR_USAGE,
                     "%s: the answer is %g nats from the reference policy: the dual is found "
                     "from answers of that policy itself",
                     where, kl);
    if (rc == ERR_OK) {
        answer->truncated = strcmp(finish, "length") == 0;
        rc = dual_read_scores(rule, object, (uint32_t)tokens, answer, where, err);
    }
    json_decref(object);
    return rc;
}

/* --- all of them -------------------------------------------------------------------------- */

static enum err_code dual_read_lines(const struct dual_rule *rule, const char *where,
                                     const struct buf *lines, struct dual_answer *answer,
                                     uint32_t *n, struct err *err)
{
    const char *cursor = lines->data, *line;
    size_t len;
    for (uint32_t i = 0; file_next_line(&cursor, lines->data + lines->len, &line, &len); i++) {
        char at[FILE_PATH_MAX + 24];
        snprintf(at, sizeof at, "%.1000s:%u", where, (unsigned)i + 1);
        const enum err_code rc = dual_read_line(rule, line, len, &answer[i], at, err);
        if (rc)
            return rc;
        if (i > 0 && answer[i].prompt < answer[i - 1].prompt)
            return err_set(err, ERR_FORMAT, "%s: prompt %llu comes after prompt %llu", at,
                           (unsigned long long)answer[i].prompt,
                           (unsigned long long)answer[i - 1].prompt);
        *n = i + 1;
    }
    return ERR_OK;
}

/* The reward of answer i of a prompt's n, those that are there, against the others. */
static enum err_code dual_shape(const struct dual_rule *rule, const struct dual_answer *answer,
                                uint32_t n, uint32_t i, double *reward, struct err *err)
{
    static const struct chain_state nothing;
    struct chain_params chain = rule->chain;
    double refs[CHAIN_REFERENCES_MAX], shaped;
    uint32_t others = 0;
    bool bootstrap;
    for (uint32_t k = 1; k < n && others < CHAIN_REFERENCES_MAX; k++)
        refs[others++] = answer[(i + k) % n].reward;
    for (uint32_t link = 0; link < chain.links; link++)
        if (shaping_references(&chain.link[link]) > 0)
            chain.link[link].references = others;
    const enum err_code rc =
        chain_apply(&chain, &nothing, answer[i].reward, refs, others, &shaped, err);
    if (rc == ERR_OK)
        *reward = reward_truncate(&rule->params, shaped, answer[i].truncated, &bootstrap);
    return rc;
}

/* Of one prompt: those of answer[0 .. n-1] that are there, moved to the front, into the batch. */
static enum err_code dual_add_prompt(const struct dual_rule *rule, struct dual_answer *answer,
                                     uint32_t n, struct dual_answers *out, struct err *err)
{
    uint32_t there = 0;
    for (uint32_t i = 0; i < n; i++)
        if (answer[i].there)
            answer[there++] = answer[i];
    if (there == 0 || (rule->compares && there < 2)) {
        out->missing += n;
        return ERR_OK;
    }
    out->missing += n - there;
    for (uint32_t i = 0; i < there; i++) {
        const enum err_code rc =
            dual_shape(rule, answer, there, i, &out->reward[out->answers], err);
        if (rc)
            return rc;
        out->cost[out->answers++] = answer[i].cost;
    }
    out->offset[++out->batch.prompts] = out->answers;
    return ERR_OK;
}

static double dual_correlation(const double *x, const double *y, uint32_t n)
{
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    for (uint32_t i = 0; i < n; i++) {
        mx += x[i] / n;
        my += y[i] / n;
    }
    for (uint32_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
    }
    return xy / sqrt(xx * yy);
}

enum err_code dual_answers_read(struct dual_answers *answers, const struct run_config *config,
                                const char *where, const struct buf *lines, struct err *err)
{
    struct dual_rule rule;
    const char *cursor = lines->data, *line;
    size_t len, most = 0;
    uint32_t n = 0;
    *answers = (struct dual_answers){0};
    dual_rule_init(&rule, config);
    while (file_next_line(&cursor, lines->data + lines->len, &line, &len))
        most++;
    struct dual_answer *answer = calloc(most + 1, sizeof *answer);
    answers->offset = calloc(most + 1, sizeof *answers->offset);
    answers->reward = calloc(most + 1, sizeof *answers->reward);
    answers->cost = calloc(most + 1, sizeof *answers->cost);
    enum err_code rc = ERR_OK;
    if (!answer || !answers->offset || !answers->reward || !answers->cost)
        rc = err_set(err, ERR_NOMEM, "out of memory for %zu answers", most);
    if (rc == ERR_OK)
        rc = dual_read_lines(&rule, where, lines, answer, &n, err);
    for (uint32_t first = 0, end; first < n && rc == ERR_OK; first = end) {
        for (end = first + 1; end < n && answer[end].prompt == answer[first].prompt;)
            end++;
        rc = dual_add_prompt(&rule, answer + first, end - first, answers, err);
    }
    if (rc == ERR_OK && answers->answers == 0)
        rc = err_set(err, ERR_VALUE, "%s: no answer has all its scores%s", where,
                     rule.compares ? ", or another answer to its prompt" : "");
    answers->batch.offset = answers->offset;
    answers->batch.reward = answers->reward;
    answers->batch.cost = answers->cost;
    answers->reward_cost = dual_correlation(answers->reward, answers->cost, answers->answers);
    free(answer);
    return rc;
}

void dual_answers_release(struct dual_answers *answers)
{
    free(answers->offset);
    free(answers->reward);
    free(answers->cost);
    *answers = (struct dual_answers){0};
}
