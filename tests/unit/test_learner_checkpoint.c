/*
 * test_learner_checkpoint.c -- leases in, results out, and what a crash leaves behind.
 *
 * Oracle: a learner that was never interrupted.  One that comes back from a checkpoint must
 * send the same hashes for the same steps; a file damaged by the test must not be believed.
 */
#include <unistd.h>

#include "learner/checkpoint.h"
#include "node/weights.h"
#include "tests/unit/learner_scene.h"

#define LONG_MS 60000

static const struct weights_patience long_patience = {LONG_MS, LONG_MS, NULL, NULL};

static const char *run_path(const char *name)
{
    static char path[FILE_PATH_MAX];
    snprintf(path, sizeof path, "%s/run/%s", bench.dir, name);
    return path;
}

/* Steps first .. end-1, one lease each; a checkpoint where the version is even. */
static void run(struct learner *learner, uint64_t first, uint64_t end)
{
    struct message leases[BENCH_SENT] = {0};
    for (uint64_t s = first; s < end; s++) {
        leases[s - first] = bench_step(&bench, s);
        leases[s - first].checkpoint = (s + 1) % 2 == 0;
    }
    check_ok(bench_compute(learner, leases, (size_t)(end - first), &err));
    assert_int_equal(bench_sent_n, end - first);
    for (uint64_t s = first; s < end; s++) {
        const struct bench_sent *sent = &bench_sent[s - first];
        if (sent->type != MESSAGE_TRAIN_RESULT)
            fail_msg("step %llu: %s", (unsigned long long)s, sent->text);
        assert_int_equal(sent->step, s);
        assert_int_equal(sent->version, s + 1);
    }
    assert_int_equal(bench_version, end);
}

