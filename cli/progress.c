/* progress.c -- see progress.h. */
#include "cli/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define PROGRESS_LINE_MAX 65536 /* bytes of one JSON line */
#define PROGRESS_BAR      30    /* characters */

void progress_open(struct progress *progress, const char *path, bool from_end, bool live)
{
    *progress = (struct progress){.live = live};
    snprintf(progress->path, sizeof progress->path, "%s", path);
    FILE *file = from_end ? fopen(path, "r") : NULL;
    if (file) {
        if (fseek(file, 0, SEEK_END) == 0)
            progress->at = ftell(file);
        fclose(file);
    }
}

static void progress_draw(struct progress *progress, FILE *out, double eta_s)
{
    const double part =
        progress->steps > 0 ? (double)progress->step / (double)progress->steps : 0;
    const int full = (int)(part * PROGRESS_BAR);
    fputs("  [", out);
    for (int i = 0; i < PROGRESS_BAR; i++)
        fputc(i < full ? '#' : '.', out);
    fprintf(out, "] %3.0f %%  ETA %d:%02d", 100 * part, (int)eta_s / 60, (int)eta_s % 60);
    fflush(out);
    progress->bar = true;
}

/* JSON has no number for a mean that is not finite: null, which must not look like 0. */
static double progress_mean(const json_t *line, const char *key)
{
    return json_is_null(json_object_get(line, key)) ? NAN : json_number_or(line, key, 0);
}

static void progress_show(struct progress *progress, const json_t *line, FILE *out)
{
    progress_end(progress, out);
    progress->step = (uint64_t)json_number_or(line, "step", 0) + 1;
    progress->steps = (uint64_t)json_number_or(line, "steps", 0);
    progress->reward = progress_mean(line, "reward_shaped_mean");
    progress->raw = progress_mean(line, "reward_raw_mean");
    progress->kl = progress_mean(line, "kl_mean");
    if (progress->lines++ == 0) {
        progress->reward_first = progress->reward;
        progress->raw_first = progress->raw;
    }
    const double eta_s = json_number_or(line, "eta_s", 0);
    fprintf(out,
            "step %5llu/%llu  reward %7.3f  raw %7.3f  kl %6.2f  beta %.4f  entropy %5.2f  ",
            (unsigned long long)progress->step, (unsigned long long)progress->steps,
            progress->reward, progress->raw, progress->kl, json_number_or(line, "kl_coef", 0),
            json_number_or(line, "entropy", 0));
    if (json_object_get(line, "cost_raw_mean"))
        fprintf(out, "cost %6.3f of %.3f  lambda %.3f  ",
                json_number_or(line, "cost_raw_mean", 0), json_number_or(line, "cost_limit", 0),
                json_number_or(line, "multiplier_after", 0));
    fprintf(out, "%6.0f tok/s  ETA %d:%02d\n", json_number_or(line, "tokens_per_s", 0),
            (int)eta_s / 60, (int)eta_s % 60);
    fflush(out);
    if (progress->live)
        progress_draw(progress, out, eta_s);
}

enum err_code progress_poll(struct progress *progress, FILE *out, struct err *err)
{
    FILE *file = fopen(progress->path, "r");
    if (!file)
        return ERR_OK; /* not there yet */
    char *text = malloc(PROGRESS_LINE_MAX);
    enum err_code rc = ERR_OK;
    if (!text || fseek(file, progress->at, SEEK_SET) != 0) {
        rc = err_set(err, ERR_IO, "cannot read %s", progress->path);
        goto out;
    }
    while (fgets(text, PROGRESS_LINE_MAX, file)) {
        const size_t n = strlen(text);
        if (n == 0 || text[n - 1] != '\n')
            break; /* still being written */
        json_t *line = json_parse(text, n - 1, progress->path, err);
        if (!line) {
            rc = ERR_FORMAT;
            goto out;
        }
        progress_show(progress, line, out);
        json_decref(line);
        progress->at += (long)n;
    }
out:
    free(text);
    fclose(file);
    return rc;
}

void progress_end(struct progress *progress, FILE *out)
{
    if (progress->bar)
        fputs("\r\033[K", out);
    progress->bar = false;
}
