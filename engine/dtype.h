/*
 * dtype.h -- the number formats of weights on disk, to and from float32.
 *
 * F16 is IEEE 754 binary16; BF16 the upper half of a float32.  Widening is exact; narrowing
 * rounds to nearest, ties to even, and overflows to infinity.  Little-endian in files, as the
 * machines are that this engine runs on.
 */
#ifndef ENGINE_DTYPE_H
#define ENGINE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DTYPE_MAP(X) X(F32, 4) X(F16, 2) X(BF16, 2)

enum dtype {
#define X(name, bytes) DTYPE_##name,
    DTYPE_MAP(X)
#undef X
};

/* "F32": the name in a safetensors header. */
const char *dtype_name(enum dtype dtype);

/* False where the name is none of them. */
bool dtype_parse(const char *name, enum dtype *out);

/* Bytes of one number. */
size_t dtype_bytes(enum dtype dtype);

/* n numbers at `from` (any alignment) as float32, and back.  The arrays do not overlap. */
void dtype_to_f32(float *to, const void *from, enum dtype dtype, size_t n);
void dtype_from_f32(void *to, enum dtype dtype, const float *from, size_t n);

#endif
