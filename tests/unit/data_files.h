/*
 * data_files.h -- for tests of data sets: a text as a file, and records shown as one line.
 *
 * A record is shown as  P: u=Hi  A0: a=Hello! (9)  A1: a=Bye. (4.5, harmful)  0>1 by 4.5
 * S 0>1:  turns by the first letter of their role, ratings, attributes, and harm in
 * parentheses where there are any, pairs, and pairs of safety.
 */
#ifndef TESTS_UNIT_DATA_FILES_H
#define TESTS_UNIT_DATA_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "data/reader.h"
#include "tests/test.h"

static char data_dir[] = "/tmp/rlhfd-data-XXXXXX";

static inline int data_make_dir(void **state)
{
    (void)state;
    return mkdtemp(data_dir) ? 0 : -1;
}

static inline int data_remove_dir(void **state)
{
    (void)state;
    return file_remove_tree(data_dir, NULL) ? -1 : 0;
}

/* The path of a file of these bytes; valid until the next call. */
static inline const char *data_put(const char *name, const void *bytes, size_t n)
{
    static char path[FILE_PATH_MAX];
    check_ok(file_join(path, data_dir, name, &err));
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    return path;
}

static inline void data_show_turns(struct buf *out, const struct data_turn *turn, size_t turns)
{
    for (size_t i = 0; i < turns; i++)
        buf_printf(out, " %c=%s", data_role_name(turn[i].role)[0], turn[i].text.data);
}

static inline void data_show_answer(struct buf *out, const struct data_answer *answer,
                                    size_t attributes)
{
    const char *before = " (";
    if (!isnan(answer->rating)) {
        buf_printf(out, "%s%g", before, answer->rating);
        before = ", ";
    }
    for (size_t i = 0; i < attributes; i++) {
        buf_printf(out, isnan(answer->attribute[i]) ? "%s-" : "%s%g", before,
                   answer->attribute[i]);
        before = ", ";
    }
    if (answer->harm != DATA_HARM_UNKNOWN) {
        buf_printf(out, "%s%s", before, answer->harm == DATA_HARM_SAFE ? "safe" : "harmful");
        before = ", ";
    }
    if (before[0] == ',')
        buf_puts(out, ")");
}

static inline void data_show(struct buf *out, const struct data_record *r, size_t attributes)
{
    buf_puts(out, "P:");
    data_show_turns(out, r->turn, r->turns);
    if (r->label)
        buf_printf(out, " label %s", r->label);
    for (size_t i = 0; i < r->ids_n; i++)
        buf_printf(out, "%s%d", i ? "," : " ids ", r->ids[i]);
    for (size_t i = 0; i < r->answers; i++) {
        buf_printf(out, " A%zu:", i);
        data_show_turns(out, r->answer[i].turn, r->answer[i].turns);
        data_show_answer(out, &r->answer[i], attributes);
    }
    for (size_t i = 0; i < r->pairs; i++) {
        buf_printf(out, " %u>%u", r->pair[i].better, r->pair[i].worse);
        if (!isnan(r->pair[i].margin))
            buf_printf(out, " by %g", r->pair[i].margin);
    }
    for (size_t i = 0; i < r->safeties; i++)
        buf_printf(out, " S %u>%u", r->safety[i].better, r->safety[i].worse);
    buf_puts(out, "\n");
}

#endif
