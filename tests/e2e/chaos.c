/* chaos.c -- see chaos.h: chance, the command line. */
#include "tests/e2e/chaos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

volatile sig_atomic_t chaos_stop;

static const char *const chaos_kinds[CHAOS_KINDS] = {
#define X(name) #name,
    CHAOS_KIND_MAP(X)
#undef X
};

uint64_t chaos_random(struct chaos *chaos,
                      uint64_t n) /* splitmix64: Steele, Lea, Flood, 2014 */
{
    uint64_t x = chaos->rng += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (x ^ (x >> 31)) % n;
}

bool chaos_happens(struct chaos *chaos, enum chaos_kind kind)
{
    const bool now = chaos->rate[kind] > 0 && chaos_random(chaos, 1000) < chaos->rate[kind];
    chaos->done[kind] += now;
    return now;
}

bool chaos_is_parted(struct chaos *chaos, uint64_t now_ms)
{
    if (now_ms >= chaos->partition_ms && chaos_happens(chaos, CHAOS_partition))
        chaos->partition_ms = now_ms + chaos_random(chaos, 2000);
    return now_ms < chaos->partition_ms;
}

static void chaos_on_signal(int number)
{
    (void)number;
    chaos_stop = 1;
}

/* "drop=20" */
static bool chaos_read_rate(struct chaos *chaos, const char *word)
{
    const size_t n = strcspn(word, "=");
    for (int k = 0; k < CHAOS_KINDS; k++)
        if (strlen(chaos_kinds[k]) == n && memcmp(chaos_kinds[k], word, n) == 0 && word[n]) {
            chaos->rate[k] = (uint32_t)strtoul(word + n + 1, NULL, 10);
            return true;
        }
    fprintf(stderr, "chaos: what is %s?\n", word);
    return false;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: chaos messages|stream SEED FRONT BACK [KIND=RATE ...]\n");
        return 64;
    }
    struct chaos chaos = {
        .rng = strtoull(argv[2], NULL, 10), .front = argv[3], .back = argv[4]};
    for (int i = 5; i < argc; i++)
        if (!chaos_read_rate(&chaos, argv[i]))
            return 64;
    signal(SIGTERM, chaos_on_signal);
    signal(SIGPIPE, SIG_IGN);
    const bool ok =
        strcmp(argv[1], "stream") == 0 ? chaos_stream(&chaos) : chaos_messages(&chaos);
    for (int k = 0; k < CHAOS_KINDS; k++)
        if (chaos.done[k] > 0)
            printf("%s %llu ", chaos_kinds[k], (unsigned long long)chaos.done[k]);
    printf("\n");
    return ok ? 0 : 1;
}
