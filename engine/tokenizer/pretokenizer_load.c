/* pretokenizer_load.c -- the member "pre_tokenizer" of a tokenizer.json. */
#include <string.h>

#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/unicode.h"

/* Radford et al., GPT-2, encoder.py. */
#define PRETOKENIZER_GPT2 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Words and what is neither word nor blank; UTS 18's words include the two joiners. */
#define PRETOKENIZER_WORDS "[\\w\\x{200c}\\x{200d}]+|[^\\w\\s\\x{200c}\\x{200d}]+"

static struct pretokenizer_step *pretokenizer_add(struct pretokenizer *pretokenizer,
                                                  enum pretokenizer_kind kind)
{
    struct pretokenizer_step *step = &pretokenizer->steps[pretokenizer->n++];
    *step = (struct pretokenizer_step){.kind = kind, .behavior = PRETOKENIZER_Isolated};
    return step;
}

/* Absent: *out keeps its default. */
static enum err_code pretokenizer_behavior(const json_t *component,
                                           enum pretokenizer_behavior *out, const char *where,
                                           struct err *err)
{
    static const char *const names[] = {
#define X(name) #name,
        PRETOKENIZER_BEHAVIOR_MAP(X)
#undef X
    };
    const char *name = NULL;
    const enum err_code rc = json_opt_string(component, "behavior", &name, where, err);
    if (rc != ERR_OK || !name)
        return rc;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum pretokenizer_behavior)i;
            return ERR_OK;
        }
    return err_set(err, ERR_FORMAT, "%s: behavior \"%.64s\" is not known", where, name);
}

static enum err_code pretokenizer_regex(struct pretokenizer *pretokenizer, const char *regex,
                                        const char *where, struct err *err)
{
    struct pretokenizer_step *step = pretokenizer_add(pretokenizer, PRETOKENIZER_SPLIT);
    step->pattern = pattern_new_regex(regex, strlen(regex), where, err);
    return step->pattern ? ERR_OK : ERR_FORMAT;
}

static enum err_code pretokenizer_byte_level(struct pretokenizer *pretokenizer,
                                             const json_t *component, const char *where,
                                             struct err *err)
{
    bool prefix = true, regex = true;
    enum err_code rc = json_get_bool(component, "add_prefix_space", &prefix, where, err);
    if (rc == ERR_OK)
        rc = json_opt_bool(component, "use_regex", &regex, where, err);
    if (rc == ERR_OK && prefix)
        strcpy(pretokenizer_add(pretokenizer, PRETOKENIZER_PREFIX)->mark, " ");
    if (rc == ERR_OK && regex)
        rc = pretokenizer_regex(pretokenizer, PRETOKENIZER_GPT2, where, err);
    if (rc == ERR_OK)
        pretokenizer_add(pretokenizer, PRETOKENIZER_BYTES);
    return rc;
}

static enum err_code pretokenizer_split_load(struct pretokenizer *pretokenizer,
                                             const json_t *component, const char *where,
                                             struct err *err)
{
    struct pretokenizer_step *step = pretokenizer_add(pretokenizer, PRETOKENIZER_SPLIT);
    step->pattern = pattern_load(json_object_get(component, "pattern"), where, err);
    if (!step->pattern)
        return ERR_FORMAT;
    if (!json_object_get(component, "behavior"))
        return err_set(err, ERR_FORMAT, "%s: behavior is missing", where);
    const enum err_code rc = pretokenizer_behavior(component, &step->behavior, where, err);
    return rc ? rc : json_get_bool(component, "invert", &step->invert, where, err);
}

static enum err_code pretokenizer_digits(struct pretokenizer *pretokenizer,
                                         const json_t *component, const char *where,
                                         struct err *err)
{
    struct pretokenizer_step *step = pretokenizer_add(pretokenizer, PRETOKENIZER_SPLIT);
    bool each = false;
    step->class = unicode_is_numeric;
    const enum err_code rc = json_get_bool(component, "individual_digits", &each, where, err);
    step->behavior = each ? PRETOKENIZER_Isolated : PRETOKENIZER_Contiguous;
    return rc;
}

