/* The columns against the walk over one item: random items, random filters, rows put, replaced and
 * removed in random order. For each filter the bitmap must be exactly the rows of which
 * filter_item() says yes. The two share the operators on single values, which test_filter.c pins
 * down, and nothing else: not the normal form, nor codes, bounds, sets, chunks or masks. Likewise
 * filter_match() for some rows, and single values read from the columns and from an item.
 *
 * U2I_SEED=n repeats a run; it is printed when something differs. */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/rng.h"
#include "filter/attr.h"
#include "filter/filter.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define ROWS    20000u /* five chunks */
#define ROUNDS  12u
#define CHANGES 3000u
#define FILTERS 60u
#define ASKED   500u /* rows asked about by themselves */
#define PATHS   40u

struct world {
    struct rng rng;
    uint64_t seed;
    struct columns *columns;
    struct intern *ids;
    roaring_bitmap_t *live;
    struct attrs *items[ROWS];
};

static uint32_t below(struct world *w, uint32_t n) {
    return rng_below(&w->rng, n);
}

static const char *pick(struct world *w, const char *const *of, uint32_t n) {
    return of[below(w, n)];
}
#define PICK(w, of) pick(w, of, (uint32_t)(sizeof(of) / sizeof((of)[0])))

/* ---- Random attributes ---------------------------------------------------------------------- */

static const char *const strings[] = {"",    "a",  "ab",    "b",    "red", "价格",
                                      "a%b", "a_", "a\\\\", "book", "é",   "the quick brown fox"};
static const char *const numbers[] = {"0",
                                      "1",
                                      "2",
                                      "-1",
                                      "7",
                                      "10",
                                      "2.5",
                                      "-0.0",
                                      "1.0",
                                      "9007199254740993",
                                      "9007199254740992.0",
                                      "9223372036854775807",
                                      "-9223372036854775807",
                                      "9223372036854775808.0",
                                      "1e300",
                                      "-1e19",
                                      "0.1",
                                      "5e-324"};

static void put_scalar(struct world *w, struct buf *b) {
    switch (below(w, 8)) {
    case 0:
        buf_puts(b, "null");
        break;
    case 1:
        buf_puts(b, below(w, 2) != 0 ? "true" : "false");
        break;
    case 2:
    case 3:
    case 4:
        buf_printf(b, "\"%s\"", PICK(w, strings));
        break;
    default:
        buf_puts(b, PICK(w, numbers));
        break;
    }
}

static void put_object(struct world *w, struct buf *b, uint32_t depth);

static void put_value(struct world *w, struct buf *b, uint32_t depth) {
    const uint32_t kind = depth < 4 ? below(w, 8) : 7;
    if (kind == 0) {
        put_object(w, b, depth + 1);
    } else if (kind == 1) {
        const uint32_t n = below(w, 4);
        buf_putc(b, '[');
        for (uint32_t i = 0; i < n; i++) {
            buf_puts(b, i > 0 ? "," : "");
            put_value(w, b, depth + 1);
        }
        buf_putc(b, ']');
    } else {
        put_scalar(w, b);
    }
}

static const char *const keys[] = {"a", "b", "c", "tags", "价格", "rare"};

static void put_object(struct world *w, struct buf *b, uint32_t depth) {
    bool first = true;
    buf_putc(b, '{');
    for (uint32_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const bool rare = keys[i][0] == 'r';
        if (below(w, rare ? 40 : depth == 0 ? 3 : 2) == 0 || (depth == 0 && i == 0)) {
            buf_printf(b, "%s\"%s\":", first ? "" : ",", keys[i]);
            put_value(w, b, depth);
            first = false;
        }
    }
    buf_putc(b, '}');
}

static struct attrs *random_attrs(struct world *w) {
    static const char *const categories[] = {"book", "film", "a\"b", "小说", "", "toy"};
    struct buf json = {0};
    struct attrs *a = NULL;
    u2i_error_t err;
    put_object(w, &json, 0);
    const char *const category = below(w, 4) != 0 ? PICK(w, categories) : NULL;
    if (attrs_parse(category, json.data, json.len, &a, &err) != U2I_OK) {
        fail_msg("seed %llu: %s: %s", (unsigned long long)w->seed, json.data, err.msg);
    }
    buf_free(&json);
    return a;
}

