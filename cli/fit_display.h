/*
 * fit_display.h -- training as a person or a script watches it, on standard output: one line a
 * step on a pipe, one line that is rewritten on a terminal, one JSON object a step.
 */
#ifndef CLI_FIT_DISPLAY_H
#define CLI_FIT_DISPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "offline/fit.h"

struct fit_display {
    bool json;
    bool live;         /* a terminal */
    int64_t member;    /* of an ensemble, told with each line; -1: there is one model */
    uint64_t start_us; /* clock_mono_us of the first step's start */
    uint64_t tokens;
};

/* Of one model, whose first step begins now; live where it is not JSON and goes to a terminal. */
void fit_display_init(struct fit_display *display, bool json);

/* What fit_run calls; `arg` is the display. */
void fit_display_step(void *arg, const struct fit_progress *progress);

#endif
