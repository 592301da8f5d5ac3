/* record.c -- see record.h. */
#include "coordinator/record.h"

const char *record_kind_name(enum record_kind kind)
{
    switch (kind) {
#define X(name, text) \
    case RECORD_##name: return text;
        RECORD_KIND_MAP(X)
#undef X
    }
    return "?";
}

const char *record_reason_name(enum record_reason reason)
{
    switch (reason) {
#define X(name, text) \
    case RECORD_REASON_##name: return text;
        RECORD_REASON_MAP(X)
#undef X
    case RECORD_REASONS: break;
    }
    return "?";
}
