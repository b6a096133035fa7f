/* Property: a store on disk and the memory store cannot be told apart by what they answer.
 *
 * The same random writes go to both: items, vectors, events (late ones, repeated ids, unknown items),
 * users, settings, blobs, deletions, and batches that must be refused. The store on disk is written
 * through one of two handles on the same file, either of which is closed and opened again now and
 * then. In between, random questions are put to the memory store and to one of the handles; answers
 * are written out as text, with ids for rows, and must be equal. Vectors have only coordinates 0, +-1/4, +-1/2,
 * +-1, so that every inner product is exact, ties abound, and answers can be compared to the letter.
 *
 * Beside the answers, the listener is checked: a count of events per item that is kept from what the
 * listener says alone must agree with the log.
 *
 * U2I_SEED and U2I_STEPS in the environment repeat or prolong a run. */
#include "store_suite.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"

enum { DIM = 16, ROWS_MAX = 512, ITEMS = 60, USERS = 12, ROUNDS = 5 };

/* Counts of events per item row, kept by a listener. */
struct counts {
    int64_t by_item[ROWS_MAX];
    bool stale; /* a reset was heard */
};

struct handle {
    struct store *s;
    struct counts counts;
    uint64_t mark; /* the sequence at the world's last mark */
};

struct world {
    struct rng rng;
    uint64_t seed;
    size_t step;
    char dir[256], path[300];
    struct handle memory, disk[2];
    char op[64];          /* what the step does, for the report */
    struct buf want, got; /* the two answers */
    unsigned long writes, questions, reopened;
};

/* ---- Reporting ------------------------------------------------------------------------------------ */

static void give_up(const struct world *w, const char *what) {
    print_error("U2I_SEED=%" PRIu64 ", step %zu (%s): %s\n", w->seed, w->step, w->op, what);
    if (w->want.data != NULL && w->got.data != NULL) {
        size_t i = 0;
        while (w->want.data[i] != '\0' && w->want.data[i] == w->got.data[i]) {
            i++;
        }
        i = i > 200 ? i - 200 : 0;
        print_error("memory: ...%.600s\ndisk:   ...%.600s\n", w->want.data + i, w->got.data + i);
    }
    fail();
}

static void check_same_code(const struct world *w, int want, int got, const u2i_error_t *want_err,
                            const u2i_error_t *got_err) {
    if (want != got || (want != U2I_OK && want_err->offset != got_err->offset)) {
        char text[700];
        (void)snprintf(text, sizeof text, "memory says %s at %d (%s), disk says %s at %d (%s)",
                       u2i_rc_name(want), want_err->offset, want != U2I_OK ? want_err->msg : "",
                       u2i_rc_name(got), got_err->offset, got != U2I_OK ? got_err->msg : "");
        give_up(w, text);
    }
}

static void check_same_count(const struct world *w, size_t want, size_t got) {
    if (want != got) {
        char text[100];
        (void)snprintf(text, sizeof text, "memory counts %zu, disk counts %zu", want, got);
        give_up(w, text);
    }
}

/* ---- Listening ------------------------------------------------------------------------------------ */

static void count_events(void *ctx, const struct store_event_row *events, size_t n) {
    struct counts *c = ctx;
    for (size_t i = 0; i < n; i++) {
        assert_true(events[i].item < ROWS_MAX);
        c->by_item[events[i].item]++;
    }
}

static void discount_events(void *ctx, uint32_t user, const struct store_event_row *events,
                            size_t n) {
    (void)user;
    struct counts *c = ctx;
    for (size_t i = 0; i < n; i++) {
        assert_true(events[i].item < ROWS_MAX);
        c->by_item[events[i].item]--;
    }
}

static void note_reset(void *ctx) {
    ((struct counts *)ctx)->stale = true;
}

static int count_logged_event(void *ctx, const struct store_event *event,
                              const struct store_event_row *row) {
    (void)event;
    count_events(ctx, row, 1);
    return 0;
}

