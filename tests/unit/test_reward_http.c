/*
 * test_reward_http.c -- the http scorer against a service that behaves as the test says.
 *
 * Oracle: the contract in docs/REWARD_SERVICES.md.  The service is libmicrohttpd in this
 * process, on loopback, with a script of answers; it counts requests and keeps their bodies.
 * What is asserted is the state of each sample, the words of its reason, and how many requests
 * were sent.  Deadlines are asserted by what they lead to, not by how long it took; the one
 * comparison of times is a lower bound that the service itself asked for.
 */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "tests/unit/reward_sample.h"

#define SAMPLES      5u
#define STEPS_MAX    4u
#define REQUESTS_MAX 16u
#define LONG_MS      20000u /* a deadline that is not to pass */
#define SHORT_MS     300u   /* one that is */

enum mode { ANSWER, HANG_UP, SILENT, DRIP, HUGE_REPLY };

struct step {
    enum mode mode;
    unsigned status;
    const char *body;
    const char *header, *value; /* one more header, or NULL */
};

struct server {
    struct MHD_Daemon *daemon;
    char url[96];
    struct step step[STEPS_MAX]; /* request r gets step r, the last one again and again */
    size_t steps;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closing;
    size_t requests;
    uint64_t at_ms[REQUESTS_MAX];
    char *body[REQUESTS_MAX];
};

struct upload {
    char *data;
    size_t n;
};

static ssize_t server_drip(void *ctx, uint64_t at, char *bytes, size_t max)
{
    struct server *server = ctx;
    (void)max;
    pthread_mutex_lock(&server->lock);
    const bool closing = server->closing;
    pthread_mutex_unlock(&server->lock);
    if (closing || at > 100000)
        return MHD_CONTENT_READER_END_OF_STREAM;
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    bytes[0] = ' ';
    return 1;
}

static ssize_t server_huge(void *ctx, uint64_t at, char *bytes, size_t max)
{
    (void)ctx;
    if (at > 32u << 20)
        return MHD_CONTENT_READER_END_OF_STREAM;
    memset(bytes, ' ', max);
    return (ssize_t)max;
}

static enum MHD_Result server_respond(struct server *server, struct MHD_Connection *connection,
                                      const struct step *step)
{
    struct MHD_Response *response;
    if (step->mode == DRIP || step->mode == HUGE_REPLY)
        response = MHD_create_response_from_callback(
            MHD_SIZE_UNKNOWN, step->mode == DRIP ? 1 : 65536,
            step->mode == DRIP ? server_drip : server_huge, server, NULL);
    else
        response = MHD_create_response_from_buffer(
            strlen(step->body), (void *)(uintptr_t)step->body, MHD_RESPMEM_MUST_COPY);
    if (step->header)
        MHD_add_response_header(response, step->header, step->value);
    const enum MHD_Result rc = MHD_queue_response(connection, step->status, response);
    MHD_destroy_response(response);
    return rc;
}

/* The whole request is here: count it, and do what the script says. */
static enum MHD_Result server_answer(struct server *server, struct MHD_Connection *connection,
                                     struct upload *upload)
{
    pthread_mutex_lock(&server->lock);
    const size_t r = server->requests++;
    if (r < REQUESTS_MAX) {
        server->at_ms[r] = clock_mono_ms();
        server->body[r] = upload->data;
        upload->data = NULL;
    }
    pthread_cond_broadcast(&server->changed);
    const struct step step = server->step[r < server->steps ? r : server->steps - 1];
    while (step.mode == SILENT && !server->closing)
        pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
    if (step.mode == SILENT || step.mode == HANG_UP)
        return MHD_NO; /* closes the connection */
    return server_respond(server, connection, &step);
}

