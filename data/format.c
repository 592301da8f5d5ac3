/* format.c -- see format.h: the table of formats and what their parsers share. */
#include "data/format.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *about;
    bool (*claims)(const json_t *object);
    enum err_code (*parse)(struct format_work *work);
} format_table[FORMATS] = {
    [FORMAT_auto] = {"auto", "whichever the first lines look like", NULL, NULL},
#define X(name, about) \
    [FORMAT_##name] = {#name, about, format_##name##_claims, format_##name##_parse},
    FORMAT_MAP(X)
#undef X
};

const char *format_name(enum format_kind kind)
{
    return format_table[kind].name;
}

const char *format_about(enum format_kind kind)
{
    return format_table[kind].about;
}

const char *format_names(void)
{
#define X(name, about) ", " #name
    static const char names[] = FORMAT_MAP(X);
#undef X
    return names + 2;
}

enum err_code format_find(const char *name, enum format_kind *out, struct err *err)
{
    for (size_t i = 0; i < FORMATS; i++)
        if (strcmp(name, format_table[i].name) == 0) {
            *out = (enum format_kind)i;
            return ERR_OK;
        }
    return err_set(err, ERR_VALUE, "format \"%.64s\" is none of: auto, %s", name,
                   format_names());
}

bool format_claims(enum format_kind kind, const json_t *object)
{
    assert(kind != FORMAT_auto);
    return format_table[kind].claims(object);
}

enum err_code format_parse(enum format_kind kind, struct format_work *work)
{
    assert(kind != FORMAT_auto);
    struct data_record *record = &work->record;
    record->where = work->where;
    record->ids = NULL;
    record->turn = NULL;
    record->label = NULL;
    record->ids_n = record->turns = record->answers = record->pairs = record->safeties = 0;
    work->turns = 0;
    work->again = false;
    return format_table[kind].parse(work);
}

enum err_code format_bad(struct format_work *work, enum data_bad why, const char *format, ...)
{
    char sentence[sizeof work->err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    work->bad = why;
    return err_set(work->err, ERR_FORMAT, "%s: %s", work->where, sentence);
}

/* "is missing", "is null", or what it is instead of what was wanted. */
static enum err_code format_bad_type(struct format_work *work, const json_t *value,
                                     const char *name, const char *wanted)
{
    if (!value)
        return format_bad(work, DATA_BAD_FIELD, "\"%s\" is missing; %s is expected", name,
                          wanted);
    static const char *const types[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a text",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };
    return format_bad(work, DATA_BAD_TYPE, "\"%s\" is %s; %s is expected", name,
                      types[json_typeof(value)], wanted);
}

enum err_code format_text(struct format_work *work, const json_t *value, const char *name,
                          struct data_text *out)
{
    if (!json_is_string(value))
        return format_bad_type(work, value, name, "a text");
    *out = (struct data_text){json_string_value(value), json_string_length(value)};
    return ERR_OK;
}

enum err_code format_number(struct format_work *work, const json_t *value, const char *name,
                            double *out)
{
    if (!value || json_is_null(value))
        return ERR_OK;
    if (!json_is_number(value))
        return format_bad_type(work, value, name, "a number");
    const double number = json_number_value(value);
    if (!(fabs(number) <= FORMAT_NUMBER_MAX))
        return format_bad(work, DATA_BAD_NUMBER, "\"%s\" is %.9g; within +-%g is expected",
                          name, number, FORMAT_NUMBER_MAX);
    *out = number;
    return ERR_OK;
}

enum err_code format_turn(struct format_work *work, enum data_role role, struct data_text text)
{
    if (work->turns == FORMAT_TURNS_MAX)
        return format_bad(work, DATA_BAD_MANY, "more than %d turns", FORMAT_TURNS_MAX);
    work->turn[work->turns++] = (struct data_turn){role, text};
    return ERR_OK;
}

static enum err_code format_role(struct format_work *work, const json_t *value,
                                 const char *name, enum data_role *out)
{
    struct data_text word;
    const enum err_code rc = format_text(work, value, name, &word);
    if (rc)
        return rc;
#define X(role, text)                   \
    if (strcmp(word.data, text) == 0) { \
        *out = DATA_ROLE_##role;        \
        return ERR_OK;                  \
    }
    DATA_ROLE_MAP(X)
#undef X
    return format_bad(work, DATA_BAD_TURNS,
                      "\"%s\" is \"%.40s\"; system, user or assistant is expected", name,
                      word.data);
}

enum err_code format_messages(struct format_work *work, const json_t *list, const char *name)
{
    if (!json_is_array(list))
        return format_bad_type(work, list, name, "a list of messages");
    if (json_array_size(list) == 0)
        return format_bad(work, DATA_BAD_EMPTY, "\"%s\" is an empty list", name);
    enum err_code rc = ERR_OK;
    for (size_t i = 0; !rc && i < json_array_size(list); i++) {
        const json_t *message = json_array_get(list, i);
        char field[96];
        snprintf(field, sizeof field, "%s[%zu]", name, i);
        if (!json_is_object(message))
            return format_bad_type(work, message, field, "an object with role and content");
        enum data_role role = DATA_ROLE_USER;
        struct data_text text = {"", 0};
        snprintf(field, sizeof field, "%s[%zu].role", name, i);
        rc = format_role(work, json_object_get(message, "role"), field, &role);
        snprintf(field, sizeof field, "%s[%zu].content", name, i);
        if (!rc)
            rc = format_text(work, json_object_get(message, "content"), field, &text);
        if (!rc)
            rc = format_turn(work, role, text);
    }
    return rc;
}

bool format_ends_with_answer(const json_t *messages)
{
    const size_t n = json_array_size(messages);
    const json_t *role = json_object_get(json_array_get(messages, n - 1), "role");
    return n > 0 && json_is_string(role) && strcmp(json_string_value(role), "assistant") == 0;
}

enum err_code format_set_prompt(struct format_work *work, const struct data_turn *turn,
                                size_t turns)
{
    if (turns == 0 || turn[turns - 1].role != DATA_ROLE_USER)
        return format_bad(work, DATA_BAD_TURNS,
                          "the prompt does not end with a turn of the "
                          "user");
    if (data_text_is_blank(turn[turns - 1].text))
        return format_bad(work, DATA_BAD_EMPTY, "the prompt is empty");
    work->record.turn = turn;
    work->record.turns = turns;
    return ERR_OK;
}

enum err_code format_prompt(struct format_work *work)
{
    const json_t *prompt = json_object_get(work->object, "prompt");
    const json_t *messages = json_object_get(work->object, "messages");
    const struct data_turn *first = work->turn + work->turns;
    const size_t before = work->turns;
    if (prompt && messages)
        return format_bad(work, DATA_BAD_FIELD,
                          "both \"prompt\" and \"messages\"; one of them is expected");
    enum err_code rc;
    if (json_is_string(prompt)) {
        struct data_text text;
        rc = format_text(work, prompt, "prompt", &text);
        if (!rc)
            rc = format_turn(work, DATA_ROLE_USER, text);
    } else if (prompt && !json_is_array(prompt)) {
        rc = format_bad_type(work, prompt, "prompt", "a text or a list of messages");
    } else if (!prompt && !messages) {
        rc = format_bad_type(work, NULL, "prompt", "a text or a list of messages");
    } else {
        rc = format_messages(work, prompt ? prompt : messages, prompt ? "prompt" : "messages");
    }
    return rc ? rc : format_set_prompt(work, first, work->turns - before);
}

enum err_code format_answer(struct format_work *work, const struct data_turn *turn,
                            size_t turns, const char *name)
{
    struct data_record *record = &work->record;
    if (record->answers == DATA_ANSWERS_MAX)
        return format_bad(work, DATA_BAD_MANY, "more than %d answers", DATA_ANSWERS_MAX);
    if (turns == 0 || turn[0].role != DATA_ROLE_ASSISTANT ||
        turn[turns - 1].role != DATA_ROLE_ASSISTANT)
        return format_bad(work, DATA_BAD_TURNS,
                          "\"%s\" does not go on with turns that begin and end with the "
                          "assistant's",
                          name);
    struct data_answer *answer = &record->answer[record->answers++];
    *answer = (struct data_answer){.turn = turn, .turns = turns, .rating = (double)NAN};
    for (size_t i = 0; i < DATA_ATTRIBUTES_MAX; i++)
        answer->attribute[i] = (double)NAN;
    return ERR_OK;
}

enum err_code format_answer_text(struct format_work *work, const json_t *value,
                                 const char *name)
{
    struct data_text text;
    const struct data_turn *turn = work->turn + work->turns;
    enum err_code rc = format_text(work, value, name, &text);
    if (!rc)
        rc = format_turn(work, DATA_ROLE_ASSISTANT, text);
    return rc ? rc : format_answer(work, turn, 1, name);
}

enum err_code format_fork(struct format_work *work, const struct data_turn *chosen,
                          size_t chosen_n, const struct data_turn *rejected, size_t rejected_n)
{
    size_t shared = 0;
    while (shared < chosen_n && shared < rejected_n &&
           data_turns_equal(chosen + shared, 1, rejected + shared, 1))
        shared++;
    while (shared > 0 && chosen[shared - 1].role != DATA_ROLE_USER)
        shared--;
    if (shared == 0)
        return format_bad(work, DATA_BAD_TURNS,
                          "\"chosen\" and \"rejected\" share no beginning up to a turn of the "
                          "user");
    enum err_code rc = format_set_prompt(work, chosen, shared);
    if (!rc)
        rc = format_answer(work, chosen + shared, chosen_n - shared, "chosen");
    if (!rc)
        rc = format_answer(work, rejected + shared, rejected_n - shared, "rejected");
    return rc;
}

static enum err_code format_compare(struct format_work *work, struct data_pair *list, size_t *n,
                                    size_t better, size_t worse, double margin)
{
    if (*n == DATA_PAIRS_MAX)
        return format_bad(work, DATA_BAD_MANY, "more than %d pairs", DATA_PAIRS_MAX);
    list[(*n)++] = (struct data_pair){(uint8_t)better, (uint8_t)worse, margin};
    return ERR_OK;
}

enum err_code format_pair_add(struct format_work *work, size_t better, size_t worse,
                              double margin)
{
    return format_compare(work, work->record.pair, &work->record.pairs, better, worse, margin);
}

enum err_code format_safety_add(struct format_work *work, size_t safer, size_t less_safe)
{
    return format_compare(work, work->record.safety, &work->record.safeties, safer, less_safe,
                          (double)NAN);
}

enum err_code format_differ(struct format_work *work, const char *first, const char *second)
{
    const struct data_answer *a = &work->record.answer[0], *b = &work->record.answer[1];
    if (!data_turns_equal(a->turn, a->turns, b->turn, b->turns))
        return ERR_OK;
    return format_bad(work, DATA_BAD_SAME, "\"%s\" and \"%s\" are the same", first, second);
}
