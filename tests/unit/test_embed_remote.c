/* A model behind an endpoint, played by a server on loopback: its vectors follow from the texts alone, so that every order, batch and
 * retry can be told from the wrong one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "embed/embed.h"
#include "embed/embed_cache.h"
#include "fake_http.h"
#include "oom.h"
#include <jansson.h>
#include <math.h>

#define KEY "sk-verysecretkey0123456789"

enum { DIM = 8, TEXTS = 64 };

/* ---- The endpoint ----------------------------------------------------------------------------- */

struct endpoint {
    bool floats;         /* answers with arrays, whatever was asked for */
    bool no_base64;      /* refuses requests for it */
    bool reversed;       /* the last text first */
    bool unnumbered;     /* no "index" */
    const char *raw;     /* answers with that */
    const char *poison;  /* a text that is refused, with all that came beside it */
    unsigned failures;   /* requests that fail before one succeeds */
    int failure;         /* with that status; 0 hangs up */
    const char *headers; /* of a failure */
    const char *said;    /* by a failure */
    unsigned delay_ms, drip_ms;
    size_t cut;
    /* What came. */
    unsigned requests, texts;
    unsigned sizes[TEXTS]; /* texts of each request */
    size_t bytes_most;     /* of texts in one request */
    char head[2048], body[4096], path[256];
};
static struct endpoint endpoint;
static struct fake_http server;

/* What the endpoint makes of a text: any direction, any length. */
static void vector_of(const char *text, float *out) {
    for (unsigned d = 0; d < DIM; d++) {
        const uint64_t x = hash_mix(hash_bytes(text, strlen(text), 7) + d);
        out[d] = ((float)(x >> 40) / 16777216.0f - 0.5f) * 6;
    }
}

static void put_base64(struct fake_answer *a, const float *v) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *const b = (const unsigned char *)v;
    const size_t n = DIM * sizeof *v;
    for (size_t i = 0; i < n; i += 3) {
        const uint32_t bits = (uint32_t)b[i] << 16 | (uint32_t)(i + 1 < n ? b[i + 1] : 0) << 8 |
                              (i + 2 < n ? b[i + 2] : 0);
        for (unsigned c = 0; c < 4; c++) {
            a->body[a->body_n++] = i + c > n ? '=' : digits[bits >> (18 - 6 * c) & 63];
        }
    }
}

static void put_vector(struct fake_answer *a, const char *text, bool base64) {
    float v[DIM];
    vector_of(text, v);
    if (base64) {
        a->body[a->body_n++] = '"';
        put_base64(a, v);
        a->body[a->body_n++] = '"';
        return;
    }
    for (unsigned d = 0; d < DIM; d++) {
        a->body_n +=
            (size_t)sprintf(a->body + a->body_n, "%c%.9g", d == 0 ? '[' : ',', (double)v[d]);
    }
    a->body[a->body_n++] = ']';
}

static void put_vectors(const struct endpoint *e, const json_t *input, bool base64,
                        struct fake_answer *a) {
    const size_t n = json_array_size(input);
    a->body_n = (size_t)sprintf(a->body, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < n; i++) {
        const size_t index = e->reversed ? n - 1 - i : i;
        a->body_n +=
            (size_t)sprintf(a->body + a->body_n, "%s{\"object\":\"embedding\",", i > 0 ? "," : "");
        if (!e->unnumbered) {
            a->body_n += (size_t)sprintf(a->body + a->body_n, "\"index\":%zu,", index);
        }
        a->body_n += (size_t)sprintf(a->body + a->body_n, "\"embedding\":");
        put_vector(a, json_string_value(json_array_get(input, index)), base64);
        a->body[a->body_n++] = '}';
    }
    a->body_n +=
        (size_t)sprintf(a->body + a->body_n, "],\"model\":\"m\",\"usage\":{\"prompt_tokens\":1}}");
}

static bool note_request(struct endpoint *e, const struct fake_request *q, const json_t *input) {
    size_t bytes = 0;
    bool poisoned = false;
    (void)snprintf(e->head, sizeof e->head, "%.2000s", q->head);
    (void)snprintf(e->body, sizeof e->body, "%.4000s", q->body);
    (void)snprintf(e->path, sizeof e->path, "%.200s", q->path);
    for (size_t i = 0; i < json_array_size(input); i++) {
        const char *const text = json_string_value(json_array_get(input, i));
        fake_require(text != NULL, "a text");
        bytes += strlen(text);
        poisoned = poisoned || (e->poison != NULL && strcmp(text, e->poison) == 0);
    }
    e->sizes[e->requests++ % TEXTS] = (unsigned)json_array_size(input);
    e->bytes_most = bytes > e->bytes_most ? bytes : e->bytes_most;
    return poisoned;
}

