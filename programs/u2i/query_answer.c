/* See query.h. How an answer is shown: a table for people, JSON lines for programs, and with --explain what
 * every score is made of: its parts, which add up to it, and what each item of the history adds. */
#include "query.h"
#include "table.h"
#include <math.h>
#include <string.h>

static const char *query_source_name(int source) {
    switch (source) {
    case U2I_FROM_PROFILE:
        return "profile";
    case U2I_FROM_INTERESTS:
        return "interests";
    case U2I_FROM_ATTRIBUTES:
        return "attributes";
    case U2I_FROM_POPULAR:
        return "popular";
    case U2I_FROM_CATALOGUE:
        return "catalogue";
    case U2I_FROM_SEARCH:
        return "search";
    case U2I_FROM_SIMILAR:
        return "similar";
    case U2I_FROM_TASTE:
        return "taste";
    case U2I_FROM_NEIGHBOURS:
        return "neighbours";
    case U2I_FROM_RULE:
        return "rule";
    default:
        return "other";
    }
}

static const char *query_source_text(int source) {
    switch (source) {
    case U2I_FROM_PROFILE:
        return "like what you chose";
    case U2I_FROM_INTERESTS:
        return "fits the interests";
    case U2I_FROM_ATTRIBUTES:
        return "fits what is known of you";
    case U2I_FROM_POPULAR:
        return "popular";
    case U2I_FROM_CATALOGUE:
        return "from the catalogue";
    case U2I_FROM_TASTE:
        return "to your taste";
    case U2I_FROM_NEIGHBOURS:
        return "what others did next";
    case U2I_FROM_RULE:
        return "by a rule";
    default:
        return "";
    }
}

/* "because you liked Emma" */
static void query_add_reason(struct text *out, const u2i_hit_t *hit) {
    static const struct {
        const char *action, *did;
    } verbs[] = {{"purchase", "bought"},    {"buy", "bought"}, {"add_cart", "put into the cart"},
                 {"favorite", "favorited"}, {"like", "liked"}, {"click", "clicked"},
                 {"view", "viewed"}};
    if (hit->because == NULL) {
        text_str(out, query_source_text(hit->source));
        return;
    }
    const char *const title = hit->because_title != NULL && hit->because_title[0] != '\0'
                                  ? hit->because_title
                                  : hit->because;
    const char *const action = hit->because_action != NULL ? hit->because_action : "";
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verbs[i].action, action) == 0) {
            text_fmt(out, "because you %s %s", verbs[i].did, title);
            return;
        }
    }
    text_fmt(out, "because of %s (%s)", title, action);
}

/* ,"parts":{"ease":1.2,...},"pulls":[{"id":...},...] where the answer has them. */
static void query_add_parts_json(struct text *line, const u2i_hit_t *hit) {
    if (hit->parts_n > 0) {
        text_json_key(line, "parts");
        text_char(line, '{');
        for (size_t i = 0; i < hit->parts_n; i++) {
            text_json_key(line, hit->parts[i].name);
            text_fmt(line, "%.6g", (double)hit->parts[i].value);
        }
        text_char(line, '}');
    }
    if (hit->pulls_n > 0) {
        text_json_key(line, "pulls");
        text_char(line, '[');
        for (size_t i = 0; i < hit->pulls_n; i++) {
            text_str(line, i > 0 ? ",{" : "{");
            text_json_member(line, "id", hit->pulls[i].item);
            text_json_member(line, "title", hit->pulls[i].title);
            text_json_member(line, "action", hit->pulls[i].action);
            text_json_key(line, "value");
            text_fmt(line, "%.6g}", (double)hit->pulls[i].value);
        }
        text_char(line, ']');
    }
}

