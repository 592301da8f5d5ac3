/* cmd_config.c -- rlhf config: the resolved configuration of a run, or every key there is. */
#include <stdio.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "node/run_config.h"

#define CONFIG_TEXT_MAX (1024u * 1024u)

int cmd_config(int argc, char **argv)
{
    static struct run_config config;
    bool document = false;
    const struct cli_option options[] = {
        {"document", CLI_FLAG, &document, NULL,
         "every key with type, range, default (Markdown)", 0, 0},
    };
    const struct cli_usage usage = {
        .words = "config",
        .synopsis = "FILE [KEY=VALUE ...] | --document",
        .about = "Check a run's YAML file and print it with every default filled in.\n",
        .options = options,
        .options_n = 1,
        .examples = "  rlhf config run.yaml pipeline.lag=2\n  rlhf config --document\n",
        .arguments_min = 0,
        .arguments_max = 256,
    };
    int first = 0;
    const int parsed = cli_parse(&usage, argc, argv, &first);
    if (parsed != CLI_GO)
        return parsed;
    if (!document && first >= argc)
        return cli_usage_error(&usage, "FILE is missing");

    struct err err = {0};
    struct buf text;
    buf_init(&text, CONFIG_TEXT_MAX);
    enum err_code rc = ERR_OK;
    if (document) {
        run_config_document(&text);
    } else {
        rc = run_config_load(&config, argv[first], (const char *const *)argv + first + 1,
                             (size_t)(argc - first - 1), &err);
        if (rc == ERR_OK)
            run_config_write(&config, &text);
    }
    if (rc == ERR_OK)
        rc = buf_check(&text, "the configuration", &err);
    if (rc == ERR_OK)
        fputs(text.data, stdout);
    buf_release(&text);
    return rc ? cli_fail(&usage, &err) : 0;
}
