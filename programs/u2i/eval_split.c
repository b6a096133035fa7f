/* See eval.h. One split from its folder: train, history, heldout, heldout_cold, cold_items (each .csv or
 * .csv.gz) and T.txt. */
#include "eval.h"
#include "times.h"
#include <stdlib.h>
#include <string.h>

static const char eval_negative[] = "dislike|return|refund|skip|remove|hide";
static const char eval_weak[] = "view|click|impression|open";

bool eval_is_negative(const char *action) {
    return choices_have(eval_negative, action);
}

bool eval_is_weak(const char *action) {
    return choices_have(eval_weak, action);
}

/* ---- Who is asked ----------------------------------------------------------------------------- */

static int eval_compare_numbers(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The entry of a user, made if it is new. `index` has a slot for each known user's number + 1. */
static struct eval_user *eval_split_user(struct eval_split *s, size_t **index, size_t *index_n,
                                         uint32_t user) {
    if (user >= *index_n) {
        const size_t n = (size_t)user * 2 + 64;
        size_t *const grown = realloc(*index, n * sizeof *grown);
        if (grown == NULL) {
            return NULL;
        }
        memset(grown + *index_n, 0, (n - *index_n) * sizeof *grown);
        *index = grown;
        *index_n = n;
    }
    if ((*index)[user] == 0) {
        if (s->users_n == s->users_cap) {
            const size_t cap = s->users_cap == 0 ? 256 : s->users_cap * 2;
            struct eval_user *const grown = realloc(s->users, cap * sizeof *grown);
            if (grown == NULL) {
                return NULL;
            }
            s->users = grown;
            s->users_cap = cap;
        }
        s->users[s->users_n++] = (struct eval_user){.user = user};
        (*index)[user] = s->users_n;
    }
    return &s->users[(*index)[user] - 1];
}

struct eval_held { /* one row: of which user (of the split), which item */
    size_t user;
    uint32_t item;
};

static int eval_compare_held(const void *a, const void *b) {
    const struct eval_held *const x = a, *const y = b;
    return x->user != y->user ? (x->user < y->user ? -1 : 1)
                              : eval_compare_numbers(&x->item, &y->item);
}

/* Truths by user, each item once. */
static int eval_split_truths(struct eval_split *s, struct eval_held *held, size_t n) {
    if (n > 0) {
        qsort(held, n, sizeof *held, eval_compare_held);
    }
    uint32_t *const truths = realloc(s->truths, (s->truths_n + n + 1) * sizeof *truths);
    if (truths == NULL) {
        return cli_no_memory();
    }
    s->truths = truths;
    for (size_t i = 0; i < n; i++) {
        struct eval_user *const user = &s->users[held[i].user];
        if (i > 0 && eval_compare_held(&held[i - 1], &held[i]) == 0) {
            continue;
        }
        if (user->truth_n == 0) {
            user->truth = s->truths_n;
        }
        truths[s->truths_n++] = held[i].item;
        user->truth_n++;
    }
    return CLI_OK;
}

/* Rows of heldout.csv: appends their users and truths. */
static int eval_split_heldout(struct eval_split *s, struct eval_world *w, const char *path,
                              bool strangers) {
    static const char *const names[] = {"user", "item"};
    struct eval_table t;
    struct eval_held *held = NULL;
    size_t n = 0, cap = 0, *index = NULL, index_n = 0;
    bool more = true;
    int code = eval_table_open(&t, path, names, 2, 2);
    if (code != CLI_OK) {
        return code;
    }
    while (code == CLI_OK && (code = eval_table_next(&t, &more)) == CLI_OK && more) {
        if (n == cap) {
            cap = cap == 0 ? 1024 : cap * 2;
            struct eval_held *const grown = realloc(held, cap * sizeof *grown);
            if (grown == NULL) {
                code = cli_no_memory();
                break;
            }
            held = grown;
        }
        const uint32_t user = eval_ids_put(&w->users, t.cells[0]);
        const uint32_t item = eval_ids_put(&w->items, t.cells[1]);
        struct eval_user *const entry = user == EVAL_NO_ID || item == EVAL_NO_ID
                                            ? NULL
                                            : eval_split_user(s, &index, &index_n, user);
        if (entry == NULL) {
            code = cli_no_memory();
            break;
        }
        entry->stranger = strangers;
        held[n++] = (struct eval_held){(size_t)(entry - s->users), item};
    }
    eval_table_close(&t);
    code = code == CLI_OK ? eval_split_truths(s, held, n) : code;
    free(held);
    free(index);
    return code;
}

/* ---- History ---------------------------------------------------------------------------------- */

/* Brings the events of each user together, in the order of the file, and tells users where theirs are. */
static int eval_split_order(struct eval_split *s, const struct eval_world *w) {
    const size_t users = w->users.n;
    size_t *const starts = calloc(users + 2, sizeof *starts);
    struct eval_event *const sorted = calloc(s->history.n + 1, sizeof *sorted);
    if (starts == NULL || sorted == NULL) {
        free(starts);
        free(sorted);
        return cli_no_memory();
    }
    for (size_t i = 0; i < s->history.n; i++) {
        starts[s->history.e[i].user + 2]++;
    }
    for (size_t u = 0; u < users; u++) {
        starts[u + 2] += starts[u + 1];
    }
    for (size_t i = 0; i < s->history.n; i++) {
        sorted[starts[s->history.e[i].user + 1]++] = s->history.e[i];
    }
    for (size_t i = 0; i < s->users_n; i++) {
        struct eval_user *const user = &s->users[i];
        user->from = starts[user->user];
        user->n = user->stranger ? 0 : starts[user->user + 1] - starts[user->user];
    }
    free(s->history.e);
    s->history.e = sorted;
    s->history.cap = s->history.n + 1;
    free(starts);
    return CLI_OK;
}

/* ---- The rest --------------------------------------------------------------------------------- */

static int eval_split_cold(struct eval_split *s, struct eval_world *w, const char *path) {
    static const char *const names[] = {"item|id"};
    struct eval_table t;
    bool more = true;
    int code = eval_table_open(&t, path, names, 1, 1);
    if (code != CLI_OK) {
        return code;
    }
    while (code == CLI_OK && (code = eval_table_next(&t, &more)) == CLI_OK && more) {
        const uint32_t item = eval_ids_put(&w->items, t.cells[0]);
        if (item == EVAL_NO_ID) {
            code = cli_no_memory();
        } else if (item >= s->cold_n) {
            const uint32_t n = w->items.n > item * 2 ? w->items.n : item * 2 + 1;
            bool *const grown = realloc(s->cold, n * sizeof *grown);
            if (grown == NULL) {
                code = cli_no_memory();
                break;
            }
            memset(grown + s->cold_n, 0, n - s->cold_n);
            s->cold = grown;
            s->cold_n = n;
        }
        if (code == CLI_OK) {
            s->cold[item] = true;
        }
    }
    eval_table_close(&t);
    return code;
}

static int eval_split_time(struct eval_split *s, const char *path) {
    struct text line = {0};
    int code = cli_read_file(path, 256, &line);
    if (code == CLI_OK) {
        while (line.n > 0 && strchr("\r\n \t", line.p[line.n - 1]) != NULL) {
            line.p[--line.n] = '\0';
        }
        if (!times_parse(text_cstr(&line), TIME_AUTO, &s->time_ms)) {
            cli_error("%s: '%s' is not a time", path, text_cstr(&line));
            code = CLI_ERROR;
        }
    }
    text_free(&line);
    return code;
}

struct eval_pair {
    uint32_t user, item;
};

static int eval_compare_pairs(const void *a, const void *b) {
    const struct eval_pair *const x = a, *const y = b;
    return x->item != y->item ? (x->item < y->item ? -1 : 1)
                              : eval_compare_numbers(&x->user, &y->user);
}

/* Which items how many users acted on, and when the last event was. */
static int eval_split_count(struct eval_split *s, const struct eval_world *w) {
    struct eval_pair *const pairs = calloc(s->train.n + 1, sizeof *pairs);
    bool *const known = calloc((size_t)w->users.n + 1, sizeof *known);
    s->items_n = w->items.n;
    s->acted = calloc((size_t)s->items_n + 1, sizeof *s->acted);
    if (pairs == NULL || known == NULL || s->acted == NULL) {
        free(pairs);
        free(known);
        return cli_no_memory();
    }
    for (size_t i = 0; i < s->train.n; i++) {
        const struct eval_event *const e = &s->train.e[i];
        pairs[i] = (struct eval_pair){e->user, e->item};
        s->train_users += !known[e->user];
        known[e->user] = true;
        s->end_ms = e->time_ms > s->end_ms ? e->time_ms : s->end_ms;
    }
    qsort(pairs, s->train.n, sizeof *pairs, eval_compare_pairs);
    for (size_t i = 0; i < s->train.n; i++) {
        s->acted[pairs[i].item] += i == 0 || eval_compare_pairs(&pairs[i - 1], &pairs[i]) != 0;
    }
    free(pairs);
    free(known);
    return CLI_OK;
}

/* Reads FOLDER/NAME if it is there; `needed`: it must be. */
static int eval_split_part(struct eval_split *s, struct eval_world *w, const char *name,
                           bool needed) {
    char *const path = eval_find_file(s->folder, name);
    int code = CLI_OK;
    if (path == NULL) {
        if (needed) {
            cli_error("%s: there is no %s.csv or %s.csv.gz in it", s->folder, name, name);
        }
        return needed ? CLI_ERROR : CLI_OK;
    }
    if (strcmp(name, "train") == 0) {
        code = eval_read_events(w, path, false, &s->train);
    } else if (strcmp(name, "history") == 0) {
        code = eval_read_events(w, path, false, &s->history);
    } else if (strcmp(name, "cold_items") == 0) {
        code = eval_split_cold(s, w, path);
    } else if (strcmp(name, "T.txt") == 0) {
        code = eval_split_time(s, path);
    } else {
        code = eval_split_heldout(s, w, path, strcmp(name, "heldout_cold") == 0);
    }
    free(path);
    return code;
}

int eval_split_load(struct eval_split *s, struct eval_world *w, const char *folder,
                    bool with_train) {
    const char *const slash = strrchr(folder, '/');
    *s = (struct eval_split){.folder = folder, .name = slash == NULL ? folder : slash + 1};
    int code = eval_split_part(s, w, "heldout", true);
    code = code == CLI_OK ? eval_split_part(s, w, "heldout_cold", false) : code;
    code = code == CLI_OK ? eval_split_part(s, w, "cold_items", false) : code;
    code = code == CLI_OK ? eval_split_part(s, w, "T.txt", false) : code;
    code = code == CLI_OK ? eval_split_part(s, w, "train", with_train) : code;
    code = code == CLI_OK ? eval_split_part(s, w, "history", false) : code;
    code = code == CLI_OK ? eval_split_order(s, w) : code;
    code = code == CLI_OK ? eval_split_count(s, w) : code;
    if (code == CLI_OK && s->users_n == 0) {
        cli_error("%s: there is no user to ask: heldout.csv has no rows", folder);
        code = CLI_ERROR;
    }
    return code;
}

void eval_split_free(struct eval_split *s) {
    free(s->train.e);
    free(s->history.e);
    free(s->users);
    free(s->truths);
    free(s->cold);
    free(s->acted);
}
