/*
 * test_kernel_attention.c -- attention against its definition in double, and its gradients
 * against the slope of that definition.
 *
 * The oracle takes the whole softmax at once, with libm's exp in double: neither the blocks of
 * the kernel nor its running maximum are in it.
 */
#include "engine/kernels/attention.h"
#include "tests/kernel_test.h"

/* Tokens of all cases at most. */
enum { ROOM = 40000 };

struct layout {
    struct attention shape;
    uint32_t offset[8];
    size_t seqs;
};

/* Grouped heads, ragged lengths around a block of 64 keys, odd head sizes; q, k, v as parts of
 * one (N, (H+2G) D) array. */
static struct layout layout_of(size_t H, size_t G, size_t D, const uint32_t *lengths,
                               size_t seqs)
{
    struct layout l = {.seqs = seqs};
    l.shape = (struct attention){
        H, G, D, 1.0f / sqrtf((float)D), (H + 2 * G) * D, (H + 2 * G) * D, H * D};
    for (size_t s = 0; s < seqs; s++)
        l.offset[s + 1] = l.offset[s] + lengths[s];
    return l;
}

static const float *k_of(const struct layout *l, const float *qkv)
{
    return qkv + l->shape.H * l->shape.D;
}

static const float *v_of(const struct layout *l, const float *qkv)
{
    return qkv + (l->shape.H + l->shape.G) * l->shape.D;
}

struct oracle {
    const struct layout *l;
    const double *qkv;
    const float *dout;
};

/* out (D) of query row n and head h by the definition; returns lse. */
static double oracle_row(double *out, const struct layout *l, const double *qkv, size_t first,
                         size_t n, size_t h)
{
    const struct attention *a = &l->shape;
    const size_t g = h / (a->H / a->G), width = a->q_stride, keys = n - first + 1;
    const double *q = qkv + n * width + h * a->D;
    double s[300], sum = 0.0;
    assert_true(keys <= COUNT(s));
    for (size_t j = 0; j < keys; j++) {
        const double *k = qkv + (first + j) * width + (a->H + g) * a->D;
        s[j] = 0.0;
        for (size_t d = 0; d < a->D; d++)
            s[j] += (double)a->scale * q[d] * k[d];
        sum += exp(s[j]);
    }
    for (size_t d = 0; d < a->D; d++)
        out[d] = 0.0;
    for (size_t j = 0; j < keys; j++) {
        const double *v = qkv + (first + j) * width + (a->H + a->G + g) * a->D;
        for (size_t d = 0; d < a->D; d++)
            out[d] += exp(s[j]) / sum * v[d];
    }
    return log(sum);
}

static double oracle_loss(const void *arg)
{
    const struct oracle *o = arg;
    const struct attention *a = &o->l->shape;
    double loss = 0.0, out[ATTENTION_D_MAX];
    for (size_t s = 0; s < o->l->seqs; s++)
        for (size_t n = o->l->offset[s]; n < o->l->offset[s + 1]; n++)
            for (size_t h = 0; h < a->H; h++) {
                oracle_row(out, o->l, o->qkv, o->l->offset[s], n, h);
                for (size_t d = 0; d < a->D; d++)
                    loss += (double)o->dout[n * a->out_stride + h * a->D + d] * out[d];
            }
    return loss;
}

static double *widened(const float *x, size_t n)
{
    double *wide = malloc(n * sizeof *wide);
    assert_non_null(wide);
    for (size_t i = 0; i < n; i++)
        wide[i] = (double)x[i];
    return wide;
}

static void forward_check(const struct layout *l)
{
    const struct attention *a = &l->shape;
    const size_t N = l->offset[l->seqs];
    float *qkv = kernel_random(N * a->q_stride, 1);
    for (size_t i = 0; i < N * a->q_stride; i++)
        qkv[i] *= 3.0f; /* scores that differ by more than rounding */
    float *out = kernel_random(N * a->out_stride, 2), *lse = kernel_random(N * a->H, 3);
    double *wide = widened(qkv, N * a->q_stride);
    attention_forward(NULL, a, out, lse, qkv, k_of(l, qkv), v_of(l, qkv), l->offset, l->seqs);
    double row[ATTENTION_D_MAX];
    float want[ATTENTION_D_MAX];
    for (size_t s = 0; s < l->seqs; s++)
        for (size_t n = l->offset[s]; n < l->offset[s + 1]; n++)
            for (size_t h = 0; h < a->H; h++) {
                const float want_lse = (float)oracle_row(row, l, wide, l->offset[s], n, h);
                for (size_t d = 0; d < a->D; d++)
                    want[d] = (float)row[d];
                /* A score of up to 30 is off by some roundings of its size: so are weights. */
                check_close(out + n * a->out_stride + h * a->D, want, a->D, 2e-6, 1e-5);
                check_close(&lse[n * a->H + h], &want_lse, 1, 1e-6, 3e-6);
            }
    free(qkv);
    free(out);
    free(lse);
    free(wide);
}

