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
#include "engine/safetensors.h"

/* Append what is in a safetensors file: its tensors, as a table or a JSON object.  Errors as
 * safetensors_open, with nothing appended. */
enum err_code inspect_safetensors(const char *path, bool json, struct buf *out, struct err *err);

/* The tensors and how many numbers they hold: rows of a table, or two members of an object. */
void inspect_put_tensors(const struct safetensors *st, bool json, struct buf *out);

/* A config.json, as the engine understands it. */
enum err_code inspect_config(const char *path, bool json, struct buf *out, struct err *err);

/* A model directory: its config, its tokenizer, its tensors. */
enum err_code inspect_model(const char *dir, bool json, struct buf *out, struct err *err);

/* A run's ledger, DIR/ledger.sqlite: how far the run is, what became of its slots, its last
 * step.  A coordinator may be writing meanwhile. */
enum err_code inspect_ledger(const char *dir, bool json, struct buf *out, struct err *err);

/* A learner's checkpoint, every file held against its size and hash in MANIFEST.json.  Where
 * one is not what it says, the explanation is whole and the error ERR_FORMAT. */
enum err_code inspect_checkpoint(const char *dir, bool json, struct buf *out, struct err *err);

#endif
