/* demo_pairs.c -- see demo_pairs.h. */
#include "cli/demo_pairs.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "engine/chat.h"
#include "engine/generate.h"
#include "world/gold.h"

#define DEMO_ROWS       32
#define DEMO_TEXT_MAX   8192
#define DEMO_FILE_MAX   ((size_t)1 << 30)
#define DEMO_TRIES_MAX  4 /* answers drawn until two differ */
#define DEMO_USE_BETTER 0 /* of gold_prefer and gold_label */
#define DEMO_USE_SAFER  1
#define DEMO_USE_SAFE   2 /* and 3: of answer 0, of answer 1 */

/* One of the four files on its way. */
struct demo_file {
    const char *name;
    bool test, safety;
    uint32_t lines;
    uint64_t stream; /* which questions and samples: numbers of no two files are alike */
    struct buf text;
};

struct demo_pairs {
    const struct demo_pairs_params *params;
    const struct tokenizer *tokenizer;
    struct generator *generator;
    struct gold *gold;
    uint32_t *items; /* questions a file may ask */
    size_t items_n;
    struct buf answer[DEMO_ROWS][DEMO_TRIES_MAX]; /* of the questions under way */
    struct err why;                               /* of the callback */
};

static void demo_pairs_done(void *arg, const struct generate_result *result)
{
    struct demo_pairs *d = arg;
    struct buf *out = &d->answer[result->tag / DEMO_TRIES_MAX][result->tag % DEMO_TRIES_MAX];
    if (!d->why.code)
        tokenizer_decode(d->tokenizer, result->ids, result->tokens, true, out, &d->why);
}

/* Queue all tries of question `item`, number `k` of the file, for row `row`. */
static enum err_code demo_pairs_ask(struct demo_pairs *d, const struct demo_file *file,
                                    const struct world_item *item, uint64_t k, size_t row,
                                    struct err *err)
{
    struct buf prompt;
    struct tokens ids = {0};
    buf_init(&prompt, DEMO_TEXT_MAX);
    world_prompt(item, &prompt);
    const struct chat_turn turn = {.role = "user", .content = prompt.data};
    enum err_code rc = chat_encode(CHAT_plain, d->tokenizer, &turn, 1, &ids, err);
    for (uint32_t t = 0; !rc && t < DEMO_TRIES_MAX; t++) {
        buf_clear(&d->answer[row][t]);
        const struct generate_request request = {
            .tag = row * DEMO_TRIES_MAX + t,
            .prompt = ids.ids,
            .prompt_tokens = (uint32_t)ids.n,
            .max_new_tokens = d->params->max_new_tokens,
            .sampling = {.temperature = 1.0f, .top_p = 1.0f},
            .seed = d->params->seed,
            .stream = RNG_STREAM_CLI,
            .a = file->stream + k,
            .b = t,
        };
        rc = generator_add(d->generator, &request, err);
    }
    tokens_release(&ids);
    buf_release(&prompt);
    return rc;
}

static void demo_pairs_member(struct buf *out, const char *key, const struct buf *text)
{
    buf_printf(out, ", \"%s\": ", key);
    buf_json_string(out, text->data, text->len);
}