static void forward_is_the_definition(void **state)
{
    (void)state;
    const uint32_t lengths[] = {1, 65, 2, 130};
    /* Of the three blocks of keys of the last sequence all have room at once where heads are
     * small; of 200 channels two, of 300 one. */
    const struct layout layouts[] = {
        layout_of(4, 2, 8, lengths, 4),   layout_of(2, 2, 64, lengths, 4),
        layout_of(3, 1, 20, lengths, 4),  layout_of(2, 1, 128, lengths, 4),
        layout_of(1, 1, 200, lengths, 4), layout_of(1, 1, 300, lengths, 4),
    };
    KERNEL_EACH_ISA(isa)
    for (size_t i = 0; i < COUNT(layouts); i++)
        forward_check(&layouts[i]);
}

/* Every `step`-th number of dq, dk and dv, of each instruction set. */
static void backward_check(const struct layout *l, size_t step)
{
    const struct attention *a = &l->shape;
    const size_t N = l->offset[l->seqs], width = a->q_stride, all = N * width;
    float *qkv = kernel_random(all, 4), *dout = kernel_random(N * a->out_stride, 5);
    float *out = kernel_random(N * a->out_stride, 6), *lse = kernel_random(N * a->H, 7);
    float *d = kernel_random(all, 8), *want = kernel_random(all, 9); /* to be written over */
    double *wide = widened(qkv, all);
    const struct oracle oracle = {l, wide, dout};
    for (size_t i = 0; i < all; i += step)
        want[i] = (float)kernel_slope(&wide[i], oracle_loss, &oracle);
    KERNEL_EACH_ISA(isa)
    {
        attention_forward(NULL, a, out, lse, qkv, k_of(l, qkv), v_of(l, qkv), l->offset,
                          l->seqs);
        attention_backward(NULL, a, d, d + a->H * a->D, d + (a->H + a->G) * a->D, dout, qkv,
                           k_of(l, qkv), v_of(l, qkv), out, lse, l->offset, l->seqs);
        for (size_t i = 0; i < all; i += step)
            check_close(&d[i], &want[i], 1, 2e-5, 2e-6);
    }
    float *const arrays[] = {qkv, dout, out, lse, d, want};
    for (size_t i = 0; i < COUNT(arrays); i++)
        free(arrays[i]);
    free(wide);
}

/* Head sizes of whole registers, of a half, of one and a half, and of neither; steps that are
 * coprime to the width, so that all parts have their turn. */
static void backward_is_the_slope_of_the_definition(void **state)
{
    (void)state;
    const uint32_t lengths[] = {3, 1, 70},
                   longer[] = {300}; /* more keys than a task has near */
    const struct layout layouts[] = {
        layout_of(4, 2, 6, lengths, 3),  layout_of(4, 2, 8, lengths, 3),
        layout_of(2, 1, 16, lengths, 3), layout_of(1, 1, 24, lengths, 3),
        layout_of(2, 2, 64, lengths, 3),
    };
    const size_t steps[] = {7, 7, 11, 7, 43};
    for (size_t i = 0; i < COUNT(layouts); i++)
        backward_check(&layouts[i], steps[i]);
    const struct layout l = layout_of(2, 1, 8, longer, 1);
    backward_check(&l, 97);
}

struct passes {
    float out[ROOM], lse[ROOM], d[3 * ROOM];
};

static void run_passes(struct passes *p, struct pool *pool, const struct layout *l,
                       const float *qkv, const float *dout)
{
    const struct attention *a = &l->shape;
    memset(p, 0, sizeof *p);
    attention_forward(pool, a, p->out, p->lse, qkv, k_of(l, qkv), v_of(l, qkv), l->offset,
                      l->seqs);
    attention_backward(pool, a, p->d, p->d + a->H * a->D, p->d + (a->H + a->G) * a->D, dout,
                       qkv, k_of(l, qkv), v_of(l, qkv), p->out, p->lse, l->offset, l->seqs);
}

