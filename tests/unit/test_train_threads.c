/* Several trainings at once, each with threads of its own: the same bits as one alone, and no
 * thread left when they are done. Run under ThreadSanitizer too. */
#include "train_world.h"

#include "base/thread.h"
#include <cblas.h>
#include <stdio.h>
#include <string.h>

struct lessons {
    const struct train_matrix *x;
    unsigned threads;
    int rc;
    struct train_factors *ease[3];
    struct train_ials *ials;
    struct train_matrix *neighbours, *sequence;
};

static struct train_event events[3000]; /* filled before threads start */

static int make_events(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 3000; i++) {
        events[i] = (struct train_event){i % 70, i * i % 350, 1, i / 3};
    }
    return 0;
}

/* Asserts belong to the main thread: `rc` has the first failure. */
static void *learn_all(void *arg) {
    struct lessons *const l = arg;
    const struct train_work work = {.threads = l->threads};
    const struct train_ials_options ials = {.dim = 16, .rounds = 2};
    const struct train_neighbours_options near = {8, -1};
    const struct train_sequence_options sequence = {.backward = -1, .beta = -1};
    for (int form = TRAIN_EASE_ITEMS; l->rc == U2I_OK && form <= TRAIN_EASE_LOW_RANK; form++) {
        const struct train_ease_options ease = {.form = (enum train_ease_form)form, .rank = 24};
        l->rc = train_ease(l->x, &ease, &work, &l->ease[form - 1], NULL);
    }
    if (l->rc == U2I_OK) {
        l->rc = train_ials(l->x, &ials, &work, &l->ials, NULL);
    }
    if (l->rc == U2I_OK) {
        l->rc = train_neighbours(l->x, &near, &work, &l->neighbours, NULL);
    }
    if (l->rc == U2I_OK) {
        l->rc = train_sequence(events, 3000, l->x->cols, &sequence, &work, &l->sequence, NULL);
    }
    return NULL;
}

static void assert_same_bits(const struct lessons *a, const struct lessons *b) {
    for (int i = 0; i < 3; i++) {
        const size_t bytes = (size_t)a->ease[i]->n * a->ease[i]->dim * sizeof(float);
        assert_memory_equal(a->ease[i]->in, b->ease[i]->in, bytes);
        assert_memory_equal(a->ease[i]->out, b->ease[i]->out, bytes);
    }
    const size_t bytes = (size_t)a->ials->n * a->ials->dim * sizeof(float);
    assert_memory_equal(a->ials->items, b->ials->items, bytes);
    world_assert_equal(a->neighbours, b->neighbours);
    world_assert_equal(a->sequence, b->sequence);
}

static void forget(struct lessons *l) {
    for (int i = 0; i < 3; i++) {
        train_factors_free(l->ease[i]);
    }
    train_ials_free(l->ials);
    train_matrix_free(l->neighbours);
    train_matrix_free(l->sequence);
}

/* Of this process, in scheduler ticks: user and system time. */
static unsigned long cpu_ticks(void) {
    char line[1024] = "";
    unsigned long user = 0;
    unsigned long system = 0;
    FILE *const f = fopen("/proc/self/stat", "r");
    if (f != NULL) {
        assert_non_null(fgets(line, sizeof line, f));
        (void)fclose(f); /* was only read */
        const char *const rest = strrchr(line, ')');
        assert_non_null(rest);
        (void)sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    }
    return user + system;
}

static void trainings_at_once_give_the_bits_of_one_alone(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(400, 350, 9000, 1);
    struct lessons alone = {.x = x, .threads = 1};
    struct lessons both[2] = {{.x = x, .threads = 2}, {.x = x, .threads = 3}};
    pthread_t threads[2];
    (void)learn_all(&alone);
    assert_int_equal(alone.rc, U2I_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(thread_start(&threads[i], "lesson", learn_all, &both[i]), U2I_OK);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(both[i].rc, U2I_OK);
        assert_same_bits(&alone, &both[i]);
    }
    for (int i = 0; i < 2; i++) {
        forget(&both[i]);
    }
    forget(&alone);
    train_matrix_free(x);
}

static void openblas_is_left_as_it_was_and_nothing_spins(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(400, 350, 9000, 2);
    struct lessons l = {.x = x, .threads = 2};
    openblas_set_num_threads(2);
    const int before = openblas_get_num_threads();
    (void)learn_all(&l);
    assert_int_equal(l.rc, U2I_OK);
    assert_int_equal(openblas_get_num_threads(), before);
    const unsigned long ticks = cpu_ticks();
    struct gate gate = {0};
    gate_wait(&gate, 0, 300);
    assert_in_range(cpu_ticks() - ticks, 0, 5); /* of 30, for each core that would spin */
    forget(&l);
    train_matrix_free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainings_at_once_give_the_bits_of_one_alone),
        cmocka_unit_test(openblas_is_left_as_it_was_and_nothing_spins),
    };
    return cmocka_run_group_tests(tests, make_events, NULL);
}
