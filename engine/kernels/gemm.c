/* gemm.c -- see gemm.h.  One driver for the three products; they differ in how the left block
 * lies and in whether the right one is packed already. */
#include "engine/kernels/gemm.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <cblas.h>

#include "engine/kernels/gemm_cut.h"
#include "engine/kernels/gemm_tile.h"
#include "engine/kernels/isa.h"
#include "engine/kernels/panel.h"

enum {
    GEMM_COLS_PACKED = 512, /* columns of a task: its right block, times GEMM_DEPTH, fits L2 */
    GEMM_COLS_RAW = 384,    /* the same of a right block that is packed on the stack */
    GEMM_ROWS_TASK = 252,   /* rows of a task: enough to repay the packing of its columns */
    GEMM_SHARES = 4,        /* tasks a thread */
    GEMM_STRIPS = 3,        /* tiles' rows that go over the columns together, if they are all */
    GEMM_FETCH_DEPTH = 96,  /* steps that hide the fetching of the next tile's c */
    GEMM_TILES_TURNED = 18, /* tiles of a left block that are laid out at once: 252 rows */
};

/* From a panel packed on the stack to the next, and so of tiles of a turned left block: a line
 * more than it needs, lest the same step of all fall into one cache set. */
#define GEMM_PANEL_STEP  ((GEMM_DEPTH + 1) * GEMM_PANEL)
#define GEMM_TURNED_STEP GEMM_PANEL_STEP

/* c (rows, cols) from left (rows, depth) and right (depth, cols). */
struct gemm_job {
    const struct gemm_tiles *tiles;
    float *c;
    size_t c_stride;
    const float *left;
    size_t left_stride;
    enum gemm_left layout; /* ROWS: left[r * stride + d]; COLUMNS: left[d * stride + r] */
    const float *panels;   /* right, packed; or NULL and: */
    const float *right;    /* right[d * right_stride + col] */
    size_t right_stride;
    const float *bias; /* (cols) or NULL */
    bool add;
    size_t rows, cols, depth;
    struct gemm_cut cut;
};

/* A rectangle of c, and the span of the contraction that is being added to it. */
struct gemm_block {
    size_t row, rows, col, cols, at, depth;
    const float *panels;
    size_t panel_step;
};

static size_t gemm_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t gemm_panels(size_t cols)
{
    return (cols + GEMM_PANEL - 1) / GEMM_PANEL;
}

/* n floats; no call for the few of a small row. */
static inline ISA_BODY void gemm_copy_row_body(float *restrict to, const float *restrict from,
                                               size_t n)
{
    size_t i = 0;
    for (; i + GEMM_PANEL <= n; i += GEMM_PANEL)
        memcpy(to + i, from + i, GEMM_PANEL * sizeof(float));
    for (; i < n; i++)
        to[i] = from[i];
}
ISA_FUNCTION(gemm_copy_row, (float *to, const float *from, size_t n), (to, from, n))

/* Copy rows `row`.. of the left block to where a tile wants them. */
static void gemm_left_copy(const struct gemm_job *job, float *scratch, size_t row, size_t rows,
                           size_t at, size_t depth)
{
    for (size_t r = 0; r < rows; r++)
        gemm_copy_row(scratch + r * GEMM_LEFT_STRIDE,
                      job->left + (row + r) * job->left_stride + at, depth);
}

/* The same of some tiles at once where a row is a column of memory: tile i, GEMM_TURNED_STEP
 * floats after the one before it, has the rows from row[i] on.  A line of memory is read from
 * end to end; lines often lie a power of two apart, and what is left of one for the next tile
 * would be gone by then. */
static inline ISA_BODY void gemm_left_turn_body(const struct gemm_job *job, float *scratch,
                                                const size_t *row, size_t tiles, size_t at,
                                                size_t depth)
{
    size_t whole = tiles; /* of which 16 rows can be read: a tile ignores what is too much */
    while (whole > 0 && row[whole - 1] + GEMM_PANEL > job->rows)
        whole--;
    for (size_t d = 0; d < depth; d++) {
        const float *from = job->left + (at + d) * job->left_stride;
        float *to = scratch + d * GEMM_PANEL;
        for (size_t i = 0; i < whole; i++)
            memcpy(to + i * GEMM_TURNED_STEP, from + row[i], GEMM_PANEL * sizeof(float));
        for (size_t i = whole; i < tiles; i++)
            memcpy(to + i * GEMM_TURNED_STEP, from + row[i],
                   (job->rows - row[i]) * sizeof(float));
    }
}
ISA_FUNCTION(gemm_left_turn,
             (const struct gemm_job *job, float *scratch, const size_t *row, size_t tiles,
              size_t at, size_t depth),
             (job, scratch, row, tiles, at, depth))

