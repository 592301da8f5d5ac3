/* cmd_inspect.c -- `rlhf inspect`: what a file or a directory is. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/inspect.h"

#define INSPECT_TEXT_MAX ((size_t)256 << 20)

/* By what it is, and by its name where that decides.  One line a kind. */
static enum err_code inspect_any(const char *path, bool json, struct buf *out, struct err *err)
{
    struct stat about;
    if (stat(path, &about))
        return err_errno(err, "%s", path);
    if (S_ISDIR(about.st_mode))
        return inspect_model(path, json, out, err);
    const char *dot = strrchr(path, '.');
    if (dot && strcmp(dot, ".safetensors") == 0)
        return inspect_safetensors(path, json, out, err);
    const char *slash = strrchr(path, '/');
    if (strcmp(slash ? slash + 1 : path, "config.json") == 0)
        return inspect_config(path, json, out, err);
    return err_set(err, ERR_FORMAT,
                   "%s: neither a model directory, nor a .safetensors file, nor config.json",
                   path);
}

static const struct cli_usage inspect_usage = {
    .words = "inspect",
    .synopsis = "FILE|DIR [options]",
    .about =
        "Explains a safetensors file (each tensor's name, type and shape; only the header\n"
        "is read), a config.json (the model's shape), or a model directory (its shape, its\n"
        "tokenizer, its tensors).\n",
    .examples = "  rlhf inspect model.safetensors\n"
                "  rlhf inspect DIR --json\n",
    .arguments_min = 1,
    .arguments_max = 1,
};

int cmd_inspect(int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {
        cli_flag("json", &json, "one JSON object"),
    };
    struct cli_usage usage = inspect_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    int argument = 0;
    const int code = cli_parse(&usage, argc, argv, &argument);
    if (code != CLI_GO)
        return code;

    struct err err = {0};
    struct buf out;
    buf_init(&out, INSPECT_TEXT_MAX);
    enum err_code rc = inspect_any(argv[argument], json, &out, &err);
    if (!rc)
        rc = buf_check(&out, "the explanation", &err);
    if (!rc)
        printf("%s%s", out.data, json ? "\n" : "");
    buf_release(&out);
    return rc ? cli_fail(&usage, &err) : 0;
}
