/* What follows what: M[a][b] = sum of 1/gap over the events of b that follow one of a within a window,
 * in one user's order of time, and `backward` of it the other way round, over the events of a and (events of b)^beta.
 *
 * Events are sorted by user and time once. A row of M is then read off around each place where its item stands,
 * into one row of sums per thread: no pairs are stored, so memory is that of the events and of the result,
 * and a user of any length costs 2 x window per event. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include <assert.h>
#include <math.h>

#define SEQUENCE_WINDOW   10u
#define SEQUENCE_BACKWARD .5
#define SEQUENCE_BETA     .4
#define SEQUENCE_ITEMS    64u /* of one task */
#define SEQUENCE_USERS    1024u

/* One event in order; `tie` orders equal times at random. */
struct sequence_event {
    int64_t time_ms;
    uint64_t tie;
    uint32_t user, item;
};
struct sequence_pair {
    uint32_t id;
    float value;
};
/* The rows of one task, one after another. */
struct sequence_part {
    struct sequence_pair *pairs;
    size_t n, cap;
    uint32_t sizes[SEQUENCE_ITEMS];
};
/* Sums of one thread: of each item; which items have any. */
struct sequence_sums {
    double *of;
    uint32_t *touched;
    uint32_t n;
};
struct sequence {
    struct sequence_event *events;
    size_t n;
    uint32_t items, window, keep;
    double backward, beta;
    uint64_t *starts; /* of an item's places */
    uint32_t *places; /* in events */
    struct sequence_sums *sums;
    struct sequence_part *parts;
    uint64_t *users; /* where users' events begin */
    uint64_t users_n;
};

/* ---- Sorting ---------------------------------------------------------------------------------- */

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

/* ---- Rows ----------------------------------------------------------------------------------------- */

static void sequence_add(struct sequence_sums *sums, uint32_t item, double value) {
    if (sums->of[item] == 0) {
        sums->touched[sums->n++] = item;
    }
    sums->of[item] += value;
}

/* Around one place of the item: the events after it, and, at less weight, those before. */
static void sequence_around(const struct sequence *s, size_t place, struct sequence_sums *sums) {
    const struct sequence_event *const e = &s->events[place];
    for (size_t gap = 1; gap <= s->window && place + gap < s->n && e[gap].user == e->user; gap++) {
        if (e[gap].time_ms != e->time_ms && e[gap].item != e->item) {
            sequence_add(sums, e[gap].item, 1.0 / (double)gap);
        }
    }
    for (size_t gap = 1; s->backward > 0 && gap <= s->window && gap <= place; gap++) {
        const struct sequence_event *const before = e - gap;
        if (before->user != e->user) {
            break;
        }
        if (before->time_ms != e->time_ms && before->item != e->item) {
            sequence_add(sums, before->item, s->backward / (double)gap);
        }
    }
}

static int sequence_larger_first(const void *a, const void *b) {
    const struct sequence_pair *const x = a;
    const struct sequence_pair *const y = b;
    if (x->value != y->value) {
        return x->value > y->value ? -1 : 1;
    }
    return x->id < y->id ? -1 : x->id > y->id;
}

