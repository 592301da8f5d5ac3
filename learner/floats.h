/*
 * floats.h -- arrays of weights and moments as files: little-endian float32, nothing else.
 */
#ifndef LEARNER_FLOATS_H
#define LEARNER_FLOATS_H

#include <stddef.h>

#include "base/err.h"

/* Write a (n), and b (n) behind it unless it is NULL, as DIR/NAME, and sync it.  ERR_IO names the
 * file. */
enum err_code floats_write(const char *dir, const char *name, const float *a, const float *b,
                           size_t n, struct err *err);
/* Read what floats_write wrote; with b NULL the first array alone. */
enum err_code floats_read(const char *dir, const char *name, float *a, float *b, size_t n,
                          struct err *err);

#endif