/* ---- Random filters -------------------------------------------------------------------------- */

static void put_field(struct world *w, struct buf *b) {
    const uint32_t kind = below(w, 12);
    if (kind == 0) {
        buf_puts(b, "category");
        return;
    }
    if (kind == 1) {
        buf_puts(b, "id");
        return;
    }
    if (below(w, 2) != 0) {
        buf_puts(b, PICK(w, keys));
    } else {
        buf_printf(b, "attrs[\"%s\"]", PICK(w, keys));
    }
    while (below(w, 3) == 0) {
        if (below(w, 2) != 0) {
            buf_printf(b, "[\"%s\"]", PICK(w, keys));
        } else {
            buf_printf(b, "[%u]", below(w, 3));
        }
    }
}

static void put_constant(struct world *w, struct buf *b) {
    switch (below(w, 5)) {
    case 0:
        buf_puts(b, below(w, 2) != 0 ? "true" : "false");
        break;
    case 1:
        buf_printf(b, "\"item %u\"", below(w, ROWS));
        break;
    case 2:
        buf_printf(b, "\"%s\"", PICK(w, strings));
        break;
    default:
        buf_puts(b, PICK(w, numbers));
        break;
    }
}

static void put_list(struct world *w, struct buf *b) {
    const bool text = below(w, 2) != 0;
    const uint32_t n = below(w, 6);
    buf_putc(b, '[');
    for (uint32_t i = 0; i < n; i++) {
        buf_puts(b, i > 0 ? ", " : "");
        if (text) {
            buf_printf(b, "\"%s\"", PICK(w, strings));
        } else {
            buf_puts(b, PICK(w, numbers));
        }
    }
    buf_putc(b, ']');
}

static void put_expression(struct world *w, struct buf *b, uint32_t depth) {
    static const char *const operators[] = {"+", "-", "*", "/", "%", "**"};
    const uint32_t kind = depth < 3 ? below(w, 10) : 9;
    if (kind < 2) {
        buf_putc(b, '(');
        put_expression(w, b, depth + 1);
        buf_printf(b, " %s ", PICK(w, operators));
        put_expression(w, b, depth + 1);
        buf_putc(b, ')');
    } else if (kind == 2) {
        buf_puts(b, "-");
        put_field(w, b);
    } else if (kind == 3) {
        buf_puts(b, "array_length(");
        put_field(w, b);
        buf_putc(b, ')');
    } else if (kind == 4) {
        put_constant(w, b);
    } else {
        put_field(w, b);
    }
}

static void put_leaf(struct world *w, struct buf *b) {
    static const char *const relations[] = {"==", "!=", "<", "<=", ">", ">="};
    static const char *const patterns[] = {"a%", "%b", "_", "%", "%o%", "a\\%b", "%_%", "item 1%"};
    static const char *const tests[] = {" is null", " is not null"};
    static const char *const membership[] = {" in ", " not in "};
    static const char *const contains[] = {"array_contains_any(", "array_contains_all("};
    switch (below(w, 10)) {
    case 0:
        put_field(w, b);
        buf_printf(b, "%s \"%s\"", below(w, 2) != 0 ? " like" : " not like", PICK(w, patterns));
        break;
    case 1:
        put_expression(w, b, 1);
        buf_puts(b, PICK(w, membership));
        put_list(w, b);
        break;
    case 2:
        buf_puts(b, below(w, 2) != 0 ? "exists " : "");
        put_field(w, b); /* by itself it is a condition too */
        break;
    case 3:
        put_field(w, b);
        buf_puts(b, PICK(w, tests));
        break;
    case 4:
        buf_puts(b, PICK(w, contains));
        put_field(w, b);
        buf_puts(b, ", ");
        put_list(w, b);
        buf_putc(b, ')');
        break;
    case 5:
        buf_puts(b, "array_contains(");
        put_field(w, b);
        buf_puts(b, ", ");
        put_constant(w, b);
        buf_putc(b, ')');
        break;
    case 6:
        put_constant(w, b);
        buf_puts(b, below(w, 2) != 0 ? " <= " : " < ");
        put_expression(w, b, 1);
        buf_puts(b, " < ");
        put_expression(w, b, 2);
        break;
    default:
        put_expression(w, b, 0);
        buf_printf(b, " %s ", PICK(w, relations));
        if (below(w, 3) != 0) {
            put_constant(w, b);
        } else {
            put_expression(w, b, 1);
        }
        break;
    }
}

