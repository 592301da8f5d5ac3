/* evaluate_count.c -- what answers and scores amount to: see evaluate.h. */
#include <math.h>
#include <string.h>

#include "cli/evaluate_state.h"

/* One quantity of answer i; NAN where it is missing. */
static double evaluate_value(const struct evaluate_answers *side, size_t quantity, size_t i)
{
    switch (quantity) {
    case EVALUATE_KL: return side->kl[i];
    case EVALUATE_TOKENS: return (double)side->sample[i].response_tokens;
    case EVALUATE_TRUNCATED: return side->sample[i].finish == WIRE_FINISH_LENGTH;
    }
    const struct scorer_score *score = side->score + quantity * EVALUATE_CHUNK + i;
    return score->state == SCORE_OK ? score->value : NAN;
}

static double evaluate_win(const struct evaluate *e, size_t scorer, size_t i)
{
    const double a = evaluate_value(&e->side[0], scorer, i);
    const double b = evaluate_value(&e->side[1], scorer, i);
    return isnan(a) || isnan(b) ? NAN : a > b ? 1.0 : a < b ? 0.0 : 0.5;
}

/* Add the mean of what is there of a prompt's values, if anything is. */
static void evaluate_add(struct moments *moments, const double *x, size_t n)
{
    double sum = 0;
    size_t there = 0;
    for (size_t k = 0; k < n; k++) {
        if (!isnan(x[k])) {
            sum += x[k];
            there++;
        }
    }
    if (there > 0)
        moments_add(moments, sum / (double)there);
}

static bool evaluate_is_measured(const struct evaluate *e, size_t quantity)
{
    return quantity >= RUN_SCORERS_MAX || quantity < e->config->scorers;
}

void evaluate_count(struct evaluate *e)
{
    const size_t samples = e->params->samples;
    double x[EVALUATE_SAMPLES_MAX];
    for (size_t p = 0; p < e->n; p++) {
        for (size_t q = 0; q < EVALUATE_QUANTITIES; q++) {
            for (size_t s = 0; s < e->sides && evaluate_is_measured(e, q); s++) {
                for (size_t k = 0; k < samples; k++)
                    x[k] = evaluate_value(&e->side[s], q, p * samples + k);
                evaluate_add(&e->side[s].moments[q], x, samples);
            }
        }
        for (size_t q = 0; q < e->config->scorers && e->sides == 2; q++) {
            for (size_t k = 0; k < samples; k++)
                x[k] = evaluate_win(e, q, p * samples + k);
            evaluate_add(&e->win[q], x, samples);
        }
    }
}

static void evaluate_put_answer(const struct evaluate *e, const struct evaluate_answers *side,
                                size_t i, struct buf *out)
{
    static const char *const finish[] = {"", "eos", "stop", "length"};
    const struct scorer_sample *sample = &side->sample[i];
    buf_puts(out, "\"response\": ");
    buf_json_string(out, sample->response.data, sample->response.n);
    buf_printf(out, ", \"tokens\": %u, \"finish\": \"%s\", \"kl\": ", sample->response_tokens,
               finish[sample->finish]);
    buf_json_number(out, side->kl[i]);
    buf_puts(out, ", \"scores\": {");
    for (uint32_t s = 0; s < e->config->scorers; s++) {
        const char *name = e->config->scorer[s].name;
        buf_puts(out, s == 0 ? "" : ", ");
        buf_json_string(out, name, strlen(name));
        buf_puts(out, ": ");
        buf_json_number(out, evaluate_value(side, s, i));
    }
    buf_putc(out, '}');
}

void evaluate_put_lines(const struct evaluate *e, struct buf *out)
{
    for (size_t i = 0; i < (size_t)e->n * e->params->samples; i++) {
        const struct scorer_sample *sample = &e->side[0].sample[i];
        buf_printf(out, "{\"prompt_index\": %zu, \"sample\": %zu, \"prompt\": ",
                   e->first + i / e->params->samples, i % e->params->samples);
        buf_json_string(out, sample->prompt.data, sample->prompt.n);
        buf_puts(out, ", ");
        evaluate_put_answer(e, &e->side[0], i, out);
        if (e->sides == 2) {
            buf_puts(out, ", \"against\": {");
            evaluate_put_answer(e, &e->side[1], i, out);
            buf_putc(out, '}');
        }
        buf_puts(out, "}\n");
    }
}

static struct evaluate_mean evaluate_mean(const struct moments *moments)
{
    const double n = moments->n;
    return (struct evaluate_mean){
        .mean = n < 1 ? NAN : moments->mean,
        .error = n < 2 ? NAN : sqrt(moments_variance(moments, true) / n),
        .n = (uint32_t)n,
    };
}

void evaluate_sum_up(struct evaluate *e)
{
    struct evaluate_result *result = e->result;
    result->samples = e->params->samples;
    result->compared = e->sides == 2;
    for (size_t s = 0; s < e->sides; s++)
        for (size_t q = 0; q < EVALUATE_QUANTITIES; q++)
            result->side[s].of[q] = evaluate_mean(&e->side[s].moments[q]);
    for (size_t q = 0; q < RUN_SCORERS_MAX; q++)
        result->win[q] = evaluate_mean(&e->win[q]);
}
