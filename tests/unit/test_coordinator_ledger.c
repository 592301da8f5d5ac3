/*
 * test_coordinator_ledger.c -- records to disk and back, through kills, tears and damage.
 *
 * The oracle is the record that went in, compared field by field and bit by bit with the one
 * that comes out; after a kill, that what was called durable is there, and that what is there
 * is a prefix of what was appended.  Kills are real: a child process ends without any cleanup.
 */
#define _DEFAULT_SOURCE /* mkdtemp, usleep */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "coordinator/ledger.h"
#include "tests/test.h"

static char dir[64], path[128];
static const struct hash config_hash = {{1, 2, 3}};

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/ledger-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/%s", dir, LEDGER_FILE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

/* --- what the thread says ----------------------------------------------------------------- */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t durable;
    bool failed;
    struct err err;
} said = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void on_durable(void *ctx, uint64_t seq)
{
    (void)ctx;
    pthread_mutex_lock(&said.mutex);
    said.durable = seq;
    pthread_cond_signal(&said.changed);
    pthread_mutex_unlock(&said.mutex);
}

static void on_failed(void *ctx, const struct err *err)
{
    (void)ctx;
    pthread_mutex_lock(&said.mutex);
    said.failed = true;
    said.err = *err;
    pthread_cond_signal(&said.changed);
    pthread_mutex_unlock(&said.mutex);
}

static void wait_for(uint64_t seq)
{
    pthread_mutex_lock(&said.mutex);
    while (said.durable < seq && !said.failed)
        pthread_cond_wait(&said.changed, &said.mutex);
    pthread_mutex_unlock(&said.mutex);
}

static struct ledger *open_ledger(void)
{
    static const struct ledger_ops ops = {.durable = on_durable, .failed = on_failed};
    struct ledger *ledger;
    said.durable = 0;
    said.failed = false;
    check_ok(ledger_open(&ledger, dir, &config_hash, &err));
    check_ok(ledger_start(ledger, &ops, &err));
    return ledger;
}

/* --- records ------------------------------------------------------------------------------ */

static const int32_t ids[3] = {7, -1, 2000000000};
static const float logprobs[3] = {-0.1f, -1e-30f, -12.5f}, reference[3] = {-0.2f, -0.0f, -3.0f};
static const double scores[2] = {NAN, -1.0 / 3.0};
static const struct wire_stat stats[2] = {{"loss", 0.125}, {"logp_diff_max", 0.0}};

static const struct record_step a_step = {
    .step = 0,
    .version = 1,
    .weights = {{9, 8, 7}},
    .checkpoint_version = 1,
    .trained = 3,
    .dropped = {[RECORD_REASON_SCORE_FAILED] = 1, [RECORD_REASON_GROUP_TOO_SMALL] = 2},
    .truncated = 1,
    .prompt_tokens = 30,
    .response_tokens = 50,
    .reward_raw_mean = 0.1 + 0.2,
    .reward_raw_std = 1e-300,
    .reward_shaped_mean = -1.0 / 7.0,
    .score_mean = {0.1, NAN, 2.0 / 3.0},
    .score_missing = {0, 3, 1},
    .worst_group = 2,
    .kl_reference_version = 8,
    .kl_mean = 1.5,
    .kl_coef_before = 0.02,
    .kl_coef_after = 0.02 * 1.0001,
    .cost_raw_mean = 1.0 / 3.0,
    .cost_limit = NAN,
    .multiplier_before = 1.0 / 3.0,
    .multiplier_after = 0.33333333333333337,
    .controller_n = RECORD_CONTROLLER_MAX,
    .controller = {0.02 * 1.0001, 1.5, 1.0, [RECORD_CONTROLLER_MAX - 1] = 1.0 / 7.0},
    .experience = {{6, 5, 4}},
    .duration_ms = 1234,
    .stats = stats,
    .stats_n = 2,
};

