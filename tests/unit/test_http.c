/* The HTTP client against a server on loopback that misbehaves on demand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "fake_http.h"
#include "http/http.h"
#include "oom.h"
#include <signal.h>

#define KEY "sk-verysecretkey0123456789"

static struct http *client;
static struct fake_http server, other;

static int setup(void **state) {
    (void)state;
    u2i_error_t err;
    return http_new(&client, &err);
}

static int teardown(void **state) {
    (void)state;
    http_free(client);
    return 0;
}

/* What the server is to do, and what it was asked: one of these for each test. */
struct script {
    struct fake_answer answer; /* for all but those with a `location` */
    const char *location;      /* the first request is sent there */
    int location_status;
    char head[FAKE_HEAD], body[FAKE_BODY];
    char heads[16][512]; /* of each request, cut */
    unsigned asked;
};
static struct script script;

static void act(void *ctx, const struct fake_request *q, struct fake_answer *a) {
    struct script *const s = ctx;
    (void)snprintf(s->head, sizeof s->head, "%s", q->head);
    (void)snprintf(s->body, sizeof s->body, "%.1000s", q->body);
    (void)snprintf(s->heads[s->asked % 16], sizeof s->heads[0], "%.500s", q->head);
    s->asked++;
    if (s->location != NULL && strcmp(q->path, "/from") == 0) {
        a->status = s->location_status != 0 ? s->location_status : 302;
        (void)snprintf(a->headers, sizeof a->headers, "Location: %s\r\nX-Linked-Size: 77\r\n",
                       s->location);
        fake_say(a, "gone elsewhere");
        return;
    }
    *a = s->answer;
}

static void begin(void) {
    memset(&script, 0, sizeof script);
    script.answer.status = 200;
    fake_http_start(&server, act, &script);
}

static int get(const struct http_request *q, struct http_reply *r, u2i_error_t *err) {
    *err = (u2i_error_t){0};
    return http_call(client, q, r, err);
}

static void assert_says(const u2i_error_t *err, const char *what) {
    if (strstr(err->msg, what) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err->msg, what);
    }
    assert_null(strstr(err->msg, KEY));
}

/* ---- Plain calls ------------------------------------------------------------------------------ */

static void an_answer_comes_with_status_headers_and_body(void **state) {
    (void)state;
    begin();
    fake_say(&script.answer, "hello");
    (void)strcpy(script.answer.headers, "ETag: \"abc\"\r\nX-Empty:\r\n");
    const struct http_request q = {.url = fake_url(&server, "/x")};
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body.data, "hello");
    assert_int_equal(r.length, 5);
    assert_string_equal(http_header(&r, "etag"), "\"abc\"");
    assert_string_equal(http_header(&r, "X-Empty"), "");
    assert_null(http_header(&r, "X-None"));
    assert_false(r.again);
    http_reply_free(&r);
    assert_memory_equal(script.head, "GET /x HTTP/1.1\r\n", 17);
    assert_non_null(strstr(script.head, "User-Agent: u2i/"));
    fake_http_stop(&server);
}

