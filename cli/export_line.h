/*
 * export_line.h -- one line of export.h, and the texts that go into it.
 */
#ifndef CLI_EXPORT_LINE_H
#define CLI_EXPORT_LINE_H

#include "base/buf.h"
#include "cli/replay_source.h"
#include "engine/tokenizer.h"

#define EXPORT_LINE_MAX ((size_t)256 << 20) /* bytes */

struct export_texts {
    const struct replay_source *source;
    struct tokenizer *tokenizer;
    struct buf prompts; /* "prompt": "..." of each, as a line has it, with a NUL behind it */
    size_t *at;         /* [prompts]: where it begins there */
    struct buf text;    /* of the response at hand */
};

/* The data set once more, as text, and the policy's tokenizer.  source is borrowed.  ERR_FORMAT
 * where the data set is not the one that source has read.  The caller ends it with
 * export_texts_release, also on failure. */
enum err_code export_texts_load(struct export_texts *texts, const struct replay_source *source,
                                struct err *err);
void export_texts_release(struct export_texts *texts);

/* Append the line.  ERR_VALUE where a token is none of the tokenizer's. */
enum err_code export_line_slot(struct export_texts *texts, uint64_t step, uint32_t slot,
                               const struct replay_slot *of, bool arrays, struct buf *out,
                               struct err *err);
enum err_code export_line_reference(struct export_texts *texts, uint32_t m,
                                    const struct replay_slot *of, bool arrays, struct buf *out,
                                    struct err *err);

#endif