/* One of each kind. */
static const struct record all[] = {
    {.kind = RECORD_EPOCH, .epoch = 1},
    {.kind = RECORD_START, .hash = {{4, 5}}},
    {.kind = RECORD_IDENTITY, .id = "prompts", .hash = {{6, 7}}},
    {.kind = RECORD_ROLLOUT,
     .work = WIRE_WORK_ROLLOUT,
     .a = 0,
     .b = 2,
     .prompt = 5,
     .version = 0,
     .response_tokens = 3,
     .finish = WIRE_FINISH_LENGTH,
     .worker = "actor-0",
     .ids = ids,
     .logprobs = logprobs},
    {.kind = RECORD_ROLLOUT,
     .work = WIRE_WORK_REFERENCE,
     .a = 5,
     .b = 1,
     .prompt = 5,
     .response_tokens = 2,
     .finish = WIRE_FINISH_EOS,
     .worker = "actor-1",
     .ids = ids},
    {.kind = RECORD_SCORE,
     .work = WIRE_WORK_ROLLOUT,
     .a = 0,
     .b = 2,
     .prompt = 5,
     .response_tokens = 3,
     .finish = WIRE_FINISH_LENGTH,
     .worker = "reward-0",
     .scores = scores,
     .scorers = 2,
     .reference = reference},
    {.kind = RECORD_SCORE,
     .work = WIRE_WORK_REFERENCE,
     .a = 5,
     .b = 1,
     .prompt = 5,
     .response_tokens = 2,
     .finish = WIRE_FINISH_EOS,
     .worker = "reward-0",
     .scores = scores,
     .scorers = 2},
    {.kind = RECORD_DROP,
     .work = WIRE_WORK_ROLLOUT,
     .a = 0,
     .b = 1,
     .prompt = 4,
     .reason = RECORD_REASON_SCORE_TIMEOUT,
     .text = "it's \"late\""},
    {.kind = RECORD_STEP, .step = &a_step},
    {.kind = RECORD_CHECKPOINT, .version = 1},
    {.kind = RECORD_PAUSE, .paused = false},
    {.kind = RECORD_PAUSE, .paused = true},
    {.kind = RECORD_EVENT, .id = "ROLLOUT-MISMATCH", .text = "two workers differ"},
    {.kind = RECORD_ROLLOUT,
     .work = WIRE_WORK_ROLLOUT,
     .a = 1,
     .b = 0,
     .prompt = 6,
     .version = 1,
     .response_tokens = 1,
     .finish = WIRE_FINISH_STOP,
     .worker = "actor-0",
     .ids = ids,
     .logprobs = logprobs},
};

static void append_all(struct ledger *ledger)
{
    for (size_t i = 0; i < COUNT(all); i++) {
        struct record record = all[i];
        record.seq = i + 1;
        record.wall_ms = 1700000000000 + i;
        if (!record.worker)
            record.worker = "";
        check_ok(ledger_append(ledger, &record, &err));
    }
    ledger_flush(ledger);
}

static void check_bytes(const char *what, uint64_t seq, const void *got, const void *want,
                        size_t size)
{
    if (!got != !want || (want && memcmp(got, want, size) != 0))
        fail_msg("record %d: its %s is not what went in", (int)seq, what);
}