/* Change a byte in the middle of a file of a checkpoint. */
static void damage(const char *name)
{
    FILE *file = fopen(run_path(name), "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 4000, SEEK_SET), 0);
    const int byte = fgetc(file);
    assert_int_equal(fseek(file, 4000, SEEK_SET), 0);
    assert_int_not_equal(fputc(byte ^ 1, file), EOF);
    assert_int_equal(fclose(file), 0);
}

static void a_learner_that_comes_back_continues_bit_for_bit(void **state)
{
    (void)state;
    struct bench_sent whole[5];
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    run(learner, 0, 5);
    memcpy(whole, bench_sent, sizeof whole);
    learner_free(learner);
    assert_int_equal(whole[4].checkpoint, 4);

    learner = BENCH_LEARNER(&bench, NULL); /* from version 4 */
    assert_int_equal(learner->version, 4);
    assert_memory_equal(&learner->weights_hash, &whole[3].hash, sizeof(struct hash));
    run(learner, 4, 5);
    assert_memory_equal(&bench_sent[0].hash, &whole[4].hash, sizeof(struct hash));
    assert_int_equal(bench_sent[0].stats_n, whole[4].stats_n);
    for (uint32_t i = 0; i < whole[4].stats_n; i++)
        assert_true(bench_sent[0].stats[i].value == whole[4].stats[i].value);
    learner_free(learner);
}

/* It may be asked again for the step that led to its checkpoint: the result was lost. */
static void what_a_step_told_comes_back_with_its_checkpoint(void **state)
{
    (void)state;
    struct bench_sent first;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    run(learner, 0, 2);
    first = bench_sent[1];
    learner_free(learner);

    learner = BENCH_LEARNER(&bench, NULL); /* from version 2 */
    assert_int_equal(learner->version, 2);
    run(learner, 1, 2);
    assert_memory_equal(&bench_sent[0].hash, &first.hash, sizeof(struct hash));
    assert_true(first.stats_n > 5 && bench_sent[0].stats_n == first.stats_n);
    for (uint32_t i = 0; i < first.stats_n; i++) {
        assert_string_equal(bench_sent[0].stats[i].name, first.stats[i].name);
        assert_true(bench_sent[0].stats[i].value == first.stats[i].value);
    }
    learner_free(learner);
}

static void a_step_without_slots_leaves_the_weights(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    run(learner, 0, 2);
    const struct hash before = bench_sent[1].hash;
    struct message lease = bench_step(&bench, 2);
    lease.items_n = 0;
    for (uint32_t f = 0; f < lease.frames_n; f++)
        lease.frame[f].size = 0;
    lease.checkpoint = true;
    check_ok(bench_compute(learner, &lease, 1, &err));
    assert_int_equal(bench_sent[0].type, MESSAGE_TRAIN_RESULT);
    assert_int_equal(bench_sent[0].version, 3);
    assert_memory_equal(&bench_sent[0].hash, &before, sizeof before);
    learner_free(learner);

    learner = BENCH_LEARNER(&bench, NULL);
    assert_int_equal(learner->version, 3);
    assert_memory_equal(&learner->weights_hash, &before, sizeof before);
    learner_free(learner);
}

/* A lease without slots, as of a step that goes back to version `base`. */
static struct message back_lease(uint64_t step, uint64_t base)
{
    struct message lease = bench_step(&bench, step);
    lease.items_n = 0;
    for (uint32_t f = 0; f < lease.frames_n; f++)
        lease.frame[f].size = 0;
    lease.restore = true;
    lease.base_version = lease.target_version = base;
    return lease;
}

/* What step `step` makes of the newest checkpoint, or of the starting models, in a learner that
 * went nowhere else. */
static struct hash trained_from(uint64_t base, uint64_t step, double lr_scale)
{
    struct message lease = bench_step(&bench, step);
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    assert_int_equal(learner->version, base);
    learner->version = step; /* the same state under another number */
    lease.lr_scale = lr_scale;
    check_ok(bench_compute(learner, &lease, 1, &err));
    learner_free(learner);
    return bench_sent[0].hash;
}

/* Weights, critics and optimizer: what is trained next shows them all. */
static void a_step_that_goes_back_restores_the_whole_state(void **state)
{
    (void)state;
    for (uint64_t base = 0; base <= 2; base += 2) {
        struct learner *learner = BENCH_LEARNER(&bench, NULL);
        struct hash want = learner->weights_hash;
        run(learner, 0, 4);
        if (base > 0)
            want = bench_sent[base - 1].hash;
        struct message leases[2] = {back_lease(4, base), bench_step(&bench, 5)};
        leases[1].lr_scale = 0.25;
        check_ok(bench_compute(learner, leases, 2, &err));
        const struct hash back = bench_sent[0].hash, next = bench_sent[1].hash;
        assert_memory_equal(&back, &want, sizeof want);
        assert_true(bench_stat(bench_sent[0].stats, bench_sent[0].stats_n, "updates") == 0);
        learner_free(learner);
        check_ok(
            file_remove_tree(run_path(base ? "checkpoints/v00000004" : "checkpoints"), &err));
        const struct hash direct = trained_from(base, 5, 0.25);
        assert_memory_equal(&next, &direct, sizeof direct);
        const struct hash unscaled = trained_from(base, 5, 1.0);
        assert_memory_not_equal(&next, &unscaled, sizeof direct);
        check_ok(file_remove_tree(run_path("checkpoints"), &err));
    }
}

/* Damaged, another version's, gone: the sentence names it, and nothing has moved. */
static void a_checkpoint_that_cannot_be_gone_back_to_is_named(void **state)
{
    (void)state;
    static const char *const words[] = {"v00000002/policy.moments.f32 is not what",
                                        "v00000002/STATE.json is of version 4, not 2",
                                        "v00000002/MANIFEST.json"};
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    run(learner, 0, 4);
    const struct hash before = bench_sent[3].hash;
    for (size_t i = 0; i < COUNT(words); i++) {
        if (i == 0)
            damage("checkpoints/v00000002/policy.moments.f32");
        else
            check_ok(file_remove_tree(run_path("checkpoints/v00000002"), &err));
        if (i == 1) {
            char other[FILE_PATH_MAX];
            snprintf(other, sizeof other, "%s", run_path("checkpoints/v00000004"));
            assert_int_equal(rename(other, run_path("checkpoints/v00000002")), 0);
        }
        const struct message lease = back_lease(4, 2);
        struct err why = {0};
        assert_true(bench_compute(learner, &lease, 1, &why) != ERR_OK);
        assert_int_equal(bench_sent_n, 0);
        if (!strstr(why.text, words[i]) ||
            !strstr(why.text, "step 4: cannot go back to version 2: "))
            fail_msg("it said: %s", why.text);
        assert_int_equal(learner->below, 2);
        learner->below = 0;
        assert_memory_equal(&learner->weights_hash, &before, sizeof before);
        assert_int_equal(learner->version, 4);
    }
    learner_free(learner);
}

/* From a version before it the learner makes the checkpoint anew, whatever newer ones there are,
 * and then the step goes back to what it was. */
static void a_learner_comes_again_to_what_it_cannot_go_back_to(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    run(learner, 0, 4);
    const struct hash want = bench_sent[1].hash;
    learner_free(learner);
    damage("checkpoints/v00000002/policy.moments.f32");
    bench.below = 2;
    learner = BENCH_LEARNER(&bench, NULL);
    bench.below = 0;
    assert_int_equal(learner->version, 0);
    run(learner, 0, 4);
    const struct message lease = back_lease(4, 2);
    check_ok(bench_compute(learner, &lease, 1, &err));
    assert_int_equal(bench_sent[0].type, MESSAGE_TRAIN_RESULT);
    assert_memory_equal(&bench_sent[0].hash, &want, sizeof want);
    learner_free(learner);
}

static void a_learner_may_be_told_to_begin_before_a_checkpoint(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    run(learner, 0, 4);
    learner_free(learner);
    for (uint64_t below = 3; below <= 5; below++) {
        bench.below = below;
        learner = BENCH_LEARNER(&bench, NULL);
        bench.below = 0;
        assert_int_equal(learner->version, below > 4 ? 4 : 2);
        learner_free(learner);
    }
}

static void what_rollbacks_may_need_is_kept(void **state)
{
    (void)state;
    static const uint64_t kept[] = {3, 4, 8, 10}; /* base, target, a later one, the newest */
    struct learner *learner =
        BENCH_LEARNER(&bench, "breaker.limits.0.signal=kl", "breaker.limits.0.high=9",
                      "breaker.limits.0.outcome=rollback", "breaker.restore_every=4");
    bench.config.checkpoint_keep = 1;
    struct message leases[10] = {0};
    for (uint64_t s = 0; s < 10; s++) {
        leases[s] = bench_step(&bench, s);
        leases[s].checkpoint = true;
        leases[s].base_version = s >= 3 ? 3 : 0;
        leases[s].target_version = s >= 4 ? 4 : 0;
    }
    check_ok(bench_compute(learner, leases, 10, &err));
    uint32_t n = 0;
    for (uint64_t v = 1; v <= 10; v++) {
        char name[64];
        snprintf(name, sizeof name, "checkpoints/v%08llu", (unsigned long long)v);
        const bool wanted = n < COUNT(kept) && v == kept[n];
        n += wanted;
        if (file_exists(run_path(name)) != wanted)
            fail_msg("version %llu is %s", (unsigned long long)v, wanted ? "gone" : "there");
    }
    learner_free(learner);
}

static void the_versions_actors_may_ask_for_come_back_too(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, "pipeline.lag=2");
    const size_t bytes = model_bytes(learner->policy.model);
    float *w[5], *got = malloc(bytes);
    assert_non_null(got);
    for (uint64_t v = 1; v <= 4; v++) {
        run(learner, v - 1, v);
        w[v] = malloc(bytes);
        assert_non_null(w[v]);
        memcpy(w[v], learner->policy.model->w, bytes);
    }
    learner_free(learner);

    learner = BENCH_LEARNER(&bench, "pipeline.lag=2");
    assert_int_equal(learner->version, 4);
    for (uint64_t v = 4; v >= 2; v--) {
        assert_int_equal(learner->history[4 - v].version, v);
        assert_memory_equal(learner->history[4 - v].w, w[v], bytes);
        check_ok(weights_pull(bench.context, weights_server_endpoint(learner->server), v, got,
                              bytes, NULL, &long_patience, &err));
        assert_memory_equal(got, w[v], bytes);
    }
    learner_free(learner);
    for (uint64_t v = 1; v <= 4; v++)
        free(w[v]);
    free(got);
}