static void demo_pairs_line(const struct demo_pairs *d, struct demo_file *file,
                            const struct world_item *item, uint64_t k, const struct buf *a[2])
{
    const struct demo_pairs_params *p = d->params;
    struct gold_verdict gold[2];
    for (int i = 0; i < 2; i++)
        gold[i] = gold_judge(d->gold, item, a[i]->data, a[i]->len);
    const double *g0 = gold[0].value, *g1 = gold[1].value;
    const uint64_t pair = file->stream + k;
    int better = g0[GOLD_reward] >= g1[GOLD_reward] ? 0 : 1;
    int safer = g0[GOLD_cost] <= g1[GOLD_cost] ? 0 : 1;
    bool safe[2] = {g0[GOLD_harm] == 0.0, g1[GOLD_harm] == 0.0};
    if (!file->test) {
        better = gold_prefer(p->seed, pair, DEMO_USE_BETTER, p->scale, g0[GOLD_reward],
                             g1[GOLD_reward]);
        safer = gold_prefer(p->seed, pair, DEMO_USE_SAFER, p->scale, -g0[GOLD_cost],
                            -g1[GOLD_cost]);
        for (uint32_t i = 0; i < 2; i++)
            safe[i] = gold_label(p->seed, pair, DEMO_USE_SAFE + i, p->flip, safe[i]);
    }
    if (safe[0] != safe[1])
        safer = safe[0] ? 0 : 1; /* nobody calls the harmful one the safer */

    struct buf prompt;
    buf_init(&prompt, DEMO_TEXT_MAX);
    world_prompt(item, &prompt);
    buf_puts(&file->text, "{\"prompt\": ");
    buf_json_string(&file->text, prompt.data, prompt.len);
    if (file->safety) {
        demo_pairs_member(&file->text, "response_0", a[0]);
        demo_pairs_member(&file->text, "response_1", a[1]);
        buf_printf(&file->text,
                   ", \"better_response_id\": %d, \"safer_response_id\": %d, "
                   "\"is_response_0_safe\": %s, \"is_response_1_safe\": %s}\n",
                   better, safer, safe[0] ? "true" : "false", safe[1] ? "true" : "false");
    } else {
        demo_pairs_member(&file->text, "chosen", a[better]);
        demo_pairs_member(&file->text, "rejected", a[1 - better]);
        buf_puts(&file->text, "}\n");
    }
    buf_release(&prompt);
}

/* A policy that has learned little says any byte; a data set of text has no place for NUL. */
static bool demo_pairs_is_text(const struct buf *answer)
{
    return memchr(answer->data, '\0', answer->len) == NULL;
}

static bool demo_pairs_differ(const struct demo_pairs *d, const struct demo_file *file,
                              const struct world_item *item, const struct buf *const a[2])
{
    if (a[0]->len == a[1]->len && memcmp(a[0]->data, a[1]->data, a[0]->len) == 0)
        return false;
    const enum gold_measure what = file->safety ? GOLD_cost : GOLD_reward;
    return !file->test || gold_judge(d->gold, item, a[0]->data, a[0]->len).value[what] !=
                              gold_judge(d->gold, item, a[1]->data, a[1]->len).value[what];
}

/* Two different answers of the row; false where there are none, or, of a test file, where the
 * truth does not tell them apart. */
static bool demo_pairs_pick(const struct demo_pairs *d, const struct demo_file *file,
                            const struct world_item *item, size_t row, const struct buf *a[2])
{
    a[0] = NULL;
    for (size_t t = 0; t < DEMO_TRIES_MAX; t++) {
        if (!demo_pairs_is_text(&d->answer[row][t]))
            continue;
        a[a[0] ? 1 : 0] = &d->answer[row][t];
        if (a[0] != &d->answer[row][t] && demo_pairs_differ(d, file, item, a))
            return true;
    }
    return false;
}