static void check_step(const struct record_step *got, const struct record_step *want)
{
    assert_int_equal(got->stats_n, want->stats_n);
    for (uint32_t i = 0; i < want->stats_n; i++) {
        assert_string_equal(got->stats[i].name, want->stats[i].name);
        assert_true(got->stats[i].value == want->stats[i].value);
    }
    struct record_step a, b; /* all the rest bit by bit */
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    memcpy(&a, got, sizeof a);
    memcpy(&b, want, sizeof b);
    a.stats = b.stats = NULL;
    assert_memory_equal(&a.weights, &b.weights, sizeof a.weights);
    assert_memory_equal(&a.experience, &b.experience, sizeof a.experience);
    assert_memory_equal(a.dropped, b.dropped, sizeof a.dropped);
    assert_memory_equal(a.score_mean, b.score_mean, sizeof a.score_mean);
    assert_memory_equal(a.controller, b.controller, sizeof a.controller);
    assert_true(a.step == b.step && a.version == b.version &&
                a.behaviour_version == b.behaviour_version &&
                a.checkpoint_version == b.checkpoint_version && a.trained == b.trained &&
                a.truncated == b.truncated && a.prompt_tokens == b.prompt_tokens &&
                a.response_tokens == b.response_tokens && a.controller_n == b.controller_n &&
                a.duration_ms == b.duration_ms);
    assert_memory_equal(a.score_missing, b.score_missing, sizeof a.score_missing);
    assert_int_equal(a.worst_group, b.worst_group);
    assert_int_equal(a.kl_reference_version, b.kl_reference_version);
    assert_memory_equal(&a.cost_raw_mean, &b.cost_raw_mean, sizeof(double)); /* a NaN too */
    assert_memory_equal(&a.cost_limit, &b.cost_limit, sizeof(double));
    assert_true(a.multiplier_before == b.multiplier_before &&
                a.multiplier_after == b.multiplier_after);
    assert_true(a.reward_raw_mean == b.reward_raw_mean &&
                a.reward_raw_std == b.reward_raw_std &&
                a.reward_shaped_mean == b.reward_shaped_mean && a.kl_mean == b.kl_mean &&
                a.kl_coef_before == b.kl_coef_before && a.kl_coef_after == b.kl_coef_after);
}

struct seen {
    size_t n, rollouts, references, steps;
    uint64_t last;
    bool compare; /* with all[] */
};

static enum err_code see(void *ctx, const struct record *got, struct err *err)
{
    (void)err;
    struct seen *seen = ctx;
    assert_true(got->seq > seen->last);
    seen->last = got->seq;
    seen->n++;
    seen->steps += got->kind == RECORD_STEP;
    if (got->kind == RECORD_ROLLOUT)
        *(got->work == WIRE_WORK_ROLLOUT ? &seen->rollouts : &seen->references) += 1;
    if (!seen->compare)
        return ERR_OK;
    const struct record *want = &all[got->seq - 1];
    const size_t n = want->response_tokens;
    assert_int_equal(got->kind, want->kind);
    assert_int_equal(got->wall_ms, 1700000000000 + got->seq - 1);
    assert_int_equal(got->epoch, want->epoch);
    assert_int_equal(got->version, want->version);
    assert_int_equal(got->paused, want->paused);
    assert_int_equal(got->work, want->work);
    assert_int_equal(got->a, want->a);
    assert_int_equal(got->b, want->b);
    assert_int_equal(got->prompt, want->prompt);
    assert_int_equal(got->response_tokens, want->response_tokens);
    assert_int_equal(got->finish, want->finish);
    assert_int_equal(got->reason, want->reason);
    assert_string_equal(got->worker, want->worker ? want->worker : "");
    check_bytes("ids", got->seq, got->ids, want->ids, 4 * n);
    check_bytes("logprobs", got->seq, got->logprobs, want->logprobs, 4 * n);
    check_bytes("reference", got->seq, got->reference, want->reference, 4 * n);
    check_bytes("scores", got->seq, got->scores, want->scores, 8u * want->scorers);
    check_bytes("hash", got->seq, &got->hash, &want->hash, sizeof got->hash);
    if (want->text)
        assert_string_equal(got->text, want->text);
    if (want->id)
        assert_string_equal(got->id, want->id);
    if (want->step)
        check_step(got->step, want->step);
    return ERR_OK;
}

