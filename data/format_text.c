/* format_text.c -- {"text": "..."}: a plain text, learned from its first token on. */
#include "data/format.h"

bool format_text_claims(const json_t *object)
{
    return json_object_get(object, "text") && !json_object_get(object, "prompt") &&
           !json_object_get(object, "messages") && !json_object_get(object, "chosen");
}

enum err_code format_text_parse(struct format_work *work)
{
    const enum err_code rc =
        format_answer_text(work, json_object_get(work->object, "text"), "text");
    if (!rc && work->turn[0].text.n == 0)
        return format_bad(work, DATA_BAD_EMPTY, "\"text\" is empty");
    return rc;
}
