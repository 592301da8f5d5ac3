/*
 * train_score.h -- what `rlhf train reward` and `rlhf train cost` have in common: data, held-out
 * items, members of an ensemble, checkpoints, reports.
 *
 *     OUT/                            one model, or with --members N
 *     OUT/member-0 .. member-(N-1)    models, and training.json and report.html of their mean
 *     OUT.train/                      while it goes on, with --checkpoint-every: command.json,
 *                                     member-0/step-00000100/ ..., and out/, which becomes OUT
 */
#ifndef CLI_TRAIN_SCORE_H
#define CLI_TRAIN_SCORE_H

#include "cli/train.h"
#include "engine/combiner.h"
#include "offline/feedback.h"
#include "offline/feedback_read.h"
#include "offline/scoring.h"

#define TRAIN_SCORE_ROWS    (TRAIN_ROWS + 16)
#define TRAIN_SCORE_MEMBERS 16

struct train_score {
    /* As given. */
    struct train train;
    struct scoring_params params; /* fit is train.fit */
    const char *held_out_path, *attributes, *combine;
    uint64_t members, patience, checkpoint_every;

    enum feedback_kind kind;
    uint32_t labels;
    char attribute[FEEDBACK_LABELS_MAX][SCORING_NAME_MAX];
    const char *attribute_name[FEEDBACK_LABELS_MAX]; /* the same, as the reader wants them */
    const struct cli_usage *usage;

    /* Held from train_score_open to train_score_close. */
    struct feedback feedback;
    struct feedback_counts counts;
    struct feedback pairs;        /* --combine fit: what the weights are fitted to */
    uint32_t *trained, *held_out; /* items */
    size_t trained_n, held_out_n, apart;
    float *first, *second;          /* (held_out_n, labels) scores of the member at hand */
    double *first_sum, *second_sum; /* of all members so far */
    struct scoring_names names;
    struct scoring_baseline baseline;
    struct buf settings;
    char work_dir[FILE_PATH_MAX]; /* OUT.train */
};

/* The defaults. */
struct train_score train_score_defaults(enum feedback_kind kind);

/* The shared rows, at most TRAIN_SCORE_ROWS less 8; how many. */
size_t train_score_rows(struct train_score *t, struct cli_option *rows);

/* The whole, after cli_parse; the exit code. */
int train_score_run(struct train_score *t, const struct cli_usage *usage);

#endif
