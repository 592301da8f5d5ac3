/*
 * test_cli_status.c -- `rlhf status`, against a server that answers whatever a case wants.
 *
 * Oracle: the numbers and names that the case itself puts into the answer or the ledger, and
 * the exit codes of sysexits.h.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base/file.h"
#include "cli/status_screen.h"
#include "coordinator/ledger.h"
#include "node/gate_record.h"
#include "tests/unit/cli_run.h"

static char dir[64];
static const struct hash config_hash = {{1, 2, 3}};

/* --- a server for one request ------------------------------------------------------------- */

static struct {
    int fd;
    unsigned port;
    char answer[8192]; /* "": never answers */
    char request[2048];
    pthread_t thread;
} server;

static void *server_serve(void *arg)
{
    (void)arg;
    const int fd = accept(server.fd, NULL, NULL);
    size_t n = 0;
    for (ssize_t got = 1; fd >= 0 && got > 0 && !strstr(server.request, "\r\n\r\n");) {
        got = recv(fd, server.request + n, sizeof server.request - 1 - n, 0);
        n += got > 0 ? (size_t)got : 0;
        server.request[n] = '\0';
    }
    if (server.answer[0] != '\0')
        (void)!send(fd, server.answer, strlen(server.answer), MSG_NOSIGNAL);
    else /* until the other side has had enough */
        while (recv(fd, server.request, 1, 0) > 0)
            ;
    close(fd);
    return NULL;
}

/* Answer the next request so; `line` is "" or "HTTP/1.1 200 OK". */
static void server_start(const char *line, const char *body)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    server.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(server.fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(server.fd, 1), 0);
    assert_int_equal(getsockname(server.fd, (struct sockaddr *)&at, &size), 0);
    server.port = ntohs(at.sin_port);
    memset(server.request, 0, sizeof server.request);
    if (line[0])
        snprintf(server.answer, sizeof server.answer,
                 "%s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", line, strlen(body),
                 body);
    else
        server.answer[0] = '\0';
    assert_int_equal(pthread_create(&server.thread, NULL, server_serve, NULL), 0);
}

static void server_end(void)
{
    pthread_join(server.thread, NULL);
    close(server.fd);
}

static int status_of_server(const char *path, const char *options)
{
    char line[256];
    snprintf(line, sizeof line, "rlhf status http://127.0.0.1:%u%s%s", server.port, path,
             options);
    const int code = run_line(cli_main, line);
    server_end();
    return code;
}

#define STATUS_HEAD                                                                        \
    "\"run\":\"demo\",\"waits_for\":\"actors, which generate\",\"epoch\":2,\"steps\":40,"  \
    "\"trained\":10,\"checkpoint_version\":9,\"ledger_records\":77,\"ledger_durable\":75," \
    "\"logp_diff_max\":0,\"eta_s\":125,\"ready\":true,"
