/* See eval_cut.h. */
#include "eval_cut.h"
#include <stdlib.h>
#include <string.h>

#define EVAL_HISTORY_POSITIVES 2    /* fewer say nothing of a taste */
#define EVAL_COLD_SHARE        0.15 /* of the items that could become cold */
#define EVAL_COLD_POSITIVES    5    /* that an item needs for it */
#define EVAL_TIME_QUANTILE     0.85

/* ---- Order ------------------------------------------------------------------------------------ */

struct eval_keyed { /* an event and its draw among those of the same time */
    struct eval_event e;
    uint64_t draw;
};

static int eval_compare_keyed(const void *a, const void *b) {
    const struct eval_keyed *const x = a, *const y = b;
    if (x->e.user != y->e.user) {
        return x->e.user < y->e.user ? -1 : 1;
    }
    if (x->e.time_ms != y->e.time_ms) {
        return x->e.time_ms < y->e.time_ms ? -1 : 1;
    }
    return x->draw < y->draw ? -1 : x->draw > y->draw;
}

int eval_cut_sort(struct eval_cut *c) {
    const size_t n = c->log.n;
    uint64_t random = c->seed;
    struct eval_keyed *const keyed = calloc(n + 1, sizeof *keyed);
    c->labels = calloc(n + 1, sizeof *c->labels);
    c->liked = calloc((size_t)c->items_n + 1, sizeof *c->liked);
    c->touched = calloc((size_t)c->items_n + 1, sizeof *c->touched);
    c->firsts = calloc(n + 1, sizeof *c->firsts);
    if (keyed == NULL || c->labels == NULL || c->liked == NULL || c->touched == NULL ||
        c->firsts == NULL) {
        free(keyed);
        return cli_no_memory();
    }
    for (size_t i = 0; i < n; i++) {
        keyed[i] = (struct eval_keyed){c->log.e[i], eval_random(&random)};
    }
    qsort(keyed, n, sizeof *keyed, eval_compare_keyed);
    for (size_t i = 0; i < n; i++) {
        c->log.e[i] = keyed[i].e;
    }
    free(keyed);
    return CLI_OK;
}

void eval_cut_free(struct eval_cut *c) {
    free(c->log.e);
    free(c->labels);
    free(c->liked);
    free(c->touched);
    free(c->firsts);
    free(c->cold_items);
}

/* ---- One user --------------------------------------------------------------------------------- */

/* The end of the run of one user's events that begins at `from`. */
static size_t eval_user_end(const struct eval_cut *c, size_t from) {
    size_t end = from;
    while (end < c->log.n && c->log.e[end].user == c->log.e[from].user) {
        end++;
    }
    return end;
}

static void eval_label(struct eval_cut *c, size_t from, size_t to, uint8_t label) {
    for (size_t i = from; i < to; i++) {
        c->labels[i] |= label;
    }
}

/* Fills c->firsts with the events of [from, to) in which the user wanted an item for the first time. */
static size_t eval_find_firsts(struct eval_cut *c, size_t from, size_t to) {
    size_t n = 0;
    for (size_t i = from; i < to; i++) {
        const struct eval_event *const e = &c->log.e[i];
        if (c->positive[e->action] && c->liked[e->item] != e->user + 1) {
            c->liked[e->item] = e->user + 1;
            c->firsts[n++] = i;
        }
    }
    return n;
}

/* Labels what of [cut, to) the user wanted and had not touched in [from, cut). Returns how many. */
static size_t eval_label_truth(struct eval_cut *c, size_t from, size_t cut, size_t to,
                               uint8_t label) {
    size_t n = 0;
    for (size_t i = from; i < cut; i++) {
        c->touched[c->log.e[i].item] = c->log.e[i].user + 1;
    }
    for (size_t i = cut; i < to; i++) {
        const struct eval_event *const e = &c->log.e[i];
        if (c->positive[e->action] && c->touched[e->item] != e->user + 1) {
            c->touched[e->item] = e->user + 1;
            c->labels[i] |= label;
            n++;
        }
    }
    return n;
}

