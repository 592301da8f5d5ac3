/*
 * survey.h -- what is in a data set: counts, lengths, repetitions, leaks between files.
 *
 * Memory is bounded: tables of lengths (data/lengths.h) and two of hashes (data/seen.h).
 */
#ifndef DATA_SURVEY_H
#define DATA_SURVEY_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "data/encode.h"
#include "data/lengths.h"
#include "data/reader.h"
#include "data/seen.h"

#define SURVEY_SENTENCES 3 /* bad lines told of each reason; leaks of each two files */

#define SURVEY_LENGTH_MAP(X)                                \
    X(TURNS, "turns", "turns of prompts")                   \
    X(PROMPT, "prompt_characters", "characters of prompts") \
    X(ANSWER, "answer_characters", "characters of answers") \
    X(PROMPT_TOKENS, "prompt_tokens", "tokens of prompts")  \
    X(ANSWER_TOKENS, "answer_tokens", "tokens of answers")
enum survey_length {
#define X(name, word, meaning) SURVEY_##name,
    SURVEY_LENGTH_MAP(X)
#undef X
        SURVEY_LENGTHS
};

struct survey_leak {
    uint64_t records;                    /* of this file whose prompt is in that one */
    char example[SURVEY_SENTENCES][256]; /* "FILE:3 (first at OTHER:17)"; "" where fewer */
};

/* One file. */
struct survey_file {
    const char *path;
    enum format_kind format;
    struct reader_counts counts;
    char sentence[DATA_BADS][SURVEY_SENTENCES][512]; /* of the first bad lines; "": fewer */

    uint64_t prompts, answers; /* records with a prompt; answers of all records */
    uint64_t pairs, margins;   /* pairs of answers; those whose margin is told */
    uint64_t ties;             /* pairs of answers of one record that neither was preferred */
    uint64_t safeties;         /* pairs of answers one of which is safer */
    uint64_t safe, harmful, ratings; /* answers labelled so, rated */
    uint64_t longer, shorter; /* pairs whose preferred answer is longer, shorter (characters) */
    uint64_t prompts_again, records_again; /* seen before in this file */
    struct lengths length[SURVEY_LENGTHS];
    struct survey_leak leak[SEEN_FILES_MAX]; /* by the other file's index */
};

struct survey {
    const struct encode *how; /* for tokens; NULL: none are counted */
    struct seen prompts, records;
    struct survey_file *file[SEEN_FILES_MAX];
    size_t files;
    struct buf scratch;
    struct encoded encoded;
};

/* `how` must outlive the survey; its tokens_max should not be in the way.  The caller releases
 * it with survey_release. */
void survey_init(struct survey *survey, const struct encode *how);
void survey_release(struct survey *survey);

/* Read one more file; at most SEEN_FILES_MAX.  Bad lines do not end it, nor do records that
 * `how` cannot encode, which count as such.  Errors as of reader_open and reader_next. */
enum err_code survey_read(struct survey *survey, const char *path, enum format_kind format,
                          struct err *err);

#endif
