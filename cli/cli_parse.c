/* cli_parse.c -- see cli.h: long options from a table, their help, and their mistakes. */
#include "cli/cli.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLI_OPTIONS_MAX 48
#define CLI_WORD_MAX    63 /* longer words are near nothing */

/* getopt's values: the index of the option, from here on. */
#define CLI_OPTION_BASE 1000
#define CLI_OPTION_HELP 999

static size_t cli_distance(const char *a, const char *b)
{
    const size_t n = strlen(b);
    size_t row[CLI_WORD_MAX + 1];
    assert(n <= CLI_WORD_MAX);
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            const size_t change = corner + (a[i - 1] != b[j - 1]);
            const size_t shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            corner = row[j];
            row[j] = change < shorter ? change : shorter;
        }
    }
    return row[n];
}

const char *cli_nearest(const char *typed, const char *const *candidates, size_t n)
{
    const size_t length = strlen(typed);
    const char *best = NULL;
    size_t least = length < 4 ? 2 : 3; /* must be below: one slip in a short word, else two */
    for (size_t i = 0; i < n && length <= CLI_WORD_MAX; i++) {
        const bool begins = length >= 2 && strncmp(candidates[i], typed, length) == 0;
        const size_t distance = begins ? 1 : cli_distance(typed, candidates[i]);
        if (distance < least) {
            least = distance;
            best = candidates[i];
        }
    }
    return best;
}

int cli_usage_error(const struct cli_usage *usage, const char *format, ...)
{
    fprintf(stderr, "rlhf %s: ", usage->words);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n`rlhf %s --help` explains it\n", usage->words);
    return CLI_EXIT_USAGE;
}

int cli_fail(const struct cli_usage *usage, const struct err *err)
{
    fprintf(stderr, "rlhf %s: %s\n", usage->words, err->text);
    return err_exit_code(err->code);
}

static void cli_print_default(const struct cli_option *option, FILE *out)
{
    switch (option->kind) {
    case CLI_FLAG:
    case CLI_LIST: break;
    case CLI_TEXT:
        if (*(const char **)option->to)
            fprintf(out, " [%s]", *(const char **)option->to);
        break;
    case CLI_COUNT:
        fprintf(out, " [%llu]", (unsigned long long)*(const uint64_t *)option->to);
        break;
    case CLI_NUMBER: fprintf(out, " [%g]", *(const double *)option->to); break;
    }
}

static void cli_print_help(const struct cli_usage *usage, FILE *out)
{
    fprintf(out, "usage: rlhf %s %s\n\n%s", usage->words, usage->synopsis, usage->about);
    if (usage->options_n > 0)
        fputs("\noptions [default]:\n", out);
    for (size_t i = 0; i < usage->options_n; i++) {
        const struct cli_option *option = &usage->options[i];
        char left[48];
        snprintf(left, sizeof left, "--%s%s%s", option->name, option->arg ? " " : "",
                 option->arg ? option->arg : "");
        fprintf(out, "  %-24s %s", left, option->help);
        cli_print_default(option, out);
        if (option->kind == CLI_LIST)
            fputs(" (may be repeated)", out);
        fputc('\n', out);
    }
    if (usage->examples)
        fprintf(out, "\nexamples:\n%s", usage->examples);
}

static int cli_set_count(const struct cli_usage *usage, const struct cli_option *option,
                         const char *text)
{
    const bool any = option->min == 0.0 && option->max == 0.0;
    errno = 0;
    char *end;
    const unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno)
        return cli_usage_error(usage, "--%s %s: a whole number is expected", option->name,
                               text);
    if (!any && ((double)value < option->min || (double)value > option->max))
        return cli_usage_error(usage, "--%s %s: it must be %.0f to %.0f", option->name, text,
                               option->min, option->max);
    *(uint64_t *)option->to = value;
    return CLI_GO;
}

