/* experiment_job.c -- see experiment_job.h. */
#define _GNU_SOURCE /* prctl's header wants it */
#include "cli/experiment_job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define EXPERIMENT_LOG_MAX ((size_t)256 * 1024 * 1024)

/* In the child, up to exec: only what is safe after fork. */
static _Noreturn void experiment_job_become(const char *const *argv, int log, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    const int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0 || setpgid(0, 0) != 0 ||
        prctl(PR_SET_PDEATHSIG, SIGTERM) != 0)
        _exit(EX_OSERR);
    if (getppid() != parent) /* it died before prctl could see it */
        _exit(EX_TEMPFAIL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(argv[0], (char *const *)argv);
    _exit(EX_OSERR);
}

enum err_code experiment_job_start(struct experiment_job *job, const char *const *argv,
                                   const char *log, struct err *err)
{
    *job = (struct experiment_job){0};
    if (access(argv[0], X_OK) != 0)
        return err_errno(err, "start %s", argv[0]);
    const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, "open %s", log);
    struct stat before;
    if (fstat(fd, &before) == 0)
        job->log_start = (uint64_t)before.st_size;
    snprintf(job->log, sizeof job->log, "%s", log);
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        experiment_job_become(argv, fd, parent);
    const enum err_code rc = pid < 0 ? err_errno(err, "start %s", argv[0]) : ERR_OK;
    close(fd);
    job->pid = pid < 0 ? 0 : pid;
    return rc;
}

bool experiment_job_poll(struct experiment_job *job, int *status)
{
    int how = 0;
    if (job->pid == 0 || waitpid(job->pid, &how, WNOHANG) != job->pid)
        return false;
    job->pid = 0;
    *status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    return true;
}

void experiment_job_terminate(const struct experiment_job *job)
{
    if (job->pid > 0)
        kill(job->pid, SIGTERM);
}

void experiment_job_kill(const struct experiment_job *job)
{
    if (job->pid > 0)
        kill(-job->pid, SIGKILL);
}

void experiment_job_last_line(const struct experiment_job *job, char why[EXPERIMENT_WHY_MAX])
{
    struct buf text;
    const char *line;
    size_t n;
    why[0] = '\0';
    buf_init(&text, EXPERIMENT_LOG_MAX);
    if (file_read(job->log, &text, NULL) == ERR_OK && text.len > job->log_start) {
        const char *cursor = text.data + job->log_start;
        while (file_next_line(&cursor, text.data + text.len, &line, &n)) {
            const size_t blanks = strspn(line, " ");
            if (n > blanks)
                snprintf(why, EXPERIMENT_WHY_MAX, "%.*s", (int)(n - blanks), line + blanks);
        }
    }
    buf_release(&text);
}
