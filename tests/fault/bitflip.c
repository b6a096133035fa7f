/* Damage on disk: a bit that flips, a page of zeros, a file cut short. Whatever is damaged, the library
 * does not crash, and nothing that a caller can read changes without a word: opening refuses the file,
 * or u2i_verify() finds the fault, or every answer is the one that the sound file gives.
 *
 * Each damage is done to a fresh copy and looked at by a process of its own, so that a crash or a
 * hang is seen as one, and named by the byte.
 *
 * U2I_FLIPS (300 bit flips, and a tenth of it of each other kind), U2I_SEED. */
#include "fault.h"

#include <fcntl.h>
#include <sys/wait.h>

enum { BITFLIP_DIM = 64, BITFLIP_ITEMS = 120, BITFLIP_USERS = 10, BITFLIP_EVENTS = 600 };

/* What a damaged copy turned out to be: the exit code of the process that looked. */
enum bitflip_fate {
    BITFLIP_REFUSED = 10,  /* open says no */
    BITFLIP_FOUND = 11,    /* verify says where */
    BITFLIP_HARMLESS = 12, /* every answer is as before */
    BITFLIP_SILENT = 13    /* an answer has changed, and nobody noticed */
};

/* ---- Everything a caller can read, as text ----------------------------------------------------------- */

struct bitflip_text {
    char *data;
    size_t len, cap;
};
__attribute__((format(printf, 2, 3))) static void bitflip_print(struct bitflip_text *t,
                                                                const char *fmt, ...) {
    for (;;) {
        va_list args;
        va_start(args, fmt);
        const int n = vsnprintf(t->data + t->len, t->cap - t->len, fmt, args);
        va_end(args);
        if (t->len + (size_t)n < t->cap) {
            t->len += (size_t)n;
            return;
        }
        t->cap = 2 * t->cap + (size_t)n + 1024;
        t->data = realloc(t->data, t->cap);
        if (t->data == NULL) {
            fault_die("no memory");
        }
    }
}

static const char *bitflip_or_null(const char *s) {
    return s != NULL ? s : "NULL";
}
static int bitflip_print_item(void *ctx, const u2i_item_t *item) {
    bitflip_print(ctx, "%s|%s|%s|%s|%s|", item->id, bitflip_or_null(item->title),
                  bitflip_or_null(item->text), bitflip_or_null(item->category),
                  bitflip_or_null(item->attrs_json));
    for (size_t i = 0; i < BITFLIP_DIM && item->vector != NULL; i++) {
        bitflip_print(ctx, "%.9g ", (double)item->vector[i]);
    }
    bitflip_print(ctx, "\n");
    return 0;
}
static int bitflip_print_event(void *ctx, const u2i_event_t *e) {
    bitflip_print(ctx, "%s|%s|%s|%" PRId64 "|%g|%s\n", e->user, e->item, e->action, e->time_ms,
                  (double)e->value, bitflip_or_null(e->id));
    return 0;
}
static int bitflip_print_user(void *ctx, const u2i_user_t *user) {
    bitflip_print(ctx, "%s|%s|%s|%g\n", user->id, bitflip_or_null(user->interests),
                  bitflip_or_null(user->attrs_json), user->decay);
    return 0;
}
static int bitflip_print_setting(void *ctx, const u2i_setting_t *s) {
    bitflip_print(ctx, "%s=%s\n", s->name, s->value);
    return 0;
}
static void bitflip_print_answer(struct bitflip_text *t, int rc, u2i_result_t *r) {
    bitflip_print(t, "rc %d:", rc);
    for (size_t i = 0; i < u2i_result_count(r); i++) {
        const u2i_hit_t *hit = u2i_result_hit(r, i);
        bitflip_print(t, " %s(%s) %.4f", hit->id, hit->title, (double)hit->score);
    }
    bitflip_print(t, "\n");
    u2i_result_free(r);
}

/* Scans and questions; a call that fails is part of the text. */
static void bitflip_read_all(u2i_t *u, struct bitflip_text *t) {
    u2i_error_t err;
    bitflip_print(t, "items %d\n", u2i_scan_items(u, bitflip_print_item, t, &err));
    bitflip_print(t, "events %d\n", u2i_scan_events(u, NULL, 0, bitflip_print_event, t, &err));
    bitflip_print(t, "users %d\n", u2i_scan_users(u, bitflip_print_user, t, &err));
    bitflip_print(t, "settings %d\n", u2i_scan_settings(u, bitflip_print_setting, t, &err));
    for (unsigned i = 0; i <= BITFLIP_USERS; i++) {
        char user[16];
        u2i_query_t q = U2I_QUERY_INIT;
        u2i_result_t *r = NULL;
        (void)snprintf(user, sizeof user, "u%u", i); /* the last one is unknown */
        q.user = user;
        q.limit = 5;
        const int rc = u2i_recommend(u, &q, &r, &err);
        bitflip_print_answer(t, rc, r);
    }
}

/* ---- The store ---------------------------------------------------------------------------------------- */