static enum MHD_Result server_on_request(void *ctx, struct MHD_Connection *connection,
                                         const char *path, const char *method,
                                         const char *version, const char *data, size_t *n,
                                         void **state)
{
    (void)version;
    if (!*state) {
        *state = calloc(1, sizeof(struct upload));
        return *state && strcmp(method, "POST") == 0 && strcmp(path, "/get_reward") == 0
                   ? MHD_YES
                   : MHD_NO;
    }
    struct upload *upload = *state;
    if (*n == 0)
        return server_answer(ctx, connection, upload);
    char *more = realloc(upload->data, upload->n + *n + 1);
    if (!more)
        return MHD_NO;
    memcpy(more + upload->n, data, *n);
    upload->data = more;
    upload->n += *n;
    more[upload->n] = '\0';
    *n = 0;
    return MHD_YES;
}

static void server_on_end(void *ctx, struct MHD_Connection *connection, void **state,
                          enum MHD_RequestTerminationCode why)
{
    (void)ctx, (void)connection, (void)why;
    struct upload *upload = *state;
    if (upload)
        free(upload->data);
    free(upload);
    *state = NULL;
}

static void server_open(struct server *server, const struct step *steps, size_t n)
{
    *server = (struct server){.steps = n};
    memcpy(server->step, steps, n * sizeof *steps);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    server->daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL,
        server_on_request, server, MHD_OPTION_SOCK_ADDR, (const struct sockaddr *)&address,
        MHD_OPTION_NOTIFY_COMPLETED, server_on_end, NULL, MHD_OPTION_END);
    assert_non_null(server->daemon);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%u/get_reward",
             MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
}

/* Returns how many requests came. */
static size_t server_close(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->closing = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    MHD_stop_daemon(server->daemon);
    for (size_t r = 0; r < REQUESTS_MAX; r++)
        free(server->body[r]);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    return server->requests;
}

static struct run_scorer row_of(const char *url, uint32_t batch, uint32_t timeout_ms)
{
    struct run_scorer of = {
        .name = "judge", .kind = RUN_SCORER_HTTP, .timeout_ms = timeout_ms, .batch = batch};
    snprintf(of.url, sizeof of.url, "%s", url);
    return of;
}

/* Score n samples, number 0 .. n-1. */
static void score(const struct run_scorer *of, size_t n, const struct scorer_watch *watch,
                  struct scorer_score *scores)
{
    static const char *const labels[SAMPLES] = {"\"x\"", "null", "{\"a\":1}", "7", "[true]"};
    static const char *const texts[SAMPLES] = {"say \"it\"\n", "", "\xc3\xa9\xff", "</s>", "e"};
    struct scorer_sample samples[SAMPLES];
    for (size_t i = 0; i < n; i++)
        samples[i] = sample_make(i, texts[i], labels[i], 1);
    struct scorer *scorer = sample_scorer(of);
    scorer_score(scorer, samples, n, watch, scores);
    scorer_free(scorer);
}

static void check_state(const struct scorer_score *score, enum score_state want,
                        const char *words)
{
    if (score->state != want || !strstr(score->reason, words))
        fail_msg("%s: \"%s\"; want %s with \"%s\"", score_state_name(score->state),
                 score->reason, score_state_name(want), words);
    if (want != SCORE_OK)
        assert_true(score->value == 0.0);
}

static const struct scorer_watch nobody = {0};

/* One sample, one script: its state, words of the reason, number of requests.  Returns whether the
 * service counts as away. */
static bool check_script(const struct step *steps, size_t n, uint32_t timeout_ms,
                         enum score_state want, const char *words, size_t requests)
{
    struct server server;
    struct scorer_score got;
    server_open(&server, steps, n);
    const struct run_scorer of = row_of(server.url, 4, timeout_ms);
    score(&of, 1, &nobody, &got);
    check_state(&got, want, words);
    if (want != SCORE_OK) { /* who is at fault, and for which sample */
        check_state(&got, want, server.url);
        check_state(&got, want, "slot 0 of step 7");
    }
    const size_t came = server_close(&server);
    if (came != requests)
        fail_msg("\"%s\": %zu requests, want %zu", words, came, requests);
    return got.away;
}

