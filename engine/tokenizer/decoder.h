/*
 * decoder.h -- the contents of tokens made text again: ByteLevel, ByteFallback, Fuse, Strip,
 * Replace, Metaspace, and Sequences of them.
 */
#ifndef ENGINE_TOKENIZER_DECODER_H
#define ENGINE_TOKENIZER_DECODER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/json.h"
#include "engine/tokenizer/component.h"
#include "engine/tokenizer/pattern.h"
#include "engine/tokenizer/pieces.h"

enum decoder_kind {
    DECODER_BYTE_LEVEL,    /* all tokens together become the bytes they spell */
    DECODER_BYTE_FALLBACK, /* runs of <0xHH> become text, or U+FFFD each */
    DECODER_FUSE,          /* all tokens become one */
    DECODER_STRIP,         /* `mark` at the ends of each token */
    DECODER_REPLACE,       /* `pattern` in each token by `content` */
    DECODER_METASPACE,     /* `mark` by a blank; in the first token by nothing if `prefix` */
};

struct decoder_step {
    enum decoder_kind kind;
    char mark[5];       /* one character, and a NUL */
    size_t start, stop; /* STRIP: at most so many, at the beginning and the end */
    bool prefix;
    struct pattern *pattern;
    struct buf content;
};

struct decoder {
    struct decoder_step steps[COMPONENT_STEPS_MAX];
    size_t n;
    bool present; /* without a decoder, tokens are joined by blanks */
};

/* From the member "decoder".  ERR_FORMAT begins with `where`.  Release in either case. */
enum err_code decoder_load(struct decoder *decoder, const json_t *value, const char *where,
                           struct err *err);
void decoder_release(struct decoder *decoder);

/* Append the text of the tokens, one piece each, to `out`.  `tokens` and `spare` are used up.
 * ERR_NOMEM; ERR_VALUE where a pattern passed its limit. */
enum err_code decoder_run(const struct decoder *decoder, struct pieces *tokens,
                          struct pieces *spare, struct buf *out, struct err *err);

#endif
