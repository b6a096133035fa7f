/* The HTTP client and certificates: a TLS server on loopback, with certificates made here, that the client may
 * or may not trust. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/http.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Certificates ----------------------------------------------------------------------------- */

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
    char path[64]; /* the certificate as a file */
};

static void extend(X509 *x, int nid, const char *value) {
    X509_EXTENSION *const e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* Signed by itself; `names` as in "IP:127.0.0.1,DNS:localhost". */
static struct identity make_identity(const char *names) {
    struct identity id = {.path = "/tmp/u2i-tls-XXXXXX"};
    id.key = EVP_EC_gen("P-256");
    id.certificate = X509_new();
    X509 *const x = id.certificate;
    assert_true(id.key != NULL && x != NULL);
    assert_int_equal(X509_set_version(x, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), 1), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), -3600));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), 3600));
    X509_NAME *const name = X509_get_subject_name(x);
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                                (const unsigned char *)"u2i test", -1, -1, 0),
                     1);
    assert_int_equal(X509_set_issuer_name(x, name), 1);
    assert_int_equal(X509_set_pubkey(x, id.key), 1);
    extend(x, NID_basic_constraints, "critical,CA:TRUE");
    extend(x, NID_subject_alt_name, names);
    assert_true(X509_sign(x, id.key, EVP_sha256()) > 0);
    const int fd = mkstemp(id.path);
    FILE *const f = fd >= 0 ? fdopen(fd, "w") : NULL;
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, x), 1);
    assert_int_equal(fclose(f), 0);
    return id;
}

static void free_identity(struct identity *id) {
    (void)unlink(id->path);
    X509_free(id->certificate);
    EVP_PKEY_free(id->key);
}

/* ---- The server ------------------------------------------------------------------------------- */

struct secure {
    SSL_CTX *ctx;
    int fd;
    uint16_t port;
    pthread_t thread;
    const char *answer;
    char head[4096];
    atomic_uint asked; /* requests that came through */
};

static void serve_one(struct secure *s, int fd) {
    SSL *const ssl = SSL_new(s->ctx);
    size_t n = 0;
    if (ssl != NULL && SSL_set_fd(ssl, fd) == 1 && SSL_accept(ssl) == 1) {
        while (n + 1 < sizeof s->head && strstr(s->head, "\r\n\r\n") == NULL) {
            const int got = SSL_read(ssl, s->head + n, (int)(sizeof s->head - n - 1));
            if (got <= 0) {
                break;
            }
            n += (size_t)got;
            s->head[n] = '\0';
        }
        if (n > 0) {
            (void)atomic_fetch_add(&s->asked, 1);
            (void)SSL_write(ssl, s->answer, (int)strlen(s->answer));
            (void)SSL_shutdown(ssl);
        }
    }
    SSL_free(ssl);
    (void)close(fd);
}

static void *serve(void *arg) {
    struct secure *const s = arg;
    for (int fd = accept(s->fd, NULL, NULL); fd >= 0; fd = accept(s->fd, NULL, NULL)) {
        serve_one(s, fd);
    }
    return NULL;
}

static void start(struct secure *s, const struct identity *id, const char *answer) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    *s = (struct secure){.answer = answer, .ctx = SSL_CTX_new(TLS_server_method())};
    assert_non_null(s->ctx);
    assert_int_equal(SSL_CTX_use_certificate(s->ctx, id->certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(s->ctx, id->key), 1);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &n), 0);
    s->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct secure *s) {
    (void)shutdown(s->fd, SHUT_RDWR);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    (void)close(s->fd);
    SSL_CTX_free(s->ctx);
}

/* ---- Tests ------------------------------------------------------------------------------------ */

#define KEY "sk-verysecretkey0123456789"
static const char *const fine = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsafe";

/* One call to the server, which goes by the answer of the test; `trusted` NULL: what the system trusts. */
static int call(const struct secure *s, const char *trusted, struct http_reply *r,
                u2i_error_t *err) {
    char url[64];
    struct http *h = NULL;
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%u/from", s->port);
    const struct http_request q = {.url = url, .key = KEY, .follow = true};
    *err = (u2i_error_t){0};
    assert_int_equal(
        trusted != NULL ? setenv("SSL_CERT_FILE", trusted, 1) : unsetenv("SSL_CERT_FILE"), 0);
    assert_int_equal(http_new(&h, err), U2I_OK);
    const int rc = http_call(h, &q, r, err);
    http_free(h);
    assert_int_equal(unsetenv("SSL_CERT_FILE"), 0);
    return rc;
}

static void assert_not_trusted(const struct secure *s, const char *trusted) {
    struct http_reply r;
    u2i_error_t err;
    assert_int_equal(call(s, trusted, &r, &err), U2I_EREMOTE);
    if (strstr(err.msg, "is not trusted") == NULL) {
        fail_msg("\"%s\"", err.msg);
    }
    assert_false(r.again);
    http_reply_free(&r);
    assert_int_equal(atomic_load(&s->asked), 0); /* and so it saw no key */
}

static void a_certificate_that_nobody_vouches_for_is_refused(void **state) {
    (void)state;
    struct secure s;
    struct identity id = make_identity("IP:127.0.0.1,DNS:localhost");
    start(&s, &id, fine);
    assert_not_trusted(&s, NULL);
    assert_not_trusted(&s, "/tmp/u2i-no-such-file.pem");
    stop(&s);
    free_identity(&id);
}

static void a_certificate_of_another_host_is_refused(void **state) {
    (void)state;
    struct secure s;
    struct identity id = make_identity("DNS:other.example.com");
    start(&s, &id, fine);
    assert_not_trusted(&s, id.path);
    stop(&s);
    free_identity(&id);
}

static void a_certificate_that_the_environment_names_is_trusted(void **state) {
    (void)state;
    struct secure s;
    struct identity id = make_identity("IP:127.0.0.1");
    struct http_reply r;
    u2i_error_t err;
    start(&s, &id, fine);
    const int rc = call(&s, id.path, &r, &err);
    if (rc != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body.data, "safe");
    http_reply_free(&r);
    stop(&s);
    assert_non_null(strstr(s.head, "Authorization: Bearer " KEY));
    free_identity(&id);
}

static void redirects_from_https_to_http_are_refused(void **state) {
    (void)state;
    struct secure s;
    struct identity id = make_identity("IP:127.0.0.1");
    struct http_reply r;
    u2i_error_t err;
    start(&s, &id,
          "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/x\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(call(&s, id.path, &r, &err), U2I_EREMOTE);
    assert_non_null(strstr(err.msg, "redirects from https to http"));
    http_reply_free(&r);
    stop(&s);
    free_identity(&id);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_that_nobody_vouches_for_is_refused),
        cmocka_unit_test(a_certificate_of_another_host_is_refused),
        cmocka_unit_test(a_certificate_that_the_environment_names_is_trusted),
        cmocka_unit_test(redirects_from_https_to_http_are_refused),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the server: OpenSSL writes where nobody reads any more */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
