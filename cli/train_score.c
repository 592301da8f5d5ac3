/* train_score.c -- see train_score.h. */
#include "cli/train_score.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/fit_display.h"
#include "cli/score_report.h"
#include "cli/train_combine.h"
#include "cli/train_command.h"

#define TRAIN_SCORE_TEXT_MAX ((size_t)1 << 20)

struct train_score train_score_defaults(enum feedback_kind kind)
{
    struct train_score t = {.train = train_defaults(), .kind = kind, .labels = 1, .members = 1};
    t.train.micro_tokens = 4096;
    t.train.held_out = 0.1;
    t.params.fraction = 1.0;
    t.params.loss.reg = 0.001;
    return t;
}

size_t train_score_rows(struct train_score *t, struct cli_option *rows)
{
    const struct cli_option own[] = {
        cli_text("held-out-data", &t->held_out_path, "FILE",
                 "test on this data set instead; its prompts are left out of training"),
        cli_number("reg", &t->params.loss.reg, "X", 0, 0,
                   "of the mean squared score, 0.01 in PAR's Reg"),
        cli_count("patience", &t->patience, "N", 0, 0,
                  "tests without a better one that end the training, the best weights being "
                  "kept; 0: never"),
        cli_count("checkpoint-every", &t->checkpoint_every, "STEPS", 0, 0,
                  "keep the state in OUT.train, so that the same command goes on; 0: not"),
        cli_count("members", &t->members, "N", 1, TRAIN_SCORE_MEMBERS,
                  "models of seeds S, S+1, ... into OUT/member-0, ..."),
        cli_number("member-fraction", &t->params.fraction, "X", 1e-6, 1,
                   "of the training prompts that each member sees"),
    };
    const size_t shared = train_rows(&t->train, rows);
    memcpy(rows + shared, own, sizeof own);
    return shared + sizeof own / sizeof own[0];
}

/* ---- what the options mean ---- */

static bool train_score_is_name(const char *text, size_t n)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_.-";
    return n > 0 && n < SCORING_NAME_MAX && strspn(text, letters) >= n;
}

static enum err_code train_score_attributes(struct train_score *t, struct err *err)
{
    if (!t->attributes)
        return ERR_OK;
    t->kind = FEEDBACK_REGRESSION;
    t->labels = 0;
    for (const char *at = t->attributes;; at++) {
        const size_t n = strcspn(at, ",");
        if (!train_score_is_name(at, n))
            return err_set(err, ERR_VALUE,
                           "--attributes: \"%.*s\" is not a name of letters, digits and _.-, "
                           "at most %d long",
                           (int)n, at, SCORING_NAME_MAX - 1);
        if (t->labels == FEEDBACK_LABELS_MAX)
            return err_set(err, ERR_VALUE, "--attributes: at most %d", FEEDBACK_LABELS_MAX);
        char *name = t->attribute[t->labels];
        memcpy(name, at, n);
        name[n] = '\0';
        for (uint32_t j = 0; j < t->labels; j++)
            if (strcmp(t->attribute[j], name) == 0)
                return err_set(err, ERR_VALUE, "--attributes: \"%s\" is there twice", name);
        t->attribute_name[t->labels++] = name;
        at += n;
        if (*at == '\0')
            return ERR_OK;
    }
}

static int train_score_check(struct train_score *t)
{
    struct err err = {0};
    const int code = train_check(&t->train, t->usage);
    if (code != CLI_GO)
        return code;
    enum err_code rc = train_score_attributes(t, &err);
    if (!rc)
        rc = train_combine_check(t, &err);
    if (!rc)
        rc = preference_params_check(&t->params.loss, &err);
    if (rc)
        return cli_usage_error(t->usage, "%s", err.text);
    if (t->patience > 0 && t->train.held_out == 0.0 && !t->held_out_path)
        return cli_usage_error(t->usage, "--patience waits for a better test: hold data out");
    if (t->patience > 0 && t->train.fit.eval_every == 0)
        return cli_usage_error(t->usage, "--patience counts tests: say --eval-every");
    t->train.fit.patience = t->patience;
    t->train.fit.checkpoint_every = t->checkpoint_every;
    t->params.attribute = (const char(*)[SCORING_NAME_MAX])t->attribute;
    return CLI_GO;
}

