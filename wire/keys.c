/* keys.c -- see keys.h. */
#include "wire/keys.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

#define KEYS_FILE_MAX (KEYS_PEERS_MAX * 160u) /* bytes of peers */

static_assert(KEYS_BYTES == HASH_BYTES, "a key is written as a hash is");
static_assert(KEYS_BYTES == crypto_box_PUBLICKEYBYTES, "libzmq's keys are libsodium's");

const char *keys_role_name(enum wire_role role)
{
    return role == WIRE_ROLE_NONE ? "coordinator" : wire_role_name(role);
}

static bool keys_role_read(enum wire_role *role, const char *word, size_t len)
{
    for (int i = WIRE_ROLE_NONE; i <= WIRE_ROLE_LEARNER; i++) {
        const char *name = keys_role_name((enum wire_role)i);
        if (strlen(name) == len && memcmp(name, word, len) == 0) {
            *role = (enum wire_role)i;
            return true;
        }
    }
    return false;
}

enum err_code keys_role_of(enum wire_role *role, const char *name, struct err *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._-";
    const size_t len = strcspn(name, "-");
    const bool is_name =
        name[len] == '\0' || (name[len + 1] != '\0' && name[strspn(name, letters)] == '\0' &&
                              strlen(name) < WIRE_NAME_MAX);
    if (!is_name || !keys_role_read(role, name, len))
        return err_set(err, ERR_USAGE,
                       "\"%s\" is no process of a run: coordinator, actor, reward or learner, "
                       "with or without a name of its own (\"actor-3\")",
                       name);
    return ERR_OK;
}

/* --- peers -------------------------------------------------------------------------------- */

static enum err_code keys_take(struct hash *key, const char *hex, size_t len, struct err *err)
{
    char text[HASH_HEX_BYTES];
    if (len != sizeof text - 1)
        return err_set(err, ERR_FORMAT, "a key has 64 hex digits, not %zu", len);
    memcpy(text, hex, len);
    text[len] = '\0';
    return hash_from_hex(key, text, err);
}

/* The next word of a line; false: none.  Words are parted by blanks. */
static bool keys_word(const char **at, const char *end, const char **word, size_t *len)
{
    while (*at < end && (**at == ' ' || **at == '\t' || **at == '\r'))
        (*at)++;
    *word = *at;
    while (*at < end && **at != ' ' && **at != '\t' && **at != '\r')
        (*at)++;
    *len = (size_t)(*at - *word);
    return *len > 0;
}

/* Its name, or its key, while they are not sorted yet. */
static bool keys_has(const struct keys_peers *peers, const struct keys_peer *peer)
{
    for (size_t i = 0; i < peers->n; i++)
        if (strcmp(peers->peer[i].name, peer->name) == 0 ||
            memcmp(peers->peer[i].public_key, peer->public_key, KEYS_BYTES) == 0)
            return true;
    return false;
}

static int keys_compare(const void *a, const void *b)
{
    const struct keys_peer *x = a, *y = b;
    return memcmp(x->public_key, y->public_key, KEYS_BYTES);
}

static enum err_code keys_line(struct keys_peers *peers, const char *line, size_t len,
                               struct err *err)
{
    const char *at = line, *end = line + len, *name, *role, *key, *more;
    size_t name_n, role_n, key_n, more_n;
    if (!keys_word(&at, end, &name, &name_n) || name[0] == '#')
        return ERR_OK;
    if (!keys_word(&at, end, &role, &role_n) || !keys_word(&at, end, &key, &key_n) ||
        keys_word(&at, end, &more, &more_n))
        return err_set(err, ERR_FORMAT, "a line is: name, role, public key");
    if (peers->n == KEYS_PEERS_MAX)
        return err_set(err, ERR_VALUE, "more than %u keys", KEYS_PEERS_MAX);

    struct keys_peer *peer = &peers->peer[peers->n];
    enum wire_role of_name;
    struct hash public_key;
    if (name_n >= sizeof peer->name)
        return err_set(err, ERR_FORMAT, "a name has at most %zu bytes", sizeof peer->name - 1);
    memcpy(peer->name, name, name_n);
    peer->name[name_n] = '\0';
    enum err_code rc = keys_role_of(&of_name, peer->name, err);
    if (rc)
        return rc;
    if (!keys_role_read(&peer->role, role, role_n) || peer->role != of_name)
        return err_set(err, ERR_FORMAT, "%s has the role %s, not \"%.*s\"", peer->name,
                       keys_role_name(of_name), (int)role_n, role);
    if ((rc = keys_take(&public_key, key, key_n, err)))
        return rc;
    memcpy(peer->public_key, public_key.bytes, sizeof peer->public_key);
    if (keys_has(peers, peer))
        return err_set(err, ERR_FORMAT, "the name or the key of %s is there twice", peer->name);
    peers->n++;
    return ERR_OK;
}