static void check_counts(const struct world *w, struct handle *h) {
    u2i_error_t err;
    struct counts logged = {.stale = false};
    SUITE_OK(h->s->ops->read_begin(h->s, &err)); /* takes in what others committed */
    h->s->ops->read_end(h->s);
    SUITE_OK(h->s->ops->scan_events(h->s, 0, count_logged_event, &logged, &err));
    if (!h->counts.stale && memcmp(&logged, &h->counts, sizeof logged) != 0) {
        give_up(w, "the listener's counts differ from the log");
    }
    h->counts = logged;
}

/* ---- Opening -------------------------------------------------------------------------------------- */

static struct store_options world_options(struct counts *counts) {
    struct store_options opt = {.dim = DIM, .model = "none", .clock = clock_system()};
    opt.listener = (struct store_listener){.ctx = counts,
                                           .events = count_events,
                                           .user_deleted = discount_events,
                                           .reset = note_reset};
    return opt;
}

static void open_disk(struct world *w, struct handle *h) {
    u2i_error_t err;
    const struct store_options opt = world_options(&h->counts);
    SUITE_OK(store_sqlite_open(w->path, &opt, &h->s, &err));
    h->counts.stale = true; /* what was there before was not told */
}

static void open_world(struct world *w) {
    u2i_error_t err;
    suite_make_dir(w->dir, sizeof w->dir);
    (void)snprintf(w->path, sizeof w->path, "%s/store.db", w->dir);
    w->memory = w->disk[0] = w->disk[1] = (struct handle){0};
    const struct store_options opt = world_options(&w->memory.counts);
    SUITE_OK(store_memory_open(&opt, &w->memory.s, &err));
    open_disk(w, &w->disk[0]);
    open_disk(w, &w->disk[1]);
    /* Not about power cuts: no need to wait for the disk. */
    SUITE_OK(w->memory.s->ops->put_setting(w->memory.s, "durability", "normal", &err));
    SUITE_OK(w->disk[0].s->ops->put_setting(w->disk[0].s, "durability", "normal", &err));
}

static void close_world(struct world *w) {
    assert_int_equal(w->memory.s->ops->close(w->memory.s), U2I_OK);
    assert_int_equal(w->disk[0].s->ops->close(w->disk[0].s), U2I_OK);
    assert_int_equal(w->disk[1].s->ops->close(w->disk[1].s), U2I_OK);
    suite_remove_dir(w->dir);
}

/* ---- Random things -------------------------------------------------------------------------------- */

static uint32_t below(struct world *w, uint32_t n) {
    return rng_below(&w->rng, n);
}
static bool chance(struct world *w, uint32_t percent) {
    return below(w, 100) < percent;
}
static struct store *any_disk(struct world *w) {
    return w->disk[below(w, 2)].s;
}

/* Some ids are plain, some are made to break whatever pastes strings. */
static const char *item_id(uint32_t i, char out[64]) {
    static const char *const tails[] = {"", "'", "\"", "%", "\xe4\xb9\xa6", " --", "\\", "_"};
    (void)snprintf(out, 64, "i%u%s", i, tails[i % 8]);
    return out;
}
static const char *user_id(uint32_t i, char out[64]) {
    (void)snprintf(out, 64, i % 3 == 0 ? "u%u'; drop" : "u%u", i);
    return out;
}

static void random_vector(struct world *w, float v[DIM]) {
    static const uint32_t filled[] = {1, 4, 16}; /* of which each is 1, 1/2, 1/4: unit length */
    const uint32_t n = filled[below(w, 3)];
    const float size = n == 1 ? 1.0f : n == 4 ? 0.5f : 0.25f;
    memset(v, 0, DIM * sizeof *v);
    for (uint32_t left = n; left > 0;) {
        const uint32_t i = n == DIM ? left - 1 : below(w, DIM);
        if (v[i] == 0) {
            v[i] = chance(w, 30) ? -size : size;
            left--;
        }
    }
}

