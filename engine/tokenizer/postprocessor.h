/*
 * postprocessor.h -- the special tokens put around the ids of a text: TemplateProcessing (of
 * single texts), ByteLevel (which changes offsets only, so nothing here), and Sequences.
 */
#ifndef ENGINE_TOKENIZER_POSTPROCESSOR_H
#define ENGINE_TOKENIZER_POSTPROCESSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "engine/tokenizer/component.h"
#include "engine/tokenizer/tokens.h"

#define POSTPROCESSOR_IDS_MAX 64
#define POSTPROCESSOR_TEXT    (-1) /* among the ids of a template: those of the text */

struct postprocessor_template {
    int32_t ids[POSTPROCESSOR_IDS_MAX];
    size_t n;
};

struct postprocessor {
    struct postprocessor_template templates[COMPONENT_STEPS_MAX];
    size_t n;
};

/* From the member "post_processor".  ERR_FORMAT begins with `where`.  Holds no memory. */
enum err_code postprocessor_load(struct postprocessor *postprocessor, const json_t *value,
                                 const char *where, struct err *err);

/* Replace *tokens by what the templates make of it; without `special`, of the text's ids
 * alone.  ERR_NOMEM. */
enum err_code postprocessor_run(const struct postprocessor *postprocessor, bool special,
                                struct tokens *tokens, struct err *err);

#endif