static enum err_code pretokenizer_punctuation(struct pretokenizer *pretokenizer,
                                              const json_t *component, const char *where,
                                              struct err *err)
{
    struct pretokenizer_step *step = pretokenizer_add(pretokenizer, PRETOKENIZER_SPLIT);
    step->class = unicode_is_punctuation;
    return pretokenizer_behavior(component, &step->behavior, where, err);
}

/* The scheme; files of before it have add_prefix_space alone. */
static enum err_code pretokenizer_metaspace(struct pretokenizer *pretokenizer,
                                            const json_t *component, const char *where,
                                            struct err *err)
{
    const char *mark, *scheme = "always";
    bool prefix = true, split = true;
    enum err_code rc;
    if ((rc = component_char(component, "replacement", &mark, where, err)) != ERR_OK ||
        (rc = json_opt_string(component, "prepend_scheme", &scheme, where, err)) != ERR_OK ||
        (rc = json_opt_bool(component, "add_prefix_space", &prefix, where, err)) != ERR_OK ||
        (rc = json_opt_bool(component, "split", &split, where, err)) != ERR_OK)
        return rc;
    const bool first = strcmp(scheme, "first") == 0, never = strcmp(scheme, "never") == 0;
    if (!first && !never && strcmp(scheme, "always") != 0)
        return err_set(err, ERR_FORMAT, "%s: prepend_scheme \"%.64s\" is not known", where,
                       scheme);
    strcpy(pretokenizer_add(pretokenizer, PRETOKENIZER_BLANKS)->mark, mark);
    if (prefix && !never) {
        struct pretokenizer_step *step = pretokenizer_add(pretokenizer, PRETOKENIZER_PREFIX);
        strcpy(step->mark, mark);
        step->start_only = first;
    }
    if (split) {
        struct pretokenizer_step *step = pretokenizer_add(pretokenizer, PRETOKENIZER_SPLIT);
        step->behavior = PRETOKENIZER_MergedWithNext;
        step->pattern = pattern_new_literal(mark, strlen(mark), where, err);
        return step->pattern ? ERR_OK : ERR_FORMAT;
    }
    return ERR_OK;
}

static enum err_code pretokenizer_whitespace(struct pretokenizer *pretokenizer,
                                             const json_t *component, const char *where,
                                             struct err *err)
{
    (void)component;
    const enum err_code rc = pretokenizer_regex(pretokenizer, PRETOKENIZER_WORDS, where, err);
    if (rc == ERR_OK) {
        pretokenizer->steps[pretokenizer->n - 1].invert = true;
        pretokenizer->steps[pretokenizer->n - 1].behavior = PRETOKENIZER_Removed;
    }
    return rc;
}

static enum err_code pretokenizer_whitespace_split(struct pretokenizer *pretokenizer,
                                                   const json_t *component, const char *where,
                                                   struct err *err)
{
    (void)component, (void)where, (void)err;
    struct pretokenizer_step *step = pretokenizer_add(pretokenizer, PRETOKENIZER_SPLIT);
    step->class = unicode_is_space;
    step->behavior = PRETOKENIZER_Removed;
    return ERR_OK;
}

static enum err_code pretokenizer_visit(void *context, const json_t *component,
                                        const char *type, const char *where, struct err *err)
{
    static const struct {
        const char *name;
        enum err_code (*load)(struct pretokenizer *, const json_t *, const char *,
                              struct err *);
    } types[] = {
        {"ByteLevel", pretokenizer_byte_level},
        {"Split", pretokenizer_split_load},
        {"Digits", pretokenizer_digits},
        {"Punctuation", pretokenizer_punctuation},
        {"Metaspace", pretokenizer_metaspace},
        {"Whitespace", pretokenizer_whitespace},
        {"WhitespaceSplit", pretokenizer_whitespace_split},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i].name) == 0)
            return types[i].load(context, component, where, err);
    return component_unknown(type, where, err);
}

enum err_code pretokenizer_load(struct pretokenizer *pretokenizer, const json_t *value,
                                const char *where, struct err *err)
{
    pretokenizer->n = 0;
    return component_each(value, "pretokenizers", where, pretokenizer_visit, pretokenizer, err);
}

void pretokenizer_release(struct pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->n; i++)
        pattern_free(pretokenizer->steps[i].pattern);
    pretokenizer->n = 0;
}
