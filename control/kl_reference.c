/* kl_reference.c -- see kl_reference.h. */
#include "control/kl_reference.h"

uint64_t kl_reference_version(uint64_t every, uint64_t version, uint64_t inherited)
{
    return every > 0 && version % every == 0 ? version : inherited;
}