/* Panels of right[at .. at+depth)[col .. col+cols), zeros beyond cols. */
static inline ISA_BODY void gemm_right_copy_body(const struct gemm_job *job, float *panels,
                                                 const struct gemm_block *block)
{
    const size_t whole = block->cols / GEMM_PANEL, rest = block->cols % GEMM_PANEL;
    for (size_t d = 0; d < block->depth; d++) {
        const float *from = job->right + (block->at + d) * job->right_stride + block->col;
        float *to = panels + d * GEMM_PANEL;
        for (size_t p = 0; p < whole; p++, from += GEMM_PANEL, to += GEMM_PANEL_STEP)
            memcpy(to, from, GEMM_PANEL * sizeof(float));
        if (rest > 0) {
            memset(to, 0, GEMM_PANEL * sizeof(float));
            memcpy(to, from, rest * sizeof(float));
        }
    }
}
ISA_FUNCTION(gemm_right_copy,
             (const struct gemm_job *job, float *panels, const struct gemm_block *block),
             (job, panels, block))

/* A tile whose last columns are not there: computed beside, and the rest copied. */
static void gemm_edge(const struct gemm_tile *tile, gemm_tile_fn *fn, size_t rows, size_t cols)
{
    float from[GEMM_ROWS_MAX * GEMM_PANEL] = {0}, c[GEMM_ROWS_MAX * GEMM_PANEL];
    for (size_t r = 0; tile->from && r < rows; r++)
        memcpy(from + r * GEMM_PANEL, tile->from + r * tile->from_stride, cols * sizeof(float));
    struct gemm_tile beside = *tile;
    beside.from = from;
    beside.from_stride = GEMM_PANEL;
    beside.c = c;
    beside.c_stride = GEMM_PANEL;
    fn(&beside);
    for (size_t r = 0; r < rows; r++)
        memcpy(tile->c + r * tile->c_stride, c + r * GEMM_PANEL, cols * sizeof(float));
}

/* Ask for the part of c that the next tile begins from and ends in. */
static void gemm_prefetch(const float *c, size_t stride, size_t rows)
{
    for (size_t r = 0; r < rows; r++) {
        __builtin_prefetch(c + r * stride, 1);
        __builtin_prefetch(c + r * stride + GEMM_PANEL, 1);
    }
}

/* Some rows of a block, copied to where a tile wants them. */
struct gemm_strip {
    const float *left;
    size_t row, rows;
};

/* The columns from `col` on that a tile takes, for one strip. */
static void gemm_strip_tile(const struct gemm_job *job, const struct gemm_block *block,
                            const struct gemm_strip *strip, size_t col, size_t log)
{
    const size_t row = strip->row, width = (size_t)GEMM_PANEL << log;
    const bool first = block->at == 0;
    const float *from = first ? (job->add ? job->c : job->bias) : job->c;
    const size_t from_stride = first && !job->add ? 0 : job->c_stride;
    const struct gemm_tile tile = {
        .depth = block->depth,
        .left = strip->left,
        .panel = block->panels + col / GEMM_PANEL * block->panel_step,
        .panel_step = block->panel_step,
        .from = from ? from + row * from_stride + block->col + col : NULL,
        .from_stride = from_stride,
        .c = job->c + row * job->c_stride + block->col + col,
        .c_stride = job->c_stride};
    gemm_tile_fn *fn = job->tiles->fn[job->layout][strip->rows - 1][log];
    if (col + width < block->cols && block->depth >= GEMM_FETCH_DEPTH)
        gemm_prefetch(tile.c + width, job->c_stride, strip->rows);
    if (col + width <= block->cols)
        fn(&tile);
    else
        gemm_edge(&tile, fn, strip->rows, block->cols - col);
}

/* The widest tile for so many rows that there are columns for. */
static size_t gemm_widest(const struct gemm_job *job, size_t rows, size_t cols)
{
    gemm_tile_fn *const *const fn = job->tiles->fn[job->layout][rows - 1];
    size_t log = GEMM_WIDTHS - 1;
    while (log > 0 && (!fn[log] || ((size_t)GEMM_PANEL << log) > cols))
        log--;
    return log;
}

