/* weights_choice.c -- see weights_choice.h. */
#include "node/weights_choice.h"

#define WEIGHTS_CHOICE_MIB (1024u * 1024u)

static void weights_choice_note_whole(struct weights_choice *choice, uint64_t rate)
{
    const uint64_t limit_mib_s =
        choice->is_slow ? WEIGHTS_CHOICE_FAST_MIB_S : WEIGHTS_CHOICE_SLOW_MIB_S;
    choice->whole_rate = rate;
    choice->is_slow = rate < limit_mib_s * WEIGHTS_CHOICE_MIB;
    choice->fetches = 0;
    if (choice->rest > 0)
        choice->rest--;
    choice->differs = choice->is_slow && choice->rest == 0;
}

static void weights_choice_note_differences(struct weights_choice *choice, uint64_t rate)
{
    const bool pays = rate >= choice->whole_rate - choice->whole_rate / 5;
    choice->fetches++;
    if (!pays)
        choice->rest = WEIGHTS_CHOICE_LOOK;
    choice->differs = pays && choice->fetches + 1 < WEIGHTS_CHOICE_LOOK;
}

void weights_choice_note(struct weights_choice *choice, bool differed, size_t size, uint64_t ms)
{
    /* A whole millisecond more: it was cut off. */
    const uint64_t rate = (uint64_t)size * 1000 / (ms + 1);
    if (differed)
        weights_choice_note_differences(choice, rate);
    else
        weights_choice_note_whole(choice, rate);
}
