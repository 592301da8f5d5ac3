/* chat.c -- see chat.h.
 *
 * What is between two markers is encoded as one text, as it would be if the whole
 * conversation were rendered first: "\n" and a content that begins with a newline may merge.
 * The markers never pass through a text, so a content cannot write one.
 */
#include "engine/chat.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "engine/tokenizer/part.h"
#include "engine/tokenizer/tokens.h"

#define CHAT_TEXT_BYTES_MAX (8u << 20)

static const char *const chat_names[] = {
#define X(name) #name,
    CHAT_TEMPLATE_MAP(X)
#undef X
};

enum err_code chat_template_parse(const char *name, enum chat_template *out, struct err *err)
{
#define X(name) " " #name
    static const char names[] = CHAT_TEMPLATE_MAP(X);
#undef X
    for (size_t i = 0; i < sizeof chat_names / sizeof *chat_names; i++)
        if (strcmp(name, chat_names[i]) == 0) {
            *out = (enum chat_template)i;
            return ERR_OK;
        }
    return err_set(err, ERR_VALUE, "chat template \"%.64s\" is none of:%s", name, names);
}

/* A conversation on its way to ids. */
struct chat {
    enum chat_template kind;
    const struct tokenizer *tokenizer;
    struct buf text; /* since the last marker */
    struct tokens *out;
    struct err *err;
};

static enum err_code chat_flush(struct chat *chat)
{
    enum err_code rc = buf_check(&chat->text, "a turn of a chat", chat->err);
    if (rc == ERR_OK && chat->text.len > 0)
        rc = tokenizer_encode_part(chat->tokenizer, chat->text.data, chat->text.len, false,
                                   chat->out, chat->err);
    buf_clear(&chat->text);
    return rc;
}

static enum err_code chat_marker(struct chat *chat, const char *marker)
{
    const enum err_code rc = chat_flush(chat);
    if (rc != ERR_OK)
        return rc;
    const int32_t id = tokenizer_id(chat->tokenizer, marker);
    if (id < 0)
        return err_set(chat->err, ERR_VALUE, "chat template %s: the tokenizer has no token %s",
                       chat_names[chat->kind], marker);
    return tokens_append(chat->out, &id, 1, chat->err);
}

/* <|im_start|>role\ncontent<|im_end|>\n */
static enum err_code chat_chatml_turn(struct chat *chat, const struct chat_turn *turn)
{
    const enum err_code rc = chat_marker(chat, "<|im_start|>");
    if (rc != ERR_OK)
        return rc;
    buf_printf(&chat->text, "%s\n%s", turn->role, turn->content ? turn->content : "");
    if (!turn->content)
        return ERR_OK;
    const enum err_code end = chat_marker(chat, "<|im_end|>");
    buf_puts(&chat->text, "\n");
    return end;
}

static enum err_code chat_chatml(struct chat *chat, const struct chat_turn *turns, size_t n)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = chat_chatml_turn(chat, &turns[i]);
    if (rc == ERR_OK)
        rc = chat_chatml_turn(chat, &(struct chat_turn){"assistant", NULL});
    return rc == ERR_OK ? chat_flush(chat) : rc;
}

/* Python's str.strip(), which the template applies to each content: the bytes of the white
 * space or separator (U+001C to U+001F) that a text begins with; 0: none. */
static size_t chat_blank(const char *text)
{
    static const char *const wide[] = {
        "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
        "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
        "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
        "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    const unsigned char c = (unsigned char)*text;
    if ((c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20))
        return 1;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (strncmp(text, wide[i], strlen(wide[i])) == 0)
            return strlen(wide[i]);
    return 0;
}

static void chat_append_trimmed(struct buf *out, const char *text)
{
    size_t begin = 0;
    for (size_t blank; (blank = chat_blank(text + begin)) > 0;)
        begin += blank;
    size_t end = begin;
    for (size_t at = begin; text[at];) {
        const size_t blank = chat_blank(text + at);
        at += blank > 0 ? blank : 1;
        if (blank == 0)
            end = at;
    }
    buf_append(out, text + begin, end - begin);
}

/* <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|> */
static enum err_code chat_llama3_turn(struct chat *chat, const struct chat_turn *turn)
{
    enum err_code rc = chat_marker(chat, "<|start_header_id|>");
    buf_puts(&chat->text, turn->role);
    if (rc == ERR_OK)
        rc = chat_marker(chat, "<|end_header_id|>");
    buf_puts(&chat->text, "\n\n");
    if (rc != ERR_OK || !turn->content)
        return rc;
    chat_append_trimmed(&chat->text, turn->content);
    return chat_marker(chat, "<|eot_id|>");
}

static enum err_code chat_llama3(struct chat *chat, const struct chat_turn *turns, size_t n)
{
    enum err_code rc = chat_marker(chat, "<|begin_of_text|>");
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = chat_llama3_turn(chat, &turns[i]);
    if (rc == ERR_OK)
        rc = chat_llama3_turn(chat, &(struct chat_turn){"assistant", NULL});
    return rc == ERR_OK ? chat_flush(chat) : rc;
}

/* The text alone, with what the post-processor puts before it. */
static enum err_code chat_text(struct chat *chat)
{
    enum err_code rc = buf_check(&chat->text, "a chat", chat->err);
    if (rc == ERR_OK)
        rc = tokenizer_prefix(chat->tokenizer, chat->out, chat->err);
    if (rc == ERR_OK)
        rc = tokenizer_encode_plain(chat->tokenizer, chat->text.data, chat->text.len, chat->out,
                                    chat->err);
    return rc;
}

static enum err_code chat_plain(struct chat *chat, const struct chat_turn *turns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_puts(&chat->text, turns[i].content);
    return chat_text(chat);
}

static enum err_code chat_hh_turn(struct chat *chat, const struct chat_turn *turn)
{
    const bool user = strcmp(turn->role, "user") == 0;
    if (!user && strcmp(turn->role, "assistant") != 0)
        return err_set(chat->err, ERR_VALUE,
                       "chat template hh has no role \"%.40s\", only user and assistant",
                       turn->role);
    buf_printf(&chat->text, "\n\n%s: ", user ? "Human" : "Assistant");
    buf_puts(&chat->text, turn->content);
    return ERR_OK;
}

static enum err_code chat_hh(struct chat *chat, const struct chat_turn *turns, size_t n)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = chat_hh_turn(chat, &turns[i]);
    buf_puts(&chat->text, "\n\nAssistant:");
    return rc == ERR_OK ? chat_text(chat) : rc;
}

