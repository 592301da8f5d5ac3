/*
 * cmd_top.c -- rlhf top: what a run is doing now, again and again.
 *
 * The screen of `rlhf status` with two lines above it: rates since the look before, from the
 * differences of counters.  On a terminal it is drawn over itself with plain ANSI codes, each line
 * cut to the width, on the alternate screen; elsewhere it is shown once.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/status_screen.h"
#include "cli/status_source.h"
#include "cli/top.h"

#define TOP_SCREEN_MAX ((size_t)1 << 20)

static volatile sig_atomic_t top_ended; /* by a signal: the terminal is to be given back */

static void top_on_signal(int signal)
{
    (void)signal;
    top_ended = 1;
}

static void top_catch_signals(void)
{
    struct sigaction action = {.sa_handler = top_on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

static void top_put(const struct buf *screen)
{
    (void)!fwrite(screen->data, 1, screen->len, stdout);
    fflush(stdout);
}

/* One look, drawn.  Errors of status_of; the screen then says the sentence. */
static enum err_code top_look(const char *target, struct top_rates *rates, bool live,
                              struct err *err)
{
    struct buf screen, drawn;
    json_t *status = NULL;
    buf_init(&screen, TOP_SCREEN_MAX);
    buf_init(&drawn, TOP_SCREEN_MAX);
    const enum err_code rc = status_of(target, NULL, NULL, &status, err);
    if (rc == ERR_OK) {
        top_rates_see(rates, status, clock_mono_ms());
        top_rates_write(rates, &screen);
        status_screen(status, &screen);
    } else {
        status_screen_text(&screen, err->text);
        buf_putc(&screen, '\n');
    }
    if (live) {
        struct winsize size = {0};
        ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
        top_draw(&screen, size.ws_row, size.ws_col, &drawn);
        top_put(&drawn);
    } else if (rc == ERR_OK) {
        top_put(&screen);
    }
    json_decref(status);
    buf_release(&screen);
    buf_release(&drawn);
    return rc;
}

/* Until a signal.  A coordinator that is started again is seen again. */
static enum err_code top_live(const char *target, uint64_t seconds, struct err *err)
{
    struct top_rates rates = {0};
    enum err_code rc = ERR_OK;
    top_catch_signals();
    fputs(TOP_BEGIN, stdout);
    while (!top_ended) {
        rc = top_look(target, &rates, true, err);
        if (rc != ERR_OK && rc != ERR_UNAVAILABLE)
            break;
        nanosleep(&(struct timespec){.tv_sec = (time_t)seconds}, NULL);
    }
    fputs(TOP_END, stdout);
    fflush(stdout);
    return rc == ERR_UNAVAILABLE ? ERR_OK : rc;
}

int cmd_top(int argc, char **argv)
{
    uint64_t seconds = 1;
    const struct cli_option options[] = {
        cli_count("every", &seconds, "S", 1, 3600, "seconds between two looks"),
    };
    const struct cli_usage usage = {
        .words = "top",
        .synopsis = "RUN|http://ADDRESS:PORT [options]",
        .about = "Shows what `rlhf status` shows, with the rates of steps, tokens and records, "
                 "again\n"
                 "every second, until Ctrl-C.  Where standard output is no terminal, once.\n",
        .options = options,
        .options_n = sizeof options / sizeof options[0],
        .examples = "  rlhf top runs/demo\n",
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int argument = 0;
    const int code = cli_parse(&usage, argc, argv, &argument);
    if (code != CLI_GO)
        return code;
    struct err err = {0};
    struct top_rates rates = {0};
    const enum err_code rc = isatty(STDOUT_FILENO)
                                 ? top_live(argv[argument], seconds, &err)
                                 : top_look(argv[argument], &rates, false, &err);
    return rc == ERR_OK ? 0 : cli_fail(&usage, &err);
}
