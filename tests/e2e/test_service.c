/*
 * test_service.c -- a run whose reward service is not there for a while.
 *
 * Oracle: the final weights of a run whose service, of the same opinion, was there all the time.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <microhttpd.h>
#include <stdatomic.h>

#include "base/json.h"
#include "coordinator/core.h"
#include "tests/e2e/crew.h"

#define BODY_MAX ((size_t)1 << 22)

static uint16_t port;              /* where the service is, when it is there */
static atomic_bool broken;         /* it answers 500 */
static char there[HASH_HEX_BYTES]; /* the weights of a run whose service always was */

/* A response of more bytes is worth more, up to six. */
static void service_answer(const struct buf *body, struct buf *reply)
{
    json_t *asked = json_loadb(body->data, body->len, JSON_ALLOW_NUL, NULL); /* of random ids */
    const json_t *queries = json_object_get(asked, "query");
    buf_puts(reply, "{\"rewards\": [");
    for (size_t i = 0; i < json_array_size(queries); i++)
        buf_printf(reply, "%s%zu", i ? ", " : "",
                   json_string_length(json_array_get(queries, i)) % 7);
    buf_puts(reply, "]}");
    json_decref(asked);
}

static enum MHD_Result service_on_request(void *ctx, struct MHD_Connection *connection,
                                          const char *url, const char *method,
                                          const char *version, const char *data, size_t *size,
                                          void **state)
{
    (void)ctx, (void)url, (void)method, (void)version;
    struct buf *body = *state;
    if (!body) {
        body = *state = calloc(1, sizeof *body);
        buf_init(body, BODY_MAX);
        return MHD_YES;
    }
    if (*size > 0) {
        buf_append(body, data, *size);
        *size = 0;
        return MHD_YES;
    }
    struct buf reply;
    buf_init(&reply, BODY_MAX);
    service_answer(body, &reply);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(reply.len, reply.data, MHD_RESPMEM_MUST_COPY);
    const enum MHD_Result queued = MHD_queue_response(
        connection, broken ? MHD_HTTP_INTERNAL_SERVER_ERROR : MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    buf_release(&reply);
    buf_release(body);
    free(body);
    return queued;
}

static struct MHD_Daemon *service_start(void)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct MHD_Daemon *service =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, service_on_request,
                         NULL, MHD_OPTION_SOCK_ADDR, (const struct sockaddr *)&address,
                         MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_END);
    assert_non_null(service);
    return service;
}

static pid_t start_run(const char *name)
{
    char line[512];
    snprintf(line, sizeof line,
             "rlhf run @/run.yaml run.dir=@/%s reward.scorers.0.kind=http --quiet "
             "reward.scorers.0.url=http://127.0.0.1:%u/get_reward",
             name, (unsigned)port);
    return scene_start(line);
}

/* Until the coordinator has been given so many leases back. */
static void wait_for_leases(const char *run, size_t want)
{
    char path[FILE_PATH_MAX], name[FILE_PATH_MAX];
    snprintf(name, sizeof name, "%s/run.log", run);
    scene_path(path, name);
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    for (size_t seen = 0; seen < want; scene_nap(20)) {
        struct buf text;
        buf_init(&text, (size_t)1 << 24);
        if (file_read(path, &text, NULL) == ERR_OK) {
            buf_puts(&text, "");
            seen = 0;
            for (const char *at = text.data; (at = strstr(at, "LEASE-FAILED")); at++)
                seen++;
        }
        buf_release(&text);
        assert_true(clock_mono_ms() < deadline);
    }
}

/* More often than a response is scored before it is dropped, and all of its step with it. */
static void a_run_waits_for_its_service_and_drops_nothing(void **state)
{
    (void)state;
    char away[HASH_HEX_BYTES];
    const pid_t run = start_run("away");
    wait_for_leases("away", CORE_SCORE_TRIES_MAX + 1);
    struct MHD_Daemon *service = service_start();
    assert_int_equal(scene_wait(run), 0);
    MHD_stop_daemon(service);
    scene_sha("away/final/model.safetensors", away);
    assert_string_equal(away, there);
}

/* It is there, and says 500 to everything. */
static void a_run_waits_for_its_service_that_breaks_on_everything(void **state)
{
    (void)state;
    char again[HASH_HEX_BYTES];
    struct MHD_Daemon *service = service_start();
    atomic_store(&broken, true);
    const pid_t run = start_run("broken");
    wait_for_leases("broken", CORE_SCORE_TRIES_MAX + 1);
    atomic_store(&broken, false);
    assert_int_equal(scene_wait(run), 0);
    MHD_stop_daemon(service);
    scene_sha("broken/final/model.safetensors", again);
    assert_string_equal(again, there);
}

static int make_scene(void **state)
{
    (void)state;
    scene_make();
    port = (uint16_t)crew_port();
    struct MHD_Daemon *service = service_start();
    assert_int_equal(scene_wait(start_run("there")), 0);
    scene_sha("there/final/model.safetensors", there);
    MHD_stop_daemon(service);
    return 0;
}

static int remove_scene(void **state)
{
    (void)state;
    scene_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_waits_for_its_service_and_drops_nothing),
        cmocka_unit_test(a_run_waits_for_its_service_that_breaks_on_everything),
    };
    return cmocka_run_group_tests(tests, make_scene, remove_scene);
}