/* Whether the tokenizer itself puts a blank before a text that goes on from another (Llama 2's
 * normalizer does). */
static enum err_code chat_puts_blank(const struct chat *chat, bool *blank)
{
    struct tokens ids = {0};
    struct buf text;
    buf_init(&text, 64);
    enum err_code rc = tokenizer_encode_part(chat->tokenizer, "a", 1, true, &ids, chat->err);
    if (rc == ERR_OK)
        rc = tokenizer_encode_part(chat->tokenizer, "b", 1, false, &ids, chat->err);
    if (rc == ERR_OK)
        rc = tokenizer_decode(chat->tokenizer, ids.ids, ids.n, true, &text, chat->err);
    *blank = strcmp(text.data, "a b") == 0;
    buf_release(&text);
    tokens_release(&ids);
    return rc;
}

/* Answers: what stands between two turns, and before the content of the second. */

static enum err_code chat_plain_next(struct chat *chat, const struct chat_turn *turn)
{
    buf_puts(&chat->text, turn->content);
    return ERR_OK;
}

static enum err_code chat_chatml_next(struct chat *chat, const struct chat_turn *turn)
{
    enum err_code rc = chat_marker(chat, "<|im_end|>");
    buf_puts(&chat->text, "\n");
    if (rc == ERR_OK)
        rc = chat_marker(chat, "<|im_start|>");
    buf_printf(&chat->text, "%s\n", turn->role);
    buf_puts(&chat->text, turn->content);
    return rc;
}

static enum err_code chat_llama3_next(struct chat *chat, const struct chat_turn *turn)
{
    enum err_code rc = chat_marker(chat, "<|eot_id|>");
    if (rc == ERR_OK)
        rc = chat_llama3_turn(chat, &(struct chat_turn){turn->role, NULL});
    if (strcmp(turn->role, "assistant") == 0)
        buf_puts(&chat->text, turn->content);
    else
        chat_append_trimmed(&chat->text, turn->content);
    return rc;
}

enum err_code chat_encode_answer(enum chat_template kind, const struct tokenizer *tokenizer,
                                 const struct chat_turn *turns, size_t n, struct tokens *out,
                                 struct err *err)
{
    static enum err_code (*const next[])(struct chat *, const struct chat_turn *) = {
        [CHAT_plain] = chat_plain_next,
        [CHAT_chatml] = chat_chatml_next,
        [CHAT_llama3] = chat_llama3_next,
        [CHAT_hh] = chat_hh_turn,
    };
    assert(n > 0);
    const size_t before = out->n;
    struct chat chat = {.kind = kind, .tokenizer = tokenizer, .out = out, .err = err};
    buf_init(&chat.text, CHAT_TEXT_BYTES_MAX);
    bool blank = true; /* before the answer, without our doing */
    enum err_code rc = kind == CHAT_hh ? chat_puts_blank(&chat, &blank) : ERR_OK;
    buf_puts(&chat.text, blank ? "" : " ");
    buf_puts(&chat.text, turns[0].content);
    for (size_t i = 1; rc == ERR_OK && i < n; i++)
        rc = next[kind](&chat, &turns[i]);
    if (rc == ERR_OK && kind == CHAT_plain) /* two texts, not one that goes on */
        rc = tokenizer_encode_plain(tokenizer, chat.text.data, chat.text.len, out, err);
    else if (rc == ERR_OK)
        rc = chat_flush(&chat);
    buf_release(&chat.text);
    if (rc != ERR_OK)
        out->n = before;
    return rc;
}

enum err_code chat_encode(enum chat_template kind, const struct tokenizer *tokenizer,
                          const struct chat_turn *turns, size_t n, struct tokens *out,
                          struct err *err)
{
    static enum err_code (*const encode[])(struct chat *, const struct chat_turn *, size_t) = {
        [CHAT_plain] = chat_plain,
        [CHAT_chatml] = chat_chatml,
        [CHAT_llama3] = chat_llama3,
        [CHAT_hh] = chat_hh,
    };
    for (size_t i = 0; i < n; i++)
        assert(turns[i].role && turns[i].content);
    const size_t before = out->n;
    struct chat chat = {.kind = kind, .tokenizer = tokenizer, .out = out, .err = err};
    buf_init(&chat.text, CHAT_TEXT_BYTES_MAX);
    const enum err_code rc = encode[kind](&chat, turns, n);
    buf_release(&chat.text);
    if (rc != ERR_OK)
        out->n = before;
    return rc;
}

int32_t chat_end_id(enum chat_template kind, const struct tokenizer *tokenizer)
{
    switch (kind) {
    case CHAT_plain:
    case CHAT_hh: break;
    case CHAT_chatml: return tokenizer_id(tokenizer, "<|im_end|>");
    case CHAT_llama3: return tokenizer_id(tokenizer, "<|eot_id|>");
    }
    return -1;
}
