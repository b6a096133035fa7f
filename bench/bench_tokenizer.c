/* The WordPiece tokenizer from outside: ids of any texts, for comparison with the reference
 * (bench/compare/tokenizer_parity.py), and how many titles a second it takes.
 *
 * usage: bench_tokenizer VOCAB.txt|TOKENIZER.json [--cased] [--time ROUNDS] < TEXTS
 * TEXTS has a JSON string a line. Prints a line of ids for each; with --time a `metric` line instead,
 * for the best of ROUNDS rounds over all of them. */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "bench_texts.h"
#include "embed/wordpiece.h"

static struct buf read_all(const char *path) {
    static char piece[1 << 16];
    struct buf b = {0};
    FILE *const f = fopen(path, "rb");
    if (f == NULL) {
        texts_die(path, "cannot be opened");
    }
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;) {
        buf_put(&b, piece, n);
    }
    if (ferror(f) != 0 || b.failed) {
        texts_die(path, "cannot be read");
    }
    (void)fclose(f); /* only read from */
    return b;
}

static struct wordpiece *open_tokenizer(const char *path, bool cased) {
    const struct wordpiece_options opt = {.lower_case = !cased, .special_in_text = true};
    struct buf b = read_all(path);
    struct wordpiece *w = NULL;
    u2i_error_t err;
    const size_t length = strlen(path);
    const bool json = length > 5 && strcmp(path + length - 5, ".json") == 0;
    const int rc = json ? wordpiece_from_json(b.data, b.len, &w, &err)
                        : wordpiece_new(b.data, b.len, &opt, &w, &err);
    if (rc != U2I_OK) {
        texts_die(path, err.msg);
    }
    buf_free(&b);
    return w;
}

static void encode(const struct wordpiece *w, const json_t *text, struct wordpiece_ids *ids) {
    u2i_error_t err;
    ids->n = 0;
    if (wordpiece_encode(w, json_string_value(text), json_string_length(text), SIZE_MAX, ids,
                         &err) != U2I_OK) {
        texts_die("a text", err.msg);
    }
}

static void print_ids(const struct wordpiece *w, const struct texts *t) {
    struct wordpiece_ids ids = {0};
    for (size_t i = 0; i < t->n; i++) {
        encode(w, t->list[i], &ids);
        for (size_t k = 0; k < ids.n; k++) {
            (void)printf(k == 0 ? "%u" : " %u", ids.list[k]);
        }
        (void)putchar('\n');
    }
    mem_free(ids.list);
}

static void print_speed(const struct wordpiece *w, const struct texts *t, long rounds) {
    struct wordpiece_ids ids = {0};
    const struct clock *const clock = clock_system();
    size_t bytes = 0, tokens = 0;
    double best_s = 1e9;
    for (size_t i = 0; i < t->n; i++) {
        bytes += json_string_length(t->list[i]);
    }
    for (long round = 0; round < rounds; round++) {
        const int64_t start = clock_ticks_ns(clock);
        tokens = 0;
        for (size_t i = 0; i < t->n; i++) {
            encode(w, t->list[i], &ids);
            tokens += ids.n;
        }
        const double s = (double)(clock_ticks_ns(clock) - start) / 1e9;
        best_s = s < best_s ? s : best_s;
    }
    (void)printf("metric tokenizer_texts_per_s %.0f\n", (double)t->n / best_s);
    (void)printf("metric tokenizer_mb_per_s %.1f\n", (double)bytes / best_s / 1e6);
    (void)printf("metric tokenizer_tokens_per_s %.0f\n", (double)tokens / best_s);
    mem_free(ids.list);
}

int main(int argc, char **argv) {
    bool cased = false;
    long rounds = 0;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--cased") == 0) {
            cased = true;
        } else if (strcmp(argv[i], "--time") == 0 && i + 1 < argc) {
            rounds = strtol(argv[++i], NULL, 10);
        } else {
            texts_die(argv[i], "no such option");
        }
    }
    if (argc < 2) {
        texts_die("usage",
                  "bench_tokenizer VOCAB.txt|TOKENIZER.json [--cased] [--time ROUNDS] < TEXTS");
    }
    struct wordpiece *const w = open_tokenizer(argv[1], cased);
    struct texts t = texts_read(stdin);
    if (rounds > 0) {
        print_speed(w, &t, rounds);
    } else {
        print_ids(w, &t);
    }
    texts_free(&t);
    wordpiece_free(w);
    return 0;
}
