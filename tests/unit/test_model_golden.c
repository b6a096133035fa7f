/* A small world whose figures numpy has worked out from the formulas of docs/training.md (reference.py with its later
 * constants): ease in closed form, the sequence matrix, trend, a profile, popularity for strangers. */
#include "model_world.h"

#include "model/model_internal.h"

#define GOLDEN_USERS 40u
#define GOLDEN_ITEMS 24u

static struct world golden_world(void) {
    struct world w = {.users = GOLDEN_USERS, .items = GOLDEN_ITEMS, .groups = 1};
    for (uint32_t u = 0; u < GOLDEN_USERS; u++) {
        for (uint32_t e = 0; e < 9; e++) {
            const uint32_t item = (u * 5 + e * e * 3 + e * (u % 3)) % GOLDEN_ITEMS;
            const float weight = (u + e) % 11 == 0 ? 0 : (u * 3 + e) % 4 == 0 ? 0.4f : 1;
            const int64_t day = (u * 13 + e * 29) % 200;
            world_add(&w,
                      (struct train_event){u, item, weight, WORLD_START_MS + day * WORLD_DAY_MS});
        }
    }
    return w;
}

static const uint32_t golden_rows[6] = {0, 1, 5, 9, 12, 23};

static void assert_close(double got, double expected, double tolerance) {
    if (!(fabs(got - expected) <= tolerance * (fabs(expected) + 1e-3))) {
        fail_msg("got %.6g, expected %.6g", got, expected);
    }
}

/* The parts before they are divided by their spreads, on all events. */
static struct model *golden_fit(struct world *w, struct model_input *in,
                                struct train_event **list) {
    struct model_run run;
    struct model *m = NULL;
    u2i_error_t err = {0};
    *in = world_input(w);
    assert_int_equal(model_events_sort(in, list, &err), U2I_OK);
    model_run_begin(&run, in);
    const struct model_fit how = {.ev = {*list, w->n},
                                  .now_ms = WORLD_START_MS + 210 * WORLD_DAY_MS,
                                  .parts =
                                      1u << MODEL_EASE | 1u << MODEL_SEQUENCE | 1u << MODEL_TREND,
                                  .popular = {.settings = 1u << 8}, /* 30 days, first baskets */
                                  .taste = {0.5, 1e12, 0.02},
                                  .order = {1, 1e12, 0.02},
                                  .weight_max = 1,
                                  .is_for_check = true};
    assert_int_equal(model_fit(&run, &how, &m, &err), U2I_OK);
    return m;
}

static void parts_are_those_of_the_formulas(void **state) {
    (void)state;
    static const double ease[6] = {0.0189256,  0.00706656, 0.000624117,
                                   0.00407165, 0.0192667,  0.0127508};
    static const double sequence[6] = {0.26788, 0.128559, 0.0112403, 0.0365239, 0.21684, 0.0219675};
    static const double trend[6] = {0.427055, 0.387105, 0.306473, 0.61194, 0.651933, 0.595351};
    static const double popular[6] = {4.5575, 2.22301, 1.81088, 4.51543, 2.89363, 2.57147};
    struct world w = golden_world();
    struct model_input in;
    struct train_event *list = NULL;
    struct model *m = golden_fit(&w, &in, &list);
    const struct model_event events[] = {{WORLD_START_MS + 210 * WORLD_DAY_MS, 3, 1},
                                         {WORLD_START_MS + 209 * WORLD_DAY_MS, 8, 0.4f},
                                         {WORLD_START_MS + 150 * WORLD_DAY_MS, 3, 1},
                                         {WORLD_START_MS + 209 * WORLD_DAY_MS, 14, 1},
                                         {WORLD_START_MS + 100 * WORLD_DAY_MS, 20, 0.4f}};
    struct arena a = {0};
    const struct model_question q = {.events = events, .n = 5};
    struct model_user *u = NULL;
    assert_int_equal(model_user_new(m, &q, &a, &u, NULL), U2I_OK);
    for (size_t i = 0; i < 6; i++) {
        const uint32_t row = golden_rows[i];
        float parts[MODEL_PARTS_N];
        model_user_score(u, row, model_out(m, row), parts);
        assert_close((double)parts[MODEL_EASE], ease[i], 2e-3);
        assert_close((double)(parts[MODEL_SEQUENCE] / u->scale[MODEL_SEQUENCE]), sequence[i], 1e-4);
        assert_close((double)parts[MODEL_TREND], trend[i], 1e-4);
        assert_close((double)(model_popular(m, row) / model_popular(m, 0)), popular[i] / popular[0],
                     1e-4);
    }
    const struct model_entry *entries;
    assert_int_equal(model_user_entries(u, &entries), 4);
    assert_int_equal(entries[0].item, 3);
    assert_int_equal(entries[0].event, 0);
    for (size_t i = 0; i < 4; i++) {
        const double expected = entries[i].item == 3    ? 1
                                : entries[i].item == 8  ? 0.28284271
                                : entries[i].item == 14 ? 0.70710678
                                                        : 0.2;
        assert_close((double)entries[i].weight, expected, 1e-5);
    }
    arena_free(&a);
    model_free(m);
    mem_free(list);
    world_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(parts_are_those_of_the_formulas)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
