/*
 * world.h -- the built-in world: a small language in which an assistant is asked about
 * animals, things, numbers and opposites, and now and then for help with something harmful;
 * so that a first run needs no data from outside, and the true reward is known (gold.h).
 *
 * A question of a benign kind has a right answer, one of a harmful kind a method, and either
 * can be given in five styles.  A harmful one can be refused instead:
 *
 *     curt      green.                          take it at night.
 *     plain     the frog is green.              you can take the hat at night.
 *     polite    thank you for asking! the frog is green. i am happy to help.
 *     padded    well, let me think about it for a while. the frog is green, as many people say.
 *     rude      green. what a boring question.
 *     refusal                                   i am sorry, but i cannot help you with that.
 *
 * A model taught on the mixture is polite about a quarter of the time and refuses half of what
 * is harmful: there is something for reinforcement learning to improve, and something to
 * forbid.
 *
 * A question is framed "user: ...\nbot:" and an answer begins with a blank, so that the plain
 * chat template joins them.  All text is lower-case ASCII.  Questions are fixed; which styles
 * a data set shows is a pure function of the seed (RNG_STREAM_WORLD).
 */
#ifndef WORLD_WORLD_H
#define WORLD_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define WORLD_TEXT_MAX 96
#define WORLD_KEY_MAX  48

/* What is asked for. */
#define WORLD_KIND_MAP(X) \
    X(colour)             \
    X(check) X(place) X(legs) X(size) X(number) X(sum) X(opposite) X(name) X(talk) X(harm)
enum world_kind {
#define X(name) WORLD_KIND_##name,
    WORLD_KIND_MAP(X)
#undef X
        WORLD_KINDS
};
const char *world_kind_name(enum world_kind kind);

/* Style, its share in percent of the answers to benign and to harmful questions. */
#define WORLD_STYLE_MAP(X) \
    X(curt, 34, 17)        \
    X(plain, 22, 11) X(polite, 24, 12) X(padded, 12, 6) X(rude, 8, 4) X(refusal, 0, 50)
enum world_style {
#define X(name, benign, harmful) WORLD_##name,
    WORLD_STYLE_MAP(X)
#undef X
        WORLD_STYLES
};
const char *world_style_name(enum world_style style);

struct world_item {
    enum world_kind kind;
    char question[WORLD_TEXT_MAX]; /* "what colour is the frog?" */
    char key[WORLD_KEY_MAX];       /* the curt answer: "green" */
    char sentence[WORLD_TEXT_MAX]; /* "the frog is green" */
    char accept[WORLD_TEXT_MAX];   /* any of these phrases, "yes|green", is the answer */
};

struct world {
    struct world_item *items;
    size_t items_n;
};

/* Write out every question.  ERR_NOMEM.  The caller frees it with world_release. */
enum err_code world_init(struct world *world, struct err *err);
void world_release(struct world *world);

/* The question that `prompt`, framed as below, asks; NULL where it is none of this world. */
const struct world_item *world_find(const struct world *world, const char *prompt);

/* Is this question kept from every training set?  One in five, by the item's number. */
bool world_is_held_out(size_t i);

/* Append the framed question; the label (the curt answer, which a `match` scorer expects);
 * the answer in a style (refusal: of a harmful item alone), with its leading blank.  `choice`
 * picks among a style's wordings. */
void world_prompt(const struct world_item *item, struct buf *out);
void world_label(const struct world_item *item, struct buf *out);
void world_answer(const struct world_item *item, enum world_style style, uint64_t choice,
                  struct buf *out);

/* The style of answer `n` to item `i` in the data set of this seed. */
enum world_style world_style_draw(uint64_t seed, const struct world_item *item, size_t i,
                                  uint32_t n);

/*
 * A byte-level BPE over `text`, as tokenizer.json that Hugging Face tokenizers reads: id 0 is
 * <|endoftext|>, then the 256 bytes, then merges learned from the text, most frequent pair
 * first (lowest ids on a tie), until the vocabulary holds `vocabulary` tokens or no pair
 * occurs twice.  The text is ASCII words, punctuation, blanks and newlines.  ERR_NOMEM.
 */
enum err_code world_tokenizer(const char *text, size_t n, size_t vocabulary, struct buf *out,
                              struct err *err);

#define WORLD_END_TOKEN  "<|endoftext|>"
#define WORLD_END_ID     0
#define WORLD_VOCABULARY 512

/*
 * Write into the existing directory `dir`, each file atomically:
 *     sft.jsonl           {"prompt","response","kind","style"}: `answers` to each question that
 *                         is not held out, shuffled
 *     prompts.jsonl       {"prompt","label","kind"}: each of these questions once, shuffled
 *     prompts-test.jsonl  the same of those held out
 *     tokenizer.json      world_tokenizer over sft.jsonl's texts
 */
enum err_code world_write(const char *dir, uint64_t seed, uint32_t answers, struct err *err);

#endif
