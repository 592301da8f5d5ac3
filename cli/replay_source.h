/*
 * replay_source.h -- a run's directory as the replay reads it: config.yaml, the prompts and the
 * tokenizer it names, the ledger.  A coordinator may be writing meanwhile: what is read is as of
 * one moment.
 */
#ifndef CLI_REPLAY_SOURCE_H
#define CLI_REPLAY_SOURCE_H

#include "base/err.h"
#include "cli/replay.h"
#include "coordinator/ledger.h"
#include "coordinator/prompts.h"
#include "node/run_config.h"

struct replay_source {
    struct run_config config;
    struct prompts prompts;
    struct core_tokens tokens; /* what an answer's can be */
    struct ledger *ledger;     /* NULL: none held */
};

/* ERR_UNAVAILABLE where there is no ledger; ERR_VALUE where it was begun with another
 * configuration than config.yaml's; else the errors of what is read.  The caller ends it with
 * replay_source_close, also on failure.  Large: not for a stack. */
enum err_code replay_source_open(struct replay_source *source, const char *dir,
                                 struct err *err);
void replay_source_close(struct replay_source *source);

/* Every record of the ledger through a replay of these ops. */
enum err_code replay_source_each(struct replay_source *source, const struct replay_ops *ops,
                                 struct replay_summary *out, struct err *err);

#endif
