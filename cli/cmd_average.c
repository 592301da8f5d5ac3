/* cmd_average.c -- `rlhf average`: the mean of several models' parameters. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/publish.h"
#include "engine/average.h"

static enum err_code average_run(const struct cli_list *models, const char *out,
                                 struct err *err)
{
    struct publish publish = {0};
    struct model *mean = NULL;
    enum err_code rc = publish_begin(&publish, out, err);
    if (!rc) {
        mean = average_models(models->item, models->n, err);
        rc = mean ? model_save(mean, publish.dir, err) : err->code;
    }
    if (!rc)
        rc = publish_tokenizer(&publish, models->item[0], err);
    if (!rc)
        rc = publish_copy(&publish, models->item[0], "combiner.json", false, err);
    if (!rc)
        rc = publish_commit(&publish, err);
    if (!rc)
        printf("wrote %s, the mean of %zu models\n", out, models->n);
    publish_abort(&publish);
    model_free(mean);
    return rc;
}

static const struct cli_usage average_usage = {
    .words = "average",
    .synopsis = "--model DIR --model DIR [--model DIR ...] --out DIR",
    .about = "Writes the plain mean of the parameters of models of one shape, as for "
             "weight-averaged\n"
             "reward models (WARM, arXiv:2401.12187).  It is of use where they were trained "
             "from the\n"
             "same start.  Tokenizer and combiner.json are those of the first.\n",
    .examples = "  rlhf average --model rewards/member-0 --model rewards/member-1 --out warm\n",
};

int cmd_average(int argc, char **argv)
{
    struct cli_list models = {0};
    const char *out = NULL;
    const struct cli_option options[] = {
        cli_list("model", &models, "DIR", "a model, two to eight of them"),
        cli_text("out", &out, "DIR", "the directory to make"),
    };
    struct cli_usage usage = average_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    const int code = cli_parse(&usage, argc, argv, NULL);
    if (code != CLI_GO)
        return code;
    if (models.n < 2 || !out)
        return cli_usage_error(&usage, models.n < 2 ? "give --model at least twice"
                                                    : "--out is missing");
    struct err err = {0};
    return average_run(&models, out, &err) ? cli_fail(&usage, &err) : 0;
}
