/* config_yaml.c -- walks libyaml's events and hands each scalar to config.c with its path. */
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "node/config_internal.h"

#define CONFIG_PATH_BYTES 256

/* Where the walk is: "reward.scorers[].weight" and which element. */
struct config_place {
    char path[CONFIG_PATH_BYTES];
    size_t index;
};

static enum err_code config_yaml_node(struct config_reader *reader, yaml_parser_t *parser,
                                      const yaml_event_t *event, struct config_place place,
                                      int depth, struct err *err);

static enum err_code config_yaml_next(struct config_reader *reader, yaml_parser_t *parser,
                                      yaml_event_t *event, struct err *err)
{
    if (!yaml_parser_parse(parser, event)) {
        if (!reader->override)
            reader->line = parser->problem_mark.line + 1;
        return err_set(err, ERR_USAGE, "%s: not YAML: %s", config_where(reader),
                       parser->problem ? parser->problem : "unreadable");
    }
    if (!reader->override)
        reader->line = event->start_mark.line + 1;
    enum err_code rc = ERR_OK;
    if (event->type == YAML_ALIAS_EVENT)
        rc = err_set(err, ERR_USAGE, "%s: aliases are not taken", config_where(reader));
    else if (event->type == YAML_SCALAR_EVENT &&
             (event->data.scalar.anchor || event->data.scalar.tag))
        rc =
            err_set(err, ERR_USAGE, "%s: anchors and tags are not taken", config_where(reader));
    else if (event->type == YAML_MAPPING_START_EVENT &&
             (event->data.mapping_start.anchor || event->data.mapping_start.tag))
        rc =
            err_set(err, ERR_USAGE, "%s: anchors and tags are not taken", config_where(reader));
    else if (event->type == YAML_SEQUENCE_START_EVENT &&
             (event->data.sequence_start.anchor || event->data.sequence_start.tag))
        rc =
            err_set(err, ERR_USAGE, "%s: anchors and tags are not taken", config_where(reader));
    if (rc)
        yaml_event_delete(event);
    return rc;
}

/* place.path + "." + the key just read. */
static enum err_code config_yaml_key(struct config_reader *reader, const yaml_event_t *event,
                                     const struct config_place *at, struct config_place *place,
                                     struct err *err)
{
    if (event->type != YAML_SCALAR_EVENT)
        return err_set(err, ERR_USAGE, "%s: a key must be a plain word", config_where(reader));
    const char *key = (const char *)event->data.scalar.value;
    place->index = at->index;
    const int n = snprintf(place->path, sizeof place->path, "%s%s%s", at->path,
                           at->path[0] ? "." : "", key);
    if (n < 0 || (size_t)n >= sizeof place->path || strlen(key) != event->data.scalar.length ||
        strpbrk(key, "[].") || key[0] == '\0')
        return err_set(err, ERR_USAGE, "%s: a key must be a plain word of letters",
                       config_where(reader));
    return ERR_OK;
}

static enum err_code config_yaml_mapping(struct config_reader *reader, yaml_parser_t *parser,
                                         struct config_place at, int depth, struct err *err)
{
    enum err_code rc = at.path[0] == '\0' ? ERR_OK : config_enter(reader, at.path, false, err);
    while (rc == ERR_OK) {
        yaml_event_t event;
        struct config_place place;
        if ((rc = config_yaml_next(reader, parser, &event, err)))
            return rc;
        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            return ERR_OK;
        }
        rc = config_yaml_key(reader, &event, &at, &place, err);
        yaml_event_delete(&event);
        if (rc || (rc = config_yaml_next(reader, parser, &event, err)))
            return rc;
        rc = config_yaml_node(reader, parser, &event, place, depth + 1, err);
        yaml_event_delete(&event);
    }
    return rc;
}

static enum err_code config_yaml_list(struct config_reader *reader, yaml_parser_t *parser,
                                      struct config_place at, int depth, struct err *err)
{
    enum err_code rc = config_enter(reader, at.path, true, err);
    reader->list_mark =
        (reader->override ? SIZE_MAX / 2 + reader->override_number : reader->line);
    struct config_place place;
    const int n = snprintf(place.path, sizeof place.path, "%s[]", at.path);
    if (rc == ERR_OK && (n < 0 || (size_t)n >= sizeof place.path))
        rc = err_set(err, ERR_USAGE, "%s: key is too long", config_where(reader));
    for (place.index = 0; rc == ERR_OK; place.index++) {
        yaml_event_t event;
        if ((rc = config_yaml_next(reader, parser, &event, err)))
            return rc;
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return ERR_OK;
        }
        /* A list of texts is one key; a list of mappings is a place a number. */
        const bool text = event.type == YAML_SCALAR_EVENT;
        rc = config_yaml_node(reader, parser, &event, text ? at : place, depth + 1, err);
        yaml_event_delete(&event);
    }
    return rc;
}

