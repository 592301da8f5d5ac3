/*
 * memo.h -- what was computed once, kept in a file, and found again by the hash of all that it
 * is a function of.
 *
 *     key = BLAKE2b(the program, its inputs, every setting that changes a bit)  -->  bytes
 *
 * One SQLite file for any number of processes of one machine.  A memo decides nothing: with it
 * or without it, whoever asks ends with the same bits, only sooner.  So the last entries before
 * a power cut may be lost, an entry whose checksum is wrong is as good as absent, and an entry
 * is never changed: a second value for a key is ignored.  A file that fails while it is used is
 * said so once, in the log, and used no more.
 *
 * Calls block on the disk, for MEMO_BUSY_MS at most where another process is writing; a thread
 * at a time.
 */
#ifndef NODE_MEMO_H
#define NODE_MEMO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

#define MEMO_SCHEMA  1
#define MEMO_BUSY_MS 2000

struct memo;

/* Open or create the file; its directory must be there.  ERR_USAGE where it has another schema,
 * ERR_FORMAT where it is damaged or no memo, ERR_IO, ERR_NOMEM; the sentence names it.  The
 * caller ends it with memo_close; NULL is fine there. */
enum err_code memo_open(struct memo **memo, const char *path, struct err *err);
void memo_close(struct memo *memo);

/* What this program is: SHA-256 of its file.  Part of a key whose value depends on the engine's
 * arithmetic, so that another build finds nothing that it would compute otherwise.  ERR_IO. */
enum err_code memo_program(struct hash *out, struct err *err);

/* The value of `key` into *value, which is cleared before; false where there is none, a damaged
 * one, which is then deleted, or one that does not fit into *value. */
bool memo_find(struct memo *memo, const struct hash *key, struct buf *value);

/* Keep a value of one byte or more, unless the key has one. */
void memo_keep(struct memo *memo, const struct hash *key, const void *value, size_t size);

#endif