/* --- what KL is measured from -------------------------------------------------------------- */

/* Whether it says that it has this version; then *got is that. */
static bool serves(const struct learner *learner, uint64_t version, float *got)
{
    const char *endpoint = weights_server_endpoint(learner->server);
    const struct message ask = {.type = MESSAGE_WEIGHTS_ASK, .version = version};
    struct wire_socket *socket;
    struct wire_peer peer;
    struct message m;
    check_ok(wire_socket_connect(&socket, bench.context, endpoint, WIRE_LIMITS_BULK, &err));
    while (wire_socket_send(socket, (struct wire_peer){0}, &ask, NULL) != WIRE_SEND_OK)
        wire_socket_wait(socket, 1); /* not connected yet */
    assert_true(wire_socket_wait(socket, LONG_MS));
    assert_int_equal(wire_socket_recv(socket, &peer, &m, NULL), WIRE_RECV_MESSAGE);
    const bool held = m.bytes > 0;
    message_release(&m);
    wire_socket_close(socket, 0);
    if (held)
        check_ok(weights_pull(bench.context, endpoint, version, got,
                              model_bytes(learner->policy.model), NULL, &long_patience, &err));
    return held;
}

/* Version 3 is served while what it came to be the reference of lasts, far behind the history, and
 * by a learner that comes back too. */
