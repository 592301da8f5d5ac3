/* bench_ledger.c -- rollouts of 512 tokens into a ledger, so many at once, until they are
 * durable; beside as many bytes written to a plain file and made durable.  What is queued while
 * a commit runs is the next one, so that some at once are one or two commits. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "bench/bench.h"
#include "coordinator/ledger.h"

#define TOKENS      512u
#define RECORDS_MAX 64u

struct ledger_bench {
    size_t records; /* at once */
    struct ledger *ledger;
    int plain;
    uint64_t seq;
    float *numbers; /* of TOKENS * RECORDS_MAX * 2 */

    pthread_mutex_t mutex;
    pthread_cond_t moved;
    uint64_t durable;
};

static void ledger_durable(void *ctx, uint64_t seq)
{
    struct ledger_bench *b = ctx;
    pthread_mutex_lock(&b->mutex);
    b->durable = seq;
    pthread_cond_signal(&b->moved);
    pthread_mutex_unlock(&b->mutex);
}

static void ledger_failed(void *ctx, const struct err *err)
{
    (void)ctx;
    bench_fail("ledger", err);
}

static void call_ledger(void *arg)
{
    struct ledger_bench *b = arg;
    static const int32_t ids[TOKENS];
    struct err err = {0};
    for (size_t i = 0; i < b->records; i++) {
        const struct record record = {.kind = RECORD_ROLLOUT,
                                      .seq = ++b->seq,
                                      .work = WIRE_WORK_ROLLOUT,
                                      .a = b->seq,
                                      .response_tokens = TOKENS,
                                      .finish = WIRE_FINISH_LENGTH,
                                      .worker = "actor-0",
                                      .ids = ids,
                                      .logprobs = b->numbers};
        bench_check("ledger", ledger_append(b->ledger, &record, &err), &err);
    }
    ledger_flush(b->ledger);
    pthread_mutex_lock(&b->mutex);
    while (b->durable < b->seq)
        pthread_cond_wait(&b->moved, &b->mutex);
    pthread_mutex_unlock(&b->mutex);
}

static void call_plain(void *arg)
{
    const struct ledger_bench *b = arg;
    const size_t bytes = b->records * TOKENS * 2 * sizeof(float);
    if (write(b->plain, b->numbers, bytes) != (ssize_t)bytes || fdatasync(b->plain) != 0)
        exit(74);
}

static void ledger_case(const struct bench *bench, struct ledger_bench *b)
{
    const struct bench_run runs[] = {{.fn = call_ledger, .arg = b},
                                     {.fn = call_plain, .arg = b}};
    const double records = (double)b->records;
    struct bench_time time[2];
    char what[32];
    bench_times(bench, runs, 2, time);
    const struct bench_ceiling plain =
        bench_ceiling_of("write and fdatasync", records, time[1]);
    snprintf(what, sizeof what, "%zu at once", b->records);
    bench_report_under(bench, "ledger", what, records, "records/s", time[0], &plain, 1);
}

void bench_ledger(const struct bench *bench)
{
    char path[FILE_PATH_MAX];
    struct bench_dir dir;
    struct ledger_bench b = {.numbers = bench_floats((size_t)TOKENS * RECORDS_MAX * 2)};
    const struct ledger_ops ops = {
        .durable = ledger_durable, .failed = ledger_failed, .ctx = &b};
    const struct hash config = {0};
    struct err err = {0};
    pthread_mutex_init(&b.mutex, NULL);
    pthread_cond_init(&b.moved, NULL);
    bench_dir_open(&dir);
    bench_dir_at(&dir, "plain", path);
    b.plain = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (b.plain < 0)
        exit(73);
    bench_check("ledger", ledger_open(&b.ledger, dir.path, &config, &err), &err);
    bench_check("ledger", ledger_start(b.ledger, &ops, &err), &err);
    for (b.records = 1; b.records <= RECORDS_MAX; b.records *= 8)
        ledger_case(bench, &b);
    bench_check("ledger", ledger_close(b.ledger, &err), &err);
    close(b.plain);
    bench_dir_close(&dir);
    pthread_cond_destroy(&b.moved);
    pthread_mutex_destroy(&b.mutex);
    free(b.numbers);
}
