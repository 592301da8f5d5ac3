/*
 * report_examples.h -- some of a run's responses, as text: what the numbers were of.
 */
#ifndef CLI_REPORT_EXAMPLES_H
#define CLI_REPORT_EXAMPLES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "node/run_config.h"

#define REPORT_EXAMPLES       8   /* slots of a step that are shown */
#define REPORT_EXAMPLE_TOKENS 400 /* of a response or prompt; the rest is cut off */
#define REPORT_EXAMPLE_TEXT   ((size_t)64 * 1024)

struct report_example {
    bool held;
    bool reference; /* of the frozen policy, outside any step */
    uint64_t step;
    uint32_t slot; /* of a reference: which of its prompt's */
    uint32_t prompt;
    uint32_t response_tokens;
    struct buf text;
    uint32_t scorers; /* 0: no score is recorded */
    double score[RUN_SCORERS_MAX];
    double raw; /* as reward.combine makes it (report_raw.h); NaN: none */
};

struct report_examples {
    struct report_example last[REPORT_EXAMPLES];  /* slot i of the last step */
    struct report_example early[REPORT_EXAMPLES]; /* the first response to last[i]'s prompt */
    struct report_example first[REPORT_EXAMPLES]; /* slot i of the first step */
    struct buf prompt_last[REPORT_EXAMPLES],
        prompt_first[REPORT_EXAMPLES]; /* "": not to be had */
};

/*
 * Read them from RUN's ledger; last_step is the last that trained.  Where the tokenizer of
 * model.policy is gone, or the data set, the texts that need it are left out.  ERR_FORMAT where
 * the ledger is damaged, ERR_VALUE where a response is none of the tokenizer's.  The caller
 * ends it with report_examples_release, also on failure.
 */
enum err_code report_examples_load(struct report_examples *examples, const char *run_dir,
                                   const struct run_config *config, uint64_t last_step,
                                   struct err *err);
void report_examples_release(struct report_examples *examples);

/* Append them as tables; nothing where there are none. */
void report_examples_write(const struct report_examples *examples,
                           const struct run_config *config, struct buf *out);

#endif