static void a_reference_is_served_as_long_as_something_is_measured_from_it(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, "kl.reference_every=3");
    const size_t bytes = model_bytes(learner->policy.model);
    float *w = malloc(bytes), *got = malloc(bytes);
    assert_true(w && got);
    run(learner, 0, 3);
    memcpy(w, learner->policy.model->w, bytes);
    run(learner, 3, 6);
    learner_free(learner);
    for (int again = 0; again < 2; again++) {
        learner = BENCH_LEARNER(&bench, "kl.reference_every=3");
        assert_int_equal(learner->version, 6);
        assert_int_equal(learner->history[0].kl_reference, 6);
        learner_free(learner);
    }
    check_ok(file_remove_tree(run_path("checkpoints/v00000006"), &err));
    learner = BENCH_LEARNER(&bench, "kl.reference_every=3");
    assert_int_equal(learner->version, 4);
    assert_int_equal(learner->history[0].kl_reference, 3);
    assert_true(serves(learner, 3, got));
    assert_memory_equal(got, w, bytes);
    run(learner, 4, 6);
    assert_true(serves(learner, 6, got));
    const bool lag = learner->history_n > 1;
    run(learner, 6, 9);
    assert_true(serves(learner, 6, got) == lag); /* version 8's; of 9 it is 9 */
    assert_false(serves(learner, 3, got));
    learner_free(learner);
    free(w);
    free(got);
}