static void a_body_is_posted_as_json_with_the_key(void **state) {
    (void)state;
    begin();
    const char *const headers[] = {"X-Mine: 1"};
    const struct http_request q = {.url = fake_url(&server, "/v1"),
                                   .key = KEY,
                                   .body = "{\"a\":1}",
                                   .body_n = 7,
                                   .headers = headers,
                                   .headers_n = 1};
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    http_reply_free(&r);
    assert_memory_equal(script.head, "POST /v1 HTTP/1.1\r\n", 19);
    assert_non_null(strstr(script.head, "\r\nAuthorization: Bearer " KEY "\r\n"));
    assert_non_null(strstr(script.head, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(script.head, "\r\nX-Mine: 1\r\n"));
    assert_null(strstr(script.head, "Expect:"));
    assert_string_equal(script.body, "{\"a\":1}");
    fake_http_stop(&server);
}

static void connections_are_used_again(void **state) {
    (void)state;
    begin();
    fake_say(&script.answer, "x");
    for (int i = 0; i < 5; i++) {
        const struct http_request q = {.url = fake_url(&server, "/")};
        struct http_reply r;
        u2i_error_t err;
        assert_int_equal(get(&q, &r, &err), U2I_OK);
        http_reply_free(&r);
    }
    fake_http_stop(&server);
    assert_int_equal(server.connections, 1);
}

static void proxies_of_the_environment_are_not_used_for_this_machine(void **state) {
    (void)state;
    begin();
    fake_say(&script.answer, "direct");
    assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
    const struct http_request q = {.url = fake_url(&server, "/"), .key = KEY};
    struct http_reply r;
    u2i_error_t err;
    const int rc = get(&q, &r, &err);
    assert_int_equal(unsetenv("http_proxy"), 0);
    assert_int_equal(rc, U2I_OK);
    assert_string_equal(r.body.data, "direct");
    http_reply_free(&r);
    fake_http_stop(&server);
}

/* ---- Refusals and messages -------------------------------------------------------------------- */

static void a_refusal_names_host_status_and_what_was_said(void **state) {
    (void)state;
    begin();
    script.answer.status = 401;
    fake_say(&script.answer, "no\x1b[31m \xc2\x85 such\r\n\tkey \xe2\x80\xae\xff here");
    const struct http_request q = {.url = fake_url(&server, "/"), .key = KEY};
    struct http_reply r;
    u2i_error_t err;
    char want[128];
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_int_equal(http_refused(&q, &r, NULL, &err), U2I_EREMOTE);
    (void)snprintf(want, sizeof want, "127.0.0.1:%u answered 401: no [31m such key here",
                   server.port);
    assert_string_equal(err.msg, want);
    assert_int_equal(http_refused(&q, &r, "in short", &err), U2I_EREMOTE);
    assert_says(&err, "answered 401: in short");
    assert_false(r.again);
    http_reply_free(&r);
    fake_http_stop(&server);
}

static void a_message_never_has_the_key(void **state) {
    (void)state;
    char out[256];
    const char *const echo = "Incorrect key: " KEY ", again: verysecretkey, short: sk-very";
    http_clean(echo, strlen(echo), KEY, out, sizeof out);
    assert_string_equal(out, "Incorrect key: ***, again: ***, short: sk-very");
    http_clean("abc", 3, "abc", out, sizeof out);
    assert_string_equal(out, "***");
    http_clean("xabcx", 5, NULL, out, sizeof out);
    assert_string_equal(out, "xabcx");
    /* Not even where the text is cut within it. */
    char tight[8];
    http_clean(echo, strlen(echo), KEY, tight, sizeof tight);
    assert_string_equal(tight, "Incorre");
    http_clean(KEY, 12, KEY, out, sizeof out);
    assert_string_equal(out, "***");
}

static void a_cut_message_stays_utf8(void **state) {
    (void)state;
    char out[6];
    http_clean("ab\xc3\xa9\xe2\x82\xac", 7, NULL, out, sizeof out);
    assert_string_equal(out, "ab\xc3\xa9");
}

static void statuses_say_whether_to_try_again(void **state) {
    (void)state;
    static const struct {
        int status;
        bool again;
    } cases[] = {{200, false}, {400, false}, {401, false}, {404, false}, {408, true},
                 {413, false}, {429, true},  {500, true},  {502, true},  {503, true}};
    begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script.answer.status = cases[i].status;
        const struct http_request q = {.url = fake_url(&server, "/")};
        struct http_reply r;
        u2i_error_t err;
        assert_int_equal(get(&q, &r, &err), U2I_OK);
        assert_int_equal(r.status, cases[i].status);
        assert_int_equal(r.again, cases[i].again);
        http_reply_free(&r);
    }
    fake_http_stop(&server);
}

