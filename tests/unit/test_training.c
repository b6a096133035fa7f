/* What a training promises through the public API: what everybody did decides, at once and in every
 * process, and everything that held before a training holds after it. The world: six kinds of films, each
 * with twelve, and people who like one kind; what a film's vector says of its kind is up to the test. */
#include "shop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#define KINDS 6
#define FILMS 12 /* of a kind */
#define FANS  40 /* of a kind */
#define DIM   16
#define T0    1500000000000 /* the first event */

static const char *film_id(int kind, int i) {
    static _Thread_local char id[4][16];
    static _Thread_local int turn;
    turn = (turn + 1) % 4;
    (void)snprintf(id[turn], sizeof(id[0]), "k%u-%02u", (unsigned)kind % 10, (unsigned)i % 100);
    return id[turn];
}

static int film_kind(const char *id) {
    return id[1] - '0';
}

static uint32_t world_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void put_film(u2i_t *u, int kind, int i, uint32_t *random) {
    float v[DIM];
    char attrs[64];
    for (int d = 0; d < DIM; d++) {
        v[d] = (float)(world_random(random) % 1000) / 1000 - 0.5f + (d == kind ? 3.0f : 0.0f);
    }
    (void)snprintf(attrs, sizeof(attrs), "{\"kind\": %d, \"number\": %d}", kind, i);
    const u2i_item_t item = {
        .id = film_id(kind, i), .title = film_id(kind, i), .attrs_json = attrs, .vector = v};
    u2i_error_t err;
    shop_ok(u2i_put_items(u, &item, 1, sizeof(item), &err), &err);
}

static void fill_world(u2i_t *u) {
    uint32_t random = 7;
    for (int k = 0; k < KINDS; k++) {
        for (int i = 0; i < FILMS; i++) {
            put_film(u, k, i, &random);
        }
    }
    for (int k = 0; k < KINDS; k++) {
        for (int f = 0; f < FANS; f++) {
            char user[16];
            u2i_event_t likes[6];
            u2i_error_t err;
            const int first = (int)(world_random(&random) % FILMS);
            (void)snprintf(user, sizeof(user), "fan%d-%d", k, f);
            for (int e = 0; e < 6; e++) {
                const int number =
                    e == 5 ? (int)(world_random(&random) % FILMS) : (first + e * 5) % FILMS;
                const int kind = e == 5 ? (int)(world_random(&random) % KINDS) : k;
                likes[e] = (u2i_event_t){.user = user,
                                         .item = film_id(kind, number),
                                         .action = "like",
                                         .time_ms = T0 + (int64_t)f * 3600000 + e * 60000};
                shop_ok(u2i_record(u, &likes[e], 1, sizeof(likes[0]), NULL, &err), &err);
            }
        }
    }
}

static u2i_t *open_world(const char *location) {
    u2i_t *u = shop_open(location, "none", DIM);
    fill_world(u);
    return u;
}

static void train(u2i_t *u) {
    u2i_error_t err;
    shop_ok(u2i_train(u, NULL, &err), &err);
}

static void like(u2i_t *u, const char *user, const char *item, int minute) {
    shop_event(u, user, "like", item, T0 + (int64_t)86400000 * 30 + (int64_t)minute * 60000);
}

/* How many of the first n hits are of that kind. */
static int count_kind(const u2i_result_t *r, size_t n, int kind) {
    int count = 0;
    for (size_t i = 0; i < n && i < u2i_result_count(r); i++) {
        count += film_kind(u2i_result_hit(r, i)->id) == kind;
    }
    return count;
}

/* "k3-01 k3-04 ...": for comparing lists. */
static void list_text(const u2i_result_t *r, char *out, size_t bytes) {
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < u2i_result_count(r) && at < bytes; i++) {
        at += (size_t)snprintf(out + at, bytes - at, "%s %.4f ", u2i_result_hit(r, i)->id,
                               (double)u2i_result_hit(r, i)->score);
    }
}

static int figure_of(void *ctx, const u2i_figure_t *f) {
    if (strcmp(f->name, "version") == 0) {
        *(double *)ctx = f->value;
    }
    assert_true(isfinite(f->value));
    assert_true(f->help[0] != '\0');
    return 0;
}

static double version_of(u2i_t *u) {
    double version = 0;
    u2i_error_t err;
    shop_ok(u2i_scan_training(u, figure_of, &version, &err), &err);
    return version;
}

