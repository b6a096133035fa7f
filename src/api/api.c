/* The C ABI: checks arguments, then calls the engine. Nothing is decided here. Every function leaves
 * its out-parameters set and `err` cleared or filled. */
#include "base/alloc.h"
#include "base/error.h"
#include "check.h"
#include "engine/presets.h"
#include "handle.h"
#include "vec/vec.h"

#include <stdio.h>

#define API_STRING(x)        #x
#define API_VERSION(a, b, c) API_STRING(a) "." API_STRING(b) "." API_STRING(c)

const char *u2i_version(void) {
    return API_VERSION(U2I_VERSION_MAJOR, U2I_VERSION_MINOR, U2I_VERSION_PATCH);
}

const char *u2i_rc_name(int rc) {
    static const char *const names[] = {
        "U2I_OK",       "U2I_EINVAL",   "U2I_ENOMEM",    "U2I_ENOTFOUND", "U2I_EIO",
        "U2I_ECORRUPT", "U2I_EVERSION", "U2I_EBUSY",     "U2I_ETIMEOUT",  "U2I_EFILTER",
        "U2I_EEMBED",   "U2I_EREMOTE",  "U2I_EINTERNAL", "U2I_EREADONLY",
    };
    const int n = (int)(sizeof(names) / sizeof(names[0]));
    return rc <= 0 && rc > -n ? names[-rc] : "U2I_EUNKNOWN";
}

/* What every call does first. */
static int api_begin(const u2i_t *u, u2i_error_t *err) {
    error_clear(err);
    return u == NULL ? error_set(err, U2I_EINVAL, "the handle is NULL") : U2I_OK;
}

/* What every call does last: nothing that went wrong on the way to a success is left in err. */
static int api_end(int rc, u2i_error_t *err) {
    if (rc == U2I_OK) {
        error_clear(err);
    }
    return rc;
}

static int api_missing(const char *what, u2i_error_t *err) {
    return error_set(err, U2I_EINVAL, "%s is NULL", what);
}

/* ---- Opening -------------------------------------------------------------------------------- */

int u2i_open(const char *location, const u2i_options_t *opt, u2i_t **out, u2i_error_t *err) {
    const u2i_options_t defaults = U2I_OPTIONS_INIT;
    u2i_options_t o;
    error_clear(err);
    if (out == NULL) {
        return api_missing("out", err);
    }
    *out = NULL;
    if (location == NULL || location[0] == '\0') {
        return error_set(err, U2I_EINVAL, "location must be a file's path or \":memory:\"");
    }
    U2I_TRY(check_struct(opt == NULL ? &defaults : opt, sizeof(o), "options", &o, err));
    if (o.dim > U2I_DIM_MAX) {
        return error_set(err, U2I_EINVAL, "dim %u is over %d", o.dim, U2I_DIM_MAX);
    }
    if ((o.flags & ~(uint32_t)(U2I_OPEN_READONLY | U2I_OPEN_EXISTING | U2I_OPEN_NEW |
                               U2I_OPEN_TRAINS)) != 0) {
        return error_set(err, U2I_EINVAL, "options have unknown flags 0x%x", o.flags);
    }
    const struct engine_options eo = {.location = location,
                                      .flags = o.flags,
                                      .dim = o.dim,
                                      .model = o.model,
                                      .clock = clock_system(),
                                      .log = {o.log, o.log_ctx}};
    return api_end(handle_open(&eo, out, err), err);
}

int u2i_close(u2i_t *u) {
    return u == NULL ? U2I_OK : handle_close(u);
}

/* ---- Items ---------------------------------------------------------------------------------- */

int u2i_put_items(u2i_t *u, const u2i_item_t *items, size_t n, size_t item_size, u2i_error_t *err) {
    const struct check_array a = {items, n, item_size, sizeof(*items), "items"};
    const void *all;
    void *copy;
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_array(&a, &all, &copy, err));
    int rc = check_items(all, n, handle_dim(u), err);
    if (rc == U2I_OK && n > 0) {
        struct handle_call c = handle_start(u, err);
        while (handle_next(&c)) {
            c.rc = engine_put_items(c.engine, all, n, err);
        }
        rc = c.rc;
    }
    mem_free(copy);
    return api_end(rc, err);
}

int u2i_get_item(u2i_t *u, const char *id, u2i_item_t **out, u2i_error_t *err) {
    if (out == NULL) {
        return api_missing("out", err);
    }
    *out = NULL;
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_id(id, "id", -1, err));
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_get_item(c.engine, id, out, err);
    }
    return api_end(c.rc, err);
}

void u2i_item_free(u2i_item_t *item) {
    mem_free(item); /* one block: engine/items.c */
}

