/*
 * format_ultrafeedback.c -- UltraFeedback (Cui et al. 2023): an instruction and answers that
 * were rated one by one.
 *
 *     {"instruction": "...", "completions": [{"response": "...", "overall_score": 7.5,
 *      "annotations": {"helpfulness": {"Rating": "4"}, "honesty": {"Rating": "N/A"}}}, ...]}
 *
 * An answer's rating is its "overall_score" or, where that is absent, the mean of its
 * annotations' ratings.  Two answers are a pair where one's rating is greater; the margin is
 * the difference.  Attributes are the annotations by name.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/format.h"

bool format_ultrafeedback_claims(const json_t *object)
{
    return json_object_get(object, "instruction") && json_object_get(object, "completions");
}

/* A rating may be a number or a number in a text; "N/A" is none. */
static enum err_code format_ultrafeedback_rating(struct format_work *work, const json_t *value,
                                                 const char *name, double *out)
{
    const char *text = json_string_value(value);
    if (!text)
        return format_number(work, value, name, out);
    if (strcmp(text, "N/A") == 0)
        return ERR_OK;
    char *end;
    const double number = strtod(text, &end);
    if (end == text || *end || !(fabs(number) <= FORMAT_NUMBER_MAX))
        return format_bad(work, DATA_BAD_NUMBER,
                          "\"%s\" is \"%.40s\"; a number or N/A is expected", name, text);
    *out = number;
    return ERR_OK;
}

/* The "Rating" of each annotation: into the attribute of its name, and their mean. */
static enum err_code format_ultrafeedback_annotations(struct format_work *work,
                                                      const json_t *annotations,
                                                      const char *field,
                                                      struct data_answer *answer, double *mean)
{
    double sum = 0.0;
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)annotations, key, value)
    {
        char name[160];
        snprintf(name, sizeof name, "%s.annotations.%.60s.Rating", field, key);
        double rating = (double)NAN;
        const enum err_code rc =
            format_ultrafeedback_rating(work, json_object_get(value, "Rating"), name, &rating);
        if (rc)
            return rc;
        for (size_t i = 0; i < work->attributes; i++)
            if (strcmp(work->attribute[i], key) == 0)
                answer->attribute[i] = rating;
        if (!isnan(rating)) {
            sum += rating;
            n++;
        }
    }
    *mean = n > 0 ? sum / (double)n : (double)NAN;
    return ERR_OK;
}

static enum err_code format_ultrafeedback_answer(struct format_work *work,
                                                 const json_t *completion, size_t i)
{
    char field[48], name[80];
    snprintf(field, sizeof field, "completions[%zu]", i);
    if (!json_is_object(completion))
        return format_bad(work, DATA_BAD_TYPE, "\"%s\" is not an object", field);
    snprintf(name, sizeof name, "%s.response", field);
    enum err_code rc = format_answer_text(work, json_object_get(completion, "response"), name);
    if (rc)
        return rc;
    struct data_answer *answer = &work->record.answer[i];
    double mean = (double)NAN;
    rc = format_ultrafeedback_annotations(work, json_object_get(completion, "annotations"),
                                          field, answer, &mean);
    snprintf(name, sizeof name, "%s.overall_score", field);
    if (!rc)
        rc = format_ultrafeedback_rating(work, json_object_get(completion, "overall_score"),
                                         name, &answer->rating);
    if (isnan(answer->rating))
        answer->rating = mean;
    return rc;
}

static enum err_code format_ultrafeedback_pairs(struct format_work *work)
{
    const struct data_record *record = &work->record;
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < record->answers; i++)
        for (size_t j = 0; !rc && j < record->answers; j++) {
            const struct data_answer *a = &record->answer[i], *b = &record->answer[j];
            if (a->rating > b->rating && !data_turns_equal(a->turn, 1, b->turn, 1))
                rc = format_pair_add(work, i, j, a->rating - b->rating);
        }
    return rc;
}

enum err_code format_ultrafeedback_parse(struct format_work *work)
{
    struct data_text text;
    const json_t *completions = json_object_get(work->object, "completions");
    enum err_code rc =
        format_text(work, json_object_get(work->object, "instruction"), "instruction", &text);
    if (!rc)
        rc = format_turn(work, DATA_ROLE_USER, text);
    if (!rc)
        rc = format_set_prompt(work, work->turn, 1);
    if (rc)
        return rc;
    if (!json_is_array(completions))
        return format_bad(work, completions ? DATA_BAD_TYPE : DATA_BAD_FIELD,
                          "\"completions\" is %s; a list is expected",
                          completions ? "no list" : "missing");
    if (json_array_size(completions) == 0)
        return format_bad(work, DATA_BAD_EMPTY, "\"completions\" is an empty list");
    for (size_t i = 0; !rc && i < json_array_size(completions); i++)
        rc = format_ultrafeedback_answer(work, json_array_get(completions, i), i);
    return rc ? rc : format_ultrafeedback_pairs(work);
}
