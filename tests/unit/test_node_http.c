/*
 * test_node_http.c -- the HTTP server, spoken to over real sockets by hand-written requests.
 *
 * The oracle is RFC 9110: status lines, and which requests are to be refused.
 */
#define _DEFAULT_SOURCE /* mkdtemp, getifaddrs */
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#include <uv.h>

#include "base/file.h"
#include "node/http.h"
#include "tests/test.h"

static uv_loop_t loop;
static struct http *http;

static void handler(void *arg, const char *path, struct http_reply *reply)
{
    (void)arg;
    if (strcmp(path, "/hello") == 0) {
        buf_puts(reply->body, "world\n");
        return;
    }
    if (strcmp(path, "/large") == 0) {
        /* At once: who waits long is given up. */
        static const char large[HTTP_BODY_MAX + 1];
        buf_append(reply->body, large, sizeof large);
        return;
    }
    reply->status = 404;
}

static unsigned posts;
static in_addr_t host = INADDR_LOOPBACK; /* that clients connect to */

static void on_post(void *arg, const char *path, struct http_reply *reply)
{
    (void)arg;
    posts++;
    buf_printf(reply->body, "did %s\n", path);
}

struct exchange {
    const char *request;
    char answer[4096];
    uv_thread_t thread;
    uv_async_t done;
};

/* The client blocks, so it has a thread of its own. */
static void client(void *arg)
{
    struct exchange *x = arg;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(http_port(http))};
    to.sin_addr.s_addr = htonl(host);
    const struct timeval deadline = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    size_t n = 0;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
        write(fd, x->request, strlen(x->request)) == (ssize_t)strlen(x->request)) {
        for (ssize_t got; n < sizeof x->answer - 1; n += (size_t)got) {
            do /* with a deadline, a process that was stopped goes on with EINTR */
                got = read(fd, x->answer + n, sizeof x->answer - 1 - n);
            while (got < 0 && errno == EINTR);
            if (got <= 0)
                break;
        }
    }
    x->answer[n] = '\0';
    close(fd);
    uv_async_send(&x->done);
}

static void on_done(uv_async_t *done)
{
    uv_close((uv_handle_t *)done, NULL);
    uv_stop(done->loop);
}

