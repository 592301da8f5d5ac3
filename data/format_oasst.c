/*
 * format_oasst.c -- OpenAssistant conversation trees (Koepf et al. 2023), a tree a line:
 *
 *     {"message_tree_id": "...", "prompt": {"text": "Hi", "role": "prompter", "replies": [
 *         {"text": "Hello!", "role": "assistant", "rank": 0, "replies": [...]},
 *         {"text": "What?", "role": "assistant", "rank": 1, "replies": []}]}}
 *
 * Each message of a prompter that was answered gives a record: the path to it is the prompt,
 * the replies are the answers, and of two ranked ones that with the lower rank is preferred.
 * Records come in the order of the tree, parents first.  Replies that were deleted, or are
 * empty, are left out with all that follows them.
 *
 * The whole tree is checked before its first record, so that a line is good or bad as one; only
 * a group with too many pairs comes to light later, and ends its tree.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/format.h"

static const json_t *format_oasst_replies(const json_t *message)
{
    return json_object_get(message, "replies");
}

static struct data_text format_oasst_text(const json_t *message)
{
    const json_t *text = json_object_get(message, "text");
    return (struct data_text){json_string_value(text), json_string_length(text)};
}

static bool format_oasst_is_usable(const json_t *message)
{
    return !json_is_true(json_object_get(message, "deleted")) &&
           !data_text_is_blank(format_oasst_text(message));
}

/* A message at this depth: 0, 2, ... the prompter's, 1, 3, ... the assistant's. */
static enum err_code format_oasst_check_message(struct format_work *work, const json_t *message,
                                                size_t depth)
{
    const char *who = depth % 2 == 0 ? "prompter" : "assistant";
    if (!json_is_object(message))
        return format_bad(work, DATA_BAD_TYPE, "a message at depth %zu is not an object",
                          depth);
    char name[64];
    snprintf(name, sizeof name, "text (depth %zu)", depth);
    struct data_text text;
    const enum err_code rc = format_text(work, json_object_get(message, "text"), name, &text);
    if (rc)
        return rc;
    const char *role = json_string_value(json_object_get(message, "role"));
    if (!role || strcmp(role, who) != 0)
        return format_bad(work, DATA_BAD_TURNS,
                          "a message at depth %zu has the role \"%.40s\"; %s is expected",
                          depth, role ? role : "", who);
    const json_t *rank = json_object_get(message, "rank");
    if (rank && !json_is_null(rank) && !json_is_integer(rank))
        return format_bad(work, DATA_BAD_TYPE, "a \"rank\" at depth %zu is no whole number",
                          depth);
    const json_t *replies = format_oasst_replies(message);
    if (replies && !json_is_null(replies) && !json_is_array(replies))
        return format_bad(work, DATA_BAD_TYPE, "\"replies\" at depth %zu is not a list", depth);
    return ERR_OK;
}

/* Recursion ends at FORMAT_DEPTH_MAX. */
static enum err_code format_oasst_check(struct format_work *work, const json_t *message,
                                        size_t depth)
{
    if (depth == FORMAT_DEPTH_MAX)
        return format_bad(work, DATA_BAD_MANY, "the tree is more than %d messages deep",
                          FORMAT_DEPTH_MAX);
    enum err_code rc = format_oasst_check_message(work, message, depth);
    const json_t *replies = format_oasst_replies(message);
    if (!rc && json_array_size(replies) > DATA_ANSWERS_MAX)
        rc = format_bad(work, DATA_BAD_MANY, "more than %d replies at depth %zu",
                        DATA_ANSWERS_MAX, depth);
    for (size_t i = 0; !rc && i < json_array_size(replies); i++)
        rc = format_oasst_check(work, json_array_get(replies, i), depth + 1);
    return rc;
}

/* Go to the next message of a prompter, parents first; false at the end of the tree. */
static bool format_oasst_advance(struct format_work *work)
{
    while (work->step > 0) {
        const size_t top = work->step - 1;
        const json_t *replies = format_oasst_replies(work->path[top]);
        if (work->child[top] == json_array_size(replies)) {
            work->step--;
            continue;
        }
        const json_t *reply = json_array_get(replies, work->child[top]++);
        if (!format_oasst_is_usable(reply))
            continue;
        work->path[work->step] = reply;
        work->child[work->step++] = 0;
        if (work->step % 2 == 1)
            return true;
    }
    return false;
}

static enum err_code format_oasst_prompt(struct format_work *work)
{
    const struct data_turn *first = work->turn + work->turns;
    enum err_code rc = ERR_OK;
    for (size_t i = 0; !rc && i < work->step; i++)
        rc = format_turn(work, i % 2 == 0 ? DATA_ROLE_USER : DATA_ROLE_ASSISTANT,
                         format_oasst_text(work->path[i]));
    return rc ? rc : format_set_prompt(work, first, work->step);
}

/* The answers; rank[i] is answer i's, NAN where it has none. */
static enum err_code format_oasst_answers(struct format_work *work,
                                          double rank[DATA_ANSWERS_MAX])
{
    const json_t *replies = format_oasst_replies(work->path[work->step - 1]);
    enum err_code rc = ERR_OK;
    for (size_t i = 0; !rc && i < json_array_size(replies); i++) {
        const json_t *reply = json_array_get(replies, i);
        if (!format_oasst_is_usable(reply))
            continue;
        const json_t *value = json_object_get(reply, "rank");
        rank[work->record.answers] =
            json_is_integer(value) ? (double)json_integer_value(value) : (double)NAN;
        rc = format_answer_text(work, json_object_get(reply, "text"), "text");
    }
    return rc;
}

static enum err_code format_oasst_pairs(struct format_work *work,
                                        const double rank[DATA_ANSWERS_MAX])
{
    const struct data_record *record = &work->record;
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < record->answers; i++)
        for (size_t j = 0; !rc && j < record->answers; j++)
            if (rank[i] < rank[j] &&
                !data_turns_equal(record->answer[i].turn, 1, record->answer[j].turn, 1))
                rc = format_pair_add(work, i, j, (double)NAN);
    return rc;
}

bool format_oasst_claims(const json_t *object)
{
    const json_t *prompt = json_object_get(object, "prompt");
    return json_object_get(prompt, "text") && json_object_get(prompt, "role");
}

/* Check the tree and stand at its root. */
static enum err_code format_oasst_begin(struct format_work *work, bool *more)
{
    const json_t *root = json_object_get(work->object, "prompt");
    if (!root)
        return format_bad(work, DATA_BAD_FIELD,
                          "\"prompt\" is missing; the root of a tree is expected");
    const enum err_code rc = format_oasst_check(work, root, 0);
    if (rc)
        return rc;
    if (data_text_is_blank(format_oasst_text(root)))
        return format_bad(work, DATA_BAD_EMPTY, "the prompt is empty");
    *more = format_oasst_is_usable(root);
    work->path[0] = root;
    work->child[0] = 0;
    work->step = 1;
    return ERR_OK;
}

enum err_code format_oasst_parse(struct format_work *work)
{
    double rank[DATA_ANSWERS_MAX];
    bool more = true;
    enum err_code rc = ERR_OK;
    if (work->step == 0)
        rc = format_oasst_begin(work, &more);
    else
        more = format_oasst_advance(work);
    while (!rc && more) {
        rc = format_oasst_answers(work, rank);
        if (rc || work->record.answers > 0)
            break;
        more = format_oasst_advance(work);
    }
    if (rc || !more)
        return rc;
    work->again = true;
    rc = format_oasst_prompt(work);
    return rc ? rc : format_oasst_pairs(work, rank);
}
