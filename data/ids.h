/* ids.h -- token ids written as a JSON list. */
#ifndef DATA_IDS_H
#define DATA_IDS_H

#include <jansson.h>

#include "base/err.h"
#include "engine/tokenizer.h"

/* Append the ids in a JSON array.  ERR_NOMEM, or ERR_FORMAT naming `where` and the index; some
 * may have been appended then. */
enum err_code ids_read(const json_t *array, const char *where, struct tokens *out,
                       struct err *err);

#endif