enum err_code keys_read_peers(struct keys_peers **out, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct buf text;
    struct keys_peers *peers = NULL;
    buf_init(&text, KEYS_FILE_MAX);
    enum err_code rc = file_join(path, dir, KEYS_PEERS, err);
    if (!rc)
        rc = file_read(path, &text, err);
    if (rc)
        goto out;
    peers = calloc(1, sizeof *peers + KEYS_PEERS_MAX * sizeof peers->peer[0]);
    if (!peers) {
        rc = err_set(err, ERR_NOMEM, "no memory for the keys of %s", path);
        goto out;
    }
    const char *at = text.data, *end = text.data + text.len, *line;
    size_t len;
    struct err why;
    for (unsigned number = 1; !rc && file_next_line(&at, end, &line, &len); number++)
        if ((rc = keys_line(peers, line, len, &why)))
            rc = err_set(err, ERR_FORMAT, "%s:%u: %s", path, number, why.text);
    if (rc)
        goto out;
    qsort(peers->peer, peers->n, sizeof peers->peer[0], keys_compare);
    *out = peers;
    peers = NULL;

out:
    free(peers);
    buf_release(&text);
    return rc;
}

const struct keys_peer *keys_find(const struct keys_peers *peers,
                                  const unsigned char public_key[KEYS_BYTES])
{
    struct keys_peer wanted;
    memcpy(wanted.public_key, public_key, KEYS_BYTES);
    return bsearch(&wanted, peers->peer, peers->n, sizeof peers->peer[0], keys_compare);
}

const struct keys_peer *keys_find_name(const struct keys_peers *peers, const char *name)
{
    for (size_t i = 0; i < peers->n; i++)
        if (strcmp(peers->peer[i].name, name) == 0)
            return &peers->peer[i];
    return NULL;
}

const struct keys_peer *keys_find_role(const struct keys_peers *peers, enum wire_role role)
{
    const struct keys_peer *first = NULL;
    for (size_t i = 0; i < peers->n; i++)
        if (peers->peer[i].role == role &&
            (!first || strcmp(peers->peer[i].name, first->name) < 0))
            first = &peers->peer[i];
    return first;
}

/* --- secret keys -------------------------------------------------------------------------- */

/* KEYS/NAME.key; `name` as far as its first n bytes. */
static enum err_code keys_path(char path[FILE_PATH_MAX], const char *dir, const char *name,
                               size_t n, struct err *err)
{
    char file[WIRE_NAME_MAX + 8];
    if (n >= WIRE_NAME_MAX)
        return err_set(err, ERR_USAGE, "a name has at most %u bytes", WIRE_NAME_MAX - 1);
    memcpy(file, name, n);
    memcpy(file + n, ".key", sizeof ".key");
    return file_join(path, dir, file, err);
}

/* A group may read it: that is how a secret is mounted for a process that is not root. */
static enum err_code keys_check_mode(const char *path, struct err *err)
{
    struct stat is;
    if (stat(path, &is) != 0)
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (is.st_mode & (S_IRWXO | S_IWGRP))
        return err_set(err, ERR_STATE,
                       "%s: a secret key must not be open to others: chmod 600 it, and make a "
                       "new one if anybody may have read it",
                       path);
    return ERR_OK;
}

static enum err_code keys_read_secret(struct keys_own *own, const char *path, struct err *err)
{
    struct buf text;
    struct hash secret;
    buf_init(&text, 256);
    enum err_code rc = keys_check_mode(path, err);
    if (!rc)
        rc = file_read(path, &text, err);
    if (!rc) {
        const size_t len =
            text.len > 0 && text.data[text.len - 1] == '\n' ? text.len - 1 : text.len;
        if (keys_take(&secret, text.data, len, NULL)) /* whose sentence would show it */
            rc = err_set(err, ERR_FORMAT, "%s: a key is 64 hex digits", path);
    }
    if (!rc) {
        memcpy(own->secret_key, secret.bytes, sizeof own->secret_key);
        if (crypto_scalarmult_base(own->public_key, own->secret_key) != 0)
            rc = err_set(err, ERR_FORMAT, "%s: no key", path);
    }
    sodium_memzero(&secret, sizeof secret);
    if (text.len > 0)
        sodium_memzero(text.data, text.len);
    buf_release(&text);
    return rc;
}

