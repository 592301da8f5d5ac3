/* run_config_combine.c -- which scorers, combiner and shapers go together: see run_config.h. */
#include <string.h>

#include "node/run_config_internal.h"

static enum err_code run_config_check_kind(const struct run_scorer *scorer, const char *path,
                                           struct err *err)
{
    if (scorer->role == RUN_ROLE_COST && scorer->prompt_kind[0])
        return err_set(err, ERR_USAGE,
                       "%s: cost scorer \"%s\" has prompt_kind %s: what is harmful counts for "
                       "every prompt, so a cost has none",
                       path, scorer->name, scorer->prompt_kind);
    return ERR_OK;
}

/* Of a scorer of the role reward. */
static enum err_code run_config_check_term(const struct run_config *c,
                                           const struct run_scorer *scorer, const char *path,
                                           struct err *err)
{
    const char *combine = run_config_combines[c->combine];
    const bool factor = c->combine == RUN_COMBINE_PRODUCT || c->combine == RUN_COMBINE_MIN ||
                        c->combine == RUN_COMBINE_MAXMIN;
    const bool ordered = c->combine == RUN_COMBINE_LEVELS || c->combine == RUN_COMBINE_TREE;
    if (factor && scorer->weight <= 0)
        return err_set(err, ERR_USAGE,
                       "%s: scorer \"%s\" has weight %g: under reward.combine %s it must be "
                       "above 0",
                       path, scorer->name, scorer->weight, combine);
    if (ordered && scorer->weight != 1)
        return err_set(err, ERR_USAGE,
                       "%s: scorer \"%s\" has weight %g: reward.combine %s compares scores as "
                       "they are, in the order of the scorers, so it must be 1",
                       path, scorer->name, scorer->weight, combine);
    if (c->combine == RUN_COMBINE_MAXMIN && scorer->prompt_kind[0])
        return err_set(err, ERR_USAGE,
                       "%s: scorer \"%s\" has prompt_kind %s: under reward.combine maxmin a "
                       "group of users judges every prompt",
                       path, scorer->name, scorer->prompt_kind);
    return ERR_OK;
}

static bool run_config_takes_references(const char *shaper)
{
    static const char *const alone[] = {"none",       "ceiling", "sigmoid", "tanh",
                                        "polynomial", "meanstd", "clip",    "minmax"};
    for (size_t i = 0; i < sizeof alone / sizeof alone[0]; i++)
        if (strcmp(shaper, alone[i]) == 0)
            return false;
    return true;
}

/* What the tree makes of a response is compared already, and a reference has no such number. */
static enum err_code run_config_check_tree(const struct run_config *c, const char *path,
                                           struct err *err)
{
    const uint32_t n = c->shapers_n > 0 ? c->shapers_n : 1;
    for (uint32_t i = 0; i < n && c->combine == RUN_COMBINE_TREE; i++) {
        const char *shaper = c->shapers_n > 0 ? c->shapers[i] : run_config_shapers[c->shaper];
        if (run_config_takes_references(shaper))
            return err_set(err, ERR_USAGE,
                           "%s: reward.combine tree compares with the references, and so does "
                           "reward.shaper %s: take a shaper that does not, such as none",
                           path, shaper);
    }
    return ERR_OK;
}

enum err_code run_config_check_combine(const struct run_config *c, const char *path,
                                       struct err *err)
{
    enum err_code rc = ERR_OK;
    for (uint32_t i = 0; i < c->scorers && rc == ERR_OK; i++) {
        rc = run_config_check_kind(&c->scorer[i], path, err);
        if (rc == ERR_OK && c->scorer[i].role == RUN_ROLE_REWARD)
            rc = run_config_check_term(c, &c->scorer[i], path, err);
    }
    return rc ? rc : run_config_check_tree(c, path, err);
}