static void bits_check(const struct layout *l, float slope, struct pool *const *pools, size_t n)
{
    const size_t N = l->offset[l->seqs];
    float *qkv = kernel_random(N * l->shape.q_stride, 1);
    float *dout = kernel_random(N * l->shape.out_stride, 2);
    for (size_t i = 0; i < N * l->shape.out_stride; i++)
        dout[i] *= slope;
    static struct passes want, got;
    isa_force(ISA_PLAIN);
    run_passes(&want, NULL, l, qkv, dout);
    for (size_t p = 0; p < n; p++)
        KERNEL_EACH_ISA(isa)
        {
            run_passes(&got, pools[p], l, qkv, dout);
            check_same_bits((const float *)&got, (const float *)&want,
                            sizeof want / sizeof(float));
        }
    free(qkv);
    free(dout);
}

static void bits_depend_on_neither_threads_nor_instruction_set(void **state)
{
    (void)state;
    const uint32_t lengths[] = {33, 1, 100, 7};
    /* Heads that fill lanes (engine/kernels/attention_lanes.h), and one that does not. */
    const size_t D[] = {33, 8, 16, 24, 32, 64};
    struct pool *pools[] = {NULL, kernel_pool(2), kernel_pool(3)};
    for (size_t i = 0; i < COUNT(D); i++) {
        const struct layout l = layout_of(4, 2, D[i], lengths, 4);
        bits_check(&l, 1.0f, pools, COUNT(pools));
        bits_check(&l, 1e-37f, pools, COUNT(pools)); /* many sums are flushed to 0 or -0 */
    }
    const uint32_t longer[] = {300, 20, 200}; /* of so many a task has all heads, or one */
    const struct layout l = layout_of(4, 2, 16, longer, 3);
    bits_check(&l, 1.0f, pools, COUNT(pools));
    const uint32_t wide[] = {70}; /* of so many channels a block of keys alone has room */
    const struct layout widest = layout_of(1, 1, 512, wide, 1);
    bits_check(&widest, 1.0f, pools, COUNT(pools));
    for (size_t p = 0; p < COUNT(pools); p++)
        pool_free(pools[p]);
}

/* Several caches whose pieces lie among each other, as those of layers do. */
struct caches {
    float *floats;
    size_t step;
};

static struct caches caches_of(const struct attention *shape, size_t n, size_t tokens)
{
    const size_t floats = attention_piece_floats(shape);
    const size_t pieces = (tokens + ATTENTION_PIECE - 1) / ATTENTION_PIECE;
    float *all = kernel_random(n * pieces * floats, 11);
    for (size_t i = 0; i < n * pieces * floats; i++)
        all[i] = NAN; /* what nobody put there counts for nothing */
    return (struct caches){all, n * floats};
}

static float *cache_of(const struct caches *caches, const struct attention *shape, size_t i)
{
    return caches->floats + i * attention_piece_floats(shape);
}

/* Two sequences, token by token, each over its own cache; q and out are dense. */
static void decode_check(const struct layout *l, struct pool *pool, const float *qkv,
                         const float *want)
{
    const size_t H = l->shape.H, G = l->shape.G, D = l->shape.D, width = l->shape.q_stride;
    struct attention shape = l->shape;
    shape.q_stride = shape.out_stride = H * D;
    const struct caches caches = caches_of(&shape, 2, l->offset[2]);
    float *q = kernel_random(2 * H * D, 12), *out = kernel_random(2 * H * D, 13);
    const float *const cache[2] = {cache_of(&caches, &shape, 0), cache_of(&caches, &shape, 1)};
    for (uint32_t t = 0; t < l->offset[2]; t++) {
        uint32_t keys[2];
        for (size_t s = 0; s < 2; s++) {
            const uint32_t length = l->offset[s + 1] - l->offset[s];
            keys[s] = t < length ? t + 1 : length;
            const float *row = qkv + (l->offset[s] + keys[s] - 1) * width;
            memcpy(q + s * H * D, row, H * D * sizeof(float));
            attention_cache_put(&shape, cache_of(&caches, &shape, s), caches.step, keys[s] - 1,
                                row + H * D, row + (H + G) * D);
        }
        attention_decode(pool, &shape, out, q, cache, caches.step, keys, NULL, 2);
        for (size_t s = 0; s < 2; s++)
            check_same_bits(out + s * H * D, want + (l->offset[s] + keys[s] - 1) * H * D,
                            H * D);
    }
    free(caches.floats);
    free(q);
    free(out);
}

