/*
 * gate_sample.h -- a run whose gate has passed version 4 and then came to no verdict on 8.
 */
#ifndef TESTS_UNIT_GATE_SAMPLE_H
#define TESTS_UNIT_GATE_SAMPLE_H

#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "node/gate_record.h"
#include "tests/test.h"

/* RUN/gate.jsonl with two lines, the second of which says why; RUN/published is version 4. */
static inline void gate_sample_write(const char *run, const char *why)
{
    struct gate_record record = {.at_ms = 1700000000000,
                                 .decision = GATE_RECORD_PASS,
                                 .name = "0123456789abcdef",
                                 .version = 4,
                                 .mean = 0.0625,
                                 .upper = 0.125,
                                 .limit = 0.2,
                                 .delta = 0.025,
                                 .n = 60,
                                 .spent = 1,
                                 .candidates = 2};
    char path[FILE_PATH_MAX];
    check_ok(gate_record_append(run, &record, &err));
    record.decision = GATE_RECORD_ERROR;
    record.version = 8;
    record.mean = record.upper = record.spent = NAN;
    snprintf(record.why, sizeof record.why, "%s", why);
    check_ok(gate_record_append(run, &record, &err));
    check_ok(file_join(path, run, "published", &err));
    assert_int_equal(symlink("releases/0123456789abcdef", path), 0);
}

#endif
