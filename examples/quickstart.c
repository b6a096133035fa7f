/* quickstart.c - the shortest useful program: put items in, record what a user did, ask what to show
 * next. Build: cc quickstart.c $(pkg-config --cflags --libs u2i) */
#include <stdio.h>
#include <u2i.h>

int main(void) {
    const u2i_item_t items[] = {
        {.id = "b1", .title = "The Hobbit", .category = "Fantasy, adventure"},
        {.id = "b2", .title = "Bread at home", .category = "Cooking"},
        {.id = "b3", .title = "The Last Unicorn", .category = "Fantasy, classic"},
        {.id = "b4", .title = "The Colour of Magic", .category = "Fantasy, comedy"}};
    const u2i_event_t events[] = {{.user = "ann", .item = "b1", .action = "purchase"}};
    u2i_query_t query = U2I_QUERY_INIT;
    u2i_result_t *next = NULL;
    u2i_error_t err = {0};
    u2i_t *shop = NULL;
    query.user = "ann";

    if (u2i_open("shop.db", NULL, &shop, &err) != U2I_OK ||
        u2i_put_items(shop, items, 4, sizeof(items[0]), &err) != U2I_OK ||
        u2i_record(shop, events, 1, sizeof(events[0]), NULL, &err) != U2I_OK ||
        u2i_recommend(shop, &query, &next, &err) != U2I_OK) {
        fprintf(stderr, "%s\n", err.msg);
    }
    for (size_t i = 0; i < u2i_result_count(next); i++) {
        const u2i_hit_t *hit = u2i_result_hit(next, i);
        printf("%.3f %s, because of %s\n", (double)hit->score, hit->title, hit->because_title);
    }
    u2i_result_free(next);
    u2i_close(shop);
    return err.code == U2I_OK ? 0 : 1;
}
