/* format_ids.c -- {"ids": [1, 2, 3]}: a sequence of tokens as they are. */
#include "data/format.h"
#include "data/ids.h"

bool format_ids_claims(const json_t *object)
{
    return json_object_get(object, "ids") && !json_object_get(object, "prompt") &&
           !json_object_get(object, "text");
}

enum err_code format_ids_parse(struct format_work *work)
{
    const json_t *ids = json_object_get(work->object, "ids");
    if (!ids)
        return format_bad(work, DATA_BAD_FIELD, "\"ids\" is missing; a list is expected");
    work->ids.n = 0;
    const enum err_code rc = ids_read(ids, work->where, &work->ids, work->err);
    work->bad = DATA_BAD_TYPE;
    if (!rc && work->ids.n == 0)
        return format_bad(work, DATA_BAD_EMPTY, "no tokens");
    work->record.ids = work->ids.ids;
    work->record.ids_n = work->ids.n;
    return rc;
}
