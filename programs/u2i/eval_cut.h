/* Where a log is cut: which of its events are for training, which are a test user's history, which are to
 * be guessed. Pure: labels for events in memory. docs/eval.md says what each kind asks. */
#ifndef CLI_EVAL_CUT_H
#define CLI_EVAL_CUT_H

#include "eval.h"

enum eval_label { /* of an event; a set */
                  EVAL_TRAIN = 1,
                  EVAL_HISTORY = 2,
                  EVAL_HELDOUT = 4,
                  EVAL_HELDOUT_COLD = 8
};

struct eval_cut {
    struct eval_events log; /* eval_cut_sort() brings it into order */
    uint8_t *labels;        /* of log.n events */
    const bool *positive;   /* by action */
    uint32_t users_n, items_n;
    uint64_t fold, folds, min_positives, seed, days;
    bool baskets;              /* equal times are not cut apart */
    int64_t time_ms;           /* global-time: when; 0 = found, the .85 quantile of times */
    bool *cold_items;          /* cold-items: by item; made by eval_cut_cold_items() */
    uint32_t *liked, *touched; /* by item: the user + 1 who did last; scratch */
    size_t *firsts;            /* scratch */
};

/* By user, then time; equal times in an order that the seed draws. Allocates the arrays. */
int eval_cut_sort(struct eval_cut *c);
void eval_cut_free(struct eval_cut *c);

int eval_cut_unseen_users(struct eval_cut *c);
int eval_cut_leave_last(struct eval_cut *c);
int eval_cut_global_time(struct eval_cut *c);
int eval_cut_cold_items(struct eval_cut *c);

#endif
