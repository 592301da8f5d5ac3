/* cmd_keygen.c -- rlhf keygen: keys for the processes of a run on several machines. */
#include <stdio.h>

#include "cli/cli.h"
#include "wire/keys.h"

static const struct cli_usage keygen_usage = {
    .words = "keygen",
    .synopsis = "--keys DIR NAME ...",
    .about =
        "Makes a key for each NAME: DIR/NAME.key, which is secret, and a line in DIR/peers, "
        "which\n"
        "is not.  With endpoints.keys: DIR, only who has a key of DIR/peers connects over TCP, "
        "and\n"
        "what passes is encrypted.  A NAME is a process (actor-3) or all of a role (actor).\n"
        "A machine needs DIR/peers and the .key of each process that runs there.  To shut a "
        "key\n"
        "out of a running run, take its line out of DIR/peers on the machines it connects "
        "to.\n",
    .examples = "  rlhf keygen --keys keys coordinator learner actor reward\n"
                "  rlhf keygen --keys keys actor-17\n",
    .arguments_min = 1,
    .arguments_max = 1000,
};

int cmd_keygen(int argc, char **argv)
{
    const char *keys = NULL;
    const struct cli_option options[] = {
        cli_text("keys", &keys, "DIR", "directory of keys; made where it is not there"),
    };
    struct cli_usage usage = keygen_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    int first;
    const int code = cli_parse(&usage, argc, argv, &first);
    if (code != CLI_GO)
        return code;
    if (!keys)
        return cli_usage_error(&usage, "--keys is missing");
    struct err err = {0};
    for (int i = first; i < argc; i++) {
        if (keys_make(keys, argv[i], &err))
            return cli_fail(&usage, &err);
        printf("%s/%s.key\n", keys, argv[i]);
    }
    return 0;
}
