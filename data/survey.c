/* survey.c -- see survey.h. */
#include "data/survey.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/key.h"
#include "data/lines.h"

void survey_init(struct survey *survey, const struct encode *how)
{
    *survey = (struct survey){.how = how};
    seen_init(&survey->prompts, SEEN_MAX);
    seen_init(&survey->records, SEEN_MAX);
    buf_init(&survey->scratch, 4 * LINES_BYTES_MAX);
}

void survey_release(struct survey *survey)
{
    for (size_t i = 0; i < survey->files; i++) {
        for (size_t k = 0; k < SURVEY_LENGTHS; k++)
            lengths_release(&survey->file[i]->length[k]);
        free(survey->file[i]);
    }
    survey->files = 0;
    seen_release(&survey->prompts);
    seen_release(&survey->records);
    buf_release(&survey->scratch);
    encoded_release(&survey->encoded);
}

static void survey_bad(void *arg, enum data_bad why, const char *sentence)
{
    struct survey_file *file = arg;
    for (size_t i = 0; i < SURVEY_SENTENCES; i++)
        if (!file->sentence[why][i][0]) {
            snprintf(file->sentence[why][i], sizeof file->sentence[why][i], "%s", sentence);
            return;
        }
}

/* Code points: bytes that do not continue one. */
static uint64_t survey_characters(const struct data_turn *turn, size_t turns)
{
    uint64_t n = 0;
    for (size_t i = 0; i < turns; i++)
        for (size_t k = 0; k < turn[i].text.n; k++)
            n += ((unsigned char)turn[i].text.data[k] & 0xc0) != 0x80;
    return n;
}

static void survey_count_pairs(struct survey_file *file, const struct data_record *record,
                               const uint64_t *characters)
{
    for (size_t i = 0; i < record->pairs; i++) {
        const uint64_t better = characters[record->pair[i].better];
        const uint64_t worse = characters[record->pair[i].worse];
        file->longer += better > worse;
        file->shorter += better < worse;
        file->margins += isnan(record->pair[i].margin) ? 0 : 1;
    }
    file->pairs += record->pairs;
    file->safeties += record->safeties;
    const uint64_t most = record->answers * (record->answers - 1) / 2; /* 0 for 0 and 1 */
    if (record->answers > 1 && most > record->pairs)
        file->ties += most - record->pairs;
}

static void survey_count(struct survey_file *file, const struct data_record *record)
{
    uint64_t characters[DATA_ANSWERS_MAX];
    for (size_t i = 0; i < record->answers; i++) {
        const struct data_answer *answer = &record->answer[i];
        characters[i] = survey_characters(answer->turn, answer->turns);
        lengths_add(&file->length[SURVEY_ANSWER], characters[i]);
        file->safe += answer->harm == DATA_HARM_SAFE;
        file->harmful += answer->harm == DATA_HARM_HARMFUL;
        file->ratings += isnan(answer->rating) ? 0 : 1;
    }
    file->answers += record->answers;
    if (record->turns > 0) {
        file->prompts++;
        lengths_add(&file->length[SURVEY_TURNS], record->turns);
        lengths_add(&file->length[SURVEY_PROMPT],
                    survey_characters(record->turn, record->turns));
    }
    survey_count_pairs(file, record, characters);
}

/* *usable is false where it cannot be encoded. */
static enum err_code survey_count_tokens(struct survey *survey, struct survey_file *file,
                                         struct reader *reader,
                                         const struct data_record *record, bool *usable,
                                         struct err *err)
{
    struct encoded *encoded = &survey->encoded;
    *usable = true;
    if (!survey->how || (record->answers == 0 && record->ids_n == 0))
        return ERR_OK;
    const enum err_code rc =
        encode_or_reject(survey->how, reader, record, ENCODE_ALL, encoded, usable, err);
    if (rc || !*usable)
        return rc;
    for (size_t i = 0; i < encoded->answers; i++)
        lengths_add(&file->length[SURVEY_ANSWER_TOKENS],
                    encoded->offset[i + 1] - encoded->offset[i] - encoded->first);
    if (record->turns > 0)
        lengths_add(&file->length[SURVEY_PROMPT_TOKENS], encoded->first);
    return ERR_OK;
}

static void survey_add_leak(const struct survey *survey, struct survey_file *file,
                            const struct seen_entry *before, size_t other, const char *where)
{
    struct survey_leak *leak = &file->leak[other];
    if (leak->records < SURVEY_SENTENCES && other == before->file)
        snprintf(leak->example[leak->records], sizeof leak->example[0], "%.110s (%.110s:%llu)",
                 where, survey->file[other]->path, (unsigned long long)before->line);
    else if (leak->records < SURVEY_SENTENCES)
        snprintf(leak->example[leak->records], sizeof leak->example[0], "%.110s", where);
    leak->records++;
}

static enum err_code survey_repetitions(struct survey *survey, struct survey_file *file,
                                        const struct data_record *record, struct err *err)
{
    const unsigned self = (unsigned)(survey->files - 1);
    struct seen_entry before;
    enum err_code rc = seen_put(&survey->records, key_record(record, &survey->scratch), self,
                                record->line, &before, err);
    if (rc)
        return rc;
    file->records_again += before.files >> self & 1;
    if (record->turns == 0)
        return ERR_OK;
    rc = seen_put(&survey->prompts, key_prompt(record, 0, &survey->scratch), self, record->line,
                  &before, err);
    if (rc)
        return rc;
    file->prompts_again += before.files >> self & 1;
    for (size_t other = 0; other < self; other++)
        if (before.files >> other & 1)
            survey_add_leak(survey, file, &before, other, record->where);
    return ERR_OK;
}

static enum err_code survey_record(struct survey *survey, struct survey_file *file,
                                   struct reader *reader, const struct data_record *record,
                                   struct err *err)
{
    bool usable;
    enum err_code rc = survey_count_tokens(survey, file, reader, record, &usable, err);
    if (rc || !usable)
        return rc;
    survey_count(file, record);
    rc = survey_repetitions(survey, file, record, err);
    return rc ? rc : buf_check(&survey->scratch, record->where, err);
}

enum err_code survey_read(struct survey *survey, const char *path, enum format_kind format,
                          struct err *err)
{
    assert(survey->files < SEEN_FILES_MAX);
    struct survey_file *file = calloc(1, sizeof *file);
    if (!file)
        return err_set(err, ERR_NOMEM, "%s: no memory to count what is in it", path);
    survey->file[survey->files++] = file;
    file->path = strcmp(path, "-") == 0 ? "standard input" : path;
    enum err_code rc = ERR_OK;
    for (size_t i = 0; !rc && i < SURVEY_LENGTHS; i++)
        rc = lengths_init(&file->length[i], err);
    if (rc)
        return rc;

    const struct reader_options options = {
        .format = format, .max_bad_fraction = 1.0, .bad = survey_bad, .arg = file};
    struct err why = {0};
    struct reader *reader = reader_open(path, &options, &why);
    if (!reader)
        return err_set(err, why.code, "%s", why.text);
    const struct data_record *record;
    while (!(rc = reader_next(reader, &record, err)) && record) {
        rc = survey_record(survey, file, reader, record, err);
        if (rc)
            break;
    }
    file->format = reader_format(reader);
    file->counts = *reader_counts(reader);
    reader_close(reader);
    return rc;
}