/* ---- What it is good for ------------------------------------------------------------------------- */

static void what_others_did_decides_after_a_training(void **state) {
    (void)state;
    u2i_t *u = open_world(":memory:");
    train(u);
    assert_float_equal(version_of(u), 1, 0);
    like(u, "me", film_id(3, 0), 0);
    like(u, "me", film_id(3, 4), 1);
    u2i_result_t *r = shop_recommend(u, "me");
    assert_int_equal(u2i_result_count(r), 10);
    assert_true(count_kind(r, 8, 3) >= 7);
    const u2i_hit_t *hit = u2i_result_hit(r, 0);
    assert_true(hit->source == U2I_FROM_TASTE || hit->source == U2I_FROM_NEIGHBOURS);
    assert_true(hit->probability > 0 && hit->probability < 1);
    assert_int_equal(film_kind(hit->because), 3);
    assert_string_equal(hit->because_action, "like");
    u2i_result_free(r);
    u2i_close(u);
}

static void nine_likes_of_one_kind_change_the_very_next_list(void **state) {
    (void)state;
    u2i_t *u = open_world(":memory:");
    train(u);
    like(u, "me", film_id(1, 0), 0);
    like(u, "me", film_id(1, 1), 1);
    u2i_result_t *r = shop_recommend(u, "me");
    assert_true(count_kind(r, 5, 1) >= 4);
    u2i_result_free(r);
    for (int i = 0; i < 9; i++) {
        like(u, "me", film_id(4, i), 10 + i);
    }
    r = shop_recommend(u, "me");
    assert_int_equal(count_kind(r, 3, 4), 3); /* the three that are left of that kind */
    u2i_result_free(r);
    u2i_close(u);
}

/* Parts add up to the score; and where all `n` items of the history speak for a hit, pulls and what is of nobody do,
 * too. Returns whether that was so for the hit. */
static bool assert_adds_up(const u2i_hit_t *hit, size_t n) {
    double sum = 0, of_nobody = 0, pulls = 0;
    for (size_t p = 0; p < hit->parts_n; p++) {
        const bool own =
            strcmp(hit->parts[p].name, "trend") == 0 || strcmp(hit->parts[p].name, "popular") == 0;
        sum += (double)hit->parts[p].value;
        of_nobody += own ? (double)hit->parts[p].value : 0;
    }
    assert_float_equal((float)sum, hit->score, 1e-4);
    for (size_t p = 0; p < hit->pulls_n; p++) {
        pulls += (double)hit->pulls[p].value;
        assert_true(hit->pulls[p].value > 0);
    }
    if (hit->pulls_n == n) {
        assert_float_equal((float)(pulls + of_nobody), hit->score, 1e-3);
    }
    return hit->pulls_n == n;
}

static void parts_add_up_to_the_score_and_pulls_to_their_parts(void **state) {
    (void)state;
    u2i_t *u = open_world(":memory:");
    train(u);
    like(u, "me", film_id(2, 0), 0);
    like(u, "me", film_id(2, 5), 1);
    like(u, "me", film_id(5, 5), 2);
    u2i_result_t *r = shop_recommend(u, "me");
    for (size_t i = 0; i < u2i_result_count(r); i++) {
        (void)assert_adds_up(u2i_result_hit(r, i), 3);
    }
    u2i_result_free(r);
    u2i_close(u);
}

static int trend_of(void *ctx, const u2i_figure_t *f) {
    if (strcmp(f->name, "weight.trend") == 0) {
        *(double *)ctx = f->value;
    }
    return 0;
}

/* A year of likes; in its last weeks, everybody also likes what is new in town: kind 5. */
static void add_fashion(u2i_t *u) {
    for (int user = 0; user < 300; user++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "f%d", user);
        for (int e = 0; e < 5; e++) {
            shop_event(u, name, "like", film_id(user % 5, (user + e * 5) % FILMS),
                       T0 + (int64_t)86400000 * (user + e * 10));
        }
        for (int e = 0; e < 3; e++) {
            shop_event(u, name, "like", film_id(5, (user + e * 3) % FILMS),
                       T0 + (int64_t)86400000 * (365 + user % 20 + e));
        }
    }
}

