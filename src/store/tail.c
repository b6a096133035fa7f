/* An array of events, each linked to its user's one before; see tail.h. */
#include "store/tail.h"

#include "base/alloc.h"
#include "base/error.h"

/* Room for users up to and including `user`. */
static int tail_reserve_users(struct tail *t, uint32_t user) {
    if (user < t->users_n) {
        return U2I_OK;
    }
    if (array_reserve(&t->newest, &t->users_cap, (size_t)user + 1, sizeof *t->newest) != U2I_OK) {
        return U2I_ENOMEM;
    }
    while (t->users_n <= user) {
        t->newest[t->users_n++] = TAIL_END;
    }
    return U2I_OK;
}

static void tail_link(struct tail *t, uint32_t i) {
    const uint32_t user = t->rows[i].user;
    t->before[i] = t->newest[user];
    t->newest[user] = i;
}

int tail_add(struct tail *t, const struct store_event_row *rows, size_t n) {
    if (n == 0) {
        return U2I_OK;
    }
    if (t->n + n >= TAIL_END ||
        array_reserve(&t->rows, &t->rows_cap, t->n + n, sizeof *rows) != U2I_OK ||
        array_reserve(&t->before, &t->before_cap, t->n + n, sizeof *t->before) != U2I_OK) {
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        U2I_TRY(tail_reserve_users(t, rows[i].user));
    }
    for (size_t i = 0; i < n; i++) {
        /* Numbers that don't rise come from a damaged file; verify names them. */
        if (t->n == 0 || rows[i].seq > t->rows[t->n - 1].seq) {
            t->rows[t->n] = rows[i];
            tail_link(t, (uint32_t)t->n++);
        }
    }
    return U2I_OK;
}

void tail_drop_user(struct tail *t, uint32_t user) {
    uint32_t i = tail_newest(t, user);
    while (i != TAIL_END) {
        t->rows[i].user = STORE_NONE;
        i = t->before[i];
    }
    if (user < t->users_n) {
        t->newest[user] = TAIL_END;
    }
}

void tail_trim(struct tail *t, uint64_t seq) {
    size_t gone = 0;
    while (gone < t->n && t->rows[gone].seq <= seq) {
        gone++;
    }
    if (gone == 0) {
        return;
    }
    for (size_t i = 0; i < t->n; i++) {
        if (t->rows[i].user != STORE_NONE) {
            t->newest[t->rows[i].user] = TAIL_END;
        }
    }
    t->n -= gone;
    memmove(t->rows, t->rows + gone, t->n * sizeof *t->rows);
    for (uint32_t i = 0; i < t->n; i++) {
        t->before[i] = TAIL_END;
        if (t->rows[i].user != STORE_NONE) {
            tail_link(t, i);
        }
    }
}

void tail_free(struct tail *t) {
    mem_free(t->rows);
    mem_free(t->before);
    mem_free(t->newest);
    *t = (struct tail){0};
}
