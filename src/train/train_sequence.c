/* What follows what: M[a][b] = sum of 1/gap over the events of b that follow one of a within a
 * window, in one user's order of time, and `backward` of it the other way round, over the events
 * of a and (events of b)^beta.
 *
 * Events are sorted by user and time once. A row of M is then read off around each place where
 * its item stands, into one row of sums per thread: no pairs are stored, so memory is that of
 * the events and of the result, and a user of any length costs 2 x window per event. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include <math.h>

#define SEQUENCE_WINDOW   10u
#define SEQUENCE_BACKWARD .5
#define SEQUENCE_BETA     .4
#define SEQUENCE_USERS    1024u

/* One event in order; `tie` orders equal times at random. */
struct sequence_event {
    int64_t time_ms;
    uint64_t tie;
    uint32_t user, item;
};
struct sequence {
    struct sequence_event *events;
    size_t n;
    uint32_t items, window, keep;
    double backward, beta;
    uint64_t *starts; /* of an item's places */
    uint32_t *places; /* in events */
    struct train_rows rows;
    uint64_t *users; /* where users' events begin */
    uint64_t users_n;
};

/* ---- Sorting --------------------------------------------------------------------------------- */

static int sequence_compare(const void *a, const void *b) {
    const struct sequence_event *const x = a;
    const struct sequence_event *const y = b;
    if (x->time_ms != y->time_ms) {
        return x->time_ms < y->time_ms ? -1 : 1;
    }
    if (x->tie != y->tie) {
        return x->tie < y->tie ? -1 : 1;
    }
    return x->item < y->item ? -1 : x->item > y->item;
}

/* Stable, by two bytes of the user from bit `shift` on. */
static void sequence_radix(const struct sequence_event *from, size_t n, int shift, uint64_t *counts,
                           struct sequence_event *to) {
    memset(counts, 0, ((size_t)UINT16_MAX + 2) * sizeof *counts);
    for (size_t i = 0; i < n; i++) {
        counts[(from[i].user >> shift & UINT16_MAX) + 1]++;
    }
    for (size_t i = 0; i <= UINT16_MAX; i++) {
        counts[i + 1] += counts[i];
    }
    for (size_t i = 0; i < n; i++) {
        to[counts[from[i].user >> shift & UINT16_MAX]++] = from[i];
    }
}

static int sequence_by_user(struct sequence *s) {
    struct sequence_event *const other = alloc_array(s->n, sizeof *other);
    uint64_t *const counts = alloc_array((size_t)UINT16_MAX + 2, sizeof *counts);
    const int rc = other == NULL || counts == NULL ? U2I_ENOMEM : U2I_OK;
    if (rc == U2I_OK) {
        sequence_radix(s->events, s->n, 0, counts, other);
        sequence_radix(other, s->n, 16, counts, s->events);
    }
    mem_free(counts);
    mem_free(other);
    return rc;
}

static int sequence_find_users(struct sequence *s) {
    size_t cap = 0;
    for (size_t i = 0; i <= s->n; i++) {
        if (i == 0 || i == s->n || s->events[i].user != s->events[i - 1].user) {
            U2I_TRY(array_reserve(&s->users, &cap, (size_t)s->users_n + 1, sizeof *s->users));
            s->users[s->users_n++] = i;
        }
    }
    return U2I_OK;
}

static int sequence_sort_users(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct sequence *const s = ctx;
    const uint64_t stop = (task + 1) * SEQUENCE_USERS;
    for (uint64_t u = task * SEQUENCE_USERS; u < stop && u + 1 < s->users_n; u++) {
        qsort(s->events + s->users[u], (size_t)(s->users[u + 1] - s->users[u]), sizeof *s->events,
              sequence_compare);
    }
    return U2I_OK;
}

