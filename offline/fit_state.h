/*
 * fit_state.h -- everything a training needs to go on as if nothing had happened.
 *
 *     DIR/step-00000120/STATE.json      position, identity, and size and BLAKE2b of the others
 *                      /weights.f32     the model, in its flat layout
 *                      /moments.f32     AdamW's m, then v
 *                      /best.f32        the best weights so far, where early stopping keeps them
 *                      /history.bin     steps and tests so far
 *
 * A state is written under another name, made durable and renamed; the one before it is then
 * removed.  So after a crash there is always a whole one.  Numbers are this machine's: a state
 * is for going on, not for keeping.
 */
#ifndef OFFLINE_FIT_STATE_H
#define OFFLINE_FIT_STATE_H

#include "offline/fit.h"

struct fit_state {
    struct model *model;
    struct adamw *adamw;
    float *best; /* (params); NULL: early stopping is off */
    struct fit_history *history;
    uint64_t waited;      /* tests since the best one */
    struct hash identity; /* what must agree */
};

/* ERR_IO naming the path; the state before is then as it was. */
enum err_code fit_state_write(const struct fit_state *state, const char *dir, struct err *err);

/* Fill what `state` points at from the newest state in `dir`; *found is false, and nothing
 * touched, where there is none.  ERR_USAGE where it is of another identity, ERR_FORMAT naming
 * the file that is not what STATE.json says. */
enum err_code fit_state_read(struct fit_state *state, const char *dir, bool *found,
                             struct err *err);

#endif
