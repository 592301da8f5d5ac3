/*
 * component.h -- the shape that normalizer, pre_tokenizer, post_processor and decoder share
 * in a tokenizer.json: null, {"type": name, ...}, or a "Sequence" of them.
 */
#ifndef ENGINE_TOKENIZER_COMPONENT_H
#define ENGINE_TOKENIZER_COMPONENT_H

#include "base/json.h"

#define COMPONENT_STEPS_MAX 32
#define COMPONENT_WHERE_MAX 1280 /* bytes: a path, and what inside of the file */

/* One component that is no Sequence.  `where` names the file, the place and the type. */
typedef enum err_code component_visit(void *context, const json_t *component, const char *type,
                                      const char *where, struct err *err);

/* Visit the components of `value` in order; the members of a Sequence are under `list`.
 * NULL and null: none.  ERR_FORMAT where the shape is wrong, there are more than
 * COMPONENT_STEPS_MAX or they are nested too deeply, and what `visit` says. */
enum err_code component_each(const json_t *value, const char *list, const char *where,
                             component_visit *visit, void *context, struct err *err);

/* ERR_FORMAT: type `type` is not known here. */
enum err_code component_unknown(const char *type, const char *where, struct err *err);

/* A member that is a text of exactly one character.  *out is borrowed. */
enum err_code component_char(const json_t *component, const char *key, const char **out,
                             const char *where, struct err *err);

#endif
