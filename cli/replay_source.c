/* replay_source.c -- see replay_source.h. */
#include "cli/replay_source.h"

#include <string.h>

#include "base/file.h"

static enum err_code replay_source_check(const struct replay_source *source, const char *path,
                                         struct err *err)
{
    struct ledger_summary summary;
    struct hash hash;
    char was[HASH_HEX_BYTES], is[HASH_HEX_BYTES];
    const enum err_code rc = ledger_summarise(source->ledger, &summary, err);
    run_config_hash(&source->config, &hash);
    if (rc != ERR_OK || memcmp(&hash, &summary.config_hash, sizeof hash) == 0)
        return rc;
    hash_hex(&summary.config_hash, was);
    hash_hex(&hash, is);
    return err_set(err, ERR_VALUE,
                   "config_hash: the ledger was begun with the configuration %.16s..., %s is "
                   "%.16s...",
                   was, path, is);
}

enum err_code replay_source_open(struct replay_source *source, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    memset(source, 0, sizeof *source);
    enum err_code rc = ledger_open_read(&source->ledger, dir, err);
    if (rc == ERR_OK)
        rc = file_join(path, dir, "config.yaml", err);
    if (rc == ERR_OK)
        rc = run_config_load(&source->config, path, NULL, 0, err);
    if (rc == ERR_OK)
        rc = replay_source_check(source, path, err);
    if (rc == ERR_OK)
        rc = prompts_load(&source->prompts, &source->config, err);
    return rc == ERR_OK ? prompts_answers(&source->config, &source->tokens, err) : rc;
}

void replay_source_close(struct replay_source *source)
{
    prompts_release(&source->prompts);
    ledger_close(source->ledger, NULL);
    source->ledger = NULL;
}

static enum err_code replay_source_record(void *ctx, const struct record *record,
                                          struct err *err)
{
    return replay_record(ctx, record, err);
}

enum err_code replay_source_each(struct replay_source *source, const struct replay_ops *ops,
                                 struct replay_summary *out, struct err *err)
{
    struct replay *replay = NULL;
    const struct core_prompts prompts = prompts_view(&source->prompts);
    enum err_code rc =
        replay_new(&replay, &source->config, &prompts, &source->tokens, ops, err);
    if (rc == ERR_OK)
        rc = ledger_each(source->ledger, 0, replay_source_record, replay, err);
    if (rc == ERR_OK)
        rc = replay_end(replay, out, err);
    replay_free(replay);
    return rc;
}
