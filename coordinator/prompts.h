/*
 * prompts.h -- the data set of a run, tokenised once at the start.
 *
 * JSON lines, plain or gzip: {"prompt": "text"} or {"messages": [{"role": ..., "content": ...},
 * ...]}, with "label" and other members ignored here.  Blank lines are skipped; prompt i is the
 * i-th of the others.  A text prompt is one turn of the user in the run's template.  Where a
 * scorer has a prompt_kind, a line may have "kind": text, and is refused where no reward scorer
 * counts for it.
 */
#ifndef COORDINATOR_PROMPTS_H
#define COORDINATOR_PROMPTS_H

#include "base/err.h"
#include "coordinator/core.h"
#include "engine/tokenizer.h"
#include "node/run_config.h"

#define PROMPTS_FILE_MAX ((size_t)4 << 30) /* bytes of the data set, as it is on the disk */
#define PROMPTS_TURNS    64                /* of one conversation */

struct prompts {
    struct tokens tokens; /* ids of all, one after the other */
    size_t *offset;       /* [n + 1] */
    uint8_t *kind;        /* [n] as core_prompts has it; NULL: no scorer has a prompt_kind */
    uint32_t n, cap;
};

/*
 * Read data.prompts with the tokenizer of model.policy.  ERR_FORMAT and ERR_VALUE name
 * file:line and what is wrong there: no JSON, no prompt, more than data.prompt_tokens_max
 * tokens, not UTF-8, a kind that is no text or has no reward; also where there is no prompt at
 * all.  The caller ends it with prompts_release, also on failure.
 */
enum err_code prompts_load(struct prompts *prompts, const struct run_config *config,
                           struct err *err);
void prompts_release(struct prompts *prompts);

/* As the core wants them; valid until prompts_release. */
struct core_prompts prompts_view(const struct prompts *prompts);

/* What the tokens of an answer can be, by config.json of model.policy; errors name it. */
enum err_code prompts_answers(const struct run_config *config, struct core_tokens *tokens,
                              struct err *err);

#endif