static void retry_after_is_read_in_seconds_and_as_a_date(void **state) {
    (void)state;
    begin();
    script.answer.status = 429;
    const struct http_request q = {.url = fake_url(&server, "/")};
    struct http_reply r;
    u2i_error_t err;
    (void)strcpy(script.answer.headers, "Retry-After: 17\r\n");
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_int_equal(r.wait_s, 17);
    http_reply_free(&r);

    char date[64];
    struct tm tm;
    const time_t at = time(NULL) + 100;
    (void)strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&at, &tm));
    (void)snprintf(script.answer.headers, sizeof script.answer.headers, "Retry-After: %s\r\n",
                   date);
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_in_range(r.wait_s, 30, 101);
    http_reply_free(&r);

    static const char *const odd[] = {"Fri, 01 Jan 2010 00:00:00 GMT", "-5", "soon"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        (void)snprintf(script.answer.headers, sizeof script.answer.headers, "Retry-After: %s\r\n",
                       odd[i]);
        assert_int_equal(get(&q, &r, &err), U2I_OK);
        assert_int_equal(r.wait_s, 0);
        http_reply_free(&r);
    }
    (void)strcpy(script.answer.headers, "Retry-After: 99999999999\r\n");
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_int_equal(r.wait_s, 86400);
    http_reply_free(&r);
    fake_http_stop(&server);
}

/* ---- Requests that are refused ---------------------------------------------------------------- */

static void urls_that_are_none_are_refused(void **state) {
    (void)state;
    static const char *const urls[] = {"",
                                       "example.com",
                                       "ftp://example.com/x",
                                       "file:///etc/passwd",
                                       "http://",
                                       "http://a b/",
                                       "http://example.com/\x01",
                                       "http://me:secretword@example.com/",
                                       "http://me@example.com/",
                                       "https://example.com:99999/"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        const struct http_request q = {.url = urls[i]};
        struct http_reply r;
        u2i_error_t err;
        if (get(&q, &r, &err) != U2I_EINVAL || err.msg[0] == '\0') {
            fail_msg("\"%s\" is not refused", urls[i]);
        }
        assert_null(strstr(err.msg, "secretword"));
        http_reply_free(&r);
    }
}

static void places_are_told_apart(void **state) {
    (void)state;
    static const struct {
        const char *url, *host_port;
        bool https, local;
    } cases[] = {
        {"http://127.0.0.1:80/x", "127.0.0.1", false, true},
        {"http://127.9.9.9/x", "127.9.9.9", false, true},
        {"http://[::1]:8080/", "[::1]:8080", false, true},
        {"http://LocalHost:8080/", "localhost:8080", false, true},
        {"https://API.Example.com:443/v1?a=b#c", "api.example.com", true, false},
        {"https://api.example.com:8443", "api.example.com:8443", true, false},
        {"http://127.0.0.1.example.com/", "127.0.0.1.example.com", false, false},
        {"http://localhost.example.com/", "localhost.example.com", false, false},
        {"http://10.0.0.1/", "10.0.0.1", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_place p;
        u2i_error_t err;
        assert_int_equal(http_place(cases[i].url, &p, &err), U2I_OK);
        assert_string_equal(p.host_port, cases[i].host_port);
        assert_int_equal(p.https, cases[i].https);
        assert_int_equal(p.local, cases[i].local);
    }
}

static void a_key_goes_over_plain_http_to_this_machine_only(void **state) {
    (void)state;
    const struct http_request q = {.url = "http://models.example.com/v1", .key = KEY};
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_EINVAL);
    assert_says(&err, "models.example.com over https only");
    http_reply_free(&r);
}

static void a_key_that_is_no_header_is_refused(void **state) {
    (void)state;
    static const char *const keys[] = {"", "two words", "line\r\nX-Evil: 1", "caf\xc3\xa9"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct http_request q = {.url = "https://models.example.com/", .key = keys[i]};
        struct http_reply r;
        u2i_error_t err;
        assert_int_equal(get(&q, &r, &err), U2I_EINVAL);
        assert_true(keys[i][0] == '\0' || strstr(err.msg, keys[i]) == NULL);
        http_reply_free(&r);
    }
}

