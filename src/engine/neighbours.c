/* Similar users: an index of profiles, brought up to date when somebody asks. The first question reads
 * every user's history; after that only the users who did something since are computed again. What was
 * done when the time runs out stays done. One thread brings it up to date, others search meanwhile. */
#include "engine_internal.h"

#include "base/error.h"

/* Puts the user's profile into the index, or takes it out where there is none. */
static int neighbours_update(struct engine *e, uint32_t user, u2i_error_t *err) {
    struct arena scratch = {0};
    struct history *h = NULL;
    struct taste taste = {0};
    int rc = U2I_OK;
    if (e->ops->user_id(e->store, user) != NULL) {
        const struct history_source from = engine_history_source(e);
        rc = history_get(e->histories, &from, user, &h, err);
        if (rc == U2I_OK) {
            rc = taste_build(e, h, &scratch, &taste, err);
        } else if (rc == U2I_ENOTFOUND) { /* is being deleted */
            rc = U2I_OK;
        }
    }
    (void)pthread_rwlock_wrlock(&e->neighbours_use);
    if (rc == U2I_OK && taste.vector != NULL) {
        rc = index_set(e->neighbours, user, taste.vector, err);
    } else if (rc == U2I_OK) {
        index_remove(e->neighbours, user);
    }
    (void)pthread_rwlock_unlock(&e->neighbours_use);
    history_put_back(e->histories, h);
    arena_free(&scratch);
    return rc;
}

/* Not on disk: profiles change with every event, and are made from what is in the store. */
static int neighbours_create(struct engine *e, u2i_error_t *err) {
    struct index *fresh;
    const struct index_options opt = {.dim = e->store->dim,
                                      .metric = HNSW_COSINE,
                                      .config = e->settings.index,
                                      .lock = &e->neighbours_use,
                                      .log = e->log,
                                      .name = "users"};
    U2I_TRY(index_new(&opt, &fresh, err));
    (void)pthread_rwlock_wrlock(&e->neighbours_use);
    index_start(fresh, false);
    e->neighbours = fresh;
    (void)pthread_rwlock_unlock(&e->neighbours_use);
    return U2I_OK;
}

static int neighbours_refresh(struct engine *e, const struct deadline *deadline, u2i_error_t *err) {
    if (e->neighbours == NULL) {
        U2I_TRY(neighbours_create(e, err));
    }
    if (e->all_users_stale) {
        roaring_bitmap_add_range(e->stale_users, 0, e->ops->user_end(e->store));
        e->all_users_stale = false;
    }
    int rc = U2I_OK;
    while (rc == U2I_OK && !roaring_bitmap_is_empty(e->stale_users)) {
        const uint32_t user = roaring_bitmap_minimum(e->stale_users);
        rc = deadline_passed(deadline)
                 ? error_set(err, U2I_ETIMEOUT, "the time for an answer ran out")
                 : neighbours_update(e, user, err);
        if (rc == U2I_OK) {
            roaring_bitmap_remove(e->stale_users, user);
        }
    }
    return rc;
}

static int neighbours_tie(const void *ctx, uint32_t a, uint32_t b) {
    const struct engine *e = ctx;
    return strcmp(e->ops->user_id(e->store, a), e->ops->user_id(e->store, b));
}

/* Shared lock held. A user without a profile has no neighbours. */
static int neighbours_ask(struct engine *e, const struct neighbours_query *how,
                          const roaring_bitmap_t *self, struct hit *out, uint32_t *n,
                          u2i_error_t *err) {
    struct index_explain why;
    const struct index_query q = {.vector = index_vector(e->neighbours, how->user),
                                  .k = how->k,
                                  .deny = self,
                                  .tie = neighbours_tie,
                                  .tie_ctx = e,
                                  .deadline = how->deadline};
    if (q.vector == NULL) {
        return U2I_OK;
    }
    U2I_TRY(index_search(e->neighbours, &q, out, n, &why, err));
    *how->explain = store_explain_index(&why);
    how->explain->passing = index_count(e->neighbours) - 1;
    return U2I_OK;
}

int neighbours_search(struct engine *e, const struct neighbours_query *q, struct hit *out,
                      uint32_t *n, u2i_error_t *err) {
    *n = 0;
    roaring_bitmap_t *self = roaring_bitmap_of(1, q->user);
    if (self == NULL) {
        return error_oom(err);
    }
    (void)pthread_mutex_lock(&e->neighbours_lock);
    int rc = neighbours_refresh(e, q->deadline, err);
    (void)pthread_mutex_unlock(&e->neighbours_lock);
    if (rc == U2I_OK) {
        (void)pthread_rwlock_rdlock(&e->neighbours_use);
        rc = neighbours_ask(e, q, self, out, n, err);
        (void)pthread_rwlock_unlock(&e->neighbours_use);
    }
    roaring_bitmap_free(self);
    return rc;
}

void neighbours_configure(struct engine *e) {
    (void)pthread_rwlock_wrlock(&e->neighbours_use);
    if (e->neighbours != NULL) {
        index_configure(e->neighbours, &e->settings.index);
    }
    (void)pthread_rwlock_unlock(&e->neighbours_use);
}

int neighbours_build(struct engine *e, u2i_error_t *err) {
    (void)pthread_rwlock_rdlock(&e->neighbours_use);
    struct index *const users = e->neighbours; /* once there it stays */
    (void)pthread_rwlock_unlock(&e->neighbours_use);
    return users == NULL ? U2I_OK : index_build(users, NULL, NULL, err);
}

size_t neighbours_bytes(struct engine *e) {
    (void)pthread_rwlock_rdlock(&e->neighbours_use);
    const size_t bytes = e->neighbours == NULL ? 0 : index_bytes(e->neighbours);
    (void)pthread_rwlock_unlock(&e->neighbours_use);
    return bytes;
}