/* A step that goes back to version 2 goes back to what that is measured from: 0; to 4: 3. */
static void a_step_that_goes_back_takes_the_reference_along(void **state)
{
    (void)state;
    for (uint64_t base = 0; base <= 4; base += 2) {
        struct learner *learner = BENCH_LEARNER(&bench, "kl.reference_every=3");
        const uint64_t want = base > 3 ? 3 : 0;
        const size_t bytes = model_bytes(learner->policy.model);
        float *w = malloc(bytes), *got = malloc(bytes);
        assert_true(w && got);
        bench.config.checkpoint_keep = 9;
        run(learner, 0, 3);
        memcpy(w, learner->policy.model->w, bytes);
        run(learner, 3, 7);
        assert_int_equal(learner->history[0].kl_reference, 6);
        const struct message leases[2] = {back_lease(7, base), bench_step(&bench, 8)};
        check_ok(bench_compute(learner, leases, 1, &err));
        assert_int_equal(learner->history[0].kl_reference, want);
        assert_true(serves(learner, 3, got) == (want == 3));
        if (want == 3)
            assert_memory_equal(got, w, bytes);
        check_ok(bench_compute(learner, leases + 1, 1, &err));
        assert_int_equal(learner->history[0].kl_reference, 9);
        learner_free(learner);
        check_ok(file_remove_tree(run_path("checkpoints"), &err));
        free(w);
        free(got);
    }
}

static void a_checkpoint_without_its_reference_is_passed_over(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, "kl.reference_every=3");
    run(learner, 0, 4);
    learner_free(learner);
    damage("checkpoints/v00000004/kl-reference-v00000003.f32");
    learner = BENCH_LEARNER(&bench, "kl.reference_every=3");
    assert_int_equal(learner->version, 2);
    learner_free(learner);
}

static void a_damaged_checkpoint_is_passed_over(void **state)
{
    (void)state;
    static const char *const files[] = {
        "checkpoints/v00000004/critic.moments.f32",
        "checkpoints/v00000004/policy/model.safetensors",
        "checkpoints/v00000004/weights-v00000003.f32",
    };
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    run(learner, 0, 4);
    const struct hash want = learner->weights_hash;
    learner_free(learner);
    for (size_t i = 0; i < COUNT(files); i++) {
        damage(files[i]);
        learner = BENCH_LEARNER(&bench, NULL);
        assert_int_equal(learner->version, 2);
        assert_int_equal(learner->checkpoint, 2);
        run(learner, 2, 4); /* writes v4 again, in the place of the damaged one */
        assert_memory_equal(&learner->weights_hash, &want, sizeof want);
        assert_false(file_exists(run_path("checkpoints/.tmp-learner-0")));
        learner_free(learner);
    }
    learner = BENCH_LEARNER(&bench, NULL);
    assert_int_equal(learner->version, 4);
    learner_free(learner);

    assert_int_equal(unlink(run_path("checkpoints/v00000004/MANIFEST.json")), 0);
    learner = BENCH_LEARNER(&bench, NULL);
    assert_int_equal(learner->version, 2);
    learner_free(learner);

    damage("checkpoints/v00000002/policy.moments.f32");
    learner = BENCH_LEARNER(&bench, NULL); /* none is whole: as at the very beginning */
    assert_int_equal(learner->version, 0);
    assert_int_equal(learner->checkpoint, 0);
    run(learner, 0, 4);
    assert_memory_equal(&learner->weights_hash, &want, sizeof want);
    learner_free(learner);
}

/* The hash is right, the size beside it is not. */
static void a_manifest_that_contradicts_itself_is_not_believed(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    run(learner, 0, 4);
    learner_free(learner);
    struct buf text;
    buf_init(&text, 1 << 20);
    check_ok(file_read(run_path("checkpoints/v00000004/MANIFEST.json"), &text, &err));
    char *bytes = strstr(text.data, "\"bytes\": ");
    assert_non_null(bytes);
    bytes[strlen("\"bytes\": ")] ^= 1; /* another digit */
    check_ok(
        file_write(run_path("checkpoints/v00000004/MANIFEST.json"), text.data, text.len, &err));
    buf_release(&text);
    learner = BENCH_LEARNER(&bench, NULL);
    assert_int_equal(learner->version, 2);
    learner_free(learner);
}

