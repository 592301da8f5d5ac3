/*
 * cli.h -- the frame of `rlhf`: one table of commands, one way to read options, one way to fail.
 *
 * A command is a file cli/cmd_NAME.c with `int cmd_NAME(int argc, char **argv)` and a line in
 * CLI_COMMAND_MAP below.  It describes itself in a struct cli_usage, from which cli_parse
 * reads the command line and cli_help writes --help: an option is said once.
 *
 * Results go to standard output, sentences to standard error.  Exit codes are those of
 * sysexits.h: 0; 64 wrong command line; 65 bad data; 66-78 as err_exit_code has them.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Words on the command line, handler, one line of help.  Grouped as `rlhf help` shows them. */
// clang-format off
#define CLI_COMMAND_MAP(X)                                                                    \
    X("run", cmd_run, "run RLHF on this machine, as a YAML file says")                        \
    X("status", cmd_status, "what a run is doing now, and who does it")                       \
    X("top", cmd_top, "rlhf status again and again, with rates")                             \
    X("doctor", cmd_doctor, "who is slow or gone, since when, and what to do")                \
    X("pause", cmd_pause, "give out no more work until somebody resumes the run")             \
    X("resume", cmd_resume, "let a paused run go on")                                         \
    X("checkpoint", cmd_checkpoint, "a checkpoint with the next step")                        \
    X("drain", cmd_drain, "finish what is in flight, with a checkpoint, and end")             \
    X("experiment", cmd_experiment, "a grid of runs, settings times seeds, and its report")   \
    X("report", cmd_report, "write a run's curves and numbers as one HTML file")              \
    X("replay", cmd_replay, "derive a run's numbers again from its ledger, and audit it")        \
    X("export", cmd_export, "rollouts, scores and rewards of a run as JSON lines")            \
    X("config", cmd_config, "check a run's YAML file; list every key")                        \
    X("generate", cmd_generate, "continue a prompt with a model")                             \
    X("score", cmd_score, "log-probs, entropies and scores of given sequences")               \
    X("evaluate", cmd_evaluate, "a model's answers under a run's scorers; win rates")         \
    X("dual", cmd_dual, "the multiplier of a run with a cost limit, before the run")            \
    X("gate", cmd_gate, "publish a policy if its cost is below a limit, with confidence")      \
    X("power", cmd_power, "how many held-out prompts a gate needs")                           \
    X("keygen", cmd_keygen, "keys for the processes of a run on several machines")            \
    X("tokenize", cmd_tokenize, "text to token ids and back")                                 \
    X("inspect", cmd_inspect, "explain a model, a safetensors file, a ledger, a checkpoint")  \
    X("data inspect", cmd_data_inspect, "what is in a data set: pairs, lengths, bad lines, leaks") \
    X("data convert", cmd_data_convert, "a data set in another format")                       \
    X("data split", cmd_data_split, "part a data set in two, with no prompt in both")         \
    X("train sft", cmd_train_sft, "supervised fine-tuning, also from scratch")                \
    X("train reward", cmd_train_reward, "a reward model from pairs, or from ratings")         \
    X("train cost", cmd_train_cost, "a cost model from pairs of safety")                      \
    X("average", cmd_average, "the mean of several models' parameters (WARM)")                \
    X("demo data", cmd_demo_data, "write the built-in world: data sets and a tokenizer")      \
    X("demo build", cmd_demo_build, "the built-in world whole: data, policy, score models")   \
    X("demo curve", cmd_demo_curve, "reward models of that world by number of preferences")
// clang-format on

#define X(words, handler, help) int handler(int argc, char **argv);
CLI_COMMAND_MAP(X)
#undef X

/* The whole program: finds the command (one or two words) and runs it with argv[0] its last
 * word.  Handles help, --help and --version.  Returns the exit code. */
int cli_main(int argc, char **argv);

#define CLI_GO (-1) /* cli_parse: carry on */
#define CLI_EXIT_USAGE 64

/* Longest list an option that may be given several times can hold. */
#define CLI_LIST_MAX 8

struct cli_list {
    const char *item[CLI_LIST_MAX];
    size_t n;
};

enum cli_kind {
    CLI_FLAG,   /* bool *: given or not */
    CLI_TEXT,   /* const char **: NULL where there is no default */
    CLI_COUNT,  /* uint64_t *, within [min, max] */
    CLI_NUMBER, /* double *, within [min, max] */
    CLI_LIST,   /* struct cli_list *: may be repeated */
};

/* One long option.  What `to` points at before cli_parse is the default, shown by --help. */
struct cli_option {
    const char *name; /* without the dashes */
    enum cli_kind kind;
    void *to;
    const char *arg; /* "N", "DIR": how help names the value; NULL for CLI_FLAG */
    const char *help;
    double min, max; /* CLI_COUNT, CLI_NUMBER; both 0: any number that is not negative */
};

/* Rows of an option table. */
#define cli_flag(name, to, help)      ((struct cli_option){name, CLI_FLAG, to, NULL, help, 0, 0})
#define cli_text(name, to, arg, help) ((struct cli_option){name, CLI_TEXT, to, arg, help, 0, 0})
#define cli_list(name, to, arg, help) ((struct cli_option){name, CLI_LIST, to, arg, help, 0, 0})
#define cli_count(name, to, arg, min, max, help) \
    ((struct cli_option){name, CLI_COUNT, to, arg, help, min, max})
#define cli_number(name, to, arg, min, max, help) \
    ((struct cli_option){name, CLI_NUMBER, to, arg, help, min, max})

struct cli_usage {
    const char *words;    /* "train sft" */
    const char *synopsis; /* what follows the words: "--model DIR --prompt TEXT [options]" */
    const char *about;    /* a paragraph, ending in a newline */
    const struct cli_option *options;
    size_t options_n;
    const char *examples; /* lines, each indented by two blanks and ending in a newline */
    size_t arguments_min, arguments_max; /* what is left beside the options */
};

/*
 * Read the options into their places.  CLI_GO: carry on, and *arguments (unless NULL) is the
 * index of the first argument in argv, options having been moved before it.  Otherwise the
 * exit code to return: 0 after --help, CLI_EXIT_USAGE after a mistake, which was explained.
 */
int cli_parse(const struct cli_usage *usage, int argc, char **argv, int *arguments);

/* "rlhf WORDS: sentence" on standard error and how to get help; returns CLI_EXIT_USAGE. */
__attribute__((format(printf, 2, 3)))
int cli_usage_error(const struct cli_usage *usage, const char *format, ...);

/* "rlhf WORDS: err->text" on standard error; returns err_exit_code(err->code). */
int cli_fail(const struct cli_usage *usage, const struct err *err);

/* The candidate nearest to what was typed, or NULL where none is near.  A candidate matches
 * whole or by its first `n` characters of a longer word; distances are Levenshtein's. */
const char *cli_nearest(const char *typed, const char *const *candidates, size_t n);

#endif