/* Fill the file, DEMO_ROWS questions at a time, each drawn from all that the file may ask. */
static enum err_code demo_pairs_fill(struct demo_pairs *d, struct demo_file *file,
                                     struct err *err)
{
    const struct world *world = gold_world(d->gold);
    const uint64_t most =
        50 * (uint64_t)file->lines + 1000; /* a policy may say one thing only */
    uint32_t written = 0;
    for (uint64_t k = 0; written < file->lines; k += DEMO_ROWS) {
        if (k >= most)
            return err_set(err, ERR_VALUE,
                           "%s: the policy gives too few different answers: %u pairs in %llu "
                           "questions",
                           file->name, written, (unsigned long long)k);
        const struct world_item *item[DEMO_ROWS];
        for (size_t row = 0; row < DEMO_ROWS; row++) {
            const uint64_t at = rng_below(d->params->seed, RNG_STREAM_WORLD,
                                          file->stream + k + row, 0, 2, d->items_n);
            item[row] = &world->items[d->items[at]];
            const enum err_code rc = demo_pairs_ask(d, file, item[row], k + row, row, err);
            if (rc)
                return rc;
        }
        while (generator_step(d->generator, demo_pairs_done, d) > 0)
            ;
        if (d->why.code)
            return err_set(err, d->why.code, "%s: %s", file->name, d->why.text);
        for (size_t row = 0; row < DEMO_ROWS && written < file->lines; row++) {
            const struct buf *a[2];
            if (demo_pairs_pick(d, file, item[row], row, a)) {
                demo_pairs_line(d, file, item[row], k + row, a);
                written++;
            }
        }
    }
    return ERR_OK;
}

static enum err_code demo_pairs_save(struct demo_pairs *d, struct demo_file *file,
                                     const char *dir, struct err *err)
{
    const struct world *world = gold_world(d->gold);
    char path[FILE_PATH_MAX];
    d->items_n = 0;
    for (size_t i = 0; i < world->items_n; i++)
        if (world_is_held_out(i) == file->test)
            d->items[d->items_n++] = (uint32_t)i;
    buf_init(&file->text, DEMO_FILE_MAX);
    enum err_code rc = demo_pairs_fill(d, file, err);
    if (!rc)
        rc = buf_check(&file->text, file->name, err);
    if (!rc)
        rc = file_join(path, dir, file->name, err);
    if (!rc)
        rc = file_write(path, file->text.data, file->text.len, err);
    buf_release(&file->text);
    return rc;
}

enum err_code demo_pairs_write(const char *dir, const struct model *policy, struct pool *pool,
                               const struct tokenizer *tokenizer,
                               const struct demo_pairs_params *params, struct err *err)
{
    assert(params->pairs <= DEMO_PAIRS_MAX && params->safety <= DEMO_PAIRS_MAX &&
           params->test <= DEMO_PAIRS_MAX);
    static const uint64_t apart = 100 * (uint64_t)DEMO_PAIRS_MAX;
    struct demo_file file[] = {
        {"pairs.jsonl", false, false, params->pairs, 1 * apart, {0}},
        {"safety.jsonl", false, true, params->safety, 2 * apart, {0}},
        {"pairs-test.jsonl", true, false, params->test, 3 * apart, {0}},
        {"safety-test.jsonl", true, true, params->test, 4 * apart, {0}},
    };
    struct demo_pairs d = {.params = params, .tokenizer = tokenizer};
    for (size_t row = 0; row < DEMO_ROWS; row++)
        for (size_t t = 0; t < DEMO_TRIES_MAX; t++)
            buf_init(&d.answer[row][t], DEMO_TEXT_MAX);
    enum err_code rc = gold_new(&d.gold, err);
    if (rc)
        goto out;
    d.items = calloc(gold_world(d.gold)->items_n, sizeof *d.items);
    if (!d.items) {
        rc =
            err_set(err, ERR_NOMEM, "no memory for %zu questions", gold_world(d.gold)->items_n);
        goto out;
    }
    d.generator = generator_new(policy, pool, tokenizer, DEMO_ROWS * 2, policy->config.T, err);
    if (!d.generator) {
        rc = err->code;
        goto out;
    }
    for (size_t i = 0; !rc && i < sizeof file / sizeof file[0]; i++)
        if (!file[i].safety || params->safety > 0)
            rc = demo_pairs_save(&d, &file[i], dir, err);
out:
    generator_free(d.generator);
    free(d.items);
    gold_free(d.gold);
    for (size_t row = 0; row < DEMO_ROWS; row++)
        for (size_t t = 0; t < DEMO_TRIES_MAX; t++)
            buf_release(&d.answer[row][t]);
    return rc;
}
