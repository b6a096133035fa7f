/* 3 and 3.0 are equal, so a real that is integral and fits is kept as the integer, in the list and
 * in each value that is looked for; what remains of reals is equal only to itself. Strings have a
 * bit for each code, which decides most questions without a search. */
#include "filter/filter_set.h"

#include "base/alloc.h"
#include "filter/columns.h"
#include "u2i.h"

static struct set_key filter_set_key(uint8_t tag, uint64_t value) {
    if (tag == VALUE_REAL) {
        const double r = column_real(value);
        const bool fits = r >= -9223372036854775808.0 && r < 9223372036854775808.0;
        if (fits && r == (double)(int64_t)r) {
            return (struct set_key){(uint64_t)(int64_t)r, VALUE_INT};
        }
    }
    return (struct set_key){value, tag};
}

static int filter_set_compare(const void *a, const void *b) {
    const struct set_key *const x = a, *const y = b;
    if (x->tag != y->tag) {
        return x->tag < y->tag ? -1 : 1;
    }
    return x->key < y->key ? -1 : x->key > y->key;
}

static int filter_set_add_string(struct filter_set *set, const struct value *v,
                                 const struct intern *names, struct arena *arena) {
    const uint32_t code = intern_find(names, v->as.s, v->n);
    if (code == INTERN_NONE) {
        set->absent++;
        return U2I_OK;
    }
    if (set->strings == NULL) {
        const size_t words = (size_t)intern_end(names) / 64 + 1;
        set->strings = arena_array(arena, words, sizeof *set->strings);
        if (set->strings == NULL) {
            return U2I_ENOMEM;
        }
        memset(set->strings, 0, words * sizeof *set->strings);
        set->strings_end = intern_end(names);
    }
    set->strings[code / 64] |= UINT64_C(1) << (code % 64);
    set->keys[set->n++] = (struct set_key){code, VALUE_STRING};
    return U2I_OK;
}

int filter_set_build(struct filter_set *set, const struct value *list, uint32_t n,
                     const struct intern *names, struct arena *arena) {
    *set = (struct filter_set){.keys = arena_array(arena, n, sizeof *set->keys)};
    if (set->keys == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct value *const v = &list[i];
        if (v->tag == VALUE_STRING) {
            const int rc = filter_set_add_string(set, v, names, arena);
            if (rc != U2I_OK) {
                return rc;
            }
        } else {
            const uint64_t bits = v->tag == VALUE_REAL ? column_bits(v->as.r) : (uint64_t)v->as.i;
            set->keys[set->n++] = filter_set_key(v->tag, bits);
        }
    }
    if (set->n > 1) {
        qsort(set->keys, set->n, sizeof *set->keys, filter_set_compare);
    }
    return U2I_OK;
}

uint32_t filter_set_find(const struct filter_set *set, uint8_t tag, uint64_t value) {
    if (tag == VALUE_STRING) {
        if (value >= set->strings_end || (set->strings[value / 64] >> (value % 64) & 1) == 0) {
            return SET_NONE;
        }
    }
    const struct set_key key = filter_set_key(tag, value);
    uint32_t low = 0, high = set->n;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        const int order = filter_set_compare(&set->keys[middle], &key);
        if (order == 0) {
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return SET_NONE;
}
