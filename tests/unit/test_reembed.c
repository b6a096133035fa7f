/* Another model for a store, through the public API: the old vectors serve until the new ones are all there, then
 * everybody has the new ones, in this process and in others; who is cut short goes on. Small hashed vectors and
 * tiny BERT models stand for real ones. */
#include "shop.h"

#include "model_folder.h"
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>

#define OLD_DIM 32
#define NEW_DIM 48

/* ---- A store and its target --------------------------------------------------------------------- */

struct stage {
    char path[256];
    u2i_t *u;
};

static void put_text(u2i_t *u, const char *id, const char *title) {
    u2i_error_t err;
    const u2i_item_t item = {.id = id, .title = title, .attrs_json = "{\"n\": 1}"};
    shop_ok(u2i_put_items(u, &item, 1, sizeof(item), &err), &err);
}

static void put_stories(u2i_t *u, unsigned n) {
    u2i_error_t err;
    for (unsigned at = 0; at < n; at += 100) {
        u2i_item_t items[100];
        char ids[100][16], titles[100][64];
        unsigned k = 0;
        for (; k < 100 && at + k < n; k++) {
            (void)snprintf(ids[k], sizeof(ids[k]), "i%u", at + k);
            (void)snprintf(titles[k], sizeof(titles[k]), "story %u of author %u", at + k,
                           (at + k) % 7);
            items[k] = (u2i_item_t){.id = ids[k], .title = titles[k]};
        }
        shop_ok(u2i_put_items(u, items, k, sizeof(items[0]), &err), &err);
    }
}

static struct stage stage_open(unsigned items) {
    struct stage s;
    shop_path(s.path, sizeof(s.path));
    s.u = shop_open(s.path, "hash", OLD_DIM);
    put_stories(s.u, items);
    return s;
}

static void stage_close(struct stage *s) {
    assert_int_equal(u2i_close(s->u), U2I_OK);
    shop_remove(s->path);
}

static u2i_t *open_again(const char *path) {
    u2i_options_t o = U2I_OPTIONS_INIT;
    u2i_t *u;
    u2i_error_t err;
    o.flags = U2I_OPEN_EXISTING;
    shop_ok(u2i_open(path, &o, &u, &err), &err);
    return u;
}

static u2i_reembed_options_t target_of(const char *model, uint32_t dim) {
    u2i_reembed_options_t o = U2I_REEMBED_OPTIONS_INIT;
    o.model = model;
    o.dim = dim;
    return o;
}

static u2i_reembed_options_t new_target(u2i_progress_fn progress, void *ctx) {
    u2i_reembed_options_t o = target_of("hash", NEW_DIM);
    o.progress = progress;
    o.ctx = ctx;
    return o;
}

static void move_to(u2i_t *u, const char *model, uint32_t dim) {
    u2i_error_t err;
    const u2i_reembed_options_t o = target_of(model, dim);
    shop_ok(u2i_reembed_to(u, &o, &err), &err);
}

static u2i_stats_t stats_of(u2i_t *u) {
    u2i_stats_t s = U2I_STATS_INIT;
    u2i_error_t err;
    shop_ok(u2i_stats(u, &s, &err), &err);
    return s;
}

/* The id of the first answer to a text. */
static void first_found(u2i_t *u, const char *text, char *id, size_t bytes) {
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    u2i_error_t err;
    q.text = text;
    q.limit = 1;
    shop_ok(u2i_search(u, &q, &r, &err), &err);
    (void)snprintf(id, bytes, "%s", u2i_result_count(r) == 0 ? "" : u2i_result_hit(r, 0)->id);
    u2i_result_free(r);
}

static void require_found(u2i_t *u, const char *text, const char *id) {
    char first[64];
    first_found(u, text, first, sizeof(first));
    assert_string_equal(first, id);
}

static void print_fault(void *ctx, const char *where, const char *what) {
    (void)ctx;
    print_error("%s: %s\n", where, what);
}

static void require_sound(u2i_t *u) {
    u2i_error_t err;
    size_t faults;
    shop_ok(u2i_verify(u, print_fault, NULL, &faults, &err), &err);
    assert_int_equal(faults, 0);
}

/* ---- The switch ----------------------------------------------------------------------------------- */

struct onlooker {
    u2i_t *other;
    unsigned looks;
};

static int look_on(void *ctx, uint64_t done, uint64_t total) {
    struct onlooker *o = ctx;
    assert_true(done <= total);
    assert_int_equal(stats_of(o->other).dim, OLD_DIM);
    require_found(o->other, "story 41 of author 6", "i41");
    o->looks++;
    return 0;
}

