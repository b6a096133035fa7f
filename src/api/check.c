/* Messages name the thing, its value and the rule: "item 3: id is 140 bytes long, the limit is 128". */
#include "check.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/intern.h"
#include "base/utf8.h"
#include "vec/vec.h"

#include <math.h>
#include <stdio.h>

/* "item 3: " in front of what is said of an element of a batch. */
static int check_fail(u2i_error_t *err, int32_t index, const char *what, const char *fault) {
    return index < 0 ? error_set(err, U2I_EINVAL, "%s %s", what, fault)
                     : error_at(err, U2I_EINVAL, index, "entry %d: %s %s", index, what, fault);
}

int check_string(const char *s, struct check rule, int32_t index, u2i_error_t *err) {
    char fault[96];
    if (s == NULL) {
        return rule.optional ? U2I_OK : check_fail(err, index, rule.what, "is missing");
    }
    const size_t n = strlen(s);
    if (n == 0 && !rule.optional) {
        return check_fail(err, index, rule.what, "is empty");
    }
    if (n > rule.max) {
        (void)snprintf(fault, sizeof(fault), "is %zu bytes long, the limit is %zu", n, rule.max);
        return check_fail(err, index, rule.what, fault);
    }
    return utf8_valid(s, n) ? U2I_OK : check_fail(err, index, rule.what, "is not valid UTF-8");
}

int check_id(const char *id, const char *what, int32_t index, u2i_error_t *err) {
    return check_string(id, (struct check){what, U2I_ID_MAX_BYTES, false}, index, err);
}

static int check_optional(const char *s, const char *what, size_t max, int32_t index,
                          u2i_error_t *err) {
    return check_string(s, (struct check){what, max, true}, index, err);
}

/* ---- Structs of other versions ------------------------------------------------------------------ */

int check_array(const struct check_array *a, const void **out, void **copy, u2i_error_t *err) {
    *out = a->in;
    *copy = NULL;
    if (a->in == NULL && a->n > 0) {
        return error_set(err, U2I_EINVAL, "%s is NULL", a->what);
    }
    if (a->n > U2I_BATCH_MAX) {
        return error_set(err, U2I_EINVAL, "%zu %s in one call, the limit is %d", a->n, a->what,
                         U2I_BATCH_MAX);
    }
    if (a->size < sizeof(void *) || a->size % sizeof(void *) != 0 || a->size > a->own) {
        return error_set(err, U2I_EVERSION, "%s of %zu bytes each, this u2i (%s) knows %zu",
                         a->what, a->size, u2i_version(), a->own);
    }
    if (a->size == a->own || a->n == 0) {
        return U2I_OK;
    }
    char *full = alloc_array(a->n, a->own);
    if (full == NULL) {
        return error_oom(err);
    }
    memset(full, 0, a->n * a->own);
    for (size_t i = 0; i < a->n; i++) {
        memcpy(full + i * a->own, (const char *)a->in + i * a->size, a->size);
    }
    *out = *copy = full;
    return U2I_OK;
}

int check_struct(const void *in, size_t own, const char *what, void *out, u2i_error_t *err) {
    size_t size;
    if (in == NULL) {
        return error_set(err, U2I_EINVAL, "%s is NULL", what);
    }
    memcpy(&size, in, sizeof(size));
    if (size < sizeof(size) || size > own) {
        return error_set(err, U2I_EVERSION, "%s has struct_size %zu, this u2i (%s) knows %zu", what,
                         size, u2i_version(), own);
    }
    memset(out, 0, own);
    memcpy(out, in, size);
    return U2I_OK;
}

/* ---- Items, users, texts, events ---------------------------------------------------------------- */

/* The ids of a batch, to find one that is there twice. */
static int check_once(struct intern *seen, const char *id, int32_t index, u2i_error_t *err) {
    uint32_t number;
    if (intern_find(seen, id, strlen(id)) != INTERN_NONE) {
        return error_at(err, U2I_EINVAL, index, "entry %d: id \"%s\" is in the batch twice", index,
                        id);
    }
    return intern_add(seen, id, strlen(id), &number) == U2I_OK ? U2I_OK : error_oom(err);
}

static int check_item(const u2i_item_t *item, int32_t i, uint32_t dim, u2i_error_t *err) {
    U2I_TRY(check_id(item->id, "id", i, err));
    U2I_TRY(check_optional(item->title, "title", U2I_TITLE_MAX_BYTES, i, err));
    U2I_TRY(check_optional(item->text, "text", U2I_TEXT_MAX_BYTES, i, err));
    U2I_TRY(check_optional(item->category, "category", U2I_CATEGORY_MAX_BYTES, i, err));
    U2I_TRY(check_optional(item->attrs_json, "attrs_json", U2I_ATTRS_MAX_BYTES, i, err));
    if (item->vector != NULL && !vec_finite(item->vector, dim)) {
        return check_fail(err, i, "vector", "has a NaN or an infinity in it");
    }
    return U2I_OK;
}

int check_items(const u2i_item_t *items, size_t n, uint32_t dim, u2i_error_t *err) {
    struct intern *seen = intern_new();
    int rc = seen == NULL ? error_oom(err) : U2I_OK;
    for (size_t i = 0; i < n && rc == U2I_OK; i++) {
        rc = check_item(&items[i], (int32_t)i, dim, err);
        if (rc == U2I_OK) {
            rc = check_once(seen, items[i].id, (int32_t)i, err);
        }
    }
    intern_free(seen);
    return rc;
}

