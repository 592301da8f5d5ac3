/* bgemm.c -- see bgemm.h.  One driver: the right operand is packed beforehand (a weight) or a
 * task's columns at a time (the inputs of bgemm_dw); the left one is laid out 32 rows at a
 * time. */
#include "engine/kernels/bgemm.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/bgemm_lay.h"
#include "engine/kernels/bgemm_tile.h"
#include "engine/kernels/gemm_cut.h"
#include "engine/kernels/panel.h"

enum {
    BGEMM_STEPS = 12,         /* of the sum whose blocks stay in cache together */
    BGEMM_STEPS_FEW = 48,     /* the same of up to 32 rows, which go through it once */
    BGEMM_COLS_PACKED = 1024, /* columns of a task: its right block fits the L2 cache */
    BGEMM_COLS_RAW = 768,     /* the same of a right block that is packed on the stack */
    BGEMM_ROWS_PACKED = 256,  /* rows of a task: enough to repay the packing of its columns */
    BGEMM_ROWS_RAW = 512,
    BGEMM_SHARES = 2,      /* tasks a thread: each lays out its operands by itself */
    BGEMM_ROWS_LAID = 128, /* of the left operand at a time */
    BGEMM_PACK_LINES =
        32, /* rows of a weight a task of packing: whole steps of the turned one */
};

#define BGEMM_ROWS               32 /* of a tile */
#define BGEMM_PANEL_WORDS(steps) ((steps)*BGEMM_WORDS)

/* c (rows, cols) from left (rows, depth) and right (depth, cols). */
struct bgemm_job {
    const struct bgemm_tiles *tiles;
    float *c;
    size_t c_stride;
    const float *left; /* left[r * stride + d], or turned: left[d * stride + r] */
    size_t left_stride;
    bool left_turned;
    const uint32_t *panels; /* right, packed; or NULL and: */
    const float *right;     /* right[d * right_stride + col] */
    size_t right_stride;
    const float *bias; /* (cols) or NULL */
    bool add;
    size_t rows, cols, depth;
    struct gemm_cut cut;
};

/* A rectangle of c, and the span of the sum that is being added to it. */
struct bgemm_block {
    size_t row, rows, col, cols, at, depth;
    const uint32_t *panels;
    size_t panel_step; /* words from a panel to the next */
};

static size_t bgemm_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t bgemm_steps(size_t depth)
{
    return (depth + BGEMM_STEP - 1) / BGEMM_STEP;
}

static size_t bgemm_panels(size_t cols)
{
    return (cols + GEMM_PANEL - 1) / GEMM_PANEL;
}

/* Rows of the left operand, from `row` on. */
static void bgemm_left(const struct bgemm_job *job, const struct bgemm_block *block,
                       uint32_t *left, size_t row, size_t rows)
{
    struct bgemm_lay lay = {.tiles = left,
                            .panel_step = BGEMM_PANEL_WORDS(bgemm_steps(block->depth)),
                            .x_stride = job->left_stride,
                            .lines = rows,
                            .depth = block->depth,
                            .turn = job->left_turned};
    if (job->left_turned) {
        lay.x = job->left + block->at * job->left_stride + row;
        bgemm_lay_across(&lay);
    } else {
        lay.x = job->left + row * job->left_stride + block->at;
        bgemm_lay_along(&lay);
    }
}

/* A tile of which c has only some rows or columns: computed beside, and they are copied. */
static void bgemm_edge(const struct bgemm_tile *tile, bgemm_tile_fn *fn, size_t cols)
{
    float from[BGEMM_ROWS * BGEMM_ROWS] = {0}, c[BGEMM_ROWS * BGEMM_ROWS];
    for (size_t r = 0; tile->from && r < tile->rows; r++)
        memcpy(from + r * BGEMM_ROWS, tile->from + r * tile->from_stride, cols * sizeof(float));
    struct bgemm_tile beside = *tile;
    beside.from = from;
    beside.from_stride = BGEMM_ROWS;
    beside.c = c;
    beside.c_stride = BGEMM_ROWS;
    fn(&beside);
    for (size_t r = 0; r < tile->rows; r++)
        memcpy(tile->c + r * tile->c_stride, c + r * BGEMM_ROWS, cols * sizeof(float));
}

/* All columns of the block for `rows` rows that lie in `left`.  The first rows of a block bring
 * the right operand into the cache for the others. */