static const char *random_attrs(struct world *w, char *out, size_t bytes) {
    switch (below(w, 6)) {
    case 0:
        return NULL;
    case 1:
        return "{}";
    case 2:
        (void)snprintf(out, bytes, "{\"price\": \"%u\", \"a\": {\"b\": %u}}", below(w, 9),
                       below(w, 3));
        return out;
    case 3:
        (void)snprintf(out, bytes, "{\"price\": null, \"tags\": [\"t%u\", \"t%u\"]}", below(w, 4),
                       below(w, 4));
        return out;
    case 4:
        (void)snprintf(out, bytes, "{\"price\": %u.5, \"new\": %s, \"tags\": []}", below(w, 9),
                       chance(w, 50) ? "true" : "false");
        return out;
    default:
        (void)snprintf(out, bytes, "{\"price\": %u, \"tags\": [\"t%u\"]}", below(w, 9),
                       below(w, 4));
        return out;
    }
}

static const char *random_category(struct world *w) {
    static const char *const names[] = {NULL, "", "book", "film", "kids' \"stuff\""};
    return names[below(w, 5)];
}

/* n different numbers below `range`. */
static void random_numbers(struct world *w, uint32_t *out, size_t n, uint32_t range) {
    const uint32_t first = below(w, range), stride = 1 + below(w, 3);
    for (size_t i = 0; i < n; i++) {
        out[i] = (first + (uint32_t)i * stride) % range;
    }
}

/* ---- Writes --------------------------------------------------------------------------------------- */

enum { BATCH = 6 };

static void write_items(struct world *w) {
    struct store_item items[BATCH];
    char ids[BATCH][64], titles[BATCH][64], attrs[BATCH][128];
    float vectors[BATCH][DIM];
    uint32_t numbers[BATCH];
    const size_t n = 1 + below(w, BATCH);
    random_numbers(w, numbers, n, ITEMS);
    for (size_t i = 0; i < n; i++) {
        random_vector(w, vectors[i]);
        (void)snprintf(titles[i], sizeof titles[i], "title %u", below(w, 1000));
        items[i] = (struct store_item){.id = item_id(numbers[i], ids[i]),
                                       .title = chance(w, 80) ? titles[i] : NULL,
                                       .text = chance(w, 20) ? "text" : NULL,
                                       .category = random_category(w),
                                       .attrs_json = random_attrs(w, attrs[i], sizeof attrs[i]),
                                       .vector = chance(w, 85) ? vectors[i] : NULL,
                                       .embedding = below(w, 3)};
    }
    if (chance(w, 5)) {
        items[below(w, (uint32_t)n)].attrs_json = "{\"price\": 1,}"; /* the batch is refused */
    }
    u2i_error_t a = {0}, b = {0};
    struct store *disk = any_disk(w);
    const int want = w->memory.s->ops->put_items(w->memory.s, items, n, &a);
    check_same_code(w, want, disk->ops->put_items(disk, items, n, &b), &a, &b);
}

static void write_deleted_items(struct world *w) {
    char ids[BATCH][64];
    const char *names[BATCH];
    const size_t n = 1 + below(w, 3);
    for (size_t i = 0; i < n; i++) {
        names[i] = item_id(below(w, ITEMS + 5), ids[i]);
    }
    u2i_error_t a = {0}, b = {0};
    size_t want_n = 0, got_n = 0;
    struct store *disk = any_disk(w);
    const int want = w->memory.s->ops->delete_items(w->memory.s, names, n, &want_n, &a);
    check_same_code(w, want, disk->ops->delete_items(disk, names, n, &got_n, &b), &a, &b);
    check_same_count(w, want_n, got_n);
}

/* Rows differ between the stores, so each is told its own. */
static int put_vectors_by_id(struct store *s, const uint32_t *numbers, const float *vectors,
                             size_t n, u2i_error_t *err) {
    uint32_t rows[BATCH];
    U2I_TRY(s->ops->read_begin(s, err));
    for (size_t i = 0; i < n; i++) {
        char id[64];
        rows[i] = s->ops->item_row(s, item_id(numbers[i], id));
    }
    s->ops->read_end(s);
    return s->ops->put_vectors(s, rows, vectors, n, 9, err);
}

