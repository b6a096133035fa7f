/* The handle: what is in which part.
 *
 * Setting a vector that the graph has takes it out of there and puts it into the flat part: a node is
 * never changed in place, as its links suit the old vector. An equal vector stays where it is, since an
 * item whose price changed is put with the same vector. */
#include "index_internal.h"

enum { INDEX_SEED = 20260 }; /* of the graph's layers: any number will do, but always the same */

/* Copies of what the options point to; false when out of memory. */
static bool index_keep_options(struct index *ix, const struct index_options *opt) {
    ix->opt = *opt;
    ix->opt.name = ix->name = str_dup(opt->name, strlen(opt->name));
    ix->opt.path = ix->path = opt->path == NULL ? NULL : str_dup(opt->path, strlen(opt->path));
    ix->opt.questions = NULL;
    if (opt->questions_n > 0) {
        ix->opt.questions = ix->questions =
            mem_dup(opt->questions, (size_t)opt->questions_n * opt->dim * sizeof *opt->questions);
    }
    return ix->name != NULL && (opt->path == NULL || ix->path != NULL) &&
           (opt->questions_n == 0 || ix->questions != NULL);
}

int index_new(const struct index_options *opt, struct index **out, u2i_error_t *err) {
    assert(opt->dim > 0 && opt->lock != NULL && opt->name != NULL);
    *out = NULL;
    struct index *const ix = mem_zalloc(sizeof *ix);
    if (ix == NULL) {
        return error_oom(err);
    }
    const bool kept = index_keep_options(ix, opt);
    ix->work.lock_fd = -1;
    ix->pending = roaring_bitmap_create();
    ix->moving = roaring_bitmap_create();
    ix->bell = mem_zalloc(sizeof *ix->bell);
    if (ix->bell != NULL) {
        (void)pthread_mutex_init(&ix->bell->lock, NULL); /* the default kind: nothing can fail */
        atomic_store(&ix->bell->asleep, true);
    }
    const int rc = flat_new(opt->dim, &ix->flat, err);
    if (rc != U2I_OK || !kept || ix->pending == NULL || ix->moving == NULL || ix->bell == NULL) {
        index_free(ix);
        return error_oom(err);
    }
    *out = ix;
    return U2I_OK;
}

static void index_free_rows(roaring_bitmap_t *rows) {
    if (rows != NULL) {
        roaring_bitmap_free(rows);
    }
}

void index_free(struct index *ix) {
    if (ix == NULL) {
        return;
    }
    index_stop(ix);
    hnsw_free(ix->graph);
    flat_free(ix->flat);
    index_free_rows(ix->gone);
    index_free_rows(ix->moving);
    index_free_rows(ix->pending);
    if (ix->bell != NULL) {
        (void)pthread_mutex_destroy(&ix->bell->lock);
    }
    mem_free(ix->bell);
    mem_free(ix->questions);
    mem_free(ix->path);
    mem_free(ix->name);
    mem_free(ix);
}

struct hnsw_options index_graph_options(const struct index *ix) {
    return (struct hnsw_options){.dim = ix->opt.dim,
                                 .metric = ix->opt.metric,
                                 .norm_max = ix->opt.norm_max,
                                 .links = ix->opt.config.links,
                                 .ef_construction = ix->opt.config.ef_construction,
                                 .questions = ix->opt.questions,
                                 .questions_n = ix->opt.questions_n,
                                 .seed = INDEX_SEED};
}

int index_open(struct index *ix, struct hnsw_stamp *stamp, u2i_error_t *err) {
    assert(ix->graph == NULL && index_count(ix) == 0 && !ix->work.running);
    if (ix->opt.path == NULL) {
        return U2I_ENOTFOUND;
    }
    const struct hnsw_options opt = index_graph_options(ix);
    const int rc = hnsw_open(ix->opt.path, &opt, stamp, &ix->graph, err);
    if (rc == U2I_ENOTFOUND) {
        error_clear(err);
    }
    U2I_TRY(rc);
    hnsw_stats(ix->graph, &ix->figures);
    ix->graph_n = ix->figures.count;
    ix->removed = ix->figures.removed;
    ix->saved_sequence = stamp->sequence;
    ix->work.saved = true;
    ix->work.settling = true;
    ix->work.made_with = opt;
    ix->work.calibrated = ix->figures.ef_10 != 0 ? ix->graph_n : 0;
    ix->work.recall = ix->figures.recall; /* another one is wanted now: that is noticed */
    return U2I_OK;
}

