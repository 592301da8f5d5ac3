/* prompts.c -- see prompts.h. */
#include "coordinator/prompts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "data/lines.h"
#include "engine/chat.h"
#include "engine/config.h"

static enum chat_template prompts_template(enum run_template word)
{
    switch (word) {
    case RUN_TEMPLATE_PLAIN: return CHAT_plain;
    case RUN_TEMPLATE_CHATML: return CHAT_chatml;
    case RUN_TEMPLATE_LLAMA3: return CHAT_llama3;
    case RUN_TEMPLATE_HH: return CHAT_hh;
    }
    return CHAT_plain;
}

static enum err_code prompts_turns(const json_t *messages, struct chat_turn *turns, size_t *n,
                                   const char *where, struct err *err)
{
    *n = json_array_size(messages);
    if (*n == 0 || *n > PROMPTS_TURNS)
        return err_set(err, ERR_FORMAT, "%s: \"messages\" must be a list of 1..%d turns", where,
                       PROMPTS_TURNS);
    for (size_t i = 0; i < *n; i++) {
        const json_t *turn = json_array_get(messages, i);
        turns[i].role = json_string_value(json_object_get(turn, "role"));
        turns[i].content = json_string_value(json_object_get(turn, "content"));
        if (!turns[i].role || !turns[i].content)
            return err_set(err, ERR_FORMAT,
                           "%s: messages[%zu] must have \"role\" and \"content\", both text",
                           where, i);
    }
    return ERR_OK;
}

static enum err_code prompts_grow(struct prompts *prompts, struct err *err)
{
    const uint32_t cap = prompts->cap > UINT32_MAX / 2 ? UINT32_MAX : 2 * prompts->cap;
    size_t *offset = realloc(prompts->offset, (size_t)cap * sizeof *offset);
    if (offset)
        prompts->offset = offset;
    uint8_t *kind = prompts->kind ? realloc(prompts->kind, cap) : NULL;
    if (kind)
        prompts->kind = kind;
    if (!offset || (prompts->kind && !kind))
        return err_set(err, ERR_NOMEM, "no memory for %u prompts", (unsigned)cap);
    prompts->cap = cap;
    return ERR_OK;
}

static enum err_code prompts_push(struct prompts *prompts, uint8_t kind, struct err *err)
{
    if (prompts->n == UINT32_MAX - 1)
        return err_set(err, ERR_VALUE, "more prompts than can be counted");
    if (prompts->n + 1 >= prompts->cap) {
        const enum err_code rc = prompts_grow(prompts, err);
        if (rc != ERR_OK)
            return rc;
    }
    if (prompts->kind)
        prompts->kind[prompts->n] = kind;
    prompts->offset[++prompts->n] = prompts->tokens.n;
    return ERR_OK;
}

static bool prompts_have_kinds(const struct run_config *config)
{
    for (uint32_t i = 0; i < config->scorers; i++)
        if (config->scorer[i].prompt_kind[0])
            return true;
    return false;
}

/* A prompt that nobody rewards cannot be trained on. */
static enum err_code prompts_check_reward(const struct run_config *config, const char *word,
                                          const char *where, struct err *err)
{
    bool rewards = false;
    for (uint32_t i = 0; i < config->scorers; i++) {
        if (config->scorer[i].role != RUN_ROLE_REWARD)
            continue;
        if (run_scorer_counts(&config->scorer[i], word))
            return ERR_OK;
        rewards = true;
    }
    if (!rewards)
        return ERR_OK;
    return err_set(err, ERR_VALUE, "%s: no reward scorer counts for a prompt %s%.64s%s", where,
                   word ? "of kind \"" : "without \"kind\"", word ? word : "",
                   word ? "\"" : "");
}

/* *kind as core_prompts has it. */
static enum err_code prompts_kind(const struct run_config *config, const json_t *object,
                                  const char *where, uint8_t *kind, struct err *err)
{
    const json_t *member = json_object_get(object, "kind");
    const char *word = json_string_value(member);
    *kind = 0;
    if (member && !word)
        return err_set(err, ERR_FORMAT, "%s: \"kind\" must be text", where);
    for (uint32_t i = 0; i < config->scorers && word && *kind == 0; i++)
        if (config->scorer[i].prompt_kind[0] &&
            strcmp(config->scorer[i].prompt_kind, word) == 0)
            *kind = (uint8_t)(i + 1);
    return prompts_check_reward(config, word, where, err);
}

