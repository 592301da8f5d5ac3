/*
 * test_node_http.c -- the HTTP server, spoken to over real sockets by hand-written requests.
 *
 * The oracle is RFC 9110: status lines, and which requests are to be refused.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <uv.h>

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
        for (size_t i = 0; i < HTTP_BODY_MAX + 1; i++)
            buf_putc(reply->body, 'x');
        return;
    }
    reply->status = 404;
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
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const struct timeval deadline = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    size_t n = 0;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
        write(fd, x->request, strlen(x->request)) == (ssize_t)strlen(x->request)) {
        for (ssize_t got; n < sizeof x->answer - 1; n += (size_t)got) {
            got = read(fd, x->answer + n, sizeof x->answer - 1 - n);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_answers_get_and_head),
        cmocka_unit_test(http_refuses_what_it_does_not_serve),
        cmocka_unit_test(http_survives_garbage_and_long_headers),
        cmocka_unit_test(http_refuses_an_address_that_is_none),
    };
    return cmocka_run_group_tests_name("node/http", tests, open_server, close_server);
}
