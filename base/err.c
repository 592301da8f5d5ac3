/* err.c -- see err.h. */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum err_code err_set(struct err *err, enum err_code code, const char *format, ...)
{
    assert(code != ERR_OK);
    if (!err)
        return code;

    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    err->code = code;
    return code;
}

enum err_code err_errno(struct err *err, const char *format, ...)
{
    const int saved = errno; /* vsnprintf may change it */
    if (!err)
        return ERR_IO;

    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);

    const size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(saved));
    err->code = ERR_IO;
    return ERR_IO;
}

const char *err_name(enum err_code code)
{
    switch (code) {
#define X(name, number, meaning) \
    case ERR_##name: return "ERR_" #name;
        ERR_MAP(X)
#undef X
    }
    return "ERR_?";
}

int err_exit_code(enum err_code code)
{
    switch (code) {
    case ERR_OK: return 0;
    case ERR_USAGE: return EX_CONFIG;
    case ERR_FORMAT:
    case ERR_VALUE: return EX_DATAERR;
    case ERR_IO: return EX_IOERR;
    case ERR_NOMEM: return EX_OSERR;
    case ERR_TIMEOUT:
    case ERR_UNAVAILABLE: return EX_UNAVAILABLE;
    case ERR_STATE: return EX_SOFTWARE;
    }
    return EX_SOFTWARE;
}
