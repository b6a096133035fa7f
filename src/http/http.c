/* One call: an easy handle of libcurl from a pool of those whose connections are kept, one transfer for each
 * hop of a chain of redirects. Redirects are followed here and not by libcurl, since then each hop goes through the
 * same checks: which scheme, and whether this host may see the key.
 *
 * Callbacks get the call's `struct http_turn`; what fails in one is kept there, and libcurl's own code for it
 * ("write error") is not looked at. */
#include "http/http.h"

#include "base/alloc.h"
#include "base/error.h"
#include "http/http_internal.h"
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#define HTTP_IDLE_MAX   8u /* handles that are kept */
#define HTTP_CONNECT_MS 10000u
#define HTTP_STALL_MS   30000u

struct http {
    pthread_mutex_t lock;
    CURL *idle[HTTP_IDLE_MAX];
    size_t idle_n;
};

/* ---- Handles ---------------------------------------------------------------------------------- */

static void http_start_once(void) {
    /* Thread-safe in the libcurl that is asked for; what fails here fails curl_easy_init() too. */
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_new(struct http **out, u2i_error_t *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    *out = NULL;
    (void)pthread_once(&once, http_start_once); /* can only fail when misused */
    struct http *const h = mem_zalloc(sizeof *h);
    if (h == NULL) {
        return error_oom(err);
    }
    (void)pthread_mutex_init(&h->lock, NULL); /* the default kind: nothing can fail */
    *out = h;
    return U2I_OK;
}

void http_reply_free(struct http_reply *r) {
    buf_free(&r->body);
    buf_free(&r->first);
    buf_free(&r->last);
}

void http_free(struct http *h) {
    if (h != NULL) {
        for (size_t i = 0; i < h->idle_n; i++) {
            curl_easy_cleanup(h->idle[i]);
        }
        (void)pthread_mutex_destroy(&h->lock);
        mem_free(h);
    }
}

static CURL *http_take(struct http *h) {
    (void)pthread_mutex_lock(&h->lock);
    CURL *const c = h->idle_n > 0 ? h->idle[--h->idle_n] : NULL;
    (void)pthread_mutex_unlock(&h->lock);
    return c != NULL ? c : curl_easy_init();
}

static void http_give(struct http *h, CURL *c) {
    curl_easy_reset(c); /* connections stay */
    (void)pthread_mutex_lock(&h->lock);
    const bool kept = h->idle_n < HTTP_IDLE_MAX;
    if (kept) {
        h->idle[h->idle_n++] = c;
    }
    (void)pthread_mutex_unlock(&h->lock);
    if (!kept) {
        curl_easy_cleanup(c);
    }
}

/* ---- What arrives ----------------------------------------------------------------------------- */

static bool http_is_redirect(const struct http_turn *t) {
    const int s = t->reply->status;
    return t->q->follow && t->q->body == NULL &&
           (s == 301 || s == 302 || s == 303 || s == 307 || s == 308) &&
           http_header(t->reply, "Location") != NULL;
}

/* The headers of an answer are complete. */
static int http_begin(struct http_turn *t) {
    struct http_reply *const r = t->reply;
    const char *const length = http_header(r, "Content-Length");
    if (t->hop == 0) {
        buf_put(&r->first, r->last.data, r->last.len);
        if (r->first.failed) {
            return error_oom(t->err);
        }
    }
    t->redirect = http_is_redirect(t);
    t->good = r->status >= 200 && r->status < 300;
    r->length = length != NULL ? http_number(length, NULL) : -1;
    if (r->status == 206) {
        http_range(r);
    }
    if (t->good && r->length > 0 && (uint64_t)r->length > t->body_max) {
        return http_too_large(t);
    }
    return t->redirect || t->q->on_head == NULL ? U2I_OK : t->q->on_head(t->q->ctx, r, t->err);
}

/* One line of the headers, of any answer: of a 100 Continue too, and of what follows a chunked body. */
static size_t http_on_header(char *p, size_t size, size_t n, void *ctx) {
    struct http_turn *const t = ctx;
    struct buf *const last = &t->reply->last;
    size_t len = size * n;
    if (t->begun) {
        return n;
    }
    while (len > 0 && (p[len - 1] == '\n' || p[len - 1] == '\r')) {
        len--;
    }
    if (len >= 5 && memcmp(p, "HTTP/", 5) == 0) {
        buf_reset(last);
    } else if (len > 0) {
        buf_put(last, p, len);
        buf_putc(last, '\0');
        if (last->failed) {
            t->rc = error_oom(t->err);
        } else if (last->len > HTTP_HEAD_MAX) {
            t->rc = error_set(t->err, U2I_EREMOTE, "%s sends headers of more than %u bytes",
                              t->reply->place.host_port, HTTP_HEAD_MAX);
        }
    } else {
        long status = 0;
        (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status); /* can't fail */
        t->begun = status >= 200;
        t->reply->status = (int)status;
        t->rc = t->begun ? http_begin(t) : U2I_OK;
    }
    return t->rc == U2I_OK ? n : 0;
}

/* Of an answer that nobody streams: up to a limit. */
static int http_keep(struct http_turn *t, const char *p, size_t n) {
    struct buf *const body = &t->reply->body;
    if (!t->good) {
        const size_t room = HTTP_SAID_MAX - body->len;
        t->enough = n > room;
        n = n < room ? n : room;
    }
    buf_put(body, p, n);
    return body->failed ? error_oom(t->err) : U2I_OK;
}

static size_t http_on_data(char *p, size_t size, size_t n, void *ctx) {
    struct http_turn *const t = ctx;
    const size_t len = size * n;
    if (t->good && len > t->body_max - t->got) {
        t->rc = http_too_large(t);
        return 0;
    }
    t->got += t->good ? len : 0;
    if (t->good && t->q->on_body != NULL) {
        t->rc = t->q->on_body(t->q->ctx, p, len, t->err);
    } else {
        t->rc = http_keep(t, p, len);
    }
    return t->rc == U2I_OK && !t->enough ? len : 0;
}

static int http_on_tick(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                        curl_off_t up) {
    struct http_turn *const t = ctx;
    (void)down_total, (void)down, (void)up_total, (void)up; /* bytes are counted by on_body */
    if (t->q->on_tick != NULL && t->q->on_tick(t->q->ctx) != 0) {
        t->rc = error_set(t->err, U2I_ETIMEOUT, "cancelled");
    }
    return t->rc == U2I_OK ? 0 : 1;
}

/* ---- One transfer ----------------------------------------------------------------------------- */

/* Options that failed make the whole transfer fail; so the first failure is kept and looked at once. */
static void http_option_long(struct http_turn *t, CURLoption option, long value) {
    const CURLcode rc = curl_easy_setopt(t->curl, option, value);
    t->options = t->options == CURLE_OK ? rc : t->options;
}

static void http_option_text(struct http_turn *t, CURLoption option, const char *value) {
    const CURLcode rc = curl_easy_setopt(t->curl, option, value);
    t->options = t->options == CURLE_OK ? rc : t->options;
}

static int http_add_header(struct http_turn *t, const char *line) {
    struct curl_slist *const list = curl_slist_append(t->headers, line);
    if (list == NULL) {
        return error_oom(t->err);
    }
    t->headers = list;
    return U2I_OK;
}

static void http_drop_headers(struct http_turn *t) {
    for (struct curl_slist *i = t->headers; i != NULL; i = i->next) {
        explicit_bzero(i->data, strlen(i->data)); /* the key is in one */
    }
    curl_slist_free_all(t->headers);
    t->headers = NULL;
}

static int http_fill_headers(struct http_turn *t) {
    const struct http_request *const q = t->q;
    struct buf line = {0};
    int rc = U2I_OK;
    http_drop_headers(t);
    for (size_t i = 0; i < q->headers_n && rc == U2I_OK; i++) {
        rc = http_add_header(t, q->headers[i]);
    }
    if (rc == U2I_OK && q->body != NULL) {
        rc = http_add_header(t, "Content-Type: application/json");
        /* One more round trip, and not all servers know it. */
        rc = rc == U2I_OK ? http_add_header(t, "Expect:") : rc;
    }
    if (rc == U2I_OK && q->key != NULL && http_same_place(&t->origin, &t->reply->place)) {
        buf_printf(&line, "Authorization: Bearer %s", q->key);
        rc = line.failed ? error_oom(t->err) : http_add_header(t, line.data);
    }
    if (rc == U2I_OK && q->from > 0) {
        buf_reset(&line);
        buf_printf(&line, "Range: bytes=%llu-", (unsigned long long)q->from);
        rc = line.failed ? error_oom(t->err) : http_add_header(t, line.data);
    }
    if (line.data != NULL) {
        explicit_bzero(line.data, line.cap);
    }
    buf_free(&line);
    return rc;
}

static void http_set_callbacks(struct http_turn *t) {
    (void)curl_easy_setopt(t->curl, CURLOPT_HEADERFUNCTION, http_on_header); /* pointers: */
    (void)curl_easy_setopt(t->curl, CURLOPT_HEADERDATA, t);                  /* nothing can fail */
    (void)curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, http_on_data);
    (void)curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, http_on_tick);
    (void)curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, t);
    (void)curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, t->detail);
    (void)curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers);
}