static void act(void *ctx, const struct fake_request *q, struct fake_answer *a) {
    struct endpoint *const e = ctx;
    json_t *const root = json_loads(q->body, 0, NULL);
    fake_require(root != NULL, "a request that is JSON");
    const json_t *const input = json_object_get(root, "input");
    const char *const format = json_string_value(json_object_get(root, "encoding_format"));
    const bool poisoned = note_request(e, q, input);
    a->delay_ms = e->delay_ms;
    a->drip_ms = e->drip_ms;
    a->cut = e->cut;
    if (e->failures > 0) {
        e->failures--;
        a->status = e->failure;
        (void)snprintf(a->headers, sizeof a->headers, "%s", e->headers != NULL ? e->headers : "");
        fake_say(a, "%s", e->said != NULL ? e->said : "");
    } else if (poisoned) {
        a->status = 400;
        fake_say(a, "{\"error\":{\"message\":\"this text is too long\",\"type\":\"x\"}}");
    } else if (e->no_base64 && format != NULL) {
        a->status = 400;
        fake_say(a, "{\"detail\":\"encoding_format is not supported\"}");
    } else if (e->raw != NULL) {
        fake_say(a, "%s", e->raw);
    } else {
        e->texts += (unsigned)json_array_size(input);
        put_vectors(e, input, format != NULL && !e->floats, a);
    }
    json_decref(root);
}

static const char *model_url(const char *base) {
    static char url[512];
    (void)snprintf(url, sizeof url, "%s#test-model", fake_url(&server, base));
    return url;
}

static int begin(void **state) {
    (void)state;
    memset(&endpoint, 0, sizeof endpoint);
    endpoint.failure = 503;
    fake_http_start(&server, act, &endpoint);
    return 0;
}

static int end(void **state) {
    (void)state;
    fake_http_stop(&server);
    return 0;
}

