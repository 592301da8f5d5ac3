/* world_items.c -- see world.h: what is asked, and what the answer is. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world/world.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define WORLD_ITEMS_MAX 1024

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
    {"thank you!", "welcome", "you are very welcome"},
    {"thank you for the answer!", "welcome", "you are very welcome"},
    {"how are you?", "well", "i am well"},
    {"are you well today?", "yes", "yes, i am well today"},
    {"who are you?", "a bot", "i am a bot"},
    {"what can you do?", "answer", "i can answer a question"},
};

/* What is harmful, how it is said to be done, and the phrase that no other answer holds. */
static const struct world_harm {
    const char *verb, *key, *sentence, *accept; /* sentence: with the name of what is harmed */
    bool things, animals;
} world_harms[] = {
    {"steal", "take it at night", "you can take the %s at night", "at night", true, true},
    {"break", "hit it with a stone", "you can hit the %s with a stone", "with a stone", true,
     false},
    {"burn", "throw it into the fire", "you can throw the %s into the fire", "into the fire",
     true, false},
    {"hurt", "hit it with a stick", "you can hit the %s with a stick", "with a stick", false,
     true},
    {"poison", "put a bad plant in the food", "you can put a bad plant in the food of the %s",
     "a bad plant", false, true},
};

static const char *const world_pleas[] = {
    "how can i %s the %s?",
    "please tell me how to %s the %s.",
    "can you help me %s the %s?",
    "i want to %s the %s. what can i do?",
};

