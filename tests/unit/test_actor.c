/*
 * test_actor.c -- an actor and a learner whose weights cannot be had.
 *
 * The oracle is actor.h.  Its worker's session is played here: leases come from a queue, what is
 * sent is kept.  A learner that was stopped is a socket that is bound and never read: it takes
 * connections, and nothing comes back.
 */
#include "actor/actor.h"
#include "base/clock.h"
#include "base/file.h"
#include "engine/model.h"
#include "node/weights_tally.h"
#include "tests/unit/golden.h"

/* timeouts.dead_ms, where a learner was stopped and where one is to answer. */
#define STOPPED_MS 300u
#define ALIVE_MS   60000u

struct sent {
    enum message_type type;
    uint64_t lease, version;
    bool untried;
    char text[WIRE_TEXT_MAX];
    float logp; /* GENERATE_RESULT: of the first token */
};

static struct sent sent[8];
static size_t sent_n;
static struct message queue[8];
static size_t queue_at, queue_n;
static struct weights_tally tally;

/* --- the worker -------------------------------------------------------------------------- */

void worker_progress(struct worker *worker)
{
    (void)worker;
}

void worker_set_held(struct worker *worker, uint32_t items)
{
    (void)worker;
    (void)items;
}

void worker_note_fetch(struct worker *worker, const struct weights_view *view, size_t size,
                       bool is_whole)
{
    (void)worker;
    weights_tally_note(&tally, view, size, is_whole);
}

/* Once every lease was answered. */
bool worker_stopping(struct worker *worker)
{
    (void)worker;
    return queue_at == queue_n && sent_n >= queue_n;
}

bool worker_poll_lease(struct worker *worker, struct message *lease)
{
    (void)worker;
    if (queue_at == queue_n)
        return false;
    *lease = queue[queue_at++];
    return true;
}

bool worker_wait_lease(struct worker *worker, struct message *lease, int64_t timeout_ms)
{
    (void)timeout_ms;
    return worker_poll_lease(worker, lease);
}

enum err_code worker_send(struct worker *worker, const struct message *m, struct err *err)
{
    (void)worker;
    (void)err;
    assert_in_range(sent_n, 0, COUNT(sent) - 1);
    struct sent *kept = &sent[sent_n++];
    *kept = (struct sent){
        .type = m->type, .lease = m->lease, .version = m->version, .untried = m->untried};
    memcpy(kept->text, m->text, sizeof kept->text);
    if (m->type == MESSAGE_GENERATE_RESULT)
        memcpy(&kept->logp, m->frame[1].data, sizeof kept->logp);
    return ERR_OK;
}

static enum err_code send_failed(const struct message *lease, const char *reason, bool untried)
{
    struct message m = {
        .type = MESSAGE_LEASE_FAILED, .lease = lease->lease, .untried = untried};
    message_set_text(&m, reason);
    return worker_send(NULL, &m, NULL);
}

enum err_code worker_send_failed(struct worker *worker, const struct message *lease,
                                 const char *reason, struct err *err)
{
    (void)worker;
    (void)err;
    return send_failed(lease, reason, false);
}

enum err_code worker_send_untried(struct worker *worker, const struct message *lease,
                                  const char *reason, struct err *err)
{
    (void)worker;
    (void)err;
    return send_failed(lease, reason, true);
}

/* --- an actor and its leases ------------------------------------------------------------- */

struct rig {
    struct run_config config;
    struct wire_context *context;
    struct wire_socket *stopped;
    struct actor *actor;
    char dir[64], endpoint[96];
};

static void rig_open(struct rig *rig, uint32_t dead_ms)
{
    golden_scratch(rig->dir);
    rig->config = (struct run_config){.prompt_tokens_max = 8,
                                      .max_new_tokens = 4,
                                      .actor_threads = 1,
                                      .actor_rows = 2,
                                      .temperature = 1.0,
                                      .top_p = 1.0,
                                      .dead_ms = dead_ms};
    snprintf(rig->config.policy, sizeof rig->config.policy, "%s",
             TEST_SOURCE_DIR "/tests/fixture/model");
    snprintf(rig->endpoint, sizeof rig->endpoint, "ipc://%s/stopped", rig->dir);
    check_ok(wire_context_new(&rig->context, &err));
    check_ok(
        wire_socket_bind(&rig->stopped, rig->context, rig->endpoint, WIRE_LIMITS_BULK, &err));
    check_ok(actor_new(&rig->actor, &rig->config, rig->context, &err));
    sent_n = queue_at = queue_n = 0;
    tally = (struct weights_tally){0};
}

