/* A store whose vectors a BERT model makes, through the public API: the folder is remembered, another model in its place is
 * noticed, and a store whose model is gone goes on with the vectors that it has. */
#include "shop.h"

#include "model_folder.h"

static void put_vocabulary(const struct folder *f) {
    folder_put(f, "config.json", TINY_CONFIG);
    folder_put(f, "vocab.txt",
               "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\ngreen\nblue\nround\nsquare\nthing\n");
}

static struct folder make_tiny(void) {
    const struct folder f = folder_make();
    const struct tiny how = {0};
    put_vocabulary(&f);
    tiny_save(&f, &how);
    return f;
}

static void put_things(u2i_t *u) {
    static const char *const titles[] = {"red round thing", "green round thing",
                                         "blue square thing"};
    for (size_t i = 0; i < 3; i++) {
        const u2i_item_t item = {.id = titles[i], .title = titles[i]};
        u2i_error_t err;
        shop_ok(u2i_put_items(u, &item, 1, sizeof(item), &err), &err);
    }
}

/* Whether the item of that title leads, but for rounding: random weights make vectors that are nearly the same. */
static void assert_leads(const u2i_result_t *r, const char *title) {
    const int at = shop_find(r, title);
    assert_true(at >= 0);
    assert_float_equal(u2i_result_hit(r, (size_t)at)->score, u2i_result_hit(r, 0)->score, 1e-6);
}

/* How many items a text finds; `first`: the item of that title leads. */
static size_t answered(u2i_t *u, const char *text, bool first, u2i_error_t *err) {
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r = NULL;
    q.text = text;
    q.limit = 3;
    const int rc = u2i_search(u, &q, &r, err);
    const size_t n = rc == U2I_OK ? u2i_result_count(r) : 0;
    if (n > 0 && first) {
        assert_leads(r, text);
    }
    u2i_result_free(r);
    return n;
}

static size_t found(u2i_t *u, const char *text, u2i_error_t *err) {
    return answered(u, text, true, err);
}

static u2i_t *open_as(const char *path, const char *model, u2i_error_t *err) {
    u2i_options_t opt = U2I_OPTIONS_INIT;
    u2i_t *u = NULL;
    opt.model = model;
    (void)u2i_open(path, &opt, &u, err); /* NULL tells */
    return u;
}

static void the_store_remembers_its_model(void **state) {
    (void)state;
    char path[256], folder[256];
    u2i_error_t err;
    u2i_stats_t stats = U2I_STATS_INIT;
    const struct folder f = make_tiny();
    shop_path(path, sizeof(path));
    u2i_t *u = open_as(path, f.path, &err);
    assert_non_null(u);
    shop_ok(u2i_stats(u, &stats, &err), &err);
    assert_int_equal(stats.dim, TINY_HIDDEN);
    assert_non_null(strstr(stats.model, strrchr(f.path, '/') + 1));
    put_things(u);
    assert_int_equal(found(u, "red round thing", &err), 3);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_as(path, NULL, &err);
    assert_non_null(u);
    assert_int_equal(found(u, "blue square thing", &err), 3);
    shop_ok(u2i_get_setting(u, "model_folder", folder, sizeof(folder), &err), &err);
    assert_string_equal(folder, f.path);
    assert_int_equal(u2i_close(u), U2I_OK);
    folder_remove(&f);
    shop_remove(path);
}