static int sequence_place_items(struct sequence *s) {
    s->starts = mem_zalloc(((size_t)s->items + 1) * sizeof *s->starts);
    s->places = alloc_array(s->n, sizeof *s->places);
    if (s->starts == NULL || s->places == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < s->n; i++) {
        s->starts[s->events[i].item + 1]++;
    }
    for (uint32_t i = 0; i < s->items; i++) {
        s->starts[i + 1] += s->starts[i];
    }
    for (size_t i = 0; i < s->n; i++) {
        s->places[s->starts[s->events[i].item]++] = (uint32_t)i;
    }
    memmove(s->starts + 1, s->starts, s->items * sizeof *s->starts);
    s->starts[0] = 0;
    return U2I_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* Around one place of the item: the events after it, and, at less weight, those before. */
static void sequence_around(const struct sequence *s, size_t place, struct train_sums *sums) {
    const struct sequence_event *const e = &s->events[place];
    for (size_t gap = 1; gap <= s->window && place + gap < s->n && e[gap].user == e->user; gap++) {
        if (e[gap].time_ms != e->time_ms && e[gap].item != e->item) {
            train_sums_add(sums, e[gap].item, 1.0 / (double)gap);
        }
    }
    for (size_t gap = 1; s->backward > 0 && gap <= s->window && gap <= place; gap++) {
        const struct sequence_event *const before = e - gap;
        if (before->user != e->user) {
            break;
        }
        if (before->time_ms != e->time_ms && before->item != e->item) {
            train_sums_add(sums, before->item, s->backward / (double)gap);
        }
    }
}

/* The sums become the next row of the part, and zero again. */
static int sequence_emit(const struct sequence *s, uint32_t item, struct train_sums *sums,
                         struct train_part *part) {
    const double own = (double)(s->starts[item + 1] - s->starts[item]);
    struct train_pair *const row = train_part_room(part, sums->n);
    if (row == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t i = 0; i < sums->n; i++) {
        const uint32_t id = sums->touched[i];
        const double events = (double)(s->starts[id + 1] - s->starts[id]);
        row[i] = (struct train_pair){id, (float)(sums->of[id] / own * pow(events, -s->beta))};
        sums->of[id] = 0;
    }
    train_part_add(part, item % TRAIN_PART_ROWS, sums->n, s->keep);
    sums->n = 0;
    return U2I_OK;
}

static int sequence_rows(void *ctx, uint64_t task, unsigned worker) {
    struct sequence *const s = ctx;
    struct train_sums *const sums = train_rows_sums(&s->rows, worker);
    if (sums == NULL) {
        return U2I_ENOMEM;
    }
    const uint64_t end = (task + 1) * TRAIN_PART_ROWS;
    for (uint32_t item = (uint32_t)task * TRAIN_PART_ROWS; item < end && item < s->items; item++) {
        for (uint64_t k = s->starts[item]; k < s->starts[item + 1]; k++) {
            sequence_around(s, s->places[k], sums);
        }
        U2I_TRY(sequence_emit(s, item, sums, &s->rows.parts[task]));
    }
    return U2I_OK;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static int sequence_take(const struct train_event *events, size_t n, uint64_t seed,
                         struct sequence *s, u2i_error_t *err) {
    s->events = alloc_array(n, sizeof *s->events);
    if (s->events == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < n; i++) {
        const struct train_event *const e = &events[i];
        if (e->item >= s->items) {
            return error_set(err, U2I_EINVAL, "item %u is not below %u", e->item, s->items);
        }
        if (e->weight > 0) {
            const uint64_t place = hash_mix(seed ^ hash_mix((uint64_t)e->time_ms ^ e->user));
            s->events[s->n++] =
                (struct sequence_event){e->time_ms, hash_mix(place ^ e->item), e->user, e->item};
        }
    }
    return U2I_OK;
}

static int sequence_work(struct train_crew *crew, struct sequence *s, struct train_matrix **out) {
    U2I_TRY(sequence_by_user(s));
    U2I_TRY(sequence_find_users(s));
    const uint64_t user_tasks = (s->users_n + SEQUENCE_USERS - 1) / SEQUENCE_USERS;
    U2I_TRY(train_rows_begin(&s->rows, s->items, s->items, crew->threads));
    U2I_TRY(train_crew_step(crew, user_tasks + s->rows.tasks));
    U2I_TRY(train_crew_run(crew, user_tasks, sequence_sort_users, s));
    U2I_TRY(sequence_place_items(s));
    U2I_TRY(train_crew_run(crew, s->rows.tasks, sequence_rows, s));
    return train_rows_join(&s->rows, out);
}

int train_sequence(const struct train_event *events, size_t n, uint32_t items,
                   const struct train_sequence_options *opt, const struct train_work *work,
                   struct train_matrix **out, u2i_error_t *err) {
    *out = NULL;
    if (n > UINT32_MAX) {
        return error_set(err, U2I_EINVAL, "%zu events are over %u", n, UINT32_MAX);
    }
    struct sequence s = {.items = items, .keep = opt->keep};
    s.window = opt->window == 0 ? SEQUENCE_WINDOW : opt->window;
    s.backward = opt->backward < 0 ? SEQUENCE_BACKWARD : opt->backward;
    s.beta = opt->beta < 0 ? SEQUENCE_BETA : opt->beta;
    struct train_crew crew;
    train_crew_begin(&crew, work);
    int rc = sequence_take(events, n, opt->seed, &s, err);
    if (rc == U2I_OK) {
        rc = train_fail(err, sequence_work(&crew, &s, out));
    }
    train_crew_end(&crew);
    train_rows_end(&s.rows);
    mem_free(s.places);
    mem_free(s.starts);
    mem_free(s.users);
    mem_free(s.events);
    return rc;
}
