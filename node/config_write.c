/* config_write.c -- the way back: a struct as YAML, and the schema as a document. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "node/config.h"

/* JSON strings and numbers are YAML too. */
static void config_write_text(const char *text, struct buf *out)
{
    buf_json_string(out, text, strlen(text));
}

void config_write_value(const struct config_key *key, const void *base, struct buf *out)
{
    const void *at = (const char *)base + key->at;
    switch (key->type) {
    case CONFIG_BOOL: buf_puts(out, *(const bool *)at ? "true" : "false"); return;
    case CONFIG_U32: buf_printf(out, "%u", *(const uint32_t *)at); return;
    case CONFIG_U64: buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)at); return;
    case CONFIG_F32: buf_json_number(out, (double)*(const float *)at); return;
    case CONFIG_F64: buf_json_number(out, *(const double *)at); return;
    case CONFIG_TEXT:
    case CONFIG_PATH: config_write_text(at, out); return;
    case CONFIG_WORD: buf_puts(out, key->words[*(const uint32_t *)at]); return;
    case CONFIG_TEXTS: break;
    }
    const uint32_t n = *(const uint32_t *)(const void *)((const char *)base + key->count_at);
    buf_putc(out, '[');
    for (uint32_t i = 0; i < n; i++) {
        buf_puts(out, i ? ", " : "");
        config_write_text((const char *)at + (size_t)i * key->size, out);
    }
    buf_putc(out, ']');
}

static void config_write_list(const struct config_schema *schema,
                              const struct config_list *list, const void *in, struct buf *out)
{
    const uint32_t n = *(const uint32_t *)(const void *)((const char *)in + list->count_at);
    const size_t prefix = strlen(list->path);
    if (n == 0)
        return; /* an absent list is an empty one */
    buf_printf(out, "  %s:\n", strchr(list->path, '.') + 1);
    for (uint32_t e = 0; e < n; e++) {
        const char *lead = "    - ";
        for (size_t i = 0; i < schema->keys_n; i++) {
            const struct config_key *key = &schema->keys[i];
            if (strncmp(key->path, list->path, prefix) != 0 || key->path[prefix] != '[')
                continue;
            buf_printf(out, "%s%s: ", lead, key->path + prefix + strlen("[]."));
            config_write_value(key, (const char *)in + list->at + e * list->stride, out);
            buf_putc(out, '\n');
            lead = "      ";
        }
    }
}

/* "ppo." of "ppo.gamma": is it the section of the key before? */
static size_t config_section(const char *path)
{
    return (size_t)(strchr(path, '.') - path);
}

void config_write(const struct config_schema *schema, const void *in, struct buf *out)
{
    const char *section = "";
    const struct config_list *written = NULL;
    for (size_t i = 0; i < schema->keys_n; i++) {
        const struct config_key *key = &schema->keys[i];
        const size_t n = config_section(key->path);
        if (strncmp(section, key->path, n + 1) != 0) {
            section = key->path;
            buf_printf(out, "%.*s:\n", (int)n, section);
        }
        const struct config_list *list = NULL;
        for (size_t l = 0; l < schema->lists_n; l++)
            if (strncmp(key->path, schema->lists[l].path, strlen(schema->lists[l].path)) == 0 &&
                key->path[strlen(schema->lists[l].path)] == '[')
                list = &schema->lists[l];
        if (list) {
            if (list != written)
                config_write_list(schema, list, in, out);
            written = list;
            continue;
        }
        buf_printf(out, "  %s: ", key->path + n + 1);
        config_write_value(key, in, out);
        buf_putc(out, '\n');
    }
}

static const char *config_type_text(const struct config_key *key)
{
    switch (key->type) {
    case CONFIG_BOOL: return "true or false";
    case CONFIG_U32:
    case CONFIG_U64: return "whole number";
    case CONFIG_F32:
    case CONFIG_F64: return "number";
    case CONFIG_TEXT: return "text";
    case CONFIG_PATH: return "path";
    case CONFIG_WORD: return "word";
    case CONFIG_TEXTS: return "list of texts";
    }
    return "?";
}

static void config_document_row(const struct config_key *key, struct buf *out)
{
    const bool number = key->type == CONFIG_U32 || key->type == CONFIG_U64 ||
                        key->type == CONFIG_F32 || key->type == CONFIG_F64;
    buf_printf(out, "| `%s` | %s", key->path, config_type_text(key));
    if (key->type == CONFIG_WORD)
        for (size_t w = 0; key->words[w]; w++)
            buf_printf(out, "%s `%s`", w ? "," : ":", key->words[w]);
    if (number)
        buf_printf(out, ", %.15g .. %.15g", key->min, key->max);
    if (key->unit[0])
        buf_printf(out, " (%s)", key->unit);
    if (key->type == CONFIG_TEXTS)
        buf_puts(out, " | none");
    else if (!key->preset)
        buf_puts(out, " | **required**");
    else
        buf_printf(out, " | %s%s%s", key->preset[0] ? "`" : "empty", key->preset,
                   key->preset[0] ? "`" : "");
    buf_printf(out, " | %s |\n", key->doc);
}

void config_document(const struct config_schema *schema, struct buf *out)
{
    const char *section = "";
    for (size_t i = 0; i < schema->keys_n; i++) {
        const struct config_key *key = &schema->keys[i];
        const size_t n = config_section(key->path);
        if (strncmp(section, key->path, n + 1) != 0) {
            section = key->path;
            buf_printf(out,
                       "\n## %.*s\n\n| key | type, range (unit) | default | meaning |\n"
                       "|---|---|---|---|\n",
                       (int)n, section);
        }
        config_document_row(key, out);
    }
}