int u2i_delete_items(u2i_t *u, const char *const *ids, size_t n, size_t *deleted,
                     u2i_error_t *err) {
    size_t ignored;
    deleted = deleted == NULL ? &ignored : deleted;
    *deleted = 0;
    U2I_TRY(api_begin(u, err));
    if (ids == NULL && n > 0) {
        return api_missing("ids", err);
    }
    if (n > U2I_BATCH_MAX) {
        return error_set(err, U2I_EINVAL, "%zu ids in one call, the limit is %d", n, U2I_BATCH_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        U2I_TRY(check_id(ids[i], "id", (int32_t)i, err));
    }
    if (n == 0) {
        return U2I_OK;
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_delete_items(c.engine, ids, n, deleted, err);
    }
    return api_end(c.rc, err);
}

int u2i_scan_items(u2i_t *u, u2i_item_fn fn, void *ctx, u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    if (fn == NULL) {
        return api_missing("fn", err);
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_scan_items(c.engine, fn, ctx, err);
    }
    return api_end(c.rc, err);
}

/* ---- Events --------------------------------------------------------------------------------- */

int u2i_record(u2i_t *u, const u2i_event_t *events, size_t n, size_t event_size, size_t *recorded,
               u2i_error_t *err) {
    const struct check_array a = {events, n, event_size, sizeof(*events), "events"};
    const void *all;
    void *copy;
    size_t ignored;
    recorded = recorded == NULL ? &ignored : recorded;
    *recorded = 0;
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_array(&a, &all, &copy, err));
    int rc = check_events(all, n, NULL, err);
    if (rc == U2I_OK && n > 0) {
        struct handle_call c = handle_start(u, err);
        while (handle_next(&c)) {
            c.rc = engine_record(c.engine, all, n, recorded, err);
        }
        rc = c.rc;
    }
    mem_free(copy);
    return api_end(rc, err);
}

int u2i_scan_events(u2i_t *u, const char *user, size_t limit, u2i_event_fn fn, void *ctx,
                    u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    if (fn == NULL) {
        return api_missing("fn", err);
    }
    if (user != NULL) {
        U2I_TRY(check_id(user, "user", -1, err));
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_scan_events(c.engine, user, limit, fn, ctx, err);
    }
    return api_end(c.rc, err);
}

int u2i_update_user_profile(u2i_t *u, const u2i_interactions_t *in, size_t *used,
                            u2i_error_t *err) {
    u2i_interactions_t own;
    const void *all;
    void *copy;
    size_t ignored;
    used = used == NULL ? &ignored : used;
    *used = 0;
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_struct(in, sizeof(own), "interactions", &own, err));
    U2I_TRY(check_id(own.user, "user", -1, err));
    if (!(own.decay >= 0 && own.decay < 1)) {
        return error_set(err, U2I_EINVAL, "decay %g must be 0 (none), or over 0 and under 1",
                         own.decay);
    }
    const struct check_array a = {own.events, own.n, own.event_size, sizeof(*own.events), "events"};
    U2I_TRY(check_array(&a, &all, &copy, err));
    int rc = check_events(all, own.n, own.user, err);
    if (rc == U2I_OK) {
        own.events = all;
        struct handle_call c = handle_start(u, err);
        while (handle_next(&c)) {
            c.rc = engine_update_user_profile(c.engine, &own, used, err);
        }
        rc = c.rc;
    }
    mem_free(copy);
    return api_end(rc, err);
}

/* ---- Users ---------------------------------------------------------------------------------- */

int u2i_put_users(u2i_t *u, const u2i_user_t *users, size_t n, size_t user_size, u2i_error_t *err) {
    const struct check_array a = {users, n, user_size, sizeof(*users), "users"};
    const void *all;
    void *copy;
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_array(&a, &all, &copy, err));
    int rc = check_users(all, n, err);
    if (rc == U2I_OK && n > 0) {
        struct handle_call c = handle_start(u, err);
        while (handle_next(&c)) {
            c.rc = engine_put_users(c.engine, all, n, err);
        }
        rc = c.rc;
    }
    mem_free(copy);
    return api_end(rc, err);
}

int u2i_get_user(u2i_t *u, const char *id, u2i_user_t **out, u2i_error_t *err) {
    if (out == NULL) {
        return api_missing("out", err);
    }
    *out = NULL;
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_id(id, "id", -1, err));
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_get_user(c.engine, id, out, err);
    }
    return api_end(c.rc, err);
}

void u2i_user_free(u2i_user_t *user) {
    mem_free(user); /* one block: engine/items.c */
}

int u2i_delete_user(u2i_t *u, const char *id, u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_id(id, "id", -1, err));
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_delete_user(c.engine, id, err);
    }
    return api_end(c.rc, err);
}