/* The bits of a token decoded over its cache, whose strides differ, are those of the packed
 * forward pass: for heads alone, in groups, more than fit a task, and more than one group of
 * them does. */
static void decoding_gives_the_bits_of_the_packed_pass(void **state)
{
    (void)state;
    const uint32_t lengths[] = {80, 129};
    const struct layout layouts[] = {
        layout_of(4, 2, 64, lengths, 2),  layout_of(3, 3, 16, lengths, 2),
        layout_of(6, 2, 20, lengths, 2),  layout_of(36, 12, 8, lengths, 2),
        layout_of(34, 1, 12, lengths, 2), layout_of(1, 1, 40, lengths, 2),
    };
    struct pool *pool = kernel_pool(2);
    for (size_t i = 0; i < COUNT(layouts); i++) {
        const struct layout *l = &layouts[i];
        const size_t N = l->offset[2];
        float *qkv = kernel_random(N * l->shape.q_stride, 9);
        float *want = kernel_random(N * l->shape.out_stride, 10);
        attention_forward(NULL, &l->shape, want, NULL, qkv, k_of(l, qkv), v_of(l, qkv),
                          l->offset, 2);
        KERNEL_EACH_ISA(isa)
        {
            decode_check(l, NULL, qkv, want);
            decode_check(l, pool, qkv, want);
        }
        free(qkv);
        free(want);
    }
    pool_free(pool);
}

/* The last token of a sequence of `keys` twice.  One cache has the first `shared` positions and the
 * other what follows them: nothing is there twice. */
static void share_check(const struct layout *l, const float *qkv, const float *want,
                        uint32_t keys, uint32_t shared)
{
    const size_t H = l->shape.H, G = l->shape.G, D = l->shape.D, width = l->shape.q_stride;
    const struct caches caches = caches_of(&l->shape, 2, keys);
    for (uint32_t t = 0; t < keys; t++) {
        const float *row = qkv + t * width, *k = row + H * D, *v = k + G * D;
        attention_cache_put(&l->shape, cache_of(&caches, &l->shape, t >= shared), caches.step,
                            t, k, v);
    }
    float *q = kernel_random(2 * width, 12), *out = kernel_random(2 * H * D, 13);
    for (size_t i = 0; i < 2; i++)
        memcpy(q + i * width, qkv + (keys - 1) * width, width * sizeof *q);
    const float *first = cache_of(&caches, &l->shape, 0);
    const float *rest = cache_of(&caches, &l->shape, 1);
    const struct attention_prefix prefix[] = {{first, shared}, {first, shared}};
    attention_decode(NULL, &l->shape, out, q, (const float *const[]){rest, rest}, caches.step,
                     (const uint32_t[]){keys, keys}, prefix, 2);
    for (size_t i = 0; i < 2; i++)
        check_same_bits(out + i * H * D, want + (keys - 1) * H * D, H * D);
    free(caches.floats);
    free(q);
    free(out);
}

/* Wherever the shared part ends: at a block of keys, inside one, or with all keys. */
static void what_sequences_share_is_read_from_one_cache(void **state)
{
    (void)state;
    const uint32_t lengths[] = {150};
    const struct layout layouts[] = {layout_of(8, 8, 16, lengths, 1),
                                     layout_of(6, 2, 20, lengths, 1),
                                     layout_of(3, 1, 40, lengths, 1)};
    static const uint32_t shared[] = {16, 48, 64, 80, 128};
    for (size_t i = 0; i < COUNT(layouts); i++) {
        const struct layout *l = &layouts[i];
        float *qkv = kernel_random(lengths[0] * l->shape.q_stride, 9);
        float *want = kernel_random(lengths[0] * l->shape.out_stride, 10);
        assert_true(attention_shares(&l->shape));
        attention_forward(NULL, &l->shape, want, NULL, qkv, k_of(l, qkv), v_of(l, qkv),
                          l->offset, 1);
        KERNEL_EACH_ISA(isa)
        {
            for (size_t k = 0; k < COUNT(shared); k++) {
                share_check(l, qkv, want, shared[k], shared[k]);
                share_check(l, qkv, want, shared[k] + 1, shared[k]);
                share_check(l, qkv, want, 150, shared[k]);
            }
        }
        free(qkv);
        free(want);
    }
}

