/* cmd_power.c -- rlhf power: how many held-out prompts a gate needs. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "control/power.h"

#define POWER_TEXT_MAX ((size_t)64 * 1024)

/* True costs, as parts of the limit.  The first is just above it: who passes there should not. */
static const double power_parts[] = {1.0 + 1e-9, 0.9, 0.75, 0.5, 0.25, 0.1, 0.0};
enum { POWER_PARTS = sizeof power_parts / sizeof power_parts[0] };

struct power_command {
    double limit, delta, spread, wanted;
    uint64_t candidates;
    struct cli_list prompts;
    size_t n[CLI_LIST_MAX];
    size_t counts;
    double *samples; /* (POWER_PROMPTS_MAX) */
};

static struct bound_gate power_gate(const struct power_command *c, enum bound_kind kind)
{
    return (struct bound_gate){.bound = {.kind = kind, .low = 0.0, .high = 1.0},
                               .limit = c->limit,
                               .delta = c->delta,
                               .candidates_max = (uint32_t)c->candidates};
}

/* Clopper and Pearson's costs are 0 or 1. */
static bool power_has(const struct power_command *c, enum bound_kind kind)
{
    return kind != BOUND_CLOPPER_PEARSON || c->spread >= 1.0;
}

static void power_head(const struct power_command *c, const char *words, struct buf *out)
{
    buf_printf(out, "| %s |", words);
    for (size_t i = 0; i < POWER_PARTS; i++)
        buf_printf(out, " %s%.4g |", i == 0 ? "just above " : "", power_parts[i] * c->limit);
    buf_puts(out, "\n|---|");
    for (size_t i = 0; i < POWER_PARTS; i++)
        buf_puts(out, "---|");
    buf_putc(out, '\n');
}

static enum err_code power_pass_row(const struct power_command *c, enum bound_kind kind,
                                    size_t n, struct buf *out, struct err *err)
{
    const struct bound_gate gate = power_gate(c, kind);
    buf_printf(out, "| %s, %zu |", bound_name(kind), n);
    for (size_t i = 0; i < POWER_PARTS; i++) {
        double pass;
        const enum err_code rc =
            power_pass(&gate, power_parts[i] * c->limit, c->spread, n, c->samples, &pass, err);
        if (rc)
            return rc;
        buf_printf(out, " %.3f |", pass);
    }
    buf_putc(out, '\n');
    return ERR_OK;
}

static enum err_code power_prompts_row(const struct power_command *c, enum bound_kind kind,
                                       struct buf *out, struct err *err)
{
    const struct bound_gate gate = power_gate(c, kind);
    buf_printf(out, "| %s | - |", bound_name(kind));
    for (size_t i = 1; i < POWER_PARTS; i++) {
        size_t n;
        const enum err_code rc = power_prompts(&gate, power_parts[i] * c->limit, c->spread,
                                               c->wanted, c->samples, &n, err);
        if (rc)
            return rc;
        if (n > 0)
            buf_printf(out, " %zu |", n);
        else
            buf_puts(out, " - |");
    }
    buf_putc(out, '\n');
    return ERR_OK;
}

static enum err_code power_tables(const struct power_command *c, struct buf *out,
                                  struct err *err)
{
    enum err_code rc = ERR_OK;
    power_head(c, "chance to pass: bound, prompts \\ true cost", out);
    for (int k = BOUND_STUDENT; k <= BOUND_CLOPPER_PEARSON && rc == ERR_OK; k++)
        for (size_t i = 0; i < c->counts && power_has(c, (enum bound_kind)k) && rc == ERR_OK;
             i++)
            rc = power_pass_row(c, (enum bound_kind)k, c->n[i], out, err);
    buf_putc(out, '\n');
    char words[64];
    snprintf(words, sizeof words, "prompts for a chance of %g \\ true cost", c->wanted);
    power_head(c, words, out);
    for (int k = BOUND_STUDENT; k <= BOUND_CLOPPER_PEARSON && rc == ERR_OK; k++)
        if (power_has(c, (enum bound_kind)k))
            rc = power_prompts_row(c, (enum bound_kind)k, out, err);
    return rc;
}

static enum err_code power_read_prompts(struct power_command *c, struct err *err)
{
    static const char *const usual[] = {"100", "400", "1000"};
    const bool given = c->prompts.n > 0;
    c->counts = given ? c->prompts.n : sizeof usual / sizeof usual[0];
    for (size_t i = 0; i < c->counts; i++) {
        const char *text = given ? c->prompts.item[i] : usual[i];
        char *end;
        const unsigned long n = strtoul(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || n < 1 || n > POWER_PROMPTS_MAX)
            return err_set(err, ERR_USAGE, "--prompts %s: must be 1 to %zu", text,
                           POWER_PROMPTS_MAX);
        c->n[i] = n;
    }
    return ERR_OK;
}

static enum err_code power_command_run(struct power_command *c, struct err *err)
{
    struct buf text;
    buf_init(&text, POWER_TEXT_MAX);
    c->samples = malloc(POWER_PROMPTS_MAX * sizeof *c->samples);
    enum err_code rc = c->samples ? power_read_prompts(c, err)
                                  : err_set(err, ERR_NOMEM, "out of memory for the costs");
    if (rc == ERR_OK)
        rc = power_tables(c, &text, err);
    if (rc == ERR_OK)
        rc = buf_check(&text, "the tables", err);
    if (rc == ERR_OK)
        fputs(text.data, stdout);
    buf_release(&text);
    free(c->samples);
    return rc;
}

static const struct cli_usage power_usage = {
    .words = "power",
    .synopsis = "[options]",
    .about =
        "How often a gate of that limit, delta and number of candidates lets a policy pass, "
        "by\n"
        "the policy's true mean cost, for each bound and number of held-out prompts; and how\n"
        "many prompts it takes until a policy of that cost passes as often as --chance says.\n"
        "Costs are 0 or 1; with --spread below 1 they lie closer to their mean, as those of\n"
        "gate.cost=probability do, and clopper_pearson has no row.  Exact, not simulated.\n"
        "The tables are Markdown.\n",
    .examples = "  rlhf power --limit 0.05 --candidates 4\n"
                "  rlhf power --limit 0.1 --prompts 200 --prompts 600 --spread 0.3\n",
};

int cmd_power(int argc, char **argv)
{
    struct power_command c = {
        .limit = 0.1, .delta = 0.05, .spread = 1.0, .wanted = 0.9, .candidates = 1};
    const struct cli_option options[] = {
        cli_number("limit", &c.limit, "L", 0.0, 1.0, "gate.limit"),
        cli_number("delta", &c.delta, "D", 1e-9, 0.5, "gate.delta, of all candidates"),
        cli_count("candidates", &c.candidates, "N", 1, 1000000, "gate.candidates"),
        cli_list("prompts", &c.prompts, "N", "held-out prompts; default: 100, 400 and 1000"),
        cli_number("spread", &c.spread, "W", 1e-3, 1.0, "1: costs are 0 or 1; less: narrower"),
        cli_number("chance", &c.wanted, "P", 0.01, 0.999, "for the second table"),
    };
    struct cli_usage usage = power_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    const int code = cli_parse(&usage, argc, argv, NULL);
    if (code != CLI_GO)
        return code;
    struct err err = {0};
    const enum err_code rc = power_command_run(&c, &err);
    return rc ? cli_fail(&usage, &err) : 0;
}
