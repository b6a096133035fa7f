/* See eval.h. Answers as files, in the judge's format (user,item,rank): read, written and judged. */
#include "eval.h"
#include "target.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Reading ---------------------------------------------------------------------------------- */

struct eval_answer {     /* one row */
    uint32_t user, item; /* user: its place in the split */
    long rank;
    const char *name; /* of the item: equal ranks go by it */
};

struct eval_answers {
    struct eval_answer *rows;
    size_t n, cap;
};

static int eval_compare_answers(const void *a, const void *b) {
    const struct eval_answer *const x = a, *const y = b;
    if (x->user != y->user) {
        return x->user < y->user ? -1 : 1;
    }
    return x->rank != y->rank ? (x->rank < y->rank ? -1 : 1) : strcmp(x->name, y->name);
}

static int eval_answers_row(struct eval_answers *a, const struct eval_table *t,
                            struct eval_world *w, const uint32_t *places) {
    char *end;
    const uint32_t user = eval_ids_find(&w->users, t->cells[0]);
    const uint32_t item = eval_ids_put(&w->items, t->cells[1]);
    const long rank = strtol(t->cells[2], &end, 10);
    if (*end != '\0' || t->cells[2][0] == '\0') {
        cli_error("%s: the rank '%s' is not a whole number", t->path, t->cells[2]);
        return CLI_ERROR;
    }
    if (item == EVAL_NO_ID) {
        return cli_no_memory();
    }
    if (user == EVAL_NO_ID || places[user] == 0) {
        return CLI_OK; /* nobody who is judged */
    }
    if (a->n == a->cap) {
        const size_t cap = a->cap == 0 ? 4096 : a->cap * 2;
        struct eval_answer *const grown = realloc(a->rows, cap * sizeof *grown);
        if (grown == NULL) {
            return cli_no_memory();
        }
        a->rows = grown;
        a->cap = cap;
    }
    a->rows[a->n++] = (struct eval_answer){places[user] - 1, item, rank, w->items.names[item]};
    return CLI_OK;
}

/* Drops repeats and, with cold items, everything else; cuts at EVAL_DEPTH. */
static void eval_answers_clean(const struct eval_answers *a, struct eval_run *r) {
    const struct eval_split *const s = r->split;
    for (size_t i = 0, end; i < a->n; i = end) {
        const uint32_t user = a->rows[i].user;
        uint32_t *const list = r->items + (size_t)user * EVAL_DEPTH;
        uint32_t kept = 0;
        bool cut = false;
        for (end = i; end < a->n && a->rows[end].user == user; end++) {
            const uint32_t item = a->rows[end].item;
            bool again = false;
            for (uint32_t k = 0; k < kept; k++) {
                again = again || list[k] == item;
            }
            if (again) {
                r->faults.duplicates++;
            } else if (s->cold != NULL && !(item < s->cold_n && s->cold[item])) {
                r->faults.not_cold++;
            } else if (kept < EVAL_DEPTH) {
                list[kept++] = item;
            } else {
                cut = true;
            }
        }
        r->counts[user] = kept;
        r->faults.too_long += cut;
    }
}

/* Strangers come last: of a user who is in both files, the answers are taken for both. */
int eval_run_file(const struct eval_options *o, struct eval_world *w, struct eval_run *r) {
    static const char *const names[] = {"user", "item", "rank"};
    const struct eval_split *const s = r->split;
    struct eval_answers a = {NULL, 0, 0};
    struct text path = {0};
    struct eval_table t;
    bool more = true;
    (void)o;
    eval_expand(&path, r->variant->file, s->name, r->variant->name);
    uint32_t *const places = calloc((size_t)w->users.n + 1, sizeof *places);
    if (places == NULL || !text_ok(&path)) {
        free(places);
        return cli_no_memory();
    }
    for (size_t i = s->users_n; i-- > 0;) {
        places[s->users[i].user] = (uint32_t)i + 1;
    }
    int code = eval_table_open(&t, text_cstr(&path), names, 3, 3);
    if (code == CLI_OK) {
        while (code == CLI_OK && (code = eval_table_next(&t, &more)) == CLI_OK && more) {
            code = eval_answers_row(&a, &t, w, places);
        }
        eval_table_close(&t);
    }
    if (code == CLI_OK && a.n > 0) {
        qsort(a.rows, a.n, sizeof *a.rows, eval_compare_answers);
        eval_answers_clean(&a, r);
    }
    free(a.rows);
    free(places);
    text_free(&path);
    return code;
}