int u2i_scan_users(u2i_t *u, u2i_user_fn fn, void *ctx, u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    if (fn == NULL) {
        return api_missing("fn", err);
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_scan_users(c.engine, fn, ctx, err);
    }
    return api_end(c.rc, err);
}

/* ---- Asking --------------------------------------------------------------------------------- */

/* The fields without which a question makes no sense. */
static int api_check_question(enum engine_question what, const u2i_query_t *q, uint32_t dim,
                              u2i_error_t *err) {
    switch (what) {
    case ENGINE_SIMILAR_ITEMS:
        return q->item == NULL ? api_missing("item", err) : U2I_OK;
    case ENGINE_SIMILAR_USERS:
        return q->user == NULL ? api_missing("user", err) : U2I_OK;
    case ENGINE_SEARCH:
        if ((q->text == NULL) == (q->vector == NULL)) {
            return error_set(err, U2I_EINVAL, "search needs either text or vector");
        }
        return q->vector == NULL || vec_finite(q->vector, dim)
                   ? U2I_OK
                   : error_set(err, U2I_EINVAL, "vector has a NaN or an infinity in it");
    case ENGINE_RECOMMEND:
    case ENGINE_POPULAR:
        return U2I_OK;
    }
    return U2I_OK;
}

static int api_ask(u2i_t *u, enum engine_question what, const u2i_query_t *in, u2i_result_t **out,
                   u2i_error_t *err) {
    u2i_query_t q;
    if (out == NULL) {
        return api_missing("out", err);
    }
    *out = NULL;
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_struct(in, sizeof(q), "query", &q, err));
    U2I_TRY(check_query(&q, err));
    U2I_TRY(api_check_question(what, &q, handle_dim(u), err));
    const struct check_array a = {q.session, q.session_n, q.session_size, sizeof(*q.session),
                                  "session"};
    const void *session = NULL;
    void *copy = NULL;
    if (q.session_n > 0) {
        U2I_TRY(check_array(&a, &session, &copy, err));
    }
    q.session = session;
    int rc = check_events(session, q.session_n, "a visitor", err); /* theirs is not looked at */
    if (rc == U2I_OK) {
        struct handle_call c = handle_start(u, err);
        while (handle_next(&c)) {
            c.rc = engine_ask(c.engine, what, &q, out, err);
        }
        rc = c.rc;
    }
    mem_free(copy);
    return api_end(rc, err);
}

int u2i_recommend(u2i_t *u, const u2i_query_t *q, u2i_result_t **out, u2i_error_t *err) {
    return api_ask(u, ENGINE_RECOMMEND, q, out, err);
}

int u2i_popular(u2i_t *u, const u2i_query_t *q, u2i_result_t **out, u2i_error_t *err) {
    return api_ask(u, ENGINE_POPULAR, q, out, err);
}

int u2i_similar_items(u2i_t *u, const u2i_query_t *q, u2i_result_t **out, u2i_error_t *err) {
    return api_ask(u, ENGINE_SIMILAR_ITEMS, q, out, err);
}

int u2i_similar_users(u2i_t *u, const u2i_query_t *q, u2i_result_t **out, u2i_error_t *err) {
    return api_ask(u, ENGINE_SIMILAR_USERS, q, out, err);
}

int u2i_search(u2i_t *u, const u2i_query_t *q, u2i_result_t **out, u2i_error_t *err) {
    return api_ask(u, ENGINE_SEARCH, q, out, err);
}

size_t u2i_result_count(const u2i_result_t *r) {
    return engine_result_count(r);
}

const u2i_hit_t *u2i_result_hit(const u2i_result_t *r, size_t i) {
    return engine_result_hit(r, i);
}

const u2i_explain_t *u2i_result_explain(const u2i_result_t *r) {
    return engine_result_explain(r);
}

void u2i_result_free(u2i_result_t *r) {
    engine_result_free(r);
}

/* ---- Settings and care ------------------------------------------------------------------------ */

int u2i_scan_settings(u2i_t *u, u2i_setting_fn fn, void *ctx, u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    if (fn == NULL) {
        return api_missing("fn", err);
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_scan_settings(c.engine, fn, ctx, err);
    }
    return api_end(c.rc, err);
}

int u2i_get_setting(u2i_t *u, const char *name, char *value, size_t value_bytes, u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    if (name == NULL || value == NULL) {
        return api_missing(name == NULL ? "name" : "value", err);
    }
    if (value_bytes > 0) {
        value[0] = '\0';
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_get_setting(c.engine, name, value, value_bytes, err);
    }
    return api_end(c.rc, err);
}