static void old_vectors_serve_until_the_switch(void **state) {
    (void)state;
    struct stage s = stage_open(300);
    struct onlooker o = {.other = open_again(s.path)};
    u2i_error_t err;
    const u2i_reembed_options_t to = new_target(look_on, &o);
    shop_ok(u2i_reembed_to(s.u, &to, &err), &err);
    assert_true(o.looks > 2);
    u2i_t *const handles[] = {s.u, o.other};
    for (int i = 0; i < 2; i++) { /* both handles, as they are */
        const u2i_stats_t now = stats_of(handles[i]);
        assert_int_equal(now.dim, NEW_DIM);
        assert_string_equal(now.model, "hash-48");
        assert_int_equal(now.items_no_vector, 0);
        require_found(handles[i], "story 41 of author 6", "i41");
        put_text(handles[i], i == 0 ? "new0" : "new1", i == 0 ? "zebra crossing" : "yellow moon");
    }
    require_found(o.other, "zebra crossing", "new0");
    require_found(s.u, "yellow moon", "new1");
    require_sound(s.u);
    assert_int_equal(u2i_close(o.other), U2I_OK);
    stage_close(&s);
}

static void a_reader_of_the_file_follows(void **state) {
    (void)state;
    struct stage s = stage_open(100);
    u2i_options_t o = U2I_OPTIONS_INIT;
    u2i_t *reader;
    u2i_error_t err;
    o.flags = U2I_OPEN_READONLY;
    o.model = "hash"; /* was true when it was opened */
    o.dim = OLD_DIM;
    shop_ok(u2i_open(s.path, &o, &reader, &err), &err);
    move_to(s.u, "hash", NEW_DIM);
    assert_int_equal(stats_of(reader).dim, NEW_DIM);
    require_found(reader, "story 41 of author 6", "i41");
    assert_int_equal(u2i_close(reader), U2I_OK);
    stage_close(&s);
}

/* Runs in a process of its own: a handle from before the switch, asked after it. */
static int other_process(const char *path, int ready, int go) {
    char byte = 'r';
    u2i_t *u = open_again(path);
    if (stats_of(u).dim != OLD_DIM || write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1) {
        return 2;
    }
    require_found(u, "story 41 of author 6", "i41");
    put_text(u, "theirs", "violet umbrella");
    return stats_of(u).dim == NEW_DIM && u2i_close(u) == U2I_OK ? 0 : 3;
}