static const char status_body[] =
    "{" STATUS_HEAD
    "\"slots\":{\"planned\":64,\"waiting\":1,\"leased\":2,\"generated\":3,\"scored\":4,"
    "\"shaped\":5,\"trained\":6,\"dropped\":{\"score_failed\":43,\"score_timeout\":0}},"
    "\"references\":{\"planned\":9,\"scored\":8,\"dropped\":1},"
    "\"counters\":{\"mismatches\":1,\"duplicates\":0},"
    "\"peers\":[{\"name\":\"actor-0\",\"role\":\"actor\",\"state\":\"suspect\","
    "\"seen_age_ms\":3100,\"progress_age_ms\":600000,\"capacity\":64,\"in_flight\":2,"
    "\"items_done\":88,\"mismatches\":1,\"weights\":{\"sent_bytes\":2097152,"
    "\"server_bytes\":4194304,\"relay_bytes\":524288,\"saved_bytes\":1048576,"
    "\"mapped_bytes\":0,\"wasted_bytes\":3145728,\"refused\":2,\"fetches\":5,"
    "\"fetch_ms\":40}},{\"name\":\"learner-0\",\"role\":\"learner\",\"state\":\"live\","
    "\"mismatches\":0,"
    "\"weights\":{\"sent_bytes\":7340032,\"fetches\":0}},"
    "{\"name\":\"actor-1\",\"role\":\"actor\","
    "\"state\":\"live\",\"mismatches\":0,\"weights\":{\"sent_bytes\":1048576,"
    "\"server_bytes\":1048576,\"mapped_bytes\":6291456,\"fetches\":2,\"fetch_ms\":7}},{"
    "\"name\":\"actor-2\",\"role\":\"actor\","
    "\"state\":\"live\",\"mismatches\":1}],"
    "\"last\":{\"step\":9,\"reward_raw_mean\":1.25,\"reward_shaped_mean\":0.5,\"kl_mean\":3.5,"
    "\"kl_coef\":0.02,\"kl_coef_after\":0.03,\"entropy\":1.5,\"duration_ms\":812,"
    "\"response_tokens\":512,\"cost_raw_mean\":0.25,\"cost_limit\":0.125,"
    "\"multiplier_before\":1,\"multiplier_after\":1.5,\"score.style\":2.5},"
    "\"monitors\":{\"style\":{\"missing\":3}},"
    "\"breaker\":{\"cooling\":true,\"trips\":3,\"last\":{\"signal\":\"kl\",\"limit\":\"high\","
    "\"value\":41.5},\"rollback\":{\"rollbacks\":2,\"base\":8,\"target\":12,"
    "\"lr_scale\":0.25,\"beta_scale\":4}},"
    "\"gate\":{\"last\":{\"at_ms\":1700000000000,\"decision\":\"NSF\",\"why\":\"\",\"version\":"
    "8,"
    "\"mean\":0.0625,\"upper\":0.125,\"limit\":0.1,\"delta\":0.025,\"n\":60,\"spent\":1,"
    "\"candidates\":2,\"model\":\"m\"},\"published\":null}}\n";

static void check_said(const char *words)
{
    if (!strstr(said, words))
        fail_msg("it did not say \"%s\":\n%s", words, said);
}

/* --- who answers -------------------------------------------------------------------------- */

static void a_run_that_answers_is_shown(void **state)
{
    (void)state;
    server_start("HTTP/1.1 200 OK", status_body);
    assert_int_equal(status_of_server("", ""), 0);
    if (strncmp(server.request, "GET /api/v1/status HTTP/1.1\r\n", 29) != 0)
        fail_msg("it asked: %s", server.request);
    check_said("demo: 10 of 40 steps trained, 25 %, about 2:05 min left\n");
    check_said("waits for   actors, which generate\n");
    check_said("1 waiting, 2 leased, 3 generated, 4 scored, 5 shaped, 6 trained, 43 dropped: "
               "64 planned\n");
    check_said("43 dropped: score_failed\n");
    check_said("noted       1 results that differ from another worker's (mismatches)\n");
    check_said(
        "weights     7 fetches, of the slowest actor in 40 ms (median); MiB sent: learners "
        "7.0, actors 3.0\n"
        "            MiB had: mapped 6.0, from learners 5.0, from actors 0.5, saved by "
        "differences 1.0\n");
    check_said("noted       3.0 MiB of weights came in vain, 2 chunks with a wrong hash\n");
    check_said("noted       results that differ are of actor-0, actor-2\n");
    check_said("8 scored, 1 dropped: 9 planned\n");
    check_said("raw 1.25, shaped 0.5\n");
    check_said("3.5 nats a sequence at beta 0.02; then beta 0.03\n");
    check_said("entropy 1.5 nats, clipped share -,"); /* not told */
    check_said("cost      0.25, limit 0.125, lambda 1 then 1.5\n");
    check_said("monitor   style mean 2.5; without a score so far: 3 trained slots\n");
    check_said(
        "breaker     open, 3 trips, the last by kl high: 41.5\n"
        "            2 rollbacks, the last to version 8; learning rates times 0.25, beta "
        "times 4, now back to version 12\n");
    check_said(
        "gate        version 8: NSF at 2023-11-14T22:13:20Z: mean cost 0.0625, bound 0.125, "
        "limit 0.1, delta 0.025, 60 prompts; 1 of 2 candidates spent\n");
    check_said("published   nothing\n");
    check_said("77 records, durable up to 75; start 2; newest checkpoint: version 9\n");
    check_said("noted       1 results that differ");
    assert_null(strstr(said, "equal to the bit"));
    check_said(
        "actor-0          actor    suspect      3.1 s      2 of 64     10 min       88\n");
}

