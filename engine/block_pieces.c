/* block_pieces.c -- layers by pieces of rows; see block.h.  Many rows of a small layer go through
 * it a piece at a time, so that what one function writes is still in the second-level cache
 * when the next reads it. */
#include <assert.h>
#include <stdatomic.h>

#include "engine/block.h"
#include "engine/block_half.h"

enum {
    BLOCK_PIECE = 112, /* rows: whole tiles of gemm.h and of bgemm.h */
    /* Of a half's weights, at most.  Twice a second-level cache: to read them again for each piece
     * costs less than rows that leave the cache. */
    BLOCK_PIECE_BYTES = 4096 * 1024,
    BLOCK_BACK_BYTES = 1024 * 1024, /* the same on the way back, where gradients go by, too */
    BLOCK_PIECE_SHARES = 2,         /* pieces a thread, at least */
    BLOCK_PIECE_BACK = 224,         /* rows a thread: a multiple of BGEMM_STEP */
    BLOCK_CHUNK = 256, /* rows of whole sequences that go through a layer together, at most */
    BLOCK_CHUNK_PART = 128, /* of these through a half of it */
};

static size_t block_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static float *block_from(float *array, size_t floats)
{
    return array ? array + floats : NULL;
}

/* Rows begin .. begin+M-1; what nobody reads later lies from row `scratch` on. */
static struct block_rows block_part(const struct block *block, const struct block_rows *rows,
                                    size_t begin, size_t M, size_t scratch)
{
    const struct model_config *c = &block->model->config;
    const struct attention *a = &block->attention;
    struct block_rows part = *rows;
    const size_t kept = part.keep ? begin : scratch;
    part.M = M;
    part.position += begin;
    part.x += begin * c->C;
    part.x_mid += kept * c->C;
    part.x_out += begin * c->C;
    part.norm += scratch * c->C;
    part.qkv += begin * block->qkv_width;
    part.qk_raw = block_from(part.qk_raw, begin * (a->H + a->G) * a->D);
    part.att += begin * a->H * a->D;
    part.up += kept * block->up_width;
    part.act += scratch * c->F;
    part.mean1 = block_from(part.mean1, begin);
    part.r1 = block_from(part.r1, begin);
    part.mean2 = block_from(part.mean2, begin);
    part.r2 = block_from(part.r2, begin);
    part.r_qk = block_from(part.r_qk, begin);
    return part;
}

/* True where the weights of the larger half, the second, take no more. */
static bool block_fits(const struct block *block, size_t bytes)
{
    const struct model_config *c = &block->model->config;
    const size_t weights = (block->attention.out_stride + block->up_width + c->F) * c->C;
    return weights * sizeof(float) <= bytes;
}

size_t block_piece_rows(const struct block *block, size_t M)
{
    return block_fits(block, BLOCK_BACK_BYTES) ? BLOCK_PIECE_BACK * pool_threads(block->pool)
                                               : M;
}

/* ---- a half of a layer ---- */

struct block_pieces {
    struct block block; /* the caller's, without its threads: a piece runs on one */
    const struct block_layer *layer;
    const struct block_rows *rows;
    block_half *half;
    size_t pieces;
    atomic_size_t next;
};

/* Task: one piece after the other, as there are any.  Its scratch lies where the thread's piece
 * before had it. */
static void block_pieces_task(void *arg, size_t thread)
{
    struct block_pieces *job = arg;
    for (;;) {
        const size_t i = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (i >= job->pieces)
            return;
        const size_t begin = i * BLOCK_PIECE;
        const struct block_rows part =
            block_part(&job->block, job->rows, begin,
                       block_min(job->rows->M - begin, BLOCK_PIECE), thread * BLOCK_PIECE);
        job->half(&job->block, job->layer, &part);
    }
}

static void block_run(const struct block *block, size_t layer, const struct block_rows *rows,
                      block_half *half)
{
    struct block_pieces job = {.block = *block,
                               .layer = &block->layers[layer],
                               .rows = rows,
                               .half = half,
                               .pieces = (rows->M + BLOCK_PIECE - 1) / BLOCK_PIECE};
    const size_t threads = pool_threads(block->pool);
    if (!block_fits(block, BLOCK_PIECE_BYTES) || job.pieces < BLOCK_PIECE_SHARES * threads) {
        half(block, job.layer, rows);
        return;
    }
    job.block.pool = NULL;
    pool_run(block->pool, threads, block_pieces_task, &job);
}

void block_attention_in(const struct block *block, size_t layer, const struct block_rows *rows)
{
    block_run(block, layer, rows, block_half_in);
}

void block_attention_out(const struct block *block, size_t layer, const struct block_rows *rows)
{
    block_run(block, layer, rows, block_half_out);
}

/* ---- a layer of packed sequences ---- */

struct block_chunks {
    struct block block; /* as above */
    const struct block_layer *layer;
    const struct block_rows *rows;
    const struct block_sequences *sequences;
    size_t longest; /* rows of a chunk */
    atomic_size_t next;
};