static void every_kind_of_record_comes_back_as_it_was(void **state)
{
    (void)state;
    struct ledger *ledger = open_ledger();
    append_all(ledger);
    wait_for(COUNT(all));
    check_ok(ledger_close(ledger, &err));

    check_ok(ledger_open(&ledger, dir, &config_hash, &err));
    struct seen seen = {.compare = true};
    check_ok(ledger_each(ledger, 0, see, &seen, &err));
    assert_int_equal(seen.n, COUNT(all));
    struct seen steps = {.compare = true};
    check_ok(ledger_each_step(ledger, see, &steps, &err));
    assert_int_equal(steps.n, 1);

    struct ledger_summary summary;
    check_ok(ledger_summarise(ledger, &summary, &err));
    assert_memory_equal(&summary.config_hash, &config_hash, sizeof config_hash);
    assert_int_equal(summary.records, COUNT(all));
    assert_int_equal(summary.epochs, 1);
    assert_int_equal(summary.steps, 1);
    assert_int_equal(summary.checkpoint_version, 1);
    assert_int_equal(summary.rollouts, 2);
    assert_int_equal(summary.references, 1);
    assert_int_equal(summary.scores, 2);
    assert_int_equal(summary.dropped, 1);
    assert_true(summary.paused);
    check_ok(ledger_close(ledger, &err));
}

static void steps_that_are_over_can_be_left_out(void **state)
{
    (void)state;
    struct ledger *ledger = open_ledger();
    append_all(ledger);
    check_ok(ledger_close(ledger, &err));
    check_ok(ledger_open_read(&ledger, dir, &err));
    struct seen seen = {.compare = true};
    check_ok(ledger_each(ledger, 1, see, &seen, &err));
    assert_int_equal(seen.rollouts, 1);   /* of step 1 */
    assert_int_equal(seen.references, 0); /* it has its score */
    assert_int_equal(seen.steps, 1);
    assert_int_equal(seen.n, COUNT(all) - 4);
    check_ok(ledger_close(ledger, &err));
}

static void a_reader_looks_on_while_the_coordinator_writes(void **state)
{
    (void)state;
    struct ledger *writer = open_ledger(), *reader;
    append_all(writer);
    wait_for(COUNT(all));
    check_ok(ledger_open_read(&reader, dir, &err));
    struct seen seen = {.compare = true};
    check_ok(ledger_each(reader, 0, see, &seen, &err));
    assert_int_equal(seen.n, COUNT(all));
    const struct record more = {
        .kind = RECORD_EVENT, .seq = COUNT(all) + 1, .id = "X", .text = "", .worker = ""};
    check_ok(ledger_append(writer, &more, &err));
    ledger_flush(writer);
    wait_for(COUNT(all) + 1);
    struct seen again = {0};
    check_ok(ledger_each(reader, 0, see, &again, &err));
    assert_int_equal(again.n, COUNT(all) + 1);
    check_ok(ledger_close(reader, &err));
    check_ok(ledger_close(writer, &err));
}

/* --- refusals ----------------------------------------------------------------------------- */

static void a_second_coordinator_is_refused(void **state)
{
    (void)state;
    struct ledger *ledger = open_ledger(), *second;
    check_fails(ledger_open(&second, dir, &config_hash, &err), ERR_STATE,
                "is in use: another coordinator runs there");
    assert_null(second);
    check_ok(ledger_close(ledger, &err));
    check_ok(ledger_open(&second, dir, &config_hash, &err));
    check_ok(ledger_close(second, &err));
}

static void another_configuration_is_refused(void **state)
{
    (void)state;
    check_ok(ledger_close(open_ledger(), &err));
    const struct hash other = {{1, 2, 4}};
    struct ledger *ledger;
    check_fails(ledger_open(&ledger, dir, &other, &err), ERR_USAGE,
                "was begun with another configuration (hash 0102030000000000..., now "
                "0102040000000000...)");
}

static void another_schema_is_refused(void **state)
{
    (void)state;
    check_ok(ledger_close(open_ledger(), &err));
    const int fd = open(path, O_RDWR);
    const unsigned char version[4] = {0, 0, 0, 77}; /* user_version: bytes 60..63, big-endian */
    assert_int_equal(pwrite(fd, version, 4, 60), 4);
    close(fd);
    struct ledger *ledger;
    char words[80];
    snprintf(words, sizeof words, "has schema 77: this program reads and writes %d",
             LEDGER_SCHEMA);
    check_fails(ledger_open(&ledger, dir, &config_hash, &err), ERR_USAGE, words);
}