/* With a trend in the vectors, and diversity, which looks at them too: the reasons of an item that isn't learnt. */
static void reasons_of_new_items_add_up_with_diversity(void **state) {
    (void)state;
    u2i_t *u = open_world(":memory:");
    uint32_t random = 99;
    double trend = 0;
    u2i_error_t err;
    add_fashion(u);
    train(u);
    shop_ok(u2i_scan_training(u, trend_of, &trend, &err), &err);
    assert_true(trend > 0);
    shop_event(u, "me", "like", film_id(3, 0), T0 + (int64_t)86400000 * 400);
    shop_event(u, "me", "like", film_id(3, 4), T0 + (int64_t)86400000 * 401);
    for (int kind = 0; kind < KINDS; kind++) {
        put_film(u, kind, FILMS, &random);
    }
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = "me";
    q.filter = "number == 12"; /* the new ones */
    q.diversity = 0.5;
    u2i_result_t *r = shop_ask(u, &q);
    bool any = false;
    assert_int_equal(u2i_result_count(r), KINDS);
    for (size_t i = 0; i < KINDS; i++) {
        any = assert_adds_up(u2i_result_hit(r, i), 2) || any;
    }
    assert_true(any);
    u2i_result_free(r);
    u2i_close(u);
}

static void a_new_item_comes_in_by_its_content(void **state) {
    (void)state;
    u2i_t *u = open_world(":memory:");
    uint32_t random = 99;
    train(u);
    like(u, "me", film_id(3, 0), 0);
    like(u, "me", film_id(3, 4), 1);
    put_film(u, 3, FILMS, &random);
    put_film(u, 0, FILMS, &random);
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = "me";
    q.filter = "number == 12";
    u2i_result_t *r = shop_ask(u, &q);
    assert_int_equal(u2i_result_count(r), 2);
    assert_string_equal(u2i_result_hit(r, 0)->id, film_id(3, FILMS));
    assert_int_equal(u2i_result_hit(r, 0)->source, U2I_FROM_TASTE);
    u2i_result_free(r);
    u2i_close(u);
}

static int note_version(void *ctx, const u2i_figure_t *f) {
    *(bool *)ctx = *(bool *)ctx || strcmp(f->name, "version") == 0;
    return 0;
}

/* Taste is learnt from events; only what was learnt of content has to wait for the next training. */
static void another_embedder_leaves_taste_as_it_is(void **state) {
    (void)state;
    char path[256], before[1024], after[1024];
    u2i_error_t err;
    u2i_reembed_options_t to = U2I_REEMBED_OPTIONS_INIT;
    uint32_t random = 99;
    bool trained = false;
    shop_path(path, sizeof(path));
    u2i_t *u = open_world(path);
    train(u);
    like(u, "me", film_id(3, 0), 0);
    like(u, "me", film_id(3, 4), 1);
    u2i_result_t *r = shop_recommend(u, "me");
    list_text(r, before, sizeof(before));
    u2i_result_free(r);
    put_film(u, 3, FILMS, &random); /* its taste is told by its content */
    to.model = "hash";
    to.dim = DIM; /* as long as the vectors that were there */
    shop_ok(u2i_reembed_to(u, &to, &err), &err);
    shop_ok(u2i_scan_training(u, note_version, &trained, &err), &err);
    assert_true(trained);
    const char *const ids[] = {film_id(3, FILMS)};
    u2i_item_t *item;
    shop_ok(u2i_get_item(u, ids[0], &item, &err), &err);
    assert_non_null(item->vector);
    u2i_item_free(item);
    shop_ok(u2i_delete_items(u, ids, 1, NULL, &err), &err);
    r = shop_recommend(u, "me");
    list_text(r, after, sizeof(after));
    u2i_result_free(r);
    assert_string_equal(after, before);
    train(u); /* and learns anew */
    u2i_close(u);
    shop_remove(path);
}

static void a_visitors_session_is_met_like_a_recorded_history(void **state) {
    (void)state;
    char recorded[1024], told[1024];
    u2i_t *u = open_world(":memory:");
    train(u);
    like(u, "me", film_id(3, 0), 0);
    like(u, "me", film_id(3, 4), 1);
    u2i_result_t *r = shop_recommend(u, "me");
    list_text(r, recorded, sizeof(recorded));
    u2i_result_free(r);
    const u2i_event_t session[] = {
        {.item = film_id(3, 4), .action = "like", .time_ms = T0 + 86400000LL * 30 + 60000},
        {.item = "never heard of", .action = "like", .time_ms = T0},
        {.item = film_id(3, 0), .action = "like", .time_ms = T0 + 86400000LL * 30}};
    u2i_query_t q = U2I_QUERY_INIT;
    q.session = session;
    q.session_n = 3;
    r = shop_ask(u, &q);
    list_text(r, told, sizeof(told));
    assert_string_equal(told, recorded);
    u2i_result_free(r);
    u2i_close(u);
}

