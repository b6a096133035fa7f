/* Strings <-> numbers. Names live in one byte arena, numbers index an offset table, and an open
 * addressing table of numbers finds a name: about 10 bytes a name beside its text. The caller
 * chooses the numbers (dense ones, since the table is indexed by them); a removed number is a hole.
 * Reads in parallel; changes need the owner's exclusive lock. */
#ifndef U2I_BASE_INTERN_H
#define U2I_BASE_INTERN_H

#include <stddef.h>
#include <stdint.h>

#define INTERN_NONE UINT32_MAX

struct intern;

struct intern *intern_new(void); /* NULL = no memory */
void intern_free(struct intern *t);
uint32_t intern_find(const struct intern *t, const char *name,
                     size_t n); /* INTERN_NONE if absent */
/* NUL-terminated, valid until the next intern_put(); NULL for a hole or past the end. *n may be NULL. */
const char *intern_name(const struct intern *t, uint32_t number, size_t *n);
/* The number must be free and the name absent. U2I_OK or U2I_ENOMEM. */
int intern_put(struct intern *t, uint32_t number, const char *name, size_t n);
/* Gives `name` the next number after the highest one ever used; existing names keep theirs. */
int intern_add(struct intern *t, const char *name, size_t n, uint32_t *number);
void intern_remove(struct intern *t,
                   uint32_t number);           /* a hole is left; holes may be removed again */
uint32_t intern_end(const struct intern *t);   /* one past the highest number */
uint32_t intern_count(const struct intern *t); /* names, holes not counted */
size_t intern_bytes(const struct intern *t);   /* memory held */

#endif