static void headers_cannot_smuggle_others_or_secrets(void **state) {
    (void)state;
    static const char *const lines[] = {"X: 1\r\nY: 2", "authorization: Bearer x", "Cookie: a=b"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const struct http_request q = {
            .url = "http://127.0.0.1/", .headers = &lines[i], .headers_n = 1};
        struct http_reply r;
        u2i_error_t err;
        assert_int_equal(get(&q, &r, &err), U2I_EINVAL);
        http_reply_free(&r);
    }
}

/* ---- Streams ---------------------------------------------------------------------------------- */

struct stream {
    struct buf got;
    int heads, status, head_rc, body_rc;
    unsigned ticks, cancel_at; /* 0 = never */
    int64_t length;
};

static int on_head(void *ctx, const struct http_reply *r, u2i_error_t *err) {
    struct stream *const s = ctx;
    s->heads++;
    s->status = r->status;
    s->length = r->length;
    err->code = s->head_rc;
    return s->head_rc;
}

static int on_body(void *ctx, const void *p, size_t n, u2i_error_t *err) {
    struct stream *const s = ctx;
    assert_int_equal(s->heads, 1);
    buf_put(&s->got, p, n);
    err->code = s->body_rc;
    return s->got.failed ? U2I_ENOMEM : s->body_rc;
}

static int on_tick(void *ctx) {
    struct stream *const s = ctx;
    return ++s->ticks == s->cancel_at;
}

static struct http_request stream_of(const char *url, struct stream *s) {
    return (struct http_request){
        .url = url, .on_head = on_head, .on_body = on_body, .on_tick = on_tick, .ctx = s};
}

static void a_body_is_streamed_after_its_headers(void **state) {
    (void)state;
    begin();
    struct stream s = {0};
    memset(script.answer.body, 'z', 100000);
    script.answer.body_n = 100000;
    script.answer.repeat = 10;
    struct http_request q = stream_of(fake_url(&server, "/big"), &s);
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_int_equal(s.heads, 1);
    assert_int_equal(s.length, 1000000);
    assert_int_equal(s.got.len, 1000000);
    assert_int_equal(r.body.len, 0);
    assert_true(s.ticks > 0);
    http_reply_free(&r);
    buf_free(&s.got);
    fake_http_stop(&server);
}

static void a_range_is_asked_for_and_its_answer_taken_apart(void **state) {
    (void)state;
    begin();
    struct stream s = {0};
    script.answer.status = 206;
    fake_say(&script.answer, "tail");
    (void)strcpy(script.answer.headers, "Content-Range: bytes 96-99/100\r\n");
    struct http_request q = stream_of(fake_url(&server, "/"), &s);
    q.from = 96;
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_non_null(strstr(script.head, "\r\nRange: bytes=96-\r\n"));
    assert_int_equal(r.range_from, 96);
    assert_int_equal(r.range_total, 100);
    assert_string_equal(s.got.data, "tail");
    http_reply_free(&r);
    static const char *const odd[] = {"bytes 9-5/100", "bytes x-5/100", "bytes 1-5", "items 1-5/9",
                                      "bytes 99999999999999999999-5/9"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        s.heads = 0;
        (void)snprintf(script.answer.headers, sizeof script.answer.headers, "Content-Range: %s\r\n",
                       odd[i]);
        assert_int_equal(get(&q, &r, &err), U2I_OK);
        assert_int_equal(r.range_from, -1);
        http_reply_free(&r);
    }
    s.heads = 0;
    (void)strcpy(script.answer.headers, "Content-Range: bytes 96-99/*\r\n");
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_int_equal(r.range_from, 96);
    assert_int_equal(r.range_total, -1);
    http_reply_free(&r);
    buf_free(&s.got);
    fake_http_stop(&server);
}

static void a_server_that_ignores_the_range_is_seen_by_its_status(void **state) {
    (void)state;
    begin();
    struct stream s = {0};
    fake_say(&script.answer, "all of it");
    struct http_request q = stream_of(fake_url(&server, "/"), &s);
    q.from = 4;
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_int_equal(s.status, 200);
    assert_string_equal(s.got.data, "all of it");
    http_reply_free(&r);
    buf_free(&s.got);
    fake_http_stop(&server);
}

