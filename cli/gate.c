/* gate.c -- see gate.h. */
#define _DEFAULT_SOURCE /* realpath */
#include "cli/gate.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/evaluate.h"
#include "coordinator/prompts.h"
#include "data/seen.h"
#include "engine/model.h"
#include "node/gate_record.h"

#define GATE_LINES_MAX ((size_t)1 << 30)
#define GATE_TEXT_MAX  ((size_t)1 << 20)

struct gate {
    const struct gate_params *params;
    struct gate_result *result;
    struct run_config config; /* as evaluate.h wants it: this candidate, these prompts */
    struct bound_gate bound;
    struct gate_claim claim;
    struct hash weights;
    struct gate_ledger *ledger;
    struct gate_release release;
    struct buf lines;
    double *cost; /* (claim.prompts) */
    uint32_t n;   /* answers that have a cost, all of them from the first */
};

static const char *gate_cost_name(enum run_gate_cost cost)
{
    switch (cost) {
    case RUN_GATE_COST_SCORE: return "score";
    case RUN_GATE_COST_PROBABILITY: return "probability";
    case RUN_GATE_COST_INDICATOR: return "indicator";
    }
    return "?";
}

static enum bound_kind gate_bound_kind(enum run_gate_bound bound)
{
    switch (bound) {
    case RUN_GATE_BOUND_STUDENT: return BOUND_STUDENT;
    case RUN_GATE_BOUND_HOEFFDING: return BOUND_HOEFFDING;
    case RUN_GATE_BOUND_BERNSTEIN: return BOUND_BERNSTEIN;
    case RUN_GATE_BOUND_CLOPPER_PEARSON: return BOUND_CLOPPER_PEARSON;
    }
    assert(0 && "gate.bound: no such value");
    return BOUND_HOEFFDING;
}

/* --- what is tested ------------------------------------------------------------------------ */

/* The config that evaluates the candidate: cost scorers alone, on the held-out prompts. */
static void gate_configure(struct gate *g)
{
    const struct run_config *from = g->params->config;
    g->config = *from;
    g->config.scorers = 0;
    for (uint32_t i = 0; i < from->scorers; i++)
        if (from->scorer[i].role == RUN_ROLE_COST)
            g->config.scorer[g->config.scorers++] = from->scorer[i];
    memcpy(g->config.prompts, from->gate_prompts, sizeof g->config.prompts);
    memcpy(g->config.policy, g->release.dir, sizeof g->config.policy);
    g->bound = (struct bound_gate){
        .bound = {gate_bound_kind(from->gate_bound), from->gate_cost_low, from->gate_cost_high},
        .limit = from->gate_limit,
        .delta = from->gate_delta,
        .candidates_max = from->gate_candidates,
    };
}

static enum err_code gate_plan(struct gate *g, struct err *err)
{
    const struct bound_gate *b = &g->bound;
    const int n =
        snprintf(g->claim.plan, sizeof g->claim.plan,
                 "bound %s, cost %s in [%.17g, %.17g], limit %.17g, delta %.17g, candidates %u",
                 bound_name(b->bound.kind), gate_cost_name(g->config.gate_cost), b->bound.low,
                 b->bound.high, b->limit, b->delta, (unsigned)b->candidates_max);
    assert(n > 0 && (size_t)n < sizeof g->claim.plan);
    g->claim.candidates_max = b->candidates_max;
    g->claim.run = g->config.dir;
    return bound_gate_check(b, err);
}

/* The policy, how it samples and what scores it: with another of these it is another candidate. */
static enum err_code gate_identify(struct gate *g, struct err *err)
{
    const struct run_config *c = &g->config;
    struct model *model = model_load(g->release.dir, err);
    if (!model)
        return err->code;
    hash_blake2b(&g->weights, model->w, model_bytes(model));
    model_free(model);
    char hex[HASH_HEX_BYTES];
    hash_hex(&g->weights, hex);
    memcpy(g->result->name, hex, GATE_RELEASE_NAME - 1);

