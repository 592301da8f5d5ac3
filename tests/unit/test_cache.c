/*
 * test_cache.c -- a row reads its own keys and values, whoever computed them, whatever became of
 * the rows it took them over from.
 *
 * Oracle: pass_forward, which knows no cache.  Rows begin anew, go on by some tokens and copy from
 * each other at random, from seeds printed on failure; the logits after every token given must be
 * those of its sequence in a packed batch, bit for bit.
 */
#include <stdlib.h>

#include "base/rng.h"
#include "engine/block.h"
#include "engine/cache.h"
#include "engine/pass.h"
#include "tests/kernel_test.h"
#include "tests/shape.h"

enum {
    V = 23,
    ROWS = 6,
    TOKENS_MAX = 83, /* no whole number of pieces; more keys than a block has */
    BATCH_MAX = 64,
    TURNS = 400,
    TURNS_OF_WEIGHTS = 90,
    SEEDS = 3,
};

static const struct model_config llama = {
    SHAPE_LLAMA, .head = MODEL_HEAD_LM, .V = V,   .C = 16, .L = 2, .H = 4, .G = 2, .D = 4,
    .F = 24,     .T = TOKENS_MAX,       .eos = -1};
static const struct model_config gpt2 = {
    SHAPE_GPT2, .head = MODEL_HEAD_LM, .V = V,   .C = 36, .L = 2, .H = 2, .G = 2, .D = 18,
    .F = 40,    .T = TOKENS_MAX,       .eos = -1};
/* Small heads, in groups side by side. */
static const struct model_config side = {
    SHAPE_LLAMA, .head = MODEL_HEAD_LM, .V = V,   .C = 16, .L = 2, .H = 8, .G = 4, .D = 8,
    .F = 24,     .T = TOKENS_MAX,       .eos = -1};
/* More heads read one key than attention_shares allows: rows copy everything. */
static const struct model_config wide = {
    SHAPE_LLAMA, .head = MODEL_HEAD_LM, .V = V,   .C = 16, .L = 1, .H = 34, .G = 1, .D = 2,
    .F = 24,     .T = TOKENS_MAX,       .eos = -1};

struct scene {
    struct model *model;
    struct pool *pool;
    struct cache *cache;
    struct pass *pass;
    struct block *block; /* for the head */
    uint64_t seed;
    uint32_t drawn, turn;

    int32_t ids[ROWS][TOKENS_MAX]; /* what a row was given */
    uint32_t held[ROWS];           /* positions of it */
    uint32_t taken[ROWS];          /* how many it took over: held may be one less */

    /* The turn's batch, and where each row's part of it begins. */
    int32_t batch[BATCH_MAX];
    uint32_t row[BATCH_MAX], position[BATCH_MAX];
    size_t n;
};

static uint32_t draw(struct scene *s, uint32_t n)
{
    return (uint32_t)rng_below(s->seed, RNG_STREAM_WORLD, 0, 0, s->drawn++, n);
}

static void scene_open(struct scene *s, const struct model_config *config,
                       enum precision precision, size_t threads, uint64_t seed)
{
    struct err why = {0};
    *s = (struct scene){.seed = seed, .pool = kernel_pool(threads)};
    s->model = model_new(config, &why);
    assert_non_null(s->model);
    s->model->precision = precision;
    model_init_random(s->model, seed, 0.3f);
    s->cache = cache_new(s->model, s->pool, ROWS, TOKENS_MAX, BATCH_MAX, &why);
    s->pass = pass_new(s->model, NULL, ROWS * TOKENS_MAX, false, &why);
    s->block = block_new(s->model, NULL, TOKENS_MAX, false, &why);
    if (!s->cache || !s->pass || !s->block)
        fail_msg("%s", why.text);
}

static void scene_close(struct scene *s)
{
    block_free(s->block);
    pass_free(s->pass);
    cache_free(s->cache);
    model_free(s->model);
    pool_free(s->pool);
}

/* Other weights: nothing that was cached holds any more. */
static void change_weights(struct scene *s)
{
    model_init_random(s->model, s->seed + s->turn, 0.3f);
    cache_refresh(s->cache);
    block_refresh(s->block);
    memset(s->held, 0, sizeof s->held);
    memset(s->taken, 0, sizeof s->taken);
}

