/*
 * precision.h -- in what a model's linear layers are multiplied.
 *
 * Weights, gradients, optimizer, activations and attention are float32 in either; bf16 rounds
 * the operands of a linear layer's three products to bfloat16 and sums in float32
 * (engine/kernels/bgemm.h).  In either the log-probs of sampler and learner are the same to
 * the bit; between the two they differ.
 */
#ifndef ENGINE_PRECISION_H
#define ENGINE_PRECISION_H

#include "base/err.h"

#define PRECISION_MAP(X) X(FP32, "fp32") X(BF16, "bf16")
enum precision {
#define X(name, word) PRECISION_##name,
    PRECISION_MAP(X)
#undef X
};

/* "fp32", "bf16". */
const char *precision_name(enum precision precision);

/* ERR_USAGE where `word` is neither. */
enum err_code precision_parse(const char *word, enum precision *precision, struct err *err);

/* What this machine multiplies by, for logs and reports: "fp32 by avx512", "bf16 by amx", or
 * "bf16 by avx512 in place of amx: the CPU has none". */
#define PRECISION_PATH_MAX 128
void precision_path(enum precision precision, char text[PRECISION_PATH_MAX]);

#endif