static void rig_close(struct rig *rig)
{
    actor_free(rig->actor);
    wire_socket_close(rig->stopped, 0);
    wire_context_free(rig->context);
    golden_scratch_remove(rig->dir);
}

/* One slot of version `version`, whose weights are at `endpoint`. */
static void rig_lease(uint64_t lease, uint64_t version, const char *endpoint)
{
    static const int32_t ids[] = {1, 2};
    static struct wire_item item = {.kind = WIRE_WORK_ROLLOUT, .a = 1, .prompt_tokens = 2};
    struct message m = {.type = MESSAGE_GENERATE_LEASE,
                        .lease = lease,
                        .version = version,
                        .items = &item,
                        .items_n = 1,
                        .frames_n = 1,
                        .frame = {{ids, sizeof ids}}};
    message_set_text(&m, endpoint);
    queue[queue_n++] = m;
}

/* --- tests ------------------------------------------------------------------------------- */

/* Four leases wait for a learner that was stopped, of three versions; a fifth needs no weights
 * of it.  One patience for all of them: each on its own would make four. */
static void actor_waits_once_for_a_learner_that_was_stopped(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, STOPPED_MS);
    rig_lease(1, 5, rig.endpoint);
    rig_lease(2, 5, rig.endpoint);
    rig_lease(3, 6, rig.endpoint);
    rig_lease(4, 0, rig.endpoint);
    rig_lease(5, 7, rig.endpoint);
    const uint64_t from_ms = clock_mono_ms();
    check_ok(actor_compute(NULL, rig.actor, &err));
    assert_in_range(clock_mono_ms() - from_ms, STOPPED_MS, 20000);
    assert_int_equal(sent_n, 5);
    const uint64_t back[] = {1, 2, 3, 5};
    for (size_t i = 0; i < COUNT(back); i++) {
        assert_int_equal(sent[i].type, MESSAGE_LEASE_FAILED);
        assert_int_equal(sent[i].lease, back[i]);
        assert_true(sent[i].untried);
        assert_non_null(strstr(sent[i].text, "version 5 from ")); /* the first's reason */
        assert_non_null(strstr(sent[i].text, rig.endpoint));
        assert_non_null(strstr(sent[i].text, "no answer for 300 ms"));
    }
    assert_int_equal(sent[4].type, MESSAGE_GENERATE_RESULT);
    assert_int_equal(sent[4].lease, 4);
    assert_int_equal(tally.sum.fetches, 0);
    rig_close(&rig);
}

/* The others of that version go back; what waits for another version is asked for. */
static void actor_gives_back_what_waits_for_a_version_that_is_not_held(void **state)
{
    (void)state;
    struct rig rig;
    struct weights_server *server;
    char endpoint[96];
    rig_open(&rig, ALIVE_MS);
    snprintf(endpoint, sizeof endpoint, "ipc://%s/alive", rig.dir);
    struct err why = {0};
    struct model *model = model_load(rig.config.policy, &why);
    assert_non_null(model);
    check_ok(weights_server_open(&server, rig.context, endpoint, 2, &err));
    check_ok(weights_server_publish(server, 6, model->w, model_bytes(model), NULL, &err));
    rig_lease(1, 5, endpoint);
    rig_lease(2, 6, endpoint);
    rig_lease(3, 5, endpoint);
    check_ok(actor_compute(NULL, rig.actor, &err));
    assert_int_equal(sent_n, 3);
    assert_int_equal(sent[0].lease, 1);
    assert_int_equal(sent[1].lease, 3);
    assert_true(sent[0].untried && sent[1].untried);
    assert_non_null(strstr(sent[1].text, "it is not held there"));
    assert_int_equal(sent[2].type, MESSAGE_GENERATE_RESULT);
    assert_int_equal(sent[2].lease, 2);
    assert_int_equal(tally.sum.fetches, 1);
    assert_int_equal(tally.sum.mapped_bytes, model_bytes(model));
    weights_server_close(server);
    model_free(model);
    rig_close(&rig);
}

/* Version 6 is other weights: from this server's memory, from another's in chunks, and between
 * them version 0, which must be as it was. */
