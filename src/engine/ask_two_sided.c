/* Two-sided scores: where an item is a person (dating), or stands for one (an employer's job), it matters as
 * much what that side wants. The other side is a user; how they would like the asking user is looked up the
 * same way: their profile against the item whose id is the asking user's. Who has no history has no say. */
#include "ask.h"

#include "base/error.h"
#include "vec/vec.h"

#define TWO_SIDED_MAX 300u /* candidates looked at: the best by what the asking side wants */

/* The other side's row among users. */
static uint32_t two_sided_user(struct ask *a, const struct rule *rule, uint32_t row) {
    struct engine *e = a->e;
    if (rule->path == NULL) {
        const char *id = e->ops->item_id(e->store, row);
        return id == NULL ? STORE_NONE : e->ops->user_row(e->store, id);
    }
    struct attr_value v;
    char id[U2I_ID_MAX_BYTES + 1];
    if (e->ops->attr(e->store, rule->path, &row, 1, &v, NULL) != U2I_OK || v.type != ATTR_STRING ||
        v.n > U2I_ID_MAX_BYTES) {
        return STORE_NONE;
    }
    memcpy(id, v.s, v.n);
    id[v.n] = '\0';
    return e->ops->user_row(e->store, id);
}

/* How likely that user acts on item `me`, 0..1; below 0: nothing is known. */
static int two_sided_learnt(struct ask *a, const struct history *h, uint32_t me, struct arena *s,
                            double *out, u2i_error_t *err) {
    struct engine *e = a->e;
    struct model_user *other = NULL;
    float parts[MODEL_PARTS_N];
    double score = 0;
    U2I_TRY(ask_model_user(e, h, s, &other, err));
    if (other == NULL) {
        return U2I_OK;
    }
    model_user_score(other, me, e->ops->vector(e->store, STORE_TASTE, me), parts);
    for (int i = 0; i < MODEL_PARTS_N; i++) {
        score += (double)parts[i];
    }
    const struct model_scale m = model_calibration(e->trained.model);
    const struct rank_scale scale = {RANK_LOGIT, m.intercept, m.slope};
    *out = (double)rank_probability(&scale, (float)score);
    return U2I_OK;
}

static int two_sided_content(struct ask *a, const struct history *h, uint32_t me, struct arena *s,
                             double *out, u2i_error_t *err) {
    struct engine *e = a->e;
    struct taste other;
    const float *mine = e->ops->vector(e->store, STORE_CONTENT, me);
    U2I_TRY(taste_build(e, h, s, &other, err));
    if (mine != NULL && other.vector != NULL) {
        *out = (1 + (double)vec_dot(other.vector, mine, e->store->dim)) / 2;
    }
    return U2I_OK;
}

static int two_sided_other(struct ask *a, uint32_t user, uint32_t me, double *out,
                           u2i_error_t *err) {
    struct engine *e = a->e;
    struct arena scratch = {0};
    struct history *h = NULL;
    const struct history_source from = engine_history_source(e);
    *out = -1;
    int rc = history_get(e->histories, &from, user, &h, err);
    if (rc == U2I_OK) {
        rc = a->learnt != NULL ? two_sided_learnt(a, h, me, &scratch, out, err)
                               : two_sided_content(a, h, me, &scratch, out, err);
    }
    history_put_back(e->histories, h);
    arena_free(&scratch);
    return rc == U2I_ENOTFOUND ? U2I_OK : rc; /* is being deleted */
}

static int two_sided_rule(struct ask *a, uint32_t number, uint32_t me, u2i_error_t *err) {
    const struct rule *rule = a->rules.list[number].rule;
    for (uint32_t i = 0; i < a->n && i < TWO_SIDED_MAX; i++) {
        struct rank_candidate *c = &a->candidates[i];
        const uint32_t user = two_sided_user(a, rule, c->row);
        double other = -1;
        if (user != STORE_NONE) {
            U2I_TRY(two_sided_other(a, user, me, &other, err));
        }
        if (other >= 0) {
            const float term = rules_two_sided(rule, &a->scales[c->tier], c->score, other);
            if (rank_add(c, number, term, &a->arena) != U2I_OK) {
                return error_oom(err);
            }
        }
    }
    return U2I_OK;
}

int two_sided_apply(struct ask *a, u2i_error_t *err) {
    struct engine *e = a->e;
    uint32_t from;
    const uint32_t n = rules_of(&a->rules, RULE_TWO_SIDED, &from);
    const uint32_t me = a->q->user == NULL ? STORE_NONE : e->ops->item_row(e->store, a->q->user);
    for (uint32_t i = 0; i < n && me != STORE_NONE; i++) {
        U2I_TRY(two_sided_rule(a, from + i, me, err));
    }
    return U2I_OK;
}