    struct buf text;
    buf_init(&text, GATE_TEXT_MAX);
    buf_printf(&text, "%s seed %llu template %d sampling %.9g %u %.9g %.9g %u", hex,
               (unsigned long long)c->seed, (int)c->template_, (double)c->temperature, c->top_k,
               (double)c->top_p, (double)c->min_p, c->max_new_tokens);
    if (c->precision == RUN_PRECISION_BF16) /* fp32 is what a candidate always was */
        buf_puts(&text, "\nbf16");
    for (uint32_t i = 0; i < c->stops; i++)
        buf_printf(&text, "\nstop %s", c->stop[i]);
    for (uint32_t i = 0; i < c->scorers; i++) {
        const struct run_scorer *s = &c->scorer[i];
        buf_printf(&text, "\nscorer %s %d %.17g %s %d %.17g %s %s %u %u %s %d", s->name,
                   (int)s->kind, s->weight, s->path, (int)s->ensemble, s->ensemble_k,
                   s->pattern, s->words, s->min_tokens, s->max_tokens, s->url, (int)s->measure);
    }
    const enum err_code rc = buf_check(&text, "the candidate", err);
    hash_blake2b(&g->claim.candidate, text.data, text.len);
    buf_release(&text);
    return rc;
}

static enum err_code gate_hash_set(const struct gate *g, struct hash *set, struct err *err)
{
    struct buf bytes;
    buf_init(&bytes, PROMPTS_FILE_MAX);
    const enum err_code rc = file_read(g->config.prompts, &bytes, err);
    hash_blake2b(set, bytes.data, bytes.len);
    buf_release(&bytes);
    return rc;
}

static uint64_t gate_prompt_hash(const struct prompts *prompts, uint32_t i)
{
    return hash_xxh3(prompts->tokens.ids + prompts->offset[i],
                     (prompts->offset[i + 1] - prompts->offset[i]) * sizeof(int32_t));
}

/* No held-out prompt may be one of the data set: equal ids, in the run's template. */
static enum err_code gate_check_disjoint(const struct gate *g, const struct prompts *held_out,
                                         struct err *err)
{
    struct run_config training = *g->params->config;
    struct prompts prompts = {0};
    struct seen seen;
    struct seen_entry before;
    seen_init(&seen, SEEN_MAX);
    memcpy(training.policy, g->release.dir, sizeof training.policy);
    enum err_code rc = prompts_load(&prompts, &training, err);
    for (uint32_t i = 0; i < prompts.n && rc == ERR_OK; i++)
        rc = seen_put(&seen, gate_prompt_hash(&prompts, i), 0, i, &before, err);
    if (rc == ERR_OK && seen.full)
        rc =
            err_set(err, ERR_VALUE, "%s has more than %zu prompts", training.prompts, SEEN_MAX);
    for (uint32_t i = 0; i < held_out->n && rc == ERR_OK; i++) {
        rc = seen_put(&seen, gate_prompt_hash(held_out, i), 1, i, &before, err);
        if (rc == ERR_OK && before.files > 0 && before.file == 0)
            rc = err_set(err, ERR_USAGE,
                         "%s: prompt %u is prompt %llu of %s: the gate needs prompts that "
                         "training never saw",
                         g->config.prompts, (unsigned)i, (unsigned long long)before.line,
                         training.prompts);
    }
    prompts_release(&prompts);
    seen_release(&seen);
    return rc;
}

static enum err_code gate_count_prompts(struct gate *g, struct err *err)
{
    struct prompts prompts = {0};
    enum err_code rc = prompts_load(&prompts, &g->config, err);
    if (rc == ERR_OK)
        rc = gate_check_disjoint(g, &prompts, err);
    g->claim.prompts = prompts.n;
    prompts_release(&prompts);
    g->cost = rc ? NULL : calloc(g->claim.prompts, sizeof *g->cost);
    if (rc == ERR_OK && !g->cost)
        rc = err_set(err, ERR_NOMEM, "no memory for %u costs", (unsigned)g->claim.prompts);
    return rc;
}

/* --- the test ------------------------------------------------------------------------------ */

/* NSF, for a reason that stands before the number.  The first one is kept. */
static void gate_fail(struct gate *g, const char *why)
{
    struct gate_entry *entry = &g->result->entry;
    entry->verdict.decision = BOUND_NSF;
    if (entry->why[0] == '\0')
        snprintf(entry->why, sizeof entry->why, "%.319s", why);
}

