/*
 * hash.h -- checksums: BLAKE2b-256 and SHA-256 (libsodium) for what must be authentic,
 * XXH3-64 for what a cable or a disk may have bent.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HASH_BYTES     32
#define HASH_HEX_BYTES 65 /* 64 hex digits and a NUL */

struct hash {
    unsigned char bytes[HASH_BYTES];
};

/* Of all the bytes at once: BLAKE2b with a digest of 32 bytes and no key, or SHA-256.  Pure; of no
 * bytes it is the hash of the empty string. */
void hash_blake2b(struct hash *out, const void *bytes, size_t size);
void hash_sha256(struct hash *out, const void *bytes, size_t size);
uint64_t hash_xxh3(const void *bytes, size_t size); /* piece by piece: hash_stream.h */

/* SHA-256 of a whole regular file, streamed; blocks on the disk.  ERR_IO names the path. */
enum err_code hash_file_sha256(struct hash *out, const char *path, struct err *err);

/* Lower-case hex. */
void hash_hex(const struct hash *hash, char hex[HASH_HEX_BYTES]);

/* ERR_FORMAT where `hex` is not exactly 64 hex digits (of either case); *out is untouched
 * then. */
enum err_code hash_from_hex(struct hash *out, const char *hex, struct err *err);

#endif