static int http_set(struct http_turn *t, const char *url) {
    const struct http_request *const q = t->q;
    const uint32_t stall_ms = q->stall_ms > 0 ? q->stall_ms : HTTP_STALL_MS;
    const char *const trusted = getenv("SSL_CERT_FILE");
    char agent[48];
    U2I_TRY(http_fill_headers(t));
    t->options = CURLE_OK;
    http_set_callbacks(t);
    http_option_text(t, CURLOPT_URL, url);
    http_option_text(t, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)snprintf(agent, sizeof agent, "u2i/%d.%d.%d", U2I_VERSION_MAJOR, U2I_VERSION_MINOR,
                   U2I_VERSION_PATCH); /* fits */
    http_option_text(t, CURLOPT_USERAGENT, agent);
    http_option_long(t, CURLOPT_NOSIGNAL, 1);
    http_option_long(t, CURLOPT_NOPROGRESS, 0);
    http_option_long(t, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1);
    http_option_long(t, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(q->connect_ms > 0 ? q->connect_ms : HTTP_CONNECT_MS));
    http_option_long(t, CURLOPT_TIMEOUT_MS, (long)t->left_ms);
    http_option_long(t, CURLOPT_LOW_SPEED_LIMIT, 1);
    http_option_long(t, CURLOPT_LOW_SPEED_TIME,
                     (long)(stall_ms / 1000) + (stall_ms % 1000 > 0 ? 1 : 0));
    http_option_long(t, CURLOPT_SSL_VERIFYPEER, 1);
    http_option_long(t, CURLOPT_SSL_VERIFYHOST, 2);
    if (trusted != NULL && trusted[0] != '\0') {
        http_option_text(t, CURLOPT_CAINFO, trusted);
    }
    if (t->reply->place.local) { /* a proxy would read the key that only this machine may see */
        http_option_text(t, CURLOPT_PROXY, "");
    }
    if (q->body != NULL) {
        http_option_long(t, CURLOPT_POST, 1);
        http_option_text(t, CURLOPT_POSTFIELDS, q->body);
        (void)curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_n);
    }
    return t->options == CURLE_OK ? U2I_OK : http_fault(t, t->options);
}