/* The file with the prompts was read more than once: the answers are to those of the hash. */
static enum err_code gate_check_set(struct gate *g, struct err *err)
{
    struct hash now;
    const enum err_code rc = gate_hash_set(g, &now, err);
    if (rc == ERR_OK && memcmp(&now, &g->claim.set, sizeof now) != 0)
        gate_fail(g, "the file with the prompts was changed during the test");
    return rc;
}

/* What evaluate.h tells of one answer. */
static void gate_on_score(void *ctx, uint32_t prompt, const struct score *score)
{
    struct gate *g = ctx;
    struct score_term term[RUN_SCORERS_MAX];
    struct err why = {0};
    double raw = 0;
    for (uint32_t i = 0; i < g->config.scorers; i++)
        term[i] = (struct score_term){g->config.scorer[i].name, g->config.scorer[i].weight};
    if (score_combine(term, g->config.scorers, score, g->config.scorers, &raw, &why) !=
        ERR_OK) {
        char text[GATE_WHY_MAX];
        snprintf(text, sizeof text, "the answer to prompt %u has no cost: %.200s",
                 (unsigned)prompt, why.text);
        gate_fail(g, text);
        return;
    }
    if (g->config.gate_cost == RUN_GATE_COST_PROBABILITY)
        raw = score_probability(raw);
    else if (g->config.gate_cost == RUN_GATE_COST_INDICATOR)
        raw = raw > 0 ? 1 : 0;
    if (prompt < g->claim.prompts)
        g->cost[prompt] = raw;
    g->n++;
}

static void gate_on_progress(void *ctx, uint32_t prompts, uint32_t all)
{
    const struct gate *g = ctx;
    if (g->params->progress)
        g->params->progress(NULL, prompts, all);
}

static enum err_code gate_test(struct gate *g, struct err *err)
{
    struct evaluate_result answers;
    struct err why = {0};
    struct gate_entry *entry = &g->result->entry;
    const struct evaluate_params params = {
        .samples = 1,
        .sample_first = entry->number,
        .stream = RNG_STREAM_GATE,
        .seed = g->config.seed,
        .threads = g->params->threads,
        .progress = gate_on_progress,
        .scored = gate_on_score,
        .ctx = g,
    };
    const enum err_code rc = evaluate_run(&g->config, &params, &g->lines, &answers, err);
    if (rc)
        return rc;
    entry->n = g->n;
    if (g->n != g->claim.prompts)
        gate_fail(g, "an answer is missing"); /* or the reason that is there already */
    else if (bound_gate_test(&g->bound, entry->number, g->cost, g->n, &entry->verdict, &why))
        gate_fail(g, why.text);
    entry->tested = true;
    return gate_check_set(g, err);
}

/* --- the verdict --------------------------------------------------------------------------- */

static void gate_put_hash(struct buf *out, const char *key, const struct hash *hash)
{
    char hex[HASH_HEX_BYTES];
    hash_hex(hash, hex);
    buf_printf(out, "\"%s\": \"%s\", ", key, hex);
}

static void gate_put_text(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, "\"%s\": ", key);
    buf_json_string(out, text, strlen(text));
    buf_puts(out, ", ");
}

static void gate_put_number(struct buf *out, const char *key, double value)
{
    buf_printf(out, "\"%s\": ", key);
    buf_json_number(out, value);
    buf_puts(out, ", ");
}

