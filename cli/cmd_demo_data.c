/* cmd_demo_data.c -- `rlhf demo data`: the built-in world as files. */
#include <stdio.h>

#include "base/file.h"
#include "cli/cli.h"
#include "world/world.h"

static const struct cli_usage demo_data_usage = {
    .words = "demo data",
    .synopsis = "--out DIR [options]",
    .about = "Writes the built-in world: a small language about animals, things and numbers.\n"
             "  sft.jsonl           prompts with answers: curt, plain, polite, padded, rude, "
             "refusals\n"
             "  prompts.jsonl       each prompt once, with its right answer as label\n"
             "  prompts-test.jsonl  prompts that no training set shows\n"
             "  tokenizer.json      a byte-level BPE of 512 tokens learned from sft.jsonl\n"
             "The same seed writes the same bytes.\n",
    .examples = "  rlhf demo data --out demo\n"
                "  rlhf train sft --init config.json --tokenizer demo --data demo/sft.jsonl "
                "--out policy\n",
};

int cmd_demo_data(int argc, char **argv)
{
    const char *out = NULL;
    uint64_t seed = 1, answers = 8;
    const struct cli_option options[] = {
        cli_text("out", &out, "DIR", "where to write; made if absent"),
        cli_count("seed", &seed, "S", 0, 0, "which styles and which order"),
        cli_count("answers", &answers, "N", 1, 1000, "lines of sft.jsonl a question"),
    };
    struct cli_usage usage = demo_data_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    const int code = cli_parse(&usage, argc, argv, NULL);
    if (code != CLI_GO)
        return code;
    if (!out)
        return cli_usage_error(&usage, "--out is missing");

    struct err err = {0};
    enum err_code rc = file_make_dir(out, &err);
    if (!rc)
        rc = world_write(out, seed, (uint32_t)answers, &err);
    if (rc)
        return cli_fail(&usage, &err);
    printf("wrote sft.jsonl, prompts.jsonl, prompts-test.jsonl and tokenizer.json to %s\n",
           out);
    return 0;
}