static void batches_are_sent_as_the_contract_says(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {ANSWER, 200, "{\"rewards\": [0.5, -2], \"scores\": null, \"extra_logs\": {}}", NULL,
         NULL}};
    struct server server;
    struct scorer_score got[4];
    server_open(&server, steps, 1);
    const struct run_scorer of = row_of(server.url, 2, LONG_MS);
    score(&of, 4, &nobody, got);
    for (size_t i = 0; i < 4; i++) {
        check_state(&got[i], SCORE_OK, "");
        assert_true(got[i].value == (i % 2 ? -2.0 : 0.5));
    }
    assert_int_equal(server.requests, 2);
    size_t seen = 0;
    for (size_t r = 0; r < 2; r++) {
        static const char *const want[] = {
            "{\"query\": [\"say \\\"it\\\"\\n\", \"\"], "
            "\"prompts\": [\"<s>say it\", \"<s>say it\"], \"labels\": [\"x\", null]}",
            "{\"query\": [\"\xc3\xa9\xef\xbf\xbd\", \"</s>\"], "
            "\"prompts\": [\"<s>say it\", \"<s>say it\"], \"labels\": [{\"a\": 1}, 7]}"};
        json_t *sent = json_loads(server.body[r], 0, NULL);
        for (size_t k = 0; k < 2; k++) { /* they may come in any order */
            json_t *wanted = json_loads(want[k], 0, NULL);
            assert_non_null(wanted);
            seen += json_equal(sent, wanted) ? k + 1 : 0;
            json_decref(wanted);
        }
        json_decref(sent);
    }
    assert_int_equal(seen, 1 + 2);
    server_close(&server);
}

static void many_batches_all_come_back(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 200, "{\"rewards\": [3]}", NULL, NULL}};
    enum { MANY = 60 };
    struct server server;
    struct scorer_sample samples[MANY];
    struct scorer_score got[MANY];
    for (size_t i = 0; i < MANY; i++)
        samples[i] = sample_make(i, "x", "null", 1);
    samples[7].text_fault = "id 9 has no text";
    server_open(&server, steps, 1);
    const struct run_scorer of = row_of(server.url, 1, LONG_MS);
    struct scorer *scorer = sample_scorer(&of);
    scorer_score(scorer, samples, MANY, &nobody, got);
    scorer_free(scorer);
    for (size_t i = 0; i < MANY; i++)
        check_state(&got[i], i == 7 ? SCORE_FAILED : SCORE_OK, i == 7 ? "has no text" : "");
    assert_int_equal(server_close(&server), MANY - 1);
}

static void one_number_is_enough_for_one_sample(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 200, "{\"rewards\": 4}", NULL, NULL}};
    check_script(steps, 1, LONG_MS, SCORE_OK, "", 1);
}

static void one_number_is_not_enough_for_two(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 200, "{\"rewards\": 4}", NULL, NULL}};
    struct server server;
    struct scorer_score got[2];
    server_open(&server, steps, 1);
    const struct run_scorer of = row_of(server.url, 2, LONG_MS);
    score(&of, 2, &nobody, got);
    check_state(&got[0], SCORE_FAILED, "slot 0 of step 7: the reply has 1 rewards for 2");
    check_state(&got[1], SCORE_FAILED, "slot 1 of step 7: the reply has 1 rewards for 2");
    assert_int_equal(server_close(&server), 1);
}

static void what_is_wrong_with_one_reward_fails_that_sample_only(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {ANSWER, 200, "{\"rewards\": [1, null, \"2\", true, 5]}", NULL, NULL}};
    struct server server;
    struct scorer_score got[5];
    server_open(&server, steps, 1);
    const struct run_scorer of = row_of(server.url, 5, LONG_MS);
    score(&of, 5, &nobody, got);
    check_state(&got[0], SCORE_OK, "");
    check_state(&got[1], SCORE_FAILED, "slot 1 of step 7: its reward is null");
    check_state(&got[2], SCORE_FAILED, "slot 2 of step 7: its reward is neither");
    check_state(&got[3], SCORE_FAILED, "slot 3 of step 7: its reward is neither");
    check_state(&got[4], SCORE_OK, "");
    assert_true(got[0].value == 1.0 && got[4].value == 5.0);
    assert_int_equal(server_close(&server), 1);
}