static int bitflip_open(const char *path, u2i_t **out, u2i_error_t *err) {
    u2i_options_t opt = U2I_OPTIONS_INIT;
    opt.dim = BITFLIP_DIM;
    opt.model = "none";
    return u2i_open(path, &opt, out, err);
}

static void bitflip_put_items(u2i_t *u, struct fault_rng *r) {
    for (unsigned i = 0; i < BITFLIP_ITEMS; i++) {
        char id[16], title[64], text[400], attrs[64];
        float vector[BITFLIP_DIM];
        u2i_error_t err;
        (void)snprintf(id, sizeof id, "i%u", i);
        (void)snprintf(title, sizeof title, "The title of item %u", i);
        (void)snprintf(attrs, sizeof attrs, "{\"price\": %u}", i);
        for (size_t c = 0; c < sizeof text - 1; c++) {
            text[c] = (char)('a' + fault_below(r, 26));
        }
        text[sizeof text - 1] = '\0';
        for (size_t d = 0; d < BITFLIP_DIM; d++) {
            vector[d] = (float)fault_below(r, 2001) / 1000.0f - 1.0f;
        }
        const u2i_item_t item = {id, title, text, i % 2 ? "odd" : "even", attrs, vector};
        if (u2i_put_items(u, &item, 1, sizeof item, &err) != U2I_OK) {
            fault_die("put: %s", err.msg);
        }
    }
}

static void bitflip_record(u2i_t *u, struct fault_rng *r) {
    for (unsigned i = 0; i < BITFLIP_EVENTS; i++) {
        char user[16], item[16], id[16];
        u2i_error_t err;
        (void)snprintf(user, sizeof user, "u%u", fault_below(r, BITFLIP_USERS));
        (void)snprintf(item, sizeof item, "i%u", fault_below(r, BITFLIP_ITEMS));
        (void)snprintf(id, sizeof id, "e%u", i);
        const u2i_event_t event = {.user = user,
                                   .item = item,
                                   .action = i % 3 ? "view" : "buy",
                                   .time_ms = 1700000000000 + fault_below(r, 1000000),
                                   .value = 1.0f + (float)fault_below(r, 3),
                                   .id = i % 2 ? id : NULL};
        if (u2i_record(u, &event, 1, sizeof event, NULL, &err) != U2I_OK) {
            fault_die("record: %s", err.msg);
        }
    }
}

static void bitflip_build(const char *path, struct fault_rng *r, struct bitflip_text *t) {
    u2i_t *u = NULL;
    u2i_error_t err;
    const u2i_user_t user = {"u1", "sailing, chess", "{\"age\": 40}", 0};
    if (bitflip_open(path, &u, &err) != U2I_OK) {
        fault_die("open: %s", err.msg);
    }
    bitflip_put_items(u, r);
    if (u2i_put_users(u, &user, 1, sizeof user, &err) != U2I_OK ||
        u2i_set_setting(u, "half_life_s", "1000000", &err) != U2I_OK) {
        fault_die("put: %s", err.msg);
    }
    bitflip_record(u, r);
    if (u2i_close(u) != U2I_OK || bitflip_open(path, &u, &err) != U2I_OK) {
        fault_die("opening again: %s", err.msg);
    }
    bitflip_read_all(u, t);
    if (u2i_close(u) != U2I_OK) {
        fault_die("close");
    }
}

/* ---- Damage ------------------------------------------------------------------------------------------- */

struct bitflip {
    struct fault_rng rng;
    char dir[256], path[300], copy[300];
    unsigned char *bytes; /* of the sound file */
    size_t bytes_n;
    struct bitflip_text sound;
    unsigned fates[4];
    bool loud; /* print what is found */
};

static void bitflip_load(struct bitflip *b) {
    struct stat st;
    FILE *f = fopen(b->path, "rb");
    if (f == NULL || fstat(fileno(f), &st) != 0) {
        fault_die("%s: %s", b->path, strerror(errno));
    }
    b->bytes_n = (size_t)st.st_size;
    b->bytes = malloc(b->bytes_n);
    if (b->bytes == NULL || fread(b->bytes, 1, b->bytes_n, f) != b->bytes_n) {
        fault_die("cannot read %s", b->path);
    }
    (void)fclose(f);
}

/* Writes the copy with n bytes from `at` on replaced, and cut to `size`. */
static void bitflip_write_copy(const struct bitflip *b, size_t at, const unsigned char *p, size_t n,
                               size_t size) {
    fault_remove_store(b->copy);
    const int fd = open(b->copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, b->bytes, b->bytes_n) != (ssize_t)b->bytes_n ||
        pwrite(fd, p, n, (off_t)at) != (ssize_t)n || ftruncate(fd, (off_t)size) != 0) {
        fault_die("%s: %s", b->copy, strerror(errno));
    }
    (void)close(fd);
}

/* Prints where two texts part. */
static void bitflip_print_difference(const struct bitflip_text *sound,
                                     const struct bitflip_text *now) {
    size_t i = 0;
    while (i < now->len && i < sound->len && now->data[i] == sound->data[i]) {
        i++;
    }
    (void)fprintf(stderr, "sound: %.100s\nnow:   %.100s\n", sound->data + i, now->data + i);
}

