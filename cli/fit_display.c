/* fit_display.c -- see fit_display.h. */
#include "cli/fit_display.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define FIT_DISPLAY_EVERY 50 /* steps */

void fit_display_init(struct fit_display *display, bool json)
{
    *display = (struct fit_display){.json = json,
                                    .live = !json && isatty(STDOUT_FILENO),
                                    .member = -1,
                                    .start_us = clock_mono_us()};
}

static void fit_display_json(const struct fit_display *display, const struct fit_progress *p,
                             double tokens_per_s)
{
    const struct fit_step *s = p->step;
    putchar('{');
    if (display->member >= 0)
        printf("\"member\": %lld, ", (long long)display->member);
    printf("\"step\": %llu, \"steps\": %llu, \"epoch\": %llu, \"tokens\": %llu, "
           "\"loss\": %.9g, \"lr\": %.9g, \"grad_norm\": %.9g, \"tokens_per_s\": %.0f",
           (unsigned long long)s->step, (unsigned long long)p->steps,
           (unsigned long long)s->epoch, (unsigned long long)s->tokens, s->loss, s->lr,
           s->grad_norm, tokens_per_s);
    for (size_t i = 0; p->test && i < p->task->metrics; i++) {
        if (isfinite(p->test->metric[i]))
            printf(", \"%s\": %.9g", p->task->metric[i], p->test->metric[i]);
    }
    puts("}");
}

/* The loss of a test, and its accuracy where it has one. */
static void fit_display_test(const struct fit_progress *p)
{
    if (!p->test || !isfinite(p->test->metric[0]))
        return;
    printf("  held-out %.4f", p->test->metric[0]);
    for (size_t i = 1; i < p->task->metrics; i++) {
        if (strcmp(p->task->metric[i], "accuracy") == 0)
            printf("  accuracy %.4f", p->test->metric[i]);
    }
}

/* A terminal shows every step in one line; a log the first, the last, the tests, and in
 * between some. */
static bool fit_display_shows(const struct fit_display *display, const struct fit_progress *p)
{
    return display->json || display->live || p->test || p->step->step == 1 ||
           p->step->step % FIT_DISPLAY_EVERY == 0 || p->step->step == p->steps;
}

void fit_display_step(void *arg, const struct fit_progress *p)
{
    struct fit_display *display = arg;
    const struct fit_step *s = p->step;
    const double seconds = (double)(clock_mono_us() - display->start_us + 1) * 1e-6;
    display->tokens += s->tokens;
    if (!fit_display_shows(display, p))
        return;
    if (display->json) {
        fit_display_json(display, p, (double)display->tokens / seconds);
    } else {
        fputs(display->live ? "\r\033[K" : "", stdout);
        if (display->member >= 0)
            printf("member %lld  ", (long long)display->member);
        printf("step %llu/%llu  epoch %llu  loss %.4f  lr %.3g  grad %.3f  %.0f tokens/s",
               (unsigned long long)s->step, (unsigned long long)p->steps,
               (unsigned long long)s->epoch, s->loss, s->lr, s->grad_norm,
               (double)display->tokens / seconds);
        fit_display_test(p);
        if (!display->live || p->test || s->step == p->steps)
            putchar('\n');
    }
    fflush(stdout);
}
