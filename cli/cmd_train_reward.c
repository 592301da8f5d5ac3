/* cmd_train_reward.c -- `rlhf train reward`: from pairs, or ratings, to a reward model. */
#include "cli/train_score.h"

static const struct cli_usage train_reward_usage = {
    .words = "train reward",
    .synopsis = "--model DIR|--init config.json --data FILE --out DIR [options]",
    .about =
        "Trains a *ForSequenceClassification model on pairs of answers of which one was "
        "preferred\n"
        "(Bradley-Terry), or with --attributes on numbers given to answers (regression).  What "
        "is\n"
        "held out, by prompt, is tested on; docs/PREFERENCES.md says what the numbers mean.\n",
    .examples =
        "  rlhf train reward --model policy --data pairs.jsonl --chat chatml --out reward\n"
        "  rlhf train reward --model policy --data hh.jsonl.gz --chat hh --members 3 --out "
        "rewards\n"
        "  rlhf train reward --model policy --data ultrafeedback.jsonl --chat chatml \\\n"
        "      --attributes helpfulness,honesty --combine fit --out attributes\n",
};

int cmd_train_reward(int argc, char **argv)
{
    struct train_score t = train_score_defaults(FEEDBACK_REWARD);
    struct cli_option options[TRAIN_SCORE_ROWS];
    const struct cli_option own[] = {
        cli_number("margin", &t.params.loss.margin, "X", 0, 0,
                   "by which the chosen score is to exceed the other"),
        cli_number("margin-scale", &t.params.loss.margin_scale, "X", 0, 0,
                   "of the margin that the data tell, added to it"),
        cli_number("label-smoothing", &t.params.loss.label_smoothing, "X", 0, 0.49,
                   "chance that a label is wrong"),
        cli_number("center", &t.params.loss.center, "X", 0, 0,
                   "of the squared sum of a pair's scores, 0.01 in TRL"),
        cli_text("attributes", &t.attributes, "A,B", "learn these numbers of answers instead"),
        cli_text("combine", &t.combine, "A=W,B=W",
                 "how attributes become one score; fit: fit the weights to pairs"),
    };
    struct cli_usage usage = train_reward_usage;
    const size_t shared = train_score_rows(&t, options), n = sizeof own / sizeof own[0];
    for (size_t i = 0; i < n; i++)
        options[shared + i] = own[i];
    usage.options = options;
    usage.options_n = shared + n;
    const int code = cli_parse(&usage, argc, argv, NULL);
    return code == CLI_GO ? train_score_run(&t, &usage) : code;
}