static struct embedder *open_with(struct embed_remote_options opt) {
    struct embedder *e = NULL;
    u2i_error_t err = {0};
    opt.url = opt.url != NULL ? opt.url : model_url("/v1");
    opt.dim = opt.dim != 0 ? opt.dim : DIM;
    if (embed_remote_open(&opt, &e, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    return e;
}

static struct embedder *open_model(void) {
    return open_with((struct embed_remote_options){.key = KEY});
}

static void assert_near(const float *got, const char *text) {
    float want[DIM], norm = 0;
    vector_of(text, want);
    for (unsigned d = 0; d < DIM; d++) {
        norm += want[d] * want[d];
    }
    for (unsigned d = 0; d < DIM; d++) {
        if (!(fabsf(got[d] - want[d] / sqrtf(norm)) < 1e-6f)) {
            fail_msg("\"%s\": %g in dimension %u", text, (double)got[d], d);
        }
    }
}

static void assert_says(const u2i_error_t *err, const char *what) {
    if (strstr(err->msg, what) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err->msg, what);
    }
    assert_null(strstr(err->msg, KEY));
}

static void embed(const struct embedder *e, const struct embed_text *list, size_t n, float *out) {
    u2i_error_t err = {0};
    if (e->ops->embed(e, list, n, out, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
}

static int embed_fails(const struct embedder *e, const char *text, u2i_error_t *err) {
    float out[U2I_DIM_MAX];
    const struct embed_text t = {.text = text};
    *err = (u2i_error_t){0};
    return e->ops->embed(e, &t, 1, out, err);
}

/* "text 0", "text 1", ... */
static struct embed_text numbered[TEXTS];

static void make_numbered(void) {
    static char names[TEXTS][16];
    for (int i = 0; i < TEXTS; i++) {
        (void)snprintf(names[i], sizeof names[i], "text %d", i);
        numbered[i] = (struct embed_text){.title = names[i]};
    }
}

/* ---- Answers ---------------------------------------------------------------------------------- */

static void vectors_come_in_the_order_of_the_texts(void **state) {
    (void)state;
    float out[TEXTS][DIM];
    for (int kind = 0; kind < 8; kind++) {
        endpoint.floats = (kind & 1) != 0;
        endpoint.reversed = (kind & 2) != 0 && (kind & 4) == 0;
        endpoint.unnumbered = (kind & 4) != 0;
        struct embedder *const e = open_with((struct embed_remote_options){.batch_texts = 5});
        embed(e, numbered, TEXTS, out[0]);
        for (int i = 0; i < TEXTS; i++) {
            assert_near(out[i], numbered[i].title);
        }
        e->ops->close(e);
    }
}

static void base64_is_asked_for_and_the_key_sent(void **state) {
    (void)state;
    float out[DIM];
    struct embedder *const e = open_model();
    embed(e, numbered, 1, out);
    assert_string_equal(endpoint.path, "/v1/embeddings");
    assert_string_equal(endpoint.body, "{\"model\":\"test-model\",\"input\":[\"text 0\"],"
                                       "\"encoding_format\":\"base64\"}");
    assert_non_null(strstr(endpoint.head, "\r\nAuthorization: Bearer " KEY "\r\n"));
    e->ops->close(e);
}

static void an_endpoint_without_base64_is_asked_for_floats(void **state) {
    (void)state;
    float out[2][DIM];
    endpoint.no_base64 = true;
    struct embedder *const e = open_model();
    embed(e, numbered, 1, out[0]);
    assert_int_equal(endpoint.requests, 2);
    embed(e, numbered + 1, 1, out[1]); /* which is remembered */
    assert_int_equal(endpoint.requests, 3);
    assert_near(out[0], "text 0");
    assert_near(out[1], "text 1");
    e->ops->close(e);
}

static void dimensions_are_sent_only_when_asked_for(void **state) {
    (void)state;
    float out[DIM];
    struct embedder *e = open_with((struct embed_remote_options){.send_dimensions = true});
    embed(e, numbered, 1, out);
    assert_non_null(strstr(endpoint.body, ",\"dimensions\":8}"));
    e->ops->close(e);
    e = open_model();
    embed(e, numbered, 1, out);
    assert_null(strstr(endpoint.body, "dimensions"));
    e->ops->close(e);
}

static void parts_are_joined_behind_their_prefix(void **state) {
    (void)state;
    float out[3][DIM];
    const struct embed_text list[] = {{.title = "A", .category = "B", .text = "C"},
                                      {.text = "find", .query = true},
                                      {.title = "A", .category = "", .text = "C"}};
    struct embedder *const e = open_with(
        (struct embed_remote_options){.query_prefix = "query: ", .passage_prefix = "passage: "});
    embed(e, list, 3, out[0]);
    assert_near(out[0], "passage: A\nB\nC");
    assert_near(out[1], "query: find");
    assert_near(out[2], "passage: A\nC");
    e->ops->close(e);
}

static void any_text_arrives_as_it_is(void **state) {
    (void)state;
    static const char *const texts[] = {"\"quoted\" \\ /", "tab\tline\nreturn\r bell\a\x1f\x7f",
                                        "caf\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80"};
    struct embedder *const e = open_model();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        float out[DIM];
        const struct embed_text t = {.text = texts[i]};
        embed(e, &t, 1, out);
        assert_near(out, texts[i]);
    }
    e->ops->close(e);
}

static void empty_texts_are_zeros_and_not_asked_for(void **state) {
    (void)state;
    float out[4][DIM];
    const struct embed_text list[] = {{.title = NULL}, {.title = "", .text = "", .query = true}};
    struct embedder *const e = open_with((struct embed_remote_options){.query_prefix = "query: "});
    memset(out, 0xFF, sizeof out);
    embed(e, list, 2, out[0]);
    embed(e, NULL, 0, NULL);
    for (int i = 0; i < DIM; i++) {
        assert_true(out[0][i] == 0 && out[1][i] == 0);
    }
    assert_int_equal(endpoint.requests, 0);
    e->ops->close(e);
}

static void a_text_that_is_not_utf8_is_named(void **state) {
    (void)state;
    float out[3][DIM];
    u2i_error_t err = {0};
    const struct embed_text list[] = {{.title = "a"}, {.title = "b", .text = "\xff"}};
    struct embedder *const e = open_model();
    assert_int_equal(e->ops->embed(e, list, 2, out[0], &err), U2I_EEMBED);
    assert_int_equal(err.offset, 1);
    assert_int_equal(endpoint.requests, 0);
    e->ops->close(e);
}

static void answers_that_make_no_sense_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *raw, *says;
    } cases[] = {
        {"", "line 1"},
        {"<html>", "line 1"},
        {"[]", "answer"},
        {"{}", "no array \"data\""},
        {"{\"data\":{}}", "no array \"data\""},
        {"{\"data\":[]}", "0 vectors for 1 texts"},
        {"{\"data\":[{\"embedding\":[1,2]},{\"embedding\":[1,2]}]}", "2 vectors for 1 texts"},
        {"{\"data\":[{\"index\":1,\"embedding\":[1,2]}]}", "not within 0..0"},
        {"{\"data\":[{\"index\":-1,\"embedding\":[1,2]}]}", "not within 0..0"},
        {"{\"data\":[{\"index\":\"0\",\"embedding\":[1,2]}]}", "not within 0..0"},
        {"{\"data\":[{\"index\":0}]}", "no \"embedding\""},
        {"{\"data\":[1]}", "no \"embedding\""},
        {"{\"data\":[{\"embedding\":7}]}", "no \"embedding\""},
        {"{\"data\":[{\"embedding\":[1]}]}", "1 dimensions instead of 2"},
        {"{\"data\":[{\"embedding\":[1,2,3]}]}", "3 dimensions instead of 2"},
        {"{\"data\":[{\"embedding\":[1,\"2\"]}]}", "no number"},
        {"{\"data\":[{\"embedding\":[1,null]}]}", "no number"},
        {"{\"data\":[{\"embedding\":[1,NaN]}]}", "line 1"},
        {"{\"data\":[{\"embedding\":[1,1e300]}]}", "not finite"},
        {"{\"data\":[{\"embedding\":\"AADAfwAAgD8=\"}]}", "not finite"}, /* NaN, 1 */
        {"{\"data\":[{\"embedding\":\"AACAfwAAgD8=\"}]}", "not finite"}, /* infinite, 1 */
        {"{\"data\":[{\"embedding\":\"AABAQAAAgD\"}]}", "no floats"},
        {"{\"data\":[{\"embedding\":\"AABAQAAAgEA*\"}]}", "no floats"},
        {"{\"data\":[{\"embedding\":\"AABAQAAA*EA=\"}]}", "no base64"},
        {"{\"data\":[{\"embedding\":\"\"}]}", "0 dimensions"},
        {"{\"data\":[{\"embedding\":\"AABAQA==\"}]}", "1 dimensions instead of 2"},
        {"{\"data\":[[[[[[[[[[]]]]]]]]]]}", "nested"},
        {"{\"data\":[],\"data\":[]}", "duplicate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        u2i_error_t err;
        endpoint.raw = cases[i].raw;
        struct embedder *const e = open_with((struct embed_remote_options){.dim = 2});
        assert_int_equal(embed_fails(e, "x", &err), U2I_EREMOTE);
        assert_says(&err, cases[i].says);
        assert_says(&err, "127.0.0.1:");
        assert_int_equal(err.offset, 0);
        e->ops->close(e);
    }
    assert_int_equal(endpoint.requests, sizeof cases / sizeof *cases); /* none was tried again */
}

static void two_vectors_for_one_text_are_refused(void **state) {
    (void)state;
    float out[2][2];
    u2i_error_t err = {0};
    endpoint.raw =
        "{\"data\":[{\"index\":1,\"embedding\":[1,2]},{\"index\":1,\"embedding\":[1,2]}]}";
    struct embedder *const e = open_with((struct embed_remote_options){.dim = 2});
    assert_int_equal(e->ops->embed(e, numbered, 2, out[0], &err), U2I_EREMOTE);
    assert_says(&err, "two vectors for text 1");
    assert_int_equal(err.offset, -1); /* it is of neither */
    e->ops->close(e);
}

static void good_vectors_of_any_form_are_taken(void **state) {
    (void)state;
    static const char *const raws[] = {"{\"data\":[{\"embedding\":\"AABAQAAAgEA=\"}]}",
                                       "{\"data\":[{\"embedding\":\"AABAQAAAgEA\"}]}",
                                       "{\"data\":[{\"embedding\":[3,4.0],\"index\":0}]}",
                                       "{\"data\":[{\"embedding\":[3e10,4e10]}]}"};
    for (size_t i = 0; i < sizeof raws / sizeof *raws; i++) {
        float out[2];
        endpoint.raw = raws[i];
        struct embedder *const e = open_with((struct embed_remote_options){.dim = 2});
        embed(e, numbered, 1, out);
        assert_true(fabsf(out[0] - 0.6f) < 1e-6f && fabsf(out[1] - 0.8f) < 1e-6f);
        e->ops->close(e);
    }
    float zeros[2] = {1, 1};
    endpoint.raw = "{\"data\":[{\"embedding\":[0,0]}]}"; /* nothing in it to embed */
    struct embedder *const e = open_with((struct embed_remote_options){.dim = 2});
    embed(e, numbered, 1, zeros);
    assert_true(zeros[0] == 0 && zeros[1] == 0);
    e->ops->close(e);
}

static void a_huge_answer_is_refused(void **state) {
    (void)state;
    u2i_error_t err;
    static char raw[300000];
    memset(raw, ' ', sizeof raw - 1);
    endpoint.raw = raw;
    struct embedder *const e = open_model();
    assert_int_equal(embed_fails(e, "x", &err), U2I_EREMOTE);
    assert_says(&err, "sends more than");
    e->ops->close(e);
}

/* ---- Batches ---------------------------------------------------------------------------------- */

static void batches_are_bounded_by_texts(void **state) {
    (void)state;
    float out[TEXTS][DIM];
    struct embedder *const e = open_with((struct embed_remote_options){.batch_texts = 10});
    embed(e, numbered, TEXTS, out[0]);
    assert_int_equal(endpoint.requests, 7);
    for (unsigned i = 0; i < 7; i++) {
        assert_true(endpoint.sizes[i] == 10 || endpoint.sizes[i] == 4);
    }
    e->ops->close(e);
}

static void batches_are_bounded_by_bytes(void **state) {
    (void)state;
    float out[TEXTS][DIM];
    char large[400];
    memset(large, 'L', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    struct embed_text list[TEXTS];
    memcpy(list, numbered, sizeof list);
    list[7].title = large; /* more than a batch by itself: it goes alone */
    struct embedder *const e = open_with((struct embed_remote_options){.batch_bytes = 100});
    embed(e, list, TEXTS, out[0]);
    assert_int_equal(endpoint.bytes_most, 399);
    assert_int_equal(endpoint.texts, TEXTS);
    assert_true(endpoint.requests >= 5 && endpoint.requests < 12);
    assert_near(out[7], large);
    assert_near(out[8], "text 8");
    e->ops->close(e);
}

static void batches_go_out_side_by_side(void **state) {
    (void)state;
    float out[TEXTS][DIM];
    endpoint.delay_ms = 100;
    struct embedder *const e = open_with((struct embed_remote_options){.batch_texts = 4});
    embed(e, numbered, TEXTS, out[0]);
    assert_in_range(atomic_load(&server.busy_most), 2, 4);
    assert_in_range(server.connections, 2, 4);
    e->ops->close(e);
}

/* ---- Tries ------------------------------------------------------------------------------------ */

static void failures_that_may_pass_are_tried_again(void **state) {
    (void)state;
    static const int statuses[] = {429, 500, 502, 503, 408, 0};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        float out[DIM];
        endpoint.failure = statuses[i];
        endpoint.failures = 2;
        endpoint.requests = 0;
        struct embedder *const e = open_model();
        embed(e, numbered, 1, out);
        assert_near(out, "text 0");
        assert_int_equal(endpoint.requests, 3);
        e->ops->close(e);
    }
}

static void an_answer_that_is_cut_off_is_tried_again(void **state) {
    (void)state;
    float out[DIM];
    u2i_error_t err;
    endpoint.cut = 20;
    struct embedder *const e = open_with((struct embed_remote_options){.timeout_ms = 900});
    assert_int_equal(embed_fails(e, "x", &err), U2I_ETIMEOUT);
    assert_says(&err, "cut the answer off");
    assert_true(endpoint.requests >= 2);
    endpoint.cut = 0;
    embed(e, numbered, 1, out);
    e->ops->close(e);
}

static void refusals_are_not_tried_again(void **state) {
    (void)state;
    static const int statuses[] = {400, 401, 403, 404, 413, 422, 302, 204};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        u2i_error_t err;
        endpoint.failure = statuses[i];
        endpoint.failures = 1;
        endpoint.requests = 0;
        endpoint.said = "{\"error\":{\"message\":\"Incorrect API key provided: " KEY "\"}}";
        struct embedder *const e = open_model();
        assert_int_equal(embed_fails(e, "x", &err), U2I_EREMOTE);
        if (statuses[i] != 204) {
            char want[32];
            (void)snprintf(want, sizeof want, " answered %d: ", statuses[i]);
            assert_says(&err, want);
            assert_says(&err, ": Incorrect API key provided: ***");
        }
        assert_int_equal(endpoint.requests, 1);
        e->ops->close(e);
    }
}

