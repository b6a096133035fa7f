/* An answer as the caller gets it: everything lies in one arena that the result owns. */
#include "result.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/error.h"

struct u2i_result {
    struct arena arena;
    u2i_hit_t *hits;
    size_t n;
};

int result_new(size_t n, u2i_result_t **out, u2i_error_t *err) {
    u2i_result_t *r = mem_zalloc(sizeof(*r));
    *out = NULL;
    if (r == NULL) {
        return error_oom(err);
    }
    r->hits = arena_array(&r->arena, n, sizeof(*r->hits));
    if (r->hits == NULL) {
        engine_result_free(r);
        return error_oom(err);
    }
    *out = r;
    return U2I_OK;
}

static const char *result_string(u2i_result_t *r, const char *s) {
    return arena_dup(&r->arena, s, strlen(s));
}

int result_add(u2i_result_t *r, const u2i_hit_t *hit, u2i_error_t *err) {
    u2i_hit_t *h = &r->hits[r->n];
    *h = *hit;
    h->id = result_string(r, hit->id);
    h->title = result_string(r, hit->title == NULL ? "" : hit->title);
    h->category = result_string(r, hit->category == NULL ? "" : hit->category);
    h->attrs_json = result_string(r, hit->attrs_json == NULL ? "{}" : hit->attrs_json);
    if (hit->because != NULL) {
        h->because = result_string(r, hit->because);
        h->because_title = result_string(r, hit->because_title == NULL ? "" : hit->because_title);
        h->because_action =
            result_string(r, hit->because_action == NULL ? "" : hit->because_action);
    }
    const bool whole =
        h->id != NULL && h->title != NULL && h->category != NULL && h->attrs_json != NULL &&
        (hit->because == NULL ||
         (h->because != NULL && h->because_title != NULL && h->because_action != NULL));
    r->n += whole ? 1 : 0;
    return whole ? U2I_OK : error_oom(err);
}

size_t engine_result_count(const u2i_result_t *r) {
    return r == NULL ? 0 : r->n;
}

const u2i_hit_t *engine_result_hit(const u2i_result_t *r, size_t i) {
    return r == NULL || i >= r->n ? NULL : &r->hits[i];
}

void engine_result_free(u2i_result_t *r) {
    if (r != NULL) {
        arena_free(&r->arena);
        mem_free(r);
    }
}
