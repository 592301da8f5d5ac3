/*
 * world.h -- the built-in world: a small language in which an assistant is asked about
 * animals, things, numbers and opposites, so that a first run needs no data from outside.
 *
 * Every question has one right answer, and every answer can be given in five styles:
 *
 *     curt     green.
 *     plain    the frog is green.
 *     polite   thank you for asking! the frog is green. i am happy to help.
 *     padded   well, let me think about it. the frog is green, as many people say. ...
 *     rude     green. what a boring question.
 *
 * A model taught on the mixture answers politely about a quarter of the time: there is
 * something for reinforcement learning to improve, and something (rudeness) to forbid.
 *
 * A question is framed "user: ...\nbot:" and an answer begins with a blank, so that the plain
 * chat template joins them.  All text is lower-case ASCII.  Questions are fixed; which styles
 * a data set shows is a pure function of the seed (RNG_STREAM_WORLD).
 */
#ifndef WORLD_WORLD_H
#define WORLD_WORLD_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define WORLD_TEXT_MAX 96
#define WORLD_KEY_MAX  32

/* Style, share in percent. */
#define WORLD_STYLE_MAP(X) X(curt, 34) X(plain, 22) X(polite, 24) X(padded, 12) X(rude, 8)
enum world_style {
#define X(name, percent) WORLD_##name,
    WORLD_STYLE_MAP(X)
#undef X
    WORLD_STYLES
};
const char *world_style_name(enum world_style style);

struct world_item {
    char question[WORLD_TEXT_MAX]; /* "what colour is the frog?" */
    char key[WORLD_KEY_MAX];       /* "green" */
    char sentence[WORLD_TEXT_MAX]; /* "the frog is green" */
};

struct world {
    struct world_item *items;
    size_t items_n;
};

/* Write out every question.  ERR_NOMEM.  The caller frees it with world_release. */
enum err_code world_init(struct world *world, struct err *err);
void world_release(struct world *world);

/* Append the framed question; the label (the curt answer, which a `match` scorer expects);
 * the answer in a style, with its leading blank.  `choice` picks among a style's wordings. */
void world_prompt(const struct world_item *item, struct buf *out);
void world_label(const struct world_item *item, struct buf *out);
void world_answer(const struct world_item *item, enum world_style style, uint64_t choice,
                  struct buf *out);

/* The style of answer `n` to item `i` in the data set of this seed. */
enum world_style world_style_draw(uint64_t seed, size_t i, uint32_t n);

/* Words, each once, ended by newlines: what `words` scorers read. */
const char *world_polite_words(void);
const char *world_rude_words(void);

/*
 * A byte-level BPE over `text`, as tokenizer.json that Hugging Face tokenizers reads: id 0 is
 * <|endoftext|>, then the 256 bytes, then merges learned from the text, most frequent pair
 * first (lowest ids on a tie), until the vocabulary holds `vocabulary` tokens or no pair
 * occurs twice.  The text is ASCII words, punctuation, blanks and newlines.  ERR_NOMEM.
 */
enum err_code world_tokenizer(const char *text, size_t n, size_t vocabulary, struct buf *out,
                              struct err *err);

#define WORLD_END_TOKEN    "<|endoftext|>"
#define WORLD_END_ID       0
#define WORLD_VOCABULARY   512

/*
 * Write into the existing directory `dir`, each file atomically:
 *     sft.jsonl        {"prompt","response","style"}, `answers` to each question, shuffled
 *     prompts.jsonl    {"prompt","label"}, each question once, shuffled
 *     tokenizer.json   world_tokenizer over sft.jsonl's texts
 *     polite.txt, rude.txt
 */
enum err_code world_write(const char *dir, uint64_t seed, uint32_t answers, struct err *err);

#endif
