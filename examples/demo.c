/* demo.c - shows users of a store: what each liked last, beside what u2i recommends to them, with the
 * reason. `make demo` runs it on films; it works on any store.
 * usage: demo STORE USER DESCRIPTION [USER DESCRIPTION]... */
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <u2i.h>
#include <wchar.h>

#define ROWS   10
#define EVENTS 100 /* as many of the newest events are looked at */

enum { WIDTH_LIKED = 32, WIDTH_TITLE = 32, WIDTH_CATEGORY = 20, WIDTH_REASON = 28 };

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

/* Prints `text` in `columns` columns of a terminal, cut, or padded unless `gap` is 0. */
static void print_cell(const char *text, int columns, int gap) {
    wchar_t wide[U2I_TITLE_MAX_BYTES + 1];
    size_t n = mbstowcs(wide, text != NULL ? text : "", U2I_TITLE_MAX_BYTES), end = 0;
    int used = 0;
    for (n = n == (size_t)-1 ? 0 : n; end < n; end++) {
        const int width = wcwidth(wide[end]) > 0 ? wcwidth(wide[end]) : 0;
        if (used + width > columns) {
            break;
        }
        used += width;
    }
    wide[end] = L'\0';
    printf("%ls%*s", wide, gap > 0 ? columns - used + gap : 0, "");
}

static void print_row(const char *liked, const char *title, const char *category,
                      const char *reason) {
    printf("  ");
    print_cell(liked, WIDTH_LIKED, 2);
    print_cell(title, WIDTH_TITLE, 2);
    print_cell(category, WIDTH_CATEGORY, 2);
    print_cell(reason, WIDTH_REASON, 0);
    printf("\n");
}

/* The i-th newest like beside the i-th recommendation; either may be missing. */
static void print_pair(u2i_t *u, const struct likes *likes, const u2i_result_t *result, size_t i) {
    static const u2i_hit_t nothing;
    const u2i_hit_t *hit = i < u2i_result_count(result) ? u2i_result_hit(result, i) : &nothing;
    u2i_item_t *item = NULL;
    const bool liked = i < likes->n && u2i_get_item(u, likes->ids[i], &item, NULL) == U2I_OK;
    print_row(liked ? item->title : "", hit->title, hit->category, hit->because_title);
    u2i_item_free(item);
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
    printf("\nUser %s: %s\n", user, about);
    print_row("LIKED LAST", "RECOMMENDED", "", "BECAUSE OF");
    for (size_t i = 0; i < likes.n || i < u2i_result_count(result); i++) {
        print_pair(u, &likes, result, i);
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
