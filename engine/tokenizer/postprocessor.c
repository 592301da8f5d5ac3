/* postprocessor.c -- see postprocessor.h. */
#include "engine/tokenizer/postprocessor.h"

#include <string.h>

#include "engine/tokenizer/vocab.h"

static enum err_code postprocessor_put(struct postprocessor_template *template, int32_t id,
                                       const char *where, struct err *err)
{
    if (template->n == POSTPROCESSOR_IDS_MAX)
        return err_set(err, ERR_FORMAT, "%s: single has more than %d tokens", where,
                       POSTPROCESSOR_IDS_MAX);
    template->ids[template->n++] = id;
    return ERR_OK;
}

/* {"SpecialToken": {"id": name}}: the ids under special_tokens[name]. */
static enum err_code postprocessor_special(struct postprocessor_template *template,
                                           const json_t *component, const json_t *piece,
                                           const char *where, struct err *err)
{
    const char *name = json_string_value(json_object_get(piece, "id"));
    const json_t *specials = json_object_get(component, "special_tokens");
    const json_t *ids = name ? json_object_get(json_object_get(specials, name), "ids") : NULL;
    if (!json_is_array(ids))
        return err_set(err, ERR_FORMAT, "%s: special token \"%.80s\" has no ids", where,
                       name ? name : "");
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        const json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > VOCAB_ID_MAX)
            return err_set(err, ERR_FORMAT,
                           "%s: an id of \"%.80s\" is not a whole number in "
                           "[0, %d]",
                           where, name, VOCAB_ID_MAX);
        const enum err_code rc = postprocessor_put(template, (int32_t)value, where, err);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

static enum err_code postprocessor_template(struct postprocessor_template *template,
                                            const json_t *component, const char *where,
                                            struct err *err)
{
    const json_t *single = json_object_get(component, "single");
    if (!json_is_array(single))
        return err_set(err, ERR_FORMAT, "%s: single is not a list", where);
    size_t texts = 0;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i);
        const json_t *special = json_object_get(piece, "SpecialToken");
        const char *text =
            json_string_value(json_object_get(json_object_get(piece, "Sequence"), "id"));
        if (!special && (!text || strcmp(text, "A") != 0))
            return err_set(err, ERR_FORMAT,
                           "%s: single[%zu] is neither a SpecialToken nor the Sequence A",
                           where, i);
        texts += !special;
        const enum err_code rc =
            special ? postprocessor_special(template, component, special, where, err)
                    : postprocessor_put(template, POSTPROCESSOR_TEXT, where, err);
        if (rc != ERR_OK)
            return rc;
    }
    if (texts != 1)
        return err_set(err, ERR_FORMAT, "%s: single has the Sequence A %zu times, not once",
                       where, texts);
    return ERR_OK;
}

static enum err_code postprocessor_visit(void *context, const json_t *component,
                                         const char *type, const char *where, struct err *err)
{
    struct postprocessor *postprocessor = context;
    if (strcmp(type, "ByteLevel") == 0)
        return ERR_OK;
    if (strcmp(type, "TemplateProcessing") != 0)
        return component_unknown(type, where, err);
    struct postprocessor_template *template = &postprocessor->templates[postprocessor->n++];
    template->n = 0;
    return postprocessor_template(template, component, where, err);
}

enum err_code postprocessor_load(struct postprocessor *postprocessor, const json_t *value,
                                 const char *where, struct err *err)
{
    postprocessor->n = 0;
    return component_each(value, "processors", where, postprocessor_visit, postprocessor, err);
}

enum err_code postprocessor_run(const struct postprocessor *postprocessor, bool special,
                                struct tokens *tokens, struct err *err)
{
    for (size_t t = 0; special && t < postprocessor->n; t++) {
        const struct postprocessor_template *template = &postprocessor->templates[t];
        struct tokens made = {0};
        enum err_code rc = ERR_OK;
        for (size_t i = 0; rc == ERR_OK && i < template->n; i++)
            rc = template->ids[i] == POSTPROCESSOR_TEXT
                     ? tokens_append(&made, tokens->ids, tokens->n, err)
                     : tokens_append(&made, &template->ids[i], 1, err);
        if (rc != ERR_OK) {
            tokens_release(&made);
            return rc;
        }
        tokens_release(tokens);
        *tokens = made;
    }
    return ERR_OK;
}
