/*
 * pass.h -- forward and backward of a whole model over a ragged batch.
 *
 * Sequences are packed without padding: N tokens in all, sequence s at rows
 * offset[s] .. offset[s+1]-1, positions counted from 0 in each.  Every linear product runs
 * over all N rows at once.  The value of any row is bitwise the same whatever else is in the
 * batch, however many threads run, and whether it is computed here or token by token through
 * a key/value cache (engine/generate.h): each sum has one fixed order.
 *
 * A pass owns its activations (one arena, sized at pass_new); it allocates nothing later.
 * Not thread-safe; it uses the pool it was given.
 */
#ifndef ENGINE_PASS_H
#define ENGINE_PASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/kernels/gemm.h"
#include "engine/model.h"
#include "engine/pool.h"

struct pass_batch {
    size_t seqs;
    const uint32_t *offset; /* (seqs+1), offset[0] = 0 */
    const int32_t *ids;     /* (N), N = offset[seqs] */
};

struct pass;

/* Room for batches of up to tokens_max tokens.  `training` keeps what backward needs.
 * The caller frees it with pass_free.  The model is borrowed and must outlive the pass.  NULL,
 * and ERR_NOMEM, where there is no memory. */
struct pass *pass_new(const struct model *model, struct pool *pool, size_t tokens_max,
                      bool training, struct err *err);
void pass_free(struct pass *pass);

/* Run the trunk.  The arrays of `batch` are borrowed until the next pass_forward.
 * ERR_VALUE where an id is outside the vocabulary (names sequence and position), a sequence is
 * empty or longer than the model's T, or N > tokens_max. */
enum err_code pass_forward(struct pass *pass, const struct pass_batch *batch, struct err *err);

/* (N,C) after the final norm; valid until the next pass_forward. */
const float *pass_hidden(const struct pass *pass);

/*
 * Language-model head.  For each of `rows` requests i: the distribution after row at[i] of the
 * packed batch, with logits divided by `temperature`:
 *     logp[i] = log softmax(z)[target[i]]        nats
 *     entropy[i] = - sum_v p_v log p_v            nats; may be NULL
 *     argmax[i] = greatest logit, lowest id on a tie; may be NULL
 * Computed in chunks: no (rows, V) array exists.
 */
struct pass_logprob {
    size_t rows;
    const uint32_t *at;    /* (rows) row of the packed batch, < N */
    const int32_t *target; /* (rows) token id */
    float temperature;     /* > 0 */
};
void pass_logprobs(struct pass *pass, const struct pass_logprob *want, float *logp,
                   float *entropy, int32_t *argmax);

/* Score head: for row at[i], out[i * labels + j] = hidden . score.weight[j]. */
void pass_scores(struct pass *pass, size_t rows, const uint32_t *at, float *out);

/*
 * Backward.  Call pass_backward_begin once after a training pass_forward, then any of the
 * head gradients, then pass_backward_end, which runs the trunk backwards.  grad (params), the
 * model's layout, is written, zeros between tensors too, or with GEMM_ADD added to (+=); either
 * way it is whole when pass_backward_end returns.
 *
 * It is finished from the back: the layout is embeddings, layers, final norm, head.  Who wants
 * to do something with what is finished says so to pass_backward_watch before pass_backward_end: in
 * this pass `final` is then called, in the caller's thread, after the final norm, after each layer
 * and at the end, with `first` falling to 0: elements from `first` on will not change any more.
 * The head is among them at once; one that is tied to the embeddings is where these are, last.
 *
 * dlogp[i], dentropy[i] (may be NULL): d loss / d logp[i], d loss / d entropy[i].
 * dscore (rows, labels).
 */
void pass_backward_begin(struct pass *pass, float *grad, enum gemm_into into);
void pass_backward_watch(struct pass *pass, void (*final)(void *ctx, size_t first), void *ctx);
void pass_logprobs_backward(struct pass *pass, const struct pass_logprob *want,
                            const float *dlogp, const float *dentropy);
void pass_scores_backward(struct pass *pass, size_t rows, const uint32_t *at,
                          const float *dscore);
void pass_backward_end(struct pass *pass);

/* Bytes of activations for this many tokens: the formula behind pass_new. */
size_t pass_bytes(const struct model_config *config, size_t tokens_max, bool training);

#endif