static void a_reply_that_is_none_is_failed_and_not_asked_for_again(void **state)
{
    (void)state;
    static const struct {
        const char *body, *words;
    } cases[] = {
        {"{\"rewards\": [1, 2]}", "the reply has 2 rewards for 1 samples"},
        {"{\"rewards\": []}", "the reply has 0 rewards for 1 samples"},
        {"{\"rewards\": [NaN]}", "the reply"},
        {"{\"rewards\": [Infinity]}", "the reply"},
        {"{\"rewards\": [-Infinity]}", "the reply"},
        {"{\"rewards\": [1e999]}", "the reply"},
        {"{\"rewards\": [1], \"rewards\": [2]}", "the reply"},
        {"{\"rewards\": null}", "no \"rewards\""},
        {"{\"rewards\": \"1\"}", "no \"rewards\""},
        {"{\"reward\": [1]}", "no \"rewards\""},
        {"[1]", "no \"rewards\""},
        {"<html>busy</html>", "the reply"},
        {"{\"rewards\": [1]", "the reply"},
        {"", "the reply"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct step step = {ANSWER, 200, cases[i].body, NULL, NULL};
        check_script(&step, 1, LONG_MS, SCORE_FAILED, cases[i].words, 1);
    }
}

static void a_huge_finite_number_is_a_number(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 200, "{\"rewards\": [-1e308]}", NULL, NULL}};
    check_script(steps, 1, LONG_MS, SCORE_OK, "", 1);
}

static void other_statuses_are_not_tried_again(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *words;
    } cases[] = {{400, "HTTP status 400"}, {404, "HTTP status 404"}, {422, "HTTP status 422"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct step step = {ANSWER, cases[i].status, "{\"rewards\": [1]}", NULL, NULL};
        assert_false(check_script(&step, 1, LONG_MS, SCORE_FAILED, cases[i].words, 1));
    }
}

/* Nothing says that the sample is at fault. */
static void a_service_that_breaks_on_all_it_is_asked_is_away(void **state)
{
    (void)state;
    static const struct step broken[] = {{ANSWER, 500, "Traceback", NULL, NULL}};
    static const struct step other[] = {{ANSWER, 501, "{\"rewards\": [1]}", NULL, NULL}};
    assert_true(check_script(broken, 1, LONG_MS, SCORE_FAILED, "HTTP status 500", 1));
    assert_true(check_script(other, 1, LONG_MS, SCORE_FAILED, "HTTP status 501", 1));
    struct server server;
    struct scorer_score got[5];
    server_open(&server, broken, 1);
    const struct run_scorer of = row_of(server.url, 3, LONG_MS);
    score(&of, 5, &nobody, got);
    for (size_t i = 0; i < 5; i++) {
        check_state(&got[i], SCORE_FAILED, "HTTP status 500");
        assert_true(got[i].away);
    }
    assert_int_equal(server_close(&server), 2 + 3); /* of one request each sample by itself */
}

/* Which is not said of the sample that it refuses. */
static void a_service_that_breaks_and_refuses_is_away_for_what_it_breaks_on(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 404, "", NULL, NULL},
                                        {ANSWER, 500, "Traceback", NULL, NULL}};
    struct server server;
    struct scorer_score got[2];
    server_open(&server, steps, 2);
    const struct run_scorer of = row_of(server.url, 1, LONG_MS);
    score(&of, 2, &nobody, got);
    for (size_t i = 0; i < 2; i++)
        check_state(&got[i], SCORE_FAILED, got[i].away ? "HTTP status 500" : "HTTP status 404");
    assert_true(got[0].away != got[1].away);
    server_close(&server);
}

