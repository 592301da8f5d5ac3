/* log.c -- see log.h. */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LOG_PROGRAM_BYTES 32
#define LOG_CUT           "...\"\n" /* how a line ends that is cut */

/* Written by log_open alone, before there are threads. */
static struct {
    char program[LOG_PROGRAM_BYTES];
    int fd;
    enum log_level threshold;
} log_sink = {.program = "-", .fd = STDERR_FILENO, .threshold = LOG_LEVEL_INFO};

void log_open(const char *program, int fd, enum log_level threshold)
{
    snprintf(log_sink.program, sizeof log_sink.program, "%s", program);
    log_sink.fd = fd;
    log_sink.threshold = threshold;
}

const char *log_level_name(enum log_level level)
{
    switch (level) {
#define X(name) \
    case LOG_LEVEL_##name: return #name;
        LOG_LEVEL_MAP(X)
#undef X
    }
    return "?";
}

/* "2026-01-31T12:00:00.123Z WARN LEASE-EXPIRED coordinator " into line; its length. */
static size_t log_head(char *line, size_t size, enum log_level level, const char *id)
{
    const int64_t wall_ms = clock_wall_ms();
    const time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char day[32];
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc);
    const int n = snprintf(line, size, "%s.%03dZ %s %.64s %s ", day, (int)(wall_ms % 1000),
                           log_level_name(level), id, log_sink.program);
    assert(n > 0 && (size_t)n < size);
    return (size_t)n;
}

/* One byte of a message as it stands between the quotes, 1 to 4 bytes; their number. */
static size_t log_escape(char out[4], unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '\\';
    if (c == '"' || c == '\\' || c == '\n') {
        out[1] = c == '\n' ? 'n' : (char)c;
        return 2;
    }
    out[1] = 'x';
    out[2] = digits[c >> 4];
    out[3] = digits[c & 15];
    return 4;
}

/* The message in quotes, a newline behind it; what does not fit is cut and shown as "...".
 * `used` bytes of the line are taken; returns its length. */
static size_t log_message(char line[LOG_LINE_MAX], size_t used, const char *message)
{
    line[used++] = '"';
    for (const char *at = message; *at != '\0'; at++) {
        char piece[4];
        const size_t n = log_escape(piece, (unsigned char)*at);
        if (used + n + strlen(LOG_CUT) > LOG_LINE_MAX) {
            memcpy(line + used, LOG_CUT, strlen(LOG_CUT));
            return used + strlen(LOG_CUT);
        }
        memcpy(line + used, piece, n);
        used += n;
    }
    memcpy(line + used, "\"\n", 2);
    return used + 2;
}

void log_line(enum log_level level, const char *id, const char *format, ...)
{
    if (level < log_sink.threshold)
        return;
    const int saved = errno; /* a caller may log first and look at errno after */

    char message[LOG_LINE_MAX];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (n < 0)
        snprintf(message, sizeof message, "(message of %s cannot be formatted)", id);

    char line[LOG_LINE_MAX];
    const size_t head = log_head(line, sizeof line, level, id);
    const size_t len = log_message(line, head, message);
    /* A sink that takes no more loses lines: no daemon waits or ends for its log. */
    ssize_t taken;
    do
        taken = write(log_sink.fd, line, len);
    while (taken < 0 && errno == EINTR);

    errno = saved;
}
