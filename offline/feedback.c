/* feedback.c -- see feedback.h. */
#include "offline/feedback.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

/* Uses of RNG_STREAM_PREFERENCE beside the order of epochs, which has a below 2^40; b and c are
 * the halves of the prompt's hash. */
#define FEEDBACK_HOLD_OUT ((uint64_t)1 << 40)
#define FEEDBACK_MEMBER   (((uint64_t)1 << 40) + 1)

const char *feedback_kind_name(enum feedback_kind kind)
{
    static const char *const names[] = {
#define X(name, word) word,
        FEEDBACK_KIND_MAP(X)
#undef X
    };
    return names[kind];
}

void feedback_init(struct feedback *f, enum feedback_kind kind, uint32_t labels)
{
    assert(labels > 0 && labels <= FEEDBACK_LABELS_MAX);
    assert(kind == FEEDBACK_REGRESSION || labels == 1);
    *f = (struct feedback){.kind = kind, .labels = labels};
}

void feedback_release(struct feedback *f)
{
    tokens_release(&f->ids);
    free(f->offset);
    free(f->item);
    free(f->want);
    feedback_init(f, f->kind, f->labels);
}

size_t feedback_length(const struct feedback *f, uint32_t seq)
{
    return (size_t)(f->offset[seq + 1] - f->offset[seq]);
}

size_t feedback_tokens(const struct feedback *f, uint32_t item)
{
    const struct feedback_item *of = &f->item[item];
    return feedback_length(f, of->seq[0]) +
           (of->seq[1] == FEEDBACK_NONE ? 0 : feedback_length(f, of->seq[1]));
}

/* Double `cap` until `need` fits and give *array that room. */
static bool feedback_grow(void **array, size_t size, size_t need, size_t *cap)
{
    if (need <= *cap)
        return true;
    size_t more = *cap ? *cap : 1024;
    while (more < need)
        more *= 2;
    void *grown = realloc(*array, more * size);
    if (!grown)
        return false;
    *array = grown;
    *cap = more;
    return true;
}

enum err_code feedback_add(struct feedback *f, const int32_t *ids, size_t n, uint32_t *seq,
                           struct err *err)
{
    assert(n > 0);
    if (f->seqs >= FEEDBACK_NONE - 1)
        return err_set(err, ERR_VALUE, "there are more than %u answers", FEEDBACK_NONE - 1);
    void *to_ids = f->ids.ids, *offset = f->offset;
    bool good = feedback_grow(&to_ids, sizeof *f->ids.ids, f->ids.n + n, &f->ids.cap);
    f->ids.ids = to_ids;
    good = feedback_grow(&offset, sizeof *f->offset, f->seqs + 2, &f->seqs_cap) && good;
    f->offset = offset;
    if (!good)
        return err_set(err, ERR_NOMEM, "no memory for %zu token ids", f->ids.n + n);
    memcpy(f->ids.ids + f->ids.n, ids, n * sizeof *ids);
    f->ids.n += n;
    f->offset[0] = 0;
    *seq = (uint32_t)f->seqs++;
    f->offset[f->seqs] = f->ids.n;
    return ERR_OK;
}

enum err_code feedback_add_item(struct feedback *f, const struct feedback_item *item,
                                const double *want, struct err *err)
{
    assert((f->kind == FEEDBACK_REGRESSION) == (want != NULL));
    assert((item->seq[1] == FEEDBACK_NONE) == (want != NULL));
    if (f->n >= FEEDBACK_NONE - 1)
        return err_set(err, ERR_VALUE, "there are more than %u items", FEEDBACK_NONE - 1);
    void *items = f->item;
    bool good = feedback_grow(&items, sizeof *f->item, f->n + 1, &f->cap);
    f->item = items;
    if (good && want) {
        double *grown = realloc(f->want, f->cap * f->labels * sizeof *grown);
        good = grown != NULL;
        f->want = grown ? grown : f->want;
    }
    if (!good)
        return err_set(err, ERR_NOMEM, "no memory for %zu items", f->n + 1);
    if (want)
        memcpy(f->want + f->n * f->labels, want, f->labels * sizeof *want);
    f->item[f->n++] = *item;
    return ERR_OK;
}

/* ---- which side a prompt falls on ---- */

/* A prompt's random number, and the prompt. */
struct feedback_draw {
    uint64_t number, prompt;
};

static struct feedback_draw feedback_draw(uint64_t seed, uint64_t use, uint64_t prompt)
{
    uint32_t word[4];
    rng_block(seed, RNG_STREAM_PREFERENCE, use, (uint32_t)(prompt >> 32), (uint32_t)prompt,
              word);
    return (struct feedback_draw){(uint64_t)word[0] << 32 | word[1], prompt};
}

static int feedback_compare(const void *a, const void *b)
{
    const struct feedback_draw *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->prompt < y->prompt ? -1 : x->prompt > y->prompt;
}