static const char *ask(const char *request)
{
    static struct exchange x;
    x = (struct exchange){.request = request};
    assert_int_equal(uv_async_init(&loop, &x.done, on_done), 0);
    assert_int_equal(uv_thread_create(&x.thread, client, &x), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_thread_join(&x.thread);
    uv_run(&loop, UV_RUN_NOWAIT);
    return x.answer;
}

static int open_server(void **state)
{
    (void)state;
    uv_loop_init(&loop);
    struct err err = {0};
    http = http_open(&loop, "127.0.0.1:0", handler, NULL, &err);
    return http ? 0 : -1;
}

static int close_server(void **state)
{
    (void)state;
    http_close(http);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void http_answers_get_and_head(void **state)
{
    (void)state;
    const char *answer = ask("GET /hello?x=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                             "Connection: close\r\n\r\n");
    assert_non_null(strstr(answer, "HTTP/1.1 200"));
    assert_non_null(strstr(answer, "\r\n\r\nworld\n"));
    assert_non_null(strstr(answer, "X-Content-Type-Options: nosniff"));
    answer = ask("HEAD /hello HTTP/1.1\r\nHost: localhost:9\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(answer, "HTTP/1.1 200"));
    assert_null(strstr(answer, "world"));
}

static void http_refuses_what_it_does_not_serve(void **state)
{
    (void)state;
    assert_non_null(
        strstr(ask("GET /nothing HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n"),
               "HTTP/1.1 404"));
    assert_non_null(strstr(ask("DELETE /hello HTTP/1.1\r\nHost: localhost\r\n"
                               "Connection: close\r\n\r\n"),
                           "HTTP/1.1 405"));
    assert_non_null(strstr(ask("GET /hello HTTP/1.1\r\nHost: evil.example\r\n"
                               "Connection: close\r\n\r\n"),
                           "HTTP/1.1 421"));
    assert_non_null(strstr(ask("GET /hello HTTP/1.1\r\nHost: localhost.evil.example\r\n"
                               "Connection: close\r\n\r\n"),
                           "HTTP/1.1 421"));
    assert_non_null(strstr(ask("GET /large HTTP/1.1\r\nHost: localhost\r\n"
                               "Connection: close\r\n\r\n"),
                           "HTTP/1.1 500"));
}

static void http_survives_garbage_and_long_headers(void **state)
{
    (void)state;
    ask("\x16\x03\x01 not http at all\r\n\r\n");
    static char longest[40000];
    snprintf(longest, sizeof longest, "GET /hello HTTP/1.1\r\nHost: localhost\r\nX: ");
    memset(longest + strlen(longest), 'a', 30000);
    strcat(longest, "\r\n\r\n");
    assert_null(strstr(ask(longest), "HTTP/1.1 200"));
    assert_non_null(strstr(ask("GET /hello HTTP/1.1\r\nHost: localhost\r\n"
                               "Connection: close\r\n\r\n"),
                           "HTTP/1.1 200"));
}

static void http_refuses_an_address_that_is_none(void **state)
{
    (void)state;
    const char *const bad[] = {"localhost",    "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000",
                               "127.0.0.1:8x", "::1:80",    "[::1:80",    ""};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct err err = {0};
        assert_null(http_open(&loop, bad[i], handler, NULL, &err));
        assert_int_equal(err.code, ERR_USAGE);
    }
}

/* --- POST --------------------------------------------------------------------------------- */

/* A POST with these headers (each ended by CR LF): its answer. */
static const char *post(const char *headers)
{
    static char request[1024];
    snprintf(request, sizeof request,
             "POST /go HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", headers);
    return ask(request);
}

#define check_post(headers, words, n)                                                         \
    do {                                                                                      \
        posts = 0;                                                                            \
        const char *got_ = post(headers);                                                     \
        if (!strstr(got_, words) || posts != (n))                                             \
            fail_msg("%u posts, wanted %u and \"%s\"; the answer:\n%s", posts, (unsigned)(n), \
                     words, got_);                                                            \
    } while (0)

static void http_takes_no_post_unless_told_to(void **state)
{
    (void)state;
    check_post("", "HTTP/1.1 405", 0);
    assert_non_null(strstr(post(""), "only GET and HEAD\n"));
}

static void http_takes_posts_of_this_machine_where_there_is_no_token(void **state)
{
    (void)state;
    http_accept_posts(http, "", on_post);
    check_post("", "HTTP/1.1 200", 1);
    assert_non_null(strstr(post(""), "did /go\n"));
    check_post("Content-Length: 3\r\n\r\nabc", "HTTP/1.1 200", 1); /* passed over */
    check_post("Origin: http://localhost\r\n", "HTTP/1.1 403", 0);
    check_post("Origin: null\r\n", "HTTP/1.1 403", 0);
    posts = 0;
    assert_non_null(strstr(ask("POST /go HTTP/1.1\r\nHost: evil.example\r\n"
                               "Connection: close\r\n\r\n"),
                           "HTTP/1.1 421"));
    assert_non_null(strstr(ask("PUT /go HTTP/1.1\r\nHost: localhost\r\n"
                               "Connection: close\r\n\r\n"),
                           "HTTP/1.1 405"));
    assert_int_equal(posts, 0);
    assert_non_null(strstr(ask("GET /hello HTTP/1.1\r\nHost: localhost\r\n"
                               "Connection: close\r\n\r\n"),
                           "world\n"));
}

static void http_does_not_read_a_body_that_is_long_or_without_a_length(void **state)
{
    (void)state;
    static const char *const heads[] = {"Content-Length: 16385\r\n",
                                        "Content-Length: 99999999999999999999\r\n",
                                        "Transfer-Encoding: chunked\r\n"};
    http_accept_posts(http, "", on_post);
    for (size_t i = 0; i < COUNT(heads); i++) {
        char request[256];
        posts = 0;
        snprintf(request, sizeof request,
                 "POST /go HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n",
                 heads[i]);
        assert_null(
            strstr(ask(request), "200")); /* the connection ends; nothing more is sent */
        assert_int_equal(posts, 0);
    }
}

static void http_takes_posts_with_the_token_alone_where_there_is_one(void **state)
{
    (void)state;
    http_accept_posts(http, "0123456789abcdef", on_post);
    check_post("Authorization: Bearer 0123456789abcdef\r\n", "HTTP/1.1 200", 1);
    static const char *const wrong[] = {
        "",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer 0123456789abcde\r\n",
        "Authorization: Bearer 0123456789abcdef0\r\n",
        "Authorization: Bearer 1123456789abcdef\r\n",
        "Authorization: Bearer 0123456789abcdeF\r\n",
        "Authorization: Basic 0123456789abcdef\r\n",
        "Authorization: 0123456789abcdef\r\n",
    };
    for (size_t i = 0; i < COUNT(wrong); i++)
        check_post(wrong[i], "HTTP/1.1 401", 0);
    check_post("Authorization: Bearer 0123456789abcdef\r\nOrigin: http://localhost\r\n",
               "HTTP/1.1 403", 0);
}

/* An address of this machine that is not loopback; INADDR_ANY: it has none. */
static in_addr_t other_address(void)
{
    struct ifaddrs *all = NULL;
    in_addr_t found = INADDR_ANY;
    if (getifaddrs(&all) != 0)
        return found;
    for (struct ifaddrs *i = all; i; i = i->ifa_next)
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET) {
            const in_addr_t at = ntohl(((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr);
            if (at >> 24 != 127)
                found = at;
        }
    freeifaddrs(all);
    return found;
}

static void http_takes_no_posts_of_others_without_a_token(void **state)
{
    (void)state;
    struct err err = {0};
    struct http *const before = http;
    const in_addr_t other = other_address();
    if (other == INADDR_ANY)
        skip();
    http = http_open(&loop, "0.0.0.0:0", handler, NULL, &err);
    assert_non_null(http);
    http_accept_posts(http, "", on_post);
    check_post("", "HTTP/1.1 200", 1);
    host = other;
    check_post("", "HTTP/1.1 403", 0);
    http_accept_posts(http, "0123456789abcdef", on_post);
    check_post("Authorization: Bearer 0123456789abcdef\r\n", "HTTP/1.1 200", 1);
    host = INADDR_LOOPBACK;
    http_close(http);
    http = before;
}

static void a_token_is_the_first_line_of_a_file_of_ones_own(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        mode_t mode;
        enum err_code want;
        const char *words;
    } cases[] = {
        {"0123456789abcdef\n", 0600, ERR_OK, ""},
        {"0123456789abcdef\r\nmore", 0400, ERR_OK, ""},
        {"0123456789abcdef", 0640, ERR_VALUE, "others than its owner can read it"},
        {"0123456789abcdef", 0604, ERR_VALUE, "others than its owner can read it"},
        {"0123456789abcde\n", 0600, ERR_FORMAT, "the token has 15 characters"},
        {"0123456789 abcdef\n", 0600, ERR_FORMAT, "character 11 of the token is none"},
        {"", 0600, ERR_FORMAT, "the token has 0 characters"},
    };
    char dir[] = "/tmp/http-XXXXXX", path[FILE_PATH_MAX];
    assert_non_null(mkdtemp(dir));
    check_ok(file_join(path, dir, "token", &err));
    for (size_t i = 0; i < COUNT(cases); i++) {
        char token[HTTP_TOKEN_MAX] = "none";
        struct err why = {0};
        check_ok(file_write(path, cases[i].text, strlen(cases[i].text), &err));
        assert_int_equal(chmod(path, cases[i].mode), 0);
        assert_int_equal(http_token_read(path, token, &why), cases[i].want);
        assert_string_equal(token, cases[i].want == ERR_OK ? "0123456789abcdef" : "none");
        if (!strstr(why.text, cases[i].words) || strstr(why.text, "0123"))
            fail_msg("it said: %s", why.text);
    }
    char longest[300];
    memset(longest, 'a', sizeof longest);
    char token[HTTP_TOKEN_MAX];
    assert_int_equal(chmod(path, 0600), 0);
    check_ok(file_write(path, longest, sizeof longest, &err));
    assert_int_equal(chmod(path, 0600), 0);
    check_fails(http_token_read(path, token, &err), ERR_FORMAT, "must have 16 to 254");
    check_fails(http_token_read("/nonexistent", token, &err), ERR_IO, "/nonexistent");
    check_ok(file_remove_tree(dir, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_answers_get_and_head),
        cmocka_unit_test(http_refuses_what_it_does_not_serve),
        cmocka_unit_test(http_survives_garbage_and_long_headers),
        cmocka_unit_test(http_refuses_an_address_that_is_none),
        cmocka_unit_test(http_takes_no_post_unless_told_to),
        cmocka_unit_test(http_takes_posts_of_this_machine_where_there_is_no_token),
        cmocka_unit_test(http_does_not_read_a_body_that_is_long_or_without_a_length),
        cmocka_unit_test(http_takes_posts_with_the_token_alone_where_there_is_one),
        cmocka_unit_test(http_takes_no_posts_of_others_without_a_token),
        cmocka_unit_test(a_token_is_the_first_line_of_a_file_of_ones_own),
    };
    return cmocka_run_group_tests_name("node/http", tests, open_server, close_server);
}
