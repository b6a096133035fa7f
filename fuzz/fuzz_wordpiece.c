/* The WordPiece tokenizer: any vocabulary and any text. The first byte of the input says what the rest
 * is: a vocab.txt and, behind an empty line, a text; a text for a small vocabulary; a tokenizer.json.
 *
 * Promises checked: wrong input gives U2I_EEMBED with a message, and an offset within the text; ids are
 * of the vocabulary, between [CLS] and [SEP]; a smaller `max` gives the beginning of the same; and
 * words alone give the ids that they give side by side. */
#include "base/alloc.h"
#include "embed/wordpiece.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_LOWER = 1, FUZZ_SPECIAL = 2, FUZZ_JSON = 4, FUZZ_VOCAB = 8 };

static const char fuzz_vocab[] = "[UNK]\n[CLS]\n[SEP]\n[MASK]\n[PAD]\na\nb\nab\n##a\n##b\n##ab\n["
                                 "\n]\n#\n,\n1\n##1\n\xc3\xa9\ne\n"
                                 "\xe4\xb8\xad\n##\xe4\xb8\xad\n\xd0\xb8\n##"
                                 "\xd0\xb8\n\xe1\x84\x92\n##\xe1\x85\xa1\n##\xe1\x86\xab\n"
                                 "\xe3\x80\xae\n##\xe3\x80\xae\n##\xe1\xb7\xbb\n\xcf\x89\nsep\nunk";

static void fuzz_wordpiece_require(bool holds) {
    if (!holds) {
        abort();
    }
}

static struct wordpiece_ids fuzz_wordpiece_encode(const struct wordpiece *w, const char *text,
                                                  size_t n, size_t max) {
    struct wordpiece_ids ids = {0};
    fuzz_wordpiece_require(wordpiece_encode(w, text, n, max, &ids, NULL) == U2I_OK);
    fuzz_wordpiece_require(ids.n >= 2 && ids.n <= max);
    return ids;
}

static void fuzz_wordpiece_cut(const struct wordpiece *w, const char *text, size_t n,
                               const struct wordpiece_ids *all) {
    for (size_t max = 2; max < all->n; max += 1 + max / 2) {
        struct wordpiece_ids ids = fuzz_wordpiece_encode(w, text, n, max);
        fuzz_wordpiece_require(ids.n == max);
        fuzz_wordpiece_require(memcmp(ids.list, all->list, (max - 1) * sizeof *ids.list) == 0);
        fuzz_wordpiece_require(ids.list[max - 1] == all->list[all->n - 1]);
        mem_free(ids.list);
    }
}

/* A space never joins what is beside it: the parts before and after it give the whole. */
static void fuzz_wordpiece_halves(const struct wordpiece *w, const char *text, size_t n,
                                  const struct wordpiece_ids *all) {
    const char *const space = n > 0 ? memchr(text + n / 2, ' ', n - n / 2) : NULL;
    if (space == NULL) {
        return;
    }
    const size_t at = (size_t)(space - text);
    struct wordpiece_ids a = fuzz_wordpiece_encode(w, text, at, SIZE_MAX);
    struct wordpiece_ids b = fuzz_wordpiece_encode(w, text + at, n - at, SIZE_MAX);
    fuzz_wordpiece_require(a.n + b.n == all->n + 2);
    fuzz_wordpiece_require(memcmp(a.list, all->list, (a.n - 1) * sizeof *a.list) == 0);
    fuzz_wordpiece_require(memcmp(b.list + 1, all->list + a.n - 1, (b.n - 1) * sizeof *b.list) ==
                           0);
    mem_free(a.list);
    mem_free(b.list);
}

static void fuzz_wordpiece_text(const struct wordpiece *w, const char *text, size_t n) {
    struct wordpiece_ids ids = {0};
    u2i_error_t err = {0};
    const int rc = wordpiece_encode(w, text, n, SIZE_MAX, &ids, &err);
    if (rc != U2I_OK) {
        fuzz_wordpiece_require(rc == U2I_EEMBED && err.msg[0] != '\0' && ids.n == 0);
        fuzz_wordpiece_require(err.offset >= 0 && (size_t)err.offset < n);
    } else {
        for (size_t i = 0; i < ids.n; i++) {
            fuzz_wordpiece_require(ids.list[i] < wordpiece_size(w));
        }
        fuzz_wordpiece_cut(w, text, n, &ids);
        fuzz_wordpiece_halves(w, text, n, &ids);
    }
    mem_free(ids.list);
}

static void fuzz_wordpiece_made(int rc, const struct wordpiece *w, const u2i_error_t *err) {
    fuzz_wordpiece_require((rc == U2I_OK) == (w != NULL));
    fuzz_wordpiece_require(rc == U2I_OK || (rc == U2I_EEMBED && err->msg[0] != '\0'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char sample[] = "a ab [SEP] \xc3\xa9\xe4\xb8\xad,\xed\x95\x9c";
    if (size < 1) {
        return 0;
    }
    const struct wordpiece_options opt = {(data[0] & FUZZ_LOWER) != 0,
                                          (data[0] & FUZZ_SPECIAL) != 0};
    const char *text = (const char *)data + 1, *vocab = fuzz_vocab;
    size_t n = size - 1, vocab_n = sizeof fuzz_vocab - 1;
    struct wordpiece *w = NULL;
    u2i_error_t err = {0};
    int rc;
    if ((data[0] & FUZZ_JSON) != 0) {
        rc = wordpiece_from_json(text, n, &w, &err);
        text = sample;
        n = sizeof sample - 1;
    } else {
        const char *const gap = (data[0] & FUZZ_VOCAB) != 0 ? memmem(text, n, "\n\n", 2) : NULL;
        if (gap != NULL) {
            vocab = text;
            vocab_n = (size_t)(gap - text);
            text = gap + 2;
            n -= vocab_n + 2;
        }
        rc = wordpiece_new(vocab, vocab_n, &opt, &w, &err);
    }
    fuzz_wordpiece_made(rc, w, &err);
    if (w != NULL) {
        fuzz_wordpiece_text(w, text, n);
    }
    wordpiece_free(w);
    return 0;
}