static void json_is_what_was_answered(void **state)
{
    (void)state;
    server_start("HTTP/1.1 200 OK", status_body);
    assert_int_equal(status_of_server("/metrics?x", " --json"), 0);
    assert_string_equal(said, status_body);
}

static void names_cannot_write_to_the_terminal(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    status_screen_text(&out, "a\x1b[31m\n\x7f\xc2\x9b"
                             "b\xe2\x80\xae"
                             "c\xe2\x81\xa6\xc3\xa9\xe2\x82\xac");
    assert_string_equal(out.data, "a\\x1b[31m\\x0a\\x7f\\xc2\\x9b"
                                  "b\\xe2\\x80\\xae"
                                  "c\\xe2\\x81\\xa6\xc3\xa9\xe2\x82\xac");
    buf_release(&out);
    server_start(
        "HTTP/1.1 200 OK",
        "{\"run\":\"x\\u001b[2J\",\"waits_for\":\"\\r\",\"last\":{},"
        "\"peers\":[{\"name\":\"\\u001b]0;a\\u0007\",\"role\":\"\\u009b\",\"state\":7},"
        "1]}");
    assert_int_equal(status_of_server("", ""), 0);
    check_said("x\\x1b[2J: - of - steps");
    check_said("\\x1b]0;a\\x07");
    check_said("\\xc2\\x9b");
    for (const char *c = said; *c; c++)
        assert_true((unsigned char)*c >= 0x20 || *c == '\n');
}

static void what_is_no_coordinator_is_refused(void **state)
{
    (void)state;
    server_start("HTTP/1.1 200 OK", "<html>");
    assert_int_equal(status_of_server("", ""), 65);
    server_start("HTTP/1.1 200 OK", "[1]");
    assert_int_equal(status_of_server("", ""), 65);
    check_said("does not answer as a coordinator does");
    server_start("HTTP/1.1 404 Not Found", "{}");
    assert_int_equal(status_of_server("", ""), 69);
    check_said("/api/v1/status answered 404");
    check_line(cli_main, "rlhf status https://127.0.0.1:1", 64, "speaks http://");
    check_line(cli_main, "rlhf status http://127.0.0.1:1", 69, "nobody answers at 127.0.0.1:1");
    check_line(cli_main, "rlhf status /nonexistent", 69, "/nonexistent/ledger.sqlite");
    check_line(cli_main, "rlhf status", 64, "an argument is missing");
}

/* That it ends is the test. */
static void a_server_that_says_nothing_is_left(void **state)
{
    (void)state;
    server_start("", "");
    assert_int_equal(status_of_server("", ""), 69);
    check_said("nobody answers");
}

/* --- a run's directory -------------------------------------------------------------------- */

static void ignore_durable(void *ctx, uint64_t seq)
{
    (void)ctx, (void)seq;
}

static void ignore_failed(void *ctx, const struct err *err)
{
    (void)ctx, (void)err;
}

static void write_ledger(uint64_t steps)
{
    static const struct ledger_ops ops = {.durable = ignore_durable, .failed = ignore_failed};
    struct ledger *ledger = NULL;
    check_ok(ledger_open(&ledger, dir, &config_hash, &err));
    check_ok(ledger_start(ledger, &ops, &err));
    struct record record = {.kind = RECORD_EPOCH, .seq = 1, .wall_ms = 1000, .epoch = 1};
    check_ok(ledger_append(ledger, &record, &err));
    for (uint64_t s = 0; s < steps; s++) {
        const struct record_step step = {.step = s,
                                         .version = s + 1,
                                         .trained = 4,
                                         .checkpoint_version = s,
                                         .reward_raw_mean = (double)s + 0.5,
                                         .kl_mean = 2.25,
                                         .controller_n = 1};
        record = (struct record){
            .kind = RECORD_STEP, .seq = 2 + s, .wall_ms = 86400000 * s, .step = &step};
        check_ok(ledger_append(ledger, &record, &err));
    }
    check_ok(ledger_close(ledger, &err));
}