static enum err_code config_yaml_node(struct config_reader *reader, yaml_parser_t *parser,
                                      const yaml_event_t *event, struct config_place place,
                                      int depth, struct err *err)
{
    if (depth > CONFIG_DEPTH_MAX)
        return err_set(err, ERR_USAGE, "%s: nested deeper than %d", config_where(reader),
                       CONFIG_DEPTH_MAX);
    switch (event->type) {
    case YAML_SCALAR_EVENT: {
        const char *value = (const char *)event->data.scalar.value;
        if (strlen(value) != event->data.scalar.length)
            return err_set(err, ERR_USAGE, "%s: %s holds a NUL byte", config_where(reader),
                           place.path);
        const bool quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        const bool empty = !quoted && (value[0] == '\0' || strcmp(value, "~") == 0 ||
                                       strcmp(value, "null") == 0);
        if (empty)
            return err_set(err, ERR_USAGE, "%s: %s has no value", config_where(reader),
                           place.path);
        return config_assign(reader, place.path, place.index, value, quoted, err);
    }
    case YAML_MAPPING_START_EVENT:
        return config_yaml_mapping(reader, parser, place, depth, err);
    case YAML_SEQUENCE_START_EVENT: return config_yaml_list(reader, parser, place, depth, err);
    default: return err_set(err, ERR_USAGE, "%s: unexpected YAML", config_where(reader));
    }
}

/* STREAM-START, DOCUMENT-START; then the node; then the ends. */
static enum err_code config_yaml_document(struct config_reader *reader, yaml_parser_t *parser,
                                          struct config_place place, bool mapping,
                                          struct err *err)
{
    yaml_event_t event;
    enum err_code rc;
    for (int i = 0; i < 2; i++) {
        if ((rc = config_yaml_next(reader, parser, &event, err)))
            return rc;
        const bool empty = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
        if (empty)
            return err_set(err, ERR_USAGE, "%s: is empty", config_where(reader));
    }
    if ((rc = config_yaml_next(reader, parser, &event, err)))
        return rc;
    if (mapping && event.type != YAML_MAPPING_START_EVENT)
        rc = err_set(err, ERR_USAGE, "%s: must be a mapping of keys to values",
                     config_where(reader));
    else
        rc = config_yaml_node(reader, parser, &event, place, 0, err);
    yaml_event_delete(&event);
    for (int i = 0; i < 2 && rc == ERR_OK; i++) {
        if ((rc = config_yaml_next(reader, parser, &event, err)))
            return rc;
        if (i == 1 && event.type != YAML_STREAM_END_EVENT)
            rc = err_set(err, ERR_USAGE, "%s: a second document begins", config_where(reader));
        yaml_event_delete(&event);
    }
    return rc;
}

enum err_code config_yaml_read(struct config_reader *reader, const char *text, size_t size,
                               const char *prefix, struct err *err)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return err_set(err, ERR_NOMEM, "out of memory for %s", reader->file);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    struct config_place place = {.index = 0};
    snprintf(place.path, sizeof place.path, "%s", prefix);
    const enum err_code rc = config_yaml_document(reader, &parser, place, true, err);
    yaml_parser_delete(&parser);
    return rc;
}

/* "reward.scorers.0.weight" -> "reward.scorers[].weight" and 0. */
static enum err_code config_yaml_dotted(struct config_reader *reader, const char *key, size_t n,
                                        struct config_place *place, struct err *err)
{
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && key[end] != '.')
            end++;
        size_t digits = 0, number = 0;
        for (; i + digits < end && key[i + digits] >= '0' && key[i + digits] <= '9'; digits++)
            number = number < CONFIG_ELEMENTS_MAX
                         ? number * 10 + (size_t)(key[i + digits] - '0')
                         : number;
        const bool is_number = digits > 0 && i + digits == end;
        const int written = is_number
                                ? snprintf(place->path + used, sizeof place->path - used, "[]")
                                : snprintf(place->path + used, sizeof place->path - used,
                                           "%s%.*s", used ? "." : "", (int)(end - i), key + i);
        if (is_number)
            place->index = number;
        if (written <= 0 || (used += (size_t)written) >= sizeof place->path)
            return err_set(err, ERR_USAGE, "%s: the key is too long", config_where(reader));
        i = end + 1;
    }
    return ERR_OK;
}

enum err_code config_yaml_override(struct config_reader *reader, const char *override,
                                   struct err *err)
{
    const char *equals = strchr(override, '=');
    if (!equals || equals == override)
        return err_set(err, ERR_USAGE, "%s: must be dotted.key=value", config_where(reader));
    struct config_place place = {.index = 0};
    enum err_code rc =
        config_yaml_dotted(reader, override, (size_t)(equals - override), &place, err);
    if (rc)
        return rc;
    const char *value = equals + 1;
    if (value[0] == '\0') /* "model.critic_path=" means the empty text */
        return config_assign(reader, place.path, place.index, "", true, err);

    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return err_set(err, ERR_NOMEM, "out of memory for %s", override);
    yaml_parser_set_input_string(&parser, (const unsigned char *)value, strlen(value));
    rc = config_yaml_document(reader, &parser, place, false, err);
    yaml_parser_delete(&parser);
    return rc;
}
