/* block_linear.c -- a linear layer's products and packed copies; see block.h. */
#include <assert.h>

#include "engine/block.h"

size_t block_linear_bytes(const struct block *block, const struct block_linear *linear)
{
    const size_t N = linear->N, K = linear->K;
    if (block->precision == PRECISION_FP32)
        return gemm_packed_floats(N, K) * sizeof(float) + ARENA_ALIGN;
    const size_t turned = block->training ? bgemm_packed_words(K, N) : 0;
    return (bgemm_packed_words(N, K) + turned) * sizeof(uint32_t) + 2 * ARENA_ALIGN;
}

static uint32_t *block_linear_words(struct block *block, size_t n)
{
    uint32_t *words = arena_array(&block->arena, n, sizeof *words);
    assert(words); /* block_linear_bytes */
    return words;
}

void block_linear_take(struct block *block, struct block_linear *linear)
{
    const size_t N = linear->N, K = linear->K;
    if (block->precision == PRECISION_FP32) {
        linear->packed.panels =
            arena_array(&block->arena, gemm_packed_floats(N, K), sizeof(float));
        assert(linear->packed.panels);
        return;
    }
    linear->bf16.panels = block_linear_words(block, bgemm_packed_words(N, K));
    if (block->training)
        linear->turned.panels = block_linear_words(block, bgemm_packed_words(K, N));
}

/* The panels are const for those who multiply by them; this is who writes them. */
void block_linear_pack(const struct block *block, struct block_linear *linear)
{
    const float *w = block->model->w + linear->w_at;
    const size_t N = linear->N, K = linear->K;
    if (block->precision == PRECISION_FP32) {
        gemm_pack(block->pool, &linear->packed, (float *)(uintptr_t)linear->packed.panels, w, K,
                  N, K);
        return;
    }
    uint32_t *const panels = (uint32_t *)(uintptr_t)linear->bf16.panels;
    uint32_t *const turned = (uint32_t *)(uintptr_t)linear->turned.panels;
    if (block->training)
        bgemm_pack_both(block->pool, &linear->bf16, panels, &linear->turned, turned, w, K, N,
                        K);
    else
        bgemm_pack(block->pool, &linear->bf16, panels, w, K, N, K);
}

void block_linear_forward(const struct block *block, const struct block_linear *linear,
                          float *y, size_t stride, const float *x, size_t M)
{
    const float *bias =
        linear->bias_at == BLOCK_NONE ? NULL : block->model->w + linear->bias_at;
    if (block->precision == PRECISION_FP32)
        gemm_forward(block->pool, y, stride, x, linear->K, &linear->packed, bias, M, GEMM_SET);
    else
        bgemm_multiply(block->pool, y, stride, x, linear->K, &linear->bf16, bias, M, GEMM_SET);
}

void block_linear_dx(const struct block *block, const struct block_linear *linear, float *dx,
                     const float *dy, size_t stride, size_t M, enum gemm_into into)
{
    const size_t N = linear->N, K = linear->K;
    assert(block->training);
    if (block->precision == PRECISION_FP32)
        gemm_dx(block->pool, dx, K, dy, stride, block->model->w + linear->w_at, K, M, N, K,
                into);
    else
        bgemm_multiply(block->pool, dx, K, dy, stride, &linear->turned, NULL, M, into);
}

void block_linear_dw(const struct block *block, const struct block_linear *linear, float *grad,
                     const float *dy, size_t stride, const float *x, size_t M,
                     enum gemm_into into)
{
    const size_t N = linear->N, K = linear->K;
    if (block->precision == PRECISION_FP32)
        gemm_dw(block->pool, grad + linear->w_at, K, dy, stride, x, K, M, N, K, into);
    else
        bgemm_dw(block->pool, grad + linear->w_at, K, dy, stride, x, K, M, N, K, into);
}