static enum bitflip_fate bitflip_look_inside(const struct bitflip *b, u2i_t *u) {
    u2i_error_t err;
    size_t faults = 0;
    struct bitflip_text t = {0};
    const int rc = u2i_verify(u, b->loud ? fault_print_fault : NULL, NULL, &faults, &err);
    bitflip_read_all(u, &t);
    const bool same = t.len == b->sound.len && memcmp(t.data, b->sound.data, t.len) == 0;
    const bool found = rc != U2I_OK || faults > 0;
    if (!same && !found) {
        bitflip_print_difference(&b->sound, &t);
    }
    free(t.data);
    return found ? BITFLIP_FOUND : same ? BITFLIP_HARMLESS : BITFLIP_SILENT;
}

/* Looks at the copy; runs in a process of its own. */
static enum bitflip_fate bitflip_look(const struct bitflip *b) {
    u2i_t *u = NULL;
    u2i_error_t err;
    (void)alarm(60); /* a hang is a failure too */
    if (bitflip_open(b->copy, &u, &err) != U2I_OK) {
        if (b->loud) {
            (void)fprintf(stderr, "refused: %s\n", err.msg);
        }
        return BITFLIP_REFUSED;
    }
    const enum bitflip_fate fate = bitflip_look_inside(b, u);
    (void)u2i_close(u); /* may fail: the file is damaged */
    return fate;
}

static int bitflip_judge(struct bitflip *b, const char *what, size_t at) {
    (void)fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        exit((int)bitflip_look(b)); /* not _exit: leaks are looked for as well */
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        fault_die("fork: %s", strerror(errno));
    }
    const int fate = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (fate < BITFLIP_REFUSED || fate >= BITFLIP_SILENT) {
        fault_die("%s at byte %zu of %zu: %s (status 0x%x); the file is left in %s", what, at,
                  b->bytes_n, fate == BITFLIP_SILENT ? "changed silently" : "crashed",
                  (unsigned)status, b->copy);
    }
    b->fates[fate - BITFLIP_REFUSED]++;
    return fate;
}

/* The test of the test: a copy without damage is harmless. */
static void bitflip_do_nothing(struct bitflip *b) {
    b->loud = true;
    bitflip_write_copy(b, 0, b->bytes, 1, b->bytes_n);
    if (bitflip_judge(b, "no damage", 0) != BITFLIP_HARMLESS) {
        fault_die("a sound copy does not pass");
    }
    b->loud = false;
}

static void bitflip_flip(struct bitflip *b) {
    const size_t at = fault_random(&b->rng) % b->bytes_n;
    const unsigned char changed = b->bytes[at] ^ (unsigned char)(1u << fault_below(&b->rng, 8));
    bitflip_write_copy(b, at, &changed, 1, b->bytes_n);
    (void)bitflip_judge(b, "a flipped bit", at); /* counted */
}

static void bitflip_blank(struct bitflip *b) {
    static const unsigned char zeros[4096];
    const size_t at = fault_random(&b->rng) % (b->bytes_n / sizeof zeros) * sizeof zeros;
    bitflip_write_copy(b, at, zeros, sizeof zeros, b->bytes_n);
    (void)bitflip_judge(b, "a page of zeros", at); /* counted */
}

static void bitflip_cut(struct bitflip *b) {
    const size_t size = 1 + fault_random(&b->rng) % (b->bytes_n - 1); /* 0 would be a new store */
    bitflip_write_copy(b, 0, b->bytes, 1, size);
    (void)bitflip_judge(b, "a cut", size); /* counted */
}

static void bitflip_report(const struct bitflip *b, const char *what, unsigned n) {
    (void)printf(
        "bitflip: %u %s: %u refused, %u found by verify, %u harmless, 0 silent, 0 crashes\n", n,
        what, b->fates[0], b->fates[1], b->fates[2]);
}

int main(void) {
    struct bitflip b = {.rng = fault_rng_open("bitflip")};
    static const struct {
        const char *what;
        void (*damage)(struct bitflip *b);
        unsigned share;
    } kinds[] = {{"flipped bits", bitflip_flip, 1},
                 {"pages of zeros", bitflip_blank, 10},
                 {"files cut short", bitflip_cut, 10}};
    const unsigned flips = (unsigned)fault_env("U2I_FLIPS", 300);
    fault_make_dir(b.dir, sizeof b.dir);
    (void)snprintf(b.path, sizeof b.path, "%s/store.db", b.dir);
    (void)snprintf(b.copy, sizeof b.copy, "%s/copy.db", b.dir);
    bitflip_build(b.path, &b.rng, &b.sound);
    bitflip_load(&b);
    bitflip_do_nothing(&b);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        memset(b.fates, 0, sizeof b.fates);
        for (unsigned i = 0; i < flips / kinds[k].share; i++) {
            kinds[k].damage(&b);
        }
        bitflip_report(&b, kinds[k].what, flips / kinds[k].share);
    }
    free(b.bytes);
    free(b.sound.data);
    fault_remove_dir(b.dir);
    return 0;
}
