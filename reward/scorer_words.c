/*
 * scorer_words.c -- how many of the response's words are in a list?
 *
 *     score = words of the response that are in the list / words of the response
 *
 * A word is a longest run of letters (Unicode category L) with the marks (M) on them, in
 * simple case folding (each character by itself, to lower case).  A response without a word
 * has the score 0, and that is a score.  The file has a word a line; blank lines are skipped.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/buf.h"
#include "base/file.h"
#include "reward/scorer.h"

#define SCORER_WORDS_FILE_MAX (64u * 1024u * 1024u) /* bytes */
#define SCORER_WORDS_WORD_MAX 256u                  /* bytes; a longer word is in no list */

struct scorer_words {
    struct buf text;    /* the list, folded, each word NUL-terminated */
    const char **words; /* (n) sorted by strcmp, into text */
    size_t n;
};

static void scorer_words_close(void *state)
{
    struct scorer_words *list = state;
    if (!list)
        return;
    buf_release(&list->text);
    free(list->words);
    free(list);
}

/* Is it part of a word?  Marks are only after a letter. */
static bool scorer_words_is_letter(utf8proc_int32_t point, bool inside)
{
    switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return true;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return inside;
    default: return false;
    }
}

/*
 * The next word of text from *at on, folded, into word (SCORER_WORDS_WORD_MAX bytes, with its
 * NUL; "" where it is longer than that).  False where there is none.  Bytes that are not
 * UTF-8 are no letters.
 */
static bool scorer_words_next(struct scorer_text text, size_t *at, char *word)
{
    size_t n = 0;
    bool inside = false;
    while (*at < text.n) {
        utf8proc_int32_t point;
        const utf8proc_ssize_t used =
            utf8proc_iterate((const utf8proc_uint8_t *)text.data + *at,
                             (utf8proc_ssize_t)(text.n - *at), &point);
        if (used <= 0 || !scorer_words_is_letter(point, inside)) {
            *at += used > 0 ? (size_t)used : 1;
            if (inside)
                break;
            continue;
        }
        *at += (size_t)used;
        inside = true;
        if (n + 4 < SCORER_WORDS_WORD_MAX)
            n += (size_t)utf8proc_encode_char(utf8proc_tolower(point),
                                              (utf8proc_uint8_t *)word + n);
        else
            n = SCORER_WORDS_WORD_MAX; /* too long, and stays so */
    }
    word[n < SCORER_WORDS_WORD_MAX ? n : 0] = '\0';
    return inside;
}

static int scorer_words_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* One line of the file: nothing, or exactly one word and nothing else but white space. */
static enum err_code scorer_words_add(struct scorer_words *list, struct scorer_text line,
                                      const char *path, size_t number, struct err *err)
{
    while (line.n > 0 && strchr(" \t\r", line.data[line.n - 1]))
        line.n--;
    while (line.n > 0 && strchr(" \t", line.data[0])) {
        line.data++;
        line.n--;
    }
    if (line.n == 0)
        return ERR_OK;
    char word[SCORER_WORDS_WORD_MAX];
    size_t at = 0;
    bool inside = false;
    for (size_t i = 0; i < line.n;) {
        utf8proc_int32_t point;
        const utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)line.data + i,
                                                       (utf8proc_ssize_t)(line.n - i), &point);
        if (used <= 0 || !scorer_words_is_letter(point, inside))
            return err_set(err, ERR_FORMAT,
                           "%s:%zu: one word of letters is expected: words are split at "
                           "everything else",
                           path, number);
        inside = true;
        i += (size_t)used;
    }
    (void)scorer_words_next(line, &at, word);
    if (word[0] == '\0')
        return err_set(err, ERR_FORMAT, "%s:%zu: the word is longer than %u bytes", path,
                       number, SCORER_WORDS_WORD_MAX - 4);
    buf_append(&list->text, word, strlen(word) + 1);
    list->n += 1;
    return ERR_OK;
}

static enum err_code scorer_words_index(struct scorer_words *list, struct err *err)
{
    list->words = calloc(list->n ? list->n : 1, sizeof *list->words);
    if (!list->words)
        return err_set(err, ERR_NOMEM, "out of memory");
    const char *word = list->text.data;
    for (size_t i = 0; i < list->n; i++, word += strlen(word) + 1)
        list->words[i] = word;
    qsort(list->words, list->n, sizeof *list->words, scorer_words_compare);
    return ERR_OK;
}

static enum err_code scorer_words_open(void **state, const struct run_scorer *of,
                                       const struct scorer_setup *setup, struct err *err)
{
    (void)setup;
    struct scorer_words *list = *state = calloc(1, sizeof *list);
    if (!list)
        return err_set(err, ERR_NOMEM, "out of memory");
    buf_init(&list->text, 4 * (size_t)SCORER_WORDS_FILE_MAX); /* folding may lengthen */
    struct buf file;
    buf_init(&file, SCORER_WORDS_FILE_MAX);
    enum err_code rc = file_read(of->words, &file, err);
    const char *cursor = file.data;
    struct scorer_text line;
    for (size_t number = 1; rc == ERR_OK && file.len > 0 &&
                            file_next_line(&cursor, file.data + file.len, &line.data, &line.n);
         number++)
        rc = scorer_words_add(list, line, of->words, number, err);
    if (rc == ERR_OK)
        rc = buf_check(&list->text, of->words, err);
    if (rc == ERR_OK && list->n == 0)
        rc = err_set(err, ERR_FORMAT, "%s: there is no word in it", of->words);
    if (rc == ERR_OK)
        rc = scorer_words_index(list, err);
    buf_release(&file);
    return rc;
}

static void scorer_words_score(void *state, const struct scorer_sample *samples, size_t n,
                               const struct scorer_watch *watch, struct scorer_score *out)
{
    const struct scorer_words *list = state;
    for (size_t i = 0; i < n; i++) {
        if (!scorer_has_text(&samples[i], &out[i]))
            continue;
        char word[SCORER_WORDS_WORD_MAX];
        const char *key = word;
        size_t at = 0, words = 0, found = 0;
        while (scorer_words_next(samples[i].response, &at, word)) {
            words += 1;
            found += bsearch(&key, list->words, list->n, sizeof *list->words,
                             scorer_words_compare) != NULL;
        }
        scorer_put(&out[i], words ? (double)found / (double)words : 0.0);
        scorer_watch_progress(watch);
    }
}

static void scorer_words_fingerprint(const void *state, struct hash *out)
{
    const struct scorer_words *list = state;
    hash_blake2b(out, list->text.data, list->text.len);
}

const struct scorer_kind scorer_words = {scorer_words_open, scorer_words_score,
                                         scorer_words_close, scorer_words_fingerprint};