static void put_condition(struct world *w, struct buf *b, uint32_t depth) {
    const uint32_t kind = depth < 4 ? below(w, 6) : 5;
    if (kind == 0) {
        buf_puts(b, "not (");
        put_condition(w, b, depth + 1);
        buf_putc(b, ')');
    } else if (kind < 3) {
        const char *const join = kind == 1 ? " and " : " or ";
        const uint32_t n = 2 + below(w, 2);
        buf_putc(b, '(');
        for (uint32_t i = 0; i < n; i++) {
            buf_puts(b, i > 0 ? join : "");
            put_condition(w, b, depth + 1);
        }
        buf_putc(b, ')');
    } else {
        put_leaf(w, b);
    }
}

/* Some random texts break a rule of types; then another one is made. */
static struct filter *random_filter(struct world *w, struct buf *text) {
    for (uint32_t attempt = 0; attempt < 1000; attempt++) {
        struct filter *f = NULL;
        u2i_error_t err;
        buf_reset(text);
        put_condition(w, text, below(w, 4));
        const int rc = filter_parse(text->data, text->len, NULL, 0, &f, &err);
        if (rc == U2I_OK) {
            return f;
        }
        if (rc != U2I_EFILTER || err.offset < 0 || (size_t)err.offset > text->len) {
            fail_msg("seed %llu: %s: %s", (unsigned long long)w->seed, text->data, err.msg);
        }
    }
    fail_msg("seed %llu: no valid filter in 1000", (unsigned long long)w->seed);
    return NULL;
}

/* ---- The property ---------------------------------------------------------------------------- */

static void change_rows(struct world *w, uint32_t n) {
    u2i_error_t err;
    for (uint32_t i = 0; i < n; i++) {
        /* Rows of the first chunks are dense, those of the last ones few. */
        const uint32_t row = below(w, 4) != 0 ? below(w, 4500) : below(w, ROWS);
        if (w->items[row] != NULL && below(w, 3) == 0) {
            columns_remove(w->columns, row);
            roaring_bitmap_remove(w->live, row);
            attrs_free(w->items[row]);
            w->items[row] = NULL;
            continue;
        }
        struct attrs *const a = random_attrs(w);
        assert_int_equal(columns_put(w->columns, row, a, &err), U2I_OK);
        roaring_bitmap_add(w->live, row);
        attrs_free(w->items[row]);
        w->items[row] = a;
        if (intern_name(w->ids, row, NULL) == NULL) {
            char id[32];
            const int id_n = snprintf(id, sizeof id, "item %u", row);
            assert_int_equal(intern_put(w->ids, row, id, (size_t)id_n), U2I_OK);
        }
    }
}

static void check_filter(struct world *w, const struct filter *f, const char *text) {
    const struct filter_rows rows = {w->columns, w->ids, w->live};
    roaring_bitmap_t *found = NULL;
    u2i_error_t err;
    assert_int_equal(filter_eval(f, &rows, NULL, &found, &err), U2I_OK);
    for (uint32_t row = 0; row < ROWS; row++) {
        const bool expected =
            w->items[row] != NULL && filter_item(f, intern_name(w->ids, row, NULL), w->items[row]);
        if (roaring_bitmap_contains(found, row) != expected) {
            fail_msg("seed %llu: row %u: item says %d: %s", (unsigned long long)w->seed, row,
                     expected, text);
        }
    }
    roaring_bitmap_free(found);
}

