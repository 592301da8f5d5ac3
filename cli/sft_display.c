/* sft_display.c -- see sft_display.h. */
#include "cli/sft_display.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

void sft_display_init(struct sft_display *display, bool json)
{
    *display = (struct sft_display){.json = json,
                                    .live = !json && isatty(STDOUT_FILENO),
                                    .start_us = clock_mono_us(),
                                    .held_out_loss = (double)NAN};
}

static void sft_display_json(const struct sft_progress *p, double tokens_per_s)
{
    printf("{\"step\": %llu, \"steps\": %llu, \"epoch\": %llu, \"tokens\": %zu, "
           "\"loss\": %.9g, \"lr\": %.9g, \"grad_norm\": %.9g, \"tokens_per_s\": %.0f",
           (unsigned long long)p->step, (unsigned long long)p->steps,
           (unsigned long long)p->epoch, p->tokens, p->loss, p->lr, p->grad_norm, tokens_per_s);
    if (isfinite(p->held_out_loss))
        printf(", \"held_out_loss\": %.9g", p->held_out_loss);
    puts("}");
}

void sft_display_step(void *arg, const struct sft_progress *p)
{
    struct sft_display *display = arg;
    const double seconds = (double)(clock_mono_us() - display->start_us + 1) * 1e-6;
    display->tokens += p->tokens;
    const bool evaluated = isfinite(p->held_out_loss);
    if (evaluated)
        display->held_out_loss = p->held_out_loss;
    if (display->json) {
        sft_display_json(p, (double)display->tokens / seconds);
    } else {
        printf("%sstep %llu/%llu  epoch %llu  loss %.4f  lr %.3g  grad %.3f  %.0f tokens/s",
               display->live ? "\r\033[K" : "", (unsigned long long)p->step,
               (unsigned long long)p->steps, (unsigned long long)p->epoch, p->loss, p->lr,
               p->grad_norm, (double)display->tokens / seconds);
        if (evaluated)
            printf("  held-out %.4f", p->held_out_loss);
        if (!display->live || evaluated || p->step == p->steps)
            putchar('\n');
    }
    fflush(stdout);
}