static void a_store_whose_model_is_gone_goes_on(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    const struct folder f = make_tiny();
    shop_path(path, sizeof(path));
    u2i_t *u = open_as(path, f.path, &err);
    assert_non_null(u);
    put_things(u);
    shop_event(u, "me", "like", "red round thing", 1600000000000);
    assert_int_equal(u2i_close(u), U2I_OK);
    folder_remove(&f);
    u = open_as(path, NULL, &err);
    assert_non_null(u);
    u2i_result_t *r = shop_recommend(u, "me");
    assert_int_equal(u2i_result_count(r), 2);
    u2i_result_free(r);
    r = shop_recommend(u, "nobody");
    assert_int_equal(u2i_result_count(r), 3);
    u2i_result_free(r);
    assert_int_equal(found(u, "red round thing", &err), 0);
    assert_int_equal(err.code, U2I_EEMBED);
    assert_non_null(strstr(err.msg, "text cannot be embedded"));
    put_things(u); /* as they are: their vectors are known */
    const u2i_item_t changed = {.id = "red round thing", .title = "red square thing"};
    assert_int_equal(u2i_put_items(u, &changed, 1, sizeof(changed), &err), U2I_EEMBED);
    const u2i_item_t item = {.id = "new", .title = "green thing"};
    assert_int_equal(u2i_put_items(u, &item, 1, sizeof(item), &err), U2I_EEMBED);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

static void another_model_is_noticed(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    const struct folder f = make_tiny();
    const struct folder other = folder_make();
    const struct tiny halves = {.dtype = "F16"};
    put_vocabulary(&other);
    tiny_save(&other, &halves);
    shop_path(path, sizeof(path));
    u2i_t *u = open_as(path, f.path, &err);
    assert_non_null(u);
    put_things(u);
    assert_int_equal(u2i_close(u), U2I_OK);
    assert_null(open_as(path, other.path, &err)); /* whoever says which one means it */
    assert_int_equal(err.code, U2I_EEMBED);
    assert_non_null(strstr(err.msg, strrchr(other.path, '/') + 1));
    assert_null(open_as(path, "hash", &err));
    assert_int_equal(err.code, U2I_EEMBED);
    tiny_save(&f, &halves); /* in its place: only text is refused */
    u = open_as(path, NULL, &err);
    assert_non_null(u);
    assert_int_equal(found(u, "red round thing", &err), 0);
    assert_int_equal(err.code, U2I_EEMBED);
    assert_int_equal(u2i_close(u), U2I_OK);
    folder_remove(&f);
    folder_remove(&other);
    shop_remove(path);
}

/* The same model is the same wherever it lies, and by whatever way it is reached. */
static void a_model_may_be_linked_to_and_moved(void **state) {
    (void)state;
    char path[256], link[300], moved[300];
    u2i_error_t err;
    u2i_options_t opt = U2I_OPTIONS_INIT;
    struct folder f = make_tiny();
    shop_path(path, sizeof(path));
    (void)snprintf(link, sizeof(link), "%s-link", f.path);
    (void)snprintf(moved, sizeof(moved), "%s-moved", f.path);
    assert_int_equal(symlink(f.path, link), 0);
    u2i_t *u = open_as(path, link, &err);
    assert_non_null(u);
    put_things(u);
    assert_int_equal(u2i_close(u), U2I_OK);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(rename(f.path, moved), 0);
    opt.flags = U2I_OPEN_READONLY;
    opt.model = moved; /* not to be remembered, but used */
    shop_ok(u2i_open(path, &opt, &u, &err), &err);
    assert_int_equal(found(u, "red round thing", &err), 3);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_as(path, NULL, &err);
    assert_non_null(u);
    assert_int_equal(found(u, "red round thing", &err), 0);
    assert_int_equal(u2i_set_setting(u, "model_folder", "somewhere", &err), U2I_EINVAL);
    shop_ok(u2i_set_setting(u, "model_folder", moved, &err), &err);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_as(path, NULL, &err);
    assert_non_null(u);
    assert_int_equal(found(u, "red round thing", &err), 3);
    assert_int_equal(u2i_close(u), U2I_OK);
    assert_int_equal(rename(moved, f.path), 0);
    folder_remove(&f);
    shop_remove(path);
}

/* Their interests are text: the model is loaded for the first of them, and where it can't be, popularity speaks. */
static void strangers_with_interests_are_met(void **state) {
    (void)state;
    for (int gone = 0; gone < 2; gone++) {
        char path[256];
        u2i_error_t err;
        const struct folder f = make_tiny();
        shop_path(path, sizeof(path));
        u2i_t *u = open_as(path, f.path, &err);
        assert_non_null(u);
        put_things(u);
        const u2i_user_t user = {.id = "me", .interests = "blue square thing"};
        shop_ok(u2i_put_users(u, &user, 1, sizeof(user), &err), &err);
        assert_int_equal(u2i_close(u), U2I_OK);
        if (gone == 1) {
            folder_remove(&f);
        }
        u = open_as(path, NULL, &err);
        assert_non_null(u);
        u2i_result_t *r = shop_recommend(u, "me");
        assert_int_equal(u2i_result_count(r), 3);
        if (gone == 0) {
            assert_string_equal(u2i_result_hit(r, 0)->id, "blue square thing");
            folder_remove(&f);
        }
        u2i_result_free(r);
        assert_int_equal(u2i_close(u), U2I_OK);
        shop_remove(path);
    }
}

static void precision_holds_from_the_next_opening_on(void **state) {
    (void)state;
    char path[256], value[16];
    u2i_error_t err;
    const struct folder f = make_tiny();
    shop_path(path, sizeof(path));
    u2i_t *u = open_as(path, f.path, &err);
    assert_non_null(u);
    put_things(u);
    assert_int_equal(u2i_set_setting(u, "model_precision", "int4", &err), U2I_EINVAL);
    shop_ok(u2i_set_setting(u, "model_precision", "int8", &err), &err);
    assert_int_equal(found(u, "red round thing", &err), 3);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_as(path, NULL, &err);
    assert_non_null(u);
    shop_ok(u2i_get_setting(u, "model_precision", value, sizeof(value), &err), &err);
    assert_string_equal(value, "int8");
    put_things(
        u); /* in bytes now; a model of small numbers all alike is too coarse to say who is first */
    assert_int_equal(answered(u, "red round thing", false, &err), 3);
    assert_int_equal(u2i_close(u), U2I_OK);
    folder_remove(&f);
    shop_remove(path);
}

static void a_model_is_found_by_its_name(void **state) {
    (void)state;
    char path[256], inside[300];
    u2i_error_t err;
    struct folder f = make_tiny();
    const struct folder home = folder_make();
    (void)snprintf(inside, sizeof(inside), "%s/tiny-model", home.path);
    assert_int_equal(rename(f.path, inside), 0);
    (void)setenv("U2I_MODELS", home.path, 1);
    shop_path(path, sizeof(path));
    u2i_t *u = open_as(path, "tiny-model", &err);
    assert_non_null(u);
    put_things(u);
    assert_int_equal(u2i_close(u), U2I_OK);
    (void)unsetenv("U2I_MODELS");
    u = open_as(path, NULL, &err); /* the store knows the place */
    assert_non_null(u);
    assert_int_equal(found(u, "red round thing", &err), 3);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_as(path, "tiny-model", &err); /* and the name */
    assert_non_null(u);
    assert_int_equal(u2i_close(u), U2I_OK);
    folder_remove(&home);
    shop_remove(path);
}

static void vector_of(u2i_t *u, const char *id, const char *title, float *out) {
    u2i_error_t err;
    u2i_item_t *item;
    const u2i_item_t put = {.id = id, .title = title};
    if (title != NULL) {
        shop_ok(u2i_put_items(u, &put, 1, sizeof(put), &err), &err);
    }
    shop_ok(u2i_get_item(u, id, &item, &err), &err);
    memcpy(out, item->vector, TINY_HIDDEN * sizeof(*out));
    u2i_item_free(item);
}

/* As if it stood in the text itself. */
static void prefixes_stand_before_texts(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    float with[TINY_HIDDEN], without[TINY_HIDDEN];
    const struct folder f = make_tiny();
    shop_path(path, sizeof(path));
    u2i_t *plain = open_as(":memory:", f.path, &err);
    u2i_t *u = open_as(path, f.path, &err);
    assert_non_null(plain);
    assert_non_null(u);
    shop_set(u, "passage_prefix", "red ");
    vector_of(plain, "a", "red round thing", without);
    vector_of(u, "a", "round thing", with); /* at once */
    assert_memory_equal(with, without, sizeof(with));
    assert_int_equal(u2i_set_setting(u, "passage_prefix", "blue ", &err), U2I_EINVAL);
    assert_non_null(strstr(err.msg, "u2i reembed --passage-prefix"));
    assert_int_equal(u2i_set_setting(u, "long_texts", "average", &err), U2I_EINVAL);
    shop_set(u, "passage_prefix", "red "); /* as it is */
    u2i_reembed_options_t to = U2I_REEMBED_OPTIONS_INIT;
    to.passage_prefix = "blue ";
    shop_ok(u2i_reembed_to(u, &to, &err), &err);
    vector_of(plain, "a", "blue round thing", without);
    vector_of(u, "a", NULL, with);
    assert_memory_equal(with, without, sizeof(with));
    shop_set(u, "query_prefix", "blue "); /* changes no item */
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    q.text = "round thing";
    shop_ok(u2i_search(u, &q, &r, &err), &err);
    assert_true(u2i_result_hit(r, 0)->score > 0.9999f);
    u2i_result_free(r);
    assert_int_equal(u2i_close(u), U2I_OK);
    assert_int_equal(u2i_close(plain), U2I_OK);
    folder_remove(&f);
    shop_remove(path);
}

static void what_is_no_model_makes_no_store(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    shop_path(path, sizeof(path));
    assert_null(open_as(path, "bert", &err));
    assert_int_equal(err.code, U2I_ENOTFOUND);
    assert_non_null(strstr(err.msg, "./bert"));
    assert_null(open_as(path, "./nowhere", &err));
    assert_int_equal(err.code, U2I_ENOTFOUND);
    assert_int_equal(access(path, F_OK), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_store_remembers_its_model),
        cmocka_unit_test(a_store_whose_model_is_gone_goes_on),
        cmocka_unit_test(another_model_is_noticed),
        cmocka_unit_test(a_model_may_be_linked_to_and_moved),
        cmocka_unit_test(strangers_with_interests_are_met),
        cmocka_unit_test(precision_holds_from_the_next_opening_on),
        cmocka_unit_test(a_model_is_found_by_its_name),
        cmocka_unit_test(prefixes_stand_before_texts),
        cmocka_unit_test(what_is_no_model_makes_no_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
