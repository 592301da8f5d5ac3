/* moments.c -- see moments.h. */
#include "control/moments.h"

void moments_add(struct moments *moments, double x)
{
    moments->n += 1.0;
    const double delta = x - moments->mean;
    moments->mean += delta / moments->n;
    moments->m2 += delta * (x - moments->mean);
}

void moments_merge(struct moments *moments, const struct moments *other)
{
    if (other->n == 0.0)
        return;
    if (moments->n == 0.0) { /* mean * n / n may differ from mean in the last bit */
        *moments = *other;
        return;
    }
    const double n = moments->n + other->n;
    const double delta = other->mean - moments->mean;
    moments->mean += delta * other->n / n;
    moments->m2 += other->m2 + delta * delta * moments->n * other->n / n;
    moments->n = n;
}

double moments_variance(const struct moments *moments, bool bessel)
{
    const double count = bessel ? moments->n - 1.0 : moments->n;
    return count < 1.0 ? 0.0 : moments->m2 / count;
}
