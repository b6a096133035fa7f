/* A model is read by any number of threads at once: each gets the answers that one alone gets. */
#include "model_world.h"

#include "base/thread.h"

#define READERS 4

struct reader {
    pthread_t thread;
    const struct model *m;
    uint32_t group;
    double sum;
};

static void *reader_run(void *arg) {
    struct reader *r = arg;
    r->sum = 0;
    for (uint32_t round = 0; round < 20; round++) {
        struct arena a = {0};
        struct model_event events[4];
        for (uint32_t i = 0; i < 4; i++) {
            events[i] = (struct model_event){WORLD_START_MS + i, r->group + 5 * (i + round), 1};
        }
        const struct model_question q = {.events = events, .n = 4};
        struct model_user *u = NULL;
        if (model_user_new(r->m, &q, &a, &u, NULL) == U2I_OK && u != NULL) {
            for (uint32_t k = 0; k < model_count(r->m); k++) {
                float pulls[4];
                const uint32_t row = model_row(r->m, k);
                r->sum += (double)world_total(u, r->m, row);
                model_user_pulls(u, row, model_out(r->m, row), pulls);
                r->sum += (double)pulls[0];
            }
        }
        arena_free(&a);
    }
    return NULL;
}

static void readers_get_the_answers_of_one_alone(void **state) {
    (void)state;
    struct world w = world_new(200, 150, 5, 15, 100);
    struct model_input in = world_input(&w);
    in.threads = 3;
    struct model *m = world_train(&in);
    struct reader readers[READERS];
    for (uint32_t i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.m = m, .group = i};
        assert_int_equal(thread_start(&readers[i].thread, "reader", reader_run, &readers[i]),
                         U2I_OK);
    }
    for (uint32_t i = 0; i < READERS; i++) {
        struct reader alone = {.m = m, .group = i};
        assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
        (void)reader_run(&alone);
        assert_true(alone.sum == readers[i].sum);
    }
    model_free(m);
    world_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(readers_get_the_answers_of_one_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
