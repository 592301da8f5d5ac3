/* http_token.c -- see http.h: the secret of those who may ask something of a run. */
#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "node/http.h"

enum err_code http_token_read(const char *path, char token[HTTP_TOKEN_MAX], struct err *err)
{
    int fd = -1;
    uint64_t size = 0;
    struct stat about;
    char text[HTTP_TOKEN_MAX] = "";
    enum err_code rc = file_open_read(path, &fd, &size, err);
    if (rc != ERR_OK)
        return rc;
    if (fstat(fd, &about) != 0)
        rc = err_errno(err, "%s", path);
    else if ((about.st_mode & 077) != 0)
        rc = err_set(err, ERR_VALUE, "%s: others than its owner can read it: chmod 600", path);
    else
        rc = file_pread_all(fd, text, size < sizeof text ? (size_t)size : sizeof text - 1, 0,
                            path, err);
    close(fd);
    if (rc != ERR_OK)
        return rc;
    const size_t n = strcspn(text, "\r\n");
    for (size_t i = 0; i < n; i++)
        if (!isgraph((unsigned char)text[i]))
            return err_set(err, ERR_FORMAT, "%s: character %zu of the token is none", path,
                           i + 1);
    if (n < HTTP_TOKEN_MIN || n == sizeof text - 1)
        return err_set(err, ERR_FORMAT, "%s: the token has %zu characters, must have %d to %d",
                       path, n, HTTP_TOKEN_MIN, HTTP_TOKEN_MAX - 2);
    memcpy(token, text, n);
    token[n] = '\0';
    return ERR_OK;
}