/* All columns of the block for n strips, the last of which has the most rows: each panel is read
 * from far away once. */
static void gemm_strips(const struct gemm_job *job, const struct gemm_block *block,
                        const struct gemm_strip *strips, size_t n)
{
    for (size_t col = 0; col < block->cols;) {
        const size_t log = gemm_widest(job, strips[n - 1].rows, block->cols - col);
        for (size_t i = 0; i < n; i++)
            gemm_strip_tile(job, block, &strips[i], col, log);
        col += (size_t)GEMM_PANEL << log;
    }
}

/* Equal shares: 16 rows are two tiles of 8, not of 14 and 2. */
static size_t gemm_tile_row(const struct gemm_block *block, size_t tile, size_t tiles)
{
    return block->row + block->rows * tile / tiles;
}

static void gemm_block_rows(const struct gemm_job *job, const struct gemm_block *block,
                            size_t tiles)
{
    _Alignas(64) float left[GEMM_STRIPS][GEMM_LEFT_FLOATS];
    struct gemm_strip strips[GEMM_STRIPS];
    const size_t together = tiles <= GEMM_STRIPS ? tiles : 1;
    for (size_t t = 0, n = 0; t < tiles; t++) {
        const size_t begin = gemm_tile_row(block, t, tiles);
        const size_t end = gemm_tile_row(block, t + 1, tiles);
        strips[n] = (struct gemm_strip){left[n], begin, end - begin};
        if (end - begin == 1) /* as good where it lies */
            strips[n].left = job->left + begin * job->left_stride + block->at;
        else
            gemm_left_copy(job, left[n], begin, end - begin, block->at, block->depth);
        if (++n == together) {
            gemm_strips(job, block, strips, n);
            n = 0;
        }
    }
}

static void gemm_block_columns(const struct gemm_job *job, const struct gemm_block *block,
                               size_t tiles)
{
    _Alignas(64) float left[GEMM_TILES_TURNED * GEMM_TURNED_STEP];
    for (size_t t = 0; t < tiles; t += GEMM_TILES_TURNED) {
        const size_t n = gemm_min(tiles - t, GEMM_TILES_TURNED);
        size_t row[GEMM_TILES_TURNED + 1];
        for (size_t i = 0; i <= n; i++)
            row[i] = gemm_tile_row(block, t + i, tiles);
        gemm_left_turn(job, left, row, n, block->at, block->depth);
        for (size_t i = 0; i < n; i++) {
            const struct gemm_strip strip = {left + i * GEMM_TURNED_STEP, row[i],
                                             row[i + 1] - row[i]};
            gemm_strips(job, block, &strip, 1);
        }
    }
}

static void gemm_block_run(const struct gemm_job *job, const struct gemm_block *block)
{
    const size_t tiles = (block->rows + job->tiles->rows_max - 1) / job->tiles->rows_max;
    if (job->layout == GEMM_LEFT_ROWS)
        gemm_block_rows(job, block, tiles);
    else
        gemm_block_columns(job, block, tiles);
}

static void gemm_add_bias(const struct gemm_job *job, const struct gemm_block *block)
{
    for (size_t r = 0; r < block->rows; r++) {
        float *c = job->c + (block->row + r) * job->c_stride + block->col;
        for (size_t j = 0; j < block->cols; j++)
            c[j] += job->bias[block->col + j];
    }
}

static struct gemm_block gemm_task_block(const struct gemm_job *job, size_t i)
{
    const struct gemm_cut *cut = &job->cut;
    struct gemm_block block = {.row = i % cut->row_tasks * cut->rows,
                               .col = i / cut->row_tasks * cut->cols};
    block.rows = gemm_min(job->rows - block.row, cut->rows);
    block.cols = gemm_min(job->cols - block.col, cut->cols);
    return block;
}

static void gemm_task_packed(void *arg, size_t i)
{
    const struct gemm_job *job = arg;
    struct gemm_block block = gemm_task_block(job, i);
    if (job->add && job->bias)
        gemm_add_bias(job, &block);
    block.panel_step = job->depth * GEMM_PANEL;
    do { /* once also where depth is 0: the result is the bias */
        block.depth = gemm_min(job->depth - block.at, GEMM_DEPTH);
        block.panels =
            job->panels + block.col / GEMM_PANEL * block.panel_step + block.at * GEMM_PANEL;
        gemm_block_run(job, &block);
        block.at += block.depth;
    } while (block.at < job->depth);
}