/* ---- data ---- */

static enum err_code train_score_read_as(struct train_score *t, struct feedback *feedback,
                                         enum feedback_kind kind, struct err *err)
{
    struct encode how;
    struct reader_options reading;
    /* Two sequences of a pair must fit into one micro-batch. */
    const size_t most = t->train.fit.micro_tokens / 2;
    train_reading(&t->train, most, &how, &reading);
    feedback_init(feedback, kind, kind == FEEDBACK_REGRESSION ? t->labels : 1);
    reading.attribute = t->attribute_name;
    reading.attributes = t->attributes ? t->labels : 0;
    struct feedback_counts held;
    enum err_code rc =
        feedback_read(feedback, &how, &reading, t->train.data_path, false, &t->counts, err);
    if (!rc && t->held_out_path)
        rc = feedback_read(feedback, &how, &reading, t->held_out_path, true, &held, err);
    return rc;
}

static enum err_code train_score_read(struct train_score *t, struct err *err)
{
    enum err_code rc = train_score_read_as(t, &t->feedback, t->kind, err);
    if (!rc && t->held_out_path)
        rc = feedback_separate(&t->feedback, &t->apart, err);
    else if (!rc)
        rc = feedback_hold_out(&t->feedback, t->train.fit.seed, t->train.held_out, err);
    if (rc || !t->combine || strcmp(t->combine, "fit") != 0)
        return rc;
    const struct feedback_counts counts = t->counts;
    rc = train_score_read_as(t, &t->pairs, FEEDBACK_REWARD, err);
    t->counts = counts;
    return rc ? rc : feedback_hold_out_as(&t->pairs, &t->feedback, err);
}

static enum err_code train_score_allocate(struct train_score *t, struct err *err)
{
    const size_t n = t->feedback.n, numbers = n * t->labels;
    t->trained = calloc(n, sizeof *t->trained);
    t->held_out = calloc(n, sizeof *t->held_out);
    t->first = calloc(numbers, sizeof *t->first);
    t->second = calloc(numbers, sizeof *t->second);
    t->first_sum = calloc(numbers, sizeof *t->first_sum);
    t->second_sum = calloc(numbers, sizeof *t->second_sum);
    if (!t->trained || !t->held_out || !t->first || !t->second || !t->first_sum ||
        !t->second_sum)
        return err_set(err, ERR_NOMEM, "no memory for %zu items", n);
    t->trained_n = feedback_trained(&t->feedback, 0, 1.0, t->trained);
    t->held_out_n = feedback_held_out(&t->feedback, t->held_out);
    scoring_names(&t->names, t->kind, t->labels, t->params.attribute);
    scoring_baseline(&t->feedback, t->trained, t->trained_n, t->held_out, t->held_out_n,
                     &t->baseline);
    return ERR_OK;
}

static void train_score_say_data(const struct train_score *t)
{
    if (t->train.json)
        return;
    printf("%zu items trained on, %zu held out, %zu tokens, %zu parameters\n", t->trained_n,
           t->held_out_n, t->feedback.ids.n, t->train.model->params);
    if (t->counts.idle > 0)
        printf("%llu of %llu records say nothing of this kind\n",
               (unsigned long long)t->counts.idle, (unsigned long long)t->counts.records);
    if (t->counts.bad > 0)
        printf("%llu bad lines were passed over; `rlhf data inspect` names them\n",
               (unsigned long long)t->counts.bad);
    if (t->counts.turns_cut > 0)
        printf("%llu old turns were left out of prompts too long\n",
               (unsigned long long)t->counts.turns_cut);
    if (t->apart > 0)
        printf("%zu items were left out of training: their prompts are held out\n", t->apart);
}

/* ---- the directories ---- */

static enum err_code train_score_open_work(struct train_score *t, struct err *err)
{
    size_t length = strlen(t->train.out_dir);
    while (length > 1 && t->train.out_dir[length - 1] == '/')
        length--;
    const int n =
        snprintf(t->work_dir, sizeof t->work_dir, "%.*s.train", (int)length, t->train.out_dir);
    if (n < 0 || (size_t)n >= sizeof t->work_dir)
        return err_set(err, ERR_VALUE, "--out: the path has %zu bytes", length);
    const enum err_code rc = publish_check_free(t->train.out_dir, err);
    if (rc)
        return rc;
    if (t->checkpoint_every > 0)
        return train_command_check(t->usage->options, t->usage->options_n, t->work_dir, err);
    if (file_exists(t->work_dir))
        return err_set(err, ERR_STATE,
                       "%s holds a training that is not finished; go on with "
                       "--checkpoint-every, or remove it",
                       t->work_dir);
    return ERR_OK;
}

