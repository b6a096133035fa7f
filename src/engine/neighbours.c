/* Similar users: an index of profiles, brought up to date when somebody asks. The first question reads
 * every user's history; after that only the users who did something since are computed again. What was
 * done when the time runs out stays done. */
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
    if (rc == U2I_OK && taste.vector != NULL) {
        rc = flat_set(e->neighbours, user, taste.vector, err);
    } else if (rc == U2I_OK) {
        flat_remove(e->neighbours, user);
    }
    history_put_back(e->histories, h);
    arena_free(&scratch);
    return rc;
}

static int neighbours_refresh(struct engine *e, const struct deadline *deadline, u2i_error_t *err) {
    if (e->neighbours == NULL) {
        U2I_TRY(flat_new(e->store->dim, &e->neighbours, err));
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

int neighbours_search(struct engine *e, uint32_t user, const struct flat_query *how,
                      struct hit *out, uint32_t *n, u2i_error_t *err) {
    *n = 0;
    roaring_bitmap_t *self = roaring_bitmap_of(1, user);
    if (self == NULL) {
        return error_oom(err);
    }
    (void)pthread_mutex_lock(&e->neighbours_lock);
    int rc = neighbours_refresh(e, how->deadline, err);
    struct flat_query q = *how;
    q.vector = rc == U2I_OK ? flat_vector(e->neighbours, user) : NULL;
    q.deny = self;
    q.tie = neighbours_tie;
    q.tie_ctx = e;
    if (q.vector != NULL) {
        rc = flat_search(e->neighbours, &q, out, n, err);
    }
    (void)pthread_mutex_unlock(&e->neighbours_lock);
    roaring_bitmap_free(self);
    return rc;
}