static size_t eval_count_positives(const struct eval_cut *c, size_t from, size_t to) {
    size_t n = 0;
    for (size_t i = from; i < to; i++) {
        n += c->positive[c->log.e[i].action];
    }
    return n;
}

/* Where the history of a user ends who is asked for the last firsts from number `first` on; `to` if the
 * user cannot be tested. */
static size_t eval_find_cut(const struct eval_cut *c, size_t from, size_t to, size_t first,
                            size_t n) {
    if (n < c->min_positives || first >= n) {
        return to;
    }
    size_t cut = c->firsts[first];
    while (c->baskets && cut > from && c->log.e[cut - 1].time_ms == c->log.e[cut].time_ms) {
        cut--;
    }
    return eval_count_positives(c, from, cut) >= EVAL_HISTORY_POSITIVES ? cut : to;
}

/* ---- Unseen users ----------------------------------------------------------------------------- */

/* Whether each user is in the fold: users are shuffled by the seed and dealt out. To be freed. */
static bool *eval_draw_fold(const struct eval_cut *c) {
    uint64_t random = c->seed ^ UINT64_C(0x5eed);
    uint32_t *const order = calloc((size_t)c->users_n + 1, sizeof *order);
    bool *const tested = calloc((size_t)c->users_n + 1, sizeof *tested);
    if (order != NULL && tested != NULL) {
        for (uint32_t i = 0; i < c->users_n; i++) {
            const uint32_t j = (uint32_t)eval_random_below(&random, (uint64_t)i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        for (uint32_t i = 0; i < c->users_n; i++) {
            tested[order[i]] = i % c->folds == c->fold;
        }
        free(order);
        return tested;
    }
    free(order);
    free(tested);
    return NULL;
}

int eval_cut_unseen_users(struct eval_cut *c) {
    bool *const tested = eval_draw_fold(c);
    if (tested == NULL) {
        return cli_no_memory();
    }
    for (size_t from = 0, to; from < c->log.n; from = to) {
        to = eval_user_end(c, from);
        if (!tested[c->log.e[from].user]) {
            eval_label(c, from, to, EVAL_TRAIN);
            continue;
        }
        const size_t n = eval_find_firsts(c, from, to), first = n * 4 / 5;
        const size_t cut = eval_find_cut(c, from, to, first, n);
        if (cut < to && eval_label_truth(c, from, cut, to, EVAL_HELDOUT) > 0) {
            eval_label(c, from, cut, EVAL_HISTORY);
        }
    }
    free(tested);
    return CLI_OK;
}

/* ---- Leave last ------------------------------------------------------------------------------- */

int eval_cut_leave_last(struct eval_cut *c) {
    for (size_t from = 0, to; from < c->log.n; from = to) {
        to = eval_user_end(c, from);
        const size_t n = eval_find_firsts(c, from, to);
        const size_t cut = n > 0 ? eval_find_cut(c, from, to, n - 1, n) : to;
        const bool asked = cut < to && eval_label_truth(c, from, cut, to, EVAL_HELDOUT) > 0;
        eval_label(c, from, asked ? cut : to, asked ? EVAL_TRAIN | EVAL_HISTORY : EVAL_TRAIN);
    }
    return CLI_OK;
}

/* ---- Global time ------------------------------------------------------------------------------ */

static int eval_compare_times(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int eval_find_time(struct eval_cut *c) {
    int64_t *const times = calloc(c->log.n + 1, sizeof *times);
    if (times == NULL) {
        return cli_no_memory();
    }
    for (size_t i = 0; i < c->log.n; i++) {
        times[i] = c->log.e[i].time_ms;
    }
    qsort(times, c->log.n, sizeof *times, eval_compare_times);
    c->time_ms = c->log.n > 0 ? times[(size_t)(EVAL_TIME_QUANTILE * (double)(c->log.n - 1))] : 0;
    free(times);
    return CLI_OK;
}

int eval_cut_global_time(struct eval_cut *c) {
    const int code = c->time_ms == 0 ? eval_find_time(c) : CLI_OK;
    const int64_t until_ms = c->time_ms + (int64_t)c->days * 86400000;
    for (size_t from = 0, to; code == CLI_OK && from < c->log.n; from = to) {
        size_t cut = from, end;
        to = eval_user_end(c, from);
        while (cut < to && c->log.e[cut].time_ms < c->time_ms) {
            cut++;
        }
        for (end = cut; end < to && c->log.e[end].time_ms < until_ms;) {
            end++;
        }
        eval_label(c, from, cut, EVAL_TRAIN);
        if (cut == from) {
            (void)eval_label_truth(c, from, cut, end, EVAL_HELDOUT_COLD); /* may be none */
        } else if (eval_count_positives(c, from, cut) >= EVAL_HISTORY_POSITIVES &&
                   eval_label_truth(c, from, cut, end, EVAL_HELDOUT) > 0) {
            eval_label(c, from, cut, EVAL_HISTORY);
        }
    }
    return code;
}

/* ---- Cold items ------------------------------------------------------------------------------- */

/* Draws them among the items that training wants often enough. */
static int eval_draw_cold(struct eval_cut *c) {
    uint64_t random = c->seed ^ UINT64_C(0xc01d);
    uint32_t *const wanted = calloc((size_t)c->items_n + 1, sizeof *wanted);
    c->cold_items = calloc((size_t)c->items_n + 1, sizeof *c->cold_items);
    if (wanted == NULL || c->cold_items == NULL) {
        free(wanted);
        return cli_no_memory();
    }
    uint32_t n = 0;
    for (size_t i = 0; i < c->log.n; i++) {
        const bool counts = (c->labels[i] & EVAL_TRAIN) != 0 && c->positive[c->log.e[i].action];
        wanted[c->log.e[i].item] += counts;
    }
    for (uint32_t i = 0; i < c->items_n; i++) {
        if (wanted[i] >= EVAL_COLD_POSITIVES) {
            wanted[n++] = i; /* n <= i: the counts before i are not needed any more */
        }
    }
    const uint32_t cold_n = (uint32_t)(EVAL_COLD_SHARE * n);
    for (uint32_t k = 0; k < cold_n; k++) {
        const uint32_t at = k + (uint32_t)eval_random_below(&random, n - k), item = wanted[at];
        wanted[at] = wanted[k];
        c->cold_items[item] = true;
    }
    free(wanted);
    return CLI_OK;
}

/* Unseen users; then the cold items lose their events, and only what a test user wanted of them, at any
 * time, is to be guessed. */
int eval_cut_cold_items(struct eval_cut *c) {
    int code = eval_cut_unseen_users(c);
    code = code == CLI_OK ? eval_draw_cold(c) : code;
    for (size_t from = 0, to; code == CLI_OK && from < c->log.n; from = to) {
        size_t truths = 0;
        bool tested = false;
        to = eval_user_end(c, from);
        for (size_t i = from; i < to; i++) {
            tested = tested || (c->labels[i] & EVAL_HISTORY) != 0;
        }
        for (size_t i = from; i < to; i++) {
            const struct eval_event *const e = &c->log.e[i];
            const bool again = c->touched[e->item] == UINT32_MAX - e->user;
            c->labels[i] &= c->cold_items[e->item] ? 0 : EVAL_TRAIN | EVAL_HISTORY;
            if (tested && c->cold_items[e->item] && c->positive[e->action] && !again) {
                c->touched[e->item] = UINT32_MAX - e->user; /* other marks than the ones before */
                c->labels[i] |= EVAL_HELDOUT;
                truths++;
            }
        }
        for (size_t i = from; tested && truths == 0 && i < to; i++) {
            c->labels[i] = 0;
        }
    }
    return code;
}