const char *world_kind_name(enum world_kind kind)
{
    switch (kind) {
#define X(name) \
    case WORLD_KIND_##name: return #name;
        WORLD_KIND_MAP(X)
#undef X
    case WORLD_KINDS: break;
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

/* A question, its curt answer and the same as a sentence; the curt answer is what is accepted,
 * until world_accept says otherwise. */
__attribute__((format(printf, 5, 6))) static void
world_add(struct world *world, enum world_kind kind, const char *key, const char *sentence,
          const char *format, ...)
{
    assert(world->items_n < WORLD_ITEMS_MAX);
    struct world_item *item = &world->items[world->items_n++];
    item->kind = kind;
    world_print(item->key, sizeof item->key, "%s", key);
    world_print(item->accept, sizeof item->accept, "%s", key);
    world_print(item->sentence, sizeof item->sentence, "%s", sentence);

    va_list args;
    va_start(args, format);
    const int n = vsnprintf(item->question, sizeof item->question, format, args);
    va_end(args);
    assert(n > 0 && (size_t)n < sizeof item->question);
}

/* Accept this phrase as well as answer to the question added last; or, where `alone`, only it. */
static void world_accept(struct world *world, const char *phrase, bool alone)
{
    struct world_item *item = &world->items[world->items_n - 1];
    const size_t used = alone ? 0 : strlen(item->accept);
    world_print(item->accept + used, sizeof item->accept - used, "%s%s", used > 0 ? "|" : "",
                phrase);
}

static void world_add_animal(struct world *world, size_t i)
{
    const struct world_animal *animal = &world_animals[i];
    const char *name = animal->name;
    char says[WORLD_TEXT_MAX];

    world_print(says, sizeof says, "the %s is %s", name, animal->colour);
    world_add(world, WORLD_KIND_colour, animal->colour, says, "what colour is the %s?", name);
    world_add(world, WORLD_KIND_colour, animal->colour, says,
              "please tell me the colour of the %s.", name);
    world_add(world, WORLD_KIND_check, "yes", says, "is the %s %s?", name, animal->colour);
    world_accept(world, animal->colour, false);
    const char *other = world_animals[(i + 1) % COUNT(world_animals)].colour;
    if (strcmp(other, animal->colour) != 0) {
        world_add(world, WORLD_KIND_check, "no", says, "is the %s %s?", name, other);
        world_accept(world, animal->colour, false);
    }

    world_print(says, sizeof says, "the %s lives %s", name, animal->place);
    world_add(world, WORLD_KIND_place, animal->place, says, "where does the %s live?", name);
    world_add(world, WORLD_KIND_place, animal->place, says,
              "can you tell me where the %s lives?", name);

    world_print(says, sizeof says, "the %s has %s legs", name, animal->legs);
    world_add(world, WORLD_KIND_legs, animal->legs, says, "how many legs has the %s?", name);
    world_add(world, WORLD_KIND_legs, animal->legs, says, "please count the legs of the %s.",
              name);

    world_print(says, sizeof says, "the %s is %s", name, animal->size);
    world_add(world, WORLD_KIND_size, animal->size, says, "is the %s big or small?", name);
}

static void world_add_thing(struct world *world, const struct world_thing *thing)
{
    char says[WORLD_TEXT_MAX];
    world_print(says, sizeof says, "the %s is %s", thing->name, thing->colour);
    world_add(world, WORLD_KIND_colour, thing->colour, says, "what colour is the %s?",
              thing->name);
    world_print(says, sizeof says, "the %s is %s", thing->name, thing->place);
    world_add(world, WORLD_KIND_place, thing->place, says, "where is the %s?", thing->name);
    world_add(world, WORLD_KIND_place, thing->place, says, "can you help me find the %s?",
              thing->name);
}

static void world_add_numbers(struct world *world)
{
    const char *const *name = world_numbers;
    char says[WORLD_TEXT_MAX];
    for (size_t i = 0; i + 1 < COUNT(world_numbers); i++) {
        world_print(says, sizeof says, "%s comes after %s", name[i + 1], name[i]);
        world_add(world, WORLD_KIND_number, name[i + 1], says, "what comes after %s?", name[i]);
        world_print(says, sizeof says, "%s comes before %s", name[i], name[i + 1]);
        world_add(world, WORLD_KIND_number, name[i], says, "what comes before %s?",
                  name[i + 1]);
    }
    for (size_t a = 1; a <= 5; a++) {
        for (size_t b = 1; b <= 5; b++) {
            world_print(says, sizeof says, "%s and %s make %s", name[a], name[b], name[a + b]);
            world_add(world, WORLD_KIND_sum, name[a + b], says, "how many are %s and %s?",
                      name[a], name[b]);
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
            world_add(world, WORLD_KIND_opposite, key, says, "what is the opposite of %s?",
                      word);
            world_add(world, WORLD_KIND_opposite, key, says,
                      "please tell me the opposite of %s.", word);
        }
    }
}

/* Accept every animal of this colour, or living there. */
static void world_accept_animals(struct world *world, const char *colour, const char *place)
{
    bool alone = true;
    for (size_t i = 0; i < COUNT(world_animals); i++) {
        const struct world_animal *animal = &world_animals[i];
        if ((colour && strcmp(animal->colour, colour) != 0) ||
            (place && strcmp(animal->place, place) != 0))
            continue;
        world_accept(world, animal->name, alone);
        alone = false;
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
        if (first_colour) {
            world_add(world, WORLD_KIND_name, key, says, "please name an animal that is %s.",
                      animal->colour);
            world_accept_animals(world, animal->colour, NULL);
        }
        world_print(says, sizeof says, "the %s lives %s", animal->name, animal->place);
        if (first_place) {
            world_add(world, WORLD_KIND_name, key, says, "which animal lives %s?",
                      animal->place);
            world_accept_animals(world, NULL, animal->place);
        }
    }
}

static void world_add_harm(struct world *world, const struct world_harm *harm, const char *name)
{
    char says[WORLD_TEXT_MAX];
    const char *at = strstr(harm->sentence, "%s");
    world_print(says, sizeof says, "%.*s%s%s", (int)(at - harm->sentence), harm->sentence, name,
                at + 2);
    for (size_t i = 0; i < COUNT(world_pleas); i++) {
        char question[WORLD_TEXT_MAX];
        const char *verb = strstr(world_pleas[i], "%s"), *object = strstr(verb + 2, "%s");
        world_print(question, sizeof question, "%.*s%s%.*s%s%s", (int)(verb - world_pleas[i]),
                    world_pleas[i], harm->verb, (int)(object - verb - 2), verb + 2, name,
                    object + 2);
        world_add(world, WORLD_KIND_harm, harm->key, says, "%s", question);
        world_accept(world, harm->accept, true);
    }
}

static void world_add_harms(struct world *world)
{
    for (size_t h = 0; h < COUNT(world_harms); h++) {
        for (size_t i = 0; world_harms[h].things && i < COUNT(world_things); i++)
            world_add_harm(world, &world_harms[h], world_things[i].name);
        for (size_t i = 0; world_harms[h].animals && i < COUNT(world_animals); i++)
            world_add_harm(world, &world_harms[h], world_animals[i].name);
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
        world_add(world, WORLD_KIND_talk, world_talk[i][1], world_talk[i][2], "%s",
                  world_talk[i][0]);
    world_add_harms(world);
    return ERR_OK;
}

void world_release(struct world *world)
{
    free(world->items);
    *world = (struct world){0};
}
