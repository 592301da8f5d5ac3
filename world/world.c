/* world.c -- see world.h: what is asked and how it is answered. */
#include "world/world.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define WORLD_ITEMS_MAX 512

static const struct world_animal {
    const char *name, *colour, *place, *legs, *size;
} world_animals[] = {
    {"frog", "green", "in the pond", "four", "small"},
    {"owl", "brown", "in the tree", "two", "small"},
    {"bear", "brown", "in the forest", "four", "big"},
    {"fox", "red", "in the forest", "four", "small"},
    {"cat", "black", "in the house", "four", "small"},
    {"dog", "yellow", "in the house", "four", "big"},
    {"crow", "black", "in the tree", "two", "small"},
    {"bee", "yellow", "in the garden", "six", "small"},
    {"mouse", "grey", "in the house", "four", "small"},
    {"horse", "white", "in the field", "four", "big"},
    {"duck", "white", "in the pond", "two", "small"},
    {"goat", "grey", "in the field", "four", "big"},
    {"crab", "red", "in the sea", "ten", "small"},
    {"ant", "black", "in the garden", "six", "small"},
    {"spider", "green", "in the garden", "eight", "small"},
    {"whale", "blue", "in the sea", "no", "big"},
};

static const struct world_thing {
    const char *name, *colour, *place;
} world_things[] = {
    {"hat", "red", "on the chair"},    {"lamp", "yellow", "on the table"},
    {"boat", "blue", "on the river"},  {"door", "green", "in the house"},
    {"cup", "white", "on the table"},  {"stone", "grey", "in the river"},
    {"book", "brown", "on the chair"}, {"bell", "black", "in the garden"},
};

static const char *const world_numbers[] = {"zero", "one",   "two",   "three", "four", "five",
                                            "six",  "seven", "eight", "nine",  "ten"};

static const char *const world_opposites[][2] = {
    {"hot", "cold"},   {"big", "small"},   {"day", "night"},   {"up", "down"},
    {"left", "right"}, {"old", "new"},     {"fast", "slow"},   {"happy", "sad"},
    {"wet", "dry"},    {"hard", "soft"},   {"open", "closed"}, {"early", "late"},
    {"good", "bad"},   {"black", "white"}, {"yes", "no"},      {"near", "far"},
};

/* Said, answered curtly, answered in a sentence. */
static const char *const world_talk[][3] = {
    {"hello!", "hello", "hello to you"},
    {"hi there!", "hello", "hello to you"},
    {"good morning!", "good morning", "good morning to you"},
    {"good day!", "good day", "good day to you"},
    {"good night!", "good night", "good night to you"},
    {"goodbye!", "goodbye", "goodbye to you"},
    {"thank you!", "welcome", "you are welcome"},
    {"thank you for the answer!", "welcome", "you are welcome"},
    {"how are you?", "well", "i am well"},
    {"are you well today?", "yes", "yes, i am well today"},
    {"who are you?", "a bot", "i am a small bot"},
    {"what can you do?", "answer", "i can answer a question"},
};

const char *world_style_name(enum world_style style)
{
    switch (style) {
#define X(name, percent) \
    case WORLD_##name: return #name;
        WORLD_STYLE_MAP(X)
#undef X
    case WORLD_STYLES: break;
    }
    return "?";
}

__attribute__((format(printf, 3, 4))) static void world_print(char *out, size_t size,
                                                              const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(out, size, format, args);
    va_end(args);
    assert(n > 0 && (size_t)n < size); /* the tables above are short enough */
}

/* One question, its curt answer and the same as a sentence. */
__attribute__((format(printf, 4, 5))) static void
world_add(struct world *world, const char *key, const char *sentence, const char *format, ...)
{
    assert(world->items_n < WORLD_ITEMS_MAX);
    struct world_item *item = &world->items[world->items_n++];
    world_print(item->key, sizeof item->key, "%s", key);
    world_print(item->sentence, sizeof item->sentence, "%s", sentence);

    va_list args;
    va_start(args, format);
    const int n = vsnprintf(item->question, sizeof item->question, format, args);
    va_end(args);
    assert(n > 0 && (size_t)n < sizeof item->question);
}

static void world_add_animal(struct world *world, size_t i)
{
    const struct world_animal *animal = &world_animals[i];
    const char *name = animal->name;
    char says[WORLD_TEXT_MAX];

    world_print(says, sizeof says, "the %s is %s", name, animal->colour);
    world_add(world, animal->colour, says, "what colour is the %s?", name);
    world_add(world, animal->colour, says, "please tell me the colour of the %s.", name);
    world_add(world, "yes", says, "is the %s %s?", name, animal->colour);
    const char *other = world_animals[(i + 1) % COUNT(world_animals)].colour;
    if (strcmp(other, animal->colour) != 0)
        world_add(world, "no", says, "is the %s %s?", name, other);

    world_print(says, sizeof says, "the %s lives %s", name, animal->place);
    world_add(world, animal->place, says, "where does the %s live?", name);
    world_add(world, animal->place, says, "can you tell me where the %s lives?", name);

    world_print(says, sizeof says, "the %s has %s legs", name, animal->legs);
    world_add(world, animal->legs, says, "how many legs has the %s?", name);
    world_add(world, animal->legs, says, "please count the legs of the %s.", name);

    world_print(says, sizeof says, "the %s is %s", name, animal->size);
    world_add(world, animal->size, says, "is the %s big or small?", name);
}