static void a_checkpoint_just_written_is_not_the_one_removed(void **state)
{
    (void)state;
    /* v4 is damaged and a version below it is written: keeping one means keeping that. */
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    run(learner, 0, 4);
    learner_free(learner);
    damage("checkpoints/v00000004/policy.moments.f32");
    learner = BENCH_LEARNER(&bench, "checkpoint.keep=2");
    learner->version = 3; /* as if the coordinator had asked for one here */
    bench.config.checkpoint_keep = 1;
    check_ok(checkpoint_write(learner, &err));
    assert_true(file_exists(run_path("checkpoints/v00000003/MANIFEST.json")));
    learner_free(learner);
}

static void old_checkpoints_go_and_remains_too(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    run(learner, 0, 8);
    learner_free(learner);
    assert_false(file_exists(run_path("checkpoints/v00000002")));
    assert_false(file_exists(run_path("checkpoints/v00000004")));
    assert_true(file_exists(run_path("checkpoints/v00000006/MANIFEST.json")));
    assert_true(file_exists(run_path("checkpoints/v00000008/MANIFEST.json")));
    assert_false(file_exists(run_path("checkpoints/.tmp-learner-0")));

    check_ok(file_make_dir(run_path("checkpoints/.tmp-learner-0"), &err));
    check_ok(file_write(run_path("checkpoints/.tmp-learner-0/half"), "x", 1, &err));
    learner = BENCH_LEARNER(&bench, NULL);
    assert_int_equal(learner->version, 8);
    assert_false(file_exists(run_path("checkpoints/.tmp-learner-0")));
    learner_free(learner);
}

static void another_runs_checkpoint_is_refused(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    run(learner, 0, 2);
    learner_free(learner);
    check_fails(bench_try(&bench, (const char *const[4]){"ppo.lambda=0.8"}, &learner, &err),
                ERR_USAGE, "another config");
    learner = BENCH_LEARNER(&bench, "workers.learner_threads=2"); /* decides no bit */
    assert_int_equal(learner->version, 2);
    learner_free(learner);
}

static void the_last_step_leaves_a_model_to_use(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    struct message lease = bench_step(&bench, 0);
    lease.last = true;
    check_ok(bench_compute(learner, &lease, 1, &err));
    assert_int_equal(bench_sent[0].checkpoint, 1);
    struct err why = {0};
    struct model *final = model_load(run_path("final"), &why);
    if (!final)
        fail_msg("%s", why.text);
    assert_memory_equal(final->w, learner->policy.model->w, model_bytes(final));
    model_free(final);
    learner_free(learner);
}

/* --- leases ------------------------------------------------------------------------------ */

static void the_last_steps_result_is_told_again_from_memory(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    struct message leases[4] = {bench_step(&bench, 0), bench_step(&bench, 1),
                                bench_step(&bench, 1), bench_step(&bench, 0)};
    check_ok(bench_compute(learner, leases, 4, &err));
    assert_int_equal(bench_sent_n, 4);
    assert_int_equal(bench_sent[2].type, MESSAGE_TRAIN_RESULT);
    assert_int_equal(bench_sent[2].step, 1);
    assert_int_equal(bench_sent[2].version, 2);
    assert_memory_equal(&bench_sent[2].hash, &bench_sent[1].hash, sizeof(struct hash));
    assert_int_equal(bench_sent[2].stats_n, bench_sent[1].stats_n);
    assert_memory_equal(bench_sent[2].stats, bench_sent[1].stats,
                        bench_sent[1].stats_n * sizeof(struct wire_stat));
    assert_int_equal(bench_sent[3].type, MESSAGE_LEASE_FAILED);
    assert_non_null(strstr(bench_sent[3].text, "step 0 cannot follow version 2"));
    learner_free(learner);
}

static void a_step_ahead_is_given_back(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, NULL);
    const struct message lease = bench_step(&bench, 1);
    check_ok(bench_compute(learner, &lease, 1, &err));
    assert_int_equal(bench_sent[0].type, MESSAGE_LEASE_FAILED);
    assert_int_equal(learner->version, 0);
    learner_free(learner);
}

