/* ids.c -- see ids.h. */
#include "data/ids.h"

#include "engine/tokenizer/tokens.h"

enum err_code ids_read(const json_t *array, const char *where, struct tokens *out,
                       struct err *err)
{
    if (!json_is_array(array))
        return err_set(err, ERR_FORMAT, "%s: \"ids\" is not an array", where);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        const json_int_t number = json_integer_value(item);
        if (!json_is_integer(item) || number < 0 || number > INT32_MAX)
            return err_set(err, ERR_FORMAT, "%s: ids[%zu] is not a token id", where, i);
        const int32_t id = (int32_t)number;
        const enum err_code rc = tokens_append(out, &id, 1, err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}
