/* The mirror of a store's tables in memory; see catalogue.h.
 *
 * Removing is always safe to repeat and putting replaces, so that a follower of another process can
 * simply set each changed row to what the file says now, in whatever order it learns of them. */
#include "store/catalogue.h"

#include "base/alloc.h"
#include "base/error.h"

enum { CATALOGUE_DEADLINE_EVERY = 4096 }; /* rows between two looks at the clock */

int catalogue_renew_vectors(struct catalogue *c, const struct index_options *vectors,
                            u2i_error_t *err) {
    struct index_options opt = *vectors;
    opt.ctx = c;
    catalogue_stop(c);
    return index_new(&opt, &c->vectors, err);
}

void catalogue_stop(struct catalogue *c) {
    index_free(c->vectors);
    index_free(c->taste);
    c->vectors = NULL;
    c->taste = NULL;
}

int catalogue_new(const struct index_options *vectors, struct catalogue **out, u2i_error_t *err) {
    *out = NULL;
    struct catalogue *c = mem_zalloc(sizeof *c);
    if (c == NULL) {
        return error_oom(err);
    }
    c->owner = vectors->ctx;
    int rc = U2I_ENOMEM;
    for (int i = 0; i < CATALOGUE_NAMES_N; i++) {
        c->names[i] = intern_new();
        if (c->names[i] == NULL) {
            goto out;
        }
    }
    c->live = roaring_bitmap_create();
    if (c->live == NULL) {
        goto out;
    }
    rc = catalogue_renew_vectors(c, vectors, err);
    if (rc == U2I_OK) {
        rc = columns_new(&c->columns, err);
    }
out:
    if (rc != U2I_OK) {
        catalogue_free(c);
        return rc == U2I_ENOMEM ? error_oom(err) : rc;
    }
    *out = c;
    return U2I_OK;
}

void catalogue_free(struct catalogue *c) {
    if (c == NULL) {
        return;
    }
    catalogue_stop(c); /* first: its thread looks at the rest */
    tail_free(&c->tail);
    columns_free(c->columns);
    if (c->live != NULL) {
        roaring_bitmap_free(c->live);
    }
    for (int i = 0; i < CATALOGUE_NAMES_N; i++) {
        intern_free(c->names[i]);
    }
    mem_free(c);
}

/* ---- Names ---------------------------------------------------------------------------------- */

int catalogue_name(struct catalogue *c, enum catalogue_names kind, uint32_t number,
                   const char *name, size_t n) {
    struct intern *names = c->names[kind];
    const uint32_t holder = intern_find(names, name, n);
    if (holder == number) {
        return U2I_OK;
    }
    if (holder != INTERN_NONE) {
        intern_remove(names, holder);
    }
    catalogue_unname(c, kind, number);
    U2I_TRY(intern_put(names, number, name, n));
    if (number >= c->end[kind]) {
        c->end[kind] = number + 1;
    }
    return U2I_OK;
}

void catalogue_unname(struct catalogue *c, enum catalogue_names kind, uint32_t number) {
    if (number < intern_end(c->names[kind]) && intern_name(c->names[kind], number, NULL) != NULL) {
        intern_remove(c->names[kind], number);
    }
}

/* ---- Items ---------------------------------------------------------------------------------- */

int catalogue_put_item(struct catalogue *c, uint32_t row, const struct attrs *attrs,
                       const float *vector, u2i_error_t *err) {
    U2I_TRY(columns_put(c->columns, row, attrs, err));
    if (vector != NULL) {
        U2I_TRY(index_set(c->vectors, row, vector, err));
    } else {
        index_remove(c->vectors, row);
    }
    roaring_bitmap_add(c->live, row);
    return U2I_OK;
}

void catalogue_drop_item(struct catalogue *c, uint32_t row) {
    roaring_bitmap_remove(c->live, row);
    index_remove(c->vectors, row);
    if (c->taste != NULL) {
        index_remove(c->taste, row);
    }
    columns_remove(c->columns, row);
}

/* ---- Searching ------------------------------------------------------------------------------ */

/* Equal scores are ordered by id: row numbers depend on who came first, ids don't. */
static int catalogue_compare_ids(const void *ctx, uint32_t row_a, uint32_t row_b) {
    const struct intern *ids = ctx;
    const char *a = intern_name(ids, row_a, NULL);
    const char *b = intern_name(ids, row_b, NULL);
    return strcmp(a == NULL ? "" : a, b == NULL ? "" : b);
}

/* The live rows of `among` that pass the filter; *out NULL = all live ones. */
static int catalogue_allow(const struct catalogue *c, const struct filter *filter,
                           const roaring_bitmap_t *among, const struct deadline *deadline,
                           roaring_bitmap_t **out, u2i_error_t *err) {
    *out = NULL;
    if (filter == NULL && among == NULL) {
        return U2I_OK;
    }
    roaring_bitmap_t *const some = among == NULL ? NULL : roaring_bitmap_and(c->live, among);
    if (among != NULL && some == NULL) {
        return error_oom(err);
    }
    if (filter == NULL) {
        *out = some;
        return U2I_OK;
    }
    const struct filter_rows rows = {c->columns, c->names[CATALOGUE_ITEMS],
                                     some == NULL ? c->live : some};
    const int rc = filter_eval(filter, &rows, deadline, out, err);
    if (some != NULL) {
        roaring_bitmap_free(some);
    }
    return rc;
}