enum err_code keys_read_own(struct keys_own *out, const char *dir, const char *name,
                            const struct keys_peers *peers, struct err *err)
{
    char path[FILE_PATH_MAX];
    size_t n = strlen(name);
    enum err_code rc = keys_path(path, dir, name, n, err);
    if (!rc && !file_exists(path)) {
        n = strcspn(name, "-");
        rc = keys_path(path, dir, name, n, err);
    }
    if (rc)
        return rc;
    if (!file_exists(path))
        return err_set(err, ERR_IO, "%s: no key for %s there, nor %s.key", path, name, name);
    if ((rc = keys_read_secret(out, path, err)))
        return rc;
    memcpy(out->name, name, n);
    out->name[n] = '\0';
    const struct keys_peer *peer = keys_find_name(peers, out->name);
    if (!peer || memcmp(peer->public_key, out->public_key, KEYS_BYTES) != 0)
        return err_set(err, ERR_STATE, "%s: %s/" KEYS_PEERS " has %s key for %s", path, dir,
                       peer ? "another" : "no", out->name);
    return ERR_OK;
}

/* A new file for nobody else to read, from the moment it is there. */
static enum err_code keys_write_secret(const char *path, const char *hex, struct err *err)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(err, errno == EEXIST ? ERR_STATE : ERR_IO, "%s: %s", path,
                       errno == EEXIST ? "there is a key already; it is not overwritten"
                                       : strerror(errno));
    enum err_code rc = file_write_all(fd, hex, HASH_HEX_BYTES, path, err);
    if (!rc && fsync(fd) != 0)
        rc = err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (close(fd) != 0 && !rc)
        rc = err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (rc)
        unlink(path);
    return rc;
}

/* The peers there were, and one more. */
static enum err_code keys_write_peers(const char *dir, const char *name, enum wire_role role,
                                      const unsigned char public_key[KEYS_BYTES],
                                      struct err *err)
{
    char path[FILE_PATH_MAX], hex[HASH_HEX_BYTES];
    struct hash key;
    struct buf text;
    buf_init(&text, KEYS_FILE_MAX);
    memcpy(key.bytes, public_key, sizeof key.bytes);
    hash_hex(&key, hex);
    enum err_code rc = file_join(path, dir, KEYS_PEERS, err);
    if (!rc && file_exists(path))
        rc = file_read(path, &text, err);
    if (!rc && text.len > 0 && text.data[text.len - 1] != '\n')
        buf_putc(&text, '\n');
    if (!rc) {
        buf_printf(&text, "%s %s %s\n", name, keys_role_name(role), hex);
        rc = buf_check(&text, path, err);
    }
    if (!rc)
        rc = file_write(path, text.data, text.len, err);
    buf_release(&text);
    return rc;
}

enum err_code keys_make(const char *dir, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX], peers_path[FILE_PATH_MAX], hex[HASH_HEX_BYTES];
    unsigned char public_key[KEYS_BYTES];
    struct hash secret;
    struct keys_peers *peers = NULL;
    enum wire_role role;
    enum err_code rc = keys_role_of(&role, name, err);
    if (!rc)
        rc = keys_path(path, dir, name, strlen(name), err);
    if (!rc)
        rc = file_join(peers_path, dir, KEYS_PEERS, err);
    if (!rc)
        rc = file_make_dir(dir, err);
    if (!rc && file_exists(peers_path))
        rc = keys_read_peers(&peers, dir, err);
    if (!rc && peers && keys_find_name(peers, name))
        rc = err_set(err, ERR_STATE, "%s: there is a key for %s already", peers_path, name);
    free(peers);
    if (rc)
        return rc;
    if (sodium_init() < 0 || crypto_box_keypair(public_key, secret.bytes) != 0)
        return err_set(err, ERR_IO, "no random numbers for a key");
    hash_hex(&secret, hex);
    hex[HASH_HEX_BYTES - 1] = '\n';
    rc = keys_write_secret(path, hex, err);
    if (!rc && (rc = keys_write_peers(dir, name, role, public_key, err)))
        unlink(path);
    sodium_memzero(&secret, sizeof secret);
    sodium_memzero(hex, sizeof hex);
    return rc;
}
