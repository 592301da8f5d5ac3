/*
 * progress.h -- RUN/progress.jsonl as a person wants to see it while the run goes on.
 *
 * The coordinator appends a JSON line a step.  On a pipe each becomes one line of text; on a
 * terminal the last lines stay and a bar below them moves.
 *
 *     step    12/100  reward   0.412  raw   1.930  kl   2.41  beta 0.0500  entropy  1.20  ...
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

struct progress {
    char path[1024];
    long at;   /* bytes read so far */
    bool live; /* a terminal */
    bool bar;  /* a bar stands on the last line */
    uint64_t step, steps;
    double reward, raw, kl;         /* of the last step */
    double reward_first, raw_first; /* of the first step seen */
    uint64_t lines;
};

/* Follow `path`, which need not exist yet; from its end where `from_end`. */
void progress_open(struct progress *progress, const char *path, bool from_end, bool live);

/* Read what is new and print it to `out`.  ERR_FORMAT for a line that is no JSON. */
enum err_code progress_poll(struct progress *progress, FILE *out, struct err *err);

/* Take the bar away, so that other text may follow. */
void progress_end(struct progress *progress, FILE *out);

#endif
