/* Names as numbers: each different text gets the next number from 0 on, for good. Reading is safe from
 * any number of threads while nobody adds. */
#ifndef CLI_EVAL_IDS_H
#define CLI_EVAL_IDS_H

#include "pool.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVAL_NO_ID UINT32_MAX

struct eval_ids { /* zeros: empty */
    struct pool pool;
    const char **names; /* n of them, by number */
    uint32_t n, cap;
    uint32_t *slots; /* open addressing, 0 = free, else number + 1 */
    uint32_t slots_n;
};

/* The number of a name, new or not; EVAL_NO_ID when out of memory. */
uint32_t eval_ids_put(struct eval_ids *ids, const char *name);
uint32_t eval_ids_find(const struct eval_ids *ids, const char *name); /* EVAL_NO_ID: not there */
void eval_ids_free(struct eval_ids *ids);

#endif