static void gemm_task_raw(void *arg, size_t i)
{
    const struct gemm_job *job = arg;
    _Alignas(64) float panels[GEMM_COLS_RAW / GEMM_PANEL * GEMM_PANEL_STEP];
    struct gemm_block block = gemm_task_block(job, i);
    do {
        block.depth = gemm_min(job->depth - block.at, GEMM_DEPTH);
        gemm_right_copy(job, panels, &block);
        block.panels = panels;
        block.panel_step = GEMM_PANEL_STEP;
        gemm_block_run(job, &block);
        block.at += block.depth;
    } while (block.at < job->depth);
}

static void gemm_run(struct pool *pool, struct gemm_job *job)
{
    if (job->rows == 0 || job->cols == 0)
        return;
    job->tiles = gemm_tiles_for(isa_used());
    const struct gemm_cut_limits limits = {
        GEMM_ROWS_TASK, job->panels ? GEMM_COLS_PACKED : GEMM_COLS_RAW, GEMM_SHARES};
    job->cut = gemm_cut_make(pool, job->rows, job->cols, job->depth, limits);
    pool_run(job->cut.pool, job->cut.tasks, job->panels ? gemm_task_packed : gemm_task_raw,
             job);
}

void gemm_forward(struct pool *pool, float *y, size_t y_stride, const float *x, size_t x_stride,
                  const struct gemm_packed *w, const float *bias, size_t M, enum gemm_into into)
{
    assert(w->panels && y_stride >= w->N && x_stride >= w->K);
    struct gemm_job job = {.c = y,
                           .c_stride = y_stride,
                           .left = x,
                           .left_stride = x_stride,
                           .layout = GEMM_LEFT_ROWS,
                           .panels = w->panels,
                           .bias = bias,
                           .add = into == GEMM_ADD,
                           .rows = M,
                           .cols = w->N,
                           .depth = w->K};
    gemm_run(pool, &job);
}

void gemm_part(const struct gemm_part *part)
{
    const struct gemm_job job = {.tiles = gemm_tiles_for(isa_used()),
                                 .c = part->c,
                                 .c_stride = part->c_stride,
                                 .left = part->left,
                                 .left_stride = part->left_stride,
                                 .layout =
                                     part->left_turned ? GEMM_LEFT_COLUMNS : GEMM_LEFT_ROWS,
                                 .add = part->into == GEMM_ADD,
                                 .rows = part->rows,
                                 .cols = part->cols,
                                 .depth = part->depth};
    struct gemm_block block = {
        .rows = part->rows, .cols = part->cols, .panel_step = part->panel_step};
    do {
        block.depth = gemm_min(part->depth - block.at, GEMM_DEPTH);
        block.panels = part->panels + block.at * GEMM_PANEL;
        gemm_block_run(&job, &block);
        block.at += block.depth;
    } while (block.at < part->depth);
}

static enum gemm_library gemm_library_used = GEMM_OWN;

void gemm_backward_use(enum gemm_library library)
{
    gemm_library_used = library;
}

/* c (rows, cols) = left right, or += ; left as it is, or transposed. */
static void gemm_blas(struct pool *pool, const struct gemm_job *job)
{
    if (job->rows == 0 || job->cols == 0)
        return;
    assert(job->rows <= INT32_MAX && job->cols <= INT32_MAX && job->depth <= INT32_MAX);
    assert(job->left_stride <= INT32_MAX && job->right_stride <= INT32_MAX &&
           job->c_stride <= INT32_MAX);
    openblas_set_num_threads((int)pool_threads(pool));
    cblas_sgemm(CblasRowMajor, job->layout == GEMM_LEFT_ROWS ? CblasNoTrans : CblasTrans,
                CblasNoTrans, (blasint)job->rows, (blasint)job->cols, (blasint)job->depth, 1.0f,
                job->left, (blasint)job->left_stride, job->right, (blasint)job->right_stride,
                job->add ? 1.0f : 0.0f, job->c, (blasint)job->c_stride);
}

static void gemm_backward(struct pool *pool, struct gemm_job *job)
{
    if (gemm_library_used == GEMM_OPENBLAS)
        gemm_blas(pool, job);
    else
        gemm_run(pool, job);
}