/* libcurl leaves SIGPIPE to whoever uses it in threads; a library must not let it end the process. */
static CURLcode http_perform(CURL *c) {
    sigset_t pipe, pending, before;
    (void)sigemptyset(&pipe); /* these can only fail when misused */
    (void)sigaddset(&pipe, SIGPIPE);
    (void)sigpending(&pending);
    const bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipe, &before);
    const CURLcode rc = curl_easy_perform(c);
    if (!was_pending) {
        (void)sigtimedwait(&pipe, NULL, &(struct timespec){0}); /* none came: nothing to take */
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static int http_transfer(struct http_turn *t, const char *url) {
    struct http_reply *const r = t->reply;
    t->begun = t->good = t->enough = t->redirect = false;
    t->got = 0;
    t->detail[0] = '\0';
    r->status = 0;
    r->length = r->range_from = r->range_total = -1;
    buf_reset(&r->body);
    buf_reset(&r->last);
    U2I_TRY(http_set(t, url));
    CURLcode rc = http_perform(t->curl);
    rc = rc == CURLE_WRITE_ERROR && t->rc == U2I_OK && t->enough ? CURLE_OK : rc;
    if (t->rc != U2I_OK) {
        return t->rc;
    }
    if (rc != CURLE_OK) {
        return http_fault(t, rc);
    }
    curl_off_t wait = 0;
    (void)curl_easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &wait); /* can't fail */
    r->wait_s = wait > 0 ? (uint32_t)(wait < HTTP_WAIT_MAX ? wait : HTTP_WAIT_MAX) : 0;
    r->again = r->status == 408 || r->status == 429 || r->status >= 500;
    return U2I_OK;
}