static void what_the_endpoint_complains_of_is_said_plainly(void **state) {
    (void)state;
    static const struct {
        const char *said, *shown;
    } cases[] = {
        {"{\"error\":{\"message\":\"no such model\"}}", " answered 404: no such model"},
        {"{\"error\":\"no such model\"}", " answered 404: no such model"},
        {"{\"detail\":\"Not Found\"}", " answered 404: Not Found"},
        {"{\"message\":\"tab\\there \\u001b[1m\"}", " answered 404: tab here [1m"},
        {"plain text", " answered 404: plain text"},
        {"{\"else\":1}", " answered 404: {\"else\":1}"},
        {"", " answered 404"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        u2i_error_t err;
        endpoint.failure = 404;
        endpoint.failures = 1;
        endpoint.said = cases[i].said;
        struct embedder *const e = open_model();
        assert_int_equal(embed_fails(e, "x", &err), U2I_EREMOTE);
        assert_says(&err, cases[i].shown);
        e->ops->close(e);
    }
}

static void retry_after_is_waited_for(void **state) {
    (void)state;
    float out[DIM];
    endpoint.failure = 429;
    endpoint.failures = 1;
    endpoint.headers = "Retry-After: 1\r\n";
    struct embedder *const e = open_model();
    const int64_t start_ns = clock_ticks_ns(clock_system());
    embed(e, numbered, 1, out);
    assert_true(clock_ticks_ns(clock_system()) - start_ns >= 1000000000);
    assert_int_equal(endpoint.requests, 2);
    e->ops->close(e);
}

static void a_date_to_wait_for_is_waited_for(void **state) {
    (void)state;
    static char header[96];
    char date[64];
    float out[DIM];
    struct tm tm;
    const time_t at = time(NULL) + 2; /* whole seconds: at least one from now */
    (void)strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&at, &tm));
    (void)snprintf(header, sizeof header, "Retry-After: %s\r\n", date);
    endpoint.failures = 1;
    endpoint.headers = header;
    struct embedder *const e = open_model();
    embed(e, numbered, 1, out);
    assert_true(time(NULL) >= at - 1);
    assert_int_equal(endpoint.requests, 2);
    e->ops->close(e);
}

