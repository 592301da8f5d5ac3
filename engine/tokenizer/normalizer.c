/* normalizer.c -- see normalizer.h. */
#include "engine/tokenizer/normalizer.h"

#include <string.h>

#include "base/utf8.h"

#define NORMALIZER_CONTENT_BYTES_MAX 4096u

static enum err_code normalizer_content(struct normalizer_step *step, const json_t *component,
                                        const char *key, const char *where, struct err *err)
{
    const json_t *text = json_object_get(component, key);
    if (!json_is_string(text))
        return err_set(err, ERR_FORMAT, "%s: %s is not a text", where, key);
    buf_append(&step->content, json_string_value(text), json_string_length(text));
    return buf_check(&step->content, where, err);
}

static enum err_code normalizer_visit(void *context, const json_t *component, const char *type,
                                      const char *where, struct err *err)
{
    static const struct {
        const char *name;
        enum normalizer_kind kind;
        enum unicode_form form;
    } types[] = {
        {"NFC", NORMALIZER_FORM, UNICODE_NFC},   {"NFD", NORMALIZER_FORM, UNICODE_NFD},
        {"NFKC", NORMALIZER_FORM, UNICODE_NFKC}, {"NFKD", NORMALIZER_FORM, UNICODE_NFKD},
        {"Lowercase", NORMALIZER_LOWERCASE, 0},  {"Strip", NORMALIZER_STRIP, 0},
        {"Prepend", NORMALIZER_PREPEND, 0},      {"Replace", NORMALIZER_REPLACE, 0},
    };
    struct normalizer *normalizer = context;
    struct normalizer_step *step = &normalizer->steps[normalizer->n];
    size_t i = 0;
    while (i < sizeof types / sizeof *types && strcmp(type, types[i].name) != 0)
        i++;
    if (i == sizeof types / sizeof *types)
        return component_unknown(type, where, err);

    *step = (struct normalizer_step){.kind = types[i].kind, .form = types[i].form};
    buf_init(&step->content, NORMALIZER_CONTENT_BYTES_MAX);
    normalizer->n++;
    switch (step->kind) {
    case NORMALIZER_STRIP: {
        const enum err_code rc =
            json_get_bool(component, "strip_left", &step->left, where, err);
        return rc ? rc : json_get_bool(component, "strip_right", &step->right, where, err);
    }
    case NORMALIZER_PREPEND: return normalizer_content(step, component, "prepend", where, err);
    case NORMALIZER_REPLACE:
        step->pattern = pattern_load(json_object_get(component, "pattern"), where, err);
        return step->pattern ? normalizer_content(step, component, "content", where, err)
                             : ERR_FORMAT;
    case NORMALIZER_FORM:
    case NORMALIZER_LOWERCASE: break;
    }
    return ERR_OK;
}

enum err_code normalizer_load(struct normalizer *normalizer, const json_t *value,
                              const char *where, struct err *err)
{
    normalizer->n = 0;
    return component_each(value, "normalizers", where, normalizer_visit, normalizer, err);
}

void normalizer_release(struct normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->n; i++) {
        buf_release(&normalizer->steps[i].content);
        pattern_free(normalizer->steps[i].pattern);
    }
    normalizer->n = 0;
}

static void normalizer_strip(const struct normalizer_step *step, const struct buf *in,
                             struct buf *out, bool *at_start)
{
    size_t begin = 0, end = in->len;
    while (step->left && begin < end) {
        size_t next = begin;
        if (!unicode_is_space(utf8_next(in->data, &next)))
            break;
        begin = next;
        *at_start = false;
    }
    while (step->right && end > begin) {
        const size_t before = utf8_before(in->data, end);
        size_t at = before;
        if (!unicode_is_space(utf8_next(in->data, &at)))
            break;
        end = before;
    }
    buf_append(out, in->data + begin, end - begin);
}

static enum err_code normalizer_replace(const struct normalizer_step *step,
                                        const struct buf *in, struct buf *out, bool *at_start,
                                        struct err *err)
{
    struct pattern_scan scan;
    enum err_code rc = pattern_scan_open(&scan, step->pattern, err);
    if (rc != ERR_OK)
        return rc;
    pattern_scan_text(&scan, in->data, in->len);
    size_t done = 0;
    for (;;) {
        bool found;
        size_t begin, end;
        rc = pattern_scan_next(&scan, &found, &begin, &end, err);
        if (rc != ERR_OK || !found)
            break;
        /* What takes the place of several characters stands for the last of them. */
        if (begin == 0 && end > 0 && (step->content.len == 0 || end != utf8_size(in->data)))
            *at_start = false;
        buf_append(out, in->data + done, begin - done);
        buf_append(out, step->content.data, step->content.len);
        done = end;
    }
    buf_append(out, in->data + done, in->len - done);
    pattern_scan_close(&scan);
    return rc;
}

static enum err_code normalizer_step_run(const struct normalizer_step *step,
                                         const struct buf *in, struct buf *out, bool *at_start,
                                         struct err *err)
{
    switch (step->kind) {
    case NORMALIZER_FORM: return unicode_normalize(step->form, in->data, in->len, out, err);
    case NORMALIZER_LOWERCASE: unicode_lower(in->data, in->len, out); break;
    case NORMALIZER_STRIP: normalizer_strip(step, in, out, at_start); break;
    case NORMALIZER_REPLACE: return normalizer_replace(step, in, out, at_start, err);
    case NORMALIZER_PREPEND:
        if (in->len > 0)
            buf_append(out, step->content.data, step->content.len);
        buf_append(out, in->data, in->len);
        break;
    }
    return ERR_OK;
}

enum err_code normalizer_run(const struct normalizer *normalizer, struct buf *text,
                             struct buf *spare, bool *at_start, struct err *err)
{
    for (size_t i = 0; i < normalizer->n && text->len > 0; i++) {
        buf_clear(spare);
        enum err_code rc =
            normalizer_step_run(&normalizer->steps[i], text, spare, at_start, err);
        if (rc == ERR_OK)
            rc = buf_check(spare, "a normalized text", err);
        if (rc != ERR_OK)
            return rc;
        const struct buf was = *text;
        *text = *spare;
        *spare = was;
    }
    return ERR_OK;
}