static int check_user(const u2i_user_t *user, int32_t i, u2i_error_t *err) {
    U2I_TRY(check_id(user->id, "id", i, err));
    U2I_TRY(check_optional(user->interests, "interests", U2I_TEXT_MAX_BYTES, i, err));
    U2I_TRY(check_optional(user->attrs_json, "attrs_json", U2I_ATTRS_MAX_BYTES, i, err));
    if (!(user->decay >= 0 && user->decay < 1)) {
        return check_fail(err, i, "decay", "must be 0 (none), or over 0 and under 1");
    }
    return U2I_OK;
}

int check_users(const u2i_user_t *users, size_t n, u2i_error_t *err) {
    struct intern *seen = intern_new();
    int rc = seen == NULL ? error_oom(err) : U2I_OK;
    for (size_t i = 0; i < n && rc == U2I_OK; i++) {
        rc = check_user(&users[i], (int32_t)i, err);
        if (rc == U2I_OK) {
            rc = check_once(seen, users[i].id, (int32_t)i, err);
        }
    }
    intern_free(seen);
    return rc;
}

int check_texts(const u2i_text_t *texts, size_t n, u2i_error_t *err) {
    for (size_t k = 0; k < n; k++) {
        const int32_t i = (int32_t)k;
        U2I_TRY(check_optional(texts[k].title, "title", U2I_TITLE_MAX_BYTES, i, err));
        U2I_TRY(check_optional(texts[k].category, "category", U2I_CATEGORY_MAX_BYTES, i, err));
        U2I_TRY(check_optional(texts[k].text, "text", U2I_TEXT_MAX_BYTES, i, err));
    }
    return U2I_OK;
}

int check_events(const u2i_event_t *events, size_t n, const char *user, u2i_error_t *err) {
    for (size_t k = 0; k < n; k++) {
        const u2i_event_t *ev = &events[k];
        const int32_t i = (int32_t)k;
        U2I_TRY(check_id(user == NULL ? ev->user : user, "user", i, err));
        U2I_TRY(check_id(ev->item, "item", i, err));
        U2I_TRY(check_string(ev->action, (struct check){"action", U2I_ACTION_MAX_BYTES, false}, i,
                             err));
        U2I_TRY(check_optional(ev->id, "id", U2I_ID_MAX_BYTES, i, err));
        if (ev->id != NULL && ev->id[0] == '\0') {
            return check_fail(err, i, "id", "is empty; NULL means none");
        }
        if (!(ev->value >= 0 && ev->value <= (float)U2I_VALUE_MAX)) {
            return check_fail(err, i, "value", "must be a number from 0 to 1000000");
        }
        if (ev->time_ms < 0) {
            return check_fail(err, i, "time_ms", "is before 1970");
        }
    }
    return U2I_OK;
}

/* ---- Queries -------------------------------------------------------------------------------- */

static int check_query_texts(const u2i_query_t *q, u2i_error_t *err) {
    const struct {
        const char *s, *what;
        size_t max;
    } texts[] = {
        {q->user, "user", U2I_ID_MAX_BYTES},
        {q->item, "item", U2I_ID_MAX_BYTES},
        {q->interests, "interests", U2I_TEXT_MAX_BYTES},
        {q->text, "text", U2I_TEXT_MAX_BYTES},
        {q->filter, "filter", U2I_FILTER_MAX_BYTES},
        {q->rules, "rules", U2I_RULES_MAX_BYTES},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        U2I_TRY(check_optional(texts[i].s, texts[i].what, texts[i].max, -1, err));
    }
    return U2I_OK;
}

static int check_query_ranges(const u2i_query_t *q, u2i_error_t *err) {
    if (!(q->diversity >= 0 && q->diversity <= 1)) {
        return error_set(err, U2I_EINVAL, "diversity %g must be from 0 to 1", q->diversity);
    }
    if (q->time_ms < 0) {
        return error_set(err, U2I_EINVAL, "the query's time_ms is before 1970");
    }
    if (q->session_n > U2I_WINDOW_MAX) {
        return error_set(err, U2I_EINVAL, "session has %zu events, the limit is %d", q->session_n,
                         U2I_WINDOW_MAX);
    }
    return U2I_OK;
}

static int check_query_lists(const u2i_query_t *q, u2i_error_t *err) {
    if (q->params_n > 0 && q->filter == NULL) {
        return error_set(err, U2I_EINVAL, "the query has params but no filter that names them");
    }
    if (q->exclude_n > U2I_EXCLUDE_MAX) {
        return error_set(err, U2I_EINVAL, "exclude has %zu ids, the limit is %d", q->exclude_n,
                         U2I_EXCLUDE_MAX);
    }
    if ((q->exclude == NULL && q->exclude_n > 0) || (q->params == NULL && q->params_n > 0)) {
        return error_set(err, U2I_EINVAL, "%s is NULL but its count is not 0",
                         q->exclude == NULL ? "exclude" : "params");
    }
    for (size_t i = 0; i < q->exclude_n; i++) {
        if (q->exclude[i] == NULL) {
            return error_at(err, U2I_EINVAL, (int32_t)i, "exclude[%zu] is NULL", i);
        }
    }
    return U2I_OK;
}

int check_query(u2i_query_t *q, u2i_error_t *err) {
    U2I_TRY(check_query_texts(q, err));
    if (q->limit > U2I_LIMIT_MAX) {
        return error_set(err, U2I_EINVAL, "limit %u is over %d", q->limit, U2I_LIMIT_MAX);
    }
    q->limit = q->limit == 0 ? 10 : q->limit;
    if ((q->flags & ~(uint32_t)(U2I_KEEP_SEEN | U2I_NO_REASONS)) != 0) {
        return error_set(err, U2I_EINVAL, "the query has unknown flags 0x%x", q->flags);
    }
    U2I_TRY(check_query_ranges(q, err));
    return check_query_lists(q, err);
}