static int sequence_lower_id_first(const void *a, const void *b) {
    const struct sequence_pair *const x = a;
    const struct sequence_pair *const y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The sums become the next row of the part, and zero again. */
static int sequence_emit(const struct sequence *s, uint32_t item, struct sequence_sums *sums,
                         struct sequence_part *part, uint32_t *size) {
    const double own = (double)(s->starts[item + 1] - s->starts[item]);
    U2I_TRY(array_reserve(&part->pairs, &part->cap, part->n + sums->n, sizeof *part->pairs));
    struct sequence_pair *const row = part->pairs + part->n;
    for (uint32_t i = 0; i < sums->n; i++) {
        const uint32_t id = sums->touched[i];
        const double events = (double)(s->starts[id + 1] - s->starts[id]);
        row[i] = (struct sequence_pair){id, (float)(sums->of[id] / own * pow(events, -s->beta))};
        sums->of[id] = 0;
    }
    uint32_t n = sums->n;
    sums->n = 0;
    if (s->keep > 0 && n > s->keep) {
        qsort(row, n, sizeof *row, sequence_larger_first);
        n = s->keep;
    }
    if (n > 1) {
        qsort(row, n, sizeof *row, sequence_lower_id_first);
    }
    part->n += n;
    *size = n;
    return U2I_OK;
}

static int sequence_rows(void *ctx, uint64_t task, unsigned worker) {
    struct sequence *const s = ctx;
    struct sequence_sums *const sums = &s->sums[worker];
    struct sequence_part *const part = &s->parts[task];
    if (sums->of == NULL) {
        sums->of = mem_zalloc((size_t)s->items * sizeof *sums->of);
        sums->touched = alloc_array(s->items, sizeof *sums->touched);
        if (sums->of == NULL || sums->touched == NULL) {
            return U2I_ENOMEM;
        }
    }
    const uint32_t begin = (uint32_t)task * SEQUENCE_ITEMS;
    for (uint32_t i = 0; i < SEQUENCE_ITEMS && i < s->items - begin; i++) {
        for (uint64_t k = s->starts[begin + i]; k < s->starts[begin + i + 1]; k++) {
            sequence_around(s, s->places[k], sums);
        }
        U2I_TRY(sequence_emit(s, begin + i, sums, part, &part->sizes[i]));
    }
    return U2I_OK;
}

static int sequence_join(const struct sequence *s, uint64_t parts, struct train_matrix **out) {
    uint64_t n = 0;
    for (uint64_t p = 0; p < parts; p++) {
        n += s->parts[p].n;
    }
    struct train_matrix *const m = train_matrix_alloc(s->items, s->items, n);
    if (m == NULL) {
        return U2I_ENOMEM;
    }
    uint64_t to = 0;
    for (uint32_t row = 0; row < s->items; row++) {
        m->starts[row + 1] =
            m->starts[row] + s->parts[row / SEQUENCE_ITEMS].sizes[row % SEQUENCE_ITEMS];
    }
    for (uint64_t p = 0; p < parts; p++) {
        for (size_t i = 0; i < s->parts[p].n; i++) {
            m->ids[to] = s->parts[p].pairs[i].id;
            m->values[to++] = s->parts[p].pairs[i].value;
        }
    }
    assert(to == m->starts[s->items]);
    *out = m;
    return U2I_OK;
}

/* ---- All of it ------------------------------------------------------------------------------------ */

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
    const uint64_t item_tasks = ((uint64_t)s->items + SEQUENCE_ITEMS - 1) / SEQUENCE_ITEMS;
    U2I_TRY(train_crew_step(crew, user_tasks + item_tasks));
    U2I_TRY(train_crew_run(crew, user_tasks, sequence_sort_users, s));
    U2I_TRY(sequence_place_items(s));
    s->sums = mem_zalloc(crew->threads * sizeof *s->sums);
    s->parts = mem_zalloc((size_t)item_tasks * sizeof *s->parts);
    int rc = s->sums == NULL || s->parts == NULL ? U2I_ENOMEM : U2I_OK;
    if (rc == U2I_OK) {
        rc = train_crew_run(crew, item_tasks, sequence_rows, s);
    }
    if (rc == U2I_OK) {
        rc = sequence_join(s, item_tasks, out);
    }
    for (unsigned i = 0; s->sums != NULL && i < crew->threads; i++) {
        mem_free(s->sums[i].of);
        mem_free(s->sums[i].touched);
    }
    for (uint64_t p = 0; s->parts != NULL && p < item_tasks; p++) {
        mem_free(s->parts[p].pairs);
    }
    return rc;
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
    mem_free(s.parts);
    mem_free(s.sums);
    mem_free(s.places);
    mem_free(s.starts);
    mem_free(s.users);
    mem_free(s.events);
    return rc;
}