/* ---- What still holds ---------------------------------------------------------------------------- */

static void filter_exclusions_and_deletions_hold_after_a_training(void **state) {
    (void)state;
    u2i_t *u = open_world(":memory:");
    u2i_error_t err;
    train(u);
    like(u, "me", film_id(3, 0), 0);
    const char *gone[] = {film_id(3, 7)};
    char keep[16];
    (void)snprintf(keep, sizeof(keep), "%s", film_id(3, 2));
    const char *exclude[] = {keep};
    shop_ok(u2i_delete_items(u, gone, 1, NULL, &err), &err);
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = "me";
    q.filter = "kind == 3";
    q.exclude = exclude;
    q.exclude_n = 1;
    q.limit = 100;
    u2i_result_t *r = shop_ask(u, &q);
    assert_int_equal(u2i_result_count(r), FILMS - 3);
    for (size_t i = 0; i < u2i_result_count(r); i++) {
        const char *id = u2i_result_hit(r, i)->id;
        assert_int_equal(film_kind(id), 3);
        assert_string_not_equal(id, film_id(3, 0));
        assert_string_not_equal(id, film_id(3, 2));
        assert_string_not_equal(id, film_id(3, 7));
    }
    u2i_result_free(r);
    u2i_close(u);
}

static void a_training_is_in_use_after_a_restart_and_in_other_processes(void **state) {
    (void)state;
    char path[256], before[1024], after[1024];
    shop_path(path, sizeof(path));
    u2i_t *u = open_world(path);
    u2i_t *other = shop_open(path, NULL, 0);
    like(u, "me", film_id(3, 0), 0);
    u2i_result_free(shop_recommend(other, "me"));
    train(u);
    u2i_result_t *r = shop_recommend(u, "me");
    list_text(r, before, sizeof(before));
    u2i_result_free(r);
    r = shop_recommend(other, "me");
    list_text(r, after, sizeof(after));
    assert_string_equal(after, before);
    u2i_result_free(r);
    assert_int_equal(u2i_close(other), U2I_OK);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = shop_open(path, NULL, 0);
    r = shop_recommend(u, "me");
    list_text(r, after, sizeof(after));
    assert_string_equal(after, before);
    u2i_result_free(r);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

/* The list of "me" after opening the store anew. */
static void list_anew(const char *path, char *out, size_t bytes) {
    u2i_t *u = shop_open(path, NULL, 0);
    u2i_result_t *r = shop_recommend(u, "me");
    list_text(r, out, bytes);
    u2i_result_free(r);
    assert_int_equal(u2i_close(u), U2I_OK);
}

/* Overwrites `n` bytes from the middle of the file on. */
static void spoil(const char *name, size_t n) {
    FILE *f = fopen(name, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    assert_int_equal(fseek(f, ftell(f) / 2, SEEK_SET), 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(fputc('x', f), 'x');
    }
    assert_int_equal(fclose(f), 0);
}

static void spoil_end(const char *name) {
    FILE *f = fopen(name, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -40, SEEK_END), 0);
    assert_int_equal(fwrite("12345678", 1, 8, f), 8);
    assert_int_equal(fclose(f), 0);
}

static long size_of(const char *name) {
    struct stat st;
    return stat(name, &st) == 0 ? (long)st.st_size : -1;
}

/* Beyond index_exact_max learnt items there is a graph, kept in a file: whoever opens the store finds it; one that is
 * another training's, or damaged, or lost, is made anew. The list is the same each time. */
static void the_index_of_taste_is_kept(void **state) {
    (void)state;
    char path[256], file[300], kept[300], before[1024], after[1024];
    shop_path(path, sizeof(path));
    (void)snprintf(file, sizeof(file), "%s-index/taste.hnsw", path);
    (void)snprintf(kept, sizeof(kept), "%s-index/kept", path);
    u2i_t *u = open_world(path);
    shop_set(u, "index_exact_max", "40");
    like(u, "me", film_id(3, 0), 0);
    train(u);
    assert_true(size_of(file) > 0);
    assert_int_equal(rename(file, kept), 0); /* of the first training */
    like(u, "me", film_id(3, 1), 1);
    train(u);
    assert_true(size_of(file) > 0);
    u2i_result_t *r = shop_recommend(u, "me");
    list_text(r, before, sizeof(before));
    u2i_result_free(r);
    assert_int_equal(u2i_close(u), U2I_OK);
    list_anew(path, after, sizeof(after));
    assert_string_equal(after, before);
    struct stat first, second;
    assert_int_equal(stat(file, &first), 0);
    list_anew(path, after, sizeof(after));
    assert_int_equal(stat(file, &second), 0);
    assert_true(first.st_ino == second.st_ino); /* opened, not written */
    assert_int_equal(stat(kept, &first), 0);
    assert_int_equal(rename(kept, file), 0);
    list_anew(path, after, sizeof(after));
    assert_string_equal(after, before);
    assert_int_equal(stat(file, &second), 0);
    assert_true(second.st_size > 0 && first.st_ino != second.st_ino); /* made anew */
    spoil(file, 5000);
    list_anew(path, after, sizeof(after));
    assert_string_equal(after, before);
    spoil_end(file); /* a float vector, whose checksum is looked at last */
    list_anew(path, after, sizeof(after));
    assert_string_equal(after, before);
    assert_int_equal(unlink(file), 0);
    list_anew(path, after, sizeof(after));
    assert_string_equal(after, before);
    shop_remove(path);
}

static void one_can_go_back_to_the_training_before(void **state) {
    (void)state;
    char first[1024], again[1024];
    u2i_error_t err;
    u2i_t *u = open_world(":memory:");
    assert_int_equal(u2i_untrain(u, 0, &err), U2I_ENOTFOUND);
    like(u, "me", film_id(3, 0), 0);
    train(u);
    u2i_result_t *r = shop_recommend(u, "me");
    list_text(r, first, sizeof(first));
    u2i_result_free(r);
    for (int i = 0; i < 30; i++) { /* now everybody who likes k3-00 likes k0-05 */
        char user[16];
        (void)snprintf(user, sizeof(user), "new%d", i);
        like(u, user, film_id(3, 0), i);
        like(u, user, film_id(0, 5), i + 2 * 1440); /* two days later: not "lately" */
    }
    train(u);
    assert_float_equal(version_of(u), 2, 0);
    r = shop_recommend(u, "me");
    list_text(r, again, sizeof(again));
    assert_string_not_equal(again, first);
    u2i_result_free(r);
    shop_ok(u2i_untrain(u, 0, &err), &err);
    assert_float_equal(version_of(u), 1, 0);
    r = shop_recommend(u, "me");
    list_text(r, again, sizeof(again));
    assert_string_equal(again, first);
    u2i_result_free(r);
    shop_ok(u2i_untrain(u, 1, &err), &err);
    assert_float_equal(version_of(u), 0, 0);
    u2i_close(u);
}

static int cancel_at_once(void *ctx, const char *step, uint64_t done, uint64_t total) {
    (void)step;
    (void)done;
    (void)total;
    ++*(int *)ctx;
    return 1;
}

static void a_cancelled_training_changes_nothing(void **state) {
    (void)state;
    int asked = 0;
    u2i_error_t err;
    u2i_train_options_t o = U2I_TRAIN_OPTIONS_INIT;
    u2i_t *u = open_world(":memory:");
    o.progress = cancel_at_once;
    o.ctx = &asked;
    assert_int_equal(u2i_train(u, &o, &err), U2I_ETIMEOUT);
    assert_true(asked > 0);
    assert_float_equal(version_of(u), 0, 0);
    u2i_close(u);
}

/* ---- In the background of others --------------------------------------------------------------- */

/* What another process has trained counts, with all events that it has seen, also those that tell nothing: nobody
 * trains anew because of it. */
static void a_training_of_another_process_is_as_good_as_an_own_one(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    u2i_options_t o = U2I_OPTIONS_INIT;
    u2i_t *stays;
    shop_path(path, sizeof(path));
    u2i_t *u = open_world(path);
    for (int i = 0; i < FILMS; i++) {
        u2i_event_t shown[100];
        for (int k = 0; k < 100; k++) {
            shown[k] = (u2i_event_t){
                .user = "me", .item = film_id(0, i), .action = "impression", .time_ms = T0 + k};
        }
        shop_ok(u2i_record(u, shown, 100, sizeof(shown[0]), NULL, &err), &err);
    }
    shop_ok(u2i_train(u, NULL, &err), &err);
    o.flags = U2I_OPEN_TRAINS;
    shop_ok(u2i_open(path, &o, &stays, &err), &err);
    (void)usleep(2500000); /* it looks once a second */
    assert_float_equal(version_of(stays), 1, 0);
    assert_int_equal(u2i_close(stays), U2I_OK);
    /* What it learnt of content is gone with the vectors: that is reason enough. */
    u2i_reembed_options_t to = U2I_REEMBED_OPTIONS_INIT;
    to.model = "hash";
    to.dim = 32;
    shop_ok(u2i_reembed_to(u, &to, &err), &err);
    shop_ok(u2i_open(path, &o, &stays, &err), &err);
    for (int i = 0; i < 600 && version_of(stays) < 2; i++) {
        (void)usleep(100000);
    }
    assert_float_equal(version_of(stays), 2, 0);
    assert_int_equal(u2i_close(stays), U2I_OK);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

/* ---- Little to learn from ------------------------------------------------------------------------ */

static void nothing_to_learn_is_said_and_answers_stay_as_they_were(void **state) {
    (void)state;
    u2i_error_t err;
    u2i_t *u = shop_open(":memory:", "none", DIM);
    uint32_t random = 1;
    assert_int_equal(u2i_train(u, NULL, &err), U2I_ENOTFOUND);
    put_film(u, 0, 0, &random);
    put_film(u, 0, 1, &random);
    assert_int_equal(u2i_train(u, NULL, &err), U2I_ENOTFOUND);
    shop_event(u, "me", "dislike", film_id(0, 0), T0);
    assert_int_equal(u2i_train(u, NULL, &err), U2I_ENOTFOUND);
    u2i_result_t *r = shop_recommend(u, "me");
    assert_int_equal(u2i_result_count(r), 1);
    u2i_result_free(r);
    u2i_close(u);
}

static void any_little_log_gives_sane_answers(void **state) {
    (void)state;
    for (int shape = 0; shape < 4; shape++) {
        u2i_error_t err;
        u2i_t *u = shop_open(":memory:", "none", DIM);
        uint32_t random = 1;
        for (int i = 0; i < 5; i++) {
            put_film(u, 0, i, &random);
        }
        for (int i = 0; i < 20; i++) { /* one user; one item; all the same pair; all at one time */
            char user[16];
            (void)snprintf(user, sizeof(user), "u%d", shape == 0 || shape == 2 ? 0 : i);
            shop_event(u, user, "like", film_id(0, shape == 1 || shape == 2 ? 0 : i % 5),
                       shape == 3 ? T0 : T0 + i);
        }
        const int rc = u2i_train(u, NULL, &err);
        assert_true(rc == U2I_OK || rc == U2I_ENOTFOUND);
        like(u, "me", film_id(0, 0), 0);
        u2i_result_t *r = shop_recommend(u, "me");
        assert_int_equal(u2i_result_count(r), 4);
        for (size_t i = 0; i < 4; i++) {
            assert_true(isfinite((double)u2i_result_hit(r, i)->score));
        }
        u2i_result_free(r);
        u2i_close(u);
    }
}

/* ---- Under load ---------------------------------------------------------------------------------- */

struct load {
    u2i_t *u;
    atomic_bool stop;
    atomic_int answers;
};

static void *load_run(void *arg) {
    struct load *l = arg;
    while (!atomic_load(&l->stop)) {
        u2i_query_t q = U2I_QUERY_INIT;
        u2i_result_t *r = NULL;
        u2i_error_t err;
        q.user = "me";
        shop_ok(u2i_recommend(l->u, &q, &r, &err), &err);
        assert_int_equal(u2i_result_count(r), 10);
        u2i_result_free(r);
        atomic_fetch_add(&l->answers, 1);
    }
    return NULL;
}

static void put_many(u2i_t *u, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        char id[16];
        const float v[DIM] = {1, (float)(i % 7)};
        const u2i_item_t item = {.id = id, .title = id, .vector = v};
        u2i_error_t err;
        (void)snprintf(id, sizeof(id), "i%u", i);
        shop_ok(u2i_put_items(u, &item, 1, sizeof(item), &err), &err);
    }
}

/* Events of as many users, or on as many items, as there are numbers. */
static void record_many(u2i_t *u, bool one_user, uint32_t n) {
    u2i_event_t events[500];
    char names[500][16];
    u2i_error_t err;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t at = i % 500;
        (void)snprintf(names[at], sizeof(names[at]), one_user ? "i%u" : "u%u", i);
        events[at] = (u2i_event_t){.user = one_user ? "collector" : names[at],
                                   .item = one_user ? names[at] : "i0",
                                   .action = "like",
                                   .time_ms = T0 + i};
        if (at == 499 || i + 1 == n) {
            shop_ok(u2i_record(u, events, at + 1, sizeof(events[0]), NULL, &err), &err);
        }
    }
}

