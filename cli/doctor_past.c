/* doctor_past.c -- see doctor.h: a run whose coordinator does not answer. */
#define _DEFAULT_SOURCE /* flock */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/doctor.h"

#define DOCTOR_LOG_MAX ((size_t)256 << 20)

struct doctor_past {
    struct ledger_summary sum;
    char halt[DOCTOR_TEXT_MAX]; /* the event HALT, where nothing came after it; else "" */
};

/* --- who holds it ------------------------------------------------------------------------- */

/* Does a coordinator hold the directory?  *pid: who, as far as /proc/locks says; 0: nobody
 * knows. */
static bool doctor_is_locked(const char *dir, int *pid)
{
    struct stat about;
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *pid = 0;
    if (fd < 0)
        return false;
    const bool locked = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    const bool known = fstat(fd, &about) == 0;
    close(fd);
    FILE *locks = locked && known ? fopen("/proc/locks", "r") : NULL;
    char line[256];
    while (locks && fgets(line, sizeof line, locks)) {
        int owner;
        unsigned major_, minor_;
        unsigned long long inode;
        if (sscanf(line, "%*s FLOCK %*s %*s %d %x:%x:%llu", &owner, &major_, &minor_, &inode) ==
                4 &&
            inode == (unsigned long long)about.st_ino && major_ == major(about.st_dev) &&
            minor_ == minor(about.st_dev))
            *pid = owner;
    }
    if (locks)
        fclose(locks);
    return locked;
}

/* 'T' for a stopped process, 'D' for one that waits for the disk; '?' where nobody knows. */
static char doctor_process_state(int pid)
{
    char path[64], text[512] = "", state = '?';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return state;
    const size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    const char *end = strrchr(text, ')'); /* the name may have anything in it */
    return end && end[1] == ' ' ? end[2] : state;
}

static void doctor_silent_coordinator(struct doctor *doctor, const char *why, int pid)
{
    const char state = pid > 0 ? doctor_process_state(pid) : '?';
    if (state == 'T')
        doctor_find(doctor, "kill -CONT it; workers come back by themselves",
                    "the coordinator (pid %d) is stopped: %s", pid, why);
    else if (state == 'D')
        doctor_find(doctor, "it waits for the disk or a file server: dmesg, df",
                    "the coordinator (pid %d) hangs in the operating system: %s", pid, why);
    else
        doctor_find(doctor,
                    "it starts and reads its ledger, or hangs; run.log says how far it is; "
                    "kill it if it stays so: nothing acknowledged is lost",
                    "a coordinator (pid %d) holds the run and does not answer: %s", pid, why);
}

/* --- what it left ------------------------------------------------------------------------- */

/* The last ERROR in run.log, into text; "": none. */
static void doctor_last_error(const char *dir, char text[DOCTOR_TEXT_MAX])
{
    char path[FILE_PATH_MAX];
    struct buf log;
    buf_init(&log, DOCTOR_LOG_MAX);
    text[0] = '\0';
    if (file_join(path, dir, "run.log", NULL) == ERR_OK &&
        file_read(path, &log, NULL) == ERR_OK && log.len > 0) {
        const char *from = log.data, *line;
        size_t n;
        while (file_next_line(&from, log.data + log.len, &line, &n)) {
            char shown[DOCTOR_TEXT_MAX];
            snprintf(shown, sizeof shown, "%.*s", (int)(n < 500 ? n : 500), line);
            if (strstr(shown, " ERROR ") || strncmp(shown, "rlhf-", 5) == 0)
                memcpy(text, shown, sizeof shown);
        }
    }
    buf_release(&log);
}

static enum err_code doctor_record(void *ctx, const struct record *record, struct err *err)
{
    (void)err;
    struct doctor_past *past = ctx;
    if (record->kind == RECORD_EVENT && strcmp(record->id, "HALT") == 0)
        snprintf(past->halt, sizeof past->halt, "%s", record->text);
    else if (record->kind == RECORD_EPOCH) /* a start after it: it may have been mended */
        past->halt[0] = '\0';
    return ERR_OK;
}

static enum err_code doctor_read(const char *dir, struct doctor_past *past, struct err *err)
{
    struct ledger *ledger = NULL;
    enum err_code rc = ledger_open_read(&ledger, dir, err);
    if (rc == ERR_OK)
        rc = ledger_summarise(ledger, &past->sum, err);
    if (rc == ERR_OK)
        rc = ledger_each(ledger, past->sum.steps, doctor_record, past, err);
    ledger_close(ledger, NULL);
    return rc;
}

/* RUN/config.yaml says how long the run is; 0: it cannot be read. */
static uint64_t doctor_steps(const char *dir)
{
    static struct run_config config; /* too large for a stack */
    char path[FILE_PATH_MAX];
    if (file_join(path, dir, "config.yaml", NULL) != ERR_OK ||
        run_config_load(&config, path, NULL, 0, NULL) != ERR_OK)
        return 0;
    return config.steps;
}

static void doctor_not_running(struct doctor *doctor, const char *dir,
                               const struct doctor_past *past, uint64_t steps)
{
    char error[DOCTOR_TEXT_MAX], http[FILE_PATH_MAX], of[32] = "";
    const bool killed = file_join(http, dir, "http", NULL) == ERR_OK && file_exists(http);
    doctor_last_error(dir, error);
    if (steps > 0)
        snprintf(of, sizeof of, " of %" PRIu64, steps);
    if (past->halt[0]) {
        doctor_find(doctor,
                    "a restart does not mend it: go on from checkpoints/*/policy as "
                    "another run, with what caused it changed",
                    "the run halted after %" PRIu64 " steps: %s", past->sum.steps, past->halt);
        return;
    }
    doctor_find(doctor,
                killed ? "start it again with the same command: it goes on from there"
                       : "the same rlhf run goes on from there",
                "no coordinator runs: %" PRIu64 "%s steps are trained, the newest "
                "checkpoint is version %" PRIu64 "%s%s%s%s",
                past->sum.steps, of, past->sum.checkpoint_version,
                past->sum.paused ? "; it is paused (rlhf resume)" : "",
                killed ? "; it ended without a word (killed?)" : "",
                error[0] ? "; the last error in run.log: " : "", error);
}

void doctor_past(struct doctor *doctor, const char *dir, const char *why)
{
    struct doctor_past past = {0};
    struct err err = {0};
    int pid;
    if (doctor_is_locked(dir, &pid)) {
        doctor_silent_coordinator(doctor, why, pid);
        return;
    }
    if (doctor_read(dir, &past, &err) != ERR_OK) {
        doctor_find(doctor, "see docs/OPERATIONS.md, \"What survives which crash\"", "%s",
                    err.text);
        return;
    }
    const uint64_t steps = doctor_steps(dir);
    if (steps > 0 && past.sum.steps == steps)
        buf_printf(doctor->out, "complete: %" PRIu64 " steps are trained\n", steps);
    else
        doctor_not_running(doctor, dir, &past, steps);
}