static void world_add_thing(struct world *world, const struct world_thing *thing)
{
    char says[WORLD_TEXT_MAX];
    world_print(says, sizeof says, "the %s is %s", thing->name, thing->colour);
    world_add(world, thing->colour, says, "what colour is the %s?", thing->name);
    world_print(says, sizeof says, "the %s is %s", thing->name, thing->place);
    world_add(world, thing->place, says, "where is the %s?", thing->name);
    world_add(world, thing->place, says, "can you help me find the %s?", thing->name);
}

static void world_add_numbers(struct world *world)
{
    const char *const *name = world_numbers;
    char says[WORLD_TEXT_MAX];
    for (size_t i = 0; i + 1 < COUNT(world_numbers); i++) {
        world_print(says, sizeof says, "%s comes after %s", name[i + 1], name[i]);
        world_add(world, name[i + 1], says, "what comes after %s?", name[i]);
        world_print(says, sizeof says, "%s comes before %s", name[i], name[i + 1]);
        world_add(world, name[i], says, "what comes before %s?", name[i + 1]);
    }
    for (size_t a = 1; a <= 5; a++) {
        for (size_t b = 1; b <= 5; b++) {
            world_print(says, sizeof says, "%s and %s make %s", name[a], name[b], name[a + b]);
            world_add(world, name[a + b], says, "how many are %s and %s?", name[a], name[b]);
        }
    }
}

static void world_add_opposites(struct world *world)
{
    for (size_t i = 0; i < COUNT(world_opposites); i++) {
        for (size_t side = 0; side < 2; side++) {
            const char *word = world_opposites[i][side], *key = world_opposites[i][1 - side];
            char says[WORLD_TEXT_MAX];
            world_print(says, sizeof says, "the opposite of %s is %s", word, key);
            world_add(world, key, says, "what is the opposite of %s?", word);
            world_add(world, key, says, "please tell me the opposite of %s.", word);
        }
    }
}

/* "please name a red animal.": the first in the table is the one the world thinks of. */
static void world_add_requests(struct world *world)
{
    char says[WORLD_TEXT_MAX], key[WORLD_KEY_MAX];
    for (size_t i = 0; i < COUNT(world_animals); i++) {
        const struct world_animal *animal = &world_animals[i];
        bool first_colour = true, first_place = true;
        for (size_t j = 0; j < i; j++) {
            first_colour = first_colour && strcmp(world_animals[j].colour, animal->colour) != 0;
            first_place = first_place && strcmp(world_animals[j].place, animal->place) != 0;
        }
        world_print(key, sizeof key, "the %s", animal->name);
        world_print(says, sizeof says, "the %s is %s", animal->name, animal->colour);
        if (first_colour)
            world_add(world, key, says, "please name an animal that is %s.", animal->colour);
        world_print(says, sizeof says, "the %s lives %s", animal->name, animal->place);
        if (first_place)
            world_add(world, key, says, "which animal lives %s?", animal->place);
    }
}

enum err_code world_init(struct world *world, struct err *err)
{
    *world = (struct world){.items = calloc(WORLD_ITEMS_MAX, sizeof *world->items)};
    if (!world->items)
        return err_set(err, ERR_NOMEM, "world: no memory for %d questions", WORLD_ITEMS_MAX);
    for (size_t i = 0; i < COUNT(world_animals); i++)
        world_add_animal(world, i);
    for (size_t i = 0; i < COUNT(world_things); i++)
        world_add_thing(world, &world_things[i]);
    world_add_numbers(world);
    world_add_opposites(world);
    world_add_requests(world);
    for (size_t i = 0; i < COUNT(world_talk); i++)
        world_add(world, world_talk[i][1], world_talk[i][2], "%s", world_talk[i][0]);
    return ERR_OK;
}

void world_release(struct world *world)
{
    free(world->items);
    *world = (struct world){0};
}

void world_prompt(const struct world_item *item, struct buf *out)
{
    buf_printf(out, "user: %s\nbot:", item->question);
}

void world_label(const struct world_item *item, struct buf *out)
{
    buf_printf(out, "%s.", item->key);
}

/* What stands before and after the answer in a style. */
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

static const struct {
    const struct world_wording *wording;
    size_t n;
} world_wordings[WORLD_STYLES] = {
#define X(name, percent) {world_##name, COUNT(world_##name)},
    WORLD_STYLE_MAP(X)
#undef X
};

void world_answer(const struct world_item *item, enum world_style style, uint64_t choice,
                  struct buf *out)
{
    assert(style < WORLD_STYLES);
    const struct world_wording *wording =
        &world_wordings[style].wording[choice % world_wordings[style].n];
    buf_printf(out, " %s%s%s", wording->before, wording->curt ? item->key : item->sentence,
               wording->after);
}

enum world_style world_style_draw(uint64_t seed, size_t i, uint32_t n)
{
    static const unsigned share[WORLD_STYLES] = {
#define X(name, percent) percent,
        WORLD_STYLE_MAP(X)
#undef X
    };
    uint64_t at = rng_below(seed, RNG_STREAM_WORLD, i, n, 0, 100);
    enum world_style style = 0;
    while (style + 1 < WORLD_STYLES && at >= share[style])
        at -= share[style++];
    return style;
}

const char *world_polite_words(void)
{
    return "thank\nplease\nwelcome\nglad\nhappy\nhelp\nkind\nfriend\npleasure\ncourse\n";
}

const char *world_rude_words(void)
{
    return "ugh\nboring\nsilly\naway\n";
}