/* A prompt put into a cache in two parts: each token has the bits of the packed pass. */
static void runs_of_tokens_over_a_cache_have_the_bits_of_the_packed_pass(void **state)
{
    (void)state;
    const uint32_t lengths[] = {150};
    enum { G = 2, D = 24, H = 6, T = 150, PART = 70 };
    const struct layout l = layout_of(H, G, D, lengths, 1);
    const size_t width = l.shape.q_stride;
    float *qkv = kernel_random(T * width, 9), *want = kernel_random(T * H * D, 10);
    float *out = kernel_random(T * H * D, 12);
    const struct caches caches = caches_of(&l.shape, 1, T);
    const float *cache[T];
    uint32_t keys[T];
    attention_forward(NULL, &l.shape, want, NULL, qkv, k_of(&l, qkv), v_of(&l, qkv), l.offset,
                      1);
    for (uint32_t t = 0; t < T; t++) {
        attention_cache_put(&l.shape, caches.floats, caches.step, t, k_of(&l, qkv) + t * width,
                            v_of(&l, qkv) + t * width);
        cache[t] = caches.floats;
        keys[t] = t + 1;
    }
    struct pool *pool = kernel_pool(2);
    KERNEL_EACH_ISA(isa)
    {
        attention_decode(pool, &l.shape, out, qkv, cache, caches.step, keys, NULL, PART);
        attention_decode(pool, &l.shape, out + PART * H * D, qkv + PART * width, cache + PART,
                         caches.step, keys + PART, NULL, T - PART);
        check_same_bits(out, want, T * H * D);
    }
    /* Tokens of one cache that do not follow each other are no run. */
    const size_t apart[] = {100, 40, 41, 80};
    float some[4 * H * D], q[4 * (H + 2 * G) * D];
    for (size_t i = 0; i < COUNT(apart); i++) {
        memcpy(q + i * width, qkv + apart[i] * width, width * sizeof *q);
        keys[i] = (uint32_t)apart[i] + 1;
    }
    attention_decode(pool, &l.shape, some, q, cache, caches.step, keys, NULL, COUNT(apart));
    for (size_t i = 0; i < COUNT(apart); i++)
        check_same_bits(some + i * H * D, want + apart[i] * H * D, H * D);
    pool_free(pool);
    free(qkv);
    free(want);
    free(out);
    free(caches.floats);
}

/* Wherever the greatest score stands, in the first block of keys or in the second. */
static void great_scores_do_not_overflow(void **state)
{
    (void)state;
    enum { D = 4, KEYS = 100 };
    static float q[KEYS * D], k[KEYS * D], v[KEYS * D], out[KEYS * D], lse[KEYS];
    const struct attention shape = {1, 1, D, 1.0f, D, D, D};
    const uint32_t offset[] = {0, KEYS};
    const float want[D] = {0, 5, 0, 0};
    q[(KEYS - 1) * D] = 100.0f;
    KERNEL_EACH_ISA(isa)
    for (size_t key = 0; key < KEYS; key++) {
        k[key * D] = 100.0f; /* score 10000; the others' are 0 */
        v[key * D + 1] = 5.0f;
        attention_forward(NULL, &shape, out, lse, q, k, v, offset, 1);
        check_close(out + (KEYS - 1) * D, want, D, 1e-6, 1e-30);
        assert_true(lse[KEYS - 1] == 10000.0f);
        k[key * D] = v[key * D + 1] = 0.0f;
    }
}

int main(void)
{
    pool_thread_init(); /* as all that trains: what is no normal number is 0 */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_the_definition),
        cmocka_unit_test(backward_is_the_slope_of_the_definition),
        cmocka_unit_test(bits_depend_on_neither_threads_nor_instruction_set),
        cmocka_unit_test(decoding_gives_the_bits_of_the_packed_pass),
        cmocka_unit_test(what_sequences_share_is_read_from_one_cache),
        cmocka_unit_test(runs_of_tokens_over_a_cache_have_the_bits_of_the_packed_pass),
        cmocka_unit_test(great_scores_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
