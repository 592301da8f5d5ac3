/*
 * average.h -- one model from several: the plain mean of their parameters.
 *
 * (Weight-averaged reward models, arXiv:2401.12187: members that share their start and differ in
 * data or order can be averaged; models trained apart from random weights cannot.)
 */
#ifndef ENGINE_AVERAGE_H
#define ENGINE_AVERAGE_H

#include <stddef.h>

#include "base/err.h"
#include "engine/model.h"

/* Load the n > 0 directories, one after the other, and return their mean, summed in double in
 * this order.  NULL and ERR_VALUE naming the directory and what differs, where one has not the
 * shape of the first; else as model_load.  The caller frees it with model_free. */
struct model *average_models(const char *const *dirs, size_t n, struct err *err);

#endif
