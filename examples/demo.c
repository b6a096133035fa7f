/* demo.c - shows users of a store: what each liked last, beside what u2i recommends to them, with the
 * reason. `make demo` runs it on films; it works on any store.
 * usage: demo STORE USER DESCRIPTION [USER DESCRIPTION]... */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <u2i.h>
#include <wchar.h>

#define ROWS      10
#define EVENTS    100 /* as many of the newest events are looked at */
#define WIDTH_MAX 42  /* of a column */

/* The newest items a user liked, bought or chose, newest first. */
struct likes {
    char ids[ROWS][U2I_ID_MAX_BYTES + 1];
    size_t n;
};

static int add_like(void *ctx, const u2i_event_t *event) {
    struct likes *likes = ctx;
    static const char *const actions[] = {"like", "favorite", "buy", "purchase"};
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(event->action, actions[i]) == 0) {
            (void)snprintf(likes->ids[likes->n++], sizeof(likes->ids[0]), "%s", event->item);
            break;
        }
    }
    return likes->n == ROWS;
}

/* Prints `text` in exactly `columns` columns of a terminal, cut or padded. */
static void print_cell(const char *text, int columns) {
    wchar_t wide[U2I_TITLE_MAX_BYTES + 1];
    size_t n = mbstowcs(wide, text, U2I_TITLE_MAX_BYTES), end = 0;
    int used = 0;
    if (n == (size_t)-1) {
        n = 0;
    }
    for (; end < n; end++) {
        const int width = wcwidth(wide[end]);
        if (used + (width > 0 ? width : 0) > columns) {
            break;
        }
        used += width > 0 ? width : 0;
    }
    printf("%.*ls%*s", (int)end, wide, columns - used, "");
}

static void print_like(u2i_t *u, const char *id) {
    u2i_item_t *item = NULL;
    if (id != NULL && u2i_get_item(u, id, &item, NULL) == U2I_OK && item->title != NULL) {
        print_cell(item->title, WIDTH_MAX);
    } else {
        print_cell("", WIDTH_MAX);
    }
    u2i_item_free(item);
}

static void print_hit(const u2i_hit_t *hit) {
    print_cell(hit->title, WIDTH_MAX);
    if (hit->because_title != NULL) {
        printf("  %.60s", hit->because_title);
    }
}

static int show_user(u2i_t *u, const char *user, const char *about, u2i_error_t *err) {
    struct likes likes = {.n = 0};
    u2i_query_t query = U2I_QUERY_INIT;
    u2i_result_t *result = NULL;
    query.user = user;
    query.limit = ROWS;
    int rc = u2i_scan_events(u, user, EVENTS, add_like, &likes, err);
    if (rc != U2I_OK || (rc = u2i_recommend(u, &query, &result, err)) != U2I_OK) {
        return rc;
    }
    printf("\nUser %s: %s\n  ", user, about);
    print_cell("liked last", WIDTH_MAX);
    printf("  ");
    print_cell("recommended", WIDTH_MAX);
    printf("  because they liked\n");
    for (size_t i = 0; i < likes.n || i < u2i_result_count(result); i++) {
        printf("  ");
        print_like(u, i < likes.n ? likes.ids[i] : NULL);
        printf("  ");
        if (i < u2i_result_count(result)) {
            print_hit(u2i_result_hit(result, i));
        }
        printf("\n");
    }
    u2i_result_free(result);
    return U2I_OK;
}

int main(int argc, char **argv) {
    u2i_error_t err = {0};
    u2i_options_t options = U2I_OPTIONS_INIT;
    u2i_t *u = NULL;
    (void)setlocale(LC_CTYPE, "C.UTF-8"); /* without it only ASCII is aligned */
    options.flags = U2I_OPEN_READONLY;
    if (argc < 4 || argc % 2 != 0) {
        fprintf(stderr, "usage: demo STORE USER DESCRIPTION [USER DESCRIPTION]...\n");
        return 2;
    }
    int rc = u2i_open(argv[1], &options, &u, &err);
    for (int i = 2; rc == U2I_OK && i + 1 < argc; i += 2) {
        rc = show_user(u, argv[i], argv[i + 1], &err);
    }
    if (rc != U2I_OK) {
        fprintf(stderr, "demo: %s\n", err.msg);
    }
    u2i_close(u);
    return rc == U2I_OK ? 0 : 1;
}
