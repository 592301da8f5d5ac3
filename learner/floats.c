/* floats.c -- see floats.h. */
#include "learner/floats.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"

enum err_code floats_write(const char *dir, const char *name, const float *a, const float *b,
                           size_t n, struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, name, err);
    if (rc)
        return rc;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, "create %s", path);
    rc = file_write_all(fd, a, n * sizeof *a, path, err);
    if (rc == ERR_OK && fault_at(FAULT_checkpoint_floats))
        rc = err_errno(err, "write %s", path);
    if (rc == ERR_OK && b)
        rc = file_write_all(fd, b, n * sizeof *b, path, err);
    if (rc == ERR_OK && (fault_at(FAULT_checkpoint_fsync) || fsync(fd) < 0))
        rc = err_errno(err, "fsync %s", path);
    close(fd);
    return rc;
}

enum err_code floats_read(const char *dir, const char *name, float *a, float *b, size_t n,
                          struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, name, err);
    if (rc)
        return rc;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "open %s", path);
    rc = file_pread_all(fd, a, n * sizeof *a, 0, path, err);
    if (rc == ERR_OK && b)
        rc = file_pread_all(fd, b, n * sizeof *b, n * sizeof *a, path, err);
    close(fd);
    return rc;
}