bool index_wants_graph(const struct index *ix) {
    const uint32_t most = ix->opt.config.exact_max;
    const uint32_t n = index_count(ix);
    return most != UINT32_MAX && (n > most || (ix->graph != NULL && n >= most / 2));
}

/* ---- Changing ------------------------------------------------------------------------------- */

void index_take_out(struct index *ix, uint32_t row) {
    if (ix->graph == NULL || !hnsw_contains(ix->graph, row)) {
        return;
    }
    hnsw_remove(ix->graph, row);
    ix->graph_n--;
    ix->removed++;
    if (ix->gone != NULL) {
        roaring_bitmap_add(ix->gone, row);
    }
}

/* A vector that is being moved would come into the graph as it was. */
static void index_touch(struct index *ix, uint32_t row) {
    ix->changes++;
    roaring_bitmap_remove(ix->moving, row);
}

int index_set(struct index *ix, uint32_t row, const float *vector, u2i_error_t *err) {
    const float *const old = index_vector(ix, row);
    if (old != NULL && memcmp(old, vector, ix->opt.dim * sizeof *vector) == 0) {
        ix->changes++;
        return U2I_OK;
    }
    U2I_TRY(flat_set(ix->flat, row, vector, err));
    roaring_bitmap_add(ix->pending, row);
    index_take_out(ix, row);
    index_touch(ix, row);
    index_rouse(ix);
    return U2I_OK;
}

void index_remove(struct index *ix, uint32_t row) {
    flat_remove(ix->flat, row);
    roaring_bitmap_remove(ix->pending, row);
    index_take_out(ix, row);
    index_touch(ix, row);
    index_rouse(ix);
}

void index_configure(struct index *ix, const struct index_config *config) {
    ix->opt.config = *config;
    ix->work.resume = 0;
    index_rouse(ix);
}

/* ---- Looking -------------------------------------------------------------------------------- */

bool index_contains(const struct index *ix, uint32_t row) {
    return flat_vector(ix->flat, row) != NULL ||
           (ix->graph != NULL && hnsw_contains(ix->graph, row));
}

const float *index_vector(const struct index *ix, uint32_t row) {
    const float *const vector = flat_vector(ix->flat, row);
    if (vector != NULL || ix->graph == NULL || !hnsw_contains(ix->graph, row)) {
        return vector;
    }
    const float *const kept = hnsw_vector(ix->graph, row);
    if (kept == NULL && !atomic_exchange(&ix->bell->damaged, true)) {
        index_ring(ix);
    }
    return kept;
}

void index_each_row(const struct index *ix, index_row_fn fn, void *ctx) {
    roaring_uint32_iterator_t it;
    roaring_init_iterator(ix->pending, &it);
    for (; it.has_value; roaring_advance_uint32_iterator(&it)) {
        fn(ctx, it.current_value);
    }
    if (ix->graph != NULL) {
        hnsw_each_row(ix->graph, fn, ctx);
    }
}

uint32_t index_count(const struct index *ix) {
    return index_flat_n(ix) + ix->graph_n;
}

size_t index_bytes(const struct index *ix) {
    return sizeof *ix + sizeof *ix->bell + flat_bytes(ix->flat) +
           roaring_bitmap_portable_size_in_bytes(ix->pending) + ix->figures.code_bytes +
           ix->figures.vector_bytes;
}

void index_note_figures(struct index *ix) {
    struct hnsw_stats figures = {0};
    index_write_lock(ix);
    if (ix->graph != NULL) {
        hnsw_stats(ix->graph, &figures);
    }
    ix->figures = figures;
    ix->graph_n = figures.count;
    ix->removed = figures.removed;
    if (figures.damaged) {
        atomic_store(&ix->bell->damaged, true);
    }
    index_unlock(ix);
}

void index_stats(const struct index *ix, struct index_stats *out) {
    *out = (struct index_stats){
        .graph = ix->graph_n,
        .flat = index_flat_n(ix),
        .removed = ix->removed,
        .ef_10 = ix->figures.ef_10,
        .code_bytes = ix->figures.code_bytes,
        .vector_bytes = ix->figures.vector_bytes + flat_bytes(ix->flat),
        .mapped_bytes = ix->figures.mapped_bytes,
        .saved_sequence = ix->saved_sequence,
        .busy = atomic_load(&ix->bell->started) && !atomic_load(&ix->bell->asleep),
    };
}