static void another_process_sees_the_switch(void **state) {
    (void)state;
    struct stage s = stage_open(100);
    int ready[2], go[2], status;
    char byte = 'g';
    assert_int_equal(u2i_close(s.u), U2I_OK); /* no threads over the fork */
    assert_int_equal(pipe(ready) + pipe(go), 0);
    const pid_t child = fork();
    if (child == 0) {
        _exit(other_process(s.path, ready[1], go[0]));
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    s.u = open_again(s.path);
    move_to(s.u, "hash", NEW_DIM);
    assert_int_equal(write(go[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    require_found(s.u, "violet umbrella", "theirs");
    for (int i = 0; i < 2; i++) {
        (void)close(ready[i]);
        (void)close(go[i]);
    }
    stage_close(&s);
}

static void the_dim_of_an_open_handle_is_not_mistaken(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    u2i_item_t *item;
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    const float vector[SHOP_DIM] = {1, 0, 0, 0};
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, "none", SHOP_DIM); /* vectors are the caller's */
    shop_put(u, "red car", NULL, vector);
    shop_put(u, "blue boat", NULL, vector);
    u2i_t *other = open_again(path);
    move_to(other, "hash", NEW_DIM);
    const u2i_item_t again = {.id = "red car", .vector = vector};
    assert_int_equal(u2i_put_items(u, &again, 1, sizeof(again), &err), U2I_EEMBED);
    q.vector = vector;
    assert_int_equal(u2i_search(u, &q, &r, &err), U2I_EEMBED);
    assert_non_null(strstr(err.msg, "48 dimensions"));
    shop_ok(u2i_get_item(u, "red car", &item, &err), &err);
    assert_null(item->vector);
    u2i_item_free(item);
    require_found(u, "blue boat", "blue boat"); /* text has no length */
    assert_int_equal(u2i_close(other), U2I_OK);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_again(path);
    shop_ok(u2i_get_item(u, "red car", &item, &err), &err);
    assert_non_null(item->vector);
    u2i_item_free(item);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

/* ---- Being cut short -------------------------------------------------------------------------------- */

struct limit {
    uint64_t from, done, at; /* from: what was there at the beginning; stops at `at` */
    bool begun, kills;
};

static int stop_at(void *ctx, uint64_t done, uint64_t total) {
    struct limit *l = ctx;
    l->from = l->begun ? l->from : done;
    l->begun = true;
    l->done = done;
    if (done >= l->at && done < total && l->kills) {
        (void)raise(SIGKILL);
    }
    return done >= l->at && done < total;
}

static void stopping_keeps_what_is_done(void **state) {
    (void)state;
    struct stage s = stage_open(300);
    u2i_error_t err;
    struct limit first = {.at = 100}, second = {.at = UINT64_MAX};
    u2i_reembed_options_t to = new_target(stop_at, &first);
    assert_int_equal(u2i_reembed_to(s.u, &to, &err), U2I_ETIMEOUT);
    assert_int_equal(stats_of(s.u).dim, OLD_DIM);
    assert_int_equal(first.from, 0);
    to = new_target(stop_at, &second);
    shop_ok(u2i_reembed_to(s.u, &to, &err), &err);
    assert_int_equal(second.from, first.done);
    assert_int_equal(stats_of(s.u).dim, NEW_DIM);
    stage_close(&s);
}

static void a_killed_process_is_gone_on_from(void **state) {
    (void)state;
    struct stage s = stage_open(300);
    u2i_error_t err;
    assert_int_equal(u2i_close(s.u), U2I_OK);
    uint64_t before = 0;
    for (uint64_t at = 50; at < 300; at += 100) {
        int status;
        const pid_t child = fork();
        if (child == 0) {
            struct limit dies = {.at = at, .kills = true};
            const u2i_reembed_options_t to = new_target(stop_at, &dies);
            u2i_t *u = open_again(s.path);
            (void)u2i_reembed_to(u, &to, &err);
            _exit(1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        struct limit look = {.at = 0};
        const u2i_reembed_options_t to = new_target(stop_at, &look);
        s.u = open_again(s.path);
        assert_int_equal(stats_of(s.u).dim, OLD_DIM);
        require_found(s.u, "story 41 of author 6", "i41");
        assert_int_equal(u2i_reembed_to(s.u, &to, &err), U2I_ETIMEOUT);
        assert_true(look.from >= at && look.from > before);
        before = look.from;
        assert_int_equal(u2i_close(s.u), U2I_OK);
    }
    s.u = open_again(s.path);
    move_to(s.u, "hash", NEW_DIM);
    require_found(s.u, "story 41 of author 6", "i41");
    require_sound(s.u);
    stage_close(&s);
}

/* Moves to and fro until it is killed. */
static void move_on_and_on(const char *path) {
    u2i_t *u = open_again(path);
    for (uint32_t i = 0;; i++) {
        move_to(u, "hash", i % 2 == 0 ? NEW_DIM : OLD_DIM);
    }
}

static void the_switch_is_whole_or_not_at_all(void **state) {
    (void)state;
    struct stage s = stage_open(100);
    assert_int_equal(u2i_close(s.u), U2I_OK);
    for (int round = 0; round < 25; round++) {
        int status;
        const pid_t child = fork();
        if (child == 0) {
            move_on_and_on(s.path);
        }
        (void)usleep(5000 + (unsigned)round * 7919 % 60000);
        (void)kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        s.u = open_again(s.path);
        const u2i_stats_t now = stats_of(s.u);
        assert_true(now.dim == NEW_DIM || now.dim == OLD_DIM);
        assert_int_equal(now.items, 100);
        assert_int_equal(now.items_no_vector, 0);
        require_found(s.u, "story 41 of author 6", "i41");
        require_sound(s.u);
        assert_int_equal(u2i_close(s.u), U2I_OK);
    }
    s.u = open_again(s.path);
    stage_close(&s);
}

static void another_target_begins_anew(void **state) {
    (void)state;
    struct stage s = stage_open(300);
    u2i_error_t err;
    struct limit first = {.at = 100}, second = {.at = 100}, third = {.at = UINT64_MAX};
    u2i_reembed_options_t to = new_target(stop_at, &first);
    assert_int_equal(u2i_reembed_to(s.u, &to, &err), U2I_ETIMEOUT);
    to = new_target(stop_at, &second);
    to.dim = NEW_DIM + 1;
    assert_int_equal(u2i_reembed_to(s.u, &to, &err), U2I_ETIMEOUT);
    assert_int_equal(second.from, 0);
    to = target_of("hash", OLD_DIM); /* what it has: nothing is to be made */
    shop_ok(u2i_reembed_to(s.u, &to, &err), &err);
    to = new_target(stop_at, &third);
    to.dim = NEW_DIM + 1;
    shop_ok(u2i_reembed_to(s.u, &to, &err), &err);
    assert_int_equal(third.from, 0);
    assert_int_equal(stats_of(s.u).dim, NEW_DIM + 1);
    require_sound(s.u);
    stage_close(&s);
}

/* ---- Writes meanwhile ------------------------------------------------------------------------------- */

static void put_vocabulary(const struct folder *f, const char *dtype) {
    const struct tiny how = {.dtype = dtype};
    folder_put(f, "config.json", TINY_CONFIG);
    folder_put(f, "vocab.txt",
               "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\ngreen\nblue\nround\nsquare\nthing\n");
    tiny_save(f, &how);
}

static const char *const colours[] = {"red", "green", "blue"};
static const char *const shapes[] = {"round", "square"};

static void put_thing(u2i_t *u, unsigned i, const char *more) {
    char id[16], title[64];
    (void)snprintf(id, sizeof(id), "i%u", i);
    (void)snprintf(title, sizeof(title), "%s %s %s thing", colours[i % 3], shapes[i / 3 % 2], more);
    put_text(u, id, title);
}

struct meddler {
    u2i_t *other;
    unsigned calls;
};

/* Changes, adds and deletes items while they are embedded, each time others. */
static int meddle(void *ctx, uint64_t done, uint64_t total) {
    struct meddler *const m = ctx;
    u2i_error_t err;
    char id[16];
    const char *ids[] = {id};
    (void)done;
    (void)total;
    if (m->calls >= 12) {
        return 0;
    }
    const unsigned i = m->calls++;
    put_thing(m->other, i, "green");       /* changed */
    put_thing(m->other, 1000 + i, "blue"); /* new */
    (void)snprintf(id, sizeof(id), "i%u", 100 + i);
    shop_ok(u2i_delete_items(m->other, ids, 1, NULL, &err), &err);
    (void)snprintf(id, sizeof(id), "i%u", 50 + i); /* other attributes, the same text */
    u2i_item_t *item;
    shop_ok(u2i_get_item(m->other, id, &item, &err), &err);
    const u2i_item_t same = {.id = id, .title = item->title, .attrs_json = "{\"n\": 2}"};
    shop_ok(u2i_put_items(m->other, &same, 1, sizeof(same), &err), &err);
    u2i_item_free(item);
    return 0;
}

struct comparison {
    u2i_t *fresh; /* a store that has embedded everything from the start */
    size_t n;
};

static int compare_item(void *ctx, const u2i_item_t *item) {
    struct comparison *const c = ctx;
    const u2i_item_t put = {.id = item->id, .title = item->title};
    u2i_item_t *same;
    u2i_error_t err;
    shop_ok(u2i_put_items(c->fresh, &put, 1, sizeof(put), &err), &err);
    shop_ok(u2i_get_item(c->fresh, item->id, &same, &err), &err);
    assert_non_null(item->vector);
    assert_memory_equal(item->vector, same->vector, TINY_HIDDEN * sizeof(float));
    u2i_item_free(same);
    c->n++;
    return 0;
}

static void items_that_change_meanwhile_are_embedded_as_they_are(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    const struct folder f = folder_make();
    put_vocabulary(&f, NULL);
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, "hash", OLD_DIM);
    for (unsigned i = 0; i < 200; i++) {
        put_thing(u, i, "");
    }
    struct meddler m = {.other = open_again(path)};
    u2i_reembed_options_t to = target_of(f.path, 0);
    to.progress = meddle;
    to.ctx = &m;
    shop_ok(u2i_reembed_to(u, &to, &err), &err);
    assert_int_equal(m.calls, 12);
    assert_int_equal(u2i_close(m.other), U2I_OK);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_again(path);
    struct comparison c = {.fresh = shop_open(":memory:", f.path, 0)};
    shop_ok(u2i_scan_items(u, compare_item, &c, &err), &err);
    assert_int_equal(c.n, 200); /* as many came as went */
    require_sound(u);
    move_to(u, "hash", 0); /* and back */
    assert_int_equal(stats_of(u).dim, 512);
    put_text(u, "zebra", "zebra crossing");
    require_found(u, "zebra crossing", "zebra");
    assert_int_equal(u2i_close(c.fresh), U2I_OK);
    assert_int_equal(u2i_close(u), U2I_OK);
    folder_remove(&f);
    shop_remove(path);
}

struct crowd {
    u2i_t *u;
    unsigned number;
    atomic_bool *stop;
    atomic_uint *failures;
    unsigned recorded, put;
};

static void crowd_check(struct crowd *c, int rc, const u2i_error_t *err) {
    if (rc != U2I_OK) {
        print_error("%s: %s\n", u2i_rc_name(rc), err->msg);
        (void)atomic_fetch_add(c->failures, 1);
    }
}

static void crowd_write(struct crowd *c, unsigned round) {
    u2i_error_t err = {0};
    char id[32];
    (void)snprintf(id, sizeof(id), "c%u-%u", c->number, round % 20);
    const u2i_item_t item = {.id = id, .title = "a crowd of people", .category = id};
    crowd_check(c, u2i_put_items(c->u, &item, 1, sizeof(item), &err), &err);
    const u2i_event_t ev = {.user = id, .item = id, .action = "like"};
    crowd_check(c, u2i_record(c->u, &ev, 1, sizeof(ev), NULL, &err), &err);
    c->recorded++;
}

static void crowd_ask(struct crowd *c) {
    u2i_error_t err = {0};
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r = NULL;
    u2i_item_t *item = NULL;
    q.user = "c0-1";
    q.text = "author story";
    crowd_check(c, u2i_recommend(c->u, &q, &r, &err), &err);
    u2i_result_free(r);
    crowd_check(c, u2i_search(c->u, &q, &r, &err), &err);
    u2i_result_free(r);
    crowd_check(c, u2i_get_item(c->u, "i7", &item, &err), &err);
    u2i_item_free(item);
}

static void *crowd_run(void *arg) {
    struct crowd *const c = arg;
    for (unsigned round = 0; !atomic_load(c->stop); round++) {
        crowd_write(c, round);
        crowd_ask(c);
    }
    return NULL;
}

static void threads_read_and_write_through_switches(void **state) {
    (void)state;
    struct stage s = stage_open(60);
    u2i_t *const other = open_again(s.path);
    atomic_bool stop = false;
    atomic_uint failures = 0;
    struct crowd crowds[4];
    pthread_t threads[4];
    uint64_t recorded = 0;
    for (unsigned i = 0; i < 4; i++) {
        crowds[i] = (struct crowd){
            .u = i % 2 == 0 ? s.u : other, .number = i, .stop = &stop, .failures = &failures};
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_run, &crowds[i]), 0);
    }
    for (uint32_t i = 0; i < 6; i++) {
        move_to(i % 3 == 0 ? other : s.u, "hash", NEW_DIM + i);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        recorded += crowds[i].recorded;
    }
    assert_int_equal(atomic_load(&failures), 0);
    assert_int_equal(stats_of(s.u).dim, NEW_DIM + 5);
    assert_int_equal(stats_of(s.u).events,
                     recorded); /* each once, also where a call was made again */
    assert_int_equal(stats_of(s.u).items_no_vector, 0);
    require_sound(s.u);
    assert_int_equal(u2i_close(other), U2I_OK);
    stage_close(&s);
}

/* ---- What goes with the vectors ----------------------------------------------------------------------- */

/* Both models have as many dimensions: nothing but the store's word says that the index is of other vectors. */
static void an_index_of_the_old_vectors_is_not_used(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    const struct folder from = folder_make(), to = folder_make();
    put_vocabulary(&from, NULL);
    put_vocabulary(&to, "F16");
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, from.path, 0);
    shop_set(u, "index_exact_max", "0");
    for (unsigned i = 0; i < 6; i++) {
        put_thing(u, i, "");
    }
    shop_ok(u2i_build_index(u, NULL, NULL, &err), &err);
    assert_int_equal(stats_of(u).index_items, 6);
    move_to(u, to.path, 0);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_again(path);
    struct comparison c = {.fresh = shop_open(":memory:", to.path, 0)};
    shop_ok(u2i_scan_items(u, compare_item, &c, &err), &err);
    shop_ok(u2i_build_index(u, NULL, NULL, &err), &err);
    for (unsigned i = 0; i < 6; i++) {
        char id[16];
        u2i_item_t *item;
        (void)snprintf(id, sizeof(id), "i%u", i);
        shop_ok(u2i_get_item(u, id, &item, &err), &err); /* as the index has it */
        const u2i_item_t same = {.id = id, .title = item->title, .vector = item->vector};
        (void)compare_item(&c, &same);
        u2i_item_free(item);
    }
    require_sound(u);
    assert_int_equal(u2i_close(c.fresh), U2I_OK);
    assert_int_equal(u2i_close(u), U2I_OK);
    folder_remove(&from);
    folder_remove(&to);
    shop_remove(path);
}

static bool has_table(const char *path, const char *name) {
    sqlite3 *db;
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT 1 FROM sqlite_schema WHERE name = ?1", -1, &st, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC), SQLITE_OK);
    const bool found = sqlite3_step(st) == SQLITE_ROW;
    (void)sqlite3_finalize(st);
    (void)sqlite3_close(db);
    return found;
}

static void the_old_vectors_go_in_the_end(void **state) {
    (void)state;
    struct stage s = stage_open(3000);
    bool gone = false;
    move_to(s.u, "hash", NEW_DIM);
    assert_false(has_table(s.path, "next_vectors"));
    assert_false(has_table(s.path, "next_texts"));
    (void)stats_of(s.u);
    for (int i = 0; i < 3000 && !gone; i++) {
        gone = !has_table(s.path, "old_vectors");
        (void)usleep(gone ? 0 : 10000);
    }
    assert_true(gone);
    require_sound(s.u);
    stage_close(&s);
}

static void items_without_text_have_no_vector(void **state) {
    (void)state;
    char path[256];
    const float vector[SHOP_DIM] = {0, 1, 0, 0};
    u2i_error_t err;
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, "none", SHOP_DIM);
    shop_put(u, "red car", NULL, vector);
    const u2i_item_t mute = {.id = "mute", .vector = vector};
    shop_ok(u2i_put_items(u, &mute, 1, sizeof(mute), &err), &err);
    move_to(u, "hash", NEW_DIM);
    assert_int_equal(stats_of(u).items, 2);
    assert_int_equal(stats_of(u).items_no_vector, 1);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    struct stage s = stage_open(10);
    u2i_error_t err;
    u2i_reembed_options_t o = target_of("none", 8);
    assert_int_equal(u2i_reembed_to(s.u, &o, &err), U2I_EINVAL);
    o = target_of("./nowhere", 0);
    assert_int_equal(u2i_reembed_to(s.u, &o, &err), U2I_ENOTFOUND);
    o = target_of("hash", U2I_DIM_MAX + 1);
    assert_int_equal(u2i_reembed_to(s.u, &o, &err), U2I_EINVAL);
    o = target_of("hash", NEW_DIM);
    o.long_texts = "fold";
    assert_int_equal(u2i_reembed_to(s.u, &o, &err), U2I_EINVAL);
    o = target_of("hash", NEW_DIM);
    o.passage_prefix = "\xff";
    assert_int_equal(u2i_reembed_to(s.u, &o, &err), U2I_EINVAL);
    assert_int_equal(u2i_reembed_to(s.u, NULL, &err), U2I_EINVAL);
    assert_int_equal(stats_of(s.u).dim, OLD_DIM);
    u2i_t *memory = shop_open(":memory:", "hash", OLD_DIM);
    o = target_of("hash", NEW_DIM);
    assert_int_equal(u2i_reembed_to(memory, &o, &err), U2I_EINVAL);
    assert_non_null(strstr(err.msg, "in memory"));
    assert_int_equal(u2i_close(memory), U2I_OK);
    stage_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_vectors_serve_until_the_switch),
        cmocka_unit_test(a_reader_of_the_file_follows),
        cmocka_unit_test(another_process_sees_the_switch),
        cmocka_unit_test(the_dim_of_an_open_handle_is_not_mistaken),
        cmocka_unit_test(stopping_keeps_what_is_done),
        cmocka_unit_test(a_killed_process_is_gone_on_from),
        cmocka_unit_test(the_switch_is_whole_or_not_at_all),
        cmocka_unit_test(another_target_begins_anew),
        cmocka_unit_test(items_that_change_meanwhile_are_embedded_as_they_are),
        cmocka_unit_test(threads_read_and_write_through_switches),
        cmocka_unit_test(an_index_of_the_old_vectors_is_not_used),
        cmocka_unit_test(the_old_vectors_go_in_the_end),
        cmocka_unit_test(items_without_text_have_no_vector),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