/* Sequences first .. last-1, whole ones. */
struct block_chunk {
    size_t first, last;
};

/* The chunk after that; false after the last. */
static bool block_chunk_next(const struct block_sequences *sequences, struct block_chunk *chunk)
{
    const uint32_t *offset = sequences->offset;
    const size_t seqs = sequences->seqs;
    chunk->first = chunk->last;
    if (chunk->first == seqs)
        return false;
    do
        chunk->last++;
    while (chunk->last < seqs && offset[chunk->last + 1] - offset[chunk->first] <= BLOCK_CHUNK);
    return true;
}

/* Attention of a chunk, whose rows begin at `begin`. */
static void block_chunk_attention(const struct block_chunks *job,
                                  const struct block_chunk *chunk,
                                  const struct block_rows *part, size_t begin)
{
    const struct attention *a = &job->block.attention;
    uint32_t offset[BLOCK_CHUNK + 1]; /* from the chunk's first row on */
    for (size_t s = chunk->first; s <= chunk->last; s++)
        offset[s - chunk->first] = job->sequences->offset[s] - (uint32_t)begin;
    const float *q = part->qkv, *k = q + a->H * a->D, *v = k + a->G * a->D;
    attention_forward(NULL, a, part->att, block_from(job->sequences->lse, begin * a->H), q, k,
                      v, offset, chunk->last - chunk->first);
}

/* A half of the layer over a chunk: equal parts, as what it writes on its way is more than
 * attention's. */
static void block_chunk_half(const struct block_chunks *job, block_half *half,
                             const struct block_rows *rows)
{
    const size_t parts = (rows->M + BLOCK_CHUNK_PART - 1) / BLOCK_CHUNK_PART;
    for (size_t i = 0; i < parts; i++) {
        const size_t begin = rows->M * i / parts, end = rows->M * (i + 1) / parts;
        const struct block_rows part = block_part(&job->block, rows, begin, end - begin, 0);
        half(&job->block, job->layer, &part);
    }
}

/* A chunk through the layer.  Without `keep` q, k, v and the attention's output are scratch, too,
 * and never leave the cache. */
static void block_chunk_run(const struct block_chunks *job, const struct block_chunk *chunk,
                            size_t scratch)
{
    const struct block *block = &job->block;
    const struct attention *a = &block->attention;
    const size_t begin = job->sequences->offset[chunk->first];
    const size_t end = job->sequences->offset[chunk->last];
    struct block_rows part = block_part(block, job->rows, begin, end - begin, scratch);
    if (!part.keep) {
        part.qkv = job->rows->qkv + scratch * block->qkv_width;
        part.att = job->rows->att + scratch * a->H * a->D;
    }
    block_chunk_half(job, block_half_in, &part);
    block_chunk_attention(job, chunk, &part, begin);
    block_chunk_half(job, block_half_out, &part);
}

/* Task: one chunk after the other, as there are any. */
static void block_chunks_task(void *arg, size_t thread)
{
    struct block_chunks *job = arg;
    struct block_chunk chunk = {0};
    size_t at = 0; /* the chunk's number, from 1 on */
    for (;;) {
        const size_t i = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        for (; at <= i; at++)
            if (!block_chunk_next(job->sequences, &chunk))
                return;
        block_chunk_run(job, &chunk, thread * job->longest);
    }
}

/* True where chunks are small enough for a cache and enough for all threads. */
static bool block_chunks_make(struct block_chunks *job, const struct block *block)
{
    const size_t threads = pool_threads(block->pool);
    struct block_chunk chunk = {0};
    size_t chunks = 0;
    while (block_chunk_next(job->sequences, &chunk)) {
        const size_t rows =
            job->sequences->offset[chunk.last] - job->sequences->offset[chunk.first];
        job->longest = rows > job->longest ? rows : job->longest;
        chunks++;
    }
    /* Two neighbours are more than BLOCK_CHUNK rows, so there are rows for each thread's
     * scratch. */
    return job->longest <= BLOCK_CHUNK && chunks >= BLOCK_PIECE_SHARES * threads &&
           block_fits(block, BLOCK_PIECE_BYTES);
}

void block_sequences_forward(const struct block *block, size_t layer,
                             const struct block_rows *rows,
                             const struct block_sequences *sequences)
{
    struct block_chunks job = {
        .block = *block, .layer = &block->layers[layer], .rows = rows, .sequences = sequences};
    if (block_chunks_make(&job, block)) {
        job.block.pool = NULL;
        pool_run(block->pool, pool_threads(block->pool), block_chunks_task, &job);
        return;
    }
    const struct attention *a = &block->attention;
    const float *q = rows->qkv, *k = q + a->H * a->D, *v = k + a->G * a->D;
    block_attention_in(block, layer, rows);
    attention_forward(block->pool, a, rows->att, sequences->lse, q, k, v, sequences->offset,
                      sequences->seqs);
    block_attention_out(block, layer, rows);
}
