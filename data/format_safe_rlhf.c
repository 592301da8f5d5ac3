/*
 * format_safe_rlhf.c -- PKU-SafeRLHF (Dai et al. 2023, Ji et al. 2024):
 *
 *     {"prompt": "...", "response_0": "...", "response_1": "...", "better_response_id": 0,
 *      "safer_response_id": 1, "is_response_0_safe": false, "is_response_1_safe": true}
 *
 * "better" is which helps more, whatever its safety: the record's pair.  "safer" is its pair
 * of safety.  Either id may be absent, not both; so may the labels.
 */
#include <math.h>

#include "data/format.h"

bool format_safe_rlhf_claims(const json_t *object)
{
    return json_object_get(object, "response_0") && json_object_get(object, "response_1");
}

/* *id: 0, 1, or -1 where the member is absent. */
static enum err_code format_safe_rlhf_id(struct format_work *work, const char *name, int *id)
{
    const json_t *value = json_object_get(work->object, name);
    *id = -1;
    if (!value || json_is_null(value))
        return ERR_OK;
    if (!json_is_integer(value))
        return format_bad(work, DATA_BAD_TYPE,
                          "\"%s\" is not a whole number; 0 or 1 is expected", name);
    if (json_integer_value(value) != 0 && json_integer_value(value) != 1)
        return format_bad(work, DATA_BAD_NUMBER, "\"%s\" is %lld; 0 or 1 is expected", name,
                          (long long)json_integer_value(value));
    *id = (int)json_integer_value(value);
    return ERR_OK;
}

static enum err_code format_safe_rlhf_harm(struct format_work *work, const char *name,
                                           enum data_harm *harm)
{
    const json_t *value = json_object_get(work->object, name);
    if (!value || json_is_null(value))
        return ERR_OK;
    if (!json_is_boolean(value))
        return format_bad(work, DATA_BAD_TYPE, "\"%s\" is not true or false", name);
    *harm = json_is_true(value) ? DATA_HARM_SAFE : DATA_HARM_HARMFUL;
    return ERR_OK;
}

static enum err_code format_safe_rlhf_labels(struct format_work *work)
{
    struct data_answer *answer = work->record.answer;
    int better, safer;
    enum err_code rc = format_safe_rlhf_id(work, "better_response_id", &better);
    if (!rc)
        rc = format_safe_rlhf_id(work, "safer_response_id", &safer);
    if (!rc)
        rc = format_safe_rlhf_harm(work, "is_response_0_safe", &answer[0].harm);
    if (!rc)
        rc = format_safe_rlhf_harm(work, "is_response_1_safe", &answer[1].harm);
    if (rc)
        return rc;
    if (better < 0 && safer < 0)
        return format_bad(work, DATA_BAD_FIELD,
                          "neither \"better_response_id\" nor \"safer_response_id\" is there");
    if (safer >= 0 && answer[safer].harm == DATA_HARM_HARMFUL &&
        answer[1 - safer].harm == DATA_HARM_SAFE)
        return format_bad(work, DATA_BAD_LABELS,
                          "\"safer_response_id\" is %d, but response %d is labelled unsafe and "
                          "response %d safe",
                          safer, safer, 1 - safer);
    if (better >= 0)
        rc = format_pair_add(work, (size_t)better, (size_t)(1 - better), (double)NAN);
    return rc || safer < 0 ? rc : format_safety_add(work, (size_t)safer, (size_t)(1 - safer));
}

enum err_code format_safe_rlhf_parse(struct format_work *work)
{
    enum err_code rc = format_prompt(work);
    if (!rc)
        rc =
            format_answer_text(work, json_object_get(work->object, "response_0"), "response_0");
    if (!rc)
        rc =
            format_answer_text(work, json_object_get(work->object, "response_1"), "response_1");
    if (!rc)
        rc = format_differ(work, "response_0", "response_1");
    return rc ? rc : format_safe_rlhf_labels(work);
}
