/* status_fetch.c -- see status_fetch.h. */
#include "cli/status_fetch.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

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

/* headers: owned by the caller; NULL: a GET */
static CURLcode status_fetch_set_post(CURL *easy, struct curl_slist *headers)
{
    CURLcode rc = CURLE_OK;
#define SET(option, value) rc = rc ? rc : curl_easy_setopt(easy, option, value)
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDS, "");
    SET(CURLOPT_HTTPHEADER, headers);
#undef SET
    return rc;
}

static enum err_code status_fetch_any(const char *address, const char *path,
                                      struct curl_slist *headers, struct buf *out,
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
    if (headers)
        code = code ? code : status_fetch_set_post(easy, headers);
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

/* What the other end said of its refusal: the first line. */
static enum err_code status_fetch_told(enum err_code rc, const struct err *why,
                                       const struct buf *said, struct err *err)
{
    const bool has = !said->failed && said->len > 0;
    return err_set(err, rc, "%s%s%.*s", why->text, has ? ": " : "",
                   has ? (int)strcspn(said->data, "\n") : 0, has ? said->data : "");
}

enum err_code status_fetch(const char *address, const char *path, struct buf *out,
                           struct err *err)
{
    struct err why = {0};
    const enum err_code rc = status_fetch_any(address, path, NULL, out, &why);
    return rc ? status_fetch_told(rc, &why, out, err) : ERR_OK;
}

enum err_code status_post(const char *address, const char *path, const char *token,
                          struct buf *out, struct err *err)
{
    struct err why = {0};
    char line[512];
    snprintf(line, sizeof line, token[0] ? "Authorization: Bearer %.400s" : "Accept: */*%.1s",
             token);
    struct curl_slist *headers = curl_slist_append(NULL, line);
    if (!headers)
        return err_set(err, ERR_NOMEM, "no memory for a request");
    const enum err_code rc = status_fetch_any(address, path, headers, out, &why);
    curl_slist_free_all(headers);
    return rc ? status_fetch_told(rc, &why, out, err) : ERR_OK;
}
