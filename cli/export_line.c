/* export_line.c -- see export_line.h. */
#include "cli/export_line.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "data/lines.h"

/* --- texts -------------------------------------------------------------------------------- */

/* The member of the data set's line that is the prompt, as a member of ours. */
static enum err_code export_texts_prompt(struct export_texts *texts, const struct lines *lines,
                                         struct err *err)
{
    json_t *object = json_parse(lines->line.data, lines->line.len, lines->where, err);
    if (!object)
        return ERR_FORMAT;
    const char *key = json_object_get(object, "messages") ? "messages" : "prompt";
    char *text = json_dumps(json_object_get(object, key), JSON_COMPACT | JSON_ENCODE_ANY);
    if (text)
        buf_printf(&texts->prompts, "\"%s\": %s", key, text);
    buf_append(&texts->prompts, "", 1);
    json_decref(object);
    free(text);
    return text ? buf_check(&texts->prompts, "the prompts", err)
                : err_set(err, ERR_FORMAT, "%s: there is no prompt", lines->where);
}

static enum err_code export_texts_prompts(struct export_texts *texts, struct err *err)
{
    const struct replay_source *source = texts->source;
    struct lines lines = {0};
    bool more;
    uint32_t n = 0;
    enum err_code rc = lines_open(&lines, source->config.prompts, err);
    while (rc == ERR_OK && (rc = lines_next(&lines, &more, err)) == ERR_OK && more) {
        if (n == source->prompts.n) {
            n++;
            break;
        }
        texts->at[n++] = texts->prompts.len;
        rc = export_texts_prompt(texts, &lines, err);
    }
    lines_close(&lines);
    if (rc == ERR_OK && n != source->prompts.n)
        rc = err_set(err, ERR_FORMAT, "%s has changed meanwhile", source->config.prompts);
    return rc;
}

enum err_code export_texts_load(struct export_texts *texts, const struct replay_source *source,
                                struct err *err)
{
    *texts = (struct export_texts){.source = source};
    buf_init(&texts->prompts, PROMPTS_FILE_MAX);
    buf_init(&texts->text, EXPORT_LINE_MAX);
    texts->at = calloc(source->prompts.n, sizeof *texts->at);
    if (!texts->at)
        return err_set(err, ERR_NOMEM, "no memory for the prompts");
    texts->tokenizer = tokenizer_load(source->config.policy, err);
    return texts->tokenizer ? export_texts_prompts(texts, err) : err->code;
}

void export_texts_release(struct export_texts *texts)
{
    if (!texts->source)
        return;
    tokenizer_free(texts->tokenizer);
    free(texts->at);
    buf_release(&texts->prompts);
    buf_release(&texts->text);
}

/* --- members ------------------------------------------------------------------------------ */

static void export_line_text(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, ", \"%s\": ", key);
    if (text)
        buf_json_string(out, text, strlen(text));
    else
        buf_puts(out, "null");
}

static void export_line_number(struct buf *out, const char *key, bool there, double value)
{
    buf_printf(out, ", \"%s\": ", key);
    if (there)
        buf_json_number(out, value);
    else
        buf_puts(out, "null");
}

static void export_line_ids(struct buf *out, const char *key, const int32_t *ids, size_t n)
{
    buf_printf(out, ", \"%s\": ", key);
    for (size_t t = 0; t < n; t++)
        buf_printf(out, "%c%d", t > 0 ? ',' : '[', (int)ids[t]);
    buf_puts(out, n > 0 ? "]" : "null");
}

/* 9 digits bring every float back as it was. */
static void export_line_floats(struct buf *out, const char *key, const float *values, size_t n)
{
    buf_printf(out, ", \"%s\": ", key);
    for (size_t t = 0; t < n; t++)
        buf_printf(out, "%c%.9g", t > 0 ? ',' : '[', (double)values[t]);
    buf_puts(out, n > 0 ? "]" : "null");
}

static const char *export_line_finish(const struct replay_slot *of)
{
    static const char *const words[] = {[WIRE_FINISH_EOS] = "eos",
                                        [WIRE_FINISH_STOP] = "stop",
                                        [WIRE_FINISH_LENGTH] = "length"};
    return of->tokens > 0 ? words[of->finish] : NULL;
}