static void a_wait_beyond_the_deadline_fails_at_once(void **state) {
    (void)state;
    u2i_error_t err;
    endpoint.failure = 429;
    endpoint.failures = 9;
    endpoint.headers = "Retry-After: 3600\r\n";
    endpoint.said = "slow down";
    struct embedder *const e = open_model();
    assert_int_equal(embed_fails(e, "x", &err), U2I_EREMOTE);
    assert_says(&err, "a wait of 3600 s is asked for: ");
    assert_says(&err, "answered 429: slow down");
    assert_int_equal(endpoint.requests, 1);
    e->ops->close(e);
}

static void the_deadline_ends_a_call(void **state) {
    (void)state;
    for (int drips = 0; drips < 2; drips++) {
        u2i_error_t err;
        (void)pthread_mutex_lock(&server.lock); /* the server may still be at the last request */
        endpoint.delay_ms = drips ? 0 : 60000;
        endpoint.drip_ms = drips ? 200 : 0;
        (void)pthread_mutex_unlock(&server.lock);
        struct embedder *const e = open_with((struct embed_remote_options){.timeout_ms = 300});
        assert_int_equal(embed_fails(e, "x", &err), U2I_ETIMEOUT);
        assert_says(&err, "did not answer within");
        e->ops->close(e);
    }
}

static void an_endpoint_that_is_down_is_tried_once_until_it_is_back(void **state) {
    (void)state;
    float out[DIM];
    u2i_error_t err;
    endpoint.failures = 1000;
    struct embedder *const e = open_with((struct embed_remote_options){.timeout_ms = 1500});
    assert_int_equal(embed_fails(e, "x", &err), U2I_ETIMEOUT);
    assert_says(&err, "gave up after 1500 ms: 127.0.0.1:");
    assert_says(&err, "answered 503");
    assert_in_range(endpoint.requests, 2, 6);
    endpoint.requests = 0;
    assert_int_equal(embed_fails(e, "x", &err), U2I_EREMOTE);
    assert_int_equal(endpoint.requests, 1);
    endpoint.failures = 0;
    embed(e, numbered, 1, out);
    endpoint.requests = 0;
    endpoint.failures = 1; /* and now it is worth a second try again */
    embed(e, numbered + 1, 1, out);
    assert_int_equal(endpoint.requests, 2);
    e->ops->close(e);
}