static void write_vectors(struct world *w) {
    float vectors[BATCH * DIM];
    uint32_t numbers[BATCH];
    const size_t n = 1 + below(w, BATCH);
    random_numbers(w, numbers, n, ITEMS);
    for (size_t i = 0; i < n; i++) {
        random_vector(w, vectors + i * DIM);
    }
    u2i_error_t a = {0}, b = {0};
    const int want = put_vectors_by_id(w->memory.s, numbers, vectors, n, &a);
    check_same_code(w, want, put_vectors_by_id(any_disk(w), numbers, vectors, n, &b), &a, &b);
}

static void write_events(struct world *w) {
    static const char *const actions[] = {"view", "buy", "dislike", "my own"};
    struct store_event events[BATCH];
    char items[BATCH][64], users[BATCH][64], ids[BATCH][64];
    struct store_events in = {.events = events, .n = 1 + below(w, BATCH)};
    const bool one_user = chance(w, 20);
    const uint32_t user = below(w, USERS);
    for (size_t i = 0; i < in.n; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "e%u", below(w, 400));
        events[i] = (struct store_event){
            .user = user_id(one_user ? user : below(w, USERS), users[i]),
            .item = item_id(below(w, ITEMS + 5), items[i]),
            .action = actions[below(w, 4)],
            .id = chance(w, 50) ? ids[i] : NULL,
            .time_ms = (int64_t)below(w, 40) * 1000 + (chance(w, 10) ? -100000 : 0),
            .value = (float)(1 + below(w, 4)) / 2};
    }
    in.unknown = (enum store_unknown_item)below(w, 3);
    in.user_decay = one_user && chance(w, 50) ? 0.9 : 0;
    u2i_error_t a = {0}, b = {0};
    size_t want_n = 0, got_n = 0;
    struct store *disk = any_disk(w);
    const int want = w->memory.s->ops->put_events(w->memory.s, &in, &want_n, &a);
    check_same_code(w, want, disk->ops->put_events(disk, &in, &got_n, &b), &a, &b);
    check_same_count(w, want_n, got_n);
}

static void write_users(struct world *w) {
    struct store_user users[BATCH];
    char ids[BATCH][64];
    uint32_t numbers[BATCH];
    const size_t n = 1 + below(w, 3);
    random_numbers(w, numbers, n, USERS);
    for (size_t i = 0; i < n; i++) {
        users[i] = (struct store_user){.id = user_id(numbers[i], ids[i]),
                                       .interests = chance(w, 50) ? "AI, \xe5\x9b\xbe" : NULL,
                                       .attrs_json = chance(w, 50) ? "{\"age\": 3}" : NULL,
                                       .decay = chance(w, 30) ? 0.5 : 0};
    }
    u2i_error_t a = {0}, b = {0};
    struct store *disk = any_disk(w);
    const int want = w->memory.s->ops->put_users(w->memory.s, users, n, &a);
    check_same_code(w, want, disk->ops->put_users(disk, users, n, &b), &a, &b);
}

static void write_deleted_user(struct world *w) {
    char id[64];
    (void)user_id(below(w, USERS), id);
    u2i_error_t a = {0}, b = {0};
    struct store *disk = any_disk(w);
    const int want = w->memory.s->ops->delete_user(w->memory.s, id, &a);
    check_same_code(w, want, disk->ops->delete_user(disk, id, &b), &a, &b);
}

static void write_setting(struct world *w) {
    char name[32], value[32];
    (void)snprintf(name, sizeof name, "action.x%u", below(w, 6));
    (void)snprintf(value, sizeof value, "%u", below(w, 100));
    const char *p = chance(w, 70) ? value : NULL;
    u2i_error_t a = {0}, b = {0};
    struct store *disk = any_disk(w);
    const int want = w->memory.s->ops->put_setting(w->memory.s, name, p, &a);
    check_same_code(w, want, disk->ops->put_setting(disk, name, p, &b), &a, &b);
}

static void write_blob(struct world *w) {
    char name[32], bytes[300];
    (void)snprintf(name, sizeof name, "blob%u", below(w, 3));
    const size_t n = chance(w, 80) ? 1 + below(w, sizeof bytes - 1) : 0;
    memset(bytes, (int)below(w, 256), sizeof bytes);
    const char *p = n > 0 ? bytes : NULL;
    u2i_error_t a = {0}, b = {0};
    struct store *disk = any_disk(w);
    const int want = w->memory.s->ops->put_blob(w->memory.s, name, p, n, &a);
    check_same_code(w, want, disk->ops->put_blob(disk, name, p, n, &b), &a, &b);
}