static void a_sample_that_breaks_a_service_fails_alone(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 500, "Traceback", NULL, NULL},
                                        {ANSWER, 200, "{\"rewards\": [2]}", NULL, NULL},
                                        {ANSWER, 500, "Traceback", NULL, NULL},
                                        {ANSWER, 200, "{\"rewards\": [2]}", NULL, NULL}};
    struct server server;
    struct scorer_score got[4];
    server_open(&server, steps, 4);
    const struct run_scorer of = row_of(server.url, 4, LONG_MS);
    score(&of, 4, &nobody, got);
    size_t failed = 0;
    for (size_t i = 0; i < 4; i++) {
        failed += got[i].state != SCORE_OK;
        check_state(&got[i], got[i].state, got[i].state == SCORE_OK ? "" : "HTTP status 500");
        assert_false(got[i].away);
    }
    assert_int_equal(failed, 1);
    assert_int_equal(server_close(&server), 1 + 4);
}

/* By itself in its lease: what the service has scored before tells whose fault it is. */
static void a_sample_that_comes_alone_is_told_from_a_service_that_breaks(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 200, "{\"rewards\": [null, 2]}", NULL, NULL},
                                        {ANSWER, 500, "Traceback", NULL, NULL},
                                        {ANSWER, 200, "{\"rewards\": [2]}", NULL, NULL},
                                        {ANSWER, 500, "Traceback", NULL, NULL}};
    struct server server;
    struct scorer_score got, two[2];
    server_open(&server, steps, 4);
    const struct run_scorer of = row_of(server.url, 4, LONG_MS);
    struct scorer *scorer = sample_scorer(&of);
    const struct scorer_sample known[] = {sample_make(0, "hard", "null", 1),
                                          sample_make(1, "easy", "null", 1)};
    const struct scorer_sample other = sample_make(2, "other", "null", 1);
    scorer_score(scorer, known, 2, &nobody, two);
    check_state(&two[1], SCORE_OK, "");
    scorer_score(scorer, &other, 1, &nobody, &got);
    check_state(&got, SCORE_FAILED, "HTTP status 500");
    assert_false(got.away);
    scorer_score(scorer, &other, 1, &nobody, &got);
    check_state(&got, SCORE_FAILED, "HTTP status 500");
    assert_true(got.away);
    scorer_free(scorer);
    assert_int_equal(server.requests, 5);
    assert_non_null(strstr(server.body[2], "easy")); /* the one that it has scored */
    assert_null(strstr(server.body[2], "hard"));
    assert_string_equal(server.body[4], server.body[2]);
    assert_string_equal(server.body[3], server.body[1]);
    server_close(&server);
}

static void a_busy_service_is_tried_again(void **state)
{
    (void)state;
    static const unsigned busy[] = {429, 502, 503, 504};
    for (size_t i = 0; i < COUNT(busy); i++) {
        const struct step steps[] = {{ANSWER, busy[i], "busy", NULL, NULL},
                                     {ANSWER, 200, "{\"rewards\": [1]}", NULL, NULL}};
        assert_false(check_script(steps, 2, LONG_MS, SCORE_OK, "", 2));
    }
    static const struct step lost[] = {{HANG_UP, 0, NULL, NULL, NULL},
                                       {ANSWER, 200, "{\"rewards\": [1]}", NULL, NULL}};
    check_script(lost, 2, LONG_MS, SCORE_OK, "", 2);
}

static void a_service_that_stays_busy_is_given_up(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 503, "busy", NULL, NULL}};
    assert_true(check_script(steps, 1, 60000, SCORE_FAILED,
                             "HTTP status 503, at the last of 5 tries", 5));
}

static void retry_after_is_waited_for(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 429, "busy", "Retry-After", "1"},
                                        {ANSWER, 200, "{\"rewards\": [1]}", NULL, NULL}};
    struct server server;
    struct scorer_score got;
    server_open(&server, steps, 2);
    const struct run_scorer of = row_of(server.url, 1, 60000);
    score(&of, 1, &nobody, &got);
    check_state(&got, SCORE_OK, "");
    assert_true(server.at_ms[1] >= server.at_ms[0] + 1000);
    assert_int_equal(server_close(&server), 2);
}

