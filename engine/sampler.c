/* sampler.c -- see sampler.h for the order of the steps. */
#include "engine/sampler.h"

#include <assert.h>
#include <stdbool.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/vmath.h"

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

static size_t sampler_argmax(const float *logits, size_t V)
{
    size_t best = 0;
    for (size_t v = 1; v < V; v++) {
        if (logits[v] > logits[best])
            best = v;
    }
    return best;
}

/* e^((z - max) / temperature): probabilities up to a factor, the greatest being 1. */
static inline ISA_BODY void sampler_weights_body(float *weight, const float *logits, size_t V,
                                                 float max, float inv_temperature)
{
    for (size_t v = 0; v < V; v++)
        weight[v] = vmath_exp((logits[v] - max) * inv_temperature);
}
ISA_FUNCTION(sampler_weights,
             (float *weight, const float *logits, size_t V, float max, float inv_temperature),
             (weight, logits, V, max, inv_temperature))

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

static bool sampler_keeps(struct sampler_cut cut, float min_p, float weight, size_t v)
{
    /* Weights are relative to the greatest, so min-p compares with them as they are. */
    return weight >= min_p && (weight > cut.weight || (weight == cut.weight && v <= cut.id));
}

int32_t sampler_draw(const struct sampler_params *params, const float *logits, size_t V,
                     double u, float *scratch, uint32_t *scratch_index)
{
    assert(V > 0 && V <= INT32_MAX);
    assert(u >= 0.0 && u < 1.0);

    const size_t best = sampler_argmax(logits, V);
    if (params->temperature == 0.0f)
        return (int32_t)best;

    sampler_weights(scratch, logits, V, logits[best], 1.0f / params->temperature);

    struct sampler_cut cut = {0.0f, UINT32_MAX}; /* keeps every token */
    if ((params->top_k > 0 && params->top_k < V) || params->top_p < 1.0f)
        cut = sampler_truncate(params, scratch, V, scratch_index);

    double total = 0.0;
    for (size_t v = 0; v < V; v++) {
        if (sampler_keeps(cut, params->min_p, scratch[v], v))
            total += (double)scratch[v];
    }

    const double goal = u * total;
    double sum = 0.0;
    size_t drawn = best; /* also where the logits are not finite */
    for (size_t v = 0; v < V; v++) {
        if (scratch[v] == 0.0f || !sampler_keeps(cut, params->min_p, scratch[v], v))
            continue;
        sum += (double)scratch[v];
        drawn = v;
        if (sum > goal)
            break;
    }
    return (int32_t)drawn;
}
