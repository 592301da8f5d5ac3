/*
 * combiner.h -- one number from the outputs of a score head: combiner.json beside the model.
 *
 *     score = bias + sum over labels of weight * output
 *
 *     {"weights": {"helpfulness": 0.7, "verbosity": -0.2}, "bias": 0}
 *
 * Names are those of id2label in config.json; a label that is not named has weight 0.  The
 * weights do not depend on the text (ArmoRM's gating, arXiv:2406.12845, does).
 */
#ifndef ENGINE_COMBINER_H
#define ENGINE_COMBINER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/config.h"

struct combiner {
    uint32_t labels; /* at most MODEL_LABELS_NAMED */
    double weight[MODEL_LABELS_NAMED];
    double bias;
};

/* Read dir/combiner.json for a model of this config.  Where there is none, *found is false and
 * *out takes the only label as it is, or nothing where there are several.  ERR_FORMAT, ERR_VALUE
 * name the file and the key. */
enum err_code combiner_read(struct combiner *out, const struct model_config *config,
                            const char *dir, bool *found, struct err *err);

/* Write dir/combiner.json, atomically.  Errors of file_write. */
enum err_code combiner_write(const struct combiner *combiner, const struct model_config *config,
                             const char *dir, struct err *err);

/* score (labels) as above, in double. */
double combiner_apply(const struct combiner *combiner, const float *score);

#endif