static void retry_after_past_the_deadline_is_not_waited_for(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 503, "busy", "Retry-After", "3600"}};
    assert_true(check_script(steps, 1, 60000, SCORE_FAILED, "no time is left", 1));
}

static void a_redirect_is_not_followed(void **state)
{
    (void)state;
    static const struct step good[] = {{ANSWER, 200, "{\"rewards\": [1]}", NULL, NULL}};
    struct server other;
    server_open(&other, good, 1);
    const struct step steps[] = {{ANSWER, 307, "", "Location", other.url}};
    check_script(steps, 1, LONG_MS, SCORE_FAILED,
                 "HTTP status 307 (redirects are not followed)", 1);
    assert_int_equal(server_close(&other), 0);
}

/* On a busy machine a short deadline may pass before the service was asked: then a longer one. */
static void check_timeout(enum mode mode)
{
    const struct step step = {mode, 200, NULL, NULL, NULL};
    struct scorer_score got;
    size_t requests = 0;
    for (uint32_t ms = SHORT_MS; ms < LONG_MS && requests == 0; ms *= 2) {
        struct server server;
        server_open(&server, &step, 1);
        const struct run_scorer of = row_of(server.url, 4, ms);
        score(&of, 1, &nobody, &got);
        check_state(&got, SCORE_TIMEOUT, server.url);
        requests = server_close(&server);
    }
    check_state(&got, SCORE_TIMEOUT, "slot 0 of step 7: no whole reply before the deadline");
    assert_false(got.away);
    assert_int_equal(requests, 1);
}

static void a_silent_service_is_a_timeout(void **state)
{
    (void)state;
    check_timeout(SILENT);
}

static void a_dripping_service_is_a_timeout(void **state)
{
    (void)state;
    check_timeout(DRIP);
}

static void an_endless_reply_is_cut(void **state)
{
    (void)state;
    static const struct step steps[] = {{HUGE_REPLY, 200, NULL, NULL, NULL}};
    check_script(steps, 1, 60000, SCORE_FAILED, "the reply is longer than 16 MiB", 1);
}

static void a_closed_port_is_failed(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, and not listening */
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/get_reward", ntohs(address.sin_port));
    struct scorer_score got;
    const struct run_scorer of = row_of(url, 1, 60000);
    score(&of, 1, &nobody, &got);
    check_state(&got, SCORE_FAILED, url);
    check_state(&got, SCORE_FAILED, "slot 0 of step 7");
    check_state(&got, SCORE_FAILED, "at the last of 5 tries");
    assert_true(got.away);
    close(fd);
}

