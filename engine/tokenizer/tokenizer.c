/* tokenizer.c -- the pipeline of tokenizer.h: each stage is a file beside this one. */
#include "engine/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "engine/tokenizer/added.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/decoder.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/part.h"
#include "engine/tokenizer/postprocessor.h"
#include "engine/tokenizer/pretokenizer.h"

#define TOKENIZER_FILE_BYTES_MAX (128u << 20)
#define TOKENIZER_TEXT_BYTES_MAX (8u << 20)   /* of one call */
#define TOKENIZER_WORK_BYTES_MAX (128u << 20) /* of a text between two steps */

struct tokenizer {
    struct added added;
    struct normalizer normalizer;
    struct pretokenizer pretokenizer;
    struct bpe bpe;
    struct postprocessor postprocessor;
    struct decoder decoder;
    uint32_t ids;     /* greatest id + 1 */
    bool *is_special; /* by id: added tokens that no plain text is merged into */
};

/* The buffers of one call. */
struct tokenizer_work {
    struct pieces cut;    /* the text as given, cut at added tokens */
    struct pieces pieces; /* normalized, and cut ever finer */
    struct pieces spare;
    struct buf text, spare_text;
    struct bpe_scratch bpe;
    struct tokens ids;
};

static void tokenizer_work_init(struct tokenizer_work *work)
{
    *work = (struct tokenizer_work){0};
    pieces_init(&work->cut, TOKENIZER_WORK_BYTES_MAX);
    pieces_init(&work->pieces, TOKENIZER_WORK_BYTES_MAX);
    pieces_init(&work->spare, TOKENIZER_WORK_BYTES_MAX);
    buf_init(&work->text, TOKENIZER_WORK_BYTES_MAX);
    buf_init(&work->spare_text, TOKENIZER_WORK_BYTES_MAX);
}

static void tokenizer_work_release(struct tokenizer_work *work)
{
    pieces_release(&work->cut);
    pieces_release(&work->pieces);
    pieces_release(&work->spare);
    buf_release(&work->text);
    buf_release(&work->spare_text);
    bpe_scratch_release(&work->bpe);
    tokens_release(&work->ids);
}

/* Ids that a plain text must not come out as, whatever merges the file has. */
static enum err_code tokenizer_load_special(struct tokenizer *tokenizer, const char *path,
                                            struct err *err)
{
    const struct added *added = &tokenizer->added;
    const size_t model = tokenizer->bpe.vocab.ids, more = added->vocab.ids;
    tokenizer->ids = (uint32_t)(model > more ? model : more);
    tokenizer->is_special = calloc(tokenizer->ids, sizeof *tokenizer->is_special);
    if (!tokenizer->is_special)
        return err_set(err, ERR_NOMEM, "%s: no memory for %u ids", path, tokenizer->ids);
    for (size_t i = 0; i < added->vocab.n; i++)
        tokenizer->is_special[added->tokens[i].id] = added->tokens[i].special;
    return ERR_OK;
}

/* A template's ids must name tokens: an id of nothing could not be decoded or embedded. */
static enum err_code tokenizer_load_templates(const struct tokenizer *tokenizer,
                                              const char *path, struct err *err)
{
    const struct postprocessor *post = &tokenizer->postprocessor;
    for (size_t t = 0; t < post->n; t++)
        for (size_t i = 0; i < post->templates[t].n; i++) {
            const int32_t id = post->templates[t].ids[i];
            size_t n;
            if (id != POSTPROCESSOR_TEXT && !vocab_content(&tokenizer->bpe.vocab, id, &n) &&
                !added_find(&tokenizer->added, id))
                return err_set(err, ERR_FORMAT, "%s: post_processor: id %d is that of no token",
                               path, (int)id);
        }
    return ERR_OK;
}

/* truncation and padding are the caller's affair here, as they are in transformers. */
static enum err_code tokenizer_load_all(struct tokenizer *tokenizer, const json_t *file,
                                        const char *path, struct err *err)
{
    char where[COMPONENT_WHERE_MAX];
    enum err_code rc = ERR_OK;
#define TOKENIZER_LOAD(key, call)                         \
    if (rc == ERR_OK) {                                   \
        const json_t *value = json_object_get(file, key); \
        snprintf(where, sizeof where, "%s: " key, path);  \
        rc = call;                                        \
    }
    TOKENIZER_LOAD("model", bpe_load(&tokenizer->bpe, value, where, err))
    TOKENIZER_LOAD("normalizer", normalizer_load(&tokenizer->normalizer, value, where, err))
    TOKENIZER_LOAD("pre_tokenizer",
                   pretokenizer_load(&tokenizer->pretokenizer, value, where, err))
    TOKENIZER_LOAD("post_processor",
                   postprocessor_load(&tokenizer->postprocessor, value, where, err))
    TOKENIZER_LOAD("decoder", decoder_load(&tokenizer->decoder, value, where, err))
    TOKENIZER_LOAD("added_tokens", added_load(&tokenizer->added, value, &tokenizer->normalizer,
                                              &tokenizer->bpe.vocab, where, err))
#undef TOKENIZER_LOAD
    if (rc == ERR_OK)
        rc = tokenizer_load_special(tokenizer, path, err);
    if (rc == ERR_OK)
        rc = tokenizer_load_templates(tokenizer, path, err);
    return rc;
}