/* Who likes everything says nothing of any item, and what everybody likes says nothing of anybody: neither makes the
 * model large, nor the training long. */
static void one_user_of_everything_and_one_item_of_everybody(void **state) {
    (void)state;
    enum { MANY = 12000 };
    u2i_t *u = shop_open(":memory:", "none", DIM);
    put_many(u, MANY);
    record_many(u, true, MANY - 10);
    record_many(u, false, MANY);
    for (int i = 0; i < 40; i++) {
        char user[16];
        (void)snprintf(user, sizeof(user), "u%d", i);
        like(u, user, i % 2 == 0 ? "i1" : "i2", i);
    }
    train(u);
    u2i_result_t *r = shop_recommend(u, "u0");
    assert_true(u2i_result_count(r) == 10);
    for (size_t i = 0; i < 10; i++) {
        assert_true(isfinite(u2i_result_hit(r, i)->score));
        assert_string_not_equal(u2i_result_hit(r, i)->id, "i0"); /* acted on */
    }
    u2i_result_free(r);
    r = shop_recommend(u, "collector");
    assert_true(u2i_result_count(r) == 10); /* all that is left */
    u2i_result_free(r);
    assert_int_equal(u2i_close(u), U2I_OK);
}

static void answers_go_on_while_trainings_are_exchanged(void **state) {
    (void)state;
    struct load l = {.u = open_world(":memory:")};
    pthread_t readers[2];
    uint32_t random = 5;
    like(l.u, "me", film_id(3, 0), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, load_run, &l), 0);
    }
    for (int round = 0; round < 4; round++) {
        train(l.u);
        put_film(l.u, 1, FILMS + round, &random);
        like(l.u, "you", film_id(round, 1), round);
    }
    atomic_store(&l.stop, true);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    }
    assert_true(atomic_load(&l.answers) > 0);
    assert_float_equal(version_of(l.u), 4, 0);
    u2i_close(l.u);
}