static int cli_set_number(const struct cli_usage *usage, const struct cli_option *option,
                          const char *text)
{
    const bool any = option->min == 0.0 && option->max == 0.0;
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value))
        return cli_usage_error(usage, "--%s %s: a number is expected", option->name, text);
    if (value < option->min || (!any && value > option->max)) {
        if (any)
            return cli_usage_error(usage, "--%s %s: it may not be negative", option->name,
                                   text);
        return cli_usage_error(usage, "--%s %s: it must be %g to %g", option->name, text,
                               option->min, option->max);
    }
    *(double *)option->to = value;
    return CLI_GO;
}

static int cli_set(const struct cli_usage *usage, const struct cli_option *option,
                   const char *text)
{
    switch (option->kind) {
    case CLI_FLAG: *(bool *)option->to = true; break;
    case CLI_TEXT: *(const char **)option->to = text; break;
    case CLI_COUNT: return cli_set_count(usage, option, text);
    case CLI_NUMBER: return cli_set_number(usage, option, text);
    case CLI_LIST: {
        struct cli_list *list = option->to;
        if (list->n == CLI_LIST_MAX)
            return cli_usage_error(usage, "--%s is given more than %d times", option->name,
                                   CLI_LIST_MAX);
        list->item[list->n++] = text;
        break;
    }
    }
    return CLI_GO;
}

static int cli_unknown_option(const struct cli_usage *usage, const char *typed)
{
    const char *names[CLI_OPTIONS_MAX];
    for (size_t i = 0; i < usage->options_n; i++)
        names[i] = usage->options[i].name;
    char word[CLI_WORD_MAX + 1];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(typed, "="), typed);
    const char *bare = word + strspn(word, "-");
    for (size_t i = 0; i < usage->options_n; i++) {
        if (strcmp(bare, names[i]) == 0) /* getopt refused it for its "=value" */
            return cli_usage_error(usage, "%s takes no value", word);
    }
    const char *near = cli_nearest(bare, names, usage->options_n);
    if (near)
        return cli_usage_error(usage, "%s is not an option; did you mean --%s?", word, near);
    return cli_usage_error(usage, "%s is not an option", word);
}

int cli_parse(const struct cli_usage *usage, int argc, char **argv, int *arguments)
{
    assert(usage->options_n <= CLI_OPTIONS_MAX);
    struct option table[CLI_OPTIONS_MAX + 2] = {{"help", no_argument, NULL, CLI_OPTION_HELP}};
    for (size_t i = 0; i < usage->options_n; i++) {
        const struct cli_option *option = &usage->options[i];
        table[i + 1] = (struct option){
            option->name, option->kind == CLI_FLAG ? no_argument : required_argument, NULL,
            CLI_OPTION_BASE + (int)i};
    }

    opterr = 0;
    optind = 0; /* also resets getopt for a second command line in one process */
    for (;;) {
        const int got = getopt_long(argc, argv, ":h", table, NULL);
        if (got == -1)
            break;
        int code = CLI_GO;
        if (got == 'h' || got == CLI_OPTION_HELP) {
            cli_print_help(usage, stdout);
            return 0;
        }
        if (got == ':')
            code = cli_usage_error(usage, "%s needs a value", argv[optind - 1]);
        else if (got == '?')
            code = cli_unknown_option(usage, argv[optind - 1]);
        else
            code = cli_set(usage, &usage->options[got - CLI_OPTION_BASE], optarg);
        if (code != CLI_GO)
            return code;
    }

    const size_t left = (size_t)(argc - optind);
    if (left < usage->arguments_min)
        return cli_usage_error(usage, "an argument is missing: rlhf %s %s", usage->words,
                               usage->synopsis);
    if (left > usage->arguments_max)
        return cli_usage_error(usage, "`%s` is one argument too many",
                               argv[optind + (int)usage->arguments_max]);
    if (arguments)
        *arguments = optind;
    return CLI_GO;
}