int u2i_set_setting(u2i_t *u, const char *name, const char *value, u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    if (name == NULL) {
        return api_missing("name", err);
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_set_setting(c.engine, name, value, err);
    }
    return api_end(c.rc, err);
}

int u2i_use_preset(u2i_t *u, const char *name, u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    if (name == NULL) {
        return api_missing("name", err);
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = preset_use(c.engine, name, err);
    }
    return api_end(c.rc, err);
}

void u2i_scan_presets(u2i_preset_fn fn, void *ctx) {
    const struct preset *p = preset_at(0);
    for (size_t i = 0; p != NULL && fn(ctx, p->name, p->help) == 0; p = preset_at(++i)) {
    }
}

int u2i_stats(u2i_t *u, u2i_stats_t *out, u2i_error_t *err) {
    u2i_stats_t full;
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_struct(out, sizeof(full), "stats", &full, err));
    const size_t size = full.struct_size;
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_stats(c.engine, &full, err);
    }
    U2I_TRY(c.rc);
    memcpy(out, &full, size); /* as much as the caller's struct has room for */
    return api_end(U2I_OK, err);
}

int u2i_verify(u2i_t *u, u2i_fault_fn fn, void *ctx, size_t *faults, u2i_error_t *err) {
    size_t ignored;
    faults = faults == NULL ? &ignored : faults;
    *faults = 0;
    U2I_TRY(api_begin(u, err));
    if (fn == NULL) {
        return api_missing("fn", err);
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_verify(c.engine, fn, ctx, faults, err);
    }
    return api_end(c.rc, err);
}

int u2i_reembed(u2i_t *u, u2i_progress_fn progress, void *ctx, u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_reembed(c.engine, progress, ctx, err);
    }
    return api_end(c.rc, err);
}

int u2i_reembed_to(u2i_t *u, const u2i_reembed_options_t *opt, u2i_error_t *err) {
    u2i_reembed_options_t o;
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_struct(opt, sizeof(o), "reembed options", &o, err));
    if (o.dim > U2I_DIM_MAX) {
        return error_set(err, U2I_EINVAL, "dim %u is over %d", o.dim, U2I_DIM_MAX);
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_reembed_to(c.engine, &o, err);
    }
    return api_end(c.rc, err);
}

int u2i_embed(u2i_t *u, const u2i_embedding_t *what, u2i_error_t *err) {
    u2i_embedding_t full;
    const void *texts;
    void *copy;
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_struct(what, sizeof(full), "embedding", &full, err));
    const struct check_array a = {full.texts, full.n, full.text_size, sizeof(*full.texts), "texts"};
    if (full.vectors == NULL && full.n > 0) {
        return api_missing("vectors", err);
    }
    U2I_TRY(check_array(&a, &texts, &copy, err));
    full.texts = texts;
    int rc = check_texts(texts, full.n, err);
    if (rc == U2I_OK) {
        struct handle_call c = handle_start(u, err);
        while (handle_next(&c)) {
            c.rc = engine_embed(c.engine, &full, err);
        }
        rc = c.rc;
    }
    mem_free(copy);
    return api_end(rc, err);
}

/* ---- Training ------------------------------------------------------------------------------- */

int u2i_train(u2i_t *u, const u2i_train_options_t *opt, u2i_error_t *err) {
    const u2i_train_options_t defaults = U2I_TRAIN_OPTIONS_INIT;
    u2i_train_options_t o;
    U2I_TRY(api_begin(u, err));
    U2I_TRY(check_struct(opt == NULL ? &defaults : opt, sizeof(o), "train options", &o, err));
    if (o.now_ms < 0) {
        return error_set(err, U2I_EINVAL, "now_ms is before 1970");
    }
    if (o.check != NULL && strcmp(o.check, "time") != 0 && strcmp(o.check, "users") != 0) {
        return error_set(err, U2I_EINVAL, "check is \"%.32s\", but must be \"time\" or \"users\"",
                         o.check);
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_train(c.engine, &o, err);
    }
    return api_end(c.rc, err);
}

int u2i_untrain(u2i_t *u, int all, u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_untrain(c.engine, all != 0, err);
    }
    return api_end(c.rc, err);
}

int u2i_scan_training(u2i_t *u, u2i_figure_fn fn, void *ctx, u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    if (fn == NULL) {
        return api_missing("fn", err);
    }
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_scan_training(c.engine, fn, ctx, err);
    }
    return api_end(c.rc, err);
}

int u2i_build_index(u2i_t *u, u2i_progress_fn progress, void *ctx, u2i_error_t *err) {
    U2I_TRY(api_begin(u, err));
    struct handle_call c = handle_start(u, err);
    while (handle_next(&c)) {
        c.rc = engine_build_index(c.engine, progress, ctx, err);
    }
    return api_end(c.rc, err);
}
