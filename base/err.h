/*
 * err.h -- how a function says that it failed, and why.
 *
 * A fallible function returns enum err_code, ERR_OK (0) or a negative code, and takes a
 * `struct err *err` as its last parameter.  On failure it fills err->text with one
 * sentence that names the thing at fault (the path, the row, the peer).  On success it
 * leaves *err alone.  `err` may be NULL where the caller only wants the code.
 *
 * The code says what a caller can do about it; the text is for a person.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define ERR_MAP(X)                                             \
    X(OK, 0, "success")                                        \
    X(NOMEM, -1, "out of memory")                              \
    X(IO, -2, "the operating system refused an operation")     \
    X(FORMAT, -3, "the input is not in the expected format")   \
    X(VALUE, -4, "a number in the input is not usable")        \
    X(STATE, -5, "not allowed in the present state")           \
    X(TIMEOUT, -6, "a deadline passed")                        \
    X(UNAVAILABLE, -7, "a peer or a service is not there")     \
    X(USAGE, -8, "the command line or the configuration is wrong")

enum err_code {
#define X(name, number, meaning) ERR_##name = number,
    ERR_MAP(X)
#undef X
};

struct err {
    enum err_code code;
    char text[512]; /* NUL-terminated; cut off, never overrun */
};

/* Fill *err (unless NULL) and return `code`, so that a caller can `return err_set(...)`. */
__attribute__((format(printf, 3, 4)))
enum err_code err_set(struct err *err, enum err_code code, const char *format, ...);

/* As err_set with ERR_IO, and ": " and the text of errno appended. */
__attribute__((format(printf, 2, 3)))
enum err_code err_errno(struct err *err, const char *format, ...);

/* "ERR_IO" for ERR_IO; "ERR_?" for a number that is no code.  A constant string. */
const char *err_name(enum err_code code);

/* What a program that ends with this error returns to its caller, as sysexits.h has it:
 * OK 0, USAGE 78 (EX_CONFIG), FORMAT and VALUE 65 (EX_DATAERR), IO 74 (EX_IOERR), NOMEM 71
 * (EX_OSERR), TIMEOUT and UNAVAILABLE 69 (EX_UNAVAILABLE), STATE 70 (EX_SOFTWARE).  A wrong
 * command line is 64 (EX_USAGE); the command itself says so. */
int err_exit_code(enum err_code code);

#endif