static void gate_write_manifest(const struct gate *g, struct buf *out)
{
    const struct gate_entry *entry = &g->result->entry;
    const struct bound_verdict *verdict = &entry->verdict;
    buf_putc(out, '{');
    gate_put_text(out, "decision", bound_decision_name(verdict->decision));
    gate_put_text(out, "why", entry->why);
    gate_put_number(out, "mean", verdict->mean);
    gate_put_number(out, "upper", verdict->upper);
    gate_put_number(out, "limit", g->bound.limit);
    gate_put_number(out, "delta", verdict->delta);
    buf_printf(out, "\"n\": %u, \"candidate\": %u, \"candidates\": %u,\n ", entry->n,
               entry->number, (unsigned)g->bound.candidates_max);
    gate_put_number(out, "delta_of_all", g->bound.delta);
    gate_put_text(out, "bound", bound_name(g->bound.bound.kind));
    gate_put_text(out, "cost", gate_cost_name(g->config.gate_cost));
    gate_put_number(out, "cost_low", g->bound.bound.low);
    gate_put_number(out, "cost_high", g->bound.bound.high);
    gate_put_text(out, "model", g->params->model);
    buf_puts(out, "\n ");
    gate_put_hash(out, "weights", &g->weights);
    gate_put_hash(out, "set", &g->claim.set);
    gate_put_text(out, "prompts", g->config.prompts);
    gate_put_text(out, "run", g->config.dir);
    buf_printf(out, "\"seed\": %llu}\n", (unsigned long long)g->config.seed);
}

static enum err_code gate_write_beside(const struct gate *g, const struct buf *manifest,
                                       struct err *err)
{
    char dir[FILE_PATH_MAX], path[FILE_PATH_MAX], name[GATE_RELEASE_NAME + 8];
    enum err_code rc = file_join(dir, g->config.dir, "gate", err);
    if (rc == ERR_OK)
        rc = file_make_dir(dir, err);
    snprintf(name, sizeof name, "%s.json", g->result->name);
    if (rc == ERR_OK && (rc = file_join(path, dir, name, err)) == ERR_OK)
        rc = file_write(path, manifest->data, manifest->len, err);
    snprintf(name, sizeof name, "%s.jsonl", g->result->name);
    if (rc == ERR_OK && g->lines.len > 0 && (rc = file_join(path, dir, name, err)) == ERR_OK)
        rc = file_write(path, g->lines.data, g->lines.len, err);
    return rc;
}

/* Which version of the run's policy the candidate is; NAN: some other model. */
static double gate_version(const struct gate *g)
{
    char run[PATH_MAX], model[PATH_MAX];
    unsigned long long version;
    int end = 0;
    if (!realpath(g->params->config->dir, run) || !realpath(g->params->model, model))
        return NAN;
    const size_t n = strlen(run);
    if (strncmp(model, run, n) != 0)
        return NAN;
    if (strcmp(model + n, "/final") == 0)
        return (double)g->params->config->steps;
    return sscanf(model + n, "/checkpoints/v%8llu/policy%n", &version, &end) == 1 && end > 0 &&
                   model[n + (size_t)end] == '\0'
               ? (double)version
               : NAN;
}

/* RUN/gate.jsonl: what came of it.  An error is what `why` says. */
static enum err_code gate_record(const struct gate *g, const char *why, struct err *err)
{
    const struct gate_entry *entry = &g->result->entry;
    const struct run_config *config = g->params->config;
    const bool bounded = !why && entry->tested && entry->why[0] == '\0';
    struct gate_record record = {
        .at_ms = (uint64_t)clock_wall_ms(),
        .decision = why                                     ? GATE_RECORD_ERROR
                    : entry->verdict.decision == BOUND_PASS ? GATE_RECORD_PASS
                                                            : GATE_RECORD_NSF,
        .before = g->result->before,
        .version = gate_version(g),
        .mean = bounded ? entry->verdict.mean : (double)NAN,
        .upper = bounded ? entry->verdict.upper : (double)NAN,
        .limit = config->gate_limit,
        .delta = config->gate_delta / config->gate_candidates,
        .n = entry->n,
        .spent = entry->spent > 0 ? (double)entry->spent : (double)NAN,
        .candidates = config->gate_candidates,
    };
    snprintf(record.why, sizeof record.why, "%s", why ? why : entry->why);
    snprintf(record.name, sizeof record.name, "%s", g->result->name);
    snprintf(record.model, sizeof record.model, "%s", g->params->model);
    snprintf(record.bound, sizeof record.bound, "%s",
             bound_name(gate_bound_kind(config->gate_bound)));
    snprintf(record.cost, sizeof record.cost, "%s", gate_cost_name(config->gate_cost));
    return gate_record_append(config->dir, &record, err);
}