static void a_gradient_that_is_not_finite_moves_nothing(void **state)
{
    (void)state;
    struct learner *learner = BENCH_LEARNER(&bench, "ppo.whiten=false", "ppo.minibatches=1",
                                            "ppo.aggregation=sequence_sum");
    /* Finite itself, as is every loss; what the network makes of it is not. */
    const struct hash before = learner->weights_hash;
    const size_t bytes = model_bytes(learner->policy.model);
    float *w = malloc(bytes);
    assert_non_null(w);
    memcpy(w, learner->policy.model->w, bytes);
    float *kept = golden_floats(bench.golden, "reward");
    for (uint32_t i = 0, last = 0; i < BENCH_ROWS; i++) {
        last += bench.items[i].response_tokens;
        bench.reward[last - 1] = 3e38f;
    }
    struct message lease = bench_step(&bench, 0);
    lease.checkpoint = true;
    check_ok(bench_compute(learner, &lease, 1, &err));
    assert_int_equal(bench_sent_n, 1);
    assert_int_equal(bench_sent[0].type, MESSAGE_LEASE_FAILED);
    assert_non_null(strstr(bench_sent[0].text, "finite"));
    assert_int_equal(learner->version, 0);
    assert_memory_equal(&learner->weights_hash, &before, sizeof before);
    assert_memory_equal(learner->policy.model->w, w, bytes);
    assert_int_equal(learner->policy.adamw.steps, 0);
    assert_false(file_exists(run_path("checkpoints")));

    memcpy(bench.reward, kept, bench.tokens * sizeof *kept); /* it can go on */
    free(kept);
    run(learner, 0, 1);
    learner_free(learner);
    free(w);
}

static void after_half_a_step_the_process_ends(void **state)
{
    (void)state;
    /* Whitened, the policy's part is tame; the critic's gradient overflows after it. */
    struct learner *learner = BENCH_LEARNER(&bench, "ppo.value_coef=20", "ppo.value_clip=0");
    bench.reward[4] = 1e38f;
    const struct message lease = bench_step(&bench, 0);
    check_fails(bench_compute(learner, &lease, 1, &err), ERR_VALUE,
                "the gradient of the critic is not finite");
    assert_int_equal(bench_sent[0].type, MESSAGE_LEASE_FAILED);
    assert_int_equal(learner->version, 0);
    learner_free(learner);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_learner_that_comes_back_continues_bit_for_bit),
        TEST(what_a_step_told_comes_back_with_its_checkpoint),
        TEST(a_step_without_slots_leaves_the_weights),
        TEST(a_step_that_goes_back_restores_the_whole_state),
        TEST(a_checkpoint_that_cannot_be_gone_back_to_is_named),
        TEST(a_learner_comes_again_to_what_it_cannot_go_back_to),
        TEST(a_learner_may_be_told_to_begin_before_a_checkpoint),
        TEST(what_rollbacks_may_need_is_kept),
        TEST(a_reference_is_served_as_long_as_something_is_measured_from_it),
        TEST(a_step_that_goes_back_takes_the_reference_along),
        TEST(a_checkpoint_without_its_reference_is_passed_over),
        TEST(the_versions_actors_may_ask_for_come_back_too),
        TEST(a_damaged_checkpoint_is_passed_over),
        TEST(a_manifest_that_contradicts_itself_is_not_believed),
        TEST(a_checkpoint_just_written_is_not_the_one_removed),
        TEST(old_checkpoints_go_and_remains_too),
        TEST(another_runs_checkpoint_is_refused),
        TEST(the_last_step_leaves_a_model_to_use),
        TEST(the_last_steps_result_is_told_again_from_memory),
        TEST(a_step_ahead_is_given_back),
        TEST(a_gradient_that_is_not_finite_moves_nothing),
        TEST(after_half_a_step_the_process_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