static void a_file_that_is_no_ledger_is_refused(void **state)
{
    (void)state;
    char noise[8192];
    memset(noise, 'x', sizeof noise);
    check_ok(file_write(path, noise, sizeof noise, &err));
    struct ledger *ledger;
    check_fails(ledger_open(&ledger, dir, &config_hash, &err), ERR_FORMAT,
                "is damaged or no ledger");
    check_fails(ledger_open_read(&ledger, dir, &err), ERR_FORMAT, "is damaged or no ledger");
    unlink(path);
    check_fails(ledger_open_read(&ledger, dir, &err), ERR_UNAVAILABLE,
                "has a run begun there?");
    check_fails(ledger_open(&ledger, "/proc/nowhere", &config_hash, &err), ERR_IO,
                "/proc/nowhere");
}

static void damage_inside_the_file_is_one_sentence(void **state)
{
    (void)state;
    struct ledger *ledger = open_ledger();
    struct record record = all[3]; /* a rollout */
    for (uint64_t i = 0; i < 500; i++) {
        record.seq = i + 1;
        record.a = i;
        check_ok(ledger_append(ledger, &record, &err));
    }
    check_ok(ledger_close(ledger, &err));
    struct stat stat;
    assert_int_equal(lstat(path, &stat), 0);
    const int fd = open(path, O_RDWR);
    char zeros[4096] = {0};
    for (off_t at = 2 * 4096; at + 4096 <= stat.st_size; at += 4096)
        assert_int_equal(pwrite(fd, zeros, sizeof zeros, at), sizeof zeros);
    close(fd);
    struct seen seen = {0};
    struct err err = {0};
    enum err_code rc = ledger_open(&ledger, dir, &config_hash, &err);
    if (rc == ERR_OK) {
        rc = ledger_each(ledger, 0, see, &seen, &err);
        ledger_close(ledger, NULL);
    }
    assert_int_equal(rc, ERR_FORMAT);
    assert_non_null(strstr(err.text, "is damaged"));
    assert_non_null(strstr(err.text, path));
}

/* --- kills -------------------------------------------------------------------------------- */

static struct record numbered(uint64_t seq)
{
    struct record record = all[3]; /* a rollout */
    record.seq = seq;
    record.a = seq;
    return record;
}

/* A child appends for a while and dies between two records; what it was told is durable, it
 * writes to a pipe.  Returns that. */
static uint64_t child_that_dies(uint64_t from, uint64_t wait_until, uint64_t records)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ledger *ledger = open_ledger();
        for (uint64_t seq = from; seq < from + records; seq++) {
            const struct record record = numbered(seq);
            if (ledger_append(ledger, &record, NULL) != ERR_OK)
                _exit(1);
            ledger_flush(ledger);
            if (seq == wait_until)
                wait_for(seq);
        }
        pthread_mutex_lock(&said.mutex);
        const uint64_t durable = said.durable;
        pthread_mutex_unlock(&said.mutex);
        if (write(fds[1], &durable, sizeof durable) != sizeof durable)
            _exit(1);
        raise(SIGKILL);
    }
    close(fds[1]);
    uint64_t durable = 0;
    assert_int_equal(read(fds[0], &durable, sizeof durable), sizeof durable);
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    return durable;
}

static void what_was_durable_survives_a_kill(void **state)
{
    (void)state;
    uint64_t from = 1;
    for (int round = 0; round < 8; round++) {
        const uint64_t durable = child_that_dies(from, from + 20, 21 + 40u * (unsigned)round);
        assert_true(durable >= from + 20);
        struct ledger *ledger;
        check_ok(ledger_open(&ledger, dir, &config_hash, &err)); /* the lock died with it */
        struct seen seen = {0};
        check_ok(ledger_each(ledger, 0, see, &seen, &err));
        assert_true(seen.last >= durable);
        assert_int_equal(seen.n, seen.last); /* a prefix, without a hole */
        check_ok(ledger_close(ledger, &err));
        from = seen.last + 1;
    }
}

