/* export.c -- see export.h: which lines, and where they go. */
#include "cli/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/export_line.h"
#include "data/lines.h"
#include "data/output.h"

struct export
{
    const struct export_params *params;
    struct replay_source source; /* too large for a stack */
    struct export_texts texts;
    struct output output;
    struct buf line;
    struct export_counts counts;
};

static enum err_code export_put(struct export *x, struct err *err)
{
    const enum err_code rc = buf_check(&x->line, "a line", err);
    if (rc != ERR_OK)
        return rc;
    if (x->params->out)
        return output_write(&x->output, x->line.data, x->line.len, err);
    return file_write_all(STDOUT_FILENO, x->line.data, x->line.len, "standard output", err);
}

static bool export_wants(const struct export_params *params, const struct replay_slot *slot)
{
    if (params->trained)
        return slot->state == REPLAY_TRAINED;
    return slot->tokens > 0 || slot->state == REPLAY_DROPPED;
}

static enum err_code export_step(void *ctx, const struct replay_step *step, struct err *err)
{
    struct export *x = ctx;
    if (step->step < x->params->first || step->step > x->params->last)
        return ERR_OK;
    for (uint32_t b = 0; b < step->slots; b++) {
        if (!export_wants(x->params, &step->slot[b]))
            continue;
        buf_clear(&x->line);
        enum err_code rc = export_line_slot(&x->texts, step->step, b, &step->slot[b],
                                            x->params->arrays, &x->line, err);
        if (rc == ERR_OK)
            rc = export_put(x, err);
        if (rc != ERR_OK)
            return rc;
        x->counts.slots++;
    }
    return ERR_OK;
}

static enum err_code export_reference(void *ctx, uint32_t prompt, uint32_t m,
                                      const struct replay_slot *reference, struct err *err)
{
    struct export *x = ctx;
    (void)prompt;
    if (!x->params->references)
        return ERR_OK;
    buf_clear(&x->line);
    const enum err_code rc =
        export_line_reference(&x->texts, m, reference, x->params->arrays, &x->line, err);
    x->counts.references += rc == ERR_OK;
    return rc == ERR_OK ? export_put(x, err) : rc;
}

static enum err_code export_all(struct export *x, struct err *err)
{
    struct replay_summary sum;
    const struct replay_ops ops = {
        .on_step = export_step, .on_reference = export_reference, .ctx = x};
    enum err_code rc = replay_source_open(&x->source, x->params->run, err);
    if (rc == ERR_OK)
        rc = export_texts_load(&x->texts, &x->source, err);
    if (rc == ERR_OK && x->params->out)
        rc = output_open(&x->output, x->params->out, err);
    if (rc == ERR_OK)
        rc = replay_source_each(&x->source, &ops, &sum, err);
    if (rc == ERR_OK && x->params->out)
        rc = output_commit(&x->output, err);
    return rc;
}

enum err_code export_run(const struct export_params *params, struct export_counts *counts,
                         struct err *err)
{
    struct export *x = calloc(1, sizeof *x);
    if (!x)
        return err_set(err, ERR_NOMEM, "no memory to export");
    x->params = params;
    buf_init(&x->line, EXPORT_LINE_MAX);
    const enum err_code rc = export_all(x, err);
    *counts = x->counts;
    output_abort(&x->output);
    export_texts_release(&x->texts);
    replay_source_close(&x->source);
    buf_release(&x->line);
    free(x);
    return rc;
}