static void a_refusal_is_not_streamed_but_kept(void **state) {
    (void)state;
    begin();
    struct stream s = {0};
    script.answer.status = 404;
    memset(script.answer.body, 'n', 100000);
    script.answer.body_n = 100000;
    script.answer.repeat = 100;
    struct http_request q = stream_of(fake_url(&server, "/"), &s);
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_int_equal(r.status, 404);
    assert_int_equal(s.got.len, 0);
    assert_int_equal(r.body.len, HTTP_SAID_MAX);
    http_reply_free(&r);
    fake_http_stop(&server);
}

static void what_a_callback_says_ends_the_call(void **state) {
    (void)state;
    begin();
    fake_say(&script.answer, "body");
    for (int which = 0; which < 2; which++) {
        struct stream s = {0};
        *(which == 0 ? &s.head_rc : &s.body_rc) = U2I_EIO;
        struct http_request q = stream_of(fake_url(&server, "/"), &s);
        struct http_reply r;
        u2i_error_t err;
        assert_int_equal(get(&q, &r, &err), U2I_EIO);
        assert_int_equal(err.code, U2I_EIO);
        http_reply_free(&r);
        buf_free(&s.got);
    }
    fake_http_stop(&server);
}

static void a_call_can_be_cancelled(void **state) {
    (void)state;
    begin();
    struct stream s = {.cancel_at = 2};
    script.answer.delay_ms = 60000;
    struct http_request q = stream_of(fake_url(&server, "/"), &s);
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_ETIMEOUT);
    assert_says(&err, "cancelled");
    assert_false(r.again);
    http_reply_free(&r);
    fake_http_stop(&server);
}

/* ---- Limits ----------------------------------------------------------------------------------- */

static void a_body_over_its_limit_is_refused(void **state) {
    (void)state;
    begin();
    memset(script.answer.body, 'x', 1000);
    script.answer.body_n = 1000;
    for (int announced = 0; announced < 2; announced++) {
        script.answer.unmeasured = !announced;
        script.answer.repeat = 1000;
        struct http_request q = {.url = fake_url(&server, "/"), .body_max = 5000};
        struct http_reply r;
        u2i_error_t err;
        assert_int_equal(get(&q, &r, &err), U2I_EREMOTE);
        assert_says(&err, "sends more than 5000 bytes");
        assert_false(r.again);
        assert_true(r.body.len <= 5000);
        http_reply_free(&r);
        script.answer.repeat = 5; /* the limit itself is allowed */
        assert_int_equal(get(&q, &r, &err), U2I_OK);
        assert_int_equal(r.body.len, 5000);
        http_reply_free(&r);
    }
    fake_http_stop(&server);
}

static void endless_headers_are_refused(void **state) {
    (void)state;
    begin();
    const struct http_request q = {.url = fake_url(&server, "/")};
    struct http_reply r;
    u2i_error_t err;
    char *at = script.answer.headers;
    for (int i = 0; i < 74; i++) {
        at += snprintf(at, 1000, "X-%d: %0900d\r\n", i, 0);
        if (i == 70 || i == 73) {
            assert_int_equal(get(&q, &r, &err), i == 70 ? U2I_OK : U2I_EREMOTE);
            http_reply_free(&r);
        }
    }
    assert_says(&err, "headers of more than 65536 bytes");
    fake_http_stop(&server);
}

static void a_deadline_ends_a_slow_answer(void **state) {
    (void)state;
    begin();
    fake_say(&script.answer, "%01000d", 0);
    for (int drips = 0; drips < 2; drips++) {
        (void)pthread_mutex_lock(&server.lock); /* the server may still be at the last request */
        script.answer.delay_ms = drips ? 0 : 60000;
        script.answer.drip_ms = drips ? 100 : 0;
        (void)pthread_mutex_unlock(&server.lock);
        struct http_request q = {.url = fake_url(&server, "/"), .timeout_ms = 200};
        struct http_reply r;
        u2i_error_t err;
        assert_int_equal(get(&q, &r, &err), U2I_ETIMEOUT);
        assert_says(&err, "did not answer within 200 ms");
        assert_false(r.again);
        http_reply_free(&r);
    }
    fake_http_stop(&server);
}

