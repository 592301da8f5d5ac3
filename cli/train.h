/*
 * train.h -- what the `rlhf train` commands have in common: options, where a model starts, the
 * tokenizer beside it, the directory to make.
 */
#ifndef CLI_TRAIN_H
#define CLI_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/cli.h"
#include "cli/publish.h"
#include "data/encode.h"
#include "data/reader.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "engine/tokenizer.h"
#include "offline/fit.h"

#define TRAIN_ROWS 32 /* options that train_rows adds, at most */

struct train {
    /* As given. */
    const char *model_dir, *init, *tokenizer_dir, *data_path, *out_dir, *schedule, *chat,
        *format, *precision_word;
    struct fit_params fit;
    uint64_t threads, step_tokens, micro_tokens;
    double weight_decay, beta2, init_std, held_out, max_bad_fraction;
    bool json, no_end, cut;

    /* What train_check made of it. */
    enum chat_template chat_template;
    enum format_kind format_kind;
    enum precision precision;

    /* Held between train_open and train_close. */
    struct pool *pool;
    struct model *model;
    struct tokenizer *tokenizer;
    struct publish publish;
    char init_dir[FILE_PATH_MAX];
};

/* The defaults, which a command may change before train_rows. */
struct train train_defaults(void);

/* Write the shared rows of a command's table of options; how many, at most TRAIN_ROWS. */
size_t train_rows(struct train *train, struct cli_option *rows);

/* After cli_parse: what the table cannot check.  CLI_GO or the exit code, explained. */
int train_check(struct train *train, const struct cli_usage *usage);

/* Threads, start model, tokenizer.  labels > 0: the model gets a score head of so many outputs,
 * the directory's own where it has one of that size, else zero (random with --init); 0: the
 * model must have a vocabulary.  The caller ends it with train_close, also on failure. */
enum err_code train_open(struct train *train, uint32_t labels, struct err *err);
void train_close(struct train *train);

/* Put the model back to where training starts, with random weights of `seed` after --init. */
enum err_code train_start(struct train *train, uint32_t labels, uint64_t seed, struct err *err);

/* How a data set becomes sequences of up to tokens_max tokens for the model at hand, and how it
 * is read: as --chat, --format and their like say. */
void train_reading(const struct train *train, size_t tokens_max, struct encode *how,
                   struct reader_options *options);

/* Where the tokenizer is read from. */
const char *train_tokenizer_dir(const struct train *train);

#endif