static void bgemm_rows(const struct bgemm_job *job, const struct bgemm_block *block,
                       const uint32_t *left, size_t row, size_t rows)
{
    const bool first = block->at == 0;
    const float *from = first ? (job->add ? job->c : job->bias) : job->c;
    const size_t from_stride = first && !job->add ? 0 : job->c_stride;
    const size_t tall = rows > BGEMM_SIDE;
    struct bgemm_tile tile = {.steps = bgemm_steps(block->depth),
                              .rows = rows,
                              .left = left,
                              .left_step = BGEMM_PANEL_WORDS(bgemm_steps(block->depth)),
                              .right = block->panels,
                              .right_step = block->panel_step,
                              .from_stride = from_stride,
                              .c_stride = job->c_stride};
    for (size_t col = 0; col < block->cols; col += tile.cols) {
        const size_t cols = block->cols - col, wide = cols > BGEMM_SIDE;
        bgemm_tile_fn *const fn = job->tiles->fn[tall][wide];
        tile.cols = wide ? 2 * BGEMM_SIDE : BGEMM_SIDE;
        const size_t past = col + tile.cols;
        tile.ahead = row == block->row && job->panels && past + tile.cols <= block->cols
                         ? tile.right + tile.cols / BGEMM_SIDE * block->panel_step
                         : NULL;
        tile.from = from ? from + row * from_stride + block->col + col : NULL;
        tile.c = job->c + row * job->c_stride + block->col + col;
        tile.next =
            rows == BGEMM_ROWS && past + tile.cols <= block->cols ? tile.c + tile.cols : NULL;
        if (rows % BGEMM_SIDE == 0 && cols >= tile.cols)
            fn(&tile);
        else
            bgemm_edge(&tile, fn, bgemm_min(cols, tile.cols));
        tile.right += tile.cols / BGEMM_SIDE * block->panel_step;
    }
}

static void bgemm_block_run(const struct bgemm_job *job, const struct bgemm_block *block)
{
    _Alignas(64) uint32_t left[BGEMM_ROWS_LAID / BGEMM_SIDE * BGEMM_PANEL_WORDS(BGEMM_STEPS)];
    _Static_assert(BGEMM_ROWS * BGEMM_STEPS_FEW <= BGEMM_ROWS_LAID * BGEMM_STEPS, "left");
    const size_t panel = BGEMM_PANEL_WORDS(bgemm_steps(block->depth));
    for (size_t laid = 0; laid < block->rows; laid += BGEMM_ROWS_LAID) {
        const size_t rows = bgemm_min(block->rows - laid, BGEMM_ROWS_LAID);
        bgemm_left(job, block, left, block->row + laid, rows);
        for (size_t r = 0; r < rows; r += BGEMM_ROWS)
            bgemm_rows(job, block, left + r / BGEMM_SIDE * panel, block->row + laid + r,
                       bgemm_min(rows - r, BGEMM_ROWS));
    }
}

static struct bgemm_block bgemm_task_block(const struct bgemm_job *job, size_t i)
{
    const struct gemm_cut *cut = &job->cut;
    struct bgemm_block block = {.row = i % cut->row_tasks * cut->rows,
                                .col = i / cut->row_tasks * cut->cols};
    block.rows = bgemm_min(job->rows - block.row, cut->rows);
    block.cols = bgemm_min(job->cols - block.col, cut->cols);
    return block;
}

static void bgemm_task_packed(void *arg, size_t i)
{
    const struct bgemm_job *job = arg;
    const unsigned before = job->tiles->begin();
    struct bgemm_block block = bgemm_task_block(job, i);
    const size_t steps = block.rows > BGEMM_ROWS ? BGEMM_STEPS : BGEMM_STEPS_FEW;
    block.panel_step = BGEMM_PANEL_WORDS(bgemm_steps(job->depth));
    do {
        block.depth = bgemm_min(job->depth - block.at, steps * BGEMM_STEP);
        block.panels = job->panels + block.col / GEMM_PANEL * block.panel_step +
                       BGEMM_PANEL_WORDS(block.at / BGEMM_STEP);
        bgemm_block_run(job, &block);
        block.at += block.depth;
    } while (block.at < job->depth);
    job->tiles->end(before);
}

static void bgemm_task_raw(void *arg, size_t i)
{
    const struct bgemm_job *job = arg;
    _Alignas(64) uint32_t panels[BGEMM_COLS_RAW / GEMM_PANEL * BGEMM_PANEL_WORDS(BGEMM_STEPS)];
    const unsigned before = job->tiles->begin();
    struct bgemm_block block = bgemm_task_block(job, i);
    block.panels = panels;
    block.panel_step = BGEMM_PANEL_WORDS(BGEMM_STEPS);
    do {
        block.depth = bgemm_min(job->depth - block.at, BGEMM_STEPS * BGEMM_STEP);
        const struct bgemm_lay lay = {.tiles = panels,
                                      .panel_step = block.panel_step,
                                      .x =
                                          job->right + block.at * job->right_stride + block.col,
                                      .x_stride = job->right_stride,
                                      .lines = block.cols,
                                      .depth = block.depth};
        bgemm_lay_across(&lay);
        bgemm_block_run(job, &block);
        block.at += block.depth;
    } while (block.at < job->depth);
    job->tiles->end(before);
}

static void bgemm_run(struct pool *pool, struct bgemm_job *job)
{
    if (job->rows == 0 || job->cols == 0)
        return;
    const struct gemm_cut_limits packed = {BGEMM_ROWS_PACKED, BGEMM_COLS_PACKED, BGEMM_SHARES};
    const struct gemm_cut_limits raw = {BGEMM_ROWS_RAW, BGEMM_COLS_RAW, BGEMM_SHARES};
    job->tiles = bgemm_tiles_used();
    job->cut =
        gemm_cut_make(pool, job->rows, job->cols, job->depth, job->panels ? packed : raw);
    pool_run(job->cut.pool, job->cut.tasks, job->panels ? bgemm_task_packed : bgemm_task_raw,
             job);
}