static void check_match(struct world *w, const struct filter *f, const char *text) {
    const struct filter_rows rows = {w->columns, w->ids, w->live};
    uint32_t which[ASKED];
    bool passes[ASKED];
    u2i_error_t err;
    for (uint32_t i = 0; i < ASKED; i++) {
        do {
            which[i] = below(w, ROWS);
        } while (w->items[which[i]] == NULL);
    }
    assert_int_equal(filter_match(f, &rows, which, ASKED, passes, &err), U2I_OK);
    for (uint32_t i = 0; i < ASKED; i++) {
        const char *const id = intern_name(w->ids, which[i], NULL);
        if (passes[i] != filter_item(f, id, w->items[which[i]])) {
            fail_msg("seed %llu: row %u: filter_match() says %d: %s", (unsigned long long)w->seed,
                     which[i], passes[i], text);
        }
    }
}

/* ---- Single values -------------------------------------------------------------------------- */

static struct attr_path *random_path(struct world *w, struct buf *text) {
    struct attr_path *path = NULL;
    u2i_error_t err;
    buf_reset(text);
    if (below(w, 10) == 0) {
        buf_puts(text, "category");
    } else {
        buf_printf(text, "attrs[\"%s\"]", PICK(w, keys));
        for (uint32_t i = below(w, 4); i > 0; i--) {
            if (below(w, 3) == 0) {
                buf_printf(text, "[%u]", below(w, 3));
            } else {
                buf_printf(text, "[\"%s\"]", PICK(w, keys));
            }
        }
    }
    assert_int_equal(attr_path_parse(text->data, text->len, &path, &err), U2I_OK);
    return path;
}

static bool same_value(const struct attr_value *a, const struct attr_value *b) {
    bool same = a->type == b->type && a->key == b->key && a->n == b->n && a->number == b->number &&
                (a->key == 0) == (a->type == ATTR_MISSING);
    if (same && (a->type == ATTR_INT || a->type == ATTR_BOOL)) {
        same = a->i == b->i;
    }
    if (same && a->type == ATTR_STRING) {
        same = memcmp(a->s, b->s, a->n) == 0;
    }
    for (uint32_t i = 0; same && a->type == ATTR_ARRAY && i < a->n; i++) {
        struct attr_value x, y;
        attr_element(a, i, &x);
        attr_element(b, i, &y);
        same = same_value(&x, &y);
    }
    return same;
}

static void check_path(struct world *w, const struct attr_path *path, const char *text) {
    struct attr_column column;
    u2i_error_t err;
    assert_int_equal(attr_column_find(w->columns, path, &column, &err), U2I_OK);
    for (uint32_t row = 0; row < ROWS; row++) {
        struct attr_value expected = {.type = ATTR_MISSING}, found;
        if (w->items[row] != NULL) {
            attrs_get(w->items[row], path, &expected);
        }
        columns_get(&column, row, &found);
        if (!same_value(&expected, &found)) {
            fail_msg("seed %llu: row %u has another %s in the columns", (unsigned long long)w->seed,
                     row, text);
        }
    }
}

static uint64_t choose_seed(void) {
    const char *const given = getenv("U2I_SEED");
    return given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
}

static void bitmap_is_what_row_by_row_evaluation_says(void **state) {
    (void)state;
    struct world *const w = mem_zalloc(sizeof *w);
    struct buf text = {0};
    u2i_error_t err;
    assert_non_null(w);
    w->seed = choose_seed();
    rng_seed(&w->rng, w->seed);
    w->ids = intern_new();
    w->live = roaring_bitmap_create();
    assert_int_equal(columns_new(&w->columns, &err), U2I_OK);

    for (uint32_t round = 0; round < ROUNDS; round++) {
        change_rows(w, CHANGES);
        for (uint32_t i = 0; i < FILTERS; i++) {
            struct filter *const f = random_filter(w, &text);
            check_filter(w, f, text.data);
            check_match(w, f, text.data);
            filter_free(f);
        }
        for (uint32_t i = 0; i < PATHS; i++) {
            struct attr_path *const path = random_path(w, &text);
            check_path(w, path, text.data);
            attr_path_free(path);
        }
    }

    for (uint32_t row = 0; row < ROWS; row++) {
        columns_remove(w->columns, row);
        attrs_free(w->items[row]);
    }
    buf_free(&text);
    roaring_bitmap_free(w->live);
    intern_free(w->ids);
    columns_free(w->columns);
    mem_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bitmap_is_what_row_by_row_evaluation_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
