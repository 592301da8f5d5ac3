/*
 * format.h -- the formats of data sets: how a line of each becomes records.
 *
 * A format is a file data/format_NAME.c with the two functions declared by FORMAT_MAP:
 *
 *     bool format_NAME_claims(object)          whether these members look like a line of it;
 *                                              for a file whose format was not named
 *     enum err_code format_NAME_parse(work)    the line's next record into work->record
 *
 * format_NAME_parse is called with work->object fresh and work->step 0; where it sets work->again,
 * it is called once more for the same line.  It leaves record.answers and record.turns 0 where
 * the line has no (further) record.  A line it cannot use ends in format_bad.
 *
 * Nothing here reads a file; data/reader.h does.
 */
#ifndef DATA_FORMAT_H
#define DATA_FORMAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "data/record.h"
#include "engine/tokenizer.h"

/* Name, what a line of it looks like. */
// clang-format off
#define FORMAT_MAP(X)                                                                         \
    X(hh, "{\"chosen\", \"rejected\"}, transcripts \"\\n\\nHuman: ...\\n\\nAssistant: ...\"") \
    X(pair, "{\"prompt\", \"chosen\", \"rejected\"}, texts or lists of messages")              \
    X(ultrafeedback, "{\"instruction\", \"completions\": [{\"response\", \"overall_score\"}]}")  \
    X(safe_rlhf, "{\"prompt\", \"response_0\", \"response_1\", \"safer_response_id\", ...}")    \
    X(oasst, "{\"message_tree_id\", \"prompt\": {\"text\", \"replies\": [...]}}, a tree a line")  \
    X(response, "{\"prompt\" or \"messages\", \"response\"}, or messages up to an answer")    \
    X(prompt, "{\"prompt\" or \"messages\", \"label\"}, no answer")                           \
    X(text, "{\"text\"}")                                                                     \
    X(ids, "{\"ids\"}, token ids")
// clang-format on
enum format_kind {
    FORMAT_auto, /* what the first lines look like */
#define X(name, about) FORMAT_##name,
    FORMAT_MAP(X)
#undef X
        FORMATS /* how many, with auto */
};

/* "hh"; what a line of it looks like.  Constant strings. */
const char *format_name(enum format_kind kind);
const char *format_about(enum format_kind kind);
/* ERR_VALUE with the names there are. */
enum err_code format_find(const char *name, enum format_kind *out, struct err *err);
/* "hh, pair, ..."; a constant string. */
const char *format_names(void);

#define FORMAT_TURNS_MAX 1024 /* of a record: its prompt and all its answers */
#define FORMAT_DEPTH_MAX 64   /* turns from the root of a tree */

/* One line on its way to records.  Whoever fills it (the reader) keeps it from line to line;
 * everything a record points at is in here or in `object`. */
struct format_work {
    const json_t *object; /* the line */
    const char *where;
    const char *const *attribute; /* (attributes) names of the numbers the caller wants */
    size_t attributes;
    struct err *err; /* where a sentence goes */

    struct data_record record;
    struct data_turn turn[FORMAT_TURNS_MAX]; /* of the record */
    size_t turns;
    struct buf text;   /* texts that are in no member as they are; never moves within a line */
    struct tokens ids; /* of the record */
    size_t step;       /* the format's own: how far it is; 0 at first */
    const json_t *path[FORMAT_DEPTH_MAX]; /* (step) where it is in a tree, from the root */
    size_t child[FORMAT_DEPTH_MAX];       /* (step) the child of each to visit next */
    bool again;                           /* there may be another record */
    enum data_bad bad;                    /* after ERR_FORMAT: why */
};

/* Calls the format's functions. */
bool format_claims(enum format_kind kind, const json_t *object);
enum err_code format_parse(enum format_kind kind, struct format_work *work);

#define X(name, about)                                 \
    bool format_##name##_claims(const json_t *object); \
    enum err_code format_##name##_parse(struct format_work *work);
FORMAT_MAP(X)
#undef X

/*
 * What formats are made of.  Each of these returns ERR_FORMAT after format_bad where the line
 * is not as it should be; ERR_NOMEM may pass through too.
 */

/* Say that the line is of no use and why: the sentence gets "FILE:LINE: " in front. */
__attribute__((format(printf, 3, 4))) enum err_code
format_bad(struct format_work *work, enum data_bad why, const char *format, ...);

/* The member as text.  `name` is how the sentence calls it (a member of a member). */
enum err_code format_text(struct format_work *work, const json_t *value, const char *name,
                          struct data_text *out);

/* A number, finite, within [-FORMAT_NUMBER_MAX, FORMAT_NUMBER_MAX]; *out stays as it is where
 * `value` is NULL or null. */
#define FORMAT_NUMBER_MAX 1e9
enum err_code format_number(struct format_work *work, const json_t *value, const char *name,
                            double *out);

/* Append a turn to work->turn. */
enum err_code format_turn(struct format_work *work, enum data_role role, struct data_text text);

/* Append the turns of a list [{"role", "content"}, ...], which must not be empty. */
enum err_code format_messages(struct format_work *work, const json_t *list, const char *name);

/* Append the turns of "prompt" (a text: the user's turn, or a list of messages) or "messages"
 * and make them the record's prompt. */
enum err_code format_prompt(struct format_work *work);

/* Whether the list of messages ends with the assistant's. */
bool format_ends_with_answer(const json_t *messages);

/* Make these turns, within work->turn, the record's prompt: the last must be the user's and
 * say something. */
enum err_code format_set_prompt(struct format_work *work, const struct data_turn *turn,
                                size_t turns);

/* Append an answer of these turns; the first and last must be the assistant's. */
enum err_code format_answer(struct format_work *work, const struct data_turn *turn,
                            size_t turns, const char *name);

/* Append an answer of one text. */
enum err_code format_answer_text(struct format_work *work, const json_t *value,
                                 const char *name);

/* Two conversations that part somewhere: what they share up to a turn of the user is the
 * prompt, what follows the answers 0 (chosen) and 1 (rejected). */
enum err_code format_fork(struct format_work *work, const struct data_turn *chosen,
                          size_t chosen_n, const struct data_turn *rejected, size_t rejected_n);

/* Append to record.pair (or record.safety): `better` preferred to `worse`. */
enum err_code format_pair_add(struct format_work *work, size_t better, size_t worse,
                              double margin);
enum err_code format_safety_add(struct format_work *work, size_t safer, size_t less_safe);

/* Refuse a record whose answers 0 and 1 are the same text. */
enum err_code format_differ(struct format_work *work, const char *first, const char *second);

#endif