void bgemm_multiply(struct pool *pool, float *c, size_t c_stride, const float *left,
                    size_t left_stride, const struct bgemm_packed *right, const float *bias,
                    size_t M, enum gemm_into into)
{
    assert(right->panels && right->depth > 0);
    assert(c_stride >= right->cols && left_stride >= right->depth);
    assert(!bias || into == GEMM_SET);
    struct bgemm_job job = {.c = c,
                            .c_stride = c_stride,
                            .left = left,
                            .left_stride = left_stride,
                            .panels = right->panels,
                            .bias = bias,
                            .add = into == GEMM_ADD,
                            .rows = M,
                            .cols = right->cols,
                            .depth = right->depth};
    bgemm_run(pool, &job);
}

void bgemm_dw(struct pool *pool, float *dw, size_t dw_stride, const float *dy, size_t dy_stride,
              const float *x, size_t x_stride, size_t M, size_t N, size_t K,
              enum gemm_into into)
{
    assert(dw_stride >= K && dy_stride >= N && x_stride >= K);
    if (M == 0 && into == GEMM_ADD)
        return;
    struct bgemm_job job = {.c = dw,
                            .c_stride = dw_stride,
                            .left = dy,
                            .left_stride = dy_stride,
                            .left_turned = true,
                            .right = x,
                            .right_stride = x_stride,
                            .add = into == GEMM_ADD,
                            .rows = N,
                            .cols = K,
                            .depth = M};
    bgemm_run(pool, &job);
}

/* ---- packing ---- */

size_t bgemm_packed_words(size_t cols, size_t depth)
{
    return bgemm_panels(cols) * BGEMM_PANEL_WORDS(bgemm_steps(depth));
}

struct bgemm_pack_job {
    const float *w;
    size_t w_stride, N, K;
    uint32_t *panels, *turned; /* turned may be NULL */
    bool past;                 /* the caches */
};

static void bgemm_pack_along(const struct bgemm_pack_job *job, size_t line, size_t lines)
{
    const size_t step = BGEMM_PANEL_WORDS(bgemm_steps(job->K));
    const struct bgemm_lay lay = {.tiles = job->panels + line / BGEMM_SIDE * step,
                                  .panel_step = step,
                                  .x = job->w + line * job->w_stride,
                                  .x_stride = job->w_stride,
                                  .lines = lines,
                                  .depth = job->K,
                                  .turn = true,
                                  .past = job->past};
    bgemm_lay_along(&lay);
}

static void bgemm_pack_across(const struct bgemm_pack_job *job, size_t line, size_t lines)
{
    const struct bgemm_lay lay = {.tiles = job->turned + BGEMM_PANEL_WORDS(line / BGEMM_STEP),
                                  .panel_step = BGEMM_PANEL_WORDS(bgemm_steps(job->N)),
                                  .x = job->w + line * job->w_stride,
                                  .x_stride = job->w_stride,
                                  .lines = job->K,
                                  .depth = lines,
                                  .past = job->past};
    bgemm_lay_across(&lay);
}

/* Some rows both ways: what is read from memory for the one is in the cache for the other. */
static void bgemm_pack_task(void *arg, size_t i)
{
    const struct bgemm_pack_job *job = arg;
    const size_t line = i * BGEMM_PACK_LINES;
    const size_t lines = bgemm_min(job->N - line, BGEMM_PACK_LINES);
    bgemm_pack_along(job, line, lines);
    if (job->turned)
        bgemm_pack_across(job, line, lines);
    if (job->past)
        panel_past_end();
}

static void bgemm_pack_run(struct pool *pool, struct bgemm_pack_job *job)
{
    assert(job->w_stride >= job->K);
    job->past = job->N * job->K * sizeof(float) >= PANEL_PAST_BYTES;
    pool_run(pool, (job->N + BGEMM_PACK_LINES - 1) / BGEMM_PACK_LINES, bgemm_pack_task, job);
}

void bgemm_pack(struct pool *pool, struct bgemm_packed *packed, uint32_t *storage,
                const float *w, size_t w_stride, size_t N, size_t K)
{
    struct bgemm_pack_job job = {
        .w = w, .w_stride = w_stride, .N = N, .K = K, .panels = storage};
    bgemm_pack_run(pool, &job);
    *packed = (struct bgemm_packed){storage, N, K};
}

void bgemm_pack_both(struct pool *pool, struct bgemm_packed *packed, uint32_t *storage,
                     struct bgemm_packed *turned, uint32_t *turned_storage, const float *w,
                     size_t w_stride, size_t N, size_t K)
{
    struct bgemm_pack_job job = {.w = w,
                                 .w_stride = w_stride,
                                 .N = N,
                                 .K = K,
                                 .panels = storage,
                                 .turned = turned_storage};
    bgemm_pack_run(pool, &job);
    *packed = (struct bgemm_packed){storage, N, K};
    *turned = (struct bgemm_packed){turned_storage, K, N};
}
