/* json.c -- see json.h. */
#include "base/json.h"

#include "base/buf.h"
#include "base/file.h"

json_t *json_parse(const char *text, size_t len, const char *where, struct err *err)
{
    json_error_t problem;
    json_t *root = json_loadb(text ? text : "", len, JSON_REJECT_DUPLICATES, &problem);
    if (root)
        return root;
    if (json_error_code(&problem) == json_error_out_of_memory)
        err_set(err, ERR_NOMEM, "%s: no memory for the JSON document", where);
    else
        err_set(err, ERR_FORMAT, "%s: not JSON: %s (line %d column %d)", where, problem.text,
                problem.line, problem.column);
    return NULL;
}

json_t *json_read_file(const char *path, size_t max_bytes, struct err *err)
{
    struct buf text;
    buf_init(&text, max_bytes);
    json_t *root = NULL;
    if (file_read(path, &text, err) == ERR_OK)
        root = json_parse(text.data, text.len, path, err);
    buf_release(&text);
    return root;
}

/* The member; NULL where it is absent or null, with an error where it is required. */
static const json_t *json_member(const json_t *object, const char *key, bool required,
                                 const char *where, enum err_code *rc, struct err *err)
{
    *rc = ERR_OK;
    if (!json_is_object(object)) {
        *rc = err_set(err, ERR_FORMAT, "%s: \"%s\" is missing: there is no object to hold it",
                      where, key);
        return NULL;
    }
    const json_t *value = json_object_get(object, key);
    if (value && !json_is_null(value))
        return value;
    if (required)
        *rc = err_set(err, ERR_FORMAT, "%s: \"%s\" is %s", where, key,
                      value ? "null" : "missing");
    return NULL;
}

static enum err_code json_u64(const json_t *object, const char *key, bool required,
                              uint64_t min, uint64_t max, uint64_t *out, const char *where,
                              struct err *err)
{
    enum err_code rc;
    const json_t *value = json_member(object, key, required, where, &rc, err);
    if (!value)
        return rc;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return err_set(err, ERR_FORMAT, "%s: \"%s\" must be a whole number, 0 or more", where,
                       key);
    const uint64_t number = (uint64_t)json_integer_value(value);
    if (number < min || number > max)
        return err_set(err, ERR_FORMAT, "%s: \"%s\" is %llu, outside %llu .. %llu", where, key,
                       (unsigned long long)number, (unsigned long long)min,
                       (unsigned long long)max);
    *out = number;
    return ERR_OK;
}

static enum err_code json_f64(const json_t *object, const char *key, bool required, double min,
                              double max, double *out, const char *where, struct err *err)
{
    enum err_code rc;
    const json_t *value = json_member(object, key, required, where, &rc, err);
    if (!value)
        return rc;
    if (!json_is_number(value))
        return err_set(err, ERR_FORMAT, "%s: \"%s\" must be a number", where, key);
    const double number = json_number_value(value);
    if (!(number >= min && number <= max))
        return err_set(err, ERR_FORMAT, "%s: \"%s\" is %.9g, outside %.9g .. %.9g", where, key,
                       number, min, max);
    *out = number;
    return ERR_OK;
}

static enum err_code json_flag(const json_t *object, const char *key, bool required, bool *out,
                               const char *where, struct err *err)
{
    enum err_code rc;
    const json_t *value = json_member(object, key, required, where, &rc, err);
    if (!value)
        return rc;
    if (!json_is_boolean(value))
        return err_set(err, ERR_FORMAT, "%s: \"%s\" must be true or false", where, key);
    *out = json_is_true(value);
    return ERR_OK;
}

static enum err_code json_text(const json_t *object, const char *key, bool required,
                               const char **out, const char *where, struct err *err)
{
    enum err_code rc;
    const json_t *value = json_member(object, key, required, where, &rc, err);
    if (!value)
        return rc;
    if (!json_is_string(value))
        return err_set(err, ERR_FORMAT, "%s: \"%s\" must be a string", where, key);
    *out = json_string_value(value);
    return ERR_OK;
}

enum err_code json_get_u64(const json_t *object, const char *key, uint64_t min, uint64_t max,
                           uint64_t *out, const char *where, struct err *err)
{
    return json_u64(object, key, true, min, max, out, where, err);
}

enum err_code json_opt_u64(const json_t *object, const char *key, uint64_t min, uint64_t max,
                           uint64_t *out, const char *where, struct err *err)
{
    return json_u64(object, key, false, min, max, out, where, err);
}

enum err_code json_get_double(const json_t *object, const char *key, double min, double max,
                              double *out, const char *where, struct err *err)
{
    return json_f64(object, key, true, min, max, out, where, err);
}

enum err_code json_opt_double(const json_t *object, const char *key, double min, double max,
                              double *out, const char *where, struct err *err)
{
    return json_f64(object, key, false, min, max, out, where, err);
}

enum err_code json_get_bool(const json_t *object, const char *key, bool *out, const char *where,
                            struct err *err)
{
    return json_flag(object, key, true, out, where, err);
}

enum err_code json_opt_bool(const json_t *object, const char *key, bool *out, const char *where,
                            struct err *err)
{
    return json_flag(object, key, false, out, where, err);
}

enum err_code json_get_string(const json_t *object, const char *key, const char **out,
                              const char *where, struct err *err)
{
    return json_text(object, key, true, out, where, err);
}

enum err_code json_opt_string(const json_t *object, const char *key, const char **out,
                              const char *where, struct err *err)
{
    return json_text(object, key, false, out, where, err);
}

double json_number_or(const json_t *object, const char *key, double missing)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : missing;
}

const char *json_string_or(const json_t *object, const char *key, const char *missing)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : missing;
}
