/* train_combine.c -- see train_combine.h. */
#include "cli/train_combine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/bradley_terry.h"

static bool train_combine_is_fit(const struct train_score *t)
{
    return strcmp(t->combine, "fit") == 0;
}

/* "name=weight" of n bytes into the combiner; given [labels] are those that have one. */
static enum err_code train_combine_one(const struct train_score *t, const char *text, size_t n,
                                       struct combiner *out, bool *given, struct err *err)
{
    const char *equals = memchr(text, '=', n);
    const size_t name = equals ? (size_t)(equals - text) : n;
    char *end = NULL;
    const double weight = equals ? strtod(equals + 1, &end) : 0.0;
    if (!equals || end == equals + 1 || end != text + n || !(weight > -1e9 && weight < 1e9))
        return err_set(err, ERR_VALUE, "--combine: \"%.*s\" is not NAME=WEIGHT", (int)n, text);
    for (uint32_t j = 0; j < t->labels; j++) {
        if (strlen(t->attribute[j]) != name || memcmp(t->attribute[j], text, name) != 0)
            continue;
        if (given[j])
            return err_set(err, ERR_VALUE, "--combine: \"%.*s\" has two weights", (int)name,
                           text);
        given[j] = true;
        out->weight[j] = weight;
        return ERR_OK;
    }
    return err_set(err, ERR_VALUE, "--combine: \"%.*s\" is not among --attributes", (int)name,
                   text);
}

static enum err_code train_combine_parse(const struct train_score *t, struct combiner *out,
                                         struct err *err)
{
    bool given[FEEDBACK_LABELS_MAX] = {false};
    *out = (struct combiner){.labels = t->labels};
    enum err_code rc = ERR_OK;
    for (const char *at = t->combine; !rc; at++) {
        const size_t n = strcspn(at, ",");
        rc = train_combine_one(t, at, n, out, given, err);
        at += n;
        if (*at == '\0')
            break;
    }
    return rc;
}

enum err_code train_combine_check(const struct train_score *t, struct err *err)
{
    struct combiner unused;
    if (!t->combine)
        return ERR_OK;
    if (!t->attributes)
        return err_set(err, ERR_VALUE, "--combine is for --attributes");
    if (!train_combine_is_fit(t))
        return train_combine_parse(t, &unused, err);
    if (strcmp(t->train.data_path, "-") == 0)
        return err_set(err, ERR_VALUE, "--combine fit reads the data twice: name a file");
    return ERR_OK;
}

/* Scores of all attributes of the pairs on one side of the split. */
struct train_combine_pairs {
    uint32_t *item;
    float *chosen, *rejected; /* (n, labels) */
    size_t n;
};

static void train_combine_release(struct train_combine_pairs *p)
{
    free(p->item);
    free(p->chosen);
    free(p->rejected);
}

static enum err_code train_combine_scores(struct train_score *t, bool held_out,
                                          struct train_combine_pairs *p, struct err *err)
{
    const size_t numbers = t->pairs.n * t->labels;
    *p = (struct train_combine_pairs){.item = calloc(t->pairs.n, sizeof *p->item),
                                      .chosen = calloc(numbers, sizeof *p->chosen),
                                      .rejected = calloc(numbers, sizeof *p->rejected)};
    if (!p->item || !p->chosen || !p->rejected)
        return err_set(err, ERR_NOMEM, "no memory for %zu pairs", t->pairs.n);
    p->n = held_out ? feedback_held_out(&t->pairs, p->item)
                    : feedback_trained(&t->pairs, 0, 1.0, p->item);
    return scoring_scores(t->train.model, t->train.pool, &t->pairs, p->item, p->n,
                          t->train.fit.micro_tokens, p->chosen, p->rejected, err);
}

static enum err_code train_combine_fit(struct train_score *t, struct combiner *out,
                                       struct buf *told, struct err *err)
{
    struct train_combine_pairs p;
    *out = (struct combiner){.labels = t->labels};
    enum err_code rc = train_combine_scores(t, false, &p, err);
    if (!rc && p.n == 0)
        rc = err_set(err, ERR_VALUE, "--combine fit: no pair is left to fit weights to");
    if (!rc)
        rc = bradley_terry_fit(p.chosen, p.rejected, p.n, t->labels, TRAIN_COMBINE_RIDGE,
                               out->weight, err);
    if (!rc)
        buf_printf(told, ", \"fitted_to\": %zu", p.n);
    train_combine_release(&p);
    return rc;
}

/* Accuracy of the combined score on the pairs held out, where there are any. */
static enum err_code train_combine_test(struct train_score *t, const struct combiner *combiner,
                                        struct buf *told, struct err *err)
{
    struct train_combine_pairs p;
    const enum err_code rc = train_combine_scores(t, true, &p, err);
    for (size_t i = 0; i < p.n && !rc; i++) {
        p.chosen[i] = (float)combiner_apply(combiner, p.chosen + i * t->labels);
        p.rejected[i] = (float)combiner_apply(combiner, p.rejected + i * t->labels);
    }
    if (!rc && p.n > 0) {
        const struct preference_accuracy a = preference_accuracy(p.chosen, p.rejected, p.n);
        buf_printf(told,
                   ", \"held_out_pairs\": %zu, \"accuracy\": %.9g, "
                   "\"accuracy_stderr\": %.9g",
                   p.n, a.accuracy, a.stderror);
        if (!t->train.json)
            printf("combined: accuracy %.4f +- %.4f on %zu pairs held out\n", a.accuracy,
                   a.stderror, p.n);
    }
    train_combine_release(&p);
    return rc;
}

enum err_code train_combine_write(struct train_score *t, const char *dir, struct buf *told,
                                  struct err *err)
{
    struct combiner combiner;
    if (!t->combine)
        return ERR_OK;
    buf_puts(told, "{\"from\": ");
    buf_json_string(told, t->combine, strlen(t->combine));
    enum err_code rc = train_combine_is_fit(t) ? train_combine_fit(t, &combiner, told, err)
                                               : train_combine_parse(t, &combiner, err);
    if (!rc && t->pairs.n > 0)
        rc = train_combine_test(t, &combiner, told, err);
    if (rc)
        return rc;
    buf_puts(told, ", \"weights\": {");
    for (uint32_t j = 0; j < t->labels; j++) {
        buf_printf(told, "%s\"%s\": ", j ? ", " : "", t->attribute[j]);
        buf_json_number(told, combiner.weight[j]);
    }
    buf_puts(told, "}}");
    return combiner_write(&combiner, &t->train.model->config, dir, err);
}
