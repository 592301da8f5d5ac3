/* record.c -- see record.h. */
#include "data/record.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const char *data_role_name(enum data_role role)
{
    static const char *const names[] = {
#define X(name, word) word,
        DATA_ROLE_MAP(X)
#undef X
    };
    return names[role];
}

const char *data_bad_name(enum data_bad why)
{
    static const char *const names[] = {
#define X(name, word, meaning) word,
        DATA_BAD_MAP(X)
#undef X
    };
    return names[why];
}

const char *data_bad_meaning(enum data_bad why)
{
    static const char *const meanings[] = {
#define X(name, word, meaning) meaning,
        DATA_BAD_MAP(X)
#undef X
    };
    return meanings[why];
}

static bool data_record_loses(const struct data_record *record, size_t answer)
{
    for (size_t i = 0; i < record->pairs; i++)
        if (record->pair[i].worse == answer)
            return true;
    return false;
}

size_t data_record_best(const struct data_record *record)
{
    assert(record->answers > 0);
    size_t best = 0;
    if (record->pairs > 0) {
        while (best + 1 < record->answers && data_record_loses(record, best))
            best++;
        return best;
    }
    for (size_t i = 1; i < record->answers; i++) {
        const double rating = record->answer[i].rating;
        if (rating > record->answer[best].rating ||
            (isnan(record->answer[best].rating) && !isnan(rating)))
            best = i;
    }
    return best;
}

bool data_text_equal(struct data_text a, struct data_text b)
{
    return a.n == b.n && memcmp(a.data, b.data, a.n) == 0;
}

bool data_turns_equal(const struct data_turn *a, size_t a_n, const struct data_turn *b,
                      size_t b_n)
{
    if (a_n != b_n)
        return false;
    for (size_t i = 0; i < a_n; i++)
        if (a[i].role != b[i].role || !data_text_equal(a[i].text, b[i].text))
            return false;
    return true;
}

bool data_text_is_blank(struct data_text text)
{
    return strspn(text.data, " \t\r\n\v\f") == text.n;
}