/* ---- Questions: each writes its answer into `out` --------------------------------------------------- */

static const char *or_null(const char *text) {
    return text != NULL ? text : "NULL";
}

static void print_vector(struct buf *out, const float *v) {
    for (size_t i = 0; i < DIM && v != NULL; i++) {
        buf_printf(out, " %g", (double)v[i]);
    }
}

static int print_item(void *ctx, const struct store_item *item) {
    struct buf *out = ctx;
    buf_printf(out, "%s|%s|%s|%s|%s|%u|", item->id, or_null(item->title), or_null(item->text),
               or_null(item->category), or_null(item->attrs_json), item->embedding);
    print_vector(out, item->vector);
    buf_putc(out, '\n');
    return 0;
}

static int print_user(void *ctx, const struct store_user *user) {
    buf_printf(ctx, "%s|%s|%s|%g\n", user->id, or_null(user->interests), or_null(user->attrs_json),
               user->decay);
    return 0;
}

static int print_event(void *ctx, const struct store_event *e, const struct store_event_row *row) {
    (void)row;
    buf_printf(ctx, "%s|%s|%s|%s|%" PRId64 "|%g\n", e->user, e->item, e->action, or_null(e->id),
               e->time_ms, (double)e->value);
    return 0;
}

static int print_setting(void *ctx, const char *name, const char *value) {
    buf_printf(ctx, "%s=%s\n", name, value);
    return 0;
}

static void print_hits(struct store *s, const struct hit *hits, uint32_t n, struct buf *out) {
    for (uint32_t i = 0; i < n; i++) {
        buf_printf(out, "%s %g\n", s->ops->item_id(s, hits[i].row), (double)hits[i].score);
    }
}

/* One question with all its random choices, so that it can be put twice. */
struct question {
    float vector[DIM];
    uint32_t k, salt;
    const struct filter *filter;
    uint32_t excluded[20];
    size_t excluded_n;
    char item[64], user[64], blob[32];
    size_t window;
};

static roaring_bitmap_t *excluded_rows(struct store *s, const struct question *q) {
    if (q->excluded_n == 0) {
        return NULL;
    }
    roaring_bitmap_t *rows = roaring_bitmap_create();
    for (size_t i = 0; i < q->excluded_n; i++) {
        char id[64];
        const uint32_t row = s->ops->item_row(s, item_id(q->excluded[i], id));
        if (row != STORE_NONE) {
            roaring_bitmap_add(rows, row);
        }
    }
    return rows;
}

static void ask_search(struct store *s, const struct question *q, struct buf *out) {
    u2i_error_t err;
    struct hit hits[80];
    uint32_t n = 0;
    SUITE_OK(s->ops->read_begin(s, &err));
    roaring_bitmap_t *exclude = excluded_rows(s, q);
    const struct store_search search = {.space = STORE_CONTENT,
                                        .vector = q->vector,
                                        .k = q->k,
                                        .filter = q->filter,
                                        .exclude = exclude};
    SUITE_OK(s->ops->search(s, &search, hits, &n, &err));
    print_hits(s, hits, n, out);
    s->ops->read_end(s);
    if (exclude != NULL) {
        roaring_bitmap_free(exclude);
    }
}

struct score_ctx {
    struct store *s;
    uint32_t salt;
};
static float score_by_id(const void *ctx, uint32_t row) {
    const struct score_ctx *c = ctx;
    uint32_t sum = c->salt;
    for (const char *p = c->s->ops->item_id(c->s, row); *p != '\0'; p++) {
        sum = sum * 33 + (unsigned char)*p;
    }
    return (float)(sum % 7); /* few values: many ties */
}