/* ---- Calls ------------------------------------------------------------------------------------ */

/* What is left of the time for the next hop. */
static int http_spend(struct http_turn *t) {
    curl_off_t spent_us = 0;
    (void)curl_easy_getinfo(t->curl, CURLINFO_TOTAL_TIME_T, &spent_us); /* can't fail */
    if (t->q->timeout_ms > 0) {
        const uint64_t spent_ms = (uint64_t)spent_us / 1000 + 1;
        if (spent_ms >= t->left_ms) {
            return http_fault(t, CURLE_OPERATION_TIMEDOUT);
        }
        t->left_ms -= (uint32_t)spent_ms;
    }
    return U2I_OK;
}

/* The next URL of a chain, for mem_free(). */
static int http_next(struct http_turn *t, char **url) {
    const struct http_place from = t->reply->place;
    const char *next = NULL;
    (void)curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &next); /* can't fail */
    if (next == NULL) {
        return error_set(t->err, U2I_EREMOTE, "%s redirects to nowhere", from.host_port);
    }
    char *const copy = str_dup(next, strlen(next));
    mem_free(*url);
    *url = copy;
    if (copy == NULL) {
        return error_oom(t->err);
    }
    u2i_error_t why = {0};
    const int rc = http_place(copy, &t->reply->place, &why);
    if (rc != U2I_OK) {
        t->reply->place = from;
        return rc == U2I_ENOMEM
                   ? error_oom(t->err)
                   : error_set(t->err, U2I_EREMOTE, "%s redirects: %s", from.host_port, why.msg);
    }
    if (from.https && !t->reply->place.https) {
        return error_set(t->err, U2I_EREMOTE, "%s redirects from https to http, at %s",
                         from.host_port, t->reply->place.host_port);
    }
    return http_spend(t);
}

static int http_chain(struct http_turn *t) {
    char *url = str_dup(t->q->url, strlen(t->q->url));
    int rc = url == NULL ? error_oom(t->err) : http_transfer(t, url);
    while (rc == U2I_OK && t->redirect) {
        if (t->hop++ == HTTP_REDIRECTS_MAX) {
            rc = error_set(t->err, U2I_EREMOTE, "%s: more than %u redirects", t->origin.host_port,
                           HTTP_REDIRECTS_MAX);
            break;
        }
        rc = http_next(t, &url);
        rc = rc != U2I_OK ? rc : http_transfer(t, url);
    }
    mem_free(url);
    return rc;
}

int http_call(struct http *h, const struct http_request *q, struct http_reply *r,
              u2i_error_t *err) {
    *r = (struct http_reply){.length = -1, .range_from = -1, .range_total = -1};
    struct http_turn t = {.q = q, .reply = r, .err = err, .left_ms = q->timeout_ms};
    t.body_max = q->body_max > 0 ? q->body_max : HTTP_BODY_MAX;
    U2I_TRY(http_place(q->url, &t.origin, err));
    U2I_TRY(http_check_headers(q, err));
    if (q->key != NULL) {
        U2I_TRY(http_key_check(&t.origin, q->key, err));
    }
    r->place = t.origin;
    t.curl = http_take(h);
    if (t.curl == NULL) {
        return error_oom(err);
    }
    const int rc = http_chain(&t);
    http_give(h, t.curl);
    http_drop_headers(&t);
    return rc;
}