static void a_server_that_goes_silent_is_given_up(void **state) {
    (void)state;
    begin();
    script.answer.delay_ms = 60000;
    struct http_request q = {.url = fake_url(&server, "/"), .stall_ms = 1000};
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_EREMOTE);
    assert_says(&err, "went silent");
    assert_true(r.again);
    http_reply_free(&r);
    fake_http_stop(&server);
}

/* ---- Failures --------------------------------------------------------------------------------- */

static void no_server_is_a_failure_to_try_again(void **state) {
    (void)state;
    begin();
    fake_http_stop(&server);
    const struct http_request q = {.url = fake_url(&server, "/")};
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_EREMOTE);
    assert_says(&err, "no connection to 127.0.0.1:");
    assert_says(&err, ": Connection refused");
    assert_true(r.again);
    assert_int_equal(r.status, 0);
    http_reply_free(&r);
}

static void an_answer_that_is_cut_off_is_a_failure_to_try_again(void **state) {
    (void)state;
    begin();
    fake_say(&script.answer, "%0100d", 0);
    for (int whole = 0; whole < 2; whole++) {
        script.answer.status = whole ? 0 : 200; /* no answer at all */
        script.answer.cut = 50;
        const struct http_request q = {.url = fake_url(&server, "/")};
        struct http_reply r;
        u2i_error_t err;
        assert_int_equal(get(&q, &r, &err), U2I_EREMOTE);
        assert_says(&err, "cut the answer off");
        assert_true(r.again);
        http_reply_free(&r);
    }
    fake_http_stop(&server);
}

static void sigpipe_stays_inside(void **state) {
    (void)state;
    begin();
    (void)signal(SIGPIPE, SIG_DFL); /* would end the test */
    static char large[FAKE_BODY];
    memset(large, ' ', sizeof large);
    script.answer.status = 0;
    for (int i = 0; i < 5; i++) {
        const struct http_request q = {
            .url = fake_url(&server, "/"), .body = large, .body_n = sizeof large};
        struct http_reply r;
        u2i_error_t err;
        assert_int_equal(get(&q, &r, &err), U2I_EREMOTE);
        http_reply_free(&r);
    }
    sigset_t now;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
    assert_false(sigismember(&now, SIGPIPE));
    fake_http_stop(&server);
}

/* ---- Redirects -------------------------------------------------------------------------------- */

static void redirects_are_followed_only_when_asked_for(void **state) {
    (void)state;
    begin();
    script.location = "/to";
    fake_say(&script.answer, "there");
    struct http_request q = {.url = fake_url(&server, "/from")};
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_int_equal(r.status, 302);
    http_reply_free(&r);

    static const int statuses[] = {301, 302, 303, 307, 308};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct stream s = {0};
        script.location_status = statuses[i];
        q = stream_of(fake_url(&server, "/from"), &s);
        q.follow = true;
        assert_int_equal(get(&q, &r, &err), U2I_OK);
        assert_int_equal(r.status, 200);
        assert_int_equal(s.heads, 1);
        assert_string_equal(s.got.data, "there");
        assert_string_equal(http_header_first(&r, "x-linked-size"), "77");
        assert_null(http_header(&r, "x-linked-size"));
        http_reply_free(&r);
        buf_free(&s.got);
    }
    q.body = "{}"; /* what was posted is not sent elsewhere */
    q.body_n = 2;
    q.on_body = NULL;
    q.on_head = NULL;
    q.on_tick = NULL;
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_int_equal(r.status, 308);
    http_reply_free(&r);
    fake_http_stop(&server);
}