/* ---- Judging ---------------------------------------------------------------------------------- */

static size_t eval_count_known(const struct eval_split *s, const struct eval_user *user,
                               const uint32_t *list, size_t n) {
    size_t known = 0;
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < user->n; i++) {
            if (s->history.e[user->from + i].item == list[k]) {
                known++;
                break;
            }
        }
    }
    return known;
}

void eval_run_judge(const struct eval_world *w, struct eval_run *r) {
    const struct eval_split *const s = r->split;
    for (size_t i = 0; i < s->users_n; i++) {
        const struct eval_user *const user = &s->users[i];
        const uint32_t *const list = r->items + i * EVAL_DEPTH;
        const size_t n = r->counts[i];
        struct eval_scores *const score = &r->scores[i];
        eval_score(list, n, s->truths + user->truth, user->truth_n, score->metric);
        score->novelty = eval_novelty(list, n, s->acted, s->items_n, s->train_users);
        score->diversity = eval_diversity(list, n, &w->kinds);
        r->faults.unanswered += n == 0;
        r->faults.from_history += eval_count_known(s, user, list, n);
    }
}

/* ---- Writing ---------------------------------------------------------------------------------- */

void eval_expand(struct text *out, const char *pattern, const char *split, const char *variant) {
    static const char of_split[] = "{split}", of_variant[] = "{variant}";
    while (*pattern != '\0') {
        if (strncmp(pattern, of_split, sizeof of_split - 1) == 0) {
            text_str(out, split);
            pattern += sizeof of_split - 1;
        } else if (strncmp(pattern, of_variant, sizeof of_variant - 1) == 0) {
            text_str(out, variant);
            pattern += sizeof of_variant - 1;
        } else {
            text_char(out, *pattern++);
        }
    }
}

/* Makes the folders that lead to a file; what cannot be made shows when the file is opened. */
static void eval_make_folders(char *path) {
    for (char *p = path + 1; *p != '\0'; p++) {
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(path, 0777);
            *p = '/';
        }
    }
}

static void eval_write_rows(FILE *f, const struct eval_world *w, const struct eval_run *r) {
    struct text line = {0};
    (void)fputs("user,item,rank\n", f); /* the stream is checked when it is closed */
    for (size_t i = 0; i < r->split->users_n; i++) {
        for (uint32_t k = 0; k < r->counts[i]; k++) {
            text_clear(&line);
            text_csv(&line, w->users.names[r->split->users[i].user], ',');
            text_char(&line, ',');
            text_csv(&line, w->items.names[r->items[i * EVAL_DEPTH + k]], ',');
            (void)fprintf(f, "%s,%u\n", text_cstr(&line), k + 1);
        }
    }
    text_free(&line);
}

int eval_run_write(const struct eval_options *o, const struct eval_world *w,
                   const struct eval_run *r) {
    struct text path = {0};
    struct target target;
    int code = CLI_ERROR;
    eval_expand(&path, o->out, r->split->name, r->variant->name);
    if (!text_ok(&path)) {
        return cli_no_memory();
    }
    eval_make_folders(path.p);
    if (target_open(&target, text_cstr(&path)) != 0) {
        cli_error("%s: %s", text_cstr(&path), strerror(errno));
        (void)target_close(&target, false);
        text_free(&path);
        return CLI_ERROR;
    }
    FILE *const f = fdopen(target.fd, "w");
    bool ok = f != NULL;
    if (ok) {
        eval_write_rows(f, w, r);
        ok = !ferror(f);
        ok = fclose(f) == 0 && ok;
    } else {
        (void)close(target.fd); /* nothing was written */
    }
    if (target_close(&target, ok) != 0 || !ok) {
        cli_error("%s: %s", text_cstr(&path), strerror(errno));
    } else {
        code = CLI_OK;
    }
    text_free(&path);
    return code;
}
