/* cli.c -- see cli.h: the table of commands, and how one is found. */
#include "cli/cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct cli_command {
    const char *words;
    int (*run)(int argc, char **argv);
    const char *help;
} cli_commands[] = {
#define X(words, handler, help) {words, handler, help},
    CLI_COMMAND_MAP(X)
#undef X
};

#define CLI_COMMANDS (sizeof cli_commands / sizeof cli_commands[0])

/* How many of argv's first words spell the command; 0 where they do not. */
static int cli_match(const struct cli_command *command, int argc, char **argv)
{
    const char *blank = strchr(command->words, ' ');
    if (!blank)
        return argc >= 1 && strcmp(argv[0], command->words) == 0 ? 1 : 0;
    const size_t first = (size_t)(blank - command->words);
    const bool both = argc >= 2 && strlen(argv[0]) == first &&
                      strncmp(argv[0], command->words, first) == 0 &&
                      strcmp(argv[1], blank + 1) == 0;
    return both ? 2 : 0;
}

static void cli_print_commands(FILE *out)
{
    fputs("usage: rlhf COMMAND [options]\n\n", out);
    for (size_t i = 0; i < CLI_COMMANDS; i++)
        fprintf(out, "  %-12s %s\n", cli_commands[i].words, cli_commands[i].help);
    fputs("  help         this list; `rlhf help COMMAND` teaches one command\n"
          "\nrlhf --version says which version this is.\n",
          out);
}

static int cli_unknown(int argc, char **argv)
{
    char typed[64];
    const bool two = argc >= 2 && argv[1][0] != '-';
    snprintf(typed, sizeof typed, "%s%s%s", argv[0], two ? " " : "", two ? argv[1] : "");

    /* "train" alone and "train stf" want the list of what begins with "train". */
    const size_t first = strlen(argv[0]);
    bool family = false;
    for (size_t i = 0; i < CLI_COMMANDS; i++) {
        const char *words = cli_commands[i].words;
        if (strncmp(words, argv[0], first) != 0 || words[first] != ' ')
            continue;
        if (!family)
            fprintf(stderr, "rlhf: `%s` is not a command; there is:\n", typed);
        fprintf(stderr, "  rlhf %-12s %s\n", words, cli_commands[i].help);
        family = true;
    }
    if (family)
        return CLI_EXIT_USAGE;

    const char *names[CLI_COMMANDS];
    for (size_t i = 0; i < CLI_COMMANDS; i++)
        names[i] = cli_commands[i].words;
    const char *near = cli_nearest(argv[0], names, CLI_COMMANDS);
    if (!near)
        near = cli_nearest(typed, names, CLI_COMMANDS);
    if (near)
        fprintf(stderr, "rlhf: `%s` is not a command; did you mean `rlhf %s`?\n", argv[0],
                near);
    else
        fprintf(stderr, "rlhf: `%s` is not a command; `rlhf help` lists them\n", argv[0]);
    return CLI_EXIT_USAGE;
}

static int cli_run(int argc, char **argv)
{
    for (size_t i = 0; i < CLI_COMMANDS; i++) {
        const int words = cli_match(&cli_commands[i], argc, argv);
        if (words > 0)
            return cli_commands[i].run(argc - words + 1, argv + words - 1);
    }
    return cli_unknown(argc, argv);
}

/* `rlhf help train sft` is `rlhf train sft --help`. */
static int cli_help(int argc, char **argv)
{
    static char flag[] = "--help";
    if (argc == 0) {
        cli_print_commands(stdout);
        return 0;
    }
    char *line[4] = {argv[0]};
    int n = 1;
    if (argc > 1)
        line[n++] = argv[1];
    line[n++] = flag;
    return cli_run(n, line);
}

/* Standard output may be a closed pipe or a full disk: what was not written was not said. */
static int cli_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (code == 0) {
        perror("rlhf: standard output");
        code = err_exit_code(ERR_IO);
    }
    return code;
}

int cli_main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write(2), reported like others */
    if (argc < 2) {
        cli_print_commands(stderr);
        return CLI_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        puts("rlhf " RLHF_VERSION);
        return cli_finish(0);
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0)
        return cli_finish(cli_help(argc - 2, argv + 2));
    return cli_finish(cli_run(argc - 1, argv + 1));
}