static void a_circle_of_redirects_ends(void **state) {
    (void)state;
    begin();
    script.location = "/from";
    const struct http_request q = {.url = fake_url(&server, "/from"), .follow = true};
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_EREMOTE);
    assert_says(&err, "more than 5 redirects");
    http_reply_free(&r);
    assert_int_equal(script.asked, HTTP_REDIRECTS_MAX + 1);
    fake_http_stop(&server);
}

static void the_key_goes_to_no_other_host(void **state) {
    (void)state;
    static struct script there;
    char to[64];
    begin();
    memset(&there, 0, sizeof there);
    there.answer.status = 200;
    fake_http_start(&other, act, &there);
    const char *const headers[] = {"X-Plain: 1"};
    struct http_request q = {.url = fake_url(&server, "/from"),
                             .key = KEY,
                             .follow = true,
                             .from = 7,
                             .headers = headers,
                             .headers_n = 1};
    struct http_reply r;
    u2i_error_t err;

    (void)snprintf(to, sizeof to, "http://127.0.0.1:%u/to", other.port); /* only the port differs */
    script.location = to;
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    assert_non_null(strstr(script.head, "Authorization: Bearer " KEY));
    assert_null(strcasestr(there.head, "authorization"));
    assert_null(strstr(there.head, KEY));
    assert_non_null(strstr(there.head, "\r\nRange: bytes=7-\r\n"));
    assert_non_null(strstr(there.head, "\r\nX-Plain: 1\r\n"));

    script.location = "/to"; /* and the same place gets it again */
    assert_int_equal(get(&q, &r, &err), U2I_OK);
    http_reply_free(&r);
    assert_memory_equal(script.head, "GET /to ", 8);
    assert_non_null(strstr(script.head, "Authorization: Bearer " KEY));
    fake_http_stop(&other);
    fake_http_stop(&server);
}

static void redirects_to_other_kinds_of_places_are_refused(void **state) {
    (void)state;
    static const char *const to[] = {"file:///etc/passwd", "ftp://127.0.0.1/x",
                                     "gopher://127.0.0.1/", "http://me:pw@127.0.0.1/"};
    begin();
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        script.location = to[i];
        const struct http_request q = {.url = fake_url(&server, "/from"), .follow = true};
        struct http_reply r;
        u2i_error_t err;
        assert_int_equal(get(&q, &r, &err), U2I_EREMOTE);
        assert_says(&err, "redirects");
        http_reply_free(&r);
    }
    fake_http_stop(&server);
}

static void the_deadline_counts_all_redirects(void **state) {
    (void)state;
    begin();
    script.location = "/to";
    script.answer.delay_ms = 60000;
    const struct http_request q = {
        .url = fake_url(&server, "/from"), .follow = true, .timeout_ms = 300};
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(get(&q, &r, &err), U2I_ETIMEOUT);
    http_reply_free(&r);
    fake_http_stop(&server);
}

/* ---- Threads, memory -------------------------------------------------------------------------- */

static void *call_often(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        const struct http_request q = {.url = fake_url(&server, "/"), .key = KEY};
        struct http_reply r;
        u2i_error_t err;
        if (get(&q, &r, &err) != U2I_OK || r.body.len != 4) {
            return &server; /* any address: it has failed */
        }
        http_reply_free(&r);
    }
    return NULL;
}

static void threads_share_a_client(void **state) {
    (void)state;
    pthread_t threads[12];
    begin();
    fake_say(&script.answer, "body");
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, NULL), 0);
    }
    for (size_t i = 0; i < 12; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(script.asked, 240);
    fake_http_stop(&server);
}

static int call_once(void) {
    const char *const headers[] = {"X-Plain: 1"};
    const struct http_request q = {.url = fake_url(&server, "/from"),
                                   .key = KEY,
                                   .follow = true,
                                   .headers = headers,
                                   .headers_n = 1};
    struct http *h = NULL;
    struct http_reply r = {0};
    u2i_error_t err = {0};
    int rc = http_new(&h, &err);
    if (rc == U2I_OK) {
        rc = http_call(h, &q, &r, &err);
        assert_int_equal(err.code, rc);
        http_reply_free(&r);
    }
    http_free(h);
    return rc;
}

