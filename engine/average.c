/* average.c -- see average.h. */
#include "engine/average.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line of config.json without what holds it in its place. */
static void average_member(char out[128], const char *line, size_t n)
{
    while (n > 0 && *line == ' ')
        line++, n--;
    snprintf(out, 128, "%.*s", (int)(n > 0 && line[n - 1] == ',' ? n - 1 : n), line);
}

/* What two configs must share: the first line of config.json that differs, or the same text. */
static enum err_code average_check_config(const struct model *first, const struct model *other,
                                          const char *first_dir, const char *dir,
                                          struct err *err)
{
    struct buf a, b;
    enum err_code rc = ERR_OK;
    buf_init(&a, (size_t)8 << 20);
    buf_init(&b, (size_t)8 << 20);
    model_config_write(&first->config, &a);
    model_config_write(&other->config, &b);
    const char *x = a.data, *y = b.data;
    while (*x && *y && !rc) {
        const size_t n = strcspn(x, "\n"), m = strcspn(y, "\n");
        if (n != m || memcmp(x, y, n) != 0) {
            char has[128], other_has[128];
            average_member(has, x, n);
            average_member(other_has, y, m);
            rc =
                err_set(err, ERR_VALUE, "%s has %s, %s has %s", first_dir, has, dir, other_has);
        }
        x += n + (x[n] == '\n');
        y += m + (y[m] == '\n');
    }
    buf_release(&a);
    buf_release(&b);
    return rc;
}

/* Tensors follow from the config; this names one where that should ever not hold. */
static enum err_code average_check(const struct model *first, const struct model *other,
                                   const char *first_dir, const char *dir, struct err *err)
{
    const enum err_code rc = average_check_config(first, other, first_dir, dir, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < first->tensors_n && i < other->tensors_n; i++) {
        const struct model_tensor *a = &first->tensors[i], *b = &other->tensors[i];
        if (strcmp(a->name, b->name) != 0 || a->rows != b->rows || a->cols != b->cols)
            return err_set(err, ERR_VALUE, "%s: tensor \"%s\" is [%u, %u], in %s [%u, %u]", dir,
                           b->name, b->rows, b->cols, first_dir, a->rows, a->cols);
    }
    return ERR_OK;
}

static enum err_code average_add(double *sum, struct model **mean, const char *first_dir,
                                 const char *dir, struct err *err)
{
    struct model *model = model_load(dir, err);
    if (!model)
        return err->code;
    enum err_code rc = ERR_OK;
    if (*mean)
        rc = average_check(*mean, model, first_dir, dir, err);
    for (size_t i = 0; i < model->params && !rc; i++)
        sum[i] += (double)model->w[i];
    if (*mean)
        model_free(model);
    else
        *mean = model;
    return rc;
}

struct model *average_models(const char *const *dirs, size_t n, struct err *err)
{
    struct model_config config;
    struct err why = {0};
    struct model *mean = NULL;
    double *sum = NULL;
    enum err_code rc = model_config_read(&config, dirs[0], &why);
    struct model *shape = rc ? NULL : model_new(&config, &why);
    if (shape)
        sum = calloc(shape->params, sizeof *sum);
    if (!rc && !sum)
        rc = err_set(&why, ERR_NOMEM, "%s: no memory for the sum of models", dirs[0]);
    model_free(shape);
    for (size_t i = 0; i < n && !rc; i++)
        rc = average_add(sum, &mean, dirs[0], dirs[i], &why);
    for (size_t i = 0; !rc && i < mean->params; i++)
        mean->w[i] = (float)(sum[i] / (double)n);
    free(sum);
    if (!rc) {
        mean->generation++;
        return mean;
    }
    model_free(mean);
    err_set(err, rc, "%s", why.text);
    return NULL;
}
