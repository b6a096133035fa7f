/* Puts the modules together: what the public calls mean, on any store. Arguments have been checked by
 * api/ (lengths, UTF-8, finite numbers, struct sizes); whatever depends on the store's content or
 * settings is checked here. Functions mirror those of u2i.h, which documents them.
 *
 * May be called from any number of threads, engine_open() and engine_close() aside. */
#ifndef U2I_ENGINE_ENGINE_H
#define U2I_ENGINE_ENGINE_H

#include "base/clock.h"
#include "base/log.h"
#include "u2i.h"
#include <stdbool.h>

struct engine;

struct engine_options {
    const char *location;
    uint32_t flags;
    uint32_t dim;
    const char *model;
    uint32_t caller_dim; /* the vectors' length as the caller knows it; 0 = the store's */
    const struct clock *clock;
    struct log log;
};

/* Each function may also say STORE_MOVED (store.h): some process has put vectors of another model in use. It has done
 * nothing then, nor will this engine do anything any more: who goes on opens another one. */
int engine_open(const struct engine_options *opt, struct engine **out, u2i_error_t *err);
int engine_close(struct engine *e);
const char *engine_location(const struct engine *e); /* the file's whole path; NULL: in memory */
uint32_t engine_dim(const struct engine *e);         /* as the caller knows it */

int engine_put_items(struct engine *e, const u2i_item_t *items, size_t n, u2i_error_t *err);
int engine_get_item(struct engine *e, const char *id, u2i_item_t **out, u2i_error_t *err);
int engine_delete_items(struct engine *e, const char *const *ids, size_t n, size_t *deleted,
                        u2i_error_t *err);
int engine_scan_items(struct engine *e, u2i_item_fn fn, void *ctx, u2i_error_t *err);
int engine_reembed(struct engine *e, u2i_progress_fn progress, void *ctx, u2i_error_t *err);
int engine_reembed_to(struct engine *e, const u2i_reembed_options_t *opt, u2i_error_t *err);

/* The texts' vectors, n x dim floats; U2I_EINVAL if dim is not the store's. */
int engine_embed(struct engine *e, const u2i_embedding_t *what, u2i_error_t *err);

int engine_record(struct engine *e, const u2i_event_t *events, size_t n, size_t *recorded,
                  u2i_error_t *err);
int engine_scan_events(struct engine *e, const char *user, size_t limit, u2i_event_fn fn, void *ctx,
                       u2i_error_t *err);
int engine_update_user_profile(struct engine *e, const u2i_interactions_t *in, size_t *used,
                               u2i_error_t *err);

int engine_put_users(struct engine *e, const u2i_user_t *users, size_t n, u2i_error_t *err);
int engine_get_user(struct engine *e, const char *id, u2i_user_t **out, u2i_error_t *err);
int engine_delete_user(struct engine *e, const char *id, u2i_error_t *err);
int engine_scan_users(struct engine *e, u2i_user_fn fn, void *ctx, u2i_error_t *err);

enum engine_question {
    ENGINE_RECOMMEND,
    ENGINE_POPULAR,
    ENGINE_SIMILAR_ITEMS,
    ENGINE_SIMILAR_USERS,
    ENGINE_SEARCH
};
int engine_ask(struct engine *e, enum engine_question what, const u2i_query_t *q,
               u2i_result_t **out, u2i_error_t *err);
size_t engine_result_count(const u2i_result_t *r);
const u2i_hit_t *engine_result_hit(const u2i_result_t *r, size_t i);
const u2i_explain_t *engine_result_explain(const u2i_result_t *r);
void engine_result_free(u2i_result_t *r);

int engine_scan_settings(struct engine *e, u2i_setting_fn fn, void *ctx, u2i_error_t *err);
int engine_get_setting(struct engine *e, const char *name, char *value, size_t value_bytes,
                       u2i_error_t *err);
int engine_set_setting(struct engine *e, const char *name, const char *value, u2i_error_t *err);

int engine_train(struct engine *e, const u2i_train_options_t *opt, u2i_error_t *err);
int engine_untrain(struct engine *e, bool all, u2i_error_t *err);
int engine_scan_training(struct engine *e, u2i_figure_fn fn, void *ctx, u2i_error_t *err);

int engine_stats(struct engine *e, u2i_stats_t *out, u2i_error_t *err);
int engine_build_index(struct engine *e, u2i_progress_fn progress, void *ctx, u2i_error_t *err);
int engine_verify(struct engine *e, u2i_fault_fn fn, void *ctx, size_t *faults, u2i_error_t *err);

/* The user's profile, dim floats of unit length, as the next answer would use it; U2I_ENOTFOUND for
 * an unknown user or one without a positive direction. For tests and measurements. */
int engine_profile(struct engine *e, const char *user, float *out, u2i_error_t *err);

#endif