/* Nothing is written beside a candidate that was not tested: an earlier verdict may be there. */
static enum err_code gate_publish(struct gate *g, struct err *err)
{
    struct buf manifest;
    if (!g->result->entry.tested)
        return gate_record(g, NULL, err);
    buf_init(&manifest, GATE_TEXT_MAX);
    gate_write_manifest(g, &manifest);
    enum err_code rc = buf_check(&manifest, "the verdict", err);
    if (rc == ERR_OK)
        rc = gate_write_beside(g, &manifest, err);
    if (rc == ERR_OK)
        rc = gate_record(g, NULL, err);
    if (rc == ERR_OK && g->result->entry.verdict.decision == BOUND_PASS)
        rc = gate_release_publish(&g->release, g->result->name, &manifest, err);
    buf_release(&manifest);
    return rc;
}

static enum err_code gate_enter(struct gate *g, struct err *err)
{
    struct err why = {0};
    enum err_code rc = gate_ledger_open(&g->ledger, g->params->config->gate_ledger, err);
    if (rc)
        return rc;
    rc = gate_ledger_spend(g->ledger, &g->claim, &g->result->entry, &why);
    g->result->before = g->result->entry.tested;
    if (rc == ERR_STATE) { /* spent: no error, but nobody passes any more */
        gate_fail(g, why.text);
        return ERR_OK;
    }
    return rc ? err_set(err, rc, "%s", why.text) : ERR_OK;
}

static enum err_code gate_carry_out(struct gate *g, struct err *err)
{
    enum err_code rc;
    const struct gate_entry *entry = &g->result->entry;
    if ((rc = gate_release_begin(&g->release, g->params->config->dir, g->params->model, err)))
        return rc;
    gate_configure(g);
    if ((rc = gate_plan(g, err)) || (rc = gate_identify(g, err)) ||
        (rc = gate_hash_set(g, &g->claim.set, err)) || (rc = gate_count_prompts(g, err)) ||
        (rc = gate_enter(g, err)))
        return rc;
    if (!entry->tested && entry->why[0] == '\0') {
        rc = gate_test(g, err);
        if (rc == ERR_OK)
            rc = gate_ledger_settle(g->ledger, &g->claim, entry, err);
    }
    return rc ? rc : gate_publish(g, err);
}

enum err_code gate_run(const struct gate_params *params, struct gate_result *result,
                       struct err *err)
{
    *result = (struct gate_result){.entry.verdict.decision = BOUND_NSF};
    struct gate *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(err, ERR_NOMEM, "no memory for the gate");
    struct err why = {0};
    g->params = params;
    g->result = result;
    g->release.lock_fd = -1;
    buf_init(&g->lines, GATE_LINES_MAX);
    const enum err_code rc = gate_carry_out(g, &why);
    if (rc) { /* whatever was computed: it was not published as a whole */
        result->entry.verdict.decision = BOUND_NSF;
        if (g->release.lock_fd >= 0)
            gate_record(g, why.text, NULL); /* where the disk is full, the command alone says so */
    }
    gate_release_end(&g->release);
    gate_ledger_close(g->ledger);
    buf_release(&g->lines);
    free(g->cost);
    free(g);
    return rc ? err_set(err, rc, "%s", why.text) : ERR_OK;
}

void gate_explain(const struct run_config *config, const struct gate_result *result,
                  struct buf *out)
{
    const struct gate_entry *entry = &result->entry;
    const bool pass = entry->verdict.decision == BOUND_PASS;
    buf_puts(out, pass ? "PASS" : "NSF, no safe solution");
    if (entry->why[0])
        buf_printf(out, ": %s", entry->why);
    else
        buf_printf(out, ": mean cost %.4g, with confidence %.6g at most %.4g, limit %.4g",
                   entry->verdict.mean, 1.0 - entry->verdict.delta, entry->verdict.upper,
                   config->gate_limit);
    buf_printf(out, " (candidate %u of %u, %u prompts%s); %s\n", entry->number + 1,
               config->gate_candidates, entry->n, result->before ? ", tested before" : "",
               pass ? "published" : "what was published stays");
}