/* A row takes over the beginning of another, which may be near one of 16 positions. */
static void copy_some(struct scene *s)
{
    const uint32_t from = draw(s, ROWS), to = draw(s, ROWS);
    if (from == to || s->held[from] == 0)
        return;
    uint32_t tokens = 1 + draw(s, s->held[from]);
    if (draw(s, 2))
        tokens = s->held[from];
    if (draw(s, 3) == 0 && tokens >= ATTENTION_PIECE)
        tokens -= tokens % ATTENTION_PIECE;
    cache_copy(s->cache, from, to, tokens);
    memcpy(s->ids[to], s->ids[from], tokens * sizeof s->ids[to][0]);
    s->held[to] = s->taken[to] = tokens;
    if (draw(s, 2)) /* the last one is computed again, for its logits */
        s->held[to]--;
}

static void give(struct scene *s, uint32_t row, uint32_t tokens)
{
    for (; tokens > 0 && s->held[row] < TOKENS_MAX && s->n < BATCH_MAX; tokens--, s->n++) {
        const uint32_t at = s->held[row]++;
        if (at >= s->taken[row])
            s->ids[row][at] = (int32_t)draw(s, V);
        s->batch[s->n] = s->ids[row][at];
        s->row[s->n] = row;
        s->position[s->n] = at;
    }
}

/* A row begins anew, goes on or rests. */
static void feed_row(struct scene *s, uint32_t row)
{
    const uint32_t what = draw(s, 16);
    if (what == 0 || (what < 8 && s->held[row] == 0)) {
        s->held[row] = s->taken[row] = 0;
        give(s, row, 1 + draw(s, 50));
    } else if (what < 12 && s->held[row] > 0) {
        give(s, row, what < 10 ? 1 : 1 + draw(s, 20));
    }
}

/* Every row's sequence as one packed batch: its hidden states from begin[row] on. */
static const float *run_pass(struct scene *s, size_t begin[ROWS])
{
    static int32_t ids[ROWS * TOKENS_MAX];
    static uint32_t offset[ROWS + 1];
    struct pass_batch batch = {.offset = offset, .ids = ids};
    for (size_t r = 0; r < ROWS; r++) {
        begin[r] = offset[batch.seqs];
        if (s->held[r] == 0)
            continue;
        memcpy(ids + begin[r], s->ids[r], s->held[r] * sizeof *ids);
        offset[++batch.seqs] = (uint32_t)begin[r] + s->held[r];
    }
    check_ok(pass_forward(s->pass, &batch, &err));
    return pass_hidden(s->pass);
}

static void check_turn(struct scene *s)
{
    size_t begin[ROWS];
    const float *hidden = run_pass(s, begin);
    for (size_t i = 0; i < s->n; i++) {
        const uint32_t at = (uint32_t)i;
        float want[V];
        block_head(s->block, want, V,
                   hidden + (begin[s->row[i]] + s->position[i]) * s->model->config.C, 1);
        if (memcmp(cache_logits(s->cache, &at, 1), want, sizeof want) != 0)
            fail_msg("%s, seed %u, turn %u: row %u at position %u of %u differs",
                     s->model->config.model_type, (unsigned)s->seed, s->turn, s->row[i],
                     s->position[i], s->held[s->row[i]]);
    }
}

static void run_turn(struct scene *s)
{
    if (s->turn % TURNS_OF_WEIGHTS == TURNS_OF_WEIGHTS - 1)
        change_weights(s);
    for (uint32_t copies = draw(s, 4); copies > 0; copies--)
        copy_some(s);
    s->n = 0;
    for (uint32_t r = 0; r < ROWS; r++)
        feed_row(s, r);
    if (s->n == 0)
        return;
    cache_forward(s->cache, s->batch, s->row, s->position, s->n);
    check_turn(s);
}

static void rows_that_copy_from_each_other_have_the_bits_of_each_alone(void **state)
{
    (void)state;
    static const struct model_config *const shapes[] = {&llama, &gpt2, &side, &wide};
    static struct scene scene;
    for (size_t k = 0; k < 2 * COUNT(shapes); k++)
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            const enum precision precision = k % 2 ? PRECISION_BF16 : PRECISION_FP32;
            scene_open(&scene, shapes[k / 2], precision, 1 + seed % 2, seed);
            for (; scene.turn < TURNS; scene.turn++)
                run_turn(&scene);
            scene_close(&scene);
        }
}

int main(void)
{
    pool_thread_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_copy_from_each_other_have_the_bits_of_each_alone),
    };
    return cmocka_run_group_tests_name("engine/cache", tests, NULL, NULL);
}
