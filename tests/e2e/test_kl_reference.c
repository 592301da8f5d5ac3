/*
 * test_kl_reference.c -- whole runs whose reference is renewed (kl.reference_every), disturbed
 * around the renewals.
 *
 * The oracle is the definition in control/kl_reference.h, held against the ledger: which version a
 * step was measured from, and that rollouts measured from the version that made them have a KL of
 * 0 to the bit.  And the promise of docs/ARCHITECTURE.md: the final weights are those of the
 * undisturbed run, whose hash is another than without renewals, so that the comparison can fail.
 */
#include "coordinator/ledger.h"
#include "tests/e2e/held.h"

#define STEPS_MAX 12

struct history {
    uint64_t steps;
    struct {
        uint64_t behaviour, reference, went_back;
        double kl, beta;
    } step[STEPS_MAX];
};

static int setup(void **state)
{
    (void)state;
    scene_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scene_remove();
    return 0;
}

static pid_t start(const char *name, const char *overrides)
{
    char line[1024];
    snprintf(line, sizeof line, "rlhf run @/run.yaml run.dir=@/%s %s", name, overrides);
    return scene_start(line);
}

static pid_t start_held(const char *name, const char *overrides)
{
    held_begin();
    const pid_t pid = start(name, overrides);
    held_end();
    return pid;
}

/* In the midst of the step behind these. */
static void slay_after(uint64_t steps, pid_t pid, const char *name, const char *words)
{
    char path[FILE_PATH_MAX];
    scene_path(path, name);
    held_go_to(pid, path, steps);
    held_go_on(path);
    held_kill(pid, path, words);
}

static void finish(const char *name, pid_t pid, char sha[HASH_HEX_BYTES])
{
    char final[128], path[FILE_PATH_MAX];
    scene_path(path, name);
    if (held_wait(pid, path) != 0) {
        scene_show("err");
        fail_msg("%s did not end well", name);
    }
    snprintf(final, sizeof final, "%s/final/model.safetensors", name);
    scene_sha(final, sha);
}

static enum err_code keep(void *ctx, const struct record *record, struct err *why)
{
    struct history *h = ctx;
    const struct record_step *step = record->step;
    (void)why;
    assert_true(step->step == h->steps && h->steps < STEPS_MAX);
    h->step[h->steps].behaviour = step->behaviour_version;
    h->step[h->steps].reference = step->kl_reference_version;
    h->step[h->steps].went_back = step->dropped[RECORD_REASON_QUARANTINED] > 0;
    h->step[h->steps].kl = step->kl_mean;
    h->step[h->steps++].beta = step->kl_coef_before;
    return ERR_OK;
}

static struct history read_history(const char *name)
{
    struct history h;
    struct ledger *ledger;
    char path[FILE_PATH_MAX];
    memset(&h, 0, sizeof h);
    scene_path(path, name);
    check_ok(ledger_open_read(&ledger, path, &err));
    check_ok(ledger_each_step(ledger, keep, &h, &err));
    check_ok(ledger_close(ledger, &err));
    return h;
}

/* Every third version; lag is 1. */
#define RENEWED "run.steps=10 kl.reference_every=3 kl.horizon=20 optimizer.lr=5.0e-3"

static void kl_is_measured_from_the_newest_renewal(void **state)
{
    (void)state;
    char sha[HASH_HEX_BYTES], other[HASH_HEX_BYTES];
    finish("plain", start("plain", RENEWED), sha);
    const struct history h = read_history("plain");
    assert_int_equal(h.steps, 10);
    for (uint64_t s = 0; s < h.steps; s++) {
        const uint64_t version = s > 1 ? s - 1 : 0;
        assert_int_equal(h.step[s].behaviour, version);
        assert_int_equal(h.step[s].reference, version / 3 * 3);
        if (version % 3 == 0)
            assert_true(h.step[s].kl == 0.0);
        else
            assert_true(fabs(h.step[s].kl) > 1e-6);
        if (version % 3 == 0 && version > 0)
            assert_true(h.step[s].beta == 0.1 && h.step[s - 1].beta != 0.1);
    }
    finish("never", start("never", RENEWED " kl.reference_every=0"), other);
    assert_string_not_equal(sha, other);
    const struct history never = read_history("never");
    assert_true(never.step[9].reference == 0 && never.step[9].kl != h.step[9].kl);
}

/* Each kind of process is killed when version 3 has come, and one step later. */
static void a_renewal_survives_whoever_is_killed(void **state)
{
    (void)state;
    static const char *const victims[] = {"--name learner-0", "rlhf-reward", "rlhf-coordinator",
                                          "rlhf-actor"};
    char want[HASH_HEX_BYTES], sha[HASH_HEX_BYTES];
    finish("calm", start("calm", RENEWED), want);
    const struct history calm = read_history("calm");
    for (unsigned learners = 1; learners <= 2; learners++)
        for (size_t v = 0; v < COUNT(victims); v++) {
            char name[64], overrides[256];
            snprintf(name, sizeof name, "killed-%u-%zu", learners, v);
            snprintf(overrides, sizeof overrides, RENEWED " workers.learners=%u", learners);
            const pid_t pid = start_held(name, overrides);
            for (uint64_t s = 3; s < 8; s += s == 4 ? 2 : 1)
                slay_after(s, pid, name, victims[v]);
            finish(name, pid, sha);
            assert_string_equal(sha, want);
            const struct history h = read_history(name);
            assert_memory_equal(&h, &calm, sizeof h);
        }
}

/* A version that is gone back to brings its own reference along. */
#define ROLLING                                                                             \
    "run.steps=12 kl.reference_every=3 optimizer.lr=3.0e-2 checkpoint.keep=1 "              \
    "breaker.limits.0.signal=kl breaker.limits.0.high=2 breaker.limits.0.outcome=rollback " \
    "breaker.restore_every=2 breaker.lr_factor=0.2 breaker.trips_max=20 breaker.cooldown=2"

static void rollbacks_go_back_to_the_reference_too(void **state)
{
    (void)state;
    char want[HASH_HEX_BYTES], sha[HASH_HEX_BYTES];
    finish("back", start("back", ROLLING), want);
    const struct history calm = read_history("back");
    uint64_t first = 0, back = 0, lower = 0;
    for (uint64_t s = 0; s < calm.steps; s++) {
        back += calm.step[s].went_back;
        first = first == 0 && calm.step[s].went_back ? s : first;
        lower += s > 0 && calm.step[s].reference < calm.step[s - 1].reference;
    }
    print_message("%llu rollbacks, the first in step %llu, %llu of them over a renewal\n",
                  (unsigned long long)back, (unsigned long long)first,
                  (unsigned long long)lower);
    assert_true(back > 0 && first > 0);
    for (unsigned learners = 1; learners <= 2; learners++) {
        char name[64], overrides[640];
        snprintf(name, sizeof name, "back-%u", learners);
        snprintf(overrides, sizeof overrides, ROLLING " workers.learners=%u", learners);
        const pid_t pid = start_held(name, overrides);
        slay_after(first, pid, name, "--name learner-0");
        slay_after(first + 1, pid, name, "rlhf-coordinator");
        slay_after(first + 2, pid, name, "rlhf-reward");
        finish(name, pid, sha);
        assert_string_equal(sha, want);
        const struct history h = read_history(name);
        assert_memory_equal(&h, &calm, sizeof h);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kl_is_measured_from_the_newest_renewal),
        cmocka_unit_test(a_renewal_survives_whoever_is_killed),
        cmocka_unit_test(rollbacks_go_back_to_the_reference_too),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("e2e/kl_reference", tests, setup, teardown);
}
