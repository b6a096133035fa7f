/* What a store answers from without touching its file: the names behind row numbers, which items are
 * live, their vectors and attributes. A mirror of the durable tables, filled when a store is opened
 * and changed after each commit; it can be thrown away and filled again.
 *
 * Reads in parallel; changes need the owner's exclusive lock. The index of the vectors has a thread
 * that takes this lock by itself: a catalogue is freed by who holds no lock that this thread, or what
 * it waits for, could need. */
#ifndef U2I_STORE_CATALOGUE_H
#define U2I_STORE_CATALOGUE_H

#include "base/intern.h"
#include "filter/filter.h"
#include "index/index.h"
#include "store/store.h"
#include "store/tail.h"

/* The three kinds of names. */
enum catalogue_names {
    CATALOGUE_ITEMS = 0,
    CATALOGUE_USERS = 1,
    CATALOGUE_ACTIONS = 2,
    CATALOGUE_NAMES_N = 3
};

struct catalogue {
    struct intern *names[CATALOGUE_NAMES_N];
    uint32_t end[CATALOGUE_NAMES_N]; /* the next number to give; none is ever given twice */
    roaring_bitmap_t *live;          /* items that exist */
    struct index *vectors;           /* of live items */
    struct index *taste;             /* taste vectors of live items; NULL = none */
    uint32_t taste_dim;
    struct columns *columns;   /* attributes of live items */
    uint64_t sequence;         /* of the newest change it reflects */
    uint64_t events;           /* in the store at that moment */
    uint64_t removed_sequence; /* of the last change that removed events */
    struct tail tail;          /* events that the store's index doesn't have yet */
    void *owner;               /* the store */
    struct catalogue *next;    /* the store's, for a list of them */
};

/* `vectors`: of their index; its ctx becomes `owner`, and its functions get the catalogue as ctx. */
int catalogue_new(const struct index_options *vectors, struct catalogue **out, u2i_error_t *err);
void catalogue_free(struct catalogue *c);
/* An empty index in the place of the one that there is, before either is used. */
int catalogue_renew_vectors(struct catalogue *c, const struct index_options *vectors,
                            u2i_error_t *err);
/* Ends the index and its thread: nothing but catalogue_free() may use the vectors after that. */
void catalogue_stop(struct catalogue *c);

/* Gives `number` that name, replacing what either had before. U2I_ENOMEM. */
int catalogue_name(struct catalogue *c, enum catalogue_names kind, uint32_t number,
                   const char *name, size_t n);
void catalogue_unname(struct catalogue *c, enum catalogue_names kind, uint32_t number);

/* The item of `row` is live with these attributes and this vector (NULL = none). U2I_ENOMEM. */
int catalogue_put_item(struct catalogue *c, uint32_t row, const struct attrs *attrs,
                       const float *vector, u2i_error_t *err);
void catalogue_drop_item(struct catalogue *c, uint32_t row); /* its name stays */

static inline bool catalogue_live(const struct catalogue *c, uint32_t row) {
    return roaring_bitmap_contains(c->live, row);
}

/* As store_ops.search and store_ops.rank. */
int catalogue_search(const struct catalogue *c, const struct store_search *q, struct hit *out,
                     uint32_t *n, u2i_error_t *err);
int catalogue_rank(const struct catalogue *c, const struct store_rank *q, struct hit *out,
                   uint32_t *n, u2i_error_t *err);

/* As store_ops.matches. */
int catalogue_matches(const struct catalogue *c, const struct filter *filter,
                      const roaring_bitmap_t *among, roaring_bitmap_t **out, u2i_error_t *err);

/* As store_ops.match and store_ops.attr. */
int catalogue_match(const struct catalogue *c, const struct filter *filter, const uint32_t *rows,
                    uint32_t n, bool *passes, u2i_error_t *err);
int catalogue_attr(const struct catalogue *c, const struct attr_path *path, const uint32_t *rows,
                   uint32_t n, struct attr_value *out, u2i_error_t *err);

/* Takes `fresh` (NULL = none) in the place of the taste vectors and gives the old ones out, to be freed
 * without a lock. Rows that are not live are removed from it. */
struct index *catalogue_exchange_taste(struct catalogue *c, struct index *fresh, uint32_t dim);
/* As store_ops.put_taste. */
int catalogue_put_taste(struct catalogue *c, const uint32_t *rows, const float *vectors, size_t n,
                        uint32_t dim, u2i_error_t *err);

size_t catalogue_bytes(const struct catalogue *c); /* memory held */

#endif
