/* precision.c -- see precision.h. */
#include "engine/precision.h"

#include <stdio.h>
#include <string.h>

#include "engine/kernels/amx.h"
#include "engine/kernels/isa.h"

static const char *const precision_words[] = {
#define X(name, word) word,
    PRECISION_MAP(X)
#undef X
};

enum { PRECISIONS = sizeof precision_words / sizeof precision_words[0] };

const char *precision_name(enum precision precision)
{
    return precision_words[precision];
}

enum err_code precision_parse(const char *word, enum precision *precision, struct err *err)
{
    for (int p = 0; p < PRECISIONS; p++)
        if (strcmp(word, precision_words[p]) == 0) {
            *precision = (enum precision)p;
            return ERR_OK;
        }
    return err_set(err, ERR_USAGE, "precision \"%s\" is neither fp32 nor bf16", word);
}

void precision_path(enum precision precision, char text[PRECISION_PATH_MAX])
{
    const char *isa = isa_name(isa_used());
    if (precision == PRECISION_FP32)
        snprintf(text, PRECISION_PATH_MAX, "fp32 by %s", isa);
    else if (amx_ready())
        snprintf(text, PRECISION_PATH_MAX, "bf16 by amx");
    else
        snprintf(text, PRECISION_PATH_MAX, "bf16 by %s in place of amx: %s", isa,
                 amx_state_name(amx_state()));
}
