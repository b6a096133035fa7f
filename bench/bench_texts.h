/* Texts for a benchmark, from a file with a JSON value a line: a string, or an object with the parts of an item ("title",
 * "category", "text"). Whatever is wrong ends the program with a message. One thread. */
#ifndef U2I_BENCH_BENCH_TEXTS_H
#define U2I_BENCH_BENCH_TEXTS_H

#include "base/alloc.h"
#include "u2i.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

struct texts {
    json_t **list;
    size_t n, cap;
};

static inline _Noreturn void texts_die(const char *what, const char *why) {
    (void)fprintf(stderr, "%s: %s\n", what, why);
    exit(2);
}

/* All values up to the end of f. */
static inline struct texts texts_read(FILE *f) {
    struct texts t = {0};
    json_error_t fault;
    for (;;) {
        int c = getc(f);
        while (c == '\n') {
            c = getc(f);
        }
        if (c == EOF) {
            return t;
        }
        (void)ungetc(c, f); /* one is always possible */
        json_t *const text =
            json_loadf(f, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &fault);
        if (!json_is_string(text) && !json_is_object(text)) {
            texts_die("a text", text == NULL ? fault.text : "neither a string nor an object");
        }
        if (array_reserve(&t.list, &t.cap, t.n + 1, sizeof *t.list) != U2I_OK) {
            texts_die("texts", "out of memory");
        }
        t.list[t.n++] = text;
    }
}

static inline void texts_free(struct texts *t) {
    for (size_t i = 0; i < t->n; i++) {
        json_decref(t->list[i]);
    }
    mem_free(t->list);
}

#endif