/* Where the models are put together.  A training that may be killed and gone on with does it
 * within OUT.train, so that nothing else is left of it. */
static enum err_code train_score_publish(struct train_score *t, struct err *err)
{
    struct publish *publish = &t->train.publish;
    char at[FILE_PATH_MAX];
    if (t->checkpoint_every == 0)
        return publish_begin(publish, t->train.out_dir, err);
    enum err_code rc =
        train_command_keep(t->usage->options, t->usage->options_n, t->work_dir, err);
    if (!rc)
        rc = file_join(at, t->work_dir, "out", err);
    return rc ? rc : publish_begin_at(publish, t->train.out_dir, at, err);
}

static enum err_code train_score_open(struct train_score *t, struct err *err)
{
    enum err_code rc = train_score_open_work(t, err);
    if (!rc)
        rc = train_open(&t->train, t->labels, err);
    if (!rc)
        rc = train_score_read(t, err);
    if (!rc)
        rc = train_score_allocate(t, err);
    if (rc)
        return rc;
    train_command_write(t->usage->options, t->usage->options_n, &t->settings);
    train_score_say_data(t);
    return train_score_publish(t, err);
}

static void train_score_close(struct train_score *t)
{
    feedback_release(&t->feedback);
    if (t->pairs.labels)
        feedback_release(&t->pairs);
    free(t->trained);
    free(t->held_out);
    free(t->first);
    free(t->second);
    free(t->first_sum);
    free(t->second_sum);
    buf_release(&t->settings);
    train_close(&t->train);
}

/* ---- a member ---- */

static enum err_code train_score_prepare(struct train_score *t, uint64_t member, char *dir,
                                         char *checkpoints, struct err *err)
{
    char name[32];
    snprintf(name, sizeof name, "member-%llu", (unsigned long long)member);
    enum err_code rc = file_join(checkpoints, t->work_dir, name, err);
    if (!rc)
        rc = file_join(dir, t->train.publish.dir, t->members > 1 ? name : ".", err);
    if (!rc && t->members > 1)
        rc = file_make_dir(dir, err);
    if (!rc && t->checkpoint_every > 0)
        rc = file_make_dir(checkpoints, err);
    if (!rc)
        rc = train_start(&t->train, t->labels, t->train.fit.seed + member, err);
    if (!rc && t->attributes)
        memcpy(t->train.model->config.label, t->attribute, sizeof t->attribute);
    return rc;
}

static void train_score_say_result(const struct train_score *t, const double *metric)
{
    if (t->train.json)
        return;
    for (size_t k = 0; k < t->names.n && t->held_out_n > 0; k++)
        printf("  %-24s %.4f\n", t->names.name[k], metric[k]);
    const struct scoring_baseline *b = &t->baseline;
    if (t->held_out_n > 0 && t->kind != FEEDBACK_REGRESSION)
        printf("  without a model: the longer answer %.4f, the shorter %.4f (+- %.4f)\n",
               b->longer.accuracy, b->shorter.accuracy, b->longer.stderror);
    if (t->held_out_n > 0 && t->kind == FEEDBACK_COST)
        printf("  always the more frequent sign: %.4f (+- %.4f)\n", b->sign.accuracy,
               b->sign.stderror);
}

static struct score_report train_score_report(const struct train_score *t, const double *metric)
{
    return (struct score_report){.feedback = &t->feedback,
                                 .names = &t->names,
                                 .baseline = &t->baseline,
                                 .settings = t->settings.data,
                                 .trained = t->trained_n,
                                 .held_out = t->held_out,
                                 .n = t->held_out_n,
                                 .first = t->first,
                                 .second = t->second,
                                 .metric = metric};
}