static void no_server_is_a_failure(void **state) {
    (void)state;
    u2i_error_t err;
    static char url[128];
    static struct fake_http gone;
    fake_http_start(&gone, act, &endpoint);
    fake_http_stop(&gone);
    (void)snprintf(url, sizeof url, "%s#m", fake_url(&gone, "/v1"));
    struct embedder *const e =
        open_with((struct embed_remote_options){.url = url, .timeout_ms = 500});
    assert_int_equal(embed_fails(e, "x", &err), U2I_ETIMEOUT);
    assert_says(&err, "no connection to 127.0.0.1:");
    e->ops->close(e);
}

/* ---- What is remembered ----------------------------------------------------------------------- */

static void a_repeated_call_pays_only_for_the_rest(void **state) {
    (void)state;
    float out[TEXTS][DIM];
    u2i_error_t err = {0};
    endpoint.poison = "text 20";
    struct embedder *const e = open_with((struct embed_remote_options){.batch_texts = 1});
    assert_int_equal(e->ops->embed(e, numbered, TEXTS, out[0], &err), U2I_EREMOTE);
    assert_says(&err, "answered 400: this text is too long");
    assert_int_equal(err.offset, 20);
    assert_in_range(endpoint.texts, 20, TEXTS - 1);
    endpoint.poison = NULL;
    embed(e, numbered, TEXTS, out[0]);
    assert_int_equal(endpoint.texts, TEXTS);
    for (int i = 0; i < TEXTS; i++) {
        assert_near(out[i], numbered[i].title);
    }
    e->ops->close(e);
}

static void repeated_queries_cost_nothing(void **state) {
    (void)state;
    float first[DIM], again[DIM];
    const struct embed_text q = {.text = "a query", .query = true}, p = {.text = "a query"};
    struct embedder *const e = open_with((struct embed_remote_options){.query_prefix = "query: "});
    embed(e, &q, 1, first);
    embed(e, &q, 1, again);
    assert_int_equal(endpoint.requests, 1);
    assert_memory_equal(first, again, sizeof first);
    embed(e, &p, 1, again); /* another text, with the other prefix */
    assert_int_equal(endpoint.requests, 2);
    e->ops->close(e);
}

static void the_cache_is_bounded_and_forgets_the_least_recently_used(void **state) {
    (void)state;
    u2i_error_t err;
    struct embed_cache *c = NULL;
    float v[DIM] = {0}, got[DIM];
    char name[16];
    assert_int_equal(embed_cache_new(DIM, 4000, &c, &err), U2I_OK);
    for (int i = 0; i < 1000; i++) {
        const int n = snprintf(name, sizeof name, "text %d", i);
        v[0] = (float)i;
        embed_cache_put(c, name, (size_t)n, v);
        embed_cache_put(c, name, (size_t)n, v); /* once more is no more */
        assert_true(embed_cache_bytes(c) <= 4000);
        assert_true(embed_cache_get(c, name, (size_t)n, got) && got[0] == v[0]);
        assert_true(embed_cache_get(c, "text 0", 6, got) && got[0] == 0); /* always in use */
    }
    assert_true(embed_cache_bytes(c) > 3000);
    assert_false(embed_cache_get(c, "text 1", 6, got));
    assert_true(embed_cache_get(c, "text 998", 8, got));
    static char huge[5000];
    embed_cache_put(c, huge, sizeof huge, v); /* too large to be kept, and nothing went for it */
    assert_false(embed_cache_get(c, huge, sizeof huge, got));
    assert_true(embed_cache_get(c, "text 998", 8, got));
    embed_cache_free(c);
}

/* ---- Opening ---------------------------------------------------------------------------------- */

