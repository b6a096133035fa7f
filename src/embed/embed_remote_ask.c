/* One request to the endpoint, tried again while that may help.
 *
 * Waits between tries double, and each is a random part of what it could be, so that clients that failed together
 * don't come back together (M. Brooker, "Exponential Backoff And Jitter", 2015). A server that says how long to wait is
 * believed, but not beyond the call's deadline: then the call fails at once. An endpoint that failed all tries is tried
 * once by each later request until one succeeds, so that searches don't wait for a server that is known to be down. */
#include "embed/embed_remote_internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"
#include "embed/embed_reply.h"
#include <stdio.h>

#define EMBED_REMOTE_TRIES      6u
#define EMBED_REMOTE_WAIT_MS    250u
#define EMBED_REMOTE_WAIT_MAX   8000u
#define EMBED_REMOTE_FLOAT_MAX  32u    /* bytes of a float in an answer */
#define EMBED_REMOTE_AROUND_MAX 65536u /* bytes of an answer beside its vectors */

/* ---- The request ------------------------------------------------------------------------------ */

static void embed_remote_quote(struct buf *out, const char *s, size_t n) {
    buf_putc(out, '"');
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c < 0x20) {
            buf_printf(out, "\\u%04x", c);
        } else {
            if (c == '"' || c == '\\') {
                buf_putc(out, '\\');
            }
            buf_putc(out, s[i]);
        }
    }
    buf_putc(out, '"');
}

static int embed_remote_body(const struct embed_remote_target *t, const struct embed_remote_ask *a,
                             bool floats, struct buf *out, u2i_error_t *err) {
    buf_reset(out);
    buf_puts(out, "{\"model\":");
    embed_remote_quote(out, t->model, strlen(t->model));
    buf_puts(out, ",\"input\":[");
    for (size_t i = 0; i < a->n; i++) {
        if (i > 0) {
            buf_putc(out, ',');
        }
        embed_remote_quote(out, a->texts[i], a->lengths[i]);
    }
    buf_puts(out, "]");
    if (!floats) {
        buf_puts(out, ",\"encoding_format\":\"base64\"");
    }
    if (t->dim_asked > 0) {
        buf_printf(out, ",\"dimensions\":%u", t->dim_asked);
    }
    buf_puts(out, "}");
    return out->failed ? error_oom(err) : U2I_OK;
}

/* ---- One try ---------------------------------------------------------------------------------- */

struct embed_remote_try {
    struct embed_remote_target *t;
    const struct embed_remote_ask *a;
    struct http_request q;
    struct http_reply r;
    struct buf body;
    struct rng rng;
    uint32_t tries;
    bool floats, again;
};

static bool embed_remote_mentions(const struct buf *b, const char *word) {
    return b->len > 0 && memmem(b->data, b->len, word, strlen(word)) != NULL;
}

/* An answer that is no success. */
static int embed_remote_refused(struct embed_remote_try *y, u2i_error_t *err) {
    const struct buf *const body = &y->r.body;
    if (!y->floats && (y->r.status == 400 || y->r.status == 422) &&
        embed_remote_mentions(body, "encoding_format")) {
        y->floats = y->again = true; /* an endpoint that knows floats only */
        atomic_store(&y->t->floats, true);
    }
    char *const said = embed_reply_complaint(body->len > 0 ? body->data : "", body->len);
    const int rc = http_refused(&y->q, &y->r, said, err);
    mem_free(said);
    return rc;
}

static int embed_remote_read(const struct embed_remote_try *y, uint32_t *dim, float *out,
                             u2i_error_t *err) {
    const struct buf *const body = &y->r.body;
    u2i_error_t why = {0};
    char shown[sizeof why.msg];
    const int rc =
        embed_reply_read(body->len > 0 ? body->data : "", body->len, y->a->n, dim, out, &why);
    if (rc == U2I_OK || rc == U2I_ENOMEM) {
        return rc == U2I_OK ? rc : error_oom(err);
    }
    http_clean(why.msg, strlen(why.msg), y->q.key, shown, sizeof shown); /* may quote the answer */
    return error_set(err, rc, "%s answered with %s", y->t->place.host_port, shown);
}