enum err_code feedback_hold_out(struct feedback *f, uint64_t seed, double fraction,
                                struct err *err)
{
    assert(f->n > 0 && fraction >= 0.0 && fraction <= 0.5);
    struct feedback_draw *draw = calloc(f->n, sizeof *draw);
    if (!draw)
        return err_set(err, ERR_NOMEM, "no memory for %zu prompts", f->n);
    for (size_t i = 0; i < f->n; i++)
        draw[i] = feedback_draw(seed, FEEDBACK_HOLD_OUT, f->item[i].prompt);
    qsort(draw, f->n, sizeof *draw, feedback_compare);
    size_t prompts = 1;
    for (size_t i = 1; i < f->n; i++) {
        if (feedback_compare(&draw[i], &draw[prompts - 1]) != 0)
            draw[prompts++] = draw[i];
    }
    const size_t held = (size_t)(fraction * (double)prompts);
    for (size_t i = 0; i < f->n; i++) {
        const struct feedback_draw own =
            feedback_draw(seed, FEEDBACK_HOLD_OUT, f->item[i].prompt);
        f->item[i].held_out = held > 0 && feedback_compare(&own, &draw[held - 1]) <= 0;
    }
    free(draw);
    return ERR_OK;
}

static int feedback_compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The prompts held out, sorted: *n of them at *prompt, which the caller frees. */
static enum err_code feedback_held_prompts(const struct feedback *f, uint64_t **prompt,
                                           size_t *n, struct err *err)
{
    *n = 0;
    *prompt = calloc(f->n + 1, sizeof **prompt);
    if (!*prompt)
        return err_set(err, ERR_NOMEM, "no memory for %zu prompts", f->n);
    for (size_t i = 0; i < f->n; i++) {
        if (f->item[i].held_out)
            (*prompt)[(*n)++] = f->item[i].prompt;
    }
    qsort(*prompt, *n, sizeof **prompt, feedback_compare_u64);
    return ERR_OK;
}

static bool feedback_is_in(const uint64_t *prompt, size_t n, uint64_t wanted)
{
    return bsearch(&wanted, prompt, n, sizeof *prompt, feedback_compare_u64) != NULL;
}

enum err_code feedback_hold_out_as(struct feedback *f, const struct feedback *like,
                                   struct err *err)
{
    uint64_t *prompt;
    size_t n;
    const enum err_code rc = feedback_held_prompts(like, &prompt, &n, err);
    for (size_t i = 0; i < f->n && !rc; i++)
        f->item[i].held_out = feedback_is_in(prompt, n, f->item[i].prompt);
    free(prompt);
    return rc;
}

enum err_code feedback_separate(struct feedback *f, size_t *apart, struct err *err)
{
    uint64_t *prompt;
    size_t n;
    *apart = 0;
    const enum err_code rc = feedback_held_prompts(f, &prompt, &n, err);
    for (size_t i = 0; i < f->n && !rc; i++) {
        struct feedback_item *item = &f->item[i];
        if (!item->held_out && feedback_is_in(prompt, n, item->prompt)) {
            item->left_out = true;
            *apart += 1;
        }
    }
    free(prompt);
    return rc;
}

size_t feedback_trained(const struct feedback *f, uint64_t seed, double fraction, uint32_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++) {
        if (f->item[i].held_out || f->item[i].left_out)
            continue;
        const struct feedback_draw draw =
            feedback_draw(seed, FEEDBACK_MEMBER, f->item[i].prompt);
        if (fraction >= 1.0 || (double)(draw.number >> 11) * 0x1p-53 < fraction)
            out[n++] = (uint32_t)i;
    }
    return n;
}

size_t feedback_held_out(const struct feedback *f, uint32_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++) {
        if (f->item[i].held_out && !f->item[i].left_out)
            out[n++] = (uint32_t)i;
    }
    return n;
}

/* Field by field: a struct has gaps. */
static void feedback_hash_item(const struct feedback_item *item, struct hash *out)
{
    const uint64_t word[] = {item->seq[0],
                             item->seq[1],
                             item->prompt,
                             (uint64_t)(item->sign[0] + 1),
                             (uint64_t)(item->sign[1] + 1),
                             item->held_out,
                             item->left_out};
    unsigned char bytes[sizeof word + sizeof item->margin];
    memcpy(bytes, word, sizeof word);
    memcpy(bytes + sizeof word, &item->margin, sizeof item->margin);
    hash_blake2b(out, bytes, sizeof bytes);
}

void feedback_hash(const struct feedback *f, struct hash *out)
{
    struct hash part[5];
    memset(part, 0, sizeof part);
    const uint64_t shape[] = {f->kind, f->labels, f->n, f->seqs};
    hash_blake2b(&part[0], shape, sizeof shape);
    hash_blake2b(&part[1], f->ids.ids, f->ids.n * sizeof *f->ids.ids);
    hash_blake2b(&part[2], f->offset, f->seqs ? (f->seqs + 1) * sizeof *f->offset : 0);
    if (f->want)
        hash_blake2b(&part[3], f->want, f->n * f->labels * sizeof *f->want);
    for (size_t i = 0; i < f->n; i++) {
        struct hash chain[2] = {part[4]};
        feedback_hash_item(&f->item[i], &chain[1]);
        hash_blake2b(&part[4], chain, sizeof chain);
    }
    hash_blake2b(out, part, sizeof part);
}
