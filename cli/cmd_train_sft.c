/* cmd_train_sft.c -- `rlhf train sft`: from examples to a model directory. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/fit_display.h"
#include "cli/train.h"
#include "offline/sft.h"

struct train_sft {
    struct train train;
    struct sft_data data;
    uint64_t bad; /* lines of it */
    struct fit_history history;
};

static enum err_code train_sft_open(struct train_sft *t, struct err *err)
{
    struct train *train = &t->train;
    enum err_code rc = train_open(train, 0, err);
    if (rc)
        return rc;
    struct encode how;
    struct reader_options reading;
    train_reading(train, train->fit.micro_tokens, &how, &reading);
    rc = sft_data_read(&t->data, &how, &reading, train->data_path, &t->bad, err);
    if (!rc)
        rc = publish_begin(&train->publish, train->out_dir, err);
    return rc;
}

static enum err_code train_sft_run(struct train_sft *t, struct err *err)
{
    struct train *train = &t->train;
    struct fit_display display;
    fit_display_init(&display, train->json);
    if (!train->json)
        printf("%zu examples, %zu tokens, %zu parameters\n", t->data.n, t->data.ids.n,
               train->model->params);
    if (!train->json && t->bad > 0)
        printf("%llu bad lines were passed over; `rlhf data inspect` names them\n",
               (unsigned long long)t->bad);
    enum err_code rc = sft_train(train->model, train->pool, &t->data, &train->fit,
                                 train->held_out, fit_display_step, &display, &t->history, err);
    if (!rc)
        rc = model_save(train->model, train->publish.dir, err);
    if (!rc)
        rc = publish_tokenizer(&train->publish, train_tokenizer_dir(train), err);
    if (!rc)
        rc = publish_commit(&train->publish, err);
    if (!rc && !train->json)
        printf("wrote %s\n", train->out_dir);
    return rc;
}

static void train_sft_close(struct train_sft *t)
{
    fit_history_release(&t->history);
    sft_data_release(&t->data);
    train_close(&t->train);
}

static const struct cli_usage train_sft_usage = {
    .words = "train sft",
    .synopsis = "--model DIR|--init config.json --data FILE --out DIR [options]",
    .about =
        "Supervised fine-tuning on a data set, plain or gzip, in any format of docs/DATA.md:\n"
        "{\"prompt\": ..., \"response\": ...}, where the response is learned, {\"text\": ...}, "
        "where\n"
        "everything is, pairs, of which the preferred answer is, and others.  The result is a\n"
        "Hugging Face directory that appears only once it is whole.\n",
    .examples =
        "  rlhf train sft --model base --data sft.jsonl --chat chatml --out policy\n"
        "  rlhf train sft --init config.json --tokenizer demo --data demo/sft.jsonl \\\n"
        "      --lr 3e-3 --epochs 10 --out policy\n",
};

int cmd_train_sft(int argc, char **argv)
{
    struct train_sft t = {.train = train_defaults()};
    struct cli_option options[TRAIN_ROWS];
    struct cli_usage usage = train_sft_usage;
    usage.options = options;
    usage.options_n = train_rows(&t.train, options);
    int code = cli_parse(&usage, argc, argv, NULL);
    if (code == CLI_GO)
        code = train_check(&t.train, &usage);
    if (code != CLI_GO)
        return code;

    struct err err = {0};
    enum err_code rc = train_sft_open(&t, &err);
    if (!rc)
        rc = train_sft_run(&t, &err);
    train_sft_close(&t);
    return rc ? cli_fail(&usage, &err) : 0;
}
