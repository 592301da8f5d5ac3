/*
 * format_prompt.c -- prompts without answers, as a run reads them:
 *
 *     {"prompt": "2 + 2?", "label": 4}
 *     {"messages": [{"role": "user", "content": "2 + 2?"}]}
 */
#include <stdlib.h>
#include <string.h>

#include "data/format.h"

bool format_prompt_claims(const json_t *object)
{
    static const char *const answers[] = {"response", "chosen", "response_0", "text", "ids"};
    const json_t *prompt = json_object_get(object, "prompt");
    const json_t *messages = json_object_get(object, "messages");
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        if (json_object_get(object, answers[i]))
            return false;
    if (messages)
        return !format_ends_with_answer(messages);
    return json_is_string(prompt) || json_is_array(prompt);
}

/* The member as compact JSON into work->text. */
static enum err_code format_prompt_label(struct format_work *work, const json_t *label)
{
    char *text = json_dumps(label, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    if (!text)
        return err_set(work->err, ERR_NOMEM, "%s: no memory for the label", work->where);
    const size_t at = work->text.len;
    buf_append(&work->text, text, strlen(text) + 1);
    free(text);
    work->record.label = work->text.data + at;
    return buf_check(&work->text, work->where, work->err);
}

enum err_code format_prompt_parse(struct format_work *work)
{
    const json_t *label = json_object_get(work->object, "label");
    const enum err_code rc = format_prompt(work);
    return rc || !label ? rc : format_prompt_label(work, label);
}
