/* main.c -- rlhf-bench-workers */
#include <stdio.h>
#include <stdlib.h>

#include "bench/workers/alone.h"

int main(int argc, char **argv)
{
    const size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 10;
    const struct alone_result r = alone_run(n, 2.0);
    printf("%zu: %.0f events/s, %.2f us a rollout, %llu rollouts\n", n, (double)r.events / r.core_s,
           1e6 * r.core_s / (double)r.rollouts, (unsigned long long)r.rollouts);
    return 0;
}
