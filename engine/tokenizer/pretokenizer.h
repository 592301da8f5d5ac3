/*
 * pretokenizer.h -- how a text is cut into words: ByteLevel, Split, Digits, Punctuation,
 * Metaspace, Whitespace, WhitespaceSplit, and Sequences of them.
 *
 * Each is made of a few primitive steps; ByteLevel, for one, is "a blank in front", "split by
 * GPT-2's pattern" and "spell the bytes".
 */
#ifndef ENGINE_TOKENIZER_PRETOKENIZER_H
#define ENGINE_TOKENIZER_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "engine/tokenizer/component.h"
#include "engine/tokenizer/pattern.h"
#include "engine/tokenizer/pieces.h"

/* What becomes of a delimiter, e.g. "-" in "a-b--c":  Removed a b c, Isolated a - b - - c,
 * MergedWithPrevious a- b- - c, MergedWithNext a -b - -c, Contiguous a - b -- c. */
#define PRETOKENIZER_BEHAVIOR_MAP(X) \
    X(Removed) X(Isolated) X(MergedWithPrevious) X(MergedWithNext) X(Contiguous)
enum pretokenizer_behavior {
#define X(name) PRETOKENIZER_##name,
    PRETOKENIZER_BEHAVIOR_MAP(X)
#undef X
};

enum pretokenizer_kind {
    PRETOKENIZER_SPLIT,  /* by a pattern, or by a class where there is no pattern */
    PRETOKENIZER_PREFIX, /* `mark` in front, where it is not there already */
    PRETOKENIZER_BLANKS, /* each blank becomes `mark` */
    PRETOKENIZER_BYTES,  /* each byte becomes its character of bytes.h */
};

struct pretokenizer_step {
    enum pretokenizer_kind kind;
    enum pretokenizer_behavior behavior;
    struct pattern *pattern;
    bool (*class)(uint32_t c);
    bool invert;     /* the delimiters are what does not match */
    char mark[5];    /* one character, and a NUL */
    bool start_only; /* PREFIX: only where the input begins */
};

struct pretokenizer {
    struct pretokenizer_step steps[COMPONENT_STEPS_MAX * 3];
    size_t n;
};

/* From the member "pre_tokenizer".  ERR_FORMAT begins with `where`.  Release in either
 * case. */
enum err_code pretokenizer_load(struct pretokenizer *pretokenizer, const json_t *value,
                                const char *where, struct err *err);
void pretokenizer_release(struct pretokenizer *pretokenizer);

/* Cut the pieces that are text; none is empty before or after.  `spare` is scratch.
 * ERR_VALUE: a pattern passed its limit.  ERR_NOMEM. */
enum err_code pretokenizer_run(const struct pretokenizer *pretokenizer, struct pieces *pieces,
                               struct pieces *spare, struct err *err);

#endif