static void a_process_that_stays_trains_by_itself(void **state) {
    (void)state;
    u2i_options_t o = U2I_OPTIONS_INIT;
    u2i_t *u;
    u2i_error_t err;
    o.model = "none";
    o.dim = DIM;
    o.flags = U2I_OPEN_TRAINS;
    shop_ok(u2i_open(":memory:", &o, &u, &err), &err);
    fill_world(u);
    for (int i = 0; i < 600 && version_of(u) < 1; i++) {
        (void)usleep(100000);
    }
    assert_true(version_of(u) >= 1);
    u2i_close(u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_others_did_decides_after_a_training),
        cmocka_unit_test(nine_likes_of_one_kind_change_the_very_next_list),
        cmocka_unit_test(parts_add_up_to_the_score_and_pulls_to_their_parts),
        cmocka_unit_test(reasons_of_new_items_add_up_with_diversity),
        cmocka_unit_test(a_new_item_comes_in_by_its_content),
        cmocka_unit_test(another_embedder_leaves_taste_as_it_is),
        cmocka_unit_test(a_visitors_session_is_met_like_a_recorded_history),
        cmocka_unit_test(filter_exclusions_and_deletions_hold_after_a_training),
        cmocka_unit_test(a_training_is_in_use_after_a_restart_and_in_other_processes),
        cmocka_unit_test(the_index_of_taste_is_kept),
        cmocka_unit_test(one_can_go_back_to_the_training_before),
        cmocka_unit_test(a_cancelled_training_changes_nothing),
        cmocka_unit_test(a_training_of_another_process_is_as_good_as_an_own_one),
        cmocka_unit_test(nothing_to_learn_is_said_and_answers_stay_as_they_were),
        cmocka_unit_test(any_little_log_gives_sane_answers),
        cmocka_unit_test(one_user_of_everything_and_one_item_of_everybody),
        cmocka_unit_test(answers_go_on_while_trainings_are_exchanged),
        cmocka_unit_test(a_process_that_stays_trains_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
