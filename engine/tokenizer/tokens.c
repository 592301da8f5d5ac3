/* tokens.c -- the growing list of ids (tokenizer.h). */
#include <stdlib.h>

#include "engine/tokenizer/tokens.h"

void tokens_release(struct tokens *tokens)
{
    free(tokens->ids);
    *tokens = (struct tokens){0};
}

enum err_code tokens_append(struct tokens *tokens, const int32_t *ids, size_t n,
                            struct err *err)
{
    if (n > tokens->cap - tokens->n) {
        size_t cap = tokens->cap ? tokens->cap : 64;
        while (cap - tokens->n < n)
            cap *= 2; /* n is bounded by texts in memory: far from overflow */
        int32_t *grown = realloc(tokens->ids, cap * sizeof *grown);
        if (!grown)
            return err_set(err, ERR_NOMEM, "no memory for %zu token ids", cap);
        tokens->ids = grown;
        tokens->cap = cap;
    }
    for (size_t i = 0; i < n; i++)
        tokens->ids[tokens->n + i] = ids[i];
    tokens->n += n;
    return ERR_OK;
}
