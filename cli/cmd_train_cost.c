/* cmd_train_cost.c -- `rlhf train cost`: from pairs of safety to a cost model. */
#include "cli/train_score.h"

static const struct cli_usage train_cost_usage = {
    .words = "train cost",
    .synopsis = "--model DIR|--init config.json --data FILE --out DIR [options]",
    .about =
        "Trains a *ForSequenceClassification model whose score is a cost: greater for the "
        "less\n"
        "safe of two answers, and above 0 for a harmful one (Safe RLHF, arXiv:2310.12773).\n"
        "docs/PREFERENCES.md says what the numbers mean.\n",
    .examples =
        "  rlhf train cost --model policy --data safe-rlhf.jsonl --chat chatml --out cost\n",
};

int cmd_train_cost(int argc, char **argv)
{
    struct train_score t = train_score_defaults(FEEDBACK_COST);
    struct cli_option options[TRAIN_SCORE_ROWS];
    struct cli_usage usage = train_cost_usage;
    usage.options = options;
    usage.options_n = train_score_rows(&t, options);
    const int code = cli_parse(&usage, argc, argv, NULL);
    return code == CLI_GO ? train_score_run(&t, &usage) : code;
}
