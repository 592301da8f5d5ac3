/* message_text.c -- what a message says in words is UTF-8. */
#include <string.h>

#include "base/utf8.h"
#include "wire/message_internal.h"

bool message_is_utf8(const char *text)
{
    const size_t n = strlen(text);
    return utf8_span(text, n) == n;
}

void message_set_text(struct message *message, const char *text)
{
    size_t len = 0;
    for (size_t left = strlen(text); left > 0;) {
        const size_t n = utf8_character(text, left);
        const size_t bytes = n ? n : 1;
        if (len + bytes >= sizeof message->text)
            break;
        memcpy(message->text + len, n ? text : "?", bytes);
        len += bytes;
        text += bytes;
        left -= bytes;
    }
    message->text[len] = '\0';
}
