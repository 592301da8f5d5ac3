/* core_identity.c -- what a run reads besides its config does not change under it.
 *
 * The prompts, and all that scores a response, are recorded by their hashes when the run first
 * meets them.  A data set that was edited would plan other slots, and two reward processes with
 * different files would give scores that depend on who was asked: both are refused by name. */
#include <stdio.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

static const char *const core_identity_names[CORE_IDENTITIES] = {"prompts", "scorers"};

static bool core_identity_differs(const struct core_identity *known, const struct hash *now)
{
    return known->known && memcmp(&known->hash, now, sizeof *now) != 0;
}

static void core_identity_record(struct core *core, enum core_identity_of of,
                                 const struct hash *hash)
{
    core->identity[of] = (struct core_identity){.known = true, .hash = *hash};
    core_append(core, &(struct record){.kind = RECORD_IDENTITY,
                                       .id = core_identity_names[of],
                                       .hash = *hash});
}

static void core_identity_of_prompts(const struct core *core, struct hash *out)
{
    struct hash part[3] = {0};
    const struct core_prompts *prompts = &core->prompts;
    hash_blake2b(&part[0], prompts->offset, (prompts->n + 1) * sizeof *prompts->offset);
    hash_blake2b(&part[1], prompts->ids, prompts->offset[prompts->n] * sizeof *prompts->ids);
    if (prompts->kind)
        hash_blake2b(&part[2], prompts->kind, prompts->n);
    hash_blake2b(out, part, sizeof part);
}

void core_identity_start(struct core *core)
{
    struct hash now;
    if (core->identity[CORE_IDENTITY_PROMPTS].known)
        return; /* core_identity_replay has compared them */
    core_identity_of_prompts(core, &now);
    core_identity_record(core, CORE_IDENTITY_PROMPTS, &now);
}

const char *core_identity_greet(struct core *core, const struct message *hello, char *text,
                                size_t size)
{
    const struct core_identity *known = &core->identity[CORE_IDENTITY_SCORERS];
    if (!hello->has_hash)
        return "a reward process's HELLO must name the hash of what it scores with";
    if (core_identity_differs(known, &hello->hash)) {
        char was[HASH_HEX_BYTES], is[HASH_HEX_BYTES];
        hash_hex(&known->hash, was);
        hash_hex(&hello->hash, is);
        snprintf(text, size,
                 "it scores with other models, lists, labels or reference policy than the run "
                 "began with: their hash is %.16s..., the record says %.16s...",
                 is, was);
        return text;
    }
    if (!known->known)
        core_identity_record(core, CORE_IDENTITY_SCORERS, &hello->hash);
    return NULL;
}

enum err_code core_identity_replay(struct core *core, const struct record *record,
                                   struct err *err)
{
    struct hash now;
    size_t of = 0;
    while (of < CORE_IDENTITIES && strcmp(record->id, core_identity_names[of]) != 0)
        of++;
    if (of == CORE_IDENTITIES || core->identity[of].known)
        return err_set(err, ERR_STATE, "the ledger's record %llu is the identity of \"%s\" %s",
                       (unsigned long long)record->seq, record->id,
                       of == CORE_IDENTITIES ? "which this program does not know"
                                             : "for a second time");
    core->identity[of] = (struct core_identity){.known = true, .hash = record->hash};
    if (of != CORE_IDENTITY_PROMPTS)
        return ERR_OK;
    core_identity_of_prompts(core, &now);
    if (core_identity_differs(&core->identity[of], &now))
        return err_set(err, ERR_USAGE,
                       "%s: its prompts are not those that this run began with: restore the "
                       "file, or begin anew in another run.dir",
                       core->config->prompts);
    return ERR_OK;
}