static void query_add_json(struct text *line, size_t rank, const u2i_hit_t *hit) {
    text_char(line, '{');
    text_json_member_int(line, "rank", (long long)rank);
    text_json_member(line, "id", hit->id);
    text_json_member(line, "title", hit->title);
    text_json_member(line, "category", hit->category);
    text_json_key(line, "score");
    text_fmt(line, "%.6g", (double)hit->score);
    if (hit->probability > 0) {
        text_json_key(line, "probability");
        text_fmt(line, "%.4g", (double)hit->probability);
    }
    text_json_member(line, "source", query_source_name(hit->source));
    if (hit->because != NULL) {
        text_json_key(line, "because");
        text_char(line, '{');
        text_json_member(line, "id", hit->because);
        text_json_member(line, "title", hit->because_title);
        text_json_member(line, "action", hit->because_action);
        text_json_key(line, "share");
        text_fmt(line, "%.3g", (double)hit->because_share);
        text_char(line, '}');
    }
    query_add_parts_json(line, hit);
    text_json_member_raw(line, "attrs", hit->attrs_json);
    text_char(line, '}');
}

static int query_print_json(const struct cli *cli, const u2i_result_t *r, bool users) {
    struct text line = {0};
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < u2i_result_count(r); i++) {
        const u2i_hit_t *const hit = u2i_result_hit(r, i);
        text_clear(&line);
        if (users) {
            text_char(&line, '{');
            text_json_member_int(&line, "rank", (long long)i + 1);
            text_json_member(&line, "id", hit->id);
            text_json_key(&line, "score");
            text_fmt(&line, "%.6g}", (double)hit->score);
        } else {
            query_add_json(&line, i + 1, hit);
        }
        code = cli_print_line(cli, &line);
    }
    text_free(&line);
    return code;
}

static int query_print_table(const struct cli *cli, struct table *table) {
    if (table_rows(table) == 0) {
        cli_warn("nothing found");
        return CLI_OK;
    }
    return table_print(table, cli->out, cli->display) == 0 ? CLI_OK : cli_no_memory();
}

/* "search: filtered walk, ef 64, 812 compared, about 4,210 pass" */
static void query_add_explain(struct text *line, const u2i_explain_t *e) {
    text_fmt(line, "search: %s", e->search);
    if (e->ef > 0) {
        text_fmt(line, ", ef %u", e->ef);
    }
    if (e->compared > 0 || e->passing > 0) {
        text_str(line, ", ");
        text_count(line, e->compared);
        text_str(line, " compared, about ");
        text_count(line, e->passing);
        text_str(line, " pass");
    }
    if (e->rounds > 1) {
        text_fmt(line, ", %u rounds", e->rounds);
    }
}

static void query_add_explain_json(struct text *line, const u2i_explain_t *e) {
    text_str(line, "{\"explain\": {");
    text_json_member(line, "search", e->search);
    text_json_member_int(line, "ef", e->ef);
    text_json_member_int(line, "compared", e->compared);
    text_json_member_int(line, "rounds", e->rounds);
    text_json_member_int(line, "passing", (long long)e->passing);
    text_str(line, "}}");
}

#define QUERY_SUM_TOLERANCE 1e-3 /* of the sum of the parts' sizes: they are added as floats */

/* "Emma (like) 0.210" of a pull, or its id where it has no title. */
static void query_add_pull(struct text *line, const u2i_pull_t *pull) {
    const char *const name =
        pull->title != NULL && pull->title[0] != '\0' ? pull->title : pull->item;
    display_clean(line, name, strlen(name));
    if (pull->action != NULL && pull->action[0] != '\0') {
        text_fmt(line, " (%s)", pull->action);
    }
    text_fmt(line, " %+.4f", (double)pull->value);
}

