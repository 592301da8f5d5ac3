/*
 * cli_run.h -- for tests of commands: run a command line, read back what it printed.
 *
 * `said` holds both streams of the last run_line; check_line also compares the exit code.
 */
#ifndef TESTS_UNIT_CLI_RUN_H
#define TESTS_UNIT_CLI_RUN_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "tests/test.h"

static char said[1 << 18]; /* what a case printed, both streams */

static inline void swap_stream(FILE *stream, int *saved, int with)
{
    fflush(stream);
    *saved = dup(fileno(stream));
    assert_true(*saved >= 0);
    assert_true(dup2(with, fileno(stream)) >= 0);
}

static inline void restore_stream(FILE *stream, int saved)
{
    fflush(stream);
    assert_true(dup2(saved, fileno(stream)) >= 0);
    close(saved);
}

/*
 * Run `line`, split at blanks ("~" stands for a blank inside a word), through `run`, with
 * `input` (NULL: nothing) as standard input.  What it prints goes to `said`.
 */
static inline int run_input(int (*run)(int, char **), const char *line, const char *input)
{
    char text[1024], *argv[48];
    int argc = 0;
    assert_true(strlen(line) < sizeof text);
    strcpy(text, line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        for (char *c = word; *c; c++)
            *c = *c == '~' ? ' ' : *c;
        argv[argc++] = word;
    }
    argv[argc] = NULL;

    FILE *file = tmpfile(), *in = tmpfile();
    assert_true(file && in);
    fputs(input ? input : "", in);
    rewind(in);
    int saved[3];
    swap_stream(stdin, &saved[0], fileno(in));
    swap_stream(stdout, &saved[1], fileno(file));
    swap_stream(stderr, &saved[2], fileno(file));
    rewind(stdin); /* forgets what was buffered of the stream before */
    const int code = run(argc, argv);
    restore_stream(stdin, saved[0]);
    restore_stream(stdout, saved[1]);
    restore_stream(stderr, saved[2]);
    rewind(file);
    said[fread(said, 1, sizeof said - 1, file)] = '\0';
    fclose(file);
    fclose(in);
    return code;
}

static inline int run_line(int (*run)(int, char **), const char *line)
{
    return run_input(run, line, NULL);
}

#define check_line(run, line, code, words) check_input(run, line, NULL, code, words)
#define check_input(run, line, input, code, words)                                        \
    do {                                                                                  \
        const int got_ = run_input(run, line, input);                                     \
        if (got_ != (code) || !strstr(said, words))                                       \
            fail_msg("`%s` returned %d, wanted %d with \"%s\"; it said:\n%s", line, got_, \
                     code, words, said);                                                  \
    } while (0)

#endif