struct tokenizer *tokenizer_load(const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    if (file_join(path, dir, "tokenizer.json", err) != ERR_OK)
        return NULL;
    json_t *file = json_read_file(path, TOKENIZER_FILE_BYTES_MAX, err);
    if (!file)
        return NULL;
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (!tokenizer)
        err_set(err, ERR_NOMEM, "%s: no memory for the tokenizer", path);
    else if (tokenizer_load_all(tokenizer, file, path, err) != ERR_OK) {
        tokenizer_free(tokenizer);
        tokenizer = NULL;
    }
    json_decref(file);
    return tokenizer;
}

enum err_code tokenizer_hash(struct hash *out, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    const enum err_code rc = file_join(path, dir, "tokenizer.json", err);
    return rc ? rc : hash_file_sha256(out, path, err);
}

void tokenizer_free(struct tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    added_release(&tokenizer->added);
    normalizer_release(&tokenizer->normalizer);
    pretokenizer_release(&tokenizer->pretokenizer);
    bpe_release(&tokenizer->bpe);
    decoder_release(&tokenizer->decoder);
    free(tokenizer->is_special);
    free(tokenizer);
}

uint32_t tokenizer_vocabulary(const struct tokenizer *tokenizer)
{
    return tokenizer->ids;
}

int32_t tokenizer_id(const struct tokenizer *tokenizer, const char *content)
{
    const size_t n = strlen(content);
    const int32_t id = vocab_find(&tokenizer->added.vocab, content, n);
    return id >= 0 ? id : vocab_find(&tokenizer->bpe.vocab, content, n);
}

/* Each piece of work->cut normalized, and cut again at added tokens of that form. */
static enum err_code tokenizer_normalize(const struct tokenizer *tokenizer, const char *text,
                                         bool plain, struct tokenizer_work *work,
                                         struct err *err)
{
    static const struct added nothing;
    const struct added *added = plain ? &nothing : &tokenizer->added;
    for (size_t i = 0; i < work->cut.n; i++) {
        struct piece piece = work->cut.items[i];
        if (piece.id != PIECES_TEXT) {
            piece.begin = piece.end = work->pieces.text.len;
            pieces_push(&work->pieces, piece);
            continue;
        }
        buf_clear(&work->text);
        buf_append(&work->text, text + piece.begin, piece.end - piece.begin);
        enum err_code rc = buf_check(&work->text, "a text to be encoded", err);
        if (rc == ERR_OK)
            rc = normalizer_run(&tokenizer->normalizer, &work->text, &work->spare_text,
                                &piece.at_start, err);
        if (rc != ERR_OK)
            return rc;
        const size_t base = work->pieces.text.len;
        buf_append(&work->pieces.text, work->text.data, work->text.len);
        added_cut(added, &added->normal, work->text.data, work->text.len, base, piece.at_start,
                  &work->pieces);
    }
    return pieces_check(&work->pieces, err);
}

static enum err_code tokenizer_words(const struct tokenizer *tokenizer, bool plain,
                                     struct tokenizer_work *work, struct err *err)
{
    const bool *banned = plain ? tokenizer->is_special : NULL;
    enum err_code rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < work->pieces.n; i++) {
        const struct piece piece = work->pieces.items[i];
        if (piece.id != PIECES_TEXT)
            rc = tokens_append(&work->ids, &piece.id, 1, err);
        else
            rc = bpe_encode(&tokenizer->bpe, work->pieces.text.data + piece.begin,
                            piece.end - piece.begin, banned, &work->bpe, &work->ids, err);
    }
    return rc;
}

static enum err_code tokenizer_run(const struct tokenizer *tokenizer, const char *text,
                                   size_t n, bool plain, bool at_start, bool special,
                                   struct tokens *out, struct err *err)
{
    if (n > TOKENIZER_TEXT_BYTES_MAX)
        return err_set(err, ERR_VALUE, "a text of %zu bytes is longer than %u", n,
                       TOKENIZER_TEXT_BYTES_MAX);
    const size_t good = utf8_span(text, n);
    if (good < n)
        return err_set(err, ERR_VALUE, "the text is not UTF-8 at byte %zu", good);

