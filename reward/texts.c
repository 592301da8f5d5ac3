/* texts.c -- see texts.h. */
#include "reward/texts.h"

#include <stdio.h>
#include <stdlib.h>

#define TEXTS_A_SAMPLE 3 /* prompt, query, response */

void texts_init(struct texts *texts)
{
    *texts = (struct texts){0};
    buf_init(&texts->text, TEXTS_BYTES_MAX);
}

void texts_release(struct texts *texts)
{
    buf_release(&texts->text);
    free(texts->at);
    free(texts->fault);
    *texts = (struct texts){0};
}

static enum err_code texts_reserve(struct texts *texts, size_t n, struct err *err)
{
    buf_clear(&texts->text);
    if (n <= texts->n)
        return ERR_OK;
    size_t *at = realloc(texts->at, (TEXTS_A_SAMPLE * n + 1) * sizeof *at);
    if (at)
        texts->at = at;
    char(*fault)[SCORER_REASON_MAX] = realloc(texts->fault, n * sizeof *fault);
    if (fault)
        texts->fault = fault;
    if (!at || !fault)
        return err_set(err, ERR_NOMEM, "out of memory for the texts of %zu samples", n);
    texts->n = n;
    return ERR_OK;
}

/* Append the three texts; at[0..2] are where they begin. */
static enum err_code texts_append(struct buf *text, const struct tokenizer *tokenizer,
                                  const struct scorer_sample *sample, size_t at[TEXTS_A_SAMPLE],
                                  struct err *err)
{
    const size_t prompt = sample->prompt_tokens, response = sample->response_tokens;
    at[0] = text->len;
    enum err_code rc = tokenizer_decode(tokenizer, sample->ids, prompt, false, text, err);
    buf_putc(text, '\0');
    at[1] = text->len;
    if (rc == ERR_OK)
        rc = tokenizer_decode(tokenizer, sample->ids, prompt + response, false, text, err);
    buf_putc(text, '\0');
    at[2] = text->len;
    if (rc == ERR_OK)
        rc = tokenizer_decode(tokenizer, sample->ids + prompt, response, true, text, err);
    buf_putc(text, '\0');
    return rc;
}

static struct scorer_text texts_get(const struct texts *texts, size_t i)
{
    return (struct scorer_text){texts->text.data + texts->at[i],
                                texts->at[i + 1] - texts->at[i] - 1};
}

enum err_code texts_decode(struct texts *texts, const struct tokenizer *tokenizer,
                           struct scorer_sample *samples, size_t n, struct err *err)
{
    enum err_code rc = n > 0 ? texts_reserve(texts, n, err) : ERR_OK;
    if (rc || n == 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        struct err why = {0};
        texts->fault[i][0] = '\0';
        rc = texts_append(&texts->text, tokenizer, &samples[i], texts->at + TEXTS_A_SAMPLE * i,
                          &why);
        if (rc == ERR_NOMEM || texts->text.failed)
            return err_set(err, ERR_NOMEM, "out of memory for the texts of %zu samples", n);
        if (rc)
            snprintf(texts->fault[i], SCORER_REASON_MAX, "%.*s", SCORER_REASON_MAX - 1,
                     why.text);
    }
    texts->at[TEXTS_A_SAMPLE * n] = texts->text.len;
    /* Only now: appending may have moved what came before. */
    for (size_t i = 0; i < n; i++) {
        samples[i].prompt = texts_get(texts, TEXTS_A_SAMPLE * i);
        samples[i].query = texts_get(texts, TEXTS_A_SAMPLE * i + 1);
        samples[i].response = texts_get(texts, TEXTS_A_SAMPLE * i + 2);
        samples[i].text_fault = texts->fault[i][0] ? texts->fault[i] : NULL;
    }
    return ERR_OK;
}