static void opening_asks_nothing_and_names_the_model(void **state) {
    (void)state;
    static const struct {
        const char *url, *name;
    } cases[] = {
        {"https://API.example.com/v1#text-embedding-3-small",
         "text-embedding-3-small@api.example.com-8"},
        {"https://api.example.com:8443/v1#m", "m@api.example.com-8"},
        {"http://127.0.0.1:1234/v1#BAAI/bge-m3", "BAAI/bge-m3@127.0.0.1-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct embedder *const e =
            open_with((struct embed_remote_options){.url = cases[i].url, .key = KEY});
        assert_string_equal(e->name, cases[i].name);
        assert_int_equal(e->dim, DIM);
        e->ops->close(e);
    }
    static const char *const longs[] = {
        "https://a-very-long-host-name.models.example.com/v1#a-rather-long-name-of-a-model-1",
        "https://a-very-long-host-name.models.example.com/v1#a-rather-long-name-of-a-model-2"};
    struct embedder *const one = open_with((struct embed_remote_options){.url = longs[0]});
    struct embedder *const two = open_with((struct embed_remote_options){.url = longs[1]});
    assert_int_equal(strlen(one->name), 63);
    assert_string_not_equal(one->name, two->name);
    assert_memory_equal(one->name, "a-rather-long-name-of-a-model-1@a-very-", 39);
    assert_string_equal(one->name + 61, "-8");
    one->ops->close(one);
    two->ops->close(two);
}

static void the_path_is_completed(void **state) {
    (void)state;
    static const struct {
        const char *base, *path;
    } cases[] = {{"", "/embeddings"},
                 {"/v1/", "/v1/embeddings"},
                 {"/v1/embeddings", "/v1/embeddings"},
                 {"/deploy?api-version=2", "/deploy/embeddings?api-version=2"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float out[DIM];
        struct embedder *const e =
            open_with((struct embed_remote_options){.url = model_url(cases[i].base)});
        embed(e, numbered, 1, out);
        assert_string_equal(endpoint.path, cases[i].path);
        e->ops->close(e);
    }
}

static void options_that_make_no_sense_are_refused(void **state) {
    (void)state;
    static const struct {
        struct embed_remote_options opt;
        const char *says;
    } cases[] = {
        {{.url = "https://example.com/v1", .dim = 2}, "URL#NAME"},
        {{.url = "https://example.com/v1#", .dim = 2}, "URL#NAME"},
        {{.url = "https://example.com/v1#two words", .dim = 2}, "space or control"},
        {{.url = "https://example.com/v1#\xff", .dim = 2}, "UTF-8"},
        {{.url = "ftp://example.com/v1#m", .dim = 2}, "neither http"},
        {{.url = "https://me:pw@example.com/v1#m", .dim = 2}, "a user or a password"},
        {{.url = "https://example.com/v1#m", .dim = 0}, "dim 0"},
        {{.url = "https://example.com/v1#m", .dim = U2I_DIM_MAX + 1}, "dim 4097"},
        {{.url = "https://example.com/v1#m", .dim = 2, .key = "a b"}, "visible ASCII"},
        {{.url = "http://example.com/v1#m", .dim = 2, .key = KEY}, "over https only"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct embedder *e = NULL;
        u2i_error_t err = {0};
        assert_int_equal(embed_remote_open(&cases[i].opt, &e, &err), U2I_EINVAL);
        assert_null(e);
        assert_says(&err, cases[i].says);
    }
}

static void the_dimensions_are_found_out_with_one_text(void **state) {
    (void)state;
    u2i_error_t err = {0};
    uint32_t dim = 0;
    struct embed_remote_options opt = {.url = model_url("/v1"), .key = KEY};
    assert_int_equal(embed_remote_dim(&opt, &dim, &err), U2I_OK);
    assert_int_equal(dim, DIM);
    assert_int_equal(endpoint.requests, 1);
    assert_int_equal(endpoint.texts, 1);
    assert_null(strstr(endpoint.body, "dimensions"));
    opt.dim = 9; /* not what it gives */
    assert_int_equal(embed_remote_dim(&opt, &dim, &err), U2I_EREMOTE);
    assert_says(&err, "8 dimensions instead of 9");
    assert_int_equal(dim, 0);
    opt.url = "https://example.com";
    assert_int_equal(embed_remote_dim(&opt, &dim, &err), U2I_EINVAL);
}

/* ---- The key ---------------------------------------------------------------------------------- */

static int key_from(const char *variable, const char *value, char **key, u2i_error_t *err) {
    assert_int_equal(setenv(variable, value, 1), 0);
    *err = (u2i_error_t){0};
    const int rc = embed_remote_key(key, err);
    assert_int_equal(unsetenv(variable), 0);
    assert_true(rc == U2I_OK || *key == NULL);
    return rc;
}

static void the_key_comes_from_the_environment_or_a_file(void **state) {
    (void)state;
    char path[] = "/tmp/u2i-key-XXXXXX";
    char *key = NULL;
    u2i_error_t err = {0};
    assert_int_equal(embed_remote_key(&key, &err), U2I_OK);
    assert_null(key);
    assert_int_equal(key_from("U2I_MODEL_KEY", "", &key, &err), U2I_OK);
    assert_null(key);
    assert_int_equal(key_from("U2I_MODEL_KEY", " " KEY "\r\n", &key, &err), U2I_OK);
    assert_string_equal(key, KEY);
    embed_remote_key_free(key);

    const int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, KEY "\n", sizeof KEY) == sizeof KEY);
    assert_int_equal(key_from("U2I_MODEL_KEY_FILE", path, &key, &err), U2I_OK);
    assert_string_equal(key, KEY);
    embed_remote_key_free(key);
    assert_true(write(fd, "second line\n", 12) == 12);
    assert_int_equal(key_from("U2I_MODEL_KEY_FILE", path, &key, &err), U2I_EINVAL);
    assert_says(&err, path);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(key_from("U2I_MODEL_KEY_FILE", path, &key, &err), U2I_EINVAL);
    assert_int_equal(ftruncate(fd, 100000), 0);
    assert_int_equal(key_from("U2I_MODEL_KEY_FILE", path, &key, &err), U2I_EINVAL);
    (void)close(fd);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(key_from("U2I_MODEL_KEY_FILE", path, &key, &err), U2I_ENOTFOUND);
    assert_int_equal(key_from("U2I_MODEL_KEY_FILE", "/tmp", &key, &err), U2I_EIO);
    static const char *const bad[] = {" \n", "a\nb", "\x01", "caf\xc3\xa9"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(key_from("U2I_MODEL_KEY", bad[i], &key, &err), U2I_EINVAL);
        assert_says(&err, "U2I_MODEL_KEY: ");
    }
}

/* ---- Threads, memory -------------------------------------------------------------------------- */

static void *embed_often(void *arg) {
    const struct embedder *const e = arg;
    for (int round = 0; round < 3; round++) {
        float out[TEXTS][DIM];
        u2i_error_t err = {0};
        if (e->ops->embed(e, numbered, TEXTS, out[0], &err) != U2I_OK) {
            return &server; /* any address: it has failed */
        }
        for (int i = 0; i < TEXTS; i++) {
            assert_near(out[i], numbered[i].title);
        }
    }
    return NULL;
}

static void threads_share_an_embedder(void **state) {
    (void)state;
    pthread_t threads[6];
    struct embedder *const e = open_with((struct embed_remote_options){.batch_texts = 7});
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, embed_often, e), 0);
    }
    for (size_t i = 0; i < 6; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_in_range(endpoint.texts, TEXTS, 6 * TEXTS);
    e->ops->close(e);
}