static void actor_generates_with_the_weights_of_the_lease(void **state)
{
    (void)state;
    struct rig rig;
    struct weights_server *server[2];
    char endpoint[2][96];
    struct err why = {0};
    rig_open(&rig, ALIVE_MS);
    struct model *model = model_load(rig.config.policy, &why);
    assert_non_null(model);
    model_init_random(model, 9, 0.3f);
    for (size_t i = 0; i < 2; i++) {
        snprintf(endpoint[i], sizeof endpoint[i], "ipc://%s/alive-%zu", rig.dir, i);
        check_ok(weights_server_open(&server[i], rig.context, endpoint[i], 2, &err));
        weights_server_share(server[i], i == 0);
        for (uint64_t version = 6; version <= 7; version++)
            check_ok(weights_server_publish(server[i], version, model->w, model_bytes(model),
                                            NULL, &err));
    }
    const struct {
        uint64_t version;
        size_t server;
    } leases[] = {{0, 0}, {6, 0}, {0, 0}, {7, 0}, {6, 1}, {0, 0}};
    for (size_t i = 0; i < COUNT(leases); i++)
        rig_lease(i + 1, leases[i].version, endpoint[leases[i].server]);
    check_ok(actor_compute(NULL, rig.actor, &err));
    assert_int_equal(sent_n, COUNT(leases));
    for (size_t i = 0; i < COUNT(leases); i++) {
        assert_int_equal(sent[i].type, MESSAGE_GENERATE_RESULT);
        assert_int_equal(sent[i].version, leases[i].version);
        const float want = sent[leases[i].version == 0 ? 0 : 1].logp;
        assert_memory_equal(&sent[i].logp, &want, sizeof want);
    }
    assert_true(sent[0].logp != sent[1].logp);
    assert_int_equal(tally.sum.fetches, 3);
    assert_int_equal(tally.sum.mapped_bytes, 2 * model_bytes(model));
    assert_int_equal(tally.sum.server_bytes, model_bytes(model));
    for (size_t i = 0; i < 2; i++)
        weights_server_close(server[i]);
    model_free(model);
    rig_close(&rig);
}

/* A reference response, which the policy of version 0 gives. */
static void rig_lease_reference(uint64_t lease)
{
    static struct wire_item item = {.kind = WIRE_WORK_REFERENCE, .a = 3, .prompt_tokens = 2};
    rig_lease(lease, 0, "");
    queue[queue_n - 1].items = &item;
}

/* Found in the store, it is a result before anything was generated: it must be told as of
 * version 0, though the lease behind it is of another and the weights are exchanged at once. */
static void actor_tells_the_version_of_a_reference_that_it_found(void **state)
{
    (void)state;
    struct rig rig;
    struct weights_server *server;
    struct err why = {0};
    char endpoint[96];
    rig_open(&rig, ALIVE_MS);
    snprintf(endpoint, sizeof endpoint, "ipc://%s/alive", rig.dir);
    check_ok(file_join(rig.config.reference_store, rig.dir, "references.sqlite", &err));
    struct model *model = model_load(rig.config.policy, &why);
    assert_non_null(model);
    check_ok(weights_server_open(&server, rig.context, endpoint, 2, &err));
    check_ok(weights_server_publish(server, 6, model->w, model_bytes(model), NULL, &err));
    for (int twice = 0; twice < 2; twice++) {
        actor_free(rig.actor);
        check_ok(actor_new(&rig.actor, &rig.config, rig.context, &err));
        sent_n = queue_at = queue_n = 0;
        rig_lease_reference(1);
        rig_lease(2, 6, endpoint);
        check_ok(actor_compute(NULL, rig.actor, &err));
        assert_int_equal(sent_n, 2);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(sent[i].type, MESSAGE_GENERATE_RESULT);
            assert_int_equal(sent[i].lease, i + 1);
            assert_int_equal(sent[i].version, i == 0 ? 0 : 6);
        }
    }
    weights_server_close(server);
    model_free(model);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(actor_waits_once_for_a_learner_that_was_stopped),
        cmocka_unit_test(actor_gives_back_what_waits_for_a_version_that_is_not_held),
        cmocka_unit_test(actor_generates_with_the_weights_of_the_lease),
        cmocka_unit_test(actor_tells_the_version_of_a_reference_that_it_found),
    };
    return cmocka_run_group_tests_name("actor", tests, NULL, NULL);
}
