/* What recommend, similar, popular and search share: the options of a query, and how its answer is
 * shown. */
#ifndef CLI_QUERY_H
#define CLI_QUERY_H

#include "cli.h"

struct query {
    u2i_query_t q;
    json_t *values; /* of --param: what q.params points into */
    u2i_param_t *params;
    const char **exclude;
    struct text exclude_file;
    float *vector;
};

extern const struct option_spec query_options[];     /* --limit, --filter, --param, ... */
extern const struct option_spec query_for_options[]; /* --for */
#define QUERY_FILTER_EXAMPLE "--filter 'category == {c} and price < {max}' -p c=book -p max:=20"

/* Reads the options; prints what is wrong. CLI_OK or an exit code. To be freed in every case. */
int query_init(struct query *q, const struct args *args);
void query_free(struct query *q);

/* Items or users, as the options say. Frees the result. */
int query_print_items(const struct cli *cli, const struct args *args, u2i_result_t *r);
int query_print_users(const struct cli *cli, const struct args *args, u2i_result_t *r);
/* An error of a query; a wrong filter is shown with a mark under the place. */
int query_fail(const struct query *q, const u2i_error_t *err, const char *doing);

#endif