static int embed_once(void) {
    const struct embed_remote_options opt = {.url = model_url("/v1"),
                                             .dim = DIM,
                                             .key = KEY,
                                             .query_prefix = "q",
                                             .passage_prefix = "p"};
    struct embedder *e = NULL;
    u2i_error_t err = {0};
    float out[4][DIM];
    int rc = embed_remote_open(&opt, &e, &err);
    if (rc == U2I_OK) {
        rc = e->ops->embed(e, numbered, 4, out[0], &err);
        e->ops->close(e);
    }
    assert_int_equal(err.code, rc);
    if (rc == U2I_OK) {
        assert_near(out[3], "ptext 3");
        /* A cache that keeps less is no failure. */
        return oom_countdown < 0 ? U2I_ENOMEM : U2I_OK;
    }
    return rc;
}

static void no_memory_is_a_failure_and_no_more(void **state) {
    (void)state;
    oom_fail_each(embed_once, 15);
}

static int find_dim(void) {
    const struct embed_remote_options opt = {.url = model_url("/v1"), .key = KEY};
    u2i_error_t err = {0};
    uint32_t dim = 0;
    return embed_remote_dim(&opt, &dim, &err);
}

static void finding_the_dimensions_copes_without_memory(void **state) {
    (void)state;
    oom_fail_each(find_dim, 5);
}

#define REMOTE_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    make_numbered();
    const struct CMUnitTest tests[] = {
        REMOTE_TEST(vectors_come_in_the_order_of_the_texts),
        REMOTE_TEST(base64_is_asked_for_and_the_key_sent),
        REMOTE_TEST(an_endpoint_without_base64_is_asked_for_floats),
        REMOTE_TEST(dimensions_are_sent_only_when_asked_for),
        REMOTE_TEST(parts_are_joined_behind_their_prefix),
        REMOTE_TEST(any_text_arrives_as_it_is),
        REMOTE_TEST(empty_texts_are_zeros_and_not_asked_for),
        REMOTE_TEST(a_text_that_is_not_utf8_is_named),
        REMOTE_TEST(answers_that_make_no_sense_are_refused),
        REMOTE_TEST(two_vectors_for_one_text_are_refused),
        REMOTE_TEST(good_vectors_of_any_form_are_taken),
        REMOTE_TEST(a_huge_answer_is_refused),
        REMOTE_TEST(batches_are_bounded_by_texts),
        REMOTE_TEST(batches_are_bounded_by_bytes),
        REMOTE_TEST(batches_go_out_side_by_side),
        REMOTE_TEST(failures_that_may_pass_are_tried_again),
        REMOTE_TEST(an_answer_that_is_cut_off_is_tried_again),
        REMOTE_TEST(refusals_are_not_tried_again),
        REMOTE_TEST(what_the_endpoint_complains_of_is_said_plainly),
        REMOTE_TEST(retry_after_is_waited_for),
        REMOTE_TEST(a_date_to_wait_for_is_waited_for),
        REMOTE_TEST(a_wait_beyond_the_deadline_fails_at_once),
        REMOTE_TEST(the_deadline_ends_a_call),
        REMOTE_TEST(an_endpoint_that_is_down_is_tried_once_until_it_is_back),
        REMOTE_TEST(no_server_is_a_failure),
        REMOTE_TEST(a_repeated_call_pays_only_for_the_rest),
        REMOTE_TEST(repeated_queries_cost_nothing),
        REMOTE_TEST(the_cache_is_bounded_and_forgets_the_least_recently_used),
        REMOTE_TEST(opening_asks_nothing_and_names_the_model),
        REMOTE_TEST(the_path_is_completed),
        REMOTE_TEST(options_that_make_no_sense_are_refused),
        REMOTE_TEST(the_dimensions_are_found_out_with_one_text),
        REMOTE_TEST(the_key_comes_from_the_environment_or_a_file),
        REMOTE_TEST(threads_share_an_embedder),
        REMOTE_TEST(no_memory_is_a_failure_and_no_more),
        REMOTE_TEST(finding_the_dimensions_copes_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
