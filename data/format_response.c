/*
 * format_response.c -- prompts with an answer each, and perhaps numbers given to it:
 *
 *     {"prompt": "Hi", "response": "Hello!", "rating": 4, "attributes": {"helpfulness": 3.5}}
 *     {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}
 *
 * An attribute is looked for in "attributes", then beside "response".  "prompt" may be a list
 * of messages.
 */
#include "data/format.h"

bool format_response_claims(const json_t *object)
{
    const json_t *messages = json_object_get(object, "messages");
    if (json_object_get(object, "response"))
        return json_object_get(object, "prompt") || messages;
    return messages && format_ends_with_answer(messages);
}

/* "messages" without "response": the last turn is the answer. */
static enum err_code format_response_messages(struct format_work *work, const json_t *messages)
{
    const enum err_code rc = format_messages(work, messages, "messages");
    if (rc)
        return rc;
    const struct data_turn *last = &work->turn[work->turns - 1];
    if (last->role != DATA_ROLE_ASSISTANT)
        return format_bad(work, DATA_BAD_FIELD,
                          "\"response\" is missing, and \"messages\" does not end with the "
                          "assistant's turn");
    const enum err_code bad = format_set_prompt(work, work->turn, work->turns - 1);
    return bad ? bad : format_answer(work, last, 1, "messages");
}

static enum err_code format_response_numbers(struct format_work *work)
{
    struct data_answer *answer = &work->record.answer[0];
    const json_t *attributes = json_object_get(work->object, "attributes");
    if (attributes && !json_is_object(attributes) && !json_is_null(attributes))
        return format_bad(work, DATA_BAD_TYPE,
                          "\"attributes\" is not an object of names and numbers");
    enum err_code rc =
        format_number(work, json_object_get(work->object, "rating"), "rating", &answer->rating);
    for (size_t i = 0; !rc && i < work->attributes; i++) {
        const char *name = work->attribute[i];
        const json_t *value = json_object_get(attributes, name);
        rc = format_number(work, value ? value : json_object_get(work->object, name), name,
                           &answer->attribute[i]);
    }
    return rc;
}

enum err_code format_response_parse(struct format_work *work)
{
    const json_t *response = json_object_get(work->object, "response");
    const json_t *messages = json_object_get(work->object, "messages");
    enum err_code rc;
    if (messages && !response) {
        rc = format_response_messages(work, messages);
    } else {
        rc = format_prompt(work);
        if (!rc)
            rc = format_answer_text(work, response, "response");
    }
    return rc ? rc : format_response_numbers(work);
}