static void ask_rank(struct store *s, const struct question *q, struct buf *out) {
    u2i_error_t err;
    struct hit hits[80];
    uint32_t n = 0;
    const struct score_ctx ctx = {s, q->salt};
    SUITE_OK(s->ops->read_begin(s, &err));
    roaring_bitmap_t *exclude = excluded_rows(s, q);
    const struct store_rank rank = {
        .score = score_by_id, .ctx = &ctx, .k = q->k, .filter = q->filter, .exclude = exclude};
    SUITE_OK(s->ops->rank(s, &rank, hits, &n, &err));
    print_hits(s, hits, n, out);
    s->ops->read_end(s);
    if (exclude != NULL) {
        roaring_bitmap_free(exclude);
    }
}

static int compare_lines(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Events of one time may come in any order, so their lines are sorted: newest time first. */
static void ask_user_events(struct store *s, const struct question *q, struct buf *out) {
    u2i_error_t err;
    struct store_event_row *events = NULL;
    size_t n = 0;
    SUITE_OK(s->ops->read_begin(s, &err));
    const uint32_t user = s->ops->user_row(s, q->user);
    SUITE_OK(s->ops->user_events(s, user, q->window, &events, &n, &err));
    char(*lines)[128] = alloc_array(n, sizeof *lines);
    assert_non_null(lines);
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || events[i].time_ms <= events[i - 1].time_ms);
        assert_int_equal(events[i].user, user);
        (void)snprintf(lines[i], sizeof *lines, "%020" PRId64 " %s %s %g\n",
                       1000000 - events[i].time_ms, s->ops->item_id(s, events[i].item),
                       s->ops->action_name(s, events[i].action), (double)events[i].value);
    }
    s->ops->read_end(s);
    qsort(lines, n, sizeof *lines, compare_lines);
    for (size_t i = 0; i < n; i++) {
        buf_puts(out, lines[i]);
    }
    mem_free(lines);
    mem_free(events);
}

static void ask_item(struct store *s, const struct question *q, struct buf *out) {
    u2i_error_t err;
    struct arena a = {0};
    struct store_item item;
    SUITE_OK(s->ops->read_begin(s, &err));
    const uint32_t row = s->ops->item_row(s, q->item);
    if (row == STORE_NONE) {
        buf_puts(out, "never seen");
    } else if (s->ops->get_item(s, row, &a, &item, &err) != U2I_OK) {
        buf_printf(out, "row without item: %s, live %d", u2i_rc_name(err.code),
                   s->ops->item_live(s, row));
    } else {
        item.embedding = 0; /* only a scan has to know it */
        (void)print_item(out, &item);
        print_vector(out, s->ops->vector(s, STORE_CONTENT, row));
    }
    s->ops->read_end(s);
    arena_free(&a);
}

static void ask_user(struct store *s, const struct question *q, struct buf *out) {
    u2i_error_t err;
    struct arena a = {0};
    struct store_user user;
    SUITE_OK(s->ops->read_begin(s, &err));
    const uint32_t row = s->ops->user_row(s, q->user);
    if (row != STORE_NONE) {
        SUITE_OK(s->ops->get_user(s, row, &a, &user, &err));
        (void)print_user(out, &user);
    }
    s->ops->read_end(s);
    arena_free(&a);
}

static void ask_everything(struct store *s, const struct question *q, struct buf *out) {
    u2i_error_t err;
    (void)q;
    SUITE_OK(s->ops->scan_items(s, print_item, out, &err));
    SUITE_OK(s->ops->scan_users(s, print_user, out, &err));
    SUITE_OK(s->ops->scan_events(s, 0, print_event, out, &err));
    SUITE_OK(s->ops->scan_settings(s, print_setting, out, &err));
}

static void ask_blob(struct store *s, const struct question *q, struct buf *out) {
    u2i_error_t err;
    const int rc = s->ops->get_blob(s, q->blob, out, &err);
    buf_puts(out, u2i_rc_name(rc));
}

static void ask_stats(struct store *s, const struct question *q, struct buf *out) {
    u2i_error_t err;
    struct store_stats stats;
    (void)q;
    SUITE_OK(s->ops->stats(s, &stats, &err));
    buf_printf(out,
               "items %" PRIu64 " unknown %" PRIu64 " bare %" PRIu64 " users %" PRIu64
               " events %" PRIu64,
               stats.items, stats.items_unknown, stats.items_no_vector, stats.users, stats.events);
}