    struct tokenizer_work work;
    tokenizer_work_init(&work);
    if (plain && n > 0)
        pieces_push(&work.cut, (struct piece){0, n, PIECES_TEXT, at_start});
    else if (n > 0)
        added_cut(&tokenizer->added, &tokenizer->added.raw, text, n, 0, at_start, &work.cut);

    enum err_code rc = pieces_check(&work.cut, err);
    if (rc == ERR_OK)
        rc = tokenizer_normalize(tokenizer, text, plain, &work, err);
    if (rc == ERR_OK)
        rc = pretokenizer_run(&tokenizer->pretokenizer, &work.pieces, &work.spare, err);
    if (rc == ERR_OK)
        rc = tokenizer_words(tokenizer, plain, &work, err);
    if (rc == ERR_OK)
        rc = postprocessor_run(&tokenizer->postprocessor, special, &work.ids, err);
    if (rc == ERR_OK)
        rc = tokens_append(out, work.ids.ids, work.ids.n, err);
    tokenizer_work_release(&work);
    return rc;
}

enum err_code tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t n,
                               bool special, struct tokens *out, struct err *err)
{
    return tokenizer_run(tokenizer, text, n, false, true, special, out, err);
}

enum err_code tokenizer_encode_plain(const struct tokenizer *tokenizer, const char *text,
                                     size_t n, struct tokens *out, struct err *err)
{
    return tokenizer_run(tokenizer, text, n, true, true, false, out, err);
}

enum err_code tokenizer_encode_part(const struct tokenizer *tokenizer, const char *text,
                                    size_t n, bool at_start, struct tokens *out,
                                    struct err *err)
{
    return tokenizer_run(tokenizer, text, n, true, at_start, false, out, err);
}

enum err_code tokenizer_prefix(const struct tokenizer *tokenizer, struct tokens *out,
                               struct err *err)
{
    const int32_t text = POSTPROCESSOR_TEXT;
    struct tokens ids = {0};
    enum err_code rc = tokens_append(&ids, &text, 1, err);
    if (rc == ERR_OK)
        rc = postprocessor_run(&tokenizer->postprocessor, true, &ids, err);
    size_t n = 0;
    while (rc == ERR_OK && ids.ids[n] != POSTPROCESSOR_TEXT)
        n++;
    if (rc == ERR_OK)
        rc = tokens_append(out, ids.ids, n, err);
    tokens_release(&ids);
    return rc;
}

/* What stands for an id, not NUL-terminated; NULL: none. */
static const char *tokenizer_content(const struct tokenizer *tokenizer, int32_t id, size_t *n)
{
    const struct added_token *added = added_find(&tokenizer->added, id);
    return added ? added_content(&tokenizer->added, added, n)
                 : vocab_content(&tokenizer->bpe.vocab, id, n);
}

/* By contents and not by decoded texts: alone, tokens that differ in a blank before them, or are
 * parts of a character, may decode to the same. */
enum err_code tokenizer_compare(const struct tokenizer *own, const struct tokenizer *policy,
                                uint32_t n, const char *where, struct err *err)
{
    for (int32_t id = 0; (uint32_t)id < n; id++) {
        size_t size, other_size;
        const char *content = tokenizer_content(own, id, &size);
        const char *other = tokenizer_content(policy, id, &other_size);
        if (content && other && (size != other_size || memcmp(content, other, size) != 0))
            return err_set(err, ERR_USAGE,
                           "%s: token %d is \"%.*s\" to it and \"%.*s\" to the policy: it was "
                           "trained with another tokenizer",
                           where, (int)id, (int)size, content, (int)other_size, other);
    }
    return ERR_OK;
}

enum err_code tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t n,
                               bool skip_special, struct buf *out, struct err *err)
{
    struct pieces tokens, spare;
    pieces_init(&tokens, TOKENIZER_WORK_BYTES_MAX);
    pieces_init(&spare, TOKENIZER_WORK_BYTES_MAX);
    enum err_code rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        size_t size;
        const struct added_token *added = added_find(&tokenizer->added, ids[i]);
        const char *content = tokenizer_content(tokenizer, ids[i], &size);
        if (!content)
            rc = err_set(err, ERR_VALUE, "id %d, token %zu of %zu, is outside the vocabulary",
                         (int)ids[i], i, n);
        else if (!(skip_special && added && added->special))
            pieces_append(&tokens, content, size, PIECES_TEXT, false);
    }
    if (rc == ERR_OK)
        rc = pieces_check(&tokens, err);
    if (rc == ERR_OK)
        rc = decoder_run(&tokenizer->decoder, &tokens, &spare, out, err);
    pieces_release(&tokens);
    pieces_release(&spare);
    return rc;
}
