/* run_config.c -- see run_config.h: a run's file is read, written, hashed and compared. */
#include "node/run_config_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum err_code run_config_load(struct run_config *config, const char *path,
                              const char *const *overrides, size_t overrides_n, struct err *err)
{
    *config = (struct run_config){0};
    enum err_code rc =
        config_load(&run_config_schema, config, path, overrides, overrides_n, err);
    if (rc)
        return rc;
    if (config->reference[0] == '\0')
        memcpy(config->reference, config->policy, sizeof config->reference);
    if (config->gate_prompts[0] && !config->gate_ledger[0] &&
        snprintf(config->gate_ledger, sizeof config->gate_ledger, "%s.gate.sqlite",
                 config->gate_prompts) >= (int)sizeof config->gate_ledger)
        return err_set(err, ERR_USAGE, "%s: gate.prompts: the path is too long", path);
    return run_config_check(config, path, err);
}

enum err_code run_config_check_shapers(const struct run_config *config, const char *path,
                                       struct err *err)
{
    for (uint32_t i = 0; i < config->shapers_n; i++) {
        const char *word = config->shapers[i];
        size_t k = 0;
        while (run_config_shapers[k] && strcmp(word, run_config_shapers[k]) != 0)
            k++;
        if (run_config_shapers[k])
            continue;
        const char *near = config_nearest(word, run_config_shapers, k);
        return err_set(err, ERR_USAGE, "%s: reward.shapers: there is no shaper \"%s\"%s%s%s",
                       path, word, near ? "; did you mean \"" : "", near ? near : "",
                       near ? "\"?" : "");
    }
    return ERR_OK;
}

void run_config_write(const struct run_config *config, struct buf *out)
{
    config_write(&run_config_schema, config, out);
}

/* Sections and keys that do not decide a bit of the result. */
static bool run_config_is_free(const char *path)
{
    static const char *const free_keys[] = {"run.name",
                                            "run.dir",
                                            "checkpoint.",
                                            "workers.",
                                            "endpoints.",
                                            "timeouts.",
                                            "leases.",
                                            "gate.",
                                            "reward.scorers[].better",
                                            "reward.reference_store"};
    for (size_t i = 0; i < sizeof free_keys / sizeof free_keys[0]; i++)
        if (strncmp(path, free_keys[i], strlen(free_keys[i])) == 0)
            return true;
    return false;
}

/* What the hash sees of one key, a line an element. */
static void run_config_write_key(const struct config_key *key, const struct run_config *config,
                                 struct buf *out)
{
    const struct config_list *list = NULL;
    for (size_t i = 0; i < run_config_schema.lists_n; i++) {
        const size_t n = strlen(run_config_schema.lists[i].path);
        if (strncmp(key->path, run_config_schema.lists[i].path, n) == 0 && key->path[n] == '[')
            list = &run_config_schema.lists[i];
    }
    const char *base = (const char *)config;
    uint32_t elements = 1;
    if (list) {
        memcpy(&elements, base + list->count_at, sizeof elements);
        base += list->at;
    }
    for (uint32_t e = 0; e < elements; e++) {
        buf_printf(out, "%s: ", key->path);
        config_write_value(key, base + (list ? e * list->stride : 0), out);
        buf_putc(out, '\n');
    }
}

void run_config_write_keys(const struct run_config *config, const char *prefix, struct buf *out)
{
    for (size_t i = 0; i < run_config_schema.keys_n; i++)
        if (strncmp(run_config_schema.keys[i].path, prefix, strlen(prefix)) == 0)
            run_config_write_key(&run_config_schema.keys[i], config, out);
}

void run_config_hash(const struct run_config *config, struct hash *out)
{
    struct buf text;
    buf_init(&text, 1024 * 1024);
    for (size_t i = 0; i < run_config_schema.keys_n; i++)
        if (!run_config_is_free(run_config_schema.keys[i].path))
            run_config_write_key(&run_config_schema.keys[i], config, &text);
    assert(!text.failed); /* bounded by the schema */
    hash_blake2b(out, text.data, text.len);
    buf_release(&text);
}

const char *run_config_difference(const struct run_config *a, const struct run_config *b)
{
    struct buf of_a, of_b;
    const char *path = NULL;
    buf_init(&of_a, 1024 * 1024);
    buf_init(&of_b, 1024 * 1024);
    for (size_t i = 0; i < run_config_schema.keys_n && !path; i++) {
        buf_clear(&of_a);
        buf_clear(&of_b);
        run_config_write_key(&run_config_schema.keys[i], a, &of_a);
        run_config_write_key(&run_config_schema.keys[i], b, &of_b);
        if (!run_config_is_free(run_config_schema.keys[i].path) &&
            strcmp(of_a.data, of_b.data) != 0)
            path = run_config_schema.keys[i].path;
    }
    buf_release(&of_a);
    buf_release(&of_b);
    return path;
}

void run_config_document(struct buf *out)
{
    buf_puts(
        out,
        "# Configuration\n\nEvery key of a run's YAML file. Printed from the schema "
        "in node/run_config_keys.c by `rlhf config --document`.\n\nA relative path starts at "
        "the directory of the file it stands in; one that is given as KEY=VALUE\n"
        "on a command line, at the working directory. `reward.scorers.0.weight=2` is the "
        "weight of the first\nscorer; the number after the last adds one.\n");
    config_document(&run_config_schema, out);
}