/* ---- Asking both ---------------------------------------------------------------------------------- */

static struct filter *random_filter(struct world *w) {
    enum { N = 1, C = 2, T = 4 }; /* which parameters a text names */
    static const struct {
        const char *text;
        unsigned params;
    } texts[] = {{"price < {n}", N},
                 {"price >= {n} and category == {c}", N | C},
                 {"category in [\"book\", \"film\"]", 0},
                 {"not (price == {n} or category == {c})", N | C},
                 {"array_contains(tags, {t})", T},
                 {"id like \"i1%\"", 0},
                 {"price + 1 > {n}", N},
                 {"category != \"book\"", 0},
                 {"new == true", 0}};
    static const char *const tags[] = {"t0", "t1", "t2"};
    u2i_error_t err;
    struct filter *filter = NULL;
    u2i_param_t params[3];
    size_t params_n = 0;
    const size_t i = below(w, sizeof texts / sizeof texts[0]);
    const char *category = random_category(w);
    if ((texts[i].params & N) != 0) {
        params[params_n++] = (u2i_param_t){.name = "n", .type = U2I_INT, .value.i = below(w, 9)};
    }
    if ((texts[i].params & C) != 0) {
        params[params_n++] = (u2i_param_t){
            .name = "c", .type = U2I_STRING, .value.s = category != NULL ? category : "film"};
    }
    if ((texts[i].params & T) != 0) {
        params[params_n++] =
            (u2i_param_t){.name = "t", .type = U2I_STRING, .value.s = tags[below(w, 3)]};
    }
    SUITE_OK(filter_parse(texts[i].text, strlen(texts[i].text), params, params_n, &filter, &err));
    return filter;
}

typedef void (*ask_fn)(struct store *s, const struct question *q, struct buf *out);

static void ask_both(struct world *w, ask_fn ask) {
    static const size_t windows[] = {1, 2, 3, 5, 10, SIZE_MAX};
    struct question q = {.k = below(w, 70), .salt = below(w, 1000), .window = windows[below(w, 6)]};
    struct filter *filter = chance(w, 60) ? random_filter(w) : NULL;
    q.filter = filter;
    q.excluded_n = chance(w, 50) ? below(w, 20) : 0;
    for (size_t i = 0; i < q.excluded_n; i++) {
        q.excluded[i] = below(w, ITEMS);
    }
    random_vector(w, q.vector);
    (void)item_id(below(w, ITEMS + 5), q.item);
    (void)user_id(below(w, USERS), q.user);
    (void)snprintf(q.blob, sizeof q.blob, "blob%u", below(w, 3));
    buf_reset(&w->want);
    buf_reset(&w->got);
    buf_puts(&w->want, "");
    buf_puts(&w->got, "");
    ask(w->memory.s, &q, &w->want);
    ask(any_disk(w), &q, &w->got);
    filter_free(filter);
    assert_false(w->want.failed || w->got.failed);
    if (w->want.len != w->got.len || memcmp(w->want.data, w->got.data, w->want.len) != 0) {
        give_up(w, "the answers differ");
    }
    w->questions++;
}

/* Sequence numbers differ between the stores, but what came after a common moment does not. */
static void ask_since_mark(struct world *w) {
    struct handle *disk = &w->disk[below(w, 2)];
    u2i_error_t err;
    buf_reset(&w->want);
    buf_reset(&w->got);
    buf_puts(&w->want, "");
    buf_puts(&w->got, "");
    SUITE_OK(
        w->memory.s->ops->scan_events(w->memory.s, w->memory.mark, print_event, &w->want, &err));
    SUITE_OK(disk->s->ops->scan_events(disk->s, disk->mark, print_event, &w->got, &err));
    if (strcmp(w->want.data, w->got.data) != 0) {
        give_up(w, "the events since the mark differ");
    }
    if (chance(w, 30)) {
        struct handle *all[] = {&w->memory, &w->disk[0], &w->disk[1]};
        for (size_t i = 0; i < 3; i++) {
            struct store *s = all[i]->s;
            SUITE_OK(s->ops->read_begin(s, &err));
            all[i]->mark = s->ops->sequence(s);
            s->ops->read_end(s);
        }
    }
}