static enum err_code export_line_response(struct export_texts *texts,
                                          const struct replay_slot *of, struct buf *out,
                                          struct err *err)
{
    buf_clear(&texts->text);
    enum err_code rc =
        tokenizer_decode(texts->tokenizer, of->ids, of->tokens, true, &texts->text, err);
    if (rc == ERR_OK)
        rc = buf_check(&texts->text, "the response", err);
    if (rc != ERR_OK)
        return rc;
    /* A reader may refuse U+0000, as ours does; what is no UTF-8 is written as U+FFFD. */
    for (size_t i = 0; i < texts->text.len; i++)
        if (texts->text.data[i] == '\0')
            texts->text.data[i] = (char)0xff;
    buf_puts(out, ", \"response\": ");
    buf_json_string(out, texts->text.len > 0 ? texts->text.data : "", texts->text.len);
    return ERR_OK;
}

/* What a slot and a reference have in common, from the worker to the scores. */
static enum err_code export_line_common(struct export_texts *texts,
                                        const struct replay_slot *of, struct buf *out,
                                        struct err *err)
{
    const struct run_config *config = &texts->source->config;
    export_line_text(out, "drop_reason",
                     of->state == REPLAY_DROPPED ? record_reason_name(of->reason) : NULL);
    buf_printf(out, ", \"version\": %llu", (unsigned long long)of->version);
    export_line_text(out, "worker", of->tokens > 0 ? of->worker : NULL);
    export_line_text(out, "finish", export_line_finish(of));
    buf_printf(out, ", \"prompt_index\": %u, %s", (unsigned)of->prompt,
               texts->prompts.data + texts->at[of->prompt]);
    enum err_code rc = ERR_OK;
    if (of->tokens > 0)
        rc = export_line_response(texts, of, out, err);
    else
        export_line_text(out, "response", NULL);
    buf_puts(out, ", \"attributes\": {");
    for (uint32_t s = 0; of->scored && s < config->scorers; s++) {
        buf_puts(out, s > 0 ? ", " : "");
        buf_json_string(out, config->scorer[s].name, strlen(config->scorer[s].name));
        buf_puts(out, ": ");
        buf_json_number(out, of->scores[s]);
    }
    buf_putc(out, '}');
    return rc;
}

static void export_line_tokens(const struct export_texts *texts, const struct replay_slot *of,
                               struct buf *out)
{
    const struct prompts *prompts = &texts->source->prompts;
    const size_t from = prompts->offset[of->prompt];
    export_line_ids(out, "prompt_ids", prompts->tokens.ids + from,
                    prompts->offset[of->prompt + 1] - from);
    export_line_ids(out, "response_ids", of->ids, of->tokens);
}

enum err_code export_line_slot(struct export_texts *texts, uint64_t step, uint32_t slot,
                               const struct replay_slot *of, bool arrays, struct buf *out,
                               struct err *err)
{
    buf_printf(out, "{\"step\": %llu, \"slot\": %u, \"state\": \"%s\"",
               (unsigned long long)step, (unsigned)slot, replay_state_name(of->state));
    const enum err_code rc = export_line_common(texts, of, out, err);
    const bool costs = run_config_has_role(&texts->source->config, RUN_ROLE_COST);
    export_line_number(out, "raw_reward", of->shaped_here, of->raw);
    export_line_number(out, "shaped_reward", of->shaped_here, of->shaped);
    export_line_number(out, "cost", of->shaped_here && costs, of->cost);
    if (arrays) {
        const size_t shaped = of->shaped_here ? of->tokens : 0;
        export_line_tokens(texts, of, out);
        export_line_floats(out, "logprobs", of->logp, of->tokens);
        export_line_floats(out, "ref_logprobs", of->ref, of->scored ? of->tokens : 0);
        export_line_floats(out, "token_rewards", of->token_reward, shaped);
        export_line_floats(out, "token_costs", of->token_cost, of->token_cost ? shaped : 0);
    }
    buf_puts(out, "}\n");
    return rc;
}

enum err_code export_line_reference(struct export_texts *texts, uint32_t m,
                                    const struct replay_slot *of, bool arrays, struct buf *out,
                                    struct err *err)
{
    buf_printf(out, "{\"reference\": %u, \"state\": \"%s\"", (unsigned)m,
               replay_state_name(of->state));
    const enum err_code rc = export_line_common(texts, of, out, err);
    export_line_number(out, "raw_reward", of->scored, of->raw);
    if (arrays)
        export_line_tokens(texts, of, out);
    buf_puts(out, "}\n");
    return rc;
}
