/* Reference-counted strings <-> codes, over struct intern. A code is given back when its last
 * reference goes, and used again, so that replacing items for years leaves nothing behind. Reads in
 * parallel, changes under the owner's exclusive lock. */
#ifndef U2I_FILTER_DICT_H
#define U2I_FILTER_DICT_H

#include "base/intern.h"
#include <stdbool.h>

struct dict {
    struct intern *names;
    uint32_t *refs; /* by code; of a code that is not in use, the next such code */
    size_t refs_cap;
    uint32_t unused; /* the first code to be used again, or INTERN_NONE */
};

int dict_init(struct dict *d); /* U2I_OK or U2I_ENOMEM */
void dict_clear(struct dict *d);
/* The code of a string, which gains one reference. U2I_OK or U2I_ENOMEM. */
int dict_take(struct dict *d, const char *s, size_t n, uint32_t *code);
void dict_hold(struct dict *d, uint32_t code); /* one reference more */
/* One reference less; true when it was the last one: the string is gone. */
bool dict_release(struct dict *d, uint32_t code);
size_t dict_bytes(const struct dict *d);

#endif