static int embed_remote_once(struct embed_remote_try *y, uint32_t *dim, float *out,
                             u2i_error_t *err) {
    const int64_t left_ns = y->a->until_ns - clock_ticks_ns(clock_system());
    const uint64_t values = (uint64_t)y->a->n * (*dim > 0 ? *dim : U2I_DIM_MAX);
    y->again = false;
    if (left_ns < 1000000) {
        return error_set(err, U2I_ETIMEOUT, "%s did not answer within %u ms", y->t->place.host_port,
                         y->t->timeout_ms);
    }
    U2I_TRY(embed_remote_body(y->t, y->a, y->floats, &y->body, err));
    y->q = (struct http_request){
        .url = y->t->url,
        .key = y->t->key,
        .body = y->body.data,
        .body_n = y->body.len,
        .timeout_ms = (uint32_t)(left_ns / 1000000),
        .stall_ms = y->t->timeout_ms, /* it may think as long as it likes */
        .body_max = values * EMBED_REMOTE_FLOAT_MAX + EMBED_REMOTE_AROUND_MAX};
    http_reply_free(&y->r);
    int rc = http_call(y->t->http, &y->q, &y->r, err);
    y->again = y->r.again;
    if (rc == U2I_OK && (y->r.status < 200 || y->r.status > 299)) {
        rc = embed_remote_refused(y, err);
    } else if (rc == U2I_OK) {
        rc = embed_remote_read(y, dim, out, err);
    }
    return rc;
}

/* ---- Tries ------------------------------------------------------------------------------------ */

/* Whether another try is to follow, now that it has been waited for. `err` has the message of the last one. */
static bool embed_remote_wait(struct embed_remote_try *y, u2i_error_t *err) {
    const uint32_t shift = y->tries < 16 ? y->tries - 1 : 15;
    const uint64_t most = (uint64_t)EMBED_REMOTE_WAIT_MS << shift;
    const uint32_t wait = most < EMBED_REMOTE_WAIT_MAX ? (uint32_t)most : EMBED_REMOTE_WAIT_MAX;
    const uint64_t asked_ms = (uint64_t)y->r.wait_s * 1000;
    const uint64_t wait_ms = asked_ms + wait / 2 + rng_below(&y->rng, wait / 2);
    const struct clock *const clock = clock_system();
    const int64_t until_ns = clock_ticks_ns(clock) + (int64_t)wait_ms * 1000000;
    if (until_ns >= y->a->until_ns) {
        const u2i_error_t last = *err;
        if (asked_ms > 0) {
            (void)error_set(err, U2I_EREMOTE, "a wait of %u s is asked for: %s", y->r.wait_s,
                            last.msg);
        } else {
            (void)error_set(err, U2I_ETIMEOUT, "gave up after %u ms: %s", y->t->timeout_ms,
                            last.msg);
        }
        return false;
    }
    for (;;) {
        const uint32_t seen = gate_read(y->a->stop);
        const int64_t left_ns = until_ns - clock_ticks_ns(clock);
        if (atomic_load(y->a->stopped) || left_ns <= 0) {
            return !atomic_load(y->a->stopped);
        }
        gate_wait(y->a->stop, seen, (uint32_t)(left_ns / 1000000) + 1);
    }
}

int embed_remote_ask(struct embed_remote_target *t, const struct embed_remote_ask *a, uint32_t *dim,
                     float *out, u2i_error_t *err) {
    struct embed_remote_try y = {.t = t, .a = a, .floats = atomic_load(&t->floats)};
    u2i_error_t mine = {0};
    const uint32_t tries_max = atomic_load(&t->down) ? 1 : EMBED_REMOTE_TRIES;
    rng_seed(&y.rng, (uint64_t)clock_ticks_ns(clock_system()) ^ (uint64_t)(uintptr_t)&y);
    int rc = U2I_OK;
    for (;;) {
        const bool floats = y.floats;
        rc = embed_remote_once(&y, dim, out, &mine);
        if (rc != U2I_OK && y.floats != floats) {
            continue; /* at most once, and no fault of the endpoint's */
        }
        y.tries++;
        if (rc == U2I_OK || !y.again || y.tries >= tries_max || !embed_remote_wait(&y, &mine)) {
            break;
        }
    }
    if (rc == U2I_OK || y.again) {
        atomic_store(&t->down, rc != U2I_OK && !atomic_load(a->stopped));
    }
    http_reply_free(&y.r);
    buf_free(&y.body);
    return rc == U2I_OK ? rc : error_set(err, mine.code, "%s", mine.msg);
}