static void verify_all(struct world *w) {
    struct handle *all[] = {&w->memory, &w->disk[0], &w->disk[1]};
    for (size_t i = 0; i < 3; i++) {
        u2i_error_t err;
        size_t faults = 99;
        SUITE_OK(all[i]->s->ops->verify(all[i]->s, NULL, NULL, &faults, &err));
        if (faults != 0) {
            give_up(w, "verify finds faults");
        }
        check_counts(w, all[i]);
    }
}

static void reopen_one(struct world *w) {
    struct handle *h = &w->disk[below(w, 2)];
    assert_int_equal(h->s->ops->close(h->s), U2I_OK);
    h->s = NULL;
    open_disk(w, h);
    w->reopened++;
}

/* ---- Running -------------------------------------------------------------------------------------- */

static const struct write_op {
    const char *name;
    void (*run)(struct world *w);
    uint32_t share; /* of 100 writes */
} write_ops[] = {{"put items", write_items, 33},    {"delete items", write_deleted_items, 9},
                 {"put vectors", write_vectors, 5}, {"put events", write_events, 35},
                 {"put users", write_users, 6},     {"delete user", write_deleted_user, 4},
                 {"put setting", write_setting, 4}, {"put blob", write_blob, 4}};

static const struct ask_op {
    const char *name;
    ask_fn ask;
    uint32_t share; /* of 100 questions */
} ask_ops[] = {{"search", ask_search, 34},
               {"rank", ask_rank, 20},
               {"user events", ask_user_events, 18},
               {"item", ask_item, 12},
               {"user", ask_user, 5},
               {"blob", ask_blob, 3},
               {"stats", ask_stats, 4},
               {"everything", ask_everything, 4}};

static void run_step(struct world *w) {
    const uint32_t kind = below(w, 1000);
    uint32_t share = below(w, 100);
    size_t i = 0;
    if (kind < 500) {
        for (; share >= write_ops[i].share; i++) {
            share -= write_ops[i].share;
        }
        (void)snprintf(w->op, sizeof w->op, "%s", write_ops[i].name);
        write_ops[i].run(w);
        w->writes++;
    } else if (kind < 970) {
        for (; share >= ask_ops[i].share; i++) {
            share -= ask_ops[i].share;
        }
        (void)snprintf(w->op, sizeof w->op, "%s", ask_ops[i].name);
        ask_both(w, ask_ops[i].ask);
    } else if (kind < 985) {
        (void)snprintf(w->op, sizeof w->op, "events since mark");
        ask_since_mark(w);
    } else if (kind < 995) {
        (void)snprintf(w->op, sizeof w->op, "reopen");
        reopen_one(w);
    } else {
        (void)snprintf(w->op, sizeof w->op, "verify");
        verify_all(w);
    }
}

static uint64_t number_from_env(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

static void a_store_on_disk_answers_like_plain_arrays(void **state) {
    (void)state;
    struct world w = {.seed = number_from_env("U2I_SEED", (uint64_t)clock_now_ms(clock_system()))};
    const uint64_t steps = number_from_env("U2I_STEPS", 10000);
    print_message("U2I_SEED=%" PRIu64 " U2I_STEPS=%" PRIu64 "\n", w.seed, steps);
    rng_seed(&w.rng, w.seed);
    for (size_t round = 0; round < ROUNDS; round++) {
        open_world(&w);
        for (size_t i = 0; i < steps / ROUNDS; i++, w.step++) {
            run_step(&w);
        }
        (void)snprintf(w.op, sizeof w.op, "end of a round");
        verify_all(&w);
        ask_both(&w, ask_everything);
        close_world(&w);
    }
    print_message("%lu writes, %lu questions, %lu times opened again: no difference\n", w.writes,
                  w.questions, w.reopened);
    buf_free(&w.want);
    buf_free(&w.got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_on_disk_answers_like_plain_arrays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
