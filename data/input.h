/*
 * input.h -- the bytes of a file, plain or gzip, block by block.
 *
 * Which of the two is told by the first two bytes, not by the name, so that a pipe may carry
 * either.  A gzip stream may consist of several members (as of files joined with cat); their
 * contents follow one another.  Memory: two blocks of INPUT_BLOCK_BYTES.
 */
#ifndef DATA_INPUT_H
#define DATA_INPUT_H

#include <stddef.h>

#include "base/err.h"

#define INPUT_BLOCK_BYTES ((size_t)256 << 10)

struct input;

/* Open a file or, where the path is "-", standard input.  NULL and ERR_IO where it cannot be
 * opened, ERR_NOMEM.  The caller closes it with input_close. */
struct input *input_open(const char *path, struct err *err);
void input_close(struct input *input);

/*
 * The next bytes, 1..INPUT_BLOCK_BYTES of them, or *n = 0 at the end.  Blocks.  Valid until
 * the next call.  ERR_IO where it cannot be read, ERR_FORMAT where it is gzip and damaged or
 * cut off; the sentence begins with `where`.
 */
enum err_code input_read(struct input *input, const char *where, const char **block, size_t *n,
                         struct err *err);

#endif
