/*
 * format_hh.c -- HH-RLHF transcripts (Bai et al. 2022, https://github.com/anthropics/hh-rlhf):
 *
 *     {"chosen":   "\n\nHuman: Hi\n\nAssistant: Hello!",
 *      "rejected": "\n\nHuman: Hi\n\nAssistant: Bye."}
 *
 * on one line of the file.
 *
 * A turn begins at a marker and goes on to the next; the blank after the marker belongs to it.
 * "Human:" anywhere else is text, as is what follows a second marker of the same speaker: both
 * occur in the published files.  An empty answer (the marker alone) is one too.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "data/format.h"

static const struct {
    const char *text;
    enum data_role role;
} format_hh_markers[] = {{"\n\nHuman:", DATA_ROLE_USER},
                         {"\n\nAssistant:", DATA_ROLE_ASSISTANT}};

/* The bytes of the marker that `text` begins with, or 0. */
static size_t format_hh_marker(const char *text, enum data_role *role)
{
    for (size_t i = 0; i < sizeof format_hh_markers / sizeof *format_hh_markers; i++) {
        const size_t n = strlen(format_hh_markers[i].text);
        if (strncmp(text, format_hh_markers[i].text, n) == 0) {
            *role = format_hh_markers[i].role;
            return n;
        }
    }
    return 0;
}

/* The next marker in `text`, or its end. */
static char *format_hh_next(char *text)
{
    enum data_role role;
    char *at = text;
    while ((at = strstr(at, "\n\n")) && format_hh_marker(at, &role) == 0)
        at++;
    return at ? at : text + strlen(text);
}

/* Cut the transcript, which is overwritten, into turns. */
static enum err_code format_hh_cut(struct format_work *work, char *text, const char *name)
{
    enum data_role role = DATA_ROLE_USER;
    size_t marker = format_hh_marker(text, &role);
    if (marker == 0)
        return format_bad(work, DATA_BAD_TURNS, "\"%s\" does not begin with \"\\n\\nHuman:\"",
                          name);
    enum err_code rc = ERR_OK;
    while (!rc && marker > 0) {
        text += marker;
        text += *text == ' ';
        char *end = format_hh_next(text);
        const struct data_turn turn = {role, {text, (size_t)(end - text)}};
        marker = format_hh_marker(end, &role);
        *end = '\0';
        rc = format_turn(work, turn.role, turn.text);
        text = end;
    }
    return rc;
}

/* A copy of the member in work->text, which was given room for it. */
static enum err_code format_hh_copy(struct format_work *work, const char *name, char **out)
{
    struct data_text text;
    const enum err_code rc =
        format_text(work, json_object_get(work->object, name), name, &text);
    if (rc)
        return rc;
    *out = work->text.data + work->text.len;
    buf_append(&work->text, text.data, text.n + 1);
    return buf_check(&work->text, work->where, work->err);
}

bool format_hh_claims(const json_t *object)
{
    return json_object_get(object, "chosen") && json_object_get(object, "rejected") &&
           !json_object_get(object, "prompt") &&
           json_is_string(json_object_get(object, "chosen"));
}

enum err_code format_hh_parse(struct format_work *work)
{
    char *chosen, *rejected;
    enum err_code rc = format_hh_copy(work, "chosen", &chosen);
    if (!rc)
        rc = format_hh_copy(work, "rejected", &rejected);
    if (!rc && strcmp(chosen, rejected) == 0)
        rc = format_bad(work, DATA_BAD_SAME, "\"chosen\" and \"rejected\" are the same");
    if (!rc)
        rc = format_hh_cut(work, chosen, "chosen");
    const size_t turns = work->turns;
    if (!rc)
        rc = format_hh_cut(work, rejected, "rejected");
    if (!rc)
        rc = format_fork(work, work->turn, turns, work->turn + turns, work->turns - turns);
    if (!rc) /* "\n\nAssistant:" with and without its blank */
        rc = format_differ(work, "chosen", "rejected");
    return rc ? rc : format_pair_add(work, 0, 1, (double)NAN);
}
