/*
 * chat.h -- a conversation as the text (and ids) a model was taught to read.
 *
 * Templates by name: plain (turns joined as they are), chatml (<|im_start|>role ... <|im_end|>),
 * llama3 (<|start_header_id|>role<|end_header_id|> ... <|eot_id|>), hh ("\n\nHuman: ..." and
 * "\n\nAssistant: ...", the transcripts of HH-RLHF).
 */
#ifndef ENGINE_CHAT_H
#define ENGINE_CHAT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/tokenizer.h"

#define CHAT_TEMPLATE_MAP(X) X(plain) X(chatml) X(llama3) X(hh)
enum chat_template {
#define X(name) CHAT_##name,
    CHAT_TEMPLATE_MAP(X)
#undef X
};

struct chat_turn {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
};

/* ERR_VALUE with the names there are. */
enum err_code chat_template_parse(const char *name, enum chat_template *out, struct err *err);

/* Append the ids of the conversation, ready for the assistant to answer.  Content is encoded
 * so that special tokens written in it stay ordinary text; the template's own markers become
 * their ids and must exist in the tokenizer (ERR_VALUE names the missing one).  plain: the
 * post-processor's special tokens (<s>), then each content in turn.  hh: the same special
 * tokens, then the transcript up to "\n\nAssistant:", as ordinary text; the answer begins with
 * the blank that follows.  It has no other roles than "user" and "assistant" (ERR_VALUE), and a
 * content that holds "\n\nHuman:" reads as another turn: the format has no way to tell. */
enum err_code chat_encode(enum chat_template kind, const struct tokenizer *tokenizer,
                          const struct chat_turn *turns, size_t n, struct tokens *out,
                          struct err *err);

/* Append the ids of an answer to those of chat_encode: turns[0] is what the assistant said
 * there, the others what followed, the last the assistant's again; n > 0.  The end of the last
 * one (chat_end_id) is left to the caller.  The assistant's contents are taken as they are,
 * white space included, the others' as in chat_encode.  hh: the first content stands behind one
 * blank, ours or the one that a tokenizer puts before any text (which is none where the text
 * is empty). */
enum err_code chat_encode_answer(enum chat_template kind, const struct tokenizer *tokenizer,
                                 const struct chat_turn *turns, size_t n, struct tokens *out,
                                 struct err *err);

/* The id that ends an assistant turn (<|im_end|>, <|eot_id|>); -1: plain and hh, the
 * model's eos. */
int32_t chat_end_id(enum chat_template kind, const struct tokenizer *tokenizer);

#endif