struct store_explain store_explain_index(const struct index_explain *why) {
    struct store_explain e = {.search = "exact", .compared = why->compared};
    if (why->graph) {
        e.search = hnsw_strategy_name(why->walk.strategy);
        e.ef = why->walk.strategy == HNSW_SCAN ? 0 : why->walk.ef;
        e.compared += why->walk.distances;
        e.rounds = why->walk.rounds;
    }
    return e;
}

/* Excluded rows without a vector are counted too: it is a number for people to read. */
static uint64_t catalogue_passing(const struct index *space, const roaring_bitmap_t *allow,
                                  const roaring_bitmap_t *deny) {
    const uint64_t all = allow != NULL ? roaring_bitmap_get_cardinality(allow) : index_count(space);
    uint64_t out = 0;
    if (deny != NULL) {
        out = allow != NULL ? roaring_bitmap_and_cardinality(allow, deny)
                            : roaring_bitmap_get_cardinality(deny);
    }
    return all > out ? all - out : 0;
}

int catalogue_search(const struct catalogue *c, const struct store_search *q, struct hit *out,
                     uint32_t *n, u2i_error_t *err) {
    const struct index *const space = q->space == STORE_TASTE ? c->taste : c->vectors;
    roaring_bitmap_t *allow = NULL;
    *n = 0;
    if (space == NULL) {
        return U2I_OK;
    }
    U2I_TRY(catalogue_allow(c, q->filter, q->among, q->deadline, &allow, err));
    const struct index_query query = {
        .vector = q->vector,
        .k = q->k,
        .allow = allow,
        .deny = q->exclude,
        .tie = catalogue_compare_ids,
        .tie_ctx = c->names[CATALOGUE_ITEMS],
        .deadline = q->deadline,
    };
    struct index_explain why;
    const int rc = index_search(space, &query, out, n, &why, err);
    if (rc == U2I_OK && q->explain != NULL) {
        struct store_explain *e = q->explain;
        *e = store_explain_index(&why);
        e->passing = catalogue_passing(space, allow, q->exclude);
        if (!why.graph && e->passing < e->compared) {
            e->compared = (uint32_t)e->passing;
        }
    }
    if (allow != NULL) {
        roaring_bitmap_free(allow);
    }
    return rc;
}

static int catalogue_score_rows(const struct store_rank *q, const roaring_bitmap_t *rows,
                                struct topk *best, u2i_error_t *err) {
    roaring_uint32_iterator_t it;
    roaring_init_iterator(rows, &it);
    for (uint32_t seen = 0; it.has_value; roaring_advance_uint32_iterator(&it), seen++) {
        if (seen % CATALOGUE_DEADLINE_EVERY == 0 && deadline_passed(q->deadline)) {
            return error_set(err, U2I_ETIMEOUT, "the time allowed ran out");
        }
        const uint32_t row = it.current_value;
        if (q->exclude == NULL || !roaring_bitmap_contains(q->exclude, row)) {
            topk_push(best, q->score(q->ctx, row), row);
        }
    }
    return U2I_OK;
}

int catalogue_rank(const struct catalogue *c, const struct store_rank *q, struct hit *out,
                   uint32_t *n, u2i_error_t *err) {
    *n = 0;
    roaring_bitmap_t *allow = NULL;
    U2I_TRY(catalogue_allow(c, q->filter, q->among, q->deadline, &allow, err));
    struct topk best;
    topk_init(&best, out, q->k, catalogue_compare_ids, c->names[CATALOGUE_ITEMS]);
    const int rc = catalogue_score_rows(q, allow != NULL ? allow : c->live, &best, err);
    if (rc == U2I_OK) {
        *n = topk_sort(&best);
    }
    if (allow != NULL) {
        roaring_bitmap_free(allow);
    }
    return rc;
}

int catalogue_matches(const struct catalogue *c, const struct filter *filter,
                      const roaring_bitmap_t *among, roaring_bitmap_t **out, u2i_error_t *err) {
    U2I_TRY(catalogue_allow(c, filter, among, NULL, out, err));
    if (*out == NULL) {
        *out = roaring_bitmap_copy(c->live);
    }
    return *out == NULL ? error_oom(err) : U2I_OK;
}

int catalogue_match(const struct catalogue *c, const struct filter *filter, const uint32_t *rows,
                    uint32_t n, bool *passes, u2i_error_t *err) {
    const struct filter_rows in = {c->columns, c->names[CATALOGUE_ITEMS], c->live};
    return filter_match(filter, &in, rows, n, passes, err);
}

int catalogue_attr(const struct catalogue *c, const struct attr_path *path, const uint32_t *rows,
                   uint32_t n, struct attr_value *out, u2i_error_t *err) {
    struct attr_column column;
    U2I_TRY(attr_column_find(c->columns, path, &column, err));
    columns_get_many(&column, rows, n, out);
    return U2I_OK;
}