static void write_address(const char *address)
{
    char path[FILE_PATH_MAX], text[64];
    check_ok(file_join(path, dir, "http", &err));
    snprintf(text, sizeof text, "%s:%u\n", address, server.port);
    check_ok(file_write(path, text, strlen(text), &err));
}

static int status_of_dir(const char *options)
{
    char line[256];
    snprintf(line, sizeof line, "rlhf status %s%s", dir, options);
    return run_line(cli_main, line);
}

static void a_run_without_a_coordinator_is_told_from_its_ledger(void **state)
{
    (void)state;
    write_ledger(0);
    assert_int_equal(status_of_dir(""), 69);
    check_said("no step yet");
    check_said("/http is not there");
    assert_int_equal(file_remove_tree(dir, NULL), ERR_OK);
    write_ledger(3);
    server.port = 1;
    write_address("127.0.0.1");
    assert_int_equal(status_of_dir(""), 69);
    check_said("the ledger's last step is 2, trained 1970-01-03T00:00:00Z: reward raw 2.5");
    check_said("newest checkpoint: version 2\n");
    check_said("nobody answers at 127.0.0.1:1");
    const struct gate_record nsf = {
        .decision = GATE_RECORD_NSF, .version = 2, .why = "why not"};
    check_ok(gate_record_append(dir, &nsf, &err));
    assert_int_equal(status_of_dir(""), 69);
    check_said(
        "\ngate      version 2: NSF at 1970-01-01T00:00:00Z: why not; 0 of 0 candidates");
    assert_int_equal(status_of_dir(" --json"), 69);
    check_said("{\"live\": false, \"trained\": 3, \"epoch\": 1, \"ledger_records\": 4,");
    check_said("\"step\": 2, \"at\": \"1970-01-03T00:00:00Z\", \"reward_raw_mean\": 2.5");
    check_said("\"gate\": {\"last\": {\"at_ms\": 0, \"decision\": \"NSF\"");
}

static void a_runs_coordinator_is_found_and_no_other_taken_for_it(void **state)
{
    (void)state;
    char body[4096], hex[HASH_HEX_BYTES];
    write_ledger(1);
    hash_hex(&config_hash, hex);
    static const char *const addresses[] = {"127.0.0.1", "0.0.0.0", ""};
    for (size_t i = 0; i < COUNT(addresses); i++) {
        snprintf(body, sizeof body, "{\"config_hash\":\"%s\",%s", hex, status_body + 1);
        server_start("HTTP/1.1 200 OK", body);
        write_address(addresses[i]);
        assert_int_equal(status_of_dir(""), 0);
        server_end();
        check_said("demo: 10 of 40 steps");
    }
    hex[5] = hex[5] == 'a' ? 'b' : 'a';
    snprintf(body, sizeof body, "{\"config_hash\":\"%s\",%s", hex, status_body + 1);
    server_start("HTTP/1.1 200 OK", body);
    write_address("127.0.0.1");
    assert_int_equal(status_of_dir(""), 69);
    server_end();
    check_said("another run answers at 127.0.0.1:");
    check_said("the ledger's last step is 0");
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_cli_status.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

#define dir_test(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_answers_is_shown),
        cmocka_unit_test(json_is_what_was_answered),
        cmocka_unit_test(names_cannot_write_to_the_terminal),
        cmocka_unit_test(what_is_no_coordinator_is_refused),
        cmocka_unit_test(a_server_that_says_nothing_is_left),
        dir_test(a_run_without_a_coordinator_is_told_from_its_ledger),
        dir_test(a_runs_coordinator_is_found_and_no_other_taken_for_it),
    };
    return cmocka_run_group_tests_name("cli/status", tests, NULL, NULL);
}
