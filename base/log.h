/*
 * log.h -- what a person should know, one line an event, logfmt:
 *
 *     2026-01-31T12:00:00.123Z WARN LEASE-EXPIRED coordinator "lease 17 of actor-1 expired" ...
 *
 * A line begins with a stable id, so that it can be searched for.  Lines go to the sink set
 * by the program (standard error by default) in one write(2), so that processes sharing a
 * descriptor do not mix theirs.  Thread-safe.  Lines of level below the threshold cost a
 * comparison.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#define LOG_LEVEL_MAP(X) X(DEBUG) X(INFO) X(WARN) X(ERROR)

enum log_level {
#define X(name) LOG_LEVEL_##name,
    LOG_LEVEL_MAP(X)
#undef X
};

/* Who speaks (at most 31 bytes are kept), to which descriptor, from which level on. */
void log_open(const char *program, int fd, enum log_level threshold);

__attribute__((format(printf, 3, 4)))
void log_line(enum log_level level, const char *id, const char *format, ...);

#define log_debug(id, ...) log_line(LOG_LEVEL_DEBUG, id, __VA_ARGS__)
#define log_info(id, ...)  log_line(LOG_LEVEL_INFO, id, __VA_ARGS__)
#define log_warn(id, ...)  log_line(LOG_LEVEL_WARN, id, __VA_ARGS__)
#define log_error(id, ...) log_line(LOG_LEVEL_ERROR, id, __VA_ARGS__)

/* "WARN" for LOG_LEVEL_WARN. */
const char *log_level_name(enum log_level level);

#endif
