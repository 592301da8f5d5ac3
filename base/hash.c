/* hash.c -- see hash.h. */
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>
#include <xxh_x86dispatch.h> /* the same numbers, by the widest vectors there are */

#include "base/file.h"

#define HASH_CHUNK_BYTES 65536u

static_assert(HASH_BYTES == crypto_hash_sha256_BYTES, "SHA-256 fits struct hash");
static_assert(HASH_BYTES == crypto_generichash_BYTES, "BLAKE2b-256 fits struct hash");

void hash_blake2b(struct hash *out, const void *bytes, size_t size)
{
    /* Picks the code for this CPU, once; where it fails, the portable code is used, with the
     * same result, so that its answer does not matter. */
    const int ready = sodium_init();
    (void)ready;
    crypto_generichash(out->bytes, sizeof out->bytes, bytes, size, NULL, 0);
}

void hash_sha256(struct hash *out, const void *bytes, size_t size)
{
    crypto_hash_sha256(out->bytes, bytes, size);
}

uint64_t hash_xxh3(const void *bytes, size_t size)
{
    return XXH3_64bits(bytes, size);
}

enum err_code hash_file_sha256(struct hash *out, const char *path, struct err *err)
{
    int fd;
    enum err_code rc = file_open_read(path, &fd, NULL, err);
    if (rc)
        return rc;

    crypto_hash_sha256_state sha;
    crypto_hash_sha256_init(&sha);
    for (;;) {
        unsigned char chunk[HASH_CHUNK_BYTES];
        const ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = err_errno(err, "read %s", path);
        if (got <= 0)
            break;
        crypto_hash_sha256_update(&sha, chunk, (size_t)got);
    }
    close(fd);
    if (!rc)
        crypto_hash_sha256_final(&sha, out->bytes);
    return rc;
}

void hash_hex(const struct hash *hash, char hex[HASH_HEX_BYTES])
{
    sodium_bin2hex(hex, HASH_HEX_BYTES, hash->bytes, sizeof hash->bytes);
}

static int hash_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

enum err_code hash_from_hex(struct hash *out, const char *hex, struct err *err)
{
    const size_t len = strnlen(hex, HASH_HEX_BYTES);
    if (len != HASH_HEX_BYTES - 1)
        return err_set(err, ERR_FORMAT, "\"%.70s\" is not 64 hex digits", hex);
    struct hash parsed = {{0}};
    for (size_t i = 0; i < len; i++) {
        const int digit = hash_hex_digit(hex[i]);
        if (digit < 0)
            return err_set(err, ERR_FORMAT, "\"%s\" is not 64 hex digits", hex);
        parsed.bytes[i / 2] = (unsigned char)(parsed.bytes[i / 2] << 4 | digit);
    }
    *out = parsed;
    return ERR_OK;
}