static void no_memory_is_a_failure_and_no_more(void **state) {
    (void)state;
    begin();
    script.location = "/to";
    fake_say(&script.answer, "body");
    oom_fail_each(call_once, 5);
    fake_http_stop(&server);
}

/* ---- Without libcurl -------------------------------------------------------------------------- */

/* In a process of its own that finds no libcurl: what stands in its place is no library. */
static int fail_without_libcurl(void) {
    struct http *h = NULL;
    struct http_place p;
    u2i_error_t err = {0};
    const bool refused = http_new(&h, &err) == U2I_EREMOTE && h == NULL &&
                         strstr(err.msg, "need libcurl") != NULL &&
                         http_place("http://example.com/", &p, &err) == U2I_EREMOTE;
    return refused ? 0 : 1;
}

static void without_libcurl_urls_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
    char folder[] = "/tmp/u2i-lib-XXXXXX", path[64], command[256];
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        FILE *const f = fopen(path, "w");
        assert_true(f != NULL && fputs("no library, whatever its name says", f) >= 0);
        assert_int_equal(fclose(f), 0);
    }
    (void)snprintf(command, sizeof command,
                   "LD_LIBRARY_PATH=%s exec /proc/%d/exe --without-libcurl", folder, (int)getpid());
    assert_int_equal(system(command), 0);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(folder), 0);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--without-libcurl") == 0) {
        return fail_without_libcurl();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_with_status_headers_and_body),
        cmocka_unit_test(a_body_is_posted_as_json_with_the_key),
        cmocka_unit_test(connections_are_used_again),
        cmocka_unit_test(proxies_of_the_environment_are_not_used_for_this_machine),
        cmocka_unit_test(a_refusal_names_host_status_and_what_was_said),
        cmocka_unit_test(a_message_never_has_the_key),
        cmocka_unit_test(a_cut_message_stays_utf8),
        cmocka_unit_test(statuses_say_whether_to_try_again),
        cmocka_unit_test(retry_after_is_read_in_seconds_and_as_a_date),
        cmocka_unit_test(urls_that_are_none_are_refused),
        cmocka_unit_test(places_are_told_apart),
        cmocka_unit_test(a_key_goes_over_plain_http_to_this_machine_only),
        cmocka_unit_test(a_key_that_is_no_header_is_refused),
        cmocka_unit_test(headers_cannot_smuggle_others_or_secrets),
        cmocka_unit_test(a_body_is_streamed_after_its_headers),
        cmocka_unit_test(a_range_is_asked_for_and_its_answer_taken_apart),
        cmocka_unit_test(a_server_that_ignores_the_range_is_seen_by_its_status),
        cmocka_unit_test(a_refusal_is_not_streamed_but_kept),
        cmocka_unit_test(what_a_callback_says_ends_the_call),
        cmocka_unit_test(a_call_can_be_cancelled),
        cmocka_unit_test(a_body_over_its_limit_is_refused),
        cmocka_unit_test(endless_headers_are_refused),
        cmocka_unit_test(a_deadline_ends_a_slow_answer),
        cmocka_unit_test(a_server_that_goes_silent_is_given_up),
        cmocka_unit_test(no_server_is_a_failure_to_try_again),
        cmocka_unit_test(an_answer_that_is_cut_off_is_a_failure_to_try_again),
        cmocka_unit_test(sigpipe_stays_inside),
        cmocka_unit_test(redirects_are_followed_only_when_asked_for),
        cmocka_unit_test(a_circle_of_redirects_ends),
        cmocka_unit_test(the_key_goes_to_no_other_host),
        cmocka_unit_test(redirects_to_other_kinds_of_places_are_refused),
        cmocka_unit_test(the_deadline_counts_all_redirects),
        cmocka_unit_test(threads_share_a_client),
        cmocka_unit_test(no_memory_is_a_failure_and_no_more),
        cmocka_unit_test(without_libcurl_urls_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
