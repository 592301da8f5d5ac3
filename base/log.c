/* log.c -- see log.h. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LOG_LINE_MAX 2048 /* bytes; a longer line is cut off */

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static char log_program[32] = "rlhf";
static int log_fd = STDERR_FILENO;
static enum log_level log_threshold = LOG_LEVEL_INFO;

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

void log_open(const char *program, int fd, enum log_level threshold)
{
    pthread_mutex_lock(&log_mutex);
    snprintf(log_program, sizeof log_program, "%s", program);
    log_fd = fd;
    log_threshold = threshold;
    pthread_mutex_unlock(&log_mutex);
}

/* "2026-01-31T12:00:00.123Z " and what else comes before the text; its length. */
static size_t log_head(char *line, enum log_level level, const char *id)
{
    const int64_t now_ms = clock_wall_ms();
    const time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t n = strftime(line, LOG_LINE_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
    n += (size_t)snprintf(line + n, LOG_LINE_MAX - n, ".%03dZ %s %s %s \"",
                          (int)(now_ms % 1000), log_level_name(level), id, log_program);
    return n < LOG_LINE_MAX ? n : LOG_LINE_MAX - 1;
}

void log_line(enum log_level level, const char *id, const char *format, ...)
{
    if (level < log_threshold)
        return;
    char text[LOG_LINE_MAX], line[2 * LOG_LINE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);

    pthread_mutex_lock(&log_mutex);
    size_t n = log_head(line, level, id);
    for (const char *c = text; *c != '\0' && n < sizeof line - 5; c++) {
        const bool control = (unsigned char)*c < 0x20 || *c == 0x7f;
        if (*c == '"' || *c == '\\')
            line[n++] = '\\';
        line[n++] = control ? ' ' : *c;
    }
    line[n++] = '"';
    line[n++] = '\n';
    /* A log that cannot be written has nowhere to complain. */
    if (write(log_fd, line, n) < 0)
        n = 0;
    pthread_mutex_unlock(&log_mutex);
}
