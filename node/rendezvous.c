/* rendezvous.c -- see rendezvous.h. */
#include "node/rendezvous.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define RENDEZVOUS_BYTES_MAX 1024 /* of the file */

enum err_code rendezvous_job_check(const char *job, struct err *err)
{
    const size_t n = strlen(job);
    bool ok = n > 0 && n < RENDEZVOUS_JOB_MAX;
    for (size_t i = 0; i < n && ok; i++)
        ok = isgraph((unsigned char)job[i]);
    return ok ? ERR_OK
              : err_set(err, ERR_USAGE,
                        "--job: 1 to %d characters without blanks are needed, not \"%.80s\"",
                        RENDEZVOUS_JOB_MAX - 1, job);
}

enum err_code rendezvous_write(const char *path, const char *job, const char *control,
                               struct err *err)
{
    struct buf text;
    buf_init(&text, RENDEZVOUS_BYTES_MAX);
    buf_printf(&text, "job %s\ncontrol %s\n", job, control);
    enum err_code rc = buf_check(&text, path, err);
    if (rc == ERR_OK)
        rc = file_write_private(path, text.data, text.len, err);
    buf_release(&text);
    return rc;
}

/* The file's bytes, where it is the user's own. */
static enum err_code rendezvous_load(const char *path, char text[RENDEZVOUS_BYTES_MAX],
                                     struct err *err)
{
    enum err_code rc = ERR_OK;
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, ERR_UNAVAILABLE, "%s is not there", path);
    if (fd < 0)
        return err_errno(err, "open %s", path);
    if (fstat(fd, &info) != 0)
        rc = err_errno(err, "look at %s", path);
    else if (!S_ISREG(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 022))
        rc = err_set(err, ERR_STATE, "%s is not a file that only user %ld can write", path,
                     (long)geteuid());
    else if (info.st_size >= RENDEZVOUS_BYTES_MAX)
        rc = err_set(err, ERR_FORMAT, "%s has %lld bytes: it is no rendezvous", path,
                     (long long)info.st_size);
    else
        rc = file_pread_all(fd, text, (size_t)info.st_size, 0, path, err);
    text[rc == ERR_OK ? info.st_size : 0] = '\0';
    close(fd);
    return rc;
}

enum err_code rendezvous_read(const char *path, const char *job,
                              char control[WIRE_ENDPOINT_MAX], struct err *err)
{
    char text[RENDEZVOUS_BYTES_MAX], of[RENDEZVOUS_JOB_MAX], to[WIRE_ENDPOINT_MAX];
    int end = 0;
    const enum err_code rc = rendezvous_load(path, text, err);
    if (rc != ERR_OK)
        return rc;
    _Static_assert(RENDEZVOUS_JOB_MAX == 64 && WIRE_ENDPOINT_MAX == 256, "the widths below");
    if (sscanf(text, "job %63s control %255s %n", of, to, &end) != 2 ||
        (size_t)end != strlen(text))
        return err_set(err, ERR_FORMAT, "%s: not the lines `job` and `control`", path);
    if (strcmp(of, job) != 0)
        return err_set(err, ERR_UNAVAILABLE, "%s is of job %s, not of %s", path, of, job);
    strcpy(control, to);
    return ERR_OK;
}

void rendezvous_remove(const char *path, const char *job)
{
    char control[WIRE_ENDPOINT_MAX];
    if (rendezvous_read(path, job, control, NULL) == ERR_OK)
        unlink(path);
}
