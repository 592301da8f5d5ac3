/*
 * record.h -- one example of a data set, whatever file it came from.
 *
 * A record is a prompt, the answers given to it, and what people said of them:
 *
 *     prompt     turns of a conversation, the last one the user's
 *     answers    0..n continuations; each ends with what the assistant said
 *     pairs      which answer was preferred to which           (trains a reward model)
 *     safety     which answer is safer than which, and whether each is harmful
 *                                                              (trains a cost model)
 *     ratings, attributes   numbers given to an answer         (train a regression head)
 *
 * What a format does not tell is absent (none, NAN, UNKNOWN), never a default.
 *
 * A record is borrowed from the reader that made it, until its next call.
 */
#ifndef DATA_RECORD_H
#define DATA_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATA_ANSWERS_MAX    64  /* of one prompt */
#define DATA_PAIRS_MAX      256 /* of one prompt */
#define DATA_ATTRIBUTES_MAX 16  /* named numbers of an answer */

#define DATA_ROLE_MAP(X) X(SYSTEM, "system") X(USER, "user") X(ASSISTANT, "assistant")
enum data_role {
#define X(name, word) DATA_ROLE_##name,
    DATA_ROLE_MAP(X)
#undef X
};
/* "user"; a constant string. */
const char *data_role_name(enum data_role role);

struct data_text {
    const char *data; /* UTF-8 without NUL inside, NUL-terminated */
    size_t n;         /* bytes */
};

struct data_turn {
    enum data_role role;
    struct data_text text;
};

enum data_harm { DATA_HARM_UNKNOWN, DATA_HARM_SAFE, DATA_HARM_HARMFUL };

struct data_answer {
    const struct data_turn *turn; /* (turns) usually one; the last is the assistant's */
    size_t turns;
    double rating;                         /* the overall one; NAN: none */
    double attribute[DATA_ATTRIBUTES_MAX]; /* in the reader's order of names; NAN: none */
    enum data_harm harm;
};

/* Indices of answers. */
struct data_pair {
    uint8_t better, worse; /* in `safety`: safer, less safe */
    double margin;         /* by how much, >= 0, in the data set's own unit; NAN: not told */
};

struct data_record {
    const char *where; /* "FILE:17" */
    uint64_t line;     /* 17 */

    const int32_t *ids; /* (ids_n) an answer that came as token ids; then there is none below */
    size_t ids_n;

    const struct data_turn *turn; /* (turns) the prompt; none: the answers are plain texts */
    size_t turns;
    const char *label; /* anything the data set says of the prompt, as JSON; NULL: nothing */

    struct data_answer answer[DATA_ANSWERS_MAX];
    size_t answers;
    struct data_pair pair[DATA_PAIRS_MAX];
    size_t pairs;
    struct data_pair safety[DATA_PAIRS_MAX];
    size_t safeties;
};

/* The answer to learn from where one is wanted: the first that no pair calls the worse; where
 * there is no pair, the one with the highest rating, or the first.  answers > 0. */
size_t data_record_best(const struct data_record *record);

bool data_text_equal(struct data_text a, struct data_text b);
/* Same roles, same texts. */
bool data_turns_equal(const struct data_turn *a, size_t a_n, const struct data_turn *b,
                      size_t b_n);
/* Whether there is nothing in it but white space. */
bool data_text_is_blank(struct data_text text);

/* Why a line of a data set, or a record of it, is of no use: word, meaning. */
#define DATA_BAD_MAP(X)                                                    \
    X(JSON, "json", "not a JSON object in UTF-8")                          \
    X(LINE, "line", "the line is too long")                                \
    X(FORMAT, "format", "its members fit no format")                       \
    X(FIELD, "field", "a field is missing")                                \
    X(TYPE, "type", "a field is of the wrong type")                        \
    X(EMPTY, "empty", "there is nothing in it")                            \
    X(TURNS, "turns", "its turns are not a conversation and an answer")    \
    X(MANY, "many", "more turns, answers or pairs than a record can hold") \
    X(NUMBER, "number", "a number is out of its range")                    \
    X(SAME, "same", "the answers compared are the same text")              \
    X(LABELS, "labels", "what it says of its answers contradicts itself")  \
    X(LENGTH, "length", "more tokens than fit")                            \
    X(TOKENS, "tokens", "its text cannot be written as tokens of the model")
enum data_bad {
#define X(name, word, meaning) DATA_BAD_##name,
    DATA_BAD_MAP(X)
#undef X
        DATA_BADS /* how many */
};
/* "json"; "not a JSON object in UTF-8".  Constant strings. */
const char *data_bad_name(enum data_bad why);
const char *data_bad_meaning(enum data_bad why);

#endif