void gemm_dx(struct pool *pool, float *dx, size_t dx_stride, const float *dy, size_t dy_stride,
             const float *w, size_t w_stride, size_t M, size_t N, size_t K, enum gemm_into into)
{
    assert(dx_stride >= K && dy_stride >= N && w_stride >= K);
    struct gemm_job job = {.c = dx,
                           .c_stride = dx_stride,
                           .left = dy,
                           .left_stride = dy_stride,
                           .layout = GEMM_LEFT_ROWS,
                           .right = w,
                           .right_stride = w_stride,
                           .add = into == GEMM_ADD,
                           .rows = M,
                           .cols = K,
                           .depth = N};
    gemm_backward(pool, &job);
}

void gemm_dw(struct pool *pool, float *dw, size_t dw_stride, const float *dy, size_t dy_stride,
             const float *x, size_t x_stride, size_t M, size_t N, size_t K, enum gemm_into into)
{
    assert(dw_stride >= K && dy_stride >= N && x_stride >= K);
    if (M == 0 && into == GEMM_ADD)
        return;
    struct gemm_job job = {.c = dw,
                           .c_stride = dw_stride,
                           .left = dy,
                           .left_stride = dy_stride,
                           .layout = GEMM_LEFT_COLUMNS,
                           .right = x,
                           .right_stride = x_stride,
                           .add = into == GEMM_ADD,
                           .rows = N,
                           .cols = K,
                           .depth = M};
    gemm_backward(pool, &job);
}

/* ---- the bias gradient, and packing ---- */

struct gemm_db_job {
    float *db;
    const float *dy;
    size_t stride, M, N;
};

enum { GEMM_DB_COLS = 256, GEMM_DB_LANES = 128 }; /* of a task; that are summed together */

/* A few columns at a time stay in registers over all rows. */
static inline ISA_BODY void gemm_db_columns_body(float *restrict db, const float *restrict dy,
                                                 size_t stride, size_t M, size_t N)
{
    size_t n = 0;
    for (; n + GEMM_DB_LANES <= N; n += GEMM_DB_LANES) {
        float sum[GEMM_DB_LANES];
        memcpy(sum, db + n, sizeof sum);
        for (size_t m = 0; m < M; m++)
            for (size_t j = 0; j < GEMM_DB_LANES; j++)
                sum[j] += dy[m * stride + n + j];
        memcpy(db + n, sum, sizeof sum);
    }
    for (size_t m = 0; m < M; m++)
        for (size_t j = n; j < N; j++)
            db[j] += dy[m * stride + j];
}
ISA_FUNCTION(gemm_db_columns, (float *db, const float *dy, size_t stride, size_t M, size_t N),
             (db, dy, stride, M, N))

static void gemm_db_task(void *arg, size_t i)
{
    const struct gemm_db_job *job = arg;
    const size_t begin = i * GEMM_DB_COLS, end = gemm_min(begin + GEMM_DB_COLS, job->N);
    gemm_db_columns(job->db + begin, job->dy + begin, job->stride, job->M, end - begin);
}

void gemm_db(struct pool *pool, float *db, const float *dy, size_t dy_stride, size_t M,
             size_t N)
{
    struct gemm_db_job job = {db, dy, dy_stride, M, N};
    pool_run(pool, (N + GEMM_DB_COLS - 1) / GEMM_DB_COLS, gemm_db_task, &job);
}

size_t gemm_packed_floats(size_t N, size_t K)
{
    return gemm_panels(N) * GEMM_PANEL * K;
}

struct gemm_pack_job {
    float *panels;
    const float *w;
    size_t stride, N, K;
};

static void gemm_pack_task(void *arg, size_t p)
{
    const struct gemm_pack_job *job = arg;
    float *panel = job->panels + p * GEMM_PANEL * job->K;
    const float *w = job->w + p * GEMM_PANEL * job->stride;
    const size_t rows = gemm_min(job->N - p * GEMM_PANEL, GEMM_PANEL);
    if (job->N * job->K * sizeof *w < PANEL_PAST_BYTES) {
        panel_columns(panel, w, job->stride, rows, job->K);
        return;
    }
    panel_columns_past(panel, w, job->stride, rows, job->K);
    panel_past_end();
}

void gemm_pack(struct pool *pool, struct gemm_packed *packed, float *storage, const float *w,
               size_t w_stride, size_t N, size_t K)
{
    assert(w_stride >= K);
    struct gemm_pack_job job = {storage, w, w_stride, N, K};
    pool_run(pool, gemm_panels(N), gemm_pack_task, &job);
    *packed = (struct gemm_packed){storage, N, K};
}
