/* cmd_inspect.c -- `rlhf inspect`: what a file or a directory is. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/inspect.h"
#include "coordinator/ledger.h"

#define INSPECT_TEXT_MAX ((size_t)256 << 20)

/* Is there something of that name in the directory? */
static bool inspect_holds(const char *dir, const char *name)
{
    char path[FILE_PATH_MAX];
    return file_join(path, dir, name, NULL) == ERR_OK && file_exists(path);
}

static enum err_code inspect_dir(const char *dir, bool json, struct buf *out, struct err *err)
{
    if (inspect_holds(dir, LEDGER_FILE))
        return inspect_ledger(dir, json, out, err);
    if (inspect_holds(dir, "MANIFEST.json") || inspect_holds(dir, "STATE.json"))
        return inspect_checkpoint(dir, json, out, err);
    return inspect_model(dir, json, out, err);
}

/* A ledger is known by its directory. */
static enum err_code inspect_ledger_file(const char *path, const char *slash, bool json,
                                         struct buf *out, struct err *err)
{
    char dir[FILE_PATH_MAX] = ".";
    if (slash == path)
        snprintf(dir, sizeof dir, "/");
    else if (slash && (size_t)(slash - path) >= sizeof dir)
        return err_set(err, ERR_VALUE, "the path has %zu bytes", strlen(path));
    else if (slash)
        snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
    return inspect_ledger(dir, json, out, err);
}

/* By what it is, and by its name where that decides.  One line a kind. */
static enum err_code inspect_any(const char *path, bool json, struct buf *out, struct err *err)
{
    struct stat about;
    if (stat(path, &about))
        return err_errno(err, "%s", path);
    if (S_ISDIR(about.st_mode))
        return inspect_dir(path, json, out, err);
    const char *dot = strrchr(path, '.');
    if (dot && strcmp(dot, ".safetensors") == 0)
        return inspect_safetensors(path, json, out, err);
    const char *slash = strrchr(path, '/');
    if (strcmp(slash ? slash + 1 : path, "config.json") == 0)
        return inspect_config(path, json, out, err);
    if (strcmp(slash ? slash + 1 : path, LEDGER_FILE) == 0)
        return inspect_ledger_file(path, slash, json, out, err);
    return err_set(
        err, ERR_FORMAT,
        "%s: neither a directory, nor a .safetensors file, nor config.json, nor " LEDGER_FILE,
        path);
}

static const struct cli_usage inspect_usage = {
    .words = "inspect",
    .synopsis = "FILE|DIR [options]",
    .about =
        "Explains a safetensors file (each tensor's name, type and shape; only the header\n"
        "is read), a config.json (the model's shape), a model directory (its shape, its\n"
        "tokenizer, its tensors), a run's directory or ledger.sqlite (how far it is, what\n"
        "became of its slots), or a checkpoint (each file held against the manifest; exit\n"
        "status 65 where one is not what it says).\n",
    .examples = "  rlhf inspect model.safetensors\n"
                "  rlhf inspect runs/demo\n"
                "  rlhf inspect runs/demo/checkpoints/v00000060\n"
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
    if (!out.failed && out.len > 0) /* of a damaged checkpoint too */
        printf("%s%s", out.data, json ? "\n" : "");
    fflush(stdout);
    buf_release(&out);
    return rc ? cli_fail(&usage, &err) : 0;
}
