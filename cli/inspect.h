/*
 * inspect.h -- what `rlhf inspect` can explain: one function a kind of thing.
 *
 * Each appends its explanation to `out`: a table for people, or one JSON object.  Errors name
 * the file.  Nothing is loaded that need not be: of a safetensors file only the header is read.
 */
#ifndef CLI_INSPECT_H
#define CLI_INSPECT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

enum err_code inspect_safetensors(const char *path, bool json, struct buf *out, struct err *err);

/* A model directory: its config, its tokenizer, the tensors of each of its files. */
enum err_code inspect_model(const char *dir, bool json, struct buf *out, struct err *err);

#endif
