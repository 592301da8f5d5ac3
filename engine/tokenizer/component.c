/* component.c -- see component.h. */
#include "engine/tokenizer/component.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#define COMPONENT_DEPTH_MAX 4

struct component_walk {
    const char *list;
    component_visit *visit;
    void *context;
    int seen;
    struct err *err;
};

static enum err_code component_walk(struct component_walk *walk, const json_t *value,
                                    const char *where, int depth)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    if (!type)
        return err_set(walk->err, ERR_FORMAT, "%s is not an object with a type", where);
    if (strcmp(type, "Sequence") != 0) {
        char named[COMPONENT_WHERE_MAX];
        snprintf(named, sizeof named, "%.1200s: %.64s", where, type);
        if (++walk->seen > COMPONENT_STEPS_MAX)
            return err_set(walk->err, ERR_FORMAT, "%s: more than %d components", where,
                           COMPONENT_STEPS_MAX);
        return walk->visit(walk->context, value, type, named, walk->err);
    }
    const json_t *list = json_object_get(value, walk->list);
    if (!json_is_array(list) || depth == COMPONENT_DEPTH_MAX)
        return err_set(walk->err, ERR_FORMAT, "%s: Sequence: %s", where,
                       depth == COMPONENT_DEPTH_MAX ? "nested too deeply"
                                                    : "its members are not a list");
    for (size_t i = 0; i < json_array_size(list); i++) {
        char inside[COMPONENT_WHERE_MAX];
        snprintf(inside, sizeof inside, "%.1200s[%zu]", where, i);
        const enum err_code rc =
            component_walk(walk, json_array_get(list, i), inside, depth + 1);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

enum err_code component_each(const json_t *value, const char *list, const char *where,
                             component_visit *visit, void *context, struct err *err)
{
    if (!value || json_is_null(value))
        return ERR_OK;
    struct component_walk walk = {list, visit, context, 0, err};
    return component_walk(&walk, value, where, 0);
}

enum err_code component_unknown(const char *type, const char *where, struct err *err)
{
    return err_set(err, ERR_FORMAT, "%s: a component of type \"%.64s\" is not known here",
                   where, type);
}

enum err_code component_char(const json_t *component, const char *key, const char **out,
                             const char *where, struct err *err)
{
    const json_t *text = json_object_get(component, key);
    if (!json_is_string(text) || json_string_length(text) == 0 ||
        utf8_size(json_string_value(text)) != json_string_length(text))
        return err_set(err, ERR_FORMAT, "%s: %s is not one character", where, key);
    *out = json_string_value(text);
    return ERR_OK;
}
