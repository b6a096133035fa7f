/* A server for the tests of what speaks HTTP: on loopback, a thread for each connection, answers by a function of the test. An answer
 * can be slow, cut short, endless, or no answer at all. It allocates nothing, so that tests may let
 * allocations fail beside it. */
#ifndef U2I_TESTS_FAKE_HTTP_H
#define U2I_TESTS_FAKE_HTTP_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FAKE_HEAD = 16384, FAKE_HEADERS = 1 << 17, FAKE_BODY = 1 << 20, FAKE_CONNECTIONS = 512 };

struct fake_request {
    char method[8], path[1024];
    char head[FAKE_HEAD]; /* the first line and the headers */
    char body[FAKE_BODY + 1];
    size_t body_n;
    unsigned number;     /* 0, 1, ... of this server */
    unsigned connection; /* that it came on */
};

struct fake_answer {
    int status;                 /* 0 = hangs up without a word */
    char headers[FAKE_HEADERS]; /* "Name: value\r\n" each; Content-Length is added */
    char body[FAKE_BODY];
    size_t body_n;
    unsigned delay_ms; /* before it */
    unsigned drip_ms;  /* between the bytes of the body */
    size_t cut;        /* hangs up after that many bytes of the body, less than announced; 0 = no */
    uint64_t announce; /* another Content-Length than the true one; 0 = the true one */
    uint64_t repeat;   /* sends the body that often; 0 = once */
    bool unmeasured;   /* no Content-Length: the end is where the connection ends */
};

/* One call at a time, whatever the number of connections. `answer` is zeroed, but for status 200. */
typedef void (*fake_handler)(void *ctx, const struct fake_request *q, struct fake_answer *answer);

struct fake_connection {
    struct fake_http *server;
    pthread_t thread;
    int fd;
    unsigned number;
};

struct fake_http {
    int fd;
    uint16_t port;
    pthread_t thread;
    fake_handler handler;
    void *ctx;
    pthread_mutex_t lock;
    atomic_bool closing;
    atomic_uint requests;
    atomic_uint busy, busy_most; /* requests at once */
    atomic_uint connections;
    struct fake_connection list[FAKE_CONNECTIONS];
};

static inline void fake_require(bool holds, const char *what) {
    if (!holds) {
        perror(what);
        abort();
    }
}

static inline void fake_sleep(const struct fake_http *s, unsigned ms) {
    for (unsigned slept = 0; slept < ms && !atomic_load(&s->closing); slept += 5) {
        const struct timespec t = {.tv_nsec = (ms - slept < 5 ? ms - slept : 5) * 1000000};
        (void)nanosleep(&t, NULL);
    }
}

/* ---- Requests --------------------------------------------------------------------------------- */

/* The value of a header of the request, copied; NULL if it has none. Valid until the next call in this thread. */
static inline const char *fake_header(const struct fake_request *q, const char *name) {
    static _Thread_local char value[FAKE_HEAD];
    const size_t n = strlen(name);
    for (const char *line = strstr(q->head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            const char *const from = line + n + 1 + strspn(line + n + 1, " ");
            (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(from, "\r"), from);
            return value;
        }
    }
    return NULL;
}

static inline bool fake_receive(int fd, struct fake_request *q) {
    size_t n = 0;
    char *end = NULL;
    while (end == NULL) {
        if (n + 1 >= sizeof q->head) {
            return false;
        }
        /* Byte by byte up to the blank line, so that nothing of the body is taken with it. */
        const ssize_t got = recv(fd, q->head + n, 1, 0);
        if (got <= 0) {
            return false;
        }
        n++;
        q->head[n] = '\0';
        end = n >= 4 && memcmp(q->head + n - 4, "\r\n\r\n", 4) == 0 ? q->head + n : NULL;
    }
    if (sscanf(q->head, "%7s %1023s", q->method, q->path) != 2) {
        return false;
    }
    const char *const length = fake_header(q, "Content-Length");
    const size_t wanted = length != NULL ? strtoul(length, NULL, 10) : 0;
    fake_require(wanted <= FAKE_BODY, "a request that fits");
    for (q->body_n = 0; q->body_n < wanted;) {
        const ssize_t got = recv(fd, q->body + q->body_n, wanted - q->body_n, 0);
        if (got <= 0) {
            return false;
        }
        q->body_n += (size_t)got;
    }
    q->body[q->body_n] = '\0';
    return true;
}

/* ---- Answers ---------------------------------------------------------------------------------- */