/* "3. b2: 0.829 = ease 0.800 + trend 0.029; probability 0.12", then what pulled. */
static void query_add_parts(struct text *line, size_t rank, const u2i_hit_t *hit) {
    double sum = 0, size = 0;
    text_fmt(line, "%zu. ", rank);
    display_clean(line, hit->id, strlen(hit->id));
    text_fmt(line, ": %.4f =", (double)hit->score);
    for (size_t i = 0; i < hit->parts_n; i++) {
        const double value = (double)hit->parts[i].value;
        text_str(line, i == 0 ? " " : value < 0 ? " - " : " + ");
        display_clean(line, hit->parts[i].name, strlen(hit->parts[i].name));
        text_fmt(line, " %.4f", i == 0 ? value : fabs(value));
        sum += value;
        size += fabs(value);
    }
    if (fabs(sum - (double)hit->score) > QUERY_SUM_TOLERANCE * size) {
        text_fmt(line, " (these make %.4f)", sum);
    }
    if (hit->probability > 0) {
        text_fmt(line, "; probability %.3g", (double)hit->probability);
    }
    for (size_t i = 0; i < hit->pulls_n; i++) {
        text_str(line, i == 0 ? "\n     pulled by " : ", ");
        query_add_pull(line, &hit->pulls[i]);
    }
}

/* For people only: the lines of JSON have it all in them. */
static int query_print_parts(const struct cli *cli, const u2i_result_t *r) {
    struct text line = {0};
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < u2i_result_count(r); i++) {
        const u2i_hit_t *const hit = u2i_result_hit(r, i);
        if (hit->parts_n > 0) {
            text_clear(&line);
            query_add_parts(&line, i + 1, hit);
            code = cli_print_line(cli, &line);
        }
    }
    text_free(&line);
    return code;
}

static int query_explain(const struct cli *cli, const struct args *args, const u2i_result_t *r) {
    struct text line = {0};
    if (!args_has(args, "explain")) {
        return CLI_OK;
    }
    int code = CLI_OK;
    if (args_has(args, "json")) {
        query_add_explain_json(&line, u2i_result_explain(r));
    } else {
        code = query_print_parts(cli, r);
        query_add_explain(&line, u2i_result_explain(r));
    }
    code = code == CLI_OK ? cli_print_line(cli, &line) : code;
    text_free(&line);
    return code;
}

int query_print_items(const struct cli *cli, const struct args *args, u2i_result_t *r) {
    static const struct table_column columns[] = {{"#", true, false},        {"item", false, true},
                                                  {"score", true, false},    {"title", false, true},
                                                  {"category", false, true}, {"why", false, true}};
    int code;
    if (args_has(args, "json")) {
        code = query_print_json(cli, r, false);
    } else {
        struct table table;
        struct text reason = {0};
        table_init(&table, columns, sizeof columns / sizeof *columns);
        for (size_t i = 0; i < u2i_result_count(r); i++) {
            const u2i_hit_t *const hit = u2i_result_hit(r, i);
            text_clear(&reason);
            query_add_reason(&reason, hit);
            table_cell_fmt(&table, "%zu", i + 1);
            table_cell(&table, hit->id);
            table_cell_fmt(&table, "%.3f", (double)hit->score);
            table_cell(&table, hit->title);
            table_cell(&table, hit->category);
            table_cell(&table, text_cstr(&reason));
        }
        code = query_print_table(cli, &table);
        text_free(&reason);
        table_free(&table);
    }
    code = code == CLI_OK ? query_explain(cli, args, r) : code;
    u2i_result_free(r);
    return code;
}

int query_print_users(const struct cli *cli, const struct args *args, u2i_result_t *r) {
    static const struct table_column columns[] = {
        {"#", true, false}, {"user", false, true}, {"score", true, false}};
    int code;
    if (args_has(args, "json")) {
        code = query_print_json(cli, r, true);
    } else {
        struct table table;
        table_init(&table, columns, sizeof columns / sizeof *columns);
        for (size_t i = 0; i < u2i_result_count(r); i++) {
            const u2i_hit_t *const hit = u2i_result_hit(r, i);
            table_cell_fmt(&table, "%zu", i + 1);
            table_cell(&table, hit->id);
            table_cell_fmt(&table, "%.3f", (double)hit->score);
        }
        code = query_print_table(cli, &table);
        table_free(&table);
    }
    code = code == CLI_OK ? query_explain(cli, args, r) : code;
    u2i_result_free(r);
    return code;
}
