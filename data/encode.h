/*
 * encode.h -- a record of a data set as token ids: the one way it is done.
 *
 *     prompt through the chat template | answer | end token
 *     0 ..                       first ..        n - 1
 *
 * The last token is where a score model reads its score, so the end token should be there
 * (`end`) whenever it is when the model is used.  A plain text (no prompt) has the
 * post-processor's special tokens and first = 0; ids are taken as they are, without an end.
 *
 * What does not fit into tokens_max is refused, or its prompt is cut (`cut`): turns are left
 * out from the oldest on, a leading one of the system kept, until what remains begins with a
 * turn of the user and fits; the last turn of the user is never left out.  All answers of a
 * record get the same prompt: the longest decides.
 */
#ifndef DATA_ENCODE_H
#define DATA_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "data/reader.h"
#include "data/record.h"
#include "engine/chat.h"
#include "engine/config.h"
#include "engine/tokenizer.h"

struct encode {
    const struct model_config *config; /* ids must lie in its V, lengths in its T; NULL: any */
    const struct tokenizer *tokenizer; /* NULL: only records of ids can be encoded */
    enum chat_template chat;
    bool end; /* append the token that ends a turn, see encode_end_id */
    bool cut; /* leave out old turns of prompts that are too long */
    size_t tokens_max;
};

/* The token that ends what the assistant says: of the template, else the model's eos; -1. */
int32_t encode_end_id(const struct encode *how);

/* The sequences of one record.  That of answer i is ids.ids[offset[i]] .. [offset[i+1] - 1],
 * with the answer from its token `first` on; it is empty where it was not asked for.  Start
 * from {0}; kept from record to record, its memory is used again. */
struct encoded {
    struct tokens ids;
    size_t offset[DATA_ANSWERS_MAX + 1];
    size_t answers; /* of the record; 1 where it came as ids */
    size_t first;
    size_t turns_cut;   /* turns left out of the prompt */
    enum data_bad bad;  /* after ERR_VALUE, ERR_FORMAT: why, for reader_reject */
    struct tokens work; /* the answers alone, while the prompt is being cut */
};
void encoded_release(struct encoded *out);

#define ENCODE_ALL UINT64_MAX /* every answer */

/*
 * Encode the answers whose bit is set in `which` (1 << answer).  ERR_VALUE, ERR_FORMAT with
 * a sentence that names record->where, and out->bad: too many tokens, none at all, one outside
 * the vocabulary, no answer, what the template or tokenizer cannot write; ERR_NOMEM.
 */
enum err_code encode_record(const struct encode *how, const struct data_record *record,
                            uint64_t which, struct encoded *out, struct err *err);

/* The same for a record that `reader` handed out: what cannot be encoded is rejected there
 * (reader_reject), and *usable is false.  ERR_OK where reading may go on. */
enum err_code encode_or_reject(const struct encode *how, struct reader *reader,
                               const struct data_record *record, uint64_t which,
                               struct encoded *out, bool *usable, struct err *err);

#endif
