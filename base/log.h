/*
 * log.h -- what a person should know, one line an event:
 *
 *     2026-01-31T12:00:00.123Z WARN LEASE-EXPIRED coordinator "lease 17 of actor-1 expired"
 *
 * UTC time, level, a stable id to search for, who speaks, and the message in quotes, in
 * which a quote, a backslash and a newline stand as \" \\ \n and any other control
 * character as \x1b: one event is one line, whatever a message quotes.
 *
 * A line goes to the sink set by the program (standard error by default) in one write(2)
 * of at most LOG_LINE_MAX bytes, so that processes and threads that share a descriptor do
 * not mix theirs; a longer one is cut and ends in `..."`.  What the sink refuses is lost.
 * Thread-safe; leaves errno alone.  A line below the threshold costs a comparison.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#define LOG_LINE_MAX 4096 /* bytes: what Linux writes to a pipe in one piece (PIPE_BUF) */

#define LOG_LEVEL_MAP(X) X(DEBUG) X(INFO) X(WARN) X(ERROR)

enum log_level {
#define X(name) LOG_LEVEL_##name,
    LOG_LEVEL_MAP(X)
#undef X
};

/* Who speaks (at most 31 bytes are kept), to which descriptor, from which level on.  Before
 * it is called: "-", standard error, INFO.  To be called before other threads log. */
void log_open(const char *program, int fd, enum log_level threshold);

/* `id`: capitals and dashes, at most 64 bytes are shown. */
__attribute__((format(printf, 3, 4)))
void log_line(enum log_level level, const char *id, const char *format, ...);

#define log_debug(id, ...) log_line(LOG_LEVEL_DEBUG, id, __VA_ARGS__)
#define log_info(id, ...)  log_line(LOG_LEVEL_INFO, id, __VA_ARGS__)
#define log_warn(id, ...)  log_line(LOG_LEVEL_WARN, id, __VA_ARGS__)
#define log_error(id, ...) log_line(LOG_LEVEL_ERROR, id, __VA_ARGS__)

/* "WARN" for LOG_LEVEL_WARN. */
const char *log_level_name(enum log_level level);

#endif