/* The model is trained: its scores of what is held out, its files, its report. */
static enum err_code train_score_keep(struct train_score *t, const char *dir,
                                      const struct fit_history *history, struct err *err)
{
    double metric[FIT_METRICS_MAX];
    struct buf combiner;
    buf_init(&combiner, TRAIN_SCORE_TEXT_MAX);
    struct train *train = &t->train;
    enum err_code rc =
        scoring_scores(train->model, train->pool, &t->feedback, t->held_out, t->held_out_n,
                       train->fit.micro_tokens, t->first, t->second, err);
    if (!rc)
        rc = train_combine_write(t, dir, &combiner, err);
    if (!rc)
        rc = model_save(train->model, dir, err);
    if (!rc) {
        for (size_t i = 0; i < t->held_out_n * t->labels; i++) {
            t->first_sum[i] += (double)t->first[i];
            t->second_sum[i] += (double)t->second[i];
        }
        scoring_metrics(&t->feedback, t->held_out, t->held_out_n, t->first, t->second, metric);
        train_score_say_result(t, metric);
        struct score_report report = train_score_report(t, metric);
        report.history = history;
        report.combiner = combiner.len > 0 ? combiner.data : NULL;
        rc = score_report_write(&report, dir, err);
    }
    buf_release(&combiner);
    return rc;
}

static enum err_code train_score_member(struct train_score *t, uint64_t member, struct err *err)
{
    char dir[FILE_PATH_MAX], checkpoints[FILE_PATH_MAX];
    struct train *train = &t->train;
    enum err_code rc = train_score_prepare(t, member, dir, checkpoints, err);
    if (rc)
        return rc;
    struct fit_display display;
    struct fit_history history;
    struct scoring_params params = t->params;
    params.fit = train->fit;
    params.fit.seed = train->fit.seed + member;
    params.fit.checkpoint_dir = checkpoints;
    fit_display_init(&display, train->json);
    display.member = t->members > 1 ? (int64_t)member : -1;
    rc = scoring_train(train->model, train->pool, &t->feedback, &params, fit_display_step,
                       &display, &history, err);
    if (!rc)
        rc = train_score_keep(t, dir, &history, err);
    fit_history_release(&history);
    if (!rc) {
        /* Each member is a directory that stands for itself. */
        struct publish one = train->publish;
        memcpy(one.dir, dir, sizeof one.dir);
        rc = publish_tokenizer(&one, train_tokenizer_dir(train), err);
    }
    return rc;
}

/* The mean of the members' scores, as reports of its own. */
static enum err_code train_score_ensemble(struct train_score *t, struct err *err)
{
    double metric[FIT_METRICS_MAX];
    for (size_t i = 0; i < t->held_out_n * t->labels; i++) {
        t->first[i] = (float)(t->first_sum[i] / (double)t->members);
        t->second[i] = (float)(t->second_sum[i] / (double)t->members);
    }
    scoring_metrics(&t->feedback, t->held_out, t->held_out_n, t->first, t->second, metric);
    if (!t->train.json)
        printf("the mean of %llu members:\n", (unsigned long long)t->members);
    train_score_say_result(t, metric);
    struct score_report report = train_score_report(t, metric);
    report.members = (size_t)t->members;
    return score_report_write(&report, t->train.publish.dir, err);
}

static enum err_code train_score_members(struct train_score *t, struct err *err)
{
    enum err_code rc = ERR_OK;
    for (uint64_t member = 0; member < t->members && !rc; member++)
        rc = train_score_member(t, member, err);
    if (!rc && t->members > 1)
        rc = train_score_ensemble(t, err);
    if (!rc)
        rc = publish_commit(&t->train.publish, err);
    if (!rc && t->checkpoint_every > 0)
        rc = file_remove_tree(t->work_dir, err);
    if (!rc && !t->train.json)
        printf("wrote %s\n", t->train.out_dir);
    return rc;
}

int train_score_run(struct train_score *t, const struct cli_usage *usage)
{
    struct err err = {0};
    t->usage = usage;
    const int code = train_score_check(t);
    if (code != CLI_GO)
        return code;
    feedback_init(&t->feedback, t->kind, t->labels);
    buf_init(&t->settings, TRAIN_SCORE_TEXT_MAX);
    enum err_code rc = train_score_open(t, &err);
    if (!rc)
        rc = train_score_members(t, &err);
    train_score_close(t);
    return rc ? cli_fail(usage, &err) : 0;
}