/* A listener at this port whose queue is full: the kernel answers nobody who calls. */
static void crowd_open(int crowd[4], uint16_t port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int yes = 1;
    crowd[0] = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(crowd[0], SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    assert_int_equal(bind(crowd[0], (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(crowd[0], 0), 0);
    for (int i = 1; i < 4; i++) {
        crowd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(crowd[i], (const struct sockaddr *)&address, sizeof address);
    }
}

/* Though its deadline ends the third try; and what it was sent before counts for nothing. */
static void a_service_that_takes_no_connection_is_away(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 200, "{\"rewards\": [1]}", NULL, NULL}};
    struct server server;
    struct scorer_score got;
    int crowd[4];
    server_open(&server, steps, 1);
    const uint16_t port = MHD_get_daemon_info(server.daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    const struct scorer_sample sample = sample_make(0, "x", "null", 1);
    struct scorer *scorer = NULL;
    got.state = SCORE_TIMEOUT;
    for (uint32_t ms = 5 * SHORT_MS; ms < LONG_MS && got.state != SCORE_OK; ms *= 2) {
        const struct run_scorer of = row_of(server.url, 1, ms);
        scorer_free(scorer);
        scorer = sample_scorer(&of);
        scorer_score(scorer, &sample, 1, &nobody, &got);
    }
    check_state(&got, SCORE_OK, "");
    server_close(&server);
    crowd_open(crowd, port);
    scorer_score(scorer, &sample, 1, &nobody, &got);
    check_state(&got, SCORE_TIMEOUT, "");
    assert_true(got.away);
    scorer_free(scorer);
    for (size_t i = 0; i < COUNT(crowd); i++)
        close(crowd[i]);
}

static bool server_was_asked(void *ctx)
{
    struct server *server = ctx;
    pthread_mutex_lock(&server->lock);
    const bool asked = server->requests > 0;
    pthread_mutex_unlock(&server->lock);
    return asked;
}

static void count_progress(void *ctx)
{
    (void)ctx;
}

static void a_request_under_way_is_given_up_when_stopping(void **state)
{
    (void)state;
    static const struct step steps[] = {{SILENT, 0, NULL, NULL, NULL}};
    struct server server;
    struct scorer_score got[2];
    server_open(&server, steps, 1);
    const struct scorer_watch watch = {count_progress, server_was_asked, &server};
    const struct run_scorer of = row_of(server.url, 1, 3600000);
    score(&of, 2, &watch, got);
    check_state(&got[0], SCORE_FAILED, "told to stop");
    check_state(&got[1], SCORE_FAILED, "told to stop");
    server_close(&server);
}

static void secrets_in_a_url_are_not_shown(void **state)
{
    (void)state;
    static const struct step steps[] = {{ANSWER, 404, "", NULL, NULL}};
    struct server server;
    struct scorer_score got;
    server_open(&server, steps, 1);
    char url[1024];
    snprintf(url, sizeof url, "http://user:hunter2@%s?key=hunter3", server.url + 7);
    const struct run_scorer of = row_of(url, 1, LONG_MS);
    score(&of, 1, &nobody, &got);
    check_state(&got, SCORE_FAILED, server.url);
    assert_null(strstr(got.reason, "hunter"));
    assert_int_equal(server_close(&server), 1);
}

static void what_is_no_url_is_refused_at_the_start(void **state)
{
    (void)state;
    static const char *const urls[] = {"http://", "https://:80/x", "file:///etc/passwd", "x"};
    const struct scorer_setup none = {0};
    for (size_t i = 0; i < COUNT(urls); i++) {
        struct scorer *scorer = NULL;
        const struct run_scorer of = row_of(urls[i], 1, 1000);
        check_fails(scorer_new(&scorer, &of, &none, &err), ERR_USAGE, "is not an http://");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_sent_as_the_contract_says),
        cmocka_unit_test(many_batches_all_come_back),
        cmocka_unit_test(one_number_is_enough_for_one_sample),
        cmocka_unit_test(one_number_is_not_enough_for_two),
        cmocka_unit_test(what_is_wrong_with_one_reward_fails_that_sample_only),
        cmocka_unit_test(a_reply_that_is_none_is_failed_and_not_asked_for_again),
        cmocka_unit_test(a_huge_finite_number_is_a_number),
        cmocka_unit_test(other_statuses_are_not_tried_again),
        cmocka_unit_test(a_service_that_breaks_on_all_it_is_asked_is_away),
        cmocka_unit_test(a_service_that_breaks_and_refuses_is_away_for_what_it_breaks_on),
        cmocka_unit_test(a_sample_that_breaks_a_service_fails_alone),
        cmocka_unit_test(a_sample_that_comes_alone_is_told_from_a_service_that_breaks),
        cmocka_unit_test(a_busy_service_is_tried_again),
        cmocka_unit_test(a_service_that_stays_busy_is_given_up),
        cmocka_unit_test(retry_after_is_waited_for),
        cmocka_unit_test(retry_after_past_the_deadline_is_not_waited_for),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(a_silent_service_is_a_timeout),
        cmocka_unit_test(a_dripping_service_is_a_timeout),
        cmocka_unit_test(an_endless_reply_is_cut),
        cmocka_unit_test(a_closed_port_is_failed),
        cmocka_unit_test(a_service_that_takes_no_connection_is_away),
        cmocka_unit_test(a_request_under_way_is_given_up_when_stopping),
        cmocka_unit_test(secrets_in_a_url_are_not_shown),
        cmocka_unit_test(what_is_no_url_is_refused_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
