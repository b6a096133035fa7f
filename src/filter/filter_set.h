/* The constants of a list in the form in which columns hold values, so that membership is a
 * question about numbers and bits. Immutable after filter_set_build(). */
#ifndef U2I_FILTER_SET_H
#define U2I_FILTER_SET_H

#include "base/arena.h"
#include "base/intern.h"
#include "filter/value.h"

#define SET_NONE UINT32_MAX

struct set_key {
    uint64_t key;
    uint8_t tag; /* integral reals are integers here */
};

struct filter_set {
    struct set_key *keys; /* sorted by tag, then key */
    uint32_t n;
    uint32_t absent;   /* strings of the list that no value has */
    uint64_t *strings; /* bit by code; NULL when the list has no string that exists */
    uint32_t strings_end;
};

/* `names` is where strings have their codes. U2I_OK or U2I_ENOMEM. */
int filter_set_build(struct filter_set *set, const struct value *list, uint32_t n,
                     const struct intern *names, struct arena *arena);
/* Which key the value is, or SET_NONE. */
uint32_t filter_set_find(const struct filter_set *set, uint8_t tag, uint64_t value);

#endif
