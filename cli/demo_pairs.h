/*
 * demo_pairs.h -- preference data of the built-in world, as people would have given it.
 *
 * A policy answers each question twice, at temperature 1; the truth of the world (world/gold.h)
 * says which answer is preferred, which is safer and which harms, with the noise people have:
 *
 *     pairs.jsonl        {"prompt","chosen","rejected"}: preferences by gold reward
 *     safety.jsonl       PKU-SafeRLHF's keys: preferences by gold reward and gold cost, and
 *                        whether each answer is safe
 *     pairs-test.jsonl, safety-test.jsonl    the same of held-out questions, without noise and
 *                        without ties: to measure a model against the truth
 *
 * Two answers of the same text are drawn again; a question that keeps giving one text is left
 * out.  The same policy, seed and counts give the same bytes, for any number of threads.
 */
#ifndef CLI_DEMO_PAIRS_H
#define CLI_DEMO_PAIRS_H

#include <stdint.h>

#include "base/err.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "engine/tokenizer.h"

#define DEMO_PAIRS_MAX 1000000

struct demo_pairs_params {
    uint64_t seed;
    uint32_t pairs, safety; /* lines of the two files; safety 0: nor is its test made */
    uint32_t test;          /* lines of each test file */
    double scale;           /* of the Bradley-Terry noise: gold reward in nats, > 0 */
    double flip;            /* chance that a safety label is wrong, [0, 0.5) */
    uint32_t max_new_tokens;
};

/* Write the files into the existing directory `dir`, each atomically.  `policy` answers;
 * its tokenizer decodes.  ERR_NOMEM, ERR_IO, and the generator's errors. */
enum err_code demo_pairs_write(const char *dir, const struct model *policy, struct pool *pool,
                               const struct tokenizer *tokenizer,
                               const struct demo_pairs_params *params, struct err *err);

#endif
