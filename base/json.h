/*
 * json.h -- JSON from outside, checked: jansson with duplicate keys refused, and typed
 * getters whose errors name the file and the field.
 *
 * `where` in every call is what the error names first: a path, or "path:line".  Values
 * borrowed from a document are valid until it is freed with json_decref.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Parse one document, an object or an array.  NULL and ERR_FORMAT with line and column where
 * it is not JSON (RFC 8259, UTF-8), where an object has a key twice, where a string holds
 * U+0000, an integer is past 64 bits with sign, or it is nested over 2048 deep; ERR_NOMEM
 * where memory ran out.  The caller frees it with json_decref. */
json_t *json_parse(const char *text, size_t len, const char *where, struct err *err);

/* Read and parse the file; at most max_bytes.  NULL with the error of file_read (err.code)
 * where it cannot be read. */
json_t *json_read_file(const char *path, size_t max_bytes, struct err *err);

/* A required member of `object`: ERR_FORMAT where it is missing, null, of another type, or
 * outside [min, max], and where `object` is none (NULL too).  An integer passes for a
 * double, 3.0 not for an integer.  *out is untouched on failure; a string is borrowed. */
enum err_code json_get_u64(const json_t *object, const char *key, uint64_t min, uint64_t max,
                           uint64_t *out, const char *where, struct err *err);
enum err_code json_get_double(const json_t *object, const char *key, double min, double max,
                              double *out, const char *where, struct err *err);
enum err_code json_get_bool(const json_t *object, const char *key, bool *out,
                            const char *where, struct err *err);
enum err_code json_get_string(const json_t *object, const char *key, const char **out,
                              const char *where, struct err *err);

/* As above, but where the member is absent or null *out keeps the default put there. */
enum err_code json_opt_u64(const json_t *object, const char *key, uint64_t min, uint64_t max,
                           uint64_t *out, const char *where, struct err *err);
enum err_code json_opt_double(const json_t *object, const char *key, double min, double max,
                              double *out, const char *where, struct err *err);
enum err_code json_opt_bool(const json_t *object, const char *key, bool *out,
                            const char *where, struct err *err);
enum err_code json_opt_string(const json_t *object, const char *key, const char **out,
                              const char *where, struct err *err);

/* For what is only shown: the member, or `missing` where it is absent, null or of another type,
 * and where `object` is none (NULL too). */
double json_number_or(const json_t *object, const char *key, double missing);
const char *json_string_or(const json_t *object, const char *key, const char *missing);

#endif