/* ---- Taste ---------------------------------------------------------------------------------- */

struct catalogue_last {
    uint32_t end;
};

static void catalogue_see_row(void *ctx, uint32_t row) {
    struct catalogue_last *last = ctx;
    last->end = last->end > row ? last->end : row + 1;
}

struct index *catalogue_exchange_taste(struct catalogue *c, struct index *fresh, uint32_t dim) {
    struct index *const old = c->taste;
    struct catalogue_last last = {0};
    c->taste = fresh;
    c->taste_dim = dim;
    if (fresh != NULL) {
        index_each_row(fresh, catalogue_see_row, &last);
    }
    for (uint32_t row = 0; row < last.end; row++) {
        if (!catalogue_live(c, row)) {
            index_remove(fresh, row);
        }
    }
    return old;
}

int catalogue_put_taste(struct catalogue *c, const uint32_t *rows, const float *vectors, size_t n,
                        uint32_t dim, u2i_error_t *err) {
    for (size_t i = 0; i < n && c->taste != NULL && c->taste_dim == dim; i++) {
        if (vectors == NULL || !catalogue_live(c, rows[i])) {
            index_remove(c->taste, rows[i]);
        } else {
            U2I_TRY(index_set(c->taste, rows[i], vectors + i * dim, err));
        }
    }
    return U2I_OK;
}

/* The vectors are at hand, so none has to be believed: a damaged file would lose items without a word. */
static bool taste_index_holds(const struct index *ix, const struct store_vectors *v) {
    bool holds = index_count(ix) == v->n;
    for (size_t i = 0; i < v->n && holds; i++) {
        const float *const kept = index_vector(ix, v->rows[i]);
        holds = kept != NULL && memcmp(kept, v->vectors + i * v->dim, v->dim * sizeof *kept) == 0;
    }
    return holds;
}

/* The snapshot as an index, if it is of just these vectors; NULL: it isn't, or there is none, which is no fault. */
static struct index *taste_index_open(const struct index_options *how,
                                      const struct store_vectors *v) {
    struct hnsw_stamp stamp;
    struct index *ix;
    if (how->path == NULL || index_new(how, &ix, NULL) != U2I_OK) {
        return NULL;
    }
    if (index_open(ix, &stamp, NULL) == U2I_OK && stamp.sequence == how->is.sequence &&
        memcmp(stamp.token, how->is.token, sizeof stamp.token) == 0 && taste_index_holds(ix, v)) {
        index_start(ix, false);
        return ix;
    }
    index_free(ix);
    return NULL;
}

/* A snapshot is written once, when the index is built: what is put later is not among its vectors. */
static int taste_index_build(struct index *ix, const struct store_vectors *v,
                             const struct store_taste_options *opt, u2i_error_t *err) {
    for (size_t i = 0; i < v->n; i++) {
        U2I_TRY(index_set(ix, v->rows[i], v->vectors + i * v->dim, err));
    }
    index_start(ix, opt->may_save);
    const int rc = index_build(ix, NULL, NULL, err);
    if (rc == U2I_EIO) { /* it is there, it was only not kept */
        log_line(&opt->log, U2I_LOG_WARN, "the index of taste is not saved: %s", err->msg);
        error_clear(err);
        return U2I_OK;
    }
    return rc;
}

int store_taste_new(const struct store_vectors *v, const struct store_taste_options *opt,
                    struct index **out, u2i_error_t *err) {
    const bool is_kept = v->token != NULL && v->n > opt->config->exact_max;
    struct index_options how = {.dim = v->dim,
                                .metric = HNSW_INNER_PRODUCT,
                                .norm_max = v->norm_max,
                                .questions = v->questions,
                                .questions_n = v->questions_n,
                                .config = *opt->config,
                                .lock = opt->lock,
                                .log = opt->log,
                                .name = "taste",
                                .path = is_kept ? opt->path : NULL,
                                .is.sequence = v->n};
    if (is_kept) {
        memcpy(how.is.token, v->token, sizeof how.is.token);
    }
    *out = taste_index_open(&how, v);
    if (*out != NULL) {
        return U2I_OK;
    }
    U2I_TRY(index_new(&how, out, err));
    const int rc = taste_index_build(*out, v, opt, err);
    if (rc == U2I_OK) {
        (void)pthread_rwlock_wrlock(opt->lock);
        index_start(*out, false);
        (void)pthread_rwlock_unlock(opt->lock);
    } else {
        index_free(*out);
        *out = NULL;
    }
    return rc;
}

size_t catalogue_bytes(const struct catalogue *c) {
    size_t bytes = sizeof *c + index_bytes(c->vectors) + columns_bytes(c->columns) +
                   (c->taste == NULL ? 0 : index_bytes(c->taste)) +
                   roaring_bitmap_portable_size_in_bytes(c->live) +
                   c->tail.n * (sizeof *c->tail.rows + sizeof *c->tail.before);
    for (int i = 0; i < CATALOGUE_NAMES_N; i++) {
        bytes += intern_bytes(c->names[i]);
    }
    return bytes;
}
