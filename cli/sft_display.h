/*
 * sft_display.h -- training as a person or a script watches it, on standard output: one line a
 * step on a pipe, one line that is rewritten on a terminal, one JSON object a step.
 */
#ifndef CLI_SFT_DISPLAY_H
#define CLI_SFT_DISPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "offline/sft.h"

struct sft_display {
    bool json;
    bool live;         /* a terminal */
    uint64_t start_us; /* clock_mono_us of the first step's start */
    uint64_t tokens;
    double held_out_loss; /* the last one computed; NaN: none */
};

void sft_display_init(struct sft_display *display, bool json);

/* What sft_train calls; `arg` is the display. */
void sft_display_step(void *arg, const struct sft_progress *progress);

#endif
