/* Filter text from anybody. Whatever the bytes: no crash, an error has a place within the text and
 * a message, and a filter that is accepted gives the same rows by the columns and by the walk over
 * each item. */
#include "base/alloc.h"
#include "filter/filter.h"
#include <stdio.h>

#define FUZZ_ITEMS 12u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_require(bool holds, const char *what) {
    if (!holds) {
        (void)fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

struct fuzz_shop {
    struct columns *columns;
    struct intern *ids;
    roaring_bitmap_t *live;
    struct attrs *items[FUZZ_ITEMS];
};

/* Every type under every name that the corpus uses. */
static const char *const fuzz_attrs[FUZZ_ITEMS] = {
    "{}",
    "{\"price\":10,\"color\":\"red\",\"n\":1,\"a\":1,\"b\":2,\"c\":3,\"flag\":true}",
    "{\"price\":15.5,\"s\":\"100%\",\"a\":null,\"b\":\"x\",\"c\":false,\"flag\":false}",
    "{\"tags\":[\"x\",1,true,null,2.5],\"a\":[[1,2],[3,4,5],{\"b\":\"it's\"}]}",
    "{\"t\":{\"u\":[3,2,1]},\"a\":{\"b\":[[0,{\"c\":\"it's\"}]]},\"价格\":999}",
    "{\"a\":9223372036854775807,\"b\":-9223372036854775808,\"c\":9007199254740993}",
    "{\"a\":9007199254740992.0,\"b\":0,\"c\":-0.0,\"颜色\":\"\\ud83d\\ude00\"}",
    "{\"a\":1e308,\"b\":1e-300,\"c\":-1e19,\"price\":\"10\"}",
    "{\"a\":\"\",\"b\":\"ab\",\"c\":\"abc\",\"s\":\"低价书\",\"title_\":\"abc\"}",
    "{\"a\":true,\"b\":false,\"c\":true,\"n\":31}",
    "{\"a\":[],\"b\":[[]],\"c\":[{}],\"tags\":[]}",
    "{\"a\":2,\"b\":2.0,\"c\":-3,\"color\":\"gr\\u00fcn\",\"n\":2.5}"};

static struct fuzz_shop *fuzz_open(void) {
    static struct fuzz_shop shop;
    u2i_error_t err;
    if (shop.columns != NULL) {
        return &shop;
    }
    fuzz_require(columns_new(&shop.columns, &err) == U2I_OK, "columns");
    shop.ids = intern_new();
    shop.live = roaring_bitmap_create();
    for (uint32_t i = 0; i < FUZZ_ITEMS; i++) {
        const char *const category = i % 3 == 0 ? NULL : i % 3 == 1 ? "book" : "film";
        char id[32];
        const int id_n = snprintf(id, sizeof id, "item %u", i);
        fuzz_require(attrs_parse(category, fuzz_attrs[i], strlen(fuzz_attrs[i]), &shop.items[i],
                                 &err) == U2I_OK,
                     "attributes");
        /* Far apart, so that there is more than one chunk. */
        fuzz_require(columns_put(shop.columns, i * 1000, shop.items[i], &err) == U2I_OK, "put");
        fuzz_require(intern_put(shop.ids, i * 1000, id, (size_t)id_n) == U2I_OK, "id");
        roaring_bitmap_add(shop.live, i * 1000);
    }
    return &shop;
}

static void fuzz_check_rows(const struct fuzz_shop *shop, const struct filter *f) {
    const struct filter_rows rows = {shop->columns, shop->ids, shop->live};
    roaring_bitmap_t *found = NULL;
    u2i_error_t err;
    fuzz_require(filter_eval(f, &rows, NULL, &found, &err) == U2I_OK, "evaluation succeeds");
    uint64_t expected = 0;
    for (uint32_t i = 0; i < FUZZ_ITEMS; i++) {
        const bool yes = filter_item(f, intern_name(shop->ids, i * 1000, NULL), shop->items[i]);
        fuzz_require(yes == roaring_bitmap_contains(found, i * 1000), "columns agree with items");
        expected += yes;
    }
    fuzz_require(expected == roaring_bitmap_get_cardinality(found), "no other row");
    roaring_bitmap_free(found);
}

/* Those of the three parameters that the text names. */
static size_t fuzz_params(const uint8_t *data, size_t n, u2i_param_t out[3]) {
    static const int64_t list[] = {1, 2, 31};
    const u2i_param_t all[] = {{"s", U2I_STRING, 0, {.s = "bo\"ok"}},
                               {"i", U2I_INT, 0, {.i = 100}},
                               {"l", U2I_INT, 3, {.list = list}}};
    static const char *const names[] = {"{s}", "{i}", "{l}"};
    size_t params_n = 0;
    for (size_t i = 0; i < 3; i++) {
        if (n > 0 && memmem(data, n, names[i], 3) != NULL) {
            out[params_n++] = all[i];
        }
    }
    return params_n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const struct fuzz_shop *const shop = fuzz_open();
    struct filter *f = NULL;
    u2i_error_t err;
    u2i_param_t params[3];
    const size_t params_n = fuzz_params(data, n, params);
    const int rc = filter_parse((const char *)data, n, params, params_n, &f, &err);
    if (rc == U2I_OK) {
        fuzz_check_rows(shop, f);
    } else {
        fuzz_require(rc == U2I_EFILTER && f == NULL, "the code is U2I_EFILTER");
        fuzz_require(err.offset >= -1 && err.offset <= (int32_t)n, "the offset is in the text");
        fuzz_require(err.msg[0] != '\0' && strchr(err.msg, '\n') == NULL, "one line of message");
    }
    filter_free(f);
    return 0;
}
