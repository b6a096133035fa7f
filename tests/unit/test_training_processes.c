/* Trainings of several processes on one store: one at a time, and who dies holds up nobody. Apart from test_training.c, since
 * a process with threads is forked here, which ThreadSanitizer does not follow. */
#include "shop.h"

#include <signal.h>
#include <sys/wait.h>

static u2i_t *open_world(const char *path) {
    u2i_t *u = shop_open(path, NULL, 0);
    for (int i = 0; i < 24; i++) {
        char id[16];
        const u2i_item_t item = {.id = id, .title = id};
        u2i_error_t err;
        (void)snprintf(id, sizeof(id), "film %c%d", 'a' + i % 3, i);
        shop_ok(u2i_put_items(u, &item, 1, sizeof(item), &err), &err);
    }
    for (int i = 0; i < 300; i++) { /* each likes films of one letter */
        char user[16], id[16];
        const int film = (i % 3) + 3 * (i * 7 % 8);
        (void)snprintf(user, sizeof(user), "fan%d", i % 60);
        (void)snprintf(id, sizeof(id), "film %c%d", 'a' + film % 3, film);
        shop_event(u, user, "like", id, 1500000000000 + i * 1000);
    }
    return u;
}

static int find_version(void *ctx, const u2i_figure_t *figure) {
    if (strcmp(figure->name, "version") == 0) {
        *(double *)ctx = figure->value;
    }
    return 0;
}

static double trainings_of(u2i_t *u) {
    double version = 0;
    u2i_error_t err;
    shop_ok(u2i_scan_training(u, find_version, &version, &err), &err);
    return version;
}

struct rivals {
    const char *path;
    u2i_t *other;
    int asked, rc, child_rc;
};

/* Once, in the middle of a training: another handle tries, and another process. */
static int rivals_try(void *ctx, const char *step, uint64_t done, uint64_t total) {
    struct rivals *const r = ctx;
    (void)step;
    (void)done;
    (void)total;
    if (r->asked++ > 0) {
        return 0;
    }
    u2i_error_t err;
    int status = 0;
    r->rc = u2i_train(r->other, NULL, &err);
    assert_non_null(strstr(err.msg, "training is under way"));
    const pid_t child = fork();
    if (child == 0) {
        u2i_t *u; /* its own; those of the parent are none to it */
        int rc = u2i_open(r->path, NULL, &u, NULL);
        if (rc == U2I_OK) {
            rc = u2i_train(u, NULL, NULL);
        }
        _exit(-rc);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    r->child_rc = -WEXITSTATUS(status);
    return 0;
}

static void one_training_at_a_time_whatever_process(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    shop_path(path, sizeof(path));
    u2i_t *u = open_world(path);
    struct rivals r = {.path = path, .other = shop_open(path, NULL, 0)};
    u2i_train_options_t o = U2I_TRAIN_OPTIONS_INIT;
    o.progress = rivals_try;
    o.ctx = &r;
    shop_ok(u2i_train(u, &o, &err), &err);
    assert_int_equal(r.rc, U2I_EBUSY);
    assert_int_equal(r.child_rc, U2I_EBUSY);
    shop_ok(u2i_train(r.other, NULL, &err), &err); /* the next one may */
    assert_float_equal(trainings_of(u), 2, 0);
    assert_int_equal(u2i_close(r.other), U2I_OK);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

static int die_at_once(void *ctx, const char *step, uint64_t done, uint64_t total) {
    (void)ctx;
    (void)step;
    (void)done;
    (void)total;
    (void)raise(SIGKILL);
    return 0;
}

static void who_is_killed_while_training_blocks_nobody(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    int status = 0;
    shop_path(path, sizeof(path));
    u2i_t *u = open_world(path);
    assert_int_equal(u2i_close(u), U2I_OK);
    const pid_t child = fork();
    if (child == 0) {
        u2i_train_options_t o = U2I_TRAIN_OPTIONS_INIT;
        o.progress = die_at_once;
        if (u2i_open(path, NULL, &u, NULL) == U2I_OK) {
            (void)u2i_train(u, &o, NULL);
        }
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    u = shop_open(path, NULL, 0);
    shop_ok(u2i_train(u, NULL, &err), &err);
    assert_float_equal(trainings_of(u), 1, 0);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_training_at_a_time_whatever_process),
        cmocka_unit_test(who_is_killed_while_training_blocks_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