static enum err_code prompts_line(struct prompts *prompts, const struct run_config *config,
                                  const struct tokenizer *tokenizer, const struct lines *lines,
                                  struct err *err)
{
    const char *where = lines->where;
    json_t *object = json_parse(lines->line.data, lines->line.len, where, err);
    if (!object)
        return ERR_FORMAT;
    struct chat_turn turns[PROMPTS_TURNS];
    size_t n = 0;
    const json_t *text = json_object_get(object, "prompt");
    const json_t *messages = json_object_get(object, "messages");
    enum err_code rc = ERR_OK;
    if (json_is_string(text) && !messages) {
        turns[n++] = (struct chat_turn){.role = "user", .content = json_string_value(text)};
    } else if (messages && !text) {
        rc = prompts_turns(messages, turns, &n, where, err);
    } else {
        rc = err_set(err, ERR_FORMAT,
                     "%s: either \"prompt\", a text, or \"messages\" is expected", where);
    }
    const size_t before = prompts->tokens.n;
    if (rc == ERR_OK) {
        struct err why;
        rc = chat_encode(prompts_template(config->template_), tokenizer, turns, n,
                         &prompts->tokens, &why);
        if (rc != ERR_OK)
            err_set(err, rc, "%s: %.400s", where, why.text);
    }
    const size_t tokens = prompts->tokens.n - before;
    if (rc == ERR_OK && (tokens == 0 || tokens > config->prompt_tokens_max))
        rc = err_set(err, ERR_VALUE,
                     "%s: the prompt has %zu tokens: data.prompt_tokens_max allows 1..%u",
                     where, tokens, (unsigned)config->prompt_tokens_max);
    uint8_t kind = 0;
    if (rc == ERR_OK && prompts->kind)
        rc = prompts_kind(config, object, where, &kind, err);
    if (rc == ERR_OK)
        rc = prompts_push(prompts, kind, err);
    json_decref(object);
    return rc;
}

/* Only a regular file will do: it is read again when the coordinator starts again. */
static enum err_code prompts_open(struct lines *lines, const char *path, struct err *err)
{
    int fd;
    uint64_t size;
    enum err_code rc = file_open_read(path, &fd, &size, err);
    if (rc != ERR_OK)
        return rc;
    close(fd);
    if (size > PROMPTS_FILE_MAX)
        return err_set(err, ERR_VALUE, "%s: %llu bytes, more than the %zu allowed", path,
                       (unsigned long long)size, PROMPTS_FILE_MAX);
    return lines_open(lines, path, err);
}

enum err_code prompts_load(struct prompts *prompts, const struct run_config *config,
                           struct err *err)
{
    *prompts = (struct prompts){.cap = 1024};
    struct lines lines = {0};
    struct tokenizer *tokenizer = NULL;
    enum err_code rc = prompts_open(&lines, config->prompts, err);
    if (rc != ERR_OK)
        goto out;
    tokenizer = tokenizer_load(config->policy, err);
    if (!tokenizer) {
        rc = err ? err->code : ERR_FORMAT;
        goto out;
    }
    prompts->offset = calloc(prompts->cap, sizeof *prompts->offset);
    if (prompts_have_kinds(config))
        prompts->kind = calloc(prompts->cap, 1);
    if (!prompts->offset || (prompts_have_kinds(config) && !prompts->kind)) {
        rc = err_set(err, ERR_NOMEM, "no memory for the prompts");
        goto out;
    }
    bool more;
    while (!(rc = lines_next(&lines, &more, err)) && more) {
        rc = prompts_line(prompts, config, tokenizer, &lines, err);
        if (rc)
            break;
    }
    if (rc == ERR_OK && prompts->n == 0)
        rc = err_set(err, ERR_FORMAT, "%s: there is no prompt in it", config->prompts);
out:
    tokenizer_free(tokenizer);
    lines_close(&lines);
    return rc;
}

void prompts_release(struct prompts *prompts)
{
    tokens_release(&prompts->tokens);
    free(prompts->offset);
    free(prompts->kind);
    *prompts = (struct prompts){0};
}

struct core_prompts prompts_view(const struct prompts *prompts)
{
    return (struct core_prompts){.n = prompts->n,
                                 .offset = prompts->offset,
                                 .ids = prompts->tokens.ids,
                                 .kind = prompts->kind};
}

enum err_code prompts_answers(const struct run_config *config, struct core_tokens *tokens,
                              struct err *err)
{
    struct model_config model;
    const enum err_code rc = model_config_read(&model, config->policy, err);
    if (rc != ERR_OK)
        return rc;
    *tokens = (struct core_tokens){.vocabulary = model.V};
    if (model.eos >= 0)
        tokens->ends[tokens->ends_n++] = model.eos;
    static_assert(CORE_ENDS_MAX > sizeof model.eos_more / sizeof model.eos_more[0], "room");
    for (uint32_t i = 0; i < model.eos_mores; i++)
        tokens->ends[tokens->ends_n++] = model.eos_more[i];
    return ERR_OK;
}
