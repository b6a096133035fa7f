/* Calls that embed share what an embedder can do at once: an embedder that counts its calls, and keeps them inside until
 * it is told to go on, shows who went with whom. */
#include "engine/embedding_batch.h"

#include "base/error.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CALLERS 8
#define DIM     2

struct counting {
    struct embedder base; /* first */
    atomic_uint calls, texts, inside;
    atomic_bool held;   /* calls stay inside */
    const char *refuse; /* a call with this text fails with `rc` */
    int rc;
};

/* The vector of a text is its length and its first letter. */
static int counting_embed(const struct embedder *e, const struct embed_text *texts, size_t n,
                          float *out, u2i_error_t *err) {
    struct counting *const c = (struct counting *)(uintptr_t)e;
    (void)atomic_fetch_add(&c->calls, 1);
    (void)atomic_fetch_add(&c->texts, (unsigned)n);
    (void)atomic_fetch_add(&c->inside, 1);
    while (atomic_load(&c->held)) {
        (void)usleep(100);
    }
    (void)atomic_fetch_sub(&c->inside, 1);
    for (size_t i = 0; i < n; i++) {
        if (c->refuse != NULL && (c->refuse[0] == '*' || strcmp(texts[i].text, c->refuse) == 0)) {
            return error_at(err, c->rc, (int32_t)i, "refused: %s", texts[i].text);
        }
        out[i * DIM] = (float)strlen(texts[i].text);
        out[i * DIM + 1] = (float)texts[i].text[0];
    }
    return U2I_OK;
}

static const struct embedder_ops counting_ops = {.embed = counting_embed};

struct caller {
    struct embedding_batch *batch;
    struct counting *embedder;
    char texts[2][16]; /* two of each caller */
    float out[2 * DIM];
    int rc;
    u2i_error_t err;
    pthread_t thread;
};

static void *caller_run(void *arg) {
    struct caller *const c = arg;
    const struct embed_text texts[2] = {{.text = c->texts[0]}, {.text = c->texts[1]}};
    c->rc = embedding_batch_run(c->batch, &c->embedder->base, texts, 2, c->out, &c->err);
    return NULL;
}

struct scene {
    struct embedding_batch batch;
    struct counting embedder;
    struct caller callers[CALLERS];
};

static void wait_for(atomic_uint *value, unsigned wanted) {
    while (atomic_load(value) != wanted) {
        (void)usleep(100);
    }
}

static size_t waiting(struct embedding_batch *b) {
    (void)pthread_mutex_lock(&b->lock);
    const size_t n = b->head == NULL ? 0 : 1; /* requests are opaque: any or none */
    (void)pthread_mutex_unlock(&b->lock);
    return n;
}

/* One call is inside, all others wait; then it is let out. */
static void scene_play(struct scene *s, unsigned lanes, const char *refuse, int rc) {
    *s = (struct scene){.embedder = {.base = {.ops = &counting_ops, .dim = DIM}}};
    atomic_store(&s->embedder.held, true);
    s->embedder.refuse = refuse;
    s->embedder.rc = rc;
    embedding_batch_init(&s->batch, lanes);
    for (unsigned i = 0; i < CALLERS; i++) {
        struct caller *const c = &s->callers[i];
        c->batch = &s->batch;
        c->embedder = &s->embedder;
        (void)snprintf(c->texts[0], sizeof(c->texts[0]), "%.*s", (int)i + 1, "aaaaaaaaaa");
        (void)snprintf(c->texts[1], sizeof(c->texts[1]), "%.*s", (int)i + 1, "zzzzzzzzzz");
        assert_int_equal(pthread_create(&c->thread, NULL, caller_run, c), 0);
        if (i < lanes) {
            wait_for(&s->embedder.inside, i + 1);
        }
    }
    for (int i = 0; i < 100 && lanes < CALLERS; i++) { /* time for all to come */
        (void)usleep(waiting(&s->batch) == 0 ? 1000 : 500);
    }
    atomic_store(&s->embedder.held, false);
    for (unsigned i = 0; i < CALLERS; i++) {
        assert_int_equal(pthread_join(s->callers[i].thread, NULL), 0);
    }
    embedding_batch_destroy(&s->batch);
}

static void require_vectors(const struct caller *c, unsigned i) {
    assert_int_equal(c->rc, U2I_OK);
    assert_true(c->out[0] == (float)i + 1 && c->out[1] == (float)'a');
    assert_true(c->out[2] == (float)i + 1 && c->out[3] == (float)'z');
}

static void those_who_wait_go_together(void **state) {
    (void)state;
    struct scene s;
    scene_play(&s, 1, NULL, U2I_OK);
    for (unsigned i = 0; i < CALLERS; i++) {
        require_vectors(&s.callers[i], i);
    }
    assert_true(atomic_load(&s.embedder.calls) < CALLERS); /* the first, and hardly more than one */
    assert_int_equal(atomic_load(&s.embedder.texts), 2 * CALLERS);
}

static void nobody_waits_while_a_lane_is_free(void **state) {
    (void)state;
    struct scene s;
    scene_play(&s, CALLERS, NULL, U2I_OK); /* each is seen inside before the next one comes */
    assert_int_equal(atomic_load(&s.embedder.calls), CALLERS);
}

static void without_lanes_everybody_goes_alone(void **state) {
    (void)state;
    struct scene s;
    scene_play(&s, 0, NULL, U2I_OK);
    assert_int_equal(atomic_load(&s.embedder.calls), CALLERS);
}

static void a_bad_text_fails_its_own_call_only(void **state) {
    (void)state;
    static const int reasons[] = {U2I_EEMBED, U2I_EREMOTE};
    for (size_t k = 0; k < 2; k++) {
        struct scene s;
        scene_play(&s, 1, "zzzz", reasons[k]);
        for (unsigned i = 0; i < CALLERS; i++) {
            if (i == 3) {
                assert_int_equal(s.callers[i].rc, reasons[k]);
                assert_int_equal(s.callers[i].err.offset, 1); /* of its own two */
                assert_string_equal(s.callers[i].err.msg, "refused: zzzz");
            } else {
                require_vectors(&s.callers[i], i);
            }
        }
    }
}

static void what_fails_for_all_is_not_tried_by_each(void **state) {
    (void)state;
    struct scene s;
    scene_play(&s, 1, "*", U2I_EREMOTE);
    for (unsigned i = 0; i < CALLERS; i++) {
        assert_int_equal(s.callers[i].rc, U2I_EREMOTE);
        assert_int_equal(s.callers[i].err.code, U2I_EREMOTE);
    }
    assert_true(atomic_load(&s.embedder.calls) < CALLERS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_who_wait_go_together),
        cmocka_unit_test(nobody_waits_while_a_lane_is_free),
        cmocka_unit_test(without_lanes_everybody_goes_alone),
        cmocka_unit_test(a_bad_text_fails_its_own_call_only),
        cmocka_unit_test(what_fails_for_all_is_not_tried_by_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
