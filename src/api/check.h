/* What the public calls are given, checked once, here: strings, sizes, numbers. Everything below
 * may rely on it. Thread-safe. */
#ifndef U2I_API_CHECK_H
#define U2I_API_CHECK_H

#include "u2i.h"
#include <stdbool.h>

/* A string of 1 (0 if `optional`, and then it may be NULL) to `max` bytes of UTF-8. `what` names it in
 * the message; `index` is the element of a batch, or -1. U2I_EINVAL. */
struct check {
    const char *what;
    size_t max;
    bool optional;
};
int check_string(const char *s, struct check rule, int32_t index, u2i_error_t *err);
int check_id(const char *id, const char *what, int32_t index, u2i_error_t *err);

/* An array of caller's structs as one of ours: `size` bytes each in, `own` bytes each out, missing
 * tails filled with 0. *copy is NULL if `in` can be used as it is, else on the heap. U2I_EVERSION when
 * the caller's struct is larger than ours, U2I_EINVAL for no or too many elements. */
struct check_array {
    const void *in;
    size_t n, size, own;
    const char *what;
};
int check_array(const struct check_array *a, const void **out, void **copy, u2i_error_t *err);
/* The same for one struct that begins with its size. */
int check_struct(const void *in, size_t own, const char *what, void *out, u2i_error_t *err);

int check_items(const u2i_item_t *items, size_t n, uint32_t dim, u2i_error_t *err);
int check_users(const u2i_user_t *users, size_t n, u2i_error_t *err);
int check_texts(const u2i_text_t *texts, size_t n, u2i_error_t *err);
/* With `user` the events are of that one. */
int check_events(const u2i_event_t *events, size_t n, const char *user, u2i_error_t *err);
/* Lengths, UTF-8, limits; fills in the default limit. */
int check_query(u2i_query_t *q, u2i_error_t *err);

#endif