static inline bool fake_send(int fd, const char *p, size_t n) {
    while (n > 0) {
        const ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

static inline bool fake_send_body(const struct fake_http *s, int fd, const struct fake_answer *a) {
    const size_t n = a->cut > 0 ? a->cut : a->body_n;
    for (uint64_t times = a->repeat > 0 ? a->repeat : 1; times > 0; times--) {
        for (size_t i = 0; i < n && a->drip_ms > 0; i++) {
            fake_sleep(s, a->drip_ms);
            if (atomic_load(&s->closing) || !fake_send(fd, a->body + i, 1)) {
                return false;
            }
        }
        if (atomic_load(&s->closing) || (a->drip_ms == 0 && !fake_send(fd, a->body, n))) {
            return false;
        }
    }
    return a->cut == 0 && !a->unmeasured;
}

/* Whether the connection goes on. */
static inline bool fake_reply(const struct fake_http *s, int fd, const struct fake_answer *a) {
    char head[FAKE_HEADERS + 256];
    fake_sleep(s, a->delay_ms);
    if (a->status == 0 || atomic_load(&s->closing)) {
        return false;
    }
    const uint64_t whole = a->body_n * (a->repeat > 0 ? a->repeat : 1);
    int n = snprintf(head, sizeof head, "HTTP/1.1 %d Said\r\n%s", a->status, a->headers);
    if (a->unmeasured) {
        n += snprintf(head + n, sizeof head - (size_t)n, "Connection: close\r\n\r\n");
    } else {
        n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %llu\r\n\r\n",
                      (unsigned long long)(a->announce > 0 ? a->announce : whole));
    }
    return fake_send(fd, head, (size_t)n) && fake_send_body(s, fd, a);
}

__attribute__((format(printf, 2, 3))) static inline void fake_say(struct fake_answer *a,
                                                                  const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(a->body, sizeof a->body, fmt, ap);
    va_end(ap);
    fake_require(n >= 0 && (size_t)n < sizeof a->body, "an answer that fits");
    a->body_n = (size_t)n;
}

/* ---- The server ------------------------------------------------------------------------------- */

static inline void *fake_serve(void *arg) {
    struct fake_connection *const c = arg;
    struct fake_http *const s = c->server;
    struct { /* on the stack: large, but not allocated */
        struct fake_request q;
        struct fake_answer a;
    } x;
    for (bool on = true; on && fake_receive(c->fd, &x.q);) {
        const unsigned busy = atomic_fetch_add(&s->busy, 1) + 1;
        unsigned most = atomic_load(&s->busy_most);
        while (busy > most && !atomic_compare_exchange_weak(&s->busy_most, &most, busy)) {
        }
        memset(&x.a, 0, offsetof(struct fake_answer, body));
        memset((char *)&x.a + offsetof(struct fake_answer, body_n), 0,
               sizeof x.a - offsetof(struct fake_answer, body_n));
        x.a.status = 200;
        x.q.connection = c->number;
        (void)pthread_mutex_lock(&s->lock);
        x.q.number = atomic_fetch_add(&s->requests, 1);
        s->handler(s->ctx, &x.q, &x.a);
        (void)pthread_mutex_unlock(&s->lock);
        on = fake_reply(s, c->fd, &x.a);
        (void)atomic_fetch_sub(&s->busy, 1);
    }
    (void)shutdown(c->fd, SHUT_RDWR);
    return NULL;
}

static inline void *fake_accept(void *arg) {
    struct fake_http *const s = arg;
    pthread_attr_t attr;
    fake_require(pthread_attr_init(&attr) == 0, "attributes");
    fake_require(pthread_attr_setstacksize(&attr, 8 << 20) == 0, "a stack");
    for (;;) {
        const int fd = accept(s->fd, NULL, NULL);
        if (fd < 0 || atomic_load(&s->closing)) {
            if (fd >= 0) {
                (void)close(fd);
            }
            break;
        }
        fake_require(s->connections < FAKE_CONNECTIONS, "few connections");
        struct fake_connection *const c = &s->list[s->connections];
        *c = (struct fake_connection){.server = s, .fd = fd, .number = s->connections};
        fake_require(pthread_create(&c->thread, &attr, fake_serve, c) == 0, "a thread");
        s->connections++;
    }
    (void)pthread_attr_destroy(&attr);
    return NULL;
}

static inline void fake_http_start(struct fake_http *s, fake_handler handler, void *ctx) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    const int yes = 1;
    memset(s, 0, sizeof *s);
    s->handler = handler;
    s->ctx = ctx;
    fake_require(pthread_mutex_init(&s->lock, NULL) == 0, "a mutex");
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fake_require(s->fd >= 0, "a socket");
    (void)setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    fake_require(bind(s->fd, (struct sockaddr *)&at, sizeof at) == 0, "bind");
    fake_require(listen(s->fd, 64) == 0, "listen");
    fake_require(getsockname(s->fd, (struct sockaddr *)&at, &n) == 0, "a port");
    s->port = ntohs(at.sin_port);
    fake_require(pthread_create(&s->thread, NULL, fake_accept, s) == 0, "a thread");
}

static inline void fake_http_stop(struct fake_http *s) {
    atomic_store(&s->closing, true);
    (void)shutdown(s->fd, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->fd);
    for (unsigned i = 0; i < s->connections; i++) {
        (void)shutdown(s->list[i].fd, SHUT_RDWR);
        (void)pthread_join(s->list[i].thread, NULL);
        (void)close(s->list[i].fd);
    }
    (void)pthread_mutex_destroy(&s->lock);
}

/* "http://127.0.0.1:PORT" and `path`, in one of a few buffers that take turns. */
static inline const char *fake_url(const struct fake_http *s, const char *path) {
    static _Thread_local char urls[4][1024];
    static _Thread_local unsigned turn;
    char *const url = urls[turn++ % 4];
    (void)snprintf(url, sizeof urls[0], "http://127.0.0.1:%u%s", s->port, path);
    return url;
}

#endif
