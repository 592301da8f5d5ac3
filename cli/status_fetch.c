/* status_fetch.c -- see status_fetch.h. */
#include "cli/status_fetch.h"

#include <curl/curl.h>

static size_t status_fetch_write(char *bytes, size_t size, size_t n, void *to)
{
    struct buf *out = to;
    buf_append(out, bytes, size * n);
    return out->failed ? 0 : size * n; /* 0: the transfer ends with an error */
}

static CURLcode status_fetch_set(CURL *easy, const char *url, struct buf *out)
{
    CURLcode rc = CURLE_OK;
#define SET(option, value) rc = rc ? rc : curl_easy_setopt(easy, option, value)
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROTOCOLS_STR, "http");
    SET(CURLOPT_NOPROXY, "*"); /* what http_proxy names does not see this machine's loopback */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TIMEOUT_MS, (long)STATUS_FETCH_MS);
    SET(CURLOPT_WRITEFUNCTION, status_fetch_write);
    SET(CURLOPT_WRITEDATA, out);
#undef SET
    return rc;
}

enum err_code status_fetch(const char *address, const char *path, struct buf *out,
                           struct err *err)
{
    enum err_code rc = ERR_OK;
    CURL *easy = NULL;
    struct buf url;
    buf_init(&url, 4096);
    buf_printf(&url, "http://%s%s", address, path);
    if ((rc = buf_check(&url, "the address", err)))
        goto out;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) || !(easy = curl_easy_init())) {
        rc = err_set(err, ERR_NOMEM, "libcurl cannot start");
        goto out;
    }
    CURLcode code = status_fetch_set(easy, url.data, out);
    code = code ? code : curl_easy_perform(easy);
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (code)
        rc = err_set(err, ERR_UNAVAILABLE, "nobody answers at %s (%s)", address,
                     curl_easy_strerror(code));
    else if (status != 200)
        rc = err_set(err, ERR_UNAVAILABLE, "%s answered %ld", url.data, status);
out:
    curl_easy_cleanup(easy);
    buf_release(&url);
    return rc;
}
