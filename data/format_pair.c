/*
 * format_pair.c -- pairs, as in the binarized UltraFeedback and most preference sets:
 *
 *     {"prompt": "Hi", "chosen": "Hello!", "rejected": "Bye.", "margin": 2}
 *     {"prompt": "Hi", "chosen": [{"role": "user", "content": "Hi"},
 *                                 {"role": "assistant", "content": "Hello!"}],
 *      "rejected": [...], "score_chosen": 9, "score_rejected": 4.5}
 *
 * Lists may repeat the prompt, as the second does, or go on from it.  Where "prompt" is a
 * text beside lists that repeat it, it must be what one of their turns says; it may be absent.
 */
#include <math.h>

#include "data/format.h"

/* Whether the list begins with the prompt rather than with the answer. */
static bool format_pair_is_whole(const struct data_turn *turn, size_t turns)
{
    return turns > 0 && turn[0].role != DATA_ROLE_ASSISTANT;
}

/* The record's prompt is that of the lists; "prompt", where given, must agree with it. */
static enum err_code format_pair_agree(struct format_work *work)
{
    const struct data_record *record = &work->record;
    const json_t *prompt = json_object_get(work->object, "prompt");
    const struct data_turn *said = work->turn + work->turns;
    const size_t before = work->turns;
    bool agrees = !prompt || json_is_null(prompt);
    if (json_is_string(prompt)) {
        const struct data_text text = {json_string_value(prompt), json_string_length(prompt)};
        for (size_t i = 0; !agrees && i < record->turns; i++)
            agrees = record->turn[i].role == DATA_ROLE_USER &&
                     data_text_equal(record->turn[i].text, text);
    } else if (!agrees) {
        const enum err_code rc = format_messages(work, prompt, "prompt");
        if (rc)
            return rc;
        const size_t n = work->turns - before;
        agrees = n <= record->turns && data_turns_equal(record->turn, n, said, n);
    }
    if (agrees)
        return ERR_OK;
    return format_bad(work, DATA_BAD_LABELS,
                      "\"prompt\" is not what \"chosen\" and \"rejected\" begin with");
}

static enum err_code format_pair_lists(struct format_work *work, const json_t *chosen,
                                       const json_t *rejected)
{
    const struct data_turn *a = work->turn;
    enum err_code rc = format_messages(work, chosen, "chosen");
    const size_t a_n = work->turns;
    const struct data_turn *b = work->turn + a_n;
    if (!rc)
        rc = format_messages(work, rejected, "rejected");
    const size_t b_n = work->turns - a_n;
    if (rc)
        return rc;
    if (format_pair_is_whole(a, a_n) != format_pair_is_whole(b, b_n))
        return format_bad(
            work, DATA_BAD_TURNS,
            "one of \"chosen\" and \"rejected\" begins with the prompt, the other "
            "with the answer");
    if (format_pair_is_whole(a, a_n)) {
        if (data_turns_equal(a, a_n, b, b_n))
            return format_bad(work, DATA_BAD_SAME, "\"chosen\" and \"rejected\" are the same");
        rc = format_fork(work, a, a_n, b, b_n);
        return rc ? rc : format_pair_agree(work);
    }
    rc = format_prompt(work);
    if (!rc)
        rc = format_answer(work, a, a_n, "chosen");
    return rc ? rc : format_answer(work, b, b_n, "rejected");
}

static enum err_code format_pair_texts(struct format_work *work, const json_t *chosen,
                                       const json_t *rejected)
{
    enum err_code rc = format_prompt(work);
    if (!rc)
        rc = format_answer_text(work, chosen, "chosen");
    return rc ? rc : format_answer_text(work, rejected, "rejected");
}

/* "score_chosen", "score_rejected", "margin": each may be absent. */
static enum err_code format_pair_scores(struct format_work *work, double *margin)
{
    static const char *const names[] = {"score_chosen", "score_rejected"};
    struct data_answer *answer = work->record.answer;
    for (size_t i = 0; i < 2; i++) {
        const enum err_code rc = format_number(work, json_object_get(work->object, names[i]),
                                               names[i], &answer[i].rating);
        if (rc)
            return rc;
    }
    *margin = answer[0].rating - answer[1].rating;
    if (*margin < 0.0)
        return format_bad(work, DATA_BAD_LABELS,
                          "\"score_chosen\" is %.9g, less than \"score_rejected\", %.9g",
                          answer[0].rating, answer[1].rating);
    const enum err_code rc =
        format_number(work, json_object_get(work->object, "margin"), "margin", margin);
    if (!rc && *margin < 0.0)
        return format_bad(work, DATA_BAD_NUMBER, "\"margin\" is %.9g; 0 or more is expected",
                          *margin);
    return rc;
}

bool format_pair_claims(const json_t *object)
{
    const json_t *chosen = json_object_get(object, "chosen");
    return chosen && json_object_get(object, "rejected") &&
           (json_object_get(object, "prompt") || json_is_array(chosen));
}

enum err_code format_pair_parse(struct format_work *work)
{
    const json_t *chosen = json_object_get(work->object, "chosen");
    const json_t *rejected = json_object_get(work->object, "rejected");
    enum err_code rc = json_is_array(chosen) ? format_pair_lists(work, chosen, rejected)
                                             : format_pair_texts(work, chosen, rejected);
    double margin = (double)NAN;
    if (!rc)
        rc = format_differ(work, "chosen", "rejected");
    if (!rc)
        rc = format_pair_scores(work, &margin);
    return rc ? rc : format_pair_add(work, 0, 1, margin);
}
