/* sampler.c -- see sampler.h for the order of the steps. */
#include "engine/sampler.h"

#include <assert.h>
#include <stdbool.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"

enum { SAMPLER_BLOCK = 256 }; /* weights that are summed together */

enum err_code sampler_params_check(const struct sampler_params *params, struct err *err)
{
    if (!(params->temperature >= 0.0f && params->temperature <= SAMPLER_TEMPERATURE_MAX))
        return err_set(err, ERR_VALUE, "temperature is %g; it must be 0 (greedy) to %g",
                       (double)params->temperature, (double)SAMPLER_TEMPERATURE_MAX);
    if (params->temperature > 0.0f && params->temperature < SAMPLER_TEMPERATURE_MIN)
        return err_set(err, ERR_VALUE, "temperature is %g; use 0 for greedy, or %g and more",
                       (double)params->temperature, (double)SAMPLER_TEMPERATURE_MIN);
    if (!(params->top_p > 0.0f && params->top_p <= 1.0f))
        return err_set(err, ERR_VALUE, "top_p is %g; it must be above 0 and at most 1 (off)",
                       (double)params->top_p);
    if (!(params->min_p >= 0.0f && params->min_p < 1.0f))
        return err_set(err, ERR_VALUE, "min_p is %g; it must be 0 (off) or more and below 1",
                       (double)params->min_p);
    return ERR_OK;
}

float sampler_logprob_temperature(const struct sampler_params *params)
{
    return params->temperature > 0.0f ? params->temperature : 1.0f;
}

/*
 * The weakest candidate that survives truncation.  Candidates are ordered by weight, and by
 * id (lower first) where weights are equal, so every token compares with it one way or the
 * other and no list of survivors is needed.
 */
struct sampler_cut {
    float weight;
    uint32_t id;
};

static bool sampler_stronger(const float *weight, uint32_t a, uint32_t b)
{
    return weight[a] > weight[b] || (weight[a] == weight[b] && a < b);
}

static void sampler_sift(uint32_t *heap, size_t n, size_t at, const float *weight)
{
    const uint32_t id = heap[at];
    for (size_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && sampler_stronger(weight, heap[child + 1], heap[child]))
            child++;
        if (!sampler_stronger(weight, heap[child], id))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = id;
}

/* Move the strongest of heap[0..n-1] to heap[n-1]; the heap is one shorter. */
static uint32_t sampler_pop(uint32_t *heap, size_t n, const float *weight)
{
    const uint32_t strongest = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = strongest;
    sampler_sift(heap, n - 1, 0, weight);
    return strongest;
}

/*
 * Top-k, then top-p of what is left.  A heap gives the tokens strongest first; both filters
 * stop early on the usual peaked distribution, and the worst case is a heap sort.
 */
static struct sampler_cut sampler_truncate(const struct sampler_params *params,
                                           const float *weight, size_t V, uint32_t *heap)
{
    for (size_t v = 0; v < V; v++)
        heap[v] = (uint32_t)v;
    for (size_t at = V / 2; at-- > 0;)
        sampler_sift(heap, V, at, weight);

    size_t k = V; /* tokens that top-k leaves; popped, they lie at the end of the array */
    double mass = 0.0;
    if (params->top_k > 0 && params->top_k < V) {
        k = params->top_k;
        for (size_t i = 0; i < k; i++)
            mass += (double)weight[sampler_pop(heap, V - i, weight)];
    } else {
        for (size_t v = 0; v < V; v++)
            mass += (double)weight[v];
    }

    const bool popped = k < V;
    const double enough = (double)params->top_p * mass;
    double sum = 0.0;
    uint32_t last = 0;
    for (size_t i = 0; i < k; i++) {
        last = popped ? heap[V - 1 - i] : sampler_pop(heap, V - i, weight);
        sum += (double)weight[last];
        if (params->top_p < 1.0f && sum >= enough)
            break;
    }
    return (struct sampler_cut){weight[last], last};
}

/* What truncation leaves.  Weights are relative to the greatest, so min-p compares with them as
 * they are. */
static inline ISA_BODY void sampler_drop_body(float *weight, size_t V, struct sampler_cut cut,
                                              float min_p)
{
    for (size_t v = 0; v < V; v++) {
        const float w = weight[v];
        const bool stays = w > cut.weight || (w == cut.weight && v <= cut.id);
        weight[v] = w >= min_p && stays ? w : 0.0f;
    }
}
ISA_FUNCTION(sampler_drop, (float *weight, size_t V, struct sampler_cut cut, float min_p),
             (weight, V, cut, min_p))

static inline ISA_BODY void sampler_mass_body(double *mass, const float *weight, size_t n)
{
    *mass = lanes_sum_double(weight, n);
}
ISA_FUNCTION(sampler_mass, (double *mass, const float *weight, size_t n), (mass, weight, n))

/* Weights [at, end) of V: the block that begins there. */
static size_t sampler_block_end(size_t at, size_t V)
{
    return V - at < SAMPLER_BLOCK ? V : at + SAMPLER_BLOCK;
}

/* The first token whose weight takes the sum from `before` past the goal, or the last that has
 * one. */
static int32_t sampler_find(const float *weight, size_t at, size_t end, double before,
                            double goal)
{
    int32_t drawn = (int32_t)at;
    double sum = before;
    for (size_t v = at; v < end; v++) {
        if (weight[v] == 0.0f)
            continue;
        sum += (double)weight[v];
        drawn = (int32_t)v;
        if (sum > goal)
            break;
    }
    return drawn;
}

int32_t sampler_draw(const struct sampler_params *params, float *weight, int32_t best, size_t V,
                     double u, uint32_t *index)
{
    assert(V > 0 && V <= INT32_MAX);
    assert(u >= 0.0 && u < 1.0);
    if (params->temperature == 0.0f)
        return best;

    struct sampler_cut cut = {0.0f, UINT32_MAX}; /* keeps every token */
    const bool cuts = (params->top_k > 0 && params->top_k < V) || params->top_p < 1.0f;
    if (cuts)
        cut = sampler_truncate(params, weight, V, index);
    if (cuts || params->min_p > 0.0f)
        sampler_drop(weight, V, cut, params->min_p);

    double total = 0.0, mass;
    for (size_t at = 0; at < V; at += SAMPLER_BLOCK) {
        sampler_mass(&mass, weight + at, sampler_block_end(at, V) - at);
        total += mass;
    }
    const double goal = u * total;
    double sum = 0.0, before = 0.0;
    size_t last = V; /* where the last block that weighs anything begins */
    for (size_t at = 0; at < V && !(sum > goal); at += SAMPLER_BLOCK) {
        sampler_mass(&mass, weight + at, sampler_block_end(at, V) - at);
        if (!(mass > 0.0))
            continue;
        last = at;
        before = sum;
        sum += mass;
    }
    if (last == V) /* the logits are not finite */
        return best;
    return sampler_find(weight, last, sampler_block_end(last, V), before, goal);
}