/* A power cut can leave part of the log's end.  Whatever is cut off it, what remains is a
 * prefix. */
static void a_torn_tail_costs_only_the_tail(void **state)
{
    (void)state;
    const uint64_t durable = child_that_dies(1, 60, 60);
    assert_int_equal(durable, 60);
    char wal[160];
    snprintf(wal, sizeof wal, "%s-wal", path);
    struct buf log, main_file;
    buf_init(&log, 1 << 26);
    buf_init(&main_file, 1 << 26);
    check_ok(file_read(wal, &log, &err));
    check_ok(file_read(path, &main_file, &err));
    uint64_t least = UINT64_MAX;
    for (size_t cut = 0; cut < 20; cut++) {
        const size_t size = log.len - cut * log.len / 20;
        check_ok(file_write(path, main_file.data, main_file.len, &err));
        check_ok(file_write(wal, log.data, size, &err));
        struct ledger *ledger;
        struct seen seen = {0};
        if (ledger_open(&ledger, dir, &config_hash, NULL) == ERR_OK) {
            check_ok(ledger_each(ledger, 0, see, &seen, &err));
            check_ok(ledger_close(ledger, &err));
        }
        assert_int_equal(seen.n, seen.last);
        assert_true(seen.last <= (cut == 0 ? 60 : least));
        least = seen.last;
        if (cut == 0)
            assert_int_equal(seen.last, 60);
    }
    assert_true(least < 60);
    buf_release(&log);
    buf_release(&main_file);
}

static void a_commit_that_fails_is_told_once_and_never_tried_again(void **state)
{
    (void)state;
    check_ok(ledger_close(open_ledger(), &err));
    const pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct ledger *ledger = open_ledger();
        const struct rlimit limit = {.rlim_cur = 64 * 1024, .rlim_max = 64 * 1024};
        setrlimit(RLIMIT_FSIZE, &limit); /* a full disk, for this process */
        for (uint64_t seq = 1; seq < 20000; seq++) {
            const struct record record = numbered(seq);
            struct err err = {0};
            if (ledger_append(ledger, &record, &err) == ERR_OK) {
                ledger_flush(ledger);
                if (seq % 50 == 0)
                    wait_for(seq);
                continue;
            }
            wait_for(UINT64_MAX); /* until that is told too, by another thread */
            const bool good = said.failed && err.code == ERR_IO && strstr(err.text, path) &&
                              ledger_close(ledger, &err) == ERR_IO;
            _exit(good ? 42 : 1);
        }
        _exit(2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    struct ledger *ledger;
    check_ok(ledger_open(&ledger, dir, &config_hash, &err));
    struct seen seen = {0};
    check_ok(ledger_each(ledger, 0, see, &seen, &err));
    assert_int_equal(seen.n, seen.last);
    assert_true(seen.n > 0);
    check_ok(ledger_close(ledger, &err));
}

#define ledger_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ledger_test(every_kind_of_record_comes_back_as_it_was),
        ledger_test(steps_that_are_over_can_be_left_out),
        ledger_test(a_reader_looks_on_while_the_coordinator_writes),
        ledger_test(a_second_coordinator_is_refused),
        ledger_test(another_configuration_is_refused),
        ledger_test(another_schema_is_refused),
        ledger_test(a_file_that_is_no_ledger_is_refused),
        ledger_test(damage_inside_the_file_is_one_sentence),
        ledger_test(what_was_durable_survives_a_kill),
        ledger_test(a_torn_tail_costs_only_the_tail),
        ledger_test(a_commit_that_fails_is_told_once_and_never_tried_again),
    };
    return cmocka_run_group_tests_name("coordinator ledger", tests, NULL, NULL);
}
