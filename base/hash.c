/* hash.c -- see hash.h. */
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"

static_assert(HASH_BYTES == crypto_hash_sha256_BYTES, "SHA-256 fits struct hash");

void hash_blake2b(struct hash *out, const void *bytes, size_t size)
{
    crypto_generichash_blake2b(out->bytes, sizeof out->bytes, bytes, size, NULL, 0);
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
    unsigned char piece[65536];
    crypto_hash_sha256_state state;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "open %s", path);
    enum err_code rc = ERR_OK;
    crypto_hash_sha256_init(&state);
    for (;;) {
        const ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = err_errno(err, "read %s", path);
        if (n <= 0)
            break;
        crypto_hash_sha256_update(&state, piece, (size_t)n);
    }
    crypto_hash_sha256_final(&state, out->bytes);
    close(fd);
    return rc;
}

void hash_hex(const struct hash *hash, char hex[HASH_HEX_BYTES])
{
    sodium_bin2hex(hex, HASH_HEX_BYTES, hash->bytes, sizeof hash->bytes);
}

enum err_code hash_from_hex(struct hash *out, const char *hex, struct err *err)
{
    size_t n = 0;
    const size_t len = strlen(hex);
    if (len != HASH_HEX_BYTES - 1 ||
        sodium_hex2bin(out->bytes, sizeof out->bytes, hex, len, NULL, &n, NULL) != 0 ||
        n != HASH_BYTES)
        return err_set(err, ERR_FORMAT, "\"%.70s\" is not 64 hex digits", hex);
    return ERR_OK;
}
