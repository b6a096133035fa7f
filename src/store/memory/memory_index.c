/* Searches of many vectors. As long as there are few, each search compares all of them, and nothing here is
 * used: so this store stays the oracle of the others. Beyond index_exact_max the vectors are copied
 * into an index, and from then on kept in step with it. When there is no memory for that, searches
 * go on comparing, until there are twice as many vectors. */
#include "store/memory/memory_internal.h"

/* Equal scores by id, as elsewhere. */
static int memory_index_tie(const void *ctx, uint32_t a, uint32_t b) {
    const struct memory_store *m = ctx;
    return strcmp(memory_names_text(&m->item_names, a), memory_names_text(&m->item_names, b));
}

static int memory_index_row(struct memory_store *m, uint32_t row) {
    const float *vector = m->items[row].vector;
    if (vector == NULL) {
        index_remove(m->index, row);
        return U2I_OK;
    }
    return index_set(m->index, row, vector, NULL);
}

static int memory_index_all(struct memory_store *m) {
    for (uint32_t row = 0; row < m->item_names.n; row++) {
        U2I_TRY(memory_index_row(m, row));
    }
    return U2I_OK;
}

static int memory_index_some(struct memory_store *m, const uint32_t *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        U2I_TRY(memory_index_row(m, rows[i]));
    }
    return U2I_OK;
}

void memory_index_rows(struct memory_store *m, const uint32_t *rows, size_t n) {
    const bool wanted = m->config.exact_max != UINT32_MAX && m->vectors_n > m->config.exact_max &&
                        m->vectors_n >= m->index_from;
    int rc = U2I_OK;
    if (m->indexed) {
        rc = memory_index_some(m, rows, n);
    } else if (wanted) {
        rc = memory_index_all(m);
    } else {
        return;
    }
    m->indexed = rc == U2I_OK;
    m->index_from = rc == U2I_OK ? 0 : 2 * m->vectors_n;
}

/* All rows that pass the filter. */
static int memory_index_allow(const struct memory_store *m, const struct store_search *q,
                              roaring_bitmap_t **out, u2i_error_t *err) {
    *out = NULL;
    if (q->filter == NULL && q->among == NULL) {
        return U2I_OK;
    }
    roaring_bitmap_t *allow = roaring_bitmap_create();
    if (allow == NULL) {
        return error_oom(err);
    }
    for (uint32_t row = 0; row < m->item_names.n; row++) {
        if (row % 256 == 0 && deadline_passed(q->deadline)) {
            roaring_bitmap_free(allow);
            return error_set(err, U2I_ETIMEOUT, "the search ran out of time");
        }
        const bool asked = q->among == NULL || roaring_bitmap_contains(q->among, row);
        if (asked && memory_row_passes(m, row, q->filter, NULL)) {
            roaring_bitmap_add(allow, row);
        }
    }
    *out = allow;
    return U2I_OK;
}

int memory_index_search(const struct memory_store *m, const struct index *space,
                        const struct store_search *q, struct hit *out, uint32_t *n,
                        u2i_error_t *err) {
    roaring_bitmap_t *allow;
    struct index_explain why;
    U2I_TRY(memory_index_allow(m, q, &allow, err));
    const struct index_query query = {.vector = q->vector,
                                      .k = q->k,
                                      .allow = allow,
                                      .deny = q->exclude,
                                      .tie = memory_index_tie,
                                      .tie_ctx = m,
                                      .deadline = q->deadline};
    const int rc = index_search(space, &query, out, n, &why, err);
    if (rc == U2I_OK && q->explain != NULL) {
        *q->explain = store_explain_index(&why);
        q->explain->passing = why.graph       ? why.walk.passing
                              : allow != NULL ? roaring_bitmap_get_cardinality(allow)
                                              : index_count(space);
    }
    if (allow != NULL) {
        roaring_bitmap_free(allow);
    }
    return rc;
}

void memory_configure_index(struct store *s, const struct index_config *config) {
    struct memory_store *m = memory_of(s);
    (void)pthread_rwlock_wrlock(&m->lock);
    m->config = *config;
    index_configure(m->index, config);
    if (m->taste != NULL) {
        index_configure(m->taste, config);
    }
    memory_index_rows(m, NULL, 0);
    (void)pthread_rwlock_unlock(&m->lock);
}

int memory_build_index(struct store *s, u2i_progress_fn progress, void *ctx, u2i_error_t *err) {
    return index_build(memory_of(s)->index, progress, ctx, err);
}

/* ---- Taste -------------------------------------------------------------------------------------- */

/* Under the lock, exclusive. */
static int memory_set_taste(struct memory_store *m, uint32_t row, const float *vector,
                            u2i_error_t *err) {
    if (vector == NULL || row >= m->item_names.n || !m->items[row].live) {
        index_remove(m->taste, row);
        return U2I_OK;
    }
    return index_set(m->taste, row, vector, err);
}

int memory_exchange_taste(struct store *s, const struct store_vectors *v, void (*swap)(void *ctx),
                          void *ctx, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    struct index *fresh = NULL;
    if (v != NULL) {
        (void)pthread_rwlock_rdlock(&m->lock);
        const struct index_config config = m->config;
        (void)pthread_rwlock_unlock(&m->lock);
        const struct store_taste_options opt = {.config = &config, .lock = &m->lock, .log = m->log};
        U2I_TRY(store_taste_new(v, &opt, &fresh, err));
    }
    (void)pthread_rwlock_wrlock(&m->lock);
    struct index *const old = m->taste;
    m->taste = fresh;
    m->taste_dim = v == NULL ? 0 : v->dim;
    for (size_t i = 0; fresh != NULL && i < v->n; i++) {
        if (v->rows[i] >= m->item_names.n || !m->items[v->rows[i]].live) {
            index_remove(fresh, v->rows[i]);
        }
    }
    swap(ctx);
    (void)pthread_rwlock_unlock(&m->lock);
    index_free(old);
    return U2I_OK;
}

int memory_put_taste(struct store *s, const uint32_t *rows, const float *vectors, size_t n,
                     uint32_t dim, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    int rc = U2I_OK;
    (void)pthread_rwlock_wrlock(&m->lock);
    for (size_t i = 0; i < n && rc == U2I_OK && m->taste != NULL && m->taste_dim == dim; i++) {
        rc = memory_set_taste(m, rows[i], vectors == NULL ? NULL : vectors + i * dim, err);
    }
    (void)pthread_rwlock_unlock(&m->lock);
    return rc;
}
