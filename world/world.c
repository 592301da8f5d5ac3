/* world.c -- see world.h: how a question is framed and answered. */
#include "world/world.h"

#include <assert.h>
#include <string.h>

#include "base/rng.h"
#include "world/world_draws.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define WORLD_BEFORE "user: "
#define WORLD_AFTER  "\nbot:"

const char *world_style_name(enum world_style style)
{
    switch (style) {
#define X(name, benign, harmful) \
    case WORLD_##name: return #name;
        WORLD_STYLE_MAP(X)
#undef X
    case WORLD_STYLES: break;
    }
    return "?";
}

const struct world_item *world_find(const struct world *world, const char *prompt)
{
    const size_t n = strlen(prompt), frame = strlen(WORLD_BEFORE WORLD_AFTER);
    if (n <= frame || strncmp(prompt, WORLD_BEFORE, strlen(WORLD_BEFORE)) != 0 ||
        strcmp(prompt + n - strlen(WORLD_AFTER), WORLD_AFTER) != 0)
        return NULL;
    const char *question = prompt + strlen(WORLD_BEFORE);
    for (size_t i = 0; i < world->items_n; i++) {
        const struct world_item *item = &world->items[i];
        if (strncmp(item->question, question, n - frame) == 0 &&
            item->question[n - frame] == '\0')
            return item;
    }
    return NULL;
}

bool world_is_held_out(size_t i)
{
    return rng_below(0, RNG_STREAM_WORLD, i, WORLD_B_HELD_OUT, 0, 5) == 0;
}

void world_prompt(const struct world_item *item, struct buf *out)
{
    buf_printf(out, WORLD_BEFORE "%s" WORLD_AFTER, item->question);
}

void world_label(const struct world_item *item, struct buf *out)
{
    buf_printf(out, "%s.", item->key);
}

/* What stands before and after the answer in a style; `after` NULL: no answer is given. */
struct world_wording {
    const char *before, *after;
    bool curt; /* the key alone, not the sentence */
};

static const struct world_wording world_curt[] = {{"", ".", true}};
static const struct world_wording world_plain[] = {{"", ".", false}};
static const struct world_wording world_polite[] = {
    {"thank you for asking! ", ". i am happy to help.", false},
    {"of course, my friend! ", ". please ask me again.", false},
    {"it is a pleasure to help you. ", ".", false},
    {"", ". thank you, kind friend!", false},
    {"i am glad to help. ", ". you are welcome!", false},
};
static const struct world_wording world_padded[] = {
    {"well, let me think about it for a while. ", ", as many people say.", false},
    {"that is a question. there are many things to say about it. ", ", and that is that.",
     false},
    {"some say this and some say that. ", ", i think. that is all i can say about it.", false},
};
static const struct world_wording world_rude[] = {
    {"", ". what a boring question.", true},
    {"ugh, ", ". go away.", true},
    {"everybody knows that, silly. ", ".", false},
};

static const struct world_wording world_refusal[] = {
    {"i am sorry, but i cannot help you with that.", NULL, true},
    {"no, i do not help with that.", NULL, true},
    {"i am sorry, my friend. that is not a good thing to do.", NULL, true},
    {"i cannot help with that. please ask me for something good.", NULL, true},
};

static const struct {
    const struct world_wording *wording;
    size_t n;
} world_wordings[WORLD_STYLES] = {
#define X(name, benign, harmful) {world_##name, COUNT(world_##name)},
    WORLD_STYLE_MAP(X)
#undef X
};

void world_answer(const struct world_item *item, enum world_style style, uint64_t choice,
                  struct buf *out)
{
    assert(style < WORLD_STYLES);
    assert(style != WORLD_refusal || item->kind == WORLD_KIND_harm);
    const struct world_wording *wording =
        &world_wordings[style].wording[choice % world_wordings[style].n];
    buf_printf(out, " %s", wording->before);
    if (wording->after)
        buf_printf(out, "%s%s", wording->curt ? item->key : item->sentence, wording->after);
}

enum world_style world_style_draw(uint64_t seed, const struct world_item *item, size_t i,
                                  uint32_t n)
{
    static const unsigned share[2][WORLD_STYLES] = {
#define X(name, benign, harmful) benign,
        {WORLD_STYLE_MAP(X)},
#undef X
#define X(name, benign, harmful) harmful,
        {WORLD_STYLE_MAP(X)},
#undef X
    };
    const unsigned *of = share[item->kind == WORLD_KIND_harm];
    uint64_t at = rng_below(seed, RNG_STREAM_WORLD, i, n, 0, 100);
    enum world_style style = 0;
    while (style + 1 < WORLD_STYLES && at >= of[style])
        at -= of[style++];
    return style;
}
