/*
 * train_combine.h -- how a model of attributes comes to one score: --combine of `rlhf train
 * reward`.
 *
 *     helpfulness=0.7,verbosity=-0.2    these weights
 *     fit                               those under which a Bradley-Terry model of the scores
 *                                       explains best which answers the training data prefer
 *                                       (control/bradley_terry.h)
 */
#ifndef CLI_TRAIN_COMBINE_H
#define CLI_TRAIN_COMBINE_H

#include "cli/train_score.h"
#include "engine/combiner.h"

#define TRAIN_COMBINE_RIDGE 1e-4

/* Whether --combine is a list of known attributes with weights, or fit.  ERR_VALUE. */
enum err_code train_combine_check(const struct train_score *t, struct err *err);

/* Put combiner.json beside the trained model in `dir`, and append to `told` what it is and how
 * well it orders the pairs held out, as JSON.  Nothing where there is no --combine. */
enum err_code train_combine_write(struct train_score *t, const char *dir, struct buf *told,
                                  struct err *err);

#endif
